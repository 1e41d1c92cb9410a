//! From text to a question.

use std::fmt;

use series::{METRIC_NAME, Matcher, Millis, Op};

use crate::expr::{
    AggregateOp, At, BinaryOp, Border, Expr, Grouping, Kind, Matching, Node, Selector, Shift, Side,
    Span,
};
use crate::function::{FUNCTIONS, Function, RENAMED};
use crate::length::{Formula, Length};
use crate::lex::{Token, lex};

/// Why a text is not a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// Where.
    pub span: Span,
    /// What is wrong, as a lower-case fragment.
    pub message: String,
    /// How to mend it.
    pub help: Option<String>,
}

impl ParseError {
    pub(crate) fn new(span: Span, message: impl Into<String>) -> Self {
        Self { span, message: message.into(), help: None }
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Returns line and column in the text, both counted from 1 in characters.
    pub fn position(&self, text: &str) -> (usize, usize) {
        let before = &text[..self.span.start.min(text.len())];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        (line, column)
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.help {
            Some(help) => write!(f, "; {help}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ParseError {}

/// How deep parts may stand in one another.
const DEPTH: usize = 100;

/// Reads a PromQL expression and checks its types.
///
/// ```
/// let expr = promql::parse("sum by (job) (rate(requests_total[5m]))").unwrap();
/// assert_eq!(expr.kind(), promql::Kind::Vector);
/// let error = promql::parse("rat(requests_total[5m])").unwrap_err();
/// assert_eq!(error.to_string(), "no function is called `rat`; did you mean `rate`?");
/// ```
pub fn parse(text: &str) -> Result<Expr, ParseError> {
    let mut parser = Parser { tokens: lex(text)?, next: 0, depth: 0 };
    if parser.peek() == &Token::End {
        return Err(ParseError::new(parser.span(), "there is no expression"));
    }
    let expr = parser.expr(0)?;
    match parser.peek() {
        Token::End => Ok(expr),
        _ => Err(parser.unexpected("an operator or the end")),
    }
}

struct Parser {
    tokens: Vec<(Token, Span)>,
    next: usize,
    depth: usize,
}

type Parsed<T> = Result<T, ParseError>;

impl Parser {
    fn peek(&self) -> &Token {
        &self.tokens[self.next].0
    }

    fn span(&self) -> Span {
        self.tokens[self.next].1
    }

    /// Where the last word read ends.
    fn end(&self) -> usize {
        self.tokens[self.next.saturating_sub(1)].1.end
    }

    fn take(&mut self) -> (Token, Span) {
        let taken = self.tokens[self.next].clone();
        self.next = (self.next + 1).min(self.tokens.len() - 1);
        taken
    }

    fn is(&self, sign: &str) -> bool {
        matches!(self.peek(), Token::Sign(own) if *own == sign)
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(self.peek(), Token::Name(own) if own.eq_ignore_ascii_case(word))
    }

    fn eat(&mut self, sign: &str) -> bool {
        let is = self.is(sign);
        if is {
            self.take();
        }
        is
    }

    fn eat_word(&mut self, word: &str) -> bool {
        let is = self.is_word(word);
        if is {
            self.take();
        }
        is
    }

    fn expect(&mut self, sign: &str) -> Parsed<Span> {
        if self.is(sign) { Ok(self.take().1) } else { Err(self.unexpected(&format!("`{sign}`"))) }
    }

    fn unexpected(&self, wanted: &str) -> ParseError {
        let found = match self.peek() {
            Token::Name(name) => format!("`{name}`"),
            Token::Number(value) => format!("the number {value}"),
            Token::Duration(_) => "a duration".to_owned(),
            Token::Text(_) | Token::NoText(_) => "a text".to_owned(),
            Token::Sign(sign) => format!("`{sign}`"),
            Token::End => "the end".to_owned(),
        };
        let error = ParseError::new(self.span(), format!("expected {wanted}, found {found}"));
        match self.peek() {
            Token::Sign("=") => error.help("equality is written `==`"),
            _ => error,
        }
    }

    fn expr(&mut self, least: u8) -> Parsed<Expr> {
        self.nested()?;
        let mut left = self.prefix()?;
        while let Some(op) = self.binary_op() {
            let precedence = op.precedence();
            if precedence < least {
                break;
            }
            let op_span = self.take().1;
            let (bool, matching, matched) = self.modifiers(op, op_span)?;
            // Only the power is grouped from the right.
            let right =
                self.expr(if op == BinaryOp::Power { precedence } else { precedence + 1 })?;
            left = binary(op, op_span, left, right, bool, matching, matched)?;
        }
        self.depth -= 1;
        Ok(left)
    }

    fn binary_op(&self) -> Option<BinaryOp> {
        Some(match self.peek() {
            Token::Sign("+") => BinaryOp::Add,
            Token::Sign("-") => BinaryOp::Subtract,
            Token::Sign("*") => BinaryOp::Multiply,
            Token::Sign("/") => BinaryOp::Divide,
            Token::Sign("%") => BinaryOp::Modulo,
            Token::Sign("^") => BinaryOp::Power,
            Token::Sign("==") => BinaryOp::Equal,
            Token::Sign("!=") => BinaryOp::NotEqual,
            Token::Sign("<") => BinaryOp::Less,
            Token::Sign("<=") => BinaryOp::LessOrEqual,
            Token::Sign(">") => BinaryOp::Greater,
            Token::Sign(">=") => BinaryOp::GreaterOrEqual,
            Token::Sign("</") => BinaryOp::TrimUpper,
            Token::Sign(">/") => BinaryOp::TrimLower,
            Token::Name(name) => match name.to_ascii_lowercase().as_str() {
                "atan2" => BinaryOp::Atan2,
                "and" => BinaryOp::And,
                "or" => BinaryOp::Or,
                "unless" => BinaryOp::Unless,
                _ => return None,
            },
            _ => return None,
        })
    }

    fn modifiers(&mut self, op: BinaryOp, span: Span) -> Parsed<(bool, Matching, bool)> {
        let mut matching = Matching::default();
        let mut matched = false;
        let bool = self.eat_word("bool");
        if bool && !op.is_comparison() {
            return Err(ParseError::new(span, "`bool` goes with a comparison only"));
        }
        if self.is_word("on") || self.is_word("ignoring") {
            matched = true;
            matching.on = self.is_word("on");
            self.take();
            matching.labels = self.label_names()?;
            let side = match () {
                () if self.eat_word("group_left") => Some(Side::Left),
                () if self.eat_word("group_right") => Some(Side::Right),
                () => None,
            };
            if side.is_some() {
                if op.is_set() {
                    return Err(ParseError::new(
                        span,
                        "`group_left` and `group_right` do not go with a set operator",
                    ));
                }
                matching.many = side;
                if self.is("(") {
                    let place = self.span();
                    matching.include = self.label_names()?;
                    if matching.on
                        && let Some(both) =
                            matching.include.iter().find(|l| matching.labels.contains(l))
                    {
                        let message =
                            format!("label `{both}` stands both in `on` and in the group");
                        return Err(ParseError::new(place, message));
                    }
                }
            }
        }
        self.fills(op, &mut matching)?;
        matched |= matching.fill_left.is_some() || matching.fill_right.is_some();
        Ok((bool, matching, matched))
    }

    /// Reads `fill(0)`, `fill_left(0)` and `fill_right(0)`; without a parenthesis each of these is
    /// the name of a metric.
    fn fills(&mut self, op: BinaryOp, matching: &mut Matching) -> Parsed<()> {
        for (word, left, right) in
            [("fill", true, true), ("fill_left", true, false), ("fill_right", false, true)]
                .into_iter()
                .cycle()
                .take(9)
        {
            let opens = self.tokens.get(self.next + 1).is_some_and(|t| t.0 == Token::Sign("("));
            if !self.is_word(word) || !opens {
                continue;
            }
            let place = self.take().1;
            if op.is_set() {
                let message = format!("`{word}` does not go with a set operator");
                return Err(ParseError::new(place, message));
            }
            self.expect("(")?;
            let value = self.signed_number()?;
            self.expect(")")?;
            for (fill, wanted) in
                [(&mut matching.fill_left, left), (&mut matching.fill_right, right)]
            {
                if wanted && fill.replace(value).is_some() {
                    return Err(ParseError::new(place, "what fills a side is given twice"));
                }
            }
        }
        Ok(())
    }

    fn signed_number(&mut self) -> Parsed<f64> {
        let negative = self.is("-");
        let _sign = self.eat("-") || self.eat("+");
        let value = match self.take().0 {
            Token::Number(value) => value,
            Token::Duration(millis) => millis as f64 / 1000.0,
            Token::Name(name) if name.eq_ignore_ascii_case("inf") => f64::INFINITY,
            Token::Name(name) if name.eq_ignore_ascii_case("nan") => f64::NAN,
            _ => {
                self.next -= 1;
                return Err(self.unexpected("a number"));
            }
        };
        Ok(if negative { -value } else { value })
    }

    fn label_names(&mut self) -> Parsed<Vec<String>> {
        self.expect("(")?;
        let mut names = Vec::new();
        while !self.eat(")") {
            match self.take() {
                (Token::Name(name), span) => {
                    if name.contains(':') {
                        return Err(ParseError::new(
                            span,
                            format!("`{name}` is no label: a colon is for names of metrics"),
                        ));
                    }
                    names.push(name);
                }
                (Token::Text(name), span) => {
                    if name.is_empty() {
                        return Err(ParseError::new(span, "a label has a name"));
                    }
                    names.push(name);
                }
                _ => {
                    self.next -= 1;
                    return Err(self.unexpected("the name of a label"));
                }
            }
            if !self.eat(",") && !self.is(")") {
                return Err(self.unexpected("`,` or `)`"));
            }
        }
        Ok(names)
    }

    fn prefix(&mut self) -> Parsed<Expr> {
        let start = self.span().start;
        if self.is("-") || self.is("+") {
            let negative = self.is("-");
            self.take();
            // Binds as a product does: `-2 ^ 2` is minus four.
            let expr = self.expr(BinaryOp::Power.precedence())?;
            if !matches!(expr.kind(), Kind::Scalar | Kind::Vector) {
                return Err(ParseError::new(expr.span, format!("{} has no sign", expr.kind())));
            }
            let span = Span { start, end: expr.span.end };
            let expr = Box::new(expr);
            let node = if negative { Node::Negative(expr) } else { Node::Positive(expr) };
            return Ok(Expr { node, span });
        }
        let mut expr = self.primary()?;
        loop {
            if self.is("[") {
                expr = self.window(expr)?;
            } else if self.is_word("offset") {
                let place = self.take().1;
                let offset = self.offset()?;
                let shift = shift_of(&mut expr, place, "offset")?;
                if shift.offset != Length::default() {
                    return Err(ParseError::new(place, "`offset` is given twice"));
                }
                shift.offset = offset;
                expr.span.end = self.end();
            } else if self.is("@") {
                let place = self.take().1;
                let at = self.at()?;
                let shift = shift_of(&mut expr, place, "@")?;
                if shift.at.is_some() {
                    return Err(ParseError::new(place, "`@` is given twice"));
                }
                shift.at = Some(at);
                expr.span.end = self.end();
            } else if self.is_word("anchored") || self.is_word("smoothed") {
                let border =
                    if self.is_word("anchored") { Border::Anchored } else { Border::Smoothed };
                let place = self.take().1;
                match &mut expr.node {
                    Node::Window { selector, .. } if selector.border == Border::Plain => {
                        selector.border = border;
                    }
                    Node::Selector(selector)
                        if selector.border == Border::Plain && border == Border::Smoothed =>
                    {
                        selector.border = border;
                    }
                    _ => {
                        let message = format!(
                            "`{}` stands once after a selector with a window, as in `x[5m] {}`",
                            border.word(),
                            border.word()
                        );
                        return Err(ParseError::new(place, message));
                    }
                }
                expr.span.end = self.end();
            } else {
                return Ok(expr);
            }
        }
    }

    fn at(&mut self) -> Parsed<At> {
        for (word, at) in [("start", At::Start), ("end", At::End)] {
            if self.eat_word(word) {
                self.expect("(")?;
                self.expect(")")?;
                return Ok(at);
            }
        }
        let negative = self.is("-");
        let _sign = self.eat("-") || self.eat("+");
        let place = self.span();
        let seconds = match self.take() {
            (Token::Number(seconds), _) => seconds,
            (Token::Name(name), _)
                if name.eq_ignore_ascii_case("inf") || name.eq_ignore_ascii_case("nan") =>
            {
                f64::NAN
            }
            (Token::Duration(millis), _) => millis as f64 / 1000.0,
            _ => {
                self.next -= 1;
                return Err(self.unexpected("a time in seconds, `start()` or `end()` after `@`"));
            }
        };
        let millis = (seconds * 1000.0).round();
        if !millis.is_finite() || millis.abs() > 9e15 {
            return Err(ParseError::new(place, "this is not a time that can be asked about"));
        }
        Ok(At::Time(if negative { -(millis as Millis) } else { millis as Millis }))
    }

    fn window(&mut self, expr: Expr) -> Parsed<Expr> {
        let open = self.expect("[")?;
        let place = self.span();
        let range = self.length()?;
        if range.fixed().is_some_and(|range| range <= 0) {
            return Err(ParseError::new(place, "a window is longer than nothing"));
        }
        let node = if self.eat(":") {
            let place = self.span();
            let step = if self.is("]") { None } else { Some(self.length()?) };
            if step.as_ref().and_then(Length::fixed).is_some_and(|step| step <= 0) {
                return Err(ParseError::new(place, "a step is longer than nothing"));
            }
            if expr.kind() != Kind::Vector {
                let message = format!(
                    "only an instant vector is asked again and again, this is {}",
                    expr.kind()
                );
                return Err(ParseError::new(expr.span, message));
            }
            Node::Subquery { expr: Box::new(expr.clone()), range, step, shift: Shift::default() }
        } else {
            match expr.node.clone() {
                Node::Selector(selector) if selector.shift == Shift::default() => {
                    Node::Window { selector, range }
                }
                Node::Selector(_) => {
                    return Err(ParseError::new(open, "the window stands before `offset` and `@`")
                        .help("write `x[5m] offset 1h`"));
                }
                _ => {
                    let message = format!("only a selector has a window, this is {}", expr.kind());
                    return Err(ParseError::new(expr.span, message)
                        .help("to ask an expression again and again write `[5m:]`"));
                }
            }
        };
        self.expect("]")?;
        Ok(Expr { node, span: Span { start: expr.span.start, end: self.end() } })
    }

    /// A duration within brackets, which may be calculated.
    fn length(&mut self) -> Parsed<Length> {
        let place = self.span();
        let formula = self.formula(0)?;
        self.fixed_if_possible(formula, place)
    }

    /// A duration after `offset`: what is calculated stands in parentheses.
    fn offset(&mut self) -> Parsed<Length> {
        let place = self.span();
        let negative = self.is("-");
        let _sign = self.eat("-") || self.eat("+");
        let part = self.formula_part()?;
        let formula = if negative { Formula::Negative(Box::new(part)) } else { part };
        self.fixed_if_possible(formula, place)
    }

    fn fixed_if_possible(&self, formula: Formula, place: Span) -> Parsed<Length> {
        if formula.asks_for_range() {
            return Ok(Length::Formula(Box::new(formula)));
        }
        let span = Span { start: place.start, end: self.end().max(place.start) };
        formula
            .millis(0, 0)
            .map(Length::Fixed)
            .map_err(|reason| ParseError::new(span, reason.to_string()))
    }

    fn formula(&mut self, least: u8) -> Parsed<Formula> {
        self.nested()?;
        let mut left = self.formula_part()?;
        while let Some(op) = self.binary_op().filter(|op| Formula::knows(*op)) {
            let precedence = op.precedence();
            if precedence < least {
                break;
            }
            self.take();
            let right =
                self.formula(if op == BinaryOp::Power { precedence } else { precedence + 1 })?;
            left = Formula::Binary(op, Box::new(left), Box::new(right));
        }
        self.depth -= 1;
        Ok(left)
    }

    fn formula_part(&mut self) -> Parsed<Formula> {
        self.nested()?;
        let (token, span) = self.take();
        let part = match token {
            Token::Number(seconds) => Formula::Seconds(seconds),
            Token::Duration(millis) => Formula::Seconds(millis as f64 / 1000.0),
            // Binds as a product does, as everywhere.
            Token::Sign("-") => {
                Formula::Negative(Box::new(self.formula(BinaryOp::Power.precedence())?))
            }
            Token::Sign("+") => self.formula(BinaryOp::Power.precedence())?,
            Token::Sign("(") => {
                let inner = self.formula(0)?;
                self.expect(")")?;
                Formula::Paren(Box::new(inner))
            }
            Token::Name(name) if self.is("(") => {
                self.take();
                let lower = name.to_ascii_lowercase();
                let formula = match lower.as_str() {
                    "step" => Formula::Step,
                    "range" => Formula::Range,
                    "min_of" | "max_of" => {
                        let one = Box::new(self.formula(0)?);
                        self.expect(",")?;
                        let other = Box::new(self.formula(0)?);
                        if lower == "min_of" {
                            Formula::Least(one, other)
                        } else {
                            Formula::Most(one, other)
                        }
                    }
                    _ => {
                        let message = format!("`{name}` does not give a duration");
                        return Err(ParseError::new(span, message)
                            .help("`step()`, `range()`, `min_of(…)` and `max_of(…)` do"));
                    }
                };
                self.expect(")")?;
                formula
            }
            _ => {
                if token != Token::End {
                    self.next -= 1;
                }
                return Err(self.unexpected("a duration such as `5m`"));
            }
        };
        self.depth -= 1;
        Ok(part)
    }

    fn nested(&mut self) -> Parsed<()> {
        self.depth += 1;
        if self.depth > DEPTH {
            let message = format!("more than {DEPTH} parts stand in one another");
            return Err(ParseError::new(self.span(), message));
        }
        Ok(())
    }

    fn primary(&mut self) -> Parsed<Expr> {
        let (token, span) = self.take();
        let node = match token {
            Token::Number(value) => Node::Number(value),
            Token::Duration(millis) => Node::Number(millis as f64 / 1000.0),
            Token::Text(text) => Node::Text(text),
            Token::NoText(_) => {
                return Err(ParseError::new(
                    span,
                    "the escapes in this text give bytes that are not UTF-8",
                ));
            }
            Token::Sign("(") => {
                let expr = self.expr(0)?;
                self.expect(")")?;
                Node::Paren(Box::new(expr))
            }
            Token::Sign("{") => {
                self.next -= 1;
                Node::Selector(self.selector(None, span, false)?)
            }
            Token::Name(name) => {
                let lower = name.to_ascii_lowercase();
                let aggregate = AggregateOp::NAMES.iter().find(|(known, _)| *known == lower);
                if let Some((_, op)) = aggregate
                    && (self.is("(") || self.is_word("by") || self.is_word("without"))
                {
                    return self.aggregate(*op, &lower, span);
                }
                match lower.as_str() {
                    _ if self.is("(") => return self.call(&name, span),
                    "inf" => Node::Number(f64::INFINITY),
                    "nan" => Node::Number(f64::NAN),
                    _ => Node::Selector(self.selector(Some(name), span, false)?),
                }
            }
            _ => {
                if token != Token::End {
                    self.next -= 1;
                }
                return Err(self.unexpected("an expression"));
            }
        };
        Ok(Expr { node, span: Span { start: span.start, end: self.end() } })
    }

    fn selector(&mut self, name: Option<String>, span: Span, may_be_all: bool) -> Parsed<Selector> {
        let mut matchers = Vec::new();
        let mut metric = name;
        if self.eat("{") {
            while !self.eat("}") {
                let (token, place) = self.take();
                let label = match token {
                    Token::Name(label) if label.contains(':') => {
                        return Err(ParseError::new(
                            place,
                            format!("`{label}` is no label: a colon is for names of metrics"),
                        ));
                    }
                    Token::Name(label) => label,
                    Token::Text(text) if self.is(",") || self.is("}") => {
                        if metric.is_some() {
                            return Err(ParseError::new(
                                place,
                                "the name of the metric is given twice",
                            ));
                        }
                        metric = Some(text);
                        if !self.eat(",") && !self.is("}") {
                            return Err(self.unexpected("`,` or `}`"));
                        }
                        continue;
                    }
                    Token::Text(label) => label,
                    _ => {
                        self.next -= 1;
                        return Err(self.unexpected("the name of a label"));
                    }
                };
                let op = match self.take().0 {
                    Token::Sign("=") => Op::Equal,
                    Token::Sign("!=") => Op::NotEqual,
                    Token::Sign("=~") => Op::Matches,
                    Token::Sign("!~") => Op::NotMatches,
                    _ => {
                        self.next -= 1;
                        let error = self.unexpected("`=`, `!=`, `=~` or `!~`");
                        return Err(ParseError { help: None, ..error });
                    }
                };
                let (Token::Text(value), value_span) = self.take() else {
                    self.next -= 1;
                    return Err(self.unexpected("a quoted text"));
                };
                let matcher = Matcher::new(label, op, value).map_err(|error| {
                    let cause = error.source.to_string();
                    let last = cause
                        .lines()
                        .last()
                        .unwrap_or_default()
                        .trim_start_matches("error: ")
                        .to_owned();
                    ParseError::new(value_span, format!("this is not a regular expression: {last}"))
                })?;
                matchers.push(matcher);
                if !self.eat(",") && !self.is("}") {
                    return Err(self.unexpected("`,` or `}`"));
                }
            }
        }
        if let Some(metric) = metric {
            if matchers.iter().any(|m| m.name() == METRIC_NAME) {
                return Err(ParseError::new(span, "the name of the metric is given twice"));
            }
            if metric.is_empty() {
                return Err(ParseError::new(span, "a metric has a name"));
            }
            matchers.insert(0, Matcher::equal(METRIC_NAME, metric));
        }
        if !may_be_all && matchers.iter().all(|m| m.matches("")) {
            let span = Span { start: span.start, end: self.end() };
            return Err(ParseError::new(span, "this selects every series there is")
                .help("name a metric, or give a label that must not be empty"));
        }
        Ok(Selector { matchers, shift: Shift::default(), border: Border::Plain })
    }

    fn grouping(&mut self) -> Parsed<Option<Grouping>> {
        if self.eat_word("by") {
            return Ok(Some(Grouping::By(self.label_names()?)));
        }
        if self.eat_word("without") {
            return Ok(Some(Grouping::Without(self.label_names()?)));
        }
        Ok(None)
    }

    fn arguments(&mut self, name: &str) -> Parsed<Vec<Expr>> {
        self.expect("(")?;
        let mut arguments = Vec::new();
        if self.eat(")") {
            return Ok(arguments);
        }
        loop {
            // What `info` adds labels from may be any series at all.
            if name == "info" && arguments.len() == 1 && self.is("{") {
                let span = self.span();
                let node = Node::Selector(self.selector(None, span, true)?);
                let span = Span { start: span.start, end: self.end() };
                arguments.push(Expr { node, span });
            } else {
                arguments.push(self.expr(0)?);
            }
            if self.eat(")") {
                return Ok(arguments);
            }
            if !self.is(",") {
                return Err(self.unexpected("`,` or `)`"));
            }
            self.take();
        }
    }

    fn aggregate(&mut self, op: AggregateOp, name: &str, span: Span) -> Parsed<Expr> {
        let mut grouping = self.grouping()?;
        if op == AggregateOp::CountValues
            && let Some((Token::NoText(written), span)) = self.tokens.get(self.next + 1)
        {
            return Err(ParseError::new(*span, format!("invalid label name \"{written}\"")));
        }
        let mut arguments = self.arguments(name)?;
        if grouping.is_none() {
            grouping = self.grouping()?;
        }
        let span = Span { start: span.start, end: self.end() };
        let wanted = 1 + usize::from(op.parameter().is_some());
        if arguments.len() != wanted {
            let message = format!("`{name}` takes {}, not {}", count(wanted), arguments.len());
            return Err(ParseError::new(span, message));
        }
        let Some(expr) = arguments.pop() else {
            return Err(ParseError::new(span, format!("`{name}` takes a vector")));
        };
        check(&expr, Kind::Vector, name)?;
        let parameter = arguments.pop();
        if let (Some(parameter), Some(kind)) = (&parameter, op.parameter()) {
            check(parameter, kind, name)?;
        }
        let grouping = grouping.unwrap_or(Grouping::By(Vec::new()));
        let node = Node::Aggregate {
            op,
            grouping,
            parameter: parameter.map(Box::new),
            expr: Box::new(expr),
        };
        Ok(Expr { node, span })
    }

    fn call(&mut self, name: &str, span: Span) -> Parsed<Expr> {
        let Some(function) = Function::named(name) else {
            return Err(unknown_function(name, span));
        };
        let arguments = self.arguments(function.name)?;
        let span = Span { start: span.start, end: self.end() };
        let most = if function.repeats { usize::MAX } else { function.takes.len() };
        if arguments.len() < function.least || arguments.len() > most {
            let wanted = match (function.least, most) {
                (least, usize::MAX) => format!("at least {}", count(least)),
                (least, most) if least == most => count(least),
                (least, most) => format!("{least} to {}", count(most)),
            };
            return Err(ParseError::new(
                span,
                format!("`{name}` takes {wanted}, not {}", arguments.len()),
            ));
        }
        for (place, argument) in arguments.iter().enumerate() {
            if let Some(kind) = function.takes_at(place) {
                check(argument, kind, name)?;
            }
        }
        if function.name == "info"
            && let Some(labels) = arguments.get(1)
            && !matches!(labels.node, Node::Selector(_))
        {
            return Err(ParseError::new(
                labels.span,
                "`info` takes labels only here, as in `{version=~\".+\"}`",
            ));
        }
        if let Some(Node::Window { selector, .. }) = arguments
            .iter()
            .map(|a| &a.bare().node)
            .find(|node| matches!(node, Node::Window { .. }))
        {
            let allowed: &[&str] = match selector.border {
                Border::Plain => &[],
                Border::Anchored => &["changes", "delta", "increase", "rate", "resets"],
                Border::Smoothed => &["delta", "increase", "rate"],
            };
            if selector.border != Border::Plain && !allowed.contains(&name) {
                let message = format!(
                    "{} modifier can only be used with: {} - not with {name}",
                    selector.border.word(),
                    allowed.join(", ")
                );
                return Err(ParseError::new(span, message));
            }
        }
        Ok(Expr { node: Node::Call { function, arguments }, span })
    }
}

fn count(arguments: usize) -> String {
    match arguments {
        0 => "no argument".to_owned(),
        1 => "1 argument".to_owned(),
        many => format!("{many} arguments"),
    }
}

fn check(expr: &Expr, kind: Kind, name: &str) -> Parsed<()> {
    if expr.kind() == kind {
        return Ok(());
    }
    let error =
        ParseError::new(expr.span, format!("`{name}` takes {kind} here, this is {}", expr.kind()));
    Err(match (kind, &expr.bare().node) {
        (Kind::Matrix, Node::Selector(_)) => error.help("give it a window, as in `[5m]`"),
        (Kind::Vector, Node::Number(_)) => error.help("`vector(…)` makes a vector of a number"),
        (Kind::Scalar, _) if expr.kind() == Kind::Vector => {
            error.help("`scalar(…)` makes a number of a vector")
        }
        _ => error,
    })
}

fn unknown_function(name: &str, span: Span) -> ParseError {
    if let Some((_, now)) = RENAMED.iter().find(|(once, _)| *once == name) {
        return ParseError::new(span, format!("no function is called `{name}` any more"))
            .help(format!("it is called `{now}` since Prometheus 3"));
    }
    let error = ParseError::new(span, format!("no function is called `{name}`"));
    let names =
        FUNCTIONS.iter().map(|f| f.name).chain(AggregateOp::NAMES.iter().map(|(name, _)| *name));
    let close = names
        .map(|known| {
            (strsim::damerau_levenshtein(known, name), strsim::jaro_winkler(known, name), known)
        })
        .filter(|(distance, _, known)| *distance <= 1 + known.len() / 4)
        .min_by(|a, b| a.0.cmp(&b.0).then(b.1.total_cmp(&a.1)));
    match close {
        Some((.., known)) => error.help(format!("did you mean `{known}`?")),
        None => error,
    }
}

fn shift_of<'a>(expr: &'a mut Expr, place: Span, word: &str) -> Parsed<&'a mut Shift> {
    match &mut expr.node {
        Node::Selector(selector) | Node::Window { selector, .. } => Ok(&mut selector.shift),
        Node::Subquery { shift, .. } => Ok(shift),
        _ => Err(ParseError::new(
            place,
            format!("`{word}` stands after a selector or a subquery only"),
        )),
    }
}

fn binary(
    op: BinaryOp,
    op_span: Span,
    left: Expr,
    right: Expr,
    bool: bool,
    matching: Matching,
    matched: bool,
) -> Parsed<Expr> {
    for side in [&left, &right] {
        if !matches!(side.kind(), Kind::Scalar | Kind::Vector) {
            let message =
                format!("an operator takes numbers and instant vectors, this is {}", side.kind());
            return Err(ParseError::new(side.span, message));
        }
    }
    let (l, r) = (left.kind(), right.kind());
    if (l, r) == (Kind::Scalar, Kind::Scalar) && op.is_comparison() && !bool {
        return Err(ParseError::new(op_span, "two numbers can only be compared with `bool`")
            .help("write for example `1 == bool 2`"));
    }
    if op.is_set() {
        for side in [&left, &right] {
            if side.kind() == Kind::Scalar {
                return Err(ParseError::new(
                    side.span,
                    "a set operator takes vectors on both sides, this is a number",
                ));
            }
        }
    }
    if matched && (l == Kind::Scalar || r == Kind::Scalar) {
        return Err(ParseError::new(
            op_span,
            "`on`, `ignoring` and `fill` need a vector on both sides",
        ));
    }
    let span = Span { start: left.span.start, end: right.span.end };
    let (left, right) = (Box::new(left), Box::new(right));
    Ok(Expr { node: Node::Binary { op, left, right, matching, bool }, span })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn error(text: &str) -> String {
        let error = parse(text).expect_err(text);
        let (line, column) = error.position(text);
        format!("{line}:{column}: {error}")
    }

    #[test]
    fn errors_say_what_is_wrong_where_and_how_to_mend_it() {
        let cases = [
            "rate(up)",
            "sum(up",
            "up[5m",
            "up{job=web}",
            "up{job=~\"(\"}",
            "{}",
            "1 == 1",
            "up or 1",
            "holt_winters(x[5m], 0.1, 0.1)",
            "deriv(x[5m] anchored)",
            "x anchored",
            "x[5m / 0]",
            "x[1m - 1h]",
            "x + fill(a) y",
            "up offset 5m[1m]",
            "foo = 3",
            "up{job=\"a\"",
            "\"open",
            "topk(up)",
            "1m30",
            "",
        ];
        let told: Vec<String> =
            cases.iter().map(|text| format!("{text}\n    {}", error(text))).collect();
        insta::assert_snapshot!(told.join("\n"), @r###"
        rate(up)
            1:6: `rate` takes a range vector here, this is an instant vector; give it a window, as in `[5m]`
        sum(up
            1:7: expected `,` or `)`, found the end
        up[5m
            1:6: expected `]`, found the end
        up{job=web}
            1:8: expected a quoted text, found `web`
        up{job=~"("}
            1:9: this is not a regular expression: unclosed group
        {}
            1:1: this selects every series there is; name a metric, or give a label that must not be empty
        1 == 1
            1:3: two numbers can only be compared with `bool`; write for example `1 == bool 2`
        up or 1
            1:7: a set operator takes vectors on both sides, this is a number
        holt_winters(x[5m], 0.1, 0.1)
            1:1: no function is called `holt_winters` any more; it is called `double_exponential_smoothing` since Prometheus 3
        deriv(x[5m] anchored)
            1:1: anchored modifier can only be used with: changes, delta, increase, rate, resets - not with deriv
        x anchored
            1:3: `anchored` stands once after a selector with a window, as in `x[5m] anchored`
        x[5m / 0]
            1:3: a duration is divided by zero
        x[1m - 1h]
            1:3: a window is longer than nothing
        x + fill(a) y
            1:10: expected a number, found `a`
        up offset 5m[1m]
            1:13: the window stands before `offset` and `@`; write `x[5m] offset 1h`
        foo = 3
            1:5: expected an operator or the end, found `=`; equality is written `==`
        up{job="a"
            1:11: expected `,` or `}`, found the end
        "open
            1:1: this text has no closing quote
        topk(up)
            1:1: `topk` takes 2 arguments, not 1
        1m30
            1:1: `1m30` is neither a number nor a duration; write a duration as `90s`, `5m` or `1h30m`, the larger unit first

            1:1: there is no expression
        "###);
    }

    #[test]
    fn operators_bind_as_in_prometheus() {
        let shape = |text: &str| shape_of(&parse(text).expect(text));
        assert_eq!(shape("1 + 2 * 3 ^ 2 ^ 1"), "(1 + (2 * (3 ^ (2 ^ 1))))");
        assert_eq!(shape("-2 ^ 2 * 3"), "((-(2 ^ 2)) * 3)");
        assert_eq!(shape("a or b and c unless d"), "(a or ((b and c) unless d))");
        assert_eq!(shape("a + b > c - 1"), "((a + b) > (c - 1))");
        assert_eq!(shape("a - b - c"), "((a - b) - c)");
    }

    fn shape_of(expr: &Expr) -> String {
        match &expr.node {
            Node::Number(value) => value.to_string(),
            Node::Selector(selector) => selector.matchers[0].value().to_owned(),
            Node::Negative(expr) => format!("(-{})", shape_of(expr)),
            Node::Binary { op, left, right, .. } => {
                let sign = match op {
                    BinaryOp::Add => "+",
                    BinaryOp::Subtract => "-",
                    BinaryOp::Multiply => "*",
                    BinaryOp::Power => "^",
                    BinaryOp::Greater => ">",
                    BinaryOp::And => "and",
                    BinaryOp::Or => "or",
                    BinaryOp::Unless => "unless",
                    _ => "?",
                };
                format!("({} {sign} {})", shape_of(left), shape_of(right))
            }
            _ => "?".to_owned(),
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "[ a-z0-9(){}\\[\\]=~!<>@:,.\"'`\\\\+*/^%-]{0,40}|\\PC{0,20}") {
            if let Err(error) = parse(&text) {
                prop_assert!(error.span.start <= error.span.end && error.span.end <= text.len());
                let _ = error.position(&text);
            }
        }
    }
}
