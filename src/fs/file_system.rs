//! The file system as the kernel's side sees it: each call, handed on to who answers it.

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};

use tokio::sync::Semaphore;

use crate::clock::Clock;
use crate::fs::change::{Attributes, Changes, Special};
use crate::fs::context::cause::FailedCall;
use crate::fs::context::{BACKGROUND_MAX, Context, FsError, FsOptions, HandleId, Others, Owner};
use crate::fs::locks::FileLocks;
use crate::fs::markers::Markers;
use crate::fs::names::{Attr, AttrChange, DirEntry, DirEntryPlus, Directories, FileName, Ino, Names};
use crate::fs::open::{
    Allocation, Files, Holder, OpenMode, Opened, Passthrough, Publisher, SeekTo, WriteOutcome, looks_like,
};
use crate::fs::recovery::Inheritance;
use crate::fs::traffic::Traffic;
use crate::journal::{Unfinished, hidden_prefix};
use crate::memory::Memory;
use crate::read::{Copies, ReadBytes, ReadOptions, Readers};
use crate::stats::Stats;
use crate::store::{ChangeNotifier, JournaledStore, KeptWrites, ObjectStore, OptionedStore};
use crate::upload::{UploadOptions, Uploader};

/// A bucket, or a part of one, as a file system.
pub struct FileSystem {
    pub(super) context: Arc<Context>,
    pub(super) names: Arc<Names>,
    pub(super) traffic: Arc<Traffic>,
    pub(super) directories: Directories,
    pub(super) publisher: Arc<Publisher>,
    files: Arc<Files>,
    locks: Arc<FileLocks>,
    attributes: Arc<Attributes>,
    changes: Changes,
}

/// What a file system is made of.
pub struct FileSystemParts {
    /// The bucket.
    pub store: Arc<dyn ObjectStore>,
    /// Names and attributes.
    pub options: FsOptions,
    /// How files are uploaded.
    pub upload: UploadOptions,
    /// How files are read.
    pub read: ReadOptions,
    /// The budget of all buffers.
    pub memory: Memory,
    /// What time it is.
    pub clock: Clock,
    /// What is counted.
    pub stats: Arc<Stats>,
    /// Where transfers run.
    pub runtime: tokio::runtime::Handle,
    /// Other mounts of the bucket on this machine; `None` if nobody is to know of this one.
    pub others: Option<Arc<Others>>,
    /// Where is written down what is begun, and what dead mounts have left.
    pub inheritance: Inheritance,
    /// The cache on disk, if there is one.
    pub copies: Option<Copies>,
}

impl FileSystem {
    /// A file system over a bucket. Makes no request.
    pub fn new(parts: FileSystemParts) -> Arc<FileSystem> {
        let FileSystemParts {
            store,
            options,
            upload,
            read,
            memory,
            clock,
            stats,
            runtime,
            others,
            inheritance,
            copies,
        } = parts;
        let Inheritance { journal, left, window } = inheritance;
        let (mut uploads, mut others_left) = (Vec::new(), Vec::new());
        for (entry, what) in left {
            match what {
                Unfinished::Upload(upload) => uploads.push((entry, upload)),
                other => others_left.push((entry, other)),
            }
        }
        let hidden = hidden_prefix(&options.prefix, journal.mount());
        let store = Arc::new(OptionedStore::new(store, options.objects.clone(), &options.prefix));
        let journaled = JournaledStore::new(store, journal, uploads, window, stats.clone(), &runtime);
        let store: Arc<dyn ObjectStore> = match &others {
            Some(others) => Arc::new(ChangeNotifier::new(journaled.clone(), others.clone())),
            None => journaled.clone(),
        };
        let store = match &copies {
            Some(Copies { cache, origin, keeps_writes: true, .. }) => {
                Arc::new(KeptWrites::new(store, cache.clone(), origin.clone()))
            }
            _ => store,
        };
        let uploader =
            Uploader::new(store.clone(), memory.clone(), upload, clock.clone(), stats.clone(), runtime.clone());
        uploader.hide_under(hidden);
        let readers = Readers::new(store.clone(), memory.clone(), read, runtime.clone(), copies);
        let background = Semaphore::new(BACKGROUND_MAX);
        let left = Mutex::new(others_left);
        FileSystem::over(Arc::new(Context {
            store,
            journaled,
            left,
            options,
            clock,
            stats,
            memory,
            uploader,
            readers,
            runtime,
            others,
            background,
        }))
    }

    fn over(context: Arc<Context>) -> Arc<FileSystem> {
        let names = Names::new(context.clone());
        let traffic = Traffic::new(context.clone(), names.clone());
        let markers = Markers::new(context.clone(), names.clone(), traffic.clone());
        let publisher = Publisher::new(context.clone(), names.clone(), markers.clone());
        let files = Files::new(context.clone(), names.clone(), traffic.clone(), publisher.clone());
        let locks = FileLocks::new(context.clone(), names.clone(), publisher.clone());
        let attributes = Arc::new(Attributes {
            context: context.clone(),
            names: names.clone(),
            traffic: traffic.clone(),
            markers: markers.clone(),
            publisher: publisher.clone(),
            files: files.clone(),
        });
        let changes = Changes {
            context: context.clone(),
            names: names.clone(),
            traffic: traffic.clone(),
            markers,
            publisher: publisher.clone(),
            files: files.clone(),
            locks: locks.clone(),
        };
        let directories = Directories::new(context.clone(), names.clone());
        Arc::new(FileSystem { context, names, traffic, directories, publisher, files, locks, attributes, changes })
    }

    /// The options it was made with.
    pub fn options(&self) -> &FsOptions {
        &self.context.options
    }

    /// Locks of files.
    pub fn locks(&self) -> &FileLocks {
        &self.locks
    }

    /// Extended attributes, and the privileges that a change takes from a file.
    pub fn attributes(&self) -> &Attributes {
        &self.attributes
    }

    /// Answers a call of this caller, as each of the kernel's is: if that comes too late, what the kernel looks up next is kept for
    /// that one alone.
    pub fn called_by<T>(
        &self,
        caller: u32,
        call: impl Future<Output = Result<T, FsError>>,
    ) -> impl Future<Output = Result<T, FsError>> {
        self.traffic.answer(caller, call)
    }

    /// The number that `stat` shows of an inode.
    pub fn shown_number(&self, ino: Ino) -> Ino {
        looks_like(&self.names.tree(), ino, self.context.clock.now()).unwrap_or(ino)
    }

    /// Whether the kernel reads files by itself.
    pub fn passthrough(&self) -> &Passthrough {
        &self.files.passthrough
    }

    /// Opens a file.
    pub async fn open(&self, ino: Ino, mode: OpenMode) -> Result<Opened, FsError> {
        if mode.truncates && !mode.writes {
            // Linux empties a file that is opened for reading, too.
            self.setattr(ino, AttrChange { size: Some(0), modifies: true, ..AttrChange::default() }).await?;
        }
        self.files.open(ino, mode).await
    }

    /// Panics unless what must always hold of names does. For tests.
    #[doc(hidden)]
    pub fn expect_consistent(&self) {
        self.names.expect_consistent();
    }

    /// Looks a name up. The kernel is told of the inode by this, and must be made to [`FileSystem::forget`] it.
    pub fn lookup(&self, parent: Ino, name: &FileName) -> impl Future<Output = Result<Attr, FsError>> {
        self.traffic.lookup(parent, name)
    }

    /// What `stat` shows of an inode.
    pub fn getattr(&self, ino: Ino) -> impl Future<Output = Result<Attr, FsError>> {
        self.traffic.getattr(ino)
    }

    /// The kernel has forgotten an inode `lookups` times.
    pub fn forget(&self, ino: Ino, lookups: u64) {
        self.names.forget(ino, lookups)
    }

    /// The path of an inode below the mount, for people; empty for the top, `None` where it has no name any more.
    pub fn path(&self, ino: Ino) -> Option<String> {
        self.names.path(ino)
    }

    /// Makes a new file and opens it; one that somebody else has made meanwhile is opened, unless it must be new. The kernel
    /// is told of the inode by this.
    pub fn create(
        &self,
        parent: Ino,
        name: &FileName,
        permissions: u32,
        owner: Owner,
        mode: OpenMode,
    ) -> impl Future<Output = Result<(Attr, Opened), FsError>> {
        self.files.create(parent, name, permissions, owner, mode)
    }

    /// Reads up to `len` bytes from `offset`; fewer only at the end of the file.
    pub fn read(&self, handle: HandleId, offset: u64, len: usize) -> impl Future<Output = Result<ReadBytes, FsError>> {
        self.files.read(handle, offset, len)
    }

    /// Takes as many of the bytes as go in without waiting. Never blocks.
    pub fn write(&self, handle: HandleId, offset: u64, data: &[u8]) -> Result<WriteOutcome, FsError> {
        self.files.write(handle, offset, data)
    }

    /// Takes the rest of a write, waiting for whatever it needs. `done` counts the bytes that are in the file; whoever
    /// drops the future leaves it at that.
    pub fn write_rest(
        &self,
        handle: HandleId,
        offset: u64,
        data: &[u8],
        done: &AtomicUsize,
    ) -> impl Future<Output = Result<(), FsError>> {
        self.files.write_rest(handle, offset, data, done)
    }

    /// A descriptor of the handle was closed: publishes what is unpublished and tells the outcome.
    ///
    /// Not every close is the last word: `still_open` says whether a process still has the file open by another
    /// descriptor, whose own close will publish and tell. It is asked only if there is something to publish: of the one
    /// that closed if the file was made or emptied and not yet written, which is how shells open what they redirect to;
    /// and of the one that opened it, if that is another, because a program that lets its children write cares about its
    /// own close. Where it does not know, this close is the last word.
    pub fn flush<F: Future<Output = bool> + Send>(
        &self,
        handle: HandleId,
        still_open: impl Fn(Holder) -> F + Send,
    ) -> impl Future<Output = Result<(), FsError>> {
        self.publisher.flush(handle, still_open)
    }

    /// Makes everything that was written to the file durable, by whatever handle. The handle stays usable.
    pub fn fsync(&self, handle: HandleId) -> impl Future<Output = Result<(), FsError>> {
        self.publisher.fsync(handle)
    }

    /// Makes the entries of a directory durable: publishes what waits of it and of the files in it.
    pub fn fsync_directory(&self, ino: Ino) -> impl Future<Output = Result<(), FsError>> {
        self.publisher.fsync_directory(ino)
    }

    /// The last descriptor of a handle is gone. Publishes what is still unpublished, which nobody can be told of but
    /// the log.
    pub fn release(&self, id: HandleId) -> impl Future<Output = ()> {
        self.publisher.release(id)
    }

    /// Undoes an opening whose caller has gone before it was told: a file that was made or emptied by it, and that nobody
    /// else has written since, is as if that had never been asked for.
    pub fn abandon(&self, id: HandleId) -> impl Future<Output = ()> {
        self.publisher.abandon(id)
    }

    /// A program that waited for the file to be published was told to end. What is hardly anything but holes is not published
    /// for somebody who is gone, unless another one has the file open, too.
    pub fn stop_filling(&self, ino: Ino) {
        self.publisher.stop_filling(ino)
    }

    /// The end of the mount: leaves nothing of files that could not be published, and of those that have lost their names.
    pub fn dispose_all(&self) -> impl Future<Output = ()> {
        self.publisher.dispose_all()
    }

    /// Publishes what is being written or waits of a file, or of all below a directory, by its path below the mount; an empty
    /// one is all. Returns what could not be published, with the reason.
    pub fn publish_below(&self, path: &str) -> impl Future<Output = Vec<(String, FailedCall)>> {
        self.publisher.publish_below(path)
    }

    /// What is counted, and who listens.
    pub fn stats(&self) -> &Arc<Stats> {
        &self.context.stats
    }

    /// Opens a directory.
    pub fn opendir(&self, ino: Ino) -> impl Future<Output = Result<HandleId, FsError>> {
        self.directories.opendir(ino)
    }

    /// The entries of an open directory from `offset` on, at most `count`.
    pub fn readdir(
        &self,
        handle: HandleId,
        offset: u64,
        count: usize,
    ) -> impl Future<Output = Result<Vec<DirEntry>, FsError>> {
        self.directories.readdir(handle, offset, count)
    }

    /// The entries from `offset`, or behind it where all that were there are gone, at most `count`, with their attributes where
    /// the name is still there; `.` and `..` come without. Returns the offset of the first, too. The kernel is told of every inode that comes with attributes.
    ///
    /// The kernel asks for the first of them whether or not somebody wants attributes, and for more only if somebody does:
    /// from then on those that are not known are fetched, side by side.
    pub fn readdirplus(
        &self,
        handle: HandleId,
        offset: u64,
        count: usize,
    ) -> impl Future<Output = Result<(u64, Vec<DirEntryPlus>), FsError>> {
        self.directories.readdirplus(handle, offset, count)
    }

    /// Closes a directory.
    pub fn releasedir(&self, handle: HandleId) {
        self.directories.releasedir(handle)
    }

    /// Makes a directory, which is a marker object. The kernel is told of the inode by this.
    pub fn mkdir(
        &self,
        parent: Ino,
        name: &FileName,
        permissions: u32,
        owner: Owner,
    ) -> impl Future<Output = Result<Attr, FsError>> {
        self.changes.mkdir(parent, name, permissions, owner)
    }

    /// Makes a special file. It waits a moment for the times and the owner that archivers set next. The kernel is told of the
    /// inode by this.
    pub fn mknod(
        &self,
        parent: Ino,
        name: &FileName,
        special: Special,
        permissions: u32,
        owner: Owner,
    ) -> impl Future<Output = Result<Attr, FsError>> {
        self.changes.mknod(parent, name, special, permissions, owner)
    }

    /// Makes a symbolic link, as cosfs does: an object whose content is the target. It waits a moment for the times and the
    /// owner that archivers set next. The kernel is told of the inode by this.
    pub fn symlink(
        &self,
        parent: Ino,
        name: &FileName,
        target: &[u8],
        owner: Owner,
    ) -> impl Future<Output = Result<Attr, FsError>> {
        self.changes.symlink(parent, name, target, owner)
    }

    /// The target of a symbolic link.
    pub fn readlink(&self, ino: Ino) -> impl Future<Output = Result<Vec<u8>, FsError>> {
        self.changes.readlink(ino)
    }

    /// Removes an empty directory.
    pub fn rmdir(&self, parent: Ino, name: &FileName) -> impl Future<Output = Result<(), FsError>> {
        self.changes.rmdir(parent, name)
    }

    /// Removes a file. Whoever has it open goes on with it, under a key that nobody sees, until the last handle is closed;
    /// nothing of it is published any more.
    pub fn unlink(&self, parent: Ino, name: &FileName) -> impl Future<Output = Result<(), FsError>> {
        self.changes.unlink(parent, name)
    }

    /// Renames a file or a directory, replacing a file or an empty directory of the new name unless `no_replace`.
    pub fn rename(
        &self,
        from: (Ino, &FileName),
        to: (Ino, &FileName),
        no_replace: bool,
    ) -> impl Future<Output = Result<(), FsError>> {
        self.changes.rename(from, to, no_replace)
    }

    /// Makes a copy of a file, a symbolic link or a special file under another name. The kernel is told of the copy's inode
    /// by this.
    pub fn link(&self, ino: Ino, parent: Ino, name: &FileName) -> impl Future<Output = Result<Attr, FsError>> {
        self.changes.link(ino, parent, name)
    }

    /// Changes attributes, the length among them, and returns what `stat` shows then.
    ///
    /// Of a file that is being written they travel with its publishing; a published object gets them by one copy onto
    /// itself, a directory by a new marker.
    pub fn setattr(&self, ino: Ino, change: AttrChange) -> impl Future<Output = Result<Attr, FsError>> {
        self.attributes.setattr(ino, change)
    }

    /// Makes room for a range, or zeros of it.
    pub fn allocate(
        &self,
        handle: HandleId,
        offset: u64,
        len: u64,
        how: Allocation,
    ) -> impl Future<Output = Result<(), FsError>> {
        self.files.allocate(handle, offset, len, how)
    }

    /// The first byte at or behind `offset` of a kind. Only a file that is being written has holes: what is in the bucket
    /// is all data.
    pub fn seek(&self, handle: HandleId, offset: u64, to: SeekTo) -> Result<u64, FsError> {
        self.files.seek(handle, offset, to)
    }

    /// Puts `len` bytes from `from_offset` of one file at `to_offset` of another, or of the same, as far as there are so
    /// many, and returns how many that was. What is in the bucket is copied there, and moves nowhere.
    ///
    /// Changes of another file that are not published are published by this.
    pub fn copy_range(
        &self,
        from: (HandleId, u64),
        to: (HandleId, u64),
        len: u64,
    ) -> impl Future<Output = Result<u64, FsError>> {
        self.files.copy_range(from, to, len)
    }
}
