//! Variables in texts: `$NAME`, `${NAME}` and the forms with a default, an alternative, an error.

use super::Environment;
use crate::yaml::Scalar;
use crate::{Finding, Place};

/// How deep defaults may lie in defaults.
const MAX_DEPTH: usize = 32;

/// How many bytes filling in may still give. Variables made of variables double with every line,
/// so a small file could ask for more than any memory holds.
pub(super) struct Room(usize);

impl Default for Room {
    fn default() -> Self {
        Self(MOST_BYTES)
    }
}

/// The most bytes that the texts of one file may become.
const MOST_BYTES: usize = 4 << 20;

/// Returns the text with its variables filled in; `None` when there was nothing to fill in.
pub(super) fn interpolate(
    path: &str,
    scalar: &Scalar,
    environment: &Environment,
    room: &mut Room,
    findings: &mut Vec<Finding>,
) -> Option<String> {
    if !scalar.text.contains('$') {
        return None;
    }
    let mut unset = Vec::new();
    let mut template = Template { text: &scalar.text, environment, room, unset: &mut unset };
    let place = |range| Place::at(path, scalar.layout.span(&scalar.text, range));
    let filled = template.whole().unwrap_or_else(|problem| {
        findings.push(problem.finding(place));
        scalar.text.clone()
    });
    for (name, range) in unset {
        findings.push(
            Finding::warning(
                "compose-variable-unset",
                format!("the variable `{name}` is not set; an empty text is used"),
                place(range),
            )
            .help(format!("set `{name}` in `.env` or give a default: `${{{name}:-value}}`")),
        );
    }
    Some(filled)
}

/// Fills in a text that stands in no YAML file.
pub(super) fn fill(
    text: &str,
    environment: &Environment,
    room: &mut Room,
) -> Result<String, String> {
    let mut unset = Vec::new();
    let mut template = Template { text, environment, room, unset: &mut unset };
    template.whole().map_err(|problem| problem.message)
}

/// A text being filled in. Positions are bytes of it.
struct Template<'a> {
    text: &'a str,
    environment: &'a Environment,
    room: &'a mut Room,
    unset: &'a mut Vec<(String, std::ops::Range<usize>)>,
}

/// Why a text cannot be filled in, and which part of it is meant.
struct Problem {
    message: String,
    part: std::ops::Range<usize>,
    help: Option<String>,
}

impl Problem {
    fn finding(self, place: impl Fn(std::ops::Range<usize>) -> Place) -> Finding {
        let finding = Finding::error("compose-variable", self.message, place(self.part));
        match self.help {
            Some(help) => finding.help(help),
            None => finding,
        }
    }
}

impl Template<'_> {
    fn whole(&mut self) -> Result<String, Problem> {
        let filled = self.fill(0, self.text.len(), 0)?;
        self.room.0 -= filled.len();
        Ok(filled)
    }

    fn fill(&mut self, from: usize, to: usize, depth: usize) -> Result<String, Problem> {
        let mut filled = String::new();
        let mut at = from;
        while let Some(found) = self.text[at..to].find('$') {
            let dollar = at + found;
            self.check_room(filled.len() + found)?;
            filled.push_str(&self.text[at..dollar]);
            let rest = &self.text[dollar + 1..to];
            if rest.starts_with('$') {
                filled.push('$');
                at = dollar + 2;
            } else if rest.starts_with('{') {
                let close = self.closing_brace(dollar + 1, to)?;
                filled.push_str(&self.braced(dollar, close, depth)?);
                at = close + 1;
            } else {
                let length = name_length(rest);
                if length == 0 {
                    return Err(Problem {
                        message: "`$` is followed by no variable".into(),
                        part: dollar..dollar + 1,
                        help: Some("write `$$` for a dollar sign".into()),
                    });
                }
                at = dollar + 1 + length;
                filled.push_str(&self.value_or_empty(dollar + 1..at, dollar..at));
            }
        }
        self.check_room(filled.len() + to - at)?;
        filled.push_str(&self.text[at..to]);
        Ok(filled)
    }

    fn check_room(&self, bytes: usize) -> Result<(), Problem> {
        if bytes <= self.room.0 {
            return Ok(());
        }
        Err(Problem {
            message: format!("the variables of the file fill in more than {MOST_BYTES} bytes"),
            part: 0..self.text.len(),
            help: Some("let no variable repeat another that repeats another".into()),
        })
    }

    /// Finds the `}` that belongs to the `{` at `open`.
    fn closing_brace(&self, open: usize, to: usize) -> Result<usize, Problem> {
        let mut depth = 0;
        for (offset, byte) in self.text[open..to].bytes().enumerate() {
            match byte {
                b'{' => depth += 1,
                b'}' if depth == 1 => return Ok(open + offset),
                b'}' => depth -= 1,
                _ => {}
            }
        }
        Err(Problem {
            message: "`${` is never closed".into(),
            part: open - 1..to,
            help: Some("close it with `}`, or write `$$` for a dollar sign".into()),
        })
    }

    fn braced(&mut self, dollar: usize, close: usize, depth: usize) -> Result<String, Problem> {
        let part = dollar..close + 1;
        let start = dollar + 2;
        let length = name_length(&self.text[start..close]);
        let name = &self.text[start..start + length];
        let rest = &self.text[start + length..close];
        if length == 0 {
            return Err(Problem {
                message: format!("`{}` names no variable", &self.text[part.clone()]),
                part,
                help: Some("a name has letters, digits and `_`, and begins with no digit".into()),
            });
        }
        if rest.is_empty() {
            return Ok(self.value_or_empty(start..start + length, part));
        }
        if depth >= MAX_DEPTH {
            return Err(Problem {
                message: format!("defaults lie more than {MAX_DEPTH} deep in defaults"),
                part,
                help: None,
            });
        }
        let (colon, operator) = match rest.strip_prefix(':') {
            Some(after) => (true, after.chars().next()),
            None => (false, rest.chars().next()),
        };
        let value = self.environment.get(name);
        let is_given = value.is_some_and(|value| !(colon && value.is_empty()));
        let word = start + length + usize::from(colon) + 1;
        match operator {
            Some('-') if is_given => Ok(value.unwrap_or_default().to_owned()),
            Some('-') => self.fill(word, close, depth + 1),
            Some('+') if is_given => self.fill(word, close, depth + 1),
            Some('+') => Ok(String::new()),
            Some('?') if is_given => Ok(value.unwrap_or_default().to_owned()),
            Some('?') => {
                let name = name.to_owned();
                let said = self.fill(word, close, depth + 1)?;
                let said = if said.is_empty() { String::new() } else { format!(": {said}") };
                Err(Problem {
                    message: format!("the variable `{name}` is needed{said}"),
                    part,
                    help: Some(format!("set `{name}` in `.env` or in the environment")),
                })
            }
            _ => Err(Problem {
                message: format!("`{rest}` after the name `{name}` has no meaning"),
                part,
                help: Some("use `${NAME:-default}`, `${NAME:?message}` or `${NAME:+other}`".into()),
            }),
        }
    }

    fn value_or_empty(
        &mut self,
        name: std::ops::Range<usize>,
        part: std::ops::Range<usize>,
    ) -> String {
        let name = &self.text[name];
        let value = self.environment.get(name);
        if value.is_none() {
            self.unset.push((name.to_owned(), part));
        }
        value.unwrap_or_default().to_owned()
    }
}

fn name_length(text: &str) -> usize {
    let begins = text.bytes().next().is_some_and(|b| b == b'_' || b.is_ascii_alphabetic());
    if !begins {
        return 0;
    }
    text.bytes().take_while(|b| *b == b'_' || b.is_ascii_alphanumeric()).count()
}
