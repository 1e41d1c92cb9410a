//! From text to template.

use std::collections::BTreeMap;

use super::function::FUNCTIONS;
use super::{Call, Node, Operand, Pipeline, TemplateError, Value};

type Parsed = (Vec<Node>, BTreeMap<String, Vec<Node>>);

/// How deeply blocks and parentheses may be nested.
const MOST_DEPTH: usize = 40;

/// Reads a template in which the variables of these names are known.
pub(super) fn template(text: &str, variables: &[&str]) -> Result<Parsed, TemplateError> {
    let pieces = pieces(text)?;
    let mut parser = Parser {
        pieces: pieces.into_iter().peekable(),
        known: variables.iter().map(|name| (*name).to_owned()).collect(),
        defined: BTreeMap::new(),
        depth: 0,
    };
    // `$` is what the template was called with.
    parser.known.push(String::new());
    let (nodes, end) = parser.body()?;
    match end {
        End::Text => Ok((nodes, parser.defined)),
        End::Else(at, _) => Err(error(at, "`else` has no `if`, `with` or `range`")),
        End::Closed(at) => Err(error(at, "`end` closes nothing")),
    }
}

fn error(at: usize, message: impl Into<String>) -> TemplateError {
    TemplateError { at, message: message.into(), help: None }
}

/// A part of a template: text, or what stands between `{{` and `}}`.
enum Piece {
    Text(String),
    Action(usize, Vec<Token>),
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Word(String),
    /// `.a.b`; `space` says whether it stands apart from what is before it.
    Path {
        names: Vec<String>,
        space: bool,
    },
    Variable(String),
    Literal(Value),
    Sign(&'static str),
}

fn pieces(text: &str) -> Result<Vec<Piece>, TemplateError> {
    let mut pieces = Vec::new();
    let mut at = 0;
    let mut trims_next = false;
    while let Some(open) = text[at..].find("{{") {
        let open = at + open;
        let mut before = &text[at..open];
        if trims_next {
            before = before.trim_start();
        }
        let mut start = open + 2;
        let inside = &text[start..];
        if inside.starts_with('-') && inside[1..].starts_with(char::is_whitespace) {
            before = before.trim_end();
            start += 1;
        }
        if !before.is_empty() {
            pieces.push(Piece::Text(before.to_owned()));
        }
        let body = text[start..].trim_start();
        let start = text.len() - body.len();
        let length = if body.starts_with("/*") {
            body.find("*/").and_then(|end| Some(end + body[end..].find("}}")?))
        } else {
            closing(body)
        };
        let Some(length) = length else { return Err(error(open, "`{{` has no `}}`")) };
        let inner = &body[..length];
        trims_next = inner.ends_with(" -") || inner.ends_with("\n-") || inner.ends_with("\t-");
        let inner = if trims_next { &inner[..inner.len() - 1] } else { inner };
        if !inner.starts_with("/*") {
            pieces.push(Piece::Action(open, tokens(inner, start)?));
        }
        at = start + length + 2;
    }
    let rest = if trims_next { text[at..].trim_start() } else { &text[at..] };
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.to_owned()));
    }
    Ok(pieces)
}

/// Where the `}}` stands that is not inside a quoted text.
fn closing(text: &str) -> Option<usize> {
    let (mut quote, mut escaped) = (None, false);
    for (index, c) in text.char_indices() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some('"' | '\'') if c == '\\' => escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if matches!(c, '"' | '`' | '\'') => quote = Some(c),
            None if text[index..].starts_with("}}") => return Some(index),
            None => {}
        }
    }
    None
}

fn tokens(action: &str, offset: usize) -> Result<Vec<Token>, TemplateError> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(c) = action[at..].chars().next() {
        let rest = &action[at..];
        let space =
            at == 0 || action[..at].ends_with(|c: char| c.is_whitespace() || "(|,".contains(c));
        let name = |text: &str| {
            text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len())
        };
        let length = match c {
            c if c.is_whitespace() => c.len_utf8(),
            '(' | ')' | '|' | ',' | '=' => {
                tokens.push(Token::Sign(match c {
                    '(' => "(",
                    ')' => ")",
                    '|' => "|",
                    ',' => ",",
                    _ => "=",
                }));
                1
            }
            ':' if rest.starts_with(":=") => {
                tokens.push(Token::Sign(":="));
                2
            }
            '"' | '`' | '\'' => {
                let (text, length) = quoted(rest, c)
                    .ok_or_else(|| error(offset + at, "a text has no closing quote"))?;
                tokens.push(Token::Literal(if c == '\'' {
                    let mut chars = text.chars();
                    match (chars.next(), chars.next()) {
                        (Some(one), None) => Value::Whole(i64::from(u32::from(one))),
                        _ => return Err(error(offset + at, "`'…'` holds one character")),
                    }
                } else {
                    Value::Text(text)
                }));
                length
            }
            '$' => {
                let length = 1 + name(&rest[1..]);
                tokens.push(Token::Variable(rest[1..length].to_owned()));
                length
            }
            '.' if !rest[1..].starts_with(|c: char| c.is_ascii_digit()) => {
                let (mut names, mut length) = (Vec::new(), 0);
                while rest[length..].starts_with('.') {
                    let size = name(&rest[length + 1..]);
                    if size > 0 {
                        names.push(rest[length + 1..length + 1 + size].to_owned());
                    }
                    length += 1 + size;
                    if size == 0 {
                        break;
                    }
                }
                tokens.push(Token::Path { names, space });
                length
            }
            c if c.is_ascii_digit() || "+-.".contains(c) => {
                let length = rest
                    .find(|c: char| !c.is_ascii_alphanumeric() && !"+-._".contains(c))
                    .unwrap_or(rest.len());
                let text = rest[..length].replace('_', "");
                let number = match text.parse::<i64>() {
                    Ok(whole) => Value::Whole(whole),
                    Err(_) => match text.parse::<f64>() {
                        Ok(number) => Value::Number(number),
                        Err(_) => {
                            return Err(error(offset + at, format!("`{text}` is not a number")));
                        }
                    },
                };
                tokens.push(Token::Literal(number));
                length
            }
            c if c.is_alphabetic() || c == '_' => {
                let length = name(rest);
                tokens.push(match &rest[..length] {
                    "true" => Token::Literal(Value::Bool(true)),
                    "false" => Token::Literal(Value::Bool(false)),
                    "nil" => Token::Literal(Value::Nothing),
                    word => Token::Word(word.to_owned()),
                });
                length
            }
            other => return Err(error(offset + at, format!("`{other}` is not expected here"))),
        };
        at += length;
    }
    Ok(tokens)
}

/// Reads a quoted text at the start and says how long it is with its quotes.
fn quoted(text: &str, quote: char) -> Option<(String, usize)> {
    let mut out = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((index, c)) = chars.next() {
        if c == quote {
            return Some((out, index + 1));
        }
        if c != '\\' || quote == '`' {
            out.push(c);
            continue;
        }
        match chars.next()?.1 {
            'n' => out.push('\n'),
            't' => out.push('\t'),
            'r' => out.push('\r'),
            kind @ ('x' | 'u' | 'U') => {
                let digits = match kind {
                    'x' => 2,
                    'u' => 4,
                    _ => 8,
                };
                let mut code = 0;
                for _ in 0..digits {
                    code = code * 16 + chars.next()?.1.to_digit(16)?;
                }
                out.push(char::from_u32(code)?);
            }
            other => out.push(other),
        }
    }
    None
}

/// How a body ended.
enum End {
    Text,
    Else(usize, Vec<Token>),
    Closed(usize),
}

struct Parser {
    pieces: std::iter::Peekable<std::vec::IntoIter<Piece>>,
    known: Vec<String>,
    defined: BTreeMap<String, Vec<Node>>,
    depth: usize,
}

impl Parser {
    fn deeper(&mut self, at: usize) -> Result<(), TemplateError> {
        self.depth += 1;
        if self.depth > MOST_DEPTH { Err(error(at, "this is nested too deeply")) } else { Ok(()) }
    }

    fn body(&mut self) -> Result<(Vec<Node>, End), TemplateError> {
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.next() {
            let (at, tokens) = match piece {
                Piece::Text(text) => {
                    nodes.push(Node::Text(text));
                    continue;
                }
                Piece::Action(at, tokens) => (at, tokens),
            };
            let word = match tokens.first() {
                Some(Token::Word(word)) => word.as_str(),
                _ => "",
            };
            match word {
                "end" => return Ok((nodes, End::Closed(at))),
                "else" => return Ok((nodes, End::Else(at, tokens[1..].to_vec()))),
                "if" | "with" | "range" => {
                    let word = word.to_owned();
                    nodes.push(self.branch(at, &word, &tokens[1..])?);
                }
                "define" => {
                    let [_, Token::Literal(Value::Text(name))] = tokens.as_slice() else {
                        return Err(error(at, "`define` is followed by a quoted name"));
                    };
                    self.deeper(at)?;
                    let outer = std::mem::replace(&mut self.known, vec![String::new()]);
                    let (body, end) = self.body()?;
                    self.known = outer;
                    self.depth -= 1;
                    if !matches!(end, End::Closed(_)) {
                        return Err(error(at, "`define` has no `end`"));
                    }
                    self.defined.insert(name.clone(), body);
                }
                "template" => {
                    let Some(Token::Literal(Value::Text(name))) = tokens.get(1) else {
                        return Err(error(at, "`template` is followed by a quoted name"));
                    };
                    let with = match &tokens[2..] {
                        [] => None,
                        rest => Some(self.pipeline(at, rest)?),
                    };
                    nodes.push(Node::Template(name.clone(), with));
                }
                "block" | "break" | "continue" => {
                    return Err(error(at, format!("`{word}` is not supported")));
                }
                _ => nodes.push(Node::Fill(self.pipeline(at, &tokens)?)),
            }
        }
        Ok((nodes, End::Text))
    }

    fn branch(&mut self, at: usize, word: &str, head: &[Token]) -> Result<Node, TemplateError> {
        self.deeper(at)?;
        let kept = self.known.len();
        let pipeline = self.pipeline(at, head)?;
        let (body, end) = self.body()?;
        let otherwise = match end {
            End::Closed(_) => Vec::new(),
            End::Text => return Err(error(at, format!("`{word}` has no `end`"))),
            End::Else(_, rest) if rest.is_empty() => match self.body()? {
                (otherwise, End::Closed(_)) => otherwise,
                (_, End::Else(at, _)) => return Err(error(at, "there is an `else` already")),
                (_, End::Text) => return Err(error(at, format!("`{word}` has no `end`"))),
            },
            End::Else(at, rest) => match rest.split_first() {
                // `else if` closes with the `end` of the first.
                Some((Token::Word(next), rest)) if next == "if" || next == "with" => {
                    let next = next.clone();
                    vec![self.branch(at, &next, rest)?]
                }
                _ => return Err(error(at, "`else` is followed by `if`, `with` or nothing")),
            },
        };
        self.known.truncate(kept);
        self.depth -= 1;
        Ok(match word {
            "if" => Node::If(pipeline, body, otherwise),
            "with" => Node::With(pipeline, body, otherwise),
            _ => Node::Range(pipeline, body, otherwise),
        })
    }

    fn pipeline(&mut self, at: usize, tokens: &[Token]) -> Result<Pipeline, TemplateError> {
        let (mut variables, mut declares, mut rest) = (Vec::new(), false, tokens);
        let sign = tokens.iter().position(|t| matches!(t, Token::Sign(":=" | "=")));
        if let Some(sign) = sign {
            declares = tokens[sign] == Token::Sign(":=");
            for token in &tokens[..sign] {
                match token {
                    Token::Variable(name) if !name.is_empty() => variables.push(name.clone()),
                    Token::Sign(",") => {}
                    _ => return Err(error(at, "only a variable can be set")),
                }
            }
            if variables.is_empty() || variables.len() > 2 {
                return Err(error(at, "one variable can be set, or two by `range`"));
            }
            rest = &tokens[sign + 1..];
        }
        let mut calls: Vec<Call> = Vec::new();
        let mut depth = 0;
        for part in rest.split(|token| {
            match token {
                Token::Sign("(") => depth += 1,
                Token::Sign(")") => depth -= 1,
                _ => {}
            }
            depth == 0 && *token == Token::Sign("|")
        }) {
            calls.push(self.call(at, part, !calls.is_empty())?);
        }
        if declares {
            self.known.extend(variables.iter().cloned());
        } else if let Some(name) = variables.iter().find(|name| !self.known.contains(name)) {
            return Err(undefined(at, name, &self.known));
        }
        Ok(Pipeline { variables, declares, calls })
    }

    fn call(&mut self, at: usize, tokens: &[Token], piped: bool) -> Result<Call, TemplateError> {
        let mut operands = Vec::new();
        let mut rest = tokens;
        while !rest.is_empty() {
            let (operand, after) = self.operand(at, rest)?;
            operands.push(operand);
            rest = after;
        }
        if operands.is_empty() {
            return Err(error(at, "there is nothing where a value should be"));
        }
        let head = operands.remove(0);
        let given = operands.len() + usize::from(piped);
        match &head {
            Operand::Function(function) => function.takes(given).map_err(|why| error(at, why))?,
            Operand::Dot(path) | Operand::Variable(_, path) | Operand::Nested(_, path)
                if given > 0 && path.is_empty() =>
            {
                return Err(error(at, "a value is called as if it were a function"));
            }
            Operand::Literal(_) if given > 0 => {
                return Err(error(at, "a value is called as if it were a function"));
            }
            _ => {}
        }
        Ok(Call { head, arguments: operands })
    }

    fn operand<'t>(
        &mut self,
        at: usize,
        tokens: &'t [Token],
    ) -> Result<(Operand, &'t [Token]), TemplateError> {
        let Some((first, rest)) = tokens.split_first() else {
            return Err(error(at, "there is nothing where a value should be"));
        };
        // A path belongs to a variable or a parenthesis only if nothing stands between them.
        let path = |rest: &'t [Token]| match rest.split_first() {
            Some((Token::Path { names, space: false }, after)) => (names.clone(), after),
            _ => (Vec::new(), rest),
        };
        Ok(match first {
            Token::Literal(value) => (Operand::Literal(value.clone()), rest),
            Token::Path { names, .. } => (Operand::Dot(names.clone()), rest),
            Token::Variable(name) => {
                if !self.known.contains(name) {
                    return Err(undefined(at, name, &self.known));
                }
                let (names, rest) = path(rest);
                (Operand::Variable(name.clone(), names), rest)
            }
            Token::Word(word) => match FUNCTIONS.iter().find(|known| known.name == word) {
                Some(function) => (Operand::Function(function), rest),
                None => {
                    let known = FUNCTIONS.iter().map(|known| known.name);
                    let close = source::yaml::did_you_mean(word, known);
                    let mut refused = error(at, format!("no function is called `{word}`"));
                    refused.help = Some(match close {
                        Some(close) => format!("did you mean `{close}`?"),
                        None => {
                            let all: Vec<&str> = FUNCTIONS.iter().map(|known| known.name).collect();
                            format!("known are: {}", all.join(", "))
                        }
                    });
                    return Err(refused);
                }
            },
            Token::Sign("(") => {
                let mut depth = 1;
                let Some(close) = rest.iter().position(|token| {
                    match token {
                        Token::Sign("(") => depth += 1,
                        Token::Sign(")") => depth -= 1,
                        _ => {}
                    }
                    depth == 0
                }) else {
                    return Err(error(at, "`(` has no `)`"));
                };
                self.deeper(at)?;
                let inner = self.pipeline(at, &rest[..close])?;
                self.depth -= 1;
                let (names, rest) = path(&rest[close + 1..]);
                (Operand::Nested(Box::new(inner), names), rest)
            }
            Token::Sign(sign) => return Err(error(at, format!("`{sign}` is not expected here"))),
        })
    }
}

fn undefined(at: usize, name: &str, known: &[String]) -> TemplateError {
    let names = known.iter().map(String::as_str).filter(|name| !name.is_empty());
    let mut refused = error(at, format!("no variable is called `${name}`"));
    refused.help = source::yaml::did_you_mean(name, names.clone())
        .map(|close| format!("did you mean `${close}`?"))
        .or_else(|| {
            let all: Vec<String> = names.map(|name| format!("`${name}`")).collect();
            (!all.is_empty()).then(|| format!("known are {}", all.join(", ")))
        });
    refused
}
