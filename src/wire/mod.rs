//! The nouns of the product and the COS protocol as pure functions.
//!
//! Nothing here does I/O, reads a clock or keeps state. Both ends are built on it: [`crate::store`] encodes requests
//! and decodes answers, [`crate::server`] does the reverse with the code that stands beside it.

pub mod address;
pub mod answer;
pub mod attributes;
pub mod code;
pub mod condition;
pub mod copy_source;
pub mod date;
pub mod digest;
pub mod escape;
pub mod etag;
pub mod key;
pub mod limits;
pub mod object;
pub mod operation;
pub mod part;
pub mod range;
pub mod region;
pub mod request;
pub mod sign;
mod xml;

pub use address::{Addressed, Endpoint};
pub use code::{Code, Failure, Meaning, Retry};
pub use condition::Conditions;
pub use copy_source::CopySource;
pub use cosmount_digests::{Crc64, Crc64Hasher};
pub use etag::ETag;
pub use key::{BucketName, ObjectKey};
pub use limits::Limits;
pub use object::{ObjectAttributes, ObjectHead};
pub use operation::{Operation, RequestError};
pub use part::{PartNumber, UploadId, UploadedPart};
pub use range::{ByteRange, RangeSpec};
pub use request::{Headers, Method, RequestHead};
pub use sign::{Credentials, KeyTime, SigningKey};
pub use xml::XmlError;
