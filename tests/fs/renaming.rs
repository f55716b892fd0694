//! Renaming files, published, streaming and not yet in the bucket, over nothing and over others.

use cosmount::fs::{FsError, ROOT};
use cosmount::store::testing::{Fault, Gate};
use cosmount::store::{Op, StoreErrorKind};
use futures_util::poll;

use crate::bed::{Bed, File, KIB, MIB, PART, READ, REPLACE, WRITE, assert_same, bytes};

#[tokio::test]
async fn a_published_file_moves_by_a_copy_and_a_delete() {
    let bed = Bed::new();
    bed.put("a", b"content").await.unwrap();
    bed.chmod("a", 0o640).await.unwrap();
    bed.take_ops();
    bed.rename("a", "b").await.unwrap();
    assert_eq!(bed.take_ops(), [Op::CopyObject, Op::DeleteObject]);
    bed.assert_bucket(&[("b", b"content")]);
    assert_eq!(bed.stat("a").await, Err(FsError::NotFound));
    assert_eq!(bed.stat("b").await.unwrap().permissions, 0o640);
    assert_eq!(bed.list(ROOT).await, ["b"]);
    let bed = bed.remount();
    assert_eq!(bed.stat("b").await.unwrap().permissions, 0o640);
    assert_eq!(bed.read("b").await.unwrap(), b"content");
}

#[tokio::test]
async fn a_file_that_is_not_in_the_bucket_yet_moves_without_a_request() {
    let bed = Bed::new();
    let file = bed.create("tmp").await;
    file.write(0, b"content").await.unwrap();
    bed.take_ops();
    bed.rename("tmp", "final").await.unwrap();
    assert_eq!(bed.take_ops(), []);
    file.write(7, b" and more").await.unwrap();
    file.close().await.unwrap();
    assert_eq!(bed.take_ops(), [Op::PutObject]);
    bed.assert_bucket(&[("final", b"content and more")]);
    assert_eq!(bed.read("final").await.unwrap(), b"content and more");
}

/// The object that is replaced must not come back when the new file goes before its close.
#[tokio::test]
async fn a_file_that_replaces_an_object_before_its_close_can_be_removed() {
    let bed = Bed::new();
    bed.bucket.insert("final", "the old one");
    let file = bed.create("tmp").await;
    file.write(0, b"content").await.unwrap();
    bed.rename("tmp", "final").await.unwrap();
    bed.assert_bucket(&[("final", b"content")]);
    bed.unlink("final").await.unwrap();
    file.close().await.unwrap();
    bed.assert_bucket(&[]);
    assert_eq!(bed.stat("final").await, Err(FsError::NotFound));
}

#[tokio::test]
async fn a_rename_replaces_what_had_the_name() {
    let bed = Bed::new();
    bed.put("a", b"new").await.unwrap();
    bed.put("b", b"old").await.unwrap();
    let reader = bed.open("b", READ).await.unwrap();
    bed.rename("a", "b").await.unwrap();
    assert_eq!(bed.read("b").await.unwrap(), b"new");
    assert_eq!(reader.read_all().await.unwrap(), b"old", "who has it open goes on with it");
    reader.close().await.unwrap();
    bed.assert_bucket(&[("b", b"new")]);
}

#[tokio::test]
async fn a_rename_that_must_not_replace_does_not() {
    let bed = Bed::new();
    bed.bucket.insert("a", "a");
    bed.bucket.insert("b", "b");
    let ((from, a), (to, b)) = (bed.place("a").await.unwrap(), bed.place("b").await.unwrap());
    assert_eq!(bed.fs.rename((from, &a), (to, &b), true).await, Err(FsError::Exists));
    bed.assert_bucket(&[("a", b"a"), ("b", b"b")]);
    bed.bucket.remove("b");
    bed.advance(6000);
    bed.fs.rename((from, &a), (to, &b), true).await.unwrap();
    bed.assert_bucket(&[("b", b"a")]);
}

#[tokio::test]
async fn a_file_that_streams_is_published_and_moved_and_goes_on() {
    let bed = Bed::new();
    let file = bed.create("a").await;
    let content = bytes(1, 5 * PART);
    file.write(0, &content[..3 * PART + 9]).await.unwrap();
    bed.rename("a", "b").await.unwrap();
    bed.assert_bucket(&[("b", &content[..3 * PART + 9])]);
    file.write(3 * PART + 9, &content[3 * PART + 9..]).await.unwrap();
    file.close().await.unwrap();
    bed.assert_bucket(&[("b", &content)]);
    bed.assert_no_unfinished_uploads().await;
    assert_same(&bed.read("b").await.unwrap(), &content);
}

/// The copies have one ETag, and each is somewhere else.
#[tokio::test]
async fn a_file_that_moves_again_and_again_while_it_is_open_is_read_where_it_is() {
    let bed = Bed::new();
    let content = bytes(1, 3 * PART);
    bed.bucket.insert("a", content.clone());
    let file = bed.open("a", WRITE).await.unwrap();
    for (from, to) in [("a", "b"), ("b", "c"), ("c", "a")] {
        bed.rename(from, to).await.unwrap();
        assert_same(&file.read_all().await.unwrap(), &content);
    }
    file.close().await.unwrap();
}

/// No upload may begin under the old key once the object is on its way to the new one.
#[tokio::test]
async fn writers_wait_while_their_file_moves() {
    let gate = Gate::new();
    let bed = Bed::with_faults([Fault::hold(Op::CopyObject, &gate)]);
    let file = bed.create("a").await;
    let content = bytes(1, 4 * PART);
    file.write(0, &content[..PART + 1]).await.unwrap();
    let mut rename = Box::pin(bed.rename("a", "b"));
    while !poll!(&mut rename).is_ready() && bed.bucket.count(Op::CompleteMultipartUpload) == 0 {
        tokio::task::yield_now().await;
    }
    gate.reached_by(1).await;
    let mut write = Box::pin(file.write(PART + 1, &content[PART + 1..]));
    assert!(poll!(&mut write).is_pending());
    gate.open();
    rename.await.unwrap();
    write.await.unwrap();
    file.close().await.unwrap();
    bed.assert_bucket(&[("b", &content)]);
    bed.assert_no_unfinished_uploads().await;
}

/// Memory pressure publishes a file of which the names hear only at its close.
#[tokio::test]
async fn a_file_that_was_published_in_the_background_moves() {
    let bed = Bed::with(crate::bed::Choices { memory_bytes: 2 * MIB, ..Default::default() });
    let file = bed.create("a").await;
    let content = bytes(1, 900 * KIB);
    file.write(0, &content).await.unwrap();
    let others = [bed.create("x").await, bed.create("y").await, bed.create("z").await];
    for other in &others {
        other.write(0, &bytes(2, 400 * KIB)).await.unwrap();
    }
    bed.settle().await;
    assert_eq!(bed.bucket.keys(), ["a"], "it held the most");
    bed.rename("a", "b").await.unwrap();
    assert_eq!(bed.stat("b").await.unwrap().size, content.len() as u64);
    file.close().await.unwrap();
    assert_same(&bed.bucket.bytes("b").unwrap(), &content);
    assert!(bed.bucket.bytes("a").is_none());
}

#[tokio::test]
async fn a_file_that_was_emptied_at_open_moves_with_what_it_has() {
    let bed = Bed::new();
    bed.bucket.insert("a", "the old one");
    let file = bed.open("a", REPLACE).await.unwrap();
    file.write(0, b"new").await.unwrap();
    bed.rename("a", "b").await.unwrap();
    bed.assert_bucket(&[("b", b"new")]);
    file.write(3, b"er").await.unwrap();
    file.close().await.unwrap();
    bed.assert_bucket(&[("b", b"newer")]);
}

#[tokio::test]
async fn an_open_reader_follows_its_file() {
    let bed = Bed::new();
    let content = bytes(1, 5 * MIB);
    bed.bucket.insert("a", content.clone());
    let reader = bed.open("a", READ).await.unwrap();
    assert_same(&reader.read(0, 1000).await.unwrap(), &content[..1000]);
    bed.rename("a", "b").await.unwrap();
    assert_same(&reader.read_all().await.unwrap(), &content);
    reader.close().await.unwrap();
}

#[tokio::test]
async fn a_writer_that_opened_before_the_move_publishes_under_the_new_name() {
    let bed = Bed::new();
    bed.bucket.insert("a", "old");
    let file = bed.open("a", WRITE).await.unwrap();
    bed.rename("a", "b").await.unwrap();
    file.write(0, b"new").await.unwrap();
    file.close().await.unwrap();
    bed.assert_bucket(&[("b", b"new")]);
}

#[tokio::test]
async fn a_copy_that_fails_leaves_everything_where_it_was() {
    for is_open in [false, true] {
        let bed = Bed::with_faults([Fault::nth(Op::CopyObject, 1, StoreErrorKind::Internal)]);
        bed.bucket.insert("a", "a");
        let file = if is_open { Some(bed.open("a", WRITE).await.unwrap()) } else { None };
        assert_eq!(bed.rename("a", "b").await, Err(FsError::Remote(StoreErrorKind::Internal)));
        bed.assert_bucket(&[("a", b"a")]);
        assert_eq!(bed.read("a").await.unwrap(), b"a");
        if let Some(file) = file {
            file.write(1, b"!").await.unwrap();
            file.close().await.unwrap();
            bed.assert_bucket(&[("a", b"a!")]);
        }
    }
}

#[tokio::test]
async fn an_object_that_others_replaced_is_not_moved_as_what_it_was() {
    let bed = Bed::new();
    bed.bucket.insert("a", "ours");
    bed.stat("a").await.unwrap();
    bed.bucket.insert("a", "theirs");
    assert_eq!(bed.rename("a", "b").await, Err(FsError::Stale));
    bed.assert_bucket(&[("a", b"theirs")]);
}

#[tokio::test]
async fn files_move_between_directories_which_stay() {
    let bed = Bed::new();
    bed.bucket.insert("from/a", "x");
    bed.mkdir("to").await.unwrap();
    bed.rename("from/a", "to/b").await.unwrap();
    bed.assert_bucket(&[("from/", b""), ("to/", b""), ("to/b", b"x")]);
    assert_eq!(bed.read("to/b").await.unwrap(), b"x");
}

#[tokio::test]
async fn kinds_do_not_replace_one_another() {
    let bed = Bed::new();
    bed.bucket.insert("file", "x");
    bed.mkdir("dir").await.unwrap();
    assert_eq!(bed.rename("file", "dir").await, Err(FsError::IsDirectory));
    assert_eq!(bed.rename("dir", "file").await, Err(FsError::NotDirectory));
    assert_eq!(bed.rename("nothing", "x").await, Err(FsError::NotFound));
    bed.rename("file", "file").await.unwrap();
    bed.assert_bucket(&[("dir/", b""), ("file", b"x")]);
}

/// sed -i, editors: a new file under a temporary name, closed, renamed over the old one; 100 rounds.
#[tokio::test]
async fn replacing_a_file_again_and_again_shows_the_last_content() {
    let bed = Bed::new();
    for round in 0..100 {
        let content = bytes(round, 100 + round as usize);
        bed.put("tmp", &content).await.unwrap();
        bed.rename("tmp", "file").await.unwrap();
        assert_same(&bed.read("file").await.unwrap(), &content);
        bed.advance(100);
    }
    assert_eq!(bed.bucket.keys(), ["file"]);
}

/// The kernel's release of the last handle comes late: a rename right after the close overtakes it.
#[tokio::test]
async fn a_file_that_is_released_while_it_is_renamed_keeps_its_content() {
    for op in [Op::CopyObject, Op::DeleteObject] {
        let gate = Gate::new();
        let bed = Bed::with_faults([Fault::hold(op, &gate)]);
        let file = bed.create("tmp").await;
        file.write(0, b"content").await.unwrap();
        file.flush().await.unwrap();
        let reader = bed.open("tmp", READ).await.unwrap();
        let mut rename = Box::pin(bed.rename("tmp", "final"));
        assert!(poll!(&mut rename).is_pending());
        gate.reached_by(1).await;
        file.release().await;
        gate.open();
        rename.await.unwrap();
        assert_eq!(bed.stat("final").await.unwrap().size, 7, "{op:?}");
        assert_eq!(reader.read_all().await.unwrap(), b"content", "{op:?}");
        bed.assert_bucket(&[("final", b"content")]);
        reader.release().await;
        assert_eq!(bed.read("final").await.unwrap(), b"content", "{op:?}");
    }
}

/// Who may not delete gets the new name, the old one too, and the error; what is open goes on under the new name.
#[tokio::test]
async fn a_rename_that_cannot_remove_the_old_name_is_one_all_the_same() {
    for is_open in [false, true] {
        for replaces in [false, true] {
            let bed = Bed::with_faults([Fault::every(Op::DeleteObject, StoreErrorKind::Denied).key("a")]);
            bed.bucket.insert("a", "content");
            if replaces {
                bed.bucket.insert("b", "replaced");
            }
            let replaced = if replaces { Some(bed.open("b", WRITE).await.unwrap()) } else { None };
            let file = if is_open { Some(bed.open("a", WRITE).await.unwrap()) } else { None };
            assert_eq!(bed.rename("a", "b").await, Err(FsError::Remote(StoreErrorKind::Denied)));
            if let Some(replaced) = replaced {
                assert_eq!(replaced.read_all().await.unwrap(), b"replaced");
                replaced.write(0, b"nowhere").await.unwrap();
                replaced.close().await.unwrap();
            }
            let mut content = b"content".to_vec();
            if let Some(file) = file {
                file.write(7, b", and more").await.unwrap();
                file.close().await.unwrap();
                content.extend_from_slice(b", and more");
            }
            bed.assert_bucket(&[("a", b"content"), ("b", &content)]);
            assert_eq!(bed.read("b").await.unwrap(), content);
        }
    }
}

/// The close waits for the rename, and finds a file whose key is the new one and whose name is the old one.
#[tokio::test]
async fn a_close_in_the_middle_of_a_rename_leaves_a_file_that_can_be_read() {
    let gate = Gate::new();
    let bed = Bed::with_faults([Fault::hold(Op::DeleteObject, &gate)]);
    let file = bed.create("part").await;
    let content = bytes(1, 2 * PART + 5);
    file.write(0, &content).await.unwrap();
    let mut rename = Box::pin(bed.rename("part", "final"));
    while !poll!(&mut rename).is_ready() && bed.bucket.count(Op::CopyObject) == 0 {
        tokio::task::yield_now().await;
    }
    gate.reached_by(1).await;
    file.fsync().await.unwrap();
    file.flush().await.unwrap();
    gate.open();
    rename.await.unwrap();
    file.release().await;
    assert_eq!(bed.stat("final").await.unwrap().size, content.len() as u64);
    assert_same(&bed.read("final").await.unwrap(), &content);
    bed.unlink("final").await.unwrap();
    bed.assert_bucket(&[]);
}

/// Who opens a file in the middle of its rename gets it under its new name.
#[tokio::test]
async fn an_open_waits_for_the_rename_of_its_file() {
    let bed = Bed::new();
    bed.put("a", b"old").await.unwrap();
    let ino = bed.stat("a").await.unwrap().ino;
    let gate = Gate::new();
    bed.faults.inject(Fault::hold(Op::CopyObject, &gate));
    let rename = bed.rename("a", "b");
    let write = async {
        gate.reached_by(1).await;
        let mut opening = Box::pin(bed.fs.open(ino, REPLACE));
        assert!(poll!(&mut opening).is_pending());
        gate.open();
        let file = File { fs: bed.fs.clone(), ino, handle: opening.await.unwrap().handle, backing: None };
        file.write(0, b"new").await.unwrap();
        file.close().await.unwrap();
    };
    let (renamed, ()) = tokio::join!(rename, write);
    renamed.unwrap();
    bed.assert_bucket(&[("b", b"new")]);
    assert_eq!(bed.read("b").await.unwrap(), b"new");
}

/// The object is under the new name before the rename has ended. Who was told of it then would open, and write to, an inode
/// that loses the name to the one that is renamed.
#[tokio::test]
async fn a_new_name_is_not_there_before_its_rename_has_ended() {
    let bed = Bed::new();
    bed.put("a", b"content").await.unwrap();
    let ino = bed.stat("a").await.unwrap().ino;
    let gate = Gate::new();
    bed.faults.inject(Fault::hold(Op::DeleteObject, &gate));
    let rename = bed.rename("a", "b");
    let look = async {
        gate.reached_by(1).await;
        assert!(bed.bucket.bytes("b").is_some());
        // What was known of the names is too old to be believed.
        bed.advance(6000);
        assert_eq!(bed.stat("b").await.map(|attr| attr.ino), Err(FsError::NotFound));
        assert_eq!(bed.list(ROOT).await, ["a"]);
        gate.open();
    };
    let (renamed, ()) = tokio::join!(rename, look);
    renamed.unwrap();
    assert_eq!(bed.stat("b").await.unwrap().ino, ino);
    assert_eq!(bed.list(ROOT).await, ["b"]);
}

/// Nor is what it replaces anything else before, and the old name stays: one of them is always there.
#[tokio::test]
async fn a_name_that_is_replaced_is_what_it_was_until_the_rename_has_ended() {
    let bed = Bed::new();
    bed.put("a", b"new").await.unwrap();
    bed.put("b", b"the old one").await.unwrap();
    let gate = Gate::new();
    bed.faults.inject(Fault::hold(Op::DeleteObject, &gate).answer_lost());
    let rename = bed.rename("a", "b");
    let look = async {
        gate.reached_by(1).await;
        bed.assert_bucket(&[("b", b"new")]);
        bed.advance(6000);
        assert_eq!(bed.stat("b").await.map(|attr| attr.size), Ok(11));
        assert_eq!(bed.stat("a").await.map(|attr| attr.size), Ok(3));
        assert_eq!(bed.list(ROOT).await, ["a", "b"]);
        gate.open();
    };
    let (renamed, ()) = tokio::join!(rename, look);
    renamed.unwrap();
    assert_eq!(bed.stat("b").await.map(|attr| attr.size), Ok(3));
    assert_eq!(bed.list(ROOT).await, ["b"]);
}

/// And who opens it in the middle of its removal comes too late.
#[tokio::test]
async fn an_open_waits_for_the_removal_of_its_file() {
    let bed = Bed::new();
    bed.put("a", b"old").await.unwrap();
    let ino = bed.stat("a").await.unwrap().ino;
    let gate = Gate::new();
    bed.faults.inject(Fault::hold(Op::DeleteObject, &gate));
    let open = async {
        gate.reached_by(1).await;
        let mut opening = Box::pin(bed.fs.open(ino, REPLACE));
        assert!(poll!(&mut opening).is_pending());
        gate.open();
        opening.await.map(|_| ())
    };
    let (removed, opened) = tokio::join!(bed.unlink("a"), open);
    removed.unwrap();
    assert!(opened.is_err(), "there is nothing to be opened any more");
    bed.publish_all().await;
    bed.assert_bucket(&[]);
}

/// `mv t f` again and again, and somebody who opens `f`: between the kernel's look at the name and its opening of what it found
/// another file takes the name. The kernel looks once more, and only once.
#[tokio::test]
async fn who_comes_too_late_for_a_name_does_not_come_too_late_twice() {
    let bed = Bed::new();
    for name in ["f", "t", "u"] {
        bed.put(name, name.as_bytes()).await.unwrap();
    }
    let ino = bed.stat("f").await.unwrap().ino;
    bed.rename("t", "f").await.unwrap();
    assert_eq!(bed.fs.called_by(1, bed.fs.open(ino, READ)).await.err(), Some(FsError::Stale));
    let ino = bed.fs.called_by(1, bed.stat("f")).await.unwrap().ino;
    let mut renaming = Box::pin(bed.rename("u", "f"));
    assert!(poll!(&mut renaming).is_pending(), "the name is kept for who is about to open it");
    let opened = bed.fs.called_by(1, bed.fs.open(ino, READ)).await.unwrap();
    let file = File { fs: bed.fs.clone(), ino, handle: opened.handle, backing: None };
    renaming.await.unwrap();
    assert_eq!(file.read_all().await.unwrap(), b"t");
    file.close().await.unwrap();
    assert_eq!(bed.read("f").await.unwrap(), b"u");
}

#[tokio::test(start_paused = true)]
async fn a_name_that_is_kept_for_nobody_is_free_after_a_moment() {
    let bed = Bed::new();
    for name in ["f", "t", "u"] {
        bed.put(name, name.as_bytes()).await.unwrap();
    }
    let ino = bed.stat("f").await.unwrap().ino;
    bed.rename("t", "f").await.unwrap();
    bed.fs.called_by(1, bed.fs.open(ino, READ)).await.unwrap_err();
    bed.fs.called_by(1, bed.stat("f")).await.unwrap();
    let renamed = tokio::time::timeout(std::time::Duration::from_millis(300), bed.rename("u", "f")).await;
    renamed.expect("the one who looked has not come").unwrap();
    bed.assert_bucket(&[("f", b"u")]);
}

/// What others have put in place of a file that somebody reads is not what he goes on with, whatever this mount does with it.
#[tokio::test]
async fn a_reader_of_what_others_have_replaced_is_told_although_that_gets_another_name_or_mode() {
    for way in 0..3 {
        let bed = Bed::new();
        bed.bucket.insert("d/f", bytes(1, 3 * MIB));
        let reader = bed.open("d/f", READ).await.unwrap();
        assert_same(&reader.read(MIB, KIB).await.unwrap(), &bytes(1, 3 * MIB)[MIB..MIB + KIB]);
        bed.bucket.insert("d/f", bytes(2, 3 * MIB));
        bed.advance(10_000);
        bed.stat("d/f").await.unwrap();
        match way {
            0 => bed.rename("d/f", "d/g").await.unwrap(),
            1 => bed.rename("d", "e").await.unwrap(),
            _ => drop(bed.chmod("d/f", 0o600).await.unwrap()),
        }
        assert_eq!(reader.read(2 * MIB, KIB).await, Err(FsError::Stale), "{way}");
        bed.publish_all().await;
        assert_eq!(reader.read(2 * MIB, KIB).await, Err(FsError::Stale), "{way}");
    }
}
