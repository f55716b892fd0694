//! Making the content of an open file an object: one PUT, or the end of a multipart upload.

use std::sync::Arc;
use std::time::Instant;

use futures_util::stream::{self, StreamExt};

use super::content::Base;
use super::copying::{copy_object, rewrite_attributes};
use super::open_file::{OpenFile, State};
use super::sending::Session;
use super::uploader::{Flight, UploadError};
use crate::stats::Stats;
use crate::store::{Published, Source};
use crate::wire::{ByteRange, Crc64, ETag, ObjectAttributes, ObjectKey, UploadedPart};

impl OpenFile {
    /// Puts everything that was written into the bucket and verifies it against the service's checksum.
    ///
    /// Returns when the object is there, or with the reason why not, which then stays with the file; the object that
    /// was there before is untouched in that case. Writers wait meanwhile. Does nothing when there is nothing new. Must
    /// run to its end: a caller who no longer cares leaves it to a task.
    pub async fn publish(self: &Arc<OpenFile>) -> Result<(), UploadError> {
        let _one_at_a_time = self.publishing.lock().await;
        {
            let mut state = self.lock();
            if let Some(failure) = &state.failure {
                return Err(failure.clone());
            }
            if state.discarded || !(state.dirty || state.attributes_changed) {
                return Ok(());
            }
            state.is_publishing = true;
        }
        let mut flight = None;
        let result = self.publish_all(&mut flight).await;
        self.end_publishing(&result);
        result
    }

    /// Publishes what is unpublished, moves the object to `key`, by a copy on the service, and goes on from there. The
    /// object under the old key is left to the caller. Must run to its end.
    ///
    /// A failed publishing stays with the file, a failed copy does not: the file is where it was.
    pub async fn move_to(self: &Arc<OpenFile>, key: &ObjectKey) -> Result<(), UploadError> {
        let _one_at_a_time = self.publishing.lock().await;
        let is_dirty = {
            let mut state = self.lock();
            if let Some(failure) = &state.failure {
                return Err(failure.clone());
            }
            state.is_publishing = true;
            state.dirty && !state.discarded
        };
        let mut flight = None;
        let published = if is_dirty { self.publish_content(&mut flight).await } else { Ok(()) };
        let moved = if published.is_ok() { self.copy_to(key).await } else { Ok(()) };
        self.end_publishing(&published);
        published.and(moved)
    }

    /// Copies the object, with the attributes that the file has now, to `key`, which becomes the file's.
    async fn copy_to(self: &Arc<OpenFile>, key: &ObjectKey) -> Result<(), UploadError> {
        let (source, base, attributes) = {
            let state = self.lock();
            let Some(base) = state.content.base.clone() else { return Ok(()) };
            (state.key.clone(), base, state.attributes.clone())
        };
        let etag = copy_object(&*self.uploader.store, &source, &base, key, &attributes).await?;
        let mut state = self.lock();
        state.key = key.clone();
        state.rest_on_copy(Base { etag, ..base }, &attributes);
        Ok(())
    }

    fn end_publishing(self: &Arc<OpenFile>, result: &Result<(), UploadError>) {
        {
            let mut state = self.lock();
            state.is_publishing = false;
            if let Err(error) = result {
                self.fail(&mut state, error.clone());
            }
            #[cfg(debug_assertions)]
            state.content.check_invariants();
        }
        self.changed.notify_waiters();
        self.uploader.hurry_if_short();
    }

    async fn publish_all(self: &Arc<OpenFile>, flight: &mut Option<Flight>) -> Result<(), UploadError> {
        if self.lock().dirty {
            self.publish_content(flight).await?;
        }
        let (key, base, attributes) = {
            let state = self.lock();
            let Some(base) = state.content.base.clone().filter(|_| state.attributes_changed && !state.discarded) else {
                return Ok(());
            };
            (state.key.clone(), base, state.attributes.clone())
        };
        let etag = rewrite_attributes(&*self.uploader.store, &key, &base, &attributes).await?;
        self.lock().rest_on_copy(Base { etag, ..base }, &attributes);
        Ok(())
    }

    /// `flight` gets what counts as on its way from when no memory is needed any more; the caller keeps it until writers
    /// and those who are short can have the buffers, so that nobody is hurried for want of them.
    async fn publish_content(self: &Arc<OpenFile>, flight: &mut Option<Flight>) -> Result<(), UploadError> {
        let began = Instant::now();
        let (base_only, too_short) = {
            let state = self.lock();
            let part_bytes_min = self.uploader.store.limits().part_bytes_min;
            (state.content.part_count() == 0, (1..part_bytes_min).contains(&state.content.base_len))
        };
        if base_only && too_short {
            self.load_base(0).await?;
        }
        *flight = Some(self.uploader.flight());
        let (key, size, attributes, single) = {
            let mut state = self.lock();
            let single = if state.session.is_none() { state.content.single_body() } else { None };
            (state.key.clone(), state.content.size(), state.attributes.clone(), single)
        };
        let put_bytes_max = self.uploader.store.limits().put_bytes_max;
        let (base, attributes, parts) = match single.filter(|(body, _)| body.len() <= put_bytes_max) {
            Some((body, crc64)) => {
                let published = self.uploader.store.put(&key, body, crc64, &attributes).await?;
                (Base { etag: published.etag, size, crc64: Some(crc64) }, attributes, 1)
            }
            None => self.finish_upload(size).await?,
        };
        let mut state = self.lock();
        state.session = None;
        state.dirty = false;
        state.serial += 1;
        state.attributes_changed = state.attributes != attributes;
        log_published(&key, &base, parts, began);
        state.content.rest_on(base, true);
        Stats::add(&self.uploader.stats.published, 1);
        Ok(())
    }

    /// Sends what is left, waits until every part is acknowledged, and completes the upload.
    async fn finish_upload(self: &Arc<OpenFile>, size: u64) -> Result<(Base, ObjectAttributes, usize), UploadError> {
        let (session, source) = {
            let mut state = self.lock();
            state.content.seal(1);
            let session = self.begin_session(&mut state);
            self.dispatch_all(&mut state);
            let if_match = state.content.base.as_ref().map(|base| base.etag.clone());
            (session, Source { key: state.key.clone(), if_match })
        };
        let (copied, sent) =
            futures_util::future::join(self.copy_prefix(&session, &source), self.all_acknowledged()).await;
        let parts: Vec<UploadedPart> = copied?.into_iter().chain(sent?).collect();
        let crc64 = parts.iter().try_fold(Crc64::EMPTY, |crc64, part| Some(crc64.followed_by(part.crc64?, part.size)));
        let etags: Vec<ETag> = parts.into_iter().map(|part| part.etag).collect();
        let upload = self.upload_id(&session).await?;
        let Published { etag, crc64: told } =
            self.uploader.store.complete(&session.key, upload, &etags, size, crc64).await?;
        Ok((Base { etag, size, crc64: crc64.or(told) }, session.attributes.clone(), etags.len()))
    }

    /// Makes the first parts of ranges of the published object, on the service.
    async fn copy_prefix(
        self: &Arc<OpenFile>,
        session: &Arc<Session>,
        source: &Source,
    ) -> Result<Vec<UploadedPart>, UploadError> {
        if session.copies.is_empty() {
            return Ok(Vec::new());
        }
        let (store, upload) = (&self.uploader.store, self.upload_id(session).await?);
        let copy = |(index, range): (usize, ByteRange)| async move {
            let number = session.number(index)?;
            Ok(store.upload_part_copy(&session.key, upload, number, source, range).await?)
        };
        // Collected first: the compiler cannot show a lazily mapped stream of these futures to be `Send`.
        let copies: Vec<_> = session.copies.iter().copied().enumerate().map(copy).collect();
        // All of them come to their end even when one fails, so that the abort overtakes none.
        let copied: Vec<_> = stream::iter(copies).buffered(self.uploader.options.concurrency).collect().await;
        copied.into_iter().collect()
    }

    async fn all_acknowledged(&self) -> Result<Vec<UploadedPart>, UploadError> {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            {
                let state = self.lock();
                if let Some(failure) = &state.failure {
                    return Err(failure.clone());
                }
                if let Some(parts) = acknowledged_and_idle(&state) {
                    return Ok(parts);
                }
            }
            changed.await;
        }
    }
}

/// The parts, once all are acknowledged and no earlier content of one is still on its way.
fn acknowledged_and_idle(state: &State) -> Option<Vec<UploadedPart>> {
    if state.busy.is_empty() { state.content.acknowledged() } else { None }
}

fn log_published(key: &ObjectKey, base: &Base, parts: usize, began: Instant) {
    let how = if parts == 1 { "1 part".to_owned() } else { format!("{parts} parts") };
    log::info!(
        "published {key}: {} bytes, {how}, etag {}, {} ms at the end",
        base.size,
        base.etag,
        began.elapsed().as_millis()
    );
}
