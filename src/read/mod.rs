//! Reading published objects: ahead of a reader who goes in order, exactly what was asked for otherwise.
//!
//! A [`Reader`] reads one version of one object and is pinned to it: a version that changes under it is an error,
//! never a mixture. Blocks come from the mount's memory budget and make way whenever somebody needs it more.

mod blocks;
mod checksums;
mod completing;
mod copies;
mod grain;
mod layout;
mod map;
mod object;
mod reader;
mod readers;
mod verifier;
mod window;

pub use copies::Copies;
pub use object::Object;
pub use reader::{ReadBytes, Reader};
pub use readers::{ReadOptions, Readers};

/// The block of a reader in order: the largest request of the kernel, so that most answers are one slice of a block. Where
/// they begin is in `layout`.
const LARGE_BYTES: usize = 1 << 20;

/// The largest request of a reader in order, in bytes: a request's overhead is then far below a hundredth, and a window
/// is still several requests side by side.
const FETCH_BYTES_MAX: u64 = 8 << 20;
