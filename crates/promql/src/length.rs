//! Durations that may be calculated: `[5m]`, `[2 * step()]`.

use std::fmt;

use series::Millis;

use crate::expr::BinaryOp;

/// How long something is.
#[derive(Debug, Clone, PartialEq)]
pub enum Length {
    /// So long.
    Fixed(Millis),
    /// What depends on the times that are asked about.
    Formula(Box<Formula>),
}

/// How a duration is calculated, in seconds.
#[derive(Debug, Clone, PartialEq)]
pub enum Formula {
    /// A number of seconds.
    Seconds(f64),
    /// How far the times that are asked about lie apart.
    Step,
    /// From the first time that is asked about to the last.
    Range,
    /// The shorter of two.
    Least(Box<Formula>, Box<Formula>),
    /// The longer of two.
    Most(Box<Formula>, Box<Formula>),
    /// Backwards.
    Negative(Box<Formula>),
    /// In parentheses.
    Paren(Box<Formula>),
    /// Two with a sign between them.
    Binary(BinaryOp, Box<Formula>, Box<Formula>),
}

/// Why a formula gives no duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LengthError {
    /// Something is divided by nothing.
    #[error("a duration is divided by zero")]
    DividedByZero,
    /// The result is beyond all times.
    #[error("this duration is too long")]
    TooLong,
}

impl Default for Length {
    fn default() -> Self {
        Self::Fixed(0)
    }
}

impl Length {
    /// Returns how long it is, unless that depends on the times that are asked about.
    pub fn fixed(&self) -> Option<Millis> {
        match self {
            Self::Fixed(millis) => Some(*millis),
            Self::Formula(_) => None,
        }
    }

    /// Returns how long it is for times so far apart, from the first to the last.
    pub(crate) fn millis(&self, step: Millis, range: Millis) -> Result<Millis, LengthError> {
        match self {
            Self::Fixed(millis) => Ok(*millis),
            Self::Formula(formula) => formula.millis(step, range),
        }
    }
}

impl Formula {
    /// Whether durations are calculated with this.
    pub(crate) fn knows(op: BinaryOp) -> bool {
        matches!(
            op,
            BinaryOp::Add
                | BinaryOp::Subtract
                | BinaryOp::Multiply
                | BinaryOp::Divide
                | BinaryOp::Modulo
                | BinaryOp::Power
        )
    }

    /// Whether it depends on the times that are asked about.
    pub(crate) fn asks_for_range(&self) -> bool {
        match self {
            Self::Seconds(_) => false,
            Self::Step | Self::Range => true,
            Self::Negative(one) | Self::Paren(one) => one.asks_for_range(),
            Self::Least(one, other) | Self::Most(one, other) | Self::Binary(_, one, other) => {
                one.asks_for_range() || other.asks_for_range()
            }
        }
    }

    pub(crate) fn millis(&self, step: Millis, range: Millis) -> Result<Millis, LengthError> {
        let millis = (self.seconds(step, range)? * 1000.0).round();
        if millis.is_finite() && millis.abs() < 9e15 {
            Ok(millis as Millis)
        } else {
            Err(LengthError::TooLong)
        }
    }

    fn seconds(&self, step: Millis, range: Millis) -> Result<f64, LengthError> {
        let both = |one: &Self, other: &Self| -> Result<(f64, f64), LengthError> {
            Ok((one.seconds(step, range)?, other.seconds(step, range)?))
        };
        Ok(match self {
            Self::Seconds(seconds) => *seconds,
            Self::Step => step as f64 / 1000.0,
            Self::Range => range as f64 / 1000.0,
            Self::Negative(one) => -one.seconds(step, range)?,
            Self::Paren(one) => one.seconds(step, range)?,
            Self::Least(one, other) => {
                let (one, other) = both(one, other)?;
                one.min(other)
            }
            Self::Most(one, other) => {
                let (one, other) = both(one, other)?;
                one.max(other)
            }
            Self::Binary(op, one, other) => {
                let (one, other) = both(one, other)?;
                if matches!(op, BinaryOp::Divide | BinaryOp::Modulo) && other == 0.0 {
                    return Err(LengthError::DividedByZero);
                }
                match op {
                    BinaryOp::Add => one + other,
                    BinaryOp::Subtract => one - other,
                    BinaryOp::Multiply => one * other,
                    BinaryOp::Divide => one / other,
                    BinaryOp::Modulo => one % other,
                    _ => one.powf(other),
                }
            }
        })
    }
}

/// Writes a duration as it is read: `1h30m`, `-5m`, `0s`.
pub(crate) fn write(f: &mut fmt::Formatter<'_>, millis: Millis) -> fmt::Result {
    if millis < 0 {
        f.write_str("-")?;
    }
    let mut rest = millis.unsigned_abs();
    if rest == 0 {
        return f.write_str("0s");
    }
    // Years and weeks are written only when nothing is left over, as Prometheus does.
    for (unit, length, only_whole) in [
        ("y", 365 * 86_400_000, true),
        ("w", 7 * 86_400_000, true),
        ("d", 86_400_000, false),
        ("h", 3_600_000, false),
        ("m", 60_000, false),
        ("s", 1_000, false),
        ("ms", 1, false),
    ] {
        if rest >= length && (!only_whole || rest.is_multiple_of(length)) {
            write!(f, "{}{unit}", rest / length)?;
            rest %= length;
        }
    }
    Ok(())
}

impl fmt::Display for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(millis) => write(f, *millis),
            Self::Formula(formula) => formula.fmt(f),
        }
    }
}

impl fmt::Display for Formula {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Seconds(seconds) => write!(f, "{seconds}"),
            Self::Step => f.write_str("step()"),
            Self::Range => f.write_str("range()"),
            Self::Least(one, other) => write!(f, "min_of({one}, {other})"),
            Self::Most(one, other) => write!(f, "max_of({one}, {other})"),
            Self::Negative(one) => write!(f, "-{one}"),
            Self::Paren(one) => write!(f, "({one})"),
            Self::Binary(op, one, other) => write!(f, "{one} {} {other}", op.sign()),
        }
    }
}
