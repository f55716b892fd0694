//! What a mount shows of itself: one document, made when somebody asks, for the command line, the page and the metrics alike.
//!
//! Everything here looks and changes nothing, and no secret is in what it shows.

mod observer;
mod status;

pub use observer::{Observer, ObserverParts};
pub use status::{
    CostStatus, CredentialStatus, FailureStatus, FileStage, FileStatus, MemoryStatus, OperationStatus, PartCounts,
    Rate, Status, TransferStatus, UploadStatus,
};
