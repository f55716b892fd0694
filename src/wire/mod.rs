//! The nouns of the product and the COS protocol as pure functions.
//!
//! Nothing here does I/O, reads a clock or keeps state. Both ends are built on it: [`crate::store`] encodes requests
//! and decodes answers, [`crate::server`] does the reverse with the code that stands beside it.

pub mod crc64;
pub mod etag;
pub mod key;
pub mod limits;
pub mod object;
pub mod part;
pub mod range;

pub use crc64::{Crc64, Crc64Hasher};
pub use etag::ETag;
pub use key::{BucketName, ObjectKey};
pub use limits::Limits;
pub use object::{ObjectAttributes, ObjectHead};
pub use part::{PartNumber, UploadId, UploadedPart};
pub use range::ByteRange;
