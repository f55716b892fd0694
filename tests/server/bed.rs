//! A service on a port of its own, and a client that says exactly what a test wants said.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cosmount::object::{BucketName, Limits, ObjectKey};
use cosmount::server::{DEFAULT_BUCKET, ServerOptions, run};
use cosmount::wire::request::{HeaderPair, Method, RequestHead};
use cosmount::wire::sign::{Credentials, KeyTime, SigningKey};
use tempfile::TempDir;
use tokio::sync::oneshot;

/// The host that requests name unless a test wants another.
pub(crate) const HOST: &str = "local-1250000000.cos.local.myqcloud.com";

pub(crate) struct Bed {
    pub(crate) address: SocketAddr,
    pub(crate) credentials: Credentials,
    pub(crate) home: TempDir,
    stop: Option<oneshot::Sender<()>>,
    service: Option<tokio::task::JoinHandle<()>>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Bed {
    /// A service in memory whose smallest part is 4 bytes.
    pub(crate) fn start() -> Bed {
        Bed::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut ServerOptions)) -> Bed {
        let home = tempfile::tempdir().unwrap();
        let credentials = credentials();
        let limits = Limits { part_bytes_min: 4, ..Limits::COS };
        let mut options = ServerOptions {
            credentials: Some(credentials.clone()),
            access_log: Some(home.path().join("access.log")),
            limits,
            ..ServerOptions::default()
        };
        change(&mut options);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let service = runtime.spawn(async move {
            run(listener, options, async { drop(stopped.await) }).await.unwrap();
        });
        Bed { address, credentials, home, stop: Some(stop), service: Some(service), runtime: Some(runtime) }
    }

    /// Tells the service to stop, and waits until it has.
    pub(crate) fn stop(&mut self) {
        drop(self.stop.take());
        if let (Some(runtime), Some(service)) = (&self.runtime, self.service.take()) {
            runtime.block_on(service).unwrap();
        }
    }

    pub(crate) fn access_log(&self) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(self.log_path()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    pub(crate) fn log_path(&self) -> PathBuf {
        self.home.path().join("access.log")
    }

    /// Sends a request, signed in its header.
    pub(crate) fn send(&self, head: &RequestHead, body: &[u8]) -> Reply {
        self.exchange(&signed(head, HOST, &self.credentials, body), head.method == Method::Head)
    }

    /// Sends a request to `/key` with headers and query, signed.
    pub(crate) fn ask(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Reply {
        self.send(&head(method, path, query, headers), body)
    }

    /// Says these bytes on a fresh connection, and reads until it closes.
    pub(crate) fn exchange(&self, request: &[u8], head_only: bool) -> Reply {
        let mut stream = self.connect();
        stream.write_all(request).unwrap();
        Reply::read(&mut stream, head_only)
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    pub(crate) fn put(&self, path: &str, body: &[u8]) -> Reply {
        let reply = self.ask(Method::Put, path, &[], &[], body);
        assert_eq!(reply.status, 200, "{reply:?}");
        reply
    }

    pub(crate) fn get(&self, path: &str) -> Reply {
        self.ask(Method::Get, path, &[], &[], b"")
    }

    /// Initiates an upload and returns its id.
    pub(crate) fn initiate(&self, path: &str) -> String {
        let reply = self.ask(Method::Post, path, &[("uploads", "")], &[], b"");
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.element("UploadId")
    }

    /// Uploads a part and returns its ETag, without quotes.
    pub(crate) fn part(&self, path: &str, id: &str, number: u32, body: &[u8]) -> String {
        let query = [("partNumber", number.to_string()), ("uploadId", id.to_owned())];
        let query = query.each_ref().map(|(name, value)| (*name, value.as_str()));
        let reply = self.ask(Method::Put, path, &query, &[], body);
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.header("etag").unwrap().trim_matches('"').to_owned()
    }

    /// Completes an upload of parts (number, ETag).
    pub(crate) fn complete(&self, path: &str, id: &str, parts: &[(u32, &str)]) -> Reply {
        let parts: String = parts
            .iter()
            .map(|(number, etag)| format!("<Part><PartNumber>{number}</PartNumber><ETag>\"{etag}\"</ETag></Part>"))
            .collect();
        let xml = format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>");
        self.ask(Method::Post, path, &[("uploadId", id)], &[], xml.as_bytes())
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

pub(crate) fn credentials() -> Credentials {
    Credentials { secret_id: "AKIDtest".into(), secret_key: "the key of the tests".into(), token: None }
}

pub(crate) fn bucket() -> BucketName {
    BucketName::new(DEFAULT_BUCKET).unwrap()
}

pub(crate) fn key(text: &str) -> ObjectKey {
    ObjectKey::new(text).unwrap()
}

pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

pub(crate) fn key_time() -> KeyTime {
    KeyTime { start: now() - 60, end: now() + 600 }
}

pub(crate) fn head(method: Method, path: &str, query: &[(&str, &str)], headers: &[(&str, &str)]) -> RequestHead {
    RequestHead {
        method,
        path: path.to_owned(),
        query: query.iter().map(|(name, value)| ((*name).to_owned().into(), Some((*value).to_owned()))).collect(),
        headers: headers.iter().map(|(name, value)| ((*name).to_owned().into(), (*value).to_owned())).collect(),
        body: None,
    }
}

/// A whole request, signed in its header for `host`. The body of the head goes before `body`.
pub(crate) fn signed(head: &RequestHead, host: &str, credentials: &Credentials, body: &[u8]) -> Vec<u8> {
    let authorization = SigningKey::new(credentials, key_time()).sign(head, host);
    let body = head.body.as_ref().map_or(body, |xml| xml.as_bytes());
    let mut headers = head.headers.clone();
    headers.extend(authorization);
    headers.push(("content-length".into(), body.len().to_string()));
    let mut request = unsigned(head.method.as_str(), &head.target(), host, &headers);
    request.extend_from_slice(body);
    request
}

/// The head of a request as bytes.
pub(crate) fn unsigned(method: &str, target: &str, host: &str, headers: &[HeaderPair]) -> Vec<u8> {
    let mut text = format!("{method} {target} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    text.into_bytes()
}

/// An answer as it came.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// The names of the headers as they are spelt on the wire.
    pub(crate) spelt: Vec<String>,
}

impl Reply {
    /// Reads until the connection closes.
    pub(crate) fn read(stream: &mut TcpStream, head_only: bool) -> Reply {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        Reply::parse(&bytes, head_only)
    }

    /// As [`Reply::read`], of a service that may die meanwhile: `None` unless the answer is whole.
    pub(crate) fn try_read(stream: &mut TcpStream) -> Option<Reply> {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).ok()?;
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
        let head = std::str::from_utf8(&bytes[..end]).ok()?.to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
        (length.is_none_or(|length: usize| bytes.len() - end - 4 == length)).then(|| Reply::parse(&bytes, false))
    }

    fn parse(bytes: &[u8], head_only: bool) -> Reply {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("a whole head");
        let head = std::str::from_utf8(&bytes[..end]).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        if status == 100 {
            return Reply::parse(&bytes[end + 4..], head_only);
        }
        let header = |line: &str| {
            let (name, value) = line.split_once(':').unwrap();
            (name.to_ascii_lowercase(), value.trim().to_owned())
        };
        let spelt = lines.clone().map(|line| line.split(':').next().unwrap().to_owned()).collect();
        let body = bytes[end + 4..].to_vec();
        let mut reply = Reply { status, headers: lines.map(header).collect(), body, spelt };
        if reply.header("transfer-encoding").is_some() {
            reply.body = unchunk(&reply.body);
        } else if let (Some(length), false) = (reply.header("content-length"), head_only) {
            assert_eq!(length, reply.body.len().to_string(), "a whole body");
        }
        if head_only || matches!(status, 204 | 304) {
            assert_eq!(reply.body, b"", "no body");
        }
        reply
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(present, _)| present == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The text of the first element of that name.
    pub(crate) fn element(&self, name: &str) -> String {
        self.elements(name).into_iter().next().unwrap_or_else(|| panic!("no {name} in {}", self.text()))
    }

    pub(crate) fn elements(&self, name: &str) -> Vec<String> {
        let (open, close) = (format!("<{name}>"), format!("</{name}>"));
        let pieces = self.text().split(&open).skip(1);
        pieces.map(|piece| piece.split(&close).next().unwrap().replace("&quot;", "\"").replace("&amp;", "&")).collect()
    }

    /// Asserts that it is a refusal of this status and code.
    #[track_caller]
    pub(crate) fn assert_refused(&self, status: u16, code: &str) {
        assert_eq!((self.status, self.element("Code").as_str()), (status, code), "{}", self.text());
        assert_eq!(self.header("content-type"), Some("application/xml"));
        assert!(self.header("x-cos-trace-id").is_some());
        assert_eq!(Some(self.element("RequestId").as_str()), self.header("x-cos-request-id"));
    }
}

fn unchunk(mut bytes: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let line = bytes.windows(2).position(|window| window == b"\r\n").expect("the size of a chunk");
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[..line]).unwrap(), 16).unwrap();
        bytes = &bytes[line + 2..];
        if size == 0 {
            return body;
        }
        body.extend_from_slice(&bytes[..size]);
        bytes = &bytes[size + 2..];
    }
}
