//! The one table from meanings to errno.

use fuser::Errno;

use crate::fs::FsError;
use crate::store::StoreErrorKind;

/// The errno that a caller sees.
pub(super) fn errno(error: &FsError) -> Errno {
    row(error).0
}

/// Its name, for people.
pub(super) fn name(error: &FsError) -> &'static str {
    row(error).1
}

/// An errno and its name.
macro_rules! named {
    ($errno:ident) => {
        (Errno::$errno, stringify!($errno))
    };
}

type Row = (Errno, &'static str);

fn row(error: &FsError) -> Row {
    match error {
        FsError::NotFound => named!(ENOENT),
        FsError::Exists => named!(EEXIST),
        FsError::NotDirectory => named!(ENOTDIR),
        FsError::IsDirectory => named!(EISDIR),
        FsError::NotEmpty => named!(ENOTEMPTY),
        FsError::NameTooLong => named!(ENAMETOOLONG),
        FsError::NameInvalid => named!(EILSEQ),
        FsError::ReadOnly => named!(EROFS),
        FsError::BadHandle => named!(EBADF),
        FsError::Stale => named!(ESTALE),
        FsError::Invalid => named!(EINVAL),
        FsError::NotPermitted => named!(EPERM),
        FsError::NotSupported => named!(EOPNOTSUPP),
        FsError::TooLarge => named!(EFBIG),
        FsError::Locked => named!(EAGAIN),
        FsError::Deadlock => named!(EDEADLK),
        FsError::NoLocks => named!(ENOLCK),
        FsError::NoSuchOffset => named!(ENXIO),
        FsError::NoSuchAttribute => named!(ENODATA),
        FsError::MetadataFull => named!(ENOSPC),
        FsError::Interrupted => named!(EINTR),
        FsError::Remote(kind) => remote(*kind),
    }
}

fn remote(kind: StoreErrorKind) -> Row {
    match kind {
        StoreErrorKind::NotFound | StoreErrorKind::NoSuchBucket => named!(ENOENT),
        StoreErrorKind::Denied => named!(EACCES),
        StoreErrorKind::Archived | StoreErrorKind::Busy => named!(EBUSY),
        StoreErrorKind::Changed => named!(ESTALE),
        StoreErrorKind::AlreadyExists => named!(EEXIST),
        StoreErrorKind::NotEmpty => named!(ENOTEMPTY),
        StoreErrorKind::TooLarge | StoreErrorKind::TooManyParts => named!(EFBIG),
        StoreErrorKind::Quota => named!(EDQUOT),
        StoreErrorKind::Full => named!(ENOSPC),
        StoreErrorKind::Invalid => named!(EINVAL),
        StoreErrorKind::Unsupported => named!(EOPNOTSUPP),
        StoreErrorKind::TimedOut => named!(ETIMEDOUT),
        StoreErrorKind::Unreachable => named!(EHOSTUNREACH),
        StoreErrorKind::Throttled => named!(EAGAIN),
        StoreErrorKind::NoSuchUpload
        | StoreErrorKind::InvalidRange
        | StoreErrorKind::Internal
        | StoreErrorKind::Corrupted
        | StoreErrorKind::Protocol => named!(EIO),
    }
}

#[cfg(test)]
mod tests {
    use StoreErrorKind as Kind;

    use super::*;

    /// Every row by its number on Linux, so that nothing of the table can be changed by accident. Where a variant is
    /// added, the match in `row` does not compile until it has one.
    #[test]
    fn each_meaning_has_its_errno() {
        let own = [
            (FsError::NotFound, libc::ENOENT, "ENOENT"),
            (FsError::Exists, libc::EEXIST, "EEXIST"),
            (FsError::NotDirectory, libc::ENOTDIR, "ENOTDIR"),
            (FsError::IsDirectory, libc::EISDIR, "EISDIR"),
            (FsError::NotEmpty, libc::ENOTEMPTY, "ENOTEMPTY"),
            (FsError::NameTooLong, libc::ENAMETOOLONG, "ENAMETOOLONG"),
            (FsError::NameInvalid, libc::EILSEQ, "EILSEQ"),
            (FsError::ReadOnly, libc::EROFS, "EROFS"),
            (FsError::BadHandle, libc::EBADF, "EBADF"),
            (FsError::Stale, libc::ESTALE, "ESTALE"),
            (FsError::Invalid, libc::EINVAL, "EINVAL"),
            (FsError::NotPermitted, libc::EPERM, "EPERM"),
            (FsError::NotSupported, libc::EOPNOTSUPP, "EOPNOTSUPP"),
            (FsError::TooLarge, libc::EFBIG, "EFBIG"),
            (FsError::Locked, libc::EAGAIN, "EAGAIN"),
            (FsError::Deadlock, libc::EDEADLK, "EDEADLK"),
            (FsError::NoLocks, libc::ENOLCK, "ENOLCK"),
            (FsError::NoSuchOffset, libc::ENXIO, "ENXIO"),
            (FsError::NoSuchAttribute, libc::ENODATA, "ENODATA"),
            (FsError::MetadataFull, libc::ENOSPC, "ENOSPC"),
            (FsError::Interrupted, libc::EINTR, "EINTR"),
        ];
        let remote = [
            (Kind::NotFound, libc::ENOENT, "ENOENT"),
            (Kind::NoSuchBucket, libc::ENOENT, "ENOENT"),
            (Kind::NoSuchUpload, libc::EIO, "EIO"),
            (Kind::Denied, libc::EACCES, "EACCES"),
            (Kind::Archived, libc::EBUSY, "EBUSY"),
            (Kind::Changed, libc::ESTALE, "ESTALE"),
            (Kind::AlreadyExists, libc::EEXIST, "EEXIST"),
            (Kind::NotEmpty, libc::ENOTEMPTY, "ENOTEMPTY"),
            (Kind::Busy, libc::EBUSY, "EBUSY"),
            (Kind::InvalidRange, libc::EIO, "EIO"),
            (Kind::TooLarge, libc::EFBIG, "EFBIG"),
            (Kind::TooManyParts, libc::EFBIG, "EFBIG"),
            (Kind::Quota, libc::EDQUOT, "EDQUOT"),
            (Kind::Full, libc::ENOSPC, "ENOSPC"),
            (Kind::Invalid, libc::EINVAL, "EINVAL"),
            (Kind::Unsupported, libc::EOPNOTSUPP, "EOPNOTSUPP"),
            (Kind::Throttled, libc::EAGAIN, "EAGAIN"),
            (Kind::TimedOut, libc::ETIMEDOUT, "ETIMEDOUT"),
            (Kind::Unreachable, libc::EHOSTUNREACH, "EHOSTUNREACH"),
            (Kind::Internal, libc::EIO, "EIO"),
            (Kind::Corrupted, libc::EIO, "EIO"),
            (Kind::Protocol, libc::EIO, "EIO"),
        ];
        let remote = remote.into_iter().map(|(kind, number, name)| (FsError::Remote(kind), number, name));
        for (error, number, expected) in own.into_iter().chain(remote) {
            assert_eq!((errno(&error).code(), name(&error)), (number, expected), "{error:?}");
        }
    }
}
