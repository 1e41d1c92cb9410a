//! Expressions: what stands between `${{` and `}}`, and after `if:`.
//!
//! [`Expression::parse`] gives a tree whose every node knows which bytes of the text it is. What
//! may be named in it depends on where it stands and is passed in as a [`Vocabulary`]. Nothing is
//! evaluated here.
//!
//! # Glossary
//!
//! - **context**: a name with a value, such as `github` or `matrix`.
//! - **status function**: `success()`, `failure()`, `cancelled()`, `always()`; a condition without
//!   any of them means `success() && (condition)`.

mod parse;
mod token;

use std::ops::Range;

use thiserror::Error;

pub use parse::{MAX_DEPTH, MAX_LENGTH};
pub use token::number;

/// An expression, read.
#[derive(Debug, Clone, PartialEq)]
pub struct Expression {
    /// The text as written.
    pub text: String,
    /// The outermost node; none when nothing is written.
    pub root: Option<Node>,
}

/// A part of an expression.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// What it is.
    pub kind: NodeKind,
    /// Which bytes of the text it is, brackets around it left out.
    pub range: Range<usize>,
    /// The range with the brackets around it.
    outer: Range<usize>,
    height: usize,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq)]
pub enum NodeKind {
    /// `null`.
    Null,
    /// `true` or `false`.
    Boolean(bool),
    /// A number.
    Number(f64),
    /// A text in quotes, unquoted; or the name after a dot.
    Text(String),
    /// A context, as written.
    Context(String),
    /// `*` after a dot or in square brackets.
    Wildcard,
    /// A function and its arguments.
    Call(Function, Vec<Node>),
    /// `of.index` or `of[index]`.
    Index(Box<Node>, Box<Node>),
    /// `!a`.
    Not(Box<Node>),
    /// `a == b` and its like.
    Compare(Comparison, Box<Node>, Box<Node>),
    /// `a && b && c`.
    And(Vec<Node>),
    /// `a || b || c`.
    Or(Vec<Node>),
}

/// How two values are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Comparison {
    /// `==`.
    Equal,
    /// `!=`.
    NotEqual,
    /// `<`.
    Less,
    /// `<=`.
    LessOrEqual,
    /// `>`.
    Greater,
    /// `>=`.
    GreaterOrEqual,
}

/// A function of the language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Function {
    /// `always()`.
    Always,
    /// `cancelled()`.
    Cancelled,
    /// `case(predicate, value, …, default)`.
    Case,
    /// `contains(search, item)`.
    Contains,
    /// `endsWith(text, end)`.
    EndsWith,
    /// `failure()`.
    Failure,
    /// `format(text, …)`.
    Format,
    /// `fromJSON(text)`.
    FromJson,
    /// `hashFiles(pattern, …)`.
    HashFiles,
    /// `join(array, separator)`.
    Join,
    /// `startsWith(text, start)`.
    StartsWith,
    /// `success()`.
    Success,
    /// `toJSON(value)`.
    ToJson,
}

impl Function {
    /// Every function, by name.
    pub const ALL: &[Function] = &[
        Function::Always,
        Function::Cancelled,
        Function::Case,
        Function::Contains,
        Function::EndsWith,
        Function::Failure,
        Function::Format,
        Function::FromJson,
        Function::HashFiles,
        Function::Join,
        Function::StartsWith,
        Function::Success,
        Function::ToJson,
    ];

    /// The functions that may be called wherever an expression may stand.
    pub const EVERYWHERE: &[Function] = &[
        Function::Case,
        Function::Contains,
        Function::EndsWith,
        Function::Format,
        Function::FromJson,
        Function::Join,
        Function::StartsWith,
        Function::ToJson,
    ];

    /// Returns the function of a name, ignoring case.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|function| function.name().eq_ignore_ascii_case(name))
    }

    /// The name as documented.
    pub fn name(self) -> &'static str {
        match self {
            Function::Always => "always",
            Function::Cancelled => "cancelled",
            Function::Case => "case",
            Function::Contains => "contains",
            Function::EndsWith => "endsWith",
            Function::Failure => "failure",
            Function::Format => "format",
            Function::FromJson => "fromJSON",
            Function::HashFiles => "hashFiles",
            Function::Join => "join",
            Function::StartsWith => "startsWith",
            Function::Success => "success",
            Function::ToJson => "toJSON",
        }
    }

    /// Whether its answer is how things have gone so far.
    pub fn is_status(self) -> bool {
        matches!(
            self,
            Function::Always | Function::Cancelled | Function::Failure | Function::Success
        )
    }

    /// The fewest and the most arguments; the status of jobs may be asked job by job.
    fn arity(self) -> (usize, usize) {
        match self {
            Function::Always | Function::Cancelled => (0, 0),
            Function::Success | Function::Failure => (0, usize::MAX),
            Function::Case => (3, 255),
            Function::Contains | Function::EndsWith | Function::StartsWith => (2, 2),
            Function::Format | Function::HashFiles => (1, 255),
            Function::FromJson | Function::ToJson => (1, 1),
            Function::Join => (1, 2),
        }
    }
}

/// What may be named in an expression at some place.
#[derive(Debug, Clone, Copy)]
pub struct Vocabulary<'a> {
    /// The contexts.
    pub contexts: &'a [&'a str],
    /// The functions beyond those that may be called [everywhere](Function::EVERYWHERE).
    pub functions: &'a [Function],
}

impl Vocabulary<'_> {
    fn has_context(&self, name: &str) -> bool {
        self.contexts.iter().any(|known| known.eq_ignore_ascii_case(name))
    }

    fn function(&self, name: &str) -> Option<Function> {
        Function::from_name(name)
            .filter(|found| Function::EVERYWHERE.contains(found) || self.functions.contains(found))
    }
}

/// Why a text is not an expression, in the words GitHub uses.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}", self.message())]
pub struct ExpressionError {
    /// What is wrong.
    pub kind: ErrorKind,
    /// The symbol it is wrong at; none when the expression as a whole is at fault.
    pub symbol: Option<Symbol>,
    /// The expression.
    pub expression: String,
}

/// A symbol of an expression and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Symbol {
    /// The symbol as written.
    pub text: String,
    /// Which bytes of the expression it is.
    pub range: Range<usize>,
}

/// What is wrong with an expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// Parts within parts within parts.
    TooDeep,
    /// More characters than allowed.
    TooLong,
    /// Fewer arguments than the function needs.
    TooFewParameters,
    /// More arguments than the function takes.
    TooManyParameters,
    /// `case` takes pairs and one more.
    EvenParameters,
    /// Something is missing at the end.
    UnexpectedEnd,
    /// A symbol that may not stand here.
    UnexpectedSymbol,
    /// No function of this name may be called here.
    UnknownFunction,
    /// No context of this name is there here.
    UnknownContext,
}

impl ExpressionError {
    fn message(&self) -> String {
        let what = match self.kind {
            ErrorKind::TooDeep => return format!("Exceeded max expression depth {MAX_DEPTH}"),
            ErrorKind::TooLong => return format!("Exceeded max expression length {MAX_LENGTH}"),
            ErrorKind::TooFewParameters => "Too few parameters supplied",
            ErrorKind::TooManyParameters => "Too many parameters supplied",
            ErrorKind::EvenParameters => {
                "Even number of parameters supplied, requires an odd number of parameters"
            }
            ErrorKind::UnexpectedEnd => "Unexpected end of expression",
            ErrorKind::UnexpectedSymbol => "Unexpected symbol",
            ErrorKind::UnknownFunction => "Unrecognized function",
            ErrorKind::UnknownContext => "Unrecognized named-value",
        };
        let Some(symbol) = &self.symbol else {
            return what.to_owned();
        };
        // GitHub counts UTF-16 units.
        let before = self.expression.get(..symbol.range.start).unwrap_or("");
        let position = before.encode_utf16().count() + 1;
        format!(
            "{what}: '{}'. Located at position {position} within expression: {}",
            symbol.text, self.expression
        )
    }
}

impl Expression {
    /// Reads an expression in which the names of the vocabulary may be used.
    pub fn parse(text: &str, vocabulary: &Vocabulary<'_>) -> Result<Self, ExpressionError> {
        let root = parse::parse(text, vocabulary)?;
        Ok(Self { text: text.to_owned(), root })
    }

    /// The fault of a call with arguments where it takes none.
    pub(crate) fn too_many_arguments(&self, call: &Node) -> ExpressionError {
        let open = self.text[call.range.clone()].find('(').unwrap_or_default();
        let range = call.range.start + open..call.range.start + open + 1;
        ExpressionError {
            kind: ErrorKind::TooManyParameters,
            symbol: Some(Symbol { text: self.text[range.clone()].to_owned(), range }),
            expression: self.text.clone(),
        }
    }

    /// Whether a status function is called anywhere in it.
    pub fn asks_for_status(&self) -> bool {
        self.nodes()
            .iter()
            .any(|node| matches!(node.kind, NodeKind::Call(function, _) if function.is_status()))
    }

    /// The contexts it names, in lower case, in the order of the text.
    pub fn contexts(&self) -> Vec<String> {
        let mut names = Vec::new();
        for node in self.nodes() {
            if let NodeKind::Context(name) = &node.kind {
                let name = name.to_ascii_lowercase();
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        names
    }

    /// Which entries of a context it names.
    pub fn names_in(&self, context: &str) -> Names {
        let mut names = Names::default();
        let Some(root) = &self.root else { return names };
        let mut open = vec![root];
        while let Some(node) = open.pop() {
            match &node.kind {
                NodeKind::Index(of, index) => match (&of.kind, &index.kind) {
                    (NodeKind::Context(name), NodeKind::Text(key))
                        if name.eq_ignore_ascii_case(context) =>
                    {
                        names.listed.push(key.clone());
                    }
                    _ => open.extend([&**index, &**of]),
                },
                NodeKind::Context(name) if name.eq_ignore_ascii_case(context) => names.all = true,
                _ => open.extend(node.children().into_iter().rev()),
            }
        }
        names
    }

    /// Every node, outermost first.
    pub fn nodes(&self) -> Vec<&Node> {
        let mut nodes = Vec::new();
        let mut open: Vec<&Node> = self.root.iter().collect();
        while let Some(node) = open.pop() {
            nodes.push(node);
            open.extend(node.children().into_iter().rev());
        }
        nodes
    }
}

/// Which entries of a context an expression names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// The entries named one by one, as in `secrets.TOKEN`.
    pub listed: Vec<String>,
    /// Whether the context is used as a whole, as in `toJSON(secrets)` or `secrets[matrix.name]`.
    pub all: bool,
}

impl Node {
    /// The nodes right below this one, in the order of the text.
    pub fn children(&self) -> Vec<&Node> {
        match &self.kind {
            NodeKind::Call(_, nodes) | NodeKind::And(nodes) | NodeKind::Or(nodes) => {
                nodes.iter().collect()
            }
            NodeKind::Index(one, two) | NodeKind::Compare(_, one, two) => vec![one, two],
            NodeKind::Not(one) => vec![one],
            NodeKind::Null
            | NodeKind::Boolean(_)
            | NodeKind::Number(_)
            | NodeKind::Text(_)
            | NodeKind::Context(_)
            | NodeKind::Wildcard => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EVERYTHING: Vocabulary<'_> = Vocabulary {
        contexts: &["github", "secrets", "matrix", "a", "b", "c"],
        functions: Function::ALL,
    };

    fn error(text: &str) -> String {
        Expression::parse(text, &EVERYTHING).expect_err("should be refused").to_string()
    }

    #[test]
    fn an_unknown_name_is_shown_with_its_position() {
        assert_eq!(
            error("a == env.x"),
            "Unrecognized named-value: 'env'. Located at position 6 within expression: a == env.x"
        );
        assert_eq!(
            error("nope(1)"),
            "Unrecognized function: 'nope'. Located at position 1 within expression: nope(1)"
        );
    }

    #[test]
    fn what_is_left_open_is_an_unexpected_end() {
        for text in ["(a", "a ==", "contains(a, b", "a[1", "!", "format"] {
            let kind = Expression::parse(text, &EVERYTHING).map_err(|error| error.kind);
            assert!(
                matches!(kind, Err(ErrorKind::UnexpectedEnd | ErrorKind::UnknownContext)),
                "{text}: {kind:?}"
            );
        }
    }

    #[test]
    fn depth_and_length_are_limited() {
        assert!(Expression::parse(&format!("{}a", "!".repeat(49)), &EVERYTHING).is_ok());
        assert_eq!(error(&format!("{}a", "!".repeat(50))), "Exceeded max expression depth 50");
        assert_eq!(error(&"!".repeat(21_001)), "Exceeded max expression length 21000");
        let groups = format!("{}a{}", "(".repeat(5_000), ")".repeat(5_000));
        assert!(Expression::parse(&groups, &EVERYTHING).is_ok());
    }

    #[test]
    fn every_node_knows_its_text() {
        let expression =
            Expression::parse("a.b['c'] == 1 && !(matrix.x)", &EVERYTHING).expect("is legal");
        let texts: Vec<&str> =
            expression.nodes().iter().map(|node| &expression.text[node.range.clone()]).collect();
        assert_eq!(
            texts,
            [
                "a.b['c'] == 1 && !(matrix.x)",
                "a.b['c'] == 1",
                "a.b['c']",
                "a.b",
                "a",
                "b",
                "'c'",
                "1",
                "!(matrix.x)",
                "matrix.x",
                "matrix",
                "x"
            ]
        );
    }

    #[test]
    fn the_secrets_that_an_expression_names_are_known() {
        let names = |text: &str| {
            Expression::parse(text, &EVERYTHING).expect("is legal").names_in("secrets")
        };
        assert_eq!(names("secrets.ONE || SECRETS['two']").listed, ["ONE", "two"]);
        assert!(!names("secrets.ONE").all);
        assert!(names("secrets[matrix.name]").all);
        assert!(names("toJSON(secrets)").all);
        assert_eq!(names("github.sha"), Names::default());
    }

    proptest! {
        #[test]
        fn any_text_gives_a_tree_or_an_error(text in "[ -~]{0,40}|\\PC{0,20}") {
            if let Ok(expression) = Expression::parse(&text, &EVERYTHING) {
                for node in expression.nodes() {
                    prop_assert!(text.get(node.range.clone()).is_some());
                }
            }
        }

        #[test]
        fn any_row_of_symbols_gives_a_tree_or_an_error(
            symbols in proptest::collection::vec(
                prop::sample::select(vec![
                    "a", "b", ".", "*", "[", "]", "(", ")", ",", "!", "==", "!=", "<", "&&", "||",
                    "'t'", "1", "format", "case", "null", " ", "contains(", "always()",
                ]), 0..24)
        ) {
            let _ = Expression::parse(&symbols.concat(), &EVERYTHING);
        }
    }
}
