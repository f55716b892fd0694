//! A way to the service that is obstructed on cue: bytes stop, or trickle, or the connection is there and nobody at its
//! end, or it is cut at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What is in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Obstruction {
    Nothing,
    /// The service hears everything and says nothing more.
    Silence,
    /// Every byte of an answer takes a second.
    Trickle,
    /// Nothing passes in either direction, as when a cable was pulled.
    Dead,
    /// Every connection is closed at once.
    Refusal,
}

/// The proxy; stops when dropped.
pub(crate) struct Obstructing {
    pub(crate) address: String,
    obstruction: watch::Sender<Obstruction>,
    task: tokio::task::JoinHandle<()>,
}

impl Obstructing {
    /// A free way to `upstream`.
    pub(crate) async fn before(upstream: String) -> Obstructing {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (obstruction, watched) = watch::channel(Obstruction::Nothing);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let service = TcpStream::connect(&upstream).await.unwrap();
                client.set_nodelay(true).unwrap();
                let (from_client, to_client) = client.into_split();
                let (from_service, to_service) = service.into_split();
                connections.spawn(hand_through(from_client, to_service, watched.clone(), false));
                connections.spawn(hand_through(from_service, to_client, watched.clone(), true));
            }
        });
        Obstructing { address, obstruction, task }
    }

    pub(crate) fn put_in_the_way(&self, obstruction: Obstruction) {
        self.obstruction.send_replace(obstruction);
    }
}

impl Drop for Obstructing {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn hand_through(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut watched: watch::Receiver<Obstruction>,
    is_down: bool,
) {
    let mut bytes = vec![0; 64 << 10];
    loop {
        let obstruction = *watched.borrow_and_update();
        let most = match (obstruction, is_down) {
            (Obstruction::Refusal, _) => break,
            (Obstruction::Dead, _) | (Obstruction::Silence, true) => {
                if watched.changed().await.is_err() {
                    break;
                }
                continue;
            }
            (Obstruction::Trickle, true) => {
                tokio::time::sleep(Duration::from_secs(1)).await;
                1
            }
            (Obstruction::Nothing | Obstruction::Silence | Obstruction::Trickle, _) => bytes.len(),
        };
        let read = tokio::select! {
            read = from.read(&mut bytes[..most]) => read,
            _ = watched.changed() => continue,
        };
        let Ok(length) = read else { break };
        if length == 0 || to.write_all(&bytes[..length]).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}

/// A service whose every listing goes on, with new names on each page.
pub(crate) async fn endless() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let pages = Arc::new(AtomicU64::new(0));
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer_endlessly(BufReader::new(stream), pages.clone()));
        }
    });
    address
}

async fn answer_endlessly(mut stream: BufReader<TcpStream>, pages: Arc<AtomicU64>) {
    let mut line = String::new();
    while matches!(stream.read_line(&mut line).await, Ok(1..)) {
        if line.trim_end().is_empty() {
            let first = pages.fetch_add(1, Ordering::SeqCst) * 10;
            let name = |n: u64| format!("k{n:012}");
            let object = |n| {
                format!(
                    "<Contents><Key>{}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>\"e\"</ETag>\
                     <Size>1</Size><Owner><ID>1</ID></Owner><StorageClass>STANDARD</StorageClass></Contents>",
                    name(n)
                )
            };
            let objects: String = (first..first + 10).map(object).collect();
            let next = name(first + 9);
            let xml = format!(
                "<ListBucketResult><Name>photos-1250000000</Name><Prefix></Prefix><Marker></Marker><MaxKeys>1000</MaxKeys>\
                 <IsTruncated>true</IsTruncated><NextMarker>{next}</NextMarker>{objects}</ListBucketResult>"
            );
            let head = format!(
                "HTTP/1.1 200 OK\r\nx-cos-request-id: cmVx\r\ncontent-type: application/xml\r\ncontent-length: {}\r\n\r\n",
                xml.len()
            );
            if stream.write_all([head.as_bytes(), xml.as_bytes()].concat().as_slice()).await.is_err() {
                return;
            }
        }
        line.clear();
    }
}
