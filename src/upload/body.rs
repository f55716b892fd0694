//! The bytes of one request, put together: what is in memory as it lies there, holes as zeros, and what is only in a
//! stored object fetched first.

use bytes::Bytes;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use tokio::sync::OwnedSemaphorePermit;

use super::copying::read_all;
use super::extents::{Extents, Matter, Source, SourceObject};
use super::uploader::Uploader;
use crate::store::{Body, GetRequest, StoreError, StoreErrorKind};
use crate::wire::{ByteRange, Crc64};

/// Stretches of one object that are closer than this are fetched with one request, in bytes: about what a request costs.
const GAP_BYTES_MAX: u64 = 256 << 10;

/// Stretches that are fetched at once for one body.
const FETCH_CONCURRENCY: usize = 4;

/// Zeros that holes are sent from.
static ZEROS: [u8; 256 << 10] = [0; 256 << 10];

/// One stretch of a body.
#[derive(Clone, Debug)]
pub(super) enum Chunk {
    /// Bytes in memory and their checksum.
    Bytes(Bytes, Crc64),
    /// So many zeros.
    Zeros(u64),
    /// A range of a stored object.
    Stored(SourceObject, ByteRange),
}

/// A body that is ready to be sent.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) body: Body,
    pub(super) crc64: Crc64,
    /// Room for what was fetched; to be kept as long as the body.
    room: Option<OwnedSemaphorePermit>,
}

impl Loaded {
    /// Lets others have the room, so that one whom this body waits for can fetch what it needs. Until it is sent this body
    /// is more than there is room for.
    pub(super) fn give_up_room(&mut self) {
        self.room = None;
    }
}

impl Chunk {
    pub(super) fn is_to_be_fetched(&self) -> bool {
        matches!(self, Chunk::Stored(..))
    }
}

/// The stretches of `extents`; `resolve` tells which object a source is.
pub(super) fn chunks(mut extents: Extents, resolve: impl Fn(&Source) -> Option<SourceObject>) -> Vec<Chunk> {
    let lens: Vec<u64> = extents.iter().map(|extent| extent.len).collect();
    let chunk = |(matter, len): (&mut Matter, u64)| match matter {
        Matter::Dirty(piece) | Matter::Stored { held: Some(piece), .. } => {
            let crc64 = piece.crc64();
            Some(Chunk::Bytes(piece.to_bytes(), crc64))
        }
        Matter::Zero => Some(Chunk::Zeros(len)),
        Matter::Stored { source, start, held: None } => {
            Some(Chunk::Stored(resolve(source)?, ByteRange::new(*start, *start + len)?))
        }
    };
    extents.iter_mut().zip(lens).filter_map(chunk).collect()
}

/// A range to be fetched, which several chunks lie in.
struct Fetch {
    object: SourceObject,
    range: ByteRange,
}

impl Uploader {
    /// Puts `chunks` together.
    ///
    /// What is fetched takes room outside of the budget that writers share, so that publishing never waits for the very
    /// memory that it is to free; the room was set aside from the budget.
    pub(super) async fn load(&self, chunks: Vec<Chunk>) -> Result<Loaded, StoreError> {
        let fetches = fetches(&chunks);
        let bytes: u64 = fetches.iter().map(|fetch| fetch.range.len()).sum();
        let room = if bytes > 0 { self.room_to_fetch(bytes).await } else { None };
        let reads: Vec<_> = fetches.iter().map(|fetch| self.fetch(fetch)).collect();
        let fetched: Vec<Bytes> = stream::iter(reads).buffered(FETCH_CONCURRENCY).try_collect().await?;
        let mut fetched = fetches.into_iter().zip(fetched).peekable();
        let (mut pieces, mut crc64) = (Vec::new(), Crc64::EMPTY);
        for chunk in chunks {
            match chunk {
                Chunk::Bytes(bytes, crc) => {
                    crc64 = crc64.followed_by(crc, bytes.len() as u64);
                    pieces.push(bytes);
                }
                Chunk::Zeros(len) => {
                    crc64 = crc64.followed_by(Crc64::of_zeros(len), len);
                    pieces.extend(zeros(len));
                }
                Chunk::Stored(object, range) => {
                    while fetched.next_if(|(fetch, _)| !fetch.covers(&object, range)).is_some() {}
                    let Some((fetch, bytes)) = fetched.peek() else { continue };
                    let start = (range.start() - fetch.range.start()) as usize;
                    let piece = bytes.slice(start..start + range.len() as usize);
                    crc64 = crc64.followed_by(Crc64::of(&piece), range.len());
                    pieces.push(piece);
                }
            }
        }
        Ok(Loaded { body: pieces.into_iter().collect(), crc64, room })
    }

    async fn fetch(&self, fetch: &Fetch) -> Result<Bytes, StoreError> {
        let Fetch { object: SourceObject { key, etag, size, crc64 }, range } = fetch;
        let request = GetRequest { key: key.clone(), range: Some(*range), if_match: Some(etag.clone()) };
        let (bytes, told) = read_all(&*self.store, request).await?;
        let expected = crc64.or(told).filter(|_| range.len() == *size);
        if bytes.len() as u64 != range.len() || expected.is_some_and(|expected| expected != Crc64::of(&bytes)) {
            let message = format!("{} bytes of {}, with checksum {}", bytes.len(), range.len(), Crc64::of(&bytes));
            return Err(StoreError::new(StoreErrorKind::Corrupted, "GetObject", key.as_str(), message));
        }
        Ok(bytes.into())
    }
}

impl Fetch {
    fn covers(&self, object: &SourceObject, range: ByteRange) -> bool {
        self.object == *object && self.range.start() <= range.start() && range.end() <= self.range.end()
    }
}

/// What to fetch for `chunks`: their stored stretches, those that are close to one another together.
fn fetches(chunks: &[Chunk]) -> Vec<Fetch> {
    let mut fetches: Vec<Fetch> = Vec::new();
    for chunk in chunks {
        let Chunk::Stored(object, range) = chunk else { continue };
        if let Some(last) = fetches.last_mut()
            && last.object == *object
            && (last.range.end()..=last.range.end() + GAP_BYTES_MAX).contains(&range.start())
            && let Some(both) = ByteRange::new(last.range.start(), range.end())
        {
            last.range = both;
        } else {
            fetches.push(Fetch { object: object.clone(), range: *range });
        }
    }
    fetches
}

fn zeros(len: u64) -> impl Iterator<Item = Bytes> {
    let piece_bytes = ZEROS.len() as u64;
    let pieces = (0..len.div_ceil(piece_bytes)).map(move |index| piece_bytes.min(len - index * piece_bytes));
    pieces.map(|bytes| Bytes::from_static(&ZEROS[..bytes as usize]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{ETag, ObjectKey};

    fn object(name: &str) -> SourceObject {
        SourceObject { key: ObjectKey::new(name).unwrap(), etag: ETag::new("e"), size: 1 << 30, crc64: None }
    }

    #[test]
    fn what_is_close_is_fetched_together() {
        let stored = |name: &str, start, end| Chunk::Stored(object(name), ByteRange::new(start, end).unwrap());
        let gap = GAP_BYTES_MAX;
        let chunks = [
            stored("a", 0, 10),
            Chunk::Zeros(5),
            stored("a", 10 + gap, 20 + gap),
            stored("a", 21 + 2 * gap, 22 + 2 * gap),
            stored("b", 21 + 2 * gap, 22 + 2 * gap),
            stored("b", 0, 5),
        ];
        let ranges: Vec<(u64, u64)> =
            fetches(&chunks).iter().map(|fetch| (fetch.range.start(), fetch.range.end())).collect();
        assert_eq!(ranges, [(0, 20 + gap), (21 + 2 * gap, 22 + 2 * gap), (21 + 2 * gap, 22 + 2 * gap), (0, 5)]);
    }

    #[test]
    fn a_hole_is_as_long_as_it_says() {
        for len in [0, 1, 256 << 10, (256 << 10) + 1, 1 << 20] {
            assert_eq!(zeros(len).map(|piece| piece.len() as u64).sum::<u64>(), len);
        }
    }
}
