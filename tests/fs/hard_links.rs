//! Hard links, which are copies.

use cosmount::fs::{FsError, FsOptions, HardLinks, Kind, ROOT, Special};
use cosmount::store::testing::Fault;
use cosmount::store::{Op, StoreErrorKind};

use crate::bed::{Bed, Choices, ME, TEMPORARY, WRITE, bytes};

#[tokio::test]
async fn a_link_is_a_copy_on_the_service_and_a_file_of_its_own() {
    let bed = Bed::new();
    bed.put("a.txt", b"content").await.unwrap();
    bed.chmod("a.txt", 0o640).await.unwrap();
    bed.publish_all().await;
    let before = bed.stat("a.txt").await.unwrap();
    bed.advance(1000);
    bed.take_ops();
    let link = bed.link("a.txt", "b.html").await.unwrap();
    assert_eq!(bed.take_ops(), [Op::CopyObject]);
    assert_ne!(link.ino, before.ino);
    assert_eq!((link.size, link.permissions, link.owner, link.mtime), (7, 0o640, ME, before.mtime));
    assert_eq!((link.links, bed.stat("a.txt").await.unwrap().links), (1, 1));
    assert_eq!(bed.bucket.object_head("b.html").unwrap().attributes.content_type.as_deref(), Some("text/html"));
    bed.put("a.txt", b"other").await.unwrap();
    bed.chmod("b.html", 0o600).await.unwrap();
    bed.publish_all().await;
    bed.assert_bucket(&[("a.txt", b"other"), ("b.html", b"content")]);
    assert_eq!(bed.stat("a.txt").await.unwrap().permissions, 0o640);
    assert_eq!(bed.link("a.txt", "b.html").await.map(|_| ()), Err(FsError::Exists));
    assert_eq!(bed.link("none", "c").await.map(|_| ()), Err(FsError::NotFound));
}

/// `git clone --local` and git-annex look whether what they have linked has the same number.
#[tokio::test]
async fn a_link_looks_like_its_source_for_a_moment_while_neither_is_changed() {
    let bed = Bed::new();
    for name in ["a", "b", "c"] {
        bed.put(name, b"content").await.unwrap();
    }
    let mut links = Vec::new();
    for (from, to) in [("a", "a2"), ("b", "b2"), ("c", "c2")] {
        let source = bed.stat(from).await.unwrap().ino;
        let link = bed.link(from, to).await.unwrap();
        assert_eq!((bed.fs.shown_number(link.ino), link.valid_for.as_secs()), (source, 0));
        assert_eq!(bed.fs.shown_number(source), source);
        links.push(link.ino);
    }
    bed.put("a", b"other").await.unwrap();
    assert_eq!(bed.fs.shown_number(links[0]), links[0], "the source is another file now");
    bed.put("b2", b"other").await.unwrap();
    assert_eq!(bed.fs.shown_number(links[1]), links[1], "the link is");
    bed.advance(1000);
    assert_eq!(bed.fs.shown_number(links[2]), links[2], "the moment is over");
}

/// As git makes its objects.
#[tokio::test(start_paused = true)]
async fn a_temporary_file_that_is_linked_to_its_final_name_is_one_put() {
    let bed = Bed::new();
    bed.mkdir("objects").await.unwrap();
    bed.take_ops();
    let content = bytes(3, 700_000);
    let file = bed.try_create("objects/tmp_obj_1", TEMPORARY).await.unwrap();
    file.write(0, &content[..1000]).await.unwrap();
    file.write(1000, &content[1000..]).await.unwrap();
    file.close().await.unwrap();
    bed.link("objects/tmp_obj_1", "objects/final").await.unwrap();
    assert_eq!(bed.read("objects/tmp_obj_1").await.unwrap(), content);
    bed.unlink("objects/tmp_obj_1").await.unwrap();
    bed.pass(6000).await;
    assert_eq!(bed.take_ops(), [Op::PutObject]);
    assert_eq!(bed.bucket.keys(), ["objects/", "objects/final"]);
    assert_eq!(bed.read("objects/final").await.unwrap(), content);
}

#[tokio::test]
async fn what_is_being_written_is_published_before_it_is_linked() {
    let bed = Bed::new();
    let file = bed.try_create("a", WRITE).await.unwrap();
    file.write(0, b"one").await.unwrap();
    bed.link("a", "b").await.unwrap();
    bed.assert_bucket(&[("a", b"one"), ("b", b"one")]);
    file.write(3, b" two").await.unwrap();
    file.close().await.unwrap();
    bed.assert_bucket(&[("a", b"one two"), ("b", b"one")]);
}

#[tokio::test]
async fn attributes_that_wait_go_to_the_link_with_the_copy() {
    let bed = Bed::new();
    bed.put("a", b"content").await.unwrap();
    bed.take_ops();
    bed.chmod("a", 0o600).await.unwrap();
    assert_eq!(bed.link("a", "b").await.unwrap().permissions, 0o600);
    assert_eq!(bed.take_ops(), [Op::CopyObject]);
    bed.publish_all().await;
    let bed = bed.remount();
    let permissions = (bed.stat("a").await.unwrap().permissions, bed.stat("b").await.unwrap().permissions);
    assert_eq!(permissions, (0o600, 0o600));
}

#[tokio::test]
async fn links_and_special_files_are_linked_as_what_they_are_and_directories_not() {
    let bed = Bed::new();
    bed.symlink("l", "target").await.unwrap();
    bed.mknod("f", Special::Fifo, 0o600).await.unwrap();
    bed.mkdir("d").await.unwrap();
    assert_eq!(bed.link("l", "l2").await.unwrap().kind, Kind::Symlink);
    assert_eq!(bed.link("f", "f2").await.unwrap().kind, Kind::Fifo);
    assert_eq!(bed.link("d", "d2").await.map(|_| ()), Err(FsError::NotPermitted));
    bed.publish_all().await;
    assert_eq!(bed.link("l", "l3").await.unwrap().kind, Kind::Symlink);
    let bed = bed.remount();
    for link in ["l", "l2", "l3"] {
        assert_eq!(bed.readlink(link).await.unwrap(), "target");
    }
    assert_eq!(bed.stat("f2").await.unwrap().kind, Kind::Fifo);
}

#[tokio::test]
async fn a_copy_that_fails_leaves_no_name() {
    let bed = Bed::new();
    bed.put("a", b"content").await.unwrap();
    bed.faults.inject(Fault::nth(Op::CopyObject, 1, StoreErrorKind::Denied));
    assert_eq!(bed.link("a", "b").await.map(|_| ()), Err(FsError::Remote(StoreErrorKind::Denied)));
    assert_eq!(bed.stat("b").await, Err(FsError::NotFound));
    assert_eq!(bed.list(ROOT).await, ["a"]);
    bed.link("a", "b").await.unwrap();
    bed.assert_bucket(&[("a", b"content"), ("b", b"content")]);
}

#[tokio::test]
async fn links_are_refused_where_that_is_chosen() {
    let options = FsOptions { hard_links: HardLinks::Refuse, ..FsOptions::default() };
    let bed = Bed::with(Choices { options, ..Choices::default() });
    bed.put("a", b"content").await.unwrap();
    assert_eq!(bed.link("a", "b").await.map(|_| ()), Err(FsError::NotPermitted));
}

/// Backup programs look at the ctime for what has got another name.
#[tokio::test]
async fn a_link_changes_its_source_as_on_a_disk() {
    let bed = Bed::new();
    bed.put("a", b"content").await.unwrap();
    let before = bed.stat("a").await.unwrap();
    bed.advance(1000);
    let link = bed.link("a", "b").await.unwrap();
    let source = bed.stat("a").await.unwrap();
    assert_eq!((source.mtime, source.ctime), (before.mtime, bed.clock.now()));
    assert_eq!((link.mtime, link.ctime), (before.mtime, bed.clock.now()), "it looks like its source");
}
