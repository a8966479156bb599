//! `bench`: that it measures, and loses nothing. The figures themselves depend on the machine.

use broker_tests::{Done, broker};

#[test]
fn pubsub_gives_its_figures_over_every_transport_and_kind() {
    for transport in ["grpc", "broker", "mem"] {
        let output = Done::of(broker().args([
            "bench",
            "pubsub",
            "--transport",
            transport,
            "--seconds",
            "0.5",
            "--json",
        ]))
        .ok();
        let lines: Vec<serde_json::Value> = output
            .lines()
            .map(|line| serde_json::from_str(line).expect("json"))
            .collect();
        assert_eq!(
            lines
                .iter()
                .map(|line| line["kind"].as_u64())
                .collect::<Vec<_>>(),
            [Some(1), Some(2), Some(3)]
        );
        for line in lines {
            assert_eq!(line["lost"], 0, "{line}");
            for figure in [
                "messages_per_s",
                "megabytes_per_s",
                "raw_tcp_messages_per_s",
            ] {
                assert!(
                    line[figure].as_f64().is_some_and(|value| value > 0.0),
                    "{line}"
                );
            }
        }
    }
}

#[test]
fn rtt_gives_percentiles_in_order() {
    for transport in ["grpc", "broker", "mem"] {
        let output = Done::of(broker().args([
            "bench",
            "rtt",
            "--transport",
            transport,
            "--kind",
            "1",
            "--seconds",
            "0.5",
            "--json",
        ]))
        .ok();
        let line: serde_json::Value = serde_json::from_str(&output).expect("one object");
        let (p50, p99) = (
            line["p50_us"].as_f64().expect("p50"),
            line["p99_us"].as_f64().expect("p99"),
        );
        assert!(p50 > 0.0 && p50 <= p99, "{line}");
    }
}

#[test]
fn codec_gives_a_figure_for_each_operation() {
    let output = Done::of(broker().args([
        "bench",
        "codec",
        "--kind",
        "2",
        "--seconds",
        "0.1",
        "--json",
    ]))
    .ok();
    let line: serde_json::Value = serde_json::from_str(&output).expect("one object");
    for figure in [
        "encode_ns",
        "decode_ns",
        "view_ns",
        "json_encode_ns",
        "json_decode_ns",
    ] {
        assert!(
            line[figure].as_f64().is_some_and(|value| value > 0.0),
            "{line}"
        );
    }
}

#[test]
fn store_gives_its_figures_for_memory_and_for_sqlite() {
    for (backend, transport) in [
        ("memory", "grpc"),
        ("memory", "mem"),
        ("sqlite-wal", "broker"),
    ] {
        let output = Done::of(broker().args([
            "bench",
            "store",
            "--backend",
            backend,
            "--transport",
            transport,
            "--seconds",
            "0.5",
            "--entries",
            "2000",
            "--writers",
            "64",
            "--json",
        ]))
        .ok();
        let line: serde_json::Value = serde_json::from_str(&output).expect("one object");
        assert_eq!(
            (
                &line["backend"],
                &line["transport"],
                &line["attach_entries"]
            ),
            (&backend.into(), &transport.into(), &2000.into()),
            "{line}"
        );
        let figure = |name: &str| {
            line[name]
                .as_f64()
                .unwrap_or_else(|| panic!("{name}: {line}"))
        };
        for name in [
            "puts_per_s",
            "clone_puts_per_s",
            "acknowledged_puts_per_s",
            "gets_per_s",
            "gets_all_threads_per_s",
            "attach_s",
        ] {
            assert!(figure(name) > 0.0, "{name}: {line}");
        }
        let (p50, p99) = (figure("put_p50_us"), figure("put_p99_us"));
        assert!(p50 > 0.0 && p50 <= p99, "{line}");
        // Null where the system does not tell, or master and clone are one process.
        for name in ["attach_peak_mb", "master_peak_mb", "bytes_per_entry"] {
            let peak = &line[name];
            assert!(
                peak.is_null() || peak.as_f64() >= Some(0.0),
                "{name}: {line}"
            );
            assert!(line.get(name).is_some(), "{name}: {line}");
        }
    }
}
