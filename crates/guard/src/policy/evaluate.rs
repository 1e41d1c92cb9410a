//! Evaluates policies behind the fence.

use std::collections::BTreeSet;
use std::num::{NonZeroU32, NonZeroUsize};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::LazyLock;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use regex::Regex;
use regorus::utils::limits::ExecutionTimerConfig;
use regorus::{Engine, PolicyLengthConfig, Value};
use source::yaml::LineIndex;
use source::{Finding, Place, Position, Span};

use super::{Evaluation, Fence, Input, NotEvaluated, PolicyFile, SYNTAX, builtin};

/// Asks every policy about `input`, and says what could not be asked.
pub fn evaluate(files: &[PolicyFile], input: &Input, fence: &Fence) -> Evaluation {
    if files.is_empty() {
        return Evaluation::default();
    }
    let document = match serde_json::to_string(input) {
        Ok(document) if document.len() <= fence.bytes => document,
        _ => {
            let why = format!("the input document is larger than {} bytes", fence.bytes);
            return Evaluation { findings: Vec::new(), not_checked: unasked(files, &why) };
        }
    };
    run(files.to_vec(), Some(document), *fence)
}

/// Reads every policy and asks none: what is wrong in the files.
pub fn read(files: &[PolicyFile], fence: &Fence) -> Evaluation {
    if files.is_empty() { Evaluation::default() } else { run(files.to_vec(), None, *fence) }
}

/// What the worker tells as it goes.
enum Told {
    /// A finding.
    Found(Finding),
    /// Something that could not be evaluated.
    NotChecked(NotEvaluated),
    /// A rule is asked; if nothing more comes, it is the one that did not end.
    Asking(Place, String),
    /// All is done.
    Done,
}

/// Reads and asks in a thread of its own, which is left behind if it does not end in time.
fn run(files: Vec<PolicyFile>, document: Option<String>, fence: Fence) -> Evaluation {
    const STACK: usize = 64 << 20;
    /// Beyond the engine's own limit: a builtin looks at no clock.
    const GRACE: Duration = Duration::from_secs(1);
    let fallback = Place::file(&files[0].path);
    let deadline = Instant::now() + fence.time + GRACE;
    let (tell, told) = mpsc::channel();
    let work = move || {
        let attempt = AssertUnwindSafe(|| worker(&files, document.as_deref(), &fence, &tell));
        if catch_unwind(attempt).is_ok() {
            let _ = tell.send(Told::Done);
        }
    };
    let spawned =
        std::thread::Builder::new().name("policy".to_owned()).stack_size(STACK).spawn(work);
    let mut evaluation = Evaluation::default();
    let mut asking = (fallback, "the policies".to_owned());
    if let Err(error) = spawned {
        let why = format!("no thread could be started: {error}");
        evaluation.not_checked.push(NotEvaluated { place: asking.0, why });
        return evaluation;
    }
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let why = match told.recv_timeout(left) {
            Ok(Told::Found(finding)) => {
                evaluation.findings.push(finding);
                continue;
            }
            Ok(Told::NotChecked(what)) => {
                evaluation.not_checked.push(what);
                continue;
            }
            Ok(Told::Asking(place, rule)) => {
                asking = (place, rule);
                continue;
            }
            Ok(Told::Done) => return evaluation,
            Err(RecvTimeoutError::Disconnected) => {
                format!("the evaluator failed at {}, a fault of its own", asking.1)
            }
            Err(RecvTimeoutError::Timeout) => {
                format!("{} took longer than {} s", asking.1, fence.time.as_secs_f64())
            }
        };
        evaluation.not_checked.push(NotEvaluated { place: asking.0, why });
        return evaluation;
    }
}

/// A rule whose answer counts.
struct Question {
    /// As Rego names it: `data.main.deny`.
    query: String,
    /// As findings name it: `policy.main.deny`.
    rule: String,
    is_warning: bool,
    place: Place,
}

fn worker(files: &[PolicyFile], document: Option<&str>, fence: &Fence, tell: &Sender<Told>) {
    let started = Instant::now();
    let say = |told| {
        // Nobody listens any more once the time is over.
        let _ = tell.send(told);
    };
    let mut engine = Engine::new();
    engine.set_gather_prints(true);
    engine.set_policy_length_config(lengths(fence));
    builtin::fence(&mut engine, fence.items);
    let mut broken = None;
    for file in files {
        say(Told::Asking(Place::file(&file.path), "reading".to_owned()));
        if let Err(finding) = add(&mut engine, file) {
            broken.get_or_insert_with(|| file.path.clone());
            say(Told::Found(finding));
        }
    }
    let Some(document) = document else { return };
    if let Some(broken) = broken {
        // A rule may ask another file's; without that it would answer wrongly, not fail.
        for what in unasked(files, &format!("`{broken}` cannot be read")) {
            say(Told::NotChecked(what));
        }
        return;
    }
    if let Err(error) = engine.set_input_json(document) {
        for what in unasked(files, &format!("the input document was refused: {error}")) {
            say(Told::NotChecked(what));
        }
        return;
    }
    let questions = match questions(&engine, files) {
        Ok(questions) => questions,
        Err(what) => return say(Told::NotChecked(what)),
    };
    for question in questions {
        say(Told::Asking(question.place.clone(), format!("`{}`", question.query)));
        let not_checked = |why: String, place: Option<Place>| {
            let place = place.unwrap_or_else(|| question.place.clone());
            say(Told::NotChecked(NotEvaluated { place, why }));
        };
        let Some(left) = fence.time.checked_sub(started.elapsed()) else {
            not_checked(
                format!("the policies took longer than {} s", fence.time.as_secs_f64()),
                None,
            );
            continue;
        };
        // Its own engine: what an error leaves behind in one cannot change the next answer.
        let mut own = engine.clone();
        own.set_execution_timer_config(ExecutionTimerConfig {
            limit: left,
            check_interval: NonZeroU32::new(128).expect("is not zero"),
        });
        match catch_unwind(AssertUnwindSafe(|| own.eval_rule(question.query.clone()))) {
            Ok(Ok(value)) => match answers(&question, &value) {
                Ok(found) => found.into_iter().for_each(|finding| say(Told::Found(finding))),
                Err(why) => not_checked(why, None),
            },
            Ok(Err(error)) => {
                let (place, why) = located(&error.to_string(), files);
                not_checked(why, place);
            }
            Err(_) => {
                not_checked(
                    format!("the evaluator failed at `{}`, a fault of its own", question.query),
                    None,
                );
            }
        }
    }
}

fn lengths(fence: &Fence) -> PolicyLengthConfig {
    PolicyLengthConfig {
        max_col: NonZeroU32::new(64 << 10).expect("is not zero"),
        max_file_bytes: NonZeroUsize::new(fence.bytes.max(1)).expect("is at least one"),
        max_lines: NonZeroUsize::new(1 << 20).expect("is not zero"),
    }
}

/// Adds a file as Rego v1, or, if it is only that, as v0.
fn add(engine: &mut Engine, file: &PolicyFile) -> Result<(), Finding> {
    engine.set_rego_v0(false);
    let Err(error) = engine.add_policy(file.path.clone(), file.text.clone()) else { return Ok(()) };
    engine.set_rego_v0(true);
    let as_v0 = engine.add_policy(file.path.clone(), file.text.clone());
    engine.set_rego_v0(false);
    if as_v0.is_ok() {
        return Ok(());
    }
    let (place, message) = located(&error.to_string(), std::slice::from_ref(file));
    let place = place.unwrap_or_else(|| Place::file(&file.path));
    Err(Finding::error(SYNTAX, message, place)
        .why("a policy that cannot be read checks nothing")
        .help("mend it; the gate holds until then"))
}

/// Takes the place and the words out of what `regorus` says about one of the files.
fn located(text: &str, files: &[PolicyFile]) -> (Option<Place>, String) {
    static FORM: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"(?s)--> (.+?):(\d+):(\d+)\n.*?\nerror: (.*)$").expect("is a pattern")
    });
    let Some(parts) = FORM.captures(text) else {
        return (None, text.lines().collect::<Vec<_>>().join(" "));
    };
    let number = |index: usize| parts[index].parse().unwrap_or(1).max(1);
    let file = files.iter().find(|file| file.path == parts[1]);
    let position = match file {
        Some(file) => position(&file.text, number(2), number(3)),
        None => Position::new(number(2), number(3)),
    };
    let place = Place::at(&parts[1], Span::at(position));
    (Some(place), parts[4].trim().replace('\n', " "))
}

/// Returns the character at a column of `regorus`, which counts bytes, and four for a tab.
fn position(text: &str, line: u32, column: u32) -> Position {
    let lines = text.split('\n').count() as u32;
    let line = line.clamp(1, lines);
    let content = text.split('\n').nth(line as usize - 1).unwrap_or_default();
    let mut before = 1;
    let mut characters = 1;
    for character in content.trim_end_matches('\r').chars() {
        before += if character == '\t' { 4 } else { character.len_utf8() as u32 };
        if before > column {
            break;
        }
        characters += 1;
    }
    Position::new(line, characters)
}

/// The rules to ask: `deny`, `violation`, `warn` and their like of every package.
fn questions(engine: &Engine, files: &[PolicyFile]) -> Result<Vec<Question>, NotEvaluated> {
    static NAMES: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"\b(?:deny|violation|warn|exception)(?:_\w+)*\b").expect("is a pattern")
    });
    let packages = engine.get_policy_package_components().map_err(|error| NotEvaluated {
        place: Place::file(&files[0].path),
        why: error.to_string(),
    })?;
    let mut questions: Vec<Question> = Vec::new();
    for file in files {
        let Some(package) = packages.iter().find(|package| package.source_file == file.path) else {
            continue;
        };
        let path = package_path(&package.components);
        let lines = LineIndex::new(&file.text);
        let mut seen = BTreeSet::new();
        for found in NAMES.find_iter(&file.text) {
            let name = found.as_str();
            let query = format!("{path}.{name}");
            if !seen.insert(name) || questions.iter().any(|question| question.query == query) {
                continue;
            }
            // The name may also stand in a comment or a text.
            let is_declared =
                engine.has_declared_rule_rooted_at(&file.path, name).map_err(|error| {
                    NotEvaluated {
                        place: Place::file(&file.path),
                        why: format!("whether there is a rule `{name}` is not known: {error}"),
                    }
                })?;
            if !is_declared {
                continue;
            }
            let start = declaration(&file.text, name).unwrap_or(found.start());
            let span = Span::new(
                lines.position(&file.text, start),
                lines.position(&file.text, start + name.len()),
            );
            let place = Place::at(&file.path, span);
            if name.starts_with("exception") {
                let why =
                    "`exception` rules are not supported; use `marline check --allow`".to_owned();
                return Err(NotEvaluated { place, why });
            }
            questions.push(Question {
                rule: format!("policy{}", query.strip_prefix("data").unwrap_or(&query)),
                query,
                is_warning: name.starts_with("warn"),
                place,
            });
        }
    }
    Ok(questions)
}

/// Where a rule of this name begins a line.
fn declaration(text: &str, name: &str) -> Option<usize> {
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let rest = line.strip_prefix(name);
        if rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_')) {
            return Some(at);
        }
        at += line.len();
    }
    None
}

fn package_path(components: &[String]) -> String {
    let mut path = String::from("data");
    for part in components {
        let is_name = !part.starts_with(|c: char| c.is_ascii_digit())
            && !part.is_empty()
            && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if is_name {
            path.push('.');
            path.push_str(part);
        } else {
            path += &format!("[{}]", serde_json::Value::from(part.as_str()));
        }
    }
    path
}

/// Turns what a rule gave into findings; an answer that is none of the forms is an error.
fn answers(question: &Question, value: &Value) -> Result<Vec<Finding>, String> {
    let value: serde_json::Value = match value {
        Value::Undefined => return Ok(Vec::new()),
        other => serde_json::from_str(&other.to_json_str().map_err(|error| error.to_string())?)
            .map_err(|error| error.to_string())?,
    };
    let items = match value {
        // A set comes as a list.
        serde_json::Value::Array(items) => items,
        serde_json::Value::Bool(false) | serde_json::Value::Null => Vec::new(),
        serde_json::Value::Object(entries) if entries.is_empty() => Vec::new(),
        other => vec![other],
    };
    items.into_iter().map(|item| answer(question, item)).collect()
}

fn answer(question: &Question, item: serde_json::Value) -> Result<Finding, String> {
    let make = if question.is_warning { Finding::warning } else { Finding::error };
    let finding = |message: String, place| make(question.rule.clone(), message, place);
    match item {
        serde_json::Value::String(message) => Ok(finding(message, question.place.clone())),
        serde_json::Value::Bool(true) => {
            Ok(finding(format!("`{}` holds", question.query), question.place.clone()))
        }
        serde_json::Value::Object(entries) => {
            let text = |key: &str| entries.get(key).and_then(serde_json::Value::as_str);
            let number = |key: &str| {
                let number = entries.get(key).and_then(serde_json::Value::as_u64);
                number.and_then(|number| u32::try_from(number).ok()).filter(|number| *number > 0)
            };
            let message = text("msg").ok_or_else(|| {
                format!("`{}` gave an object without a text `msg`", question.query)
            })?;
            let place = match (text("path").or_else(|| text("file")), number("line")) {
                (Some(path), Some(line)) => {
                    let start = Position::new(line, number("column").unwrap_or(1));
                    Place::at(path, Span::at(start))
                }
                (Some(path), None) => Place::file(path),
                (None, _) => question.place.clone(),
            };
            let mut finding = finding(message.to_owned(), place);
            finding.why = text("why").map(str::to_owned);
            finding.help = text("help").map(str::to_owned);
            Ok(finding)
        }
        other => Err(format!(
            "`{}` gave {other}; a text or an object with `msg` is understood",
            question.query
        )),
    }
}

fn unasked(files: &[PolicyFile], why: &str) -> Vec<NotEvaluated> {
    let unasked = files
        .iter()
        .map(|file| NotEvaluated { place: Place::file(&file.path), why: why.to_owned() });
    unasked.collect()
}
