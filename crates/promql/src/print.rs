//! From a question to its text.

use std::fmt;

use series::{METRIC_NAME, Matcher, Op};

use crate::expr::{At, Border, Expr, Grouping, Matching, Node, Selector, Shift, Side};
use crate::length::{Formula, Length};

impl fmt::Display for Expr {
    /// Writes the question as it could be asked again.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.node {
            Node::Number(value) => f.write_str(number(*value).trim_start_matches('+')),
            Node::Text(text) => f.write_str(&quoted(text)),
            Node::Selector(selector) => {
                series(f, selector)?;
                tail(f, selector)
            }
            Node::Window { selector, range } => {
                series(f, selector)?;
                write!(f, "[{range}]")?;
                tail(f, selector)
            }
            Node::Subquery { expr, range, step, shift: by } => {
                write!(f, "{expr}[{range}:")?;
                if let Some(step) = step {
                    write!(f, "{step}")?;
                }
                f.write_str("]")?;
                shift(f, by)
            }
            Node::Negative(expr) => write!(f, "-{expr}"),
            Node::Positive(expr) => write!(f, "+{expr}"),
            Node::Paren(expr) => write!(f, "({expr})"),
            Node::Binary { op, left, right, matching, bool } => {
                write!(f, "{left} {}", op.sign())?;
                if *bool {
                    f.write_str(" bool")?;
                }
                write_matching(f, matching)?;
                write!(f, " {right}")
            }
            Node::Aggregate { op, grouping, parameter, expr } => {
                f.write_str(op.name())?;
                match grouping {
                    Grouping::By(names) if names.is_empty() => {}
                    Grouping::By(names) => {
                        f.write_str(" by ")?;
                        label_names(f, names)?;
                        f.write_str(" ")?;
                    }
                    Grouping::Without(names) => {
                        f.write_str(" without ")?;
                        label_names(f, names)?;
                        f.write_str(" ")?;
                    }
                }
                f.write_str("(")?;
                if let Some(parameter) = parameter {
                    write!(f, "{parameter}, ")?;
                }
                write!(f, "{expr})")
            }
            Node::Call { function, arguments } => {
                write!(f, "{}(", function.name)?;
                for (place, argument) in arguments.iter().enumerate() {
                    let comma = if place == 0 { "" } else { ", " };
                    write!(f, "{comma}{argument}")?;
                }
                f.write_str(")")
            }
        }
    }
}

/// Writes a number as PromQL reads it, without an exponent.
pub fn number(value: f64) -> String {
    match value {
        value if value.is_nan() => "NaN".to_owned(),
        f64::INFINITY => "+Inf".to_owned(),
        f64::NEG_INFINITY => "-Inf".to_owned(),
        value => value.to_string(),
    }
}

/// Writes a text so that it is read the same.
pub fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Writes the name of a label, quoted where it needs to be.
fn label(name: &str) -> String {
    if is_plain(name, false) { name.to_owned() } else { quoted(name) }
}

fn is_plain(name: &str, colon: bool) -> bool {
    let mut chars = name.chars();
    let is = |c: char| c == '_' || c.is_ascii_alphabetic() || (colon && c == ':');
    chars.next().is_some_and(is) && chars.all(|c| is(c) || c.is_ascii_digit())
}

fn series(f: &mut fmt::Formatter<'_>, selector: &Selector) -> fmt::Result {
    let named = |matcher: &&Matcher| matcher.name() == METRIC_NAME && matcher.op() == Op::Equal;
    let name = selector.matchers.iter().find(named).filter(|name| is_plain(name.value(), true));
    if let Some(name) = name {
        f.write_str(name.value())?;
    }
    let mut others =
        selector.matchers.iter().filter(|m| name.is_none_or(|name| !std::ptr::eq(*m, name)));
    let Some(first) = others.next() else {
        return if name.is_some() { Ok(()) } else { f.write_str("{}") };
    };
    f.write_str("{")?;
    for (place, matcher) in std::iter::once(first).chain(others).enumerate() {
        if place > 0 {
            f.write_str(", ")?;
        }
        write!(f, "{}{}{}", label(matcher.name()), matcher.op(), quoted(matcher.value()))?;
    }
    f.write_str("}")
}

fn tail(f: &mut fmt::Formatter<'_>, selector: &Selector) -> fmt::Result {
    if selector.border != Border::Plain {
        write!(f, " {}", selector.border.word())?;
    }
    shift(f, &selector.shift)
}

fn shift(f: &mut fmt::Formatter<'_>, shift: &Shift) -> fmt::Result {
    match shift.at {
        None => {}
        Some(At::Time(at)) => {
            let sign = if at < 0 { "-" } else { "" };
            write!(f, " @ {sign}{}.{:03}", at.unsigned_abs() / 1000, at.unsigned_abs() % 1000)?;
        }
        Some(At::Start) => f.write_str(" @ start()")?,
        Some(At::End) => f.write_str(" @ end()")?,
    }
    match &shift.offset {
        Length::Fixed(0) => Ok(()),
        Length::Fixed(_) => write!(f, " offset {}", shift.offset),
        Length::Formula(formula) if matches!(**formula, Formula::Binary(..)) => {
            write!(f, " offset ({formula})")
        }
        Length::Formula(formula) => write!(f, " offset {formula}"),
    }
}

fn label_names(f: &mut fmt::Formatter<'_>, names: &[String]) -> fmt::Result {
    f.write_str("(")?;
    for (place, name) in names.iter().enumerate() {
        let comma = if place == 0 { "" } else { ", " };
        write!(f, "{comma}{}", label(name))?;
    }
    f.write_str(")")
}

fn write_matching(f: &mut fmt::Formatter<'_>, matching: &Matching) -> fmt::Result {
    if matching.on || !matching.labels.is_empty() || matching.many.is_some() {
        f.write_str(if matching.on { " on " } else { " ignoring " })?;
        label_names(f, &matching.labels)?;
    }
    if let Some(many) = matching.many {
        f.write_str(match many {
            Side::Left => " group_left ",
            Side::Right => " group_right ",
        })?;
        label_names(f, &matching.include)?;
    }
    for (word, fill) in [("fill_left", matching.fill_left), ("fill_right", matching.fill_right)] {
        if let Some(fill) = fill {
            write!(f, " {word}({})", number(fill))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::parse;

    #[test]
    fn a_question_is_printed_so_that_it_is_read_the_same_again() {
        for text in [
            r#"sum by (job) (rate(http_requests_total{code=~"5.."}[5m] offset 1h30m))"#,
            "a / on (job) group_left (team) fill_right(0) b",
            r#"{"a.b", "c d"="e"} @ start() offset -5m"#,
            "max_over_time(x[1h:30s] @ 1700000000.500)",
            "-(a + 2) ^ 2 >= bool 1",
            "increase(x[2 * step() + 60] anchored)",
            r#"count_values without (a) ("v", x </ 3)"#,
            "topk(3, x) unless y",
            "x offset (step() * 2)",
        ] {
            let printed = parse(text).expect(text).to_string();
            let again = parse(&printed).expect(&printed).to_string();
            assert_eq!(printed, again, "{text}");
        }
    }
}
