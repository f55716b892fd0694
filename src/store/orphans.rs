//! Uploads that nobody writes any more: of dead mounts, or of this one where the service did not answer.
//!
//! Each is aborted in the background, and tried again until it is. Those of dead mounts that hold much are kept for a while
//! before, for the file may be written again, and then what is at the service need not be sent a second time. Where only
//! the question for an upload is known, and not its answer, one that answers to it is looked for: of the same key, begun at
//! that moment, known to no mount, and without parts. The same is looked for of everything that was asked for when a mount
//! ends that has met with failures, and of what a dead mount had asked for: a service may begin one upload twice, or tell
//! an id that was damaged on the way.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use futures_util::stream::{self, StreamExt};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::{ListedPart, ListedUpload, ObjectStore, Resumed, StoreError, StoreErrorKind};
use crate::journal::{Asked, BegunUpload, Entry, Journal, UnfinishedUpload};
use crate::object::limits::MIB;
use crate::object::{ObjectAttributes, ObjectKey, UploadId, UploadedPart};

/// Orphans that are ended at once.
const CONCURRENCY: usize = 8;

/// The pause after a failed attempt, and the longest to which it doubles.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(300);

/// Bytes below which a part of a file is sent again as fast as it is looked for.
const WORTH_BYTES: u64 = 32 * MIB;
/// So many times as long as it took to send them, parts are kept: storing them meanwhile costs in proportion.
const WORTH_TIMES: u32 = 10;
const KEPT_MIN: Duration = Duration::from_secs(30);
const KEPT_MAX: Duration = Duration::from_secs(24 * 3600);

/// How far the clocks of service and requests may differ, in whole seconds that both are rounded to.
const CLOCK_SLACK: Duration = Duration::from_secs(2);
/// How long after it was sent a request may be answered to whose sender is dead.
const LATE_MAX: Duration = Duration::from_secs(5);
/// When an upload that was looked for and not found is looked for a second time, and last.
const SECOND_LOOK: Duration = Duration::from_secs(10);

/// How often all that was asked for is looked for before that is left to the next mount.
const SWEEPS_MAX: u32 = 3;

/// Uploads that were asked for and are remembered, some 100 bytes each.
const ASKED_MAX: usize = 100_000;

/// How long uploads of dead mounts are kept for their files to be written again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ResumeWindow {
    /// By what they hold: not at all below 32 MiB, and ten times as long as it took to send it otherwise, half a minute at
    /// least and a day at most.
    #[default]
    ByWorth,
    /// So long, whatever they hold.
    For(Duration),
}

impl ResumeWindow {
    pub(super) fn of(self, upload: &UnfinishedUpload) -> Duration {
        let Some(begun) = &upload.begun else { return Duration::ZERO };
        match self {
            ResumeWindow::For(window) => window,
            ResumeWindow::ByWorth if begun.bytes() < WORTH_BYTES => Duration::ZERO,
            ResumeWindow::ByWorth => {
                let took = begun.last_at.duration_since(upload.asked_at).unwrap_or_default();
                took.saturating_mul(WORTH_TIMES).clamp(KEPT_MIN, KEPT_MAX)
            }
        }
    }
}

/// One upload that is to be ended.
struct Orphan {
    entry: Entry,
    key: ObjectKey,
    what: What,
    due: Instant,
    /// Attempts that have failed.
    failures: u32,
}

enum What {
    /// To be aborted, or gone on with.
    Begun(Box<BegunUpload>),
    /// To be looked for: what was asked for and begun between these times of the service.
    Unknown { asked: AskedWithin, is_second_look: bool },
}

/// What a try has come to.
enum Ended {
    Yes,
    LookAgain,
}

pub(super) struct Orphans {
    store: Arc<dyn ObjectStore>,
    journal: Arc<Journal>,
    /// Std mutex: list operations only. Level 8 in the order of locks, over the journal's.
    waiting: Mutex<Vec<Orphan>>,
    /// Told when there is another one, or when all are due.
    changed: Arc<Notify>,
    /// How many there are, those among them that are being ended.
    left: watch::Sender<usize>,
    /// What was asked for. Std mutex: list operations only. Level 8 in the order of locks.
    asked: Mutex<AskedList>,
    /// Whether a call has failed, or a request was repeated, so that the service may have begun what it did not tell.
    is_suspicious: AtomicBool,
}

/// An upload of `key` was asked for, and begun if it was between these times of the service.
#[derive(Clone)]
struct AskedWithin {
    key: ObjectKey,
    from: SystemTime,
    until: SystemTime,
}

impl AskedWithin {
    /// By a mount that is dead: its last requests may have come in behind it.
    fn by_dead(Asked { key, at }: Asked) -> AskedWithin {
        AskedWithin { key, from: at, until: at + LATE_MAX }
    }

    fn is_of(&self, upload: &ListedUpload) -> bool {
        let within = self.from - CLOCK_SLACK..=self.until + CLOCK_SLACK;
        upload.key == self.key.as_str() && within.contains(&upload.initiated)
    }
}

impl Orphans {
    pub(super) fn new(store: Arc<dyn ObjectStore>, journal: Arc<Journal>) -> Arc<Orphans> {
        let (waiting, changed, left) = (Mutex::default(), Arc::default(), watch::Sender::new(0));
        let (asked, is_suspicious) = (Mutex::default(), AtomicBool::new(false));
        Arc::new(Orphans { store, journal, waiting, changed, left, asked, is_suspicious })
    }

    /// Takes what a dead mount has left.
    pub(super) fn inherit(&self, entry: Entry, upload: UnfinishedUpload, window: ResumeWindow) {
        let (window, key) = (window.of(&upload), upload.key);
        let what = match upload.begun {
            Some(begun) => What::Begun(begun),
            None => {
                let asked = AskedWithin::by_dead(Asked { key: key.clone(), at: upload.asked_at });
                What::Unknown { asked, is_second_look: false }
            }
        };
        log::info!("{key}: an upload of a mount that is dead, kept for {} s", window.as_secs());
        self.add(Orphan { entry, key, what, due: Instant::now() + window, failures: 0 });
    }

    /// One whose abort has failed.
    pub(super) fn abort_later(&self, entry: Entry, key: &ObjectKey, upload: &UploadId) {
        let last_at = self.store.service_time();
        let (upload, parts, sent) = (upload.clone(), BTreeMap::new(), BTreeMap::new());
        let begun = BegunUpload { upload, attributes: ObjectAttributes::default(), parts, sent, last_at };
        let due = Instant::now() + PAUSE_FIRST;
        self.add(Orphan { entry, key: key.clone(), what: What::Begun(Box::new(begun)), due, failures: 1 });
    }

    /// The answer to a question for an upload of `key`, asked first at `from`, was lost.
    pub(super) fn look_for_unknown(&self, entry: Entry, key: &ObjectKey, from: SystemTime) {
        let what = What::Unknown { asked: self.asked_until_now(key, from), is_second_look: false };
        self.add(Orphan { entry, key: key.clone(), what, due: Instant::now(), failures: 0 });
    }

    /// An upload of `key` was asked for from `from` until now.
    pub(super) fn note_asked(&self, key: &ObjectKey, from: SystemTime) {
        let asked = self.asked_until_now(key, from);
        self.lock_asked().push(asked);
    }

    fn asked_until_now(&self, key: &ObjectKey, from: SystemTime) -> AskedWithin {
        AskedWithin { key: key.clone(), from, until: self.store.service_time() }
    }

    /// A call has failed: who knows what the service did.
    pub(super) fn suspect(&self) {
        self.is_suspicious.store(true, Ordering::Relaxed);
    }

    fn lock_asked(&self) -> MutexGuard<'_, AskedList> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, orphan: Orphan) {
        self.left.send_modify(|left| *left += 1);
        self.put_back(orphan);
    }

    fn put_back(&self, orphan: Orphan) {
        self.lock().push(orphan);
        self.changed.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Orphan>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the upload of `key` that holds most, for somebody who writes the file again. The others are due.
    fn take(&self, key: &ObjectKey) -> Option<(Entry, Box<BegunUpload>)> {
        let mut waiting = self.lock();
        let is_one = |orphan: &Orphan| orphan.key == *key && matches!(orphan.what, What::Begun(_));
        let bytes = |orphan: &Orphan| match &orphan.what {
            What::Begun(begun) => begun.bytes(),
            What::Unknown { .. } => 0,
        };
        let candidates = waiting.iter().enumerate().filter(|(_, orphan)| is_one(orphan) && bytes(orphan) > 0);
        let (index, _) = candidates.max_by_key(|(_, orphan)| bytes(orphan))?;
        let Orphan { entry, what: What::Begun(begun), .. } = waiting.swap_remove(index) else { return None };
        waiting.iter_mut().filter(|orphan| is_one(orphan)).for_each(|orphan| orphan.due = Instant::now());
        drop(waiting);
        self.changed.notify_waiters();
        Some((entry, begun))
    }

    /// Goes on with an upload of `key`, with the parts that the service has as they were written down.
    pub(super) async fn resume(&self, key: &ObjectKey) -> Option<Resumed> {
        let (entry, begun) = self.take(key)?;
        let listed = self.store.list_parts(key, &begun.upload).await;
        let parts = match listed {
            Ok(listed) => {
                listed.iter().filter_map(|listed| Some((listed.number, known_part(&begun, listed)?))).collect()
            }
            Err(error) => {
                log::warn!("{key}: upload {} of a dead mount is not gone on with: {error}", begun.upload);
                BTreeMap::new()
            }
        };
        if parts.is_empty() {
            self.put_back(Orphan {
                entry,
                key: key.clone(),
                what: What::Begun(begun),
                due: Instant::now(),
                failures: 0,
            });
            return None;
        }
        self.one_less();
        let (bytes, upload) = (parts.values().map(|part| part.size).sum::<u64>(), begun.upload);
        log::info!("{key}: goes on with upload {upload} of a dead mount, which has {bytes} bytes");
        Some(Resumed { upload, attributes: begun.attributes, parts })
    }

    fn one_less(&self) {
        self.left.send_modify(|left| *left -= 1);
    }

    /// Ends what is due for as long as anybody has the orphans.
    pub(super) async fn end_when_due(orphans: Weak<Orphans>) {
        let Some(changed) = orphans.upgrade().map(|orphans| orphans.changed.clone()) else { return };
        loop {
            let mut changed = std::pin::pin!(changed.notified());
            changed.as_mut().enable();
            let next = {
                let Some(orphans) = orphans.upgrade() else { return };
                orphans.end_due().await;
                orphans.lock().iter().map(|orphan| orphan.due).min()
            };
            // Looks up now and then, to end with the mount.
            let next = next.unwrap_or_else(|| Instant::now() + PAUSE_MAX);
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep_until(next) => {}
            }
        }
    }

    async fn end_due(&self) {
        let now = Instant::now();
        let due: Vec<Orphan> = {
            let mut waiting = self.lock();
            let (due, later) = std::mem::take(&mut *waiting).into_iter().partition(|orphan| orphan.due <= now);
            *waiting = later;
            due
        };
        stream::iter(due).for_each_concurrent(CONCURRENCY, |orphan| self.end(orphan)).await;
    }

    /// Everything is due; returns when nothing is left, and whether that is certain.
    pub(super) async fn end_all(&self) -> bool {
        let mut left = self.left.subscribe();
        self.lock().iter_mut().for_each(|orphan| orphan.due = Instant::now());
        self.changed.notify_waiters();
        // The sender is here, so the channel is open.
        let _ = left.wait_for(|left| *left == 0).await;
        !self.is_suspicious.load(Ordering::Relaxed) || self.abort_all_unknown().await
    }

    /// Takes note of what dead mounts have asked for, and aborts what they were not told of.
    pub(super) async fn abort_unknown_of_dead(&self, asked: Vec<Asked>) {
        asked.into_iter().map(AskedWithin::by_dead).for_each(|asked| self.lock_asked().push(asked));
        self.suspect();
        self.abort_all_unknown().await;
    }

    /// Aborts every upload that was asked for and that no mount knows. Returns whether the service could be asked.
    async fn abort_all_unknown(&self) -> bool {
        let asked = self.lock_asked().0.clone();
        let Some(prefix) = common_prefix(asked.iter().map(|asked| asked.key.as_str())) else { return true };
        // By key, because there may be as many as there were files.
        let mut by_key: HashMap<&str, Vec<&AskedWithin>> = HashMap::new();
        asked.iter().for_each(|asked| by_key.entry(asked.key.as_str()).or_default().push(asked));
        let was_asked_for = |upload: &ListedUpload| {
            by_key.get(upload.key.as_str()).is_some_and(|asked| asked.iter().any(|asked| asked.is_of(upload)))
        };
        for attempt in 1..=SWEEPS_MAX {
            match self.abort_unknown(&prefix, was_asked_for).await {
                Ok(_) => return true,
                Err(error) if attempt == SWEEPS_MAX => {
                    log::warn!("whether uploads are left whose ids were lost is not known: {error}");
                }
                Err(_) => {}
            }
        }
        false
    }

    async fn end(&self, mut orphan: Orphan) {
        let ended = match &orphan.what {
            What::Begun(begun) => self.store.abort(&orphan.key, &begun.upload).await.map(|()| {
                log::info!("{}: aborted upload {}, which nobody writes", orphan.key, begun.upload);
                Ended::Yes
            }),
            What::Unknown { asked, is_second_look } => {
                let found = self.abort_unknown(orphan.key.as_str(), |upload| asked.is_of(upload)).await;
                found.map(|found| if found || *is_second_look { Ended::Yes } else { Ended::LookAgain })
            }
        };
        match ended {
            Ok(Ended::Yes) => {
                self.journal.ended(orphan.entry);
                self.one_less();
                return;
            }
            Ok(Ended::LookAgain) => {
                orphan.due = Instant::now() + SECOND_LOOK;
                if let What::Unknown { is_second_look, .. } = &mut orphan.what {
                    *is_second_look = true;
                }
            }
            Err(error) => {
                if orphan.failures == 0 {
                    log::warn!("{}: an upload that nobody writes cannot be aborted yet: {error}", orphan.key);
                }
                orphan.due = Instant::now() + PAUSE_FIRST.saturating_mul(1 << orphan.failures.min(20)).min(PAUSE_MAX);
                orphan.failures += 1;
            }
        }
        self.put_back(orphan);
    }

    /// Aborts the uploads below `prefix` that were asked for, that no mount knows, and that have no part. Returns whether there
    /// was one.
    async fn abort_unknown(
        &self,
        prefix: &str,
        was_asked_for: impl Fn(&ListedUpload) -> bool,
    ) -> Result<bool, StoreError> {
        let mut candidates = self.store.list_uploads(prefix).await?;
        candidates.retain(was_asked_for);
        if candidates.is_empty() {
            return Ok(false);
        }
        let journal = self.journal.clone();
        let known = tokio::task::spawn_blocking(move || journal.known_uploads()).await.unwrap_or_default();
        candidates.retain(|listed| !known.contains(&listed.upload));
        // All of them, also where one cannot be asked about; collected first, so that the compiler can show them to be `Send`.
        let aborts: Vec<_> = candidates.into_iter().map(|listed| self.abort_if_empty(listed)).collect();
        let aborted: Vec<_> = stream::iter(aborts).buffer_unordered(CONCURRENCY).collect().await;
        let aborted: Vec<bool> = aborted.into_iter().collect::<Result<_, _>>()?;
        Ok(aborted.contains(&true))
    }

    /// Aborts an upload that has no part, and returns whether it had none.
    async fn abort_if_empty(&self, ListedUpload { key, upload, .. }: ListedUpload) -> Result<bool, StoreError> {
        let Ok(key) = ObjectKey::new(key) else { return Ok(false) };
        if self.has_parts(&key, &upload).await? {
            return Ok(false);
        }
        self.store.abort(&key, &upload).await?;
        log::info!("{key}: aborted upload {upload}, whose id was lost on the way");
        Ok(true)
    }

    async fn has_parts(&self, key: &ObjectKey, upload: &UploadId) -> Result<bool, StoreError> {
        match self.store.list_parts(key, upload).await {
            Ok(parts) => Ok(!parts.is_empty()),
            // Gone meanwhile, as it should be.
            Err(error) if error.kind == StoreErrorKind::NoSuchUpload => Ok(true),
            Err(error) => Err(error),
        }
    }
}

/// The part as the mount that died knew it: the one that it was told to have landed, or else the one that it was sending.
/// Whether its bytes came as they were sent the checksum of the whole will tell.
fn known_part(begun: &BegunUpload, listed: &ListedPart) -> Option<UploadedPart> {
    let ListedPart { number, size, etag, .. } = listed;
    let landed = begun.parts.get(number).filter(|part| (part.size, &part.etag) == (*size, etag)).cloned();
    let sent = begun.sent.get(number).filter(|part| part.size == *size);
    landed.or_else(|| Some(UploadedPart { etag: etag.clone(), size: *size, crc64: Some(sent?.crc64) }))
}

/// What was asked for, the newest of it.
#[derive(Default)]
struct AskedList(VecDeque<AskedWithin>);

impl AskedList {
    fn push(&mut self, asked: AskedWithin) {
        if self.0.len() == ASKED_MAX {
            self.0.pop_front();
        }
        self.0.push_back(asked);
    }
}

/// What all of them begin with; `None` if there are none.
fn common_prefix<'k>(mut keys: impl Iterator<Item = &'k str>) -> Option<String> {
    let first = keys.next()?;
    let common = keys.fold(first, |common, key| {
        let same = common.char_indices().zip(key.chars()).find(|((_, one), other)| one != other);
        let end = same.map_or(common.len().min(key.len()), |((at, _), _)| at);
        &common[..end]
    });
    Some(common.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_in_common_what_they_begin_with() {
        let table: [(&[&str], Option<&str>); 6] = [
            (&[], None),
            (&["a/b"], Some("a/b")),
            (&["a/b", "a/c"], Some("a/")),
            (&["a/b", "a/bc", "a/b"], Some("a/b")),
            (&["\u{e4}1", "\u{e5}1"], Some("")),
            (&["a\u{e4}1", "a\u{e4}2", "a"], Some("a")),
        ];
        for (keys, expected) in table {
            assert_eq!(common_prefix(keys.iter().copied()).as_deref(), expected, "{keys:?}");
        }
    }
}
