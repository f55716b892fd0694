//! Calls of several programs at once, under schedules that are drawn: what they return, what is there afterwards, and what is
//! in the bucket in the end is what some order of them gives on a local disk.
//!
//! A schedule says what each program calls and, step by step, what goes on next: a call that begins, a request that goes on
//! its way or whose answer comes, a program that is told to end, or time. Everything runs on one thread with a clock that is
//! turned by hand, so a schedule gives the same every time. After each round everything is looked at, by calls that have to
//! fit into the order, too.
//!
//! Each of these makes it fail, with seeds 1 to 4 after so many schedules:
//! - who opens a file for writing does not wait for its rename or removal (no `arrive` in `Files::open_as`): 109, 15, 26, 26;
//! - who opens or makes something in a directory does not wait for the end of its rename (no `claim_too` in `Move::copy_all`):
//!   19, 7, 136, 9.
//!
//! What `FileSystem::stop_filling` gives up is not drawn: it fails a file of holes, see `holes.rs`. Nor are requests that fail.
//!
//! A schedule that fails is shrunk and printed with what its calls returned. `PROPTEST_RNG_SEED` and `PROPTEST_CASES` say which
//! schedules are drawn, and how many: the same few without them, so that nobody's change fails for what another one has left.
//! `scripts/soak concurrent` draws many, others each time, and what those find is in `concurrent/found.rs` from then on.

mod callers;
mod found;
mod history;
mod reference;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use cosmount::clock::Clock;
use cosmount::fs::{FileSystem, Kind, ROOT};
use cosmount::object::Limits;
use cosmount::store::Op;
use cosmount::store::testing::{Fault, Gate};
use futures_util::FutureExt;
use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestRunner};
use tokio::task::JoinHandle;

use callers::{Action, Caller, Control, Shared};
use history::explain;
use reference::{CELL_BYTES, State};

use crate::bed::{Bed, Choices, MIB, READ};

/// Small enough that files of a few cells are uploaded in parts.
const LIMITS: Limits = Limits {
    part_bytes_min: 2 * CELL_BYTES as u64,
    part_bytes_max: 32 * CELL_BYTES as u64,
    put_bytes_max: 32 * CELL_BYTES as u64,
    ..Limits::COS
};

const FILES: [&str; 7] = ["a", "b", "d/a", "d/b", "e/a", "a.tmp", "d/a.tmp"];
const DIRECTORIES: [&str; 4] = ["d", "e", "e/d", "f"];
/// Those that most calls are about, so that they meet.
const SOUGHT: [&str; 2] = ["a", "d/a"];
/// What is there, to where directories can be moved.
const MOVES: [(&str, &str); 5] = [("d", "f"), ("f", "d"), ("d", "e"), ("d", "e/d"), ("e/d", "d")];

/// What is there in the beginning.
const BEFORE: [Action; 5] = [
    Action::Put { path: "a", cells: 2 },
    Action::Mkdir("d"),
    Action::Put { path: "d/a", cells: 5 },
    Action::Mkdir("e"),
    Action::Put { path: "b", cells: 1 },
];

/// The requests that calls make.
const OPS: [Op; 12] = [
    Op::ListObjects,
    Op::HeadObject,
    Op::GetObject,
    Op::PutObject,
    Op::CopyObject,
    Op::DeleteObject,
    Op::DeleteMultipleObjects,
    Op::InitiateMultipartUpload,
    Op::UploadPart,
    Op::UploadPartCopy,
    Op::CompleteMultipartUpload,
    Op::AbortMultipartUpload,
];

/// So many requests of each kind are held in a round; those that follow pass. More than three calls make.
const HELD: usize = 8;

/// How long calls may take when nothing holds them up. Far more than whatever waits by the clock: what was closed and waits
/// for its name does so for 5 seconds.
const LONGEST: Duration = Duration::from_secs(600);

/// A schedule that takes so long on this machine never ends.
const LONGEST_REAL: Duration = Duration::from_secs(120);

const CASES: u32 = 400;
const SEED: u64 = 1;

/// What several programs call, and what comes after what.
#[derive(Clone)]
struct Schedule {
    /// What each program opens before anything is held up.
    opened: Vec<Option<Action>>,
    rounds: Vec<Round>,
    memory_is_scarce: bool,
}

#[derive(Clone, Debug)]
struct Round {
    /// What each program calls.
    programs: Vec<Vec<Action>>,
    /// Whether a kind of request is held before it goes out, before its answer comes, or both.
    held: Vec<(bool, bool)>,
    steps: Vec<Step>,
    /// Whether names may have to be asked for again.
    is_later: bool,
    /// The kernel forgets all inodes, if nothing is open.
    forgets: bool,
}

/// What comes next, of what can: counted, and around.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A call begins, or a request or its answer goes on.
    Go(usize),
    /// The same, and the step after it comes before anything has become of it.
    GoAtOnce(usize),
    Interrupt(usize),
    Pass(u64),
}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scarce = if self.memory_is_scarce { " with little memory" } else { "" };
        writeln!(f, "a schedule{scarce}:")?;
        for (number, opened) in self.opened.iter().enumerate().filter(|(_, opened)| opened.is_some()) {
            writeln!(f, "  #{} has begun with {:?}", number + 1, opened)?;
        }
        for (index, round) in self.rounds.iter().enumerate() {
            let later = if round.is_later { ", later" } else { "" };
            let forgets = if round.forgets { ", the kernel has forgotten everything" } else { "" };
            writeln!(f, "  round {index}{later}{forgets}")?;
            for (number, program) in round.programs.iter().enumerate().filter(|(_, program)| !program.is_empty()) {
                writeln!(f, "    #{}: {program:?}", number + 1)?;
            }
            let held: Vec<String> = OPS
                .iter()
                .zip(&round.held)
                .filter_map(|(op, held)| match held {
                    (false, false) => None,
                    (true, false) => Some(format!("{op}")),
                    (false, true) => Some(format!("{op}'s answer")),
                    (true, true) => Some(format!("{op} and its answer")),
                })
                .collect();
            writeln!(f, "    held: {}", held.join(", "))?;
            writeln!(f, "    steps: {:?}", round.steps)?;
        }
        Ok(())
    }
}

fn file() -> impl Strategy<Value = &'static str> {
    prop_oneof![2 => prop::sample::select(&SOUGHT[..]), 3 => prop::sample::select(&FILES[..])]
}

fn opening() -> impl Strategy<Value = Action> {
    prop_oneof![
        2 => file().prop_map(Action::OpenToRead),
        2 => file().prop_map(Action::OpenToWrite),
        2 => file().prop_map(Action::OpenEmptied),
        1 => file().prop_map(Action::OpenToAppend),
        2 => file().prop_map(Action::OpenNew),
    ]
}

fn action() -> impl Strategy<Value = Action> {
    let directory = || prop::sample::select(&DIRECTORIES[..]);
    let path = || prop_oneof![4 => file(), 1 => directory()];
    let (open, cells) = (|| 0..3_usize, || 0..6_usize);
    prop_oneof![
        8 => opening(),
        1 => directory().prop_map(Action::OpenToRead),
        2 => open().prop_map(|open| Action::Read { open }),
        4 => (open(), 0..4_usize, 1..6_usize).prop_map(|(open, at, cells)| Action::Write { open, at, cells }),
        2 => open().prop_map(|open| Action::Fsync { open }),
        1 => (open(), cells()).prop_map(|(open, cells)| Action::Cut { open, cells }),
        3 => open().prop_map(|open| Action::Close { open }),
        3 => (file(), 1..6_usize).prop_map(|(path, cells)| Action::Put { path, cells }),
        2 => file().prop_map(Action::Cat),
        5 => (file(), file()).prop_map(|(from, to)| Action::Rename(from, to)),
        3 => prop::sample::select(&MOVES[..]).prop_map(|(from, to)| Action::Rename(from, to)),
        1 => (path(), path()).prop_map(|(from, to)| Action::Rename(from, to)),
        1 => (path(), path()).prop_map(|(from, to)| Action::RenameNoReplace(from, to)),
        3 => path().prop_map(Action::Unlink),
        1 => path().prop_map(Action::Mkdir),
        2 => path().prop_map(Action::Rmdir),
        1 => (path(), path()).prop_map(|(from, to)| Action::Link(from, to)),
        1 => (file(), cells()).prop_map(|(path, cells)| Action::CutPath { path, cells }),
        1 => (path(), prop::sample::select(&[0o600, 0o711][..]))
            .prop_map(|(path, permissions)| Action::Chmod { path, permissions }),
        2 => path().prop_map(Action::Stat),
        1 => prop_oneof![Just(""), directory()].prop_map(Action::List),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => (0..12_usize).prop_map(Step::Go),
        4 => (0..12_usize).prop_map(Step::GoAtOnce),
        1 => (0..4_usize).prop_map(Step::Interrupt),
        1 => (1..8_000_u64).prop_map(Step::Pass),
    ]
}

fn round() -> impl Strategy<Value = Round> {
    let programs = prop::collection::vec(prop::collection::vec(action(), 1..=2), 2..=4);
    let held = prop::collection::vec(any::<(bool, bool)>(), OPS.len());
    let steps = prop::collection::vec(step(), 1..40);
    let all = (programs, held, steps, any::<bool>(), any::<bool>());
    all.prop_map(|(programs, held, steps, is_later, forgets)| Round { programs, held, steps, is_later, forgets })
}

fn schedule() -> impl Strategy<Value = Schedule> {
    let opened = prop::collection::vec(prop::option::of(opening()), 4);
    let all = (opened, prop::collection::vec(round(), 1..=3), prop::bool::weighted(0.2));
    all.prop_map(|(opened, rounds, memory_is_scarce)| Schedule { opened, rounds, memory_is_scarce })
}

/// Requests that stand at gates, one each, and the answers that do.
#[derive(Default)]
struct Gates {
    gates: Vec<Gate>,
}

impl Gates {
    fn hold(bed: &Bed, held: &[(bool, bool)]) -> Gates {
        let mut gates = Vec::new();
        let mut hold = |op, call, of: fn(Fault) -> Fault| {
            let gate = Gate::new();
            bed.faults.inject(of(Fault::hold(op, &gate).from_call(call)));
            gates.push(gate);
        };
        for (op, (request, answer)) in OPS.into_iter().zip(held) {
            for call in 1..=HELD {
                if *request {
                    hold(op, call, |fault| fault);
                }
                if *answer {
                    hold(op, call, Fault::answer_lost);
                }
            }
        }
        Gates { gates }
    }

    /// Those that somebody stands at.
    fn reached(&self) -> Vec<usize> {
        let stands = |at: &usize| self.gates[*at].reached_by(1).now_or_never().is_some();
        (0..self.gates.len()).filter(stands).collect()
    }

    fn open(&mut self, at: usize) {
        self.gates.swap_remove(at).open();
    }

    fn open_all(self, bed: &Bed) {
        bed.faults.heal();
        self.gates.iter().for_each(Gate::open);
    }
}

/// Callers, and what there may be by now.
struct Run {
    bed: Bed,
    shared: Arc<Shared>,
    callers: Vec<Caller>,
    states: BTreeSet<State>,
}

impl Run {
    fn new(memory_is_scarce: bool) -> Run {
        let memory_bytes = if memory_is_scarce { 3 * MIB } else { 64 * MIB };
        let part_bytes = LIMITS.part_bytes_min;
        let choices = Choices { limits: LIMITS, memory_bytes, part_bytes, ..Choices::default() };
        // What this mount did at the same moment as it asked for a listing nobody could put in order.
        let bed = Bed::at(Clock::ticking(1_700_000_000), choices);
        let shared = Arc::default();
        let callers = (1..=4).map(|tid| Caller::new(tid, &bed.fs, &shared)).collect();
        Run { bed, shared, callers, states: BTreeSet::from([State::empty()]) }
    }

    /// Everything that can go on without the next step has done so: tokio's time goes on when nothing else does.
    async fn settle(clock: &Clock) {
        let moment = Duration::from_millis(1);
        tokio::time::sleep(moment).await;
        clock.advance(moment);
    }

    async fn pass(&self, milliseconds: u64) {
        self.bed.advance(milliseconds);
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
        Self::settle(&self.bed.clock).await;
    }

    async fn round(&mut self, round: &Round) -> Result<(), String> {
        if round.is_later {
            self.bed.advance(100_000);
        }
        if round.forgets && !self.callers.iter().any(Caller::has_open) {
            self.shared.forget_all(&self.bed.fs);
        }
        let controls: Vec<Arc<Control>> = self.callers.iter().map(|caller| caller.control.clone()).collect();
        let mut gates = Gates::hold(&self.bed, &round.held);
        let mut programs = round.programs.iter().cloned();
        let run = |mut caller: Caller| {
            let program = programs.next().unwrap_or_default();
            tokio::spawn(async move {
                caller.run(&program).await;
                caller
            })
        };
        let running: Vec<JoinHandle<Caller>> = std::mem::take(&mut self.callers).into_iter().map(run).collect();
        let mut steps = round.steps.iter().copied().chain(std::iter::repeat(Step::Go(0)));
        let mut idle = Duration::ZERO;
        Self::settle(&self.bed.clock).await;
        while self.shared.history.has_unfinished() || !running.iter().all(JoinHandle::is_finished) {
            let step = steps.next().unwrap_or(Step::Go(0));
            if self.take(step, &controls, &mut gates).await {
                idle = Duration::ZERO;
            } else {
                // Time goes on for those who wait for it.
                idle += Duration::from_millis(50);
                self.pass(50).await;
            }
            if idle > LONGEST {
                return Err(format!(
                    "Somebody waits for ever, and nothing holds anybody up:\n{}",
                    self.shared.history.told()
                ));
            }
        }
        gates.open_all(&self.bed);
        for caller in running {
            self.callers.push(caller.await.map_err(|error| format!("{error}\n{}", self.shared.history.told()))?);
        }
        Self::settle(&self.bed.clock).await;
        Box::pin(self.look(&self.bed.fs.clone())).await;
        self.explain().await
    }

    /// Whether the step could be taken.
    async fn take(&self, step: Step, controls: &[Arc<Control>], gates: &mut Gates) -> bool {
        match step {
            Step::Go(which) | Step::GoAtOnce(which) => {
                let ready: Vec<&Arc<Control>> = controls.iter().filter(|control| control.is_ready()).collect();
                let reached = gates.reached();
                let Some(which) = which.checked_rem(ready.len() + reached.len()) else { return false };
                match ready.get(which) {
                    Some(control) => control.go(),
                    None => gates.open(reached[which - ready.len()]),
                }
            }
            Step::Interrupt(which) => {
                let waiting: Vec<&Arc<Control>> = controls.iter().filter(|control| control.is_waiting()).collect();
                let Some(which) = which.checked_rem(waiting.len()) else { return true };
                waiting[which].interrupt();
            }
            Step::Pass(milliseconds) => self.pass(milliseconds).await,
        }
        if !matches!(step, Step::GoAtOnce(_)) {
            Self::settle(&self.bed.clock).await;
            self.check_what_always_holds();
        }
        true
    }

    /// What holds in the middle of calls, too.
    fn check_what_always_holds(&self) {
        let (used, limit) = (self.bed.memory.used_bytes(), self.bed.memory.limit_bytes());
        assert!(used <= limit, "{used} bytes of memory are in use, of {limit}");
        self.bed.fs.expect_consistent();
    }

    /// Looks at everything that there is, by calls as any other.
    async fn look(&self, fs: &Arc<FileSystem>) {
        let mut looking = Caller::new(0, fs, &self.shared);
        let control = looking.control.clone();
        let look = async {
            let mut directories = vec![ROOT];
            while let Some(directory) = directories.pop() {
                for name in looking.list(directory).await.unwrap_or_default() {
                    let name = known_name(&name);
                    match looking.lookup((directory, name)).await {
                        Ok(attr) if attr.kind == Kind::Directory => directories.push(attr.ino),
                        Ok(attr) if looking.open_inode(attr.ino, READ).await.is_ok() => {
                            let _ = looking.read(0).await;
                            looking.close_all().await;
                        }
                        _ => {}
                    }
                }
            }
        };
        Box::pin(unhindered(&self.bed.clock, &control, look)).await;
    }

    /// Takes what there may be by now from what was called.
    async fn explain(&mut self) -> Result<(), String> {
        // Nobody waits for releases.
        Self::settle(&self.bed.clock).await;
        self.states = explain(&self.states, &self.shared.history.take())?;
        Ok(())
    }

    /// Everything is closed: nothing is left of it but what there should be, for whoever mounts the bucket then.
    async fn end(mut self) -> Result<(), String> {
        for mut caller in std::mem::take(&mut self.callers) {
            let control = caller.control.clone();
            Box::pin(unhindered(&self.bed.clock, &control, caller.close_all())).await;
        }
        Box::pin(self.look(&self.bed.fs.clone())).await;
        self.explain().await?;
        self.pass(10_000).await;
        let failed = self.bed.fs.publish_below("").await;
        let failed: Vec<String> = failed.into_iter().map(|(key, failed)| format!("{key}: {failed}")).collect();
        self.bed.settle().await;
        let left = (
            failed,
            self.bed.fs.state().unpublished_keys(),
            self.bed.fs.state().being_written(),
            self.bed.bucket.unfinished_uploads(),
        );
        if left != (Vec::new(), Vec::new(), Vec::new(), Vec::new()) {
            return Err(format!(
                "What could not be published, what was not, what is open, and uploads that are left: {left:?}"
            ));
        }
        let hidden: Vec<_> = self.bed.bucket.keys().into_iter().filter(|key| key.starts_with(".cosmount")).collect();
        if !hidden.is_empty() {
            return Err(format!("left in the bucket: {hidden:?}"));
        }
        self.shared.forget_all(&self.bed.fs);
        Box::pin(self.look(&self.bed.another(None).fs)).await;
        self.explain().await?;
        self.remove_all().await
    }

    /// Whatever has a name can be removed, which takes every name's claims, and nothing else is in the bucket.
    async fn remove_all(self) -> Result<(), String> {
        let fs = &self.bed.fs;
        let mut directories = vec![String::new()];
        let mut at = 0;
        while let Some(directory) = directories.get(at).cloned() {
            let ino = if directory.is_empty() {
                ROOT
            } else {
                self.bed.stat(&directory).await.map_err(|error| error.to_string())?.ino
            };
            for name in self.bed.list(ino).await {
                let path = if directory.is_empty() { name } else { format!("{directory}/{name}") };
                match self.bed.stat(&path).await {
                    Ok(attr) if attr.kind == Kind::Directory => directories.push(path),
                    _ => self.bed.unlink(&path).await.map_err(|error| format!("{path} cannot be removed: {error}"))?,
                }
            }
            at += 1;
        }
        for directory in directories.iter().skip(1).rev() {
            self.bed.rmdir(directory).await.map_err(|error| format!("{directory} cannot be removed: {error}"))?;
        }
        let (keys, memory) = (self.bed.bucket.keys(), self.bed.memory.used_bytes());
        let unpublished = fs.state().unpublished_keys();
        if !keys.is_empty() || memory != 0 || !unpublished.is_empty() {
            return Err(format!(
                "when all is removed, the bucket has {keys:?}, {unpublished:?} waits, and {memory} bytes are in use"
            ));
        }
        Ok(())
    }
}

/// Does what a caller does, which may go on whenever it wants to.
async fn unhindered(clock: &Clock, control: &Control, calls: impl Future<Output = ()>) {
    let letting_go = async {
        loop {
            if control.is_ready() {
                control.go();
            }
            Run::settle(clock).await;
        }
    };
    tokio::select! {
        biased;
        () = calls => {}
        () = letting_go => unreachable!("it goes on for ever"),
    }
}

/// Names are those of this test, whatever is found.
fn known_name(name: &str) -> &'static str {
    let names = FILES.iter().chain(&DIRECTORIES).map(|path| path.rsplit('/').next().unwrap_or(path));
    names.into_iter().find(|known| *known == name).unwrap_or("a name that nobody has made")
}

async fn run(schedule: &Schedule) -> Result<(), String> {
    let mut run = Run::new(schedule.memory_is_scarce);
    let unhindered =
        |programs| Round { programs, held: Vec::new(), steps: Vec::new(), is_later: false, forgets: false };
    let opened = schedule.opened.iter().map(|opened| opened.iter().copied().collect());
    let before = [unhindered(vec![BEFORE.to_vec()]), unhindered(opened.collect())];
    for round in before.iter().chain(&schedule.rounds) {
        Box::pin(run.round(round)).await?;
    }
    Box::pin(run.end()).await
}

/// What is wrong with what became of the schedule.
fn check(schedule: &Schedule) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let all = async { tokio::time::timeout(Duration::from_secs(86_400), run(schedule)).await };
    match catch_unwind(AssertUnwindSafe(|| runtime.block_on(all))) {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err("Somebody waits for ever.".to_owned()),
        Err(_) => Err("It panicked, as is told above.".to_owned()),
    }
}

/// Draws schedules, and tells which one is about to run.
fn draw(seed: u64, cases: u32, about_to_run: &Sender<Schedule>) -> Result<(), String> {
    let config = ProptestConfig {
        cases,
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        max_shrink_time: 60_000,
        max_shrink_iters: 100_000,
        ..ProptestConfig::default()
    };
    // Not counted are those that are drawn to make one smaller that has failed.
    let (drawn, has_failed) = (Cell::new(0), Cell::new(false));
    let result = TestRunner::new(config).run(&schedule(), |schedule| {
        drawn.set(drawn.get() + u32::from(!has_failed.get()));
        about_to_run.send(schedule.clone()).unwrap();
        let checked = check(&schedule);
        has_failed.set(has_failed.get() || checked.is_err());
        checked.map_err(TestCaseError::fail)
    });
    result.map_err(|error| format!("PROPTEST_RNG_SEED={seed}, schedule {}: {error}", drawn.get()))
}

fn from_environment<N: std::str::FromStr>(name: &str) -> Option<N> {
    std::env::var(name).ok()?.parse().ok()
}

/// Passes on what is wrong, and waits for nobody who never ends.
fn wait_for(told: &Receiver<Schedule>) {
    let mut last = None;
    loop {
        match told.recv_timeout(LONGEST_REAL) {
            Ok(schedule) => last = Some(schedule),
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => panic!("this never ends: {last:?}"),
        }
    }
}

#[test]
fn calls_at_once_give_what_an_order_of_them_gives_on_a_disk() {
    let seed = from_environment("PROPTEST_RNG_SEED").unwrap_or(SEED);
    let cases = from_environment("PROPTEST_CASES").unwrap_or(CASES);
    let (tell, told) = channel();
    let drawing = std::thread::spawn(move || draw(seed, cases, &tell));
    wait_for(&told);
    if let Err(what) = drawing.join().unwrap() {
        panic!("{what}");
    }
}
