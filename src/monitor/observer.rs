//! Who looks at a mount: puts the document together, and remembers what went over the wire in the last minutes.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::cost;
use super::status::{
    CredentialStatus, DiskCacheStatus, FailureStatus, FileStage, FileStatus, MemoryStatus, OperationStatus, PartCounts,
    Rate, Status, TransferStatus, UploadStatus,
};
use crate::cache::CacheCounts;
use crate::config::Prices;
use crate::fs::{FileState, FileSystem, FsState, MemoryState};
use crate::stats::{Failure, Operation, Stats, text_of_time};
use crate::store::{CredentialCache, CredentialState};
use crate::upload::{PartMark, Progress, Stage, UploadProgress};

/// How often what went over the wire is looked at.
const SAMPLE_EVERY: Duration = Duration::from_secs(1);

/// Seconds that are remembered: five minutes.
const RATES_MAX: usize = 300;

/// Files that the document tells of one by one.
const FILES_MAX: usize = 1000;

/// What is looked at.
pub struct ObserverParts {
    /// The mount.
    pub fs: Arc<FileSystem>,
    /// What its requests are signed with.
    pub credentials: CredentialCache,
    /// `BUCKET[:/PREFIX]`.
    pub source: String,
    /// Where it is mounted.
    pub mount_point: PathBuf,
    /// The service, without credentials.
    pub endpoint: String,
    /// What was said of options, by name.
    pub options: BTreeMap<String, String>,
    /// Where metrics and the page are, if anywhere.
    pub metrics: Option<String>,
    /// What requests cost, where somebody has said it.
    pub prices: Option<Prices>,
}

/// One look at a mount: the document, and what of it is in numbers that the document leaves out or cuts short.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) status: Status,
    pub(super) totals: Totals,
    pub(super) requests: BTreeMap<&'static str, Operation>,
    pub(super) calls: BTreeMap<&'static str, Operation>,
}

/// Sums over all files.
#[derive(Clone, Debug, Default)]
pub(super) struct Totals {
    /// When it was mounted.
    pub(super) mounted_at: Option<SystemTime>,
    /// When the key ends, if it does.
    pub(super) key_ends_at: Option<SystemTime>,
    /// How many files fare how.
    pub(super) files: BTreeMap<FileStage, usize>,
    /// Handles of programs that read, and that may write.
    pub(super) readers: usize,
    pub(super) writers: usize,
    /// Multipart uploads that are running.
    pub(super) uploads: usize,
    /// The parts of all of them.
    pub(super) parts: PartCounts,
    /// Keys that cannot be file names.
    pub(super) keys_skipped: u64,
}

/// Looks at one mount.
pub struct Observer {
    parts: ObserverParts,
    began: Instant,
    mounted_at: SystemTime,
    /// Std mutex: a few numbers. Level 9 in the order of locks.
    samples: Mutex<Samples>,
}

#[derive(Default)]
struct Samples {
    rates: VecDeque<Rate>,
    /// Bytes up and down by the last look.
    seen: (u64, u64),
}

impl Observer {
    /// Begins to look, for as long as it lives, in a task of the runtime that this is called on.
    pub fn new(parts: ObserverParts) -> Arc<Observer> {
        let observer = Arc::new(Observer {
            parts,
            began: Instant::now(),
            mounted_at: SystemTime::now(),
            samples: Mutex::default(),
        });
        let looking = Arc::downgrade(&observer);
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(SAMPLE_EVERY);
            loop {
                ticks.tick().await;
                let Some(observer) = looking.upgrade() else { return };
                observer.sample();
            }
        });
        observer
    }

    /// The mount that is looked at.
    pub fn fs(&self) -> &Arc<FileSystem> {
        &self.parts.fs
    }

    /// What is counted.
    pub fn stats(&self) -> &Arc<Stats> {
        self.parts.fs.stats()
    }

    /// How the mount fares now.
    pub fn status(&self) -> Status {
        self.look().status
    }

    /// How the mount fares now, and the numbers behind it.
    pub(super) fn look(&self) -> Look {
        let now = SystemTime::now();
        let state = self.parts.fs.state();
        let files_count = state.files.len();
        let unpublished_count = state.unpublished().len();
        let stats = self.stats();
        let (requests, calls) = (stats.operations.all(), stats.calls.all());
        let credentials = self.parts.credentials.state();
        let key_ends_at = credentials.expires;
        let (transfer, memory) = (self.transfer(&state), memory(state.memory));
        let all_files: Vec<FileStatus> = state.files.into_iter().map(|file| file_status(file, now)).collect();
        let totals = Totals {
            mounted_at: Some(self.mounted_at),
            key_ends_at,
            keys_skipped: Stats::get(&stats.keys_skipped),
            ..totals(&all_files)
        };
        let by_operation = operations(&requests);
        let status = Status {
            at: text_of_time(now),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_seconds: self.began.elapsed().as_secs(),
            source: self.parts.source.clone(),
            mount_point: self.parts.mount_point.display().to_string(),
            endpoint: self.parts.endpoint.clone(),
            metrics: self.parts.metrics.clone(),
            options: self.parts.options.clone(),
            credentials: credential_status(credentials, now),
            memory,
            open_directories: state.directories,
            unsaved_directories: state.unsaved_directories.iter().map(|path| format!("/{path}")).collect(),
            cost: self.parts.prices.as_ref().map(|prices| cost::cost(prices, &by_operation, transfer.bytes_down)),
            transfer,
            disk_cache: state.disk_cache.map(disk_cache),
            files: files(all_files),
            files_count,
            unpublished_count,
            requests: by_operation,
            calls: operations(&calls),
            errors: stats.failures.all().into_iter().rev().map(failure).collect(),
        };
        Look { status, totals, requests, calls }
    }

    fn transfer(&self, state: &FsState) -> TransferStatus {
        let Stats { requests, retries, bytes_up, bytes_down, published, .. } = &**self.stats();
        let [requests, retries, bytes_up, bytes_down, published] =
            [requests, retries, bytes_up, bytes_down, published].map(Stats::get);
        let (cache_hits, cache_misses) = (state.read_hits, state.read_misses);
        let rates = self.samples().rates.iter().copied().collect();
        TransferStatus { bytes_up, bytes_down, requests, retries, published, cache_hits, cache_misses, rates }
    }

    fn sample(&self) {
        let stats = self.stats();
        let (up, down) = (Stats::get(&stats.bytes_up), Stats::get(&stats.bytes_down));
        let mut samples = self.samples();
        let rate = Rate { up: up - samples.seen.0, down: down - samples.seen.1 };
        samples.seen = (up, down);
        if samples.rates.len() == RATES_MAX {
            samples.rates.pop_front();
        }
        samples.rates.push_back(rate);
    }

    fn samples(&self) -> MutexGuard<'_, Samples> {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn disk_cache(counts: CacheCounts) -> DiskCacheStatus {
    let CacheCounts { hits, hit_bytes, misses, evicted, lost, passthrough_opens, bytes } = counts;
    DiskCacheStatus { bytes, hits, hit_bytes, misses, evicted, lost, passthrough_opens }
}

fn credential_status(state: CredentialState, now: SystemTime) -> CredentialStatus {
    let left = |ends: SystemTime| match ends.duration_since(now) {
        Ok(left) => left.as_secs().cast_signed(),
        Err(over) => -over.duration().as_secs().cast_signed(),
    };
    CredentialStatus {
        id: state.secret_id,
        source: state.origin,
        expires: state.expires.map(text_of_time),
        expires_in_seconds: state.expires.map(left),
        problem: state.problem,
    }
}

/// What all files together are.
fn totals(files: &[FileStatus]) -> Totals {
    let mut totals =
        Totals { files: FileStage::ALL.into_iter().map(|stage| (stage, 0)).collect(), ..Totals::default() };
    for file in files {
        *totals.files.entry(file.state).or_default() += 1;
        totals.writers += file.writers;
        totals.readers += file.handles - file.writers;
        if let Some(upload) = &file.upload {
            totals.uploads += 1;
            let (all, parts) = (&mut totals.parts, upload.parts);
            all.total += parts.total;
            all.waiting += parts.waiting;
            all.sending += parts.sending;
            all.landed += parts.landed;
            all.copied += parts.copied;
            all.resent += parts.resent;
        }
    }
    totals
}

fn memory(state: MemoryState) -> MemoryStatus {
    let MemoryState { limit, used, writers, idle, names, names_limit, inodes_bytes, waiting, .. } = state;
    // What writers hold was counted a moment after all that is used.
    let readers = used.saturating_sub(writers);
    MemoryStatus { limit, used, writers, readers, idle, names, names_limit, inodes: inodes_bytes, waiting }
}

/// Those with an upload first, then what else is not in the bucket, then the rest; each by path.
fn files(mut files: Vec<FileStatus>) -> Vec<FileStatus> {
    let rank = |file: &FileStatus| (file.upload.is_none(), file.state == FileStage::Clean);
    files.sort_by(|one, other| rank(one).cmp(&rank(other)).then_with(|| one.path.cmp(&other.path)));
    files.truncate(FILES_MAX);
    files
}

fn file_status(file: FileState, now: SystemTime) -> FileStatus {
    let FileState { path, handles, writers, waiting_since, progress, .. } = file;
    let state = progress.as_ref().map_or(FileStage::Clean, |progress| match progress.stage {
        Stage::Clean => FileStage::Clean,
        Stage::Dirty if waiting_since.is_some() => FileStage::Waiting,
        Stage::Dirty => FileStage::Dirty,
        Stage::Publishing => FileStage::Publishing,
        Stage::Failed => FileStage::Failed,
    });
    let since = progress.as_ref().and_then(|progress| progress.dirty_since).or(waiting_since);
    let since = since.filter(|_| state != FileStage::Clean);
    FileStatus {
        path: path.map(|path| format!("/{path}")),
        key: progress.as_ref().map(|progress| progress.key.to_string()),
        handles,
        writers,
        state,
        since: since.map(text_of_time),
        since_seconds: since.map(|since| now.duration_since(since).unwrap_or_default().as_secs()),
        size: progress.as_ref().map(|progress| progress.size),
        held_bytes: progress.as_ref().map_or(0, |progress| progress.held_bytes),
        error: progress.as_ref().and_then(|progress| progress.failure.as_ref()).map(ToString::to_string),
        upload: progress.and_then(|progress| upload_status(progress, now)),
    }
}

fn upload_status(progress: Progress, now: SystemTime) -> Option<UploadStatus> {
    let (size, upload) = (progress.size, progress.upload?);
    let UploadProgress { id, began, parts: marks, landed_bytes, resent } = upload;
    let mut parts = PartCounts { total: marks.len(), resent, ..PartCounts::default() };
    let mut map = String::with_capacity(marks.len());
    for mark in marks {
        let (letter, count) = match mark {
            PartMark::Waiting => (UploadStatus::WAITING, &mut parts.waiting),
            PartMark::Sending => (UploadStatus::SENDING, &mut parts.sending),
            PartMark::Landed => (UploadStatus::LANDED, &mut parts.landed),
            PartMark::Copied => {
                parts.copied += 1;
                (UploadStatus::COPIED, &mut parts.landed)
            }
        };
        *count += 1;
        map.push(letter);
    }
    let seconds = now.duration_since(began).unwrap_or_default().as_secs_f64();
    let bytes_per_second = if seconds > 0.0 { (landed_bytes as f64 / seconds) as u64 } else { 0 };
    let left_seconds = size.saturating_sub(landed_bytes).checked_div(bytes_per_second);
    let id = id.map(|id| id.to_string());
    Some(UploadStatus { id, parts, map, landed_bytes, bytes_per_second, left_seconds })
}

fn operations(operations: &BTreeMap<&'static str, Operation>) -> BTreeMap<String, OperationStatus> {
    operations.iter().map(|(name, operation)| ((*name).to_owned(), operation_status(operation))).collect()
}

fn operation_status(operation: &Operation) -> OperationStatus {
    let millis = |percent| (operation.latency.percentile(percent).as_secs_f64() * 1e6).round() / 1e3;
    OperationStatus {
        count: operation.count(),
        failed: operation.failed(),
        results: operation.results.iter().map(|(result, count)| ((*result).to_owned(), *count)).collect(),
        repeats: operation.repeats,
        running: operation.running,
        p50_ms: millis(50.0),
        p90_ms: millis(90.0),
        p99_ms: millis(99.0),
    }
}

fn failure(failure: Failure) -> FailureStatus {
    let Failure { at, call, path, key, errno, code, request_id, message } = failure;
    FailureStatus {
        at: text_of_time(at),
        call: call.to_owned(),
        path,
        key,
        errno: errno.to_owned(),
        code,
        request_id,
        message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_counted_and_drawn_by_how_they_fare() {
        let began = SystemTime::UNIX_EPOCH;
        let upload = UploadProgress {
            id: None,
            began,
            parts: vec![PartMark::Landed, PartMark::Copied, PartMark::Sending, PartMark::Waiting],
            landed_bytes: 20,
            resent: 3,
        };
        let progress = Progress {
            key: crate::object::ObjectKey::new("a").unwrap(),
            size: 100,
            stage: Stage::Dirty,
            dirty_since: None,
            held_bytes: 80,
            upload: Some(upload),
            failure: None,
        };
        let status = upload_status(progress.clone(), began + Duration::from_secs(2)).unwrap();
        assert_eq!(status.map, "LCs.");
        let parts = PartCounts { total: 4, waiting: 1, sending: 1, landed: 2, copied: 1, resent: 3 };
        assert_eq!(status.parts, parts);
        assert_eq!((status.bytes_per_second, status.left_seconds), (10, Some(8)));
        assert_eq!(upload_status(progress, began).unwrap().left_seconds, None);
    }

    #[test]
    fn files_with_an_upload_come_first_and_clean_ones_last() {
        let file = |path: &str, stage: Option<Stage>, uploads: bool| FileState {
            path: Some(path.into()),
            handles: 1,
            writers: 0,
            waiting_since: None,
            is_untouched: false,
            progress: stage.map(|stage| Progress {
                key: crate::object::ObjectKey::new(path).unwrap(),
                size: 1,
                stage,
                dirty_since: None,
                held_bytes: 0,
                upload: uploads.then(|| UploadProgress {
                    id: None,
                    began: SystemTime::UNIX_EPOCH,
                    parts: Vec::new(),
                    landed_bytes: 0,
                    resent: 0,
                }),
                failure: None,
            }),
        };
        let all = vec![
            file("a", None, false),
            file("c", Some(Stage::Dirty), false),
            file("b", Some(Stage::Clean), false),
            file("d", Some(Stage::Publishing), true),
        ];
        let now = SystemTime::now();
        let shown = files(all.into_iter().map(|file| file_status(file, now)).collect());
        let paths: Vec<_> = shown.iter().filter_map(|file| file.path.as_deref()).collect();
        assert_eq!(paths, ["/d", "/c", "/a", "/b"]);
    }
}
