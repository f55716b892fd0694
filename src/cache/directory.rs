//! The directory of a cache: what is open of it, what is written, and what makes way.

use std::collections::HashMap;
use std::fmt;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak, mpsc};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

use super::Description;
use super::draft::{Adopted, Draft};
use super::entry::{Entry, Files, Waits};
use super::filling::{self, Announced, Filling, Queue, Target};
use super::header::Identity;
use super::space::{Found, Space, found};
use crate::object::ChecksumAlgorithm;

/// Below the cache's directory, where the files are: named by the form that they have, so that another form is left alone.
const FORM: &str = "v1";

/// The share of the descriptors that this process may have that copies may take, of which each has three at most: a quarter.
const DESCRIPTORS_SHARE: u64 = 4 * 3;

/// Copies that are open at the same time, however many descriptors there may be; files beyond are read as without a cache.
const OPEN_MAX: u64 = 4096;

/// How long who opens a copy waits for what was written to it just now.
const COMING_PATIENCE: Duration = Duration::from_secs(1);

/// How long a disk is not asked that has kept somebody waiting for too long.
const SILENCE: Duration = Duration::from_secs(60);

/// Where copies are kept, and how much of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheOptions {
    /// The directory, made if it is not there.
    pub directory: PathBuf,
    /// The most that it takes of the disk, in bytes, of which a tenth stays free in any case.
    pub bytes_max: u64,
    /// What of the memory may wait to be written, in bytes.
    pub waiting_bytes_max: u64,
}

/// What is in a cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Copies, whole ones and others.
    pub files: u64,
    /// What they take of the disk, in bytes.
    pub bytes: u64,
}

impl Contents {
    fn add(&mut self, one: &Found) {
        self.files += 1;
        self.bytes += one.bytes;
    }
}

/// What a cache was found to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Copies that were read.
    pub files: u64,
    /// Bytes of them that are what they were.
    pub bytes: u64,
    /// Pieces that were not, and are forgotten.
    pub damaged: u64,
}

/// What a mount has had of its cache.
#[derive(Debug, Default)]
struct Counts {
    hits: AtomicU64,
    hit_bytes: AtomicU64,
    misses: AtomicU64,
    evicted: AtomicU64,
    lost: AtomicU64,
    passthrough_opens: AtomicU64,
    bytes: AtomicU64,
}

/// What a mount has had of its cache, for who looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheCounts {
    /// Looks that found what they were for.
    pub hits: u64,
    /// Bytes that those gave.
    pub hit_bytes: u64,
    /// Looks that did not.
    pub misses: u64,
    /// Copies that made way.
    pub evicted: u64,
    /// Pieces that were not kept, because the disk was slower than what came.
    pub lost: u64,
    /// Files that were opened for the kernel to read by itself.
    pub passthrough_opens: u64,
    /// What the cache takes of the disk, in bytes.
    pub bytes: u64,
}

/// A directory of copies.
pub struct DiskCache {
    root: PathBuf,
    queue: Queue,
    /// Copies that somebody reads, by the names of their files. Std mutex, 8 in the order of locks: held while a copy is opened,
    /// which are a few calls of the kernel.
    open: Mutex<HashMap<String, Weak<Entry>>>,
    open_max: usize,
    bytes_max: u64,
    /// Std mutex, 8 in the order of locks: held while the directory is gone through, by the thread that writes alone.
    space: Mutex<Space>,
    /// What drafts take of the disk, which have no names there, in bytes.
    drafts: Arc<AtomicU64>,
    /// Nothing is written any more.
    is_off: AtomicBool,
    /// The disk has kept somebody waiting for too long: it is not asked before this many milliseconds after `began`.
    silent_until: AtomicU64,
    began: Instant,
    /// A copy is being compared.
    is_proving: AtomicBool,
    counts: Counts,
}

impl DiskCache {
    /// A cache in a directory, and the thread that writes to it, which ends with it.
    pub fn open(options: &CacheOptions) -> io::Result<Arc<DiskCache>> {
        let root = options.directory.join(FORM);
        make_directory(&options.directory)?;
        make_directory(&root)?;
        // It may have been there. What lies around it is not ours to close.
        if fs::metadata(&root)?.permissions().mode() & 0o077 != 0 {
            fs::set_permissions(&root, fs::Permissions::from_mode(0o700))?;
        }
        let (sender, receiver) = mpsc::channel();
        let queue = Queue::new(sender, options.waiting_bytes_max);
        let waiting = queue.waiting();
        let (space, open) = (Mutex::new(Space::new(options.bytes_max)), Mutex::default());
        let (is_off, is_proving, counts) = (AtomicBool::new(false), AtomicBool::new(false), Counts::default());
        let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let open_max = (descriptors / DESCRIPTORS_SHARE).min(OPEN_MAX) as usize;
        let bytes_max = options.bytes_max;
        let (drafts, silent_until, began) = (Arc::default(), AtomicU64::new(0), Instant::now());
        let cache = Arc::new(DiskCache {
            root,
            queue,
            open,
            open_max,
            bytes_max,
            space,
            drafts,
            is_off,
            silent_until,
            began,
            is_proving,
            counts,
        });
        let weak = Arc::downgrade(&cache);
        let write = move || filling::write(&weak, &receiver, &waiting);
        std::thread::Builder::new().name("cache".to_owned()).spawn(write)?;
        Ok(cache)
    }

    /// The copy of a version, made if there is none; `None` if there cannot be one. Waits for the disk.
    pub fn entry(&self, identity: &Identity, algorithm: ChecksumAlgorithm) -> Option<Arc<Entry>> {
        // What was written just now is about to be there.
        self.queue.waiting().until_come(identity, COMING_PATIENCE);
        self.opened(identity, algorithm)
    }

    fn opened(&self, identity: &Identity, algorithm: ChecksumAlgorithm) -> Option<Arc<Entry>> {
        if identity.size > self.bytes_max {
            return None;
        }
        let name = identity.name();
        let mut open = lock(&self.open);
        if let Some(entry) = open.get(&name).and_then(Weak::upgrade).filter(|entry| !entry.is_detached()) {
            return Some(entry).filter(|entry| entry.identity() == identity);
        }
        if open.len() >= self.open_max {
            open.retain(|_, entry| entry.strong_count() > 0);
        }
        if open.len() >= self.open_max {
            return None;
        }
        let files = Files::at(&self.root, &name);
        if self.is_off.load(Ordering::Relaxed) && !files.data.exists() {
            return None;
        }
        let opened = match Entry::open(&files, identity, algorithm) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.root.exists() => {
                make_directory(files.data.parent()?).and_then(|()| Entry::open(&files, identity, algorithm))
            }
            opened => opened,
        };
        match opened {
            Ok(entry) => {
                let entry = Arc::new(entry);
                open.insert(name, Arc::downgrade(&entry));
                Some(entry)
            }
            Err(error) if is_no_fault_of_the_disk(&error) || is_full(&error) => {
                log::debug!("{} is not kept: {error}", identity.key);
                None
            }
            Err(error) if error.raw_os_error() == Some(Errno::IO.raw_os_error()) => {
                // It may be this copy alone. If it is all of the disk, writing finds out.
                log::warn!("the copy of {} in the cache cannot be read and is removed: {error}", identity.key);
                files.evict();
                None
            }
            Err(error) => {
                self.switch_off(&error);
                None
            }
        }
    }

    /// The copy of a version, if there is one. Waits for the disk.
    pub fn find(&self, identity: &Identity, algorithm: ChecksumAlgorithm) -> Option<Arc<Entry>> {
        self.queue.waiting().until_come(identity, COMING_PATIENCE);
        let is_there = Files::at(&self.root, &identity.name()).records.exists();
        if is_there { self.opened(identity, algorithm) } else { None }
    }

    /// What is known of a version beside its bytes, if there is a whole copy of it, which does not count as used by that. Waits for
    /// the disk.
    pub fn description(&self, identity: &Identity, algorithm: ChecksumAlgorithm) -> Option<Description> {
        Files::at(&self.root, &identity.name()).description(identity, algorithm)
    }

    /// The same without waiting for anything.
    pub fn description_now(
        &self,
        identity: &Identity,
        algorithm: ChecksumAlgorithm,
    ) -> Result<Option<Description>, Waits> {
        Files::at(&self.root, &identity.name()).description_now(identity, algorithm)
    }

    /// The disk has kept somebody waiting for too long: others do not ask it for a while, nor is it written to any more.
    pub fn note_silence(&self) {
        let until = (self.began.elapsed() + SILENCE).as_millis() as u64;
        self.silent_until.store(until, Ordering::Relaxed);
        self.switch_off(&io::Error::new(io::ErrorKind::TimedOut, "the disk does not answer"));
    }

    /// Whether the disk is not to be asked.
    pub fn is_silent(&self) -> bool {
        (self.began.elapsed().as_millis() as u64) < self.silent_until.load(Ordering::Relaxed)
    }

    /// The copy of a version, if there is one. Does not wait for anything.
    pub fn find_now(&self, identity: &Identity, algorithm: ChecksumAlgorithm) -> Result<Option<Arc<Entry>>, Waits> {
        // Whoever writes it has it open.
        if self.queue.waiting().comes(identity) {
            return Err(Waits);
        }
        let name = identity.name();
        let mut open = self.open.try_lock().map_err(|_| Waits)?;
        if let Some(entry) = open.get(&name).and_then(Weak::upgrade).filter(|entry| !entry.is_detached()) {
            return Ok(Some(entry).filter(|entry| entry.identity() == identity));
        }
        if open.len() >= self.open_max {
            return Err(Waits);
        }
        let entry = Entry::open_now(&Files::at(&self.root, &name), identity, algorithm)?.map(Arc::new);
        entry.iter().for_each(|entry| drop(open.insert(name.clone(), Arc::downgrade(entry))));
        Ok(entry)
    }

    /// Says that something is about to come, for [`DiskCache::settle`].
    pub fn announce(&self) -> Announced {
        self.queue.announce()
    }

    /// Keeps bytes that came, as soon as the disk takes them.
    pub fn fill(&self, filling: Filling) {
        let copy = filling.copy().cloned();
        let is_settled = copy.as_ref().is_some_and(|copy| copy.is_settled(filling.expected));
        if self.is_off.load(Ordering::Relaxed) || is_settled {
            return;
        }
        // Of what is not for a copy it may take a while to say, as it is not in one piece yet.
        let of_copy = copy.map(|copy| (copy, (*filling.bytes).as_ref().len() as u64));
        if !self.queue.push(filling) {
            self.counts.lost.fetch_add(1, Ordering::Relaxed);
            of_copy.iter().for_each(|(copy, len)| copy.note_lost(*len));
        }
    }

    /// Waits until so much more may come without being lost, or for so long.
    pub async fn until_room(&self, bytes: u64, timeout: Duration) {
        if !self.is_off.load(Ordering::Relaxed) {
            self.queue.until_room(bytes, timeout).await;
        }
    }

    /// A copy of what is about to be uploaded in parts.
    pub fn draft(&self, algorithm: ChecksumAlgorithm) -> Arc<Draft> {
        Arc::new(Draft::new(&self.root, algorithm, self.drafts.clone()))
    }

    /// Waits until everything that came or was announced is written, or for so long.
    pub fn settle(&self, timeout: Duration) {
        self.queue.waiting().until_empty(timeout);
    }

    /// Waits until all of a copy is there, if what waits may make it whole, or for so long.
    pub fn settle_copy(&self, copy: &Entry, timeout: Duration) {
        let waiting = copy.waiting_bytes();
        if waiting > 0 && copy.copied_bytes() + waiting >= copy.identity().size {
            self.queue.waiting().until_written(copy, timeout);
        }
    }

    /// Compares a copy with its checksums, so that it is proven. One at a time; of others nothing comes of this.
    pub fn prove(&self, copy: &Entry) {
        if self.is_proving.swap(true, Ordering::Relaxed) {
            return;
        }
        if let Err(error) = copy.prove() {
            log::debug!("the copy of {} cannot be compared: {error}", copy.identity().key);
        }
        self.is_proving.store(false, Ordering::Relaxed);
    }

    /// The kernel reads a copy by itself from now on.
    pub fn note_passthrough_open(&self) {
        self.counts.passthrough_opens.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes what a look gave: bytes, if any.
    pub fn note_look(&self, bytes: Option<u64>) {
        match bytes {
            Some(bytes) => {
                self.counts.hits.fetch_add(1, Ordering::Relaxed);
                self.counts.hit_bytes.fetch_add(bytes, Ordering::Relaxed);
            }
            None => {
                self.counts.misses.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// What this mount has had of it.
    pub fn counts(&self) -> CacheCounts {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let Counts { hits, hit_bytes, misses, evicted, lost, passthrough_opens, bytes } = &self.counts;
        CacheCounts {
            hits: of(hits),
            hit_bytes: of(hit_bytes),
            misses: of(misses),
            evicted: of(evicted),
            lost: of(lost),
            passthrough_opens: of(passthrough_opens),
            bytes: of(bytes),
        }
    }

    /// The thread that writes keeps what came: pieces of one copy that [follow](Filling::is_followed_by) one another.
    pub(super) fn keep(&self, fillings: &[Filling]) {
        if self.is_off.load(Ordering::Relaxed) {
            return;
        }
        match self.try_to_keep(fillings) {
            Err(error) if is_full(&error) => {
                // Others fill the disk, too, and may make room again.
                lock(&self.space).set_full();
                self.tell_full();
            }
            Err(error) if is_no_fault_of_the_disk(&error) => log::debug!("what came is not kept: {error}"),
            Err(error) => self.switch_off(&error),
            Ok(()) => {}
        }
    }

    fn try_to_keep(&self, fillings: &[Filling]) -> io::Result<()> {
        let Some(Filling { target, start, expected, .. }) = fillings.first() else { return Ok(()) };
        let (pieces, len) = pieces_of(fillings);
        let entry = match target {
            Target::Open(entry, _) => Some(entry.clone()),
            Target::Version(identity, algorithm) => self.opened(identity, *algorithm),
            Target::Draft(draft) => {
                if start + len > self.bytes_max {
                    // It has no room as a copy.
                    draft.give_up();
                } else if self.has_room(len)? {
                    lock(&self.space).wrote(draft.write(*start, &pieces).or_else(no_fault_of_a_draft)?);
                }
                None
            }
            Target::Described(copy) => {
                if let Err(error) = copy.say_more(|_| {}) {
                    log::debug!("what is known of {} is not written down: {error}", copy.identity().key);
                }
                None
            }
            Target::Adopted(draft, identity) => {
                let adopted = self.adopt(draft, identity).or_else(no_fault_of_a_draft)?;
                let entry = self.opened(identity, draft.algorithm());
                entry.iter().filter(|_| adopted.is_some()).for_each(|entry| entry.note_own());
                entry
            }
        };
        let Some(entry) = entry else { return Ok(()) };
        let epoch = if let Target::Open(_, epoch) = target { *epoch } else { entry.epoch() };
        if len == 0 {
            entry.count_anew();
        }
        if self.has_room(len)? {
            let records: Option<Vec<_>> = fillings.iter().map(|filling| filling.records(entry.algorithm())).collect();
            let written = entry.write(*start, &pieces, records.map(|records| records.concat()), epoch)?;
            lock(&self.space).wrote(written);
            if entry.is_complete(*expected)? {
                entry.finish(*expected)?;
            }
        }
        self.counts.bytes.store(lock(&self.space).bytes(), Ordering::Relaxed);
        Ok(())
    }

    /// What was uploaded in parts is that version. Returns what keeps others from evicting it, if that is its copy.
    fn adopt(&self, draft: &Draft, identity: &Identity) -> io::Result<Option<Adopted>> {
        let files = Files::at(&self.root, &identity.name());
        // Nobody opens it between the two.
        let _open = lock(&self.open);
        files.data.parent().map_or(Ok(()), make_directory)?;
        draft.adopt(&files, identity)
    }

    /// Whether so much may be written, once what is too old has made way.
    fn has_room(&self, bytes: u64) -> io::Result<bool> {
        let mut space = lock(&self.space);
        if space.is_to_be_looked_at(&self.root, bytes) {
            let was_full = space.is_full();
            let evicted = space.look(&self.root, self.drafts.load(Ordering::Relaxed), bytes)?;
            self.counts.evicted.fetch_add(evicted, Ordering::Relaxed);
            if space.is_full() && !was_full {
                self.tell_full();
            }
        }
        Ok(!space.is_full())
    }

    fn tell_full(&self) {
        log::warn!("the cache in {} has no more room: what is read is not kept", self.root.display());
    }

    /// Nothing is written any more, and nothing new is opened.
    pub fn switch_off(&self, error: &io::Error) {
        if !self.is_off.swap(true, Ordering::Relaxed) {
            let root = self.root.display();
            log::warn!("the cache in {root} is not written any more, and files are read as without it: {error}");
        }
    }

    /// What is in the cache of a directory.
    pub fn contents(directory: &Path) -> io::Result<Contents> {
        let mut contents = Contents::default();
        found(&directory.join(FORM))?.iter().for_each(|one| contents.add(one));
        Ok(contents)
    }

    /// Removes all copies from the cache of a directory that nobody has open. Returns what it was, and what is left.
    pub fn clear(directory: &Path) -> io::Result<(Contents, Contents)> {
        let (mut before, mut left) = (Contents::default(), Contents::default());
        for one in found(&directory.join(FORM))? {
            before.add(&one);
            if !one.files.evict() {
                left.add(&one);
            }
        }
        Ok((before, left))
    }

    /// Reads all that is in the cache of a directory, and forgets what is damaged.
    pub fn verify(directory: &Path) -> io::Result<Verified> {
        let mut verified = Verified::default();
        for one in found(&directory.join(FORM))? {
            verified.files += 1;
            let entry = Entry::look_at(&one.files);
            match entry.and_then(|entry| entry.map(|entry| Ok((entry.verify()?, entry.identity().size))).transpose()) {
                Ok(Some(((there, damaged), size))) => {
                    verified.bytes += (there * super::GRAIN_BYTES).min(size);
                    verified.damaged += damaged;
                }
                // One that is just being made has no header yet, and is open.
                Ok(None) => verified.damaged += u64::from(one.files.evict()),
                // Somebody evicts it at the same time.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    // The others are looked at all the same.
                    let name = one.files.records.display();
                    log::warn!("the copy in {name} cannot be read, and is removed: {error}");
                    verified.damaged += 1;
                    one.files.evict();
                }
            }
        }
        Ok(verified)
    }
}

impl fmt::Debug for DiskCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskCache").field("root", &self.root).finish_non_exhaustive()
    }
}

/// Pieces that follow one another, and their bytes together.
fn pieces_of(fillings: &[Filling]) -> (Vec<&[u8]>, u64) {
    let pieces: Vec<&[u8]> = fillings.iter().map(|filling| (*filling.bytes).as_ref()).collect();
    let len = pieces.iter().map(|piece| piece.len() as u64).sum();
    (pieces, len)
}

/// Where files need names from the beginning what is uploaded in parts is not kept, and neither is what somebody else has a copy of.
fn no_fault_of_a_draft<T: Default>(error: io::Error) -> io::Result<T> {
    let is_refused = [Errno::OPNOTSUPP, Errno::ISDIR, Errno::EXIST].map(|errno| Some(errno.raw_os_error()));
    if !is_refused.contains(&error.raw_os_error()) && !is_no_fault_of_the_disk(&error) {
        return Err(error);
    }
    log::debug!("what is uploaded is not kept: {error}");
    Ok(T::default())
}

/// Makes a directory for its user alone, unless there is one.
fn make_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).recursive(true).create(path)
}

/// Whether there is no room, for the time being.
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// A name that is too long, copies that others have, and descriptors that are all in use.
fn is_no_fault_of_the_disk(error: &io::Error) -> bool {
    let lacks_descriptors = [Errno::MFILE, Errno::NFILE].map(|errno| Some(errno.raw_os_error()));
    let is_refused = matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::WouldBlock);
    is_refused || lacks_descriptors.contains(&error.raw_os_error())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
