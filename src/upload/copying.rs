//! Copies of whole objects on the service, of any size, and reading an object whole.

use futures_util::stream::{self, StreamExt, TryStreamExt};

use crate::object::limits::GIB;
use crate::object::{
    ByteRange, Checksum, ETag, ObjectAttributes, ObjectKey, PartNumber, StoredObject, Tags, UploadId, UploadedPart,
};
use crate::store::{CopyRequest, GetRequest, ObjectStore, Op, Overwrite, Source, StoreError, StoreErrorKind, tags_of};

/// Ranges of a large copy that are made at once. They cost this machine nothing but a connection each.
const COPY_CONCURRENCY: usize = 8;

/// The range of one part copy: small enough that a large object is copied by many at once, large enough that 10,000 of
/// them exceed most objects.
const COPY_RANGE_BYTES: u64 = GIB;

/// How often ranges are copied in all whose checksums are not, together, that of the object.
const COPY_ATTEMPTS: usize = 3;

/// Copies the object `source` to `key`, on the service, and returns the copy's ETag. `attributes` become the copy's; they
/// are the source's own where nothing shall change. Tags are the source's, which others may have changed since they were asked for.
///
/// A source that is another version by now is [`StoreErrorKind::Changed`]. On error nothing has changed at `key`.
pub async fn copy_object(
    store: &dyn ObjectStore,
    source: &StoredObject,
    key: &ObjectKey,
    attributes: &ObjectAttributes,
) -> Result<ETag, StoreError> {
    let is_tagged = attributes.tags != Tags::None;
    let tags = if is_tagged { Tags::Unread } else { Tags::None };
    let attributes = ObjectAttributes { tags, ..attributes.clone() };
    // On the heap: it is a part of every call that publishes or moves a file.
    Box::pin(copy_content(store, source, key, &attributes)).await
}

/// The same for a file that is another than the source: tags that it is known to have are its own.
pub(super) async fn copy_content(
    store: &dyn ObjectStore,
    source: &StoredObject,
    key: &ObjectKey,
    attributes: &ObjectAttributes,
) -> Result<ETag, StoreError> {
    if source.version.size > store.limits().put_bytes_max {
        return copy_in_parts(store, source, key, attributes, &Overwrite::Allowed).await;
    }
    let (key, replace, bytes) = (key.clone(), Some(attributes.clone()), Some(source.version.size));
    let copy = CopyRequest { replace, bytes, ..CopyRequest::new(Source::of(source), key.clone()) };
    let copied = store.copy(copy).await?;
    match (copied.crc64, source.version.checksum) {
        (Some(copy), Some(original)) if copy != original => {
            let message = format!("the copy's checksum is {copy}, the original's {original}");
            Err(StoreError::new(StoreErrorKind::Corrupted, Op::CopyObject, key.as_str(), message))
        }
        _ => Ok(copied.etag),
    }
}

/// Gives an object new metadata, which on this service is a copy onto itself.
pub async fn rewrite_attributes(
    store: &dyn ObjectStore,
    object: &StoredObject,
    attributes: &ObjectAttributes,
) -> Result<ETag, StoreError> {
    copy_object(store, object, &object.key, attributes).await
}

/// Makes an object of the copy of it that is at `source`, unless it would replace something else than it may. What is small is
/// read and sent, so that it has the same version as before.
pub(super) async fn put_back(
    store: &dyn ObjectStore,
    source: &StoredObject,
    key: &ObjectKey,
    attributes: &ObjectAttributes,
    overwrite: &Overwrite,
) -> Result<ETag, StoreError> {
    let attributes = ObjectAttributes { tags: Tags::Unread, ..attributes.clone() };
    if source.version.size > store.limits().part_bytes_min {
        return copy_in_parts(store, source, key, &attributes, overwrite).await;
    }
    let (bytes, _) = read_all(store, GetRequest::of(source, None)).await?;
    let (checksum, tags) = (store.limits().checksum.of(&bytes), tags_of(store, &source.key).await?);
    let attributes = ObjectAttributes { tags, ..attributes };
    Ok(store.put_over(key, bytes.into(), checksum, &attributes, overwrite).await?.etag)
}

async fn copy_in_parts(
    store: &dyn ObjectStore,
    source: &StoredObject,
    key: &ObjectKey,
    attributes: &ObjectAttributes,
    overwrite: &Overwrite,
) -> Result<ETag, StoreError> {
    let (limits, size) = (store.limits(), source.version.size);
    let range_bytes = COPY_RANGE_BYTES.max(size.div_ceil(limits.part_count_max)).min(limits.part_bytes_max);
    // Only the copy of a whole object has the tags of its source.
    let tags = match &attributes.tags {
        Tags::Unread => tags_of(store, &source.key).await?,
        known => known.clone(),
    };
    let attributes = ObjectAttributes { tags, ..attributes.clone() };
    let upload = store.initiate(key, &attributes).await?.upload;
    let result = copy_parts(store, source, (key, overwrite), &upload, range_bytes).await;
    if result.is_err()
        && let Err(error) = store.abort(key, &upload).await
    {
        log::error!("{key}: upload {upload} could not be aborted and stays unfinished: {error}");
    }
    result
}

async fn copy_parts(
    store: &dyn ObjectStore,
    source: &StoredObject,
    (key, overwrite): (&ObjectKey, &Overwrite),
    upload: &UploadId,
    range_bytes: u64,
) -> Result<ETag, StoreError> {
    let version = &source.version;
    let ranges: Vec<(usize, ByteRange)> = even_ranges(version.size, range_bytes).into_iter().enumerate().collect();
    let mut attempts = 1;
    let parts = loop {
        let parts = copy_ranges(store, &Source::of(source), key, upload, &ranges).await?;
        let copied = store.limits().checksum.joined(parts.iter().map(|part| (part.crc64, part.size)));
        // Before the parts are an object. A service that does not tell the checksums of parts is compared afterwards.
        match (copied, version.checksum) {
            (Some(copied), Some(original)) if copied != original => {
                let message = format!("the parts' checksum is {copied}, the original's {original}");
                let error = StoreError::new(StoreErrorKind::Corrupted, Op::UploadPartCopy, key.as_str(), message);
                if attempts == COPY_ATTEMPTS {
                    return Err(error);
                }
                log::warn!("{error}; copied again");
                attempts += 1;
            }
            _ => break parts,
        }
    };
    let etags: Vec<ETag> = parts.into_iter().map(|part| part.etag).collect();
    Ok(store.complete_over(key, upload, &etags, version.size, version.checksum, overwrite).await?.etag)
}

/// Makes the parts from 1 of ranges of an object.
pub(super) async fn copy_ranges(
    store: &dyn ObjectStore,
    source: &Source,
    key: &ObjectKey,
    upload: &UploadId,
    ranges: &[(usize, ByteRange)],
) -> Result<Vec<UploadedPart>, StoreError> {
    let copy = |(index, range): (usize, ByteRange)| async move {
        let number = PartNumber::new(index as u64 + 1).ok_or_else(|| {
            StoreError::new(StoreErrorKind::TooLarge, Op::UploadPartCopy, key.as_str(), "more than 10,000 ranges")
        })?;
        store.upload_part_copy(key, upload, number, source, range).await
    };
    // Collected first: the compiler cannot show a lazily mapped stream of these futures to be `Send`.
    let copies: Vec<_> = ranges.iter().copied().map(copy).collect();
    // All of them come to their end even when one fails, so that the abort overtakes none.
    let copied: Vec<_> = stream::iter(copies).buffered(COPY_CONCURRENCY).collect().await;
    copied.into_iter().collect()
}

/// `0..len` in as few ranges of at most `bytes_max` as possible, none of them much smaller than the others, because
/// the service refuses a part under 1 MiB that is not the last.
pub(super) fn even_ranges(len: u64, bytes_max: u64) -> Vec<ByteRange> {
    let count = len.div_ceil(bytes_max);
    let edge = |index: u64| (u128::from(len) * u128::from(index) / u128::from(count)) as u64;
    (0..count).filter_map(|index| ByteRange::new(edge(index), edge(index + 1))).collect()
}

/// Reads all that `request` asks for into one block, and tells the checksum of the whole object. For small ranges only.
pub(super) async fn read_all(
    store: &dyn ObjectStore,
    request: GetRequest,
) -> Result<(Vec<u8>, Option<Checksum>), StoreError> {
    let reading = store.get(request).await?;
    let bytes = reading
        .body
        .try_fold(Vec::new(), |mut bytes, piece| async move {
            bytes.extend_from_slice(&piece);
            Ok(bytes)
        })
        .await?;
    Ok((bytes, reading.head.crc64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_even_and_cover_everything() {
        for (len, bytes_max, count) in [(0, 5, 0), (1, 5, 1), (5, 5, 1), (6, 5, 2), (11, 5, 3), (5_000, 7, 715)] {
            let ranges = even_ranges(len, bytes_max);
            assert_eq!(ranges.len(), count, "{len} by {bytes_max}");
            assert_eq!(ranges.iter().map(|range| range.len()).sum::<u64>(), len);
            assert!(ranges.windows(2).all(|pair| pair[0].end() == pair[1].start()));
            let lens = ranges.iter().map(|range| range.len());
            let (shortest, longest) = (lens.clone().min().unwrap_or(0), lens.max().unwrap_or(0));
            assert!(longest <= bytes_max && longest - shortest <= 1, "{len} by {bytes_max}");
        }
    }
}
