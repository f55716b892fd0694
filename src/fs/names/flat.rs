//! Flat listings: where somebody goes through one directory after the other, one request without a delimiter tells what is in
//! many of them, and which have markers.

use std::collections::BTreeMap;

use super::answers;
use super::{EntryKind, FileName, Ino, Names, Stashed, entry_kind_of};
use crate::fs::context::{Excluded, FsError, HIDDEN_DIRECTORY};
use crate::store::{ListPage, ListRequest};

impl Names {
    /// Finds out about `name`, a directory, and those that follow it in `parent`, with one request, if somebody is going
    /// through them. Returns whether that tells whether it has a marker; if it has none there is nothing more to ask.
    pub(crate) async fn find_markers_ahead(&self, parent: Ino, name: &FileName) -> Result<bool, FsError> {
        let (told, goes_through) = {
            let tree = self.tree();
            (tree.inodes.told_from(parent, name), tree.inodes.goes_through_directories(parent, name))
        };
        if !told.is_empty() {
            // A listing for the first of them has told of this one, too, and it turns out that all are wanted.
            self.prefetch_attributes(parent, told);
            return Ok(false);
        }
        if !goes_through {
            return Ok(false);
        }
        self.list_flat(parent, name).await?;
        Ok(self.tree().inodes.lacks_attributes(parent, name).is_none())
    }

    /// Takes in what a flat listing has told of a directory, or will tell if somebody is going through those around it.
    /// Returns whether the directory's entries are known now.
    pub(crate) async fn list_with_neighbours(&self, ino: Ino) -> Result<bool, FsError> {
        let Some((parent, name)) = self.tree().inodes.linked_place(ino) else { return Ok(false) };
        if self.take_stashed(ino) {
            return Ok(true);
        }
        if !self.tree().inodes.goes_into_directories(parent, &name) {
            return Ok(false);
        }
        self.list_flat(parent, &name).await?;
        Ok(self.take_stashed(ino))
    }

    /// Takes in what a flat listing has told of a directory. It may tell too early of what a call is about to give a name.
    fn take_stashed(&self, ino: Ino) -> bool {
        let mut tree = self.tree();
        let is_claimed = self.claims.is_to_be_replaced(ino) || !self.claims.names_in(ino).is_empty();
        !is_claimed
            && answers::take_stashed(&mut tree, ino, self.context.clock.now(), self.context.options.metadata_ttl)
    }

    async fn list_flat(&self, parent: Ino, first: &FileName) -> Result<(), FsError> {
        let prefix = self.directory_prefix(parent)?;
        let (asked, invalidations) = (self.asked(parent), self.tree().invalidations);
        // What comes right before the marker of `first`.
        let marker = Some(format!("{prefix}{first}.\u{10FFFF}"));
        let page =
            self.context.store.list(ListRequest { prefix: prefix.clone(), marker, ..ListRequest::default() }).await?;
        let stashed = stashed_of(page, &prefix, &self.context.options.excluded);
        let with_markers = {
            let mut tree = self.tree();
            self.expect_at(&tree, parent, &prefix)?;
            if tree.invalidations != invalidations {
                // Another mount has changed something meanwhile, and this may tell what there was before.
                return Ok(());
            }
            let asked_at = tree.inodes.asked_at(parent, &asked);
            let mut with_markers = tree.inodes.stash(parent, first, stashed, asked_at);
            // Who looks up the first directory may want nothing of the others: this request is none more than its own listing
            // would be, but a HEAD for each would be.
            if !tree.inodes.is_going_through(parent) {
                with_markers.retain(|name| name == first);
            }
            with_markers
        };
        self.prefetch_attributes(parent, with_markers);
        Ok(())
    }
}

/// What a page says of the directories in `prefix` that are on it as a whole.
fn stashed_of(page: ListPage, prefix: &str, excluded: &Excluded) -> BTreeMap<FileName, Stashed> {
    let mut directories: BTreeMap<FileName, Stashed> = BTreeMap::new();
    let mut last = None;
    for object in page.objects {
        let Some((directory, rest)) = object.key.strip_prefix(prefix).and_then(|path| path.split_once('/')) else {
            last = None;
            continue;
        };
        let is_shown = |name: &FileName| name.as_str() != HIDDEN_DIRECTORY && !excluded.includes(name.as_str());
        let Some(directory) = FileName::new(directory).filter(is_shown) else {
            last = None;
            continue;
        };
        let stashed = directories.entry(directory.clone()).or_default();
        last = Some(directory);
        match rest.split_once('/') {
            None if rest.is_empty() => stashed.has_marker = true,
            None => match FileName::new(rest) {
                Some(name) if excluded.includes(name.as_str()) => {}
                Some(name) => drop(stashed.names.entry(name).or_insert(entry_kind_of(object))),
                None => stashed.has_nameless = true,
            },
            Some((below, _)) => match FileName::new(below) {
                Some(name) if excluded.includes(name.as_str()) => {}
                Some(name) => drop(stashed.names.insert(name, EntryKind::Directory(None))),
                None => stashed.has_nameless = true,
            },
        }
    }
    // Those are listed one by one, which counts what is left out.
    directories.retain(|_, stashed| !stashed.has_nameless);
    // The last one may go on behind the page.
    if let (Some(last), true) = (last, page.next_marker.is_some()) {
        directories.remove(&last);
    }
    directories
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::ETag;
    use crate::store::ListedObject;

    fn page(keys: &[&str], next_marker: Option<&str>) -> ListPage {
        let object = |key: &&str| ListedObject {
            key: (*key).to_owned(),
            size: 1,
            etag: ETag::new("e"),
            last_modified: std::time::UNIX_EPOCH,
            storage_class: String::new(),
        };
        let objects = keys.iter().map(object).collect();
        ListPage { objects, prefixes: Vec::new(), next_marker: next_marker.map(str::to_owned) }
    }

    #[test]
    fn a_page_tells_of_the_directories_that_are_on_it_as_a_whole() {
        let keys = ["p/a/", "p/a/x", "p/a/y/1", "p/a/y/2", "p/a0", "p/b/x", "p/c/x"];
        let told = |next| {
            let stashed = stashed_of(page(&keys, next), "p/", &Excluded::default());
            let names = |stashed: &Stashed| stashed.names.keys().map(ToString::to_string).collect::<Vec<_>>().join(" ");
            let one =
                |(name, stashed): (&FileName, &Stashed)| format!("{name} {} {}", stashed.has_marker, names(stashed));
            stashed.iter().map(one).collect::<Vec<_>>()
        };
        assert_eq!(told(None), ["a true x y", "b false x", "c false x"]);
        assert_eq!(told(Some("p/c/x")), ["a true x y", "b false x"], "the last one may go on");
    }
}
