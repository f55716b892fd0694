//! Times of files, links and directories: what `stat` shows at which moment, for every mount, and what it costs.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cosmount::fs::{Allocation, AttrChange};
use cosmount::object::{Crc64, ObjectAttributes, ObjectKey};
use cosmount::store::{ObjectStore, Op};

use crate::bed::{APPEND, Bed, File, PART, READ, REPLACE, TEMPORARY, WRITE, bytes};

/// When the clock of a new bed stands, in seconds.
const START: u64 = 1_700_000_000;

fn at(milliseconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(START) + Duration::from_millis(milliseconds)
}

async fn mtime(bed: &Bed, path: &str) -> SystemTime {
    bed.stat(path).await.unwrap().mtime
}

/// The time stays what it is, whoever looks and when: at once, when listings have been asked for anew, from another mount,
/// and after a remount.
async fn assert_stays(bed: Bed, path: &str, expected: SystemTime) {
    for milliseconds in [0, 2_000, 4_000, 6_000] {
        bed.advance(milliseconds);
        assert_eq!(mtime(&bed, path).await, expected, "{path} after {milliseconds} ms more");
    }
    assert_eq!(mtime(&bed.another(None), path).await, expected, "{path} from another mount");
    bed.publish_all().await;
    assert_eq!(mtime(&bed, path).await, expected, "{path} at the end of the mount");
    assert_eq!(mtime(&bed.remount(), path).await, expected, "{path} after a remount");
}

/// Closes a file 1.5 s after its last write.
async fn close_later(bed: &Bed, file: File) {
    bed.advance(1_500);
    file.close().await.unwrap();
}

/// The time of a small file's last write goes with its PUT.
#[tokio::test]
async fn a_small_file_was_last_changed_by_its_last_write() {
    let bed = Bed::new();
    let file = bed.create("a").await;
    file.write(0, b"one").await.unwrap();
    bed.advance(250);
    file.write(3, b"two").await.unwrap();
    close_later(&bed, file).await;
    assert_eq!(bed.take_ops(), [Op::ListObjects, Op::PutObject]);
    assert_stays(bed, "a", at(250)).await;
}

#[tokio::test]
async fn a_file_that_nobody_wrote_to_was_last_changed_when_it_was_made() {
    let bed = Bed::new();
    bed.advance(125);
    let file = bed.create("a").await;
    close_later(&bed, file).await;
    assert_stays(bed, "a", at(125)).await;
}

/// What an upload tells is fixed when it begins. Nothing more is asked or sent at the close for the time's sake.
#[tokio::test]
async fn a_streamed_file_shows_its_last_write_until_its_close_and_what_its_upload_told_from_then_on() {
    let bed = Bed::new();
    let file = bed.create("a").await;
    bed.advance(100);
    file.write(0, &bytes(1, PART + 1)).await.unwrap();
    bed.advance(200);
    file.write(PART + 1, &bytes(2, PART)).await.unwrap();
    assert_eq!(mtime(&bed, "a").await, at(300));
    let attr = bed.fs.getattr(file.ino).await.unwrap();
    assert_eq!(attr.valid_for, Duration::ZERO, "the kernel must not believe it beyond the close");
    bed.take_ops();
    close_later(&bed, file).await;
    assert!(!bed.take_ops().iter().any(|op| matches!(op, Op::HeadObject | Op::CopyObject | Op::PutObject)));
    assert_stays(bed, "a", at(100)).await;
}

/// An upload that begins when the file is published tells the last write.
#[tokio::test]
async fn a_large_file_that_is_edited_or_appended_to_was_last_changed_by_that() {
    for (mode, offset) in [(WRITE, PART), (APPEND, 3 * PART)] {
        let bed = Bed::new();
        bed.bucket.insert("a", bytes(1, 3 * PART));
        bed.advance(9_000);
        let file = bed.open("a", mode).await.unwrap();
        file.write(offset, b"new").await.unwrap();
        close_later(&bed, file).await;
        assert!(!bed.take_ops().contains(&Op::CopyObject));
        assert_stays(bed, "a", at(9_000)).await;
    }
}

#[tokio::test]
async fn a_file_keeps_its_time_when_it_gets_another_name_or_mode() {
    for is_renamed in [true, false] {
        let bed = Bed::new();
        bed.advance(75);
        bed.put("a", b"content").await.unwrap();
        bed.advance(30_000);
        match is_renamed {
            true => bed.rename("a", "b").await.unwrap(),
            false => drop(bed.chmod("a", 0o600).await.unwrap()),
        }
        assert_stays(bed, if is_renamed { "b" } else { "a" }, at(75)).await;
    }
}

/// A program that writes a file beside the one that it replaces, as rsync and editors do.
#[tokio::test]
async fn a_temporary_file_that_waits_for_its_name_keeps_the_time_of_its_last_write() {
    let bed = Bed::new();
    bed.put("a", b"old").await.unwrap();
    let file = bed.try_create(".a.Xy3z9Q", TEMPORARY).await.unwrap();
    bed.advance(60);
    file.write(0, b"new").await.unwrap();
    close_later(&bed, file).await;
    bed.advance(1_000);
    bed.rename(".a.Xy3z9Q", "a").await.unwrap();
    assert_stays(bed, "a", at(60)).await;
}

/// A file that is still being written when it is renamed.
#[tokio::test]
async fn a_file_that_is_renamed_while_it_is_written_keeps_its_time() {
    let bed = Bed::new();
    let file = bed.create("a").await;
    file.write(0, &bytes(1, 2 * PART)).await.unwrap();
    file.fsync().await.unwrap();
    bed.advance(40);
    file.write(5, b"new").await.unwrap();
    bed.advance(500);
    bed.rename("a", "b").await.unwrap();
    close_later(&bed, file).await;
    assert_stays(bed, "b", at(40)).await;
}

/// `cp` inside the mount: the copy is a new file.
#[tokio::test]
async fn a_copy_is_as_new_as_it_is() {
    for len in [10, 3 * PART] {
        let bed = Bed::new();
        bed.bucket.insert("a", bytes(1, len));
        bed.advance(7_000);
        let (from, to) = (bed.open("a", READ).await.unwrap(), bed.create("b").await);
        bed.fs.copy_range((from.handle, 0), (to.handle, 0), u32::MAX.into()).await.unwrap();
        from.close().await.unwrap();
        close_later(&bed, to).await;
        assert_stays(bed, "b", at(7_000)).await;
    }
}

/// `cp -p`, `tar x`, `rsync -a`: what they set is what there is, and a write after that is a new time.
#[tokio::test]
async fn a_time_that_was_set_holds_until_the_next_write() {
    let set = AttrChange { mtime: Some(at(0) - Duration::from_nanos(1)), ..AttrChange::default() };
    for len in [10, 2 * PART] {
        for writes_again in [false, true] {
            let bed = Bed::new();
            let file = bed.create("a").await;
            file.write(0, &bytes(1, len)).await.unwrap();
            bed.fs.setattr(file.ino, set).await.unwrap();
            bed.advance(20);
            if writes_again {
                file.fsync().await.unwrap();
                file.write(0, b"x").await.unwrap();
            }
            close_later(&bed, file).await;
            assert_stays(bed, "a", if writes_again { at(20) } else { set.mtime.unwrap() }).await;
        }
    }
}

/// An object that another tool made tells no time but the service's.
#[tokio::test]
async fn what_others_made_was_last_changed_when_the_service_says() {
    let bed = Bed::new();
    bed.bucket.insert("a", "x");
    bed.bucket.insert("b", "x");
    bed.advance(50_000);
    assert_eq!(mtime(&bed, "a").await, at(0));
    bed.rename("a", "c").await.unwrap();
    bed.chmod("b", 0o600).await.unwrap();
    bed.publish_all().await;
    assert_eq!((mtime(&bed, "b").await, mtime(&bed, "c").await), (at(0), at(0)));
    assert_stays(bed, "c", at(0)).await;
}

/// As on a disk: `> f` and ftruncate change a file whose length is that already, and truncate by path does not.
#[tokio::test]
async fn emptying_an_empty_file_changes_it() {
    let bed = Bed::new();
    bed.put("a", b"").await.unwrap();
    bed.advance(10_000);
    let file = bed.open("a", WRITE).await.unwrap();
    file.truncate(0).await.unwrap();
    assert_eq!(mtime(&bed, "a").await, at(0), "truncate by path");
    let ftruncate = AttrChange { size: Some(0), modifies: true, ..AttrChange::default() };
    bed.fs.setattr(file.ino, ftruncate).await.unwrap();
    assert_eq!(mtime(&bed, "a").await, at(10_000));
    bed.advance(1_000);
    let emptied = bed.open("a", REPLACE).await.unwrap();
    assert_eq!(mtime(&bed, "a").await, at(11_000));
    emptied.close().await.unwrap();
    close_later(&bed, file).await;
    // Nothing but the time is to be published, which may wait for more.
    bed.publish_all().await;
    assert_stays(bed, "a", at(11_000)).await;
}

#[tokio::test]
async fn links_and_directories_tell_their_times_too() {
    let bed = Bed::new();
    bed.advance(45);
    bed.symlink("l", "target").await.unwrap();
    bed.mkdir("d").await.unwrap();
    bed.advance(2_000);
    bed.publish_all().await;
    for key in ["l", "d/"] {
        assert_eq!(bed.bucket.object_head(key).unwrap().attributes.mtime(), Some(at(45)), "{key}");
    }
    assert_eq!(mtime(&bed, "d").await, at(45));
    assert_stays(bed, "l", at(45)).await;
}

/// Metadata of a foreign tool with a time that is none.
#[tokio::test]
async fn a_time_that_cannot_be_read_is_none() {
    let bed = Bed::new();
    let mut attributes = ObjectAttributes::default();
    attributes.user.insert("mtime".into(), "yesterday".into());
    let key = ObjectKey::new("a").unwrap();
    bed.bucket.put(&key, b"x".to_vec().into(), Crc64::of(b"x"), &attributes).await.unwrap();
    assert_stays(bed, "a", at(0)).await;
}

fn ns(nanoseconds: u64) -> Duration {
    Duration::from_nanos(nanoseconds)
}

/// Python's import caches, Maildir readers and updatedb look whether a directory's time has moved.
#[tokio::test]
async fn a_directory_changes_when_entries_come_and_go() {
    let bed = Bed::new();
    bed.mkdir("d").await.unwrap();
    bed.put("f", b"content").await.unwrap();
    assert_eq!(mtime(&bed, "d").await, at(0));
    let mut now = 0;
    for (step, path) in ["create", "mkdir", "symlink", "rename in", "rename within", "unlink", "rmdir", "rename out"]
        .iter()
        .zip(["d/a", "d/b", "d/c", "d/f", "d/f", "d/a", "d/b", "d/g"])
    {
        bed.advance(1_250);
        now += 1_250;
        bed.take_ops();
        match *step {
            "create" => bed.create(path).await.close().await.unwrap(),
            "mkdir" => drop(bed.mkdir(path).await.unwrap()),
            "symlink" => drop(bed.symlink(path, "target").await.unwrap()),
            "rename in" => bed.rename("f", path).await.unwrap(),
            "rename within" => bed.rename(path, "d/g").await.unwrap(),
            "unlink" => bed.unlink(path).await.unwrap(),
            "rmdir" => bed.rmdir(path).await.unwrap(),
            _ => bed.rename(path, "g").await.unwrap(),
        }
        assert!(!bed.take_ops().contains(&Op::HeadObject), "{step}");
        let attr = bed.stat("d").await.unwrap();
        assert_eq!((attr.mtime, attr.ctime), (at(now), at(now)), "{step}");
    }
    // What is done in a file leaves its directory alone.
    let file = bed.create("d/h").await;
    file.write(0, b"x").await.unwrap();
    bed.advance(5_000);
    file.close().await.unwrap();
    bed.chmod("d/h", 0o600).await.unwrap();
    assert_eq!(mtime(&bed, "d").await, at(now));
}

/// rsync and tar set the times of directories last; a change of other attributes carries what is shown.
#[tokio::test]
async fn a_directory_keeps_the_time_that_was_set_and_remembers_its_own() {
    let bed = Bed::new();
    let ino = bed.mkdir("d").await.unwrap().ino;
    bed.advance(500);
    bed.put("d/a", b"x").await.unwrap();
    bed.publish_all().await;
    bed.take_ops();
    bed.chmod("d", 0o700).await.unwrap();
    bed.publish_all().await;
    assert_eq!(bed.take_ops(), [Op::CopyObject]);
    assert_eq!(bed.bucket.object_head("d/").unwrap().attributes.mtime(), Some(at(500)));
    let set = AttrChange { mtime: Some(at(7) + ns(3)), ..AttrChange::default() };
    bed.fs.setattr(ino, set).await.unwrap();
    assert_eq!(mtime(&bed, "d").await, at(7) + ns(3));
    bed.advance(1_000);
    bed.chmod("d", 0o750).await.unwrap();
    bed.publish_all().await;
    assert_eq!(mtime(&bed, "d").await, at(7) + ns(3));
    assert_eq!(mtime(&bed.remount(), "d").await, at(7) + ns(3));
}

/// It goes on from where it was when the kernel has forgotten it in between.
#[tokio::test]
async fn a_directorys_time_does_not_go_back_when_it_is_forgotten() {
    let bed = Bed::new();
    let ino = bed.mkdir("d").await.unwrap().ino;
    bed.advance(2_000);
    let file = bed.create("d/a").await;
    let of_file = file.ino;
    file.close().await.unwrap();
    assert_eq!(mtime(&bed, "d").await, at(2_000));
    bed.fs.forget(of_file, 100);
    bed.fs.forget(ino, 100);
    assert_eq!(bed.fs.getattr(ino).await, Err(cosmount::fs::FsError::Stale));
    assert_eq!(mtime(&bed, "d").await, at(2_000));
}

/// A prefix without a marker is as new as the newest object that was listed in it.
#[tokio::test]
async fn a_directory_that_others_made_is_as_new_as_what_is_in_it() {
    let bed = Bed::new();
    bed.bucket.insert("d/a", "x");
    bed.advance(3_000);
    bed.bucket.insert("d/b", "x");
    bed.advance(60_000);
    let ino = bed.stat("d").await.unwrap().ino;
    bed.list(ino).await;
    assert_eq!(mtime(&bed, "d").await, at(3_000));
}

#[tokio::test]
async fn every_change_of_attributes_or_name_is_a_change_of_the_inode() {
    let bed = Bed::new();
    bed.put("a", b"content").await.unwrap();
    let mut now = 0;
    let ctime = async |path: &str| bed.stat(path).await.unwrap().ctime;
    assert_eq!(ctime("a").await, at(0));
    for step in 0..4 {
        bed.advance(1_000);
        now += 1_000;
        let ino = bed.stat("a").await.unwrap().ino;
        match step {
            0 => drop(bed.chmod("a", 0o600).await.unwrap()),
            1 => bed.fs.attributes().setxattr(ino, "user.a", b"1", cosmount::fs::XattrMode::Any).await.unwrap(),
            2 => {
                let change = AttrChange { atime: Some(at(5)), ..AttrChange::default() };
                let attr = bed.fs.setattr(ino, change).await.unwrap();
                assert_eq!((attr.atime, attr.mtime), (at(5), at(0)));
            }
            _ => {
                bed.rename("a", "b").await.unwrap();
                bed.rename("b", "a").await.unwrap();
            }
        }
        assert_eq!((ctime("a").await, mtime(&bed, "a").await), (at(now), at(0)), "step {step}");
    }
    bed.publish_all().await;
    bed.advance(60_000);
    assert_eq!(ctime("a").await, at(now), "publishing is no change");
    bed.put("a", b"other").await.unwrap();
    assert_eq!(ctime("a").await, at(now + 60_000));
}

#[tokio::test]
async fn reading_is_noted_as_relatime_has_it() {
    let bed = Bed::new();
    bed.put("a", b"content").await.unwrap();
    bed.mkdir("d").await.unwrap();
    let atime = async |path: &str| bed.stat(path).await.unwrap().atime;
    bed.advance(1_000);
    assert_eq!(bed.read("a").await.unwrap(), b"content");
    bed.list(bed.stat("d").await.unwrap().ino).await;
    assert_eq!((atime("a").await, atime("d").await), (at(1_000), at(1_000)));
    bed.advance(1_000);
    assert_eq!(bed.read("a").await.unwrap(), b"content");
    assert_eq!(atime("a").await, at(1_000));
}

/// rsync sets the time of a directory when it has made it, and again when it has filled it.
#[tokio::test]
async fn a_directory_that_gets_back_the_time_that_its_marker_tells_costs_nothing() {
    let bed = Bed::new();
    let ino = bed.mkdir("d").await.unwrap().ino;
    let set = AttrChange { mtime: Some(at(7)), ..AttrChange::default() };
    bed.fs.setattr(ino, set).await.unwrap();
    bed.publish_all().await;
    bed.put("d/a", b"x").await.unwrap();
    bed.take_ops();
    bed.fs.setattr(ino, set).await.unwrap();
    assert_eq!(mtime(&bed, "d").await, at(7));
    bed.publish_all().await;
    assert_eq!(bed.take_ops(), []);
    assert_eq!(mtime(&bed.remount(), "d").await, at(7));
}

/// `cp -p` of a file onto itself, rsync and backup programs set the time that `stat` has just shown.
#[tokio::test]
async fn a_time_that_is_set_to_what_is_shown_stays_when_a_streamed_file_is_closed() {
    let bed = Bed::new();
    let file = bed.create("a").await;
    for part in 0..3 {
        file.write(part * PART, &bytes(1, PART)).await.unwrap();
        bed.advance(190);
    }
    let shown = mtime(&bed, "a").await;
    assert_eq!(shown, at(380));
    bed.fs.setattr(file.ino, AttrChange { mtime: Some(shown), ..AttrChange::default() }).await.unwrap();
    close_later(&bed, file).await;
    bed.publish_all().await;
    assert_stays(bed, "a", shown).await;
}

#[tokio::test]
async fn reserving_room_that_is_there_changes_a_file() {
    let bed = Bed::new();
    bed.put("a", b"content").await.unwrap();
    for (step, grows) in [true, false].into_iter().enumerate() {
        let file = bed.open("a", WRITE).await.unwrap();
        bed.advance(1_000);
        bed.fs.allocate(file.handle, 0, 7, Allocation::Reserve { grows }).await.unwrap();
        let attr = bed.fs.getattr(file.ino).await.unwrap();
        let now = at(1_000 * (step as u64 + 1));
        assert_eq!((attr.mtime, attr.ctime, attr.size), (now, now, 7), "it grows: {grows}");
        file.close().await.unwrap();
    }
    bed.publish_all().await;
    assert_stays(bed, "a", at(2_000)).await;
}
