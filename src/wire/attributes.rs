//! An object's metadata as header lines, on requests and on answers alike (`cos-api.md` 3.1, 3.2, 3.12).

use super::code::Code;
use super::escape::header_value;
use super::operation::RequestError;
use super::request::{HeaderPair, Headers};
use crate::object::{Encryption, Limits, ObjectAttributes, Protection, Tags};

/// The prefix of user metadata.
pub const META_PREFIX: &str = "x-cos-meta-";

/// Who may read an object (`cos-api.md` 3.1).
pub const ACL: &str = "x-cos-acl";
/// How an object is encrypted, and with which key (`cos-api.md` 3.13).
pub const ENCRYPTION: &str = "x-cos-server-side-encryption";
/// Which key it is encrypted with.
pub const KMS_KEY: &str = "x-cos-server-side-encryption-cos-kms-key-id";
/// The tags that an object is to have, and on answers how many it has (`cos-api.md` 3.1, 3.2).
pub const TAGGING: &str = "x-cos-tagging";
/// How many tags an object has.
pub const TAG_COUNT: &str = "x-cos-tagging-count";

/// The access lists that have a name of their own.
pub const ACLS: [&str; 7] = [
    "default",
    "private",
    "public-read",
    "public-read-write",
    "authenticated-read",
    "bucket-owner-read",
    "bucket-owner-full-control",
];

/// The class of an object that names none.
pub const STANDARD: &str = "STANDARD";
/// The storage classes that the service knows (`cos-api.md` 3.11).
pub const STORAGE_CLASSES: [&str; 10] = [
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
            content_language: text("content-language"),
            expires: text("expires"),
            storage_class: class.filter(|class| class != STANDARD),
            protection: Protection::from_headers(headers),
            tags: tags(headers),
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
            ("content-language", &self.content_language),
            ("expires", &self.expires),
            ("x-cos-storage-class", &self.storage_class),
        ];
        for (name, value) in standard {
            if let Some(value) = value {
                headers.push((name.into(), header_value(value).into_owned()));
            }
        }
        self.protection.push_headers(headers);
        if let Tags::Are(tagging) = &self.tags {
            headers.push((TAGGING.into(), tagging.clone()));
        }
        for (suffix, value) in &self.user {
            let name = format!("{META_PREFIX}{}", suffix.to_ascii_lowercase());
            headers.push((name.into(), header_value(value).into_owned()));
        }
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
        if !Limits::COS.hold_metadata(&self.user) {
            let message = "User metadata is limited to 2 KB each and 4 KB in all.";
            return Err(RequestError::new(Code::InvalidArgument, message));
        }
        match &self.storage_class {
            Some(class) if !STORAGE_CLASSES.contains(&class.as_str()) => {
                Err(RequestError::new(Code::NotSupportedStorageClass, format!("no storage class {class:?}")))
            }
            _ => self.protection.check(),
        }
    }
}

impl Protection {
    fn from_headers(headers: Headers<'_>) -> Protection {
        let text = |name| headers.get(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        let encryption = text(ENCRYPTION).map(|algorithm| Encryption { algorithm, kms_key: text(KMS_KEY) });
        Protection { acl: text(ACL), encryption }
    }

    fn check(&self) -> Result<(), RequestError> {
        if let Some(acl) = self.acl.as_deref().filter(|acl| !ACLS.contains(acl)) {
            return Err(RequestError::new(Code::InvalidArgument, format!("{ACL}: there is no access list {acl:?}")));
        }
        let known = [Encryption::OF_COS, Encryption::OF_KMS];
        match self.encryption.as_ref().map(|encryption| &*encryption.algorithm) {
            Some(algorithm) if !known.contains(&algorithm) => {
                Err(RequestError::new(Code::InvalidArgument, format!("{ENCRYPTION}: there is no {algorithm:?}")))
            }
            _ => Ok(()),
        }
    }

    /// Appends it as header lines.
    pub fn push_headers(&self, headers: &mut Vec<HeaderPair>) {
        if let Some(acl) = &self.acl {
            headers.push((ACL.into(), acl.clone()));
        }
        let Some(Encryption { algorithm, kms_key }) = &self.encryption else { return };
        headers.push((ENCRYPTION.into(), header_value(algorithm).into_owned()));
        if let Some(key) = kms_key {
            headers.push((KMS_KEY.into(), header_value(key).into_owned()));
        }
    }
}

fn tags(headers: Headers<'_>) -> Tags {
    match (headers.get(TAGGING).map(str::trim).filter(|tagging| !tagging.is_empty()), headers.get(TAG_COUNT)) {
        (Some(tagging), _) => Tags::Are(tagging.to_owned()),
        (None, Some(count)) if count.trim().parse::<u32>().is_ok_and(|count| count > 0) => Tags::Unread,
        _ => Tags::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_meta(suffix: &str, value: &str) -> ObjectAttributes {
        let mut attributes = ObjectAttributes::default();
        attributes.user.insert(suffix.to_owned(), value.to_owned());
        attributes
    }

    #[test]
    fn metadata_beyond_the_rules_is_refused() {
        let full = "v".repeat(Limits::COS.metadatum_bytes_max);
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
    fn values_that_are_no_header_values_are_escaped() {
        let mut headers = Vec::new();
        with_meta("Name", "腾\n").push_headers(&mut headers);
        assert_eq!(headers, [("x-cos-meta-name".into(), "%E8%85%BE%0A".to_owned())]);
    }
}
