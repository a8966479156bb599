//! Addresses of sinks.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Where a sink is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SinkTarget {
    /// `tcp://HOST:PORT`: JSON lines over TCP.
    Tcp(HostPort),
    /// `unix:///PATH`: JSON lines over a Unix stream socket.
    Unix(PathBuf),
    /// `http://HOST:PORT/PATH`: POST requests of JSON lines.
    Http(HttpAddress),
    /// `https://HOST:PORT/PATH`: the same over TLS.
    Https(HttpAddress),
}

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// Name or address, IPv6 without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// Where requests go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpAddress {
    /// The server.
    pub server: HostPort,
    /// Path and query, beginning with a slash.
    pub path: String,
}

/// A text that is no address of a sink.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SinkTargetError {
    /// Another scheme.
    #[error(
        "{text:?} is no address of a sink (tcp://HOST:PORT, unix:///PATH, http://HOST:PORT/PATH, https://HOST:PORT/PATH)"
    )]
    Scheme {
        /// The address.
        text: String,
    },
    /// No host, or a port that is none.
    #[error("{text:?} needs a host and a port")]
    HostPort {
        /// The address.
        text: String,
    },
    /// A path with a blank or a control character, or one that is not absolute.
    #[error("{text:?} has a path that cannot be used")]
    Path {
        /// The address.
        text: String,
    },
}

impl FromStr for SinkTarget {
    type Err = SinkTargetError;

    fn from_str(text: &str) -> Result<Self, SinkTargetError> {
        let owned = || text.chars().take(200).collect::<String>();
        if let Some(path) = text.strip_prefix("unix://") {
            if !path.starts_with('/') || path.contains('\0') {
                return Err(SinkTargetError::Path { text: owned() });
            }
            return Ok(Self::Unix(PathBuf::from(path)));
        }
        let no_host = || SinkTargetError::HostPort { text: owned() };
        if let Some(rest) = text.strip_prefix("tcp://") {
            return host_port(rest, None).map(Self::Tcp).ok_or_else(no_host);
        }
        let (rest, secure) = match (text.strip_prefix("http://"), text.strip_prefix("https://")) {
            (Some(rest), _) => (rest, false),
            (_, Some(rest)) => (rest, true),
            (None, None) => return Err(SinkTargetError::Scheme { text: owned() }),
        };
        let (server, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        if !path
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'#')
        {
            return Err(SinkTargetError::Path { text: owned() });
        }
        let port = if secure { 443 } else { 80 };
        let address = HttpAddress {
            server: host_port(server, Some(port)).ok_or_else(no_host)?,
            path: path.to_owned(),
        };
        Ok(if secure {
            Self::Https(address)
        } else {
            Self::Http(address)
        })
    }
}

impl fmt::Display for SinkTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(server) => write!(f, "tcp://{server}"),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Http(address) => write!(f, "http://{}{}", address.server, address.path),
            Self::Https(address) => write!(f, "https://{}{}", address.server, address.path),
        }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

fn host_port(text: &str, default: Option<u16>) -> Option<HostPort> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            match rest.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if rest.is_empty() => (host, None),
                None => return None,
            }
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let port = match port {
        Some(port) => port.parse::<u16>().ok().filter(|port| *port != 0)?,
        None => default?,
    };
    let is_host =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':');
    (!host.is_empty() && host.bytes().all(is_host)).then(|| HostPort {
        host: host.to_owned(),
        port,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_back_and_others_are_refused() {
        for text in [
            "tcp://127.0.0.1:5170",
            "tcp://[::1]:5170",
            "unix:///run/logs.sock",
            "http://collector.example:8080/logs?source=zeek",
            "https://[2001:db8::1]:8443/logs",
        ] {
            assert_eq!(text.parse::<SinkTarget>().unwrap().to_string(), text);
        }
        let short: SinkTarget = "http://collector".parse().unwrap();
        assert_eq!(short.to_string(), "http://collector:80/");
        let short: SinkTarget = "https://collector/x".parse().unwrap();
        assert_eq!(short.to_string(), "https://collector:443/x");
        for text in [
            "",
            "ftp://x/",
            "https:///x",
            "tcp://x",
            "tcp://:1",
            "tcp://x:0",
            "tcp://x:70000",
            "tcp://::1:5",
            "tcp://[::1",
            "unix://relative",
            "http:///x",
            "http://x/a b",
            "http://x/\r\nInjected: y",
            "http://user@x/",
        ] {
            assert!(text.parse::<SinkTarget>().is_err(), "{text:?}");
        }
    }
}
