//! How far a file has come on its way into the bucket, for people who look.

use std::sync::atomic::Ordering;
use std::time::SystemTime;

use super::content::PartMark;
use super::error::UploadError;
use super::open_file::OpenFile;
use crate::object::{ObjectKey, UploadId};

/// What of a file is in the bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// All of it.
    Clean,
    /// Not all of it.
    Dirty,
    /// It is being published.
    Publishing,
    /// It could not be published, and never will be.
    Failed,
}

/// How far a file has come.
#[derive(Clone, Debug)]
pub struct Progress {
    /// The key that it is published under.
    pub key: ObjectKey,
    /// Bytes in the file now.
    pub size: u64,
    /// What of it is in the bucket.
    pub stage: Stage,
    /// Since when something is not in the bucket; `None` if all is.
    pub dirty_since: Option<SystemTime>,
    /// Bytes of it that are in memory.
    pub held_bytes: u64,
    /// The upload that is running, if one is.
    pub upload: Option<UploadProgress>,
    /// Why it could not be published.
    pub failure: Option<UploadError>,
}

/// How far a multipart upload has come.
#[derive(Clone, Debug)]
pub struct UploadProgress {
    /// Its id, once the service has given one.
    pub id: Option<UploadId>,
    /// When it began.
    pub began: SystemTime,
    /// The parts that are full, from number 1.
    pub parts: Vec<PartMark>,
    /// Bytes that have landed.
    pub landed_bytes: u64,
    /// How often a part went once more: a request was repeated, a slow one was sent twice, or what had landed was written over.
    pub resent: u64,
}

impl OpenFile {
    /// How far it has come. Asked for by people who look: goes through all parts.
    pub fn progress(&self) -> Progress {
        let state = self.sender.lock();
        let stage = match () {
            () if state.failure.is_some() => Stage::Failed,
            () if state.is_publishing() => Stage::Publishing,
            () if state.is_dirty() => Stage::Dirty,
            () => Stage::Clean,
        };
        let upload = state.session.as_ref().map(|session| {
            let (parts, landed_bytes) = state.content.parts.marks(|index| state.busy.contains(&index));
            let resent = session.repeats.load(Ordering::Relaxed) + state.content.parts.made_again();
            let id = session.upload.get().map(|upload| upload.id.clone());
            UploadProgress { id, began: session.began, parts, landed_bytes, resent }
        });
        Progress {
            key: state.key.clone(),
            size: state.content.size(),
            stage,
            dirty_since: state.dirty_since.filter(|_| stage != Stage::Clean),
            held_bytes: state.content.held_bytes(),
            upload,
            failure: state.failure.as_ref().map(|failure| failure.error.clone()),
        }
    }
}
