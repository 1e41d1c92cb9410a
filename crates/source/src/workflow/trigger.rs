//! What starts a workflow: the entries of `on`.

use serde::Serialize;

use super::event::{self, Event};
use super::fault::Faults;
use super::schema::{Definition, TEXT, TEXTS};
use super::{Literal, Spanned, Template, build, cron, message, pattern};
use crate::Span;
use crate::yaml::{Findings, Node, Value};

/// One entry of `on`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Trigger {
    /// The event: `push`, `pull_request`, `schedule`.
    pub event: Spanned<String>,
    /// `types`; `None` leaves the event's own default.
    pub types: Option<Vec<Spanned<String>>>,
    /// `branches`, `tags` and `paths`.
    pub filters: Filters,
    /// `workflows` of `workflow_run`.
    pub workflows: Vec<Spanned<String>>,
    /// `names` of `image_version`.
    pub names: Vec<Spanned<String>>,
    /// `versions` of `image_version`.
    pub versions: Vec<Spanned<String>>,
    /// The entries of `schedule`.
    pub schedules: Vec<Schedule>,
    /// `inputs` of `workflow_dispatch` and `workflow_call`.
    pub inputs: Vec<Input>,
    /// `secrets` of `workflow_call`.
    pub secrets: Vec<CallSecret>,
    /// `outputs` of `workflow_call`.
    pub outputs: Vec<CallOutput>,
}

impl Trigger {
    /// A trigger on an event with nothing else said.
    pub fn on(event: Spanned<String>) -> Self {
        Self {
            event,
            types: None,
            filters: Filters::default(),
            workflows: Vec::new(),
            names: Vec::new(),
            versions: Vec::new(),
            schedules: Vec::new(),
            inputs: Vec::new(),
            secrets: Vec::new(),
            outputs: Vec::new(),
        }
    }
}

/// Patterns an event must pass. `None` is no filter; an empty list lets nothing pass.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Filters {
    /// `branches`.
    pub branches: Option<Vec<Spanned<String>>>,
    /// `branches-ignore`.
    pub branches_ignore: Option<Vec<Spanned<String>>>,
    /// `tags`.
    pub tags: Option<Vec<Spanned<String>>>,
    /// `tags-ignore`.
    pub tags_ignore: Option<Vec<Spanned<String>>>,
    /// `paths`.
    pub paths: Option<Vec<Spanned<String>>>,
    /// `paths-ignore`.
    pub paths_ignore: Option<Vec<Spanned<String>>>,
}

/// One entry of `schedule`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Schedule {
    /// `cron`: minute, hour, day of month, month, day of week.
    pub cron: Spanned<String>,
    /// `timezone` by IANA name; UTC unless given.
    pub timezone: Option<Spanned<String>>,
}

/// One entry of `inputs`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Input {
    /// Its key.
    pub name: Spanned<String>,
    /// Where its mapping stands.
    pub span: Span,
    /// `description`.
    pub description: Option<String>,
    /// `type`.
    pub kind: InputKind,
    /// `required`.
    pub required: bool,
    /// `default`, with the type it was written in; may be an expression in `workflow_call`.
    pub default: Option<Template>,
    /// `options` of a choice.
    pub options: Vec<Spanned<String>>,
}

/// What an input takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum InputKind {
    /// A text.
    Text,
    /// `true` or `false`.
    Boolean,
    /// A number.
    Number,
    /// One of `options`.
    Choice,
    /// The name of an environment.
    Environment,
}

/// One entry of `workflow_call.secrets`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CallSecret {
    /// Its key.
    pub name: Spanned<String>,
    /// `description`.
    pub description: Option<String>,
    /// `required`.
    pub required: bool,
}

/// One entry of `workflow_call.outputs`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CallOutput {
    /// Its key.
    pub name: Spanned<String>,
    /// `value`; absent only in a file with an error finding.
    pub value: Option<Template>,
}

impl Trigger {
    /// Where the event's name stands.
    pub fn span(&self) -> Span {
        self.event.span
    }
}

/// What may stand under `on`. GitHub's reader takes every event and looks at what stands below
/// `workflow_call` alone; its language server, which is strict, knows every event.
pub(super) fn definitions(is_strict: bool) -> Vec<&'static Definition> {
    if is_strict { event::STRICT.to_vec() } else { vec![&TEXT, &TEXTS, &event::LENIENT] }
}

/// Checks what GitHub's language server has to say of triggers beyond their shape.
pub(super) fn check_strictly(on: &[Trigger], faults: &mut Faults) {
    for trigger in on {
        for schedule in &trigger.schedules {
            if cron::check(&schedule.cron.value).is_err() {
                message::cron_refused(faults, schedule.cron.span);
            }
        }
        let inputs =
            if trigger.event.value == "workflow_dispatch" { &*trigger.inputs } else { &[] };
        for input in inputs {
            let (is_choice, has_options) =
                (input.kind == InputKind::Choice, !input.options.is_empty());
            if let Some(default) = &input.default {
                let found = match default.literal {
                    Literal::Boolean(_) => "BooleanToken",
                    Literal::Number(_) => "NumberToken",
                    Literal::Null | Literal::Text => "StringToken",
                };
                let wanted = match input.kind {
                    InputKind::Boolean => "BooleanToken",
                    InputKind::Number => "NumberToken",
                    _ => "StringToken",
                };
                if found != wanted {
                    message::default_refused(faults, default.span, found, wanted);
                }
            }
            if is_choice != has_options {
                message::options_refused(faults, input.span, is_choice);
            }
        }
    }
}

/// Reads the triggers under `on`, with their findings.
pub(super) fn read(on: &Node, findings: &mut Findings) -> Vec<Trigger> {
    match &on.value {
        Value::Mapping(entries) => {
            entries.iter().filter_map(|(key, value)| configured(key, value, findings)).collect()
        }
        Value::Scalar(_) | Value::Sequence(_) => {
            let names = on.as_sequence().unwrap_or(std::slice::from_ref(on));
            names.iter().filter_map(|name| named(name, findings)).map(Trigger::on).collect()
        }
    }
}

/// The name of an event; a finding if there is no such event.
fn named(node: &Node, findings: &mut Findings) -> Option<Spanned<String>> {
    let name = build::spanned(node).filter(|name| !name.value.contains("${{"))?;
    if event::find(&name.value).is_none() {
        message::event_unknown(findings, node, &event::names());
    }
    Some(name)
}

fn configured(key: &Node, node: &Node, findings: &mut Findings) -> Option<Trigger> {
    let mut trigger = Trigger::on(named(key, findings)?);
    let name = trigger.event.value.clone();
    let event = event::find(&name)?;
    if event.name == "schedule" {
        trigger.schedules = schedules(node, findings);
        return Some(trigger);
    }
    let Some(entries) = node.as_mapping() else {
        // What `workflow_call` may hold is in the table; the others are read only here.
        if !node.is_null() && event.name != "workflow_call" {
            message::event_not_mapping(findings, node);
        }
        return Some(trigger);
    };
    if event.name != "workflow_call" {
        unknown_keys(event, entries, findings);
    }
    if let Some(types) = node.get("types").filter(|_| takes_types(event)) {
        let types = build::texts(Some(types));
        for activity in &types {
            if !event.activities.is_empty() && !event.activities.contains(&activity.value.as_str())
            {
                message::activity_unknown(findings, event.name, activity, event.activities);
            }
        }
        trigger.types = Some(types);
    }
    let listed = |key| event.keys.contains(&key).then(|| build::texts(node.get(key)));
    trigger.workflows = listed("workflows").unwrap_or_default();
    trigger.names = listed("names").unwrap_or_default();
    trigger.versions = listed("versions").unwrap_or_default();
    trigger.filters = filters(event, node, findings);
    trigger.inputs = inputs(event, node, findings);
    if event.name == "workflow_call" {
        trigger.secrets = build::children(node, "secrets").filter_map(secret).collect();
        trigger.outputs = build::children(node, "outputs").filter_map(output).collect();
    }
    Some(trigger)
}

fn takes_types(event: &Event) -> bool {
    !event.activities.is_empty() || event.name == "repository_dispatch"
}

fn unknown_keys(event: &Event, entries: &[(Node, Node)], findings: &mut Findings) {
    let mut known = event.keys.to_vec();
    if takes_types(event) {
        known.insert(0, "types");
    }
    for (key, _) in entries {
        if !key.as_str().is_some_and(|name| known.contains(&name)) {
            message::event_key_ignored(findings, event.name, key, &known);
        }
    }
}

fn filters(event: &Event, node: &Node, findings: &mut Findings) -> Filters {
    for name in ["branches", "tags", "paths"] {
        let ignore = format!("{name}-ignore");
        if let (Some(_), Some((key, _))) = (node.get(name), node.entry(&ignore))
            && event.keys.contains(&name)
        {
            message::filters_exclude(findings, event.name, name, key);
        }
    }
    let mut read = |name: &str| {
        let patterns = build::texts(Some(node.get(name).filter(|_| event.keys.contains(&name))?));
        for found in &patterns {
            if let Err(why) = pattern::check(&found.value) {
                message::pattern_invalid(findings, found, &why);
            }
        }
        let excludes = |pattern: &Spanned<String>| pattern.value.starts_with('!');
        if let Some(first) = patterns.first()
            && !name.ends_with("-ignore")
            && patterns.iter().all(excludes)
        {
            message::patterns_only_exclude(findings, name, first);
        }
        Some(patterns)
    };
    Filters {
        branches: read("branches"),
        branches_ignore: read("branches-ignore"),
        tags: read("tags"),
        tags_ignore: read("tags-ignore"),
        paths: read("paths"),
        paths_ignore: read("paths-ignore"),
    }
}

fn schedules(node: &Node, findings: &mut Findings) -> Vec<Schedule> {
    let Some(items) = node.as_sequence() else {
        message::schedule_not_list(findings, node);
        return Vec::new();
    };
    let mut schedules = Vec::new();
    for item in items {
        let Some(entries) = item.as_mapping() else {
            message::event_not_mapping(findings, item);
            continue;
        };
        for (key, _) in entries {
            if !matches!(key.as_str(), Some("cron" | "timezone")) {
                message::schedule_key_unknown(findings, key);
            }
        }
        let Some(cron) = item.get("cron").and_then(build::spanned) else {
            message::cron_missing(findings, item);
            continue;
        };
        if let Err(why) = cron::check(&cron.value) {
            message::cron_invalid(findings, &cron, &why);
        }
        let timezone = item.get("timezone").and_then(build::spanned);
        if let Some(zone) = timezone.as_ref().filter(|zone| !is_zone(&zone.value)) {
            message::timezone_unknown(findings, zone);
        }
        schedules.push(Schedule { cron, timezone });
    }
    schedules
}

/// Whether a text has the form of a zone's name: `UTC`, `Europe/Berlin`, `Etc/GMT+5`.
fn is_zone(name: &str) -> bool {
    let is_part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic())
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-+".contains(&byte))
    };
    name.len() <= 64 && name.split('/').count() <= 3 && name.split('/').all(is_part)
}

fn inputs(event: &Event, node: &Node, findings: &mut Findings) -> Vec<Input> {
    if !event.keys.contains(&"inputs") {
        return Vec::new();
    }
    let is_dispatch = event.name == "workflow_dispatch";
    build::children(node, "inputs")
        .filter_map(|(key, value)| {
            if is_dispatch {
                dispatch_input_shape(value, findings);
            }
            let input = input(key, value)?;
            default(&input, findings);
            if is_dispatch && input.kind == InputKind::Choice && input.options.is_empty() {
                message::choice_without_options(findings, &input.name);
            }
            Some(input)
        })
        .collect()
}

const INPUT_KEYS: &[&str] =
    &["description", "type", "required", "default", "options", "deprecationMessage"];
const INPUT_TYPES: &[&str] = &["string", "boolean", "number", "choice", "environment"];

fn dispatch_input_shape(node: &Node, findings: &mut Findings) {
    let Some(entries) = node.as_mapping() else {
        if !node.is_null() {
            message::event_not_mapping(findings, node);
        }
        return;
    };
    for (key, value) in entries {
        match key.as_str() {
            Some("type") if !value.as_str().is_some_and(|kind| INPUT_TYPES.contains(&kind)) => {
                message::input_value(findings, value, "the type of an input", INPUT_TYPES);
            }
            Some("required") if value.kind() != "true or false" => {
                message::input_value(findings, value, "true or false", &["true", "false"]);
            }
            Some(name) if INPUT_KEYS.contains(&name) => {}
            _ => message::event_key_ignored(findings, "inputs", key, INPUT_KEYS),
        }
    }
}

fn input(key: &Node, node: &Node) -> Option<Input> {
    Some(Input {
        name: build::spanned(key)?,
        span: node.span,
        description: node.get("description").and_then(Node::as_str).map(str::to_owned),
        kind: match node.get("type").and_then(Node::as_str) {
            Some("boolean") => InputKind::Boolean,
            Some("number") => InputKind::Number,
            Some("choice") => InputKind::Choice,
            Some("environment") => InputKind::Environment,
            _ => InputKind::Text,
        },
        required: is_true(node, "required"),
        default: build::template(node, "default"),
        options: build::texts(node.get("options")),
    })
}

/// Checks that the default of an input is one of the values it takes.
fn default(input: &Input, findings: &mut Findings) {
    let Some(default) = input.default.as_ref().filter(|default| !default.has_expression()) else {
        return;
    };
    let name = &input.name.value;
    let text = default.coerced();
    match input.kind {
        InputKind::Boolean if !matches!(text.as_ref(), "true" | "false" | "") => {
            message::default_mistyped(findings, name, "`true` or `false`", default.span);
        }
        InputKind::Number if !text.is_empty() && text.trim().parse::<f64>().is_err() => {
            message::default_mistyped(findings, name, "a number", default.span);
        }
        InputKind::Choice if !input.options.is_empty() => {
            let options: Vec<&str> = input.options.iter().map(|o| o.value.as_str()).collect();
            if !options.contains(&text.as_ref()) {
                message::default_not_an_option(findings, name, default.span, &options);
            }
        }
        _ => {}
    }
}

fn secret((key, node): (&Node, &Node)) -> Option<CallSecret> {
    Some(CallSecret {
        name: build::spanned(key)?,
        description: node.get("description").and_then(Node::as_str).map(str::to_owned),
        required: is_true(node, "required"),
    })
}

fn output((key, node): (&Node, &Node)) -> Option<CallOutput> {
    Some(CallOutput { name: build::spanned(key)?, value: build::template(node, "value") })
}

fn is_true(node: &Node, key: &str) -> bool {
    build::template(node, key).is_some_and(|value| value.literal == Literal::Boolean(true))
}
