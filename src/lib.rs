//! `cosmount` mounts a Tencent COS bucket as a directory.
//!
//! The modules are layers. An import runs only from a later line of this list to an earlier one, which
//! `tests/tidy` enforces; `docs/ARCHITECTURE.md` shows the picture.

pub mod clock;
pub mod memory;
pub mod stats;

pub mod object;

pub mod cache;
pub mod journal;
pub mod wire;

pub mod server;
pub mod store;

pub mod read;
pub mod upload;

pub mod fs;

pub mod fuse;

pub mod config;

pub mod monitor;

pub mod cli;

#[cfg(feature = "testing")]
pub mod fuzzing;
