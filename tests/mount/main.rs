//! The product as a whole, from a program's system calls to the service's access log: the built binary mounts a bucket
//! of a service in a process of its own, and ordinary tools work on it.
//!
//! Needs /dev/fuse and, for most of it, root. Each test has a mount of its own. Sizes are such that all of it takes a
//! few minutes in a debug build; `scripts/bench` measures with the full ones.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "figures and logs, for whoever reads the outcome")]

mod attributes_of_trees;
mod bed;
mod browser;
mod cached;
mod chaos;
mod closing;
mod copying;
mod exerciser;
mod failing;
mod frugal_edits;
mod killed;
mod large;
mod made_with;
mod metrics;
mod model;
mod names;
mod open_files;
mod options;
mod page;
mod passthrough;
mod programs;
mod protection;
mod rates;
mod reading;
mod times;
mod tools;
mod tree_model;
mod trees;
mod two_mounts;
mod under_load;
