//! Names that a call came too late for: after the kernel had looked one up, and before the call on what it had found, another
//! file took the name.
//!
//! The kernel answers `ESTALE` by looking the name up once more, and only once: where a program replaces a file again and
//! again, one that opens it could come too late twice. So what the second look finds keeps its name until the call of the same
//! caller comes that it was for; and if it was a directory that was another, what is found in that, too.

use std::collections::HashMap;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::time::Instant;
use tracing_mutex::stdsync::{Mutex, MutexGuard};

use crate::fs::context::caller;
use crate::fs::names::{Claimed, FileName, Ino};

/// How long a name counts as one that somebody came too late for. The kernel looks again at once.
const MISSED_FOR: Duration = Duration::from_secs(1);

/// How long a name is kept for a call that does not come: its program was killed, or has only looked. Far longer than the way
/// from one request of the kernel to the next, and short enough that who waits to replace the file hardly notices.
///
/// Who replaces the file holds the kernel's lock of the directory meanwhile, which the one who looks may need once more; then
/// this time passes, and the look after it needs the lock no more.
pub(crate) const LEASE: Duration = Duration::from_millis(100);

/// Files that keep their names for calls that are about to come.
#[derive(Default)]
pub(crate) struct Leases {
    /// Std mutex, 7 in the order of locks: map operations only, those of the claims among them. To keep a name is level 1.
    state: Mutex<LeaseState>,
}

#[derive(Default)]
pub(crate) struct LeaseState {
    /// Names that somebody came too late for, and when.
    pub(crate) missed: HashMap<(u32, Ino, FileName), Instant>,
    /// By callers.
    pub(crate) held: HashMap<(u32, Ino), Lease>,
    pub(crate) last: u64,
}

pub(crate) struct Lease {
    pub(crate) number: u64,
    pub(crate) place: (u32, Ino, FileName),
    pub(crate) claimed: Claimed,
}

impl Leases {
    pub(crate) fn lock(&self) -> MutexGuard<'_, LeaseState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_missed(&self, parent: Ino, name: &FileName) -> bool {
        let mut state = self.lock();
        if state.missed.is_empty() {
            return false;
        }
        state.missed.retain(|_, at| at.elapsed() < MISSED_FOR);
        state.missed.contains_key(&(caller(), parent, name.clone()))
    }

    /// Whether an inode keeps its name for the caller, who has looked it up and is about to look for something in it.
    pub(crate) fn is_kept(&self, ino: Ino) -> bool {
        self.lock().held.contains_key(&(caller(), ino))
    }

    /// A caller's lease of an inode, if it is this one, or whichever it is.
    pub(crate) fn end(&self, of: (u32, Ino), number: Option<u64>) -> Option<Lease> {
        let mut state = self.lock();
        let is_it = state.held.get(&of).is_some_and(|lease| number.is_none_or(|number| lease.number == number));
        if is_it { state.held.remove(&of) } else { None }
    }
}
