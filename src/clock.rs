//! Time as a value that is handed down, so that tests turn the hands themselves.
//!
//! Only what *decides* by time reads a [`Clock`] (signatures, freshness of listings, deadlines that are stored);
//! what merely waits uses the runtime's timers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Where the time comes from: the machine's clock, or one that a test turns by hand.
#[derive(Clone, Debug)]
pub enum Clock {
    /// The machine's clock.
    System,
    /// A clock that [`Clock::advance`] moves.
    Manual {
        /// Nanoseconds after the Unix epoch.
        now: Arc<AtomicU64>,
        /// So many nanoseconds go by whenever somebody looks at it.
        tick: u64,
    },
}

impl Clock {
    /// A clock that stands still at `seconds` after the Unix epoch until it is told to move.
    pub fn manual(seconds: u64) -> Clock {
        Clock::Manual { now: Arc::new(AtomicU64::new(seconds.saturating_mul(1_000_000_000))), tick: 0 }
    }

    /// A clock that begins at `seconds` after the Unix epoch and shows no time twice: as on the machine's, what comes later is
    /// later.
    pub fn ticking(seconds: u64) -> Clock {
        match Clock::manual(seconds) {
            Clock::Manual { now, .. } => Clock::Manual { now, tick: 1 },
            Clock::System => Clock::System,
        }
    }

    /// The present, as a point in civil time.
    pub fn now(&self) -> SystemTime {
        match self {
            Clock::System => SystemTime::now(),
            Clock::Manual { now, tick } => UNIX_EPOCH + Duration::from_nanos(now.fetch_add(*tick, Ordering::SeqCst)),
        }
    }

    /// The present in whole seconds after the Unix epoch; 0 for a clock set before it.
    pub fn unix_seconds(&self) -> u64 {
        self.now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
    }

    /// Moves a manual clock forward. The machine's clock cannot be moved, and the call does nothing then.
    pub fn advance(&self, by: Duration) {
        if let Clock::Manual { now, .. } = self {
            now.fetch_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX), Ordering::SeqCst);
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
        assert_eq!(clock.now(), clock.now());
    }

    #[test]
    fn a_ticking_clock_shows_no_time_twice() {
        let clock = Clock::ticking(100);
        assert!(clock.now() < clock.now());
        assert_eq!(clock.unix_seconds(), 100);
    }
}
