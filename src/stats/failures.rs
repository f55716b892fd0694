//! The last failures that a program was told of, or nobody but the log.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// Failures that are remembered.
const FAILURES_MAX: usize = 64;

/// One failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// When.
    pub at: SystemTime,
    /// What was asked for: `close`, `write`, ...
    pub call: &'static str,
    /// The path below the mount that it was about, with a slash before it.
    pub path: String,
    /// The key that the request behind it was about; empty where there was none.
    pub key: String,
    /// The errno that the program got, by name; empty where no program was told.
    pub errno: &'static str,
    /// The service's code; empty where it gave none.
    pub code: String,
    /// The service's id of the request; empty where there is none.
    pub request_id: String,
    /// The whole story.
    pub message: String,
}

/// The last failures.
#[derive(Debug, Default)]
pub struct Failures {
    /// Std mutex: looks at a few entries. Level 9 in the order of locks.
    last: Mutex<VecDeque<Failure>>,
}

impl Failures {
    /// Remembers one, in place of the oldest.
    pub fn add(&self, failure: Failure) {
        let mut last = self.lock();
        if last.len() == FAILURES_MAX {
            last.pop_front();
        }
        last.push_back(failure);
    }

    /// Those that are remembered, the oldest first.
    pub fn all(&self) -> Vec<Failure> {
        self.lock().iter().cloned().collect()
    }

    /// The last one of a path.
    pub fn last_of(&self, path: &str) -> Option<Failure> {
        self.lock().iter().rev().find(|failure| failure.path == path).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Failure>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ones_are_remembered_and_found_by_path() {
        let failures = Failures::default();
        let failure = |number: usize| Failure {
            at: SystemTime::UNIX_EPOCH,
            call: "close",
            path: format!("/{}", number % 10),
            key: String::new(),
            errno: "EIO",
            code: String::new(),
            request_id: number.to_string(),
            message: String::new(),
        };
        (0..FAILURES_MAX + 5).for_each(|number| failures.add(failure(number)));
        let all = failures.all();
        assert_eq!((all.len(), all[0].request_id.as_str()), (FAILURES_MAX, "5"));
        assert_eq!(failures.last_of("/3").unwrap().request_id, "63");
        assert_eq!(failures.last_of("/x"), None);
    }
}
