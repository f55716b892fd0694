//! Who uses which segment: taking, sharing and giving up the bytes of objects and parts, inside a transaction.
//!
//! INVARIANT: the row of a segment counts the slices that point into it, over all parts, layouts and records of
//! objects; the row of a layout counts the objects that share it. What falls to 0 is removed.

use std::sync::{Arc, Mutex, PoisonError};

use redb::ReadableTable;

use crate::object::Crc64;

use super::StorageError;
use super::error::Rule;
use super::index::{Snapshot, Tables};
use super::records::{Content, INLINE_SLICES_MAX, Slice, pack, unpack};
use super::sums::pack_sums;
use super::writing::FreshSegment;

pub(super) fn require_bucket(tables: &Tables<'_>, bucket: &str) -> Result<(), StorageError> {
    match tables.buckets.get(bucket)? {
        Some(_) => Ok(()),
        None => Err(Rule::NoSuchBucket.into()),
    }
}

/// Counts one more user of each slice's segment.
pub(super) fn take_slices(tables: &mut Tables<'_>, slices: &[Slice]) -> Result<(), StorageError> {
    for slice in slices {
        let users = tables.segment_users.get(slice.segment)?.map_or(0, |row| row.value());
        tables.segment_users.insert(slice.segment, users + 1)?;
    }
    Ok(())
}

/// Counts one more object with each of these layouts.
pub(super) fn users_of_layouts(tables: &mut Tables<'_>, layouts: &[u64]) -> Result<(), StorageError> {
    layouts.iter().try_for_each(|&layout| share(tables, &Content::Listed(layout)))
}

/// Keeps a received segment, whose slice is counted already, and the checksums of its blocks.
pub(super) fn take_segment(
    tables: &mut Tables<'_>,
    segment: Option<FreshSegment>,
    sums: &[u64],
) -> Result<(), StorageError> {
    let Some(segment) = segment else { return Ok(()) };
    if !sums.is_empty() {
        tables.sums.insert(segment.id(), &pack_sums(sums))?;
    }
    tables.fresh.push(segment);
    Ok(())
}

/// Counts one user less of each slice's segment, and dooms segments without users.
pub(super) fn give_up_slices(tables: &mut Tables<'_>, slices: &[Slice]) -> Result<(), StorageError> {
    for slice in slices {
        let users = tables.segment_users.get(slice.segment)?.map_or(0, |row| row.value());
        if users > 1 {
            tables.segment_users.insert(slice.segment, users - 1)?;
        } else {
            tables.segment_users.remove(slice.segment)?;
            if tables.sums.get(slice.segment)?.is_some() {
                tables.sums.remove(slice.segment)?;
            }
            tables.doomed.push(slice.segment);
        }
    }
    Ok(())
}

/// Makes the content of an object out of slices whose users are counted already. `layout` is a fresh id, used if the
/// list is too long for the object's own record.
pub(super) fn arrange(tables: &mut Tables<'_>, slices: Vec<Slice>, layout: u64) -> Result<Content, StorageError> {
    if slices.len() <= INLINE_SLICES_MAX {
        return Ok(Content::Inline(slices));
    }
    tables.layouts.insert(layout, &pack(&slices))?;
    tables.layout_users.insert(layout, 1)?;
    Ok(Content::Listed(layout))
}

/// The slices of a content.
pub(super) fn slices_in(tables: &Tables<'_>, content: &Content) -> Result<Vec<Slice>, StorageError> {
    match content {
        Content::Inline(slices) => Ok(slices.clone()),
        Content::Listed(layout) => Ok(tables.layouts.get(layout)?.map(|row| unpack(row.value())).unwrap_or_default()),
    }
}

/// Counts one more object with this content.
pub(super) fn share(tables: &mut Tables<'_>, content: &Content) -> Result<(), StorageError> {
    match content {
        Content::Inline(slices) => take_slices(tables, slices),
        Content::Listed(layout) => {
            let users = tables.layout_users.get(layout)?.map_or(0, |row| row.value());
            tables.layout_users.insert(layout, users + 1)?;
            Ok(())
        }
    }
}

/// Counts one object less with this content.
pub(super) fn give_up(tables: &mut Tables<'_>, content: &Content) -> Result<(), StorageError> {
    let layout = match content {
        Content::Inline(slices) => return give_up_slices(tables, slices),
        Content::Listed(layout) => *layout,
    };
    let users = tables.layout_users.get(layout)?.map_or(0, |row| row.value());
    if users > 1 {
        tables.layout_users.insert(layout, users - 1)?;
        return Ok(());
    }
    tables.layout_users.remove(layout)?;
    let slices = tables.layouts.remove(layout)?.map(|row| unpack(row.value())).unwrap_or_default();
    give_up_slices(tables, &slices)
}

/// The list of slices that was read last. Whoever reads or copies a large object piece by piece needs the same list each
/// time, which may have millions of entries. A list never changes, and its id is never given to another. Std mutex: copies of
/// a pointer only. Level 8 in the order of locks.
#[derive(Default)]
pub(super) struct LatestLayout(Mutex<Option<(u64, Arc<[Slice]>)>>);

impl LatestLayout {
    /// The slices of an object.
    pub(super) fn slices_of(&self, snapshot: &Snapshot, content: &Content) -> Result<Arc<[Slice]>, StorageError> {
        let layout = match content {
            Content::Inline(slices) => return Ok(slices.as_slice().into()),
            Content::Listed(layout) => *layout,
        };
        let latest = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, slices)) = latest().as_ref().filter(|(known, _)| *known == layout) {
            return Ok(slices.clone());
        }
        let slices = snapshot.layouts()?.get(layout)?.map(|row| Arc::<[Slice]>::from(unpack(row.value())));
        let slices =
            slices.ok_or_else(|| StorageError::failed("read a layout", "the index names one that is missing"))?;
        *latest() = Some((layout, slices.clone()));
        Ok(slices)
    }
}

/// The CRC-64 of slices one after the other.
pub(super) fn crc64_of(slices: &[Slice]) -> Crc64 {
    slices.iter().fold(Crc64::EMPTY, |crc64, slice| crc64.followed_by(Crc64(slice.crc64), slice.bytes))
}
