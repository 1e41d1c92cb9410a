//! Lines of a log that the last green run did not have.
//!
//! What differs from run to run by nature is masked first: numbers, hexadecimal names, paths of
//! temporary files, times. What is left and was never seen in a green run is where to look.

use std::collections::HashSet;

/// A line that the green log does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewLine {
    /// Its number in the failed log, from 1.
    pub number: usize,
    /// The line without colour codes.
    pub text: String,
}

/// Returns the lines of `failed` that `green` does not have, each kind once, in order.
pub fn new_lines(failed: &str, green: &str) -> Vec<NewLine> {
    let mut seen: HashSet<String> = green.lines().map(|line| mask(&plain(line))).collect();
    let mut new = Vec::new();
    for (index, line) in failed.lines().enumerate() {
        let text = plain(line);
        if text.trim().is_empty() {
            continue;
        }
        if seen.insert(mask(&text)) {
            new.push(NewLine { number: index + 1, text });
        }
    }
    new
}

/// Masks what differs from run to run: words with digits in them become `#`, with the letters of
/// long hexadecimal names and everything after `/tmp/` gone.
pub fn mask(line: &str) -> String {
    let mut masked = String::with_capacity(line.len());
    let mut word = String::new();
    for letter in line.trim().chars() {
        if letter.is_ascii_alphanumeric() {
            word.push(letter);
            continue;
        }
        push_masked(&mut masked, &word);
        word.clear();
        // Runs of space and of fill characters of progress bars count as one.
        let repeats = masked.ends_with(letter) && !letter.is_alphanumeric();
        if !repeats {
            masked.push(letter);
        }
    }
    push_masked(&mut masked, &word);
    match masked.find("/tmp/") {
        Some(start) => {
            let end = masked[start..]
                .find([' ', '\'', '"', ')', ',', ':'])
                .map_or(masked.len(), |length| start + length);
            masked.replace_range(start..end, "/tmp/#");
            masked
        }
        None => masked,
    }
}

fn push_masked(masked: &mut String, word: &str) {
    if word.is_empty() {
        return;
    }
    let digits = word.bytes().filter(u8::is_ascii_digit).count();
    let is_hex_name = word.len() >= 7 && digits > 0 && word.bytes().all(|b| b.is_ascii_hexdigit());
    if digits == word.len() || is_hex_name {
        masked.push('#');
        return;
    }
    // `E0308` and `TS2304` are names: digits inside a word that begins with a capital stay.
    let is_code = word.starts_with(|c: char| c.is_ascii_uppercase());
    if digits == 0 || is_code {
        masked.push_str(word);
        return;
    }
    let mut after_digit = false;
    for letter in word.chars() {
        if letter.is_ascii_digit() {
            if !after_digit {
                masked.push('#');
            }
            after_digit = true;
        } else {
            masked.push(letter);
            after_digit = false;
        }
    }
}

/// Returns a line without colour codes and without what a carriage return overwrote.
pub fn plain(line: &str) -> String {
    let line = line.trim_end_matches(['\r', '\n']);
    let line = line.rsplit('\r').next().unwrap_or(line);
    let mut plain = String::with_capacity(line.len());
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter != '\u{1b}' {
            if !letter.is_control() || letter == '\t' {
                plain.push(letter);
            }
            continue;
        }
        match letters.next() {
            Some('[') => {
                // A control sequence ends with a letter from `@` to `~`.
                for next in letters.by_ref() {
                    if ('@'..='~').contains(&next) {
                        break;
                    }
                }
            }
            Some(']') => {
                // A system command ends with BEL or with ESC and a backslash.
                while let Some(next) = letters.next() {
                    if next == '\u{7}' {
                        break;
                    }
                    if next == '\u{1b}' {
                        letters.next_if_eq(&'\\');
                        break;
                    }
                }
            }
            _ => {}
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_times_and_hashes_are_not_new() {
        let green = "12:01:07 compiled app v1.2.3 (4f1c9e8a) in 3.2s\nall 14 tests passed\n";
        let failed = "12:44:59 compiled app v1.2.4 (99aa01bc) in 14.8s\nFAILED test_cart\n";
        let new = new_lines(failed, green);
        assert_eq!(new.len(), 1, "{new:?}");
        assert_eq!((new[0].number, new[0].text.as_str()), (2, "FAILED test_cart"));
    }

    #[test]
    fn an_error_code_is_a_name_and_not_a_number() {
        assert_eq!(mask("error[E0308]: mismatched types"), "error[E0308]: mismatched types");
        assert_eq!(mask("wrote /tmp/run-81/x.log (3 kB)"), "wrote /tmp/# (# kB)");
    }

    #[test]
    fn colours_links_and_overwritten_text_are_gone() {
        assert_eq!(plain("10%\r100% \u{1b}[1;31mred\u{1b}[0m"), "100% red");
        assert_eq!(plain("\u{1b}]8;;https://x\u{7}link\u{1b}]8;;\u{1b}\\!"), "link!");
    }

    proptest! {
        #[test]
        fn a_log_has_nothing_new_against_itself(log in "(\\PC|\n|\u{1b}|\r){0,200}") {
            prop_assert!(new_lines(&log, &log).is_empty());
        }

        #[test]
        fn two_lines_that_differ_in_a_number_are_the_same_line(a: u32, b: u32, text in "[a-z ]{0,20}") {
            let line = |number: u32| format!("{text} took {number} ms at 0.{number}s");
            prop_assert_eq!(mask(&line(a)), mask(&line(b)));
        }
    }
}
