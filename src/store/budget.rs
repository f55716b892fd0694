//! What may be spent on attempts at requests that failed, over all requests of a mount.
//!
//! Each further attempt costs one, and what goes well pays back: all that a request had cost, and a tenth for one that cost
//! nothing. While there is something left, requests are tried again as each of them sees fit. When all is spent, the service
//! is in trouble, and hundreds that try again would keep it there: then one of them goes at a time. None is refused: what
//! waits for its turn goes in any case before its deadline, so that a network which is gone for a minute costs nothing but
//! that minute.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// Attempts that may be made at once: more than a mount has requests on their way, each of which may fail once.
const TENTHS_MAX: u32 = 1000;

/// How long who has the turn waits before he goes: a service that refuses connections does so at once.
const TURN_SPAN: Duration = Duration::from_millis(100);

/// What one attempt costs.
const COST_TENTHS: u32 = 10;

/// The budget of all requests to one service.
#[derive(Debug)]
pub(super) struct Budget {
    /// Std mutex: arithmetic only. Level 8 in the order of locks.
    tenths: Mutex<u32>,
    /// Told when something was paid back.
    paid: Notify,
    /// One permit, for who goes without having paid. Waited for under no lock.
    turn: Arc<Semaphore>,
}

/// The leave to make one attempt more.
#[derive(Debug)]
pub(super) enum Leave {
    /// It was paid for, and is paid back if it goes well.
    Paid,
    /// It is the only one of its kind.
    Turn { _held: OwnedSemaphorePermit },
    /// There is no more time to wait.
    Last,
}

impl Default for Budget {
    fn default() -> Budget {
        Budget { tenths: Mutex::new(TENTHS_MAX), paid: Notify::new(), turn: Arc::new(Semaphore::new(1)) }
    }
}

impl Budget {
    /// Returns when one more attempt may be made, after `patience` at the latest.
    pub(super) async fn leave(&self, patience: Duration) -> Leave {
        if self.take() {
            return Leave::Paid;
        }
        let leave = async {
            loop {
                let mut paid = std::pin::pin!(self.paid.notified());
                paid.as_mut().enable();
                if self.take() {
                    return Leave::Paid;
                }
                tokio::select! {
                    // The semaphore is never closed.
                    Ok(held) = self.turn.clone().acquire_owned() => {
                        tokio::time::sleep(TURN_SPAN).await;
                        return Leave::Turn { _held: held };
                    }
                    () = paid => {}
                }
            }
        };
        tokio::time::timeout(patience, leave).await.unwrap_or(Leave::Last)
    }

    /// A request went well that had cost so many attempts.
    pub(super) fn pay_back(&self, attempts: u32) {
        let mut tenths = self.lock();
        if *tenths < TENTHS_MAX {
            let paid = if attempts == 0 { 1 } else { attempts.saturating_mul(COST_TENTHS) };
            *tenths = tenths.saturating_add(paid).min(TENTHS_MAX);
            drop(tenths);
            self.paid.notify_waiters();
        }
    }

    fn take(&self) -> bool {
        let mut tenths = self.lock();
        let left = tenths.checked_sub(COST_TENTHS);
        *tenths = left.unwrap_or(*tenths);
        left.is_some()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, u32> {
        self.tenths.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::time::Instant;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn spent() -> Budget {
        let budget = Budget::default();
        for _ in 0..TENTHS_MAX / COST_TENTHS {
            assert!(matches!(budget.leave(PATIENCE).now_or_never(), Some(Leave::Paid)));
        }
        budget
    }

    #[tokio::test(start_paused = true)]
    async fn when_all_is_spent_one_goes_at_a_time() {
        let budget = spent();
        let turn = budget.leave(PATIENCE).await;
        assert!(matches!(turn, Leave::Turn { .. }));
        assert!(budget.leave(PATIENCE).now_or_never().is_none());
        drop(turn);
        let began = Instant::now();
        assert!(matches!(budget.leave(PATIENCE).await, Leave::Turn { .. }));
        assert_eq!(began.elapsed(), TURN_SPAN);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_his_turn_longer_than_he_has_time() {
        let budget = spent();
        let _turn = budget.leave(PATIENCE).await;
        let began = Instant::now();
        assert!(matches!(budget.leave(PATIENCE).await, Leave::Last));
        assert_eq!(began.elapsed(), PATIENCE);
    }

    #[tokio::test(start_paused = true)]
    async fn what_goes_well_pays_back_and_lets_others_go() {
        let budget = Arc::new(spent());
        let _turn = budget.leave(PATIENCE).await;
        let waiting = tokio::spawn({
            let budget = budget.clone();
            async move { budget.leave(PATIENCE).await }
        });
        tokio::task::yield_now().await;
        budget.pay_back(1);
        assert!(matches!(waiting.await.unwrap(), Leave::Paid));
        // Ten that were well at once are worth one that was not.
        (0..9).for_each(|_| budget.pay_back(0));
        assert!(budget.leave(PATIENCE).now_or_never().is_none());
        budget.pay_back(0);
        assert!(matches!(budget.leave(PATIENCE).now_or_never(), Some(Leave::Paid)));
    }
}
