//! A COS service inside the process of a mount, reached over HTTP like any other.

use std::net::SocketAddr;
use std::path::Path;

use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::failure::{Exit, Failure};
use crate::server::{self, Server, ServerError, ServerOptions};
use crate::wire::BucketName;
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
        let credentials = server::load_or_create_credentials(directory).map_err(|error| failed(error.to_string()))?;
        let options = ServerOptions {
            directory: Some(directory.to_owned()),
            buckets: vec![bucket.clone()],
            credentials: Some(credentials.clone()),
            ..ServerOptions::default()
        };
        let server = Server::open(options).await.map_err(|error| failed(error.to_string()))?;
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

fn failed(reason: String) -> Failure {
    Failure::new(Exit::Service, format!("the local service cannot be used: {reason}"))
}
