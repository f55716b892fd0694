//! That a file of the cache is right although nobody compares what is read of it.
//!
//! What was written to a file is what everybody reads of it until the machine or the disk's mount ends, whatever has reached the
//! disk by then. So a copy that was written, or compared with its checksums, since both began is right for as long as nobody
//! changes the file, which its status change time shows. Nothing has to be synced for that. Pure but for asking the kernel.

use std::fs::File;
use std::io;
use std::sync::OnceLock;

use rustix::fs::{AtFlags, StatxFlags, statx};

/// Asks for a number of the mount that no other one has had since the machine started: `STATX_MNT_ID_UNIQUE`, Linux 6.8.
const UNIQUE_MOUNT_ID: StatxFlags = StatxFlags::from_bits_retain(0x4000);

/// A time in which what was written to a file is what is read of it: since the machine started and the disk was mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Era {
    /// Which start of the machine.
    pub(super) boot: u128,
    /// Which mount.
    pub(super) mount: u64,
}

/// A file was right as it was then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Proof {
    pub(super) era: Era,
    /// When the file was changed last, in seconds and nanoseconds.
    pub(super) changed_at: (i64, u32),
}

impl Proof {
    /// What would prove that the file is right as it is now; `None` on a kernel that does not tell.
    pub(super) fn of(file: &File) -> io::Result<Option<Proof>> {
        let told = statx(file, c"", AtFlags::EMPTY_PATH, UNIQUE_MOUNT_ID | StatxFlags::CTIME)?;
        let is_told = StatxFlags::from_bits_retain(told.stx_mask).contains(UNIQUE_MOUNT_ID | StatxFlags::CTIME);
        let changed_at = (told.stx_ctime.tv_sec, told.stx_ctime.tv_nsec);
        let proof = |boot| Proof { era: Era { boot, mount: told.stx_mnt_id }, changed_at };
        Ok(boot().filter(|_| is_told).map(proof))
    }
}

/// Which start of the machine this is.
fn boot() -> Option<u128> {
    static BOOT: OnceLock<Option<u128>> = OnceLock::new();
    *BOOT.get_or_init(|| {
        let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        u128::from_str_radix(&text.trim().replace('-', ""), 16).ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    #[test]
    fn a_change_of_the_file_is_seen() {
        let home = tempfile::tempdir().unwrap();
        let file = File::create_new(home.path().join("a")).unwrap();
        let before = Proof::of(&file).unwrap();
        assert_eq!(Proof::of(&file).unwrap(), before);
        file.write_all_at(b"x", 0).unwrap();
        let after = Proof::of(&file).unwrap();
        assert!(before.is_none() || before != after, "{before:?}");
        assert_eq!(before.map(|proof| proof.era), after.map(|proof| proof.era));
    }
}
