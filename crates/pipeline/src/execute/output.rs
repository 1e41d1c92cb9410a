//! The output of a step, line by line: commands taken out, secrets hidden.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use journal::AnnotationLevel;
use source::{Place, Position, Span};

use super::disk::Disk;
use crate::command::{self, Command, Name};
use crate::log::{Kind, Line};
use crate::mask::{MaskStream, Masker};
use crate::matcher::{self, Matchers, Problem, Scan};
use crate::report::{self, Printed};

/// How many lines of a failed step are kept with its failure.
const LAST_LINES: usize = 20;

/// How many annotations of each level a step may make.
const MAX_ANNOTATIONS: usize = 10;

/// The longest message of an annotation, in UTF-16 units as GitHub counts.
const MAX_MESSAGE: usize = 4096;

/// How many files of a step are looked at for results of tests.
const MAX_REPORTS: usize = 2000;

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
    matchers: Matchers,
    scan: Scan,
    /// The files of the job.
    pub disk: Disk,
    /// What tests print.
    pub printed: Printed,
    /// Files that the step wrote and that may hold results of tests.
    pub reports: Vec<PathBuf>,
    /// When it began.
    pub began: SystemTime,
    pub lines: Vec<Line>,
    pub effects: Vec<Effect>,
    /// Effects that wait for the end of the step.
    pub kept: Vec<Effect>,
    pub last: VecDeque<String>,
    /// The output as it comes, where it may be kept.
    pub tape: Option<Vec<u8>>,
}

impl Output {
    pub fn new(
        masker: Masker,
        matchers: Matchers,
        disk: Disk,
        step: u32,
        allow_unsecure: bool,
    ) -> Self {
        Self {
            scan: matchers.scan(),
            matchers,
            disk,
            printed: Printed::default(),
            reports: Vec::new(),
            began: SystemTime::now(),
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
            None => match self.scan.line(line) {
                Some(problem) => self.found(line, &problem),
                None => {
                    self.say(Kind::Output, line);
                    self.say_dropped();
                }
            },
        }
    }

    fn say_dropped(&mut self) {
        for owner in std::mem::take(&mut self.scan.dropped) {
            let why = "its patterns take too long on this output";
            self.say(Kind::Warning, &format!("Removing issue matcher '{owner}': {why}."));
        }
    }

    /// Shows a line in which a matcher found a problem, and annotates it.
    fn found(&mut self, line: &str, problem: &Problem) {
        let Some(level) = matcher::level(problem.severity()) else {
            return self.say(Kind::Output, line);
        };
        let file = problem.file().and_then(|file| {
            let from = problem.from_path().and_then(|from| Path::new(from).parent());
            let path = from.map_or_else(|| PathBuf::from(file), |from| from.join(file));
            self.disk.in_repository(&path)
        });
        let place = file.map(|file| match problem.line().filter(|line| *line > 0) {
            Some(line) => {
                let column = problem.column().filter(|column| *column > 0).unwrap_or(1);
                let start = Position::new(line, column);
                Place::at(file, Span::new(start, start))
            }
            None => Place::file(file),
        });
        let message = problem.message().unwrap_or_default();
        self.annotate(level, line, message, problem.code(), place);
    }

    /// Reads the file of matchers that a command names.
    fn matchers_of(&self, file: &str) -> Result<Vec<matcher::Matcher>, String> {
        let said = |why: String| format!("could not read the problem matchers in `{file}`: {why}");
        let text = self
            .disk
            .read(Path::new(file), matcher::MAX_FILE)
            .map_err(|error| said(error.to_string()))?;
        matcher::read(&text).map_err(|error| said(error.to_string()))
    }

    fn add_matcher(&mut self, command: &Command) {
        if command.data.trim().is_empty() {
            return self.say(Kind::Warning, "`add-matcher` needs the path of a file");
        }
        match self.matchers_of(command.data.trim()) {
            Ok(matchers) => {
                let owners: Vec<String> =
                    matchers.iter().map(|one| format!("'{}'", one.owner)).collect();
                self.matchers.add(matchers);
                self.say(Kind::Debug, &format!("Added matchers: {}.", owners.join(", ")));
            }
            Err(why) => self.refuse(&why),
        }
    }

    /// Removes a matcher by its owner, or those that a file names.
    fn remove_matcher(&mut self, command: &Command) {
        let owner = command.property("owner").filter(|owner| !owner.is_empty());
        let file = Some(command.data.trim()).filter(|file| !file.is_empty());
        let owners = match (owner, file) {
            (Some(_), Some(_)) => {
                let why = "`remove-matcher` takes an owner or a file, not both";
                return self.say(Kind::Warning, why);
            }
            (None, None) => {
                return self.say(Kind::Warning, "`remove-matcher` needs an owner or a file");
            }
            (Some(owner), None) => vec![owner.to_owned()],
            (None, Some(file)) => match self.matchers_of(file) {
                Ok(matchers) => matchers.into_iter().map(|one| one.owner).collect(),
                Err(why) => return self.refuse(&why),
            },
        };
        self.matchers.remove(&owners);
        self.say(Kind::Debug, &format!("Removed matchers: {}.", owners.join(", ")));
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
            Name::Error => return self.comment(AnnotationLevel::Error, &command),
            Name::Warning => return self.comment(AnnotationLevel::Warning, &command),
            Name::Notice => return self.comment(AnnotationLevel::Notice, &command),
            Name::AddMatcher => self.add_matcher(&command),
            Name::RemoveMatcher => self.remove_matcher(&command),
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

    fn comment(&mut self, level: AnnotationLevel, command: &Command) {
        let title = command.property("title");
        self.annotate(level, &command.data, &command.data, title, place(command));
    }

    /// Shows a line and keeps what it says about a file, as long as the step says little.
    fn annotate(
        &mut self,
        level: AnnotationLevel,
        line: &str,
        message: &str,
        title: Option<&str>,
        place: Option<Place>,
    ) {
        let (kind, at) = match level {
            AnnotationLevel::Error => (Kind::Error, 0),
            AnnotationLevel::Warning => (Kind::Warning, 1),
            AnnotationLevel::Notice => (Kind::Notice, 2),
        };
        self.say(kind, line);
        self.annotations[at] += 1;
        if self.annotations[at] > MAX_ANNOTATIONS {
            return;
        }
        let mut message = self.masker.mask(message);
        let mut length = 0;
        let cut = message.char_indices().find(|(_, c)| {
            length += c.len_utf16();
            length > MAX_MESSAGE
        });
        if let Some((cut, _)) = cut {
            message.truncate(cut);
        }
        self.effects.push(Effect::Annotation {
            level,
            message,
            title: title.map(|title| self.masker.mask(title)),
            place: place.map(|place| Place { path: self.masker.mask(&place.path), ..place }),
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

    /// Notes a file that the step wrote, if it may hold results of tests.
    pub fn wrote(&mut self, path: &Path) {
        if self.reports.len() < MAX_REPORTS && report::may_be_report(path) {
            self.reports.push(path.to_owned());
        }
    }

    fn show(&mut self, kind: Kind, text: &str) {
        if matches!(kind, Kind::Output | Kind::Error | Kind::Warning | Kind::Notice) {
            self.printed.line(text);
        }
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

/// Where an annotation points, by GitHub's rules: an end without a beginning is the beginning, columns
/// count only within one line, and an end before its beginning was not said.
fn place(command: &Command) -> Option<Place> {
    let path = command.property("file").filter(|path| !path.is_empty())?;
    let number = |name: &str| -> Option<u32> {
        command.property(name)?.trim().parse().ok().filter(|number| *number > 0)
    };
    let (line, end_line) = (number("line").or(number("endLine")), number("endLine"));
    let Some(line) = line else {
        return Some(Place::file(path));
    };
    let end_line = end_line.filter(|end| *end >= line).unwrap_or(line);
    let (column, end_column) = if line == end_line {
        let column = number("col").or(number("endColumn")).unwrap_or(1);
        (column, number("endColumn").filter(|end| *end >= column).unwrap_or(column))
    } else {
        (1, 1)
    };
    let start = Position::new(line, column);
    Some(Place::at(path, Span::new(start, Position::new(end_line, end_column))))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn output(masker: Masker) -> Output {
        Output::new(masker, Matchers::default(), Disk::default(), 1, false)
    }

    fn read(pieces: &[&str]) -> Output {
        let mut output = output(Masker::default());
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
    fn an_annotation_has_at_most_4096_units_and_a_place_that_can_be() {
        let place = |properties: &str| {
            let long = "\u{1f600}".repeat(3000);
            let output = read(&[&format!("::error file=a.c,{properties}::{long}\n")]);
            let Effect::Annotation { place: Some(place), message, .. } = &output.effects[0] else {
                panic!("{:?}", output.effects[0]);
            };
            assert_eq!(message.encode_utf16().count(), 4096);
            let span = place
                .span
                .map(|span| (span.start.line, span.start.column, span.end.line, span.end.column));
            span.unwrap_or_default()
        };
        assert_eq!(place("line=3,endLine=3,col=2,endColumn=7"), (3, 2, 3, 7));
        assert_eq!(place("endLine=4"), (4, 1, 4, 1));
        assert_eq!(place("line=4,endColumn=6"), (4, 6, 4, 6));
        assert_eq!(place("line=4,endLine=2"), (4, 1, 4, 1));
        assert_eq!(place("line=4,endLine=6,col=2"), (4, 1, 6, 1));
        assert_eq!(place("line=4,col=5,endColumn=2"), (4, 5, 4, 5));
        assert_eq!(place("line=x,col=5"), (0, 0, 0, 0));
    }

    #[test]
    fn variables_are_not_set_by_a_line_of_output() {
        let output = read(&["::set-env name=A::b\n"]);
        assert!(matches!(output.effects.as_slice(), [Effect::Refused(_)]));
    }

    #[test]
    fn a_line_too_long_to_hold_is_shown_with_its_secrets_hidden() {
        let masker = Masker::new(["sesame!"]);
        let mut output = output(masker);
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
