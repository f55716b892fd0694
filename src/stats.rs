//! Counters that every layer adds to and nobody decides by.

use std::sync::atomic::{AtomicU64, Ordering};

/// What one mount has done so far. Shared as an `Arc`; each field only grows.
#[derive(Debug, Default)]
pub struct Stats {
    /// Requests sent to the service, every attempt counted.
    pub requests: AtomicU64,
    /// Attempts that were repeats of an earlier one.
    pub retries: AtomicU64,
    /// Payload bytes sent to the service.
    pub bytes_up: AtomicU64,
    /// Payload bytes received from the service.
    pub bytes_down: AtomicU64,
    /// Objects published.
    pub published: AtomicU64,
    /// Keys in listings that cannot be file names and were left out.
    pub keys_skipped: AtomicU64,
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
