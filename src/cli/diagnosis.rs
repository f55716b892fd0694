//! Why a bucket cannot be mounted, in one sentence with what to do.

use super::failure::{Exit, Failure};
use super::obstacles::{self, innermost};
use crate::config::MountSource;
use crate::object::ObjectKey;
use crate::store::{ListRequest, ObjectStore, StoreError, StoreErrorKind};

/// What the sentence is about.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    /// What shall be mounted.
    pub(super) source: MountSource,
    /// Where requests go, as a URL.
    pub(super) origin: String,
    /// The region, where one was given.
    pub(super) region: Option<String>,
    /// The URL of the proxy that requests go through.
    pub(super) proxy: Option<String>,
    /// Whose requests they are.
    pub(super) secret_id: String,
}

/// Asks whether the bucket is there and may be used.
pub(super) async fn check_bucket(store: &dyn ObjectStore, subject: &Subject) -> Result<(), Failure> {
    let error = match store.head_bucket().await {
        Ok(()) => return Ok(()),
        Err(error) => error,
    };
    // The code of a key that has ended comes with 400.
    if error.kind != StoreErrorKind::Denied && error.status != 400 {
        return Err(explain(&error, subject));
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
        Ok(_) => Ok(()),
        Err(error) => Err(explain(&error, subject)),
    }
}

/// Asks whether there is anything below the prefix that shall be mounted. Gives a warning if there is nothing.
pub(super) async fn check_prefix(store: &dyn ObjectStore, subject: &Subject) -> Result<Option<String>, Failure> {
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
            let sentence =
                format!("{name} is a file of {}, and only a bucket or a prefix can be mounted", source.bucket);
            Err(Failure::new(Exit::Usage, sentence))
        }
        Err(error) if error.kind == StoreErrorKind::NotFound => {
            Ok(Some(format!("there is nothing below {prefix} in {} yet", source.bucket)))
        }
        // It may be that only what is below the prefix is allowed.
        Err(_) => Ok(None),
    }
}

/// Nothing came back.
pub(super) fn no_answer(subject: &Subject) -> Failure {
    let origin = &subject.origin;
    let sentence = format!("{origin} does not answer in time: check the region or endpoint, and the network");
    Failure::new(Exit::Service, sentence)
}

fn explain(error: &StoreError, subject: &Subject) -> Failure {
    let Subject { source, origin, secret_id, .. } = subject;
    let bucket = &source.bucket;
    if let Some(sentence) = obstacles::sentence(error, subject) {
        return Failure::new(Exit::Service, sentence);
    }
    let sentence = match error.kind {
        StoreErrorKind::NoSuchBucket | StoreErrorKind::NotFound => match &subject.region {
            Some(region) => format!(
                "there is no bucket {bucket} in region {region}: check the name, which ends in -APPID, and --region"
            ),
            None => format!("there is no bucket {bucket} at {origin}: check the name, which ends in -APPID"),
        },
        StoreErrorKind::Denied => return Failure::new(Exit::Service, denied(error, subject)),
        StoreErrorKind::Unreachable => {
            format!("{origin} cannot be reached: check the region or endpoint, and the network ({})", innermost(error))
        }
        StoreErrorKind::TimedOut => return no_answer(subject),
        StoreErrorKind::Protocol => {
            format!("{origin} does not answer as COS does: check the endpoint ({})", innermost(error))
        }
        _ => format!("bucket {bucket} at {origin} cannot be used with the id {secret_id}: {error}"),
    };
    Failure::new(Exit::Service, sentence)
}

/// The service puts the reason into the code or, with the code `AccessDenied`, into the message (`cos-api.md` 2.9).
fn denied(error: &StoreError, subject: &Subject) -> String {
    let Subject { source, origin, secret_id, .. } = subject;
    let says = |reason: &str| error.code == reason || error.message.contains(reason);
    if error.status == 0 {
        // Nobody was asked, because there was nothing to sign with.
        format!("{origin} was not asked with the id {secret_id}: {}", error.message)
    } else if says("InvalidAccessKeyId") {
        format!("{origin} does not know the secret id {secret_id}: check the credentials")
    } else if says("SignatureDoesNotMatch") || error.message.contains("Signature") {
        format!("the secret key is not the one of the id {secret_id}: check the credentials")
    } else if says("RequestTimeTooSkewed") || says("Request has expired") {
        format!("{origin} refuses requests because this machine's clock is wrong: set it")
    } else if says("ExpiredToken") {
        format!("the temporary credentials with the id {secret_id} have expired: get new ones")
    } else {
        format!(
            "access to {} is denied to the id {secret_id}: check the credentials, and that they may list this bucket",
            source.bucket
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Op;

    fn subject() -> Subject {
        Subject {
            source: "photos-125".parse().unwrap(),
            origin: "https://photos-125.cos.ap-beijing.myqcloud.com".into(),
            region: Some("ap-beijing".into()),
            proxy: None,
            secret_id: "AKIDx".into(),
        }
    }

    #[test]
    fn every_refusal_is_one_sentence_with_what_to_do() {
        let origin = "https://photos-125.cos.ap-beijing.myqcloud.com";
        let table = [
            (StoreErrorKind::NoSuchBucket, "", "there is no bucket photos-125 in region ap-beijing"),
            (StoreErrorKind::Unreachable, "", "cannot be reached: check the region or endpoint"),
            (StoreErrorKind::TimedOut, "", "does not answer in time"),
            (StoreErrorKind::Denied, "InvalidAccessKeyId", "does not know the secret id AKIDx"),
            (StoreErrorKind::Denied, "SignatureDoesNotMatch", "the secret key is not the one of the id AKIDx"),
            (StoreErrorKind::Denied, "RequestTimeTooSkewed", "clock is wrong"),
            (StoreErrorKind::Denied, "AccessDenied", "access to photos-125 is denied to the id AKIDx"),
            (StoreErrorKind::Protocol, "", "does not answer as COS does"),
        ];
        for (kind, code, expected) in table {
            let mut error = StoreError::new(kind, Op::HeadBucket, "", "told");
            error.code = code.into();
            error.status = 403;
            let failure = explain(&error, &subject());
            assert_eq!(failure.exit, Exit::Service);
            assert!(failure.sentence.contains(expected), "{kind:?} {code}: {}", failure.sentence);
            assert!(!failure.sentence.contains('\n') && failure.sentence.len() < origin.len() + 150);
        }
    }

    #[test]
    fn a_request_that_could_not_be_signed_says_why() {
        let told = "the key is over or was refused, and there is no new one: it still gives the key that is over";
        let failure = explain(&StoreError::new(StoreErrorKind::Denied, Op::HeadBucket, "", told), &subject());
        assert!(failure.sentence.ends_with(told) && failure.sentence.contains("AKIDx"), "{}", failure.sentence);
    }

    #[test]
    fn a_reason_may_stand_in_the_message() {
        let mut error = StoreError::new(StoreErrorKind::Denied, Op::ListObjects, "", "InvalidAccessKeyId");
        (error.code, error.status) = ("AccessDenied".into(), 403);
        assert!(explain(&error, &subject()).sentence.contains("does not know the secret id AKIDx"));
    }
}
