//! The rules of the local service, each asked for over a socket and signed as any client signs.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod bed;
mod beside;
mod durability;
mod faults;
mod killed;
mod listing;
mod log;
mod multipart;
mod objects;
mod protocol;
mod sub_resources;
mod versions;
