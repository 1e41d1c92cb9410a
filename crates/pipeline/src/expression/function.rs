//! What the functions do.

use source::expression::{Function, Node};

use super::value::fold;
use super::{EvaluationError, Evaluator, Value};

impl Evaluator<'_> {
    pub(super) fn call(
        &self,
        function: Function,
        arguments: &[Node],
    ) -> Result<Value, EvaluationError> {
        match function {
            Function::Case => self.case(arguments),
            Function::Contains => {
                let search = self.evaluate(&arguments[0])?;
                let item = self.evaluate(&arguments[1])?;
                Ok(Value::Boolean(contains(&search, &item)))
            }
            Function::StartsWith => {
                self.compare_texts(arguments, |text, start| text.starts_with(start))
            }
            Function::EndsWith => self.compare_texts(arguments, |text, end| text.ends_with(end)),
            Function::Format => self.format(arguments),
            Function::Join => self.join(arguments),
            Function::ToJson => {
                let json = self.evaluate(&arguments[0])?.to_json();
                self.count(&json)?;
                Ok(Value::from(json))
            }
            Function::FromJson => {
                let text = self.evaluate(&arguments[0])?.to_text();
                self.count(&text)?;
                serde_json::from_str::<serde_json::Value>(&text)
                    .map(Value::from)
                    .map_err(|error| EvaluationError::Json(error.to_string()))
            }
            Function::HashFiles => {
                let patterns = arguments
                    .iter()
                    .map(|argument| Ok(self.evaluate(argument)?.to_text()))
                    .collect::<Result<Vec<_>, _>>()?;
                self.scope
                    .hash_files(&patterns)
                    .map(Value::from)
                    .map_err(EvaluationError::HashFiles)
            }
            Function::Always | Function::Cancelled | Function::Failure | Function::Success => {
                let values = arguments
                    .iter()
                    .map(|argument| self.evaluate(argument))
                    .collect::<Result<Vec<_>, _>>()?;
                Ok(Value::Boolean(self.scope.status(function, &values)))
            }
        }
    }

    fn case(&self, arguments: &[Node]) -> Result<Value, EvaluationError> {
        let (default, pairs) = arguments.split_last().expect("`case` has at least three arguments");
        for pair in pairs.chunks_exact(2) {
            match self.evaluate(&pair[0])? {
                Value::Boolean(true) => return self.evaluate(&pair[1]),
                Value::Boolean(false) => {}
                _ => return Err(EvaluationError::CasePredicate),
            }
        }
        self.evaluate(default)
    }

    fn compare_texts(
        &self,
        arguments: &[Node],
        compare: impl Fn(&str, &str) -> bool,
    ) -> Result<Value, EvaluationError> {
        let left = self.evaluate(&arguments[0])?;
        if !left.is_primitive() {
            return Ok(Value::Boolean(false));
        }
        let right = self.evaluate(&arguments[1])?;
        let holds =
            right.is_primitive() && compare(&fold(&left.to_text()), &fold(&right.to_text()));
        Ok(Value::Boolean(holds))
    }

    fn join(&self, arguments: &[Node]) -> Result<Value, EvaluationError> {
        let items = self.evaluate(&arguments[0])?;
        let Value::Array(array) = &items else {
            let text = if items.is_primitive() { items.to_text() } else { String::new() };
            return Ok(Value::from(text));
        };
        let mut separator = ",".to_owned();
        if array.items.len() > 1
            && let Some(argument) = arguments.get(1)
        {
            let value = self.evaluate(argument)?;
            if value.is_primitive() {
                separator = value.to_text();
            }
        }
        let mut joined = String::new();
        for (at, item) in array.items.iter().enumerate() {
            if at > 0 {
                self.count(&separator)?;
                joined.push_str(&separator);
            }
            let text = item.to_text();
            self.count(&text)?;
            joined.push_str(&text);
        }
        Ok(Value::from(joined))
    }

    /// Arguments are evaluated when the format is known to be right, each at most once.
    fn format(&self, arguments: &[Node]) -> Result<Value, EvaluationError> {
        let format = self.evaluate(&arguments[0])?.to_text();
        let segments = segments(&format, arguments.len() - 1)?;
        let mut values: Vec<Option<Value>> = vec![None; arguments.len() - 1];
        let mut text = String::new();
        for segment in segments {
            match segment {
                Segment::Text(part) => {
                    self.count(part)?;
                    text.push_str(part);
                }
                Segment::Argument(at, specifiers) => {
                    if values[at].is_none() {
                        values[at] = Some(self.evaluate(&arguments[at + 1])?);
                    }
                    let value = values[at].clone().unwrap_or_default();
                    if !specifiers.is_empty() {
                        return Err(EvaluationError::FormatSpecifier(specifiers, value.kind()));
                    }
                    let part = value.to_text();
                    self.count(&part)?;
                    text.push_str(&part);
                }
            }
        }
        Ok(Value::from(text))
    }
}

fn contains(search: &Value, item: &Value) -> bool {
    match search {
        Value::Array(array) => array.items.iter().any(|candidate| candidate.equals(item)),
        Value::Object(_) => false,
        _ => item.is_primitive() && fold(&search.to_text()).contains(&fold(&item.to_text())),
    }
}

enum Segment<'a> {
    Text(&'a str),
    Argument(usize, String),
}

fn segments(format: &str, arguments: usize) -> Result<Vec<Segment<'_>>, EvaluationError> {
    let invalid = || EvaluationError::Format(format.to_owned());
    let mut segments = Vec::new();
    let mut rest = format;
    while let Some(brace) = rest.find(['{', '}']) {
        let doubled = rest[brace + 1..].starts_with(&rest[brace..=brace]);
        if doubled {
            segments.push(Segment::Text(&rest[..=brace]));
            rest = &rest[brace + 2..];
            continue;
        }
        if rest.as_bytes()[brace] == b'}' {
            return Err(invalid());
        }
        segments.push(Segment::Text(&rest[..brace]));
        let inner = &rest[brace + 1..];
        let digits = inner.find(|c: char| !c.is_ascii_digit()).unwrap_or(inner.len());
        let at: u8 = inner[..digits].parse().map_err(|_| invalid())?;
        let (specifiers, length) = specifiers(&inner[digits..]).ok_or_else(invalid)?;
        if usize::from(at) >= arguments {
            return Err(EvaluationError::FormatArguments(format.to_owned()));
        }
        segments.push(Segment::Argument(usize::from(at), specifiers));
        rest = &inner[digits + length..];
    }
    segments.push(Segment::Text(rest));
    Ok(segments)
}

/// Reads `}` or `:specifiers}` and returns the specifiers and how many bytes that took.
fn specifiers(text: &str) -> Option<(String, usize)> {
    if text.starts_with('}') {
        return Some((String::new(), 1));
    }
    let mut rest = text.strip_prefix(':')?;
    let mut specifiers = String::new();
    loop {
        let brace = rest.find('}')?;
        specifiers.push_str(&rest[..brace]);
        rest = &rest[brace + 1..];
        match rest.strip_prefix('}') {
            Some(after) => {
                specifiers.push('}');
                rest = after;
            }
            None => return Some((specifiers, text.len() - rest.len())),
        }
    }
}
