//! `marline logs`: what a service, an instance or a run printed.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use deploy::engine::{LogCursor, LogLine, Stream};
use explain::{Subject, words};
use jiff::Timestamp;
use journal::view::{Job, Service};
use journal::{Conclusion, EventId, InstanceId, JobKey, Journal, RunId, ServiceName, View};
use pipeline::log::{Kind, Line};
use serde_json::json;

use super::timeline::{clean, is_read, moment, paint, tell};
use super::why;
use crate::cli::{Global, LogsArgs};
use crate::exit::{Exit, Failure, Outcome};
use crate::output::Veil;
use crate::project::Here;

/// How often files are looked at for new lines.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Prints the last lines, and with `--follow` those that come.
pub async fn run(args: &LogsArgs, global: &Global) -> Outcome {
    let here = Here::find(global)?;
    let (journal, view) = here.known()?;
    let what = args.what.as_deref().unwrap_or_default();
    let source = if what.is_empty() {
        Source::Services(None)
    } else {
        source_of(why::find(&[what.to_owned()], &view)?, &view)?
    };
    match source {
        Source::Run(run, job, step) => {
            let reader = RunLogs { here: &here, args, run, job, step };
            reader.run(&journal, view).await
        }
        Source::Services(only) => {
            let reader = InstanceLogs { here: &here, args, only };
            reader.run(&journal, view).await
        }
    }
}

/// Where lines come from.
enum Source {
    /// A run, perhaps only a job or a step of it.
    Run(RunId, Option<JobKey>, Option<u32>),
    /// Instances; none is those of every service.
    Services(Option<Only>),
}

/// Which instances are meant.
enum Only {
    Service(ServiceName),
    Instance(InstanceId),
    Deployment(ServiceName, journal::ReleaseId),
}

fn source_of(subject: Subject, view: &View) -> Result<Source, Failure> {
    Ok(match subject {
        Subject::Run(run) => Source::Run(run, None, None),
        Subject::Job(run, job) => Source::Run(run, Some(job), None),
        Subject::Step(run, job, step) => Source::Run(run, Some(job), Some(step)),
        Subject::Service(name) => Source::Services(Some(Only::Service(name))),
        Subject::Instance(instance) => Source::Services(Some(Only::Instance(instance))),
        Subject::Deployment(id) => {
            let found = view.deployments.get(&id).map(|it| (it.service.clone(), it.to.clone()));
            Source::Services(found.map(|(service, release)| Only::Deployment(service, release)))
        }
        Subject::Incident(id) => {
            let found = view.incidents.get(&id).map(|incident| incident.service.clone());
            Source::Services(found.map(Only::Service))
        }
        Subject::Commit(id) => {
            let newest = view.commits.get(&id).and_then(|commit| commit.runs.values().max());
            let run = newest.ok_or_else(|| {
                Failure::new(Exit::NotFound, format!("nothing has run for commit {}", id.short()))
            })?;
            Source::Run(*run, None, None)
        }
        Subject::Everything => Source::Services(None),
    })
}

/// The output of instances, in the order in which it came.
struct InstanceLogs<'a> {
    here: &'a Here,
    args: &'a LogsArgs,
    only: Option<Only>,
}

impl InstanceLogs<'_> {
    async fn run(&self, journal: &Journal, mut view: View) -> Outcome {
        let mut cursors: BTreeMap<InstanceId, u64> = BTreeMap::new();
        let mut found: Vec<(LogLine, InstanceId)> = Vec::new();
        for instance in self.instances(&view) {
            let (lines, next) = self.last(&instance)?;
            found.extend(lines.into_iter().map(|line| (line, instance.clone())));
            cursors.insert(instance, next);
        }
        if cursors.is_empty() && !self.args.follow {
            return Err(Failure::new(Exit::NotFound, "no instance has run yet")
                .help("start everything with `marline up`; logs of runs: `marline logs RUN`"));
        }
        found.sort_by_key(|(line, _)| line.at);
        let skip = found.len().saturating_sub(self.args.lines as usize);
        tell(&self.text(&found[skip..]))?;
        if found.is_empty() && !self.args.follow && !self.here.json {
            let grep = self.args.grep.as_ref();
            let with = grep.map(|text| format!(" with `{}`", clean(text))).unwrap_or_default();
            eprintln!("  no line{with} is kept");
        }
        if !self.args.follow {
            return Ok(Exit::Done);
        }
        let mut follower = journal.follow(view.newest.unwrap_or(EventId(0)));
        let mut clock = tokio::time::interval(LOOK_EVERY);
        loop {
            clock.tick().await;
            while let Some(event) = follower.try_next()? {
                view.apply(&event);
            }
            for instance in self.instances(&view) {
                // One that is new since is read from its first line.
                cursors.entry(instance).or_insert(0);
            }
            let mut found = Vec::new();
            for (instance, next) in &mut cursors {
                let read = self.read(instance, LogCursor::At(*next))?;
                *next = read.next;
                let lines = read.lines.into_iter().filter(|line| self.is_wanted(&line.text));
                found.extend(lines.map(|line| (line, instance.clone())));
            }
            found.sort_by_key(|(line, _)| line.at);
            if !found.is_empty() && !is_read(&self.text(&found))? {
                return Ok(Exit::Done);
            }
        }
    }

    /// Returns the instances that are meant: those that run, or else the last one that did.
    fn instances(&self, view: &View) -> Vec<InstanceId> {
        let of = |service: &Service| -> Vec<InstanceId> {
            if service.instances.is_empty() {
                return service.past.back().map(|past| past.id.clone()).into_iter().collect();
            }
            service.instances.keys().cloned().collect()
        };
        match &self.only {
            None => view.services.values().flat_map(of).collect(),
            Some(Only::Service(name)) => view.services.get(name).map(of).unwrap_or_default(),
            Some(Only::Instance(instance)) => vec![instance.clone()],
            Some(Only::Deployment(name, release)) => {
                let service = view.services.get(name);
                let all = service
                    .into_iter()
                    .flat_map(|service| service.instances.values().chain(&service.past));
                all.filter(|instance| instance.release == *release)
                    .map(|instance| instance.id.clone())
                    .collect()
            }
        }
    }

    /// Returns the last wanted lines of an instance and where to go on.
    fn last(&self, instance: &InstanceId) -> Result<(Vec<LogLine>, u64), Failure> {
        if self.args.grep.is_none() {
            let read = self.read(instance, LogCursor::Last(self.args.lines))?;
            return Ok((read.lines, read.next));
        }
        let mut lines = Vec::new();
        let mut cursor = LogCursor::Start;
        loop {
            let read = self.read(instance, cursor)?;
            if read.lines.is_empty() {
                return Ok((lines, read.next));
            }
            cursor = LogCursor::At(read.next);
            lines.extend(read.lines.into_iter().filter(|line| self.is_wanted(&line.text)));
            let surplus = lines.len().saturating_sub(self.args.lines as usize);
            lines.drain(..surplus);
        }
    }

    fn read(
        &self,
        instance: &InstanceId,
        cursor: LogCursor,
    ) -> Result<deploy::engine::LogLines, Failure> {
        let veil = Veil::of(&self.here.state.vault());
        let read = crate::output::read(&self.here.state, &veil, instance, cursor);
        Ok(read.with_context(|| format!("read the output of {instance}"))?)
    }

    fn is_wanted(&self, text: &str) -> bool {
        self.args.grep.as_ref().is_none_or(|wanted| text.contains(wanted.as_str()))
    }

    fn text(&self, lines: &[(LogLine, InstanceId)]) -> String {
        let colour = self.here.colour;
        let mut text = String::new();
        for (line, instance) in lines {
            if self.here.json {
                let value = json!({
                    "at": line.at,
                    "instance": instance,
                    "stream": line.stream,
                    "text": line.text,
                    "partial": line.partial,
                });
                text += &format!("{value}\n");
                continue;
            }
            let bar = match line.stream {
                Stream::Stdout => paint(colour, "2", "│"),
                Stream::Stderr => paint(colour, "31", "┃"),
            };
            text += &format!(
                "{} {} {bar} {}\n",
                paint(colour, "2", &moment(line.at)),
                paint(colour, "36", &clean(instance.as_str())),
                clean(&line.text)
            );
        }
        text
    }
}

/// The logs of the jobs of a run, step by step.
struct RunLogs<'a> {
    here: &'a Here,
    args: &'a LogsArgs,
    run: RunId,
    job: Option<JobKey>,
    step: Option<u32>,
}

impl RunLogs<'_> {
    async fn run(&self, journal: &Journal, mut view: View) -> Outcome {
        let mut tails: Vec<Tail> = Vec::new();
        let mut heading = None;
        let mut is_first = true;
        let mut follower = journal.follow(view.newest.unwrap_or(EventId(0)));
        let mut clock = tokio::time::interval(LOOK_EVERY);
        loop {
            // Whether it is over is asked before reading: what came before the end is then there.
            while let Some(event) = follower.try_next()? {
                view.apply(&event);
            }
            let is_over = view.runs.get(&self.run).is_none_or(|run| run.conclusion.is_some());
            self.find_tails(&view, &mut tails)?;
            let mut text = String::new();
            for tail in &mut tails {
                let mut lines = tail.take()?;
                lines.retain(|line| self.is_wanted(line));
                if is_first {
                    let surplus = lines.len().saturating_sub(self.args.lines as usize);
                    lines.drain(..surplus);
                    if surplus > 0 && !self.here.json {
                        text += &self.left_out(tail, surplus);
                    }
                }
                for line in &lines {
                    text += &self.line(tail, line, &mut heading, &view);
                }
            }
            if is_first && tails.is_empty() && (is_over || !self.args.follow) {
                return Err(self.nothing(&view));
            }
            is_first = false;
            if !is_read(&text)? || !self.args.follow || is_over {
                return Ok(Exit::Done);
            }
            clock.tick().await;
        }
    }

    /// Adds the logs that are there by now: of the jobs in the order of the file; of a run whose
    /// jobs are forgotten, whatever is kept.
    fn find_tails(&self, view: &View, tails: &mut Vec<Tail>) -> Result<(), Failure> {
        let logs = self.here.state.run(self.run).join("logs");
        let known: BTreeSet<PathBuf> = tails.iter().map(|tail| tail.path.clone()).collect();
        let mut add = |path: PathBuf, name: String, key: Option<JobKey>| {
            if !known.contains(&path) && path.exists() {
                tails.push(Tail { path, name, key, at: 0, rest: Vec::new() });
            }
        };
        let jobs = view.runs.get(&self.run).map(|run| &run.jobs);
        let keys: Vec<&JobKey> = match (&self.job, jobs) {
            (Some(job), _) => vec![job],
            (None, Some(jobs)) => jobs.keys().collect(),
            (None, None) => Vec::new(),
        };
        if !keys.is_empty() {
            for key in keys {
                add(pipeline::log::path(&logs, key), key.to_string(), Some(key.clone()));
            }
            return Ok(());
        }
        let Ok(entries) = std::fs::read_dir(&logs) else { return Ok(()) };
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            add(path, name, None);
        }
        Ok(())
    }

    fn is_wanted(&self, line: &Line) -> bool {
        self.step.is_none_or(|step| line.step == step)
            && self.args.grep.as_ref().is_none_or(|wanted| line.text.contains(wanted.as_str()))
    }

    fn left_out(&self, tail: &Tail, count: usize) -> String {
        let lines = words::count(count as u64, "earlier line", "earlier lines");
        let what = match &self.job {
            Some(_) => self.args.what.clone().unwrap_or_default(),
            None => format!("{}/{}", self.run, tail.name),
        };
        let all = count + self.args.lines as usize;
        let text = format!("… {lines}: marline logs -n {all} '{}'\n", clean(&what));
        paint(self.here.colour, "2", &text)
    }

    fn line(
        &self,
        tail: &Tail,
        line: &Line,
        heading: &mut Option<(String, u32)>,
        view: &View,
    ) -> String {
        if self.here.json {
            let value = json!({
                "at": i64::try_from(line.at).ok().and_then(|at| Timestamp::from_millisecond(at).ok()),
                "run": self.run,
                "job": tail.name,
                "step": line.step,
                "kind": name_of(line.kind),
                "text": line.text,
            });
            return format!("{value}\n");
        }
        let colour = self.here.colour;
        let mut text = String::new();
        if heading.as_ref() != Some(&(tail.name.clone(), line.step)) {
            let first = if heading.is_some() { "\n" } else { "" };
            let words = paint(colour, "1", &self.heading(tail, line.step, view));
            text += &format!("{first}{words}\n");
            *heading = Some((tail.name.clone(), line.step));
        }
        let words = clean(&line.text);
        let words = match line.kind {
            Kind::Output => words,
            Kind::Command => paint(colour, "36", &format!("$ {words}")),
            Kind::Group => paint(colour, "1", &format!("▸ {words}")),
            Kind::EndGroup => return text,
            Kind::Error => paint(colour, "31", &format!("error: {words}")),
            Kind::Warning => paint(colour, "33", &format!("warning: {words}")),
            Kind::Notice => format!("notice: {words}"),
            Kind::Debug => paint(colour, "2", &format!("debug: {words}")),
        };
        let at = i64::try_from(line.at).ok().and_then(|at| Timestamp::from_millisecond(at).ok());
        let at = at.map(|at| paint(colour, "2", &moment(at))).unwrap_or_default();
        text + &format!("  {at} {words}\n")
    }

    /// Says which step follows and how it ended: `test · step 3: Unit tests · failure, 6.1 s`.
    fn heading(&self, tail: &Tail, step: u32, view: &View) -> String {
        let job = tail.key.as_ref().and_then(|key| view.runs.get(&self.run)?.jobs.get(key));
        let name = clean(&tail.name);
        if step == 0 {
            return format!("{name}{}", ending(job.and_then(|job| job.conclusion), job_time(job)));
        }
        let known = job.and_then(|job| job.steps.get(&step));
        let planned = job.and_then(|job| job.planned.steps.get(step as usize - 1));
        let title = known
            .map(|step| &step.name)
            .or(planned)
            .map_or(String::new(), |title| format!(": {}", clean(title)));
        let end = known.and_then(|step| step.conclusion);
        let took = known.and_then(|step| step.milliseconds);
        format!("{name} · step {step}{title}{}", ending(end, took))
    }

    fn nothing(&self, view: &View) -> Failure {
        let run = view.runs.get(&self.run);
        let job = self.job.as_ref().and_then(|key| run?.jobs.get(key));
        if let Some(skipped) = job.and_then(|job| job.skipped.as_ref()) {
            let text =
                format!("the job printed nothing: it was skipped, {}", clean(&skipped.reason));
            return Failure::new(Exit::NotFound, text).help(format!(
                "marline why {}",
                clean(self.args.what.as_deref().unwrap_or_default())
            ));
        }
        Failure::new(Exit::NotFound, format!("run {} has no log", self.run))
            .help(format!("`marline why {}` says what is known about it", self.run))
    }
}

fn job_time(job: Option<&Job>) -> Option<u64> {
    job.and_then(|job| job.milliseconds)
}

fn ending(conclusion: Option<Conclusion>, milliseconds: Option<u64>) -> String {
    match (conclusion, milliseconds) {
        (Some(end), Some(took)) => format!(" · {end}, {}", words::duration(took)),
        (Some(end), None) => format!(" · {end}"),
        (None, _) => String::new(),
    }
}

fn name_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Output => "output",
        Kind::Command => "command",
        Kind::Group => "group",
        Kind::EndGroup => "end_group",
        Kind::Error => "error",
        Kind::Warning => "warning",
        Kind::Notice => "notice",
        Kind::Debug => "debug",
    }
}

/// A log that is read as it grows.
struct Tail {
    path: PathBuf,
    name: String,
    key: Option<JobKey>,
    at: u64,
    /// The beginning of a line whose end is not written yet.
    rest: Vec<u8>,
}

impl Tail {
    /// Returns the whole lines that were written since.
    fn take(&mut self) -> Result<Vec<Line>, Failure> {
        self.read_new().with_context(|| format!("read {}", self.path.display()))?;
        let whole = self.rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let lines: Vec<u8> = self.rest.drain(..whole).collect();
        let lines = String::from_utf8_lossy(&lines);
        // A damaged line is shown as it is.
        let damaged =
            |text: &str| Line { at: 0, step: 0, kind: Kind::Output, text: text.to_owned() };
        Ok(lines.lines().map(|text| Line::parse(text).unwrap_or_else(|| damaged(text))).collect())
    }

    fn read_new(&mut self) -> std::io::Result<()> {
        let mut file = std::fs::File::open(&self.path as &Path)?;
        file.seek(SeekFrom::Start(self.at))?;
        self.at += file.read_to_end(&mut self.rest)? as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_line_is_shown_once_it_has_its_end() {
        let dir = tempfile::tempdir().expect("make a directory");
        let path = dir.path().join("test.log");
        let mut file = std::fs::File::create(&path).expect("make a file");
        let mut tail = Tail { path, name: "test".to_owned(), key: None, at: 0, rest: Vec::new() };
        file.write_all(b"1795400000123 1 o first\n1795400000124 1").expect("write");
        let texts = |lines: Vec<Line>| lines.into_iter().map(|line| line.text).collect::<Vec<_>>();
        assert_eq!(texts(tail.take().expect("read")), ["first"]);
        assert_eq!(texts(tail.take().expect("read")), [""; 0]);
        file.write_all(b" o second\nnot a line\n").expect("write");
        assert_eq!(texts(tail.take().expect("read")), ["second", "not a line"]);
    }
}
