//! Callers that came too late: after the kernel had looked a name up for them, and before the call on what it had found, the
//! file or a directory of its path lost the name.
//!
//! The kernel answers `ESTALE` by walking the whole path once more, and only once: where programs replace files and directories
//! again and again, one that opens something there could come too late twice. So what the second walk finds, step by step, keeps
//! its name until the call of the same caller comes that the walk was for, and that call goes before all who wait.

use std::collections::HashMap;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::time::Instant;
use tracing_mutex::stdsync::{Mutex, MutexGuard};

use crate::fs::context::caller;
use crate::fs::names::{Claimed, Ino};

/// How long a caller counts as one that came too late. The kernel walks again at once.
const LATE_FOR: Duration = Duration::from_secs(1);

/// How long what was found is kept while the kernel asks nothing. Its program was killed, or has only looked. Far longer than the
/// way from one request of the kernel to the next, and short enough that who waits to replace the file hardly notices.
///
/// Who replaces the file holds the kernel's lock of the directory meanwhile, which the one who looks may need once more; then
/// this time passes, and the look after it needs the lock no more.
pub(crate) const LEASE: Duration = Duration::from_millis(100);

/// What is kept for calls that are about to come.
#[derive(Default)]
pub(crate) struct Leases {
    /// Std mutex, 7 in the order of locks: map operations only, those of the claims among them. To keep a name is level 1.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// By callers. Not there while a call of this caller is being answered.
    late: HashMap<u32, Late>,
    last: u64,
}

/// A caller that came too late.
struct Late {
    /// When it last called.
    at: Instant,
    /// What its second walk has found so far.
    kept: Vec<Claimed>,
    number: u64,
}

impl Leases {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call of this caller came too late, or a step of the walk after that has ended, which has found this so far. Returns what
    /// [`Leases::expire`] asks for.
    pub(super) fn keep(&self, caller: u32, found: Vec<Claimed>) -> u64 {
        let mut state = self.lock();
        state.late.retain(|_, late| late.at.elapsed() < LATE_FOR);
        state.last += 1;
        let late = Late { at: Instant::now(), kept: found, number: state.last };
        state.late.insert(caller, late);
        state.last
    }

    /// What is kept for the caller, until it is kept again; `None` if this one has not come too late.
    pub(super) fn take(&self) -> Option<Vec<Claimed>> {
        let mut state = self.lock();
        if state.late.is_empty() {
            return None;
        }
        state.late.remove(&caller()).filter(|late| late.at.elapsed() < LATE_FOR).map(|late| late.kept)
    }

    /// This caller has not come back for what was kept.
    pub(super) fn expire(&self, caller: u32, number: u64) {
        if let Some(late) = self.lock().late.get_mut(&caller).filter(|late| late.number == number) {
            late.kept.clear();
        }
    }

    /// Whether an inode keeps its name for somebody.
    pub(super) fn are_of(&self, ino: Ino) -> bool {
        self.lock().late.values().any(|late| late.kept.iter().any(|claimed| claimed.works_on(ino)))
    }
}

const _: () =
    assert!(LEASE.as_millis() < LATE_FOR.as_millis(), "what is kept has expired when its caller is forgotten");
