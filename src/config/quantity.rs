//! Sizes and durations as people write them.
//!
//! `8M` and `8MiB` are binary, `8MB` is decimal, as GNU tools have it; a number alone is bytes, or seconds.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A number of bytes, for example `64MiB`, `8M`, `1GiB`, `500kB` or `1048576`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// A length of time, for example `5s`, `500ms`, `1.5m`, `2h`, `7d` or `30` (seconds).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

/// Why a text is not a quantity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// Not a size.
    #[error("{0:?} is not a size; write for example 64MiB, 8M, 1GiB or a number of bytes")]
    Size(String),
    /// Not a duration.
    #[error("{0:?} is not a duration; write for example 5s, 500ms, 2m or a number of seconds")]
    Duration(String),
}

impl FromStr for ByteSize {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<ByteSize, QuantityError> {
        let refused = || QuantityError::Size(text.to_owned());
        let (number, unit) = split_unit(text.trim());
        let factor: u64 = match unit.to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "k" | "kib" => 1 << 10,
            "m" | "mib" => 1 << 20,
            "g" | "gib" => 1 << 30,
            "t" | "tib" => 1 << 40,
            "kb" => 1_000,
            "mb" => 1_000_000,
            "gb" => 1_000_000_000,
            "tb" => 1_000_000_000_000,
            _ => return Err(refused()),
        };
        let number: u64 = number.parse().map_err(|_| refused())?;
        number.checked_mul(factor).map(ByteSize).ok_or_else(refused)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (shift, unit) in [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")] {
            let whole = self.0 >> shift;
            if whole > 0 && whole << shift == self.0 {
                return write!(f, "{whole}{unit}");
            }
        }
        write!(f, "{}", self.0)
    }
}

impl FromStr for Span {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Span, QuantityError> {
        let refused = || QuantityError::Duration(text.to_owned());
        let (number, unit) = split_unit(text.trim());
        let seconds_per_unit = match unit {
            "ms" => 0.001,
            "" | "s" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            _ => return Err(refused()),
        };
        let number: f64 = number.parse().map_err(|_| refused())?;
        Duration::try_from_secs_f64(number * seconds_per_unit).map(Span).map_err(|_| refused())
    }
}

/// Splits `8MiB` into `8` and `MiB`. The number has no sign: a letter or `-` begins the unit.
fn split_unit(text: &str) -> (&str, &str) {
    let digits_end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits_end);
    (number, unit.trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        let table: [(&str, Option<u64>); 17] = [
            ("0", Some(0)),
            ("1048576", Some(1 << 20)),
            ("64MiB", Some(64 << 20)),
            ("8M", Some(8 << 20)),
            ("8m", Some(8 << 20)),
            ("1GiB", Some(1 << 30)),
            ("5 GiB", Some(5 << 30)),
            ("2T", Some(2 << 40)),
            ("16k", Some(16 << 10)),
            ("500kB", Some(500_000)),
            ("3MB", Some(3_000_000)),
            ("", None),
            ("MiB", None),
            ("-1M", None),
            ("1.5G", None),
            ("8 bananas", None),
            ("99999999999T", None),
        ];
        for (text, expected) in table {
            assert_eq!(text.parse::<ByteSize>().ok(), expected.map(ByteSize), "{text:?}");
        }
    }

    #[test]
    fn durations_are_read_as_people_write_them() {
        let table: [(&str, Option<u64>); 13] = [
            ("5s", Some(5_000)),
            ("7d", Some(604_800_000)),
            ("500ms", Some(500)),
            ("30", Some(30_000)),
            ("0", Some(0)),
            ("1.5m", Some(90_000)),
            ("2min", Some(120_000)),
            ("1h", Some(3_600_000)),
            ("", None),
            ("s", None),
            ("-5s", None),
            ("5 weeks", None),
            ("99999999999999999999999h", None),
        ];
        for (text, expected) in table {
            let read = text.parse::<Span>().ok();
            assert_eq!(read, expected.map(|milliseconds| Span(Duration::from_millis(milliseconds))), "{text:?}");
        }
    }

    #[test]
    fn a_size_is_shown_in_its_largest_whole_unit() {
        for (bytes, expected) in [(0, "0"), (1023, "1023"), (8 << 20, "8MiB"), (1 << 30, "1GiB"), (1536, "1536")] {
            assert_eq!(ByteSize(bytes).to_string(), expected);
        }
    }
}
