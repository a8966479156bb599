//! A socket to listen on, such as that of metrics: `HOST:PORT`, or a port that this machine alone can reach.

use std::fmt;
use std::str::FromStr;

/// A host and a port to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    host: String,
    port: u16,
}

impl HostPort {
    /// A port of this machine alone.
    #[must_use]
    pub fn local(port: u16) -> Self {
        Self::at(LOOPBACK, port)
    }

    /// A port of `host`, which is a name or an address without brackets.
    pub(super) fn at(host: &str, port: u16) -> Self {
        Self {
            host: host.to_owned(),
            port,
        }
    }

    /// The host to bind.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port; 0 is any.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The address `places` ports on; any port stays any port. `None`: there is no such port.
    #[must_use]
    pub fn next(&self, places: usize) -> Option<Self> {
        let port = match self.port {
            0 => 0,
            first => first.checked_add(u16::try_from(places).ok()?)?,
        };
        Some(Self {
            host: self.host.clone(),
            port,
        })
    }
}

/// A text that is no [`HostPort`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected HOST:PORT such as 127.0.0.1:9991, or a port of this machine alone")]
pub struct BadHostPort;

impl FromStr for HostPort {
    type Err = BadHostPort;

    fn from_str(text: &str) -> Result<Self, BadHostPort> {
        let (host, port) = text.rsplit_once(':').unwrap_or((LOOPBACK, text));
        let bracketed = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let host = match bracketed {
            Some(inner) => inner,
            None if host.contains(':') => return Err(BadHostPort),
            None => host,
        };
        let port = port.parse().map_err(|_| BadHostPort)?;
        if host.is_empty() || host.contains(|c: char| c.is_whitespace() || c == '/') {
            return Err(BadHostPort);
        }
        Ok(Self {
            host: host.to_owned(),
            port,
        })
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

const LOOPBACK: &str = "127.0.0.1";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written() {
        for (text, written) in [
            ("127.0.0.1:9991", "127.0.0.1:9991"),
            ("9991", "127.0.0.1:9991"),
            ("localhost:0", "localhost:0"),
            ("[::1]:9991", "[::1]:9991"),
        ] {
            let address: HostPort = text.parse().expect(text);
            assert_eq!(address.to_string(), written);
        }
        for bad in [
            "",
            "host",
            "::1:80",
            "host:70000",
            ":80",
            "http://host:80",
            "a b:1",
        ] {
            assert!(bad.parse::<HostPort>().is_err(), "{bad}");
        }
    }

    #[test]
    fn ports_are_given_out_one_after_the_other_while_there_are_any() {
        let next = |text: &str, n| {
            let address: HostPort = text.parse().expect("an address");
            address.next(n).map(|address| address.to_string())
        };
        assert_eq!(next("h:9990", 3).as_deref(), Some("h:9993"));
        assert_eq!(next("h:0", 3).as_deref(), Some("h:0"));
        assert_eq!(next("h:65535", 1), None);
    }
}
