//! Answers about objects: the headers of HEAD and GET, Copy, Delete Multiple (`cos-api.md` 3.2 to 3.6).

use std::time::SystemTime;

use super::{AnswerError, root_of};
use crate::object::{ByteRange, Crc64, ETag, ObjectAttributes, ObjectHead};
use crate::wire::date;
use crate::wire::request::{HeaderPair, Headers};
use crate::wire::xml::{Element, XmlError, XmlWriter};

/// The header with the CRC-64 of what was stored.
pub const CRC64: &str = "x-cos-hash-crc64ecma";

/// Whether an archived object is on its way back, or until when it can be read (`cos-api.md` 3.2).
pub const RESTORE: &str = "x-cos-restore";

/// The version that an answer is about, in a bucket that keeps some (`cos-api.md` 3.1, 3.2).
pub const VERSION_ID: &str = "x-cos-version-id";
/// Whether what was deleted is a mark, or one was made (`cos-api.md` 3.4).
pub const DELETE_MARKER: &str = "x-cos-delete-marker";

/// The checksum that an answer gives, if it gives one that can be read.
pub fn header_crc64(headers: Headers<'_>) -> Option<Crc64> {
    headers.get(CRC64).and_then(|value| value.parse().ok())
}

/// Reads the headers of HEAD or GET. On a 206 the size is that of the whole object.
///
/// # Errors
/// No ETag, or no size, or no date of writing.
pub fn decode_head(headers: Headers<'_>) -> Result<ObjectHead, AnswerError> {
    let whole = headers.get("content-range").map(|value| ContentRange::parse(value).map(|range| range.size));
    let size = match whole {
        Some(size) => size.ok_or(AnswerError::Header("Content-Range"))?,
        None => {
            let length = headers.get("content-length").and_then(|value| value.parse().ok());
            length.ok_or(AnswerError::Header("Content-Length"))?
        }
    };
    let mut attributes = ObjectAttributes::from_headers(headers);
    if headers.get("x-cos-force-download").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        // The default domain of newer buckets puts it on every answer; it is not the writer's (cos-api.md 1.4).
        attributes.content_disposition = None;
    }
    Ok(ObjectHead {
        size,
        etag: headers.get("etag").map(ETag::new).ok_or(AnswerError::Header("ETag"))?,
        last_modified: headers
            .get("last-modified")
            .and_then(date::parse)
            .ok_or(AnswerError::Header("Last-Modified"))?,
        crc64: header_crc64(headers),
        attributes,
        told_at: headers.get("date").and_then(date::parse),
    })
}

/// Writes the headers of HEAD and GET, all but `Content-Length` and `Content-Range`, which depend on the bytes sent.
pub fn encode_head(head: &ObjectHead) -> Vec<HeaderPair> {
    let mut headers = Vec::with_capacity(8 + head.attributes.user.len());
    headers.push(("etag".into(), head.etag.quoted()));
    headers.push(("last-modified".into(), date::http(head.last_modified)));
    headers.push(("accept-ranges".into(), "bytes".to_owned()));
    headers.push(("x-cos-object-type".into(), "normal".to_owned()));
    if let Some(crc64) = head.crc64 {
        headers.push((CRC64.into(), crc64.to_string()));
    }
    head.attributes.push_headers(&mut headers);
    headers
}

/// The value of `Content-Range` on a 206: which bytes of how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentRange {
    /// The bytes in the answer.
    pub range: ByteRange,
    /// Bytes in the whole object.
    pub size: u64,
}

impl ContentRange {
    /// Reads `bytes first-last/size`.
    pub fn parse(value: &str) -> Option<ContentRange> {
        let (range, size) = value.trim().strip_prefix("bytes ")?.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let size = size.trim().parse().ok()?;
        let end = last.trim().parse::<u64>().ok()?.checked_add(1)?;
        let range = ByteRange::new(first.trim().parse().ok()?, end).filter(|range| range.end() <= size)?;
        Some(ContentRange { range, size })
    }

    /// The value of the header.
    pub fn header(self) -> String {
        format!("bytes {}-{}/{}", self.range.start(), self.range.end() - 1, self.size)
    }
}

/// The answer to PUT Object - Copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyObjectResult {
    /// The version of the copy.
    pub etag: ETag,
    /// Its checksum.
    pub crc64: Option<Crc64>,
    /// When it was written, in whole seconds.
    pub last_modified: SystemTime,
    /// Its version id, in a bucket with versioning.
    pub version: Option<String>,
}

impl CopyObjectResult {
    /// Writes the body.
    pub fn encode(&self) -> String {
        let mut xml = XmlWriter::with_capacity(256);
        xml.element("CopyObjectResult", |xml| {
            xml.leaf("ETag", self.etag.quoted());
            xml.leaf_if("CRC64", self.crc64);
            xml.leaf("LastModified", date::iso_seconds(self.last_modified));
            xml.leaf_if("VersionId", self.version.as_ref());
        });
        xml.finish()
    }

    /// Reads the body.
    pub fn decode(body: &[u8]) -> Result<CopyObjectResult, AnswerError> {
        let root = root_of(body, "CopyObjectResult")?;
        Ok(CopyObjectResult {
            etag: etag_of(&root)?,
            crc64: crc64_of(&root)?,
            last_modified: root.date("LastModified")?,
            version: root.optional("VersionId").filter(|version| !version.is_empty()).map(str::to_owned),
        })
    }
}

/// The ETag of an answer, which alone tells that it is a success (`cos-api.md` 3.6, 4.4).
pub(super) fn etag_of(root: &Element) -> Result<ETag, XmlError> {
    let etag = ETag::new(root.text("ETag")?);
    if etag.text().is_empty() { Err(XmlError::Missing("ETag")) } else { Ok(etag) }
}

pub(super) fn crc64_of(root: &Element) -> Result<Option<Crc64>, XmlError> {
    let Some(text) = root.optional("CRC64").filter(|text| !text.trim().is_empty()) else { return Ok(None) };
    text.parse().map(Some).map_err(|_| XmlError::BadText { name: "CRC64", text: text.to_owned() })
}

/// The answer to Delete Multiple Objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteResult {
    /// What was removed; empty for a quiet request.
    pub deleted: Vec<Deleted>,
    /// What could not be removed.
    pub errors: Vec<DeleteFailure>,
}

/// One object that was removed, or was not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deleted {
    /// The key.
    pub key: String,
    /// The version that was named in the request.
    pub version: Option<String>,
    /// The version that marks the deletion, if one was made.
    pub marker: Option<String>,
}

/// One object that could not be removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteFailure {
    /// The key.
    pub key: String,
    /// The version that was named in the request.
    pub version: Option<String>,
    /// Why, as a code.
    pub code: String,
    /// Why, for a person.
    pub message: String,
}

impl DeleteResult {
    /// Writes the body.
    pub fn encode(&self) -> String {
        let mut xml = XmlWriter::with_capacity((self.deleted.len() + self.errors.len()) * 128);
        xml.element("DeleteResult", |xml| {
            for deleted in &self.deleted {
                xml.element("Deleted", |xml| {
                    xml.leaf("Key", &deleted.key);
                    xml.leaf_if("DeleteMarker", deleted.marker.is_some().then_some(true));
                    xml.leaf_if("DeleteMarkerVersionId", deleted.marker.as_ref());
                    xml.leaf_if("VersionId", deleted.version.as_ref());
                });
            }
            for error in &self.errors {
                xml.element("Error", |xml| {
                    xml.leaf("Key", &error.key);
                    xml.leaf_if("VersionId", error.version.as_ref());
                    xml.leaf("Code", &error.code);
                    xml.leaf("Message", &error.message);
                });
            }
        });
        xml.finish()
    }

    /// Reads the body.
    pub fn decode(body: &[u8]) -> Result<DeleteResult, AnswerError> {
        let root = root_of(body, "DeleteResult")?;
        let version = |entry: &Element| entry.optional("VersionId").filter(|id| !id.is_empty()).map(str::to_owned);
        let deleted = root
            .children("Deleted")
            .map(|entry| {
                let marker = entry.optional("DeleteMarkerVersionId").map(str::to_owned);
                Ok(Deleted { key: entry.text("Key")?.to_owned(), version: version(entry), marker })
            })
            .collect::<Result<_, XmlError>>()?;
        let errors = root
            .children("Error")
            .map(|entry| {
                Ok(DeleteFailure {
                    key: entry.text("Key")?.to_owned(),
                    version: version(entry),
                    code: entry.text_or_empty("Code").to_owned(),
                    message: entry.text_or_empty("Message").to_owned(),
                })
            })
            .collect::<Result<_, XmlError>>()?;
        Ok(DeleteResult { deleted, errors })
    }
}
