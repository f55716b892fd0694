//! Metrics count what the service has counted, and are what Prometheus reads.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};

use crate::bed::{Bed, KEY_VARIABLES, MIB, eventually, random_file};
use crate::browser::{got, installed, page_of};

/// Everything of each kind: large and small files, edits, listings, renames, removals.
const MIXED_LOAD: &str = r#"
    mkdir -p a/b
    for i in $(seq 40); do echo "$i" > a/f$i; done
    cp $W/large large
    cat large | md5sum > /dev/null
    cp large copied
    dd if=/dev/urandom of=large bs=1M seek=9 count=3 conv=notrunc status=none
    ls -lR . > /dev/null
    chmod 600 a/f1
    mv a renamed
    cp $W/large again && mv again once-more
    head -c 100 once-more > /dev/null
    rm -r renamed/b renamed/f2 renamed/f3
    ! cat nothing-there 2> /dev/null
    sync
"#;

/// The values of a metric by one of its labels, added up over the others.
fn by_label(exposition: &str, metric: &str, label: &str) -> BTreeMap<String, u64> {
    let mut values: BTreeMap<String, u64> = BTreeMap::new();
    let prefix = format!("{metric}{{");
    for line in exposition.lines().filter(|line| line.starts_with(&prefix)) {
        let (labels, value) = line[prefix.len()..].split_once("} ").unwrap();
        let value_of = |pair: &str| pair.strip_prefix(&format!("{label}=\""))?.strip_suffix('"').map(str::to_owned);
        let name = labels.split(',').find_map(value_of).expect("the label is there");
        *values.entry(name).or_default() += value.parse::<u64>().unwrap();
    }
    values
}

#[test]
fn requests_by_operation_are_those_of_the_access_log_after_a_mixed_load() {
    let plan = tempfile::NamedTempFile::new().unwrap();
    let rules = "[[rule]]\nop = \"UploadPart\"\nfrom = 3\nlimit = 2\nkind = \"status\"\ncode = \"SlowDown\"\n\
                 [[rule]]\nop = \"ListObjects\"\nnth = 2\nkind = \"status\"\ncode = \"InternalError\"\n";
    std::fs::write(plan.path(), rules).unwrap();
    let bed =
        Bed::with(&["--faults", plan.path().to_str().unwrap()], &["--metrics-listen", "0", "--part-size", "2MiB"]);
    let page = page_of(&bed);
    random_file(&bed.local("large"), 21 * MIB + 5, 1);
    bed.sh(MIXED_LOAD);
    eventually("nothing is on its way", || {
        let running = by_label(&got(&page, "/metrics"), "cosmount_requests_in_flight", "operation");
        running.values().all(|count| *count == 0)
    });
    let exposition = got(&page, "/metrics");
    let counted = by_label(&exposition, "cosmount_requests_total", "operation");
    let logged = bed.since_start();
    let logged: BTreeMap<String, u64> =
        logged.summary().into_iter().map(|(op, count)| (op.to_owned(), count as u64)).collect();
    assert_eq!(counted, logged);
    assert!(logged.len() > 9, "the load has many operations: {logged:?}");
    let durations = by_label(&exposition, "cosmount_request_duration_seconds_count", "operation");
    assert_eq!(durations, logged);

    let results = by_label(&exposition, "cosmount_requests_total", "result");
    let failed = bed.since_start().0.iter().filter(|request| request.fault.is_some()).count() as u64;
    assert!(failed == 3 && results["throttled"] + results["internal"] == failed, "{failed}, {results:?}");
    assert_eq!(by_label(&exposition, "cosmount_request_retries_total", "operation").values().sum::<u64>(), failed);
    let sent: u64 = bed.since_start().of("UploadPart").map(|request| request.bytes_in).sum();
    let up = by_label(&exposition, "cosmount_transferred_bytes_total", "direction")["up"];
    assert!(up >= sent && up < sent + 4 * MIB as u64, "{up} bytes went up, {sent} of them in parts");
}

#[test]
fn promtool_finds_nothing_to_complain_of() {
    let bed = Bed::with(&[], &["--metrics-listen", "0"]);
    bed.sh("echo hello > a; cat a > /dev/null; ls");
    let exposition = got(&page_of(&bed), "/metrics");
    let mut command = Command::new(installed("promtool"));
    let checking =
        command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut checking = checking.spawn().unwrap();
    checking.stdin.take().unwrap().write_all(exposition.as_bytes()).unwrap();
    let output = checking.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() && told.is_empty(), "{told}\n{exposition}");
}

#[test]
fn no_secret_is_in_anything_that_is_shown() {
    let bed = Bed::with(&[], &["--metrics-listen", "0"]);
    bed.sh("echo hello > a");
    let page = page_of(&bed);
    let secret = KEY_VARIABLES.rsplit('=').next().unwrap();
    for path in ["/", "/metrics", "/status.json", "/page.js", "/page.css"] {
        let shown = got(&page, path);
        assert!(shown.len() > 100 && !shown.contains(secret), "{path}");
    }
}
