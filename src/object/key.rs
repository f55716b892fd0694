//! Names of buckets and objects, valid by construction.

use std::fmt;
use std::sync::Arc;

/// The longest key, in bytes of UTF-8 (`cos-api.md` 6.6).
pub const KEY_BYTES_MAX: usize = 850;

/// What stands for a byte that cannot be read in a key. No key that can be a file's name has it.
pub const UNREADABLE: char = '\0';

/// The key of an object: 1 to 850 bytes of UTF-8 that the service accepts (`cos-api.md` 6.6).
///
/// INVARIANT: not empty, at most [`KEY_BYTES_MAX`] bytes, does not begin with `/` or `\`, and holds none of the
/// bytes 0x18 to 0x1B.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey(Arc<str>);

/// Why a text is not a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The empty text names no object.
    #[error("an object key cannot be empty")]
    Empty,
    /// Over 850 bytes.
    #[error("an object key holds at most {KEY_BYTES_MAX} bytes")]
    TooLong,
    /// A leading `/` or `\`, or one of the bytes 0x18 to 0x1B.
    #[error("an object key cannot begin with / or \\ nor hold the bytes 0x18 to 0x1B")]
    Forbidden,
}

impl ObjectKey {
    /// Takes a text as a key, if the service would.
    pub fn new(text: impl AsRef<str>) -> Result<ObjectKey, KeyError> {
        let text = text.as_ref();
        if text.is_empty() {
            return Err(KeyError::Empty);
        }
        if text.len() > KEY_BYTES_MAX {
            return Err(KeyError::TooLong);
        }
        let forbidden = text.starts_with(['/', '\\']) || text.bytes().any(|byte| (0x18..=0x1B).contains(&byte));
        if forbidden {
            return Err(KeyError::Forbidden);
        }
        Ok(ObjectKey(Arc::from(text)))
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl AsRef<str> for ObjectKey {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// The full name of a bucket, `NAME-APPID` (`cos-api.md` 1.5).
///
/// INVARIANT: lower-case letters, digits and hyphens; no hyphen at either end; ends in `-` and the digits of the
/// APPID; at most 60 bytes.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BucketName(Arc<str>);

/// Why a text is not the full name of a bucket.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BucketNameError {
    /// Not one of COS.
    #[error(
        "{0:?} is not a bucket's full name: it is NAME-APPID, in lower-case letters, digits and hyphens, \
         for example photos-1250000000"
    )]
    Cos(String),
    /// Not one of S3.
    #[error("{0:?} is not a bucket's name: it is 3 to 63 lower-case letters, digits, hyphens and points")]
    S3(String),
}

impl BucketName {
    /// Takes a text as the full name of a bucket.
    pub fn new(text: impl AsRef<str>) -> Result<BucketName, BucketNameError> {
        let text = text.as_ref();
        let legal = text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        let named = text.rsplit_once('-').is_some_and(|(name, appid)| {
            !name.is_empty() && !name.starts_with('-') && !appid.is_empty() && appid.bytes().all(|b| b.is_ascii_digit())
        });
        if legal && named && text.len() <= 60 {
            Ok(BucketName(Arc::from(text)))
        } else {
            Err(BucketNameError::Cos(text.to_owned()))
        }
    }

    /// Takes a text as the name of a bucket of S3: 3 to 63 lower-case letters, digits, hyphens and points, a letter or digit at
    /// both ends.
    pub fn of_s3(text: impl AsRef<str>) -> Result<BucketName, BucketNameError> {
        let text = text.as_ref();
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let ends = [text.bytes().next(), text.bytes().next_back()];
        let is_legal = text.bytes().all(|byte| plain(byte) || matches!(byte, b'-' | b'.'))
            && ends.into_iter().flatten().all(plain)
            && (3..=63).contains(&text.len());
        if is_legal { Ok(BucketName(Arc::from(text))) } else { Err(BucketNameError::S3(text.to_owned())) }
    }

    /// The full name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The account's number, the digits after the last hyphen.
    pub fn appid(&self) -> &str {
        self.0.rsplit_once('-').map_or("", |(_, appid)| appid)
    }
}

impl fmt::Display for BucketName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for BucketName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_what_the_service_takes() {
        let longest = "k".repeat(KEY_BYTES_MAX);
        let table: [(&str, Result<(), KeyError>); 9] = [
            ("a", Ok(())),
            ("dir/", Ok(())),
            ("a//b/./c/../d", Ok(())),
            ("腾讯云 +%'\"😀", Ok(())),
            (&longest, Ok(())),
            ("", Err(KeyError::Empty)),
            ("/a", Err(KeyError::Forbidden)),
            ("\\a", Err(KeyError::Forbidden)),
            ("a\u{1a}b", Err(KeyError::Forbidden)),
        ];
        for (text, expected) in table {
            assert_eq!(ObjectKey::new(text).map(|_| ()), expected, "{text:?}");
        }
        assert_eq!(ObjectKey::new(longest + "k"), Err(KeyError::TooLong));
    }

    #[test]
    fn a_bucket_is_named_with_its_appid() {
        assert_eq!(BucketName::new("photos-1250000000").unwrap().appid(), "1250000000");
        assert_eq!(BucketName::new("my-photos-1").unwrap().as_str(), "my-photos-1");
        for text in
            ["photos", "-1250000000", "Photos-1", "photos-", "photos-12a", "a_b-1", &format!("{}-1", "a".repeat(60))]
        {
            assert!(BucketName::new(text).is_err(), "{text:?}");
        }
    }
}
