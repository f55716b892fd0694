//! What a bucket has of uploads that were begun and neither completed nor aborted, page by page.

use super::listing::PAGES_MAX;
use super::session::{Request, Session};
use super::{ListedPart, ListedUpload, StoreError, StoreErrorKind};
use crate::object::{ObjectKey, UploadId};
use crate::wire::answer::{ListMultipartUploadsResult, ListPartsResult};
use crate::wire::operation::{ListMultipartUploads, ListParts, Operation};

/// The unfinished uploads whose keys begin with `prefix`, all pages.
pub(super) async fn listed(session: &Session, prefix: &str) -> Result<Vec<ListedUpload>, StoreError> {
    let mut listed: Vec<ListedUpload> = Vec::new();
    let mut page = ListMultipartUploads { prefix: prefix.to_owned(), ..ListMultipartUploads::default() };
    for _ in 0..PAGES_MAX {
        let request = Request::new(&Operation::ListMultipartUploads(page.clone())).about(prefix);
        let result = session.ask(&request, ListMultipartUploadsResult::decode).await?;
        listed.extend(result.uploads.into_iter().map(|upload| ListedUpload {
            key: upload.key,
            upload: upload.upload,
            initiated: upload.initiated,
        }));
        if !result.is_truncated {
            // Some services tell them as they were begun.
            listed.sort_by(|one, other| one.key.cmp(&other.key));
            return Ok(listed);
        }
        let next = (result.next_key_marker.unwrap_or_default(), result.next_upload_id_marker.unwrap_or_default());
        // Ids are opaque, so only standing still is certain to lead nowhere.
        if next.0 < page.key_marker || next == (page.key_marker.clone(), page.upload_id_marker.clone()) {
            return Err(request.error(StoreErrorKind::Protocol, "a page of a listing that leads nowhere"));
        }
        (page.key_marker, page.upload_id_marker) = next;
    }
    let request = Request::new(&Operation::ListMultipartUploads(page)).about(prefix);
    Err(request.error(StoreErrorKind::Protocol, format!("a listing without end: {PAGES_MAX} pages")))
}

/// The parts of an upload, all pages, of which there are eleven at most.
pub(super) async fn parts(
    session: &Session,
    key: &ObjectKey,
    upload: &UploadId,
) -> Result<Vec<ListedPart>, StoreError> {
    let mut parts: Vec<ListedPart> = Vec::new();
    let mut page = ListParts::new(key.clone(), upload.clone());
    loop {
        let request = Request::new(&Operation::ListParts(page.clone()));
        let result = session.ask(&request, ListPartsResult::decode).await?;
        let (before, next) = (page.part_number_marker.unwrap_or(0), result.next_part_number_marker.unwrap_or(0));
        parts.extend(result.parts);
        if !result.is_truncated {
            return Ok(parts);
        }
        if next <= before {
            return Err(request.error(StoreErrorKind::Protocol, "a page of a listing of parts that leads nowhere"));
        }
        page.part_number_marker = Some(next);
    }
}
