//! Names of directory entries, valid by construction.

use std::borrow::Borrow;
use std::ffi::OsStr;
use std::fmt;
use std::sync::Arc;

use crate::fs::context::FsError;

/// The longest name in bytes, as on other file systems of Linux.
pub(crate) const NAME_BYTES_MAX: usize = 255;

/// One name in a directory.
///
/// INVARIANT: 1 to 255 bytes of UTF-8, neither `.` nor `..`, without `/`, NUL and the bytes 0x18 to 0x1B
/// that no key may hold.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileName(Arc<str>);

impl FileName {
    /// Takes a text as a name; `None` if it cannot be one.
    pub fn new(text: &str) -> Option<FileName> {
        let forbidden = |byte: u8| byte == b'/' || byte == 0 || (0x18..=0x1B).contains(&byte);
        let legal = !text.is_empty()
            && text.len() <= NAME_BYTES_MAX
            && text != "."
            && text != ".."
            && !text.bytes().any(forbidden);
        legal.then(|| FileName(Arc::from(text)))
    }

    /// Takes what the kernel hands over as a name for something new or looked for.
    pub fn from_os(name: &OsStr) -> Result<FileName, FsError> {
        if name.len() > NAME_BYTES_MAX {
            return Err(FsError::NameTooLong);
        }
        name.to_str().and_then(FileName::new).ok_or(FsError::NameInvalid)
    }

    /// A name that a listing shows, `.` and `..` among them.
    pub(crate) fn dot_or(text: String) -> FileName {
        FileName(Arc::from(text))
    }

    /// Whether it is `.` or `..`, which only listings show.
    pub fn is_dot(&self) -> bool {
        matches!(&*self.0, "." | "..")
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for FileName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn names_are_what_a_directory_and_a_key_can_hold() {
        for text in ["a", ".hidden", "...", "a b+c%", "腾讯云😀", &"n".repeat(255)] {
            assert!(FileName::new(text).is_some(), "{text:?}");
        }
        for text in ["", ".", "..", "a/b", "a\0b", "a\u{19}", &"n".repeat(256)] {
            assert!(FileName::new(text).is_none(), "{text:?}");
        }
        assert_eq!(FileName::from_os(OsStr::new(&"n".repeat(256))), Err(FsError::NameTooLong));
        assert_eq!(FileName::from_os(OsStr::from_bytes(b"\xff")), Err(FsError::NameInvalid));
    }
}
