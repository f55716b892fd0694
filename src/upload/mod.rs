//! Getting what was written into the bucket: part by part while it is being written, verified, and never by guessing.
//!
//! An [`OpenFile`] is the content of one file that is open for writing, shared by all of its handles. It is a plan of
//! parts: those that are sealed, on their way or acknowledged, then extents that say where every other byte is: in
//! memory, in the object as last published, in another object, or nowhere, because it is a zero. Publishing makes parts
//! of all of it (`plan`) and an object of the parts. The lock of a file is never held across an await, so that taking
//! bytes from the kernel never waits for the network.
//!
//! What happens at a write is in `writing`, at close in `publishing`, and to a part on its way in `sending`. All three work
//! on what the file is at that moment, its `state`, with what the transfers of all files share (`transfers`).

mod body;
mod comparing;
mod conflict;
mod content;
mod copying;
mod cover;
mod error;
mod extents;
mod handed_out;
mod hedge;
mod ladder;
mod metadata;
mod open_file;
mod options;
mod piece;
mod plan;
mod progress;
mod publishing;
mod sending;
mod session;
mod state;
mod transfers;
mod uploader;
#[cfg(test)]
mod work;
mod writing;
mod zeros;

pub use content::{PartMark, Segment};
pub use copying::{copy_object, rewrite_attributes};
pub use error::UploadError;
pub use ladder::Ladder;
pub use open_file::{OpenFile, PublishedFile, Taken};
pub use options::{OnConflict, UploadOptions};
#[cfg(feature = "testing")]
pub(crate) use plan::plan_anything;
pub use progress::{Progress, Stage, UploadProgress};
pub use publishing::LosingName;
pub use uploader::Uploader;
