//! Taking bytes from the kernel: into memory at once, and what does not go in at once after waiting for what it needs.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::BoxFuture;

use super::content::NotHeld;
use super::error::UploadError;
use super::extents::{Extent, ExtentSource, SourceObject};
use super::open_file::{OpenFile, Taken};
use super::piece::Piece;
use super::sending::Sender;
use super::state::State;
use super::transfers::Transfers;
use crate::memory::Block;
use crate::object::{ByteRange, StoredObject, Version};
use crate::store::{StoreError, StoreErrorKind};

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
    /// Takes as much of `data` as goes in without waiting. Never blocks.
    pub fn try_write(&self, offset: u64, data: &[u8]) -> Result<Taken, UploadError> {
        match write_some(&self.sender, offset, data, &mut None)? {
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
        until_done(self, |granted| {
            let before = done.load(Ordering::Relaxed);
            let (taken, wait) = write_some(&self.sender, offset + before as u64, &data[before..], granted)?;
            done.store(before + taken, Ordering::Relaxed);
            Ok(wait)
        })
        .await
    }

    /// Sets the length of the file: cuts it, or lets it grow by a hole.
    pub async fn truncate(self: &Arc<OpenFile>, len: u64) -> Result<(), UploadError> {
        if len == self.size() {
            return self.sender.lock().expect_sound();
        }
        change(self, len, |State { content, metadata, .. }| {
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
        change(self, range.end, |State { content, .. }| {
            if grows {
                content.extend(range.end);
            }
            let end = range.end.min(content.size());
            if range.start >= end {
                return Ok(());
            }
            content.replace(range.start..end, vec![Extent { len: end - range.start, source: ExtentSource::Zero }])
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
        change(self, offset + range.len(), |state| {
            state.note_bytes();
            let State { content, key, .. } = state;
            let is_base = |base: &Version| base.etag == source.version.etag;
            let is_own = content.base.as_ref().is_some_and(is_base) && *key == source.key;
            let source = if is_own { SourceObject::Base } else { SourceObject::Other(Arc::new(source.clone())) };
            let extent = Extent { len: range.len(), source: ExtentSource::stored(source, range.start()) };
            content.extend(offset);
            content.replace(offset..offset + range.len(), vec![extent])
        })
        .await
    }

    /// Puts what is in `range`, within the file, at `offset` too. The two do not overlap.
    pub async fn copy_within(self: &Arc<OpenFile>, range: Range<u64>, offset: u64) -> Result<(), UploadError> {
        change(self, offset + (range.end - range.start), |State { content, .. }| {
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
}

/// Tries again after every wait until there is nothing to wait for.
async fn until_done(
    file: &Arc<OpenFile>,
    mut attempt: impl FnMut(&mut Granted) -> Result<Option<Wait>, UploadError>,
) -> Result<(), UploadError> {
    let mut granted = Granted::None;
    loop {
        let mut changed = std::pin::pin!(file.sender.changed.notified());
        changed.as_mut().enable();
        let wait = attempt(&mut granted)?;
        granted = None;
        match wait {
            None => return Ok(()),
            Some(Wait::Change) => changed.await,
            Some(Wait::Memory(bytes)) => granted = Some(file.sender.transfers.memory.take(bytes).await),
            Some(Wait::Publish) => publish_to_the_end(file).await?,
        }
    }
}

/// Publishes in a task of its own, which goes on when the caller does not wait any longer.
async fn publish_to_the_end(file: &Arc<OpenFile>) -> Result<(), UploadError> {
    let publishing = file.clone();
    let publish: BoxFuture<'static, Result<(), UploadError>> = Box::pin(async move { publishing.publish_step().await });
    match file.sender.transfers.runtime.spawn(publish).await {
        Ok(result) => result,
        Err(panic) => {
            let error = format!("publishing ended early: {panic}");
            Err(StoreError::new(StoreErrorKind::Internal, None, file.key().as_str(), error).into())
        }
    }
}

/// One hold of the lock: how much was taken, and what the rest has to wait for.
fn write_some(
    sender: &Arc<Sender>,
    offset: u64,
    data: &[u8],
    granted: &mut Granted,
) -> Result<(usize, Option<Wait>), UploadError> {
    let mut state = sender.lock();
    let end = offset.checked_add(data.len() as u64);
    let mut taken = 0;
    loop {
        if let Some(wait) = admit(&sender.transfers, &state, end)? {
            return Ok((taken, Some(wait)));
        }
        if taken == data.len() {
            return Ok((taken, None));
        }
        state.note_change(sender.transfers.clock.now());
        state.note_bytes();
        state.content.extend(offset);
        let piece = &data[taken..data.len().min(taken + TURN_BYTES)];
        let (bytes, wait) = take_piece(&sender.transfers, &mut state, offset + taken as u64, piece, granted);
        taken += bytes;
        send_what_is_full(sender, &mut state);
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
fn take_piece(
    transfers: &Transfers,
    state: &mut State,
    offset: u64,
    data: &[u8],
    granted: &mut Granted,
) -> (usize, Option<Wait>) {
    let (mut taken, algorithm) = (0, transfers.checksum);
    while taken < data.len() {
        let mut wanted = 0;
        let mut take = |bytes| {
            wanted = bytes;
            // What was waited for may have become needless, and something larger is needed now.
            let granted = granted.take_if(|block| block.len() >= bytes);
            let block = granted.or_else(|| transfers.memory.try_take(bytes))?;
            Some(Piece::new(block, algorithm))
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
fn admit(transfers: &Transfers, state: &State, end: Option<u64>) -> Result<Option<Wait>, UploadError> {
    state.expect_sound()?;
    let limits = transfers.limits();
    if end.is_none_or(|end| end > limits.object_bytes_max) {
        return Err(UploadError::TooLarge { key: state.key.to_string(), bytes_max: limits.object_bytes_max });
    }
    if state.is_publishing() {
        return Ok(Some(Wait::Change));
    }
    let part_count = state.content.parts.count();
    let numbers_are_used_up =
        part_count > 0 && part_count as u64 + state.reserve(limits.part_bytes_max) >= limits.part_count_max;
    // What is wanted at other places of the base too cannot wait for a later step, and so must fit one plan.
    let is_intricate =
        state.content.tail().count() as u64 > limits.part_count_max / 4 && state.content.tail().refers_elsewhere();
    if state.must_replan || numbers_are_used_up || is_intricate {
        return Ok(Some(Wait::Publish));
    }
    if state.content.parts.outstanding() >= 2 * transfers.options.concurrency {
        return Ok(Some(Wait::Change));
    }
    Ok(None)
}

fn send_what_is_full(sender: &Arc<Sender>, state: &mut State) {
    // What has no name leaves only when memory runs short.
    if !state.is_nameless() {
        state.content.seal_stream(&sender.transfers.rules());
    }
    sender.dispatch(state);
}

/// Changes the content up to `end` without taking memory, after publishing it if it has to be readable for that.
async fn change(
    file: &Arc<OpenFile>,
    end: u64,
    mut change: impl FnMut(&mut State) -> Result<(), NotHeld>,
) -> Result<(), UploadError> {
    let sender = &file.sender;
    until_done(file, |_| {
        let mut state = sender.lock();
        if let Some(wait) = admit(&sender.transfers, &state, Some(end))? {
            return Ok(Some(wait));
        }
        let changed = change(&mut state);
        state.note_change(sender.transfers.clock.now());
        if state.content.parts.count() == 0 {
            // An upload without parts cannot be completed.
            sender.give_up_session(&mut state);
        }
        #[cfg(debug_assertions)]
        state.content.check_invariants();
        sender.dispatch(&mut state);
        Ok(changed.err().map(|NotHeld| Wait::Publish))
    })
    .await
}
