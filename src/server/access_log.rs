//! The access log: one JSON line for each request.
//!
//! A line is in the file before the last byte of the answer leaves, so whoever has the answer finds the line.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use serde::Serialize;

use crate::wire::{Op, date};

/// The file of the log.
pub(super) struct AccessLog {
    path: PathBuf,
    /// Std mutex: held for one write of one line, so that lines stay whole. Level 8 in the order of locks.
    file: Mutex<File>,
}

/// What is known of one request and its answer.
#[derive(Debug, Serialize)]
struct Line {
    time: String,
    op: &'static str,
    bucket: String,
    key: String,
    /// 0 if no answer was sent.
    status: u16,
    /// Bytes of the request's body.
    bytes_in: u64,
    /// Bytes of the answer's body.
    bytes_out: u64,
    ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    upload_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    part: Option<u16>,
    /// The fault that it met on purpose.
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<&'static str>,
}

/// One request on its way, which writes its line when it is dropped: whoever makes the answer drops it before the last
/// byte goes out, and a request that is given up half-way is logged too.
pub(super) struct Exchange {
    log: Option<Arc<AccessLog>>,
    started: Instant,
    line: Line,
}

impl AccessLog {
    /// Opens the log for appending.
    pub(super) fn open(path: &Path) -> io::Result<AccessLog> {
        Ok(AccessLog { path: path.to_owned(), file: Mutex::new(open(path)?) })
    }

    /// Opens the file anew, for those who have moved the older one away.
    pub(super) fn reopen(&self) -> io::Result<()> {
        let file = open(&self.path)?;
        *self.file.lock().unwrap_or_else(PoisonError::into_inner) = file;
        Ok(())
    }

    fn write(&self, line: &Line) {
        let written = serde_json::to_vec(line).map_err(io::Error::other).and_then(|mut bytes| {
            bytes.push(b'\n');
            self.file.lock().unwrap_or_else(PoisonError::into_inner).write_all(&bytes)
        });
        if let Err(error) = written {
            log::error!("the access log could not be written: {error}");
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

impl Exchange {
    /// A request that has just begun, at `now`.
    pub(super) fn begin(log: Option<Arc<AccessLog>>, now: SystemTime) -> Exchange {
        let time = if log.is_some() { date::iso_milliseconds(now) } else { String::new() };
        let line = Line {
            time,
            op: "Unknown",
            bucket: String::new(),
            key: String::new(),
            status: 0,
            bytes_in: 0,
            bytes_out: 0,
            ms: 0.0,
            upload_id: None,
            part: None,
            fault: None,
        };
        Exchange { log, started: Instant::now(), line }
    }

    /// Notes what the request is about, as far as its address tells.
    pub(super) fn about(&mut self, bucket: &str, key: &str) {
        self.line.bucket = bucket.to_owned();
        self.line.key = key.to_owned();
    }

    /// Notes which operation it is.
    pub(super) fn is(&mut self, op: Op) {
        self.line.op = op.name();
    }

    /// Notes the upload and part that it belongs to.
    pub(super) fn of_upload(&mut self, upload_id: &str, part: Option<u16>) {
        self.line.upload_id = Some(upload_id.to_owned());
        self.line.part = part;
    }

    /// Notes the fault that was made on purpose.
    pub(super) fn struck(&mut self, fault: &'static str) {
        self.line.fault = Some(fault);
    }

    /// Counts bytes of the request's body.
    pub(super) fn received(&mut self, bytes: u64) {
        self.line.bytes_in += bytes;
    }

    /// Notes the status of the answer.
    pub(super) fn answered(&mut self, status: u16) {
        self.line.status = status;
    }

    /// Counts bytes of the answer's body.
    pub(super) fn sent(&mut self, bytes: u64) {
        self.line.bytes_out += bytes;
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let Some(log) = &self.log else { return };
        // To the microsecond; more digits would be noise.
        self.line.ms = (self.started.elapsed().as_secs_f64() * 1e6).round() / 1e3;
        log.write(&self.line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_written_when_the_exchange_ends() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("access.log");
        let log = Arc::new(AccessLog::open(&path).unwrap());
        let mut exchange = Exchange::begin(Some(Arc::clone(&log)), SystemTime::UNIX_EPOCH);
        exchange.about("b-1", "a \"key\"\n");
        exchange.is(Op::UploadPart);
        exchange.of_upload("id", Some(7));
        exchange.received(5);
        exchange.answered(200);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "");
        drop(exchange);
        drop(Exchange::begin(Some(log), SystemTime::UNIX_EPOCH));
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["time"], "1970-01-01T00:00:00.000Z");
        assert_eq!((&lines[0]["op"], &lines[0]["key"]), (&"UploadPart".into(), &"a \"key\"\n".into()));
        assert_eq!((&lines[0]["bytes_in"], &lines[0]["part"]), (&5.into(), &7.into()));
        assert_eq!((&lines[1]["op"], lines[1].get("upload_id")), (&"Unknown".into(), None));
    }
}
