//! Copying an object on the service, and never guessing what became of it.
//!
//! A copy that was carried out twice has made two versions, and only the object itself tells which one it is now. A copy whose
//! answer was lost is looked for: it is there if the target has the source's bytes and the metadata that were asked for.

use super::session::{Done, Request, Session};
use super::{Body, Copied, CopyRequest, Op, Overwrite, Published, Source, StoreError, StoreErrorKind};
use super::{complete, sending};
use crate::object::{Crc64, ETag, ObjectAttributes, ObjectHead, Tags};
use crate::wire::answer::CopyObjectResult;
use crate::wire::condition::Conditions;
use crate::wire::copy_source::CopySource;
use crate::wire::operation::{CopyObject, MetadataDirective, Operation, TAGGING_DIRECTIVE};

/// Makes an object of another one.
pub(super) async fn copy(session: &Session, from: CopySource, wanted: &CopyRequest) -> Result<Copied, StoreError> {
    let copied = copy_object(session, from, wanted).await;
    let is_marker = wanted.source.key.as_str().ends_with('/') && wanted.bytes == Some(0);
    match copied {
        Err(error)
            if error.kind == StoreErrorKind::NotFound && is_marker && session.dialect().may_keep_directories() =>
        {
            put_marker(session, wanted).await.map_err(|_| error)
        }
        // What is copied onto itself is not the version any more that it was to be.
        Ok(copied) if wanted.source.key != wanted.key => {
            expect_pinned(session, Op::CopyObject, &wanted.source, Some(&copied.etag)).await?;
            Ok(copied)
        }
        copied => copied,
    }
}

/// Makes sure that a copy was made of the version of which it was to be. A service that tells no checksums may look past that, and
/// nothing else would show that other bytes were copied. `made` is the version of the copy: that of its source where that is a
/// digest of all bytes.
pub(super) async fn expect_pinned(
    session: &Session,
    op: Op,
    source: &Source,
    made: Option<&ETag>,
) -> Result<(), StoreError> {
    let pinned = source.if_match.as_ref().filter(|pinned| made != Some(*pinned));
    let Some(pinned) = pinned.filter(|_| session.vouching().is_known() == Some(false)) else { return Ok(()) };
    if complete::head(session, &source.key).await?.etag == *pinned {
        return Ok(());
    }
    Err(StoreError::new(StoreErrorKind::Changed, op, source.key.as_str(), "another version may have been copied"))
}

/// Makes a directory's marker of another one, if that is there: a service that keeps directories as such copies no object that
/// is one.
async fn put_marker(session: &Session, wanted: &CopyRequest) -> Result<Copied, StoreError> {
    let head = complete::head(session, &wanted.source.key).await?;
    let attributes = wanted.replace.clone().unwrap_or(head.attributes);
    let attributes = ObjectAttributes { protection: wanted.protection.clone(), ..attributes };
    let published =
        sending::put(session, &wanted.key, Body::empty(), Crc64::EMPTY, (&attributes, &Overwrite::Allowed)).await?;
    let Published { etag, crc64 } = published;
    Ok(Copied { etag, crc64, last_modified: head.last_modified })
}

async fn copy_object(session: &Session, from: CopySource, wanted: &CopyRequest) -> Result<Copied, StoreError> {
    let CopyRequest { source, key, replace, storage_class, protection, bytes } = wanted;
    let mut copy = CopyObject::new(key.clone(), from);
    copy.conditions = Conditions::matching(source.if_match.clone());
    match replace {
        Some(attributes) => (copy.directive, copy.attributes) = (MetadataDirective::Replaced, attributes.clone()),
        None => {
            copy.attributes.storage_class = storage_class.clone();
            copy.attributes.protection = protection.clone();
        }
    }
    let tags_directive = match &copy.attributes.tags {
        // The service's default is the source's.
        Tags::None => None,
        Tags::Unread => Some("Copy"),
        Tags::Are(_) => Some("Replaced"),
    };
    copy.passed.extend(tags_directive.map(|directive| (TAGGING_DIRECTIVE.to_owned(), directive.to_owned())));
    let request = Request::new(&Operation::CopyObject(copy)).of_size(*bytes);
    let mut tries = session.tries();
    let mut perhaps_done = false;
    loop {
        let failed = match session.ask_once(&request, &CopyObjectResult::decode).await {
            Ok(CopyObjectResult { etag, crc64, last_modified, .. }) => {
                let crc64 = session.dialect().own_checksum(crc64);
                let copied = Copied { etag, crc64, last_modified };
                return Ok(if perhaps_done { newest(session, wanted, copied).await } else { copied });
            }
            Err(failed) => failed,
        };
        // A copy onto itself may have changed the version that its repeat is pinned to.
        if perhaps_done && source.key == *key && failed.error.kind == StoreErrorKind::Changed {
            return settle(session, wanted, failed.error).await;
        }
        perhaps_done |= failed.done == Done::Perhaps;
        let Err(error) = tries.again(failed).await else { continue };
        return if perhaps_done { settle(session, wanted, error).await } else { Err(error) };
    }
}

/// The version that a copy has left which was perhaps carried out twice.
async fn newest(session: &Session, wanted: &CopyRequest, copied: Copied) -> Copied {
    match complete::head(&session.to_settle(), &wanted.key).await {
        Ok(head) if head.crc64 == copied.crc64 => of_head(head),
        // Somebody has written the key since, or nobody can tell: the service said that this was ours.
        _ => copied,
    }
}

/// Finds out whether a copy has worked whose answer was lost; `error` is what to say if it has not.
async fn settle(session: &Session, wanted: &CopyRequest, error: StoreError) -> Result<Copied, StoreError> {
    let CopyRequest { source, key, replace, .. } = wanted;
    let session = session.to_settle();
    let Ok(head) = complete::head(&session, key).await else { return Err(error) };
    let mut expected = replace.as_ref().map(|attributes| attributes.user.clone());
    if source.key != *key {
        let Ok(original) = complete::head(&session, &source.key).await else { return Err(error) };
        let is_pinned = source.if_match.as_ref().is_none_or(|etag| *etag == original.etag);
        let is_same = head.crc64.is_some() && (head.crc64, head.size) == (original.crc64, original.size);
        if !is_pinned || !is_same {
            return Err(error);
        }
        expected = expected.or(Some(original.attributes.user));
    }
    if expected.as_ref() != Some(&head.attributes.user) {
        return Err(error);
    }
    log::info!("{error}; but the copy is there, as {}", head.etag);
    Ok(of_head(head))
}

fn of_head(head: ObjectHead) -> Copied {
    Copied { etag: head.etag, crc64: head.crc64, last_modified: head.last_modified }
}
