//! Who has which names and inodes to himself. Calls of the same names do not meet in the middle: one that finds a name taken
//! waits, and looks again who has it when it is its turn.
//!
//! A call claims all that it needs at once, and what it has seen of the names is as true then as its claims are its own: both
//! happen under the lock of the names. Who has a claim does not wait for another one, but for a directory's rename, which
//! goes before all who wait; so nobody waits in a ring. Of those whose claims conflict the one that came first goes first.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError};

use tokio::sync::Notify;
use tracing_mutex::stdsync::{Mutex, MutexGuard};

/// What a call needs for itself, or keeps from others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// Nobody else makes, replaces or removes what has this name.
    Name(Ino, FileName),
    /// The inode is opened or changed. Many may do so at once.
    Work(Ino),
    /// Nobody works on the inode or below it, or has a name there.
    Alone(Ino),
    /// The directory is renamed or removed: no other directory is from it upwards, or below it. Files are.
    Move(Ino),
    /// The directory stays where it is.
    Stay(Ino),
    /// The directory is empty, and about to be replaced: what the service says is in it belongs to what takes its place. Keeps
    /// nobody from anything.
    Empty(Ino),
}

use Claim::{Alone, Empty, Move, Name, Stay, Work};

impl Claim {
    /// To work on what was found in a directory. The kernel need not know of it yet, and then nobody could tell where it is but by
    /// its directory.
    pub(crate) fn work_in(directory: Ino, found: Ino) -> Vec<Claim> {
        vec![Work(found), Work(directory)]
    }
}

use super::{FileName, Ino, Names, Tree};

/// Claims of all calls that are being answered.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    /// Std mutex, 7 in the order of locks: map operations, and steps upwards in the tree. Taken while the tree is locked, and
    /// never the other way round. To wait for a claim is level 1.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// How many work on each inode, which most calls do and nothing else.
    working: HashMap<Ino, usize>,
    /// All other claims, by who has them.
    held: Vec<(u64, Claim)>,
    /// Those who wait, by their turns.
    waiting: BTreeMap<Turn, Waiter>,
    last: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    rank: Rank,
    number: u64,
}

/// Who goes before whom of those that wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// Somebody who came too late before, and wants to work on one inode. Nobody waits for him who has what he waits for.
    Late,
    /// A call that has claims already.
    Within,
    Newcomer,
}

#[derive(Debug)]
struct Waiter {
    claims: Vec<Claim>,
    woken: Arc<Notify>,
}

/// A call that has what it claimed, until this is dropped.
pub(crate) struct Claimed {
    all: Arc<Claims>,
    holder: u64,
    claims: Vec<Claim>,
}

/// A call's place among those who wait; dropping it lets those behind it go.
pub(crate) struct Queued {
    all: Arc<Claims>,
    turn: Turn,
    woken: Arc<Notify>,
}

impl Claims {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Names in a directory that somebody has claimed.
    pub(crate) fn names_in(&self, directory: Ino) -> Vec<FileName> {
        let name = |(_, claim): &(u64, Claim)| match claim {
            Name(ino, name) if *ino == directory => Some(name.clone()),
            _ => None,
        };
        self.lock().held.iter().filter_map(name).collect()
    }

    /// Whether a call that has not ended has found the directory empty, and puts another one in its place.
    pub(super) fn is_to_be_replaced(&self, directory: Ino) -> bool {
        self.lock().held.iter().any(|(_, claim)| *claim == Empty(directory))
    }

    /// Grants the claims before all who wait, unless somebody has what conflicts with them.
    pub(crate) fn enter_first(self: &Arc<Claims>, tree: &Tree, claims: &[Claim]) -> Option<Claimed> {
        let mut state = self.lock();
        let holder = state.next();
        if state.is_held(tree, holder, claims) {
            return None;
        }
        state.hold(holder, claims);
        Some(Claimed { all: self.clone(), holder, claims: claims.to_vec() })
    }

    /// A place before all who wait, for somebody who wants to work on one inode: who claims more could be waited for by
    /// those whom he waits for.
    pub(crate) fn queue_first(self: &Arc<Claims>) -> Queued {
        let turn = Turn { rank: Rank::Late, number: self.lock().next() };
        Queued { all: self.clone(), turn, woken: Arc::default() }
    }

    /// Grants the claims, or lets their call wait for its turn: what is returned then tells when to look again.
    pub(crate) fn enter(
        self: &Arc<Claims>,
        tree: &Tree,
        claims: Vec<Claim>,
        waiting: &mut Option<Queued>,
    ) -> Result<Claimed, Arc<Notify>> {
        let mut state = self.lock();
        let turn = match waiting.as_ref() {
            Some(waiting) => waiting.turn,
            None => Turn { rank: Rank::Newcomer, number: state.next() },
        };
        if state.is_free(tree, turn, &claims) {
            state.leave(turn);
            let holder = turn.number;
            state.hold(holder, &claims);
            return Ok(Claimed { all: self.clone(), holder, claims });
        }
        let waiting = waiting.get_or_insert_with(|| Queued { all: self.clone(), turn, woken: Arc::default() });
        state.wait(turn, claims, &waiting.woken);
        Err(waiting.woken.clone())
    }
}

impl Claimed {
    /// Claims `more`, which must lie within what this call has [to itself](Claim::Move), before all who wait: what they have
    /// claimed they may wait for this call to give back.
    pub(crate) async fn claim_too(&mut self, names: &Names, more: Vec<Claim>) {
        let turn = Turn { rank: Rank::Within, number: self.holder };
        let waiting = Queued { all: self.all.clone(), turn, woken: Arc::default() };
        loop {
            {
                let tree = names.tree();
                let mut state = self.all.lock();
                if state.is_free(&tree, turn, &more) {
                    state.leave(turn);
                    state.hold(self.holder, &more);
                    self.claims.extend(more);
                    return;
                }
                state.wait(turn, more.clone(), &waiting.woken);
            }
            waiting.woken.notified().await;
        }
    }

    /// Whether to work on the inode is among what it claimed.
    pub(crate) fn works_on(&self, ino: Ino) -> bool {
        self.claims.contains(&Work(ino))
    }

    /// Gives back all claims but those that are to be kept.
    pub(crate) fn keep(&mut self, is_kept: impl Fn(&Claim) -> bool) {
        let (kept, given_back) = std::mem::take(&mut self.claims).into_iter().partition(is_kept);
        self.claims = kept;
        self.all.lock().give_back(self.holder, &given_back);
    }
}

impl Drop for Claimed {
    fn drop(&mut self) {
        self.keep(|_| false);
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        self.all.lock().leave(self.turn);
    }
}

impl State {
    fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// Whether nobody else has anything that conflicts with the claims, or waits for it and came earlier.
    fn is_free(&self, tree: &Tree, turn: Turn, claims: &[Claim]) -> bool {
        let is_waited_for = |claim: &Claim| {
            let earlier = self.waiting.range(..turn).flat_map(|(_, waiter)| &waiter.claims);
            earlier.into_iter().any(|other| conflict(tree, claim, other))
        };
        !self.is_held(tree, turn.number, claims) && !claims.iter().any(is_waited_for)
    }

    /// Whether somebody else has anything that conflicts with the claims.
    fn is_held(&self, tree: &Tree, holder: u64, claims: &[Claim]) -> bool {
        let is_held = |claim: &Claim| {
            let others = self.held.iter().filter(|(other, _)| *other != holder);
            let is_worked_on = || self.working.keys().any(|ino| conflict(tree, claim, &Work(*ino)));
            others.map(|(_, other)| other).any(|other| conflict(tree, claim, other))
                || matches!(claim, Alone(_)) && is_worked_on()
        };
        claims.iter().any(is_held)
    }

    fn hold(&mut self, holder: u64, claims: &[Claim]) {
        for claim in claims {
            match claim {
                Work(ino) => *self.working.entry(*ino).or_default() += 1,
                claim => self.held.push((holder, claim.clone())),
            }
        }
    }

    fn give_back(&mut self, holder: u64, claims: &[Claim]) {
        for claim in claims {
            if let Work(ino) = claim {
                if let Some(count) = self.working.get_mut(ino) {
                    *count -= 1;
                    if *count == 0 {
                        self.working.remove(ino);
                    }
                }
            } else if let Some(at) = self.held.iter().position(|(by, held)| *by == holder && held == claim) {
                self.held.swap_remove(at);
            }
        }
        self.wake(claims);
    }

    fn wait(&mut self, turn: Turn, claims: Vec<Claim>, woken: &Arc<Notify>) {
        let before = self.waiting.insert(turn, Waiter { claims, woken: woken.clone() });
        if let Some(before) = before.filter(|before| before.claims != self.waiting[&turn].claims) {
            // Those behind it may have waited for what it does not want any more.
            self.wake(&before.claims);
        }
    }

    fn leave(&mut self, turn: Turn) {
        if let Some(waiter) = self.waiting.remove(&turn) {
            self.wake(&waiter.claims);
        }
    }

    /// Lets those look again who may have waited for the claims.
    fn wake(&self, claims: &[Claim]) {
        for waiter in self.waiting.values() {
            if waiter.claims.iter().any(|waiting| claims.iter().any(|claim| may_conflict(waiting, claim))) {
                waiter.woken.notify_one();
            }
        }
    }
}

/// Whether two calls cannot have both at once.
fn conflict(tree: &Tree, one: &Claim, other: &Claim) -> bool {
    may_conflict(one, other)
        && match (one, other) {
            (Name(..), Name(..)) => true,
            (Name(ino, _) | Work(ino), Alone(top)) | (Alone(top), Name(ino, _) | Work(ino)) => {
                tree.is_at_or_below(*ino, *top)
            }
            (Stay(ino), Move(top)) | (Move(top), Stay(ino)) => tree.is_at_or_below(*ino, *top),
            (Alone(one) | Move(one), Alone(other) | Move(other)) => {
                tree.is_at_or_below(*one, *other) || tree.is_at_or_below(*other, *one)
            }
            _ => false,
        }
}

/// The same, as far as can be said without the tree.
fn may_conflict(one: &Claim, other: &Claim) -> bool {
    match (one, other) {
        (Name(..), Name(..)) => one == other,
        (Name(..) | Work(_), Alone(_)) | (Alone(_), Name(..) | Work(_) | Alone(_)) => true,
        (Stay(_), Move(_)) | (Move(_), Stay(_) | Move(_)) => true,
        (Name(..) | Work(_) | Stay(_) | Empty(_), _) | (Alone(_) | Move(_), _) => false,
    }
}
