//! Which call has which names and inodes to itself, and what the kernel is told when it looks for one.

pub(super) mod calls;
pub(super) mod cleanups;
pub(super) mod leases;
mod trash;

pub(super) use calls::Traffic;

use cleanups::Cleanups;
use leases::{LEASE, Leases};
