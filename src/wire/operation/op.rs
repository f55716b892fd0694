//! The operations by name, for errors, the access log, and tests that count or fail them.

use std::fmt;

/// Which operation a request is, without what it asks for: that is an [`super::Operation`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each is the operation of that name in the COS documentation")]
pub enum Op {
    GetService,
    PutBucket,
    HeadBucket,
    DeleteBucket,
    GetBucketLocation,
    GetBucketVersioning,
    GetBucketLifecycle,
    PutBucketVersioning,
    ListObjects,
    ListMultipartUploads,
    DeleteMultipleObjects,
    PutObject,
    HeadObject,
    GetObject,
    DeleteObject,
    CopyObject,
    InitiateMultipartUpload,
    UploadPart,
    UploadPartCopy,
    CompleteMultipartUpload,
    AbortMultipartUpload,
    ListParts,
    GetObjectTagging,
    GetObjectAcl,
    RestoreObject,
    ListObjectVersions,
    GetBucketConfiguration,
    PutBucketConfiguration,
    DeleteBucketConfiguration,
    PutObjectTagging,
    DeleteObjectTagging,
    PutObjectAcl,
    AppendObject,
    GetObjectAttributes,
}

impl Op {
    /// Every operation.
    pub const ALL: [Op; 34] = [
        Op::GetService,
        Op::PutBucket,
        Op::HeadBucket,
        Op::DeleteBucket,
        Op::GetBucketLocation,
        Op::GetBucketVersioning,
        Op::GetBucketLifecycle,
        Op::PutBucketVersioning,
        Op::ListObjects,
        Op::ListMultipartUploads,
        Op::DeleteMultipleObjects,
        Op::PutObject,
        Op::HeadObject,
        Op::GetObject,
        Op::DeleteObject,
        Op::CopyObject,
        Op::InitiateMultipartUpload,
        Op::UploadPart,
        Op::UploadPartCopy,
        Op::CompleteMultipartUpload,
        Op::AbortMultipartUpload,
        Op::ListParts,
        Op::GetObjectTagging,
        Op::GetObjectAcl,
        Op::RestoreObject,
        Op::ListObjectVersions,
        Op::GetBucketConfiguration,
        Op::PutBucketConfiguration,
        Op::DeleteBucketConfiguration,
        Op::PutObjectTagging,
        Op::DeleteObjectTagging,
        Op::PutObjectAcl,
        Op::AppendObject,
        Op::GetObjectAttributes,
    ];

    /// The operation of that name.
    pub fn parse(name: &str) -> Option<Op> {
        Op::ALL.into_iter().find(|op| op.name() == name)
    }

    /// The documentation's name, in CamelCase.
    pub fn name(self) -> &'static str {
        match self {
            Op::GetService => "GetService",
            Op::PutBucket => "PutBucket",
            Op::HeadBucket => "HeadBucket",
            Op::DeleteBucket => "DeleteBucket",
            Op::GetBucketLocation => "GetBucketLocation",
            Op::GetBucketVersioning => "GetBucketVersioning",
            Op::GetBucketLifecycle => "GetBucketLifecycle",
            Op::PutBucketVersioning => "PutBucketVersioning",
            Op::ListObjects => "ListObjects",
            Op::ListMultipartUploads => "ListMultipartUploads",
            Op::DeleteMultipleObjects => "DeleteMultipleObjects",
            Op::PutObject => "PutObject",
            Op::HeadObject => "HeadObject",
            Op::GetObject => "GetObject",
            Op::DeleteObject => "DeleteObject",
            Op::CopyObject => "CopyObject",
            Op::InitiateMultipartUpload => "InitiateMultipartUpload",
            Op::UploadPart => "UploadPart",
            Op::UploadPartCopy => "UploadPartCopy",
            Op::CompleteMultipartUpload => "CompleteMultipartUpload",
            Op::AbortMultipartUpload => "AbortMultipartUpload",
            Op::ListParts => "ListParts",
            Op::GetObjectTagging => "GetObjectTagging",
            Op::GetObjectAcl => "GetObjectAcl",
            Op::RestoreObject => "RestoreObject",
            Op::ListObjectVersions => "ListObjectVersions",
            Op::GetBucketConfiguration => "GetBucketConfiguration",
            Op::PutBucketConfiguration => "PutBucketConfiguration",
            Op::DeleteBucketConfiguration => "DeleteBucketConfiguration",
            Op::PutObjectTagging => "PutObjectTagging",
            Op::DeleteObjectTagging => "DeleteObjectTagging",
            Op::PutObjectAcl => "PutObjectAcl",
            Op::AppendObject => "AppendObject",
            Op::GetObjectAttributes => "GetObjectAttributes",
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
