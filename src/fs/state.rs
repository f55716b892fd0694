//! What a mount holds right now, for people who ask.

use super::FileSystem;
use super::handles::Handle;
use super::tree::Ino;

/// What a mount holds right now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FsState {
    /// Paths of files that programs have open, and how many of the handles write.
    pub open: Vec<OpenFileState>,
    /// Open directories.
    pub directories: usize,
    /// Keys of what is not in the bucket yet, and the bytes of each that are in memory.
    pub unpublished: Vec<(String, u64)>,
    /// What is known of names and attributes takes so many bytes.
    pub metadata_bytes: usize,
}

/// A file that programs have open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenFileState {
    /// Its path; one that was removed has none.
    pub path: Option<String>,
    /// Handles.
    pub handles: usize,
    /// Those of them that may write.
    pub writers: usize,
}

impl FileSystem {
    /// Looks at everything that is open. Takes time in proportion to it.
    pub fn state(&self) -> FsState {
        let mut files: std::collections::BTreeMap<u64, (usize, usize)> = std::collections::BTreeMap::new();
        let mut directories = 0;
        for handle in self.handles.all() {
            match handle {
                Handle::File(file) => {
                    let (handles, writers) = files.entry(file.ino.0).or_default();
                    *handles += 1;
                    *writers += usize::from(file.writing.is_some());
                }
                Handle::Directory(_) => directories += 1,
            }
        }
        let open = files
            .into_iter()
            .map(|(ino, (handles, writers))| OpenFileState { path: self.path(Ino(ino)), handles, writers })
            .collect();
        let (unpublished, metadata_bytes) = (self.unpublished_bytes(), self.tree().cost_bytes());
        FsState { open, directories, unpublished, metadata_bytes }
    }

    /// The bytes of memory that are in use, and how many there may be.
    pub fn memory_bytes(&self) -> (usize, usize) {
        (self.memory.used_bytes(), self.memory.limit_bytes())
    }

    /// The keys of what is not in the bucket yet, and the bytes of each that are in memory.
    pub fn unpublished_bytes(&self) -> Vec<(String, u64)> {
        let tree = self.tree();
        let directories = tree.unsaved_directories().into_iter().filter_map(|ino| tree.directory_path(ino));
        let directories: Vec<_> = directories.map(|path| (path, 0)).collect();
        let writings = tree.writings();
        drop(tree);
        let dirty = writings.into_iter().filter(|(_, writing)| writing.file.is_dirty());
        dirty
            .map(|(_, writing)| (writing.file.key().to_string(), writing.file.held_bytes()))
            .chain(directories)
            .collect()
    }
}
