//! Where a mount shows how it fares, as somebody has written it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

/// Where metrics and the page are: on this machine alone, unless an address says otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// A TCP port.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

impl ListenAddress {
    /// Whether other machines can get there.
    pub fn is_open_to_others(&self) -> bool {
        matches!(self, ListenAddress::Tcp(address) if !address.ip().is_loopback())
    }
}

impl FromStr for ListenAddress {
    type Err = String;

    /// Reads `PORT`, `:PORT`, `localhost:PORT`, `IP:PORT`, `unix:PATH` and an absolute path.
    fn from_str(text: &str) -> Result<ListenAddress, String> {
        let path = text.strip_prefix("unix:").or_else(|| text.starts_with('/').then_some(text));
        if let Some(path) = path.filter(|path| !path.is_empty()) {
            return Ok(ListenAddress::Unix(path.into()));
        }
        let on_this_machine = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        let port = text.strip_prefix("localhost:").or_else(|| text.strip_prefix(':')).unwrap_or(text);
        let address = port.parse().map(on_this_machine).ok().or_else(|| text.parse().ok());
        address.map(ListenAddress::Tcp).ok_or_else(|| {
            format!("{text:?} is not where to listen; write a port of this machine, as 9464, or IP:PORT, or unix:/PATH")
        })
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenAddress::Tcp(address) => address.fmt(f),
            ListenAddress::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_alone_is_one_of_this_machine() {
        let table = [
            ("9464", "127.0.0.1:9464", false),
            (":9464", "127.0.0.1:9464", false),
            ("localhost:9464", "127.0.0.1:9464", false),
            ("127.0.0.1:0", "127.0.0.1:0", false),
            ("[::1]:9464", "[::1]:9464", false),
            ("192.0.2.7:9464", "192.0.2.7:9464", true),
            ("0.0.0.0:9464", "0.0.0.0:9464", true),
            ("/run/page.sock", "unix:/run/page.sock", false),
            ("unix:page.sock", "unix:page.sock", false),
        ];
        for (text, shown, open) in table {
            let address: ListenAddress = text.parse().unwrap();
            assert_eq!((address.to_string().as_str(), address.is_open_to_others()), (shown, open), "{text}");
        }
        for text in ["", "unix:", "host:9464", "127.0.0.1", "99999", "localhost"] {
            assert!(text.parse::<ListenAddress>().unwrap_err().contains("as 9464"), "{text}");
        }
    }
}
