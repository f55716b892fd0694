//! Objects that a command is about: a file or a directory below a mount, or a key or a prefix of a bucket.

use std::path::Path;

use tokio::runtime::Handle;

use super::arguments::ObjectArguments;
use super::failure::{Exit, Failure};
use super::session::{self, Bucket};
use super::sync::place;
use super::{diagnosis, process_environment, status};
use crate::config::{Aspect, MountConfig, MountRequest, MountSource, OF_A_SERVICE, Service, Settings};
use crate::monitor::CredentialStatus;
use crate::object::ObjectKey;
use crate::store::{ListRequest, ListedObject, ObjectStore, StoreError, StoreErrorKind};

/// The objects of a command, and where they are.
pub(super) struct Objects {
    pub(super) bucket: Bucket,
    pub(super) what: What,
    /// The key as it was named, whether there is an object of it or not; `None` if it can only be a directory.
    pub(super) named: Option<ObjectKey>,
    /// What keys begin with that is not shown.
    pub(super) hidden_prefix: String,
    /// The key of the mount that they are in, which it gives to nobody.
    mounted_by: Option<CredentialStatus>,
}

/// Which objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// One.
    Key(ObjectKey),
    /// All whose keys begin with this.
    Below(String),
}

/// What a command line names, before anybody was asked.
struct Named {
    request: MountRequest,
    /// The whole key or prefix.
    key: String,
    hidden_prefix: String,
    /// Whether it is a directory, where that is known.
    is_directory: Option<bool>,
    /// The key of the mount that it is in.
    mounted_by: Option<CredentialStatus>,
}

impl Objects {
    /// Finds the bucket and what of it is meant.
    pub(super) async fn find(arguments: &ObjectArguments) -> Result<Objects, Failure> {
        let Named { request, key, hidden_prefix, is_directory, mounted_by } = named(arguments)?;
        let config = match MountConfig::build(request, &process_environment()) {
            Ok(config) => config,
            Err(error) if error.aspect() == Aspect::Credentials => {
                return Err(with_mounts_key(error.into(), None, mounted_by.as_ref()));
            }
            Err(error) => return Err(error.into()),
        };
        let bucket = match Bucket::reach(&config, &Handle::current()).await {
            Ok(bucket) => bucket,
            Err(failure) => {
                let own = own_id(&config).await;
                return Err(with_mounts_key(failure, own.as_deref(), mounted_by.as_ref()));
            }
        };
        let is_directory = match is_directory {
            Some(known) => known || key.is_empty(),
            None => key.is_empty() || key.ends_with('/') || is_prefix(&bucket, &key).await?,
        };
        let named = ObjectKey::new(&key).ok().filter(|_| !key.ends_with('/'));
        let what = match is_directory {
            true if key.is_empty() || key.ends_with('/') => What::Below(key),
            true => What::Below(format!("{key}/")),
            false => What::Key(ObjectKey::new(&key).map_err(|error| usage(format!("{key:?}: {error}")))?),
        };
        Ok(Objects { bucket, what, named, hidden_prefix, mounted_by })
    }

    /// All of them by listing, page after page.
    pub(super) async fn listed(&self) -> Result<Vec<ListedObject>, Failure> {
        let prefix = match &self.what {
            What::Key(key) => key.as_str(),
            What::Below(prefix) => prefix,
        };
        let (mut objects, mut marker) = (Vec::new(), None);
        loop {
            let wanted = ListRequest { prefix: prefix.to_owned(), marker, ..ListRequest::default() };
            let page = self.bucket.store.list(wanted).await.map_err(|error| self.failed(&error))?;
            objects.extend(page.objects);
            marker = page.next_marker;
            if marker.is_none() {
                return Ok(objects);
            }
        }
    }

    /// A key as it is shown.
    pub(super) fn shown<'a>(&self, key: &'a str) -> &'a str {
        key.strip_prefix(&self.hidden_prefix).unwrap_or(key)
    }

    /// What a refusal of the service means.
    pub(super) fn failed(&self, error: &StoreError) -> Failure {
        let failure = diagnosis::explain(error, &self.bucket.subject).into();
        match error.kind {
            StoreErrorKind::Denied => {
                with_mounts_key(failure, Some(&self.bucket.subject.secret_id), self.mounted_by.as_ref())
            }
            _ => failure,
        }
    }
}

/// The id that requests would be signed with, if there is any.
async fn own_id(config: &MountConfig) -> Option<String> {
    let Service::Remote { keys, .. } = &config.service else { return None };
    session::first_key(keys, &config.network).await.ok().map(|key| key.secret_id())
}

/// The failure of a command that has no key, or not the right one, below a mount that has another: what that is.
fn with_mounts_key(failure: Failure, own_id: Option<&str>, mounted_by: Option<&CredentialStatus>) -> Failure {
    match mounted_by {
        Some(key) if own_id != Some(&key.id) => {
            let CredentialStatus { id, source, .. } = key;
            let told = format!(
                "the mount has the id {id} from {source}, and gives its key to nobody: this command takes one from its own environment and files"
            );
            Failure { sentence: format!("{}; {told}", failure.sentence), ..failure }
        }
        _ => failure,
    }
}

/// Whether there is no object of that key, and some below it.
async fn is_prefix(bucket: &Bucket, key: &str) -> Result<bool, Failure> {
    let Ok(key) = ObjectKey::new(key) else { return Ok(false) };
    match bucket.store.head(&key).await {
        Err(error) if error.kind == StoreErrorKind::NotFound => Ok(true),
        Err(error) => Err(diagnosis::explain(&error, &bucket.subject).into()),
        Ok(_) => Ok(false),
    }
}

fn named(arguments: &ObjectArguments) -> Result<Named, Failure> {
    let text = &arguments.object;
    match text.split_once(":/") {
        // Any bucket of COS has a name that one of S3 may have; which it is, the configuration says.
        Some((bucket, key)) if !Path::new(text).exists() && MountSource::of_s3(bucket).is_ok() => Ok(Named {
            request: MountRequest { source: Some(bucket.to_owned()), ..arguments.request() },
            key: key.to_owned(),
            hidden_prefix: String::new(),
            is_directory: None,
            mounted_by: None,
        }),
        _ => in_a_mount(arguments, Path::new(text)),
    }
}

/// What a path below a mount is. The mount says which bucket it has, and how it was told to reach that.
fn in_a_mount(arguments: &ObjectArguments, path: &Path) -> Result<Named, Failure> {
    // What was removed has versions, too.
    let removed = path.file_name().filter(|_| path.symlink_metadata().is_err());
    let mut place = match (removed, path.parent()) {
        (Some(_), Some(parent)) if parent.as_os_str().is_empty() => place(Path::new("."))?,
        (Some(_), Some(parent)) => place(parent)?,
        _ => place(path)?,
    };
    if let Some(name) = removed {
        let slash = if place.below.is_empty() { "" } else { "/" };
        place.below.push_str(&format!("{slash}{}", name.to_string_lossy()));
    }
    let status = status::ask(place.daemon, &place.mount_point.display().to_string())?;
    let mut as_mounted = Settings::default();
    for (name, value) in status.options.iter().filter(|(name, _)| OF_A_SERVICE.contains(&name.as_str())) {
        as_mounted.set("the mount", name, value)?;
    }
    let source = match as_mounted.s3 {
        Some(true) => MountSource::of_s3(&status.source)?,
        _ => status.source.parse()?,
    };
    // One that brings its own service was told of none.
    if as_mounted.endpoint.is_none() && as_mounted.region.is_none() && as_mounted.accelerate.is_none() {
        as_mounted.endpoint = Some(status.endpoint);
    }
    let request = arguments.request();
    let flags = request.flags.over(as_mounted);
    let is_directory = path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir());
    Ok(Named {
        request: MountRequest { source: Some(source.bucket.to_string()), flags, ..request },
        key: format!("{}{}", source.prefix, place.below),
        hidden_prefix: source.prefix,
        is_directory: Some(is_directory),
        mounted_by: Some(status.credentials),
    })
}

fn usage(sentence: String) -> Failure {
    Failure::new(Exit::Usage, sentence)
}
