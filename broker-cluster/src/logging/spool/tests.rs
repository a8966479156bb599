//! Batches in, batches out, files that were cut or damaged.

use super::identity::NUMBERS;
use super::*;

fn batch(number: u64, size: usize) -> SpooledBatch {
    SpooledBatch {
        key: StreamKey {
            stream: "Conn::LOG".to_owned(),
            writer: "Log::WRITER_ASCII".to_owned(),
            path: "conn".to_owned(),
        },
        number,
        records: 10,
        create: Bytes::from_static(b"create"),
        entries: Bytes::from(vec![number as u8; size]),
    }
}

fn open(dir: &Path, max_bytes: u64, drop_oldest: bool) -> Spool {
    Spool::open(SpoolOptions {
        max_bytes,
        drop_oldest,
        ..SpoolOptions::new(dir)
    })
    .unwrap()
}

fn numbers(spool: &mut Spool) -> Vec<u64> {
    let mut all = Vec::new();
    while let Some(batch) = spool.next(&mut Vec::new()).unwrap() {
        all.push(batch.number);
    }
    all
}

fn fill(spool: &mut Spool, numbers: impl IntoIterator<Item = u64>) {
    for number in numbers {
        let stored = spool.append(&batch(number, 100), &mut Vec::new());
        assert_eq!(stored.unwrap(), Stored::Kept);
    }
}

#[test]
fn batches_come_back_in_order_also_after_a_restart_and_what_is_done_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(dir.path(), 1 << 20, false);
    let (identity, first) = (spool.identity(), spool.first_number());
    fill(&mut spool, [3, 1, 2, 5, 4]);
    assert_eq!(spool.next(&mut Vec::new()).unwrap(), Some(batch(1, 100)));
    assert_eq!(numbers(&mut spool), [2, 3, 4, 5]);
    spool.give_again(4);
    spool.give_again(99);
    assert_eq!(numbers(&mut spool), [4]);
    for number in [1, 3] {
        spool.done(number).unwrap();
    }
    drop(spool);
    let mut spool = open(dir.path(), 1 << 20, false);
    assert_eq!(spool.identity(), identity);
    assert_eq!(spool.first_number(), first + NUMBERS);
    let backlog = spool.backlog().unwrap();
    assert_eq!(backlog.len(), 1);
    assert_eq!((backlog[0].batches, backlog[0].records), (3, 30));
    assert_eq!(numbers(&mut spool), [2, 4, 5]);
    for number in [2, 4, 5] {
        spool.done(number).unwrap();
    }
    assert_eq!(spool.bytes, 0);
    drop(spool);
    let mut spool = open(dir.path(), 1 << 20, false);
    assert!(numbers(&mut spool).is_empty());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_full_spool_drops_the_oldest_or_the_newest() {
    for drop_oldest in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = open(dir.path(), 16 << 10, drop_oldest);
        let mut lost = Vec::new();
        let mut refused = 0;
        for number in 1..=200 {
            match spool.append(&batch(number, 400), &mut lost).unwrap() {
                Stored::Kept => {}
                Stored::Full => refused += 1,
                Stored::TooLarge => panic!("it would fit"),
            }
        }
        let kept = numbers(&mut spool);
        assert_eq!(kept.len() + lost.len() + refused, 200);
        assert!(spool.bytes <= 16 << 10);
        let on_disk: u64 = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().metadata().unwrap().len())
            .sum();
        assert!(on_disk <= (16 << 10) + 100, "{on_disk}");
        assert!(kept.len() >= 30, "{kept:?}");
        if drop_oldest {
            assert_eq!(refused, 0);
            assert_eq!(kept.last(), Some(&200));
            assert_eq!(lost[0].number, 1);
        } else {
            assert_eq!(lost, []);
            assert_eq!(kept[0], 1);
        }
        let stored = spool.append(&batch(999, 20_000), &mut lost);
        assert_eq!(stored.unwrap(), Stored::TooLarge);
    }
}

#[test]
fn a_half_written_end_is_cut_off_and_a_damaged_batch_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(dir.path(), 1 << 20, false);
    fill(&mut spool, 1..=3);
    let end = spool.segments[0].len;
    drop(spool);
    let path = segment_path(dir.path(), 1);
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    // The last byte of the second, and half of the third.
    file.write_all_at(b"x", end / 3 * 2 - 1).unwrap();
    file.set_len(end - 50).unwrap();
    let mut spool = open(dir.path(), 1 << 20, false);
    assert_eq!(fs::metadata(&path).unwrap().len(), end / 3 * 2);
    let mut lost = Vec::new();
    assert_eq!(spool.next(&mut lost).unwrap(), Some(batch(1, 100)));
    assert_eq!(spool.next(&mut lost).unwrap(), None);
    assert_eq!((lost.len(), lost[0].number, lost[0].records), (1, 2, 10));
    fill(&mut spool, [4]);
    assert_eq!(numbers(&mut spool), [4]);
}

#[test]
fn any_bytes_in_a_segment_are_an_end() {
    let dir = tempfile::tempdir().unwrap();
    for bytes in [
        &b"garbage that is no entry"[..],
        &[b'W', 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 1],
        &[b'W', 0, 0, 0, 1, 0, 0, 0, 0, 1],
    ] {
        fs::write(segment_path(dir.path(), 7), bytes).unwrap();
        let mut spool = open(dir.path(), 1 << 20, false);
        assert!(numbers(&mut spool).is_empty());
        fill(&mut spool, [1]);
        assert_eq!(numbers(&mut spool), [1]);
        spool.done(1).unwrap();
    }
    fs::write(dir.path().join("spool.id"), "nonsense").unwrap();
    assert!(Spool::open(SpoolOptions::new(dir.path())).is_err());
}

#[test]
fn a_spool_belongs_to_one_process() {
    let dir = tempfile::tempdir().unwrap();
    let _first = open(dir.path(), 1 << 20, false);
    let error = Spool::open(SpoolOptions::new(dir.path())).err().unwrap();
    assert!(
        error.to_string().ends_with("another node writes here"),
        "{error}"
    );
}
