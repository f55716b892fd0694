//! Requests to one bucket: signed at each send, repeated while that may help, judged by meaning.
//!
//! A [`Session`] knows the endpoint, the credentials and the service's clock. It makes one attempt
//! ([`Session::attempt`]) and tells what a failed one means ([`Failed`]); the loop is the caller's, with [`Tries`] to
//! count and to pause. What an answer says beyond its status is left to the callers too.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use tokio::time::Instant;

use super::budget::{Budget, Leave};
use super::congestion::{Congestion, Passage};
use super::credential_cache::{CredentialCache, CurrentKey};
use super::http::{AnswerHeaders, Incoming, Outgoing, Transport, TransportError, Weight};
use super::observed::Observed;
use super::pace::Patience;
use super::reach::Reach;
use super::retry::{self, Attempts, Remedy, RetryOptions};
use super::vouching::Vouching;
use super::watchdog::Watchdog;
use super::{Body, Obstacle, ProviderError, StoreError, StoreErrorKind};
use crate::clock::Clock;
use crate::stats::{Stats, note_repeat};
use crate::wire::address::Route;
use crate::wire::answer::{AnswerError, ErrorBody};
use crate::wire::date;
use crate::wire::dialect::{Dialect, Signer};
use crate::wire::operation::{Op, Operation, UploadPartCopy};
use crate::wire::request::{HeaderPair, Method, RequestHead};
use crate::wire::sign::KeyTime;

/// The longest XML answer: a page of 1,000 keys of 850 bytes, each byte escaped, is under 4 MiB.
pub(super) const XML_BYTES_MAX: usize = 16 << 20;
/// What is read of the body of an error.
const ERROR_BYTES_MAX: usize = 64 << 10;
/// Clocks that differ by less are taken for equal (`cos-api.md` 2.9).
const CLOCK_GAP_SECONDS: u64 = 30;
/// How far signatures reach back, as in the official Python client, for clocks that differ a little.
const SIGNED_BEFORE_SECONDS: u64 = 60;
/// How long a signing key is valid; the longest request must begin within it, not end.
const SIGNED_FOR_SECONDS: u64 = 3600;

/// The way to one bucket.
#[derive(Debug)]
pub(super) struct Session {
    transport: Transport,
    route: Route,
    dialect: Dialect,
    /// Shared by all sessions of one mount.
    credentials: CredentialCache,
    retry: RetryOptions,
    clock: Clock,
    stats: Arc<Stats>,
    /// Seconds that the service's clock is ahead of ours, as learned from its `Date`.
    clock_offset: AtomicI64,
    /// The same, as the last answer told it, though it need not have mattered; `i64::MIN` before the first.
    heard_ahead: AtomicI64,
    /// The key that was derived last. Std mutex: held for one derivation at most, never across an await.
    /// Level 8 in the order of locks.
    signing_key: Mutex<Option<DerivedKey>>,
    /// Whether the ETag of a PUT has been seen to be something else than the MD5 of its bytes.
    etags_are_opaque: AtomicBool,
    /// Whether a request has been answered with a success: that what is asked for can be had, and that the key is right.
    has_succeeded: AtomicBool,
    /// Shared by all sessions to the same service, as are the next three.
    reach: Arc<Reach>,
    congestion: Arc<Congestion>,
    budget: Arc<Budget>,
    vouching: Arc<Vouching>,
}

/// A signing key, and the generation of the credentials that it was derived from.
#[derive(Debug)]
struct DerivedKey {
    generation: u64,
    key: Arc<Signer>,
}

/// One request, before it is signed.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) op: Op,
    /// The key or prefix, for errors.
    pub(super) key: String,
    head: RequestHead,
    body: Body,
    work: Work,
}

/// How long the service may work on a request before its answer begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    /// Not longer than any answer takes.
    None,
    /// As long as it takes to copy so many bytes, and without a sign of life.
    Copies(u64),
    /// As long as it takes to join so many parts. The service sends blanks meanwhile (`cos-api.md` 4.4).
    Joins(u64),
}

/// The slowest that the service copies, in bytes a second: a hundredth of what it does.
const COPY_RATE_MIN: u64 = 16 << 20;

/// The longest that one part takes to be joined to the others: 10,000 of them take 200 s.
const JOIN_TIME_MAX: Duration = Duration::from_millis(20);

/// What a copy is taken for whose size is not known.
const COPY_BYTES_UNKNOWN: u64 = 1 << 30;

/// Bodies above this belong to objects; requests below it take no time worth mentioning on the wire.
const LIGHT_BYTES_MAX: u64 = 64 << 10;

impl Request {
    /// Whether it moves the bytes of an object.
    fn weight(&self) -> Weight {
        let reads = self.op == Op::GetObject;
        if reads || self.body.len() > LIGHT_BYTES_MAX { Weight::Bulk } else { Weight::Light }
    }

    /// A request with the body that the operation itself has.
    pub(super) fn new(operation: &Operation) -> Request {
        let mut head = operation.encode();
        let body = head.body.take().map_or_else(Body::empty, |xml| Body::from(Bytes::from(xml)));
        let key = operation.key().map_or_else(String::new, |key| key.as_str().to_owned());
        let work = match operation {
            Operation::CompleteMultipartUpload(complete) => Work::Joins(complete.parts.len() as u64),
            Operation::UploadPartCopy(UploadPartCopy { range: Some(range), .. }) => Work::Copies(range.len()),
            Operation::CopyObject(_) | Operation::UploadPartCopy(_) => Work::Copies(COPY_BYTES_UNKNOWN),
            _ => Work::None,
        };
        Request { op: operation.op(), key, head, body, work }
    }

    /// The same copy, of so many bytes.
    pub(super) fn of_size(self, bytes: Option<u64>) -> Request {
        Request { work: Work::Copies(bytes.unwrap_or(COPY_BYTES_UNKNOWN)), ..self }
    }

    /// How long the service may work on it.
    fn working(&self) -> Duration {
        match self.work {
            Work::None => Duration::ZERO,
            Work::Copies(bytes) => Duration::from_secs(bytes / COPY_RATE_MIN),
            Work::Joins(parts) => JOIN_TIME_MAX * u32::try_from(parts).unwrap_or(u32::MAX),
        }
    }

    /// What one attempt may take where an ordinary request may take `ordinary`.
    fn patience(&self, ordinary: Patience) -> Patience {
        let (Patience { silence, whole }, working) = (ordinary, self.working());
        match self.work {
            Work::None => ordinary,
            Work::Copies(_) => Patience { silence: silence + working, whole: whole + working },
            Work::Joins(_) => Patience { silence, whole: 2 * whole + working },
        }
    }

    /// A request that carries an object's bytes.
    pub(super) fn with_body(operation: &Operation, body: Body) -> Request {
        Request { body, ..Request::new(operation) }
    }

    /// Names what the request is about where the operation has no key.
    pub(super) fn about(self, prefix: &str) -> Request {
        Request { key: prefix.to_owned(), ..self }
    }

    /// An error of this request that no answer told.
    pub(super) fn error(&self, kind: StoreErrorKind, message: impl Into<String>) -> StoreError {
        StoreError::new(kind, self.op, self.key.as_str(), message)
    }

    /// An answer that the protocol does not allow. It may have been damaged on the way.
    pub(super) fn protocol_error(&self, status: u16, answer: &AnswerHeaders, message: impl Into<String>) -> Failed {
        let mut error = self.error(StoreErrorKind::Protocol, message);
        error.status = status;
        error.request_id = answer.get("x-cos-request-id").unwrap_or_default().to_owned();
        Failed { error, remedy: Remedy::Resend, done: Done::Perhaps }
    }
}

/// An attempt that failed.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) error: StoreError,
    pub(super) remedy: Remedy,
    pub(super) done: Done,
}

/// Whether the service may have done what it was asked although the attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Done {
    /// It said no.
    No,
    /// The answer was lost or speaks of an accident in the middle of the work.
    Perhaps,
}

/// An answer that was read to its end.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: AnswerHeaders,
    pub(super) body: Bytes,
}

impl Session {
    pub(super) fn new(
        transport: Transport,
        (route, dialect): (Route, Dialect),
        credentials: CredentialCache,
        retry: RetryOptions,
        clock: Clock,
        stats: Arc<Stats>,
    ) -> Session {
        let vouching = Arc::new(Vouching::new(dialect.digest()));
        Session {
            vouching,
            transport,
            route,
            dialect,
            credentials,
            retry,
            clock,
            stats,
            clock_offset: AtomicI64::new(0),
            heard_ahead: AtomicI64::new(i64::MIN),
            signing_key: Mutex::new(None),
            etags_are_opaque: AtomicBool::new(false),
            has_succeeded: AtomicBool::new(false),
            reach: Arc::default(),
            congestion: Arc::default(),
            budget: Arc::default(),
        }
    }

    /// The same way with another deadline.
    pub(super) fn with_deadline(&self, deadline: Duration) -> Session {
        Session {
            transport: self.transport.clone(),
            route: self.route.clone(),
            dialect: self.dialect.clone(),
            credentials: self.credentials.clone(),
            retry: RetryOptions { deadline, ..self.retry },
            clock: self.clock.clone(),
            stats: self.stats.clone(),
            clock_offset: AtomicI64::new(self.clock_offset.load(Ordering::Relaxed)),
            heard_ahead: AtomicI64::new(self.heard_ahead.load(Ordering::Relaxed)),
            signing_key: Mutex::new(None),
            etags_are_opaque: AtomicBool::new(self.etags_are_opaque()),
            has_succeeded: AtomicBool::new(self.has_succeeded.load(Ordering::Relaxed)),
            reach: self.reach.clone(),
            congestion: self.congestion.clone(),
            budget: self.budget.clone(),
            vouching: self.vouching.clone(),
        }
    }

    /// The same way to another host.
    pub(super) fn by(self, route: Route) -> Session {
        Session { route, ..self }
    }

    /// The same way, to find out what became of a request, which has taken its time already.
    pub(super) fn to_settle(&self) -> Session {
        self.with_deadline(self.retry.deadline / 4)
    }

    /// What the service speaks.
    pub(super) fn dialect(&self) -> &Dialect {
        &self.dialect
    }

    /// By what bodies are vouched for.
    pub(super) fn vouching(&self) -> &Vouching {
        &self.vouching
    }

    /// Whether nothing can be told from an ETag of this bucket.
    pub(super) fn etags_are_opaque(&self) -> bool {
        self.etags_are_opaque.load(Ordering::Relaxed)
    }

    /// A PUT has an ETag that is not the MD5 of its bytes, and HEAD says the same.
    pub(super) fn note_opaque_etags(&self) {
        self.etags_are_opaque.store(true, Ordering::Relaxed);
    }

    pub(super) fn credentials(&self) -> &CredentialCache {
        &self.credentials
    }

    pub(super) fn watchdog(&self) -> &Arc<Watchdog> {
        self.transport.watchdog()
    }

    pub(super) fn stats(&self) -> &Stats {
        &self.stats
    }

    /// What an ordinary request may take. It is the same time for which one that fails is tried again.
    fn patience(&self) -> Patience {
        Patience { silence: self.transport.timeouts().idle, whole: self.retry.deadline }
    }

    /// The longest that an ordinary request may take with all its attempts: the last of them begins at the deadline.
    pub(super) fn longest(&self) -> Duration {
        2 * self.retry.deadline
    }

    /// Starts counting the attempts at one request.
    pub(super) fn tries(&self) -> Tries {
        Tries {
            attempts: Attempts::new(self.retry),
            started: Instant::now(),
            random: fastrand::Rng::new(),
            stats: self.stats.clone(),
            reach: self.reach.clone(),
            budget: self.budget.clone(),
            spent: 0,
            leave: None,
            has_given_up: false,
        }
    }

    /// Whether the service has told to slow down lately.
    pub(super) fn is_slowed(&self) -> bool {
        self.congestion.is_slowed()
    }

    /// Sends a request until it is answered with a success, and reads the whole answer.
    pub(super) async fn answer(&self, request: &Request) -> Result<Answer, StoreError> {
        let mut tries = self.tries();
        loop {
            match self.exchange(request).await {
                Ok(answer) => return Ok(answer),
                Err(failed) => tries.again(failed).await?,
            }
        }
    }

    /// Makes a request until its answer can be decoded.
    pub(super) async fn ask<T>(
        &self,
        request: &Request,
        decode: impl Fn(&[u8]) -> Result<T, AnswerError> + Send + Sync,
    ) -> Result<T, StoreError> {
        let mut tries = self.tries();
        loop {
            let failed = match self.ask_once(request, &decode).await {
                Ok(answer) => return Ok(answer),
                Err(failed) => failed,
            };
            tries.again(failed).await?;
        }
    }

    /// The same with one attempt.
    pub(super) async fn ask_once<T>(
        &self,
        request: &Request,
        decode: &(impl Fn(&[u8]) -> Result<T, AnswerError> + Send + Sync),
    ) -> Result<T, Failed> {
        let answer = self.exchange(request).await?;
        decode(&answer.body).map_err(|error| self.unexpected(request, &answer, error))
    }

    /// One attempt, with the whole answer.
    pub(super) async fn exchange(&self, request: &Request) -> Result<Answer, Failed> {
        let Incoming { status, headers, body } = self.attempt(request).await?;
        let body = body.read_all(XML_BYTES_MAX).await.map_err(|error| broken(request, error))?;
        self.watchdog().answered();
        Ok(Answer { status, headers, body })
    }

    /// One attempt, up to the head of a successful answer.
    pub(super) async fn attempt(&self, request: &Request) -> Result<Incoming, Failed> {
        let head = self.dialect.outgoing(&request.head);
        let Some(target) = target(&head) else {
            let error = request.error(StoreErrorKind::Invalid, "a path of dots alone cannot be sent over HTTP");
            return Err(Failed { error, remedy: Remedy::None, done: Done::No });
        };
        let key = self.credentials.usable().await.map_err(|error| without_key(request, &error))?;
        // Half of the deadline: the other half is for the attempt itself.
        let passage = self.congestion.enter(request.weight(), self.retry.deadline / 2).await;
        self.transport.throttle().begin_request().await;
        let sent = Arc::new(AtomicU64::new(0));
        let outgoing = Outgoing {
            method: head.method,
            url: format!("{}{target}", self.route.origin),
            headers: self.signed_headers(&head, &key),
            body: request.body.clone(),
            sent: sent.clone(),
            stats: Some(self.stats.clone()),
            weight: request.weight(),
            patience: request.patience(self.patience()),
        };
        let mut observed = Observed::begin(&self.stats, request.op, &request.key, &sent);
        self.watchdog().works_for(request.working());
        let sent_at = Instant::now();
        let incoming = self.transport.send(outgoing).await;
        let up = sent.load(Ordering::Relaxed);
        let incoming = incoming.map(|incoming| incoming.named_by(&self.dialect));
        let mut answered = match incoming.map_err(|error| self.not_reached(request, error)) {
            Ok(incoming) => {
                self.reach.answered();
                if let Some(ahead) = self.clock_ahead(&incoming.headers) {
                    self.heard_ahead.store(ahead, Ordering::Relaxed);
                }
                self.judged(request, incoming, key.generation, &passage).await
            }
            Err(failed) => Err(failed),
        };
        log_request(request, &answered, up, sent_at.elapsed());
        match &mut answered {
            Ok(Incoming { status, headers, body }) => {
                observed.succeeded(*status, headers.get("x-cos-request-id"));
                body.observe(observed);
            }
            Err(failed) => observed.failed(failed),
        }
        answered
    }

    /// The answer, if it is a success.
    async fn judged(
        &self,
        request: &Request,
        incoming: Incoming,
        generation: u64,
        passage: &Passage,
    ) -> Result<Incoming, Failed> {
        if (200..300).contains(&incoming.status) {
            self.has_succeeded.store(true, Ordering::Relaxed);
            passage.went_well();
            return Ok(incoming);
        }
        let failed = self.refused(request, incoming, generation).await;
        if failed.error.kind == StoreErrorKind::Throttled {
            passage.slowed();
        }
        Err(failed)
    }

    /// What it means that there is no answer. Before the first one an obstacle is taken for a mistake in the configuration,
    /// which no waiting mends; after it, it may pass.
    fn not_reached(&self, request: &Request, error: TransportError) -> Failed {
        let failed = broken(request, error);
        let is_lasting = failed.error.obstacle.is_some_and(Obstacle::is_lasting);
        let is_first = !self.has_succeeded.load(Ordering::Relaxed);
        if is_first && is_lasting { Failed { remedy: Remedy::None, ..failed } } else { failed }
    }

    /// What a failed answer means, to a request that was signed with a key of that generation.
    async fn refused(&self, request: &Request, incoming: Incoming, generation: u64) -> Failed {
        let Incoming { status, headers, body } = incoming;
        // An error whose text cannot be read is still the error that its status names.
        let body = match request.head.method {
            Method::Head => Bytes::new(),
            _ => body.read_all(ERROR_BYTES_MAX).await.unwrap_or_default(),
        };
        if (300..400).contains(&status) && status != 304 {
            let mut failed = request.protocol_error(status, &headers, redirect_message(&headers));
            failed.error.region = headers.bucket_region();
            return Failed { remedy: Remedy::None, done: Done::No, ..failed };
        }
        let told = ErrorBody::decode(&body).ok();
        let suspicion = retry::suspicion(told.as_ref().map_or(("", ""), |told| (&told.code, &told.message)), status);
        let failed = self.failure(request, status, &headers, told);
        let is_of_clock = failed.remedy == Remedy::Resign;
        let may_renew = suspicion.filter(|_| !is_of_clock).is_some_and(|how| self.credentials.suspect(generation, how));
        // What was damaged on its way is sent again as it was, signed with whatever key there is by then.
        if may_renew && failed.remedy == Remedy::None { Failed { remedy: Remedy::Renew, ..failed } } else { failed }
    }

    /// The failure that an `Error` body or a status without one tells.
    pub(super) fn failure(
        &self,
        request: &Request,
        status: u16,
        headers: &AnswerHeaders,
        told: Option<ErrorBody>,
    ) -> Failed {
        let told = told.unwrap_or_default();
        let failure = told.classify(status);
        let was_damaged = self.has_succeeded.load(Ordering::Relaxed) && retry::speaks_of_damage(failure, status);
        let known = self.clock_offset.load(Ordering::Relaxed);
        let offset = self.clock_ahead(headers).unwrap_or(known);
        // Another request may have learned of it since this one was signed.
        let gap = offset.abs_diff(known).max(offset.unsigned_abs());
        let mut remedy = retry::remedy(failure, gap >= CLOCK_GAP_SECONDS);
        if remedy == Remedy::None {
            // An answer like another: "there is none" for example.
            self.watchdog().answered();
        }
        if remedy == Remedy::None && was_damaged {
            remedy = Remedy::Resend;
        }
        if remedy == Remedy::Resign {
            self.clock_offset.store(offset, Ordering::Relaxed);
            // The next signature begins a new key time.
            *self.signing_key.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        let mut error = request.error(retry::kind(failure.meaning), told.message);
        error.obstacle = self.is_foreign(headers).then_some(Obstacle::S3);
        error.region = headers.bucket_region();
        error.status = status;
        error.code = told.code;
        let request_id = headers.get("x-cos-request-id").map(str::to_owned);
        error.request_id = request_id.unwrap_or(told.request_id);
        let done = if remedy == Remedy::Pause { Done::Perhaps } else { Done::No };
        Failed { error, remedy, done }
    }

    /// The failure of an answer whose status is a success and whose body is not.
    pub(super) fn unexpected(&self, request: &Request, answer: &Answer, error: AnswerError) -> Failed {
        match error {
            AnswerError::Refused(told) => self.failure(request, answer.status, &answer.headers, Some(*told)),
            error => request.protocol_error(answer.status, &answer.headers, error.to_string()),
        }
    }

    /// Whether an answer is of another protocol than is spoken.
    pub(super) fn is_foreign(&self, headers: &AnswerHeaders) -> bool {
        self.dialect.has_own_names() && headers.is_of_s3()
    }

    /// All headers of a request that is sent now.
    fn signed_headers(&self, head: &RequestHead, key: &CurrentKey) -> Vec<HeaderPair> {
        let signature = self.signing_key(key).sign(head, &self.route.host, self.service_seconds());
        let host: HeaderPair = ("host".into(), self.route.host.clone());
        std::iter::once(host).chain(head.headers.iter().cloned()).chain(signature).collect()
    }

    /// The key for signatures that are made now.
    fn signing_key(&self, current: &CurrentKey) -> Arc<Signer> {
        let now = self.service_seconds();
        let mut cached = self.signing_key.lock().unwrap_or_else(PoisonError::into_inner);
        // Half of its time is left to the request that is signed last.
        let fresh = |derived: &&DerivedKey| {
            let made = derived.key.key_time().start + SIGNED_BEFORE_SECONDS;
            derived.generation == current.generation && (made..made + SIGNED_FOR_SECONDS / 2).contains(&now)
        };
        if let Some(derived) = cached.as_ref().filter(fresh) {
            return derived.key.clone();
        }
        let start = now.saturating_sub(SIGNED_BEFORE_SECONDS);
        let key_time = KeyTime { start, end: now + SIGNED_FOR_SECONDS };
        let key = Arc::new(self.dialect.signer(&current.credentials, key_time));
        *cached = Some(DerivedKey { generation: current.generation, key: key.clone() });
        key
    }

    /// Seconds that the `Date` of an answer is ahead of this machine's clock.
    fn clock_ahead(&self, headers: &AnswerHeaders) -> Option<i64> {
        let date = headers.get("date").and_then(date::parse)?;
        let theirs = date.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Some(theirs.cast_signed().saturating_sub(self.clock.unix_seconds().cast_signed()))
    }

    /// Seconds that the service's clock is ahead of this machine's, by its last answer.
    pub(super) fn heard_ahead(&self) -> Option<i64> {
        Some(self.heard_ahead.load(Ordering::Relaxed)).filter(|ahead| *ahead != i64::MIN)
    }

    /// The service's time in seconds after the epoch, as far as it is known.
    pub(super) fn service_seconds(&self) -> u64 {
        self.clock.unix_seconds().saturating_add_signed(self.clock_offset.load(Ordering::Relaxed))
    }
}

/// Path and query as they go out. Libraries take segments of dots for directions, so the slashes beside one are escaped,
/// as the official Python client does it (`cos-api.md` 2.6); the service undoes it. `None` where there is no such slash.
fn target(head: &RequestHead) -> Option<String> {
    let target = head.target();
    let (path, query) = target.split_at(target.find('?').unwrap_or(target.len()));
    let dots = |segment: &str| segment == "." || segment == "..";
    let path = path.strip_prefix('/').unwrap_or(path);
    if !path.split('/').any(dots) {
        return Some(target);
    }
    let mut guarded = String::with_capacity(target.len() + 16);
    guarded.push('/');
    let mut before: Option<&str> = None;
    for segment in path.split('/') {
        if let Some(before) = before {
            guarded.push_str(if dots(before) || dots(segment) { "%2F" } else { "/" });
        }
        guarded.push_str(segment);
        before = Some(segment);
    }
    guarded.push_str(query);
    (!dots(path)).then_some(guarded)
}

/// An exchange that broke leaves open what became of the request.
pub(super) fn broken(request: &Request, error: TransportError) -> Failed {
    let remedy = if error.transient { Remedy::Pause } else { Remedy::None };
    let mut told = request.error(error.kind, error.message);
    told.obstacle = error.obstacle;
    told.source = error.source.map(|source| source as Arc<_>);
    Failed { error: told, remedy, done: Done::Perhaps }
}

/// There is nothing to sign with for now.
fn without_key(request: &Request, error: &ProviderError) -> Failed {
    let error = request
        .error(StoreErrorKind::Denied, format!("the key is over or was refused, and there is no new one: {error}"));
    Failed { error, remedy: Remedy::Pause, done: Done::No }
}

/// The one line that each request has in a detailed log.
fn log_request(request: &Request, answered: &Result<Incoming, Failed>, bytes_up: u64, took: Duration) {
    let took = took.as_millis();
    match answered {
        Ok(Incoming { status, headers, .. }) => {
            let id = headers.get("x-cos-request-id").unwrap_or_default();
            let (op, key) = (request.op, &request.key);
            log::debug!("{op} {key:?}: status {status}, {bytes_up} bytes up, {took} ms, request {id}");
        }
        Err(failed) => log::debug!("{}, {took} ms", failed.error),
    }
}

/// Redirects are not followed: they would carry the signature to a host that nobody named (`cos-api.md` 1.6).
fn redirect_message(headers: &AnswerHeaders) -> String {
    let target = headers.get("location").unwrap_or("nowhere");
    let target = target.split('?').next().unwrap_or(target);
    format!("the service redirects to {target}; check the region and the endpoint")
}

/// Counts the attempts at one request and pauses between them.
#[derive(Debug)]
pub(super) struct Tries {
    attempts: Attempts,
    started: Instant,
    random: fastrand::Rng,
    stats: Arc<Stats>,
    reach: Arc<Reach>,
    budget: Arc<Budget>,
    /// Attempts that were paid for.
    spent: u32,
    /// For the attempt that is being made.
    leave: Option<Leave>,
    has_given_up: bool,
}

impl Tries {
    /// Returns when it is time for the next attempt, or with the error when there is none.
    pub(super) async fn again(&mut self, failed: Failed) -> Result<(), StoreError> {
        self.leave = None;
        let elapsed = self.started.elapsed();
        let pause = self.attempts.after_failure(failed.remedy, elapsed, &mut self.random);
        self.reach.failed(&failed.error, pause.is_none());
        let Some(pause) = pause else {
            // A refusal is an answer like another; it speaks of no trouble.
            self.has_given_up = failed.remedy == Remedy::Pause;
            return Err(failed.error);
        };
        let op = failed.error.op.map_or("none", Op::name);
        log::trace!("{op} {:?}: trying again in {} ms", failed.error.key, pause.as_millis());
        Stats::add(&self.stats.retries, 1);
        self.stats.operations.repeat(op);
        note_repeat();
        tokio::time::sleep(pause).await;
        if failed.remedy == Remedy::Pause {
            let leave = self.budget.leave(self.attempts.left(self.started.elapsed())).await;
            self.spent += u32::from(matches!(leave, Leave::Paid | Leave::Turn { .. }));
            self.leave = Some(leave);
        }
        Ok(())
    }
}

impl Drop for Tries {
    /// What goes no further has ended well, or nobody wants it any more.
    fn drop(&mut self) {
        if !self.has_given_up {
            self.budget.pay_back(self.spent);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_of_dots_lose_the_slashes_beside_them() {
        let table = [
            ("/a/b", Some("/a/b?uploads")),
            ("/", Some("/?uploads")),
            ("/a//b/.c/..d/...", Some("/a//b/.c/..d/...?uploads")),
            ("/a/../b", Some("/a%2F..%2Fb?uploads")),
            ("/./b", Some("/.%2Fb?uploads")),
            ("/a/..", Some("/a%2F..?uploads")),
            ("/a/./../b/", Some("/a%2F.%2F..%2Fb/?uploads")),
            ("/..", None),
            ("/.", None),
        ];
        for (path, expected) in table {
            let query = vec![("uploads".into(), None)];
            let head = RequestHead { method: Method::Post, path: path.into(), query, headers: vec![], body: None };
            assert_eq!(target(&head).as_deref(), expected, "{path}");
        }
    }
}
