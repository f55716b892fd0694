//! Files that the kernel reads by itself, from copies on this machine's disk, and those who write them.

use std::os::unix::fs::FileExt;
use std::time::{Duration, SystemTime};

use cosmount::cache::CacheOptions;
use cosmount::fs::{FsError, OpenMode};
use cosmount::store::testing::Fault;
use cosmount::store::{Op, StoreErrorKind};
use tempfile::TempDir;

use crate::bed::{Bed, Choices, File, READ, REPLACE, WRITE, assert_same, bytes};

/// As an editor of parts opens a file, who may map it, too.
const EDIT: OpenMode = OpenMode { reads: true, ..WRITE };

fn choices(home: &TempDir) -> Choices {
    let cache = CacheOptions { directory: home.path().into(), bytes_max: 1 << 30, waiting_bytes_max: 32 << 20 };
    Choices { cache: Some(cache), passes: true, ..Choices::default() }
}

/// A mount with a file that the kernel reads by itself, and who does.
async fn read_by_kernel(home: &TempDir, name: &str, content: &[u8]) -> (Bed, File) {
    let bed = Bed::with(choices(home));
    if let Some((directory, _)) = name.rsplit_once('/') {
        bed.mkdir(directory).await.unwrap();
    }
    bed.put(name, content).await.unwrap();
    bed.cache.as_ref().unwrap().settle(Duration::from_secs(60));
    let held = bed.open(name, READ).await.unwrap();
    assert!(held.backing.is_some());
    (bed, held)
}

/// Opens a file as the kernel does, which looks once more for what has become another.
async fn open(bed: &Bed, name: &str, mode: OpenMode) -> File {
    match bed.open(name, mode).await {
        Err(FsError::Stale) => bed.open(name, mode).await.unwrap(),
        opened => opened.unwrap(),
    }
}

fn store(file: &File, offset: u64, stored: &[u8]) {
    file.backing.as_ref().unwrap().file().write_all_at(stored, offset).unwrap();
}

/// A disk that forgets a bit is not somebody who stores one.
#[tokio::test]
async fn damage_of_a_copy_is_not_published_by_who_opens_the_file_for_writing() {
    let home = tempfile::tempdir().unwrap();
    let content = bytes(1, 300_000);
    let (bed, held) = read_by_kernel(&home, "a", &content).await;
    store(&held, 5000, &[content[5000] ^ 1]);
    let file = open(&bed, "a", EDIT).await;
    file.write(9, b"x").await.unwrap();
    file.close().await.unwrap();
    let expected = [&content[..9], b"x", &content[10..]].concat();
    bed.assert_bucket(&[("a", &expected)]);
    assert_same(&bed.read("a").await.unwrap(), &expected);
}

#[tokio::test]
async fn what_is_stored_in_a_mapping_is_published() {
    let home = tempfile::tempdir().unwrap();
    let mut content = bytes(1, 300_000);
    let (bed, held) = read_by_kernel(&home, "a", &content).await;
    let file = bed.open("a", EDIT).await.unwrap();
    store(&held, 5000, b"stored");
    file.write(200_000, b"written").await.unwrap();
    content[5000..5006].copy_from_slice(b"stored");
    content[200_000..200_007].copy_from_slice(b"written");
    assert_same(&held.read(0, 300_000).await.unwrap(), &content);
    file.flush().await.unwrap();
    bed.assert_bucket(&[("a", &content)]);
}

/// Where the disk shows the first store, nobody reads the whole file to find none.
#[tokio::test]
async fn what_comes_otherwise_from_the_disk_is_no_store_while_nobody_has_stored() {
    let home = tempfile::tempdir().unwrap();
    let content = bytes(1, 300_000);
    let (bed, held) = read_by_kernel(&home, "a", &content).await;
    let disk = held.backing.as_ref().unwrap().file().try_clone().unwrap();
    let magic = rustix::fs::fstatfs(&disk).unwrap().f_type;
    if ![libc::EXT4_SUPER_MAGIC, libc::XFS_SUPER_MAGIC, libc::BTRFS_SUPER_MAGIC].contains(&magic) {
        return;
    }
    let hour_ago = SystemTime::now() - Duration::from_secs(3600);
    disk.set_modified(hour_ago).unwrap();
    let file = bed.open("a", EDIT).await.unwrap();
    store(&held, 5000, &[content[5000] ^ 1]);
    disk.set_modified(hour_ago).unwrap();
    file.flush().await.unwrap();
    bed.assert_bucket(&[("a", &content)]);
    // Which moves the time.
    store(&held, 5000, b"stored");
    file.flush().await.unwrap();
    let expected = [&content[..5000], b"stored", &content[5006..]].concat();
    bed.assert_bucket(&[("a", &expected)]);
}

/// Nobody has all of it any more, and nobody says that it was published.
#[tokio::test]
async fn a_store_that_the_disk_cannot_keep_is_told_to_who_closes() {
    let home = tempfile::tempdir().unwrap();
    let (bed, held) = read_by_kernel(&home, "a", &bytes(1, 300_000)).await;
    let file = bed.open("a", EDIT).await.unwrap();
    store(&held, 5000, b"stored");
    // Longer than what a copy follows.
    file.truncate(17 << 30).await.unwrap();
    file.truncate(300_000).await.unwrap();
    assert_eq!(file.flush().await, Err(FsError::Remote(StoreErrorKind::Internal)));
}

/// Whoever is told that the file is longer, shorter or has other bytes in it must not find those of another version between.
#[tokio::test]
async fn a_writer_of_a_version_that_its_readers_do_not_have_meets_none_of_them() {
    let home = tempfile::tempdir().unwrap();
    let (old, new) = (bytes(1, 300_000), bytes(2, 300_000));
    let (bed, held) = read_by_kernel(&home, "d/a", &old).await;
    bed.bucket.insert("d/a", new.clone());
    bed.rename("d", "e").await.unwrap();
    let file = open(&bed, "e/a", EDIT).await;
    let read = file.read(0, 300_000).await.unwrap();
    file.write(7, &read[7..9]).await.unwrap();
    file.close().await.unwrap();
    assert_same(&bed.read("e/a").await.unwrap(), &new);
    assert_same(&held.read(0, 300_000).await.unwrap(), &old);
}

/// Who maps the file would see what never was published.
#[tokio::test]
async fn a_file_that_could_not_be_published_is_what_is_in_the_bucket_for_who_opens_it() {
    let home = tempfile::tempdir().unwrap();
    let content = bytes(1, 300_000);
    let (bed, _held) = read_by_kernel(&home, "a", &content).await;
    let file = bed.open("a", WRITE).await.unwrap();
    file.write(5, b"lost").await.unwrap();
    bed.faults.inject(Fault::every(Op::PutObject, StoreErrorKind::Denied));
    assert!(file.close().await.is_err());
    let _ = bed.open("a", READ).await;
    let opened = bed.fs.open(bed.stat("a").await.unwrap().ino, READ).await.unwrap();
    let mut shown = content.clone();
    if let Some(backing) = &opened.backing {
        backing.file().read_exact_at(&mut shown, 0).unwrap();
    }
    assert_same(&shown, &content);
}

/// A mount that does not see who has files mapped, in a container, has writers who may map a file not meet its readers. But two who
/// write do meet.
#[tokio::test]
async fn two_writers_write_to_one_file_whatever_its_readers_see() {
    let home = tempfile::tempdir().unwrap();
    let content = bytes(1, 300_000);
    let (bed, _held) = read_by_kernel(&home, "a", &content).await;
    bed.fs.passthrough().allow(true, false);
    let appends = bed.open("a", WRITE).await.unwrap();
    appends.write(300_000, b"line").await.unwrap();
    let cuts = bed.open("a", OpenMode { truncates: true, ..EDIT }).await.unwrap();
    assert_eq!(cuts.ino, appends.ino);
    appends.write(0, b"next").await.unwrap();
    cuts.close().await.unwrap();
    appends.close().await.unwrap();
    bed.assert_bucket(&[("a", b"next")]);
}

/// The second one finds out that the disk is damaged below what the readers see. The file is what the first one writes all the same.
#[tokio::test]
async fn a_second_writer_who_finds_damage_writes_to_the_file_of_the_first() {
    let home = tempfile::tempdir().unwrap();
    let content = bytes(1, 300_000);
    let (bed, held) = read_by_kernel(&home, "a", &content).await;
    store(&held, 5000, &[content[5000] ^ 1]);
    let first = bed.open("a", WRITE).await.unwrap();
    first.write(9, b"first").await.unwrap();
    let second = bed.open("a", EDIT).await.unwrap();
    assert_eq!(second.ino, first.ino);
    second.write(20, b"second").await.unwrap();
    second.close().await.unwrap();
    first.close().await.unwrap();
    let expected = [&content[..9], b"first", &content[14..20], b"second", &content[26..]].concat();
    bed.assert_bucket(&[("a", &expected)]);
}

#[tokio::test]
async fn what_is_stored_in_a_mapping_is_copied_by_who_reads_and_writes() {
    let home = tempfile::tempdir().unwrap();
    let (bed, held) = read_by_kernel(&home, "a", &bytes(1, 300_000)).await;
    let (from, to) = (bed.open("a", EDIT).await.unwrap(), bed.try_create("b", REPLACE).await.unwrap());
    store(&held, 5000, b"stored");
    let copied = bed.fs.copy_range((from.handle, 0), (to.handle, 0), 300_000).await;
    assert_eq!(copied, Err(FsError::NotSupported));
}

#[tokio::test]
async fn a_file_that_the_kernel_reads_was_read() {
    let home = tempfile::tempdir().unwrap();
    let (bed, held) = read_by_kernel(&home, "a", &bytes(1, 300_000)).await;
    held.close().await.unwrap();
    bed.advance(86_400_000);
    let before = bed.stat("a").await.unwrap().atime;
    bed.open("a", READ).await.unwrap().close().await.unwrap();
    assert!(bed.stat("a").await.unwrap().atime > before);
}
