//! A COS service on this machine: buckets in a directory or in memory, behind the rules of the real one.
//!
//! [`run`] is a function of a listener and of a future that ends it; it serves on whatever runtime it is called on, and
//! neither prints nor exits. Requests are read and answers written in the words of [`crate::wire`] alone. What this
//! service does not implement it refuses with 501 instead of pretending.

mod access_log;
mod answer;
mod answer_body;
mod bucket_calls;
mod bucket_configurations;
mod connection;
mod connections;
mod credentials;
mod cross_origin;
mod digest;
mod faults;
mod header_case;
mod multipart_calls;
mod object_calls;
mod options;
mod refusal;
mod request_body;
mod service;
mod storage;
mod sub_resource_calls;

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::net::TcpListener;

use crate::wire::sign::Credentials;

pub use credentials::{TemporaryKeys, credentials_file, load_or_create_credentials};
pub use faults::{Fault, FaultPlan, FaultRule, FaultWhen, FixedAnswer, Moment, PageFault, Side};
pub use options::{DEFAULT_BUCKET, ServerOptions};
pub use storage::Unusable;

use access_log::AccessLog;
use connections::ConnectionLimits;
use faults::Faults;
use service::Service;
use storage::{Rule, Storage, StorageError};

/// Why the service could not start or end in order. Requests that fail are answered and logged, and end nothing.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The key of the service could not be read or kept.
    #[error("the key of the service in {}: {source}", path.display())]
    Credentials {
        /// The file of the key.
        path: PathBuf,
        /// What came of it.
        source: io::Error,
    },
    /// The access log could not be opened.
    #[error("the access log {}: {source}", path.display())]
    AccessLog {
        /// The file of the log.
        path: PathBuf,
        /// What came of it.
        source: io::Error,
    },
    /// The directory cannot be served as it is.
    #[error("{}: {why}", directory.display())]
    Unusable {
        /// The directory of the service.
        directory: PathBuf,
        /// What is wrong with it.
        why: Unusable,
    },
    /// The store could not be opened or closed.
    #[error("the store of the service: {0}")]
    Storage(Box<dyn std::error::Error + Send + Sync>),
}

impl From<StorageError> for ServerError {
    fn from(error: StorageError) -> ServerError {
        ServerError::Storage(Box::new(error))
    }
}

/// Serves `listener` until `shutdown`. Running requests then get [`ServerOptions::shutdown_deadline`] to end, and the
/// store is closed.
///
/// # Errors
/// Everything that keeps the service from starting, and a store that could not be closed in order; what was
/// acknowledged is kept in any case.
pub async fn run(
    listener: TcpListener,
    options: ServerOptions,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServerError> {
    Server::open(options).await?.serve(listener, shutdown).await
}

/// A service whose store is open and which does not listen yet.
pub struct Server {
    service: Arc<Service>,
    limits: ConnectionLimits,
    shutdown_deadline: Duration,
}

impl Server {
    /// Opens the store and the log.
    ///
    /// # Errors
    /// Everything that keeps the service from starting, for example another one in the same directory.
    pub async fn open(options: ServerOptions) -> Result<Server, ServerError> {
        // First of all, so that nothing is written into a directory that is somebody else's.
        let storage = Arc::new(open_storage(&options).await?);
        let credentials = credentials_of(&options)?;
        let access_log = options.access_log.as_ref().map(|path| {
            let log = AccessLog::open(path);
            log.map(Arc::new).map_err(|source| ServerError::AccessLog { path: path.clone(), source })
        });
        let access_log = access_log.transpose()?;
        let service = Service {
            storage,
            credentials,
            temporary_keys: options.temporary_keys,
            access_log,
            default_bucket: options.buckets.first().cloned(),
            limits: options.limits,
            latency: options.latency,
            restore_delay: options.restore_delay,
            faults: options.faults.clone().map(Faults::new),
            clock: options.clock,
            requests: AtomicU64::new(0),
            spellings: header_case::spellings().await,
        };
        let limits = ConnectionLimits {
            connections_max: options.connections_max.unwrap_or_else(connections_by_files),
            head_deadline: options.head_deadline,
        };
        Ok(Server { service: Arc::new(service), limits, shutdown_deadline: options.shutdown_deadline })
    }

    /// The key that requests must be signed with.
    pub fn credentials(&self) -> &Credentials {
        &self.service.credentials
    }

    /// What opens the access log anew, if there is one, for those who have moved the older one away.
    pub fn access_log_reopener(&self) -> impl Fn() -> io::Result<()> + use<> {
        let log = self.service.access_log.clone();
        move || log.as_ref().map_or(Ok(()), |log| log.reopen())
    }

    /// Serves `listener` until `shutdown`, as [`run`] does.
    ///
    /// # Errors
    /// A store that could not be closed in order; what was acknowledged is kept in any case.
    pub async fn serve(self, listener: TcpListener, shutdown: impl Future<Output = ()>) -> Result<(), ServerError> {
        let storage = Arc::clone(&self.service.storage);
        connection::serve(listener, self.service, self.limits, shutdown, self.shutdown_deadline).await;
        match Arc::try_unwrap(storage) {
            Ok(storage) => Ok(storage.close()?),
            // A Complete whose client is gone may still be at work; the next start sweeps, as after a crash.
            Err(_) => Ok(()),
        }
    }
}

/// As many connections as this process may have open files for: each serves one request, which reads or writes a
/// segment and perhaps makes a directory durable. Some are left for index and logs.
fn connections_by_files() -> usize {
    const FILES_OF_OWN: u64 = 64;
    const FILES_PER_CONNECTION: u64 = 3;
    /// More would serve nobody better: a connection that waits takes a buffer of some 10 KiB.
    const CONNECTIONS_MAX: u64 = 4096;
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
    let connections = (files.saturating_sub(FILES_OF_OWN) / FILES_PER_CONNECTION).clamp(16, CONNECTIONS_MAX);
    usize::try_from(connections).unwrap_or(usize::MAX)
}

fn credentials_of(options: &ServerOptions) -> Result<Credentials, ServerError> {
    match (&options.credentials, &options.directory) {
        (Some(given), _) => Ok(given.clone()),
        (None, Some(directory)) => load_or_create_credentials(directory),
        (None, None) => credentials::unknown_to_anybody(),
    }
}

async fn open_storage(options: &ServerOptions) -> Result<Storage, ServerError> {
    let storage = match &options.directory {
        Some(directory) => {
            let others: Vec<PathBuf> = options.access_log.iter().chain(&options.other_files).cloned().collect();
            Storage::on_disk(directory, options.rebuild, &others).map_err(|error| match error {
                StorageError::Unusable(why) => ServerError::Unusable { directory: directory.clone(), why },
                error => error.into(),
            })?
        }
        None => Storage::in_memory()?,
    };
    for bucket in &options.buckets {
        match storage.create_bucket(bucket, options.clock.unix_seconds()).await {
            Ok(()) | Err(StorageError::Refused(Rule::BucketExists)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(storage)
}
