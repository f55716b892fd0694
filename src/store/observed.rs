//! One request while it is on its way, for those who look: it is counted when it has ended, however it ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use tokio::time::Instant;

use super::session::Failed;
use super::{Op, StoreErrorKind};
use crate::stats::{Event, RequestEvent, Stats};

/// What is known of one attempt at a request. Dropping it says that the attempt has ended: with the last byte of its answer, or
/// where nobody wants that any more.
#[derive(Debug)]
pub(super) struct Observed {
    stats: Arc<Stats>,
    op: Op,
    key: String,
    began: Instant,
    /// Bytes of the body that have gone out.
    up: Arc<AtomicU64>,
    down: u64,
    status: u16,
    result: &'static str,
    code: String,
    request_id: String,
}

impl Observed {
    /// A request is about to be sent.
    pub(super) fn begin(stats: &Arc<Stats>, op: Op, key: &str, up: &Arc<AtomicU64>) -> Observed {
        Stats::add(&stats.requests, 1);
        stats.operations.begin(op.name());
        Observed {
            stats: stats.clone(),
            op,
            key: key.to_owned(),
            began: Instant::now(),
            up: up.clone(),
            down: 0,
            status: 0,
            result: "cancelled",
            code: String::new(),
            request_id: String::new(),
        }
    }

    /// The head of a success is there.
    pub(super) fn succeeded(&mut self, status: u16, request_id: Option<&str>) {
        (self.status, self.result) = (status, "ok");
        self.request_id = request_id.unwrap_or_default().to_owned();
    }

    /// It failed, or was refused.
    pub(super) fn failed(&mut self, failed: &Failed) {
        let error = &failed.error;
        (self.status, self.result) = (error.status, error.kind.name());
        (self.code, self.request_id) = (error.code.clone(), error.request_id.clone());
    }

    /// Bytes of the answer's body have come.
    pub(super) fn received(&mut self, bytes: u64) {
        self.down += bytes;
    }

    /// The rest of the answer does not come.
    pub(super) fn broke(&mut self, kind: StoreErrorKind) {
        self.result = kind.name();
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        let took = self.began.elapsed();
        self.stats.operations.end(self.op.name(), self.result, took);
        self.stats.trace.tell(|| {
            Event::Request(RequestEvent {
                at: SystemTime::now(),
                operation: self.op.name(),
                key: std::mem::take(&mut self.key),
                status: self.status,
                result: self.result,
                code: std::mem::take(&mut self.code),
                request_id: std::mem::take(&mut self.request_id),
                bytes_up: self.up.load(Ordering::Relaxed),
                bytes_down: self.down,
                took,
            })
        });
    }
}
