//! Why a file could not take or publish bytes.

use crate::store::StoreError;

/// Why a file could not take or publish bytes.
#[derive(Clone, Debug, thiserror::Error)]
pub enum UploadError {
    /// The service said no, or could not be reached.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file has more changes than the service takes parts, and they depend on one another.
    #[error("{key:?} has too many scattered changes to be published; close it more often")]
    TooScattered {
        /// The file's key.
        key: String,
    },
    /// Its publishing was stopped, because the file is about to be removed or replaced.
    #[error("{key:?} is about to be removed")]
    Unwanted {
        /// The file's key.
        key: String,
    },
    /// The file would be larger than the service's largest object.
    #[error("{key:?} would be larger than the service's largest object, {bytes_max} bytes")]
    TooLarge {
        /// The file's key.
        key: String,
        /// The service's largest object, in bytes.
        bytes_max: u64,
    },
}
