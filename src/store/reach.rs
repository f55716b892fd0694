//! Whether the service answers at all: said once when it does not any more, and once when it does again.
//!
//! Every failed call is told to its caller; this is for whoever reads the log and wants to know since when.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::{StoreError, StoreErrorKind};

/// A service that is not reached for less than this has only lost a connection.
const LOST_AFTER: Duration = Duration::from_secs(3);

/// What is known of the way to the service. Before the first answer nothing is, and nothing is said.
#[derive(Debug, Default)]
pub(super) struct Reach {
    has_answered: AtomicBool,
    /// Whether `lost` is set, for the many requests that find it is not.
    is_lost: AtomicBool,
    /// Std mutex: copies, comparisons, and a line in the log. Level 8 in the order of locks.
    lost: Mutex<Option<Lost>>,
}

#[derive(Clone, Copy, Debug)]
struct Lost {
    since: Instant,
    is_said: bool,
}

impl Reach {
    /// The service has answered something.
    pub(super) fn answered(&self) {
        self.has_answered.store(true, Ordering::Relaxed);
        if !self.is_lost.load(Ordering::Relaxed) {
            return;
        }
        let lost = {
            let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
            self.is_lost.store(false, Ordering::Relaxed);
            lost.take()
        };
        if let Some(Lost { since, is_said: true }) = lost {
            log::warn!("the service answers again, after {} s", since.elapsed().as_secs());
        }
    }

    /// An attempt has failed, and with `for_good` its request. Returns whether this is the time to say that the service
    /// is gone.
    pub(super) fn failed(&self, error: &StoreError, for_good: bool) -> bool {
        let without_answer = matches!(error.kind, StoreErrorKind::Unreachable | StoreErrorKind::TimedOut);
        if !without_answer || error.status != 0 || !self.has_answered.load(Ordering::Relaxed) {
            return false;
        }
        let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_lost.store(true, Ordering::Relaxed);
        let lost = lost.get_or_insert_with(|| Lost { since: Instant::now(), is_said: false });
        let ago = lost.since.elapsed();
        if lost.is_said || !for_good && ago < LOST_AFTER {
            return false;
        }
        lost.is_said = true;
        log::warn!("the service has been unreachable for {} s: {error}", ago.as_secs());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Op;

    fn error(kind: StoreErrorKind) -> StoreError {
        StoreError::new(kind, Op::HeadObject, "k", "told")
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_is_gone_is_said_once_for_each_time() {
        let (reach, gone) = (Reach::default(), error(StoreErrorKind::Unreachable));
        assert!(!reach.failed(&gone, true), "nobody knows that it has ever been there");
        for _ in 0..2 {
            reach.answered();
            assert!(!reach.failed(&gone, false), "it may be one connection");
            tokio::time::sleep(LOST_AFTER).await;
            let said: Vec<bool> = (0..3).map(|_| reach.failed(&gone, true)).collect();
            assert_eq!(said, [true, false, false]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_in_between_or_a_refusal_is_a_service_that_is_there() {
        let (reach, gone) = (Reach::default(), error(StoreErrorKind::TimedOut));
        reach.answered();
        reach.failed(&gone, false);
        tokio::time::sleep(LOST_AFTER).await;
        reach.answered();
        assert!(!reach.failed(&gone, false));
        assert!(!reach.failed(&error(StoreErrorKind::Internal), true));
        assert!(!reach.failed(&StoreError { status: 408, ..error(StoreErrorKind::TimedOut) }, true));
    }
}
