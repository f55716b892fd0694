//! fuser's trait over the file system.

mod answering;
mod asked;
mod replies;

use std::any::Any;
use std::ffi::OsStr;
use std::fs::File;
use std::future::ready;
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use fuser::{
    BackingId, CopyFileRangeFlags, Errno, FileAttr, FileHandle, Filesystem, FopenFlags, INodeNo, InitFlags,
    KernelConfig, LockOwner, Notifier, OpenAccMode, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyLock, ReplyLseek, ReplyOpen, ReplyStatfs,
    ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::call::Call;
use super::caller::{self, Mapped, Sought};
use super::errno::errno;
use super::features::FEATURES;
use crate::fs::{
    Allocation, Attr, AttrChange, BackingFile, DirEntry, FileName, FileSystem, FsError, HandleId, Holder, Ino,
    LockFamily, LockInTheWay, LockKind, LockRequest, OpenMode, Opened, SeekTo, Special, WriteOutcome, XattrMode,
    with_cause, with_cause_at_once,
};
use crate::store::Watchdog;

/// Read-ahead requests that the kernel may have waiting: enough to keep a prefetching reader busy over 1 ms replies.
const BACKGROUND_MAX: u16 = 64;

/// Entries that are offered for one reply of a directory listing with attributes; the kernel takes 32 KiB, which are
/// about 200 short names.
const PLUS_ENTRIES_MAX: usize = 200;

const STATFS_BLOCK_BYTES: u32 = 4096;
/// Files that there is room for, as `statfs` shows it.
const STATFS_FILES: u64 = 1 << 38;

/// The most that one copy inside the mount covers, in bytes: a whole number of MiB below 4 GiB.
const COPY_BYTES_MAX: u64 = (4 << 30) - (1 << 20);

/// The file system as fuser sees it.
pub(super) struct Adapter {
    fs: Arc<FileSystem>,
    runtime: Handle,
    request_bytes_max: u32,
    /// The number of the mounted device, once somebody could ask for it.
    device: Device,
    notices: Notices,
    ending: caller::Ending,
    mapped: Mapped,
    watchdog: Arc<Watchdog>,
}

/// The number of a mounted device; known only when the mount answers.
pub(super) type Device = Arc<OnceLock<(u32, u32)>>;

/// The way to tell the kernel what it has not asked for; known only when it is mounted.
pub(super) type Notices = Arc<OnceLock<Notifier>>;

impl Adapter {
    pub(super) fn new(
        fs: Arc<FileSystem>,
        runtime: Handle,
        request_bytes_max: u32,
        device: Device,
        notices: Notices,
        watchdog: Arc<Watchdog>,
    ) -> Adapter {
        let (ending, mapped) = (caller::Ending::default(), Mapped::default());
        Adapter { fs, runtime, request_bytes_max, device, notices, ending, mapped, watchdog }
    }
}

/// Entries of a directory with what the kernel is told of them, and where they begin.
type Plus = (u64, Vec<(DirEntry, Option<Attr>)>);

/// Unwraps a name, or answers and returns.
macro_rules! name_or_reply {
    ($name:expr, $reply:expr) => {
        match FileName::from_os($name) {
            Ok(name) => name,
            Err(error) => return $reply.error(errno(&error)),
        }
    };
}

impl Filesystem for Adapter {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        // Without others to share them with, locks are the kernel's own, which cost no request.
        let locks = [InitFlags::FUSE_POSIX_LOCKS, InitFlags::FUSE_FLOCK_LOCKS];
        let locks = locks.into_iter().filter(|_| self.fs.locks().shares_locks());
        // One level of stacking is left for who puts an overlay on this mount.
        let takes_backing_files = self.fs.passthrough().is_of_use()
            && config.add_capabilities(InitFlags::FUSE_PASSTHROUGH).is_ok()
            && config.set_max_stack_depth(1).is_ok();
        self.fs.passthrough().allow(takes_backing_files, caller::sees_all_processes());
        for flag in FEATURES.into_iter().map(|feature| feature.flag).chain(locks) {
            // An older kernel does without.
            let _ = config.add_capabilities(flag);
        }
        let refused = |_| std::io::Error::other("the kernel refuses the size of requests");
        config.set_max_write(self.request_bytes_max).map_err(refused)?;
        let _ = config.set_max_background(BACKGROUND_MAX);
        Ok(())
    }

    fn lookup(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let name = match FileName::from_os(name) {
            Ok(name) => name,
            // What no key can hold is not there.
            Err(FsError::NameInvalid) => return reply.error(Errno::ENOENT),
            Err(error) => return reply.error(errno(&error)),
        };
        let fs = self.fs.clone();
        let asked = Call::new(request, "lookup", parent).named(&name);
        let call = async move { fs.lookup(Ino(parent.0), &name).await };
        let shown = self.fs.clone();
        let undo = self.forgetting();
        self.answer_or_undo(asked, call, move |result| replies::found(&shown, reply, result), undo);
    }

    fn forget(&self, _request: &Request, ino: INodeNo, lookups: u64) {
        self.fs.forget(Ino(ino.0), lookups);
    }

    fn getattr(&self, request: &Request, ino: INodeNo, _handle: Option<FileHandle>, reply: ReplyAttr) {
        let fs = self.fs.clone();
        let (asked, shown) = (Call::new(request, "getattr", ino), self.fs.clone());
        let call = async move {
            let attr = fs.getattr(Ino(ino.0)).await?;
            Ok((fs.shown_number(attr.ino), attr))
        };
        self.answer(asked, call, move |result| match result {
            // The number is only shown: the kernel knows the inode by the one that it has asked for.
            Ok((Ino(number), attr)) => {
                reply.attr(&attr.valid_for, &FileAttr { ino: INodeNo(number), ..replies::shown_attr(&shown, &attr) });
            }
            Err(error) => reply.error(errno(&error)),
        });
    }

    fn setattr(
        &self,
        request: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        handle: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<fuser::BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        // The kernel leaves the time out of either; ftruncate alone comes with a handle.
        let modifies = size.is_some() && handle.is_some();
        let (atime, mtime) = (atime.map(asked::time_told), mtime.map(asked::time_told));
        let change = AttrChange { permissions: mode.map(|mode| mode & 0o7777), uid, gid, atime, mtime, size, modifies };
        let says_nothing = change == AttrChange::default();
        let gives_or_cuts = mode.is_none() && (uid.is_some() || gid.is_some() || size.is_some());
        let asked = Call::new(request, asked::what_changes(&change), ino);
        let (fs, asker, ino) = (self.fs.clone(), asked::asker(request), Ino(ino.0));
        let call = async move {
            if says_nothing {
                return fs.attributes().set_nothing(ino, &asker).await;
            }
            if gives_or_cuts {
                fs.attributes().drop_privileges(ino, &asker).await?;
            }
            fs.setattr(ino, change).await
        };
        let shown = self.fs.clone();
        self.answer_or_stop(asked, ino, call, move |result| replies::attr(&shown, reply, result));
    }

    fn mkdir(&self, request: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, reply: ReplyEntry) {
        let name = name_or_reply!(name, reply);
        let (fs, owner, permissions) = (self.fs.clone(), asked::owner(request), mode & !umask & 0o7777);
        let asked = Call::new(request, "mkdir", parent).named(&name);
        let call = async move { fs.mkdir(Ino(parent.0), &name, permissions, owner).await };
        self.answer_entry(asked, call, reply);
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        device: u32,
        reply: ReplyEntry,
    ) {
        let name = name_or_reply!(name, reply);
        let (fs, owner, permissions) = (self.fs.clone(), asked::owner(request), mode & !umask & 0o7777);
        let special = match mode & libc::S_IFMT {
            libc::S_IFIFO => Some(Special::Fifo),
            libc::S_IFSOCK => Some(Special::Socket),
            libc::S_IFBLK => Some(Special::BlockDevice(device)),
            libc::S_IFCHR => Some(Special::CharDevice(device)),
            _ => None,
        };
        let asked = Call::new(request, "mknod", parent).named(&name);
        if let Some(special) = special {
            let call = async move { fs.mknod(Ino(parent.0), &name, special, permissions, owner).await };
            return self.answer_entry(asked, call, reply);
        }
        let mode = OpenMode { writes: true, exclusive: true, opener: request.pid(), ..OpenMode::default() };
        let call = async move {
            let (attr, opened) = fs.create(Ino(parent.0), &name, permissions, owner, mode).await?;
            let published = fs.fsync(opened.handle).await;
            fs.release(opened.handle).await;
            if published.is_err() {
                fs.forget(attr.ino, 1);
            }
            published.map(|()| attr)
        };
        self.answer_entry(asked, call, reply);
    }

    fn symlink(&self, request: &Request, parent: INodeNo, name: &OsStr, target: &Path, reply: ReplyEntry) {
        let name = name_or_reply!(name, reply);
        let (fs, owner, target) = (self.fs.clone(), asked::owner(request), target.as_os_str().as_bytes().to_vec());
        let asked = Call::new(request, "symlink", parent).named(&name);
        let call = async move { fs.symlink(Ino(parent.0), &name, &target, owner).await };
        self.answer_entry(asked, call, reply);
    }

    fn readlink(&self, request: &Request, ino: INodeNo, reply: ReplyData) {
        let fs = self.fs.clone();
        let asked = Call::new(request, "readlink", ino);
        let call = async move { fs.readlink(Ino(ino.0)).await };
        self.answer(asked, call, |result| match result {
            Ok(target) => reply.data(&target),
            Err(error) => reply.error(errno(&error)),
        });
    }

    fn link(&self, request: &Request, ino: INodeNo, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let name = name_or_reply!(name, reply);
        let fs = self.fs.clone();
        let asked = Call::new(request, "link", ino).towards(parent, &name);
        let notices = self.notices.clone();
        let call = async move {
            let linked = fs.link(Ino(ino.0), Ino(parent.0), &name).await?;
            // The kernel knows that a rename changes the inode, and shows for a second what it was before a link. Without an
            // offset this forgets attributes alone, and waits for nobody.
            if let Some(Err(error)) = notices.get().map(|notices| notices.inval_inode(ino, -1, 0)) {
                log::debug!("the kernel may show the ctime of before a link for a second: {error}");
            }
            Ok(linked)
        };
        self.answer_entry(asked, call, reply);
    }

    fn setxattr(
        &self,
        request: &Request,
        ino: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        let Some(name) = name.to_str().map(str::to_owned) else { return reply.error(Errno::EOPNOTSUPP) };
        let mode = match flags {
            libc::XATTR_CREATE => XattrMode::Create,
            libc::XATTR_REPLACE => XattrMode::Replace,
            _ => XattrMode::Any,
        };
        let (fs, value) = (self.fs.clone(), value.to_vec());
        let asked = Call::new(request, "setxattr", ino);
        let call = async move { fs.attributes().setxattr(Ino(ino.0), &name, &value, mode).await };
        self.answer(asked, call, |result| replies::empty(reply, result));
    }

    fn getxattr(&self, request: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        let Some(name) = name.to_str().map(str::to_owned) else { return reply.error(Errno::ENODATA) };
        let fs = self.fs.clone();
        let asked = Call::new(request, "getxattr", ino);
        let call = async move { fs.attributes().getxattr(Ino(ino.0), &name).await };
        self.answer(asked, call, move |result| replies::xattr(reply, size, result));
    }

    fn listxattr(&self, request: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        let fs = self.fs.clone();
        let asked = Call::new(request, "listxattr", ino);
        let call = async move {
            let names = fs.attributes().listxattr(Ino(ino.0)).await?;
            Ok(names.into_iter().flat_map(|name| name.into_bytes().into_iter().chain([0])).collect())
        };
        self.answer(asked, call, move |result| replies::xattr(reply, size, result));
    }

    fn removexattr(&self, request: &Request, ino: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let Some(name) = name.to_str().map(str::to_owned) else { return reply.error(Errno::ENODATA) };
        let fs = self.fs.clone();
        let asked = Call::new(request, "removexattr", ino);
        let call = async move { fs.attributes().removexattr(Ino(ino.0), &name).await };
        self.answer(asked, call, |result| replies::empty(reply, result));
    }

    fn unlink(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let name = name_or_reply!(name, reply);
        let fs = self.fs.clone();
        let asked = Call::new(request, "unlink", parent).named(&name);
        let call = async move { fs.unlink(Ino(parent.0), &name).await };
        self.answer(asked, call, |result| replies::empty(reply, result));
    }

    fn rmdir(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let name = name_or_reply!(name, reply);
        let fs = self.fs.clone();
        let asked = Call::new(request, "rmdir", parent).named(&name);
        let call = async move { fs.rmdir(Ino(parent.0), &name).await };
        self.answer(asked, call, |result| replies::empty(reply, result));
    }

    fn rename(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let (name, new_name) = (name_or_reply!(name, reply), name_or_reply!(new_name, reply));
        let no_replace = flags.contains(RenameFlags::RENAME_NOREPLACE);
        if flags.intersects(RenameFlags::RENAME_EXCHANGE | RenameFlags::RENAME_WHITEOUT) {
            return reply.error(Errno::EINVAL);
        }
        let fs = self.fs.clone();
        let asked = Call::new(request, "rename", parent).named(&name).towards(new_parent, &new_name);
        let call = async move { fs.rename((Ino(parent.0), &name), (Ino(new_parent.0), &new_name), no_replace).await };
        self.answer(asked, call, |result| replies::empty(reply, result));
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let name = name_or_reply!(name, reply);
        let (fs, owner, permissions) = (self.fs.clone(), asked::owner(request), mode & !umask & 0o7777);
        let appends = flags & libc::O_APPEND != 0;
        let reads = flags & libc::O_ACCMODE == libc::O_RDWR;
        let (exclusive, truncates) = (flags & libc::O_EXCL != 0, flags & libc::O_TRUNC != 0);
        let mode = OpenMode { writes: true, truncates, appends, reads, exclusive, opener: request.pid() };
        let asked = Call::new(request, "create", parent).named(&name);
        let call = async move { fs.create(Ino(parent.0), &name, permissions, owner, mode).await };
        let fs = self.fs.clone();
        let reply = move |result: Result<(Attr, Opened), FsError>| match result {
            Ok((attr, Opened { handle, backing, .. })) => {
                let (ttl, shown, handle) = (attr.valid_for, replies::file_attr(&attr, true), FileHandle(handle.0));
                match backing_id(&fs, backing.as_deref(), |file| reply.open_backing(file)) {
                    Some(id) => {
                        reply.created_passthrough(
                            &ttl,
                            &shown,
                            replies::GENERATION,
                            handle,
                            FopenFlags::FOPEN_DIRECT_IO,
                            id,
                        );
                    }
                    None => reply.created(&ttl, &shown, replies::GENERATION, handle, FopenFlags::FOPEN_DIRECT_IO),
                }
            }
            Err(error) => reply.error(errno(&error)),
        };
        let fs = self.fs.clone();
        let undo = |(attr, opened): (Attr, Opened)| async move {
            fs.abandon(opened.handle).await;
            fs.forget(attr.ino, 1);
        };
        self.answer_or_undo(asked, call, reply, undo);
    }

    fn open(&self, request: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let writes = flags.acc_mode() != OpenAccMode::O_RDONLY;
        let has = |flag: i32| flags.0 & flag != 0;
        let mode = OpenMode {
            writes,
            truncates: has(libc::O_TRUNC),
            appends: writes && has(libc::O_APPEND),
            reads: flags.acc_mode() != OpenAccMode::O_WRONLY,
            exclusive: false,
            opener: request.pid(),
        };
        let asked = Call::new(request, "open", ino);
        let (fs, asker, ino) = (self.fs.clone(), asked::asker(request), Ino(ino.0));
        let call = async move {
            if mode.truncates {
                fs.attributes().drop_privileges(ino, &asker).await?;
            }
            fs.open(ino, mode).await
        };
        let opened_by = self.fs.clone();
        let reply = move |result| match result {
            Ok(Opened { handle, keep_cache, is_direct, backing }) => {
                let direct = if is_direct { FopenFlags::FOPEN_DIRECT_IO } else { FopenFlags::empty() };
                let keep = if keep_cache { FopenFlags::FOPEN_KEEP_CACHE } else { FopenFlags::empty() };
                let handle = FileHandle(handle.0);
                match backing_id(&opened_by, backing.as_deref(), |file| reply.open_backing(file)) {
                    Some(id) => reply.opened_passthrough(handle, direct, id),
                    None => reply.opened(handle, direct | keep),
                }
            }
            Err(error) => reply.error(errno(&error)),
        };
        let fs = self.fs.clone();
        let undo = |opened: Opened| async move { fs.abandon(opened.handle).await };
        self.answer_or_undo(asked, call, reply, undo);
    }

    fn read(
        &self,
        request: &Request,
        ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let fs = self.fs.clone();
        let asked = Call::new(request, "read", ino).at(offset, size.into());
        let call = async move { fs.read(HandleId(handle.0), offset, size as usize).await };
        self.answer(asked, call, |result| match result {
            Ok(bytes) => reply.data(bytes.as_ref()),
            Err(error) => reply.error(errno(&error)),
        });
    }

    fn write(
        &self,
        request: &Request,
        ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        write_flags: WriteFlags,
        flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let handle = HandleId(handle.0);
        // The kernel sends at most 1 MiB at once.
        let len = data.len() as u32;
        let _runtime = self.runtime.enter();
        let write = || {
            if write_flags.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID) {
                self.fs.attributes().drop_privileges_of(handle, &asked::asker(request))?;
            }
            self.fs.write(handle, offset, data)
        };
        let asked = Call::new(request, "write", ino).at(offset, len.into());
        match catch_unwind(AssertUnwindSafe(|| asked.told(&self.fs, with_cause_at_once(write)))) {
            Ok(Ok(WriteOutcome::Done)) if flags.0 & libc::O_DSYNC == 0 => {
                let _ = asked.ended(&self.fs, Ok(()));
                reply.written(len);
            }
            Ok(Ok(WriteOutcome::Done)) => {
                self.write_rest(asked, (handle, offset), Vec::new(), data.len(), flags, reply);
            }
            Ok(Ok(WriteOutcome::Partly { offset, taken })) => {
                // The request's buffer is reused as soon as this returns, so that what waits needs a copy.
                let rest = data[taken..].to_vec();
                self.write_rest(asked, (handle, offset), rest, taken, flags, reply);
            }
            Ok(Err(error)) => {
                reply.error(errno(&error));
                let _ = asked.ended::<()>(&self.fs, Err(error));
            }
            Err(_) => {
                log::error!("a write's handler panicked; its caller got EIO");
                reply.error(Errno::EIO);
            }
        }
    }

    fn flush(&self, request: &Request, ino: INodeNo, handle: FileHandle, lock_owner: LockOwner, reply: ReplyEmpty) {
        let (fs, pid, device) = (self.fs.clone(), request.pid(), self.device.get().copied());
        let still_open = move |holder| {
            let of = match holder {
                // Where /proc does not tell, this close may be the last.
                Holder::Closer => Some(pid),
                Holder::Opener(opener) => Some(opener).filter(|opener| !caller::is_same_process(*opener, pid)),
            };
            let sought = Sought { ino: ino.0, device };
            async move {
                let Some(of) = of else { return false };
                // Not on this thread, which others' requests wait for.
                let look = tokio::task::spawn_blocking(move || caller::still_holds(of, &sought));
                matches!(timeout(caller::LONGEST_LOOK, look).await, Ok(Ok(Some(true))))
            }
        };
        let asked = Call::new(request, "flush", ino);
        let call = async move {
            let flushed = fs.flush(HandleId(handle.0), still_open).await;
            fs.locks().unlock_process(Ino(ino.0), lock_owner.0);
            flushed
        };
        self.answer_or_stop(asked, Ino(ino.0), call, |result| replies::empty(reply, result));
    }

    fn release(
        &self,
        request: &Request,
        ino: INodeNo,
        handle: FileHandle,
        flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        let (fs, asked) = (self.fs.clone(), Call::new(request, "release", ino));
        let may_be_mapped =
            flags.acc_mode() == OpenAccMode::O_RDWR && fs.attributes().may_be_stored_in(HandleId(handle.0));
        let mapped = self.mapped.clone();
        let sought = Sought { ino: ino.0, device: self.device.get().copied() };
        // Nobody waits for the reply of a release.
        self.run(async move {
            if may_be_mapped {
                replies::empty(reply, asked.ended(&fs, Ok(())));
                fs.locks().unlock_handle(Ino(ino.0), HandleId(handle.0));
                // What is stored in it until then belongs to the file.
                mapped.until_unmapped(sought).await;
                return fs.release(HandleId(handle.0)).await;
            }
            fs.release(HandleId(handle.0)).await;
            fs.locks().unlock_handle(Ino(ino.0), HandleId(handle.0));
            replies::empty(reply, asked.ended(&fs, Ok(())));
        });
    }

    fn fsync(&self, request: &Request, ino: INodeNo, handle: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        let fs = self.fs.clone();
        let asked = Call::new(request, "fsync", ino);
        let call = async move { fs.fsync(HandleId(handle.0)).await };
        self.answer_or_stop(asked, Ino(ino.0), call, |result| replies::empty(reply, result));
    }

    fn getlk(
        &self,
        request: &Request,
        ino: INodeNo,
        handle: FileHandle,
        lock_owner: LockOwner,
        start: u64,
        end: u64,
        typ: i32,
        pid: u32,
        reply: ReplyLock,
    ) {
        let Some(kind) = asked::lock_kind(typ) else { return reply.error(Errno::EINVAL) };
        // Only `fcntl` asks.
        let family = LockFamily::Record;
        let (owner, handle, end) = (lock_owner.0, HandleId(handle.0), end.saturating_add(1));
        let wanted = LockRequest { family, owner, handle, pid: pid.max(request.pid()), kind, start, end };
        match self.fs.locks().lock_in_the_way(Ino(ino.0), wanted) {
            Ok(None) => reply.locked(start, end - 1, libc::F_UNLCK, 0),
            Ok(Some(LockInTheWay { kind, start, end, pid })) => {
                reply.locked(start, end - 1, replies::lock_type(kind), pid)
            }
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn setlk(
        &self,
        request: &Request,
        ino: INodeNo,
        handle: FileHandle,
        lock_owner: LockOwner,
        start: u64,
        end: u64,
        typ: i32,
        pid: u32,
        sleep: bool,
        reply: ReplyEmpty,
    ) {
        let Some(kind) = asked::lock_kind(typ) else { return reply.error(Errno::EINVAL) };
        let asked = Call::new(request, "lock", ino);
        let (fs, ino, tid) = (self.fs.clone(), Ino(ino.0), request.pid());
        let (runtime, ending, watchdog) = (self.runtime.clone(), self.ending.clone(), self.watchdog.clone());
        let (owner, handle) = (lock_owner.0, HandleId(handle.0));
        self.run(async move {
            let families = asked::lock_families(tid, kind, start..=end).await.into_iter().flatten();
            let end = end.saturating_add(1);
            let wanted: Vec<LockRequest> =
                families.map(|family| LockRequest { family, owner, handle, pid, kind, start, end }).collect();
            if kind == LockKind::None {
                let publishing = fs.clone();
                let published = runtime.spawn(async move { publishing.locks().publish_before_unlocking(ino).await });
                // Nobody is kept from unlocking by a service that gives nothing.
                tokio::select! {
                    _ = published => {}
                    () = ending.reached_by(tid) => {}
                    () = watchdog.starves() => {}
                }
            }
            // The file is what he has made of it, and he knows.
            let is_known = wanted.iter().all(|wanted| fs.locks().has_locked(ino, wanted));
            let lock = async |wanted: &[LockRequest]| {
                for wanted in wanted {
                    fs.locks().lock_range(ino, *wanted, sleep).await?;
                }
                Ok(())
            };
            let locked = tokio::select! {
                biased;
                locked = lock(&wanted) => locked,
                () = caller::is_signalled(tid) => Err(FsError::Interrupted),
            };
            if kind == LockKind::None || locked.is_err() || is_known {
                return replies::empty(reply, asked.ended(&fs, locked));
            }
            // Who took what he sees for what is there could overwrite what others have made of it.
            let renewed = tokio::select! {
                biased;
                renewed = with_cause(fs.locks().renew_after_locking(ino)) => asked.told(&fs, renewed),
                () = watchdog.starves() => Err(asked.out_of_time(&fs, &watchdog)),
            };
            if renewed.is_err() {
                let unwanted: Vec<LockRequest> =
                    wanted.iter().map(|wanted| LockRequest { kind: LockKind::None, ..*wanted }).collect();
                let _ = lock(&unwanted).await;
            }
            replies::empty(reply, asked.ended(&fs, renewed));
        });
    }

    fn fallocate(
        &self,
        request: &Request,
        ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        len: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let grows = mode & libc::FALLOC_FL_KEEP_SIZE == 0;
        let how = match mode & !libc::FALLOC_FL_KEEP_SIZE {
            0 => Allocation::Reserve { grows },
            libc::FALLOC_FL_PUNCH_HOLE if !grows => Allocation::Zero { grows },
            libc::FALLOC_FL_ZERO_RANGE => Allocation::Zero { grows },
            // Taking ranges out and putting them in would move all that follows.
            _ => return reply.error(Errno::EOPNOTSUPP),
        };
        if mode & libc::FALLOC_FL_PUNCH_HOLE == 0 && len > self.fs.options().statfs_bytes {
            // Programs that try for how much room there is go on from this, and not from EFBIG.
            return reply.error(Errno::ENOSPC);
        }
        let asked = Call::new(request, "fallocate", ino);
        let (fs, asker, ino) = (self.fs.clone(), asked::asker(request), Ino(ino.0));
        let call = async move {
            fs.attributes().drop_privileges(ino, &asker).await?;
            fs.allocate(HandleId(handle.0), offset, len, how).await
        };
        self.answer(asked, call, |result| replies::empty(reply, result));
    }

    fn lseek(&self, request: &Request, ino: INodeNo, handle: FileHandle, offset: i64, whence: i32, reply: ReplyLseek) {
        let to = match whence {
            libc::SEEK_DATA => SeekTo::Data,
            libc::SEEK_HOLE => SeekTo::Hole,
            _ => return reply.error(Errno::EINVAL),
        };
        let Ok(offset) = u64::try_from(offset) else { return reply.error(Errno::ENXIO) };
        let asked = Call::new(request, "lseek", ino).at(offset, 0);
        match asked.ended(&self.fs, self.fs.seek(HandleId(handle.0), offset, to)) {
            // Larger than any object can be is larger than any offset here.
            Ok(found) => reply.offset(i64::try_from(found).unwrap_or(i64::MAX)),
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn copy_file_range(
        &self,
        request: &Request,
        _ino_in: INodeNo,
        handle_in: FileHandle,
        offset_in: u64,
        ino_out: INodeNo,
        handle_out: FileHandle,
        offset_out: u64,
        len: u64,
        _flags: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        // The reply has 32 bits for what was copied; the caller comes again for the rest.
        let len = len.min(COPY_BYTES_MAX);
        let (from, to) = ((HandleId(handle_in.0), offset_in), (HandleId(handle_out.0), offset_out));
        let asked = Call::new(request, "copy_file_range", ino_out);
        let (fs, asker, ino) = (self.fs.clone(), asked::asker(request), Ino(ino_out.0));
        let call = async move {
            fs.attributes().drop_privileges(ino, &asker).await?;
            fs.copy_range(from, to, len).await
        };
        self.answer(asked, call, |result| match result {
            Ok(copied) => reply.written(copied as u32),
            Err(error) => reply.error(errno(&error)),
        });
    }

    fn opendir(&self, request: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        let fs = self.fs.clone();
        let asked = Call::new(request, "opendir", ino);
        let call = async move { fs.opendir(Ino(ino.0)).await };
        let reply = |result: Result<HandleId, FsError>| match result {
            Ok(handle) => reply.opened(FileHandle(handle.0), FopenFlags::empty()),
            Err(error) => reply.error(errno(&error)),
        };
        let fs = self.fs.clone();
        let undo = move |handle| {
            fs.releasedir(handle);
            ready(())
        };
        self.answer_or_undo(asked, call, reply, undo);
    }

    fn readdir(&self, request: &Request, ino: INodeNo, handle: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let fs = self.fs.clone();
        let asked = Call::new(request, "readdir", ino);
        let call = async move { fs.readdir(HandleId(handle.0), offset, PLUS_ENTRIES_MAX * 8).await };
        self.answer(asked, call, move |result| {
            let entries = match result {
                Ok(entries) => entries,
                Err(error) => return reply.error(errno(&error)),
            };
            for (next, entry) in (offset + 1..).zip(entries) {
                if reply.add(INodeNo(entry.ino.0), next, replies::file_type(entry.kind), entry.name.as_str()) {
                    break;
                }
            }
            reply.ok();
        });
    }

    fn readdirplus(
        &self,
        request: &Request,
        ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let fs = self.fs.clone();
        let listing = self.fs.clone();
        let asked = Call::new(request, "readdir", ino);
        let call = async move { listing.readdirplus(HandleId(handle.0), offset, PLUS_ENTRIES_MAX).await };
        let told = self.fs.clone();
        let reply = move |result: Result<Plus, FsError>| {
            let (offset, entries) = match result {
                Ok(entries) => entries,
                Err(error) => return reply.error(errno(&error)),
            };
            let mut is_full = false;
            for (next, (entry, attr)) in (offset + 1..).zip(entries) {
                let shown = match &attr {
                    Some(attr) => replies::shown_attr(&fs, attr),
                    None if entry.name.is_dot() => replies::directory_attr(entry.ino),
                    // Gone since the directory was opened.
                    None => continue,
                };
                let ttl = attr.as_ref().map_or(Duration::ZERO, |attr| attr.valid_for);
                is_full = is_full
                    || reply.add(INodeNo(entry.ino.0), next, entry.name.as_str(), &ttl, &shown, replies::GENERATION);
                if is_full && attr.is_some() {
                    // The kernel was not told of this one after all.
                    fs.forget(entry.ino, 1);
                }
            }
            reply.ok();
        };
        let undo = move |(_, entries): Plus| {
            entries.iter().filter(|(_, attr)| attr.is_some()).for_each(|(entry, _)| told.forget(entry.ino, 1));
            ready(())
        };
        self.answer_or_undo(asked, call, reply, undo);
    }

    fn releasedir(&self, request: &Request, ino: INodeNo, handle: FileHandle, _flags: OpenFlags, reply: ReplyEmpty) {
        let asked = Call::new(request, "releasedir", ino);
        self.fs.releasedir(HandleId(handle.0));
        replies::empty(reply, asked.ended(&self.fs, Ok(())));
    }

    fn fsyncdir(&self, request: &Request, ino: INodeNo, _handle: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        let fs = self.fs.clone();
        let asked = Call::new(request, "fsyncdir", ino);
        let call = async move { fs.fsync_directory(Ino(ino.0)).await };
        self.answer(asked, call, |result| replies::empty(reply, result));
    }

    fn statfs(&self, request: &Request, ino: INodeNo, reply: ReplyStatfs) {
        let _ = Call::new(request, "statfs", ino).ended(&self.fs, Ok(()));
        let blocks = self.fs.options().statfs_bytes / u64::from(STATFS_BLOCK_BYTES);
        reply.statfs(blocks, blocks, blocks, STATFS_FILES, STATFS_FILES, STATFS_BLOCK_BYTES, 255, STATFS_BLOCK_BYTES);
    }
}

/// By what the kernel knows the backing file of what was opened, if there is one and it takes it.
fn backing_id<'a>(
    fs: &FileSystem,
    backing: Option<&'a BackingFile>,
    register: impl FnOnce(&File) -> std::io::Result<BackingId>,
) -> Option<&'a BackingId> {
    let register = |file: &File| match register(file) {
        Ok(id) => Some(Box::new(id) as Box<dyn Any + Send + Sync>),
        Err(error) => {
            // Only root may tell of any, and the disk may itself be one that is stacked on another.
            log::info!("files in the cache are read by this process, because the kernel takes none: {error}");
            fs.passthrough().allow(false, false);
            None
        }
    };
    let id = backing?.registration(register)?.downcast_ref()?;
    fs.passthrough().note_open();
    Some(id)
}
