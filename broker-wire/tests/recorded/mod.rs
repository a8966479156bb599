//! The recorded dialogue of a client with the WebSocket server of Zeek 9.1-dev.

use serde_json::Value;

/// One part of the recording: what was noted, said and answered.
pub(crate) struct Scene {
    pub(crate) note: String,
    pub(crate) client: Vec<String>,
    pub(crate) server: Vec<String>,
    pub(crate) closed: Option<(u16, String)>,
}

pub(crate) fn recording() -> Vec<Scene> {
    let mut scenes: Vec<Scene> = Vec::new();
    for line in include_str!("../data/zeek-websocket.jsonl").lines() {
        let entry: Value = serde_json::from_str(line).unwrap();
        let text = |name: &str| entry[name].as_str().map(str::to_owned);
        if let Some(note) = text("note") {
            scenes.push(Scene {
                note,
                client: Vec::new(),
                server: Vec::new(),
                closed: None,
            });
            continue;
        }
        let scene = scenes.last_mut().unwrap();
        scene.client.extend(text("client"));
        scene.server.extend(text("server"));
        if let Some(reason) = text("reason") {
            scene.closed = Some((entry["code"].as_u64().unwrap() as u16, reason));
        }
    }
    scenes
}
