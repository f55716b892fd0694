//! What policies call operations and objects, to be told to whoever writes them.

use crate::object::BucketName;
use crate::wire::operation::Op;

/// What a policy of COS calls an operation, without what stands before all of them.
pub(super) fn actions_of_cos(op: Op) -> &'static [&'static str] {
    match op {
        Op::ListObjects | Op::HeadBucket => &["GetBucket"],
        Op::ListObjectVersions => &["GetBucketObjectVersions"],
        Op::PutObject => &["PutObject"],
        Op::GetObject | Op::GetObjectAttributes => &["GetObject"],
        Op::GetObjectTagging => &["GetObjectTagging"],
        Op::GetObjectAcl => &["GetObjectACL"],
        Op::RestoreObject => &["PostObjectRestore"],
        Op::HeadObject => &["HeadObject"],
        Op::CopyObject => &["PutObject", "GetObject"],
        Op::DeleteObject | Op::DeleteMultipleObjects => &["DeleteObject"],
        Op::InitiateMultipartUpload => &["InitiateMultipartUpload"],
        Op::UploadPart => &["UploadPart"],
        Op::UploadPartCopy => &["UploadPartCopy", "GetObject"],
        Op::CompleteMultipartUpload => &["CompleteMultipartUpload"],
        Op::AbortMultipartUpload => &["AbortMultipartUpload"],
        Op::ListParts => &["ListParts"],
        Op::ListMultipartUploads => &["ListMultipartUploads"],
        Op::PutObjectTagging | Op::DeleteObjectTagging | Op::PutObjectAcl | Op::AppendObject => &["PutObject"],
        Op::GetBucketConfiguration | Op::PutBucketConfiguration | Op::DeleteBucketConfiguration => &["GetBucket"],
        Op::GetBucketLifecycle => &["GetBucketLifecycle"],
        Op::GetBucketVersioning | Op::PutBucketVersioning => &["GetBucketVersioning"],
        Op::GetService | Op::PutBucket | Op::DeleteBucket | Op::GetBucketLocation => &["GetService"],
    }
}

/// The same of S3, and whether they are allowed for a bucket and not for objects.
pub(super) fn actions_of_s3(op: Op) -> (&'static [&'static str], bool) {
    match op {
        Op::ListObjects | Op::HeadBucket => (&["ListBucket"], true),
        Op::ListObjectVersions => (&["ListBucketVersions"], true),
        Op::ListMultipartUploads => (&["ListBucketMultipartUploads"], true),
        Op::GetBucketLifecycle => (&["GetLifecycleConfiguration"], true),
        Op::GetBucketVersioning => (&["GetBucketVersioning"], true),
        Op::PutBucketVersioning => (&["PutBucketVersioning"], true),
        Op::GetBucketLocation => (&["GetBucketLocation"], true),
        Op::GetBucketConfiguration | Op::PutBucketConfiguration | Op::DeleteBucketConfiguration => {
            (&["ListBucket"], true)
        }
        Op::GetService | Op::PutBucket | Op::DeleteBucket => (&["ListAllMyBuckets"], true),
        Op::PutObject
        | Op::AppendObject
        | Op::InitiateMultipartUpload
        | Op::UploadPart
        | Op::CompleteMultipartUpload => (&["PutObject"], false),
        Op::CopyObject | Op::UploadPartCopy => (&["PutObject", "GetObject"], false),
        Op::GetObject | Op::HeadObject => (&["GetObject"], false),
        Op::GetObjectAttributes => (&["GetObject", "GetObjectAttributes"], false),
        Op::GetObjectTagging => (&["GetObjectTagging"], false),
        Op::PutObjectTagging => (&["PutObjectTagging"], false),
        Op::DeleteObjectTagging => (&["DeleteObjectTagging"], false),
        Op::GetObjectAcl => (&["GetObjectAcl"], false),
        Op::PutObjectAcl => (&["PutObjectAcl"], false),
        Op::RestoreObject => (&["RestoreObject"], false),
        Op::DeleteObject | Op::DeleteMultipleObjects => (&["DeleteObject"], false),
        Op::AbortMultipartUpload => (&["AbortMultipartUpload"], false),
        Op::ListParts => (&["ListMultipartUploadParts"], false),
    }
}

/// What is to be allowed so that `op` is, in COS's words.
pub(super) fn grant_of_cos(op: Op, bucket: &BucketName, prefix: &str, region: Option<&str>) -> String {
    let actions: Vec<String> = actions_of_cos(op).iter().map(|action| format!("name/cos:{action}")).collect();
    let (place, appid) = (region.unwrap_or("*"), bucket.appid());
    let resource = format!("qcs::cos:{place}:uid/{appid}:{bucket}/{prefix}*");
    format!("{} on {resource} (CAM, or the bucket's policy)", actions.join(" and "))
}

/// The same in those of S3.
pub(super) fn grant_of_s3(op: Op, bucket: &BucketName, prefix: &str) -> String {
    let (actions, is_of_bucket) = actions_of_s3(op);
    let actions: Vec<String> = actions.iter().map(|action| format!("s3:{action}")).collect();
    let below = if is_of_bucket { String::new() } else { format!("/{prefix}*") };
    format!("{} on arn:aws:s3:::{bucket}{below} (IAM, or the bucket's policy)", actions.join(" and "))
}
