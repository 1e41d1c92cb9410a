//! Whether an event starts a workflow, filter by filter.

use serde::Serialize;
use source::Spanned;
use source::workflow::{Trigger, Workflow};

use crate::event::Event;
use crate::filter::{PatternError, Patterns};

/// The most changed files that a path filter looks at, as on GitHub.
const MOST_FILES: usize = 300;

/// How many of the compared values an explanation holds.
const MOST_SHOWN: usize = 20;

/// Whether an event starts a workflow, and what was looked at to say so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Judgement {
    /// Whether it starts.
    pub starts: bool,
    /// Why it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Each part of the filter that was looked at; the last one decides when it does not start.
    pub parts: Vec<Check>,
}

/// One part of a filter and what it was compared with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// The part, as in `on.push.branches`.
    pub part: String,
    /// What is written there.
    pub written: Vec<String>,
    /// What it was compared with; at most twenty.
    pub value: Vec<String>,
    /// Whether it lets the event through.
    pub holds: bool,
}

/// Returns why a workflow does not start for an event; none when it does.
pub fn why_not(workflow: &Workflow, event: &Event) -> Result<Option<String>, PatternError> {
    judge(workflow, event).map(|judgement| judgement.reason)
}

/// Says whether an event starts a workflow, and why.
pub fn judge(workflow: &Workflow, event: &Event) -> Result<Judgement, PatternError> {
    let mut judge = Judge { event, parts: Vec::new() };
    let reason = judge.reason(workflow)?;
    Ok(Judgement { starts: reason.is_none(), reason, parts: judge.parts })
}

struct Judge<'a> {
    event: &'a Event,
    parts: Vec<Check>,
}

impl Judge<'_> {
    fn reason(&mut self, workflow: &Workflow) -> Result<Option<String>, PatternError> {
        let event = self.event;
        let names: Vec<String> =
            workflow.on.iter().map(|trigger| trigger.event.value.clone()).collect();
        let trigger = workflow.trigger(&event.name);
        self.check("on", names.clone(), vec![event.name.clone()], trigger.is_some());
        let Some(trigger) = trigger else {
            let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
            return Ok(Some(format!(
                "it starts on {}, and this is `{}`",
                names.join(", "),
                event.name
            )));
        };
        if matches!(event.name.as_str(), "push" | "pull_request") {
            let marker = skip_marker(&event.message);
            if let Some(marker) = marker {
                let subject = event.message.lines().next().unwrap_or_default().to_owned();
                self.check("the commit message", vec![marker.to_owned()], vec![subject], false);
                return Ok(Some(format!("the commit message says {marker}")));
            }
        }
        if let Some(why) = self.activity(trigger) {
            return Ok(Some(why));
        }
        if let Some(why) = self.upstream(trigger)? {
            return Ok(Some(why));
        }
        if let Some(why) = self.schedule(trigger) {
            return Ok(Some(why));
        }
        if let Some(why) = self.names(trigger)? {
            return Ok(Some(why));
        }
        self.paths(trigger)
    }

    fn check(
        &mut self,
        part: impl Into<String>,
        written: Vec<String>,
        mut value: Vec<String>,
        holds: bool,
    ) -> bool {
        value.truncate(MOST_SHOWN);
        self.parts.push(Check { part: part.into(), written, value, holds });
        holds
    }

    fn part(&self, key: &str) -> String {
        format!("on.{}.{key}", self.event.name)
    }

    fn activity(&mut self, trigger: &Trigger) -> Option<String> {
        let activity = self.event.activity.clone()?;
        let written: Vec<String> = match &trigger.types {
            Some(types) => texts(types),
            None => match self.event.name.as_str() {
                "pull_request" | "pull_request_target" => {
                    ["opened", "synchronize", "reopened"].map(str::to_owned).to_vec()
                }
                _ => return None,
            },
        };
        let holds = written.contains(&activity);
        let by_default = if trigger.types.is_some() { "" } else { " (the default)" };
        let shown = written.join(", ");
        let part = self.part("types");
        if self.check(part, written, vec![activity.clone()], holds) {
            return None;
        }
        Some(format!("`types` is {shown}{by_default}, and this is `{activity}`"))
    }

    /// The workflows whose runs start this one.
    fn upstream(&mut self, trigger: &Trigger) -> Result<Option<String>, PatternError> {
        let Some(name) = self.event.upstream.clone() else { return Ok(None) };
        if self.event.name != "workflow_run" {
            return Ok(None);
        }
        let written = texts(&trigger.workflows);
        let holds = Patterns::parse(&written)?.includes(name.as_bytes());
        let part = self.part("workflows");
        if self.check(part, written, vec![name.clone()], holds) {
            return Ok(None);
        }
        Ok(Some(format!("`workflows` does not name `{name}`, whose run this is about")))
    }

    /// An event that says which entry of `schedule` it is for starts only what has this entry.
    fn schedule(&mut self, trigger: &Trigger) -> Option<String> {
        let entry = self.event.schedule.clone()?;
        let written: Vec<String> =
            trigger.schedules.iter().map(|one| one.cron.value.clone()).collect();
        let holds = written.contains(&entry);
        if self.check("on.schedule.cron", written, vec![entry.clone()], holds) {
            return None;
        }
        Some(format!("no entry of `schedule` is `{entry}`"))
    }

    /// Branches and tags.
    fn names(&mut self, trigger: &Trigger) -> Result<Option<String>, PatternError> {
        let filters = &trigger.filters;
        let event = self.event;
        let is_push = event.name == "push";
        let is_tag = is_push && event.ref_type() == "tag";
        // A pull request is judged by the branch it goes into, a run by the branch it was for.
        let name = match event.name.as_str() {
            "pull_request" | "pull_request_target" | "merge_group" => event.base_ref.as_str(),
            "workflow_run" => event.head_ref.as_str(),
            _ => event.ref_name(),
        };
        let has_branches = filters.branches.is_some() || filters.branches_ignore.is_some();
        let has_tags = filters.tags.is_some() || filters.tags_ignore.is_some();
        let (kind, plural, include, ignore, has_own, has_other) = if is_tag {
            ("tag", "tags", &filters.tags, &filters.tags_ignore, has_tags, has_branches)
        } else {
            let (include, ignore) = (&filters.branches, &filters.branches_ignore);
            ("branch", "branches", include, ignore, has_branches, has_tags && is_push)
        };
        if !has_own && has_other {
            let other = if is_tag { "branches" } else { "tags" };
            let part = self.part(other);
            self.check(part, Vec::new(), vec![event.git_ref.clone()], false);
            return Ok(Some(format!("it starts for {other} only, and `{name}` is a {kind}")));
        }
        if let Some(written) = include {
            let written = texts(written);
            let holds = Patterns::parse(&written)?.includes(name.as_bytes());
            let part = self.part(plural);
            if !self.check(part, written, vec![name.to_owned()], holds) {
                return Ok(Some(format!("no pattern of `{plural}` matches `{name}`")));
            }
        }
        if let Some(written) = ignore {
            let written = texts(written);
            let holds = !Patterns::parse(&written)?.ignores(name.as_bytes());
            let part = self.part(&format!("{plural}-ignore"));
            if !self.check(part, written, vec![name.to_owned()], holds) {
                return Ok(Some(format!("`{plural}-ignore` leaves `{name}` out")));
            }
        }
        Ok(None)
    }

    fn paths(&mut self, trigger: &Trigger) -> Result<Option<String>, PatternError> {
        let event = self.event;
        let is_tag = event.name == "push" && event.ref_type() == "tag";
        let (Some(files), false) = (&event.changed_files, is_tag) else {
            return Ok(None);
        };
        let files = &files[..files.len().min(MOST_FILES)];
        let shown =
            || files.iter().map(|file| String::from_utf8_lossy(file).into_owned()).collect();
        if let Some(written) = &trigger.filters.paths {
            let written = texts(written);
            let patterns = Patterns::parse(&written)?;
            let holds = files.iter().any(|file| patterns.includes(file));
            let part = self.part("paths");
            if !self.check(part, written, shown(), holds) {
                return Ok(Some("no changed file matches `paths`".to_owned()));
            }
        }
        if let Some(written) = &trigger.filters.paths_ignore {
            let written = texts(written);
            let patterns = Patterns::parse(&written)?;
            let holds = files.is_empty() || !files.iter().all(|file| patterns.ignores(file));
            let part = self.part("paths-ignore");
            if !self.check(part, written, shown(), holds) {
                return Ok(Some("`paths-ignore` leaves every changed file out".to_owned()));
            }
        }
        Ok(None)
    }
}

fn texts(written: &[Spanned<String>]) -> Vec<String> {
    written.iter().map(|one| one.value.clone()).collect()
}

fn skip_marker(message: &str) -> Option<&'static str> {
    const MARKERS: &[&str] =
        &["[skip ci]", "[ci skip]", "[no ci]", "[skip actions]", "[actions skip]"];
    let lower = message.to_ascii_lowercase();
    if let Some(marker) = MARKERS.iter().find(|marker| lower.contains(**marker)) {
        return Some(marker);
    }
    // The trailer stands in the last paragraph, after an empty line.
    let (_, trailers) = lower.trim_end().rsplit_once("\n\n")?;
    trailers
        .lines()
        .any(|line| matches!(line.trim(), "skip-checks: true" | "skip-checks:true"))
        .then_some("`skip-checks: true`")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workflow(text: &str) -> Workflow {
        let text = format!("{text}\njobs: {{a: {{runs-on: x, steps: [{{run: x}}]}}}}\n");
        let (workflow, findings) = source::workflow::read("w.yml", &text);
        assert!(!findings.iter().any(source::Finding::is_error), "{findings:?}");
        workflow.expect("is a workflow")
    }

    fn push(git_ref: &str, files: &[&str]) -> Event {
        Event {
            name: "push".to_owned(),
            git_ref: git_ref.to_owned(),
            changed_files: Some(files.iter().map(|file| file.as_bytes().to_vec()).collect()),
            ..Event::default()
        }
    }

    fn pull_request(base: &str, activity: &str, files: &[&str]) -> Event {
        Event {
            name: "pull_request".to_owned(),
            activity: Some(activity.to_owned()),
            base_ref: base.to_owned(),
            head_ref: "topic".to_owned(),
            ..push("refs/pull/1/merge", files)
        }
    }

    fn starts(on: &str, event: &Event) -> bool {
        why_not(&workflow(on), event).expect("patterns are right").is_none()
    }

    #[test]
    fn branches_and_paths_must_both_pass() {
        let on = "on: {push: {branches: [main, 'v*'], paths: ['src/**', '!src/**.md']}}";
        assert!(starts(on, &push("refs/heads/main", &["src/a.rs"])));
        assert!(starts(on, &push("refs/heads/v1", &["docs/x", "src/a.rs"])));
        assert!(!starts(on, &push("refs/heads/main", &["src/a.md"])));
        assert!(!starts(on, &push("refs/heads/dev", &["src/a.rs"])));
        assert!(!starts(on, &push("refs/tags/v1", &["src/a.rs"])));
    }

    #[test]
    fn tags_alone_leave_branches_out_and_ask_for_no_path() {
        let on = "on: {push: {tags: ['v*'], paths: [src/**]}}";
        assert!(starts(on, &push("refs/tags/v1", &["docs/x"])));
        assert!(!starts(on, &push("refs/heads/v1", &["src/x"])));
    }

    #[test]
    fn ignored_paths_matter_only_when_all_are_ignored() {
        let on = "on: {push: {paths-ignore: ['**.md']}}";
        assert!(!starts(on, &push("refs/heads/main", &["a.md", "b/c.md"])));
        assert!(starts(on, &push("refs/heads/main", &["a.md", "b.rs"])));
    }

    #[test]
    fn only_the_first_files_are_looked_at() {
        let many: Vec<String> = (0..301).map(|at| format!("f{at:03}")).collect();
        let files: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(starts("on: {push: {paths: [f299]}}", &push("refs/heads/main", &files)));
        assert!(!starts("on: {push: {paths: [f300]}}", &push("refs/heads/main", &files)));
    }

    #[test]
    fn a_commit_message_may_skip_the_run() {
        let mut event = push("refs/heads/main", &["x"]);
        assert!(starts("on: push", &event));
        for message in ["Fix [skip ci]", "Fix [CI Skip]", "Fix\n\nbody\n\nskip-checks: true\n"] {
            event.message = message.to_owned();
            assert!(!starts("on: push", &event), "{message}");
            let mut event = pull_request("main", "opened", &[]);
            event.message = message.to_owned();
            assert!(!starts("on: pull_request", &event), "{message}");
            event.name = "schedule".to_owned();
            assert!(starts("on: {schedule: [{cron: '0 0 * * *'}]}", &event), "{message}");
        }
    }

    #[test]
    fn a_pull_request_is_judged_by_where_it_goes() {
        let on = "on: {pull_request: {branches: [main], paths: ['src/**']}}";
        assert!(starts(on, &pull_request("main", "opened", &["src/a"])));
        assert!(!starts(on, &pull_request("next", "opened", &["src/a"])));
        assert!(!starts(on, &pull_request("main", "opened", &["docs/a"])));
        assert!(!starts(on, &pull_request("main", "labeled", &["src/a"])));
        let on = "on: {pull_request: {types: [labeled]}}";
        assert!(starts(on, &pull_request("main", "labeled", &[])));
        assert!(!starts(on, &pull_request("main", "opened", &[])));
    }

    #[test]
    fn a_run_starts_what_names_its_workflow_and_branch() {
        let on = "on: {workflow_run: {workflows: [Build, 'Test *'], types: [completed], branches: [main]}}";
        let event = |upstream: &str, activity: &str, branch: &str| Event {
            name: "workflow_run".to_owned(),
            upstream: Some(upstream.to_owned()),
            activity: Some(activity.to_owned()),
            head_ref: branch.to_owned(),
            ..Event::default()
        };
        assert!(starts(on, &event("Build", "completed", "main")));
        assert!(starts(on, &event("Test all", "completed", "main")));
        assert!(!starts(on, &event("Deploy", "completed", "main")));
        assert!(!starts(on, &event("Build", "requested", "main")));
        assert!(!starts(on, &event("Build", "completed", "dev")));
    }

    #[test]
    fn a_dispatch_starts_what_waits_for_its_type() {
        let event = |activity: &str| Event {
            name: "repository_dispatch".to_owned(),
            activity: Some(activity.to_owned()),
            ..Event::default()
        };
        assert!(starts("on: {repository_dispatch: {types: [deploy]}}", &event("deploy")));
        assert!(!starts("on: {repository_dispatch: {types: [deploy]}}", &event("test")));
        assert!(starts("on: repository_dispatch", &event("anything")));
    }

    #[test]
    fn another_event_says_what_it_would_have_been() {
        let why = why_not(&workflow("on: [pull_request, release]"), &push("refs/heads/x", &[]));
        assert_eq!(
            why,
            Ok(Some("it starts on `pull_request`, `release`, and this is `push`".to_owned()))
        );
    }

    #[test]
    fn each_part_of_a_filter_is_shown_with_its_value() {
        let on = "on: {push: {branches: [main], paths: ['src/**']}}";
        let judged = judge(&workflow(on), &push("refs/heads/main", &["docs/a"])).expect("is right");
        let parts: Vec<String> = judged
            .parts
            .iter()
            .map(|one| format!("{} {:?} {:?} {}", one.part, one.written, one.value, one.holds))
            .collect();
        assert_eq!(
            parts,
            [
                r#"on ["push"] ["push"] true"#,
                r#"on.push.branches ["main"] ["main"] true"#,
                r#"on.push.paths ["src/**"] ["docs/a"] false"#,
            ]
        );
    }
}
