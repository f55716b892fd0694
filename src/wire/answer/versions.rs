//! Listings of the versions of objects (`cos-api.md` 5.3).

use std::time::SystemTime;

use super::listing::{common_prefixes, read_party, storage_class, write_party};
use super::{AnswerError, PAGE_ENTRIES_MAX, listed, root_of, says_url, unlisted, unlisted_or_marked};
use crate::object::ETag;
use crate::wire::date;
use crate::wire::xml::{Element, XmlError, XmlWriter};

/// The version of an object that is older than versioning, or was written while that was suspended.
pub const NULL_VERSION: &str = "null";

/// The answer to List Object Versions. All keys and prefixes are unescaped here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListVersionsResult {
    /// The bucket.
    pub bucket: String,
    /// The prefix that was asked for.
    pub prefix: String,
    /// The delimiter that was asked for; empty for none.
    pub delimiter: String,
    /// The key marker that was asked for.
    pub key_marker: String,
    /// The version marker that was asked for.
    pub version_id_marker: String,
    /// The most entries that were asked for.
    pub max_keys: u32,
    /// Whether keys are escaped on the wire.
    pub url_encoded: bool,
    /// Whether there is more.
    pub is_truncated: bool,
    /// The key marker of the next page, where there is one.
    pub next_key_marker: Option<String>,
    /// The version marker of the next page, where there is one.
    pub next_version_id_marker: Option<String>,
    /// The versions, by key and then from the newest on.
    pub versions: Vec<VersionEntry>,
    /// The common prefixes.
    pub common_prefixes: Vec<String>,
}

/// What a listing says of a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionEntry {
    /// The key.
    pub key: String,
    /// The version's id; empty in a bucket that never had versions.
    pub version: String,
    /// Whether it is the newest of its key.
    pub is_latest: bool,
    /// When it was written.
    pub last_modified: SystemTime,
    /// The account that owns it; empty where the service does not say.
    pub owner: String,
    /// The object; `None` where it was deleted.
    pub object: Option<VersionObject>,
}

/// What a listing says of a version that is an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionObject {
    /// Its ETag.
    pub etag: ETag,
    /// Bytes in it.
    pub size: u64,
    /// Its storage class, `STANDARD` too.
    pub storage_class: String,
}

impl ListVersionsResult {
    /// Writes the body.
    pub fn encode(&self) -> String {
        let key = |key: &str| listed(key, self.url_encoded);
        let mut xml = XmlWriter::with_capacity(512 + self.versions.len() * 512);
        xml.element("ListVersionsResult", |xml| {
            xml.leaf_if("EncodingType", self.url_encoded.then_some("url"));
            xml.leaf("Name", &self.bucket);
            xml.leaf("Prefix", key(&self.prefix));
            xml.leaf("KeyMarker", key(&self.key_marker));
            xml.leaf("VersionIdMarker", &self.version_id_marker);
            xml.leaf("MaxKeys", self.max_keys);
            xml.leaf("IsTruncated", self.is_truncated);
            xml.leaf_if("NextKeyMarker", self.next_key_marker.as_deref().map(key));
            xml.leaf_if("NextVersionIdMarker", self.next_version_id_marker.as_ref());
            xml.leaf_if("Delimiter", (!self.delimiter.is_empty()).then_some(&self.delimiter));
            for prefix in &self.common_prefixes {
                xml.element("CommonPrefixes", |xml| xml.leaf("Prefix", key(prefix)));
            }
            for version in &self.versions {
                version.write(xml, self.url_encoded);
            }
        });
        xml.finish()
    }

    /// Reads the body.
    pub fn decode(body: &[u8]) -> Result<ListVersionsResult, AnswerError> {
        let root = root_of(body, "ListVersionsResult")?;
        let url_encoded = says_url(&root);
        let key = |name| unlisted(name, root.text_or_empty(name), url_encoded);
        let text = |name| Some(root.text_or_empty(name).to_owned()).filter(|text: &String| !text.is_empty());
        let entries = root.all_children().filter(|entry| ["Version", "DeleteMarker"].contains(&entry.name.as_str()));
        Ok(ListVersionsResult {
            bucket: root.text_or_empty("Name").to_owned(),
            prefix: key("Prefix")?,
            delimiter: root.text_or_empty("Delimiter").to_owned(),
            key_marker: key("KeyMarker")?,
            version_id_marker: root.text_or_empty("VersionIdMarker").to_owned(),
            max_keys: root.number_or("MaxKeys", PAGE_ENTRIES_MAX)?,
            url_encoded,
            is_truncated: root.flag("IsTruncated"),
            next_key_marker: Some(key("NextKeyMarker")?).filter(|marker| !marker.is_empty()),
            next_version_id_marker: text("NextVersionIdMarker"),
            versions: entries.map(|entry| VersionEntry::of(entry, url_encoded)).collect::<Result<_, _>>()?,
            common_prefixes: common_prefixes(&root, url_encoded),
        })
    }
}

impl VersionEntry {
    fn write(&self, xml: &mut XmlWriter, url_encoded: bool) {
        let name = if self.object.is_some() { "Version" } else { "DeleteMarker" };
        xml.element(name, |xml| {
            xml.leaf("Key", listed(&self.key, url_encoded));
            xml.leaf("VersionId", &self.version);
            xml.leaf("IsLatest", self.is_latest);
            xml.leaf("LastModified", date::iso_milliseconds(self.last_modified));
            if let Some(VersionObject { etag, size, storage_class }) = &self.object {
                xml.leaf("ETag", etag.quoted());
                xml.leaf("Size", size);
                xml.leaf("StorageClass", storage_class);
            }
            write_party(xml, "Owner", &self.owner);
        });
    }

    fn of(entry: &Element, url_encoded: bool) -> Result<VersionEntry, XmlError> {
        let object = match entry.name.as_str() {
            "Version" => Some(VersionObject {
                etag: ETag::new(entry.text("ETag")?),
                size: entry.number("Size")?,
                storage_class: storage_class(entry),
            }),
            _ => None,
        };
        Ok(VersionEntry {
            key: unlisted_or_marked(entry.text("Key")?, url_encoded),
            version: entry.text_or_empty("VersionId").to_owned(),
            is_latest: entry.flag("IsLatest"),
            last_modified: entry.date("LastModified")?,
            owner: read_party(entry, "Owner"),
            object,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn versions_and_what_was_deleted_come_back_in_order() {
        let version = |version: &str, object| VersionEntry {
            key: "a b/\n".into(),
            version: version.into(),
            is_latest: version == "3",
            last_modified: UNIX_EPOCH + Duration::from_millis(1_500),
            owner: "125".into(),
            object,
        };
        let object = VersionObject { etag: ETag::new("e"), size: 7, storage_class: "ARCHIVE".into() };
        let result = ListVersionsResult {
            bucket: "b-125".into(),
            max_keys: 1000,
            url_encoded: true,
            is_truncated: true,
            next_key_marker: Some("a b/\n".into()),
            next_version_id_marker: Some("null".into()),
            versions: vec![version("3", None), version("2", Some(object.clone())), version("null", Some(object))],
            common_prefixes: vec!["c/".into()],
            ..ListVersionsResult::default()
        };
        assert_eq!(ListVersionsResult::decode(result.encode().as_bytes()).unwrap(), result);
    }
}
