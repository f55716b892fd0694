//! Time as a value that is handed down, so that tests turn the hands themselves.
//!
//! Only what *decides* by time reads a [`Clock`] (signatures, freshness of listings, deadlines that are stored);
//! what merely waits uses the runtime's timers.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Where the time comes from: the machine's clock, or one that a test turns by hand.
#[derive(Clone, Debug)]
pub enum Clock {
    /// The machine's clock.
    System,
    /// A clock that stands still until [`Clock::advance`] moves it.
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// A clock that stands at `seconds` after the Unix epoch.
    pub fn manual(seconds: u64) -> Clock {
        Clock::Manual(Arc::new(AtomicI64::new(i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1000))))
    }

    /// The present, as a point in civil time.
    pub fn now(&self) -> SystemTime {
        match self {
            Clock::System => SystemTime::now(),
            Clock::Manual(milliseconds) => {
                let milliseconds = milliseconds.load(Ordering::SeqCst).max(0).unsigned_abs();
                UNIX_EPOCH + Duration::from_millis(milliseconds)
            }
        }
    }

    /// The present in whole seconds after the Unix epoch; 0 for a clock set before it.
    pub fn unix_seconds(&self) -> u64 {
        self.now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
    }

    /// Moves a manual clock forward. The machine's clock cannot be moved, and the call does nothing then.
    pub fn advance(&self, by: Duration) {
        if let Clock::Manual(milliseconds) = self {
            let by = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
            milliseconds.fetch_add(by, Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let clock = Clock::manual(100);
        assert_eq!(clock.unix_seconds(), 100);
        clock.clone().advance(Duration::from_millis(1500));
        assert_eq!(clock.unix_seconds(), 101);
    }
}
