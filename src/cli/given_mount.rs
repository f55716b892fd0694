//! A mount that somebody with more privilege has made: `/dev/fd/N` in the place of a directory.
//!
//! N is a descriptor of the kernel's device that has been mounted and that nobody has read from. What is done with the mount as a
//! mount, options, owner and unmounting, is the matter of whoever has made it: this process needs no privilege, neither the device
//! nor fusermount3, and may not even see the directory. It ends when the mount does, and the mount is dead when it ends.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketFlags, SocketType, recvmsg, socketpair,
};

use super::failure::{Exit, Failure};
use super::{fuse_access, mount_point};
use crate::fuse::GivenDevice;

/// Descriptors below are standard input, output and error.
const NUMBER_MIN: RawFd = 3;

/// The number that a mount point is, if it is one.
pub(super) fn number(mount_point: &Path) -> Option<RawFd> {
    let text = mount_point.to_str()?;
    let number = ["/dev/fd/", "/proc/self/fd/"].iter().find_map(|directory| text.strip_prefix(directory))?;
    number.bytes().all(|byte| byte.is_ascii_digit()).then(|| number.parse().ok())?
}

/// Takes a descriptor out of the process's table, for the mount that it is.
pub(super) fn take(number: RawFd, mount_point: &Path) -> Result<GivenDevice, Failure> {
    let shown = mount_point.display();
    let refuse = |why: String| {
        let next = "give the number of a descriptor of /dev/fuse that was mounted with mount(2), option fd=N";
        Failure::new(Exit::MountPoint, format!("{shown} is no mount that could be served: {why}; {next}"))
    };
    if number < NUMBER_MIN {
        return Err(refuse("it is standard input, output or error".into()));
    }
    let device = duplicate(number).map_err(|error| match error.raw_os_error() {
        Some(code) if code == nix::libc::EBADF => refuse("this process was started without such a descriptor".into()),
        _ => refuse(error.to_string()),
    })?;
    let is_fuse = rustix::fs::fstat(&device).is_ok_and(|found| fuse_access::is_device(found.st_mode, found.st_rdev));
    if !is_fuse {
        return Err(refuse("it is something else than the kernel's device".into()));
    }
    // It must not stay open beside its duplicate: a connection lives as long as any descriptor of it.
    let _ = nix::unistd::close(number);
    let connection = connection(&device);
    let entry = connection.and_then(|minor| {
        let device = format!("0:{minor}");
        mount_point::all().into_iter().find(|entry| entry.device == device && entry.may_be_ours())
    });
    let known_as = entry.map_or_else(|| mount_point.to_owned(), |entry| entry.mount_point);
    Ok(GivenDevice { device, known_as, connection })
}

/// Another descriptor of the same file. The kernel makes one for whoever gets a message with it; what this package may do without
/// `unsafe` begins with a descriptor that is owned, and a number is none. `pidfd_getfd` would be shorter, and is what containers
/// forbid.
fn duplicate(number: RawFd) -> io::Result<OwnedFd> {
    let (here, there) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    let descriptors = [number];
    let message = ControlMessage::ScmRights(&descriptors);
    sendmsg::<()>(here.as_raw_fd(), &[IoSlice::new(b".")], &[message], MsgFlags::empty(), None)?;
    let (mut byte, mut space) = ([0u8], [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))]);
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    recvmsg(&there, &mut [IoSliceMut::new(&mut byte)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let received = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    received.ok_or_else(|| io::Error::other("the kernel gave no duplicate"))
}

/// The number of the mounted device, where the kernel tells it of a descriptor (6.13 and later).
fn connection(device: &OwnedFd) -> Option<u32> {
    let path = PathBuf::from(format!("/proc/self/fdinfo/{}", device.as_raw_fd()));
    let told = std::fs::read_to_string(path).ok()?;
    told.lines().find_map(|line| line.strip_prefix("fuse_connection:")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_is_named_by_its_number_and_in_no_other_way() {
        let table = [
            ("/dev/fd/3", Some(3)),
            ("/proc/self/fd/12", Some(12)),
            ("/dev/fd/", None),
            ("/dev/fd/+3", None),
            ("/dev/fd/3/a", None),
            ("/dev/fd/99999999999", None),
            ("dev/fd/3", None),
            ("/mnt/3", None),
        ];
        for (path, expected) in table {
            assert_eq!(number(Path::new(path)), expected, "{path}");
        }
    }

    #[test]
    fn what_is_no_descriptor_of_the_device_is_refused() {
        let refused = |number: RawFd| take(number, Path::new("/dev/fd/N")).unwrap_err().sentence;
        assert!(refused(0).contains("standard input"), "{}", refused(0));
        assert!(refused(1 << 20).contains("started without such a descriptor"), "{}", refused(1 << 20));
    }

    #[test]
    fn a_duplicate_is_the_same_file() {
        let mut pipe = std::io::pipe().unwrap();
        let copy = duplicate(pipe.1.as_raw_fd()).unwrap();
        drop(pipe.1);
        rustix::io::write(&copy, b"x").unwrap();
        drop(copy);
        let mut text = String::new();
        io::Read::read_to_string(&mut pipe.0, &mut text).unwrap();
        assert_eq!(text, "x");
    }
}
