//! What an object store has, whatever protocol it speaks: keys, versions, parts, ranges, checksums, metadata and limits.
//!
//! Pure values. How they travel is [`crate::wire`]'s to say.

pub mod checksum;
pub mod etag;
pub mod key;
pub mod limits;
pub mod metadata;
pub mod part;
pub mod range;
pub mod time;
pub mod version;

pub use checksum::{Checksum, ChecksumAlgorithm, ChecksumHasher};
/// The checksum of COS by its name, for who speaks its protocol.
pub use checksum::{Checksum as Crc64, ChecksumHasher as Crc64Hasher};
pub use etag::ETag;
pub use key::{BucketName, ObjectKey};
pub use limits::Limits;
pub use metadata::{DIRECTORY_TYPE, Encryption, META_MTIME, ObjectAttributes, ObjectHead, Protection, Tags};
pub use part::{PartNumber, UploadId, UploadedPart};
pub use range::ByteRange;
pub use version::{StoredObject, Version};
