//! Older versions of objects, and what marks that one was deleted (`cos-api.md` 3.4, 5.3).
//!
//! The newest version is the object, as in a bucket without versions. Older ones, and the marks of deletions, are rows of their
//! own, numbered downwards as they come, so that the newest of a key is its first. A key that was deleted has no object, and
//! a mark that comes first.
//!
//! INVARIANT: a key has at most one version without an id, the null version.

use std::ops::Bound;

use redb::ReadableTable;
use serde::{Deserialize, Serialize};

use crate::object::{BucketName, ObjectKey};
use crate::wire::answer::NULL_VERSION;

use super::content::{give_up, require_bucket};
use super::error::Rule;
use super::index::{Bytewise, Tables};
use super::listing::{Start, first_start, group_of};
use super::records::{BucketRecord, ObjectRecord, VersioningRecord, decode, encode};
use super::{Storage, StorageError, Write};

/// A version that is not the object of its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::server) enum VersionRecord {
    /// An older object.
    Object(Box<ObjectRecord>),
    /// The object was deleted.
    Deleted {
        /// `None` is the null version.
        version: Option<String>,
        /// Seconds after the Unix epoch.
        modified: u64,
    },
}

impl VersionRecord {
    pub(in crate::server) fn version(&self) -> Option<&str> {
        match self {
            VersionRecord::Object(record) => record.version.as_deref(),
            VersionRecord::Deleted { version, .. } => version.as_deref(),
        }
    }
}

/// What a deletion has left or taken away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::server) struct Deletion {
    /// Whether a mark was made or, of a version that was named, removed.
    pub is_mark: bool,
    /// The version that this is about.
    pub version: Option<String>,
}

/// Which versions a page is to have (`cos-api.md` 5.3).
#[derive(Clone, Debug, Default)]
pub(in crate::server) struct VersionQuery {
    pub prefix: String,
    pub delimiter: String,
    pub key_marker: String,
    /// With it, older versions of `key_marker` itself count too.
    pub version_id_marker: String,
    /// Versions and common prefixes together.
    pub count_max: usize,
}

/// One page of versions.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::server) struct VersionPage {
    /// With their keys, and whether each is the newest.
    pub versions: Vec<(String, bool, VersionRecord)>,
    pub common_prefixes: Vec<String>,
    /// Key and version where the next page begins; `None` on the last page.
    pub next: Option<(String, String)>,
}

type VersionRow = (&'static str, &'static str, u64);

/// The id of a version that has none.
const NULL: &str = NULL_VERSION;

/// Whether a request means the version `of`.
fn is_meant(of: Option<&str>, wanted: &str) -> bool {
    of.unwrap_or(NULL) == wanted
}

/// What the bucket does with versions.
pub(super) fn versioning(tables: &Tables<'_>, bucket: &str) -> Result<VersioningRecord, StorageError> {
    match tables.buckets.get(bucket)? {
        Some(row) => Ok(decode::<BucketRecord>(row.value())?.versioning),
        None => Err(Rule::NoSuchBucket.into()),
    }
}

/// An id in the form of the service's.
fn fresh_version() -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD_NO_PAD.encode(format!("{:020}", fastrand::u64(..)))
}

/// Writes an object whose content is counted already in the place of its key's, which becomes an older version or is given up.
pub(super) fn replace(tables: &mut Tables<'_>, write: &Write, record: &mut ObjectRecord) -> Result<(), StorageError> {
    let (bucket, key) = (write.bucket.as_str(), write.key.as_str());
    let versioning = versioning(tables, bucket)?;
    record.version = (versioning == VersioningRecord::Enabled).then(fresh_version);
    let replaced = tables.objects.insert((bucket, key), &encode(record)?)?;
    let replaced: Option<ObjectRecord> = replaced.map(|row| decode(row.value())).transpose()?;
    retire(tables, (bucket, key), versioning, replaced)
}

/// Deletes the object of a key, or with versions marks it as deleted.
pub(super) fn delete(tables: &mut Tables<'_>, bucket: &str, key: &str, now: u64) -> Result<Deletion, StorageError> {
    let versioning = versioning(tables, bucket)?;
    let removed = tables.objects.remove((bucket, key))?;
    let removed: Option<ObjectRecord> = removed.map(|row| decode(row.value())).transpose()?;
    retire(tables, (bucket, key), versioning, removed)?;
    if versioning == VersioningRecord::Never {
        return Ok(Deletion::default());
    }
    let version = (versioning == VersioningRecord::Enabled).then(fresh_version);
    push(tables, (bucket, key), &VersionRecord::Deleted { version: version.clone(), modified: now })?;
    Ok(Deletion { is_mark: true, version: Some(version.unwrap_or_else(|| NULL.to_owned())) })
}

/// Removes one version for good. The newest that is left becomes the object.
pub(super) fn delete_version(
    tables: &mut Tables<'_>,
    bucket: &str,
    key: &str,
    wanted: &str,
) -> Result<Deletion, StorageError> {
    let current: Option<ObjectRecord> =
        tables.objects.get((bucket, key))?.map(|row| decode(row.value())).transpose()?;
    if let Some(record) = current.filter(|record| is_meant(record.version.as_deref(), wanted)) {
        tables.objects.remove((bucket, key))?;
        give_up(tables, &record.content)?;
        promote(tables, bucket, key)?;
        return Ok(Deletion { is_mark: false, version: Some(wanted.to_owned()) });
    }
    let Some((order, record)) = find(&*tables.versions, bucket, key, wanted)? else { return Ok(Deletion::default()) };
    tables.versions.remove((bucket, key, order))?;
    if let VersionRecord::Object(record) = &record {
        give_up(tables, &record.content)?;
    }
    promote(tables, bucket, key)?;
    Ok(Deletion { is_mark: matches!(record, VersionRecord::Deleted { .. }), version: Some(wanted.to_owned()) })
}

/// Makes what was the object an older version, or gives it up; a null version that is about to be written anew goes as well.
fn retire(
    tables: &mut Tables<'_>,
    (bucket, key): (&str, &str),
    versioning: VersioningRecord,
    old: Option<ObjectRecord>,
) -> Result<(), StorageError> {
    match old {
        Some(old)
            if versioning == VersioningRecord::Enabled
                || versioning == VersioningRecord::Suspended && old.version.is_some() =>
        {
            push(tables, (bucket, key), &VersionRecord::Object(Box::new(old)))?;
        }
        Some(old) => give_up(tables, &old.content)?,
        None => {}
    }
    if versioning != VersioningRecord::Suspended {
        return Ok(());
    }
    let Some((order, null)) = find(&*tables.versions, bucket, key, NULL)? else { return Ok(()) };
    tables.versions.remove((bucket, key, order))?;
    match null {
        VersionRecord::Object(record) => give_up(tables, &record.content),
        VersionRecord::Deleted { .. } => Ok(()),
    }
}

/// Adds the newest of the older versions of a key.
fn push(tables: &mut Tables<'_>, (bucket, key): (&str, &str), record: &VersionRecord) -> Result<(), StorageError> {
    /// In the middle, so that there is room for all that come before and after.
    const FIRST: u64 = u64::MAX / 2;
    let newest = versions_of(&*tables.versions, bucket, key)?.next().transpose()?;
    let order = newest.map_or(FIRST, |(order, _)| order - 1);
    tables.versions.insert((bucket, key, order), &encode(record)?)?;
    Ok(())
}

/// Makes the newest version the object of a key that has none, unless it marks a deletion.
fn promote(tables: &mut Tables<'_>, bucket: &str, key: &str) -> Result<(), StorageError> {
    if tables.objects.get((bucket, key))?.is_some() {
        return Ok(());
    }
    let newest = versions_of(&*tables.versions, bucket, key)?.next().transpose()?;
    let Some((order, VersionRecord::Object(record))) = newest else { return Ok(()) };
    tables.versions.remove((bucket, key, order))?;
    tables.objects.insert((bucket, key), &encode(&*record)?)?;
    Ok(())
}

/// The older versions of a key, from the newest on.
fn versions_of(
    rows: &impl ReadableTable<VersionRow, Bytewise>,
    bucket: &str,
    key: &str,
) -> Result<impl Iterator<Item = Result<(u64, VersionRecord), StorageError>>, StorageError> {
    let range = rows.range::<(&str, &str, u64)>((bucket, key, 0)..=(bucket, key, u64::MAX))?;
    Ok(range.map(|row| {
        let (id, record) = row?;
        Ok((id.value().2, decode(record.value())?))
    }))
}

fn find(
    rows: &impl ReadableTable<VersionRow, Bytewise>,
    bucket: &str,
    key: &str,
    wanted: &str,
) -> Result<Option<(u64, VersionRecord)>, StorageError> {
    for version in versions_of(rows, bucket, key)? {
        let (order, record) = version?;
        if is_meant(record.version(), wanted) {
            return Ok(Some((order, record)));
        }
    }
    Ok(None)
}

/// The object that a version is. Refused with [`Rule::NoSuchVersion`] and [`Rule::IsDeleted`].
pub(super) fn version_in(
    objects: &impl ReadableTable<(&'static str, &'static str), Bytewise>,
    versions: &impl ReadableTable<VersionRow, Bytewise>,
    (bucket, key): (&str, &str),
    wanted: &str,
) -> Result<ObjectRecord, StorageError> {
    let current: Option<ObjectRecord> = objects.get((bucket, key))?.map(|row| decode(row.value())).transpose()?;
    if let Some(record) = current.filter(|record| is_meant(record.version.as_deref(), wanted)) {
        return Ok(record);
    }
    match find(versions, bucket, key, wanted)? {
        Some((_, VersionRecord::Object(record))) => Ok(*record),
        Some((_, VersionRecord::Deleted { .. })) => Err(Rule::IsDeleted.into()),
        None => Err(Rule::NoSuchVersion.into()),
    }
}

impl Storage {
    /// Switches versions on, or suspends them.
    ///
    /// Refused with [`Rule::NoSuchBucket`].
    pub(in crate::server) async fn set_versioning(
        &self,
        bucket: &BucketName,
        versioning: VersioningRecord,
    ) -> Result<(), StorageError> {
        let bucket = bucket.clone();
        let change = self.index.change(move |tables| {
            require_bucket(tables, bucket.as_str())?;
            let record = tables.buckets.get(bucket.as_str())?.map(|row| decode::<BucketRecord>(row.value()));
            let Some(record) = record.transpose()? else { return Err(Rule::NoSuchBucket.into()) };
            tables.buckets.insert(bucket.as_str(), &encode(&BucketRecord { versioning, ..record })?)?;
            Ok(())
        });
        change.await
    }

    /// Deletes objects, or versions of them where these are named. Returns what became of each, in order.
    ///
    /// Refused with [`Rule::NoSuchBucket`].
    pub(in crate::server) async fn delete(
        &self,
        bucket: &BucketName,
        doomed: Vec<(ObjectKey, Option<String>)>,
        now: u64,
    ) -> Result<Vec<Deletion>, StorageError> {
        let bucket = bucket.clone();
        let change = self.index.change(move |tables| {
            require_bucket(tables, bucket.as_str())?;
            let mut deleted = Vec::with_capacity(doomed.len());
            for (key, version) in doomed {
                deleted.push(match version {
                    Some(version) => delete_version(tables, bucket.as_str(), key.as_str(), &version)?,
                    None => delete(tables, bucket.as_str(), key.as_str(), now)?,
                });
            }
            Ok(deleted)
        });
        change.await
    }

    /// One page of versions.
    ///
    /// Refused with [`Rule::NoSuchBucket`].
    pub(in crate::server) fn list_versions(
        &self,
        bucket: &BucketName,
        query: &VersionQuery,
    ) -> Result<VersionPage, StorageError> {
        let snapshot = self.index.snapshot()?;
        if snapshot.buckets()?.get(bucket.as_str())?.is_none() {
            return Err(Rule::NoSuchBucket.into());
        }
        let (objects, versions) = (snapshot.objects()?, snapshot.versions()?);
        let mut page = VersionPage::default();
        if query.count_max == 0 {
            return Ok(page);
        }
        let (bucket, mut latest) = (bucket.as_str(), (String::new(), String::new()));
        let mut start = first_start(&query.prefix, &query.delimiter, &query.key_marker);
        if let Start::After(key) = &start
            && !query.version_id_marker.is_empty()
        {
            start = Start::At(key.clone());
        }
        while let Some(key) = next_key(&objects, &versions, bucket, &start)? {
            if !key.starts_with(&query.prefix) {
                return Ok(page);
            }
            if let Some(group) = group_of(&key, &query.prefix, &query.delimiter) {
                if page.versions.len() + page.common_prefixes.len() == query.count_max {
                    page.next = Some(latest);
                    return Ok(page);
                }
                latest = (group.to_owned(), String::new());
                start = Start::past(group);
                page.common_prefixes.push(group.to_owned());
                continue;
            }
            let current = objects.get((bucket, key.as_str()))?.map(|row| decode(row.value())).transpose()?;
            let mut all: Vec<VersionRecord> = current.map(Box::new).map(VersionRecord::Object).into_iter().collect();
            for version in versions_of(&versions, bucket, &key)? {
                all.push(version?.1);
            }
            let is_marked = key == query.key_marker && !query.version_id_marker.is_empty();
            let skipped = match is_marked {
                true => all
                    .iter()
                    .position(|record| is_meant(record.version(), &query.version_id_marker))
                    .map_or(0, |at| at + 1),
                false => 0,
            };
            for (at, record) in all.into_iter().enumerate().skip(skipped) {
                if page.versions.len() + page.common_prefixes.len() == query.count_max {
                    page.next = Some(latest);
                    return Ok(page);
                }
                latest = (key.clone(), record.version().unwrap_or(NULL).to_owned());
                page.versions.push((key.clone(), at == 0, record));
            }
            start = Start::After(key);
        }
        Ok(page)
    }
}

/// The next key that has an object or an older version.
fn next_key(
    objects: &impl ReadableTable<(&'static str, &'static str), Bytewise>,
    versions: &impl ReadableTable<VersionRow, Bytewise>,
    bucket: &str,
    start: &Start,
) -> Result<Option<String>, StorageError> {
    let Some(bound) = start.bound() else { return Ok(None) };
    let range = (bound.map(|key| (bucket, key)), Bound::Unbounded);
    let object = objects.range::<(&str, &str)>(range)?.next().transpose()?;
    let from = match bound {
        Bound::Included(key) => Bound::Included((bucket, key, 0)),
        Bound::Excluded(key) => Bound::Excluded((bucket, key, u64::MAX)),
        Bound::Unbounded => Bound::Unbounded,
    };
    let version = versions.range::<(&str, &str, u64)>((from, Bound::Unbounded))?.next().transpose()?;
    let object = object.filter(|(id, _)| id.value().0 == bucket).map(|(id, _)| id.value().1.to_owned());
    let version = version.filter(|(id, _)| id.value().0 == bucket).map(|(id, _)| id.value().1.to_owned());
    Ok(object.into_iter().chain(version).min())
}
