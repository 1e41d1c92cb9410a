//! What a scalar means by the YAML 1.2 core schema, exactly as GitHub reads it.
//!
//! Only plain scalars are typed. `yes`, `no`, `on` and `off` are texts. An explicit `!!bool`,
//! `!!int`, `!!float` or `!!null` must fit and must be plain; `!!str` fits anything; any other
//! tag is refused.

use super::{Node, Style, Value};

/// A scalar with its type.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Typed<'a> {
    /// Nothing: empty, `null`, `Null`, `NULL`, `~`.
    Null,
    /// `true` or `false`, also capitalised or in capitals.
    Boolean(bool),
    /// A whole number; kept as a float because that is the only number an expression knows.
    Integer(f64),
    /// A number with a point, an exponent, `.inf` or `.nan`.
    Float(f64),
    /// Anything else.
    Text(&'a str),
}

/// Why a scalar has no type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Mistyped {
    /// The tag is none of the core schema.
    #[error("the tag `{0}` has no meaning here")]
    UnknownTag(String),
    /// The text does not fit the tag.
    #[error("`{text}` is not {kind}")]
    Misfit {
        /// The text.
        text: String,
        /// What the tag promised, in words.
        kind: &'static str,
    },
    /// A hexadecimal or octal number does not fit 32 bits.
    #[error("`{0}` does not fit a 32-bit number")]
    TooLarge(String),
    /// The node is a mapping or a list.
    #[error("this is not a scalar")]
    NotScalar,
}

const CORE: &str = "tag:yaml.org,2002:";

/// Returns the scalar with its type.
pub fn resolve(node: &Node) -> Result<Typed<'_>, Mistyped> {
    let Value::Scalar(scalar) = &node.value else {
        return Err(Mistyped::NotScalar);
    };
    let text = scalar.text.as_str();
    let plain = scalar.style == Style::Plain;
    let misfit = |kind| Mistyped::Misfit { text: text.to_owned(), kind };
    let Some(tag) = node.tag.as_deref() else {
        return if plain { untagged(text) } else { Ok(Typed::Text(text)) };
    };
    // `!` alone says: take it as it stands, a text.
    let kind = if tag == "!" { "str" } else { tag.strip_prefix(CORE).unwrap_or(tag) };
    match kind {
        "str" => Ok(Typed::Text(text)),
        "bool" if plain => boolean(text).map(Typed::Boolean).ok_or(misfit("true or false")),
        "int" if plain => Ok(Typed::Integer(integer(text)?.ok_or(misfit("a whole number"))?)),
        "float" if plain => float(text).map(Typed::Float).ok_or(misfit("a number")),
        "null" if plain && is_null(text) => Ok(Typed::Null),
        "null" if plain => Err(misfit("nothing")),
        "bool" | "int" | "float" | "null" => Err(misfit("written without quotes")),
        _ => Err(Mistyped::UnknownTag(tag.to_owned())),
    }
}

fn untagged(text: &str) -> Result<Typed<'_>, Mistyped> {
    if is_null(text) {
        return Ok(Typed::Null);
    }
    if let Some(value) = boolean(text) {
        return Ok(Typed::Boolean(value));
    }
    if let Some(value) = integer(text)? {
        return Ok(Typed::Integer(value));
    }
    Ok(float(text).map_or(Typed::Text(text), Typed::Float))
}

fn is_null(text: &str) -> bool {
    matches!(text, "" | "null" | "Null" | "NULL" | "~")
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

fn integer(text: &str) -> Result<Option<f64>, Mistyped> {
    let radix = |digits: &str, radix: u32, is_digit: fn(&u8) -> bool| {
        if digits.is_empty() || !digits.bytes().all(|byte| is_digit(&byte)) {
            return Ok(None);
        }
        // GitHub converts to a signed 32-bit number, whose sign bit may be set by the digits.
        u32::from_str_radix(digits, radix)
            .map(|bits| Some(f64::from(bits.cast_signed())))
            .map_err(|_| Mistyped::TooLarge(text.to_owned()))
    };
    if let Some(digits) = text.strip_prefix("0x") {
        return radix(digits, 16, u8::is_ascii_hexdigit);
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return radix(digits, 8, |digit| (b'0'..=b'7').contains(digit));
    }
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let whole = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    Ok(if whole { text.parse().ok() } else { None })
}

fn float(text: &str) -> Option<f64> {
    let (sign, unsigned) = match text.as_bytes().first()? {
        b'-' => (-1.0, &text[1..]),
        b'+' => (1.0, &text[1..]),
        _ => (1.0, text),
    };
    match unsigned {
        ".inf" | ".Inf" | ".INF" => return Some(sign * f64::INFINITY),
        ".nan" | ".NaN" | ".NAN" if unsigned.len() == text.len() => return Some(f64::NAN),
        _ => {}
    }
    // [0-9]+ ( . [0-9]* )? or . [0-9]+, then ( [eE] [-+]? [0-9]+ )?
    let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
        Some(at) => (&unsigned[..at], Some(&unsigned[at + 1..])),
        None => (unsigned, None),
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mantissa_fits =
        digits(whole) && digits(fraction) && !(whole.is_empty() && fraction.is_empty());
    let exponent_fits = exponent.is_none_or(|exponent| {
        let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        !exponent.is_empty() && digits(exponent)
    });
    (mantissa_fits && exponent_fits).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::{Options, read};

    fn typed(text: &str) -> String {
        let (node, findings) = read("t.yml", text, &Options::default());
        assert_eq!(findings, []);
        match resolve(&node.expect("a document")) {
            Ok(typed) => format!("{typed:?}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn plain_scalars_are_typed_by_the_core_schema() {
        for (text, expected) in [
            ("~", "Null"),
            ("NULL", "Null"),
            ("nULL", "Text(\"nULL\")"),
            ("True", "Boolean(true)"),
            ("yes", "Text(\"yes\")"),
            ("on", "Text(\"on\")"),
            ("12", "Integer(12.0)"),
            ("+12", "Integer(12.0)"),
            ("0o14", "Integer(12.0)"),
            ("0x1F", "Integer(31.0)"),
            ("0x", "Text(\"0x\")"),
            ("0xFFFFFFFFF", "`0xFFFFFFFFF` does not fit a 32-bit number"),
            ("12_345", "Text(\"12_345\")"),
            ("1.", "Float(1.0)"),
            (".5", "Float(0.5)"),
            ("-.inf", "Float(-inf)"),
            (".NaN", "Float(NaN)"),
            ("1e3", "Float(1000.0)"),
            ("1e", "Text(\"1e\")"),
            (".", "Text(\".\")"),
            ("infinity", "Text(\"infinity\")"),
            ("'12'", "Text(\"12\")"),
            ("! 12", "Text(\"12\")"),
            ("!!str 12", "Text(\"12\")"),
            ("!!int '12'", "`12` is not written without quotes"),
            ("!!bool test", "`test` is not true or false"),
            ("!!timestamp 2022-10-26", "the tag `tag:yaml.org,2002:timestamp` has no meaning here"),
        ] {
            assert_eq!(typed(text), expected, "{text}");
        }
    }
}
