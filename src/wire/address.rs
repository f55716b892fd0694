//! Which host serves a bucket, and which bucket a request is for (`cos-api.md` 1).
//!
//! [`Endpoint`] is the client's side: from a region or URL to where to connect and what to say in `Host`.
//! [`Addressed`] is the server's: from `Host` and path to bucket and key.

use super::dialect::Dialect;
use super::escape::escape;
use super::{code::Code, operation::RequestError};
use crate::object::BucketName;

/// The suffix of the standard hosts.
const SUFFIX: &str = "myqcloud.com";
/// The suffix of the newer hosts, which alone serve the private network names.
const NEW_SUFFIX: &str = "tencentcos.cn";
/// What the region is called where there is none: for an endpoint that is an address and not a name.
const LOCAL_DOMAIN: &str = "cos.local.myqcloud.com";

/// Codes of regions before today's names (`cos-api.md` 1.2), and what they are called now.
const OLD_REGIONS: [(&str, &str); 10] = [
    ("sh", "ap-shanghai"),
    ("gz", "ap-guangzhou"),
    ("bj", "ap-beijing"),
    ("tj", "ap-beijing-1"),
    ("cd", "ap-chengdu"),
    ("sgp", "ap-singapore"),
    ("spg", "ap-singapore"),
    ("hk", "ap-hongkong"),
    ("ca", "na-toronto"),
    ("ger", "eu-frankfurt"),
];

/// Regions whose hosts have no `cos` label (`cos-api.md` 1.2).
const WITHOUT_COS_LABEL: [&str; 6] = ["cn-east", "cn-south", "cn-north", "cn-south-2", "cn-southwest", "sg"];

/// Today's name of a region that may be given by an old code, with or without `cos` before it.
pub fn region_name(region: &str) -> String {
    let region = region.trim().to_ascii_lowercase();
    let region = region.strip_prefix("cos.").unwrap_or(&region);
    let code = region.strip_prefix("cos").unwrap_or(region);
    match OLD_REGIONS.iter().find(|(old, _)| *old == code) {
        Some((_, name)) => (*name).to_owned(),
        None => region.to_owned(),
    }
}

/// The region that a URL of the service leads to.
pub fn region_of_url(url: &str) -> Option<&str> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = host_of(rest.split(['/', '?', '#']).next().unwrap_or(rest));
    let labels = [SUFFIX, NEW_SUFFIX].iter().find_map(|suffix| host.strip_suffix(suffix)?.strip_suffix('.'))?;
    // What stands before it is the bucket, and a label that says which of the region's hosts it is.
    let (before, region) = labels.rsplit_once('.')?;
    (!before.is_empty() && !["cos", "accelerate"].contains(&region)).then_some(region)
}

/// Why a region or URL cannot be an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// Not the name of a region.
    #[error("{0:?} is not a region; one looks like ap-guangzhou")]
    Region(String),
    /// Not a URL that can be connected to.
    #[error("{0:?} is not an endpoint; one looks like https://cos.ap-guangzhou.myqcloud.com or http://127.0.0.1:9444")]
    Url(String),
    /// The address that stands for all of a machine.
    #[error(
        "{0:?} is where a service listens on every address of its machine; name one of them, as 127.0.0.1 on the same"
    )]
    Unspecified(String),
}

/// Where a service is, for any of its buckets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    scheme: Scheme,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    Http,
    Https,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    /// `<bucket>.<domain>` resolves, so it is both connected to and named.
    Domain(String),
    /// Only `authority` is connected to, and `<bucket>.<domain>` is named in `Host`.
    Connect { authority: String, domain: String },
    /// The domain belongs to one bucket, which no request names.
    Bound(String),
    /// A service of S3. The bucket stands before its name, or in the path.
    S3 { authority: String, region: String, is_in_path: bool },
}

/// Where one bucket is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// What to connect to: scheme and authority, without a slash at the end.
    pub origin: String,
    /// The value of `Host`, which is also the one that is signed. May differ from the authority of `origin`.
    pub host: String,
}

impl Endpoint {
    /// The standard hosts of a region, over TLS. Old codes are understood.
    pub fn region(region: &str) -> Result<Endpoint, EndpointError> {
        let name = checked_region(region)?;
        let domain = if WITHOUT_COS_LABEL.contains(&name.as_str()) {
            format!("{name}.{SUFFIX}")
        } else {
            format!("cos.{name}.{SUFFIX}")
        };
        Ok(Endpoint { scheme: Scheme::Https, kind: Kind::Domain(domain) })
    }

    /// The hosts of a region inside Tencent Cloud, over TLS.
    pub fn internal(region: &str) -> Result<Endpoint, EndpointError> {
        let domain = format!("cos-internal.{}.{NEW_SUFFIX}", checked_region(region)?);
        Ok(Endpoint { scheme: Scheme::Https, kind: Kind::Domain(domain) })
    }

    /// The global acceleration hosts, over TLS. The bucket must have acceleration switched on.
    pub fn accelerate() -> Endpoint {
        Endpoint { scheme: Scheme::Https, kind: Kind::Domain(format!("cos.accelerate.{SUFFIX}")) }
    }

    /// The acceleration hosts inside Tencent Cloud, over TLS.
    pub fn accelerate_internal() -> Endpoint {
        Endpoint { scheme: Scheme::Https, kind: Kind::Domain(format!("cos-internal.accelerate.{NEW_SUFFIX}")) }
    }

    /// A service at a URL, `http` or `https` (the default), for example `http://127.0.0.1:9444`.
    ///
    /// Every request must tell its bucket in `Host`, because the path has the key alone. So:
    /// * a domain of the service (`cos.ap-guangzhou.myqcloud.com`) is used as it always is, bucket first; a bucket that
    ///   stands in front of it already is replaced;
    /// * with any other name the client connects to that name and says `Host: <bucket>.<name>[:port]`, so that no
    ///   record per bucket is needed;
    /// * with an IP address or `localhost` it connects there and says `Host: <bucket>.cos.local.myqcloud.com`, a host
    ///   form that every server of the protocol takes apart.
    pub fn custom(url: &str) -> Result<Endpoint, EndpointError> {
        let (scheme, authority) = split_url(url)?;
        let name = host_of(&authority).to_owned();
        if address_of(&name).is_some_and(|address| address.is_unspecified()) {
            return Err(EndpointError::Unspecified(url.to_owned()));
        }
        let kind = if is_own(&name) {
            // A bucket's own host, as consoles show it, serves the other buckets of its region too.
            let domain = bucket_label(&name).and_then(|_| authority.split_once('.')).map(|(_, rest)| rest.to_owned());
            Kind::Domain(domain.unwrap_or(authority))
        } else if is_bare(&name) {
            Kind::Connect { authority, domain: LOCAL_DOMAIN.to_owned() }
        } else {
            Kind::Connect { domain: authority.clone(), authority }
        };
        Ok(Endpoint { scheme, kind })
    }

    /// A domain that was bound to one bucket (CNAME): it is connected to and named as it is.
    pub fn bound_domain(url: &str) -> Result<Endpoint, EndpointError> {
        let (scheme, authority) = split_url(url)?;
        Ok(Endpoint { scheme, kind: Kind::Bound(authority) })
    }

    /// A service that speaks S3: at a URL, or that of AWS in a region. The bucket is in the path if that `is_wanted`, and where the
    /// URL has an address or this machine.
    pub fn s3(url: Option<&str>, region: &str, is_wanted: bool) -> Result<Endpoint, EndpointError> {
        let region = region.trim().to_ascii_lowercase();
        let usual = format!("https://s3.{region}.amazonaws.com");
        let (scheme, authority) = split_url(url.unwrap_or(&usual))?;
        let name = host_of(&authority);
        if address_of(name).is_some_and(|address| address.is_unspecified()) {
            return Err(EndpointError::Unspecified(url.unwrap_or(&usual).to_owned()));
        }
        let is_in_path = is_wanted || is_bare(name);
        Ok(Endpoint { scheme, kind: Kind::S3 { authority, region, is_in_path } })
    }

    /// What a bucket of it speaks.
    pub fn dialect(&self, bucket: &BucketName) -> Dialect {
        match &self.kind {
            Kind::S3 { region, is_in_path, .. } => Dialect::s3(region, bucket, *is_in_path),
            _ => Dialect::Cos,
        }
    }

    /// The same endpoint without TLS.
    #[must_use]
    pub fn without_tls(self) -> Endpoint {
        Endpoint { scheme: Scheme::Http, ..self }
    }

    /// Whether what is sent can be read and changed on its way: another machine, and no TLS.
    pub fn is_open_to_others(&self) -> bool {
        let (Kind::Domain(authority)
        | Kind::Connect { authority, .. }
        | Kind::Bound(authority)
        | Kind::S3 { authority, .. }) = &self.kind;
        let name = host_of(authority);
        let is_here = name.eq_ignore_ascii_case("localhost") || address_of(name).is_some_and(|ip| ip.is_loopback());
        self.scheme == Scheme::Http && !is_here
    }

    /// Where the requests of a bucket go.
    pub fn route(&self, bucket: &BucketName) -> Route {
        match &self.kind {
            Kind::Domain(domain) => {
                let host = format!("{bucket}.{domain}");
                Route { origin: self.origin(&host), host }
            }
            Kind::Connect { authority, domain } => {
                Route { origin: self.origin(authority), host: format!("{bucket}.{domain}") }
            }
            Kind::Bound(authority) | Kind::S3 { authority, is_in_path: true, .. } => {
                Route { origin: self.origin(authority), host: authority.clone() }
            }
            Kind::S3 { authority, .. } => {
                let host = format!("{bucket}.{authority}");
                Route { origin: self.origin(&host), host }
            }
        }
    }

    /// Where requests about the service itself go, that is GET Service.
    pub fn service_route(&self) -> Route {
        match &self.kind {
            Kind::Domain(_) => {
                let host = format!("service.cos.{SUFFIX}");
                Route { origin: self.origin(&host), host }
            }
            Kind::Bound(authority) | Kind::Connect { authority, .. } | Kind::S3 { authority, .. } => {
                Route { origin: self.origin(authority), host: authority.clone() }
            }
        }
    }

    /// The domain to put after the bucket in a copy source.
    pub fn copy_source_domain(&self) -> &str {
        match &self.kind {
            Kind::Domain(domain) | Kind::Connect { domain, .. } => domain,
            // The form without a host names the bucket alone.
            Kind::Bound(_) | Kind::S3 { .. } => "",
        }
    }

    fn origin(&self, authority: &str) -> String {
        match self.scheme {
            Scheme::Http => format!("http://{authority}"),
            Scheme::Https => format!("https://{authority}"),
        }
    }
}

/// The address that a host is, if it is not a name.
fn address_of(host: &str) -> Option<std::net::IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

fn checked_region(region: &str) -> Result<String, EndpointError> {
    let name = region_name(region);
    let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if name.is_empty() || !name.bytes().all(legal) {
        return Err(EndpointError::Region(region.to_owned()));
    }
    Ok(name)
}

/// Scheme and authority of a URL that has no more than these.
fn split_url(url: &str) -> Result<(Scheme, String), EndpointError> {
    let error = || EndpointError::Url(url.to_owned());
    let trimmed = url.trim().trim_end_matches('/');
    let (scheme, authority) = match trimmed.split_once("://") {
        Some(("http", rest)) => (Scheme::Http, rest),
        Some(("https", rest)) => (Scheme::Https, rest),
        Some(_) => return Err(error()),
        None => (Scheme::Https, trimmed),
    };
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':' | b'[' | b']');
    let (host, port) = split_port(authority);
    let port_is_good = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
    // A second colon is only possible in a bracketed IPv6 address.
    let host_is_good = !host.is_empty() && (host.starts_with('[') == host.contains(':'));
    if !authority.bytes().all(legal) || !port_is_good || !host_is_good {
        return Err(error());
    }
    Ok((scheme, authority.to_ascii_lowercase()))
}

/// Host and port of an authority; a bracketed IPv6 address keeps its brackets.
fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    }
}

fn host_of(authority: &str) -> &str {
    split_port(authority).0
}

/// The value of `Host` without its port, if it has one. The Python SDK signs it so (`cos-api.md` 2.6).
pub fn without_port(host: &str) -> Option<&str> {
    match split_port(host) {
        (name, Some(port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => Some(name),
        _ => None,
    }
}

/// Whether a host is an address or this machine, so that it can tell no bucket.
fn is_bare(host: &str) -> bool {
    host == "localhost" || host.starts_with('[') || host.parse::<std::net::Ipv4Addr>().is_ok()
}

/// What a request is about: the service (neither), a bucket (no key), or an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addressed {
    /// The bucket.
    pub bucket: Option<BucketName>,
    /// The key as it stands in the path, decoded and without the first slash; empty for none. Not judged yet.
    pub key: String,
}

impl Addressed {
    /// The bucket and key that `host` (with or without a port) and the decoded `path` tell.
    ///
    /// * A first label that is a bucket's name (`photos-1250000000.` and whatever follows, which covers the old form
    ///   without `cos`, the new suffix, the internal and acceleration hosts) is the bucket.
    /// * `service.cos.*` is the service.
    /// * Any other host tells no bucket: the path does (path style) if its first segment is a bucket that
    ///   `exists`; otherwise it is `default`, if there is one; otherwise the first segment must be a bucket's name.
    ///
    /// # Errors
    /// `InvalidURI` for a path that does not begin with a slash, `InvalidBucketName` if no rule gives a bucket.
    pub fn parse(
        host: &str,
        path: &str,
        exists: impl Fn(&BucketName) -> bool,
        default: Option<&BucketName>,
    ) -> Result<Addressed, RequestError> {
        let Some(key) = path.strip_prefix('/') else {
            let message = format!("the path {:?} does not begin with a slash", escape(path));
            return Err(RequestError::new(Code::InvalidURI, message));
        };
        let host = host_of(host).to_ascii_lowercase();
        if let Some(bucket) = bucket_label(&host) {
            return Ok(Addressed { bucket: Some(bucket), key: key.to_owned() });
        }
        if host.starts_with("service.cos.") {
            return Ok(Addressed { bucket: None, key: key.to_owned() });
        }
        let (segment, rest) = key.split_once('/').unwrap_or((key, ""));
        // One that exists may have a name that S3 alone takes.
        if let Some(bucket) = BucketName::of_s3(segment).ok().filter(|bucket| exists(bucket)) {
            return Ok(Addressed { bucket: Some(bucket), key: rest.to_owned() });
        }
        let named = BucketName::new(segment).ok();
        if is_regional(&host) && key.is_empty() {
            return Ok(Addressed { bucket: None, key: String::new() });
        }
        if let Some(default) = default.filter(|_| !is_regional(&host)) {
            return Ok(Addressed { bucket: Some(default.clone()), key: key.to_owned() });
        }
        match named {
            Some(bucket) => Ok(Addressed { bucket: Some(bucket), key: rest.to_owned() }),
            None if key.is_empty() => Ok(Addressed { bucket: None, key: String::new() }),
            None => Err(RequestError::new(Code::InvalidBucketName, "neither host nor path name a bucket")),
        }
    }
}

impl Addressed {
    /// The bucket and key that `host` and the decoded `path` of a request of S3 tell: a first label that is a bucket that `exists`
    /// is the bucket, and otherwise the first segment of the path is.
    ///
    /// # Errors
    /// As [`Addressed::parse`].
    pub fn of_s3(host: &str, path: &str, exists: impl Fn(&BucketName) -> bool) -> Result<Addressed, RequestError> {
        let Some(key) = path.strip_prefix('/') else {
            let message = format!("the path {:?} does not begin with a slash", escape(path));
            return Err(RequestError::new(Code::InvalidURI, message));
        };
        let host = host_of(host).to_ascii_lowercase();
        let label = if address_of(&host).is_some() { None } else { host.split_once('.').map(|(label, _)| label) };
        let of_host = label.and_then(|label| BucketName::of_s3(label).ok()).filter(|bucket| exists(bucket));
        if of_host.is_some() {
            return Ok(Addressed { bucket: of_host, key: key.to_owned() });
        }
        let (segment, rest) = key.split_once('/').unwrap_or((key, ""));
        if segment.is_empty() && rest.is_empty() {
            return Ok(Addressed { bucket: None, key: String::new() });
        }
        match BucketName::of_s3(segment) {
            Ok(bucket) => Ok(Addressed { bucket: Some(bucket), key: rest.to_owned() }),
            Err(_) => Err(RequestError::new(Code::InvalidBucketName, "neither host nor path name a bucket")),
        }
    }
}

/// The bucket that is the first label of a host with more labels after it.
fn bucket_label(host: &str) -> Option<BucketName> {
    let (label, rest) = host.split_once('.')?;
    (!rest.is_empty()).then(|| BucketName::new(label).ok()).flatten()
}

/// Whether a host is the service's own for a region, where the path begins with the bucket.
fn is_regional(host: &str) -> bool {
    is_own(host) && (host.starts_with("cos.") || host.starts_with("cos-internal."))
}

/// Whether a host belongs to the service.
fn is_own(host: &str) -> bool {
    [SUFFIX, NEW_SUFFIX].iter().any(|suffix| host.strip_suffix(suffix).is_some_and(|rest| rest.ends_with('.')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(name: &str) -> BucketName {
        BucketName::new(name).unwrap()
    }

    #[test]
    fn a_region_is_found_in_a_url_of_the_service() {
        let table = [
            ("https://b-1.cos.ap-beijing.myqcloud.com/", Some("ap-beijing")),
            ("http://b-1.cos-internal.ap-beijing.tencentcos.cn:80/k?x", Some("ap-beijing")),
            ("b-1.sg.myqcloud.com", Some("sg")),
            ("https://b-1.cos.accelerate.myqcloud.com/", None),
            ("https://service.cos.myqcloud.com/", None),
            ("https://elsewhere.example/ap-beijing", None),
            ("", None),
        ];
        for (url, expected) in table {
            assert_eq!(region_of_url(url), expected, "{url}");
        }
    }

    #[test]
    fn every_endpoint_leads_to_its_hosts() {
        let table = [
            (
                Endpoint::region("ap-beijing"),
                "https://b-1.cos.ap-beijing.myqcloud.com",
                "b-1.cos.ap-beijing.myqcloud.com",
            ),
            (Endpoint::region("cossh"), "https://b-1.cos.ap-shanghai.myqcloud.com", "b-1.cos.ap-shanghai.myqcloud.com"),
            (Endpoint::region("sg"), "https://b-1.sg.myqcloud.com", "b-1.sg.myqcloud.com"),
            (
                Endpoint::internal("gz"),
                "https://b-1.cos-internal.ap-guangzhou.tencentcos.cn",
                "b-1.cos-internal.ap-guangzhou.tencentcos.cn",
            ),
            (Ok(Endpoint::accelerate()), "https://b-1.cos.accelerate.myqcloud.com", "b-1.cos.accelerate.myqcloud.com"),
            (
                Ok(Endpoint::accelerate_internal().without_tls()),
                "http://b-1.cos-internal.accelerate.tencentcos.cn",
                "b-1.cos-internal.accelerate.tencentcos.cn",
            ),
            (Endpoint::custom("http://127.0.0.1:9444/"), "http://127.0.0.1:9444", "b-1.cos.local.myqcloud.com"),
            (Endpoint::custom("http://[::1]:80"), "http://[::1]:80", "b-1.cos.local.myqcloud.com"),
            (Endpoint::custom("http://localhost"), "http://localhost", "b-1.cos.local.myqcloud.com"),
            (Endpoint::custom("Store.example:81"), "https://store.example:81", "b-1.store.example:81"),
            (
                Endpoint::custom("http://cos.ap-x.tencentcos.cn"),
                "http://b-1.cos.ap-x.tencentcos.cn",
                "b-1.cos.ap-x.tencentcos.cn",
            ),
            (
                Endpoint::custom("https://old-1.cos.ap-x.myqcloud.com"),
                "https://b-1.cos.ap-x.myqcloud.com",
                "b-1.cos.ap-x.myqcloud.com",
            ),
            (Endpoint::custom("http://notmyqcloud.com"), "http://notmyqcloud.com", "b-1.notmyqcloud.com"),
            (Endpoint::bound_domain("https://files.example"), "https://files.example", "files.example"),
        ];
        for (endpoint, origin, host) in table {
            let route = endpoint.unwrap().route(&bucket("b-1"));
            assert_eq!((route.origin.as_str(), route.host.as_str()), (origin, host));
        }
    }

    #[test]
    fn what_is_no_endpoint_is_refused() {
        for url in
            ["", "http://", "ftp://x", "http://a/b", "http://a:0", "http://a:x", "http://::1", "http://a@b", "a b"]
        {
            assert!(Endpoint::custom(url).is_err(), "{url:?}");
        }
        for region in ["", "ap guangzhou", "a.b", "x/y", "é"] {
            assert!(Endpoint::region(region).is_err(), "{region:?}");
        }
    }

    #[test]
    fn the_address_that_stands_for_all_is_no_endpoint() {
        for url in ["http://0.0.0.0:9444", "https://0.0.0.0", "http://[::]:9444"] {
            assert_eq!(Endpoint::custom(url), Err(EndpointError::Unspecified(url.to_owned())));
        }
    }

    #[test]
    fn what_goes_to_another_machine_without_tls_is_open_to_others() {
        let table = [
            ("http://127.0.0.1:9444", false),
            ("http://127.8.8.8", false),
            ("http://localhost:1", false),
            ("http://[::1]:1", false),
            ("http://192.0.2.7:9444", true),
            ("http://cos.ap-beijing.myqcloud.com", true),
            ("http://minio.example:9000", true),
            ("https://192.0.2.7", false),
        ];
        for (url, expected) in table {
            assert_eq!(Endpoint::custom(url).unwrap().is_open_to_others(), expected, "{url}");
        }
    }

    #[test]
    fn old_codes_have_todays_names() {
        let table = [("sh", "ap-shanghai"), ("cosgz", "ap-guangzhou"), ("SGP", "ap-singapore"), ("tj", "ap-beijing-1")];
        for (code, name) in table {
            assert_eq!(region_name(code), name);
        }
        assert_eq!(region_name("cos.ap-chengdu"), "ap-chengdu");
    }

    #[test]
    fn every_host_form_tells_bucket_and_key() {
        let here = bucket("here-1");
        let default = bucket("default-1");
        let table = [
            ("p-12.cos.ap-x.myqcloud.com", "/a/b", Some("p-12"), "a/b"),
            ("P-12.cos.ap-x.tencentcos.cn:443", "/", Some("p-12"), ""),
            ("p-12.cos-internal.ap-x.tencentcos.cn", "//a", Some("p-12"), "/a"),
            ("p-12.cos.accelerate.myqcloud.com", "/here-1/a", Some("p-12"), "here-1/a"),
            (
                "arlenhuangtestsgnoversion-1251668577.sg.myqcloud.com",
                "/ObjectName",
                Some("arlenhuangtestsgnoversion-1251668577"),
                "ObjectName",
            ),
            ("p-12.localhost:9000", "/a", Some("p-12"), "a"),
            ("p-12.127.0.0.1:9000", "/a", Some("p-12"), "a"),
            ("service.cos.myqcloud.com", "/", None, ""),
            ("cos.ap-x.myqcloud.com", "/", None, ""),
            ("cos.ap-x.myqcloud.com", "/here-1/a/b", Some("here-1"), "a/b"),
            ("cos.ap-x.myqcloud.com", "/new-1/a", Some("new-1"), "a"),
            ("127.0.0.1:9444", "/here-1/a", Some("here-1"), "a"),
            ("127.0.0.1:9444", "/here-1", Some("here-1"), ""),
            ("127.0.0.1:9444", "/dir-2024/a", Some("default-1"), "dir-2024/a"),
            ("[::1]:9444", "/a", Some("default-1"), "a"),
            ("localhost", "/", Some("default-1"), ""),
            ("files.example", "/a", Some("default-1"), "a"),
        ];
        for (host, path, expected, key) in table {
            let addressed = Addressed::parse(host, path, |bucket| *bucket == here, Some(&default)).unwrap();
            assert_eq!(
                (addressed.bucket.as_ref().map(BucketName::as_str), &*addressed.key),
                (expected, key),
                "{host} {path}"
            );
        }
        let alone = |path| Addressed::parse("127.0.0.1", path, |_| false, None).map(|addressed| addressed.bucket);
        assert_eq!(alone("/new-1/a"), Ok(Some(bucket("new-1"))));
        assert_eq!(alone("/"), Ok(None));
        assert_eq!(alone("/a").unwrap_err().code, Code::InvalidBucketName);
        assert_eq!(alone("a").unwrap_err().code, Code::InvalidURI);
    }

    #[test]
    fn a_request_of_s3_names_its_bucket_in_host_or_path() {
        let here = BucketName::of_s3("photos").unwrap();
        let table = [
            ("127.0.0.1:9444", "/photos/a/b", Some("photos"), "a/b"),
            ("127.0.0.1:9444", "/new.one/", Some("new.one"), ""),
            ("127.0.0.1:9444", "/", None, ""),
            ("photos.localhost:9444", "/a/b", Some("photos"), "a/b"),
            ("photos.s3.eu-west-1.amazonaws.com", "/", Some("photos"), ""),
            ("s3.eu-west-1.amazonaws.com", "/other/a", Some("other"), "a"),
            ("photos", "/other/a", Some("other"), "a"),
        ];
        for (host, path, bucket, key) in table {
            let addressed = Addressed::of_s3(host, path, |bucket| *bucket == here).unwrap();
            let told = (addressed.bucket.as_ref().map(BucketName::as_str), &*addressed.key);
            assert_eq!(told, (bucket, key), "{host} {path}");
        }
        let refused = |path| Addressed::of_s3("127.0.0.1", path, |_| false).unwrap_err().code;
        assert_eq!((refused("/UPPER/a"), refused("a")), (Code::InvalidBucketName, Code::InvalidURI));
    }

    #[test]
    fn a_port_is_cut_only_where_there_is_one() {
        let table = [("h:80", Some("h")), ("h", None), ("[::1]:80", Some("[::1]")), ("[::1]", None), ("h:", None)];
        for (host, expected) in table {
            assert_eq!(without_port(host), expected, "{host}");
        }
    }
}
