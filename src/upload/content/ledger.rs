//! What of all parts of an upload is asked at every write and every acknowledgement, so that nobody goes through ten
//! thousand parts for it.

use std::collections::BTreeSet;

use super::part::{Part, PartBody};

/// Which parts are acknowledged, and which of those still have their bytes in memory.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Ledger {
    unsent: BTreeSet<usize>,
    /// Acknowledged, and in memory at least in part.
    idle: BTreeSet<usize>,
    held_bytes: u64,
    idle_bytes: u64,
}

impl Ledger {
    /// The part `index` is there, as it is now.
    pub(super) fn enter(&mut self, index: usize, part: &Part) {
        let bytes = held_bytes(part);
        self.held_bytes += bytes;
        if part.sent.is_none() {
            self.unsent.insert(index);
        } else if bytes > 0 {
            self.idle.insert(index);
            self.idle_bytes += bytes;
        }
    }

    /// Undoes [`Ledger::enter`]: the part goes, or is about to change.
    pub(super) fn leave(&mut self, index: usize, part: &Part) {
        let bytes = held_bytes(part);
        self.held_bytes -= bytes;
        self.unsent.remove(&index);
        if self.idle.remove(&index) {
            self.idle_bytes -= bytes;
        }
    }

    /// The indices of the parts that are not acknowledged.
    pub(super) fn unsent(&self) -> &BTreeSet<usize> {
        &self.unsent
    }

    /// Bytes of all parts that are in memory.
    pub(super) fn held_bytes(&self) -> u64 {
        self.held_bytes
    }

    /// Bytes of acknowledged parts that are in memory.
    pub(super) fn idle_bytes(&self) -> u64 {
        self.idle_bytes
    }

    /// The first acknowledged part that is in memory, but the very first of the file last.
    pub(super) fn oldest_idle(&self) -> Option<usize> {
        self.idle.range(1..).next().or(self.idle.first()).copied()
    }

    #[cfg(any(test, debug_assertions))]
    pub(super) fn of(parts: &[Part]) -> Ledger {
        let mut ledger = Ledger::default();
        parts.iter().enumerate().for_each(|(index, part)| ledger.enter(index, part));
        ledger
    }
}

fn held_bytes(part: &Part) -> u64 {
    match &part.body {
        PartBody::Upload(extents) => extents.dirty_bytes(),
        PartBody::Copy { .. } | PartBody::Gone => 0,
    }
}
