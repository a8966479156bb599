//! Rendezvous hashing with Zeek's formula (reference, zeek-cluster 3.4).
//!
//! All arithmetic is modulo 2^32. The site id is not masked, the digest of the key is; both as in
//! Zeek, or nodes would disagree on where a key lives.

use super::key::HrwKey;

/// The weight of a key at a site; the largest wins, on equal weights the larger site id.
#[must_use]
pub const fn hrw_weight(digest: u32, site_id: u32) -> u32 {
    const A: u32 = 1_103_515_245;
    const B: u32 = 12_345;
    let inner = A.wrapping_mul(site_id).wrapping_add(B);
    A.wrapping_mul(inner ^ (digest & 0x7fff_ffff))
        .wrapping_add(B)
        & 0x7fff_ffff
}

/// The sites that take part in the choice. Kept sorted; a pool has few.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HrwSites {
    sites: Vec<u32>,
}

impl HrwSites {
    /// No sites.
    #[must_use]
    pub const fn new() -> Self {
        Self { sites: Vec::new() }
    }

    /// Adds a site; one that is there already stays.
    pub fn insert(&mut self, site_id: u32) {
        if let Err(at) = self.sites.binary_search(&site_id) {
            self.sites.insert(at, site_id);
        }
    }

    /// Takes a site out.
    pub fn remove(&mut self, site_id: u32) {
        if let Ok(at) = self.sites.binary_search(&site_id) {
            self.sites.remove(at);
        }
    }

    /// The site `key` belongs to; none when there are no sites.
    #[must_use]
    pub fn choose(&self, key: &HrwKey) -> Option<u32> {
        // max_by_key keeps the last of equals, which is the larger site id.
        self.sites
            .iter()
            .copied()
            .max_by_key(|&site| hrw_weight(key.digest(), site))
    }
}

impl FromIterator<u32> for HrwSites {
    fn from_iter<I: IntoIterator<Item = u32>>(sites: I) -> Self {
        let mut all = Self::new();
        sites.into_iter().for_each(|site| all.insert(site));
        all
    }
}

#[cfg(test)]
mod tests {
    use broker_core::{Port, Protocol};
    use proptest::prelude::*;

    use super::super::fnv::fnv1a32;
    use super::super::key::{KeyType, KeyValue};
    use super::*;

    const PROXIES: [&str; 4] = ["proxy-1.0", "proxy-2.0", "proxy-3.0", "proxy-4.0"];
    const WORKERS: [&str; 2] = ["worker-1.0", "worker-2.0"];

    fn weights(key: &HrwKey, aliases: &[&str]) -> Vec<u32> {
        aliases
            .iter()
            .map(|alias| hrw_weight(key.digest(), fnv1a32(alias.as_bytes())))
            .collect()
    }

    /// Number, from 1, of the chosen one among the first `count` of `aliases`.
    fn chosen(key: &HrwKey, aliases: &[&str]) -> usize {
        let sites: HrwSites = aliases
            .iter()
            .map(|alias| fnv1a32(alias.as_bytes()))
            .collect();
        let site = sites.choose(key).unwrap();
        1 + aliases
            .iter()
            .position(|alias| fnv1a32(alias.as_bytes()) == site)
            .unwrap()
    }

    #[test]
    fn site_ids_are_those_of_zeek() {
        for (alias, site) in [
            ("proxy-1.0", 2_719_221_839),
            ("proxy-2.0", 1_703_397_214),
            ("proxy-3.0", 1_271_239_173),
            ("proxy-4.0", 1_726_366_684),
            ("proxy-10.0", 3_431_691_821),
            ("worker-1.0", 4_178_617_771),
            ("worker-2.0", 3_162_793_146),
            ("logger-1.0", 406_203_821),
            ("logger-2.0", 1_739_014_960),
            ("manager.0", 1_059_896_130),
        ] {
            assert_eq!(fnv1a32(alias.as_bytes()), site, "{alias}");
        }
    }

    #[test]
    fn counts_over_two_proxies_go_where_zeek_sends_them() {
        for (key, digest, w1, w2, choice) in [
            (0, 3_049_837_286, 1_852_021_227, 2_009_836_446, 2),
            (1, 321_532_423, 1_412_713_592, 191_363_345, 1),
            (2, 4_211_479_716, 860_415_569, 1_760_891_704, 2),
            (3, 1_483_174_853, 116_535_518, 1_869_953_707, 2),
            (13, 2_293_214_859, 1_633_933_380, 838_924_765, 1),
            (37, 4_051_226_979, 1_332_266_380, 708_169_061, 1),
            (42, 971_319_692, 1_041_296_457, 573_262_960, 1),
            (101, 1_238_407_587, 2_122_646_092, 404_328_613, 1),
        ] {
            let key = HrwKey::count(key);
            assert_eq!(key.digest(), digest);
            assert_eq!(weights(&key, &PROXIES[..2]), [w1, w2]);
            assert_eq!(chosen(&key, &PROXIES[..2]), choice);
        }
    }

    #[test]
    fn strings_over_two_workers_go_where_zeek_sends_them() {
        for (key, digest, w1, w2, choice) in [
            ("0", 890_022_063, 1_054_877_012, 1_178_273_453, 2),
            ("1", 873_244_444, 1_849_640_893, 1_457_773_796, 1),
            ("2", 923_577_301, 396_359_506, 1_118_431_519, 2),
            ("3", 906_799_682, 2_037_547_451, 1_401_729_198, 1),
            ("4", 822_911_587, 2_056_205_768, 1_383_070_881, 1),
            ("5", 806_133_968, 1_549_910_065, 1_874_177_240, 2),
            ("6", 856_466_825, 1_745_998_374, 1_550_024_307, 1),
            ("7", 839_689_206, 415_017_823, 1_099_773_202, 2),
            ("8", 1_024_243_015, 1_349_497_052, 1_048_636_661, 1),
            ("9", 1_007_465_396, 1_689_625_413, 1_539_743_020, 1),
        ] {
            let key = HrwKey::string(key.as_bytes());
            assert_eq!(key.digest(), digest);
            assert_eq!(weights(&key, &WORKERS), [w1, w2]);
            assert_eq!(chosen(&key, &WORKERS), choice);
        }
    }

    #[test]
    fn every_key_type_is_weighed_as_zeek_weighs_it() {
        let port = |number, protocol| KeyValue::Port(Port::new(number, protocol));
        let address = |text: &str| KeyValue::Address(text.parse().unwrap());
        let subnet = |text: &str| KeyValue::Subnet(text.parse().unwrap());
        let counts = vec![Some(KeyValue::Count(1)), Some(KeyValue::Count(2))];
        let strings = vec![Some(KeyValue::String(b"a")), Some(KeyValue::String(b"b"))];
        let record = vec![
            ("orig", KeyType::Address, Some(address("10.0.0.1"))),
            ("resp", KeyType::Address, Some(address("10.0.0.2"))),
        ];
        let rows: Vec<(KeyValue<'_>, [u32; 4], usize, usize)> = vec![
            (
                KeyValue::String(b"example_key1"),
                [133_760_709, 795_390_508, 1_649_224_555, 2_047_467_098],
                2,
                4,
            ),
            (
                KeyValue::String(b""),
                [2_135_389_918, 1_603_053_739, 1_233_189_100, 1_452_993_241],
                1,
                1,
            ),
            (
                KeyValue::String(b"\xc3\xbc\x00z"),
                [1_365_304_969, 554_268_720, 1_603_555_735, 1_858_254_894],
                1,
                4,
            ),
            (
                KeyValue::String(b"10.0.0.1"),
                [1_860_293_046, 1_274_055_939, 1_898_920_388, 2_016_872_065],
                1,
                4,
            ),
            (
                address("10.0.0.1"),
                [1_256_455_239, 1_005_632_570, 1_850_063_417, 1_884_508_044],
                1,
                4,
            ),
            (
                address("2001:db8::1"),
                [1_568_560_031, 1_659_921_746, 759_332_497, 1_731_103_540],
                2,
                4,
            ),
            (
                subnet("52.100.165.0/24"),
                [2_007_080_953, 1_550_043_936, 1_481_815_303, 344_614_206],
                1,
                1,
            ),
            (
                subnet("2001:db8::/32"),
                [2_040_176_293, 1_486_831_692, 1_851_654_219, 584_573_818],
                1,
                1,
            ),
            (
                port(443, Protocol::Tcp),
                [352_283_064, 529_727_953, 1_914_286_610, 733_229_491],
                2,
                3,
            ),
            (
                port(53, Protocol::Udp),
                [1_633_939_033, 389_643_456, 626_246_503, 304_095_326],
                1,
                1,
            ),
            (
                port(8, Protocol::Icmp),
                [878_575_086, 1_302_932_987, 59_627_004, 267_545_161],
                2,
                2,
            ),
            (
                port(0, Protocol::Unknown),
                [2_028_968_935, 1_957_390_490, 600_893_913, 390_602_732],
                1,
                1,
            ),
            (
                KeyValue::Count(42),
                [1_041_296_457, 573_262_960, 145_305_175, 1_169_419_246],
                1,
                4,
            ),
            (
                KeyValue::Int(-1),
                [1_363_624_208, 1_368_071_593, 975_323_754, 127_794_651],
                2,
                2,
            ),
            (
                KeyValue::Double(0.5),
                [664_406_585, 1_940_087_008, 458_460_231, 664_819_582],
                2,
                2,
            ),
            (
                KeyValue::Bool(true),
                [1_522_586_558, 1_998_080_971, 1_122_862_540, 2_009_568_377],
                2,
                4,
            ),
            (
                KeyValue::Bool(false),
                [464_480_945, 1_843_911_384, 59_769_535, 45_104_518],
                2,
                2,
            ),
            (
                KeyValue::Time(1.0),
                [1_282_399_942, 1_217_648_723, 1_515_070_420, 2_101_329_905],
                1,
                4,
            ),
            (
                KeyValue::Enum {
                    type_name: "Log::ID",
                    name: "Conn::LOG",
                },
                [1_650_407_920, 1_920_270_025, 1_341_751_882, 1_637_114_235],
                2,
                2,
            ),
            (
                KeyValue::Interval(90.0),
                [1_239_023_581, 1_170_507_332, 471_893_891, 2_029_552_194],
                1,
                4,
            ),
            (
                KeyValue::Interval(93_600.0),
                [1_397_253_018, 1_213_581_031, 1_000_043_072, 1_839_704_069],
                1,
                4,
            ),
            (
                KeyValue::Interval(-1.5),
                [1_140_654_338, 1_980_548_175, 106_221_480, 183_388_829],
                2,
                2,
            ),
            (
                KeyValue::Interval(0.0),
                [1_482_452_712, 1_725_181_697, 573_011_778, 1_682_861_187],
                2,
                2,
            ),
            (
                KeyValue::Vector(KeyType::Count, counts),
                [662_761_561, 1_877_132_992, 1_879_700_839, 2_028_596_830],
                2,
                4,
            ),
            (
                KeyValue::Vector(KeyType::String, strings),
                [1_376_159_143, 993_417_434, 731_007_641, 1_003_016_108],
                1,
                1,
            ),
            (
                KeyValue::Pattern(b"^?(ab+c)$?"),
                [1_897_804_640, 1_763_447_225, 740_741_562, 144_141_963],
                1,
                1,
            ),
            (
                KeyValue::Record(record),
                [562_613_064, 48_868_513, 1_732_807_842, 1_133_491_107],
                1,
                3,
            ),
        ];
        for (value, expected, of_two, of_four) in rows {
            let key = HrwKey::value(&value);
            assert_eq!(weights(&key, &PROXIES), expected, "{value:?}");
            assert_eq!(chosen(&key, &PROXIES[..2]), of_two, "{value:?}");
            assert_eq!(chosen(&key, &PROXIES), of_four, "{value:?}");
        }
    }

    #[test]
    fn the_documented_example_keys_go_where_the_documentation_says() {
        for (suffix, digest, of_two, of_three, of_four) in [
            (1, 0xdc62_e2e0, 2, 3, 4),
            (2, 0xdf62_e799, 2, 2, 2),
            (3, 0xde62_e606, 2, 3, 3),
            (4, 0xe162_eabf, 2, 3, 4),
            (5, 0xe062_e92c, 1, 1, 1),
            (6, 0xe362_ede5, 2, 3, 4),
            (7, 0xe262_ec52, 2, 2, 2),
            (8, 0xe562_f10b, 1, 1, 1),
            (9, 0xe462_ef78, 2, 2, 2),
            (10, 0xbfab_0d70, 2, 3, 3),
        ] {
            let key = HrwKey::string(format!("example_key{suffix}").as_bytes());
            assert_eq!(key.digest(), digest);
            let choices = [2, 3, 4].map(|count| chosen(&key, &PROXIES[..count]));
            assert_eq!(choices, [of_two, of_three, of_four], "{suffix}");
        }
    }

    #[test]
    fn small_site_ids_choose_as_zeek_s_own_test_says() {
        const ALICE: u32 = 0;
        const BOB: u32 = 1;
        const DAVE: u32 = 3;
        const EVE: u32 = 4;
        let mut sites: HrwSites = [EVE, ALICE, DAVE, BOB].into_iter().collect();
        for (key, site) in [
            ("one", ALICE),
            ("two", DAVE),
            ("three", BOB),
            ("four", BOB),
            ("five", DAVE),
            ("six", DAVE),
        ] {
            assert_eq!(
                sites.choose(&HrwKey::string(key.as_bytes())),
                Some(site),
                "{key}"
            );
        }
        for (key, site) in [(1, BOB), (2, ALICE), (3, BOB), (4, EVE)] {
            assert_eq!(sites.choose(&HrwKey::count(key)), Some(site), "{key}");
        }
        sites.remove(ALICE);
        assert_eq!(sites.choose(&HrwKey::count(2)), Some(EVE));
    }

    #[test]
    fn without_sites_there_is_no_choice() {
        assert_eq!(HrwSites::new().choose(&HrwKey::count(1)), None);
    }

    proptest! {
        #[test]
        fn removing_a_site_moves_only_its_own_keys(keys in prop::collection::vec(any::<u64>(), 1..64), gone in 0_usize..4) {
            let ids: Vec<u32> = PROXIES.iter().map(|alias| fnv1a32(alias.as_bytes())).collect();
            let all: HrwSites = ids.iter().copied().collect();
            let mut fewer = all.clone();
            fewer.remove(ids[gone]);
            for key in keys {
                let key = HrwKey::count(key);
                let before = all.choose(&key);
                if before != Some(ids[gone]) {
                    prop_assert_eq!(fewer.choose(&key), before);
                }
            }
        }
    }
}
