//! One mount from its checks to its end.
//!
//! Promises that nothing is mounted before bucket and mount point were checked, that `ready` is called only once the
//! mount answers, and that what is open is published, or named, before the mount's process ends.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::control::{self, Asker, ControlListener};
use super::diagnosis::{self, Diagnosis, Subject};
use super::failure::{Exit, Failure};
use super::local_service::{LocalService, raise_open_files};
use super::mount_point::{self, MountEntry};
use super::obstacles;
use super::rereading::Rereading;
use super::service_manager::ServiceManager;
use super::signals::{RAISED_FOR, Signals, Wish};
use super::topic::Topic;
use super::{allocator, logging, mount};
use super::{fuse_access, given_mount};
use crate::cache::DiskCache;
use crate::clock::Clock;
use crate::config::{KeySource, ListenAddress, MountConfig, Service};
use crate::fs::{FileSystem, FileSystemParts, Inheritance, Others, Recovery};
use crate::fuse::{self, Place};
use crate::journal::{Journal, Owner};
use crate::memory::Memory;
use crate::monitor::{MonitorListener, Observer, ObserverParts, Serving};
use crate::read::Copies;
use crate::stats::Stats;
use crate::store::{
    AsOf, CredentialCache, HttpOptions, HttpStore, NetworkOptions, ObjectStore, RetryOptions, Runtimes, StoreError,
    Throttle,
};
use crate::wire::address::Endpoint;
use crate::wire::answer::Versioning;
use crate::wire::date;

/// Where a failure of this machine is taken apart.
const SEE_DOCTOR: &str = "see what is missing with: cosmount doctor";

/// How long a service that is there may take to give its first answer. Short, because somebody waits for the command.
pub(super) const FIRST_ANSWER_DEADLINE: Duration = Duration::from_secs(5);

/// How long all of asking for the first time may take: a name that does not resolve or a host that does not answer is
/// worth one more try, and nobody believes in it after this.
const FIRST_ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// How long the kernel may take to make a mount, and to say by which rules it speaks: it does so at once.
const MOUNT_TIMEOUT: Duration = Duration::from_secs(20);

/// How long a fresh mount may take to answer for its statistics, which it does without a request.
const MOUNT_ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a mount waits until what dead ones have left is ended that could be mistaken for something else.
const RECOVERY_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the end of a mount waits until what came last is in the cache on disk.
const COPIES_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the end of a mount waits until uploads are aborted that nobody writes. What is left is the next one's.
const ORPHANS_TIMEOUT: Duration = Duration::from_secs(5);

/// How often somebody who waits for the end of a mount is told what for.
const PROGRESS_EVERY: Duration = Duration::from_millis(250);

/// How many times of that the log is told once.
const LOG_TURNS: u32 = 8;

/// How long those who trace the mount may take to read what happened last.
const LAST_EVENTS_TIMEOUT: Duration = Duration::from_secs(1);

/// What is left for what was written between publishing and the end of the mount, at least.
const LAST_PUBLISH_MIN: Duration = Duration::from_secs(1);

/// Mounts, calls `ready` once the mount answers, and returns when the mount is gone and everything is published.
pub(super) async fn run(
    config: MountConfig,
    search_path: &str,
    transfers: Handle,
    mut signals: Signals,
    rereading: Rereading,
    manager: ServiceManager,
    ready: impl FnOnce() -> io::Result<()>,
) -> Result<(), Failure> {
    let place = place(&config, search_path)?;
    let page = config.metrics_listen.as_ref().map(bind_page).transpose()?;
    let bucket = tokio::select! {
        bucket = Bucket::reach(&config, &transfers) => bucket?,
        () = signals.end() => return Err(Failure::new(Exit::Failed, "told to end before anything was mounted")),
    };
    let mut session = Session::mount(&config, place, &bucket, transfers, manager).await?;
    let observer = Observer::new(ObserverParts {
        fs: session.fs.clone(),
        credentials: bucket.store.credentials().clone(),
        source: config.source.to_string(),
        mount_point: session.mount_point.clone(),
        endpoint: bucket.origin.clone(),
        options: config.settings.shown(),
        metrics: page.as_ref().map(MonitorListener::shown),
        prices: config.prices.clone(),
    });
    let _page = page.map(|page| serve_page(page, &observer));
    session.listen(observer);
    let (store, throttle, fs) = (bucket.store.clone(), bucket.throttle.clone(), session.fs.clone());
    let mut care = Care { rereading, store, throttle, fs, manager };
    let mounted = format!("{} on {}", config.source, session.mount_point.display());
    // Before anybody is told, who may look for it in the log at once.
    log::info!("mounted {mounted}");
    if let Err(error) = ready() {
        session.detach();
        return Err(Failure::new(Exit::Failed, format!("nobody waits for this mount any more: {error}")));
    }
    manager.ready(&mounted, session.asked());

    let mut asker = tokio::select! {
        asker = session.end(&mut signals, &mut care) => asker,
        never = allocator::keep_giving_back() => match never {},
    };
    manager.stopping();
    session.unmount_timeout = care.rereading.unmount_timeout();
    let left = tokio::select! {
        left = session.close(asker.as_mut()) => left,
        () = care.until_end(&mut signals) => session.given_up("told again to end"),
    };
    if let Some(service) = bucket.local {
        service.stop().await;
    }
    for what in &left.unpublished {
        log::error!("not published: {what}");
    }
    for path in &left.cut_off {
        log::warn!("{path}: published as it is, {CUT_OFF}");
    }
    log::info!("unmounted {}", session.mount_point.display());
    // Who traces hears of the last requests, too.
    let _ = timeout(LAST_EVENTS_TIMEOUT, session.fs.stats().trace.end()).await;
    for mut asker in asker.take().into_iter().chain(session.other_askers()) {
        asker.tell(&left).await;
        asker.hold_until_exit();
    }
    left.outcome()
}

/// Where the mount shall be, if that can be.
fn place(config: &MountConfig, search_path: &str) -> Result<Place, Failure> {
    if let Some(number) = given_mount::number(&config.mount_point) {
        return given_mount::take(number, &config.mount_point).map(Place::Given);
    }
    let directory = mount_point::check(&config.mount_point, mount::warn)?;
    fuse_access::check(search_path, config.fuse.allow_other)?;
    Ok(Place::Directory(directory))
}

/// Takes the place where metrics and the page shall be, before anything is mounted.
fn bind_page(address: &ListenAddress) -> Result<MonitorListener, Failure> {
    MonitorListener::bind(address).map_err(|error| {
        let next = match error.kind() {
            io::ErrorKind::AddrInUse => "give --metrics-listen another port, or 0 for any that is free",
            _ => "give --metrics-listen another place",
        };
        Failure::new(Exit::Usage, format!("metrics and the page cannot be shown on {address}: {error}; {next}"))
    })
}

/// Shows them, for as long as what it returns lives.
fn serve_page(page: MonitorListener, observer: &Arc<Observer>) -> Serving {
    log::info!("metrics and page on {}", page.shown());
    page.serve(observer)
}

/// What is left in a wrong state when a mount has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Left {
    /// Files that could not be published, and why.
    pub(super) unpublished: Vec<String>,
    /// Uploads that could not be aborted, by key and id.
    pub(super) uploads: Vec<String>,
    /// Files that are published as far as they were written, and whose writers still had them open.
    pub(super) cut_off: Vec<String>,
    /// Why the mount is still in the tree of names, if it is. Nothing answers there any more.
    pub(super) attached: Option<String>,
}

/// What is said of files whose writers are cut off.
pub(super) const CUT_OFF: &str = "though a program still had it open for writing: it was cut off";

impl Left {
    /// A sentence with all of it, if there is any.
    pub(super) fn outcome(&self) -> Result<(), Failure> {
        let unpublished = format!(
            "this could not be published: {}; see to the cause, and write it again from where it came",
            self.unpublished.join("; ")
        );
        let uploads = format!(
            "these uploads could not be aborted and stay in the bucket until it is mounted again: {}",
            self.uploads.join("; ")
        );
        let mut sentences = Vec::new();
        sentences.extend((!self.unpublished.is_empty()).then_some(unpublished));
        sentences.extend((!self.uploads.is_empty()).then_some(uploads));
        match (&self.attached, sentences.is_empty()) {
            (None, true) => Ok(()),
            (Some(attached), true) => {
                Err(Failure::new(Exit::MountPoint, format!("everything is published, but {attached}")))
            }
            (attached, false) => {
                sentences.extend(attached.clone());
                Err(Failure::new(Exit::Unpublished, sentences.join("; ")))
            }
        }
    }
}

/// Lines of the state about files; the rest is counted.
const STATE_FILES_MAX: usize = 100;

/// What signals ask of a mount while it goes on.
struct Care {
    rereading: Rereading,
    store: Arc<HttpStore>,
    throttle: Arc<Throttle>,
    fs: Arc<FileSystem>,
    manager: ServiceManager,
}

impl Care {
    /// Does what signals ask for until one of them asks for the end.
    async fn until_end(&mut self, signals: &mut Signals) {
        loop {
            match signals.next().await {
                Wish::End => return,
                Wish::Reread => {
                    self.manager.reloading();
                    self.rereading.reread(&self.store, &self.throttle);
                    self.manager.reloaded();
                }
                Wish::ShowState => self.show_state(),
                Wish::RaiseLevel => {
                    logging::raise(RAISED_FOR);
                    logging::write_always(&format!("the log has level debug for {} s", RAISED_FOR.as_secs()));
                }
                Wish::Nothing => {}
            }
        }
    }

    /// Writes to the log what is open, what is not published, the memory and what was asked of the service.
    fn show_state(&self) {
        let state = self.fs.state();
        let tell = |line: String| logging::write_always(&format!("state: {line}"));
        let open: Vec<_> = state.files.iter().filter(|file| file.handles > 0).collect();
        let handles: usize = open.iter().map(|file| file.handles).sum();
        let (files, directories) = (open.len(), state.directories);
        tell(format!("{files} open files by {handles} handles, {directories} open directories"));
        for file in open.iter().take(STATE_FILES_MAX) {
            let path = file.path.as_ref().map_or_else(|| "a removed file".to_owned(), |path| format!("/{path}"));
            tell(format!("open: {path} by {} handles, {} of them for writing", file.handles, file.writers));
        }
        let unpublished = state.unpublished();
        let bytes: u64 = unpublished.iter().map(|(_, bytes)| bytes).sum();
        tell(format!("{} unpublished files with {bytes} bytes in memory", unpublished.len()));
        for (key, bytes) in unpublished.iter().take(STATE_FILES_MAX) {
            tell(format!("unpublished: {key}, {bytes} bytes in memory"));
        }
        let memory = state.memory;
        tell(format!("{} of {} bytes of memory in use", memory.used, memory.limit));
        tell(format!(
            "{} bytes of names and attributes, and {} of {} inodes that are referred to",
            memory.names, memory.inodes_bytes, memory.inodes
        ));
        let Stats { requests, retries, bytes_up, bytes_down, published, keys_skipped, .. } = &**self.fs.stats();
        let [requests, retries, up, down] = [requests, retries, bytes_up, bytes_down].map(Stats::get);
        tell(format!("{requests} requests, {retries} of them repeats, {up} bytes up, {down} bytes down"));
        let [published, skipped] = [published, keys_skipped].map(Stats::get);
        tell(format!("{published} objects published, {skipped} keys left out that cannot be file names"));
    }
}

/// The bucket, and the service behind it if that is ours.
pub(super) struct Bucket {
    pub(super) store: Arc<HttpStore>,
    stats: Arc<Stats>,
    throttle: Arc<Throttle>,
    local: Option<LocalService>,
    /// Where it is.
    pub(super) origin: String,
    /// What is told of it when something is refused.
    pub(super) subject: Subject,
}

impl Bucket {
    /// Finds the way to the bucket and asks whether it may be used.
    pub(super) async fn reach(config: &MountConfig, transfers: &Handle) -> Result<Bucket, Failure> {
        let (endpoint, credentials, local) = match &config.service {
            Service::Remote { endpoint, keys } => (endpoint.clone(), first_key(keys, &config.network).await?, None),
            Service::Local { directory, listen } => {
                let service = LocalService::start(directory, &config.source.bucket, *listen).await?;
                let endpoint = Endpoint::custom(&format!("http://{}", service.address))
                    .map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
                log::info!("the local service listens on {}", service.address);
                (endpoint, service.credentials.clone().into(), Some(service))
            }
        };
        let subject = Subject::of(config, &endpoint, &credentials);
        obstacles::check_region(&subject).await?;
        let stats = Arc::new(Stats::default());
        let throttle = Arc::new(Throttle::new(config.rates));
        let shared = Shared { stats: stats.clone(), throttle: throttle.clone() };
        let connect = |retry| connect(config, &endpoint, &credentials, retry, &shared, transfers);
        // Somebody waits for the first answer, so it is not tried for as long as those of an open file.
        let deadline = config.retry.deadline.min(FIRST_ANSWER_DEADLINE);
        let first = connect(RetryOptions { deadline, ..config.retry })?;
        let checked = timeout(FIRST_ANSWER_TIMEOUT, diagnosis::check_bucket(&first, &subject)).await;
        checked.unwrap_or_else(|_| Err(diagnosis::no_answer(&subject)))?;
        if !subject.source.prefix.is_empty() {
            let prefix = timeout(FIRST_ANSWER_TIMEOUT, diagnosis::check_prefix(&first, &subject)).await;
            if let Some(warning) = prefix.unwrap_or_else(|_| Err(diagnosis::no_answer(&subject)))? {
                mount::warn(&warning);
            }
        }
        let (store, origin) = (Arc::new(connect(config.retry)?), subject.origin.clone());
        Ok(Bucket { store, stats, throttle, local, origin, subject })
    }
}

/// The key to begin with, which is renewed from now on.
pub(super) async fn first_key(keys: &KeySource, network: &NetworkOptions) -> Result<CredentialCache, Diagnosis> {
    let provider = keys.provider(network);
    let provider = provider.map_err(|error| obstacles::of_setup(&error))?;
    let origin = provider.origin();
    let refused = |why: String| {
        let cause = format!("there is no key from {origin}: {why}");
        Diagnosis::new(Topic::Credentials, cause, "ask for one by hand, or name other credentials")
    };
    match timeout(FIRST_ANSWER_TIMEOUT, CredentialCache::begin(provider, Clock::System)).await {
        Ok(Ok(credentials)) => {
            log::info!("using {}", credentials.describe());
            Ok(credentials)
        }
        Ok(Err(error)) => Err(refused(error.to_string())),
        Err(_) => Err(refused("no answer in time".into())),
    }
}

/// Joins the other mounts of the bucket on this machine. Without them everything works, and sees what they change when
/// `--metadata-ttl` is over.
fn others(origin: &str, config: &MountConfig) -> Option<Arc<Others>> {
    let joined = control::own_directory(&directories()).and_then(|directory| {
        control::remove_what_is_left(&directory);
        let path = control::shared_path(&directory, origin, config.source.bucket.as_str());
        Others::join(&path)
    });
    joined
        .inspect_err(|error| {
            log::warn!(
                "other mounts of this bucket on this machine are not told of changes, nor do they share locks: {error}"
            )
        })
        .ok()
}

/// Where this user's sockets and shared files may be.
pub(super) fn directories() -> Vec<PathBuf> {
    let user_id = rustix::process::geteuid().as_raw();
    let [runtime, state] = ["XDG_RUNTIME_DIR", "XDG_STATE_HOME"].map(|name| std::env::var_os(name).map(PathBuf::from));
    control::directories(user_id, &control::Places { runtime, state, home: super::home() })
}

/// The cache on disk, if somebody has asked for one. Without it everything works.
fn copies(bucket: &Bucket, config: &MountConfig) -> Option<Copies> {
    let options = config.cache.as_ref()?;
    // Each copy that is open takes two or three descriptors.
    raise_open_files();
    match DiskCache::open(options) {
        Ok(cache) => Some(Copies {
            cache,
            origin: format!("{} {}", bucket.origin, config.source.bucket.as_str()),
            fill_percent: config.cache_fill_percent.into(),
            keeps_writes: config.cache_writes,
        }),
        Err(error) => {
            log::warn!("no cache in {}: {error}; files are read as without it", options.directory.display());
            None
        }
    }
}

/// Begins the journal of this mount and takes over those of dead ones. Without it everything works, and a mount that is killed
/// leaves to nobody what it has begun.
fn inheritance(bucket: &Bucket, config: &MountConfig) -> Inheritance {
    let window = config.resume_window;
    let opened = match &config.state_dir {
        _ if config.fs.read_only => Ok((Journal::none(), Vec::new())),
        Some(directory) => Journal::open(&directory.join("journal"), &owner(&bucket.origin, config)),
        None => Err(io::Error::new(io::ErrorKind::NotFound, "no home directory is known; name one by --state-dir")),
    };
    match opened {
        Ok((journal, left)) => Inheritance { journal, left, window },
        Err(error) => {
            log::warn!(
                "no journal{}: {error}; should this mount be killed, uploads may stay unfinished in the bucket (see \
                 `cosmount uploads`), and are not gone on with",
                config.state_dir.as_ref().map(|directory| format!(" in {}", directory.display())).unwrap_or_default()
            );
            Inheritance { window, ..Inheritance::none() }
        }
    }
}

/// Who this mount is, for journals.
pub(super) fn owner(origin: &str, config: &MountConfig) -> Owner {
    // The port of a service in this process is another one every time.
    let place = match &config.service {
        Service::Remote { .. } => origin.to_owned(),
        Service::Local { directory, .. } => {
            format!("local {}", std::fs::canonicalize(directory).unwrap_or_else(|_| directory.clone()).display())
        }
    };
    Owner {
        bucket: format!("{} at {place}", config.source.bucket),
        prefix: config.source.prefix.clone(),
        machine: std::fs::read_to_string("/etc/machine-id").unwrap_or_default().trim().to_owned(),
        process: std::process::id(),
    }
}

/// What all ways to one bucket share.
#[derive(Default)]
pub(super) struct Shared {
    pub(super) stats: Arc<Stats>,
    throttle: Arc<Throttle>,
}

/// The way to the bucket. Nothing is asked.
pub(super) fn connect(
    config: &MountConfig,
    endpoint: &Endpoint,
    credentials: &CredentialCache,
    retry: RetryOptions,
    shared: &Shared,
    transfers: &Handle,
) -> Result<HttpStore, Diagnosis> {
    let bucket = config.source.bucket.clone();
    HttpStore::new(HttpOptions {
        retry,
        network: config.network.clone(),
        stats: shared.stats.clone(),
        throttle: shared.throttle.clone(),
        runtimes: Some(Runtimes { bulk: transfers.clone(), light: Handle::current() }),
        ..HttpOptions::new(endpoint.clone(), bucket, credentials.clone())
    })
    .map_err(|error: StoreError| obstacles::of_setup(&error))
}

/// The bucket, or what it was at the moment that is mounted.
async fn store(config: &MountConfig, bucket: &Bucket) -> Result<Arc<dyn ObjectStore>, Failure> {
    let Some(at) = config.as_of else { return Ok(bucket.store.clone()) };
    let versioning = bucket.store.versioning().await.map_err(|error| diagnosis::explain(&error, &bucket.subject))?;
    if versioning == Versioning::Never {
        let (bucket, at) = (&config.source.bucket, date::iso_seconds(at));
        mount::warn(&format!("{bucket} keeps no versions: what was changed or removed since {at} is not shown at all"));
    }
    Ok(Arc::new(AsOf::new(bucket.store.clone(), at)))
}

/// The directory to ask whether a mount that is known by this answers, if it is one.
fn asked(mount_point: &Path) -> Option<PathBuf> {
    given_mount::number(mount_point).is_none().then(|| mount_point.to_owned())
}

/// What is said when the kernel does not begin to speak of a mount.
fn no_greeting(mount_point: &Path) -> String {
    let shown = mount_point.display();
    if given_mount::number(mount_point).is_some() {
        return format!(
            "the kernel says nothing by {shown}: it was served before, so mount anew with a new descriptor"
        );
    }
    format!("the kernel says nothing of the mount on {shown}; {SEE_DOCTOR}")
}

/// A mount that answers.
struct Session {
    fs: Arc<FileSystem>,
    recovery: Recovery,
    /// The cache on disk, if there is one.
    copies: Option<Copies>,
    /// Where it is, or what stands for that.
    mount_point: PathBuf,
    /// Whether somebody else has made the mount, and takes it away.
    is_given: bool,
    unmount_timeout: Duration,
    manager: ServiceManager,
    control: Option<ControlListener>,
    /// Told when the kernel has let go of the mount. Nobody has told it yet while it is there.
    ended: Option<oneshot::Receiver<()>>,
    /// Whether it has.
    has_ended: Arc<AtomicBool>,
    /// The number of the mounted device, once the mount has answered.
    device: Option<String>,
}

impl Session {
    /// Mounts, and returns when the mount answers.
    async fn mount(
        config: &MountConfig,
        place: Place,
        bucket: &Bucket,
        transfers: Handle,
        manager: ServiceManager,
    ) -> Result<Session, Failure> {
        let (mount_point, is_given) = (place.known_as().to_owned(), matches!(place, Place::Given(_)));
        let copies = copies(bucket, config);
        let fs = FileSystem::new(FileSystemParts {
            store: store(config, bucket).await?,
            options: config.fs.clone(),
            upload: config.upload.clone(),
            read: config.read,
            memory: Memory::new(usize::try_from(config.memory_bytes).unwrap_or(usize::MAX)),
            clock: Clock::System,
            stats: bucket.stats.clone(),
            runtime: transfers,
            others: others(&bucket.origin, config),
            inheritance: inheritance(bucket, config),
            copies: copies.clone(),
        });
        let recovery = Recovery::of(&fs);
        let recovered = tokio::spawn({
            let recovery = recovery.clone();
            async move { recovery.run().await }
        });
        if timeout(RECOVERY_TIMEOUT, recovered).await.is_err() {
            log::warn!("what a mount that is dead has left is ended while this one is used");
        }
        let mounting = {
            let (fs, options) = (fs.clone(), config.fuse.clone());
            let (runtime, watchdog) = (Handle::current(), bucket.store.watchdog());
            tokio::task::spawn_blocking(move || fuse::mount(fs, place, &options, runtime, watchdog))
        };
        let mounted = match timeout(MOUNT_TIMEOUT, mounting).await {
            Err(_) => return Err(Failure::new(Exit::MountPoint, no_greeting(&mount_point))),
            Ok(Ok(Ok(mounted))) => mounted,
            Ok(Ok(Err(error))) => return Err(Failure::new(Exit::MountPoint, format!("{error}; {SEE_DOCTOR}"))),
            Ok(Err(error)) => return Err(Failure::new(Exit::Failed, format!("mounting failed: {error}"))),
        };
        // Both ask the mount, which its own threads answer, so neither may run on them.
        let (answered, answer) = oneshot::channel();
        let (ending, ended) = oneshot::channel();
        let (shown, has_ended) = (mount_point.clone(), Arc::new(AtomicBool::new(false)));
        let (asked, ends) = (asked(&mount_point), has_ended.clone());
        // A thread and not a task: it stays for as long as the mount, and nothing may wait for it at the end.
        std::thread::spawn(move || {
            mounted.settle_in();
            // Whoever has made the mount may let in nobody that this process is; the kernel has greeted it, which has to do.
            let answers = asked.map_or(Ok(()), |asked| rustix::fs::statfs(&asked).map(|_| ()));
            let _ = answered.send(answers.or_else(|error| if is_given { Ok(()) } else { Err(error) }));
            if let Err(error) = mounted.wait() {
                log::error!("{}: {error}", shown.display());
            }
            ends.store(true, Ordering::SeqCst);
            let _ = ending.send(());
        });
        let (unmount_timeout, ended) = (config.unmount_timeout, Some(ended));
        let (control, device) = (None, None);
        let mut session = Session {
            fs,
            recovery,
            copies,
            mount_point,
            is_given,
            unmount_timeout,
            manager,
            control,
            ended,
            has_ended,
            device,
        };
        let silent = match timeout(MOUNT_ANSWER_TIMEOUT, answer).await {
            Ok(Ok(Ok(()))) => {
                session.device = mount_point::mounted_at(&session.mount_point).map(|entry| entry.device);
                return Ok(session);
            }
            Ok(Ok(Err(error))) => error.to_string(),
            Ok(Err(_)) | Err(_) => "no answer in time".to_owned(),
        };
        session.detach();
        let shown = session.mount_point.display();
        Err(Failure::new(Exit::MountPoint, format!("the mount on {shown} does not answer: {silent}; {SEE_DOCTOR}")))
    }

    /// The directory that can be asked whether the mount answers, if there is one.
    fn asked(&self) -> Option<PathBuf> {
        asked(&self.mount_point)
    }

    /// Opens the socket for `cosmount unmount`. A mount without one works, and ends by signals and `umount`.
    fn listen(&mut self, observer: Arc<Observer>) {
        let bound = control::prepare(&directories(), &self.mount_point)
            .and_then(|path| ControlListener::bind(path, self.unmount_timeout, observer));
        match bound {
            Ok(listener) => self.control = Some(listener),
            Err(error) => log::warn!(
                "no socket for `cosmount unmount` and `cosmount status`: {error}; end this mount with a signal"
            ),
        }
    }

    /// Waits until the mount shall end or has ended; gives whoever asked by the socket.
    async fn end(&mut self, signals: &mut Signals, care: &mut Care) -> Option<Asker> {
        let ended = self.ended.take();
        let unmounted = async {
            match ended {
                Some(ended) => drop(ended.await),
                None => std::future::pending().await,
            }
        };
        let asked = async {
            match &mut self.control {
                Some(control) => control.asked().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = unmounted => None,
            () = care.until_end(signals) => None,
            asker = asked => Some(asker),
        }
    }

    /// Publishes what is open and takes the mount away; returns what could not be published, and why.
    ///
    /// The mount goes away in between, so that what is written while the first files are published is published too.
    async fn close(&self, asker: Option<&mut Asker>) -> Left {
        let deadline = Instant::now() + self.unmount_timeout;
        let mut waiting = self.fs.state().unpublished_keys();
        let mut unpublished = tokio::select! {
            unpublished = self.publish_until(deadline) => unpublished,
            () = self.tell_progress(asker) => BTreeMap::new(),
        };
        let attached = self.detach();
        let again = self.fs.state().unpublished_keys();
        if !again.is_empty() {
            let failed = self.publish_until(deadline.max(Instant::now() + LAST_PUBLISH_MIN)).await;
            // What failed or took too long at first, and is published now, is not told as both.
            let still = self.fs.state().unpublished_keys();
            unpublished.retain(|path, _| !again.contains(path) || still.contains(path));
            unpublished.extend(failed);
            waiting.extend(again);
        }
        let hidden_are_gone = timeout(LAST_PUBLISH_MIN, self.fs.dispose_all()).await;
        if hidden_are_gone.is_err() {
            log::error!("unfinished uploads and files that were removed while they are open may be left in the bucket");
        }
        let until = tokio::time::sleep(ORPHANS_TIMEOUT.min(deadline.saturating_duration_since(Instant::now())));
        self.recovery.end(hidden_are_gone.is_ok(), until).await;
        if let Some(Copies { cache, .. }) = self.copies.clone() {
            let within = COPIES_TIMEOUT.min(deadline.saturating_duration_since(Instant::now()));
            let settled = tokio::task::spawn_blocking(move || cache.settle(within)).await;
            drop(settled);
        }
        Left { attached, ..self.left(unpublished, &waiting) }
    }

    /// What is left of files of which those `waiting` were not published when the mount was told to end.
    fn left(&self, unpublished: BTreeMap<String, String>, waiting: &[String]) -> Left {
        let is_cut_off = |path: &String| waiting.contains(path) && !unpublished.contains_key(path);
        let cut_off = self.fs.state().being_written().into_iter().filter(is_cut_off).collect();
        let unpublished = unpublished.into_iter().map(|(path, reason)| format!("{path}: {reason}")).collect();
        Left { unpublished, uploads: self.recovery.unfinished_uploads(), cut_off, attached: None }
    }

    /// Tells whoever waits what for, for as long as it goes on.
    async fn tell_progress(&self, mut asker: Option<&mut Asker>) {
        for turn in 1u32.. {
            tokio::time::sleep(PROGRESS_EVERY).await;
            let state = self.fs.state();
            if let Some(asker) = &mut asker {
                asker.tell_progress(&state).await;
            }
            if turn.is_multiple_of(LOG_TURNS) {
                let waiting = state.unpublished();
                let bytes: u64 = waiting.iter().map(|(_, bytes)| bytes).sum();
                let waiting = format!("waiting for {} files with {bytes} bytes to be published", waiting.len());
                log::info!("{waiting}");
                self.manager.status(&waiting);
            }
        }
    }

    async fn publish_until(&self, deadline: Instant) -> BTreeMap<String, String> {
        // In a task of its own, because publishing must run to its end for as long as this process lives.
        let fs = self.fs.clone();
        let publishing = tokio::spawn(async move { fs.publish_below("").await });
        match timeout(deadline.saturating_duration_since(Instant::now()), publishing).await {
            Ok(Ok(failed)) => failed.into_iter().map(|(path, error)| (path, error.to_string())).collect(),
            Ok(Err(error)) => self.unpublished_because(&error.to_string()),
            Err(_) => self.unpublished_because("not within the time that unmounting may take"),
        }
    }

    fn unpublished_because(&self, reason: &str) -> BTreeMap<String, String> {
        self.fs.state().unpublished_keys().into_iter().map(|path| (path, reason.to_owned())).collect()
    }

    /// What is left when somebody does not want to wait any longer.
    fn given_up(&self, reason: &str) -> Left {
        let attached = self.detach();
        Left { attached, ..self.left(self.unpublished_because(reason), &[]) }
    }

    /// Takes the mount out of the tree of names, if it is still there. Programs that have files open keep them for as
    /// long as this process lives. Returns why it stays there, if it does.
    fn detach(&self) -> Option<String> {
        if self.is_given {
            let shown = self.mount_point.display();
            log::info!("{shown} is unmounted by whoever has mounted it; from now on nothing answers there");
            return None;
        }
        // Somebody else may have unmounted it, and mounted anew while this one was publishing.
        let is_ours = |entry: MountEntry| {
            entry.may_be_ours() && self.device.as_ref().is_none_or(|device| *device == entry.device)
        };
        if self.has_ended.load(Ordering::SeqCst) || !mount_point::mounted_at(&self.mount_point).is_some_and(is_ours) {
            return None;
        }
        let failed = mount_point::detach(&self.mount_point).err().map(|failure| failure.sentence);
        failed.inspect(|sentence| log::error!("{sentence}"))
    }

    fn other_askers(&mut self) -> Vec<Asker> {
        self.control.as_mut().map(ControlListener::others).unwrap_or_default()
    }
}
