//! Dates as the service writes them: RFC 1123 in headers, ISO 8601 in XML, asctime in old samples.
//!
//! Reading takes any of them, writing gives the one that the place asks for.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

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
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()).min(YEAR_10000 - 1);
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds))
}

/// The date as listings have it: `2020-12-10T03:37:30.000Z`.
pub fn iso_milliseconds(time: SystemTime) -> String {
    formatted(time, "%Y-%m-%dT%H:%M:%S.%3fZ")
}

/// The date as `CopyObjectResult` has it: `2020-04-10T18:20:30Z`.
pub fn iso_seconds(time: SystemTime) -> String {
    formatted(time, "%Y-%m-%dT%H:%M:%SZ")
}

/// The day in UTC: `2019-02-25`.
pub fn iso_day(time: SystemTime) -> String {
    formatted(time, "%Y-%m-%d")
}

/// The date and the time of day in the format of `strftime`; those that cannot be shown are the epoch.
fn formatted(time: SystemTime, format: &str) -> String {
    let time = time.max(UNIX_EPOCH);
    Timestamp::try_from(time).unwrap_or(Timestamp::UNIX_EPOCH).strftime(format).to_string()
}

/// `YYYY-MM-DDThh:mm:ss[.fraction][Z|±hh:mm]`.
fn parse_iso(text: &str) -> Option<SystemTime> {
    let with_zone = text.parse::<Timestamp>().ok();
    let without =
        || text.parse::<DateTime>().ok().and_then(|of| of.to_zoned(TimeZone::UTC).ok()).map(|of| of.timestamp());
    let time = with_zone.or_else(without).filter(|time| *time >= Timestamp::UNIX_EPOCH)?;
    Some(time.into())
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
    fn a_date_that_headers_cannot_show_is_clipped() {
        assert_eq!(http(at(u64::from(u32::MAX) * 1000, 0)), "Fri, 31 Dec 9999 23:59:59 GMT");
        assert_eq!(http(UNIX_EPOCH - Duration::from_secs(5)), "Thu, 01 Jan 1970 00:00:00 GMT");
    }
}
