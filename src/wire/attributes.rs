//! An object's metadata as header lines, on requests and on answers alike (`cos-api.md` 3.1, 3.2, 3.12).

use super::code::Code;
use super::escape::header_value;
use super::operation::RequestError;
use super::request::{HeaderPair, Headers};
use crate::object::{Limits, ObjectAttributes};

/// The prefix of user metadata.
pub const META_PREFIX: &str = "x-cos-meta-";

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
            _ => Ok(()),
        }
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
