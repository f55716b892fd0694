//! Several programs at once on a mount whose service does wrong on purpose, one request in ten: what was told to be well is
//! right in the bucket, what was not was told, and nothing hangs, leaks or is left over.
//!
//! `COSMOUNT_CHAOS_SECONDS` says for how long (a minute by default), `COSMOUNT_SEED` with which seed.

use std::collections::BTreeMap;
use std::fs;
use std::process::Stdio;
use std::time::Duration;

use cosmount::store::ListRequest;
use cosmount::store::ObjectStore;
use serde_json::Value;

use crate::bed::{Bed, Requests};

const WORKERS: u64 = 4;
const TIMEOUT: &str = "2s";
/// Four timeouts without anything that moves, and what a busy machine makes of it; it is three seconds mostly.
const CALL_DURATION_MAX: Duration = Duration::from_secs(4 * 2 + 12);
/// The buffers of the mount, and beside them what is known of names, the program itself, and threads.
const RSS_KIB_MAX: u64 = (64 + 128) << 10;
/// What goes wrong, as the document has it.
const DOCUMENT: &str = include_str!("../../docs/FAULTS.md");

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().map_or(otherwise, |text| text.parse().unwrap())
}

/// The plan with all kinds.
fn plan(seed: u64) -> String {
    let (_, section) = DOCUMENT.split_once("## All at once").unwrap();
    let text = section.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    text.replacen("seed = 1\n", &format!("seed = {seed}\n"), 1)
}

#[test]
fn programs_survive_a_service_that_does_wrong() {
    let (seconds, seed) = (number("COSMOUNT_CHAOS_SECONDS", 60), number("COSMOUNT_SEED", 1));
    let home = tempfile::tempdir().unwrap();
    let plan_file = home.path().join("plan.toml");
    fs::write(&plan_file, plan(seed)).unwrap();
    let time_max = Duration::from_secs(seconds + 240);
    let mut bed = Bed::unmounted_on_disk(&["--faults", plan_file.to_str().unwrap()]).lasting(time_max);
    bed.mount(&["--request-timeout", TIMEOUT, "--memory", "64M", "--part-size", "1M"]);
    let program = bed.local("chaos.py");
    fs::write(&program, include_str!("chaos.py")).unwrap();
    let workers: Vec<_> = (0..WORKERS)
        .map(|worker| {
            let line = format!("exec python3 {} {worker} {seed} {seconds} $W", program.display());
            bed.command(&line).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    let mut told = Vec::new();
    for worker in workers {
        let output = worker.wait_with_output().unwrap();
        assert!(output.status.success(), "seed {seed}: {}", String::from_utf8_lossy(&output.stderr));
        told.push(serde_json::from_slice::<Value>(&output.stdout).unwrap());
    }
    let rss_kib = peak_rss_kib(bed.mount_pid());
    let is_well = bed.unmount();
    let requests = bed.since_start();
    bed.serve_again(&[]);
    // What could not be ended while everything went wrong, the next mount ends.
    bed.mount(&[]);
    assert!(bed.unmount());
    report(&told, &requests, rss_kib, is_well);
    let mut wrong = violations(&told, &contents(&bed));
    wrong.extend(told.iter().filter_map(too_slow));
    wrong.extend((rss_kib > RSS_KIB_MAX).then(|| format!("{rss_kib} KiB of memory")));
    wrong.extend(orphans(&bed));
    // What is wrong comes last: of a long text the end is what is kept.
    assert!(wrong.is_empty(), "{}\n--- seed {seed}, {seconds} s:\n{}", last_lines(&bed.log()), wrong.join("\n"));
}

fn last_lines(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(200)..].join("\n")
}

/// The digests of all objects.
fn contents(bed: &Bed) -> BTreeMap<String, String> {
    let bucket = bed.bucket();
    let (mut digests, mut marker) = (BTreeMap::new(), None);
    loop {
        let wanted = ListRequest { marker, ..ListRequest::default() };
        let page = bucket.run(|store| store.list(wanted)).unwrap();
        for object in page.objects.into_iter().filter(|object| !object.key.ends_with('/')) {
            let digest = sha256(&bucket.get(&object.key));
            digests.insert(object.key, digest);
        }
        marker = page.next_marker;
        if marker.is_none() {
            return digests;
        }
    }
}

/// As Python has it.
fn sha256(content: &[u8]) -> String {
    use std::io::Write as _;
    let mut sum = std::process::Command::new("sha256sum");
    let mut sum = sum.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    sum.stdin.take().unwrap().write_all(content).unwrap();
    let told = sum.wait_with_output().unwrap().stdout;
    String::from_utf8_lossy(&told).split(' ').next().unwrap().to_owned()
}

/// What is in the bucket and must not be, or is not and must.
fn violations(told: &[Value], is: &BTreeMap<String, String>) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut expected: BTreeMap<&str, &Value> = BTreeMap::new();
    for worker in told {
        wrong.extend(worker["wrong"].as_array().unwrap().iter().map(ToString::to_string));
        expected.extend(worker["files"].as_object().unwrap().iter().map(|(name, digests)| (name.as_str(), digests)));
        for pair in worker["either"].as_array().unwrap() {
            let is_there = |one: &Value| is.get(one[0].as_str().unwrap()).map(String::as_str) == one[1].as_str();
            // A name that was given to something else later is in doubt by another rule.
            if !pair.as_array().unwrap().iter().any(is_there) {
                wrong.push(format!("a rename lost its file: {pair}"));
            }
        }
    }
    for (name, digests) in &expected {
        let found = is.get(*name).map(String::as_str);
        if !digests.as_array().unwrap().iter().any(|digest| digest.as_str() == found) {
            wrong.push(format!("{name} is {found:?} in the bucket, and should be one of {digests}"));
        }
    }
    let leftovers = || told.iter().flat_map(|worker| worker["leftovers"].as_array().unwrap());
    let is_left_over = |key: &str| leftovers().any(|prefix| key.starts_with(prefix.as_str().unwrap()));
    let unknown = is.keys().filter(|key| !expected.contains_key(key.as_str()) && !is_left_over(key));
    wrong.extend(unknown.map(|key| format!("{key} is in the bucket, and nobody wrote it")));
    wrong
}

fn too_slow(worker: &Value) -> Option<String> {
    let seconds = worker["slowest_seconds"].as_f64().unwrap();
    (seconds > CALL_DURATION_MAX.as_secs_f64()).then(|| format!("{} took {seconds:.1} s", worker["slowest"]))
}

/// Unfinished uploads.
fn orphans(bed: &Bed) -> Option<String> {
    let unfinished = bed.bucket().run(|store| store.list_uploads("")).unwrap();
    (!unfinished.is_empty()).then(|| format!("{} unfinished uploads: {unfinished:?}", unfinished.len()))
}

fn peak_rss_kib(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn report(told: &[Value], requests: &Requests, rss_kib: u64, is_well: bool) {
    let mut faults: BTreeMap<&str, usize> = BTreeMap::new();
    for fault in requests.0.iter().filter_map(|request| request.fault.as_deref()) {
        *faults.entry(fault).or_default() += 1;
    }
    let struck: usize = faults.values().sum();
    println!("{} requests, {struck} of them struck: {faults:?}", requests.0.len());
    println!("{} MiB of memory at most, unmounted well: {is_well}", rss_kib >> 10);
    for worker in told {
        println!(
            "{} calls, {} failed {}, the slowest took {:.1} s: {}, {}",
            worker["calls"],
            worker["failed"],
            worker["errors"],
            worker["slowest_seconds"].as_f64().unwrap(),
            worker["slowest"],
            worker["deeds"],
        );
    }
}
