//! What a local file system would do: files as plain bytes, which live on without a name as long as a handle is open.
//!
//! Every method answers as the system call does, its error included, and changes the files accordingly. Which checks the
//! kernel makes first is as Linux has it.

use std::collections::BTreeSet;

use rustix::io::Errno;

use super::steps::{Access, Allocation, Flags, HANDLES, NAMES};

type Outcome<T> = Result<T, Errno>;

#[derive(Default)]
pub(super) struct Reference {
    files: Vec<File>,
    names: [Option<usize>; NAMES.len()],
    handles: [Option<Handle>; HANDLES],
}

#[derive(Default)]
struct File {
    bytes: Vec<u8>,
    /// The open handles whose changes no close and no fsync has vouched for yet.
    unpublished: BTreeSet<usize>,
}

#[derive(Clone, Copy)]
struct Handle {
    file: usize,
    flags: Flags,
}

impl Reference {
    pub(super) fn is_open(&self, handle: usize) -> bool {
        self.handles[handle].is_some()
    }

    pub(super) fn appends(&self, handle: usize) -> bool {
        self.handle(handle).flags.append
    }

    /// The bytes that a handle has open.
    pub(super) fn bytes(&self, handle: usize) -> &[u8] {
        &self.files[self.handle(handle).file].bytes
    }

    /// Every file that has a name.
    pub(super) fn named(&self) -> Vec<(&'static str, &[u8])> {
        let files = NAMES.iter().zip(&self.names);
        files.filter_map(|(name, file)| Some((*name, self.files[(*file)?].bytes.as_slice()))).collect()
    }

    /// The name and bytes of what a handle has open, if it still has a name.
    pub(super) fn named_file(&self, handle: usize) -> Option<(&'static str, &[u8])> {
        let file = self.handle(handle).file;
        let name = self.names.iter().position(|named| *named == Some(file))?;
        Some((NAMES[name], &self.files[file].bytes))
    }

    /// Whether a close of this handle vouches for the whole file as it is now.
    pub(super) fn has_unpublished(&self, handle: usize) -> bool {
        self.files[self.handle(handle).file].unpublished.contains(&handle)
    }

    /// Says that the file is published as it is now.
    pub(super) fn publish(&mut self, handle: usize) {
        let file = self.handle(handle).file;
        self.files[file].unpublished.clear();
    }

    pub(super) fn open(&mut self, handle: usize, name: usize, flags: Flags) -> Outcome<()> {
        assert!(!self.is_open(handle), "the driver closes what was open");
        let file = match self.names[name] {
            Some(_) if flags.create && flags.exclusive => return Err(Errno::EXIST),
            Some(file) => file,
            None if flags.create => self.new_file(name),
            None => return Err(Errno::NOENT),
        };
        // Linux empties the file even if it is opened for reading only.
        if flags.truncate {
            // Whether a close of others vouches for that is left open: they have not done it.
            self.files[file] = File::default();
        }
        self.handles[handle] = Some(Handle { file, flags });
        Ok(())
    }

    pub(super) fn put(&mut self, name: usize, bytes: Vec<u8>) {
        let file = self.names[name].unwrap_or_else(|| self.new_file(name));
        self.files[file] = File { bytes, unpublished: BTreeSet::new() };
    }

    pub(super) fn close(&mut self, handle: usize) {
        let file = self.handle(handle).file;
        self.files[file].unpublished.remove(&handle);
        self.handles[handle] = None;
    }

    pub(super) fn read(&self, handle: usize, offset: usize, len: usize) -> Outcome<&[u8]> {
        self.check_reads(handle)?;
        let bytes = self.bytes(handle);
        Ok(&bytes[offset.min(bytes.len())..(offset + len).min(bytes.len())])
    }

    pub(super) fn write(&mut self, handle: usize, offset: usize, data: &[u8]) -> Outcome<()> {
        self.check_writes(handle)?;
        if !data.is_empty() {
            let offset = if self.appends(handle) { self.bytes(handle).len() } else { offset };
            overwrite(self.change(handle), offset, data);
        }
        Ok(())
    }

    pub(super) fn truncate(&mut self, handle: usize, size: usize) -> Outcome<()> {
        self.check_writes(handle).map_err(|_| Errno::INVAL)?;
        if size != self.bytes(handle).len() {
            self.change(handle).resize(size, 0);
        }
        Ok(())
    }

    pub(super) fn truncate_by_name(&mut self, name: usize, size: usize) -> Outcome<()> {
        let file = self.names[name].ok_or(Errno::NOENT)?;
        self.files[file].bytes.resize(size, 0);
        Ok(())
    }

    pub(super) fn allocate(&mut self, handle: usize, mode: Allocation, offset: usize, len: usize) -> Outcome<()> {
        use Allocation::*;
        if len == 0 {
            return Err(Errno::INVAL);
        }
        self.check_writes(handle)?;
        let size = self.bytes(handle).len();
        let changes = match mode {
            Extend => offset + len > size,
            KeepSize => false,
            ZeroRange => true,
            PunchHole | ZeroRangeKeepSize => offset < size,
        };
        if !changes {
            return Ok(());
        }
        let bytes = self.change(handle);
        if matches!(mode, Extend | ZeroRange) {
            bytes.resize(bytes.len().max(offset + len), 0);
        }
        if matches!(mode, PunchHole | ZeroRange | ZeroRangeKeepSize) {
            let size = bytes.len();
            bytes[offset.min(size)..(offset + len).min(size)].fill(0);
        }
        Ok(())
    }

    /// Returns how much there is to copy, all of which is copied.
    pub(super) fn copy(&mut self, from: usize, to: usize, source: usize, target: usize, len: usize) -> Outcome<usize> {
        self.check_reads(from)?;
        self.check_writes(to)?;
        if self.appends(to) {
            return Err(Errno::BADF);
        }
        let data = self.read(from, source, len)?.to_vec();
        let is_same_file = self.handle(from).file == self.handle(to).file;
        if is_same_file && target + data.len() > source && target < source + data.len() {
            return Err(Errno::INVAL);
        }
        if !data.is_empty() {
            overwrite(self.change(to), target, &data);
        }
        Ok(data.len())
    }

    pub(super) fn rename(&mut self, from: usize, to: usize) -> Outcome<()> {
        let file = self.names[from].ok_or(Errno::NOENT)?;
        self.names[from] = None;
        self.names[to] = Some(file);
        Ok(())
    }

    pub(super) fn unlink(&mut self, name: usize) -> Outcome<()> {
        self.names[name].take().map(drop).ok_or(Errno::NOENT)
    }

    pub(super) fn size(&self, name: usize) -> Outcome<usize> {
        self.names[name].map(|file| self.files[file].bytes.len()).ok_or(Errno::NOENT)
    }

    fn handle(&self, handle: usize) -> Handle {
        self.handles[handle].expect("the driver calls for open handles only")
    }

    fn new_file(&mut self, name: usize) -> usize {
        self.files.push(File::default());
        self.names[name] = Some(self.files.len() - 1);
        self.files.len() - 1
    }

    /// The bytes, about to be changed through this handle.
    fn change(&mut self, handle: usize) -> &mut Vec<u8> {
        let file = self.handle(handle).file;
        self.files[file].unpublished.insert(handle);
        &mut self.files[file].bytes
    }

    fn check_reads(&self, handle: usize) -> Outcome<()> {
        if self.handle(handle).flags.access == Access::Write { Err(Errno::BADF) } else { Ok(()) }
    }

    fn check_writes(&self, handle: usize) -> Outcome<()> {
        if self.handle(handle).flags.access == Access::Read { Err(Errno::BADF) } else { Ok(()) }
    }
}

fn overwrite(bytes: &mut Vec<u8>, offset: usize, data: &[u8]) {
    bytes.resize(bytes.len().max(offset + data.len()), 0);
    bytes[offset..offset + data.len()].copy_from_slice(data);
}
