//! Programs, as the kernel makes their calls: a path is walked by lookups and once more if an inode was gone, and a call
//! whose caller does not wait any longer runs to its end as a task. What it has opened by then is given back, as
//! `src/fuse/adapter.rs` does it.

use std::collections::BTreeMap;
use std::future::{Future, ready};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cosmount::fs::{
    Attr, AttrChange, FileName, FileSystem, FsError, HandleId, Ino, Kind, OpenMode, Opened, ROOT, WriteOutcome,
};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::history::History;
use super::reference::{Answer, CELL_BYTES, Call, Cells, Place, Shown, TORN, permissions_of_new};
use crate::bed::{APPEND, ME, MIB, READ, REPLACE, TEMPORARY, WRITE};

/// What a program does. Paths are those below the mount; what is open is counted from what was opened first, and around.
#[derive(Clone, Copy, Debug)]
pub(super) enum Action {
    /// `open` with O_RDONLY.
    OpenToRead(&'static str),
    /// O_CREAT and O_WRONLY, and O_TRUNC, O_APPEND, or O_EXCL as mkstemp has it.
    OpenToWrite(&'static str),
    OpenEmptied(&'static str),
    OpenToAppend(&'static str),
    OpenNew(&'static str),
    Read {
        open: usize,
    },
    Write {
        open: usize,
        at: usize,
        cells: usize,
    },
    Fsync {
        open: usize,
    },
    /// `ftruncate`.
    Cut {
        open: usize,
        cells: usize,
    },
    Close {
        open: usize,
    },
    /// Opens with O_CREAT and O_TRUNC, writes and closes.
    Put {
        path: &'static str,
        cells: usize,
    },
    /// Opens, reads and closes.
    Cat(&'static str),
    Rename(&'static str, &'static str),
    RenameNoReplace(&'static str, &'static str),
    Unlink(&'static str),
    Mkdir(&'static str),
    Rmdir(&'static str),
    Link(&'static str, &'static str),
    /// `truncate`.
    CutPath {
        path: &'static str,
        cells: usize,
    },
    Chmod {
        path: &'static str,
        permissions: u32,
    },
    Stat(&'static str),
    List(&'static str),
}

/// What was looked up once more keeps its name for a tenth of a second from then on.
const KEPT_FOR: Duration = Duration::from_millis(90);

/// What callers share.
#[derive(Default)]
pub(super) struct Shared {
    pub(super) history: History,
    /// How often the kernel was told of each inode.
    known: Mutex<BTreeMap<Ino, u64>>,
    /// Handles and writes that were numbered so far.
    handles: AtomicUsize,
    writes: AtomicUsize,
}

impl Shared {
    fn know(&self, attr: &Attr) {
        *self.known.lock().unwrap().entry(attr.ino).or_default() += 1;
    }

    /// The kernel forgets all inodes.
    pub(super) fn forget_all(&self, fs: &FileSystem) {
        for (ino, lookups) in std::mem::take(&mut *self.known.lock().unwrap()) {
            fs.forget(ino, lookups);
        }
        let event = self.history.begin(0, Call::Forget, false);
        self.history.end(event, Answer::Done);
    }
}

/// How whoever decides what comes next holds a caller up.
#[derive(Default)]
pub(super) struct Control {
    /// It is about to call, and waits until it may.
    is_ready: AtomicBool,
    may_go: Notify,
    /// Its call has begun, and has not ended.
    is_waiting: AtomicBool,
    /// Its process was told to end.
    is_ending: AtomicBool,
    ending: Notify,
}

impl Control {
    pub(super) fn is_ready(&self) -> bool {
        self.is_ready.load(Ordering::Relaxed)
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.is_waiting.load(Ordering::Relaxed)
    }

    pub(super) fn go(&self) {
        self.is_ready.store(false, Ordering::Relaxed);
        self.may_go.notify_one();
    }

    pub(super) fn interrupt(&self) {
        self.is_ending.store(true, Ordering::Relaxed);
        self.ending.notify_one();
    }
}

/// What a caller has open.
struct Open {
    number: usize,
    id: HandleId,
    ino: Ino,
    writes: bool,
}

/// A process with one thread.
pub(super) struct Caller {
    pub(super) fs: Arc<FileSystem>,
    pub(super) shared: Arc<Shared>,
    pub(super) control: Arc<Control>,
    tid: u32,
    open: Vec<Open>,
    /// It has come too late for an inode, and looks again: when it called or was answered last.
    looks_again_since: Option<Instant>,
}

impl Caller {
    pub(super) fn new(tid: u32, fs: &Arc<FileSystem>, shared: &Arc<Shared>) -> Caller {
        let (fs, shared) = (fs.clone(), shared.clone());
        Caller { fs, shared, control: Arc::default(), tid, open: Vec::new(), looks_again_since: None }
    }

    pub(super) fn has_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// Runs the program. Whoever is told to end leaves the rest, and is another process then.
    pub(super) async fn run(&mut self, actions: &[Action]) {
        for action in actions {
            // What calls return is in the history.
            let _ = self.act(*action).await;
            if self.control.is_ending.load(Ordering::Relaxed) {
                self.exit();
                return;
            }
        }
    }

    /// The kernel closes what a process has open that was killed, and nobody waits.
    fn exit(&mut self) {
        for Open { number, id, .. } in std::mem::take(&mut self.open) {
            let fs = self.fs.clone();
            self.begin(
                Call::Sync(number),
                async move { fs.flush(id, |_| ready(false)).await },
                |()| Answer::Done,
                nothing,
            );
            self.release(number, id);
        }
        self.control.is_ending.store(false, Ordering::Relaxed);
        // It may have been told at the moment in which its call ended.
        let _ = self.control.ending.notified().now_or_never();
        self.tid += 100;
    }

    async fn act(&mut self, action: Action) -> Result<(), FsError> {
        match action {
            Action::Read { open } => self.read(open).await,
            Action::Write { open, at, cells } => self.write(open, at, cells).await,
            Action::Fsync { open } => self.fsync(open).await,
            Action::Cut { open, cells } => match self.nth(open).filter(|at| self.open[*at].writes) {
                Some(at) => self.resize(self.open[at].ino, cells, true).await,
                None => Ok(()),
            },
            Action::Close { open } => self.close(open).await,
            Action::Put { path, cells } => {
                self.by_path(Action::OpenEmptied(path)).await?;
                let last = self.open.len() - 1;
                self.write(last, 0, cells).await?;
                self.close(last).await
            }
            Action::Cat(path) => {
                self.by_path(Action::OpenToRead(path)).await?;
                let last = self.open.len() - 1;
                self.read(last).await?;
                self.close(last).await
            }
            action => self.by_path(action).await,
        }
    }

    /// Walks the path once more if an inode was gone.
    async fn by_path(&mut self, action: Action) -> Result<(), FsError> {
        match Box::pin(self.walk(action)).await {
            Err(FsError::Stale) => {
                self.looks_again_since = Some(Instant::now());
                let result = Box::pin(self.walk(action)).await;
                self.looks_again_since = None;
                result
            }
            result => result,
        }
    }

    async fn walk(&mut self, action: Action) -> Result<(), FsError> {
        match action {
            Action::OpenToRead(path) => self.open(path, READ).await,
            Action::OpenToWrite(path) => self.open(path, WRITE).await,
            Action::OpenEmptied(path) => self.open(path, REPLACE).await,
            Action::OpenToAppend(path) => self.open(path, APPEND).await,
            Action::OpenNew(path) => self.open(path, TEMPORARY).await,
            Action::Rename(from, to) => self.rename(from, to, false).await,
            Action::RenameNoReplace(from, to) => self.rename(from, to, true).await,
            Action::Unlink(path) => {
                let (fs, place) = (self.fs.clone(), self.place(path).await?);
                self.ask(Call::Unlink(place), async move { fs.unlink(place.0, &name(place)).await }).await
            }
            Action::Rmdir(path) => {
                let (fs, place) = (self.fs.clone(), self.place(path).await?);
                self.ask(Call::Rmdir(place), async move { fs.rmdir(place.0, &name(place)).await }).await
            }
            Action::Mkdir(path) => {
                let (fs, place) = (self.fs.clone(), self.place(path).await?);
                let call = async move { fs.mkdir(place.0, &name(place), 0o755, ME).await };
                self.ask_entry(Call::Mkdir(place), call).await.map(drop)
            }
            Action::Link(from, to) => {
                let (fs, ino, place) = (self.fs.clone(), self.find(from).await?.ino, self.place(to).await?);
                let call = async move { fs.link(ino, place.0, &name(place)).await };
                self.ask_entry(Call::Link(ino, place), call).await.map(drop)
            }
            Action::CutPath { path, cells } => {
                let found = self.find(path).await?;
                if found.kind == Kind::File { self.resize(found.ino, cells, false).await } else { Ok(()) }
            }
            Action::Chmod { path, permissions } => {
                let (fs, ino) = (self.fs.clone(), self.find(path).await?.ino);
                let change = AttrChange { permissions: Some(permissions), ..AttrChange::default() };
                self.ask_attr(Call::Chmod(ino, permissions), async move { fs.setattr(ino, change).await }).await
            }
            Action::Stat(path) => {
                let (fs, ino) = (self.fs.clone(), self.find(path).await?.ino);
                self.ask_attr(Call::Getattr(ino), async move { fs.getattr(ino).await }).await
            }
            Action::List(path) => {
                if path.is_empty() {
                    return self.list(ROOT).await.map(drop);
                }
                let found = self.find(path).await?;
                if found.kind == Kind::Directory { self.list(found.ino).await.map(drop) } else { Ok(()) }
            }
            _ => unreachable!("{action:?} is about no path"),
        }
    }

    async fn place(&mut self, path: &'static str) -> Result<Place, FsError> {
        let mut parent = ROOT;
        let (directories, name) = path.rsplit_once('/').unwrap_or(("", path));
        for directory in directories.split('/').filter(|directory| !directory.is_empty()) {
            let found = self.lookup((parent, directory)).await?;
            if found.kind != Kind::Directory {
                return Err(FsError::NotDirectory);
            }
            parent = found.ino;
        }
        Ok((parent, name))
    }

    async fn find(&mut self, path: &'static str) -> Result<Attr, FsError> {
        let place = self.place(path).await?;
        self.lookup(place).await
    }

    pub(super) async fn lookup(&mut self, place: Place) -> Result<Attr, FsError> {
        let fs = self.fs.clone();
        self.ask_entry(Call::Lookup(place), async move { fs.lookup(place.0, &name(place)).await }).await
    }

    async fn open(&mut self, path: &'static str, mode: OpenMode) -> Result<(), FsError> {
        let place = self.place(path).await?;
        match self.lookup(place).await {
            Ok(_) if mode.exclusive => Err(FsError::Exists),
            Ok(attr) if attr.kind == Kind::Directory => Err(FsError::IsDirectory),
            Ok(attr) => self.open_inode(attr.ino, mode).await,
            Err(FsError::NotFound) if mode.writes => self.create(place, mode).await,
            Err(error) => Err(error),
        }
    }

    pub(super) async fn open_inode(&mut self, ino: Ino, mode: OpenMode) -> Result<(), FsError> {
        let (fs, number) = (self.fs.clone(), self.shared.handles.fetch_add(1, Ordering::Relaxed));
        let undo = self.abandon(number);
        let call = Call::Open { ino, mode, handle: number };
        let opened = self.wait(
            call,
            async move { fs.open(ino, mode).await },
            |_| Answer::Done,
            move |opened: Opened| undo(None, opened),
        );
        let Opened { handle: id, .. } = opened.await?;
        self.open.push(Open { number, id, ino, writes: mode.writes });
        Ok(())
    }

    async fn create(&mut self, place: Place, mode: OpenMode) -> Result<(), FsError> {
        let (fs, number) = (self.fs.clone(), self.shared.handles.fetch_add(1, Ordering::Relaxed));
        let undo = self.abandon(number);
        let call = Call::Create { place, mode, handle: number };
        let create = async move { fs.create(place.0, &name(place), permissions_of_new(mode), ME, mode).await };
        let undo = move |(attr, opened): (Attr, Opened)| undo(Some(attr.ino), opened);
        let (attr, opened) = self.wait(call, create, |(attr, _)| Answer::Is(shown(attr)), undo).await?;
        self.shared.know(&attr);
        self.open.push(Open { number, id: opened.handle, ino: attr.ino, writes: true });
        Ok(())
    }

    /// What gives an opening back that nobody waits for.
    fn abandon(&self, number: usize) -> impl FnOnce(Option<Ino>, Opened) -> BoxFuture<'static, ()> + Send + 'static {
        let (fs, shared, tid) = (self.fs.clone(), self.shared.clone(), self.tid);
        move |ino, opened| {
            let event = shared.history.begin(tid, Call::Abandon(number), false);
            async move {
                fs.abandon(opened.handle).await;
                if let Some(ino) = ino {
                    fs.forget(ino, 1);
                }
                shared.history.end(event, Answer::Done);
            }
            .boxed()
        }
    }

    fn nth(&self, open: usize) -> Option<usize> {
        open.checked_rem(self.open.len())
    }

    pub(super) async fn read(&mut self, open: usize) -> Result<(), FsError> {
        let Some(at) = self.nth(open) else { return Ok(()) };
        let (fs, Open { number, id, .. }) = (self.fs.clone(), &self.open[at]);
        let (number, id) = (*number, *id);
        let read = async move { fs.read(id, 0, MIB).await.map(|bytes| cells(bytes.as_ref())) };
        self.wait(Call::Read(number), read, |cells| Answer::Content(cells.clone()), nothing).await.map(drop)
    }

    /// A write that has to wait ends with its caller's waiting: the rest never comes.
    async fn write(&mut self, open: usize, at: usize, cells: usize) -> Result<(), FsError> {
        let Some(nth) = self.nth(open).filter(|nth| self.open[*nth].writes) else { return Ok(()) };
        let written = self.shared.writes.fetch_add(1, Ordering::Relaxed);
        let (number, content) = (self.open[nth].number, (written % 250 + 1) as u8);
        let (fs, id, data) = (self.fs.clone(), self.open[nth].id, vec![content; cells * CELL_BYTES]);
        self.go().await?;
        let event = self.shared.history.begin(self.tid, Call::Write { handle: number, at, number: content }, false);
        let (tid, done) = (self.tid, AtomicUsize::new(0));
        let mut taken_at_once = 0;
        let called = self.fs.clone();
        let write = called.called_by(tid, async {
            match fs.write(id, (at * CELL_BYTES) as u64, &data)? {
                WriteOutcome::Done => taken_at_once = data.len(),
                WriteOutcome::Partly { offset, taken } => {
                    taken_at_once = taken;
                    fs.write_rest(id, offset, &data[taken..], &done).await?;
                    done.store(data.len() - taken, Ordering::Relaxed);
                }
            }
            Ok(())
        });
        self.control.is_waiting.store(true, Ordering::Relaxed);
        let result = tokio::select! {
            biased;
            result = write => result,
            () = self.control.ending.notified() => Err(FsError::Interrupted),
        };
        self.control.is_waiting.store(false, Ordering::Relaxed);
        let answer = match &result {
            Ok(()) | Err(FsError::Interrupted) => {
                let bytes = taken_at_once + done.load(Ordering::Relaxed);
                assert_eq!(bytes % CELL_BYTES, 0, "memory is taken by whole cells");
                Answer::Written(bytes / CELL_BYTES)
            }
            Err(error) => Answer::Failed(error.clone()),
        };
        self.shared.history.end(event, answer);
        result
    }

    async fn fsync(&mut self, open: usize) -> Result<(), FsError> {
        let Some(at) = self.nth(open) else { return Ok(()) };
        let (fs, number, id) = (self.fs.clone(), self.open[at].number, self.open[at].id);
        self.ask(Call::Sync(number), async move { fs.fsync(id).await }).await
    }

    async fn close(&mut self, open: usize) -> Result<(), FsError> {
        let Some(at) = self.nth(open) else { return Ok(()) };
        let (fs, number, id) = (self.fs.clone(), self.open[at].number, self.open[at].id);
        self.open.remove(at);
        let flushed = self.ask(Call::Sync(number), async move { fs.flush(id, |_| ready(false)).await }).await;
        self.release(number, id);
        flushed
    }

    /// Nobody waits for a release.
    fn release(&self, number: usize, id: HandleId) {
        let fs = self.fs.clone();
        let release = async move {
            fs.release(id).await;
            Ok(())
        };
        self.begin(Call::Release(number), release, |()| Answer::Done, nothing);
    }

    pub(super) async fn close_all(&mut self) {
        while self.has_open() {
            let _ = self.close(0).await;
        }
    }

    async fn resize(&mut self, ino: Ino, cells: usize, modifies: bool) -> Result<(), FsError> {
        let fs = self.fs.clone();
        let size = Some((cells * CELL_BYTES) as u64);
        let change = AttrChange { size, modifies, ..AttrChange::default() };
        self.ask_attr(Call::Resize(ino, cells), async move { fs.setattr(ino, change).await }).await
    }

    async fn rename(&mut self, from: &'static str, to: &'static str, no_replace: bool) -> Result<(), FsError> {
        let (fs, from, to) = (self.fs.clone(), self.place(from).await?, self.place(to).await?);
        let rename = async move { fs.rename((from.0, &name(from)), (to.0, &name(to)), no_replace).await };
        self.ask(Call::Rename { from, to, no_replace }, rename).await
    }

    pub(super) async fn list(&mut self, ino: Ino) -> Result<Vec<String>, FsError> {
        let fs = self.fs.clone();
        let list = async move {
            let handle = fs.opendir(ino).await?;
            let entries = fs.readdir(handle, 0, usize::MAX).await;
            fs.releasedir(handle);
            let entries = entries?.into_iter().filter(|entry| !entry.name.is_dot());
            Ok(entries.map(|entry| (entry.name.to_string(), entry.kind)).collect::<Vec<_>>())
        };
        let answer = |names: &Vec<_>| Answer::Names(names.iter().cloned().collect());
        let names = self.wait(Call::List(ino), list, answer, nothing).await?;
        Ok(names.into_iter().map(|(name, _)| name).collect())
    }

    async fn ask<F>(&mut self, call: Call, work: F) -> Result<(), FsError>
    where
        F: Future<Output = Result<(), FsError>> + Send + 'static,
    {
        self.wait(call, work, |()| Answer::Done, nothing).await
    }

    async fn ask_attr<F>(&mut self, call: Call, work: F) -> Result<(), FsError>
    where
        F: Future<Output = Result<Attr, FsError>> + Send + 'static,
    {
        self.wait(call, work, |attr| Answer::Is(shown(attr)), nothing).await.map(drop)
    }

    /// The same for a call that tells of an inode, which the kernel does not know of if its caller has gone.
    async fn ask_entry<F>(&mut self, call: Call, work: F) -> Result<Attr, FsError>
    where
        F: Future<Output = Result<Attr, FsError>> + Send + 'static,
    {
        let fs = self.fs.clone();
        let undo = move |attr: Attr| {
            fs.forget(attr.ino, 1);
            ready(()).boxed()
        };
        let attr = self.wait(call, work, |attr| Answer::Is(shown(attr)), undo).await?;
        self.shared.know(&attr);
        Ok(attr)
    }

    /// Begins a call when it may, and waits for it or until it is told to end.
    async fn wait<T: Send + 'static>(
        &mut self,
        call: Call,
        work: impl Future<Output = Result<T, FsError>> + Send + 'static,
        answer: impl FnOnce(&T) -> Answer + Send + 'static,
        undo: impl FnOnce(T) -> BoxFuture<'static, ()> + Send + 'static,
    ) -> Result<T, FsError> {
        self.go().await?;
        self.note_moment();
        let (event, told) = self.begin(call, work, answer, undo);
        self.control.is_waiting.store(true, Ordering::Relaxed);
        let result = tokio::select! {
            biased;
            result = told => result.unwrap(),
            () = self.control.ending.notified() => {
                self.shared.history.interrupt(event);
                Err(FsError::Interrupted)
            }
        };
        self.control.is_waiting.store(false, Ordering::Relaxed);
        self.note_moment();
        result
    }

    /// Who looks again and takes longer for a step, or between two, than names are kept is not sure of them any more.
    fn note_moment(&mut self) {
        let still = self.looks_again_since.filter(|since| since.elapsed() < KEPT_FOR);
        self.looks_again_since = still.map(|_| Instant::now());
    }

    async fn go(&self) -> Result<(), FsError> {
        if self.control.is_ending.load(Ordering::Relaxed) {
            return Err(FsError::Interrupted);
        }
        self.control.is_ready.store(true, Ordering::Relaxed);
        self.control.may_go.notified().await;
        Ok(())
    }

    /// Begins a call as a task, which undoes what it has done if nobody waits for it in the end.
    fn begin<T: Send + 'static>(
        &self,
        call: Call,
        work: impl Future<Output = Result<T, FsError>> + Send + 'static,
        answer: impl FnOnce(&T) -> Answer + Send + 'static,
        undo: impl FnOnce(T) -> BoxFuture<'static, ()> + Send + 'static,
    ) -> (usize, oneshot::Receiver<Result<T, FsError>>) {
        let is_second = self.looks_again_since.is_some();
        let event = self.shared.history.begin(self.tid, call, is_second);
        let (tell, told) = oneshot::channel();
        let (fs, shared, tid) = (self.fs.clone(), self.shared.clone(), self.tid);
        tokio::spawn(async move {
            let result = fs.called_by(tid, work).await;
            let answer = result.as_ref().map_or_else(|error| Answer::Failed(error.clone()), answer);
            shared.history.end(event, answer);
            if let Err(Ok(unwanted)) = tell.send(result) {
                undo(unwanted).await;
            }
        });
        (event, told)
    }
}

fn nothing<T>(_: T) -> BoxFuture<'static, ()> {
    ready(()).boxed()
}

fn name(place: Place) -> FileName {
    FileName::new(place.1).unwrap()
}

fn shown(attr: &Attr) -> Shown {
    Shown { ino: attr.ino, kind: attr.kind, bytes: attr.size, permissions: attr.permissions }
}

/// What was written to each cell, or that it is of several writes, or a part of one.
fn cells(bytes: &[u8]) -> Cells {
    let cell = |bytes: &[u8]| {
        let is_whole = bytes.len() == CELL_BYTES && bytes.iter().all(|byte| *byte == bytes[0]);
        if is_whole { bytes[0] } else { TORN }
    };
    bytes.chunks(CELL_BYTES).map(cell).collect()
}
