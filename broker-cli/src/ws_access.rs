//! Who may be a WebSocket client of a node: what the command line says, and a layout behind it.

use broker_cluster::WsSpec;

use crate::tls;

/// What these options stand under in the help. Each names it: said for all of them, it would be said of those that follow too.
const HEADING: &str = "WebSocket: who may connect to ws:// and wss:// addresses of this node";

/// Who may be a WebSocket client of this node.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct WsArgs {
    /// Ask clients for this token. Other users of this machine can read it here; the environment or the token_file of
    /// a layout hide it
    #[arg(
        long,
        help_heading = HEADING,
        env = "BROKER_WS_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN"
    )]
    ws_token: Option<String>,
    /// Show this token to nodes that are dialled at ws:// or wss://
    #[arg(
        long,
        help_heading = HEADING,
        env = "BROKER_WS_PEER_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN"
    )]
    ws_peer_token: Option<String>,
    /// Listen without a token on addresses that other machines can reach
    #[arg(long, help_heading = HEADING)]
    ws_allow_unauthenticated: bool,
    /// Let web pages of this origin connect, such as `https://dashboard.example`; * is any [default: none]
    #[arg(long, help_heading = HEADING, value_name = "ORIGIN")]
    ws_allow_origin: Vec<String>,
}

/// Who may be a WebSocket client.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct WsAccess {
    /// The token that clients have to show.
    pub(crate) token: Option<String>,
    /// The token that is shown to servers.
    pub(crate) peer_token: Option<String>,
    /// Whether there need be none on addresses that other machines can reach.
    pub(crate) allow_unauthenticated: bool,
    /// The origins of web pages that may connect.
    pub(crate) origins: Vec<String>,
}

impl std::fmt::Debug for WsAccess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WsAccess")
            .field("token", &self.token.as_ref().map(|_| ".."))
            .field("peer_token", &self.peer_token.as_ref().map(|_| ".."))
            .field("allow_unauthenticated", &self.allow_unauthenticated)
            .field("origins", &self.origins)
            .finish()
    }
}

impl WsArgs {
    /// Who may connect, where the command line is silent as `layout` has it.
    ///
    /// # Errors
    /// Misuse: the file with the token cannot be read.
    pub(crate) fn access(&self, layout: &WsSpec) -> anyhow::Result<WsAccess> {
        let token = match (&self.ws_token, &layout.token_file) {
            (Some(token), _) if !token.is_empty() => Some(token.clone()),
            (_, Some(file)) => Some(tls::secret(file, "token")?),
            _ => None,
        };
        let origins = if self.ws_allow_origin.is_empty() {
            layout.allow_origins.clone()
        } else {
            self.ws_allow_origin.clone()
        };
        let peer_token = self.ws_peer_token.clone();
        Ok(WsAccess {
            token,
            peer_token: peer_token.filter(|token| !token.is_empty()),
            allow_unauthenticated: self.ws_allow_unauthenticated
                || layout.allow_unauthenticated.unwrap_or(false),
            origins,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_goes_before_the_layout_and_no_token_is_shown() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("token");
        std::fs::write(&file, "from-file\n").expect("written");
        let layout = WsSpec {
            token_file: Some(file),
            allow_unauthenticated: Some(true),
            allow_origins: vec!["https://a.example".to_owned()],
        };
        let access = WsArgs::default().access(&layout).expect("access");
        assert_eq!(access.token.as_deref(), Some("from-file"));
        assert!(access.allow_unauthenticated);
        assert_eq!(access.origins, layout.allow_origins);
        let args = WsArgs {
            ws_token: Some("said".to_owned()),
            ws_peer_token: Some("shown".to_owned()),
            ws_allow_origin: vec!["*".to_owned()],
            ..WsArgs::default()
        };
        let access = args.access(&layout).expect("access");
        assert_eq!(access.token.as_deref(), Some("said"));
        assert_eq!(access.origins, ["*"]);
        assert_eq!(access.peer_token.as_deref(), Some("shown"));
        let debug = format!("{access:?}");
        assert!(
            !debug.contains("said") && !debug.contains("shown"),
            "{debug}"
        );
    }
}
