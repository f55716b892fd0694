//! What is known of one directory.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::entry::Entry;
use super::walk::Walk;
use crate::fs::flat::Stashed;
use crate::fs::name::FileName;
use crate::fs::refresh::Refresh;

/// How long a directory that this mount made is known without a listing, as long as the mount keeps working in it:
/// long enough to copy thousands of files into it, short enough that what others put there shows soon.
const OWN_LEASE: Duration = Duration::from_secs(60);

/// What is known of a directory's entries.
#[derive(Debug)]
pub(in crate::fs) struct Directory {
    pub(in crate::fs) children: BTreeMap<FileName, Entry>,
    /// When `children` was last known to be all there is.
    pub(super) complete_at: Option<SystemTime>,
    /// When this mount made it; `None` if it was found.
    pub(super) made_at: Option<SystemTime>,
    /// Whether the last listing had more than one page.
    pub(in crate::fs) is_large: bool,
    /// Whether its marker object is known to be there.
    pub(in crate::fs) has_marker: bool,
    /// When entries of it last came or went by this mount, unless somebody has set a time since.
    pub(in crate::fs) modified_at: Option<SystemTime>,
    /// When the newest object that was listed in it was last modified.
    pub(super) newest_at: Option<SystemTime>,
    /// Attributes were set that its marker does not have yet.
    pub(in crate::fs) is_unsaved: bool,
    /// How often this mount has put a name in or taken one out.
    pub(in crate::fs) changes: u64,
    /// Handles that read it.
    pub(in crate::fs) readers: usize,
    /// How its names are looked up.
    pub(super) walk: Walk,
    /// Some directory in it has been gone through name by name.
    pub(super) is_walked_below: bool,
    /// The directory in it that was listed last.
    pub(super) listed_last: Option<FileName>,
    /// What a flat listing has said of directories in it, and when it was asked for.
    pub(super) stash: BTreeMap<FileName, (SystemTime, Stashed)>,
    /// A directory in it had more entries than a flat listing has room for.
    pub(super) is_flat_useless: bool,
    /// How often other mounts of this machine had changed it when they were last asked.
    pub(super) others_changes: u64,
    /// When some of its entries were forgotten.
    pub(super) trimmed_at: Option<SystemTime>,
    /// About how much memory its entries take, in entries without attributes.
    pub(super) weight: usize,
    /// Names that this mount removed, and when: a listing that was asked for earlier may still show them.
    pub(super) removed: HashMap<FileName, SystemTime>,
    /// One listing at a time.
    pub(in crate::fs) refresh: Arc<Refresh>,
    /// One writing of its marker at a time, so that an older one does not land behind a newer one. Tokio's mutex because it
    /// is held while that is on its way.
    pub(in crate::fs) marking: Arc<tokio::sync::Mutex<()>>,
}

impl Directory {
    pub(super) fn new(made_at: Option<SystemTime>) -> Directory {
        Directory {
            children: BTreeMap::new(),
            complete_at: made_at,
            made_at,
            is_large: false,
            has_marker: made_at.is_some(),
            modified_at: None,
            newest_at: None,
            is_unsaved: false,
            changes: 0,
            readers: 0,
            walk: Walk::default(),
            is_walked_below: false,
            listed_last: None,
            stash: BTreeMap::new(),
            is_flat_useless: false,
            others_changes: 0,
            trimmed_at: None,
            weight: 0,
            removed: HashMap::new(),
            refresh: Arc::default(),
            marking: Arc::default(),
        }
    }

    /// Whether `children` is all there is, as far as anybody can know at `now`.
    pub(in crate::fs) fn is_complete(&self, now: SystemTime, ttl: Duration) -> bool {
        self.complete_at.is_some_and(|at| is_fresh(at, now, ttl))
    }

    /// An entry comes or goes at `now`.
    pub(super) fn note_entry(&mut self, now: SystemTime, ttl: Duration) {
        self.modified_at = Some(now);
        self.renew(now, ttl);
    }

    /// Notes that this mount has just worked in the directory: one of its own making stays known by that.
    pub(super) fn renew(&mut self, now: SystemTime, ttl: Duration) {
        if self.is_complete(now, ttl) && self.made_at.is_some_and(|at| is_fresh(at, now, OWN_LEASE)) {
            self.complete_at = Some(now);
        }
    }
}

/// Whether what was so at `at` may still be believed at `now`. A clock that was set back makes everything stale.
pub(super) fn is_fresh(at: SystemTime, now: SystemTime, ttl: Duration) -> bool {
    now.duration_since(at).is_ok_and(|age| age < ttl)
}
