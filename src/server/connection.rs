//! Listening, serving connections, and stopping in order.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::connections::{ConnectionLimits, Connections};
use super::service::Service;

/// How much of one connection is read or gathered for writing at once. Bodies of 8 MiB arrive in a few dozen reads,
/// and each read is kept as one buffer; more per read no longer saves measurable time.
const BUFFER_BYTES: usize = 512 << 10;

/// How long to wait after a failed accept: it mostly means too many open files, which only time cures.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How often a failed accept is logged; while it lasts there are 20 in a second.
const ACCEPT_LOG_EVERY: Duration = Duration::from_secs(60);

/// Serves `listener` until `shutdown`, then lets running requests end within `deadline`.
pub(super) async fn serve(
    listener: TcpListener,
    service: Arc<Service>,
    limits: ConnectionLimits,
    shutdown: impl Future<Output = ()>,
    deadline: Duration,
) {
    let (stop, stopping) = watch::channel(false);
    let connections = Connections::new(limits);
    let mut tasks = JoinSet::new();
    let mut ticks = tokio::time::interval(connections.tick());
    let mut complained: Option<Instant> = None;
    let mut shutdown = pin!(shutdown);
    loop {
        // Without room and without one that could make room, new ones wait in the queue of the system.
        let has_room = connections.make_room();
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept(), if has_room => accepted,
            () = connections.wait_for_rest(), if !has_room => continue,
            Some(_) = tasks.join_next() => continue,
            _ = ticks.tick() => {
                connections.close_overdue();
                continue;
            }
        };
        match accepted {
            Ok((stream, _)) => {
                let task = serve_connection(stream, Arc::clone(&connections), Arc::clone(&service), stopping.clone());
                tasks.spawn(task);
            }
            Err(error) => {
                connections.close_oldest();
                if complained.is_none_or(|complained| complained.elapsed() > ACCEPT_LOG_EVERY) {
                    complained = Some(Instant::now());
                    log::warn!("connections cannot be accepted: {error}");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    stop.send_replace(true);
    let ended = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(deadline, ended).await.is_err() {
        log::warn!("{} connections were cut, since their requests did not end in time", tasks.len());
        tasks.shutdown().await;
    }
}

/// Serves one connection until it closes, or until its present request ends once the service stops.
async fn serve_connection(
    stream: TcpStream,
    connections: Arc<Connections>,
    service: Arc<Service>,
    mut stopping: watch::Receiver<bool>,
) {
    let place = Arc::new(connections.enter());
    // Answers are written whole; waiting for more to come would only delay the last packet.
    if let Err(error) = stream.set_nodelay(true) {
        log::debug!("TCP_NODELAY: {error}");
    }
    let answer = service_fn(|request| {
        let (service, serving) = (Arc::clone(&service), place.begin());
        async move {
            let response = service.answer(request, &serving).await;
            Ok::<_, std::convert::Infallible>(response.map(|body| serving.ends_with(body)))
        }
    });
    let mut builder = http1::Builder::new();
    builder.max_buf_size(BUFFER_BYTES);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(place.watch(stream)), answer));
    // Wrapped, since the value that `wait_for` hands back is a lock that must not be held across an await.
    let stopped = async { drop(stopping.wait_for(|&stop| stop).await) };
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = place.closed() => return,
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
