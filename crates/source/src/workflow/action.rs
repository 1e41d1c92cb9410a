//! Actions: what an `action.yml` takes, gives and does, read whole and with positions.
//!
//! GitHub's reader of actions is kinder than that of workflows: keys it does not know are passed
//! over. What is wrong is said in its words. A composite action's steps are [`Step`]s like those of
//! a job, in a scope of their own.

use super::build;
use super::{Site, Spanned, Step, StepKind, Template};
use crate::yaml::{self, DuplicateKeys, Findings, Node, Value};
use crate::{Finding, Position, Span};

/// The names an action's file may have, in the order they are looked for.
pub const FILE_NAMES: [&str; 2] = ["action.yml", "action.yaml"];

/// An action.
#[derive(Debug, Clone, PartialEq)]
pub struct Action {
    /// The path of its file.
    pub path: String,
    /// `name`.
    pub name: Option<String>,
    /// `inputs`, in the order written.
    pub inputs: Vec<ActionInput>,
    /// `outputs`, in the order written.
    pub outputs: Vec<ActionOutput>,
    /// `runs`.
    pub runs: Runs,
    /// Every place that holds an expression, with what it may use there.
    pub expressions: Vec<Site>,
}

/// One entry of `inputs`.
#[derive(Debug, Clone, PartialEq)]
pub struct ActionInput {
    /// Its name.
    pub name: Spanned<String>,
    /// `default`.
    pub default: Option<Template>,
    /// `required`: what the author wishes; GitHub does not insist.
    pub required: bool,
    /// `deprecationMessage`.
    pub deprecated: Option<String>,
}

/// One entry of `outputs`.
#[derive(Debug, Clone, PartialEq)]
pub struct ActionOutput {
    /// Its name.
    pub name: Spanned<String>,
    /// `value`; only composite actions have one.
    pub value: Option<Template>,
}

/// What an action does.
#[derive(Debug, Clone, PartialEq)]
pub enum Runs {
    /// A program for Node.js.
    JavaScript(JavaScript),
    /// Steps.
    Composite(Vec<Step>),
    /// A container.
    Docker {
        /// Where `using` stands.
        span: Span,
        /// `image`.
        image: String,
    },
}

/// A program for Node.js, with what runs before and after it.
#[derive(Debug, Clone, PartialEq)]
pub struct JavaScript {
    /// `using`: `node20` and its like.
    pub using: Spanned<String>,
    /// `main`.
    pub main: Spanned<String>,
    /// `pre`: what runs before the first step of the job.
    pub pre: Option<Spanned<String>>,
    /// `pre-if`; always when not said.
    pub pre_if: Option<Template>,
    /// `post`: what runs after the last step of the job.
    pub post: Option<Spanned<String>>,
    /// `post-if`; always when not said.
    pub post_if: Option<Template>,
}

impl Action {
    /// The input of this name; names ignore case.
    pub fn input(&self, name: &str) -> Option<&ActionInput> {
        self.inputs.iter().find(|input| input.name.value.eq_ignore_ascii_case(name))
    }

    /// Every step that uses another action.
    pub fn used(&self) -> impl Iterator<Item = &Step> {
        let steps = match &self.runs {
            Runs::Composite(steps) => steps.as_slice(),
            Runs::JavaScript(_) | Runs::Docker { .. } => &[],
        };
        steps.iter().filter(|step| matches!(step.kind, StepKind::Uses { .. }))
    }
}

// What expressions may use, by place.

const INPUT_DEFAULT: &[&str] =
    &["github", "strategy", "matrix", "job", "runner", "hashFiles(1,255)"];
const OUTPUT_VALUE: &[&str] =
    &["github", "strategy", "matrix", "steps", "inputs", "job", "runner", "env"];
const RUNS_IF: &[&str] = &[
    "github",
    "inputs",
    "strategy",
    "matrix",
    "job",
    "runner",
    "env",
    "always(0,0)",
    "failure(0,0)",
    "cancelled(0,0)",
    "success(0,0)",
    "hashFiles(1,255)",
];
const STEP: &[&str] = &[
    "github",
    "inputs",
    "strategy",
    "matrix",
    "steps",
    "job",
    "runner",
    "env",
    "hashFiles(1,255)",
];
const STEP_IF: &[&str] = &[
    "github",
    "inputs",
    "strategy",
    "matrix",
    "steps",
    "job",
    "runner",
    "env",
    "always(0,0)",
    "failure(0,0)",
    "cancelled(0,0)",
    "success(0,0)",
    "hashFiles(1,255)",
];

/// Reads an action: what could be read, and everything that is wrong with it.
///
/// With an error among the findings the action is not to be run. It is `None` when it is not clear
/// what it runs.
pub fn read(path: &str, text: &str) -> (Option<Action>, Vec<Finding>) {
    let options = yaml::Options {
        max_bytes: 1 << 20,
        max_depth: 50,
        duplicate_keys: DuplicateKeys::RefuseIgnoringCase,
        glued_comments: true,
        ..yaml::Options::default()
    };
    let (root, faults) = yaml::read(path, text, &options);
    let is_whole = faults.is_empty();
    let mut findings = Findings::new(path);
    findings.extend(faults);
    let action = root
        .and_then(|root| Reader { findings: &mut findings, sites: Vec::new() }.action(path, &root));
    if action.is_none() && is_whole && findings.list().is_empty() {
        let start = Position::new(1, 1);
        no_runs(&mut findings, path, Span::new(start, start));
    }
    (action, findings.into_sorted())
}

fn no_runs(findings: &mut Findings, path: &str, span: Span) {
    let message = format!("Top level 'runs:' section is required for {path}");
    findings.error("action-runs", message, span).help = Some(
        "add `runs:` with `using: composite` and `steps`, or `using: node24` and `main`".into(),
    );
}

struct Reader<'a> {
    findings: &'a mut Findings,
    sites: Vec<Site>,
}

impl Reader<'_> {
    fn action(mut self, path: &str, root: &Node) -> Option<Action> {
        if root.as_mapping().is_none() {
            self.error(root, "A mapping was expected");
            return None;
        }
        let inputs = self.entries(root, "inputs", Self::input);
        let outputs = self.entries(root, "outputs", Self::output);
        let name = root.get("name").and_then(build::spanned).map(|name| name.value);
        let Some(runs) = root.get("runs") else {
            no_runs(self.findings, path, root.span.first());
            return None;
        };
        let runs = self.runs(path, runs)?;
        Some(Action { path: path.to_owned(), name, inputs, outputs, runs, expressions: self.sites })
    }

    fn error(&mut self, node: &Node, message: impl Into<String>) {
        self.findings.error("action", message, node.span);
    }

    fn entries<T>(
        &mut self,
        root: &Node,
        key: &str,
        read: impl Fn(&mut Self, Spanned<String>, &Node) -> T,
    ) -> Vec<T> {
        let Some(node) = root.get(key).filter(|node| !node.is_null()) else { return Vec::new() };
        let Some(entries) = node.as_mapping() else {
            self.error(node, "A mapping was expected");
            return Vec::new();
        };
        let mut list = Vec::new();
        for (key, value) in entries {
            match build::spanned(key).filter(|name| !name.value.is_empty()) {
                Some(name) => list.push(read(self, name, value)),
                None => self.error(key, "Unexpected value ''"),
            }
        }
        list
    }

    fn input(&mut self, name: Spanned<String>, node: &Node) -> ActionInput {
        if node.as_mapping().is_none() && !node.is_null() {
            self.error(node, "A mapping was expected");
        }
        let text = |key: &str| node.get(key).and_then(build::spanned).map(|text| text.value);
        ActionInput {
            default: self.text(node, "default", INPUT_DEFAULT),
            required: text("required").is_some_and(|text| text == "true"),
            deprecated: text("deprecationMessage").filter(|text| !text.is_empty()),
            name,
        }
    }

    fn output(&mut self, name: Spanned<String>, node: &Node) -> ActionOutput {
        if node.as_mapping().is_none() && !node.is_null() {
            self.error(node, "A mapping was expected");
        }
        ActionOutput { value: self.text(node, "value", OUTPUT_VALUE), name }
    }

    fn runs(&mut self, path: &str, node: &Node) -> Option<Runs> {
        if node.as_mapping().is_none() {
            self.error(node, "A mapping was expected");
            return None;
        }
        let Some(using) = node.get("using").and_then(build::spanned) else {
            let span = node.span.first();
            self.findings.error("action-runs", "Missing 'using' value. 'using' requires 'composite', 'docker', 'node12', 'node16', 'node20' or 'node24'.", span);
            return None;
        };
        let name = using.value.to_ascii_lowercase();
        match name.as_str() {
            "docker" => {
                let image = self.required(
                    node,
                    "image",
                    &format!(
                        "You are using a Container Action but an image is not provided in {path}."
                    ),
                )?;
                Some(Runs::Docker { span: using.span, image: image.value })
            }
            "composite" => self.composite(path, node),
            _ if name.strip_prefix("node").is_some_and(is_version) => {
                let main = self.required(node, "main", &format!("You are using a JavaScript Action but there is not an entry JavaScript file provided in {path}."))?;
                let file = |key: &str| {
                    node.get(key).and_then(build::spanned).filter(|file| !file.value.is_empty())
                };
                Some(Runs::JavaScript(JavaScript {
                    main,
                    pre: file("pre"),
                    post: file("post"),
                    pre_if: self.condition(node, "pre-if", RUNS_IF),
                    post_if: self.condition(node, "post-if", RUNS_IF),
                    using,
                }))
            }
            _ => {
                let message = format!(
                    "'using: {}' is not supported, use 'docker', 'node12', 'node16', 'node20' or 'node24' instead.",
                    using.value
                );
                self.findings.error("action-runs", message, using.span);
                None
            }
        }
    }

    fn required(&mut self, node: &Node, key: &str, message: &str) -> Option<Spanned<String>> {
        let found = node.get(key).and_then(build::spanned).filter(|text| !text.value.is_empty());
        if found.is_none() {
            self.findings.error("action-runs", message, node.span.first());
        }
        found
    }

    fn composite(&mut self, path: &str, node: &Node) -> Option<Runs> {
        let Some(steps) = node.get("steps").filter(|steps| !steps.is_null()) else {
            let message = format!(
                "You are using a composite action but there are no steps provided in {path}."
            );
            self.findings.error("action-runs", message, node.span.first());
            return None;
        };
        let Some(items) = steps.as_sequence() else {
            self.error(steps, "A sequence was expected");
            return None;
        };
        for item in items {
            self.step(item);
        }
        Some(Runs::Composite(build::composite_steps(items)))
    }

    fn step(&mut self, node: &Node) {
        let Some(entries) = node.as_mapping() else {
            self.error(node, "A mapping was expected");
            return;
        };
        let runs = node.get("run").is_some();
        if !runs && node.get("uses").is_none() {
            let message = "There's not enough info to determine what you meant. Add one of these properties: run, shell, uses, with, working-directory";
            self.findings.error("action-step", message, node.span.first());
            return;
        }
        let known: &[&str] = if runs {
            &["name", "id", "if", "run", "shell", "env", "continue-on-error", "working-directory"]
        } else {
            &["name", "id", "if", "uses", "with", "env", "continue-on-error"]
        };
        for (key, value) in entries {
            let name = key.as_str().unwrap_or_default();
            if !known.contains(&name) {
                self.error(key, format!("Unexpected value '{name}'"));
                continue;
            }
            match name {
                "if" => drop(self.condition(node, "if", STEP_IF)),
                "env" | "with" => self.mapping(value),
                "continue-on-error" => {
                    let is_boolean = value.as_str().is_some_and(|text| {
                        matches!(text, "true" | "false" | "True" | "False" | "TRUE" | "FALSE")
                    });
                    let template = self.text(node, name, STEP);
                    if !is_boolean && !template.is_some_and(|one| one.has_expression()) {
                        let text = value.as_str().unwrap_or_default();
                        self.error(value, format!("Unexpected value '{text}'"));
                    }
                }
                "id" | "uses" => {
                    if build::spanned(value).is_none_or(|text| text.value.is_empty()) {
                        self.error(value, "Unexpected value ''");
                    }
                }
                _ => drop(self.text(node, name, STEP)),
            }
        }
        if runs && node.get("shell").is_none() {
            let finding = self.findings.error(
                "action-step",
                "Required property is missing: shell",
                node.span.first(),
            );
            finding.help =
                Some("add `shell: bash`; steps of an action have no default shell".into());
        }
    }

    fn mapping(&mut self, node: &Node) {
        match &node.value {
            Value::Mapping(entries) => {
                for (key, value) in entries {
                    self.scalar(key, STEP);
                    self.scalar(value, STEP);
                }
            }
            Value::Scalar(_) if Template::of(node).is_some_and(|one| one.has_expression()) => {
                self.scalar(node, STEP);
            }
            _ if node.is_null() => {}
            _ => self.error(node, "A mapping was expected"),
        }
    }

    /// The text under a key, with the expressions in it noted.
    fn text(&mut self, node: &Node, key: &str, contexts: &[&'static str]) -> Option<Template> {
        let value = node.get(key)?;
        self.scalar(value, contexts)
    }

    fn scalar(&mut self, value: &Node, contexts: &[&'static str]) -> Option<Template> {
        let Some(template) = Template::of(value) else {
            let what = if value.as_sequence().is_some() { "sequence" } else { "mapping" };
            self.error(value, format!("A {what} was not expected"));
            return None;
        };
        if template.has_expression() {
            if template.parts().is_err() {
                self.error(value, "The expression is not closed. An unescaped ${{ sequence was found, but the closing }} sequence was not found.");
                return None;
            }
            self.note(&template, contexts, false);
        }
        Some(template)
    }

    fn condition(&mut self, node: &Node, key: &str, contexts: &[&'static str]) -> Option<Template> {
        let template = self.text(node, key, contexts)?;
        if !template.has_expression() && !template.coerced().trim().is_empty() {
            self.note(&template, contexts, true);
        } else if let Some(last) = self.sites.last_mut().filter(|_| template.has_expression()) {
            last.condition = true;
        }
        Some(template)
    }

    fn note(&mut self, template: &Template, contexts: &[&'static str], condition: bool) {
        self.sites.push(Site {
            template: template.clone(),
            contexts: contexts.to_vec(),
            condition,
        });
    }
}

fn is_version(text: &str) -> bool {
    !text.is_empty() && text.len() <= 3 && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<String> {
        let (_, findings) = read("action.yml", text);
        findings.iter().map(|finding| format!("{} {}", finding.place, finding.message)).collect()
    }

    #[test]
    fn a_composite_action_has_inputs_outputs_and_steps() {
        let text = "name: Greet\ninputs:\n  who: {default: '${{ github.actor }}', deprecationMessage: old}\n  loud: {}\noutputs:\n  said: {value: '${{ steps.s.outputs.x }}'}\nruns:\n  using: composite\n  steps:\n    - id: s\n      run: echo ${{ inputs.who }}\n      shell: bash\n    - uses: ./other\n      if: failure()\n";
        let (action, findings) = read("action.yml", text);
        assert_eq!(findings, []);
        let action = action.expect("is an action");
        assert_eq!(action.input("WHO").and_then(|input| input.deprecated.as_deref()), Some("old"));
        assert_eq!(action.outputs[0].name.value, "said");
        assert_eq!(action.used().count(), 1);
        assert_eq!(action.expressions.len(), 4);
        assert!(matches!(&action.runs, Runs::Composite(steps) if steps[1].id == "__self"));
    }

    #[test]
    fn a_javascript_action_has_what_runs_before_and_after() {
        let text = "runs: {using: node20, main: a.js, pre: b.js, post: c.js, post-if: success()}";
        let (action, findings) = read("action.yml", text);
        assert_eq!(findings, []);
        let Some(Runs::JavaScript(script)) = action.map(|action| action.runs) else {
            panic!("is JavaScript");
        };
        assert_eq!(script.pre.map(|file| file.value).as_deref(), Some("b.js"));
        assert_eq!(script.post_if.map(|when| when.text).as_deref(), Some("success()"));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        assert_eq!(
            faults("name: x"),
            ["action.yml:1:1 Top level 'runs:' section is required for action.yml"]
        );
        assert_eq!(
            faults(
                "runs:\n  using: composite\n  steps:\n    - run: x\n    - name: y\n    - uses: a/b@c\n      timeout-minutes: 3\n"
            ),
            [
                "action.yml:4:7 Required property is missing: shell",
                "action.yml:5:7 There's not enough info to determine what you meant. Add one of these properties: run, shell, uses, with, working-directory",
                "action.yml:7:7 Unexpected value 'timeout-minutes'",
            ]
        );
        assert_eq!(
            faults("runs: {using: rust}"),
            [
                "action.yml:1:15 'using: rust' is not supported, use 'docker', 'node12', 'node16', 'node20' or 'node24' instead."
            ]
        );
        assert_eq!(
            faults("runs: {using: node20}"),
            [
                "action.yml:1:7 You are using a JavaScript Action but there is not an entry JavaScript file provided in action.yml."
            ]
        );
    }

    #[test]
    fn keys_nobody_knows_are_passed_over() {
        assert_eq!(
            faults(
                "branding: {icon: x}\nwhatever: [1]\nruns: {using: node24, main: a.js, more: 1}"
            ),
            Vec::<String>::new()
        );
    }
}
