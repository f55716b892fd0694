//! The answers of the service, each written and read in one place.
//!
//! [`crate::server`] encodes, [`crate::store`] decodes. A decoder is shown a whole body and takes nothing for granted:
//! the root decides what the answer is, because a status of 200 may come with an `Error` in the body (`cos-api.md` 3.6,
//! 4.4), which every decoder here tells as [`AnswerError::Refused`].

mod bucket;
mod cors;
mod error;
mod lifecycle;
mod listing;
mod multipart;
mod object;
mod sub_resource;
mod versions;

pub use bucket::{BucketEntry, ListAllMyBucketsResult, Location, Versioning};
pub use cors::CorsConfiguration;
pub use error::ErrorBody;
pub use lifecycle::{Lifecycle, LifecycleRule};
pub use listing::{Contents, ListBucketResult, ListMultipartUploadsResult, PAGE_ENTRIES_MAX, Upload};
pub use multipart::{
    CompleteMultipartUploadResult, CopyPartResult, InitiateMultipartUploadResult, ListPartsResult, ListedPart,
};
pub use object::{
    CRC64, ContentRange, CopyObjectResult, DELETE_MARKER, DeleteFailure, DeleteResult, Deleted, RESTORE, VERSION_ID,
    decode_head, encode_head, header_crc64,
};

pub use sub_resource::{AccessControlPolicy, GetObjectAttributesOutput, Tagging};
pub use versions::{ListVersionsResult, NULL_VERSION, VersionEntry, VersionObject};

use super::escape::{escape_path, unescape, unescape_lossy};
use super::xml::{Element, XmlError, parse};

/// Why an answer is not the one that was hoped for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// The body is the service's refusal.
    #[error("{0}")]
    Refused(Box<ErrorBody>),
    /// The body is something else.
    #[error(transparent)]
    Xml(#[from] XmlError),
    /// The body has another root.
    #[error("the answer is {0:?}")]
    UnexpectedRoot(String),
    /// A header is missing or cannot be read.
    #[error("the header {0} is missing or cannot be read")]
    Header(&'static str),
}

/// The root of `body`, if it is the one that was asked for.
fn root_of(body: &[u8], name: &'static str) -> Result<Element, AnswerError> {
    let root = parse(body)?;
    match root.name.as_str() {
        "Error" => Err(AnswerError::Refused(Box::new(ErrorBody::of(&root)))),
        other if other == name => Ok(root),
        other => Err(AnswerError::UnexpectedRoot(other.to_owned())),
    }
}

/// A key as a listing has it: escaped if it was asked for, with `%2B`, `%25` and `%20`, so that all the ways in which
/// clients unescape agree (`cos-api.md` 5.2).
fn listed(key: &str, url_encoded: bool) -> String {
    if url_encoded { escape_path(key) } else { key.to_owned() }
}

/// The reverse of [`listed`].
fn unlisted(name: &'static str, text: &str, url_encoded: bool) -> Result<String, XmlError> {
    if !url_encoded {
        return Ok(text.to_owned());
    }
    unescape(text).map_err(|_| XmlError::BadText { name, text: text.to_owned() })
}

/// The reverse of [`listed`] for what somebody else has named: one key that cannot be read must not make all others
/// unreadable. It has the character [`UNREADABLE`](crate::object::key::UNREADABLE) then.
fn unlisted_or_marked(text: &str, url_encoded: bool) -> String {
    if url_encoded { unescape_lossy(text) } else { text.to_owned() }
}

/// Whether a listing says that its keys are escaped; older answers write the element with a hyphen (`cos-api.md` 4.7).
fn says_url(root: &Element) -> bool {
    let encoding = root.optional("EncodingType").or_else(|| root.optional("Encoding-type"));
    let encoding = encoding.or_else(|| root.optional("Encoding-Type"));
    encoding.is_some_and(|encoding| encoding.trim().eq_ignore_ascii_case("url"))
}
