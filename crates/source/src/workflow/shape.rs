//! Holds a tree against the table of `schema`.

use super::message;
use super::schema::{Definition, Key, Shape};
use super::template::Part;
use super::{Site, Template};
use crate::yaml::core_schema::{Typed, resolve};
use crate::yaml::{Findings, Node, Value};

/// Checks `node` against `definition`; notes findings, and every place that holds an expression.
pub(super) fn check(
    node: &Node,
    definition: &'static Definition,
    findings: &mut Findings,
) -> Vec<Site> {
    let mut shaper = Shaper { findings, sites: Vec::new() };
    shaper.value(node, definition, &[]);
    shaper.sites
}

struct Shaper<'a> {
    findings: &'a mut Findings,
    sites: Vec<Site>,
}

type Contexts = [&'static str];

impl Shaper<'_> {
    fn value(&mut self, node: &Node, definition: &'static Definition, inherited: &Contexts) {
        let mut contexts = inherited.to_vec();
        let mut choices = Vec::new();
        flatten(definition, &mut contexts, &mut choices);
        match &node.value {
            Value::Scalar(_) => self.scalar(node, &choices, &contexts),
            Value::Sequence(items) => self.list(node, items, &choices, &contexts),
            Value::Mapping(entries) => self.mapping(node, entries, &choices, &contexts),
        }
    }

    fn scalar(&mut self, node: &Node, choices: &[&'static Definition], contexts: &Contexts) {
        let typed = match resolve(node) {
            Ok(typed) => typed,
            Err(why) => return message::mistyped(self.findings, node, why.to_string()),
        };
        let condition = choices.iter().any(|choice| matches!(choice.shape, Shape::Condition));
        let template = Template::of(node).expect("a scalar has a template");
        if template.has_expression() {
            self.expression(node, template, contexts, condition);
            return;
        }
        if condition && !template.text.trim().is_empty() {
            self.note(template.clone(), contexts, true);
        }
        let text = template.coerced();
        let fits = |choice: &&Definition| match &choice.shape {
            Shape::Any | Shape::Text | Shape::Condition => true,
            Shape::Null => typed == Typed::Null,
            Shape::Boolean => matches!(typed, Typed::Boolean(_)),
            Shape::Number => matches!(typed, Typed::Integer(_) | Typed::Float(_)),
            Shape::NonEmptyText => !text.is_empty(),
            Shape::Words(words) => words.contains(&text.as_ref()),
            Shape::List(_) | Shape::Mapping { .. } | Shape::OneOf(_) => false,
        };
        if !choices.iter().any(fits) {
            let words: Vec<&str> =
                choices.iter().flat_map(|choice| words_of(choice)).copied().collect();
            message::unexpected_value(self.findings, node, &wanted(choices), &words);
        }
    }

    fn expression(
        &mut self,
        node: &Node,
        template: Template,
        contexts: &Contexts,
        condition: bool,
    ) {
        if contexts.is_empty() {
            return message::expression_not_allowed(self.findings, node);
        }
        let Ok(parts) = template.parts() else {
            return message::expression_unclosed(self.findings, node);
        };
        let expressions = parts.iter().filter_map(|part| match part {
            Part::Expression { text, .. } => Some(*text),
            Part::Text { .. } => None,
        });
        let mut sound = true;
        for expression in expressions {
            if expression.is_empty() {
                message::expression_empty(self.findings, node);
                sound = false;
            } else if expression == "insert" {
                message::insert_misplaced(self.findings, node);
                sound = false;
            }
        }
        if sound {
            self.note(template, contexts, condition);
        }
    }

    fn note(&mut self, template: Template, contexts: &Contexts, condition: bool) {
        self.sites.push(Site { template, contexts: contexts.to_vec(), condition });
    }

    fn list(
        &mut self,
        node: &Node,
        items: &[Node],
        choices: &[&'static Definition],
        contexts: &Contexts,
    ) {
        for choice in choices {
            match &choice.shape {
                Shape::List(item) => {
                    return items.iter().for_each(|node| self.value(node, item, contexts));
                }
                Shape::Any => {
                    return items.iter().for_each(|node| self.value(node, choice, contexts));
                }
                _ => {}
            }
        }
        message::unexpected_list(self.findings, node, &wanted(choices));
    }

    fn mapping(
        &mut self,
        node: &Node,
        entries: &[(Node, Node)],
        choices: &[&'static Definition],
        contexts: &Contexts,
    ) {
        if let Some(any) = choices.iter().find(|choice| matches!(choice.shape, Shape::Any)) {
            for (key, value) in entries {
                if !self.computed_key(key, contexts) {
                    self.key(key);
                }
                self.value(value, any, contexts);
            }
            return;
        }
        let mut candidates: Vec<Candidate> =
            choices.iter().copied().filter_map(Candidate::of).collect();
        if candidates.is_empty() {
            return message::unexpected_mapping(self.findings, node, &wanted(choices));
        }
        let all = candidates.clone();
        let mut has_computed_key = false;
        // The key that told which of the candidates is meant.
        let mut telling: Option<String> = None;
        for (key, value) in entries {
            if self.computed_key(key, contexts) {
                has_computed_key = true;
                if let Some(others) = candidates[0].others {
                    self.value(value, others, contexts);
                }
                continue;
            }
            let Some(name) = self.key(key) else { continue };
            let having: Vec<Candidate> =
                candidates.iter().filter(|c| c.key(&name).is_some()).copied().collect();
            if let Some(known) = having.first().and_then(|candidate| candidate.key(&name)) {
                if having.len() < candidates.len() {
                    telling = Some(name.clone());
                }
                candidates = having;
                self.value(value, known.value, contexts);
            } else if let Some(others) = candidates[0].others.filter(|_| !name.is_empty()) {
                self.value(value, others, contexts);
            } else {
                self.unknown(key, &name, &candidates, &all, telling.as_deref());
            }
        }
        if let [only] = candidates.as_slice() {
            if !has_computed_key {
                self.required(node, only);
            }
        } else {
            message::unclear_mapping(self.findings, node, &telling_keys(&candidates));
        }
    }

    /// Checks a key that is an expression; `false` if it is an ordinary key.
    fn computed_key(&mut self, key: &Node, contexts: &Contexts) -> bool {
        let Some(template) = Template::of(key).filter(Template::has_expression) else {
            return false;
        };
        if !contexts.is_empty() && template.as_expression() == Some("insert") {
            return true;
        }
        self.expression(key, template, contexts, false);
        true
    }

    /// The text of an ordinary key.
    fn key(&mut self, key: &Node) -> Option<String> {
        let Some(template) = Template::of(key) else {
            match key.value {
                Value::Sequence(_) => message::unexpected_list(self.findings, key, "a key"),
                _ => message::unexpected_mapping(self.findings, key, "a key"),
            }
            return None;
        };
        Some(template.coerced().into_owned())
    }

    fn unknown(
        &mut self,
        key: &Node,
        name: &str,
        candidates: &[Candidate],
        all: &[Candidate],
        telling: Option<&str>,
    ) {
        let known_elsewhere = all.iter().any(|candidate| candidate.key(name).is_some());
        match telling {
            Some(other) if known_elsewhere => message::misplaced_key(self.findings, key, other),
            _ => {
                let mut known: Vec<&str> = Vec::new();
                for candidate in candidates {
                    for key in candidate.keys {
                        if !known.contains(&key.name) {
                            known.push(key.name);
                        }
                    }
                }
                message::unknown_key(self.findings, key, &known);
            }
        }
    }

    fn required(&mut self, node: &Node, candidate: &Candidate) {
        for key in candidate.keys.iter().filter(|key| key.required) {
            if node.get(key.name).is_none() {
                message::missing_key(self.findings, node, key.name);
            }
        }
    }
}

/// A mapping that may be meant.
#[derive(Clone, Copy)]
struct Candidate {
    keys: &'static [Key],
    others: Option<&'static Definition>,
}

impl Candidate {
    fn of(definition: &'static Definition) -> Option<Self> {
        match &definition.shape {
            Shape::Mapping { keys, others } => Some(Self { keys, others: *others }),
            _ => None,
        }
    }

    fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}

/// The keys that only one of the candidates has.
fn telling_keys(candidates: &[Candidate]) -> Vec<&'static str> {
    let having = |name| candidates.iter().filter(|c| c.key(name).is_some()).count();
    candidates
        .iter()
        .flat_map(|candidate| candidate.keys)
        .filter(|key| having(key.name) == 1 && key.required)
        .map(|key| key.name)
        .collect()
}

/// Resolves `OneOf` into its choices and gathers the contexts on the way.
fn flatten(
    definition: &'static Definition,
    contexts: &mut Vec<&'static str>,
    choices: &mut Vec<&'static Definition>,
) {
    for context in definition.contexts {
        if !contexts.contains(context) {
            contexts.push(context);
        }
    }
    match &definition.shape {
        Shape::OneOf(inner) => inner.iter().for_each(|one| flatten(one, contexts, choices)),
        _ => choices.push(definition),
    }
}

fn words_of(definition: &Definition) -> &'static [&'static str] {
    match definition.shape {
        Shape::Words(words) => words,
        _ => &[],
    }
}

/// What may stand there, in words: "a text, a list or a mapping".
fn wanted(choices: &[&'static Definition]) -> String {
    let mut kinds: Vec<String> = Vec::new();
    for choice in choices {
        let more = match &choice.shape {
            Shape::Null => vec!["nothing".to_owned()],
            Shape::Boolean => vec!["true or false".to_owned()],
            Shape::Number => vec!["a number".to_owned()],
            Shape::Text | Shape::NonEmptyText => vec!["a text".to_owned()],
            Shape::Condition => vec!["a condition".to_owned()],
            Shape::Words(words) => words.iter().map(|word| format!("`{word}`")).collect(),
            Shape::Any => vec!["a value".to_owned()],
            Shape::List(_) => vec!["a list".to_owned()],
            Shape::Mapping { .. } => vec!["a mapping".to_owned()],
            Shape::OneOf(_) => Vec::new(),
        };
        for kind in more {
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
    }
    match kinds.as_slice() {
        [] => "nothing".to_owned(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}
