//! The COS protocol as pure functions.
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
pub mod dialect;
pub mod digest;
pub mod escape;
pub mod issued;
pub mod key_flaw;
pub mod operation;
pub mod range;
pub mod region;
pub mod request;
pub mod sign;
mod xml;

pub use address::{Addressed, Endpoint};
pub use code::{Code, Failure, Meaning, Retry};
pub use condition::Conditions;
pub use copy_source::CopySource;
pub use operation::{Op, Operation, RequestError};
pub use range::RangeSpec;
pub use request::{Headers, Method, RequestHead};
pub use sign::{Credentials, KeyTime, SigningKey};
pub use xml::XmlError;
