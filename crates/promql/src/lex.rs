//! From text to words.

use crate::expr::Span;
use crate::parse::ParseError;

/// A word of the language.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Token {
    Name(String),
    Number(f64),
    /// A duration in milliseconds: `1h30m`.
    Duration(i64),
    Text(String),
    /// A text whose escapes give bytes that are not UTF-8, as it is written.
    NoText(String),
    /// Any sign: `(`, `=~`, `@`.
    Sign(&'static str),
    End,
}

const SIGNS: [&str; 26] = [
    "=~", "!~", "==", "!=", "<=", ">=", "</", ">/", "(", ")", "{", "}", "[", "]", ",", "+", "-",
    "*", "/", "%", "^", "=", "<", ">", "@", ":",
];

/// Splits a text into words with their places; the last one is [`Token::End`].
pub(crate) fn lex(text: &str) -> Result<Vec<(Token, Span)>, ParseError> {
    let bytes = text.as_bytes();
    let mut tokens = Vec::new();
    let mut at = 0;
    let mut brackets = 0;
    while at < bytes.len() {
        let start = at;
        let byte = bytes[at];
        let next = bytes.get(at + 1).copied().unwrap_or(0);
        let token = match byte {
            b' ' | b'\t' | b'\n' | b'\r' => {
                at += 1;
                continue;
            }
            b'#' => {
                while at < bytes.len() && bytes[at] != b'\n' {
                    at += 1;
                }
                continue;
            }
            b'0'..=b'9' => number(text, &mut at)?,
            b'.' if next.is_ascii_digit() => number(text, &mut at)?,
            b'"' | b'\'' | b'`' => string(text, &mut at)?,
            _ if byte == b'_' || byte.is_ascii_alphabetic() || (byte == b':' && brackets == 0) => {
                while at < bytes.len()
                    && (bytes[at] == b'_'
                        || bytes[at].is_ascii_alphanumeric()
                        || (bytes[at] == b':' && brackets == 0))
                {
                    at += 1;
                }
                Token::Name(text[start..at].to_owned())
            }
            _ => match SIGNS.iter().find(|sign| text[at..].starts_with(**sign)) {
                Some(sign) => {
                    at += sign.len();
                    brackets += i32::from(*sign == "[") - i32::from(*sign == "]");
                    Token::Sign(sign)
                }
                None => {
                    let odd = text[at..].chars().next().unwrap_or(' ');
                    let span = Span { start, end: start + odd.len_utf8() };
                    return Err(ParseError::new(span, format!("`{odd}` has no meaning here")));
                }
            },
        };
        tokens.push((token, Span { start, end: at }));
    }
    tokens.push((Token::End, Span { start: text.len(), end: text.len() }));
    Ok(tokens)
}

fn number(text: &str, at: &mut usize) -> Result<Token, ParseError> {
    let bytes = text.as_bytes();
    let start = *at;
    let is = |at: usize, class: fn(&u8) -> bool| bytes.get(at).is_some_and(class);
    if bytes[start] == b'0' && is(start + 1, |b| matches!(b, b'x' | b'X')) {
        *at += 2;
        while is(*at, |b| b.is_ascii_hexdigit() || *b == b'_') {
            *at += 1;
        }
        let digits = text[start + 2..*at].replace('_', "");
        let span = Span { start, end: *at };
        return u64::from_str_radix(&digits, 16)
            .map(|value| Token::Number(value as f64))
            .map_err(|_| ParseError::new(span, "this is not a hexadecimal number"));
    }
    while is(*at, |b| b.is_ascii_digit() || matches!(b, b'.' | b'_')) {
        *at += 1;
    }
    let exponent = is(*at, |b| matches!(b, b'e' | b'E'))
        && (is(*at + 1, u8::is_ascii_digit)
            || (is(*at + 1, |b| matches!(b, b'+' | b'-')) && is(*at + 2, u8::is_ascii_digit)));
    if exponent {
        *at += 2;
        while is(*at, u8::is_ascii_digit) {
            *at += 1;
        }
    } else if is(*at, u8::is_ascii_alphabetic) {
        while is(*at, u8::is_ascii_alphanumeric) {
            *at += 1;
        }
        let span = Span { start, end: *at };
        return duration(&text[start..*at]).map(Token::Duration).ok_or_else(|| {
            ParseError::new(
                span,
                format!("`{}` is neither a number nor a duration", &text[start..*at]),
            )
            .help("write a duration as `90s`, `5m` or `1h30m`, the larger unit first")
        });
    }
    let digits = text[start..*at].replace('_', "");
    let span = Span { start, end: *at };
    digits
        .parse()
        .map(Token::Number)
        .map_err(|_| ParseError::new(span, format!("`{}` is not a number", &text[start..*at])))
}

/// Units of a duration from the largest to the smallest, in milliseconds.
const UNITS: [(&str, i64); 7] = [
    ("y", 365 * 86_400_000),
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Reads `1h30m`; each unit at most once, the larger first.
pub(crate) fn duration(text: &str) -> Option<i64> {
    let mut rest = text;
    let mut total: i64 = 0;
    let mut allowed = &UNITS[..];
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let count: i64 = rest[..digits].parse().ok()?;
        let unit_end = rest[digits..]
            .find(|c: char| c.is_ascii_digit())
            .map_or(rest.len(), |end| digits + end);
        let unit = &rest[digits..unit_end];
        let place = allowed.iter().position(|(name, _)| *name == unit)?;
        total = total.checked_add(count.checked_mul(allowed[place].1)?)?;
        allowed = &allowed[place + 1..];
        rest = &rest[unit_end..];
    }
    (!text.is_empty()).then_some(total)
}

fn string(text: &str, at: &mut usize) -> Result<Token, ParseError> {
    let start = *at;
    let quote = text.as_bytes()[start];
    let mut out: Vec<u8> = Vec::new();
    let mut chars = text[start + 1..].char_indices();
    let open =
        || ParseError::new(Span { start, end: text.len() }, "this text has no closing quote");
    while let Some((index, c)) = chars.next() {
        let place = start + 1 + index;
        if c == char::from(quote) {
            *at = place + 1;
            let written = || text[start + 1..place].to_owned();
            return Ok(
                String::from_utf8(out).map_or_else(|_| Token::NoText(written()), Token::Text)
            );
        }
        if c == '\n' && quote != b'`' {
            return Err(open());
        }
        if c != '\\' || quote == b'`' {
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        let (_, escape) = chars.next().ok_or_else(open)?;
        let mut digits = |count: usize, radix: u32, first: Option<char>| -> Option<u32> {
            let mut value = first.map_or(Some(0), |c| c.to_digit(radix))?;
            for _ in 0..count {
                value = value.checked_mul(radix)?.checked_add(chars.next()?.1.to_digit(radix)?)?;
            }
            Some(value)
        };
        let byte =
            |value: Option<u32>| value.and_then(|v| u8::try_from(v).ok()).map(|byte| vec![byte]);
        let rune =
            |value: Option<u32>| value.and_then(char::from_u32).map(|c| c.to_string().into_bytes());
        let bytes = match escape {
            'n' => Some(vec![b'\n']),
            't' => Some(vec![b'\t']),
            'r' => Some(vec![b'\r']),
            'a' => Some(vec![7]),
            'b' => Some(vec![8]),
            'f' => Some(vec![12]),
            'v' => Some(vec![11]),
            '\\' => Some(vec![b'\\']),
            'x' => byte(digits(2, 16, None)),
            'u' => rune(digits(4, 16, None)),
            'U' => rune(digits(8, 16, None)),
            '0'..='7' => byte(digits(2, 8, Some(escape))),
            c if c == char::from(quote) => Some(vec![quote]),
            _ => None,
        };
        match bytes {
            Some(bytes) => out.extend(bytes),
            None => {
                let span = Span { start: place, end: place + 1 + escape.len_utf8() };
                return Err(ParseError::new(
                    span,
                    format!("`\\{escape}` is no escape that is known here"),
                )
                .help("write a backslash as `\\\\`, or put the text in backticks"));
            }
        }
    }
    Err(open())
}
