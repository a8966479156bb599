//! What the columns of a log are: types, names, and how LogCreate carries them (reference,
//! zeek-cluster 6.3, 6.4 and 6.8).
//!
//! Old logs say `table[T]` for `set[T]`; both are read, only `set[T]` is written. Containers hold
//! plain values: Zeek has no nested containers in logs.

use std::borrow::Cow;
use std::fmt;

use super::standard;

/// The type of a value, with Zeek's number for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LogType {
    /// `bool`, 1.
    Bool,
    /// `int`, 2.
    Int,
    /// `count`, 3.
    Count,
    /// `double`, 4.
    Double,
    /// `time`, 5.
    Time,
    /// `interval`, 6.
    Interval,
    /// `string`, 7.
    String,
    /// `enum`, 9.
    Enum,
    /// `port`, 10.
    Port,
    /// `addr`, 11.
    Addr,
    /// `subnet`, 12.
    Subnet,
    /// `set[T]`, 14.
    Set,
    /// `func`, 17.
    Func,
    /// `file`, 18.
    File,
    /// `vector[T]`, 19.
    Vector,
}

impl LogType {
    /// The number of the type on the wire.
    pub fn tag(self) -> i32 {
        match self {
            Self::Bool => 1,
            Self::Int => 2,
            Self::Count => 3,
            Self::Double => 4,
            Self::Time => 5,
            Self::Interval => 6,
            Self::String => 7,
            Self::Enum => 9,
            Self::Port => 10,
            Self::Addr => 11,
            Self::Subnet => 12,
            Self::Set => 14,
            Self::Func => 17,
            Self::File => 18,
            Self::Vector => 19,
        }
    }

    /// The type with this number, if it can occur in a log.
    pub fn from_tag(tag: i32) -> Option<Self> {
        ALL_TYPES.into_iter().find(|ty| ty.tag() == tag)
    }

    /// The word for the type, without element type.
    pub fn word(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Count => "count",
            Self::Double => "double",
            Self::Time => "time",
            Self::Interval => "interval",
            Self::String => "string",
            Self::Enum => "enum",
            Self::Port => "port",
            Self::Addr => "addr",
            Self::Subnet => "subnet",
            Self::Set => "set",
            Self::Func => "func",
            Self::File => "file",
            Self::Vector => "vector",
        }
    }

    /// Whether values of this type hold elements.
    pub fn is_container(self) -> bool {
        matches!(self, Self::Set | Self::Vector)
    }

    /// Whether values of this type are bytes written with escapes.
    pub fn is_text(self) -> bool {
        matches!(self, Self::String | Self::Enum | Self::Func | Self::File)
    }
}

impl fmt::Display for LogType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// The type of a column: a plain type, or a container with the type of its elements.
///
/// **Invariant:** a container has an element type, which is no container; a plain type has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ColumnType {
    ty: LogType,
    element: Option<LogType>,
}

impl ColumnType {
    /// `string`, which holds whatever a log contains.
    pub const STRING: Self = Self {
        ty: LogType::String,
        element: None,
    };

    /// A plain type. None for `Set` and `Vector`.
    pub fn plain(ty: LogType) -> Option<Self> {
        (!ty.is_container()).then_some(Self { ty, element: None })
    }

    /// `set[element]`. None when `element` is a container itself.
    pub fn set(element: LogType) -> Option<Self> {
        (!element.is_container()).then_some(Self {
            ty: LogType::Set,
            element: Some(element),
        })
    }

    /// `vector[element]`. None when `element` is a container itself.
    pub fn vector(element: LogType) -> Option<Self> {
        (!element.is_container()).then_some(Self {
            ty: LogType::Vector,
            element: Some(element),
        })
    }

    /// The type itself.
    pub fn log_type(&self) -> LogType {
        self.ty
    }

    /// The type of the elements of a container.
    pub fn element(&self) -> Option<LogType> {
        self.element
    }

    /// Reads a type word of a `#types` line: `count`, `set[addr]`, the older `table[addr]`.
    pub fn parse(word: &str) -> Option<Self> {
        let plain = |word: &str| {
            ALL_TYPES
                .into_iter()
                .find(|ty| !ty.is_container() && ty.word() == word)
        };
        if let Some(ty) = plain(word) {
            return Self::plain(ty);
        }
        let (container, element) = word.strip_suffix(']')?.split_once('[')?;
        let element = plain(element)?;
        match container {
            "set" | "table" => Self::set(element),
            "vector" => Self::vector(element),
            _ => None,
        }
    }

    /// The two numbers of the type in a LogCreate column: the type's and, for a container, that of
    /// its elements, else 0.
    pub fn tags(&self) -> (i32, i32) {
        (self.ty.tag(), self.element.map_or(0, LogType::tag))
    }

    /// The type with these numbers. The second is ignored for plain types.
    pub fn from_tags(ty: i32, element: i32) -> Option<Self> {
        match LogType::from_tag(ty)? {
            LogType::Set => Self::set(LogType::from_tag(element)?),
            LogType::Vector => Self::vector(LogType::from_tag(element)?),
            plain => Self::plain(plain),
        }
    }
}

impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.element {
            Some(element) => write!(f, "{}[{element}]", self.ty),
            None => self.ty.fmt(f),
        }
    }
}

/// One column of a log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Column {
    /// Its name; parts of a nested record are joined with a dot.
    pub name: String,
    /// Its type.
    pub ty: ColumnType,
    /// Whether it may be unset.
    pub optional: bool,
}

impl Column {
    /// A column that may be unset, which is what a log file says about its columns.
    pub fn new(name: impl Into<String>, ty: ColumnType) -> Self {
        Self {
            name: name.into(),
            ty,
            optional: true,
        }
    }

    /// The column as LogCreate carries it: name, type number, element type number, optional.
    pub fn to_wire(&self) -> (&str, u64, u64, bool) {
        let (ty, element) = self.ty.tags();
        (
            &self.name,
            u64::from(ty.unsigned_abs()),
            u64::from(element.unsigned_abs()),
            self.optional,
        )
    }

    /// The column LogCreate described. None when the type numbers are none of a log's.
    pub fn from_wire(
        name: impl Into<String>,
        ty: u64,
        element: u64,
        optional: bool,
    ) -> Option<Self> {
        let ty =
            ColumnType::from_tags(i32::try_from(ty).ok()?, i32::try_from(element).unwrap_or(0))?;
        Some(Self {
            name: name.into(),
            ty,
            optional,
        })
    }
}

/// The path and the columns of a log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Schema {
    /// The log's path: `conn` for conn.log.
    pub path: String,
    /// Its columns in order.
    pub columns: Vec<Column>,
}

impl Schema {
    /// The place of the column with this name.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }

    /// The stream such a log belongs to: see [`stream_id`].
    pub fn stream_id(&self) -> Cow<'static, str> {
        stream_id(&self.path)
    }
}

/// The stream id of a log's path: `Conn::LOG` for `conn`. Paths that are none of Zeek's standard
/// logs get their words in camel case: `my_app` is `MyApp::LOG`.
pub fn stream_id(path: &str) -> Cow<'static, str> {
    if let Some(log) = standard::by_path(path) {
        return Cow::Borrowed(log.stream);
    }
    let mut id = String::with_capacity(path.len() + 5);
    for word in path.split(|c: char| !c.is_alphanumeric()) {
        let mut letters = word.chars();
        id.extend(letters.next().into_iter().flat_map(char::to_uppercase));
        id.push_str(letters.as_str());
    }
    id.push_str("::LOG");
    Cow::Owned(id)
}

/// Whether `path + ".log"` names a file in the directory it is joined to and nothing else. Paths
/// come from log files and from peers, so a node checks before it creates a file.
pub fn is_file_stem(path: &str) -> bool {
    (1..=MAX_PATH).contains(&path.len())
        // A dash would make an option of it where it is an argument of a program.
        && !path.starts_with(['.', '-'])
        && !path
            .chars()
            .any(|c| matches!(c, '/' | '\\' | ':') || c.is_control())
}

/// The longest path [`is_file_stem`] takes, in bytes: file systems end at 255 with suffixes.
pub const MAX_PATH: usize = 200;

const ALL_TYPES: [LogType; 15] = [
    LogType::Bool,
    LogType::Int,
    LogType::Count,
    LogType::Double,
    LogType::Time,
    LogType::Interval,
    LogType::String,
    LogType::Enum,
    LogType::Port,
    LogType::Addr,
    LogType::Subnet,
    LogType::Set,
    LogType::Func,
    LogType::File,
    LogType::Vector,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type_words_are_read_and_written() {
        for word in [
            "bool",
            "enum",
            "func",
            "set[addr]",
            "vector[interval]",
            "vector[double]",
        ] {
            assert_eq!(ColumnType::parse(word).unwrap().to_string(), word);
        }
        assert_eq!(
            ColumnType::parse("table[string]").unwrap().to_string(),
            "set[string]"
        );
        for word in [
            "",
            "set",
            "table",
            "set[]",
            "set[set[int]]",
            "vector[int",
            "pattern",
            "list[int]",
        ] {
            assert_eq!(ColumnType::parse(word), None, "{word}");
        }
    }

    #[test]
    fn columns_cross_the_wire_as_numbers() {
        let column = Column::new("tx_hosts", ColumnType::parse("set[addr]").unwrap());
        assert_eq!(column.to_wire(), ("tx_hosts", 14, 11, true));
        assert_eq!(Column::from_wire("tx_hosts", 14, 11, true), Some(column));
        assert_eq!(Column::from_wire("x", 14, 0, true), None);
        assert_eq!(Column::from_wire("x", 14, 19, true), None);
        assert_eq!(Column::from_wire("x", 8, 0, true), None);
        assert_eq!(Column::from_wire("x", u64::MAX, 0, true), None);
        assert_eq!(
            Column::from_wire("x", 7, 99, false).unwrap().ty.tags(),
            (7, 0)
        );
    }

    #[test]
    fn every_type_has_its_own_number() {
        for ty in ALL_TYPES {
            assert_eq!(LogType::from_tag(ty.tag()), Some(ty));
        }
        assert_eq!(LogType::from_tag(8), None);
        assert_eq!(LogType::from_tag(-1), None);
    }

    #[test]
    fn streams_are_named_after_paths() {
        for (path, stream) in [
            ("conn", "Conn::LOG"),
            ("dns", "DNS::LOG"),
            ("http", "HTTP::LOG"),
            ("ssl", "SSL::LOG"),
            ("files", "Files::LOG"),
            ("x509", "X509::LOG"),
            ("golden", "Golden::LOG"),
            ("my_app-log", "MyAppLog::LOG"),
        ] {
            assert_eq!(stream_id(path), stream);
        }
    }

    #[test]
    fn a_path_that_leaves_its_directory_is_no_file_stem() {
        assert!(is_file_stem("conn"));
        assert!(is_file_stem("known_hosts-2"));
        for path in [
            "", ".", "..", "../x", "a/b", "a\\b", "a\0b", ".hidden", "c:x", "-rf",
        ] {
            assert!(!is_file_stem(path), "{path:?}");
        }
        assert!(!is_file_stem(&"x".repeat(MAX_PATH + 1)));
    }
}
