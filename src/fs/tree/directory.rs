//! What is known of one directory.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::entry::Entry;
use super::told::Covers;
use super::walk::{Ascent, Walk};
use crate::fs::flat::Stashed;
use crate::fs::name::FileName;
use crate::fs::refresh::Refresh;

/// How long a directory of this mount's own is known without a listing, as long as the mount keeps working in it: long
/// enough to copy thousands of files into it, short enough that what others put there shows soon.
const OWN_LEASE: Duration = Duration::from_secs(60);

/// Names on one page of a listing.
const PAGE_NAMES: usize = 1000;

/// Changes in a directory that are worth one page of listing it: two in a hundred requests.
const CHANGES_PER_PAGE: u64 = 50;

/// What is known of a directory's entries.
#[derive(Debug)]
pub(in crate::fs) struct Directory {
    pub(in crate::fs) children: BTreeMap<FileName, Entry>,
    /// When `children` was last known to be all there is.
    pub(super) complete_at: Option<SystemTime>,
    /// The names of the last page that was listed of it, and when it was asked for.
    pub(super) covered: Option<(Covers, SystemTime)>,
    /// Since when it is this mount's own: it has made it then, or begun to list it after so many changes that it might as well
    /// have.
    pub(super) own_since: Option<SystemTime>,
    /// How often this mount had changed it by then.
    pub(super) own_changes: u64,
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
    /// How its names are looked up that are not known.
    pub(super) ascent: Ascent,
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
    pub(super) evicted_at: Option<SystemTime>,
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
            covered: None,
            own_since: made_at,
            own_changes: 0,
            is_large: false,
            has_marker: made_at.is_some(),
            modified_at: None,
            newest_at: None,
            is_unsaved: false,
            changes: 0,
            readers: 0,
            walk: Walk::default(),
            ascent: Ascent::default(),
            is_walked_below: false,
            listed_last: None,
            stash: BTreeMap::new(),
            is_flat_useless: false,
            others_changes: 0,
            evicted_at: None,
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

    /// Whether a name would be among `children` if it existed, as far as anybody can know at `now`.
    pub(super) fn covers(&self, name: &FileName, now: SystemTime, ttl: Duration) -> bool {
        let is_covered = |(covers, at): &(Covers, SystemTime)| is_fresh(*at, now, ttl) && covers.includes(name);
        self.is_complete(now, ttl) || self.covered.as_ref().is_some_and(is_covered)
    }

    /// What was listed when that was asked for at `asked_at` is not all that there was.
    pub(in crate::fs) fn forget_covered(&mut self, asked_at: SystemTime) {
        (self.complete_at, self.covered, self.evicted_at) = (None, None, Some(asked_at));
    }

    /// How many pages of it may be listed because this mount has changed so much of it that they are a small part of that;
    /// `None` if what is known of it has more.
    pub(in crate::fs) fn pages_worth_listing(&self) -> Option<u64> {
        let worth = (self.changes - self.own_changes) / CHANGES_PER_PAGE;
        (worth > (self.children.len() / PAGE_NAMES) as u64).then_some(worth)
    }

    /// This mount begins to list all of it because it has changed so much.
    pub(in crate::fs) fn make_own(&mut self, now: SystemTime) {
        (self.own_since, self.own_changes) = (Some(now), self.changes);
    }

    /// An entry comes or goes at `now`.
    pub(super) fn note_entry(&mut self, now: SystemTime, ttl: Duration) {
        self.modified_at = Some(now);
        self.renew(now, ttl);
    }

    /// Notes that this mount has just worked in the directory: one of its own stays known by that.
    pub(super) fn renew(&mut self, now: SystemTime, ttl: Duration) {
        if self.is_complete(now, ttl) && self.is_own(now) {
            self.complete_at = Some(now);
        }
    }

    /// Whether this mount has just made it, or might as well have.
    pub(super) fn is_own(&self, now: SystemTime) -> bool {
        self.own_since.is_some_and(|at| is_fresh(at, now, OWN_LEASE))
    }
}

/// Whether what was so at `at` may still be believed at `now`. A clock that was set back makes everything stale.
pub(super) fn is_fresh(at: SystemTime, now: SystemTime, ttl: Duration) -> bool {
    now.duration_since(at).is_ok_and(|age| age < ttl)
}
