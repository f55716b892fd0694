//! The compression function of MD5 (RFC 1321), for one stream or for several in step.
//!
//! Lanes are arrays that the compiler turns into vectors of whatever the machine has: [`compress_lanes`] is inlined
//! into code that is compiled for it.

/// Bytes that are compressed at once.
pub(super) const BLOCK_BYTES: usize = 64;

/// The state between blocks.
pub(super) type Words = [u32; 4];

/// The state before the first block.
pub(super) const INITIAL: Words = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];

/// The integer part of 2^32 |sin(i + 1)|.
#[rustfmt::skip]
const SINES: [u32; 64] = [
    0xd76aa478, 0xe8c7b756, 0x242070db, 0xc1bdceee, 0xf57c0faf, 0x4787c62a, 0xa8304613, 0xfd469501,
    0x698098d8, 0x8b44f7af, 0xffff5bb1, 0x895cd7be, 0x6b901122, 0xfd987193, 0xa679438e, 0x49b40821,
    0xf61e2562, 0xc040b340, 0x265e5a51, 0xe9b6c7aa, 0xd62f105d, 0x02441453, 0xd8a1e681, 0xe7d3fbc8,
    0x21e1cde6, 0xc33707d6, 0xf4d50d87, 0x455a14ed, 0xa9e3e905, 0xfcefa3f8, 0x676f02d9, 0x8d2a4c8a,
    0xfffa3942, 0x8771f681, 0x6d9d6122, 0xfde5380c, 0xa4beea44, 0x4bdecfa9, 0xf6bb4b60, 0xbebfbc70,
    0x289b7ec6, 0xeaa127fa, 0xd4ef3085, 0x04881d05, 0xd9d4d039, 0xe6db99e5, 0x1fa27cf8, 0xc4ac5665,
    0xf4292244, 0x432aff97, 0xab9423a7, 0xfc93a039, 0x655b59c3, 0x8f0ccc92, 0xffeff47d, 0x85845dd1,
    0x6fa87e4f, 0xfe2ce6e0, 0xa3014314, 0x4e0811a1, 0xf7537e82, 0xbd3af235, 0x2ad7d2bb, 0xeb86d391,
];

/// One step in every lane: the function of the round, the word of the block, the sine, the rotation.
macro_rules! step {
    ($state:ident, $block:ident, $round:expr, $word:expr, $sine:expr, $rotation:expr) => {{
        let [a, b, c, d] = $state;
        let mut next = [0; N];
        for lane in 0..N {
            let sum = a[lane].wrapping_add($block[$word][lane]).wrapping_add(SINES[$sine]);
            let sum = $round(sum, b[lane], c[lane], d[lane]);
            next[lane] = sum.rotate_left($rotation).wrapping_add(b[lane]);
        }
        $state = [d, next, b, c];
    }};
}

/// Sixteen steps. Words are taken in the order `factor * i + offset`.
macro_rules! round {
    ($state:ident, $block:ident, $round:expr, $first:expr, $factor:expr, $offset:expr, $rotations:expr) => {
        round!(@each $state, $block, $round, $first, $factor, $offset, $rotations;
            0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15)
    };
    (@each $state:ident, $block:ident, $round:expr, $first:expr, $factor:expr, $offset:expr, $rotations:expr;
        $($i:literal)+) => {
        $(step!($state, $block, $round, ($factor * $i + $offset) % 16, $first + $i, $rotations[$i % 4]);)+
    };
}

/// Compresses as many blocks as the shortest of the lists has, one of each lane at a time.
#[inline(always)]
#[allow(clippy::needless_range_loop, reason = "with iterators eight lanes of AVX-512 take three times as long")]
pub(super) fn compress_lanes<const N: usize>(lanes: &mut [[u32; N]; 4], blocks: [&[[u8; BLOCK_BYTES]]; N]) {
    let count = blocks.iter().map(|list| list.len()).min().unwrap_or(0);
    for index in 0..count {
        let mut block = [[0; N]; 16];
        for lane in 0..N {
            let (words, _) = blocks[lane][index].as_chunks::<4>();
            for word in 0..16 {
                block[word][lane] = u32::from_le_bytes(words[word]);
            }
        }
        compress_block(lanes, &block);
    }
}

#[inline(always)]
fn compress_block<const N: usize>(lanes: &mut [[u32; N]; 4], block: &[[u32; N]; 16]) {
    let mut state = *lanes;
    round!(state, block, |sum: u32, b, c, d| sum.wrapping_add(d ^ (b & (c ^ d))), 0, 1, 0, [7, 12, 17, 22]);
    // The two halves of the choice have no bit in common, so they may be added one by one: the half without `b`, which
    // is what the step waits for, is out of the way early.
    round!(
        state,
        block,
        |sum: u32, b: u32, c: u32, d: u32| sum.wrapping_add(!d & c).wrapping_add(d & b),
        16,
        5,
        1,
        [5, 9, 14, 20]
    );
    round!(state, block, |sum: u32, b: u32, c: u32, d: u32| sum.wrapping_add((c ^ d) ^ b), 32, 3, 5, [4, 11, 16, 23]);
    round!(state, block, |sum: u32, b: u32, c: u32, d: u32| sum.wrapping_add(c ^ (b | !d)), 48, 7, 0, [6, 10, 15, 21]);
    for (kept, new) in lanes.iter_mut().zip(state) {
        for (kept, new) in kept.iter_mut().zip(new) {
            *kept = kept.wrapping_add(new);
        }
    }
}

/// Compresses the blocks of one stream.
pub(super) fn compress_one(words: &mut Words, blocks: &[[u8; BLOCK_BYTES]]) {
    let mut lanes = words.map(|word| [word]);
    compress_lanes(&mut lanes, [blocks]);
    *words = lanes.map(|[word]| word);
}
