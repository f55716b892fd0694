//! Object storage as the file system sees it: one trait, and errors by meaning.
//!
//! Every implementation passes the one suite in `tests/conformance`. Retrying belongs to the implementation:
//! a caller that gets an error need not try again.

mod body;
mod change_notifier;
mod complete;
mod copying;
mod error;
mod http;
mod http_store;
mod journaled;
mod layered;
mod listing;
mod object_store;
mod orphans;
mod pace;
mod reach;
mod reading;
mod retry;
mod sending;
mod session;
#[cfg(feature = "testing")]
pub mod testing;
mod uploads;
mod watchdog;

pub use body::Body;
pub use change_notifier::{ChangeNotifier, ChangeObserver};
pub use error::{Obstacle, StoreError, StoreErrorKind};
pub use http::{Runtimes, Timeouts};
pub use http_store::{HttpOptions, HttpStore};
pub use journaled::{JournaledStore, ResumeWindow};
#[cfg(feature = "testing")]
pub(crate) use listing::judge_page;
pub use object_store::{
    Copied, CopyRequest, GetRequest, Initiated, ListPage, ListRequest, ListedObject, ListedPart, ListedUpload,
    ObjectStore, Published, Reading, Resumed, Source,
};
pub use retry::RetryOptions;
pub use watchdog::Watchdog;

pub use crate::wire::Op;
