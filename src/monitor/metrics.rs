//! What a mount counts, in the words of Prometheus: made of one look at the mount whenever somebody asks, so that nothing is
//! counted twice.
//!
//! Every label has few values, all of them constants of this program: operations, calls, results, states. Keys, paths, ids and
//! codes of the service are in the page and the log.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, SystemTime};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeMetric, MetricEncoder, NoLabelSet, prometheus_text,
    text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use super::observer::{Look, Totals};
use super::status::{FileStage, Status};
use crate::stats::{Latency, Operation};

/// Two ways to write the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// Prometheus's own, version 0.0.4, which everything reads.
    Prometheus,
    /// OpenMetrics 1.0, which tells units.
    OpenMetrics,
}

impl Format {
    /// The better one that a client takes, by its `Accept`.
    pub(super) fn accepted(accept: &str) -> Format {
        if accept.contains("application/openmetrics-text") { Format::OpenMetrics } else { Format::Prometheus }
    }

    pub(super) fn content_type(self) -> &'static str {
        match self {
            Format::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Writes all metrics.
pub(super) fn written(look: Look, format: Format) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(look));
    let mut written = String::new();
    match format {
        Format::Prometheus => prometheus_text::encode(&mut written, &registry)?,
        Format::OpenMetrics => text::encode(&mut written, &registry)?,
    }
    Ok(written)
}

/// A metric: its name without what its unit and its kind add to it, and what it is.
struct Family {
    name: &'static str,
    unit: Option<Unit>,
    help: &'static str,
}

/// A metric without a unit.
const fn of(name: &'static str, help: &'static str) -> Family {
    Family { name, unit: None, help }
}

const fn in_seconds(name: &'static str, help: &'static str) -> Family {
    Family { name, unit: Some(Unit::Seconds), help }
}

const fn in_bytes(name: &'static str, help: &'static str) -> Family {
    Family { name, unit: Some(Unit::Bytes), help }
}

/// Bounds of the times that requests take, in milliseconds. A part of 8 MiB takes some 100 ms on a fast line; requests that
/// fail are given up after 90 s.
const REQUEST_BOUNDS_MS: [u64; 13] = [5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 90_000];

/// Bounds of the times that calls take, in microseconds: most are answered from memory.
const CALL_BOUNDS_US: [u64; 9] = [25, 100, 500, 2_500, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];

impl Collector for Look {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Look { status, totals, requests, calls } = self;
        let mut families = Families(&mut encoder);
        mount(&mut families, status, totals)?;
        of_requests(&mut families, requests)?;
        of_calls(&mut families, calls)?;
        transfer(&mut families, status, totals)?;
        disk_cache(&mut families, status)?;
        memory(&mut families, status)?;
        files(&mut families, status, totals)?;
        credentials(&mut families, status, totals)?;
        cost(&mut families, status)
    }
}

fn mount(families: &mut Families<'_, '_>, status: &Status, totals: &Totals) -> fmt::Result {
    const BUILD: Family = of("cosmount_build_info", "The version of the program; always 1.");
    const STARTED: Family = in_seconds("cosmount_start_time", "When the mount answered, in Unix time.");
    families.gauges(&BUILD, [([("version", status.version.as_str())], 1)])?;
    families.gauges(&STARTED, totals.mounted_at.map(|at| (NO_LABEL, unix_seconds(at))))
}

fn of_requests(families: &mut Families<'_, '_>, requests: &BTreeMap<&'static str, Operation>) -> fmt::Result {
    const REQUESTS: Family = of(
        "cosmount_requests",
        "Requests to the service that have ended, every attempt counted; result ok is a success.",
    );
    const RETRIES: Family = of("cosmount_request_retries", "Requests that were repeats of one that had failed.");
    const RUNNING: Family = of("cosmount_requests_in_flight", "Requests to the service that are on their way.");
    const DURATION: Family =
        in_seconds("cosmount_request_duration", "How long requests took to the last byte of their answer.");
    let results = |(name, operation): (&&'static str, &Operation)| {
        let (name, results) = (*name, operation.results.clone());
        results.into_iter().map(move |(result, count)| ([("operation", name), ("result", result)], count))
    };
    families.counters(&REQUESTS, requests.iter().flat_map(results))?;
    let by_name = |amount: fn(&Operation) -> u64| {
        requests.iter().map(move |(name, operation)| ([("operation", *name)], amount(operation)))
    };
    families.counters(&RETRIES, by_name(|operation| operation.repeats))?;
    families.gauges(&RUNNING, by_name(|operation| operation.running))?;
    let bounds = REQUEST_BOUNDS_MS.map(Duration::from_millis);
    families.histograms(&DURATION, &bounds, requests.iter().map(|(name, of)| ([("operation", *name)], &of.latency)))
}

fn of_calls(families: &mut Families<'_, '_>, calls: &BTreeMap<&'static str, Operation>) -> fmt::Result {
    const CALLS: Family =
        of("cosmount_calls", "Calls of programs that were answered; result is ok, or the errno by its name.");
    const DURATION: Family = in_seconds("cosmount_call_duration", "How long programs waited for the answers of calls.");
    let results = |(name, call): (&&'static str, &Operation)| {
        let (name, results) = (*name, call.results.clone());
        results.into_iter().map(move |(result, count)| ([("call", name), ("result", result)], count))
    };
    families.counters(&CALLS, calls.iter().flat_map(results))?;
    let bounds = CALL_BOUNDS_US.map(Duration::from_micros);
    families.histograms(&DURATION, &bounds, calls.iter().map(|(name, of)| ([("call", *name)], &of.latency)))
}

fn transfer(families: &mut Families<'_, '_>, status: &Status, totals: &Totals) -> fmt::Result {
    const BYTES: Family = in_bytes("cosmount_transferred", "Payload bytes to the service (up) and from it (down).");
    const PUBLISHED: Family = of("cosmount_objects_published", "Objects that were published.");
    const BLOCKS: Family = of(
        "cosmount_read_blocks",
        "Blocks that readers asked for: hit, in memory or on their way there; miss, asked of the service.",
    );
    const SKIPPED: Family =
        of("cosmount_keys_skipped", "Keys in listings that cannot be file names and were left out.");
    let transfer = &status.transfer;
    families.counters(
        &BYTES,
        [([("direction", "up")], transfer.bytes_up), ([("direction", "down")], transfer.bytes_down)],
    )?;
    families.counters(&PUBLISHED, [(NO_LABEL, transfer.published)])?;
    let blocks = [([("result", "hit")], transfer.cache_hits), ([("result", "miss")], transfer.cache_misses)];
    families.counters(&BLOCKS, blocks)?;
    families.counters(&SKIPPED, [(NO_LABEL, totals.keys_skipped)])
}

fn disk_cache(families: &mut Families<'_, '_>, status: &Status) -> fmt::Result {
    const TAKEN: Family = in_bytes("cosmount_disk_cache", "What the cache on disk takes of it.");
    const LOOKS: Family = of("cosmount_disk_cache_looks", "Looks into the cache on disk: hit or miss.");
    const READ: Family = in_bytes("cosmount_disk_cache_read", "Bytes that were read from the cache on disk.");
    const EVICTED: Family = of("cosmount_disk_cache_evicted_files", "Copies that made way in the cache on disk.");
    const LOST: Family =
        of("cosmount_disk_cache_lost_pieces", "Pieces that were not kept, because the disk was slower than what came.");
    const PASSED: Family =
        of("cosmount_disk_cache_passthrough_opens", "Files that were opened for the kernel to read by itself.");
    let Some(cache) = &status.disk_cache else { return Ok(()) };
    families.gauges(&TAKEN, [(NO_LABEL, cache.bytes)])?;
    families.counters(&LOOKS, [([("result", "hit")], cache.hits), ([("result", "miss")], cache.misses)])?;
    families.counters(&READ, [(NO_LABEL, cache.hit_bytes)])?;
    families.counters(&EVICTED, [(NO_LABEL, cache.evicted)])?;
    families.counters(&LOST, [(NO_LABEL, cache.lost)])?;
    families.counters(&PASSED, [(NO_LABEL, cache.passthrough_opens)])
}

fn memory(families: &mut Families<'_, '_>, status: &Status) -> fmt::Result {
    const HELD: Family = in_bytes(
        "cosmount_memory",
        "Memory by who holds it: writers (not in the bucket yet), readers (blocks), idle (buffers that nobody uses), \
         names (names and attributes).",
    );
    const LIMITS: Family = in_bytes("cosmount_memory_limit", "What buffers together, and names, may take.");
    const WAITING: Family = of("cosmount_memory_waiters", "Writers and readers that wait for a buffer.");
    let memory = &status.memory;
    let held =
        [("writers", memory.writers), ("readers", memory.readers), ("idle", memory.idle), ("names", memory.names)];
    families.gauges(&HELD, held.map(|(holder, bytes)| ([("holder", holder)], bytes as u64)))?;
    let limits = [("buffers", memory.limit), ("names", memory.names_limit)];
    families.gauges(&LIMITS, limits.map(|(of, bytes)| ([("of", of)], bytes as u64)))?;
    families.gauges(&WAITING, [(NO_LABEL, memory.waiting as u64)])
}

fn files(families: &mut Families<'_, '_>, status: &Status, totals: &Totals) -> fmt::Result {
    const FILES: Family = of("cosmount_files", "Files that programs have open or that wait to be published, by state.");
    const HANDLES: Family =
        of("cosmount_open_handles", "Handles that programs have on files, by whether they may write.");
    const DIRECTORIES: Family = of("cosmount_open_directories", "Open directories.");
    const UNPUBLISHED: Family = of("cosmount_unpublished_files", "Files of which something is not in the bucket yet.");
    const UPLOADS: Family = of("cosmount_uploads", "Multipart uploads that are running.");
    const PARTS: Family = of("cosmount_upload_parts", "Parts of the uploads that are running, by state.");
    let by_stage = FileStage::ALL.map(|stage| {
        let count = totals.files.get(&stage).copied().unwrap_or(0);
        ([("state", stage.name())], count as u64)
    });
    families.gauges(&FILES, by_stage)?;
    let handles = [("read", totals.readers), ("write", totals.writers)];
    families.gauges(&HANDLES, handles.map(|(mode, count)| ([("mode", mode)], count as u64)))?;
    families.gauges(&DIRECTORIES, [(NO_LABEL, status.open_directories as u64)])?;
    families.gauges(&UNPUBLISHED, [(NO_LABEL, status.unpublished_count as u64)])?;
    families.gauges(&UPLOADS, [(NO_LABEL, totals.uploads as u64)])?;
    let parts = &totals.parts;
    let parts = [
        ("waiting", parts.waiting),
        ("sending", parts.sending),
        ("landed", parts.landed - parts.copied),
        ("copied", parts.copied),
    ];
    families.gauges(&PARTS, parts.map(|(state, count)| ([("state", state)], count as u64)))
}

fn credentials(families: &mut Families<'_, '_>, status: &Status, totals: &Totals) -> fmt::Result {
    const ENDS: Family = in_seconds(
        "cosmount_credentials_expiry_timestamp",
        "When the key in use ends, in Unix time; absent if it does not.",
    );
    const FAILING: Family = of(
        "cosmount_credentials_renewal_failing",
        "1 where there should be a newer key and none could be had, else 0.",
    );
    families.gauges(&ENDS, totals.key_ends_at.map(|at| (NO_LABEL, unix_seconds(at))))?;
    families.gauges(&FAILING, [(NO_LABEL, u64::from(status.credentials.problem.is_some()))])
}

fn cost(families: &mut Families<'_, '_>, status: &Status) -> fmt::Result {
    const COST: Family = of(
        "cosmount_estimated_cost",
        "What requests and bytes have cost, by the prices of the configuration; absent where there are none.",
    );
    let Some(cost) = &status.cost else { return Ok(()) };
    let by = cost.by.iter();
    families.counters(&COST, by.map(|(item, amount)| ([("currency", cost.currency.as_str()), ("item", item)], *amount)))
}

/// Of a metric that is one number.
const NO_LABEL: [(&str, &str); 0] = [];

fn unix_seconds(at: SystemTime) -> f64 {
    at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// Writes metrics, each with its values by labels. One without values is left out.
struct Families<'a, 'e>(&'a mut DescriptorEncoder<'e>);

/// Labels by their names.
type Labels<'l, const N: usize> = [(&'static str, &'l str); N];

impl Families<'_, '_> {
    fn counters<'l, const N: usize, V>(
        &mut self,
        family: &Family,
        values: impl IntoIterator<Item = (Labels<'l, N>, V)>,
    ) -> fmt::Result
    where
        ConstCounter<V>: EncodeMetric,
        V: EncodeCounterValue,
    {
        let values = values.into_iter().map(|(labels, value)| (labels, ConstCounter::new(value)));
        self.write(family, MetricType::Counter, values, |value, encoder| value.encode(encoder))
    }

    fn gauges<'l, const N: usize, V>(
        &mut self,
        family: &Family,
        values: impl IntoIterator<Item = (Labels<'l, N>, V)>,
    ) -> fmt::Result
    where
        ConstGauge<V>: EncodeMetric,
        V: EncodeGaugeValue,
    {
        let values = values.into_iter().map(|(labels, value)| (labels, ConstGauge::new(value)));
        self.write(family, MetricType::Gauge, values, |value, encoder| value.encode(encoder))
    }

    fn histograms<'l, const N: usize>(
        &mut self,
        family: &Family,
        bounds: &[Duration],
        values: impl IntoIterator<Item = (Labels<'l, N>, &'l Latency)>,
    ) -> fmt::Result {
        self.write(family, MetricType::Histogram, values, |latency, mut encoder| {
            let (sum, count) = (latency.sum().as_secs_f64(), latency.count());
            encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets(latency, bounds), None)
        })
    }

    fn write<'l, const N: usize, V>(
        &mut self,
        family: &Family,
        kind: MetricType,
        values: impl IntoIterator<Item = (Labels<'l, N>, V)>,
        write: impl Fn(V, MetricEncoder<'_>) -> fmt::Result,
    ) -> fmt::Result {
        let mut values = values.into_iter().peekable();
        if values.peek().is_none() {
            return Ok(());
        }
        let mut encoder = self.0.encode_descriptor(family.name, family.help, family.unit.as_ref(), kind)?;
        for (labels, value) in values {
            write(value, encoder.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

/// How many times lie within each bound and beyond the one before it; those beyond all bounds come last.
fn buckets(latency: &Latency, bounds: &[Duration]) -> Vec<(f64, u64)> {
    let mut below = 0;
    let within = bounds.iter().map(|bound| (bound.as_secs_f64(), latency.count_within(*bound)));
    within
        .chain([(f64::INFINITY, latency.count())])
        .map(|(bound, within)| {
            let here = within.saturating_sub(below);
            below = below.max(within);
            (bound, here)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::samples;
    use super::*;

    /// Every metric: its name, its kind and its labels, as an exposition has them.
    fn found(text: &str) -> BTreeMap<String, (String, BTreeSet<String>)> {
        let mut found: BTreeMap<String, (String, BTreeSet<String>)> = BTreeMap::new();
        let mut present = String::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                present = name.to_owned();
                found.insert(present.clone(), (kind.to_owned(), BTreeSet::new()));
            } else if let Some((_, labels)) = line.split_once('{').filter(|_| !line.starts_with('#')) {
                let names = labels.split('}').next().unwrap().split(',').map(|label| label.split('=').next().unwrap());
                let names = names.filter(|name| *name != "le").map(str::to_owned);
                found.get_mut(&present).unwrap().1.extend(names);
            }
        }
        found
    }

    fn prometheus() -> String {
        written(samples::look(), Format::Prometheus).unwrap()
    }

    #[test]
    fn numbers_are_those_of_the_look() {
        let text = prometheus();
        let lines = [
            "cosmount_requests_total{operation=\"UploadPart\",result=\"ok\"} 3",
            "cosmount_requests_total{operation=\"UploadPart\",result=\"throttled\"} 1",
            "cosmount_request_retries_total{operation=\"UploadPart\"} 1",
            "cosmount_requests_in_flight{operation=\"UploadPart\"} 2",
            "cosmount_request_duration_seconds_bucket{operation=\"UploadPart\",le=\"0.1\"} 3",
            "cosmount_request_duration_seconds_bucket{operation=\"UploadPart\",le=\"+Inf\"} 4",
            "cosmount_request_duration_seconds_count{operation=\"UploadPart\"} 4",
            "cosmount_calls_total{call=\"read\",result=\"EIO\"} 1",
            "cosmount_transferred_bytes_total{direction=\"up\"} 25165824",
            "cosmount_read_blocks_total{result=\"hit\"} 5",
            "cosmount_memory_bytes{holder=\"writers\"} 16777216",
            "cosmount_memory_waiters 1",
            "cosmount_files{state=\"dirty\"} 1",
            "cosmount_upload_parts{state=\"landed\"} 2",
            "cosmount_upload_parts{state=\"copied\"} 1",
            "cosmount_estimated_cost_total{currency=\"CNY\",item=\"read_requests\"} 0.25",
            "cosmount_credentials_expiry_timestamp_seconds 3600.0",
        ];
        for line in lines {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn units_and_the_end_are_told_to_who_takes_openmetrics() {
        let text = written(samples::look(), Format::accepted("application/openmetrics-text;version=1.0.0,*/*;q=0.1"));
        let text = text.unwrap();
        assert!(text.contains("# UNIT cosmount_memory_bytes bytes\n") && text.ends_with("# EOF\n"), "{text}");
        assert!(text.contains("# TYPE cosmount_requests counter\n"));
        assert_eq!(Format::accepted("text/plain"), Format::Prometheus);
    }

    #[test]
    fn what_there_is_none_of_is_left_out() {
        let mut look = samples::look();
        (look.status.cost, look.totals.key_ends_at) = (None, None);
        let text = written(look, Format::Prometheus).unwrap();
        assert!(!text.contains("cost") && !text.contains("expiry"));
    }

    /// What people and ids of objects are called is in no metric.
    #[test]
    fn no_label_has_a_value_that_others_choose() {
        let text = prometheus();
        for secret in samples::CHOSEN_BY_OTHERS {
            assert!(!text.contains(secret), "{secret} is in\n{text}");
        }
    }

    /// The table of docs/METRICS.md and what is exported are the same.
    #[test]
    fn the_document_lists_every_metric_and_no_other() {
        let document = include_str!("../../docs/METRICS.md");
        let rows = document.lines().filter(|line| line.starts_with("| `cosmount_"));
        let cells = rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>());
        let words = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<BTreeSet<_>>();
        let listed: BTreeMap<_, _> = cells
            .map(|cells| (cells[0].trim_matches('`').to_owned(), (cells[1].to_owned(), words(cells[2]))))
            .collect();
        assert_eq!(listed, found(&prometheus()));
    }

    /// What the dashboard asks for is exported, by its labels too.
    #[test]
    fn the_dashboard_asks_for_what_there_is() {
        let dashboard: serde_json::Value =
            serde_json::from_str(include_str!("../../packaging/grafana-dashboard.json")).unwrap();
        let exported = found(&prometheus());
        let mut asked = BTreeSet::new();
        let mut rest = vec![&dashboard];
        while let Some(value) = rest.pop() {
            match value {
                serde_json::Value::Object(fields) => rest.extend(fields.values()),
                serde_json::Value::Array(items) => rest.extend(items),
                serde_json::Value::String(text) => {
                    let is_other = |letter: char| !letter.is_alphanumeric() && letter != '_';
                    let names = text.split(is_other).filter(|word| word.starts_with("cosmount_"));
                    asked.extend(names.map(|name| {
                        let suffix = ["_bucket", "_sum", "_count"].into_iter().find_map(|end| name.strip_suffix(end));
                        suffix.filter(|name| exported.contains_key(*name)).unwrap_or(name).to_owned()
                    }));
                }
                _ => {}
            }
        }
        let unknown: Vec<_> = asked.iter().filter(|name| !exported.contains_key(*name)).collect();
        assert!(unknown.is_empty() && asked.len() > 12, "{unknown:?} of {asked:?}");
    }

    #[test]
    fn buckets_hold_each_time_once() {
        let mut latency = Latency::default();
        for millis in [1, 20, 20, 700, 200_000] {
            latency.add(Duration::from_millis(millis));
        }
        let found = buckets(&latency, &[5, 25, 500, 1000].map(Duration::from_millis));
        assert_eq!(found, [(0.005, 1), (0.025, 2), (0.5, 0), (1.0, 1), (f64::INFINITY, 1)]);
    }
}
