//! What happened that may start a workflow.

use source::workflow::{InputKind, Trigger};

use crate::expression::{Object, Value};

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
    /// What happened to its object, as in `opened`.
    pub activity: Option<String>,
    /// The branch that a pull request goes into.
    pub base_ref: String,
    /// The branch that a pull request comes from, or that a run was for.
    pub head_ref: String,
    /// The name of the workflow whose run this is about.
    pub upstream: Option<String>,
    /// The entry of `schedule` whose time has come.
    pub schedule: Option<String>,
    /// What `github.event` holds besides what every event has.
    pub details: serde_json::Map<String, serde_json::Value>,
    /// What somebody said about `github.event`; it wins over what is known otherwise.
    pub overlay: Option<serde_json::Value>,
    /// `github.event` in place of the one made from the fields above.
    pub payload: Option<serde_json::Value>,
}

impl Event {
    /// The short name of the branch or tag.
    pub fn ref_name(&self) -> &str {
        ["refs/heads/", "refs/tags/", "refs/pull/", "refs/"]
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
        let mut payload = serde_json::json!({ "repository": repository, "sender": sender });
        if matches!(self.name.as_str(), "push" | "workflow_dispatch" | "create" | "delete") {
            payload["ref"] = self.git_ref.clone().into();
        }
        if let Some(activity) = &self.activity {
            payload["action"] = activity.clone().into();
        }
        if let Some(schedule) = &self.schedule {
            payload["schedule"] = schedule.clone().into();
        }
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
            payload["base_ref"] = serde_json::Value::Null;
        }
        if self.name == "workflow_dispatch" {
            let inputs: serde_json::Map<String, serde_json::Value> = inputs
                .iter()
                .map(|(name, value)| (name.to_owned(), value.to_text().into()))
                .collect();
            payload["inputs"] = inputs.into();
        }
        for (name, value) in &self.details {
            payload[name.as_str()] = value.clone();
        }
        if let Some(overlay) = &self.overlay {
            let typed = payload.get("inputs").cloned();
            lay_over(&mut payload, overlay.clone());
            // They are read with their types and defaults, and are the same texts besides.
            if let Some(inputs) = typed {
                payload["inputs"] = inputs;
            }
        }
        payload
    }

    /// Takes `github.event` from somebody who knows better, and with it what it says about the
    /// branch, the activity and the message; what it does not say stays as it is.
    ///
    /// Returns the inputs it holds.
    pub fn overlay(
        &mut self,
        payload: serde_json::Value,
    ) -> std::collections::BTreeMap<String, String> {
        let text = |pointer: &str| {
            payload.pointer(pointer).and_then(|value| value.as_str()).map(str::to_owned)
        };
        if let Some(activity) = text("/action").or_else(|| text("/event_type")) {
            self.activity = Some(activity);
        }
        match self.name.as_str() {
            "pull_request" | "pull_request_target" => {
                if let Some(base) = text("/pull_request/base/ref") {
                    self.base_ref = base;
                }
                if let Some(head) = text("/pull_request/head/ref") {
                    self.head_ref = head;
                }
                let number =
                    payload.get("number").or_else(|| payload.pointer("/pull_request/number"));
                if let Some(number) = number.and_then(serde_json::Value::as_u64)
                    && self.name == "pull_request"
                {
                    self.git_ref = format!("refs/pull/{number}/merge");
                }
            }
            "release" => {
                if let Some(tag) = text("/release/tag_name") {
                    self.git_ref = format!("refs/tags/{tag}");
                }
            }
            "merge_group" => {
                if let Some(base) = text("/merge_group/base_ref") {
                    base.trim_start_matches("refs/heads/").clone_into(&mut self.base_ref);
                }
                if let Some(head) = text("/merge_group/head_ref") {
                    self.git_ref = head;
                }
            }
            "workflow_run" => {
                self.upstream = text("/workflow_run/name").or(self.upstream.take());
                if let Some(branch) = text("/workflow_run/head_branch") {
                    self.head_ref = branch;
                }
            }
            "schedule" => self.schedule = text("/schedule").or(self.schedule.take()),
            // A short name is a branch; GitHub itself writes the long one.
            "create" | "delete" => {
                if let Some(name) = text("/ref") {
                    let kind = text("/ref_type").unwrap_or_default();
                    let folder = if kind == "tag" { "refs/tags/" } else { "refs/heads/" };
                    self.git_ref = long_name(&name, folder);
                }
            }
            _ => {
                if let Some(name) = text("/ref").filter(|name| !name.is_empty()) {
                    self.git_ref = long_name(&name, "refs/heads/");
                }
            }
        }
        if let Some(before) = text("/before") {
            self.before = Some(before).filter(|id| id.bytes().any(|byte| byte != b'0'));
        }
        if let Some(message) = text("/head_commit/message") {
            self.message = message;
        }
        if let Some(actor) = text("/sender/login") {
            self.actor = actor;
        }
        if let Some(repository) =
            text("/repository/full_name").filter(|name| name.matches('/').count() == 1)
        {
            self.repository = repository;
        }
        if let Some(branch) = text("/repository/default_branch") {
            self.default_branch = branch;
        }
        let inputs = payload.get("inputs").and_then(|inputs| inputs.as_object());
        let inputs = inputs
            .into_iter()
            .flatten()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| {
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                (name.clone(), text)
            })
            .collect();
        self.overlay = Some(payload);
        inputs
    }
}

/// Objects are merged, everything else is replaced.
fn lay_over(below: &mut serde_json::Value, above: serde_json::Value) {
    match (below, above) {
        (serde_json::Value::Object(below), serde_json::Value::Object(above)) => {
            for (name, value) in above {
                lay_over(below.entry(name).or_insert(serde_json::Value::Null), value);
            }
        }
        (below, above) => *below = above,
    }
}

fn long_name(name: &str, folder: &str) -> String {
    if name.starts_with("refs/") { name.to_owned() } else { format!("{folder}{name}") }
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

    fn workflow(text: &str) -> source::workflow::Workflow {
        let text = format!("{text}\njobs: {{a: {{runs-on: x, steps: [{{run: x}}]}}}}\n");
        let (workflow, findings) = source::workflow::read("w.yml", &text);
        assert!(!findings.iter().any(source::Finding::is_error), "{findings:?}");
        workflow.expect("is a workflow")
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

    #[test]
    fn a_payload_from_outside_says_what_happened() {
        let mut event = Event { name: "pull_request".to_owned(), ..Event::default() };
        event.base_ref = "main".to_owned();
        event.overlay(serde_json::json!({
            "action": "labeled", "number": 7,
            "pull_request": { "base": { "ref": "next" }, "head": { "ref": "topic" } },
        }));
        assert_eq!(event.activity.as_deref(), Some("labeled"));
        assert_eq!((event.base_ref.as_str(), event.head_ref.as_str()), ("next", "topic"));
        assert_eq!((event.git_ref.as_str(), event.ref_name()), ("refs/pull/7/merge", "7/merge"));

        let mut event = Event { name: "workflow_dispatch".to_owned(), ..Event::default() };
        let inputs = event.overlay(
            serde_json::json!({ "ref": "dev", "inputs": { "n": 3, "s": "x", "b": true } }),
        );
        assert_eq!(event.git_ref, "refs/heads/dev");
        let inputs: Vec<_> = inputs.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(inputs, ["b=true", "n=3", "s=x"]);
    }
}
