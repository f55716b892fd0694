//! `cosmount uploads`: unfinished multipart uploads of a bucket, shown or aborted.
//!
//! What a mount that lives on this machine is about is never aborted. Everything else is what the command line says.

use std::collections::HashSet;
use std::io::ErrorKind;
use std::time::{Duration, SystemTime};

use futures_util::stream::{self, StreamExt, TryStreamExt};
use serde_json::json;
use tokio::runtime::Handle;
use wildmatch::WildMatch;

use super::arguments::{UploadsAction, UploadsSelection};
use super::diagnosis;
use super::failure::{Exit, Failure};
use super::session::{Bucket, owner};
use super::{process_environment, runtime, terminal};
use crate::config::{ByteSize, MountConfig};
use crate::journal;
use crate::object::{ObjectKey, UploadId};
use crate::store::{HttpStore, ListedUpload, ObjectStore, StoreError, StoreErrorKind};
use crate::wire::date;

/// Uploads that are asked about, or aborted, at once.
const CONCURRENCY: usize = 8;

/// Whose an upload is, as far as this user's journals on this machine tell.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    Living,
    Dead,
    Unknown,
}

impl Whose {
    fn told(self) -> &'static str {
        match self {
            Whose::Living => "mounted here",
            Whose::Dead => "killed here",
            Whose::Unknown => "-",
        }
    }

    fn in_json(self) -> Option<&'static str> {
        match self {
            Whose::Living => Some("mounted"),
            Whose::Dead => Some("killed"),
            Whose::Unknown => None,
        }
    }
}

/// What is told of one upload.
struct Found {
    key: String,
    upload: UploadId,
    initiated: SystemTime,
    age: Duration,
    parts: usize,
    bytes: u64,
    whose: Whose,
}

/// Does what is asked for, and fails if something could not be aborted.
pub(super) fn run(action: &UploadsAction) -> Result<(), Failure> {
    let (selection, aborts) = match action {
        UploadsAction::List(selection) => (selection, false),
        UploadsAction::Abort(selection) => (selection, !selection.dry_run),
    };
    let config = MountConfig::build(selection.request(), &process_environment())?;
    runtime()?.block_on(async {
        let bucket = Bucket::reach(&config, &Handle::current()).await?;
        let found = find(&bucket, &config, selection).await?;
        let shown: Vec<&Found> = match action {
            UploadsAction::List(_) => found.iter().collect(),
            UploadsAction::Abort(_) => found.iter().filter(|found| found.whose != Whose::Living).collect(),
        };
        let failures = if aborts { abort(&bucket.store, &shown).await } else { Vec::new() };
        show(&shown, selection.json);
        if failures.is_empty() { Ok(()) } else { Err(Failure::new(Exit::Service, failures.join("; "))) }
    })
}

async fn find(bucket: &Bucket, config: &MountConfig, selection: &UploadsSelection) -> Result<Vec<Found>, Failure> {
    let failed = |error: StoreError| Failure::from(diagnosis::explain(&error, &bucket.subject));
    let [living, dead] = known(&bucket.origin, config)?;
    let store = &*bucket.store;
    let now = store.service_time();
    let whose = |upload: &UploadId| match (living.contains(upload), dead.contains(upload)) {
        (true, _) => Whose::Living,
        (false, true) => Whose::Dead,
        (false, false) => Whose::Unknown,
    };
    let pattern = selection.key.as_deref().map(WildMatch::new);
    let is_wanted = |listed: &ListedUpload| {
        let age = now.duration_since(listed.initiated).unwrap_or_default();
        let is_old = selection.older_than.is_none_or(|least| age >= least.0);
        let matches = pattern.as_ref().is_none_or(|pattern| pattern.matches(&listed.key));
        is_old && matches && (!selection.mine || whose(&listed.upload) != Whose::Unknown)
    };
    let listed = store.list_uploads(&config.source.prefix).await.map_err(failed)?;
    let about = |listed: ListedUpload| {
        let whose = whose(&listed.upload);
        async move {
            let parts = parts_of(store, &listed).await?;
            let age = now.duration_since(listed.initiated).unwrap_or_default();
            let ListedUpload { key, upload, initiated } = listed;
            let (parts, bytes) = (parts.len(), parts.iter().sum());
            Ok::<_, StoreError>(Found { key, upload, initiated, age, parts, bytes, whose })
        }
    };
    // Collected first: the compiler cannot show a lazily mapped stream of these futures to be general enough.
    let about: Vec<_> = listed.into_iter().filter(is_wanted).map(about).collect();
    stream::iter(about).buffered(CONCURRENCY).try_collect().await.map_err(failed)
}

/// The uploads that this user's mounts of the bucket on this machine know.
pub(super) fn known(origin: &str, config: &MountConfig) -> Result<[HashSet<UploadId>; 2], Failure> {
    let Some(directory) = &config.state_dir else { return Ok(Default::default()) };
    let directory = directory.join("journal");
    match journal::known_uploads(&directory, &owner(origin, config)) {
        Ok(known) => Ok(known),
        // Without them nobody could say which are those of a mount that lives.
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Failure::new(
            Exit::Failed,
            format!(
                "{} cannot be read: {error}; ask as the user who mounts, or name another --state-dir",
                directory.display()
            ),
        )),
        Err(_) => Ok(Default::default()),
    }
}

/// The sizes of its parts. One that has come to its end meanwhile has none.
async fn parts_of(store: &HttpStore, listed: &ListedUpload) -> Result<Vec<u64>, StoreError> {
    let Ok(key) = ObjectKey::new(&listed.key) else { return Ok(Vec::new()) };
    match store.list_parts(&key, &listed.upload).await {
        Ok(parts) => Ok(parts.into_iter().map(|part| part.size).collect()),
        Err(error) if error.kind == StoreErrorKind::NoSuchUpload => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Aborts them all, and returns what went wrong.
async fn abort(store: &HttpStore, doomed: &[&Found]) -> Vec<String> {
    let abort = |found: &Found| {
        let (key, upload) = (ObjectKey::new(&found.key), found.upload.clone());
        async move {
            match key {
                Ok(key) => store.abort(&key, &upload).await.err().map(|error| error.to_string()),
                Err(error) => Some(format!("upload {upload}: {error}")),
            }
        }
    };
    let aborts: Vec<_> = doomed.iter().copied().map(abort).collect();
    let failures: Vec<Option<String>> = stream::iter(aborts).buffered(CONCURRENCY).collect().await;
    failures.into_iter().flatten().collect()
}

fn show(found: &[&Found], as_json: bool) {
    if as_json {
        let rows: Vec<_> = found.iter().map(|found| row_of_json(found)).collect();
        terminal::tell(&serde_json::Value::Array(rows).to_string());
        return;
    }
    for Found { key, upload, age, parts, bytes, whose, .. } in found {
        let (age, size, whose) = (age_of(*age), ByteSize(*bytes), whose.told());
        let key = terminal::harmless(key);
        terminal::tell(&format!("{key}\t{upload}\t{age}\t{parts} parts\t{size}\t{whose}"));
    }
}

fn row_of_json(found: &Found) -> serde_json::Value {
    json!({
        "key": found.key,
        "upload_id": found.upload.as_str(),
        "initiated": date::iso_milliseconds(found.initiated),
        "age_seconds": found.age.as_secs(),
        "parts": found.parts,
        "bytes": found.bytes,
        "mine": found.whose.in_json(),
    })
}

/// An age in its two largest units.
pub(super) fn age_of(age: Duration) -> String {
    let seconds = age.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d{}h", seconds / 86_400, seconds / 3600 % 24),
    }
}
