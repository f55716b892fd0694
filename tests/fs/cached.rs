//! Copies on this machine's disk: what they spare, and when they are not believed.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cosmount::cache::{CacheOptions, Filling, Identity};
use cosmount::object::{ChecksumAlgorithm, ObjectAttributes, Tags};
use cosmount::store::Op;
use cosmount::store::testing::Fault;
use tempfile::TempDir;

use crate::bed::{Bed, Choices, KIB, MIB, READ, WRITE, assert_same, bytes};

fn choices(home: &TempDir) -> Choices {
    Choices {
        cache: Some(CacheOptions { directory: home.path().into(), bytes_max: 1 << 30, waiting_bytes_max: 32 << 20 }),
        ..Choices::default()
    }
}

/// A mount with copies in `home`, and a second one of the same bucket, which has none of what the first one has in memory.
fn two_mounts(home: &TempDir) -> (Bed, Bed) {
    let first = Bed::with(choices(home));
    let second = first.another_with(choices(home));
    (first, second)
}

fn reads(bed: &Bed) -> usize {
    bed.bucket.requests().iter().filter(|request| request.op == Op::GetObject).count()
}

fn settle(bed: &Bed) {
    bed.cache.as_ref().unwrap().settle(Duration::from_secs(60));
}

fn copies(directory: &Path) -> Vec<PathBuf> {
    let shards = fs::read_dir(directory.join("v1")).unwrap();
    let files = shards.flat_map(|shard| fs::read_dir(shard.unwrap().path()).unwrap());
    files.map(|file| file.unwrap().path()).filter(|path| path.extension().unwrap() == "data").collect()
}

#[tokio::test]
async fn what_was_read_is_not_asked_for_by_the_next_mount() {
    for len in [1, 16 * KIB, 300 * KIB, MIB + 5, 12 * MIB + 77] {
        let home = tempfile::tempdir().unwrap();
        let (first, second) = two_mounts(&home);
        let content = bytes(1, len);
        first.bucket.insert("a", content.clone());
        assert_same(&first.read("a").await.unwrap(), &content);
        settle(&first);
        let before = reads(&first);
        assert_same(&second.read("a").await.unwrap(), &content);
        let file = second.open("a", READ).await.unwrap();
        for at in [len / 2, 0, len - 1] {
            assert_same(&file.read(at, 5000).await.unwrap(), &content[at..len.min(at + 5000)]);
        }
        assert_eq!(reads(&first), before, "{len}");
        assert!(second.cache.as_ref().unwrap().counts().hits > 0);
    }
}

#[tokio::test]
async fn what_was_read_in_part_is_not_asked_for_again() {
    let home = tempfile::tempdir().unwrap();
    let (first, second) = two_mounts(&home);
    let content = bytes(1, 12 * MIB);
    first.bucket.insert("a", content.clone());
    let file = first.open("a", READ).await.unwrap();
    for at in [5 * MIB, 9 * MIB + 4096] {
        file.read(at, 4096).await.unwrap();
    }
    settle(&first);
    let before = reads(&first);
    let file = second.open("a", READ).await.unwrap();
    for at in [9 * MIB + 4096, 5 * MIB] {
        assert_same(&file.read(at, 4096).await.unwrap(), &content[at..at + 4096]);
    }
    assert_eq!(reads(&first), before);
    assert_same(&second.read("a").await.unwrap(), &content);
}

/// A disk that hangs holds nobody up but those who find that out.
#[tokio::test]
async fn a_disk_that_has_kept_somebody_waiting_is_not_asked_for_a_while() {
    let home = tempfile::tempdir().unwrap();
    let (first, second) = two_mounts(&home);
    let content = bytes(1, 300 * KIB);
    first.put("a", &content).await.unwrap();
    settle(&first);
    let cache = second.cache.as_ref().unwrap();
    cache.note_silence();
    let before = reads(&first);
    assert_same(&second.read("a").await.unwrap(), &content);
    assert!(cache.is_silent() && reads(&first) > before && cache.counts().hits == 0);
}

fn heads(bed: &Bed) -> usize {
    bed.bucket.requests().iter().filter(|request| request.op == Op::HeadObject).count()
}

/// A remount would ask for each file otherwise.
#[tokio::test]
async fn what_is_known_of_a_copy_is_not_asked_for_by_the_next_mount() {
    let home = tempfile::tempdir().unwrap();
    let (first, second) = two_mounts(&home);
    let user = [("mode".to_owned(), "33024".to_owned())].into();
    first.bucket.insert_with("read", bytes(1, 9000), &ObjectAttributes { user, ..ObjectAttributes::default() });
    first.put("put", &bytes(2, 9000)).await.unwrap();
    first.put("parts", &bytes(3, 12 * MIB)).await.unwrap();
    settle(&first);
    // Whoever gives them other metadata now gives them another time.
    first.clock.advance(Duration::from_secs(60));
    let files = [("read", 0o400), ("put", 0o644), ("parts", 0o644)];
    for (name, _) in files {
        assert_eq!(second.read(name).await.unwrap().len() as u64, second.stat(name).await.unwrap().size);
    }
    settle(&second);
    let before = heads(&first);
    let third = first.another_with(choices(&home));
    for (name, permissions) in files {
        let (known, told) = (second.stat(name).await.unwrap(), third.stat(name).await.unwrap());
        assert_eq!((told.permissions, told.mtime, told.size), (permissions, known.mtime, known.size), "{name}");
    }
    assert_eq!(heads(&first), before);
}

/// The time of an object is one of whole seconds, and whoever asks in the same one may be told of what is no more. That counts for as long
/// as it is in memory, and not beyond.
#[tokio::test]
async fn what_has_had_other_metadata_within_the_same_second_is_asked_for() {
    for is_ours in [true, false] {
        let home = tempfile::tempdir().unwrap();
        let (first, second) = two_mounts(&home);
        match is_ours {
            true => first.put("a", &bytes(1, 9000)).await.unwrap(),
            false => first.bucket.insert("a", bytes(1, 9000)),
        }
        first.read("a").await.unwrap();
        let user = [("mode".to_owned(), "33024".to_owned())].into();
        first.bucket.insert_with("a", bytes(1, 9000), &ObjectAttributes { user, ..ObjectAttributes::default() });
        first.clock.advance(Duration::from_secs(60));
        assert_eq!(first.stat("a").await.unwrap().permissions, 0o644, "nobody can know");
        first.read("a").await.unwrap();
        settle(&first);
        assert_eq!(second.stat("a").await.unwrap().permissions, 0o400);
    }
}

/// Tags change neither the version nor its time, and an edit gives an object all metadata anew.
#[tokio::test]
async fn what_is_changed_with_what_is_known_of_a_copy_is_asked_for_first() {
    let home = tempfile::tempdir().unwrap();
    let (first, second) = two_mounts(&home);
    for name in ["edited", "renamed", "changed"] {
        first.bucket.insert(name, bytes(1, 9000));
    }
    first.clock.advance(Duration::from_secs(60));
    for name in ["edited", "renamed", "changed"] {
        first.read(name).await.unwrap();
    }
    settle(&first);
    for name in ["edited", "renamed", "changed"] {
        first.bucket.tag(name, Tags::Are("team=web".to_owned()));
    }
    let before = heads(&first);
    for name in ["edited", "renamed", "changed"] {
        second.stat(name).await.unwrap();
    }
    assert_eq!(heads(&first), before);
    let file = second.open("edited", WRITE).await.unwrap();
    file.write(5, b"x").await.unwrap();
    file.close().await.unwrap();
    second.rename("renamed", "moved").await.unwrap();
    second.chmod("changed", 0o600).await.unwrap();
    second.publish_all().await;
    for name in ["edited", "moved", "changed"] {
        let tags = first.bucket.object_head(name).unwrap().attributes.tags;
        assert_eq!(tags, Tags::Are("team=web".to_owned()), "{name}");
    }
}

/// They are the same version, and its copy is still one.
#[tokio::test]
async fn other_metadata_for_the_same_bytes_are_asked_for() {
    let home = tempfile::tempdir().unwrap();
    let (first, second) = two_mounts(&home);
    first.bucket.insert("a", bytes(1, 9000));
    first.clock.advance(Duration::from_secs(60));
    first.read("a").await.unwrap();
    settle(&first);
    let user = [("mode".to_owned(), "33024".to_owned())].into();
    first.bucket.insert_with("a", bytes(1, 9000), &ObjectAttributes { user, ..ObjectAttributes::default() });
    first.clock.advance(Duration::from_secs(60));
    for bed in [&second, &first.another_with(choices(&home))] {
        assert_eq!(bed.stat("a").await.unwrap().permissions, 0o400);
        let before = reads(&first);
        assert_same(&bed.read("a").await.unwrap(), &bytes(1, 9000));
        assert_eq!(reads(&first), before, "the bytes are there");
        settle(bed);
    }
    let before = heads(&first);
    assert_eq!(first.another_with(choices(&home)).stat("a").await.unwrap().permissions, 0o400);
    assert_eq!(heads(&first), before, "what was told last is written down");
}

#[tokio::test]
async fn a_copy_that_was_damaged_is_fetched_again() {
    let home = tempfile::tempdir().unwrap();
    let (first, second) = two_mounts(&home);
    let content = bytes(1, 3 * MIB);
    first.bucket.insert("a", content.clone());
    assert_same(&first.read("a").await.unwrap(), &content);
    settle(&first);
    let path = &copies(home.path())[0];
    let mut damaged = fs::read(path).unwrap();
    damaged[2 * MIB + 9] ^= 4;
    fs::write(path, damaged).unwrap();
    assert_same(&second.read("a").await.unwrap(), &content);
    settle(&second);
    assert_same(&fs::read(path).unwrap(), &content);
}

/// Bytes that came damaged are kept until the whole shows it. The next mount does not take them for the object's, and whoever
/// finds out forgets them.
#[tokio::test]
async fn what_came_damaged_is_not_believed_because_it_is_on_the_disk() {
    for len in [3 * MIB + 5, 12 * MIB, 30 * MIB] {
        let home = tempfile::tempdir().unwrap();
        let (first, second) = two_mounts(&home);
        let content = bytes(1, len);
        first.bucket.insert("a", content.clone());
        first.faults.inject(Fault::damage_read());
        let file = first.open("a", READ).await.unwrap();
        let looked = file.read(0, 128 * KIB).await.unwrap();
        assert!(looked != content[..128 * KIB], "the first bytes are handed out before the rest is there");
        file.close().await.unwrap();
        settle(&first);
        let read = second.read("a").await;
        assert!(read.as_ref().is_err() || *read.as_ref().unwrap() == content, "{len}");
        let again = second.read("a").await.unwrap();
        assert_same(&again, &content);
    }
}

#[tokio::test]
async fn what_was_put_whole_is_read_without_a_request() {
    let home = tempfile::tempdir().unwrap();
    let (first, second) = two_mounts(&home);
    let mut before = 0;
    for (index, len) in [1, 5000, 300 * KIB + 3].into_iter().enumerate() {
        let (name, content) = (format!("f{index}"), bytes(index as u64, len));
        first.put(&name, &content).await.unwrap();
        for bed in [&first, &second] {
            assert_same(&bed.read(&name).await.unwrap(), &content);
        }
        assert_eq!(reads(&first), before, "{len}");
        // Another content is another version, also when somebody else has put it.
        first.bucket.insert(&name, bytes(9, len));
        first.clock.advance(Duration::from_secs(60));
        assert_same(&first.read(&name).await.unwrap(), &bytes(9, len));
        before = reads(&first);
    }
}

#[tokio::test]
async fn what_was_uploaded_in_parts_is_read_without_a_request() {
    for len in [5 * MIB, 9 * MIB + 5001, 20 * MIB] {
        let home = tempfile::tempdir().unwrap();
        let (first, second) = two_mounts(&home);
        let content = bytes(len as u64, len);
        // At once, before anybody has written it to the disk.
        first.put("a", &content).await.unwrap();
        assert_same(&first.read("a").await.unwrap(), &content);
        assert_same(&second.read("a").await.unwrap(), &content);
        assert_eq!(reads(&first), 0, "{len}");
        // An edit is copied on the service where it changed nothing, and is read right.
        let file = first.open("a", WRITE).await.unwrap();
        file.write(len / 2, b"edited").await.unwrap();
        file.close().await.unwrap();
        let mut edited = content;
        edited[len / 2..len / 2 + 6].copy_from_slice(b"edited");
        for bed in [&first, &second] {
            bed.advance(60_000);
            assert_same(&bed.read("a").await.unwrap(), &edited);
        }
        settle(&first);
        assert_same(&second.read("a").await.unwrap(), &edited);
    }
}

#[tokio::test]
async fn parts_that_are_sent_anew_are_kept_as_they_are_last() {
    let home = tempfile::tempdir().unwrap();
    let (first, second) = two_mounts(&home);
    let (len, mut content) = (12 * MIB, bytes(1, 12 * MIB));
    let file = first.create("a").await;
    for start in (0..len).step_by(MIB) {
        file.write(start, &content[start..start + MIB]).await.unwrap();
    }
    for start in [MIB / 2, 7 * MIB + 5, 0] {
        file.write(start, &[7; 100_000]).await.unwrap();
        content[start..start + 100_000].fill(7);
    }
    file.close().await.unwrap();
    settle(&first);
    for bed in [&first, &second] {
        assert_same(&bed.read("a").await.unwrap(), &content);
    }
}

#[tokio::test]
async fn a_new_version_is_not_read_from_the_copy_of_the_old_one() {
    let home = tempfile::tempdir().unwrap();
    let (first, _) = two_mounts(&home);
    first.put("a", &bytes(1, 300 * KIB)).await.unwrap();
    assert_same(&first.read("a").await.unwrap(), &bytes(1, 300 * KIB));
    settle(&first);
    first.put("a", &bytes(2, 300 * KIB)).await.unwrap();
    assert_same(&first.read("a").await.unwrap(), &bytes(2, 300 * KIB));
}

#[tokio::test]
async fn the_rest_of_a_file_is_fetched_where_so_much_was_read() {
    for (percent, is_filled) in [(1, true), (101, false)] {
        let home = tempfile::tempdir().unwrap();
        let bed = Bed::with(Choices { fill_percent: percent, ..choices(&home) });
        let content = bytes(1, 12 * MIB);
        bed.bucket.insert("a", content.clone());
        let file = bed.open("a", READ).await.unwrap();
        for at in [5, 9, 2, 11, 7, 1, 10, 3, 8, 0] {
            file.read(at * MIB + 4096, 4096).await.unwrap();
        }
        file.close().await.unwrap();
        let ino = bed.stat("a").await.unwrap().ino;
        let cached = async || bed.fs.attributes().getxattr(ino, "user.cosmount.cached").await.unwrap();
        let all = format!("{0}/{0}", 12 * MIB).into_bytes();
        let until = std::time::Instant::now() + Duration::from_secs(if is_filled { 60 } else { 1 });
        while cached().await != all && std::time::Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(cached().await == all, is_filled, "{percent}");
        let before = reads(&bed);
        assert_same(&bed.read("a").await.unwrap(), &content);
        assert_eq!(reads(&bed) == before, is_filled, "{percent}");
    }
}

/// Who fetched it had not been told the checksum of the object, and the kernel compares nothing.
#[tokio::test]
async fn a_whole_copy_that_nobody_has_compared_with_the_object_is_not_read_by_the_kernel() {
    let home = tempfile::tempdir().unwrap();
    let bed = Bed::with(Choices { passes: true, ..choices(&home) });
    let content = bytes(1, 3 * MIB);
    ["right", "wrong"].iter().for_each(|name| bed.bucket.insert(name, content.clone()));
    for (name, damaged) in [("right", content.clone()), ("wrong", bytes(2, 3 * MIB))] {
        let etag = bed.bucket.object_head(name).unwrap().etag;
        let (origin, key) = ("http://b".to_owned(), name.to_owned());
        let (cache, algorithm) = (bed.cache.as_ref().unwrap(), ChecksumAlgorithm::Crc64Xz);
        let copy = cache.entry(&Identity { origin, key, etag, size: 3 * MIB as u64 }, algorithm).unwrap();
        cache.fill(Filling::new(copy.clone(), 0, (Arc::new(damaged), 3 * MIB as u64), None));
        settle(&bed);
        assert!(copy.is_whole() && !copy.is_verified() && copy.is_proven());
        drop(copy);
        let file = bed.open(name, READ).await.unwrap();
        assert!(file.backing.is_none(), "{name}");
        file.close().await.unwrap();
        assert_same(&bed.read(name).await.unwrap(), &content);
    }
}
