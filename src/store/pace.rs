//! How long the other side is waited for in one exchange.
//!
//! Silence has a bound, and so has the whole: a peer that gives a byte now and then is never silent and never done. What
//! the whole may take grows with the bytes that really move, so that a slow line is no error. Only time that is spent
//! waiting counts, not what the caller does between two pieces of an answer.

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

/// The slowest that bytes may move, in bytes a second. Sixteen parts at once on a line of 1 Mbit/s have twice that each.
const RATE_MIN: u64 = 4 << 10;

/// What an exchange may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Patience {
    /// Without a sign of life: bytes that leave or bytes that arrive.
    pub(super) silence: Duration,
    /// In all, beside what the bytes that move take at [`RATE_MIN`].
    pub(super) whole: Duration,
}

/// Time that was waited in one exchange, and what came of it.
#[derive(Debug)]
pub(super) struct Pace {
    patience: Patience,
    waited: Duration,
    moved: u64,
}

/// Nothing came in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Late {
    /// No sign of life for so long.
    Silent(Duration),
    /// Signs of life, but no end of it after so long.
    Trickling(Duration),
}

impl Pace {
    pub(super) fn new(patience: Patience) -> Pace {
        Pace { patience, waited: Duration::ZERO, moved: 0 }
    }

    /// Waits for the next sign of life.
    pub(super) async fn wait<T>(&mut self, step: impl Future<Output = T>) -> Result<T, Late> {
        let left = self.left();
        let began = Instant::now();
        let result = tokio::time::timeout(self.patience.silence.min(left), step).await;
        self.waited += began.elapsed();
        result.map_err(|_| self.late())
    }

    /// Notes bytes that have moved.
    pub(super) fn moved(&mut self, bytes: u64) {
        self.moved += bytes;
    }

    /// Time that is left for the whole.
    pub(super) fn left(&self) -> Duration {
        (self.patience.whole + time_of(self.moved)).saturating_sub(self.waited)
    }

    fn late(&self) -> Late {
        if self.left().is_zero() { Late::Trickling(self.waited) } else { Late::Silent(self.patience.silence) }
    }
}

/// The most that so many bytes may take.
pub(super) fn time_of(bytes: u64) -> Duration {
    Duration::from_secs(bytes / RATE_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience { silence: Duration::from_secs(3), whole: Duration::from_secs(10) };

    #[tokio::test(start_paused = true)]
    async fn silence_ends_a_wait() {
        let mut pace = Pace::new(PATIENCE);
        assert_eq!(pace.wait(std::future::ready(7)).await, Ok(7));
        assert_eq!(pace.wait(std::future::pending::<()>()).await, Err(Late::Silent(PATIENCE.silence)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_trickle_ends_when_the_whole_has_taken_too_long() {
        let mut pace = Pace::new(PATIENCE);
        let began = Instant::now();
        let late = loop {
            match pace.wait(tokio::time::sleep(Duration::from_secs(2))).await {
                Ok(()) => pace.moved(1),
                Err(late) => break late,
            }
        };
        assert_eq!((late, began.elapsed()), (Late::Trickling(PATIENCE.whole), PATIENCE.whole));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_line_that_moves_bytes_is_waited_for() {
        let mut pace = Pace::new(PATIENCE);
        for _ in 0..100 {
            pace.wait(tokio::time::sleep(Duration::from_secs(2))).await.unwrap();
            pace.moved(2 * RATE_MIN);
            // What the caller does meanwhile is not the other side's fault.
            tokio::time::sleep(Duration::from_secs(100)).await;
        }
        assert_eq!(pace.left(), PATIENCE.whole);
    }
}
