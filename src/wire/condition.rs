//! The four conditions of a request and what they say of an object, and what a write may replace.

use std::time::SystemTime;

use super::date;
use super::request::{HeaderPair, Headers};
use crate::object::ETag;
use crate::object::time::whole_seconds;

/// Which ETags a condition names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ETagMatch {
    /// `*`: any object at all.
    Any,
    /// One of these.
    OneOf(Vec<ETag>),
}

impl ETagMatch {
    /// Reads the value of `If-Match` or `If-None-Match`. Bare ETags are taken as quoted ones (`cos-api.md` 3.3).
    pub fn parse(value: &str) -> ETagMatch {
        if value.trim() == "*" {
            return ETagMatch::Any;
        }
        let tags = value.split(',').map(|tag| tag.trim().trim_start_matches("W/")).filter(|tag| !tag.is_empty());
        ETagMatch::OneOf(tags.map(ETag::new).collect())
    }

    fn header(&self) -> String {
        match self {
            ETagMatch::Any => "*".to_owned(),
            ETagMatch::OneOf(tags) => tags.iter().map(ETag::quoted).collect::<Vec<_>>().join(", "),
        }
    }

    fn matches(&self, etag: &ETag) -> bool {
        match self {
            ETagMatch::Any => true,
            ETagMatch::OneOf(tags) => tags.contains(etag),
        }
    }
}

impl From<ETag> for ETagMatch {
    fn from(etag: ETag) -> ETagMatch {
        ETagMatch::OneOf(vec![etag])
    }
}

/// The conditions of a GET, HEAD, or copy source. Dates are in whole seconds, as headers have them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// `If-Match`: only if it is this version.
    pub if_match: Option<ETagMatch>,
    /// `If-None-Match`: only if it is another version.
    pub if_none_match: Option<ETagMatch>,
    /// `If-Modified-Since`: only if it was written after that.
    pub if_modified_since: Option<SystemTime>,
    /// `If-Unmodified-Since`: only if it was not written after that.
    pub if_unmodified_since: Option<SystemTime>,
}

/// What the conditions say of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Answer as if there were no conditions.
    Proceed,
    /// 304: the client has it already.
    NotModified,
    /// 412.
    Failed,
}

/// The header by which COS is told not to replace anything (`cos-api.md` 3.10).
const FORBID_OVERWRITE: &str = "x-cos-forbid-overwrite";

/// What a write may replace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Overwrite {
    /// Whatever is there.
    #[default]
    Allowed,
    /// Nothing, with `FileAlreadyExists` where there is an object: COS's `x-cos-forbid-overwrite`, which has no effect in a
    /// bucket with versions (`cos-api.md` 3.10).
    Forbidden,
    /// Nothing, with `PreconditionFailed` where there is an object: S3's `If-None-Match: *`.
    IfAbsent,
    /// Only this version: S3's `If-Match`.
    OnlyOf(ETag),
}

impl Overwrite {
    /// Reads it from the headers of a write.
    pub fn from_headers(headers: Headers<'_>) -> Overwrite {
        if headers.get(FORBID_OVERWRITE).is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Overwrite::Forbidden;
        }
        let [if_match, if_none_match, ..] = OF_OBJECT;
        match (headers.get(if_none_match).map(ETagMatch::parse), headers.get(if_match).map(ETagMatch::parse)) {
            (Some(ETagMatch::Any), _) => Overwrite::IfAbsent,
            (_, Some(ETagMatch::OneOf(tags))) => tags.into_iter().next().map_or(Overwrite::Allowed, Overwrite::OnlyOf),
            _ => Overwrite::Allowed,
        }
    }

    pub(super) fn push(&self, headers: &mut Vec<HeaderPair>) {
        let [if_match, if_none_match, ..] = OF_OBJECT;
        match self {
            Overwrite::Allowed => {}
            Overwrite::Forbidden => headers.push((FORBID_OVERWRITE.into(), "true".to_owned())),
            Overwrite::IfAbsent => headers.push((if_none_match.into(), ETagMatch::Any.header())),
            Overwrite::OnlyOf(etag) => headers.push((if_match.into(), etag.quoted())),
        }
    }
}

/// The header names of the four conditions, in the order of the fields.
type Names = [&'static str; 4];
const OF_OBJECT: Names = ["if-match", "if-none-match", "if-modified-since", "if-unmodified-since"];
const OF_COPY_SOURCE: Names = [
    "x-cos-copy-source-if-match",
    "x-cos-copy-source-if-none-match",
    "x-cos-copy-source-if-modified-since",
    "x-cos-copy-source-if-unmodified-since",
];

impl Conditions {
    /// Only if the object is the version `etag`, or none if that is `None`.
    pub fn matching(etag: Option<ETag>) -> Conditions {
        Conditions { if_match: etag.map(ETagMatch::from), ..Conditions::default() }
    }

    /// The conditions of a GET or HEAD. A date that cannot be read is no condition (RFC 9110, 13.1.3).
    pub fn of_object(headers: Headers<'_>) -> Conditions {
        Conditions::read(headers, OF_OBJECT)
    }

    /// The conditions on the source of a copy.
    pub fn of_copy_source(headers: Headers<'_>) -> Conditions {
        Conditions::read(headers, OF_COPY_SOURCE)
    }

    fn read(headers: Headers<'_>, [matches, differs, since, until]: Names) -> Conditions {
        Conditions {
            if_match: headers.get(matches).map(ETagMatch::parse),
            if_none_match: headers.get(differs).map(ETagMatch::parse),
            if_modified_since: headers.get(since).and_then(date::parse),
            if_unmodified_since: headers.get(until).and_then(date::parse),
        }
    }

    pub(super) fn push_of_object(&self, headers: &mut Vec<HeaderPair>) {
        self.push(headers, OF_OBJECT);
    }

    pub(super) fn push_of_copy_source(&self, headers: &mut Vec<HeaderPair>) {
        self.push(headers, OF_COPY_SOURCE);
    }

    fn push(&self, headers: &mut Vec<HeaderPair>, [matches, differs, since, until]: Names) {
        let values = [
            (matches, self.if_match.as_ref().map(ETagMatch::header)),
            (differs, self.if_none_match.as_ref().map(ETagMatch::header)),
            (since, self.if_modified_since.map(date::http)),
            (until, self.if_unmodified_since.map(date::http)),
        ];
        headers.extend(values.into_iter().filter_map(|(name, value)| Some((name.into(), value?))));
    }

    /// Judges an object for GET and HEAD, in the order of RFC 9110, 13.2.2, because the service's own order is not
    /// documented (`cos-api.md` 3.3): a condition on ETags makes the one on dates of the same kind void.
    pub fn verdict(&self, etag: &ETag, last_modified: SystemTime) -> Verdict {
        // Headers show no fractions, so a client that gives back what it was told must not be behind by one.
        let last_modified = whole_seconds(last_modified);
        let holds = match (&self.if_match, self.if_unmodified_since) {
            (Some(tags), _) => tags.matches(etag),
            (None, Some(date)) => last_modified <= date,
            (None, None) => true,
        };
        if !holds {
            return Verdict::Failed;
        }
        let same = match (&self.if_none_match, self.if_modified_since) {
            (Some(tags), _) => tags.matches(etag),
            (None, Some(date)) => last_modified <= date,
            (None, None) => false,
        };
        if same { Verdict::NotModified } else { Verdict::Proceed }
    }

    /// Judges the source of a copy, where any condition that fails is a 412 (`cos-api.md` 3.6).
    pub fn all_hold(&self, etag: &ETag, last_modified: SystemTime) -> bool {
        let last_modified = whole_seconds(last_modified);
        self.if_match.as_ref().is_none_or(|tags| tags.matches(etag))
            && self.if_none_match.as_ref().is_none_or(|tags| !tags.matches(etag))
            && self.if_modified_since.is_none_or(|date| last_modified > date)
            && self.if_unmodified_since.is_none_or(|date| last_modified <= date)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn verdicts_follow_the_rfc_and_copies_are_stricter() {
        let same = || Some(ETagMatch::from(ETag::new("a")));
        let other = || Some(ETagMatch::parse("\"b\", W/\"c\""));
        let (old, new) = (Some(at(50)), Some(at(150)));
        let table = [
            ((None, None, None, None), Verdict::Proceed, true),
            ((same(), None, None, None), Verdict::Proceed, true),
            ((Some(ETagMatch::Any), None, None, None), Verdict::Proceed, true),
            ((other(), None, None, None), Verdict::Failed, false),
            ((None, same(), None, None), Verdict::NotModified, false),
            ((None, other(), None, None), Verdict::Proceed, true),
            ((None, None, old, None), Verdict::Proceed, true),
            ((None, None, new, None), Verdict::NotModified, false),
            ((None, None, None, old), Verdict::Failed, false),
            ((None, None, None, new), Verdict::Proceed, true),
            ((same(), None, None, old), Verdict::Proceed, false),
            ((None, other(), new, None), Verdict::Proceed, false),
            ((None, None, Some(at(100)), None), Verdict::NotModified, false),
        ];
        // Written in the middle of second 100.
        let written = at(100) + Duration::from_millis(500);
        for ((if_match, if_none_match, if_modified_since, if_unmodified_since), verdict, copied) in table {
            let conditions = Conditions { if_match, if_none_match, if_modified_since, if_unmodified_since };
            let etag = ETag::new("a");
            assert_eq!(conditions.verdict(&etag, written), verdict, "{conditions:?}");
            assert_eq!(conditions.all_hold(&etag, written), copied, "{conditions:?}");
        }
    }
}
