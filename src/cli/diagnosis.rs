//! Why a bucket cannot be mounted, in one sentence with what to do.
//!
//! `cosmount mount` ends with the sentence, `cosmount doctor` shows it beside what else it has found.

use std::time::SystemTime;

use super::failure::{Exit, Failure};
use super::obstacles::{self, innermost};
use super::topic::Topic;
use crate::config::{MountConfig, MountSource};
use crate::object::ObjectKey;
use crate::store::{BucketFacts, CredentialCache, HttpStore, ListRequest, ObjectStore, Op, StoreError, StoreErrorKind};
use crate::wire::address::{self, Endpoint};
use crate::wire::code::{self, Code};
use crate::wire::date;
use crate::wire::dialect::Dialect;
use crate::wire::key_flaw::KeyFlaw;

/// What the sentence is about.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    /// What shall be mounted.
    pub(super) source: MountSource,
    /// Where requests go, as a URL.
    pub(super) origin: String,
    /// What the service speaks.
    pub(super) dialect: Dialect,
    /// The region, where one was given.
    pub(super) region: Option<String>,
    /// The URL of the proxy that requests go through.
    pub(super) proxy: Option<String>,
    /// Whose requests they are.
    pub(super) secret_id: String,
    /// Where the key comes from.
    pub(super) key_origin: String,
    /// What can be seen to be wrong with it.
    pub(super) key_flaw: Option<KeyFlaw>,
    /// When it has ended, if it is known to have.
    pub(super) key_ended: Option<SystemTime>,
}

impl Subject {
    /// What a mount is about that is decided and has a key.
    pub(super) fn of(config: &MountConfig, endpoint: &Endpoint, credentials: &CredentialCache) -> Subject {
        Subject {
            source: config.source.clone(),
            origin: endpoint.route(&config.source.bucket).origin,
            dialect: endpoint.dialect(&config.source.bucket),
            region: config.region.clone(),
            proxy: config.network.proxy.clone(),
            secret_id: credentials.secret_id(),
            key_origin: credentials.origin(),
            key_flaw: credentials.flaw(),
            key_ended: credentials.ends().filter(|ends| *ends <= SystemTime::now()),
        }
    }
}

/// What is wrong, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Diagnosis {
    /// What it is about.
    pub(super) topic: Topic,
    /// What is wrong, without a full stop.
    pub(super) cause: String,
    /// What to do.
    pub(super) remedy: String,
    /// What was said by whoever refused, where that tells more.
    pub(super) evidence: Option<String>,
    /// What a command ends with that cannot go on.
    pub(super) exit: Exit,
}

impl Diagnosis {
    /// A failure at the service.
    pub(super) fn new(topic: Topic, cause: impl Into<String>, remedy: impl Into<String>) -> Diagnosis {
        Diagnosis { topic, cause: cause.into(), remedy: remedy.into(), evidence: None, exit: Exit::Service }
    }

    /// The same with what was said.
    pub(super) fn with(self, evidence: impl Into<String>) -> Diagnosis {
        let evidence: String = evidence.into();
        // Others end lines, and this is one.
        let evidence = evidence.split_whitespace().collect::<Vec<_>>().join(" ");
        Diagnosis { evidence: Some(evidence), ..self }
    }

    /// The same with another exit code.
    pub(super) fn ending(self, exit: Exit) -> Diagnosis {
        Diagnosis { exit, ..self }
    }
}

impl From<Diagnosis> for Failure {
    fn from(diagnosis: Diagnosis) -> Failure {
        let Diagnosis { cause, remedy, evidence, exit, .. } = diagnosis;
        let evidence = evidence.map(|evidence| format!(" ({evidence})")).unwrap_or_default();
        Failure::new(exit, format!("{cause}: {remedy}{evidence}"))
    }
}

/// Asks whether the bucket is there and may be used. What it tells of itself is not known where a policy forbids to ask.
pub(super) async fn check_bucket(store: &HttpStore, subject: &Subject) -> Result<Option<BucketFacts>, Diagnosis> {
    let error = match store.bucket_facts().await {
        Ok(facts) => return Ok(Some(facts)),
        Err(error) => error,
    };
    // The code of a key that has ended comes with 400.
    if error.kind != StoreErrorKind::Denied && error.status != 400 {
        return Err(explain_bucket(store, &error, subject).await);
    }
    // An answer to HEAD has no body and so no code. A listing tells what was wrong, or works: a policy may allow the
    // prefix and nothing about the bucket itself.
    let listing = ListRequest {
        prefix: subject.source.prefix.clone(),
        delimited: true,
        max_keys: Some(1),
        ..ListRequest::default()
    };
    match store.list(listing).await {
        Ok(_) => Ok(None),
        Err(error) => Err(explain_bucket(store, &error, subject).await),
    }
}

/// Asks whether there is anything below the prefix that shall be mounted. Gives a warning if there is nothing.
pub(super) async fn check_prefix(store: &dyn ObjectStore, subject: &Subject) -> Result<Option<String>, Diagnosis> {
    let Subject { source, .. } = subject;
    let prefix = source.prefix.clone();
    let listing = ListRequest { prefix: prefix.clone(), delimited: false, max_keys: Some(1), ..ListRequest::default() };
    let page = store.list(listing).await.map_err(|error| explain(&error, subject))?;
    if !page.objects.is_empty() {
        return Ok(None);
    }
    let name = prefix.trim_end_matches('/');
    let Ok(key) = ObjectKey::new(name) else { return Ok(None) };
    match store.head(&key).await {
        Ok(_) => {
            let cause = format!("{name} is a file of {}, and only a bucket or a prefix can be mounted", source.bucket);
            let above = name.rsplit_once('/').map_or_else(String::new, |(above, _)| format!(":/{above}"));
            let remedy = format!("mount what it is in, {}{above}", source.bucket);
            Err(Diagnosis::new(Topic::Prefix, cause, remedy).ending(Exit::Usage))
        }
        Err(error) if error.kind == StoreErrorKind::NotFound => {
            Ok(Some(format!("there is nothing below {prefix} in {} yet", source.bucket)))
        }
        // It may be that only what is below the prefix is allowed.
        Err(_) => Ok(None),
    }
}

/// Nothing came back.
pub(super) fn no_answer(subject: &Subject) -> Diagnosis {
    let origin = &subject.origin;
    match subject.proxy.as_deref().map(obstacles::host) {
        Some(proxy) => {
            let cause = format!("nothing comes back from {origin} through the proxy {proxy} in time");
            Diagnosis::new(Topic::Proxy, cause, "check --proxy, and that it lets this machine through")
        }
        None => {
            let cause = format!("{origin} does not answer in time");
            Diagnosis::new(Topic::Service, cause, "check the region or endpoint, and the network")
        }
    }
}

/// What an error means for a bucket that nothing was had from yet. A bucket that is not there is looked for elsewhere.
async fn explain_bucket(store: &HttpStore, error: &StoreError, subject: &Subject) -> Diagnosis {
    let diagnosis = explain(error, subject);
    if diagnosis.topic != Topic::Bucket || error.region.is_some() {
        return diagnosis;
    }
    // A key for one bucket may not know of others, and then there is nothing to add.
    let Ok(known) = store.known_buckets().await else { return diagnosis };
    let bucket = subject.source.bucket.as_str();
    if let Some(found) = known.iter().find(|known| known.name == bucket) {
        return elsewhere(&found.region, subject).unwrap_or(diagnosis);
    }
    let distance = |name: &str| strsim::damerau_levenshtein(name, bucket);
    let nearest = known.iter().map(|known| known.name.as_str()).min_by_key(|name| distance(name));
    match nearest {
        // As far as a few slips of the finger.
        Some(nearest) if distance(nearest) <= bucket.len() / 3 => {
            let remedy = format!("did you mean {nearest}? That one is there");
            Diagnosis { remedy, ..diagnosis }
        }
        Some(_) => diagnosis,
        None => Diagnosis { remedy: "the account of this key has no bucket at all".into(), ..diagnosis },
    }
}

/// The bucket is in another region than was said.
fn elsewhere(told: &str, subject: &Subject) -> Option<Diagnosis> {
    let bucket = &subject.source.bucket;
    // Signatures name it whatever the endpoint is.
    let signed = subject.dialect.signed_region();
    let (where_else, instead) = match (&subject.region, signed) {
        (_, Some(signed)) if signed == told => return None,
        (_, Some(signed)) => (format!("requests are signed for {signed}"), ""),
        (Some(region), None) if address::region_name(region) == told => return None,
        (Some(region), None) => (format!("not in {region}"), ""),
        (None, None) => (format!("not at {}", subject.origin), " in place of --endpoint"),
    };
    let cause = format!("the bucket {bucket} is in the region {told}, and {where_else}");
    Some(Diagnosis::new(Topic::Region, cause, format!("give --region {told}{instead}")))
}

/// The region that a service of S3 wants signatures to name, of which it tells in words alone.
fn region_expected(error: &StoreError) -> Option<&str> {
    let (_, behind) =
        error.message.split_once("expecting '").filter(|_| error.code == "AuthorizationHeaderMalformed")?;
    behind.split('\'').next().filter(|region| !region.is_empty())
}

/// What an error means that came of a request to the service, whatever it was about.
pub(super) fn explain(error: &StoreError, subject: &Subject) -> Diagnosis {
    let Subject { source, origin, .. } = subject;
    let bucket = &source.bucket;
    if let Some(diagnosis) = obstacles::diagnose(error, subject) {
        return diagnosis;
    }
    let is_refused = (300..500).contains(&error.status);
    let told = error.region.as_deref().or_else(|| region_expected(error));
    if let Some(diagnosis) = told.filter(|_| is_refused).and_then(|told| elsewhere(told, subject)) {
        return diagnosis;
    }
    let is = |code: Code| error.code == code.name();
    match error.kind {
        StoreErrorKind::NoSuchBucket | StoreErrorKind::NotFound => {
            let place = match &subject.region {
                Some(region) => format!("in region {region}"),
                None => format!("at {origin}"),
            };
            let region = if subject.region.is_some() { ", and --region" } else { "" };
            let cause = format!("there is no bucket {bucket} {place}");
            let ends = if subject.dialect.signed_region().is_some() { "" } else { ", which ends in -APPID" };
            let path = if subject.dialect.may_name_in_path() { ", or give --path-style" } else { "" };
            Diagnosis::new(Topic::Bucket, cause, format!("check the name{ends}{region}{path}"))
        }
        StoreErrorKind::Denied => denied(error, subject),
        StoreErrorKind::Unreachable => obstacles::unreachable(origin, obstacles::io_kind(error), innermost(error)),
        StoreErrorKind::TimedOut => no_answer(subject),
        StoreErrorKind::Protocol => {
            let cause = format!("{origin} does not answer as {} does", subject.dialect.name());
            Diagnosis::new(Topic::Service, cause, "check the endpoint").with(innermost(error))
        }
        StoreErrorKind::Quota => {
            let cause = format!("{origin} refuses {bucket} for money: the account is in arrears, or over a quota");
            Diagnosis::new(Topic::Service, cause, "see the billing console of the service").with(error.to_string())
        }
        StoreErrorKind::Throttled => {
            let cause = format!("{origin} tells to slow down, and goes on telling it");
            Diagnosis::new(Topic::Service, cause, "find out who else asks so much of it").with(error.to_string())
        }
        _ if is(Code::BucketAccelerateNotEnabled) => {
            let cause = format!("global acceleration is not switched on for {bucket}");
            Diagnosis::new(Topic::Service, cause, "switch it on in the console, or leave out --accelerate")
        }
        _ => {
            let cause = format!("bucket {bucket} at {origin} cannot be used with the id {}", subject.secret_id);
            let remedy = "ask the service's support, with the number of the request";
            Diagnosis::new(Topic::Service, cause, remedy).with(error.to_string())
        }
    }
}

/// The service puts the reason into the code or, with the code `AccessDenied`, into the message (`cos-api.md` 2.9).
fn denied(error: &StoreError, subject: &Subject) -> Diagnosis {
    let Subject { origin, secret_id, key_origin, key_flaw, .. } = subject;
    let says = |reason: &str| error.code == reason || error.message.contains(reason);
    let seen = key_flaw.map(|flaw| format!("; {flaw}")).unwrap_or_default();
    let check = format!("check the credentials from {key_origin}");
    let of_key = |cause: String| Diagnosis::new(Topic::Credentials, cause, format!("{check}{seen}"));
    if error.status == 0 {
        // Nobody was asked, because there was nothing to sign with.
        of_key(format!("{origin} was not asked with the id {secret_id}")).with(error.message.clone())
    } else if says("RequestTimeTooSkewed") || says("Request has expired") {
        let cause = format!("{origin} refuses requests because this machine's clock is wrong");
        Diagnosis::new(Topic::Clock, cause, "set it: timedatectl set-ntp true")
    } else if says("ExpiredToken") || says("TokenExpired") || subject.key_ended.is_some() {
        let at = subject.key_ended.map(|ended| format!(", at {}", date::iso_seconds(ended))).unwrap_or_default();
        let cause = format!("the temporary credentials with the id {secret_id} have expired{at}");
        Diagnosis::new(Topic::Credentials, cause, format!("get new ones, in {key_origin}"))
    } else if says("InvalidAccessKeyId") || says("SecretIdNotFound") {
        of_key(format!("{origin} does not know the secret id {secret_id}"))
    } else if says("SignatureDoesNotMatch") || error.message.contains("Signature") {
        of_key(format!("the secret key is not the one of the id {secret_id}"))
    } else if code::is_of_token(&error.code) {
        of_key(format!("{origin} does not take the token of the id {secret_id}"))
    } else {
        forbidden(error, subject)
    }
}

/// A key that is right and must not do this.
fn forbidden(error: &StoreError, subject: &Subject) -> Diagnosis {
    let Subject { source, secret_id, region, .. } = subject;
    let op = error.op.unwrap_or(Op::ListObjects);
    let topic = topic_of(op);
    let evidence = match (error.code.as_str(), error.request_id.as_str()) {
        ("", request) => format!("status {}, request {request}", error.status),
        (code, request) => format!("{code}, request {request}"),
    };
    let grant = subject.dialect.grant(op, &source.bucket, &source.prefix, region.as_deref());
    let cause = format!("access to {} is denied to the id {secret_id} for {op}", source.bucket);
    let remedy = format!("allow it {grant}");
    Diagnosis::new(topic, cause, remedy).with(evidence)
}

/// What an operation is about.
fn topic_of(op: Op) -> Topic {
    match op {
        Op::ListObjects | Op::HeadBucket | Op::ListObjectVersions => Topic::List,
        Op::PutObject | Op::PutObjectTagging | Op::DeleteObjectTagging | Op::PutObjectAcl | Op::AppendObject => {
            Topic::Put
        }
        Op::GetObject
        | Op::GetObjectTagging
        | Op::GetObjectAcl
        | Op::RestoreObject
        | Op::HeadObject
        | Op::GetObjectAttributes => Topic::Get,
        Op::CopyObject => Topic::Copy,
        Op::DeleteObject | Op::DeleteMultipleObjects => Topic::Delete,
        Op::InitiateMultipartUpload
        | Op::UploadPart
        | Op::UploadPartCopy
        | Op::CompleteMultipartUpload
        | Op::AbortMultipartUpload
        | Op::ListParts => Topic::Multipart,
        Op::ListMultipartUploads => Topic::Leftovers,
        Op::GetBucketLifecycle => Topic::Lifecycle,
        Op::GetBucketVersioning | Op::PutBucketVersioning => Topic::Versioning,
        Op::GetBucketConfiguration
        | Op::PutBucketConfiguration
        | Op::DeleteBucketConfiguration
        | Op::GetService
        | Op::PutBucket
        | Op::DeleteBucket
        | Op::GetBucketLocation => Topic::Bucket,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject() -> Subject {
        Subject {
            source: "photos-125".parse().unwrap(),
            origin: "https://photos-125.cos.ap-beijing.myqcloud.com".into(),
            dialect: Dialect::Cos,
            region: Some("ap-beijing".into()),
            proxy: None,
            secret_id: "AKIDx".into(),
            key_origin: "environment (COS_SECRETID)".into(),
            key_flaw: None,
            key_ended: None,
        }
    }

    fn sentence(error: &StoreError, subject: &Subject) -> String {
        Failure::from(explain(error, subject)).sentence
    }

    #[test]
    fn every_refusal_is_one_sentence_with_what_to_do() {
        let origin = "https://photos-125.cos.ap-beijing.myqcloud.com";
        let table = [
            (
                StoreErrorKind::NoSuchBucket,
                "",
                Topic::Bucket,
                "there is no bucket photos-125 in region ap-beijing: check",
            ),
            (StoreErrorKind::Unreachable, "", Topic::Tcp, "cannot be reached: check the region or endpoint"),
            (StoreErrorKind::TimedOut, "", Topic::Service, "does not answer in time"),
            (StoreErrorKind::Denied, "InvalidAccessKeyId", Topic::Credentials, "does not know the secret id AKIDx"),
            (
                StoreErrorKind::Denied,
                "SignatureDoesNotMatch",
                Topic::Credentials,
                "the secret key is not the one of the id AKIDx: check the credentials from environment (COS_SECRETID)",
            ),
            (StoreErrorKind::Denied, "RequestTimeTooSkewed", Topic::Clock, "clock is wrong"),
            (StoreErrorKind::Denied, "ExpiredToken", Topic::Credentials, "have expired: get new ones"),
            (StoreErrorKind::Denied, "AccessDenied", Topic::List, "access to photos-125 is denied to the id AKIDx for"),
            (StoreErrorKind::Protocol, "", Topic::Service, "does not answer as COS does"),
            (StoreErrorKind::Quota, "PaymentRequired", Topic::Service, "in arrears"),
            (StoreErrorKind::Unsupported, "BucketAccelerateNotEnabled", Topic::Service, "leave out --accelerate"),
        ];
        for (kind, code, topic, expected) in table {
            let mut error = StoreError::new(kind, Op::HeadBucket, "", "told");
            error.code = code.into();
            error.status = 403;
            let diagnosis = explain(&error, &subject());
            assert_eq!((diagnosis.topic, diagnosis.exit), (topic, Exit::Service), "{code}");
            let sentence = Failure::from(diagnosis).sentence;
            assert!(sentence.contains(expected), "{kind:?} {code}: {sentence}");
            assert!(!sentence.contains('\n') && sentence.len() < origin.len() + 210, "{sentence}");
        }
    }

    #[test]
    fn a_request_that_could_not_be_signed_says_why() {
        let told = "the key is over or was refused, and there is no new one: it still gives the key that is over";
        let sentence = sentence(&StoreError::new(StoreErrorKind::Denied, Op::HeadBucket, "", told), &subject());
        assert!(sentence.contains(told) && sentence.contains("AKIDx"), "{sentence}");
    }

    #[test]
    fn a_reason_may_stand_in_the_message() {
        let mut error = StoreError::new(StoreErrorKind::Denied, Op::ListObjects, "", "InvalidAccessKeyId");
        (error.code, error.status) = ("AccessDenied".into(), 403);
        assert!(sentence(&error, &subject()).contains("does not know the secret id AKIDx"));
    }

    #[test]
    fn what_can_be_seen_of_a_key_is_said_of_one_that_is_refused() {
        let mut error = StoreError::new(StoreErrorKind::Denied, Op::ListObjects, "", "");
        (error.code, error.status) = ("InvalidAccessKeyId".into(), 403);
        let flawed = Subject { key_flaw: Some(KeyFlaw::Swapped), ..subject() };
        assert!(sentence(&error, &flawed).ends_with("; the id and the key are swapped"));
    }

    /// What is denied has the name that a policy gives it.
    #[test]
    fn what_is_denied_is_named_as_policies_name_it() {
        let denied = |op: Op| {
            let mut error = StoreError::new(StoreErrorKind::Denied, op, "", "Access Denied.");
            (error.code, error.status) = ("AccessDenied".into(), 403);
            explain(&error, &Subject { source: "photos-125:/2024".parse().unwrap(), ..subject() })
        };
        let put = denied(Op::PutObject);
        assert_eq!(put.topic, Topic::Put);
        let expected = "allow it name/cos:PutObject on qcs::cos:ap-beijing:uid/125:photos-125/2024/* (CAM, or the bucket's policy)";
        assert_eq!(put.remedy, expected);
        assert!(denied(Op::CopyObject).remedy.contains("name/cos:PutObject and name/cos:GetObject on"));
        assert!(denied(Op::ListObjects).remedy.contains("name/cos:GetBucket"));
    }

    #[test]
    fn a_region_that_the_answer_names_is_the_cause() {
        let mut error = StoreError::new(StoreErrorKind::Protocol, Op::HeadBucket, "", "redirects");
        (error.status, error.region) = (301, Some("ap-guangzhou".into()));
        let told = sentence(&error, &subject());
        assert_eq!(
            told,
            "the bucket photos-125 is in the region ap-guangzhou, and not in ap-beijing: give --region ap-guangzhou"
        );
        let by_endpoint = Subject { region: None, ..subject() };
        assert!(sentence(&error, &by_endpoint).ends_with("give --region ap-guangzhou in place of --endpoint"));
        error.region = Some("ap-beijing".into());
        assert!(sentence(&error, &subject()).contains("does not answer as COS does"));
    }

    /// What a service of S3 says, and what to do.
    #[test]
    fn errors_of_s3_have_its_words() {
        let bucket = crate::object::BucketName::of_s3("photos").unwrap();
        let subject = |is_in_path| Subject {
            source: MountSource::of_s3("s3://photos/2024").unwrap(),
            origin: "https://s3.example".into(),
            dialect: Dialect::s3("us-east-1", &bucket, is_in_path),
            region: None,
            ..self::subject()
        };
        let error = |kind, op, status, code: &str, message: &str| {
            let mut error = StoreError::new(kind, op, "k", message);
            (error.status, error.code) = (status, code.into());
            error
        };
        let malformed = error(
            StoreErrorKind::Invalid,
            Op::ListObjects,
            400,
            "AuthorizationHeaderMalformed",
            "The authorization header is malformed; the region 'us-east-1' is wrong; expecting 'garage'",
        );
        let mut redirected = error(StoreErrorKind::Protocol, Op::HeadBucket, 301, "", "");
        redirected.region = Some("eu-west-1".into());
        let missing = error(StoreErrorKind::NoSuchBucket, Op::ListObjects, 404, "NoSuchBucket", "");
        let denied = error(StoreErrorKind::Denied, Op::UploadPart, 403, "AccessDenied", "Access Denied");
        let unlisted = error(StoreErrorKind::Denied, Op::ListObjects, 403, "AccessDenied", "Access Denied");
        let skewed = error(StoreErrorKind::Denied, Op::ListObjects, 403, "RequestTimeTooSkewed", "");
        let unknown = error(StoreErrorKind::Denied, Op::ListObjects, 403, "InvalidAccessKeyId", "");
        let table = [
            (
                &malformed,
                "the bucket photos is in the region garage, and requests are signed for us-east-1: give --region garage",
            ),
            (
                &redirected,
                "the bucket photos is in the region eu-west-1, and requests are signed for us-east-1: give --region eu-west-1",
            ),
            (&missing, "there is no bucket photos at https://s3.example: check the name, or give --path-style"),
            (&denied, "allow it s3:PutObject on arn:aws:s3:::photos/2024/* (IAM, or the bucket's policy)"),
            (&unlisted, "allow it s3:ListBucket on arn:aws:s3:::photos (IAM, or the bucket's policy)"),
            (&skewed, "this machine's clock is wrong"),
            (&unknown, "does not know the secret id AKIDx"),
        ];
        for (error, expected) in table {
            let told = sentence(error, &subject(false));
            assert!(told.contains(expected), "{told}");
        }
        let told = sentence(&missing, &subject(true));
        assert!(told.ends_with("check the name"), "{told}");
    }
}
