//! Random calls against a model that keeps every file as plain bytes: what is read, and what is in the bucket at the end.
//!
//! Nothing may be refused, and files that lost their name live on for whoever has them open.

use std::collections::BTreeMap;
use std::time::Duration;

use cosmount::cache::CacheOptions;
use cosmount::fs::{Allocation, FsError, OpenMode, SeekTo};
use cosmount::object::Limits;
use proptest::prelude::*;

use crate::bed::{APPEND, Bed, Choices, File, KIB, MIB, READ, REPLACE, WRITE, assert_same, bytes};

/// Small enough that a file has many parts and their numbers run out.
const LIMITS: Limits = Limits {
    part_bytes_min: 8 << 10,
    part_bytes_max: 128 << 10,
    part_count_max: 12,
    put_bytes_max: 128 << 10,
    object_bytes_max: 12 * (128 << 10),
    ..Limits::COS
};

const PART_BYTES: usize = 16 * KIB;
const NAMES: [&str; 3] = ["a", "b", "c"];
const SLOTS: usize = 3;

/// One call. Places are parts of 256 of the file's size.
#[derive(Clone, Debug)]
enum Step {
    Open { slot: usize, name: usize, mode: OpenMode },
    WriteAtEnd { slot: usize, len: usize },
    WriteAt { slot: usize, place: usize, len: usize },
    WriteBeyond { slot: usize, gap: usize, len: usize },
    Truncate { slot: usize, place: usize },
    TruncateByName { name: usize, size: usize },
    Read { slot: usize, place: usize, len: usize },
    ReadAll { slot: usize },
    Flush { slot: usize },
    FlushDuplicate { slot: usize },
    Allocate { slot: usize, place: usize, len: usize, how: Allocation },
    Copy { from: (usize, usize), to: (usize, usize), len: usize },
    Seek { slot: usize, place: usize },
    Fsync { slot: usize },
    Close { slot: usize },
    Release { slot: usize },
    Rename { from: usize, to: usize },
    Unlink { name: usize },
    Chmod { name: usize, permissions: u32 },
    Stat { name: usize },
    Advance { milliseconds: u64 },
    Settle,
    Remount,
}
use Step::*;

fn allocation() -> impl Strategy<Value = Allocation> {
    (any::<bool>(), any::<bool>()).prop_map(|(zeroes, grows)| match zeroes {
        true => Allocation::Zero { grows },
        false => Allocation::Reserve { grows },
    })
}

fn step() -> impl Strategy<Value = Step> {
    let slot = || 0..SLOTS;
    let name = || 0..NAMES.len();
    let len = || prop_oneof![Just(0_usize), 1..100_usize, 1..40 * KIB, Just(PART_BYTES), Just(2 * PART_BYTES)];
    let mode = prop_oneof![Just(READ), Just(WRITE), Just(REPLACE), Just(APPEND)];
    prop_oneof![
        6 => (slot(), name(), mode).prop_map(|(slot, name, mode)| Open { slot, name, mode }),
        8 => (slot(), len()).prop_map(|(slot, len)| WriteAtEnd { slot, len }),
        4 => (slot(), 0..256_usize, len()).prop_map(|(slot, place, len)| WriteAt { slot, place, len }),
        1 => (slot(), len(), len()).prop_map(|(slot, gap, len)| WriteBeyond { slot, gap, len }),
        2 => (slot(), 0..300_usize).prop_map(|(slot, place)| Truncate { slot, place }),
        1 => (name(), len()).prop_map(|(name, size)| TruncateByName { name, size }),
        3 => (slot(), 0..256_usize, len()).prop_map(|(slot, place, len)| Read { slot, place, len }),
        2 => slot().prop_map(|slot| ReadAll { slot }),
        2 => slot().prop_map(|slot| Flush { slot }),
        1 => slot().prop_map(|slot| FlushDuplicate { slot }),
        2 => slot().prop_map(|slot| Fsync { slot }),
        2 => (slot(), 0..300_usize, len(), allocation()).prop_map(|(slot, place, len, how)| {
            Allocate { slot, place, len: len.max(1), how }
        }),
        4 => ((slot(), 0..256_usize), (slot(), 0..300_usize), len()).prop_map(|(from, to, len)| Copy { from, to, len }),
        1 => (slot(), 0..256_usize).prop_map(|(slot, place)| Seek { slot, place }),
        3 => slot().prop_map(|slot| Close { slot }),
        1 => slot().prop_map(|slot| Release { slot }),
        2 => (name(), name()).prop_map(|(from, to)| Rename { from, to }),
        1 => name().prop_map(|name| Unlink { name }),
        1 => (name(), 0..0o1000_u32).prop_map(|(name, permissions)| Chmod { name, permissions }),
        2 => name().prop_map(|name| Stat { name }),
        1 => (0..8_000_u64).prop_map(|milliseconds| Advance { milliseconds }),
        4 => Just(Settle),
        1 => Just(Remount),
    ]
}

/// A file as it should be.
#[derive(Default)]
struct Content {
    bytes: Vec<u8>,
    is_unlinked: bool,
}

struct Run {
    bed: Bed,
    files: Vec<Content>,
    names: BTreeMap<usize, usize>,
    slots: [Option<(File, usize, OpenMode)>; SLOTS],
    seed: u64,
    /// Somebody who reads a file as the kernel does, all the time, and which file that is.
    held: Option<(File, usize)>,
}

impl Run {
    fn new(memory_bytes: usize, cache: Option<CacheOptions>) -> Run {
        let (part_bytes, passes) = (PART_BYTES as u64, cache.is_some());
        let bed = Bed::with(Choices { limits: LIMITS, memory_bytes, part_bytes, cache, passes, ..Choices::default() });
        Run { bed, files: Vec::new(), names: BTreeMap::new(), slots: Default::default(), seed: 0, held: None }
    }

    /// Makes a file that is whole on the disk, and opens it for reading.
    async fn hold_reader(&mut self) {
        self.open(0, 0, REPLACE).await;
        self.write(0, 256, 0, 100_000).await;
        self.close(0, true).await;
        self.bed.cache.as_ref().unwrap().settle(Duration::from_secs(30));
        let file = self.bed.open(NAMES[0], READ).await.unwrap();
        assert!(file.backing.is_some());
        self.held = Some((file, self.names[&0]));
    }

    /// Whoever reads as the kernel does sees what was written at once.
    async fn check_held(&mut self) {
        if let Some((file, content)) = &self.held {
            assert_same(&file.read(0, usize::MAX / 2).await.unwrap(), &self.files[*content].bytes);
        }
    }

    fn data(&mut self, len: usize) -> Vec<u8> {
        self.seed += 1;
        bytes(self.seed, len)
    }

    async fn step(&mut self, step: &Step) {
        match *step {
            Open { slot, name, mode } => self.open(slot, name, mode).await,
            WriteAtEnd { slot, len } => self.write(slot, 256, 0, len).await,
            WriteAt { slot, place, len } => self.write(slot, place, 0, len).await,
            WriteBeyond { slot, gap, len } => self.write(slot, 256, gap, len).await,
            Truncate { slot, place } => self.truncate(slot, place).await,
            TruncateByName { name, size } => self.truncate_by_name(name, size).await,
            Read { slot, place, len } => self.read(slot, place, len).await,
            ReadAll { slot } => self.read(slot, 0, usize::MAX / 2).await,
            Flush { slot } | FlushDuplicate { slot } | Fsync { slot } => self.publish(slot, step).await,
            Allocate { slot, place, len, how } => self.allocate(slot, place, len, how).await,
            Copy { from, to, len } => self.copy(from, to, len).await,
            Seek { slot, place } => self.seek(slot, place),
            Close { slot } => self.close(slot, true).await,
            Release { slot } => self.close(slot, false).await,
            Rename { from, to } => self.rename(from, to).await,
            Unlink { name } => self.unlink(name).await,
            Chmod { name, permissions } => self.chmod(name, permissions).await,
            Stat { name } => self.stat(name).await,
            Advance { milliseconds } => self.bed.advance(milliseconds),
            Settle => self.bed.settle().await,
            Remount => self.remount().await,
        }
        self.bed.fs.expect_consistent();
    }

    async fn open(&mut self, slot: usize, name: usize, mode: OpenMode) {
        self.close(slot, true).await;
        let (file, content) = match self.names.get(&name) {
            Some(&content) => {
                if mode.truncates {
                    self.files[content].bytes.clear();
                }
                (self.bed.open(NAMES[name], mode).await.unwrap(), content)
            }
            None if mode.writes => {
                self.files.push(Content::default());
                self.names.insert(name, self.files.len() - 1);
                (self.bed.try_create(NAMES[name], mode).await.unwrap(), self.files.len() - 1)
            }
            None => {
                assert_eq!(self.bed.open(NAMES[name], mode).await.err(), Some(FsError::NotFound));
                return;
            }
        };
        self.slots[slot] = Some((file, content, mode));
    }

    async fn write(&mut self, slot: usize, place: usize, gap: usize, len: usize) {
        let data = self.data(len);
        let Some((file, index, mode)) = self.slots[slot].as_ref() else { return };
        let content = &mut self.files[*index];
        let size = content.bytes.len();
        let offset = if mode.appends { size } else { size * place / 256 + gap };
        if offset + len > LIMITS.object_bytes_max as usize {
            return;
        }
        let result = file.write(offset, &data).await;
        if !mode.writes {
            assert_eq!(result, Err(FsError::BadHandle));
            return;
        }
        assert_eq!(result, Ok(()), "{len} at {offset} of {size}");
        if len > 0 {
            content.bytes.resize(size.max(offset + len), 0);
            content.bytes[offset..offset + len].copy_from_slice(&data);
        }
    }

    async fn truncate(&mut self, slot: usize, place: usize) {
        let Some((file, index, mode)) = self.slots[slot].as_ref() else { return };
        if mode.writes {
            let content = &mut self.files[*index];
            let size = content.bytes.len() * place / 256;
            file.truncate(size).await.unwrap();
            content.bytes.resize(size, 0);
        }
    }

    async fn allocate(&mut self, slot: usize, place: usize, len: usize, how: Allocation) {
        let Some((file, index, mode)) = self.slots[slot].as_ref() else { return };
        let bytes = &mut self.files[*index].bytes;
        let offset = bytes.len() * place / 256;
        let end = offset + len;
        if !mode.writes || end > LIMITS.object_bytes_max as usize {
            return;
        }
        self.bed.fs.allocate(file.handle, offset as u64, len as u64, how).await.unwrap();
        if let Allocation::Reserve { grows: true } | Allocation::Zero { grows: true } = how {
            bytes.resize(bytes.len().max(end), 0);
        }
        if let Allocation::Zero { .. } = how {
            let (start, end) = (offset.min(bytes.len()), end.min(bytes.len()));
            bytes[start..end].fill(0);
        }
    }

    async fn copy(&mut self, from: (usize, usize), to: (usize, usize), len: usize) {
        let (Some((source, source_index, _)), Some((target, target_index, mode))) =
            (self.slots[from.0].as_ref(), self.slots[to.0].as_ref())
        else {
            return;
        };
        let source_bytes = &self.files[*source_index].bytes;
        let (start, at) = (source_bytes.len() * from.1 / 256, self.files[*target_index].bytes.len() * to.1 / 256);
        let end = source_bytes.len().min(start + len);
        let overlaps = source_index == target_index && start < at + len && at < start + len;
        if !mode.writes || overlaps || at + len > LIMITS.object_bytes_max as usize {
            return;
        }
        let copied = source_bytes[start..end].to_vec();
        let (from, to) = ((source.handle, start as u64), (target.handle, at as u64));
        match self.bed.fs.copy_range(from, to, len as u64).await {
            // The kernel reads and writes then.
            Err(FsError::NotSupported) if self.bed.cache.is_some() => {
                if !mode.appends && !copied.is_empty() {
                    target.write(at, &copied).await.unwrap();
                } else if mode.appends {
                    return;
                }
            }
            result => assert_eq!(result, Ok(copied.len() as u64)),
        }
        if !copied.is_empty() {
            let bytes = &mut self.files[*target_index].bytes;
            bytes.resize(bytes.len().max(at + copied.len()), 0);
            bytes[at..at + copied.len()].copy_from_slice(&copied);
        }
    }

    /// Data may be found where zeros were written, but nothing else may be found in a hole.
    fn seek(&mut self, slot: usize, place: usize) {
        let Some((file, index, _)) = self.slots[slot].as_ref() else { return };
        let bytes = &self.files[*index].bytes;
        let offset = bytes.len() * place / 256;
        let data = self.bed.fs.seek(file.handle, offset as u64, SeekTo::Data).map_or(bytes.len(), |at| at as usize);
        assert!(bytes[offset..data].iter().all(|byte| *byte == 0), "data between {offset} and {data}");
        match self.bed.fs.seek(file.handle, offset as u64, SeekTo::Hole) {
            Ok(hole) => assert!((offset..=bytes.len()).contains(&(hole as usize))),
            Err(error) => assert_eq!((error, offset), (FsError::NoSuchOffset, bytes.len())),
        }
    }

    async fn truncate_by_name(&mut self, name: usize, size: usize) {
        let Some(&index) = self.names.get(&name) else { return };
        let ino = self.bed.stat(NAMES[name]).await.unwrap().ino;
        let change = cosmount::fs::AttrChange { size: Some(size as u64), ..Default::default() };
        assert_eq!(self.bed.fs.setattr(ino, change).await.unwrap().size, size as u64);
        self.files[index].bytes.resize(size, 0);
    }

    async fn read(&mut self, slot: usize, place: usize, len: usize) {
        let Some((file, index, _)) = self.slots[slot].as_ref() else { return };
        let content = &self.files[*index];
        let offset = content.bytes.len() * place / 256;
        let read = file.read(offset, len).await.unwrap_or_else(|error| panic!("read of {len} at {offset}: {error}"));
        assert_same(&read, &content.bytes[offset..content.bytes.len().min(offset.saturating_add(len))]);
    }

    async fn publish(&mut self, slot: usize, step: &Step) {
        let Some((file, index, mode)) = self.slots[slot].as_ref() else { return };
        let result = match step {
            Flush { .. } => file.flush().await,
            FlushDuplicate { .. } => file.flush_duplicate().await,
            _ => file.fsync().await,
        };
        let content = &self.files[*index];
        assert_eq!(result, Ok(()));
        // A duplicate's close may leave a file that was not written yet as it is.
        if mode.writes && !content.is_unlinked && !matches!(step, FlushDuplicate { .. }) {
            let name = self.names.iter().find(|(_, file)| *file == index).map(|(name, _)| NAMES[*name]).unwrap();
            assert_same(&self.bed.bucket.bytes(name).unwrap(), &content.bytes);
        }
    }

    async fn close(&mut self, slot: usize, flushes: bool) {
        let Some((file, _, _)) = self.slots[slot].take() else { return };
        match flushes {
            true => file.close().await.unwrap(),
            false => file.release().await,
        }
    }

    async fn rename(&mut self, from: usize, to: usize) {
        let result = self.bed.rename(NAMES[from], NAMES[to]).await;
        let Some(&index) = self.names.get(&from) else {
            assert_eq!(result, Err(FsError::NotFound));
            return;
        };
        assert_eq!(result, Ok(()));
        if from != to {
            self.names.remove(&from);
            if let Some(replaced) = self.names.insert(to, index) {
                self.files[replaced].is_unlinked = true;
            }
        }
    }

    async fn unlink(&mut self, name: usize) {
        let result = self.bed.unlink(NAMES[name]).await;
        match self.names.remove(&name) {
            Some(index) => {
                assert_eq!(result, Ok(()));
                self.files[index].is_unlinked = true;
            }
            None => assert_eq!(result, Err(FsError::NotFound)),
        }
    }

    async fn chmod(&mut self, name: usize, permissions: u32) {
        if self.names.contains_key(&name) {
            let attr = self.bed.chmod(NAMES[name], permissions).await.unwrap();
            assert_eq!(attr.permissions, permissions);
            let attr = self.bed.stat(NAMES[name]).await.unwrap();
            assert_eq!(attr.permissions, permissions);
        }
    }

    async fn stat(&mut self, name: usize) {
        let size = self.bed.stat(NAMES[name]).await.map(|attr| attr.size);
        let expected = self.names.get(&name).map(|index| self.files[*index].bytes.len() as u64);
        assert_eq!(size, expected.ok_or(FsError::NotFound), "{}", NAMES[name]);
    }

    async fn remount(&mut self) {
        if let Some((file, _)) = self.held.take() {
            file.close().await.unwrap();
        }
        for slot in 0..SLOTS {
            self.close(slot, true).await;
        }
        self.assert_all().await;
        let empty = Bed::new();
        self.bed = std::mem::replace(&mut self.bed, empty).remount();
    }

    async fn assert_all(&mut self) {
        let files: Vec<(&str, &[u8])> =
            self.names.iter().map(|(name, index)| (NAMES[*name], self.files[*index].bytes.as_slice())).collect();
        // Attributes wait for more of them.
        self.bed.publish_all().await;
        self.bed.assert_bucket(&files);
        self.bed.assert_no_unfinished_uploads().await;
        for (name, content) in &files {
            assert_same(&self.bed.read(name).await.unwrap(), content);
        }
        self.bed.settle().await;
        if let Some(cache) = &self.bed.cache {
            cache.settle(Duration::from_secs(30));
        }
        assert_eq!(self.bed.memory.used_bytes(), 0, "nothing is open");
    }
}

fn run(memory_bytes: usize, steps: &[Step]) {
    run_with(memory_bytes, None, steps);
}

/// The same with copies on the disk, which are read as the kernel reads them by itself where they are whole.
fn run_cached(memory_bytes: usize, steps: &[Step]) {
    let home = tempfile::tempdir().unwrap();
    let options = CacheOptions { directory: home.path().into(), bytes_max: 1 << 30, waiting_bytes_max: 8 << 20 };
    run_with(memory_bytes, Some(options), steps);
}

fn run_with(memory_bytes: usize, cache: Option<CacheOptions>, steps: &[Step]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let is_cached = cache.is_some();
    let all = async {
        let mut run = Run::new(memory_bytes, cache);
        if is_cached {
            run.hold_reader().await;
        }
        for step in steps {
            run.step(step).await;
            run.check_held().await;
        }
        run.remount().await;
    };
    let in_time = async { tokio::time::timeout(Duration::from_secs(30), all).await };
    runtime.block_on(in_time).expect("somebody waits for ever");
}

const AMPLE: usize = 64 * MIB;
/// A dozen blocks for uploads, or three for reads in order.
const SCARCE: usize = 3 * MIB;

fn config() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, max_shrink_time: 60_000, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn files_are_what_was_written_to_them(steps in prop::collection::vec(step(), 1..80)) {
        run(AMPLE, &steps);
    }

    #[test]
    fn files_are_what_was_written_to_them_with_copies_on_the_disk(steps in prop::collection::vec(step(), 1..80)) {
        run_cached(AMPLE, &steps);
    }

    #[test]
    fn files_are_what_was_written_to_them_when_memory_is_scarce(steps in prop::collection::vec(step(), 1..80)) {
        run(SCARCE, &steps);
    }
}
