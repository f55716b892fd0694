//! What is in the bucket stays there where the options say so, and names that are excluded are not there at all.

use std::time::Duration;

use cosmount::fs::{Deletes, Excluded, FileName, FsError, FsOptions, Kind, Overwrites, ROOT};
use cosmount::store::testing::Fault;
use cosmount::store::{Op, StoreErrorKind};
use cosmount::upload::OnConflict;

use crate::bed::{APPEND, Bed, Choices, ME, READ, REPLACE, TEMPORARY, WRITE};

const REFUSED: FsError = FsError::NotPermitted;

fn bed(options: FsOptions) -> Bed {
    let bed = Bed::with(Choices { options, ..Choices::default() });
    for (key, content) in [("a", "one"), ("d/", ""), ("d/b", "two"), ("e/", "")] {
        bed.bucket.insert(key, content);
    }
    bed
}

fn keeping() -> Bed {
    bed(FsOptions { deletes: Deletes::Refused, ..FsOptions::default() })
}

fn with_trash() -> Bed {
    bed(FsOptions { deletes: Deletes::ToTrash("t/x".into()), ..FsOptions::default() })
}

#[tokio::test]
async fn nothing_that_is_in_the_bucket_is_removed_or_loses_its_name() {
    let bed = keeping();
    assert_eq!(bed.unlink("a").await, Err(REFUSED));
    let open = bed.open("a", READ).await.unwrap();
    assert_eq!(bed.unlink("a").await, Err(REFUSED));
    assert_eq!(open.read_all().await.unwrap(), b"one");
    open.close().await.unwrap();
    assert_eq!(bed.rmdir("e").await, Err(REFUSED));
    assert_eq!(bed.rmdir("d").await, Err(FsError::NotEmpty));
    assert_eq!(bed.rename("a", "c").await, Err(REFUSED));
    assert_eq!(bed.rename("a", "d/b").await, Err(REFUSED));
    assert_eq!(bed.rename("d", "f").await, Err(REFUSED));
    bed.assert_bucket(&[("a", b"one"), ("d/", b""), ("d/b", b"two"), ("e/", b"")]);
    // What is in no bucket yet has no such protection: programs write another file and rename it.
    let new = bed.try_create("a.tmp", TEMPORARY).await.unwrap();
    new.write(0, b"three").await.unwrap();
    new.close().await.unwrap();
    bed.rename("a.tmp", "a").await.unwrap();
    let new = bed.try_create("b.tmp", TEMPORARY).await.unwrap();
    bed.unlink("b.tmp").await.unwrap();
    new.close().await.unwrap();
    bed.assert_bucket(&[("a", b"three"), ("d/", b""), ("d/b", b"two"), ("e/", b"")]);
}

#[tokio::test]
async fn nothing_that_is_in_the_bucket_is_replaced() {
    let options = FsOptions { overwrites: Overwrites::Refused, ..FsOptions::default() };
    let bed = Bed::with(Choices { options, on_conflict: OnConflict::Fail, ..Choices::default() });
    bed.bucket.insert("a", "one");
    bed.bucket.insert("b", "two");
    for mode in [WRITE, REPLACE, APPEND] {
        assert_eq!(bed.open("a", mode).await.err(), Some(REFUSED));
    }
    assert_eq!(bed.rename("b", "a").await, Err(REFUSED));
    let ino = bed.stat("a").await.unwrap().ino;
    let cut = cosmount::fs::AttrChange { size: Some(1), ..Default::default() };
    assert_eq!(bed.fs.setattr(ino, cut).await.err(), Some(REFUSED));
    let new = bed.try_create("new.tmp", TEMPORARY).await.unwrap();
    new.write(0, b"x").await.unwrap();
    new.close().await.unwrap();
    assert_eq!(bed.rename("new.tmp", "a").await, Err(REFUSED));
    // A file that is just being made is written as often as its program likes.
    let new = bed.create("c").await;
    for (at, byte) in [b"1", b"2", b"3"].into_iter().enumerate() {
        new.write(at, byte).await.unwrap();
        bed.fs.fsync(new.handle).await.unwrap();
    }
    // What somebody else makes meanwhile stays, too.
    let late = bed.create("d").await;
    late.write(0, b"mine").await.unwrap();
    bed.bucket.insert("d", "theirs");
    assert!(late.close().await.is_err());
    new.close().await.unwrap();
    assert_eq!(bed.open("c", WRITE).await.err(), Some(REFUSED));
    // Attributes are no content, and another name is none either.
    bed.chmod("a", 0o600).await.unwrap();
    bed.rename("b", "e").await.unwrap();
    bed.unlink("new.tmp").await.unwrap();
    bed.publish_all().await;
    bed.assert_bucket(&[("a", b"one"), ("c", b"123"), ("d", b"theirs"), ("e", b"two")]);
}

#[tokio::test]
async fn what_is_removed_replaced_or_cut_is_in_the_trash() {
    let bed = with_trash();
    bed.unlink("a").await.unwrap();
    bed.put("a", b"again").await.unwrap();
    bed.rename("d/b", "a").await.unwrap();
    bed.rmdir("e").await.unwrap();
    bed.put("a", b"emptied").await.unwrap();
    let ino = bed.stat("a").await.unwrap().ino;
    let size = |size| cosmount::fs::AttrChange { size: Some(size), ..Default::default() };
    bed.fs.setattr(ino, size(3)).await.unwrap();
    bed.fs.setattr(ino, size(5)).await.unwrap();
    bed.publish_all().await;
    let mut kept: Vec<(String, Vec<u8>)> = bed
        .bucket
        .keys()
        .into_iter()
        .filter(|key| key.starts_with("t/x/"))
        .map(|key| {
            (key.split_once(".2").map_or(key.clone(), |(name, _)| format!("{name}.N")), bed.bucket.bytes(&key).unwrap())
        })
        .map(|(key, bytes)| (key, bytes.to_vec()))
        .collect();
    kept.sort();
    let expected = [("t/x/a", "one"), ("t/x/a.N", "again"), ("t/x/a.N", "emptied"), ("t/x/a.N", "two"), ("t/x/e/", "")];
    assert_eq!(kept, expected.map(|(key, bytes)| (key.to_owned(), bytes.as_bytes().to_vec())));
    // It shows at once, and what is removed from it is gone.
    let trash = bed.stat("t/x").await.unwrap().ino;
    let names = bed.list(trash).await;
    assert_eq!(names.len(), 5, "{names:?}");
    for name in names.iter().filter(|name| *name != "e") {
        bed.unlink(&format!("t/x/{name}")).await.unwrap();
    }
    bed.rmdir("t/x/e").await.unwrap();
    assert!(bed.bucket.keys().iter().all(|key| !key.starts_with("t/x/a") && !key.starts_with("t/x/e")));
}

#[tokio::test]
async fn what_cannot_be_brought_to_the_trash_is_not_removed() {
    let bed = with_trash();
    bed.faults.inject(Fault::every(Op::CopyObject, StoreErrorKind::Denied));
    assert_eq!(bed.unlink("a").await, Err(FsError::Remote(StoreErrorKind::Denied)));
    assert_eq!(bed.open("a", REPLACE).await.err(), Some(FsError::Remote(StoreErrorKind::Denied)));
    bed.assert_bucket(&[("a", b"one"), ("d/", b""), ("d/b", b"two"), ("e/", b"")]);
    assert_eq!(bed.read("a").await.unwrap(), b"one");
}

#[tokio::test]
async fn excluded_names_are_neither_shown_nor_made() {
    let bed = bed(FsOptions { excluded: Excluded::of([".DS_Store", "._*"]), ..FsOptions::default() });
    for key in ["e/.DS_Store", "d/._b", "._d/x", ".DS_Store"] {
        bed.bucket.insert(key, "x");
    }
    assert_eq!(bed.list(ROOT).await, ["a", "d", "e"]);
    let directory = bed.stat("d").await.unwrap().ino;
    assert_eq!(bed.list(directory).await, ["b"]);
    assert_eq!(bed.stat("d/._b").await.err(), Some(FsError::NotFound));
    assert_eq!(bed.try_create("d/._c", WRITE).await.err(), Some(REFUSED));
    assert_eq!(bed.mkdir("._e").await.err(), Some(REFUSED));
    assert_eq!(bed.symlink(".DS_Store", "a").await.err(), Some(REFUSED));
    assert_eq!(bed.rename("a", "._a").await.err(), Some(REFUSED));
    assert_eq!(bed.link("a", "d/._a").await.err(), Some(REFUSED));
    assert_eq!(bed.fs.mkdir(ROOT, &FileName::new("f").unwrap(), 0o755, ME).await.unwrap().kind, Kind::Directory);
    // They go where their directory goes.
    bed.rename("d", "g").await.unwrap();
    bed.rmdir("e").await.unwrap();
    bed.assert_bucket(&[
        (".DS_Store", b"x"),
        ("._d/x", b"x"),
        ("a", b"one"),
        ("f/", b""),
        ("g/", b""),
        ("g/._b", b"x"),
        ("g/b", b"two"),
    ]);
}

#[tokio::test]
async fn that_there_is_nothing_is_believed_for_as_long_as_somebody_has_said() {
    for (negative_ttl, listings) in [(None, 2), (Some(60), 1), (Some(0), 3)] {
        let negative_ttl = negative_ttl.map(Duration::from_secs);
        let bed = bed(FsOptions { negative_ttl, ..FsOptions::default() });
        for after in [0, 1_000, 9_000] {
            bed.advance(after);
            assert_eq!(bed.stat("none").await.err(), Some(FsError::NotFound));
        }
        assert_eq!(bed.take_ops().len(), listings, "{negative_ttl:?}");
    }
}

#[tokio::test]
async fn no_more_names_are_known_than_somebody_has_said() {
    let bed = Bed::with(Choices {
        options: FsOptions { metadata_entries: 2_000, ..FsOptions::default() },
        ..Choices::default()
    });
    for directory in 0..20 {
        for file in 0..500 {
            bed.bucket.insert(&format!("{directory}/{file}"), "");
        }
    }
    for directory in 0..20 {
        let ino = bed.stat(&directory.to_string()).await.unwrap().ino;
        assert_eq!(bed.list(ino).await.len(), 500);
        bed.fs.forget(ino, 1);
    }
    let names = bed.fs.state().memory.names;
    assert!(names < 2_600 * 300, "{names} bytes of names");
}
