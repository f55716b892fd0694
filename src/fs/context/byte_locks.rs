//! Locks on ranges of a file of this machine, held by an opening of it: they end when that is closed, and so with the
//! process that made it, however it ends.

use std::fs::File;
use std::io;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

/// A range of offsets, of which the last may be the largest there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) start: u64,
    /// Exclusive.
    pub(crate) end: u64,
}

/// How a range is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockKind {
    /// Together with others.
    Shared,
    /// Alone.
    Exclusive,
    /// Not at all.
    None,
}

/// Locks a range, or unlocks it. Returns whether that could be done without waiting.
pub(crate) fn try_lock(file: &File, kind: LockKind, range: Range) -> io::Result<bool> {
    if range.start >= range.end {
        return Ok(true);
    }
    let lock = description(kind, range);
    match fcntl(file, FcntlArg::F_OFD_SETLK(&lock)) {
        Ok(_) => Ok(true),
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// A lock of somebody else that is in the way of one of this kind.
pub(crate) fn conflict(file: &File, kind: LockKind, range: Range) -> io::Result<Option<(LockKind, Range)>> {
    let mut lock = description(kind, range);
    fcntl(file, FcntlArg::F_OFD_GETLK(&mut lock))?;
    let kind = match i32::from(lock.l_type) {
        libc::F_UNLCK => return Ok(None),
        libc::F_RDLCK => LockKind::Shared,
        _ => LockKind::Exclusive,
    };
    let start = lock.l_start.unsigned_abs();
    // No length at all means to the end of everything.
    let end = if lock.l_len == 0 { END } else { start + lock.l_len.unsigned_abs() };
    Ok(Some((kind, Range { start, end })))
}

/// Behind the last offset there is.
pub(crate) const END: u64 = 1 << 63;

fn description(kind: LockKind, range: Range) -> libc::flock {
    let kind = match kind {
        LockKind::Shared => libc::F_RDLCK,
        LockKind::Exclusive => libc::F_WRLCK,
        LockKind::None => libc::F_UNLCK,
    };
    let offset = |offset: u64| i64::try_from(offset).unwrap_or(i64::MAX);
    let l_len = if range.end >= END { 0 } else { offset(range.end - range.start) };
    libc::flock { l_type: kind as i16, l_whence: libc::SEEK_SET as i16, l_start: offset(range.start), l_len, l_pid: 0 }
}
