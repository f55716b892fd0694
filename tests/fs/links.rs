//! Symbolic links and extended attributes.

use cosmount::fs::{AttrChange, FsError, Kind, XattrMode};
use cosmount::object::ObjectAttributes;
use cosmount::store::Op;
use cosmount::store::testing::{Fault, Gate};
use futures_util::poll;

use crate::bed::{Bed, ME, PART, TEMPORARY, WRITE, bytes};

#[tokio::test(start_paused = true)]
async fn a_link_is_an_object_as_cosfs_makes_it_with_one_put() {
    let bed = Bed::new();
    bed.stat("x").await.unwrap_err();
    bed.take_ops();
    let attr = bed.symlink("l", "../no/where").await.unwrap();
    assert_eq!((attr.kind, attr.permissions, attr.size, attr.owner), (Kind::Symlink, 0o777, 11, ME));
    assert_eq!(bed.readlink("l").await.unwrap(), "../no/where");
    assert_eq!(bed.take_ops(), []);
    bed.pass(1100).await;
    assert_eq!(bed.take_ops(), [Op::PutObject]);
    bed.assert_bucket(&[("l", b"../no/where")]);
    assert_eq!(bed.bucket.object_head("l").unwrap().attributes.user["mode"], "41471");
    assert_eq!(bed.readlink("l").await.unwrap(), "../no/where");
    let bed = bed.remount();
    assert_eq!(bed.stat("l").await.unwrap().kind, Kind::Symlink);
    assert_eq!(bed.readlink("l").await.unwrap(), "../no/where");
    bed.take_ops();
    assert_eq!(bed.readlink("l").await.unwrap(), "../no/where");
    assert_eq!(bed.take_ops(), [], "the second time it is known");
}

#[tokio::test]
async fn links_are_renamed_replaced_and_removed_like_files() {
    let bed = Bed::new();
    bed.symlink("a", "1").await.unwrap();
    assert_eq!(bed.symlink("a", "2").await.map(|_| ()), Err(FsError::Exists));
    bed.rename("a", "b").await.unwrap();
    bed.put("c", b"content").await.unwrap();
    assert_eq!(bed.readlink("c").await, Err(FsError::Invalid));
    bed.rename("b", "c").await.unwrap();
    assert_eq!(bed.readlink("c").await.unwrap(), "1");
    bed.publish_all().await;
    bed.assert_bucket(&[("c", b"1")]);
    bed.symlink("d", "3").await.unwrap();
    bed.unlink("d").await.unwrap();
    bed.publish_all().await;
    bed.assert_bucket(&[("c", b"1")]);
}

#[tokio::test]
async fn extended_attributes_are_set_listed_and_removed() {
    let bed = Bed::new();
    bed.put("a", b"content").await.unwrap();
    let ino = bed.stat("a").await.unwrap().ino;
    let fs = &bed.fs;
    assert_eq!(fs.attributes().getxattr(ino, "user.a").await, Err(FsError::NoSuchAttribute));
    assert_eq!(fs.attributes().setxattr(ino, "user.a", b"1", XattrMode::Replace).await, Err(FsError::NoSuchAttribute));
    fs.attributes().setxattr(ino, "user.a", b"1", XattrMode::Create).await.unwrap();
    assert_eq!(fs.attributes().setxattr(ino, "user.a", b"2", XattrMode::Create).await, Err(FsError::Exists));
    fs.attributes().setxattr(ino, "user.a", b"\0\xff", XattrMode::Replace).await.unwrap();
    fs.attributes().setxattr(ino, "user.b", b"", XattrMode::Any).await.unwrap();
    assert_eq!(fs.attributes().setxattr(ino, "security.x", b"", XattrMode::Any).await, Err(FsError::NotSupported));
    assert_eq!(fs.attributes().setxattr(ino, "user.", b"", XattrMode::Any).await, Err(FsError::Invalid));
    assert_eq!(fs.attributes().getxattr(ino, "user.").await, Err(FsError::Invalid));
    assert_eq!(fs.attributes().removexattr(ino, "user.").await, Err(FsError::Invalid));
    assert_eq!(fs.attributes().removexattr(ino, "user.none").await, Err(FsError::NoSuchAttribute));
    bed.publish_all().await;
    let bed = bed.remount();
    let ino = bed.stat("a").await.unwrap().ino;
    assert_eq!(bed.fs.attributes().listxattr(ino).await.unwrap(), ["user.a", "user.b"]);
    assert_eq!(bed.fs.attributes().getxattr(ino, "user.a").await.unwrap(), b"\0\xff");
    bed.fs.attributes().removexattr(ino, "user.a").await.unwrap();
    bed.fs.attributes().removexattr(ino, "user.b").await.unwrap();
    bed.publish_all().await;
    assert!(!bed.bucket.object_head("a").unwrap().attributes.user.contains_key("xattr"));
}

#[tokio::test]
async fn a_file_tells_how_it_fares_by_attributes_that_no_list_has() {
    let bed = Bed::new();
    let file = bed.create("a").await;
    let ino = bed.stat("a").await.unwrap().ino;
    let told = async |ino, name: &str| {
        let value = bed.fs.attributes().getxattr(ino, &format!("user.cosmount.{name}")).await;
        value.map(|value| String::from_utf8(value).unwrap())
    };
    let nothing = || Err(FsError::NoSuchAttribute);
    assert_eq!((told(ino, "state").await, told(ino, "etag").await), (Ok("dirty".into()), nothing()));
    let content = bytes(1, 2 * PART + 5);
    file.write(0, &content).await.unwrap();
    bed.settle().await;
    assert_eq!(told(ino, "parts").await, Ok("2/2".into()));
    file.close().await.unwrap();
    assert_eq!((told(ino, "state").await, told(ino, "parts").await), (Ok("clean".into()), Ok("3/3".into())));
    let head = bed.bucket.object_head("a").unwrap();
    assert_eq!(told(ino, "etag").await, Ok(head.etag.text().into_owned()));
    assert_eq!(told(ino, "crc64").await, Ok(head.crc64.unwrap().to_string()));
    assert_eq!((told(ino, "error").await, told(ino, "other").await), (nothing(), nothing()));

    let waiting = bed.try_create("w", TEMPORARY).await.unwrap();
    waiting.write(0, b"waits").await.unwrap();
    waiting.close().await.unwrap();
    let waits = bed.stat("w").await.unwrap().ino;
    assert_eq!(told(waits, "state").await, Ok("waiting".into()));

    let attributes = bed.fs.attributes();
    let set = attributes.setxattr(ino, "user.cosmount.state", b"clean", XattrMode::Any).await;
    let removed = attributes.removexattr(ino, "user.cosmount.state").await;
    assert_eq!((set, removed), (Err(FsError::NotPermitted), Err(FsError::NotPermitted)));
    assert_eq!(attributes.listxattr(ino).await.unwrap(), [""; 0]);
    let directory = bed.mkdir("d").await.unwrap().ino;
    assert_eq!(told(directory, "state").await, nothing());
}

#[tokio::test]
async fn directories_have_extended_attributes_too() {
    let bed = Bed::new();
    bed.mkdir("d").await.unwrap();
    let ino = bed.stat("d").await.unwrap().ino;
    bed.fs.attributes().setxattr(ino, "user.a", b"1", XattrMode::Any).await.unwrap();
    bed.publish_all().await;
    let bed = bed.remount();
    let ino = bed.stat("d").await.unwrap().ino;
    assert_eq!(bed.fs.attributes().getxattr(ino, "user.a").await.unwrap(), b"1");
}

/// An object with the mode of a link whose content is no path that the kernel would take.
#[tokio::test]
async fn what_cannot_be_a_link_is_a_file_whose_bytes_can_be_read() {
    let mut attributes = cosmount::object::ObjectAttributes::default();
    attributes.user.insert("mode".into(), "41471".into());
    let long = vec![b'l'; 4096];
    for content in [&long[..], b"", b"a\0b"] {
        let bed = Bed::new();
        bed.bucket.insert_with("l", content.to_vec(), &attributes);
        let mut attr = bed.stat("l").await.unwrap();
        if content == b"a\0b" {
            // Only its bytes tell, and the kernel looks again then.
            assert_eq!(bed.fs.readlink(attr.ino).await, Err(FsError::Stale));
            let found = bed.stat("l").await.unwrap();
            assert_ne!(found.ino, attr.ino);
            attr = found;
        }
        assert_eq!((attr.kind, attr.size), (Kind::File, content.len() as u64));
        assert_eq!(bed.read("l").await.unwrap(), content);
        bed.chmod("l", 0o600).await.unwrap();
        bed.unlink("l").await.unwrap();
    }
    let bed = Bed::new();
    bed.bucket.insert_with("l", long[..4095].to_vec(), &attributes);
    assert_eq!(bed.stat("l").await.unwrap().kind, Kind::Symlink);
}

#[tokio::test]
async fn an_extended_attribute_needs_a_name_behind_its_prefix() {
    let bed = Bed::new();
    bed.put("a", b"content").await.unwrap();
    let ino = bed.stat("a").await.unwrap().ino;
    assert_eq!(bed.fs.attributes().setxattr(ino, "user.", b"1", XattrMode::Any).await, Err(FsError::Invalid));
    assert_eq!(bed.fs.attributes().getxattr(ino, "user.").await, Err(FsError::Invalid));
    assert_eq!(bed.fs.attributes().removexattr(ino, "user.").await, Err(FsError::Invalid));
}

/// `ln -s 2 new; mv -T new current`, right after the same with another target.
#[tokio::test]
async fn a_new_link_that_is_replaced_is_a_link_all_the_time() {
    let bed = Bed::new();
    let before = bed.symlink("current", "1").await.unwrap();
    bed.symlink("new", "2").await.unwrap();
    let gate = Gate::new();
    bed.faults.inject(Fault::hold(Op::PutObject, &gate));
    let mut renaming = Box::pin(bed.rename("new", "current"));
    assert!(poll!(&mut renaming).is_pending());
    gate.reached_by(1).await;
    let attr = bed.stat("current").await.unwrap();
    assert_eq!((attr.ino, attr.kind, attr.size), (before.ino, Kind::Symlink, 1));
    gate.open();
    renaming.await.unwrap();
    assert_eq!(bed.readlink("current").await.unwrap(), "2");
    bed.publish_all().await;
    bed.assert_bucket(&[("current", b"2")]);
}

/// The kernel takes an inode that changes its type for broken.
#[tokio::test]
async fn a_file_that_its_mode_calls_something_else_stays_one_when_it_is_cut_while_attributes_wait() {
    // A link's, with a target that is too long, and a pipe's, with content.
    for (mode, size) in [("41471", 4), ("4516", 0)] {
        for by_path in [true, false] {
            let bed = Bed::new();
            let mut attributes = ObjectAttributes::default();
            attributes.user.insert("mode".into(), mode.into());
            bed.bucket.insert_with("f", vec![b'x'; 5000], &attributes);
            assert_eq!(bed.chmod("f", 0o600).await.unwrap().kind, Kind::File);
            let ino = bed.stat("f").await.unwrap().ino;
            let file = if by_path { None } else { Some(bed.open("f", WRITE).await.unwrap()) };
            let cut = AttrChange { size: Some(size), ..AttrChange::default() };
            let attr = bed.fs.setattr(ino, cut).await.unwrap();
            assert_eq!((attr.kind, attr.size, attr.permissions), (Kind::File, size, 0o600));
            if let Some(file) = file {
                file.close().await.unwrap();
            }
            bed.publish_all().await;
            let attr = bed.stat("f").await.unwrap();
            assert_eq!((attr.ino, attr.kind, attr.size, attr.permissions), (ino, Kind::File, size, 0o600));
            assert_eq!(bed.remount().stat("f").await.unwrap().kind, Kind::File);
        }
    }
}
