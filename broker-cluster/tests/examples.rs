//! The examples that check themselves, run.

#[allow(dead_code, reason = "its main function is not called here")]
#[path = "../examples/scenarios.rs"]
mod scenarios;

#[tokio::test]
async fn the_scenarios_go_as_the_example_says() {
    scenarios::run().await.expect("every step went well");
}

#[allow(dead_code, reason = "its main function is not called here")]
#[path = "../examples/log_records.rs"]
mod log_records;

#[tokio::test]
async fn log_records_come_back_as_the_example_says() {
    log_records::run().await.expect("every step went well");
}

#[allow(dead_code, reason = "its main function is not called here")]
#[path = "../examples/log_sink.rs"]
mod log_sink;

#[tokio::test]
async fn a_program_takes_records_as_the_example_says() {
    log_sink::run().await.expect("every step went well");
}
