//! Renaming directories with what is in them.

use std::time::Duration;

use cosmount::fs::{AttrChange, FileName, FsError, ROOT};
use cosmount::object::ObjectAttributes;
use cosmount::store::testing::{Fault, Gate};
use cosmount::store::{Op, StoreErrorKind};

use futures_util::{FutureExt, TryFutureExt, poll};

use crate::bed::{Bed, File, ME, MIB, PART, READ, REPLACE, WRITE, bytes};

async fn full_directory(bed: &Bed) {
    bed.mkdir("a").await.unwrap();
    bed.mkdir("a/sub").await.unwrap();
    bed.put("a/x", b"x").await.unwrap();
    bed.put("a/sub/y", b"y").await.unwrap();
    bed.bucket.insert("a/prefix/z", "z");
    // What others put into a directory that this mount made shows when its lease is over.
    bed.advance(70_000);
}

const OLD: [(&str, &[u8]); 5] = [("a/", b""), ("a/prefix/z", b"z"), ("a/sub/", b""), ("a/sub/y", b"y"), ("a/x", b"x")];
const NEW: [(&str, &[u8]); 5] = [("b/", b""), ("b/prefix/z", b"z"), ("b/sub/", b""), ("b/sub/y", b"y"), ("b/x", b"x")];

#[tokio::test]
async fn a_directory_moves_with_all_that_is_in_it() {
    let bed = Bed::new();
    full_directory(&bed).await;
    let mode = bed.chmod("a/x", 0o604).await.unwrap().permissions;
    bed.take_ops();
    bed.rename("a", "b").await.unwrap();
    bed.assert_bucket(&NEW);
    let ops = bed.take_ops();
    assert_eq!(ops.iter().filter(|op| **op == Op::CopyObject).count(), 5, "{ops:?}");
    assert_eq!(ops.iter().filter(|op| **op == Op::DeleteMultipleObjects).count(), 1, "{ops:?}");
    assert_eq!(bed.stat("b/x").await.unwrap().permissions, mode);
    assert_eq!(bed.read("b/sub/y").await.unwrap(), b"y");
    assert_eq!(bed.read("b/prefix/z").await.unwrap(), b"z");
    assert_eq!(bed.stat("a").await, Err(FsError::NotFound));
    bed.rename("b", "a").await.unwrap();
    bed.assert_bucket(&OLD);
    let bed = bed.remount();
    assert_eq!(bed.stat("a/x").await.unwrap().permissions, mode);
}

#[tokio::test]
async fn an_empty_directory_may_be_replaced_and_a_full_one_not() {
    let bed = Bed::new();
    full_directory(&bed).await;
    bed.mkdir("b").await.unwrap();
    bed.mkdir("c").await.unwrap();
    bed.put("c/x", b"x").await.unwrap();
    assert_eq!(bed.rename("a", "c").await, Err(FsError::NotEmpty));
    bed.rename("a", "b").await.unwrap();
    bed.unlink("c/x").await.unwrap();
    bed.rmdir("c").await.unwrap();
    bed.assert_bucket(&NEW);
}

/// The service is asked whether there is anything in it, and the file is published while the answer is on its way.
#[tokio::test]
async fn a_directory_with_a_file_that_is_just_being_published_is_not_replaced() {
    let bed = Bed::new();
    bed.mkdir("a").await.unwrap();
    bed.mkdir("b").await.unwrap();
    let file = bed.create("b/x").await;
    file.write(0, b"x").await.unwrap();
    let gate = Gate::new();
    bed.faults.inject(Fault::hold(Op::ListObjects, &gate).key("b/").answer_lost());
    let close = async {
        bed.settle().await;
        file.close().await.unwrap();
        gate.open();
    };
    let (renamed, ()) = tokio::join!(bed.rename("a", "b"), close);
    assert_eq!(renamed, Err(FsError::NotEmpty));
    assert_eq!(bed.read("b/x").await.unwrap(), b"x");
    bed.assert_bucket(&[("a/", b""), ("b/", b""), ("b/x", b"x")]);
}

/// The objects are under the new name before the rename has ended, and the directory that it replaces is there until then.
#[tokio::test]
async fn a_directory_that_is_replaced_is_empty_until_the_rename_has_ended() {
    let bed = Bed::new();
    bed.mkdir("a").await.unwrap();
    bed.put("a/x", b"x").await.unwrap();
    bed.mkdir("b").await.unwrap();
    let gate = Gate::new();
    bed.faults.inject(Fault::hold(Op::CopyObject, &gate).key("b/x").answer_lost());
    let look = async {
        gate.reached_by(1).await;
        assert!(bed.bucket.bytes("b/x").is_some());
        bed.advance(100_000);
        assert_eq!(bed.stat("b/x").await.map(|attr| attr.ino), Err(FsError::NotFound));
        assert_eq!(bed.list(bed.stat("b").await.unwrap().ino).await, [""; 0]);
        gate.open();
    };
    let (renamed, ()) = tokio::join!(bed.rename("a", "b"), look);
    renamed.unwrap();
    assert_eq!(bed.read("b/x").await.unwrap(), b"x");
}

/// The kernel knows of no file in it: the one that is about to be written is found by the call that opens it. It would be written
/// under the old key, which nobody looks at any more.
#[tokio::test]
async fn a_file_that_nobody_has_looked_up_is_not_opened_while_its_directory_moves() {
    let bed = Bed::new();
    bed.mkdir("d").await.unwrap();
    bed.mkdir("e").await.unwrap();
    bed.put("d/b", b"old").await.unwrap();
    let bed = bed.remount();
    let directory = bed.stat("d").await.unwrap().ino;
    assert_eq!(bed.list(directory).await, ["b"]);
    let gate = Gate::new();
    bed.faults.inject(Fault::hold(Op::ListObjects, &gate).key("d/").from_call(2).answer_lost());
    let write = async {
        gate.reached_by(1).await;
        let opened = async {
            let opened = bed.try_create("d/b", REPLACE).await;
            gate.open();
            opened
        };
        let open_later = async {
            bed.settle().await;
            gate.open();
        };
        let (opened, ()) = tokio::join!(opened, open_later);
        let file = opened.unwrap();
        file.write(0, b"new").await.unwrap();
        file.close().await.unwrap();
    };
    let (renamed, ()) = tokio::join!(bed.rename("d", "e/d"), write);
    renamed.unwrap();
    bed.assert_bucket(&[("e/", b""), ("e/d/", b""), ("e/d/b", b"new")]);
    assert_eq!(bed.list(directory).await, ["b"]);
}

#[tokio::test]
async fn a_directory_that_is_only_a_prefix_moves() {
    let bed = Bed::new();
    bed.bucket.insert("p/x", "x");
    bed.rename("p", "q").await.unwrap();
    bed.assert_bucket(&[("q/", b""), ("q/x", b"x")]);
}

#[tokio::test]
async fn a_copy_that_fails_takes_the_others_back() {
    for failing in 1..=5 {
        let bed = Bed::new();
        full_directory(&bed).await;
        bed.faults.inject(Fault::nth(Op::CopyObject, failing, StoreErrorKind::Internal));
        assert_eq!(bed.rename("a", "b").await, Err(FsError::Remote(StoreErrorKind::Internal)), "{failing}");
        bed.assert_bucket(&OLD);
        assert_eq!(bed.read("a/sub/y").await.unwrap(), b"y");
        assert_eq!(bed.stat("b").await, Err(FsError::NotFound));
        bed.rename("a", "b").await.unwrap();
        bed.assert_bucket(&NEW);
    }
}

#[tokio::test(start_paused = true)]
async fn copies_that_cannot_be_removed_at_once_are_removed_later() {
    let bed = Bed::new();
    full_directory(&bed).await;
    bed.faults.inject(Fault::nth(Op::CopyObject, 4, StoreErrorKind::Internal));
    bed.faults.inject(Fault::nth(Op::DeleteMultipleObjects, 1, StoreErrorKind::Unreachable));
    assert_eq!(bed.rename("a", "b").await, Err(FsError::Remote(StoreErrorKind::Internal)));
    assert!(bed.bucket.keys().len() > 5);
    bed.pass(3000).await;
    bed.assert_bucket(&OLD);
}

#[tokio::test(start_paused = true)]
async fn what_failed_at_first_is_not_removed_once_it_has_succeeded() {
    let bed = Bed::new();
    full_directory(&bed).await;
    bed.faults.inject(Fault::nth(Op::CopyObject, 4, StoreErrorKind::Internal));
    bed.faults.inject(Fault::nth(Op::DeleteMultipleObjects, 1, StoreErrorKind::Unreachable));
    assert_eq!(bed.rename("a", "b").await, Err(FsError::Remote(StoreErrorKind::Internal)));
    bed.rename("a", "b").await.unwrap();
    bed.pass(60_000).await;
    bed.assert_bucket(&NEW);
}

#[tokio::test]
async fn what_changes_during_the_copy_is_not_lost_and_what_is_removed_does_not_come_back() {
    let gate = Gate::new();
    let bed = Bed::with_faults([Fault::hold(Op::CopyObject, &gate).key("b/x")]);
    full_directory(&bed).await;
    let renaming = {
        let (fs, names) = (bed.fs.clone(), [bed.place("a").await.unwrap(), bed.place("b").await.unwrap()]);
        tokio::spawn(async move { fs.rename((names[0].0, &names[0].1), (names[1].0, &names[1].1), false).await })
    };
    bed.settle().await;
    // All but one are copied.
    bed.bucket.insert("a/sub/y", "changed");
    bed.bucket.insert("a/sub/new", "new");
    bed.bucket.remove("a/prefix/z");
    gate.open();
    renaming.await.unwrap().unwrap();
    bed.assert_bucket(&[("b/", b""), ("b/sub/", b""), ("b/sub/new", b"new"), ("b/sub/y", b"changed"), ("b/x", b"x")]);
}

#[tokio::test]
async fn a_file_that_is_published_while_its_directory_moves_is_there() {
    let gate = Gate::new();
    let bed = Bed::with_faults([Fault::hold(Op::CopyObject, &gate).key("b/x")]);
    full_directory(&bed).await;
    let file = bed.create("a/new").await;
    file.write(0, b"new").await.unwrap();
    let renaming = {
        let (fs, names) = (bed.fs.clone(), [bed.place("a").await.unwrap(), bed.place("b").await.unwrap()]);
        tokio::spawn(async move { fs.rename((names[0].0, &names[0].1), (names[1].0, &names[1].1), false).await })
    };
    bed.settle().await;
    file.close().await.unwrap();
    gate.open();
    renaming.await.unwrap().unwrap();
    assert_eq!(bed.stat("b/new").await.unwrap().size, 3);
    assert_eq!(bed.read("b/new").await.unwrap(), b"new");
    bed.unlink("b/new").await.unwrap();
    bed.assert_bucket(&NEW);
}

#[tokio::test]
async fn files_that_are_open_move_along() {
    let bed = Bed::new();
    full_directory(&bed).await;
    let large = bytes(1, 3 * MIB);
    bed.put("a/large", &large).await.unwrap();
    let reader = bed.open("a/large", READ).await.unwrap();
    assert_eq!(reader.read(0, 10).await.unwrap(), &large[..10]);
    let appender = bed.open("a/x", WRITE).await.unwrap();
    appender.write(1, b"X").await.unwrap();
    let new = bed.create("a/sub/new").await;
    new.write(0, &bytes(2, PART)).await.unwrap();
    new.write(PART, b"tail").await.unwrap();
    bed.rename("a", "b").await.unwrap();
    assert_eq!(reader.read_all().await.unwrap(), large);
    appender.write(2, b"Y").await.unwrap();
    new.write(PART + 4, b"end").await.unwrap();
    for file in [reader, appender, new] {
        file.close().await.unwrap();
    }
    let new = [bytes(2, PART), b"tailend".to_vec()].concat();
    bed.assert_bucket(&[
        ("b/", b""),
        ("b/large", &large),
        ("b/prefix/z", b"z"),
        ("b/sub/", b""),
        ("b/sub/new", &new),
        ("b/sub/y", b"y"),
        ("b/x", b"xXY"),
    ]);
    bed.assert_no_unfinished_uploads().await;
}

/// Once everything has been copied that was there, who comes then waits, and finds the directory at its new name.
#[tokio::test]
async fn what_is_opened_or_made_in_a_directory_at_the_end_of_its_rename_comes_after_it() {
    let bed = Bed::new();
    bed.mkdir("d").await.unwrap();
    bed.put("d/f", b"old").await.unwrap();
    let (directory, file) = (bed.stat("d").await.unwrap().ino, bed.stat("d/f").await.unwrap().ino);
    let (copying, looking) = (Gate::new(), Gate::new());
    bed.faults.inject(Fault::hold(Op::CopyObject, &copying));
    let others = async {
        copying.reached_by(1).await;
        bed.faults.inject(Fault::hold(Op::ListObjects, &looking));
        copying.open();
        looking.reached_by(1).await;
        let name = FileName::new("new").unwrap();
        let mut opening = Box::pin(bed.fs.open(file, REPLACE));
        let mut making = Box::pin(bed.fs.create(directory, &name, 0o644, ME, WRITE));
        assert!(poll!(&mut opening).is_pending() && poll!(&mut making).is_pending());
        looking.open();
        let opened = File { fs: bed.fs.clone(), ino: file, handle: opening.await.unwrap().handle, backing: None };
        let (attr, made) = making.await.unwrap();
        let made = File { fs: bed.fs.clone(), ino: attr.ino, handle: made.handle, backing: None };
        opened.write(0, b"newer").await.unwrap();
        made.write(0, b"made").await.unwrap();
        opened.close().await.unwrap();
        made.close().await.unwrap();
    };
    let (renamed, ()) = tokio::join!(bed.rename("d", "e"), others);
    renamed.unwrap();
    bed.assert_bucket(&[("e/", b""), ("e/f", b"newer"), ("e/new", b"made")]);
}

/// What is written while the first copies are made is not lost behind them.
#[tokio::test]
async fn what_is_written_in_a_directory_during_its_rename_moves_along() {
    let bed = Bed::new();
    bed.mkdir("d").await.unwrap();
    for name in ["d/f", "d/g"] {
        bed.put(name, b"old").await.unwrap();
    }
    let copying = Gate::new();
    bed.faults.inject(Fault::hold(Op::CopyObject, &copying));
    let writing = async {
        copying.reached_by(1).await;
        let open = bed.open("d/f", REPLACE).await.unwrap();
        open.write(0, b"newer").await.unwrap();
        bed.put("d/g", b"closed").await.unwrap();
        bed.put("d/h", b"made").await.unwrap();
        copying.open();
        open
    };
    let (renamed, open) = tokio::join!(bed.rename("d", "e"), writing);
    renamed.unwrap();
    open.close().await.unwrap();
    bed.assert_bucket(&[("e/", b""), ("e/f", b"newer"), ("e/g", b"closed"), ("e/h", b"made")]);
}

/// A listing of the old place, answered when that is being emptied, says nothing of the new one.
#[tokio::test]
async fn what_was_asked_of_a_directory_before_its_rename_does_not_count_after_it() {
    let bed = Bed::new();
    bed.bucket.insert("d/f", b"content".to_vec());
    let directory = bed.stat("d").await.unwrap().ino;
    let gate = Gate::new();
    bed.faults.inject(Fault::hold(Op::ListObjects, &gate));
    let name = FileName::new("f").unwrap();
    let mut looking = Box::pin(bed.fs.lookup(directory, &name));
    assert!(poll!(&mut looking).is_pending());
    gate.reached_by(1).await;
    // The question stands at the gate, and comes to the service when the old objects are gone.
    bed.faults.heal();
    bed.rename("d", "e").await.unwrap();
    gate.open();
    assert_eq!(looking.await.map(|_| ()), Err(FsError::Stale), "the kernel asks once more");
    assert!(bed.fs.lookup(directory, &name).await.is_ok());
    assert_eq!(bed.read("e/f").await.unwrap(), b"content");
}

/// The removal of the old objects takes longer than names are believed.
#[tokio::test]
async fn what_was_asked_while_the_old_objects_of_a_rename_went_does_not_bring_the_old_name_back() {
    let bed = Bed::new();
    bed.bucket.insert("d/f", "1");
    bed.stat("d/f").await.unwrap();
    let (removal, answer) = (Gate::new(), Gate::new());
    bed.faults.inject(Fault::hold(Op::DeleteMultipleObjects, &removal));
    let mut renaming = Box::pin(bed.rename("d", "e"));
    assert!(poll!(&mut renaming).is_pending());
    removal.reached_by(1).await;
    bed.advance(10_000);
    bed.faults.inject(Fault::hold(Op::ListObjects, &answer).answer_lost());
    let mut looking = Box::pin(bed.stat("d"));
    assert!(poll!(&mut looking).is_pending());
    answer.reached_by(1).await;
    bed.advance(1);
    removal.open();
    renaming.await.unwrap();
    answer.open();
    assert_eq!(looking.await, Err(FsError::NotFound));
    assert_eq!(bed.list(ROOT).await, ["e"]);
}

/// The kernel walks a path once more, and tells the program if that comes too late, too.
#[tokio::test(start_paused = true)]
async fn who_came_too_late_for_a_directory_finds_a_file_in_it_that_is_kept_for_the_call() {
    let bed = Bed::new();
    for key in ["d/a", "d/b", "e/"] {
        bed.bucket.insert(key, "");
    }
    let (replaced, name) = (bed.stat("e").await.unwrap().ino, FileName::new("a").unwrap());
    let late = [
        bed.fs.called_by(1, bed.fs.lookup(replaced, &name)).map_ok(drop).boxed_local(),
        bed.fs.called_by(2, bed.fs.unlink(replaced, &name)).boxed_local(),
    ];
    bed.rename("d", "e").await.unwrap();
    for late in late {
        assert_eq!(late.await, Err(FsError::Stale));
    }
    for (caller, path) in [(1, "e/a"), (2, "e/b")] {
        let ino = bed.fs.called_by(caller, bed.stat(path)).await.unwrap().ino;
        let mut unlinking = Box::pin(bed.unlink(path));
        assert!(poll!(&mut unlinking).is_pending());
        let change = AttrChange { permissions: Some(0o600), ..AttrChange::default() };
        assert!(bed.fs.called_by(caller, bed.fs.setattr(ino, change)).await.is_ok());
        unlinking.await.unwrap();
    }
}

/// Found nothing in the directory that was there before, and would have made it: from a random schedule.
#[tokio::test(start_paused = true)]
async fn who_came_too_late_to_make_a_file_in_a_directory_finds_one_that_is_kept_for_the_call() {
    let bed = Bed::new();
    for key in ["d/a", "e/"] {
        bed.bucket.insert(key, "");
    }
    let (replaced, name) = (bed.stat("e").await.unwrap().ino, FileName::new("a").unwrap());
    assert_eq!(bed.fs.called_by(1, bed.fs.lookup(replaced, &name)).await, Err(FsError::NotFound));
    bed.rename("d", "e").await.unwrap();
    let made = bed.fs.called_by(1, bed.fs.create(replaced, &name, 0o644, ME, WRITE)).await;
    assert_eq!(made.err(), Some(FsError::Stale));
    let ino = bed.fs.called_by(1, bed.stat("e/a")).await.unwrap().ino;
    let mut unlinking = Box::pin(bed.unlink("e/a"));
    assert!(poll!(&mut unlinking).is_pending());
    let opened = bed.fs.called_by(1, bed.fs.open(ino, WRITE)).await.unwrap();
    unlinking.await.unwrap();
    File { fs: bed.fs.clone(), ino, handle: opened.handle, backing: None }.close().await.unwrap();
    bed.assert_bucket(&[("e/", b"")]);
}

/// Each step of the second walk holds, and the call that it is for: who waits to take the directory away waits for all of them.
#[tokio::test(start_paused = true)]
async fn who_came_too_late_goes_before_those_who_wait_for_what_is_kept() {
    let bed = Bed::new();
    bed.mkdir("d").await.unwrap();
    bed.put("d/f", b"f").await.unwrap();
    bed.symlink("d/link", "f").await.unwrap();
    let ino = bed.stat("d/f").await.unwrap().ino;
    bed.put("g", b"g").await.unwrap();
    bed.rename("g", "d/f").await.unwrap();
    assert_eq!(bed.fs.called_by(1, bed.fs.open(ino, READ)).await.err(), Some(FsError::Stale));
    let name = |text| FileName::new(text).unwrap();
    let d = bed.fs.called_by(1, bed.stat("d")).await.unwrap().ino;
    let mut renaming = Box::pin(bed.rename("d", "e"));
    for _ in 0..100 {
        assert!(poll!(&mut renaming).is_pending());
        tokio::task::yield_now().await;
    }
    let began = tokio::time::Instant::now();
    let link = bed.fs.called_by(1, bed.fs.lookup(d, &name("link"))).await.unwrap().ino;
    assert_eq!(bed.fs.called_by(1, bed.fs.readlink(link)).await.as_deref(), Ok(&b"f"[..]));
    let f = bed.fs.called_by(1, bed.fs.lookup(d, &name("f"))).await.unwrap().ino;
    let opened = bed.fs.called_by(1, bed.fs.open(f, READ)).await.unwrap();
    assert_eq!(began.elapsed(), Duration::ZERO, "it waits for nobody");
    renaming.await.unwrap();
    assert!(began.elapsed() < Duration::from_millis(100), "nothing is kept any longer than it is needed");
    File { fs: bed.fs.clone(), ino: f, handle: opened.handle, backing: None }.close().await.unwrap();
}

/// The claim of what is made conflicts with the claims of who waits.
#[tokio::test(start_paused = true)]
async fn who_came_too_late_for_a_directory_makes_something_in_the_next_one_before_that_is_removed() {
    let bed = Bed::new();
    for key in ["d/", "e/"] {
        bed.bucket.insert(key, "");
    }
    let (replaced, name) = (bed.stat("e").await.unwrap().ino, FileName::new("x").unwrap());
    bed.rename("d", "e").await.unwrap();
    assert_eq!(bed.fs.called_by(1, bed.fs.mkdir(replaced, &name, 0o755, ME)).await.err(), Some(FsError::Stale));
    let e = bed.fs.called_by(1, bed.stat("e")).await.unwrap().ino;
    let mut removing = Box::pin(bed.rmdir("e"));
    assert!(poll!(&mut removing).is_pending());
    let making = bed.fs.called_by(1, bed.fs.mkdir(e, &name, 0o755, ME));
    let made = tokio::time::timeout(Duration::from_millis(50), making).await;
    assert!(made.expect("it waits for nobody").is_ok());
    assert_eq!(removing.await, Err(FsError::NotEmpty));
}

/// Each of the two would be the one that keeps the directory for the other.
#[tokio::test]
async fn a_directory_stays_when_its_last_two_files_are_removed_at_once() {
    let bed = Bed::new();
    bed.bucket.insert("d/a", "a");
    bed.bucket.insert("d/b", "b");
    let gate = Gate::new();
    bed.faults.inject(Fault::hold(Op::DeleteObject, &gate));
    let other = async {
        gate.reached_by(1).await;
        bed.unlink("d/b").await.unwrap();
        gate.open();
    };
    let (removed, ()) = tokio::join!(bed.unlink("d/a"), other);
    removed.unwrap();
    bed.assert_bucket(&[("d/", b"")]);
}

/// What is made under the old name is not taken for what is left there.
#[tokio::test]
async fn a_directory_is_made_under_the_old_name_when_nothing_is_left_of_the_old_one() {
    let bed = Bed::new();
    bed.mkdir("d").await.unwrap();
    bed.put("d/x", b"old").await.unwrap();
    let gate = Gate::new();
    bed.faults.inject(Fault::hold(Op::DeleteMultipleObjects, &gate));
    let making = async {
        gate.reached_by(1).await;
        let mut making = Box::pin(bed.mkdir("d"));
        assert!(poll!(&mut making).is_pending());
        gate.open();
        making.await.unwrap();
        bed.put("d/x", b"new").await.unwrap();
    };
    let (renamed, ()) = tokio::join!(bed.rename("d", "e"), making);
    renamed.unwrap();
    bed.assert_bucket(&[("d/", b""), ("d/x", b"new"), ("e/", b""), ("e/x", b"old")]);
}

#[tokio::test]
async fn nothing_is_made_in_a_directory_in_the_middle_of_its_removal() {
    let bed = Bed::new();
    let directory = bed.mkdir("d").await.unwrap().ino;
    let gate = Gate::new();
    bed.faults.inject(Fault::hold(Op::ListObjects, &gate).key("d/").answer_lost());
    let making = async {
        gate.reached_by(1).await;
        let name = FileName::new("new").unwrap();
        let mut making = Box::pin(bed.fs.create(directory, &name, 0o644, ME, WRITE));
        assert!(poll!(&mut making).is_pending());
        gate.open();
        making.await.map(|_| ())
    };
    let (removed, made) = tokio::join!(bed.rmdir("d"), making);
    removed.unwrap();
    made.unwrap_err();
    bed.publish_all().await;
    bed.assert_bucket(&[]);
}

/// Two renames into one another's directories, as nobody can ask for but who was interrupted in the first.
#[tokio::test]
async fn directories_do_not_move_into_one_another() {
    let bed = Bed::new();
    for name in ["a", "b"] {
        bed.mkdir(name).await.unwrap();
        bed.put(&format!("{name}/x"), name.as_bytes()).await.unwrap();
    }
    let gate = Gate::new();
    bed.faults.inject(Fault::hold(Op::CopyObject, &gate));
    let (a, b) = (bed.stat("a").await.unwrap().ino, bed.stat("b").await.unwrap().ino);
    let name = |text| FileName::new(text).unwrap();
    let (one, two, root) = (name("a"), name("b"), cosmount::fs::ROOT);
    let other = async {
        gate.reached_by(1).await;
        let mut other = Box::pin(bed.fs.rename((root, &two), (a, &two), false));
        assert!(poll!(&mut other).is_pending());
        gate.open();
        other.await
    };
    let (first, second) = tokio::join!(bed.fs.rename((root, &one), (b, &one), false), other);
    assert_eq!((first, second), (Ok(()), Err(FsError::Invalid)));
    bed.assert_bucket(&[("b/", b""), ("b/a/", b""), ("b/a/x", b"a"), ("b/x", b"b")]);
}

/// Others have replaced an object since this mount has looked at it: the copy is of theirs.
#[tokio::test]
async fn a_file_that_others_have_replaced_is_what_they_made_of_it_after_the_rename_of_its_directory() {
    let bed = Bed::new();
    bed.mkdir("d").await.unwrap();
    bed.put("d/f", b"old").await.unwrap();
    let others = bed.another(None);
    others.put("d/f", b"much newer").await.unwrap();
    others.chmod("d/f", 0o604).await.unwrap();
    others.publish_all().await;
    bed.rename("d", "e").await.unwrap();
    let attr = bed.stat("e/f").await.unwrap();
    assert_eq!((attr.size, attr.permissions), (10, 0o604));
    assert_eq!(bed.read("e/f").await.unwrap(), b"much newer");
}

/// The last writers go while their files are moved.
#[tokio::test]
async fn readers_of_what_was_written_go_on_when_its_directory_is_renamed() {
    let (bed, gate) = (Bed::new(), Gate::new());
    bed.mkdir("d").await.unwrap();
    let (mut readers, mut writers) = (Vec::new(), Vec::new());
    for name in ["a", "b"] {
        bed.put(&format!("d/{name}"), b"content").await.unwrap();
        writers.push(bed.open(&format!("d/{name}"), WRITE).await.unwrap());
        readers.push(bed.open(&format!("d/{name}"), READ).await.unwrap());
        bed.faults.inject(Fault::hold(Op::CopyObject, &gate).key(format!("e/{name}")));
    }
    let leaving = async {
        gate.reached_by(1).await;
        for writer in writers {
            writer.release().await;
        }
        gate.open();
    };
    let (renamed, ()) = tokio::join!(bed.rename("d", "e"), leaving);
    renamed.unwrap();
    for reader in readers {
        assert_eq!(reader.read(0, 100).await.unwrap(), b"content");
        reader.close().await.unwrap();
    }
    bed.assert_bucket(&[("e/", b""), ("e/a", b"content"), ("e/b", b"content")]);
}

/// Removed and made anew while the rest was copied, and closed right before the rename is over.
#[tokio::test]
async fn what_is_made_anew_during_a_rename_and_closed_at_its_end_is_not_taken_for_what_was_removed() {
    let bed = Bed::new();
    bed.mkdir("d").await.unwrap();
    for name in ["d/f", "d/g"] {
        bed.put(name, b"old").await.unwrap();
    }
    let (copying, listing) = (Gate::new(), Gate::new());
    bed.faults.inject(Fault::hold(Op::CopyObject, &copying).key("e/g"));
    let writing = async {
        copying.reached_by(1).await;
        bed.settle().await;
        bed.unlink("d/f").await.unwrap();
        let file = bed.create("d/f").await;
        file.write(0, b"newer").await.unwrap();
        bed.faults.inject(Fault::hold(Op::ListObjects, &listing).key("d/"));
        copying.open();
        listing.reached_by(1).await;
        file.close().await.unwrap();
        listing.open();
    };
    let (renamed, ()) = tokio::join!(bed.rename("d", "e"), writing);
    renamed.unwrap();
    bed.assert_bucket(&[("e/", b""), ("e/f", b"newer"), ("e/g", b"old")]);
    assert_eq!(bed.read("e/f").await.unwrap(), b"newer");
}

/// The service is gone when a rename fails, so that nothing can be moved back, and comes again later.
#[tokio::test(start_paused = true)]
async fn what_was_written_at_the_new_name_of_a_directory_and_cannot_be_moved_back_stays() {
    let bed = Bed::new();
    bed.mkdir("d").await.unwrap();
    for name in ["d/f", "d/g"] {
        bed.put(name, b"old").await.unwrap();
    }
    let (copying, failing) = (Gate::new(), Gate::new());
    bed.faults.inject(Fault::hold(Op::CopyObject, &copying).key("e/g"));
    bed.faults.inject(Fault::nth(Op::CopyObject, 1, StoreErrorKind::Internal).key("e/h").held_by(&failing));
    bed.faults.inject(Fault::every(Op::CopyObject, StoreErrorKind::Internal).key("d/f"));
    let writing = async {
        copying.reached_by(1).await;
        bed.settle().await;
        let file = bed.open("d/f", WRITE).await.unwrap();
        file.write(0, b"newer").await.unwrap();
        bed.put("d/h", b"made").await.unwrap();
        copying.open();
        failing.reached_by(1).await;
        file.write(0, b"newest").await.unwrap();
        file.close().await.unwrap();
        failing.open();
    };
    let (renamed, ()) = tokio::join!(bed.rename("d", "e"), writing);
    assert_eq!(renamed, Err(FsError::Remote(StoreErrorKind::Internal)));
    bed.pass(60_000).await;
    assert_eq!(bed.bucket.bytes("e/f").as_deref(), Some(&b"newest"[..]));
    assert!(bed.bucket.bytes("e/g").is_none() && bed.bucket.bytes("d/g").is_some());
}

#[tokio::test(start_paused = true)]
async fn what_a_failed_rename_has_left_is_not_removed_once_somebody_has_written_to_it() {
    let bed = Bed::new();
    full_directory(&bed).await;
    bed.faults.inject(Fault::nth(Op::CopyObject, 4, StoreErrorKind::Internal).key("b/x"));
    bed.faults.inject(Fault::nth(Op::CopyObject, 4, StoreErrorKind::Internal));
    bed.faults.inject(Fault::nth(Op::DeleteMultipleObjects, 1, StoreErrorKind::Unreachable));
    assert_eq!(bed.rename("a", "b").await, Err(FsError::Remote(StoreErrorKind::Internal)));
    bed.advance(10_000);
    let left: Vec<String> = bed.bucket.keys().iter().map(ToString::to_string).collect();
    let left = left.iter().find(|key| key.starts_with("b/") && !key.ends_with('/')).expect("a copy of a file");
    let file = bed.open(left, WRITE).await.unwrap();
    file.write(0, b"written").await.unwrap();
    file.close().await.unwrap();
    bed.pass(60_000).await;
    assert_eq!(bed.bucket.bytes(left).as_deref(), Some(&b"written"[..]));
}

/// All that are published in the background at once wait for files that are being removed, whose directory is about to get a
/// marker.
#[tokio::test(start_paused = true)]
async fn many_open_files_whose_attributes_wait_are_removed_with_those_of_their_directory() {
    let bed = Bed::new();
    let names = |directory: &str| (0..64).map(|n| format!("{directory}/{n}")).collect::<Vec<_>>();
    let (busy, removed) = (names("busy"), names("d"));
    busy.iter().chain(&removed).for_each(|name| bed.bucket.insert(name, b"content".to_vec()));
    let (saving, keeping) = (Gate::new(), Gate::new());
    bed.faults.inject(Fault::hold(Op::CopyObject, &saving).times(64));
    bed.faults.inject(Fault::hold(Op::CopyObject, &keeping).from_call(65).times(64));
    for name in &busy {
        bed.chmod(name, 0o600).await.unwrap();
    }
    let mut open = Vec::new();
    for name in &removed {
        bed.chmod(name, 0o600).await.unwrap();
        open.push(bed.open(name, READ).await.unwrap());
    }
    bed.chmod("d", 0o700).await.unwrap();
    bed.pass(2_000).await;
    saving.reached_by(64).await;
    let removing = futures_util::future::join_all(removed.iter().map(|name| bed.unlink(name)));
    let opening = async {
        keeping.reached_by(64).await;
        keeping.open();
        bed.settle().await;
        saving.open();
    };
    let both = async { tokio::join!(removing, opening).0 };
    let unlinked = tokio::time::timeout(Duration::from_secs(600), both).await.expect("somebody waits for ever");
    assert!(unlinked.iter().all(Result::is_ok), "{unlinked:?}");
    for file in open {
        file.close().await.unwrap();
    }
    assert_eq!(bed.list(bed.stat("d").await.unwrap().ino).await, Vec::<String>::new());
}

/// The service gives a copy the class of every day unless it is told another one.
#[tokio::test]
async fn what_is_in_a_renamed_directory_keeps_its_storage_class() {
    let bed = Bed::new();
    let class = |key: &str| bed.bucket.object_head(key).unwrap().attributes.storage_class;
    let rare = ObjectAttributes { storage_class: Some("STANDARD_IA".into()), ..ObjectAttributes::default() };
    bed.bucket.insert_with("d/z/f", "rare", &rare);
    bed.bucket.insert("d/z/sub/g", "often");
    bed.rename("d/z", "d/w").await.unwrap();
    assert_eq!((class("d/w/f"), class("d/w/sub/g")), (rare.storage_class, None));
}

/// By a flat listing, which tells of what has the name of the directory now.
#[tokio::test]
async fn a_directory_that_was_replaced_does_not_get_what_is_in_the_next_of_its_name() {
    let bed = Bed::new();
    bed.bucket.insert("d/a", "x");
    bed.bucket.insert("e/", "");
    let replaced = bed.stat("e").await.unwrap().ino;
    let open = bed.fs.opendir(ROOT).await.unwrap();
    bed.rename("d", "e").await.unwrap();
    bed.advance(10_000);
    let name = FileName::new("a").unwrap();
    let same = bed.fs.rename((replaced, &name), (replaced, &name), false).await;
    assert_eq!(same, Err(FsError::Stale));
    assert_eq!(bed.fs.lookup(replaced, &name).await.err(), Some(FsError::Stale));
    bed.fs.releasedir(open);
}
