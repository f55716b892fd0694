//! How commands talk to the process of a mount: a Unix socket in a directory of the user's own, and lines of JSON on it
//! (`docs/CONTROL.md`).

mod client;
mod listener;
mod places;
mod protocol;

pub(super) use client::{Conversation, daemon_of, daemons};
pub(super) use listener::{Asker, ControlListener};
pub(super) use places::{
    Places, directories, log_path, own_directory, prepare, remove_old_logs, remove_what_is_left, shared_path,
};
pub(super) use protocol::{Answer, Ask, TraceFilter};
