//! Values and how they turn into each other.

use std::cmp::Ordering;
use std::fmt;
use std::fmt::Write as _;
use std::sync::Arc;

use indexmap::IndexMap;
use source::expression::number;

/// What an expression gives.
#[derive(Clone, Default)]
pub enum Value {
    /// Nothing.
    #[default]
    Null,
    /// `true` or `false`.
    Boolean(bool),
    /// A number.
    Number(f64),
    /// A text.
    Text(Arc<str>),
    /// A list.
    Array(Arc<Array>),
    /// Names with values.
    Object(Arc<Object>),
}

/// A list.
#[derive(Debug, Clone, Default)]
pub struct Array {
    /// Its items.
    pub items: Vec<Value>,
    /// Whether `*` made it, so that what is asked of it is asked of each of its items.
    pub is_filtered: bool,
}

/// Names with values, in the order they came; names ignore case unless said otherwise.
#[derive(Debug, Clone, Default)]
pub struct Object {
    entries: IndexMap<String, (String, Value)>,
    is_case_sensitive: bool,
}

impl Object {
    /// Returns an object whose names do not ignore case, as `env` on Linux.
    pub fn case_sensitive() -> Self {
        Self { entries: IndexMap::new(), is_case_sensitive: true }
    }

    fn key(&self, name: &str) -> String {
        if self.is_case_sensitive { name.to_owned() } else { fold(name) }
    }

    /// Gives a name a value; a name that is there keeps its place and spelling.
    pub fn insert(&mut self, name: impl Into<String>, value: impl Into<Value>) {
        let name = name.into();
        let key = self.key(&name);
        self.entries
            .entry(key)
            .and_modify(|entry| entry.1 = Value::Null)
            .or_insert_with(|| (name, Value::Null))
            .1 = value.into();
    }

    /// The value of a name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        let (_, value) = self.entries.get(&self.key(name))?;
        Some(value)
    }

    /// The names, as first written.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.entries.values().map(|(name, _)| name.as_str())
    }

    /// The values.
    pub fn values(&self) -> impl Iterator<Item = &Value> {
        self.entries.values().map(|(_, value)| value)
    }

    /// Names with values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.entries.values().map(|(name, value)| (name.as_str(), value))
    }

    /// How many names it has.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it has no name.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl PartialEq for Object {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl<K: Into<String>, V: Into<Value>> FromIterator<(K, V)> for Object {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut object = Self::default();
        for (name, value) in entries {
            object.insert(name, value);
        }
        object
    }
}

/// Returns a text as it is compared when case does not matter: each character in upper case by
/// itself, and no letter of another script becoming one of ASCII.
pub fn fold(text: &str) -> String {
    text.chars().map(fold_char).collect()
}

fn fold_char(c: char) -> char {
    if c.is_ascii() {
        return c.to_ascii_uppercase();
    }
    let mut upper = c.to_uppercase();
    match (upper.next(), upper.next()) {
        (Some(single), None) if !single.is_ascii() => single,
        _ => c,
    }
}

impl Value {
    /// Returns an array.
    pub fn array(items: Vec<Value>) -> Self {
        Value::Array(Arc::new(Array { items, is_filtered: false }))
    }

    pub(super) fn filtered(items: Vec<Value>) -> Self {
        Value::Array(Arc::new(Array { items, is_filtered: true }))
    }

    /// The name of its kind, as GitHub calls it.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Null => "Null",
            Value::Boolean(_) => "Boolean",
            Value::Number(_) => "Number",
            Value::Text(_) => "String",
            Value::Array(_) => "Array",
            Value::Object(_) => "Object",
        }
    }

    /// Whether it is neither an array nor an object.
    pub fn is_primitive(&self) -> bool {
        !matches!(self, Value::Array(_) | Value::Object(_))
    }

    /// Whether a condition with this value holds.
    pub fn is_truthy(&self) -> bool {
        match self {
            Value::Null => false,
            Value::Boolean(value) => *value,
            Value::Number(value) => *value != 0.0 && !value.is_nan(),
            Value::Text(text) => !text.is_empty(),
            Value::Array(_) | Value::Object(_) => true,
        }
    }

    /// The value as a number; NaN if it is none.
    pub fn to_number(&self) -> f64 {
        match self {
            Value::Null => 0.0,
            Value::Boolean(value) => f64::from(u8::from(*value)),
            Value::Number(value) => *value,
            Value::Text(text) => number(text),
            Value::Array(_) | Value::Object(_) => f64::NAN,
        }
    }

    /// The value as a text; `Array` and `Object` for those.
    pub fn to_text(&self) -> String {
        match self {
            Value::Null => String::new(),
            Value::Boolean(value) => value.to_string(),
            Value::Number(value) => number_text(*value),
            Value::Text(text) => text.to_string(),
            Value::Array(_) => "Array".to_owned(),
            Value::Object(_) => "Object".to_owned(),
        }
    }

    /// The object, if it is one.
    pub fn as_object(&self) -> Option<&Object> {
        match self {
            Value::Object(object) => Some(object),
            _ => None,
        }
    }

    /// The items, if it is an array.
    pub fn as_array(&self) -> Option<&[Value]> {
        match self {
            Value::Array(array) => Some(&array.items),
            _ => None,
        }
    }

    /// The entry of an object, ignoring case.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.as_object()?.get(name)
    }

    /// What `[index]` gives; none where nothing is.
    pub(super) fn at(&self, index: &Value) -> Option<Value> {
        match self {
            Value::Object(object) if index.is_primitive() => object.get(&index.to_text()).cloned(),
            Value::Array(array) => {
                let at = index.to_number().floor();
                if at.is_nan() || at < 0.0 || at > f64::from(i32::MAX) {
                    return None;
                }
                array.items.get(at as usize).cloned()
            }
            _ => None,
        }
    }

    /// What `*` gives: the items of an array or of each of its items, the values of an object.
    pub(super) fn each_item(&self) -> Vec<Value> {
        match self {
            Value::Array(array) if array.is_filtered => {
                array.items.iter().flat_map(Value::items).collect()
            }
            _ => self.items(),
        }
    }

    fn items(&self) -> Vec<Value> {
        match self {
            Value::Array(array) => array.items.clone(),
            Value::Object(object) => object.values().cloned().collect(),
            _ => Vec::new(),
        }
    }

    /// Whether `==` holds.
    pub fn equals(&self, other: &Value) -> bool {
        match (self, other) {
            (Value::Null, Value::Null) => true,
            (Value::Boolean(one), Value::Boolean(two)) => one == two,
            (Value::Text(one), Value::Text(two)) => {
                one.chars().map(fold_char).eq(two.chars().map(fold_char))
            }
            (Value::Array(one), Value::Array(two)) => Arc::ptr_eq(one, two),
            (Value::Object(one), Value::Object(two)) => Arc::ptr_eq(one, two),
            _ => self.to_number().partial_cmp(&other.to_number()) == Some(Ordering::Equal),
        }
    }

    /// How it stands to another; none where there is no order.
    pub fn order(&self, other: &Value) -> Option<Ordering> {
        match (self, other) {
            (Value::Null, Value::Null) => None,
            (Value::Boolean(one), Value::Boolean(two)) => Some(one.cmp(two)),
            (Value::Text(one), Value::Text(two)) => {
                Some(fold(one).encode_utf16().cmp(fold(two).encode_utf16()))
            }
            _ => self.to_number().partial_cmp(&other.to_number()),
        }
    }

    /// The value as JSON, two blanks for each level, the way GitHub writes it.
    pub fn to_json(&self) -> String {
        let mut json = String::new();
        self.write_json(&mut json, 0);
        json
    }

    fn write_json(&self, json: &mut String, level: usize) {
        let line = |json: &mut String, level: usize| {
            json.push('\n');
            json.extend(std::iter::repeat_n("  ", level));
        };
        match self {
            Value::Null => json.push_str("null"),
            Value::Text(text) => write_json_text(json, text),
            Value::Boolean(_) | Value::Number(_) => json.push_str(&self.to_text()),
            Value::Array(array) if array.items.is_empty() => json.push_str("[]"),
            Value::Object(object) if object.is_empty() => json.push_str("{}"),
            Value::Array(array) => {
                json.push('[');
                for (at, item) in array.items.iter().enumerate() {
                    if at > 0 {
                        json.push(',');
                    }
                    line(json, level + 1);
                    item.write_json(json, level + 1);
                }
                line(json, level);
                json.push(']');
            }
            Value::Object(object) => {
                json.push('{');
                for (at, (name, value)) in object.iter().enumerate() {
                    if at > 0 {
                        json.push(',');
                    }
                    line(json, level + 1);
                    write_json_text(json, name);
                    json.push_str(": ");
                    value.write_json(json, level + 1);
                }
                line(json, level);
                json.push('}');
            }
        }
    }
}

fn write_json_text(json: &mut String, text: &str) {
    json.push('"');
    for c in text.chars() {
        match c {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            '\r' => json.push_str("\\r"),
            '\t' => json.push_str("\\t"),
            '\u{8}' => json.push_str("\\b"),
            '\u{c}' => json.push_str("\\f"),
            '\u{0}'..='\u{1f}' | '\u{85}' | '\u{2028}' | '\u{2029}' => {
                let _ = write!(json, "\\u{:04x}", u32::from(c));
            }
            _ => json.push(c),
        }
    }
    json.push('"');
}

/// Writes a number with fifteen significant digits, the way GitHub does.
fn number_text(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    if value == 0.0 {
        return "0".to_owned();
    }
    let scientific = format!("{:.14e}", value.abs());
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    let digits = digits.trim_end_matches('0');
    let sign = if value < 0.0 { "-" } else { "" };
    if !(-4..15).contains(&exponent) {
        let (first, rest) = digits.split_at(1);
        let point = if rest.is_empty() { "" } else { "." };
        let direction = if exponent < 0 { '-' } else { '+' };
        let exponent = exponent.abs();
        return format!("{sign}{first}{point}{rest}E{direction}{exponent:02}");
    }
    if exponent < 0 {
        let zeros = "0".repeat((-exponent - 1) as usize);
        return format!("{sign}0.{zeros}{digits}");
    }
    let whole = exponent as usize + 1;
    if digits.len() <= whole {
        return format!("{sign}{digits}{}", "0".repeat(whole - digits.len()));
    }
    format!("{sign}{}.{}", &digits[..whole], &digits[whole..])
}

/// Equality of content, for tests and for keeping; expressions use [`Value::equals`].
impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Value::Null, Value::Null) => true,
            (Value::Boolean(one), Value::Boolean(two)) => one == two,
            (Value::Number(one), Value::Number(two)) => one == two,
            (Value::Text(one), Value::Text(two)) => one == two,
            (Value::Array(one), Value::Array(two)) => one.items == two.items,
            (Value::Object(one), Value::Object(two)) => one.iter().eq(two.iter()),
            _ => false,
        }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_json())
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Value::Boolean(value)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Value::Number(value)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Text(Arc::from(text))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Value::Text(Arc::from(text))
    }
}

impl From<Object> for Value {
    fn from(object: Object) -> Self {
        Value::Object(Arc::new(object))
    }
}

impl From<Vec<Value>> for Value {
    fn from(items: Vec<Value>) -> Self {
        Value::array(items)
    }
}

impl From<serde_json::Value> for Value {
    fn from(json: serde_json::Value) -> Self {
        match json {
            serde_json::Value::Null => Value::Null,
            serde_json::Value::Bool(value) => Value::Boolean(value),
            serde_json::Value::Number(value) => Value::Number(value.as_f64().unwrap_or(f64::NAN)),
            serde_json::Value::String(text) => Value::from(text),
            serde_json::Value::Array(items) => {
                Value::array(items.into_iter().map(Value::from).collect())
            }
            serde_json::Value::Object(entries) => {
                Value::from(entries.into_iter().collect::<Object>())
            }
        }
    }
}
