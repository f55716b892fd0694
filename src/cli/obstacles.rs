//! What stands between this machine and a service, in one sentence with what to do.

use std::time::Duration;

use tokio::net::lookup_host;
use tokio::time::timeout;

use super::diagnosis::Subject;
use super::failure::{Exit, Failure};
use crate::store::{Obstacle, StoreError};
use crate::wire::region;

/// How long the host of a region that nobody has heard of is looked for. Names that are there are found in far less.
const STRANGE_REGION_TIMEOUT: Duration = Duration::from_secs(1);

/// Whether a region that is not known by name has a host. One that is known is left to the first request.
pub(super) async fn check_region(subject: &Subject) -> Result<(), Failure> {
    let Some(name) = &subject.region else { return Ok(()) };
    if region::is_known(name) || subject.proxy.is_some() {
        return Ok(());
    }
    let found = timeout(STRANGE_REGION_TIMEOUT, lookup_host((host(&subject.origin), 443))).await;
    let is_there = found.is_ok_and(|found| found.is_ok_and(|mut addresses| addresses.next().is_some()));
    if is_there { Ok(()) } else { Err(Failure::new(Exit::Service, no_such_name(subject))) }
}

/// The sentence for an error that tells what stood in the way.
pub(super) fn sentence(error: &StoreError, subject: &Subject) -> Option<String> {
    let Subject { origin, proxy, .. } = subject;
    let proxy = proxy.as_deref().map(host);
    let sentence = match (error.obstacle, proxy) {
        (Some(Obstacle::Proxy), Some(proxy)) => {
            format!("the proxy {proxy} cannot be reached or refuses: check --proxy ({})", innermost(error))
        }
        (None, Some(proxy)) if (error.status == 407 || error.status >= 500) && error.request_id.is_empty() => {
            format!("the proxy {proxy} answers {} in the place of {origin}: check --proxy", error.status)
        }
        (Some(Obstacle::Name), _) => no_such_name(subject),
        (Some(Obstacle::NotTls), _) => {
            format!("{origin} does not speak TLS: check the port, or write http:// in --endpoint")
        }
        (Some(Obstacle::NotHttp), _) => {
            format!("{origin} does not speak plain HTTP: check the port, or write https:// in --endpoint")
        }
        (Some(Obstacle::UnknownAuthority), _) => format!(
            "the certificate of {origin} is signed by no authority that this machine knows: name a file with the \
             authority's certificate with --ca-bundle ({})",
            innermost(error)
        ),
        (Some(Obstacle::Certificate), _) => {
            format!("the certificate of {origin} is refused: check the endpoint and the clock ({})", innermost(error))
        }
        (Some(Obstacle::NoAuthorities), _) => no_authorities(),
        (Some(Obstacle::S3), _) => format!(
            "{origin} is an S3 service and not COS: name an endpoint of COS, whose own protocol is the one spoken here"
        ),
        (None, None) if origin.starts_with("http://") && error.message.contains("connection closed") => {
            format!("{origin} closes the connection without an answer: if it speaks TLS, write https:// in --endpoint")
        }
        (Some(Obstacle::Proxy) | None, _) => return None,
    };
    Some(sentence)
}

/// A client that cannot be made.
pub(super) fn of_setup(error: &StoreError) -> String {
    match error.obstacle {
        Some(Obstacle::NoAuthorities) => no_authorities(),
        Some(Obstacle::Certificate) => format!("a certificate in --ca-bundle cannot be read: {}", innermost(error)),
        _ => error.to_string(),
    }
}

fn no_authorities() -> String {
    "this machine has no certificates of authorities, by which a service is known: install the package ca-certificates, \
     or name a file with them with --ca-bundle"
        .to_owned()
}

fn no_such_name(subject: &Subject) -> String {
    let host = host(&subject.origin);
    match &subject.region {
        Some(name) if !region::is_known(name) => {
            format!("there is no host {host}: did you mean --region {}?", region::nearest(name))
        }
        Some(_) => format!("the name {host} does not resolve: check the bucket's name and the network"),
        None => format!("the name {host} does not resolve: check the endpoint and the network"),
    }
}

/// The host and port of a URL, without the password that a proxy's may hold.
fn host(url: &str) -> &str {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Op, StoreErrorKind};

    fn subject(region: Option<&str>, proxy: Option<&str>) -> Subject {
        let origin = match region {
            Some(region) => format!("https://photos-125.cos.{region}.myqcloud.com"),
            None => "http://127.0.0.1:9444".to_owned(),
        };
        let (region, proxy) = (region.map(str::to_owned), proxy.map(str::to_owned));
        Subject { source: "photos-125".parse().unwrap(), origin, region, proxy, secret_id: "AKIDx".into() }
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
        let failure = check_region(&strange).await.unwrap_err();
        assert!(failure.sentence.contains("ap-guangzhou"), "{}", failure.sentence);
        for left_alone in [subject(None, None), subject(Some("ap-guangzhou"), None), subject(Some("x"), Some("p:1"))] {
            assert!(check_region(&left_alone).await.is_ok());
        }
    }
}
