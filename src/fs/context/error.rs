//! What a call of the file system can fail with, as a meaning.

use crate::store::{StoreError, StoreErrorKind};
use crate::upload::UploadError;

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FsError {
    /// No such file or directory.
    #[error("no such file or directory")]
    NotFound,
    /// Something of that name is there.
    #[error("the name is taken")]
    Exists,
    /// A directory was needed.
    #[error("not a directory")]
    NotDirectory,
    /// Something else than a directory was needed.
    #[error("is a directory")]
    IsDirectory,
    /// The directory still holds something.
    #[error("the directory is not empty")]
    NotEmpty,
    /// The name, or the key that it would make, is too long.
    #[error("the name is too long")]
    NameTooLong,
    /// The name cannot be part of a key.
    #[error("the name cannot be part of an object's key")]
    NameInvalid,
    /// The mount is read-only.
    #[error("the file system is mounted read-only")]
    ReadOnly,
    /// The handle is not open, or not for this.
    #[error("the handle is not open for this")]
    BadHandle,
    /// The inode, or the version of the object that was being read, is gone.
    #[error("the file was changed or removed by somebody else")]
    Stale,
    /// An argument makes no sense.
    #[error("invalid argument")]
    Invalid,
    /// Cannot be done on an object store.
    #[error("an object store cannot do this")]
    NotPermitted,
    /// Not supported yet.
    #[error("not supported")]
    NotSupported,
    /// There is no data, or no hole, behind that offset.
    #[error("there is nothing of that kind behind that offset")]
    NoSuchOffset,
    /// The file would be larger than an object can be.
    #[error("larger than an object can be")]
    TooLarge,
    /// Somebody else has locked it.
    #[error("locked by somebody else")]
    Locked,
    /// Whoever has locked it waits for the one that asks.
    #[error("two wait for each other's locks")]
    Deadlock,
    /// Locks cannot be had.
    #[error("no locks can be had")]
    NoLocks,
    /// No extended attribute of that name.
    #[error("no such extended attribute")]
    NoSuchAttribute,
    /// The service takes only so much metadata with an object.
    #[error("more metadata than the service keeps with an object: 2 KiB each, 4 KiB in all")]
    MetadataFull,
    /// The caller was told to stop while it waited; what it began goes on.
    #[error("interrupted")]
    Interrupted,
    /// The service said no; the whole story is in the log.
    #[error("the service failed: {0}")]
    Remote(StoreErrorKind),
}

impl From<StoreErrorKind> for FsError {
    fn from(kind: StoreErrorKind) -> FsError {
        match kind {
            StoreErrorKind::NotFound => FsError::NotFound,
            StoreErrorKind::Changed => FsError::Stale,
            StoreErrorKind::TooLarge | StoreErrorKind::TooManyParts => FsError::TooLarge,
            kind => FsError::Remote(kind),
        }
    }
}

/// Whether an error of the service of this kind may be what a call failed of.
pub(crate) fn may_mean(kind: StoreErrorKind, error: &FsError) -> bool {
    *error == kind.into() || (kind == StoreErrorKind::NotFound && *error == FsError::Stale)
}

impl From<StoreError> for FsError {
    fn from(error: StoreError) -> FsError {
        super::cause::note(&error);
        error.kind.into()
    }
}

impl From<UploadError> for FsError {
    fn from(error: UploadError) -> FsError {
        match error {
            // An upload that is not found, or whose base is not, is nothing that the caller named.
            UploadError::Store(error) if error.kind == StoreErrorKind::NotFound => {
                super::cause::note(&error);
                FsError::Stale
            }
            UploadError::Store(error) => error.into(),
            UploadError::TooLarge { .. } | UploadError::TooScattered { .. } => FsError::TooLarge,
            UploadError::Unwanted { .. } => FsError::Interrupted,
        }
    }
}

impl FsError {
    /// Whether it is an answer to what was asked, which programs expect and go on with, and not an accident.
    pub fn is_ordinary(&self) -> bool {
        match self {
            FsError::NotFound
            | FsError::Exists
            | FsError::NotDirectory
            | FsError::IsDirectory
            | FsError::NotEmpty
            | FsError::NameTooLong
            | FsError::NameInvalid
            | FsError::ReadOnly
            | FsError::BadHandle
            | FsError::Invalid
            | FsError::NotPermitted
            | FsError::NotSupported
            | FsError::NoSuchOffset
            | FsError::NoSuchAttribute
            | FsError::Locked
            | FsError::Deadlock
            | FsError::Interrupted => true,
            FsError::Stale | FsError::NoLocks | FsError::TooLarge | FsError::MetadataFull | FsError::Remote(_) => false,
        }
    }
}
