//! What happens where somebody else has changed the object that a file is about to replace.
//!
//! A service that holds to conditions is told what the file may replace, and refuses when that is not what is there: nothing
//! comes in between. Of any other, COS among them, a change is noticed only by asking before; whoever wants that pays a HEAD
//! for each publishing.

use std::future::Future;

use super::copying::{copy_object, put_back};
use super::error::UploadError;
use super::options::OnConflict;
use super::publishing::Publishing;
use super::state::{Name, Replaces};
use crate::object::{ETag, ObjectHead, ObjectKey, StoredObject, Version, time};
use crate::store::{Op, Overwrite, Published, StoreError, StoreErrorKind};

/// How often a publishing is refused for an object that has changed once more by the time it is looked at.
const REFUSALS_MAX: usize = 16;

/// What a file does about another's object.
enum Verdict {
    /// There is none.
    Absent,
    /// It may be replaced.
    Replace,
    /// It stays where it is.
    Beside(Box<ObjectHead>),
}

impl Publishing<'_> {
    /// Whether the service is to hold to what this file may replace, however it is published.
    pub(super) async fn is_exact(&self) -> bool {
        self.expected().is_some()
            && self.transfers().keep_conditions(Op::PutObject).await
            && self.transfers().keep_conditions(Op::CompleteMultipartUpload).await
    }

    /// What a request that publishes the file is told that it may replace.
    pub(super) fn overwrite(&self, is_exact: bool) -> Overwrite {
        match self.expected().filter(|_| is_exact) {
            None => Overwrite::Allowed,
            Some((_, None)) => Overwrite::IfAbsent,
            Some((_, Some(etag))) => Overwrite::OnlyOf(etag),
        }
    }

    /// Finds out about a conflict while nothing is on its way: keeping both is then a matter of another key.
    pub(super) async fn find_conflict_before(&mut self) -> Result<(), UploadError> {
        if self.lock().content.parts.count() > 0 {
            return Ok(());
        }
        self.turn_aside().await
    }

    /// Looks at what is there, after a request was refused for it, too. Where both are kept, the file has another key by then.
    pub(super) async fn turn_aside(&mut self) -> Result<(), UploadError> {
        match self.judge().await? {
            Verdict::Replace => {}
            Verdict::Absent => self.replaces_nothing = true,
            Verdict::Beside(_) => {
                let mut state = self.lock();
                if state.content.tail().needs_base() {
                    // The bytes that are missing were in the version that is gone.
                    return Err(changed(&state.key).into());
                }
                let beside = self.conflict_key(&state.key);
                log::warn!("{}: changed by somebody else; published as {beside}", state.key);
                state.content.let_go_of_base();
                state.key = beside;
                drop(state);
                self.replaces_nothing = true;
            }
        }
        Ok(())
    }

    /// An error once a publishing has been refused too often, each time for another object.
    pub(super) fn expect_end_of_conflicts(&mut self) -> Result<(), UploadError> {
        self.refusals += 1;
        if self.refusals > REFUSALS_MAX { Err(changed(&self.lock().key).into()) } else { Ok(()) }
    }

    /// Completes an upload by `completing`, unless somebody has changed the object under `key` meanwhile.
    ///
    /// An upload cannot change its key. To keep both, the other's object steps aside for a moment.
    pub(super) async fn complete_unless_conflict<F>(
        &mut self,
        key: &ObjectKey,
        is_exact: bool,
        completing: impl Fn(Overwrite) -> F,
    ) -> Result<Published, UploadError>
    where
        F: Future<Output = Result<Published, StoreError>>,
    {
        loop {
            if is_exact {
                match completing(self.overwrite(true)).await {
                    Err(error) if is_conflict(&error) => self.expect_end_of_conflicts()?,
                    completed => return Ok(completed?),
                }
            }
            let theirs = match self.judge().await? {
                Verdict::Beside(theirs) => theirs,
                Verdict::Absent if is_exact => {
                    self.replaces_nothing = true;
                    continue;
                }
                Verdict::Replace if is_exact => continue,
                Verdict::Absent | Verdict::Replace => return Ok(completing(Overwrite::Allowed).await?),
            };
            let (aside, beside) = (self.conflict_key(&suffixed(key, ".theirs")), self.conflict_key(key));
            log::warn!("{key}: changed by somebody else; their version is {aside} until ours is {beside}");
            let beside_it = self.complete_beside(key, &theirs, (&aside, &beside), is_exact, &completing);
            let published = Box::pin(beside_it).await;
            match &published {
                Ok(_) => {
                    log::warn!("{key}: changed by somebody else; published as {beside}");
                    self.lock().key = beside;
                }
                // Changed once more before ours was there.
                Err(error) if is_exact && is_conflict(error) => {
                    self.expect_end_of_conflicts()?;
                    continue;
                }
                Err(error) => log::error!(
                    "{key}: nothing is lost, but versions may be under other keys: theirs {aside}, ours {key} or {beside}: {error}"
                ),
            }
            return Ok(published?);
        }
    }

    /// Completes an upload at `key`, takes the object from there to `beside`, and puts `theirs` back from `aside`.
    async fn complete_beside<F>(
        &self,
        key: &ObjectKey,
        theirs: &ObjectHead,
        (aside, beside): (&ObjectKey, &ObjectKey),
        is_exact: bool,
        completing: &impl Fn(Overwrite) -> F,
    ) -> Result<Published, StoreError>
    where
        F: Future<Output = Result<Published, StoreError>>,
    {
        let store = &*self.transfers().store;
        let object = |key: &ObjectKey, etag: ETag, head: &ObjectHead| -> StoredObject {
            Version { etag, ..head.version() }.under(key.clone())
        };
        let theirs_at = |key, etag| object(key, etag, theirs);
        let at_aside = copy_object(store, &theirs_at(key, theirs.etag.clone()), aside, &theirs.attributes).await?;
        let of_theirs = || Overwrite::OnlyOf(theirs.etag.clone());
        let completed = completing(if is_exact { of_theirs() } else { Overwrite::Allowed }).await;
        if completed.as_ref().is_err_and(|error| is_exact && is_conflict(error)) {
            store.delete(aside).await?;
        }
        let ours = completed?;
        let head = store.head(key).await?;
        let ours_there = object(key, ours.etag.clone(), &head);
        let at_beside = copy_object(store, &ours_there, beside, &head.attributes).await?;
        let published = Published { etag: at_beside, crc64: ours.crc64 };
        let theirs_aside = theirs_at(aside, at_aside);
        if !is_exact {
            copy_object(store, &theirs_aside, key, &theirs.attributes).await?;
        } else {
            match put_back(store, &theirs_aside, key, &theirs.attributes, &Overwrite::OnlyOf(ours.etag)).await {
                Err(error) if is_conflict(&error) => {
                    log::warn!("{key}: changed by somebody else once more; the version before is {aside}");
                    return Ok(published);
                }
                back => back?,
            };
        }
        store.delete(aside).await?;
        Ok(published)
    }

    /// The key of the file and the version that is expected there, which is none where the file is new; `None` if it may replace
    /// whatever there is.
    fn expected(&self) -> Option<(ObjectKey, Option<ETag>)> {
        if self.transfers().options.on_conflict == OnConflict::Overwrite {
            return None;
        }
        let state = self.lock();
        let Name::Own(Replaces::Found(found)) = &state.name else { return None };
        let base = state.content.base.as_ref().map(|base| base.etag.clone());
        Some((state.key.clone(), base.or_else(|| found.clone()).filter(|_| !self.replaces_nothing)))
    }

    /// Asks for the object under the file's key, if the options want to know, and decides.
    async fn judge(&self) -> Result<Verdict, UploadError> {
        let Some((key, expected)) = self.expected() else { return Ok(Verdict::Replace) };
        let head = match self.transfers().store.head(&key).await {
            // It is copied, and keeps its time in that.
            Ok(head) => ObjectHead { attributes: head.attributes.with_mtime_or(head.last_modified), ..head },
            Err(error) if error.kind == StoreErrorKind::NotFound => return Ok(Verdict::Absent),
            Err(error) => return Err(error.into()),
        };
        if expected.as_ref() == Some(&head.etag) {
            return Ok(Verdict::Replace);
        }
        match self.transfers().options.on_conflict {
            OnConflict::KeepBoth { .. } => Ok(Verdict::Beside(Box::new(head))),
            OnConflict::Overwrite | OnConflict::Fail => Err(changed(&key).into()),
        }
    }

    /// `NAME.conflict-HOST-TIME`, the time in UTC.
    fn conflict_key(&self, key: &ObjectKey) -> ObjectKey {
        let OnConflict::KeepBoth { host } = &self.transfers().options.on_conflict else { return key.clone() };
        suffixed(key, &format!(".conflict-{host}-{}", time::compact(self.transfers().clock.now())))
    }
}

/// A key with something behind it, cut where that would be too long for a key.
fn suffixed(key: &ObjectKey, suffix: &str) -> ObjectKey {
    let mut text = key.as_str();
    loop {
        match ObjectKey::new(format!("{text}{suffix}")) {
            Ok(key) => return key,
            Err(_) => match text.char_indices().next_back() {
                Some((end, _)) => text = &text[..end],
                None => return key.clone(),
            },
        }
    }
}

/// Whether a request that publishes was refused for what it would have replaced. A service that finds nothing where a version
/// is expected may call that missing.
pub(super) fn is_conflict(error: &StoreError) -> bool {
    let publishes = matches!(error.op, Some(Op::PutObject | Op::CompleteMultipartUpload));
    publishes && matches!(error.kind, StoreErrorKind::Changed | StoreErrorKind::NotFound)
}

fn changed(key: &ObjectKey) -> StoreError {
    StoreError::new(StoreErrorKind::Changed, Op::HeadObject, key.as_str(), "another object is there by now")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conflict_is_named_after_the_file_and_fits_a_key() {
        let key = ObjectKey::new("dir/report.txt").unwrap();
        assert_eq!(suffixed(&key, ".conflict-h-T").as_str(), "dir/report.txt.conflict-h-T");
        let long = ObjectKey::new("ü".repeat(425)).unwrap();
        let shortened = suffixed(&long, ".conflict-h-T");
        assert!(shortened.as_str().ends_with("ü.conflict-h-T") && shortened.as_str().len() <= 850);
    }
}
