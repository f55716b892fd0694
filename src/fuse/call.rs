//! What a program asked, for the log of calls that fail.
//!
//! This is the one place where the failures of calls are logged: what was asked, of which path, the errno that the program
//! got, and what the service said. Ordinary answers (no such file, not empty, ...) are for the program alone.

use std::time::{Instant, SystemTime};

use fuser::{INodeNo, Request};

use super::{caller, errno};
use crate::fs::{FailedCall, FileName, FileSystem, FsError, Ino};
use crate::stats::{CallEvent, Event, Failure};
use crate::store::{StoreErrorKind, Watchdog};

/// The target of these lines, by which a log filter finds them.
pub const FAILED_CALLS: &str = "cosmount::calls";

/// A call of a program.
#[derive(Debug)]
pub(super) struct Call {
    op: &'static str,
    /// The thread that waits for the answer.
    pub(super) tid: u32,
    ino: Ino,
    /// The entry of `ino` that it is about, where it is about one.
    name: Option<String>,
    /// Where it shall be, of a rename or a link.
    target: Option<(Ino, String)>,
    /// Where in the file, and how many bytes, of a read or a write.
    span: Option<(u64, u64)>,
    began: Instant,
}

impl Call {
    pub(super) fn new(request: &Request, op: &'static str, ino: INodeNo) -> Call {
        Call { op, tid: request.pid(), ino: Ino(ino.0), name: None, target: None, span: None, began: Instant::now() }
    }

    /// Of a thread that there is not.
    #[cfg(test)]
    pub(super) fn of_nobody(op: &'static str) -> Call {
        Call { op, tid: u32::MAX, ino: Ino(1), name: None, target: None, span: None, began: Instant::now() }
    }

    /// About an entry of the directory.
    pub(super) fn named(self, name: &FileName) -> Call {
        Call { name: Some(name.to_string()), ..self }
    }

    /// That gives it another name.
    pub(super) fn towards(self, parent: INodeNo, name: &FileName) -> Call {
        Call { target: Some((Ino(parent.0), name.to_string())), ..self }
    }

    /// About so many bytes from there.
    pub(super) fn at(self, offset: u64, bytes: u64) -> Call {
        Call { span: Some((offset, bytes)), ..self }
    }

    /// Counts it, and tells those who listen, right before its caller is told of this result.
    pub(super) fn ended<T>(&self, fs: &FileSystem, result: Result<T, FsError>) -> Result<T, FsError> {
        let (stats, took) = (fs.stats(), self.began.elapsed());
        let name = result.as_ref().err().map_or("ok", errno::name);
        stats.calls.end(self.op, name, took);
        stats.trace.tell(|| {
            Event::Call(CallEvent {
                at: SystemTime::now(),
                call: self.op,
                path: shown_path(fs, self.ino, self.name.as_deref()),
                to: self.target.as_ref().map(|(parent, name)| shown_path(fs, *parent, Some(name))),
                offset: self.span.map(|(offset, _)| offset),
                bytes: self.span.map(|(_, bytes)| bytes),
                pid: caller::process_of(self.tid),
                result: name,
                took,
            })
        });
        result
    }

    /// What its caller is told of how it ended. Why it failed is logged, unless that is an ordinary answer.
    pub(super) fn told<T>(&self, fs: &FileSystem, ended: Result<T, FailedCall>) -> Result<T, FsError> {
        ended.map_err(|failed| {
            self.log_failure(fs, &failed);
            failed.error
        })
    }

    fn log_failure(&self, fs: &FileSystem, failed: &FailedCall) {
        if failed.error.is_ordinary() {
            return;
        }
        let errno = errno::name(&failed.error);
        let (Call { op, .. }, what) = (self, self.shown(fs));
        let path = shown_path(fs, self.ino, self.name.as_deref());
        fs.stats().failures.add(failed.noted(op, path, errno));
        log::warn!(target: FAILED_CALLS, "{op} {what}: {errno}: {failed}");
    }

    /// Logs that its caller has waited long enough, and returns what he is told.
    pub(super) fn out_of_time(&self, fs: &FileSystem, watchdog: &Watchdog) -> FsError {
        let error = FsError::Remote(StoreErrorKind::TimedOut);
        let (Call { op, .. }, what, errno) = (self, self.shown(fs), errno::name(&error));
        let message = format!("nothing has come from the service for {} s", watchdog.patience().as_secs());
        log::warn!(target: FAILED_CALLS, "{op} {what}: {errno}: {message}");
        let path = shown_path(fs, self.ino, self.name.as_deref());
        let failed = FailedCall { error: error.clone(), cause: None };
        fs.stats().failures.add(Failure { message, ..failed.noted(op, path, errno) });
        error
    }

    /// The path or paths that it is about.
    fn shown(&self, fs: &FileSystem) -> String {
        let path = shown_path(fs, self.ino, self.name.as_deref());
        match &self.target {
            Some((parent, name)) => format!("{path} to {}", shown_path(fs, *parent, Some(name))),
            None => path,
        }
    }
}

/// A path as people see it below the mount; in quotes where it holds what would break a line.
fn shown_path(fs: &FileSystem, ino: Ino, name: Option<&str>) -> String {
    let path = match (fs.path(ino), name) {
        (Some(path), Some(name)) if path.is_empty() => format!("/{name}"),
        (Some(path), Some(name)) => format!("/{path}/{name}"),
        (Some(path), None) => format!("/{path}"),
        (None, Some(name)) => format!("{name} in inode {}", ino.0),
        (None, None) => format!("inode {}", ino.0),
    };
    if path.chars().any(char::is_control) { format!("{path:?}") } else { path }
}
