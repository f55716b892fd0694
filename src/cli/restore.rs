//! `cosmount restore`: asks the service for archived objects, so that they can be read for some days.

use std::time::Duration;

use futures_util::stream::{self, StreamExt};

use super::arguments::RestoreArguments;
use super::failure::{Exit, Failure};
use super::objects::{Objects, What};
use super::{runtime, terminal};
use crate::object::ObjectKey;
use crate::store::{ListedObject, Restoration, StoreError, is_archive};
use crate::wire::date;
use crate::wire::operation::RestoreTier;

/// Objects that are asked for, or about, at once: the service takes 100 restorations in a second.
const CONCURRENCY: usize = 8;
/// How soon after it was asked for an object may be there; then less and less often.
const LOOK_FIRST: Duration = Duration::from_secs(1);
/// A restoration takes minutes at least.
const LOOK_EVERY_MAX: Duration = Duration::from_secs(60);

/// What has become of an object.
struct Asked {
    key: ObjectKey,
    /// Whether this command has asked for it.
    is_new: bool,
    state: Result<Restoration, StoreError>,
}

/// Does what is asked for, and fails if something can be had by nobody.
pub(super) fn run(arguments: &RestoreArguments) -> Result<(), Failure> {
    runtime()?.block_on(async {
        let objects = Objects::find(&arguments.objects).await?;
        let keys = match &objects.what {
            What::Key(key) => vec![key.clone()],
            What::Below(_) => objects.listed().await?.iter().filter_map(worth_asking).collect(),
        };
        let mut asked: Vec<Asked> = each(&keys, |key| ask(&objects, key, arguments)).await;
        show(&objects, &asked);
        if arguments.wait {
            wait(&objects, &mut asked).await;
        }
        outcome(&objects, &asked)
    })
}

/// The key of an object that may be in an archive. Intelligent tiering moves there what nobody reads, and no listing of
/// every service says which.
fn worth_asking(object: &ListedObject) -> Option<ObjectKey> {
    let may_be = is_archive(&object.storage_class) || object.storage_class.ends_with("INTELLIGENT_TIERING");
    ObjectKey::new(&object.key).ok().filter(|_| may_be)
}

async fn ask(objects: &Objects, key: ObjectKey, arguments: &RestoreArguments) -> Asked {
    let store = &objects.bucket.store;
    let state = match store.restoration(&key).await {
        // One that is there stays there for longer if it is asked for again.
        Ok(Restoration::Archived | Restoration::There(_)) => {
            let tier = arguments.tier.map_or(RestoreTier::default(), Into::into);
            let asked = store.restore(&key, arguments.days, tier).await;
            return Asked { key, is_new: matches!(asked, Ok(Restoration::OnItsWay)), state: asked };
        }
        known => known,
    };
    Asked { key, is_new: false, state }
}

/// Waits until nothing is on its way any more.
async fn wait(objects: &Objects, asked: &mut [Asked]) {
    let mut pause = LOOK_FIRST;
    loop {
        let waiting: Vec<&mut Asked> =
            asked.iter_mut().filter(|asked| matches!(asked.state, Ok(Restoration::OnItsWay))).collect();
        if waiting.is_empty() {
            return;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LOOK_EVERY_MAX);
        for asked in waiting {
            asked.state = objects.bucket.store.restoration(&asked.key).await;
            if !matches!(asked.state, Ok(Restoration::OnItsWay)) {
                asked.is_new = false;
                show(objects, std::slice::from_ref(asked));
            }
        }
    }
}

async fn each<T, F: Future<Output = T>>(keys: &[ObjectKey], call: impl Fn(ObjectKey) -> F) -> Vec<T> {
    // Collected first: the compiler cannot show a lazily mapped stream of these futures to be general enough.
    let calls: Vec<_> = keys.iter().cloned().map(call).collect();
    stream::iter(calls).buffered(CONCURRENCY).collect().await
}

fn show(objects: &Objects, asked: &[Asked]) {
    for Asked { key, is_new, state } in asked {
        let told = match state {
            Ok(Restoration::OnItsWay) if *is_new => "asked for".to_owned(),
            Ok(Restoration::OnItsWay) => "on its way".to_owned(),
            Ok(Restoration::There(None)) => "there".to_owned(),
            Ok(Restoration::There(Some(end))) => format!("there until {}", date::iso_seconds(*end)),
            Ok(Restoration::NotArchived) => "not archived".to_owned(),
            Ok(Restoration::Archived) => "archived".to_owned(),
            Err(error) => format!("failed: {error}"),
        };
        terminal::tell(&format!("{}\t{told}", terminal::harmless(objects.shown(key.as_str()))));
    }
}

fn outcome(objects: &Objects, asked: &[Asked]) -> Result<(), Failure> {
    let count = |is: fn(&Restoration) -> bool| asked.iter().filter(|asked| asked.state.as_ref().is_ok_and(is)).count();
    let away = count(|state| matches!(state, Restoration::OnItsWay));
    let there = count(|state| matches!(state, Restoration::There(_)));
    let rest = count(|state| matches!(state, Restoration::NotArchived));
    terminal::note(&format!("{away} on their way, {there} there, {rest} not archived"));
    match asked.iter().filter_map(|asked| asked.state.as_ref().err()).next() {
        None => Ok(()),
        Some(first) if asked.len() == 1 => Err(objects.failed(first)),
        Some(first) => {
            let count = asked.iter().filter(|asked| asked.state.is_err()).count();
            Err(Failure::new(
                Exit::Service,
                format!(
                    "{count} objects could not be asked for, the first because: {first}; see to the cause, and ask for all of them again"
                ),
            ))
        }
    }
}
