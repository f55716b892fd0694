//! Calls of the same names that overlap, at every request and in any order, against the same calls one after the other: what
//! they return and what they leave is what one of those orders gives.

use std::collections::BTreeMap;
use std::time::Duration;

use cosmount::fs::{AttrChange, FsError};
use cosmount::store::Op;
use cosmount::store::testing::{Fault, Gate};
use futures_util::FutureExt;
use proptest::prelude::*;

use crate::bed::{Bed, File, REPLACE, TEMPORARY, WRITE};

/// Two files, a directory with a file, and a name that nothing has.
const PATHS: [&str; 5] = ["a", "b", "d", "d/x", "e"];

/// The requests that these calls make.
const OPS: [Op; 7] = [
    Op::ListObjects,
    Op::HeadObject,
    Op::GetObject,
    Op::PutObject,
    Op::CopyObject,
    Op::DeleteObject,
    Op::DeleteMultipleObjects,
];

/// Requests of one kind that stand at gates of their own. Those that follow pass.
const GATES: usize = 12;

/// What a program does.
#[derive(Clone, Copy, Debug)]
enum Call {
    Rename(usize, usize),
    Unlink(usize),
    Mkdir(usize),
    Rmdir(usize),
    /// Makes a file that must be new.
    Make(usize),
    /// Makes or empties a file, and writes.
    Replace(usize),
    Cut(usize),
    Chmod(usize),
    Read(usize),
    Link(usize, usize),
    /// Whoever has the first file open writes, and publishes it.
    Sync,
}

fn call() -> impl Strategy<Value = Call> {
    let path = || 0..PATHS.len();
    prop_oneof![
        5 => (path(), path()).prop_map(|(from, to)| Call::Rename(from, to)),
        2 => path().prop_map(Call::Unlink),
        1 => path().prop_map(Call::Mkdir),
        1 => path().prop_map(Call::Rmdir),
        1 => path().prop_map(Call::Make),
        2 => path().prop_map(Call::Replace),
        1 => path().prop_map(Call::Cut),
        1 => path().prop_map(Call::Chmod),
        1 => path().prop_map(Call::Read),
        1 => (path(), path()).prop_map(|(from, to)| Call::Link(from, to)),
        1 => Just(Call::Sync),
    ]
}

impl Call {
    async fn run(self, bed: &Bed, writer: Option<&File>) -> Result<String, FsError> {
        let nothing = |()| String::new();
        match self {
            Call::Rename(from, to) => bed.rename(PATHS[from], PATHS[to]).await.map(nothing),
            Call::Unlink(path) => bed.unlink(PATHS[path]).await.map(nothing),
            Call::Mkdir(path) => bed.mkdir(PATHS[path]).await.map(|_| String::new()),
            Call::Rmdir(path) => bed.rmdir(PATHS[path]).await.map(nothing),
            Call::Make(path) => write(bed.try_create(PATHS[path], TEMPORARY).await?, b"made").await,
            Call::Replace(path) => write(replace(bed, path).await?, b"replaced").await,
            Call::Cut(path) => {
                let change = AttrChange { size: Some(1), ..AttrChange::default() };
                bed.fs.setattr(bed.stat(PATHS[path]).await?.ino, change).await.map(|_| String::new())
            }
            Call::Chmod(path) => bed.chmod(PATHS[path], 0o711).await.map(|_| String::new()),
            Call::Read(path) => bed.read(PATHS[path]).await.map(text),
            Call::Link(from, to) => {
                let ino = bed.stat(PATHS[from]).await?.ino;
                let (parent, name) = bed.place(PATHS[to]).await?;
                match bed.fs.link(ino, parent, &name).await {
                    // So says a disk, too, of a file that has lost its name since it was found.
                    Err(FsError::NotFound) => Err(FsError::Stale),
                    linked => linked.map(|_| String::new()),
                }
            }
            Call::Sync => match writer {
                Some(writer) => writer.write(4, b"FIRST").await.and(writer.fsync().await).map(nothing),
                None => Ok(String::new()),
            },
        }
    }

    /// As the kernel makes it, which walks a path once more where something on it was another by the time that it came to it.
    async fn made(self, bed: &Bed, writer: Option<&File>) -> Result<String, FsError> {
        match self.run(bed, writer).await {
            Err(FsError::Stale) => self.run(bed, writer).await,
            result => result,
        }
    }
}

/// As the kernel opens with O_CREAT and O_TRUNC.
async fn replace(bed: &Bed, path: usize) -> Result<File, FsError> {
    match bed.stat(PATHS[path]).await {
        Err(FsError::NotFound) => bed.try_create(PATHS[path], REPLACE).await,
        _ => bed.open(PATHS[path], REPLACE).await,
    }
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

async fn write(file: File, content: &[u8]) -> Result<String, FsError> {
    let written = file.write(0, content).await;
    let closed = file.close().await;
    written.and(closed).map(|()| String::new())
}

/// What calls return, and what is in the bucket in the end: contents and modes.
#[derive(Clone, Debug, PartialEq)]
struct Outcome {
    results: Vec<Result<String, ()>>,
    objects: BTreeMap<String, (String, Option<String>)>,
}

/// A bucket and its mount before the calls, with a writer of the first file where there `is_open` one.
async fn begin(is_open: bool) -> (Bed, Option<File>) {
    let bed = Bed::new();
    bed.put("a", b"the first").await.unwrap();
    bed.put("b", b"the second").await.unwrap();
    bed.mkdir("d").await.unwrap();
    bed.put("d/x", b"the third").await.unwrap();
    let writer = if is_open { Some(bed.open("a", WRITE).await.unwrap()) } else { None };
    // What is known of names has to be asked for again.
    bed.advance(100_000);
    (bed, writer)
}

async fn end(bed: &Bed, writer: Option<File>, results: Vec<Result<String, FsError>>) -> Outcome {
    if let Some(writer) = writer {
        writer.write(0, b"THE").await.unwrap();
        writer.close().await.unwrap();
    }
    bed.publish_all().await;
    bed.assert_no_unfinished_uploads().await;
    let object = |key: String| {
        let mode = bed.bucket.object_head(&key).unwrap().attributes.user.get("mode").cloned();
        (key.clone(), (text(bed.bucket.bytes(&key).unwrap().to_vec()), mode))
    };
    let objects: BTreeMap<_, _> = bed.bucket.keys().into_iter().map(|key| object(key.to_string())).collect();
    for path in PATHS {
        let known = bed.stat(path).await.map(|attr| attr.size).ok();
        let is_directory = objects.contains_key(&format!("{path}/"));
        let size = objects.get(path).map(|(bytes, _)| bytes.len() as u64).or(is_directory.then_some(0));
        assert_eq!(known, size, "{path} is what the bucket has: {objects:?}");
    }
    Outcome { results: results.into_iter().map(|result| result.map_err(drop)).collect(), objects }
}

/// Every order of the numbers below `count`.
fn orders(count: usize) -> Vec<Vec<usize>> {
    (0..count).fold(vec![Vec::new()], |orders, next| {
        let with_next = |order: &Vec<usize>| {
            let with = |at| [&order[..at], &[next], &order[at..]].concat();
            (0..=order.len()).map(with).collect::<Vec<_>>()
        };
        orders.iter().flat_map(with_next).collect()
    })
}

async fn one_after_the_other(calls: &[Call], order: &[usize], is_open: bool) -> Outcome {
    let (bed, writer) = begin(is_open).await;
    let mut results = vec![Err(FsError::NotFound); calls.len()];
    for index in order {
        results[*index] = calls[*index].made(&bed, writer.as_ref()).await;
    }
    end(&bed, writer, results).await
}

/// Lets all calls begin, and one request after the other go on, each time the one that `picks` says of those that stand at a
/// gate: before the service hears of it, or before its answer comes.
async fn overlapping(calls: &[Call], picks: &[usize], holds_answers: bool, is_open: bool) -> Outcome {
    let (bed, writer) = begin(is_open).await;
    let mut gates = Vec::new();
    for op in OPS {
        for n in 1..=GATES {
            let gate = Gate::new();
            let fault = Fault::hold(op, &gate).from_call(n);
            bed.faults.inject(if holds_answers { fault.answer_lost() } else { fault });
            gates.push(gate);
        }
    }
    let all = futures_util::future::join_all(calls.iter().map(|call| call.made(&bed, writer.as_ref())));
    let opening = async {
        let mut picks = picks.iter().cycle();
        loop {
            bed.settle().await;
            let stands = |gate: &Gate| gate.reached_by(1).now_or_never().is_some();
            let at: Vec<usize> = (0..gates.len()).filter(|at| stands(&gates[*at])).collect();
            match at.is_empty() {
                // Time goes on for those who wait for it.
                true => tokio::time::sleep(Duration::from_millis(50)).await,
                false => gates.swap_remove(at[picks.next().unwrap() % at.len()]).open(),
            }
        }
    };
    let results = tokio::select! {
        biased;
        results = all => results,
        () = opening => unreachable!("it goes on for ever"),
    };
    bed.faults.heal();
    for gate in &gates {
        gate.open();
    }
    bed.settle().await;
    end(&bed, writer, results).await
}

fn check(calls: &[Call], picks: &[usize], holds_answers: bool, is_open: bool) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let all = async {
        let outcome = overlapping(calls, picks, holds_answers, is_open).await;
        let mut expected = Vec::new();
        for order in orders(calls.len()) {
            expected.push(one_after_the_other(calls, &order, is_open).await);
        }
        // What is opened first may be read when others have changed it, under whatever name.
        let is_changed = calls.iter().any(|call| matches!(call, Call::Replace(_) | Call::Cut(_) | Call::Sync));
        let without_content = |mut outcome: Outcome| {
            outcome.results.iter_mut().flatten().filter(|_| is_changed).for_each(String::clear);
            outcome
        };
        let outcome = without_content(outcome);
        let expected: Vec<Outcome> = expected.into_iter().map(without_content).collect();
        let lines: Vec<String> = expected.iter().map(|outcome| format!("{outcome:?}")).collect();
        assert!(expected.contains(&outcome), "{outcome:?}\nis none of\n{}", lines.join("\n"));
    };
    let in_time = async { tokio::time::timeout(Duration::from_secs(3600), all).await };
    runtime.block_on(in_time).expect("somebody waits for ever");
}

fn config() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, max_shrink_time: 60_000, cases: 512, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn calls_that_overlap_give_what_an_order_of_them_gives(
        calls in prop::collection::vec(call(), 2..=3),
        picks in prop::collection::vec(0..12_usize, 12),
        holds_answers in any::<bool>(),
        is_open in any::<bool>(),
    ) {
        check(&calls, &picks, holds_answers, is_open);
    }
}
