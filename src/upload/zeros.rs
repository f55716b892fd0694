//! Zeros in the bucket that the service makes large holes of, so that nobody sends them.
//!
//! A part of an unfinished upload cannot be copied on this service, only an object can. So an object of zeros is put under
//! a key that nobody sees, holes are copied from it, and it is removed when the file is published. For holes of many GiB
//! it is copied together into larger and larger ones first.

use std::sync::Arc;

use super::body::zeros;
use super::copying::copy_ranges;
use super::error::UploadError;
use super::transfers::Transfers;
use crate::object::{ByteRange, ETag, Limits, ObjectAttributes, ObjectKey, StoredObject, Version};
use crate::store::{Source, StoreError};

/// Copies that a hole may take before larger zeros are made: more than their making takes.
const COPIES_MAX: u64 = 128;

/// How much larger the next object of zeros is, in copies of the one before.
const GROWTH: u64 = 32;

/// The smallest object of zeros, in parts of the smallest size: stretches of half of it are parts yet, and can lend to their
/// neighbours.
const PARTS_MIN: u64 = 4;

/// Objects of zeros of one file. They are removed from the bucket when this is dropped, if not before.
pub(super) struct Zeros {
    transfers: Arc<Transfers>,
    /// The last and largest is what is copied.
    objects: Vec<Arc<StoredObject>>,
}

/// The sizes of the objects of zeros to make one of the other, in bytes, the last of which a hole is copied from; none if
/// even so it would take more numbers than there are.
fn sizes(hole_bytes: u64, first_bytes: u64, limits: Limits) -> Vec<u64> {
    let bytes_max = limits.part_bytes_max.min(limits.put_bytes_max);
    let mut sizes = vec![first_bytes.max(PARTS_MIN * limits.part_bytes_min).min(bytes_max)];
    let copies_max = COPIES_MAX.min(limits.part_count_max / 4);
    while let Some(size) = sizes.last().filter(|size| hole_bytes.div_ceil(**size) > copies_max && **size < bytes_max) {
        let growth = (bytes_max / size).min(GROWTH).min(limits.part_count_max);
        if growth < 2 {
            break;
        }
        sizes.push(size * growth);
    }
    // Everything else of the file needs numbers, too.
    let fits = sizes.last().is_some_and(|size| hole_bytes.div_ceil(*size) <= limits.part_count_max / 10 * 9);
    if fits { sizes } else { Vec::new() }
}

impl Transfers {
    /// Puts zeros into the bucket for `hole_bytes` to be copied from, for as long as `expect_wanted` lets it; `None` if the
    /// hole is better sent.
    pub(super) async fn zeros(
        self: &Arc<Transfers>,
        hole_bytes: u64,
        expect_wanted: impl Fn() -> Result<(), UploadError>,
    ) -> Result<Option<Zeros>, UploadError> {
        let Some(hidden) = self.hidden.get() else { return Ok(None) };
        let mut made = Zeros { transfers: self.clone(), objects: Vec::new() };
        for size in sizes(hole_bytes, self.ladder.first_bytes(), self.limits()) {
            expect_wanted()?;
            let Ok(key) = ObjectKey::new(format!("{hidden}zeros-{:016x}", fastrand::u64(..))) else { return Ok(None) };
            let etag = match made.objects.last() {
                None => self.put_zeros(&key, size).await?,
                Some(smaller) => self.copy_zeros(&key, smaller, size).await?,
            };
            let version = Version { etag, size, checksum: Some(self.checksum.of_zeros(size)) };
            made.objects.push(Arc::new(version.under(key)));
        }
        Ok(Some(made).filter(|made| !made.objects.is_empty()))
    }

    async fn put_zeros(&self, key: &ObjectKey, size: u64) -> Result<ETag, StoreError> {
        let (body, checksum) = (zeros(size).collect(), self.checksum.of_zeros(size));
        Ok(self.store.put(key, body, checksum, &ObjectAttributes::default()).await?.etag)
    }

    /// Makes `size` zeros, a multiple, of `smaller`.
    async fn copy_zeros(&self, key: &ObjectKey, smaller: &StoredObject, size: u64) -> Result<ETag, StoreError> {
        let (source, bytes) = (Source::of(smaller), smaller.version.size);
        let count = (size / bytes) as usize;
        let ranges: Vec<_> = (0..count).filter_map(|index| Some((index, ByteRange::new(0, bytes)?))).collect();
        let upload = self.store.initiate(key, &ObjectAttributes::default()).await?.upload;
        let completed = async {
            let parts = copy_ranges(&*self.store, &source, key, &upload, &ranges).await?;
            let etags: Vec<ETag> = parts.into_iter().map(|part| part.etag).collect();
            self.store.complete(key, &upload, &etags, size, Some(self.checksum.of_zeros(size))).await
        };
        match completed.await {
            Ok(published) => Ok(published.etag),
            Err(error) => {
                if let Err(error) = self.store.abort(key, &upload).await {
                    log::error!("{key}: upload {upload} could not be aborted and stays unfinished: {error}");
                }
                Err(error)
            }
        }
    }
}

impl Zeros {
    /// What is copied.
    pub(super) fn object(&self) -> &Arc<StoredObject> {
        self.objects.last().expect("it was given out only with an object")
    }

    /// Removes the objects.
    pub(super) async fn remove(mut self) {
        remove(&self.transfers, std::mem::take(&mut self.objects)).await;
    }
}

async fn remove(transfers: &Transfers, objects: Vec<Arc<StoredObject>>) {
    for object in objects {
        if let Err(error) = transfers.store.delete(&object.key).await {
            log::error!("{}, zeros that a hole was copied from, stays: {error}", object.key);
        }
    }
}

impl Drop for Zeros {
    fn drop(&mut self) {
        let (transfers, objects) = (self.transfers.clone(), std::mem::take(&mut self.objects));
        if objects.is_empty() {
            return;
        }
        // The end of the mount waits for it.
        let (removing, _) = transfers.giving_up();
        self.transfers.runtime.spawn(async move {
            remove(&transfers, objects).await;
            drop(removing);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::limits::{GIB, MIB, TIB};

    #[test]
    fn zeros_are_as_large_as_the_hole_is_worth() {
        let table: [(u64, &[u64]); 6] = [
            (40 * MIB, &[8 * MIB]),
            (GIB, &[8 * MIB]),
            (GIB + 1, &[8 * MIB, 256 * MIB]),
            (32 * GIB, &[8 * MIB, 256 * MIB]),
            (16 * TIB, &[8 * MIB, 256 * MIB, 5 * GIB]),
            (50_000 * GIB, &[]),
        ];
        for (hole_bytes, expected) in table {
            assert_eq!(sizes(hole_bytes, 8 * MIB, Limits::COS), expected, "{hole_bytes}");
        }
    }
}
