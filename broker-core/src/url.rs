//! Addresses of peers: `scheme://host:port/path`, for example `grpc://127.0.0.1:9998`.
//!
//! Which schemes exist is the transports' business; this only takes an address apart, so that every
//! crate reads and prints it alike. `mem://name` has no port.

use std::fmt;
use std::str::FromStr;

/// An address someone can listen on or be reached at.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerUrl {
    scheme: Box<str>,
    host: Box<str>,
    port: Option<u16>,
    path: Box<str>,
}

/// Why a text is not an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PeerUrlError {
    /// There is no `scheme://` in front.
    #[error(
        "{text:?} is not an address: expected scheme://host:port, for example grpc://127.0.0.1:9998"
    )]
    NoScheme {
        /// What was given.
        text: String,
    },
    /// Nothing stands where the host should.
    #[error("{text:?} names no host")]
    NoHost {
        /// What was given.
        text: String,
    },
    /// Brackets are not, as they should be, around the whole host and nowhere else.
    #[error("{text:?} names no host: brackets go around an IPv6 address, as in grpc://[::1]:9998")]
    BadBrackets {
        /// What was given.
        text: String,
    },
    /// The port is not a number from 0 to 65535.
    #[error("{port:?} in {text:?} is not a port (0 to 65535)")]
    BadPort {
        /// What was given.
        text: String,
        /// The part in question.
        port: String,
    },
}

impl PeerUrl {
    /// An address from its parts. An IPv6 host goes without brackets.
    #[must_use]
    pub fn new(scheme: impl Into<Box<str>>, host: impl Into<Box<str>>, port: Option<u16>) -> Self {
        Self {
            scheme: scheme.into(),
            host: host.into(),
            port,
            path: Box::default(),
        }
    }

    /// The part before `://`, in lower case.
    #[must_use]
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// Host name or address, an IPv6 one without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, if the address names one.
    #[must_use]
    pub const fn port(&self) -> Option<u16> {
        self.port
    }

    /// From the first `/` behind the host on, query included; often empty.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The same address with another port, for example the one that was bound for port 0.
    #[must_use]
    pub fn with_port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// The same address with another host.
    #[must_use]
    pub fn with_host(mut self, host: impl Into<Box<str>>) -> Self {
        self.host = host.into();
        self
    }

    /// `host:port` as socket functions take it, with brackets around an IPv6 host.
    #[must_use]
    pub fn authority(&self, default_port: u16) -> String {
        let port = self.port.unwrap_or(default_port);
        if self.host.contains(':') {
            format!("[{}]:{port}", self.host)
        } else {
            format!("{}:{port}", self.host)
        }
    }
}

impl FromStr for PeerUrl {
    type Err = PeerUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let own = || text.chars().take(256).collect::<String>();
        let Some((scheme, rest)) = text.split_once("://").filter(|(scheme, _)| {
            !scheme.is_empty()
                && scheme
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'+' || b == b'-')
        }) else {
            return Err(PeerUrlError::NoScheme { text: own() });
        };
        let split = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(split);
        let (host, port) = match authority.strip_prefix('[') {
            Some(inner) => {
                let (host, after) = inner
                    .split_once(']')
                    .ok_or_else(|| PeerUrlError::BadBrackets { text: own() })?;
                match after.strip_prefix(':') {
                    None if !after.is_empty() => {
                        return Err(PeerUrlError::BadBrackets { text: own() });
                    }
                    port => (host, port),
                }
            }
            None => match authority.rsplit_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            },
        };
        if host.is_empty() {
            return Err(PeerUrlError::NoHost { text: own() });
        }
        if host.contains(['[', ']']) {
            return Err(PeerUrlError::BadBrackets { text: own() });
        }
        let port = match port {
            None => None,
            Some(digits) => Some(port_number(digits).ok_or_else(|| PeerUrlError::BadPort {
                text: own(),
                port: digits.chars().take(32).collect(),
            })?),
        };
        Ok(Self {
            scheme: scheme.to_ascii_lowercase().into(),
            host: host.into(),
            port,
            path: path.into(),
        })
    }
}

/// A number without a sign, which `parse` would take.
fn port_number(digits: &str) -> Option<u16> {
    digits.parse().ok().filter(|_| !digits.starts_with('+'))
}

impl fmt::Display for PeerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.scheme)?;
        if self.host.contains(':') {
            write!(f, "[{}]", self.host)?
        } else {
            f.write_str(&self.host)?
        }
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        f.write_str(&self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_apart_and_printed_as_it_came() {
        for text in [
            "grpc://127.0.0.1:9998",
            "ws://zeek:27759/v1/messages/json?send=a",
            "mem://left",
            "broker://[::1]:9999",
            "grpc://node-1",
        ] {
            assert_eq!(text.parse::<PeerUrl>().expect("valid").to_string(), text);
        }
        let url: PeerUrl = "broker://[fe80::1]:0".parse().expect("valid");
        assert_eq!(
            (url.scheme(), url.host(), url.port()),
            ("broker", "fe80::1", Some(0))
        );
        assert_eq!(url.authority(1), "[fe80::1]:0");
    }

    #[test]
    fn what_is_no_address_says_what_is_missing() {
        assert!(matches!(
            "127.0.0.1:9998".parse::<PeerUrl>(),
            Err(PeerUrlError::NoScheme { .. })
        ));
        assert!(matches!(
            "grpc://:9998".parse::<PeerUrl>(),
            Err(PeerUrlError::NoHost { .. })
        ));
        assert!(matches!(
            "grpc://h:99999".parse::<PeerUrl>(),
            Err(PeerUrlError::BadPort { .. })
        ));
        assert!(matches!(
            "grpc://h:+80".parse::<PeerUrl>(),
            Err(PeerUrlError::BadPort { .. })
        ));
    }

    #[test]
    fn brackets_go_around_the_whole_host_or_nowhere() {
        for text in [
            "[::1",
            "[::1]9998",
            "[a:5]b:80",
            "a]:b:80",
            "[a:5",
            "[[a]:5",
            "x[y]",
        ] {
            let parsed = format!("grpc://{text}").parse::<PeerUrl>();
            assert!(
                matches!(parsed, Err(PeerUrlError::BadBrackets { .. })),
                "{text}: {parsed:?}"
            );
        }
    }
}
