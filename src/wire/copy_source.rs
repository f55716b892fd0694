//! The object that a copy reads, as the header `x-cos-copy-source` names it (`cos-api.md` 3.6).

use super::code::Code;
use super::escape::{push_escaped, push_escaped_path, unescape};
use super::operation::RequestError;
use crate::object::{BucketName, ObjectKey};

/// A source of a copy: `<bucket>.<domain>/<escaped key>[?versionId=<id>]`, or, as cosfs, OpenDAL and all clients of S3 send it,
/// `[/]<bucket>/<escaped key>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopySource {
    /// The bucket.
    pub bucket: BucketName,
    /// The rest of the bucket's host, for example `cos.ap-beijing.myqcloud.com`; empty for the form without a host.
    pub domain: String,
    /// The key.
    pub key: ObjectKey,
    /// The version; `None` for the newest.
    pub version: Option<String>,
}

impl CopySource {
    /// Reads the value of the header.
    pub fn parse(value: &str) -> Result<CopySource, RequestError> {
        let bad = |why: &str| RequestError::new(Code::InvalidCopySource, format!("x-cos-copy-source: {why}"));
        let (path, query) = value.trim().split_once('?').unwrap_or((value.trim(), ""));
        let path = path.strip_prefix('/').unwrap_or(path);
        let (host, key) = path.split_once('/').ok_or_else(|| bad("no key"))?;
        let (label, domain) = host.split_once('.').unwrap_or((host, ""));
        let (bucket, domain) = match BucketName::new(label) {
            Ok(bucket) => (bucket, domain),
            // A name of S3's may have points.
            Err(_) => (BucketName::of_s3(host).map_err(|_| bad("no bucket"))?, ""),
        };
        let key = unescape(key).map_err(|_| bad("a bad escape"))?;
        // Some clients escape the key with its slashes and put one more in front.
        let key = ObjectKey::new(&key).or_else(|error| key.strip_prefix('/').map_or(Err(error), ObjectKey::new));
        let key = key.map_err(|error| bad(&error.to_string()))?;
        let version = query.split('&').find_map(|pair| pair.strip_prefix("versionId="));
        let version = version.map(unescape).transpose().map_err(|_| bad("a bad escape"))?;
        Ok(CopySource { bucket, domain: domain.to_owned(), key, version })
    }

    /// The value of the header.
    pub fn header(&self) -> String {
        let mut value = String::with_capacity(self.key.as_str().len() * 2 + 96);
        if self.domain.is_empty() {
            value.push('/');
        }
        value.push_str(self.bucket.as_str());
        if !self.domain.is_empty() {
            value.push('.');
            value.push_str(&self.domain);
        }
        value.push('/');
        push_escaped_path(&mut value, self.key.as_str());
        if let Some(version) = &self.version {
            value.push_str("?versionId=");
            push_escaped(&mut value, version);
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_form_is_read() {
        let table = [
            ("b-1.cos.ap-x.myqcloud.com/src/%E6%97%A7%20%E5%90%8D.txt", "cos.ap-x.myqcloud.com", "src/旧 名.txt", None),
            ("b-1.sg.myqcloud.com/a(1)*'!?versionId=MTg%3D", "sg.myqcloud.com", "a(1)*'!", Some("MTg=")),
            ("b-1.127.0.0.1:9000/a+b", "127.0.0.1:9000", "a+b", None),
            ("/b-1/dir/a%3Fb", "", "dir/a?b", None),
            ("b-1/dir%2Fa", "", "dir/a", None),
            ("b-1.cos.ap-x.myqcloud.com/%2Fa", "cos.ap-x.myqcloud.com", "a", None),
        ];
        for (value, domain, key, version) in table {
            let source = CopySource::parse(value).unwrap();
            assert_eq!((source.bucket.as_str(), &*source.domain, source.key.as_str()), ("b-1", domain, key), "{value}");
            assert_eq!(source.version.as_deref(), version);
            assert_eq!(CopySource::parse(&source.header()).as_ref(), Ok(&source));
        }
        let of_s3 = CopySource::parse("/photos.of-2024/a%20b").unwrap();
        assert_eq!((of_s3.bucket.as_str(), of_s3.key.as_str()), ("photos.of-2024", "a b"));
        for bad in ["", "b-1", "b-1/", "/", "http://b-1/x", "B/x", "b-1/%zz", "b-1/a?versionId=%"] {
            assert_eq!(CopySource::parse(bad).map_err(|error| error.code), Err(Code::InvalidCopySource), "{bad}");
        }
    }
}
