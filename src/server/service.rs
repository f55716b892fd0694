//! One request: who sends it, what it asks for, and who serves it.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures_util::FutureExt;
use hyper::body::Incoming;
use hyper::http::Extensions;
use hyper::{Request, Response};

use crate::clock::Clock;
use crate::object::{BucketName, Limits, ObjectAttributes, Tags};
use crate::wire::address::{Addressed, region_of_url};
use crate::wire::answer::ErrorBody;
use crate::wire::code::Code;
use crate::wire::date;
use crate::wire::dialect::{Rules, Spoken};
use crate::wire::escape::{QueryPair, escape_path, parse_query, unescape};
use crate::wire::operation::{
    BodyChecks, BucketConfiguration, Operation, PassedHeaders, RequestError, TAGGING_DIRECTIVE,
};
use crate::wire::request::{Headers, Method};
use crate::wire::sign::{Credentials, Signable, SignatureError, TOKEN};

use super::access_log::{AccessLog, Exchange};
use super::answer::{Answer, Payload};
use super::answer_body::AnswerBody;
use super::bucket_configurations;
use super::connections::Serving;
use super::credentials::TemporaryKeys;
use super::cross_origin::{for_page, preflight};
use super::faults::{BodyDamage, Fault, Faults, Struck};
use super::refusal::Refusal;
use super::request_body::RequestBody;
use super::storage::{Attributes, Storage};

/// The region that the buckets of this machine are in, where nobody names another.
const REGION: &str = "local";

/// What all requests share.
pub(super) struct Service {
    pub storage: Arc<Storage>,
    pub credentials: Credentials,
    pub temporary_keys: TemporaryKeys,
    pub access_log: Option<Arc<AccessLog>>,
    /// The bucket of requests that name none.
    pub default_bucket: Option<BucketName>,
    pub limits: Limits,
    pub latency: Duration,
    /// How long it takes until an archived object can be read that somebody has asked for.
    pub restore_delay: Duration,
    /// What goes wrong on purpose.
    pub faults: Option<Faults>,
    pub clock: Clock,
    pub requests: AtomicU64,
    /// How the names of headers are spelt, for the transport.
    pub spellings: Extensions,
}

/// A request as it was received, without its body.
#[derive(Clone)]
pub(super) struct Head {
    method: Option<Method>,
    /// As it was sent, for the signature.
    method_text: String,
    host: String,
    path: String,
    query: Vec<QueryPair>,
    pub headers: Vec<HeaderLine>,
    /// Whose words these are.
    spoken: Spoken,
    /// The query in COS's words, where it has others.
    own_query: Option<Vec<QueryPair>>,
    /// The headers in COS's words, where they have others.
    own_headers: Option<Vec<HeaderLine>>,
}

/// Name and value of a header as they were received.
pub(super) type HeaderLine = (String, String);

/// One request on its way: where it is noted, where it came from, and what is to go wrong with it.
pub(super) struct Course<'a> {
    pub exchange: &'a mut Exchange,
    pub serving: &'a Serving,
    pub struck: Option<Struck>,
}

/// Where an operation applies.
pub(super) struct Target {
    /// The bucket; the service itself has none.
    pub bucket: Option<BucketName>,
    pub host: String,
    /// The region that its host names.
    pub region: String,
    pub rules: Rules,
}

impl Target {
    /// The bucket of an operation that has one.
    pub(super) fn bucket(&self) -> Result<&BucketName, Refusal> {
        self.bucket.as_ref().ok_or_else(|| Code::InvalidBucketName.into())
    }
}

impl Service {
    /// Answers one request, whatever it is.
    pub(super) async fn answer(&self, request: Request<Incoming>, serving: &Serving) -> Response<AnswerBody> {
        let mut exchange = Exchange::begin(self.access_log.clone(), self.clock.now());
        let request_id = self.fresh_request_id();
        let (parts, incoming) = request.into_parts();
        let mut body = RequestBody::new(incoming, &parts.headers);
        let head_only = parts.method == hyper::Method::HEAD;
        let mut course = Course { exchange: &mut exchange, serving, struck: None };
        let (resource, spoken, served) = match Head::read(&parts) {
            Ok(head) => {
                let resource = format!("{}{}", head.host, escape_path(&head.path));
                let served = self.serve_or_fail(&head, &mut body, &mut course).await;
                (resource, head.spoken, served)
            }
            Err(refusal) => (String::new(), Spoken::Cos, Err(refusal)),
        };
        let struck = course.struck;
        let mut answer = match served {
            Ok(answer) => answer,
            Err(refusal) => {
                body.drain().await;
                refuse(refusal, &spoken, head_only, resource, &request_id)
            }
        };
        exchange.received(body.received);
        answer.headers.push(("server".into(), "tencent-cos".to_owned()));
        answer.headers.push(("x-cos-request-id".into(), request_id));
        if !self.latency.is_zero() {
            tokio::time::sleep(self.latency).await;
        }
        let damage = match struck {
            Some(struck) => self.damage(struck, &mut answer, &spoken, &mut exchange, serving).await,
            None => {
                answer.put_in_words_of(&spoken);
                None
            }
        };
        let mut response = answer.send(exchange);
        if let Some(damage) = damage {
            response = damage.strike(response);
        }
        *response.extensions_mut() = self.spellings.clone();
        response
    }

    /// Serves a request. One that meets a fault of this program is answered all the same.
    async fn serve_or_fail(
        &self,
        head: &Head,
        body: &mut RequestBody,
        course: &mut Course<'_>,
    ) -> Result<Answer, Refusal> {
        // What is shared is not changed by a request, but by the thread of the index and under locks.
        let served = AssertUnwindSafe(Box::pin(self.serve(head, body, course)));
        served.catch_unwind().await.unwrap_or_else(|_| {
            log::error!("a request met a fault of this program");
            Err(Code::InternalError.into())
        })
    }

    async fn serve(&self, head: &Head, body: &mut RequestBody, course: &mut Course<'_>) -> Result<Answer, Refusal> {
        let lines = head.lines();
        let headers = Headers(&lines);
        if head.method_text == "OPTIONS" {
            let addressed = self.addressed(head, course.exchange)?;
            return preflight(&self.storage, &self.target(head, &addressed), headers);
        }
        let (target, decoded) = self.decode(head, headers, course.exchange)?;
        if let (Some(faults), Ok(operation)) = (&self.faults, &decoded)
            && let Some(mut struck) = faults.strike(operation, headers)
        {
            let served = self.serve_struck(head, (target, decoded?), body, course, &mut struck).await;
            course.struck = Some(struck);
            return served;
        }
        // Who asks comes before what is asked: a stranger learns nothing from the order of the answers.
        self.authorize(head, headers, 0, body)?;
        course.serving.was_signed();
        let operation = decoded?;
        let mut answer = self.dispatch(operation, &target, body).await?;
        answer.headers.extend(for_page(&self.storage, &target, &head.method_text, headers));
        Ok(answer)
    }

    /// Which operation the request is, and what the log can say of it even if it is refused.
    #[allow(clippy::type_complexity, reason = "the two errors are told at different times")]
    pub(super) fn decode(
        &self,
        head: &Head,
        headers: Headers<'_>,
        exchange: &mut Exchange,
    ) -> Result<(Target, Result<Operation, RequestError>), Refusal> {
        let addressed = self.addressed(head, exchange)?;
        let method = head.method.ok_or(Code::MethodNotAllowed)?;
        let decoded = head.spoken.decode(method, &addressed, head.query(), headers);
        if let Ok(operation) = &decoded {
            exchange.is(operation.op());
            match operation {
                Operation::UploadPart(part) => exchange.of_upload(part.upload.as_str(), Some(part.number.get())),
                Operation::UploadPartCopy(part) => exchange.of_upload(part.upload.as_str(), Some(part.number.get())),
                Operation::CompleteMultipartUpload(of) => exchange.of_upload(of.upload.as_str(), None),
                Operation::AbortMultipartUpload(of) => exchange.of_upload(of.upload.as_str(), None),
                Operation::ListParts(of) => exchange.of_upload(of.upload.as_str(), None),
                _ => {}
            }
        }
        Ok((self.target(head, &addressed), decoded))
    }

    /// The bucket and key of a request, which the log is told.
    fn addressed(&self, head: &Head, exchange: &mut Exchange) -> Result<Addressed, Refusal> {
        let exists = |bucket: &BucketName| self.storage.bucket(bucket).is_ok_and(|found| found.is_some());
        let default = self.default_bucket.as_ref().filter(|_| !head.may_list_buckets());
        let addressed = head.spoken.addressed(&head.host, &head.path, exists, default)?;
        exchange.about(addressed.bucket.as_ref().map_or("", BucketName::as_str), &addressed.key);
        Ok(addressed)
    }

    fn target(&self, head: &Head, addressed: &Addressed) -> Target {
        let rules = head.spoken.rules(self.limits);
        let region = region_of_url(&head.host).or(rules.unnamed_region).unwrap_or(REGION).to_owned();
        Target { bucket: addressed.bucket.clone(), host: head.host.clone(), region, rules }
    }

    /// Judges the signature by a clock that is `skew` seconds ahead of ours, and tells the body what it is signed as. `own` are the
    /// headers in COS's words.
    pub(super) fn authorize(
        &self,
        head: &Head,
        own: Headers<'_>,
        skew: i64,
        body: &mut RequestBody,
    ) -> Result<(), Refusal> {
        let others = head.own_headers.is_some().then(|| lines_of(&head.headers));
        let lines = others.as_deref().unwrap_or(own.0);
        let request = Signable { method: &head.method_text, path: &head.path, query: &head.query, headers: lines };
        let mut is_over = false;
        let key_of = |id: &str| {
            if id == self.credentials.secret_id {
                return Some(self.credentials.clone());
            }
            let key = self.temporary_keys.get(id)?;
            is_over = key.is_over(self.clock.now());
            Some(key.credentials)
        };
        let verified = head.spoken.verify(&request, key_of, self.clock.unix_seconds().saturating_add_signed(skew));
        // A key that is over is told so only to whoever has it.
        let verified = verified.and_then(|signed| if is_over { Err(SignatureError::KeyExpired) } else { Ok(signed) });
        let signed = verified.map_err(|error| Refusal {
            server_time: (error == SignatureError::Skewed).then(|| self.time(skew)),
            ..Refusal::from(error)
        })?;
        body.is_signed_as(signed, Headers(lines), own);
        Ok(())
    }

    /// The time of a clock that is `skew` seconds ahead of ours.
    fn time(&self, skew: i64) -> SystemTime {
        let span = Duration::from_secs(skew.unsigned_abs());
        let time = if skew < 0 { self.clock.now().checked_sub(span) } else { self.clock.now().checked_add(span) };
        time.unwrap_or_else(|| self.clock.now())
    }

    /// Damages an answer. Returns what is still to happen to its body.
    async fn damage(
        &self,
        struck: Struck,
        answer: &mut Answer,
        spoken: &Spoken,
        exchange: &mut Exchange,
        serving: &Serving,
    ) -> Option<BodyDamage> {
        if let Fault::Clock(skew) = struck.fault {
            exchange.struck(struck.fault.name());
            answer.set("date", date::http(self.time(skew)));
        }
        struck.damage(answer, spoken, exchange, serving).await
    }

    pub(super) async fn dispatch(
        &self,
        mut operation: Operation,
        target: &Target,
        body: &mut RequestBody,
    ) -> Result<Answer, Refusal> {
        if operation.has_xml_body() {
            let checks = body.checks();
            let checks = match operation {
                // The digest in its headers is that of the object.
                Operation::CompleteMultipartUpload(_) => BodyChecks { digest: None, ..checks },
                Operation::DeleteMultipleObjects(_) => vouched_for(target, checks)?,
                _ => checks,
            };
            operation.read_body(&body.xml(&checks).await?)?;
        }
        match operation {
            Operation::GetService => self.get_service(target),
            Operation::PutBucket => self.put_bucket(target, body).await,
            Operation::HeadBucket => self.head_bucket(target),
            Operation::DeleteBucket => self.delete_bucket(target).await,
            Operation::GetBucketLocation => self.get_bucket_location(target),
            Operation::GetBucketVersioning => self.get_bucket_versioning(target),
            Operation::GetBucketLifecycle => {
                bucket_configurations::get(&self.storage, target, BucketConfiguration::Lifecycle)
            }
            Operation::PutBucketVersioning(put) => self.put_bucket_versioning(target, put).await,
            Operation::ListObjectVersions(list) => self.list_object_versions(target, &list),
            Operation::ListObjects(list) => self.list_objects(target, &list),
            Operation::ListMultipartUploads(list) => self.list_multipart_uploads(target, &list),
            Operation::DeleteMultipleObjects(delete) => self.delete_multiple_objects(target, delete).await,
            Operation::PutObject(put) => self.put_object(target, put, body).await,
            Operation::HeadObject(head) => self.head_object(target, &head),
            Operation::GetObject(get) => self.get_object(target, &get).await,
            Operation::DeleteObject(delete) => self.delete_object(target, delete).await,
            Operation::CopyObject(copy) => self.copy_object(target, copy).await,
            Operation::InitiateMultipartUpload(initiate) => self.initiate_multipart_upload(target, initiate).await,
            Operation::UploadPart(part) => self.upload_part(target, part, body).await,
            Operation::UploadPartCopy(part) => self.upload_part_copy(target, part).await,
            Operation::CompleteMultipartUpload(complete) => self.complete_multipart_upload(target, complete),
            Operation::AbortMultipartUpload(abort) => self.abort_multipart_upload(target, abort).await,
            Operation::ListParts(list) => self.list_parts(target, &list),
            Operation::GetObjectTagging(get) => self.get_object_tagging(target, &get),
            Operation::GetObjectAcl(get) => self.get_object_acl(target, &get),
            Operation::RestoreObject(restore) => self.restore_object(target, restore).await,
            Operation::GetBucketConfiguration(kind) => bucket_configurations::get(&self.storage, target, kind),
            Operation::PutBucketConfiguration(put) => bucket_configurations::put(&self.storage, target, put).await,
            Operation::DeleteBucketConfiguration(kind) => {
                bucket_configurations::delete(&self.storage, target, kind).await
            }
            Operation::PutObjectTagging(put) => self.put_object_tagging(target, put).await,
            Operation::DeleteObjectTagging(delete) => self.delete_object_tagging(target, delete).await,
            Operation::PutObjectAcl(put) => self.put_object_acl(target, put).await,
            Operation::AppendObject(append) => self.append_object(target, append, body).await,
            Operation::GetObjectAttributes(get) => self.get_object_attributes(target, &get),
        }
    }

    /// An id in the form of the service's: base64 of time, chance and count.
    fn fresh_request_id(&self) -> String {
        let count = self.requests.fetch_add(1, Ordering::Relaxed);
        let text = format!("{:08x}_{:08x}_{count:x}", self.clock.unix_seconds(), fastrand::u32(..));
        BASE64.encode(text)
    }
}

impl Head {
    fn read(parts: &hyper::http::request::Parts) -> Result<Head, Refusal> {
        let method_text = parts.method.as_str().to_owned();
        let headers: Vec<HeaderLine> = parts
            .headers
            .iter()
            .map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
            .collect();
        let host_header = headers.iter().find(|(name, _)| name == "host").map(|(_, host)| host.as_str());
        // HTTP gives the host of an absolute target precedence; clients behind a proxy setting send it (9).
        let host = parts.uri.authority().map(hyper::http::uri::Authority::as_str).or(host_header).unwrap_or("");
        let uri = |error: &dyn std::fmt::Display| Refusal::new(Code::InvalidURI, error.to_string());
        let path = unescape(parts.uri.path()).map_err(|error| uri(&error))?;
        let query = parse_query(parts.uri.query().unwrap_or("")).map_err(|error| uri(&error))?;
        let host = host.to_owned();
        Ok(Head::of(method_text, host, path, query, headers))
    }

    fn of(method_text: String, host: String, path: String, query: Vec<QueryPair>, headers: Vec<HeaderLine>) -> Head {
        let lines = lines_of(&headers);
        let spoken = Spoken::of(&Signable { method: &method_text, path: &path, query: &query, headers: &lines });
        let method = Method::parse(&method_text);
        let own_query = spoken.query_in_own_words(&query);
        let own_headers = spoken.headers_in_own_words(method, &headers);
        Head { method, method_text, host, path, query, headers, spoken, own_query, own_headers }
    }

    /// The same request with other headers.
    pub(super) fn with_headers(&self, headers: Vec<HeaderLine>) -> Head {
        let Head { method_text, host, path, query, .. } = self.clone();
        Head::of(method_text, host, path, query, headers)
    }

    /// The headers as decoders take them, in COS's words.
    pub(super) fn lines(&self) -> Vec<(&str, &str)> {
        lines_of(self.own_headers.as_ref().unwrap_or(&self.headers))
    }

    /// The query in COS's words.
    fn query(&self) -> &[QueryPair] {
        self.own_query.as_ref().unwrap_or(&self.query)
    }

    /// Whether this is GET Service if the host names no bucket. Without it, clients that are told the address of this
    /// machine would mean the default bucket; but all of them list a bucket with a prefix, be it an empty one.
    fn may_list_buckets(&self) -> bool {
        const OF_SERVICE: [&str; 7] = ["marker", "max-keys", "region", "tagkey", "tagvalue", "create-time", "range"];
        let of_signature = |name: &str| name.starts_with("q-") || name == "sign" || name == TOKEN;
        let of_service = |name: &str| OF_SERVICE.contains(&name) || of_signature(name);
        self.method == Some(Method::Get) && self.path == "/" && self.query.iter().all(|(name, _)| of_service(name))
    }
}

fn lines_of(headers: &[HeaderLine]) -> Vec<(&str, &str)> {
    headers.iter().map(|(name, value)| (&**name, &**value)).collect()
}

/// A failed answer. One to HEAD has no body.
fn refuse(refusal: Refusal, spoken: &Spoken, head_only: bool, resource: String, request_id: &str) -> Answer {
    let trace_id = BASE64.encode(format!("{:032x}{:032x}", fastrand::u128(..), fastrand::u128(..)));
    let (status, name) = spoken.failure(refusal.code);
    let error = ErrorBody {
        code: name.to_owned(),
        message: refusal.message,
        resource,
        request_id: request_id.to_owned(),
        trace_id: trace_id.clone(),
        server_time: refusal.server_time,
    };
    let payload = if head_only { Payload::Empty } else { Payload::Xml(error.encode()) };
    Answer { status, headers: vec![("x-cos-trace-id".into(), trace_id)], payload }
}

/// The digests of a list of what is to be removed, without one of which COS removes nothing (`cos-api.md` 3.5).
fn vouched_for(target: &Target, checks: BodyChecks) -> Result<BodyChecks, Refusal> {
    let is_vouched_for = checks.content_md5.is_some() || checks.digest.is_some();
    if is_vouched_for || target.rules.digest.is_some() { Ok(checks) } else { Err(Code::MissingContentMD5.into()) }
}

/// Judges the headers that a request may have beside what is its own (`cos-api.md` 3.1, 3.13, 3.14). What this service does
/// not do it refuses instead of ignoring it.
pub(super) fn judge_passed(passed: &PassedHeaders) -> Result<(), Refusal> {
    let not_done = |what: &str| Refusal::new(Code::NotImplemented, format!("{what} is not implemented"));
    for (name, value) in passed {
        match name.as_str() {
            "x-cos-traffic-limit" => {
                // Bits in a second: 100 KB/s to 100 MB/s. A machine's own loopback needs no limit.
                let limit = value.parse::<u64>().ok().filter(|limit| (819_200..=838_860_800).contains(limit));
                limit.ok_or_else(|| Refusal::new(Code::InvalidArgument, "x-cos-traffic-limit is out of range"))?;
            }
            TAGGING_DIRECTIVE => {}
            other => return Err(not_done(&format!("{other}: {value}"))),
        }
    }
    Ok(())
}

/// Judges what a writer says of an object beside its bytes, and gives it the form in which it is stored.
pub(super) fn judge_written(mut given: ObjectAttributes, passed: &PassedHeaders) -> Result<Attributes, Refusal> {
    judge_passed(passed)?;
    let tagging = match std::mem::take(&mut given.tags) {
        Tags::Are(tagging) if !tags_of(&tagging)?.is_empty() => Some(tagging),
        _ => None,
    };
    let acl = given.protection.acl.take().filter(|acl| acl != "default");
    Ok(Attributes { fields: given.into(), tagging, acl })
}

/// The tags of an `x-cos-tagging` header (`cos-api.md` 3.9).
pub(super) fn tags_of(tagging: &str) -> Result<BTreeMap<String, String>, Refusal> {
    const TAG_COUNT_MAX: usize = 10;
    const TAG_KEY_BYTES_MAX: usize = 128;
    const TAG_VALUE_BYTES_MAX: usize = 256;
    let pairs = parse_query(tagging).map_err(|_| Code::InvalidTag)?;
    let count = pairs.len();
    let tags: BTreeMap<String, String> =
        pairs.into_iter().map(|(key, value)| (key.into_owned(), value.unwrap_or_default())).collect();
    let legal = tags
        .iter()
        .all(|(key, value)| !key.is_empty() && key.len() <= TAG_KEY_BYTES_MAX && value.len() <= TAG_VALUE_BYTES_MAX);
    if legal && tags.len() == count && count <= TAG_COUNT_MAX { Ok(tags) } else { Err(Code::InvalidTag.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_counted_and_bounded() {
        let eleven = (0..11).map(|n| format!("k{n}=v")).collect::<Vec<_>>().join("&");
        let table = [
            ("", Ok(0)),
            ("a=b&c=%E8%85%BE", Ok(2)),
            ("a", Ok(1)),
            ("a=1&a=2", Err(Code::InvalidTag)),
            ("=1", Err(Code::InvalidTag)),
            ("a=%zz", Err(Code::InvalidTag)),
            (&eleven, Err(Code::InvalidTag)),
        ];
        for (tagging, expected) in table {
            let counted = tags_of(tagging).map(|tags| tags.len()).map_err(|refusal| refusal.code);
            assert_eq!(counted, expected, "{tagging}");
        }
    }

    #[test]
    fn what_is_not_done_is_refused() {
        let judged = |name: &str, value: &str| {
            let passed = [(name.to_owned(), value.to_owned())].into();
            judge_passed(&passed).map_err(|refusal| refusal.code)
        };
        assert_eq!(judged("x-cos-grant-read", "id=\"1\""), Err(Code::NotImplemented));
        assert_eq!(judged("x-cos-server-side-encryption-customer-key", "x"), Err(Code::NotImplemented));
        assert_eq!(judged("x-cos-traffic-limit", "819200"), Ok(()));
        assert_eq!(judged("x-cos-traffic-limit", "819199"), Err(Code::InvalidArgument));
    }
}
