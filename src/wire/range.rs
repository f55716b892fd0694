//! A stretch of an object's bytes.

use std::fmt;

/// The bytes `start..end` of an object, never empty.
///
/// INVARIANT: `start < end`. Half-open here; the wire's `first-last` form is inclusive and made by [`ByteRange::header`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ByteRange {
    start: u64,
    end: u64,
}

impl ByteRange {
    /// The bytes `start..end`, unless that is empty.
    pub fn new(start: u64, end: u64) -> Option<ByteRange> {
        (start < end).then_some(ByteRange { start, end })
    }

    /// Offset of the first byte.
    pub fn start(self) -> u64 {
        self.start
    }

    /// Offset after the last byte.
    pub fn end(self) -> u64 {
        self.end
    }

    /// Bytes in the range; never 0.
    #[allow(clippy::len_without_is_empty, reason = "a range is never empty")]
    pub fn len(self) -> u64 {
        self.end - self.start
    }

    /// The value of a `Range` or `x-cos-copy-source-range` header: `bytes=first-last`, both inclusive.
    pub fn header(self) -> String {
        format!("bytes={}-{}", self.start, self.end - 1)
    }
}

impl fmt::Display for ByteRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.start, self.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_names_the_last_byte() {
        assert_eq!(ByteRange::new(0, 1).map(ByteRange::header).as_deref(), Some("bytes=0-0"));
        assert_eq!(ByteRange::new(5, 10).map(ByteRange::header).as_deref(), Some("bytes=5-9"));
        assert_eq!(ByteRange::new(5, 5), None);
    }
}
