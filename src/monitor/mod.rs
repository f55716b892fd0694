//! What a mount shows of itself: one document, made when somebody asks, for the command line, the page and the metrics alike.
//!
//! Everything here looks and changes nothing, and no secret is in what it shows.

mod advice;
mod cost;
mod listener;
mod live;
mod metrics;
mod observer;
mod page;
#[cfg(test)]
mod samples;
mod socket_file;
mod status;
mod web;

pub use advice::advice;
pub use listener::{MonitorListener, Serving};
pub use observer::{Observer, ObserverParts};
pub use socket_file::SocketFile;
pub use status::{
    CostStatus, CredentialStatus, DiskCacheStatus, FailureStatus, FileStage, FileStatus, MemoryStatus, OperationStatus,
    PartCounts, Rate, Status, TransferStatus, UploadStatus,
};
