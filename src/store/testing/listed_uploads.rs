//! What a bucket has of uploads that were begun and neither completed nor aborted.
//!
//! A mount knows its own uploads and leaves those of others alone, so only tests ask.

use std::time::SystemTime;

use crate::object::UploadId;
use crate::store::http_store::HttpStore;
use crate::store::listing::PAGES_MAX;
use crate::store::session::{Request, Session};
use crate::store::{StoreError, StoreErrorKind};
use crate::wire::answer::ListMultipartUploadsResult;
use crate::wire::operation::{ListMultipartUploads, Operation};

/// What a listing of unfinished uploads says of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedUpload {
    /// The key that the upload would write.
    pub key: String,
    /// Its id.
    pub upload: UploadId,
    /// When it was begun.
    pub initiated: SystemTime,
}

impl HttpStore {
    /// The unfinished uploads whose keys begin with `prefix`, all pages.
    pub async fn list_uploads(&self, prefix: &str) -> Result<Vec<ListedUpload>, StoreError> {
        listed(&self.session, prefix).await
    }
}

/// The unfinished uploads whose keys begin with `prefix`, all pages.
async fn listed(session: &Session, prefix: &str) -> Result<Vec<ListedUpload>, StoreError> {
    let mut listed = Vec::new();
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
