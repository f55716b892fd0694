//! What publishes a file, and what does not: close, fsync, duplicates and children, release, the end of the mount.

use std::future::ready;
use std::time::{Duration, UNIX_EPOCH};

use cosmount::fs::{AttrChange, FsError, Holder};
use cosmount::store::testing::{Fault, Gate};
use cosmount::store::{Op, StoreErrorKind};
use futures_util::poll;

use crate::bed::{APPEND, Bed, PART, READ, REPLACE, WRITE, assert_same, bytes};

/// A shell opens the file, duplicates the descriptor and closes the first one, all before the first byte.
#[tokio::test]
async fn a_redirection_is_one_put() {
    let bed = Bed::new();
    let file = bed.create("a").await;
    bed.take_ops();
    file.flush_duplicate().await.unwrap();
    assert_eq!(bed.take_ops(), []);
    file.write(0, b"hello").await.unwrap();
    file.close().await.unwrap();
    assert_eq!(bed.take_ops(), [Op::PutObject]);
    bed.assert_bucket(&[("a", b"hello")]);
}

/// To ask is not for nothing: it takes a look at all that a process has open.
#[tokio::test]
async fn nobody_is_asked_about_a_close_that_has_nothing_to_publish() {
    let bed = Bed::new();
    let file = bed.try_create("a", cosmount::fs::OpenMode { opener: 7, ..WRITE }).await.unwrap();
    file.write(0, b"hello").await.unwrap();
    file.flush().await.unwrap();
    let ask = |holder: Holder| -> std::future::Ready<bool> { panic!("asked about {holder:?}") };
    bed.fs.flush(file.handle, ask).await.unwrap();
    bed.fs.release(file.handle).await;
}

#[tokio::test]
async fn a_redirection_over_a_file_is_one_put() {
    let bed = Bed::new();
    bed.bucket.insert("a", "something longer");
    let file = bed.open("a", REPLACE).await.unwrap();
    bed.take_ops();
    file.flush_duplicate().await.unwrap();
    file.write(0, b"hello").await.unwrap();
    file.close().await.unwrap();
    assert_eq!(bed.take_ops(), [Op::PutObject]);
    bed.assert_bucket(&[("a", b"hello")]);
}

/// `for ...; do date; done > f`: a close by one that did not open the file says nothing while the one that did holds it.
#[tokio::test]
async fn a_childs_close_is_left_to_the_opener_that_still_holds_the_file() {
    let bed = Bed::new();
    let file = bed.try_create("a", cosmount::fs::OpenMode { opener: 7, ..WRITE }).await.unwrap();
    bed.take_ops();
    let opener_holds_it = |holder| ready(holder == Holder::Opener(7));
    for round in 0..100 {
        file.write(round, b"x").await.unwrap();
        bed.fs.flush(file.handle, opener_holds_it).await.unwrap();
    }
    assert_eq!(bed.take_ops(), []);
    bed.fs.flush(file.handle, |_| ready(false)).await.unwrap();
    assert_eq!(bed.take_ops(), [Op::PutObject]);
    file.write(0, b"y").await.unwrap();
    file.close().await.unwrap();
    assert_eq!(bed.take_ops(), [Op::PutObject]);
}

/// `{ echo; cat big; echo; } > f`: data follows a flush with data.
#[tokio::test]
async fn what_is_written_after_a_flush_is_published_by_the_next() {
    for middle in [10, PART - 1, PART, 3 * PART + 5] {
        let bed = Bed::new();
        let file = bed.create("a").await;
        let content = bytes(1, 2 * middle + 3);
        file.write(0, &content[..middle]).await.unwrap();
        file.flush_duplicate().await.unwrap();
        bed.assert_bucket(&[("a", &content[..middle])]);
        file.write(middle, &content[middle..middle + 3]).await.unwrap();
        file.write(middle + 3, &content[middle + 3..]).await.unwrap();
        file.flush_duplicate().await.unwrap();
        bed.assert_bucket(&[("a", &content)]);
        bed.take_ops();
        for _ in 0..3 {
            file.flush().await.unwrap();
        }
        assert_eq!(bed.take_ops(), [], "nothing was written since");
        file.close().await.unwrap();
        assert_eq!(bed.take_ops(), []);
        assert_same(&bed.remount().read("a").await.unwrap(), &content);
    }
}

#[tokio::test]
async fn fsync_publishes_and_leaves_the_file_writable() {
    let bed = Bed::new();
    let file = bed.create("a").await;
    let content = bytes(2, 6 * PART);
    for round in 0..6 {
        file.write(round * PART, &content[round * PART..(round + 1) * PART]).await.unwrap();
        file.fsync().await.unwrap();
        bed.assert_bucket(&[("a", &content[..(round + 1) * PART])]);
    }
    assert_eq!(bed.bucket.count(Op::GetObject), 0);
    file.close().await.unwrap();
    bed.assert_no_unfinished_uploads().await;
}

#[tokio::test]
async fn touching_a_new_file_is_one_put_that_carries_the_time() {
    let bed = Bed::new();
    let file = bed.create("a").await;
    bed.take_ops();
    file.flush_duplicate().await.unwrap();
    let mtime = Some(UNIX_EPOCH + Duration::from_secs(1_234_567));
    bed.fs.setattr(file.ino, AttrChange { mtime, ..AttrChange::default() }).await.unwrap();
    file.close().await.unwrap();
    assert_eq!(bed.take_ops(), [Op::PutObject]);
    assert_eq!(Some(bed.remount().stat("a").await.unwrap().mtime), mtime);
}

#[tokio::test]
async fn a_file_that_is_only_created_is_published_when_it_is_released() {
    let bed = Bed::new();
    let file = bed.create("a").await;
    file.flush_duplicate().await.unwrap();
    bed.assert_bucket(&[]);
    file.release().await;
    bed.assert_bucket(&[("a", b"")]);
}

/// Pages that were mapped come after the last close, with only the release to follow.
#[tokio::test]
async fn what_comes_after_the_last_close_is_published_by_the_release() {
    let bed = Bed::new();
    let file = bed.create("a").await;
    file.write(0, b"before").await.unwrap();
    file.flush().await.unwrap();
    file.write(0, b"behind").await.unwrap();
    file.release().await;
    bed.assert_bucket(&[("a", b"behind")]);
}

#[tokio::test]
async fn a_handle_that_changed_nothing_makes_no_request() {
    let bed = Bed::new();
    bed.bucket.insert("a", "content");
    for mode in [READ, WRITE, APPEND] {
        let file = bed.open("a", mode).await.unwrap();
        bed.take_ops();
        file.fsync().await.unwrap();
        file.close().await.unwrap();
        assert_eq!(bed.take_ops(), [], "{mode:?}");
    }
}

#[tokio::test]
async fn a_close_waits_for_the_publishing_that_another_began() {
    let gate = Gate::new();
    let bed = Bed::with_faults([Fault::hold(Op::PutObject, &gate)]);
    let first = bed.create("a").await;
    let second = bed.open("a", WRITE).await.unwrap();
    first.write(0, b"both").await.unwrap();
    let mut fsync = Box::pin(first.fsync());
    assert!(poll!(&mut fsync).is_pending());
    let mut close = Box::pin(second.close());
    assert!(poll!(&mut close).is_pending(), "a close returns when the bytes are there");
    let mut write = Box::pin(first.write(4, b"!"));
    assert!(poll!(&mut write).is_pending(), "what is being published does not change");
    gate.open();
    fsync.await.unwrap();
    close.await.unwrap();
    write.await.unwrap();
    bed.assert_bucket(&[("a", b"both")]);
    first.close().await.unwrap();
    bed.assert_bucket(&[("a", b"both!")]);
}

#[tokio::test]
async fn the_end_of_the_mount_publishes_what_is_open_and_tells_what_failed() {
    let bed = Bed::with_faults([Fault::every(Op::PutObject, StoreErrorKind::Denied).key("b")]);
    let (small, failing, large) = (bed.create("a").await, bed.create("b").await, bed.create("c").await);
    small.write(0, b"small").await.unwrap();
    failing.write(0, b"lost").await.unwrap();
    let content = bytes(3, 2 * PART + 1);
    large.write(0, &content).await.unwrap();
    let mut unpublished = bed.fs.state().unpublished_keys();
    unpublished.sort();
    assert_eq!(unpublished, ["a", "b", "c"]);
    let failed = bed.fs.publish_below("").await;
    let failed: Vec<_> = failed.into_iter().map(|(key, failed)| (key, failed.error)).collect();
    assert_eq!(failed, [("b".to_owned(), FsError::Remote(StoreErrorKind::Denied))]);
    bed.assert_bucket(&[("a", b"small"), ("c", &content)]);
    assert_eq!(bed.fs.state().unpublished_keys(), [] as [String; 0]);
    bed.assert_no_unfinished_uploads().await;
}

/// Equal bytes have an equal ETag, but it is a new version with a new time all the same.
#[tokio::test]
async fn writing_the_same_bytes_again_is_a_change() {
    let bed = Bed::new();
    bed.put("a", b"same").await.unwrap();
    let before = bed.stat("a").await.unwrap().mtime;
    bed.advance(2000);
    bed.put("a", b"same").await.unwrap();
    assert_eq!(bed.stat("a").await.unwrap().mtime, before + Duration::from_secs(2));
}

/// A write that is given up while it waits leaves what it has written by then, and nothing follows later.
#[tokio::test]
async fn a_write_that_is_given_up_writes_nothing_later() {
    let gate = Gate::new();
    let bed = Bed::with_faults([Fault::hold(Op::PutObject, &gate)]);
    let file = bed.create("a").await;
    file.write(0, b"first").await.unwrap();
    let mut fsync = Box::pin(file.fsync());
    assert!(poll!(&mut fsync).is_pending());
    let mut given_up = Box::pin(file.write(5, b"given up"));
    assert!(poll!(&mut given_up).is_pending());
    drop(given_up);
    gate.open();
    fsync.await.unwrap();
    file.write(5, b", second").await.unwrap();
    bed.settle().await;
    file.close().await.unwrap();
    bed.assert_bucket(&[("a", b"first, second")]);
}

/// What could not be published in time leaves no upload behind.
#[tokio::test]
async fn the_end_of_the_mount_leaves_no_unfinished_upload() {
    let bed = Bed::with_faults([Fault::every(Op::CompleteMultipartUpload, StoreErrorKind::Denied).key("failed")]);
    let (failed, late) = (bed.create("failed").await, bed.create("late").await);
    for file in [&failed, &late] {
        file.write(0, &bytes(1, 3 * PART)).await.unwrap();
    }
    bed.settle().await;
    failed.fsync().await.unwrap_err();
    bed.fs.dispose_all().await;
    assert_eq!(bed.bucket.unfinished_uploads(), []);
    late.close().await.unwrap_err();
    bed.assert_bucket(&[]);
}

#[tokio::test]
async fn what_was_opened_for_nobody_is_as_it_was() {
    let bed = Bed::new();
    bed.put("old", b"content").await.unwrap();
    bed.put("shared", b"content").await.unwrap();
    bed.take_ops();
    let reader = bed.open("old", READ).await.unwrap();
    let (made, emptied) = (bed.create("new").await, bed.open("old", REPLACE).await.unwrap());
    bed.fs.abandon(made.handle).await;
    bed.fs.abandon(emptied.handle).await;
    assert_eq!(reader.read_all().await.unwrap(), b"content");
    reader.close().await.unwrap();
    assert_eq!(bed.stat("new").await.map(|_| ()), Err(FsError::NotFound));
    assert_eq!(bed.read("old").await.unwrap(), b"content");
    // Somebody else has it too, and wants it empty.
    let (one, other) = (bed.open("shared", REPLACE).await.unwrap(), bed.open("shared", WRITE).await.unwrap());
    bed.fs.abandon(one.handle).await;
    other.close().await.unwrap();
    bed.publish_all().await;
    bed.assert_bucket(&[("old", b"content"), ("shared", b"")]);
}
