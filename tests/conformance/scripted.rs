//! A server that answers what a test wrote down, byte by byte, and remembers what it was asked.
//!
//! Requests are answered in the order in which they arrive, whatever connection they came on. A request for which
//! there is no answer left makes the test fail, by closing the connection and by [`Scripted::requests`].

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// How often a byte trickles: far more often than any client here calls silence.
const TRICKLE_EVERY: Duration = Duration::from_millis(5);

/// What the server does with one request.
#[derive(Clone)]
pub(crate) enum Reply {
    /// Answers these bytes; the connection stays open.
    Answer(Vec<u8>),
    /// Answers these bytes and closes the connection.
    AnswerAndClose(Vec<u8>),
    /// Answers these bytes, and then one more every few milliseconds as long as the test lives.
    Trickle(Vec<u8>, u8),
    /// Reads the request and closes the connection.
    Close,
    /// Reads the request and says nothing as long as the test lives.
    Silence,
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(line, _)| line == name).map(|(_, value)| value.as_str())
    }
}

/// The server; stops when dropped.
pub(crate) struct Scripted {
    pub(crate) address: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Scripted {
    pub(crate) async fn start(replies: impl IntoIterator<Item = Reply>) -> Scripted {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let replies = Arc::new(Mutex::new(replies.into_iter().collect::<VecDeque<_>>()));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let task = tokio::spawn({
            let asked = asked.clone();
            async move {
                let mut connections = tokio::task::JoinSet::new();
                while let Ok((stream, _)) = listener.accept().await {
                    connections.spawn(serve(stream, replies.clone(), asked.clone()));
                }
            }
        });
        Scripted { address, asked, task }
    }

    /// What was asked so far.
    pub(crate) fn requests(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// Method and target of what was asked so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.requests().iter().map(|asked| format!("{} {}", asked.method, asked.target)).collect()
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(stream: TcpStream, replies: Arc<Mutex<VecDeque<Reply>>>, asked: Arc<Mutex<Vec<Asked>>>) {
    let mut stream = BufReader::new(stream);
    while let Some(request) = receive(&mut stream).await {
        asked.lock().unwrap().push(request);
        let reply = replies.lock().unwrap().pop_front();
        match reply {
            Some(Reply::Answer(bytes)) => {
                if stream.write_all(&bytes).await.is_err() {
                    return;
                }
            }
            Some(Reply::AnswerAndClose(bytes)) => {
                let _ = stream.write_all(&bytes).await;
                return;
            }
            Some(Reply::Trickle(mut bytes, more)) => {
                while stream.write_all(&bytes).await.is_ok() {
                    tokio::time::sleep(TRICKLE_EVERY).await;
                    bytes = vec![more];
                }
                return;
            }
            Some(Reply::Silence) => std::future::pending().await,
            Some(Reply::Close) | None => return,
        }
    }
}

async fn receive(stream: &mut BufReader<TcpStream>) -> Option<Asked> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok()?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let mut body = vec![0; length.map_or(0, |(_, length)| length.parse().unwrap())];
    stream.read_exact(&mut body).await.ok()?;
    Some(Asked { method, target, headers, body })
}

/// An answer with a body and more header lines, each ending in `\r\n`.
pub(crate) fn answer(status: u16, headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let head = format!("HTTP/1.1 {status} Status\r\n{headers}content-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// An error answer as the service writes it.
pub(crate) fn error(status: u16, code: &str) -> Vec<u8> {
    answer(status, "x-cos-request-id: cmVx\r\ncontent-type: application/xml\r\n", error_xml(code))
}

pub(crate) fn error_xml(code: &str) -> String {
    format!(
        "<?xml version='1.0' encoding='utf-8' ?><Error><Code>{code}</Code><Message>m</Message>\
         <Resource>r</Resource><RequestId>cmVx</RequestId><TraceId>t</TraceId></Error>"
    )
}
