//! Random calls against a model that keeps every file as plain bytes: what is read, and what is in the bucket at the end.
//!
//! What a file system over this bucket cannot do yet (changing bytes that have left the memory) may be refused, but
//! only then, and the file must stay as the model says. Files that lost their name are checked as far as their bytes are
//! still to be had.

use std::collections::BTreeMap;

use cosmount::fs::{FsError, OpenMode};
use cosmount::wire::Limits;
use proptest::prelude::*;

use crate::bed::{APPEND, Bed, Choices, File, KIB, MIB, READ, REPLACE, WRITE, assert_same, bytes};

/// Small enough that a file has many parts and their numbers run out.
const LIMITS: Limits = Limits {
    part_bytes_min: 8 << 10,
    part_bytes_max: 128 << 10,
    part_count_max: 12,
    put_bytes_max: 128 << 10,
    object_bytes_max: 12 * (128 << 10),
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
    /// It lost its name: its bytes may be nowhere any more.
    is_unlinked: bool,
    /// It may be that it was published since it was made or emptied, so that its bytes may have left the memory.
    may_be_published: bool,
    /// A call was refused after the name was lost: nothing is known of it any more.
    is_unknown: bool,
}

struct Run {
    bed: Bed,
    memory_is_ample: bool,
    files: Vec<Content>,
    names: BTreeMap<usize, usize>,
    slots: [Option<(File, usize, OpenMode)>; SLOTS],
    seed: u64,
}

impl Run {
    fn new(memory_bytes: usize) -> Run {
        let part_bytes = PART_BYTES as u64;
        let bed = Bed::with(Choices { limits: LIMITS, memory_bytes, part_bytes, ..Choices::default() });
        let memory_is_ample = memory_bytes >= 64 * MIB;
        Run { bed, memory_is_ample, files: Vec::new(), names: BTreeMap::new(), slots: Default::default(), seed: 0 }
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
    }

    async fn open(&mut self, slot: usize, name: usize, mode: OpenMode) {
        self.close(slot, true).await;
        let (file, content) = match self.names.get(&name) {
            Some(&content) => {
                if mode.truncates {
                    self.files[content].bytes.clear();
                }
                self.files[content].may_be_published |= !mode.truncates;
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
        if content.is_unknown || offset + len > LIMITS.object_bytes_max as usize {
            return;
        }
        let result = file.write(offset, &data).await;
        if !mode.writes {
            assert_eq!(result, Err(FsError::BadHandle));
            return;
        }
        match result {
            Ok(()) if len == 0 => {}
            Ok(()) => {
                content.bytes.resize(size.max(offset + len), 0);
                content.bytes[offset..offset + len].copy_from_slice(&data);
            }
            Err(_) if content.is_unlinked => content.is_unknown = true,
            Err(error) => {
                let may_be_refused = offset < size && (content.may_be_published || !self.memory_is_ample);
                assert!(error == FsError::NotSupported && may_be_refused, "{error} at {offset} of {size}");
                // Some of it may be in the file: the first bytes up to somewhere.
                let now = file.read(offset, len.min(size - offset)).await.unwrap();
                let taken = now.iter().zip(&data).take_while(|(now, data)| now == data).count();
                content.bytes[offset..offset + taken].copy_from_slice(&data[..taken]);
                assert_same(&now, &content.bytes[offset..offset + now.len()]);
            }
        }
    }

    async fn truncate(&mut self, slot: usize, place: usize) {
        let Some((file, index, mode)) = self.slots[slot].as_ref() else { return };
        let content = &mut self.files[*index];
        if !mode.writes || content.is_unknown {
            return;
        }
        let size = content.bytes.len() * place / 256;
        match file.truncate(size).await {
            Ok(()) => content.bytes.resize(size, 0),
            Err(_) if content.is_unlinked => content.is_unknown = true,
            Err(error) => panic!("cut to {size}: {error}"),
        }
        content.may_be_published = true;
    }

    async fn truncate_by_name(&mut self, name: usize, size: usize) {
        let Some(&index) = self.names.get(&name) else { return };
        let ino = self.bed.stat(NAMES[name]).await.unwrap().ino;
        let change = cosmount::fs::AttrChange { size: Some(size as u64), ..Default::default() };
        assert_eq!(self.bed.fs.setattr(ino, change).await.unwrap().size, size as u64);
        let content = &mut self.files[index];
        content.bytes.resize(size, 0);
        content.may_be_published = true;
    }

    async fn read(&mut self, slot: usize, place: usize, len: usize) {
        let Some((file, index, _)) = self.slots[slot].as_ref() else { return };
        let content = &mut self.files[*index];
        let offset = content.bytes.len() * place / 256;
        let result = file.read(offset, len).await;
        content.may_be_published = true;
        match result {
            _ if content.is_unknown => {}
            Ok(read) => assert_same(&read, &content.bytes[offset..content.bytes.len().min(offset.saturating_add(len))]),
            Err(error) => assert!(content.is_unlinked, "read of {len} at {offset}: {error}"),
        }
    }

    async fn publish(&mut self, slot: usize, step: &Step) {
        let Some((file, index, mode)) = self.slots[slot].as_ref() else { return };
        let result = match step {
            Flush { .. } => file.flush().await,
            FlushDuplicate { .. } => file.flush_duplicate().await,
            _ => file.fsync().await,
        };
        let content = &mut self.files[*index];
        assert!(result.is_ok() || content.is_unlinked, "{result:?}");
        content.may_be_published = true;
        // A duplicate's close may leave a file that was not written yet as it is.
        if mode.writes && !content.is_unlinked && !matches!(step, FlushDuplicate { .. }) {
            let name = self.names.iter().find(|(_, file)| *file == index).map(|(name, _)| NAMES[*name]).unwrap();
            assert_same(&self.bed.bucket.bytes(name).unwrap(), &content.bytes);
        }
    }

    async fn close(&mut self, slot: usize, flushes: bool) {
        let Some((file, index, _)) = self.slots[slot].take() else { return };
        self.files[index].may_be_published = true;
        match flushes {
            true => {
                let result = file.close().await;
                assert!(result.is_ok() || self.files[index].is_unlinked, "{result:?}");
            }
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
        self.files[index].may_be_published = true;
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
        self.bed.assert_bucket(&files);
        self.bed.assert_no_unfinished_uploads().await;
        for (name, content) in &files {
            assert_same(&self.bed.read(name).await.unwrap(), content);
        }
        self.bed.settle().await;
        assert_eq!(self.bed.memory.used_bytes(), 0, "nothing is open");
    }
}

fn run(memory_bytes: usize, steps: &[Step]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let all = async {
        let mut run = Run::new(memory_bytes);
        for step in steps {
            run.step(step).await;
        }
        run.remount().await;
    };
    let in_time = async { tokio::time::timeout(std::time::Duration::from_secs(5), all).await };
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
    fn files_are_what_was_written_to_them_when_memory_is_scarce(steps in prop::collection::vec(step(), 1..80)) {
        run(SCARCE, &steps);
    }
}
