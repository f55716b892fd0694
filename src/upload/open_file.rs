//! One file that is open for writing: what it is, what is asked of it, and how it ends.
//!
//! Bytes are taken in [`super::writing`], and become an object in [`super::publishing`].

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::content::{Content, Segment};
use super::error::UploadError;
use super::handed_out::Stretch;
use super::sending::Sender;
use super::state::{Name, State};
use super::uploader::Uploader;
use crate::object::limits::GIB;
use crate::object::{ByteRange, Checksum, ETag, ObjectAttributes, ObjectKey, StoredObject, Version};
use crate::store::{StoreError, StoreErrorKind};

/// Holes of a file that nobody waits for, in bytes, whatever else it has: more than ten copies of the largest part, which
/// take minutes.
const ABANDONED_HOLE_BYTES: u64 = 64 * GIB;

/// The content of a file that is open for writing, shared by all its handles.
pub struct OpenFile {
    pub(super) uploader: Arc<Uploader>,
    pub(super) sender: Arc<Sender>,
    /// It has been given bytes of another object at some time.
    pub(super) is_copier: AtomicBool,
    /// One publishing at a time. Tokio's mutex because it is held while requests are on their way. Level 3 in the order of
    /// locks.
    pub(super) publishing: tokio::sync::Mutex<()>,
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// All of it is in the file.
    All,
    /// The first bytes are in the file; for the rest [`OpenFile::write`] waits.
    Some(usize),
}

/// A file's state in the bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedFile {
    /// The object.
    pub object: StoredObject,
    /// The metadata it has.
    pub attributes: ObjectAttributes,
    /// How often this open file has made, rewritten or moved the object; 0 for one that it found.
    pub serial: u64,
}

impl OpenFile {
    /// A file that is new or emptied: nothing of what may be in the bucket under `key`, which is `replaces` as far as
    /// anybody knows, is kept. Dirty from the start.
    pub fn empty(
        uploader: &Arc<Uploader>,
        key: ObjectKey,
        attributes: ObjectAttributes,
        replaces: Option<ETag>,
    ) -> Arc<OpenFile> {
        let now = uploader.transfers.clock.now();
        open(uploader, State::new(key, attributes, Content::of(None), replaces, now))
    }

    /// A file that is `object`.
    pub fn existing(uploader: &Arc<Uploader>, object: StoredObject, attributes: ObjectAttributes) -> Arc<OpenFile> {
        let now = uploader.transfers.clock.now();
        open(uploader, State::new(object.key, attributes, Content::of(Some(object.version)), None, now))
    }

    /// Bytes in the file now.
    pub fn size(&self) -> u64 {
        self.sender.lock().content.size()
    }

    /// Goes on from what somebody else has made of the object, if everything here is published. Returns whether this is that
    /// version now, and was another one before.
    pub fn adopt(&self, base: Version, attributes: ObjectAttributes) -> bool {
        self.sender.lock().adopt(base, attributes)
    }

    /// Whether something is not in the bucket yet that should be.
    pub fn is_dirty(&self) -> bool {
        self.sender.lock().is_dirty()
    }

    /// The object as last published, and the attributes it has or will have.
    pub fn published(&self) -> Option<PublishedFile> {
        let state = self.sender.lock();
        let (attributes, serial) = (state.metadata.all(), state.serial);
        state.object().map(|object| PublishedFile { object, attributes, serial })
    }

    /// The first failure. A file that has failed takes and publishes nothing any more.
    pub fn failure(&self) -> Option<UploadError> {
        self.sender.lock().failure.as_ref().map(|failure| failure.error.clone())
    }

    /// Forgets the failure of a file all of whose bytes are here, so that it can be published yet. Returns whether it could:
    /// where what it was copied from is gone there is nothing to wait for.
    pub fn clear_error(&self) -> bool {
        self.sender.lock().clear_error()
    }

    /// Whether the file has lost its name.
    pub fn is_nameless(&self) -> bool {
        self.sender.lock().is_nameless()
    }

    /// The key that the file is published under.
    pub fn key(&self) -> ObjectKey {
        self.sender.lock().key.clone()
    }

    /// The attributes that the file would be published with now, the time of its last change among them.
    pub fn attributes(&self) -> ObjectAttributes {
        self.sender.lock().metadata.all()
    }

    /// One user attribute, but for the time of the last change. Cheaper than all of them.
    pub fn user_attribute(&self, name: &str) -> Option<String> {
        self.sender.lock().metadata.user_attribute(name)
    }

    /// Changes the attributes by `change`; they travel with the next publishing. An error leaves them as they are.
    pub fn change_attributes<E>(
        &self,
        change: impl FnOnce(ObjectAttributes) -> Result<ObjectAttributes, E>,
    ) -> Result<(), E> {
        self.sender.lock().change_attributes(false, change)
    }

    /// The same, and sets the time of the last change, be it to what that was: no publishing moves it then.
    pub fn change_attributes_and_time<E>(
        &self,
        change: impl FnOnce(ObjectAttributes) -> Result<ObjectAttributes, E>,
    ) -> Result<(), E> {
        self.sender.lock().change_attributes(true, change)
    }

    /// The content counts as changed just now, although all its bytes are what they were.
    pub fn touch(&self) {
        let mut state = self.sender.lock();
        state.metadata.touch(self.sender.transfers.clock.now());
        state.note_attributes();
    }

    /// Whether the time of the last change may be an earlier one once the file is published: an upload in parts has told one
    /// when it began.
    pub fn may_tell_another_time(&self) -> bool {
        let state = self.sender.lock();
        state.session.is_some() && state.metadata.is_untold()
    }

    /// Whether nothing of the file is in the bucket or on its way there, and all of it would go with one PUT.
    pub fn is_only_here(&self) -> bool {
        let state = self.sender.lock();
        let fits = state.content.size() <= self.sender.transfers.ladder.first_bytes();
        fits && state.is_unsent() && !state.is_nameless() && state.failure.is_none()
    }

    /// Whether the object has all of the content, and only attributes are not published yet.
    pub fn lacks_only_attributes(&self) -> bool {
        self.sender.lock().lacks_only_attributes()
    }

    /// Gives a file that has nothing in the bucket and nothing on its way there another key, and says whether it could.
    pub fn rename_unpublished(&self, key: &ObjectKey) -> bool {
        self.sender.lock().rename_unpublished(key)
    }

    /// Where the bytes of `start..end` can be read, clipped to the file.
    pub fn segments(&self, start: u64, end: u64) -> Vec<Segment> {
        let state = self.sender.lock();
        ByteRange::new(start, end.min(state.content.size()))
            .map_or_else(Vec::new, |range| state.content.segments(range))
    }

    /// The first byte at or behind `offset` that is data, or that is in a hole, the end of the file among the holes;
    /// `None` if there is none.
    pub fn find(&self, offset: u64, hole: bool) -> Option<u64> {
        self.sender.lock().content.find(offset, hole)
    }

    /// Whether the file is being published or moved right now.
    pub fn is_publishing(&self) -> bool {
        self.sender.lock().is_publishing()
    }

    /// Keeps the file from being published or moved until the guard is dropped. Writing goes on.
    pub async fn hold_still(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.publishing.lock().await
    }

    /// Bytes of it that are in memory.
    pub fn held_bytes(&self) -> u64 {
        self.sender.lock().content.held_bytes()
    }

    /// Bytes of the file that lie at the same place in its object, as it was when it had been made `serial` times, are about
    /// to be handed out unverified. Returns whether they are compared before anything replaces them; otherwise it is the
    /// caller who has to do that: see [`Uploader::compare`].
    pub fn note_unverified(&self, range: ByteRange, checksum: Checksum, from: u64, serial: u64) -> bool {
        let mut state = self.sender.lock();
        // Who reads a version that is not the file's any more reads again.
        state.serial != serial || state.handed_out.note(range.start()..range.end(), Stretch { checksum, from })
    }

    /// All that was handed out of the reader's object `from` has turned out to be right.
    pub fn note_verified(&self, from: u64) {
        self.sender.lock().handed_out.forget(from);
    }

    /// Says whether what is written is wanted at all. Nothing of what is not wanted is sent, nobody waits until it is
    /// published, and a publishing that is under way ends with [`UploadError::Unwanted`] as soon as nothing of it can become
    /// visible any more. It goes on from there when the file is wanted again and published.
    pub fn set_wanted(&self, is_wanted: bool) {
        self.sender.lock().is_unwanted = !is_wanted;
        self.sender.changed.notify_waiters();
    }

    /// Whether the file is about to be removed.
    pub fn is_unwanted(&self) -> bool {
        self.sender.lock().is_unwanted
    }

    /// The program that waits for the publishing has been told to end. If all that it has done is to make the file longer, or
    /// that is nearly all, nobody wants the zeros: the file fails, and nothing more of it is sent.
    pub fn stop_filling(&self) {
        {
            let mut state = self.sender.lock();
            let hole_bytes = state.content.hole_bytes();
            let is_for_nothing = hole_bytes > 0 && !state.has_new_bytes() || hole_bytes > ABANDONED_HOLE_BYTES;
            if !state.is_publishing() || !is_for_nothing {
                return;
            }
            let message = "the program that made a hole of it was told to end before it was published";
            let error = late(&state.key, message);
            self.sender.fail(&mut state, error);
        }
        self.sender.changed.notify_waiters();
    }

    /// The mount ends: what is not published by now never will be, and no unfinished upload is left of it.
    pub fn abandon(&self) {
        if self.is_dirty() {
            let mut state = self.sender.lock();
            let error = late(&state.key, "the mount ended before it was published");
            self.sender.fail(&mut state, error);
        }
    }

    /// The file is gone: nothing of it is published any more. For somebody who holds it still.
    pub fn forget(&self) {
        let mut state = self.sender.lock();
        self.sender.give_up_session(&mut state);
        state.name = Name::Lost;
        state.drop_all();
        drop(state);
        self.sender.changed.notify_waiters();
    }

    /// Nobody has the file open any more, and it has no name: gives up what is on its way, and returns the key that it
    /// was published under in the meantime, whose object is to be removed.
    pub async fn dispose(&self) -> Option<ObjectKey> {
        let _after_publishing = self.publishing.lock().await;
        let mut state = self.sender.lock();
        self.sender.give_up_session(&mut state);
        let object = state.object();
        state.drop_all();
        drop(state);
        self.sender.changed.notify_waiters();
        object.map(|object| object.key)
    }
}

fn late(key: &ObjectKey, message: &str) -> UploadError {
    StoreError::new(StoreErrorKind::TimedOut, None, key.as_str(), message).into()
}

fn open(uploader: &Arc<Uploader>, state: State) -> Arc<OpenFile> {
    let sender = Sender::new(&uploader.transfers, state);
    let (is_copier, publishing) = (AtomicBool::new(false), tokio::sync::Mutex::new(()));
    let file = Arc::new(OpenFile { uploader: uploader.clone(), sender, is_copier, publishing });
    uploader.register(&file);
    file
}
