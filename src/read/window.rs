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
    /// What was left out on the way, and has not been read since: what the kernel has asked for ahead comes, and what a reader
    /// who takes a piece here and there leaves out does not.
    left_out: u64,
    /// How much may be left out: nothing by a reader who has jumped, until he has read as much in order.
    left_out_max: u64,
    bytes_max: u64,
}

impl Window {
    /// The window of a reader who has not read yet: whoever starts at the beginning is expected to go on.
    pub(super) fn new(bytes_max: u64) -> Window {
        Window { next: 0, bytes: 0, left_out: 0, left_out_max: OVERTAKEN_BYTES.min(bytes_max), bytes_max }
    }

    /// The same for a reader who is expected to go on from `start`.
    pub(super) fn begin_at(&mut self, start: u64, end: u64) -> Option<u64> {
        *self = Window { next: start, ..Window::new(self.bytes_max) };
        self.advance(start, end)
    }

    /// Notes a read of `start..end` and returns the offset up to which everything should be on its way; `None` if the
    /// read is out of order.
    pub(super) fn advance(&mut self, start: u64, end: u64) -> Option<u64> {
        let (ahead, behind) = (start.saturating_sub(self.next), self.next.saturating_sub(start));
        let may_be_ahead = end - start >= AHEAD_BYTES_MIN;
        let in_order = if ahead > 0 {
            let may_be_left_out = if may_be_ahead { self.left_out_max.max(self.bytes / 2) } else { self.bytes / 2 };
            self.left_out + ahead <= may_be_left_out
        } else {
            behind <= self.bytes || may_be_ahead && self.left_out > 0 && behind <= OVERTAKEN_BYTES
        };
        if !in_order {
            *self = Window { next: end, left_out_max: 0, ..Window::new(self.bytes_max) };
            return None;
        }
        if ahead > 0 {
            self.left_out += ahead;
        } else {
            self.left_out = self.left_out.saturating_sub(end - start);
            self.left_out_max = (self.left_out_max + (end - start)).min(OVERTAKEN_BYTES).min(self.bytes_max);
        }
        if end > self.next {
            // Doubles with the first read of each window's worth.
            let first = WINDOW_BYTES_FIRST.min(self.bytes_max);
            let read = end - self.next.max(start);
            self.bytes = if self.bytes == 0 { first } else { (self.bytes + 2 * read).min(self.bytes_max) };
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

    /// A column of a table, or tiles of a picture.
    #[test]
    fn who_takes_a_large_piece_here_and_there_jumps() {
        for stride in [MIB, 3 * MIB, 5 * MIB] {
            let mut window = Window::new(64 * MIB);
            let reads = (0..100).filter(|index| window.advance(index * stride, index * stride + 128 * KIB).is_some());
            assert!(reads.count() <= 5, "{stride}");
        }
    }

    #[test]
    fn a_small_request_behind_the_beginning_is_a_jump() {
        assert_eq!(Window::new(64 * MIB).advance(256 * KIB, 260 * KIB), None);
    }
}
