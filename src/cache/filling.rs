//! What readers got goes to the disk, off their way.
//!
//! One thread writes. What waits for it is bounded: where the disk is slower than the network, who sends waits for it for a small
//! share of his time, who fetches does not, and what comes then is not kept.

use std::collections::HashSet;
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::GRAIN_BYTES;
use super::directory::DiskCache;
use super::draft::Draft;
use super::entry::{Entry, records_of_sums};
use super::header::Identity;
use crate::object::{Checksum, ChecksumAlgorithm};

/// What is written with one call, in bytes, if it comes in more than one piece.
const WRITTEN_AT_ONCE_MAX: u64 = 8 << 20;

/// What is taken at once of all that waits, in bytes: what four requests bring, so that it can be put in order.
const TAKEN_AT_ONCE: u64 = 16 << 20;

/// What readers got may wait up to so much at first, in bytes. That is doubled when it is too little, once each time that the disk has come
/// to the end of what waited: before a disk that is slower all the time nothing is won by having more wait, and memory that is new
/// to a process is dear. What writers send is in memory anyway.
const WAITING_AT_FIRST: u64 = 8 << 20;

/// What is known of a version is not written down, this time, when so much else waits: it holds no memory, but its copy is open.
const DESCRIPTIONS_BEHIND_MAX: u64 = 1024;

/// Bytes that came of an object.
pub struct Filling {
    /// Where they go.
    pub(super) target: Target,
    /// Where they begin in the object.
    pub(super) start: u64,
    /// They stay in memory until they are written.
    pub(super) bytes: Arc<dyn AsRef<[u8]> + Send + Sync>,
    /// What their checksum was at the end of each of their grains, and at last, if somebody has taken that.
    sums: Vec<Checksum>,
    /// The checksum of the whole object, where the service has told it.
    pub(super) expected: Option<Checksum>,
    /// What of the memory they hold until then, in bytes.
    pub(super) held_bytes: u64,
}

/// Where bytes go.
pub(super) enum Target {
    /// To a copy that somebody has open, if nothing of it was forgotten since this epoch.
    Open(Arc<Entry>, u64),
    /// To the copy of a version, which is opened for that.
    Version(Identity, ChecksumAlgorithm),
    /// To a copy that nobody knows the version of.
    Draft(Arc<Draft>),
    /// To nothing: that copy is one of this version.
    Adopted(Arc<Draft>, Identity),
    /// To nothing: what else is known of it.
    Described(Arc<Entry>),
}

impl Filling {
    /// Bytes that came of the object from `start` on, and hold `held_bytes` of the memory; `expected` is the checksum of the
    /// whole object, where the service has told it.
    pub fn new(
        entry: Arc<Entry>,
        start: u64,
        (bytes, held_bytes): (Arc<dyn AsRef<[u8]> + Send + Sync>, u64),
        expected: Option<Checksum>,
    ) -> Filling {
        let epoch = entry.epoch();
        Filling::to(Target::Open(entry, epoch), start, (bytes, held_bytes), expected)
    }

    /// All bytes of a version, whose checksum is known, and which hold `held_bytes` of the memory.
    pub fn of_whole(
        identity: Identity,
        algorithm: ChecksumAlgorithm,
        bytes: (Arc<dyn AsRef<[u8]> + Send + Sync>, u64),
        checksum: Checksum,
    ) -> Filling {
        Filling::to(Target::Version(identity, algorithm), 0, bytes, Some(checksum))
    }

    /// Bytes that are to be at `start` of what is uploaded, and hold `held_bytes` of the memory.
    pub fn of_draft(draft: Arc<Draft>, start: u64, bytes: (Arc<dyn AsRef<[u8]> + Send + Sync>, u64)) -> Filling {
        Filling::to(Target::Draft(draft), start, bytes, None)
    }

    /// No bytes: what was uploaded is this version, whose checksum is known or not.
    pub fn adopted(draft: Arc<Draft>, identity: Identity, expected: Option<Checksum>) -> Filling {
        Filling::to(Target::Adopted(draft, identity), 0, (Arc::new([]), 0), expected)
    }

    /// No bytes: what else is known of the version of a copy is to be written down.
    pub fn of_description(copy: Arc<Entry>) -> Filling {
        Filling::to(Target::Described(copy), 0, (Arc::new([]), 0), None)
    }

    fn to(
        target: Target,
        start: u64,
        (bytes, held_bytes): (Arc<dyn AsRef<[u8]> + Send + Sync>, u64),
        expected: Option<Checksum>,
    ) -> Filling {
        Filling { target, start, bytes, sums: Vec::new(), expected, held_bytes }
    }

    /// Somebody has taken what the checksum of the bytes was at the end of each grain, and at last, as if the first byte began one.
    #[must_use]
    pub fn with_sums(self, sums: Vec<Checksum>) -> Filling {
        Filling { sums, ..self }
    }

    /// The records of all its grains, where nothing has to be computed from the bytes for that.
    pub(super) fn records(&self, algorithm: ChecksumAlgorithm) -> Option<Vec<u8>> {
        let len = (*self.bytes).as_ref().len() as u64;
        let is_of_grains =
            self.start.is_multiple_of(GRAIN_BYTES) && self.sums.len() as u64 == len.div_ceil(GRAIN_BYTES);
        let ends = (1..).map(|grain| (grain * GRAIN_BYTES).min(len));
        is_of_grains.then(|| records_of_sums(algorithm, self.sums.iter().copied().zip(ends)))
    }

    /// The version whose copy is there, for the first time, once this is written.
    pub(super) fn version(&self) -> Option<&Identity> {
        match &self.target {
            Target::Version(identity, _) | Target::Adopted(_, identity) => Some(identity),
            Target::Open(..) | Target::Draft(_) | Target::Described(_) => None,
        }
    }

    /// The copy that somebody has open which it is for.
    pub(super) fn copy(&self) -> Option<&Arc<Entry>> {
        if let Target::Open(entry, _) = &self.target { Some(entry) } else { None }
    }

    /// Which copy that is there it is a piece of; `None` for what is more than that.
    fn piece_of(&self) -> Option<(usize, u64)> {
        match &self.target {
            Target::Open(entry, epoch) if self.held_bytes > 0 => Some((Arc::as_ptr(entry).addr(), *epoch)),
            Target::Draft(draft) => Some((Arc::as_ptr(draft).addr(), 0)),
            _ => None,
        }
    }

    /// Whether both can be written at once, as the pieces of a copy that they are.
    pub(super) fn is_followed_by(&self, next: &Filling) -> bool {
        let end = self.start + (*self.bytes).as_ref().len() as u64;
        let is_of_grains = self.start.is_multiple_of(GRAIN_BYTES) && end.is_multiple_of(GRAIN_BYTES);
        let is_same = self.piece_of().is_some() && self.piece_of() == next.piece_of();
        is_same && is_of_grains && end == next.start && self.expected == next.expected
    }

    /// No bytes: all of the copy may be there, and nobody may have said so.
    pub fn nothing_more(entry: Arc<Entry>, expected: Option<Checksum>) -> Filling {
        Filling::new(entry, 0, (Arc::new([]), 0), expected)
    }
}

/// The share of his time that somebody who sends bytes may wait for the disk: a sixty-fourth. He is slower by as much where the network is
/// faster than the disk, and what he sends is all kept as long as it is not faster by more.
const WAITING_SHARE: u32 = 64;

/// He waits for so long, or not at all: timers count in milliseconds, so that whoever may wait for less would wait for more than his share.
const WAIT_MIN: Duration = Duration::from_millis(2);

/// How long somebody has waited for the disk, for which he waits for a share of his time alone.
#[derive(Debug)]
pub struct Patience {
    began: Instant,
    waited: Duration,
}

impl Patience {
    /// Of somebody who begins now.
    #[allow(clippy::new_without_default, reason = "it begins at a moment")]
    pub fn new() -> Patience {
        Patience { began: Instant::now(), waited: Duration::ZERO }
    }

    /// How much longer he may wait.
    pub fn left(&self) -> Duration {
        let left = (self.began.elapsed() / WAITING_SHARE).saturating_sub(self.waited);
        if left < WAIT_MIN { Duration::ZERO } else { left }
    }

    /// He has waited since then.
    pub fn note(&mut self, since: Instant) {
        self.waited += since.elapsed();
    }
}

/// What waits to be written.
pub(super) struct Queue {
    sender: Sender<Filling>,
    waiting: Arc<Waiting>,
}

/// How much waits. Std mutex, 8 in the order of locks: arithmetic only.
#[derive(Default)]
pub(super) struct Waiting {
    backlog: Mutex<Backlog>,
    is_empty: Condvar,
    /// Versions whose copies are about to be there. Std mutex, 8 in the order of locks: set operations only.
    coming: Mutex<HashSet<Identity>>,
    has_come: Condvar,
    /// Something was written.
    written: Notify,
}

#[derive(Default)]
struct Backlog {
    pieces: u64,
    bytes: u64,
    /// What readers got may make it as long as this, in bytes.
    room_bytes: u64,
    /// What writers send may, and `room_bytes` is never more.
    room_bytes_max: u64,
    /// The disk has come to the end of it since `room_bytes` was too little.
    has_kept_up: bool,
}

impl Backlog {
    /// Makes room for so much of what readers got, if there may be as much.
    fn make_room(&mut self, bytes: u64) -> bool {
        let would_wait = self.bytes + bytes;
        if would_wait > self.room_bytes && (self.has_kept_up || self.bytes == 0) {
            self.room_bytes = would_wait.max(2 * self.room_bytes).min(self.room_bytes_max);
            self.has_kept_up = false;
        }
        would_wait <= self.room_bytes
    }

    /// Whether there is room for so much of what writers send.
    fn has_room(&self, bytes: u64) -> bool {
        self.bytes == 0 || self.bytes + bytes <= self.room_bytes_max
    }

    fn note_written(&mut self, bytes: u64) {
        self.pieces -= 1;
        self.bytes -= bytes;
        self.has_kept_up |= self.bytes == 0;
    }
}

/// Something is about to come: who waits until all that came is written waits for that, too.
pub struct Announced(Arc<Waiting>);

impl Drop for Announced {
    fn drop(&mut self) {
        self.0.written(0);
    }
}

impl Queue {
    pub(super) fn new(sender: Sender<Filling>, bytes_max: u64) -> Queue {
        let (room_bytes, room_bytes_max) = (bytes_max.min(WAITING_AT_FIRST), bytes_max);
        let backlog = Backlog { room_bytes, room_bytes_max, has_kept_up: true, ..Backlog::default() };
        let waiting = Waiting { backlog: backlog.into(), ..Waiting::default() };
        Queue { sender, waiting: waiting.into() }
    }

    /// Waits until there is room for so much that is sent, or for so long.
    pub(super) async fn until_room(&self, bytes: u64, timeout: Duration) {
        if timeout.is_zero() {
            return;
        }
        let room = async {
            loop {
                let mut written = std::pin::pin!(self.waiting.written.notified());
                written.as_mut().enable();
                if self.waiting.lock().has_room(bytes) {
                    return;
                }
                written.await;
            }
        };
        let _ = tokio::time::timeout(timeout, room).await;
    }

    /// Says that something is about to come.
    pub(super) fn announce(&self) -> Announced {
        self.waiting.lock().pieces += 1;
        Announced(self.waiting.clone())
    }

    /// Lets it wait, unless too much does. Returns whether it will be written.
    pub(super) fn push(&self, filling: Filling) -> bool {
        let len = filling.held_bytes;
        let mut backlog = self.waiting.lock();
        let is_taken = match filling.target {
            Target::Described(_) => backlog.pieces <= DESCRIPTIONS_BEHIND_MAX,
            _ if len == 0 => true,
            Target::Open(..) => backlog.make_room(len),
            Target::Version(..) | Target::Draft(_) | Target::Adopted(..) => backlog.has_room(len),
        };
        if !is_taken {
            return false;
        }
        filling.copy().iter().for_each(|copy| copy.note_waiting(len));
        if let Some(version) = filling.version() {
            self.waiting.lock_coming().insert(version.clone());
        }
        let is_taken = self.sender.send(filling).is_ok();
        if is_taken {
            backlog.pieces += 1;
            backlog.bytes += len;
        }
        is_taken
    }

    pub(super) fn waiting(&self) -> Arc<Waiting> {
        self.waiting.clone()
    }
}

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, Backlog> {
        self.backlog.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_coming(&self) -> MutexGuard<'_, HashSet<Identity>> {
        self.coming.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether somebody is about to write the copy of a version.
    pub(super) fn comes(&self, version: &Identity) -> bool {
        self.lock_coming().contains(version)
    }

    /// Waits until nobody is about to write the copy of a version, or for so long.
    pub(super) fn until_come(&self, version: &Identity, timeout: Duration) {
        let comes = |coming: &mut HashSet<Identity>| coming.contains(version);
        drop(self.has_come.wait_timeout_while(self.lock_coming(), timeout, comes));
    }

    /// Waits until nothing of a copy does, or for so long.
    pub(super) fn until_written(&self, copy: &Entry, timeout: Duration) {
        let waits = |_: &mut Backlog| copy.waiting_bytes() > 0;
        drop(self.is_empty.wait_timeout_while(self.lock(), timeout, waits));
    }

    /// Waits until nothing does, or for so long.
    pub(super) fn until_empty(&self, timeout: Duration) {
        let waits = |backlog: &mut Backlog| backlog.pieces > 0;
        drop(self.is_empty.wait_timeout_while(self.lock(), timeout, waits));
    }

    fn written(&self, len: u64) {
        let mut backlog = self.lock();
        backlog.note_written(len);
        // Also who waits for one copy alone.
        self.is_empty.notify_all();
        drop(backlog);
        self.written.notify_waiters();
    }
}

/// Writes what comes until nobody is left who could send anything.
///
/// What several requests bring at the same time comes in turns. All that waits is put in order, so that what follows one another in
/// a file is one call of the disk, which is busier with fewer large ones.
pub(super) fn write(cache: &Weak<DiskCache>, fillings: &Receiver<Filling>, waiting: &Waiting) {
    loop {
        let mut taken = take_some(fillings);
        if taken.is_empty() {
            return;
        }
        while !taken.is_empty() {
            // What is not a piece of a copy that is open has its place.
            let is_piece = |filling: &Filling| filling.piece_of().is_some();
            let len = taken.iter().position(|filling| !is_piece(filling)).unwrap_or(taken.len()).max(1);
            let rest = taken.split_off(len);
            taken.sort_by_key(|filling| (filling.piece_of(), filling.start));
            keep_all(cache, std::mem::replace(&mut taken, rest), waiting);
        }
    }
}

/// Takes what waits, up to a good piece of it; nothing when nobody is left who could send anything.
fn take_some(fillings: &Receiver<Filling>) -> Vec<Filling> {
    let mut taken = Vec::from_iter(fillings.recv());
    let mut bytes = 0;
    while bytes < TAKEN_AT_ONCE
        && let Ok(more) = fillings.try_recv()
    {
        bytes += more.held_bytes;
        taken.push(more);
    }
    taken
}

/// Keeps what is in order, and gives its memory back as it goes.
fn keep_all(cache: &Weak<DiskCache>, mut fillings: Vec<Filling>, waiting: &Waiting) {
    while !fillings.is_empty() {
        let mut bytes = fillings[0].held_bytes;
        let run = 1 + fillings
            .windows(2)
            .take_while(|pair| {
                bytes += pair[1].held_bytes;
                bytes <= WRITTEN_AT_ONCE_MAX && pair[0].is_followed_by(&pair[1])
            })
            .count();
        let rest = fillings.split_off(run);
        if let Some(cache) = cache.upgrade() {
            cache.keep(&fillings);
        }
        for filling in std::mem::replace(&mut fillings, rest) {
            if let Some(version) = filling.version() {
                waiting.lock_coming().remove(version);
                waiting.has_come.notify_all();
            }
            let len = filling.held_bytes;
            filling.copy().iter().for_each(|copy| copy.note_written(len));
            drop(filling);
            waiting.written(len);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::mpsc;

    use super::super::header::tests::identity;
    use super::*;

    /// A queue that nobody writes.
    fn queue_of(bytes_max: u64) -> Queue {
        Queue::new(mpsc::channel().0, bytes_max)
    }

    /// Has as many pieces of a MiB wait as there is room for.
    fn take(queue: &Queue) -> u64 {
        let mut backlog = queue.waiting.lock();
        let before = backlog.pieces;
        while backlog.make_room(1 << 20) {
            (backlog.pieces, backlog.bytes) = (backlog.pieces + 1, backlog.bytes + (1 << 20));
        }
        backlog.pieces - before
    }

    fn write(queue: &Queue, pieces: u64) {
        (0..pieces).for_each(|_| queue.waiting.written(1 << 20));
    }

    #[test]
    fn more_may_wait_if_the_disk_comes_to_the_end_of_it() {
        // A disk that is slower all the time.
        let queue = queue_of(50 << 20);
        assert_eq!(take(&queue), 16);
        for _ in 0..10 {
            write(&queue, 15);
            assert_eq!(take(&queue), 15);
        }
        // One that is only slower at times.
        for expected in [32, 50, 50] {
            let waiting = queue.waiting.lock().pieces;
            write(&queue, waiting);
            assert_eq!(take(&queue), expected);
        }
        assert_eq!(take(&queue_of(3 << 20)), 3);
    }

    #[test]
    fn one_large_piece_has_room_where_nothing_waits() {
        assert!(queue_of(50 << 20).waiting.lock().make_room(40 << 20), "the first of all");
        let queue = queue_of(50 << 20);
        assert!(!queue.waiting.lock().make_room(51 << 20));
        for mib in [20, 40, 50] {
            assert!(queue.waiting.lock().make_room(mib << 20), "{mib} MiB");
        }
        assert!(queue.waiting.lock().has_room(80 << 20), "it is in memory anyway");
    }

    #[test]
    fn what_has_no_bytes_has_room_whatever_waits() {
        let (sender, _fillings) = mpsc::channel();
        let queue = Queue::new(sender, 1 << 20);
        let draft = || Arc::new(Draft::new(Path::new("/nowhere"), ChecksumAlgorithm::Crc64Xz, Arc::default()));
        let piece = |bytes: u64| Filling::of_draft(draft(), 0, (Arc::new([]), bytes));
        assert!(queue.push(piece(80 << 20)) && !queue.push(piece(1)));
        assert!(queue.push(Filling::adopted(draft(), identity("a", 1), None)));
    }

    #[tokio::test]
    async fn who_may_wait_for_less_than_a_timer_takes_does_not_wait() {
        let queue = queue_of(0);
        queue.waiting.lock().bytes = 1;
        let ago = |millis| {
            let began = Instant::now().checked_sub(Duration::from_millis(millis)).unwrap();
            Patience { began, waited: Duration::ZERO }
        };
        for millis in [0, 1, 64, 100] {
            let waiting = std::pin::pin!(queue.until_room(1, ago(millis).left()));
            assert!(futures_util::poll!(waiting).is_ready(), "{millis} ms");
        }
        let waiting = std::pin::pin!(queue.until_room(1, ago(64 * 60_000).left()));
        assert!(futures_util::poll!(waiting).is_pending(), "a minute is his share");
    }
}
