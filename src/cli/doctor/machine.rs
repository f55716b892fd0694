//! What this machine has for a mount: FUSE, files, memory, places to write to. Each check is a small function.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::time::Duration;

use rustix::fs::Access;
use rustix::process::{Resource, getrlimit};

use super::report::Finding;
use crate::cli::diagnosis::Diagnosis;
use crate::cli::failure::Exit;
use crate::cli::topic::Topic;
use crate::cli::{fuse_access, mount_point};
use crate::config::{Aspect, ByteSize, ConfigError, MountConfig, available_memory_bytes};
use crate::fuse::{self, FuseOptions, MountError, Trial};

/// Open files below which a mount runs out of them: connections for one writer and one reader, and those of its own.
const FILES_MIN: u64 = 128;
/// Open files from which on nobody notices a limit.
const FILES_ENOUGH: u64 = 1024;

/// The longest that a mount for a moment may take. It is made in some milliseconds.
const TRIAL_TIMEOUT: Duration = Duration::from_secs(5);

const MIB: u64 = 1 << 20;

/// Where people find what may be written.
const FORMATS: &str = "cosmount mount --help says what each option may be";

/// The configuration, and what it says that cannot be done.
pub(super) fn configuration(config: &Result<MountConfig, ConfigError>) -> Vec<Finding> {
    let config = match config {
        Ok(config) => config,
        Err(error) => {
            let finding =
                Finding::from(Diagnosis::new(topic_of(error.aspect()), error.cause(), "").ending(Exit::Usage));
            // Where the sentence does not end with what to do, it says what was expected.
            let fix = error.fix().unwrap_or_else(|| format!("correct it; {FORMATS}"));
            return vec![finding.fixed_by(fix)];
        }
    };
    let notices = config.remarks.iter().chain(&config.warnings).filter(|notice| notice.aspect != Aspect::Memory);
    let mut findings: Vec<Finding> = Vec::new();
    for notice in notices {
        let finding = Finding::warning(Topic::Configuration, notice.cause());
        findings.push(Finding { fix: notice.fix.clone(), ..finding });
    }
    let said = config.settings.said();
    let all_well = match said.len() {
        0 => "all options have their defaults".to_owned(),
        _ => format!("options that are given: {}", said.join(", ")),
    };
    let joined = findings.into_iter().reduce(Finding::and);
    vec![joined.unwrap_or_else(|| Finding::ok(Topic::Configuration, all_well))]
}

fn topic_of(aspect: Aspect) -> Topic {
    match aspect {
        Aspect::Configuration => Topic::Configuration,
        Aspect::Credentials => Topic::Credentials,
        Aspect::Region => Topic::Region,
        Aspect::Encryption => Topic::Tls,
        Aspect::Bucket => Topic::Bucket,
        Aspect::Memory => Topic::Memory,
    }
}

/// The kernel's device, the program for ordinary users, a mount for a moment, and what the kernel can do.
pub(super) fn mounting(search_path: &str, allow_other: bool) -> Vec<Finding> {
    let (device, helper) = (device(), helper(search_path));
    let others = others(allow_other);
    let in_the_way = [&device, &helper].into_iter().find(|finding| finding.is_failure());
    let because = in_the_way.map(|finding| format!("{} failed", finding.topic.name()));
    let (trial, kernel) = match because {
        Some(because) => (Finding::skipped(Topic::TrialMount, &because), Finding::skipped(Topic::Kernel, &because)),
        None => trial(allow_other && !others.is_failure()),
    };
    vec![device, helper, others, trial, kernel]
}

fn device() -> Finding {
    match fuse_access::device() {
        Ok(()) => Finding::ok(Topic::Fuse, "/dev/fuse is there and can be opened"),
        Err(diagnosis) => diagnosis.into(),
    }
}

fn helper(search_path: &str) -> Finding {
    match fuse_access::helper(search_path) {
        Ok(path) => Finding::ok(Topic::Fusermount, path.display().to_string()),
        // Root needs it for nothing but /etc/fstab, whose type `fuse.cosmount` comes with it.
        Err(diagnosis) if fuse_access::is_root() => Finding::warning_of(diagnosis),
        Err(diagnosis) => diagnosis.into(),
    }
}

fn others(allow_other: bool) -> Finding {
    let allowed = fuse_access::others();
    match (allow_other, allowed) {
        (true, _) if fuse_access::is_root() => Finding::ok(Topic::AllowOther, "root may let others in"),
        (true, Ok(())) => Finding::ok(Topic::AllowOther, "/etc/fuse.conf lets ordinary users let others in"),
        (true, Err(diagnosis)) => diagnosis.into(),
        (false, _) => Finding::ok(Topic::AllowOther, "not asked for: the mount is for its own user alone"),
    }
}

/// Mounts for a moment where nobody looks.
fn trial(allow_other: bool) -> (Finding, Finding) {
    let tried = Place::new().map_err(|error| error.to_string()).and_then(|place| {
        let options = FuseOptions { allow_other, ..FuseOptions::default() };
        let (sender, answer) = channel();
        // A kernel that does not answer must not hold this up, so it is another thread that waits.
        std::thread::spawn(move || {
            let tried = fuse::try_mount(&place.directory, &options);
            drop(place);
            let _ = sender.send(tried);
        });
        match answer.recv_timeout(TRIAL_TIMEOUT) {
            Ok(tried) => tried.map_err(|error: MountError| error.source.to_string()),
            Err(_) => Err("the kernel does not answer in time".to_owned()),
        }
    });
    match tried {
        Ok(trial) => (Finding::ok(Topic::TrialMount, "a mount for a moment worked"), kernel(&trial)),
        Err(told) => {
            let remedy = match (fuse_access::is_root(), is_in_container()) {
                (true, true) => "start the container with --device /dev/fuse --cap-add SYS_ADMIN",
                (true, false) => "give this process the capability CAP_SYS_ADMIN; see what forbids it with dmesg",
                (false, _) => "see what forbids it with dmesg, and mount_max in /etc/fuse.conf",
            };
            let cause = "the kernel refuses a mount for a moment";
            let diagnosis = Diagnosis::new(Topic::TrialMount, cause, remedy).ending(Exit::MountPoint).with(told);
            (diagnosis.into(), Finding::skipped(Topic::Kernel, "the trial mount failed"))
        }
    }
}

/// A directory of our own that is gone with this.
struct Place {
    directory: PathBuf,
}

impl Place {
    fn new() -> std::io::Result<Place> {
        let name = format!("cosmount-doctor-{}-{:08x}", std::process::id(), fastrand::u32(..));
        let directory = std::env::temp_dir().join(name);
        // Must not exist: what somebody else has prepared under that name is not for a mount.
        fs::DirBuilder::new().mode(0o700).create(&directory)?;
        Ok(Place { directory })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.directory);
    }
}

fn is_in_container() -> bool {
    let marks = ["/.dockerenv", "/run/.containerenv"];
    marks.iter().any(|mark| Path::new(mark).exists()) || std::env::var_os("KUBERNETES_SERVICE_HOST").is_some()
}

fn kernel(trial: &Trial) -> Finding {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let used = trial.used.join(", ");
    if trial.missed.is_empty() {
        return Finding::ok(Topic::Kernel, format!("Linux {release} has all that is used: {used}"));
    }
    let missed: Vec<String> = trial.missed.iter().map(|(name, without)| format!("{name} ({without})")).collect();
    Finding::ok(Topic::Kernel, format!("Linux {release} lacks {}; used are {used}", missed.join(", ")))
}

/// Files that this process may have open; a mount that is started here has the same limit.
pub(super) fn open_files() -> Finding {
    let limit = getrlimit(Resource::Nofile);
    judge_files(limit.current.unwrap_or(u64::MAX), limit.maximum.unwrap_or(u64::MAX))
}

fn judge_files(current: u64, maximum: u64) -> Finding {
    let shown = |count: u64| if count == u64::MAX { "unlimited".to_owned() } else { count.to_string() };
    let told = format!("a process may have {} files open, and at most {}", shown(current), shown(maximum));
    if current >= FILES_ENOUGH {
        return Finding::ok(Topic::OpenFiles, told);
    }
    let fix = match maximum >= FILES_ENOUGH {
        true => format!("ulimit -n {}", maximum.min(65_536)),
        false => "in a unit of systemd LimitNOFILE=65536; else a line `* - nofile 65536` in /etc/security/limits.conf"
            .to_owned(),
    };
    let cause = format!("{told}: connections and open files of a mount need more");
    if current < FILES_MIN {
        return Diagnosis::new(Topic::OpenFiles, cause, fix).ending(Exit::MountPoint).into();
    }
    Finding::warning(Topic::OpenFiles, cause).fixed_by(fix)
}

/// Memory for the buffers of a mount.
pub(super) fn memory(config: &MountConfig) -> Finding {
    let told = config.warnings.iter().filter(|notice| notice.aspect == Aspect::Memory);
    let told: Vec<&str> = told.map(|notice| notice.sentence.as_str()).collect();
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    judge_memory(&told, config.memory_bytes, available_memory_bytes(), free_bytes(&text))
}

/// What the kernel says can be had without swapping.
fn free_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib << 10)
}

fn judge_memory(told: &[&str], wanted: u64, total: u64, free: Option<u64>) -> Finding {
    let size = |bytes: u64| ByteSize(bytes / MIB * MIB);
    let half = size(total / 2);
    if !told.is_empty() {
        return Finding::warning(Topic::Memory, told.join("; ")).fixed_by(format!("--memory {half} or less"));
    }
    match free {
        Some(free) if free < wanted => {
            let detail = format!("{} for buffers, and only {} of {} are free", size(wanted), size(free), size(total));
            let fix = format!("--memory {}", size((free / 2).max(16 * MIB)));
            Finding::warning(Topic::Memory, detail).fixed_by(fix)
        }
        _ => Finding::ok(Topic::Memory, format!("{} for buffers, of {}", size(wanted), size(total))),
    }
}

/// Where is written down what the next mount has to end.
pub(super) fn state(config: &MountConfig) -> Finding {
    let Some(directory) = &config.state_dir else {
        let cause = "no home directory is known, so what a killed mount leaves in the bucket stays there";
        return Finding::warning(Topic::State, cause).fixed_by("--state-dir DIR");
    };
    let shown = directory.display();
    // It is made when it is needed, in the first directory above it that is there.
    let Some(there) = directory.ancestors().find(|directory| directory.exists()) else {
        return Finding::warning(Topic::State, format!("{shown} cannot be made")).fixed_by("--state-dir DIR");
    };
    if !there.is_dir() {
        let detail = format!("{shown} cannot be made: {} is no directory", there.display());
        return Finding::warning(Topic::State, detail).fixed_by("--state-dir DIR");
    }
    match rustix::fs::access(there, Access::WRITE_OK | Access::EXEC_OK) {
        Ok(()) => Finding::ok(Topic::State, format!("{shown} can be written")),
        Err(error) => {
            let cause = format!(
                "{shown} cannot be written ({}: {error}), so what a killed mount leaves in the bucket stays there",
                there.display()
            );
            Finding::warning(Topic::State, cause).fixed_by("--state-dir DIR, or make it writable for this user")
        }
    }
}

/// The directory to mount on, where one was named.
pub(super) fn place(mount_point: &Path) -> Finding {
    let mut told = None;
    match mount_point::check(mount_point, |warning| told = Some(warning.to_owned())) {
        Ok(real) => match told {
            Some(warning) => Finding::warning(Topic::MountPoint, warning)
                .fixed_by("nothing is lost; name an empty directory if something shall be seen"),
            None => Finding::ok(Topic::MountPoint, format!("{} is an empty directory", real.display())),
        },
        Err(failure) => {
            // The sentence ends with the command, where there is one.
            let (cause, fix) = match failure.sentence.split_once(" with: ") {
                Some((cause, fix)) => (cause.rsplit_once(';').map_or(cause, |(cause, _)| cause), Some(fix.to_owned())),
                None => (failure.sentence.as_str(), None),
            };
            let fix = fix.or_else(|| Some("name another directory".to_owned()));
            let finding = Finding::from(Diagnosis::new(Topic::MountPoint, cause, "").ending(failure.exit));
            Finding { fix, ..finding }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::report::Status;

    #[test]
    fn few_open_files_are_a_warning_and_hardly_any_a_failure() {
        let table = [
            (u64::MAX, u64::MAX, Status::Ok, None),
            (1024, 4096, Status::Ok, None),
            (256, 1 << 20, Status::Warning, Some("ulimit -n 65536")),
            (64, 4096, Status::Failure(Exit::MountPoint), Some("ulimit -n 4096")),
        ];
        for (current, maximum, status, fix) in table {
            let finding = judge_files(current, maximum);
            assert_eq!((finding.status, finding.fix.as_deref()), (status, fix), "{current} {maximum}");
        }
        assert!(judge_files(64, 64).fix.unwrap().contains("LimitNOFILE"));
    }

    #[test]
    fn memory_that_is_not_there_is_a_warning() {
        let gib = 1 << 30;
        assert_eq!(judge_memory(&[], gib, 4 * gib, Some(2 * gib)).status, Status::Ok);
        assert_eq!(judge_memory(&[], gib, 4 * gib, None).status, Status::Ok);
        let scarce = judge_memory(&[], gib, 4 * gib, Some(gib / 2));
        assert_eq!((scarce.status, scarce.fix.as_deref()), (Status::Warning, Some("--memory 256MiB")));
        let told = judge_memory(&["memory 8GiB is more than there is"], 8 * gib, 4 * gib, Some(gib));
        assert_eq!((told.status, told.fix.as_deref()), (Status::Warning, Some("--memory 2GiB or less")));
        assert_eq!(free_bytes("MemTotal: 9 kB\nMemAvailable:   2048 kB\n"), Some(2 << 20));
        assert_eq!(free_bytes("MemTotal: 9 kB\n"), None);
    }

    #[test]
    fn a_place_for_a_mount_is_judged_with_the_command_that_mends_it() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(place(directory.path()).status, Status::Ok);
        let missing = place(&directory.path().join("none"));
        assert_eq!(missing.status, Status::Failure(Exit::MountPoint));
        assert!(missing.detail.ends_with("does not exist"), "{missing:?}");
        assert!(missing.fix.unwrap().starts_with("mkdir -p "));
        fs::write(directory.path().join("file"), "").unwrap();
        assert_eq!(place(directory.path()).status, Status::Warning);
    }
}
