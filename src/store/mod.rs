//! Object storage as the file system sees it: one trait, and errors by meaning.
//!
//! Every implementation passes the one suite in `tests/conformance`. Retrying belongs to the implementation:
//! a caller that gets an error need not try again.

mod archive;
mod as_of;
mod assumed_role;
mod aws_keys;
mod body;
mod bucket;
mod budget;
mod change_notifier;
mod complete;
mod conditions;
mod congestion;
mod copying;
mod credential_cache;
mod error;
mod http;
mod http_store;
mod instance_role;
mod journaled;
mod kept_writes;
mod layered;
mod listing;
mod object_options;
mod object_store;
mod observed;
mod orphans;
mod pace;
mod provider;
mod question;
mod reach;
mod reading;
mod retry;
mod sending;
mod session;
#[cfg(feature = "testing")]
pub mod testing;
mod throttle;
mod uploads;
mod versions;
mod vouching;
mod watchdog;

pub use archive::{Restoration, is_archive};
pub use as_of::AsOf;
pub use assumed_role::{AssumedRole, Identity, RoleOptions, STS_URL, STS_URL_INTERNAL};
pub use aws_keys::{AWS_CONTAINER_URL, AWS_METADATA_URL, AwsKeys, AwsPlatform};
pub use body::Body;
pub use bucket::{BucketFacts, KnownBucket};
pub use change_notifier::{ChangeNotifier, ChangeObserver};
pub use credential_cache::{CredentialCache, CredentialState};
pub use error::{Obstacle, StoreError, StoreErrorKind};
pub use http::{NetworkOptions, Runtimes, Timeouts};
pub use http_store::{HttpOptions, HttpStore};
pub use instance_role::{InstanceRole, METADATA_URL};
pub use journaled::{JournaledStore, ResumeWindow};
pub use kept_writes::KeptWrites;
#[cfg(feature = "testing")]
pub(crate) use listing::judge_page;
pub(crate) use object_options::tags_of;
pub use object_options::{HeaderRule, ObjectHeader, ObjectOptions, OptionedStore};
pub use object_store::{
    Copied, CopyRequest, GetRequest, Initiated, ListPage, ListRequest, ListedObject, ListedPart, ListedUpload,
    ObjectStore, Published, Reading, Resumed, Source,
};
pub use provider::{CredentialProvider, FixedKey, ProviderError};
pub use retry::RetryOptions;
pub use throttle::{BYTES_PER_SECOND_MIN, Rates, Throttle};
pub use versions::{ListedVersion, VersionMarker, VersionedObject, VersionsPage, VersionsRequest};
pub use watchdog::Watchdog;

pub use crate::wire::Op;
pub use crate::wire::condition::Overwrite;
