//! What moves, and who works on it: nobody opens a file, or makes a name, in the middle of a rename or a removal of it or of
//! the directory that it is in. Whoever comes then waits, and finds what there is afterwards.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::FileSystem;
use super::tree::{Ino, Tree};

/// Calls that are being answered, by the inodes that they work on.
///
/// Nobody waits in a ring: who works on a directory waits here only to move a file in it, and who works on a file does not
/// wait here at all.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    /// Std mutex: map operations only. Taken while the tree is locked, and never the other way round.
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    working: HashMap<Ino, usize>,
    moving: Vec<Ino>,
}

/// A call that opens the inodes, changes them, or makes and removes names in them.
pub(super) struct Working<'a>(&'a Traffic, Vec<Ino>);

/// A call that has the inodes, and all that is below them, to itself.
pub(super) struct Moving<'a>(&'a Traffic, Vec<Ino>);

impl Traffic {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FileSystem {
    /// Waits until none of the inodes is moving, nor a directory that one is in, and keeps it so until the guard is dropped.
    pub(super) async fn work_on(&self, inos: &[Ino]) -> Working<'_> {
        loop {
            let mut changed = std::pin::pin!(self.traffic.changed.notified());
            changed.as_mut().enable();
            {
                let tree = self.tree();
                let mut state = self.traffic.lock();
                let is_free = |ino: &Ino| !is_at_or_below(&tree, *ino, &state.moving);
                if state.moving.is_empty() || inos.iter().all(is_free) {
                    inos.iter().for_each(|ino| *state.working.entry(*ino).or_default() += 1);
                    return Working(&self.traffic, inos.to_vec());
                }
            }
            changed.await;
        }
    }

    /// Lets nobody begin to work on the inodes or below them until the guard is dropped, and waits until those who do have
    /// come to their end.
    pub(super) async fn move_alone(&self, inos: &[Ino]) -> Moving<'_> {
        let mut guard = None;
        loop {
            let mut changed = std::pin::pin!(self.traffic.changed.notified());
            changed.as_mut().enable();
            {
                let tree = self.tree();
                let mut state = self.traffic.lock();
                if guard.is_none() && !inos.iter().any(|ino| state.moving.contains(ino)) {
                    state.moving.extend(inos);
                    guard = Some(Moving(&self.traffic, inos.to_vec()));
                }
                let is_busy = state.working.keys().any(|ino| is_at_or_below(&tree, *ino, inos));
                if !is_busy && let Some(guard) = guard.take() {
                    return guard;
                }
            }
            changed.await;
        }
    }
}

fn is_at_or_below(tree: &Tree, ino: Ino, tops: &[Ino]) -> bool {
    tops.contains(&ino) || tree.ancestors(ino).any(|above| tops.contains(&above))
}

impl Drop for Working<'_> {
    fn drop(&mut self) {
        {
            let mut state = self.0.lock();
            for ino in &self.1 {
                if let Some(count) = state.working.get_mut(ino) {
                    *count -= 1;
                    if *count == 0 {
                        state.working.remove(ino);
                    }
                }
            }
        }
        self.0.changed.notify_waiters();
    }
}

impl Drop for Moving<'_> {
    fn drop(&mut self) {
        {
            let mut state = self.0.lock();
            for ino in &self.1 {
                if let Some(at) = state.moving.iter().position(|moving| moving == ino) {
                    state.moving.swap_remove(at);
                }
            }
        }
        self.0.changed.notify_waiters();
    }
}
