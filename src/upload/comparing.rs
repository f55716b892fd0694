//! Making sure of what was read of a file's object, before something that may be made of it is published.
//!
//! What that is [`super::handed_out`] remembers.

use std::ops::Range;

use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::body::FETCH_ATTEMPTS;
use super::error::UploadError;
use super::extents::SourceObject;
use super::publishing::Publishing;
use super::state::State;
use super::transfers::Transfers;
use crate::object::{ByteRange, Checksum, StoredObject};
use crate::store::{GetRequest, Op, StoreError, StoreErrorKind};

/// Stretches that are fetched at once.
const COMPARE_CONCURRENCY: usize = 4;

impl Publishing<'_> {
    /// Makes sure of what was read where something has been written since. Writers wait meanwhile.
    pub(super) async fn compare_handed_out(&self) -> Result<(), UploadError> {
        let algorithm = self.transfers().checksum;
        let (object, written) = {
            let mut state = self.lock();
            let object = state.resolve(&SourceObject::Base);
            let State { handed_out, content, .. } = &mut *state;
            (object, handed_out.take(algorithm, |range| !content.is_as_in_base(range)))
        };
        let Some(object) = object else { return Ok(()) };
        let compare = |(range, checksum): (Range<u64>, Checksum)| {
            let object = &object;
            async move {
                self.lock().expect_wanted()?;
                let Some(range) = ByteRange::new(range.start, range.end) else { return Ok(()) };
                self.file.uploader.compare(object, range, checksum).await.map_err(UploadError::from)
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

impl Transfers {
    /// Fetches a range once more, and fails unless it comes with the checksum that it came with before.
    pub(super) async fn compare(
        &self,
        object: &StoredObject,
        range: ByteRange,
        checksum: Checksum,
    ) -> Result<(), StoreError> {
        let key = &object.key;
        let mut attempts = 1;
        loop {
            let mut body = self.store.get(GetRequest::of(object, Some(range))).await?.body;
            let mut hasher = self.checksum.hasher();
            while let Some(piece) = body.try_next().await? {
                hasher.update(&piece);
            }
            if hasher.value() == checksum {
                return Ok(());
            }
            let message =
                format!("{range} was read with checksum {checksum} before, and comes with {}", hasher.value());
            let error = StoreError::new(StoreErrorKind::Corrupted, Op::GetObject, key.as_str(), message);
            if attempts == FETCH_ATTEMPTS {
                return Err(error);
            }
            log::warn!("{error}; fetched again");
            attempts += 1;
        }
    }
}
