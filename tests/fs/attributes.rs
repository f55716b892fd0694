//! Modes, owners and times: what carries them to the bucket, at which cost, and what is read back.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cosmount::fs::{AttrChange, FsOptions, Owner};
use cosmount::store::{Fault, Gate, ObjectStore, Op};
use cosmount::wire::{Crc64, ObjectAttributes, ObjectKey};

use crate::bed::{Bed, Choices, ME, PART, WRITE, bytes};

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

const CHANGE: AttrChange = AttrChange { permissions: Some(0o640), uid: Some(7), gid: Some(8), mtime: None, size: None };

fn change() -> AttrChange {
    AttrChange { mtime: Some(at(1_234_567)), ..CHANGE }
}

async fn assert_changed(bed: Bed, path: &str) {
    let bed = bed.remount();
    let attr = bed.stat(path).await.unwrap();
    assert_eq!((attr.permissions, attr.owner, attr.mtime), (0o640, Owner { uid: 7, gid: 8 }, at(1_234_567)));
}

/// `cp -p` of a small file: everything is known before the close.
#[tokio::test]
async fn attributes_of_a_new_file_travel_with_its_put() {
    let bed = Bed::new();
    let file = bed.create("a").await;
    file.write(0, b"content").await.unwrap();
    bed.take_ops();
    let attr = bed.fs.setattr(file.ino, change()).await.unwrap();
    assert_eq!((attr.permissions, attr.mtime), (0o640, at(1_234_567)));
    file.close().await.unwrap();
    assert_eq!(bed.take_ops(), [Op::PutObject]);
    assert_changed(bed, "a").await;
}

/// tar sets them before the data of a large file leave.
#[tokio::test]
async fn attributes_set_before_the_first_part_travel_with_the_initiate() {
    let bed = Bed::new();
    let file = bed.create("a").await;
    bed.fs.setattr(file.ino, CHANGE).await.unwrap();
    file.write(0, &bytes(1, 2 * PART)).await.unwrap();
    file.close().await.unwrap();
    assert_eq!(bed.bucket.count(Op::CopyObject), 0);
    let bed = bed.remount();
    assert_eq!(bed.stat("a").await.unwrap().permissions, 0o640);
}

/// `cp -p` of a large file: the metadata were fixed when the upload began.
#[tokio::test]
async fn attributes_set_after_the_initiate_cost_one_copy_at_close() {
    let bed = Bed::new();
    let file = bed.create("a").await;
    file.write(0, &bytes(1, 2 * PART)).await.unwrap();
    for permissions in [0o600, 0o644] {
        let change = AttrChange { permissions: Some(permissions), ..AttrChange::default() };
        bed.fs.setattr(file.ino, change).await.unwrap();
    }
    bed.fs.setattr(file.ino, change()).await.unwrap();
    file.close().await.unwrap();
    assert_eq!(bed.bucket.count(Op::CopyObject), 1);
    assert_eq!(bed.bucket.ops().last(), Some(&Op::CopyObject));
    assert_changed(bed, "a").await;
}

#[tokio::test]
async fn attributes_of_a_closed_file_cost_one_copy() {
    let bed = Bed::new();
    bed.put("a", b"content").await.unwrap();
    let ino = bed.stat("a").await.unwrap().ino;
    bed.take_ops();
    bed.fs.setattr(ino, change()).await.unwrap();
    assert_eq!(bed.take_ops(), [], "there may be more");
    bed.publish_all().await;
    assert_eq!(bed.take_ops(), [Op::CopyObject]);
    bed.fs.setattr(ino, change()).await.unwrap();
    bed.publish_all().await;
    assert_eq!(bed.take_ops(), [], "they are so already");
    bed.assert_bucket(&[("a", b"content")]);
    assert_changed(bed, "a").await;
}

#[tokio::test]
async fn attributes_of_an_open_published_file_cost_one_copy_after_its_close() {
    let bed = Bed::new();
    bed.bucket.insert("a", bytes(1, 3 * PART));
    let file = bed.open("a", WRITE).await.unwrap();
    bed.take_ops();
    bed.fs.setattr(file.ino, change()).await.unwrap();
    file.close().await.unwrap();
    assert_eq!(bed.take_ops(), [], "there may be more");
    bed.publish_all().await;
    assert_eq!(bed.take_ops(), [Op::CopyObject]);
    bed.assert_bucket(&[("a", &bytes(1, 3 * PART))]);
    assert_changed(bed, "a").await;
}

#[tokio::test]
async fn attributes_set_while_the_file_is_being_published_are_not_lost() {
    let gate = Gate::new();
    let bed = Bed::with_faults([Fault::hold(Op::PutObject, &gate)]);
    let file = bed.create("a").await;
    file.write(0, b"content").await.unwrap();
    let mut fsync = Box::pin(file.fsync());
    assert!(futures_util::poll!(&mut fsync).is_pending());
    bed.fs.setattr(file.ino, change()).await.unwrap();
    gate.open();
    fsync.await.unwrap();
    file.close().await.unwrap();
    assert_changed(bed, "a").await;
}

#[tokio::test]
async fn a_write_after_a_time_was_set_is_a_new_time() {
    let bed = Bed::new();
    bed.put("a", b"content").await.unwrap();
    bed.fs.setattr(bed.stat("a").await.unwrap().ino, change()).await.unwrap();
    let file = bed.open("a", WRITE).await.unwrap();
    bed.advance(3000);
    file.write(0, b"C").await.unwrap();
    assert_eq!(bed.stat("a").await.unwrap().mtime, at(1_700_000_003));
    file.close().await.unwrap();
    assert_eq!(bed.stat("a").await.unwrap().mtime, at(1_700_000_003));
    let attr = bed.remount().stat("a").await.unwrap();
    assert_eq!((attr.mtime, attr.permissions), (at(1_700_000_003), 0o640));
}

#[tokio::test]
async fn attributes_of_a_directory_are_its_markers() {
    for made_here in [true, false] {
        let bed = Bed::new();
        match made_here {
            true => drop(bed.mkdir("d").await.unwrap()),
            false => bed.bucket.insert("d/x", "x"),
        }
        let ino = bed.stat("d").await.unwrap().ino;
        bed.take_ops();
        let attr = bed.fs.setattr(ino, CHANGE).await.unwrap();
        assert_eq!((attr.permissions, attr.owner), (0o640, Owner { uid: 7, gid: 8 }));
        bed.publish_all().await;
        // A prefix without a marker gets one.
        assert_eq!(bed.take_ops(), [if made_here { Op::CopyObject } else { Op::PutObject }]);
        assert_eq!(bed.bucket.object_head("d/").unwrap().attributes.user["mode"], (0o040_640).to_string());
    }
}

#[tokio::test]
async fn objects_of_other_tools_get_the_options_defaults_and_their_own_metadata() {
    let options = FsOptions {
        owner: Owner { uid: 50, gid: 60 },
        file_mode: 0o666,
        dir_mode: 0o777,
        umask: 0o022,
        ..FsOptions::default()
    };
    let bed = Bed::with(Choices { options, ..Choices::default() });
    bed.bucket.insert("plain", "x");
    bed.bucket.insert("d/x", "x");
    let user = [("mode", "33279"), ("uid", "1"), ("gid", "nonsense"), ("mtime", "1557989151.5")];
    let user = user.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let attributes = ObjectAttributes { user, ..ObjectAttributes::default() };
    let key = ObjectKey::new("foreign").unwrap();
    bed.bucket.put(&key, b"x".to_vec().into(), Crc64::of(b"x"), &attributes).await.unwrap();
    let plain = bed.stat("plain").await.unwrap();
    assert_eq!((plain.permissions, plain.owner), (0o644, Owner { uid: 50, gid: 60 }));
    assert_eq!(plain.mtime, at(1_700_000_000));
    assert_eq!(bed.stat("d").await.unwrap().permissions, 0o755);
    let foreign = bed.stat("foreign").await.unwrap();
    assert_eq!((foreign.permissions, foreign.owner), (0o755, Owner { uid: 1, gid: 60 }));
    assert_eq!(foreign.mtime, at(1_557_989_151) + Duration::from_millis(500));
}

#[tokio::test]
async fn a_new_file_belongs_to_its_maker() {
    let bed = Bed::new();
    bed.put("a", b"x").await.unwrap();
    let attr = bed.remount().stat("a").await.unwrap();
    assert_eq!((attr.owner, attr.permissions), (ME, 0o644));
}

#[tokio::test]
async fn a_directory_with_the_set_group_id_bit_gives_its_group_to_what_is_made_in_it() {
    let bed = Bed::new();
    let directory = bed.mkdir("d").await.unwrap();
    let change = AttrChange { permissions: Some(0o2775), gid: Some(77), ..AttrChange::default() };
    bed.fs.setattr(directory.ino, change).await.unwrap();
    bed.create("d/f").await.close().await.unwrap();
    let below = bed.mkdir("d/e").await.unwrap();
    let link = bed.symlink("d/l", "f").await.unwrap();
    let file = bed.stat("d/f").await.unwrap();
    assert_eq!([file.owner.gid, below.owner.gid, link.owner.gid], [77; 3]);
    assert_eq!((file.owner.uid, file.permissions, below.permissions), (ME.uid, 0o644, 0o2755));
    assert_eq!(bed.mkdir("other").await.unwrap().owner, ME);
}
