//! The bytes of an object as a stream that survives a broken connection.
//!
//! The stream gives exactly the range that was opened. What arrives is checked against `Content-Range`, `Content-Length` and
//! the ETag that was asked for; an answer whose head cannot be right is asked for again. Where a connection breaks, so is
//! the rest, pinned to the version of the first answer. The bytes are not verified here: the head has the checksum of the
//! whole object, and only who reads all of it can compare.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use tokio::time::Instant;

use super::http::{Incoming, IncomingBody};
use super::pace::time_of;
use super::session::{Failed, Request, Session, Tries, broken};
use super::{GetRequest, Reading, StoreError, StoreErrorKind};
use crate::object::{ByteRange, ETag, ObjectHead, ObjectKey};
use crate::stats::Stats;
use crate::wire::answer::{ContentRange, decode_head};
use crate::wire::condition::Conditions;
use crate::wire::operation::{GetObject, Operation};
use crate::wire::range::RangeSpec;
use crate::wire::request::Headers;

/// Opens an object or a range of it, in that version if one is named.
pub(super) async fn open(
    session: Arc<Session>,
    wanted: GetRequest,
    version: Option<String>,
) -> Result<Reading, StoreError> {
    let version = version.filter(|version| !version.is_empty());
    let object = Object { key: wanted.key, version };
    let opened = Opened::open(&session, &object, wanted.range, wanted.if_match, &mut session.tries()).await?;
    let head = opened.head;
    let stretch = Stretch {
        object,
        etag: head.etag.clone(),
        at: opened.start,
        end: opened.end,
        skip: opened.skip,
        body: opened.body,
        request: opened.request,
        tries: None,
        given: 0,
        waited: Duration::ZERO,
        session,
    };
    let body = futures_util::stream::try_unfold(stretch, Stretch::next).boxed();
    Ok(Reading { head, body })
}

/// Which object is read.
struct Object {
    key: ObjectKey,
    /// The id of its version; `None` is the newest.
    version: Option<String>,
}

/// An answer to Get Object whose head is as it must be.
struct Opened {
    request: Request,
    head: ObjectHead,
    start: u64,
    end: u64,
    /// Bytes of the body before `start`: the service may answer the whole object.
    skip: u64,
    body: IncomingBody,
}

impl Opened {
    async fn open(
        session: &Session,
        object: &Object,
        range: Option<ByteRange>,
        if_match: Option<ETag>,
        tries: &mut Tries,
    ) -> Result<Opened, StoreError> {
        let mut get = GetObject::new(object.key.clone(), range.map(RangeSpec::from));
        get.version.clone_from(&object.version);
        // Of a range a service may tell the digest of the part that it is.
        get.with_digest = range.is_none() && session.vouching().digest().is_some();
        get.conditions = Conditions::matching(if_match.clone());
        let request = Request::new(&Operation::GetObject(get));
        loop {
            let failed = match session.attempt(&request).await {
                Ok(incoming) => match Opened::check(&request, incoming, range, if_match.as_ref()) {
                    Ok((head, start, end, skip, body)) => return Ok(Opened { request, head, start, end, skip, body }),
                    Err(failed) => failed,
                },
                Err(failed) => failed,
            };
            tries.again(failed).await?;
        }
    }

    /// Finds out which bytes an answer holds.
    #[allow(clippy::type_complexity, reason = "taken apart by the one caller")]
    fn check(
        request: &Request,
        incoming: Incoming,
        range: Option<ByteRange>,
        if_match: Option<&ETag>,
    ) -> Result<(ObjectHead, u64, u64, u64, IncomingBody), Failed> {
        let Incoming { status, headers, body } = incoming;
        let lines = headers.lines();
        let lines = Headers(&lines);
        let told: Option<u64> = headers.get("content-length").and_then(|length| length.trim().parse().ok());
        let whole = match (status, range) {
            (206, Some(range)) => {
                let answered = lines.get("content-range").and_then(ContentRange::parse);
                let fits = answered.filter(|answered| {
                    let expected_end = range.end().min(answered.size);
                    let same = answered.range.start() == range.start() && answered.range.end() == expected_end;
                    same && told.is_none_or(|told| told == answered.range.len())
                });
                let Some(answered) = fits else {
                    let told = headers.get("content-range").unwrap_or("no Content-Range");
                    let message = format!("asked for {range}, answered {told}");
                    return Err(request.protocol_error(status, &headers, message));
                };
                answered.size
            }
            (200, _) => match told {
                Some(size) => size,
                None => return Err(request.protocol_error(status, &headers, "an object without Content-Length")),
            },
            _ => return Err(request.protocol_error(status, &headers, format!("status {status} for an object"))),
        };
        let head = decode_head(lines).map_err(|error| request.protocol_error(status, &headers, error.to_string()))?;
        if if_match.is_some_and(|wanted| *wanted != head.etag) {
            // A service that knows If-Match does not answer so, unless the answer was damaged; others do it each time.
            let mut failed = request.protocol_error(status, &headers, format!("the object is now {}", head.etag));
            failed.error.kind = StoreErrorKind::Changed;
            return Err(failed);
        }
        let start = range.map_or(0, ByteRange::start);
        let end = range.map_or(whole, |range| range.end().min(whole));
        if range.is_some() && start >= whole {
            let mut failed = request.protocol_error(status, &headers, format!("the object has {whole} bytes"));
            failed.error.kind = StoreErrorKind::InvalidRange;
            return Err(failed);
        }
        let skip = if status == 200 { start } else { 0 };
        Ok((head, start, end, skip, body))
    }
}

/// What is left to read.
struct Stretch {
    session: Arc<Session>,
    request: Request,
    object: Object,
    etag: ETag,
    /// Offset of the next byte to give.
    at: u64,
    end: u64,
    skip: u64,
    body: IncomingBody,
    /// The attempts since the last byte arrived.
    tries: Option<Tries>,
    /// Bytes that were given so far, and the time that they took.
    given: u64,
    waited: Duration,
}

impl Stretch {
    async fn next(mut self) -> Result<Option<(Bytes, Stretch)>, StoreError> {
        let began = Instant::now();
        while self.at < self.end {
            let failed = match self.body.next().await {
                Some(Ok(piece)) => {
                    let Some(piece) = self.take(piece) else { continue };
                    Stats::add(&self.session.stats().bytes_down, piece.len() as u64);
                    self.tries = None;
                    self.given += piece.len() as u64;
                    self.waited += began.elapsed();
                    return Ok(Some((piece, self)));
                }
                Some(Err(error)) => broken(&self.request, error),
                None => self.ended_early(),
            };
            // A byte of each answer would otherwise keep this up for ever.
            if self.waited + began.elapsed() > self.session.longest() + time_of(self.given) {
                return Err(failed.error);
            }
            let mut tries = self.tries.take().unwrap_or_else(|| self.session.tries());
            tries.again(failed).await?;
            let rest = ByteRange::new(self.at, self.end);
            let opened = Opened::open(&self.session, &self.object, rest, Some(self.etag.clone()), &mut tries).await?;
            (self.body, self.skip, self.tries) = (opened.body, opened.skip, Some(tries));
        }
        Ok(None)
    }

    /// The part of a piece that was asked for.
    fn take(&mut self, mut piece: Bytes) -> Option<Bytes> {
        if self.skip > 0 {
            let skipped = piece.len().min(usize::try_from(self.skip).unwrap_or(usize::MAX));
            self.skip -= skipped as u64;
            piece = piece.split_off(skipped);
        }
        piece.truncate(usize::try_from(self.end - self.at).unwrap_or(usize::MAX));
        self.at += piece.len() as u64;
        (!piece.is_empty()).then_some(piece)
    }

    fn ended_early(&self) -> Failed {
        let message = format!("the body ended at byte {} of {}", self.at, self.end);
        broken(
            &self.request,
            super::http::TransportError {
                kind: StoreErrorKind::Unreachable,
                transient: true,
                message,
                obstacle: None,
                source: None,
            },
        )
    }
}
