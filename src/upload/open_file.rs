//! One file that is open for writing: taking bytes from the kernel and giving them back.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::BoxFuture;
use tokio::sync::Notify;

pub use super::content::Segment;
use super::content::{Content, NotHeld};
use super::extents::{Extent, Matter, Source};
use super::state::{Failure, State};
use super::uploader::{UploadError, Uploader};
use crate::memory::Block;
use crate::object::{ByteRange, ETag, ObjectAttributes, ObjectKey, StoredObject, Version};
use crate::store::{StoreError, StoreErrorKind};

/// The content of a file that is open for writing, shared by all its handles.
pub struct OpenFile {
    pub(super) uploader: Arc<Uploader>,
    /// Std mutex: guards everything that a write touches; never held across an await, sections copy at most 1 MiB.
    state: Mutex<State>,
    /// Told whenever something changed that somebody may wait for: a part landed, a publishing ended, a failure.
    pub(super) changed: Notify,
    /// It has been given bytes of another object at some time.
    pub(super) is_copier: AtomicBool,
    /// One publishing at a time. Tokio's mutex because it is held while requests are on their way.
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

/// What a call has to wait for.
#[derive(Clone, Copy)]
enum Wait {
    /// A block of so many bytes.
    Memory(usize),
    Change,
    Publish,
}

/// What is taken of a write before full parts are sent, in bytes: the largest request of the kernel, or nearly so.
const TURN_BYTES: usize = 1 << 20;

/// Extents of a file whose invariants are checked after each write, where they are checked at all.
#[cfg(debug_assertions)]
const CHECKED_ALWAYS: usize = 500;

/// A block that a writer has waited for. It is its own, so that nobody who is short takes it away again.
type Granted = Option<Block>;

impl OpenFile {
    /// A file that is new or emptied: nothing of what may be in the bucket under `key`, which is `replaces` as far as
    /// anybody knows, is kept. Dirty from the start.
    pub fn empty(
        uploader: &Arc<Uploader>,
        key: ObjectKey,
        attributes: ObjectAttributes,
        replaces: Option<ETag>,
    ) -> Arc<OpenFile> {
        OpenFile::with_content(uploader, key, attributes, Content::of(None), replaces)
    }

    /// A file that is `object`.
    pub fn existing(uploader: &Arc<Uploader>, object: StoredObject, attributes: ObjectAttributes) -> Arc<OpenFile> {
        OpenFile::with_content(uploader, object.key, attributes, Content::of(Some(object.version)), None)
    }

    fn with_content(
        uploader: &Arc<Uploader>,
        key: ObjectKey,
        attributes: ObjectAttributes,
        content: Content,
        replaces: Option<ETag>,
    ) -> Arc<OpenFile> {
        let state = State::new(key, attributes, content, replaces, uploader.clock.now());
        let (uploader, state, publishing) = (uploader.clone(), Mutex::new(state), tokio::sync::Mutex::new(()));
        let (changed, is_copier) = (Notify::new(), AtomicBool::new(false));
        let file = Arc::new(OpenFile { uploader, state, changed, is_copier, publishing });
        file.uploader.register(&file);
        file
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // A handler that panicked answered an error; what it left is checked at Complete by CRC-64 and size.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes in the file now.
    pub fn size(&self) -> u64 {
        self.lock().content.size()
    }

    /// Goes on from what somebody else has made of the object, if everything here is published. Returns whether this is that
    /// version now, and was another one before.
    pub fn adopt(&self, base: Version, attributes: ObjectAttributes) -> bool {
        self.lock().adopt(base, attributes)
    }

    /// Whether something is not in the bucket yet that should be.
    pub fn is_dirty(&self) -> bool {
        self.lock().is_dirty()
    }

    /// The object as last published, and the attributes it has or will have.
    pub fn published(&self) -> Option<PublishedFile> {
        let state = self.lock();
        let (attributes, serial) = (state.metadata.all(), state.serial);
        state.object().map(|object| PublishedFile { object, attributes, serial })
    }

    /// The first failure. A file that has failed takes and publishes nothing any more.
    pub fn failure(&self) -> Option<UploadError> {
        self.lock().failure.as_ref().map(|failure| failure.error.clone())
    }

    /// Forgets the failure of a file all of whose bytes are here, so that it can be published yet. Returns whether it could:
    /// where what it was copied from is gone there is nothing to wait for.
    pub fn clear_error(&self) -> bool {
        self.lock().clear_error()
    }

    /// Whether the file has lost its name.
    pub fn is_nameless(&self) -> bool {
        self.lock().is_nameless()
    }

    /// The key that the file is published under.
    pub fn key(&self) -> ObjectKey {
        self.lock().key.clone()
    }

    /// The attributes that the file would be published with now, the time of its last change among them.
    pub fn attributes(&self) -> ObjectAttributes {
        self.lock().metadata.all()
    }

    /// One user attribute, but for the time of the last change. Cheaper than all of them.
    pub fn user_attribute(&self, name: &str) -> Option<String> {
        self.lock().metadata.user_attribute(name)
    }

    /// Changes the attributes by `change`; they travel with the next publishing. An error leaves them as they are.
    pub fn change_attributes<E>(
        &self,
        change: impl FnOnce(ObjectAttributes) -> Result<ObjectAttributes, E>,
    ) -> Result<(), E> {
        self.lock().change_attributes(false, change)
    }

    /// The same, and sets the time of the last change, be it to what that was: no publishing moves it then.
    pub fn change_attributes_and_time<E>(
        &self,
        change: impl FnOnce(ObjectAttributes) -> Result<ObjectAttributes, E>,
    ) -> Result<(), E> {
        self.lock().change_attributes(true, change)
    }

    /// The content counts as changed just now, although all its bytes are what they were.
    pub fn touch(&self) {
        let mut state = self.lock();
        state.metadata.touch(self.uploader.clock.now());
        state.note_attributes();
    }

    /// Whether the time of the last change may be an earlier one once the file is published: an upload in parts has told one
    /// when it began.
    pub fn may_tell_another_time(&self) -> bool {
        let state = self.lock();
        state.session.is_some() && state.metadata.is_untold()
    }

    /// Whether nothing of the file is in the bucket or on its way there, and all of it would go with one PUT.
    pub fn is_only_here(&self) -> bool {
        let state = self.lock();
        let fits = state.content.size() <= self.uploader.ladder.first_bytes();
        fits && state.is_unsent() && !state.is_nameless() && state.failure.is_none()
    }

    /// Whether the object has all of the content, and only attributes are not published yet.
    pub fn lacks_only_attributes(&self) -> bool {
        self.lock().lacks_only_attributes()
    }

    /// Gives a file that has nothing in the bucket and nothing on its way there another key, and says whether it could.
    pub fn rename_unpublished(&self, key: &ObjectKey) -> bool {
        self.lock().rename_unpublished(key)
    }

    /// Takes as much of `data` as goes in without waiting. Never blocks.
    pub fn try_write(self: &Arc<OpenFile>, offset: u64, data: &[u8]) -> Result<Taken, UploadError> {
        match self.write_some(offset, data, &mut None)? {
            (taken, None) => {
                debug_assert_eq!(taken, data.len());
                Ok(Taken::All)
            }
            (taken, Some(_)) => Ok(Taken::Some(taken)),
        }
    }

    /// Takes all of `data`, waiting for memory, for parts to land, and for what else it needs.
    ///
    /// `done` counts the bytes that are in the file. Whoever drops the future leaves it at that: nothing comes later.
    pub async fn write(self: &Arc<OpenFile>, offset: u64, data: &[u8], done: &AtomicUsize) -> Result<(), UploadError> {
        self.until_done(|granted| {
            let before = done.load(Ordering::Relaxed);
            let (taken, wait) = self.write_some(offset + before as u64, &data[before..], granted)?;
            done.store(before + taken, Ordering::Relaxed);
            Ok(wait)
        })
        .await
    }

    /// Publishes in a task of its own, which goes on when the caller does not wait any longer.
    async fn publish_to_the_end(self: &Arc<OpenFile>) -> Result<(), UploadError> {
        let file = self.clone();
        let publish: BoxFuture<'static, Result<(), UploadError>> = Box::pin(async move { file.publish_step().await });
        match self.uploader.runtime.spawn(publish).await {
            Ok(result) => result,
            Err(panic) => {
                let error = format!("publishing ended early: {panic}");
                Err(StoreError::new(StoreErrorKind::Internal, "publish", self.key().as_str(), error).into())
            }
        }
    }

    /// Tries again after every wait until there is nothing to wait for.
    async fn until_done(
        self: &Arc<OpenFile>,
        mut attempt: impl FnMut(&mut Granted) -> Result<Option<Wait>, UploadError>,
    ) -> Result<(), UploadError> {
        let mut granted = Granted::None;
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            let wait = attempt(&mut granted)?;
            granted = None;
            match wait {
                None => return Ok(()),
                Some(Wait::Change) => changed.await,
                Some(Wait::Memory(bytes)) => granted = Some(self.uploader.memory.take(bytes).await),
                Some(Wait::Publish) => self.publish_to_the_end().await?,
            }
        }
    }

    /// One hold of the lock: how much was taken, and what the rest has to wait for.
    fn write_some(
        self: &Arc<OpenFile>,
        offset: u64,
        data: &[u8],
        granted: &mut Granted,
    ) -> Result<(usize, Option<Wait>), UploadError> {
        let mut state = self.lock();
        let end = offset.checked_add(data.len() as u64);
        let mut taken = 0;
        loop {
            if let Some(wait) = self.admit(&state, end)? {
                return Ok((taken, Some(wait)));
            }
            if taken == data.len() {
                return Ok((taken, None));
            }
            state.note_change(self.uploader.clock.now());
            state.note_bytes();
            state.content.extend(offset);
            let piece = &data[taken..data.len().min(taken + TURN_BYTES)];
            let (bytes, wait) = self.take_piece(&mut state, offset + taken as u64, piece, granted);
            taken += bytes;
            self.send_what_is_full(&mut state);
            // Of a large file only when it is published: the check looks at all of it.
            #[cfg(debug_assertions)]
            if state.content.tail().count() < CHECKED_ALWAYS {
                state.content.check_invariants();
            }
            if wait.is_some() || taken == data.len() {
                return Ok((taken, wait));
            }
        }
    }

    /// Writes until something has to be waited for.
    fn take_piece(&self, state: &mut State, offset: u64, data: &[u8], granted: &mut Granted) -> (usize, Option<Wait>) {
        let mut taken = 0;
        while taken < data.len() {
            let mut wanted = 0;
            let mut take = |bytes| {
                wanted = bytes;
                // What was waited for may have become needless, and something larger is needed now.
                let granted = granted.take_if(|block| block.len() >= bytes);
                granted.or_else(|| self.uploader.memory.try_take(bytes))
            };
            match state.content.write(offset + taken as u64, &data[taken..], &mut take) {
                Ok(0) => return (taken, Some(Wait::Memory(wanted))),
                Ok(bytes) => taken += bytes,
                Err(NotHeld) => return (taken, Some(Wait::Publish)),
            }
        }
        (taken, None)
    }

    /// Whether the content may be changed up to `end` (`None` for one beyond all numbers), or what has to be waited for
    /// before.
    fn admit(&self, state: &State, end: Option<u64>) -> Result<Option<Wait>, UploadError> {
        state.expect_sound()?;
        let limits = self.uploader.limits();
        if end.is_none_or(|end| end > limits.object_bytes_max) {
            return Err(UploadError::TooLarge { key: state.key.to_string(), bytes_max: limits.object_bytes_max });
        }
        if state.is_publishing() {
            return Ok(Some(Wait::Change));
        }
        let part_count = state.content.part_count();
        let numbers_are_used_up =
            part_count > 0 && part_count as u64 + state.reserve(limits.part_bytes_max) >= limits.part_count_max;
        // What is wanted at other places of the base too cannot wait for a later step, and so must fit one plan.
        let is_intricate =
            state.content.tail().count() as u64 > limits.part_count_max / 4 && state.content.refers_elsewhere();
        if state.must_replan || numbers_are_used_up || is_intricate {
            return Ok(Some(Wait::Publish));
        }
        if state.content.outstanding() >= 2 * self.uploader.options.concurrency {
            return Ok(Some(Wait::Change));
        }
        Ok(None)
    }

    fn send_what_is_full(self: &Arc<OpenFile>, state: &mut State) {
        // What has no name leaves only when memory runs short.
        if !state.is_nameless() {
            state.content.seal_stream(&self.uploader.rules());
        }
        self.dispatch(state);
    }

    /// Sets the length of the file: cuts it, or lets it grow by a hole.
    pub async fn truncate(self: &Arc<OpenFile>, len: u64) -> Result<(), UploadError> {
        if len == self.size() {
            return self.lock().expect_sound();
        }
        self.change(len, |State { content, metadata, .. }| {
            if len >= content.size() {
                content.extend(len);
                return Ok(());
            }
            if len == 0 {
                metadata.forget_bytes();
            }
            content.truncate(len)
        })
        .await
    }

    /// Makes a hole of `range`, which may end behind the file, and which makes the file longer only if `grows`.
    pub async fn zero(self: &Arc<OpenFile>, range: Range<u64>, grows: bool) -> Result<(), UploadError> {
        self.change(range.end, |State { content, .. }| {
            if grows {
                content.extend(range.end);
            }
            let end = range.end.min(content.size());
            if range.start >= end {
                return Ok(());
            }
            content.replace(range.start..end, vec![Extent { len: end - range.start, matter: Matter::Zero }])
        })
        .await
    }

    /// Puts the bytes of `range` of the object `source` at `offset`, without moving them.
    pub async fn copy_from(
        self: &Arc<OpenFile>,
        source: &StoredObject,
        range: ByteRange,
        offset: u64,
    ) -> Result<(), UploadError> {
        self.uploader.register_copier(self);
        self.change(offset + range.len(), |state| {
            state.note_bytes();
            let State { content, key, .. } = state;
            let is_base = |base: &Version| base.etag == source.version.etag;
            let is_own = content.base.as_ref().is_some_and(is_base) && *key == source.key;
            let source = if is_own { Source::Base } else { Source::Other(Arc::new(source.clone())) };
            let extent = Extent { len: range.len(), matter: Matter::stored(source, range.start()) };
            content.extend(offset);
            content.replace(offset..offset + range.len(), vec![extent])
        })
        .await
    }

    /// Puts what is in `range`, within the file, at `offset` too. The two do not overlap.
    pub async fn copy_within(self: &Arc<OpenFile>, range: Range<u64>, offset: u64) -> Result<(), UploadError> {
        self.change(offset + (range.end - range.start), |State { content, .. }| {
            // The file may have been cut since the range was chosen.
            let range = range.start..range.end.min(content.size());
            if range.is_empty() {
                return Ok(());
            }
            let extents = content.extents(range.clone())?;
            content.extend(offset);
            content.replace(offset..offset + (range.end - range.start), extents)
        })
        .await
    }

    /// Changes the content up to `end` without taking memory, after publishing it if it has to be readable for that.
    async fn change(
        self: &Arc<OpenFile>,
        end: u64,
        mut change: impl FnMut(&mut State) -> Result<(), NotHeld>,
    ) -> Result<(), UploadError> {
        self.until_done(|_| {
            let mut state = self.lock();
            if let Some(wait) = self.admit(&state, Some(end))? {
                return Ok(Some(wait));
            }
            let changed = change(&mut state);
            state.note_change(self.uploader.clock.now());
            if state.content.part_count() == 0 {
                // An upload without parts cannot be completed.
                self.give_up_session(&mut state);
            }
            #[cfg(debug_assertions)]
            state.content.check_invariants();
            self.dispatch(&mut state);
            Ok(changed.err().map(|NotHeld| Wait::Publish))
        })
        .await
    }

    /// Where the bytes of `start..end` can be read, clipped to the file.
    pub fn segments(&self, start: u64, end: u64) -> Vec<Segment> {
        let state = self.lock();
        ByteRange::new(start, end.min(state.content.size()))
            .map_or_else(Vec::new, |range| state.content.segments(range))
    }

    /// The first byte at or behind `offset` that is data, or that is in a hole, the end of the file among the holes;
    /// `None` if there is none.
    pub fn find(&self, offset: u64, hole: bool) -> Option<u64> {
        self.lock().content.find(offset, hole)
    }

    /// Whether the file is being published or moved right now.
    pub fn is_publishing(&self) -> bool {
        self.lock().is_publishing()
    }

    /// Keeps the file from being published or moved until the guard is dropped. Writing goes on.
    pub async fn hold_still(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.publishing.lock().await
    }

    /// Bytes of it that are in memory.
    pub fn held_bytes(&self) -> u64 {
        self.lock().content.held_bytes()
    }

    /// Bytes that publishing this file would get out of the memory.
    pub(super) fn publishable_bytes(&self) -> u64 {
        self.lock().publishable_bytes()
    }

    /// Gives back what is only kept for convenience. Skips a file that is busy right now: the caller may hold the lock.
    pub(super) fn release_idle(&self) {
        if let Ok(mut state) = self.state.try_lock() {
            state.release_idle();
        }
    }

    /// Gives back what is only kept for convenience, and sends what is large enough to be a part, even if the file might
    /// have been a single PUT.
    pub(super) fn relieve(self: &Arc<OpenFile>) {
        let mut state = self.lock();
        state.release_idle();
        let State { failure, content, .. } = &mut *state;
        if let Some(Failure { is_emptied, .. }) = failure {
            content.drop_bytes();
            *is_emptied = true;
        } else if state.lacks_content() && !state.is_publishing() && !state.must_replan {
            state.content.seal_available(&self.uploader.rules());
            self.dispatch(&mut state);
        }
    }

    /// Publishes what there is, in the background, to get it out of the memory.
    pub(super) fn publish_in_background(self: Arc<OpenFile>) {
        let runtime = self.uploader.runtime.clone();
        // Boxed, because publishing one file may begin that of another: without an end the type would have no size.
        let publish: BoxFuture<'static, ()> = Box::pin(async move {
            // A failure stays with the file, whose handles are told.
            if self.publish_step().await.is_ok() {
                self.release_idle();
            }
        });
        runtime.spawn(publish);
    }
}
