//! A mount in the middle of its work, for the tests of what shows it.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use super::observer::{Look, Totals};
use super::status::{
    CostStatus, CredentialStatus, DiskCacheStatus, FailureStatus, FileStage, FileStatus, MemoryStatus, OperationStatus,
    PartCounts, Rate, Status, TransferStatus, UploadStatus,
};
use crate::stats::Operations;

/// Texts of the sample that come from somebody else: no label may have them.
pub(super) const CHOSEN_BY_OTHERS: [&str; 6] = ["film", "upload-1", "NTg3", "SlowDown", "AKIDsample", "photos"];

/// One look at it.
pub(super) fn look() -> Look {
    let requests = Operations::default();
    for (result, millis) in [("ok", 20), ("ok", 20), ("ok", 30), ("throttled", 400)] {
        requests.begin("UploadPart");
        requests.end("UploadPart", result, Duration::from_millis(millis));
    }
    requests.repeat("UploadPart");
    (0..2).for_each(|_| requests.begin("UploadPart"));
    let calls = Operations::default();
    calls.end("read", "EIO", Duration::from_micros(30));
    let totals = Totals {
        mounted_at: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(60)),
        key_ends_at: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(3600)),
        files: BTreeMap::from([(FileStage::Dirty, 1), (FileStage::Failed, 1)]),
        readers: 1,
        writers: 1,
        uploads: 1,
        parts: parts(),
        keys_skipped: 0,
    };
    Look { status: status(), totals, requests: requests.all(), calls: calls.all() }
}

fn parts() -> PartCounts {
    PartCounts { total: 6, waiting: 1, sending: 2, landed: 3, copied: 1, resent: 1 }
}

/// The document of it.
pub(super) fn status() -> Status {
    let operation = OperationStatus {
        count: 4,
        failed: 1,
        results: BTreeMap::from([("ok".into(), 3), ("throttled".into(), 1)]),
        repeats: 1,
        running: 2,
        p50_ms: 20.0,
        p90_ms: 400.0,
        p99_ms: 400.0,
    };
    Status {
        at: "2026-11-29T12:00:00.000Z".into(),
        version: "0.1.0".into(),
        pid: 7,
        uptime_seconds: 3700,
        source: "photos-125:/2024".into(),
        mount_point: "/mnt/photos".into(),
        endpoint: "https://photos-125.cos.ap-beijing.myqcloud.com".into(),
        metrics: Some("http://127.0.0.1:9464/".into()),
        options: BTreeMap::from([("region".into(), "ap-beijing".into())]),
        credentials: CredentialStatus {
            id: "AKIDsample".into(),
            source: "environment (COS_SECRETID)".into(),
            expires: Some("1970-01-01T01:00:00.000Z".into()),
            expires_in_seconds: Some(1200),
            problem: None,
        },
        memory: memory(),
        files: files(),
        files_count: 2,
        unpublished_count: 1,
        open_directories: 1,
        unsaved_directories: Vec::new(),
        transfer: TransferStatus {
            bytes_up: 24 << 20,
            bytes_down: 0,
            requests: 4,
            retries: 1,
            published: 2,
            cache_hits: 5,
            cache_misses: 3,
            rates: (0..90).map(|second| Rate { up: second * 1000, down: 500 }).collect(),
        },
        disk_cache: Some(DiskCacheStatus {
            bytes: 3 << 30,
            hits: 90,
            hit_bytes: 1 << 30,
            misses: 10,
            evicted: 2,
            lost: 1,
            passthrough_opens: 7,
        }),
        requests: BTreeMap::from([("UploadPart".into(), operation.clone())]),
        calls: BTreeMap::from([("read".into(), operation)]),
        errors: vec![FailureStatus {
            at: "2026-11-29T11:59:58.000Z".into(),
            call: "close".into(),
            path: "/film<1>.mkv".into(),
            key: "photos/a.bin".into(),
            errno: "EAGAIN".into(),
            code: "SlowDown".into(),
            request_id: "NTg3".into(),
            message: "UploadPart \"film\": told to slow down".into(),
        }],
        cost: Some(CostStatus {
            currency: "CNY".into(),
            total: 0.25,
            by: BTreeMap::from([("read_requests".into(), 0.25)]),
        }),
    }
}

fn memory() -> MemoryStatus {
    MemoryStatus {
        limit: 512 << 20,
        used: 24 << 20,
        writers: 16 << 20,
        readers: 8 << 20,
        idle: 4 << 20,
        names: 1 << 20,
        names_limit: 64 << 20,
        inodes: 0,
        waiting: 1,
    }
}

fn files() -> Vec<FileStatus> {
    let upload = UploadStatus {
        id: Some("upload-1".into()),
        parts: parts(),
        map: "LLCss.".into(),
        landed_bytes: 24 << 20,
        bytes_per_second: 8 << 20,
        left_seconds: Some(3),
    };
    let file = FileStatus {
        path: Some("/film<1>.mkv".into()),
        key: Some("film<1>.mkv".into()),
        handles: 1,
        writers: 1,
        state: FileStage::Dirty,
        since: Some("2026-11-29T11:59:50.000Z".into()),
        since_seconds: Some(10),
        size: Some(48 << 20),
        held_bytes: 24 << 20,
        upload: Some(upload),
        error: None,
    };
    let failed = FileStatus {
        path: Some("/notes.txt".into()),
        writers: 0,
        state: FileStage::Failed,
        size: Some(10),
        upload: None,
        error: Some("PutObject \"film\": access denied".into()),
        ..file.clone()
    };
    vec![file, failed]
}
