//! The index: which buckets, objects, uploads and parts there are, and which segments hold their bytes.
//!
//! Reads see a snapshot. Changes of many requests that arrive together are committed together by one thread, and each
//! is answered only once its commit is durable, in the index and in the journal. A change that is refused must have
//! changed nothing, since the others of its batch are committed all the same; one that *fails* takes the whole batch
//! with it.
//!
//! After a failed write the data base takes no more calls until it was opened anew. That is done at once and again for
//! each call, so that a disk that was full does not end the service.

use std::fs::{File, OpenOptions};
use std::ops::Bound;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::JoinHandle;

use redb::backends::{FileBackend, InMemoryBackend};
use redb::{
    BackendError, Database, ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTable, StorageBackend, Table,
    TableDefinition, WriteTransaction,
};
use tokio::sync::{mpsc, oneshot};

use super::StorageError;
use super::journal::Journal;
use super::rows::{self, Kept};
use super::segments::Segments;
use super::writing::FreshSegment;

pub(super) type Bytewise = &'static [u8];

const BUCKETS: TableDefinition<&str, Bytewise> = TableDefinition::new("buckets");
const OBJECTS: TableDefinition<(&str, &str), Bytewise> = TableDefinition::new("objects");
const VERSIONS: TableDefinition<(&str, &str, u64), Bytewise> = TableDefinition::new("versions");
const UPLOADS: TableDefinition<(&str, &str, &str), Bytewise> = TableDefinition::new("uploads");
const PARTS: TableDefinition<(&str, u16), Bytewise> = TableDefinition::new("parts");
const LAYOUTS: TableDefinition<u64, Bytewise> = TableDefinition::new("layouts");
const LAYOUT_USERS: TableDefinition<u64, u32> = TableDefinition::new("layout users");
const SEGMENT_USERS: TableDefinition<u64, u32> = TableDefinition::new("segment users");
const SUMS: TableDefinition<u64, Bytewise> = TableDefinition::new("sums");
const ABOUT: TableDefinition<&str, &str> = TableDefinition::new("about");

/// Rows of [`ABOUT`]: what index and journal share, and the number of the last change.
const IDENTITY: &str = "identity";
const CHANGES: &str = "changes";

/// What redb may cache, in bytes. Its default is 1 GiB; a listing page or two is all that pays here, and the page
/// cache of the kernel stands behind it.
const CACHE_BYTES: usize = 32 << 20;

/// Changes that wait for the writing thread; more requests than this wait in their own tasks.
const CHANGES_WAITING_MAX: usize = 1024;

/// Changes in one commit. The bound keeps one answer from waiting for an endless batch.
const CHANGES_PER_COMMIT_MAX: usize = 256;

/// The tables of one change, open for writing.
pub(super) struct Tables<'txn> {
    /// Bucket name -> record.
    pub buckets: Kept<'txn, &'static str>,
    /// (bucket, key) -> record. Ordered as listings are: by the bytes of the key.
    pub objects: Kept<'txn, (&'static str, &'static str)>,
    /// (bucket, key, number) -> an older version or the mark of a deletion, from the newest on.
    pub versions: Kept<'txn, (&'static str, &'static str, u64)>,
    /// (bucket, key, upload id) -> record.
    pub uploads: Kept<'txn, (&'static str, &'static str, &'static str)>,
    /// (upload id, part number) -> record.
    pub parts: Kept<'txn, (&'static str, u16)>,
    /// Layout -> packed slices.
    pub layouts: Kept<'txn, u64>,
    /// Segment -> the packed checksums of its blocks.
    pub sums: Kept<'txn, u64>,
    /// Layout -> objects that share it.
    pub layout_users: Table<'txn, u64, u32>,
    /// Segment -> slices that point into it. A segment without a row is garbage.
    pub segment_users: Table<'txn, u64, u32>,
    about: Table<'txn, &'static str, &'static str>,
    /// Segments that this change gave up; they are removed after the commit.
    pub doomed: Vec<u64>,
    /// Segments that this change names; they are kept if the commit succeeds.
    pub fresh: Vec<FreshSegment>,
}

impl<'txn> Tables<'txn> {
    fn open(transaction: &'txn WriteTransaction) -> Result<Tables<'txn>, StorageError> {
        Ok(Tables {
            buckets: Kept::open(transaction, BUCKETS, rows::BUCKETS)?,
            objects: Kept::open(transaction, OBJECTS, rows::OBJECTS)?,
            versions: Kept::open(transaction, VERSIONS, rows::VERSIONS)?,
            uploads: Kept::open(transaction, UPLOADS, rows::UPLOADS)?,
            parts: Kept::open(transaction, PARTS, rows::PARTS)?,
            layouts: Kept::open(transaction, LAYOUTS, rows::LAYOUTS)?,
            sums: Kept::open(transaction, SUMS, rows::SUMS)?,
            layout_users: transaction.open_table(LAYOUT_USERS)?,
            segment_users: transaction.open_table(SEGMENT_USERS)?,
            about: transaction.open_table(ABOUT)?,
            doomed: Vec::new(),
            fresh: Vec::new(),
        })
    }

    /// The lines of all that was changed, for the journal.
    fn take_lines(&mut self) -> Vec<u8> {
        let mut lines = Vec::new();
        self.buckets.write_down(&mut lines);
        self.objects.write_down(&mut lines);
        self.versions.write_down(&mut lines);
        self.uploads.write_down(&mut lines);
        self.parts.write_down(&mut lines);
        self.layouts.write_down(&mut lines);
        self.sums.write_down(&mut lines);
        lines
    }

    /// Counts one change more, and returns its number.
    fn count_change(&mut self) -> Result<u64, StorageError> {
        let sequence = number(self.about.get(CHANGES)?.as_ref().map(|row| row.value())) + 1;
        self.about.insert(CHANGES, sequence.to_string().as_str())?;
        Ok(sequence)
    }

    /// Makes these the tables of an index that shares `identity` with its journal.
    pub(super) fn name(&mut self, identity: &str, sequence: u64) -> Result<(), StorageError> {
        self.about.insert(IDENTITY, identity)?;
        self.about.insert(CHANGES, sequence.to_string().as_str())?;
        Ok(())
    }
}

/// A snapshot to read from.
pub(super) struct Snapshot(ReadTransaction);

impl Snapshot {
    pub(super) fn buckets(&self) -> Result<ReadOnlyTable<&'static str, Bytewise>, StorageError> {
        Ok(self.0.open_table(BUCKETS)?)
    }

    pub(super) fn objects(&self) -> Result<ReadOnlyTable<(&'static str, &'static str), Bytewise>, StorageError> {
        Ok(self.0.open_table(OBJECTS)?)
    }

    pub(super) fn versions(&self) -> Result<ReadOnlyTable<(&'static str, &'static str, u64), Bytewise>, StorageError> {
        Ok(self.0.open_table(VERSIONS)?)
    }

    pub(super) fn uploads(
        &self,
    ) -> Result<ReadOnlyTable<(&'static str, &'static str, &'static str), Bytewise>, StorageError> {
        Ok(self.0.open_table(UPLOADS)?)
    }

    pub(super) fn parts(&self) -> Result<ReadOnlyTable<(&'static str, u16), Bytewise>, StorageError> {
        Ok(self.0.open_table(PARTS)?)
    }

    pub(super) fn layouts(&self) -> Result<ReadOnlyTable<u64, Bytewise>, StorageError> {
        Ok(self.0.open_table(LAYOUTS)?)
    }

    pub(super) fn sums(&self) -> Result<ReadOnlyTable<u64, Bytewise>, StorageError> {
        Ok(self.0.open_table(SUMS)?)
    }

    pub(super) fn segment_users(&self) -> Result<ReadOnlyTable<u64, u32>, StorageError> {
        Ok(self.0.open_table(SEGMENT_USERS)?)
    }

    /// What the index shares with its journal, and the number of its last change; `None` of an index that was made
    /// before there were journals.
    pub(super) fn about(&self) -> Result<(Option<String>, u64), StorageError> {
        let about = self.0.open_table(ABOUT)?;
        let identity = about.get(IDENTITY)?.map(|row| row.value().to_owned());
        Ok((identity, number(about.get(CHANGES)?.as_ref().map(|row| row.value()))))
    }
}

fn number(text: Option<&str>) -> u64 {
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// The data base of one index, and how it is opened.
pub(super) struct DataBase {
    /// `None` in memory.
    path: Option<PathBuf>,
    /// Std lock: held while a transaction begins, which waits for nobody, or while the file is opened anew.
    /// Level 8 in the order of locks.
    open: RwLock<Option<Database>>,
}

impl DataBase {
    /// Opens the index in the file `path`, which is made if it is missing; without a path an empty one in memory.
    pub(super) fn open(path: Option<&Path>) -> Result<DataBase, redb::DatabaseError> {
        let open = RwLock::new(Some(open_file(path)?));
        Ok(DataBase { path: path.map(Path::to_owned), open })
    }

    /// Makes the tables that are missing.
    pub(super) fn prepare(&self) -> Result<(), StorageError> {
        let transaction = self.write()?;
        drop(Tables::open(&transaction)?);
        Ok(transaction.commit()?)
    }

    /// Changes the tables in one transaction, past the journal.
    pub(super) fn change_now<T>(
        &self,
        change: impl FnOnce(&mut Tables<'_>) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        let transaction = self.write()?;
        let mut tables = Tables::open(&transaction)?;
        let changed = change(&mut tables)?;
        drop(tables);
        transaction.commit()?;
        Ok(changed)
    }

    pub(super) fn snapshot(&self) -> Result<Snapshot, StorageError> {
        self.begin(|database| Ok(Snapshot(database.begin_read()?)))
    }

    fn write(&self) -> Result<WriteTransaction, StorageError> {
        self.begin(|database| Ok(database.begin_write()?))
    }

    /// Begins a transaction, on a data base that is opened anew if an earlier write failed.
    fn begin<T>(&self, begin: impl Fn(&Database) -> Result<T, StorageError>) -> Result<T, StorageError> {
        if let Some(database) = &*self.open.read().unwrap_or_else(PoisonError::into_inner) {
            match begin(database) {
                Err(StorageError::IndexOut) => {}
                begun => return begun,
            }
        }
        self.open_anew()?;
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        open.as_ref().map_or(Err(StorageError::IndexOut), begin)
    }

    fn open_anew(&self) -> Result<(), StorageError> {
        // What was in memory is lost with its data base, so there the failure stays.
        let Some(path) = &self.path else { return Err(StorageError::IndexOut) };
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(database) = &*open
            && database.begin_read().is_ok()
        {
            return Ok(());
        }
        // Closed first, since it holds the lock of the file.
        *open = None;
        *open = Some(open_file(Some(path))?);
        log::info!("the index was opened anew after a write that failed");
        Ok(())
    }
}

fn open_file(path: Option<&Path>) -> Result<Database, redb::DatabaseError> {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    let Some(path) = path else { return builder.create_with_backend(InMemoryBackend::new()) };
    // A file that was changed or cut by others is an error then; redb may panic otherwise. It reads the file once, half
    // a second for a million objects.
    builder.set_check_integrity_on_open(true);
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    let room = file.try_clone()?;
    builder.create_with_backend(Roomy { file: FileBackend::new(file)?, room })
}

/// A file whose room on the disk is taken when it grows, so that a full disk is met then, before anything is written,
/// and never by a write into the file: those go on, and with them deletes and the opening of the index.
#[derive(Debug)]
struct Roomy {
    file: FileBackend,
    /// The same file.
    room: File,
}

impl StorageBackend for Roomy {
    fn len(&self) -> Result<u64, std::io::Error> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), std::io::Error> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> Result<(), std::io::Error> {
        let present = self.room.metadata()?.len();
        if len > present {
            match rustix::fs::fallocate(&self.room, rustix::fs::FallocateFlags::empty(), present, len - present) {
                // The size is set by it.
                Ok(()) => return Ok(()),
                // Not every file system can.
                Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.file.set_len(len)
    }

    fn sync_data(&self) -> Result<(), std::io::Error> {
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), std::io::Error> {
        self.file.write(offset, data)
    }

    fn close(&self) -> Result<(), std::io::Error> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.query_lock_range(start, end)
    }
}

/// The index of one service.
pub(super) struct Index {
    database: Arc<DataBase>,
    /// `None` once closed.
    changes: Option<mpsc::Sender<Box<dyn Change>>>,
    writer: Option<JoinHandle<()>>,
}

impl Index {
    /// Serves a data base. The thread that writes removes the segments that changes give up from `segments`, and
    /// writes every change down in `journal`, if there is one.
    pub(super) fn start(
        database: DataBase,
        journal: Option<Journal>,
        segments: Arc<Segments>,
    ) -> Result<Index, StorageError> {
        let database = Arc::new(database);
        let (changes, mut queue) = mpsc::channel(CHANGES_WAITING_MAX);
        let mut writing = Writing { database: Arc::clone(&database), journal, segments };
        let writer = std::thread::Builder::new()
            .name("cosmount-index".to_owned())
            .spawn(move || writing.write_batches(&mut queue))
            .map_err(|error| StorageError::failed("start the thread that writes the index", error))?;
        Ok(Index { database, changes: Some(changes), writer: Some(writer) })
    }

    /// A snapshot of what is committed.
    pub(super) fn snapshot(&self) -> Result<Snapshot, StorageError> {
        self.database.snapshot()
    }

    /// Applies `action` and returns its answer once it is durable.
    ///
    /// A change runs to its end even if the caller stops waiting for it.
    pub(super) async fn change<T, F>(&self, action: F) -> Result<T, StorageError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Tables<'_>) -> Result<T, StorageError> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let change: Box<dyn Change> = Box::new(Pending { action: Some(action), outcome: None, answer });
        let changes = self.changes.as_ref().ok_or(StorageError::Closed)?;
        changes.send(change).await.map_err(|_| StorageError::Closed)?;
        answered.await.map_err(|_| StorageError::Closed)?
    }
}

impl Drop for Index {
    /// Lets the writing thread finish what was handed to it.
    fn drop(&mut self) {
        self.changes = None;
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            log::error!("the thread that writes the index of the service panicked");
        }
    }
}

/// One change on its way through the writing thread.
trait Change: Send {
    /// Applies the change and keeps its outcome. Fails only when the whole batch has to be given up.
    fn apply(&mut self, tables: &mut Tables<'_>) -> Result<(), StorageError>;
    /// Hands the outcome to whoever waits; without a commit, an error takes its place, which knows whether the disk
    /// was full.
    fn answer(self: Box<Self>, committed: Result<(), bool>);
}

struct Pending<T, F> {
    action: Option<F>,
    outcome: Option<Result<T, StorageError>>,
    answer: oneshot::Sender<Result<T, StorageError>>,
}

impl<T, F> Change for Pending<T, F>
where
    T: Send,
    F: FnOnce(&mut Tables<'_>) -> Result<T, StorageError> + Send,
{
    fn apply(&mut self, tables: &mut Tables<'_>) -> Result<(), StorageError> {
        let Some(action) = self.action.take() else { return Ok(()) };
        match action(tables) {
            Err(error) if error.is_failure() => Err(error),
            outcome => {
                self.outcome = Some(outcome);
                Ok(())
            }
        }
    }

    fn answer(self: Box<Self>, committed: Result<(), bool>) {
        let outcome = match (self.outcome, committed) {
            (Some(Err(refused)), _) => Err(refused),
            (Some(Ok(value)), Ok(())) => Ok(value),
            (_, Err(true)) => Err(StorageError::Full),
            (_, Ok(()) | Err(false)) => Err(StorageError::NotCommitted),
        };
        // Whoever asked may be gone; the change stands all the same.
        drop(self.answer.send(outcome));
    }
}

/// What the writing thread works with.
struct Writing {
    database: Arc<DataBase>,
    journal: Option<Journal>,
    segments: Arc<Segments>,
}

impl Writing {
    /// Takes what has gathered, commits it as one, answers, until the index is closed.
    fn write_batches(&mut self, queue: &mut mpsc::Receiver<Box<dyn Change>>) {
        while let Some(first) = queue.blocking_recv() {
            let mut batch = vec![first];
            while batch.len() < CHANGES_PER_COMMIT_MAX
                && let Ok(next) = queue.try_recv()
            {
                batch.push(next);
            }
            let committed = match self.commit(&mut batch) {
                Ok(doomed) => {
                    self.segments.remove(doomed);
                    Ok(())
                }
                Err(error) => {
                    let full = error.is_full();
                    error.log("the index of the service could not be written");
                    Err(full)
                }
            };
            for change in batch {
                change.answer(committed);
            }
            self.shorten_journal();
        }
    }

    /// Applies a batch in one transaction and returns the segments that it gave up. Without a commit the segments that
    /// it would have named go.
    fn commit(&mut self, batch: &mut [Box<dyn Change>]) -> Result<Vec<u64>, StorageError> {
        let transaction = self.database.write()?;
        let mut tables = Tables::open(&transaction)?;
        for change in batch {
            change.apply(&mut tables)?;
        }
        let lines = tables.take_lines();
        let sequence = if lines.is_empty() { 0 } else { tables.count_change()? };
        let (doomed, fresh) = (std::mem::take(&mut tables.doomed), std::mem::take(&mut tables.fresh));
        drop(tables);
        self.segments
            .sync_names(fresh.iter().map(FreshSegment::id))
            .map_err(|error| StorageError::io("write the directories of segments", error))?;
        let before = self.journal.as_ref().map_or(0, Journal::bytes);
        let written = self.write_down(sequence, &lines).and_then(|()| Ok(transaction.commit()?));
        if let (Err(_), Some(journal)) = (&written, &mut self.journal) {
            journal.take_back(before);
        }
        written?;
        fresh.into_iter().for_each(FreshSegment::keep);
        Ok(doomed)
    }

    /// Before the commit, so that nothing is acknowledged that the journal does not know. What is in the journal and
    /// did not come to be is taken back, or cleared away by the next start.
    fn write_down(&mut self, sequence: u64, lines: &[u8]) -> Result<(), StorageError> {
        let Some(journal) = self.journal.as_mut().filter(|_| !lines.is_empty()) else { return Ok(()) };
        let written = journal.append(sequence, lines).and_then(|()| journal.sync());
        written.map_err(|error| StorageError::io("write the journal", error))
    }

    fn shorten_journal(&mut self) {
        let Some(journal) = self.journal.as_mut().filter(|journal| journal.is_long()) else { return };
        let shortened = self.database.snapshot().and_then(|snapshot| {
            let (_, sequence) = snapshot.about()?;
            journal.shorten(sequence, rows::all_rows(&snapshot)?)
        });
        if let Err(error) = shortened {
            error.log("the journal of the service could not be shortened");
        }
    }
}
