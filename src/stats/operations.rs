//! What was done of each kind, how it ended and how long it took.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Latency;

/// Numbers by the name of an operation or of a call. The names are constants of this program, so that there are few.
#[derive(Debug, Default)]
pub struct Operations {
    /// Std mutex: a look into a small map and some additions. Level 9 in the order of locks.
    by_name: Mutex<BTreeMap<&'static str, Operation>>,
}

/// What was done of one kind.
#[derive(Clone, Debug, Default)]
pub struct Operation {
    /// How many ended how; `ok` is a success.
    pub results: BTreeMap<&'static str, u64>,
    /// How long they took, however they ended.
    pub latency: Latency,
    /// Of those how many were repeats of others that had failed.
    pub repeats: u64,
    /// Those that have begun and not ended.
    pub running: u64,
}

impl Operations {
    /// One begins.
    pub fn begin(&self, name: &'static str) {
        self.lock().entry(name).or_default().running += 1;
    }

    /// One that had begun has ended.
    pub fn end(&self, name: &'static str, result: &'static str, took: Duration) {
        let mut by_name = self.lock();
        let operation = by_name.entry(name).or_default();
        operation.running = operation.running.saturating_sub(1);
        *operation.results.entry(result).or_default() += 1;
        operation.latency.add(took);
    }

    /// One that has failed is about to be repeated.
    pub fn repeat(&self, name: &'static str) {
        self.lock().entry(name).or_default().repeats += 1;
    }

    /// All of it as it is now.
    pub fn all(&self) -> BTreeMap<&'static str, Operation> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, Operation>> {
        self.by_name.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Operation {
    /// How many have ended.
    pub fn count(&self) -> u64 {
        self.latency.count()
    }

    /// How many of them failed. That there is no such object is an answer like another.
    pub fn failed(&self) -> u64 {
        let failed = self.results.iter().filter(|(result, _)| is_failure(result));
        failed.map(|(_, count)| count).sum()
    }
}

/// Whether something that ended so has failed. That there is no such object, or no such attribute, is an answer like another.
pub fn is_failure(result: &str) -> bool {
    !matches!(result, "ok" | "not_found" | "ENOENT" | "ENODATA")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_is_counted_by_how_and_what_runs_by_itself() {
        let operations = Operations::default();
        operations.begin("UploadPart");
        operations.begin("UploadPart");
        operations.end("UploadPart", "ok", Duration::from_millis(2));
        operations.repeat("UploadPart");
        operations.end("UploadPart", "throttled", Duration::from_millis(4));
        operations.end("HeadObject", "not_found", Duration::from_millis(4));
        operations.begin("HeadObject");
        let all = operations.all();
        let part = &all["UploadPart"];
        assert_eq!((part.count(), part.failed(), part.repeats, part.running), (2, 1, 1, 0));
        let head = &all["HeadObject"];
        assert_eq!((head.count(), head.failed(), head.running), (1, 0, 1));
    }
}
