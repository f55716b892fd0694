//! `cosmount versions`: what a bucket that keeps versions has of a file, or of all files below a directory.

use serde_json::json;

use super::arguments::VersionsArguments;
use super::failure::{Exit, Failure};
use super::objects::{Objects, What};
use super::{runtime, terminal};
use crate::config::ByteSize;
use crate::store::{ListedVersion, ObjectStore, VersionsRequest};
use crate::wire::date;

/// Shows them, page by page.
pub(super) fn run(arguments: &VersionsArguments) -> Result<(), Failure> {
    runtime()?.block_on(async {
        let objects = Objects::find(&arguments.objects).await?;
        let mut found = match &objects.named {
            Some(key) => versions(&objects, key.as_str(), true).await?,
            None => Vec::new(),
        };
        if let (What::Below(prefix), true) = (&objects.what, found.is_empty()) {
            found = versions(&objects, prefix, false).await?;
        }
        if arguments.json {
            let rows: Vec<_> = found.iter().map(|version| row_of_json(&objects, version)).collect();
            terminal::tell(&serde_json::Value::Array(rows).to_string());
        } else {
            for version in &found {
                terminal::tell(&line(&objects, version));
            }
        }
        if found.is_empty() {
            let what = &arguments.objects.object;
            return Err(Failure::new(Exit::Failed, format!(
                "{what}: there is no version of it, and nothing below it; cosmount versions of what it was in shows what there is"
            )));
        }
        Ok(())
    })
}

/// The versions of the key `prefix`, or of all keys that begin with it.
async fn versions(objects: &Objects, prefix: &str, of_key: bool) -> Result<Vec<ListedVersion>, Failure> {
    let mut wanted = VersionsRequest { prefix: prefix.to_owned(), ..VersionsRequest::default() };
    let mut all = Vec::new();
    loop {
        let page = objects.bucket.store.list_versions(&wanted).await.map_err(|error| objects.failed(&error))?;
        all.extend(page.versions.into_iter().filter(|version| !of_key || version.key == prefix));
        // The key itself comes before all that begin with it.
        wanted.after = page.next.filter(|next| !of_key || next.key == prefix);
        if wanted.after.is_none() {
            return Ok(all);
        }
    }
}

fn line(objects: &Objects, version: &ListedVersion) -> String {
    let ListedVersion { key, version, is_latest, last_modified, object } = version;
    let (size, etag) = match object {
        Some(object) => (ByteSize(object.size).to_string(), object.etag.text().into_owned()),
        None => ("-".to_owned(), "-".to_owned()),
    };
    let state = match (object, is_latest) {
        (Some(_), true) => "current",
        (Some(_), false) => "older",
        (None, _) => "deleted",
    };
    let (key, at) = (terminal::harmless(objects.shown(key)), date::iso_seconds(*last_modified));
    let id = if version.is_empty() { "-" } else { version };
    format!("{id}\t{at}\t{size}\t{etag}\t{state}\t{key}")
}

fn row_of_json(objects: &Objects, version: &ListedVersion) -> serde_json::Value {
    let object = version.object.as_ref();
    json!({
        "key": objects.shown(&version.key),
        "version_id": version.version,
        "time": date::iso_milliseconds(version.last_modified),
        "is_current": version.is_latest,
        "is_deleted": object.is_none(),
        "size": object.map(|object| object.size),
        "etag": object.map(|object| object.etag.text().into_owned()),
        "storage_class": object.map(|object| object.storage_class.clone()),
    })
}
