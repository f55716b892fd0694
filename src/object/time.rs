//! Times as metadata keep them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A time as HTTP tells it, without the fraction of its second.
pub fn whole_seconds(time: SystemTime) -> SystemTime {
    let fraction = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.subsec_nanos());
    time - Duration::from_nanos(u64::from(fraction))
}

/// The date as cosfs, s3fs and rclone keep it in metadata: seconds since 1970, with a fraction only where there is one. A
/// date before that is negative as a whole: `-1.5` is one and a half seconds before.
pub fn unix(time: SystemTime) -> String {
    let (sign, distance) = match time.duration_since(UNIX_EPOCH) {
        Ok(since) => ("", since),
        Err(before) => ("-", before.duration()),
    };
    match distance.subsec_nanos() {
        0 => format!("{sign}{}", distance.as_secs()),
        nanoseconds => format!("{sign}{}.{nanoseconds:09}", distance.as_secs()),
    }
}

/// Reads what [`unix`] writes, with any number of digits in the fraction; `None` for anything else.
pub fn parse_unix(text: &str) -> Option<SystemTime> {
    let text = text.trim();
    let (before_epoch, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if seconds.is_empty() || !is_digits(seconds) || !is_digits(fraction) {
        return None;
    }
    let distance = Duration::new(seconds.parse().ok()?, format!("{fraction:0<9.9}").parse().ok()?);
    if before_epoch { UNIX_EPOCH.checked_sub(distance) } else { UNIX_EPOCH.checked_add(distance) }
}

/// A time as RFC 3339 has it, in UTC and with milliseconds; that of the Unix epoch for one that no calendar has.
pub fn rfc3339(time: SystemTime) -> String {
    format!("{:.3}", jiff::Timestamp::try_from(time).unwrap_or_default())
}

/// The time as it stands in a name: `20261125T153239Z`, in whole seconds of UTC.
pub fn compact(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time).unwrap_or_default().strftime("%Y%m%dT%H%M%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64, milliseconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_millis(milliseconds)
    }

    #[test]
    fn dates_in_metadata_are_read_and_written_on_both_sides_of_1970() {
        let table = [
            (at(1_557_989_151, 0), "1557989151"),
            (at(1_557_989_151, 500), "1557989151.500000000"),
            (UNIX_EPOCH + Duration::from_nanos(1), "0.000000001"),
            (UNIX_EPOCH - Duration::from_nanos(1), "-0.000000001"),
            (UNIX_EPOCH - Duration::from_millis(1500), "-1.500000000"),
        ];
        for (time, text) in table {
            assert_eq!(unix(time), text);
            assert_eq!(parse_unix(text), Some(time), "{text}");
        }
        assert_eq!(parse_unix("1557989151.5"), Some(at(1_557_989_151, 500)));
        assert_eq!(parse_unix(" 1557989151. "), Some(at(1_557_989_151, 0)));
        let precise = at(1_557_989_151, 0) + Duration::from_nanos(123_456_789);
        assert_eq!(parse_unix("1557989151.123456789123"), Some(precise));
        for text in ["", "-", ".5", "x", "1.x", "99999999999999999999", "1.\u{e9}23456789", "+1", "--1", "1.-5"] {
            assert_eq!(parse_unix(text), None, "{text}");
        }
    }

    #[test]
    fn a_time_in_a_name_has_no_punctuation() {
        assert_eq!(compact(at(1_700_000_000, 900)), "20231114T221320Z");
    }
}
