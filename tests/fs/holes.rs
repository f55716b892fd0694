//! Large holes, which the service makes of copies of zeros, and publishings that nobody wants any more.

use std::sync::Arc;
use std::time::Duration;

use cosmount::fs::{AttrChange, FsError};
use cosmount::store::testing::{Fault, Gate};
use cosmount::store::{Op, StoreErrorKind};

use crate::bed::{Bed, File, MIB, PART, READ, WRITE, bytes};

/// What takes longer waits for what nobody wants.
const PATIENCE: Duration = Duration::from_secs(20);

async fn within_reason<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("somebody waits for what nobody wants")
}

const HOLE: usize = 200 * PART;

fn resize(size: usize) -> AttrChange {
    AttrChange { size: Some(size as u64), ..AttrChange::default() }
}

/// Makes the file `a` longer by path, in a task of its own, up to where the first copy of zeros waits at a gate.
async fn fill(bed: &Bed) -> (Gate, tokio::task::JoinHandle<Result<(), FsError>>) {
    let gate = Gate::new();
    bed.faults.inject(Fault::hold(Op::UploadPartCopy, &gate).forever());
    let (ino, fs) = (bed.stat("a").await.unwrap().ino, bed.fs.clone());
    let filling = tokio::spawn(async move { fs.setattr(ino, resize(HOLE)).await.map(|_| ()) });
    gate.reached_by(1).await;
    (gate, filling)
}

async fn nothing_is_left(bed: &Bed, expected: &[(&str, &[u8])]) {
    bed.settle().await;
    bed.assert_bucket(expected);
    bed.assert_no_unfinished_uploads().await;
}

#[tokio::test]
async fn zeros_of_a_large_hole_are_copied_on_the_service() {
    let bed = Bed::new();
    let file = bed.create("a").await;
    file.write(0, b"head").await.unwrap();
    file.write(HOLE, b"tail").await.unwrap();
    bed.take_ops();
    file.close().await.unwrap();
    let sent: u64 = bed.bucket.requests().iter().map(|request| request.bytes_in).sum();
    // One object of zeros of four parts, one part at each end, and a copy of the zeros for each of their size.
    assert!(sent <= 7 * MIB as u64, "{sent} bytes for {HOLE} zeros");
    assert!(bed.take_ops().len() <= HOLE / (4 * PART) + 8);
    let mut model = vec![0; HOLE + 4];
    model[..4].copy_from_slice(b"head");
    model[HOLE..].copy_from_slice(b"tail");
    nothing_is_left(&bed, &[("a", &model)]).await;
}

#[tokio::test]
async fn a_published_file_grows_by_copies() {
    let bed = Bed::new();
    let before = bytes(1, 3 * PART + 5);
    bed.bucket.insert("a", before.clone());
    let ino = bed.stat("a").await.unwrap().ino;
    bed.fs.setattr(ino, resize(HOLE)).await.unwrap();
    let sent: u64 = bed.bucket.requests().iter().map(|request| request.bytes_in).sum();
    assert!(sent <= 5 * MIB as u64, "{sent} bytes for {HOLE} zeros");
    let mut model = before;
    model.resize(HOLE, 0);
    nothing_is_left(&bed, &[("a", &model)]).await;
}

#[tokio::test]
async fn zeros_that_are_none_are_not_published() {
    for (times, closed) in [(1, Ok(())), (usize::MAX, Err(FsError::Remote(StoreErrorKind::Corrupted)))] {
        let bed = Bed::new();
        let file = bed.create("a").await;
        file.truncate(HOLE).await.unwrap();
        bed.faults.inject(Fault::damage_answer(Op::UploadPartCopy).from_call(3).times(times));
        assert_eq!(file.close().await, closed);
        match closed {
            Ok(()) => nothing_is_left(&bed, &[("a", &vec![0; HOLE])]).await,
            Err(_) => nothing_is_left(&bed, &[]).await,
        }
    }
}

#[tokio::test]
async fn a_removal_stops_the_publishing_of_what_it_removes() {
    let bed = Bed::new();
    bed.bucket.insert("a", "before");
    let (gate, filling) = fill(&bed).await;
    within_reason(bed.unlink("a")).await.unwrap();
    within_reason(filling).await.unwrap().unwrap();
    assert!(bed.stat("a").await.is_err());
    gate.open();
    nothing_is_left(&bed, &[]).await;
    assert_eq!(bed.bucket.count(Op::CompleteMultipartUpload), 0);
}

#[tokio::test]
async fn a_removal_stops_a_close_too_and_the_file_lives_on_for_who_has_it_open() {
    let bed = Bed::new();
    let content = bytes(1, 3 * PART);
    let gate = Gate::new();
    bed.faults.inject(Fault::hold(Op::UploadPart, &gate).forever());
    let file = Arc::new(bed.create("a").await);
    file.write(0, &content).await.unwrap();
    let closing = tokio::spawn({
        let file = file.clone();
        async move { file.flush().await }
    });
    gate.reached_by(1).await;
    bed.settle().await;
    within_reason(bed.unlink("a")).await.unwrap();
    within_reason(closing).await.unwrap().unwrap();
    assert_eq!(file.size().await, content.len());
    gate.open();
    file.write(1, b"more").await.unwrap();
    file.flush().await.unwrap();
    bed.fs.release(file.handle).await;
    nothing_is_left(&bed, &[]).await;
}

#[tokio::test]
async fn a_rename_over_a_file_stops_its_publishing() {
    let bed = Bed::new();
    bed.bucket.insert("a", "before");
    bed.bucket.insert("b", "new");
    let (gate, filling) = fill(&bed).await;
    within_reason(bed.rename("b", "a")).await.unwrap();
    within_reason(filling).await.unwrap().unwrap();
    gate.open();
    nothing_is_left(&bed, &[("a", b"new")]).await;
    assert_eq!(bed.read("a").await.unwrap(), b"new");
}

/// What was stopped for a removal that failed goes on from where it was.
#[tokio::test]
async fn a_removal_that_fails_leaves_what_it_stopped_to_be_published() {
    let bed = Bed::with_faults([Fault::nth(Op::DeleteObject, 1, StoreErrorKind::Denied).key("a")]);
    bed.bucket.insert("a", "before");
    let (gate, filling) = fill(&bed).await;
    assert_eq!(within_reason(bed.unlink("a")).await, Err(FsError::Remote(StoreErrorKind::Denied)));
    within_reason(filling).await.unwrap().unwrap();
    gate.open();
    bed.publish_all().await;
    let mut model = b"before".to_vec();
    model.resize(HOLE, 0);
    nothing_is_left(&bed, &[("a", &model)]).await;
}

/// Who has called fsync must not be told that it is done because a removal has stopped it, if that fails.
#[tokio::test]
async fn an_fsync_that_a_failed_removal_has_stopped_goes_on() {
    let bed = Bed::with_faults([Fault::nth(Op::DeleteObject, 1, StoreErrorKind::Denied).key("a")]);
    let (content, gate) = (bytes(1, 3 * PART), Gate::new());
    bed.put("a", b"before").await.unwrap();
    let file = Arc::new(bed.open("a", WRITE).await.unwrap());
    file.write(0, &content).await.unwrap();
    bed.faults.inject(Fault::hold(Op::UploadPart, &gate).forever());
    let syncing = tokio::spawn({
        let file = file.clone();
        async move { file.fsync().await }
    });
    gate.reached_by(1).await;
    bed.settle().await;
    assert_eq!(within_reason(bed.unlink("a")).await, Err(FsError::Remote(StoreErrorKind::Denied)));
    gate.open();
    within_reason(syncing).await.unwrap().unwrap();
    bed.assert_bucket(&[("a", &content)]);
    bed.fs.release(file.handle).await;
}

#[tokio::test]
async fn a_hole_that_nobody_waits_for_any_more_is_not_published() {
    let bed = Bed::new();
    bed.bucket.insert("a", "before");
    let (gate, filling) = fill(&bed).await;
    bed.fs.stop_filling(bed.stat("a").await.unwrap().ino);
    assert!(within_reason(filling).await.unwrap().is_err());
    gate.open();
    nothing_is_left(&bed, &[("a", b"before")]).await;
    assert_eq!(bed.read("a").await.unwrap(), b"before");
}

/// Only zeros are given up: what a program has written before it was killed is published.
#[tokio::test]
async fn what_was_written_is_published_whoever_is_gone() {
    let bed = Bed::new();
    let gate = Gate::new();
    bed.faults.inject(Fault::hold(Op::UploadPart, &gate).forever());
    let file = Arc::new(bed.create("a").await);
    let mut model = bytes(1, 3 * PART);
    file.write(0, &model).await.unwrap();
    file.truncate(4 * PART).await.unwrap();
    model.resize(4 * PART, 0);
    let closing = tokio::spawn({
        let file = file.clone();
        async move { file.flush().await }
    });
    gate.reached_by(1).await;
    bed.settle().await;
    bed.fs.stop_filling(file.ino);
    gate.open();
    assert_eq!(within_reason(closing).await.unwrap(), Ok(()));
    nothing_is_left(&bed, &[("a", &model)]).await;
}

/// Requests that hang at the end of a mount do not keep an upload from being aborted.
#[tokio::test]
async fn the_end_of_the_mount_aborts_what_is_still_on_its_way() {
    let gate = Gate::new();
    let bed = Bed::with_faults([Fault::hold(Op::UploadPart, &gate).forever()]);
    let file: File = bed.create("a").await;
    file.write(0, &bytes(1, 3 * PART)).await.unwrap();
    gate.reached_by(2).await;
    within_reason(bed.fs.dispose_all()).await;
    assert_eq!(bed.bucket.unfinished_uploads(), []);
    gate.open();
    bed.settle().await;
    bed.assert_bucket(&[]);
}

#[tokio::test]
async fn a_hole_is_read_as_zeros_while_it_is_published() {
    let bed = Bed::new();
    bed.bucket.insert("a", "before");
    let (gate, filling) = fill(&bed).await;
    let reader = bed.open("a", READ).await.unwrap();
    let mut expected = b"before".to_vec();
    expected.resize(100, 0);
    assert_eq!(within_reason(reader.read(0, 100)).await.unwrap(), expected);
    assert_eq!(within_reason(reader.read(HOLE / 2, 100)).await.unwrap(), [0; 100]);
    gate.open();
    within_reason(filling).await.unwrap().unwrap();
    reader.close().await.unwrap();
}
