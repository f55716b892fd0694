//! CRC-64 of the two polynomials that services tell: XZ's for every object and part of COS (`cos-api.md` 4.10), NVMe's for S3.

use std::fmt;
use std::str::FromStr;

use crc_fast::{CrcAlgorithm, Digest};

/// A CRC-64 of some bytes, written as an unsigned decimal on the wire of COS. Of which polynomial it is, whoever has it knows;
/// where it is not said, it is that of XZ.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Crc64(pub u64);

/// By which polynomial a CRC-64 is taken. All else is the same of both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crc64Polynomial {
    /// That of CRC-64/XZ.
    Xz,
    /// That of CRC-64/NVME.
    Nvme,
}

impl Crc64 {
    /// The checksum of no bytes, by either polynomial.
    pub const EMPTY: Crc64 = Crc64(0);

    /// The checksum of `bytes`.
    pub fn of(bytes: &[u8]) -> Crc64 {
        Crc64Polynomial::Xz.of(bytes)
    }

    /// The checksum of `len` zeros, in about as many microseconds as `len` has bits.
    pub fn of_zeros(len: u64) -> Crc64 {
        Crc64Polynomial::Xz.of_zeros(len)
    }

    /// The checksum of these bytes followed by `next_bytes` bytes whose checksum is `next`; see [`Crc64Polynomial::joined`].
    #[must_use]
    pub fn followed_by(self, next: Crc64, next_bytes: u64) -> Crc64 {
        Crc64Polynomial::Xz.joined(self, next, next_bytes)
    }
}

impl Crc64Polynomial {
    /// The checksum of `bytes`.
    pub fn of(self, bytes: &[u8]) -> Crc64 {
        Crc64(crc_fast::checksum(self.algorithm(), bytes))
    }

    /// The checksum of `len` zeros, in about as many microseconds as `len` has bits.
    pub fn of_zeros(self, len: u64) -> Crc64 {
        let (mut zeros, mut power) = (Crc64::EMPTY, self.of(&[0]));
        for bit in 0..u64::BITS {
            if len >> bit & 1 == 1 {
                zeros = self.joined(zeros, power, 1 << bit);
            }
            if len >> bit > 1 {
                power = self.joined(power, power, 1 << bit);
            }
        }
        zeros
    }

    /// The checksum of bytes whose checksum is `first`, followed by `next_bytes` bytes whose checksum is `next`.
    ///
    /// Takes about a microsecond, and a hundredth of that for a page of 4 KiB: appending `n` bytes multiplies the checksum by
    /// x^8n, and the powers are at hand. The crate's own combination squares a matrix at each call, which takes 200 times as
    /// long.
    pub fn joined(self, first: Crc64, next: Crc64, next_bytes: u64) -> Crc64 {
        let (polynomial, powers, by_page) = match self {
            Crc64Polynomial::Xz => (XZ, &POWERS_OF_XZ, &BY_PAGE_OF_XZ),
            Crc64Polynomial::Nvme => (NVME, &POWERS_OF_NVME, &BY_PAGE_OF_NVME),
        };
        if next_bytes == PAGE_BYTES {
            return Crc64(looked_up(by_page, first.0) ^ next.0);
        }
        let mut shifted = first.0;
        let mut left = next_bytes;
        while left != 0 {
            shifted = multiply(polynomial, shifted, powers[left.trailing_zeros() as usize]);
            left &= left - 1;
        }
        Crc64(shifted ^ next.0)
    }

    /// The checksum of the last `rest_bytes` bytes of what has the checksum `both`, where that of all before them is `first`: what
    /// [`Crc64Polynomial::joined`] was given. Takes as long.
    pub fn rest(self, first: Crc64, both: Crc64, rest_bytes: u64) -> Crc64 {
        Crc64(self.joined(first, Crc64::EMPTY, rest_bytes).0 ^ both.0)
    }

    /// A hasher that has seen nothing.
    pub fn hasher(self) -> Crc64Hasher {
        Crc64Hasher(Digest::new(self.algorithm()))
    }

    fn algorithm(self) -> CrcAlgorithm {
        match self {
            Crc64Polynomial::Xz => CrcAlgorithm::Crc64Xz,
            Crc64Polynomial::Nvme => CrcAlgorithm::Crc64Nvme,
        }
    }
}

/// The polynomials without their highest term, lowest power in the highest bit, as all values here.
const XZ: u64 = 0xC96C_5795_D787_0F42;
const NVME: u64 = 0x9A6C_9329_AC4B_C9B5;

/// x^(8 * 2^n) modulo the polynomial, by n.
const POWERS_OF_XZ: [u64; 64] = powers(XZ);
const POWERS_OF_NVME: [u64; 64] = powers(NVME);

const fn powers(polynomial: u64) -> [u64; 64] {
    let mut powers = [0; 64];
    // x^8 itself: bit 63 is x^0.
    powers[0] = 1 << (63 - 8);
    let mut n = 1;
    while n < powers.len() {
        powers[n] = multiply(polynomial, powers[n - 1], powers[n - 1]);
        n += 1;
    }
    powers
}

/// What is joined most often, in bytes.
const PAGE_BYTES: u64 = 1 << PAGE_POWER;
const PAGE_POWER: usize = 12;

/// The products of each value of each four bits with a power, by the number of the four bits.
type Products = [[u64; 16]; 16];

/// Those with x^(8 * 4096).
static BY_PAGE_OF_XZ: Products = products(XZ, POWERS_OF_XZ[PAGE_POWER]);
static BY_PAGE_OF_NVME: Products = products(NVME, POWERS_OF_NVME[PAGE_POWER]);

const fn products(polynomial: u64, power: u64) -> Products {
    let mut products = [[0; 16]; 16];
    let mut at = 0;
    while at < 256 {
        let (digit, value) = (at / 16, at % 16);
        products[digit][value] = multiply(polynomial, (value as u64) << (4 * digit), power);
        at += 1;
    }
    products
}

/// The product of `a` with the power that the table is of.
fn looked_up(products: &Products, a: u64) -> u64 {
    products.iter().enumerate().fold(0, |product, (digit, row)| product ^ row[(a >> (4 * digit) & 15) as usize])
}

/// The product of two polynomials over GF(2), modulo that of the checksum.
const fn multiply(polynomial: u64, a: u64, b: u64) -> u64 {
    let (mut product, mut a, mut b) = (0, a, b);
    while a != 0 {
        // Taken from the highest bit, the lowest power; a mask instead of a branch, since the bits are random.
        product ^= b & (a >> 63).wrapping_neg();
        a <<= 1;
        b = (b >> 1) ^ (polynomial & (b & 1).wrapping_neg());
    }
    product
}

impl fmt::Display for Crc64 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Crc64 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "crc64:{:016x}", self.0)
    }
}

impl FromStr for Crc64 {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Crc64, Self::Err> {
        text.trim().parse().map(Crc64)
    }
}

/// A checksum that grows with the bytes it is shown.
#[derive(Clone)]
pub struct Crc64Hasher(Digest);

impl Crc64Hasher {
    /// One of XZ's polynomial that has seen nothing.
    pub fn new() -> Crc64Hasher {
        Crc64Polynomial::Xz.hasher()
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The checksum of all that was shown so far.
    pub fn value(&self) -> Crc64 {
        Crc64(self.0.finalize())
    }
}

impl Default for Crc64Hasher {
    fn default() -> Crc64Hasher {
        Crc64Hasher::new()
    }
}

impl fmt::Debug for Crc64Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The samples of `cos-api.md` 4.10, most of them printed in the official pages.
    #[test]
    fn the_documented_samples_come_out() {
        let table: [(&str, u64); 6] = [
            ("123456789", 11051210869376104954),
            ("", 0),
            ("[Object Content]", 16749565679157681890),
            ("[Object Part]", 4510578591875220731),
            ("[Chunked Content][2nd chunk][3rd chunk][4th chunk]", 7188322482464764960),
            ("[Object Content Version 2]", 11596229263574363878),
        ];
        for (text, expected) in table {
            assert_eq!(Crc64::of(text.as_bytes()), Crc64(expected), "{text:?}");
        }
    }

    #[test]
    fn combining_parts_gives_the_checksum_of_the_whole() {
        let whole: Vec<u8> = (0..100_000u32).map(|i| ((i * 7) >> 3) as u8).collect();
        for cut in [0, 1, 63, 64, 65, 4096, 99_999, 100_000] {
            let (head, tail) = whole.split_at(cut);
            let combined = Crc64::of(head).followed_by(Crc64::of(tail), tail.len() as u64);
            assert_eq!(combined, Crc64::of(&whole), "cut at {cut}");
            let mut hasher = Crc64Hasher::new();
            hasher.update(head);
            hasher.update(tail);
            assert_eq!(hasher.value(), Crc64::of(&whole));
        }
    }

    #[test]
    fn the_other_polynomial_has_its_documented_sample_and_joins_as_well() {
        let nvme = Crc64Polynomial::Nvme;
        assert_eq!(nvme.of(b"123456789"), Crc64(0xae8b_1486_0a79_9888));
        let whole: Vec<u8> = (0..10_000u32).map(|i| ((i * 7) >> 3) as u8).collect();
        for cut in [0, 1, 64, 4096, 5904, 10_000] {
            let (head, tail) = whole.split_at(cut);
            assert_eq!(nvme.joined(nvme.of(head), nvme.of(tail), tail.len() as u64), nvme.of(&whole), "cut at {cut}");
            assert_eq!(nvme.rest(nvme.of(head), nvme.of(&whole), tail.len() as u64), nvme.of(tail), "cut at {cut}");
            let mut hasher = nvme.hasher();
            hasher.update(head);
            hasher.update(tail);
            assert_eq!(hasher.value(), nvme.of(&whole));
        }
        assert_eq!(nvme.of_zeros(100_001), nvme.of(&vec![0; 100_001]));
        for shift in 0..63 {
            let (head, tail, length) = (nvme.of(b"head"), nvme.of(b"tail"), (1 << shift) + 12_345);
            let theirs = crc_fast::checksum_combine(CrcAlgorithm::Crc64Nvme, head.0, tail.0, length);
            assert_eq!(nvme.joined(head, tail, length), Crc64(theirs), "{length}");
        }
    }

    #[test]
    fn zeros_have_the_checksum_of_zeros() {
        for len in [0, 1, 2, 3, 64, 1000, 100_001] {
            assert_eq!(Crc64::of_zeros(len as u64), Crc64::of(&vec![0; len]), "{len}");
        }
        assert_ne!(Crc64::of_zeros(u64::MAX), Crc64::EMPTY);
    }

    #[test]
    fn combining_agrees_with_the_crate_for_lengths_that_no_test_can_hold() {
        for shift in 0..63 {
            for length in [1 << shift, (1 << shift) + 12_345, u64::MAX >> shift] {
                let (head, tail) = (Crc64::of(b"head"), Crc64::of(b"tail"));
                let theirs = crc_fast::checksum_combine(CrcAlgorithm::Crc64Xz, head.0, tail.0, length);
                assert_eq!(head.followed_by(tail, length), Crc64(theirs), "{length}");
            }
        }
    }
}
