//! Copies of which nearly all has come are completed, in the background and one at a time.
//!
//! A whole copy is worth more than one that lacks a piece: the kernel reads it by itself, and the next mount asks for nothing.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;

use super::FETCH_BYTES_MAX;
use super::copies::Copies;
use super::object::Object;
use super::readers::Readers;
use crate::cache::{Entry, Filling};
use crate::object::{ByteRange, StoredObject};
use crate::store::{GetRequest, StoreError};

/// Copies that wait for being completed. What is beyond is when somebody reads it again.
const WAITING_MAX: usize = 64;

/// How long what was fetched may take to be written, before the disk is too slow for this.
const SETTLE_PATIENCE: Duration = Duration::from_secs(10);

impl Object {
    /// The copy of this version that lacks something, if somebody has opened it.
    pub fn unfinished_copy(&self) -> Option<Arc<Entry>> {
        self.opened_copy().filter(|copy| !copy.is_whole())
    }
}

impl Readers {
    /// Nobody has an object open any more of which there is a copy that lacks something. Fetches that, if so much of it has come
    /// that it is worth it.
    pub fn complete(self: &Arc<Readers>, stored: StoredObject, copy: Arc<Entry>) {
        let Some(Copies { cache, fill_percent, .. }) = self.copies.clone() else { return };
        // Without a table of what there is: this is asked at each close.
        let may_be_enough = copy.lost_bytes() > 0 || fill_percent <= 100;
        if !may_be_enough {
            return;
        }
        // Each that waits has its copy open.
        if Arc::strong_count(&self.completing) > WAITING_MAX {
            return;
        }
        let (readers, completing) = (self.clone(), self.completing.clone());
        self.runtime.spawn(async move {
            let Ok(_turn) = completing.acquire().await else { return };
            let looked = copy.clone();
            let look = move || {
                cache.settle(SETTLE_PATIENCE);
                let came = looked.copied_bytes() + looked.lost_bytes();
                let is_enough = came * 100 >= looked.identity().size * fill_percent.min(100);
                // What is lacking for another reason than that the disk was slow is nobody's wish.
                if is_enough { looked.missing() } else { Ok(Vec::new()) }
            };
            let missing = readers.runtime.spawn_blocking(look).await;
            let missing = missing.ok().and_then(Result::ok).unwrap_or_default();
            for range in pieces_of(missing) {
                if let Err(error) = readers.fetch_into(&stored, &copy, range).await {
                    return log::debug!("the rest of {} is not fetched: {error}", stored.key);
                }
            }
        });
    }

    /// Fetches a range of an object into its copy, and waits until it is there.
    async fn fetch_into(&self, stored: &StoredObject, copy: &Arc<Entry>, range: Range<u64>) -> Result<(), StoreError> {
        let Some(Copies { cache, .. }) = self.copies.clone() else { return Ok(()) };
        let mut reading = self.store.get(GetRequest::of(stored, ByteRange::new(range.start, range.end))).await?;
        let expected = reading.head.crc64.or(stored.version.checksum);
        let mut bytes = Vec::with_capacity((range.end - range.start) as usize);
        while let Some(piece) = reading.body.next().await {
            bytes.extend_from_slice(&piece?);
        }
        let held = bytes.len() as u64;
        cache.fill(Filling::new(copy.clone(), range.start, (Arc::new(bytes), held), expected));
        let _ = self.runtime.spawn_blocking(move || cache.settle(SETTLE_PATIENCE)).await;
        Ok(())
    }
}

/// Ranges of which none is larger than what is asked for at once.
fn pieces_of(ranges: Vec<Range<u64>>) -> impl Iterator<Item = Range<u64>> {
    let pieces = |range: Range<u64>| {
        let (bytes, end) = (FETCH_BYTES_MAX, range.end);
        let next = move |start: &u64| Some(start + bytes).filter(|next| *next < end);
        std::iter::successors(Some(range.start), next).map(move |start| start..end.min(start + bytes))
    };
    ranges.into_iter().flat_map(pieces)
}
