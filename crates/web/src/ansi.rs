//! What a terminal shows, as HTML: classes for colours, nothing that could run.
//!
//! Everything that is not understood is left out, everything that is text is escaped, so that no
//! log can bring markup, styles or a script into a page.

use maud::{Escaper, PreEscaped};
use std::fmt::Write as _;

/// Turns lines into HTML; colours carry over from line to line as on a terminal.
#[derive(Debug, Clone, Default)]
pub struct Ansi {
    style: Style,
    link: Option<String>,
}

/// How text looks at the moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Style {
    foreground: Option<u8>,
    background: Option<u8>,
    bold: bool,
    faint: bool,
    italic: bool,
    underline: bool,
    inverse: bool,
    strike: bool,
}

impl Style {
    fn classes(self) -> String {
        let (foreground, background) = if self.inverse {
            (self.background.or(Some(16)), self.foreground.or(Some(17)))
        } else {
            (self.foreground, self.background)
        };
        let mut classes = String::new();
        if let Some(colour) = foreground {
            let _ = write!(classes, " f{colour}");
        }
        if let Some(colour) = background {
            let _ = write!(classes, " b{colour}");
        }
        for (is_on, class) in [
            (self.bold, " bold"),
            (self.faint, " faint"),
            (self.italic, " ital"),
            (self.underline, " undl"),
            (self.strike, " strk"),
        ] {
            if is_on {
                classes.push_str(class);
            }
        }
        classes.trim_start().to_owned()
    }

    /// Applies the parameters of one `ESC [ … m`.
    fn apply(&mut self, parameters: &str) {
        let mut numbers =
            parameters.split([';', ':']).map(|number| number.parse::<u16>().unwrap_or(0));
        while let Some(number) = numbers.next() {
            match number {
                0 => *self = Self::default(),
                1 => self.bold = true,
                2 => self.faint = true,
                3 => self.italic = true,
                4 => self.underline = true,
                7 => self.inverse = true,
                9 => self.strike = true,
                21 | 22 => (self.bold, self.faint) = (false, false),
                23 => self.italic = false,
                24 => self.underline = false,
                27 => self.inverse = false,
                29 => self.strike = false,
                30..=37 => self.foreground = Some((number - 30) as u8),
                38 => self.foreground = extended(&mut numbers).or(self.foreground),
                39 => self.foreground = None,
                40..=47 => self.background = Some((number - 40) as u8),
                48 => self.background = extended(&mut numbers).or(self.background),
                49 => self.background = None,
                90..=97 => self.foreground = Some((number - 90 + 8) as u8),
                100..=107 => self.background = Some((number - 100 + 8) as u8),
                _ => {}
            }
        }
    }
}

/// Reads `5;n` or `2;r;g;b` and returns the nearest of the sixteen colours.
fn extended(numbers: &mut impl Iterator<Item = u16>) -> Option<u8> {
    match numbers.next()? {
        5 => Some(nearest_of_256(numbers.next()?)),
        2 => {
            let (red, green, blue) = (numbers.next()?, numbers.next()?, numbers.next()?);
            Some(nearest(red, green, blue))
        }
        _ => None,
    }
}

fn nearest_of_256(number: u16) -> u8 {
    match number {
        0..16 => number as u8,
        16..232 => {
            let number = number - 16;
            let level = |part: u16| if part == 0 { 0 } else { 55 + part * 40 };
            nearest(level(number / 36), level(number / 6 % 6), level(number % 6))
        }
        _ => {
            let grey = 8 + (number.min(255) - 232) * 10;
            nearest(grey, grey, grey)
        }
    }
}

fn nearest(red: u16, green: u16, blue: u16) -> u8 {
    let (red, green, blue) = (red.min(255), green.min(255), blue.min(255));
    let brightest = red.max(green).max(blue);
    let spread = brightest - red.min(green).min(blue);
    if spread < 40 {
        return match brightest {
            0..64 => 0,
            64..144 => 8,
            144..208 => 7,
            _ => 15,
        };
    }
    let half = brightest / 2 + spread / 8;
    let colour = u8::from(red > half) | u8::from(green > half) << 1 | u8::from(blue > half) << 2;
    if brightest > 200 { colour + 8 } else { colour }
}

impl Ansi {
    /// Returns one line as HTML. What a carriage return overwrote is gone, as on a terminal.
    pub fn line(&mut self, raw: &str) -> PreEscaped<String> {
        let raw = raw.trim_end_matches(['\n', '\r']);
        let mut html = String::with_capacity(raw.len() + 16);
        let mut text = String::new();
        let mut letters = raw.chars().peekable();
        while let Some(letter) = letters.next() {
            match letter {
                '\r' => {
                    html.clear();
                    text.clear();
                }
                '\u{8}' => {
                    text.pop();
                }
                '\t' => text.push('\t'),
                '\u{1b}' => {
                    self.flush(&mut html, &mut text);
                    self.escape(&mut letters);
                }
                // Marks that turn the direction of text could make a line read as another one.
                '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => text.push('\u{fffd}'),
                letter if letter.is_control() => {}
                letter => text.push(letter),
            }
        }
        self.flush(&mut html, &mut text);
        PreEscaped(html)
    }

    fn flush(&mut self, html: &mut String, text: &mut String) {
        if text.is_empty() {
            return;
        }
        let classes = self.style.classes();
        if let Some(link) = &self.link {
            html.push_str("<a rel=\"noopener noreferrer\" href=\"");
            let _ = Escaper::new(html).write_str(link);
            html.push_str("\">");
        }
        if !classes.is_empty() {
            let _ = write!(html, "<span class=\"{classes}\">");
        }
        let _ = Escaper::new(html).write_str(text);
        if !classes.is_empty() {
            html.push_str("</span>");
        }
        if self.link.is_some() {
            html.push_str("</a>");
        }
        text.clear();
    }

    /// Reads what follows an escape character.
    fn escape(&mut self, letters: &mut std::iter::Peekable<std::str::Chars<'_>>) {
        match letters.next() {
            Some('[') => {
                let mut parameters = String::new();
                for letter in letters.by_ref() {
                    match letter {
                        '0'..='9' | ';' | ':' => parameters.push(letter),
                        'm' => return self.style.apply(&parameters),
                        '@'..='~' => return,
                        _ => {}
                    }
                }
            }
            Some(']') => {
                let mut command = String::new();
                while let Some(letter) = letters.next() {
                    match letter {
                        '\u{7}' => break,
                        '\u{1b}' => {
                            letters.next_if_eq(&'\\');
                            break;
                        }
                        letter => command.push(letter),
                    }
                }
                if let Some(rest) = command.strip_prefix("8;") {
                    let target = rest.split_once(';').map_or("", |(_, target)| target);
                    let is_web = target.starts_with("https://") || target.starts_with("http://");
                    let is_clean = !target.contains(char::is_control);
                    self.link = (is_web && is_clean).then(|| target.to_owned());
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn html(line: &str) -> String {
        Ansi::default().line(line).into_string()
    }

    #[test]
    fn colours_become_classes_and_text_is_escaped() {
        assert_eq!(
            html("\u{1b}[1;31merror\u{1b}[0m: <script> & \"x\""),
            "<span class=\"f1 bold\">error</span>: &lt;script&gt; &amp; &quot;x&quot;"
        );
        assert_eq!(html("\u{1b}[38;5;196mred\u{1b}[39m"), "<span class=\"f9\">red</span>");
        assert_eq!(html("\u{1b}[38;2;0;120;20mgreen"), "<span class=\"f2\">green</span>");
    }

    #[test]
    fn a_progress_bar_shows_its_last_state() {
        assert_eq!(html("10 %\r50 %\r100 %\r\n"), "100 %");
    }

    #[test]
    fn colour_carries_over_to_the_next_line() {
        let mut ansi = Ansi::default();
        ansi.line("\u{1b}[32mfirst");
        assert_eq!(ansi.line("second").into_string(), "<span class=\"f2\">second</span>");
    }

    #[test]
    fn only_web_links_are_links() {
        assert_eq!(
            html("\u{1b}]8;;https://example.com/?a=\"b\u{7}docs\u{1b}]8;;\u{7}"),
            "<a rel=\"noopener noreferrer\" href=\"https://example.com/?a=&quot;b\">docs</a>"
        );
        assert_eq!(html("\u{1b}]8;;javascript:alert(1)\u{7}docs"), "docs");
        assert_eq!(html("\u{1b}]8;;https://example.com/\0b\u{7}docs"), "docs");
    }

    proptest! {
        #[test]
        fn no_line_brings_markup_of_its_own(line in "(\\PC|\u{1b}|\u{1b}\\[|\u{1b}\\]8;;|[<>&\"';m0-9\r\t]){0,80}") {
            let html = html(&line);
            let mut rest = html.as_str();
            while let Some(start) = rest.find('<') {
                let tag = &rest[start..];
                let is_ours = ["<span class=\"", "</span>", "<a rel=\"noopener noreferrer\" href=\"http", "</a>"]
                    .iter()
                    .any(|ours| tag.starts_with(ours));
                prop_assert!(is_ours, "{}", html);
                rest = &tag[1..];
            }
            prop_assert_eq!(html.matches("<span").count(), html.matches("</span>").count());
            prop_assert_eq!(html.matches("<a ").count(), html.matches("</a>").count());
        }
    }
}
