//! The calls of [`super::ObjectStore`] by name, for errors, logs and tests that count or fail them.

use std::fmt;

/// One kind of call, each a request of its own to the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each is the operation of that name in the COS documentation")]
pub enum Op {
    HeadBucket,
    HeadObject,
    GetObject,
    PutObject,
    DeleteObject,
    DeleteMultipleObjects,
    CopyObject,
    ListObjects,
    InitiateMultipartUpload,
    UploadPart,
    UploadPartCopy,
    CompleteMultipartUpload,
    AbortMultipartUpload,
    ListMultipartUploads,
}

impl Op {
    /// The operation's name in the COS documentation, in CamelCase.
    pub fn name(self) -> &'static str {
        match self {
            Op::HeadBucket => "HeadBucket",
            Op::HeadObject => "HeadObject",
            Op::GetObject => "GetObject",
            Op::PutObject => "PutObject",
            Op::DeleteObject => "DeleteObject",
            Op::DeleteMultipleObjects => "DeleteMultipleObjects",
            Op::CopyObject => "CopyObject",
            Op::ListObjects => "ListObjects",
            Op::InitiateMultipartUpload => "InitiateMultipartUpload",
            Op::UploadPart => "UploadPart",
            Op::UploadPartCopy => "UploadPartCopy",
            Op::CompleteMultipartUpload => "CompleteMultipartUpload",
            Op::AbortMultipartUpload => "AbortMultipartUpload",
            Op::ListMultipartUploads => "ListMultipartUploads",
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
