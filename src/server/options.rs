//! How one service is to run.

use std::path::PathBuf;
use std::time::Duration;

use super::faults::FaultPlan;
use crate::clock::Clock;
use crate::object::{BucketName, Limits};
use crate::wire::sign::Credentials;

use super::TemporaryKeys;

/// Options of [`run`](super::run).
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Where buckets and objects are kept; `None` keeps them in memory, until the service ends.
    pub directory: Option<PathBuf>,
    /// Whether an index that is missing or damaged is made anew.
    pub rebuild: bool,
    /// Files of other use, a log for example, that may be in a directory that is new otherwise.
    pub other_files: Vec<PathBuf>,
    /// Buckets that are there from the start, beside those kept in the directory.
    pub buckets: Vec<BucketName>,
    /// The key that requests must be signed with; `None` takes the one kept in the directory, and in memory makes
    /// one that nobody knows.
    pub credentials: Option<Credentials>,
    /// Keys that are accepted beside that one, each until its end.
    pub temporary_keys: TemporaryKeys,
    /// Gets one JSON line for each request.
    pub access_log: Option<PathBuf>,
    /// What the service takes. Smaller limits make tests small.
    pub limits: Limits,
    /// How long each answer is held back.
    pub latency: Duration,
    /// How long it takes until an archived object can be read that somebody has asked for.
    pub restore_delay: Duration,
    /// What goes wrong on purpose, if anything shall.
    pub faults: Option<FaultPlan>,
    /// How many connections there may be; `None` goes by the open files that this process may have.
    pub connections_max: Option<usize>,
    /// How long a connection may take to ask for something, as long as nobody knows whose it is.
    pub head_deadline: Duration,
    /// How long running requests may take to end once the service was told to stop.
    pub shutdown_deadline: Duration,
    /// What signatures are judged by and objects are dated with.
    pub clock: Clock,
}

/// The bucket of a service that was told of none.
pub const DEFAULT_BUCKET: &str = "local-1250000000";

impl Default for ServerOptions {
    fn default() -> ServerOptions {
        ServerOptions {
            directory: None,
            rebuild: false,
            other_files: Vec::new(),
            buckets: vec![BucketName::new(DEFAULT_BUCKET).expect("the constant is a bucket's full name")],
            credentials: None,
            temporary_keys: TemporaryKeys::default(),
            access_log: None,
            limits: Limits::COS,
            latency: Duration::ZERO,
            // Long enough to be seen on its way; the real one takes minutes to hours.
            restore_delay: Duration::from_secs(60),
            faults: None,
            connections_max: None,
            // A head is a packet or two; whoever has not sent it by then has no use for the place.
            head_deadline: Duration::from_secs(15),
            // A part of 8 MiB arrives in well under a second here; whoever takes longer than this has stalled.
            shutdown_deadline: Duration::from_secs(10),
            clock: Clock::System,
        }
    }
}
