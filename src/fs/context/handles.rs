//! What is open, by the number that the kernel names it with.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::FsError;

/// The number of an open file or directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HandleId(pub u64);

/// Everything of one kind that is open.
pub(crate) struct Handles<T> {
    next: AtomicU64,
    /// Std lock, 7 in the order of locks: map operations only; reads by far outnumber opens.
    open: RwLock<HashMap<HandleId, Arc<T>>>,
}

impl<T> Default for Handles<T> {
    fn default() -> Handles<T> {
        Handles { next: AtomicU64::new(0), open: RwLock::default() }
    }
}

impl<T> Handles<T> {
    pub(crate) fn insert(&self, opened: Arc<T>) -> HandleId {
        let id = HandleId(self.next.fetch_add(1, Ordering::Relaxed) + 1);
        self.open.write().unwrap_or_else(PoisonError::into_inner).insert(id, opened);
        id
    }

    pub(crate) fn get(&self, id: HandleId) -> Result<Arc<T>, FsError> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        open.get(&id).cloned().ok_or(FsError::BadHandle)
    }

    /// All of them, in no order.
    pub(crate) fn all(&self) -> Vec<Arc<T>> {
        self.open.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    pub(crate) fn remove(&self, id: HandleId) -> Option<Arc<T>> {
        self.open.write().unwrap_or_else(PoisonError::into_inner).remove(&id)
    }
}
