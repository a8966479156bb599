//! IP addresses and subnets.
//!
//! An address is 16 bytes in network order; IPv4 is held as IPv4-mapped IPv6 (`::ffff:0:0/96`), which is also how it
//! travels. Text follows wire reference 5: dotted quad for IPv4-mapped addresses only, else groups of lower-case hex
//! digits with the longest run of two or more zero groups, the first one on a tie, written as `::`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

const V4_MAPPED_PREFIX: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

/// An IPv4 or IPv6 address; ordered bytewise over its 16 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address([u8; 16]);

impl Address {
    /// The address with these 16 bytes in network order.
    #[must_use]
    #[inline]
    pub const fn from_octets(octets: [u8; 16]) -> Self {
        Self(octets)
    }

    /// The 16 bytes in network order, IPv4 mapped into IPv6.
    #[must_use]
    #[inline]
    pub const fn octets(&self) -> &[u8; 16] {
        &self.0
    }

    /// Whether this is an IPv4 address.
    #[must_use]
    pub fn is_v4(&self) -> bool {
        self.0.starts_with(&V4_MAPPED_PREFIX)
    }

    /// The address in the form of the standard library.
    #[must_use]
    pub fn to_ip(self) -> IpAddr {
        match self.v4() {
            Some(v4) => IpAddr::V4(v4),
            None => IpAddr::V6(Ipv6Addr::from(self.0)),
        }
    }

    /// This address with all but the first `length` of its 128 bits cleared.
    #[must_use]
    pub fn masked(self, length: u8) -> Self {
        let bits = u128::from_be_bytes(self.0);
        let mask = match length {
            0 => 0,
            1..=127 => u128::MAX << (128 - u32::from(length)),
            _ => u128::MAX,
        };
        Self((bits & mask).to_be_bytes())
    }

    fn v4(&self) -> Option<Ipv4Addr> {
        match self.0 {
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d] => {
                Some(Ipv4Addr::new(a, b, c, d))
            }
            _ => None,
        }
    }
}

impl From<[u8; 16]> for Address {
    fn from(octets: [u8; 16]) -> Self {
        Self(octets)
    }
}

impl From<Ipv4Addr> for Address {
    fn from(address: Ipv4Addr) -> Self {
        Self(address.to_ipv6_mapped().octets())
    }
}

impl From<Ipv6Addr> for Address {
    fn from(address: Ipv6Addr) -> Self {
        Self(address.octets())
    }
}

impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => v4.into(),
            IpAddr::V6(v6) => v6.into(),
        }
    }
}

impl From<Address> for IpAddr {
    fn from(address: Address) -> Self {
        address.to_ip()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(v4) = self.v4() {
            let [a, b, c, d] = v4.octets();
            return write!(f, "{a}.{b}.{c}.{d}");
        }
        let groups = groups(&self.0);
        let (start, length) = longest_zero_run(&groups);
        for (index, group) in groups.into_iter().enumerate() {
            if length >= 2 && (start..start + length).contains(&index) {
                if index == start {
                    f.write_str("::")?;
                }
                continue;
            }
            if index > 0 && !(length >= 2 && index == start + length) {
                f.write_str(":")?;
            }
            write!(f, "{group:x}")?;
        }
        Ok(())
    }
}

/// A text is no IPv4 or IPv6 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an IPv4 or IPv6 address")]
pub struct ParseAddressError;

impl FromStr for Address {
    type Err = ParseAddressError;

    fn from_str(text: &str) -> Result<Self, ParseAddressError> {
        text.parse::<IpAddr>()
            .map(Self::from)
            .map_err(|_| ParseAddressError)
    }
}

/// An address and a prefix length; ordered by address, then length.
///
/// The fields hold what came from the wire unchanged: a length above 128, host bits that are set, and a length below 96
/// with an IPv4 address are possible, since C++ Broker passes them on as they are (wire reference 3.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subnet {
    /// The network address.
    pub address: Address,
    /// The prefix length, counted in the 128-bit form: an IPv4 `/24` is 120.
    pub length: u8,
}

impl Subnet {
    /// A subnet with fields as on the wire; nothing is checked or cleared.
    #[must_use]
    pub const fn from_raw(address: Address, length: u8) -> Self {
        Self { address, length }
    }

    /// The subnet around `address`, its host bits cleared. `prefix` counts in the family of the address: 0 to 32 for
    /// IPv4, 0 to 128 for IPv6; `None` above that.
    #[must_use]
    pub fn new(address: impl Into<Address>, prefix: u8) -> Option<Self> {
        let address = address.into();
        let length = match (address.is_v4(), prefix) {
            (true, 0..=32) => prefix + 96,
            (false, 0..=128) => prefix,
            _ => return None,
        };
        Some(Self {
            address: address.masked(length),
            length,
        })
    }

    /// The prefix length in the family of the address, as printed.
    #[must_use]
    pub fn prefix(&self) -> u8 {
        if self.address.is_v4() {
            // Lengths below 96 are possible only in what a peer sent; C++ Broker counts in u8 and wraps.
            self.length.wrapping_sub(96)
        } else {
            self.length
        }
    }

    /// Whether text can hold this subnet: the length fits the family and no host bit is set.
    #[must_use]
    pub fn is_canonical(&self) -> bool {
        Self::new(self.address, self.prefix()) == Some(*self)
    }

    /// Whether `address` lies in this subnet.
    #[must_use]
    pub fn contains(&self, address: Address) -> bool {
        address.masked(self.length) == self.address.masked(self.length)
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix())
    }
}

/// A text is not `ADDRESS/LENGTH`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a subnet is ADDRESS/LENGTH with a length up to 32 for IPv4 and 128 for IPv6")]
pub struct ParseSubnetError;

/// Takes `ADDRESS/LENGTH` and clears the host bits.
impl FromStr for Subnet {
    type Err = ParseSubnetError;

    fn from_str(text: &str) -> Result<Self, ParseSubnetError> {
        let (address, length) = text.rsplit_once('/').ok_or(ParseSubnetError)?;
        if !length.bytes().all(|b| b.is_ascii_digit()) {
            return Err(ParseSubnetError);
        }
        let address: Address = address.parse().map_err(|_| ParseSubnetError)?;
        let length = length.parse().map_err(|_| ParseSubnetError)?;
        Self::new(address, length).ok_or(ParseSubnetError)
    }
}

fn groups(octets: &[u8; 16]) -> [u16; 8] {
    std::array::from_fn(|i| u16::from_be_bytes([octets[2 * i], octets[2 * i + 1]]))
}

/// Start and length of the longest run of zero groups, the first one on a tie.
fn longest_zero_run(groups: &[u16; 8]) -> (usize, usize) {
    let (mut best, mut current) = ((0, 0), (0, 0));
    for (index, group) in groups.iter().enumerate() {
        current = match (*group, current) {
            (0, (_, 0)) => (index, 1),
            (0, (start, length)) => (start, length + 1),
            _ => (0, 0),
        };
        if current.1 > best.1 {
            best = current;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_print_as_broker_prints_them() {
        for text in [
            "192.168.9.8",
            "0.0.0.0",
            "::",
            "::1",
            "1::",
            "2001:db8::1",
            "2001:db8:0:1:1:1:1:1",
            "1:0:0:2::3",
            "1::2:0:0:3:4",
            "::102:304",
            "fe80::1:2:3:4",
            "1:2:3:4:5:6::",
            "0:1:2:3:4:5:6:7",
            "1:2:3:4:5:6:7:0",
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            "0:0:1::",
            "1:0:2:0:3:0:4:0",
        ] {
            let expected = if text == "0:0:1::" { "0:0:1::" } else { text };
            assert_eq!(text.parse::<Address>().unwrap().to_string(), expected);
        }
        assert_eq!(
            "::1.2.3.4".parse::<Address>().unwrap().to_string(),
            "::102:304"
        );
        assert_eq!(
            "::FFFF:1.2.3.4".parse::<Address>().unwrap().to_string(),
            "1.2.3.4"
        );
        assert_eq!(
            "0:0:1:0:0:2:3:4".parse::<Address>().unwrap().to_string(),
            "::1:0:0:2:3:4"
        );
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "1.2.3",
            "[::1]",
            "1.2.3.4.5",
            "1.2.3.256",
            "g::",
            "::1%eth0",
            " ::1",
        ] {
            assert_eq!(text.parse::<Address>(), Err(ParseAddressError), "{text}");
        }
    }

    #[test]
    fn parsing_a_subnet_clears_host_bits() {
        for (text, printed) in [
            ("10.1.2.3/24", "10.1.2.0/24"),
            ("10.1.2.3/32", "10.1.2.3/32"),
            ("1.2.3.4/0", "0.0.0.0/0"),
            ("2001:db8:ffff::1/32", "2001:db8::/32"),
            ("::1/0", "::/0"),
        ] {
            let subnet: Subnet = text.parse().unwrap();
            assert_eq!(subnet.to_string(), printed);
            assert!(subnet.is_canonical());
        }
        assert_eq!("10.1.2.0/24".parse::<Subnet>().unwrap().length, 120);
    }

    #[test]
    fn what_is_no_subnet_is_refused() {
        for text in [
            "",
            "10.0.0.0",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "/8",
            "10.0.0.0/8/8",
            "10.0.0.0/256",
        ] {
            assert_eq!(text.parse::<Subnet>(), Err(ParseSubnetError), "{text}");
        }
    }

    #[test]
    fn a_subnet_contains_its_addresses_and_no_others() {
        let subnet: Subnet = "10.0.0.0/8".parse().unwrap();
        assert!(subnet.contains("10.200.1.1".parse().unwrap()));
        assert!(!subnet.contains("11.0.0.0".parse().unwrap()));
        assert!(!subnet.contains("::1".parse().unwrap()));
    }

    #[test]
    fn odd_subnets_from_the_wire_are_kept_and_known_as_odd() {
        let host_bits = Subnet::from_raw("10.1.2.3".parse().unwrap(), 120);
        let too_long = Subnet::from_raw("::".parse().unwrap(), 200);
        let too_short = Subnet::from_raw("10.0.0.0".parse().unwrap(), 8);
        for subnet in [host_bits, too_long, too_short] {
            assert!(!subnet.is_canonical());
        }
    }
}
