//! The place where metrics and the page are: bound before anything is mounted, answered for as long as the mount lives.
//!
//! Connections are few, their heads are small, and who says nothing or takes nothing of an answer is let go. That is why they are
//! accepted here: what axum brings for it has none of these bounds.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::TcpListener as StdTcpListener;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener, UnixSocket};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use tokio_io_timeout::TimeoutStream;

use super::observer::Observer;
use super::socket_file::SocketFile;
use super::web;
use crate::config::ListenAddress;

/// Connections at the same time; more of them wait in the socket's queue.
const CONNECTIONS_MAX: usize = 64;

/// How long a connection may be without a whole request.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);

/// How long somebody may take nothing of an answer.
const UNREAD_TIMEOUT: Duration = Duration::from_secs(30);

/// The head of a request: a short path, and what a browser says of itself.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// How long to wait after a connection that could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Those who may wait to be accepted.
const QUEUE: u32 = 64;

/// Who may use the Unix socket: its owner.
const SOCKET_MODE: u32 = 0o600;

/// A place that is bound, where nobody is answered yet.
#[derive(Debug)]
pub struct MonitorListener {
    socket: Socket,
    /// With the port that the system has chosen, where it was to.
    address: ListenAddress,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener, SocketFile),
}

/// Answers until it is dropped.
#[derive(Debug)]
pub struct Serving {
    answering: JoinHandle<()>,
    _file: Option<SocketFile>,
}

impl MonitorListener {
    /// Takes the place. To be called on a runtime.
    pub fn bind(address: &ListenAddress) -> io::Result<MonitorListener> {
        match address {
            ListenAddress::Tcp(address) => {
                let socket = StdTcpListener::bind(address)?;
                socket.set_nonblocking(true)?;
                let address = ListenAddress::Tcp(socket.local_addr()?);
                Ok(MonitorListener { socket: Socket::Tcp(TcpListener::from_std(socket)?), address })
            }
            ListenAddress::Unix(path) => {
                let socket = bind_unix(path)?;
                let file = SocketFile::at(path.clone());
                Ok(MonitorListener { socket: Socket::Unix(socket, file), address: address.clone() })
            }
        }
    }

    /// Where it is, as people open it.
    pub fn shown(&self) -> String {
        match &self.address {
            ListenAddress::Tcp(address) => format!("http://{address}/"),
            ListenAddress::Unix(path) => format!("unix:{}", path.display()),
        }
    }

    /// Answers from now on, on the runtime that this is called on.
    pub fn serve(self, observer: &Arc<Observer>) -> Serving {
        let observer = observer.clone();
        let router = web::router(Arc::new(move || observer.look()), self.address);
        match self.socket {
            Socket::Tcp(socket) => {
                let accept = async move || Ok(socket.accept().await?.0);
                Serving { answering: tokio::spawn(answer(accept, router)), _file: None }
            }
            Socket::Unix(listener, file) => {
                let accept = async move || Ok(listener.accept().await?.0);
                Serving { answering: tokio::spawn(answer(accept, router)), _file: Some(file) }
            }
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.answering.abort();
    }
}

/// Listens at a path where nothing is, or what nobody listens at any more.
fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    let bound = || {
        let socket = UnixSocket::new_stream()?;
        // Before it has a name, so that at no moment anybody else may connect (unix(7) takes the mode of the socket).
        rustix::fs::fchmod(&socket, rustix::fs::Mode::from_raw_mode(SOCKET_MODE))?;
        socket.bind(path)?;
        socket.listen(QUEUE)
    };
    match bound() {
        Err(error) if error.kind() == ErrorKind::AddrInUse && is_left_over(path) => {
            fs::remove_file(path)?;
            bound()
        }
        other => other,
    }
}

/// Whether a mount that was killed has left it.
fn is_left_over(path: &Path) -> bool {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
    is_socket && StdUnixStream::connect(path).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

/// Accepts connections and answers what is asked on them.
async fn answer<S: AsyncRead + AsyncWrite + Send + 'static>(accept: impl AsyncFn() -> io::Result<S>, router: Router) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        // The semaphore is never closed.
        let Ok(place) = places.clone().acquire_owned().await else { return };
        while connections.try_join_next().is_some() {}
        match accept().await {
            Ok(stream) => {
                let router = router.clone();
                connections.spawn(async move {
                    connection(stream, router).await;
                    drop(place);
                });
            }
            // Out of descriptors, for example: who asks waits in the socket's queue.
            Err(error) => {
                log::warn!("nobody can look at the page right now: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection<S: AsyncRead + AsyncWrite + Send + 'static>(stream: S, router: Router) {
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(UNREAD_TIMEOUT));
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(IDLE_TIMEOUT).max_header_size(HEAD_BYTES_MAX);
    let answered = builder.serve_connection(TokioIo::new(Box::pin(stream)), TowerToHyperService::new(router));
    if let Err(error) = answered.await {
        log::debug!("somebody who looked at the page: {error}");
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::super::samples;
    use super::*;

    fn tcp() -> ListenAddress {
        "0".parse().unwrap()
    }

    /// Answers a sample at a port of its own.
    async fn answered() -> (std::net::SocketAddr, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = web::router(Arc::new(samples::look), tcp());
        let accept = async move || Ok(listener.accept().await?.0);
        (address, tokio::spawn(answer(accept, router)))
    }

    #[tokio::test]
    async fn a_port_in_use_is_refused_and_port_0_is_a_free_one() {
        let first = MonitorListener::bind(&tcp()).unwrap();
        assert!(first.shown().starts_with("http://127.0.0.1:") && !first.shown().contains(":0/"), "{}", first.shown());
        assert_eq!(MonitorListener::bind(&first.address).unwrap_err().kind(), ErrorKind::AddrInUse);
    }

    #[tokio::test]
    async fn a_unix_socket_is_its_owners_alone_and_goes_with_the_mount() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("page.sock");
        let address = ListenAddress::Unix(path.clone());
        let listener = MonitorListener::bind(&address).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, SOCKET_MODE);
        assert_eq!(MonitorListener::bind(&address).unwrap_err().kind(), ErrorKind::AddrInUse, "somebody listens");
        drop(listener);
        assert!(!path.exists());
        // What a killed mount has left is replaced; what is no socket is not.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        drop(MonitorListener::bind(&address).unwrap());
        fs::write(&path, "mine").unwrap();
        assert!(MonitorListener::bind(&address).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_is_let_go() {
        let (address, answering) = answered().await;
        let mut silent = TcpStream::connect(address).await.unwrap();
        silent.write_all(b"GET / HTTP/1.1\r\nHost: local").await.unwrap();
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(IDLE_TIMEOUT * 2, silent.read_to_end(&mut rest)).await;
        assert!(ended.is_ok(), "the connection is closed");
        answering.abort();
    }

    #[tokio::test]
    async fn a_head_that_is_too_large_is_refused() {
        let (address, answering) = answered().await;
        let mut talker = TcpStream::connect(address).await.unwrap();
        let head = format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(HEAD_BYTES_MAX));
        talker.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // What was not read of it makes the end of the connection an abrupt one.
        let _ = talker.read_to_end(&mut answer).await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
        answering.abort();
    }

    #[tokio::test]
    async fn no_more_than_so_many_are_answered_at_once_and_the_next_one_waits() {
        let (address, answering) = answered().await;
        let mut idle = Vec::new();
        for _ in 0..CONNECTIONS_MAX {
            idle.push(TcpStream::connect(address).await.unwrap());
        }
        let mut next = TcpStream::connect(address).await.unwrap();
        next.write_all(b"GET /page.js HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut first = [0; 1];
        let waits = tokio::time::timeout(Duration::from_millis(200), next.read(&mut first)).await;
        assert!(waits.is_err(), "it waits for a place");
        drop(idle);
        let mut answer = String::new();
        next.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        answering.abort();
    }
}
