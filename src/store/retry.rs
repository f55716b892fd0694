//! Whether a request that failed is worth another try, and when: values in, values out.
//!
//! The policy: full-jitter exponential back-off within a deadline. What the service calls final is final, and what only
//! a changed request can mend (a new signature, the body once more) is tried a fixed number of times. Which failures
//! are of which kind is the wire's table of codes (`cos-api.md` 6.4). Nothing here waits or sends.
//!
//! Every operation of the store may be repeated, because what it makes of the bucket is the same the second time: parts
//! and objects are overwritten by themselves, what is gone stays gone. Three need more than that, and their callers see
//! to it: Complete, whose repeat finds the upload gone (settled by HEAD and checksum); the copy of an object onto
//! itself, whose repeat may find another version (settled by HEAD); and Initiate, whose lost answer leaves an upload
//! without parts behind, which `cosmount`'s users clear with a lifecycle rule.

use std::time::Duration;

use super::StoreErrorKind;
use super::credential_cache::Suspicion;
use crate::wire::code::{Code, Failure, Meaning, Retry, classify, is_of_token};

/// How long and how often to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryOptions {
    /// No attempt begins later than this after the first one, and none takes longer, but for what its bytes or the
    /// service's work take: `pace` and `session` say how much that is.
    pub deadline: Duration,
    /// The longest pause before the second attempt; doubles with each further one.
    pub pause_first: Duration,
    /// The longest pause of all.
    pub pause_max: Duration,
}

impl Default for RetryOptions {
    fn default() -> RetryOptions {
        RetryOptions {
            // Callers of close() and read() wait this long at most before they learn that the service is gone. A network that
            // is away for a minute fails nobody: what was silent twice for half a minute is sent a third time.
            deadline: Duration::from_secs(90),
            // A busy service recovers in some 100 ms; with full jitter half the repeats come sooner.
            pause_first: Duration::from_millis(100),
            // Rare enough not to be a load, often enough to notice within the deadline that the service is back.
            pause_max: Duration::from_secs(10),
        }
    }
}

/// What could make the next attempt succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remedy {
    /// Nothing.
    None,
    /// Time.
    Pause,
    /// The same bytes once more: they were damaged on the way.
    Resend,
    /// A signature by the service's clock.
    Resign,
    /// A signature with another key.
    Renew,
}

/// How often damaged bytes are sent again. Two in a row come from memory or a broken proxy, not from bad luck.
const RESENDS_MAX: u32 = 2;
/// How often the clock is corrected: to that of an answer, and back, if that was the clock of one machine behind the service or
/// another request was told of it. If the third signature is too old as well, it is not the clock.
const RESIGNS_MAX: u32 = 2;

/// How often a request is signed with another key. If that is refused too, it is not the key.
const RENEWALS_MAX: u32 = 1;

/// The attempts at one request so far.
#[derive(Debug)]
pub(super) struct Attempts {
    options: RetryOptions,
    pauses: u32,
    resends: u32,
    resigns: u32,
    renewals: u32,
}

impl Attempts {
    /// None yet.
    pub(super) fn new(options: RetryOptions) -> Attempts {
        Attempts { options, pauses: 0, resends: 0, resigns: 0, renewals: 0 }
    }

    /// How long to pause before the next attempt, or `None` for giving up. `elapsed` is the time since the first
    /// attempt began.
    pub(super) fn after_failure(
        &mut self,
        remedy: Remedy,
        elapsed: Duration,
        random: &mut fastrand::Rng,
    ) -> Option<Duration> {
        match remedy {
            Remedy::None => None,
            Remedy::Resign if self.resigns < RESIGNS_MAX => {
                self.resigns += 1;
                Some(Duration::ZERO)
            }
            Remedy::Renew if self.renewals < RENEWALS_MAX => {
                self.renewals += 1;
                Some(Duration::ZERO)
            }
            Remedy::Resend if self.resends < RESENDS_MAX => {
                self.resends += 1;
                self.within_deadline(Duration::ZERO, elapsed)
            }
            Remedy::Resign | Remedy::Renew | Remedy::Resend => None,
            Remedy::Pause => {
                let doubled = self.options.pause_first.saturating_mul(1 << self.pauses.min(20));
                self.pauses += 1;
                let longest = doubled.min(self.options.pause_max);
                self.within_deadline(longest.mul_f64(random.f64()), elapsed)
            }
        }
    }

    /// Time until the last attempt may begin.
    pub(super) fn left(&self, elapsed: Duration) -> Duration {
        self.options.deadline.saturating_sub(elapsed)
    }

    fn within_deadline(&self, pause: Duration, elapsed: Duration) -> Option<Duration> {
        (elapsed.saturating_add(pause) < self.options.deadline).then_some(pause)
    }
}

/// What may help against a failure that the service told. `clock_off` says whether its `Date` shows that our clock
/// differs from its own, which is all that the answer to a HEAD tells (`cos-api.md` 2.9).
pub(super) fn remedy(failure: Failure, clock_off: bool) -> Remedy {
    match (failure.meaning, failure.retry) {
        (Meaning::ClockSkewed | Meaning::RequestExpired, _) => Remedy::Resign,
        (Meaning::Denied, _) if clock_off && failure.code.is_none() => Remedy::Resign,
        (Meaning::Damaged, _) => Remedy::Resend,
        (_, Retry::Yes) => Remedy::Pause,
        (_, Retry::No | Retry::Conditional) => Remedy::None,
    }
}

/// What a refusal says of the key that the request was signed with, by code and message.
pub(super) fn suspicion((code, message): (&str, &str), status: u16) -> Option<Suspicion> {
    let failure = classify(status, code, message);
    // A signature also differs when a file was read while somebody wrote a new key into it.
    let is_of_key = matches!(failure.code, Some(Code::InvalidAccessKeyId | Code::SignatureDoesNotMatch));
    if matches!(failure.meaning, Meaning::TokenExpired) || code.trim().ends_with("TokenExpired") {
        return Some(Suspicion::Over);
    }
    if is_of_key || failure.meaning == Meaning::RequestExpired || is_of_token(code) {
        return Some(Suspicion::Unknown);
    }
    // An answer to HEAD has no code, and the code of a token that is wrong is not documented.
    let is_vague = code.is_empty() && matches!(status, 400 | 401) || failure.meaning == Meaning::Denied;
    is_vague.then_some(Suspicion::Vague)
}

/// Whether a refusal is what a request gets that was damaged on the way: its signature does not fit, its host names another
/// bucket, or it is no request at all, which only a server that did not come to know the operation says without a code.
pub(super) fn speaks_of_damage(failure: Failure, status: u16) -> bool {
    match failure.code {
        Some(Code::SignatureDoesNotMatch | Code::NoSuchBucket) => true,
        Some(_) => false,
        None => matches!(status, 400 | 405 | 501 | 505),
    }
}

/// The store's name for what the wire says.
pub(super) fn kind(meaning: Meaning) -> StoreErrorKind {
    match meaning {
        Meaning::NotFound | Meaning::NotConfigured => StoreErrorKind::NotFound,
        Meaning::NoSuchBucket => StoreErrorKind::NoSuchBucket,
        Meaning::NoSuchUpload => StoreErrorKind::NoSuchUpload,
        Meaning::Denied | Meaning::RequestExpired | Meaning::ClockSkewed | Meaning::TokenExpired | Meaning::Locked => {
            StoreErrorKind::Denied
        }
        Meaning::Archived => StoreErrorKind::Archived,
        Meaning::PreconditionFailed => StoreErrorKind::Changed,
        // We send no condition that 304 answers.
        Meaning::NotModified => StoreErrorKind::Protocol,
        Meaning::AlreadyExists => StoreErrorKind::AlreadyExists,
        Meaning::NotEmpty => StoreErrorKind::NotEmpty,
        Meaning::Busy => StoreErrorKind::Busy,
        Meaning::InvalidRange => StoreErrorKind::InvalidRange,
        Meaning::TooLarge => StoreErrorKind::TooLarge,
        Meaning::Quota => StoreErrorKind::Quota,
        Meaning::Full => StoreErrorKind::Full,
        Meaning::Invalid => StoreErrorKind::Invalid,
        Meaning::Unsupported => StoreErrorKind::Unsupported,
        Meaning::Throttled => StoreErrorKind::Throttled,
        Meaning::TimedOut => StoreErrorKind::TimedOut,
        Meaning::Internal => StoreErrorKind::Internal,
        Meaning::Damaged | Meaning::Lost => StoreErrorKind::Corrupted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    const OPTIONS: RetryOptions = RetryOptions {
        deadline: Duration::from_secs(60),
        pause_first: Duration::from_millis(100),
        pause_max: Duration::from_secs(10),
    };

    #[test]
    fn pauses_are_jittered_and_their_bound_doubles_up_to_the_cap() {
        let mut random = fastrand::Rng::with_seed(7);
        let mut attempts = Attempts::new(OPTIONS);
        let mut pauses = Vec::new();
        for bound_ms in [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000] {
            let pause = attempts.after_failure(Remedy::Pause, Duration::ZERO, &mut random).unwrap();
            assert!(pause <= Duration::from_millis(bound_ms), "{pause:?} of {bound_ms} ms");
            pauses.push(pause);
        }
        pauses.dedup();
        assert!(pauses.len() > 5, "jitter spreads: {pauses:?}");
        for _ in 0..100 {
            assert!(attempts.after_failure(Remedy::Pause, Duration::ZERO, &mut random).unwrap() <= OPTIONS.pause_max);
        }
    }

    #[test]
    fn no_attempt_begins_after_the_deadline() {
        let mut random = fastrand::Rng::with_seed(7);
        let mut attempts = Attempts::new(OPTIONS);
        assert!(attempts.after_failure(Remedy::Pause, Duration::from_secs(59), &mut random).is_some());
        assert_eq!(attempts.after_failure(Remedy::Pause, OPTIONS.deadline, &mut random), None);
        assert_eq!(attempts.after_failure(Remedy::Resend, OPTIONS.deadline, &mut random), None);
    }

    #[test]
    fn signatures_and_damaged_bytes_are_mended_a_fixed_number_of_times() {
        let mut random = fastrand::Rng::with_seed(7);
        let mut attempts = Attempts::new(OPTIONS);
        let mut next = |remedy| attempts.after_failure(remedy, Duration::ZERO, &mut random).is_some();
        assert_eq!([next(Remedy::Resign), next(Remedy::Resign), next(Remedy::Resign)], [true, true, false]);
        assert_eq!([next(Remedy::Resend), next(Remedy::Resend), next(Remedy::Resend)], [true, true, false]);
        assert!(!next(Remedy::None));
    }

    #[test]
    fn what_a_refusal_says_of_the_key_follows_from_its_code() {
        let table = [
            (400, "ExpiredToken", "", Some(Suspicion::Over)),
            (403, "ExpiredToken", "", Some(Suspicion::Over)),
            (403, "AccessDenied", "ExpiredToken", Some(Suspicion::Over)),
            (403, "TokenExpired", "", Some(Suspicion::Over)),
            (403, "InvalidAccessKeyId", "", Some(Suspicion::Unknown)),
            (403, "AccessDenied", "InvalidAccessKeyId", Some(Suspicion::Unknown)),
            (403, "SignatureDoesNotMatch", "", Some(Suspicion::Unknown)),
            (403, "AccessDenied", "Request has expired", Some(Suspicion::Unknown)),
            (401, "InvalidToken", "", Some(Suspicion::Unknown)),
            (403, "AccessDenied", "Access Denied.", Some(Suspicion::Vague)),
            (403, "", "", Some(Suspicion::Vague)),
            (400, "", "", Some(Suspicion::Vague)),
            (400, "InvalidArgument", "", None),
            (404, "", "", None),
            (404, "NoSuchBucket", "", None),
            (503, "SlowDown", "", None),
        ];
        for (status, code, message, expected) in table {
            assert_eq!(suspicion((code, message), status), expected, "{status} {code} {message}");
        }
    }

    #[test]
    fn what_may_help_follows_from_what_was_answered() {
        let table = [
            (500, "InternalError", "", false, Remedy::Pause),
            (502, "", "", false, Remedy::Pause),
            (503, "SlowDown", "", false, Remedy::Pause),
            (200, "SlowDown", "", false, Remedy::Pause),
            (409, "PathConflict", "", false, Remedy::Pause),
            (409, "UploadConflict", "", false, Remedy::Pause),
            (400, "RequestTimeout", "", false, Remedy::Pause),
            (400, "BadDigest", "", false, Remedy::Resend),
            (400, "IncompleteBody", "", false, Remedy::Resend),
            (403, "RequestTimeTooSkewed", "", false, Remedy::Resign),
            (403, "AccessDenied", "Request has expired", false, Remedy::Resign),
            (403, "AccessDenied", "Access Denied.", true, Remedy::None),
            (403, "", "", true, Remedy::Resign),
            (403, "", "", false, Remedy::None),
            (403, "SignatureDoesNotMatch", "", true, Remedy::None),
            (404, "NoSuchUpload", "", false, Remedy::None),
            (412, "PreconditionFailed", "", false, Remedy::None),
            (400, "InvalidPart", "", false, Remedy::None),
            (501, "NotImplemented", "", false, Remedy::None),
            (507, "InsufficientStorage", "", false, Remedy::None),
            (500, "DamagedObject", "", false, Remedy::None),
        ];
        for (status, code, message, clock_off, expected) in table {
            assert_eq!(remedy(classify(status, code, message), clock_off), expected, "{status} {code} {message}");
        }
    }
}
