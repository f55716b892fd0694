//! What is mounted: a bucket, or the keys of it that begin with a prefix.

use std::str::FromStr;

use super::ConfigError;
use crate::object::key::BucketNameError;
use crate::object::{BucketName, ObjectKey};

/// What a prefix has to leave of a key's 850 bytes for the names of files, in bytes. Those that the mount makes for itself
/// are shorter.
const ROOM_BYTES: usize = 64;

/// A bucket and the prefix under which the mount sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountSource {
    /// The bucket.
    pub bucket: BucketName,
    /// Empty, or ends in `/` and does not begin with it.
    pub prefix: String,
}

impl FromStr for MountSource {
    type Err = ConfigError;

    /// Reads `BUCKET`, `BUCKET:/PREFIX`, `BUCKET:PREFIX` or `cos://BUCKET/PREFIX`.
    fn from_str(text: &str) -> Result<MountSource, ConfigError> {
        MountSource::read(text, "cos://", BucketName::new)
    }
}

impl MountSource {
    /// The same of S3: `BUCKET`, `BUCKET:/PREFIX`, `BUCKET:PREFIX` or `s3://BUCKET/PREFIX`.
    pub fn of_s3(text: &str) -> Result<MountSource, ConfigError> {
        MountSource::read(text, "s3://", BucketName::of_s3)
    }

    /// The name of the bucket in any of these forms, before it is known which of the two it is. It may be no name at all.
    pub(super) fn bucket_in(text: &str) -> &str {
        match ["cos://", "s3://"].iter().find_map(|scheme| text.strip_prefix(scheme)) {
            Some(rest) => rest.split('/').next().unwrap_or(rest),
            None => text.split(':').next().unwrap_or(text),
        }
    }

    fn read(
        text: &str,
        scheme: &str,
        name: fn(String) -> Result<BucketName, BucketNameError>,
    ) -> Result<MountSource, ConfigError> {
        let refused = |reason: String| ConfigError::Source { text: text.to_owned(), reason };
        let (bucket, prefix) = match text.strip_prefix(scheme) {
            Some(rest) => rest.split_once('/').unwrap_or((rest, "")),
            None if text.contains("://") => {
                return Err(refused(format!("it is written BUCKET:/PREFIX, or {scheme}BUCKET/PREFIX")));
            }
            None => text.split_once(':').unwrap_or((text, "")),
        };
        let bucket = name(bucket.to_owned()).map_err(|error| refused(error.to_string()))?;
        let prefix = prefix.trim_matches('/');
        if prefix.split('/').any(|segment| matches!(segment, "." | "..")) {
            return Err(refused("a prefix cannot hold the segments . and ..".into()));
        }
        if prefix.contains("//") {
            return Err(refused("a prefix cannot hold an empty segment".into()));
        }
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        if let Err(error) = ObjectKey::new(format!("{prefix}{}", "n".repeat(ROOM_BYTES))) {
            return Err(refused(format!("no file below the prefix could have a key: {error}")));
        }
        Ok(MountSource { bucket, prefix })
    }
}

impl std::fmt::Display for MountSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.bucket)?;
        if self.prefix.is_empty() { Ok(()) } else { write!(f, ":/{}", self.prefix.trim_end_matches('/')) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_a_bucket_and_a_prefix() {
        let table = [
            ("photos-125", "photos-125", ""),
            ("photos-125:/", "photos-125", ""),
            ("photos-125:/2024/may", "photos-125", "2024/may/"),
            ("photos-125:2024/", "photos-125", "2024/"),
            ("cos://photos-125/2024/", "photos-125", "2024/"),
            ("cos://photos-125", "photos-125", ""),
        ];
        for (text, bucket, prefix) in table {
            let source: MountSource = text.parse().unwrap();
            assert_eq!((source.bucket.as_str(), source.prefix.as_str()), (bucket, prefix), "{text:?}");
            assert_eq!(MountSource::bucket_in(text), bucket);
        }
        for text in ["photos", "photos:/a:b", "photos:a", "s3://photos/a:b", "s3://photos"] {
            assert_eq!((MountSource::bucket_in(text), MountSource::of_s3(text).is_ok()), ("photos", true), "{text:?}");
        }
        assert_eq!("photos-125:/2024/".parse::<MountSource>().unwrap().to_string(), "photos-125:/2024");
    }

    #[test]
    fn what_cannot_be_mounted_is_refused() {
        for text in ["photos", "", ":/x", "photos-125:/a/../b", "photos-125:/a//b", "Photos-125"] {
            assert!(text.parse::<MountSource>().is_err(), "{text:?}");
        }
        // Of the other kind, each.
        let refused = MountSource::of_s3("cos://photos-125/a").unwrap_err().to_string();
        assert!(refused.ends_with("or s3://BUCKET/PREFIX"), "{refused}");
        assert!("s3://photos-125/a".parse::<MountSource>().is_err());
        let long = |bytes: usize| format!("photos-125:/{}", "p".repeat(bytes)).parse::<MountSource>();
        assert!(long(785).is_ok() && long(786).is_err());
    }
}
