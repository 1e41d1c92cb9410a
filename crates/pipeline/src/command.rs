//! Workflow commands: what a step says about itself on its output.
//!
//! `::name key=value,key=value::data` at the start of a line, or the older
//! `##[name key=value;key=value]data` anywhere in it. Reading a line is pure.

/// A command that a line of output gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// What it asks for.
    pub name: Name,
    /// Its properties, as written.
    pub properties: Vec<(String, String)>,
    /// What follows.
    pub data: String,
}

/// What a command asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Name {
    /// `add-mask`: hide a text from now on.
    AddMask,
    /// `add-matcher`: find problems in the output.
    AddMatcher,
    /// `add-path`: refused, as GitHub refuses it.
    AddPath,
    /// `debug`.
    Debug,
    /// `echo`: whether commands are shown.
    Echo,
    /// `endgroup`.
    EndGroup,
    /// `error`.
    Error,
    /// `group`.
    Group,
    /// `notice`.
    Notice,
    /// `remove-matcher`.
    RemoveMatcher,
    /// `save-state`.
    SaveState,
    /// `set-env`: refused, as GitHub refuses it.
    SetEnv,
    /// `set-output`.
    SetOutput,
    /// `stop-commands`: take no command until the token comes.
    StopCommands,
    /// `warning`.
    Warning,
}

const NAMES: &[(&str, Name)] = &[
    ("add-mask", Name::AddMask),
    ("add-matcher", Name::AddMatcher),
    ("add-path", Name::AddPath),
    ("debug", Name::Debug),
    ("echo", Name::Echo),
    ("endgroup", Name::EndGroup),
    ("error", Name::Error),
    ("group", Name::Group),
    ("notice", Name::Notice),
    ("remove-matcher", Name::RemoveMatcher),
    ("save-state", Name::SaveState),
    ("set-env", Name::SetEnv),
    ("set-output", Name::SetOutput),
    ("stop-commands", Name::StopCommands),
    ("warning", Name::Warning),
];

impl Command {
    /// Reads a line; none if it gives no command.
    pub fn parse(line: &str) -> Option<Self> {
        Self::parse_colons(line).or_else(|| Self::parse_brackets(line))
    }

    /// The value of a property, ignoring case; the last one counts.
    pub fn property(&self, name: &str) -> Option<&str> {
        self.properties
            .iter()
            .rev()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    fn parse_colons(line: &str) -> Option<Self> {
        let rest = line.trim_start().strip_prefix("::")?;
        let (head, data) = rest.split_once("::")?;
        let (name, properties) = head.split_once(' ').unwrap_or((head, ""));
        Some(Self {
            name: name_of(name)?,
            properties: read_properties(properties.trim(), ',', PROPERTY_ESCAPES),
            data: unescape(data, DATA_ESCAPES),
        })
    }

    fn parse_brackets(line: &str) -> Option<Self> {
        let start = line.find("##[")?;
        let (head, data) = line[start + 3..].split_once(']')?;
        let (name, properties) = head.split_once(' ').unwrap_or((head, ""));
        Some(Self {
            name: name_of(name)?,
            properties: read_properties(properties, ';', BRACKET_ESCAPES),
            data: unescape(data, BRACKET_ESCAPES),
        })
    }
}

/// Whether a line ends what `::stop-commands::token` began.
pub fn resumes(line: &str, token: &str) -> bool {
    let line = line.trim_start();
    let colons = line
        .strip_prefix("::")
        .and_then(|rest| rest.split_once("::"))
        .is_some_and(|(head, _)| head.split(' ').next() == Some(token));
    let brackets = line.find("##[").is_some_and(|start| {
        line[start + 3..]
            .split_once(']')
            .is_some_and(|(head, _)| head.split(' ').next() == Some(token))
    });
    !token.is_empty() && (colons || brackets)
}

fn name_of(name: &str) -> Option<Name> {
    NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, name)| *name)
}

type Escapes = &'static [(&'static str, &'static str)];

// `%25` is last, so that an escaped percent sign never makes a new escape.
const DATA_ESCAPES: Escapes = &[("%0D", "\r"), ("%0A", "\n"), ("%25", "%")];
const PROPERTY_ESCAPES: Escapes =
    &[("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")];
const BRACKET_ESCAPES: Escapes =
    &[("%3B", ";"), ("%0D", "\r"), ("%0A", "\n"), ("%5D", "]"), ("%25", "%")];

fn unescape(text: &str, escapes: Escapes) -> String {
    if !text.contains('%') {
        return text.to_owned();
    }
    escapes.iter().fold(text.to_owned(), |text, (escaped, plain)| text.replace(escaped, plain))
}

fn read_properties(text: &str, separator: char, escapes: Escapes) -> Vec<(String, String)> {
    text.split(separator)
        .filter_map(|property| {
            // Leading signs are no name, as GitHub drops empty pieces before it counts them.
            let (name, value) = property.trim_start_matches('=').split_once('=')?;
            (!value.is_empty()).then(|| (name.trim().to_owned(), unescape(value, escapes)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Read = Option<(Name, Vec<(String, String)>, String)>;

    fn read(line: &str) -> Read {
        Command::parse(line).map(|command| (command.name, command.properties, command.data))
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_command_ends_at_the_second_colons() {
        assert_eq!(
            read("::set-output name=x::a::b"),
            Some((Name::SetOutput, pairs(&[("name", "x")]), "a::b".to_owned()))
        );
        assert_eq!(read("::error::foo::bar"), Some((Name::Error, vec![], "foo::bar".to_owned())));
    }

    #[test]
    fn a_property_may_hold_an_equals_sign() {
        assert_eq!(
            read("::warning file=a.c,title=k=v::msg"),
            Some((Name::Warning, pairs(&[("file", "a.c"), ("title", "k=v")]), "msg".to_owned()))
        );
    }

    #[test]
    fn blanks_before_a_command_and_case_do_not_matter() {
        assert_eq!(
            read("   ::Add-Mask::hunter2"),
            Some((Name::AddMask, vec![], "hunter2".to_owned()))
        );
        assert_eq!(read("say ::add-mask::x"), None);
    }

    #[test]
    fn brackets_are_found_anywhere() {
        assert_eq!(
            read("2026 ##[error file=a%3Bb;line=2]x%5Dy"),
            Some((Name::Error, pairs(&[("file", "a;b"), ("line", "2")]), "x]y".to_owned()))
        );
    }

    #[test]
    fn an_escaped_percent_sign_makes_no_new_escape() {
        let (_, _, data) = read("::notice::a%250Ab%0Ac").expect("is a command");
        assert_eq!(data, "a%0Ab\nc");
    }

    #[test]
    fn commands_resume_at_their_token() {
        assert!(resumes("::tok::", "tok"));
        assert!(resumes("  ::tok::rest", "tok"));
        assert!(!resumes("::other::", "tok"));
        assert!(!resumes("::::", ""));
    }

    proptest! {
        #[test]
        fn any_line_is_a_command_or_not(line in "(::|##\\[|error|add-mask| |=|,|;|%|\\]|\\PC){0,20}") {
            let _ = Command::parse(&line);
            let _ = resumes(&line, "error");
        }

        #[test]
        fn data_comes_back_as_it_was_escaped(data in "[ -~\r\n]{0,30}") {
            let escaped = data.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
            let command = Command::parse(&format!("::notice::{escaped}")).expect("is a command");
            prop_assert_eq!(command.data, data);
        }
    }
}
