//! Transport-layer ports: a number and a protocol.

use std::fmt;
use std::str::FromStr;

/// The protocol of a [`Port`]. The numbers are those on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Protocol {
    /// Not known; printed as `?`.
    #[default]
    Unknown = 0,
    /// TCP.
    Tcp = 1,
    /// UDP.
    Udp = 2,
    /// ICMP; the number is the message type.
    Icmp = 3,
}

impl Protocol {
    /// The protocol with this number on the wire.
    #[must_use]
    #[inline]
    pub const fn from_u8(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Unknown),
            1 => Some(Self::Tcp),
            2 => Some(Self::Udp),
            3 => Some(Self::Icmp),
            _ => None,
        }
    }

    /// The name behind the slash of a port: `tcp`, `udp`, `icmp` or `?`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "?",
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Icmp => "icmp",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A port: ordered by number, then protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port {
    /// The port number.
    pub number: u16,
    /// The protocol.
    pub protocol: Protocol,
}

impl Port {
    /// A port of any protocol.
    #[must_use]
    pub const fn new(number: u16, protocol: Protocol) -> Self {
        Self { number, protocol }
    }

    /// A TCP port.
    #[must_use]
    pub const fn tcp(number: u16) -> Self {
        Self::new(number, Protocol::Tcp)
    }

    /// A UDP port.
    #[must_use]
    pub const fn udp(number: u16) -> Self {
        Self::new(number, Protocol::Udp)
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.protocol)
    }
}

/// A text is not `NUMBER/PROTOCOL`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a port is NUMBER/tcp, NUMBER/udp, NUMBER/icmp or NUMBER/?")]
pub struct ParsePortError;

/// Takes `80/tcp`, `53/udp`, `8/icmp`, `1/?` and `1/unknown`.
impl FromStr for Port {
    type Err = ParsePortError;

    fn from_str(text: &str) -> Result<Self, ParsePortError> {
        let (number, protocol) = text.split_once('/').ok_or(ParsePortError)?;
        if !number.bytes().all(|b| b.is_ascii_digit()) {
            return Err(ParsePortError);
        }
        let number = number.parse().map_err(|_| ParsePortError)?;
        let protocol = match protocol {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            "icmp" => Protocol::Icmp,
            "?" | "unknown" => Protocol::Unknown,
            _ => return Err(ParsePortError),
        };
        Ok(Self { number, protocol })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_leads_back_to_the_port() {
        for text in ["443/tcp", "53/udp", "8/icmp", "0/?", "65535/tcp"] {
            assert_eq!(text.parse::<Port>().unwrap().to_string(), text);
        }
        assert_eq!("1/unknown".parse(), Ok(Port::new(1, Protocol::Unknown)));
    }

    #[test]
    fn what_is_no_port_is_refused() {
        for text in [
            "",
            "80",
            "80/",
            "80/sctp",
            "65536/tcp",
            "-1/tcp",
            "+1/tcp",
            "/tcp",
            "80/TCP",
            " 80/tcp",
        ] {
            assert_eq!(text.parse::<Port>(), Err(ParsePortError), "{text}");
        }
    }

    #[test]
    fn ports_order_by_number_then_protocol() {
        assert!(Port::udp(1) < Port::tcp(2));
        assert!(Port::tcp(1) < Port::udp(1));
    }
}
