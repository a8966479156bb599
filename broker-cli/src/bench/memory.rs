//! How much memory this process uses and has used, where the system says so in `/proc/self/status`.

/// The most that was resident so far, in bytes.
pub(in crate::bench) fn peak() -> Option<u64> {
    field("VmHWM:")
}

/// What is resident now, in bytes.
pub(in crate::bench) fn resident() -> Option<u64> {
    field("VmRSS:")
}

/// What is resident now, in bytes, each page divided by the number of processes that share it.
pub(in crate::bench) fn proportional() -> Option<u64> {
    parse(
        &std::fs::read_to_string("/proc/self/smaps_rollup").ok()?,
        "Pss:",
    )
}

fn field(name: &str) -> Option<u64> {
    parse(&std::fs::read_to_string("/proc/self/status").ok()?, name)
}

fn parse(status: &str, name: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kilobytes: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_among_others_and_given_in_bytes() {
        let status = "Name:\tbroker\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n";
        assert_eq!(parse(status, "VmHWM:"), Some(2 << 20));
        assert_eq!(parse(status, "VmRSS:"), Some(1 << 20));
        assert_eq!(parse(status, "VmSwap:"), None);
    }
}
