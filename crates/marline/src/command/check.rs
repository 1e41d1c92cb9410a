//! `marline check`: secrets, workflow mistakes, and what policies forbid.

use std::path::{Path, PathBuf};

use explain::{Standing, words};
use guard::check::{Options, Report, Subject, check};
use guard::gate;
use guard::policy;
use jiff::Zoned;
use jiff::civil::Date;
use journal::view::Allowed;
use journal::{Actor, Fact, View};
use serde_json::json;
use source::git::{CommitId, Repository};
use source::render::{self, Look, Tool};
use source::{Finding, Severity};

use super::run::account;
use super::timeline::{clean, one_line, paint, sign, tell};
use crate::cli::{Area, CheckArgs, Format, Global};
use crate::exit::{Exit, Failure, Outcome};
use crate::project::{Here, git_failure};

/// Looks for what is wrong, or allows a finding.
pub async fn run(args: &CheckArgs, global: &Global) -> Outcome {
    if let Some(rule) = &args.allow {
        return allow(rule, args, global).await;
    }
    let alone = [
        ("--path", args.path.is_some()),
        ("--line", args.line.is_some()),
        ("--reason", args.reason.is_some()),
        ("--until", args.until.is_some()),
    ];
    if let Some((option, _)) = alone.iter().find(|(_, is_given)| *is_given) {
        return Err(Failure::new(Exit::Usage, format!("{option} is for --allow"))
            .help("marline check --allow RULE --path PATH --reason TEXT"));
    }
    let looked = look(args, global)?;
    let format = if global.json { Format::Json } else { args.format };
    looked.tell(format, global.colour())?;
    let is_wrong = looked.counted.iter().any(Finding::is_error);
    Ok(if is_wrong { Exit::Failed } else { Exit::Done })
}

/// What was looked through, and what came out.
struct Looked {
    report: Report,
    counted: Vec<Finding>,
    allowed: Vec<(Finding, String)>,
    source: Source,
}

/// Where the lines of findings are read from.
enum Source {
    Directory(PathBuf),
    Commit(Repository, CommitId),
}

impl Source {
    fn tree(&self, here: &Here) -> crate::tree::Tree {
        match self {
            Self::Directory(_) => crate::tree::Tree::of_work_tree(&here.repository),
            Self::Commit(repository, commit) => {
                crate::tree::Tree::of_commit(repository, commit.clone())
            }
        }
    }

    fn text(&self, path: &str) -> Option<String> {
        let bytes = match self {
            Self::Directory(root) => std::fs::read(root.join(path)).ok()?,
            Self::Commit(repository, commit) => {
                repository.read_at(commit, Path::new(path)).ok()??
            }
        };
        let text = String::from_utf8_lossy(&bytes).into_owned();
        // Its lines hold secrets more often than not.
        let is_secret = path == crate::conductor::notify::CONFIGURATION;
        Some(if is_secret { super::alerts::without_values(&text) } else { text })
    }
}

fn look(args: &CheckArgs, global: &Global) -> Result<Looked, Failure> {
    let here = match Here::find(global) {
        Ok(here) => Some(here),
        // A directory that Git knows nothing of can be looked through all the same.
        Err(failure) if failure.exit == Exit::NotFound && args.commit.is_none() => None,
        Err(failure) => return Err(failure),
    };
    let view = match &here {
        Some(here) if here.state.exists() => here.journal()?.view()?,
        _ => View::default(),
    };
    let source = match (&here, &args.commit) {
        (Some(here), Some(commit)) => {
            let commit = here.repository.resolve(commit).map_err(git_failure)?;
            Source::Commit(here.repository.clone(), commit)
        }
        (Some(here), None) => Source::Directory(here.repository.root().to_owned()),
        (None, _) => Source::Directory(global.directory.clone()),
    };
    let subject = match &source {
        Source::Directory(root) => Subject::Directory(root),
        Source::Commit(repository, commit) => Subject::Commit { repository, commit },
    };
    let mut options = Options::default();
    if !args.areas.is_empty() {
        options.areas = args.areas.iter().map(|area| area_of(*area)).collect();
        options.areas.sort();
        options.areas.dedup();
    }
    options.policy = Some(input(here.as_ref(), &source, &view));
    let mut report = check(subject, &options)?;
    if options.areas.contains(&guard::check::Area::Rules)
        && let Some(tree) = here.as_ref().map(|here| source.tree(here))
    {
        report.findings.extend(crate::rules::findings(&tree).map_err(git_failure)?);
        report.findings.extend(crate::rules::receivers(&tree).map_err(git_failure)?);
        report.not_checked.retain(|other| other.area != guard::check::Area::Rules);
    }
    let today = Zoned::now().date();
    let mut counted = Vec::new();
    let mut allowed = Vec::new();
    for finding in &report.findings {
        match reason(finding, &view.allowed, today) {
            Some(reason) => allowed.push((finding.clone(), reason)),
            None => counted.push(finding.clone()),
        }
    }
    Ok(Looked { report, counted, allowed, source })
}

/// Returns what policies are asked about: the commit and how its runs ended. The check itself adds
/// the findings, the Compose model and the workflows.
fn input(here: Option<&Here>, source: &Source, view: &View) -> policy::Input {
    let Some(here) = here else { return policy::Input::default() };
    let head = here.repository.head().ok();
    let id = match source {
        Source::Commit(_, commit) => Some(commit.clone()),
        Source::Directory(_) => head.as_ref().map(|head| head.commit.clone()),
    };
    let Some(id) = id else { return policy::Input::default() };
    let known = view.commits.get(&journal::CommitId::from(id.as_str()));
    let read = here.repository.commit(&id).ok();
    let at_head = head.filter(|head| head.commit == id);
    let parent = read.as_ref().and_then(|commit| commit.parents.first());
    let changes = here.repository.changed_files(parent, &id);
    let commit = policy::Commit {
        id: id.as_str().to_owned(),
        branch: at_head
            .and_then(|head| head.branch)
            .or_else(|| known.and_then(|known| known.branch.clone())),
        author: read.as_ref().map(|commit| commit.author_name.clone()).unwrap_or_default(),
        subject: read.as_ref().map(|commit| commit.subject.clone()).unwrap_or_default(),
        files_changed: changes
            .map_or(0, |changes| u32::try_from(changes.len()).unwrap_or(u32::MAX)),
    };
    let runs = known.into_iter().flat_map(|known| known.runs.values());
    let runs = runs.filter_map(|run| view.runs.get(run)).map(|run| policy::Run {
        id: run.id.0,
        workflow: run.workflow.clone(),
        name: run.name.clone(),
        event: run.event.clone(),
        conclusion: run
            .conclusion
            .and_then(|conclusion| Some(json!(conclusion).as_str()?.to_owned())),
        milliseconds: run.milliseconds,
    });
    policy::Input { commit, runs: runs.collect(), ..policy::Input::default() }
}

/// Returns why somebody allowed a finding, as the gate sees it.
fn reason(finding: &Finding, allowed: &[Allowed], today: Date) -> Option<String> {
    gate::allowance(finding, allowed, today).map(gate::allowed_because)
}

impl Looked {
    fn tell(&self, format: Format, colour: bool) -> Result<(), Failure> {
        let not_checked = self.report.not_checked_lines();
        match format {
            Format::Text => return tell(&self.text(colour)),
            Format::Json => {
                let allowed: Vec<_> = self
                    .allowed
                    .iter()
                    .map(|(finding, reason)| json!({ "finding": finding, "reason": reason }))
                    .collect();
                let value = json!({
                    "findings": self.counted,
                    "allowed": allowed,
                    "not_checked": self.report.not_checked,
                    "files": self.report.files,
                    "milliseconds": self.report.milliseconds,
                });
                return tell(&format!("{value}\n"));
            }
            Format::Sarif => {
                let tool = Tool { name: "marline", version: env!("CARGO_PKG_VERSION") };
                tell(&format!("{}\n", render::sarif(&self.counted, tool).trim_end()))?;
            }
            Format::Github => tell(&render::github(&self.counted))?,
        }
        for line in not_checked {
            eprintln!("not checked: {}", clean(&line));
        }
        Ok(())
    }

    fn text(&self, colour: bool) -> String {
        let look = if colour { Look::Colour } else { Look::Plain };
        let mut told = render::text(&self.counted, look, |path| {
            let text = self.source.text(path)?;
            // A secret is underlined where it stands, and not shown.
            Some(self.report.without_secrets(path, &text))
        });
        if !told.is_empty() {
            told.push('\n');
        }
        for (finding, reason) in &self.allowed {
            let what = one_line(&finding.message, 80);
            let place = clean(&finding.place.to_string());
            let reason = paint(colour, "2", &one_line(reason, 120));
            let sign = sign(colour, Standing::Off);
            told += &format!("{sign} {place}  {}: {what}  {reason}\n", clean(&finding.rule));
        }
        for line in self.report.not_checked_lines() {
            let sign = sign(colour, Standing::Attention);
            told += &format!("{sign} not checked: {}\n", clean(&line));
        }
        let standing = match self.counted.iter().map(|finding| finding.severity).max() {
            Some(Severity::Error) => Standing::Failed,
            Some(Severity::Warning) => Standing::Attention,
            Some(Severity::Note) | None => Standing::Ok,
        };
        let mut summary = render::summary(&self.counted);
        if !self.allowed.is_empty() {
            summary += &format!(", {} allowed", self.allowed.len());
        }
        let files = words::count(u64::from(self.report.files), "file", "files");
        let took = words::duration(self.report.milliseconds);
        told += &format!("{} {summary} in {files}, {took}\n", sign(colour, standing));
        if let Some(error) = self.counted.iter().find(|finding| finding.is_error()) {
            told += &format!(
                "  to allow one: {}\n",
                clean(&gate::how_to_allow(&error.rule, &error.place.path))
            );
        }
        told
    }
}

async fn allow(rule: &str, args: &CheckArgs, global: &Global) -> Outcome {
    let here = Here::find(global)?;
    let usage = |text: String, help: &str| Failure::new(Exit::Usage, text).help(help);
    let reason = args.reason.as_deref().unwrap_or_default().trim();
    if reason.is_empty() {
        return Err(usage(
            "the reason is empty".to_owned(),
            "say why it is allowed: --reason TEXT",
        ));
    }
    if args.line == Some(0) {
        return Err(usage("there is no line 0".to_owned(), "lines count from 1"));
    }
    let is_rule = |c: char| c.is_ascii_alphanumeric() || "-_./:".contains(c);
    if rule.is_empty() || !rule.chars().all(is_rule) {
        let text = format!("`{}` is no rule", clean(rule));
        return Err(usage(text, "a finding says its rule in brackets: error[RULE]"));
    }
    let today = Zoned::now().date();
    if let Some(until) = &args.until {
        let until = until.trim();
        let day: Date = until.parse().map_err(|_| {
            usage(format!("`{}` is no day", clean(until)), "write it as in 2027-01-31")
        })?;
        if day < today {
            return Err(usage(
                format!("{day} is over"),
                "give a day to come, or leave --until out",
            ));
        }
    }
    let path = in_repository(&here, &global.directory, args.path.as_deref().unwrap_or_default())?;
    if !here.repository.root().join(&path).exists() {
        eprintln!("note: there is no `{}` in the work tree at the moment", clean(&path));
    }
    let journal = here.journal()?;
    let fact = Fact::FindingAllowed {
        rule: rule.to_owned(),
        path: path.clone(),
        line: args.line,
        reason: reason.to_owned(),
        until: args.until.as_deref().map(|until| until.trim().to_owned()),
    };
    let event = journal.append(Actor::Person(account()), None, fact).await?;
    if here.json {
        tell(&format!("{}\n", json!({ "event": event })))?;
        return Ok(Exit::Done);
    }
    let line = args.line.map(|line| format!(":{line}")).unwrap_or_default();
    let until = args.until.as_deref().map(|until| format!(" until {until}")).unwrap_or_default();
    let sign = sign(here.colour, Standing::Ok);
    let what = clean(&format!("{rule} is allowed in {path}{line}{until}"));
    tell(&format!("  {sign} {what}, event #{} says why and by whom\n", event.id))?;
    if args.until.is_none() {
        // The journal forgets nothing, and an allowance without a day counts for ever.
        eprintln!("  it has no end; one that ends by itself is given with --until 2027-01-31");
    }
    Ok(Exit::Done)
}

/// Returns a path as findings name it: from the top of the repository.
fn in_repository(here: &Here, directory: &Path, typed: &str) -> Result<String, Failure> {
    let root = here.repository.root();
    let typed = Path::new(typed.trim());
    let from_top = root.join(typed);
    let beside = directory.join(typed);
    let chosen = if !from_top.exists() && beside.exists() {
        beside.canonicalize().unwrap_or(beside)
    } else {
        from_top
    };
    let relative = chosen.strip_prefix(root).ok().and_then(plain);
    relative.ok_or_else(|| {
        Failure::new(
            Exit::Usage,
            format!("`{}` is not in the repository", clean(&typed.display().to_string())),
        )
        .help("name the file as the finding does")
    })
}

/// Returns a path without `.`; none when it leads out or names nothing.
fn plain(path: &Path) -> Option<String> {
    let mut parts = Vec::new();
    for part in path.components() {
        match part {
            std::path::Component::Normal(part) => parts.push(part.to_str()?),
            std::path::Component::CurDir => {}
            _ => return None,
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

fn area_of(area: Area) -> guard::check::Area {
    match area {
        Area::Secrets => guard::check::Area::Secrets,
        Area::Workflows => guard::check::Area::Workflows,
        Area::Compose => guard::check::Area::Compose,
        Area::Rules => guard::check::Area::Rules,
        Area::Policy => guard::check::Area::Policy,
        Area::Dependencies => guard::check::Area::Dependencies,
    }
}

#[cfg(test)]
mod tests {
    use source::Place;

    use super::*;

    #[test]
    fn what_is_allowed_does_not_count_until_its_day_is_over() {
        let finding = Finding::warning("unpinned-action", "not pinned", Place::file("ci.yml"));
        let allowed = Allowed {
            event: journal::EventId(1),
            rule: "unpinned-action".to_owned(),
            path: "ci.yml".to_owned(),
            line: None,
            reason: "we trust them".to_owned(),
            until: Some("2027-01-31".to_owned()),
        };
        let day = |text: &str| text.parse::<Date>().expect("a day");
        let allowed = [allowed];
        let told = reason(&finding, &allowed, day("2027-01-31")).expect("it is allowed");
        assert!(told.contains("we trust them"), "{told}");
        assert_eq!(reason(&finding, &allowed, day("2027-02-01")), None);
        assert_eq!(reason(&finding, &[], day("2027-01-01")), None);
    }

    #[test]
    fn a_path_may_not_lead_out_of_the_repository() {
        assert_eq!(plain(Path::new("./a/b")).as_deref(), Some("a/b"));
        assert_eq!(plain(Path::new("a/../../b")), None);
        assert_eq!(plain(Path::new(".")), None);
    }
}
