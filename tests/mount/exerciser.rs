//! The file system exerciser `fsx` on the mount: random calls of one process on one file, `mmap` among them.
//!
//! It writes, reads, maps, cuts, allocates, punches and copies, and compares every byte and every size with what it
//! keeps in memory. `FSX_OPS` and `FSX_SEEDS` make it as long as somebody likes: `FSX_OPS=200000 FSX_SEEDS=5` is what a
//! release must pass. `scripts/setup` installs the program.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::bed::{Bed, KIB, MIB, assert_same};
use crate::passthrough::{sees_mappings, warm};

const MOUNT: [&str; 4] = ["--part-size", "1MiB", "--memory", "32MiB"];
/// What a run may take beside the time for its operations.
const DURATION_BESIDE_OPS: Duration = Duration::from_secs(240);
/// What an operation may take on average before the run counts as hanging.
const DURATION_PER_OP: Duration = Duration::from_millis(20);
/// How much of the log a failure shows.
const LINES_SHOWN: usize = 100;

/// What one run does.
#[derive(Clone, Copy)]
struct Plan {
    file_bytes_max: usize,
    operation_bytes_max: usize,
    operations: u32,
    seed: u32,
    /// The operation that is left out, so that there is a difference to be found.
    injected: Option<u32>,
}

impl Plan {
    fn configuration(&self) -> String {
        let text = include_str!("fsx.toml").replace("FILE_BYTES_MAX", &self.file_bytes_max.to_string());
        text.replace("OPERATION_BYTES_MAX", &self.operation_bytes_max.to_string())
    }

    /// Runs it on `file`, with what fsx needs in `work`. A failure is a report: the seed, the way to do it again, and the
    /// last operations.
    fn run(&self, file: &Path, work: &Path) -> Result<(), String> {
        let (configuration, log) = (work.join("fsx.toml"), work.join("fsx.log"));
        fs::write(&configuration, self.configuration()).unwrap();
        let mut command = Command::new(installed());
        command.arg("-v").args(["-N", &self.operations.to_string(), "-S", &self.seed.to_string()]);
        command.arg("-f").arg(&configuration).arg("-P").arg(work);
        if let Some(operation) = self.injected {
            command.args(["--inject", &operation.to_string()]);
        }
        command.arg(file);
        let output = File::create(&log).unwrap();
        let status = command.stdout(output.try_clone().unwrap()).stderr(output).status().unwrap();
        if status.success() {
            return Ok(());
        }
        let told = fs::read_to_string(&log).unwrap();
        let lines: Vec<&str> = told.lines().collect();
        let kept = target().join(format!("failed-{}-seed-{}.log", self.file_bytes_max, self.seed));
        let whole = match fs::copy(&log, &kept) {
            Ok(_) => format!("all {} lines are in {}", lines.len(), kept.display()),
            Err(error) => format!("the log could not be kept: {error}"),
        };
        // After its complaint it lists once more what led to it, which is in the log already.
        let complaint = lines.iter().position(|line| line.contains("LOG DUMP"));
        let end = complaint.unwrap_or(lines.len());
        let last = lines[end.saturating_sub(LINES_SHOWN)..end].join("\n");
        Err(format!(
            "seed {}: {status}\n{command:?}\n{}\n--- the end of its log; {whole}\n{last}",
            self.seed,
            self.configuration()
        ))
    }
}

fn target() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/fsx")
}

fn installed() -> PathBuf {
    let program = target().join("bin/fsx");
    assert!(program.exists(), "{} is missing: run scripts/setup", program.display());
    program
}

/// A number of the environment.
fn chosen(variable: &str, otherwise: u32) -> u32 {
    std::env::var(variable).map_or(otherwise, |text| text.parse().expect("a number"))
}

/// Runs the plan with every seed, each on a mount of its own, and looks at what is in the bucket afterwards.
fn exercise(plan: Plan) {
    exercise_with(plan, false);
}

/// The same with copies on the disk, or without. With them somebody has the file open all the time, for whom the kernel reads it by itself
/// where it can.
fn exercise_with(plan: Plan, is_cached: bool) {
    let operations = chosen("FSX_OPS", plan.operations);
    for seed in plan.seed..plan.seed + chosen("FSX_SEEDS", 1) {
        let time_max = DURATION_BESIDE_OPS + DURATION_PER_OP * operations;
        let mut bed = Bed::unmounted(&[]).lasting(time_max);
        let cache = bed.local("cache");
        let options = if is_cached { vec!["--cache", cache.to_str().unwrap()] } else { Vec::new() };
        let options = [&MOUNT[..], &options].concat();
        bed.mount(&options);
        let reader = (is_cached && sees_mappings()).then(|| {
            fs::write(bed.at("f"), vec![7; plan.file_bytes_max]).unwrap();
            warm(&bed, "f");
            File::open(bed.at("f")).unwrap()
        });
        if let Err(report) = (Plan { operations, seed, ..plan }).run(&bed.at("f"), &bed.local("")) {
            panic!("{report}");
        }
        let left = fs::read(bed.at("f")).unwrap();
        if let Some(mut reader) = reader {
            let mut seen = Vec::new();
            reader.read_to_end(&mut seen).unwrap();
            assert_same(&seen, &left);
        }
        bed.remount_with(&options);
        assert_same(&fs::read(bed.at("f")).unwrap(), &left);
        assert_same(&bed.bucket().get("f"), &left);
        assert_eq!(bed.bucket().keys(), ["f"]);
        bed.bucket().assert_no_unfinished_uploads();
    }
}

const SMALL: Plan =
    Plan { file_bytes_max: 256 * KIB, operation_bytes_max: 64 * KIB, operations: 5_000, seed: 1, injected: None };

#[test]
fn the_exerciser_finds_no_difference_in_a_small_file() {
    exercise(SMALL);
}

#[test]
fn the_exerciser_finds_no_difference_in_a_file_that_the_kernel_reads_by_itself() {
    exercise_with(SMALL, true);
    exercise_with(
        Plan { file_bytes_max: 6 * MIB + 4321, operation_bytes_max: 300 * KIB, operations: 1500, ..SMALL },
        true,
    );
}

#[test]
fn the_exerciser_finds_no_difference_in_a_file_of_several_parts() {
    exercise(Plan { file_bytes_max: 6 * MIB + 4321, operation_bytes_max: 300 * KIB, ..SMALL });
}

#[test]
fn a_difference_is_reported_with_its_seed_and_what_led_to_it() {
    /// What seed 7 does then.
    const TRUNCATION: u32 = 129;
    let work = tempfile::tempdir().unwrap();
    let file = work.path().join("f");
    let plan = Plan { operations: 1_000, seed: 7, ..SMALL };
    plan.run(&file, work.path()).expect("a local disk makes no difference");
    let report = Plan { injected: Some(TRUNCATION), ..plan }.run(&file, work.path()).unwrap_err();
    for expected in ["seed 7: ", "\"-S\" \"7\"", "flen = 262144", " 128 ", "Size error: ", "Using seed 7"] {
        assert!(report.contains(expected), "{expected} in\n{report}");
    }
}
