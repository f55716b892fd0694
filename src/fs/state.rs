//! What a mount holds right now, for people who ask.

use std::collections::BTreeMap;
use std::time::SystemTime;

use super::file_system::FileSystem;
use super::names::{INODE_BYTES, Ino, is_at_or_below};
use super::open::{Writing, inode::writings};
use crate::cache::CacheCounts;
use crate::upload::{Progress, Stage};

/// What a mount holds right now.
#[derive(Clone, Debug, Default)]
pub struct FsState {
    /// Files that programs have open, or that wait to be published.
    pub files: Vec<FileState>,
    /// Open directories.
    pub directories: usize,
    /// Directories with attributes that are not in the bucket.
    pub unsaved_directories: Vec<String>,
    /// Memory.
    pub memory: MemoryState,
    /// Blocks that readers found in memory, or on their way there.
    pub read_hits: u64,
    /// Blocks that readers had to ask the service for.
    pub read_misses: u64,
    /// What the cache on disk has been good for, if there is one.
    pub disk_cache: Option<CacheCounts>,
}

/// Who holds the memory of a mount, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryState {
    /// What all buffers together may take.
    pub limit: usize,
    /// Buffers in use.
    pub used: usize,
    /// Of those, what of files is not in the bucket, or is kept for those who write.
    pub writers: usize,
    /// Buffers that nobody uses.
    pub idle: usize,
    /// What is known of names and attributes, which has a limit of its own.
    pub names: usize,
    /// That limit.
    pub names_limit: usize,
    /// Inodes that the kernel or a handle refers to, which keep their names, too.
    pub inodes: usize,
    /// They take so many bytes beside their names.
    pub inodes_bytes: usize,
    /// Writers and readers that wait for a buffer.
    pub waiting: usize,
}

/// A file that programs have open, or that waits to be published.
#[derive(Clone, Debug)]
pub struct FileState {
    /// Its path; one that was removed has none.
    pub path: Option<String>,
    /// Handles.
    pub handles: usize,
    /// Those of them that may write.
    pub writers: usize,
    /// Since when it is closed and waits to be published, if it does.
    pub waiting_since: Option<SystemTime>,
    /// Nothing was written to it since it was made or emptied.
    pub is_untouched: bool,
    /// What was written to it, if somebody has it open for writing or it waits.
    pub progress: Option<Progress>,
}

impl FileState {
    /// Whether something of it is not in the bucket that should be.
    pub fn is_unpublished(&self) -> bool {
        let stage = self.progress.as_ref().map(|progress| progress.stage);
        matches!(stage, Some(Stage::Dirty | Stage::Publishing))
    }
}

impl FsState {
    /// The keys of files that programs have open for writing, and have written to.
    pub fn being_written(&self) -> Vec<String> {
        let is_written = |file: &&FileState| file.writers > 0 && !file.is_untouched;
        let written = self.files.iter().filter(is_written).filter_map(|file| file.progress.as_ref());
        written.map(|progress| progress.key.to_string()).collect()
    }

    /// How many files at and below a path are not in the bucket, and how many bytes of them have not landed.
    pub fn left_below(&self, path: &str) -> (u64, u64) {
        let is_wanted = |file: &&FileState| file.path.as_deref().is_none_or(|found| is_at_or_below(found, path));
        let left = self.files.iter().filter(|file| file.is_unpublished()).filter(is_wanted);
        left.filter_map(|file| file.progress.as_ref()).fold((0, 0), |(files, bytes), progress| {
            let landed = progress.upload.as_ref().map_or(0, |upload| upload.landed_bytes);
            (files + 1, bytes + progress.size.saturating_sub(landed))
        })
    }

    /// The keys of what is not in the bucket.
    pub fn unpublished_keys(&self) -> Vec<String> {
        self.unpublished().into_iter().map(|(key, _)| key).collect()
    }

    /// The keys of what is not in the bucket, and the bytes of each that are in memory.
    pub fn unpublished(&self) -> Vec<(String, u64)> {
        let files = self.files.iter().filter(|file| file.is_unpublished()).filter_map(|file| file.progress.as_ref());
        let files = files.map(|progress| (progress.key.to_string(), progress.held_bytes));
        files.chain(self.unsaved_directories.iter().map(|path| (path.clone(), 0))).collect()
    }
}

impl FileSystem {
    /// What the mount holds right now.
    pub fn state(&self) -> FsState {
        let mut handles: BTreeMap<u64, (usize, usize)> = BTreeMap::new();
        for handle in self.publisher.handles.all() {
            let (handles, writers) = handles.entry(handle.ino.0).or_default();
            *handles += 1;
            *writers += usize::from(handle.writing.is_some());
        }
        let (written, unsaved_directories) = {
            let tree = self.names.tree();
            let unsaved = tree.unsaved_directories().into_iter().filter_map(|ino| tree.directory_path(ino));
            (writings(&tree), unsaved.collect())
        };
        let mut files: BTreeMap<u64, FileState> = BTreeMap::new();
        for (ino, (handles, writers)) in handles {
            let path = self.path(Ino(ino));
            files.insert(
                ino,
                FileState { path, handles, writers, waiting_since: None, is_untouched: true, progress: None },
            );
        }
        for (ino, writing) in written {
            let file = files.entry(ino.0).or_insert_with(|| FileState {
                path: self.path(ino),
                handles: 0,
                writers: 0,
                waiting_since: None,
                is_untouched: true,
                progress: None,
            });
            (file.waiting_since, file.is_untouched) = (writing.held_since(), writing.is_untouched());
            file.progress = Some(writing.file.progress());
        }
        let files: Vec<FileState> = files.into_values().collect();
        let (read_hits, read_misses) = self.context.readers.hits_and_misses();
        let memory = self.memory_state(&files);
        let directories = self.directories.handles.all().len();
        let disk_cache = self.context.readers.copies().map(|copies| copies.cache.counts());
        FsState { files, directories, unsaved_directories, memory, read_hits, read_misses, disk_cache }
    }

    fn memory_state(&self, files: &[FileState]) -> MemoryState {
        let memory = &self.context.memory;
        let (names, inodes) = self.names.held();
        let written = files.iter().filter_map(|file| file.progress.as_ref());
        MemoryState {
            limit: memory.limit_bytes(),
            used: memory.used_bytes(),
            writers: written.map(|progress| progress.held_bytes as usize).sum(),
            idle: memory.idle_bytes(),
            names,
            names_limit: self.context.options.metadata_bytes,
            inodes,
            inodes_bytes: inodes * INODE_BYTES,
            waiting: memory.waiting(),
        }
    }
}

impl Writing {
    /// Since when it is closed and waits, if it does.
    fn held_since(&self) -> Option<SystemTime> {
        let progress = self.progress();
        progress.held.and(progress.held_since)
    }
}
