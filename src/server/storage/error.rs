//! Why storage did not do what it was asked.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often the same failure is logged. A full disk or a damaged segment fails every request that comes.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// Failures that are remembered for that; with more than these, the memory starts anew.
const LOGGED_MAX: usize = 256;

/// Std mutex: sections are one map operation, and a line in the log. Level 8 in the order of locks.
static LOGGED: Mutex<Option<HashMap<String, (Instant, u64)>>> = Mutex::new(None);

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
    /// The disk has no room.
    #[error("the disk is full")]
    Full,
    /// The bytes of a segment are not those that were stored.
    #[error("segment {segment:016x} is damaged: {what}")]
    Damaged {
        /// Which segment.
        segment: u64,
        /// What is wrong with it.
        what: String,
    },
    /// The directory cannot be served.
    #[error(transparent)]
    Unusable(#[from] Unusable),
    /// The batch that held the change was given up; the log says why.
    #[error("the index could not be written")]
    NotCommitted,
    /// The index takes no calls until it was opened anew.
    #[error("the index is not open")]
    IndexOut,
    /// The service is closing.
    #[error("the service is closing")]
    Closed,
}

/// Why a directory cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// It is something else than a directory.
    #[error("it is not a directory")]
    NotDirectory,
    /// It holds something, and nothing of this service.
    #[error("it holds {entry:?}, and no data of a service")]
    Foreign {
        /// One of the things that it holds.
        entry: String,
    },
    /// Another service serves it.
    #[error("it is used by another service")]
    Used,
    /// It cannot be read or written.
    #[error("it cannot be written: {0}")]
    NotWritable(io::Error),
    /// The index is missing, or an empty file, although something was stored.
    #[error("the index {} is {what}", index.display())]
    IndexGone {
        /// Where it should be.
        index: PathBuf,
        /// Missing or empty.
        what: &'static str,
        /// Whether it can be made anew.
        journal: bool,
    },
    /// The index is not the data base that it was.
    #[error("the index {} is damaged: {source}", index.display())]
    IndexDamaged {
        /// Where it is.
        index: PathBuf,
        /// What the data base says.
        source: Box<dyn std::error::Error + Send + Sync>,
        /// Whether it can be made anew.
        journal: bool,
    },
    /// The index was written by another version of the data base.
    #[error("the index {} is of another version: {source}", index.display())]
    OtherVersion {
        /// Where it is.
        index: PathBuf,
        /// What the data base says.
        source: Box<dyn std::error::Error + Send + Sync>,
        /// Whether it can be made anew.
        journal: bool,
    },
    /// The index is not the one that the journal belongs to, or an older state of it.
    #[error("the index {} lacks what the journal has: {what}", index.display())]
    IndexOld {
        /// Where it is.
        index: PathBuf,
        /// How that shows.
        what: String,
    },
    /// The directory of the segments is missing, although the index names some.
    #[error("{} is missing", segments.display())]
    SegmentsGone {
        /// Where it should be.
        segments: PathBuf,
    },
    /// The index was to be made anew, and there is no journal.
    #[error("there is no journal to make the index from")]
    NoJournal,
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
    /// A condition on the source of a copy, or on what a write replaces, does not hold.
    PreconditionFailed,
    /// The object has not the digest that its writer has promised.
    BadDigest,
    /// A range of a copy's source that the source does not cover.
    InvalidRange,
    /// A copy onto itself that would change nothing.
    CopyChangesNothing,
    /// The object is archived, and cannot be read before it was restored.
    Archived,
    /// The object is archived nowhere.
    NotArchived,
    /// The object is being restored already.
    BeingRestored,
    /// The object was not made to grow, or its bucket has versions.
    NotAppendable,
    /// The object is not as long as who appends to it says.
    WrongPosition,
    /// The object has no version of that id.
    NoSuchVersion,
    /// The version marks a deletion.
    IsDeleted,
}

impl StorageError {
    pub(super) fn failed(action: &'static str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        StorageError::Failed { action, source: source.into() }
    }

    /// A failure of the machine's files.
    pub(super) fn io(action: &'static str, source: io::Error) -> StorageError {
        match source.kind() {
            // A quota of the file system is as good as its end.
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StorageError::Full,
            _ => StorageError::failed(action, source),
        }
    }

    /// Whether the disk had no room.
    pub(super) fn is_full(&self) -> bool {
        matches!(self, StorageError::Full)
    }

    /// Says in the log what failed, unless the same was said a moment ago.
    pub(in crate::server) fn log(&self, what: &str) {
        let line = format!("{what}: {self}");
        let mut logged = LOGGED.lock().unwrap_or_else(PoisonError::into_inner);
        let logged = logged.get_or_insert_default();
        let now = Instant::now();
        let times = match logged.get_mut(&line) {
            Some((said, times)) if now.duration_since(*said) < LOG_EVERY => {
                *times += 1;
                return;
            }
            Some((_, times)) => *times,
            None => 0,
        };
        if logged.len() >= LOGGED_MAX {
            logged.clear();
        }
        logged.insert(line.clone(), (now, 0));
        match times {
            0 => log::error!("{line}"),
            times => log::error!("{line} (and {times} times since this was said)"),
        }
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

/// Every error of redb becomes a failure of the index, but for those that can be mended.
macro_rules! index_failures {
    ($($error:ty),+) => {
        $(impl From<$error> for StorageError {
            fn from(error: $error) -> StorageError {
                match redb::Error::from(error) {
                    redb::Error::PreviousIo | redb::Error::DatabaseClosed => StorageError::IndexOut,
                    redb::Error::Io(error) => StorageError::io("use the index", error),
                    error => StorageError::failed("use the index", error),
                }
            }
        })+
    };
}

index_failures!(redb::DatabaseError, redb::TransactionError, redb::TableError, redb::StorageError, redb::CommitError);
