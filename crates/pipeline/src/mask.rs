//! Hides secrets in whatever is shown or kept.
//!
//! A [`Masker`] knows secrets in every form in which tools print them; one automaton finds them
//! all. [`Masker::mask`] is for a text that is there, [`MaskStream`] for one that comes in pieces.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};

use aho_corasick::{AhoCorasick, MatchKind};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

/// What is shown in place of a secret.
pub const MASK: &str = "***";

/// Hides secrets; clones share what they know.
#[derive(Debug, Clone, Default)]
pub struct Masker {
    known: Arc<RwLock<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    forms: BTreeSet<Vec<u8>>,
    compiled: Option<Arc<Compiled>>,
}

#[derive(Debug)]
struct Compiled {
    automaton: AhoCorasick,
    longest: usize,
}

impl Masker {
    /// Returns a masker that knows these secrets.
    pub fn new<S: AsRef<str>>(secrets: impl IntoIterator<Item = S>) -> Self {
        let masker = Self::default();
        masker.add_all(secrets);
        masker
    }

    /// Hides one more secret from now on; an empty one is passed over.
    pub fn add(&self, secret: &str) {
        self.add_all([secret]);
    }

    /// Hides more secrets from now on.
    pub fn add_all<S: AsRef<str>>(&self, secrets: impl IntoIterator<Item = S>) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let before = known.forms.len();
        for secret in secrets {
            known.forms.extend(forms(secret.as_ref()));
        }
        if known.forms.len() == before {
            return;
        }
        // Patterns of a few thousand bytes build an automaton in any case.
        known.compiled =
            AhoCorasick::builder().match_kind(MatchKind::Standard).build(&known.forms).ok().map(
                |automaton| {
                    let longest = automaton.max_pattern_len();
                    Arc::new(Compiled { automaton, longest })
                },
            );
    }

    /// Returns the text with every secret hidden.
    pub fn mask(&self, text: &str) -> String {
        match self.compiled() {
            None => text.to_owned(),
            Some(compiled) => {
                let bytes = compiled.mask(text.as_bytes());
                // A form may begin or end inside a character only if it is not text itself.
                String::from_utf8(bytes)
                    .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
            }
        }
    }

    /// Returns the bytes with every secret hidden.
    pub fn mask_bytes(&self, bytes: &[u8]) -> Vec<u8> {
        match self.compiled() {
            None => bytes.to_vec(),
            Some(compiled) => compiled.mask(bytes),
        }
    }

    /// Whether a text holds a secret.
    pub fn finds_in(&self, text: &str) -> bool {
        self.compiled().is_some_and(|compiled| compiled.automaton.is_match(text))
    }

    /// Returns a stream that hides secrets also where they are split between pieces.
    pub fn stream(&self) -> MaskStream {
        MaskStream { masker: self.clone(), tail: Vec::new(), covered: 0 }
    }

    fn compiled(&self) -> Option<Arc<Compiled>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.compiled.clone()
    }
}

impl Compiled {
    /// Where secrets stand; those that touch are one.
    fn spans(&self, bytes: &[u8]) -> Vec<(usize, usize)> {
        let mut found: Vec<(usize, usize)> = self
            .automaton
            .find_overlapping_iter(bytes)
            .map(|found| (found.start(), found.end()))
            .collect();
        found.sort_unstable();
        let mut spans: Vec<(usize, usize)> = Vec::with_capacity(found.len());
        for (start, end) in found {
            match spans.last_mut() {
                Some(last) if start <= last.1 => last.1 = last.1.max(end),
                _ => spans.push((start, end)),
            }
        }
        spans
    }

    fn mask(&self, bytes: &[u8]) -> Vec<u8> {
        let mut masked = Vec::with_capacity(bytes.len());
        let mut at = 0;
        for (start, end) in self.spans(bytes) {
            masked.extend_from_slice(&bytes[at..start]);
            masked.extend_from_slice(MASK.as_bytes());
            at = end;
        }
        masked.extend_from_slice(&bytes[at..]);
        masked
    }
}

/// Hides secrets in a text that comes in pieces.
///
/// It holds back as many bytes as the longest secret may still need, and no more.
#[derive(Debug)]
pub struct MaskStream {
    masker: Masker,
    /// What was not given out yet.
    tail: Vec<u8>,
    /// How many bytes of the tail belong to a secret whose mask was given out.
    covered: usize,
}

impl MaskStream {
    /// Takes a piece and returns what can be shown.
    pub fn push(&mut self, piece: &[u8]) -> Vec<u8> {
        self.tail.extend_from_slice(piece);
        let longest = self.masker.compiled().map_or(0, |compiled| compiled.longest);
        self.give_out(self.tail.len().saturating_sub(longest.saturating_sub(1)))
    }

    /// Returns what was held back.
    pub fn finish(&mut self) -> Vec<u8> {
        self.give_out(self.tail.len())
    }

    fn give_out(&mut self, cut: usize) -> Vec<u8> {
        let mut spans =
            self.masker.compiled().map_or_else(Vec::new, |compiled| compiled.spans(&self.tail));
        let mut shown = Vec::new();
        let mut at = 0;
        if self.covered > 0 {
            // The first secret goes on as long as others touch it.
            let mut end = self.covered;
            while spans.first().is_some_and(|(start, _)| *start <= end) {
                end = end.max(spans.remove(0).1);
            }
            at = end;
        }
        for (start, end) in spans {
            if start >= cut {
                break;
            }
            shown.extend_from_slice(&self.tail[at..start]);
            shown.extend_from_slice(MASK.as_bytes());
            at = end;
        }
        if at < cut {
            shown.extend_from_slice(&self.tail[at..cut]);
            at = cut;
        }
        // A secret that reaches beyond the cut was found whole, as the cut leaves room for it.
        self.covered = at - cut;
        self.tail.drain(..cut);
        shown
    }
}

/// The shortest line of a longer secret, and the shortest part of an encoding, that is hidden.
const SHORTEST_PART: usize = 3;

/// Every form in which a secret may be printed.
fn forms(secret: &str) -> BTreeSet<Vec<u8>> {
    let mut forms = BTreeSet::new();
    let whole = secret.trim_matches(['\r', '\n']);
    if whole.trim().is_empty() {
        return forms;
    }
    let mut pieces = vec![whole, whole.trim()];
    if whole.contains('\n') {
        pieces.extend(
            whole.lines().map(str::trim).filter(|line| line.chars().count() >= SHORTEST_PART),
        );
    }
    for piece in pieces {
        let json = json_escape(piece);
        let texts = [
            piece.to_owned(),
            piece.trim().to_owned(),
            piece.trim_matches('"').to_owned(),
            piece.replace('"', "\\\""),
            piece.replace('\'', "''"),
            // Bash: 'it'\''s', "a \$b", a\ b as `printf %q` writes it.
            piece.replace('\'', "'\\''"),
            piece.replace('\'', "'\"'\"'"),
            backslash(piece, |c| matches!(c, '\\' | '"' | '$' | '`')),
            backslash(piece, |c| {
                !(c.is_alphanumeric()
                    || matches!(c, '_' | '-' | '.' | '/' | ':' | '=' | '@' | '%' | '+' | ','))
            }),
            json.replace("\\/", "/"),
            json,
            utf8_percent_encode(piece, UNRESERVED).to_string(),
            utf8_percent_encode(piece, UNRESERVED).to_string().replace("%20", "+"),
            percent_lower(piece),
            xml_escape(piece),
        ];
        forms.extend(
            texts.into_iter().filter(|text| !text.trim().is_empty()).map(String::into_bytes),
        );
        forms.extend(powershell(piece).map(|half| half.as_bytes().to_vec()));
        forms.extend(base64_forms(piece.as_bytes()));
        // A program that reads a secret from a file or a here-string encodes its line end, too.
        forms.insert(STANDARD.encode(piece).into_bytes());
        forms.insert(URL_SAFE.encode(piece).into_bytes());
    }
    forms
}

const UNRESERVED: &percent_encoding::AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

fn percent_lower(text: &str) -> String {
    let mut lower = String::new();
    for piece in utf8_percent_encode(text, UNRESERVED) {
        if piece.starts_with('%') {
            lower.push_str(&piece.to_ascii_lowercase());
        } else {
            lower.push_str(piece);
        }
    }
    lower
}

fn json_escape(text: &str) -> String {
    let json = serde_json::Value::from(text).to_string();
    json[1..json.len() - 1].to_owned()
}

fn xml_escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&apos;")
}

fn backslash(text: &str, needs: impl Fn(char) -> bool) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        if needs(c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

/// PowerShell's error messages cut a line at `&` and show the parts.
fn powershell(text: &str) -> impl Iterator<Item = &str> {
    let cuts = text.match_indices('&').map(|(at, _)| at);
    cuts.flat_map(|at| [&text[..at], &text[at + 1..]]).filter(|half| half.len() >= 6)
}

/// What is certain of the Base64 of a text that holds the secret, whatever stands around it: the
/// secret may begin at any of three places in a group.
fn base64_forms(secret: &[u8]) -> BTreeSet<Vec<u8>> {
    let mut forms = BTreeSet::new();
    for shift in 0..3.min(secret.len()) {
        let rest = &secret[shift..];
        // A last byte gives one certain character, two give two.
        let certain = rest.len() / 3 * 4 + rest.len() % 3;
        for engine in [&STANDARD, &URL_SAFE] {
            let encoded = engine.encode(rest);
            if certain > SHORTEST_PART {
                forms.insert(encoded.as_bytes()[..certain].to_vec());
            }
        }
    }
    forms
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_secret_is_hidden_in_every_form() {
        let secret = "p@ss w\"rd'42&more<x>";
        let masker = Masker::new([secret]);
        let shown = [
            secret.to_owned(),
            STANDARD.encode(secret),
            STANDARD.encode(format!("a{secret}")),
            STANDARD.encode(format!("ab{secret}z")),
            STANDARD.encode(format!("user:{secret}\n")),
            utf8_percent_encode(secret, NON_ALPHANUMERIC).to_string(),
            serde_json::Value::from(secret).to_string(),
            secret.replace('\'', "'\\''"),
            xml_escape(secret),
        ];
        for text in shown {
            let masked = masker.mask(&format!("<<{text}>>"));
            assert!(masked.contains(MASK), "{text} became {masked}");
            assert!(!masked.contains("w%22rd") && !masked.contains("more"), "{masked}");
        }
    }

    #[test]
    fn each_line_of_a_secret_is_hidden() {
        let masker = Masker::new(["first line\n  second line\r\nx"]);
        assert_eq!(masker.mask("a second line b first line"), "a *** b ***");
    }

    #[test]
    fn secrets_that_overlap_are_one_mask() {
        let masker = Masker::new(["abcdef", "defghi"]);
        assert_eq!(masker.mask("-abcdefghi-"), "-***-");
        assert_eq!(masker.mask("-abcdefdefghi-"), "-***-");
    }

    #[test]
    fn blank_secrets_hide_nothing() {
        let masker = Masker::new(["", "  ", "\n"]);
        assert_eq!(masker.mask("a b\n"), "a b\n");
    }

    #[test]
    fn a_secret_added_later_is_hidden_from_then_on() {
        let masker = Masker::default();
        let other = masker.clone();
        masker.add("hunter2secret");
        assert_eq!(other.mask("it is hunter2secret"), "it is ***");
    }

    #[test]
    fn a_long_row_of_secrets_is_not_held_back() {
        let masker = Masker::new(["aaaa"]);
        let mut stream = masker.stream();
        let mut shown = Vec::new();
        for _ in 0..1000 {
            shown.extend(stream.push(b"aaaaaaa"));
            assert!(stream.tail.len() < 50);
        }
        shown.extend(stream.finish());
        assert_eq!(shown, b"***");
    }

    proptest! {
        #[test]
        fn pieces_are_masked_as_the_whole(
            text in "[ab]{0,60}",
            secrets in proptest::collection::vec("[ab]{1,6}", 1..4),
            cuts in proptest::collection::vec(0usize..8, 1..40),
        ) {
            let masker = Masker::new(&secrets);
            let mut stream = masker.stream();
            let mut shown = Vec::new();
            let mut rest = text.as_bytes();
            for cut in cuts.into_iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, after) = rest.split_at(cut.max(1).min(rest.len()));
                shown.extend(stream.push(piece));
                rest = after;
            }
            shown.extend(stream.finish());
            prop_assert_eq!(String::from_utf8(shown).expect("is text"), masker.mask(&text));
        }

        #[test]
        fn no_secret_is_left(
            secret in "[a-z0-9'\"&$ ]{4,20}[a-z]",
            around in "[A-Z ]{0,10}",
        ) {
            let masker = Masker::new([&secret]);
            let secret = secret.trim();
            for text in [secret.to_owned(), STANDARD.encode(secret), json_escape(secret)] {
                let masked = masker.mask(&format!("{around}{text}{around}"));
                prop_assert!(!masked.contains(&text));
            }
        }

        #[test]
        fn any_text_can_be_masked(secrets in proptest::collection::vec("\\PC{0,12}", 0..4), text in "\\PC{0,40}") {
            let _ = Masker::new(&secrets).mask(&text);
        }
    }
}
