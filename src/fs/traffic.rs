//! Who has which names and inodes to himself. Calls of the same names do not meet in the middle: one that finds a name taken
//! waits, and looks again who has it when it is its turn.
//!
//! A call claims all that it needs at once, and what it has seen of the names is as true then as its claims are its own: both
//! happen under the lock of the names. Who has a claim does not wait for another one, but for a directory's rename, which
//! goes before all who wait; so nobody waits in a ring. Of those whose claims conflict the one that came first goes first.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::name::FileName;
use super::tree::{Ino, Tree};
use super::{FileSystem, FsError};

/// What a call needs for itself, or keeps from others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Claim {
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

/// Claims of all calls that are being answered.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    /// Std mutex: map operations, and steps upwards in the tree. Taken while the tree is locked, and never the other way
    /// round.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// How many work on each inode, which most calls do and nothing else.
    working: HashMap<Ino, usize>,
    /// All other claims, by who has them.
    held: Vec<(u64, Claim)>,
    /// Those who wait, by their turns. Who has claims already goes first.
    waiting: BTreeMap<Turn, Waiter>,
    last: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    is_newcomer: bool,
    number: u64,
}

#[derive(Debug)]
struct Waiter {
    claims: Vec<Claim>,
    woken: Arc<Notify>,
}

/// A call that has what it claimed, until this is dropped.
pub(super) struct Claimed {
    traffic: Arc<Traffic>,
    holder: u64,
    claims: Vec<Claim>,
}

/// A call's place among those who wait; dropping it lets those behind it go.
struct Waiting {
    traffic: Arc<Traffic>,
    turn: Turn,
    woken: Arc<Notify>,
}

impl FileSystem {
    /// Looks at what is known, once each of `names` has been looked for, and claims what `look` asks for. Where somebody
    /// else has that, waits, and looks again. What is returned was seen when the claims were granted.
    pub(super) async fn claim<T>(
        &self,
        names: &[(Ino, &FileName)],
        look: impl Fn(&Tree) -> Result<(T, Vec<Claim>), FsError>,
    ) -> Result<(T, Claimed), FsError> {
        let mut waiting = None;
        loop {
            for (parent, name) in names {
                self.find(*parent, name).await?;
            }
            let woken = {
                let tree = self.tree();
                let (seen, claims) = look(&tree)?;
                match self.traffic.enter(&tree, claims, &mut waiting) {
                    Ok(claimed) => return Ok((seen, claimed)),
                    Err(woken) => woken,
                }
            };
            woken.notified().await;
        }
    }

    /// Claims to work on the inode.
    pub(super) async fn work_on(&self, ino: Ino) -> Claimed {
        match self.claim(&[], |_| Ok(((), vec![Work(ino)]))).await {
            Ok(((), claimed)) => claimed,
            Err(_) => unreachable!("nothing is looked for"),
        }
    }
}

impl Traffic {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Names in a directory that somebody has claimed.
    pub(super) fn names_in(&self, directory: Ino) -> Vec<FileName> {
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

    /// Claims to work on an inode that somebody works on right now, and keeps to, before all who wait for it.
    pub(super) fn join(self: &Arc<Traffic>, ino: Ino) -> Claimed {
        let mut state = self.lock();
        let (holder, claims) = (state.next(), vec![Work(ino)]);
        state.hold(holder, &claims);
        Claimed { traffic: self.clone(), holder, claims }
    }

    /// Grants the claims, or lets their call wait for its turn: what is returned then tells when to look again.
    fn enter(
        self: &Arc<Traffic>,
        tree: &Tree,
        claims: Vec<Claim>,
        waiting: &mut Option<Waiting>,
    ) -> Result<Claimed, Arc<Notify>> {
        let mut state = self.lock();
        let turn = match waiting.as_ref() {
            Some(waiting) => waiting.turn,
            None => Turn { is_newcomer: true, number: state.next() },
        };
        if state.is_free(tree, turn, &claims) {
            state.leave(turn);
            let holder = turn.number;
            state.hold(holder, &claims);
            return Ok(Claimed { traffic: self.clone(), holder, claims });
        }
        let waiting = waiting.get_or_insert_with(|| Waiting { traffic: self.clone(), turn, woken: Arc::default() });
        state.wait(turn, claims, &waiting.woken);
        Err(waiting.woken.clone())
    }
}

impl Claimed {
    /// Claims `more`, which must lie within what this call has [to itself](Claim::Move), before all who wait: what they have
    /// claimed they may wait for this call to give back.
    pub(super) async fn claim_too(&mut self, fs: &FileSystem, more: Vec<Claim>) {
        let turn = Turn { is_newcomer: false, number: self.holder };
        let waiting = Waiting { traffic: self.traffic.clone(), turn, woken: Arc::default() };
        loop {
            {
                let tree = fs.tree();
                let mut state = self.traffic.lock();
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

    /// Gives back all claims but those that are to be kept.
    pub(super) fn keep(&mut self, is_kept: impl Fn(&Claim) -> bool) {
        let (kept, given_back) = std::mem::take(&mut self.claims).into_iter().partition(is_kept);
        self.claims = kept;
        self.traffic.lock().give_back(self.holder, &given_back);
    }
}

impl Drop for Claimed {
    fn drop(&mut self) {
        self.keep(|_| false);
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.traffic.lock().leave(self.turn);
    }
}

impl State {
    fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// Whether nobody else has anything that conflicts with the claims, or waits for it and came earlier.
    fn is_free(&self, tree: &Tree, turn: Turn, claims: &[Claim]) -> bool {
        let is_held = |claim: &Claim| {
            let others = self.held.iter().filter(|(holder, _)| *holder != turn.number);
            let is_worked_on = || self.working.keys().any(|ino| conflict(tree, claim, &Work(*ino)));
            others.map(|(_, other)| other).any(|other| conflict(tree, claim, other))
                || matches!(claim, Alone(_)) && is_worked_on()
        };
        let is_waited_for = |claim: &Claim| {
            let earlier = self.waiting.range(..turn).flat_map(|(_, waiter)| &waiter.claims);
            earlier.into_iter().any(|other| conflict(tree, claim, other))
        };
        !claims.iter().any(|claim| is_held(claim) || is_waited_for(claim))
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
                is_at_or_below(tree, *ino, *top)
            }
            (Stay(ino), Move(top)) | (Move(top), Stay(ino)) => is_at_or_below(tree, *ino, *top),
            (Alone(one) | Move(one), Alone(other) | Move(other)) => {
                is_at_or_below(tree, *one, *other) || is_at_or_below(tree, *other, *one)
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

fn is_at_or_below(tree: &Tree, ino: Ino, top: Ino) -> bool {
    ino == top || tree.ancestors(ino).any(|above| above == top)
}
