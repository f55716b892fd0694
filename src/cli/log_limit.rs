//! How many lines the log takes while everything fails, and the count of those that it does not.
//!
//! Lines are told apart by where in the program they come from, so that a flood of one kind does not hide the one line of
//! another. What is left out is counted by kind. Values in, values out; the clock is handed in.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

/// Lines that may come at once, and those that are added in a minute: together 60 in any minute.
const BURST: f64 = 25.0;
const PER_MINUTE: f64 = 35.0;

/// The same for what succeeded, 16: who copies a tree does not fill the log with it.
const NEWS_BURST: f64 = 8.0;
const NEWS_PER_MINUTE: f64 = 8.0;

/// The same for kinds of which there was no line within the last minute: 16. With the counts of what was left out, one a
/// minute, no minute has more than 93 lines, and an operator who reads along can follow.
const RARE_BURST: f64 = 8.0;
const RARE_PER_MINUTE: f64 = 8.0;

const MINUTE: Duration = Duration::from_secs(60);

/// Where a line comes from: its target and the line in the source.
pub(super) type Site = (String, u32);

/// A budget of lines that fills with time.
#[derive(Debug)]
struct Bucket {
    burst: f64,
    per_minute: f64,
    tokens: f64,
    filled_at: Instant,
}

impl Bucket {
    fn full(burst: f64, per_minute: f64, now: Instant) -> Bucket {
        Bucket { burst, per_minute, tokens: burst, filled_at: now }
    }

    fn take(&mut self, now: Instant) -> bool {
        let minutes = now.saturating_duration_since(self.filled_at).as_secs_f64() / MINUTE.as_secs_f64();
        self.tokens = (self.tokens + minutes * self.per_minute).min(self.burst);
        self.filled_at = now;
        let is_there = self.tokens >= 1.0;
        if is_there {
            self.tokens -= 1.0;
        }
        is_there
    }
}

/// Decides line by line.
#[derive(Debug)]
pub(super) struct LogLimit {
    common: Bucket,
    rare: Bucket,
    news: Bucket,
    /// When each kind was written last. Bounded by the lines of this program that log.
    written: HashMap<Site, Instant>,
    /// What was left out since that was told last, by target.
    left_out: BTreeMap<String, u64>,
}

impl LogLimit {
    pub(super) fn new(now: Instant) -> LogLimit {
        LogLimit {
            common: Bucket::full(BURST, PER_MINUTE, now),
            rare: Bucket::full(RARE_BURST, RARE_PER_MINUTE, now),
            news: Bucket::full(NEWS_BURST, NEWS_PER_MINUTE, now),
            written: HashMap::new(),
            left_out: BTreeMap::new(),
        }
    }

    /// Whether a line may be written that tells of a success. One that may not is counted.
    pub(super) fn admit_news(&mut self, site: Site, now: Instant) -> bool {
        let is_admitted = self.news.take(now);
        if !is_admitted {
            self.leave_out(site);
        }
        is_admitted
    }

    /// Whether a line may be written that tells of a failure. One that may not is counted.
    pub(super) fn admit(&mut self, site: Site, now: Instant) -> bool {
        let is_rare = self.written.get(&site).is_none_or(|at| now.saturating_duration_since(*at) > MINUTE);
        if self.common.take(now) || is_rare && self.rare.take(now) {
            self.written.insert(site, now);
            return true;
        }
        self.leave_out(site);
        false
    }

    fn leave_out(&mut self, site: Site) {
        *self.left_out.entry(site.0).or_default() += 1;
    }

    /// What was left out since this was asked last, as a sentence.
    pub(super) fn take_left_out(&mut self) -> Option<String> {
        if self.left_out.is_empty() {
            return None;
        }
        let left_out = std::mem::take(&mut self.left_out);
        let total: u64 = left_out.values().sum();
        let kinds: Vec<String> = left_out.iter().map(|(target, count)| format!("{count} of {target}")).collect();
        Some(format!("{total} lines were left out to keep this log readable: {}", kinds.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(target: &str) -> Site {
        (target.to_owned(), 1)
    }

    #[test]
    fn a_flood_is_counted_and_does_not_hide_a_line_of_another_kind() {
        let start = Instant::now();
        let mut limit = LogLimit::new(start);
        let mut written = Vec::new();
        // Ten lines a second for five minutes, and every 50 s one of another kind.
        for tenth in 0..3000_u64 {
            let now = start + Duration::from_millis(tenth * 100);
            if limit.admit(site("calls"), now) {
                written.push(now);
            }
            if limit.admit_news(site("published"), now) {
                written.push(now);
            }
            if tenth % 500 == 499 {
                let other = format!("other {tenth}");
                assert!(limit.admit(site(&other), now), "{other}");
                written.push(now);
            }
        }
        for now in &written {
            let within = written.iter().filter(|at| **at >= *now && **at < *now + MINUTE).count();
            assert!(within <= 93, "{within} lines in a minute");
        }
        let left_out = 6000 + 6 - written.len();
        let told = limit.take_left_out().unwrap();
        let expected = format!("{left_out} lines were left out to keep this log readable: ");
        assert!(
            told.starts_with(&expected) && told.contains(" of calls, ") && told.ends_with(" of published"),
            "{told}"
        );
        assert_eq!(limit.take_left_out(), None, "told once");
    }

    #[test]
    fn a_few_lines_are_all_written() {
        let start = Instant::now();
        let mut limit = LogLimit::new(start);
        assert!((0..25).all(|_| limit.admit(site("calls"), start)));
        assert!((0..8).all(|_| limit.admit_news(site("published"), start)));
        assert_eq!(limit.take_left_out(), None);
    }
}
