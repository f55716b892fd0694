//! Parts on their way: begun when they are full, acknowledged in any order.

use std::sync::Arc;

use tokio::sync::OnceCell;

use super::content::Outgoing;
use super::open_file::{OpenFile, State};
use super::uploader::{Flight, UploadError};
use crate::store::Body;
use crate::wire::{ByteRange, Crc64, ObjectAttributes, ObjectKey, PartNumber, UploadId, UploadedPart};

/// A running multipart upload. Whoever has a request of it on its way holds a clone of its `Arc`, which keeps it from
/// being aborted meanwhile.
pub(super) struct Session {
    pub(super) key: ObjectKey,
    /// Its id, once it was begun at the service.
    upload: OnceCell<UploadId>,
    /// The ranges of the base that become the parts 1 to `copies.len()`.
    pub(super) copies: Vec<ByteRange>,
    /// What is sent with Initiate.
    pub(super) attributes: ObjectAttributes,
}

impl OpenFile {
    /// Sends what is ready to leave. A file that may still turn out to be one part waits for its next byte, so that
    /// it can be one PUT.
    pub(super) fn dispatch(self: &Arc<OpenFile>, state: &mut State) {
        let may_be_one_put = state.session.is_none() && state.content.base_len == 0 && state.content.part_count() <= 1;
        if !may_be_one_put {
            self.dispatch_all(state);
        }
    }

    /// Sends every sealed part that is not on its way, as many at once as the options allow.
    pub(super) fn dispatch_all(self: &Arc<OpenFile>, state: &mut State) {
        if state.failure.is_some() || state.discarded {
            return;
        }
        while state.busy.len() < self.uploader.options.concurrency {
            let State { content, busy, .. } = &mut *state;
            let Some(outgoing) = content.next_outgoing(|index| busy.contains(&index)) else { return };
            state.busy.insert(outgoing.index);
            // Counted from here on and not from when the task runs, or a shortage would look like a standstill.
            let (session, flight) = (self.begin_session(state), self.uploader.flight());
            let file = self.clone();
            self.uploader.runtime.spawn(async move { file.send_part(session, outgoing, flight).await });
        }
    }

    /// The upload for parts to belong to. Initiate itself is sent by the first that needs it.
    pub(super) fn begin_session(&self, state: &mut State) -> Arc<Session> {
        let copy_bytes_max = self.uploader.store.limits().part_bytes_max;
        let State { session, key, content, attributes, .. } = state;
        let begin = || {
            let copies = even_ranges(content.base_len, copy_bytes_max);
            let (key, attributes) = (key.clone(), attributes.clone());
            Arc::new(Session { key, upload: OnceCell::new(), copies, attributes })
        };
        session.get_or_insert_with(begin).clone()
    }

    /// `flight` goes last of all: with it whoever waits for memory may look for help again.
    async fn send_part(self: Arc<OpenFile>, session: Arc<Session>, outgoing: Outgoing, flight: Flight) {
        let Outgoing { index, version, body, crc64 } = outgoing;
        let result = self.upload_part(&session, index, body, crc64).await;
        {
            let mut state = self.lock();
            let is_running = state.session.as_ref().is_some_and(|running| Arc::ptr_eq(running, &session));
            state.busy.remove(&index);
            match result {
                Ok(uploaded) if is_running => {
                    state.content.acknowledge(index, version, uploaded);
                    let keep_bytes = self.uploader.keep_bytes();
                    state.release_acknowledged(keep_bytes);
                }
                Err(error) if is_running => self.fail(&mut state, error),
                // The upload was given up, and nobody needs the part any more.
                Ok(_) | Err(_) => {}
            }
            if state.session.is_some() {
                self.dispatch_all(&mut state);
            }
        }
        // Before the others are told: one of them may be waiting to abort the upload.
        drop(session);
        self.changed.notify_waiters();
        drop(flight);
    }

    async fn upload_part(
        self: &Arc<OpenFile>,
        session: &Arc<Session>,
        index: usize,
        body: Body,
        crc64: Crc64,
    ) -> Result<UploadedPart, UploadError> {
        let upload = self.upload_id(session).await?;
        let number = session.number(session.copies.len() + index)?;
        // The semaphore is never closed.
        let _permit = self.uploader.wire.acquire().await;
        let uploaded = self.uploader.store.upload_part(&session.key, upload, number, body, crc64).await?;
        Ok(UploadedPart { crc64: Some(crc64), ..uploaded })
    }

    /// The id of an upload, which is begun at the service if it was not yet.
    pub(super) async fn upload_id<'s>(
        self: &Arc<OpenFile>,
        session: &'s Arc<Session>,
    ) -> Result<&'s UploadId, UploadError> {
        let initiate = || async {
            // Those who waited for an attempt that failed do not try again.
            if let Some(failure) = self.failure() {
                return Err(failure);
            }
            let initiated = self.uploader.store.initiate(&session.key, &session.attributes).await;
            initiated.map_err(|error| {
                let mut state = self.lock();
                if state.session.as_ref().is_some_and(|running| Arc::ptr_eq(running, session)) {
                    self.fail(&mut state, error.clone().into());
                }
                error.into()
            })
        };
        session.upload.get_or_try_init(initiate).await
    }

    /// Notes a failure: the first one stays, nothing more is sent, and the upload is aborted.
    pub(super) fn fail(self: &Arc<OpenFile>, state: &mut State, error: UploadError) {
        if state.failure.is_none() {
            log::error!("{}: not published: {error}", state.key);
            state.failure = Some(error);
        }
        self.give_up_session(state);
    }

    /// The name is gone: nothing is published any more, and what is unfinished is aborted. Waits for a publishing that
    /// has begun, so that whoever removes the object afterwards removes the last one.
    pub async fn discard(self: &Arc<OpenFile>) {
        let _after_publishing = self.publishing.lock().await;
        {
            let mut state = self.lock();
            state.discarded = true;
            self.give_up_session(&mut state);
        }
        // A writer that waited for parts to land waits no longer.
        self.changed.notify_waiters();
    }

    /// Aborts the running upload as soon as none of its requests is on its way any more.
    pub(super) fn give_up_session(self: &Arc<OpenFile>, state: &mut State) {
        let Some(session) = state.session.take() else { return };
        let file = self.clone();
        self.uploader.runtime.spawn(async move {
            loop {
                let mut changed = std::pin::pin!(file.changed.notified());
                changed.as_mut().enable();
                // An abort that overtakes a part may leave the part behind (`cos-api.md` 4.6).
                if Arc::strong_count(&session) == 1 {
                    break;
                }
                changed.await;
            }
            let (key, Some(upload)) = (&session.key, session.upload.get()) else { return };
            match file.uploader.store.abort(key, upload).await {
                Ok(()) => log::info!("{key}: gave up upload {upload}"),
                Err(error) => log::error!("{key}: upload {upload} could not be aborted and stays unfinished: {error}"),
            }
        });
    }
}

impl Session {
    /// The number of the part with 0-based `index` in the whole upload.
    pub(super) fn number(&self, index: usize) -> Result<PartNumber, UploadError> {
        PartNumber::new(index as u64 + 1).ok_or_else(|| {
            let bytes_max = crate::wire::Limits::COS.object_bytes_max;
            UploadError::TooLarge { key: self.key.to_string(), bytes_max }
        })
    }
}

/// `0..len` in as few ranges of at most `bytes_max` as possible, none of them much smaller than the others, because
/// the service refuses a part under 1 MiB that is not the last.
pub(super) fn even_ranges(len: u64, bytes_max: u64) -> Vec<ByteRange> {
    let count = len.div_ceil(bytes_max);
    let edge = |index: u64| (u128::from(len) * u128::from(index) / u128::from(count)) as u64;
    (0..count).filter_map(|index| ByteRange::new(edge(index), edge(index + 1))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_even_and_cover_everything() {
        for (len, bytes_max, count) in [(0, 5, 0), (1, 5, 1), (5, 5, 1), (6, 5, 2), (11, 5, 3), (5_000, 7, 715)] {
            let ranges = even_ranges(len, bytes_max);
            assert_eq!(ranges.len(), count, "{len} by {bytes_max}");
            assert_eq!(ranges.iter().map(|range| range.len()).sum::<u64>(), len);
            assert!(ranges.windows(2).all(|pair| pair[0].end() == pair[1].start()));
            let lens = ranges.iter().map(|range| range.len());
            let (shortest, longest) = (lens.clone().min().unwrap_or(0), lens.max().unwrap_or(0));
            assert!(longest <= bytes_max && longest - shortest <= 1, "{len} by {bytes_max}");
        }
    }
}
