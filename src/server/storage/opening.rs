//! Opening the store of a directory: index and journal are compared, garbage is removed, or the index is made anew.

use std::fs;
use std::io;
use std::sync::Arc;

use redb::ReadableTable;

use super::content::{LatestLayout, take_slices, users_of_layouts};
use super::directory::Directory;
use super::error::Unusable;
use super::index::{DataBase, Index, Tables};
use super::journal::{Journal, JournalReader};
use super::records::{Content, ObjectRecord, PartRecord, decode, unpack};
use super::segments::{Garbage, Segments};
use super::versions::VersionRecord;
use super::{Storage, StorageError, md5_lanes, rows};

/// Batches of the journal in one transaction of an index that is made anew: large enough that the transactions cost
/// nothing, small enough to be held in memory.
const BATCHES_PER_COMMIT: usize = 1000;

/// What came of a directory that was opened.
struct Opened {
    database: DataBase,
    journal: Journal,
    /// Whether what nothing names is garbage for certain.
    garbage: Garbage,
}

impl Storage {
    /// Opens what is kept in `directory`, and removes what a crash left there. With `rebuild` an index that is missing
    /// or damaged is made anew first.
    pub(super) fn of(directory: Directory, rebuild: bool) -> Result<Storage, StorageError> {
        let clean = directory.clean_mark().exists();
        let opened = match open_index(&directory) {
            Ok(database) => match agree(&directory, database, clean) {
                Err(StorageError::Unusable(_)) if rebuild => make_anew(&directory)?,
                agreed => agreed?,
            },
            Err(StorageError::Unusable(why)) if rebuild => {
                log::warn!("{why}");
                make_anew(&directory)?
            }
            Err(error) => return Err(error),
        };
        check_segments(&directory, &opened.database)?;
        let segments = Arc::new(Segments::on_disk(&directory.segments())?);
        let Opened { database, journal, garbage } = opened;
        if !clean || garbage != Garbage::Certain {
            sweep(&database, &segments, &directory, garbage)?;
        }
        match fs::remove_file(directory.clean_mark()) {
            // A mark that came back after a loss of power would hide what that left.
            Ok(()) => directory.sync()?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(StorageError::io("remove the mark of an orderly end", error)),
        }
        let index = Index::start(database, Some(journal), Arc::clone(&segments))?;
        let (layouts, directory) = (LatestLayout::default(), Some(directory));
        let storage = Storage { segments, index, md5_lanes: md5_lanes()?, layouts, directory };
        storage.continue_ids()?;
        Ok(storage)
    }
}

/// Opens the index that is there, or makes the first one.
fn open_index(directory: &Directory) -> Result<DataBase, StorageError> {
    if directory.has_index()? {
        let database = DataBase::open(Some(&directory.index()));
        let database = database.map_err(|error| unusable_index(directory, error))?;
        database.prepare()?;
        return Ok(database);
    }
    make_index(directory, |_| Ok(()))?;
    Ok(DataBase::open(Some(&directory.index()))?)
}

fn unusable_index(directory: &Directory, error: redb::DatabaseError) -> StorageError {
    let (index, journal) = (directory.index(), directory.has_journal());
    match redb::Error::from(error) {
        redb::Error::DatabaseAlreadyOpen => Unusable::Used.into(),
        error @ redb::Error::UpgradeRequired(_) => {
            Unusable::OtherVersion { index, source: error.into(), journal }.into()
        }
        redb::Error::Io(error) if is_of_the_machine(&error) => Unusable::NotWritable(error).into(),
        error => Unusable::IndexDamaged { index, source: error.into(), journal }.into(),
    }
}

/// Whether reading failed for a reason that is not in the file.
fn is_of_the_machine(error: &io::Error) -> bool {
    !matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput)
}

/// Makes an index beside its place, and puts it there when it is whole.
fn make_index(
    directory: &Directory,
    fill: impl FnOnce(&DataBase) -> Result<(), StorageError>,
) -> Result<(), StorageError> {
    let failed = |error| StorageError::io("put the index into its place", error);
    let new = directory.new_index();
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let database = DataBase::open(Some(&new))?;
    database.prepare()?;
    fill(&database)?;
    drop(database);
    fs::rename(&new, directory.index()).map_err(failed)?;
    directory.sync()
}

/// Compares an index with its journal.
fn agree(directory: &Directory, database: DataBase, clean: bool) -> Result<Opened, StorageError> {
    let (identity, sequence) = database.snapshot()?.about()?;
    let old = |what: String| Unusable::IndexOld { index: directory.index(), what };
    let Some(mut reader) = JournalReader::open(directory.path())? else {
        // Of before there were journals, or somebody took it away: what nothing names may have been named there.
        return anew(directory, database, Garbage::Uncertain);
    };
    if identity.as_deref() != Some(reader.identity()) {
        return Err(old("they do not belong together".to_owned()).into());
    }
    while reader.next_batch()?.is_some() {}
    // A batch is written down before it is committed, so the last one may be lacking.
    if reader.sequence > sequence + 1 {
        let missing = reader.sequence - sequence;
        return Err(old(format!("the last {missing} changes")).into());
    }
    if clean && reader.sequence == sequence && reader.bytes_damaged == 0 {
        let journal = Journal::go_on(directory.path(), reader.identity(), reader.position())?;
        return Ok(Opened { database, journal, garbage: Garbage::Certain });
    }
    if reader.bytes_damaged > 0 && clean {
        log::warn!("{} bytes of the journal were damaged; it is written anew from the index", reader.bytes_damaged);
    }
    anew(directory, database, Garbage::Certain)
}

/// Writes the journal anew from the index.
fn anew(directory: &Directory, database: DataBase, garbage: Garbage) -> Result<Opened, StorageError> {
    let (identity, sequence) = database.snapshot()?.about()?;
    let identity = match identity {
        Some(identity) => identity,
        None => {
            let identity = format!("{:032x}", fastrand::u128(..));
            database.change_now(|tables| tables.name(&identity, sequence))?;
            identity
        }
    };
    let rows = rows::all_rows(&database.snapshot()?)?;
    let journal = Journal::write_anew(directory.path(), &identity, sequence, rows)?;
    Ok(Opened { database, journal, garbage })
}

/// Makes the index anew from the journal. What is left of the old one is kept beside it.
fn make_anew(directory: &Directory) -> Result<Opened, StorageError> {
    let Some(mut reader) = JournalReader::open(directory.path())? else { return Err(Unusable::NoJournal.into()) };
    if directory.index().exists() {
        let damaged = (0..).map(|n| directory.path().join(format!("index.redb.damaged-{n}")));
        let beside = damaged.into_iter().find(|path| !path.exists());
        if let Some(beside) = beside {
            let kept = fs::rename(directory.index(), &beside);
            kept.map_err(|error| StorageError::io("put the damaged index aside", error))?;
            log::warn!("the damaged index is kept as {}", beside.display());
        }
    }
    make_index(directory, |database| {
        let mut ended = false;
        while !ended {
            ended = database.change_now(|tables| replay(&mut reader, tables))?;
        }
        database.change_now(|tables| {
            count_users(tables)?;
            tables.name(reader.identity(), reader.sequence)
        })
    })?;
    if reader.bytes_damaged > 0 {
        log::error!("{} bytes of the journal were damaged: what they said is lost", reader.bytes_damaged);
    }
    let database = DataBase::open(Some(&directory.index()))?;
    report(&database, directory)?;
    anew(directory, database, Garbage::Uncertain)
}

/// Applies the next batches of the journal; true at its end.
fn replay(reader: &mut JournalReader, tables: &mut Tables<'_>) -> Result<bool, StorageError> {
    for _ in 0..BATCHES_PER_COMMIT {
        let Some(lines) = reader.next_batch()? else { return Ok(true) };
        rows::apply(&lines, tables)?;
    }
    Ok(false)
}

/// Counts who uses which segment and layout, which the journal does not say because it follows from the rest.
fn count_users(tables: &mut Tables<'_>) -> Result<(), StorageError> {
    let mut slices = Vec::new();
    let mut layouts = Vec::new();
    for row in tables.objects.iter()? {
        let (_, record) = row?;
        match decode::<ObjectRecord>(record.value())?.content {
            Content::Inline(inline) => slices.extend(inline),
            Content::Listed(layout) => layouts.push(layout),
        }
    }
    for row in tables.versions.iter()? {
        let (_, record) = row?;
        let VersionRecord::Object(version) = decode(record.value())? else { continue };
        match version.content {
            Content::Inline(inline) => slices.extend(inline),
            Content::Listed(layout) => layouts.push(layout),
        }
    }
    for row in tables.parts.iter()? {
        let (_, record) = row?;
        slices.extend(decode::<PartRecord>(record.value())?.slices);
    }
    for row in tables.layouts.iter()? {
        let (_, packed) = row?;
        slices.extend(unpack(packed.value()));
    }
    take_slices(tables, &slices)?;
    users_of_layouts(tables, &layouts)
}

/// Says what an index that was made anew names, and which segments of it are not there.
fn report(database: &DataBase, directory: &Directory) -> Result<(), StorageError> {
    use redb::ReadableTableMetadata;
    let snapshot = database.snapshot()?;
    let objects = snapshot.objects()?.len()?;
    let uploads = snapshot.uploads()?.len()?;
    let mut missing = 0u64;
    for row in snapshot.segment_users()?.iter()? {
        let (id, _) = row?;
        missing += u64::from(!Segments::file(&directory.segments(), id.value()).exists());
    }
    log::warn!("the index was made anew from the journal: {objects} objects, {uploads} unfinished uploads");
    if missing > 0 {
        log::error!("{missing} segments that it names are missing; what lies in them cannot be read");
    }
    Ok(())
}

/// Refuses an index whose segments are all gone, before their directory is made anew.
fn check_segments(directory: &Directory, database: &DataBase) -> Result<(), StorageError> {
    let segments = directory.segments();
    if !segments.exists() && database.snapshot()?.segment_users()?.iter()?.next().is_some() {
        return Err(Unusable::SegmentsGone { segments }.into());
    }
    Ok(())
}

/// Removes or sets aside the segments that nothing names.
fn sweep(
    database: &DataBase,
    segments: &Segments,
    directory: &Directory,
    garbage: Garbage,
) -> Result<(), StorageError> {
    let users = database.snapshot()?.segment_users()?;
    let aside = (garbage == Garbage::Uncertain).then(|| directory.unnamed_segments());
    let swept = segments.sweep(|id| Ok(users.get(id)?.is_some()), aside.as_deref())?;
    match aside {
        _ if swept == 0 => {}
        None => log::info!("removed {swept} files that an interrupted run of the service left"),
        Some(aside) => log::warn!("{swept} segments that nothing names are now in {}", aside.display()),
    }
    Ok(())
}
