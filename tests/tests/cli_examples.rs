//! The examples of broker-cli do what they say.

use std::path::Path;

use broker_tests::{Done, program_path};

/// The directory of the examples.
fn examples() -> &'static Path {
    Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../broker-cli/examples"
    ))
}

#[test]
fn the_first_steps_can_be_followed() {
    let script = examples().join("first-steps.sh");
    let output = Done::of(
        std::process::Command::new("sh")
            .arg(script)
            .arg(program_path()),
    )
    .ok();
    let expected = "/greetings\t\"hello\"\n/greetings\t[10.0.0.1, 80/tcp, 5s]\n3u\n\
        {\"key\":{\"@data-type\":\"address\",\"data\":\"10.0.0.1\"},\"value\":{\"@data-type\":\"count\",\"data\":3}}\n\
        {\"id\":\ndone\n";
    assert_eq!(output, expected);
}

#[test]
fn the_example_of_a_layout_is_one_that_nodes_take() {
    let layout = broker_cluster::Layout::load(examples().join("cluster.toml")).expect("a layout");
    assert_eq!(layout.nodes().len(), 4);
    for node in layout.nodes() {
        layout
            .check_spoken(&node.name, &["grpc"])
            .expect("everybody speaks grpc");
    }
}
