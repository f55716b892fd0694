//! Every request and answer of the protocol, written by one end and read by the other.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod answers;
mod arbitrary;
mod requests;
