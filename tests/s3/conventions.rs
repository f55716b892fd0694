//! How other programs keep attributes in a bucket: s3fs, both ways, rclone, and metadata that nobody here knows.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::{BUCKET, Bed};

/// The longest that s3fs may take to begin.
const BEGINNING_MAX: Duration = Duration::from_secs(30);

/// The same bucket, mounted by s3fs beside.
struct S3fs<'b> {
    bed: &'b Bed,
}

impl<'b> S3fs<'b> {
    /// Mounts it with the program of Debian, which `scripts/setup` installs.
    fn mount(bed: &'b Bed) -> S3fs<'b> {
        let place = S3fs { bed }.place();
        let _ = std::fs::create_dir(&place);
        let options = format!("url={},use_path_request_style,use_xattr", bed.endpoint);
        let mut command = Command::new("s3fs");
        command.args([BUCKET, place.to_str().unwrap(), "-o", &options]).stderr(Stdio::null());
        let status = bed.with_keys(&mut command).status().expect("s3fs is missing: run scripts/setup");
        assert!(status.success(), "s3fs: {status}");
        let until = Instant::now() + BEGINNING_MAX;
        while !std::fs::read_to_string("/proc/self/mounts").unwrap().contains(place.to_str().unwrap()) {
            assert!(Instant::now() < until, "s3fs does not begin");
            std::thread::sleep(Duration::from_millis(50));
        }
        S3fs { bed }
    }

    fn place(&self) -> PathBuf {
        self.bed.home.path().join("theirs")
    }
}

impl Drop for S3fs<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.place()).stderr(Stdio::null()).status();
    }
}

impl Bed {
    fn sh_in(&self, place: PathBuf, script: &str) -> String {
        let mut command = Command::new("bash");
        let output = command.args(["-euo", "pipefail", "-c", script]).current_dir(place).output().unwrap();
        let (told, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{script}\n{told}\n{error}");
        told.into_owned()
    }
}

const MAKE: &str = "
    echo text > file; chown 7:8 file; setfattr -n user.colour -v red file; chmod 640 file
    touch -d '2023-11-14 22:13:20.123456789 UTC' file; ln -s file link; mkdir dir; chmod 711 dir";
const LOOK: &str = "
    TZ=UTC stat -c '%n %a %u %g %y' file; cat file; readlink link; stat -c '%F %a' dir
    getfattr --only-values -n user.colour file";
const SEEN: &str = "file 640 7 8 2023-11-14 22:13:20.123456789 +0000\ntext\nfile\ndirectory 711\nred";

#[test]
fn s3fs_sees_the_attributes_that_are_made_here_and_the_other_way_round() {
    let bed = Bed::own(&[]);
    let s3fs = S3fs::mount(&bed);
    bed.sh_in(s3fs.place(), "rm -rf others strange '+%25?' plain");
    bed.sh_in(s3fs.place(), MAKE);
    drop(s3fs);
    bed.mount();
    assert_eq!(bed.sh(LOOK), SEEN, "of s3fs");
    bed.sh("rm -rf file link dir");
    bed.sh(MAKE);
    bed.unmount();
    let s3fs = S3fs::mount(&bed);
    assert_eq!(bed.sh_in(s3fs.place(), LOOK), SEEN, "of this mount");
}

#[test]
fn times_of_rclone_are_read_and_what_is_not_known_stays() {
    let bed = Bed::own(&[]);
    std::fs::create_dir(bed.home.path().join("tree")).unwrap();
    bed.sh_in(bed.home.path().join("tree"), "echo r > r; touch -d '2021-02-03 04:05:06.123456789 UTC' r");
    bed.rclone(&["copy", "tree", "REMOTE/rclone"]);
    let put = ["s3api", "put-object", "--bucket", BUCKET, "--key", "foreign", "--metadata"];
    // As Mountpoint and GeeseFS keep owner and mode, and what nobody keeps.
    bed.aws(&[&put[..], &["file-owner=5,file-permissions=0644,--uid=6,other=kept"]].concat());
    bed.mount();
    assert_eq!(bed.sh("TZ=UTC stat -c %y rclone/r"), "2021-02-03 04:05:06.123456789 +0000\n");
    bed.sh("chmod 611 foreign; mv foreign moved; echo more >> moved; sync moved; touch -d 2020-01-01 moved");
    bed.unmount();
    let told = bed.aws(&["s3api", "head-object", "--bucket", BUCKET, "--key", "moved"]);
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    let kept =
        [("file-owner", "5"), ("file-permissions", "0644"), ("--uid", "6"), ("other", "kept"), ("mode", "33161")];
    for (name, value) in kept {
        assert_eq!(told["Metadata"][name], value, "{told}");
    }
    assert_eq!(told["ContentLength"], 5, "{told}");
}
