//! `marline` alone: this project at a glance, and what to do next. Writes nothing.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use explain::{Standing, words};
use guard::secret::{RuleSet, Scanner};
use journal::{Journal, View};
use serde_json::json;
use source::git::{GitError, Head, Repository};
use source::project::{self, Detected, Detection, Directory, Listing as _};
use source::{Finding, render};

use super::status::state_of;
use super::timeline::{clean, one_line, paint, release_words, sign, tell};
use crate::cli::Global;
use crate::conductor::spec::{Specifications, name_of, specify};
use crate::exit::{Exit, Outcome};
use crate::project::git_failure;
use crate::state::State;
use crate::tree::Written;

/// A larger file is no workflow and no Compose file.
const LARGEST: u64 = 2 << 20;

/// How long secrets are looked for; the rest is for `marline check`.
const LOOK_FOR_SECRETS: Duration = Duration::from_millis(80);

/// Prints what is here, what is wrong, what runs, and what to do next.
pub fn run(global: &Global) -> Outcome {
    let repository = Repository::discover(&global.directory);
    let root = match &repository {
        Ok(repository) => repository.root().to_owned(),
        Err(_) => global.directory.canonicalize().unwrap_or_else(|_| global.directory.clone()),
    };
    let found = Found::look(&root);
    let (known, error) = match repository {
        Ok(repository) => match repository.head() {
            Ok(head) => (Some(Known::read(repository, head, global)), None),
            Err(error) => (None, Some(error)),
        },
        Err(error) => (None, Some(error)),
    };
    let glance = Glance { found, known, colour: global.colour() };
    if global.json {
        let mut value = glance.json();
        let mut exit = Exit::Done;
        if let Some(error) = error {
            value["help"] = json!(error.help());
            value["error"] = json!(error.to_string());
            exit = git_failure(error).exit;
        }
        tell(&format!("{value}\n"))?;
        return Ok(exit);
    }
    tell(&glance.text(error.as_ref()))?;
    match error {
        Some(error) => Err(git_failure(error)),
        None => Ok(Exit::Done),
    }
}

/// What the files say.
struct Found {
    name: String,
    detection: Detection,
    workflows: Vec<Workflow>,
    services: Specifications,
    /// What readers have to say, of workflows and Compose files.
    findings: Vec<Finding>,
    secrets: Vec<Finding>,
    /// Whether there was time to look through all files for secrets.
    looked_at_all: bool,
    files: usize,
}

/// A workflow as shown.
struct Workflow {
    path: String,
    jobs: Option<usize>,
}

impl Found {
    fn look(root: &Path) -> Self {
        let name = name_of(root);
        let listing = Directory::walk(root).ok();
        let detection =
            listing.as_ref().map(|listing| project::detect(listing)).unwrap_or_default();
        let text = |path: &str| read(&root.join(path));
        let mut findings = Vec::new();
        let mut workflows = Vec::new();
        for path in &detection.workflows {
            let Some(text) = text(path) else { continue };
            let (workflow, wrong) = source::workflow::read(path, &text);
            findings.extend(wrong);
            let jobs = workflow.map(|workflow| workflow.jobs.len());
            workflows.push(Workflow { path: path.clone(), jobs });
        }
        let written = detection.compose.iter();
        let written =
            written.filter_map(|path| Some(Written { path: path.clone(), text: text(path)? }));
        let services = specify(&name, written.collect(), || detection.clone(), &text, &[]);
        findings.extend(services.findings.iter().cloned());
        let paths = listing.map(|listing| listing.paths().clone()).unwrap_or_default();
        let files = paths.len();
        let (secrets, looked_at_all) = secrets(root, paths.into_iter().collect());
        Self { name, detection, workflows, services, findings, secrets, looked_at_all, files }
    }

    /// What it is, the most telling first: `Rust web service (axum) on port 3000, from Cargo.toml`.
    fn title(&self) -> String {
        let Some(first) = self.detection.found.first() else {
            return match self.detection.dockerfiles.first() {
                Some(dockerfile) => format!("something with a Dockerfile ({})", dockerfile.path),
                None => "nothing that Marline knows how to build".to_owned(),
            };
        };
        let port = first.port.as_ref().map_or(String::new(), |it| format!(" on port {}", it.port));
        let more = match self.detection.found.len() {
            1 => String::new(),
            count => format!(", and {} more", count - 1),
        };
        format!("{}{port}, from {}{more}", first.title(), first.from)
    }
}

/// Looks for secrets as long as there is time, where they are most likely first.
fn secrets(root: &Path, mut paths: Vec<String>) -> (Vec<Finding>, bool) {
    let started = Instant::now();
    let scanner = Scanner::new(RuleSet::built_in());
    paths.sort_by_cached_key(|path| (unlikeliness(path), path.clone()));
    let mut findings = Vec::new();
    for path in paths {
        if started.elapsed() > LOOK_FOR_SECRETS {
            return (findings, false);
        }
        let full = root.join(&path);
        let is_small = full.metadata().is_ok_and(|file| file.len() <= LARGEST);
        if let Some(content) = is_small.then(|| std::fs::read(&full).ok()).flatten() {
            findings.extend(scanner.scan(&path, &content).findings);
        }
    }
    (findings, true)
}

fn unlikeliness(path: &str) -> u8 {
    let name = path.rsplit('/').next().unwrap_or(path);
    let ends = |endings: &[&str]| {
        endings.iter().any(|ending| name.rsplit('.').next() == Some(ending) && name.contains('.'))
    };
    match () {
        () if name.starts_with(".env") || ends(&["pem", "key", "env", "tfvars"]) => 0,
        () if ends(&["yml", "yaml", "toml", "json", "ini", "cfg", "conf", "properties"]) => 1,
        () if ends(&["sh", "py", "js", "ts", "rb", "php", "go", "rs", "java"]) => 2,
        () => 3,
    }
}

fn read(path: &Path) -> Option<String> {
    let file = path.metadata().ok()?;
    if !file.is_file() || file.len() > LARGEST {
        return None;
    }
    Some(String::from_utf8_lossy(&std::fs::read(path).ok()?).into_owned())
}

/// What Git and the journal know.
struct Known {
    head: Head,
    subject: String,
    is_dirty: bool,
    journal: PathBuf,
    view: Option<View>,
    /// Why the journal that is there could not be read.
    unreadable: Option<String>,
}

impl Known {
    fn read(repository: Repository, head: Head, global: &Global) -> Self {
        let state = State::of(&repository, global.state.as_deref());
        let mut unreadable = None;
        let view = state.exists().then(|| {
            let journal = Journal::open(state.journal());
            journal.and_then(|journal| journal.view()).map_err(|error| {
                unreadable = Some(format!("{:#}", anyhow::Error::new(error)));
            })
        });
        Self {
            subject: repository.commit(&head.commit).map(|it| it.subject).unwrap_or_default(),
            is_dirty: repository.is_dirty().unwrap_or(false),
            journal: state.journal(),
            view: view.and_then(Result::ok),
            unreadable,
            head,
        }
    }
}

/// A line of the screen.
struct Row {
    standing: Standing,
    what: String,
    detail: String,
    command: &'static str,
}

struct Glance {
    found: Found,
    known: Option<Known>,
    colour: bool,
}

impl Glance {
    fn text(&self, error: Option<&GitError>) -> String {
        let name = paint(self.colour, "1", &clean(&self.found.name));
        let mut told = format!("\n  {name}  ·  {}\n", one_line(&self.found.title(), 100));
        if let Some(known) = &self.known {
            let dirty = if known.is_dirty { ", with changes not committed" } else { "" };
            let branch = known.head.branch.as_deref().unwrap_or("detached");
            let subject = one_line(&known.subject, 60);
            let at = format!("{branch} at {} “{subject}”{dirty}", known.head.commit.short());
            told += &format!("  {}\n", paint(self.colour, "2", &clean(&at)));
        }
        told.push('\n');
        let mut rows = vec![self.workflows(), self.services()];
        rows.extend(self.problems());
        rows.extend(self.secrets());
        rows.extend(self.what_runs());
        let width = |of: fn(&Row) -> &str| rows.iter().map(|row| of(row).chars().count()).max();
        let what = width(|row| &row.what).unwrap_or(0);
        let detail = width(|row| &row.detail).unwrap_or(0).min(60);
        for row in &rows {
            let sign = sign(self.colour, row.standing);
            let command = paint(self.colour, "36", row.command);
            let line = format!("  {sign} {:<what$}  {:<detail$}  {command}", row.what, row.detail);
            told += line.trim_end();
            told.push('\n');
        }
        told.push('\n');
        for line in self.would_do() {
            told += &format!("  {}\n", one_line(&line, 400));
        }
        if error.is_none() {
            told +=
                "  Nothing was changed. Everything at once: marline up · a tour: marline demo\n";
        } else {
            told += "  Nothing was changed. Marline works on commits:\n";
        }
        told
    }

    fn workflows(&self) -> Row {
        let workflows = &self.found.workflows;
        if workflows.is_empty() {
            let test = self.found.detection.found.iter().find_map(|it| it.test.as_ref());
            let detail = test.map_or("none in .github/workflows".to_owned(), |test| {
                format!("its tests would be `{}`", one_line(&test.text, 40))
            });
            return Row {
                standing: Standing::Off,
                what: "no workflow".into(),
                detail,
                command: "",
            };
        }
        let is_wrong = self.is_wrong(|path| workflows.iter().any(|it| it.path == path));
        let shown = workflows.iter().map(|workflow| {
            let name = workflow.path.rsplit('/').next().unwrap_or(&workflow.path);
            match workflow.jobs {
                Some(jobs) => format!("{name} ({})", words::count(jobs as u64, "job", "jobs")),
                None => format!("{name} (unreadable)"),
            }
        });
        Row {
            standing: if is_wrong { Standing::Failed } else { Standing::Ok },
            what: words::count(workflows.len() as u64, "workflow", "workflows"),
            detail: one_line(&shown.collect::<Vec<_>>().join(", "), 60),
            command: "marline run",
        }
    }

    fn services(&self) -> Row {
        let services = &self.found.services;
        let names: Vec<String> = match &services.project {
            Some(project) => project.services.keys().map(|name| clean(name)).collect(),
            None => Vec::new(),
        };
        let command = "marline up";
        if services.is_detected {
            let detail = match self.found.detection.services().as_slice() {
                [] => "nothing that could be started was found".to_owned(),
                [first, rest @ ..] => {
                    let more = match rest.len() {
                        0 => String::new(),
                        count => format!(" and {count} more"),
                    };
                    format!("would start {}: `{}`{more}", first.name, one_line(&first.command, 30))
                }
            };
            let can_start = !names.is_empty();
            return Row {
                standing: Standing::Off,
                what: "no Compose file".into(),
                detail: one_line(&detail, 60),
                command: if can_start { command } else { "" },
            };
        }
        let compose = &self.found.detection.compose;
        let is_wrong = self.is_wrong(|path| compose.iter().any(|it| it == path));
        Row {
            standing: if is_wrong { Standing::Failed } else { Standing::Ok },
            what: compose.first().cloned().unwrap_or_default(),
            detail: one_line(&names.join(", "), 60),
            command,
        }
    }

    fn is_wrong(&self, is_of: impl Fn(&str) -> bool) -> bool {
        let mut findings = self.found.findings.iter();
        findings.any(|finding| finding.is_error() && is_of(&finding.place.path))
    }

    fn problems(&self) -> Option<Row> {
        let worst = self.found.findings.iter().rev().max_by_key(|finding| finding.severity)?;
        if worst.severity == source::Severity::Note {
            return None;
        }
        let standing = if worst.is_error() { Standing::Failed } else { Standing::Attention };
        Some(Row {
            standing,
            what: render::summary(&self.found.findings),
            detail: one_line(&format!("{}: {}", worst.place, worst.message), 60),
            command: "marline check",
        })
    }

    fn secrets(&self) -> Option<Row> {
        let first = self.found.secrets.first()?;
        let count = words::count(self.found.secrets.len() as u64, "secret", "secrets");
        Some(Row {
            standing: Standing::Attention,
            what: if self.found.looked_at_all { count } else { format!("{count} so far") },
            detail: one_line(&format!("{}: {}", first.place, first.message), 60),
            command: "marline check",
        })
    }

    fn what_runs(&self) -> Vec<Row> {
        let Some(known) = &self.known else { return Vec::new() };
        if let Some(why) = &known.unreadable {
            return vec![Row {
                standing: Standing::Failed,
                what: "journal".into(),
                detail: one_line(&format!("{}: {why}", known.journal.display()), 100),
                command: "",
            }];
        }
        let nothing = || Row {
            standing: Standing::Off,
            what: "nothing runs".into(),
            detail: "not deployed yet".into(),
            command: "marline up",
        };
        let Some(view) = &known.view else { return vec![nothing()] };
        let mut rows: Vec<Row> = view
            .services
            .iter()
            .map(|(name, service)| {
                let (standing, word) = state_of(service, view);
                let release = service.release.as_ref();
                let release = release.map_or("no release yet".to_owned(), |release| {
                    format!("release {}", release_words(release, view))
                });
                let what = clean(name.as_str());
                let detail = one_line(&format!("{word}, {release}"), 60);
                Row { standing, what, detail, command: "marline status" }
            })
            .collect();
        if rows.is_empty() {
            rows.push(nothing());
        }
        rows.extend(view.open_incidents().map(|incident| Row {
            standing: Standing::Failed,
            what: format!("incident {}", incident.id),
            detail: one_line(&incident.title, 60),
            command: "marline why",
        }));
        let failed = view.runs.values().next_back();
        let failed = failed.filter(|run| run.conclusion == Some(journal::Conclusion::Failure));
        rows.extend(failed.map(|run| Row {
            standing: Standing::Failed,
            what: format!("run {}", run.id),
            detail: one_line(&format!("{} failed", run.name), 60),
            command: "marline why",
        }));
        rows
    }

    /// What `marline up` would do, step by step.
    fn would_do(&self) -> Vec<String> {
        let Some(known) = &self.known else { return Vec::new() };
        let commit = known.head.commit.short();
        if self.found.findings.iter().any(Finding::is_error) {
            return vec![format!(
                "`marline up` would start nothing: {} must be mended first.",
                render::summary(&self.found.findings)
            )];
        }
        let mut steps = Vec::new();
        match self.found.workflows.len() {
            0 => {}
            1 => steps.push(format!("run what {} starts on a push", self.found.workflows[0].path)),
            many => steps.push(format!("run what {many} workflows start on a push")),
        }
        steps.push(format!("check {commit}"));
        let specs = &self.found.services.services;
        if !specs.is_empty() {
            let names: Vec<String> = specs.keys().map(|name| clean(name.as_str())).collect();
            steps.push(format!("cut a release and deploy {}", words::list(&names)));
            let addresses = specs.values().flat_map(|spec| {
                let scheme = if spec.tls.is_some() { "https" } else { "http" };
                spec.listeners.iter().map(move |it| format!("{scheme}://{it}"))
            });
            let addresses: Vec<String> = addresses.collect();
            if !addresses.is_empty() {
                steps.push(format!("serve it at {}", words::list(&addresses)));
            }
        }
        steps.push("follow the branch".to_owned());
        vec![format!("`marline up` would {}.", words::list(&steps))]
    }

    fn json(&self) -> serde_json::Value {
        let found = &self.found;
        let workflows = found.workflows.iter();
        let workflows = workflows.map(|it| json!({ "path": it.path, "jobs": it.jobs }));
        let services = found.services.services.iter().map(|(name, spec)| {
            let at: Vec<String> = spec.listeners.iter().map(ToString::to_string).collect();
            json!({ "name": name, "listens": at })
        });
        let running = self.known.as_ref().and_then(|known| known.view.as_ref()).map(|view| {
            let services = view.services.iter().map(|(name, service)| {
                (
                    name.to_string(),
                    json!({ "state": state_of(service, view).1, "release": service.release }),
                )
            });
            let incidents = view.open_incidents().map(|incident| incident.id);
            json!({
                "services": services.collect::<serde_json::Map<_, _>>(),
                "incidents": incidents.collect::<Vec<_>>(),
            })
        });
        let first: Option<&Detected> = found.detection.found.first();
        json!({
            "name": found.name,
            "what": found.title(),
            "port": first.and_then(|it| it.port.as_ref()).map(|it| it.port),
            "files": found.files,
            "commit": self.known.as_ref().map(|known| json!({
                "id": known.head.commit.as_str(),
                "branch": known.head.branch,
                "subject": known.subject,
                "dirty": known.is_dirty,
            })),
            "detection": found.detection,
            "workflows": workflows.collect::<Vec<_>>(),
            "services": services.collect::<Vec<_>>(),
            "services_detected": found.services.is_detected,
            "findings": found.findings,
            "secrets": found.secrets,
            "secrets_complete": found.looked_at_all,
            "running": running,
            "would": self.would_do(),
        })
    }
}
