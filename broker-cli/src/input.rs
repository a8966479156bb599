//! Reading stdin line by line, as `pub --stdin` and `store load` do.

use std::io::{BufRead, Read as _};

use anyhow::Context as _;

/// A line may have so many bytes.
const MAX_LINE: u64 = 128 << 20;

/// Parses each line that is not blank and gives it to `take` with its number, until one is bad or `take` wants no more.
///
/// # Errors
/// Reading fails, or a line is too long or not what `parse` takes; the error names the line.
pub(crate) fn each_line<T>(
    mut input: impl BufRead,
    parse: impl Fn(&[u8]) -> anyhow::Result<T>,
    mut take: impl FnMut(u64, T) -> bool,
) -> anyhow::Result<()> {
    let mut line = Vec::new();
    for number in 1u64.. {
        line.clear();
        let mut limited = input.by_ref().take(MAX_LINE + 1);
        let len = limited
            .read_until(b'\n', &mut line)
            .context("reading stdin")?;
        if len == 0 {
            break;
        }
        anyhow::ensure!(
            line.len() as u64 <= MAX_LINE,
            "stdin:{number}: longer than {MAX_LINE} bytes"
        );
        if line.trim_ascii().is_empty() {
            continue;
        }
        let parsed = parse(&line).with_context(|| format!("stdin:{number}"))?;
        if !take(number, parsed) {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(line: &[u8]) -> anyhow::Result<u32> {
        Ok(std::str::from_utf8(line)?.trim().parse()?)
    }

    fn numbers(input: &str, most: usize) -> (Vec<u32>, anyhow::Result<()>) {
        let mut taken = Vec::new();
        let result = each_line(input.as_bytes(), number, |_, value| {
            taken.push(value);
            taken.len() < most
        });
        (taken, result)
    }

    #[test]
    fn lines_are_taken_until_one_is_bad_or_no_more_are_wanted() {
        let (taken, result) = numbers("1\n\n 2 \n3", 9);
        assert!(result.is_ok());
        assert_eq!(taken, [1, 2, 3]);
        assert_eq!(numbers("1\n2\n3\n", 2).0, [1, 2]);
        let (taken, result) = numbers("1\n\nx\n3\n", 9);
        assert_eq!(taken, [1]);
        assert_eq!(result.expect_err("bad").to_string(), "stdin:3");
    }
}
