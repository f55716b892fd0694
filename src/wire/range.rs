//! Ranges as headers have them.

use crate::object::ByteRange;

impl ByteRange {
    /// The value of a `Range` or `x-cos-copy-source-range` header: `bytes=first-last`, both inclusive.
    pub fn header(self) -> String {
        format!("bytes={}-{}", self.start(), self.end() - 1)
    }
}

/// A range as a client asks for it, before the size of the object is known (`cos-api.md` 3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeSpec {
    /// `bytes=first-last`, both inclusive, `first <= last`.
    FromTo {
        /// Offset of the first byte.
        first: u64,
        /// Offset of the last byte.
        last: u64,
    },
    /// `bytes=first-`: to the end.
    From {
        /// Offset of the first byte.
        first: u64,
    },
    /// `bytes=-count`: the last bytes.
    Last {
        /// How many.
        count: u64,
    },
}

impl RangeSpec {
    /// Reads a `Range` header. `None` for several ranges and for bad syntax, where HTTP answers the whole object.
    pub fn parse(header: &str) -> Option<RangeSpec> {
        let (first, last) = header.trim().strip_prefix("bytes=")?.split_once('-')?;
        let number = |text: &str| -> Option<u64> {
            let text = text.trim();
            text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
        };
        match (first.trim(), last.trim()) {
            ("", count) => Some(RangeSpec::Last { count: number(count)? }),
            (first, "") => Some(RangeSpec::From { first: number(first)? }),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                (first <= last).then_some(RangeSpec::FromTo { first, last })
            }
        }
    }

    /// The bytes meant, of an object of `size` bytes, clipped to its end; `None` if there are none, which is a 416.
    pub fn resolve(self, size: u64) -> Option<ByteRange> {
        match self {
            RangeSpec::FromTo { first, last } => ByteRange::new(first, last.saturating_add(1).min(size)),
            RangeSpec::From { first } => ByteRange::new(first, size),
            RangeSpec::Last { count } => ByteRange::new(size.saturating_sub(count), size),
        }
    }

    /// The value of the header.
    pub fn header(self) -> String {
        match self {
            RangeSpec::FromTo { first, last } => format!("bytes={first}-{last}"),
            RangeSpec::From { first } => format!("bytes={first}-"),
            RangeSpec::Last { count } => format!("bytes=-{count}"),
        }
    }
}

impl From<ByteRange> for RangeSpec {
    fn from(range: ByteRange) -> RangeSpec {
        RangeSpec::FromTo { first: range.start(), last: range.end() - 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_resolve_against_the_size() {
        let table = [
            ("bytes=0-4", 10, ByteRange::new(0, 5)),
            ("bytes=5-99", 10, ByteRange::new(5, 10)),
            ("bytes=5-18446744073709551615", 10, ByteRange::new(5, 10)),
            ("bytes=9-", 10, ByteRange::new(9, 10)),
            ("bytes=-3", 10, ByteRange::new(7, 10)),
            ("bytes=-30", 10, ByteRange::new(0, 10)),
            ("bytes=10-", 10, None),
            ("bytes=10-11", 10, None),
            ("bytes=-0", 10, None),
            ("bytes=0-", 0, None),
        ];
        for (header, size, expected) in table {
            let spec = RangeSpec::parse(header).unwrap();
            assert_eq!(spec.resolve(size), expected, "{header}");
            assert_eq!(spec.header(), header);
        }
        for bad in
            ["", "bytes=", "bytes=-", "bytes=1", "bytes=2-1", "bytes=0-1,3-4", "bytes=+1-2", "items=0-1", "bytes=a-b"]
        {
            assert_eq!(RangeSpec::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_header_names_the_last_byte() {
        assert_eq!(ByteRange::new(0, 1).map(ByteRange::header).as_deref(), Some("bytes=0-0"));
        assert_eq!(ByteRange::new(5, 10).map(ByteRange::header).as_deref(), Some("bytes=5-9"));
        assert_eq!(ByteRange::new(5, 5), None);
    }
}
