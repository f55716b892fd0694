//! What readers got goes to the disk, off their way.
//!
//! One thread writes. What waits for it is bounded: where the disk is slower than the network, what comes then is not kept, and
//! nobody waits for it.

use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use super::directory::DiskCache;
use super::entry::Entry;
use crate::object::Checksum;

/// What may wait to be written, in bytes.
const WAITING_BYTES_MAX: u64 = 32 << 20;

/// Bytes that came of an object.
pub struct Filling {
    /// Where they go.
    pub(super) entry: Arc<Entry>,
    /// Where they begin in the object.
    pub(super) start: u64,
    /// They stay in memory until they are written.
    pub(super) bytes: Arc<dyn AsRef<[u8]> + Send + Sync>,
    /// The checksum of the whole object, where the service has told it.
    pub(super) expected: Option<Checksum>,
    /// When they came, in what was forgotten of the copy: what is forgotten meanwhile is not written.
    pub(super) epoch: u64,
}

impl Filling {
    /// Bytes that came of the object from `start` on; `expected` is the checksum of the whole object, where the service has told it.
    pub fn new(
        entry: Arc<Entry>,
        start: u64,
        bytes: Arc<dyn AsRef<[u8]> + Send + Sync>,
        expected: Option<Checksum>,
    ) -> Filling {
        let epoch = entry.epoch();
        Filling { entry, start, bytes, expected, epoch }
    }
}

/// What waits to be written.
pub(super) struct Queue {
    sender: Sender<Filling>,
    waiting: Arc<Waiting>,
}

/// How many bytes wait. Std mutex, 8 in the order of locks: arithmetic only.
#[derive(Default)]
pub(super) struct Waiting {
    bytes: Mutex<u64>,
    is_empty: Condvar,
}

impl Queue {
    pub(super) fn new(sender: Sender<Filling>) -> Queue {
        Queue { sender, waiting: Arc::default() }
    }

    /// Lets it wait, unless too much does. Returns whether it will be written.
    pub(super) fn push(&self, filling: Filling) -> bool {
        let len = len_of(&filling);
        let mut bytes = self.waiting.lock();
        let is_taken = *bytes + len <= WAITING_BYTES_MAX && self.sender.send(filling).is_ok();
        if is_taken {
            *bytes += len;
        }
        is_taken
    }

    pub(super) fn waiting(&self) -> Arc<Waiting> {
        self.waiting.clone()
    }
}

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, u64> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nothing does, or for so long.
    pub(super) fn until_empty(&self, timeout: Duration) {
        let waits = |bytes: &mut u64| *bytes > 0;
        drop(self.is_empty.wait_timeout_while(self.lock(), timeout, waits));
    }

    fn written(&self, len: u64) {
        let mut bytes = self.lock();
        *bytes -= len;
        if *bytes == 0 {
            self.is_empty.notify_all();
        }
    }
}

fn len_of(filling: &Filling) -> u64 {
    (*filling.bytes).as_ref().len() as u64
}

/// Writes what comes until nobody is left who could send anything.
pub(super) fn write(cache: &Weak<DiskCache>, fillings: &Receiver<Filling>, waiting: &Waiting) {
    while let Ok(filling) = fillings.recv() {
        let len = len_of(&filling);
        if let Some(cache) = cache.upgrade() {
            cache.keep(&filling);
        }
        drop(filling);
        waiting.written(len);
    }
}
