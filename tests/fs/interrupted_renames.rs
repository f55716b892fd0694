//! Renames and removals whose callers were interrupted and which are still on their way: what others of the same names find
//! when those have come to their end.

use std::time::Duration;

use cosmount::fs::{FileName, FsError, ROOT};
use cosmount::store::Op;
use cosmount::store::testing::{Fault, Gate};
use tokio::task::JoinHandle;

use crate::bed::{Bed, File, TEMPORARY, WRITE};

fn name(text: &str) -> FileName {
    FileName::new(text).unwrap()
}

/// Begins a call that nobody waits for, as one whose caller was interrupted.
fn rename(bed: &Bed, from: &str, to: &str) -> JoinHandle<Result<(), FsError>> {
    let (fs, from, to) = (bed.fs.clone(), name(from), name(to));
    tokio::spawn(async move { fs.rename((ROOT, &from), (ROOT, &to), false).await })
}

/// `a`, which somebody has open for writing, on its way to `b`: the copy stands at the gate.
async fn on_its_way(bed: &Bed, gate: &Gate) -> (File, JoinHandle<Result<(), FsError>>) {
    bed.put("a", b"content").await.unwrap();
    let writer = bed.open("a", WRITE).await.unwrap();
    bed.faults.inject(Fault::hold(Op::CopyObject, gate));
    let renaming = rename(bed, "a", "b");
    gate.reached_by(1).await;
    (writer, renaming)
}

/// `mv a b`, interrupted, and again.
#[tokio::test]
async fn a_repeated_rename_keeps_the_object() {
    let (bed, gate) = (Bed::new(), Gate::new());
    let (writer, first) = on_its_way(&bed, &gate).await;
    let second = rename(&bed, "a", "b");
    bed.settle().await;
    gate.open();
    assert_eq!((first.await.unwrap(), second.await.unwrap()), (Ok(()), Err(FsError::NotFound)));
    writer.close().await.unwrap();
    bed.assert_bucket(&[("b", b"content")]);
}

#[tokio::test]
async fn a_second_rename_to_another_name_comes_too_late() {
    let (bed, gate) = (Bed::new(), Gate::new());
    let (writer, first) = on_its_way(&bed, &gate).await;
    let second = rename(&bed, "a", "c");
    bed.settle().await;
    gate.open();
    assert_eq!((first.await.unwrap(), second.await.unwrap()), (Ok(()), Err(FsError::NotFound)));
    writer.close().await.unwrap();
    assert_eq!(bed.list(ROOT).await, ["b"]);
    bed.assert_bucket(&[("b", b"content")]);
}

/// `mv a b`, interrupted; `mv c a` meanwhile. Who had `a` open goes on writing to `b`.
#[tokio::test]
async fn a_file_that_moved_away_is_not_the_one_that_is_replaced() {
    let (bed, gate) = (Bed::new(), Gate::new());
    bed.put("c", b"other").await.unwrap();
    let (writer, first) = on_its_way(&bed, &gate).await;
    let second = rename(&bed, "c", "a");
    bed.settle().await;
    gate.open();
    assert_eq!((first.await.unwrap(), second.await.unwrap()), (Ok(()), Ok(())));
    writer.write(0, b"CONTENT").await.unwrap();
    writer.close().await.unwrap();
    bed.assert_bucket(&[("a", b"other"), ("b", b"CONTENT")]);
}

#[tokio::test]
async fn a_removal_does_not_take_what_has_moved_away() {
    let (bed, gate) = (Bed::new(), Gate::new());
    let (writer, first) = on_its_way(&bed, &gate).await;
    let fs = bed.fs.clone();
    let second = tokio::spawn(async move { fs.unlink(ROOT, &name("a")).await });
    bed.settle().await;
    gate.open();
    assert_eq!((first.await.unwrap(), second.await.unwrap()), (Ok(()), Err(FsError::NotFound)));
    writer.write(0, b"CONTENT").await.unwrap();
    writer.close().await.unwrap();
    bed.assert_bucket(&[("b", b"CONTENT")]);
}

/// While a directory is copied to its new name, nothing else in the mount waits for it.
#[tokio::test(start_paused = true)]
async fn others_do_not_wait_for_the_rename_of_a_directory() {
    let (bed, gate) = (Bed::new(), Gate::new());
    bed.mkdir("big").await.unwrap();
    bed.put("big/x", b"x").await.unwrap();
    bed.mkdir("unrelated").await.unwrap();
    // More than are published in the background at once.
    for n in 0..70 {
        bed.mkdir(&format!("d{n}")).await.unwrap();
    }
    bed.faults.inject(Fault::hold(Op::CopyObject, &gate).key("moved/x"));
    let moving = rename(&bed, "big", "moved");
    gate.reached_by(1).await;
    // As tar does at its end.
    for n in 0..70 {
        bed.chmod(&format!("d{n}"), 0o700).await.unwrap();
    }
    let file = bed.try_create("t", TEMPORARY).await.unwrap();
    file.write(0, b"temporary").await.unwrap();
    file.close().await.unwrap();
    bed.pass(6_000).await;
    assert!(bed.bucket.bytes("t").is_some(), "a temporary file is published when its time is over");
    assert_eq!(bed.bucket.object_head("d69/").unwrap().attributes.user["mode"], (0o040_700).to_string());
    tokio::time::timeout(Duration::from_secs(1), bed.rmdir("unrelated")).await.unwrap().unwrap();
    gate.open();
    moving.await.unwrap().unwrap();
    assert_eq!(bed.list(ROOT).await.iter().filter(|name| *name == "moved" || *name == "big").count(), 1);
}
