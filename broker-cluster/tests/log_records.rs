//! Log records as structs: what columns and values they are, from the program through hooks and loggers into a file, and back.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod support;

use std::borrow::Cow;
use std::collections::{BTreeSet, HashSet};
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use broker_cluster::log::{
    ColumnType, FromLogElement, FromLogField, FromLogRecord, LogField, LogRecord, LogRecordReader,
    LogRecords, LogValue, Schema,
};
use broker_cluster::logging::LogError;
use broker_core::{ByteString, Data, FromData, Port, Subnet, Timespan, Timestamp, ToData};
use support::{Cluster, LIMIT};

/// Every kind of column, and every attribute.
#[derive(Clone, Debug, Default, PartialEq, LogRecord, FromLogRecord)]
#[broker(path = "everything", stream = "Lab::EVERYTHING_LOG")]
struct Everything {
    ts: Timestamp,
    id: Option<ConnId>,
    #[broker(flatten)]
    common: Common,
    #[broker(rename = "orig_bytes")]
    sent: u64,
    missed: i32,
    ratio: f64,
    local: bool,
    r#type: Kind,
    user: Option<String>,
    blob: ByteString,
    net: Option<Subnet>,
    addrs: BTreeSet<IpAddr>,
    names: HashSet<String>,
    times: Vec<Timespan>,
    holes: Vec<Option<u64>>,
    #[broker(default)]
    tries: u64,
    #[broker(skip)]
    seen: Vec<Vec<u8>>,
}

#[derive(Clone, Debug, PartialEq, LogRecord, FromLogRecord, ToData, FromData)]
struct ConnId {
    orig_h: IpAddr,
    orig_p: Port,
    #[broker(skip)]
    note: String,
}

#[derive(Clone, Debug, Default, PartialEq, LogRecord, FromLogRecord)]
struct Common {
    uid: Uid,
    duration: Duration,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, LogField, FromLogField)]
struct Uid(String);

#[derive(Clone, Debug, Default, PartialEq, LogField, FromLogField, ToData)]
#[broker(module = "Lab", rename_all = "SCREAMING_SNAKE_CASE")]
enum Kind {
    #[default]
    FirstSeen,
    #[broker(name = "Conn::S0")]
    Half,
}

mod elsewhere {
    pub(crate) use broker_cluster as cluster;
}

#[derive(LogRecord, FromLogRecord)]
#[broker(cluster = "elsewhere::cluster")]
struct Holder<'a, T: FromLogElement> {
    inner: T,
    list: Vec<T>,
    #[broker(skip)]
    _name: std::marker::PhantomData<&'a ()>,
}

#[derive(LogRecord)]
struct SshGuess<'a> {
    user: &'a str,
    shell: Cow<'a, str>,
    at: SystemTime,
}

fn everything() -> Everything {
    Everything {
        ts: Timestamp::from_nanos(1_500_000_000),
        id: Some(ConnId {
            orig_h: "192.0.2.7".parse().unwrap(),
            orig_p: Port::new(40_000, broker_core::Protocol::Unknown),
            note: String::new(),
        }),
        common: Common {
            uid: Uid("C1".to_owned()),
            duration: Duration::from_millis(250),
        },
        sent: 7,
        missed: -1,
        ratio: 0.5,
        local: true,
        r#type: Kind::Half,
        user: Some("-".to_owned()),
        blob: ByteString::copy_from_slice(b"a\xff\t"),
        net: Some("10.0.0.0/8".parse().unwrap()),
        addrs: BTreeSet::from(["::1".parse().unwrap(), "192.0.2.1".parse().unwrap()]),
        names: HashSet::from(["x,y".to_owned()]),
        times: vec![Timespan::from_secs(2), Timespan::from_secs(-3)],
        holes: vec![Some(1), None],
        tries: 0,
        seen: Vec::new(),
    }
}

fn columns<R: LogRecord>() -> String {
    let column = |column: &broker_cluster::log::Column| {
        let optional = if column.optional { "?" } else { "" };
        format!("{}{optional}:{}", column.name, column.ty)
    };
    let schema = R::schema();
    assert_eq!(schema.columns.len(), R::WIDTH);
    let columns: Vec<String> = schema.columns.iter().map(column).collect();
    columns.join(" ")
}

#[test]
fn columns_are_those_that_zeek_would_make_of_the_record() {
    assert_eq!(
        columns::<Everything>(),
        "ts:time id.orig_h?:addr id.orig_p?:port uid:string duration:interval orig_bytes:count missed:int ratio:double \
         local:bool type:enum user?:string blob:string net?:subnet addrs:set[addr] names:set[string] \
         times:vector[interval] holes:vector[count] tries?:count"
    );
    assert_eq!(Everything::schema().path, "everything");
    assert_eq!(Everything::stream(), "Lab::EVERYTHING_LOG");
    assert_eq!(
        columns::<SshGuess<'_>>(),
        "user:string shell:string at:time"
    );
    assert_eq!(SshGuess::PATH, "ssh_guess");
    assert_eq!(SshGuess::stream(), "SshGuess::LOG");
    assert_eq!(
        columns::<Holder<'_, u64>>(),
        "inner:count list:vector[count]"
    );
}

#[test]
fn values_are_those_of_the_columns_and_come_back() {
    let schema = Everything::schema();
    let reader = LogRecordReader::<Everything>::new(&schema).unwrap();
    for record in [everything(), Everything::default()] {
        let values = record.to_record();
        // It is encoded only if every value fits its column.
        let mut bytes = Vec::new();
        broker_cluster::log::serial::encode(&values, &schema.columns, &mut bytes).unwrap();
        assert_eq!(reader.read(&values), Ok(record));
    }
    let values = Everything::default().to_record();
    assert_eq!(
        values[1..3],
        [LogValue::Unset, LogValue::Unset],
        "an optional record is all its columns"
    );
    assert_eq!(values[9], LogValue::Enum(b"Lab::FIRST_SEEN".to_vec()));
    let guess = SshGuess {
        user: "root",
        shell: "sh".into(),
        at: SystemTime::UNIX_EPOCH,
    };
    assert_eq!(guess.to_record()[0], LogValue::String(b"root".to_vec()));
}

#[test]
fn one_struct_may_be_data_and_a_record_of_a_log() {
    let id = everything().id.unwrap();
    let Data::Vector(fields) = id.to_data() else {
        panic!("a vector")
    };
    assert_eq!(fields.len(), 3, "`skip` is for logs");
    assert_eq!(id.to_record().len(), 2);
}

#[test]
fn columns_are_found_by_name_and_what_does_not_fit_is_named() {
    let schema = |columns: &[(&str, &str)]| Schema {
        path: "conn".to_owned(),
        columns: columns
            .iter()
            .map(|(name, ty)| {
                broker_cluster::log::Column::new(*name, ColumnType::parse(ty).unwrap())
            })
            .collect(),
    };
    let reader = LogRecordReader::<ConnId>::new(&schema(&[
        ("orig_p", "port"),
        ("other", "count"),
        ("orig_h", "addr"),
    ]))
    .unwrap();
    let port = LogValue::Port(broker_cluster::log::LogPort {
        number: 22,
        protocol: broker_cluster::log::PortProtocol::Tcp,
    });
    let address = LogValue::Addr("::1".parse().unwrap());
    let id = reader
        .read(&[port.clone(), LogValue::Unset, address.clone()])
        .unwrap();
    assert_eq!((id.orig_p, id.note), (Port::tcp(22), String::new()));
    let message = |record: &[LogValue]| reader.read(record).unwrap_err().to_string();
    assert_eq!(
        message(&[port, LogValue::Unset, LogValue::Unset]),
        "column `orig_h`: is unset"
    );
    assert_eq!(message(&[address]), "a record of 1 values for 3 columns");
    let columns = |schema: &Schema| {
        LogRecordReader::<ConnId>::new(schema)
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        columns(&schema(&[("orig_h", "addr")])),
        "log conn has no column `orig_p`"
    );
    assert_eq!(
        columns(&schema(&[("orig_h", "string"), ("orig_p", "port")])),
        "column `orig_h` is string, not addr"
    );
    let kind = LogRecordReader::<Everything>::new(&Everything::schema()).unwrap();
    let mut values = everything().to_record();
    values[9] = LogValue::Enum(b"Lab::OTHER".to_vec());
    assert_eq!(
        kind.read(&values).unwrap_err().to_string(),
        "column `type`: `Lab::OTHER` is not a value of enum Lab::Kind"
    );
}

#[derive(LogRecord)]
struct Twice {
    common: Common,
    #[broker(rename = "common.uid")]
    uid: String,
}

#[tokio::test(flavor = "multi_thread")]
async fn records_go_through_hooks_and_switches_into_the_file_and_come_back() {
    for json in [false, true] {
        let mut cluster = Cluster::start(support::TWO_WORKERS, |_, _| {}).await;
        let worker = cluster.nodes["worker-1"].clone();
        let format = if json {
            broker_cluster::log::LogFormat::Json
        } else {
            broker_cluster::log::LogFormat::Tsv
        };
        let mut log = worker
            .logs()
            .typed_with::<Everything>(|spec| {
                spec.format(format).exclude(["net"]).hook(|origin, record| {
                    assert_eq!(origin.stream, "Lab::EVERYTHING_LOG");
                    let sent = origin.schema.position("orig_bytes").unwrap();
                    record[sent] != LogValue::Count(13)
                })
            })
            .await
            .unwrap();
        let mut expected = Vec::new();
        for sent in 0..20 {
            let record = Everything {
                sent,
                id: everything().id.filter(|_| sent % 2 == 0),
                ..everything()
            };
            if sent % 3 == 0 {
                assert!(log.try_write(&record).unwrap());
            } else {
                log.write(&record).await.unwrap();
            }
            if sent != 13 {
                expected.push(Everything {
                    net: None,
                    ..record
                });
            }
        }
        assert!(worker.logs().drained(LIMIT).await);
        assert_eq!(worker.logs().filtered(), 1);
        let twice = worker.logs().typed::<Twice>().await;
        assert_eq!(
            twice.err(),
            Some(LogError::SameColumn {
                stream: "Twice::LOG".to_owned(),
                column: "common.uid".to_owned()
            })
        );
        let unknown = worker
            .logs()
            .typed_with::<Everything>(|spec| spec.include(["sent"]))
            .await;
        assert!(matches!(unknown.err(), Some(LogError::NoSuchColumn { .. })));
        drop((log, worker));
        cluster.stop().await;
        let file = cluster.dir.path().join("logs/manager/everything.log");
        let mut read: Vec<Everything> = LogRecords::open(&file)
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        if json {
            // JSON does not tell an escaped byte from its spelling.
            for record in &mut read {
                assert_eq!(record.blob, "a\\xff\t");
                record.blob = everything().blob;
            }
        }
        assert_eq!(read, expected);
    }
}

#[test]
fn a_file_that_does_not_fit_says_where() {
    let text = "#path\tconn\n#fields\torig_h\torig_p\n#types\taddr\tport\n::1\t22\n::1\t-\nx\t1\n\
                #fields\torig_h\n#types\taddr\n::1\n\
                #fields\torig_p\torig_h\n#types\tport\taddr\n23\t::2\n";
    let items: Vec<String> = LogRecords::<ConnId>::from_reader("conn.log", text.as_bytes())
        .unwrap()
        .map(|item| match item {
            Ok(id) => format!("{} {}", id.orig_h, id.orig_p),
            Err(error) => error.to_string(),
        })
        .collect();
    assert_eq!(
        items,
        [
            "::1 22/?",
            "conn.log:5: column `orig_p`: is unset",
            "conn.log:6: column `orig_h` is addr, not `x`",
            "conn.log: log conn has no column `orig_p`",
            "::2 23/?",
        ]
    );
    let json = "{\"orig_h\":\"::1\",\"orig_p\":22}\n{\"orig_h\":\"::1\"}\n";
    let items: Vec<_> = LogRecords::<ConnId>::from_reader("any.log", json.as_bytes())
        .unwrap()
        .map(|item| item.map_err(|error| error.to_string()))
        .collect();
    assert_eq!(items[0].as_ref().unwrap().orig_p.number, 22);
    assert_eq!(
        items[1].as_ref().unwrap_err(),
        "any.log:2: column `orig_p`: is unset"
    );
}
