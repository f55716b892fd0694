//! A COS service inside the process of a mount, reached over HTTP like any other.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::failure::{Exit, Failure};
use super::terminal;
use crate::object::BucketName;
use crate::server::{Server, ServerError, ServerOptions, Unusable};
use crate::wire::sign::Credentials;

/// A service that runs until [`LocalService::stop`].
pub(super) struct LocalService {
    pub(super) address: SocketAddr,
    pub(super) credentials: Credentials,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), ServerError>>,
}

impl LocalService {
    /// Serves the objects in `directory`, among them the bucket, with the key that is kept there.
    pub(super) async fn start(
        directory: &Path,
        bucket: &BucketName,
        listen: SocketAddr,
    ) -> Result<LocalService, Failure> {
        let listener = TcpListener::bind(listen).await;
        let listener = listener.map_err(|error| failed(format!("cannot listen on {listen}: {error}")))?;
        let address = listener.local_addr().map_err(|error| failed(error.to_string()))?;
        warn_if_open_to_others(address);
        let address = reachable(address);
        let options = ServerOptions {
            directory: Some(directory.to_owned()),
            buckets: vec![bucket.clone()],
            // The key is the one that is kept there.
            credentials: None,
            ..ServerOptions::default()
        };
        raise_open_files();
        let server = Server::open(options).await.map_err(|error| failed(sentence(&error)))?;
        let credentials = server.credentials().clone();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(server.serve(listener, async {
            // A sender that is dropped stops the service too.
            let _ = stopped.await;
        }));
        Ok(LocalService { address, credentials, stop, task })
    }

    /// Lets running requests end, closes the store and returns when all of that is done.
    pub(super) async fn stop(self) {
        let _ = self.stop.send(());
        match self.task.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => log::error!("the local service did not end in order: {error}"),
            Err(error) => log::error!("the local service did not end in order: {error}"),
        }
    }
}

/// The address for a client on this machine: one that stands for all of them is none that can be called.
pub(super) fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// Lets this process have as many open files as it may. Each connection takes some, and the limit that a shell sets is
/// for programs that use select(2).
pub(super) fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        log::info!("the limit of open files stays at {:?}: {error}", limit.current);
    }
}

/// Says that a service can be reached from other machines, if it can.
pub(super) fn warn_if_open_to_others(address: SocketAddr) {
    if !address.ip().is_loopback() {
        terminal::warn(&format!(
            "{address} can be reached from other machines, and what goes over it is not encrypted: objects can be read and \
             changed on the way; listen on 127.0.0.1, or put a proxy with TLS before it"
        ));
    }
}

/// Why a service cannot run, and what to do about it.
pub(super) fn sentence(error: &ServerError) -> String {
    let ServerError::Unusable { directory, why } = error else { return error.to_string() };
    let directory = directory.display();
    let way_out = |journal: bool| match journal {
        true => format!("put it back, or make it anew with: cosmount serve --rebuild {directory}; nothing was changed"),
        false => "put it back from a copy: there is no journal to make it from; nothing was changed".to_owned(),
    };
    match why {
        Unusable::NotDirectory => format!("{directory} is not a directory: name one, new or empty"),
        Unusable::Foreign { entry } => {
            format!(
                "{directory} is not empty and holds no objects of cosmount ({entry:?} is there): name another, new or empty"
            )
        }
        Unusable::Used => format!("{directory} is used by another cosmount serve or mount --local"),
        Unusable::NotWritable(error) => format!("{directory} cannot be written: {error}"),
        Unusable::IndexGone { index, what, journal } => {
            let way_out = way_out(*journal);
            format!("the index {} is {what}, although objects were stored there: {way_out}", index.display())
        }
        Unusable::IndexDamaged { index, source, journal } => {
            format!("the index {} is damaged ({source}): {}", index.display(), way_out(*journal))
        }
        Unusable::OtherVersion { index, source, journal } => {
            format!("the index {} is of another version ({source}): {}", index.display(), way_out(*journal))
        }
        Unusable::IndexOld { index, what } => {
            format!("the index {} is not the latest of {directory} ({what}): {}", index.display(), way_out(true))
        }
        Unusable::SegmentsGone { segments } => {
            format!(
                "{} is missing, and with it the bytes of all objects: put it back; nothing was changed",
                segments.display()
            )
        }
        Unusable::NoJournal => {
            format!(
                "the index of {directory} cannot be made anew: there is no journal; put index.redb back from a copy"
            )
        }
    }
}

fn failed(reason: String) -> Failure {
    Failure::new(Exit::Service, format!("the local service cannot be used: {reason}"))
}
