//! What hostile bytes may cost: depth, counts and memory are bounded.

use broker_core::binary::{self, DecodeError, DecodeRules, MAX_DEPTH};
use broker_core::{Data, DataView, Set};

/// `levels` vectors around nothing.
fn nested(levels: usize) -> Vec<u8> {
    let mut bytes = b"\x0e\x01".repeat(levels);
    bytes.push(0);
    bytes
}

#[test]
fn nesting_is_read_up_to_the_limit_and_no_further() {
    let limit = usize::from(MAX_DEPTH);
    assert!(Data::decode(&nested(limit)).is_ok());
    assert!(binary::check(&nested(limit), DecodeRules::DATA).is_ok());
    let too_deep = Err(DecodeError::TooDeep { limit: MAX_DEPTH });
    for levels in [limit + 1, 1_000_000] {
        assert_eq!(Data::decode(&nested(levels)).map(drop), too_deep);
        assert_eq!(
            binary::check(&nested(levels), DecodeRules::COMMAND),
            too_deep
        );
        assert_eq!(DataView::parse(&nested(levels)).map(drop), too_deep);
    }
    let rules = DecodeRules {
        max_depth: 3,
        ..DecodeRules::DATA
    };
    assert!(binary::decode(&nested(3), rules).is_ok());
    assert_eq!(
        binary::decode(&nested(4), rules).map(drop),
        Err(DecodeError::TooDeep { limit: 3 })
    );
}

#[test]
fn counts_beyond_the_remaining_bytes_are_refused() {
    for bytes in [
        &b"\x0c\xff\xff\xff\xff\x0f"[..],
        b"\x0d\xff\xff\xff\xff\x0f",
        b"\x0e\xff\xff\xff\xff\x0f",
        b"\x0e\x02\x00",
        b"\x0d\x01\x00",
    ] {
        assert!(matches!(
            Data::decode(bytes),
            Err(DecodeError::CountTooLarge { .. })
        ));
        assert!(matches!(
            binary::check(bytes, DecodeRules::DATA),
            Err(DecodeError::CountTooLarge { .. })
        ));
    }
    assert_eq!(
        Data::decode(b"\x05\xff\xff\xff\xff\x0f"),
        Err(DecodeError::Truncated { field: "string" })
    );
}

#[test]
fn containers_inside_each_other_cannot_all_claim_the_same_bytes() {
    // Each vector claims as many elements as bytes follow; only the outermost one can be right.
    let levels = 200u32;
    let mut bytes = Vec::new();
    for level in 0..levels {
        let count = 1000 - 3 * level;
        bytes.extend_from_slice(&[14, count as u8 | 0x80, (count >> 7) as u8]);
    }
    bytes.resize(1003, 0);
    assert!(matches!(
        Data::decode(&bytes),
        Err(DecodeError::CountTooLarge { .. })
    ));
}

#[test]
fn sets_and_tables_are_read_in_any_order_but_not_with_duplicates() {
    assert_eq!(
        Data::decode(b"\x0c\x02\x05\x01b\x05\x01a"),
        Ok(Set::from_iter(["a", "b"]).into())
    );
    assert_eq!(
        Data::decode(b"\x0c\x02\x05\x01b\x05\x01b"),
        Err(DecodeError::DuplicateElement)
    );
    assert_eq!(
        Data::decode(b"\x0d\x02\x05\x01b\x00\x05\x01b\x01\x01"),
        Err(DecodeError::DuplicateKey)
    );
    // Padded lengths and NaN twice are the same element twice.
    assert_eq!(
        Data::decode(b"\x0c\x02\x05\x01b\x05\x81\x00b"),
        Err(DecodeError::DuplicateElement)
    );
    let nan = [4, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    assert_eq!(
        Data::decode(&[&b"\x0c\x02"[..], &nan, &nan].concat()),
        Err(DecodeError::DuplicateElement)
    );
}

#[test]
fn odd_bytes_are_taken_as_the_reference_says() {
    assert_eq!(Data::decode(b"\x01\x07"), Ok(true.into()));
    assert_eq!(
        Data::decode(b"\x08\x00\x50\x04"),
        Err(DecodeError::UnknownProtocol(4))
    );
    let port = binary::decode(b"\x08\x00\x50\x04", DecodeRules::COMMAND).unwrap();
    assert_eq!(port.to_string(), "80/?");
    assert_eq!(
        DataView::parse_with(b"\x08\x00\x50\x04", DecodeRules::COMMAND)
            .unwrap()
            .to_data(),
        Ok(port)
    );
    assert_eq!(Data::decode(b"\x0f"), Err(DecodeError::UnknownTag(15)));
    assert_eq!(
        Data::decode(b""),
        Err(DecodeError::Truncated { field: "type tag" })
    );
    assert_eq!(
        Data::decode(b"\x00\x00"),
        Err(DecodeError::TrailingBytes(1))
    );
    assert_eq!(
        Data::decode(b"\x05\x81\x80\x80\x80\x80\x00"),
        Err(DecodeError::VarbyteTooLong { field: "string" })
    );
    // A subnet with host bits, and one whose length no address has, keep their bytes.
    for length in [0x78, 0xff, 0x05] {
        let bytes = [&[7u8][..], &[0; 10], &[0xff, 0xff, 10, 1, 2, 3, length]].concat();
        assert_eq!(Data::decode(&bytes).unwrap().to_bytes(), bytes);
    }
}
