//! Getting what was written into the bucket: part by part while it is being written, verified, and never by guessing.
//!
//! An [`OpenFile`] is the content of one file that is open for writing, shared by all of its handles. It is a plan of
//! parts: a prefix that is still the published object, then parts that are filling, on their way or acknowledged.
//! Its lock is never held across an await, so that taking bytes from the kernel never waits for the network.

mod content;
mod copying;
mod ladder;
mod open_file;
mod part_buffer;
mod publishing;
mod sending;
mod uploader;

pub use copying::{copy_object, rewrite_attributes};
pub use ladder::Ladder;
pub use open_file::{Base, OpenFile, PublishedFile, Segment, Taken};
pub use uploader::{UploadError, UploadOptions, Uploader};
