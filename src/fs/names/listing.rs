//! Finding names: lookups and listings, with as few requests as what is known allows. Attributes are in `heads`.

use std::collections::BTreeMap;
use std::time::Duration;

use super::answers;
use super::{
    Asked, Attr, Begun, Covers, DirEntry, Directory, EntryKind, FileName, Ino, Known, Listing, MODE_STICKY, Marker,
    Names, NamesPage, ObjectStat, ROOT, Start, Tree, Undecided, Unnameable, decide, is_fresh, nameable,
};
use crate::fs::context::{AttributeSource, FsError, HIDDEN_DIRECTORY, caller};
use crate::object::{ObjectKey, Version};
use crate::stats::Stats;
use crate::store::{ListPage, ListRequest, ListedObject, StoreErrorKind};

impl Names {
    /// Tells the kernel of a name that was found.
    pub(crate) async fn tell(&self, parent: Ino, name: &FileName) -> Result<Attr, FsError> {
        if !self.is_about_to_remove(parent, name) {
            self.prefetch_next(parent, name);
            self.fetch_attributes(parent, name).await?;
        }
        let mut tree = self.tree();
        tree.inodes.note_use(parent);
        let ino = tree.remember(parent, name).ok_or(FsError::NotFound)?;
        tree.attr(ino, &self.context.options, self.context.clock.now()).ok_or(FsError::NotFound)
    }

    /// Whether the caller looks a name up in order to remove it, as far as can be foreseen.
    fn is_about_to_remove(&self, parent: Ino, name: &FileName) -> bool {
        let mut tree = self.tree();
        if !tree.inodes.removes_next(parent, name, caller()) {
            return false;
        }
        // Who may remove something from a directory with the sticky bit its owner decides.
        let attr = tree.attr(parent, &self.context.options, self.context.clock.now());
        attr.is_some_and(|attr| attr.permissions & MODE_STICKY == 0)
    }

    /// The kernel has forgotten an inode `lookups` times.
    pub(crate) fn forget(&self, ino: Ino, lookups: u64) {
        let now = self.context.clock.now();
        self.tree().forget(ino, lookups, now);
    }

    pub(crate) async fn attr_of(&self, ino: Ino) -> Result<Attr, FsError> {
        if ino == ROOT && self.context.options.attributes == AttributeSource::Full {
            // Where it cannot be asked the defaults show.
            let _ = self.learn_top().await;
        }
        let place = {
            let tree = self.tree();
            let node = tree.node(ino).ok_or(FsError::Stale)?;
            // Of a directory's marker nothing may be known any more.
            let is_known_directory = tree.directory(ino).is_some()
                && !matches!(tree.entry_of(ino).map(|entry| &entry.what), Some(EntryKind::Directory(None)));
            let known_here = tree.is_removed(ino)
                || is_known_directory
                || tree.open_state(ino).is_some_and(|state| state.is_unpublished());
            if known_here {
                return tree.attr(ino, &self.context.options, self.context.clock.now()).ok_or(FsError::NotFound);
            }
            (node.parent, node.name.clone().ok_or(FsError::Stale)?)
        };
        let (parent, name) = place;
        if self.find(parent, &name).await? {
            self.fetch_attributes(parent, &name).await?;
        }
        self.tree().attr(ino, &self.context.options, self.context.clock.now()).ok_or(FsError::Stale)
    }

    /// Whether a name is there: by what is known, or by asking.
    pub(crate) async fn find(&self, parent: Ino, name: &FileName) -> Result<bool, FsError> {
        let ttl = self.context.options.metadata_ttl;
        if is_hidden(parent, name) || parent == ROOT && self.context.is_top_object(name.as_str()) {
            // Not "there is none": `rm -rf` of it would report success and have done nothing.
            return Err(FsError::NotPermitted);
        }
        if self.context.options.excluded.includes(name.as_str()) {
            return Ok(false);
        }
        self.revalidate(parent);
        let refresh = {
            let (mut tree, now) = (self.tree(), self.context.clock.now());
            let directory = tree.directory_mut(parent).ok_or(FsError::NotDirectory)?;
            if directory.is_large {
                directory.survey.note_lookup(name, now, ttl);
            }
            match tree.known(parent, name, now, ttl) {
                Known::Present => return Ok(true),
                Known::Absent => return Ok(false),
                Known::Unknown => tree.directory(parent).ok_or(FsError::NotDirectory)?.refresh.clone(),
            }
        };
        let ask = async {
            // Somebody else may have asked in the meantime.
            match self.tree().known(parent, name, self.context.clock.now(), ttl) {
                Known::Present => return Ok(true),
                Known::Absent => return Ok(false),
                Known::Unknown => {}
            }
            let is_large = self.tree().directory(parent).is_some_and(|directory| directory.is_large);
            let is_settled = match is_large {
                true => self.list_ahead(parent, name).await?,
                false => self.list_first_page(parent, name).await?,
            };
            if !is_settled {
                self.probe(parent, name).await?;
            }
            Ok(self.tree().entry(parent, name).is_some())
        };
        refresh.one_at_a_time(ask).await
    }

    /// Lists the first page of a directory. Returns whether that settles the question for `name`.
    async fn list_first_page(&self, parent: Ino, name: &FileName) -> Result<bool, FsError> {
        if self.list_with_neighbours(parent).await? {
            return Ok(true);
        }
        self.list_from(parent, name, None).await
    }

    /// Lists the page of a directory that follows `marker`. Returns whether that settles the question for `name`, which is
    /// behind the marker.
    async fn list_from(&self, parent: Ino, name: &FileName, marker: Option<String>) -> Result<bool, FsError> {
        let name_as_directory = format!("{name}/");
        let (_, next) = self.list_page(parent, Start { marker, undecided: Vec::new() }).await?;
        Ok(next.and_then(|next| next.marker).is_none_or(|last| name_as_directory <= last))
    }

    /// Lists a page of a large directory around `name` where the names that follow are likely to be wanted next, or all of it
    /// where that is worth it. Returns whether that settles the question for `name`.
    async fn list_ahead(&self, parent: Ino, name: &FileName) -> Result<bool, FsError> {
        let (ascends, pages) = {
            let mut tree = self.tree();
            let pages = tree.directory(parent).and_then(Directory::pages_worth_listing);
            (tree.inodes.ascends_to(parent, name), pages)
        };
        if let Some(pages) = pages {
            return self.list_all(parent, pages).await;
        }
        if !ascends {
            survey(self, parent);
            return Ok(false);
        }
        self.list_from(parent, name, Some(right_before(name))).await
    }

    /// Somebody is about to ask about a directory.
    pub(crate) fn asked(&self, ino: Ino) -> Asked {
        let now = self.context.clock.now();
        self.tree().inodes.asked(ino, now)
    }

    /// An error if a directory has moved since its keys began with `prefix`: what was asked of them says nothing of where it
    /// is now. The kernel looks the path up once more then.
    pub(crate) fn expect_at(&self, tree: &Tree, ino: Ino, prefix: &str) -> Result<(), FsError> {
        let path = tree.directory_path(ino).ok_or(FsError::Stale)?;
        if prefix.strip_prefix(&*self.context.options.prefix) == Some(&path) { Ok(()) } else { Err(FsError::Stale) }
    }

    /// Asks for one name of a large directory: as an object and as a directory, side by side.
    async fn probe(&self, parent: Ino, name: &FileName) -> Result<(), FsError> {
        let asked = self.asked(parent);
        let prefix = self.directory_prefix(parent)?;
        let path = format!("{prefix}{name}");
        let key = ObjectKey::new(&path).map_err(|_| FsError::NameTooLong)?;
        let below = ListRequest { prefix: format!("{path}/"), max_keys: Some(1), ..ListRequest::default() };
        let (object, below) =
            futures_util::future::join(self.context.store.head(&key), self.context.store.list(below)).await;
        let below = below?;
        let what = match (below.objects.first(), object) {
            // A marker would be the first below.
            (Some(first), _) if first.key != format!("{path}/") => Some(EntryKind::Directory(Some(Marker::absent()))),
            (Some(_), _) => Some(EntryKind::Directory(None)),
            (None, Ok(head)) => Some(EntryKind::Object(ObjectStat::told(head))),
            (None, Err(error)) if error.kind == StoreErrorKind::NotFound => None,
            (None, Err(error)) => return Err(error.into()),
        };
        let mut tree = self.tree();
        self.expect_at(&tree, parent, &prefix)?;
        let asked_at = tree.inodes.asked_at(parent, &asked);
        if self.claims.is_to_be_replaced(parent) || self.claims.names_in(parent).contains(name) {
            // It is what it was until the call has ended that has claimed it.
            return Ok(());
        }
        match what {
            Some(what) => {
                answers::take_listed(&mut tree, parent, name.clone(), what, asked_at, self.context.options.metadata_ttl)
            }
            None => answers::take_absence(&mut tree, parent, name, asked_at),
        }
        Ok(())
    }

    /// The names in a page of a listing of `prefix`.
    fn names_of(&self, page: ListPage, prefix: &str) -> NamesPage {
        let mut listed = NamesPage { names: BTreeMap::new(), has_marker: false, next: page.next_marker };
        let mut skipped: Vec<String> = Vec::new();
        for object in page.objects {
            match nameable(&object.key, prefix) {
                Some(name) if prefix == self.context.options.prefix && self.context.is_top_object(name.as_str()) => {}
                Some(name) if self.context.options.excluded.includes(name.as_str()) => {}
                Some(name) => drop(listed.names.entry(name).or_insert(entry_kind_of(object))),
                None if object.key == prefix => listed.has_marker = true,
                None => skipped.push(object.key),
            }
        }
        for path in page.prefixes {
            match path.strip_suffix('/').and_then(|path| nameable(path, prefix)) {
                Some(name) if name.as_str() == HIDDEN_DIRECTORY && prefix == self.context.options.prefix => {}
                Some(name) if self.context.options.excluded.includes(name.as_str()) => {}
                Some(name) => drop(listed.names.insert(name, EntryKind::Directory(None))),
                None => skipped.push(path),
            }
        }
        if !skipped.is_empty() {
            Stats::add(&self.context.stats.keys_skipped, skipped.len() as u64);
            log::warn!("{prefix:?} holds {}, which the mount does not show", Unnameable::of(&skipped));
        }
        listed
    }

    /// Lists one page, and returns what is on it, with what this mount knows better, and where the next one
    /// begins.
    ///
    /// A name that is both an object and a prefix is a directory, also where a page's end comes between the two: objects of
    /// which this page does not tell whether they are such are left to the next page, which gets them as undecided.
    pub(crate) async fn list_page(&self, ino: Ino, start: Start) -> Result<(Vec<DirEntry>, Option<Start>), FsError> {
        let Start { marker, undecided } = start;
        let asked = self.asked(ino);
        let prefix = self.directory_prefix(ino)?;
        let key = marker.as_ref().map(|marker| format!("{prefix}{marker}"));
        let page = self.context.store.list(list_request(&prefix, key)).await?;
        let NamesPage { mut names, has_marker, next } = self.names_of(page, &prefix);
        let within = |key: String| key.strip_prefix(&prefix).map(str::to_owned).ok_or(FsError::Stale);
        let next = next.map(within).transpose()?;
        let covers = Covers { after: marker.clone(), up_to: next.clone() };
        let mut tree = self.tree();
        self.expect_at(&tree, ino, &prefix)?;
        let (left, mut decided) = decide(&mut names, undecided, next.as_deref(), &asked);
        // Told of another inode before a call has ended that gives it a name, somebody would open that, which loses the name
        // then.
        let claimed = self.claims.names_in(ino);
        decided.retain(|one| !claimed.contains(&one.name));
        let mut is_early = answers::keep_claimed(&tree, ino, &mut names, &covers, claimed);
        if self.claims.is_to_be_replaced(ino) {
            let told = names.len();
            names.retain(|name, _| tree.entry(ino, name).is_some());
            decided.retain(|one| tree.entry(ino, &one.name).is_some());
            is_early |= names.len() < told;
        }
        let mut listed: Vec<FileName> = decided.iter().map(|one| &one.name).chain(names.keys()).cloned().collect();
        listed.sort_unstable();
        if let Some(directory) = tree.directory_mut(ino) {
            directory.is_large = marker.is_some() || next.is_some();
            directory.marker.is_there |= has_marker;
        }
        let ttl = self.context.options.metadata_ttl;
        for Undecided { name, what, asked } in decided {
            let asked_at = tree.inodes.asked_at(ino, &asked);
            answers::take_listed(&mut tree, ino, name, what, asked_at, ttl);
        }
        let asked_at = tree.inodes.asked_at(ino, &asked);
        answers::take_listing(&mut tree, ino, Listing { names, asked_at, covers: covers.clone(), ttl });
        if let Some(directory) = tree.directory_mut(ino).filter(|_| is_early) {
            // Should that call fail, what is there is to be found.
            directory.forget_covered();
        }
        let entries = answers::shown(&tree, ino, listed, &left, &covers, &asked);
        Ok((entries, next.map(|marker| Start { marker: Some(marker), undecided: left })))
    }

    /// Lists a directory that this mount has changed much of, page by page, unless it has more than `pages`. Returns whether that
    /// was all of it.
    pub(crate) async fn list_all(&self, ino: Ino, pages: u64) -> Result<bool, FsError> {
        let began = self.asked(ino);
        if let Some(directory) = self.tree().directory_mut(ino) {
            directory.make_own(began.at);
        }
        list_on(self, ino, &mut Begun::new(began), pages, Duration::MAX).await
    }

    /// All pages of a directory have been listed, from `began` on.
    pub(crate) fn note_all_listed(&self, ino: Ino, began: &Asked) {
        let mut tree = self.tree();
        let began_at = tree.inodes.asked_at(ino, began);
        tree.inodes.note_complete(ino, began_at);
    }

    /// The path of an inode below the mount, for people; empty for the top, `None` where it has no name any more.
    pub(crate) fn path(&self, ino: Ino) -> Option<String> {
        super::tree::path_of(&self.tree(), ino)
    }

    /// The prefix of the keys in a directory: empty, or ending in `/`.
    pub(crate) fn directory_prefix(&self, ino: Ino) -> Result<String, FsError> {
        let path = self.tree().directory_path(ino).ok_or(FsError::Stale)?;
        Ok(format!("{}{path}", self.context.options.prefix))
    }
}

/// Lists a large directory in the background, as far as that is worth it because its names are looked up in no order.
fn survey(names: &Names, ino: Ino) {
    let (now, ttl) = (names.context.clock.now(), names.context.options.metadata_ttl);
    let begin = |directory: &mut Directory| directory.survey.begin(now, ttl);
    let begun = names.tree().directory_mut(ino).and_then(begin);
    let Some(((pages, begun), owner)) = begun.zip(names.me.upgrade()) else { return };
    let mut begun = begun.unwrap_or_else(|| Begun::new(names.asked(ino)));
    names.context.runtime.spawn(async move {
        let before = begun.pages;
        // Whoever looks a name up is told of errors.
        let is_all = list_on(&owner, ino, &mut begun, pages.into(), ttl).await == Ok(true);
        let listed = begun.pages - before;
        if let Some(directory) = owner.tree().directory_mut(ino) {
            directory.survey.end(listed, if is_all { Ok(begun.pages) } else { Err(begun) });
        }
    });
}

/// Goes on with listing a directory, by so many pages at most, and for so long after the first was asked for. Returns whether that was
/// all of it.
async fn list_on(names: &Names, ino: Ino, begun: &mut Begun, pages: u64, within: Duration) -> Result<bool, FsError> {
    for _ in 0..pages {
        if !is_fresh(begun.asked.at, names.context.clock.now(), within) {
            break;
        }
        let (_, next) = names.list_page(ino, begun.next.clone()).await?;
        begun.pages += 1;
        let Some(next) = next else {
            names.note_all_listed(ino, &begun.asked);
            return Ok(true);
        };
        begun.next = next;
    }
    Ok(false)
}

/// What comes before a name in the order of keys, with hardly anything in between.
fn right_before(name: &FileName) -> String {
    let mut text = name.as_str().to_owned();
    let last = text.pop().and_then(|last| char::from_u32(u32::from(last).saturating_sub(1)));
    text.extend(last.into_iter().flat_map(|last| [last, char::MAX]));
    text
}

/// Whether a name is not for others: what is below it belongs to files that have lost theirs.
fn is_hidden(parent: Ino, name: &FileName) -> bool {
    parent == ROOT && name.as_str() == HIDDEN_DIRECTORY
}

pub(crate) fn list_request(prefix: &str, marker: Option<String>) -> ListRequest {
    ListRequest { prefix: prefix.to_owned(), delimited: true, marker, max_keys: None }
}

pub(crate) fn entry_kind_of(object: ListedObject) -> EntryKind {
    let ListedObject { size, etag, last_modified, .. } = object;
    let version = Version { etag, size, checksum: None };
    EntryKind::Object(ObjectStat::listed(version, last_modified))
}
