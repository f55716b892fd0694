//! Which platform of AWS gives keys, as its environment and the files of AWS say, in the order of AWS's own clients: a token of a
//! workload before the files, the container and the machine after them.

use std::path::PathBuf;

use super::{ConfigError, Environment, Settings};
use crate::store::{AWS_CONTAINER_URL, AWS_METADATA_URL, AwsPlatform};
use crate::wire::address::Endpoint;

/// What the session of a role is called where nobody says.
const SESSION_NAME: &str = "cosmount";
/// The region where nobody says.
const REGION: &str = "us-east-1";

/// Hosts that a container's token may be told without encryption, beside this machine.
const CONTAINER_HOSTS: [&str; 3] = ["169.254.170.2", "169.254.170.23", "[fd00:ec2::23]"];

/// The role of this machine that was named with `--cam-role`.
pub(super) fn named_role(environment: &Environment, role: &str) -> AwsPlatform {
    instance(environment, (role != "auto").then(|| role.to_owned()), true)
}

/// A workload that its platform has given a token and the name of a role.
pub(super) fn workload(environment: &Environment, settings: &Settings) -> Result<Option<AwsPlatform>, ConfigError> {
    let (file, role) = (environment.get("AWS_WEB_IDENTITY_TOKEN_FILE"), environment.get("AWS_ROLE_ARN"));
    match (file, role) {
        (Some(file), Some(role)) => web_identity(environment, settings, file, role).map(Some),
        (Some(_), None) => Err(ConfigError::HalfCredentials {
            origin: "environment".into(),
            given: "a file with a token",
            missing: "AWS_ROLE_ARN",
        }),
        _ => Ok(None),
    }
}

pub(super) fn web_identity(
    environment: &Environment,
    settings: &Settings,
    file: &str,
    role_arn: &str,
) -> Result<AwsPlatform, ConfigError> {
    let region = settings.region.as_deref().or_else(|| environment.get("AWS_REGION"));
    let region = region.or_else(|| environment.get("AWS_DEFAULT_REGION")).unwrap_or(REGION);
    let usual = format!("https://sts.{region}.amazonaws.com");
    let (name, url) = match environment.get("AWS_ENDPOINT_URL_STS") {
        Some(url) => ("AWS_ENDPOINT_URL_STS", url.to_owned()),
        None => ("region", usual),
    };
    let invalid =
        |reason: String| ConfigError::InvalidSetting { origin: "environment".into(), name: name.into(), reason };
    let is_open = Endpoint::custom(&url).map_err(|error| invalid(error.to_string()))?.is_open_to_others();
    if is_open && settings.allow_http != Some(true) {
        return Err(invalid(
            "keys would go over the network without encryption; use https, or give --allow-http".into(),
        ));
    }
    let session_name = environment.get("AWS_ROLE_SESSION_NAME").unwrap_or(SESSION_NAME).to_owned();
    Ok(AwsPlatform::WebIdentity { url, role_arn: role_arn.to_owned(), session_name, file: PathBuf::from(file) })
}

/// Who is left to ask where neither the environment nor a file has keys.
pub(super) fn rest(environment: &Environment) -> Result<Option<AwsPlatform>, ConfigError> {
    let relative = environment.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
    let url = relative.map(|path| format!("{AWS_CONTAINER_URL}/{}", path.trim_start_matches('/')));
    let full = || environment.get("AWS_CONTAINER_CREDENTIALS_FULL_URI").map(str::to_owned);
    if let Some(url) = url.or_else(full) {
        expect_near(&url)?;
        return Ok(Some(AwsPlatform::Container {
            url,
            token: environment.get("AWS_CONTAINER_AUTHORIZATION_TOKEN").map(str::to_owned),
            token_file: environment.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE").map(PathBuf::from),
        }));
    }
    let is_off = environment.get("AWS_EC2_METADATA_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    Ok((!is_off).then(|| instance(environment, None, false)))
}

fn instance(environment: &Environment, role: Option<String>, is_wanted: bool) -> AwsPlatform {
    let url = environment.get("AWS_EC2_METADATA_SERVICE_ENDPOINT").unwrap_or(AWS_METADATA_URL).to_owned();
    AwsPlatform::Instance { url, role, is_wanted }
}

/// A token goes to this machine, to the platform's own addresses, or over TLS.
fn expect_near(url: &str) -> Result<(), ConfigError> {
    let invalid = |reason: String| ConfigError::InvalidSetting {
        origin: "environment".into(),
        name: "AWS_CONTAINER_CREDENTIALS_FULL_URI".into(),
        reason,
    };
    let (scheme, rest) = url.split_once("://").ok_or_else(|| invalid(format!("{url:?} is no URL")))?;
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => host,
        _ => authority,
    };
    let address: Option<std::net::IpAddr> = host.trim_start_matches('[').trim_end_matches(']').parse().ok();
    let is_here = host == "localhost" || address.is_some_and(|address| address.is_loopback());
    if scheme == "https" || is_here || CONTAINER_HOSTS.contains(&host) {
        return Ok(());
    }
    Err(invalid("a token would go over the network without encryption; use https".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_the_container_and_then_the_machine() {
        let told = |variables: &[(&str, &str)]| {
            let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            rest(&Environment::new(variables)).unwrap()
        };
        let url = |platform: Option<AwsPlatform>| match platform {
            Some(AwsPlatform::Container { url, .. } | AwsPlatform::Instance { url, .. }) => Some(url),
            _ => None,
        };
        let relative = ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/credentials/x");
        let full = ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:7/x");
        assert_eq!(url(told(&[full, relative])).as_deref(), Some("http://169.254.170.2/v2/credentials/x"));
        assert_eq!(url(told(&[full])).as_deref(), Some("http://127.0.0.1:7/x"));
        assert_eq!(url(told(&[])).as_deref(), Some(AWS_METADATA_URL));
        let other = ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://[::1]:9");
        assert_eq!(url(told(&[other])).as_deref(), Some("http://[::1]:9"));
        assert_eq!(told(&[("AWS_EC2_METADATA_DISABLED", "TRUE")]), None);
    }

    #[test]
    fn a_token_goes_to_nobody_far_away() {
        let table = [
            ("http://169.254.170.23/v1/credentials", true),
            ("http://[fd00:ec2::23]/v1", true),
            ("http://localhost:8080/x", true),
            ("https://keys.example/x", true),
            ("http://keys.example/x", false),
            ("http://169.254.169.254/x", false),
            ("keys", false),
        ];
        for (url, expected) in table {
            assert_eq!(expect_near(url).is_ok(), expected, "{url}");
        }
    }

    #[test]
    fn a_token_needs_the_name_of_a_role() {
        let settings = Settings::default();
        let half = Environment::from([("AWS_WEB_IDENTITY_TOKEN_FILE", "/t")]);
        assert!(workload(&half, &settings).unwrap_err().to_string().contains("AWS_ROLE_ARN"));
        let whole = [("AWS_WEB_IDENTITY_TOKEN_FILE", "/t"), ("AWS_ROLE_ARN", "arn"), ("AWS_REGION", "eu-west-1")];
        match workload(&Environment::from(whole), &settings).unwrap() {
            Some(AwsPlatform::WebIdentity { url, .. }) => assert_eq!(url, "https://sts.eu-west-1.amazonaws.com"),
            other => panic!("{other:?}"),
        }
    }
}
