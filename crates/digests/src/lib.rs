//! The digests that are taken of every byte: CRC-64 of two polynomials, which combines, and MD5 of many bodies side by side.
//!
//! A crate of its own so that it is optimised in a debug build too, where the rest of the product is not: with these loops
//! unoptimised the tests, which move gigabytes, would take several times as long.

mod crc64;
mod md5;

pub use crc64::{Crc64, Crc64Hasher, Crc64Polynomial};
pub use md5::{Md5, Md5Lanes, Updated, md5_of};
