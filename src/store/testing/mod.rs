//! Stores for tests, behind the feature `testing`: a bucket in memory, and a store that fails on cue.
//!
//! Nothing of it is in what is released. The tests of this package ask for the feature by themselves.

mod fault;
mod fault_store;
mod memory_bucket;
mod memory_store;

pub use fault::{Fault, Gate};
pub use fault_store::FaultStore;
pub use memory_store::{LoggedRequest, MemoryStore};
