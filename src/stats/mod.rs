//! What one mount has done and does, for people who look: counters that every layer adds to and nobody decides by, the last
//! failures, and a stream of what happens for those who listen.

mod failures;
mod latency;
mod operations;
mod trace;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub use failures::{Failure, Failures};
pub use latency::Latency;
pub use operations::{Operation, Operations, is_failure};
pub use trace::{CallEvent, Event, Listener, RequestEvent, Trace, text_of_time};

/// What one mount has done so far. Shared as an `Arc`; each number only grows.
#[derive(Debug, Default)]
pub struct Stats {
    /// Requests sent to the service, every attempt counted.
    pub requests: AtomicU64,
    /// Attempts that were repeats of an earlier one.
    pub retries: AtomicU64,
    /// Payload bytes sent to the service, as they leave.
    pub bytes_up: AtomicU64,
    /// Payload bytes received from the service.
    pub bytes_down: AtomicU64,
    /// Objects published.
    pub published: AtomicU64,
    /// Keys in listings that cannot be file names and were left out.
    pub keys_skipped: AtomicU64,
    /// Requests to the service by operation.
    pub operations: Operations,
    /// Calls of programs by name.
    pub calls: Operations,
    /// What went wrong last.
    pub failures: Failures,
    /// Who listens to what happens.
    pub trace: Trace,
}

impl Stats {
    /// Adds `n` to a counter.
    pub fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }

    /// The present value of a counter.
    pub fn get(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::Relaxed)
    }
}

tokio::task_local! {
    /// Where the repeats of the requests of a task are counted, beside the mount's.
    static REPEATS: Arc<AtomicU64>;
}

/// Runs a future, and counts the requests that are repeated in it.
pub async fn counting_repeats<F: Future>(repeats: Arc<AtomicU64>, future: F) -> F::Output {
    REPEATS.scope(repeats, future).await
}

/// Counts a request that is about to be repeated.
pub fn note_repeat() {
    // Nobody counts those of this task otherwise.
    let _ = REPEATS.try_with(|repeats| Stats::add(repeats, 1));
}
