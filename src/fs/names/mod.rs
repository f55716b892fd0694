//! Names: what is known of them, what that costs, and what finds out about the rest.
//!
//! `tree` is what is known: inodes, for as long as the kernel or a handle refers to them (`inodes`), directories with their
//! entries (`directory`, `entry`), what the service said of them (`answers`), which of it goes first where it is too much
//! (`evict`), what `stat` shows (`stat`), and how somebody goes through a directory (`walk`, `survey`, `lookups`). It asks nobody.
//! `cache` holds it; `listing` finds a name by what is known or by a listing, `heads` metadata by HEADs, `flat` lists many
//! directories at once, and `reading_directories` is what an open directory shows.

pub(super) mod answers;
pub(super) mod asked;
pub(super) mod attributes;
pub(super) mod cache;
pub(super) mod claims;
pub(super) mod cost;
pub(super) mod covers;
pub(super) mod directory;
pub(super) mod entry;
pub(super) mod evict;
pub(super) mod flat;
pub(super) mod heads;
pub(super) mod ino;
pub(super) mod inodes;
pub(super) mod listed;
pub(super) mod listing;
pub(super) mod lookups;
pub(super) mod name;
pub(super) mod open_state;
pub(super) mod questions;
pub(super) mod reading_directories;
pub(super) mod refresh;
pub(super) mod stash;
pub(super) mod stat;
pub(super) mod survey;
pub(super) mod times;
pub(super) mod top;
pub(super) mod tree;
pub(super) mod unnameable;
pub(super) mod walk;

pub use ino::{Ino, ROOT};
pub use listed::DirEntry;
pub use name::FileName;

pub(super) use attributes::{
    Attr, AttrChange, Kind, LINK_PERMISSIONS, MODE_SET_GROUP, MODE_SET_USER, of_file, permissions_and_owner,
    privileges_of, shows_privileges, unmarked_attributes, with_device, without_privileges,
};
pub(super) use cache::Names;
pub(super) use claims::{Claim, Claimed};
pub(super) use cost::INODE_BYTES;
pub(super) use directory::Directory;
pub(super) use entry::{CopyOf, Entry, EntryKind, Marker, ObjectStat};
pub(super) use heads::METADATA_ATTEMPTS;
pub(super) use listed::DirEntryPlus;
pub(super) use open_state::{OpenState, Unpublished};
pub(super) use reading_directories::Directories;
pub(super) use tree::{Tree, forget_listings_to, is_at_or_below, path_of, renew};

use answers::Listing;
use asked::Asked;
use attributes::{LINK_BYTES_MAX, MODE_STICKY, device_of, new_attributes};
use claims::Claims;
use cost::{Cost, NAME_BYTES};
use covers::Covers;
use directory::is_fresh;
use entry::Known;
use evict::Budget;
use inodes::{Body, Inodes, Node};
use listed::{NamesPage, Start, Undecided, decide};
use listing::{entry_kind_of, list_request};
use questions::Questions;
use refresh::Refresh;
use stash::Stashed;
use survey::{Begun, Survey};
use times::{Shown, Times};
use unnameable::{Unnameable, nameable};
use walk::{AHEAD_MAX, Step, Visits};
