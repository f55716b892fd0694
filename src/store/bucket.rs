//! What a service tells of a bucket beside its objects: where it is, what it does by itself, and which others there are. For who
//! finds out why something does not work; no file needs it.

use std::time::Duration;

use super::session::{Request, Session};
use super::{Obstacle, StoreError, StoreErrorKind};
use crate::wire::address::Route;
use crate::wire::answer::{Lifecycle, ListAllMyBucketsResult, Versioning};
use crate::wire::code::Code;
use crate::wire::operation::{Operation, PutBucketVersioning};

/// What a bucket tells of itself when it is asked whether it is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BucketFacts {
    /// Its region, where the service says so.
    pub region: Option<String>,
}

/// A bucket of the account, and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownBucket {
    /// Its full name.
    pub name: String,
    /// Its region.
    pub region: String,
}

/// How long a question may take whose answer only makes a message better.
const ASIDE_DEADLINE: Duration = Duration::from_secs(3);

/// Whether the bucket is there and may be used.
pub(super) async fn head(session: &Session) -> Result<BucketFacts, StoreError> {
    let request = Request::new(&Operation::HeadBucket);
    let stranger = |status: u16, obstacle: Option<Obstacle>| {
        let told = "the answer has no x-cos-request-id, which COS gives with every one";
        StoreError { status, obstacle, ..request.error(StoreErrorKind::Protocol, told) }
    };
    // COS numbers each answer; of others not all do.
    let is_numbered = |id: Option<&str>| id.is_some_and(|id| !id.is_empty()) || !session.dialect().has_own_names();
    match session.answer(&request).await {
        // Any server answers 200 to something.
        Ok(answer) if !is_numbered(answer.headers.get("x-cos-request-id")) => {
            Err(stranger(answer.status, session.is_foreign(&answer.headers).then_some(Obstacle::S3)))
        }
        Ok(answer) => Ok(BucketFacts { region: answer.headers.bucket_region().map(String::from) }),
        Err(error) if (400..500).contains(&error.status) && !is_numbered(Some(&error.request_id)) => {
            Err(stranger(error.status, error.obstacle))
        }
        // A HEAD has no body to tell what is missing, but here it can only be the bucket.
        Err(error) if error.kind == StoreErrorKind::NotFound => {
            Err(StoreError { kind: StoreErrorKind::NoSuchBucket, ..error })
        }
        Err(error) => Err(error),
    }
}

/// What the bucket does by itself to what grows old.
pub(super) async fn lifecycle(session: &Session) -> Result<Lifecycle, StoreError> {
    match session.ask(&Request::new(&Operation::GetBucketLifecycle), Lifecycle::decode).await {
        Err(error) if error.code == Code::NoSuchLifecycleConfiguration.name() => Ok(Lifecycle::default()),
        answer => answer,
    }
}

/// Whether the bucket keeps older versions of objects.
pub(super) async fn versioning(session: &Session) -> Result<Versioning, StoreError> {
    session.ask(&Request::new(&Operation::GetBucketVersioning), Versioning::decode).await
}

/// Switches the keeping of older versions.
pub(super) async fn set_versioning(session: &Session, versioning: Versioning) -> Result<(), StoreError> {
    let operation = Operation::PutBucketVersioning(PutBucketVersioning { versioning });
    session.answer(&Request::new(&operation)).await.map(drop)
}

/// The buckets of the account, asked where all of them are known.
pub(super) async fn known(session: &Session, service: Route) -> Result<Vec<KnownBucket>, StoreError> {
    let session = session.with_deadline(ASIDE_DEADLINE).by(service);
    let listed = session.ask(&Request::new(&Operation::GetService), ListAllMyBucketsResult::decode).await?;
    let known = listed.buckets.into_iter().map(|entry| KnownBucket { name: entry.name, region: entry.location });
    Ok(known.collect())
}
