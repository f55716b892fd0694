//! One HTTP exchange: a signed request out, an answer in. The only file that knows the HTTP library.
//!
//! Promises that every wait is bounded, that a body goes out in the pieces it was gathered in, with `Content-Length` and
//! without a copy, and that errors say nothing of the URL's query. Signing, retrying and the meaning of answers are left
//! to the callers. Never follows a redirect, never looks at the environment.

use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::TryFutureExt;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body_util::BodyExt;
use rustls::CertificateError;
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use super::observed::Observed;
use super::pace::{Late, Pace, Patience};
use super::throttle::{ByteRate, Throttle, Turn};
use super::watchdog::Watchdog;
use super::{Body, Obstacle, StoreErrorKind};
use crate::stats::Stats;
use crate::wire::address::region_of_url;
use crate::wire::dialect::Dialect;
use crate::wire::request::{HeaderPair, Method};

/// How long to wait for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For a connection, TLS included.
    pub connect: Duration,
    /// For the next sign of life: bytes that leave or bytes that arrive.
    pub idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts {
            connect: Duration::from_secs(10),
            // A send buffer of 4 MiB drains within this at 1 Mbit/s.
            idle: Duration::from_secs(30),
        }
    }
}

impl Timeouts {
    /// The same, but with no sign of life awaited for longer than a request may be tried at all.
    #[must_use]
    pub(super) fn within(self, deadline: Duration) -> Timeouts {
        Timeouts { connect: self.connect.min(deadline), idle: self.idle.min(deadline) }
    }
}

/// How this machine reaches others. Cannot be shown, because a proxy's URL may hold a password.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct NetworkOptions {
    /// The URL of an HTTP proxy to go through. The environment is not asked.
    pub proxy: Option<String>,
    /// Hosts that are reached without it: names, domains, addresses and networks, with commas between them.
    pub no_proxy: Option<String>,
    /// Certificates of authorities in PEM. Where there are some, nobody else's word is taken for who a service is.
    pub authorities: Option<Arc<[u8]>>,
}

/// Whether there is a proxy, and not which.
impl fmt::Debug for NetworkOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let authorities = self.authorities.as_ref().map(|authorities| authorities.len());
        f.debug_struct("NetworkOptions")
            .field("has_proxy", &self.proxy.is_some())
            .field("authorities_bytes", &authorities)
            .finish()
    }
}

/// Idle connections are closed after this, before a load balancer does it under a request.
const POOL_IDLE: Duration = Duration::from_secs(30);

/// Connections to one service: some for requests that carry much, some for all others, so that a HEAD never waits for
/// its turn behind the parts of a large file.
#[derive(Clone, Debug)]
pub(super) struct Transport {
    bulk: reqwest::Client,
    light: reqwest::Client,
    /// Where the connections are served; the caller's own runtime if there is none.
    runtimes: Option<Runtimes>,
    timeouts: Timeouts,
    /// Whether connections go through a proxy.
    is_proxied: bool,
    /// Fed with what moves.
    watchdog: Arc<Watchdog>,
    /// Holds up what moves.
    throttle: Arc<Throttle>,
}

/// Where connections are served.
#[derive(Clone, Debug)]
pub struct Runtimes {
    /// Those that carry the bytes of objects.
    pub bulk: Handle,
    /// All others. A request on another runtime does not wait until `bulk` has copied what it has in hand.
    pub light: Handle,
}

/// How much a request moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weight {
    /// Headers and a few KiB.
    Light,
    /// The bytes of an object.
    Bulk,
}

/// A request, ready to go.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) method: Method,
    pub(super) url: String,
    pub(super) headers: Vec<HeaderPair>,
    pub(super) body: Body,
    /// Grows by the bytes of the body that the connection has taken.
    pub(super) sent: Arc<AtomicU64>,
    /// Where they are counted, too, if anywhere.
    pub(super) stats: Option<Arc<Stats>>,
    pub(super) weight: Weight,
    /// What the exchange may take.
    pub(super) patience: Patience,
}

/// The head of an answer, with the body still to come.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) status: u16,
    pub(super) headers: AnswerHeaders,
    pub(super) body: IncomingBody,
}

/// The headers of an answer.
#[derive(Debug)]
pub(super) struct AnswerHeaders(HeaderMap);

/// The body of an answer, as it arrives.
#[derive(Debug)]
pub(super) struct IncomingBody {
    body: reqwest::Body,
    pace: Pace,
    watchdog: Arc<Watchdog>,
    throttle: Arc<Throttle>,
    /// Ends with the body.
    observed: Option<Observed>,
}

/// An exchange that broke.
#[derive(Debug)]
pub(super) struct TransportError {
    pub(super) kind: StoreErrorKind,
    /// Whether the next attempt may fare better.
    pub(super) transient: bool,
    pub(super) message: String,
    pub(super) obstacle: Option<Obstacle>,
    pub(super) source: Option<Arc<dyn Error + Send + Sync>>,
}

impl Transport {
    /// Pools without connections. `secure` tells whether TLS will be spoken: the system's certificates are loaded only
    /// then.
    pub(super) fn new(
        timeouts: Timeouts,
        secure: bool,
        network: &NetworkOptions,
        runtimes: Option<Runtimes>,
        (watchdog, throttle): (Arc<Watchdog>, Arc<Throttle>),
    ) -> Result<Transport, TransportError> {
        let (bulk, light) = (client(timeouts, secure, network)?, client(timeouts, secure, network)?);
        Ok(Transport { bulk, light, runtimes, timeouts, is_proxied: network.proxy.is_some(), watchdog, throttle })
    }

    pub(super) fn watchdog(&self) -> &Arc<Watchdog> {
        &self.watchdog
    }

    pub(super) fn throttle(&self) -> &Throttle {
        &self.throttle
    }

    pub(super) fn timeouts(&self) -> Timeouts {
        self.timeouts
    }

    /// Sends a request and returns when the head of the answer is there.
    pub(super) async fn send(&self, outgoing: Outgoing) -> Result<Incoming, TransportError> {
        let Outgoing { method, url, headers, body, sent, stats, weight, patience } = outgoing;
        let method = match method {
            Method::Get => reqwest::Method::GET,
            Method::Head => reqwest::Method::HEAD,
            Method::Put => reqwest::Method::PUT,
            Method::Post => reqwest::Method::POST,
            Method::Delete => reqwest::Method::DELETE,
        };
        let client = match weight {
            Weight::Bulk => &self.bulk,
            Weight::Light => &self.light,
        };
        let mut request = client.request(method, url).headers(header_map(&headers)?);
        if !body.is_empty() {
            let (watchdog, rate) = (self.watchdog.clone(), self.throttle.up());
            request = request.body(reqwest::Body::wrap(SendBody::new(&body, sent.clone(), stats, watchdog, rate)));
        } else if !matches!(outgoing.method, Method::Get | Method::Head | Method::Delete) {
            // The service wants to hear the length of an empty body too (`cos-api.md` 3.1, 411).
            request = request.header(http::header::CONTENT_LENGTH, 0);
        }
        // The pieces are held by the request alone, so that an upload's buffers are free when it ends.
        drop(body);
        let request = request.build().map_err(setup_error)?;
        let exchange = client.execute(request);
        let mut pace = Pace::new(patience);
        let response = match &self.runtimes {
            Some(Runtimes { bulk, .. }) if weight == Weight::Bulk => {
                watch(run_on(bulk, exchange), &sent, &mut pace).await
            }
            Some(Runtimes { light, .. }) => watch(run_on(light, exchange), &sent, &mut pace).await,
            None => watch(exchange.map_err(broken), &sent, &mut pace).await,
        };
        let response = response.map_err(|error| self.blame_the_proxy(error))?;
        let (parts, body) = http::Response::<reqwest::Body>::from(response).into_parts();
        let (watchdog, throttle) = (self.watchdog.clone(), self.throttle.clone());
        let body = IncomingBody { body, pace, watchdog, throttle, observed: None };
        Ok(Incoming { status: parts.status.as_u16(), headers: AnswerHeaders(parts.headers), body })
    }

    /// Where there is a proxy, a connection that is not made, or a name that does not resolve, is the proxy's.
    fn blame_the_proxy(&self, mut error: TransportError) -> TransportError {
        let connects = |error: &Arc<dyn Error + Send + Sync>| {
            error.downcast_ref::<reqwest::Error>().is_some_and(reqwest::Error::is_connect)
        };
        let not_connected = error.source.as_ref().is_some_and(connects);
        if self.is_proxied && not_connected && matches!(error.obstacle, None | Some(Obstacle::Name)) {
            error.obstacle = Some(Obstacle::Proxy);
        }
        error
    }
}

/// A pool of connections.
fn client(timeouts: Timeouts, secure: bool, network: &NetworkOptions) -> Result<reqwest::Client, TransportError> {
    // Fails only if somebody in the process has chosen a provider already, which then serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = reqwest::Client::builder()
        .http1_only()
        .tcp_nodelay(true)
        .connect_timeout(timeouts.connect)
        .pool_idle_timeout(POOL_IDLE)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .user_agent(concat!("cosmount/", env!("CARGO_PKG_VERSION")))
        .no_proxy();
    if let Some(proxy) = &network.proxy {
        let around = network.no_proxy.as_deref().and_then(reqwest::NoProxy::from_string);
        builder = builder.proxy(reqwest::Proxy::all(proxy).map_err(setup_error)?.no_proxy(around));
    }
    if !secure {
        builder = builder.tls_certs_only([]);
    } else if let Some(authorities) = &network.authorities {
        let authorities = reqwest::Certificate::from_pem_bundle(authorities).map_err(authority_error)?;
        builder = builder.tls_certs_only(authorities);
    }
    // Garbled certificates are found only now.
    let has_own = network.authorities.is_some();
    builder.build().map_err(|error| if has_own { authority_error(error) } else { setup_error(error) })
}

/// A client that cannot be made, most likely for the certificates that it was given.
fn authority_error(error: reqwest::Error) -> TransportError {
    let error = setup_error(error);
    let is_of_it = error.message.contains("certificate");
    TransportError { obstacle: if is_of_it { Some(Obstacle::Certificate) } else { error.obstacle }, ..error }
}

/// Runs an exchange on a runtime, which then also serves the connection that is made for it. Dropping the future ends
/// the exchange.
async fn run_on(
    runtime: &Handle,
    exchange: impl Future<Output = reqwest::Result<reqwest::Response>> + Send + 'static,
) -> Result<reqwest::Response, TransportError> {
    let mut task = JoinSet::new();
    task.spawn_on(exchange, runtime);
    match task.join_next().await {
        Some(Ok(answer)) => answer.map_err(broken),
        Some(Err(_)) | None => {
            let message = "the transfers of this process have been shut down".to_owned();
            Err(TransportError {
                kind: StoreErrorKind::Unreachable,
                transient: false,
                message,
                obstacle: None,
                source: None,
            })
        }
    }
}

/// Waits for an answer as long as bytes of the body keep leaving.
async fn watch(
    exchange: impl Future<Output = Result<reqwest::Response, TransportError>>,
    sent: &AtomicU64,
    pace: &mut Pace,
) -> Result<reqwest::Response, TransportError> {
    let mut exchange = std::pin::pin!(exchange);
    let mut seen = sent.load(Ordering::Relaxed);
    loop {
        let late = match pace.wait(&mut exchange).await {
            Ok(answer) => return answer,
            Err(late) => late,
        };
        let now = sent.load(Ordering::Relaxed);
        pace.moved(now - seen);
        if now == seen || pace.left().is_zero() {
            return Err(too_late(late));
        }
        seen = now;
    }
}

impl Incoming {
    /// The same with COS's names of its headers.
    pub(super) fn named_by(mut self, dialect: &Dialect) -> Incoming {
        if !dialect.has_own_names() {
            self.headers.rename(|name, value| dialect.own_header(name, value));
        }
        self
    }
}

impl AnswerHeaders {
    /// Gives headers other names, where there are, and other values with them.
    fn rename(&mut self, other: impl Fn(&str, &str) -> Option<(String, Option<String>)>) {
        let mut renamed = HeaderMap::with_capacity(self.0.len());
        for (name, value) in &self.0 {
            let own = value.to_str().ok().and_then(|text| other(name.as_str(), text));
            let own = own.and_then(|(own, text)| {
                let text = text.map(|text| HeaderValue::from_str(&text));
                Some((HeaderName::from_bytes(own.as_bytes()).ok()?, text.transpose().ok()?))
            });
            match own {
                Some((own, text)) => renamed.append(own, text.unwrap_or_else(|| value.clone())),
                None => renamed.append(name.clone(), value.clone()),
            };
        }
        self.0 = renamed;
    }

    /// All lines, for the decoders of the wire. Values that are not text are left out.
    pub(super) fn lines(&self) -> Vec<(&str, &str)> {
        self.0
            .iter()
            .filter_map(|(name, value)| Some((name.as_str(), std::str::from_utf8(value.as_bytes()).ok()?)))
            .collect()
    }

    /// Whether an S3 service gave them. COS may give these names too, but never without its own.
    pub(super) fn is_of_s3(&self) -> bool {
        self.get("x-amz-request-id").is_some() && self.get("x-cos-request-id").is_none()
    }

    /// The region of the bucket, as the answer tells it or as the host is in that it leads to.
    pub(super) fn bucket_region(&self) -> Option<Box<str>> {
        let told = self.get("x-cos-bucket-region").filter(|region| !region.is_empty());
        told.or_else(|| region_of_url(self.get("location")?)).map(Box::from)
    }

    /// One line's value.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(|value| std::str::from_utf8(value.as_bytes()).ok())
    }
}

impl IncomingBody {
    /// Its exchange has ended when this is dropped.
    pub(super) fn observe(&mut self, observed: Observed) {
        self.observed = Some(observed);
    }

    /// The next piece, or `None` after the last.
    pub(super) async fn next(&mut self) -> Option<Result<Bytes, TransportError>> {
        loop {
            let frame = match self.pace.wait(self.body.frame()).await {
                Ok(frame) => frame?,
                Err(late) => return Some(Err(self.broke(too_late(late)))),
            };
            match frame {
                // Trailers carry nothing that we know.
                Ok(frame) => match frame.into_data() {
                    Ok(data) if !data.is_empty() => {
                        self.pace.moved(data.len() as u64);
                        self.watchdog.moved(data.len() as u64);
                        if let Some(observed) = &mut self.observed {
                            observed.received(data.len() as u64);
                        }
                        self.throttle.take_in(data.len()).await;
                        return Some(Ok(data));
                    }
                    _ => {}
                },
                Err(error) => return Some(Err(self.broke(broken(error)))),
            }
        }
    }

    fn broke(&mut self, error: TransportError) -> TransportError {
        if let Some(observed) = &mut self.observed {
            observed.broke(error.kind);
        }
        error
    }

    /// The whole body, if it has at most `limit` bytes.
    pub(super) async fn read_all(mut self, limit: usize) -> Result<Bytes, TransportError> {
        let mut whole = BytesMut::new();
        while let Some(piece) = self.next().await {
            let piece = piece?;
            if whole.len() + piece.len() > limit {
                let message = format!("an answer of more than {limit} bytes");
                let kind = StoreErrorKind::Protocol;
                return Err(TransportError { kind, transient: false, message, obstacle: None, source: None });
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole.freeze())
    }
}

/// A request's body on its way: hands over piece by piece, each a shared reference.
struct SendBody {
    pieces: std::vec::IntoIter<Bytes>,
    left: u64,
    sent: Arc<AtomicU64>,
    stats: Option<Arc<Stats>>,
    watchdog: Arc<Watchdog>,
    rate: Option<Rationed>,
}

/// What goes no faster than was said.
struct Rationed {
    rate: ByteRate,
    /// The rest of a piece that has begun to go.
    rest: Bytes,
    /// What goes next, and what it waits for.
    next: Option<(Bytes, Pin<Box<Turn>>)>,
}

impl Rationed {
    fn new(rate: ByteRate) -> Rationed {
        Rationed { rate, rest: Bytes::new(), next: None }
    }

    fn poll_next(
        &mut self,
        pieces: &mut impl Iterator<Item = Bytes>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Bytes>> {
        let (piece, mut turn) = match self.next.take() {
            Some(next) => next,
            None => {
                if self.rest.is_empty() {
                    match pieces.next() {
                        Some(piece) => self.rest = piece,
                        None => return Poll::Ready(None),
                    }
                }
                let piece = self.rest.split_to(self.rest.len().min(self.rate.piece_bytes()));
                let turn = Box::pin(self.rate.acquire(piece.len()));
                (piece, turn)
            }
        };
        match turn.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Some(piece)),
            Poll::Pending => {
                self.next = Some((piece, turn));
                Poll::Pending
            }
        }
    }
}

impl SendBody {
    fn new(
        body: &Body,
        sent: Arc<AtomicU64>,
        stats: Option<Arc<Stats>>,
        watchdog: Arc<Watchdog>,
        rate: Option<ByteRate>,
    ) -> SendBody {
        let (pieces, rate) = (body.pieces().to_vec().into_iter(), rate.map(Rationed::new));
        SendBody { pieces, left: body.len(), sent, stats, watchdog, rate }
    }
}

impl http_body::Body for SendBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        let SendBody { pieces, rate, .. } = &mut *self;
        let next = match rate {
            Some(rate) => std::task::ready!(rate.poll_next(pieces, context)),
            None => pieces.next(),
        };
        let Some(piece) = next else { return Poll::Ready(None) };
        self.left -= piece.len() as u64;
        self.sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
        if let Some(stats) = &self.stats {
            Stats::add(&stats.bytes_up, piece.len() as u64);
        }
        self.watchdog.moved(piece.len() as u64);
        Poll::Ready(Some(Ok(http_body::Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(self.left)
    }
}

/// Headers with signatures and tokens, in small letters.
const SECRET_HEADERS: [&str; 4] = ["authorization", "x-amz-security-token", "x-cos-security-token", "x-tc-token"];

fn header_map(headers: &[HeaderPair]) -> Result<HeaderMap, TransportError> {
    let mut map = HeaderMap::with_capacity(headers.len() + 2);
    for (name, value) in headers {
        let pair = HeaderName::from_bytes(name.as_bytes()).ok().zip(HeaderValue::from_bytes(value.as_bytes()).ok());
        let Some((header_name, header_value)) = pair else {
            // The value stays out of the message: it may be a token.
            let message = format!("the header {name:?} cannot be sent");
            return Err(TransportError {
                kind: StoreErrorKind::Invalid,
                transient: false,
                message,
                obstacle: None,
                source: None,
            });
        };
        let mut header_value = header_value;
        // Not to be shown by whoever shows headers.
        header_value.set_sensitive(SECRET_HEADERS.contains(&header_name.as_str()));
        map.append(header_name, header_value);
    }
    Ok(map)
}

fn too_late(late: Late) -> TransportError {
    let message = match late {
        Late::Silent(span) => format!("no sign of life for {} s", span.as_secs_f32()),
        Late::Trickling(span) => format!("bytes trickle, and no end after {} s", span.as_secs_f32().round()),
    };
    TransportError { kind: StoreErrorKind::TimedOut, transient: true, message, obstacle: None, source: None }
}

/// A request or client that the library will not build: no attempt can mend that.
fn setup_error(error: reqwest::Error) -> TransportError {
    let error = error.without_url();
    let message = chain(&error);
    let obstacle = message.contains("No CA certificates").then_some(Obstacle::NoAuthorities);
    TransportError { kind: StoreErrorKind::Invalid, transient: false, message, obstacle, source: Some(Arc::new(error)) }
}

fn broken(error: reqwest::Error) -> TransportError {
    let error = error.without_url();
    let kind = if error.is_timeout() { StoreErrorKind::TimedOut } else { StoreErrorKind::Unreachable };
    let obstacle = obstacle(&error);
    // A certificate that is refused now is refused the next time too.
    let is_refused = obstacle.is_some_and(Obstacle::is_of_certificate);
    let transient = !error.is_builder() && !is_refused;
    TransportError { kind, transient, message: chain(&error), obstacle, source: Some(Arc::new(error)) }
}

/// What stood in the way, by the errors that others have wrapped, and by their words where they have no types.
fn obstacle(error: &(dyn Error + 'static)) -> Option<Obstacle> {
    let mut next = Some(error);
    while let Some(error) = next {
        let tls = within_io(error).downcast_ref::<rustls::Error>();
        match tls {
            // A certificate that signs itself is told in words alone.
            Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::Other(_))) => {
                return Some(Obstacle::UnknownAuthority);
            }
            Some(rustls::Error::InvalidCertificate(refused)) => return Some(of_certificate(refused)),
            Some(rustls::Error::InvalidMessage(_)) => return Some(Obstacle::NotTls),
            Some(_) | None => {}
        }
        let words = error.to_string();
        let told = [
            // Where the error of TLS itself is hidden.
            ("corrupt message", Obstacle::NotTls),
            ("dns error", Obstacle::Name),
            ("tunnel", Obstacle::Proxy),
            ("proxy", Obstacle::Proxy),
            ("invalid HTTP", Obstacle::NotHttp),
        ];
        if let Some((_, obstacle)) = told.into_iter().find(|(word, _)| words.contains(word)) {
            return Some(obstacle);
        }
        next = error.source();
    }
    None
}

/// What is wrong with a certificate whose authority is known.
fn of_certificate(refused: &CertificateError) -> Obstacle {
    match refused {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => Obstacle::Expired,
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Obstacle::NotYetValid,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => Obstacle::OtherName,
        _ => Obstacle::Certificate,
    }
}

/// What an I/O error was made of, which it hides from `source`; other errors are themselves.
fn within_io<'a>(mut error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    while let Some(inner) = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
        error = inner;
    }
    error
}

/// The library's own message says little without those of the errors underneath.
fn chain(error: &dyn Error) -> String {
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        message.push_str(": ");
        message.push_str(&error.to_string());
        source = error.source();
    }
    message
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn what_stood_in_the_way_is_found_below_other_errors() {
        let certificate = |error| rustls::Error::InvalidCertificate(error);
        let hidden = |error: rustls::Error| io::Error::other(io::Error::new(io::ErrorKind::InvalidData, error));
        let table = [
            (hidden(certificate(CertificateError::UnknownIssuer)), Some(Obstacle::UnknownAuthority)),
            (hidden(certificate(CertificateError::Expired)), Some(Obstacle::Expired)),
            (hidden(certificate(CertificateError::NotValidYet)), Some(Obstacle::NotYetValid)),
            (hidden(certificate(CertificateError::NotValidForName)), Some(Obstacle::OtherName)),
            (hidden(certificate(CertificateError::Revoked)), Some(Obstacle::Certificate)),
            (hidden(rustls::InvalidMessage::InvalidContentType.into()), Some(Obstacle::NotTls)),
            (io::Error::other("dns error"), Some(Obstacle::Name)),
            (io::Error::other("invalid HTTP version parsed"), Some(Obstacle::NotHttp)),
            (io::Error::other("connection reset by peer"), None),
        ];
        for (error, expected) in table {
            assert_eq!(obstacle(&error), expected, "{error}");
        }
    }
}
