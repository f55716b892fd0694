//! Names that a call came too late for: after the kernel had looked one up, and before the call on what it had found, another
//! file took the name.
//!
//! The kernel answers `ESTALE` by looking the name up once more, and only once: where a program replaces a file again and
//! again, one that opens it could come too late twice. So what the second look finds keeps its name until the call of the same
//! caller comes that it was for.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::attributes::Attr;
use super::name::FileName;
use super::traffic::{Claim, Claimed};
use super::tree::{Ino, Tree};
use super::{FileSystem, FsError};

/// How long a name counts as one that somebody came too late for. The kernel looks again at once.
const MISSED_FOR: Duration = Duration::from_secs(1);

/// How long a name is kept for a call that does not come: its program was killed, or has only looked. Far longer than the way
/// from one request of the kernel to the next, and short enough that who waits to replace the file hardly notices.
///
/// Who replaces the file holds the kernel's lock of the directory meanwhile, which the one who looks may need once more; then
/// this time passes, and the look after it needs the lock no more.
const LEASE: Duration = Duration::from_millis(100);

tokio::task_local! {
    /// Whose call it is that is being answered.
    static CALLER: u32;
}

/// The caller by whatever number; all are one where nobody has said whose call it is.
pub(super) fn caller() -> u32 {
    CALLER.try_with(|caller| *caller).unwrap_or_default()
}

/// Files that keep their names for calls that are about to come.
#[derive(Default)]
pub(super) struct Leases {
    /// Std mutex: map operations only.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Names that somebody came too late for, and when.
    missed: HashMap<(u32, Ino, FileName), Instant>,
    /// By callers.
    held: HashMap<(u32, Ino), Lease>,
    last: u64,
}

struct Lease {
    number: u64,
    place: (u32, Ino, FileName),
    claimed: Claimed,
}

impl Leases {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_missed(&self, parent: Ino, name: &FileName) -> bool {
        let mut state = self.lock();
        if state.missed.is_empty() {
            return false;
        }
        state.missed.retain(|_, at| at.elapsed() < MISSED_FOR);
        state.missed.contains_key(&(caller(), parent, name.clone()))
    }

    /// A caller's lease of an inode, if it is this one, or whichever it is.
    fn end(&self, of: (u32, Ino), number: Option<u64>) -> Option<Lease> {
        let mut state = self.lock();
        let is_it = state.held.get(&of).is_some_and(|lease| number.is_none_or(|number| lease.number == number));
        if is_it { state.held.remove(&of) } else { None }
    }
}

impl FileSystem {
    /// Answers a call of this caller: what one of them has looked up is kept for that one alone.
    pub fn called_by<F: Future>(caller: u32, call: F) -> impl Future<Output = F::Output> {
        CALLER.scope(caller, call)
    }

    /// Looks a name up. The kernel is told of the inode by this, and must be made to [`FileSystem::forget`] it.
    pub async fn lookup(&self, parent: Ino, name: &FileName) -> Result<Attr, FsError> {
        if self.leases.is_missed(parent, name) {
            return self.lookup_and_keep(parent, name).await;
        }
        if !self.find(parent, name).await? {
            return Err(FsError::NotFound);
        }
        self.tell(parent, name).await
    }

    /// The same for somebody who came too late for it the last time.
    async fn lookup_and_keep(&self, parent: Ino, name: &FileName) -> Result<Attr, FsError> {
        let look = |tree: &Tree| {
            let entry = tree.entry(parent, name).ok_or(FsError::NotFound)?;
            Ok((entry.ino, vec![Claim::Work(entry.ino)]))
        };
        let (ino, claimed) = self.claim(&[(parent, name)], look).await?;
        let attr = self.tell(parent, name).await?;
        if attr.ino != ino {
            return Ok(attr);
        }
        let of = (caller(), ino);
        let (number, replaced) = {
            let mut state = self.leases.lock();
            state.last += 1;
            let lease = Lease { number: state.last, place: (of.0, parent, name.clone()), claimed };
            (state.last, state.held.insert(of, lease))
        };
        drop(replaced);
        let fs = self.me.clone();
        self.runtime.spawn(async move {
            tokio::time::sleep(LEASE).await;
            if let Some(fs) = fs.upgrade() {
                drop(fs.leases.end(of, Some(number)));
            }
        });
        Ok(attr)
    }

    /// Claims to work on an inode that the kernel has looked up: by what was kept for that, which goes before all who wait for
    /// the name, or in turn. While something is kept for others, everybody goes first who would come too late otherwise.
    pub(super) async fn arrive(&self, ino: Ino) -> Claimed {
        if let Some(lease) = self.leases.end((caller(), ino), None) {
            self.leases.lock().missed.remove(&lease.place);
            return lease.claimed;
        }
        let joined = {
            let state = self.leases.lock();
            state.held.keys().any(|(_, kept)| *kept == ino).then(|| self.traffic.join(ino))
        };
        match joined {
            Some(claimed) => claimed,
            None => self.work_on(ino).await,
        }
    }

    /// Takes note of what became of a call on an inode that the kernel had looked up: if it came too late, the next look keeps
    /// what it finds.
    pub(super) fn note_arrival<T>(&self, ino: Ino, result: Result<T, FsError>) -> Result<T, FsError> {
        if matches!(result, Err(FsError::Stale)) {
            let tree = self.tree();
            let lost = tree.place(ino).filter(|_| tree.entry_of(ino).is_none());
            if let Some((parent, name)) = lost {
                self.leases.lock().missed.insert((caller(), parent, name), Instant::now());
            }
        }
        result
    }
}
