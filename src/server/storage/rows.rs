//! The rows of the index that cannot be told from others, and how the journal writes them down.
//!
//! A row is a line: the name of its table, its key as JSON, and its value, which is JSON or, where the index keeps it
//! packed, base64; without a value the row is removed. Fields are separated by tabs, which JSON never holds.

use std::ops::Deref;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use redb::{AccessGuard, Key, ReadOnlyTable, Table, TableDefinition, WriteTransaction};
use serde::Serialize;

use super::StorageError;
use super::index::{Bytewise, Snapshot, Tables};

/// Rows of one batch when all of them are written down: small enough to be held, large enough not to be counted.
const ROWS_PER_BATCH: usize = 1000;

/// One table whose changes are written down.
pub(super) struct Kept<'txn, K: Key + 'static> {
    table: Table<'txn, K, Bytewise>,
    form: Form,
    /// The lines of what was changed.
    lines: Vec<u8>,
}

/// A table's name and whether its values are packed.
#[derive(Clone, Copy)]
pub(super) struct Form {
    name: &'static str,
    packed: bool,
}

pub(super) const BUCKETS: Form = Form { name: "buckets", packed: false };
pub(super) const OBJECTS: Form = Form { name: "objects", packed: false };
pub(super) const VERSIONS: Form = Form { name: "versions", packed: false };
pub(super) const UPLOADS: Form = Form { name: "uploads", packed: false };
pub(super) const PARTS: Form = Form { name: "parts", packed: false };
pub(super) const LAYOUTS: Form = Form { name: "layouts", packed: true };
pub(super) const SUMS: Form = Form { name: "sums", packed: true };

impl<'txn, K: Key + 'static> Kept<'txn, K>
where
    for<'k> K::SelfType<'k>: Serialize,
{
    pub(super) fn open(
        transaction: &'txn WriteTransaction,
        definition: TableDefinition<'_, K, Bytewise>,
        form: Form,
    ) -> Result<Kept<'txn, K>, StorageError> {
        Ok(Kept { table: transaction.open_table(definition)?, form, lines: Vec::new() })
    }

    /// Sets a row and returns what it was.
    pub(super) fn insert<'k>(
        &mut self,
        key: K::SelfType<'k>,
        value: &[u8],
    ) -> Result<Option<AccessGuard<'_, Bytewise>>, StorageError> {
        self.form.write(&key, Some(value), &mut self.lines)?;
        Ok(self.table.insert(key, value)?)
    }

    /// Removes a row and returns what it was.
    pub(super) fn remove<'k>(
        &mut self,
        key: K::SelfType<'k>,
    ) -> Result<Option<AccessGuard<'_, Bytewise>>, StorageError> {
        self.form.write(&key, None, &mut self.lines)?;
        Ok(self.table.remove(key)?)
    }

    /// Moves the lines of what was changed to `lines`.
    pub(super) fn write_down(&mut self, lines: &mut Vec<u8>) {
        lines.append(&mut self.lines);
    }
}

impl<'txn, K: Key + 'static> Deref for Kept<'txn, K> {
    type Target = Table<'txn, K, Bytewise>;
    fn deref(&self) -> &Table<'txn, K, Bytewise> {
        &self.table
    }
}

impl Form {
    fn write(self, key: &impl Serialize, value: Option<&[u8]>, lines: &mut Vec<u8>) -> Result<(), StorageError> {
        lines.extend_from_slice(self.name.as_bytes());
        lines.push(b'\t');
        serde_json::to_writer(&mut *lines, key).map_err(|error| StorageError::failed("encode a key", error))?;
        match value {
            None => {}
            Some(value) if self.packed => {
                lines.push(b'\t');
                lines.extend_from_slice(BASE64.encode(value).as_bytes());
            }
            Some(value) => {
                lines.push(b'\t');
                lines.extend_from_slice(value);
            }
        }
        lines.push(b'\n');
        Ok(())
    }
}

/// All rows of a snapshot, in batches of lines.
pub(super) fn all_rows(
    snapshot: &Snapshot,
) -> Result<impl Iterator<Item = Result<Vec<u8>, StorageError>> + use<>, StorageError> {
    let buckets = lines_of(&snapshot.buckets()?, BUCKETS)?;
    let objects = lines_of(&snapshot.objects()?, OBJECTS)?;
    let versions = lines_of(&snapshot.versions()?, VERSIONS)?;
    let uploads = lines_of(&snapshot.uploads()?, UPLOADS)?;
    let parts = lines_of(&snapshot.parts()?, PARTS)?;
    let layouts = lines_of(&snapshot.layouts()?, LAYOUTS)?;
    let sums = lines_of(&snapshot.sums()?, SUMS)?;
    let mut lines = buckets.chain(objects).chain(versions).chain(uploads).chain(parts).chain(layouts).chain(sums);
    Ok(std::iter::from_fn(move || {
        let mut batch = Vec::new();
        for line in lines.by_ref().take(ROWS_PER_BATCH) {
            match line {
                Ok(line) => batch.extend_from_slice(&line),
                Err(error) => return Some(Err(error)),
            }
        }
        (!batch.is_empty()).then_some(Ok(batch))
    }))
}

fn lines_of<K: Key + 'static>(
    table: &ReadOnlyTable<K, Bytewise>,
    form: Form,
) -> Result<impl Iterator<Item = Result<Vec<u8>, StorageError>> + use<K>, StorageError>
where
    for<'k> K::SelfType<'k>: Serialize,
{
    Ok(table.range::<K::SelfType<'_>>(..)?.map(move |row| {
        let (key, value) = row?;
        let mut line = Vec::new();
        form.write(&key.value(), Some(value.value()), &mut line)?;
        Ok(line)
    }))
}

/// Applies a batch of lines to the tables.
pub(super) fn apply(lines: &[u8], tables: &mut Tables<'_>) -> Result<(), StorageError> {
    let lines = std::str::from_utf8(lines).map_err(|error| StorageError::failed("read the journal", error))?;
    lines.lines().try_for_each(|line| apply_line(line, tables))
}

fn apply_line(line: &str, tables: &mut Tables<'_>) -> Result<(), StorageError> {
    let unknown =
        || StorageError::failed("read the journal", format!("it has a line that is not one of a row: {line:?}"));
    let json = |error: serde_json::Error| StorageError::failed("read the journal", error);
    let mut fields = line.split('\t');
    let (Some(table), Some(key)) = (fields.next(), fields.next()) else { return Err(unknown()) };
    let value = fields.next();
    if table == BUCKETS.name {
        let key: String = serde_json::from_str(key).map_err(json)?;
        put(&mut tables.buckets, key.as_str(), value)
    } else if table == OBJECTS.name {
        let (bucket, key): (String, String) = serde_json::from_str(key).map_err(json)?;
        put(&mut tables.objects, (bucket.as_str(), key.as_str()), value)
    } else if table == VERSIONS.name {
        let (bucket, key, order): (String, String, u64) = serde_json::from_str(key).map_err(json)?;
        put(&mut tables.versions, (bucket.as_str(), key.as_str(), order), value)
    } else if table == UPLOADS.name {
        let (bucket, key, id): (String, String, String) = serde_json::from_str(key).map_err(json)?;
        put(&mut tables.uploads, (bucket.as_str(), key.as_str(), id.as_str()), value)
    } else if table == PARTS.name {
        let (id, number): (String, u16) = serde_json::from_str(key).map_err(json)?;
        put(&mut tables.parts, (id.as_str(), number), value)
    } else if table == LAYOUTS.name {
        put(&mut tables.layouts, serde_json::from_str(key).map_err(json)?, value)
    } else if table == SUMS.name {
        put(&mut tables.sums, serde_json::from_str(key).map_err(json)?, value)
    } else {
        Err(unknown())
    }
}

fn put<'k, K: Key + 'static>(
    kept: &mut Kept<'_, K>,
    key: K::SelfType<'k>,
    value: Option<&str>,
) -> Result<(), StorageError> {
    match value {
        None => drop(kept.table.remove(key)?),
        Some(value) if kept.form.packed => {
            let value = BASE64.decode(value).map_err(|error| StorageError::failed("read the journal", error))?;
            kept.table.insert(key, value.as_slice())?;
        }
        Some(value) => drop(kept.table.insert(key, value.as_bytes())?),
    }
    Ok(())
}
