//! Dates as the service writes them: RFC 1123 in headers, ISO 8601 in XML, asctime in old samples; and as tools keep them
//! in metadata: seconds since 1970 with an optional fraction.
//!
//! Reading takes any of the first three, writing gives the one that the place asks for.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DAY_SECONDS: i64 = 86_400;

/// Reads a date in any of the forms that the service has been seen to write (`cos-api.md` 3.6, 4.3, 4.7, 4.8):
/// `Thu, 16 May 2019 06:45:51 GMT`, `Wed Jan 18 16:04:17 2017`, `2020-12-10T03:37:30.000Z`, the last one also without
/// the fraction, with an offset, or without any zone, which means UTC. `None` for anything else and before 1970.
pub fn parse(text: &str) -> Option<SystemTime> {
    let text = text.trim();
    if text.as_bytes().first()?.is_ascii_digit() {
        return parse_iso(text);
    }
    httpdate::parse_http_date(text).ok()
}

/// The date as headers have it, in whole seconds: `Thu, 16 May 2019 06:45:51 GMT`. Dates outside 1970..=9999, which
/// the form cannot show, become the nearest that it can.
pub fn http(time: SystemTime) -> String {
    // The first second of the year 10000 is what httpdate refuses with a panic.
    const YEAR_10000: u64 = 253_402_300_800;
    let seconds = unix_seconds(time).min(YEAR_10000 - 1);
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds))
}

/// The date as listings have it: `2020-12-10T03:37:30.000Z`.
pub fn iso_milliseconds(time: SystemTime) -> String {
    let milliseconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.subsec_millis());
    format!("{}.{milliseconds:03}Z", iso_date_and_time(time))
}

/// The date as `CopyObjectResult` has it: `2020-04-10T18:20:30Z`.
pub fn iso_seconds(time: SystemTime) -> String {
    format!("{}Z", iso_date_and_time(time))
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

fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn iso_date_and_time(time: SystemTime) -> String {
    let seconds = i64::try_from(unix_seconds(time)).unwrap_or(i64::MAX);
    let (year, month, day) = civil_from_days(seconds.div_euclid(DAY_SECONDS));
    let of_day = seconds.rem_euclid(DAY_SECONDS);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}", of_day / 3600, of_day / 60 % 60, of_day % 60)
}

/// `YYYY-MM-DDThh:mm:ss[.fraction][Z|±hh:mm]`.
fn parse_iso(text: &str) -> Option<SystemTime> {
    // A fixed-width form is cut by bytes, which must be ASCII for that.
    if !text.is_ascii() || text.len() < 19 {
        return None;
    }
    let (fixed, rest) = text.split_at(19);
    let bytes = fixed.as_bytes();
    let separated = bytes[4] == b'-'
        && bytes[7] == b'-'
        && matches!(bytes[10], b'T' | b' ')
        && bytes[13] == b':'
        && bytes[16] == b':';
    let number = |from: usize, to: usize| digits(&fixed[from..to]);
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    // 60 is a leap second.
    let in_range =
        (1970..=9999).contains(&year) && (1..=12).contains(&month) && hour < 24 && minute < 60 && second <= 60;
    if !separated || !in_range || day < 1 || day > days_in_month(year, month) {
        return None;
    }
    let (nanoseconds, zone) = split_fraction(rest)?;
    let seconds = days_from_civil(year, month, day) * DAY_SECONDS + hour * 3600 + minute * 60 + second - offset(zone)?;
    Some(UNIX_EPOCH + Duration::new(u64::try_from(seconds).ok()?, nanoseconds))
}

fn digits(text: &str) -> Option<i64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn split_fraction(rest: &str) -> Option<(u32, &str)> {
    let Some(fraction) = rest.strip_prefix('.') else { return Some((0, rest)) };
    let end = fraction.find(|c: char| !c.is_ascii_digit()).unwrap_or(fraction.len());
    if end == 0 {
        return None;
    }
    let nine = format!("{:0<9.9}", &fraction[..end]);
    Some((nine.parse().ok()?, &fraction[end..]))
}

/// Seconds east of UTC.
fn offset(zone: &str) -> Option<i64> {
    let sign = match zone.as_bytes() {
        [] | [b'Z' | b'z'] => return Some(0),
        [b'+', ..] => 1,
        [b'-', ..] => -1,
        _ => return None,
    };
    let (hours, minutes) = match zone[1..].split_once(':') {
        Some(parts) => parts,
        None if zone.len() == 5 => zone[1..].split_at(2),
        None => return None,
    };
    let (hours, minutes) = (digits(hours)?, digits(minutes)?);
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

// The Gregorian calendar repeats after 400 years of 146,097 days. Counting years from March puts the leap day last, so
// that the days before a month are one linear formula. 719,468 days lie between 0000-03-01 and 1970-01-01.
const ERA_DAYS: i64 = 146_097;
const EPOCH_DAYS: i64 = 719_468;

fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * ERA_DAYS + day_of_era - EPOCH_DAYS
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + EPOCH_DAYS;
    let (era, day_of_era) = (days.div_euclid(ERA_DAYS), days.rem_euclid(ERA_DAYS));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64, milliseconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_millis(milliseconds)
    }

    #[test]
    fn every_form_that_the_service_writes_is_read() {
        let table = [
            ("Thu, 16 May 2019 06:45:51 GMT", at(1557989151, 0)),
            ("Wed Jan 18 16:04:17 2017", at(1484755457, 0)),
            ("2020-12-10T03:37:30.000Z", at(1607571450, 0)),
            ("2020-12-10T03:37:30.123456Z", at(1607571450, 123) + Duration::from_micros(456)),
            ("2020-04-10T18:20:30Z", at(1586542830, 0)),
            ("2017-09-04T04:45:45", at(1504500345, 0)),
            ("2020-04-11T02:20:30+08:00", at(1586542830, 0)),
            ("2020-04-10T13:20:30-0500", at(1586542830, 0)),
            ("1970-01-01T00:00:00Z", at(0, 0)),
            ("2024-02-29T00:00:00Z", at(1709164800, 0)),
        ];
        for (text, expected) in table {
            assert_eq!(parse(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_date_is_none() {
        let table = [
            "",
            " ",
            "x",
            "2020",
            "2020-13-01T00:00:00Z",
            "2023-02-29T00:00:00Z",
            "2020-12-10T25:00:00Z",
            "2020-12-10T03:37:30.Z",
            "2020-12-10T03:37:30+8",
            "2020-12-10T03:37:30 GMT",
            "2020/12/10T03:37:30Z",
            "20é0-12-10T03:37:3",
            "1969-12-31T23:59:59Z",
            "1970-01-01T00:00:00+01:00",
            "+020-12-10T03:37:30Z",
            "2020-12-10T03:37:30+\u{1}1:00",
        ];
        for text in table {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn dates_come_back_from_every_form() {
        for days in (0..2_900_000u64).step_by(97) {
            let time = at(days * 86_400 + days % 86_400, days % 1000);
            assert_eq!(parse(&iso_milliseconds(time)), Some(time));
            let whole = at(days * 86_400 + days % 86_400, 0);
            assert_eq!(parse(&iso_seconds(time)), Some(whole));
            assert_eq!(parse(&http(time)), Some(whole));
        }
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
    fn a_date_that_headers_cannot_show_is_clipped() {
        assert_eq!(http(at(u64::from(u32::MAX) * 1000, 0)), "Fri, 31 Dec 9999 23:59:59 GMT");
        assert_eq!(http(UNIX_EPOCH - Duration::from_secs(5)), "Thu, 01 Jan 1970 00:00:00 GMT");
    }
}
