//! Which protocol a service speaks: COS's own, or that of S3, which is the same but for names, signatures and what it tells of
//! bytes.
//!
//! Requests and answers are made and read in COS's words everywhere; here, on their last step out and their first one in, those of
//! another dialect are put in their place. Who wants to know what a service can do asks the [`Dialect`] for that, and never
//! which it is.

mod chunks;
mod policy;
mod s3;
mod spoken;
mod v2;
mod v4;

use std::borrow::Cow;

use super::digest::DigestAlgorithm;
use super::operation::Op;
use super::request::RequestHead;
use super::sign::{Credentials, KeyTime, SigningKey};
use crate::object::{BucketName, Crc64, ETag, Limits};
use crate::wire::request::HeaderPair;

pub use chunks::{ChunkError, Chunks};
pub use s3::S3;
pub use spoken::{Asked, Rules, Spoken, chunked_body, own_trailer};
pub use v4::{ChunkKey, SignedBody};

/// What a service speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// COS, as `cos-api.md` has it.
    Cos,
    /// S3.
    S3(S3),
}

/// Signs requests for a while. Deriving it costs hashes, so keep it for as long as it is valid.
#[derive(Clone, Debug)]
pub enum Signer {
    /// By COS's signature, for a span of time.
    Cos(SigningKey),
    /// By signature version 4, at the moment of each request.
    V4(s3::V4Key),
}

impl Dialect {
    /// What the service takes.
    pub fn limits(&self) -> Limits {
        match self {
            Dialect::Cos => Limits::COS,
            Dialect::S3(_) => Limits::S3,
        }
    }

    /// Whether the service tells the checksum of all that it has stored. Where it does not, it is told a digest of what comes, and
    /// refuses what has another.
    pub fn tells_checksums(&self) -> bool {
        *self == Dialect::Cos
    }

    /// Whether services that speak it may keep directories as such, and not as the objects that stand for them.
    pub fn may_keep_directories(&self) -> bool {
        *self != Dialect::Cos
    }

    /// Whether services that speak it may hold to what a write may replace. One that does not speak of it need not be asked.
    pub fn may_keep_conditions(&self) -> bool {
        *self != Dialect::Cos
    }

    /// What it is called.
    pub fn name(&self) -> &'static str {
        match self {
            Dialect::Cos => "COS",
            Dialect::S3(_) => "S3",
        }
    }

    /// How a bucket is reached, in words, where that is a matter of choice: where it is named, and in which region.
    pub fn addressing(&self) -> Option<String> {
        match self {
            Dialect::Cos => None,
            Dialect::S3(s3) => Some(s3.addressing()),
        }
    }

    /// The region that signatures name whatever host a request goes to, so that it has to be right beside an endpoint, too.
    pub fn signed_region(&self) -> Option<&str> {
        match self {
            Dialect::Cos => None,
            Dialect::S3(s3) => Some(s3.region()),
        }
    }

    /// Whether the host names the bucket where the path could.
    pub fn may_name_in_path(&self) -> bool {
        matches!(self, Dialect::S3(s3) if !s3.is_in_path())
    }

    /// What a policy has to allow for an operation on what is below `prefix`.
    pub fn grant(&self, op: Op, bucket: &BucketName, prefix: &str, region: Option<&str>) -> String {
        match self {
            Dialect::Cos => policy::grant_of_cos(op, bucket, prefix, region),
            Dialect::S3(_) => policy::grant_of_s3(op, bucket, prefix),
        }
    }

    /// A request as it goes out.
    pub fn outgoing<'a>(&self, head: &'a RequestHead) -> Cow<'a, RequestHead> {
        match self {
            Dialect::Cos => Cow::Borrowed(head),
            Dialect::S3(s3) => Cow::Owned(s3.outgoing(head)),
        }
    }

    /// A header of an answer as COS has it, where that is otherwise: its name, and its value if that is another, too.
    pub fn own_header(&self, name: &str, value: &str) -> Option<(String, Option<String>)> {
        match self {
            Dialect::Cos => None,
            Dialect::S3(_) => s3::own_header(name, value),
        }
    }

    /// The checksum that an element of COS's answers tells. A gateway that speaks another dialect may have it there, too, and it is of
    /// another kind than is counted by then.
    pub fn own_checksum(&self, told: Option<Crc64>) -> Option<Crc64> {
        told.filter(|_| self.tells_checksums())
    }

    /// The digest by which bodies are to be vouched for where the service has it, and which it tells of objects then. A service
    /// that tells a checksum of its own accord needs none.
    pub fn digest(&self) -> Option<DigestAlgorithm> {
        match self {
            Dialect::Cos => None,
            Dialect::S3(_) => Some(DigestAlgorithm::Crc64Nvme),
        }
    }

    /// Whether answers are COS's as they come.
    pub fn has_own_names(&self) -> bool {
        *self == Dialect::Cos
    }

    /// What signs requests with these credentials for `key_time`.
    pub fn signer(&self, credentials: &Credentials, key_time: KeyTime) -> Signer {
        match self {
            Dialect::Cos => Signer::Cos(SigningKey::new(credentials, key_time)),
            Dialect::S3(s3) => Signer::V4(s3.key(credentials, key_time)),
        }
    }

    /// The version of an object of parts with these versions, where that can be told.
    pub fn etag_of_parts(&self, parts: &[ETag]) -> Option<ETag> {
        match self {
            Dialect::Cos => None,
            Dialect::S3(_) => s3::etag_of_parts(parts),
        }
    }

    /// S3 of one bucket.
    pub fn s3(region: &str, bucket: &BucketName, is_in_path: bool) -> Dialect {
        Dialect::S3(S3::new(region, is_in_path.then(|| bucket.clone())))
    }
}

impl Signer {
    /// When it may be used.
    pub fn key_time(&self) -> KeyTime {
        match self {
            Signer::Cos(key) => key.key_time(),
            Signer::V4(key) => key.key_time(),
        }
    }

    /// The headers to add to a request to `host` that goes out at `now`, in Unix seconds of the service.
    pub fn sign(&self, head: &RequestHead, host: &str, now: u64) -> Vec<HeaderPair> {
        match self {
            Signer::Cos(key) => key.sign(head, host),
            Signer::V4(key) => key.sign(head, host, now),
        }
    }
}
