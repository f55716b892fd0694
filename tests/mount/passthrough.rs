//! Files that the kernel reads by itself, from copies on this machine's disk: what programs see of them is what a local disk shows.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::bed::{Bed, MIB, eventually, is_root, random_bytes, random_file};

/// A mount with copies in `$W/cache`.
fn mounted() -> Bed {
    let mut bed = Bed::unmounted(&[]);
    mount(&mut bed, &[]);
    bed
}

fn mount(bed: &mut Bed, more: &[&str]) {
    let cache = bed.local("cache");
    bed.mount(&[&["--cache", cache.to_str().unwrap()], more].concat());
}

fn status(bed: &Bed) -> Value {
    let output = bed.cli().args(["status", "--json"]).arg(bed.at("")).output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

/// How many files were opened for the kernel to read.
pub(crate) fn opens(bed: &Bed) -> u64 {
    status(bed)["disk_cache"]["passthrough_opens"].as_u64().unwrap()
}

/// How often the mount was asked for bytes.
fn reads(bed: &Bed) -> u64 {
    status(bed)["calls"]["read"]["count"].as_u64().unwrap_or(0)
}

/// Whether this kernel takes backing files from this user, on the disk that tests use.
pub(crate) fn passes(bed: &Bed) -> bool {
    let release = bed.sh("uname -r");
    let version = release.split(['.', '-']).take(2).map(|part| part.parse::<u32>().unwrap_or(0));
    // A stacked disk has no level left.
    let is_stacked = ["overlayfs", "fuseblk"].contains(&bed.sh("stat -f -c %T $W").trim());
    let can = is_root() && version.ge([6, 9]) && !is_stacked;
    assert!(can || opens(bed) == 0);
    can
}

/// Whether a mount sees who has files mapped. In a container it does not, and writers who may map a file do not meet its readers.
pub(crate) fn sees_mappings() -> bool {
    let namespace = fs::read_link("/proc/self/ns/pid").unwrap();
    namespace.to_str() == Some("pid:[4026531836]")
}

/// Reads a file whole.
fn read_whole(bed: &Bed, name: &str) {
    bed.sh(&format!("cat {name} > /dev/null && getfattr --only-values -n user.cosmount.cached {name} > /dev/null"));
}

/// Reads a file whole, so that the next who opens it has the kernel read it.
pub(crate) fn warm(bed: &Bed, name: &str) {
    read_whole(bed, name);
    if passes(bed) {
        let before = opens(bed);
        eventually("the kernel reads it by itself", || {
            // What the disk was too slow for is fetched once nobody has it open, and the kernel lets go of that once it has told so.
            read_whole(bed, name);
            opens(bed) > before
        });
    }
}

#[test]
fn the_kernel_reads_a_whole_copy_by_itself() {
    let bed = mounted();
    random_file(&bed.local("big"), 24 * MIB + 5, 1);
    bed.sh("cp $W/big big");
    warm(&bed, "big");
    let (mark, before) = (bed.mark(), reads(&bed));
    bed.sh("cmp $W/big big");
    if !passes(&bed) {
        return;
    }
    assert!(opens(&bed) >= 1);
    bed.sh("fio --name=random --filename=big --readonly --rw=randread --bs=4k --numjobs=4 --size=24m --number_ios=5000 --minimal");
    bed.python("import mmap; f = open('big', 'rb'); m = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ); assert m[:] == f.read()");
    assert_eq!(reads(&bed), before, "this process is not asked");
    assert_eq!(bed.since(mark).count("GetObject"), 0);
}

#[test]
fn what_readers_see_while_others_change_a_file_is_what_a_local_disk_shows() {
    let mut bed = mounted();
    if passes(&bed) && !sees_mappings() {
        return;
    }
    let program = bed.local("passthrough.py");
    fs::write(&program, include_str!("passthrough.py")).unwrap();
    let disk = bed.local("disk");
    fs::create_dir(&disk).unwrap();
    random_file(&disk.join("file"), 3_000_001, 1);
    bed.sh("cp $W/disk/file file");
    warm(&bed, "file");
    let run = |directory: &Path| {
        let output = Command::new("python3").arg(&program).arg(directory).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let (expected, shown) = (run(&disk), run(&bed.at("")));
    let differs = expected.lines().zip(shown.lines()).position(|(one, other)| one != other);
    let around =
        |text: &str| text.lines().skip(differs.unwrap_or(0).saturating_sub(9)).take(18).collect::<Vec<_>>().join("\n");
    assert!(expected == shown, "a local disk shows\n{}\nand the mount\n{}", around(&expected), around(&shown));
    assert!(!passes(&bed) || opens(&bed) > 20, "{} opens", opens(&bed));
    bed.remount();
    bed.sh("cmp $W/disk/last last");
}

#[test]
fn opens_that_race_while_files_come_into_the_cache_and_leave_it_never_fail() {
    let bed = mounted();
    let program = bed.local("races.py");
    fs::write(&program, include_str!("passthrough_races.py")).unwrap();
    let seconds = std::env::var("COSMOUNT_RACE_SECONDS").unwrap_or_else(|_| "5".to_owned());
    bed.sh("for i in 0 1 2; do head -c 300000 /dev/zero | tr '\\0' q > race$i; done");
    let racers: Vec<_> = (0..6)
        .map(|seed| {
            let line = format!("exec python3 {} . {seed} {seconds}", program.display());
            bed.command(&line).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for racer in racers {
        let output = racer.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert!(!passes(&bed) || opens(&bed) > 20, "{} opens", opens(&bed));
}

#[test]
fn what_is_stored_in_a_mapping_after_its_file_was_closed_is_published() {
    let bed = mounted();
    if passes(&bed) && !sees_mappings() {
        return;
    }
    fs::write(bed.at("f"), [7; 300_000]).unwrap();
    warm(&bed, "f");
    let told = bed.python(
        "
import ctypes, os
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
reader = os.open('f', os.O_RDONLY)
fd = os.open('f', os.O_RDWR)
at = libc.mmap(None, ctypes.c_size_t(300000), 3, 1, fd, ctypes.c_long(0))
os.close(fd)
os.stat('f')
ctypes.memmove(at + 5000, b'stored', 6)
print(os.pread(reader, 6, 5000))
libc.munmap(ctypes.c_void_p(at), ctypes.c_size_t(300000))
os.close(reader)
",
    );
    assert!(told.contains("b'stored'"), "{told}");
    eventually("it is in the bucket", || &bed.bucket().get("f")[5000..5006] == b"stored");
    let mut expected = vec![7; 300_000];
    expected[5000..5006].copy_from_slice(b"stored");
    assert!(bed.bucket().get("f") == expected);
}

/// Programs map what they read for days.
#[test]
fn who_maps_a_file_to_read_it_keeps_nobody_who_has_written_it() {
    let mut bed = Bed::unmounted(&[]);
    mount(&mut bed, &["--metadata-ttl", "0"]);
    fs::write(bed.at("f"), [7; 300_000]).unwrap();
    warm(&bed, "f");
    let reader = "import mmap, sys; f = open('f', 'rb'); m = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ); f.close(); \
                  print('mapped', flush=True); sys.stdin.read(); m[0]";
    let mut reader = bed.command(&format!("exec python3 -c \"{reader}\""));
    let mut reader = reader.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = [0; 7];
    std::io::Read::read_exact(reader.stdout.as_mut().unwrap(), &mut said).unwrap();
    assert_eq!(&said, b"mapped\n");
    bed.sh("printf changed | dd of=f conv=notrunc status=none && python3 -c \"f = open('f', 'r+b'); f.write(b'edited'); f.close()\"");
    bed.bucket().put("f", b"from elsewhere");
    eventually("the file of elsewhere is seen", || fs::read(bed.at("f")).unwrap() == b"from elsewhere");
    drop(reader.stdin.take());
    assert!(reader.wait().unwrap().success());
}

#[test]
fn two_files_of_the_same_bytes_stay_two() {
    let bed = mounted();
    let content = random_bytes(300_000, 1);
    fs::write(bed.at("f"), &content).unwrap();
    warm(&bed, "f");
    let held = fs::File::open(bed.at("f")).unwrap();
    // The same version once more, under the same name, and another file.
    fs::remove_file(bed.at("f")).unwrap();
    fs::write(bed.at("f"), &content).unwrap();
    let again = fs::File::open(bed.at("f")).unwrap();
    bed.sh("printf changed | dd of=f conv=notrunc status=none");
    for (file, expected) in [(&held, &content[..7]), (&again, b"changed")] {
        let mut read = [0; 7];
        std::os::unix::fs::FileExt::read_exact_at(file, &mut read, 0).unwrap();
        assert_eq!(read, expected);
    }
}

#[test]
fn a_version_from_elsewhere_is_another_file_for_who_has_the_old_one_open() {
    let mut bed = Bed::unmounted(&[]);
    mount(&mut bed, &["--metadata-ttl", "0"]);
    let (old, new) = (random_bytes(2 * MIB, 1), random_bytes(3 * MIB, 2));
    bed.bucket().put("f", &old);
    warm(&bed, "f");
    let held = fs::File::open(bed.at("f")).unwrap();
    if !passes(&bed) {
        return;
    }
    bed.bucket().put("f", &new);
    assert!(fs::read(bed.at("f")).unwrap() == new, "who opens it now has the new one");
    let mut read = vec![0; old.len()];
    std::os::unix::fs::FileExt::read_exact_at(&held, &mut read, 0).unwrap();
    assert!(read == old, "and who had it open the old one");
    let (held, now) = (held.metadata().unwrap(), fs::metadata(bed.at("f")).unwrap());
    assert_eq!((held.len(), held.nlink()), (2 * MIB as u64, 0));
    assert!(now.len() == 3 * MIB as u64 && now.ino() != held.ino());
    // The same by a writer who meets a copy that another mount reads.
    warm(&bed, "f");
    let held = fs::File::open(bed.at("f")).unwrap();
    let copies = bed.sh("find $W/cache -name '*.data' -size +2M");
    let others: Vec<fs::File> = copies.lines().map(|path| fs::File::open(path).unwrap()).collect();
    others.iter().for_each(|file| file.lock_shared().unwrap());
    bed.sh("printf changed | dd of=f conv=notrunc status=none && truncate -s 3000000 f");
    let mut read = vec![0; new.len()];
    std::os::unix::fs::FileExt::read_exact_at(&held, &mut read, 0).unwrap();
    assert!(read == new, "what others read is not changed under them");
    let changed = fs::read(bed.at("f")).unwrap();
    assert!(changed.len() == 3_000_000 && changed.starts_with(b"changed") && changed[7..] == new[7..3_000_000]);
}

/// What has left the cache is counted by nobody, and grows with a log for days.
#[test]
fn a_file_that_grows_beside_its_readers_leaves_a_tenth_of_the_disk_free() {
    if !is_root() {
        return;
    }
    let mut bed = Bed::unmounted(&[]);
    bed.sh("mkdir $W/disk && mount -t tmpfs -o size=64m cosmount-test $W/disk");
    let cache = bed.local("disk/cache");
    bed.mount(&["--cache", cache.to_str().unwrap(), "--cache-writes=no"]);
    random_file(&bed.local("log"), 4 * MIB, 1);
    bed.sh("cp $W/log log");
    warm(&bed, "log");
    let held = fs::File::open(bed.at("log")).unwrap();
    random_file(&bed.local("more"), 80 * MIB, 2);
    bed.sh("cat $W/more >> log && cat $W/more >> $W/log && cmp $W/log log");
    let free = bed.sh("stat -f -c '%a %b' $W/disk");
    let free: Vec<u64> = free.split_whitespace().map(|blocks| blocks.parse().unwrap()).collect();
    // But for the write that has come to that.
    assert!(free[0] + 2 * MIB as u64 / 4096 > free[1] / 10, "{free:?} blocks");
    drop(held);
    bed.sh("cmp $W/log log");
    assert!(bed.unmount());
    bed.sh("umount $W/disk");
}

#[test]
fn a_disk_that_the_kernel_cannot_read_from_by_itself_is_read_by_the_mount() {
    if !is_root() {
        return;
    }
    let mut bed = Bed::unmounted(&[]);
    // One that is stacked on another.
    bed.sh("cd $W && mkdir lower work stacked upper && mount -t tmpfs -o size=64m cosmount-test upper && mkdir upper/u upper/w");
    bed.sh("cd $W && mount -t overlay -o lowerdir=lower,upperdir=upper/u,workdir=upper/w overlay stacked");
    let cache = bed.local("stacked/cache");
    bed.mount(&["--cache", cache.to_str().unwrap()]);
    random_file(&bed.local("big"), 4 * MIB + 5, 1);
    bed.sh("cp $W/big big");
    for _ in 0..3 {
        read_whole(&bed, "big");
        bed.sh("cmp $W/big big");
    }
    assert_eq!(opens(&bed), 0);
    assert!(bed.log().contains("the kernel takes none"), "{}", bed.log());
    bed.sh("printf x | dd of=big conv=notrunc status=none && ! cmp -s $W/big big");
    assert!(bed.unmount());
    bed.sh("cd $W && umount stacked && umount upper");
}
