//! Two mounts of one bucket on one machine, and changes that others make behind the mount's back.

use cosmount::fs::{FsError, LockFamily, LockKind, LockRequest, Others, ROOT};
use cosmount::store::testing::{Fault, Gate};
use cosmount::store::{Op, StoreErrorKind};
use futures_util::poll;

use crate::bed::{Bed, Choices, File, MIB, READ, WRITE, assert_same, bytes};

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

/// What is in memory of an old version would otherwise be answered, and kept by the kernel for those who read the new one.
#[tokio::test]
async fn an_old_version_is_not_read_once_somebody_has_opened_the_new_one() {
    for len in [5000, 3 * MIB] {
        let (_directory, a, b) = two_mounts();
        a.put("f", &bytes(1, len)).await.unwrap();
        let old = b.open("f", READ).await.unwrap();
        assert_eq!(old.read_all().await.unwrap().len(), len);
        a.put("f", &bytes(2, len)).await.unwrap();
        let new = b.open("f", READ).await.unwrap();
        assert_eq!(old.read(0, 4096).await, Err(FsError::Stale));
        assert_same(&new.read_all().await.unwrap(), &bytes(2, len));
        let again = b.open("f", READ).await.unwrap();
        assert_same(&again.read_all().await.unwrap(), &bytes(2, len));
        for file in [old, new, again] {
            file.close().await.unwrap();
        }
    }
}

fn request(file: &File, kind: LockKind) -> LockRequest {
    let (family, handle) = (LockFamily::Record, file.handle);
    LockRequest { family, owner: 1, handle, pid: 1, kind, start: 0, end: 100 }
}

async fn lock(bed: &Bed, file: &File, kind: LockKind) -> Result<(), FsError> {
    bed.fs.locks().lock_range(file.ino, request(file, kind), false).await?;
    bed.fs.locks().renew_after_locking(file.ino).await
}

async fn unlock(bed: &Bed, file: &File) {
    bed.fs.locks().publish_before_unlocking(file.ino).await;
    bed.fs.locks().lock_range(file.ino, request(file, LockKind::None), false).await.unwrap();
}

/// What data bases do that several processes have open: each locks, looks what is there, and adds to it.
#[tokio::test]
async fn who_locks_a_file_sees_what_was_written_to_it_under_the_other_mounts_lock() {
    let (_directory, a, b) = two_mounts();
    a.put("f", b"0").await.unwrap();
    let (of_a, of_b) = (a.open("f", WRITE).await.unwrap(), b.open("f", WRITE).await.unwrap());
    let reader = b.open("f", READ).await.unwrap();
    let mut expected = b"0".to_vec();
    for round in 1..=9 {
        let (bed, file) = if round % 2 == 0 { (&a, &of_a) } else { (&b, &of_b) };
        lock(bed, file, LockKind::Exclusive).await.unwrap();
        assert_eq!(file.size().await, round);
        assert_eq!(file.read(0, 100).await.unwrap(), expected);
        let digit = [b'0' + round as u8];
        file.write(round, &digit).await.unwrap();
        expected.extend(digit);
        unlock(bed, file).await;
    }
    lock(&b, &reader, LockKind::Shared).await.unwrap();
    assert_eq!(reader.read(0, 100).await.unwrap(), expected);
    for file in [of_a, of_b, reader] {
        file.close().await.unwrap();
    }
    a.assert_bucket(&[("f", &expected)]);
}

#[tokio::test]
async fn a_lock_by_one_mount_keeps_the_other_out_until_it_ends_by_whatever_way() {
    let (_directory, a, b) = two_mounts();
    a.put("f", b"content").await.unwrap();
    let (of_a, of_b) = (a.open("f", WRITE).await.unwrap(), b.open("f", WRITE).await.unwrap());
    for way in 0..3 {
        lock(&a, &of_a, LockKind::Exclusive).await.unwrap();
        assert_eq!(lock(&b, &of_b, LockKind::Shared).await, Err(FsError::Locked));
        let mut waits = Box::pin(b.fs.locks().lock_range(of_b.ino, request(&of_b, LockKind::Shared), true));
        assert!(poll!(&mut waits).is_pending());
        match way {
            0 => unlock(&a, &of_a).await,
            1 => a.fs.locks().unlock_process(of_a.ino, 1),
            _ => a.fs.locks().unlock_handle(of_a.ino, of_a.handle),
        }
        waits.await.unwrap();
        unlock(&b, &of_b).await;
    }
    lock(&a, &of_a, LockKind::Exclusive).await.unwrap();
    let mut waits = Box::pin(b.fs.locks().lock_range(of_b.ino, request(&of_b, LockKind::Shared), true));
    assert!(poll!(&mut waits).is_pending());
    drop(waits);
    unlock(&a, &of_a).await;
    lock(&a, &of_a, LockKind::Exclusive).await.expect("who gave up waiting does not get it");
    let flock = LockRequest { family: LockFamily::Flock, ..request(&of_b, LockKind::Exclusive) };
    b.fs.locks().lock_range(of_b.ino, flock, false).await.expect("the two families do not see each other");
}

/// Who may see an old version under his lock must not believe that he has it.
#[tokio::test]
async fn a_lock_whose_file_cannot_be_looked_at_is_an_error_each_time() {
    let (_directory, a, b) = two_mounts();
    a.put("f", b"content").await.unwrap();
    let of_b = b.open("f", WRITE).await.unwrap();
    a.put("f", b"more content").await.unwrap();
    b.faults.inject(Fault::nth(Op::HeadObject, 1, StoreErrorKind::Unreachable).times(2));
    for _ in 0..2 {
        let locked = lock(&b, &of_b, LockKind::Shared).await;
        assert_eq!(locked, Err(FsError::Remote(StoreErrorKind::Unreachable)));
    }
    lock(&b, &of_b, LockKind::Shared).await.unwrap();
    assert_eq!(of_b.size().await, 12);
}

/// Two processes lock a file that the other mount has changed: neither has its lock before it sees what that has made of it.
#[tokio::test]
async fn who_locks_a_file_while_another_looks_at_it_waits_for_that_too() {
    let (_directory, a, b) = two_mounts();
    a.put("f", b"content").await.unwrap();
    let (writer, reader) = (b.open("f", WRITE).await.unwrap(), b.open("f", READ).await.unwrap());
    a.put("f", b"more content").await.unwrap();
    let gate = Gate::new();
    b.faults.inject(Fault::hold(Op::HeadObject, &gate).times(3));
    let mut given_up = Box::pin(lock(&b, &writer, LockKind::Shared));
    assert!(poll!(&mut given_up).is_pending());
    let mut first = Box::pin(lock(&b, &writer, LockKind::Shared));
    assert!(poll!(&mut first).is_pending());
    drop(given_up);
    let mut second = Box::pin(lock(&b, &reader, LockKind::Shared));
    assert!(poll!(&mut second).is_pending());
    gate.open();
    first.await.unwrap();
    second.await.unwrap();
    assert_eq!(reader.read(0, 100).await.unwrap(), b"more content");
}

/// Somebody lists a directory while the other mount puts a file into it, and somebody else looks for the file.
#[tokio::test]
async fn what_was_asked_before_a_change_of_the_other_mount_does_not_count_after_it() {
    let (_directory, a, b) = two_mounts();
    let gate = Gate::new();
    b.faults.inject(Fault::hold(Op::ListObjects, &gate).answer_lost());
    let mut early = Box::pin(b.stat("x"));
    assert!(poll!(&mut early).is_pending());
    a.put("f", b"content").await.unwrap();
    let mut late = Box::pin(b.stat("f"));
    assert!(poll!(&mut late).is_pending());
    gate.open();
    let (early, late) = tokio::join!(early, late);
    assert_eq!(early, Err(FsError::NotFound));
    assert_eq!(late.unwrap().size, 7);
}

/// A lock is of a file, and not of its name.
#[tokio::test]
async fn locks_go_with_the_file_when_it_is_renamed_or_removed() {
    let (_directory, a, b) = two_mounts();
    a.mkdir("d").await.unwrap();
    for path in ["d/f", "g"] {
        a.put(path, b"content").await.unwrap();
    }
    let (f, g) = (a.open("d/f", WRITE).await.unwrap(), a.open("g", WRITE).await.unwrap());
    for file in [&f, &g] {
        lock(&a, file, LockKind::Exclusive).await.unwrap();
    }
    let by_b = async |path: &str| {
        let file = b.open(path, READ).await.unwrap();
        let locked = lock(&b, &file, LockKind::Shared).await;
        b.fs.locks().unlock_handle(file.ino, file.handle);
        file.close().await.unwrap();
        locked
    };
    a.rename("d", "e").await.unwrap();
    a.put("new", b"another").await.unwrap();
    assert_eq!(by_b("e/f").await, Err(FsError::Locked), "below a directory that was renamed");
    a.rename("e/f", "g").await.unwrap();
    assert_eq!(by_b("g").await, Err(FsError::Locked), "over another that is locked");
    unlock(&a, &f).await;
    assert_eq!(by_b("g").await, Ok(()), "the one that was replaced keeps its lock to itself");
    lock(&a, &f, LockKind::Exclusive).await.unwrap();
    a.unlink("g").await.unwrap();
    a.put("g", b"new").await.unwrap();
    assert_eq!(by_b("g").await, Ok(()), "a new file of a name that was removed");
    let again = a.fs.locks().lock_range(f.ino, LockRequest { owner: 2, ..request(&f, LockKind::Shared) }, false).await;
    assert_eq!(again, Err(FsError::Locked), "who has it open without a name");
}
