//! The examples that check themselves, run.

#[allow(dead_code, reason = "its main function is not called here")]
#[path = "../examples/scenarios.rs"]
mod scenarios;

#[tokio::test]
async fn the_scenarios_go_as_the_example_says() {
    scenarios::run().await.expect("every step went well");
}
