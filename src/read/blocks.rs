//! Blocks of objects in memory: coming in, there, or failed; the least recently used make way.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use lru::LruCache;
use tokio::sync::Notify;

use crate::memory::Block;
use crate::object::Checksum;
use crate::store::StoreError;

/// One block: the object's number, the block's size, and its index in blocks of that size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct BlockKey {
    pub(super) object: u64,
    pub(super) block_bytes: usize,
    pub(super) index: u64,
}

/// A place for the bytes of one block, which are there, will come, or cannot be had.
#[derive(Debug, Default)]
pub(super) struct Slot {
    outcome: OnceLock<Result<Filled, StoreError>>,
    settled: Notify,
}

/// The bytes of a block; fewer than the block's size only at the end of the object.
#[derive(Debug)]
pub(super) struct Filled {
    pub(super) block: Block,
    pub(super) len: usize,
    pub(super) checksum: Checksum,
    /// It is known to be the object's.
    pub(super) is_verified: bool,
}

impl Slot {
    /// Settles the slot. The first outcome stays.
    pub(super) fn settle(&self, outcome: Result<Filled, StoreError>) {
        let _ = self.outcome.set(outcome);
        self.settled.notify_waiters();
    }

    /// Waits until the bytes are there or known not to come.
    pub(super) async fn wait(&self) -> Result<&Filled, StoreError> {
        loop {
            let mut settled = std::pin::pin!(self.settled.notified());
            settled.as_mut().enable();
            if let Some(outcome) = self.outcome.get() {
                return outcome.as_ref().map_err(Clone::clone);
            }
            settled.await;
        }
    }

    /// The bytes, if they are there.
    pub(super) fn filled(&self) -> Option<&Filled> {
        self.outcome.get()?.as_ref().ok()
    }

    fn is_settled(&self) -> bool {
        self.outcome.get().is_some()
    }
}

/// All blocks of a mount, by how recently they were used.
#[derive(Debug)]
pub(super) struct Blocks {
    /// Std mutex, 8 in the order of locks: map operations only. Nobody asks the budget for memory while holding it.
    slots: Mutex<LruCache<BlockKey, Arc<Slot>>>,
}

impl Blocks {
    pub(super) fn new() -> Blocks {
        Blocks { slots: Mutex::new(LruCache::unbounded()) }
    }

    fn lock(&self) -> MutexGuard<'_, LruCache<BlockKey, Arc<Slot>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The slot of a block, which counts as used by this.
    pub(super) fn get(&self, key: BlockKey) -> Option<Arc<Slot>> {
        self.lock().get(&key).cloned()
    }

    /// A new slot for a block, unless there is one.
    pub(super) fn claim(&self, key: BlockKey) -> Option<Arc<Slot>> {
        let mut slots = self.lock();
        if slots.contains(&key) {
            return None;
        }
        let slot = Arc::new(Slot::default());
        slots.put(key, slot.clone());
        Some(slot)
    }

    /// Forgets a block.
    pub(super) fn remove(&self, key: BlockKey) {
        let removed = self.lock().pop(&key);
        drop(removed);
    }

    /// Forgets all blocks of an object.
    pub(super) fn remove_object(&self, object: u64) {
        let mut slots = self.lock();
        let keys: Vec<BlockKey> = slots.iter().map(|(key, _)| *key).filter(|key| key.object == object).collect();
        let removed: Vec<_> = keys.iter().map(|key| slots.pop(key)).collect();
        drop(slots);
        drop(removed);
    }

    /// Forgets settled blocks, the least recently used first, until `bytes` are freed. Skips its turn when the map is
    /// busy, because the caller may be anybody who needs memory.
    pub(super) fn shrink(&self, bytes: usize) {
        let Ok(mut slots) = self.slots.try_lock() else { return };
        let mut freed = 0;
        let enough = |(key, _): &(BlockKey, bool)| {
            let go_on = freed < bytes;
            freed += key.block_bytes;
            go_on
        };
        let settled = slots.iter().rev().map(|(key, slot)| (*key, slot.is_settled())).filter(|(_, settled)| *settled);
        let keys: Vec<BlockKey> = settled.take_while(enough).map(|(key, _)| key).collect();
        let removed: Vec<_> = keys.iter().map(|key| slots.pop(key)).collect();
        drop(slots);
        drop(removed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Memory;

    #[test]
    fn the_least_recently_used_settled_blocks_make_way() {
        let memory = Memory::new(1 << 20);
        let blocks = Blocks::new();
        let key = |index| BlockKey { object: 1, block_bytes: 1024, index };
        for index in 0..4 {
            let slot = blocks.claim(key(index)).unwrap();
            if index != 1 {
                slot.settle(Ok(Filled {
                    block: memory.try_take(1024).unwrap(),
                    len: 1024,
                    checksum: Checksum::EMPTY,
                    is_verified: true,
                }));
            }
        }
        assert!(blocks.claim(key(0)).is_none());
        blocks.get(key(0));
        blocks.shrink(1500);
        let left: Vec<u64> = (0..4).filter(|index| blocks.get(key(*index)).is_some()).collect();
        assert_eq!(left, [0, 1], "0 was used last and 1 is still coming in");
        assert_eq!(memory.used_bytes(), 1024);
        blocks.remove_object(1);
        assert!(blocks.get(key(0)).is_none());
    }
}
