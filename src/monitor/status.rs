//! The document that tells how a mount fares. Its fields are those of `docs/CONTROL.md`: what is there stays, with its
//! meaning, for as long as the protocol has its version.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How a mount fares at one moment. Times are text in UTC, spans are seconds, sizes are bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// When this was true.
    pub at: String,
    /// The program's version.
    pub version: String,
    /// The process that serves the mount.
    pub pid: u32,
    /// Since how many seconds it is mounted.
    pub uptime_seconds: u64,
    /// `BUCKET[:/PREFIX]`.
    pub source: String,
    /// Where it is mounted.
    pub mount_point: String,
    /// The service, without credentials.
    pub endpoint: String,
    /// Where metrics and the page are; `None` where they were not asked for.
    pub metrics: Option<String>,
    /// What was said of options, by whatever source; what is not here has its default.
    pub options: BTreeMap<String, String>,
    /// What requests are signed with.
    pub credentials: CredentialStatus,
    /// Who holds memory.
    pub memory: MemoryStatus,
    /// Files that programs have open or that wait to be published, the first thousand. Those with an upload come first.
    pub files: Vec<FileStatus>,
    /// All of them.
    pub files_count: usize,
    /// Of those how many have something that is not in the bucket.
    pub unpublished_count: usize,
    /// Open directories.
    pub open_directories: usize,
    /// Directories whose attributes wait to be published.
    pub unsaved_directories: Vec<String>,
    /// What went over the wire.
    pub transfer: TransferStatus,
    /// What the cache on disk has been good for; `None` where there is none.
    pub disk_cache: Option<DiskCacheStatus>,
    /// Requests to the service by operation.
    pub requests: BTreeMap<String, OperationStatus>,
    /// Calls of programs by name.
    pub calls: BTreeMap<String, OperationStatus>,
    /// The last failures, the newest first.
    pub errors: Vec<FailureStatus>,
    /// What the requests so far have cost, by the configured prices; `None` where none are.
    pub cost: Option<CostStatus>,
}

/// What requests are signed with. The key itself is nowhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialStatus {
    /// The id of the key.
    pub id: String,
    /// Where it comes from.
    pub source: String,
    /// When it ends; `None` if it does not.
    pub expires: Option<String>,
    /// In how many seconds; negative when it is over.
    pub expires_in_seconds: Option<i64>,
    /// Why there is no newer one, where there should be.
    pub problem: Option<String>,
}

/// Who holds memory, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryStatus {
    /// What all buffers together may take.
    pub limit: usize,
    /// Buffers in use.
    pub used: usize,
    /// Of those, what of files is not in the bucket, or is kept for who writes.
    pub writers: usize,
    /// The rest of those: blocks of objects that are read.
    pub readers: usize,
    /// Buffers that nobody uses.
    pub idle: usize,
    /// Names and attributes, which have a budget of their own.
    pub names: usize,
    /// That budget.
    pub names_limit: usize,
    /// Inodes that the kernel refers to, beside their names, which stay until it forgets them.
    #[serde(default)]
    pub inodes: usize,
    /// Writers and readers that wait for a buffer.
    pub waiting: usize,
}

/// How a file fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileStage {
    /// All of it is in the bucket, or it is only read.
    Clean,
    /// Something of it is not.
    Dirty,
    /// It is being published.
    Publishing,
    /// It is closed, and is published a little later.
    Waiting,
    /// It could not be published.
    Failed,
}

/// A file that programs have open, or that waits to be published.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FileStatus {
    /// Its path below the mount, with a slash before it; `None` of one that was removed.
    pub path: Option<String>,
    /// The key that it is published under, of one that is written.
    pub key: Option<String>,
    /// Handles that programs have.
    pub handles: usize,
    /// Those of them that may write.
    pub writers: usize,
    /// How it fares.
    pub state: FileStage,
    /// Since when something of it is not in the bucket.
    pub since: Option<String>,
    /// For how many seconds.
    pub since_seconds: Option<u64>,
    /// Bytes in it now, of one that is written.
    pub size: Option<u64>,
    /// Bytes of it that are in memory.
    pub held_bytes: u64,
    /// Its multipart upload, if one is running.
    pub upload: Option<UploadStatus>,
    /// Why it could not be published.
    pub error: Option<String>,
}

/// How far a multipart upload has come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UploadStatus {
    /// Its id, once the service has given one.
    pub id: Option<String>,
    /// How many parts fare how.
    pub parts: PartCounts,
    /// One letter for each part from number 1: `.` waits, `s` is on its way, `L` has landed, `C` was copied on the service.
    pub map: String,
    /// Bytes that have landed. Grows for as long as nobody writes over what has.
    pub landed_bytes: u64,
    /// Bytes that land in a second, since it began.
    pub bytes_per_second: u64,
    /// Seconds until what is written by now has landed, at that rate; `None` as long as nothing has.
    pub left_seconds: Option<u64>,
}

/// How many parts fare how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartCounts {
    /// Parts that are full.
    pub total: usize,
    /// Those that have not begun to go.
    pub waiting: usize,
    /// Those that are on their way.
    pub sending: usize,
    /// Those that the service has, copied ones among them.
    pub landed: usize,
    /// Of those that have landed, those that the service has copied from another object.
    pub copied: usize,
    /// How often a part went once more.
    pub resent: u64,
}

/// What went over the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransferStatus {
    /// Payload bytes that went out.
    pub bytes_up: u64,
    /// Payload bytes that came in.
    pub bytes_down: u64,
    /// Requests, every attempt counted.
    pub requests: u64,
    /// Those that were repeats.
    pub retries: u64,
    /// Objects published.
    pub published: u64,
    /// Blocks that readers found in memory, or on their way there.
    pub cache_hits: u64,
    /// Blocks that readers had to ask the service for.
    pub cache_misses: u64,
    /// Bytes in each second of the last minutes, the newest last.
    pub rates: Vec<Rate>,
}

/// What a cache on disk has been good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskCacheStatus {
    /// What it takes of the disk, in bytes.
    pub bytes: u64,
    /// Looks that found what they were for.
    pub hits: u64,
    /// Bytes that those gave.
    pub hit_bytes: u64,
    /// Looks that did not.
    pub misses: u64,
    /// Copies that made way.
    pub evicted: u64,
    /// Pieces that were not kept, because the disk was slower than what came.
    pub lost: u64,
    /// Files that were opened for the kernel to read by itself, which no other number here counts.
    pub passthrough_opens: u64,
}

/// Payload bytes of one second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// Those that went out.
    pub up: u64,
    /// Those that came in.
    pub down: u64,
}

/// What was done of one kind.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OperationStatus {
    /// How many have ended.
    pub count: u64,
    /// Of those, how many failed; that there is no such object is not a failure.
    pub failed: u64,
    /// How many ended how; `ok` is a success.
    pub results: BTreeMap<String, u64>,
    /// How many were repeats of others.
    pub repeats: u64,
    /// Those that are on their way.
    pub running: u64,
    /// Half of them took no longer, in milliseconds.
    pub p50_ms: f64,
    /// 90 % of them took no longer, in milliseconds.
    pub p90_ms: f64,
    /// 99 % of them took no longer, in milliseconds.
    pub p99_ms: f64,
}

/// Something that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureStatus {
    /// When.
    pub at: String,
    /// What was asked for.
    pub call: String,
    /// The path below the mount.
    pub path: String,
    /// The key that the request behind it was about; empty where there was none.
    pub key: String,
    /// The errno that a program got; empty where none was told.
    pub errno: String,
    /// The service's code; empty where it gave none.
    pub code: String,
    /// The service's id of the request; empty where there is none.
    pub request_id: String,
    /// The whole story.
    pub message: String,
}

/// What the requests so far have cost, as far as the configured prices tell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CostStatus {
    /// In which currency.
    pub currency: String,
    /// Requests and bytes together.
    pub total: f64,
    /// By what: `read_requests`, `write_requests`, `bytes_down`.
    pub by: BTreeMap<String, f64>,
}

impl FileStage {
    /// Every one.
    pub(super) const ALL: [FileStage; 5] =
        [FileStage::Clean, FileStage::Dirty, FileStage::Publishing, FileStage::Waiting, FileStage::Failed];

    /// Its name, as in the document.
    pub(super) fn name(self) -> &'static str {
        match self {
            FileStage::Clean => "clean",
            FileStage::Dirty => "dirty",
            FileStage::Publishing => "publishing",
            FileStage::Waiting => "waiting",
            FileStage::Failed => "failed",
        }
    }
}

impl UploadStatus {
    /// The letters of [`UploadStatus::map`].
    pub const WAITING: char = '.';
    /// A part that is on its way.
    pub const SENDING: char = 's';
    /// A part that has landed.
    pub const LANDED: char = 'L';
    /// A part that the service has copied.
    pub const COPIED: char = 'C';
}
