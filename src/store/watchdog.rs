//! When a call of a program has waited long enough for a service that gives nothing.
//!
//! Each request has a bound of its own. A call may make several, one after the other, or wait for another call that does,
//! and no number of requests bounds that. What does is whether anything moves at all: while the service answers, a rename
//! of a million objects may take its time; when it does not, nobody waits longer for having had to queue.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::pace::time_of;

/// How many times the deadline of a request a call may wait while nothing moves. The longest request, one that completes
/// an upload, takes up to three and then asks for half a one what became of it: its own error, which tells more, comes
/// first.
const CALL_DEADLINES: u32 = 4;

/// Watches whether anything moves between this mount and its service.
#[derive(Debug)]
pub struct Watchdog {
    deadline: Duration,
    /// Until when nobody has reason to give up. Std mutex: copies and comparisons only. Level 8 in the order of locks.
    fed_until: Mutex<Instant>,
}

impl Watchdog {
    /// A watchdog over requests that are tried for `deadline`.
    pub fn new(deadline: Duration) -> Watchdog {
        Watchdog { deadline, fed_until: Mutex::new(Instant::now()) }
    }

    /// How long a call waits while nothing moves.
    pub fn patience(&self) -> Duration {
        self.deadline.saturating_mul(CALL_DEADLINES)
    }

    /// The service has answered a request.
    pub(super) fn answered(&self) {
        self.feed(|now, _| now + self.patience());
    }

    /// Bytes of bodies have moved. They count for the time that they may take, so that a trickle is not taken for work.
    pub(super) fn moved(&self, bytes: u64) {
        self.feed(|now, until| (until.max(now) + time_of(bytes)).min(now + self.patience()));
    }

    /// A request has begun which the service may work on for so long, by what it is told to do, and its attempts for twice
    /// the deadline beside that.
    pub(super) fn works_for(&self, span: Duration) {
        if !span.is_zero() {
            self.feed(|now, _| now + span + 2 * self.deadline);
        }
    }

    fn feed(&self, until: impl FnOnce(Instant, Instant) -> Instant) {
        let mut fed_until = self.fed_until.lock().unwrap_or_else(PoisonError::into_inner);
        *fed_until = until(Instant::now(), *fed_until).max(*fed_until);
    }

    /// Returns once a call that begins now has waited too long: nothing has moved for [`Watchdog::patience`].
    pub async fn starves(&self) {
        let mut until = Instant::now() + self.patience();
        while Instant::now() < until {
            tokio::time::sleep_until(until).await;
            until = until.max(*self.fed_until.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::poll;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    async fn starved_after(dog: &Watchdog, feed: impl Future<Output = ()>) -> Duration {
        let began = Instant::now();
        let mut feed = std::pin::pin!(async {
            feed.await;
            std::future::pending::<()>().await;
        });
        tokio::select! {
            () = dog.starves() => {}
            () = &mut feed => unreachable!("it is pending for ever"),
        }
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_waits_for_a_service_that_gives_nothing_as_long_as_is_said() {
        let dog = Watchdog::new(5 * SECOND);
        assert_eq!(dog.patience(), 20 * SECOND);
        tokio::time::sleep(100 * SECOND).await;
        assert_eq!(starved_after(&dog, async {}).await, 20 * SECOND, "counted from its own beginning");
    }

    #[tokio::test(start_paused = true)]
    async fn while_the_service_answers_a_call_may_take_its_time() {
        let dog = Watchdog::new(5 * SECOND);
        let answers = async {
            for _ in 0..10 {
                tokio::time::sleep(15 * SECOND).await;
                dog.answered();
            }
        };
        assert_eq!(starved_after(&dog, answers).await, 170 * SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_count_for_the_time_that_they_may_take_and_a_trickle_does_not() {
        let dog = Watchdog::new(5 * SECOND);
        let moving = |bytes: u64| {
            let dog = &dog;
            async move {
                for _ in 0..100 {
                    dog.moved(bytes);
                    tokio::time::sleep(SECOND).await;
                }
            }
        };
        assert_eq!(starved_after(&dog, moving(1)).await, 20 * SECOND);
        assert_eq!(starved_after(&dog, moving(64 << 10)).await, 119 * SECOND, "of the last bytes at most the patience");
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_service_has_to_work_on_is_waited_for() {
        let dog = Watchdog::new(5 * SECOND);
        dog.works_for(Duration::ZERO);
        dog.works_for(300 * SECOND);
        let mut starving = std::pin::pin!(dog.starves());
        assert!(poll!(&mut starving).is_pending());
        tokio::time::sleep(309 * SECOND).await;
        assert!(poll!(&mut starving).is_pending());
        tokio::time::sleep(SECOND).await;
        assert!(poll!(&mut starving).is_ready());
    }
}
