//! What readers got goes to the disk, off their way.
//!
//! One thread writes. What waits for it is bounded: where the disk is slower than the network, what comes then is not kept, and
//! nobody waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender};

use super::directory::DiskCache;
use super::entry::Entry;
use crate::object::Checksum;

/// Bytes that came of an object.
pub struct Filling {
    /// Where they go.
    pub entry: Arc<Entry>,
    /// Where they begin in the object.
    pub start: u64,
    /// They stay in memory until they are written.
    pub bytes: Arc<dyn AsRef<[u8]> + Send + Sync>,
    /// The checksum of the whole object, where the service has told it.
    pub expected: Option<Checksum>,
}

/// What waits to be written.
pub(super) struct Queue {
    sender: Sender<Filling>,
    waiting_bytes: Arc<AtomicU64>,
    waiting_bytes_max: u64,
}

impl Queue {
    pub(super) fn new(sender: Sender<Filling>, waiting_bytes_max: u64) -> Queue {
        Queue { sender, waiting_bytes: Arc::default(), waiting_bytes_max }
    }

    /// Lets it wait, unless too much does. Returns whether it will be written.
    pub(super) fn push(&self, filling: Filling) -> bool {
        let len = len_of(&filling);
        let before = self.waiting_bytes.fetch_add(len, Ordering::Relaxed);
        let is_taken = before + len <= self.waiting_bytes_max && self.sender.send(filling).is_ok();
        if !is_taken {
            self.waiting_bytes.fetch_sub(len, Ordering::Relaxed);
        }
        is_taken
    }

    pub(super) fn waiting(&self) -> Arc<AtomicU64> {
        self.waiting_bytes.clone()
    }
}

fn len_of(filling: &Filling) -> u64 {
    (*filling.bytes).as_ref().len() as u64
}

/// Writes what comes until nobody is left who could send anything.
pub(super) fn write(cache: &std::sync::Weak<DiskCache>, fillings: &Receiver<Filling>, waiting: &AtomicU64) {
    while let Ok(filling) = fillings.recv() {
        let len = len_of(&filling);
        if let Some(cache) = cache.upgrade() {
            cache.keep(&filling);
        }
        drop(filling);
        waiting.fetch_sub(len, Ordering::Release);
    }
}
