//! Names: what is found without asking, what is asked for, directories and what keeps them.

use std::time::{Duration, UNIX_EPOCH};

use cosmount::fs::{FileName, FsError, FsOptions, Kind, ROOT};
use cosmount::stats::Stats;
use cosmount::store::testing::{Fault, Gate};
use cosmount::store::{Op, StoreErrorKind};
use futures_util::poll;

use crate::bed::{APPEND, Bed, Choices, READ, REPLACE, TEMPORARY, WRITE};

fn bed_with_options(options: FsOptions) -> Bed {
    Bed::with(Choices { options, ..Choices::default() })
}

#[tokio::test]
async fn one_listing_answers_for_all_names_of_a_directory_while_it_is_fresh() {
    let bed = Bed::new();
    bed.bucket.insert("a", "1");
    bed.bucket.insert("c/x", "1");
    bed.bucket.insert("d/x", "1");
    assert_eq!(bed.stat("nothing").await, Err(FsError::NotFound));
    assert_eq!(bed.take_ops(), [Op::ListObjects]);
    assert_eq!(bed.stat("nothing else").await, Err(FsError::NotFound));
    assert_eq!(bed.take_ops(), []);
    // What a listing does not tell, of a file and of a directory's marker, is asked for once.
    assert_eq!(bed.stat("a").await.unwrap().size, 1);
    assert_eq!(bed.take_ops(), [Op::HeadObject]);
    assert_eq!(bed.stat("d").await.unwrap().kind, Kind::Directory);
    assert_eq!(bed.take_ops(), [Op::HeadObject]);
    bed.stat("a").await.unwrap();
    bed.stat("d").await.unwrap();
    assert_eq!(bed.take_ops(), []);
    // After the time to live a listing decides again, and what it shows unchanged needs no HEAD.
    bed.advance(5000);
    bed.bucket.insert("nothing", "by others");
    assert_eq!(bed.stat("nothing").await.unwrap().size, 9);
    assert_eq!(bed.take_ops(), [Op::ListObjects, Op::HeadObject]);
    bed.stat("a").await.unwrap();
    assert_eq!(bed.take_ops(), []);
}

#[tokio::test]
async fn what_others_removed_or_changed_shows_after_the_time_to_live() {
    let bed = Bed::new();
    bed.bucket.insert("a", "old");
    bed.bucket.insert("b", "old");
    assert_eq!(bed.read("a").await.unwrap(), b"old");
    bed.bucket.remove("b");
    bed.advance(1000);
    bed.bucket.insert("a", "newer");
    bed.advance(5000);
    assert_eq!(bed.read("a").await.unwrap(), b"newer");
    assert_eq!(bed.stat("b").await, Err(FsError::NotFound));
}

#[tokio::test]
async fn a_new_file_in_a_directory_of_this_mount_is_one_put() {
    let bed = Bed::new();
    bed.mkdir("d").await.unwrap();
    assert_eq!(bed.take_ops(), [Op::ListObjects, Op::PutObject]);
    bed.put("d/a", b"content").await.unwrap();
    assert_eq!(bed.take_ops(), [Op::PutObject]);
    bed.stat("d/a").await.unwrap();
    bed.chmod("d/a", 0o600).await.unwrap();
    bed.publish_all().await;
    assert_eq!(bed.take_ops(), [Op::CopyObject]);
}

/// As `cp -r` does it: a look, a create, a write, a close, and a look, 20 ms a file.
#[tokio::test]
async fn a_thousand_new_files_are_a_thousand_puts_a_marker_and_a_listing() {
    let bed = Bed::new();
    bed.mkdir("d").await.unwrap();
    for index in 0..1000 {
        let path = format!("d/文件 {index:04}+%");
        assert_eq!(bed.stat(&path).await, Err(FsError::NotFound));
        bed.put(&path, b"content").await.unwrap();
        bed.stat(&path).await.unwrap();
        bed.advance(20);
    }
    let ops = bed.take_ops();
    assert!(ops.len() <= 1002, "{}", ops.len());
    assert_eq!(ops.iter().filter(|op| **op == Op::PutObject).count(), 1001);
}

/// The same for as long as it takes, in whatever order the names come.
#[tokio::test]
async fn files_cost_hardly_more_than_their_puts_however_many_there_are() {
    const FILES: u64 = 12_000;
    let bed = Bed::new();
    bed.mkdir("d").await.unwrap();
    for index in 0..FILES {
        // 20 ms a file are four minutes.
        let path = format!("d/{:05}", index * 7_919 % FILES);
        assert_eq!(bed.stat(&path).await, Err(FsError::NotFound));
        bed.put(&path, b"").await.unwrap();
        bed.advance(20);
        if index % 1_000 == 0 {
            let ino = bed.stat(&path).await.unwrap().ino;
            bed.fs.forget(ino, 3);
        }
    }
    let ops = bed.take_ops();
    assert!(ops.len() as u64 <= FILES + FILES / 50, "{} requests", ops.len());
    bed.bucket.insert("d/by others", "");
    bed.advance(60_000);
    assert!(bed.stat("d/by others").await.is_ok());
}

/// As `cp -r` into a directory that was there, or `rm -r` of one: slower than what a listing is believed.
#[tokio::test]
async fn names_of_a_large_directory_that_come_in_order_are_looked_up_by_the_page() {
    let bed = Bed::new();
    for index in 0..3_000 {
        bed.bucket.insert(&format!("d/{index:05}"), "12345678".repeat(1_000));
    }
    let ino = bed.stat("d").await.unwrap().ino;
    bed.list(ino).await;
    bed.take_ops();
    let of_names = |bed: &Bed| bed.take_ops().iter().filter(|op| **op == Op::ListObjects).count();
    for index in (0..3_000).step_by(2) {
        bed.stat(&format!("d/{index:05}")).await.unwrap();
        bed.unlink(&format!("d/{index:05}")).await.unwrap();
        bed.advance(20);
    }
    let removing = of_names(&bed);
    assert!(removing <= 30, "{removing} listings for 1,500 removals in 30 s");
    for index in (0..3_000).step_by(2) {
        assert_eq!(bed.stat(&format!("d/{index:05}")).await, Err(FsError::NotFound));
        bed.put(&format!("d/{index:05}"), b"").await.unwrap();
        bed.advance(20);
    }
    let making = of_names(&bed);
    assert!(making <= 30, "{making} listings for 1,500 files in 30 s");
    // Who goes here and there asks for what he wants.
    bed.advance(6_000);
    for index in [2_900, 17, 1_400, 5, 2_000] {
        bed.stat(&format!("d/{index:05}")).await.unwrap();
    }
    assert!(of_names(&bed) <= 5);
}

/// A hundred new files in a directory of which nobody knows how large it is are not worth listing all of it.
#[tokio::test]
async fn a_directory_is_listed_no_further_than_what_is_changed_in_it_is_worth() {
    let bed = Bed::new();
    for index in 0..20_000 {
        bed.bucket.insert(&format!("d/{index:05}"), "");
    }
    bed.stat("d/00001").await.unwrap();
    bed.take_ops();
    for index in 0..150 {
        let path = format!("d/new {:03}", index * 71 % 150);
        assert_eq!(bed.stat(&path).await, Err(FsError::NotFound));
        bed.put(&path, b"").await.unwrap();
        let listings = bed.take_ops().iter().filter(|op| **op == Op::ListObjects).count();
        assert!(listings <= 6, "{listings} for the file {index}");
    }
}

#[tokio::test]
async fn a_directory_of_many_pages_is_asked_name_by_name() {
    let bed = Bed::new();
    for index in 0..2500 {
        bed.bucket.insert(&format!("f{index:04}"), "");
    }
    bed.bucket.insert("f1999.d/inner", "x");
    assert_eq!(bed.stat("f0001").await.unwrap().kind, Kind::File);
    assert_eq!(bed.take_ops(), [Op::ListObjects, Op::HeadObject], "it is on the first page");
    assert_eq!(bed.stat("f2400").await.unwrap().kind, Kind::File);
    assert_eq!(bed.stat("f1999.d").await.unwrap().kind, Kind::Directory);
    assert_eq!(bed.stat("f2400a").await, Err(FsError::NotFound));
    let ops = bed.take_ops();
    assert_eq!(ops.iter().filter(|op| **op == Op::HeadObject).count(), 3);
    assert_eq!(ops.len(), 6, "{ops:?}");
    assert_eq!(bed.list(ROOT).await.len(), 2501);
    assert_eq!(bed.take_ops(), [Op::ListObjects; 3]);
    assert_eq!(bed.stat("f2400b").await, Err(FsError::NotFound));
    assert_eq!(bed.take_ops(), [], "now the whole directory is known");
}

#[tokio::test]
async fn a_name_that_is_an_object_and_a_prefix_is_a_directory() {
    let bed = Bed::new();
    bed.bucket.insert("foo", "hidden");
    bed.bucket.insert("foo/bar", "seen");
    assert_eq!(bed.stat("foo").await.unwrap().kind, Kind::Directory);
    assert_eq!(bed.read("foo/bar").await.unwrap(), b"seen");
    assert_eq!(bed.list(ROOT).await, ["foo"]);
    assert_eq!(bed.unlink("foo").await, Err(FsError::IsDirectory));
}

#[tokio::test]
async fn keys_that_cannot_be_names_are_left_out_and_counted() {
    let bed = Bed::new();
    let too_long = "n".repeat(256);
    for key in ["good", "a//b", "..", "./x", "d/../e", too_long.as_str()] {
        bed.bucket.insert(key, "x");
    }
    assert_eq!(bed.list(ROOT).await, ["a", "d", "good"]);
    assert_eq!(Stats::get(&bed.stats.keys_skipped), 3);
    let ino = bed.stat("a").await.unwrap().ino;
    assert_eq!(bed.list(ino).await, [] as [&str; 0]);
}

#[tokio::test]
async fn awkward_names_survive_the_bucket() {
    let names = [" ", "a b", "+", "100%", "腾讯云", "😀", "'\"", "\\", "a&b=c?d#e", "...", "-rf", &"n".repeat(255)];
    let bed = Bed::new();
    bed.mkdir("d").await.unwrap();
    for name in names {
        bed.put(&format!("d/{name}"), name.as_bytes()).await.unwrap();
    }
    let bed = bed.remount();
    for name in names {
        assert_eq!(bed.read(&format!("d/{name}")).await.unwrap(), name.as_bytes());
    }
    let ino = bed.stat("d").await.unwrap().ino;
    assert_eq!(bed.list(ino).await.len(), names.len());
}

#[tokio::test]
async fn a_name_that_makes_too_long_a_key_is_refused() {
    let bed = Bed::new();
    let mut path = String::new();
    for _ in 0..3 {
        path = format!("{path}{}", "d".repeat(250));
        bed.mkdir(&path).await.unwrap();
        path.push('/');
    }
    assert_eq!(bed.mkdir(&format!("{path}{}", "x".repeat(100))).await, Err(FsError::NameTooLong));
    let refused = bed.try_create(&format!("{path}{}", "x".repeat(100)), WRITE).await;
    assert_eq!(refused.err(), Some(FsError::NameTooLong));
    // A leading backslash cannot begin a key, only stand in one.
    assert_eq!(bed.try_create("\\x", WRITE).await.err(), Some(FsError::NameInvalid));
}

#[tokio::test]
async fn directories_are_made_found_and_removed() {
    let bed = Bed::new();
    let made = bed.mkdir("d").await.unwrap();
    assert_eq!((made.kind, made.permissions), (Kind::Directory, 0o755));
    bed.assert_bucket(&[("d/", b"")]);
    assert_eq!(bed.mkdir("d").await.err(), Some(FsError::Exists));
    bed.put("d/a", b"x").await.unwrap();
    assert_eq!(bed.mkdir("d/a").await.err(), Some(FsError::Exists));
    assert_eq!(bed.rmdir("d").await, Err(FsError::NotEmpty));
    assert_eq!(bed.rmdir("d/a").await, Err(FsError::NotDirectory));
    assert_eq!(bed.unlink("d").await, Err(FsError::IsDirectory));
    assert_eq!(bed.stat("d/a/b").await.err(), Some(FsError::NotDirectory));
    bed.unlink("d/a").await.unwrap();
    bed.rmdir("d").await.unwrap();
    assert_eq!(bed.rmdir("d").await, Err(FsError::NotFound));
    bed.assert_bucket(&[]);
    assert_eq!(bed.list(ROOT).await, [] as [&str; 0]);
}

#[tokio::test]
async fn a_directory_that_others_filled_is_not_removed() {
    let bed = Bed::new();
    bed.mkdir("d").await.unwrap();
    bed.bucket.insert("d/theirs", "x");
    assert_eq!(bed.rmdir("d").await, Err(FsError::NotEmpty));
    bed.assert_bucket(&[("d/", b""), ("d/theirs", b"x")]);
}

#[tokio::test]
async fn a_directory_with_a_file_that_is_only_open_is_not_removed() {
    let bed = Bed::new();
    bed.mkdir("d").await.unwrap();
    let file = bed.create("d/a").await;
    assert_eq!(bed.rmdir("d").await, Err(FsError::NotEmpty));
    file.close().await.unwrap();
    bed.assert_bucket(&[("d/", b""), ("d/a", b"")]);
}

#[tokio::test]
async fn removing_the_last_file_leaves_the_directory() {
    let bed = Bed::new();
    bed.bucket.insert("d/a", "x");
    bed.bucket.insert("d/b", "x");
    bed.unlink("d/a").await.unwrap();
    bed.assert_bucket(&[("d/b", b"x")]);
    bed.unlink("d/b").await.unwrap();
    bed.assert_bucket(&[("d/", b"")]);
    let bed = bed.remount();
    assert_eq!(bed.stat("d").await.unwrap().kind, Kind::Directory);
    bed.rmdir("d").await.unwrap();
    bed.assert_bucket(&[]);
}

#[tokio::test]
async fn removing_the_last_directory_leaves_the_one_above() {
    let bed = Bed::new();
    bed.bucket.insert("d/e/", "");
    bed.rmdir("d/e").await.unwrap();
    bed.assert_bucket(&[("d/", b"")]);
}

#[tokio::test]
async fn an_unlinked_open_file_leaves_nothing_and_stays_readable() {
    let bed = Bed::new();
    let file = bed.create("a").await;
    file.write(0, b"kept in memory").await.unwrap();
    bed.unlink("a").await.unwrap();
    assert_eq!(bed.stat("a").await, Err(FsError::NotFound));
    assert_eq!(file.read_all().await.unwrap(), b"kept in memory");
    file.write(14, b", and more").await.unwrap();
    assert_eq!(file.size().await, 24);
    file.fsync().await.unwrap();
    file.close().await.unwrap();
    bed.assert_bucket(&[]);
    assert_eq!(bed.bucket.count(Op::PutObject), 0);
}

/// The last writer of an unlinked file has gone, and its bytes are nowhere but in memory.
#[tokio::test]
async fn an_unlinked_file_reads_as_it_was_written_until_its_last_reader_closes() {
    for replaced in [false, true] {
        let bed = Bed::new();
        let writer = bed.create("a").await;
        writer.flush().await.unwrap();
        let reader = bed.open("a", READ).await.unwrap();
        writer.write(0, b"not in the bucket").await.unwrap();
        match replaced {
            true => {
                bed.put("b", b"another").await.unwrap();
                bed.rename("b", "a").await.unwrap();
            }
            false => bed.unlink("a").await.unwrap(),
        }
        writer.close().await.unwrap();
        assert_eq!(reader.read_all().await.unwrap(), b"not in the bucket");
        reader.close().await.unwrap();
        assert_eq!(bed.memory.used_bytes(), 0);
    }
}

#[tokio::test]
async fn an_unlinked_file_that_streams_leaves_no_upload() {
    let bed = Bed::new();
    let file = bed.create("a").await;
    file.write(0, &crate::bed::bytes(1, 3 << 20)).await.unwrap();
    bed.settle().await;
    assert_eq!(bed.bucket.unfinished_uploads().len(), 1);
    bed.unlink("a").await.unwrap();
    bed.assert_no_unfinished_uploads().await;
    file.close().await.unwrap();
    bed.assert_bucket(&[]);
}

#[tokio::test]
async fn an_unlinked_published_file_stays_removed_when_it_is_written_on() {
    let bed = Bed::new();
    let file = bed.create("a").await;
    file.write(0, b"published").await.unwrap();
    file.fsync().await.unwrap();
    bed.unlink("a").await.unwrap();
    bed.assert_bucket(&[]);
    file.write(9, b" once").await.unwrap();
    assert_eq!(file.read_all().await.unwrap(), b"published once");
    file.close().await.unwrap();
    bed.assert_bucket(&[]);
    // The name is free again.
    bed.put("a", b"another").await.unwrap();
    bed.assert_bucket(&[("a", b"another")]);
}

#[tokio::test]
async fn a_file_that_is_unlinked_while_it_is_being_published_is_gone() {
    let gate = Gate::new();
    let bed = Bed::with_faults([Fault::hold(Op::PutObject, &gate)]);
    let file = bed.create("a").await;
    file.write(0, b"content").await.unwrap();
    let mut fsync = Box::pin(file.fsync());
    assert!(poll!(&mut fsync).is_pending());
    let mut unlink = Box::pin(bed.unlink("a"));
    assert!(poll!(&mut unlink).is_pending());
    gate.open();
    fsync.await.unwrap();
    unlink.await.unwrap();
    bed.assert_bucket(&[]);
    file.close().await.unwrap();
    bed.assert_bucket(&[]);
}

#[tokio::test]
async fn a_new_name_can_take_the_place_of_one_that_is_still_open() {
    let bed = Bed::new();
    let old = bed.create("a").await;
    old.write(0, b"old").await.unwrap();
    bed.unlink("a").await.unwrap();
    let new = bed.create("a").await;
    new.write(0, b"new").await.unwrap();
    assert_ne!(old.ino, new.ino);
    new.close().await.unwrap();
    old.close().await.unwrap();
    bed.assert_bucket(&[("a", b"new")]);
    assert_eq!(bed.read("a").await.unwrap(), b"new");
}

#[tokio::test]
async fn what_this_mount_removed_does_not_come_back_with_a_late_listing() {
    let gate = Gate::new();
    let bed = Bed::new();
    bed.bucket.insert("a", "x");
    bed.stat("a").await.unwrap();
    bed.advance(6000);
    bed.faults.inject(Fault::hold(Op::ListObjects, &gate).answer_lost());
    let listing = tokio::spawn({
        let fs = bed.fs.clone();
        async move { fs.opendir(ROOT).await }
    });
    gate.reached_by(1).await;
    let unlink = tokio::spawn({
        let fs = bed.fs.clone();
        async move { fs.unlink(ROOT, &FileName::new("a").unwrap()).await }
    });
    bed.settle().await;
    gate.open();
    listing.await.unwrap().unwrap();
    unlink.await.unwrap().unwrap();
    assert_eq!(bed.stat("a").await, Err(FsError::NotFound));
    assert_eq!(bed.list(ROOT).await, [] as [&str; 0]);
}

#[tokio::test]
async fn a_mounted_prefix_is_all_there_is() {
    let bed = bed_with_options(FsOptions { prefix: "team/data/".into(), ..FsOptions::default() });
    bed.bucket.insert("outside", "x");
    bed.bucket.insert("team/database", "x");
    bed.bucket.insert("team/data/a", "inside");
    assert_eq!(bed.list(ROOT).await, ["a"]);
    assert_eq!(bed.read("a").await.unwrap(), b"inside");
    bed.mkdir("d").await.unwrap();
    bed.put("d/b", b"new").await.unwrap();
    bed.unlink("a").await.unwrap();
    assert_eq!(bed.bucket.keys(), ["outside", "team/data/d/", "team/data/d/b", "team/database"]);
}

#[tokio::test]
async fn a_read_only_mount_changes_nothing() {
    let bed = bed_with_options(FsOptions { read_only: true, ..FsOptions::default() });
    bed.bucket.insert("a", "x");
    bed.bucket.insert("d/", "");
    let refused = Err(FsError::ReadOnly);
    assert_eq!(bed.read("a").await.unwrap(), b"x");
    assert_eq!(bed.try_create("b", WRITE).await.err(), Some(FsError::ReadOnly));
    assert_eq!(bed.open("a", WRITE).await.err(), Some(FsError::ReadOnly));
    assert_eq!(bed.mkdir("e").await.err(), Some(FsError::ReadOnly));
    assert_eq!(bed.chmod("a", 0o600).await.err(), Some(FsError::ReadOnly));
    assert_eq!(bed.unlink("a").await, refused);
    assert_eq!(bed.rmdir("d").await, refused);
    assert_eq!(bed.rename("a", "b").await, refused);
    bed.assert_bucket(&[("a", b"x"), ("d/", b"")]);
}

#[tokio::test]
async fn a_directory_with_ten_thousand_entries_is_listed_page_by_page() {
    let bed = Bed::new();
    for index in 0..10_000 {
        bed.bucket.insert(&format!("d/{index:05}"), "");
    }
    let ino = bed.stat("d").await.unwrap().ino;
    bed.take_ops();
    assert_eq!(bed.list(ino).await.len(), 10_000);
    assert_eq!(bed.take_ops(), [Op::ListObjects; 10]);
    // The kernel asks for the first entries with attributes in any case; of more they are wanted, and then come side by
    // side, and the second time from memory.
    let handle = bed.fs.opendir(ino).await.unwrap();
    for (offset, heads) in [(0, 0), (100, 100), (100, 0)] {
        let (_, entries) = bed.fs.readdirplus(handle, offset, 100).await.unwrap();
        let dots = if offset == 0 { 2 } else { 0 };
        assert_eq!(entries.iter().filter(|(_, attr)| attr.is_some()).count(), 100 - dots, "all but . and ..");
        assert_eq!(bed.take_ops().len(), heads, "at {offset}");
    }
}

#[tokio::test]
async fn a_listing_that_fails_is_an_error_and_not_an_empty_directory() {
    let bed = Bed::with_faults([Fault::nth(Op::ListObjects, 1, StoreErrorKind::Denied).times(2)]);
    bed.bucket.insert("a", "x");
    assert_eq!(bed.fs.opendir(ROOT).await, Err(FsError::Remote(StoreErrorKind::Denied)));
    assert_eq!(bed.stat("b").await, Err(FsError::Remote(StoreErrorKind::Denied)));
    assert_eq!(bed.list(ROOT).await, ["a"]);
}

#[tokio::test]
async fn inodes_live_as_long_as_somebody_refers_to_them() {
    let bed = Bed::new();
    bed.mkdir("d").await.unwrap();
    let dir = bed.stat("d").await.unwrap();
    let file = bed.create("d/a").await;
    file.write(0, b"x").await.unwrap();
    // The kernel forgets everything while the file is open.
    bed.fs.forget(file.ino, 1);
    bed.fs.forget(dir.ino, 100);
    file.close().await.unwrap();
    bed.assert_bucket(&[("d/", b""), ("d/a", b"x")]);
    assert_eq!(bed.fs.getattr(dir.ino).await, Err(FsError::Stale), "nothing keeps it any more");
    assert_eq!(bed.read("d/a").await.unwrap(), b"x");
}

#[tokio::test]
async fn the_root_is_a_directory_and_empty_files_have_no_bytes() {
    let bed = Bed::new();
    bed.bucket.insert("empty", "");
    let root = bed.fs.getattr(ROOT).await.unwrap();
    assert_eq!((root.kind, root.mtime), (Kind::Directory, UNIX_EPOCH));
    assert_eq!(bed.read("empty").await.unwrap(), b"");
    let file = bed.open("empty", READ).await.unwrap();
    assert_eq!(file.read(5, 10).await.unwrap(), b"");
    assert!(bed.fs.getattr(file.ino).await.unwrap().valid_for <= Duration::from_secs(1));
}

/// Readers and writers of an object that is removed or replaced go on with it, whatever its size.
#[tokio::test]
async fn a_published_file_that_is_unlinked_lives_on_for_those_who_have_it_open() {
    for len in [7, 5 << 20] {
        for replaced in [false, true] {
            let bed = Bed::new();
            let content = crate::bed::bytes(1, len);
            bed.bucket.insert("d/a", content.clone());
            bed.bucket.insert("d/b", "another");
            let reader = bed.open("d/a", READ).await.unwrap();
            assert_eq!(reader.read(0, 3).await.unwrap(), content[..3]);
            let left: &[(&str, &[u8])] = match replaced {
                true => {
                    bed.rename("d/b", "d/a").await.unwrap();
                    &[("d/a", b"another")]
                }
                false => {
                    bed.unlink("d/a").await.unwrap();
                    assert_eq!(bed.stat("d/a").await, Err(FsError::NotFound));
                    &[("d/b", b"another")]
                }
            };
            crate::bed::assert_same(&reader.read_all().await.unwrap(), &content);
            assert_eq!(bed.fs.getattr(reader.ino).await.unwrap().links, 0);
            assert_eq!(bed.list(ROOT).await, ["d"], "where it lives nobody sees");
            let hidden = FileName::new(".cosmount-unlinked").unwrap();
            assert_eq!(bed.fs.lookup(ROOT, &hidden).await, Err(FsError::NotPermitted), "the name is not for others");
            assert_eq!(bed.mkdir(".cosmount-unlinked").await, Err(FsError::NotPermitted));
            // What /proc/self/fd offers: opened once more, for writing.
            let opened = bed.fs.open(reader.ino, WRITE).await.unwrap();
            bed.fs.write(opened.handle, 0, b"new").unwrap();
            assert_eq!(reader.read(0, 3).await.unwrap(), b"new");
            bed.fs.flush(opened.handle, |_| std::future::ready(false)).await.unwrap();
            bed.fs.release(opened.handle).await;
            reader.close().await.unwrap();
            bed.assert_bucket(left);
            bed.assert_no_unfinished_uploads().await;
        }
    }
}

/// Whoever could not remove a file still has it.
#[tokio::test]
async fn a_file_that_cannot_be_removed_keeps_its_name() {
    let denied = Fault::every(Op::DeleteObject, StoreErrorKind::Denied);
    let bed = Bed::with_faults([denied.key("a")]);
    bed.bucket.insert("a", crate::bed::bytes(1, 3 << 20));
    let file = bed.open("a", WRITE).await.unwrap();
    bed.unlink("a").await.unwrap_err();
    file.write(0, b"new").await.unwrap();
    file.close().await.unwrap();
    assert_eq!(bed.bucket.keys(), ["a"]);
    assert_eq!(bed.bucket.bytes("a").unwrap()[..3], *b"new");
}

/// Whoever has a file without a name open at the end of the mount loses it, and leaves nothing behind.
#[tokio::test]
async fn the_end_of_the_mount_removes_what_files_without_a_name_had() {
    let bed = Bed::new();
    bed.bucket.insert("a", crate::bed::bytes(1, 3 << 20));
    let file = bed.open("a", WRITE).await.unwrap();
    bed.unlink("a").await.unwrap();
    file.write(0, b"new").await.unwrap();
    assert_eq!(bed.bucket.keys().len(), 1, "what the file needs of its object");
    bed.publish_all().await;
    bed.fs.dispose_all().await;
    bed.assert_bucket(&[]);
    file.close().await.unwrap();
    bed.assert_bucket(&[]);
}

/// The kernel asks for a new file if it knows of none; somebody else may have made it since.
#[tokio::test]
async fn what_others_made_in_between_is_opened_and_not_refused() {
    let bed = Bed::new();
    assert_eq!(bed.stat("log").await.map(|_| ()), Err(FsError::NotFound));
    bed.bucket.insert("log", b"theirs".to_vec());
    bed.advance(60_000);
    let file = bed.try_create("log", APPEND).await.unwrap();
    file.write(0, b" and ours").await.unwrap();
    file.close().await.unwrap();
    bed.assert_bucket(&[("log", b"theirs and ours")]);
    let file = bed.try_create("log", REPLACE).await.unwrap();
    assert_eq!(file.size().await, 0);
    file.close().await.unwrap();
    bed.assert_bucket(&[("log", b"")]);
    assert_eq!(bed.try_create("log", TEMPORARY).await.err(), Some(FsError::Exists));
    bed.mkdir("d").await.unwrap();
    assert_eq!(bed.try_create("d", WRITE).await.err(), Some(FsError::IsDirectory));
}

fn heads(bed: &Bed) -> usize {
    bed.take_ops().iter().filter(|op| **op == Op::HeadObject).count()
}

/// As `rm -r` does: it reads the names, and looks each up before it removes it.
#[tokio::test]
async fn who_removes_one_name_after_the_other_is_not_told_of_attributes() {
    const FILES: usize = 400;
    let bed = Bed::new();
    for index in 0..FILES {
        bed.bucket.insert(&format!("d/{index:03}"), "12345678".repeat(1_000));
    }
    let ino = bed.stat("d").await.unwrap().ino;
    let open = bed.fs.opendir(ino).await.unwrap();
    assert_eq!(bed.fs.readdir(open, 0, usize::MAX).await.unwrap().len(), FILES + 2);
    bed.take_ops();
    for index in 0..FILES {
        bed.stat(&format!("d/{index:03}")).await.unwrap();
        bed.unlink(&format!("d/{index:03}")).await.unwrap();
        bed.settle().await;
    }
    let heads = heads(&bed);
    // The first lookups cannot be told from those of `ls -l`, which is looked 64 names ahead of.
    assert!(heads <= 70, "{heads} HEADs for {FILES} removals");
    bed.fs.releasedir(open);
}

/// Lists a directory, and returns how many HEADs its first thousand entries take, and what `link` is shown as.
async fn heads_of_listing(bed: &Bed, path: &str) -> (usize, Option<Kind>) {
    let open = bed.fs.opendir(bed.stat(path).await.unwrap().ino).await.unwrap();
    bed.settle().await;
    bed.take_ops();
    let entries = bed.fs.readdir(open, 0, 1_000).await.unwrap();
    bed.fs.releasedir(open);
    let link = entries.iter().find(|entry| entry.name.as_str() == "link");
    (heads(bed), link.map(|entry| entry.kind))
}

/// What is a link shows by a HEAD alone, and most small objects are none.
#[tokio::test]
async fn one_small_object_of_a_directory_is_asked_what_it_is_until_a_link_was_met() {
    let bed = Bed::new();
    for (path, target) in [("links", "0"), ("many", "a target that is longer than what the files have")] {
        bed.mkdir(path).await.unwrap();
        bed.symlink(&format!("{path}/link"), target).await.unwrap();
    }
    bed.publish_all().await;
    for index in 0..20 {
        for path in ["files", "links", "many"] {
            bed.bucket.insert(&format!("{path}/{index:02}"), "12345678");
        }
    }
    for index in 0..1_200 {
        bed.bucket.insert(&format!("pages/{index:04}"), "12345678");
    }
    let bed = bed.remount();
    assert_eq!(heads_of_listing(&bed, "files").await, (1, None));
    assert_eq!(heads_of_listing(&bed, "files").await, (0, None), "once a directory");
    assert_eq!(heads_of_listing(&bed, "pages").await, (0, None), "one of so many would tell nothing");
    assert_eq!(heads_of_listing(&bed, "many").await, (1, Some(Kind::File)), "another one was asked");
    assert_eq!(bed.stat("many/link").await.unwrap().kind, Kind::Symlink);
    // From now on every small object may be one.
    assert_eq!(heads_of_listing(&bed, "links").await, (21, Some(Kind::Symlink)));
    assert_eq!(heads_of_listing(&bed, "many").await.1, Some(Kind::Symlink));
}

/// However little is to be kept of names, those of a directory that this mount fills stay, and attributes go.
#[tokio::test]
async fn a_directory_that_is_filled_costs_no_listing_however_little_is_kept_of_names() {
    const FILES: usize = 3_000;
    let options = FsOptions { metadata_bytes: 64 << 10, ..FsOptions::default() };
    let bed = Bed::with(Choices { options, ..Choices::default() });
    bed.mkdir("d").await.unwrap();
    bed.take_ops();
    for index in 0..FILES {
        bed.put(&format!("d/{index:04}"), b"x").await.unwrap();
    }
    let ops = bed.take_ops();
    let count = |wanted: Op| ops.iter().filter(|op| **op == wanted).count();
    assert_eq!((count(Op::PutObject), count(Op::ListObjects), count(Op::HeadObject)), (FILES, 0, 0));
    let names = bed.fs.state().memory.names;
    assert!(names < FILES * 300, "{names}");
    bed.stat("d/0000").await.unwrap();
    assert_eq!(bed.take_ops(), [Op::HeadObject], "its attributes made way");
}

#[tokio::test]
async fn the_state_tells_how_many_inodes_the_kernel_refers_to() {
    let bed = Bed::new();
    let names: Vec<String> = (0..100).map(|index| format!("{index}")).collect();
    names.iter().for_each(|name| bed.bucket.insert(name, ""));
    let before = bed.fs.state();
    let mut told = Vec::new();
    for name in &names {
        told.push(bed.stat(name).await.unwrap().ino);
    }
    let state = bed.fs.state();
    assert_eq!(state.memory.inodes, before.memory.inodes + names.len());
    assert!(state.memory.inodes_bytes >= names.len() * 100, "{}", state.memory.inodes_bytes);
    told.into_iter().for_each(|ino| bed.fs.forget(ino, 1));
    assert_eq!(bed.fs.state().memory.inodes, before.memory.inodes);
}
