//! Times that an inode has in memory alone, as long as anybody refers to it: when it was last read, and when anything of it
//! last changed. What the object tells is the time of the last change of its content.

use std::time::{Duration, SystemTime};

/// How old a time of reading may become before it is brought up to date although nothing has changed since, as the kernel's
/// `relatime` has it.
const READ_AGE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// What is known of an inode beside what its object tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Times {
    read_at: Option<SystemTime>,
    changed_at: Option<SystemTime>,
}

/// The three times that `stat` shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) atime: SystemTime,
    pub(crate) mtime: SystemTime,
    pub(crate) ctime: SystemTime,
}

impl Times {
    /// Attributes, the name or the entries change at `now`.
    pub(crate) fn note_change(&mut self, now: SystemTime) {
        self.changed_at = Some(now);
    }

    /// Somebody sets the time of the last reading.
    pub(crate) fn set_read(&mut self, at: SystemTime) {
        self.read_at = Some(at);
    }

    /// Somebody reads at `now` what was last changed at `mtime`.
    pub(crate) fn note_read(&mut self, mtime: SystemTime, now: SystemTime) {
        let Shown { atime, mtime, ctime } = self.shown(mtime, now);
        let is_old = now.duration_since(atime).is_ok_and(|age| age >= READ_AGE_MAX);
        if atime <= mtime || atime <= ctime || is_old {
            self.read_at = Some(now);
        }
    }

    /// What `stat` shows at `now` of what was last changed at `mtime`.
    pub(crate) fn shown(&self, mtime: SystemTime, now: SystemTime) -> Shown {
        let ctime = match self.changed_at {
            // Whoever set a time in the future changed the inode when that was.
            Some(changed_at) if mtime > now => changed_at,
            Some(changed_at) => changed_at.max(mtime),
            None => mtime,
        };
        Shown { atime: self.read_at.unwrap_or(mtime), mtime, ctime }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn without_anything_else_there_is_one_time() {
        let shown = Times::default().shown(at(5), at(9));
        assert_eq!(shown, Shown { atime: at(5), mtime: at(5), ctime: at(5) });
    }

    #[test]
    fn a_change_is_as_late_as_the_later_of_content_and_the_rest() {
        let mut times = Times::default();
        times.note_change(at(7));
        assert_eq!(times.shown(at(5), at(9)).ctime, at(7));
        assert_eq!(times.shown(at(8), at(9)).ctime, at(8));
        assert_eq!(times.shown(at(1000), at(9)).ctime, at(7), "a time in the future was set at 7");
    }

    /// As the kernel's `relatime`.
    #[test]
    fn a_reading_is_noted_once_after_each_change_and_once_a_day() {
        let day = READ_AGE_MAX.as_secs();
        let mut times = Times::default();
        let mut read = |mtime, now| {
            times.note_read(at(mtime), at(now));
            times.shown(at(mtime), at(now)).atime
        };
        assert_eq!(read(5, 10), at(10));
        assert_eq!(read(5, 20), at(10));
        assert_eq!(read(15, 21), at(21), "changed since");
        assert_eq!(read(15, 20 + day), at(21));
        assert_eq!(read(15, 21 + day), at(21 + day));
        times.set_read(at(3));
        assert_eq!(times.shown(at(15), at(30)).atime, at(3), "set by somebody");
    }
}
