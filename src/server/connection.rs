//! Listening, serving connections, and stopping in order.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::service::Service;

/// How much of one connection is read or gathered for writing at once. Bodies of 8 MiB arrive in a few dozen reads,
/// and each read is kept as one buffer; more per read no longer saves measurable time.
const BUFFER_BYTES: usize = 512 << 10;

/// How long a connection may be without the whole head of a request. Clients keep idle connections for up to 90 s, and
/// must be the ones who close them: a request sent into a connection that closes is lost.
const HEAD_DEADLINE: Duration = Duration::from_secs(120);

/// How long to wait after a failed accept: it mostly means too many open files, which only time cures.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves `listener` until `shutdown`, then lets running requests end within `deadline`.
pub(super) async fn serve(
    listener: TcpListener,
    service: Arc<Service>,
    shutdown: impl Future<Output = ()>,
    deadline: Duration,
) {
    let (stop, stopping) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok((stream, _)) => {
                connections.spawn(serve_connection(stream, Arc::clone(&service), stopping.clone()));
            }
            Err(error) => {
                log::warn!("a connection could not be accepted: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    stop.send_replace(true);
    let ended = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(deadline, ended).await.is_err() {
        log::warn!("{} connections were cut, since their requests did not end in time", connections.len());
        connections.shutdown().await;
    }
}

/// Serves one connection until it closes, or until its present request ends once the service stops.
async fn serve_connection(stream: TcpStream, service: Arc<Service>, mut stopping: watch::Receiver<bool>) {
    // Answers are written whole; waiting for more to come would only delay the last packet.
    if let Err(error) = stream.set_nodelay(true) {
        log::debug!("TCP_NODELAY: {error}");
    }
    let answer = service_fn(|request| {
        let service = Arc::clone(&service);
        async move { Ok::<_, std::convert::Infallible>(service.answer(request).await) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_DEADLINE).max_buf_size(BUFFER_BYTES);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), answer));
    // Wrapped, since the value that `wait_for` hands back is a lock that must not be held across an await.
    let stopped = async { drop(stopping.wait_for(|&stop| stop).await) };
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopped => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        // Clients close connections whenever they like.
        log::debug!("a connection ended: {error}");
    }
}
