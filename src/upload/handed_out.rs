//! What was read of the object of a file that is open for writing, while nobody could know whether it was right.
//!
//! Whoever changes a byte of a mapped file writes the whole page back, and most programs write more than they change. So
//! what is written where something was read is made of that, and whether it had come undamaged has to be known before it
//! is published. The bytes are fetched once more then, and must be the same: damage on the way does not hit twice alike.
//! What is not written over costs nothing.

use std::collections::BTreeMap;
use std::ops::Range;

use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::body::FETCH_ATTEMPTS;
use super::extents::Source;
use super::open_file::OpenFile;
use super::state::State;
use super::uploader::UploadError;
use crate::object::limits::MIB;
use crate::object::{ByteRange, Crc64, Crc64Hasher, StoredObject};
use crate::store::{GetRequest, StoreError, StoreErrorKind};

/// Stretches that are remembered of a file: some 4 MiB. What is read beyond these is fetched once more at once.
const STRETCHES_MAX: usize = 1 << 16;

/// The most that is fetched once more with one request, in bytes: a request's overhead is far below that.
const COMPARED_BYTES_MAX: u64 = MIB;

/// Stretches that are fetched at once.
const COMPARE_CONCURRENCY: usize = 4;

/// A stretch that was handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stretch {
    crc64: Crc64,
    /// The number of the reader's object.
    from: u64,
}

/// The stretches by start and end. Each is at its own place in the object, and stays what it is in the next object that is
/// made of the file unless it is written over.
#[derive(Debug, Default)]
pub(super) struct HandedOut {
    stretches: BTreeMap<(u64, u64), Stretch>,
}

impl HandedOut {
    /// Returns whether it is remembered.
    fn note(&mut self, range: Range<u64>, stretch: Stretch) -> bool {
        let place = (range.start, range.end);
        match self.stretches.get(&place) {
            Some(before) => before.crc64 == stretch.crc64,
            None if self.stretches.len() >= STRETCHES_MAX => false,
            None => {
                self.stretches.insert(place, stretch);
                true
            }
        }
    }

    /// Takes out what is to be compared, what lies side by side as one.
    fn take(&mut self, is_wanted: impl Fn(Range<u64>) -> bool) -> Vec<(Range<u64>, Crc64)> {
        let mut taken: Vec<(Range<u64>, Crc64)> = Vec::new();
        self.stretches.retain(|(start, end), stretch| {
            if !is_wanted(*start..*end) {
                return true;
            }
            match taken.last_mut() {
                Some((last, crc64)) if last.end == *start && end - last.start <= COMPARED_BYTES_MAX => {
                    *crc64 = crc64.followed_by(stretch.crc64, end - start);
                    last.end = *end;
                }
                _ => taken.push((*start..*end, stretch.crc64)),
            }
            false
        });
        taken
    }

    /// Whoever wants the file after all publishes it later.
    fn put_back(&mut self, taken: Vec<(Range<u64>, Crc64)>) {
        // Of which reader's object they are is not known of several that are one now: of none that will say more.
        let stretch =
            |(range, crc64): (Range<u64>, Crc64)| ((range.start, range.end), Stretch { crc64, from: u64::MAX });
        self.stretches.extend(taken.into_iter().map(stretch));
    }

    /// Nobody asks any more.
    pub(super) fn clear(&mut self) {
        self.stretches.clear();
    }
}

impl OpenFile {
    /// Bytes of the file that lie at the same place in its object, as it was when it had been made `serial` times, are about
    /// to be handed out unverified. Returns whether they are compared before anything replaces them; otherwise it is the
    /// caller who has to do that: see [`OpenFile::compare`].
    pub fn note_unverified(&self, range: ByteRange, crc64: Crc64, from: u64, serial: u64) -> bool {
        let mut state = self.lock();
        // Who reads a version that is not the file's any more reads again.
        state.serial != serial || state.handed_out.note(range.start()..range.end(), Stretch { crc64, from })
    }

    /// All that was handed out of the reader's object `from` has turned out to be right.
    pub fn note_verified(&self, from: u64) {
        self.lock().handed_out.stretches.retain(|_, stretch| stretch.from != from);
    }

    /// Fetches a range once more, and fails unless it comes with the checksum that it came with before.
    pub async fn compare(&self, object: &StoredObject, range: ByteRange, crc64: Crc64) -> Result<(), StoreError> {
        let key = &object.key;
        let mut attempts = 1;
        loop {
            let mut body = self.uploader.store.get(GetRequest::of(object, Some(range))).await?.body;
            let mut hasher = Crc64Hasher::new();
            while let Some(piece) = body.try_next().await? {
                hasher.update(&piece);
            }
            if hasher.value() == crc64 {
                return Ok(());
            }
            let message = format!("{range} was read with checksum {crc64} before, and comes with {}", hasher.value());
            let error = StoreError::new(StoreErrorKind::Corrupted, "GetObject", key.as_str(), message);
            if attempts == FETCH_ATTEMPTS {
                return Err(error);
            }
            log::warn!("{error}; fetched again");
            attempts += 1;
        }
    }

    /// Makes sure of what was read where something has been written since. Writers wait meanwhile.
    pub(super) async fn compare_handed_out(&self) -> Result<(), UploadError> {
        let (object, written) = {
            let mut state = self.lock();
            let object = state.resolve(&Source::Base);
            let State { handed_out, content, .. } = &mut *state;
            (object, handed_out.take(|range| !content.is_as_in_base(range)))
        };
        let Some(object) = object else { return Ok(()) };
        let compare = |(range, crc64): (Range<u64>, Crc64)| {
            let object = &object;
            async move {
                self.expect_wanted()?;
                let Some(range) = ByteRange::new(range.start, range.end) else { return Ok(()) };
                self.compare(object, range, crc64).await.map_err(UploadError::from)
            }
        };
        // Collected first: the compiler cannot show a lazily mapped stream of these futures to be `Send`.
        let compared: Vec<_> = written.iter().cloned().map(compare).collect();
        match stream::iter(compared).buffer_unordered(COMPARE_CONCURRENCY).try_collect::<Vec<()>>().await {
            // Somebody else has replaced it. If anything of it is needed yet, that is an error anyway.
            Err(UploadError::Store(error)) if error.is_of_version_gone() => {
                log::warn!("{error}; what was read of it stays unverified");
                Ok(())
            }
            Err(error @ UploadError::Unwanted { .. }) => {
                self.lock().handed_out.put_back(written);
                Err(error)
            }
            compared => compared.map(drop),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_side_by_side_is_compared_as_one() {
        let bytes: Vec<u8> = (0..=99).collect();
        let mut handed_out = HandedOut::default();
        for (start, end) in [(0, 10), (10, 30), (40, 50), (50, 60), (90, 100)] {
            let crc64 = Crc64::of(&bytes[start..end]);
            assert!(handed_out.note(start as u64..end as u64, Stretch { crc64, from: 1 }));
        }
        assert!(!handed_out.note(0..10, Stretch { crc64: Crc64(1), from: 1 }), "the same place, other bytes");
        let taken = handed_out.take(|range| range.end <= 60);
        let expected =
            [(0, 30), (40, 60)].map(|(start, end)| (start as u64..end as u64, Crc64::of(&bytes[start..end])));
        assert_eq!(taken, expected);
        assert_eq!(handed_out.stretches.len(), 1);
    }
}
