//! One file that is open for writing: taking bytes from the kernel and giving them back.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

pub use super::content::{Base, Segment};
use super::content::{Content, NotHeld};
use super::part_buffer::{PartBuffer, SLAB_BYTES};
use super::sending::Session;
use super::uploader::{UploadError, Uploader};
use crate::memory::Block;
use crate::store::{GetRequest, StoreError, StoreErrorKind};
use crate::wire::limits::MIB;
use crate::wire::{ByteRange, ObjectAttributes, ObjectKey};

/// The content of a file that is open for writing, shared by all its handles.
pub struct OpenFile {
    pub(super) uploader: Arc<Uploader>,
    /// Std mutex: guards everything that a write touches; never held across an await, sections copy at most 1 MiB.
    state: Mutex<State>,
    /// Told whenever something changed that somebody may wait for: a part landed, a publishing ended, a failure.
    pub(super) changed: Notify,
    /// One publishing at a time. Tokio's mutex because it is held while requests are on their way.
    pub(super) publishing: tokio::sync::Mutex<()>,
}

pub(super) struct State {
    pub(super) key: ObjectKey,
    pub(super) attributes: ObjectAttributes,
    pub(super) content: Content,
    /// The running multipart upload.
    pub(super) session: Option<Arc<Session>>,
    /// Indices of parts that are on their way. A number in here is not sent a second time before the first answer:
    /// the service keeps whichever comes in last.
    pub(super) busy: BTreeSet<usize>,
    /// There is something that is not in the bucket: bytes, a new length, or the file itself.
    pub(super) dirty: bool,
    /// The attributes differ from the published object's.
    pub(super) attributes_changed: bool,
    /// Writers wait until the publishing is over.
    pub(super) is_publishing: bool,
    /// The first failure; it stays.
    pub(super) failure: Option<UploadError>,
    /// The name is gone: nothing is published any more.
    pub(super) discarded: bool,
    /// How often the object was made, rewritten or moved.
    pub(super) serial: u64,
    /// The prefix was brought into memory for somebody who has not come to change it yet.
    pub(super) is_awaited: bool,
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
    pub base: Base,
    /// The metadata it has.
    pub attributes: ObjectAttributes,
    /// How often this open file has made, rewritten or moved the object; 0 for one that it found.
    pub serial: u64,
}

/// What a writer has to wait for.
enum Wait {
    Memory,
    Change,
    LoadBase,
    Publish,
    /// Nothing; it just has taken the lock for long enough.
    Turn,
}

/// Blocks that a writer has waited for. They are its own, so that nobody who is short takes them away again.
type Granted = Vec<Block>;

/// Zeros that a hole is filled with, a piece at a time.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// The most zeros written in one hold of the lock, in bytes: a few milliseconds.
const ZEROS_BYTES_MAX: u64 = 8 * MIB;

impl OpenFile {
    /// A file that is new or emptied: nothing of what may be in the bucket under `key` is kept. Dirty from the start.
    pub fn empty(uploader: &Arc<Uploader>, key: ObjectKey, attributes: ObjectAttributes) -> Arc<OpenFile> {
        OpenFile::with_content(uploader, key, attributes, Content::of(None), true)
    }

    /// A file that is the object `base` under `key`.
    pub fn existing(
        uploader: &Arc<Uploader>,
        key: ObjectKey,
        attributes: ObjectAttributes,
        base: Base,
    ) -> Arc<OpenFile> {
        OpenFile::with_content(uploader, key, attributes, Content::of(Some(base)), false)
    }

    fn with_content(
        uploader: &Arc<Uploader>,
        key: ObjectKey,
        attributes: ObjectAttributes,
        content: Content,
        dirty: bool,
    ) -> Arc<OpenFile> {
        let state = State {
            key,
            attributes,
            content,
            session: None,
            busy: BTreeSet::new(),
            dirty,
            attributes_changed: false,
            is_publishing: false,
            failure: None,
            discarded: false,
            serial: 0,
            is_awaited: false,
        };
        let (uploader, state, publishing) = (uploader.clone(), Mutex::new(state), tokio::sync::Mutex::new(()));
        let file = Arc::new(OpenFile { uploader, state, changed: Notify::new(), publishing });
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

    /// Whether something is not in the bucket yet.
    pub fn is_dirty(&self) -> bool {
        let state = self.lock();
        (state.dirty || state.attributes_changed) && !state.discarded && state.failure.is_none()
    }

    /// The object as last published, and the attributes it has or will have.
    pub fn published(&self) -> Option<PublishedFile> {
        let state = self.lock();
        let (attributes, serial) = (&state.attributes, state.serial);
        state.content.base.clone().map(|base| PublishedFile { base, attributes: attributes.clone(), serial })
    }

    /// The first failure. A file that has failed takes and publishes nothing any more.
    pub fn failure(&self) -> Option<UploadError> {
        self.lock().failure.clone()
    }

    /// Whether the file has lost its name.
    pub fn is_discarded(&self) -> bool {
        self.lock().discarded
    }

    /// The key that the file is published under.
    pub fn key(&self) -> ObjectKey {
        self.lock().key.clone()
    }

    /// The attributes that the file is published with.
    pub fn attributes(&self) -> ObjectAttributes {
        self.lock().attributes.clone()
    }

    /// Changes the attributes; they travel with the next publishing.
    pub fn set_attributes(&self, attributes: ObjectAttributes) {
        let mut state = self.lock();
        state.attributes_changed |= state.attributes != attributes;
        state.attributes = attributes;
    }

    /// Forgets one user attribute, as if nobody had set it.
    pub fn clear_user_attribute(&self, name: &str) {
        let mut state = self.lock();
        state.attributes_changed |= state.attributes.user.remove(name).is_some();
    }

    /// Gives a file that has nothing in the bucket and nothing on its way there another key, and says whether it could.
    pub fn rename_unpublished(&self, key: &ObjectKey) -> bool {
        let mut state = self.lock();
        let movable = state.content.base.is_none() && state.session.is_none() && !state.is_publishing;
        if movable {
            state.key = key.clone();
        }
        movable
    }

    /// Takes as much of `data` as goes in without waiting. Never blocks.
    pub fn try_write(self: &Arc<OpenFile>, offset: u64, data: &[u8]) -> Result<Taken, UploadError> {
        match self.write_some(offset, data, &mut Granted::new())? {
            (taken, None) => {
                debug_assert_eq!(taken, data.len());
                Ok(Taken::All)
            }
            (taken, Some(_)) => Ok(Taken::Some(taken)),
        }
    }

    /// Takes all of `data`, waiting for memory, for parts to land, and for what else it needs.
    pub async fn write(self: &Arc<OpenFile>, offset: u64, data: &[u8]) -> Result<(), UploadError> {
        let (mut done, mut granted) = (0, Granted::new());
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            let (taken, wait) = self.write_some(offset + done as u64, &data[done..], &mut granted)?;
            done += taken;
            match wait {
                None => return Ok(()),
                Some(Wait::Change) => {
                    granted.clear();
                    changed.await;
                }
                Some(wait) => self.wait(wait, &mut granted).await?,
            }
        }
    }

    async fn wait(self: &Arc<OpenFile>, wait: Wait, granted: &mut Granted) -> Result<(), UploadError> {
        granted.clear();
        match wait {
            Wait::Memory => granted.push(self.uploader.memory.take(SLAB_BYTES).await),
            Wait::LoadBase => *granted = self.load_base(1).await?,
            // Nothing is published of a file that has lost its name, however long anybody waits.
            Wait::Publish if self.lock().discarded => return Err(self.no_place(&self.lock())),
            Wait::Publish => self.publish().await?,
            Wait::Change | Wait::Turn => tokio::task::yield_now().await,
        }
        Ok(())
    }

    /// One hold of the lock: how much was taken, and what the rest has to wait for.
    fn write_some(
        self: &Arc<OpenFile>,
        offset: u64,
        data: &[u8],
        granted: &mut Granted,
    ) -> Result<(usize, Option<Wait>), UploadError> {
        let mut state = self.lock();
        if let Some(failure) = &state.failure {
            return Err(failure.clone());
        }
        if data.is_empty() {
            return Ok((0, None));
        }
        let limit = self.uploader.store.limits().object_bytes_max;
        if offset.checked_add(data.len() as u64).is_none_or(|end| end > limit) {
            return Err(UploadError::TooLarge { key: state.key.to_string(), bytes_max: limit });
        }
        if state.is_publishing {
            return Ok((0, Some(Wait::Change)));
        }
        state.is_awaited = false;
        let mut taken = 0;
        let mut wait = self.fill_to(&mut state, offset, granted)?;
        while wait.is_none() && taken < data.len() {
            let at = offset + taken as u64;
            let (bytes, stopped) = if at < state.content.size() {
                self.overwrite(&mut state, at, &data[taken..], granted)?
            } else {
                self.append(&mut state, &data[taken..], granted)?
            };
            taken += bytes;
            wait = stopped;
        }
        self.dispatch(&mut state);
        #[cfg(debug_assertions)]
        state.content.check_invariants();
        Ok((taken, wait))
    }

    /// Fills a hole between the end of the file and `offset` with zeros.
    fn fill_to(
        self: &Arc<OpenFile>,
        state: &mut State,
        offset: u64,
        granted: &mut Granted,
    ) -> Result<Option<Wait>, UploadError> {
        let mut budget = ZEROS_BYTES_MAX;
        while state.content.size() < offset {
            if budget == 0 {
                return Ok(Some(Wait::Turn));
            }
            let zeros = (offset - state.content.size()).min(budget).min(ZEROS.len() as u64);
            let (bytes, wait) = self.append(state, &ZEROS[..zeros as usize], granted)?;
            budget -= bytes as u64;
            if wait.is_some() {
                return Ok(wait);
            }
        }
        Ok(None)
    }

    fn append(
        self: &Arc<OpenFile>,
        state: &mut State,
        data: &[u8],
        granted: &mut Granted,
    ) -> Result<(usize, Option<Wait>), UploadError> {
        if self.must_hold_base(state) {
            return Ok((0, Some(Wait::LoadBase)));
        }
        let copies = state.copy_count(self.uploader.store.limits().part_bytes_max);
        if state.content.at_part_boundary() {
            if !state.discarded && state.content.outstanding() >= 2 * self.uploader.options.concurrency {
                self.dispatch(state);
                return Ok((0, Some(Wait::Change)));
            }
            if state.content.part_count() as u64 + copies >= self.uploader.store.limits().part_count_max {
                return Ok((0, Some(Wait::Publish)));
            }
        }
        let mut room = if state.discarded { self.room_without_name(state) } else { u64::MAX };
        let mut take = || {
            room = room.checked_sub(1)?;
            granted.pop().or_else(|| self.uploader.memory.try_take(SLAB_BYTES))
        };
        let taken = state.content.append(data, &self.uploader.ladder, copies, &mut take);
        state.dirty |= taken > 0;
        match taken {
            0 if room == 0 => Err(self.no_place(state)),
            0 => Ok((0, Some(Wait::Memory))),
            taken => Ok((taken, None)),
        }
    }

    fn overwrite(
        self: &Arc<OpenFile>,
        state: &mut State,
        offset: u64,
        data: &[u8],
        granted: &mut Granted,
    ) -> Result<(usize, Option<Wait>), UploadError> {
        let mut take = || granted.pop().or_else(|| self.uploader.memory.try_take(SLAB_BYTES));
        match state.content.overwrite(offset, data, &mut take) {
            Ok(taken) => {
                state.dirty |= taken > 0;
                Ok((taken, (taken == 0).then_some(Wait::Memory)))
            }
            Err(NotHeld) => Ok((0, Some(self.reach(state, offset)?))),
        }
    }

    /// How the bytes at `offset`, which are only at the service, come into reach; an error if they do not.
    fn reach(&self, state: &State, offset: u64) -> Result<Wait, UploadError> {
        if state.content.size() > self.uploader.ladder.first_bytes() {
            return Err(UploadError::NotHeld { key: state.key.to_string(), offset });
        }
        Ok(if state.content.part_count() == 0 { Wait::LoadBase } else { Wait::Publish })
    }

    /// Blocks that a file which has lost its name may still take.
    fn room_without_name(&self, state: &State) -> u64 {
        self.uploader.keep_bytes_max().saturating_sub(state.content.held_bytes()) / SLAB_BYTES as u64
    }

    fn no_place(&self, state: &State) -> UploadError {
        UploadError::NoPlace { key: state.key.to_string(), bytes_max: self.uploader.keep_bytes_max() }
    }

    /// A prefix that is too short to be a part copy must be in memory before anything follows it.
    fn must_hold_base(&self, state: &State) -> bool {
        (1..self.uploader.store.limits().part_bytes_min).contains(&state.content.base_len)
    }

    /// Sets the length of the file: cuts it, or lets it grow by zeros.
    pub async fn truncate(self: &Arc<OpenFile>, len: u64) -> Result<(), UploadError> {
        let mut granted = Granted::new();
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            match self.truncate_some(len, &mut granted)? {
                None => return Ok(()),
                Some(Wait::Change) => {
                    granted.clear();
                    changed.await;
                }
                Some(wait) => self.wait(wait, &mut granted).await?,
            }
        }
    }

    fn truncate_some(self: &Arc<OpenFile>, len: u64, granted: &mut Granted) -> Result<Option<Wait>, UploadError> {
        let mut state = self.lock();
        if let Some(failure) = &state.failure {
            return Err(failure.clone());
        }
        let limit = self.uploader.store.limits().object_bytes_max;
        if len > limit {
            return Err(UploadError::TooLarge { key: state.key.to_string(), bytes_max: limit });
        }
        if state.is_publishing {
            return Ok(Some(Wait::Change));
        }
        state.is_awaited = false;
        let size = state.content.size();
        if len >= size {
            let wait = self.fill_to(&mut state, len, granted)?;
            state.dirty |= len > size;
            self.dispatch(&mut state);
            return Ok(wait);
        }
        if len <= state.content.base_len {
            // No part is left of the upload, and one without parts cannot be completed.
            self.give_up_session(&mut state);
        }
        if state.content.truncate(len).is_err() {
            // The cut goes through a part that is only at the service: make it an object, which can be cut.
            return Ok(Some(Wait::Publish));
        }
        state.dirty = true;
        #[cfg(debug_assertions)]
        state.content.check_invariants();
        Ok(None)
    }

    /// Where the bytes of `start..end` can be read, clipped to the file.
    pub fn segments(&self, start: u64, end: u64) -> Vec<Segment> {
        let state = self.lock();
        ByteRange::new(start, end.min(state.content.size()))
            .map_or_else(Vec::new, |range| state.content.segments(range))
    }

    /// Brings the prefix that is still the published object into memory, compared with the object's checksum where all
    /// of the object is small enough to be read.
    ///
    /// Returns `spare_blocks` blocks. One is enough for the next write to get on: without it, it could wait for memory
    /// that it gets by giving up the prefix again.
    pub(super) async fn load_base(self: &Arc<OpenFile>, spare_blocks: u64) -> Result<Vec<Block>, UploadError> {
        let (key, base, len) = {
            let state = self.lock();
            let Some(base) = state.content.base.clone().filter(|_| state.content.part_count() == 0) else {
                return Ok(Vec::new());
            };
            (state.key.clone(), base, state.content.base_len)
        };
        if len == 0 {
            return Ok(Vec::new());
        }
        let is_whole = base.size <= self.uploader.ladder.first_bytes();
        let wanted = if is_whole { base.size } else { len };
        let mut blocks = self.uploader.take_blocks(wanted.div_ceil(SLAB_BYTES as u64) + spare_blocks).await;
        let request =
            GetRequest { key: key.clone(), range: ByteRange::new(0, wanted), if_match: Some(base.etag.clone()) };
        let (bytes, told) = super::copying::read_all(&*self.uploader.store, request).await?;
        let mut buffer = PartBuffer::new();
        buffer.append(&bytes, &mut || blocks.pop());
        let expected = base.crc64.or(told).filter(|_| is_whole);
        if bytes.len() as u64 != wanted || expected.is_some_and(|expected| expected != buffer.crc64()) {
            let message = format!("{} bytes of {wanted}, with checksum {}", bytes.len(), buffer.crc64());
            return Err(StoreError::new(StoreErrorKind::Corrupted, "GetObject", key.as_str(), message).into());
        }
        let mut state = self.lock();
        let unchanged = state.content.part_count() == 0 && state.content.base_len == len;
        if unchanged && state.content.base.as_ref() == Some(&base) {
            buffer.truncate(usize::try_from(len).unwrap_or(usize::MAX));
            state.content.hold_base(buffer);
            state.is_awaited = spare_blocks > 0;
        }
        Ok(blocks)
    }

    /// Bytes that publishing this file would get out of the memory.
    pub(super) fn publishable_bytes(&self) -> u64 {
        let state = self.lock();
        let is_stuck = state.is_publishing || state.discarded || state.failure.is_some();
        if state.dirty && !is_stuck { state.content.held_bytes() } else { 0 }
    }

    /// Gives back what is only kept for convenience. Skips a file that is busy right now: the caller may hold the lock.
    pub(super) fn release_acknowledged(&self) {
        if let Ok(mut state) = self.state.try_lock() {
            state.release_acknowledged(0);
        }
    }

    /// Gives back what is only kept for convenience, and sends the open part if it is large enough to be one, even if
    /// the file might have been a single PUT.
    pub(super) fn relieve(self: &Arc<OpenFile>) {
        let mut state = self.lock();
        state.release_acknowledged(0);
        let kept_bytes = if state.failure.is_some() { 0 } else { self.uploader.keep_bytes_max() };
        if state.stuck_bytes() > kept_bytes {
            self.lose(&mut state);
        }
        if state.dirty && !state.is_publishing {
            state.content.seal(self.uploader.store.limits().part_bytes_min);
            self.dispatch_all(&mut state);
        }
    }

    /// Bytes that stay in memory until the file is closed, because it lost its name.
    pub(super) fn stuck_bytes(&self) -> u64 {
        self.lock().stuck_bytes()
    }

    /// Gives up bytes that cannot be published. Whoever has the file open is told from now on.
    pub(super) fn give_up(&self) {
        self.lose(&mut self.lock());
    }

    fn lose(&self, state: &mut State) {
        log::warn!("{}: bytes of a removed or failed file made way for others", state.key);
        state.failure.get_or_insert_with(|| UploadError::NoPlace {
            key: state.key.to_string(),
            bytes_max: self.uploader.keep_bytes_max(),
        });
        state.content.drop_buffers();
    }

    /// Publishes what there is, in the background, to get it out of the memory.
    pub(super) fn publish_step(self: Arc<OpenFile>) {
        let runtime = self.uploader.runtime.clone();
        runtime.spawn(async move {
            // A failure stays with the file, whose handles are told.
            if self.publish().await.is_ok() {
                self.release_acknowledged();
            }
        });
    }
}

impl State {
    /// Part numbers that the prefix takes up.
    pub(super) fn copy_count(&self, copy_bytes_max: u64) -> u64 {
        match &self.session {
            Some(session) => session.copies.len() as u64,
            None => self.content.base_len.div_ceil(copy_bytes_max),
        }
    }

    /// Bytes that cannot be got out of the memory by publishing.
    fn stuck_bytes(&self) -> u64 {
        let is_stuck = (self.discarded || self.failure.is_some()) && !self.is_publishing;
        if is_stuck { self.content.held_bytes() } else { 0 }
    }

    /// The object is now a copy of what it was, with `attributes`.
    pub(super) fn rest_on_copy(&mut self, base: Base, attributes: &ObjectAttributes) {
        self.content.base = Some(base);
        self.serial += 1;
        self.attributes_changed = self.attributes != *attributes;
    }

    /// Gives the buffers of acknowledged parts back until at most `keep_bytes` remain, and that of a file that is in the
    /// bucket as it is. What has lost its name is nowhere else, and stays.
    pub(super) fn release_acknowledged(&mut self, keep_bytes: u64) {
        if self.discarded {
            return;
        }
        self.content.release_acknowledged(keep_bytes);
        let is_idle = !self.dirty && !self.is_awaited && !self.is_publishing && self.session.is_none();
        if let Some(base) = self.content.base.clone().filter(|_| is_idle && keep_bytes == 0) {
            self.content.rest_on(base, false);
        }
    }
}
