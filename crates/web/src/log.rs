//! A log as numbered lines with folds, made piece by piece, so that a running one can be streamed.

use std::fmt::Write as _;

use maud::{Escaper, PreEscaped};

use crate::ansi::Ansi;

/// How many lines stand in one block that the browser may leave undrawn.
const BLOCK: usize = 200;

/// The longest line that is shown whole, in bytes.
const LONGEST_LINE: usize = 16 << 10;

/// Turns the bytes of a log into HTML as they come.
#[derive(Debug, Default)]
pub(crate) struct LogWriter {
    ansi: Ansi,
    number: usize,
    in_block: usize,
    in_fold: bool,
    rest: Vec<u8>,
}

/// What a line is, apart from its text.
enum Kind<'l> {
    Plain(&'l str),
    Fold(&'l str),
    FoldEnd,
    Loud(&'static str, &'l str),
    Hidden,
}

impl LogWriter {
    /// Adds bytes and returns the HTML of the lines they complete.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> String {
        self.rest.extend_from_slice(bytes);
        let mut html = String::with_capacity(bytes.len() * 2);
        let complete = self.rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let lines: Vec<u8> = self.rest.drain(..complete).collect();
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            self.line(&String::from_utf8_lossy(line), &mut html);
        }
        if self.rest.len() > LONGEST_LINE {
            let line = std::mem::take(&mut self.rest);
            self.line(&String::from_utf8_lossy(&line), &mut html);
        }
        html
    }

    /// Returns the HTML of what is left, with every fold closed.
    pub(crate) fn finish(mut self) -> String {
        let mut html = String::new();
        if !self.rest.is_empty() {
            let line = std::mem::take(&mut self.rest);
            self.line(&String::from_utf8_lossy(&line), &mut html);
        }
        self.close_block(&mut html);
        self.close_fold(&mut html);
        html
    }

    fn line(&mut self, raw: &str, html: &mut String) {
        self.number += 1;
        let raw = raw.trim_end_matches(['\n', '\r']);
        match kind_of(raw) {
            Kind::Plain(text) => self.write("", text, html),
            Kind::Loud(class, text) => self.write(class, text, html),
            Kind::Hidden => self.write("dim", "(a value is masked from here on)", html),
            Kind::Fold(name) => {
                self.close_block(html);
                self.close_fold(html);
                let name = self.ansi.line(name);
                let number = self.number;
                let _ = write!(
                    html,
                    "<details class=\"fold\"><summary id=\"L{number}\"><span class=\"no\">{number}</span>\
                     <span class=\"tx\">{}</span></summary>",
                    name.0
                );
                self.in_fold = true;
            }
            Kind::FoldEnd => {
                self.close_block(html);
                self.close_fold(html);
            }
        }
    }

    fn write(&mut self, class: &str, text: &str, html: &mut String) {
        if self.in_block == 0 {
            html.push_str("<div class=\"block\">");
        }
        self.in_block += 1;
        let number = self.number;
        let text = self.ansi.line(cut(text));
        let _ = write!(
            html,
            "<div class=\"ln {class}\" id=\"L{number}\"><a class=\"no\" href=\"#L{number}\" tabindex=\"-1\">{number}</a>\
             <span class=\"tx\">{}</span></div>",
            text.0
        );
        if self.in_block == BLOCK {
            self.close_block(html);
        }
    }

    fn close_block(&mut self, html: &mut String) {
        if self.in_block > 0 {
            html.push_str("</div>");
            self.in_block = 0;
        }
    }

    fn close_fold(&mut self, html: &mut String) {
        if self.in_fold {
            html.push_str("</details>");
            self.in_fold = false;
        }
    }
}

/// Lines of a finished log that hold a text, as HTML, with how many there are.
pub(crate) fn search(log: &[u8], wanted: &str, path: &str) -> (usize, PreEscaped<String>) {
    const SHOWN: usize = 1_000;
    let log = String::from_utf8_lossy(log);
    let folded = wanted.to_lowercase();
    let mut html = String::from("<div class=\"block\">");
    let mut found = 0;
    for (index, line) in log.lines().enumerate() {
        let plain = explain::novelty::plain(line);
        let lower = plain.to_lowercase();
        if !lower.contains(&folded) {
            continue;
        }
        found += 1;
        if found > SHOWN {
            continue;
        }
        let number = index + 1;
        html.push_str("<div class=\"ln\"><a class=\"no\" href=\"");
        let _ = Escaper::new(&mut html).write_str(path);
        let _ = write!(html, "#L{number}\">{number}</a><span class=\"tx\">");
        mark(cut(&plain), &folded, &mut html);
        html.push_str("</span></div>");
    }
    html.push_str("</div>");
    (found, PreEscaped(html))
}

/// Writes text with every place of `wanted` marked. Lower case may have another length than the
/// text; where it has, the line is shown without marks.
fn mark(text: &str, wanted: &str, html: &mut String) {
    let lower = text.to_lowercase();
    let same_shape = lower.len() == text.len();
    let mut rest = 0;
    if same_shape && !wanted.is_empty() {
        for (start, part) in lower.match_indices(wanted) {
            let end = start + part.len();
            if text.is_char_boundary(start) && text.is_char_boundary(end) && start >= rest {
                let _ = Escaper::new(html).write_str(&text[rest..start]);
                html.push_str("<mark>");
                let _ = Escaper::new(html).write_str(&text[start..end]);
                html.push_str("</mark>");
                rest = end;
            }
        }
    }
    let _ = Escaper::new(html).write_str(&text[rest..]);
}

/// Returns the number of the first line that looks like an error.
pub(crate) fn first_error(log: &[u8]) -> Option<usize> {
    let text = String::from_utf8_lossy(log);
    if let Some(best) = explain::signature::matches(&text, &[]).first() {
        return Some(best.line);
    }
    let is_error = |line: &str| {
        matches!(kind_of(line), Kind::Loud("err", _)) || {
            let plain = explain::novelty::plain(line).to_lowercase();
            plain.starts_with("error") || plain.contains(" error:") || plain.starts_with("fatal")
        }
    };
    text.lines().position(is_error).map(|index| index + 1)
}

fn kind_of(line: &str) -> Kind<'_> {
    if let Some(name) = line.strip_prefix("::group::").or_else(|| line.strip_prefix("##[group]")) {
        return Kind::Fold(name);
    }
    if line.starts_with("::endgroup::") || line.starts_with("##[endgroup]") {
        return Kind::FoldEnd;
    }
    if line.starts_with("::add-mask::") {
        return Kind::Hidden;
    }
    for (name, class) in [("error", "err"), ("warning", "wrn"), ("notice", "ntc"), ("debug", "dim")]
    {
        if let Some(text) =
            line.strip_prefix("##[").and_then(|rest| rest.strip_prefix(name)?.strip_prefix(']'))
        {
            return Kind::Loud(class, text);
        }
        if let Some(rest) = line.strip_prefix("::").and_then(|rest| rest.strip_prefix(name))
            && rest.starts_with([' ', ':'])
            && let Some((_, text)) = rest.split_once("::")
        {
            return Kind::Loud(class, text);
        }
    }
    if let Some(command) = line.strip_prefix("##[command]") {
        return Kind::Loud("cmd", command);
    }
    Kind::Plain(line)
}

fn cut(text: &str) -> &str {
    if text.len() <= LONGEST_LINE {
        return text;
    }
    let mut end = LONGEST_LINE;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn whole(log: &[u8]) -> String {
        let mut writer = LogWriter::default();
        let mut html = writer.push(log);
        html.push_str(&writer.finish());
        html
    }

    #[test]
    fn lines_are_numbered_and_groups_fold() {
        let html = whole(b"one\n::group::Install\ntwo\n::endgroup::\n::error file=a.rs::three\n");
        assert!(html.contains("id=\"L1\""));
        assert!(html.contains("<details class=\"fold\"><summary id=\"L2\">"));
        assert!(html.contains("<div class=\"ln err\" id=\"L5\">"));
        assert!(html.contains(">three</span>"));
        assert_eq!(html.matches("<details").count(), html.matches("</details>").count());
    }

    #[test]
    fn a_search_marks_what_it_found() {
        let (found, html) = search("alpha\nBeta <b>\nbeta\n".as_bytes(), "beta", "/x");
        assert_eq!(found, 2);
        assert!(html.0.contains("<mark>Beta</mark> &lt;b&gt;"), "{}", html.0);
    }

    #[test]
    fn the_first_error_is_where_to_look() {
        assert_eq!(
            first_error(b"fine\nerror[E0308]: mismatched types\nerror: could not compile\n"),
            Some(2)
        );
        assert_eq!(first_error(b"fine\nall good\n"), None);
    }

    proptest! {
        #[test]
        fn bytes_in_any_pieces_give_the_same_page(
            log in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(0x1b), Just(b'<'), any::<u8>()], 0..400),
            cut in 0_usize..400,
        ) {
            let cut = cut.min(log.len());
            let mut writer = LogWriter::default();
            let mut html = writer.push(&log[..cut]);
            html.push_str(&writer.push(&log[cut..]));
            html.push_str(&writer.finish());
            prop_assert_eq!(&html, &whole(&log));
            prop_assert_eq!(html.matches("<div").count(), html.matches("</div>").count());
            prop_assert_eq!(html.matches("<details").count(), html.matches("</details>").count());
        }

        #[test]
        fn a_search_never_breaks_the_markup(log in "\\PC{0,80}", wanted in "\\PC{1,4}") {
            let (_, html) = search(log.as_bytes(), &wanted, "/x");
            prop_assert!(!html.0.contains("<script"));
            prop_assert_eq!(html.0.matches("<mark>").count(), html.0.matches("</mark>").count());
        }
    }
}
