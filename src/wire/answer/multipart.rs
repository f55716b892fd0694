//! Answers of multipart uploads (`cos-api.md` 4.1 to 4.7).

use std::time::SystemTime;

use super::listing::{PAGE_ENTRIES_MAX, read_party, storage_class, write_party};
use super::object::{crc64_of, etag_of};
use super::{AnswerError, listed, root_of, says_url, unlisted};
use crate::object::{Crc64, ETag, PartNumber, UploadId};
use crate::wire::date;
use crate::wire::digest::{DigestAlgorithm, ObjectDigest};
use crate::wire::xml::{Element, XmlError, XmlWriter};

/// The element with the kind of an object's digest.
const CHECKSUM_TYPE: &str = "ChecksumType";

/// Writes the digest of an object, where it has one.
pub(super) fn write_digest(xml: &mut XmlWriter, digest: Option<&(ObjectDigest, String)>) {
    if let Some((kind, digest)) = digest {
        xml.leaf(kind.algorithm.element(), digest);
        xml.leaf(CHECKSUM_TYPE, kind.type_name());
    }
}

/// The answer to Initiate Multipart Upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitiateMultipartUploadResult {
    /// The bucket.
    pub bucket: String,
    /// The key.
    pub key: String,
    /// The upload.
    pub upload: UploadId,
}

impl InitiateMultipartUploadResult {
    /// Writes the body.
    pub fn encode(&self) -> String {
        let mut xml = XmlWriter::with_capacity(512);
        xml.element("InitiateMultipartUploadResult", |xml| {
            xml.leaf("Bucket", &self.bucket);
            xml.leaf("Key", &self.key);
            xml.leaf("UploadId", &self.upload);
        });
        xml.finish()
    }

    /// Reads the body.
    pub fn decode(body: &[u8]) -> Result<InitiateMultipartUploadResult, AnswerError> {
        let root = root_of(body, "InitiateMultipartUploadResult")?;
        let upload = root.text("UploadId")?.trim();
        if upload.is_empty() {
            return Err(XmlError::Missing("UploadId").into());
        }
        Ok(InitiateMultipartUploadResult {
            bucket: root.text_or_empty("Bucket").to_owned(),
            key: root.text_or_empty("Key").to_owned(),
            upload: UploadId::new(upload),
        })
    }
}

/// The answer to Complete Multipart Upload. The checksum comes in a header, see [`super::header_crc64`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompleteMultipartUploadResult {
    /// The URL of the object.
    pub location: String,
    /// The bucket.
    pub bucket: String,
    /// The key.
    pub key: String,
    /// The version of the object.
    pub etag: ETag,
    /// Its digest: how it was taken, and in base64. S3's alone.
    pub digest: Option<(ObjectDigest, String)>,
}

impl CompleteMultipartUploadResult {
    /// Writes the body.
    pub fn encode(&self) -> String {
        let mut xml = XmlWriter::with_capacity(512);
        xml.element("CompleteMultipartUploadResult", |xml| {
            xml.leaf("Location", &self.location);
            xml.leaf("Bucket", &self.bucket);
            xml.leaf("Key", &self.key);
            xml.leaf("ETag", self.etag.quoted());
            write_digest(xml, self.digest.as_ref());
        });
        xml.finish()
    }

    /// Reads the body, which may begin with blanks.
    pub fn decode(body: &[u8]) -> Result<CompleteMultipartUploadResult, AnswerError> {
        let root = root_of(body, "CompleteMultipartUploadResult")?;
        Ok(CompleteMultipartUploadResult {
            location: root.text_or_empty("Location").to_owned(),
            bucket: root.text_or_empty("Bucket").to_owned(),
            key: root.text_or_empty("Key").to_owned(),
            etag: etag_of(&root)?,
            digest: DigestAlgorithm::ALL.into_iter().find_map(|algorithm| {
                let digest = root.optional(algorithm.element())?;
                let is_of_bytes = root.text_or_empty(CHECKSUM_TYPE).trim() != ObjectDigest::OF_DIGESTS;
                Some((ObjectDigest { algorithm, is_of_bytes }, digest.to_owned()))
            }),
        })
    }
}

/// The answer to Upload Part - Copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyPartResult {
    /// The ETag to name in Complete.
    pub etag: ETag,
    /// The checksum of the part; older answers have none.
    pub crc64: Option<Crc64>,
    /// When the part was made, in whole seconds.
    pub last_modified: SystemTime,
}

impl CopyPartResult {
    /// Writes the body.
    pub fn encode(&self) -> String {
        let mut xml = XmlWriter::with_capacity(256);
        xml.element("CopyPartResult", |xml| {
            xml.leaf("ETag", self.etag.quoted());
            xml.leaf_if("CRC64", self.crc64);
            xml.leaf("LastModified", date::iso_seconds(self.last_modified));
        });
        xml.finish()
    }

    /// Reads the body.
    pub fn decode(body: &[u8]) -> Result<CopyPartResult, AnswerError> {
        let root = root_of(body, "CopyPartResult")?;
        let (etag, crc64) = (etag_of(&root)?, crc64_of(&root)?);
        Ok(CopyPartResult { etag, crc64, last_modified: root.date("LastModified")? })
    }
}

/// The answer to List Parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListPartsResult {
    /// The bucket.
    pub bucket: String,
    /// The key, unescaped here.
    pub key: String,
    /// The upload.
    pub upload: UploadId,
    /// Whether the key is escaped on the wire.
    pub url_encoded: bool,
    /// The account that owns it; empty where the service does not say.
    pub owner: String,
    /// The marker that was asked for.
    pub part_number_marker: u32,
    /// The marker of the next page, where there is one.
    pub next_part_number_marker: Option<u32>,
    /// The most parts that were asked for.
    pub max_parts: u32,
    /// Whether there is more.
    pub is_truncated: bool,
    /// The storage class that the object would have.
    pub storage_class: String,
    /// The parts, by number.
    pub parts: Vec<ListedPart>,
}

/// What List Parts says of a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedPart {
    /// Which part.
    pub number: PartNumber,
    /// When it was last uploaded.
    pub last_modified: SystemTime,
    /// Its ETag.
    pub etag: ETag,
    /// Bytes in it.
    pub size: u64,
}

impl ListPartsResult {
    /// Writes the body.
    pub fn encode(&self) -> String {
        let mut xml = XmlWriter::with_capacity(512 + self.parts.len() * 256);
        xml.element("ListPartsResult", |xml| {
            xml.leaf("Bucket", &self.bucket);
            xml.leaf_if("EncodingType", self.url_encoded.then_some("url"));
            xml.leaf("Key", listed(&self.key, self.url_encoded));
            xml.leaf("UploadId", &self.upload);
            write_party(xml, "Owner", &self.owner);
            write_party(xml, "Initiator", &self.owner);
            xml.leaf("PartNumberMarker", self.part_number_marker);
            xml.leaf_if("NextPartNumberMarker", self.next_part_number_marker);
            xml.leaf("MaxParts", self.max_parts);
            xml.leaf("IsTruncated", self.is_truncated);
            xml.leaf("StorageClass", &self.storage_class);
            for part in &self.parts {
                xml.element("Part", |xml| {
                    xml.leaf("PartNumber", part.number);
                    xml.leaf("LastModified", date::iso_milliseconds(part.last_modified));
                    xml.leaf("ETag", part.etag.quoted());
                    xml.leaf("Size", part.size);
                });
            }
        });
        xml.finish()
    }

    /// Reads the body.
    pub fn decode(body: &[u8]) -> Result<ListPartsResult, AnswerError> {
        let root = root_of(body, "ListPartsResult")?;
        let url_encoded = says_url(&root);
        let is_truncated = root.flag("IsTruncated");
        let next_part_number_marker = if is_truncated { Some(root.number("NextPartNumberMarker")?) } else { None };
        Ok(ListPartsResult {
            bucket: root.text_or_empty("Bucket").to_owned(),
            key: unlisted("Key", root.text_or_empty("Key"), url_encoded)?,
            upload: UploadId::new(root.text_or_empty("UploadId")),
            url_encoded,
            owner: read_party(&root, "Owner"),
            part_number_marker: root.number_or("PartNumberMarker", 0)?,
            next_part_number_marker,
            max_parts: root.number_or("MaxParts", PAGE_ENTRIES_MAX)?,
            is_truncated,
            storage_class: storage_class(&root),
            parts: root.children("Part").map(ListedPart::of).collect::<Result<_, _>>()?,
        })
    }
}

impl ListedPart {
    fn of(entry: &Element) -> Result<ListedPart, XmlError> {
        let number: u64 = entry.number("PartNumber")?;
        let bad_number = || XmlError::BadText { name: "PartNumber", text: number.to_string() };
        Ok(ListedPart {
            number: PartNumber::new(number).ok_or_else(bad_number)?,
            last_modified: entry.date("LastModified")?,
            etag: ETag::new(entry.text("ETag")?),
            size: entry.number("Size")?,
        })
    }
}
