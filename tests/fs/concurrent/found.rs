//! Schedules that drawing has found, and what was wrong in them.

use std::panic::resume_unwind;

use cosmount::store::Op;

use super::callers::Action::{Cat, Close, Link, List, OpenNew, OpenToRead, Rename, Stat};
use super::{Action, OPS, Round, Schedule, Step, check};
use Step::{Go, GoAtOnce, Pass};

/// A round after which names have to be asked for again.
fn later(programs: Vec<Vec<Action>>, requests: &[Op], answers: &[Op], steps: Vec<Step>) -> Round {
    let held = OPS.iter().map(|op| (requests.contains(op), answers.contains(op))).collect();
    Round { programs, held, steps, is_later: true, forgets: false }
}

fn expect_an_order(opened: Vec<Option<Action>>, rounds: Vec<Round>) {
    let schedule = Schedule { opened, rounds, memory_is_scarce: false };
    let checked = std::thread::Builder::new().stack_size(16 << 20).spawn(move || check(&schedule)).unwrap().join();
    if let Err(what) = checked.unwrap_or_else(|panic| resume_unwind(panic)) {
        panic!("{what}");
    }
}

#[test]
fn a_stat_meets_two_renames_that_undo_each_other() {
    let programs = vec![vec![Stat("d/a")], vec![Rename("a", "d/a")], vec![Rename("d/a", "a")], vec![Cat("a")]];
    let answers = [Op::ListObjects, Op::GetObject, Op::CopyObject, Op::DeleteObject];
    let steps =
        vec![Go(5), Go(0), Go(2), Go(0), Go(1), Go(0), Go(2), Go(0), Go(0), Go(5), Go(1), Go(2), Go(1), GoAtOnce(2)];
    let round = later(programs, &[Op::ListObjects, Op::HeadObject], &answers, steps);
    expect_an_order(vec![], vec![Round { forgets: true, ..round }]);
}

#[test]
fn a_listing_has_what_waits_in_a_directory_that_is_renamed() {
    let programs = vec![
        vec![Close { open: 0 }, Link("a", "a")],
        vec![Rename("d", "f")],
        vec![List("d")],
        vec![Close { open: 0 }, Link("d/a.tmp", "a")],
    ];
    let steps = vec![Go(0), Go(0), Go(0), Go(8), Go(5), Go(7), GoAtOnce(11), Pass(4994)];
    let opened = vec![Some(OpenNew("d/a.tmp")), None, None, Some(OpenToRead("a"))];
    expect_an_order(opened, vec![later(programs, &[], &[Op::ListObjects, Op::CopyObject], steps)]);
}
