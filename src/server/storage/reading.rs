//! The bytes of an object on their way out.
//!
//! From memory they are the stored buffers themselves. From disk they come in blocks from a blocking thread, which
//! reads one block ahead of the socket.

use std::fs::File;
use std::future::Future;
use std::io::{self, Read, Seek, SeekFrom};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::task::JoinHandle;

use super::records::Slice;
use super::segments::{MemorySegment, ReaderGuard, open_file};

/// Bytes read from disk at once. Two such blocks are held for each answer.
const BLOCK_BYTES: u64 = 512 << 10;

/// A range of an object, as a sequence of buffers.
pub(in crate::server) struct Reading {
    guard: ReaderGuard,
    /// What is still to be read, in reverse: the next slice is the last.
    slices: Vec<Slice>,
    form: Form,
}

enum Form {
    /// The segment that was looked up last, and its id.
    Memory(Option<(u64, Arc<MemorySegment>)>),
    Disk(Option<JoinHandle<io::Result<(Bytes, OpenSegment)>>>, Option<OpenSegment>),
}

/// The file that was read last, kept open for the next block of the same segment.
struct OpenSegment {
    id: u64,
    file: File,
}

impl Reading {
    /// The bytes `start..end` of what `slices` cover.
    pub(super) fn new(guard: ReaderGuard, slices: &[Slice], start: u64, end: u64) -> Reading {
        let mut cut = clip(slices, start, end);
        cut.reverse();
        let form = if guard.segments.are_in_memory() { Form::Memory(None) } else { Form::Disk(None, None) };
        Reading { guard, slices: cut, form }
    }

    /// The next buffer; `None` after the last.
    pub(in crate::server) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        match &mut self.form {
            Form::Memory(latest) => Poll::Ready(next_in_memory(&self.guard, latest, &mut self.slices).transpose()),
            Form::Disk(job, latest) => {
                if job.is_none() {
                    *job = start_block(&self.guard, latest.take(), &mut self.slices);
                }
                let Some(running) = job else { return Poll::Ready(None) };
                let read = ready!(Pin::new(running).poll(context)).map_err(io::Error::other).flatten();
                *job = None;
                Poll::Ready(Some(read.map(|(block, opened)| {
                    *job = start_block(&self.guard, Some(opened), &mut self.slices);
                    block
                })))
            }
        }
    }
}

/// The part of `slices` that lies in `start..end` of the bytes that they cover together. The checksum of a slice that
/// was cut is not that of its bytes any more.
pub(super) fn clip(slices: &[Slice], start: u64, end: u64) -> Vec<Slice> {
    let mut cut = Vec::new();
    let mut position = 0;
    for slice in slices {
        let (from, to) = (start.max(position), end.min(position + slice.bytes));
        if from < to {
            cut.push(Slice { offset: slice.offset + (from - position), bytes: to - from, ..*slice });
        }
        position += slice.bytes;
        if position >= end {
            break;
        }
    }
    cut
}

/// Takes up to `bytes_max` bytes off the front of what is left.
fn take_front(slices: &mut Vec<Slice>, bytes_max: u64) -> Option<Slice> {
    let next = slices.last_mut()?;
    let taken = Slice { bytes: next.bytes.min(bytes_max), ..*next };
    if taken.bytes == next.bytes {
        slices.pop();
    } else {
        next.offset += taken.bytes;
        next.bytes -= taken.bytes;
    }
    Some(taken)
}

fn next_in_memory(
    guard: &ReaderGuard,
    latest: &mut Option<(u64, Arc<MemorySegment>)>,
    slices: &mut Vec<Slice>,
) -> io::Result<Option<Bytes>> {
    let Some(next) = slices.last() else { return Ok(None) };
    let segment = match latest.take() {
        Some((id, segment)) if id == next.segment => segment,
        _ => guard.segments.in_memory_segment(next.segment)?,
    };
    let index = segment.ends.partition_point(|&end| end <= next.offset);
    let missing = || io::Error::new(io::ErrorKind::UnexpectedEof, "a segment is shorter than the index says");
    let chunk = segment.chunks.get(index).ok_or_else(missing)?;
    let chunk_left = segment.ends[index] - next.offset;
    let Some(taken) = take_front(slices, chunk_left) else { return Ok(None) };
    let from = chunk.len() - usize::try_from(chunk_left).map_err(io::Error::other)?;
    let bytes = chunk.slice(from..from + usize::try_from(taken.bytes).map_err(io::Error::other)?);
    *latest = Some((taken.segment, segment));
    Ok(Some(bytes))
}

/// Starts to read the next block on a blocking thread; `None` if nothing is left.
fn start_block(
    guard: &ReaderGuard,
    latest: Option<OpenSegment>,
    slices: &mut Vec<Slice>,
) -> Option<JoinHandle<io::Result<(Bytes, OpenSegment)>>> {
    let next = take_front(slices, BLOCK_BYTES)?;
    let path = guard.segments.path(next.segment)?;
    Some(tokio::task::spawn_blocking(move || {
        let opened = match latest {
            Some(opened) if opened.id == next.segment => opened,
            _ => OpenSegment { id: next.segment, file: open_file(&path)? },
        };
        Ok((read_slice(&opened.file, &next)?, opened))
    }))
}

fn read_slice(mut file: &File, slice: &Slice) -> io::Result<Bytes> {
    file.seek(SeekFrom::Start(slice.offset))?;
    let mut block = Vec::with_capacity(usize::try_from(slice.bytes).map_err(io::Error::other)?);
    file.take(slice.bytes).read_to_end(&mut block)?;
    if block.len() as u64 != slice.bytes {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "a segment is shorter than the index says"));
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
            assert_eq!(clip(&slices, start, end), expected, "{start}..{end}");
        }
    }
}
