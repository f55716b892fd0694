//! What the service keeps beside an object's bytes.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::{Crc64, ETag, Version, time};

/// The user metadatum that tells when the content was last changed, as cosfs, s3fs and rclone keep it.
pub const META_MTIME: &str = "mtime";

/// The content type of the objects that directories are.
pub const DIRECTORY_TYPE: &str = "application/x-directory";

/// The user metadatum in which s3cmd keeps what it knows of a file, `md5:` and `mtime:` among it, separated by `/`.
const S3CMD_ATTRS: &str = "s3cmd-attrs";
/// How the names begin under which the service's own tools keep how to decrypt an object that they have encrypted.
const CLIENT_SIDE_ENCRYPTION: &str = "client-side-encryption";
/// How words begin that name a digest.
const DIGESTS: [&str; 7] = ["md5", "sha1", "sha2", "sha5", "crc", "checksum", "digest"];

/// The metadata that a writer gives an object and that a copy with `Replaced` gives anew.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ObjectAttributes {
    /// `Content-Type`.
    pub content_type: Option<String>,
    /// `Cache-Control`.
    pub cache_control: Option<String>,
    /// `Content-Disposition`.
    pub content_disposition: Option<String>,
    /// `Content-Encoding`.
    pub content_encoding: Option<String>,
    /// `Content-Language`.
    pub content_language: Option<String>,
    /// `Expires`.
    pub expires: Option<String>,
    /// `x-cos-storage-class`; `None` is `STANDARD`.
    pub storage_class: Option<String>,
    /// How the object is protected, which no copy takes over from its source.
    pub protection: Protection,
    /// What lifecycle rules and bills tell objects apart by.
    pub tags: Tags,
    /// `x-cos-meta-*`, by lower-case suffix (`cos-api.md` 3.12).
    pub user: BTreeMap<String, String>,
}

/// Who may read an object beside its owner, and how its bytes are kept (`cos-api.md` 3.1, 3.13). The service gives a copy the
/// bucket's usual ones, whatever the source has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Protection {
    /// `x-cos-acl`. No answer about an object tells it.
    pub acl: Option<String>,
    /// How the service encrypts it.
    pub encryption: Option<Encryption>,
}

/// Encryption by the service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Encryption {
    /// `x-cos-server-side-encryption`: [`Encryption::OF_COS`], [`Encryption::OF_KMS`], or what else the service says.
    pub algorithm: String,
    /// `x-cos-server-side-encryption-cos-kms-key-id`; `None` for the account's own.
    pub kms_key: Option<String>,
}

impl Encryption {
    /// With keys of the service.
    pub const OF_COS: &str = "AES256";
    /// With keys of the key management service.
    pub const OF_KMS: &str = "cos/kms";

    /// Whether the ETag of an object is still the MD5 of its bytes.
    pub fn tells_md5(&self) -> bool {
        self.algorithm != Encryption::OF_KMS
    }
}

/// The tags of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tags {
    /// None.
    #[default]
    None,
    /// It has some; an answer about an object tells how many alone.
    Unread,
    /// `x-cos-tagging`: names and values, escaped, as in a query.
    Are(String),
}

impl ObjectAttributes {
    /// When the content was last changed, as whoever wrote it has told; `None` if nobody did.
    pub fn mtime(&self) -> Option<SystemTime> {
        self.user.get(META_MTIME).and_then(|text| time::parse_unix(text))
    }

    /// Whether they are those of a file, and not of a directory, a symbolic link or a special file.
    pub fn is_of_file(&self) -> bool {
        const TYPE_BITS: u32 = 0o170_000;
        const FILE: u32 = 0o100_000;
        let bits = self.user.get("mode").and_then(|mode| mode.trim().parse::<u32>().ok()).map(|mode| mode & TYPE_BITS);
        bits.is_none_or(|bits| bits == 0 || bits == FILE) && self.content_type.as_deref() != Some(DIRECTORY_TYPE)
    }

    /// Tells when the content was last changed, to the nanosecond.
    pub fn set_mtime(&mut self, time: SystemTime) {
        self.user.insert(META_MTIME.to_owned(), time::unix(time));
    }

    /// The same metadata with `time` as that of the last change, unless they tell one: a copy of an object is a newer
    /// object, and must not look as if its content had changed.
    pub fn with_mtime_or(mut self, time: SystemTime) -> ObjectAttributes {
        if self.mtime().is_none() {
            self.set_mtime(time);
        }
        self
    }

    /// Forgets what tools keep of the bytes to compare them by: the bytes change.
    ///
    /// Names are judged by their words, because each tool has its own: `md5chksum` of rclone, `md5` of coscmd, `sha256`,
    /// `content-md5`, `crc32c`, and `s3cmd-attrs`, which holds a digest among others.
    pub fn forget_digests(&mut self) {
        self.user.retain(|name, _| !is_digest(name));
        if let Some(attributes) = self.user.get_mut(S3CMD_ATTRS) {
            let is_of_object = |part: &&str| !["md5:", "mtime:"].iter().any(|prefix| part.starts_with(prefix));
            *attributes = attributes.split('/').filter(is_of_object).collect::<Vec<_>>().join("/");
        }
    }

    /// Forgets all that describes the bytes, because others take their place: digests, and how to decode them.
    pub fn forget_bytes(&mut self) {
        self.forget_digests();
        self.content_encoding = None;
        self.user.retain(|name, _| !name.starts_with(CLIENT_SIDE_ENCRYPTION));
    }
}

/// What HEAD and GET say of an object (`cos-api.md` 3.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectHead {
    /// Bytes in the object.
    pub size: u64,
    /// The version of the bytes.
    pub etag: ETag,
    /// When the object was last written, in whole seconds.
    pub last_modified: SystemTime,
    /// CRC-64 of the whole object, also on the answer to a range; `None` for objects older than the feature.
    pub crc64: Option<Crc64>,
    /// The metadata that the writer gave.
    pub attributes: ObjectAttributes,
    /// When the service said so, in whole seconds of its own clock; `None` where it did not say when.
    pub told_at: Option<SystemTime>,
}

impl ObjectHead {
    /// Which bytes the object has.
    pub fn version(&self) -> Version {
        Version { etag: self.etag.clone(), size: self.size, checksum: self.crc64 }
    }
}

/// Whether a user metadatum of this name is a digest of the bytes.
fn is_digest(name: &str) -> bool {
    let is_one = |word: &str| word == "sha" || DIGESTS.iter().any(|digest| word.starts_with(digest));
    name.split(['-', '_', '.']).any(is_one)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn with_meta(suffix: &str, value: &str) -> ObjectAttributes {
        let mut attributes = ObjectAttributes::default();
        attributes.user.insert(suffix.to_owned(), value.to_owned());
        attributes
    }

    #[test]
    fn a_copy_keeps_the_time_of_the_last_change() {
        let (then, later) = (SystemTime::UNIX_EPOCH + Duration::new(5, 7), SystemTime::UNIX_EPOCH);
        let kept = ObjectAttributes::default().with_mtime_or(then);
        assert_eq!(kept.mtime(), Some(then));
        assert_eq!(kept.with_mtime_or(later).mtime(), Some(then), "one that somebody set stays");
        assert_eq!(with_meta(META_MTIME, "yesterday").with_mtime_or(then).mtime(), Some(then), "no time at all");
    }

    #[test]
    fn digests_are_told_from_what_describes_the_object() {
        let digests = [
            "md5chksum",
            "md5",
            "content-md5",
            "sha1",
            "sha256",
            "sha-512",
            "crc32c",
            "x-crc64",
            "hash-crc64ecma",
            "checksum",
        ];
        let others = ["mode", "mtime", "uid", "xattr", "colour", "author", "shape", "share-id", "encryption"];
        for name in digests.iter().chain(&others) {
            let mut attributes = with_meta(name, "x");
            attributes.forget_digests();
            assert_eq!(attributes.user.is_empty(), digests.contains(name), "{name}");
        }
        let mut attributes = with_meta(S3CMD_ATTRS, "atime:1/gid:0/md5:abc/mode:33188/mtime:2/uname:root");
        attributes.forget_digests();
        assert_eq!(attributes.user[S3CMD_ATTRS], "atime:1/gid:0/mode:33188/uname:root");
    }

    #[test]
    fn what_takes_the_place_of_all_bytes_is_not_decoded_as_they_were() {
        let mut attributes = with_meta("client-side-encryption-key", "x");
        attributes.user.insert("colour".into(), "red".into());
        attributes.content_encoding = Some("gzip".into());
        attributes.content_type = Some("text/css".into());
        attributes.forget_digests();
        assert_eq!((attributes.user.len(), attributes.content_encoding.as_deref()), (2, Some("gzip")));
        attributes.forget_bytes();
        let mut expected = with_meta("colour", "red");
        expected.content_type = Some("text/css".into());
        assert_eq!(attributes, expected);
    }
}
