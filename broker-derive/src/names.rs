//! Names: as Zeek writes them, and which there can be.

/// `WeirdEntry2` as `WEIRD_ENTRY2`, `HTTPOnly` as `HTTP_ONLY`; a name that is so already stays.
pub(crate) fn screaming(name: &str) -> String {
    worded(name, |character| character.to_uppercase().collect())
}

/// `SshGuess` as `ssh_guess`.
pub(crate) fn snake(name: &str) -> String {
    worded(name, |character| character.to_lowercase().collect())
}

/// With `_` between words.
fn worded(name: &str, cased: fn(char) -> String) -> String {
    let characters: Vec<char> = name.chars().collect();
    let mut out = String::new();
    for (index, &character) in characters.iter().enumerate() {
        let before = index.checked_sub(1).map(|index| characters[index]);
        let next = characters.get(index + 1);
        let begins_word = character.is_uppercase()
            && before.is_some_and(|before| {
                before.is_lowercase()
                    || before.is_ascii_digit()
                    || (before.is_uppercase() && next.is_some_and(|next| next.is_lowercase()))
            });
        if begins_word {
            out.push('_');
        }
        out.push_str(&cased(character));
    }
    out
}

/// What a logger takes for the path of a log: a file's name without its end.
pub(crate) fn is_log_path(path: &str) -> bool {
    (1..=200).contains(&path.len())
        && !path.starts_with(['.', '-'])
        && !path
            .chars()
            .any(|c| matches!(c, '/' | '\\' | ':') || c.is_control())
}

/// The full name of an enum value of Zeek.
pub(crate) fn is_stream(stream: &str) -> bool {
    !stream.is_empty() && stream.split("::").all(is_identifier)
}

/// The name of a field of Zeek, or of one of a record in it.
pub(crate) fn is_column(name: &str) -> bool {
    name.split('.').all(is_identifier)
}

fn is_identifier(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cut_into_words() {
        for (name, renamed) in [
            ("WeirdEntry", "WEIRD_ENTRY"),
            ("Weird", "WEIRD"),
            ("HTTPOnly", "HTTP_ONLY"),
            ("Utf8Text", "UTF8_TEXT"),
            ("ALREADY_SO", "ALREADY_SO"),
            ("S0", "S0"),
        ] {
            assert_eq!(screaming(name), renamed);
            assert_eq!(snake(name), renamed.to_lowercase());
        }
    }

    #[test]
    fn what_names_no_file_stream_or_column_is_refused() {
        assert!(is_log_path("ssh_guess-2"));
        for path in ["", "../x", "a/b", ".x", "-x", "a:b", "a\nb"] {
            assert!(!is_log_path(path), "{path:?}");
        }
        assert!(is_stream("Analyzer::Logging::LOG"));
        for stream in ["", "::LOG", "Conn::", "Conn:LOG", "Conn LOG"] {
            assert!(!is_stream(stream), "{stream:?}");
        }
        assert!(is_column("id.orig_h"));
        for name in ["", ".x", "x.", "a b", "a\tb", "a,b"] {
            assert!(!is_column(name), "{name:?}");
        }
    }
}
