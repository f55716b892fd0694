//! Receiving the bytes of one body into a segment.
//!
//! In memory the buffers of the socket are kept as they are; on disk zeros become holes of the file. MD5, and writing where there is a disk, take the body in
//! blocks: one block is digested and written elsewhere while the next arrives.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;

use bytes::Bytes;
use tokio::task::JoinHandle;

use crate::server::digest::{BodyDigests, Digests, Wanted};
use cosmount_digests::{Md5, Md5Lanes, Updated};

use super::StorageError;
use super::records::Slice;
use super::segments::Segments;
use super::sums::BlockSums;

/// Bytes that are handed over at once: enough that handing over costs little beside the work.
const BLOCK_BYTES: usize = 1 << 20;

/// A body up to here is digested on the spot: handing it over would take as long.
const SMALL_BYTES: usize = 32 << 10;

/// Zeros that fill a stretch of the file of this size are not written. Smaller holes would cost more in extents of the
/// file system than they save.
const HOLE_BYTES: usize = 16 << 10;

/// A buffer of which less than this is used is copied instead of kept: in memory a kept slice holds the whole read
/// buffer of its connection.
const KEEP_BYTES_MIN: usize = 64 << 10;

/// A body on its way in. Dropped before [`SegmentWriter::finish`], it leaves nothing.
pub(in crate::server) struct SegmentWriter {
    fresh: FreshSegment,
    lanes: Arc<Md5Lanes>,
    digests: Digests,
    sums: BlockSums,
    digesting: Digesting,
    bytes: u64,
    /// What has come since the last block was handed over.
    gathered: Vec<Bytes>,
    gathered_bytes: usize,
    form: Form,
}

enum Form {
    Memory(Vec<Bytes>),
    Disk(Writing),
}

/// The MD5 of the blocks that were handed over.
enum Digesting {
    Idle(Md5),
    Busy(Updated),
}

/// The file of the segment.
enum Writing {
    Idle(File),
    Busy(JoinHandle<io::Result<File>>),
    /// Only while a call moves it along, or after an error.
    Gone,
}

/// A segment that is whole but that the index does not name yet. Dropped before [`FreshSegment::keep`], its bytes go.
pub(in crate::server) struct FreshSegment {
    segments: Arc<Segments>,
    id: u64,
    kept: bool,
}

/// What a finished body is.
pub(in crate::server) struct Received {
    /// Its segment; `None` if it was empty.
    pub segment: Option<FreshSegment>,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its digests.
    pub digests: BodyDigests,
    /// The checksums of its blocks; none if one for all of it does.
    pub(super) sums: Vec<u64>,
}

impl SegmentWriter {
    pub(super) fn create(
        segments: &Arc<Segments>,
        lanes: &Arc<Md5Lanes>,
        wanted: Wanted,
    ) -> Result<SegmentWriter, StorageError> {
        let id = segments.fresh_id();
        let fresh = FreshSegment { segments: Arc::clone(segments), id, kept: false };
        let form = match segments.path(id) {
            None => Form::Memory(Vec::new()),
            Some(path) => {
                segments.require_room()?;
                let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
                let file = file.map_err(|error| StorageError::io("create a segment", error))?;
                Form::Disk(Writing::Idle(file))
            }
        };
        Ok(SegmentWriter {
            fresh,
            lanes: Arc::clone(lanes),
            digests: Digests::new(wanted),
            sums: BlockSums::default(),
            digesting: Digesting::Idle(Md5::new()),
            bytes: 0,
            gathered: Vec::new(),
            gathered_bytes: 0,
            form,
        })
    }

    /// Bytes taken so far.
    pub(in crate::server) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes the next bytes.
    pub(in crate::server) async fn write(&mut self, chunk: Bytes) -> Result<(), StorageError> {
        self.digests.update(&chunk);
        self.sums.update(&chunk);
        self.bytes += chunk.len() as u64;
        self.gathered_bytes += chunk.len();
        let copied = chunk.len() < KEEP_BYTES_MIN && matches!(self.form, Form::Memory(_));
        self.gathered.push(if copied { Bytes::copy_from_slice(&chunk) } else { chunk });
        if self.gathered_bytes >= BLOCK_BYTES { self.hand_over().await } else { Ok(()) }
    }

    /// Makes the bytes durable and hands them over.
    pub(in crate::server) async fn finish(mut self) -> Result<Received, StorageError> {
        if let Digesting::Idle(md5) = &mut self.digesting
            && self.gathered_bytes <= SMALL_BYTES
        {
            for chunk in &self.gathered {
                md5.update(chunk);
            }
            let block = std::mem::take(&mut self.gathered);
            self.store(block).await?;
        } else {
            self.hand_over().await?;
        }
        let SegmentWriter { fresh, digests, sums, digesting, bytes, form, .. } = self;
        let (crc64, mut sums) = sums.finish();
        match form {
            // What is in memory is not verified.
            Form::Memory(chunks) if bytes > 0 => {
                sums.clear();
                fresh.segments.keep_in_memory(fresh.id, chunks);
            }
            Form::Disk(writing) if bytes > 0 => {
                let file = writing.sync(bytes).await?;
                fresh.segments.set_verified(fresh.id, &file);
            }
            // An empty body needs no segment.
            Form::Memory(_) | Form::Disk(_) => {}
        }
        if sums.len() == 1 {
            sums.clear();
        }
        let digests = digests.finish(digesting.idle().await?.finish(), crc64);
        Ok(Received { segment: (bytes > 0).then_some(fresh), bytes, digests, sums })
    }

    /// Lets what has gathered be digested and stored, once that is done with the block before.
    async fn hand_over(&mut self) -> Result<(), StorageError> {
        let block = std::mem::take(&mut self.gathered);
        self.gathered_bytes = 0;
        let before = std::mem::replace(&mut self.digesting, Digesting::Idle(Md5::new()));
        let md5 = before.idle().await?;
        self.digesting = Digesting::Busy(self.lanes.update(md5, block.clone()));
        self.store(block).await
    }

    async fn store(&mut self, block: Vec<Bytes>) -> Result<(), StorageError> {
        match &mut self.form {
            Form::Memory(chunks) => chunks.extend(block),
            Form::Disk(writing) => {
                let file = std::mem::replace(writing, Writing::Gone).idle().await?;
                *writing = Writing::Busy(tokio::task::spawn_blocking(move || {
                    write_without_zeros(&file, &block)?;
                    Ok(file)
                }));
            }
        }
        Ok(())
    }
}

impl Digesting {
    async fn idle(self) -> Result<Md5, StorageError> {
        match self {
            Digesting::Idle(md5) => Ok(md5),
            Digesting::Busy(updated) => {
                updated.await.map_err(|_| StorageError::failed("digest a body", "the thread for it has ended"))
            }
        }
    }
}

impl Writing {
    async fn idle(self) -> Result<File, StorageError> {
        match self {
            Writing::Idle(file) => Ok(file),
            Writing::Busy(job) => {
                let written = job.await.map_err(|error| StorageError::failed("write a segment", error))?;
                written.map_err(|error| StorageError::io("write a segment", error))
            }
            Writing::Gone => Err(StorageError::failed("write a segment", "an earlier write failed")),
        }
    }

    /// Makes the file durable, `bytes` long: zeros at its end were not written.
    async fn sync(self, bytes: u64) -> Result<File, StorageError> {
        let file = self.idle().await?;
        let synced = tokio::task::spawn_blocking(move || {
            if file.metadata()?.len() < bytes {
                file.set_len(bytes)?;
            }
            file.sync_data()?;
            Ok(file)
        });
        let synced = synced.await.map_err(|error| StorageError::failed("write a segment", error))?;
        synced.map_err(|error| StorageError::io("write a segment", error))
    }
}

/// Writes a block where the file stands, but leaves a hole for every stretch of zeros.
fn write_without_zeros(mut file: &File, block: &[Bytes]) -> io::Result<()> {
    let mut position = file.stream_position()?;
    let mut gathered: Vec<IoSlice<'_>> = Vec::new();
    for chunk in block {
        let mut rest = &chunk[..];
        while !rest.is_empty() {
            let (zero, bytes) = stretch(rest, position);
            let (now, later) = rest.split_at(bytes);
            if zero {
                write_all(file, std::mem::take(&mut gathered))?;
                file.seek(SeekFrom::Current(i64::try_from(bytes).map_err(io::Error::other)?))?;
            } else {
                gathered.push(IoSlice::new(now));
            }
            position += bytes as u64;
            rest = later;
        }
    }
    write_all(file, gathered)
}

/// Whether `bytes`, which go to `position`, begin with zeros that need not be written, and how many bytes are of the
/// one kind or the other.
fn stretch(bytes: &[u8], position: u64) -> (bool, usize) {
    let mut pieces = Pieces { bytes, position };
    let Some(first) = pieces.next() else { return (false, 0) };
    let zero = is_zero(first);
    let alike = pieces.take_while(|piece| is_zero(piece) == zero).map(<[u8]>::len);
    (zero, first.len() + alike.sum::<usize>())
}

/// Bytes cut where the file's position is a multiple of [`HOLE_BYTES`].
struct Pieces<'b> {
    bytes: &'b [u8],
    position: u64,
}

impl<'b> Iterator for Pieces<'b> {
    type Item = &'b [u8];

    fn next(&mut self) -> Option<&'b [u8]> {
        let room = HOLE_BYTES - usize::try_from(self.position % HOLE_BYTES as u64).unwrap_or(0);
        let (piece, rest) = self.bytes.split_at(room.min(self.bytes.len()));
        (self.bytes, self.position) = (rest, self.position + piece.len() as u64);
        (!piece.is_empty()).then_some(piece)
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<8>();
    // Ends at the first word of data, which is mostly the first of all.
    words.iter().all(|word| u64::from_ne_bytes(*word) == 0) && rest.iter().all(|&byte| byte == 0)
}

fn write_all(mut file: &File, mut slices: Vec<IoSlice<'_>>) -> io::Result<()> {
    let mut left = &mut slices[..];
    while !left.is_empty() {
        match file.write_vectored(left) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut left, written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

impl FreshSegment {
    /// The slice that is the whole segment.
    pub(super) fn whole(&self, bytes: u64, digests: &BodyDigests) -> Slice {
        Slice { segment: self.id, offset: 0, bytes, crc64: digests.crc64.0 }
    }

    /// The segment's number.
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// Leaves the segment to the index, which names it from now on.
    pub(super) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for FreshSegment {
    fn drop(&mut self) {
        if !self.kept {
            self.segments.discard(&[self.id]);
        }
    }
}
