//! What the kernel is told, in its own terms.

use std::time::{Duration, SystemTime};

use fuser::{Errno, FileAttr, FileType, Generation, INodeNo, ReplyAttr, ReplyEmpty, ReplyEntry, ReplyXattr};

use super::super::errno::errno;
use crate::fs::{Attr, FileSystem, FsError, Ino, Kind, LockKind, Owner};

/// What `stat` recommends as the size of writes, in bytes: `cp` into the mount takes half the time that it takes with
/// 128 KiB.
const WRITE_BYTES: u32 = 1 << 20;

/// What it recommends for a file that nobody writes, in bytes. Programs that read here and there through a buffer of this
/// size, Python's for example, fetch a buffer for every few bytes they want; coreutils takes no smaller one.
const READ_BYTES: u32 = 128 << 10;

/// Every inode number is used once for one file.
pub(super) const GENERATION: Generation = Generation(0);

pub(super) fn entry(fs: &FileSystem, reply: ReplyEntry, result: Result<Attr, FsError>) {
    match result {
        Ok(attr) => reply.entry(&attr.valid_for, &shown_attr(fs, &attr), GENERATION),
        Err(error) => reply.error(errno(&error)),
    }
}

/// The same for a lookup: that there is nothing is for the kernel to believe, too, where somebody has said for how long.
pub(super) fn found(fs: &FileSystem, reply: ReplyEntry, result: Result<Attr, FsError>) {
    match (result, fs.options().negative_ttl) {
        (Err(FsError::NotFound), Some(ttl)) if !ttl.is_zero() => {
            // An inode of this number is none.
            reply.entry(&ttl, &directory_attr(Ino(0)), GENERATION);
        }
        (result, _) => entry(fs, reply, result),
    }
}

pub(super) fn attr(fs: &FileSystem, reply: ReplyAttr, result: Result<Attr, FsError>) {
    match result {
        Ok(attr) => reply.attr(&attr.valid_for, &shown_attr(fs, &attr)),
        Err(error) => reply.error(errno(&error)),
    }
}

pub(super) fn empty(reply: ReplyEmpty, result: Result<(), FsError>) {
    match result {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(errno(&error)),
    }
}

/// Answers with the bytes, or with how many there are to those who offer no room.
pub(super) fn xattr(reply: ReplyXattr, size: u32, result: Result<Vec<u8>, FsError>) {
    match result {
        // The kernel takes at most 64 KiB.
        Ok(bytes) if size == 0 => reply.size(bytes.len() as u32),
        Ok(bytes) if bytes.len() > size as usize => reply.error(Errno::ERANGE),
        Ok(bytes) => reply.data(&bytes),
        Err(error) => reply.error(errno(&error)),
    }
}

pub(super) fn file_type(kind: Kind) -> FileType {
    match kind {
        Kind::File => FileType::RegularFile,
        Kind::Directory => FileType::Directory,
        Kind::Symlink => FileType::Symlink,
        Kind::Fifo => FileType::NamedPipe,
        Kind::Socket => FileType::Socket,
        Kind::BlockDevice => FileType::BlockDevice,
        Kind::CharDevice => FileType::CharDevice,
    }
}

pub(super) fn shown_attr(fs: &FileSystem, attr: &Attr) -> FileAttr {
    file_attr(attr, attr.kind != Kind::File || fs.attributes().is_open_for_writing(attr.ino))
}

pub(super) fn file_attr(attr: &Attr, is_written: bool) -> FileAttr {
    FileAttr {
        ino: INodeNo(attr.ino.0),
        size: attr.size,
        blocks: attr.size.div_ceil(512),
        atime: attr.atime,
        mtime: attr.mtime,
        ctime: attr.ctime,
        crtime: attr.mtime,
        kind: file_type(attr.kind),
        perm: (attr.permissions & 0o7777) as u16,
        nlink: attr.links,
        uid: attr.owner.uid,
        gid: attr.owner.gid,
        rdev: attr.device,
        blksize: if is_written { WRITE_BYTES } else { READ_BYTES },
        flags: 0,
    }
}

/// The attributes of `.` and `..` in a listing, of which the kernel uses the number and the type.
pub(super) fn directory_attr(ino: Ino) -> FileAttr {
    let never = SystemTime::UNIX_EPOCH;
    let owner = Owner { uid: 0, gid: 0 };
    let attr = Attr {
        ino,
        kind: Kind::Directory,
        size: 0,
        permissions: 0,
        owner,
        atime: never,
        mtime: never,
        ctime: never,
        links: 1,
        device: 0,
        valid_for: Duration::ZERO,
    };
    file_attr(&attr, true)
}

pub(super) fn lock_type(kind: LockKind) -> i32 {
    match kind {
        LockKind::Shared => libc::F_RDLCK,
        LockKind::Exclusive => libc::F_WRLCK,
        LockKind::None => libc::F_UNLCK,
    }
}
