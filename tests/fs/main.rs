//! The file system over a bucket in memory, without FUSE: what programs do to files, and what of it must arrive.
//!
//! Every test drives [`cosmount::fs::FileSystem`] as the kernel would. The bucket keeps the service's rules and a log
//! of requests; faults strike on cue and gates hold requests, so that no test waits for a time.

#![allow(clippy::unwrap_used, reason = "the bed is part of the tests")]

mod attributes;
mod bed;
mod cached;
mod closing;
mod concurrent;
mod conflicts;
mod damage;
mod directories;
mod editing;
mod faults;
mod flat_listings;
mod hard_links;
mod holding;
mod holes;
mod interrupted_renames;
mod links;
mod listings;
mod made_with;
mod memory;
mod model;
mod names;
mod others;
mod overlap;
mod passing;
mod protection;
mod ranges;
mod reading;
mod recovery;
mod renaming;
mod special_files;
mod streaming;
mod times;
