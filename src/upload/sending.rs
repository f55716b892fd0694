//! Parts on their way: begun when they are sealed, acknowledged in any order.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, OnceCell};

use super::body::{Chunk, Wanted, chunks};
use super::content::{Check, Fetch, Job, Outgoing};
use super::error::UploadError;
use super::hedge::{Hedges, Sendable};
use super::session::{Session, Upload, is_same};
use super::state::{Failure, State};
use super::transfers::{Flight, Transfers};
use crate::object::{ByteRange, Checksum, PartNumber, StoredObject, UploadId, UploadedPart};
use crate::stats::counting_repeats;
use crate::store::{Op, Source, StoreError, StoreErrorKind};

/// What is sent of one file: its state, and the tasks that send parts of it, which go on without whoever began them.
pub(super) struct Sender {
    pub(super) transfers: Arc<Transfers>,
    /// Std mutex: guards everything that a write touches; never held across an await, sections copy at most 1 MiB. Level 7 in
    /// the order of locks.
    state: Mutex<State>,
    /// Told whenever something changed that somebody may wait for: a part landed, a publishing ended, a failure.
    pub(super) changed: Notify,
}

/// A part ready to be sent or copied.
enum Task {
    Upload(Vec<Chunk>, Vec<(Wanted, Check)>),
    Copy(StoredObject, ByteRange),
}

/// A part that is at the service, with the checksums of what was fetched for it.
struct SentPart {
    part: UploadedPart,
    fetched: Vec<Checksum>,
}

impl Sender {
    pub(super) fn new(transfers: &Arc<Transfers>, state: State) -> Arc<Sender> {
        Arc::new(Sender { transfers: transfers.clone(), state: Mutex::new(state), changed: Notify::new() })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // A handler that panicked answered an error; what it left is checked at Complete by checksum and size.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the state whenever something has changed, until `look` finds what it waits for.
    pub(super) async fn until<T>(&self, mut look: impl FnMut(&mut State) -> Option<T>) -> T {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            let found = look(&mut self.lock());
            if let Some(found) = found {
                return found;
            }
            changed.await;
        }
    }

    /// Gives back what is only kept for convenience. Skips a file that is busy right now: the caller may hold the lock.
    pub(super) fn release_idle(&self) {
        if let Ok(mut state) = self.state.try_lock() {
            state.release_idle();
        }
    }

    /// Gives back what is only kept for convenience, and sends what is large enough to be a part, even if the file might
    /// have been a single PUT. What is on its way of a file gives its memory back by itself, and parts that end where they
    /// always do are those that a mount that died had sent: a file that is written again meets them.
    pub(super) fn relieve(self: &Arc<Sender>) {
        let mut state = self.lock();
        state.release_idle();
        let State { failure, content, .. } = &mut *state;
        if let Some(Failure { is_emptied, .. }) = failure {
            content.drop_bytes();
            *is_emptied = true;
        } else if state.may_send_early() {
            state.content.seal_available(&self.transfers.rules());
            self.dispatch(&mut state);
        }
    }

    /// Sends every sealed part that is not on its way, as many at once as the options allow.
    pub(super) fn dispatch(self: &Arc<Sender>, state: &mut State) {
        if state.must_replan || state.expect_wanted().is_err() {
            return;
        }
        while state.busy.len() < self.transfers.options.concurrency {
            let State { content, busy, .. } = &mut *state;
            let Some(Outgoing { index, version, job }) = content.parts.next_outgoing(|index| busy.contains(&index))
            else {
                return;
            };
            let resolve = |source: &_| state.resolve(source);
            let want = |fetch: &Fetch| Some((Wanted::new(fetch, resolve(&fetch.source)?), fetch.check));
            let task = match job {
                Job::Upload(extents, fetches) => {
                    let wanted: Option<Vec<_>> = fetches.iter().map(want).collect();
                    wanted.map(|wanted| Task::Upload(chunks(extents, resolve), wanted))
                }
                Job::Copy { source, range } => resolve(&source).map(|object| Task::Copy(object, range)),
            };
            let task = task.expect("what is stored in the base is there only while there is a base");
            state.busy.insert(index);
            // Counted from here on and not from when the task runs, or a shortage would look like a standstill.
            let (session, flight) = (self.begin_session(state), self.transfers.flight());
            let (sender, repeats) = (self.clone(), session.repeats.clone());
            let sent = async move { sender.send_part(session, index, version, task, flight).await };
            self.transfers.runtime.spawn(counting_repeats(repeats, sent));
        }
    }

    /// The upload for parts to belong to. Initiate itself is sent by the first that needs it.
    pub(super) fn begin_session(&self, state: &mut State) -> Arc<Session> {
        let State { session, key, metadata, .. } = state;
        let begin = || {
            let (upload, hedges, repeats) = (OnceCell::new(), Hedges::default(), Arc::default());
            let began = self.transfers.clock.now();
            Arc::new(Session { key: key.clone(), upload, attributes: metadata.all(), hedges, began, repeats })
        };
        session.get_or_insert_with(begin).clone()
    }

    /// `flight` goes last of all: with it whoever waits for memory may look for help again.
    async fn send_part(
        self: Arc<Sender>,
        session: Arc<Session>,
        index: usize,
        version: u64,
        task: Task,
        flight: Flight,
    ) {
        let result = self.make_part(&session, index, task).await;
        {
            let mut state = self.lock();
            let is_running = state.is_running(&session);
            state.busy.remove(&index);
            match result {
                Ok(SentPart { part, fetched }) if is_running => {
                    state.content.parts.acknowledge(index, version, part, &fetched);
                    let keep_bytes = self.transfers.keep_bytes();
                    if !state.is_publishing() {
                        state.content.parts.release_acknowledged(keep_bytes);
                    }
                }
                Err(UploadError::Store(error)) if is_running && error.kind == StoreErrorKind::TooManyParts => {
                    // The service takes fewer parts than it is known to: make do with those that it takes.
                    log::warn!("{error}; going on with {index} parts at most");
                    self.transfers.limit_part_count(index as u64);
                    state.must_replan = true;
                }
                // It is sent when the file is wanted again, if it ever is.
                Err(UploadError::Unwanted { .. }) => {}
                Err(error) if is_running => self.fail(&mut state, error),
                // The upload was given up, and nobody needs the part any more.
                Ok(_) | Err(_) => {}
            }
            // Also when this was a part of an upload that was given up: those of the next have waited for it.
            self.dispatch(&mut state);
        }
        // Before the others are told: one of them may be waiting to abort the upload.
        drop(session);
        self.changed.notify_waiters();
        drop(flight);
    }

    async fn make_part(
        self: &Arc<Sender>,
        session: &Arc<Session>,
        index: usize,
        task: Task,
    ) -> Result<SentPart, UploadError> {
        self.expect_running(session)?;
        let upload = self.upload(session).await?;
        let number = session.number(index, &self.transfers.limits())?;
        session.hedges.until_ended(index).await;
        let landed = upload.take_landed(number);
        match task {
            Task::Upload(chunks, mut wanted) => {
                let is_sent_over = wanted.iter().any(|(_, check)| *check == Check::Apart);
                for (wanted, _) in wanted.iter_mut().filter(|(_, check)| *check == Check::Apart) {
                    // Into the part that is sent over it: nobody but us will know that it was there.
                    let copied = self.copy_part(session, &upload.id, number, &wanted.object, wanted.range).await?;
                    wanted.checksum = copied.crc64;
                }
                let wanted: Vec<Wanted> = wanted.into_iter().map(|(wanted, _)| wanted).collect();
                let loaded = self.transfers.load(chunks, &wanted).await?;
                let is_same = |part: &UploadedPart| is_same(part, loaded.body.len(), loaded.checksum);
                if let Some(part) = landed.filter(|part| !is_sent_over && is_same(part)) {
                    return Ok(SentPart { part, fetched: loaded.fetched });
                }
                // The semaphore is never closed.
                let _permit = self.transfers.wire.acquire().await;
                self.expect_running(session)?;
                let part = Sendable { index, number, body: loaded.body, checksum: loaded.checksum };
                let sent = self.send(session, &upload.id, part).await?;
                let part = UploadedPart { crc64: Some(loaded.checksum), ..sent };
                Ok(SentPart { part, fetched: loaded.fetched })
            }
            Task::Copy(object, range) => {
                let part = self.copy_part(session, &upload.id, number, &object, range).await?;
                Ok(SentPart { part, fetched: Vec::new() })
            }
        }
    }

    async fn copy_part(
        &self,
        session: &Session,
        upload: &UploadId,
        number: PartNumber,
        object: &StoredObject,
        range: ByteRange,
    ) -> Result<UploadedPart, StoreError> {
        self.transfers.store.upload_part_copy(&session.key, upload, number, &Source::of(object), range).await
    }

    /// An error if the upload was given up: what has not begun by then is for nothing.
    fn expect_running(&self, session: &Arc<Session>) -> Result<(), UploadError> {
        let state = self.lock();
        state.expect_wanted()?;
        if state.is_running(session) {
            return Ok(());
        }
        let message = "the upload was given up";
        Err(StoreError::new(StoreErrorKind::NoSuchUpload, Op::UploadPart, session.key.as_str(), message).into())
    }

    /// What an upload is at the service, where it is begun if it was not yet.
    pub(super) async fn upload<'s>(self: &Arc<Sender>, session: &'s Arc<Session>) -> Result<&'s Upload, UploadError> {
        let begin = || async {
            // Those who waited for an attempt that failed do not try again.
            self.lock().expect_sound()?;
            let begun = Upload::begin(&*self.transfers.store, &session.key, &session.attributes).await;
            begun.map_err(|error| {
                let mut state = self.lock();
                if state.is_running(session) {
                    self.fail(&mut state, error.clone().into());
                }
                error.into()
            })
        };
        session.upload.get_or_try_init(begin).await
    }

    /// Notes a failure: the first one stays, nothing more is sent, and the upload is aborted.
    pub(super) fn fail(self: &Arc<Sender>, state: &mut State, error: UploadError) {
        if state.failure.is_none() {
            log::error!("{}: not published: {error}", state.key);
            state.failure = Some(Failure { error, is_emptied: false });
        }
        self.give_up_session(state);
    }

    /// Aborts the running upload as soon as none of its requests is on its way any more.
    pub(super) fn give_up_session(self: &Arc<Sender>, state: &mut State) {
        let Some(session) = state.session.take() else { return };
        let sender = self.clone();
        let (giving_up, mut ending) = self.transfers.giving_up();
        self.transfers.runtime.spawn(async move {
            let _giving_up = giving_up;
            loop {
                let mut changed = std::pin::pin!(sender.changed.notified());
                changed.as_mut().enable();
                // An abort that overtakes a part may leave the part behind (`cos-api.md` 4.6).
                if Arc::strong_count(&session) == 1 {
                    break;
                }
                tokio::select! {
                    () = changed => {}
                    // No part can come in behind the end of this process, and it may not be there when the last one has.
                    () = ending.begun(), if session.upload.get().is_some() => break,
                }
            }
            let (key, Some(upload)) = (&session.key, session.upload.get()) else { return };
            match sender.transfers.store.abort(key, &upload.id).await {
                Ok(()) => log::info!("{key}: gave up upload {}", upload.id),
                Err(error) => {
                    log::error!("{key}: upload {} could not be aborted and stays unfinished: {error}", upload.id)
                }
            }
        });
    }
}
