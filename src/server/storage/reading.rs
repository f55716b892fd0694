//! The bytes of an object on their way out, verified before the first of them leaves.
//!
//! From memory they are the stored buffers themselves. From disk a short range is read and verified at once; of a long
//! one the files are verified first, unless they are as they were when that was last done, and then read in blocks
//! from a blocking thread, one block ahead of the socket and verified again. So whoever asks for damaged bytes is
//! refused, instead of being given an answer that breaks off.

use std::fs::File;
use std::future::Future;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::task::JoinHandle;

use crate::object::{Crc64, Crc64Hasher};

use super::StorageError;
use super::index::Snapshot;
use super::records::Slice;
use super::segments::{MemorySegment, ReaderGuard, Segments, open_file};
use super::sums::{self, unpack_sums};

/// Bytes read from disk at once. Two such blocks are held for each answer.
const BLOCK_BYTES: u64 = 512 << 10;

/// A slice without checksums of its blocks is read whole to verify a piece of it, up to this size. Larger ones are of
/// directories that were filled before blocks had checksums; a small range of them is not verified.
const WHOLE_SLICE_BYTES_MAX: u64 = 16 << 20;

/// What is verified before an answer begins. It takes a second or so from a slow disk; what lies behind it is looked
/// for, and verified while it is sent.
const AHEAD_BYTES_MAX: u64 = 1 << 30;

/// A stretch of a slice that is to be read, and what it is verified by.
#[derive(Clone, Debug)]
pub(super) struct Cut {
    /// The stretch. Its checksum is that of the bytes only if nothing was cut off.
    pub slice: Slice,
    /// What it was cut out of.
    pub of: Slice,
    /// The checksums of the segment's blocks.
    sums: Option<Arc<[u64]>>,
}

/// A range of an object, as a sequence of buffers.
pub(in crate::server) struct Reading {
    guard: ReaderGuard,
    /// What is still to be read, in reverse: the next cut is the last.
    cuts: Vec<Cut>,
    form: Form,
}

enum Form {
    /// The segment that was looked up last, and its id.
    Memory(Option<(u64, Arc<MemorySegment>)>),
    /// All of it, read already.
    Read(Option<Bytes>),
    Disk(Option<JoinHandle<io::Result<(Bytes, OpenSegment)>>>, Option<OpenSegment>),
}

/// The file that was read last, kept open for the next block of the same segment.
struct OpenSegment {
    id: u64,
    file: File,
}

impl Reading {
    /// The bytes `start..end` of what `slices` cover.
    ///
    /// # Errors
    /// [`StorageError::Damaged`] if they are not what was stored.
    pub(super) async fn begin(
        guard: ReaderGuard,
        snapshot: &Snapshot,
        slices: &[Slice],
        range: Range<u64>,
    ) -> Result<Reading, StorageError> {
        let mut cuts = clip(slices, range.start, range.end);
        if guard.segments.are_in_memory() {
            cuts.reverse();
            return Ok(Reading { guard, cuts, form: Form::Memory(None) });
        }
        let known = snapshot.sums()?;
        for cut in &mut cuts {
            cut.sums = known.get(cut.slice.segment)?.map(|row| unpack_sums(row.value()).into());
        }
        if range.end - range.start <= BLOCK_BYTES {
            let (segments, cuts) = (Arc::clone(&guard.segments), cuts);
            let bytes = on_a_blocking_thread(move || read_short(&segments, &cuts)).await?;
            return Ok(Reading { guard, cuts: Vec::new(), form: Form::Read(Some(bytes)) });
        }
        let segments = Arc::clone(&guard.segments);
        let mut cuts = on_a_blocking_thread(move || verify(&segments, &cuts).map(|()| cuts)).await?;
        cuts.reverse();
        Ok(Reading { guard, cuts, form: Form::Disk(None, None) })
    }

    /// The next buffer; `None` after the last.
    pub(in crate::server) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        match &mut self.form {
            Form::Memory(latest) => Poll::Ready(next_in_memory(&self.guard, latest, &mut self.cuts).transpose()),
            Form::Read(bytes) => Poll::Ready(bytes.take().filter(|bytes| !bytes.is_empty()).map(Ok)),
            Form::Disk(job, latest) => {
                if job.is_none() {
                    *job = start_block(&self.guard, latest.take(), &mut self.cuts);
                }
                let Some(running) = job else { return Poll::Ready(None) };
                let read = ready!(Pin::new(running).poll(context)).map_err(io::Error::other).flatten();
                *job = None;
                Poll::Ready(Some(read.map(|(block, opened)| {
                    *job = start_block(&self.guard, Some(opened), &mut self.cuts);
                    block
                })))
            }
        }
    }
}

async fn on_a_blocking_thread<T: Send + 'static>(
    job: impl FnOnce() -> Result<T, StorageError> + Send + 'static,
) -> Result<T, StorageError> {
    let ended = tokio::task::spawn_blocking(job).await;
    ended.map_err(|error| StorageError::failed("read a segment", error))?
}

/// The part of `slices` that lies in `start..end` of the bytes that they cover together.
pub(super) fn clip(slices: &[Slice], start: u64, end: u64) -> Vec<Cut> {
    let mut cuts = Vec::new();
    let mut position = 0;
    for &of in slices {
        let (from, to) = (start.max(position), end.min(position + of.bytes));
        if from < to {
            let slice = Slice { offset: of.offset + (from - position), bytes: to - from, ..of };
            cuts.push(Cut { slice, of, sums: None });
        }
        position += of.bytes;
        if position >= end {
            break;
        }
    }
    cuts
}

impl Cut {
    /// Whether nothing was cut off.
    pub(super) fn is_whole(&self) -> bool {
        self.slice == self.of
    }

    /// Where it is in what it was cut out of.
    pub(super) fn range(&self) -> Range<u64> {
        let start = self.slice.offset - self.of.offset;
        start..start + self.slice.bytes
    }

    fn damaged(&self, what: impl Into<String>) -> StorageError {
        StorageError::Damaged { segment: self.slice.segment, what: what.into() }
    }
}

/// Takes up to `bytes_max` bytes off the front of what is left.
fn take_front(cuts: &mut Vec<Cut>, bytes_max: u64) -> Option<Cut> {
    let next = cuts.last_mut()?;
    let bytes = next.slice.bytes.min(bytes_max);
    if bytes == next.slice.bytes {
        return cuts.pop();
    }
    let taken = Cut { slice: Slice { bytes, ..next.slice }, ..next.clone() };
    next.slice.offset += bytes;
    next.slice.bytes -= bytes;
    Some(taken)
}

fn next_in_memory(
    guard: &ReaderGuard,
    latest: &mut Option<(u64, Arc<MemorySegment>)>,
    cuts: &mut Vec<Cut>,
) -> io::Result<Option<Bytes>> {
    let Some(next) = cuts.last().map(|cut| cut.slice) else { return Ok(None) };
    let segment = match latest.take() {
        Some((id, segment)) if id == next.segment => segment,
        _ => guard.segments.in_memory_segment(next.segment)?,
    };
    let index = segment.ends.partition_point(|&end| end <= next.offset);
    let missing = || io::Error::new(io::ErrorKind::UnexpectedEof, "a segment is shorter than the index says");
    let chunk = segment.chunks.get(index).ok_or_else(missing)?;
    let chunk_left = segment.ends[index] - next.offset;
    let Some(taken) = take_front(cuts, chunk_left) else { return Ok(None) };
    let from = chunk.len() - usize::try_from(chunk_left).map_err(io::Error::other)?;
    let bytes = chunk.slice(from..from + usize::try_from(taken.slice.bytes).map_err(io::Error::other)?);
    *latest = Some((taken.slice.segment, segment));
    Ok(Some(bytes))
}

/// Starts to read the next block on a blocking thread; `None` if nothing is left.
fn start_block(
    guard: &ReaderGuard,
    latest: Option<OpenSegment>,
    cuts: &mut Vec<Cut>,
) -> Option<JoinHandle<io::Result<(Bytes, OpenSegment)>>> {
    // Up to where a block with a checksum ends, so that none is read twice.
    let into_block = cuts.last()?.slice.offset % sums::BLOCK_BYTES;
    let next = take_front(cuts, BLOCK_BYTES - into_block)?;
    let path = guard.segments.path(next.slice.segment)?;
    Some(tokio::task::spawn_blocking(move || {
        let opened = match latest {
            Some(opened) if opened.id == next.slice.segment => opened,
            _ => OpenSegment { id: next.slice.segment, file: open_file(&path)? },
        };
        let read = read_cut(&opened.file, &next).inspect_err(|error| error.log("an answer was cut off"));
        Ok((read.map_err(io::Error::other)?, opened))
    }))
}

/// Reads and verifies a short range at once.
fn read_short(segments: &Segments, cuts: &[Cut]) -> Result<Bytes, StorageError> {
    let mut read = Vec::with_capacity(cuts.len());
    for cut in cuts {
        let file = open(segments, cut)?;
        if cut.sums.is_none() && !cut.is_whole() {
            verify_slice(segments, cut, &file)?;
        }
        read.push(read_cut(&file, cut)?);
    }
    Ok(if read.len() == 1 { read.swap_remove(0) } else { read.concat().into() })
}

/// Verifies cuts as far as they are not known to be as they were stored.
pub(super) fn verify(segments: &Segments, cuts: &[Cut]) -> Result<(), StorageError> {
    let mut bytes = 0;
    for cut in cuts {
        let file = open(segments, cut)?;
        if file_bytes(&file, cut)? < cut.slice.offset + cut.slice.bytes {
            return Err(cut.damaged("it is cut short"));
        }
        if bytes < AHEAD_BYTES_MAX && !segments.is_verified(cut.slice.segment, &file) {
            bytes += cut.slice.bytes;
            verify_cut(segments, cut, &file)?;
        }
    }
    Ok(())
}

fn verify_cut(segments: &Segments, cut: &Cut, file: &File) -> Result<(), StorageError> {
    if cut.sums.is_none() {
        return verify_slice(segments, cut, file);
    }
    let mut left = vec![cut.clone()];
    while let Some(next) = left.last() {
        let into_block = next.slice.offset % sums::BLOCK_BYTES;
        let Some(next) = take_front(&mut left, BLOCK_BYTES - into_block) else { break };
        read_cut(file, &next)?;
    }
    if cut.slice.offset == 0 && cut.slice.bytes == file_bytes(file, cut)? {
        segments.set_verified(cut.slice.segment, file);
    }
    Ok(())
}

/// Verifies the whole slice that a cut is of, by the checksum of the slice. What is too long for a small piece of it
/// is let pass.
fn verify_slice(segments: &Segments, cut: &Cut, file: &File) -> Result<(), StorageError> {
    let of = cut.of;
    if segments.is_verified(of.segment, file) || (of.bytes > WHOLE_SLICE_BYTES_MAX && !cut.is_whole()) {
        return Ok(());
    }
    let mut crc64 = Crc64Hasher::new();
    let mut position = 0;
    while position < of.bytes {
        let bytes = BLOCK_BYTES.min(of.bytes - position);
        crc64.update(&read_at(file, of.offset + position, bytes).map_err(|error| unreadable(cut, &error))?);
        position += bytes;
    }
    if crc64.value() != Crc64(of.crc64) {
        return Err(cut.damaged("its checksum is another"));
    }
    if of.offset == 0 && of.bytes == file_bytes(file, cut)? {
        segments.set_verified(of.segment, file);
    }
    Ok(())
}

/// Reads a cut, and verifies it where blocks have checksums or nothing was cut off.
fn read_cut(file: &File, cut: &Cut) -> Result<Bytes, StorageError> {
    let Slice { offset, bytes, crc64, .. } = cut.slice;
    let read = |from, bytes| read_at(file, from, bytes).map_err(|error| unreadable(cut, &error));
    let Some(sums) = &cut.sums else {
        let block = read(offset, bytes)?;
        return match cut.is_whole() && Crc64::of(&block) != Crc64(crc64) {
            true => Err(cut.damaged("its checksum is another")),
            false => Ok(block),
        };
    };
    let segment_bytes = file_bytes(file, cut)?;
    let first = offset / sums::BLOCK_BYTES;
    let end = (offset + bytes).next_multiple_of(sums::BLOCK_BYTES).min(segment_bytes);
    if offset + bytes > segment_bytes || segment_bytes.div_ceil(sums::BLOCK_BYTES) != sums.len() as u64 {
        return Err(cut.damaged("it is cut short or has grown"));
    }
    let blocks = read(first * sums::BLOCK_BYTES, end - first * sums::BLOCK_BYTES)?;
    let index = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    for (block, sum) in blocks.chunks(index(sums::BLOCK_BYTES)).zip(&sums[index(first)..]) {
        if Crc64::of(block) != Crc64(*sum) {
            return Err(cut.damaged("the checksum of a block is another"));
        }
    }
    let from = index(offset - first * sums::BLOCK_BYTES);
    Ok(blocks.slice(from..from + index(bytes)))
}

/// The checksum of a cut, from those of its blocks: what is left of a block at either end is read and verified. Whether the
/// blocks between are as they were stored is found out when they are read.
///
/// # Errors
/// [`StorageError::Damaged`] if what was read is not what was stored.
pub(super) async fn checksum_of(guard: ReaderGuard, snapshot: &Snapshot, cut: Cut) -> Result<Crc64, StorageError> {
    let sums = match guard.segments.are_in_memory() {
        true => None,
        false => snapshot.sums()?.get(cut.slice.segment)?.map(|row| unpack_sums(row.value()).into()),
    };
    if sums.is_some() {
        let (segments, cut) = (Arc::clone(&guard.segments), Cut { sums, ..cut });
        return on_a_blocking_thread(move || checksum_by_blocks(&segments, &cut)).await;
    }
    let mut reading = Reading::begin(guard, snapshot, &[cut.of], cut.range()).await?;
    let mut crc64 = Crc64Hasher::new();
    while let Some(block) = std::future::poll_fn(|context| reading.poll_next(context)).await {
        crc64.update(&block.map_err(|error| StorageError::io("read a segment", error))?);
    }
    Ok(crc64.value())
}

fn checksum_by_blocks(segments: &Segments, cut: &Cut) -> Result<Crc64, StorageError> {
    let file = open(segments, cut)?;
    let (start, end) = (cut.slice.offset, cut.slice.offset + cut.slice.bytes);
    let read = |range: Range<u64>| -> Result<Crc64, StorageError> {
        let slice = Slice { offset: range.start, bytes: range.end - range.start, ..cut.slice };
        Ok(Crc64::of(&read_cut(&file, &Cut { slice, ..cut.clone() })?))
    };
    let (first, last) = (start.next_multiple_of(sums::BLOCK_BYTES), end - end % sums::BLOCK_BYTES);
    if first >= last {
        return read(start..end);
    }
    let mut crc64 = if start < first { read(start..first)? } else { Crc64::EMPTY };
    let index = |at: u64| usize::try_from(at / sums::BLOCK_BYTES).unwrap_or(usize::MAX);
    let blocks = cut.sums.as_deref().and_then(|sums| sums.get(index(first)..index(last)));
    for sum in blocks.ok_or_else(|| cut.damaged("it has fewer blocks than the index says"))? {
        crc64 = crc64.followed_by(Crc64(*sum), sums::BLOCK_BYTES);
    }
    Ok(if last < end { crc64.followed_by(read(last..end)?, end - last) } else { crc64 })
}

fn open(segments: &Segments, cut: &Cut) -> Result<File, StorageError> {
    let path = segments.path(cut.slice.segment).ok_or_else(|| cut.damaged("it is not on disk"))?;
    open_file(&path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => cut.damaged("it is missing"),
        // Not the segment's fault: too many open files, for example.
        _ => StorageError::io("open a segment", error),
    })
}

fn file_bytes(file: &File, cut: &Cut) -> Result<u64, StorageError> {
    file.metadata().map(|found| found.len()).map_err(|error| unreadable(cut, &error))
}

fn unreadable(cut: &Cut, error: &io::Error) -> StorageError {
    cut.damaged(format!("it cannot be read: {error}"))
}

fn read_at(mut file: &File, offset: u64, bytes: u64) -> io::Result<Bytes> {
    file.seek(SeekFrom::Start(offset))?;
    let mut block = Vec::with_capacity(usize::try_from(bytes).map_err(io::Error::other)?);
    file.take(bytes).read_to_end(&mut block)?;
    if block.len() as u64 != bytes {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it is shorter than the index says"));
    }
    Ok(Bytes::from(block))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice(segment: u64, offset: u64, bytes: u64) -> Slice {
        Slice { segment, offset, bytes, crc64: 0 }
    }

    #[test]
    fn a_range_is_cut_out_of_the_slices_that_it_touches() {
        let slices = [slice(1, 0, 10), slice(2, 5, 10), slice(3, 0, 10)];
        let table: [(u64, u64, &[Slice]); 6] = [
            (0, 30, &slices),
            (0, 10, &slices[..1]),
            (9, 11, &[slice(1, 9, 1), slice(2, 5, 1)]),
            (12, 14, &[slice(2, 7, 2)]),
            (29, 30, &[slice(3, 9, 1)]),
            (30, 30, &[]),
        ];
        for (start, end, expected) in table {
            let cut: Vec<Slice> = clip(&slices, start, end).iter().map(|cut| cut.slice).collect();
            assert_eq!(cut, expected, "{start}..{end}");
        }
    }
}
