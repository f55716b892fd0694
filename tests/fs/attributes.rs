//! Modes, owners and times: what carries them to the bucket, at which cost, and what is read back.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cosmount::fs::{Asker, AttrChange, FsError, FsOptions, Owner, ROOT, XattrMode};
use cosmount::object::{Crc64, ObjectAttributes, ObjectKey};
use cosmount::store::testing::{Fault, Gate};
use cosmount::store::{ObjectStore, Op};

use crate::bed::{Bed, Choices, ME, PART, WRITE, bytes};

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

const CHANGE: AttrChange = AttrChange {
    permissions: Some(0o640),
    uid: Some(7),
    gid: Some(8),
    atime: None,
    mtime: None,
    size: None,
    modifies: false,
};

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

fn described() -> ObjectAttributes {
    let user = [("md5chksum", "old"), ("sha256", "old"), ("s3cmd-attrs", "md5:old/mode:33188"), ("colour", "red")];
    ObjectAttributes {
        content_type: Some("text/x-own".into()),
        cache_control: Some("max-age=5".into()),
        content_disposition: Some("attachment".into()),
        content_encoding: Some("gzip".into()),
        expires: Some("Thu, 16 May 2029 06:45:51 GMT".into()),
        storage_class: Some("STANDARD_IA".into()),
        user: user.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        ..ObjectAttributes::default()
    }
}

/// What a reader over HTTP goes by must be of the bytes that it gets.
#[tokio::test]
async fn metadata_of_the_bytes_go_with_them_and_those_of_the_object_stay() {
    for (how, len) in ["replace", "truncate", "append", "edit", "cut", "chmod", "rename", "touch"]
        .iter()
        .flat_map(|how| [(*how, 100), (*how, 3 * PART)])
    {
        let bed = Bed::new();
        bed.bucket.insert_with("a", bytes(1, len), &described());
        let mut key = "a";
        match how {
            "replace" => bed.put("a", b"new").await.unwrap(),
            "truncate" => {
                let file = bed.open("a", WRITE).await.unwrap();
                file.truncate(0).await.unwrap();
                file.write(0, b"new").await.unwrap();
                file.close().await.unwrap();
            }
            "append" | "edit" => {
                let file = bed.open("a", WRITE).await.unwrap();
                file.write(if how == "append" { len } else { len / 2 }, b"new").await.unwrap();
                file.close().await.unwrap();
            }
            "cut" => {
                let change = AttrChange { size: Some(len as u64 / 2), ..AttrChange::default() };
                bed.fs.setattr(bed.stat("a").await.unwrap().ino, change).await.unwrap();
            }
            "chmod" => drop(bed.chmod("a", 0o600).await.unwrap()),
            "touch" => drop(bed.fs.setattr(bed.stat("a").await.unwrap().ino, change()).await.unwrap()),
            _ => {
                bed.rename("a", "b").await.unwrap();
                key = "b";
            }
        }
        bed.publish_all().await;
        let mut found = bed.bucket.object_head(key).unwrap().attributes;
        for name in ["mode", "uid", "gid", "mtime"] {
            found.user.remove(name);
        }
        let mut expected = described();
        match how {
            "replace" | "truncate" => expected.forget_bytes(),
            "append" | "edit" | "cut" => expected.forget_digests(),
            _ => {}
        }
        assert_eq!(found, expected, "{how} of {len} bytes");
    }
}

/// An object that cosfs or another tool has given to nobody.
#[tokio::test]
async fn an_owner_that_is_no_number_of_one_is_the_mounts() {
    let options = FsOptions { owner: Owner { uid: 50, gid: 60 }, ..FsOptions::default() };
    let bed = Bed::with(Choices { options, ..Choices::default() });
    let mut attributes = ObjectAttributes::default();
    for name in ["uid", "gid"] {
        attributes.user.insert(name.into(), "4294967295".into());
    }
    bed.bucket.insert_with("u", "x", &attributes);
    assert_eq!(bed.stat("u").await.unwrap().owner, Owner { uid: 50, gid: 60 });
    bed.unlink("u").await.unwrap();
    bed.assert_bucket(&[]);
}

fn asker(uid: u32, groups: &'static [u32]) -> Asker {
    Asker { uid, is_in_group: Box::new(move |gid| groups.contains(&gid)) }
}

/// As on a disk: (who, groups, mode before, mode after).
#[tokio::test]
async fn a_change_by_others_than_root_takes_privileges_away() {
    let table: [(u32, &[u32], u32, u32); 8] = [
        (0, &[], 0o6777, 0o6777),
        (1, &[], 0o6777, 0o777),
        (ME.uid, &[ME.gid], 0o6777, 0o777),
        (1, &[], 0o2767, 0o767),
        (1, &[ME.gid], 0o2767, 0o2767),
        (ME.uid, &[], 0o2767, 0o767),
        (1, &[], 0o4666, 0o666),
        (1, &[], 0o666, 0o666),
    ];
    for (uid, groups, before, after) in table {
        let bed = Bed::new();
        bed.put("a", b"x").await.unwrap();
        let ino = bed.chmod("a", before).await.unwrap().ino;
        bed.fs.attributes().drop_privileges(ino, &asker(uid, groups)).await.unwrap();
        assert_eq!(bed.stat("a").await.unwrap().permissions, after, "{uid} {groups:?} {before:o}");
        bed.chmod("a", before).await.unwrap();
        let file = bed.open("a", WRITE).await.unwrap();
        if uid != 0 {
            bed.fs.attributes().drop_privileges_of(file.handle, &asker(uid, groups)).unwrap();
            assert_eq!(bed.stat("a").await.unwrap().permissions, after, "{uid} {groups:?} {before:o}, by handle");
        }
        file.close().await.unwrap();
    }
}

/// `chown(-1, -1)` takes privileges, and is for the owner and for root where there are any to take.
#[tokio::test]
async fn to_set_nothing_takes_privileges_and_needs_the_right_to() {
    let table: [(u32, u32, Result<u32, FsError>); 6] = [
        (0, 0o6777, Ok(0o777)),
        (0, 0o2767, Ok(0o2767)),
        (ME.uid, 0o6777, Ok(0o777)),
        (1, 0o6777, Err(FsError::NotPermitted)),
        (1, 0o2767, Err(FsError::NotPermitted)),
        (1, 0o666, Ok(0o666)),
    ];
    for (uid, before, expected) in table {
        let bed = Bed::new();
        bed.put("a", b"x").await.unwrap();
        let ino = bed.chmod("a", before).await.unwrap().ino;
        let groups: &[u32] = if uid == ME.uid { &[1000] } else { &[] };
        let set = bed.fs.attributes().set_nothing(ino, &asker(uid, groups)).await.map(|attr| attr.permissions);
        assert_eq!(set, expected, "{uid} {before:o}");
        // The kernel asks the same before it lets somebody change what he has open.
        let file = bed.open("a", WRITE).await.unwrap();
        assert!(bed.fs.attributes().set_nothing(ino, &asker(uid, groups)).await.is_ok(), "{uid} {before:o}");
        file.close().await.unwrap();
    }
    let bed = Bed::new();
    let ino = bed.mkdir("d").await.unwrap().ino;
    bed.chmod("d", 0o2777).await.unwrap();
    assert_eq!(bed.fs.attributes().set_nothing(ino, &asker(1, &[])).await.unwrap().permissions, 0o2777);
}

/// `cp -a x/. mnt/`, `rsync -a x/ mnt/` and `tar x` set them.
#[tokio::test]
async fn attributes_of_the_top_last() {
    for prefix in ["", "p/"] {
        let key = if prefix.is_empty() { ".cosmount-root" } else { "p/" };
        let options = FsOptions { prefix: prefix.into(), ..FsOptions::default() };
        let bed = Bed::with(Choices { options, ..Choices::default() });
        bed.fs.setattr(ROOT, change()).await.unwrap();
        bed.fs.attributes().setxattr(ROOT, "user.colour", b"red", XattrMode::Any).await.unwrap();
        bed.publish_all().await;
        bed.assert_bucket(&[(key, b"")]);
        let bed = bed.remount();
        let attr = bed.fs.getattr(ROOT).await.unwrap();
        assert_eq!((attr.permissions, attr.owner, attr.mtime), (0o640, Owner { uid: 7, gid: 8 }, at(1_234_567)));
        assert_eq!(bed.fs.attributes().getxattr(ROOT, "user.colour").await.unwrap(), b"red");
        assert_eq!(bed.take_ops(), [Op::HeadObject], "once in the life of a mount");
        // Nobody sees what carries them.
        assert_eq!(bed.list(ROOT).await, [""; 0]);
        if prefix.is_empty() {
            assert_eq!(bed.stat(key).await.map(|_| ()), Err(FsError::NotPermitted));
            assert_eq!(bed.try_create(key, WRITE).await.map(|_| ()), Err(FsError::NotPermitted));
        }
        let chmod = AttrChange { permissions: Some(0o700), ..AttrChange::default() };
        bed.fs.setattr(ROOT, chmod).await.unwrap();
        bed.publish_all().await;
        assert_eq!(bed.bucket.object_head(key).unwrap().attributes.mtime(), Some(at(1_234_567)));
    }
}

/// A prefix that others have made a marker for shows what that says.
#[tokio::test]
async fn a_mounted_prefix_shows_what_its_marker_says() {
    let options = FsOptions { prefix: "p/".into(), ..FsOptions::default() };
    let bed = Bed::with(Choices { options, ..Choices::default() });
    let mut attributes = ObjectAttributes::default();
    attributes.user.insert("mode".into(), "16841".into());
    bed.bucket.insert_with("p/", "", &attributes);
    bed.advance(9_000);
    let attr = bed.fs.getattr(ROOT).await.unwrap();
    assert_eq!((attr.permissions, attr.mtime), (0o711, at(1_700_000_000)));
}
