//! An explanation as text for developers or managers, and as JSON.

use std::fmt::Write as _;

use crate::words;
use crate::{Explanation, Line, Next};

/// Who reads an explanation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Audience {
    /// Exact numbers, log lines and commands.
    #[default]
    Developer,
    /// At most eighty plain words.
    Manager,
}

impl std::str::FromStr for Audience {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "dev" | "developer" => Ok(Self::Developer),
            "manager" => Ok(Self::Manager),
            _ => Err(format!("`{text}` is neither `dev` nor `manager`")),
        }
    }
}

/// Returns an explanation as plain text for a terminal, without colour.
pub fn text(explanation: &Explanation, audience: Audience) -> String {
    match audience {
        Audience::Developer => for_developer(explanation),
        Audience::Manager => for_manager(explanation),
    }
}

/// Returns an explanation as a JSON value.
pub fn json(explanation: &Explanation) -> serde_json::Value {
    let mut value =
        serde_json::to_value(explanation).expect("explanations hold only what JSON can say");
    value["about"] = explanation.subject.to_string().into();
    value["page"] = explanation.subject.path().into();
    value["manager"] = for_manager(explanation).into();
    value
}

/// Returns the few plain sentences for people who do not read logs.
pub fn for_manager(explanation: &Explanation) -> String {
    let sentences: Vec<&str> =
        explanation.for_manager.iter().map(|line| line.text.as_str()).collect();
    sentences.join(" ")
}

fn for_developer(explanation: &Explanation) -> String {
    let mut text = format!("{}\n", explanation.sentence);
    if let Some(cause) = &explanation.cause {
        section(&mut text, "Why");
        let _ = write!(text, "{} ({})", words::sentence_case(&cause.text), cause.certainty);
    }
    lines(&mut text, "Evidence", &explanation.evidence);
    lines(&mut text, "Also", &explanation.also_possible);
    lines(&mut text, "Changed", &explanation.changed);
    lines(&mut text, "Affected", &explanation.affected);
    lines(&mut text, "Done", &explanation.done);
    steps(&mut text, &explanation.next);
    text.push('\n');
    text
}

/// Begins a section: its name in a column of its own.
fn section(text: &mut String, name: &str) {
    let _ = write!(text, "\n  {name:<9} ");
}

fn lines(text: &mut String, name: &str, lines: &[Line]) {
    for (index, line) in lines.iter().enumerate() {
        section(text, if index == 0 { name } else { "" });
        if line.is_quote {
            text.push_str("│ ");
        }
        text.push_str(&line.text);
        if let Some(place) = &line.place
            && !line.text.contains(&place.path)
        {
            let _ = write!(text, "  {place}");
        }
    }
}

fn steps(text: &mut String, next: &[Next]) {
    for (index, step) in next.iter().enumerate() {
        section(text, if index == 0 { "Next" } else { "" });
        match &step.command {
            Some(command) => {
                let _ = write!(text, "{command}");
                let _ = write!(text, "   {}", words::full_stop(&words::sentence_case(&step.text)));
            }
            None => text.push_str(&words::full_stop(&words::sentence_case(&step.text))),
        }
    }
}
