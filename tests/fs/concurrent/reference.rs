//! A file system as on a local disk, in memory, and what it says of calls: whether one could have had its answer, and what
//! is there afterwards. What the mount promises less than a disk is in [`EXCEPTIONS`], and nowhere else.
//!
//! A call names inodes by the mount's numbers. The state knows those that the mount has told, so that one number stays one
//! file under whatever name.

use std::collections::{BTreeMap, BTreeSet};

use cosmount::fs::{FsError, Ino, Kind, OpenMode, ROOT};

/// So many bytes of a file are one number here. Two make a part, so that files of a few numbers are uploaded in parts.
pub(super) const CELL_BYTES: usize = 4 << 10;

/// What a file holds. A hole is 0.
pub(super) type Cells = Vec<u8>;

/// What was read is in no write of ours: bytes of several in one cell.
pub(super) const TORN: u8 = u8::MAX;

/// A directory, and a name in it.
pub(super) type Place = (Ino, &'static str);

/// A call of the file system. Handles have numbers of their own, which are known before they are open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Lookup(Place),
    Getattr(Ino),
    List(Ino),
    Create {
        place: Place,
        mode: OpenMode,
        handle: usize,
    },
    Open {
        ino: Ino,
        mode: OpenMode,
        handle: usize,
    },
    Read(usize),
    Write {
        handle: usize,
        at: usize,
        number: u8,
    },
    /// A flush or an fsync.
    Sync(usize),
    Release(usize),
    /// Undoes an opening whose caller was gone before it was told.
    Abandon(usize),
    Resize(Ino, usize),
    Chmod(Ino, u32),
    Link(Ino, Place),
    Mkdir(Place),
    Rmdir(Place),
    Unlink(Place),
    Rename {
        from: Place,
        to: Place,
        no_replace: bool,
    },
    /// The kernel forgets all inodes but the top, or another mount begins, whose numbers are others.
    Forget,
}

/// What a call returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Done,
    Is(Shown),
    Content(Cells),
    Names(BTreeMap<String, Kind>),
    /// So many cells are in the file.
    Written(usize),
    Failed(FsError),
}

/// What is told of an inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) ino: Ino,
    pub(super) kind: Kind,
    pub(super) bytes: u64,
    pub(super) permissions: u32,
}

/// What the mount promises less than a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exception {
    StaleWithoutName,
    StaleBelowRemoved,
    StaleBelowMoved,
    StaleOldVersion,
    ReaderKeepsVersion,
    LinkIsCopy,
    ReplacedLooksNew,
    OpeningIsUndone,
}

/// All of them, and why. Without its row here an exception is a failure.
const EXCEPTIONS: [(Exception, &str); 8] = [
    (
        Exception::StaleWithoutName,
        "who was told of an inode that has lost its name since, and has no handle, gets ESTALE: its object is gone. The \
         kernel then walks the path once more, and must not come too late again",
    ),
    (
        Exception::StaleBelowRemoved,
        "what is asked of a directory that is removed may be ESTALE and not ENOENT: the same",
    ),
    (
        Exception::StaleBelowMoved,
        "what was asked of the old place of a directory and answered after it has moved does not count: ESTALE, after which the \
         kernel walks the path once more",
    ),
    (
        Exception::StaleOldVersion,
        "who has an old version open for reading gets ESTALE once a new one was opened: the kernel has one set of pages",
    ),
    (
        Exception::ReaderKeepsVersion,
        "an open file is one version of its object: who has opened it for reading may see what it was since then",
    ),
    (
        Exception::LinkIsCopy,
        "an object has one name: a link is a file of its own, with what the other one was at some moment of the call",
    ),
    (
        Exception::ReplacedLooksNew,
        "a file whose metadata are asked for in the middle of a rename over it may be shown with the size and the mode of what \
         replaces it: the object is the new one by then, and that is what is known of it once it has no name. Who opens it gets \
         ESTALE, and the new one when the kernel looks again",
    ),
    (
        Exception::OpeningIsUndone,
        "an open whose caller is killed makes and empties nothing: what it has made or emptied is for others to see until \
         then, and stays if they write to it",
    ),
];

fn is_allowed(exception: Exception) -> bool {
    EXCEPTIONS.iter().any(|(allowed, _)| *allowed == exception)
}

/// What there is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct State {
    /// The first is the top. What has lost its name stays.
    nodes: Vec<Node>,
    handles: BTreeMap<usize, Handle>,
    /// Directories that were moved while calls went on that may not have ended.
    moved: BTreeSet<NodeNumber>,
    /// What files were, with their permissions, when such calls had begun.
    were: BTreeSet<(NodeNumber, Cells, u32)>,
    /// What was shown of files while they were being replaced: size and permissions.
    seen_early: BTreeSet<(NodeNumber, u64, u32)>,
}

type NodeNumber = usize;

const TOP: NodeNumber = 0;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Node {
    what: What,
    permissions: u32,
    /// `None` of the top, and of what has lost its name.
    parent: Option<NodeNumber>,
    /// The mount's number, once it was told.
    ino: Option<Ino>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum What {
    File(Cells),
    Directory(BTreeMap<&'static str, NodeNumber>),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Handle {
    node: NodeNumber,
    writes: bool,
    appends: bool,
    /// What the file was since it was opened, for who reads only.
    was: BTreeSet<Cells>,
    /// Somebody has opened what the file has become since.
    is_old: bool,
    undo: Undo,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Undo {
    Nothing,
    Unmake,
    Refill(Cells),
}

impl State {
    /// An empty file system.
    pub(super) fn empty() -> State {
        let what = What::Directory(BTreeMap::new());
        let top = Node { what, permissions: 0o755, parent: None, ino: Some(ROOT) };
        let (handles, moved, were, seen_early) = Default::default();
        State { nodes: vec![top], handles, moved, were, seen_early }
    }

    /// All calls have ended.
    pub(super) fn at_rest(self) -> State {
        State { moved: BTreeSet::new(), were: BTreeSet::new(), seen_early: BTreeSet::new(), ..self }
    }

    /// What there may be after the call, if that can have had the answer now. `is_second` says that its caller had come too
    /// late for an inode before, and has looked again; `replaced` are the new names of renames that went on at the same time.
    pub(super) fn after(&self, call: &Call, answer: &Answer, is_second: bool, replaced: &[Place]) -> Vec<State> {
        let refusals = self.refusals(call);
        if let Answer::Failed(error) = answer {
            let is_possible = refusals.contains(error) || self.exceptions(call, is_second).contains(error);
            return if is_possible { vec![self.clone()] } else { Vec::new() };
        }
        if !refusals.is_empty() {
            return Vec::new();
        }
        match (call, answer) {
            (Call::Abandon(handle), _) => return self.abandoned(*handle),
            (Call::Link(ino, place), Answer::Is(shown)) => return self.linked(*ino, *place, shown),
            _ => {}
        }
        let mut next = self.clone();
        let applied = next.apply(call, answer).map(|()| next);
        applied.or_else(|| self.seen_early(call, answer, replaced)).into_iter().collect()
    }

    /// What a disk refuses the call with.
    fn refusals(&self, call: &Call) -> Vec<FsError> {
        match *call {
            Call::Lookup(place) if self.entry(place).is_none() => vec![FsError::NotFound],
            Call::Create { place, mode, .. } => match self.entry(place) {
                Some(_) if mode.exclusive => vec![FsError::Exists],
                Some(node) if self.is_directory(node) => vec![FsError::IsDirectory],
                None if self.is_removed(place.0) => vec![FsError::NotFound],
                _ => Vec::new(),
            },
            Call::Open { ino, .. } | Call::Resize(ino, _)
                if self.node(ino).is_some_and(|node| self.is_directory(node)) =>
            {
                vec![FsError::IsDirectory]
            }
            Call::Link(ino, place) => {
                let source = self.node(ino);
                let mut refusals = self.refusals_of_new(place);
                refusals.extend(source.filter(|node| self.is_directory(*node)).map(|_| FsError::NotPermitted));
                refusals.extend(source.filter(|node| !self.has_name(*node)).map(|_| FsError::NotFound));
                refusals
            }
            Call::Mkdir(place) => self.refusals_of_new(place),
            Call::Rmdir(place) => match self.entry(place) {
                None => vec![FsError::NotFound],
                Some(node) if !self.is_directory(node) => vec![FsError::NotDirectory],
                Some(node) if !self.is_empty(node) => vec![FsError::NotEmpty],
                Some(_) => Vec::new(),
            },
            Call::Unlink(place) => match self.entry(place) {
                None => vec![FsError::NotFound],
                Some(node) if self.is_directory(node) => vec![FsError::IsDirectory],
                Some(_) => Vec::new(),
            },
            Call::Rename { from, to, no_replace } => self.refusals_of_rename(from, to, no_replace),
            _ => Vec::new(),
        }
    }

    fn refusals_of_new(&self, place: Place) -> Vec<FsError> {
        let is_taken = self.entry(place).map(|_| FsError::Exists);
        is_taken.into_iter().chain(self.is_removed(place.0).then_some(FsError::NotFound)).collect()
    }

    /// Where several hold, any of them may be told.
    fn refusals_of_rename(&self, from: Place, to: Place, no_replace: bool) -> Vec<FsError> {
        let Some(source) = self.entry(from) else { return vec![FsError::NotFound] };
        let target = self.entry(to);
        if target == Some(source) {
            return Vec::new();
        }
        let mut refusals = Vec::new();
        if self.is_removed(to.0) {
            refusals.push(FsError::NotFound);
        }
        if target.is_some() && no_replace {
            refusals.push(FsError::Exists);
        }
        match (self.is_directory(source), target.map(|target| self.is_directory(target))) {
            (false, Some(true)) => refusals.push(FsError::IsDirectory),
            (true, Some(false)) => refusals.push(FsError::NotDirectory),
            _ => {}
        }
        if self.node(to.0).is_some_and(|parent| self.is_at_or_below(parent, source)) {
            refusals.push(FsError::Invalid);
        }
        if target.is_some_and(|target| self.is_directory(target) && !self.is_empty(target)) {
            refusals.push(FsError::NotEmpty);
        }
        refusals
    }

    /// What the mount may fail the call with, although a disk would not.
    fn exceptions(&self, call: &Call, is_second: bool) -> Vec<FsError> {
        let mut errors = Vec::new();
        let by_inode = match call {
            Call::Open { ino, .. }
            | Call::Resize(ino, _)
            | Call::Chmod(ino, _)
            | Call::Link(ino, _)
            | Call::Getattr(ino)
            | Call::List(ino) => Some(*ino),
            _ => None,
        };
        let by_inode = by_inode.filter(|_| !is_second);
        let is_nameless = by_inode.and_then(|ino| self.node(ino)).is_some_and(|node| !self.has_name(node));
        if is_nameless && is_allowed(Exception::StaleWithoutName) {
            errors.push(FsError::Stale);
        }
        let directories = match call {
            Call::Lookup(place)
            | Call::Create { place, .. }
            | Call::Link(_, place)
            | Call::Mkdir(place)
            | Call::Rmdir(place)
            | Call::Unlink(place) => vec![place.0],
            Call::Rename { from, to, .. } => vec![from.0, to.0],
            _ => Vec::new(),
        };
        if !is_second && directories.iter().any(|ino| self.is_removed(*ino)) && is_allowed(Exception::StaleBelowRemoved)
        {
            errors.push(FsError::Stale);
        }
        let has_moved = |ino: &Ino| {
            self.node(*ino).is_some_and(|node| self.moved.iter().any(|moved| self.is_at_or_below(node, *moved)))
        };
        if !is_second && directories.iter().chain(&by_inode).any(has_moved) && is_allowed(Exception::StaleBelowMoved) {
            errors.push(FsError::Stale);
        }
        if let Call::Read(handle) = call
            && self.handles.get(handle).is_some_and(|handle| handle.is_old)
            && is_allowed(Exception::StaleOldVersion)
        {
            errors.push(FsError::Stale);
        }
        errors
    }

    /// Does what the call does on a disk. `None` if it would have had another answer.
    fn apply(&mut self, call: &Call, answer: &Answer) -> Option<()> {
        match (call, answer) {
            (Call::Lookup(place), Answer::Is(shown)) => self.see(self.entry(*place)?, shown),
            (Call::Getattr(ino), Answer::Is(shown)) => self.see(self.node(*ino)?, shown),
            (Call::List(ino), Answer::Names(names)) => (self.names(self.node(*ino)?)? == *names).then_some(()),
            (Call::Create { place, mode, handle }, Answer::Is(shown)) => self.create(*place, *mode, *handle, shown),
            (Call::Open { ino, mode, handle }, Answer::Done) => {
                let node = self.node(*ino)?;
                self.open(node, *mode, *handle);
                Some(())
            }
            (Call::Read(handle), Answer::Content(cells)) => self.may_read(*handle, cells).then_some(()),
            (Call::Write { handle, at, number }, Answer::Written(count)) => self.write(*handle, *at, *count, *number),
            (Call::Sync(_), Answer::Done) => Some(()),
            (Call::Release(handle), Answer::Done) => self.handles.remove(handle).map(drop),
            (Call::Resize(ino, len), Answer::Is(shown)) => {
                let node = self.node(*ino)?;
                let mut cells = self.cells(node)?.clone();
                cells.resize(*len, 0);
                self.fill(node, cells);
                // It is told what the file is in the end, when others may have changed it once more.
                (shown.ino == *ino).then_some(())
            }
            (Call::Chmod(ino, permissions), Answer::Is(shown)) => {
                let node = self.node(*ino)?;
                self.note(node);
                self.nodes[node].permissions = *permissions;
                (shown.ino == *ino).then_some(())
            }
            (Call::Mkdir(place), Answer::Is(shown)) => {
                let made = self.put(*place, What::Directory(BTreeMap::new()), 0o755)?;
                self.see(made, shown)
            }
            (Call::Rmdir(place) | Call::Unlink(place), Answer::Done) => self.take(*place).map(drop),
            (Call::Rename { from, to, .. }, Answer::Done) => self.rename(*from, *to),
            (Call::Forget, Answer::Done) => {
                self.nodes.iter_mut().skip(1).for_each(|node| node.ino = None);
                Some(())
            }
            _ => None,
        }
    }

    fn create(&mut self, place: Place, mode: OpenMode, handle: usize, shown: &Shown) -> Option<()> {
        let found = self.entry(place);
        let node = match found {
            Some(node) => node,
            None => self.put(place, What::File(Cells::new()), permissions_of_new(mode))?,
        };
        self.open(node, mode, handle);
        if let Some(handle) = self.handles.get_mut(&handle).filter(|_| found.is_none()) {
            handle.undo = Undo::Unmake;
        }
        match self.nodes[node].ino {
            // As with what is changed.
            Some(ino) => (shown.ino == ino).then_some(()),
            None => self.see(node, shown),
        }
    }

    fn open(&mut self, node: NodeNumber, mode: OpenMode, handle: usize) {
        let before = self.cells(node).cloned().unwrap_or_default();
        let undo = if mode.truncates { Undo::Refill(before) } else { Undo::Nothing };
        if mode.truncates {
            self.fill(node, Cells::new());
        }
        for other in self.handles.values_mut().filter(|other| other.node == node) {
            other.is_old = other.was.len() > 1;
        }
        let was = self.cells(node).cloned().into_iter().filter(|_| !mode.writes).collect();
        let (writes, appends) = (mode.writes, mode.appends);
        self.handles.insert(handle, Handle { node, writes, appends, was, is_old: false, undo });
    }

    fn may_read(&self, handle: usize, cells: &Cells) -> bool {
        let Some(handle) = self.handles.get(&handle) else { return false };
        let was = !handle.writes && handle.was.contains(cells) && is_allowed(Exception::ReaderKeepsVersion);
        was || self.cells(handle.node) == Some(cells)
    }

    fn write(&mut self, handle: usize, at: usize, count: usize, number: u8) -> Option<()> {
        let handle = self.handles.get(&handle)?;
        let (node, mut cells) = (handle.node, self.cells(handle.node)?.clone());
        let at = if handle.appends { cells.len() } else { at };
        if count > 0 {
            cells.resize(cells.len().max(at + count), 0);
            cells[at..at + count].fill(number);
        }
        self.fill(node, cells);
        Some(())
    }

    fn rename(&mut self, from: Place, to: Place) -> Option<()> {
        let (source, target) = (self.entry(from)?, self.entry(to));
        if target == Some(source) {
            return Some(());
        }
        if target.is_some() {
            self.take(to)?;
        }
        self.take(from)?;
        if self.is_directory(source) {
            self.moved.insert(source);
        }
        self.give_name(source, to)
    }

    /// A link to what the file is, or was at some moment of the call.
    fn linked(&self, ino: Ino, place: Place, shown: &Shown) -> Vec<State> {
        let Some(source) = self.node(ino).filter(|_| is_allowed(Exception::LinkIsCopy)) else { return Vec::new() };
        let is = self.cells(source).map(|cells| (source, cells.clone(), self.nodes[source].permissions));
        let were = self.were.iter().filter(|(node, ..)| *node == source).cloned();
        let link = |(_, cells, permissions)| {
            let mut next = self.clone();
            let copy = next.put(place, What::File(cells), permissions)?;
            next.see(copy, shown).map(|()| next)
        };
        were.chain(is).filter_map(link).collect()
    }

    /// What is about to be replaced is seen as what replaces it, and so it is once it was.
    fn seen_early(&self, call: &Call, answer: &Answer, replaced: &[Place]) -> Option<State> {
        let (node, shown) = match (call, answer) {
            (Call::Lookup(place), Answer::Is(shown)) => (self.entry(*place)?, shown),
            (Call::Getattr(ino), Answer::Is(shown)) => (self.node(*ino)?, shown),
            _ => return None,
        };
        let seen = (node, shown.bytes, shown.permissions);
        let was_replaced = !self.has_name(node) && self.seen_early.contains(&seen);
        let is_replaced = replaced.iter().any(|place| self.entry(*place) == Some(node));
        let mut next = self.clone();
        next.seen_early.insert(seen);
        let ino = *next.nodes[node].ino.get_or_insert(shown.ino);
        ((is_replaced || was_replaced) && ino == shown.ino && is_allowed(Exception::ReplacedLooksNew)).then_some(next)
    }

    /// Undoes an opening, unless somebody has made use of what it has made.
    fn abandoned(&self, handle: usize) -> Vec<State> {
        let mut kept = self.clone();
        let Some(Handle { node, undo, .. }) = kept.handles.remove(&handle) else { return Vec::new() };
        let mut undone = kept.clone();
        let is_written = kept.handles.values().any(|other| other.node == node && other.writes);
        let is_as_it_left_it = kept.cells(node).is_some_and(Vec::is_empty) && !is_written;
        if undo == Undo::Nothing || !is_as_it_left_it || !is_allowed(Exception::OpeningIsUndone) {
            return vec![kept];
        }
        match (undo, undone.place_of(node)) {
            (Undo::Refill(cells), _) => undone.fill(node, cells),
            (_, Some(place)) => undone.take_from(place.0, place.1),
            (_, None) => {}
        }
        vec![undone, kept]
    }

    /// Whether the inode is what is told of it. It has that number from now on.
    fn see(&mut self, node: NodeNumber, shown: &Shown) -> Option<()> {
        let Node { what, permissions, ino, .. } = &mut self.nodes[node];
        let is_it = match what {
            What::File(cells) => shown.kind == Kind::File && shown.bytes == (cells.len() * CELL_BYTES) as u64,
            What::Directory(_) => shown.kind == Kind::Directory,
        };
        (is_it && *permissions == shown.permissions && *ino.get_or_insert(shown.ino) == shown.ino).then_some(())
    }

    /// Another content, of which those who read may see either.
    fn fill(&mut self, node: NodeNumber, cells: Cells) {
        self.note(node);
        for handle in self.handles.values_mut().filter(|handle| handle.node == node && !handle.writes) {
            handle.was.insert(cells.clone());
        }
        self.nodes[node].what = What::File(cells);
    }

    /// It is about to become something else.
    fn note(&mut self, node: NodeNumber) {
        let was = self.cells(node).map(|cells| (node, cells.clone(), self.nodes[node].permissions));
        self.were.extend(was);
    }

    fn put(&mut self, place: Place, what: What, permissions: u32) -> Option<NodeNumber> {
        self.nodes.push(Node { what, permissions, parent: None, ino: None });
        self.give_name(self.nodes.len() - 1, place)?;
        Some(self.nodes.len() - 1)
    }

    fn give_name(&mut self, node: NodeNumber, (directory, name): Place) -> Option<()> {
        let directory = self.node(directory)?;
        self.nodes[node].parent = Some(directory);
        let What::Directory(entries) = &mut self.nodes[directory].what else { return None };
        entries.insert(name, node);
        Some(())
    }

    fn take(&mut self, (directory, name): Place) -> Option<NodeNumber> {
        let (directory, node) = (self.node(directory)?, self.entry((directory, name))?);
        self.take_from(directory, name);
        Some(node)
    }

    fn take_from(&mut self, directory: NodeNumber, name: &'static str) {
        let What::Directory(entries) = &mut self.nodes[directory].what else { return };
        if let Some(node) = entries.remove(name) {
            self.nodes[node].parent = None;
        }
    }

    fn node(&self, ino: Ino) -> Option<NodeNumber> {
        self.nodes.iter().position(|node| node.ino == Some(ino))
    }

    fn entry(&self, (directory, name): Place) -> Option<NodeNumber> {
        match &self.nodes[self.node(directory)?].what {
            What::Directory(entries) => entries.get(name).copied(),
            What::File(_) => None,
        }
    }

    fn place_of(&self, node: NodeNumber) -> Option<(NodeNumber, &'static str)> {
        let parent = self.nodes[node].parent?;
        let What::Directory(entries) = &self.nodes[parent].what else { return None };
        entries.iter().find(|(_, entry)| **entry == node).map(|(name, _)| (parent, *name))
    }

    fn names(&self, node: NodeNumber) -> Option<BTreeMap<String, Kind>> {
        let What::Directory(entries) = &self.nodes[node].what else { return None };
        let kind = |node: &NodeNumber| if self.is_directory(*node) { Kind::Directory } else { Kind::File };
        Some(entries.iter().map(|(name, node)| ((*name).to_owned(), kind(node))).collect())
    }

    fn cells(&self, node: NodeNumber) -> Option<&Cells> {
        match &self.nodes[node].what {
            What::File(cells) => Some(cells),
            What::Directory(_) => None,
        }
    }

    fn is_directory(&self, node: NodeNumber) -> bool {
        matches!(self.nodes[node].what, What::Directory(_))
    }

    fn is_empty(&self, node: NodeNumber) -> bool {
        matches!(&self.nodes[node].what, What::Directory(entries) if entries.is_empty())
    }

    fn has_name(&self, node: NodeNumber) -> bool {
        node == TOP || self.nodes[node].parent.is_some()
    }

    fn is_removed(&self, directory: Ino) -> bool {
        self.node(directory).is_none_or(|node| !self.has_name(node))
    }

    fn is_at_or_below(&self, node: NodeNumber, top: NodeNumber) -> bool {
        node == top || self.nodes[node].parent.is_some_and(|parent| self.is_at_or_below(parent, top))
    }
}

pub(super) fn permissions_of_new(mode: OpenMode) -> u32 {
    // As mkstemp makes one.
    if mode.exclusive { 0o600 } else { 0o644 }
}
