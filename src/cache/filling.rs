//! What readers got goes to the disk, off their way.
//!
//! One thread writes. What waits for it is bounded: where the disk is slower than the network, what comes then is not kept, and
//! nobody waits for it.

use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use super::directory::DiskCache;
use super::entry::Entry;
use super::header::Identity;
use crate::object::{Checksum, ChecksumAlgorithm};

/// Bytes that came of an object.
pub struct Filling {
    /// Where they go.
    pub(super) target: Target,
    /// Where they begin in the object.
    pub(super) start: u64,
    /// They stay in memory until they are written.
    pub(super) bytes: Arc<dyn AsRef<[u8]> + Send + Sync>,
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
        Filling { target: Target::Open(entry, epoch), start, bytes, expected, held_bytes }
    }

    /// All bytes of a version, whose checksum is known, and which hold `held_bytes` of the memory.
    pub fn of_whole(
        identity: Identity,
        algorithm: ChecksumAlgorithm,
        (bytes, held_bytes): (Arc<dyn AsRef<[u8]> + Send + Sync>, u64),
        checksum: Checksum,
    ) -> Filling {
        let target = Target::Version(identity, algorithm);
        Filling { target, start: 0, bytes, expected: Some(checksum), held_bytes }
    }

    /// No bytes: all of the copy may be there, and nobody may have said so.
    pub fn nothing_more(entry: Arc<Entry>, expected: Option<Checksum>) -> Filling {
        Filling::new(entry, 0, (Arc::new(Vec::new()), 0), expected)
    }
}

/// What waits to be written.
pub(super) struct Queue {
    sender: Sender<Filling>,
    waiting: Arc<Waiting>,
    bytes_max: u64,
}

/// How much waits. Std mutex, 8 in the order of locks: arithmetic only.
#[derive(Default)]
pub(super) struct Waiting {
    sums: Mutex<Sums>,
    is_empty: Condvar,
}

#[derive(Default)]
struct Sums {
    pieces: u64,
    bytes: u64,
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
        Queue { sender, waiting: Arc::default(), bytes_max }
    }

    /// Whether so much waits that it should rather be written fast than cheaply.
    pub(super) fn is_long(&self) -> bool {
        self.waiting_bytes() > self.bytes_max / 2
    }

    /// How much waits, in bytes.
    pub(super) fn waiting_bytes(&self) -> u64 {
        self.waiting.lock().bytes
    }

    /// Says that something is about to come.
    pub(super) fn announce(&self) -> Announced {
        self.waiting.lock().pieces += 1;
        Announced(self.waiting.clone())
    }

    /// Lets it wait, unless too much does. Returns whether it will be written.
    pub(super) fn push(&self, filling: Filling) -> bool {
        let len = filling.held_bytes;
        let mut sums = self.waiting.lock();
        let is_taken = sums.bytes + len <= self.bytes_max && self.sender.send(filling).is_ok();
        if is_taken {
            sums.pieces += 1;
            sums.bytes += len;
        }
        is_taken
    }

    pub(super) fn waiting(&self) -> Arc<Waiting> {
        self.waiting.clone()
    }
}

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, Sums> {
        self.sums.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nothing does, or for so long.
    pub(super) fn until_empty(&self, timeout: Duration) {
        let waits = |sums: &mut Sums| sums.pieces > 0;
        drop(self.is_empty.wait_timeout_while(self.lock(), timeout, waits));
    }

    fn written(&self, len: u64) {
        let mut sums = self.lock();
        sums.pieces -= 1;
        sums.bytes -= len;
        if sums.pieces == 0 {
            self.is_empty.notify_all();
        }
    }
}

/// Writes what comes until nobody is left who could send anything.
pub(super) fn write(cache: &Weak<DiskCache>, fillings: &Receiver<Filling>, waiting: &Waiting) {
    while let Ok(filling) = fillings.recv() {
        let len = filling.held_bytes;
        if let Some(cache) = cache.upgrade() {
            cache.keep(&filling);
        }
        drop(filling);
        waiting.written(len);
    }
}
