//! The bytes of one request, put together: what is in memory as it lies there, holes as zeros, and what is only in a
//! stored object fetched first.

use bytes::Bytes;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use tokio::sync::OwnedSemaphorePermit;

use super::content::{Check, Fetch};
use super::copying::read_all;
use super::extents::{ExtentSource, Extents, SourceObject};
use super::transfers::Transfers;
use crate::object::{ByteRange, Checksum, StoredObject};
use crate::store::{Body, GetRequest, Op, StoreError, StoreErrorKind};

/// Stretches that are fetched at once for one body.
const FETCH_CONCURRENCY: usize = 4;

/// How often bytes that were damaged on the way are fetched in all: what damages one answer in a thousand leaves one in a
/// thousand millions.
pub(super) const FETCH_ATTEMPTS: usize = 3;

/// Zeros that holes are sent from.
static ZEROS: [u8; 256 << 10] = [0; 256 << 10];

/// One stretch of a body.
#[derive(Clone, Debug)]
pub(super) enum Chunk {
    /// Bytes in memory and their checksum.
    Bytes(Bytes, Checksum),
    /// So many zeros.
    Zeros(u64),
    /// A range of a stored object.
    Stored(StoredObject, ByteRange),
}

/// A body that is ready to be sent.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) body: Body,
    pub(super) checksum: Checksum,
    /// The checksums of what was fetched for it, in order.
    pub(super) fetched: Vec<Checksum>,
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

/// The stretches of `extents`; `resolve` tells which object a source is.
pub(super) fn chunks(mut extents: Extents, resolve: impl Fn(&SourceObject) -> Option<StoredObject>) -> Vec<Chunk> {
    let lens: Vec<u64> = extents.iter().map(|extent| extent.len).collect();
    let chunk = |(source, len): (&mut ExtentSource, u64)| match source {
        ExtentSource::Dirty(piece) | ExtentSource::Stored { held: Some(piece), .. } => {
            let checksum = piece.checksum();
            Some(Chunk::Bytes(piece.to_bytes(), checksum))
        }
        ExtentSource::Zero | ExtentSource::Stored { object: SourceObject::Zeros(_), held: None, .. } => {
            Some(Chunk::Zeros(len))
        }
        ExtentSource::Stored { object, start, held: None } => {
            Some(Chunk::Stored(resolve(object)?, ByteRange::new(*start, *start + len)?))
        }
    };
    extents.iter_mut().zip(lens).filter_map(chunk).collect()
}

/// A range to be fetched, which several chunks lie in.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) object: StoredObject,
    pub(super) range: ByteRange,
    /// The checksum that it must have, where that is known beforehand.
    pub(super) checksum: Option<Checksum>,
}

impl Wanted {
    /// What `fetch` asks for of `object`, which it is resolved to. What is verified by a copy gets its checksum from that.
    pub(super) fn new(fetch: &Fetch, object: StoredObject) -> Wanted {
        let checksum = object.version.checksum.filter(|_| fetch.check == Check::Whole);
        Wanted { object, range: fetch.range, checksum }
    }

    fn has(&self, object: &StoredObject, range: ByteRange) -> bool {
        self.object == *object && self.range.start() <= range.start() && range.end() <= self.range.end()
    }
}

impl Transfers {
    /// Puts `chunks` together, those that are stored out of what is `wanted`.
    ///
    /// What is fetched takes room outside of the budget that writers share, so that publishing never waits for the very
    /// memory that it is to free; the room was set aside from the budget.
    pub(super) async fn load(&self, chunks: Vec<Chunk>, wanted: &[Wanted]) -> Result<Loaded, StoreError> {
        let bytes: u64 = wanted.iter().map(|wanted| wanted.range.len()).sum();
        let room = if bytes > 0 { self.room_to_fetch(bytes).await } else { None };
        let reads: Vec<_> = wanted.iter().map(|wanted| self.fetch(wanted)).collect();
        let fetched: Vec<(Bytes, Checksum)> = stream::iter(reads).buffered(FETCH_CONCURRENCY).try_collect().await?;
        let algorithm = self.checksum;
        let (mut pieces, mut checksum, mut last) = (Vec::new(), algorithm.empty(), 0);
        for chunk in chunks {
            match chunk {
                Chunk::Bytes(bytes, crc) => {
                    checksum = algorithm.of_both(checksum, crc, bytes.len() as u64);
                    pieces.push(bytes);
                }
                Chunk::Zeros(len) => {
                    checksum = algorithm.of_both(checksum, algorithm.of_zeros(len), len);
                    pieces.extend(zeros(len));
                }
                Chunk::Stored(object, range) => {
                    // Most often where the one before was.
                    let has = |index: &usize| wanted.get(*index).is_some_and(|wanted| wanted.has(&object, range));
                    let index = Some(last).filter(has).or_else(|| (0..wanted.len()).find(has));
                    let index = index.ok_or_else(|| not_fetched(&object, range))?;
                    let start = (range.start() - wanted[index].range.start()) as usize;
                    let piece = fetched[index].0.slice(start..start + range.len() as usize);
                    checksum = algorithm.of_both(checksum, algorithm.of(&piece), range.len());
                    pieces.push(piece);
                    last = index;
                }
            }
        }
        let fetched = fetched.into_iter().map(|(_, checksum)| checksum).collect();
        Ok(Loaded { body: pieces.into_iter().collect(), checksum, fetched, room })
    }

    /// Fetches a range, again if it is not what it must be.
    async fn fetch(&self, wanted: &Wanted) -> Result<(Bytes, Checksum), StoreError> {
        let Wanted { object, range, checksum } = wanted;
        let mut attempts = 1;
        loop {
            let (bytes, told) = read_all(&*self.store, GetRequest::of(object, Some(*range))).await?;
            let found = self.checksum.of(&bytes);
            let expected = checksum.or(told.filter(|_| range.len() == object.version.size));
            if bytes.len() as u64 == range.len() && expected.is_none_or(|expected| expected == found) {
                return Ok((bytes.into(), found));
            }
            let message = format!("{} bytes of {}, with checksum {found}", bytes.len(), range.len());
            let error = StoreError::new(StoreErrorKind::Corrupted, Op::GetObject, object.key.as_str(), message);
            if attempts == FETCH_ATTEMPTS {
                return Err(error);
            }
            log::warn!("{error}; fetched again");
            attempts += 1;
        }
    }
}

/// Bytes that nobody thought of fetching: a mistake of ours, and better told than left out.
fn not_fetched(object: &StoredObject, range: ByteRange) -> StoreError {
    let message = format!("{range} was not fetched");
    StoreError::new(StoreErrorKind::Internal, Op::GetObject, object.key.as_str(), message)
}

pub(super) fn zeros(len: u64) -> impl Iterator<Item = Bytes> {
    let piece_bytes = ZEROS.len() as u64;
    let pieces = (0..len.div_ceil(piece_bytes)).map(move |index| piece_bytes.min(len - index * piece_bytes));
    pieces.map(|bytes| Bytes::from_static(&ZEROS[..bytes as usize]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hole_is_as_long_as_it_says() {
        for len in [0, 1, 256 << 10, (256 << 10) + 1, 1 << 20] {
            assert_eq!(zeros(len).map(|piece| piece.len() as u64).sum::<u64>(), len);
        }
    }
}
