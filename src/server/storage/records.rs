//! What the index keeps, as it is written in its tables.
//!
//! Small records are JSON, so that a directory can be looked into with any tool and fields can be added. The lists of
//! slices of large objects are packed, because a ranged read of an object of 10,000 parts reads one.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::object::{Crc64, ETag, Encryption, ObjectAttributes, ObjectHead, Protection, Tags};

use crate::wire::digest::{DigestAlgorithm, ObjectDigest};

use super::StorageError;
use super::error::Rule;

/// A stretch of one segment: the unit that objects and parts are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::server) struct Slice {
    /// The segment that holds the bytes.
    pub segment: u64,
    /// Where in the segment they begin.
    pub offset: u64,
    /// How many they are; never 0.
    pub bytes: u64,
    /// Their CRC-64.
    pub crc64: u64,
}

/// Slices that fit here stand in the record itself; longer lists are a row of their own that copies share.
pub(super) const INLINE_SLICES_MAX: usize = 4;

/// Where the bytes of an object are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::server) enum Content {
    /// A few slices, in order; none for an empty object.
    Inline(Vec<Slice>),
    /// A row of the table of layouts.
    Listed(u64),
}

/// One object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::server) struct ObjectRecord {
    pub size: u64,
    pub etag: String,
    /// Seconds after the Unix epoch.
    pub modified: u64,
    pub crc64: u64,
    #[serde(default, skip_serializing_if = "is_default")]
    pub attributes: Attributes,
    pub content: Content,
    /// Its id; `None` is the null version, which is the only one where there never were others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// When its copy that can be read was asked for last, if it is archived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restoration: Option<Restoration>,
    /// Whether bytes may be appended to it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub appendable: bool,
    /// What its writer has vouched for it by, or the service has for who speaks S3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<DigestRecord>,
}

/// The digest of an object or part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::server) struct DigestRecord {
    pub algorithm: DigestAlgorithm,
    /// In base64; that of parts' digests has their number after it.
    pub text: String,
    /// Whether it is that of all bytes, and not that of the parts' digests.
    #[serde(default)]
    pub is_of_bytes: bool,
}

impl DigestRecord {
    /// How it was taken.
    pub(in crate::server) fn kind(&self) -> ObjectDigest {
        ObjectDigest { algorithm: self.algorithm, is_of_bytes: self.is_of_bytes }
    }
}

/// An archived object's copy that can be read for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::server) struct Restoration {
    /// From when on it is there, in seconds after the Unix epoch.
    pub ready: u64,
    /// When it goes away.
    pub end: u64,
}

/// Where an archived object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum Readiness {
    /// It can be read: it is not archived at all.
    Always,
    /// Nobody has asked for it, or its time is over.
    Archived,
    /// It was asked for, and is not there yet.
    OnItsWay,
    /// It can be read until then.
    Until(u64),
}

impl ObjectRecord {
    /// Whether it can be read at `now`.
    pub(in crate::server) fn readiness(&self, now: u64) -> Readiness {
        let class = self.attributes.fields.storage_class.as_deref().unwrap_or_default();
        if !class.ends_with("ARCHIVE") {
            return Readiness::Always;
        }
        match self.restoration {
            Some(restoration) if now < restoration.ready => Readiness::OnItsWay,
            Some(restoration) if now < restoration.end => Readiness::Until(restoration.end),
            _ => Readiness::Archived,
        }
    }

    /// Refuses with [`Rule::Archived`] what cannot be read at `now`.
    pub(in crate::server) fn require_readable(&self, now: u64) -> Result<(), StorageError> {
        match self.readiness(now) {
            Readiness::Always | Readiness::Until(_) => Ok(()),
            Readiness::Archived | Readiness::OnItsWay => Err(Rule::Archived.into()),
        }
    }

    /// The object as HEAD describes it.
    pub(in crate::server) fn head(&self) -> ObjectHead {
        ObjectHead {
            size: self.size,
            etag: ETag::new(&self.etag),
            last_modified: time_of(self.modified),
            crc64: Some(Crc64(self.crc64)),
            attributes: self.attributes.fields.clone().into(),
            told_at: None,
        }
    }
}

/// What a writer says of an object beside its bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::server) struct Attributes {
    /// The headers that are stored.
    #[serde(flatten)]
    pub fields: Fields,
    /// `x-cos-tagging` as it was sent, once it was found to be in order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tagging: Option<String>,
    /// `x-cos-acl` as it was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acl: Option<String>,
}

/// [`ObjectAttributes`] as JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(in crate::server) struct Fields {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_control: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_disposition: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_encoding: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_language: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_class: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encryption: Option<Encryption>,
    #[serde(skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub user: std::collections::BTreeMap<String, String>,
}

impl From<ObjectAttributes> for Fields {
    fn from(given: ObjectAttributes) -> Fields {
        Fields {
            content_type: given.content_type,
            cache_control: given.cache_control,
            content_disposition: given.content_disposition,
            content_encoding: given.content_encoding,
            content_language: given.content_language,
            expires: given.expires,
            storage_class: given.storage_class,
            encryption: given.protection.encryption,
            user: given.user,
        }
    }
}

impl From<Fields> for ObjectAttributes {
    fn from(kept: Fields) -> ObjectAttributes {
        ObjectAttributes {
            content_type: kept.content_type,
            cache_control: kept.cache_control,
            content_disposition: kept.content_disposition,
            content_encoding: kept.content_encoding,
            content_language: kept.content_language,
            expires: kept.expires,
            storage_class: kept.storage_class,
            protection: Protection { acl: None, encryption: kept.encryption },
            tags: Tags::None,
            user: kept.user,
        }
    }
}

/// One bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::server) struct BucketRecord {
    /// Seconds after the Unix epoch.
    pub created: u64,
    /// What it does with versions.
    #[serde(default, skip_serializing_if = "is_default")]
    pub versioning: VersioningRecord,
    /// What it was told beside that, by the parameter that names it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub configurations: BTreeMap<String, String>,
}

/// What a bucket does with versions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::server) enum VersioningRecord {
    /// It never kept any.
    #[default]
    Never,
    /// It keeps them.
    Enabled,
    /// It keeps those that it has.
    Suspended,
}

/// One unfinished multipart upload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::server) struct UploadRecord {
    /// Seconds after the Unix epoch.
    pub initiated: u64,
    #[serde(default, skip_serializing_if = "is_default")]
    pub attributes: Attributes,
    /// How the object will be vouched for: by which algorithm, and whether by a digest of all bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<(DigestAlgorithm, bool)>,
}

/// One part of an unfinished upload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::server) struct PartRecord {
    pub size: u64,
    pub etag: String,
    /// Seconds after the Unix epoch.
    pub modified: u64,
    pub crc64: u64,
    pub slices: Vec<Slice>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<DigestRecord>,
}

/// Seconds after the Unix epoch as a point in time.
pub(in crate::server) fn time_of(unix_seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(unix_seconds)
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Writes a record for its table.
pub(super) fn encode<T: Serialize>(record: &T) -> Result<Vec<u8>, StorageError> {
    serde_json::to_vec(record).map_err(|error| StorageError::failed("encode a record", error))
}

/// Reads a record of a table.
pub(super) fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, StorageError> {
    serde_json::from_slice(bytes).map_err(|error| StorageError::failed("decode a record", error))
}

/// Bytes of one packed slice: four integers of 8 bytes.
const SLICE_BYTES: usize = 32;

/// Writes a list of slices for the table of layouts.
pub(super) fn pack(slices: &[Slice]) -> Vec<u8> {
    let mut packed = Vec::with_capacity(slices.len() * SLICE_BYTES);
    for slice in slices {
        for number in [slice.segment, slice.offset, slice.bytes, slice.crc64] {
            packed.extend_from_slice(&number.to_le_bytes());
        }
    }
    packed
}

/// Reads a list of slices of the table of layouts.
pub(super) fn unpack(packed: &[u8]) -> Vec<Slice> {
    let (slices, _) = packed.as_chunks::<SLICE_BYTES>();
    let slice = |packed: &[u8; SLICE_BYTES]| {
        let (numbers, _) = packed.as_chunks::<8>();
        let number = |index: usize| u64::from_le_bytes(numbers[index]);
        Slice { segment: number(0), offset: number(1), bytes: number(2), crc64: number(3) }
    };
    slices.iter().map(slice).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packed_layout_comes_back() {
        let slices: Vec<Slice> =
            (0..5).map(|n| Slice { segment: n, offset: n << 40, bytes: n + 1, crc64: u64::MAX - n }).collect();
        assert_eq!(unpack(&pack(&slices)), slices);
        assert_eq!(unpack(&[]), []);
    }

    #[test]
    fn what_is_restored_can_be_read_from_a_moment_to_another() {
        let of = |class: &str, restoration| ObjectRecord {
            size: 0,
            etag: String::new(),
            modified: 1,
            crc64: 0,
            attributes: Attributes {
                fields: Fields { storage_class: Some(class.into()), ..Fields::default() },
                ..Attributes::default()
            },
            content: Content::Inline(Vec::new()),
            version: None,
            restoration,
            appendable: false,
            digest: None,
        };
        let record = of("DEEP_ARCHIVE", Some(Restoration { ready: 10, end: 20 }));
        let table = [
            (9, Readiness::OnItsWay),
            (10, Readiness::Until(20)),
            (19, Readiness::Until(20)),
            (20, Readiness::Archived),
        ];
        for (now, expected) in table {
            assert_eq!(record.readiness(now), expected, "{now}");
            assert_eq!(record.require_readable(now).is_ok(), matches!(expected, Readiness::Until(_)), "{now}");
        }
        assert_eq!(of("ARCHIVE", None).readiness(0), Readiness::Archived);
        assert_eq!(of("STANDARD_IA", None).readiness(0), Readiness::Always);
    }

    #[test]
    fn a_record_comes_back() {
        let fields = Fields {
            content_type: Some("text/plain".into()),
            user: [("mtime".to_owned(), "1.5".to_owned())].into(),
            ..Fields::default()
        };
        let record = ObjectRecord {
            size: 7,
            etag: "abc".into(),
            modified: 1,
            crc64: u64::MAX,
            attributes: Attributes { fields, tagging: Some("a=b".into()), acl: Some("private".into()) },
            content: Content::Inline(vec![Slice { segment: 1, offset: 0, bytes: 7, crc64: 9 }]),
            version: Some("v".into()),
            restoration: Some(Restoration { ready: 1, end: 2 }),
            appendable: true,
            digest: Some(DigestRecord {
                algorithm: DigestAlgorithm::Crc32c,
                text: "4waSgw==".into(),
                is_of_bytes: true,
            }),
        };
        assert_eq!(decode::<ObjectRecord>(&encode(&record).unwrap()).unwrap(), record);
    }
}
