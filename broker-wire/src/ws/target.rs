//! What a `ws://` address says beyond host and port.
//!
//! ```text
//! ws://host:port/v1/messages/json?send=prefix,prefix
//! ```
//!
//! The path may be left out. `send` names the topics whose messages go to the server, which cannot say itself what it
//! wants: none by default, all with `send=`. Prefixes are percent-encoded where they hold a comma, `&`, `#`, `%` or
//! `+` is taken as it is. The query stays here: Zeek refuses addresses that have one (zeek-cluster 7.2).

use broker_core::{Filter, PeerUrl, Topic};

use super::settings::PATH;

/// An address, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// What the request asks for.
    pub(crate) path: String,
    /// What is sent there.
    pub(crate) send: Filter,
}

impl Target {
    /// Reads the path and query of `url`.
    ///
    /// # Errors
    /// What is wrong with them, in words.
    pub(crate) fn of(url: &PeerUrl) -> Result<Self, String> {
        let (path, query) = url
            .path()
            .split_once('?')
            .unwrap_or_else(|| (url.path(), ""));
        let path = match path {
            "" | "/" => PATH,
            path => path,
        };
        if !path
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'#')
        {
            return Err(format!("{path:?} is no path"));
        }
        let mut send = Filter::new();
        for parameter in query.split('&').filter(|part| !part.is_empty()) {
            let Some(("send", prefixes)) = parameter.split_once('=') else {
                return Err(format!(
                    "{parameter:?} is no parameter of a WebSocket address (there is send=)"
                ));
            };
            for prefix in prefixes.split(',') {
                let bytes = percent_decoded(prefix)
                    .ok_or_else(|| format!("{prefix:?} is not percent-encoded"))?;
                send.insert(Topic::new(bytes).map_err(|error| error.to_string())?);
            }
        }
        Ok(Self {
            path: path.to_owned(),
            send,
        })
    }
}

fn percent_decoded(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        if byte == b'%' {
            let (digits, tail) = tail.split_at_checked(2)?;
            let value = |digit: u8| char::from(digit).to_digit(16);
            let decoded = value(digits[0])? << 4 | value(digits[1])?;
            bytes.push(u8::try_from(decoded).ok()?);
            rest = tail;
        } else {
            bytes.push(byte);
            rest = tail;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> Result<Target, String> {
        Target::of(&text.parse().unwrap())
    }

    fn sends(text: &str) -> Vec<String> {
        let send = target(text).unwrap().send;
        send.iter()
            .map(|prefix| prefix.as_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn path_and_query_have_defaults() {
        for text in ["ws://h", "ws://h:1/", "ws://h?", "ws://h/v1/messages/json"] {
            let target = target(text).unwrap();
            assert_eq!(
                (target.path.as_str(), target.send.is_empty()),
                (PATH, true),
                "{text}"
            );
        }
        assert_eq!(target("ws://h/other").unwrap().path, "/other");
    }

    #[test]
    fn send_names_prefixes() {
        assert_eq!(
            sends("ws://h/?send=/a,/b%2Cc&send=d%20"),
            ["/a", "/b,c", "d "]
        );
        assert_eq!(sends("ws://h?send="), [""]);
        for bad in [
            "ws://h?sent=a",
            "ws://h?send",
            "ws://h?send=%2",
            "ws://h?send=%zz",
            "ws://h/a b",
        ] {
            assert!(target(bad).is_err(), "{bad}");
        }
    }
}
