//! What a bucket is told and this service only keeps (`cos-api.md` 5.3, 5.4).

use crate::wire::code::Code;
use crate::wire::operation::{BucketConfiguration, PutBucketConfiguration};

use super::answer::Answer;
use super::refusal::Refusal;
use super::service::Target;
use super::storage::Storage;
use super::sub_resource_calls::access_list;

pub(super) fn get(storage: &Storage, target: &Target, kind: BucketConfiguration) -> Result<Answer, Refusal> {
    let bucket = target.bucket()?;
    let record = storage.bucket(bucket)?.ok_or(Code::NoSuchBucket)?;
    let kept = record.configurations.get(kind.parameter());
    if kind == BucketConfiguration::Acl {
        return Ok(Answer::xml(access_list(kept.map(String::as_str), bucket.appid())));
    }
    match (kept, kind.absent()) {
        (Some(document), _) => Ok(Answer::xml(document.clone())),
        (None, Some(code)) => Err(code.into()),
        (None, None) => Ok(Answer::xml(format!("<{}/>", kind.root()))),
    }
}

pub(super) async fn put(storage: &Storage, target: &Target, put: PutBucketConfiguration) -> Result<Answer, Refusal> {
    let PutBucketConfiguration { kind, document } = put;
    storage.configure(target.bucket()?, kind.parameter(), Some(document)).await?;
    // As both services answer it.
    Ok(if kind == BucketConfiguration::Policy { Answer::no_content() } else { Answer::empty() })
}

pub(super) async fn delete(storage: &Storage, target: &Target, kind: BucketConfiguration) -> Result<Answer, Refusal> {
    storage.configure(target.bucket()?, kind.parameter(), None).await?;
    Ok(Answer::no_content())
}
