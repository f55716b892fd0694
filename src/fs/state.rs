//! What a mount holds right now, for people who ask.

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
    /// Inodes that the kernel or a handle refers to, which keep their names, too.
    pub inodes: usize,
    /// They take so many bytes beside their names.
    pub inodes_bytes: usize,
    /// The bytes of memory that are in use.
    pub memory_bytes: usize,
    /// How many there may be.
    pub memory_bytes_max: usize,
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
