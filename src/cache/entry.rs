//! The copy of one version: a file with its bytes, and beside it one with a checksum for each grain that is there.
//!
//! The file with the bytes has exactly the object's size, with holes where nothing has come yet. A grain is there once its
//! record is: the bytes are written first, and what a crash leaves of either does not agree with the other. So nothing needs
//! to be synced.

use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, IoSliceMut};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, fcntl_getfl, openat2};
use rustix::io::{Errno, ReadWriteFlags, preadv2};

use super::data_file::{DataFile, slice_of};
use super::header::{HEADER_BYTES, Header, Identity};
use super::proof::Proof;
use super::{Description, GRAIN_BYTES};
use crate::object::{Checksum, ChecksumAlgorithm};

/// The bytes of a record: the checksum of a grain with all bits turned, so that where nothing was written nothing is there.
pub(super) const RECORD_BYTES: u64 = 8;

/// Records that are looked at together when a file is gone through, 256 KiB of them for 128 MiB.
const RECORDS_AT_ONCE: u64 = 32 << 10;

/// How much later a file must have been used than is written down for that to be written anew.
const USE_NOTED_EVERY: Duration = Duration::from_secs(60);

/// An epoch that never is.
const NEVER: u64 = u64::MAX;

/// How often a file is opened anew that somebody evicts at the same time.
const OPEN_ATTEMPTS: usize = 3;

/// How long who writes waits for others who write the same copy, and how often he looks whether they have done.
const ALONE_PATIENCE: Duration = Duration::from_secs(1);
const ALONE_LOOK_EVERY: Duration = Duration::from_millis(1);

/// What a look into a copy gives.
#[derive(Debug, PartialEq, Eq)]
pub enum Look {
    /// The bytes that were asked for.
    Bytes(Vec<u8>),
    /// Some of them are not there.
    Absent,
    /// They are to be read from the disk, which takes a while.
    Waits,
}

/// The copy of one version. It is not evicted while this is.
pub struct Entry {
    files: Files,
    /// Std mutex, 8 in the order of locks, taken under that of `count`: one page is written.
    header: Mutex<Header>,
    /// What is known of the version beside its bytes. Std mutex, 8 in the order of locks, taken under that of the header: assignments
    /// only.
    description: Mutex<Option<Arc<Description>>>,
    /// That of the header, for who must not wait for the disk. Std mutex, 8 in the order of locks, taken under that of the header:
    /// assignments only.
    proof: Mutex<Option<Proof>>,
    identity: Identity,
    algorithm: ChecksumAlgorithm,
    data: DataFile,
    records: File,
    is_whole: AtomicBool,
    is_verified: AtomicBool,
    /// The epoch in which all that is in the file was written by this process. Once something was found to be damaged nobody knows what
    /// else is.
    own_epoch: AtomicU64,
    /// Who reads the file by itself.
    claims: AtomicUsize,
    /// It is no copy any more: see [`Entry::detach`].
    is_detached: AtomicBool,
    /// How often something of it was forgotten: what came before that is not written any more.
    epoch: AtomicU64,
    /// What has come of it and waits to be written, in bytes.
    waiting_bytes: AtomicU64,
    /// What has come of it and the disk could not take, in bytes.
    lost_bytes: AtomicU64,
    /// Grains that are there, once somebody has counted. Std mutex, 8 in the order of locks: held while grains are written. Who
    /// reads takes it where something is damaged, and no other time.
    count: Mutex<Option<u64>>,
}

/// The disk has to be waited for.
#[derive(Debug)]
pub struct Waits;

/// The two files of an entry.
#[derive(Clone, Debug)]
pub(super) struct Files {
    pub(super) data: PathBuf,
    pub(super) records: PathBuf,
}

impl Files {
    pub(super) fn at(directory: &Path, name: &str) -> Files {
        let shard = directory.join(&name[..2]);
        Files { data: shard.join(format!("{name}.data")), records: shard.join(format!("{name}.sums")) }
    }

    /// Removes both, unless somebody has them open. Returns whether they are gone.
    pub(super) fn evict(&self) -> bool {
        match OpenOptions::new().read(true).write(true).open(&self.data) {
            // Whoever has removed it before may have made another one, which somebody has open.
            Ok(data) => data.try_lock().is_ok() && data.metadata().is_ok_and(|data| data.nlink() > 0) && self.remove(),
            // What has records and no bytes is good for nothing. Another mount may have removed both.
            Err(error) if error.kind() == io::ErrorKind::NotFound => match std::fs::remove_file(&self.records) {
                Err(error) => error.kind() == io::ErrorKind::NotFound,
                Ok(()) => true,
            },
            Err(_) => false,
        }
    }

    /// What is written down beside a copy, if it is a whole one of that version. Waits for the disk.
    pub(super) fn description(&self, identity: &Identity, algorithm: ChecksumAlgorithm) -> Option<Description> {
        read_header(&File::open(&self.records).ok()?).ok()??.description_of(identity, algorithm)
    }

    /// The same without waiting for the disk: what has to is `Err`.
    pub(super) fn description_now(
        &self,
        identity: &Identity,
        algorithm: ChecksumAlgorithm,
    ) -> Result<Option<Description>, Waits> {
        let Some(records) = open_now(&self.records)? else { return Ok(None) };
        Ok(read_header_now(&records)?.and_then(|header| header.description_of(identity, algorithm)))
    }

    fn remove(&self) -> bool {
        // Without its records the other file says nothing.
        let _ = std::fs::remove_file(&self.records);
        std::fs::remove_file(&self.data).is_ok()
    }
}

impl Entry {
    /// The copy of a version in those files, made if there is none.
    pub(super) fn open(files: &Files, identity: &Identity, algorithm: ChecksumAlgorithm) -> io::Result<Entry> {
        for _ in 0..OPEN_ATTEMPTS {
            let data = open(&files.data)?;
            if data.try_lock_shared().is_err() {
                // Somebody evicts it, or takes it for himself.
                continue;
            }
            if data.metadata()?.nlink() == 0 {
                // Evicted between the two.
                continue;
            }
            let records = open(&files.records)?;
            let Some((header, is_new)) = agreed(&records, &data, identity, algorithm)? else {
                // Nobody else may have it open, who could have made it anew.
                data.unlock()?;
                if data.try_lock().is_err() || data.metadata()?.nlink() > 0 && !files.remove() {
                    break;
                }
                continue;
            };
            if data.metadata()?.len() != identity.size {
                data.set_len(identity.size)?;
            }
            let used = records.metadata()?.modified()?;
            if used.elapsed().is_ok_and(|ago| ago > USE_NOTED_EVERY) {
                // Which was used last can be read from the disk by whoever evicts. A disk that cannot be written goes on being
                // read.
                let _ = records.set_modified(SystemTime::now());
            }
            let entry = Entry::of(files, data, records, header);
            if is_new {
                entry.note_own();
            }
            return Ok(entry);
        }
        Err(io::Error::new(io::ErrorKind::WouldBlock, "others open and evict it"))
    }

    /// The copy of a version, if there is one. Does not wait for the disk: what has to is `Err`.
    pub(super) fn open_now(
        files: &Files,
        identity: &Identity,
        algorithm: ChecksumAlgorithm,
    ) -> Result<Option<Entry>, Waits> {
        let Some(data) = open_now(&files.data)? else { return Ok(None) };
        let records = open_now(&files.records)?.ok_or(Waits)?;
        let waits = |_| Waits;
        data.try_lock_shared().map_err(|_| Waits)?;
        let header = read_header_now(&records)?.ok_or(Waits)?;
        let metadata = data.metadata().map_err(waits)?;
        let used = records.metadata().and_then(|metadata| metadata.modified()).map_err(waits)?;
        let is_due = used.elapsed().is_ok_and(|ago| ago > USE_NOTED_EVERY);
        let is_this = header.identity == *identity && header.algorithm == algorithm && metadata.len() == identity.size;
        if is_due || !is_this || metadata.nlink() == 0 {
            // Something is to be done about that.
            return Err(Waits);
        }
        Ok(Some(Entry::of(files, data, records, header)))
    }

    /// An entry that is there, whatever it is a copy of.
    pub(super) fn look_at(files: &Files) -> io::Result<Option<Entry>> {
        let (data, records) = (open_made(&files.data)?, open_made(&files.records)?);
        data.lock_shared()?;
        if data.metadata()?.nlink() == 0 {
            // Evicted, or taken out of the cache, between the two.
            return Err(io::ErrorKind::NotFound.into());
        }
        let Some(header) = read_header(&records)? else { return Ok(None) };
        Ok(Some(Entry::of(files, data, records, header)))
    }

    fn of(files: &Files, data: File, records: File, mut header: Header) -> Entry {
        Entry {
            description: Mutex::new(header.description.take().map(Arc::new)),
            proof: Mutex::new(header.proof),
            files: files.clone(),
            identity: header.identity.clone(),
            algorithm: header.algorithm,
            is_whole: header.is_whole.into(),
            is_verified: header.is_verified.into(),
            header: Mutex::new(header),
            data: DataFile::new(data),
            records,
            own_epoch: AtomicU64::new(NEVER),
            claims: AtomicUsize::new(0),
            is_detached: AtomicBool::new(false),
            epoch: AtomicU64::new(0),
            waiting_bytes: AtomicU64::new(0),
            lost_bytes: AtomicU64::new(0),
            count: Mutex::default(),
        }
    }

    /// What it is a copy of.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// How many bytes of the object are there.
    pub fn copied_bytes(&self) -> u64 {
        if self.is_whole() {
            return self.identity.size;
        }
        self.counted().map_or(0, |grains| (grains * GRAIN_BYTES).min(self.identity.size))
    }

    /// What has come of it since it was opened and the disk could not take, in bytes.
    pub fn lost_bytes(&self) -> u64 {
        self.lost_bytes.load(Ordering::Relaxed)
    }

    /// What has come of it and waits to be written, in bytes.
    pub(super) fn waiting_bytes(&self) -> u64 {
        self.waiting_bytes.load(Ordering::Relaxed)
    }

    /// So much more waits to be written.
    pub(super) fn note_waiting(&self, bytes: u64) {
        self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// So much was written, or given up.
    pub(super) fn note_written(&self, bytes: u64) {
        self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Something came of it that the disk cannot take.
    pub(super) fn note_lost(&self, bytes: u64) {
        self.lost_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// What is not there of the object.
    pub fn missing(&self) -> io::Result<Vec<Range<u64>>> {
        let mut missing: Vec<Range<u64>> = Vec::new();
        if self.is_whole() || self.is_detached() {
            return Ok(missing);
        }
        self.each_record(|index, checksum| {
            if checksum.is_none() {
                join(&mut missing, index * GRAIN_BYTES..((index + 1) * GRAIN_BYTES).min(self.identity.size));
            }
        })?;
        Ok(missing)
    }

    /// Whether all of the object is there.
    pub fn is_whole(&self) -> bool {
        self.is_whole.load(Ordering::Acquire)
    }

    /// Whether all of it was compared with the checksum that the service tells of the object.
    pub fn is_verified(&self) -> bool {
        self.is_verified.load(Ordering::Acquire)
    }

    /// Whether all of the file is right, and can be read without comparing anything.
    pub fn is_proven(&self) -> bool {
        let is_as_it_was = || {
            let now = Proof::of(self.file()).ok().flatten();
            now.is_some() && now == *lock(&self.proof)
        };
        self.is_whole() && is_as_it_was()
    }

    /// Compares all of a whole copy with its checksums. From then on it is proven, if it is what it was.
    pub fn prove(&self) -> io::Result<()> {
        let before = Proof::of(self.file())?;
        let (_, damaged) = self.verify()?;
        if damaged > 0 || before != Proof::of(self.file())? {
            return Ok(());
        }
        self.say_more(|header| header.proof = before)
    }

    /// Says more of a whole copy than is written down, unless another mount has said something else of it: that something of it is damaged,
    /// for example.
    pub(super) fn say_more(&self, change: impl FnOnce(&mut Header)) -> io::Result<()> {
        let _count = lock(&self.count);
        if !self.is_whole() || self.is_detached() {
            return Ok(());
        }
        let _alone = Alone::with(&self.records)?;
        let mut header = lock(&self.header);
        let said = |header: &Header| (header.is_whole, header.is_verified, header.proof);
        if read_header(&self.records)?.is_some_and(|written| said(&written) == said(&header)) {
            change(&mut header);
            self.write_header(&header)?;
        }
        Ok(())
    }

    /// Takes in what is known of the version beside its bytes, to be written down once the copy is whole. Returns whether it is, and something
    /// else is written down.
    pub fn take_description(&self, description: Arc<Description>) -> bool {
        let mut known = lock(&self.description);
        let is_new = known.as_ref() != Some(&description);
        *known = Some(description);
        is_new && self.is_whole()
    }

    /// All of the file was written by this process.
    pub(super) fn note_own(&self) {
        self.own_epoch.store(self.epoch(), Ordering::Relaxed);
    }

    /// The file with the bytes, which has as many as the object. To be changed only by who has [detached](Entry::detach) it.
    pub fn file(&self) -> &File {
        self.data.file()
    }

    /// How the checksums of its grains are taken.
    pub fn algorithm(&self) -> ChecksumAlgorithm {
        self.algorithm
    }

    /// The checksum of each grain that is there.
    pub fn checksums(&self) -> io::Result<Vec<Option<Checksum>>> {
        let mut checksums = Vec::with_capacity(self.grains() as usize);
        self.each_record(|_, checksum| checksums.push(checksum))?;
        Ok(checksums)
    }

    /// Takes the file for somebody who reads it by itself, and may change it once it is [detached](Entry::detach). Returns whether nobody
    /// else has.
    pub fn claim(&self) -> bool {
        self.claims.compare_exchange(0, 1, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Nobody reads the file by itself any more.
    pub fn give_up_claim(&self) {
        self.claims.store(0, Ordering::SeqCst);
    }

    /// Takes the file out of the cache, so that its holder may change it. Returns whether it could: not while others, another
    /// mount for example, have it open, and not where the disk cannot be written. Once only.
    pub fn detach(&self) -> io::Result<bool> {
        if self.is_detached() || !fcntl_getfl(self.file())?.contains(OFlags::RDWR) {
            return Ok(false);
        }
        if self.file().try_lock().is_err() {
            // It was given back for this.
            self.file().lock_shared()?;
            return Ok(false);
        }
        let mut count = lock(&self.count);
        self.is_detached.store(true, Ordering::SeqCst);
        self.is_whole.store(false, Ordering::Release);
        self.epoch.fetch_add(1, Ordering::AcqRel);
        *count = None;
        // Somebody may have cleared the directory by hand.
        let is_gone = self.files.remove() || !self.files.data.exists();
        self.is_detached.store(is_gone, Ordering::SeqCst);
        // Whoever has come meanwhile sees that it has no name.
        self.file().lock_shared()?;
        Ok(is_gone)
    }

    /// Whether it is no copy any more.
    pub(super) fn is_detached(&self) -> bool {
        self.is_detached.load(Ordering::SeqCst)
    }

    /// How often something of it was forgotten.
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// The bytes of `range`, if all of them are there and what they were; they may have to come from the disk.
    pub fn read(&self, range: Range<u64>) -> io::Result<Option<Vec<u8>>> {
        let aligned = grains_around(self.identity.size, &range);
        // Bytes are written before their records, and read after them.
        let records = self.records_of(&aligned)?;
        if !are_all_there(&records) {
            if self.is_whole() {
                // No more.
                self.forget(0..0);
            }
            return Ok(None);
        }
        let mut bytes = vec![0; (aligned.end - aligned.start) as usize];
        self.file().read_exact_at(&mut bytes, aligned.start)?;
        Ok(self.checked(range, aligned, bytes, &records))
    }

    /// The same without waiting for the disk.
    pub fn read_now(&self, range: Range<u64>) -> io::Result<Look> {
        let aligned = grains_around(self.identity.size, &range);
        let mut records = room_for_records(&aligned);
        let mut bytes = vec![0; (aligned.end - aligned.start) as usize];
        if self.is_detached() {
            return Ok(Look::Absent);
        }
        let is_there = read_now(&self.records, &mut records, record_at(aligned.start / GRAIN_BYTES))?
            && read_now(self.file(), &mut bytes, aligned.start)?;
        if !is_there {
            return Ok(Look::Waits);
        }
        match are_all_there(&records) {
            // Whoever may wait for the disk finds out.
            false if self.is_whole() => return Ok(Look::Waits),
            false => return Ok(Look::Absent),
            true => {}
        }
        match damaged(self.algorithm, &aligned, &bytes, &records).is_empty() {
            true => Ok(Look::Bytes(cut(&range, &aligned, self.identity.size, bytes))),
            false => Ok(Look::Waits),
        }
    }

    /// Whether some bytes of a range are known not to be there, without waiting for the disk. Of a whole copy who reads it finds out.
    pub fn lacks_now(&self, range: Range<u64>) -> bool {
        if self.is_whole() {
            return false;
        }
        let aligned = grains_around(self.identity.size, &range);
        let (mut records, first) = (room_for_records(&aligned), record_at(aligned.start / GRAIN_BYTES));
        // The file ends where nothing has come yet.
        self.is_detached()
            || self.records.metadata().is_ok_and(|metadata| metadata.len() < first + records.len() as u64)
            || read_now(&self.records, &mut records, first).is_ok_and(|is_read| is_read && !are_all_there(&records))
    }

    /// The records of whole grains.
    fn records_of(&self, aligned: &Range<u64>) -> io::Result<Vec<u8>> {
        let mut records = room_for_records(aligned);
        if self.is_detached() {
            return Ok(records);
        }
        read_at_most(&self.records, &mut records, record_at(aligned.start / GRAIN_BYTES))?;
        Ok(records)
    }

    fn checked(&self, range: Range<u64>, aligned: Range<u64>, bytes: Vec<u8>, records: &[u8]) -> Option<Vec<u8>> {
        let damaged = damaged(self.algorithm, &aligned, &bytes, records);
        if damaged.is_empty() {
            return Some(cut(&range, &aligned, self.identity.size, bytes));
        }
        // Or detached since it was read.
        if !self.is_detached() {
            log::warn!("the copy of {} in the cache is damaged at {:?}", self.identity.key, damaged);
            self.forget_all(&damaged);
        }
        None
    }

    /// Writes what came of the object at `start` in this epoch, as far as it fills grains. Of several pieces, which follow one
    /// another, the first begins at a grain, and all but the last have whole ones. Their records may be known. Returns how many bytes
    /// were not there before.
    pub(super) fn write(&self, start: u64, pieces: &[&[u8]], records: Option<Vec<u8>>, epoch: u64) -> io::Result<u64> {
        let first = start.div_ceil(GRAIN_BYTES);
        let skipped = (first * GRAIN_BYTES - start) as usize;
        let end = start + pieces.iter().map(|piece| piece.len() as u64).sum::<u64>();
        let until = if end == self.identity.size { end } else { end / GRAIN_BYTES * GRAIN_BYTES };
        if until <= first * GRAIN_BYTES || self.is_whole() || self.is_detached() {
            return Ok(0);
        }
        let pieces = slice_of(pieces, skipped..(until - start) as usize);
        // Before anything is locked.
        let sums = records.unwrap_or_else(|| records_for(self.algorithm, &pieces));
        let mut count = lock(&self.count);
        if self.epoch() != epoch {
            return Ok(0);
        }
        // Another mount may be writing, too: what one has written the other leaves as it is.
        let _alone = Alone::with(&self.records)?;
        let known = match *count {
            Some(known) => known,
            None => self.counted()?,
        };
        let first_byte = first * GRAIN_BYTES;
        let before = self.records_of(&(first_byte..until))?;
        let is_there: Vec<bool> =
            before.chunks_exact(RECORD_BYTES as usize).map(|record| recorded(record).is_some()).collect();
        let mut new = 0;
        let mut grain = 0;
        for run in is_there.chunk_by(|one, next| one == next) {
            let next = grain + run.len();
            if !run[0] {
                let end = (next * GRAIN_BYTES as usize).min((until - first_byte) as usize);
                let run_pieces = slice_of(&pieces, grain * GRAIN_BYTES as usize..end);
                let at = first + grain as u64;
                self.data.write(&run_pieces, at * GRAIN_BYTES)?;
                let run_sums = grain * RECORD_BYTES as usize..next * RECORD_BYTES as usize;
                self.records.write_all_at(&sums[run_sums], record_at(at))?;
                new += run.len() as u64;
            }
            grain = next;
        }
        *count = Some(known + new);
        Ok(new * GRAIN_BYTES)
    }

    /// Another mount may have written what this one has not.
    pub(super) fn count_anew(&self) {
        *lock(&self.count) = None;
    }

    /// Whether every grain is there, and something is still to be said of that.
    pub(super) fn is_complete(&self, expected: Option<Checksum>) -> io::Result<bool> {
        if self.is_settled(expected) {
            return Ok(false);
        }
        let mut count = lock(&self.count);
        let known = match *count {
            Some(known) => known,
            None => *count.insert(self.counted()?),
        };
        Ok(known == self.grains())
    }

    /// Whether all is said of a whole copy that can be.
    pub(super) fn is_settled(&self, expected: Option<Checksum>) -> bool {
        self.is_detached() || self.is_whole() && (self.is_verified() || expected.is_none())
    }

    /// Says that all of it is there. What is known of the whole object is compared first: if its parts do not make that, nobody
    /// knows which of them is wrong, and all are forgotten.
    pub(super) fn finish(&self, expected: Option<Checksum>) -> io::Result<()> {
        let mut count = lock(&self.count);
        if self.is_detached() {
            return Ok(());
        }
        let alone = Alone::with(&self.records)?;
        let mut whole = Some(self.algorithm.empty());
        self.each_record(|index, checksum| {
            let len = GRAIN_BYTES.min(self.identity.size - index * GRAIN_BYTES);
            whole = whole.zip(checksum).map(|(whole, next)| self.algorithm.of_both(whole, next, len));
        })?;
        let Some(whole) = whole else {
            // Another mount has forgotten something.
            *count = None;
            return Ok(());
        };
        if expected.is_some_and(|expected| expected != whole) {
            drop((alone, count));
            log::warn!("what came of {} does not have its checksum and is not kept", self.identity.key);
            self.forget(0..self.identity.size);
            return Ok(());
        }
        self.say(true, expected.is_some())
    }

    /// Forgets what is there of a range, and that all of it was. Waits for the disk.
    pub fn forget(&self, range: Range<u64>) {
        self.forget_all(&[range]);
    }

    fn forget_all(&self, ranges: &[Range<u64>]) {
        self.is_whole.store(false, Ordering::Release);
        self.epoch.fetch_add(1, Ordering::AcqRel);
        let mut count = lock(&self.count);
        *count = None;
        if self.is_detached() {
            return;
        }
        // Whoever writes the header at the same time, in another mount, must not say that it is whole. Where that cannot be had it is
        // forgotten all the same.
        let _alone = Alone::with(&self.records).ok();
        let erase = |range: &Range<u64>| {
            let (first, end) = (range.start / GRAIN_BYTES, range.end.min(self.identity.size).div_ceil(GRAIN_BYTES));
            match (first, end.saturating_sub(first)) {
                (0, grains) if grains == self.grains() => self.records.set_len(HEADER_BYTES as u64),
                (_, 0) => Ok(()),
                (_, grains) => self.records.write_all_at(&vec![0; (grains * RECORD_BYTES) as usize], record_at(first)),
            }
        };
        let erased = self.say(false, false).and_then(|()| ranges.iter().try_for_each(erase));
        // What comes in its place may be written before a crash, and this not.
        if let Err(error) = erased.and_then(|()| self.records.sync_data()) {
            // It is compared whenever it is read by this process, and it is not whole any more for it.
            log::warn!("what is damaged of {} stays in the cache: {error}", self.identity.key);
        }
    }

    fn say(&self, is_whole: bool, is_verified: bool) -> io::Result<()> {
        let mut header = lock(&self.header);
        self.is_whole.store(false, Ordering::Release);
        // Another mount may have said otherwise meanwhile.
        (header.is_whole, header.is_verified) = (is_whole, is_verified);
        // What was written before a crash may be lost, and its record not.
        let is_right = is_whole && self.own_epoch.load(Ordering::Relaxed) == self.epoch();
        header.proof = if is_right { Proof::of(self.file())? } else { None };
        self.write_header(&header)?;
        self.is_verified.store(is_verified, Ordering::Release);
        self.is_whole.store(is_whole, Ordering::Release);
        Ok(())
    }

    fn write_header(&self, header: &Header) -> io::Result<()> {
        let description = lock(&self.description).as_deref().cloned();
        let header = Header { description, ..header.clone() };
        self.records.write_all_at(&header.written().ok_or_else(too_long)?, 0)?;
        *lock(&self.proof) = header.proof;
        Ok(())
    }

    /// Reads all that is there. Returns how many grains are what they were, and how many are not, which are forgotten.
    pub(super) fn verify(&self) -> io::Result<(u64, u64)> {
        let (mut there, mut wrong, mut damaged) = (0, 0, Vec::new());
        self.each_record(|index, checksum| {
            let Some(checksum) = checksum else { return };
            there += 1;
            let start = index * GRAIN_BYTES;
            let mut grain = vec![0; GRAIN_BYTES.min(self.identity.size - start) as usize];
            let is_right =
                self.file().read_exact_at(&mut grain, start).is_ok_and(|()| self.algorithm.of(&grain) == checksum);
            if !is_right {
                wrong += 1;
                join(&mut damaged, start..start + GRAIN_BYTES);
            }
        })?;
        if !damaged.is_empty() {
            self.forget_all(&damaged);
        }
        // A record that is gone is a grain that was not believed.
        let lost = if self.is_whole() { self.grains() - there } else { 0 };
        if lost > 0 {
            self.forget(0..0);
        }
        Ok((there - wrong, wrong + lost))
    }

    fn counted(&self) -> io::Result<u64> {
        if self.is_detached() {
            return Ok(0);
        }
        let mut there = 0;
        self.each_record(|_, checksum| there += u64::from(checksum.is_some()))?;
        Ok(there)
    }

    /// How many grains the object has.
    pub(super) fn grains(&self) -> u64 {
        self.identity.size.div_ceil(GRAIN_BYTES)
    }

    /// Goes through all records, those that are not there, too.
    fn each_record(&self, mut look: impl FnMut(u64, Option<Checksum>)) -> io::Result<()> {
        let grains = self.grains();
        let mut index = 0;
        while index < grains {
            let mut records = vec![0; (RECORDS_AT_ONCE.min(grains - index) * RECORD_BYTES) as usize];
            read_at_most(&self.records, &mut records, record_at(index))?;
            for record in records.chunks_exact(RECORD_BYTES as usize) {
                look(index, recorded(record));
                index += 1;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").field("identity", &self.identity).finish_non_exhaustive()
    }
}

/// Nobody else writes records while this is.
struct Alone<'a>(&'a File);

impl<'a> Alone<'a> {
    /// Waits for others for so long as they write, and no longer: one may be stopped. The kernel does not tell when they have done.
    fn with(records: &'a File) -> io::Result<Alone<'a>> {
        let began = Instant::now();
        loop {
            match records.try_lock() {
                Ok(()) => return Ok(Alone(records)),
                Err(TryLockError::Error(error)) => return Err(error),
                Err(TryLockError::WouldBlock) if began.elapsed() > ALONE_PATIENCE => {
                    return Err(io::Error::new(io::ErrorKind::WouldBlock, "another mount writes it"));
                }
                Err(TryLockError::WouldBlock) => std::thread::sleep(ALONE_LOOK_EVERY),
            }
        }
    }
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        // It goes with the file at the latest.
        let _ = self.0.unlock();
    }
}

/// Opens a file of the cache, for its user alone, made if it is not there. Where the disk cannot be written it is opened for
/// reading.
fn open(path: &Path) -> io::Result<File> {
    or_for_reading(path, OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path))
}

/// Opens a file of the cache that is there.
fn open_made(path: &Path) -> io::Result<File> {
    or_for_reading(path, OpenOptions::new().read(true).write(true).open(path))
}

fn or_for_reading(path: &Path, opened: io::Result<File>) -> io::Result<File> {
    opened.or_else(|error| match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem => File::open(path),
        _ => Err(error),
    })
}

/// Opens a file that is there, as far as the kernel has its name in memory.
fn open_now(path: &Path) -> Result<Option<File>, Waits> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    match openat2(CWD, path, flags, Mode::empty(), ResolveFlags::CACHED) {
        Ok(file) => Ok(Some(file.into())),
        Err(Errno::NOENT) => Ok(None),
        Err(_) => Err(Waits),
    }
}

/// The header of records, written if there is none yet, and whether all of the file will be written from now on; `None` if there is another one, or a damaged one.
fn agreed(
    records: &File,
    data: &File,
    identity: &Identity,
    algorithm: ChecksumAlgorithm,
) -> io::Result<Option<(Header, bool)>> {
    let mut page = [0; HEADER_BYTES];
    let read = read_at_most(records, &mut page, 0)?;
    if read == 0 {
        let header = Header::of_nothing(identity.clone(), algorithm);
        records.write_all_at(&header.written().ok_or_else(too_long)?, 0)?;
        // What is in a file without records nobody knows, unless it is nothing.
        return Ok(Some((header, data.metadata()?.blocks() == 0)));
    }
    let header = Header::read(&page[..read]);
    Ok(header
        .filter(|header| header.identity == *identity && header.algorithm == algorithm)
        .map(|header| (header, false)))
}

/// The header of records, if there is one and it is undamaged.
fn read_header(records: &File) -> io::Result<Option<Header>> {
    let mut page = [0; HEADER_BYTES];
    let read = read_at_most(records, &mut page, 0)?;
    Ok(Header::read(&page[..read]))
}

/// The same without waiting for the disk.
fn read_header_now(records: &File) -> Result<Option<Header>, Waits> {
    let mut page = [0; HEADER_BYTES];
    let is_read = read_now(records, &mut page, 0).map_err(|_| Waits)?;
    if is_read { Ok(Header::read(&page)) } else { Err(Waits) }
}

pub(super) fn too_long() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "the name is too long for the cache")
}

/// The whole grains around a range of an object of `size` bytes.
fn grains_around(size: u64, range: &Range<u64>) -> Range<u64> {
    let end = range.end.min(size);
    let start = range.start.min(end) / GRAIN_BYTES * GRAIN_BYTES;
    start..end.next_multiple_of(GRAIN_BYTES).min(size)
}

/// Which of these whole grains are not what their records say.
fn damaged(algorithm: ChecksumAlgorithm, aligned: &Range<u64>, bytes: &[u8], records: &[u8]) -> Vec<Range<u64>> {
    let grains = bytes.chunks(GRAIN_BYTES as usize).zip(records.chunks_exact(RECORD_BYTES as usize));
    let mut damaged = Vec::new();
    for (index, (grain, record)) in (aligned.start / GRAIN_BYTES..).zip(grains) {
        if recorded(record) != Some(algorithm.of(grain)) {
            join(&mut damaged, index * GRAIN_BYTES..(index + 1) * GRAIN_BYTES);
        }
    }
    damaged
}

/// Adds a range that begins where the last one ends, or behind that.
fn join(ranges: &mut Vec<Range<u64>>, next: Range<u64>) {
    match ranges.last_mut().filter(|last| last.end == next.start) {
        Some(last) => last.end = next.end,
        None => ranges.push(next),
    }
}

/// The bytes of a range, of those of the whole grains around it.
fn cut(range: &Range<u64>, aligned: &Range<u64>, size: u64, mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.truncate((range.end.min(size) - aligned.start) as usize);
    bytes.drain(..(range.start - aligned.start) as usize);
    bytes
}

/// Room for the records of whole grains, of which none is there.
fn room_for_records(aligned: &Range<u64>) -> Vec<u8> {
    vec![0; ((aligned.end - aligned.start).div_ceil(GRAIN_BYTES) * RECORD_BYTES) as usize]
}

/// Where the record of a grain is.
pub(super) fn record_at(grain: u64) -> u64 {
    HEADER_BYTES as u64 + grain * RECORD_BYTES
}

/// The records of grains.
pub(super) fn records_for(algorithm: ChecksumAlgorithm, pieces: &[&[u8]]) -> Vec<u8> {
    let grains = pieces.iter().flat_map(|piece| piece.chunks(GRAIN_BYTES as usize));
    grains.flat_map(|grain| record_of(algorithm.of(grain))).collect()
}

/// The records of grains of which is known what the checksum of all bytes was at the end of each, and how many those were.
pub(super) fn records_of_sums(algorithm: ChecksumAlgorithm, sums: impl Iterator<Item = (Checksum, u64)>) -> Vec<u8> {
    let mut before = (algorithm.empty(), 0);
    let grains = sums.map(|(sum, end)| {
        let (before, start) = std::mem::replace(&mut before, (sum, end));
        algorithm.of_rest(before, sum, end - start)
    });
    grains.flat_map(record_of).collect()
}

fn record_of(checksum: Checksum) -> [u8; RECORD_BYTES as usize] {
    (!checksum.0).to_le_bytes()
}

/// The checksum that a record holds, if there is one.
fn recorded(record: &[u8]) -> Option<Checksum> {
    let turned = u64::from_le_bytes(record.try_into().ok()?);
    (turned != 0).then_some(Checksum(!turned))
}

/// Whether none of these records is missing.
fn are_all_there(records: &[u8]) -> bool {
    records.chunks_exact(RECORD_BYTES as usize).all(|record| recorded(record).is_some())
}

/// Reads until the room is filled or the file ends. Returns how much there was.
fn read_at_most(file: &File, room: &mut [u8], at: u64) -> io::Result<usize> {
    let mut read = 0;
    while read < room.len() {
        match file.read_at(&mut room[read..], at + read as u64) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

/// Fills the room from what the kernel has of the file in memory. Returns whether it has all.
fn read_now(file: &File, room: &mut [u8], at: u64) -> io::Result<bool> {
    match preadv2(file, &mut [IoSliceMut::new(room)], at, ReadWriteFlags::NOWAIT) {
        Ok(read) => Ok(read == room.len()),
        // Some file systems, and kernels, do not say what they have.
        Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
