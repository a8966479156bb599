//! `store verify` where a copy differs: a peer that follows the store as a clone does, and has something else.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

use broker_core::topic::reserved;
use broker_core::{Data, Endpoint, EndpointId, EntityId};
use broker_store::command::{Command, Content, Verdict};
use broker_store::{Digest, FEATURE};
use broker_tests::{Cluster, Done, broker};
use broker_wire::GrpcTransport;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_differs_is_exit_1_with_a_line_for_each_key() {
    let cluster = Cluster::with_stores(&["s"]);
    let (node, url) = cluster.node("manager");
    let endpoint = Endpoint::builder()
        .name("forger")
        .feature(FEATURE)
        .transport(GrpcTransport::new())
        .start();
    let at = url.clone();
    tokio::task::spawn_blocking(move || {
        for (key, value) in [("a", "1u"), ("b", "2u"), ("c", "3u")] {
            Done::of(broker().args(["store", &at, "s", "put", key, value])).ok();
        }
    })
    .await
    .unwrap();
    let port = endpoint.command_port(reserved::clone("s").unwrap());
    let master = endpoint.connect(url.parse().unwrap()).await.unwrap();
    let (following, followed) = tokio::sync::oneshot::channel();
    // Another value of `a`, no `b`, the same of `c`, and one more.
    let held = [("a", 9u64), ("c", 3), ("d", 4)];
    tokio::spawn(follow(endpoint.clone(), port, master, held, following));
    followed.await.unwrap();

    let id = endpoint.id().to_string();
    let (text, json) = tokio::task::spawn_blocking(move || {
        let verify = |options: &[&str]| {
            Done::of(broker().args(["store", &url, "s", "verify"]).args(options))
        };
        (verify(&[]), verify(&["--json"]))
    })
    .await
    .unwrap();
    for done in [&text, &json] {
        assert_eq!(done.code, Some(1), "{done:?}");
        assert_eq!(
            done.stderr,
            "broker: 1 of 1 copies differ from the master\n"
        );
    }
    let lines: Vec<_> = text.stdout.lines().collect();
    assert!(lines[0].starts_with("master\t3 entries\t"), "{lines:?}");
    assert_eq!(
        lines[1..],
        [
            "forger\tdiffers in 3 keys",
            "forger\tvalue\t\"a\"",
            "forger\tmissing\t\"b\"",
            "forger\textra\t\"d\""
        ]
    );
    let report: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    let key = |key: &str, difference: &str| serde_json::json!({"key": {"@data-type": "string", "data": key}, "difference": difference});
    assert_eq!(
        report["copies"],
        serde_json::json!([{
            "id": id,
            "name": "forger",
            "result": "differs",
            "count": 3,
            "keys": [key("a", "value"), key("b", "missing"), key("d", "extra")]
        }])
    );
    endpoint.shutdown().await;
    assert_eq!(node.stop().code, Some(0));
}

/// Follows the store of `master` as far as it takes to be asked, and answers with what it holds. Says when it follows.
async fn follow(
    endpoint: Endpoint,
    mut port: broker_core::CommandPort,
    master: EndpointId,
    held: [(&'static str, u64); 3],
    following: tokio::sync::oneshot::Sender<()>,
) {
    let own = EntityId::new(endpoint.id(), 1);
    let say = |receiver: EntityId, content: Content| {
        let command = Command::control(own, receiver, content);
        let topic = reserved::master("s").unwrap();
        endpoint.send_command(Some(master), topic, command.encode());
    };
    say(EntityId::NIL, Content::Nack { seqs: vec![0] });
    let mut following = Some(following);
    while let Some(command) = port.recv().await {
        let Command {
            sender, content, ..
        } = Command::decode(&command.payload).unwrap();
        match content {
            Content::Offer { incarnation, .. } => {
                let (from, former) = (0, 0);
                say(
                    sender,
                    Content::Follow {
                        incarnation,
                        from,
                        former,
                    },
                );
            }
            Content::Following { seq, .. } => {
                say(sender, Content::CumulativeAck { seq });
                let _ = following.take().map(|following| following.send(()));
            }
            Content::Check { id, .. } => {
                let entries = held.map(|(key, value)| {
                    let (key, value) = (Data::from(key), Data::from(value));
                    let digest = Digest::of(&key, &value);
                    (key, digest)
                });
                let verdict = Verdict::Entries(entries.into());
                say(sender, Content::Checked { id, verdict });
            }
            _ => {}
        }
    }
}
