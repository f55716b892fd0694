//! What a cache is good for, and what it never does: give other bytes than those that it was given.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use tempfile::TempDir;

use super::draft::Draft;
use super::entry::{Files, record_at};
use super::header::tests::identity;
use super::{CacheOptions, Description, DiskCache, Entry, Filling, GRAIN_BYTES, Identity, Look};
use crate::object::{Checksum, ChecksumAlgorithm, ObjectAttributes};

const XZ: ChecksumAlgorithm = ChecksumAlgorithm::Crc64Xz;
const SIZE: usize = 100_001;

fn options(home: &TempDir, bytes_max: u64) -> CacheOptions {
    CacheOptions { directory: home.path().join("c"), bytes_max, waiting_bytes_max: 32 << 20 }
}

fn cache_of(bytes_max: u64) -> (TempDir, Arc<DiskCache>) {
    let home = tempfile::tempdir().unwrap();
    let cache = DiskCache::open(&options(&home, bytes_max)).unwrap();
    (home, cache)
}

fn again(home: &TempDir) -> Arc<DiskCache> {
    DiskCache::open(&options(home, 1 << 30)).unwrap()
}

fn content(seed: usize, len: usize) -> Vec<u8> {
    (0..len).map(|i| ((i + seed).wrapping_mul(2_654_435_761) >> 11) as u8).collect()
}

fn fill(cache: &DiskCache, entry: &Arc<Entry>, start: u64, bytes: &[u8], expected: Option<Checksum>) {
    cache.fill(Filling::new(entry.clone(), start, (Arc::new(bytes.to_vec()), bytes.len() as u64), expected));
    cache.settle(Duration::from_secs(60));
}

/// A whole copy.
fn keep(cache: &DiskCache, identity: &Identity, content: &[u8]) -> Arc<Entry> {
    let entry = cache.entry(identity, XZ).unwrap();
    fill(cache, &entry, 0, content, Some(XZ.of(content)));
    entry
}

/// The files with that ending.
fn files(home: &TempDir, ending: &str) -> Vec<PathBuf> {
    let shards = fs::read_dir(home.path().join("c/v1")).unwrap();
    let all = shards.flat_map(|shard| fs::read_dir(shard.unwrap().path()).unwrap());
    all.map(|file| file.unwrap().path()).filter(|path| path.to_string_lossy().ends_with(ending)).collect()
}

#[test]
fn a_whole_copy_outlives_the_mount() {
    let (home, cache) = cache_of(1 << 30);
    let (identity, content) = (identity("a", SIZE as u64), content(1, SIZE));
    let entry = cache.entry(&identity, XZ).unwrap();
    for (index, piece) in content.chunks(30_000).enumerate().rev() {
        // As grains, which pieces do not begin and end with.
        let start = index * 30_000 / 4096 * 4096;
        let end = (index * 30_000 + piece.len()).next_multiple_of(4096).min(SIZE);
        assert!(!entry.is_whole());
        fill(&cache, &entry, start as u64, &content[start..end], Some(XZ.of(&content)));
    }
    assert!(entry.is_whole() && entry.is_verified());
    drop((entry, cache));
    let entry = again(&home).entry(&identity, XZ).unwrap();
    assert!(entry.is_whole() && entry.is_verified());
    assert_eq!(entry.read(0..SIZE as u64 + 7).unwrap().unwrap(), content);
    assert_eq!(entry.read(99_999..100_000).unwrap().unwrap(), content[99_999..100_000]);
    assert_eq!(fs::metadata(&files(&home, ".data")[0]).unwrap().len(), SIZE as u64, "as the kernel reads it by itself");
}

#[test]
fn nobody_else_can_read_it() {
    let (home, cache) = cache_of(1 << 30);
    keep(&cache, &identity("a", 5), b"hello");
    let mode = |path: &PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!([".data", ".sums"].map(|ending| mode(&files(&home, ending)[0])), [0o600, 0o600]);
    assert_eq!(mode(&home.path().join("c/v1")), 0o700);
}

#[test]
fn what_does_not_have_the_checksum_of_the_object_is_not_kept() {
    let (_home, cache) = cache_of(1 << 30);
    let identity = identity("a", SIZE as u64);
    let mut damaged = content(1, SIZE);
    damaged[70_000] ^= 1;
    let entry = cache.entry(&identity, XZ).unwrap();
    fill(&cache, &entry, 0, &damaged, Some(XZ.of(&content(1, SIZE))));
    assert!(!entry.is_whole());
    assert_eq!(entry.read(0..10).unwrap(), None);
    fill(&cache, &entry, 0, &content(1, SIZE), Some(XZ.of(&content(1, SIZE))));
    assert!(entry.is_verified());
}

#[test]
fn a_thousand_flips_are_a_thousand_damages() {
    let (home, cache) = cache_of(1 << 30);
    let (identity, content) = (identity("a", SIZE as u64), content(1, SIZE));
    drop(keep(&cache, &identity, &content));
    let (data, sums) = (files(&home, ".data")[0].clone(), files(&home, ".sums")[0].clone());
    let whole = [&data, &sums].map(|path| fs::read(path).unwrap());
    let mut random = 7u64;
    let mut found = 0;
    for round in 0..1000 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let of_data = round % 4 != 0;
        let (path, before) = if of_data { (&data, &whole[0]) } else { (&sums, &whole[1]) };
        let bits = before.len() as u64 * 8;
        let bit = (random >> 20) % bits;
        let file = fs::OpenOptions::new().write(true).open(path).unwrap();
        file.write_all_at(&[before[(bit / 8) as usize] ^ (1 << (bit % 8))], bit / 8).unwrap();
        let opened = DiskCache::open(&options(&home, 1 << 30)).unwrap();
        if round % 2 == 0 {
            let damaged = DiskCache::verify(&home.path().join("c")).unwrap().damaged;
            assert_eq!(damaged, 1, "bit {bit} of {}", path.display());
            found += damaged;
        } else {
            let entry = opened.entry(&identity, XZ).unwrap();
            let mut was_absent = false;
            for start in (0..SIZE as u64).step_by(10_000) {
                match entry.read(start..start + 10_000).unwrap() {
                    Some(read) => {
                        assert!(content[start as usize..].starts_with(&read), "bit {bit} of {}", path.display())
                    }
                    None => was_absent = true,
                }
            }
            assert!(was_absent, "bit {bit} of {}", path.display());
            found += u64::from(was_absent);
        }
        fs::write(&data, &whole[0]).unwrap();
        fs::write(&sums, &whole[1]).unwrap();
    }
    assert_eq!(found, 1000);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// The machine stops: of each page that was written since the last sync either what it was or what it is now is on the disk.
    #[test]
    fn a_crash_loses_what_was_written_and_makes_nothing_up(
        pieces in prop::collection::vec((0u64..25, 1u64..9), 1..12),
        synced in 0usize..12,
        lost in prop::collection::vec(any::<bool>(), 64),
    ) {
        let (home, cache) = cache_of(1 << 30);
        let (identity, content) = (identity("a", SIZE as u64), content(3, SIZE));
        let mut on_disk = Vec::new();
        for (index, (grain, grains)) in pieces.iter().enumerate() {
            let entry = cache.entry(&identity, XZ).unwrap();
            let start = (grain * GRAIN_BYTES).min(SIZE as u64);
            let end = (start + grains * GRAIN_BYTES).min(SIZE as u64);
            fill(&cache, &entry, start, &content[start as usize..end as usize], Some(XZ.of(&content)));
            if index <= synced {
                on_disk = [".data", ".sums"].map(|ending| fs::read(&files(&home, ending)[0]).unwrap()).to_vec();
            }
        }
        let mut lost = lost.into_iter().cycle();
        for (ending, before) in [".data", ".sums"].iter().zip(on_disk) {
            let path = &files(&home, ending)[0];
            let mut after = fs::read(path).unwrap();
            for (page, bytes) in after.chunks_mut(4096).enumerate() {
                if lost.next().unwrap() {
                    let old = before.get(page * 4096..).unwrap_or(&[]);
                    for (at, byte) in bytes.iter_mut().enumerate() {
                        *byte = old.get(at).copied().unwrap_or(0);
                    }
                }
            }
            fs::write(path, after).unwrap();
        }
        let opened = again(&home).entry(&identity, XZ);
        if let Some(entry) = opened {
            for start in (0..SIZE as u64).step_by(4096) {
                if let Some(read) = entry.read(start..start + 4096).unwrap() {
                    prop_assert!(content[start as usize..].starts_with(&read), "at {}", start);
                }
            }
        }
    }
}

#[test]
fn the_least_recently_used_makes_way_and_nothing_that_is_open() {
    let (home, cache) = cache_of(1 << 30);
    let size = 1 << 20;
    for index in 0..8u64 {
        let identity = identity(&index.to_string(), size);
        drop(keep(&cache, &identity, &content(index as usize, size as usize)));
        let files = Files::at(&home.path().join("c/v1"), &identity.name());
        let used = SystemTime::now() - Duration::from_secs(10_000 - index * 100);
        fs::File::open(&files.records).unwrap().set_modified(used).unwrap();
    }
    let open = cache.entry(&identity("0", size), XZ).unwrap();
    let used_again = cache.entry(&identity("1", size), XZ).unwrap();
    drop(used_again);
    let other = DiskCache::open(&options(&home, 4 << 20)).unwrap();
    let last = keep(&other, &identity("8", 10), &content(8, 10));
    let root = home.path().join("c/v1");
    let is_there = |index: u64| Files::at(&root, &identity(&index.to_string(), size).name()).records.exists();
    assert_eq!((0..8).filter(|index| is_there(*index)).collect::<Vec<_>>(), [0, 1, 7], "0 is open, 1 was used again");
    assert!(last.is_whole() && other.counts().evicted == 5);
    assert_eq!(open.read(5..9).unwrap().unwrap(), content(0, size as usize)[5..9]);
}

#[test]
fn what_is_larger_than_the_cache_is_not_kept() {
    let (_home, cache) = cache_of(1 << 20);
    assert!(cache.entry(&identity("a", 4 << 20), XZ).is_none());
}

#[test]
fn files_that_are_all_open_take_no_more_than_there_is() {
    let (_home, cache) = cache_of(1 << 20);
    let size = 512 << 10;
    let open: Vec<_> =
        (0..8).map(|index| keep(&cache, &identity(&index.to_string(), size), &content(index, size as usize))).collect();
    assert!(cache.counts().bytes < 2 << 20, "{:?}", cache.counts());
    assert!(open[0].is_whole() && !open[7].is_whole());
}

/// What is uploaded in parts has no name yet, and would fill the disk.
#[test]
fn an_upload_that_is_larger_than_the_cache_is_not_kept() {
    let (home, cache) = cache_of(2 << 20);
    let (draft, part) = (cache.draft(XZ), content(1, 1 << 20));
    for index in 0..3 {
        let len = part.len() as u64;
        cache.fill(Filling::of_draft(draft.clone(), index << 20, (Arc::new(part.clone()), len)));
    }
    cache.fill(Filling::adopted(draft, identity("a", 3 << 20), None));
    cache.settle(Duration::from_secs(60));
    assert!(files(&home, ".data").is_empty());
}

/// What is uploaded in parts has no names on the disk yet.
#[test]
fn uploads_that_are_on_their_way_count() {
    let (home, cache) = cache_of(2 << 20);
    let part = content(1, 1 << 20);
    let drafts: Vec<_> = (0..5).map(|_| cache.draft(XZ)).collect();
    for draft in &drafts {
        cache.fill(Filling::of_draft(draft.clone(), 0, (Arc::new(part.clone()), 1 << 20)));
    }
    for (index, draft) in drafts.into_iter().enumerate() {
        cache.fill(Filling::adopted(draft, identity(&index.to_string(), 1 << 20), None));
    }
    cache.settle(Duration::from_secs(60));
    let taken = |path: &PathBuf| fs::metadata(path).unwrap().blocks() * 512;
    let kept: u64 = files(&home, ".data").iter().map(taken).sum();
    assert!((1 << 20..=2 << 20).contains(&kept), "{kept}");
}

/// Between its name and the first who opens it.
#[test]
fn what_an_upload_has_become_is_not_evicted_before_somebody_has_it_open() {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join("ab")).unwrap();
    let (files, identity) = (Files::at(home.path(), "ab"), identity("a", 4096));
    let draft = Draft::new(home.path(), XZ, Arc::default());
    draft.write(0, &[&content(1, 4096)]).unwrap();
    let adopted = draft.adopt(&files, &identity).unwrap();
    assert!(adopted.is_some() && !files.evict());
    drop(adopted);
    assert_eq!(Entry::open(&files, &identity, XZ).unwrap().read(0..4096).unwrap(), Some(content(1, 4096)));
    assert!(files.evict() && !files.data.exists() && !files.records.exists());
}

/// Somebody names a directory that has something else in it.
#[test]
fn what_is_not_of_the_cache_stays() {
    let (home, cache) = cache_of(1 << 30);
    keep(&cache, &identity("a", SIZE as u64), &content(1, SIZE));
    drop(cache);
    let shards = home.path().join("c/v1");
    let others = ["ab/part.data", "ab/part.sums", "train/0123456789abcdef0123456789abcdef.data", "ab/cd/x.sums"];
    for other in others.map(|other| shards.join(other)) {
        fs::create_dir_all(other.parent().unwrap()).unwrap();
        fs::write(other, b"mine").unwrap();
    }
    let directory = home.path().join("c");
    assert_eq!(DiskCache::verify(&directory).unwrap().files, 1);
    assert_eq!(DiskCache::clear(&directory).unwrap().0.files, 1);
    assert!(others.iter().all(|other| shards.join(other).exists()));
}

/// The power went before the bytes were on the disk, and after their records were.
#[test]
fn all_that_is_damaged_of_what_is_read_is_forgotten_at_once() {
    let (home, cache) = cache_of(1 << 30);
    let entry = keep(&cache, &identity("a", SIZE as u64), &content(1, SIZE));
    let data = fs::File::options().write(true).open(&files(&home, ".data")[0]).unwrap();
    for grain in [2, 3, 7] {
        data.write_all_at(&[0; 9], grain * GRAIN_BYTES + 5).unwrap();
    }
    assert_eq!(entry.read_now(0..1).unwrap(), Look::Bytes(content(1, 1)));
    assert_eq!(entry.read_now(0..SIZE as u64).unwrap(), Look::Waits, "who must not wait forgets nothing");
    assert!(entry.is_whole());
    assert_eq!(entry.read(0..SIZE as u64).unwrap(), None);
    let grains = |grains: std::ops::Range<u64>| grains.start * GRAIN_BYTES..grains.end * GRAIN_BYTES;
    assert_eq!(entry.missing().unwrap(), [grains(2..4), grains(7..8)]);
}

#[test]
fn a_whole_copy_that_lacks_a_record_is_whole_no_more_for_who_may_wait() {
    let (home, cache) = cache_of(1 << 30);
    let entry = keep(&cache, &identity("a", SIZE as u64), &content(1, SIZE));
    let records = fs::File::options().write(true).open(&files(&home, ".sums")[0]).unwrap();
    records.write_all_at(&[0; 8], record_at(3)).unwrap();
    assert_eq!((entry.read_now(0..SIZE as u64).unwrap(), entry.is_whole()), (Look::Waits, true));
    assert_eq!((entry.read(0..SIZE as u64).unwrap(), entry.is_whole()), (None, false));
    assert_eq!(entry.read_now(0..SIZE as u64).unwrap(), Look::Absent);
}

#[test]
fn a_copy_that_cannot_be_read_keeps_nobody_from_the_others() {
    let (home, cache) = cache_of(1 << 30);
    for name in ["a", "b", "c"] {
        keep(&cache, &identity(name, SIZE as u64), &content(1, SIZE));
    }
    drop(cache);
    let records = &files(&home, ".sums")[0];
    fs::remove_file(records).unwrap();
    fs::create_dir(records).unwrap();
    let verified = DiskCache::verify(&home.path().join("c")).unwrap();
    assert_eq!((verified.files, verified.damaged, verified.bytes), (3, 1, 2 * SIZE as u64));
}

/// A mount that somebody has stopped, with a key or a debugger.
#[test]
fn another_mount_that_goes_on_writing_is_not_waited_for() {
    let (home, cache) = cache_of(1 << 30);
    let content = content(1, SIZE);
    let entry = cache.entry(&identity("a", SIZE as u64), XZ).unwrap();
    let other = fs::File::open(&files(&home, ".sums")[0]).unwrap();
    other.lock().unwrap();
    fill(&cache, &entry, 0, &content, None);
    assert_eq!(entry.copied_bytes(), 0);
    other.unlock().unwrap();
    fill(&cache, &entry, 0, &content, None);
    assert!(entry.is_whole(), "the cache goes on");
}

/// What is damaged was on its way when that was found out.
#[test]
fn what_came_before_something_was_forgotten_is_not_kept() {
    let (_home, cache) = cache_of(1 << 30);
    let content = content(1, SIZE);
    let entry = cache.entry(&identity("a", SIZE as u64), XZ).unwrap();
    let late = Filling::new(entry.clone(), 0, (Arc::new(content.clone()), SIZE as u64), Some(XZ.of(&content)));
    entry.forget(0..SIZE as u64);
    cache.fill(late);
    cache.settle(Duration::from_secs(60));
    assert_eq!((entry.copied_bytes(), entry.is_whole()), (0, false));
    fill(&cache, &entry, 0, &content, Some(XZ.of(&content)));
    assert!(entry.is_verified(), "what comes later is");
}

fn description(mode: &str) -> Arc<Description> {
    let user = [("mode".to_owned(), mode.to_owned())].into();
    let attributes = ObjectAttributes { user, ..ObjectAttributes::default() };
    Arc::new(Description { attributes, checksum: None, last_modified: SystemTime::UNIX_EPOCH })
}

#[test]
fn a_description_is_that_of_a_whole_copy() {
    let (home, cache) = cache_of(1 << 30);
    let (identity, content) = (identity("a", SIZE as u64), content(1, SIZE));
    let entry = cache.entry(&identity, XZ).unwrap();
    assert!(!entry.take_description(description("1")), "it is written down once the copy is whole");
    fill(&cache, &entry, 0, &content[..4096], None);
    assert_eq!(cache.description(&identity, XZ), None);
    let entry = keep(&cache, &identity, &content);
    assert_eq!(again(&home).description(&identity, XZ), Some((*description("1")).clone()));
    assert!(!entry.take_description(description("1")) && entry.take_description(description("2")));
    cache.fill(Filling::of_description(entry.clone()));
    cache.settle(Duration::from_secs(60));
    assert_eq!(again(&home).description_now(&identity, XZ).unwrap(), Some((*description("2")).clone()));
    entry.forget(0..1);
    assert_eq!(again(&home).description(&identity, XZ), None);
}

#[test]
fn who_writes_a_description_down_does_not_say_that_a_copy_is_whole_which_another_mount_has_found_damaged() {
    let (home, cache) = cache_of(1 << 30);
    let (identity, content) = (identity("a", SIZE as u64), content(1, SIZE));
    let one = keep(&cache, &identity, &content);
    again(&home).entry(&identity, XZ).unwrap().forget(0..4096);
    assert!(one.is_whole() && one.take_description(description("1")));
    cache.fill(Filling::of_description(one.clone()));
    cache.settle(Duration::from_secs(60));
    assert!(!again(&home).entry(&identity, XZ).unwrap().is_whole());
    one.prove().unwrap();
    assert!(!again(&home).entry(&identity, XZ).unwrap().is_proven());
}

/// One mount gets a damaged piece and the other one all of the object: who comes last writes over nothing.
#[test]
fn what_one_mount_has_kept_another_leaves_as_it_is() {
    let (home, cache) = cache_of(1 << 30);
    let other = again(&home);
    let (identity, content) = (identity("a", SIZE as u64), content(1, SIZE));
    let late = other.entry(&identity, XZ).unwrap();
    let one = keep(&cache, &identity, &content);
    assert!(one.is_verified() && !late.is_whole());
    let mut damaged = content.clone();
    damaged[9000] ^= 1;
    fill(&other, &late, 0, &damaged[..53_248], Some(XZ.of(&content)));
    assert_eq!(one.read(0..SIZE as u64).unwrap().unwrap(), content);
    late.forget(0..SIZE as u64);
    drop((one, late, cache, other));
    assert!(!again(&home).entry(&identity, XZ).unwrap().is_whole(), "what one forgets is forgotten");
}

#[test]
fn what_was_all_there_when_a_mount_was_killed_is_said_to_be_whole_later() {
    let (home, cache) = cache_of(1 << 30);
    let (identity, content) = (identity("a", SIZE as u64), content(1, SIZE));
    let entry = cache.entry(&identity, XZ).unwrap();
    assert_eq!(entry.write(0, &[&content], None, entry.epoch()).unwrap(), 102_400);
    drop((entry, cache));
    let cache = again(&home);
    let entry = cache.entry(&identity, XZ).unwrap();
    assert!(!entry.is_whole());
    cache.fill(Filling::nothing_more(entry.clone(), Some(XZ.of(&content))));
    cache.settle(Duration::from_secs(60));
    assert!(entry.is_verified());
}

#[test]
fn checksums_that_were_taken_on_the_way_are_those_of_the_grains() {
    let (_home, cache) = cache_of(1 << 30);
    let content = content(1, SIZE);
    let sums_of = |algorithm: ChecksumAlgorithm, bytes: &[u8]| {
        let mut hasher = algorithm.hasher();
        let grains = bytes.chunks(GRAIN_BYTES as usize);
        Vec::from_iter(grains.map(|grain| {
            hasher.update(grain);
            hasher.value()
        }))
    };
    // Pieces that are written at once, of which one has no checksums or all do; and ones that do not begin and end with grains.
    let table: [(&[usize], usize); 5] = [
        (&[0, 8192, 53_248, SIZE], 3),
        (&[0, 8192, 53_248, SIZE], 1),
        (&[4096, 8192], 2),
        (&[0, 9000], 2),
        (&[5000, SIZE], 2),
    ];
    for (number, (cuts, without)) in table.into_iter().enumerate() {
        for algorithm in [XZ, ChecksumAlgorithm::Crc64Nvme] {
            let name = format!("{number}-{algorithm:?}");
            let entry = cache.entry(&identity(&name, SIZE as u64), algorithm).unwrap();
            let pieces = cuts.windows(2).enumerate().map(|(at, cut)| {
                let piece = content[cut[0]..cut[1]].to_vec();
                let (sums, held) = (sums_of(algorithm, &piece), piece.len() as u64);
                let filling = Filling::new(entry.clone(), cut[0] as u64, (Arc::new(piece), held), None);
                if at == without { filling } else { filling.with_sums(sums) }
            });
            cache.keep(&Vec::from_iter(pieces));
            let is_there = |start: usize, len: usize| cuts[0] <= start && start + len <= cuts[cuts.len() - 1];
            let grains = content.chunks(GRAIN_BYTES as usize).enumerate();
            let expected = grains.map(|(at, grain)| is_there(at * 4096, grain.len()).then(|| algorithm.of(grain)));
            let mut checksums = entry.checksums().unwrap();
            checksums.resize(SIZE.div_ceil(4096), None);
            assert_eq!(checksums, Vec::from_iter(expected), "{name}");
        }
    }
    // They are what is written down, and not computed once more.
    let entry = cache.entry(&identity("z", SIZE as u64), XZ).unwrap();
    let of_another = sums_of(XZ, &content.iter().map(|byte| !byte).collect::<Vec<u8>>());
    cache.keep(&[Filling::new(entry.clone(), 0, (Arc::new(content), SIZE as u64), None).with_sums(of_another)]);
    assert_eq!(entry.read(0..4096).unwrap(), None);
}

#[test]
fn what_a_copy_lacks_is_known_without_the_disk() {
    let (home, cache) = cache_of(1 << 30);
    let content = content(1, SIZE);
    let entry = cache.entry(&identity("a", SIZE as u64), XZ).unwrap();
    assert!(entry.lacks_now(0..1), "nothing has come");
    fill(&cache, &entry, 8192, &content[8192..16_384], None);
    assert!(!entry.lacks_now(8192..16_384) && entry.lacks_now(8192..16_385) && entry.lacks_now(0..16_384));
    let whole = keep(&cache, &identity("b", SIZE as u64), &content);
    let records = files(&home, ".sums").into_iter().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    fs::OpenOptions::new().write(true).open(records).unwrap().set_len(4096).unwrap();
    assert!(whole.is_whole() && !whole.lacks_now(0..1), "who reads it finds out, and has it filled again");
    assert!(whole.read(0..1).unwrap().is_none() && !whole.is_whole() && whole.lacks_now(0..1));
}

#[test]
fn two_mounts_share_a_directory() {
    let (home, cache) = cache_of(1 << 30);
    let other = again(&home);
    let (identity, content) = (identity("a", SIZE as u64), content(1, SIZE));
    let [one, two] = [&cache, &other].map(|cache| cache.entry(&identity, XZ).unwrap());
    fill(&cache, &one, 0, &content[..53_248], Some(XZ.of(&content)));
    fill(&other, &two, 53_248, &content[53_248..], Some(XZ.of(&content)));
    assert_eq!(one.read(0..SIZE as u64).unwrap().unwrap(), content);
    assert!(two.is_whole());
    drop(one);
    assert!(cache.entry(&identity, XZ).unwrap().is_whole());
    assert_eq!(DiskCache::clear(&home.path().join("c")).unwrap().1.files, 1, "somebody has it open");
    drop(two);
    assert_eq!(DiskCache::clear(&home.path().join("c")).unwrap().1.files, 0);
}

#[test]
fn a_directory_that_is_removed_meanwhile_is_no_error() {
    let (home, cache) = cache_of(1 << 30);
    let content = content(1, SIZE);
    let entry = keep(&cache, &identity("a", SIZE as u64), &content);
    fs::remove_dir_all(home.path().join("c")).unwrap();
    assert_eq!(entry.read(0..10).unwrap().unwrap(), content[..10], "who has it open reads on");
    assert!(cache.entry(&identity("b", 10), XZ).is_none());
    assert!(cache.entry(&identity("c", 10), XZ).is_none());
}

#[test]
fn another_version_is_another_copy() {
    let (_home, cache) = cache_of(1 << 30);
    let (identity, content) = (identity("a", SIZE as u64), content(1, SIZE));
    let _old = keep(&cache, &identity, &content);
    let newer = Identity { etag: crate::object::ETag::new("abd-2"), ..identity };
    assert_eq!(cache.entry(&newer, XZ).unwrap().read(0..1).unwrap(), None);
}

#[test]
fn a_whole_copy_is_proven_until_its_file_is_changed() {
    let (home, cache) = cache_of(1 << 30);
    let (identity, content) = (identity("a", SIZE as u64), content(1, SIZE));
    let entry = cache.entry(&identity, XZ).unwrap();
    fill(&cache, &entry, 0, &content[..8192], None);
    assert!(!entry.is_proven(), "it is not whole");
    fill(&cache, &entry, 0, &content, Some(XZ.of(&content)));
    assert!(entry.is_proven());
    drop((entry, cache));
    let entry = again(&home).find(&identity, XZ).unwrap();
    assert!(entry.is_proven(), "for the next mount, too");
    // The same bytes once more.
    let data = fs::OpenOptions::new().write(true).open(&files(&home, ".data")[0]).unwrap();
    data.write_all_at(&content[5000..5001], 5000).unwrap();
    assert!(!entry.is_proven() && entry.is_whole());
    entry.prove().unwrap();
    assert!(entry.is_proven());
    data.write_all_at(&[!content[5000]], 5000).unwrap();
    entry.prove().unwrap();
    assert!(!entry.is_proven() && !entry.is_whole(), "what is damaged is found");
}

#[test]
fn what_others_have_begun_is_compared_before_it_is_proven() {
    let (home, cache) = cache_of(1 << 30);
    let (identity, content) = (identity("a", SIZE as u64), content(1, SIZE));
    let entry = cache.entry(&identity, XZ).unwrap();
    fill(&cache, &entry, 0, &content[..8192], None);
    drop((entry, cache));
    // Torn by a power cut, perhaps.
    let data = fs::OpenOptions::new().write(true).open(&files(&home, ".data")[0]).unwrap();
    data.write_all_at(&[0; 4096], 4096).unwrap();
    let cache = again(&home);
    let entry = keep(&cache, &identity, &content);
    assert!(entry.is_whole() && !entry.is_proven(), "the records agree with one another");
    entry.prove().unwrap();
    assert!(!entry.is_whole(), "and the second not with its grain");
    fill(&cache, &entry, 0, &content, Some(XZ.of(&content)));
    assert!(entry.is_whole() && !entry.is_proven());
    entry.prove().unwrap();
    assert!(entry.is_proven());
}

#[test]
fn a_copy_that_was_damaged_is_compared_before_it_is_proven_again() {
    let (home, cache) = cache_of(1 << 30);
    let (identity, content) = (identity("a", SIZE as u64), content(1, SIZE));
    let entry = keep(&cache, &identity, &content);
    let data = fs::OpenOptions::new().write(true).open(&files(&home, ".data")[0]).unwrap();
    data.write_all_at(&[0; 4096], 4096).unwrap();
    data.write_all_at(&[0; 4096], 40960).unwrap();
    assert_eq!(entry.read(4096..4100).unwrap(), None, "one of the two is found");
    fill(&cache, &entry, 0, &content, Some(XZ.of(&content)));
    assert!(entry.is_whole() && !entry.is_proven());
}

#[test]
fn a_detached_file_is_its_holders_alone() {
    let (home, cache) = cache_of(1 << 30);
    let (identity, content) = (identity("a", SIZE as u64), content(1, SIZE));
    let entry = keep(&cache, &identity, &content);
    let other = again(&home);
    let theirs = other.find(&identity, XZ).unwrap();
    assert!(!entry.detach().unwrap(), "others read it");
    assert_eq!(entry.read(0..10).unwrap().unwrap(), content[..10]);
    drop(theirs);
    assert!(entry.claim() && !entry.claim());
    assert!(entry.detach().unwrap() && !entry.detach().unwrap());
    entry.file().write_all_at(b"other", 0).unwrap();
    assert_eq!(entry.read(0..10).unwrap(), None);
    assert!(entry.lacks_now(0..1) && !entry.is_whole() && !entry.is_proven());
    assert!(other.find(&identity, XZ).is_none() && files(&home, ".data").is_empty());
    // What comes of it from then on is a copy of its own.
    assert_eq!(keep(&cache, &identity, &content).read(0..10).unwrap().unwrap(), content[..10]);
    let mut read = [0; 5];
    entry.file().read_exact_at(&mut read, 0).unwrap();
    assert_eq!(&read, b"other");
}

#[test]
fn pieces_that_come_in_turns_are_all_kept() {
    const PIECE: usize = 64 << 10;
    let (_home, cache) = cache_of(1 << 30);
    let (one, other) = (content(1, 20 * PIECE + 5), content(2, 12 * PIECE));
    let copies = [("a", &one), ("b", &other)].map(|(key, content)| {
        let entry = cache.entry(&identity(key, content.len() as u64), XZ).unwrap();
        (entry, content)
    });
    for (turn, at) in (0..21).flat_map(|turn| [(turn, turn), (turn, 20 - turn)]) {
        let (entry, content) = &copies[turn % 2];
        let end = content.len().min((at + 1) * PIECE);
        // Bytes that are not where memory pages are, too.
        let bytes = content.get(at * PIECE..end).unwrap_or_default().to_vec();
        let expected = Some(XZ.of(content));
        cache.fill(Filling::new(entry.clone(), (at * PIECE) as u64, (Arc::new(bytes), PIECE as u64), expected));
    }
    for (entry, content) in &copies {
        cache.fill(Filling::new(entry.clone(), 0, (Arc::new((*content).clone()), 1), Some(XZ.of(content))));
        cache.settle(Duration::from_secs(60));
        assert!(entry.is_verified());
        assert!(entry.read(0..content.len() as u64).unwrap().unwrap() == **content);
    }
}
