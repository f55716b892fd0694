//! `cosmount serve`: a COS service on this machine, and the command that mounts it.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::TcpListener;

use super::arguments::ServeArguments;
use super::failure::{Exit, Failure};
use super::local_service::{raise_open_files, reachable, sentence, warn_if_open_to_others};
use super::logging::{self, Sink};
use super::signals::Blocked;
use super::{process_environment, runtime, terminal};
use crate::config::{ByteSize, Span, read_fault_plan, service_credentials};
use crate::object::{BucketName, Limits};
use crate::server::{self, DEFAULT_BUCKET, Server, ServerOptions};

/// Serves until a signal. `program` is the name that this program was called by.
pub(super) fn run(arguments: ServeArguments, program: &str) -> Result<(), Failure> {
    // Before any other thread is there.
    let signals = Blocked::new(false)?;
    let sink = match &arguments.log.log_file {
        Some(path) => Sink::File(std::path::absolute(path).map_err(failed)?),
        None => Sink::Terminal,
    };
    let level = arguments.log.log_level.clone();
    logging::start(sink, level.as_ref(), arguments.log.log_format.unwrap_or_default())?;
    let given = service_credentials(&process_environment())?;
    let forgetful = arguments.in_memory;
    let key = match (&given, &arguments.directory) {
        (Some(_), _) => Key::Environment,
        (None, Some(directory)) if !forgetful => Key::Kept(std::path::absolute(directory).map_err(failed)?),
        (None, _) => Key::Temporary(TemporaryKey::new()?),
    };
    let mut options = options(&arguments)?;
    // The key that is kept is read by the service, once it knows that the directory is its own.
    options.credentials = match &key {
        Key::Environment => given,
        Key::Kept(_) => None,
        Key::Temporary(key) => Some(server::load_or_create_credentials(&key.directory).map_err(failed)?),
    };
    let buckets = options.buckets.clone();
    raise_open_files();
    let served = runtime()?.block_on(async {
        let mut signals = signals.listen();
        let listener = listen(&arguments.listen).await?;
        let address = listener.local_addr().map_err(failed)?;
        let server = Server::open(options).await.map_err(|error| failed(sentence(&error)))?;
        terminal::tell(&welcome(program, address, &buckets, &key));
        warn_if_open_to_others(address);
        if let Some(plan) = &arguments.faults {
            log::warn!("this service does wrong on purpose, as {} says", plan.display());
        }
        let reopen_access_log = server.access_log_reopener();
        let ended = async move { signals.end_minding_the_logs(level.as_ref(), reopen_access_log).await };
        server.serve(listener, ended).await.map_err(failed)
    });
    logging::tell_left_out();
    served
}

/// Listens on an address or a name, `HOST:PORT`.
async fn listen(wanted: &str) -> Result<TcpListener, Failure> {
    let malformed = || {
        let sentence = format!("--listen {wanted}: give HOST:PORT, as 127.0.0.1:9444 or localhost:9444");
        Failure::new(Exit::Usage, sentence)
    };
    let (host, port) = wanted.rsplit_once(':').ok_or_else(malformed)?;
    let port: u16 = port.parse().map_err(|_| malformed())?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if host.is_empty() || host.contains(['/', '@']) {
        return Err(malformed());
    }
    let cannot = |why: &dyn std::fmt::Display| Failure::new(Exit::Failed, format!("cannot listen on {wanted}: {why}"));
    let addresses = tokio::net::lookup_host((host, port)).await;
    let addresses: Vec<SocketAddr> = addresses
        .map_err(|_| cannot(&format!("{host} has no address; name an address of this machine, as 127.0.0.1")))?
        .collect();
    TcpListener::bind(&addresses[..]).await.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => cannot(&"another program does already; name another port"),
        io::ErrorKind::AddrNotAvailable => {
            cannot(&"this machine has no such address; see those that it has with ip addr")
        }
        io::ErrorKind::PermissionDenied => cannot(&"only root may listen on ports below 1024; name a higher one"),
        _ => cannot(&error),
    })
}

fn options(arguments: &ServeArguments) -> Result<ServerOptions, Failure> {
    let mut options = ServerOptions {
        directory: arguments.directory.clone().filter(|_| !arguments.in_memory),
        rebuild: arguments.rebuild,
        other_files: arguments.log.log_file.iter().cloned().collect(),
        access_log: arguments.access_log.clone(),
        ..ServerOptions::default()
    };
    if !arguments.bucket.is_empty() {
        let named = arguments.bucket.iter().map(BucketName::new).collect::<Result<_, _>>();
        options.buckets = named.map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
    }
    let Limits { part_bytes_min, part_count_max, .. } = options.limits;
    options.limits.part_bytes_min = arguments.min_part_bytes.map_or(part_bytes_min, |ByteSize(bytes)| bytes);
    options.limits.part_count_max = arguments.max_parts.map_or(part_count_max, u64::from);
    if let Some(milliseconds) = arguments.latency_ms {
        options.latency = Duration::from_millis(milliseconds);
    }
    if let Some(Span(delay)) = arguments.restore_delay {
        options.restore_delay = delay;
    }
    if let Some(path) = &arguments.faults {
        options.faults = Some(read_fault_plan(path)?);
    }
    Ok(options)
}

/// What is printed at the start: where the service is, where its key is, and the commands that mount it.
fn welcome(program: &str, address: SocketAddr, buckets: &[BucketName], key: &Key) -> String {
    let address = reachable(address);
    let bucket = buckets.first().map_or(DEFAULT_BUCKET, BucketName::as_str);
    let (where_from, flag) = match key.directory().map(server::credentials_file) {
        None => {
            ("those of this environment, COS_SECRETID and COS_SECRETKEY; mount with the same".into(), String::new())
        }
        Some(file) => {
            (format!("in {}", file.display()), format!(" --credentials-file {}", quoted(&file.to_string_lossy())))
        }
    };
    let program = quoted(program);
    format!(
        "cosmount serves COS on http://{address}\n\
         credentials: {where_from}\n\
         mount it with:\n\n  \
         mkdir -p ~/cos/{bucket}\n  \
         {program} mount {bucket} ~/cos/{bucket} --endpoint http://{address}{flag}\n"
    )
}

/// Where the service's key is.
enum Key {
    Environment,
    Kept(PathBuf),
    Temporary(TemporaryKey),
}

impl Key {
    /// The directory with the file, if there is one.
    fn directory(&self) -> Option<&Path> {
        match self {
            Key::Environment => None,
            Key::Kept(directory) => Some(directory),
            Key::Temporary(key) => Some(&key.directory),
        }
    }
}

/// A place for the key of a service that keeps nothing, gone when dropped.
struct TemporaryKey {
    directory: PathBuf,
}

impl TemporaryKey {
    fn new() -> Result<TemporaryKey, Failure> {
        use std::os::unix::fs::DirBuilderExt;
        let directory = std::env::temp_dir().join(format!("cosmount-serve-{}", std::process::id()));
        // Must not exist: what somebody else has prepared under that name is not for a secret.
        fs::DirBuilder::new().mode(0o700).create(&directory).map_err(|error: io::Error| {
            Failure::new(
                Exit::Failed,
                format!("{} cannot be made: {error}; name another place in TMPDIR", directory.display()),
            )
        })?;
        Ok(TemporaryKey { directory })
    }
}

impl Drop for TemporaryKey {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Failed, format!("the service cannot run: {error}"))
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+:@%".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 9444))
    }

    #[test]
    fn the_command_can_be_pasted() {
        let buckets = [BucketName::new("photos-125").unwrap()];
        let text = welcome("target/debug/cosmount", address(), &buckets, &Key::Kept("/srv/my cos".into()));
        let expected = "  target/debug/cosmount mount photos-125 ~/cos/photos-125 --endpoint http://127.0.0.1:9444 \
                        --credentials-file '/srv/my cos/credentials'\n";
        assert!(text.ends_with(expected), "{text}");
        let text = welcome("cosmount", address(), &buckets, &Key::Environment);
        assert!(
            text.contains("COS_SECRETID and COS_SECRETKEY") && text.ends_with("--endpoint http://127.0.0.1:9444\n")
        );
    }

    #[test]
    fn an_address_that_stands_for_all_is_not_offered_to_clients() {
        for (listening, expected) in
            [("0.0.0.0:1", "127.0.0.1:1"), ("[::]:1", "[::1]:1"), ("192.0.2.7:1", "192.0.2.7:1")]
        {
            assert_eq!(reachable(listening.parse().unwrap()), expected.parse().unwrap());
        }
    }

    #[test]
    fn words_are_quoted_for_the_shell_where_they_must_be() {
        for (word, expected) in [("/srv/cos", "/srv/cos"), ("a b", "'a b'"), ("it's", r"'it'\''s'"), ("", "''")] {
            assert_eq!(quoted(word), expected);
        }
    }

    #[test]
    fn the_key_of_a_forgetful_service_goes_with_it() {
        let key = TemporaryKey::new().unwrap();
        let directory = key.directory.clone();
        server::load_or_create_credentials(&directory).unwrap();
        assert!(server::credentials_file(&directory).exists());
        drop(key);
        assert!(!directory.exists());
    }
}
