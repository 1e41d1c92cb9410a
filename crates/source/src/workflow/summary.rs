//! A workflow in the shape in which GitHub's services hand it to each other.
//!
//! Each value keeps its kind: an expression is `{"type": 3, "expr": …}`, a list `{"type": 1, "seq":
//! […]}`, a mapping `{"type": 2, "map": […]}`. Useful to compare what is read here with what is read
//! there.

use serde_json::{Map, Value, json};

use super::load::{Called, Part};
use super::model::{Level, Step, StepKind, Workflow};
use super::permission::Grants;
use super::schema::{JOB_CONDITION, STEP_CONDITION};
use super::shape::parse;
use super::token::{Token, TokenKind};
use super::trigger::{Filters, Input, InputKind, Trigger};
use super::{Literal, check};
use crate::Spanned;

/// How much is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Telling {
    /// File, line and column of each value.
    pub places: bool,
    /// What starts the workflow.
    pub events: bool,
}

/// Returns a workflow, and those it calls, as JSON.
pub(super) fn workflow(part: &Part, files: &[String], telling: Telling) -> Value {
    let teller = Teller { telling, file: part.file };
    let mut fields = Map::new();
    let types = dispatch_types(&part.workflow);
    // The events tell the types already.
    if !types.is_empty() && !telling.events {
        fields.insert("input-types".to_owned(), Value::Object(types));
    }
    for name in ["env", "defaults", "concurrency"] {
        teller.put(&mut fields, name, part.root.get(name));
    }
    if let Some(permissions) = &part.workflow.permissions {
        fields.insert("permissions".to_owned(), grants(&Grants::of(permissions)));
    }
    if telling.events {
        let events = part.workflow.on.iter().map(|on| (on.event.value.clone(), event(on)));
        fields.insert("events".to_owned(), Value::Object(events.collect()));
    }
    if telling.places {
        fields.insert("file-table".to_owned(), json!(files));
    }
    fields.insert("jobs".to_owned(), teller.jobs(part));
    Value::Object(fields)
}

struct Teller {
    telling: Telling,
    file: usize,
}

impl Teller {
    fn jobs(&self, part: &Part) -> Value {
        let jobs = part.root.get("jobs");
        let bodies = jobs.into_iter().flat_map(Token::entries);
        let jobs = bodies.enumerate().map(|(at, (_, id, body))| {
            let called = part.called.iter().find(|called| called.job == at);
            self.job(id, body, part, at, called)
        });
        jobs.collect()
    }

    fn job(
        &self,
        id: &Token,
        body: &Token,
        part: &Part,
        at: usize,
        called: Option<&Called>,
    ) -> Value {
        let mut fields = Map::new();
        fields.insert("id".to_owned(), self.token(id));
        let name = body.get("name").filter(|name| name.as_text() != Some(""));
        fields.insert("name".to_owned(), self.token(name.unwrap_or(id)));
        fields.insert("if".to_owned(), self.condition(body.get("if"), JOB_CONDITION));
        let needs: Vec<Value> =
            check::needs(body).into_iter().map(|need| self.token(need)).collect();
        for name in ["strategy", "concurrency"] {
            self.put(&mut fields, name, body.get(name));
        }
        let given = called.map_or_else(|| part.grants.get(at), |called| Some(&called.grants));
        if let Some(given) = given.and_then(Option::as_ref) {
            fields.insert("permissions".to_owned(), grants(given));
        }
        if let Some(uses) = body.get("uses") {
            fields.insert("type".to_owned(), json!("reusableWorkflowJob"));
            fields.insert("needs".to_owned(), Value::Array(needs));
            fields.insert("ref".to_owned(), self.token(uses));
            self.put(&mut fields, "input-values", body.get("with"));
            match body.get("secrets") {
                Some(secrets) if secrets.as_text() == Some("inherit") => {
                    fields.insert("inherit-secrets".to_owned(), json!(true));
                }
                secrets => self.put(&mut fields, "secret-values", secrets),
            }
            if let Some(called) = called {
                called_fields(&mut fields, called, self.telling);
            }
            return Value::Object(fields);
        }
        fields.insert("type".to_owned(), json!("job"));
        if !needs.is_empty() {
            fields.insert("needs".to_owned(), Value::Array(needs));
        }
        for name in [
            "continue-on-error",
            "timeout-minutes",
            "cancel-timeout-minutes",
            "env",
            "environment",
            "defaults",
            "runs-on",
            "container",
            "services",
            "outputs",
            "snapshot",
        ] {
            self.put(&mut fields, name, body.get(name));
        }
        let items = body.get("steps").and_then(Token::as_list).unwrap_or_default();
        let model = part.workflow.jobs.get(at).and_then(|job| job.steps());
        if let Some(model) = model.filter(|_| !items.is_empty()) {
            let steps = items.iter().zip(&model.list).map(|(token, step)| self.step(token, step));
            fields.insert("steps".to_owned(), steps.collect());
        }
        Value::Object(fields)
    }

    fn step(&self, token: &Token, step: &Step) -> Value {
        let mut fields = Map::new();
        fields.insert("id".to_owned(), json!(step.id));
        let name = token.get("name");
        self.put(&mut fields, "name", name);
        let made = match &step.kind {
            StepKind::Wait(targets) => {
                let targets: Vec<&str> = targets.iter().map(|id| id.value.as_str()).collect();
                fields.insert("wait".to_owned(), json!(targets));
                Some("Wait")
            }
            StepKind::WaitAll(_) => {
                fields.insert("wait-all".to_owned(), json!(true));
                Some("Wait for all")
            }
            StepKind::Cancel(target) => {
                fields.insert("cancel".to_owned(), json!(target.value));
                Some("Cancel")
            }
            StepKind::Parallel(inner) => {
                let items = token.get("parallel").and_then(Token::as_list).unwrap_or_default();
                let steps = items.iter().zip(inner).map(|(token, step)| self.step(token, step));
                fields.insert("parallel".to_owned(), steps.collect());
                None
            }
            StepKind::Run { .. } | StepKind::Uses { .. } => {
                let condition = self.condition(token.get("if"), STEP_CONDITION);
                fields.insert("if".to_owned(), condition);
                if step.background {
                    fields.insert("background".to_owned(), json!(true));
                }
                None
            }
        };
        if let Some(made) = made.filter(|_| name.is_none()) {
            fields.insert("name".to_owned(), json!(made));
        }
        for name in [
            "continue-on-error",
            "timeout-minutes",
            "env",
            "working-directory",
            "shell",
            "run",
            "uses",
            "with",
        ] {
            self.put(&mut fields, name, token.get(name));
        }
        Value::Object(fields)
    }

    /// The condition as it is evaluated: all must be well unless it asks for the status itself.
    fn condition(&self, written: Option<&Token>, contexts: &[&'static str]) -> Value {
        let text = written.map(|token| match &token.kind {
            TokenKind::Expression(text) | TokenKind::Text(text) => text.as_str(),
            _ => "",
        });
        let text = match text.filter(|text| !text.trim().is_empty()) {
            None => "success()".to_owned(),
            Some(text) => match parse(text, contexts) {
                Ok(expression) if expression.asks_for_status() => text.to_owned(),
                _ => format!("success() && ({text})"),
            },
        };
        match written {
            None => json!({ "type": 3, "expr": text }),
            Some(written) => self.token(&Token::new(TokenKind::Expression(text), written.span)),
        }
    }

    fn put(&self, fields: &mut Map<String, Value>, name: &str, value: Option<&Token>) {
        if let Some(value) = value {
            fields.insert(name.to_owned(), self.token(value));
        }
    }

    fn token(&self, token: &Token) -> Value {
        let (kind, name, value) = match &token.kind {
            TokenKind::Text(text) => (0, "lit", json!(text)),
            TokenKind::List(items) => {
                let items: Vec<Value> = items.iter().map(|item| self.token(item)).collect();
                (1, "seq", json!(items))
            }
            TokenKind::Mapping(entries) => {
                let entries = entries.iter().map(
                    |(key, value)| json!({ "Key": self.token(key), "Value": self.token(value) }),
                );
                (2, "map", entries.collect())
            }
            TokenKind::Expression(text) => (3, "expr", json!(text)),
            TokenKind::Insert => (4, "directive", json!("insert")),
            TokenKind::Boolean(value) => (5, "bool", json!(value)),
            TokenKind::Number(value) => (6, "num", number(*value)),
            TokenKind::Null => (7, "", Value::Null),
        };
        let is_plain = matches!(
            token.kind,
            TokenKind::Text(_) | TokenKind::Boolean(_) | TokenKind::Number(_) | TokenKind::Null
        );
        if is_plain && !self.telling.places {
            return value;
        }
        let mut fields = Map::new();
        fields.insert("type".to_owned(), json!(kind));
        if self.telling.places {
            fields.insert("file".to_owned(), json!(self.file));
            fields.insert("line".to_owned(), json!(token.span.start.line));
            fields.insert("col".to_owned(), json!(token.span.start.column));
        }
        let is_empty = value.as_array().is_some_and(Vec::is_empty);
        if !name.is_empty() && !is_empty {
            fields.insert(name.to_owned(), value);
        }
        Value::Object(fields)
    }
}

/// What the called workflow adds to the job that calls it.
fn called_fields(fields: &mut Map<String, Value>, called: &Called, telling: Telling) {
    let part = &called.part;
    let teller = Teller { telling, file: part.file };
    let definitions = part.root.get("on").and_then(|on| on.get("workflow_call"));
    for (name, key) in
        [("input-definitions", "inputs"), ("secret-definitions", "secrets"), ("outputs", "outputs")]
    {
        teller.put(fields, name, definitions.and_then(|call| call.get(key)));
    }
    for (name, key) in
        [("defaults", "defaults"), ("env", "env"), ("embedded-concurrency", "concurrency")]
    {
        teller.put(fields, name, part.root.get(key));
    }
    fields.insert("jobs".to_owned(), teller.jobs(part));
}

fn number(value: f64) -> Value {
    if value.is_finite() { json!(value + 0.0) } else { json!(super::number::text(value)) }
}

fn grants(grants: &Grants) -> Value {
    let level = |level| match level {
        Level::None => "none",
        Level::Read => "read",
        Level::Write => "write",
    };
    let scopes = grants.scopes().map(|(scope, granted)| (scope.to_owned(), json!(level(granted))));
    Value::Object(scopes.collect())
}

fn dispatch_types(workflow: &Workflow) -> Map<String, Value> {
    let inputs = workflow.trigger("workflow_dispatch").map(|on| on.inputs.as_slice());
    let inputs = inputs.unwrap_or_default().iter();
    inputs.map(|input| (input.name.value.clone(), json!(kind(input.kind)))).collect()
}

fn kind(kind: InputKind) -> &'static str {
    match kind {
        InputKind::Text => "string",
        InputKind::Boolean => "boolean",
        InputKind::Number => "number",
        InputKind::Choice => "choice",
        InputKind::Environment => "environment",
    }
}

fn event(on: &Trigger) -> Value {
    let texts = |list: &[Spanned<String>]| {
        list.iter().map(|text| json!(text.value)).collect::<Vec<Value>>()
    };
    if on.event.value == "schedule" {
        let entries = on.schedules.iter().map(|schedule| {
            let mut fields = Map::new();
            fields.insert("cron".to_owned(), json!(schedule.cron.value));
            if let Some(zone) = &schedule.timezone {
                fields.insert("timezone".to_owned(), json!(zone.value));
            }
            Value::Object(fields)
        });
        return entries.collect();
    }
    let mut fields = Map::new();
    let Filters { branches, branches_ignore, tags, tags_ignore, paths, paths_ignore } = &on.filters;
    for (name, list) in [
        ("branches", branches),
        ("branches-ignore", branches_ignore),
        ("tags", tags),
        ("tags-ignore", tags_ignore),
        ("paths", paths),
        ("paths-ignore", paths_ignore),
        ("types", &on.types),
    ] {
        if let Some(list) = list {
            fields.insert(name.to_owned(), json!(texts(list)));
        }
    }
    for (name, list) in
        [("workflows", &on.workflows), ("names", &on.names), ("versions", &on.versions)]
    {
        if !list.is_empty() {
            fields.insert(name.to_owned(), json!(texts(list)));
        }
    }
    if !on.inputs.is_empty() {
        let inputs = on.inputs.iter().map(|one| (one.name.value.clone(), input(one)));
        fields.insert("inputs".to_owned(), Value::Object(inputs.collect()));
    }
    if !on.secrets.is_empty() {
        let secrets = on.secrets.iter().map(|secret| {
            let mut fields = Map::new();
            if let Some(description) = &secret.description {
                fields.insert("description".to_owned(), json!(description));
            }
            if secret.required {
                fields.insert("required".to_owned(), json!(true));
            }
            (secret.name.value.clone(), Value::Object(fields))
        });
        fields.insert("secrets".to_owned(), Value::Object(secrets.collect()));
    }
    Value::Object(fields)
}

fn input(input: &Input) -> Value {
    let mut fields = Map::new();
    fields.insert("type".to_owned(), json!(kind(input.kind)));
    if let Some(description) = &input.description {
        fields.insert("description".to_owned(), json!(description));
    }
    if input.required {
        fields.insert("required".to_owned(), json!(true));
    }
    if !input.options.is_empty() {
        let options: Vec<&str> = input.options.iter().map(|one| one.value.as_str()).collect();
        fields.insert("options".to_owned(), json!(options));
    }
    if let Some(default) = &input.default {
        let value = match default.literal {
            Literal::Boolean(value) => json!(value),
            Literal::Number(value) => number(value),
            Literal::Null | Literal::Text => json!(default.coerced()),
        };
        fields.insert("default".to_owned(), value);
    }
    Value::Object(fields)
}
