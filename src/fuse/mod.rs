//! The kernel's side: requests in, calls of [`crate::fs::FileSystem`], replies out. Decides nothing.

mod adapter;
mod call;
mod caller;
mod errno;
mod features;
mod session;

pub use call::FAILED_CALLS;
pub use features::{Trial, try_mount};
pub use session::{FuseOptions, GivenDevice, MountError, Mounted, Place, mount};
