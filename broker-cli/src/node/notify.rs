//! Telling systemd how the node is: the datagrams of `sd_notify`, written by hand.
//!
//! The socket is named by `NOTIFY_SOCKET`: a path, or an abstract name behind `@`. A datagram is lines of `KEY=VALUE`.
//! It is sent without waiting: systemd that does not listen must not hold up a node. With `WATCHDOG_USEC` the node says
//! twice in that time that it is alive, for as long as its tasks run.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::{MissedTickBehavior, interval};

use crate::failure::misuse;

/// Whom to tell.
#[derive(Debug)]
pub(crate) struct Notifier {
    to: Option<Target>,
    watchdog: Option<AbortHandle>,
}

#[derive(Debug)]
struct Target {
    socket: UnixDatagram,
    address: SocketAddr,
}

impl Notifier {
    /// Whoever the environment names, or nobody.
    ///
    /// # Errors
    /// Misuse: a variable that says what cannot be.
    pub(crate) fn from_environment() -> anyhow::Result<Self> {
        let name = variable("NOTIFY_SOCKET");
        let to = name.as_deref().map(Target::open).transpose()?;
        let every = match variable("WATCHDOG_USEC") {
            Some(text) if is_for_us()? => Some(watchdog_interval(&text)?),
            _ => None,
        };
        let mut notifier = Self { to, watchdog: None };
        if let (Some(every), Some(name)) = (every, name) {
            let target = Target::open(&name)?;
            let task = tokio::spawn(async move {
                let mut ticks = interval(every);
                ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
                loop {
                    ticks.tick().await;
                    target.send("WATCHDOG=1");
                }
            });
            notifier.watchdog = Some(task.abort_handle());
        }
        Ok(notifier)
    }

    /// All is bound and open.
    pub(crate) fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={}", one_line(status)));
    }

    /// What the node is at, for people.
    pub(crate) fn status(&self, status: &str) {
        self.send(&format!("STATUS={}", one_line(status)));
    }

    /// The configuration is read again; [`ready`](Self::ready) follows.
    pub(crate) fn reloading(&self) {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let seconds = Duration::from_secs(u64::try_from(now.tv_sec).unwrap_or(0));
        let micros =
            (seconds + Duration::from_nanos(u64::try_from(now.tv_nsec).unwrap_or(0))).as_micros();
        self.send(&format!(
            "RELOADING=1\nMONOTONIC_USEC={micros}\nSTATUS=reading the configuration again"
        ));
    }

    /// The node was told to stop.
    pub(crate) fn stopping(&self) {
        self.send("STOPPING=1\nSTATUS=handing over");
    }

    fn send(&self, text: &str) {
        if let Some(to) = &self.to {
            to.send(text);
        }
    }
}

impl Drop for Notifier {
    fn drop(&mut self) {
        if let Some(watchdog) = &self.watchdog {
            watchdog.abort();
        }
    }
}

impl Target {
    fn open(name: &str) -> anyhow::Result<Self> {
        let address =
            address(name).map_err(|reason| misuse(format!("NOTIFY_SOCKET {name:?}: {reason}")))?;
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, address })
    }

    fn send(&self, text: &str) {
        if let Err(error) = self.socket.send_to_addr(text.as_bytes(), &self.address) {
            tracing::debug!(%error, "systemd was not told");
        }
    }
}

fn address(name: &str) -> Result<SocketAddr, String> {
    match name.strip_prefix('@') {
        Some(rest) => SocketAddr::from_abstract_name(rest).map_err(|error| error.to_string()),
        None if name.starts_with('/') => {
            SocketAddr::from_pathname(name).map_err(|error| error.to_string())
        }
        None => Err("it is neither a path nor an abstract name (@..)".to_owned()),
    }
}

/// Half of what systemd waits, as it asks for.
fn watchdog_interval(text: &str) -> anyhow::Result<Duration> {
    match text.parse::<u64>() {
        Ok(micros) if micros > 1 => Ok(Duration::from_micros(micros / 2)),
        _ => Err(misuse(format!(
            "WATCHDOG_USEC {text:?}: expected a number of microseconds"
        ))),
    }
}

/// Whether the watchdog waits for this process, and not for one that it is a child of.
fn is_for_us() -> anyhow::Result<bool> {
    match variable("WATCHDOG_PID") {
        None => Ok(true),
        Some(text) => match text.parse::<u32>() {
            Ok(process) => Ok(process == std::process::id()),
            Err(_) => Err(misuse(format!(
                "WATCHDOG_PID {text:?}: expected a process number"
            ))),
        },
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

/// What a process that is started by us must not inherit: it is not the one that systemd waits for.
pub(crate) const VARIABLES: [&str; 3] = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_sockets_are_paths_or_abstract() {
        assert!(address("/run/systemd/notify").is_ok());
        let abstract_one = address("@broker-test").expect("abstract");
        assert_eq!(abstract_one.as_abstract_name(), Some(&b"broker-test"[..]));
        assert!(address("vsock:2:1").is_err());
        assert!(address(&"/x".repeat(100)).is_err());
    }

    #[test]
    fn a_watchdog_is_told_twice_in_its_time() {
        assert_eq!(
            watchdog_interval("3000000").expect("a time"),
            Duration::from_millis(1500)
        );
        for bad in ["", "0", "-1", "soon"] {
            assert!(watchdog_interval(bad).is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn what_is_sent_arrives_as_lines() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("notify");
        let server = UnixDatagram::bind(&path).expect("bound");
        let notifier = Notifier {
            to: Some(Target::open(path.to_str().expect("text")).expect("opened")),
            watchdog: None,
        };
        notifier.ready("up\nand running");
        notifier.reloading();
        let mut buffer = [0; 256];
        let mut next = || {
            let len = server.recv(&mut buffer).expect("a datagram");
            String::from_utf8_lossy(&buffer[..len]).into_owned()
        };
        assert_eq!(next(), "READY=1\nSTATUS=up and running");
        let reloading = next();
        assert!(
            reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="),
            "{reloading}"
        );
    }
}
