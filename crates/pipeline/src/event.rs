//! What happened that may start a workflow.

use source::workflow::{Filters, InputKind, Trigger, Workflow};

use crate::expression::{Object, Value};
use crate::filter::{PatternError, Patterns};

/// What happened that may start a workflow.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Event {
    /// Its name, as in `push`.
    pub name: String,
    /// The branch or tag, as in `refs/heads/main`.
    pub git_ref: String,
    /// The commit.
    pub commit: String,
    /// The commit that was the tip before; none for a new branch.
    pub before: Option<String>,
    /// The message of the commit.
    pub message: String,
    /// Who did it.
    pub actor: String,
    /// The repository, as in `owner/name`.
    pub repository: String,
    /// The branch the repository calls its main one.
    pub default_branch: String,
    /// Paths that differ from the tip before; none when that is not known, which lets all
    /// path filters pass.
    pub changed_files: Option<Vec<Vec<u8>>>,
    /// `github.event` in place of the one made from the fields above.
    pub payload: Option<serde_json::Value>,
}

impl Event {
    /// The short name of the branch or tag.
    pub fn ref_name(&self) -> &str {
        ["refs/heads/", "refs/tags/", "refs/"]
            .iter()
            .find_map(|prefix| self.git_ref.strip_prefix(prefix))
            .unwrap_or(&self.git_ref)
    }

    /// `branch` or `tag`.
    pub fn ref_type(&self) -> &'static str {
        if self.git_ref.starts_with("refs/tags/") { "tag" } else { "branch" }
    }

    /// Returns `github.event`.
    pub fn payload(&self, inputs: &Object) -> serde_json::Value {
        if let Some(payload) = &self.payload {
            return payload.clone();
        }
        let (owner, name) = self.repository.split_once('/').unwrap_or(("", &self.repository));
        let repository = serde_json::json!({
            "name": name,
            "full_name": self.repository,
            "default_branch": self.default_branch,
            "owner": { "login": owner, "name": owner },
        });
        let sender = serde_json::json!({ "login": self.actor });
        let mut payload = serde_json::json!({
            "ref": self.git_ref,
            "repository": repository,
            "sender": sender,
        });
        if self.name == "push" {
            let zeros = "0".repeat(40);
            let head = serde_json::json!({
                "id": self.commit,
                "message": self.message,
                "author": { "name": self.actor },
            });
            payload["before"] = self.before.clone().unwrap_or(zeros).into();
            payload["after"] = self.commit.clone().into();
            payload["created"] = self.before.is_none().into();
            payload["deleted"] = false.into();
            payload["forced"] = false.into();
            payload["head_commit"] = head.clone();
            payload["commits"] = serde_json::json!([head]);
            payload["pusher"] = serde_json::json!({ "name": self.actor });
        }
        if self.name == "workflow_dispatch" {
            let inputs: serde_json::Map<String, serde_json::Value> = inputs
                .iter()
                .map(|(name, value)| (name.to_owned(), value.to_text().into()))
                .collect();
            payload["inputs"] = inputs.into();
        }
        payload
    }
}

/// Returns why a workflow does not start for an event; none when it does.
pub fn why_not(workflow: &Workflow, event: &Event) -> Result<Option<String>, PatternError> {
    let Some(trigger) = workflow.trigger(&event.name) else {
        let events: Vec<String> =
            workflow.on.iter().map(|trigger| format!("`{}`", trigger.event.value)).collect();
        return Ok(Some(format!(
            "it starts on {}, and this is `{}`",
            events.join(", "),
            event.name
        )));
    };
    if event.name != "push" {
        return Ok(None);
    }
    if let Some(marker) = skip_marker(&event.message) {
        return Ok(Some(format!("the commit message says {marker}")));
    }
    why_filtered(&trigger.filters, event)
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

fn why_filtered(filters: &Filters, event: &Event) -> Result<Option<String>, PatternError> {
    let patterns = |list: &Option<Vec<source::workflow::Spanned<String>>>| {
        list.as_ref()
            .map(|list| {
                let texts: Vec<&str> = list.iter().map(|pattern| pattern.value.as_str()).collect();
                Patterns::parse(&texts)
            })
            .transpose()
    };
    let (branches, branches_ignore) =
        (patterns(&filters.branches)?, patterns(&filters.branches_ignore)?);
    let (tags, tags_ignore) = (patterns(&filters.tags)?, patterns(&filters.tags_ignore)?);
    let has_branches = branches.is_some() || branches_ignore.is_some();
    let has_tags = tags.is_some() || tags_ignore.is_some();
    let is_tag = event.ref_type() == "tag";
    let name = event.ref_name();
    let (kind, include, ignore, has_own, has_other) = if is_tag {
        ("tag", tags, tags_ignore, has_tags, has_branches)
    } else {
        ("branch", branches, branches_ignore, has_branches, has_tags)
    };
    let plural = if is_tag { "tags" } else { "branches" };
    if !has_own && has_other {
        let other = if is_tag { "branches" } else { "tags" };
        return Ok(Some(format!("it starts for {other} only, and `{name}` is a {kind}")));
    }
    if include.is_some_and(|patterns| !patterns.includes(name.as_bytes())) {
        return Ok(Some(format!("no pattern of `{plural}` matches `{name}`")));
    }
    if ignore.is_some_and(|patterns| patterns.ignores(name.as_bytes())) {
        return Ok(Some(format!("`{plural}-ignore` leaves `{name}` out")));
    }
    let (Some(files), false) = (&event.changed_files, is_tag) else {
        return Ok(None);
    };
    if patterns(&filters.paths)?
        .is_some_and(|patterns| !files.iter().any(|file| patterns.includes(file)))
    {
        return Ok(Some("no changed file matches `paths`".to_owned()));
    }
    if patterns(&filters.paths_ignore)?.is_some_and(|patterns| {
        !files.is_empty() && files.iter().all(|file| patterns.ignores(file))
    }) {
        return Ok(Some("`paths-ignore` leaves every changed file out".to_owned()));
    }
    Ok(None)
}

/// Returns the `inputs` context of a trigger from the texts somebody gave, with defaults, or what
/// is wrong with them.
pub fn read_inputs(
    trigger: Option<&Trigger>,
    given: &std::collections::BTreeMap<String, String>,
) -> Result<Object, Vec<String>> {
    let mut inputs = Object::default();
    let mut wrong = Vec::new();
    let declared = trigger.map_or(&[][..], |trigger| &trigger.inputs);
    for input in declared {
        let name = &input.name.value;
        let text = given
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.clone());
        if text.is_none() && input.required && input.default.is_none() {
            wrong.push(format!("the input `{name}` is required"));
        }
        let default = input
            .default
            .as_ref()
            .map_or_else(String::new, |default| default.coerced().into_owned());
        let text = text.unwrap_or(default);
        let value = match input.kind {
            InputKind::Boolean => match text.to_ascii_lowercase().as_str() {
                "true" => Value::Boolean(true),
                "false" | "" => Value::Boolean(false),
                _ => {
                    wrong.push(format!("the input `{name}` is `true` or `false`, not `{text}`"));
                    continue;
                }
            },
            InputKind::Number if text.is_empty() => Value::Number(0.0),
            InputKind::Number => match source::expression::number(&text) {
                number if number.is_nan() => {
                    wrong.push(format!("the input `{name}` is a number, not `{text}`"));
                    continue;
                }
                number => Value::Number(number),
            },
            InputKind::Choice
                if !text.is_empty() && !input.options.iter().any(|option| option.value == text) =>
            {
                let options: Vec<&str> =
                    input.options.iter().map(|one| one.value.as_str()).collect();
                wrong.push(format!(
                    "the input `{name}` is one of {}, not `{text}`",
                    options.join(", ")
                ));
                continue;
            }
            InputKind::Choice | InputKind::Text | InputKind::Environment => Value::from(text),
        };
        inputs.insert(name.clone(), value);
    }
    for name in given.keys() {
        if !declared.iter().any(|input| input.name.value.eq_ignore_ascii_case(name)) {
            wrong.push(format!("the workflow has no input `{name}`"));
        }
    }
    if wrong.is_empty() { Ok(inputs) } else { Err(wrong) }
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
    fn a_commit_message_may_skip_the_run() {
        let mut event = push("refs/heads/main", &["x"]);
        assert!(starts("on: push", &event));
        for message in ["Fix [skip ci]", "Fix [CI Skip]", "Fix\n\nbody\n\nskip-checks: true\n"] {
            event.message = message.to_owned();
            assert!(!starts("on: push", &event), "{message}");
        }
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
    fn inputs_have_their_types() {
        let on = "on: {workflow_dispatch: {inputs: {b: {type: boolean, default: true}, n: {type: number, required: true}, c: {type: choice, options: [x, y]}}}}";
        let workflow = workflow(on);
        let trigger = workflow.trigger("workflow_dispatch");
        let given = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let inputs = read_inputs(trigger, &given(&[("N", "3"), ("c", "y")])).expect("are right");
        assert_eq!(inputs.get("b"), Some(&Value::Boolean(true)));
        assert_eq!(inputs.get("n"), Some(&Value::Number(3.0)));
        let wrong = read_inputs(trigger, &given(&[("c", "z"), ("d", "1")]));
        assert_eq!(wrong.expect_err("three are wrong").len(), 3);
    }
}
