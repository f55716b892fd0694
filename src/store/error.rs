//! What went wrong at the service, as a meaning.

use std::fmt;
use std::sync::Arc;

use crate::wire::Op;

/// What an error of the service means to a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StoreErrorKind {
    /// No such object.
    NotFound,
    /// No such bucket.
    NoSuchBucket,
    /// No such multipart upload: never begun, completed, or aborted.
    NoSuchUpload,
    /// The credentials do not allow it, or are not known, or the signature differs.
    Denied,
    /// The object is archived and must be restored before it can be read.
    Archived,
    /// A precondition failed: the object is not the version that the caller named.
    Changed,
    /// Something is there already that must not be overwritten.
    AlreadyExists,
    /// The bucket still holds something.
    NotEmpty,
    /// The object is held by a lock or a running operation.
    Busy,
    /// The range begins at or after the end of the object.
    InvalidRange,
    /// Larger than the service takes.
    TooLarge,
    /// A part's number is larger than the service takes.
    TooManyParts,
    /// More than was agreed on with the service, or the account is in arrears.
    Quota,
    /// The service has no room left.
    Full,
    /// The service refused the request as malformed: a wrong name, argument or part list.
    Invalid,
    /// The service does not know the operation.
    Unsupported,
    /// The service asked to slow down, and still did after all retries.
    Throttled,
    /// No answer within the deadline.
    TimedOut,
    /// The service could not be reached, or the connection broke, and still did after all retries.
    Unreachable,
    /// The service failed inside, and still did after all retries.
    Internal,
    /// Bytes arrived that are not the bytes that were sent: a checksum or length differs.
    Corrupted,
    /// An answer that the protocol does not allow.
    Protocol,
}

impl StoreErrorKind {
    /// A name for programs, such as the label of a metric.
    pub fn name(self) -> &'static str {
        match self {
            StoreErrorKind::NotFound => "not_found",
            StoreErrorKind::NoSuchBucket => "no_such_bucket",
            StoreErrorKind::NoSuchUpload => "no_such_upload",
            StoreErrorKind::Denied => "denied",
            StoreErrorKind::Archived => "archived",
            StoreErrorKind::Changed => "changed",
            StoreErrorKind::AlreadyExists => "already_exists",
            StoreErrorKind::NotEmpty => "not_empty",
            StoreErrorKind::Busy => "busy",
            StoreErrorKind::InvalidRange => "invalid_range",
            StoreErrorKind::TooLarge => "too_large",
            StoreErrorKind::TooManyParts => "too_many_parts",
            StoreErrorKind::Quota => "quota",
            StoreErrorKind::Full => "full",
            StoreErrorKind::Invalid => "invalid",
            StoreErrorKind::Unsupported => "unsupported",
            StoreErrorKind::Throttled => "throttled",
            StoreErrorKind::TimedOut => "timed_out",
            StoreErrorKind::Unreachable => "unreachable",
            StoreErrorKind::Internal => "internal",
            StoreErrorKind::Corrupted => "corrupted",
            StoreErrorKind::Protocol => "protocol",
        }
    }
}

impl fmt::Display for StoreErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StoreErrorKind::NotFound => "no such object",
            StoreErrorKind::NoSuchBucket => "no such bucket",
            StoreErrorKind::NoSuchUpload => "no such multipart upload",
            StoreErrorKind::Denied => "access denied",
            StoreErrorKind::Archived => "archived, bring it back with `cosmount restore PATH`",
            StoreErrorKind::Changed => "changed by somebody else",
            StoreErrorKind::AlreadyExists => "already exists",
            StoreErrorKind::NotEmpty => "not empty",
            StoreErrorKind::Busy => "busy",
            StoreErrorKind::InvalidRange => "range outside the object",
            StoreErrorKind::TooLarge => "too large",
            StoreErrorKind::TooManyParts => "too many parts",
            StoreErrorKind::Quota => "over quota",
            StoreErrorKind::Full => "no room left at the service",
            StoreErrorKind::Invalid => "refused as invalid",
            StoreErrorKind::Unsupported => "not supported by the service",
            StoreErrorKind::Throttled => "told to slow down",
            StoreErrorKind::TimedOut => "timed out",
            StoreErrorKind::Unreachable => "service unreachable",
            StoreErrorKind::Internal => "internal error of the service",
            StoreErrorKind::Corrupted => "bytes damaged on the way",
            StoreErrorKind::Protocol => "unexpected answer",
        })
    }
}

/// What stands between this machine and the service, where that can be told from how an exchange broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// The host's name has no address.
    Name,
    /// The proxy cannot be reached, or refuses.
    Proxy,
    /// What listens there does not speak TLS.
    NotTls,
    /// What listens there does not speak plain HTTP.
    NotHttp,
    /// The certificate is from an authority that this machine does not know.
    UnknownAuthority,
    /// The certificate's time is over.
    Expired,
    /// The certificate's time has not come.
    NotYetValid,
    /// The certificate is for other hosts than this.
    OtherName,
    /// The certificate is refused for another reason.
    Certificate,
    /// This machine knows no authority at all.
    NoAuthorities,
    /// What answers is an S3 service.
    S3,
}

impl Obstacle {
    /// Whether it is there the next time too, as far as one can tell who has never had an answer.
    pub(super) fn is_lasting(self) -> bool {
        !matches!(self, Obstacle::Proxy)
    }

    /// Whether a certificate is refused, which is one of these again the next time.
    pub(super) fn is_of_certificate(self) -> bool {
        use Obstacle::{Certificate, Expired, NotYetValid, OtherName, UnknownAuthority};
        matches!(self, UnknownAuthority | Expired | NotYetValid | OtherName | Certificate)
    }
}

/// A request that failed for good. Cheap to clone, because one failure may have to be told to many callers.
#[derive(Clone, Debug)]
pub struct StoreError {
    /// The meaning.
    pub kind: StoreErrorKind,
    /// The operation; `None` where this side gave up before a request or between two.
    pub op: Option<Op>,
    /// The key or prefix that the request was about; empty for the bucket itself.
    pub key: String,
    /// HTTP status; 0 where there was no answer.
    pub status: u16,
    /// The service's `Code`; empty where it gave none.
    pub code: String,
    /// `x-cos-request-id`; empty where there was none.
    pub request_id: String,
    /// The service's message, or what the transport said. Never holds a secret.
    pub message: String,
    /// What stood in the way, where it is known.
    pub obstacle: Option<Obstacle>,
    /// The region that the bucket is in, where the answer tells.
    pub region: Option<Box<str>>,
    /// The error underneath, where there is one.
    pub source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl StoreError {
    /// Whether the version that was asked for is not there any more: the object is gone, or is another one.
    pub fn is_of_version_gone(&self) -> bool {
        matches!(self.kind, StoreErrorKind::NotFound | StoreErrorKind::Changed)
    }

    /// An error without an answer from the service.
    pub fn new(
        kind: StoreErrorKind,
        op: impl Into<Option<Op>>,
        key: impl Into<String>,
        message: impl Into<String>,
    ) -> StoreError {
        StoreError {
            kind,
            op: op.into(),
            key: key.into(),
            status: 0,
            code: String::new(),
            request_id: String::new(),
            message: message.into(),
            obstacle: None,
            region: None,
            source: None,
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(op) = self.op {
            write!(f, "{op} ")?;
        }
        write!(f, "{:?}: {}", self.key, self.kind)?;
        let mut facts = Vec::new();
        if self.status != 0 {
            facts.push(format!("status {}", self.status));
        }
        if !self.code.is_empty() {
            facts.push(format!("code {}", self.code));
        }
        if !self.request_id.is_empty() {
            facts.push(format!("request {}", self.request_id));
        }
        if !facts.is_empty() {
            write!(f, " ({})", facts.join(", "))?;
        }
        if !self.message.is_empty() {
            write!(f, ": {}", self.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| &**source as &(dyn std::error::Error + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_tells_what_was_tried_and_what_was_answered() {
        let mut error = StoreError::new(StoreErrorKind::Denied, Op::UploadPart, "a/b", "Access Denied.");
        error.status = 403;
        error.code = "AccessDenied".into();
        error.request_id = "NTg3".into();
        let expected =
            "UploadPart \"a/b\": access denied (status 403, code AccessDenied, request NTg3): Access Denied.";
        assert_eq!(error.to_string(), expected);
    }
}
