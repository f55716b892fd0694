//! Object storage as the file system sees it: one trait, and errors by meaning.
//!
//! Every implementation passes the one suite in `tests/conformance`. Retrying belongs to the implementation:
//! a caller that gets an error need not try again.

mod body;
mod budget;
mod change_notifier;
mod complete;
mod congestion;
mod copying;
mod error;
mod http;
mod http_store;
mod layered;
mod listing;
mod object_store;
mod pace;
mod reach;
mod reading;
mod retry;
mod sending;
mod session;
#[cfg(feature = "testing")]
pub mod testing;
mod watchdog;

pub use body::Body;
pub use change_notifier::{ChangeNotifier, ChangeObserver};
pub use error::{Obstacle, StoreError, StoreErrorKind};
pub use http::{Runtimes, Timeouts};
pub use http_store::{HttpOptions, HttpStore};
pub use object_store::{
    Copied, CopyRequest, GetRequest, ListPage, ListRequest, ListedObject, ObjectStore, Published, Reading, Source,
};
pub use retry::RetryOptions;
pub use watchdog::Watchdog;

pub use crate::wire::Op;
