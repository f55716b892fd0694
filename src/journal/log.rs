//! The journal of this mount, and what it takes over from those of dead ones.

use std::collections::{HashMap, HashSet};
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::oneshot;

use super::file::{self, EXTENSION, LogFile};
use super::record::{EntryId, FORM, Owner, Record, milliseconds};
use super::unfinished::{Asked, Replay, SentPart, Unfinished};
use crate::object::{ObjectAttributes, ObjectKey, PartNumber, UploadId, UploadedPart};

/// How long somebody waits for the disk to have what was written down. A disk that takes longer is as good as none.
const SYNC_TIMEOUT: Duration = Duration::from_secs(2);

/// How often somebody is told of a disk that fails, which may take short lines and refuse long ones.
const TOLD_EVERY: Duration = Duration::from_secs(600);

/// What a mount hides; every mount may, so it is not written down when it does.
const HIDDEN_ENTRY: EntryId = EntryId(0);

/// Something that was begun and is to be ended: one upload, one rename.
pub type Entry = EntryId;

/// Something that a dead mount has left, which is this mount's to end.
pub type Inherited = (Entry, Unfinished);

/// The journal of this mount. Its calls never fail: without a disk they say nothing to anybody.
pub struct Journal {
    /// The name of this mount, unlike that of any other.
    mount: String,
    /// Where the journals are, and what this one says of its mount.
    place: Option<(PathBuf, Owner)>,
    /// Std mutex: a line is written under it, into the page cache. Level 8 in the order of locks.
    state: Mutex<State>,
    /// Wakes the thread that waits for the disk; `None` without one.
    syncing: Option<SyncSender<SyncRequest>>,
}

struct SyncRequest {
    file: File,
    done: Option<oneshot::Sender<()>>,
}

struct State {
    file: Option<LogFile>,
    next: u64,
    /// What is not ended, and the upload that it is.
    open: HashMap<Entry, Option<UploadId>>,
    uploads: HashMap<UploadId, (Entry, ObjectKey)>,
    /// What dead mounts have asked for below our prefix.
    asked_before: Vec<Asked>,
    /// The last writing failed.
    is_failing: bool,
    /// When somebody was last told that.
    told_at: Option<Instant>,
}

impl Journal {
    /// A journal that is not written down.
    pub fn none() -> Arc<Journal> {
        Arc::new(Journal { mount: new_name(), place: None, state: Mutex::new(State::new(None)), syncing: None })
    }

    /// Makes the journal of a mount in `directory`, which is made too, and takes over what dead mounts of the same bucket,
    /// user and machine have left below the prefix of `owner`.
    pub fn open(directory: &Path, owner: &Owner) -> io::Result<(Arc<Journal>, Vec<Inherited>)> {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let mount = new_name();
        let first = Record::Mount { form: FORM, id: mount.clone(), owner: owner.clone() };
        let file = LogFile::create(&directory.join(format!("{mount}.{EXTENSION}")), &first.encode())?;
        let (syncing, requests) = sync_channel(1);
        std::thread::Builder::new().name("journal".to_owned()).spawn(move || sync_on_request(&requests))?;
        let mut state = State::new(Some(file));
        let inherited = state.inherit(directory, owner)?;
        let (place, state) = (Some((directory.to_owned(), owner.clone())), Mutex::new(state));
        Ok((Arc::new(Journal { mount, place, state, syncing: Some(syncing) }), inherited))
    }

    /// The name of this mount, of letters and digits.
    pub fn mount(&self) -> &str {
        &self.mount
    }

    /// The service is about to be asked for an upload, at `at` by its clock.
    pub fn initiating(&self, key: &ObjectKey, at: SystemTime) -> Entry {
        let mut state = self.lock();
        let entry = state.new_entry();
        state.append(&[Record::Initiating { entry, key: key.to_string(), at_ms: milliseconds(at) }]);
        entry
    }

    /// It has begun it.
    pub fn begun(&self, entry: Entry, key: &ObjectKey, upload: &UploadId, attributes: &ObjectAttributes) {
        let mut state = self.lock();
        state.note_upload(entry, key, upload);
        state.append(&[Record::Begun { entry, upload: upload.to_string(), attributes: Box::new(attributes.clone()) }]);
        // Without this record the upload might stay for ever; a part's would only be sent once more.
        self.request_sync(&state, None);
    }

    /// A part is about to be sent.
    pub fn sending(&self, upload: &UploadId, number: PartNumber, part: SentPart) {
        let mut state = self.lock();
        if let Some(record) = state.uploads.get(upload).map(|(entry, _)| Record::sending(*entry, number, part)) {
            state.append(&[record]);
        }
    }

    /// A part has landed.
    pub fn part(&self, upload: &UploadId, number: PartNumber, part: &UploadedPart, at: SystemTime) {
        let mut state = self.lock();
        if let Some(record) = state.uploads.get(upload).and_then(|(entry, _)| Record::part(*entry, number, part, at)) {
            state.append(&[record]);
        }
    }

    /// What is written down of this upload; `None` if nothing is.
    pub fn upload(&self, upload: &UploadId) -> Option<Entry> {
        self.lock().uploads.get(upload).map(|(entry, _)| *entry)
    }

    /// What dead mounts have asked for, once.
    pub fn take_asked_before(&self) -> Vec<Asked> {
        std::mem::take(&mut self.lock().asked_before)
    }

    /// The uploads that are begun and not ended.
    pub fn unfinished_uploads(&self) -> Vec<(ObjectKey, UploadId)> {
        self.lock().uploads.iter().map(|(upload, (_, key))| (key.clone(), upload.clone())).collect()
    }

    /// The uploads of this bucket that any mount on this machine knows.
    pub fn known_uploads(&self) -> HashSet<UploadId> {
        let own = self.unfinished_uploads().into_iter().map(|(_, upload)| upload);
        let known = self.place.as_ref().map(|(directory, owner)| known_uploads(directory, owner));
        let others = known.transpose().inspect_err(|error| log::warn!("the journals of other mounts: {error}"));
        own.chain(others.ok().flatten().into_iter().flatten().flatten()).collect()
    }

    /// The objects of a directory are about to be copied to another one, which is there if the rename `replaces` it. Returns
    /// when the disk knows, or is taken for dead.
    pub async fn renaming(&self, from: &str, to: &str, replaces: bool) -> Entry {
        let entry = {
            let mut state = self.lock();
            let entry = state.new_entry();
            state.append(&[Record::Renaming { entry, from: from.to_owned(), to: to.to_owned(), replaces }]);
            entry
        };
        self.synced().await;
        entry
    }

    /// All of them are there, and those in the old directory are about to be removed.
    pub async fn arrived(&self, entry: Entry) {
        self.lock().append(&[Record::Arrived { entry }]);
        self.synced().await;
    }

    /// Nothing of it is left.
    pub fn ended(&self, entry: Entry) {
        let mut state = self.lock();
        if let Some(upload) = state.open.remove(&entry) {
            upload.map(|upload| state.uploads.remove(&upload));
            state.append(&[Record::Ended { entry }]);
            state.compact_if_long();
        }
    }

    /// The mount ends, and has hidden nothing any more if it `is_clean`: removes the journal if nothing is left to be done, and
    /// gives up its lock otherwise.
    pub fn close(&self, is_clean: bool) {
        let mut state = self.lock();
        let Some(file) = state.file.take() else { return };
        if state.open.is_empty() && is_clean {
            let path = file.path().to_owned();
            if let Err(error) = file.remove() {
                log::warn!("{} could not be removed: {error}", path.display());
            }
        } else {
            log::warn!("{}: {} things are left for the next mount to end", file.path().display(), state.open.len());
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn synced(&self) {
        let (done, is_done) = oneshot::channel();
        self.request_sync(&self.lock(), Some(done));
        // A disk that does not answer is told of when it fails, if it ever does.
        let _ = tokio::time::timeout(SYNC_TIMEOUT, is_done).await;
    }

    fn request_sync(&self, state: &State, done: Option<oneshot::Sender<()>>) {
        let (Some(syncing), Some(file)) = (&self.syncing, &state.file) else { return };
        let Ok(file) = file.handle() else { return };
        match syncing.try_send(SyncRequest { file, done }) {
            // One that waits for its turn covers what was written before it.
            Ok(()) | Err(TrySendError::Full(SyncRequest { done: None, .. }) | TrySendError::Disconnected(_)) => {}
            Err(TrySendError::Full(request)) => {
                let syncing = syncing.clone();
                std::thread::spawn(move || syncing.send(request));
            }
        }
    }
}

impl State {
    fn new(file: Option<LogFile>) -> State {
        State {
            file,
            next: 1,
            open: HashMap::new(),
            uploads: HashMap::new(),
            asked_before: Vec::new(),
            is_failing: false,
            told_at: None,
        }
    }

    fn new_entry(&mut self) -> Entry {
        let entry = EntryId(self.next);
        self.next += 1;
        self.open.insert(entry, None);
        entry
    }

    fn note_upload(&mut self, entry: Entry, key: &ObjectKey, upload: &UploadId) {
        self.open.insert(entry, Some(upload.clone()));
        self.uploads.insert(upload.clone(), (entry, key.clone()));
    }

    fn append(&mut self, records: &[Record]) {
        let Some(file) = &mut self.file else { return };
        let text: Vec<u8> = records.iter().flat_map(Record::encode).collect();
        let appended = file.append(&text);
        self.is_failing = appended.is_err();
        if let Err(error) = appended
            && self.told_at.is_none_or(|at| at.elapsed() > TOLD_EVERY)
        {
            self.told_at = Some(Instant::now());
            log::warn!(
                "{} takes no records: {error}; should this mount be killed, uploads may stay unfinished in the bucket (see \
                 `cosmount uploads`), and are not gone on with",
                file.path().display()
            );
        }
    }

    fn compact_if_long(&mut self) {
        let State { file: Some(file), open, .. } = self else { return };
        if file.is_long()
            && let Err(error) = file.compact(|record| record.entry().is_none_or(|entry| open.contains_key(&entry)))
        {
            log::warn!("{} could not be compacted: {error}", file.path().display());
        }
    }

    fn inherit(&mut self, directory: &Path, owner: &Owner) -> io::Result<Vec<Inherited>> {
        let mut inherited = Vec::new();
        for path in journals(directory)? {
            // One that cannot be read hinders nobody.
            if let Err(error) = self.inherit_from(&path, owner, &mut inherited) {
                log::warn!("{}: what a dead mount has left is not known: {error}", path.display());
            }
        }
        Ok(inherited)
    }

    /// Takes over what a dead mount has left: first it is written down here, then it is over there.
    fn inherit_from(&mut self, path: &Path, owner: &Owner, inherited: &mut Vec<Inherited>) -> io::Result<()> {
        let Some((mut dead, read)) = LogFile::take_over(path)? else { return Ok(()) };
        if read.damaged > 0 {
            log::warn!("{}: {} damaged records were passed over", path.display(), read.damaged);
        }
        let may_hide = !read.records.contains(&Record::Ended { entry: HIDDEN_ENTRY });
        let mut replay = Replay::of(read.records);
        let Some((mount, other)) = replay.owner.take() else { return Ok(()) };
        if !other.is_of_same_bucket(owner) {
            return Ok(());
        }
        self.asked_before
            .extend(replay.asked.into_iter().filter(|asked| asked.key.as_str().starts_with(&owner.prefix)));
        let mut unfinished = replay.unfinished;
        if may_hide {
            unfinished.insert(HIDDEN_ENTRY, Unfinished::Hidden(hidden_prefix(&other.prefix, &mount)));
        }
        let (taken, left): (Vec<_>, Vec<_>) =
            unfinished.into_iter().partition(|(_, what)| what.is_below(&owner.prefix));
        let ended: Vec<u8> = taken.iter().flat_map(|(entry, _)| Record::Ended { entry: *entry }.encode()).collect();
        for (_, what) in taken {
            let entry = self.new_entry();
            self.append(&what.records(entry));
            if let Unfinished::Upload(upload) = &what
                && let Some(begun) = &upload.begun
            {
                self.note_upload(entry, &upload.key, &begun.upload);
            }
            inherited.push((entry, what));
        }
        if self.is_failing {
            // It is still there for a mount that can write it down.
            return Ok(());
        }
        if let Some(file) = &self.file {
            file.handle()?.sync_data()?;
        }
        if left.is_empty() { dead.remove() } else { dead.append(&ended) }
    }
}

/// What the keys of objects begin with that a mount hides.
pub(crate) fn hidden_prefix(prefix: &str, mount: &str) -> String {
    format!("{prefix}{HIDDEN_DIRECTORY}/{mount}-")
}

/// The directory at the top of each mount that the mount does not show.
pub(crate) const HIDDEN_DIRECTORY: &str = ".cosmount-unlinked";

/// The uploads of the bucket of `owner` that journals in `directory` know: those of mounts that live, and those of dead ones.
pub fn known_uploads(directory: &Path, owner: &Owner) -> io::Result<[HashSet<UploadId>; 2]> {
    let mut known = [HashSet::new(), HashSet::new()];
    for path in journals(directory)? {
        // Taken for as long as it is read, so that no mount finds it locked for longer.
        let (is_dead, read) = match LogFile::take_over(&path) {
            Ok(Some((_dead, read))) => (true, read),
            _ => match file::read_path(&path) {
                Ok(read) => (false, read),
                Err(_) => continue,
            },
        };
        let replay = Replay::of(read.records);
        if !replay.owner.is_some_and(|(_, other)| other.is_of_same_bucket(owner)) {
            continue;
        }
        let begun = replay.unfinished.into_values().filter_map(|what| match what {
            Unfinished::Upload(upload) => upload.begun.map(|begun| begun.upload),
            Unfinished::Rename(_) | Unfinished::Hidden(_) => None,
        });
        known[usize::from(is_dead)].extend(begun);
    }
    Ok(known)
}

fn journals(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut journals: Vec<_> =
        paths.filter(|path| path.extension().is_some_and(|extension| extension == EXTENSION)).collect();
    journals.sort();
    Ok(journals)
}

fn new_name() -> String {
    format!("{:016x}", fastrand::u64(..))
}

fn sync_on_request(requests: &Receiver<SyncRequest>) {
    let mut has_failed = false;
    while let Ok(SyncRequest { file, done }) = requests.recv() {
        if let Err(error) = file.sync_data()
            && !std::mem::replace(&mut has_failed, true)
        {
            log::warn!("the journal of uploads is not on the disk: {error}");
        }
        if let Some(done) = done {
            let _ = done.send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::Crc64;

    fn owner(prefix: &str) -> Owner {
        Owner { bucket: "b".into(), prefix: prefix.into(), machine: "m".into(), process: 1 }
    }

    fn open(home: &Path, prefix: &str) -> (Arc<Journal>, Vec<Unfinished>) {
        let (journal, inherited) = Journal::open(home, &owner(prefix)).unwrap();
        (
            journal,
            inherited.into_iter().map(|(_, what)| what).filter(|what| !matches!(what, Unfinished::Hidden(_))).collect(),
        )
    }

    fn begin(journal: &Journal, key: &str, upload: &str) -> Entry {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(5);
        let key = ObjectKey::new(key).unwrap();
        let entry = journal.initiating(&key, at);
        journal.begun(entry, &key, &UploadId::new(upload), &ObjectAttributes::default());
        let part = super::super::record::uploaded_part(10, "e", 7);
        journal.part(&UploadId::new(upload), PartNumber::FIRST, &part, at);
        entry
    }

    fn keys(left: &[Unfinished]) -> Vec<String> {
        let key = |what: &Unfinished| match what {
            Unfinished::Upload(upload) => upload.key.to_string(),
            other => format!("{other:?}"),
        };
        left.iter().map(key).collect()
    }

    #[tokio::test]
    async fn the_next_mount_takes_over_what_a_dead_one_left_and_nothing_of_one_that_lives() {
        let home = tempfile::tempdir().unwrap();
        let (first, _) = open(home.path(), "");
        let ended = begin(&first, "ended", "1");
        begin(&first, "left", "2");
        first.ended(ended);
        let (second, left) = open(home.path(), "");
        assert_eq!(keys(&left), [""; 0], "the first one lives");
        drop(first);
        let (third, left) = open(home.path(), "");
        assert_eq!(keys(&left), ["left"]);
        let Unfinished::Upload(upload) = &left[0] else { panic!() };
        assert_eq!(upload.begun.as_ref().unwrap().parts[&PartNumber::FIRST].crc64, Some(Crc64(7)));
        // It is the third one's now, and a fourth takes it over from that.
        drop(second);
        assert_eq!(keys(&open(home.path(), "").1), [""; 0]);
        drop(third);
        assert_eq!(keys(&open(home.path(), "").1), ["left"]);
    }

    #[test]
    fn what_lies_elsewhere_is_left_to_the_mounts_there() {
        let home = tempfile::tempdir().unwrap();
        let (first, _) = open(home.path(), "");
        begin(&first, "a/1", "1");
        begin(&first, "b/1", "2");
        drop(first);
        let (second, left) = open(home.path(), "a/");
        assert_eq!(keys(&left), ["a/1"]);
        assert_eq!(keys(&open(home.path(), "c/").1), [""; 0]);
        let (_other_bucket, left) = Journal::open(home.path(), &Owner { bucket: "c".into(), ..owner("") }).unwrap();
        assert_eq!(left.len(), 0);
        assert_eq!(keys(&open(home.path(), "b/").1), ["b/1"]);
        drop(second);
    }

    #[test]
    fn a_mount_that_ends_with_nothing_left_leaves_no_file() {
        let home = tempfile::tempdir().unwrap();
        let (journal, _) = open(home.path(), "");
        let entry = begin(&journal, "k", "1");
        assert_eq!(known_uploads(home.path(), &owner("")).unwrap()[0], HashSet::from([UploadId::new("1")]));
        journal.ended(entry);
        journal.close(true);
        assert!(journals(home.path()).unwrap().is_empty());
        let (journal, _) = open(home.path(), "");
        begin(&journal, "k", "2");
        journal.close(true);
        assert_eq!(known_uploads(home.path(), &owner("")).unwrap()[1], HashSet::from([UploadId::new("2")]));
        assert_eq!(keys(&open(home.path(), "").1), ["k"]);
    }

    #[test]
    fn a_long_journal_is_compacted_to_what_is_not_ended() {
        let home = tempfile::tempdir().unwrap();
        let (journal, _) = open(home.path(), "");
        begin(&journal, "left", "0");
        let long = "k".repeat(800);
        for upload in 1..4000 {
            let entry = begin(&journal, &long, &upload.to_string());
            journal.ended(entry);
        }
        let file = journals(home.path()).unwrap().remove(0);
        assert!(fs::metadata(&file).unwrap().len() < 3 << 20, "{file:?}");
        drop(journal);
        assert_eq!(keys(&open(home.path(), "").1), ["left"]);
    }

    #[tokio::test]
    async fn without_a_directory_everything_is_as_if_it_were_written_down() {
        let journal = Journal::none();
        let entry = begin(&journal, "k", "1");
        assert_eq!(journal.upload(&UploadId::new("1")), Some(entry));
        journal.arrived(journal.renaming("a/", "b/", false).await).await;
        journal.ended(entry);
        assert_eq!(journal.upload(&UploadId::new("1")), None);
        journal.close(true);
    }
}
