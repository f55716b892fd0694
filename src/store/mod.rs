//! Object storage as the file system sees it: one trait, and errors by meaning.
//!
//! Every implementation passes the one suite in `tests/conformance.rs`. Retrying belongs to the implementation:
//! a caller that gets an error need not try again.

mod body;
mod error;
mod object_store;

pub use body::Body;
pub use error::{StoreError, StoreErrorKind};
pub use object_store::{
    Copied, CopyRequest, GetRequest, ListPage, ListRequest, ListedObject, ListedUpload, ObjectStore, Published,
    Reading, Source,
};
