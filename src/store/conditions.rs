//! Whether a service holds to what a write may replace, found out by trying.
//!
//! The protocol of S3 has conditions for writes, and services that do not know them look past them, so that the answer to a
//! write tells nothing. What can be told without harm is what becomes of a write of nothing, under a key that nobody uses,
//! whose condition cannot hold (decision 0029).

use tokio::sync::OnceCell;

use super::http_store::HttpStore;
use super::sending::is_refused_as_such;
use super::{Body, ObjectStore, Op, Overwrite, Published, StoreError, StoreErrorKind};
use crate::object::{Crc64, ETag, ObjectAttributes, ObjectKey, PartNumber, UploadId};

/// What is known of one bucket. Who wants to know it first asks, and the others wait for that: level 4 in the order of locks.
#[derive(Debug, Default)]
pub(super) struct Conditions {
    of_put: OnceCell<bool>,
    of_complete: OnceCell<bool>,
}

/// The version that no object has.
const NO_VERSION: &str = "00000000000000000000000000000000";

/// Whether the service holds to the conditions of `op`. What cannot be found out now counts as no.
pub(super) async fn keeps(store: &HttpStore, known: &Conditions, op: Op, trial: &ObjectKey) -> bool {
    let cell = if op == Op::CompleteMultipartUpload { &known.of_complete } else { &known.of_put };
    let found = cell.get_or_try_init(|| async {
        let kept = try_out(store, op, trial).await?;
        let what = if kept { "holds to" } else { "looks past" };
        log::info!("the service {what} conditions of {op}, as a trial of {trial} has shown");
        Ok::<bool, StoreError>(kept)
    });
    match found.await {
        Ok(kept) => *kept,
        Err(error) => {
            log::warn!("whether the service holds to conditions of {op} could not be found out: {error}");
            false
        }
    }
}

async fn try_out(store: &HttpStore, op: Op, trial: &ObjectKey) -> Result<bool, StoreError> {
    let Published { etag, .. } = put(store, trial, &Overwrite::Allowed).await?;
    let kept = match op {
        Op::CompleteMultipartUpload => try_complete(store, trial, etag).await,
        _ => try_put(store, trial, etag).await,
    };
    if let Err(error) = store.delete(trial).await {
        log::warn!("{trial}, which a trial has made, could not be removed and stays: {error}");
    }
    kept
}

async fn try_put(store: &HttpStore, trial: &ObjectKey, etag: ETag) -> Result<bool, StoreError> {
    for overwrite in hopeless() {
        if !is_refused(put(store, trial, &overwrite).await)? {
            return Ok(false);
        }
    }
    // One that refuses everything that has a condition is of no use.
    is_refused(put(store, trial, &Overwrite::OnlyOf(etag)).await).map(|refused| !refused)
}

async fn try_complete(store: &HttpStore, trial: &ObjectKey, etag: ETag) -> Result<bool, StoreError> {
    let upload = store.initiate(trial, &ObjectAttributes::default()).await?.upload;
    let kept = complete_on_conditions(store, trial, &upload, etag).await;
    // It is gone if it could be completed.
    if let Err(error) = store.abort(trial, &upload).await {
        log::warn!("{trial}: upload {upload} of a trial could not be aborted and stays unfinished: {error}");
    }
    kept
}

async fn complete_on_conditions(
    store: &HttpStore,
    trial: &ObjectKey,
    upload: &UploadId,
    etag: ETag,
) -> Result<bool, StoreError> {
    let (bytes, crc64) = (b"trial", store.limits().checksum.of(b"trial"));
    let sent = store.upload_part(trial, upload, PartNumber::FIRST, Body::from(bytes.to_vec()), crc64).await?;
    let parts = [sent.etag];
    let complete = async |overwrite: Overwrite| {
        store.complete_over(trial, upload, &parts, bytes.len() as u64, Some(crc64), &overwrite).await
    };
    for overwrite in hopeless() {
        if !is_refused(complete(overwrite).await)? {
            return Ok(false);
        }
    }
    is_refused(complete(Overwrite::OnlyOf(etag)).await).map(|refused| !refused)
}

/// Conditions that the object of a trial does not meet.
fn hopeless() -> [Overwrite; 2] {
    [Overwrite::IfAbsent, Overwrite::OnlyOf(ETag::new(NO_VERSION))]
}

async fn put(store: &HttpStore, trial: &ObjectKey, overwrite: &Overwrite) -> Result<Published, StoreError> {
    let empty: Crc64 = store.limits().checksum.empty();
    store.put_over(trial, Body::empty(), empty, &ObjectAttributes::default(), overwrite).await
}

/// Whether a write was refused for its condition. A service that does not have conditions may say so, too, and is done with.
fn is_refused(answer: Result<Published, StoreError>) -> Result<bool, StoreError> {
    match answer {
        Ok(_) => Ok(false),
        Err(error) if error.kind == StoreErrorKind::Changed => Ok(true),
        Err(error) if is_refused_as_such(&error) => Ok(false),
        Err(error) => Err(error),
    }
}
