//! A question, read and checked.

use std::fmt;

use series::{Matcher, Millis};

use crate::function::Function;
use crate::length::Length;

/// From one byte of the text up to, not including, another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Span {
    /// The first byte.
    pub start: usize,
    /// The byte after the last one.
    pub end: usize,
}

/// A part of a question and where it stands.
#[derive(Debug, Clone)]
pub struct Expr {
    /// What it is.
    pub node: Node,
    /// Where it stands.
    pub span: Span,
}

/// What a part of a question is.
#[derive(Debug, Clone)]
pub enum Node {
    /// A number, or a duration in seconds.
    Number(f64),
    /// A text.
    Text(String),
    /// Series at a time: `up{job="web"} offset 5m`.
    Selector(Selector),
    /// Series over a window: `up[5m]`.
    Window {
        /// Which series.
        selector: Selector,
        /// How long.
        range: Length,
    },
    /// Another question asked again and again: `rate(x[1m])[5m:10s]`.
    Subquery {
        /// The question.
        expr: Box<Expr>,
        /// How long.
        range: Length,
        /// How often; `None` is once a minute.
        step: Option<Length>,
        /// From when on.
        shift: Shift,
    },
    /// `-x`.
    Negative(Box<Expr>),
    /// `(x)`.
    Paren(Box<Expr>),
    /// `+x`.
    Positive(Box<Expr>),
    /// `a + b`.
    Binary {
        /// What is done.
        op: BinaryOp,
        /// The left side.
        left: Box<Expr>,
        /// The right side.
        right: Box<Expr>,
        /// Which series belong together.
        matching: Matching,
        /// Whether a comparison gives 0 and 1 instead of filtering.
        bool: bool,
    },
    /// `sum by (job) (x)`.
    Aggregate {
        /// What is done.
        op: AggregateOp,
        /// What makes a group.
        grouping: Grouping,
        /// The number or text that some aggregations take first.
        parameter: Option<Box<Expr>>,
        /// What is aggregated.
        expr: Box<Expr>,
    },
    /// `rate(x[5m])`.
    Call {
        /// The function.
        function: &'static Function,
        /// What it is called with.
        arguments: Vec<Expr>,
    },
}

/// Which series, and from when.
#[derive(Debug, Clone)]
pub struct Selector {
    /// What their labels must be; the metric's name is one of them.
    pub matchers: Vec<Matcher>,
    /// From when on.
    pub shift: Shift,
    /// How the borders of a window are found.
    pub border: Border,
}

/// How the borders of a window are found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Border {
    /// Only samples within count.
    #[default]
    Plain,
    /// The last sample before the window stands at its begin: `anchored`.
    Anchored,
    /// Values at the borders are found between two samples: `smoothed`.
    Smoothed,
}

impl Border {
    /// How it is written, or nothing.
    pub fn word(self) -> &'static str {
        match self {
            Border::Plain => "",
            Border::Anchored => "anchored",
            Border::Smoothed => "smoothed",
        }
    }
}

/// A time other than the one asked about: `offset 5m`, `@ 1700000000`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Shift {
    /// How long before; negative is after.
    pub offset: Length,
    /// A fixed time instead of the one asked about.
    pub at: Option<At>,
}

/// A fixed time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// This one.
    Time(Millis),
    /// Where the range of the question starts.
    Start,
    /// Where the range of the question ends.
    End,
}

/// What a question gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One number.
    Scalar,
    /// One text.
    Text,
    /// For each series one value.
    Vector,
    /// For each series the samples of a window.
    Matrix,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Scalar => "a number",
            Kind::Text => "a text",
            Kind::Vector => "an instant vector",
            Kind::Matrix => "a range vector",
        })
    }
}

impl Expr {
    /// Returns what it gives.
    pub fn kind(&self) -> Kind {
        match &self.node {
            Node::Number(_) => Kind::Scalar,
            Node::Text(_) => Kind::Text,
            Node::Selector(_) | Node::Aggregate { .. } => Kind::Vector,
            Node::Window { .. } | Node::Subquery { .. } => Kind::Matrix,
            Node::Negative(expr) | Node::Positive(expr) | Node::Paren(expr) => expr.kind(),
            Node::Binary { left, right, .. } => match (left.kind(), right.kind()) {
                (Kind::Scalar, Kind::Scalar) => Kind::Scalar,
                _ => Kind::Vector,
            },
            Node::Call { function, .. } => function.gives,
        }
    }

    /// Returns what stands inside the parentheses.
    pub fn bare(&self) -> &Expr {
        match &self.node {
            Node::Paren(expr) => expr.bare(),
            _ => self,
        }
    }

    /// Calls `visit` with every part of the question, the whole before its parts; the parts of
    /// a part are visited only if it answers with yes.
    pub fn walk_mut(&mut self, visit: &mut dyn FnMut(&mut Expr) -> bool) {
        if !visit(self) {
            return;
        }
        match &mut self.node {
            Node::Number(_) | Node::Text(_) | Node::Selector(_) | Node::Window { .. } => {}
            Node::Subquery { expr, .. }
            | Node::Negative(expr)
            | Node::Positive(expr)
            | Node::Paren(expr) => expr.walk_mut(visit),
            Node::Binary { left, right, .. } => {
                left.walk_mut(visit);
                right.walk_mut(visit);
            }
            Node::Aggregate { parameter, expr, .. } => {
                if let Some(parameter) = parameter {
                    parameter.walk_mut(visit);
                }
                expr.walk_mut(visit);
            }
            Node::Call { arguments, .. } => arguments.iter_mut().for_each(|a| a.walk_mut(visit)),
        }
    }

    /// Calls `visit` with every selector in the question, in the order of the text.
    pub fn selectors<'a>(&'a self, visit: &mut dyn FnMut(&'a Selector)) {
        match &self.node {
            Node::Number(_) | Node::Text(_) => {}
            Node::Selector(selector) | Node::Window { selector, .. } => visit(selector),
            Node::Subquery { expr, .. }
            | Node::Negative(expr)
            | Node::Positive(expr)
            | Node::Paren(expr) => expr.selectors(visit),
            Node::Binary { left, right, .. } => {
                left.selectors(visit);
                right.selectors(visit);
            }
            Node::Aggregate { parameter, expr, .. } => {
                if let Some(parameter) = parameter {
                    parameter.selectors(visit);
                }
                expr.selectors(visit);
            }
            Node::Call { arguments, .. } => arguments.iter().for_each(|a| a.selectors(visit)),
        }
    }
}

/// What stands between two sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each is its sign")]
pub enum BinaryOp {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    Power,
    Atan2,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    TrimUpper,
    TrimLower,
    And,
    Or,
    Unless,
}

impl BinaryOp {
    /// Whether it compares.
    pub fn is_comparison(self) -> bool {
        matches!(
            self,
            Self::Equal
                | Self::NotEqual
                | Self::Less
                | Self::LessOrEqual
                | Self::Greater
                | Self::GreaterOrEqual
        )
    }

    /// Whether it cuts histograms off.
    pub fn is_trim(self) -> bool {
        matches!(self, Self::TrimUpper | Self::TrimLower)
    }

    /// How it is written.
    pub fn sign(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Modulo => "%",
            Self::Power => "^",
            Self::Atan2 => "atan2",
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::TrimUpper => "</",
            Self::TrimLower => ">/",
            Self::And => "and",
            Self::Or => "or",
            Self::Unless => "unless",
        }
    }

    /// Whether it works on sets of series and not on their values.
    pub fn is_set(self) -> bool {
        matches!(self, Self::And | Self::Or | Self::Unless)
    }

    /// How tightly it binds.
    pub(crate) fn precedence(self) -> u8 {
        match self {
            Self::Or => 1,
            Self::And | Self::Unless => 2,
            op if op.is_comparison() || op.is_trim() => 3,
            Self::Add | Self::Subtract => 4,
            Self::Power => 6,
            _ => 5,
        }
    }
}

/// Which series of the two sides belong together.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Matching {
    /// Whether only the named labels count (`on`) or all but them (`ignoring`).
    pub on: bool,
    /// The labels.
    pub labels: Vec<String>,
    /// Which side may have many series for one of the other.
    pub many: Option<Side>,
    /// The labels that the side with many takes from the other one.
    pub include: Vec<String>,
    /// What stands for a series that is missing on the left side.
    pub fill_left: Option<f64>,
    /// What stands for a series that is missing on the right side.
    pub fill_right: Option<f64>,
}

/// One side of an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the two sides")]
pub enum Side {
    Left,
    Right,
}

/// What makes a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grouping {
    /// These labels.
    By(Vec<String>),
    /// All labels but these.
    Without(Vec<String>),
}

/// How a group becomes one value, or fewer series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each is its name in PromQL")]
pub enum AggregateOp {
    Sum,
    Avg,
    Min,
    Max,
    Count,
    Group,
    Stddev,
    Stdvar,
    Quantile,
    CountValues,
    Topk,
    Bottomk,
    Limitk,
    LimitRatio,
}

impl AggregateOp {
    pub(crate) const NAMES: [(&'static str, AggregateOp); 14] = [
        ("sum", Self::Sum),
        ("avg", Self::Avg),
        ("min", Self::Min),
        ("max", Self::Max),
        ("count", Self::Count),
        ("group", Self::Group),
        ("stddev", Self::Stddev),
        ("stdvar", Self::Stdvar),
        ("quantile", Self::Quantile),
        ("count_values", Self::CountValues),
        ("topk", Self::Topk),
        ("bottomk", Self::Bottomk),
        ("limitk", Self::Limitk),
        ("limit_ratio", Self::LimitRatio),
    ];

    /// How it is written.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, op)| *op == self).map_or("", |(name, _)| name)
    }

    /// What it takes before the vector.
    pub(crate) fn parameter(self) -> Option<Kind> {
        match self {
            Self::Quantile | Self::Topk | Self::Bottomk | Self::Limitk | Self::LimitRatio => {
                Some(Kind::Scalar)
            }
            Self::CountValues => Some(Kind::Text),
            _ => None,
        }
    }
}
