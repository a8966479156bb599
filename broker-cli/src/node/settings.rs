//! What Zeek's environment variables say to a node (zeek-cluster, appendix A).
//!
//! A value that cannot be is misuse, and the text names the variable. An empty one is none.

use std::time::Duration;

use broker_cluster::logging::LogSuffix;
use broker_core::{Endpoint, EndpointBuilder, ListenError, PeerUrl};
use tokio::time::sleep;

use crate::failure::misuse;

/// What the environment says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Settings {
    /// `ZEEK_DEFAULT_LISTEN_ADDRESS`: where to listen when no address is given.
    pub(crate) listen_address: Option<String>,
    /// `ZEEK_DEFAULT_LISTEN_RETRY`: how long after an address could not be bound it is tried again; none: not at all.
    pub(crate) listen_retry: Option<Duration>,
    /// `ZEEK_DEFAULT_CONNECT_RETRY`: how long after a connection failed it is tried again; none: at growing intervals.
    pub(crate) connect_retry: Option<Duration>,
    /// `ZEEKCTL_CHECK_CONFIG`: look at the configuration and do nothing.
    pub(crate) check_only: bool,
    /// `ZEEKCTL_DISABLE_LISTEN`: listen nowhere.
    pub(crate) no_listen: bool,
    /// `ZEEK_LOG_SUFFIX`: what names of log files end with where the layout says nothing.
    pub(crate) log_suffix: Option<LogSuffix>,
    /// `ZEEK_WEBSOCKET_LISTEN_ADDRESS` and `_PORT`: a further address for WebSocket clients.
    pub(crate) web_socket: Option<PeerUrl>,
}

impl Settings {
    /// What the environment of this process says.
    ///
    /// # Errors
    /// Misuse: a variable that says what cannot be.
    pub(crate) fn from_environment() -> anyhow::Result<Self> {
        Self::read(|name| std::env::var(name).ok())
    }

    fn read(get: impl Fn(&str) -> Option<String>) -> anyhow::Result<Self> {
        let get = |name: &str| get(name).filter(|value| !value.is_empty());
        let wrong = |name: &str, value: &str, expected: &str| {
            misuse(format!("{name}={value:?}: expected {expected}"))
        };
        let listen_retry = match get(LISTEN_RETRY) {
            None => None,
            Some(text) => match text.parse::<f64>() {
                Ok(seconds) if (0.0..=MAX_SECONDS).contains(&seconds) => {
                    (seconds > 0.0).then(|| Duration::from_secs_f64(seconds))
                }
                _ => {
                    return Err(wrong(
                        LISTEN_RETRY,
                        &text,
                        "seconds from 0 to 86400, such as 1.5",
                    ));
                }
            },
        };
        let connect_retry = match get(CONNECT_RETRY) {
            None => None,
            Some(text) => match text.parse::<u32>() {
                Ok(seconds @ 1..=86_400) => Some(Duration::from_secs(seconds.into())),
                _ => {
                    return Err(wrong(
                        CONNECT_RETRY,
                        &text,
                        "a whole number of seconds from 1 to 86400",
                    ));
                }
            },
        };
        let listen_address = match get(LISTEN_ADDRESS) {
            Some(text) if !is_host(&text) => {
                return Err(wrong(LISTEN_ADDRESS, &text, "an address such as 0.0.0.0"));
            }
            address => address,
        };
        let log_suffix = match get(LOG_SUFFIX).map(|text| (text.parse::<LogSuffix>(), text)) {
            None => None,
            Some((Ok(suffix), _)) => Some(suffix),
            Some((Err(error), text)) => {
                let expected = format!("the end of a file name such as log or json: {error}");
                return Err(wrong(LOG_SUFFIX, &text, &expected));
            }
        };
        Ok(Self {
            log_suffix,
            listen_address,
            listen_retry,
            connect_retry,
            check_only: get(CHECK_CONFIG).is_some(),
            no_listen: get(DISABLE_LISTEN).is_some(),
            web_socket: Self::web_socket(get(WS_ADDRESS), get(WS_PORT), wrong)?,
        })
    }

    fn web_socket(
        address: Option<String>,
        port: Option<String>,
        wrong: impl Fn(&str, &str, &str) -> anyhow::Error,
    ) -> anyhow::Result<Option<PeerUrl>> {
        if address.is_none() && port.is_none() {
            return Ok(None);
        }
        let host = address.unwrap_or_else(|| "127.0.0.1".to_owned());
        if !is_host(&host) {
            return Err(wrong(WS_ADDRESS, &host, "an address such as 127.0.0.1"));
        }
        // Zeek writes ports with their protocol.
        let port = match port {
            None => ZEEK_WS_PORT,
            Some(text) => match text.strip_suffix("/tcp").unwrap_or(&text).parse() {
                Ok(port) => port,
                Err(_) => return Err(wrong(WS_PORT, &text, "a port such as 27759 or 27759/tcp")),
            },
        };
        Ok(Some(PeerUrl::new("ws", host, Some(port))))
    }

    /// Where to listen besides what command line and layout say.
    pub(crate) fn further_listen(&self) -> Option<PeerUrl> {
        self.web_socket.clone().filter(|_| !self.no_listen)
    }

    /// An endpoint that dials as the environment says.
    pub(crate) fn apply(&self, endpoint: EndpointBuilder) -> EndpointBuilder {
        match self.connect_retry {
            Some(pause) => endpoint.connect_retry(pause),
            None => endpoint,
        }
    }

    /// Listens on `url`; where that fails and the environment says so, tries again until it does not.
    ///
    /// # Errors
    /// See [`ListenError`]. Only an address that cannot be bound is tried again.
    pub(crate) async fn listen(
        &self,
        endpoint: &Endpoint,
        url: &PeerUrl,
    ) -> Result<PeerUrl, ListenError> {
        let mut said = false;
        loop {
            match (endpoint.listen(url).await, self.listen_retry) {
                (Err(error @ ListenError::Bind { .. }), Some(pause)) => {
                    if !std::mem::replace(&mut said, true) {
                        tracing::warn!("{error}; trying again every {} s", pause.as_secs_f32());
                    }
                    sleep(pause).await;
                }
                (result, _) => return result,
            }
        }
    }
}

/// `ZEEK_BROKER_MAX_THREADS`: how many threads the tasks of a node run on; none: as many as there are processors.
///
/// # Errors
/// Misuse: it is no number of threads.
pub(crate) fn max_threads() -> anyhow::Result<Option<usize>> {
    threads(std::env::var(MAX_THREADS).ok())
}

fn threads(value: Option<String>) -> anyhow::Result<Option<usize>> {
    let Some(text) = value.filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    match text.parse() {
        Ok(threads @ 1..=1024) => Ok(Some(threads)),
        _ => Err(misuse(format!(
            "{MAX_THREADS}={text:?}: expected a number of threads from 1 to 1024"
        ))),
    }
}

fn is_host(text: &str) -> bool {
    !text.contains(|c: char| c.is_whitespace() || "/?#@[]".contains(c))
        && (!text.contains(':') || text.parse::<std::net::Ipv6Addr>().is_ok())
}

const MAX_THREADS: &str = "ZEEK_BROKER_MAX_THREADS";
const LISTEN_ADDRESS: &str = "ZEEK_DEFAULT_LISTEN_ADDRESS";
const LISTEN_RETRY: &str = "ZEEK_DEFAULT_LISTEN_RETRY";
const CONNECT_RETRY: &str = "ZEEK_DEFAULT_CONNECT_RETRY";
const CHECK_CONFIG: &str = "ZEEKCTL_CHECK_CONFIG";
const DISABLE_LISTEN: &str = "ZEEKCTL_DISABLE_LISTEN";
const LOG_SUFFIX: &str = "ZEEK_LOG_SUFFIX";
const WS_ADDRESS: &str = "ZEEK_WEBSOCKET_LISTEN_ADDRESS";
const WS_PORT: &str = "ZEEK_WEBSOCKET_LISTEN_PORT";

/// How long a retry may be apart, in seconds.
const MAX_SECONDS: f64 = 86_400.0;

/// Where Zeek's own server listens (zeek-cluster 7.1).
const ZEEK_WS_PORT: u16 = 27759;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> anyhow::Result<Settings> {
        Settings::read(|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn every_variable_has_its_effect_and_an_empty_one_has_none() {
        let settings = read(&[
            (LISTEN_ADDRESS, "0.0.0.0"),
            (LISTEN_RETRY, "0.5"),
            (CONNECT_RETRY, "3"),
            (CHECK_CONFIG, "1"),
            (DISABLE_LISTEN, "1"),
            (LOG_SUFFIX, "json"),
            (WS_PORT, "8000/tcp"),
        ])
        .expect("settings");
        assert_eq!(settings.listen_address.as_deref(), Some("0.0.0.0"));
        assert_eq!(settings.listen_retry, Some(Duration::from_millis(500)));
        assert_eq!(settings.connect_retry, Some(Duration::from_secs(3)));
        assert!(settings.check_only && settings.no_listen);
        let suffix = settings.log_suffix.expect("a suffix");
        assert_eq!(suffix.as_str(), "json");
        let url = settings.web_socket.expect("an address");
        assert_eq!(url.to_string(), "ws://127.0.0.1:8000");
        let empty = [
            LISTEN_ADDRESS,
            LISTEN_RETRY,
            CONNECT_RETRY,
            CHECK_CONFIG,
            LOG_SUFFIX,
            WS_PORT,
        ];
        let empty = empty.map(|name| (name, ""));
        assert_eq!(read(&empty).expect("settings"), Settings::default());
        assert_eq!(
            read(&[(LISTEN_RETRY, "0")]).expect("settings"),
            Settings::default()
        );
    }

    #[test]
    fn threads_are_a_number_of_one_or_more() {
        let read = |text: &str| threads(Some(text.to_owned()));
        assert_eq!(read("").expect("none"), None);
        assert_eq!(read("2").expect("a number"), Some(2));
        assert!(read("0").is_err() && read("many").is_err());
    }

    #[test]
    fn a_wrong_value_is_told_with_the_name_of_its_variable() {
        for (name, value) in [
            (LISTEN_ADDRESS, "http://x"),
            (LISTEN_RETRY, "soon"),
            (LISTEN_RETRY, "-1"),
            (LISTEN_RETRY, "nan"),
            (CONNECT_RETRY, "1.5"),
            (CONNECT_RETRY, "0"),
            (LOG_SUFFIX, "../log"),
            (LOG_SUFFIX, "log.gz"),
            (WS_ADDRESS, "a b"),
            (WS_PORT, "70000"),
        ] {
            let error = read(&[(name, value)]).expect_err(value).to_string();
            assert!(error.starts_with(name) && error.contains(value), "{error}");
        }
    }
}
