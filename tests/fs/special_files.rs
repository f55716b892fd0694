//! Named pipes, sockets and devices.

use cosmount::fs::{FsError, Kind, Special};
use cosmount::store::Op;

use crate::bed::{Bed, ME};

#[tokio::test(start_paused = true)]
async fn a_special_file_is_an_empty_object_with_its_mode_and_one_put() {
    let table = [
        ("fifo", Special::Fifo, Kind::Fifo, "4516", 0),
        ("socket", Special::Socket, Kind::Socket, "49572", 0),
        ("block", Special::BlockDevice(0x0801), Kind::BlockDevice, "24996", 0x0801),
        ("char", Special::CharDevice(0x0103), Kind::CharDevice, "8612", 0x0103),
    ];
    let bed = Bed::new();
    bed.stat("x").await.unwrap_err();
    bed.take_ops();
    for (path, special, kind, ..) in table {
        let attr = bed.mknod(path, special, 0o644).await.unwrap();
        assert_eq!((attr.kind, attr.permissions, attr.size, attr.owner), (kind, 0o644, 0, ME));
        assert_eq!(bed.mknod(path, special, 0o644).await.map(|_| ()), Err(FsError::Exists));
    }
    assert_eq!(bed.take_ops(), []);
    bed.chmod("fifo", 0o600).await.unwrap();
    bed.pass(1100).await;
    assert_eq!(bed.take_ops(), [Op::PutObject; 4]);
    bed.chmod("fifo", 0o644).await.unwrap();
    bed.publish_all().await;
    let bed = bed.remount();
    for (path, _, kind, mode, device) in table {
        let head = bed.bucket.object_head(path).unwrap();
        assert_eq!((head.size, head.attributes.user["mode"].as_str()), (0, mode), "{path}");
        let attr = bed.stat(path).await.unwrap();
        assert_eq!((attr.kind, attr.permissions, attr.device), (kind, 0o644, device), "{path}");
    }
}

/// `d_type` is what `find -type p` goes by.
#[tokio::test]
async fn a_listing_tells_what_an_empty_object_is() {
    let bed = Bed::new();
    bed.mknod("fifo", Special::Fifo, 0o600).await.unwrap();
    bed.put("file", b"").await.unwrap();
    bed.publish_all().await;
    let bed = bed.remount();
    let root = bed.fs.opendir(cosmount::fs::ROOT).await.unwrap();
    let entries = bed.fs.readdir(root, 0, 10).await.unwrap();
    let kinds: Vec<(&str, Kind)> = entries.iter().map(|entry| (entry.name.as_str(), entry.kind)).collect();
    assert_eq!(kinds[2..], [("fifo", Kind::Fifo), ("file", Kind::File)]);
}

#[tokio::test]
async fn special_files_are_renamed_replaced_and_removed_like_files() {
    let bed = Bed::new();
    bed.mknod("a", Special::Fifo, 0o600).await.unwrap();
    bed.rename("a", "b").await.unwrap();
    bed.put("c", b"content").await.unwrap();
    bed.rename("b", "c").await.unwrap();
    bed.publish_all().await;
    bed.assert_bucket(&[("c", b"")]);
    assert_eq!(bed.stat("c").await.unwrap().kind, Kind::Fifo);
    bed.rename("c", "d").await.unwrap();
    assert_eq!(bed.stat("d").await.unwrap().kind, Kind::Fifo);
    bed.unlink("d").await.unwrap();
    bed.mknod("e", Special::Socket, 0o600).await.unwrap();
    bed.unlink("e").await.unwrap();
    bed.publish_all().await;
    bed.assert_bucket(&[]);
}

/// Somebody else's object may say what it likes of itself: its bytes can be read.
#[tokio::test]
async fn an_object_with_content_is_a_file_whatever_its_mode_says() {
    let bed = Bed::new();
    bed.mknod("a", Special::Fifo, 0o600).await.unwrap();
    bed.publish_all().await;
    let attributes = bed.bucket.object_head("a").unwrap().attributes;
    bed.bucket.insert_with("a", &b"content"[..], &attributes);
    let bed = bed.remount();
    assert_eq!(bed.stat("a").await.unwrap().kind, Kind::File);
    assert_eq!(bed.read("a").await.unwrap(), b"content");
    bed.put("a", b"").await.unwrap();
    assert_eq!(bed.stat("a").await.unwrap().kind, Kind::File, "what was opened as a file stays one");
}
