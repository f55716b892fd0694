//! A moment of the past, as people write it.

use std::str::FromStr;
use std::time::{Duration, SystemTime};

use super::Span;
use crate::wire::date;

/// A moment: `2024-05-01T12:00:00+08:00`, `2024-05-01`, or `2 hours ago`. Without a zone it is in UTC, and a date alone is its
/// first moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment(pub SystemTime);

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Moment, String> {
        Moment::read(text, SystemTime::now())
    }
}

impl Moment {
    fn read(text: &str, now: SystemTime) -> Result<Moment, String> {
        let refused = || {
            format!(
                "{text:?} is not a time of the past; write 2024-05-01T12:00:00Z, 2024-05-01 or for example 2 hours ago"
            )
        };
        let plain = text.trim();
        let at = match plain.strip_suffix("ago") {
            Some(span) => span_of(span.trim()).and_then(|span| now.checked_sub(span)),
            None => date::parse(&plain.replacen(' ', "T", 1)),
        };
        at.filter(|at| *at <= now).map(Moment).ok_or_else(refused)
    }
}

/// `2 hours`, `90 min`, `3d`.
fn span_of(text: &str) -> Option<Duration> {
    if let Ok(Span(span)) = text.parse() {
        return Some(span);
    }
    let (number, unit) = text.split_once(' ')?;
    let number: f64 = number.parse().ok().filter(|number: &f64| number.is_finite() && *number >= 0.0)?;
    let seconds = match unit.trim().trim_end_matches('s') {
        "second" | "sec" => 1.0,
        "minute" | "min" => 60.0,
        "hour" => 3600.0,
        "day" => 86_400.0,
        "week" => 7.0 * 86_400.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number * seconds).ok()
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn a_moment_is_a_time_a_date_or_so_long_ago() {
        let at = |seconds| Some(UNIX_EPOCH + Duration::from_secs(seconds));
        // 2024-05-01T00:00:00Z.
        let may = 1_714_521_600;
        let now = UNIX_EPOCH + Duration::from_secs(may + 86_400);
        let table = [
            ("2024-05-01", at(may)),
            ("2024-05-01T12:00:00+08:00", at(may + 4 * 3600)),
            ("2024-05-01 12:00:00", at(may + 12 * 3600)),
            ("2024-05-01T00:00:00.5Z", at(may).map(|may| may + Duration::from_millis(500))),
            ("2 hours ago", at(may + 22 * 3600)),
            ("1 day ago", at(may)),
            ("1.5 hours ago", at(may + 81_000)),
            ("90 min ago", at(may + 81_000)),
            ("90 parsecs ago", None),
            ("30m ago", at(may + 84_600)),
            ("1d ago", at(may)),
            ("2024-06-01", None),
            ("yesterday", None),
            ("ago", None),
            ("", None),
        ];
        for (text, expected) in table {
            assert_eq!(Moment::read(text, now).ok().map(|moment| moment.0), expected, "{text}");
        }
    }
}
