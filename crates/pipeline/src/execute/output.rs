//! The output of a step, line by line: commands taken out, secrets hidden.

use std::collections::VecDeque;
use std::time::{SystemTime, UNIX_EPOCH};

use journal::AnnotationLevel;
use source::{Place, Position, Span};

use crate::command::{self, Command, Name};
use crate::log::{Kind, Line};
use crate::mask::{MaskStream, Masker};

/// How many lines of a failed step are kept with its failure.
const LAST_LINES: usize = 20;

/// How many annotations of each level a step may make.
const MAX_ANNOTATIONS: usize = 10;

/// The longest message of an annotation.
const MAX_MESSAGE: usize = 4096;

/// The longest line that is looked at for commands; what is longer is shown as it comes.
const MAX_LINE: usize = 1 << 20;

/// What a line asked for beyond being shown.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Effect {
    Annotation {
        level: AnnotationLevel,
        message: String,
        title: Option<String>,
        place: Option<Place>,
    },
    Output(String, String),
    State(String, String),
    Env(String, String),
    Path(String),
    /// A command that is not allowed, so that the step fails.
    Refused(String),
}

/// Reads the output of a step.
#[derive(Debug)]
pub(super) struct Output {
    masker: Masker,
    step: u32,
    pending: Vec<u8>,
    /// Set while a line is being shown that is too long to hold.
    long: Option<MaskStream>,
    /// The token that ends `stop-commands`.
    stopped: Option<String>,
    echo: bool,
    allow_unsecure: bool,
    annotations: [usize; 3],
    pub lines: Vec<Line>,
    pub effects: Vec<Effect>,
    /// Effects that wait for the end of the step.
    pub kept: Vec<Effect>,
    pub last: VecDeque<String>,
    /// The output as it comes, where it may be kept.
    pub tape: Option<Vec<u8>>,
}

impl Output {
    pub fn new(masker: Masker, step: u32, allow_unsecure: bool) -> Self {
        Self {
            masker,
            step,
            pending: Vec::new(),
            long: None,
            stopped: None,
            echo: false,
            allow_unsecure,
            annotations: [0; 3],
            lines: Vec::new(),
            effects: Vec::new(),
            kept: Vec::new(),
            last: VecDeque::new(),
            tape: None,
        }
    }

    pub fn step(&self) -> u32 {
        self.step
    }

    /// Takes a piece of output.
    pub fn push(&mut self, mut piece: &[u8]) {
        if let Some(tape) = &mut self.tape {
            tape.extend_from_slice(piece);
            if tape.len() > super::replayed::MOST_OUTPUT {
                self.tape = None;
            }
        }
        while let Some(end) = memchr::memchr(b'\n', piece) {
            self.pending.extend_from_slice(&piece[..end]);
            piece = &piece[end + 1..];
            self.end_line();
        }
        self.pending.extend_from_slice(piece);
        if self.pending.len() > MAX_LINE {
            let pending = std::mem::take(&mut self.pending);
            let masker = &self.masker;
            let shown = self.long.get_or_insert_with(|| masker.stream()).push(&pending);
            self.show(Kind::Output, &String::from_utf8_lossy(&shown));
        }
    }

    /// Takes the end of the output.
    pub fn finish(&mut self) {
        if !self.pending.is_empty() || self.long.is_some() {
            self.end_line();
        }
    }

    fn end_line(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        if let Some(mut long) = self.long.take() {
            let mut shown = long.push(&pending);
            shown.extend(long.finish());
            self.show(Kind::Output, &String::from_utf8_lossy(&shown));
            return;
        }
        let line = String::from_utf8_lossy(&pending);
        self.line(line.strip_suffix('\r').unwrap_or(&line));
        // The buffer is used again, unless a huge line made it huge.
        if pending.capacity() < 64 * 1024 {
            self.pending = pending;
            self.pending.clear();
        }
    }

    fn line(&mut self, line: &str) {
        if let Some(token) = &self.stopped {
            if command::resumes(line, token) {
                self.stopped = None;
            }
            return self.say(Kind::Output, line);
        }
        match Command::parse(line) {
            Some(command) => self.obey(line, command),
            None => self.say(Kind::Output, line),
        }
    }

    fn obey(&mut self, line: &str, command: Command) {
        match command.name {
            Name::AddMask => self.masker.add(&command.data),
            Name::StopCommands => {
                let token = command.data.trim();
                if token.is_empty() || token.contains(['\n', ']', ':']) {
                    return self.refuse("`stop-commands` needs a token of its own");
                }
                self.stopped = Some(token.to_owned());
                return self.say(Kind::Output, line);
            }
            Name::Echo => match command.data.trim().to_ascii_lowercase().as_str() {
                "on" => self.echo = true,
                "off" => self.echo = false,
                _ => return self.refuse("`echo` takes on or off"),
            },
            Name::Group => return self.say(Kind::Group, &command.data),
            Name::EndGroup => return self.say(Kind::EndGroup, ""),
            Name::Debug => return self.say(Kind::Debug, &command.data),
            Name::Error => return self.annotate(AnnotationLevel::Error, &command),
            Name::Warning => return self.annotate(AnnotationLevel::Warning, &command),
            Name::Notice => return self.annotate(AnnotationLevel::Notice, &command),
            Name::AddMatcher | Name::RemoveMatcher => {
                self.say(
                    Kind::Warning,
                    "problem matchers are not supported yet; this one does nothing",
                );
            }
            Name::SetOutput | Name::SaveState | Name::SetEnv => {
                let Some(name) = command.property("name").map(str::to_owned) else {
                    return self.refuse("the command needs a `name`");
                };
                let effect = match command.name {
                    Name::SetOutput => Effect::Output(name, command.data),
                    Name::SaveState => Effect::State(name, command.data),
                    _ if self.allow_unsecure => Effect::Env(name, command.data),
                    _ => return self.refuse(UNSECURE),
                };
                self.effects.push(effect);
            }
            Name::AddPath if self.allow_unsecure => self.effects.push(Effect::Path(command.data)),
            Name::AddPath => return self.refuse(UNSECURE),
        }
        if self.echo {
            self.say(Kind::Output, line);
        }
    }

    fn refuse(&mut self, why: &str) {
        self.say(Kind::Error, why);
        self.effects.push(Effect::Refused(why.to_owned()));
    }

    fn annotate(&mut self, level: AnnotationLevel, command: &Command) {
        let (kind, at) = match level {
            AnnotationLevel::Error => (Kind::Error, 0),
            AnnotationLevel::Warning => (Kind::Warning, 1),
            AnnotationLevel::Notice => (Kind::Notice, 2),
        };
        self.say(kind, &command.data);
        self.annotations[at] += 1;
        if self.annotations[at] > MAX_ANNOTATIONS {
            return;
        }
        let mut message = self.masker.mask(&command.data);
        if message.len() > MAX_MESSAGE {
            let cut = (0..=MAX_MESSAGE).rev().find(|at| message.is_char_boundary(*at));
            message.truncate(cut.unwrap_or(0));
        }
        self.effects.push(Effect::Annotation {
            level,
            message,
            title: command.property("title").map(|title| self.masker.mask(title)),
            place: place(command)
                .map(|place| Place { path: self.masker.mask(&place.path), ..place }),
        });
    }

    /// Shows a text of Marline's own or of the step, secrets hidden, in as many lines as it has.
    pub fn say(&mut self, kind: Kind, text: &str) {
        let masked = self.masker.mask(text);
        if masked.contains('\n') {
            for line in masked.lines() {
                self.show(kind, line);
            }
        } else {
            self.show(kind, &masked);
        }
    }

    fn show(&mut self, kind: Kind, text: &str) {
        if !matches!(kind, Kind::Command | Kind::EndGroup | Kind::Debug) && !text.trim().is_empty()
        {
            if self.last.len() == LAST_LINES {
                self.last.pop_front();
            }
            self.last.push_back(text.chars().take(2000).collect());
        }
        self.lines.push(Line { at: now(), step: self.step, kind, text: text.to_owned() });
    }
}

const UNSECURE: &str =
    "`set-env` and `add-path` are disabled, as on GitHub; write to $GITHUB_ENV or $GITHUB_PATH";

/// Milliseconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, super::milliseconds)
}

/// Where an annotation points; what is no line number counts as not said.
fn place(command: &Command) -> Option<Place> {
    let path = command.property("file").filter(|path| !path.is_empty())?;
    let number = |name: &str| -> Option<u32> {
        command.property(name)?.trim().parse().ok().filter(|number| *number > 0)
    };
    let Some(line) = number("line") else {
        return Some(Place::file(path));
    };
    let end_line = number("endLine").filter(|end| *end >= line).unwrap_or(line);
    let column = number("col").unwrap_or(1);
    let end_column = number("endColumn").unwrap_or(column);
    let start = Position::new(line, column);
    let end = Position::new(end_line, end_column).max(start);
    Some(Place::at(path, Span::new(start, end)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(pieces: &[&str]) -> Output {
        let mut output = Output::new(Masker::default(), 1, false);
        for piece in pieces {
            output.push(piece.as_bytes());
        }
        output.finish();
        output
    }

    fn texts(output: &Output) -> Vec<&str> {
        output.lines.iter().map(|line| line.text.as_str()).collect()
    }

    #[test]
    fn a_mask_hides_what_follows_and_is_not_shown() {
        let output = read(&["   ::add-mask::hunter2\nit is hun", "ter2\n"]);
        assert_eq!(texts(&output), ["it is ***"]);
    }

    #[test]
    fn stopped_commands_are_only_shown() {
        let output =
            read(&["::stop-commands::tok\n::add-mask::abc\nabc\n::tok::\n::add-mask::abc\nabc"]);
        assert_eq!(
            texts(&output),
            ["::stop-commands::tok", "::add-mask::abc", "abc", "::tok::", "***"]
        );
    }

    #[test]
    fn annotations_have_a_place_and_a_limit() {
        let line = "::warning file=a.c,line=3,col=5,title=T::careful\n";
        let output = read(&[&line.repeat(12)]);
        assert_eq!(output.effects.len(), 10);
        let Effect::Annotation { place, title, message, .. } = &output.effects[0] else {
            panic!("{:?}", output.effects[0]);
        };
        assert_eq!(place.as_ref().map(ToString::to_string).as_deref(), Some("a.c:3:5"));
        assert_eq!((title.as_deref(), message.as_str()), (Some("T"), "careful"));
        assert_eq!(output.lines.len(), 12);
    }

    #[test]
    fn variables_are_not_set_by_a_line_of_output() {
        let output = read(&["::set-env name=A::b\n"]);
        assert!(matches!(output.effects.as_slice(), [Effect::Refused(_)]));
    }

    #[test]
    fn a_line_too_long_to_hold_is_shown_with_its_secrets_hidden() {
        let masker = Masker::new(["sesame!"]);
        let mut output = Output::new(masker, 1, false);
        let piece = format!("{}ses", "x".repeat(MAX_LINE));
        output.push(piece.as_bytes());
        output.push(b"ame! end\nnext");
        output.finish();
        let all = texts(&output).concat();
        assert!(all.ends_with("*** endnext") && !all.contains("ame!"));
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(text in "([a-c]|::|\n|\r\n|add-mask|error|\\PC){0,40}", cut in 0usize..40) {
            let cut = (0..=cut.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            let whole = read(&[&text]);
            let halves = read(&[&text[..cut], &text[cut..]]);
            prop_assert_eq!(texts(&whole), texts(&halves));
            prop_assert_eq!(&whole.effects, &halves.effects);
        }
    }
}
