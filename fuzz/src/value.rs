//! The binary format of values, topic lists, and Zeek's messages.

use broker_core::binary::{self, DecodeRules};
use broker_core::json::{self, Style};
use broker_core::zeek::{Message, MessageView};
use broker_core::{Data, DataView, DecodeError, Filter, FilterLimits, Set, Table, Visitor};

/// One value: decoding, both checks, the view and the walk agree; what was read is written, as bytes and as JSON, and
/// read again.
pub fn value(bytes: &[u8]) {
    for rules in [DecodeRules::DATA, DecodeRules::COMMAND] {
        readers_agree(bytes, rules);
    }
    let Ok(data) = Data::decode(bytes) else {
        return;
    };
    let _ = data.to_string();
    data.write_text(&mut Vec::new());
    written_and_read_again(&data);
    let mut text = Vec::new();
    json::write_value(&data, Style::Broker, &mut text);
    let text = json::to_string(&data);
    assert_eq!(json::parse_deep_value(text.as_bytes()).as_ref(), Ok(&data));
}

fn readers_agree(bytes: &[u8], rules: DecodeRules) {
    let decoded = binary::decode(bytes, rules);
    let checked = binary::check(bytes, rules);
    let sound = binary::check_sound(bytes, rules);
    let view = DataView::parse_with(bytes, rules);
    assert_eq!(checked, view.as_ref().map(drop).map_err(Clone::clone));
    assert_eq!(sound.is_ok(), decoded.is_ok(), "{sound:?}, {decoded:?}");
    match (decoded, view) {
        (Ok(data), Ok(view)) => {
            assert_eq!(view.encoded(), bytes);
            assert_eq!(binary::check_prefix(bytes, rules), Ok(bytes.len()));
            assert_eq!(rebuilt(view), data);
            assert_eq!(view.to_data().as_ref(), Ok(&data));
        }
        // Duplicates are found only where elements are compared.
        (Err(error), Ok(view)) => {
            assert!(is_duplicate(&error), "{error:?}");
            assert_eq!(view.to_data(), Err(error));
        }
        (Err(_), Err(_)) => {}
        (Ok(data), Err(error)) => panic!("{data:?} decodes, but: {error}"),
    }
}

/// The value as reading from a view gives it.
fn rebuilt(view: DataView<'_>) -> Data {
    if let Some(elements) = view.as_vector() {
        return Data::Vector(elements.map(rebuilt).collect());
    }
    if let Some(elements) = view.as_set() {
        return elements.map(rebuilt).collect::<Set>().into();
    }
    if let Some(entries) = view.as_table() {
        let entries = entries.map(|(key, value)| (rebuilt(key), rebuilt(value)));
        return entries.collect::<Table>().into();
    }
    let scalar = [
        view.as_bool().map(Data::from),
        view.as_count().map(Data::from),
        view.as_integer().map(Data::from),
        view.as_real().map(Data::from),
        view.as_str_bytes().map(Data::from),
        view.as_address().map(Data::from),
        view.as_subnet().map(Data::from),
        view.as_port().map(Data::from),
        view.as_timestamp().map(Data::from),
        view.as_timespan().map(Data::from),
        view.as_enum_name().map(Data::enum_value),
    ];
    let mut scalar = scalar.into_iter().flatten();
    let value = scalar.next().unwrap_or_default();
    assert!(scalar.next().is_none(), "a value has one type");
    assert_eq!(view.is_none(), value.is_none());
    value
}

/// Written bytes are those that were counted, and read back as the same value; the view writes the same JSON.
fn written_and_read_again(data: &Data) {
    let bytes = data.to_bytes();
    assert_eq!(bytes.len(), data.encoded_len());
    if has_subnormal(data) {
        // C++ cannot read them, so they are written as zero, and may meet another zero in a set.
        return;
    }
    assert_eq!(Data::decode(&bytes).as_ref(), Ok(data));
    let view = DataView::parse(&bytes).expect("our own writing");
    for style in [Style::Broker, Style::Exact] {
        let (mut owned, mut viewed) = (Vec::new(), Vec::new());
        json::write_value(data, style, &mut owned);
        json::write_view(&view, style, &mut viewed);
        assert_eq!(owned, viewed);
    }
}

/// Whether a real in `data` is too small for the binary format.
pub fn has_subnormal(data: &Data) -> bool {
    struct Finder(bool);
    impl Visitor for Finder {
        fn real(&mut self, value: f64) {
            self.0 |= value.is_subnormal();
        }
    }
    let mut finder = Finder(false);
    data.visit(&mut finder);
    finder.0
}

/// Whether the structure is sound, but something stands twice in a set or table.
pub fn is_duplicate(error: &DecodeError) -> bool {
    matches!(
        error,
        DecodeError::DuplicateElement | DecodeError::DuplicateKey
    )
}

/// A topic list: minimal and sorted once read, matching as its entries do one by one, and the same when read again.
pub fn filter(bytes: &[u8]) {
    let limits = FilterLimits {
        max_entries: 200,
        max_bytes: 4096,
    };
    let strict = Filter::decode(bytes, limits);
    let loose = Filter::decode(bytes, FilterLimits::default());
    assert!(
        strict.is_err() || loose == strict,
        "smaller limits allow more"
    );
    let Ok((filter, used)) = Filter::decode_prefix(bytes, FilterLimits::default()) else {
        return;
    };
    assert_eq!(loose.is_ok(), used == bytes.len());
    let written = filter.to_bytes();
    assert_eq!(written.len(), filter.encoded_len());
    assert_eq!(
        Filter::decode(&written, FilterLimits::default()),
        Ok(filter.clone())
    );
    assert!(filter.iter().is_sorted());
    let entries: Vec<_> = filter.iter().take(50).collect();
    for (at, entry) in entries.iter().enumerate() {
        let others = entries
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != at)
            .any(|(_, other)| entry.has_prefix(other.as_bytes()));
        assert!(!others, "an entry covers another");
        assert!(filter.contains(entry) && filter.covers(entry) && filter.matches(entry));
    }
    let rest = &bytes[used..];
    let by_hand = filter
        .iter()
        .any(|entry| rest.starts_with(entry.as_bytes()));
    assert_eq!(filter.matches(rest), by_hand);
    assert_eq!(filter.covers(rest), by_hand);
    assert!(filter.without_local().iter().all(|entry| !entry.is_local()));
}

/// A message of Zeek: from the view and from the value the same comes out, and it is the same when written and read.
pub fn zeek(bytes: &[u8]) {
    let Ok(data) = Data::decode(bytes) else {
        return;
    };
    let view = DataView::parse(bytes).expect("it decodes");
    let seen = MessageView::parse(view);
    let parsed = MessageView::parse_data(&data);
    assert_eq!(
        seen.as_ref().map(MessageView::message_type).ok(),
        parsed.as_ref().map(MessageView::message_type).ok()
    );
    let message = Message::from_view(view);
    assert_eq!(message, Message::from_data(&data));
    assert!(message.is_err() || seen.is_ok());
    if let Ok(MessageView::Batch(batch)) = seen {
        assert_eq!(batch.iter().count(), batch.len());
    }
    if let Ok(message) = message {
        let written = message.to_data();
        assert_eq!(Message::from_data(&written), Ok(message));
    }
}
