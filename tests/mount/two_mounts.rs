//! Two mounts of one bucket on one machine, and clients that are no mounts.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;

use crate::bed::{Bed, cosmount, eventually, signal};

/// A second mount of a bed's bucket, by the same user.
pub(crate) struct Second {
    pub(crate) at: PathBuf,
    process: Child,
}

impl Second {
    pub(crate) fn of(bed: &Bed, arguments: &[&str]) -> Second {
        let at = bed.local("second");
        fs::create_dir(&at).unwrap();
        let mut command = cosmount();
        command.args(["mount", "local-1250000000"]).arg(&at);
        command.args(["--foreground", "--endpoint", bed.service().endpoint()]).args(arguments);
        let process = command.stdin(Stdio::null()).spawn().unwrap();
        let is_mounted = || Command::new("mountpoint").arg("-q").arg(&at).status().unwrap().success();
        eventually("the second mount answers", is_mounted);
        Second { at, process }
    }
}

impl Drop for Second {
    fn drop(&mut self) {
        signal(self.process.id(), Signal::TERM);
        let _ = self.process.wait();
    }
}

#[test]
fn what_one_mount_has_closed_the_other_sees_at_its_open() {
    let bed = Bed::new();
    let second = Second::of(&bed, &[]);
    let (a, b) = (bed.at(""), second.at.clone());
    for round in 0..30 {
        let (here, there) = if round % 2 == 0 { (&a, &b) } else { (&b, &a) };
        let content = format!("{}{round}", "x".repeat(round));
        fs::write(here.join("f"), &content).unwrap();
        assert_eq!(fs::read_to_string(there.join("f")).unwrap(), content, "round {round}");
        // The same size, which nothing but the version tells apart.
        let content = content.replace('x', "y");
        fs::write(here.join("f"), &content).unwrap();
        assert_eq!(fs::read_to_string(there.join("f")).unwrap(), content, "round {round}");
        fs::write(here.join(format!("new{round}")), "new").unwrap();
        assert_eq!(fs::metadata(there.join(format!("new{round}"))).unwrap().len(), 3);
        assert_eq!(fs::read_dir(there).unwrap().count(), 2);
        fs::remove_file(there.join(format!("new{round}"))).unwrap();
        assert!(!here.join(format!("new{round}")).exists());
    }
}
