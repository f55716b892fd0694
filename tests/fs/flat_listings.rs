//! One request that tells of many directories, while this mount changes what is in one of them.

use std::time::{Duration, UNIX_EPOCH};

use cosmount::fs::{AttributeSource, FsOptions, Ino, ROOT};
use cosmount::object::ObjectAttributes;
use cosmount::store::testing::{Fault, Gate};
use cosmount::store::{Op, StoreErrorKind};
use cosmount::upload::OnConflict;
use futures_util::poll;

use crate::bed::{Bed, Choices, File, ME, PART, REPLACE, bytes};

/// What this mount does in the directory `f`, in which there are `a`, `old` and an empty directory `d`.
#[derive(Clone, Copy, Debug)]
enum Change {
    PublishNew,
    PublishOld,
    Unlink,
    Rmdir,
    Mkdir,
    Link,
    RenameAway,
    RenameHere,
}

use Change::{Link, Mkdir, PublishNew, PublishOld, RenameAway, RenameHere, Rmdir, Unlink};

impl Change {
    /// What is written and not published yet.
    async fn begin(self, bed: &Bed) -> Option<File> {
        let file = match self {
            PublishNew => bed.create("f/new").await,
            PublishOld => bed.open("f/old", REPLACE).await.unwrap(),
            _ => return None,
        };
        file.write(0, b"other").await.unwrap();
        Some(file)
    }

    async fn make(self, bed: &Bed, begun: Option<File>) {
        let made = match self {
            PublishNew | PublishOld => begun.unwrap().close().await,
            Unlink => bed.unlink("f/a").await,
            Rmdir => bed.rmdir("f/d").await,
            Mkdir => bed.mkdir("f/made").await.map(drop),
            Link => bed.link("f/a", "f/link").await.map(drop),
            RenameAway => bed.rename("f/a", "a").await,
            RenameHere => bed.rename("b", "f/b").await,
        };
        made.unwrap();
    }
}

/// The kernel does not know anything any more.
fn forget_all(bed: &Bed) {
    (ROOT.0 + 1..100).rev().for_each(|ino| bed.fs.forget(Ino(ino), 1000));
}

/// Names in `f`, and the sizes of what has them.
async fn shown(bed: &Bed) -> Vec<(String, u64)> {
    let mut shown = Vec::new();
    for name in bed.list(bed.stat("f").await.unwrap().ino).await {
        let attr = bed.stat(&format!("f/{name}")).await;
        shown.push((name, attr.unwrap().size));
    }
    shown
}

/// Makes the change after the answer to a flat listing, or between that and the moment at which it comes: it tells what there
/// was before.
async fn change_and_list_flat(change: Change, in_between: bool) {
    let options = FsOptions { attributes: AttributeSource::Listing, ..FsOptions::default() };
    let bed = Bed::with(Choices { options, ..Choices::default() });
    for key in ["b", "e/x", "f/a", "f/d/", "f/old"] {
        bed.bucket.insert(key, if key.ends_with('/') { "" } else { "1" });
    }
    let begun = change.begin(&bed).await;
    for path in ["b", "f/a", "f/d", "f/made", "f/link", "f/b"] {
        let _ = bed.stat(path).await;
    }
    bed.advance(1);
    let gate = Gate::new();
    bed.faults.inject(Fault::hold(Op::ListObjects, &gate).answer_lost());
    let reading = bed.fs.opendir(ROOT).await.unwrap();
    let mut looking = Box::pin(bed.stat("e/none"));
    assert!(poll!(&mut looking).is_pending());
    gate.reached_by(1).await;
    bed.advance(1);
    if in_between {
        change.make(&bed, begun).await;
        gate.open();
        assert!(looking.await.is_err());
    } else {
        gate.open();
        assert!(looking.await.is_err());
        change.make(&bed, begun).await;
    }
    bed.fs.releasedir(reading);
    forget_all(&bed);
    assert_eq!(shown(&bed).await, shown(&bed.another(None)).await, "{change:?}, in between: {in_between}");
}

#[tokio::test]
async fn a_directory_is_what_this_mount_has_made_of_it_and_not_what_was_told_before() {
    for change in [PublishNew, PublishOld, Unlink, Rmdir, Mkdir, Link, RenameAway, RenameHere] {
        for in_between in [false, true] {
            change_and_list_flat(change, in_between).await;
        }
    }
}

#[tokio::test]
async fn what_was_told_of_directories_below_one_that_has_moved_since_is_not_true_any_more() {
    let options = FsOptions { attributes: AttributeSource::Listing, ..FsOptions::default() };
    let bed = Bed::with(Choices { options, ..Choices::default() });
    let content = bytes(1, 3 * PART);
    for directory in ["d", "d/x", "d/y"] {
        bed.mkdir(directory).await.unwrap();
    }
    bed.put("d/y/f", &content).await.unwrap();
    forget_all(&bed);
    bed.advance(100_000);
    let open = bed.fs.opendir(bed.stat("d").await.unwrap().ino).await.unwrap();
    let _ = bed.stat("d/x/none").await;
    bed.take_ops();
    bed.rename("d", "e").await.unwrap();
    assert_eq!(bed.read("e/y/f").await.unwrap(), content);
    bed.fs.releasedir(open);
}

/// A rename of `d` to an empty directory fails when one copy is made, and is asked about while it is.
async fn fail_to_replace(in_between: bool) {
    let bed = Bed::new();
    for key in ["c/x", "d/f", "d/g", "e/"] {
        bed.bucket.insert(key, if key.ends_with('/') { "" } else { "1" });
    }
    for path in ["d/f", "d/g", "e"] {
        bed.stat(path).await.unwrap();
    }
    bed.advance(1);
    let (copy, answer) = (Gate::new(), Gate::new());
    bed.faults.inject(Fault::nth(Op::CopyObject, 2, StoreErrorKind::Denied).held_by(&copy));
    let mut renaming = Box::pin(bed.rename("d", "e"));
    assert!(poll!(&mut renaming).is_pending());
    copy.reached_by(1).await;
    bed.faults.inject(Fault::hold(Op::ListObjects, &answer).answer_lost());
    let reading = bed.fs.opendir(ROOT).await.unwrap();
    let mut looking = Box::pin(bed.stat("c/none"));
    assert!(poll!(&mut looking).is_pending());
    answer.reached_by(1).await;
    bed.advance(1);
    if in_between {
        copy.open();
        assert!(renaming.await.is_err());
        answer.open();
        assert!(looking.await.is_err());
    } else {
        answer.open();
        assert!(looking.await.is_err());
        copy.open();
        assert!(renaming.await.is_err());
    }
    bed.fs.releasedir(reading);
    forget_all(&bed);
    let replaced = bed.stat("e").await.unwrap().ino;
    assert_eq!(bed.list(replaced).await, Vec::<String>::new(), "in between: {in_between}");
}

#[tokio::test]
async fn copies_of_a_rename_that_failed_are_not_in_the_directory_that_it_was_to_replace() {
    for in_between in [false, true] {
        fail_to_replace(in_between).await;
    }
}

/// What is published beside another's object is a name that nobody has told of.
#[tokio::test]
async fn a_conflict_shows_in_a_directory_that_was_told_of_before() {
    let on_conflict = OnConflict::KeepBoth { host: "here".into() };
    let bed = Bed::with(Choices { on_conflict, ..Choices::default() });
    bed.bucket.insert("c/x", "1");
    bed.mkdir("d").await.unwrap();
    let file = bed.create("d/f").await;
    file.write(0, b"ours").await.unwrap();
    bed.bucket.insert("d/f", "theirs");
    bed.advance(100_000);
    let reading = bed.fs.opendir(ROOT).await.unwrap();
    assert!(bed.stat("c/none").await.is_err());
    bed.advance(1);
    file.close().await.unwrap();
    bed.fs.releasedir(reading);
    forget_all(&bed);
    assert_eq!(bed.list(bed.stat("d").await.unwrap().ino).await.len(), 2);
}

/// The first directory may be all that somebody wants; who goes on is told of the others by what was listed for it.
#[tokio::test]
async fn who_wants_something_of_the_first_directory_asks_for_no_other_marker_until_he_goes_on() {
    // With a file between them, too, which who goes through directories alone does not look up.
    for between in [None, Some("a.txt")] {
        let bed = Bed::new();
        for key in ["a/", "a/f", "b/", "b/f", "bare/f", "c/", "c/f", "d/"].into_iter().chain(between) {
            bed.bucket.insert(key, if key.ends_with('/') { "" } else { "1" });
        }
        bed.stat("a/f").await.unwrap();
        bed.settle().await;
        let (lists, heads): (Vec<_>, Vec<_>) = bed.take_ops().into_iter().partition(|op| *op == Op::ListObjects);
        assert_eq!((lists.len(), heads.as_slice()), (2, [Op::HeadObject; 2].as_slice()), "the directory and the file");
        bed.stat("b").await.unwrap();
        bed.settle().await;
        assert_eq!(bed.take_ops(), [Op::HeadObject; 3], "he goes through all of them");
        for name in ["bare", "c", "d"] {
            bed.stat(name).await.unwrap();
        }
        assert_eq!(bed.take_ops(), []);
    }
}

/// What others or this mount have made of a directory since it was listed shows where its marker is asked for late.
#[tokio::test]
async fn a_marker_that_is_asked_for_late_is_what_it_is_by_then() {
    let marked = |mode: &str| {
        let user = [("mode", mode), ("uid", "7"), ("gid", "8"), ("mtime", "1000000000.5")];
        ObjectAttributes {
            user: user.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            ..ObjectAttributes::default()
        }
    };
    let bed = Bed::new();
    for name in ["a", "b", "c", "d", "e"] {
        bed.bucket.insert_with(&format!("{name}/"), "", &marked("16841"));
        bed.bucket.insert(&format!("{name}/f"), "1");
    }
    bed.stat("a/f").await.unwrap();
    bed.bucket.insert_with("b/", "", &marked("16872"));
    bed.bucket.remove("c/");
    bed.chmod("d", 0o700).await.unwrap();
    bed.unlink("e/f").await.unwrap();
    bed.rmdir("e").await.unwrap();
    bed.mkdir("e").await.unwrap();
    bed.settle().await;
    let mut told = Vec::new();
    for name in ["a", "b", "c", "d", "e"] {
        let attr = bed.stat(name).await.unwrap();
        told.push((
            attr.permissions,
            attr.owner.uid,
            attr.mtime == UNIX_EPOCH + Duration::from_millis(1_000_000_000_500),
        ));
    }
    let (bare, ours) = ((FsOptions::default().dir_mode, 0, false), (0o755, ME.uid, false));
    assert_eq!(told, [(0o711, 7, true), (0o750, 7, true), bare, (0o700, 7, true), ours]);
}
