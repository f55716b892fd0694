//! A way to the service on which bits flip: a proxy that hands bytes through in both directions and flips one of them on
//! cue, wherever in a request or an answer it happens to lie.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Nothing flips.
const NEVER: u64 = u64::MAX;

/// One direction: counts bytes, and flips one bit of one of them.
pub(crate) struct Lane {
    passed: AtomicU64,
    /// Which bit, counted from the first of the first byte; [`NEVER`] for none.
    flip_at: AtomicU64,
    /// Whether every body is damaged.
    spoils: AtomicBool,
}

impl Lane {
    fn new() -> Lane {
        Lane { passed: AtomicU64::new(0), flip_at: AtomicU64::new(NEVER), spoils: AtomicBool::new(false) }
    }

    /// Bytes that have passed so far.
    pub(crate) fn passed(&self) -> u64 {
        self.passed.load(Ordering::SeqCst)
    }

    /// Flips bit `bit` of what passes from now on, once.
    pub(crate) fn flip(&self, bit: u64) {
        self.flip_at.store(self.passed() * 8 + bit, Ordering::SeqCst);
    }

    /// Damages the end of every body from now on, or no longer. A head ends in a line's end, and a body here must not.
    pub(crate) fn spoil(&self, spoils: bool) {
        self.spoils.store(spoils, Ordering::SeqCst);
    }

    /// Whether the last flip has happened.
    pub(crate) fn has_flipped(&self) -> bool {
        self.flip_at.swap(NEVER, Ordering::SeqCst) == NEVER
    }

    fn pass(&self, bytes: &mut [u8]) {
        let from = self.passed.fetch_add(bytes.len() as u64, Ordering::SeqCst);
        if let Some(last) = bytes.last_mut().filter(|last| **last != b'\n' && self.spoils.load(Ordering::SeqCst)) {
            *last ^= 1;
        }
        let at = self.flip_at.load(Ordering::SeqCst);
        let Some(index) = (at / 8).checked_sub(from).filter(|index| *index < bytes.len() as u64) else { return };
        bytes[index as usize] ^= 1 << (at % 8);
        self.flip_at.store(NEVER, Ordering::SeqCst);
    }
}

/// The proxy; stops when dropped.
pub(crate) struct Flipping {
    pub(crate) address: String,
    /// From the client to the service.
    pub(crate) up: Arc<Lane>,
    /// From the service to the client.
    pub(crate) down: Arc<Lane>,
    task: tokio::task::JoinHandle<()>,
}

impl Flipping {
    /// A way to `upstream`.
    pub(crate) async fn before(upstream: String) -> Flipping {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (up, down) = (Arc::new(Lane::new()), Arc::new(Lane::new()));
        let task = tokio::spawn({
            let (up, down) = (up.clone(), down.clone());
            async move {
                let mut connections = tokio::task::JoinSet::new();
                while let Ok((client, _)) = listener.accept().await {
                    let service = TcpStream::connect(&upstream).await.unwrap();
                    client.set_nodelay(true).unwrap();
                    service.set_nodelay(true).unwrap();
                    let (from_client, to_client) = client.into_split();
                    let (from_service, to_service) = service.into_split();
                    connections.spawn(hand_through(from_client, to_service, up.clone()));
                    connections.spawn(hand_through(from_service, to_client, down.clone()));
                }
            }
        });
        Flipping { address, up, down, task }
    }
}

impl Drop for Flipping {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn hand_through(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, lane: Arc<Lane>) {
    let mut bytes = vec![0; 64 << 10];
    while let Ok(length) = from.read(&mut bytes).await {
        lane.pass(&mut bytes[..length]);
        if length == 0 || to.write_all(&bytes[..length]).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}
