//! Addresses and subnets as text in log files (reference, zeek-cluster 6.8).
//!
//! The form is glibc's `inet_ntop`: lower case, the longest run of at least two zero groups
//! compressed (the first of equal runs), and when the first 96 bits are zero and the seventh group
//! is not, the last 32 bits dotted: `::2:3` is `::0.2.0.3`. This differs from `std`'s `Display`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::number::{parse_u64, push_u64};
use super::value::LogSubnet;

/// Appends an address.
pub(super) fn push_addr(out: &mut Vec<u8>, address: IpAddr) {
    match address.to_canonical() {
        IpAddr::V4(v4) => push_v4(out, v4),
        IpAddr::V6(v6) => push_v6(out, v6),
    }
}

/// Appends `address/length`.
pub(super) fn push_subnet(out: &mut Vec<u8>, subnet: &LogSubnet) {
    push_addr(out, subnet.address());
    out.push(b'/');
    push_u64(out, u64::from(subnet.length()));
}

/// Reads an address.
pub(super) fn parse_addr(text: &[u8]) -> Option<IpAddr> {
    if let Some(v4) = parse_v4(text) {
        return Some(IpAddr::V4(v4));
    }
    let v6: Ipv6Addr = std::str::from_utf8(text).ok()?.parse().ok()?;
    Some(IpAddr::V6(v6).to_canonical())
}

/// Reads `address/length`.
pub(super) fn parse_subnet(text: &[u8]) -> Option<LogSubnet> {
    let slash = memchr::memchr(b'/', text)?;
    let length = u8::try_from(parse_u64(&text[slash + 1..])?).ok()?;
    if let Some(v4) = parse_v4(&text[..slash]) {
        return LogSubnet::new(IpAddr::V4(v4), length);
    }
    let v6: Ipv6Addr = std::str::from_utf8(&text[..slash]).ok()?.parse().ok()?;
    LogSubnet::new(IpAddr::V6(v6), length)
}

fn parse_v4(text: &[u8]) -> Option<Ipv4Addr> {
    let mut octets = [0_u8; 4];
    let mut parts = text.split(|&byte| byte == b'.');
    for octet in &mut octets {
        let part = parts.next()?;
        if part.len() > 3 {
            return None;
        }
        *octet = u8::try_from(parse_u64(part)?).ok()?;
    }
    parts.next().is_none().then(|| Ipv4Addr::from(octets))
}

fn push_v4(out: &mut Vec<u8>, address: Ipv4Addr) {
    let [a, b, c, d] = address.octets();
    push_u64(out, u64::from(a));
    for octet in [b, c, d] {
        out.push(b'.');
        push_u64(out, u64::from(octet));
    }
}

fn push_v6(out: &mut Vec<u8>, address: Ipv6Addr) {
    let groups = address.segments();
    let (start, len) = longest_zero_run(&groups);
    let dotted = start == 0 && len == 6;
    let end = if dotted { 6 } else { groups.len() };
    let mut at = 0;
    while at < end {
        if len > 0 && at == start {
            out.extend_from_slice(b"::");
            at += len;
            continue;
        }
        if at > 0 && at != start + len {
            out.push(b':');
        }
        push_hex(out, groups[at]);
        at += 1;
    }
    if dotted {
        let [.., a, b, c, d] = address.octets();
        push_v4(out, Ipv4Addr::new(a, b, c, d));
    }
}

/// Start and length of the run to compress; length 0 when no run has two groups.
fn longest_zero_run(groups: &[u16; 8]) -> (usize, usize) {
    let mut best = (0, 0);
    let mut at = 0;
    while at < groups.len() {
        let run = groups[at..].iter().take_while(|group| **group == 0).count();
        if run >= 2 && run > best.1 {
            best = (at, run);
        }
        at += run.max(1);
    }
    best
}

fn push_hex(out: &mut Vec<u8>, group: u16) {
    let mut started = false;
    for shift in [12, 8, 4, 0] {
        let digit = (group >> shift) & 0xf;
        started |= digit != 0 || shift == 0;
        if started {
            out.push(b"0123456789abcdef"[usize::from(digit)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(text: &str) -> String {
        let mut out = Vec::new();
        push_addr(&mut out, text.parse().unwrap());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn addresses_print_as_glibc_prints_them() {
        for (given, expected) in [
            ("192.0.2.1", "192.0.2.1"),
            ("::", "::"),
            ("::1", "::1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("::192.0.2.1", "::192.0.2.1"),
            ("::2:3", "::0.2.0.3"),
            ("::1:0:0", "::1:0:0"),
            ("2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"),
            ("2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"),
            ("1:0:0:2::", "1:0:0:2::"),
            ("0:0:1::", "0:0:1::"),
            ("0:1:2:3:4:5:6:7", "0:1:2:3:4:5:6:7"),
            ("1:2:3:4:5:6:7:0", "1:2:3:4:5:6:7:0"),
            ("FE80::ABCD", "fe80::abcd"),
        ] {
            assert_eq!(shown(given), expected, "{given}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "1.2.3",
            "1.2.3.4.5",
            "256.1.1.1",
            "1.2.3.",
            "x",
            "fe80::1%eth0",
            "1.2.3.0004",
        ] {
            assert_eq!(parse_addr(text.as_bytes()), None, "{text}");
        }
        for text in ["10.0.0.0", "10.0.0.0/33", "::/129", "/8", "10.0.0.0/"] {
            assert_eq!(parse_subnet(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_address_reads_back(groups in prop::array::uniform8(prop_oneof![Just(0_u16), Just(1), any::<u16>()])) {
            let address = IpAddr::V6(Ipv6Addr::from(groups));
            let mut out = Vec::new();
            push_addr(&mut out, address);
            prop_assert_eq!(parse_addr(&out), Some(address.to_canonical()));
        }

        #[test]
        fn every_subnet_reads_back(wide in any::<u128>(), bits in 0_u8..=128) {
            let subnet = LogSubnet::from_wire(IpAddr::V6(Ipv6Addr::from(wide)), bits).unwrap();
            let mut out = Vec::new();
            push_subnet(&mut out, &subnet);
            prop_assert_eq!(parse_subnet(&out), Some(subnet));
        }
    }
}
