//! Pages of objects and of unfinished uploads, in the order of the index.
//!
//! A group of keys that a delimiter folds into one common prefix costs one step, however many keys it has: the walk
//! seeks past them.

use std::ops::Bound;

use redb::ReadableTable;

use crate::object::BucketName;

use super::error::Rule;
use super::index::Bytewise;
use super::records::{ObjectRecord, UploadRecord, decode};
use super::{Storage, StorageError};

/// Which objects a page is to have (`cos-api.md` 5.2). Empty texts stand for parameters that were not sent.
#[derive(Clone, Debug, Default)]
pub(in crate::server) struct ListQuery {
    pub prefix: String,
    pub delimiter: String,
    /// Only what sorts after it.
    pub marker: String,
    /// Keys and common prefixes together.
    pub count_max: usize,
}

/// One page of objects.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::server) struct ObjectPage {
    pub objects: Vec<(String, ObjectRecord)>,
    pub common_prefixes: Vec<String>,
    /// Where the next page begins; `None` on the last page.
    pub next_marker: Option<String>,
}

/// Which uploads a page is to have (`cos-api.md` 4.8).
#[derive(Clone, Debug, Default)]
pub(in crate::server) struct UploadQuery {
    pub prefix: String,
    pub delimiter: String,
    pub key_marker: String,
    /// With it, uploads of `key_marker` itself with larger ids count too.
    pub upload_id_marker: String,
    /// Uploads and common prefixes together.
    pub count_max: usize,
}

/// One upload of a page.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::server) struct ListedUpload {
    pub key: String,
    pub id: String,
    pub record: UploadRecord,
}

/// One page of uploads.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::server) struct UploadPage {
    pub uploads: Vec<ListedUpload>,
    pub common_prefixes: Vec<String>,
    /// Key and upload id where the next page begins; `None` on the last page.
    pub next: Option<(String, String)>,
}

impl Storage {
    /// One page of the objects of a bucket.
    ///
    /// Refused with [`Rule::NoSuchBucket`].
    pub(in crate::server) fn list(&self, bucket: &BucketName, query: &ListQuery) -> Result<ObjectPage, StorageError> {
        let snapshot = self.index.snapshot()?;
        if snapshot.buckets()?.get(bucket.as_str())?.is_none() {
            return Err(Rule::NoSuchBucket.into());
        }
        list_objects(&snapshot.objects()?, bucket.as_str(), query)
    }

    /// One page of the unfinished uploads of a bucket.
    ///
    /// Refused with [`Rule::NoSuchBucket`].
    pub(in crate::server) fn list_uploads(
        &self,
        bucket: &BucketName,
        query: &UploadQuery,
    ) -> Result<UploadPage, StorageError> {
        let snapshot = self.index.snapshot()?;
        if snapshot.buckets()?.get(bucket.as_str())?.is_none() {
            return Err(Rule::NoSuchBucket.into());
        }
        list_uploads(&snapshot.uploads()?, bucket.as_str(), query)
    }
}

/// Where a walk goes on.
pub(super) enum Start {
    At(String),
    After(String),
    Nowhere,
}

impl Start {
    /// After every key that begins with `prefix`.
    pub(super) fn past(prefix: &str) -> Start {
        successor_of_prefix(prefix).map_or(Start::Nowhere, Start::At)
    }

    pub(super) fn bound(&self) -> Option<Bound<&str>> {
        match self {
            Start::At(key) => Some(Bound::Included(key)),
            Start::After(key) => Some(Bound::Excluded(key)),
            Start::Nowhere => None,
        }
    }
}

/// Where a page begins whose marker is `marker`.
pub(super) fn first_start(prefix: &str, delimiter: &str, marker: &str) -> Start {
    if marker < prefix || marker.is_empty() {
        return Start::At(prefix.to_owned());
    }
    // A marker that is a common prefix itself stands for all that it folds.
    if group_of(marker, prefix, delimiter) == Some(marker) {
        return Start::past(marker);
    }
    Start::After(marker.to_owned())
}

fn list_objects(
    rows: &impl ReadableTable<(&'static str, &'static str), Bytewise>,
    bucket: &str,
    query: &ListQuery,
) -> Result<ObjectPage, StorageError> {
    let ListQuery { prefix, delimiter, marker, count_max } = query;
    let mut page = ObjectPage::default();
    if *count_max == 0 {
        return Ok(page);
    }
    let mut latest = String::new();
    let mut start = first_start(prefix, delimiter, marker);
    'seek: while let Some(bound) = start.bound() {
        let range = (bound.map(|key| (bucket, key)), Bound::Unbounded);
        for row in rows.range::<(&str, &str)>(range)? {
            let (id, record) = row?;
            let (row_bucket, key) = id.value();
            if row_bucket != bucket || !key.starts_with(prefix) {
                break 'seek;
            }
            if page.objects.len() + page.common_prefixes.len() == *count_max {
                page.next_marker = Some(latest);
                break 'seek;
            }
            if let Some(group) = group_of(key, prefix, delimiter) {
                latest = group.to_owned();
                start = Start::past(group);
                page.common_prefixes.push(group.to_owned());
                continue 'seek;
            }
            latest = key.to_owned();
            page.objects.push((key.to_owned(), decode(record.value())?));
        }
        break;
    }
    Ok(page)
}

fn list_uploads(
    rows: &impl ReadableTable<(&'static str, &'static str, &'static str), Bytewise>,
    bucket: &str,
    query: &UploadQuery,
) -> Result<UploadPage, StorageError> {
    let UploadQuery { prefix, delimiter, key_marker, upload_id_marker, count_max } = query;
    let mut page = UploadPage::default();
    if *count_max == 0 {
        return Ok(page);
    }
    let mut latest = (String::new(), String::new());
    let mut start = first_start(prefix, delimiter, key_marker);
    if let Start::After(key) = &start
        && !upload_id_marker.is_empty()
    {
        start = Start::At(key.clone());
    }
    'seek: while let Some(bound) = start.bound() {
        let from = match bound {
            Bound::Included(key) => Bound::Included((bucket, key, "")),
            // After all ids of the key: ids are hexadecimal digits, which sort before this.
            Bound::Excluded(key) => Bound::Included((bucket, key, "\u{10FFFF}")),
            Bound::Unbounded => Bound::Unbounded,
        };
        for row in rows.range::<(&str, &str, &str)>((from, Bound::Unbounded))? {
            let (row_id, record) = row?;
            let (row_bucket, key, id) = row_id.value();
            if row_bucket != bucket || !key.starts_with(prefix) {
                break 'seek;
            }
            if key == key_marker && !upload_id_marker.is_empty() && id <= upload_id_marker.as_str() {
                continue;
            }
            if page.uploads.len() + page.common_prefixes.len() == *count_max {
                page.next = Some(latest);
                break 'seek;
            }
            if let Some(group) = group_of(key, prefix, delimiter) {
                latest = (group.to_owned(), String::new());
                start = Start::past(group);
                page.common_prefixes.push(group.to_owned());
                continue 'seek;
            }
            latest = (key.to_owned(), id.to_owned());
            page.uploads.push(ListedUpload { key: key.to_owned(), id: id.to_owned(), record: decode(record.value())? });
        }
        break;
    }
    Ok(page)
}

/// The common prefix that a delimiter folds `key` into: up to and with the first delimiter after `prefix`.
pub(super) fn group_of<'k>(key: &'k str, prefix: &str, delimiter: &str) -> Option<&'k str> {
    if delimiter.is_empty() {
        return None;
    }
    let rest = key.strip_prefix(prefix)?;
    let at = rest.find(delimiter)?;
    Some(&key[..prefix.len() + at + delimiter.len()])
}

/// The smallest text that sorts after every text that begins with `prefix`, by bytes of UTF-8, which is the order of
/// code points. `None` if there is none.
fn successor_of_prefix(prefix: &str) -> Option<String> {
    let mut head = prefix.to_owned();
    while let Some(last) = head.pop() {
        // The surrogates are no characters; what sorts after U+D7FF is U+E000.
        let next = if last == '\u{D7FF}' { Some('\u{E000}') } else { char::from_u32(u32::from(last) + 1) };
        if let Some(next) = next {
            head.push(next);
            return Some(head);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_successor_sorts_after_all_that_begins_with_the_prefix() {
        let table = [
            ("dir/", Some("dir0")),
            ("a", Some("b")),
            ("\u{7F}", Some("\u{80}")),
            ("a\u{D7FF}", Some("a\u{E000}")),
            ("a\u{10FFFF}", Some("b")),
            ("\u{10FFFF}", None),
            ("", None),
        ];
        for (prefix, expected) in table {
            let successor = successor_of_prefix(prefix);
            assert_eq!(successor.as_deref(), expected, "{prefix:?}");
            if let Some(successor) = successor {
                assert!(successor.as_str() > format!("{prefix}\u{10FFFF}").as_str());
            }
        }
    }

    #[test]
    fn a_key_is_folded_at_the_first_delimiter_after_the_prefix() {
        let table = [
            (("a/b/c", "", "/"), Some("a/")),
            (("a/b/c", "a/", "/"), Some("a/b/")),
            (("a/b", "a/", "/"), None),
            (("a/", "a/", "/"), None),
            (("a/b/c", "", ""), None),
            (("a腾b", "", "腾"), Some("a腾")),
        ];
        for ((key, prefix, delimiter), expected) in table {
            assert_eq!(group_of(key, prefix, delimiter), expected, "{key} {prefix} {delimiter}");
        }
    }
}
