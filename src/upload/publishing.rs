//! Making the content of an open file an object: one PUT, one copy, or the end of a multipart upload.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use super::body::{Chunk, FETCH_ATTEMPTS, Wanted, chunks};
use super::content::{Doubt, Fetch, NotHeld};
use super::copying::{copy_object, rewrite_attributes};
use super::extents::{Extent, Matter};
use super::open_file::OpenFile;
use super::plan::{Action, TooManyParts};
use super::sending::Session;
use super::state::{Name, Phase, State, Unpublished};
use super::uploader::{Flight, UploadError};
use crate::object::limits::GIB;
use crate::object::{Crc64, ETag, ObjectAttributes, ObjectKey, StoredObject, UploadedPart, Version};
use crate::stats::Stats;
use crate::store::{Published, StoreError, StoreErrorKind};

/// Holes of a file that nobody waits for, in bytes, whatever else it has: more than ten copies of the largest part, which
/// take minutes.
const ABANDONED_HOLE_BYTES: u64 = 64 * GIB;

/// How an object is made of a file.
enum How {
    /// By one PUT of these bytes, after fetching what is stored.
    Put(Vec<Chunk>, Vec<Wanted>),
    /// By one copy of a whole object.
    Copy(StoredObject),
    /// By completing an upload whose parts are on their way.
    Parts(Arc<Session>),
}

/// What was made.
struct Made {
    version: Version,
    attributes: ObjectAttributes,
    part_count: usize,
}

impl OpenFile {
    /// Puts everything that was written into the bucket and verifies it against the service's checksum.
    ///
    /// Returns when the object is there, or with the reason why not, which then stays with the file; the object that
    /// was there before is untouched in that case. Writers wait meanwhile. Does nothing when there is nothing new, or
    /// when the file has lost its name. Must run to its end: a caller who no longer cares leaves it to a task.
    pub async fn publish(self: &Arc<OpenFile>) -> Result<(), UploadError> {
        self.publish_as(false).await
    }

    /// The same to get bytes out of the memory or out of parts that nobody can read; of a file without a name, too. Waits while
    /// the file is not wanted, and so is not for somebody whom its removal waits for.
    pub async fn publish_step(self: &Arc<OpenFile>) -> Result<(), UploadError> {
        self.publish_once_wanted(true).await
    }

    /// The same for somebody who is told that it is durable: a removal that has stopped it, and fails, was not the end of it.
    pub async fn publish_for_sure(self: &Arc<OpenFile>) -> Result<(), UploadError> {
        self.publish_once_wanted(false).await
    }

    async fn publish_once_wanted(self: &Arc<OpenFile>, nameless_too: bool) -> Result<(), UploadError> {
        loop {
            match self.publish_as(nameless_too).await {
                Err(UploadError::Unwanted { .. }) => self.until_wanted().await,
                published => return published,
            }
        }
    }

    /// Waits until it is decided whether the file is removed.
    async fn until_wanted(&self) {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if !self.is_unwanted() {
                return;
            }
            changed.await;
        }
    }

    pub(super) async fn publish_as(self: &Arc<OpenFile>, nameless_too: bool) -> Result<(), UploadError> {
        let _one_at_a_time = self.publishing.lock().await;
        {
            let mut state = self.lock();
            state.expect_sound()?;
            let is_needed = match state.is_nameless() {
                true => nameless_too && state.lacks_content(),
                false => state.unpublished != Unpublished::Nothing,
            };
            if !is_needed {
                return Ok(());
            }
            state.phase = Phase::Publishing { is_loaded: false };
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
            state.expect_sound()?;
            state.phase = Phase::Publishing { is_loaded: false };
            state.lacks_content() && !state.is_nameless()
        };
        let mut flight = None;
        let published = if is_dirty { self.publish_content(&mut flight).await } else { Ok(()) };
        let moved = if published.is_ok() { self.copy_to(key).await } else { Ok(()) };
        self.end_publishing(&published);
        published.and(moved)
    }

    /// Takes the name from the file: from now on it is published only if it has to be, and then under `hidden`. `removing`
    /// is called once the file no longer needs the object under its old key, with whether this file has made one there;
    /// it removes or replaces that object. Must run to its end.
    ///
    /// On error the file has its name still.
    pub async fn lose_name<E, F>(
        self: &Arc<OpenFile>,
        hidden: &ObjectKey,
        removing: impl FnOnce(bool) -> F,
    ) -> Result<(), E>
    where
        E: From<UploadError>,
        F: Future<Output = Result<(), E>>,
    {
        let _one_at_a_time = self.publishing.lock().await;
        if self.is_nameless() {
            return removing(false).await;
        }
        let is_readable = {
            let mut state = self.lock();
            // Those who have it open want it, whatever becomes of its name.
            (state.phase, state.is_unwanted) = (Phase::Publishing { is_loaded: false }, false);
            // What comes from other objects is fetched now, because one of them may be what takes the name.
            let is_readable = state.content.unseal_from(0).is_ok() && !state.content.has_other_sources();
            if is_readable {
                self.give_up_session(&mut state);
            }
            is_readable || state.failure.is_some()
        };
        let mut flight = None;
        // What is only in parts of an upload can be read only once that is complete.
        let published = if is_readable { Ok(()) } else { self.publish_content(&mut flight).await };
        if let Err(error) = &published {
            // Before anybody is waited for who might wait for this file.
            self.fail(&mut self.lock(), error.clone());
        }
        let result = self.lose_readable_name(hidden, removing).await;
        self.end_publishing(&published);
        result
    }

    async fn lose_readable_name<E, F>(
        self: &Arc<OpenFile>,
        hidden: &ObjectKey,
        removing: impl FnOnce(bool) -> F,
    ) -> Result<(), E>
    where
        E: From<UploadError>,
        F: Future<Output = Result<(), E>>,
    {
        let (needed, attributes, has_object) = {
            let state = self.lock();
            let needed = state.object().filter(|_| state.failure.is_none() && state.content.needs_base());
            (needed, state.metadata.all(), state.content.base.is_some())
        };
        let store = &*self.uploader.store;
        let kept = match &needed {
            Some(object) => copy_object(store, object, hidden, &attributes).await.map(Some),
            None => Ok(None),
        };
        let kept = match kept {
            // Somebody else was there before: what is missing cannot be had any more.
            Err(error) if error.is_of_version_gone() => {
                self.fail(&mut self.lock(), error.into());
                None
            }
            kept => kept.map_err(UploadError::from)?,
        };
        if let Err(error) = removing(has_object).await {
            if kept.is_some()
                && let Err(error) = store.delete(hidden).await
            {
                log::error!("{hidden} could not be removed and stays: {error}");
            }
            return Err(error);
        }
        let mut state = self.lock();
        (state.key, state.name) = (hidden.clone(), Name::Lost);
        match (kept, needed) {
            (Some(etag), Some(object)) => state.rest_on_copy(Version { etag, ..object.version }, &attributes),
            _ => {
                state.content.let_go_of_base();
                state.note_content();
            }
        }
        Ok(())
    }

    /// The mount ends: what is not published by now never will be, and no unfinished upload is left of it.
    pub fn abandon(self: &Arc<OpenFile>) {
        if self.is_dirty() {
            let mut state = self.lock();
            let message = "the mount ended before it was published";
            let error = StoreError::new(StoreErrorKind::TimedOut, "publish", state.key.as_str(), message);
            self.fail(&mut state, error.into());
        }
    }

    /// The file is gone: nothing of it is published any more. For somebody who holds it still.
    pub fn forget(self: &Arc<OpenFile>) {
        let mut state = self.lock();
        self.give_up_session(&mut state);
        state.name = Name::Lost;
        state.drop_all();
        drop(state);
        self.changed.notify_waiters();
    }

    /// Nobody has the file open any more, and it has no name: gives up what is on its way, and returns the key that it
    /// was published under in the meantime, whose object is to be removed.
    pub async fn dispose(self: &Arc<OpenFile>) -> Option<ObjectKey> {
        let _after_publishing = self.publishing.lock().await;
        let mut state = self.lock();
        self.give_up_session(&mut state);
        let is_there = state.content.base.is_some();
        state.drop_all();
        let key = state.key.clone();
        drop(state);
        self.changed.notify_waiters();
        is_there.then_some(key)
    }

    /// Copies the object, with the attributes that the file has now, to `key`, which becomes the file's.
    async fn copy_to(self: &Arc<OpenFile>, key: &ObjectKey) -> Result<(), UploadError> {
        let (object, attributes) = {
            let state = self.lock();
            let Some(object) = state.object() else { return Ok(()) };
            (object, state.metadata.all())
        };
        let etag = copy_object(&*self.uploader.store, &object, key, &attributes).await?;
        let mut state = self.lock();
        state.key = key.clone();
        state.rest_on_copy(Version { etag, ..object.version }, &attributes);
        Ok(())
    }

    fn end_publishing(self: &Arc<OpenFile>, result: &Result<(), UploadError>) {
        {
            let mut state = self.lock();
            state.phase = Phase::Open;
            match result {
                // What is sent stays where it is until somebody says what becomes of the file.
                Err(UploadError::Unwanted { .. }) => {}
                Err(error) => self.fail(&mut state, error.clone()),
                Ok(()) => {}
            }
            if !matches!(result, Err(UploadError::Unwanted { .. })) && state.zeros.take().is_some() {
                state.content.forget_zeros();
            }
            #[cfg(debug_assertions)]
            state.content.check_invariants();
        }
        self.changed.notify_waiters();
        self.uploader.hurry_if_short();
    }

    async fn publish_all(self: &Arc<OpenFile>, flight: &mut Option<Flight>) -> Result<(), UploadError> {
        if self.lock().lacks_content() {
            self.publish_content(flight).await?;
        }
        let (object, attributes) = {
            let state = self.lock();
            let Some(object) =
                state.object().filter(|_| state.unpublished == Unpublished::Attributes && !state.is_nameless())
            else {
                return Ok(());
            };
            (object, state.metadata.all())
        };
        self.uploader.release_source(&object.key, Some(self)).await;
        let etag = rewrite_attributes(&*self.uploader.store, &object, &attributes).await?;
        self.lock().rest_on_copy(Version { etag, ..object.version }, &attributes);
        Ok(())
    }

    /// Makes objects of the content until all of it is in one. That takes more than one where the service takes fewer
    /// parts than there are changes.
    ///
    /// `flight` gets what counts as on its way; the caller keeps it until writers and those who are short can have the
    /// memory, so that nobody is hurried for want of it.
    async fn publish_content(self: &Arc<OpenFile>, flight: &mut Option<Flight>) -> Result<(), UploadError> {
        let began = Instant::now();
        *flight = Some(self.uploader.flight());
        self.expect_wanted()?;
        self.compare_handed_out().await?;
        loop {
            self.expect_wanted()?;
            self.take_back_refused_parts().await?;
            self.find_conflict_before().await?;
            self.provide_zeros().await?;
            // Asked before this file is locked: two that ask each other would wait for ever.
            let is_source = self.is_source();
            let how = self.decide(&mut self.lock(), is_source)?;
            let made = match how {
                How::Put(chunks, wanted) => self.put(chunks, &wanted).await,
                // One that has begun to need this file's object meanwhile must not wait for what waits for it.
                How::Copy(_) if self.is_source() => continue,
                How::Copy(object) => self.copy_whole(object).await,
                How::Parts(session) => self.finish_upload(&session).await,
            };
            match made {
                Ok(made) => {
                    if self.take_published(made, began) {
                        self.remove_zeros().await;
                        return Ok(());
                    }
                }
                // Another plan makes do with the numbers that the service takes.
                Err(UploadError::Store(error)) if error.kind == StoreErrorKind::TooManyParts => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Chooses how to publish, and seals and sends the parts if it takes any.
    fn decide(self: &Arc<OpenFile>, state: &mut State, is_source: bool) -> Result<How, UploadError> {
        if let Some(how) = self.decide_without_parts(state, is_source) {
            self.give_up_session(state);
            return Ok(how);
        }
        let rules = self.uploader.rules();
        let actions = state.content.plan(&rules).or_else(|TooManyParts| state.content.plan_step(&rules));
        let actions = actions.map_err(|TooManyParts| UploadError::TooScattered { key: state.key.to_string() })?;
        state.content.seal(&actions);
        state.content.plan_fetches(&rules);
        let session = self.begin_session(state);
        self.dispatch(state);
        Ok(How::Parts(session))
    }

    /// One request instead of an upload, where one can do it. Not a copy where this file `is_source` of another.
    fn decide_without_parts(&self, state: &State, is_source: bool) -> Option<How> {
        let content = state.content.unsealed()?;
        let (first_part_bytes, put_bytes_max) =
            (self.uploader.ladder.first_bytes(), self.uploader.limits().put_bytes_max);
        let rules = self.uploader.rules();
        let all = || {
            let want = |fetch: &Fetch| Some(Wanted::new(fetch, state.resolve(&fetch.source)?));
            let wanted = state.content.fetches_of_all(&rules)?.iter().map(want).collect::<Option<_>>()?;
            Some(How::Put(chunks(content.clone(), |source| state.resolve(source)), wanted))
        };
        if content.len() == 0 {
            return all();
        }
        let whole = whole_object(state).filter(|object| object.version.size <= put_bytes_max);
        if let Some(object) = whole.filter(|_| !is_source) {
            return Some(How::Copy(object));
        }
        if content.len() > put_bytes_max {
            return None;
        }
        let is_in_memory = |extent: &Extent| !matches!(extent.matter, Matter::Stored { held: None, .. });
        let fits_one_part = content.len() <= first_part_bytes;
        if fits_one_part && content.iter().all(is_in_memory) {
            return all();
        }
        // What has to be fetched in part is fetched whole where it is no more than a part.
        let actions = state.content.plan(&rules).ok()?;
        let fetches = actions.iter().any(|action| matches!(action, Action::Upload { fetched, .. } if *fetched > 0));
        let is_one = actions.len() == 1 && matches!(actions[0], Action::Upload { .. }) || fits_one_part && fetches;
        if is_one { all() } else { None }
    }

    async fn put(self: &Arc<OpenFile>, chunks: Vec<Chunk>, wanted: &[Wanted]) -> Result<Made, UploadError> {
        if !wanted.is_empty() {
            // Nobody who has room for what is fetched may wait for another who needs some.
            self.uploader.release_independent(self).await;
        }
        let mut loaded = self.uploader.load(chunks, wanted).await?;
        let (key, attributes) = {
            let mut state = self.lock();
            state.phase = Phase::Publishing { is_loaded: true };
            (state.key.clone(), state.metadata.all())
        };
        // Two files that each copy from the other have what they need by this.
        self.changed.notify_waiters();
        if self.is_source() {
            loaded.give_up_room();
        }
        self.uploader.release_source(&key, Some(self)).await;
        self.expect_wanted()?;
        let (size, checksum) = (loaded.body.len(), loaded.crc64);
        let Published { etag, .. } = self.uploader.store.put(&key, loaded.body, checksum, &attributes).await?;
        Ok(Made { version: Version { etag, size, checksum: Some(checksum) }, attributes, part_count: 1 })
    }

    async fn copy_whole(self: &Arc<OpenFile>, object: StoredObject) -> Result<Made, UploadError> {
        let (key, attributes) = {
            let state = self.lock();
            (state.key.clone(), state.metadata.all())
        };
        let etag = copy_object(&*self.uploader.store, &object, &key, &attributes).await?;
        Ok(Made { version: Version { etag, ..object.version }, attributes, part_count: 1 })
    }

    /// Waits until every part is acknowledged, and completes the upload.
    async fn finish_upload(self: &Arc<OpenFile>, session: &Arc<Session>) -> Result<Made, UploadError> {
        let parts = self.all_verified().await?;
        // Only now, for the same reason as with a PUT.
        self.uploader.release_source(&session.key, Some(self)).await;
        let size = parts.iter().map(|part| part.size).sum();
        let put_together = |whole: Crc64, part: &UploadedPart| Some(whole.followed_by(part.crc64?, part.size));
        let checksum = parts.iter().try_fold(Crc64::EMPTY, put_together);
        let etags: Vec<ETag> = parts.into_iter().map(|part| part.etag).collect();
        let (upload, attributes) = (self.upload_id(session).await?, session.attributes.clone());
        self.expect_wanted()?;
        let completing = || self.uploader.store.complete(&session.key, upload, &etags, size, checksum);
        let Published { etag, crc64: told } = self.complete_unless_conflict(&session.key, completing).await?;
        let version = Version { etag, size, checksum: checksum.or(told) };
        Ok(Made { version, attributes, part_count: etags.len() })
    }

    /// The parts, all of which are acknowledged, and what they have of other objects is what those have.
    async fn all_verified(self: &Arc<OpenFile>) -> Result<Vec<UploadedPart>, UploadError> {
        let mut attempts = 1;
        loop {
            let parts = self.all_acknowledged().await?;
            let mut state = self.lock();
            let (source, apart) = match state.content.doubt() {
                None => return Ok(parts),
                Some(Doubt::Mismatch(source)) => (source, false),
                Some(Doubt::Gap(source)) => (source, true),
            };
            let from = state.resolve(&source).map_or_else(|| state.key.clone(), |object| object.key);
            let message = "what was fetched and copied of it has another checksum than the object";
            let error = StoreError::new(StoreErrorKind::Corrupted, "publish", from.as_str(), message);
            if attempts == FETCH_ATTEMPTS {
                return Err(error.into());
            }
            log::warn!("{}: {error}; made again", state.key);
            attempts += 1;
            state.content.make_again(&source, apart, &self.uploader.rules());
            self.dispatch(&mut state);
        }
    }

    async fn all_acknowledged(&self) -> Result<Vec<UploadedPart>, UploadError> {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            {
                let state = self.lock();
                state.expect_wanted()?;
                // No earlier content of a part may still be on its way.
                if state.busy.is_empty() {
                    if state.must_replan {
                        let message = "a part's number was refused";
                        let key = state.key.as_str();
                        let error = StoreError::new(StoreErrorKind::TooManyParts, "UploadPart", key, message);
                        return Err(error.into());
                    }
                    if let Some(parts) = state.content.acknowledged() {
                        return Ok(parts);
                    }
                }
            }
            changed.await;
        }
    }

    /// Takes parts back whose numbers the service refused, for a plan with fewer.
    async fn take_back_refused_parts(self: &Arc<OpenFile>) -> Result<(), UploadError> {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            {
                let mut state = self.lock();
                if !state.must_replan {
                    return Ok(());
                }
                // A lower number may be refused yet.
                if state.busy.is_empty() {
                    state.must_replan = false;
                    let part_count_max = self.uploader.limits().part_count_max;
                    let taken_back = state.content.unseal_unsent(part_count_max);
                    return taken_back.map_err(|NotHeld| UploadError::TooScattered { key: state.key.to_string() });
                }
            }
            changed.await;
        }
    }

    /// Takes note of the object that was made, and returns whether it is all of the file.
    fn take_published(&self, made: Made, began: Instant) -> bool {
        let Made { version, attributes, part_count } = made;
        let mut state = self.lock();
        log_published(&state.key, &version, part_count, began);
        let keeps = version.size <= self.uploader.ladder.first_bytes() && !self.uploader.memory.is_short();
        Stats::add(&self.uploader.stats.published, 1);
        state.take_published(version, &attributes, keeps)
    }

    /// Whether anything of this file that is not safe at the service yet comes from the object under `key`. Locks the file,
    /// and so is never asked by somebody who has another one locked.
    pub(super) fn copies_from(&self, key: &ObjectKey) -> bool {
        let state = self.lock();
        state.needs_sources() && state.content.sources(state.is_publishing()).any(|source| source == key)
    }

    /// The objects of other files that anything of this file comes from that is not safe at the service yet.
    pub(super) fn sources(&self) -> BTreeSet<ObjectKey> {
        let state = self.lock();
        match state.needs_sources() {
            true => state.content.sources(state.is_publishing()).cloned().collect(),
            false => BTreeSet::new(),
        }
    }

    /// Whether another open file copies from this one's object.
    fn is_source(&self) -> bool {
        self.uploader.is_source(&self.key(), self)
    }

    /// Says whether what is written is wanted at all. Nothing of what is not wanted is sent, nobody waits until it is
    /// published, and a publishing that is under way ends with [`UploadError::Unwanted`] as soon as nothing of it can become
    /// visible any more. It goes on from there when the file is wanted again and published.
    pub fn set_wanted(&self, is_wanted: bool) {
        self.lock().is_unwanted = !is_wanted;
        self.changed.notify_waiters();
    }

    /// Whether the file is about to be removed.
    pub fn is_unwanted(&self) -> bool {
        self.lock().is_unwanted
    }

    /// The program that waits for the publishing has been told to end. If all that it has done is to make the file longer, or
    /// that is nearly all, nobody wants the zeros: the file fails, and nothing more of it is sent.
    pub fn stop_filling(self: &Arc<OpenFile>) {
        {
            let mut state = self.lock();
            let hole_bytes = state.content.hole_bytes();
            let is_for_nothing = hole_bytes > 0 && !state.has_new_bytes() || hole_bytes > ABANDONED_HOLE_BYTES;
            if !state.is_publishing() || !is_for_nothing {
                return;
            }
            let message = "the program that made a hole of it was told to end before it was published";
            let error = StoreError::new(StoreErrorKind::TimedOut, "publish", state.key.as_str(), message);
            self.fail(&mut state, error.into());
        }
        self.changed.notify_waiters();
    }

    /// Puts zeros into the bucket for the large holes of the file to be copied from, if it has any.
    async fn provide_zeros(self: &Arc<OpenFile>) -> Result<(), UploadError> {
        let rules = self.uploader.rules();
        let hole_bytes = {
            let State { content, zeros, .. } = &mut *self.lock();
            if let Some(zeros) = zeros {
                content.point_holes_at(zeros.object(), &rules);
            }
            content.large_hole_bytes(&rules)
        };
        if hole_bytes == 0 {
            return Ok(());
        }
        let Some(zeros) = self.uploader.zeros(self, hole_bytes).await? else { return Ok(()) };
        let mut state = self.lock();
        state.content.point_holes_at(zeros.object(), &rules);
        state.zeros = Some(zeros);
        Ok(())
    }

    /// Removes the zeros before the publishing ends, so that it leaves nothing in the bucket.
    async fn remove_zeros(&self) {
        let zeros = self.lock().zeros.take();
        if let Some(zeros) = zeros {
            zeros.remove().await;
        }
    }

    /// Publishes the file, and returns as soon as it does not need the object under `key` any more.
    pub(super) async fn stop_copying_from(self: Arc<OpenFile>, key: &ObjectKey) {
        self.clone().publish_in_background();
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if !self.copies_from(key) {
                return;
            }
            changed.await;
        }
    }
}

/// The object that the file is a copy of, from beginning to end.
fn whole_object(state: &State) -> Option<StoredObject> {
    let mut extents = state.content.unsealed()?.iter();
    let (Some(Extent { len, matter: Matter::Stored { source, start: 0, held: None } }), None) =
        (extents.next(), extents.next())
    else {
        return None;
    };
    state.resolve(source).filter(|object| object.version.size == *len)
}

fn log_published(key: &ObjectKey, version: &Version, part_count: usize, began: Instant) {
    let how = if part_count == 1 { "1 part".to_owned() } else { format!("{part_count} parts") };
    log::info!(
        "published {key}: {} bytes, {how}, etag {}, {} ms at the end",
        version.size,
        version.etag,
        began.elapsed().as_millis()
    );
}
