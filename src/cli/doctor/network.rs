//! The way to the service as far as no key is needed: names and connections.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::report::{Finding, shown_time};
use crate::cli::diagnosis::{Diagnosis, Subject};
use crate::cli::obstacles;
use crate::cli::topic::Topic;

/// How long a name may take to be found. The usual resolver asks a second server after this.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);
/// How long one address may take to answer, and all of them.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const ADDRESSES_TIMEOUT: Duration = Duration::from_secs(6);

/// Variables by which other programs are told of a proxy.
const PROXY_VARIABLES: [&str; 6] = ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "http_proxy", "HTTP_PROXY"];

/// Where the first connection goes: to the service, or to the proxy before it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Way {
    host: String,
    port: u16,
    is_proxy: bool,
}

impl Way {
    /// `None` for a proxy whose URL names no host.
    fn of(subject: &Subject) -> Option<Way> {
        let url = subject.proxy.as_deref().unwrap_or(&subject.origin);
        let authority = obstacles::host(url);
        let usual = if url.starts_with("https://") { 443 } else { 80 };
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port.parse().ok()?),
            _ => (authority, usual),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        (!host.is_empty()).then_some(Way { host, port, is_proxy: subject.proxy.is_some() })
    }
}

/// Finds the address and makes a connection. Stops at the first that fails.
pub(super) async fn check(subject: &Subject) -> Vec<Finding> {
    let Some(way) = Way::of(subject) else {
        let cause = "the URL of the proxy names no host and port";
        return vec![Diagnosis::new(Topic::Proxy, cause, "write --proxy http://HOST:PORT").into()];
    };
    let (found, addresses) = match name(&way, subject).await {
        Ok(found) => found,
        Err(diagnosis) => return vec![with_hint(diagnosis, subject).into()],
    };
    match connection(&way, subject, &addresses).await {
        Ok(connected) => vec![found, connected],
        Err(diagnosis) => vec![found, with_hint(diagnosis, subject).into()],
    }
}

async fn name(way: &Way, subject: &Subject) -> Result<(Finding, Vec<SocketAddr>), Diagnosis> {
    let Way { host, port, is_proxy } = way;
    let began = Instant::now();
    let looked_up = timeout(LOOKUP_TIMEOUT, lookup_host((host.as_str(), *port))).await;
    let missing = |told: &str| match is_proxy {
        true => obstacles::unreachable_proxy(&format!("{host}:{port}")).with(told),
        false => obstacles::no_such_name(subject, told).with(told),
    };
    let addresses: Vec<SocketAddr> = match looked_up {
        Ok(Ok(addresses)) => addresses.collect(),
        Ok(Err(error)) => return Err(missing(&error.to_string())),
        Err(_) => return Err(missing("Temporary failure: no name server answers in time")),
    };
    if addresses.is_empty() {
        return Err(missing("it has no address"));
    }
    let detail = match host.parse::<IpAddr>() {
        Ok(_) => format!("{host} is an address"),
        Err(_) => {
            let shown: Vec<String> = addresses.iter().take(3).map(|address| address.ip().to_string()).collect();
            let more = if addresses.len() > 3 { ", ..." } else { "" };
            format!("{host} is {}{more}, found in {}", shown.join(", "), shown_time(began.elapsed()))
        }
    };
    Ok((Finding::ok(Topic::Dns, detail), addresses))
}

/// Connects to the first address that answers.
async fn connection(way: &Way, subject: &Subject, addresses: &[SocketAddr]) -> Result<Finding, Diagnosis> {
    let mut failed: Vec<(SocketAddr, io::Error)> = Vec::new();
    let began = Instant::now();
    for address in addresses {
        if began.elapsed() > ADDRESSES_TIMEOUT {
            break;
        }
        let asked = Instant::now();
        let error = match timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(_)) => return Ok(connected(way, *address, asked.elapsed(), &failed)),
            Ok(Err(error)) => error,
            Err(_) => io::ErrorKind::TimedOut.into(),
        };
        failed.push((*address, error));
    }
    let told: Vec<String> = failed.iter().map(|(address, error)| format!("{address}: {error}")).collect();
    if way.is_proxy {
        return Err(obstacles::unreachable_proxy(&format!("{}:{}", way.host, way.port)).with(told.join("; ")));
    }
    Err(obstacles::unreachable(&subject.origin, failed.first().map(|(_, error)| error.kind()), told.join("; ")))
}

fn connected(way: &Way, address: SocketAddr, took: Duration, failed: &[(SocketAddr, io::Error)]) -> Finding {
    let took = shown_time(took);
    let (topic, detail) = match way.is_proxy {
        true => (Topic::Proxy, format!("{}:{} takes connections, in {took}", way.host, way.port)),
        false => (Topic::Tcp, format!("{address} takes connections, in {took}")),
    };
    let Some((other, error)) = failed.first() else { return Finding::ok(topic, detail) };
    let fix = "check this machine's route to it, or switch the family of addresses off: each new connection tries it";
    Finding::warning(topic, format!("{detail}; {other} does not: {error}")).fixed_by(fix)
}

/// Says that there is a proxy that nobody has named here.
fn with_hint(diagnosis: Diagnosis, subject: &Subject) -> Diagnosis {
    let is_set = |name: &&str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let Some(name) = PROXY_VARIABLES.into_iter().find(is_set).filter(|_| subject.proxy.is_none()) else {
        return diagnosis;
    };
    let remedy = format!("{}; {name} of the environment is not read: give --proxy \"${name}\"", diagnosis.remedy);
    Diagnosis { remedy, ..diagnosis }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(origin: &str, proxy: Option<&str>) -> Subject {
        Subject {
            source: "photos-125".parse().unwrap(),
            origin: origin.to_owned(),
            dialect: crate::wire::dialect::Dialect::Cos,
            region: None,
            proxy: proxy.map(str::to_owned),
            secret_id: "AKIDx".into(),
            key_origin: "environment".into(),
            key_flaw: None,
            key_ended: None,
        }
    }

    #[test]
    fn the_first_connection_goes_to_the_service_or_to_the_proxy() {
        let table = [
            ("https://b-1.cos.ap-beijing.myqcloud.com", None, Some(("b-1.cos.ap-beijing.myqcloud.com", 443, false))),
            ("http://127.0.0.1:9444", None, Some(("127.0.0.1", 9444, false))),
            ("http://[::1]:9444", None, Some(("::1", 9444, false))),
            ("http://[::1]", None, Some(("::1", 80, false))),
            ("https://x", Some("http://me:pass@proxy.corp:3128/"), Some(("proxy.corp", 3128, true))),
            ("https://x", Some("proxy.corp:3128"), Some(("proxy.corp", 3128, true))),
            ("https://x", Some("http://"), None),
            ("https://x", Some("http://proxy:port"), None),
        ];
        for (origin, proxy, expected) in table {
            let way = Way::of(&subject(origin, proxy));
            let found = way.as_ref().map(|way| (way.host.as_str(), way.port, way.is_proxy));
            assert_eq!(found, expected, "{origin} {proxy:?}");
        }
    }
}
