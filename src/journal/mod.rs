//! What a mount has begun in the bucket and not ended, written down on this machine, so that nothing of it stays for ever
//! when the mount dies.
//!
//! Each mount appends to a file of its own in the state directory, which it holds locked for as long as it lives. The next
//! mount of the bucket takes over what dead ones have left at its keys: it writes it into its own journal and ends it there.
//! What is written down survives the death of the process at once, and that of the machine as soon as the disk has it.
//! A disk that fails is told once, and never to a program: the mount goes on without a journal.

mod file;
mod log;
mod record;
mod unfinished;

pub use log::{Entry, Inherited, Journal, known_uploads};
pub(crate) use log::{HIDDEN_DIRECTORY, hidden_prefix};
pub use record::Owner;
pub use unfinished::{Asked, BegunUpload, SentPart, Unfinished, UnfinishedRename, UnfinishedUpload};

/// Reads `bytes` as a journal, and says what they have that is not ended. For fuzzing.
#[cfg(any(test, feature = "testing"))]
pub fn replay(bytes: &[u8]) -> Vec<Unfinished> {
    unfinished::Replay::of(record::lines(bytes).records).unfinished.into_values().collect()
}
