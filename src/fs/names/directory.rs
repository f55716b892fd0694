//! What is known of one directory.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{Cost, Covers, Entry, EntryKind, FileName, Refresh, Stashed, Survey, Visits};

/// How long a directory of this mount's own is known without a listing, as long as the mount keeps working in it: long
/// enough to copy thousands of files into it, short enough that what others put there shows soon.
const OWN_LEASE: Duration = Duration::from_secs(60);

/// Names on one page of a listing.
const PAGE_NAMES: usize = 1000;

/// Changes in a directory that are worth one page of listing it: two in a hundred requests.
const CHANGES_PER_PAGE: u64 = 50;

/// What is known of the object that carries a directory's attributes.
#[derive(Debug, Default)]
pub(crate) struct MarkerState {
    /// It is known to be there.
    pub(crate) is_there: bool,
    /// Attributes were set that it does not have yet.
    pub(crate) is_unsaved: bool,
    /// One writing of it at a time, so that an older one does not land behind a newer one. Tokio's mutex, 4 in the order of
    /// locks, because it is held while that is on its way.
    pub(crate) writing: Arc<tokio::sync::Mutex<()>>,
}

/// What is known of a directory's entries.
#[derive(Debug)]
pub(crate) struct Directory {
    children: BTreeMap<FileName, Box<Entry>>,
    /// What they cost.
    pub(super) cost: Cost,
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
    pub(crate) is_large: bool,
    /// Whether a small object in it was asked whether it is a link.
    pub(crate) has_sampled_kinds: bool,
    /// What is known of its marker object.
    pub(crate) marker: MarkerState,
    /// When entries of it last came or went by this mount, unless somebody has set a time since.
    pub(crate) modified_at: Option<SystemTime>,
    /// When the newest object that was listed in it was last modified.
    pub(super) newest_at: Option<SystemTime>,
    /// How often this mount has put a name in or taken one out.
    pub(crate) changes: u64,
    /// Handles that read it.
    pub(crate) readers: usize,
    /// How it is gone through.
    pub(super) visits: Visits,
    /// Of a large one: whether it is listed because its names are looked up in no order.
    pub(super) survey: Survey,
    /// What a flat listing has said of directories in it, and when it was asked for.
    stash: BTreeMap<FileName, (SystemTime, Stashed)>,
    /// How often other mounts of this machine had changed it when they were last asked.
    pub(super) others_changes: u64,
    /// Another one each time that something of it is forgotten, or found to be wrong.
    pub(super) knowledge: Arc<()>,
    /// Names that this mount removed, and when: a listing that was asked for earlier may still show them.
    pub(super) removed: HashMap<FileName, SystemTime>,
    /// One listing at a time.
    pub(super) refresh: Arc<Refresh>,
}

impl Directory {
    pub(super) fn new(made_at: Option<SystemTime>) -> Directory {
        Directory {
            children: BTreeMap::new(),
            cost: Cost::default(),
            complete_at: made_at,
            covered: None,
            own_since: made_at,
            own_changes: 0,
            is_large: false,
            has_sampled_kinds: false,
            marker: MarkerState { is_there: made_at.is_some(), ..MarkerState::default() },
            modified_at: None,
            newest_at: None,
            changes: 0,
            readers: 0,
            visits: Visits::default(),
            survey: Survey::default(),
            stash: BTreeMap::new(),
            others_changes: 0,
            knowledge: Arc::default(),
            removed: HashMap::new(),
            refresh: Arc::default(),
        }
    }

    /// What is known of its names, in order.
    pub(crate) fn children(&self) -> &BTreeMap<FileName, Box<Entry>> {
        &self.children
    }

    pub(super) fn insert(&mut self, name: FileName, entry: Entry) -> Option<Entry> {
        self.cost += Cost::of(&name, &entry);
        let before = self.children.insert(name.clone(), Box::new(entry));
        before.map(|before| {
            self.cost -= Cost::of(&name, &before);
            *before
        })
    }

    pub(super) fn remove(&mut self, name: &FileName) -> Option<Entry> {
        let entry = self.children.remove(name)?;
        self.cost -= Cost::of(name, &entry);
        Some(*entry)
    }

    /// Changes an entry.
    pub(super) fn change<T>(&mut self, name: &FileName, change: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        let entry = self.children.get_mut(name)?;
        self.cost -= Cost::of(name, entry);
        let changed = change(entry);
        self.cost += Cost::of(name, entry);
        Some(changed)
    }

    /// Changes all entries.
    pub(super) fn change_all(&mut self, mut change: impl FnMut(&mut Entry)) {
        let Directory { children, cost, .. } = self;
        for (name, entry) in children {
            *cost -= Cost::of(name, entry);
            change(entry);
            *cost += Cost::of(name, entry);
        }
    }

    /// Forgets all entries but those that are to be kept.
    pub(super) fn retain(&mut self, mut is_kept: impl FnMut(&Entry) -> bool) {
        let Directory { children, cost, .. } = self;
        children.retain(|name, entry| {
            let kept = is_kept(entry);
            if !kept {
                *cost -= Cost::of(name, entry);
            }
            kept
        });
    }

    /// Panics unless what must always hold does. Returns what its entries cost.
    pub(super) fn expect_consistent(&self) -> Cost {
        let mut cost = Cost::of_names(self.stashed_names());
        self.children.iter().for_each(|(name, entry)| cost += Cost::of(name, entry));
        assert_eq!(cost, self.cost, "what the names of a directory cost");
        cost
    }

    /// Keeps what a flat listing has said of a directory in it.
    pub(super) fn stash(&mut self, name: FileName, asked_at: SystemTime, stashed: Stashed) {
        self.unstash(&name);
        self.cost += Cost::of_names(stashed.names.len());
        self.stash.insert(name, (asked_at, stashed));
    }

    /// The directories in it of which flat listings have told that they have a marker, and that nobody has gone into yet.
    pub(super) fn stashed_with_markers(&self) -> impl Iterator<Item = &FileName> {
        self.stash.iter().filter(|(_, (_, stashed))| stashed.has_marker).map(|(name, _)| name)
    }

    /// Takes out what a flat listing has said of a directory in it.
    pub(super) fn unstash(&mut self, name: &FileName) -> Option<(SystemTime, Stashed)> {
        let (asked_at, stashed) = self.stash.remove(name)?;
        self.cost -= Cost::of_names(stashed.names.len());
        Some((asked_at, stashed))
    }

    /// Names in all that flat listings have said of directories in it.
    pub(super) fn stashed_names(&self) -> usize {
        self.stash.values().map(|(_, stashed)| stashed.names.len()).sum()
    }

    pub(super) fn clear_stash(&mut self) {
        let names = self.stashed_names();
        self.stash.clear();
        self.cost -= Cost::of_names(names);
    }

    /// Whether it holds a file that is not in the bucket yet.
    pub(crate) fn holds_new(&self) -> bool {
        self.children.values().any(|entry| entry.what == EntryKind::New)
    }

    /// Whether `children` is all there is, as far as anybody can know at `now`.
    pub(crate) fn is_complete(&self, now: SystemTime, ttl: Duration) -> bool {
        self.complete_at.is_some_and(|at| is_fresh(at, now, ttl))
    }

    /// Whether a name would be among `children` if it existed, as far as anybody can know at `now`.
    pub(super) fn covers(&self, name: &FileName, now: SystemTime, ttl: Duration) -> bool {
        let is_covered = |(covers, at): &(Covers, SystemTime)| is_fresh(*at, now, ttl) && covers.includes(name);
        self.is_complete(now, ttl) || self.covered.as_ref().is_some_and(is_covered)
    }

    /// What is known of it is not all that there is, nor is what has been asked of it.
    pub(crate) fn forget_covered(&mut self) {
        (self.complete_at, self.covered, self.knowledge) = (None, None, Arc::default());
    }

    /// Nothing of a name is in the bucket any more: what was asked before tells what there was.
    pub(crate) fn note_removal(&mut self, name: &FileName, now: SystemTime, ttl: Duration) {
        self.removed.retain(|_, at| is_fresh(*at, now, ttl));
        self.removed.insert(name.clone(), now);
    }

    /// How many pages of it may be listed because this mount has changed so much of it that they are a small part of that;
    /// `None` if what is known of it has more.
    pub(crate) fn pages_worth_listing(&self) -> Option<u64> {
        let worth = (self.changes - self.own_changes) / CHANGES_PER_PAGE;
        (worth > (self.children.len() / PAGE_NAMES) as u64).then_some(worth)
    }

    /// This mount begins to list all of it because it has changed so much.
    pub(crate) fn make_own(&mut self, now: SystemTime) {
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
