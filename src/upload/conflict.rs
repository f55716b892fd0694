//! What happens where somebody else has changed the object that a file is about to replace.
//!
//! The service replaces objects without conditions, so that a change is noticed only by asking before. Whoever wants that
//! pays a HEAD for each publishing.

use std::future::Future;

use super::copying::copy_object;
use super::error::UploadError;
use super::options::OnConflict;
use super::publishing::Publishing;
use super::state::{Name, Replaces};
use crate::object::{ETag, ObjectHead, ObjectKey, StoredObject, Version, time};
use crate::store::{Op, Published, StoreError, StoreErrorKind};

/// What a file does about another's object.
enum Verdict {
    /// There is none, or it may be replaced.
    Replace,
    /// It stays where it is.
    Beside(Box<ObjectHead>),
}

impl Publishing<'_> {
    /// Finds out about a conflict while nothing is on its way: keeping both is then a matter of another key.
    pub(super) async fn find_conflict_before(&self) -> Result<(), UploadError> {
        if self.lock().content.parts.count() > 0 {
            return Ok(());
        }
        if let Verdict::Beside(_) = self.judge().await? {
            let mut state = self.lock();
            if state.content.tail().needs_base() {
                // The bytes that are missing were in the version that is gone.
                return Err(changed(&state.key).into());
            }
            let beside = self.conflict_key(&state.key);
            log::warn!("{}: changed by somebody else; published as {beside}", state.key);
            state.content.let_go_of_base();
            state.key = beside;
        }
        Ok(())
    }

    /// Completes an upload by `completing`, unless somebody has changed the object under `key` meanwhile.
    ///
    /// An upload cannot change its key. To keep both, the other's object steps aside for a moment.
    pub(super) async fn complete_unless_conflict<F>(
        &self,
        key: &ObjectKey,
        completing: impl FnOnce() -> F,
    ) -> Result<Published, UploadError>
    where
        F: Future<Output = Result<Published, StoreError>>,
    {
        let Verdict::Beside(theirs) = self.judge().await? else { return Ok(completing().await?) };
        let (aside, beside) = (self.conflict_key(&suffixed(key, ".theirs")), self.conflict_key(key));
        log::warn!("{key}: changed by somebody else; their version is {aside} until ours is {beside}");
        let published = self.complete_beside(key, &theirs, (&aside, &beside), completing).await;
        match &published {
            Ok(_) => {
                log::warn!("{key}: changed by somebody else; published as {beside}");
                self.lock().key = beside;
            }
            Err(error) => log::error!(
                "{key}: nothing is lost, but versions may be under other keys: theirs {aside}, ours {key} or {beside}: {error}"
            ),
        }
        Ok(published?)
    }

    /// Completes an upload at `key`, takes the object from there to `beside`, and puts `theirs` back from `aside`.
    async fn complete_beside<F>(
        &self,
        key: &ObjectKey,
        theirs: &ObjectHead,
        (aside, beside): (&ObjectKey, &ObjectKey),
        completing: impl FnOnce() -> F,
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
        let ours = completing().await?;
        let head = store.head(key).await?;
        let at_beside = copy_object(store, &object(key, ours.etag, &head), beside, &head.attributes).await?;
        copy_object(store, &theirs_at(aside, at_aside), key, &theirs.attributes).await?;
        store.delete(aside).await?;
        Ok(Published { etag: at_beside, crc64: ours.crc64 })
    }

    /// Asks for the object under the file's key, if the options want to know, and decides.
    async fn judge(&self) -> Result<Verdict, UploadError> {
        if self.transfers().options.on_conflict == OnConflict::Overwrite {
            return Ok(Verdict::Replace);
        }
        let (key, expected) = {
            let state = self.lock();
            let Name::Own(Replaces::Found(found)) = &state.name else { return Ok(Verdict::Replace) };
            let base = state.content.base.as_ref().map(|base| base.etag.clone());
            (state.key.clone(), base.or_else(|| found.clone()))
        };
        let head = match self.transfers().store.head(&key).await {
            // It is copied, and keeps its time in that.
            Ok(head) => ObjectHead { attributes: head.attributes.with_mtime_or(head.last_modified), ..head },
            Err(error) if error.kind == StoreErrorKind::NotFound => return Ok(Verdict::Replace),
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
