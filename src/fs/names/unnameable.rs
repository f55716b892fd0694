//! Keys that cannot be file names: with empty segments (`a//b`), `.` or `..`, longer than 255 bytes, or unreadable.
//!
//! The mount does not show them, and so nobody can remove them one by one. They go along with the directory that they are
//! in, as they do on gcsfuse, unless the options keep them; then the directory stays, too. The log names them either way.

use std::fmt;

use super::{FileName, Names, list_request};
use crate::fs::context::{Deletes, FsError};
use crate::object::ObjectKey;
use crate::object::key::UNREADABLE;
use crate::store::ListRequest;

/// Keys that a log line names: enough to see what they have in common.
const NAMED_MAX: usize = 5;

/// The name in the directory whose keys begin with `prefix` that a path of the service stands for. `None` if it cannot be
/// one, or names no object that this program could ask for.
pub(crate) fn nameable(path: &str, prefix: &str) -> Option<FileName> {
    let name = FileName::new(path.strip_prefix(prefix)?)?;
    ObjectKey::new(path).is_ok().then_some(name)
}

/// Some keys, for the log.
pub(crate) struct Unnameable<'a> {
    count: usize,
    some: &'a [String],
}

impl Unnameable<'_> {
    pub(crate) fn of(keys: &[String]) -> Unnameable<'_> {
        Unnameable { count: keys.len(), some: &keys[..keys.len().min(NAMED_MAX)] }
    }
}

impl fmt::Display for Unnameable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = if self.count == 1 { "key" } else { "keys" };
        write!(f, "{} {keys} that cannot be file names ({:?}", self.count, self.some[0])?;
        self.some[1..].iter().try_for_each(|key| write!(f, ", {key:?}"))?;
        f.write_str(if self.count > self.some.len() { ", ...)" } else { ")" })
    }
}

impl Names {
    /// An error if something is in the directory with this marker, which is asked of the service: somebody may have put
    /// something in since it was listed. Keys that cannot be file names are removed, if the options say so.
    pub(crate) async fn expect_empty(&self, marker: &ObjectKey) -> Result<(), FsError> {
        let below = ListRequest { prefix: marker.to_string(), max_keys: Some(2), ..ListRequest::default() };
        let page = self.context.store.list(below).await.map_err(|error| self.context.told(error))?;
        if page.objects.iter().all(|object| object.key == marker.as_str()) {
            return Ok(());
        }
        let keys = self.only_unnameable(marker).await?;
        if !self.context.options.remove_unnameable || self.context.options.deletes != Deletes::Allowed {
            log::warn!(
                "{marker} cannot be removed: it holds {}, which --remove-unnameable=yes would take along",
                Unnameable::of(&keys)
            );
            return Err(FsError::NotEmpty);
        }
        let removed = self.remove_below(marker).await?;
        log::warn!("{marker} was removed with {removed} objects below {}", Unnameable::of(&keys));
        Ok(())
    }

    /// The name that a path stands for, if it is one that the mount shows.
    fn shown_name(&self, path: &str, prefix: &str) -> Option<FileName> {
        nameable(path, prefix).filter(|name| !self.context.options.excluded.includes(name.as_str()))
    }

    /// What is in a directory in which nothing has a name. An error if something has.
    async fn only_unnameable(&self, marker: &ObjectKey) -> Result<Vec<String>, FsError> {
        let (prefix, mut keys, mut next) = (marker.as_str(), Vec::new(), None);
        loop {
            let page =
                self.context.store.list(list_request(prefix, next)).await.map_err(|error| self.context.told(error))?;
            let objects = page.objects.into_iter().map(|object| object.key).filter(|key| key != prefix);
            for path in objects.chain(page.prefixes) {
                if self.shown_name(path.strip_suffix('/').unwrap_or(&path), prefix).is_some() {
                    return Err(FsError::NotEmpty);
                }
                keys.push(path);
            }
            match page.next_marker {
                Some(_) => next = page.next_marker,
                // Somebody else has removed them meanwhile, or they are back already.
                None if keys.is_empty() => return Err(FsError::NotEmpty),
                None => return Ok(keys),
            }
        }
    }

    /// Removes what is below a directory in which nothing has a name. Returns how many objects that were.
    async fn remove_below(&self, marker: &ObjectKey) -> Result<usize, FsError> {
        let (prefix, mut removed, mut next) = (marker.as_str(), 0, None);
        loop {
            let below = ListRequest { prefix: prefix.to_owned(), marker: next, ..ListRequest::default() };
            let page = self.context.store.list(below).await.map_err(|error| self.context.told(error))?;
            let mut keys = Vec::new();
            for object in page.objects.into_iter().filter(|object| object.key != prefix) {
                let below = object.key.strip_prefix(prefix).ok_or(FsError::NotEmpty)?;
                let first = below.split('/').next().unwrap_or_default();
                // Somebody may have put a file in meanwhile; and what cannot be read cannot be named to the service.
                let is_unnameable = self.shown_name(&format!("{prefix}{first}"), prefix).is_none();
                let key = ObjectKey::new(&object.key).ok().filter(|key| !key.as_str().contains(UNREADABLE));
                keys.push(key.filter(|_| is_unnameable).ok_or(FsError::NotEmpty)?);
            }
            if !keys.is_empty() {
                let failed = self.context.store.delete_many(&keys).await.map_err(|error| self.context.told(error))?;
                if let Some((key, error)) = failed.into_iter().next() {
                    log::error!("{key}, which cannot be a file name, could not be removed: {error}");
                    return Err(error.into());
                }
                removed += keys.len();
            }
            match page.next_marker {
                Some(_) => next = page.next_marker,
                None => return Ok(removed),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_a_name_if_a_directory_and_a_key_can_hold_it() {
        assert_eq!(nameable("a/b", "a/").map(|name| name.to_string()).as_deref(), Some("b"));
        for path in ["a/", "a//b", "a/b/c", "a/..", "b/c", &format!("a/{}", "n".repeat(256))] {
            assert_eq!(nameable(path, "a/"), None, "{path}");
        }
        assert_eq!(nameable("\\b", ""), None, "no key begins so");
        assert_eq!(nameable(&format!("{}/b", "p/".repeat(425)), &"p/".repeat(425)), None, "longer than a key");
    }

    #[test]
    fn a_few_keys_stand_for_many() {
        let keys: Vec<String> = (0..6).map(|index| format!("//{index}")).collect();
        assert_eq!(Unnameable::of(&keys[..1]).to_string(), "1 key that cannot be file names (\"//0\")");
        let many = Unnameable::of(&keys).to_string();
        assert_eq!(many, "6 keys that cannot be file names (\"//0\", \"//1\", \"//2\", \"//3\", \"//4\", ...)");
    }
}
