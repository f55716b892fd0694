//! Making the content of an open file an object: one PUT, one copy, or the end of a multipart upload.
//!
//! What happens at close is [`OpenFile::publish`] and, below it, [`Publishing`].
//!
//! Who replaces an object waits until no other file copies from it, and so in a ring where two copy from each other. Nobody
//! does so for ever: what a file needs of others is in memory or at the service before it waits, and it
//! [says so](Phase::Publishing); one that others copy from is not made by a copy itself; and it gives up the room for
//! what it has fetched, which the others may need.

use std::sync::Arc;
use std::time::Instant;

use futures_util::future::BoxFuture;
use tokio::sync::MutexGuard;

use super::body::{Chunk, FETCH_ATTEMPTS, Wanted, chunks};
use super::conflict::is_conflict;
use super::content::{Doubt, Fetch, NotHeld};
use super::copying::{copy_content, copy_object, rewrite_attributes};
use super::error::UploadError;
use super::extents::{Extent, ExtentSource};
use super::open_file::OpenFile;
use super::plan::{Action, TooManyParts};
use super::sending::Sender;
use super::session::Session;
use super::state::{Name, Phase, State, Unpublished};
use super::transfers::{Flight, Transfers};
use crate::object::{ETag, ObjectAttributes, ObjectKey, StoredObject, Tags, UploadedPart, Version};
use crate::stats::Stats;
use crate::store::{Op, Overwrite, Published, StoreError, StoreErrorKind, tags_of};

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

/// One publishing of a file, or another change of its object. Writers wait until it has [ended](Publishing::end).
pub(super) struct Publishing<'f> {
    pub(super) file: &'f OpenFile,
    /// Counts as on its way until writers and those who are short can have the memory, so that nobody is hurried for want
    /// of it. Before the turn, so that it goes first.
    flight: Option<Flight>,
    /// There is no object under the file's key, whatever was there when it was opened.
    pub(super) replaces_nothing: bool,
    /// How often a request was refused for what is there.
    pub(super) refusals: usize,
    /// One at a time.
    _turn: MutexGuard<'f, ()>,
}

impl OpenFile {
    /// Puts everything that was written into the bucket and verifies it against the service's checksum.
    ///
    /// Returns when the object is there, or with the reason why not, which then stays with the file; the object that
    /// was there before is untouched in that case. Writers wait meanwhile. Does nothing when there is nothing new, or
    /// when the file has lost its name. Must run to its end: a caller who no longer cares leaves it to a task.
    pub async fn publish(&self) -> Result<(), UploadError> {
        publish_as(self, false).await
    }

    /// The same to get bytes out of the memory or out of parts that nobody can read; of a file without a name, too. Waits while
    /// the file is not wanted, and so is not for somebody whom its removal waits for.
    pub async fn publish_step(&self) -> Result<(), UploadError> {
        publish_once_wanted(self, true).await
    }

    /// The same for somebody who is told that it is durable: a removal that has stopped it, and fails, was not the end of it.
    pub async fn publish_for_sure(&self) -> Result<(), UploadError> {
        publish_once_wanted(self, false).await
    }

    /// Publishes what there is, in the background, to get it out of the memory.
    pub(super) fn publish_in_background(self: Arc<OpenFile>) {
        let runtime = self.sender.transfers.runtime.clone();
        // Boxed, because publishing one file may begin that of another: without an end the type would have no size.
        let publish: BoxFuture<'static, ()> = Box::pin(async move {
            // A failure stays with the file, whose handles are told.
            if self.publish_step().await.is_ok() {
                self.sender.release_idle();
            }
        });
        runtime.spawn(publish);
    }

    /// Publishes what is unpublished, moves the object to `key`, by a copy on the service, and goes on from there. The
    /// object under the old key is left to the caller. Must run to its end.
    ///
    /// A failed publishing stays with the file, a failed copy does not: the file is where it was.
    pub async fn move_to(&self, key: &ObjectKey) -> Result<(), UploadError> {
        let turn = self.publishing.lock().await;
        let (mut publishing, is_dirty) = {
            let mut state = self.sender.lock();
            state.expect_sound()?;
            let is_dirty = state.lacks_content() && !state.is_nameless();
            (Publishing::begin(self, turn, &mut state), is_dirty)
        };
        let published = if is_dirty { publishing.publish_content().await } else { Ok(()) };
        let moved = if published.is_ok() { publishing.copy_to(key).await } else { Ok(()) };
        publishing.end(&published);
        published.and(moved)
    }

    /// Makes ready to take the name from the file: from then on it is published only if it has to be, and under `hidden`. Returns
    /// once the file no longer needs the object under its old key, so that this can be removed or replaced; until it is said
    /// what became of that, writers wait.
    ///
    /// On error the file keeps its name. Must run to its end.
    pub async fn begin_to_lose_name(&self, hidden: &ObjectKey) -> Result<LosingName<'_>, UploadError> {
        let turn = self.publishing.lock().await;
        if self.is_nameless() {
            return Ok(LosingName {
                publishing: None,
                published: Ok(()),
                hidden: hidden.clone(),
                kept: None,
                has_object: false,
            });
        }
        let (mut publishing, is_readable) = {
            let mut state = self.sender.lock();
            // Those who have it open want it, whatever becomes of its name.
            state.is_unwanted = false;
            // What comes from other objects is fetched now, because one of them may be what takes the name.
            let is_readable = state.content.unseal_from(0).is_ok() && !state.content.tail().is_of_others();
            if is_readable {
                self.sender.give_up_session(&mut state);
            }
            let is_readable = is_readable || state.failure.is_some();
            (Publishing::begin(self, turn, &mut state), is_readable)
        };
        // What is only in parts of an upload can be read only once that is complete.
        let published = if is_readable { Ok(()) } else { publishing.publish_content().await };
        if let Err(error) = &published {
            // Before anybody is waited for who might wait for this file.
            self.sender.fail(&mut self.sender.lock(), error.clone());
        }
        match publishing.keep_readable(hidden).await {
            Ok((kept, has_object)) => {
                Ok(LosingName { publishing: Some(publishing), published, hidden: hidden.clone(), kept, has_object })
            }
            Err(error) => {
                publishing.end(&published);
                Err(error)
            }
        }
    }
}

async fn publish_once_wanted(file: &OpenFile, nameless_too: bool) -> Result<(), UploadError> {
    loop {
        match publish_as(file, nameless_too).await {
            // It is decided then whether the file is removed.
            Err(UploadError::Unwanted { .. }) => file.sender.until(|state| (!state.is_unwanted).then_some(())).await,
            published => return published,
        }
    }
}

async fn publish_as(file: &OpenFile, nameless_too: bool) -> Result<(), UploadError> {
    let turn = file.publishing.lock().await;
    let mut publishing = {
        let mut state = file.sender.lock();
        state.expect_sound()?;
        let is_needed = match state.is_nameless() {
            true => nameless_too && state.lacks_content(),
            false => state.unpublished != Unpublished::Nothing,
        };
        if !is_needed {
            return Ok(());
        }
        Publishing::begin(file, turn, &mut state)
    };
    let result = publishing.publish_all().await;
    publishing.end(&result);
    result
}

impl<'f> Publishing<'f> {
    fn begin(file: &'f OpenFile, turn: MutexGuard<'f, ()>, state: &mut State) -> Publishing<'f> {
        state.phase = Phase::Publishing { is_loaded: false };
        Publishing { file, flight: None, replaces_nothing: false, refusals: 0, _turn: turn }
    }

    /// Lets writers go on, after what has been published or not.
    fn end(self, result: &Result<(), UploadError>) {
        {
            let mut state = self.lock();
            state.phase = Phase::Open;
            // What is sent of a file that is not wanted stays where it is until somebody says what becomes of it.
            let is_stopped = matches!(result, Err(UploadError::Unwanted { .. }));
            if let Err(error) = result
                && !is_stopped
            {
                self.sender().fail(&mut state, error.clone());
            }
            if !is_stopped && state.zeros.take().is_some() {
                state.content.forget_zeros();
            }
            #[cfg(debug_assertions)]
            state.content.check_invariants();
        }
        self.sender().changed.notify_waiters();
        self.transfers().memory.hurry_if_short();
    }
}

impl Publishing<'_> {
    pub(super) fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.file.sender.lock()
    }

    fn sender(&self) -> &Arc<Sender> {
        &self.file.sender
    }

    pub(super) fn transfers(&self) -> &Arc<Transfers> {
        &self.file.sender.transfers
    }

    async fn publish_all(&mut self) -> Result<(), UploadError> {
        if self.lock().lacks_content() {
            self.publish_content().await?;
        }
        let (object, attributes) = {
            let state = self.lock();
            let needs_attributes = state.unpublished == Unpublished::Attributes && !state.is_nameless();
            let Some(object) = state.object().filter(|_| needs_attributes) else { return Ok(()) };
            (object, state.metadata.all())
        };
        self.release_source(&object.key).await;
        let etag = rewrite_attributes(&*self.transfers().store, &object, &attributes).await?;
        self.lock().rest_on_copy(Version { etag, ..object.version }, &attributes);
        Ok(())
    }

    /// Makes objects of the content until all of it is in one. That takes more than one where the service takes fewer
    /// parts than there are changes.
    async fn publish_content(&mut self) -> Result<(), UploadError> {
        let began = Instant::now();
        self.flight = Some(self.transfers().flight());
        self.expect_wanted()?;
        self.compare_handed_out().await?;
        // On the heap, as what follows a conflict: each is a part of every call that publishes.
        let is_exact = Box::pin(self.is_exact()).await;
        loop {
            self.expect_wanted()?;
            self.take_back_refused_parts().await?;
            if !is_exact {
                Box::pin(self.find_conflict_before()).await?;
            }
            self.provide_zeros().await?;
            // Asked before this file is locked: two that ask each other would wait for ever. A copy takes no condition.
            let may_copy = !is_exact && !self.is_source();
            let how = self.decide(&mut self.lock(), may_copy)?;
            let made = match how {
                How::Put(chunks, wanted) => match self.put(chunks, &wanted, is_exact).await {
                    Err(UploadError::Store(error)) if is_exact && is_conflict(&error) => {
                        self.expect_end_of_conflicts()?;
                        Box::pin(self.turn_aside()).await?;
                        continue;
                    }
                    made => made,
                },
                // One that has begun to need this file's object meanwhile must not wait for what waits for it.
                How::Copy(_) if self.is_source() => continue,
                How::Copy(object) => self.copy_whole(object).await,
                How::Parts(session) => self.finish_upload(&session, is_exact).await,
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
    fn decide(&self, state: &mut State, may_copy: bool) -> Result<How, UploadError> {
        if let Some(how) = self.decide_without_parts(state, may_copy) {
            self.sender().give_up_session(state);
            return Ok(how);
        }
        let rules = self.transfers().rules();
        let actions = state.content.plan(&rules).or_else(|TooManyParts| state.content.plan_step(&rules));
        let actions = actions.map_err(|TooManyParts| UploadError::TooScattered { key: state.key.to_string() })?;
        state.content.seal(&actions);
        state.content.plan_fetches(&rules);
        let session = self.sender().begin_session(state);
        self.sender().dispatch(state);
        Ok(How::Parts(session))
    }

    /// One request instead of an upload, where one can do it. A copy only where it `may_copy`.
    fn decide_without_parts(&self, state: &State, may_copy: bool) -> Option<How> {
        let content = state.content.unsealed()?;
        let (first_part_bytes, put_bytes_max) =
            (self.transfers().ladder.first_bytes(), self.transfers().limits().put_bytes_max);
        let rules = self.transfers().rules();
        let all = || {
            let want = |fetch: &Fetch| Some(Wanted::new(fetch, state.resolve(&fetch.source)?));
            let wanted = state.content.fetches_of_all(&rules)?.iter().map(want).collect::<Option<_>>()?;
            Some(How::Put(chunks(content.clone(), |source| state.resolve(source)), wanted))
        };
        if content.len() == 0 {
            return all();
        }
        let whole = whole_object(state).filter(|object| object.version.size <= put_bytes_max);
        if let Some(object) = whole.filter(|_| may_copy) {
            return Some(How::Copy(object));
        }
        if content.len() > put_bytes_max {
            return None;
        }
        let is_in_memory = |extent: &Extent| !matches!(extent.source, ExtentSource::Stored { held: None, .. });
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

    async fn put(&self, chunks: Vec<Chunk>, wanted: &[Wanted], is_exact: bool) -> Result<Made, UploadError> {
        if !wanted.is_empty() {
            // Nobody who has room for what is fetched may wait for another who needs some.
            self.file.uploader.release_independent(self.file).await;
        }
        let mut loaded = self.transfers().load(chunks, wanted).await?;
        let (key, attributes) = {
            let mut state = self.lock();
            state.phase = Phase::Publishing { is_loaded: true };
            (state.key.clone(), state.metadata.all())
        };
        // Two files that each copy from the other have what they need by this.
        self.sender().changed.notify_waiters();
        if self.is_source() {
            loaded.give_up_room();
        }
        self.release_source(&key).await;
        self.expect_wanted()?;
        let (size, checksum) = (loaded.body.len(), loaded.checksum);
        let (store, overwrite) = (&self.transfers().store, self.overwrite(is_exact));
        let Published { etag, .. } = store.put_over(&key, loaded.body, checksum, &attributes, &overwrite).await?;
        Ok(Made { version: Version { etag, size, checksum: Some(checksum) }, attributes, part_count: 1 })
    }

    async fn copy_whole(&self, object: StoredObject) -> Result<Made, UploadError> {
        let (key, attributes) = {
            let state = self.lock();
            (state.key.clone(), state.metadata.all())
        };
        let store = &*self.transfers().store;
        let tags = match &attributes.tags {
            Tags::Unread => tags_of(store, &key).await?,
            known => known.clone(),
        };
        let own = ObjectAttributes { tags, ..attributes.clone() };
        let etag = Box::pin(copy_content(store, &object, &key, &own)).await?;
        Ok(Made { version: Version { etag, ..object.version }, attributes, part_count: 1 })
    }

    /// Waits until every part is acknowledged, and completes the upload.
    async fn finish_upload(&mut self, session: &Arc<Session>, is_exact: bool) -> Result<Made, UploadError> {
        let parts = self.all_verified().await?;
        // Only now, for the same reason as with a PUT.
        self.release_source(&session.key).await;
        let size = parts.iter().map(|part| part.size).sum();
        let algorithm = self.transfers().checksum;
        let checksum = algorithm.joined(parts.iter().map(|part| (part.crc64, part.size)));
        let etags: Vec<ETag> = parts.into_iter().map(|part| part.etag).collect();
        let upload = self.sender().upload(session).await?;
        self.expect_wanted()?;
        let store = self.transfers().store.clone();
        let completing = |overwrite: Overwrite| {
            let (store, etags) = (&store, &etags);
            async move { store.complete_over(&session.key, &upload.id, etags, size, checksum, &overwrite).await }
        };
        let completed = Box::pin(self.complete_unless_conflict(&session.key, is_exact, completing)).await?;
        let Published { etag, crc64: told } = completed;
        let version = Version { etag, size, checksum: checksum.or(told) };
        let attributes = upload.attributes.clone();
        if upload.is_resumed {
            self.lock().metadata.insist_on_time();
        }
        Ok(Made { version, attributes, part_count: etags.len() })
    }

    /// The parts, all of which are acknowledged, and what they have of other objects is what those have.
    async fn all_verified(&self) -> Result<Vec<UploadedPart>, UploadError> {
        let mut attempts = 1;
        loop {
            let parts = self.all_acknowledged().await?;
            let mut state = self.lock();
            let (source, apart) = match state.content.doubt(self.transfers().checksum) {
                None => return Ok(parts),
                Some(Doubt::Mismatch(source)) => (source, false),
                Some(Doubt::Gap(source)) => (source, true),
            };
            let from = state.resolve(&source).map_or_else(|| state.key.clone(), |object| object.key);
            let message = "what was fetched and copied of it has another checksum than the object";
            let error = StoreError::new(StoreErrorKind::Corrupted, None, from.as_str(), message);
            if attempts == FETCH_ATTEMPTS {
                return Err(error.into());
            }
            log::warn!("{}: {error}; made again", state.key);
            attempts += 1;
            state.content.make_again(&source, apart, &self.transfers().rules());
            self.sender().dispatch(&mut state);
        }
    }

    async fn all_acknowledged(&self) -> Result<Vec<UploadedPart>, UploadError> {
        let look = |state: &mut State| {
            if let Err(error) = state.expect_wanted() {
                return Some(Err(error));
            }
            // No earlier content of a part may still be on its way.
            if !state.busy.is_empty() {
                return None;
            }
            if state.must_replan {
                let (key, message) = (state.key.as_str(), "a part's number was refused");
                let error = StoreError::new(StoreErrorKind::TooManyParts, Op::UploadPart, key, message);
                return Some(Err(error.into()));
            }
            state.content.parts.acknowledged().map(Ok)
        };
        self.sender().until(look).await
    }

    /// Takes parts back whose numbers the service refused, for a plan with fewer.
    async fn take_back_refused_parts(&self) -> Result<(), UploadError> {
        let take_back = |state: &mut State| {
            if !state.must_replan {
                return Some(Ok(()));
            }
            // A lower number may be refused yet.
            if !state.busy.is_empty() {
                return None;
            }
            state.must_replan = false;
            let part_count_max = self.transfers().limits().part_count_max;
            let taken_back = state.content.unseal_unsent(part_count_max);
            Some(taken_back.map_err(|NotHeld| UploadError::TooScattered { key: state.key.to_string() }))
        };
        self.sender().until(take_back).await
    }

    /// Takes note of the object that was made, and returns whether it is all of the file.
    fn take_published(&self, made: Made, began: Instant) -> bool {
        let Made { version, attributes, part_count } = made;
        let mut state = self.lock();
        log_published(&state.key, &version, part_count, began);
        let keeps = version.size <= self.transfers().ladder.first_bytes() && !self.transfers().memory.is_short();
        Stats::add(&self.transfers().stats.published, 1);
        state.take_published(version, &attributes, keeps)
    }

    /// An error if the file has failed or is about to be removed: what has not begun by then is for nothing.
    fn expect_wanted(&self) -> Result<(), UploadError> {
        self.lock().expect_wanted()
    }

    /// Whether another open file copies from this one's object.
    fn is_source(&self) -> bool {
        self.file.uploader.is_source(&self.file.key(), self.file)
    }

    /// Waits until no other file wants to copy from the object under `key`, which is about to be replaced.
    async fn release_source(&self, key: &ObjectKey) {
        self.file.uploader.release_source(key, Some(self.file)).await;
    }

    /// Puts zeros into the bucket for the large holes of the file to be copied from, if it has any.
    async fn provide_zeros(&self) -> Result<(), UploadError> {
        let rules = self.transfers().rules();
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
        let Some(zeros) = self.transfers().zeros(hole_bytes, || self.expect_wanted()).await? else { return Ok(()) };
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

    /// Copies the object, with the attributes that the file has now, to `key`, which becomes the file's.
    async fn copy_to(&self, key: &ObjectKey) -> Result<(), UploadError> {
        let (object, attributes) = {
            let state = self.lock();
            let Some(object) = state.object() else { return Ok(()) };
            (object, state.metadata.all())
        };
        let etag = copy_object(&*self.transfers().store, &object, key, &attributes).await?;
        let mut state = self.lock();
        state.key = key.clone();
        state.rest_on_copy(Version { etag, ..object.version }, &attributes);
        Ok(())
    }

    /// Copies the object under the file's key to `hidden`, if the file needs something of it. Returns the copy, and whether there
    /// is an object under the key.
    async fn keep_readable(&self, hidden: &ObjectKey) -> Result<(Option<KeptCopy>, bool), UploadError> {
        let (needed, attributes, has_object) = {
            let state = self.lock();
            let needed = state.object().filter(|_| state.failure.is_none() && state.content.tail().needs_base());
            (needed, state.metadata.all(), state.content.base.is_some())
        };
        let Some(object) = needed else { return Ok((None, has_object)) };
        match copy_object(&*self.transfers().store, &object, hidden, &attributes).await {
            Ok(etag) => Ok((Some(KeptCopy { version: Version { etag, ..object.version }, attributes }), has_object)),
            // Somebody else was there before: what is missing cannot be had any more.
            Err(error) if error.is_of_version_gone() => {
                self.sender().fail(&mut self.lock(), error.into());
                Ok((None, has_object))
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// The copy of its object that a file goes on from which has lost its name.
struct KeptCopy {
    version: Version,
    attributes: ObjectAttributes,
}

/// A file that is about to lose its name, until it is said what became of that.
pub struct LosingName<'f> {
    /// `None` where it has lost it already.
    publishing: Option<Publishing<'f>>,
    published: Result<(), UploadError>,
    hidden: ObjectKey,
    kept: Option<KeptCopy>,
    has_object: bool,
}

impl LosingName<'_> {
    /// Whether the file has made an object under its key.
    pub fn has_object(&self) -> bool {
        self.has_object
    }

    /// The name is gone.
    pub fn lose(mut self) {
        let Some(publishing) = &self.publishing else { return };
        let mut state = publishing.lock();
        (state.key, state.name) = (self.hidden.clone(), Name::Lost);
        match self.kept.take() {
            Some(KeptCopy { version, attributes }) => state.rest_on_copy(version, &attributes),
            None => {
                state.content.let_go_of_base();
                state.note_content();
            }
        }
    }

    /// The file keeps its name after all.
    pub async fn keep(mut self) {
        let Some(publishing) = self.publishing.as_ref().filter(|_| self.kept.is_some()) else { return };
        if let Err(error) = publishing.transfers().store.delete(&self.hidden).await {
            log::error!("{} could not be removed and stays: {error}", self.hidden);
        }
        self.kept = None;
    }
}

impl Drop for LosingName<'_> {
    fn drop(&mut self) {
        if let Some(publishing) = self.publishing.take() {
            publishing.end(&self.published);
        }
    }
}

/// The object that the file is a copy of, from beginning to end.
fn whole_object(state: &State) -> Option<StoredObject> {
    let mut extents = state.content.unsealed()?.iter();
    let (Some(Extent { len, source: ExtentSource::Stored { object, start: 0, held: None } }), None) =
        (extents.next(), extents.next())
    else {
        return None;
    };
    state.resolve(object).filter(|object| object.version.size == *len)
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
