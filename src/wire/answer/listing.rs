//! Listings of objects and of unfinished uploads (`cos-api.md` 5.2, 4.8).

use std::time::SystemTime;

use super::{AnswerError, listed, root_of, says_url, unlisted, unlisted_or_marked};
use crate::object::{ETag, UploadId};
use crate::wire::attributes::STANDARD;
use crate::wire::date;
use crate::wire::xml::{Element, XmlError, XmlWriter};

/// The most entries of one page.
pub const PAGE_ENTRIES_MAX: u32 = 1000;

/// The answer to List Objects. All keys and prefixes are unescaped here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListBucketResult {
    /// The bucket.
    pub bucket: String,
    /// The prefix that was asked for.
    pub prefix: String,
    /// The marker that was asked for.
    pub marker: String,
    /// The most entries that were asked for.
    pub max_keys: u32,
    /// The delimiter that was asked for; empty for none.
    pub delimiter: String,
    /// Whether keys are escaped on the wire.
    pub url_encoded: bool,
    /// Whether there is more.
    pub is_truncated: bool,
    /// The last key or common prefix of this page, exactly where there is more.
    pub next_marker: Option<String>,
    /// The common prefixes.
    pub common_prefixes: Vec<String>,
    /// The objects.
    pub contents: Vec<Contents>,
}

/// What a listing says of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// The key.
    pub key: String,
    /// When it was last written.
    pub last_modified: SystemTime,
    /// Its version.
    pub etag: ETag,
    /// Bytes in it.
    pub size: u64,
    /// The account that owns it; empty where the service does not say.
    pub owner: String,
    /// Its storage class, `STANDARD` too.
    pub storage_class: String,
}

impl ListBucketResult {
    /// Writes the body.
    pub fn encode(&self) -> String {
        let key = |key: &str| listed(key, self.url_encoded);
        let mut xml = XmlWriter::with_capacity(512 + self.contents.len() * 400 + self.common_prefixes.len() * 100);
        xml.element("ListBucketResult", |xml| {
            xml.leaf("Name", &self.bucket);
            xml.leaf_if("EncodingType", self.url_encoded.then_some("url"));
            xml.leaf("Prefix", key(&self.prefix));
            xml.leaf("Marker", key(&self.marker));
            xml.leaf("MaxKeys", self.max_keys);
            xml.leaf_if("Delimiter", (!self.delimiter.is_empty()).then_some(&self.delimiter));
            xml.leaf("IsTruncated", self.is_truncated);
            xml.leaf_if("NextMarker", self.next_marker.as_deref().map(key));
            for prefix in &self.common_prefixes {
                xml.element("CommonPrefixes", |xml| xml.leaf("Prefix", key(prefix)));
            }
            for object in &self.contents {
                object.write(xml, self.url_encoded, true);
            }
        });
        xml.finish()
    }

    /// Writes the body in version 2 of S3: with the token that was sent and the one to go on with, and each object's owner only if
    /// `with_owner`.
    pub fn encode_second(
        &self,
        token: Option<&str>,
        next: Option<&str>,
        start_after: Option<&str>,
        with_owner: bool,
    ) -> String {
        let key = |key: &str| listed(key, self.url_encoded);
        let mut xml = XmlWriter::with_capacity(512 + self.contents.len() * 400 + self.common_prefixes.len() * 100);
        xml.element("ListBucketResult", |xml| {
            xml.leaf("Name", &self.bucket);
            xml.leaf_if("EncodingType", self.url_encoded.then_some("url"));
            xml.leaf("Prefix", key(&self.prefix));
            xml.leaf_if("StartAfter", start_after.map(key));
            xml.leaf("MaxKeys", self.max_keys);
            xml.leaf_if("Delimiter", (!self.delimiter.is_empty()).then(|| key(&self.delimiter)));
            xml.leaf("IsTruncated", self.is_truncated);
            xml.leaf("KeyCount", self.contents.len() + self.common_prefixes.len());
            xml.leaf_if("ContinuationToken", token);
            xml.leaf_if("NextContinuationToken", next);
            for object in &self.contents {
                object.write(xml, self.url_encoded, with_owner);
            }
            for prefix in &self.common_prefixes {
                xml.element("CommonPrefixes", |xml| xml.leaf("Prefix", key(prefix)));
            }
        });
        xml.finish()
    }

    /// Reads the body.
    pub fn decode(body: &[u8]) -> Result<ListBucketResult, AnswerError> {
        let root = root_of(body, "ListBucketResult")?;
        let url_encoded = says_url(&root);
        let key = |name| unlisted(name, root.text_or_empty(name), url_encoded);
        let is_truncated = root.flag("IsTruncated");
        // One that cannot be read cannot be sent back either: the last key that can be read marks the page as well.
        let next_marker = if is_truncated { key("NextMarker").ok() } else { None };
        Ok(ListBucketResult {
            bucket: root.text_or_empty("Name").to_owned(),
            prefix: key("Prefix")?,
            marker: key("Marker")?,
            max_keys: root.number_or("MaxKeys", PAGE_ENTRIES_MAX)?,
            delimiter: root.text_or_empty("Delimiter").to_owned(),
            url_encoded,
            is_truncated,
            next_marker: next_marker.filter(|marker| !marker.is_empty()),
            common_prefixes: common_prefixes(&root, url_encoded),
            contents: root
                .children("Contents")
                .map(|entry| Contents::of(entry, url_encoded))
                .collect::<Result<_, _>>()?,
        })
    }
}

impl Contents {
    fn write(&self, xml: &mut XmlWriter, url_encoded: bool, with_owner: bool) {
        xml.element("Contents", |xml| {
            xml.leaf("Key", listed(&self.key, url_encoded));
            xml.leaf("LastModified", date::iso_milliseconds(self.last_modified));
            xml.leaf("ETag", self.etag.quoted());
            xml.leaf("Size", self.size);
            if with_owner {
                write_party(xml, "Owner", &self.owner);
            }
            xml.leaf("StorageClass", &self.storage_class);
        });
    }

    fn of(entry: &Element, url_encoded: bool) -> Result<Contents, XmlError> {
        Ok(Contents {
            key: unlisted_or_marked(entry.text("Key")?, url_encoded),
            last_modified: entry.date("LastModified")?,
            etag: ETag::new(entry.text("ETag")?),
            size: entry.number("Size")?,
            owner: read_party(entry, "Owner"),
            storage_class: storage_class(entry),
        })
    }
}

/// The answer to List Multipart Uploads. All keys and prefixes are unescaped here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListMultipartUploadsResult {
    /// The bucket.
    pub bucket: String,
    /// The prefix that was asked for.
    pub prefix: String,
    /// The delimiter that was asked for; empty for none.
    pub delimiter: String,
    /// The key marker that was asked for.
    pub key_marker: String,
    /// The upload id marker that was asked for.
    pub upload_id_marker: String,
    /// The most uploads that were asked for.
    pub max_uploads: u32,
    /// Whether keys are escaped on the wire.
    pub url_encoded: bool,
    /// Whether there is more.
    pub is_truncated: bool,
    /// The key marker of the next page, where there is one.
    pub next_key_marker: Option<String>,
    /// The upload id marker of the next page, where there is one.
    pub next_upload_id_marker: Option<String>,
    /// The uploads, by key and then by id.
    pub uploads: Vec<Upload>,
    /// The common prefixes.
    pub common_prefixes: Vec<String>,
}

/// An upload that is neither completed nor aborted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// The key that it would write.
    pub key: String,
    /// Its id.
    pub upload: UploadId,
    /// The storage class that the object would have.
    pub storage_class: String,
    /// The account that owns it; empty where the service does not say.
    pub owner: String,
    /// When it was begun.
    pub initiated: SystemTime,
}

impl ListMultipartUploadsResult {
    /// Writes the body.
    pub fn encode(&self) -> String {
        let key = |key: &str| listed(key, self.url_encoded);
        let mut xml = XmlWriter::with_capacity(512 + self.uploads.len() * 512);
        xml.element("ListMultipartUploadsResult", |xml| {
            xml.leaf("Bucket", &self.bucket);
            xml.leaf_if("EncodingType", self.url_encoded.then_some("url"));
            xml.leaf("KeyMarker", key(&self.key_marker));
            xml.leaf("UploadIdMarker", &self.upload_id_marker);
            xml.leaf_if("NextKeyMarker", self.next_key_marker.as_deref().map(key));
            xml.leaf_if("NextUploadIdMarker", self.next_upload_id_marker.as_ref());
            xml.leaf("MaxUploads", self.max_uploads);
            xml.leaf("IsTruncated", self.is_truncated);
            xml.leaf("Prefix", key(&self.prefix));
            xml.leaf_if("Delimiter", (!self.delimiter.is_empty()).then_some(&self.delimiter));
            for upload in &self.uploads {
                xml.element("Upload", |xml| {
                    xml.leaf("Key", key(&upload.key));
                    xml.leaf("UploadId", &upload.upload);
                    xml.leaf("StorageClass", &upload.storage_class);
                    write_party(xml, "Initiator", &upload.owner);
                    write_party(xml, "Owner", &upload.owner);
                    xml.leaf("Initiated", date::iso_milliseconds(upload.initiated));
                });
            }
            for prefix in &self.common_prefixes {
                xml.element("CommonPrefixes", |xml| xml.leaf("Prefix", key(prefix)));
            }
        });
        xml.finish()
    }

    /// Reads the body.
    pub fn decode(body: &[u8]) -> Result<ListMultipartUploadsResult, AnswerError> {
        let root = root_of(body, "ListMultipartUploadsResult")?;
        let url_encoded = says_url(&root);
        let key = |name| unlisted(name, root.text_or_empty(name), url_encoded);
        let upload = |entry: &Element| {
            Ok(Upload {
                key: unlisted_or_marked(entry.text("Key")?, url_encoded),
                upload: UploadId::new(entry.text("UploadId")?),
                storage_class: storage_class(entry),
                owner: read_party(entry, "Owner"),
                initiated: entry.date("Initiated")?,
            })
        };
        let next_upload_id = root.text_or_empty("NextUploadIdMarker");
        Ok(ListMultipartUploadsResult {
            bucket: root.text_or_empty("Bucket").to_owned(),
            prefix: key("Prefix")?,
            delimiter: root.text_or_empty("Delimiter").to_owned(),
            key_marker: key("KeyMarker")?,
            upload_id_marker: root.text_or_empty("UploadIdMarker").to_owned(),
            max_uploads: root.number_or("MaxUploads", PAGE_ENTRIES_MAX)?,
            url_encoded,
            is_truncated: root.flag("IsTruncated"),
            next_key_marker: Some(key("NextKeyMarker")?).filter(|marker| !marker.is_empty()),
            next_upload_id_marker: Some(next_upload_id.to_owned()).filter(|marker| !marker.is_empty()),
            uploads: root.children("Upload").map(upload).collect::<Result<_, XmlError>>()?,
            common_prefixes: common_prefixes(&root, url_encoded),
        })
    }
}

pub(super) fn common_prefixes(root: &Element, url_encoded: bool) -> Vec<String> {
    // One element with many prefixes means the same as many elements with one.
    let prefixes = root.children("CommonPrefixes").flat_map(|group| group.children("Prefix"));
    prefixes.map(|prefix| unlisted_or_marked(prefix.own_text(), url_encoded)).collect()
}

/// The class of an entry, upper-case: List Parts has been seen to write `Standard` (`cos-api.md` 4.7).
pub(super) fn storage_class(entry: &Element) -> String {
    let class = entry.text_or_empty("StorageClass").trim().to_ascii_uppercase();
    if class.is_empty() { STANDARD.to_owned() } else { class }
}

/// An owner or initiator. The service shows the APPID as both id and name (`cos-api.md` 5.2).
pub(super) fn write_party(xml: &mut XmlWriter, name: &'static str, id: &str) {
    xml.element(name, |xml| {
        xml.leaf("ID", id);
        xml.leaf("DisplayName", id);
    });
}

pub(super) fn read_party(entry: &Element, name: &'static str) -> String {
    entry.child(name).map_or("", |party| party.text_or_empty("ID")).to_owned()
}
