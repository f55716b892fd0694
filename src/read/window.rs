//! How far ahead of a reader to fetch. Pure.
//!
//! A reader who goes in order gets a window that starts small and doubles; one who jumps gets nothing ahead. What the
//! kernel reads ahead it asks for all at once, and two threads that take its requests may take them out of order, the very
//! first ones, too. So "in order" means within the window, and of requests as large as those, within what the kernel reads
//! ahead.

use crate::object::limits::MIB;

/// The first window, in bytes: one block, so that a reader who looks at a header costs little.
const WINDOW_BYTES_FIRST: u64 = MIB;

/// Requests of at least so many bytes may be the kernel's read-ahead. Smaller ones it makes one by one: only what is asked for
/// at once can be overtaken.
const AHEAD_BYTES_MIN: u64 = 64 << 10;

/// How far the kernel reads ahead (`fuse/session.rs`), and how far its requests overtake one another, in bytes.
const OVERTAKEN_BYTES: u64 = 4 * MIB;

/// What one reader has shown of its habits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    /// Where a reader who goes on in order reads next.
    next: u64,
    /// How far ahead of `next` is fetched; 0 for a reader who jumps.
    bytes: u64,
    bytes_max: u64,
}

impl Window {
    /// The window of a reader who has not read yet: whoever starts at the beginning is expected to go on.
    pub(super) fn new(bytes_max: u64) -> Window {
        Window { next: 0, bytes: 0, bytes_max }
    }

    /// The same for a reader who is expected to go on from `start`.
    pub(super) fn begin_at(&mut self, start: u64, end: u64) -> Option<u64> {
        *self = Window { next: start, ..Window::new(self.bytes_max) };
        self.advance(start, end)
    }

    /// Notes a read of `start..end` and returns the offset up to which everything should be on its way; `None` if the
    /// read is out of order.
    pub(super) fn advance(&mut self, start: u64, end: u64) -> Option<u64> {
        let behind = self.next.saturating_sub(start);
        let overtaken = if end - start >= AHEAD_BYTES_MIN { OVERTAKEN_BYTES.min(self.bytes_max) } else { 0 };
        let in_order = start <= self.next + overtaken.max(self.bytes / 2) && behind <= overtaken.max(self.bytes);
        if !in_order {
            *self = Window { next: end, bytes: 0, bytes_max: self.bytes_max };
            return None;
        }
        if end > self.next {
            // Doubles with the first read of each window's worth.
            let first = WINDOW_BYTES_FIRST.min(self.bytes_max);
            self.bytes = if self.bytes == 0 { first } else { (self.bytes + 2 * (end - self.next)).min(self.bytes_max) };
            self.next = end;
        }
        Some(self.next + self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: u64 = 1024;

    #[test]
    fn a_reader_in_order_gets_a_growing_window() {
        let mut window = Window::new(16 * MIB);
        assert_eq!(window.advance(0, 128 * KIB), Some(128 * KIB + MIB));
        let mut ahead = Vec::new();
        for read in 1..80 {
            let start = read * 256 * KIB - 128 * KIB;
            let until = window.advance(start, start + 256 * KIB).unwrap();
            ahead.push(until - start - 256 * KIB);
        }
        assert!(ahead.windows(2).all(|pair| pair[0] <= pair[1]), "{ahead:?}");
        assert_eq!(ahead.last(), Some(&(16 * MIB)));
    }

    #[test]
    fn a_reader_who_jumps_gets_nothing_ahead() {
        let mut window = Window::new(64 * MIB);
        for start in [700, 3, 90, 45, 12_345, 1] {
            assert_eq!(window.advance(start * MIB, start * MIB + 4096), None, "{start}");
        }
    }

    #[test]
    fn a_reader_who_settles_down_gets_a_window_again() {
        let mut window = Window::new(64 * MIB);
        window.advance(500 * MIB, 501 * MIB);
        assert_eq!(window.advance(501 * MIB, 502 * MIB), Some(503 * MIB));
    }

    #[test]
    fn requests_that_overtake_one_another_stay_in_order() {
        for order in [[0, 1, 2, 3, 5, 4, 6, 8, 7], [1, 0, 2, 3, 4, 5, 6, 7, 8], [3, 2, 1, 0, 7, 6, 5, 4, 8]] {
            for request in [256 * KIB, MIB] {
                let mut window = Window::new(64 * MIB);
                for index in order {
                    assert!(window.advance(index * request, (index + 1) * request).is_some(), "{index} of {order:?}");
                }
            }
        }
    }

    #[test]
    fn a_small_request_behind_the_beginning_is_a_jump() {
        assert_eq!(Window::new(64 * MIB).advance(256 * KIB, 260 * KIB), None);
    }
}
