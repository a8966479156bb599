//! The streams every node writes about itself: `Cluster::LOG` and `Broker::LOG`, with Zeek's columns and texts
//! (reference, zeek-cluster 1.7).
//!
//! A record that finds no room is dropped and counted: nothing the node does waits for its own logs. An address that
//! cannot be reached is reported once until it could be, not at each attempt.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use broker_core::{
    ClientChange, ClientEvent, EndpointId, PeerUrl, StatusEvent, StatusEventCode, Timestamp, Topic,
};

use crate::layout::NodeSpec;
use crate::log::{Column, ColumnType, LogPort, LogValue, PortProtocol, Schema};
use crate::logging::{LogClient, LogError, LogSpec, LogStream};
use crate::role::Role;

/// How long a connector waits at most between two attempts, as `retry` in `cluster.log` has it.
const RETRY: Duration = Duration::from_secs(5);
/// Addresses remembered as not reachable.
const MAX_UNAVAILABLE: usize = 4096;

/// Bytes of topics in one line. A client may have very many.
const MAX_TOPICS: usize = 4096;

/// The two streams of one node.
pub(super) struct NodeStreams {
    node: String,
    cluster: Mutex<LogStream>,
    broker: Mutex<LogStream>,
    unavailable: Mutex<HashSet<String>>,
}

impl NodeStreams {
    pub(super) async fn open(logs: &LogClient, node: &str) -> Result<Self, LogError> {
        Ok(Self {
            node: node.to_owned(),
            cluster: Mutex::new(
                logs.stream(LogSpec::new(cluster_schema()).expendable())
                    .await?,
            ),
            broker: Mutex::new(
                logs.stream(LogSpec::new(broker_schema()).expendable())
                    .await?,
            ),
            unavailable: Mutex::new(HashSet::new()),
        })
    }

    /// A line of `cluster.log`.
    pub(super) fn cluster(&self, message: &str) {
        write(
            &self.cluster,
            &[
                LogValue::Time(Timestamp::now().as_secs_f64()),
                text(&self.node),
                text(message),
            ],
        );
    }

    /// The node listens on `url`.
    pub(super) fn listening(&self, url: &PeerUrl) {
        self.cluster(&listening(url));
    }

    /// The node begins to dial another one.
    pub(super) fn dialling(&self, url: &PeerUrl) {
        self.cluster(&dialling(url));
    }

    /// What happened to a peer, whose node is `node` if it is one of the layout.
    pub(super) fn status(&self, status: &StatusEvent, node: Option<&str>) {
        if status.code == StatusEventCode::PeerRemoved && status.message.contains(OVERFLOW) {
            self.cluster(&overflow(status, node));
        }
        if self.is_new(status)
            && let Some(record) = broker_record(status, Timestamp::now().as_secs_f64())
        {
            write(&self.broker, &record);
        }
    }

    /// Whether this is not said already.
    fn is_new(&self, status: &StatusEvent) -> bool {
        let Some(url) = status.url.as_ref().map(ToString::to_string) else {
            return true;
        };
        let mut unavailable = self
            .unavailable
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match status.code {
            StatusEventCode::PeerUnavailable => {
                unavailable.len() < MAX_UNAVAILABLE && unavailable.insert(url)
            }
            StatusEventCode::PeerAdded => {
                unavailable.remove(&url);
                true
            }
            _ => true,
        }
    }
}

fn write(stream: &Mutex<LogStream>, record: &[LogValue]) {
    let mut stream = stream.lock().unwrap_or_else(PoisonError::into_inner);
    // It fails while the node shuts down, and what is dropped is counted.
    if let Err(error) = stream.try_write(record) {
        tracing::debug!(%error, "the node's own log");
    }
}

/// A line of `cluster.log`, and of what the program says.
pub(super) fn say(streams: Option<&NodeStreams>, message: &str) {
    tracing::info!("{message}");
    if let Some(streams) = streams {
        streams.cluster(message);
    }
}

/// The line about a store of the layout, which may be that of a table.
pub(super) fn store(name: &str, node: &NodeSpec) -> String {
    store_created(node.role == Role::Manager, name)
}

/// The line about a store that was made.
pub(crate) fn store_created(is_master: bool, name: &str) -> String {
    let kind = if is_master { "master" } else { "clone" };
    format!("created {kind} store: {name}")
}

/// The line about a client that has come or gone.
pub(super) fn client(event: &ClientEvent) -> String {
    let mut line = format!("{} client '{}' ({})", event.kind, event.id, event.address);
    if !event.application.is_empty() {
        line.push_str(" application_name=");
        line.push_str(&event.application);
    }
    match &event.change {
        ClientChange::Added { subscriptions } => {
            line.push_str(" subscribed to [");
            line.push_str(&joined(subscriptions));
            line.push(']');
        }
        ClientChange::Lost { code, reason } => {
            line.push_str(&format!(" gone with code {code}"));
            if !reason.is_empty() {
                line.push_str(&format!(" and reason '{reason}'"));
            }
        }
        _ => line.push_str(" changed"),
    }
    line
}

/// Topics with commas between them, as many as a line may have.
fn joined(topics: &[Topic]) -> String {
    let mut text = String::new();
    for (at, topic) in topics.iter().enumerate() {
        let separator = if at == 0 { "" } else { ", " };
        let name = String::from_utf8_lossy(topic.as_bytes());
        if text.len() + name.len() > MAX_TOPICS {
            text.push_str(&format!("{separator}and {} more", topics.len() - at));
            break;
        }
        text.push_str(separator);
        text.push_str(&name);
    }
    text
}

fn listening(url: &PeerUrl) -> String {
    let host = match url.host() {
        "0.0.0.0" | "::" | "*" => "",
        host => host,
    };
    match url.port() {
        Some(port) => format!("listening on {host}:{port}/tcp"),
        None => format!("listening on {url}"),
    }
}

fn dialling(url: &PeerUrl) -> String {
    let retry = format!("{:.1} secs", RETRY.as_secs_f64());
    match url.port() {
        Some(port) => format!(
            "initiate peering with {}:{port}/tcp, retry={retry}, status=T",
            url.host()
        ),
        None => format!("initiate peering with {url}, retry={retry}, status=T"),
    }
}

fn overflow(status: &StatusEvent, node: Option<&str>) -> String {
    let address = match &status.url {
        Some(url) => match url.port() {
            Some(port) => format!("{}:{port}", url.host()),
            None => url.to_string(),
        },
        None => String::new(),
    };
    match node {
        Some(node) => format!("removed due to backpressure overflow: {address} ({node})"),
        None => format!(
            "removed due to backpressure overflow: non-cluster peer {address} ({})",
            status.endpoint.unwrap_or(EndpointId::NIL)
        ),
    }
}

/// The record of `broker.log` for a status, if it has one.
fn broker_record(status: &StatusEvent, time: f64) -> Option<Vec<LogValue>> {
    let (ty, event) = match status.code {
        StatusEventCode::PeerAdded => ("Broker::STATUS", "peer-added"),
        StatusEventCode::PeerRemoved => ("Broker::STATUS", "peer-removed"),
        StatusEventCode::PeerLost => ("Broker::STATUS", "connection-terminated"),
        StatusEventCode::PeerUnavailable => ("Broker::ERROR", "peer-unavailable"),
        StatusEventCode::PeerInvalid => ("Broker::ERROR", "peer-invalid"),
        _ => return None,
    };
    // An error of Broker's names no endpoint but in its text (1.6).
    let is_error = ty == "Broker::ERROR";
    let message = if is_error {
        error_text(status)
    } else {
        status.message.clone()
    };
    let url = status.url.as_ref().filter(|_| !is_error);
    let port = url.and_then(PeerUrl::port).map(|number| {
        LogValue::Port(LogPort {
            number: u64::from(number),
            protocol: PortProtocol::Tcp,
        })
    });
    Some(vec![
        LogValue::Time(time),
        LogValue::Enum(ty.as_bytes().to_vec()),
        text(event),
        url.map_or(LogValue::Unset, |url| text(url.host())),
        port.unwrap_or(LogValue::Unset),
        text(&message),
    ])
}

/// `(ID, *ADDRESS:PORT, "TEXT")`, with an ID of zeros for a node that is not known yet.
fn error_text(status: &StatusEvent) -> String {
    let id = status.endpoint.unwrap_or(EndpointId::NIL);
    let place = match &status.url {
        Some(url) => match url.port() {
            Some(port) => format!("*{}:{port}", url.host()),
            None => format!("*{url}"),
        },
        None => "*<unknown>:0".to_owned(),
    };
    format!("({id}, {place}, {:?})", status.message)
}

fn text(text: &str) -> LogValue {
    LogValue::String(text.as_bytes().to_vec())
}

fn cluster_schema() -> Schema {
    schema(
        "cluster",
        &[("ts", "time"), ("node", "string"), ("message", "string")],
        "",
    )
}

fn broker_schema() -> Schema {
    let columns = [
        ("ts", "time"),
        ("ty", "enum"),
        ("ev", "string"),
        ("peer.address", "string"),
        ("peer.bound_port", "port"),
        ("message", "string"),
    ];
    // Zeek marks `peer` itself optional, and its fields not.
    schema("broker", &columns, "message")
}

fn schema(path: &str, columns: &[(&str, &str)], optional: &str) -> Schema {
    let column = |(name, ty): &(&str, &str)| Column {
        optional: *name == optional,
        ..Column::new(
            *name,
            ColumnType::parse(ty).expect("these are words of types"),
        )
    };
    Schema {
        path: path.to_owned(),
        columns: columns.iter().map(column).collect(),
    }
}

/// What the endpoint says of a peer whose queue overflowed.
const OVERFLOW: &str = "backpressure_overflow";

#[cfg(test)]
mod tests {
    use broker_core::Data;
    use broker_core::zeek::Message;

    use super::*;

    fn url(text: &str) -> PeerUrl {
        text.parse().unwrap()
    }

    fn status(code: StatusEventCode, message: &str) -> StatusEvent {
        StatusEvent {
            code,
            endpoint: Some(EndpointId::from_bytes([1; 16])),
            name: "worker-1".to_owned(),
            url: Some(url("broker://192.0.2.1:7702")),
            message: message.to_owned(),
        }
    }

    #[test]
    fn lines_of_cluster_log_are_those_that_tools_search_for() {
        assert_eq!(
            listening(&url("broker://0.0.0.0:7702")),
            "listening on :7702/tcp"
        );
        assert_eq!(
            listening(&url("grpc://127.0.0.1:7702")),
            "listening on 127.0.0.1:7702/tcp"
        );
        assert_eq!(
            dialling(&url("broker://192.0.2.1:7702")),
            "initiate peering with 192.0.2.1:7702/tcp, retry=5.0 secs, status=T"
        );
        let cut = status(
            StatusEventCode::PeerRemoved,
            "removed connection to remote peer (backpressure_overflow)",
        );
        assert_eq!(
            overflow(&cut, Some("worker-1")),
            "removed due to backpressure overflow: 192.0.2.1:7702 (worker-1)"
        );
        assert_eq!(
            overflow(&cut, None),
            "removed due to backpressure overflow: non-cluster peer 192.0.2.1:7702 (01010101-0101-0101-0101-010101010101)"
        );
    }

    #[test]
    fn clients_are_told_of_as_tools_search_for_them() {
        let event = |application: &str, change| ClientEvent {
            kind: "WebSocket",
            id: "x-websocket-0".to_owned(),
            address: "127.0.0.1:4711".parse().unwrap(),
            application: application.to_owned(),
            change,
        };
        let topics = |names: &[&'static str]| ClientChange::Added {
            subscriptions: names.iter().map(|name| Topic::from_static(name)).collect(),
        };
        let lost = |code, reason: &str| ClientChange::Lost {
            code,
            reason: reason.to_owned(),
        };
        for (event, line) in [
            (event("", topics(&[])), "subscribed to []"),
            (
                event("top", topics(&["/a", "/b"])),
                "application_name=top subscribed to [/a, /b]",
            ),
            (
                event("top", lost(1005, "")),
                "application_name=top gone with code 1005",
            ),
            (
                event("", lost(1000, "bye")),
                "gone with code 1000 and reason 'bye'",
            ),
        ] {
            let expected = format!("WebSocket client 'x-websocket-0' (127.0.0.1:4711) {line}");
            assert_eq!(client(&event), expected);
        }
        let many = vec![Topic::copy_from(&[b'x'; 1000]).unwrap(); 10];
        let line = joined(&many);
        assert!(line.ends_with("xxx, and 6 more"), "{line}");
    }

    /// How a recorded Zeek manager announced its stream `Broker::LOG`.
    const RECORDED: &str = "0e030200000000000000010200000000000000020e040b0b42726f6b65723a3a4c4f470b114c6f673a3a5752495445525f41534349490e0605066272\
        6f6b65720400000000000000000400000000000000000441dac0fa3057d0cc0d0005000e060e05050274730002000000000000000502000000000000\
        000001000e05050274790002000000000000000902000000000000000001000e05050265760002000000000000000702000000000000000001000e05\
        050c706565722e616464726573730002000000000000000702000000000000000001000e05050f706565722e626f756e645f706f7274000200000000\
        0000000a02000000000000000001000e0505076d657373616765000200000000000000070200000000000000000101";

    #[test]
    fn broker_log_is_announced_as_zeek_announces_it() {
        let bytes: Vec<u8> = RECORDED
            .as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect();
        let recorded = Message::from_data(&Data::decode(&bytes).unwrap()).unwrap();
        let Message::LogCreate(recorded) = recorded else {
            panic!("{recorded:?}")
        };
        let schema = broker_schema();
        assert_eq!(recorded.stream.to_string(), schema.stream_id());
        assert_eq!(recorded.info.path.to_str(), Some(schema.path.as_str()));
        let ours: Vec<_> = schema.columns.iter().map(Column::to_wire).collect();
        let zeek_s: Vec<_> = recorded
            .fields
            .iter()
            .map(|field| {
                let name = field.name.to_str().unwrap();
                (name, field.type_tag, field.subtype, field.optional)
            })
            .collect();
        assert_eq!(ours, zeek_s);
    }

    #[test]
    fn statuses_become_records_of_broker_log_and_others_do_not() {
        for (code, ty, event) in [
            (StatusEventCode::PeerAdded, "Broker::STATUS", "peer-added"),
            (
                StatusEventCode::PeerRemoved,
                "Broker::STATUS",
                "peer-removed",
            ),
            (
                StatusEventCode::PeerLost,
                "Broker::STATUS",
                "connection-terminated",
            ),
        ] {
            let record = broker_record(&status(code, "why"), 1.5).unwrap();
            assert_eq!(
                record,
                [
                    LogValue::Time(1.5),
                    LogValue::Enum(ty.as_bytes().to_vec()),
                    text(event),
                    text("192.0.2.1"),
                    LogValue::Port(LogPort {
                        number: 7702,
                        protocol: PortProtocol::Tcp
                    }),
                    text("why"),
                ]
            );
        }
        let unreachable = StatusEvent {
            endpoint: None,
            ..status(
                StatusEventCode::PeerUnavailable,
                "unable to connect to remote peer",
            )
        };
        let expected = [
            LogValue::Time(1.5),
            LogValue::Enum(b"Broker::ERROR".to_vec()),
            text("peer-unavailable"),
            LogValue::Unset,
            LogValue::Unset,
            text(
                "(00000000-0000-0000-0000-000000000000, *192.0.2.1:7702, \"unable to connect to remote peer\")",
            ),
        ];
        assert_eq!(broker_record(&unreachable, 1.5).unwrap(), expected);
        let found = status(StatusEventCode::EndpointDiscovered, "");
        assert_eq!(broker_record(&found, 0.0), None);
    }
}
