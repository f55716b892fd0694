//! Somebody else changes the object of a file that is being written here.

use cosmount::fs::FsError;
use cosmount::store::Op;
use cosmount::store::testing::{Fault, Gate};
use cosmount::upload::OnConflict;

use crate::bed::{APPEND, Bed, Choices, PART, REPLACE, assert_same, bytes};

fn bed_with(on_conflict: OnConflict) -> Bed {
    Bed::with(Choices { on_conflict, ..Choices::default() })
}

/// The same over a service that holds to what a write may replace.
fn exact_bed_with(on_conflict: OnConflict) -> Bed {
    let bed = bed_with(on_conflict);
    bed.bucket.keep_conditions();
    bed
}

fn keep_both() -> OnConflict {
    OnConflict::KeepBoth { host: "here".into() }
}

const BEDS: [fn(OnConflict) -> Bed; 2] = [bed_with, exact_bed_with];

/// Each of these over a service of either kind.
fn both_beds<T: Clone>(each: impl IntoIterator<Item = T>) -> impl Iterator<Item = (fn(OnConflict) -> Bed, T)> {
    each.into_iter().flat_map(|one| BEDS.map(|bed| (bed, one.clone())))
}

const BESIDE: &str = "a.conflict-here-20231114T221320Z";

#[tokio::test]
async fn the_last_writer_wins_by_default() {
    let bed = bed_with(OnConflict::Overwrite);
    bed.bucket.insert("a", "before");
    let file = bed.open("a", REPLACE).await.unwrap();
    file.write(0, b"ours").await.unwrap();
    bed.bucket.insert("a", "theirs");
    bed.take_ops();
    file.close().await.unwrap();
    assert_eq!(bed.take_ops(), [Op::PutObject], "nobody is asked");
    bed.assert_bucket(&[("a", b"ours")]);
}

/// An object that was replaced, one that came where none was, and large files that are on their way already.
#[tokio::test]
async fn a_conflict_is_told_at_close() {
    let each = [(true, 4), (false, 4), (true, 3 * PART), (false, 3 * PART)];
    for (bed_with, (before, len)) in BEDS.into_iter().flat_map(|bed| each.map(|each| (bed, each))) {
        let bed = bed_with(OnConflict::Fail);
        let file = match before {
            true => {
                bed.bucket.insert("a", "before");
                bed.open("a", REPLACE).await.unwrap()
            }
            false => bed.create("a").await,
        };
        file.write(0, &bytes(1, len)).await.unwrap();
        bed.settle().await;
        bed.bucket.insert("a", "theirs");
        assert_eq!(file.close().await, Err(FsError::Stale));
        bed.assert_bucket(&[("a", b"theirs")]);
        bed.assert_no_unfinished_uploads().await;
    }
}

#[tokio::test]
async fn without_a_conflict_nothing_is_told() {
    for (bed_with, on_conflict) in both_beds([OnConflict::Fail, keep_both()]) {
        let bed = bed_with(on_conflict);
        let file = bed.create("a").await;
        let content = bytes(1, 3 * PART);
        file.write(0, b"first").await.unwrap();
        file.fsync().await.unwrap();
        file.write(0, &content).await.unwrap();
        file.close().await.unwrap();
        bed.put("a", b"again").await.unwrap();
        bed.assert_bucket(&[("a", b"again")]);
    }
}

#[tokio::test]
async fn both_are_kept_if_so_wished() {
    for (bed_with, len) in both_beds([4, 3 * PART]) {
        let bed = bed_with(keep_both());
        bed.bucket.insert("a", "before");
        let file = bed.open("a", REPLACE).await.unwrap();
        let content = bytes(1, len);
        file.write(0, &content).await.unwrap();
        bed.settle().await;
        bed.bucket.insert("a", "theirs");
        file.fsync().await.unwrap();
        bed.assert_bucket(&[("a", b"theirs"), (BESIDE, &content)]);
        file.write(0, b"more").await.unwrap();
        file.close().await.unwrap();
        let more = [b"more", &content[4..]].concat();
        bed.assert_bucket(&[("a", b"theirs"), (BESIDE, &more)]);
        assert_eq!(bed.read("a").await.unwrap(), b"theirs");
        assert_same(&bed.read(BESIDE).await.unwrap(), &more);
    }
}

/// The bytes that are missing were in the version that is gone.
#[tokio::test]
async fn a_file_that_needs_the_version_that_is_gone_cannot_be_kept() {
    for (bed_with, on_conflict) in both_beds([OnConflict::Overwrite, OnConflict::Fail, keep_both()]) {
        let bed = bed_with(on_conflict);
        bed.bucket.insert("a", bytes(1, 3 * PART));
        let file = bed.open("a", APPEND).await.unwrap();
        file.write(0, b"tail").await.unwrap();
        bed.bucket.insert("a", "theirs");
        assert_eq!(file.close().await, Err(FsError::Stale));
        bed.assert_bucket(&[("a", b"theirs")]);
        bed.assert_no_unfinished_uploads().await;
    }
}

/// Renaming over a file means to replace it, whatever version it is.
#[tokio::test]
async fn what_a_rename_replaces_is_no_conflict() {
    for (bed_with, on_conflict) in both_beds([OnConflict::Fail, keep_both()]) {
        let bed = bed_with(on_conflict);
        bed.bucket.insert("a", "old");
        let file = bed.create("tmp").await;
        file.write(0, b"new").await.unwrap();
        bed.rename("tmp", "a").await.unwrap();
        file.close().await.unwrap();
        bed.assert_bucket(&[("a", b"new")]);
    }
}

/// What is refused by the service needs no question before.
#[tokio::test]
async fn a_service_that_holds_to_conditions_is_not_asked_before() {
    for on_conflict in [OnConflict::Fail, keep_both()] {
        let bed = exact_bed_with(on_conflict);
        bed.bucket.insert("a", "before");
        let file = bed.open("a", REPLACE).await.unwrap();
        bed.take_ops();
        file.write(0, b"small").await.unwrap();
        file.fsync().await.unwrap();
        assert_eq!(bed.take_ops(), [Op::PutObject]);
        file.write(0, &bytes(1, 3 * PART)).await.unwrap();
        file.close().await.unwrap();
        let ops = bed.take_ops();
        assert!(!ops.contains(&Op::HeadObject) && ops.contains(&Op::CompleteMultipartUpload), "{ops:?}");
    }
}

/// What was removed meanwhile is no other object that would be lost.
#[tokio::test]
async fn what_is_gone_is_replaced_by_what_was_written() {
    for (bed_with, len) in both_beds([4, 3 * PART]) {
        for on_conflict in [OnConflict::Fail, keep_both()] {
            let bed = bed_with(on_conflict);
            bed.bucket.insert("a", "before");
            let file = bed.open("a", REPLACE).await.unwrap();
            file.write(0, &bytes(1, len)).await.unwrap();
            bed.bucket.remove("a");
            file.close().await.unwrap();
            bed.assert_bucket(&[("a", &bytes(1, len))]);
        }
    }
}

/// Their version changes once more while it steps aside.
#[tokio::test]
async fn both_are_kept_of_an_object_that_changes_while_it_steps_aside() {
    let bed = exact_bed_with(keep_both());
    bed.bucket.insert("a", "before");
    let file = bed.open("a", REPLACE).await.unwrap();
    let content = bytes(1, 3 * PART);
    file.write(0, &content).await.unwrap();
    bed.settle().await;
    bed.bucket.insert("a", "theirs");
    // The second Complete comes after the copy that takes theirs aside.
    let gate = Gate::new();
    bed.faults.inject(Fault::hold(Op::CompleteMultipartUpload, &gate).from_call(2));
    let (closed, ()) = tokio::join!(file.close(), async {
        gate.reached_by(1).await;
        bed.bucket.insert("a", "theirs again");
        gate.open();
    });
    closed.unwrap();
    bed.assert_bucket(&[("a", b"theirs again"), (BESIDE, &content)]);
    bed.assert_no_unfinished_uploads().await;
}
