//! The kernel's side: requests in, calls of [`crate::fs::FileSystem`], replies out. Decides nothing.

mod adapter;
mod call;
mod caller;
mod errno;
mod session;

pub use call::FAILED_CALLS;
pub use session::{FuseOptions, MountError, Mounted, mount};
