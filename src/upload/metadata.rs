//! The metadata that a file is published with, the time of its last change among them.
//!
//! That time is that of the last write, or the one that somebody has set since. An upload in parts tells it when it begins,
//! which may be before the last write: what the object tells is the time then, so that it moves at no close.

use std::time::SystemTime;

use crate::object::ObjectAttributes;

/// The metadata that a file has or will have in the bucket.
pub(super) struct Metadata {
    attributes: ObjectAttributes,
    /// When the content was changed, unless the object tells it or somebody has set another time since.
    written_at: Option<SystemTime>,
    /// Digests that others kept of the bytes are forgotten.
    is_without_digests: bool,
}

impl Metadata {
    pub(super) fn new(attributes: ObjectAttributes, written_at: Option<SystemTime>) -> Metadata {
        Metadata { attributes, written_at, is_without_digests: false }
    }

    /// All of it, as it would be published now.
    pub(super) fn all(&self) -> ObjectAttributes {
        let mut attributes = self.attributes.clone();
        if let Some(at) = self.written_at {
            attributes.set_mtime(at);
        }
        attributes
    }

    /// One of those that users give, which `mtime` is not.
    pub(super) fn user_attribute(&self, name: &str) -> Option<String> {
        self.attributes.user.get(name).cloned()
    }

    /// The content changes at `now`: a time that somebody set no longer holds, and neither do digests.
    pub(super) fn note_write(&mut self, now: SystemTime) {
        self.touch(now);
        // Once, and not for every write.
        if !self.is_without_digests {
            self.attributes.forget_digests();
            self.is_without_digests = true;
        }
    }

    /// The content counts as changed at `now`, although the bytes are what they were.
    pub(super) fn touch(&mut self, now: SystemTime) {
        self.written_at = Some(now);
    }

    /// Other bytes take the place of all.
    pub(super) fn forget_bytes(&mut self) {
        self.attributes.forget_bytes();
    }

    /// Whether the object may yet tell another time than that of the last write.
    pub(super) fn is_untold(&self) -> bool {
        self.written_at.is_some()
    }

    /// The time of the last write is to be told as one that somebody has set: the object may tell that of a mount that died.
    pub(super) fn insist_on_time(&mut self) {
        if let Some(at) = self.written_at.take() {
            self.attributes.set_mtime(at);
        }
    }

    /// Sets all of it, made of what [`Metadata::all`] said. Returns whether that changes anything. A time that somebody sets
    /// holds also where it is the one that was shown, which an upload in parts need not have told.
    pub(super) fn set(&mut self, attributes: ObjectAttributes, sets_time: bool) -> bool {
        let before = self.all();
        if sets_time || attributes.mtime() != before.mtime() {
            self.written_at = None;
        }
        let is_change = attributes != before;
        (self.attributes, self.is_without_digests) = (attributes, false);
        is_change
    }

    /// The object has all of the content, and `published`. Returns whether it is to get other metadata yet: the time of a
    /// write alone is not worth it.
    pub(super) fn settle(&mut self, published: &ObjectAttributes) -> bool {
        if let Some(told) = published.mtime().filter(|_| self.written_at.is_some()) {
            self.attributes.set_mtime(told);
            self.written_at = None;
        }
        self.all() != *published
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn with_mode(mut attributes: ObjectAttributes, mode: &str) -> ObjectAttributes {
        attributes.user.insert("mode".to_owned(), mode.to_owned());
        attributes
    }

    #[test]
    fn a_write_after_an_upload_began_is_no_reason_for_another_request() {
        let mut metadata = Metadata::new(ObjectAttributes::default(), Some(at(1)));
        let told = metadata.all();
        metadata.note_write(at(2));
        assert_eq!(metadata.all().mtime(), Some(at(2)));
        assert!(!metadata.settle(&told));
        assert_eq!((metadata.all().mtime(), metadata.is_untold()), (Some(at(1)), false));
    }

    #[test]
    fn what_is_set_after_an_upload_began_is_a_reason() {
        for time in [None, Some(9), Some(2)] {
            let mut metadata = Metadata::new(ObjectAttributes::default(), Some(at(1)));
            let told = metadata.all();
            metadata.note_write(at(2));
            let mut set = with_mode(metadata.all(), "1");
            if let Some(time) = time {
                set.set_mtime(at(time));
            }
            assert!(metadata.set(set, time.is_some()));
            assert!(metadata.settle(&told));
            assert_eq!(metadata.all().mtime(), Some(at(time.unwrap_or(1))));
        }
    }

    #[test]
    fn a_write_takes_the_place_of_a_time_that_was_set() {
        let mut metadata = Metadata::new(ObjectAttributes::default().with_mtime_or(at(5)), None);
        assert_eq!(metadata.all().mtime(), Some(at(5)));
        metadata.note_write(at(7));
        assert_eq!(metadata.all().mtime(), Some(at(7)));
        assert!(metadata.set(with_mode(metadata.all(), "1"), false), "other metadata leave it what it is");
        metadata.note_write(at(8));
        assert_eq!(metadata.all().mtime(), Some(at(8)));
    }
}
