//! Changes of names and attributes: making, removing, renaming, and what `chmod` and its like do.

pub(super) mod attributes;
pub(super) mod changes;
pub(super) mod hard_links;
pub(super) mod making;
pub(super) mod moving_directories;
pub(super) mod privileges;
pub(super) mod removing;
pub(super) mod renaming;
pub(super) mod special_files;
pub(super) mod status_xattrs;
pub(super) mod xattrs;

pub use attributes::Attributes;
pub use privileges::Asker;
pub use special_files::Special;
pub use xattrs::XattrMode;

pub(super) use changes::Changes;
pub(super) use moving_directories::objects_below;

use renaming::RenamePath;
