//! From text to a question.

use std::fmt;

use series::{METRIC_NAME, Matcher, Millis, Op};

use crate::expr::{
    AggregateOp, At, BinaryOp, Expr, Grouping, Kind, Matching, Node, Selector, Shift, Side, Span,
};
use crate::function::{FUNCTIONS, Function, REFUSED};
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
            Token::Text(_) => "a text".to_owned(),
            Token::Sign(sign) => format!("`{sign}`"),
            Token::End => "the end".to_owned(),
        };
        let error = ParseError::new(self.span(), format!("expected {wanted}, found {found}"));
        match self.peek() {
            Token::Name(name)
                if matches!(
                    name.as_str(),
                    "anchored" | "smoothed" | "fill" | "fill_left" | "fill_right"
                ) =>
            {
                error.help(format!("`{name}` is experimental in Prometheus and not supported here"))
            }
            Token::Sign("=") => error.help("equality is written `==`"),
            _ => error,
        }
    }

    fn expr(&mut self, least: u8) -> Parsed<Expr> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(ParseError::new(
                self.span(),
                format!("more than {DEPTH} parts stand in one another"),
            ));
        }
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
        Ok((bool, matching, matched))
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
            let node = if negative { Node::Negative(expr) } else { Node::Paren(expr) };
            return Ok(Expr { node, span });
        }
        let mut expr = self.primary()?;
        loop {
            if self.is("[") {
                expr = self.window(expr)?;
            } else if self.is_word("offset") {
                let place = self.take().1;
                let offset = self.signed_duration()?;
                let shift = shift_of(&mut expr, place, "offset")?;
                if shift.offset != 0 {
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
        let range = self.duration()?;
        if range <= 0 {
            return Err(ParseError::new(place, "a window is longer than nothing"));
        }
        let node = if self.eat(":") {
            let place = self.span();
            let step = if self.is("]") { None } else { Some(self.duration()?) };
            if step.is_some_and(|step| step <= 0) {
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

    fn duration(&mut self) -> Parsed<Millis> {
        let duration = match self.take() {
            (Token::Duration(millis), _) => millis,
            (Token::Number(seconds), span) => {
                let millis = (seconds * 1000.0).round();
                if !millis.is_finite() || millis.abs() > 9e15 {
                    return Err(ParseError::new(span, "this duration is too long"));
                }
                millis as Millis
            }
            _ => {
                self.next -= 1;
                return Err(self.unexpected("a duration such as `5m`"));
            }
        };
        if self.is("+")
            || self.is("-")
            || self.is("*")
            || self.is("/")
            || self.is("%")
            || self.is("^")
        {
            // After an offset this is ordinary arithmetic; within brackets it would be one on durations.
            let in_brackets =
                self.tokens[self.next..].iter().any(|(t, _)| matches!(t, Token::Sign("]")))
                    && self.tokens[..self.next].iter().fold(0, |open, (t, _)| match t {
                        Token::Sign("[") => open + 1,
                        Token::Sign("]") => open - 1,
                        _ => open,
                    }) > 0;
            if in_brackets {
                return Err(self.unexpected("`]`").help(
                    "arithmetic on durations is experimental in Prometheus and not supported here",
                ));
            }
        }
        Ok(duration)
    }

    fn signed_duration(&mut self) -> Parsed<Millis> {
        let negative = self.is("-");
        let _sign = self.eat("-") || self.eat("+");
        let duration = self.duration()?;
        Ok(if negative { -duration } else { duration })
    }

    fn primary(&mut self) -> Parsed<Expr> {
        let (token, span) = self.take();
        let node = match token {
            Token::Number(value) => Node::Number(value),
            Token::Duration(millis) => Node::Number(millis as f64 / 1000.0),
            Token::Text(text) => Node::Text(text),
            Token::Sign("(") => {
                let expr = self.expr(0)?;
                self.expect(")")?;
                Node::Paren(Box::new(expr))
            }
            Token::Sign("{") => {
                self.next -= 1;
                Node::Selector(self.selector(None, span)?)
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
                    _ => Node::Selector(self.selector(Some(name), span)?),
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

    fn selector(&mut self, name: Option<String>, span: Span) -> Parsed<Selector> {
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
        if matchers.iter().all(|m| m.matches("")) {
            let span = Span { start: span.start, end: self.end() };
            return Err(ParseError::new(span, "this selects every series there is")
                .help("name a metric, or give a label that must not be empty"));
        }
        Ok(Selector { matchers, shift: Shift::default() })
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

    fn arguments(&mut self) -> Parsed<Vec<Expr>> {
        self.expect("(")?;
        let mut arguments = Vec::new();
        if self.eat(")") {
            return Ok(arguments);
        }
        loop {
            arguments.push(self.expr(0)?);
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
        let mut arguments = self.arguments()?;
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
        let arguments = self.arguments()?;
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
    if let Some((_, reason)) = REFUSED.iter().find(|(refused, _)| *refused == name) {
        return ParseError::new(span, format!("`{name}` cannot be used: {reason}"));
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
        return Err(ParseError::new(op_span, "`on` and `ignoring` need a vector on both sides"));
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
            "histogram_count(x)",
            "rate(x[5m] anchored)",
            "up offset 5m[1m]",
            "x[5m*2]",
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
        histogram_count(x)
            1:1: `histogram_count` cannot be used: it needs native histograms, which are not kept here
        rate(x[5m] anchored)
            1:12: expected `,` or `)`, found `anchored`; `anchored` is experimental in Prometheus and not supported here
        up offset 5m[1m]
            1:13: the window stands before `offset` and `@`; write `x[5m] offset 1h`
        x[5m*2]
            1:5: expected `]`, found `*`; arithmetic on durations is experimental in Prometheus and not supported here
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
