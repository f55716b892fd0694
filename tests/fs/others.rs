//! Two mounts of one bucket on one machine, and changes that others make behind the mount's back.

use cosmount::fs::{FsError, Others, ROOT};
use cosmount::store::Op;

use crate::bed::{Bed, Choices, READ};

fn two_mounts() -> (tempfile::TempDir, Bed, Bed) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bucket");
    let first = Bed::with(Choices { others: Some(Others::join(&path).unwrap()), ..Choices::default() });
    let second = first.another(Some(Others::join(&path).unwrap()));
    (directory, first, second)
}

#[tokio::test]
async fn what_one_mount_has_closed_the_other_sees_at_its_open() {
    let (_directory, a, b) = two_mounts();
    assert_eq!(b.stat("f").await, Err(FsError::NotFound));
    for round in 0..5 {
        let content = format!("round {round}");
        a.put("f", content.as_bytes()).await.unwrap();
        assert_eq!(b.stat("f").await.unwrap().size, 7);
        assert_eq!(b.read("f").await.unwrap(), content.as_bytes());
        b.put("f", content.to_uppercase().as_bytes()).await.unwrap();
        assert_eq!(a.read("f").await.unwrap(), content.to_uppercase().as_bytes());
    }
}

#[tokio::test]
async fn names_attributes_and_directories_of_one_mount_show_in_the_other() {
    let (_directory, a, b) = two_mounts();
    a.mkdir("d").await.unwrap();
    assert_eq!(b.list(ROOT).await, ["d"]);
    b.put("d/x", b"x").await.unwrap();
    assert_eq!(a.read("d/x").await.unwrap(), b"x");
    a.chmod("d/x", 0o640).await.unwrap();
    a.chmod("d", 0o700).await.unwrap();
    a.publish_all().await;
    assert_eq!(b.stat("d/x").await.unwrap().permissions, 0o640);
    assert_eq!(b.stat("d").await.unwrap().permissions, 0o700);
    b.rename("d", "e").await.unwrap();
    assert_eq!(a.stat("d").await, Err(FsError::NotFound));
    assert_eq!(a.read("e/x").await.unwrap(), b"x");
    a.unlink("e/x").await.unwrap();
    assert_eq!(b.stat("e/x").await, Err(FsError::NotFound));
    b.rmdir("e").await.unwrap();
    assert_eq!(a.list(ROOT).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_mount_does_not_ask_again_because_of_its_own_changes() {
    let (_directory, a, _b) = two_mounts();
    a.mkdir("d").await.unwrap();
    a.take_ops();
    for name in ["d/1", "d/2", "d/3"] {
        a.put(name, b"content").await.unwrap();
        a.stat(name).await.unwrap();
    }
    assert_eq!(a.take_ops(), [Op::PutObject; 3]);
}

#[tokio::test]
async fn a_reader_that_has_the_old_version_open_is_told_and_the_next_open_sees_the_new_one() {
    let (_directory, a, b) = two_mounts();
    a.put("f", b"old").await.unwrap();
    let reader = b.open("f", READ).await.unwrap();
    a.put("f", b"newer").await.unwrap();
    assert_eq!(reader.read(0, 100).await, Err(FsError::Stale));
    assert_eq!(b.read("f").await.unwrap(), b"newer");
    reader.close().await.unwrap();
}
