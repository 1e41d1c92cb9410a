//! Takes what looks like a secret out of a query before it is written down.

use std::borrow::Cow;

/// Words that say in a name that its value is a secret.
const SECRET_NAMES: [&str; 14] = [
    "token",
    "secret",
    "passw",
    "pwd",
    "apikey",
    "api_key",
    "api-key",
    "auth",
    "signature",
    "session",
    "credential",
    "jwt",
    "private",
    "access_key",
];

/// Names that say so only when they stand alone.
const WHOLE_NAMES: [&str; 7] = ["key", "sig", "code", "sid", "pass", "pin", "otp"];

/// The shortest value that is taken for a secret by its looks alone.
const LONG: usize = 20;

/// Returns a query with `***` in place of values that are secrets by their name or their looks.
///
/// It errs on the side of hiding: a name of an article that looks like a key is not told either.
pub(super) fn masked_query(query: &str) -> Cow<'_, str> {
    let secret = |pair: &str| match pair.split_once('=') {
        Some((name, value)) => !value.is_empty() && (is_secret_name(name) || looks_secret(value)),
        None => looks_secret(pair),
    };
    if !query.split('&').any(secret) {
        return Cow::Borrowed(query);
    }
    let pairs = query.split('&').map(|pair| match pair.split_once('=') {
        _ if !secret(pair) => pair.to_owned(),
        Some((name, _)) => format!("{name}=***"),
        None => "***".to_owned(),
    });
    Cow::Owned(pairs.collect::<Vec<_>>().join("&"))
}

fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    WHOLE_NAMES.contains(&name.as_str()) || SECRET_NAMES.iter().any(|word| name.contains(word))
}

/// Returns whether a value is long, of one piece, and mixes letters with digits as keys do.
fn looks_secret(value: &str) -> bool {
    let letters = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~+/=%".contains(&byte);
    if value.len() < LONG || !value.bytes().all(letters) {
        return false;
    }
    let digits = value.bytes().filter(u8::is_ascii_digit).count();
    let others = value.bytes().filter(u8::is_ascii_alphabetic).count();
    // Words joined by hyphens have hardly a digit, a number hardly a letter.
    digits >= 3 && others >= 3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_hidden_by_name_or_looks_and_the_rest_stays() {
        for (query, masked) in [
            ("page=2&sort=name", "page=2&sort=name"),
            ("access_token=abc&page=2", "access_token=***&page=2"),
            ("X-Amz-Signature=1&a=b", "X-Amz-Signature=***&a=b"),
            ("code=x&state=", "code=***&state="),
            ("Password=", "Password="),
            ("keyboard=de", "keyboard=de"),
            (
                "q=how-to-write-a-very-long-title-of-a-book",
                "q=how-to-write-a-very-long-title-of-a-book",
            ),
            ("id=12345678901234567890", "id=12345678901234567890"),
            ("t=eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.x", "t=***"),
            ("9f86d081884c7d659a2feaa0c55ad015", "***"),
            ("", ""),
        ] {
            assert_eq!(masked_query(query), masked, "{query}");
        }
    }
}
