//! The script of what goes wrong at a [`super::FaultStore`], and when.
//!
//! A [`Fault`] names the calls that it strikes and what becomes of them: lost before the store heard of them, lost
//! after the store did them, held at a [`Gate`], or with damaged bytes. Nothing here waits for a time: a test opens the
//! gate.

use std::sync::Arc;

use tokio::sync::watch;

use crate::object::PartNumber;
use crate::store::{Op, StoreErrorKind};

/// What goes wrong, and with which calls.
///
/// ```
/// use cosmount::store::testing::Fault;
/// use cosmount::store::{Op, StoreErrorKind};
/// // The third Upload Part and all after it are refused.
/// Fault::nth(Op::UploadPart, 3, StoreErrorKind::Throttled).forever();
/// // The answer to the first Complete gets lost, although the object was made.
/// Fault::nth(Op::CompleteMultipartUpload, 1, StoreErrorKind::TimedOut).answer_lost();
/// ```
#[derive(Clone, Debug)]
#[must_use = "a fault strikes once a store was given it"]
pub struct Fault {
    op: Op,
    key: Option<String>,
    part: Option<PartNumber>,
    /// Calls that match and still pass unharmed.
    spared: usize,
    /// Calls that are struck after those.
    strikes: usize,
    pub(super) effect: Effect,
    /// Strikes after the store did what it was asked, not before.
    pub(super) after: bool,
    pub(super) gate: Option<Gate>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Effect {
    /// Nothing but the wait at the gate.
    Hold,
    Fail(StoreErrorKind),
    DamageSent,
    DamageRead,
    DamageAnswer,
    BreakRead {
        after_bytes: u64,
        kind: StoreErrorKind,
    },
}

impl Fault {
    fn new(op: Op, effect: Effect) -> Fault {
        Fault { op, key: None, part: None, spared: 0, strikes: 1, effect, after: false, gate: None }
    }

    /// The `n`-th call, counted from 1, fails before it reaches the store.
    pub fn nth(op: Op, n: usize, kind: StoreErrorKind) -> Fault {
        Fault::new(op, Effect::Fail(kind)).from_call(n)
    }

    /// Every call fails before it reaches the store.
    pub fn every(op: Op, kind: StoreErrorKind) -> Fault {
        Fault::nth(op, 1, kind).forever()
    }

    /// The first call waits at the gate before it reaches the store.
    pub fn hold(op: Op, gate: &Gate) -> Fault {
        Fault::new(op, Effect::Hold).held_by(gate)
    }

    /// A bit of the first call's body is flipped on the way to the store.
    pub fn damage_sent(op: Op) -> Fault {
        Fault::new(op, Effect::DamageSent)
    }

    /// A bit of what the first Get Object reads is flipped on the way.
    pub fn damage_read() -> Fault {
        Fault::new(Op::GetObject, Effect::DamageRead)
    }

    /// The checksum in the first call's answer is another one. Calls that compare it themselves fail as
    /// [`StoreErrorKind::Corrupted`].
    pub fn damage_answer(op: Op) -> Fault {
        Fault::new(op, Effect::DamageAnswer)
    }

    /// The first Get Object gives `after_bytes` bytes and then an error.
    pub fn break_read(after_bytes: u64, kind: StoreErrorKind) -> Fault {
        Fault::new(Op::GetObject, Effect::BreakRead { after_bytes, kind })
    }

    /// Strikes from the `n`-th matching call on, counted from 1.
    pub fn from_call(mut self, n: usize) -> Fault {
        self.spared = n.saturating_sub(1);
        self
    }

    /// Strikes `n` matching calls in a row instead of one.
    pub fn times(mut self, n: usize) -> Fault {
        self.strikes = n;
        self
    }

    /// Strikes every matching call from its first on.
    pub fn forever(self) -> Fault {
        self.times(usize::MAX)
    }

    /// Matches only calls about this key (for listings: this prefix).
    pub fn key(mut self, key: impl Into<String>) -> Fault {
        self.key = Some(key.into());
        self
    }

    /// Matches only calls about the part of this number.
    pub fn part(mut self, number: u64) -> Fault {
        self.part = PartNumber::new(number);
        self
    }

    /// Strikes when the store has done what it was asked: the answer is lost, or held at the gate.
    pub fn answer_lost(mut self) -> Fault {
        self.after = true;
        self
    }

    /// Lets the calls wait at the gate before the fault takes its course.
    pub fn held_by(mut self, gate: &Gate) -> Fault {
        self.gate = Some(gate.clone());
        self
    }

    /// Whether this call is struck; counts it.
    pub(super) fn strikes(&mut self, op: Op, key: &str, part: Option<PartNumber>) -> bool {
        let matches = self.op == op
            && self.key.as_deref().is_none_or(|wanted| wanted == key)
            && (self.part.is_none() || self.part == part);
        if !matches || self.strikes == 0 {
            return false;
        }
        if self.spared > 0 {
            self.spared -= 1;
            return false;
        }
        if self.strikes != usize::MAX {
            self.strikes -= 1;
        }
        true
    }
}

/// A place where calls wait until a test lets them go. Clones are the same gate; once open it stays open.
#[derive(Clone, Debug)]
pub struct Gate(Arc<watch::Sender<GateState>>);

#[derive(Clone, Copy, Debug, Default)]
struct GateState {
    open: bool,
    waiting: usize,
}

impl Gate {
    /// A closed gate.
    pub fn new() -> Gate {
        Gate(Arc::new(watch::Sender::new(GateState::default())))
    }

    /// Lets go all that wait and all that will come.
    pub fn open(&self) {
        self.0.send_modify(|state| state.open = true);
    }

    /// Returns once at least `calls` calls stand at the gate.
    pub async fn reached_by(&self, calls: usize) {
        // The sender lives in `self`, so the channel cannot close while we wait.
        let _ = self.0.subscribe().wait_for(|state| state.waiting >= calls).await;
    }

    pub(super) async fn pass(&self) {
        /// Takes a call that was cancelled off the count too.
        struct Waiting<'a>(&'a Gate);
        impl Drop for Waiting<'_> {
            fn drop(&mut self) {
                self.0.0.send_modify(|state| state.waiting -= 1);
            }
        }
        let mut state = self.0.subscribe();
        self.0.send_modify(|state| state.waiting += 1);
        let _waiting = Waiting(self);
        let _ = state.wait_for(|state| state.open).await;
    }
}

impl Default for Gate {
    fn default() -> Gate {
        Gate::new()
    }
}
