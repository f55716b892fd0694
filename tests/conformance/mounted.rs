//! A file system over a bucket that is reached over HTTP, and what programs do with it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use cosmount::clock::Clock;
use cosmount::fs::{
    FileName, FileSystem, FileSystemParts, FsError, FsOptions, HandleId, Inheritance, Ino, OpenMode, Owner, ROOT,
    WriteOutcome,
};
use cosmount::memory::Memory;
use cosmount::read::ReadOptions;
use cosmount::store::ObjectStore;
use cosmount::upload::{OnConflict, UploadOptions};

const MIB: usize = 1 << 20;

const ME: Owner = Owner { uid: 1000, gid: 1000 };

pub(crate) const READ: OpenMode =
    OpenMode { writes: false, truncates: false, appends: false, reads: true, exclusive: false, opener: 0 };
pub(crate) const WRITE: OpenMode = OpenMode { writes: true, reads: false, ..READ };
pub(crate) const APPEND: OpenMode = OpenMode { appends: true, ..WRITE };
pub(crate) const REPLACE: OpenMode = OpenMode { truncates: true, ..WRITE };

/// A mount without a kernel.
#[derive(Clone)]
pub(crate) struct Mounted {
    pub(crate) fs: Arc<FileSystem>,
}

/// An open file.
pub(crate) struct Open {
    pub(crate) fs: Arc<FileSystem>,
    pub(crate) handle: HandleId,
}

impl Mounted {
    /// Parts of 1 MiB, so that small files are large.
    pub(crate) fn over(store: Arc<dyn ObjectStore>) -> Mounted {
        let upload = UploadOptions { part_bytes: MIB as u64, concurrency: 4, on_conflict: OnConflict::Overwrite };
        let fs = FileSystem::new(FileSystemParts {
            store,
            options: FsOptions::default(),
            upload,
            read: ReadOptions::default(),
            memory: Memory::new(64 * MIB),
            clock: Clock::System,
            stats: Arc::default(),
            runtime: tokio::runtime::Handle::current(),
            others: None,
            inheritance: Inheritance::none(),
            copies: None,
        });
        Mounted { fs }
    }

    /// The directory that a path of names is in, and its last name.
    async fn place(&self, path: &str) -> Result<(Ino, FileName), FsError> {
        let path = Path::new(path);
        let mut parent = ROOT;
        for component in path.parent().into_iter().flat_map(Path::components) {
            parent = self.fs.lookup(parent, &FileName::from_os(component.as_os_str())?).await?.ino;
        }
        Ok((parent, FileName::from_os(path.file_name().unwrap())?))
    }

    pub(crate) async fn stat(&self, path: &str) -> Result<cosmount::fs::Attr, FsError> {
        let (parent, name) = self.place(path).await?;
        self.fs.lookup(parent, &name).await
    }

    pub(crate) async fn create(&self, path: &str) -> Result<Open, FsError> {
        let (parent, name) = self.place(path).await?;
        let (_, opened) = self.fs.create(parent, &name, 0o644, ME, WRITE).await?;
        Ok(Open { fs: self.fs.clone(), handle: opened.handle })
    }

    pub(crate) async fn open(&self, path: &str, mode: OpenMode) -> Result<Open, FsError> {
        let ino = self.stat(path).await?.ino;
        let opened = self.fs.open(ino, mode).await?;
        Ok(Open { fs: self.fs.clone(), handle: opened.handle })
    }

    pub(crate) async fn read(&self, path: &str) -> Result<Vec<u8>, FsError> {
        let file = self.open(path, READ).await?;
        let bytes = file.read_all().await;
        file.close().await?;
        bytes
    }

    /// Changes a file as a program does that opens it in that mode.
    pub(crate) async fn change(&self, path: &str, mode: OpenMode, offset: usize, data: &[u8]) -> Result<(), FsError> {
        let file = self.open(path, mode).await?;
        let written = file.write(offset, data).await;
        let closed = file.close().await;
        written.and(closed)
    }

    pub(crate) async fn make(&self, path: &str, data: &[u8]) -> Result<(), FsError> {
        let file = self.create(path).await?;
        let written = file.write(0, data).await;
        let closed = file.close().await;
        written.and(closed)
    }

    pub(crate) async fn copy(&self, from: &str, to: &str) -> Result<(), FsError> {
        let from = self.open(from, READ).await?;
        let to = self.create(to).await?;
        let mut copied = 0;
        let result = loop {
            match self.fs.copy_range((from.handle, copied), (to.handle, copied), u64::MAX / 2).await {
                Ok(0) => break Ok(()),
                Ok(bytes) => copied += bytes,
                Err(error) => break Err(error),
            }
        };
        let closed = to.close().await;
        from.close().await?;
        result.and(closed)
    }

    pub(crate) async fn rename(&self, from: &str, to: &str) -> Result<(), FsError> {
        let ((from, old), (to, new)) = (self.place(from).await?, self.place(to).await?);
        self.fs.rename((from, &old), (to, &new), false).await
    }

    pub(crate) async fn unlink(&self, path: &str) -> Result<(), FsError> {
        let (parent, name) = self.place(path).await?;
        self.fs.unlink(parent, &name).await
    }

    pub(crate) async fn mkdir(&self, path: &str) -> Result<(), FsError> {
        let (parent, name) = self.place(path).await?;
        self.fs.mkdir(parent, &name, 0o755, ME).await.map(drop)
    }

    /// Names of the top, with the sizes of files.
    pub(crate) async fn list(&self) -> Result<Vec<(String, u64)>, FsError> {
        let handle = self.fs.opendir(ROOT).await?;
        let mut names = Vec::new();
        loop {
            let more = self.fs.readdir(handle, names.len() as u64, usize::MAX).await?;
            if more.is_empty() {
                break;
            }
            names.extend(more.iter().map(|entry| entry.name.to_string()));
        }
        self.fs.releasedir(handle);
        let mut listed = Vec::new();
        for name in names.into_iter().filter(|name| name != "." && name != "..") {
            let size = self.stat(&name).await?.size;
            listed.push((name, size));
        }
        Ok(listed)
    }
}

impl Open {
    pub(crate) async fn write(&self, offset: usize, data: &[u8]) -> Result<(), FsError> {
        for (index, piece) in data.chunks(MIB).enumerate() {
            match self.fs.write(self.handle, (offset + index * MIB) as u64, piece)? {
                WriteOutcome::Done => {}
                WriteOutcome::Partly { offset, taken } => {
                    self.fs.write_rest(self.handle, offset, &piece[taken..], &AtomicUsize::new(0)).await?;
                }
            }
        }
        Ok(())
    }

    pub(crate) async fn read(&self, offset: usize, len: usize) -> Result<Vec<u8>, FsError> {
        self.fs.read(self.handle, offset as u64, len).await.map(|bytes| bytes.as_ref().to_vec())
    }

    pub(crate) async fn read_all(&self) -> Result<Vec<u8>, FsError> {
        let mut all = Vec::new();
        loop {
            let bytes = self.read(all.len(), MIB).await?;
            if bytes.is_empty() {
                return Ok(all);
            }
            all.extend_from_slice(&bytes);
        }
    }

    /// `close()` of the only descriptor, and the release that follows it.
    pub(crate) async fn close(self) -> Result<(), FsError> {
        let result = self.fs.flush(self.handle, |_| std::future::ready(false)).await;
        self.fs.release(self.handle).await;
        result
    }
}
