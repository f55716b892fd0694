//! How long something takes, as a histogram.

use std::time::Duration;

use hdrhistogram::Histogram;

/// The longest time that is told apart from longer ones, in microseconds: an hour.
const MICROS_MAX: u64 = 3_600_000_000;

/// Times of one kind, of which percentiles are right to one part in a hundred.
#[derive(Clone, Debug)]
pub struct Latency {
    micros: Histogram<u64>,
    sum: Duration,
}

impl Default for Latency {
    fn default() -> Latency {
        // The two bounds and the digits are valid by the rules of the crate, so there is nothing to fail.
        let micros =
            Histogram::new_with_bounds(1, MICROS_MAX, 2).unwrap_or_else(|_| unreachable!("bounds are constant"));
        Latency { micros, sum: Duration::ZERO }
    }
}

impl Latency {
    /// Adds a time.
    pub fn add(&mut self, took: Duration) {
        self.micros.saturating_record(u64::try_from(took.as_micros()).unwrap_or(MICROS_MAX).max(1));
        self.sum += took;
    }

    /// How many times there are.
    pub fn count(&self) -> u64 {
        self.micros.len()
    }

    /// All of them together.
    pub fn sum(&self) -> Duration {
        self.sum
    }

    /// The time that so many of a hundred are not longer than; zero where there is none.
    pub fn percentile(&self, percent: f64) -> Duration {
        Duration::from_micros(self.micros.value_at_percentile(percent))
    }

    /// How many are not longer than `bound`, to one part in a hundred of it.
    pub fn count_within(&self, bound: Duration) -> u64 {
        let bound = u64::try_from(bound.as_micros()).unwrap_or(MICROS_MAX).min(MICROS_MAX);
        if self.micros.is_empty() { 0 } else { self.micros.count_between(0, bound) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_and_counts_are_those_of_the_times() {
        let mut latency = Latency::default();
        assert_eq!((latency.count(), latency.percentile(99.0)), (0, Duration::ZERO));
        assert_eq!(latency.count_within(Duration::from_secs(1)), 0);
        (1..=100).for_each(|millis| latency.add(Duration::from_millis(millis)));
        let near = |percent: f64, millis: f64| {
            let found = latency.percentile(percent).as_secs_f64() * 1e3;
            assert!((found / millis - 1.0).abs() < 0.02, "{percent} %: {found} ms, not {millis}");
        };
        near(50.0, 50.0);
        near(99.0, 99.0);
        assert_eq!(latency.count_within(Duration::from_secs(10)), 100);
        assert!((49..=51).contains(&latency.count_within(Duration::from_millis(50))));
        assert_eq!((latency.count(), latency.sum()), (100, Duration::from_millis(5050)));
    }

    #[test]
    fn times_beyond_the_bounds_are_counted() {
        let mut latency = Latency::default();
        latency.add(Duration::ZERO);
        latency.add(Duration::from_secs(1 << 40));
        assert_eq!((latency.count(), latency.count_within(Duration::from_secs(60))), (2, 1));
        assert_eq!(latency.count_within(Duration::MAX), 2);
    }
}
