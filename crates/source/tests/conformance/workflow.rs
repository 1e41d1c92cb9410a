//! Workflows that nobody here wrote, read in place.

use std::path::{Path, PathBuf};

use serde_json::Value;
use source::workflow::{self, Limits, StepKind, Workflow};
use source::{Finding, Position};

/// The folder of public test data, if this machine has it.
fn conformance(part: &str) -> Option<PathBuf> {
    let root = std::env::var_os("MARLINE_CONFORMANCE").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/conformance"),
        PathBuf::from,
    );
    let folder = root.join(part);
    if folder.is_dir() {
        return Some(folder);
    }
    println!("skipped {part}: no test data at {}", folder.display());
    None
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("the folder was there a moment ago");
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.expect("the folder can be listed").path())
        .filter(|path| path.extension().is_some_and(|end| end == "yml" || end == "yaml"))
        .collect();
    paths.sort();
    paths
}

fn errors(findings: &[Finding]) -> Vec<String> {
    let errors = findings.iter().filter(|finding| finding.is_error());
    errors.map(|finding| format!("{} {}", finding.place, finding.message)).collect()
}

#[test]
fn real_workflows_are_read_without_an_error() {
    let Some(folder) = conformance("sample-workflows") else { return };
    for path in files(&folder) {
        let text = std::fs::read_to_string(&path).expect("a sample is UTF-8");
        let (workflow, findings) = workflow::read(&path.display().to_string(), &text);
        assert_eq!(errors(&findings), Vec::<String>::new());
        assert!(workflow.is_some_and(|workflow| !workflow.jobs.is_empty()));
    }
}

#[test]
fn workflows_that_run_elsewhere_are_read_without_an_error() {
    let Some(folder) = conformance("act-workflows") else { return };
    let expectations = std::fs::read(folder.join("expectations.json")).expect("it is listed");
    let expectations: Value = serde_json::from_slice(&expectations).expect("it is JSON");
    let rows = expectations.as_array().expect("it is a list of runs");
    let (mut read, mut refused) = (0, Vec::new());
    for row in rows.iter().filter(|row| row["expect"] == "success") {
        let dir = folder.join(row["dir"].as_str().expect("a run has a folder"));
        if !dir.is_dir() {
            continue;
        }
        for path in files(&dir) {
            let is_action = path.file_stem().is_some_and(|stem| stem == "action");
            if is_action {
                continue;
            }
            let text = std::fs::read_to_string(&path).expect("a workflow is UTF-8");
            let (_, findings) = workflow::read(&path.display().to_string(), &text);
            read += 1;
            refused.extend(errors(&findings));
        }
    }
    println!("{read} workflows read, {} errors", refused.len());
    for error in &refused {
        println!("  {error}");
    }
    assert!(read > 0);
    assert!(refused.len() <= MOST_ERRORS_IN_RUNNABLE, "{refused:#?}");
}

/// Two inputs of `workflow_call` have no `type` in a workflow that another engine runs; GitHub
/// refuses it.
const MOST_ERRORS_IN_RUNNABLE: usize = 2;

/// One case of the reader's suite.
struct Case {
    name: String,
    text: String,
    limits: Limits,
    expected: Value,
}

impl Case {
    fn read(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?.to_owned();
        let whole = std::fs::read_to_string(path).ok()?;
        let mut documents = vec![String::new()];
        for line in whole.split_inclusive('\n') {
            if line.trim_end() == "---" {
                documents.push(String::new());
            } else {
                documents.last_mut()?.push_str(line);
            }
        }
        let options = &documents[0];
        let number = |key: &str| {
            let line = options.lines().find_map(|line| line.strip_prefix(key))?;
            line.trim().parse().ok()
        };
        let mut limits = Limits::default();
        limits.depth = number("max-depth:").unwrap_or(limits.depth);
        limits.bytes = number("max-file-size:").unwrap_or(limits.bytes);
        let expected = serde_json::from_str(documents.last()?).ok()?;
        Some(Self { name, text: documents.get(1)?.clone(), limits, expected })
    }

    /// The places of the errors GitHub reports; `None` stands for the file as a whole.
    fn places(&self) -> Vec<Option<Position>> {
        let errors = self.expected["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
        errors
            .iter()
            .map(|error| {
                let message = error["Message"].as_str()?;
                let (_, rest) = message.split_once("(Line: ")?;
                let (line, rest) = rest.split_once(", Col: ")?;
                let (column, _) = rest.split_once(')')?;
                Some(Position::new(line.parse().ok()?, column.parse().ok()?))
            })
            .collect()
    }
}

/// The ids of jobs and steps, as the suite writes them.
fn ids(workflow: &Workflow) -> Vec<(String, Vec<String>)> {
    let jobs = workflow.jobs.iter().map(|job| {
        let steps = job.steps().map(|steps| steps.list.as_slice()).unwrap_or_default();
        let steps = steps.iter().filter(|step| !matches!(step.kind, StepKind::Parallel(_)));
        (job.id.value.clone(), steps.map(|step| step.id.clone()).collect())
    });
    jobs.collect()
}

fn expected_ids(expected: &Value) -> Vec<(String, Vec<String>)> {
    // With its place, an id is an object with the text in `lit`.
    let text =
        |value: &Value| value.as_str().or(value["lit"].as_str()).unwrap_or_default().to_owned();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let jobs = list(&expected["jobs"]);
    // The jobs of called workflows are listed behind their caller, under it.
    let own = jobs.iter().filter(|job| !text(&job["id"]).contains('.'));
    own.map(|job| {
        let steps = list(&job["steps"]).iter().map(|step| text(&step["id"])).collect();
        (text(&job["id"]), steps)
    })
    .collect()
}

#[test]
fn the_reader_agrees_with_github() {
    let Some(folder) = conformance("workflow-reader/reader") else { return };
    let (mut good, mut accepted, mut same_ids) = (0, 0, 0);
    let (mut bad, mut refused, mut right_place) = (0, 0, 0);
    for path in files(&folder) {
        let Some(case) = Case::read(&path) else { panic!("{} is no case", path.display()) };
        let (workflow, findings) = workflow::read_within(&case.name, &case.text, case.limits);
        let places = case.places();
        let found: Vec<&Finding> = findings.iter().filter(|finding| finding.is_error()).collect();
        if places.is_empty() {
            good += 1;
            if found.is_empty() {
                accepted += 1;
                let ids = workflow.as_ref().map(ids).unwrap_or_default();
                if ids == expected_ids(&case.expected) {
                    same_ids += 1;
                } else {
                    println!("ids {}: {ids:?}", case.name);
                }
            } else {
                println!("refused {}: {:?}", case.name, errors(&findings));
            }
            continue;
        }
        bad += 1;
        refused += usize::from(!found.is_empty());
        let has = |place: &Option<Position>| {
            found.iter().any(|finding| {
                place.is_none_or(|place| finding.place.span.is_some_and(|s| s.start == place))
            })
        };
        if places.iter().all(has) {
            right_place += 1;
        } else {
            println!("missed {}: {places:?}, found {:?}", case.name, errors(&findings));
        }
    }
    println!("good: {accepted}/{good} accepted, {same_ids} with the same ids");
    println!("bad: {refused}/{bad} refused, {right_place} at the right place");
    // Open: rules of called workflows, and what only the expression parser can say.
    assert!(accepted >= 82 && same_ids >= 82, "fewer good workflows are accepted than before");
    assert!(right_place >= 33, "fewer errors are found at their place than before");
}
