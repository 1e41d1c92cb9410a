//! Holds a tree against the table of `schema`, as GitHub's reader does: in the order of the file,
//! going on after each error.

use std::collections::HashSet;

use super::fault::Faults;
use super::schema::{Definition, Key, Shape};
use super::token::{OBJECT, Token, TokenKind, weight};
use super::{Limits, Options, Site, Template, message, trigger};
use crate::Span;
use crate::expression::{Expression, ExpressionError, Function, NodeKind, Vocabulary};
use crate::yaml::core_schema::{Typed, resolve};
use crate::yaml::{Node, Value};

/// What GitHub allows one run to weigh, over all files that are read for it.
#[derive(Debug)]
pub(super) struct Weight {
    bytes: usize,
    most: usize,
}

impl Weight {
    pub fn new(limits: &Limits) -> Self {
        Self { bytes: 0, most: limits.result }
    }

    /// Adds to the weight, and says whether it is still within the limit.
    #[must_use]
    pub fn add(&mut self, bytes: usize) -> bool {
        self.bytes = self.bytes.saturating_add(bytes);
        self.bytes <= self.most
    }
}

/// What was made of a tree.
pub(super) struct Shaped {
    /// The values; `None` if the reading had to stop.
    pub root: Option<Token>,
    /// Every place that holds an expression.
    pub sites: Vec<Site>,
}

/// Checks `node` against `definition`; notes faults, and every place that holds an expression.
pub(super) fn check(
    node: &Node,
    definition: &'static Definition,
    options: &Options,
    weight: &mut Weight,
    faults: &mut Faults,
) -> Shaped {
    // The beginnings of stream and document count as nodes.
    let mut shaper = Shaper { faults, options, weight, sites: Vec::new(), depth: 0, nodes: 2 };
    let root = shaper.value(node, definition, &[]).ok();
    Shaped { root, sites: shaper.sites }
}

/// Something after which GitHub reads no further; its fault has been noted.
struct Stop;

struct Shaper<'a> {
    faults: &'a mut Faults,
    options: &'a Options,
    weight: &'a mut Weight,
    sites: Vec<Site>,
    depth: usize,
    nodes: usize,
}

type Contexts = [&'static str];
type Choices<'a> = &'a [&'static Definition];

impl Shaper<'_> {
    fn value(
        &mut self,
        node: &Node,
        definition: &'static Definition,
        inherited: &Contexts,
    ) -> Result<Token, Stop> {
        let mut contexts = inherited.to_vec();
        let mut choices = Vec::new();
        flatten(definition, &mut contexts, &mut choices);
        if choices.iter().any(|choice| matches!(choice.shape, Shape::Triggers)) {
            choices = trigger::definitions(self.options.strict_events);
        }
        match &node.value {
            Value::Scalar(_) => self.scalar(node, &choices, &contexts),
            Value::Sequence(items) => self.list(node, items, &choices, &contexts),
            Value::Mapping(entries) => self.mapping(node, entries, choices, &contexts),
        }
    }

    fn scalar(
        &mut self,
        node: &Node,
        choices: Choices<'_>,
        contexts: &Contexts,
    ) -> Result<Token, Stop> {
        let is_condition = choices.iter().any(|choice| matches!(choice.shape, Shape::Condition));
        let literal = self.literal(node)?;
        let parsed = self.expressions(node, literal, contexts, is_condition);
        let token = self.validated(node, parsed, choices, contexts);
        if is_condition && token.as_text().is_some_and(|text| !text.trim().is_empty()) {
            let template = Template::of(node).expect("a scalar has a template");
            if !template.has_expression() {
                self.note(template, contexts, true);
            }
        }
        self.weigh(token.weight(), node.span)?;
        Ok(token)
    }

    /// The typed value of a scalar.
    fn literal(&mut self, node: &Node) -> Result<Token, Stop> {
        self.count(1, node.span)?;
        let kind = match resolve(node) {
            Ok(Typed::Null) => TokenKind::Null,
            Ok(Typed::Boolean(value)) => TokenKind::Boolean(value),
            Ok(Typed::Integer(value) | Typed::Float(value)) => TokenKind::Number(value),
            Ok(Typed::Text(text)) => TokenKind::Text(text.to_owned()),
            Err(why) => {
                message::mistyped(self.faults, node, &why);
                return Err(Stop);
            }
        };
        Ok(Token::new(kind, node.span))
    }

    /// Makes one expression of a text with expressions in it. With a fault it stays a text.
    fn expressions(
        &mut self,
        node: &Node,
        literal: Token,
        contexts: &Contexts,
        is_condition: bool,
    ) -> Token {
        let Some(text) = literal.as_text().filter(|text| text.contains("${{")) else {
            return literal;
        };
        let span = literal.span;
        let segments = match segments(text, contexts) {
            Ok(segments) => segments,
            Err(why) => {
                let template = Template::of(node);
                message::segment(self.faults, span, &why, template.as_ref(), contexts);
                return literal;
            }
        };
        let kind = match segments.as_slice() {
            [Segment::Insert] => TokenKind::Insert,
            [Segment::Expression(only)] => match quoted_text(only) {
                Some(text) => TokenKind::Text(text),
                None => TokenKind::Expression((*only).to_owned()),
            },
            _ => {
                let formatted = formatted(&segments);
                if let Err(why) = parse(&formatted, contexts) {
                    let why = SegmentError::Expression(why);
                    message::segment(self.faults, span, &why, None, contexts);
                    return literal;
                }
                TokenKind::Expression(formatted)
            }
        };
        if !contexts.is_empty() && kind != TokenKind::Insert {
            let template = Template::of(node).expect("a scalar has a template");
            self.note(template, contexts, is_condition);
        }
        Token::new(kind, span)
    }

    /// The value as one of the choices has it; a fault if none fits.
    fn validated(
        &mut self,
        node: &Node,
        token: Token,
        choices: Choices<'_>,
        contexts: &Contexts,
    ) -> Token {
        match &token.kind {
            TokenKind::Expression(_) => {
                if contexts.is_empty() {
                    message::expression_not_allowed(self.faults, token.span);
                }
                token
            }
            TokenKind::Insert => {
                message::insert_misplaced(self.faults, &token);
                token
            }
            _ if choices.iter().any(|choice| fits(choice, &token)) => token,
            kind => {
                if !matches!(kind, TokenKind::Text(_)) {
                    let text = Token::new(TokenKind::Text(token.text()), token.span);
                    if choices.iter().any(|choice| fits(choice, &text)) {
                        return text;
                    }
                }
                message::unexpected_value(self.faults, node, &token, choices);
                token
            }
        }
    }

    fn note(&mut self, template: Template, contexts: &Contexts, condition: bool) {
        self.sites.push(Site { template, contexts: contexts.to_vec(), condition });
    }

    fn list(
        &mut self,
        node: &Node,
        items: &[Node],
        choices: Choices<'_>,
        contexts: &Contexts,
    ) -> Result<Token, Stop> {
        self.begin(node)?;
        self.weigh(OBJECT, node.span)?;
        let item = choices.iter().find_map(|choice| match &choice.shape {
            Shape::List(item) => Some(*item),
            Shape::Any => Some(*choice),
            _ => None,
        });
        let mut tokens = Vec::new();
        match item {
            Some(item) => {
                for node in items {
                    tokens.push(self.value(node, item, contexts)?);
                }
            }
            None => {
                message::unexpected_list(self.faults, node, choices);
                items.iter().try_for_each(|item| self.skip(item))?;
            }
        }
        self.end(node)?;
        Ok(Token::new(TokenKind::List(tokens), node.span))
    }

    fn mapping(
        &mut self,
        node: &Node,
        entries: &[(Node, Node)],
        choices: Vec<&'static Definition>,
        contexts: &Contexts,
    ) -> Result<Token, Stop> {
        self.begin(node)?;
        self.weigh(OBJECT, node.span)?;
        let candidates: Vec<Candidate> = choices
            .iter()
            .filter_map(|choice| Candidate::of(choice, self.options.background_steps))
            .collect();
        let tokens = if candidates.is_empty() {
            message::unexpected_mapping(self.faults, node, &choices);
            for (key, value) in entries {
                self.skip(key)?;
                self.skip(value)?;
            }
            Vec::new()
        } else {
            self.entries(node, entries, candidates, contexts)?
        };
        self.end(node)?;
        Ok(Token::new(TokenKind::Mapping(tokens), node.span))
    }

    fn entries(
        &mut self,
        node: &Node,
        entries: &[(Node, Node)],
        mut candidates: Vec<Candidate>,
        contexts: &Contexts,
    ) -> Result<Vec<(Token, Token)>, Stop> {
        let all = candidates.clone();
        let mut tokens = Vec::new();
        let mut names = HashSet::new();
        let mut has_computed_key = false;
        // The key that told which of the candidates is meant.
        let mut telling: Option<String> = None;
        for (key, value) in entries {
            if key.as_scalar().is_none() {
                message::key_not_scalar(self.faults, key);
                return Err(Stop);
            }
            let literal = self.literal(key)?;
            let mut name = self.expressions(key, literal, contexts, false);
            if name.is_expression() {
                has_computed_key = true;
                if contexts.is_empty() {
                    message::expression_not_allowed(self.faults, name.span);
                    self.skip(value)?;
                    continue;
                }
                self.weigh(name.weight(), key.span)?;
                let others = if candidates.iter().all(Candidate::is_open) {
                    candidates[0].others
                } else {
                    None
                };
                let value = self.value(value, others.unwrap_or(&super::schema::ANY), contexts)?;
                tokens.push((name, value));
                continue;
            }
            let text = name.text();
            name.kind = TokenKind::Text(text.clone());
            if !names.insert(text.to_uppercase()) {
                let first = tokens.iter().find(|(name, _): &&(Token, Token)| {
                    name.as_text().is_some_and(|name| name.to_uppercase() == text.to_uppercase())
                });
                message::already_defined(self.faults, &name, first.map(|(name, _)| name.span));
                self.skip(value)?;
                continue;
            }
            let having: Vec<Candidate> =
                candidates.iter().filter(|c| c.key(&text).is_some()).cloned().collect();
            if let Some(known) = having.first().and_then(|candidate| candidate.key(&text)) {
                if having.len() < candidates.len() {
                    telling = Some(text);
                }
                candidates = having;
                self.weigh(name.weight(), key.span)?;
                let value = self.value(value, known.value, contexts)?;
                tokens.push((name, value));
            } else if let Some(others) = candidates[0].others {
                if text.is_empty() && !candidates[0].is_any {
                    message::empty_key(self.faults, name.span);
                }
                self.weigh(name.weight(), key.span)?;
                let value = self.value(value, others, contexts)?;
                tokens.push((name, value));
            } else {
                message::unknown_key(
                    self.faults,
                    &name,
                    &known_names(&candidates),
                    telling.as_deref().filter(|_| all.iter().any(|c| c.key(&text).is_some())),
                );
                self.skip(value)?;
            }
        }
        if let [only] = candidates.as_slice() {
            if !has_computed_key {
                for key in only.keys.iter().filter(|key| key.required) {
                    if !names.contains(&key.name.to_uppercase()) {
                        message::missing_key(self.faults, node, key.name);
                    }
                }
            }
        } else {
            message::unclear_mapping(self.faults, node, &telling_keys(&candidates));
        }
        Ok(tokens)
    }

    /// Passes over a value that has no place here.
    fn skip(&mut self, node: &Node) -> Result<(), Stop> {
        match &node.value {
            Value::Scalar(_) => {
                self.literal(node)?;
                return Ok(());
            }
            Value::Sequence(items) => {
                self.begin(node)?;
                items.iter().try_for_each(|item| self.skip(item))?;
            }
            Value::Mapping(entries) => {
                self.begin(node)?;
                for (key, value) in entries {
                    self.skip(key)?;
                    self.skip(value)?;
                }
            }
        }
        self.end(node)
    }

    fn begin(&mut self, node: &Node) -> Result<(), Stop> {
        self.count(1, node.span)?;
        if self.depth >= self.options.limits.depth {
            message::too_deep(self.faults, node.span, self.options.limits.depth);
            return Err(Stop);
        }
        self.depth += 1;
        Ok(())
    }

    fn end(&mut self, node: &Node) -> Result<(), Stop> {
        self.depth -= 1;
        self.count(1, node.span)
    }

    fn count(&mut self, nodes: usize, span: Span) -> Result<(), Stop> {
        self.nodes += nodes;
        if self.nodes > self.options.limits.nodes {
            message::too_many_nodes(self.faults, span, self.options.limits.nodes);
            return Err(Stop);
        }
        Ok(())
    }

    fn weigh(&mut self, bytes: usize, span: Span) -> Result<(), Stop> {
        if self.weight.add(bytes) {
            return Ok(());
        }
        message::too_large(self.faults, span, self.options.limits.result);
        Err(Stop)
    }
}

fn fits(choice: &Definition, token: &Token) -> bool {
    match (&choice.shape, &token.kind) {
        (Shape::Any, _)
        | (Shape::Null, TokenKind::Null)
        | (Shape::Boolean, TokenKind::Boolean(_))
        | (Shape::Number, TokenKind::Number(_))
        | (Shape::Text | Shape::Condition, TokenKind::Text(_)) => true,
        (Shape::NonEmptyText, TokenKind::Text(text)) => !text.is_empty(),
        (Shape::Words(words), TokenKind::Text(text)) => words.contains(&text.as_str()),
        _ => false,
    }
}

// Texts with expressions in them.

/// A piece of a text.
enum Segment<'a> {
    Text(&'a str),
    Expression(&'a str),
    Insert,
}

/// Why a text with expressions in it cannot be read.
pub(super) enum SegmentError {
    Unclosed,
    Empty,
    InsertInside,
    InsertArguments(usize),
    Expression(ExpressionError),
}

/// Splits a text into what stands between `${{` and `}}` and what does not.
fn segments<'a>(text: &'a str, contexts: &Contexts) -> Result<Vec<Segment<'a>>, SegmentError> {
    let mut segments = Vec::new();
    let mut at = 0;
    while let Some(found) = text[at..].find("${{") {
        let open = at + found;
        if open > at {
            segments.push(Segment::Text(&text[at..open]));
        }
        let close =
            super::template::closing_braces(text, open + 3).ok_or(SegmentError::Unclosed)?;
        let inner = text[open + 3..close].trim();
        at = close + 2;
        if inner.is_empty() {
            return Err(SegmentError::Empty);
        }
        match insert_arguments(inner) {
            Some(0) if open > 0 || at < text.len() => return Err(SegmentError::InsertInside),
            Some(0) => segments.push(Segment::Insert),
            Some(count) => return Err(SegmentError::InsertArguments(count)),
            None => {
                parse(inner, contexts).map_err(SegmentError::Expression)?;
                segments.push(Segment::Expression(inner));
            }
        }
    }
    if at < text.len() {
        segments.push(Segment::Text(&text[at..]));
    }
    Ok(segments)
}

/// How many words follow the directive `insert`; `None` if this is an expression.
fn insert_arguments(text: &str) -> Option<usize> {
    let rest = text.strip_prefix("insert")?;
    if !rest.is_empty() && !rest.starts_with(char::is_whitespace) {
        return None;
    }
    let (mut count, mut is_inside, mut is_quoted, mut open) = (0, false, false, 0);
    for character in rest.chars() {
        let splits = character.is_whitespace() && !is_quoted && open == 0;
        count += usize::from(!splits && !is_inside);
        is_inside = !splits;
        match character {
            '\'' => is_quoted = !is_quoted,
            '(' if !is_quoted => open += 1,
            ')' if !is_quoted => open -= 1,
            _ => {}
        }
    }
    Some(count)
}

/// The text an expression is, if it is nothing but a text in quotes.
fn quoted_text(expression: &str) -> Option<String> {
    let mut text = String::new();
    let mut is_quoted = false;
    for (at, character) in expression.char_indices() {
        if character == '\'' {
            is_quoted = !is_quoted;
            if is_quoted && at > 0 {
                text.push(character);
            }
        } else if is_quoted {
            text.push(character);
        } else {
            return None;
        }
    }
    Some(text)
}

/// One expression that gives what the segments give one after the other.
fn formatted(segments: &[Segment<'_>]) -> String {
    let (mut format, mut arguments) = (String::new(), String::new());
    let mut count = 0;
    for segment in segments {
        match segment {
            Segment::Text(text) => {
                format += &text.replace('\'', "''").replace('{', "{{").replace('}', "}}");
            }
            Segment::Expression(expression) => {
                format += &format!("{{{count}}}");
                arguments += ", ";
                arguments += expression;
                count += 1;
            }
            Segment::Insert => {}
        }
    }
    format!("format('{format}'{arguments})")
}

/// Reads an expression with what may be named in it.
pub(super) fn parse(text: &str, contexts: &Contexts) -> Result<Expression, ExpressionError> {
    let names: Vec<&str> = contexts.iter().copied().filter(|name| !name.contains('(')).collect();
    let functions: Vec<Function> =
        contexts.iter().filter_map(|name| Function::from_name(name.split_once('(')?.0)).collect();
    let vocabulary = Vocabulary { contexts: &names, functions: &functions };
    let expression = Expression::parse(text, &vocabulary)?;
    // Where the state of single jobs cannot be asked for, a status function takes no arguments.
    for node in expression.nodes() {
        if let NodeKind::Call(function, arguments) = &node.kind
            && function.is_status()
            && !arguments.is_empty()
            && contexts.contains(&format!("{}(0,0)", function.name()).as_str())
        {
            return Err(expression.too_many_arguments(node));
        }
    }
    Ok(expression)
}

/// A mapping that may be meant.
#[derive(Clone)]
struct Candidate {
    keys: Vec<&'static Key>,
    others: Option<&'static Definition>,
    is_any: bool,
}

impl Candidate {
    fn of(definition: &'static Definition, background_steps: bool) -> Option<Self> {
        match &definition.shape {
            Shape::Mapping { keys, others } => {
                if !background_steps
                    && keys.iter().any(|key| BACKGROUND.contains(&key.name) && key.required)
                {
                    return None;
                }
                let is_known = |key: &&Key| background_steps || key.name != "background";
                let keys = keys.iter().filter(is_known).collect();
                Some(Self { keys, others: *others, is_any: false })
            }
            Shape::Any => Some(Self { keys: Vec::new(), others: Some(definition), is_any: true }),
            _ => None,
        }
    }

    fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name).copied()
    }

    /// Whether any key may stand in it.
    fn is_open(&self) -> bool {
        self.keys.is_empty() && self.others.is_some()
    }
}

/// The keys that make a step one of those that run beside others, or wait for them.
const BACKGROUND: &[&str] = &["wait", "wait-all", "cancel", "parallel"];

fn known_names(candidates: &[Candidate]) -> Vec<&'static str> {
    let mut known: Vec<&str> = Vec::new();
    for key in candidates.iter().flat_map(|candidate| &candidate.keys) {
        if !known.contains(&key.name) {
            known.push(key.name);
        }
    }
    known
}

/// The keys that only one of the candidates has, in the order of the alphabet.
fn telling_keys(candidates: &[Candidate]) -> Vec<&'static str> {
    let having = |name| candidates.iter().filter(|c| c.key(name).is_some()).count();
    let mut names: Vec<&str> = candidates
        .iter()
        .flat_map(|candidate| &candidate.keys)
        .filter(|key| having(key.name) == 1)
        .map(|key| key.name)
        .collect();
    names.sort_unstable();
    names
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

/// What may stand there, in words: "a text, a list or a mapping".
pub(super) fn wanted(choices: &[&'static Definition]) -> String {
    let mut kinds: Vec<String> = Vec::new();
    for choice in choices {
        let more = match &choice.shape {
            Shape::Null => vec!["nothing".to_owned()],
            Shape::Boolean => vec!["true or false".to_owned()],
            Shape::Number => vec!["a number".to_owned()],
            Shape::Text | Shape::NonEmptyText => vec!["a text".to_owned()],
            Shape::Condition => vec!["a condition".to_owned()],
            Shape::Words(words) if words.len() > 8 => {
                vec!["one of the names GitHub knows".to_owned()]
            }
            Shape::Words(words) => words.iter().map(|word| format!("`{word}`")).collect(),
            Shape::Any => vec!["a value".to_owned()],
            Shape::List(_) => vec!["a list".to_owned()],
            Shape::Mapping { .. } => vec!["a mapping".to_owned()],
            Shape::OneOf(_) | Shape::Triggers => Vec::new(),
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

/// The words that may stand there.
pub(super) fn words(choices: &[&'static Definition]) -> Vec<&'static str> {
    choices
        .iter()
        .flat_map(|choice| match choice.shape {
            Shape::Words(words) => words,
            _ => &[],
        })
        .copied()
        .collect()
}

/// What a text alone weighs.
pub(super) fn path_weight(path: &str) -> usize {
    weight(path)
}
