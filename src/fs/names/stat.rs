//! What `stat` shows of an inode.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use super::{
    Attr, EntryKind, Ino, Kind, MODE_SET_GROUP, MODE_SET_USER, ROOT, Shown, Tree, Unpublished, device_of,
    permissions_and_owner,
};
use crate::fs::context::{AttributeSource, FsOptions};
use crate::object::ObjectAttributes;

impl Tree {
    /// What `stat` shows. What has lost its name is what it was then, but for the name.
    pub(crate) fn attr(&self, ino: Ino, options: &FsOptions, now: SystemTime) -> Option<Attr> {
        let seen = match self.unpublished(ino) {
            Some(unpublished) => seen_of_unpublished(self, unpublished),
            None => seen(self, ino, options, now)?,
        };
        let Seen { kind, size, mtime, attributes, links, valid_for } = seen;
        let (permissions, owner) = permissions_and_owner(kind, attributes.as_deref(), options);
        let device = device_of(kind, attributes.as_deref());
        let times = self.node(ino).and_then(|node| node.times.as_deref()).copied().unwrap_or_default();
        let Shown { atime, mtime, ctime } = times.shown(mtime, now);
        // The kernel does not expect that a write or a truncating open takes these bits away, and would go on showing them.
        let is_privileged = kind == Kind::File && permissions & (MODE_SET_USER | MODE_SET_GROUP) != 0;
        let valid_for = if is_privileged { Duration::ZERO } else { valid_for };
        Some(Attr { ino, kind, size, permissions, owner, atime, mtime, ctime, links, device, valid_for })
    }
}

fn seen_of_unpublished(tree: &Tree, file: Unpublished) -> Seen<'static> {
    let Unpublished { attributes, size, has_name, may_tell_another_time } = file;
    Seen {
        kind: Kind::of_object(Some(&attributes), size),
        size,
        mtime: attributes.mtime().unwrap_or(SystemTime::UNIX_EPOCH),
        attributes: Some(Cow::Owned(attributes)),
        links: u32::from(has_name),
        // The kernel must not remember a time that a close may yet move.
        valid_for: if may_tell_another_time { Duration::ZERO } else { tree.kernel_ttl },
    }
}

fn seen<'a>(tree: &'a Tree, ino: Ino, options: &FsOptions, now: SystemTime) -> Option<Seen<'a>> {
    let named = tree.entry_of(ino);
    let entry = named.or_else(|| tree.node(ino)?.removed.as_deref());
    let (size, mtime, attributes) = match entry.map(|entry| &entry.what) {
        Some(EntryKind::Object(stat)) => (stat.version.size, stat.mtime(), stat.attributes.as_deref()),
        Some(EntryKind::New) => (0, SystemTime::UNIX_EPOCH, None),
        Some(EntryKind::Directory(marker)) => {
            let marker = marker.as_deref();
            (0, tree.directory_mtime(ino, marker), marker.map(|marker| &marker.attributes))
        }
        None if ino == ROOT => {
            let marker = tree.marker(ROOT);
            (0, tree.directory_mtime(ROOT, marker), marker.map(|marker| &marker.attributes))
        }
        None => return None,
    };
    let kind = entry.map_or(Kind::Directory, |entry| entry.what.kind());
    let looks_like_another = tree.open_state(ino).is_some_and(|opened| opened.looks_like_another(now));
    let valid_for = named.map_or(tree.kernel_ttl, |entry| {
        let age = now.duration_since(entry.seen_at).unwrap_or(options.metadata_ttl);
        let is_whole = attributes.is_some()
            || entry.what == EntryKind::New
            || options.attributes == AttributeSource::Listing && kind != Kind::Directory;
        if is_whole && !looks_like_another {
            options.metadata_ttl.saturating_sub(age).min(tree.kernel_ttl)
        } else {
            Duration::ZERO
        }
    });
    let links = u32::from(named.is_some() || ino == ROOT);
    Some(Seen { kind, size, mtime, attributes: attributes.map(Cow::Borrowed), links, valid_for })
}

/// What is known of an inode, before options and its times in memory are looked at.
struct Seen<'a> {
    kind: Kind,
    size: u64,
    mtime: SystemTime,
    attributes: Option<Cow<'a, ObjectAttributes>>,
    links: u32,
    valid_for: Duration,
}
