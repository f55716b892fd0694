//! Receiving the bytes of one body into a segment.
//!
//! In memory the buffers of the socket are kept as they are. On disk they are gathered to a block, and a blocking
//! thread digests and writes one block while the next gathers.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Write};
use std::sync::Arc;

use bytes::Bytes;
use tokio::task::JoinHandle;

use crate::server::digest::{BodyDigests, Digests};

use super::StorageError;
use super::records::Slice;
use super::segments::Segments;

/// Bytes that go to a blocking thread at once: enough that handing over costs little beside writing them.
const BLOCK_BYTES: usize = 1 << 20;

/// A buffer of which less than this is used is copied instead of kept: in memory a kept slice holds the whole read
/// buffer of its connection.
const KEEP_BYTES_MIN: usize = 64 << 10;

/// A body on its way in. Dropped before [`SegmentWriter::finish`], it leaves nothing.
pub(in crate::server) struct SegmentWriter {
    fresh: FreshSegment,
    bytes: u64,
    form: Form,
}

enum Form {
    Memory { digests: Box<Digests>, chunks: Vec<Bytes> },
    Disk { gathered: Vec<Bytes>, gathered_bytes: usize, at_work: AtWork },
}

/// Who holds the file and the digests.
enum AtWork {
    Idle(Box<Sink>),
    Writing(JoinHandle<io::Result<Box<Sink>>>),
    /// Only while a call moves it along, or after an error.
    Gone,
}

struct Sink {
    file: File,
    digests: Digests,
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
}

impl SegmentWriter {
    pub(super) async fn create(segments: &Arc<Segments>, with_sha1: bool) -> Result<SegmentWriter, StorageError> {
        let id = segments.fresh_id();
        let fresh = FreshSegment { segments: Arc::clone(segments), id, kept: false };
        let digests = Digests::new(with_sha1);
        let form = match segments.path(id) {
            None => Form::Memory { digests: Box::new(digests), chunks: Vec::new() },
            Some(path) => {
                let file = OpenOptions::new()
                    .write(true)
                    .create(true)
                    .truncate(true)
                    .open(path)
                    .map_err(|error| StorageError::failed("create a segment", error))?;
                let at_work = AtWork::Idle(Box::new(Sink { file, digests }));
                Form::Disk { gathered: Vec::new(), gathered_bytes: 0, at_work }
            }
        };
        Ok(SegmentWriter { fresh, bytes: 0, form })
    }

    /// Bytes taken so far.
    pub(in crate::server) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes the next bytes.
    pub(in crate::server) async fn write(&mut self, chunk: Bytes) -> Result<(), StorageError> {
        self.bytes += chunk.len() as u64;
        match &mut self.form {
            Form::Memory { digests, chunks } => {
                digests.update(&chunk);
                let small = chunk.len() < KEEP_BYTES_MIN;
                chunks.push(if small { Bytes::copy_from_slice(&chunk) } else { chunk });
            }
            Form::Disk { gathered, gathered_bytes, at_work } => {
                *gathered_bytes += chunk.len();
                gathered.push(chunk);
                if *gathered_bytes >= BLOCK_BYTES {
                    let block = std::mem::take(gathered);
                    *gathered_bytes = 0;
                    at_work.start(block).await?;
                }
            }
        }
        Ok(())
    }

    /// Makes the bytes durable and hands them over.
    pub(in crate::server) async fn finish(self) -> Result<Received, StorageError> {
        let SegmentWriter { fresh, bytes, form } = self;
        let digests = match form {
            Form::Memory { digests, chunks } => {
                if bytes > 0 {
                    fresh.segments.keep_in_memory(fresh.id, chunks);
                }
                digests.finish()
            }
            Form::Disk { gathered, mut at_work, .. } => at_work.finish(gathered, bytes).await?,
        };
        Ok(Received { segment: (bytes > 0).then_some(fresh), bytes, digests })
    }
}

impl AtWork {
    /// The sink, once nobody works on it.
    async fn idle(&mut self) -> Result<Box<Sink>, StorageError> {
        match std::mem::replace(self, AtWork::Gone) {
            AtWork::Idle(sink) => Ok(sink),
            AtWork::Writing(job) => {
                let written = job.await.map_err(|error| StorageError::failed("write a segment", error))?;
                written.map_err(|error| StorageError::failed("write a segment", error))
            }
            AtWork::Gone => Err(StorageError::failed("write a segment", "an earlier write failed")),
        }
    }

    async fn start(&mut self, block: Vec<Bytes>) -> Result<(), StorageError> {
        let mut sink = self.idle().await?;
        *self = AtWork::Writing(tokio::task::spawn_blocking(move || {
            sink.take(&block)?;
            Ok(sink)
        }));
        Ok(())
    }

    async fn finish(&mut self, block: Vec<Bytes>, bytes: u64) -> Result<BodyDigests, StorageError> {
        let mut sink = self.idle().await?;
        let finished = tokio::task::spawn_blocking(move || {
            sink.take(&block)?;
            // An empty body needs no file, so none of its own is made durable.
            if bytes > 0 {
                sink.file.sync_data()?;
            }
            Ok(sink.digests.finish())
        });
        let finished: io::Result<BodyDigests> =
            finished.await.map_err(|error| StorageError::failed("write a segment", error))?;
        finished.map_err(|error| StorageError::failed("write a segment", error))
    }
}

impl Sink {
    fn take(&mut self, block: &[Bytes]) -> io::Result<()> {
        for chunk in block {
            self.digests.update(chunk);
        }
        let mut slices: Vec<IoSlice<'_>> = block.iter().map(|chunk| IoSlice::new(chunk)).collect();
        let mut left = &mut slices[..];
        // Slices of no bytes would make a write of nothing look like a full disk.
        IoSlice::advance_slices(&mut left, 0);
        while !left.is_empty() {
            match self.file.write_vectored(left) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => IoSlice::advance_slices(&mut left, written),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl FreshSegment {
    /// The slice that is the whole segment.
    pub(super) fn whole(&self, bytes: u64, digests: &BodyDigests) -> Slice {
        Slice { segment: self.id, offset: 0, bytes, crc64: digests.crc64.0 }
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
