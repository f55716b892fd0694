//! How files are uploaded, as whoever mounts decides.

use crate::object::limits::{GIB, MIB};

/// What happens to a file whose object somebody else has changed since it was opened, where what was written is all of
/// the file. Where a part of the old object is needed it is always an error: nothing is ever mixed.
///
/// Where the service holds to what a write may replace, it is told, and nothing comes in between. Where it does not, as COS, only
/// `Overwrite` is free of cost: the others ask for the object's version before they replace it, and between the question and
/// the answer to the publishing somebody else may still come in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum OnConflict {
    /// The last writer wins, as on a local disk.
    #[default]
    Overwrite,
    /// The file is not published, and who closes it is told.
    Fail,
    /// The file is published as `NAME.conflict-HOST-TIME` beside the other's.
    KeepBoth {
        /// The name of this machine.
        host: String,
    },
}

/// How files are uploaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadOptions {
    /// The size of the first parts, in bytes, 1 MiB to 5 GiB. Held to an eighth of the memory.
    pub part_bytes: u64,
    /// Parts of one file that are on their way at once, 1 to 256.
    pub concurrency: usize,
    /// What happens when somebody else has changed the object.
    pub on_conflict: OnConflict,
}

impl UploadOptions {
    /// The smallest part that can be asked for, in bytes.
    pub const PART_BYTES_MIN: u64 = MIB;
    /// The largest part that can be asked for, in bytes.
    pub const PART_BYTES_MAX: u64 = 5 * GIB;
}

impl Default for UploadOptions {
    fn default() -> UploadOptions {
        // 8 MiB: the first part leaves early, and a request's overhead is far below a hundredth of its bytes' cost.
        UploadOptions { part_bytes: 8 * MIB, concurrency: 8, on_conflict: OnConflict::Overwrite }
    }
}
