//! Why a request is not served, in the service's own words.

use std::time::SystemTime;

use crate::wire::code::Code;
use crate::wire::operation::RequestError;
use crate::wire::sign::SignatureError;

use super::storage::{Rule, StorageError};

/// A failed answer in the making.
#[derive(Debug)]
pub(super) struct Refusal {
    pub code: Code,
    pub message: String,
    /// For clients whose clock is off.
    pub server_time: Option<SystemTime>,
}

impl Refusal {
    pub(super) fn new(code: Code, message: impl Into<String>) -> Refusal {
        Refusal { code, message: message.into(), server_time: None }
    }
}

impl From<Code> for Refusal {
    fn from(code: Code) -> Refusal {
        Refusal::new(code, code.message())
    }
}

impl From<RequestError> for Refusal {
    fn from(error: RequestError) -> Refusal {
        Refusal::new(error.code, error.message)
    }
}

impl From<SignatureError> for Refusal {
    fn from(error: SignatureError) -> Refusal {
        Refusal::new(error.code(), error.message())
    }
}

impl From<StorageError> for Refusal {
    /// A failure of the machine is told to the log in full and to the client as an internal error.
    fn from(error: StorageError) -> Refusal {
        match error {
            StorageError::Refused(rule) => Refusal::from(code_of(rule)),
            StorageError::Closed | StorageError::IndexOut => Refusal::from(Code::ServiceUnavailable),
            failed => {
                failed.log("a request failed");
                Refusal::from(match failed {
                    StorageError::Full => Code::InsufficientStorage,
                    StorageError::Damaged { .. } => Code::DamagedObject,
                    _ => Code::InternalError,
                })
            }
        }
    }
}

fn code_of(rule: Rule) -> Code {
    match rule {
        Rule::NoSuchBucket => Code::NoSuchBucket,
        Rule::BucketExists => Code::BucketAlreadyOwnedByYou,
        Rule::BucketNotEmpty => Code::BucketNotEmpty,
        Rule::NoSuchKey => Code::NoSuchKey,
        Rule::NoSuchUpload => Code::NoSuchUpload,
        Rule::InvalidPart => Code::InvalidPart,
        Rule::InvalidPartOrder => Code::InvalidPartOrder,
        Rule::EntityTooSmall => Code::EntityTooSmall,
        Rule::EntityTooLarge => Code::EntityTooLarge,
        Rule::FileAlreadyExists => Code::FileAlreadyExists,
        Rule::PreconditionFailed => Code::PreconditionFailed,
        Rule::BadDigest => Code::BadDigest,
        Rule::InvalidRange => Code::InvalidRange,
        Rule::CopyChangesNothing => Code::InvalidRequest,
        Rule::Archived => Code::InvalidObjectState,
        Rule::NotArchived => Code::RestoreNonArchiveObject,
        Rule::BeingRestored => Code::RestoreAlreadyInProgress,
        Rule::NotAppendable => Code::ObjectNotAppendable,
        Rule::WrongPosition => Code::AppendPositionErr,
        Rule::NoSuchVersion => Code::NoSuchVersion,
        Rule::IsDeleted => Code::MethodNotAllowed,
    }
}
