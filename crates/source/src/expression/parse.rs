//! From symbols to a tree, by precedence.
//!
//! Two stacks and no recursion, so that a text of nothing but brackets costs no call stack.

use std::ops::Range;

use super::token::{Token, TokenKind, Tokens};
use super::{ErrorKind, ExpressionError, Function, Node, NodeKind, Symbol, Vocabulary};

/// The most characters an expression may have.
pub const MAX_LENGTH: usize = 21_000;

/// The most levels an expression may have.
pub const MAX_DEPTH: usize = 50;

/// Reads the tree of a text; none when nothing is written.
pub(super) fn parse(
    text: &str,
    vocabulary: &Vocabulary<'_>,
) -> Result<Option<Node>, ExpressionError> {
    if text.len() > MAX_LENGTH && text.encode_utf16().count() > MAX_LENGTH {
        return Err(ExpressionError {
            kind: ErrorKind::TooLong,
            symbol: None,
            expression: text.to_owned(),
        });
    }
    let mut parser = Parser {
        text,
        vocabulary,
        operands: Vec::new(),
        operators: Vec::new(),
        is_too_deep: false,
    };
    let mut tokens = Tokens::new(text);
    let mut last = None;
    while let Some(token) = tokens.next()? {
        parser.push(&token, last.as_ref())?;
        last = Some(token);
    }
    let Some(last) = last else { return Ok(None) };
    if tokens.has_unclosed() || !ends_expression(&last.kind) {
        return Err(parser.error(ErrorKind::UnexpectedEnd, last.range));
    }
    while let Some(operator) = parser.operators.pop() {
        parser.reduce(operator);
    }
    if parser.is_too_deep {
        return Err(ExpressionError {
            kind: ErrorKind::TooDeep,
            symbol: None,
            expression: text.to_owned(),
        });
    }
    Ok(parser.operands.pop())
}

fn ends_expression(kind: &TokenKind) -> bool {
    !matches!(
        kind,
        TokenKind::StartGroup
            | TokenKind::StartIndex
            | TokenKind::StartParameters
            | TokenKind::Separator
            | TokenKind::Dereference
            | TokenKind::Not
            | TokenKind::Compare(_)
            | TokenKind::And
            | TokenKind::Or
            | TokenKind::Function
    )
}

struct Parser<'a> {
    text: &'a str,
    vocabulary: &'a Vocabulary<'a>,
    operands: Vec<Node>,
    operators: Vec<Token>,
    is_too_deep: bool,
}

impl Parser<'_> {
    fn push(&mut self, token: &Token, last: Option<&Token>) -> Result<(), ExpressionError> {
        let word = &self.text[token.range.clone()];
        let range = token.range.clone();
        match &token.kind {
            TokenKind::Null => self.operand(NodeKind::Null, range),
            TokenKind::Boolean(value) => self.operand(NodeKind::Boolean(*value), range),
            TokenKind::Number(value) => self.operand(NodeKind::Number(*value), range),
            TokenKind::Text(value) => self.operand(NodeKind::Text(value.clone()), range),
            TokenKind::Property => self.operand(NodeKind::Text(word.to_owned()), range),
            TokenKind::Wildcard => self.operand(NodeKind::Wildcard, range),
            TokenKind::Context if self.vocabulary.has_context(word) => {
                self.operand(NodeKind::Context(word.to_owned()), range);
            }
            TokenKind::Context => return Err(self.error(ErrorKind::UnknownContext, range)),
            TokenKind::Function => match self.vocabulary.function(word) {
                Some(function) => self.operand(NodeKind::Call(function, Vec::new()), range),
                None => return Err(self.error(ErrorKind::UnknownFunction, range)),
            },
            TokenKind::EndGroup => {
                self.reduce_to(&TokenKind::StartGroup);
                let open = self.operators.pop();
                if let (Some(open), Some(node)) = (open, self.operands.last_mut()) {
                    node.outer = open.range.start..range.end;
                }
            }
            TokenKind::EndIndex => {
                self.reduce_to(&TokenKind::StartIndex);
                self.operators.pop();
                self.index(range.end);
            }
            TokenKind::EndParameters => self.end_call(range, last)?,
            TokenKind::Separator => {
                self.reduce_while(|top| !is_opening(&top.kind));
                self.operators.push(token.clone());
            }
            kind => {
                if let Some(precedence) = precedence(kind)
                    && *kind != TokenKind::Not
                {
                    self.reduce_while(|top| {
                        !is_opening(&top.kind)
                            && self::precedence(&top.kind).is_some_and(|above| precedence <= above)
                    });
                }
                self.operators.push(token.clone());
            }
        }
        Ok(())
    }

    fn operand(&mut self, kind: NodeKind, range: Range<usize>) {
        self.operands.push(Node { kind, outer: range.clone(), range, height: 1 });
    }

    fn pop(&mut self) -> Node {
        self.operands
            .pop()
            .expect("the symbols are in a legal order, so each operator has its operands")
    }

    fn reduce_to(&mut self, opening: &TokenKind) {
        self.reduce_while(|top| top.kind != *opening);
    }

    fn reduce_while(&mut self, applies: impl Fn(&Token) -> bool) {
        while let Some(operator) = self.operators.pop_if(|top| applies(top)) {
            self.reduce(operator);
        }
    }

    /// Replaces the operands of an operator by its node.
    fn reduce(&mut self, operator: Token) {
        if operator.kind == TokenKind::Not {
            let of = self.pop();
            let range = operator.range.start..of.outer.end;
            return self.node(NodeKind::Not(Box::new(of)), range);
        }
        if operator.kind == TokenKind::Dereference {
            let end = self.operands.last().map_or(0, |node| node.range.end);
            return self.index(end);
        }
        let right = self.pop();
        let left = self.pop();
        let range = left.outer.start..right.outer.end;
        let kind = match operator.kind {
            TokenKind::Compare(how) => NodeKind::Compare(how, Box::new(left), Box::new(right)),
            TokenKind::And => NodeKind::And(flatten(left, right, |kind| match kind {
                NodeKind::And(nodes) => Ok(nodes),
                other => Err(other),
            })),
            TokenKind::Or => NodeKind::Or(flatten(left, right, |kind| match kind {
                NodeKind::Or(nodes) => Ok(nodes),
                other => Err(other),
            })),
            other => unreachable!("{other:?} is not an operator with two operands"),
        };
        self.node(kind, range);
    }

    fn index(&mut self, end: usize) {
        let index = self.pop();
        let of = self.pop();
        let range = of.outer.start..end;
        self.node(NodeKind::Index(Box::new(of), Box::new(index)), range);
    }

    /// Ends a call: its arguments are the operands above it.
    fn end_call(
        &mut self,
        range: Range<usize>,
        last: Option<&Token>,
    ) -> Result<(), ExpressionError> {
        let mut count = 0;
        if last.map(|token| &token.kind) != Some(&TokenKind::StartParameters) {
            count = 1;
            self.reduce_while(|top| !is_opening(&top.kind));
            while self.operators.pop_if(|top| top.kind == TokenKind::Separator).is_some() {
                count += 1;
            }
        }
        let open = self.operators.pop().expect("a call that ends has its opening bracket");
        let arguments = self.operands.split_off(self.operands.len() - count);
        let call = self.pop();
        let NodeKind::Call(function, _) = call.kind else {
            unreachable!("the operand below the arguments is the call");
        };
        let (fewest, most) = function.arity();
        let wrong = if count < fewest {
            Some(ErrorKind::TooFewParameters)
        } else if count > most {
            Some(ErrorKind::TooManyParameters)
        } else if function == Function::Case && count % 2 == 0 {
            Some(ErrorKind::EvenParameters)
        } else {
            None
        };
        if let Some(kind) = wrong {
            return Err(self.error(kind, open.range));
        }
        self.node(NodeKind::Call(function, arguments), call.range.start..range.end);
        Ok(())
    }

    fn node(&mut self, kind: NodeKind, range: Range<usize>) {
        let mut node = Node { kind, outer: range.clone(), range, height: 1 };
        node.height += node.children().iter().map(|child| child.height).max().unwrap_or(0);
        if node.height > MAX_DEPTH {
            // The rest is still read, since a wrong symbol is the better message, but the tree is
            // not grown any further.
            self.is_too_deep = true;
            node.kind = NodeKind::Null;
            node.height = 1;
        }
        self.operands.push(node);
    }

    fn error(&self, kind: ErrorKind, range: Range<usize>) -> ExpressionError {
        ExpressionError {
            kind,
            symbol: Some(Symbol { text: self.text[range.clone()].to_owned(), range }),
            expression: self.text.to_owned(),
        }
    }
}

/// The nodes of a chain, taking in those of a chain of the same kind on either side.
fn flatten(
    left: Node,
    right: Node,
    chain: impl Fn(NodeKind) -> Result<Vec<Node>, NodeKind>,
) -> Vec<Node> {
    let mut nodes = Vec::new();
    for mut node in [left, right] {
        match chain(node.kind) {
            Ok(inner) => nodes.extend(inner),
            Err(kind) => {
                node.kind = kind;
                nodes.push(node);
            }
        }
    }
    nodes
}

fn is_opening(kind: &TokenKind) -> bool {
    matches!(
        kind,
        TokenKind::StartGroup
            | TokenKind::StartIndex
            | TokenKind::StartParameters
            | TokenKind::Separator
    )
}

/// How tightly an operator binds; `!` waits for its operand and is not left to right.
fn precedence(kind: &TokenKind) -> Option<u8> {
    use super::Comparison::{Equal, NotEqual};
    Some(match kind {
        TokenKind::StartIndex | TokenKind::StartParameters | TokenKind::Dereference => 19,
        TokenKind::Not => 16,
        TokenKind::Compare(Equal | NotEqual) => 10,
        TokenKind::Compare(_) => 11,
        TokenKind::And => 6,
        TokenKind::Or => 5,
        _ => return None,
    })
}
