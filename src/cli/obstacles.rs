//! What stands between this machine and a service, and what to do about it.

use std::io;
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::time::timeout;

use super::diagnosis::{Diagnosis, Subject};
use super::failure::Exit;
use super::topic::Topic;
use crate::store::{Obstacle, StoreError};
use crate::wire::region;

/// How long the host of a region that nobody has heard of is looked for. Names that are there are found in far less.
const STRANGE_REGION_TIMEOUT: Duration = Duration::from_secs(1);

/// Whether a region that is not known by name has a host. One that is known is left to the first request.
pub(super) async fn check_region(subject: &Subject) -> Result<(), Diagnosis> {
    let Some(name) = &subject.region else { return Ok(()) };
    if region::is_known(name) || subject.proxy.is_some() || subject.dialect.signed_region().is_some() {
        return Ok(());
    }
    let found = timeout(STRANGE_REGION_TIMEOUT, lookup_host((host(&subject.origin), 443))).await;
    let is_there = found.is_ok_and(|found| found.is_ok_and(|mut addresses| addresses.next().is_some()));
    if is_there { Ok(()) } else { Err(no_such_name(subject, "")) }
}

/// What an error means that tells what stood in the way.
pub(super) fn diagnose(error: &StoreError, subject: &Subject) -> Option<Diagnosis> {
    let Subject { origin, proxy, .. } = subject;
    let proxy = proxy.as_deref().map(host);
    let diagnosis = match (error.obstacle, proxy) {
        (Some(Obstacle::Proxy), Some(proxy)) => unreachable_proxy(proxy).with(innermost(error)),
        (None, Some(proxy)) if (error.status == 407 || error.status >= 500) && error.request_id.is_empty() => {
            let remedy = match error.status {
                407 => "give --proxy a URL with the name and the password that it wants",
                _ => "check --proxy",
            };
            let cause = format!("the proxy {proxy} answers {} in the place of {origin}", error.status);
            Diagnosis::new(Topic::Proxy, cause, remedy)
        }
        (Some(Obstacle::Name), _) => no_such_name(subject, &innermost(error)),
        (Some(Obstacle::S3), _) => Diagnosis::new(
            Topic::Service,
            format!("{origin} is an S3 service and not COS"),
            "name an endpoint of COS, whose own protocol is the one spoken here",
        ),
        (Some(Obstacle::Proxy) | None, _) => return of_silence(error, subject),
        (Some(obstacle), _) => of_encryption(obstacle, origin, error),
    };
    Some(diagnosis)
}

/// A connection that ends without a word.
fn of_silence(error: &StoreError, subject: &Subject) -> Option<Diagnosis> {
    let Subject { origin, proxy, .. } = subject;
    let is_silent = proxy.is_none() && origin.starts_with("http://") && error.message.contains("connection closed");
    let cause = format!("{origin} closes the connection without an answer");
    is_silent.then(|| Diagnosis::new(Topic::Tls, cause, "if it speaks TLS, write https:// in --endpoint"))
}

/// What is wrong with TLS, or with the certificate.
fn of_encryption(obstacle: Obstacle, origin: &str, error: &StoreError) -> Diagnosis {
    let (cause, remedy) = match obstacle {
        Obstacle::NotTls => {
            (format!("{origin} does not speak TLS"), "check the port, or write http:// in --endpoint".to_owned())
        }
        Obstacle::NotHttp => (
            format!("{origin} does not speak plain HTTP"),
            "check the port, or write https:// in --endpoint".to_owned(),
        ),
        Obstacle::UnknownAuthority => (
            format!("the certificate of {origin} is signed by no authority that this machine knows"),
            "name a file with the authority's certificate with --ca-bundle".to_owned(),
        ),
        Obstacle::Expired => (
            format!("the certificate of {origin} has expired"),
            "renew it there, or set this machine's clock if that is ahead: timedatectl".to_owned(),
        ),
        Obstacle::NotYetValid => (
            format!("the certificate of {origin} is not valid yet"),
            "set this machine's clock if that is behind: timedatectl".to_owned(),
        ),
        Obstacle::OtherName => (
            format!("the certificate of {origin} is for another name"),
            "name the host that it is for with --endpoint".to_owned(),
        ),
        Obstacle::NoAuthorities => return no_authorities(),
        Obstacle::Certificate | Obstacle::Name | Obstacle::Proxy | Obstacle::S3 => {
            (format!("the certificate of {origin} is refused"), "check the endpoint and the clock".to_owned())
        }
    };
    let diagnosis = Diagnosis::new(Topic::Tls, cause, remedy);
    // These say all that there is to be said.
    let is_plain = matches!(obstacle, Obstacle::NotTls | Obstacle::NotHttp);
    if is_plain { diagnosis } else { diagnosis.with(innermost(error)) }
}

/// A client that cannot be made.
pub(super) fn of_setup(error: &StoreError) -> Diagnosis {
    let diagnosis = match error.obstacle {
        Some(Obstacle::NoAuthorities) => no_authorities(),
        Some(Obstacle::Certificate) => {
            let cause = format!("a certificate in --ca-bundle cannot be read: {}", innermost(error));
            Diagnosis::new(Topic::Tls, cause, "name a file with certificates in PEM")
        }
        // What else a client is made of is the URL of a proxy.
        _ => Diagnosis::new(Topic::Proxy, error.to_string(), "write --proxy http://HOST:PORT"),
    };
    diagnosis.ending(Exit::Usage)
}

fn no_authorities() -> Diagnosis {
    let cause = "this machine has no certificates of authorities, by which a service is known";
    let remedy = "install the package ca-certificates, or name a file with them with --ca-bundle";
    Diagnosis::new(Topic::Tls, cause, remedy)
}

/// The host has no address. `told` is what was said of it: nobody may have been asked.
pub(super) fn no_such_name(subject: &Subject, told: &str) -> Diagnosis {
    let host = host(&subject.origin);
    let (cause, remedy) = match &subject.region {
        Some(name) if !region::is_known(name) && subject.dialect.signed_region().is_none() => {
            (format!("there is no host {host}"), format!("did you mean --region {}?", region::nearest(name)))
        }
        _ if told.contains("Temporary failure") => (
            format!("the name {host} does not resolve, because no name server answers"),
            "check /etc/resolv.conf and the network".to_owned(),
        ),
        Some(_) => (format!("the name {host} does not resolve"), "check the bucket's name and the network".to_owned()),
        None if subject.dialect.may_name_in_path() => {
            (format!("the name {host} does not resolve"), "check the endpoint, or give --path-style".to_owned())
        }
        None => (format!("the name {host} does not resolve"), "check the endpoint and the network".to_owned()),
    };
    Diagnosis::new(Topic::Dns, cause, remedy)
}

/// No connection comes about, or none that lasts.
pub(super) fn unreachable(origin: &str, kind: Option<io::ErrorKind>, told: impl Into<String>) -> Diagnosis {
    let remedy = match kind {
        Some(io::ErrorKind::ConnectionRefused) => {
            "nothing listens there; check the port of the endpoint, and that it runs"
        }
        Some(io::ErrorKind::TimedOut) => {
            "nothing answers there; check the endpoint, and that no firewall is in between"
        }
        Some(io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable) => {
            "no way leads there; check this machine's network"
        }
        _ => "check the region or endpoint, and the network",
    };
    Diagnosis::new(Topic::Tcp, format!("{origin} cannot be reached"), remedy).with(told)
}

pub(super) fn unreachable_proxy(proxy: &str) -> Diagnosis {
    Diagnosis::new(Topic::Proxy, format!("the proxy {proxy} cannot be reached or refuses"), "check --proxy")
}

/// The host and port of a URL, without the password that a proxy's may hold.
pub(super) fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    authority.rsplit_once('@').map_or(authority, |(_, host)| host)
}

/// What the transport said, without the layers above it.
pub(super) fn innermost(error: &StoreError) -> String {
    let mut told = error.message.clone();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        told = inner.to_string();
        source = inner.source();
    }
    told
}

/// What the system said, where it was asked for a connection.
pub(super) fn io_kind(error: &StoreError) -> Option<io::ErrorKind> {
    let mut source = std::error::Error::source(error);
    let mut found = None;
    while let Some(inner) = source {
        found = inner.downcast_ref::<io::Error>().map(io::Error::kind).or(found);
        source = inner.source();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::failure::Failure;
    use crate::store::{Op, StoreErrorKind};

    fn subject(region: Option<&str>, proxy: Option<&str>) -> Subject {
        let origin = match region {
            Some(region) => format!("https://photos-125.cos.{region}.myqcloud.com"),
            None => "http://127.0.0.1:9444".to_owned(),
        };
        let (region, proxy) = (region.map(str::to_owned), proxy.map(str::to_owned));
        Subject {
            dialect: crate::wire::dialect::Dialect::Cos,
            source: "photos-125".parse().unwrap(),
            origin,
            region,
            proxy,
            secret_id: "AKIDx".into(),
            key_origin: "environment (COS_SECRETID)".into(),
            key_flaw: None,
            key_ended: None,
        }
    }

    fn sentence(error: &StoreError, subject: &Subject) -> Option<String> {
        Some(Failure::from(diagnose(error, subject)?).sentence)
    }

    #[test]
    fn every_obstacle_is_one_sentence_with_what_to_do() {
        let proxy = Some("http://user:secret@proxy.corp:3128/");
        let table = [
            (Obstacle::Proxy, proxy, "the proxy proxy.corp:3128 cannot be reached"),
            (Obstacle::Name, None, "did you mean --region ap-guangzhou?"),
            (Obstacle::NotTls, None, "write http://"),
            (Obstacle::NotHttp, None, "write https://"),
            (Obstacle::UnknownAuthority, None, "--ca-bundle"),
            (Obstacle::Certificate, None, "is refused"),
            (Obstacle::Expired, None, "has expired: renew it there, or set this machine's clock"),
            (Obstacle::NotYetValid, None, "is not valid yet"),
            (Obstacle::OtherName, None, "is for another name: name the host"),
            (Obstacle::NoAuthorities, None, "install the package ca-certificates"),
            (Obstacle::S3, None, "is an S3 service and not COS"),
        ];
        for (obstacle, proxy, expected) in table {
            let error = StoreError::new(StoreErrorKind::Unreachable, Op::HeadBucket, "", "told");
            let error = StoreError { obstacle: Some(obstacle), ..error };
            let sentence = sentence(&error, &subject(Some("ap-guangzou"), proxy)).unwrap();
            assert!(sentence.contains(expected) && !sentence.contains("secret"), "{obstacle:?}: {sentence}");
            assert!(!sentence.contains('\n') && sentence.len() < 220, "{sentence}");
        }
    }

    #[test]
    fn what_a_proxy_answers_is_not_taken_for_the_services() {
        let mut error = StoreError::new(StoreErrorKind::Internal, Op::HeadBucket, "", "");
        error.status = 502;
        let of_proxy = sentence(&error, &subject(None, Some("http://proxy.corp:3128"))).unwrap();
        assert!(of_proxy.contains("the proxy proxy.corp:3128 answers 502"), "{of_proxy}");
        assert_eq!(sentence(&error, &subject(None, None)), None);
        error.request_id = "NTg3".into();
        assert_eq!(sentence(&error, &subject(None, Some("http://proxy.corp:3128"))), None);
    }

    #[tokio::test]
    async fn a_region_that_nobody_knows_is_looked_for_before_anything_else() {
        // The name is none in any name service: a label must not be empty.
        let mut strange = subject(Some("ap-guangzou"), None);
        strange.origin = "https://photos-125..invalid".into();
        let diagnosis = check_region(&strange).await.unwrap_err();
        assert!(diagnosis.remedy.contains("ap-guangzhou"), "{diagnosis:?}");
        for left_alone in [subject(None, None), subject(Some("ap-guangzhou"), None), subject(Some("x"), Some("p:1"))] {
            assert!(check_region(&left_alone).await.is_ok());
        }
    }
}
