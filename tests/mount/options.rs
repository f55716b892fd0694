//! Options of a mount, and who may do what on it.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;

use crate::bed::{Bed, KIB, assert_same, cosmount, eventually, is_root, random_file};

#[test]
fn modes_owners_and_times_outlive_the_mount() {
    let mut bed = Bed::new();
    random_file(&bed.local("large"), 20 << 20, 1);
    bed.sh("echo x > f; chmod 640 f; touch -d '2011-11-11 11:11:11.5Z' f; mkdir d; chmod 2750 d
         echo y > script; chmod +x script
         chmod 600 $W/large; touch -d 2012-12-12Z $W/large; cp -p $W/large large
         (umask 077; echo z > private); (umask 027; mkdir shared)");
    if is_root() {
        bed.sh("chown 1234:5678 f; chown :99 large");
    }
    bed.sh("touch -d 2013-03-03Z private shared script");
    let show = |bed: &Bed| bed.sh("stat -c '%n %a %u %g %s %.9Y' f d script large private shared | sort");
    let before = show(&bed);
    let expected = [
        "f 640 ",
        " 1321009871.500000000",
        "d 2750 ",
        "script 755 ",
        "large 600 ",
        " 1355270400.000000000",
        "private 600 ",
        "shared 750 ",
    ];
    for expected in expected {
        assert!(before.contains(expected), "{expected} in\n{before}");
    }
    if is_root() {
        assert!(before.contains("f 640 1234 5678 "), "{before}");
    }
    bed.remount();
    // The directory's time, which nobody has set, too: it came along when its mode was changed.
    assert_eq!(show(&bed), before);
    bed.sh("cmp $W/large large");
}

#[test]
fn a_write_by_others_takes_privileges_away() {
    if !is_root() {
        return;
    }
    let bed = Bed::with(&[], &["--allow-other"]);
    bed.open_to_everybody();
    bed.sh("echo x > f; chmod 6777 f; cp -p f g; chown 99 g");
    let mode = |name: &str| fs::metadata(bed.at(name)).unwrap().mode() & 0o7777;
    assert_eq!((mode("f"), mode("g")), (0o6777, 0o777));
    bed.sh("setpriv --reuid 65534 --clear-groups sh -c 'echo y >> f'");
    // Asked for nothing but the mode, the kernel tells what it has.
    assert_eq!(bed.sh("stat -c %a f"), "777\n");
    assert_eq!(mode("f"), 0o777);
    bed.sh("chmod 6777 f; setpriv --reuid 65534 --clear-groups sh -c 'echo y > f'");
    assert_eq!(bed.sh("stat -c %a f"), "777\n");
}

#[test]
fn the_mount_may_say_whose_everything_is() {
    let mut bed = Bed::new();
    bed.sh("echo x > f; chmod 666 f; mkdir d");
    bed.remount_with(&["--uid", "1001", "--gid", "1002", "--umask", "027", "--allow-other"]);
    let metadata = fs::metadata(bed.at("f")).unwrap();
    assert_eq!((metadata.uid(), metadata.gid(), metadata.mode() & 0o7777), (1001, 1002, 0o640));
    let metadata = fs::metadata(bed.at("d")).unwrap();
    assert_eq!((metadata.uid(), metadata.gid(), metadata.mode() & 0o7777), (1001, 1002, 0o750));
}

#[test]
fn modes_of_objects_without_any_are_the_mounts() {
    use cosmount::object::{Crc64, ObjectAttributes, ObjectKey};
    use cosmount::store::{Body, ObjectStore};
    let mut bed = Bed::unmounted(&[]);
    bed.bucket().run(|store| async move {
        let key = ObjectKey::new("d/f").unwrap();
        store.put(&key, Body::empty(), Crc64::EMPTY, &ObjectAttributes::default()).await.unwrap();
    });
    bed.mount(&["--file-mode", "604", "--dir-mode", "705"]);
    assert_eq!(bed.sh("stat -c %a d d/f"), "705\n604\n");
}

#[test]
fn a_read_only_mount_refuses_every_change() {
    let mut bed = Bed::new();
    bed.sh("echo x > f; mkdir d");
    for options in [&["--read-only"][..], &["-o", "ro"]] {
        bed.remount_with(options);
        let mark = bed.mark();
        for change in [
            "echo y > f",
            "echo y > new",
            "echo y >> f",
            "rm f",
            "mkdir e",
            "rmdir d",
            "mv f g",
            "chmod 600 f",
            "truncate -s 0 f",
            "touch f",
        ] {
            bed.sh_fails(change, "Read-only file system");
        }
        bed.sh("[ $(cat f) = x ]; [ $(ls | wc -l) = 2 ]");
        let requests = bed.since(mark);
        assert!(requests.0.iter().all(|request| request.bytes_in == 0), "{:?}", requests.summary());
    }
}

#[test]
fn a_prefix_is_a_mount_of_its_own() {
    let bed = Bed::new();
    bed.sh("mkdir -p photos/2024; echo x > photos/2024/a; echo y > outside");
    let directory = bed.local("prefix");
    fs::create_dir(&directory).unwrap();
    let mut command = cosmount();
    command.args(["mount", "local-1250000000:/photos"]).arg(&directory);
    command.args(["--foreground", "--endpoint", bed.service().endpoint()]);
    let mut mount = command.spawn().unwrap();
    eventually("the prefix is mounted", || directory.join("2024/a").exists());
    fs::write(directory.join("2024/b"), "new").unwrap();
    let names: Vec<_> = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    crate::bed::signal(mount.id(), rustix::process::Signal::TERM);
    assert!(mount.wait().unwrap().success());
    assert_eq!(names, ["2024"]);
    assert_eq!(bed.bucket().get("photos/2024/b"), b"new");
}

/// Runs a script as another user; the home of the bed must be open to everybody.
fn as_nobody(bed: &Bed, script: &str) -> std::process::Output {
    Command::new("su").args(["nobody", "-s", "/bin/bash", "-c", script]).current_dir(bed.local("")).output().unwrap()
}

#[test]
fn other_users_enter_only_if_they_may() {
    if !is_root() {
        println!("skipped: only root can become another user");
        return;
    }
    let mut bed = Bed::new();
    bed.open_to_everybody();
    bed.sh("echo public > f; echo private > g; chmod 600 g; mkdir open; chmod 777 open");
    let file = bed.at("f");
    assert!(!as_nobody(&bed, &format!("cat {}", file.display())).status.success(), "not without allow_other");
    bed.remount_with(&["--allow-other"]);
    let output = as_nobody(&bed, &format!("cat {}", file.display()));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "public\n");
    assert!(!as_nobody(&bed, &format!("cat {}", bed.at("g").display())).status.success(), "modes count");
    assert!(!as_nobody(&bed, &format!("echo x > {}", bed.at("new").display())).status.success());
    let mine = bed.at("open/mine");
    let output = as_nobody(&bed, &format!("echo mine > {0} && chmod 600 {0} && cat {0}", mine.display()));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "mine\n");
    let metadata = fs::metadata(mine).unwrap();
    assert_ne!(metadata.uid(), 0);
    assert_eq!(metadata.mode() & 0o777, 0o600);
}

#[test]
fn an_ordinary_user_mounts_through_fusermount3() {
    if !is_root() {
        println!("skipped: every other test mounts as an ordinary user here");
        return;
    }
    let bed = Bed::unmounted(&[]);
    bed.open_to_everybody();
    let _device = OpenDevice::open();
    let (home, binary) = (bed.local(""), bed.local("cosmount"));
    // The build's own directory may be closed to others.
    fs::copy(env!("CARGO_BIN_EXE_cosmount"), &binary).unwrap();
    random_file(&home.join("source"), 300 * KIB, 1);
    Command::new("chown").args(["-R", "nobody"]).arg(&home).status().unwrap();
    let script = format!(
        "set -e; cd {home}; export HOME={home} XDG_RUNTIME_DIR={home} {key}
         mkdir mine; ./cosmount mount local-1250000000 mine --endpoint {endpoint} --log-file log
         trap './cosmount unmount mine || fusermount3 -u -z mine' EXIT
         cp source mine/f; echo x > mine/g; mkdir mine/d; ls -l mine >&2; cmp source mine/f
         [ $(stat -c %U mine/g) = nobody ]; python3 -c 'import mmap
with open(\"mine/m\", \"w+b\") as f:
    f.truncate(5000); m = mmap.mmap(f.fileno(), 5000); m[4000:4003] = b\"abc\"'",
        home = home.display(),
        key = crate::bed::KEY_VARIABLES,
        endpoint = bed.service().endpoint(),
    );
    let output = as_nobody(&bed, &script);
    assert!(
        output.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&output.stderr),
        fs::read_to_string(home.join("log")).unwrap_or_default()
    );
    assert_same(&bed.bucket().get("f"), &fs::read(home.join("source")).unwrap());
    assert_eq!(bed.bucket().keys(), ["d/", "f", "g", "m"]);
    assert_eq!(&bed.bucket().get("m")[3999..4004], b"\0abc\0");
}

/// Lets everybody use FUSE, as distributions do, and puts it back as it was.
struct OpenDevice(fs::Permissions);

impl OpenDevice {
    fn open() -> OpenDevice {
        let before = fs::metadata("/dev/fuse").unwrap().permissions();
        fs::set_permissions("/dev/fuse", fs::Permissions::from_mode(0o666)).unwrap();
        OpenDevice(before)
    }
}

impl Drop for OpenDevice {
    fn drop(&mut self) {
        let _ = fs::set_permissions("/dev/fuse", self.0.clone());
    }
}
