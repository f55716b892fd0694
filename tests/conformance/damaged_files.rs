//! Files over a way on which bits flip, up and down: what a program is told is right is right.
//!
//! Each round does one thing to one file (makes, replaces, edits, appends to, copies or reads it) while one bit flips somewhere
//! in the bytes that go to and fro. A success means that the object is what it should be; after an error it is that, or what it was
//! before. `COSMOUNT_FLIPS` says how many rounds; few by default, because each may wait for a peer that lost count.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use bytes::Bytes;
use cosmount::clock::Clock;
use cosmount::fs::{
    FileName, FileSystem, FileSystemParts, FsError, FsOptions, HandleId, OpenMode, Owner, ROOT, WriteOutcome,
};
use cosmount::memory::Memory;
use cosmount::read::ReadOptions;
use cosmount::upload::UploadOptions;

use crate::damage::Damaged;

const MIB: usize = 1 << 20;

/// A file of one PUT, and one of several parts.
const SIZES: [usize; 2] = [40_000, 3 * MIB + 1000];

const ROUNDS_DEFAULT: usize = 60;

const READ: OpenMode =
    OpenMode { writes: false, truncates: false, appends: false, reads: true, exclusive: false, opener: 0 };
const WRITE: OpenMode = OpenMode { writes: true, reads: false, ..READ };
const APPEND: OpenMode = OpenMode { appends: true, ..WRITE };
const REPLACE: OpenMode = OpenMode { truncates: true, ..WRITE };

#[derive(Clone, Copy, Debug)]
enum Doing {
    Replace,
    Edit,
    Append,
    Copy,
    Read,
}

/// A mount that knows nothing yet, as after a remount.
fn mounted(bed: &Damaged) -> Arc<FileSystem> {
    FileSystem::new(FileSystemParts {
        store: bed.store(),
        options: FsOptions::default(),
        upload: UploadOptions { part_bytes: MIB as u64, concurrency: 2, ..UploadOptions::default() },
        read: ReadOptions::default(),
        memory: Memory::new(64 * MIB),
        clock: Clock::System,
        stats: Arc::default(),
        runtime: tokio::runtime::Handle::current(),
        others: None,
    })
}

async fn write(fs: &FileSystem, handle: HandleId, offset: u64, data: &[u8]) -> Result<(), FsError> {
    match fs.write(handle, offset, data)? {
        WriteOutcome::Done => Ok(()),
        WriteOutcome::Partly { offset, taken } => {
            fs.write_rest(handle, offset, &data[taken..], &AtomicUsize::new(0)).await
        }
    }
}

async fn read(fs: &FileSystem, handle: HandleId) -> Result<Vec<u8>, FsError> {
    let mut all = Vec::new();
    loop {
        let bytes = fs.read(handle, all.len() as u64, 128 << 10).await?;
        if bytes.as_ref().is_empty() {
            return Ok(all);
        }
        all.extend_from_slice(bytes.as_ref());
    }
}

/// Does it to the file `f`, and gives what was read; the file is closed whatever happens.
async fn attempt(fs: &FileSystem, doing: Doing, new: &[u8], at: u64) -> Result<Option<Vec<u8>>, FsError> {
    let name = FileName::new("f").unwrap();
    let ino = fs.lookup(ROOT, &name).await?.ino;
    let mode = match doing {
        Doing::Replace => REPLACE,
        Doing::Edit => WRITE,
        Doing::Append => APPEND,
        Doing::Copy | Doing::Read => READ,
    };
    let handle = fs.open(ino, mode).await?.handle;
    let done = match doing {
        Doing::Replace | Doing::Edit | Doing::Append => write(fs, handle, at, new).await.map(|()| None),
        Doing::Read => read(fs, handle).await.map(Some),
        Doing::Copy => copied(fs, handle).await.map(|()| None),
    };
    let closed = fs.flush(handle, |_| async { false }).await;
    fs.release(handle).await;
    done.and_then(|read| closed.map(|()| read))
}

/// Makes `g` a copy of the open file.
async fn copied(fs: &FileSystem, from: HandleId) -> Result<(), FsError> {
    let owner = Owner { uid: 0, gid: 0 };
    let (_, to) = fs.create(ROOT, &FileName::new("g").unwrap(), 0o644, owner, WRITE).await?;
    let mut offset = 0;
    let copied = loop {
        match fs.copy_range((from, offset), (to.handle, offset), 1 << 30).await {
            Ok(0) => break Ok(()),
            Ok(bytes) => offset += bytes,
            Err(error) => break Err(error),
        }
    };
    let closed = fs.flush(to.handle, |_| async { false }).await;
    fs.release(to.handle).await;
    copied.and(closed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_flip_on_the_way_is_taken_for_right() {
    let rounds = std::env::var("COSMOUNT_FLIPS").ok().and_then(|rounds| rounds.parse().ok());
    let mut bed = Damaged::new(5).await;
    let (mut failed, mut hit) = (0, 0);
    for round in 0..rounds.unwrap_or(ROUNDS_DEFAULT) {
        let size = SIZES[round / 5 % 2];
        let doing = [Doing::Replace, Doing::Edit, Doing::Append, Doing::Copy, Doing::Read][round % 5];
        let old = bed.bytes(size);
        bed.store_behind("f", &old).await;
        bed.remove_behind("g").await;
        let new = bed.bytes(if matches!(doing, Doing::Replace) { size } else { 3000 });
        let at = if matches!(doing, Doing::Edit) { bed.random(size as u64 - 3000) } else { 0 };
        let mut wanted = old.to_vec();
        match doing {
            Doing::Replace => wanted = new.to_vec(),
            Doing::Edit => wanted[at as usize..at as usize + new.len()].copy_from_slice(&new),
            Doing::Append => wanted.extend_from_slice(&new),
            Doing::Copy | Doing::Read => {}
        }
        // Large bodies go up when a file is replaced, and down when it is read; otherwise a little goes to and fro.
        let (up, down) = match doing {
            Doing::Replace => (size as u64, 1500),
            Doing::Read => (1500, size as u64),
            Doing::Edit | Doing::Append | Doing::Copy => (6000, 6000),
        };
        bed.flip_somewhere(up, down);
        let at = if matches!(doing, Doing::Append) { size as u64 } else { at };
        let fs = mounted(&bed);
        let outcome = attempt(&fs, doing, &new, at).await;
        // What is published in the background is published before anybody looks.
        let _ = fs.publish_all().await;
        hit += usize::from(bed.stop_flipping());
        failed += usize::from(outcome.is_err());
        check(&bed, doing, &outcome, (&old, &wanted), round).await;
    }
    println!("{hit} flips, {failed} calls failed");
}

async fn check(
    bed: &Damaged,
    doing: Doing,
    outcome: &Result<Option<Vec<u8>>, FsError>,
    (old, wanted): (&Bytes, &[u8]),
    round: usize,
) {
    let object = bed.stored_as("f").await.unwrap_or_default();
    match (doing, outcome) {
        (Doing::Read, Ok(read)) => assert!(read.as_deref() == Some(wanted), "round {round}: other bytes were read"),
        (Doing::Copy, Ok(_)) => {
            let copy = bed.stored_as("g").await.unwrap_or_default();
            assert!(copy == *old, "round {round}: the copy is another file");
        }
        (_, Ok(_)) => assert!(object == wanted, "round {round}: {doing:?} succeeded, and the object is another"),
        (_, Err(error)) => {
            assert!(
                object == *old || object == wanted,
                "round {round}: {doing:?} failed ({error}), and the object is damaged"
            );
        }
    }
}
