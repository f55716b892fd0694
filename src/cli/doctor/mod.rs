//! `cosmount doctor`: everything that a mount needs, tried one by one, and each cause named once.
//!
//! The checks are small functions of this folder that give findings; this file asks them in order, leaves out what a failure
//! explains, and shows what was found as it is found. What is written into the bucket is removed again, whatever happens.

mod access;
mod bucket;
mod machine;
mod network;
mod probe;
mod rendering;
mod report;

use std::path::PathBuf;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::timeout;

use super::arguments::DoctorArguments;
use super::diagnosis::{self, Diagnosis, Subject};
use super::failure::{Exit, Failure};
use super::terminal::{self, Terminal};
use super::topic::Topic;
use super::{obstacles, process_environment, runtime, session};
use crate::config::{ConfigError, MountConfig, MountRequest, Service};
use crate::store::{CredentialCache, HttpStore, ListRequest, ObjectStore, RetryOptions};
use crate::wire::address::Endpoint;
use crate::wire::sign::Credentials;
use probe::Probe;
use report::{Finding, Report};

/// What is asked of the service, in the order in which it is shown.
const OF_THE_SERVICE: [Topic; 20] = [
    Topic::Dns,
    Topic::Tcp,
    Topic::Tls,
    Topic::Service,
    Topic::Clock,
    Topic::Credentials,
    Topic::Region,
    Topic::Bucket,
    Topic::Prefix,
    Topic::List,
    Topic::Put,
    Topic::Get,
    Topic::Copy,
    Topic::Multipart,
    Topic::Delete,
    Topic::Lifecycle,
    Topic::Leftovers,
    Topic::Versioning,
    Topic::Latency,
    Topic::Throughput,
];

/// How long what is on its way may go on when somebody wants the end.
const STOP_PATIENCE: Duration = Duration::from_secs(3);

/// Checks, shows, and gives the exit code of the first failure.
pub(super) fn run(arguments: &DoctorArguments) -> Result<Result<(), Exit>, Failure> {
    let directory = std::env::current_dir().map_err(|error| {
        Failure::new(Exit::Usage, format!("the present directory cannot be used: {error}; go to another one"))
    })?;
    let request = MountRequest { directory, ..arguments.request() };
    let place = arguments.mount_point.as_ref().map(|place| request.directory.join(place));
    let config = MountConfig::build(request, &process_environment());
    let mut sheet = Sheet::begin(&config, arguments);
    let runtime = runtime()?;
    sheet.report.is_interrupted = runtime.block_on(examine(&mut sheet, &config, place, arguments.writes_nothing()));
    // A name that is still being looked up must not keep the process.
    runtime.shutdown_background();
    sheet.end();
    Ok(sheet.report.exit())
}

/// Does all of it, and cleans up. Returns whether somebody wanted the end.
async fn examine(
    sheet: &mut Sheet,
    config: &Result<MountConfig, ConfigError>,
    place: Option<PathBuf>,
    writes_nothing: bool,
) -> bool {
    let (stop, stopping) = watch::channel(false);
    let mut bench = Bench { probe: None, stopping };
    let mut checks = Box::pin(check_all(sheet, &mut bench, config, place, writes_nothing));
    let stopped = tokio::select! {
        () = &mut checks => false,
        () = told_to_end() => {
            let _ = stop.send(true);
            // What is being written comes to its end first, so that it can be removed.
            let _ = timeout(STOP_PATIENCE, &mut checks).await;
            true
        }
    };
    drop(checks);
    if let Some(probe) = &mut bench.probe {
        // The same signal once more leaves everything as it is.
        let left = tokio::select! {
            left = probe.clean() => left,
            () = told_to_end() => vec![format!("{} (not looked for)", probe.name())],
        };
        sheet.report.left_behind = left;
    }
    stopped
}

/// Returns when a signal asks for the end.
async fn told_to_end() {
    let next = |kind: SignalKind| async move {
        let listening: Option<Signal> = signal(kind).ok();
        match listening {
            Some(mut signal) => drop(signal.recv().await),
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = next(SignalKind::interrupt()) => {}
        () = next(SignalKind::terminate()) => {}
        () = next(SignalKind::hangup()) => {}
    }
}

/// What outlives checks that are cut off.
struct Bench {
    /// What was made in the bucket.
    probe: Option<Probe>,
    /// Whether somebody wants the end.
    stopping: watch::Receiver<bool>,
}

impl Bench {
    fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }
}

async fn check_all(
    sheet: &mut Sheet,
    bench: &mut Bench,
    config: &Result<MountConfig, ConfigError>,
    place: Option<PathBuf>,
    writes_nothing: bool,
) {
    sheet.add_all(machine::configuration(config));
    let allow_other = config.as_ref().is_ok_and(|config| config.fuse.allow_other);
    let search_path = crate::cli::search_path();
    let mounting = tokio::task::spawn_blocking(move || machine::mounting(&search_path, allow_other));
    sheet.add_all(mounting.await.unwrap_or_default());
    sheet.add(machine::open_files());
    if let Ok(config) = config {
        sheet.add(machine::memory(config));
        sheet.add(machine::state(config));
    }
    if let Some(place) = place {
        sheet.add(machine::place(&place));
    }
    match config {
        Ok(config) => service(sheet, bench, config, writes_nothing).await,
        Err(_) => sheet.skip_rest("the configuration cannot be used"),
    }
}

/// The service and the bucket, until a failure explains the rest.
async fn service(sheet: &mut Sheet, bench: &mut Bench, config: &MountConfig, writes_nothing: bool) {
    let Service::Remote { endpoint, keys } = &config.service else { return };
    // The way to the service needs no key, and is looked at without one.
    let nobody = Credentials { secret_id: String::new(), secret_key: String::new(), token: None };
    let unsigned = Subject::of(config, endpoint, &CredentialCache::from(nobody));
    let way = network::check(&unsigned).await;
    sheet.add_all(way);
    if let Some(failed) = sheet.failed_of_the_service() {
        // Where keys come from can be told all the same.
        match session::first_key(keys, &config.network).await {
            Ok(credentials) => {
                sheet.add(access::untried_key(&credentials, &Subject::of(config, endpoint, &credentials)));
            }
            Err(diagnosis) => sheet.add(diagnosis.into()),
        }
        return sheet.skip_rest(&failed);
    }
    let credentials = match session::first_key(keys, &config.network).await {
        Ok(credentials) => credentials,
        Err(diagnosis) => {
            sheet.add(diagnosis.into());
            return sheet.skip_rest("there is no key");
        }
    };
    let subject = Subject::of(config, endpoint, &credentials);
    let store = match connect(config, endpoint, &credentials) {
        Ok(store) => store,
        Err(diagnosis) => {
            sheet.add(diagnosis.into());
            return sheet.skip_rest("no client can be made");
        }
    };
    if let Err(diagnosis) = obstacles::check_region(&subject).await {
        sheet.add(diagnosis.into());
    } else {
        sheet.add_all(access::check(&store, &subject).await);
    }
    if let Some(failed) = sheet.failed_of_the_service() {
        return sheet.skip_rest(&failed);
    }
    prefix(sheet, &store, &subject).await;
    if let Some(failed) = sheet.failed_of_the_service() {
        return sheet.skip_rest(&failed);
    }
    list(sheet, &store, &subject).await;
    let writes_nothing = writes_nothing || config.fs.read_only;
    permissions(sheet, bench, &store, &subject, config, writes_nothing).await;
    of_the_bucket(sheet, bench, &store, &subject, config).await;
}

fn connect(config: &MountConfig, endpoint: &Endpoint, credentials: &CredentialCache) -> Result<HttpStore, Diagnosis> {
    // Somebody looks on.
    let deadline = config.retry.deadline.min(session::FIRST_ANSWER_DEADLINE);
    let retry = RetryOptions { deadline, ..config.retry };
    session::connect(config, endpoint, credentials, retry, &session::Shared::default(), &Handle::current())
}

/// Whether what shall be mounted can be.
async fn prefix(sheet: &mut Sheet, store: &HttpStore, subject: &Subject) {
    if subject.source.prefix.is_empty() {
        return sheet.add(Finding::ok(Topic::Prefix, "the whole bucket"));
    }
    sheet.add(match diagnosis::check_prefix(store, subject).await {
        Ok(None) => Finding::ok(Topic::Prefix, format!("there are objects below {}", subject.source.prefix)),
        Ok(Some(warning)) => Finding::warning(Topic::Prefix, warning)
            .fixed_by("check the spelling; if it shall be new, there is nothing to do"),
        Err(diagnosis) => diagnosis.into(),
    });
}

async fn list(sheet: &mut Sheet, store: &HttpStore, subject: &Subject) {
    if sheet.report.has(Topic::List) {
        return;
    }
    let listing = ListRequest {
        prefix: subject.source.prefix.clone(),
        delimited: true,
        max_keys: Some(1),
        ..ListRequest::default()
    };
    sheet.add(match store.list(listing).await {
        Ok(_) => Finding::ok(Topic::List, "a page of keys"),
        Err(error) => probe::refused(Topic::List, &error, subject),
    });
}

/// What the key may do, on objects of our own.
async fn permissions(
    sheet: &mut Sheet,
    bench: &mut Bench,
    store: &HttpStore,
    subject: &Subject,
    config: &MountConfig,
    writes_nothing: bool,
) {
    const WRITING: [Topic; 4] = [Topic::Copy, Topic::Multipart, Topic::Delete, Topic::Throughput];
    if writes_nothing {
        let because = "nothing shall be written (--read-only)";
        sheet.add(Finding::skipped(Topic::Put, because));
        sheet.add(probe::read_one(store, subject).await);
        return sheet.skip(&WRITING, because);
    }
    let stopping = bench.stopping.clone();
    let patient = store.with_deadline(session::FIRST_ANSWER_DEADLINE);
    let probe = bench.probe.insert(Probe::new(patient, subject.clone(), config));
    sheet.add(probe.put().await);
    if sheet.has_failed(Topic::Put) {
        sheet.add(probe::read_one(store, subject).await);
        return sheet.skip(&WRITING, "put failed");
    }
    // What a service of another dialect has or not.
    let is_varied = subject.dialect.may_keep_conditions();
    let varied = [Topic::Checksums, Topic::Conditions].into_iter().filter(|_| is_varied);
    let topics = [Topic::Get, Topic::Copy, Topic::Multipart].into_iter().chain(varied).chain([Topic::Delete]);
    for topic in topics {
        if *stopping.borrow() {
            return;
        }
        let tells = store.tells_checksums();
        let finding = match topic {
            Topic::Get => probe.get().await,
            // A copy reads, too.
            Topic::Copy if sheet.has_failed(Topic::Get) => Finding::skipped(topic, "get failed"),
            Topic::Copy => probe.copy().await,
            Topic::Multipart => {
                let copies = !sheet.has_failed(Topic::Get) && !sheet.has_failed(Topic::Copy);
                probe.multipart(copies).await
            }
            Topic::Checksums => probe.checksums(tells).await,
            Topic::Conditions => probe.conditions().await,
            _ => probe.delete().await,
        };
        sheet.add(finding);
    }
}

/// What is worth knowing beside.
async fn of_the_bucket(
    sheet: &mut Sheet,
    bench: &mut Bench,
    store: &HttpStore,
    subject: &Subject,
    config: &MountConfig,
) {
    if bench.is_stopping() {
        return;
    }
    sheet.add(bucket::lifecycle(store, subject).await);
    if sheet.has_failed(Topic::List) {
        sheet.skip(&[Topic::Leftovers], "list failed");
    } else {
        let own = bench.probe.as_ref().map_or("", Probe::name);
        sheet.add(bucket::leftovers(store, subject, config, own).await);
    }
    sheet.add(bucket::versioning(store, subject).await);
    if sheet.has_failed(Topic::List) {
        sheet.skip(&[Topic::Latency], "list failed");
    } else {
        sheet.add(bucket::latency(store, subject).await);
    }
    let in_the_way = [Topic::Get, Topic::Delete].into_iter().find(|topic| sheet.has_failed(*topic));
    match (&mut bench.probe, in_the_way) {
        _ if sheet.report.has(Topic::Throughput) || *bench.stopping.borrow() => {}
        (Some(probe), None) => {
            let finding = probe.throughput().await;
            sheet.add(finding);
        }
        (_, failed) => {
            let because = failed.map_or("nothing was written".to_owned(), |topic| format!("{} failed", topic.name()));
            sheet.skip(&[Topic::Throughput], &because);
        }
    }
}

/// Shows findings as they come, or keeps them for JSON.
struct Sheet {
    report: Report,
    /// Where they are shown; `None` for JSON at the end.
    terminal: Option<Terminal>,
    source: Option<String>,
    origin: Option<String>,
}

impl Sheet {
    fn begin(config: &Result<MountConfig, ConfigError>, arguments: &DoctorArguments) -> Sheet {
        let origin = config.as_ref().ok().and_then(|config| match &config.service {
            Service::Remote { endpoint, .. } => Some(endpoint.route(&config.source.bucket).origin),
            Service::Local { .. } => None,
        });
        let source = config.as_ref().ok().map(|config| config.source.to_string()).or_else(|| arguments.source.clone());
        let terminal = (!arguments.json).then(Terminal::of_stdout);
        if terminal.is_some() {
            let what = source.as_deref().unwrap_or("no bucket");
            let place = origin.as_ref().map(|origin| format!(" at {origin}")).unwrap_or_default();
            terminal::tell(&terminal::harmless(&format!("cosmount doctor: {what}{place}")));
        }
        Sheet { report: Report::default(), terminal, source, origin }
    }

    fn add(&mut self, finding: Finding) {
        if let Some(terminal) = &self.terminal {
            terminal::tell(&rendering::line(&finding, terminal));
        }
        self.report.findings.push(finding);
    }

    fn add_all(&mut self, findings: Vec<Finding>) {
        for finding in findings {
            self.add(finding);
        }
    }

    fn has_failed(&self, topic: Topic) -> bool {
        self.report.findings.iter().any(|finding| finding.topic == topic && finding.is_failure())
    }

    /// The first failure on the way to the bucket, as a reason for others.
    fn failed_of_the_service(&self) -> Option<String> {
        let of_service = |topic: Topic| OF_THE_SERVICE.contains(&topic) || topic == Topic::Proxy;
        let mut failed = self.report.findings.iter().filter(|finding| finding.is_failure());
        failed.find(|finding| of_service(finding.topic)).map(|finding| format!("{} failed", finding.topic.name()))
    }

    fn skip(&mut self, topics: &[Topic], because: &str) {
        let topics: Vec<Topic> = topics.iter().copied().filter(|topic| !self.report.has(*topic)).collect();
        if let Some(terminal) = self.terminal.as_ref().filter(|_| !topics.is_empty()) {
            terminal::tell(&rendering::skipped(&topics, because, terminal));
        }
        self.report.findings.extend(topics.into_iter().map(|topic| Finding::skipped(topic, because)));
    }

    /// Whatever of the service nobody has looked at.
    fn skip_rest(&mut self, because: &str) {
        // Behind a proxy the connection to the service itself is the proxy's.
        let is_proxied = self.report.has(Topic::Proxy);
        let rest: Vec<Topic> =
            OF_THE_SERVICE.into_iter().filter(|topic| !(is_proxied && *topic == Topic::Tcp)).collect();
        self.skip(&rest, because);
    }

    fn end(&self) {
        match &self.terminal {
            Some(terminal) => terminal::tell(&format!("\n{}", rendering::summary(&self.report, terminal))),
            None => {
                let value = rendering::as_json(&self.report, self.source.as_deref(), self.origin.as_deref());
                terminal::tell(&value.to_string());
            }
        }
    }
}
