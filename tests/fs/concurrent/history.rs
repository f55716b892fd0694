//! What was called, when it began and ended, and what it returned; and whether some order of the calls explains that.
//!
//! An order may put a call before another one unless that had ended when the first began.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;
use std::sync::{Mutex, MutexGuard};

use super::reference::{Answer, Call, Place, State};

/// A call of one caller.
#[derive(Clone, Debug)]
pub(super) struct Event {
    pub(super) caller: u32,
    pub(super) call: Call,
    /// Its caller had come too late for an inode, and has looked again.
    pub(super) is_second: bool,
    began: u64,
    /// When it ended, and with what.
    ended: Option<(u64, Answer)>,
    pub(super) is_interrupted: bool,
}

/// All calls since the last time they were explained.
#[derive(Debug, Default)]
pub(super) struct History {
    state: Mutex<Recorded>,
}

#[derive(Debug, Default)]
struct Recorded {
    events: Vec<Event>,
    now: u64,
}

impl Recorded {
    fn tick(&mut self) -> u64 {
        self.now += 1;
        self.now
    }
}

impl History {
    fn lock(&self) -> MutexGuard<'_, Recorded> {
        self.state.lock().unwrap()
    }

    /// Takes note of a call that begins, and returns its number.
    pub(super) fn begin(&self, caller: u32, call: Call, is_second: bool) -> usize {
        let mut recorded = self.lock();
        let began = recorded.tick();
        recorded.events.push(Event { caller, call, is_second, began, ended: None, is_interrupted: false });
        recorded.events.len() - 1
    }

    pub(super) fn end(&self, event: usize, answer: Answer) {
        let mut recorded = self.lock();
        let now = recorded.tick();
        recorded.events[event].ended = Some((now, answer));
    }

    /// The caller does not wait any longer.
    pub(super) fn interrupt(&self, event: usize) {
        self.lock().events[event].is_interrupted = true;
    }

    pub(super) fn has_unfinished(&self) -> bool {
        self.lock().events.iter().any(|event| event.ended.is_none())
    }

    pub(super) fn take(&self) -> Vec<Event> {
        std::mem::take(&mut self.lock().events)
    }

    /// What was called so far, one call a line.
    pub(super) fn told(&self) -> String {
        told(&self.lock().events)
    }
}

impl Event {
    fn ended(&self) -> u64 {
        self.ended.as_ref().map_or(u64::MAX, |(ended, _)| *ended)
    }

    /// The new names of renames that went on at the same time.
    fn renamed_to(&self, events: &[Event]) -> Vec<Place> {
        let meanwhile = events.iter().filter(|other| other.began < self.ended() && other.ended() > self.began);
        let to = |event: &Event| if let Call::Rename { to, .. } = event.call { Some(to) } else { None };
        meanwhile.filter_map(to).collect()
    }

    /// What there may be after it, in that state.
    fn outcomes(&self, state: &State, renamed_to: &[Place]) -> Vec<State> {
        let changes_nothing =
            matches!(self.call, Call::Lookup(_) | Call::Getattr(_) | Call::List(_) | Call::Read(_) | Call::Sync(_));
        match &self.ended {
            // Nobody is told, and the handle may be gone by the end.
            Some(_) if self.is_interrupted && changes_nothing => vec![state.clone()],
            Some((_, answer)) => state.after(&self.call, answer, self.is_second, renamed_to),
            None => Vec::new(),
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Event { caller, call, began, .. } = self;
        let second = if self.is_second { " (looked again)" } else { "" };
        let interrupted = if self.is_interrupted { " (interrupted)" } else { "" };
        match &self.ended {
            Some((ended, answer)) => {
                write!(f, "{began:3}-{ended:3} #{caller} {call:?}{second}{interrupted}: {answer:?}")
            }
            None => write!(f, "{began:3}-... #{caller} {call:?}{second}{interrupted}: has not ended"),
        }
    }
}

fn told(events: &[Event]) -> String {
    events.iter().map(|event| format!("{event}\n")).collect()
}

/// The calls of an order that are done by now, by their numbers.
type Done = BTreeSet<usize>;

/// What there may be after the calls, in every order that explains them, or how far an order came.
pub(super) fn explain(before: &BTreeSet<State>, events: &[Event]) -> Result<BTreeSet<State>, String> {
    let renamed_to: Vec<Vec<Place>> = events.iter().map(|event| event.renamed_to(events)).collect();
    let mut after = BTreeSet::new();
    let mut furthest = (Done::new(), before.first().cloned());
    let mut seen = HashSet::new();
    let mut open: Vec<(Done, State)> = before.iter().map(|state| (Done::new(), state.clone())).collect();
    while let Some((done, state)) = open.pop() {
        if done.len() == events.len() {
            after.insert(state.at_rest());
            continue;
        }
        if done.len() > furthest.0.len() {
            furthest = (done.clone(), Some(state.clone()));
        }
        for next in may_be_next(events, &done) {
            let event = &events[next];
            for state in event.outcomes(&state, &renamed_to[next]) {
                let mut done = done.clone();
                done.insert(next);
                let reached = (done, state);
                if seen.insert(reached.clone()) {
                    open.push(reached);
                }
            }
        }
    }
    if after.is_empty() { Err(no_order(events, &furthest)) } else { Ok(after) }
}

/// Calls that are not done, and had begun before any of those ended.
fn may_be_next(events: &[Event], done: &Done) -> Vec<usize> {
    let left: Vec<usize> = (0..events.len()).filter(|at| !done.contains(at)).collect();
    let first = left.iter().map(|at| events[*at].ended()).min().unwrap_or(u64::MAX);
    left.into_iter().filter(|at| events[*at].began <= first).collect()
}

fn no_order(events: &[Event], (done, state): &(Done, Option<State>)) -> String {
    let left: Vec<String> = may_be_next(events, done).into_iter().map(|at| format!("  {}\n", events[at])).collect();
    let all: BTreeMap<u64, &Event> = events.iter().map(|event| (event.began, event)).collect();
    let all: String = all.values().map(|event| format!("  {event}\n")).collect();
    format!(
        "No order of these calls gives what they returned:\n{all}The order that goes furthest has reached\n  {state:?}\n\
         and none of these can have returned what it did then:\n{}",
        left.concat()
    )
}
