//! An object's metadata as header lines, on requests and on answers alike (`cos-api.md` 3.1, 3.2, 3.12).

use std::time::SystemTime;

use super::ObjectAttributes;
use super::code::Code;
use super::date;
use super::escape::header_value;
use super::operation::RequestError;
use super::request::{HeaderPair, Headers};

/// The prefix of user metadata.
pub const META_PREFIX: &str = "x-cos-meta-";
/// The largest value of one user metadatum, in bytes (`cos-api.md` 3.12).
pub const META_VALUE_BYTES_MAX: usize = 2 << 10;
/// The largest sum of all user metadata, suffixes and values, in bytes (`cos-api.md` 3.12).
pub const META_BYTES_MAX: usize = 4 << 10;

/// The user metadatum that tells when the content was last changed, as cosfs, s3fs and rclone keep it.
pub const META_MTIME: &str = "mtime";

/// The user metadatum in which s3cmd keeps what it knows of a file, `md5:` and `mtime:` among it, separated by `/`.
const S3CMD_ATTRS: &str = "s3cmd-attrs";
/// How the names begin under which the service's own tools keep how to decrypt an object that they have encrypted.
const CLIENT_SIDE_ENCRYPTION: &str = "client-side-encryption";
/// How words begin that name a digest.
const DIGESTS: [&str; 7] = ["md5", "sha1", "sha2", "sha5", "crc", "checksum", "digest"];

/// The class of an object that names none.
pub const STANDARD: &str = "STANDARD";
/// The storage classes that the service knows (`cos-api.md` 3.11).
const STORAGE_CLASSES: [&str; 10] = [
    STANDARD,
    "STANDARD_IA",
    "INTELLIGENT_TIERING",
    "ARCHIVE",
    "DEEP_ARCHIVE",
    "MAZ_STANDARD",
    "MAZ_STANDARD_IA",
    "MAZ_INTELLIGENT_TIERING",
    "MAZ_ARCHIVE",
    "MAZ_DEEP_ARCHIVE",
];

impl ObjectAttributes {
    /// Reads the metadata of a request or an answer, without judging it. The class is made upper-case, since some
    /// clients mix cases; `STANDARD` becomes `None`.
    pub fn from_headers(headers: Headers<'_>) -> ObjectAttributes {
        let text = |name| headers.get(name).map(str::to_owned);
        let class = headers.get("x-cos-storage-class").map(str::to_ascii_uppercase);
        ObjectAttributes {
            content_type: text("content-type"),
            cache_control: text("cache-control"),
            content_disposition: text("content-disposition"),
            content_encoding: text("content-encoding"),
            expires: text("expires"),
            storage_class: class.filter(|class| class != STANDARD),
            user: headers.with_prefix(META_PREFIX).map(|(suffix, value)| (suffix, value.to_owned())).collect(),
        }
    }

    /// Appends the metadata as header lines. Values that are no header values are escaped as
    /// [`header_value`] does.
    pub fn push_headers(&self, headers: &mut Vec<HeaderPair>) {
        let standard = [
            ("content-type", &self.content_type),
            ("cache-control", &self.cache_control),
            ("content-disposition", &self.content_disposition),
            ("content-encoding", &self.content_encoding),
            ("expires", &self.expires),
            ("x-cos-storage-class", &self.storage_class),
        ];
        for (name, value) in standard {
            if let Some(value) = value {
                headers.push((name.into(), header_value(value).into_owned()));
            }
        }
        for (suffix, value) in &self.user {
            let name = format!("{META_PREFIX}{}", suffix.to_ascii_lowercase());
            headers.push((name.into(), header_value(value).into_owned()));
        }
    }

    /// When the content was last changed, as whoever wrote it has told; `None` if nobody did.
    pub fn mtime(&self) -> Option<SystemTime> {
        self.user.get(META_MTIME).and_then(|text| date::parse_unix(text))
    }

    /// Tells when the content was last changed, to the nanosecond.
    pub fn set_mtime(&mut self, time: SystemTime) {
        self.user.insert(META_MTIME.to_owned(), date::unix(time));
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

    /// Whether the service takes this metadata: suffixes of letters, digits and hyphens, values of at most 2 KiB and
    /// 4 KiB in all, a storage class that exists.
    pub fn check(&self) -> Result<(), RequestError> {
        let legal = |suffix: &str| {
            !suffix.is_empty() && suffix.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        if let Some(suffix) = self.user.keys().find(|suffix| !legal(suffix)) {
            let message = format!("{META_PREFIX}{suffix}: only letters, digits and hyphens may follow {META_PREFIX}");
            return Err(RequestError::new(Code::InvalidArgument, message));
        }
        let sum: usize = self.user.iter().map(|(suffix, value)| suffix.len() + value.len()).sum();
        if sum > META_BYTES_MAX || self.user.values().any(|value| value.len() > META_VALUE_BYTES_MAX) {
            let message = "User metadata is limited to 2 KB each and 4 KB in all.";
            return Err(RequestError::new(Code::InvalidArgument, message));
        }
        match &self.storage_class {
            Some(class) if !STORAGE_CLASSES.contains(&class.as_str()) => {
                Err(RequestError::new(Code::NotSupportedStorageClass, format!("no storage class {class:?}")))
            }
            _ => Ok(()),
        }
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
    fn metadata_beyond_the_rules_is_refused() {
        let full = "v".repeat(META_VALUE_BYTES_MAX);
        assert!(with_meta("mode", "33188").check().is_ok());
        assert!(with_meta("m", &full).check().is_ok());
        for (suffix, value) in [("", "x"), ("a_b", "x"), ("a.b", "x"), ("m", &*(full.clone() + "v"))] {
            assert!(with_meta(suffix, value).check().is_err(), "{suffix}");
        }
        let mut two = with_meta("a", &full);
        two.user.insert("b".into(), full);
        assert!(two.check().is_err(), "4 KiB and the two suffixes");
        let strange = ObjectAttributes { storage_class: Some("COLD".into()), ..ObjectAttributes::default() };
        assert_eq!(strange.check().unwrap_err().code, Code::NotSupportedStorageClass);
    }

    #[test]
    fn classes_are_read_in_any_case() {
        let read = |class| ObjectAttributes::from_headers(Headers(&[("x-cos-storage-class", class)])).storage_class;
        assert_eq!((read("Standard_IA").as_deref(), read("standard")), (Some("STANDARD_IA"), None));
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

    #[test]
    fn values_that_are_no_header_values_are_escaped() {
        let mut headers = Vec::new();
        with_meta("Name", "腾\n").push_headers(&mut headers);
        assert_eq!(headers, [("x-cos-meta-name".into(), "%E8%85%BE%0A".to_owned())]);
    }
}
