//! What an open file is at one moment: its content, what of it is not in the bucket, and how far a publishing has come.
//!
//! Pure; does no I/O. The lock that guards it is [`super::sending::Sender`]'s.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::SystemTime;

use super::content::Content;
use super::error::UploadError;
use super::extents::SourceObject;
use super::handed_out::HandedOut;
use super::metadata::Metadata;
use super::session::Session;
use super::zeros::Zeros;
use crate::object::{ETag, ObjectAttributes, ObjectKey, StoredObject, Version};

/// INVARIANT: the base, where there is one, is the object under `key`.
/// INVARIANT: parts are sealed only while a session is running or about to begin.
pub(super) struct State {
    pub(super) key: ObjectKey,
    pub(super) name: Name,
    pub(super) metadata: Metadata,
    pub(super) content: Content,
    /// What was read of it and is not verified.
    pub(super) handed_out: HandedOut,
    pub(super) unpublished: Unpublished,
    pub(super) phase: Phase,
    /// The file is about to be removed, and what is written with it: nothing more of it is sent until it is wanted again.
    pub(super) is_unwanted: bool,
    /// The first failure; it stays.
    pub(super) failure: Option<Failure>,
    /// The running multipart upload.
    pub(super) session: Option<Arc<Session>>,
    /// Indices of parts that are on their way. A number in here is not sent a second time before the first answer:
    /// the service keeps whichever comes in last.
    pub(super) busy: BTreeSet<usize>,
    /// The service refused a part's number: what is sealed is more than it takes.
    pub(super) must_replan: bool,
    /// What holes are copied from while it is published; a publishing that is stopped leaves them for the next one.
    pub(super) zeros: Option<Zeros>,
    /// How often the object was made, rewritten or moved.
    pub(super) serial: u64,
    /// Since when the content is not in the bucket, if it is not.
    pub(super) dirty_since: Option<SystemTime>,
}

/// What the key of a file stands for.
pub(super) enum Name {
    /// The name that users know it by.
    Own(Replaces),
    /// The name is gone: the file lives on for those who have it open, under a key that nobody sees, and is published
    /// there only when memory runs short.
    Lost,
}

/// Which object a file may take the place of, if it is not made of that; see [`super::OnConflict`].
pub(super) enum Replaces {
    /// The one that was found under the key, if there was one.
    Found(Option<ETag>),
    /// Whatever object is there.
    Any,
}

/// What of a file is not in the bucket.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Unpublished {
    Nothing,
    /// The object has all of the content, and other attributes.
    Attributes,
    /// Bytes, a new length, or the file itself, and with it whatever attributes it has.
    Content {
        /// Something else than zeros was put into it since it was published.
        has_new_bytes: bool,
    },
}

/// Whether a file is being published.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// It is not: it can be changed.
    Open,
    /// Writers wait until that is over.
    Publishing {
        /// All that is being published is in memory or at the service, so that no other object is needed any more.
        is_loaded: bool,
    },
}

/// Why nothing of a file is taken or published any more.
pub(super) struct Failure {
    pub(super) error: UploadError,
    /// Its bytes have made way for others'.
    pub(super) is_emptied: bool,
}

impl State {
    /// A file of this content, of which nothing is sent yet. `now` is when it is made or emptied, where it is that.
    pub(super) fn new(
        key: ObjectKey,
        attributes: ObjectAttributes,
        content: Content,
        replaces: Option<ETag>,
        now: SystemTime,
    ) -> State {
        let is_new = content.base.is_none();
        State {
            key,
            name: Name::Own(Replaces::Found(replaces)),
            metadata: Metadata::new(attributes, is_new.then_some(now)),
            content,
            handed_out: HandedOut::default(),
            unpublished: if is_new { Unpublished::Content { has_new_bytes: false } } else { Unpublished::Nothing },
            phase: Phase::Open,
            is_unwanted: false,
            failure: None,
            session: None,
            busy: BTreeSet::new(),
            must_replan: false,
            zeros: None,
            serial: 0,
            dirty_since: is_new.then_some(now),
        }
    }

    /// The object as last published.
    pub(super) fn object(&self) -> Option<StoredObject> {
        self.content.base.clone().map(|base| base.under(self.key.clone()))
    }

    /// The object that a source is.
    pub(super) fn resolve(&self, source: &SourceObject) -> Option<StoredObject> {
        match source {
            SourceObject::Base => self.object(),
            SourceObject::Other(object) | SourceObject::Zeros(object) => Some(StoredObject::clone(object)),
        }
    }

    pub(super) fn is_nameless(&self) -> bool {
        matches!(self.name, Name::Lost)
    }

    pub(super) fn is_publishing(&self) -> bool {
        matches!(self.phase, Phase::Publishing { .. })
    }

    /// Whether the object, if there is one, has not all of the content.
    pub(super) fn lacks_content(&self) -> bool {
        matches!(self.unpublished, Unpublished::Content { .. })
    }

    /// Whether something else than zeros was put into the file since it was published.
    pub(super) fn has_new_bytes(&self) -> bool {
        self.unpublished == Unpublished::Content { has_new_bytes: true }
    }

    /// Whether nothing of the file is in the bucket or on its way there.
    pub(super) fn is_unsent(&self) -> bool {
        self.content.base.is_none() && self.session.is_none() && !self.is_publishing()
    }

    /// Whether something is not in the bucket that should be and still may be.
    pub(super) fn is_dirty(&self) -> bool {
        self.unpublished != Unpublished::Nothing && !self.is_nameless() && self.failure.is_none()
    }

    /// Whether the object has all of the content, and only attributes are not published yet.
    pub(super) fn lacks_only_attributes(&self) -> bool {
        let is_content_there = self.content.base.is_some() && !self.is_publishing();
        is_content_there && self.unpublished == Unpublished::Attributes && self.is_dirty()
    }

    /// An error if the file has failed.
    pub(super) fn expect_sound(&self) -> Result<(), UploadError> {
        self.failure.as_ref().map_or(Ok(()), |failure| Err(failure.error.clone()))
    }

    /// An error if the file has failed or is about to be removed: what has not begun by then is for nothing.
    pub(super) fn expect_wanted(&self) -> Result<(), UploadError> {
        self.expect_sound()?;
        if self.is_unwanted { Err(UploadError::Unwanted { key: self.key.to_string() }) } else { Ok(()) }
    }

    /// Whether `session` is the upload that parts belong to now.
    pub(super) fn is_running(&self, session: &Arc<Session>) -> bool {
        self.session.as_ref().is_some_and(|running| Arc::ptr_eq(running, session))
    }

    /// Whether anything of this file that is not safe at the service yet comes from the object under `key`. Never asked by
    /// somebody who has another file locked.
    pub(super) fn copies_from(&self, key: &ObjectKey) -> bool {
        self.needs_sources() && self.content.sources(self.is_publishing()).any(|source| source == key)
    }

    /// The objects of other files that anything of this file comes from that is not safe at the service yet.
    pub(super) fn sources(&self) -> BTreeSet<ObjectKey> {
        match self.needs_sources() {
            true => self.content.sources(self.is_publishing()).cloned().collect(),
            false => BTreeSet::new(),
        }
    }

    fn needs_sources(&self) -> bool {
        self.phase != Phase::Publishing { is_loaded: true } && self.failure.is_none() && !self.is_unwanted
    }

    /// Whether what is written may be sent before a part of it is full.
    pub(super) fn may_send_early(&self) -> bool {
        self.lacks_content() && !self.is_publishing() && !self.must_replan && self.busy.is_empty()
    }

    /// Bytes that publishing would get out of the memory.
    pub(super) fn publishable_bytes(&self) -> u64 {
        let is_stuck = self.is_publishing() || self.is_unwanted || self.failure.is_some();
        if self.lacks_content() && !is_stuck { self.content.held_bytes() } else { 0 }
    }

    /// Goes on from what somebody else has made of the object; see [`super::OpenFile::adopt`].
    pub(super) fn adopt(&mut self, base: Version, attributes: ObjectAttributes) -> bool {
        let is_at_rest =
            self.unpublished == Unpublished::Nothing && self.phase == Phase::Open && self.session.is_none();
        let is_usable = is_at_rest && self.failure.is_none() && !self.is_nameless();
        if !is_usable || self.content.base.as_ref() == Some(&base) {
            return false;
        }
        (self.content, self.metadata) = (Content::of(Some(base)), Metadata::new(attributes, None));
        self.handed_out.clear();
        self.serial += 1;
        true
    }

    /// Forgets the failure of a file all of whose bytes are here; see [`super::OpenFile::clear_error`].
    pub(super) fn clear_error(&mut self) -> bool {
        let is_final = |error: &UploadError| matches!(error, UploadError::Store(error) if error.is_of_version_gone());
        let is_lost = self.failure.as_ref().is_some_and(|failure| failure.is_emptied || is_final(&failure.error));
        let is_whole = self.is_unsent() && self.content.parts.count() == 0 && !self.is_nameless() && !is_lost;
        if is_whole {
            self.failure = None;
        }
        is_whole
    }

    /// Gives a file that is unsent another key; see [`super::OpenFile::rename_unpublished`].
    pub(super) fn rename_unpublished(&mut self, key: &ObjectKey) -> bool {
        let movable = self.is_unsent();
        if movable {
            self.key = key.clone();
            // Whoever renames it over another file means to replace that.
            if let Name::Own(replaces) = &mut self.name {
                *replaces = Replaces::Any;
            }
        }
        movable
    }

    /// Changes the attributes by `change`. An error leaves them as they are.
    pub(super) fn change_attributes<E>(
        &mut self,
        sets_time: bool,
        change: impl FnOnce(ObjectAttributes) -> Result<ObjectAttributes, E>,
    ) -> Result<(), E> {
        let changed = change(self.metadata.all())?;
        if self.metadata.set(changed, sets_time) {
            self.note_attributes();
        }
        Ok(())
    }

    /// The object has other attributes than the file.
    pub(super) fn note_attributes(&mut self) {
        if self.unpublished == Unpublished::Nothing {
            self.unpublished = Unpublished::Attributes;
        }
    }

    /// The content changes at `now`.
    pub(super) fn note_change(&mut self, now: SystemTime) {
        self.note_content();
        self.dirty_since.get_or_insert(now);
        self.metadata.note_write(now);
    }

    /// The object has not all of the content any more.
    pub(super) fn note_content(&mut self) {
        if !self.lacks_content() {
            self.unpublished = Unpublished::Content { has_new_bytes: false };
        }
    }

    /// Something else than zeros is put into the file.
    pub(super) fn note_bytes(&mut self) {
        self.unpublished = Unpublished::Content { has_new_bytes: true };
    }

    /// Part numbers to leave for what the base has behind the parts.
    pub(super) fn reserve(&self, part_bytes_max: u64) -> u64 {
        let base_size = self.content.base.as_ref().map_or(0, |base| base.size);
        let behind = base_size.saturating_sub(self.content.tail().start());
        // One for the part that is filling, one where the base is cut unevenly.
        if behind == 0 { 0 } else { behind.div_ceil(part_bytes_max) + 2 }
    }

    /// The object was made of parts and tail, with `attributes`. Returns whether that is all of the file. What `keeps` says
    /// stays in memory.
    pub(super) fn take_published(&mut self, version: Version, attributes: &ObjectAttributes, keeps: bool) -> bool {
        let is_all = !self.content.is_step();
        self.content.rest_on(version, keeps);
        self.session = None;
        if let Name::Own(replaces) = &mut self.name {
            *replaces = Replaces::Found(None);
        }
        self.phase = Phase::Publishing { is_loaded: false };
        self.serial += 1;
        // What follows a step tells the time of the last write.
        if is_all {
            self.unpublished = Unpublished::Nothing;
            self.dirty_since = None;
            self.settle(attributes);
        }
        is_all
    }

    /// The object is now a copy of what it was, with `attributes`.
    pub(super) fn rest_on_copy(&mut self, base: Version, attributes: &ObjectAttributes) {
        self.content.base = Some(base);
        self.serial += 1;
        self.settle(attributes);
    }

    /// The object has these attributes, which may be others than the file has by now.
    fn settle(&mut self, attributes: &ObjectAttributes) {
        let differs = self.metadata.settle(attributes);
        if !self.lacks_content() {
            self.unpublished = if differs { Unpublished::Attributes } else { Unpublished::Nothing };
        }
    }

    /// Gives the bytes of acknowledged parts back, and those that are in the bucket as they are.
    pub(super) fn release_idle(&mut self) {
        if !self.is_publishing() {
            self.content.parts.release_acknowledged(0);
            self.content.release_clean();
        }
    }

    /// Nothing of it is published any more.
    pub(super) fn drop_all(&mut self) {
        self.zeros = None;
        self.content.drop_bytes();
        self.unpublished = Unpublished::Nothing;
    }
}
