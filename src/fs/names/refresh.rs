//! One request for the names of a directory at a time, however many wait for what it tells.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::fs::context::FsError;

/// Keeps requests for one directory's names apart.
#[derive(Debug, Default)]
pub(super) struct Refresh {
    /// Requests that failed so far.
    failures: AtomicU64,
    /// Why the last of them did. Tokio's mutex, 2 in the order of locks, because it is held while a request is on its way.
    last_failure: tokio::sync::Mutex<Option<FsError>>,
}

impl Refresh {
    /// Asks when nobody else does. `ask` looks first whether somebody else has learned what it wants to know.
    ///
    /// Who has waited for a request that failed of the service gets its failure: if each asked for himself, the last of
    /// many would wait as many times as long as the first.
    pub(super) async fn one_at_a_time<T>(&self, ask: impl Future<Output = Result<T, FsError>>) -> Result<T, FsError> {
        let seen = self.failures.load(Ordering::Relaxed);
        let mut last_failure = self.last_failure.lock().await;
        // Both change under the lock alone.
        if self.failures.load(Ordering::Relaxed) != seen
            && let Some(error) = &*last_failure
        {
            return Err(error.clone());
        }
        let result = ask.await;
        if let Err(error @ FsError::Remote(_)) = &result {
            *last_failure = Some(error.clone());
            self.failures.fetch_add(1, Ordering::Relaxed);
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;
    use std::time::Duration;

    use super::*;
    use crate::store::StoreErrorKind;

    const GONE: FsError = FsError::Remote(StoreErrorKind::Unreachable);

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_a_request_shares_its_failure() {
        let refresh = Refresh::default();
        let second = Duration::from_secs(1);
        let ask = || async {
            tokio::time::sleep(second).await;
            Err::<(), _>(GONE)
        };
        let began = tokio::time::Instant::now();
        let all = futures_util::future::join_all((0..64).map(|_| refresh.one_at_a_time(ask()))).await;
        assert!(all.iter().all(|result| *result == Err(GONE)));
        assert_eq!(began.elapsed(), second);
        assert_eq!(refresh.one_at_a_time(ready(Ok(7))).await, Ok(7), "who comes later asks");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_no_failure_of_the_service_is_not_shared() {
        let refresh = Refresh::default();
        let stale = async {
            tokio::task::yield_now().await;
            Err::<i32, _>(FsError::Stale)
        };
        let both = futures_util::join!(refresh.one_at_a_time(stale), refresh.one_at_a_time(ready(Ok(7))));
        assert_eq!(both, (Err(FsError::Stale), Ok(7)));
    }
}
