//! Workflows that nobody here wrote, read in place.

use std::path::Path;

use scoreboard::Suite;
use serde_json::{Value, json};
use source::Finding;
use source::workflow::{self, Files, Limits, Loaded, Options, Policy, Reference, Telling};

fn errors(findings: &[Finding]) -> Result<(), String> {
    let errors = findings.iter().filter(|finding| finding.is_error());
    let errors: Vec<String> =
        errors.map(|finding| format!("{} {}", finding.place, finding.message)).collect();
    if errors.is_empty() { Ok(()) } else { Err(errors.join("\n")) }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).expect("a workflow is UTF-8")
}

#[test]
fn sample_workflows_are_read_without_an_error() {
    let Some(folder) = scoreboard::data("sample-workflows", "sample-workflows") else { return };
    let mut suite = Suite::new("sample-workflows");
    for path in scoreboard::files(&folder, &["yml", "yaml"]) {
        let (workflow, findings) = workflow::read(&name(&path), &read(&path));
        let has_jobs = workflow.is_some_and(|workflow| !workflow.jobs.is_empty());
        let outcome = errors(&findings).and(has_jobs.then_some(()).ok_or("no jobs".to_owned()));
        suite.case(name(&path), outcome);
    }
    suite.must_pass(100.0);
}

#[test]
fn act_workflows_are_read_without_an_error() {
    let Some(folder) = scoreboard::data("act-workflows-read", "act-workflows") else { return };
    let mut suite = Suite::new("act-workflows-read");
    let expectations = read(&folder.join("expectations.json"));
    let rows: Vec<Value> = serde_json::from_str(&expectations).expect("it is a list of runs");
    let mut dirs: Vec<&str> = rows
        .iter()
        .filter(|row| row["expect"] == "success")
        .filter_map(|row| row["dir"].as_str())
        .collect();
    dirs.sort_unstable();
    dirs.dedup();
    for dir in dirs {
        for path in scoreboard::files(&folder.join(dir), &["yml", "yaml"]) {
            // Below the folder of a workflow there are actions.
            let is_workflow = path.parent() == Some(&folder.join(dir))
                && path.file_stem().is_some_and(|stem| stem != "action");
            if !is_workflow {
                continue;
            }
            let case = format!("{dir}/{}", name(&path));
            let text = read(&path);
            let (_, findings) = workflow::read(&case, &text);
            let refused_there = findings.iter().any(|finding| {
                finding.is_error() && finding.message == "Required property is missing: type"
            });
            if refused_there {
                suite.exclude(case, "an input of `workflow_call` has no `type`: GitHub refuses it");
            } else {
                suite.case(case, errors(&findings));
            }
        }
    }
    suite.must_pass(100.0);
}

/// One case of the reader's suite.
struct Case {
    path: String,
    text: String,
    called: Vec<(String, String)>,
    options: Options,
    telling: Telling,
    expected: Value,
}

impl Case {
    fn read(path: &Path) -> Result<Self, String> {
        let whole = read(path);
        let mut documents = vec![String::new()];
        for line in whole.split_inclusive('\n') {
            if line.trim_end() == "---" {
                // The line break before the line of dashes belongs to it.
                let before = documents.last_mut().expect("there is one");
                before.truncate(before.strip_suffix('\n').unwrap_or(before).len());
                documents.push(String::new());
            } else {
                documents.last_mut().expect("there is one").push_str(line);
            }
        }
        let [settings, text, called @ .., expected] = documents.as_slice() else {
            return Err("it has fewer than three documents".to_owned());
        };
        let expected: Value = serde_json::from_str(expected).map_err(|why| why.to_string())?;
        let setting = |key: &str| {
            let mut lines = settings.lines().map(|line| line.split('#').next().unwrap_or_default());
            lines.find_map(|line| Some(line.trim().strip_prefix(key)?.strip_prefix(':')?.trim()))
        };
        let number = |key: &str| setting(key).and_then(|value| value.parse::<usize>().ok());
        // A list of names below `skip:`.
        let skips = |language: &str| {
            settings.lines().any(|line| {
                let item = line.trim().strip_prefix('-').map(str::trim);
                item.is_some_and(|item| item.eq_ignore_ascii_case(language))
            })
        };
        let is_for_language_server = skips("C#") && skips("Go");
        let standard = Limits::default();
        let limits = Limits {
            bytes: number("max-file-size").unwrap_or(standard.bytes),
            depth: number("max-depth").unwrap_or(standard.depth),
            result: number("max-result-size").unwrap_or(standard.result),
            jobs: number("max-job-limit"),
            call_depth: number("max-nested-reusable-workflows-depth")
                .unwrap_or(standard.call_depth),
            files: number("max-files").unwrap_or(standard.files),
            ..standard
        };
        // One case says what is said where anchors are switched off.
        let anchors = !expected.to_string().contains("Anchors are not currently supported");
        let options = Options {
            limits,
            policy: match setting("permissions-policy") {
                Some("LimitedRead") => Policy::LimitedRead,
                _ => Policy::Write,
            },
            anchors,
            background_steps: setting("allowBackgroundSteps") == Some("true"),
            calls: setting("skip-reusable-workflows") != Some("true"),
            strict_events: is_for_language_server,
        };
        Ok(Self {
            path: format!(".github/workflows/{}", name(path)),
            text: text.clone(),
            called: called
                .chunks(2)
                .filter_map(|pair| Some((pair.first()?.trim().to_owned(), pair.get(1)?.clone())))
                .collect(),
            options,
            telling: Telling {
                places: setting("include-source") != Some("false") && !is_for_language_server,
                events: is_for_language_server,
            },
            expected,
        })
    }

    /// What is read, in the shape of the suite.
    fn outcome(&self) -> Value {
        let loaded: Loaded = workflow::load(&self.path, &self.text, self, &self.options);
        match loaded.summary(self.telling) {
            Some(summary) => summary,
            None => {
                let errors = loaded.refusals.iter().map(|line| json!({ "Message": line }));
                json!({ "errors": errors.collect::<Vec<_>>() })
            }
        }
    }
}

impl Files for Case {
    fn text(&self, reference: &Reference) -> Result<String, String> {
        let wanted = reference.to_string();
        let is_it = |name: &str| name == wanted || name.trim_start_matches("./") == wanted;
        let found = self.called.iter().find(|(name, _)| is_it(name));
        found.map(|(_, text)| text.clone()).ok_or_else(|| format!("the case has no {wanted}"))
    }
}

/// Numbers compare by value, and a list without items is no list.
fn normal(value: &Value) -> Value {
    match value {
        Value::Number(number) => json!(number.as_f64()),
        Value::Array(items) => items.iter().map(normal).collect(),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| (name.clone(), normal(value)));
            Value::Object(fields.collect())
        }
        other => other.clone(),
    }
}

/// The first place where two values differ.
fn difference(at: &str, got: &Value, expected: &Value) -> Option<String> {
    match (got, expected) {
        (Value::Object(ours), Value::Object(theirs)) => {
            let mut names: Vec<&String> = ours.keys().chain(theirs.keys()).collect();
            names.sort_unstable();
            names.dedup();
            names.into_iter().find_map(|name| {
                let (ours, theirs) = (ours.get(name), theirs.get(name));
                match (ours, theirs) {
                    (Some(ours), Some(theirs)) => difference(&format!("{at}.{name}"), ours, theirs),
                    (ours, theirs) => Some(format!(
                        "{at}.{name}: got {}, expected {}",
                        ours.map_or("nothing".to_owned(), Value::to_string),
                        theirs.map_or("nothing".to_owned(), Value::to_string)
                    )),
                }
            })
        }
        (Value::Array(ours), Value::Array(theirs)) if ours.len() == theirs.len() => {
            let pairs = ours.iter().zip(theirs).enumerate();
            pairs.into_iter().find_map(|(index, (ours, theirs))| {
                difference(&format!("{at}[{index}]"), ours, theirs)
            })
        }
        _ if got == expected => None,
        _ => Some(format!("{at}: got {got}, expected {expected}")),
    }
}

#[test]
fn workflow_reader() {
    let Some(folder) = scoreboard::data("workflow-reader", "workflow-reader/reader") else {
        return;
    };
    let mut suite = Suite::new("workflow-reader");
    for path in scoreboard::files(&folder, &["yml", "yaml"]) {
        let outcome = Case::read(&path).and_then(|case| {
            match difference("", &normal(&case.outcome()), &normal(&case.expected)) {
                Some(difference) => Err(difference),
                None => Ok(()),
            }
        });
        suite.case(name(&path), outcome);
    }
    suite.must_pass(100.0);
}
