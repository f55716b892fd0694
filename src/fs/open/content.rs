//! The content of a file that is being written, and how long it may wait before it is published.

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime};

use tracing_mutex::stdsync::{Mutex, MutexGuard};

use crate::fs::names::{Kind, of_file};
use crate::object::StoredObject;
use crate::read::Reader;
use crate::upload::{OpenFile, PublishedFile};

/// How long to wait after the first failed attempt to publish what was closed. Doubles with each, up to [`RETRY_LAST`].
const RETRY_FIRST: Duration = Duration::from_secs(5);
const RETRY_LAST: Duration = Duration::from_secs(320);

/// The content of a file that is being written, with what handles need to know of it.
pub(crate) struct Writing {
    pub(crate) file: Arc<OpenFile>,
    /// Nothing was written since it was made or emptied. Such a file is published late, so that a shell's redirection,
    /// which closes a duplicate before the first byte, is one PUT and not two.
    untouched: AtomicBool,
    /// It will be given another name.
    pub(crate) temporary: AtomicBool,
    /// Nobody has had it open for writing: only attributes differ from the object.
    pub(crate) only_attributes: AtomicBool,
    /// Std mutex, 7 in the order of locks: copies, and making a reader.
    progress: Mutex<Progress>,
}

pub(crate) struct Progress {
    /// The hold that lets it be kept although nobody writes, see `holding`.
    pub(crate) held: Option<u64>,
    pub(crate) last_hold: u64,
    /// Since when it is kept without writers, by the first of the holds since it was written.
    pub(crate) held_since: Option<SystemTime>,
    /// How long the next failure to publish it in the background makes it wait.
    pub(crate) retry_after: Duration,
    /// Read what is only in stored objects, most of all in the file's own. Those that were used last.
    pub(crate) readers: Vec<(StoredObject, Arc<Reader>)>,
    /// Of which publishing the names know.
    settled_serial: u64,
}

impl std::fmt::Debug for Writing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Writing({})", self.file.key())
    }
}

impl Writing {
    pub(crate) fn new(file: Arc<OpenFile>, untouched: bool) -> Arc<Writing> {
        Writing::with(file, untouched, false)
    }

    /// What changes attributes of an object.
    pub(crate) fn of_attributes(file: Arc<OpenFile>) -> Arc<Writing> {
        Writing::with(file, false, true)
    }

    /// What is in a new symbolic link or special file.
    pub(crate) fn of_link(file: Arc<OpenFile>) -> Arc<Writing> {
        Writing::with(file, false, false)
    }

    fn with(file: Arc<OpenFile>, untouched: bool, only_attributes: bool) -> Arc<Writing> {
        let (retry_after, readers) = (Duration::ZERO, Vec::new());
        let progress = Progress { held: None, last_hold: 0, held_since: None, retry_after, readers, settled_serial: 0 };
        Arc::new(Writing {
            file,
            untouched: AtomicBool::new(untouched),
            temporary: AtomicBool::new(false),
            only_attributes: AtomicBool::new(only_attributes),
            progress: Mutex::new(progress),
        })
    }

    pub(crate) fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nothing was written since it was made or emptied.
    pub(crate) fn is_untouched(&self) -> bool {
        self.untouched.load(Ordering::Relaxed)
    }

    /// What the file is.
    pub(crate) fn kind(&self) -> Kind {
        Kind::of_object(Some(&self.file.attributes()), self.file.size())
    }

    /// Attributes alone were to change, and the content is about to, too. Whatever the mode says, what has content that can
    /// be changed is a file, and stays one however short it becomes.
    pub(crate) fn take_for_content(&self) {
        if self.only_attributes.swap(false, Ordering::Relaxed) {
            let Ok(()) = self.file.change_attributes(|attributes| Ok::<_, Infallible>(of_file(attributes)));
        }
    }

    /// Notes a change of the content.
    pub(crate) fn note_change(&self) {
        self.untouched.store(false, Ordering::Relaxed);
        // It was not closed for the last time.
        let mut progress = self.progress();
        (progress.held, progress.held_since) = (None, None);
    }

    /// The object, if it was published since this was asked for the last time.
    pub(crate) fn newly_published(&self) -> Option<PublishedFile> {
        let published = self.file.published()?;
        let mut progress = self.progress();
        let is_new = published.serial > progress.settled_serial;
        progress.settled_serial = published.serial;
        is_new.then_some(published)
    }

    /// Lets it be kept without writers. Returns the number of this hold.
    pub(crate) fn begin_hold(&self) -> u64 {
        let mut progress = self.progress();
        progress.last_hold += 1;
        progress.held = Some(progress.last_hold);
        progress.held_since.get_or_insert_with(SystemTime::now);
        progress.last_hold
    }

    /// How long to wait after an attempt to publish it that has failed.
    pub(crate) fn next_retry(&self) -> Duration {
        let mut progress = self.progress();
        let now = progress.retry_after.clamp(RETRY_FIRST, RETRY_LAST);
        progress.retry_after = now * 2;
        now
    }

    /// Ends this hold, and says whether it lasted until now.
    pub(crate) fn end_hold(&self, turn: u64) -> bool {
        self.progress().held.take_if(|held| *held == turn).is_some()
    }

    /// The number of the hold that lasts, if one does. A write ends it.
    pub(crate) fn current_hold(&self) -> Option<u64> {
        self.progress().held
    }

    /// Whether it was closed and waits.
    pub(crate) fn is_held(&self) -> bool {
        self.progress().held.is_some()
    }

    /// Whether it is of a file that will be given another name.
    pub(crate) fn is_temporary(&self) -> bool {
        self.temporary.load(Ordering::Relaxed)
    }

    /// Says whether it will be given another name. Returns what was said before.
    pub(crate) fn set_temporary(&self, is_temporary: bool) -> bool {
        self.temporary.swap(is_temporary, Ordering::Relaxed)
    }

    /// Whether nobody has had it open for writing, so that the content is the object's.
    pub(crate) fn is_only_attributes(&self) -> bool {
        self.only_attributes.load(Ordering::Relaxed)
    }
}
