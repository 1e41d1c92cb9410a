//! Texts with `{{ … }}` in them: the part of Go's `text/template` that rule files and
//! notifications use, with the functions that Prometheus and Alertmanager add.
//!
//! [`Template::parse`] refuses what is not known by its name; [`Template::fill`] takes the values.
//! A template cannot take long or grow without bound: its steps and its output are counted.
//!
//! Not known, and refused: `break`, `continue`, `block`, complex numbers, and methods other than
//! those named in [`value`].

mod function;
mod number;
mod parse;
pub mod value;

use std::cell::Cell;
use std::collections::BTreeMap;

pub use value::Value;

/// A text with places to fill.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    nodes: Vec<Node>,
    defined: Definitions,
}

/// Templates by name, as `{{ define "name" }}` makes them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Definitions(BTreeMap<String, Vec<Node>>);

impl Definitions {
    /// Adds what a template defines; a later definition takes the place of an earlier one.
    pub fn add(&mut self, template: &Template) {
        let more = template.defined.0.iter();
        self.0.extend(more.map(|(name, nodes)| (name.clone(), nodes.clone())));
    }
}

/// Why a text is not a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateError {
    /// Where, in bytes of the text.
    pub at: usize,
    /// What is wrong, as a lower-case fragment.
    pub message: String,
    /// How to mend it.
    pub help: Option<String>,
}

/// Why a template could not be filled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FillError(pub String);

/// Answers a question in PromQL with samples, see [`Value::sample`].
pub type Ask<'a> = dyn Fn(&str) -> Result<Vec<Value>, String> + 'a;

/// What fills a template.
#[derive(Default)]
pub struct Scope<'a> {
    /// What `.` is.
    pub dot: Value,
    /// Variables by their names, without the `$`.
    pub variables: Vec<(&'a str, Value)>,
    /// Who answers `query`; without one, `query` is refused when it is called.
    pub ask: Option<&'a Ask<'a>>,
    /// Where people reach this Marline, for `externalURL` and links.
    pub external_url: &'a str,
    /// What else `{{ template "name" }}` finds.
    pub definitions: Option<&'a Definitions>,
    /// The time that `now` and `since` go by.
    pub now: jiff::Timestamp,
}

#[derive(Debug, Clone, PartialEq)]
enum Node {
    Text(String),
    Fill(Pipeline),
    If(Pipeline, Vec<Node>, Vec<Node>),
    With(Pipeline, Vec<Node>, Vec<Node>),
    Range(Pipeline, Vec<Node>, Vec<Node>),
    Template(String, Option<Pipeline>),
}

/// Calls, each of which gets the result of the one before as its last argument.
#[derive(Debug, Clone, PartialEq)]
struct Pipeline {
    /// Variables that are declared (or set, if they are there) with the result.
    variables: Vec<String>,
    declares: bool,
    calls: Vec<Call>,
}

#[derive(Debug, Clone, PartialEq)]
struct Call {
    head: Operand,
    arguments: Vec<Operand>,
}

#[derive(Debug, Clone, PartialEq)]
enum Operand {
    Dot(Vec<String>),
    Variable(String, Vec<String>),
    Literal(Value),
    Function(&'static function::Function),
    Nested(Box<Pipeline>, Vec<String>),
}

/// The most that filling one template may take.
const MOST_STEPS: usize = 200_000;
const MOST_OUTPUT: usize = 1 << 20;
const MOST_DEPTH: usize = 64;

impl Template {
    /// Reads a template in which the variables of these names are known.
    pub fn parse(text: &str, variables: &[&str]) -> Result<Self, TemplateError> {
        let (nodes, defined) = parse::template(text, variables)?;
        Ok(Self { nodes, defined: Definitions(defined) })
    }

    /// Whether it has no place to fill.
    pub fn is_plain(&self) -> bool {
        self.nodes.iter().all(|node| matches!(node, Node::Text(_)))
    }

    /// Fills the template.
    pub fn fill(&self, scope: &Scope) -> Result<String, FillError> {
        let variables = scope.variables.iter();
        let mut frame = Frame {
            scope,
            defined: &self.defined,
            variables: variables.map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
            out: String::new(),
            steps: Cell::new(0),
            depth: Cell::new(0),
        };
        frame.variables.push((String::new(), scope.dot.clone()));
        frame.nodes(&self.nodes, &scope.dot)?;
        Ok(frame.out)
    }
}

struct Frame<'a> {
    scope: &'a Scope<'a>,
    defined: &'a Definitions,
    variables: Vec<(String, Value)>,
    out: String,
    steps: Cell<usize>,
    depth: Cell<usize>,
}

fn fail<T>(text: impl Into<String>) -> Result<T, FillError> {
    Err(FillError(text.into()))
}

impl Frame<'_> {
    fn nodes(&mut self, nodes: &[Node], dot: &Value) -> Result<(), FillError> {
        self.depth.set(self.depth.get() + 1);
        if self.depth.get() > MOST_DEPTH {
            return fail("templates are nested too deeply");
        }
        let kept = self.variables.len();
        for node in nodes {
            self.node(node, dot)?;
            if self.out.len() > MOST_OUTPUT {
                return fail(format!("the text is longer than {MOST_OUTPUT} bytes"));
            }
        }
        self.variables.truncate(kept);
        self.depth.set(self.depth.get() - 1);
        Ok(())
    }

    fn node(&mut self, node: &Node, dot: &Value) -> Result<(), FillError> {
        self.step()?;
        match node {
            Node::Text(text) => self.out.push_str(text),
            Node::Fill(pipeline) => {
                let value = self.pipeline(pipeline, dot)?;
                if pipeline.variables.is_empty() {
                    self.out.push_str(&value.text());
                }
            }
            Node::If(pipeline, then, otherwise) => {
                let kept = self.variables.len();
                let holds = self.pipeline(pipeline, dot)?.is_true();
                self.nodes(if holds { then } else { otherwise }, dot)?;
                self.variables.truncate(kept);
            }
            Node::With(pipeline, then, otherwise) => {
                let kept = self.variables.len();
                let value = self.pipeline(pipeline, dot)?;
                if value.is_true() {
                    self.nodes(then, &value)?;
                } else {
                    self.nodes(otherwise, dot)?;
                }
                self.variables.truncate(kept);
            }
            Node::Range(pipeline, each, otherwise) => self.range(pipeline, each, otherwise, dot)?,
            Node::Template(name, pipeline) => {
                let value = match pipeline {
                    Some(pipeline) => self.pipeline(pipeline, dot)?,
                    None => Value::Nothing,
                };
                let others = self.scope.definitions;
                let Some(nodes) = (self.defined.0.get(name))
                    .or_else(|| others.and_then(|others| others.0.get(name)))
                else {
                    return fail(format!("no template is called {name:?}"));
                };
                let nodes = nodes.clone();
                let outer =
                    std::mem::replace(&mut self.variables, vec![(String::new(), value.clone())]);
                self.nodes(&nodes, &value)?;
                self.variables = outer;
            }
        }
        Ok(())
    }

    fn range(
        &mut self,
        pipeline: &Pipeline,
        each: &[Node],
        otherwise: &[Node],
        dot: &Value,
    ) -> Result<(), FillError> {
        let bare = Pipeline { variables: Vec::new(), ..pipeline.clone() };
        let entries: Vec<(Value, Value)> = match self.pipeline(&bare, dot)? {
            Value::List(list) => {
                list.into_iter().enumerate().map(|(i, v)| (Value::Whole(i as i64), v)).collect()
            }
            Value::Map(map) => map.into_iter().map(|(k, v)| (Value::Text(k), v)).collect(),
            Value::Nothing => Vec::new(),
            other => return fail(format!("range cannot go over {}", other.kind())),
        };
        if entries.is_empty() {
            return self.nodes(otherwise, dot);
        }
        for (key, value) in entries {
            let kept = self.variables.len();
            match pipeline.variables.as_slice() {
                [] => {}
                [one] => self.variables.push((one.clone(), value.clone())),
                [first, second, ..] => {
                    self.variables.push((first.clone(), key));
                    self.variables.push((second.clone(), value.clone()));
                }
            }
            self.nodes(each, &value)?;
            self.variables.truncate(kept);
        }
        Ok(())
    }

    fn step(&self) -> Result<(), FillError> {
        self.steps.set(self.steps.get() + 1);
        if self.steps.get() > MOST_STEPS {
            fail("the template takes too many steps")
        } else {
            Ok(())
        }
    }

    fn pipeline(&mut self, pipeline: &Pipeline, dot: &Value) -> Result<Value, FillError> {
        let mut piped = None;
        for call in &pipeline.calls {
            piped = Some(self.call(call, piped, dot)?);
        }
        let value = piped.unwrap_or(Value::Nothing);
        if let Some(name) = pipeline.variables.first() {
            if pipeline.declares {
                self.variables.push((name.clone(), value.clone()));
            } else if let Some(own) = self.variables.iter_mut().rev().find(|(own, _)| own == name) {
                own.1 = value.clone();
            }
        }
        Ok(value)
    }

    fn call(&mut self, call: &Call, piped: Option<Value>, dot: &Value) -> Result<Value, FillError> {
        self.step()?;
        let mut arguments = Vec::with_capacity(call.arguments.len() + 1);
        if let Operand::Function(function) = &call.head {
            // As in Go, `and` and `or` do not look further than they must.
            let stops_at = match function.name {
                "and" => Some(false),
                "or" => Some(true),
                _ => None,
            };
            for operand in &call.arguments {
                let value = self.operand(operand, dot)?;
                if stops_at == Some(value.is_true()) {
                    return Ok(value);
                }
                arguments.push(value);
            }
            arguments.extend(piped);
            return function.call(self.scope, arguments);
        }
        for operand in &call.arguments {
            arguments.push(self.operand(operand, dot)?);
        }
        arguments.extend(piped);
        let (base, path) = match &call.head {
            Operand::Dot(path) => (dot.clone(), path.as_slice()),
            Operand::Variable(name, path) => (self.variable(name)?, path.as_slice()),
            Operand::Nested(pipeline, path) => (self.pipeline(pipeline, dot)?, path.as_slice()),
            Operand::Literal(value) => (value.clone(), &[][..]),
            Operand::Function(_) => (Value::Nothing, &[][..]),
        };
        base.reached(path, arguments)
    }

    fn operand(&mut self, operand: &Operand, dot: &Value) -> Result<Value, FillError> {
        match operand {
            Operand::Dot(path) => dot.reached(path, Vec::new()),
            Operand::Variable(name, path) => self.variable(name)?.reached(path, Vec::new()),
            Operand::Nested(pipeline, path) => {
                self.depth.set(self.depth.get() + 1);
                if self.depth.get() > MOST_DEPTH {
                    return fail("templates are nested too deeply");
                }
                let value = self.pipeline(pipeline, dot)?;
                self.depth.set(self.depth.get() - 1);
                value.reached(path, Vec::new())
            }
            Operand::Literal(value) => Ok(value.clone()),
            Operand::Function(function) => function.call(self.scope, Vec::new()),
        }
    }

    fn variable(&self, name: &str) -> Result<Value, FillError> {
        match self.variables.iter().rev().find(|(own, _)| own == name) {
            Some((_, value)) => Ok(value.clone()),
            None => fail(format!("no variable is called ${name}")),
        }
    }
}

#[cfg(test)]
mod tests;
