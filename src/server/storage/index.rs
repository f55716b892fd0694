//! The index: which buckets, objects, uploads and parts there are, and which segments hold their bytes.
//!
//! Reads see a snapshot. Changes of many requests that arrive together are committed together by one thread, and each
//! is answered only once its commit is durable. A change that is refused must have changed nothing, since the others
//! of its batch are committed all the same; one that *fails* takes the whole batch with it.

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use redb::backends::InMemoryBackend;
use redb::{Database, ReadOnlyTable, ReadTransaction, ReadableDatabase, Table, TableDefinition, WriteTransaction};
use tokio::sync::{mpsc, oneshot};

use super::StorageError;
use super::segments::Segments;
use super::writing::FreshSegment;

pub(super) type Bytewise = &'static [u8];

const BUCKETS: TableDefinition<&str, Bytewise> = TableDefinition::new("buckets");
const OBJECTS: TableDefinition<(&str, &str), Bytewise> = TableDefinition::new("objects");
const UPLOADS: TableDefinition<(&str, &str, &str), Bytewise> = TableDefinition::new("uploads");
const PARTS: TableDefinition<(&str, u16), Bytewise> = TableDefinition::new("parts");
const LAYOUTS: TableDefinition<u64, Bytewise> = TableDefinition::new("layouts");
const LAYOUT_USERS: TableDefinition<u64, u32> = TableDefinition::new("layout users");
const SEGMENT_USERS: TableDefinition<u64, u32> = TableDefinition::new("segment users");

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
    pub buckets: Table<'txn, &'static str, Bytewise>,
    /// (bucket, key) -> record. Ordered as listings are: by the bytes of the key.
    pub objects: Table<'txn, (&'static str, &'static str), Bytewise>,
    /// (bucket, key, upload id) -> record.
    pub uploads: Table<'txn, (&'static str, &'static str, &'static str), Bytewise>,
    /// (upload id, part number) -> record.
    pub parts: Table<'txn, (&'static str, u16), Bytewise>,
    /// Layout -> packed slices.
    pub layouts: Table<'txn, u64, Bytewise>,
    /// Layout -> objects that share it.
    pub layout_users: Table<'txn, u64, u32>,
    /// Segment -> slices that point into it. A segment without a row is garbage.
    pub segment_users: Table<'txn, u64, u32>,
    /// Segments that this change gave up; they are removed after the commit.
    pub doomed: Vec<u64>,
    /// Segments that this change names; they are kept if the commit succeeds.
    pub fresh: Vec<FreshSegment>,
}

impl<'txn> Tables<'txn> {
    fn open(transaction: &'txn WriteTransaction) -> Result<Tables<'txn>, StorageError> {
        Ok(Tables {
            buckets: transaction.open_table(BUCKETS)?,
            objects: transaction.open_table(OBJECTS)?,
            uploads: transaction.open_table(UPLOADS)?,
            parts: transaction.open_table(PARTS)?,
            layouts: transaction.open_table(LAYOUTS)?,
            layout_users: transaction.open_table(LAYOUT_USERS)?,
            segment_users: transaction.open_table(SEGMENT_USERS)?,
            doomed: Vec::new(),
            fresh: Vec::new(),
        })
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

    pub(super) fn segment_users(&self) -> Result<ReadOnlyTable<u64, u32>, StorageError> {
        Ok(self.0.open_table(SEGMENT_USERS)?)
    }
}

/// The index of one service.
pub(super) struct Index {
    database: Arc<Database>,
    /// `None` once closed.
    changes: Option<mpsc::Sender<Box<dyn Change>>>,
    writer: Option<JoinHandle<()>>,
}

impl Index {
    /// Opens the index in the file `path`, or an empty one in memory. The thread that writes removes the segments
    /// that changes give up from `segments`.
    pub(super) fn open(path: Option<&Path>, segments: Arc<Segments>) -> Result<Index, StorageError> {
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE_BYTES);
        let database = match path {
            Some(path) => builder.create(path)?,
            None => builder.create_with_backend(InMemoryBackend::new())?,
        };
        let database = Arc::new(database);
        let first = database.begin_write()?;
        drop(Tables::open(&first)?);
        first.commit()?;
        let (changes, mut queue) = mpsc::channel(CHANGES_WAITING_MAX);
        let writing = Arc::clone(&database);
        let writer = std::thread::Builder::new()
            .name("cosmount-index".to_owned())
            .spawn(move || write_batches(&writing, &segments, &mut queue))
            .map_err(|error| StorageError::failed("start the thread that writes the index", error))?;
        Ok(Index { database, changes: Some(changes), writer: Some(writer) })
    }

    /// A snapshot of what is committed.
    pub(super) fn snapshot(&self) -> Result<Snapshot, StorageError> {
        Ok(Snapshot(self.database.begin_read()?))
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
    /// Hands the outcome to whoever waits; without a commit, an error takes its place.
    fn answer(self: Box<Self>, committed: bool);
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

    fn answer(self: Box<Self>, committed: bool) {
        let outcome = match self.outcome {
            Some(Err(refused)) => Err(refused),
            Some(Ok(value)) if committed => Ok(value),
            _ => Err(StorageError::NotCommitted),
        };
        // Whoever asked may be gone; the change stands all the same.
        drop(self.answer.send(outcome));
    }
}

/// The writing thread: takes what has gathered, commits it as one, answers, until the index is closed.
fn write_batches(database: &Database, segments: &Segments, queue: &mut mpsc::Receiver<Box<dyn Change>>) {
    while let Some(first) = queue.blocking_recv() {
        let mut batch = vec![first];
        while batch.len() < CHANGES_PER_COMMIT_MAX
            && let Ok(next) = queue.try_recv()
        {
            batch.push(next);
        }
        let committed = match commit(database, segments, &mut batch) {
            Ok(doomed) => {
                segments.remove(doomed);
                true
            }
            Err(error) => {
                log::error!("the index of the service could not be written: {error}");
                false
            }
        };
        for change in batch {
            change.answer(committed);
        }
    }
}

/// Applies a batch in one transaction and returns the segments that it gave up. Without a commit the segments that it
/// would have named go.
fn commit(database: &Database, segments: &Segments, batch: &mut [Box<dyn Change>]) -> Result<Vec<u64>, StorageError> {
    let transaction = database.begin_write()?;
    let mut tables = Tables::open(&transaction)?;
    for change in batch {
        change.apply(&mut tables)?;
    }
    let (doomed, fresh) = (std::mem::take(&mut tables.doomed), std::mem::take(&mut tables.fresh));
    drop(tables);
    segments
        .sync_names(fresh.iter().map(FreshSegment::id))
        .map_err(|error| StorageError::failed("write the directories of segments", error))?;
    transaction.commit()?;
    fresh.into_iter().for_each(FreshSegment::keep);
    Ok(doomed)
}
