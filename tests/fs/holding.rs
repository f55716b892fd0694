//! Temporary files that wait at their close for their final name, and attributes that wait for more of them.

use std::time::Duration;

use cosmount::fs::{AttrChange, FsError, FsOptions, Temporary};
use cosmount::store::testing::{Fault, Gate};
use cosmount::store::{Op, StoreErrorKind};

use crate::bed::{Bed, Choices, File, PART, READ, REPLACE, TEMPORARY, WRITE, bytes};

/// A new temporary file, written and closed.
async fn temporary(bed: &Bed, path: &str, content: &[u8]) {
    let file = bed.try_create(path, TEMPORARY).await.unwrap();
    file.write(0, content).await.unwrap();
    file.close().await.unwrap();
}

async fn utimens(bed: &Bed, path: &str, seconds: u64) {
    let mtime = Some(std::time::UNIX_EPOCH + Duration::from_secs(seconds));
    bed.fs.setattr(bed.stat(path).await.unwrap().ino, AttrChange { mtime, ..AttrChange::default() }).await.unwrap();
}

/// As rsync does it.
#[tokio::test]
async fn a_temporary_file_is_one_put_under_its_final_name() {
    let bed = Bed::new();
    bed.mkdir("d").await.unwrap();
    bed.take_ops();
    let file = bed.try_create("d/.a.html.Xy3z9Q", TEMPORARY).await.unwrap();
    bed.chmod("d/.a.html.Xy3z9Q", 0o640).await.unwrap();
    file.write(0, b"content").await.unwrap();
    file.close().await.unwrap();
    utimens(&bed, "d/.a.html.Xy3z9Q", 1_000_000).await;
    assert_eq!(bed.read("d/.a.html.Xy3z9Q").await.unwrap(), b"content");
    bed.chmod("d/.a.html.Xy3z9Q", 0o604).await.unwrap();
    assert_eq!(bed.take_ops(), []);
    bed.rename("d/.a.html.Xy3z9Q", "d/a.html").await.unwrap();
    assert_eq!(bed.take_ops(), [Op::PutObject]);
    bed.assert_bucket(&[("d/", b""), ("d/a.html", b"content")]);
    let attributes = bed.bucket.object_head("d/a.html").unwrap().attributes;
    assert_eq!((&*attributes.user["mode"], &*attributes.user["mtime"]), ("33156", "1000000"));
    assert_eq!(attributes.content_type.as_deref(), Some("text/html"));
    assert_eq!(bed.stat("d/.a.html.Xy3z9Q").await, Err(FsError::NotFound));
    bed.publish_all().await;
    assert_eq!(bed.take_ops(), []);
}

/// A lock file, which somebody has made and closed. Who opens it next is killed before he is told.
#[tokio::test]
async fn an_open_that_is_given_up_leaves_a_temporary_file_that_waits() {
    for mode in [WRITE, REPLACE] {
        let bed = Bed::new();
        bed.try_create("a.lock", TEMPORARY).await.unwrap().close().await.unwrap();
        let opened = bed.open("a.lock", mode).await.unwrap();
        bed.fs.abandon(opened.handle).await;
        assert_eq!(bed.stat("a.lock").await.map(|attr| attr.size), Ok(0));
        bed.publish_all().await;
        bed.assert_bucket(&[("a.lock", b"")]);
    }
}

#[tokio::test]
async fn the_rename_of_a_temporary_file_over_another_is_one_put() {
    let bed = Bed::new();
    bed.put("a", b"old").await.unwrap();
    bed.take_ops();
    temporary(&bed, "sedAbCdEf", b"new").await;
    bed.rename("sedAbCdEf", "a").await.unwrap();
    assert_eq!(bed.take_ops(), [Op::PutObject]);
    bed.assert_bucket(&[("a", b"new")]);
    assert_eq!(bed.read("a").await.unwrap(), b"new");
}

/// As `cp f f.tmp; mv f f.tmp` does it. What waits under the name that is taken is not wanted, so nobody waits for it.
#[tokio::test]
async fn a_file_is_renamed_over_a_temporary_copy_of_it() {
    for fails in [false, true] {
        let bed = Bed::new();
        bed.put("a", b"content").await.unwrap();
        let (from, to) = (bed.open("a", READ).await.unwrap(), bed.create("a.tmp").await);
        assert_eq!(bed.fs.copy_range((from.handle, 0), (to.handle, 0), 100).await, Ok(7));
        from.close().await.unwrap();
        to.close().await.unwrap();
        bed.take_ops();
        if fails {
            bed.faults.inject(Fault::nth(Op::CopyObject, 1, StoreErrorKind::Denied));
        }
        let renamed = tokio::time::timeout(Duration::from_secs(20), bed.rename("a", "a.tmp")).await;
        assert_eq!(renamed.expect("nobody waits for ever").is_err(), fails);
        bed.publish_all().await;
        let expected: &[(&str, &[u8])] =
            if fails { &[("a", b"content"), ("a.tmp", b"content")] } else { &[("a.tmp", b"content")] };
        bed.assert_bucket(expected);
    }
}

#[tokio::test]
async fn a_rename_that_comes_before_the_release_publishes_too() {
    let bed = Bed::new();
    let file = bed.try_create("t", TEMPORARY).await.unwrap();
    file.write(0, b"content").await.unwrap();
    file.flush().await.unwrap();
    bed.rename("t", "a").await.unwrap();
    bed.assert_bucket(&[("a", b"content")]);
    file.release().await;
    assert_eq!(bed.take_ops(), [Op::ListObjects, Op::PutObject]);
}

#[tokio::test]
async fn a_temporary_file_that_is_still_written_moves_without_a_request() {
    let bed = Bed::new();
    let file = bed.try_create("t", TEMPORARY).await.unwrap();
    file.write(0, b"con").await.unwrap();
    bed.rename("t", "a").await.unwrap();
    bed.assert_bucket(&[]);
    file.write(3, b"tent").await.unwrap();
    file.close().await.unwrap();
    bed.assert_bucket(&[("a", b"content")]);
}

#[tokio::test]
async fn the_rename_tells_why_a_temporary_file_could_not_be_published() {
    let bed = Bed::with_faults([Fault::nth(Op::PutObject, 1, StoreErrorKind::Denied)]);
    temporary(&bed, "t.tmp", b"content").await;
    assert_eq!(bed.rename("t.tmp", "a").await, Err(FsError::Remote(StoreErrorKind::Denied)));
    assert_eq!(bed.stat("a").await, Err(FsError::NotFound));
    bed.assert_bucket(&[]);
    // Its close had succeeded: it is still there, and can be renamed yet.
    assert_eq!(bed.read("t.tmp").await.unwrap(), b"content");
    bed.rename("t.tmp", "a").await.unwrap();
    bed.assert_bucket(&[("a", b"content")]);
}

/// The close has succeeded, and nobody is there to be told.
#[tokio::test(start_paused = true)]
async fn what_was_closed_and_cannot_be_published_is_kept_and_tried_again() {
    let bed = Bed::with_faults([Fault::nth(Op::PutObject, 1, StoreErrorKind::Unreachable).times(2)]);
    temporary(&bed, "t.tmp", b"content").await;
    // After 5 seconds and 5 more; the next time is 10 seconds later.
    bed.pass(5_100).await;
    bed.pass(5_100).await;
    assert_eq!(bed.bucket.count(Op::PutObject), 0);
    assert_eq!(bed.read("t.tmp").await.unwrap(), b"content");
    assert_eq!(bed.fs.state().unpublished_keys(), ["t.tmp"]);
    bed.pass(9_000).await;
    bed.assert_bucket(&[]);
    bed.pass(1_100).await;
    bed.assert_bucket(&[("t.tmp", b"content")]);
    assert_eq!(bed.fs.state().unpublished_keys(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_temporary_file_that_nobody_renames_is_published_after_a_while() {
    let bed = Bed::new();
    temporary(&bed, "t.tmp", b"content").await;
    bed.pass(4900).await;
    bed.assert_bucket(&[]);
    bed.pass(200).await;
    bed.assert_bucket(&[("t.tmp", b"content")]);
    assert_eq!(bed.read("t.tmp").await.unwrap(), b"content");
    bed.rename("t.tmp", "a").await.unwrap();
    bed.assert_bucket(&[("a", b"content")]);
}

#[tokio::test(start_paused = true)]
async fn a_temporary_file_that_is_written_again_waits_anew() {
    let bed = Bed::new();
    temporary(&bed, "t.tmp", b"content").await;
    bed.pass(4000).await;
    let file = bed.open("t.tmp", WRITE).await.unwrap();
    file.write(0, b"C").await.unwrap();
    bed.pass(2000).await;
    bed.assert_bucket(&[]);
    file.close().await.unwrap();
    bed.pass(4900).await;
    bed.assert_bucket(&[]);
    bed.pass(200).await;
    bed.assert_bucket(&[("t.tmp", b"Content")]);
}

#[tokio::test]
async fn fsync_and_the_end_of_the_mount_publish_a_temporary_file() {
    let bed = Bed::new();
    temporary(&bed, "a.tmp", b"a").await;
    let file = bed.open("a.tmp", READ).await.unwrap();
    file.fsync().await.unwrap();
    bed.assert_bucket(&[("a.tmp", b"a")]);
    file.close().await.unwrap();
    temporary(&bed, "b.tmp", b"b").await;
    bed.publish_all().await;
    bed.assert_bucket(&[("a.tmp", b"a"), ("b.tmp", b"b")]);
}

#[tokio::test]
async fn fsync_of_a_directory_publishes_what_waits_in_it() {
    let bed = Bed::new();
    let ino = bed.mkdir("d").await.unwrap().ino;
    temporary(&bed, "d/a.tmp", b"a").await;
    bed.symlink("d/l", "a").await.unwrap();
    bed.chmod("d", 0o700).await.unwrap();
    bed.fs.fsync_directory(ino).await.unwrap();
    bed.assert_bucket(&[("d/", b""), ("d/a.tmp", b"a"), ("d/l", b"a")]);
    assert_eq!(bed.bucket.object_head("d/").unwrap().attributes.user["mode"], (0o040_700).to_string());
}

#[tokio::test]
async fn a_temporary_file_that_is_removed_makes_no_request() {
    let bed = Bed::new();
    bed.stat("x").await.unwrap_err();
    bed.take_ops();
    temporary(&bed, ".a.swp", b"content").await;
    bed.unlink(".a.swp").await.unwrap();
    bed.publish_all().await;
    assert_eq!(bed.take_ops(), []);
    assert_eq!(bed.stat(".a.swp").await, Err(FsError::NotFound));
}

#[tokio::test]
async fn what_memory_pressure_has_published_is_removed_with_its_name() {
    let choices = Choices { memory_bytes: 4 * PART, part_bytes: PART as u64, ..Choices::default() };
    let bed = Bed::with(choices);
    for index in 0..32 {
        temporary(&bed, &format!("{index:02}.tmp"), &bytes(index, PART / 4)).await;
    }
    bed.settle().await;
    assert!(!bed.bucket.keys().is_empty());
    for index in 0..32 {
        bed.unlink(&format!("{index:02}.tmp")).await.unwrap();
    }
    bed.settle().await;
    bed.assert_bucket(&[]);
    assert_eq!(bed.memory.used_bytes(), 0);
    bed.assert_no_unfinished_uploads().await;
}

#[tokio::test(start_paused = true)]
async fn a_failed_removal_leaves_what_waits_to_be_published_all_the_same() {
    let bed = Bed::with_faults([Fault::nth(Op::DeleteObject, 1, StoreErrorKind::Internal)]);
    bed.put("a", b"content").await.unwrap();
    bed.chmod("a", 0o640).await.unwrap();
    assert_eq!(bed.unlink("a").await, Err(FsError::Remote(StoreErrorKind::Internal)));
    bed.pass(1100).await;
    assert_eq!(bed.bucket.object_head("a").unwrap().attributes.user["mode"], "33184");
}

#[tokio::test]
async fn a_file_whose_attributes_wait_can_be_cut_under_a_reader() {
    let bed = Bed::new();
    bed.put("a", b"0123456789").await.unwrap();
    let reader = bed.open("a", READ).await.unwrap();
    assert_eq!(reader.read_all().await.unwrap(), b"0123456789");
    bed.chmod("a", 0o640).await.unwrap();
    let size = AttrChange { size: Some(12), ..AttrChange::default() };
    bed.fs.setattr(reader.ino, size).await.unwrap();
    assert_eq!(bed.read("a").await.unwrap(), b"0123456789\0\0");
    assert_eq!(reader.read_all().await.unwrap(), b"0123456789\0\0");
    reader.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn attributes_of_a_directory_that_could_not_be_published_are_the_old_ones_again() {
    let bed = Bed::with_faults([Fault::nth(Op::CopyObject, 1, StoreErrorKind::Internal)]);
    bed.mkdir("d").await.unwrap();
    bed.chmod("d", 0o700).await.unwrap();
    assert_eq!(bed.stat("d").await.unwrap().permissions, 0o700);
    bed.pass(1100).await;
    assert_eq!(bed.stat("d").await.unwrap().permissions, 0o755);
}

#[tokio::test]
async fn a_file_that_waits_can_be_replaced() {
    let bed = Bed::new();
    temporary(&bed, "a.tmp", b"a").await;
    temporary(&bed, "b.tmp", b"b").await;
    bed.rename("a.tmp", "b.tmp").await.unwrap();
    bed.publish_all().await;
    bed.assert_bucket(&[("b.tmp", b"a")]);
}

#[tokio::test]
async fn a_directory_with_a_file_that_waits_is_renamed_and_not_removed() {
    let bed = Bed::new();
    bed.mkdir("d").await.unwrap();
    temporary(&bed, "d/t.tmp", b"content").await;
    assert_eq!(bed.rmdir("d").await, Err(FsError::NotEmpty));
    bed.rename("d", "e").await.unwrap();
    bed.assert_bucket(&[("e/", b"")]);
    assert_eq!(bed.read("e/t.tmp").await.unwrap(), b"content");
    bed.rename("e/t.tmp", "e/a").await.unwrap();
    bed.assert_bucket(&[("e/", b""), ("e/a", b"content")]);
}

#[tokio::test]
async fn a_temporary_file_larger_than_a_part_is_renamed_by_one_copy_with_its_attributes() {
    let bed = Bed::new();
    let content = bytes(1, 3 * PART + 5);
    bed.stat("x").await.unwrap_err();
    temporary(&bed, ".a.Xy3z9Q", &content).await;
    bed.assert_bucket(&[(".a.Xy3z9Q", &content)]);
    bed.take_ops();
    utimens(&bed, ".a.Xy3z9Q", 1_000_000).await;
    bed.chmod(".a.Xy3z9Q", 0o640).await.unwrap();
    bed.rename(".a.Xy3z9Q", "a").await.unwrap();
    assert_eq!(bed.take_ops(), [Op::CopyObject, Op::DeleteObject]);
    bed.publish_all().await;
    assert_eq!(bed.take_ops(), []);
    let attributes = bed.bucket.object_head("a").unwrap().attributes;
    assert_eq!((&*attributes.user["mode"], &*attributes.user["mtime"]), ("33184", "1000000"));
    assert_eq!(bed.read("a").await.unwrap(), content);
}

#[tokio::test]
async fn memory_that_runs_short_publishes_what_waits() {
    let choices = Choices { memory_bytes: 4 * PART, part_bytes: PART as u64, ..Choices::default() };
    let bed = Bed::with(choices);
    let small = bytes(1, PART / 4);
    for index in 0..32 {
        temporary(&bed, &format!("{index:02}.tmp"), &small).await;
    }
    assert!(bed.bucket.keys().len() > 8, "{}", bed.bucket.keys().len());
    bed.rename("00.tmp", "a").await.unwrap();
    assert_eq!(bed.read("a").await.unwrap(), small);
    bed.publish_all().await;
    assert_eq!(bed.bucket.keys().len(), 32);
}

#[tokio::test]
async fn holding_can_be_switched_off_and_extended() {
    let with = |temporary| Choices { options: FsOptions { temporary, ..FsOptions::default() }, ..Choices::default() };
    let bed = Bed::with(with(Temporary::none()));
    temporary(&bed, "a.tmp", b"a").await;
    bed.assert_bucket(&[("a.tmp", b"a")]);
    let bed = Bed::with(with(Temporary::and(["*.draft"])));
    bed.put("a.draft", b"a").await.unwrap();
    bed.assert_bucket(&[]);
}

#[tokio::test(start_paused = true)]
async fn attributes_of_a_published_file_are_gathered_into_one_copy() {
    let bed = Bed::new();
    bed.put("a.html", b"content").await.unwrap();
    let ino = bed.stat("a.html").await.unwrap().ino;
    bed.take_ops();
    bed.chmod("a.html", 0o640).await.unwrap();
    utimens(&bed, "a.html", 1_000_000).await;
    bed.fs.attributes().setxattr(ino, "user.k", b"v", cosmount::fs::XattrMode::Any).await.unwrap();
    assert_eq!(bed.stat("a.html").await.unwrap().permissions, 0o640);
    assert_eq!(bed.take_ops(), []);
    bed.pass(1100).await;
    assert_eq!(bed.take_ops(), [Op::CopyObject]);
    let attributes = bed.bucket.object_head("a.html").unwrap().attributes;
    assert_eq!((&*attributes.user["mode"], &*attributes.user["mtime"]), ("33184", "1000000"));
    assert_eq!(attributes.content_type.as_deref(), Some("text/html"));
    assert_eq!(bed.read("a.html").await.unwrap(), b"content");
    bed.pass(5000).await;
    assert!(!bed.take_ops().contains(&Op::CopyObject));
}

#[tokio::test]
async fn a_change_of_attributes_loses_nothing_else_and_keeps_the_time() {
    let bed = Bed::new();
    let put = |user: &[(&str, &str)]| cosmount::object::ObjectAttributes {
        content_type: Some("text/x-own".into()),
        cache_control: Some("max-age=5".into()),
        content_disposition: Some("attachment".into()),
        storage_class: Some("STANDARD_IA".into()),
        user: user.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        ..Default::default()
    };
    bed.bucket.insert_with("a", "content", &put(&[("colour", "red")]));
    bed.advance(100_000);
    let before = bed.stat("a").await.unwrap();
    bed.chmod("a", 0o640).await.unwrap();
    bed.publish_all().await;
    let mtime = before.mtime.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs().to_string();
    let expected = put(&[("colour", "red"), ("mode", "33184"), ("mtime", &mtime)]);
    assert_eq!(bed.bucket.object_head("a").unwrap().attributes, expected);
    assert_eq!(bed.remount().stat("a").await.unwrap().mtime, before.mtime);
}

#[tokio::test]
async fn a_file_whose_attributes_wait_can_be_renamed_removed_and_written() {
    let bed = Bed::new();
    for name in ["a", "b", "c"] {
        bed.put(name, b"content").await.unwrap();
        bed.chmod(name, 0o640).await.unwrap();
    }
    bed.take_ops();
    bed.rename("a", "a2").await.unwrap();
    assert_eq!(bed.take_ops(), [Op::CopyObject, Op::DeleteObject]);
    bed.unlink("b").await.unwrap();
    assert_eq!(bed.take_ops(), [Op::DeleteObject]);
    let file = bed.open("c", WRITE).await.unwrap();
    file.write(0, b"C").await.unwrap();
    file.close().await.unwrap();
    bed.publish_all().await;
    assert!(!bed.take_ops().contains(&Op::CopyObject));
    bed.assert_bucket(&[("a2", b"content"), ("c", b"Content")]);
    for name in ["a2", "c"] {
        assert_eq!(bed.bucket.object_head(name).unwrap().attributes.user["mode"], "33184");
    }
}

/// Who was told of it before, and has it open by a path alone or not at all, is answered from memory.
#[tokio::test]
async fn what_loses_its_name_while_it_waits_is_what_it_was_for_who_was_told_of_it() {
    let bed = Bed::new();
    for name in ["removed", "replaced", "other"] {
        bed.put(name, b"content").await.unwrap();
    }
    temporary(&bed, "waits.tmp", b"closed").await;
    let mut before = Vec::new();
    for name in ["removed", "replaced", "waits.tmp"] {
        let attr = bed.chmod(name, 0o640).await.unwrap();
        before.push((attr.ino, attr.kind, attr.size, attr.permissions, attr.mtime));
    }
    bed.take_ops();
    bed.unlink("removed").await.unwrap();
    bed.rename("other", "replaced").await.unwrap();
    bed.unlink("waits.tmp").await.unwrap();
    for before in before {
        let attr = bed.fs.getattr(before.0).await.unwrap();
        assert_eq!((attr.ino, attr.kind, attr.size, attr.permissions, attr.mtime), before);
        assert_eq!(attr.links, 0);
    }
}

#[tokio::test]
async fn what_was_open_when_it_lost_its_name_is_what_it_was_when_it_was_closed() {
    let bed = Bed::new();
    for name in ["read", "written"] {
        bed.put(name, b"content").await.unwrap();
    }
    let (read, written) = (bed.open("read", READ).await.unwrap(), bed.open("written", WRITE).await.unwrap());
    bed.chmod("read", 0o640).await.unwrap();
    bed.unlink("read").await.unwrap();
    bed.unlink("written").await.unwrap();
    written.write(7, b" and more").await.unwrap();
    let new = bed.create("new").await;
    new.write(0, b"new").await.unwrap();
    bed.unlink("new").await.unwrap();
    for (file, size, permissions) in [(read, 7, 0o640), (written, 16, 0o644), (new, 3, 0o644)] {
        let ino = file.ino;
        file.close().await.unwrap();
        let attr = bed.fs.getattr(ino).await.unwrap();
        assert_eq!((attr.size, attr.permissions, attr.links), (size, permissions, 0));
    }
    bed.assert_bucket(&[]);
}

#[tokio::test]
async fn a_reader_is_not_disturbed_by_attributes_that_are_published() {
    let gate = Gate::new();
    let bed = Bed::with_faults([Fault::hold(Op::CopyObject, &gate)]);
    let content = bytes(1, 4 * PART);
    bed.bucket.insert("a", content.clone());
    let reader: File = bed.open("a", READ).await.unwrap();
    assert_eq!(reader.read(0, 1000).await.unwrap(), &content[..1000]);
    bed.chmod("a", 0o640).await.unwrap();
    let fs = bed.fs.clone();
    let publishing = tokio::spawn(async move { fs.publish_below("").await });
    bed.settle().await;
    assert_eq!(reader.read(PART, 1000).await.unwrap(), &content[PART..PART + 1000]);
    gate.open();
    let failed = publishing.await.unwrap();
    assert!(failed.is_empty(), "{failed:?}");
    assert_eq!(reader.read_all().await.unwrap(), content);
    reader.close().await.unwrap();
}

#[tokio::test]
async fn metadata_that_the_service_does_not_take_is_refused_by_the_call_that_sets_it() {
    let bed = Bed::new();
    bed.put("a", b"content").await.unwrap();
    let ino = bed.stat("a").await.unwrap().ino;
    let set = |name: &'static str, len: usize| {
        let fs = bed.fs.clone();
        async move { fs.attributes().setxattr(ino, name, &vec![b'v'; len], cosmount::fs::XattrMode::Any).await }
    };
    set("user.small", 100).await.unwrap();
    assert_eq!(set("user.large", 2000).await, Err(FsError::MetadataFull));
    assert_eq!(bed.fs.attributes().listxattr(ino).await.unwrap(), ["user.small"]);
    bed.publish_all().await;
}
