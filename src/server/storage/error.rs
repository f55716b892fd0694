//! Why storage did not do what it was asked.

/// A refusal names the rule that was broken; a failure is the machine's.
#[derive(Debug, thiserror::Error)]
pub(in crate::server) enum StorageError {
    /// The request breaks a rule of the service. Nothing was changed.
    #[error("{0:?}")]
    Refused(Rule),
    /// Disk or index failed.
    #[error("could not {action}: {source}")]
    Failed {
        /// What was tried, as the end of "could not".
        action: &'static str,
        /// What came of it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The batch that held the change was given up; the log says why.
    #[error("the index could not be written")]
    NotCommitted,
    /// The service is closing.
    #[error("the service is closing")]
    Closed,
}

/// The rules that storage alone can check, because they depend on what is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum Rule {
    /// No bucket of that name.
    NoSuchBucket,
    /// The bucket that was to be made is there.
    BucketExists,
    /// The bucket that was to be deleted holds objects or unfinished uploads.
    BucketNotEmpty,
    /// No object of that key.
    NoSuchKey,
    /// No unfinished upload of that id and key.
    NoSuchUpload,
    /// Complete names a part that is not there, has another ETag, or leaves a gap.
    InvalidPart,
    /// Complete names parts that do not ascend.
    InvalidPartOrder,
    /// A part before the last is smaller than the service's smallest.
    EntityTooSmall,
    /// The object would be larger than the service's largest.
    EntityTooLarge,
    /// `x-cos-forbid-overwrite`, and the object exists.
    FileAlreadyExists,
    /// A condition on the source of a copy does not hold.
    PreconditionFailed,
    /// A range of a copy's source that the source does not cover.
    InvalidRange,
    /// A copy onto itself that would change nothing.
    CopyChangesNothing,
}

impl StorageError {
    pub(super) fn failed(action: &'static str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        StorageError::Failed { action, source: source.into() }
    }

    /// Whether the machine failed, rather than the request.
    pub(super) fn is_failure(&self) -> bool {
        !matches!(self, StorageError::Refused(_))
    }
}

impl From<Rule> for StorageError {
    fn from(rule: Rule) -> StorageError {
        StorageError::Refused(rule)
    }
}

/// Every error of redb becomes a failure of the index.
macro_rules! index_failures {
    ($($error:ty),+) => {
        $(impl From<$error> for StorageError {
            fn from(error: $error) -> StorageError {
                StorageError::failed("use the index", error)
            }
        })+
    };
}

index_failures!(redb::DatabaseError, redb::TransactionError, redb::TableError, redb::StorageError, redb::CommitError);
