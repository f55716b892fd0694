//! A file system over a bucket in memory, and files in it as a program sees them.

use std::future::ready;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use cosmount::cache::{CacheOptions, DiskCache};
use cosmount::clock::Clock;
use cosmount::fs::{
    Attr, AttrChange, BackingFile, FileName, FileSystem, FileSystemParts, FsError, FsOptions, HandleId, Holder,
    Inheritance, Ino, OpenMode, Opened, Others, Owner as FileOwner, ROOT, Recovery, Special, WriteOutcome,
};
use cosmount::journal::{Journal, Owner};
use cosmount::memory::Memory;
use cosmount::object::Limits;
use cosmount::read::{Copies, ReadOptions};
use cosmount::stats::Stats;
use cosmount::store::testing::{Fault, FaultStore, MemoryStore};
use cosmount::store::{Op, ResumeWindow};
use cosmount::upload::{OnConflict, UploadOptions};

pub(crate) const KIB: usize = 1 << 10;
pub(crate) const MIB: usize = 1 << 20;

/// The size of a part in these tests, in bytes: the smallest that the service takes.
pub(crate) const PART: usize = MIB;

pub(crate) const ME: FileOwner = FileOwner { uid: 1000, gid: 1000 };

pub(crate) const WRITE: OpenMode =
    OpenMode { writes: true, truncates: false, appends: false, reads: false, exclusive: false, opener: 0 };
pub(crate) const REPLACE: OpenMode =
    OpenMode { writes: true, truncates: true, appends: false, reads: false, exclusive: false, opener: 0 };
/// As mkstemp opens.
pub(crate) const TEMPORARY: OpenMode =
    OpenMode { writes: true, truncates: false, appends: false, reads: true, exclusive: true, opener: 0 };
pub(crate) const APPEND: OpenMode =
    OpenMode { writes: true, truncates: false, appends: true, reads: false, exclusive: false, opener: 0 };
pub(crate) const READ: OpenMode =
    OpenMode { writes: false, truncates: false, appends: false, reads: false, exclusive: false, opener: 0 };

/// What a bed is made with.
pub(crate) struct Choices {
    pub(crate) limits: Limits,
    pub(crate) memory_bytes: usize,
    pub(crate) part_bytes: u64,
    pub(crate) concurrency: usize,
    pub(crate) on_conflict: OnConflict,
    pub(crate) options: FsOptions,
    pub(crate) others: Option<Arc<Others>>,
    /// Where its journal is, if it has one.
    pub(crate) state: Option<PathBuf>,
    /// Where its copies on disk are, if it keeps any.
    pub(crate) cache: Option<CacheOptions>,
    /// Whether whole copies are read as the kernel reads them, by itself.
    pub(crate) passes: bool,
    /// Of which share of a file the rest is fetched, too.
    pub(crate) fill_percent: u64,
}

impl Default for Choices {
    fn default() -> Choices {
        let options = FsOptions::default();
        let on_conflict = OnConflict::Overwrite;
        let (limits, memory_bytes, part_bytes) = (Limits::COS, 64 * MIB, PART as u64);
        Choices {
            limits,
            memory_bytes,
            part_bytes,
            concurrency: 4,
            on_conflict,
            options,
            others: None,
            state: None,
            cache: None,
            passes: false,
            fill_percent: 101,
        }
    }
}

pub(crate) struct Bed {
    pub(crate) bucket: MemoryStore,
    pub(crate) faults: Arc<FaultStore>,
    pub(crate) clock: Clock,
    pub(crate) memory: Memory,
    pub(crate) stats: Arc<Stats>,
    pub(crate) fs: Arc<FileSystem>,
    pub(crate) cache: Option<Arc<DiskCache>>,
    choices: Choices,
}

fn inheritance(choices: &Choices) -> Inheritance {
    let Some(state) = &choices.state else { return Inheritance::none() };
    let (bucket, prefix) = ("b".to_owned(), choices.options.prefix.clone());
    let owner = Owner { bucket, prefix, machine: String::new(), process: 1 };
    let (journal, left) = Journal::open(state, &owner).unwrap();
    Inheritance { journal, left, window: ResumeWindow::For(Duration::from_secs(60)) }
}

/// An open file.
pub(crate) struct File {
    pub(crate) fs: Arc<FileSystem>,
    pub(crate) ino: Ino,
    pub(crate) handle: HandleId,
    /// What the kernel would read in its place.
    pub(crate) backing: Option<Arc<BackingFile>>,
}

impl Bed {
    pub(crate) fn new() -> Bed {
        Bed::with(Choices::default())
    }

    pub(crate) fn with_faults(faults: impl IntoIterator<Item = Fault>) -> Bed {
        let bed = Bed::new();
        faults.into_iter().for_each(|fault| bed.faults.inject(fault));
        bed
    }

    pub(crate) fn with(choices: Choices) -> Bed {
        Bed::at(Clock::manual(1_700_000_000), choices)
    }

    pub(crate) fn at(clock: Clock, choices: Choices) -> Bed {
        let bucket = MemoryStore::with(choices.limits, clock.clone());
        Bed::over(bucket, clock, choices)
    }

    fn over(bucket: MemoryStore, clock: Clock, choices: Choices) -> Bed {
        let faults = Arc::new(FaultStore::new(bucket.clone()));
        let (memory, stats) = (Memory::new(choices.memory_bytes), Arc::new(Stats::default()));
        let cache = choices.cache.as_ref().map(|options| DiskCache::open(options).unwrap());
        let fs = FileSystem::new(FileSystemParts {
            store: faults.clone(),
            options: choices.options.clone(),
            upload: UploadOptions {
                part_bytes: choices.part_bytes,
                concurrency: choices.concurrency,
                on_conflict: choices.on_conflict.clone(),
            },
            read: ReadOptions::default(),
            memory: memory.clone(),
            clock: clock.clone(),
            stats: stats.clone(),
            runtime: tokio::runtime::Handle::current(),
            others: choices.others.clone(),
            inheritance: inheritance(&choices),
            copies: cache.clone().map(|cache| Copies {
                cache,
                origin: "http://b".to_owned(),
                fill_percent: choices.fill_percent,
                keeps_writes: true,
            }),
        });
        fs.passthrough().allow(choices.passes, choices.passes);
        Bed { bucket, faults, clock, memory, stats, fs, cache, choices }
    }

    /// A second mount of the same bucket.
    pub(crate) fn another(&self, others: Option<Arc<Others>>) -> Bed {
        let options = self.choices.options.clone();
        Bed::over(self.bucket.clone(), self.clock.clone(), Choices { options, others, ..Choices::default() })
    }

    /// The same with choices of its own.
    pub(crate) fn another_with(&self, choices: Choices) -> Bed {
        Bed::over(self.bucket.clone(), self.clock.clone(), choices)
    }

    /// What mounts the same bucket next, with its journal in `state`, when this one dies now, in the middle of what it does.
    /// What it would do from now on happens to the bucket all the same unless a gate holds it. With the same `state` it lives on.
    pub(crate) async fn die(&self, state: &Path) -> Bed {
        let journals = std::fs::read_dir(self.choices.state.as_ref().unwrap()).unwrap();
        let others = journals.map(|entry| entry.unwrap().path()).filter(|path| path.parent() != Some(state));
        for path in others {
            std::fs::copy(&path, state.join(path.file_name().unwrap())).unwrap();
        }
        let (options, state) = (self.choices.options.clone(), Some(state.to_owned()));
        let next = Bed::over(self.bucket.clone(), self.clock.clone(), Choices { options, state, ..Choices::default() });
        Recovery::of(&next.fs).run().await;
        next
    }

    /// The same bucket, mounted anew by somebody who knows nothing. Begins a new record of requests.
    pub(crate) fn remount(self) -> Bed {
        self.bucket.forget_requests();
        Bed::over(self.bucket, self.clock, self.choices)
    }

    pub(crate) fn advance(&self, milliseconds: u64) {
        self.clock.advance(Duration::from_millis(milliseconds));
    }

    /// The directory that a path of names is in, and its last name.
    pub(crate) async fn place(&self, path: &str) -> Result<(Ino, FileName), FsError> {
        let path = Path::new(path);
        let mut parent = ROOT;
        for component in path.parent().into_iter().flat_map(Path::components) {
            parent = self.fs.lookup(parent, &FileName::from_os(component.as_os_str())?).await?.ino;
        }
        Ok((parent, FileName::from_os(path.file_name().unwrap())?))
    }

    pub(crate) async fn stat(&self, path: &str) -> Result<Attr, FsError> {
        let (parent, name) = self.place(path).await?;
        self.fs.lookup(parent, &name).await
    }

    pub(crate) async fn create(&self, path: &str) -> File {
        self.try_create(path, WRITE).await.unwrap()
    }

    pub(crate) async fn try_create(&self, path: &str, mode: OpenMode) -> Result<File, FsError> {
        let (parent, name) = self.place(path).await?;
        let permissions = if mode.exclusive { 0o600 } else { 0o644 };
        let (attr, opened) = self.fs.create(parent, &name, permissions, ME, mode).await?;
        let backing = backing(&opened);
        Ok(File { fs: self.fs.clone(), ino: attr.ino, handle: opened.handle, backing })
    }

    pub(crate) async fn open(&self, path: &str, mode: OpenMode) -> Result<File, FsError> {
        let ino = self.stat(path).await?.ino;
        let opened = self.fs.open(ino, mode).await?;
        let backing = backing(&opened);
        Ok(File { fs: self.fs.clone(), ino, handle: opened.handle, backing })
    }

    /// Makes a file with content, as `cp` does.
    pub(crate) async fn put(&self, path: &str, content: &[u8]) -> Result<(), FsError> {
        let file = match self.stat(path).await {
            Ok(_) => self.open(path, REPLACE).await?,
            Err(_) => self.try_create(path, WRITE).await?,
        };
        for (index, piece) in content.chunks(MIB).enumerate() {
            file.write(index * MIB, piece).await?;
        }
        file.close().await
    }

    pub(crate) async fn read(&self, path: &str) -> Result<Vec<u8>, FsError> {
        let file = self.open(path, READ).await?;
        let bytes = file.read_all().await;
        file.close().await?;
        bytes
    }

    pub(crate) async fn mkdir(&self, path: &str) -> Result<Attr, FsError> {
        let (parent, name) = self.place(path).await?;
        self.fs.mkdir(parent, &name, 0o755, ME).await
    }

    pub(crate) async fn rmdir(&self, path: &str) -> Result<(), FsError> {
        let (parent, name) = self.place(path).await?;
        self.fs.rmdir(parent, &name).await
    }

    pub(crate) async fn unlink(&self, path: &str) -> Result<(), FsError> {
        let (parent, name) = self.place(path).await?;
        self.fs.unlink(parent, &name).await
    }

    pub(crate) async fn rename(&self, from: &str, to: &str) -> Result<(), FsError> {
        let ((from, old), (to, new)) = (self.place(from).await?, self.place(to).await?);
        self.fs.rename((from, &old), (to, &new), false).await
    }

    pub(crate) async fn chmod(&self, path: &str, permissions: u32) -> Result<Attr, FsError> {
        let change = AttrChange { permissions: Some(permissions), ..AttrChange::default() };
        self.fs.setattr(self.stat(path).await?.ino, change).await
    }

    /// What `ls` shows of a directory: all names but `.` and `..`.
    pub(crate) async fn list(&self, ino: Ino) -> Vec<String> {
        let handle = self.fs.opendir(ino).await.unwrap();
        let mut entries = Vec::new();
        loop {
            let more = self.fs.readdir(handle, entries.len() as u64, usize::MAX).await.unwrap();
            if more.is_empty() {
                break;
            }
            entries.extend(more);
        }
        self.fs.releasedir(handle);
        entries.iter().filter(|entry| !entry.name.is_dot()).map(|entry| entry.name.to_string()).collect()
    }

    /// Publishes what waits, as the end of the mount does.
    pub(crate) async fn publish_all(&self) {
        let failed = self.fs.publish_below("").await;
        assert!(failed.is_empty(), "{failed:?}");
    }

    /// Lets time pass, for clocks and timers, and all that is due come to its end. For tests that began with paused time.
    pub(crate) async fn pass(&self, milliseconds: u64) {
        self.advance(milliseconds);
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
        self.settle().await;
    }

    pub(crate) async fn symlink(&self, path: &str, target: &str) -> Result<Attr, FsError> {
        let (parent, name) = self.place(path).await?;
        self.fs.symlink(parent, &name, target.as_bytes(), ME).await
    }

    pub(crate) async fn mknod(&self, path: &str, special: Special, permissions: u32) -> Result<Attr, FsError> {
        let (parent, name) = self.place(path).await?;
        self.fs.mknod(parent, &name, special, permissions, ME).await
    }

    pub(crate) async fn link(&self, from: &str, to: &str) -> Result<Attr, FsError> {
        let ino = self.stat(from).await?.ino;
        let (parent, name) = self.place(to).await?;
        self.fs.link(ino, parent, &name).await
    }

    pub(crate) async fn readlink(&self, path: &str) -> Result<String, FsError> {
        let target = self.fs.readlink(self.stat(path).await?.ino).await?;
        Ok(String::from_utf8(target).unwrap())
    }

    /// Lets everything that can go on without the test go on to its end.
    pub(crate) async fn settle(&self) {
        // In a runtime of one thread a few hundred turns see every task to its end or to a gate.
        for _ in 0..500 {
            tokio::task::yield_now().await;
        }
    }

    /// Every object in the bucket, with its bytes, and nothing else.
    pub(crate) fn assert_bucket(&self, expected: &[(&str, &[u8])]) {
        let keys: Vec<&str> = expected.iter().map(|(key, _)| *key).collect();
        assert_eq!(self.bucket.keys(), keys);
        for (key, content) in expected {
            assert_same(&self.bucket.bytes(key).unwrap(), content);
        }
    }

    pub(crate) async fn assert_no_unfinished_uploads(&self) {
        self.settle().await;
        assert_eq!(self.bucket.unfinished_uploads(), []);
    }

    /// The requests since the last time this was asked.
    pub(crate) fn take_ops(&self) -> Vec<Op> {
        let ops = self.bucket.ops();
        self.bucket.forget_requests();
        ops
    }

    /// The numbers of the parts that were sent, in the order they were.
    pub(crate) fn parts_sent(&self) -> Vec<u16> {
        let requests = self.bucket.requests();
        let sent = requests.iter().filter(|request| request.op == Op::UploadPart);
        sent.map(|request| request.part.unwrap().get()).collect()
    }
}

/// What the kernel reads by itself of what was opened. Who may write is asked for by reads all the same.
fn backing(opened: &Opened) -> Option<Arc<BackingFile>> {
    let taken = opened.backing.clone().filter(|backing| backing.registration(|_| Some(Box::new(()))).is_some());
    taken.filter(|_| !opened.is_direct)
}

impl File {
    /// Writes as the kernel's adapter does: what goes in at once, then the rest.
    pub(crate) async fn write(&self, offset: usize, data: &[u8]) -> Result<(), FsError> {
        match self.fs.write(self.handle, offset as u64, data)? {
            WriteOutcome::Done => Ok(()),
            WriteOutcome::Partly { offset, taken } => {
                self.fs.write_rest(self.handle, offset, &data[taken..], &AtomicUsize::new(0)).await
            }
        }
    }

    pub(crate) async fn read(&self, offset: usize, len: usize) -> Result<Vec<u8>, FsError> {
        if let Some(backing) = &self.backing {
            let size = backing.file().metadata().unwrap().len() as usize;
            let mut bytes = vec![0; len.min(size.saturating_sub(offset))];
            backing.file().read_exact_at(&mut bytes, offset as u64).unwrap();
            return Ok(bytes);
        }
        self.fs.read(self.handle, offset as u64, len).await.map(|bytes| bytes.as_ref().to_vec())
    }

    /// Reads to the end, as `cat` does with the kernel's largest requests.
    pub(crate) async fn read_all(&self) -> Result<Vec<u8>, FsError> {
        let mut all = Vec::new();
        loop {
            let bytes = self.read(all.len(), MIB).await?;
            if bytes.is_empty() {
                return Ok(all);
            }
            all.extend_from_slice(&bytes);
        }
    }

    /// A descriptor is closed, and it was the last one of its process.
    pub(crate) async fn flush(&self) -> Result<(), FsError> {
        self.fs.flush(self.handle, |_| ready(false)).await
    }

    /// A descriptor is closed while its process holds another one.
    pub(crate) async fn flush_duplicate(&self) -> Result<(), FsError> {
        self.fs.flush(self.handle, |holder| ready(holder == Holder::Closer)).await
    }

    pub(crate) async fn fsync(&self) -> Result<(), FsError> {
        self.fs.fsync(self.handle).await
    }

    pub(crate) async fn truncate(&self, size: usize) -> Result<(), FsError> {
        let change = AttrChange { size: Some(size as u64), ..AttrChange::default() };
        self.fs.setattr(self.ino, change).await.map(|_| ())
    }

    pub(crate) async fn size(&self) -> usize {
        self.fs.getattr(self.ino).await.unwrap().size as usize
    }

    /// `close()` of the only descriptor, and the release that follows it.
    pub(crate) async fn close(self) -> Result<(), FsError> {
        let result = self.flush().await;
        self.fs.release(self.handle).await;
        result
    }

    /// The release alone: what a process leaves that is killed.
    pub(crate) async fn release(self) {
        self.fs.release(self.handle).await;
    }
}

/// Bytes that differ from place to place and from seed to seed.
pub(crate) fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    // Its loop is optimised in a debug build, too.
    fastrand::Rng::with_seed(seed).fill(&mut bytes);
    bytes
}

/// Like `assert_eq`, but says where long contents differ instead of printing them.
#[track_caller]
pub(crate) fn assert_same(actual: &[u8], expected: &[u8]) {
    // Most are the same, and are compared at once, which is quick in a debug build, too.
    if actual == expected {
        return;
    }
    let differs = actual.iter().zip(expected).position(|(a, b)| a != b);
    assert_eq!((actual.len(), differs), (expected.len(), None), "(length, first difference)");
}
