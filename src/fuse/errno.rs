//! The one table from meanings to errno.

use fuser::Errno;

use crate::fs::FsError;
use crate::store::StoreErrorKind;

/// The errno that a caller sees.
pub(super) fn errno(error: &FsError) -> Errno {
    match error {
        FsError::NotFound => Errno::ENOENT,
        FsError::Exists => Errno::EEXIST,
        FsError::NotDirectory => Errno::ENOTDIR,
        FsError::IsDirectory => Errno::EISDIR,
        FsError::NotEmpty => Errno::ENOTEMPTY,
        FsError::NameTooLong => Errno::ENAMETOOLONG,
        FsError::NameInvalid => Errno::EILSEQ,
        FsError::ReadOnly => Errno::EROFS,
        FsError::BadHandle => Errno::EBADF,
        FsError::Stale => Errno::ESTALE,
        FsError::CrossDevice => Errno::EXDEV,
        FsError::Invalid => Errno::EINVAL,
        FsError::NotPermitted => Errno::EPERM,
        FsError::NotSupported => Errno::EOPNOTSUPP,
        FsError::TooLarge => Errno::EFBIG,
        FsError::NoSuchOffset => Errno::ENXIO,
        FsError::NoSuchAttribute => Errno::ENODATA,
        FsError::MetadataFull => Errno::ENOSPC,
        FsError::Interrupted => Errno::EINTR,
        FsError::Remote(kind) => remote(*kind),
    }
}

fn remote(kind: StoreErrorKind) -> Errno {
    match kind {
        StoreErrorKind::NotFound | StoreErrorKind::NoSuchBucket => Errno::ENOENT,
        StoreErrorKind::Denied => Errno::EACCES,
        StoreErrorKind::Archived | StoreErrorKind::Busy => Errno::EBUSY,
        StoreErrorKind::Changed => Errno::ESTALE,
        StoreErrorKind::AlreadyExists => Errno::EEXIST,
        StoreErrorKind::NotEmpty => Errno::ENOTEMPTY,
        StoreErrorKind::TooLarge | StoreErrorKind::TooManyParts => Errno::EFBIG,
        StoreErrorKind::Quota => Errno::EDQUOT,
        StoreErrorKind::Full => Errno::ENOSPC,
        StoreErrorKind::Invalid => Errno::EINVAL,
        StoreErrorKind::Unsupported => Errno::EOPNOTSUPP,
        StoreErrorKind::TimedOut => Errno::ETIMEDOUT,
        StoreErrorKind::Unreachable => Errno::EHOSTUNREACH,
        StoreErrorKind::Throttled => Errno::EAGAIN,
        StoreErrorKind::NoSuchUpload
        | StoreErrorKind::InvalidRange
        | StoreErrorKind::Internal
        | StoreErrorKind::Corrupted
        | StoreErrorKind::Protocol => Errno::EIO,
    }
}
