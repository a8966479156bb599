//! Texts in, settings or mistakes out.

use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::layout::Layout;

const MANAGER: &str = "[node.manager]\nrole = \"manager\"\nlisten = [\"mem://m\"]\n";

fn read(text: &str) -> Result<LoggingSpec, String> {
    Layout::parse(&format!("{text}\n{MANAGER}"), "/etc/x.toml")
        .map(|layout| layout.logging().clone())
        .map_err(|error| error.to_string())
}

#[test]
fn every_key_is_read() {
    let spec = read(
        r#"
        [logging]
        log_suffix = "zeek.json"
        rotation_interval = "1 hr"
        rotation_size = "500 MB"
        rotation_base = "6:30"
        rotated_names = "archiver"
        rotated_dir = "log-queue"
        leftovers = "rotate"
        keep_batches = "1day"
        gzip_level = 6
        post_command = ["archive-log", "{file}"]
        post_timeout = 5
        post_jobs = 3
        spool_dir = "spool"
        spool_bytes = "1 MiB"
        spool_full = "drop_oldest"
        spool_when = "always"
        log_local = true
        log_remote = false
        limits = "zeek"
        max_field_string_bytes = 10
        node_streams = false
        [logging.stream."Conn::LOG"]
        log_remote = true
        exclude = ["uid"]
        rotation_interval = 0
        [logging.sink.siem]
        url = "https://collector/x"
        tls = { cafile = "ca.pem", certificate = "a.pem", key = "/k/a.key", verify_host_name = false }
        streams = ["Conn::LOG"]
        queue_bytes = 1000
        when_full = "drop_newest"
        "#,
    )
    .unwrap();
    let hour = Duration::from_secs(3600);
    assert_eq!(
        spec.rotation,
        RotationOptions {
            rule: RotationRule {
                interval: Some(hour),
                max_bytes: Some(500_000_000)
            },
            base: Duration::from_secs(23_400),
            names: RotatedNames::Archiver,
            dir: Some(PathBuf::from("/etc/log-queue")),
            leftovers: true,
            keep_batches: 24 * hour,
        }
    );
    assert_eq!(spec.stream_rules["Conn::LOG"], RotationRule::default());
    assert_eq!(
        spec.archive,
        ArchiveOptions {
            gzip: Some(6),
            command: vec!["archive-log".to_owned(), "{file}".to_owned()],
            command_timeout: Duration::from_secs(5),
            jobs: 3
        }
    );
    let spool = spec.spool_of("worker-1").unwrap();
    assert_eq!(spool.dir, Path::new("/etc/spool/worker-1"));
    assert_eq!((spool.max_bytes, spool.drop_oldest), (1 << 20, true));
    assert!(spool.always);
    let settings = spec.log_settings(false);
    assert_eq!((settings.log_local, settings.log_remote), (true, false));
    assert_eq!(settings.limits.unwrap().field_bytes, 10);
    assert_eq!(settings.limits.unwrap().total_elements, 500);
    let stream = &settings.streams["Conn::LOG"];
    assert_eq!((stream.log_remote, stream.log_local), (Some(true), None));
    assert_eq!(stream.exclude, ["uid"]);
    assert_eq!(spec.sinks[0].target.to_string(), "https://collector:443/x");
    let tls = &spec.sinks[0].tls;
    assert_eq!(tls.cafile.as_deref(), Some(Path::new("/etc/ca.pem")));
    assert_eq!(tls.key.as_deref(), Some(Path::new("/k/a.key")));
    assert_eq!(tls.verify_host_name, Some(false));
    assert_eq!(spec.sinks[0].max_bytes.get(), 1000);
    assert!(!spec.sinks[0].drop_oldest);
    assert_eq!(spec.node_streams, Some(false));
    let options = spec.logger_options(LogFormat::Tsv, "logger-1", false);
    assert_eq!(options.sinks, []);
    assert_eq!(options.suffix.as_str(), "zeek.json");
    assert_eq!(options.rotation.dir, Some(PathBuf::from("/etc/log-queue")));
}

#[test]
fn without_the_table_nothing_is_rotated_spooled_or_sent_elsewhere() {
    let spec = read("").unwrap();
    assert_eq!(spec, LoggingSpec::default());
    assert!(!spec.rotation.rule.is_on());
    let logger = spec.log_settings(true);
    assert_eq!((logger.log_local, logger.log_remote), (true, false));
    let worker = spec.log_settings(false);
    assert_eq!((worker.log_local, worker.log_remote), (false, true));
}

#[test]
fn mistakes_name_the_line_and_what_it_may_be() {
    for (text, expected) in [
        ("[logging]\nrotation_interval = \"1 fortnight\"", ":2: "),
        ("[logging]\nrotation_size = \"-5\"", "a size such as"),
        ("[logging]\nrotation_size = true", "a size such as"),
        ("[logging]\nrotation_base = \"25:00\"", "a time of day"),
        (
            "[logging]\nrotated_names = \"x\"",
            "zeek, open-close, archiver",
        ),
        ("[logging]\ngzip_level = 10", "1 to 9"),
        ("[logging]\nlog_suffix = \"a/b\"", "the end of a file name"),
        ("[logging]\nlog_suffix = \"gz\"", "not batches, pending, gz"),
        ("[logging]\nlog_suffix = \"\"", "the end of a file name"),
        ("[logging]\nspool_bytes = 100000", "spool_dir"),
        ("[logging]\nspool_when = \"always\"", "spool_dir"),
        ("[logging]\nspool_when = \"now\"", "down, always"),
        ("[logging]\nspool_dir = \"x\"\nspool_bytes = 1", "65536"),
        (
            "[logging]\nrotate = 1",
            "unknown key \"rotate\" in [logging]",
        ),
        ("[logging.stream.\"X\"]\nurl = \"x\"", "[logging.stream.X]"),
        ("[logging.sink.x]\n", "has no \"url\""),
        ("[logging.sink.x]\nurl = \"ftp://x/\"", "tcp://HOST:PORT"),
        ("[logging.sink.x]\nurl = \"https://x/\"", "cafile = "),
        (
            "[logging.sink.x]\nurl = \"https://x/\"\ntls = { key = \"k\" }",
            "cafile = ",
        ),
        (
            "[logging.sink.x]\nurl = \"http://x/\"\ntls = { cafile = \"c\" }",
            "where there is a tls",
        ),
        (
            "[logging.sink.x]\nurl = \"https://x/\"\ntls = { ca = \"c\" }",
            "[logging.sink.x.tls]",
        ),
    ] {
        let error = read(text).unwrap_err();
        assert!(error.contains(expected), "{text:?}: {error}");
    }
}
