//! What Zeek sends, recorded and imagined.

use super::*;

/// The rules of the receiving side, row by row (zeek-cluster reference, 6.3 and 6.5): what comes behind the LogCreate of
/// `test`, the rows it makes, and what is counted as received and dropped.
#[test]
fn whatever_a_zeek_process_sends_is_treated_as_the_reference_says() {
    let good = || write(record("good", 1));
    let other = |change: fn(&mut LogWrite)| {
        let zeek::Message::LogWrite(mut write) = good() else {
            panic!("a write")
        };
        change(&mut write);
        zeek::Message::from(write)
    };
    let one_field = || {
        let column = [Column::new(
            "msg",
            crate::log::ColumnType::parse("string").unwrap(),
        )];
        let mut out = Vec::new();
        serial::encode(&[LogValue::String(b"x".to_vec())], &column, &mut out).unwrap();
        out
    };
    let trailing = [record("good", 1), b"trailing".to_vec()].concat();
    let cut_off = {
        let mut record = record("good", 1);
        record.pop();
        record
    };
    // Both fields say that they are counts.
    let other_type = {
        let mut record = record("good", 1);
        record[4..8].copy_from_slice(&3u32.to_be_bytes());
        record
    };
    let not_present = {
        let mut record = record("", 1);
        record[12] = 2;
        record.drain(13..17);
        record
    };
    let event = || zeek::Message::from(zeek::Event::new("e", vec![1u64.into()]));
    let update = || {
        zeek::Message::from(zeek::IdentifierUpdate {
            name: "Foo::x".into(),
            value: 5u64.into(),
        })
    };
    let batch = |messages: Vec<zeek::Message>| zeek::Message::Batch(messages).to_data();
    let broken = || Data::vector([Data::from(1u64), 3u64.into(), Data::vector([5u64])]);
    let with_broken = |mut messages: Vec<Data>, at: usize| {
        messages.insert(at, broken());
        Data::vector([Data::from(1u64), 5u64.into(), Data::Vector(messages)])
    };
    let none: &[&str] = &[];
    type Row<'a> = (&'a str, Data, &'a [&'a str], (u64, u64));
    let rows: Vec<Row<'_>> = vec![
        ("a write", good().to_data(), &["good\t1"], (1, 0)),
        (
            "a batch",
            batch(vec![good(), good()]),
            &["good\t1"; 2],
            (2, 0),
        ),
        ("a batch of none", batch(vec![]), none, (0, 0)),
        (
            "a batch in a batch",
            batch(vec![good(), zeek::Message::Batch(vec![good()])]),
            &["good\t1"; 2],
            (2, 0),
        ),
        (
            "events and updates among writes",
            batch(vec![event(), good(), update()]),
            &["good\t1"],
            (1, 0),
        ),
        ("an event", event().to_data(), none, (0, 0)),
        ("an update", update().to_data(), none, (0, 0)),
        (
            "a batch with a broken element in front",
            with_broken(vec![good().to_data()], 0),
            none,
            (0, 0),
        ),
        (
            "a batch with a broken element behind",
            with_broken(vec![good().to_data(), good().to_data()], 2),
            none,
            (0, 0),
        ),
        (
            "a batch in a batch, broken",
            with_broken(vec![batch(vec![good()])], 1),
            none,
            (0, 0),
        ),
        (
            "a create of the same log with other columns",
            create(&[("other", 7)]).to_data(),
            none,
            (0, 0),
        ),
        (
            "another number of fields",
            write(one_field()).to_data(),
            none,
            (1, 1),
        ),
        (
            "bytes behind the last field",
            write(trailing).to_data(),
            &["good\t1"],
            (1, 0),
        ),
        (
            "a record that is cut off",
            write(cut_off).to_data(),
            none,
            (1, 1),
        ),
        (
            "a field of another type",
            write(other_type).to_data(),
            none,
            (1, 1),
        ),
        (
            "an odd presence byte",
            write(not_present).to_data(),
            &["-\t1"],
            (1, 0),
        ),
        (
            "no record at all",
            write(Vec::new()).to_data(),
            none,
            (1, 1),
        ),
    ];
    for (what, data, expected, (received, dropped)) in rows {
        let mut f = Fixture::new();
        f.send(two_columns());
        f.send(data);
        assert_eq!(f.commit(), [], "{what}");
        assert_eq!(f.rows("test.log"), expected, "{what}");
        let counted = f.counted("Test::LOG");
        assert_eq!(
            (counted.received, counted.dropped),
            (received, dropped),
            "{what}"
        );
        assert_eq!(counted.written, received - dropped, "{what}");
        // It costs nobody the next record.
        f.send(good());
        f.commit();
        assert_eq!(f.rows("test.log").len(), expected.len() + 1, "{what}");
    }
    for (what, stray) in [
        (
            "another stream",
            other(|write| write.stream = "Other::LOG".into()),
        ),
        (
            "another writer",
            other(|write| write.writer = "Log::WRITER_NONE".into()),
        ),
        (
            "another path",
            other(|write| write.path = "elsewhere".into()),
        ),
    ] {
        let mut f = Fixture::new();
        f.send(two_columns());
        f.send(batch(vec![stray, good()]));
        f.commit();
        assert_eq!(f.rows("test.log"), ["good\t1"], "{what}");
        assert_eq!(
            (f.counted(UNKNOWN).received, f.counted(UNKNOWN).dropped),
            (1, 1),
            "{what}"
        );
        assert_eq!(
            fs::read_dir(f.dir.path()).unwrap().filter(is_log).count(),
            1,
            "{what}"
        );
    }
}

fn is_log(entry: &std::io::Result<fs::DirEntry>) -> bool {
    let path = entry.as_ref().unwrap().path();
    path.extension().is_some_and(|extension| extension == "log")
}

/// LogCreates that Zeek refuses or, in one case, does not survive (zeek-cluster reference, 6.3).
#[test]
fn a_create_that_cannot_be_used_makes_no_log_and_one_with_a_post_processor_does() {
    let with = |change: fn(&mut LogCreate)| {
        let mut create = two_columns();
        change(&mut create);
        create.to_data()
    };
    let untyped = |info: Data, fields: Data| {
        let (stream, writer) = (
            Data::enum_value("Test::LOG"),
            Data::enum_value("Log::WRITER_ASCII"),
        );
        let content = Data::vector([stream, writer, info, fields]);
        Data::vector([Data::from(1u64), 2u64.into(), content])
    };
    for (what, create) in [
        (
            "an unknown writer",
            with(|create| create.writer = "Log::WRITER_SQLITE".into()),
        ),
        (
            "a column of no type",
            with(|create| create.fields[1].type_tag = 8),
        ),
        (
            "a set of no element type",
            with(|create| create.fields[1].type_tag = 14),
        ),
        (
            "info of another shape",
            untyped(Data::None, Data::Vector(vec![])),
        ),
        (
            "columns of another shape",
            untyped(Data::Vector(vec![]), 5u64.into()),
        ),
    ] {
        let mut f = Fixture::new();
        f.send(create);
        f.send(write(record("good", 1)));
        f.commit();
        assert_eq!(
            fs::read_dir(f.dir.path()).unwrap().filter(is_log).count(),
            0,
            "{what}"
        );
        assert_eq!(f.counted(UNKNOWN).dropped, 1, "{what}");
    }
    let mut f = Fixture::new();
    f.send(with(|create| {
        create.info.post_processor = "no_such_function".into();
        create.info.rotation_interval = 3600.0;
    }));
    f.send(write(record("good", 1)));
    f.commit();
    assert_eq!(f.rows("test.log"), ["good\t1"]);
}

/// Topic and payload of what a Zeek worker sent to a logger.
pub(super) fn recorded() -> Vec<(String, Vec<u8>)> {
    let unhex = |hex: &str| {
        hex.as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    };
    let lines = include_str!("../../../../tests/golden/cluster-worker-logger.txt")
        .lines()
        .filter(|line| !line.starts_with('#'));
    lines
        .map(|line| line.split_once(' ').unwrap())
        .map(|(topic, hex)| (topic.to_owned(), unhex(hex)))
        .collect()
}

#[test]
fn a_recorded_zeek_session_becomes_files() {
    let mut f = Fixture::new();
    for (_, payload) in recorded() {
        f.logger.receive(&payload, Sender::Local, f.now);
    }
    assert_eq!(f.commit(), []);
    let rows = f.rows("cluster.log");
    assert!(
        rows[0]
            .ends_with("\tworker-1\tgot hello from proxy-1 (1f1121cc-7e66-5c48-a1b1-ec281372c494)"),
        "{rows:?}"
    );
    assert_eq!(f.rows("golden.log").len(), 2);
    assert_eq!(
        f.counted("Golden::LOG"),
        LogCounters {
            received: 2,
            written: 2,
            ..LogCounters::default()
        }
    );
    assert_eq!(f.counted(UNKNOWN), LogCounters::default());
}

#[test]
fn our_batches_are_byte_for_byte_those_of_zeek() {
    let mut batches = 0;
    for (_, payload) in recorded() {
        let MessageView::Batch(batch) =
            MessageView::parse(DataView::parse(&payload).unwrap()).unwrap()
        else {
            continue;
        };
        let mut entries = Vec::new();
        for message in batch.iter() {
            let MessageView::LogWrite {
                stream,
                writer,
                path,
                record,
            } = message
            else {
                panic!("a write")
            };
            let text = |bytes: &[u8]| std::str::from_utf8(bytes).unwrap().to_owned();
            wire::push_entry(
                &wire::entry_prefix(&text(stream), &text(writer), &text(path)),
                record,
                &mut entries,
            );
        }
        assert_eq!(wire::batch(&entries, batch.len() as u32), payload);
        batches += 1;
    }
    assert_eq!(batches, 3);
}
