//! The service's error codes as a table: usual status, meaning, and whether a repeat can help (`cos-api.md` 6.4).
//!
//! `store` turns a [`Meaning`] into its own kind of error, `server` writes the code and status. A code that is not in
//! the table, or is misspelt as the official table itself does, is judged by the status of the answer.

/// What a failure means, whatever it was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Meaning {
    /// No such object or version.
    NotFound,
    /// No such bucket.
    NoSuchBucket,
    /// No such multipart upload.
    NoSuchUpload,
    /// There is no configuration of the kind that was asked for.
    NotConfigured,
    /// The credentials do not allow it, or are not known, or the signature differs.
    Denied,
    /// The signature's time is over.
    RequestExpired,
    /// The clock of the client is more than 15 minutes off.
    ClockSkewed,
    /// The temporary key is no longer valid.
    TokenExpired,
    /// The object must be restored before it can be read.
    Archived,
    /// A precondition failed.
    PreconditionFailed,
    /// The object is the one that the client has already.
    NotModified,
    /// Something is there that must not be overwritten.
    AlreadyExists,
    /// The bucket still holds something.
    NotEmpty,
    /// Another operation holds the object or bucket for now.
    Busy,
    /// A lock forbids it.
    Locked,
    /// The range begins at or after the end of the object.
    InvalidRange,
    /// Larger than the service takes.
    TooLarge,
    /// No more than was agreed on, or the account is in arrears.
    Quota,
    /// The service has no room left.
    Full,
    /// Malformed: a wrong name, argument, or part list.
    Invalid,
    /// The service does not know the operation, or not on this object.
    Unsupported,
    /// Too many requests.
    Throttled,
    /// The service did not get the request in time.
    TimedOut,
    /// The service failed inside.
    Internal,
    /// The bytes that arrived are not those that were sent.
    Damaged,
    /// The bytes that are stored are not those that were.
    Lost,
}

/// Whether sending the same request again can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Retry {
    /// Yes, after a pause.
    Yes,
    /// No, the answer is final.
    No,
    /// After something else was done first, which the meaning tells: a new signature, a fresh key, the source read again.
    Conditional,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident $status:literal $meaning:ident $retry:ident $message:literal;)+) => {
        /// A code that the service writes into the `Code` element of an error.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code {
            $(#[doc = concat!("Usual status ", stringify!($status), ": ", $message)] $name,)+
        }

        impl Code {
            /// Every code of the table.
            pub const ALL: &[Code] = &[$(Code::$name,)+];

            /// The code as it is written.
            pub fn name(self) -> &'static str {
                match self { $(Code::$name => stringify!($name),)+ }
            }

            /// The status that usually goes with it.
            pub fn status(self) -> u16 {
                match self { $(Code::$name => $status,)+ }
            }

            /// What it means.
            pub fn meaning(self) -> Meaning {
                match self { $(Code::$name => Meaning::$meaning,)+ }
            }

            /// Whether a repeat can help.
            pub fn retry(self) -> Retry {
                match self { $(Code::$name => Retry::$retry,)+ }
            }

            /// A sentence for a person, for a server that has nothing more exact to say.
            pub fn message(self) -> &'static str {
                match self { $(Code::$name => $message,)+ }
            }

            /// The code of that name.
            pub fn parse(name: &str) -> Option<Code> {
                match name { $(stringify!($name) => Some(Code::$name),)+ _ => None }
            }
        }
    };
}

codes! {
    BadDigest 400 Damaged Conditional "The Content-MD5 you specified did not match what we received.";
    InvalidSHA1Digest 400 Damaged Conditional "The x-cos-content-sha1 you specified did not match what we received.";
    InvalidDigest 400 Invalid No "The Content-MD5 you specified is not valid.";
    IncompleteBody 400 Damaged Conditional "The body is shorter than Content-Length.";
    EntitySizeNotMatch 400 Damaged Conditional "The body is not as long as Content-Length says.";
    RequestTimeout 400 TimedOut Yes "The connection was idle for too long.";
    UserNetworkTooSlow 400 TimedOut Yes "The body arrived too slowly.";
    EntityTooLarge 400 TooLarge No "Your proposed upload exceeds the maximum allowed object size.";
    EntityTooSmall 400 Invalid No "A part that is not the last one is smaller than the smallest part.";
    InvalidPart 400 Invalid No "One or more of the specified parts could not be found or has another ETag.";
    InvalidPartOrder 400 Invalid No "The list of parts was not in ascending order.";
    ExpiredToken 400 TokenExpired Conditional "The provided token has expired.";
    InvalidArgument 400 Invalid No "Invalid argument.";
    InvalidRequest 400 Invalid No "Invalid request.";
    MalformedXML 400 Invalid No "The XML you provided was not well formed or not of the expected form.";
    InvalidURI 400 Invalid No "The URI cannot be parsed.";
    InvalidTag 400 Invalid No "A tag is not valid.";
    XAmzContentSHA256Mismatch 400 Damaged Conditional "The x-amz-content-sha256 you specified did not match what we received.";
    MetadataTooLarge 400 Invalid No "Your metadata headers exceed the maximum allowed metadata size.";
    XMLSizeLimit 400 Invalid No "The XML body is too long.";
    MissingRequestBodyError 400 Invalid No "The request body is empty.";
    UnexpectedContent 400 Invalid No "The request must not have a body.";
    InvalidDelimiter 400 Invalid No "The delimiter is not valid.";
    ListPartUploadIdIsEmpty 400 Invalid No "The upload id is empty.";
    InvalidObjectName 400 Invalid No "The object key is not valid.";
    KeyTooLong 400 Invalid No "The object key is too long.";
    InvalidBucketName 400 Invalid No "The bucket name is not valid.";
    BucketNameTooLong 400 Invalid No "The bucket name is too long.";
    InvalidRegionName 400 Invalid No "The region is not valid.";
    InvalidLocationConstraint 400 Invalid No "The location is not valid.";
    InvalidCopySource 400 Invalid No "The copy source is not valid.";
    NotSupportedStorageClass 400 Invalid No "The storage class is not supported.";
    SSEContentNotSupported 400 Invalid No "The encryption is not supported.";
    SSEHeaderNotAllowed 400 Invalid No "The encryption header is not allowed here.";
    SsecDecryptHeaderInvalid 400 Invalid No "The decryption headers are not valid.";
    KmsException 400 Internal No "The key service refused.";
    KmsKeyDisabled 400 Denied No "The encryption key is disabled.";
    KmsKeyNotExist 400 Denied No "The encryption key does not exist.";
    MissingContentMD5 400 Invalid No "This request needs a Content-MD5 header.";
    NotSymlink 400 Invalid No "The object is not a symbolic link.";
    ActionAccelerateNotSupported 400 Unsupported No "The operation is not possible through the acceleration host.";
    BucketAccelerateNotEnabled 400 Unsupported No "The bucket has no acceleration.";
    PaymentRequired 402 Quota No "The account is in arrears.";
    AccessDenied 403 Denied Conditional "Access Denied.";
    RequestTimeTooSkewed 403 ClockSkewed Conditional "The difference between the request time and the current time is too large.";
    SignatureDoesNotMatch 403 Denied No "The Signature you specified is invalid.";
    InvalidAccessKeyId 403 Denied No "The Access Key Id you provided does not exist in our records.";
    InvalidObjectState 403 Archived No "The operation is not valid for the object's storage class.";
    DownloadForbidden 403 Denied No "Objects of this kind cannot be downloaded through the default host.";
    PathStyleDomainForbidden 403 Denied No "The bucket cannot be named in the path.";
    AccessForbidden 403 Denied No "Access forbidden.";
    NoProcessAuthority 403 Denied No "No authority to process the object.";
    UserNotSourceBucketOwner 403 Denied No "The source bucket belongs to somebody else.";
    NoSuchKey 404 NotFound No "The specified key does not exist.";
    NoSuchVersion 404 NotFound No "The specified version does not exist.";
    NoSuchCopySource 404 NotFound No "The copy source does not exist.";
    NoSuchBucket 404 NoSuchBucket No "The specified bucket does not exist.";
    NoSuchUpload 404 NoSuchUpload Conditional "The specified multipart upload does not exist.";
    NoSuchTagSet 404 NotConfigured No "There are no tags.";
    NoSuchLifecycleConfiguration 404 NotConfigured No "There is no lifecycle configuration.";
    NoSuchCORSConfiguration 404 NotConfigured No "There is no CORS configuration.";
    NoSuchBucketPolicy 404 NotConfigured No "There is no bucket policy.";
    NoSuchPublicAccessBlockConfiguration 404 NotConfigured No "There is no configuration of public access.";
    OwnershipControlsNotFoundError 404 NotConfigured No "There are no ownership controls.";
    NoSuchWebsiteConfiguration 404 NotConfigured No "There is no website configuration.";
    ReplicationConfigurationNotFoundError 404 NotConfigured No "There is no replication configuration.";
    NoSuchEncryptionConfiguration 404 NotConfigured No "There is no encryption configuration.";
    MethodNotAllowed 405 Unsupported No "The specified method is not allowed against this resource.";
    RestoreNonArchiveObject 405 Unsupported No "The object is not archived.";
    UploadIdNotSupported 405 Unsupported No "An upload id is not supported here.";
    PathConflict 409 Busy Yes "Another request is writing the same key.";
    UploadConflict 409 Busy Yes "Too many uploads of the same key.";
    ConditionalRequestConflict 409 Busy Yes "Another request about the same key was carried out meanwhile.";
    FileAlreadyExists 409 AlreadyExists No "The object exists already.";
    ObjectLocked 409 Locked No "The object is locked.";
    BucketLocked 409 Locked No "The bucket is locked.";
    AppendPositionErr 409 PreconditionFailed Conditional "The position is not the length of the object.";
    ObjectNotAppendable 409 Unsupported No "The object is not appendable.";
    InvalidBucketState 409 Busy No "The operation is not valid for the bucket's state.";
    RestoreAlreadyInProgress 409 Busy No "The object is being restored already.";
    BucketNotEmpty 409 NotEmpty No "The bucket you tried to delete is not empty.";
    BucketAlreadyExists 409 AlreadyExists No "The bucket exists already.";
    BucketAlreadyOwnedByYou 409 AlreadyExists No "The bucket exists already and is yours.";
    QuotaConflict 409 Quota No "Another quota request is running.";
    MissingContentLength 411 Invalid No "You must provide the Content-Length HTTP header.";
    PreconditionFailed 412 PreconditionFailed No "Precondition Failed.";
    InvalidRange 416 InvalidRange No "The requested range cannot be satisfied.";
    UnavailableForLegalReasons 451 Denied No "The content is blocked.";
    DomainAuditFailed 451 Denied No "The domain is blocked.";
    InternalError 500 Internal Yes "We encountered an internal error. Please try again.";
    DamagedObject 500 Lost No "The stored bytes of the object are damaged.";
    KmsInternalException 500 Internal Yes "The key service failed.";
    NotImplemented 501 Unsupported No "This operation is not implemented.";
    ServiceUnavailable 503 Throttled Yes "The service is unavailable for now.";
    SlowDown 503 Throttled Yes "Reduce your request rate.";
    KmsFreqControl 503 Throttled Yes "Too many requests to the key service.";
    InsufficientStorage 507 Full No "The service has no room left on its disk.";
}

/// The judgement on one failed answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The code, if it is one of the table.
    pub code: Option<Code>,
    /// What it means.
    pub meaning: Meaning,
    /// Whether a repeat can help.
    pub retry: Retry,
}

/// Judges a failed answer by its status, `Code` and `Message`; both texts are empty where there was no body.
///
/// Some answers have the general code `AccessDenied` and the specific one as the message (`cos-api.md` 2.9), so the
/// message is consulted for that code.
pub fn classify(status: u16, code: &str, message: &str) -> Failure {
    const EXPIRED: &str = "Request has expired";
    let (code, message) = (code.trim(), message.trim());
    let named = match Code::parse(code) {
        Some(Code::AccessDenied) => Code::parse(message.trim_end_matches('.')).or(Some(Code::AccessDenied)),
        other => other,
    };
    match named {
        Some(Code::AccessDenied) if message.starts_with(EXPIRED) => {
            Failure { code: named, meaning: Meaning::RequestExpired, retry: Retry::Conditional }
        }
        // Without that message there is nothing to do differently the next time.
        Some(Code::AccessDenied) => Failure { code: named, meaning: Meaning::Denied, retry: Retry::No },
        // The one code that the table has under two statuses: 409 is a conflict of states, not an archive.
        Some(Code::InvalidObjectState) if status == 409 => {
            Failure { code: named, meaning: Meaning::Busy, retry: Retry::No }
        }
        Some(known) => Failure { code: named, meaning: known.meaning(), retry: known.retry() },
        None if code == EXPIRED => Failure { code: None, meaning: Meaning::RequestExpired, retry: Retry::Conditional },
        None => by_status(status),
    }
}

/// Whether a code that is not in the table is about a key or token: the names under which gateways and other services of the
/// same cloud tell of one that is over or not known.
pub fn is_of_token(code: &str) -> bool {
    const NAMES: [&str; 6] = [
        "TokenExpired",
        "InvalidToken",
        "InvalidSecurityToken",
        "SecurityTokenExpired",
        "AuthFailure.TokenFailure",
        "AuthFailure.SecretIdNotFound",
    ];
    NAMES.contains(&code.trim())
}

fn by_status(status: u16) -> Failure {
    let (meaning, retry) = match status {
        304 => (Meaning::NotModified, Retry::No),
        402 => (Meaning::Quota, Retry::No),
        401 | 403 | 451 => (Meaning::Denied, Retry::No),
        404 => (Meaning::NotFound, Retry::No),
        405 | 501 => (Meaning::Unsupported, Retry::No),
        408 => (Meaning::TimedOut, Retry::Yes),
        // Not PathConflict by name, so nothing says that it passes.
        409 => (Meaning::Busy, Retry::No),
        412 => (Meaning::PreconditionFailed, Retry::No),
        413 => (Meaning::TooLarge, Retry::No),
        416 => (Meaning::InvalidRange, Retry::No),
        429 | 503 => (Meaning::Throttled, Retry::Yes),
        504 => (Meaning::TimedOut, Retry::Yes),
        507 => (Meaning::Full, Retry::No),
        500.. => (Meaning::Internal, Retry::Yes),
        _ => (Meaning::Invalid, Retry::No),
    };
    Failure { code: None, meaning, retry }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_found_by_its_name() {
        for &code in Code::ALL {
            assert_eq!(Code::parse(code.name()), Some(code));
            assert!((400..600).contains(&code.status()), "{code:?}");
        }
        assert_eq!(Code::parse("nosuchkey"), None);
    }

    #[test]
    fn a_failure_is_judged_by_code_then_message_then_status() {
        use Meaning as M;
        use Retry as R;
        let table = [
            (404, "NoSuchKey", "", M::NotFound, R::No),
            (404, "", "", M::NotFound, R::No),
            (404, "NoSuchUpload", "", M::NoSuchUpload, R::Conditional),
            (400, "RequestTimeout", "", M::TimedOut, R::Yes),
            (400, "BadRquest", "", M::Invalid, R::No),
            (409, "ObjectNotAppendale", "", M::Busy, R::No),
            (409, "PathConflict", "", M::Busy, R::Yes),
            (403, "AccessDenied", "Access Denied.", M::Denied, R::No),
            (403, "AccessDenied", "Request has expired", M::RequestExpired, R::Conditional),
            (403, "Request has expired", "", M::RequestExpired, R::Conditional),
            (403, "AccessDenied", "RequestTimeTooSkewed", M::ClockSkewed, R::Conditional),
            (403, "AccessDenied", "InvalidObjectState", M::Archived, R::No),
            (403, "AccessDenied", "SignatureDoesNotMatch.", M::Denied, R::No),
            (403, "ExpiredToken", "", M::TokenExpired, R::Conditional),
            (409, "InvalidObjectState", "", M::Busy, R::No),
            (200, "SlowDown", "", M::Throttled, R::Yes),
            (200, "InternalError", "", M::Internal, R::Yes),
            (502, "", "", M::Internal, R::Yes),
            (504, "", "", M::TimedOut, R::Yes),
            (507, "", "", M::Full, R::No),
            (507, "InsufficientStorage", "", M::Full, R::No),
            (500, "DamagedObject", "", M::Lost, R::No),
            (599, "Whatever", "", M::Internal, R::Yes),
            (418, "Teapot", "", M::Invalid, R::No),
        ];
        for (status, code, message, meaning, retry) in table {
            let failure = classify(status, code, message);
            assert_eq!((failure.meaning, failure.retry), (meaning, retry), "{status} {code} {message}");
        }
    }
}
