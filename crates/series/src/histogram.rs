//! A distribution as one sample: a native histogram.
//!
//! Buckets are exponential (schemas −4 to 8: each power of two is divided into `2^schema` buckets)
//! or have bounds of their own ([`CUSTOM`]). Counts are floats, so that a rate of histograms is a
//! histogram again. Empty buckets are not kept: two histograms with the same observations are equal.

#![allow(clippy::float_cmp, reason = "bounds and thresholds are the same only exactly")]

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The schema of histograms whose bounds are given one by one.
pub const CUSTOM: i32 = -53;
/// The schema with the fewest exponential buckets.
pub const COARSEST: i32 = -4;
/// The schema with the most exponential buckets.
pub const FINEST: i32 = 8;

/// How many observations fell into which range of values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    /// How fine the buckets are, or [`CUSTOM`].
    pub schema: i32,
    /// What is known about a fall of the counts since the sample before.
    pub hint: ResetHint,
    /// How many observations there were.
    pub count: f64,
    /// What they add up to.
    pub sum: f64,
    /// Up to which distance from zero a value counts as zero.
    pub zero_threshold: f64,
    /// How many observations count as zero.
    pub zero_count: f64,
    /// The buckets above zero by their index, the lowest first; of custom buckets all.
    pub positive: Vec<Bucket>,
    /// The buckets below zero by their index, the one nearest to zero first.
    pub negative: Vec<Bucket>,
    /// The upper bounds of custom buckets, but for the last one, which has none.
    pub bounds: Arc<[f64]>,
}

/// How many observations fell into one bucket.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bucket {
    /// Which one: `i` ends at `2^(i/2^schema)`, or at the bound of this number.
    pub index: i32,
    /// How many.
    pub count: f64,
}

/// What is known about a fall of the counts since the sample before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResetHint {
    /// Nothing.
    #[default]
    Unknown,
    /// The counter began again.
    Reset,
    /// The counter went on.
    NotReset,
    /// It is no counter: it may fall at any time.
    Gauge,
}

/// A bucket with the values that it holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Range {
    /// Where it begins.
    pub lower: f64,
    /// Where it ends.
    pub upper: f64,
    /// Whether its begin is part of it.
    pub lower_inclusive: bool,
    /// Whether its end is part of it.
    pub upper_inclusive: bool,
    /// How many observations it holds.
    pub count: f64,
}

/// Why two histograms cannot be taken together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("one histogram has exponential buckets and the other custom ones")]
pub struct Incompatible;

/// Why numbers are no histogram.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Malformed {
    /// There is no such schema.
    #[error("schema {0} is not one of {COARSEST} to {FINEST} or {CUSTOM}")]
    Schema(i32),
    /// A histogram with bounds of its own has only buckets within them.
    #[error("a histogram with custom buckets has neither a zero bucket nor negative buckets")]
    CustomParts,
    /// A bucket lies outside of the bounds.
    #[error("bucket {index} has no bound: there are {bounds}")]
    NoBound {
        /// The bucket.
        index: i32,
        /// How many bounds there are.
        bounds: usize,
    },
    /// The bounds do not grow.
    #[error("the bounds of custom buckets must grow, {before} is followed by {after}")]
    Bounds {
        /// A bound.
        before: f64,
        /// The next one.
        after: f64,
    },
    /// The zero bucket has no width.
    #[error("the width of the zero bucket is {0}, it must be zero or more")]
    ZeroThreshold(f64),
    /// The buckets are not in order.
    #[error("the buckets must be in order, each once")]
    Order,
}

/// What happened when histograms were taken together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Merged {
    /// One of them began again and another did not.
    pub conflicting_resets: bool,
    /// Their custom bounds differed, so that only the common ones are left.
    pub bounds_reconciled: bool,
}

impl Default for Histogram {
    fn default() -> Self {
        Self::empty(0)
    }
}

impl Histogram {
    /// Returns a histogram without an observation.
    pub fn empty(schema: i32) -> Self {
        Self {
            schema,
            hint: ResetHint::Unknown,
            count: 0.0,
            sum: 0.0,
            zero_threshold: 0.0,
            zero_count: 0.0,
            positive: Vec::new(),
            negative: Vec::new(),
            bounds: Arc::from([]),
        }
    }

    /// Returns it without its empty buckets, or says why it is no histogram.
    pub fn checked(mut self) -> Result<Self, Malformed> {
        let ordered =
            |buckets: &[Bucket]| buckets.windows(2).all(|two| two[0].index < two[1].index);
        if !ordered(&self.positive) || !ordered(&self.negative) {
            return Err(Malformed::Order);
        }
        if self.is_custom() {
            if !self.negative.is_empty() || self.zero_count != 0.0 || self.zero_threshold != 0.0 {
                return Err(Malformed::CustomParts);
            }
            if let Some(two) = self.bounds.windows(2).find(|two| two[0] >= two[1]) {
                return Err(Malformed::Bounds { before: two[0], after: two[1] });
            }
            let bounds = self.bounds.len();
            let outside = |bucket: &&Bucket| {
                usize::try_from(bucket.index).map_or(true, |index| index > bounds)
            };
            if let Some(bucket) = self.positive.iter().find(outside) {
                return Err(Malformed::NoBound { index: bucket.index, bounds });
            }
        } else if !(COARSEST..=FINEST).contains(&self.schema) {
            return Err(Malformed::Schema(self.schema));
        } else if !(0.0..f64::INFINITY).contains(&self.zero_threshold) {
            return Err(Malformed::ZeroThreshold(self.zero_threshold));
        }
        self.drop_empty();
        Ok(self)
    }

    /// Whether its bounds are given one by one.
    pub fn is_custom(&self) -> bool {
        self.schema == CUSTOM
    }

    /// Whether both hold the same observations, whatever is known about resets.
    pub fn is_same(&self, other: &Self) -> bool {
        self.schema == other.schema
            && self.count == other.count
            && self.sum == other.sum
            && self.zero_threshold == other.zero_threshold
            && self.zero_count == other.zero_count
            && self.bounds == other.bounds
            && self.positive == other.positive
            && self.negative == other.negative
    }

    /// Whether this is the marker of the end of a series.
    pub fn is_stale(&self) -> bool {
        crate::is_stale(self.sum)
    }

    /// Takes away the buckets without an observation.
    pub fn drop_empty(&mut self) {
        self.positive.retain(|bucket| bucket.count != 0.0);
        self.negative.retain(|bucket| bucket.count != 0.0);
    }

    /// Returns it with every count multiplied.
    #[must_use]
    pub fn scaled(&self, factor: f64) -> Self {
        let mut scaled = self.map(|count| count * factor);
        if factor < 0.0 {
            scaled.hint = ResetHint::Gauge;
        }
        scaled
    }

    /// Returns it with every count divided; nothing is left of buckets that are divided by zero.
    #[must_use]
    pub fn divided(&self, divisor: f64) -> Self {
        let mut divided = self.map(|count| count / divisor);
        if divisor == 0.0 {
            divided.positive.clear();
            divided.negative.clear();
        }
        if divisor < 0.0 {
            divided.hint = ResetHint::Gauge;
        }
        divided
    }

    fn map(&self, change: impl Fn(f64) -> f64) -> Self {
        let mut new = self.clone();
        for count in [&mut new.count, &mut new.sum, &mut new.zero_count] {
            *count = change(*count);
        }
        for bucket in new.positive.iter_mut().chain(&mut new.negative) {
            bucket.count = change(bucket.count);
        }
        new.drop_empty();
        new
    }

    /// Returns both together.
    pub fn plus(&self, other: &Self) -> Result<(Self, Merged), Incompatible> {
        let mut total = Total::of(self);
        total.add(other)?;
        Ok(total.finish())
    }

    /// Returns this one without the other; the result is a gauge.
    pub fn minus(&self, other: &Self) -> Result<(Self, Merged), Incompatible> {
        let mut total = Total::of(self);
        total.add_weighted(other, -1.0)?;
        let (mut difference, merged) = total.finish();
        difference.hint = ResetHint::Gauge;
        Ok((difference, merged))
    }

    /// Whether the counter began again after the sample before.
    pub fn is_reset_after(&self, before: &Self) -> bool {
        match self.hint {
            ResetHint::Reset => return true,
            ResetHint::NotReset => return false,
            ResetHint::Unknown | ResetHint::Gauge => {}
        }
        if self.is_custom() != before.is_custom() || self.count < before.count {
            return true;
        }
        if self.is_custom() {
            if self.bounds == before.bounds {
                return falls(&self.positive, &before.positive);
            }
            let common = common_bounds(&self.bounds, &before.bounds);
            let now = rebucket(&self.positive, &self.bounds, &common);
            return falls(&now, &rebucket(&before.positive, &before.bounds, &common));
        }
        if self.schema > before.schema || self.zero_threshold < before.zero_threshold {
            return true;
        }
        let mut before = before.clone();
        before.widen_zero(self.zero_threshold);
        if before.zero_threshold != self.zero_threshold || self.zero_count < before.zero_count {
            return true;
        }
        before.coarsen(self.schema);
        falls(&self.positive, &before.positive) || falls(&self.negative, &before.negative)
    }

    /// Makes the buckets coarser.
    pub fn coarsen(&mut self, schema: i32) {
        if self.is_custom() || schema >= self.schema {
            return;
        }
        let shift = u32::try_from(self.schema - schema).unwrap_or(0).min(31);
        for buckets in [&mut self.positive, &mut self.negative] {
            let mut coarse: Vec<Bucket> = Vec::with_capacity(buckets.len());
            for bucket in buckets.iter() {
                let index = (bucket.index.saturating_sub(1) >> shift) + 1;
                match coarse.last_mut() {
                    Some(last) if last.index == index => last.count += bucket.count,
                    _ => coarse.push(Bucket { index, count: bucket.count }),
                }
            }
            *buckets = coarse;
        }
        self.schema = schema;
    }

    /// Makes the zero bucket wider; if the threshold falls into a bucket, to the end of that.
    fn widen_zero(&mut self, threshold: f64) {
        if threshold <= self.zero_threshold {
            return;
        }
        let mut threshold = threshold;
        // A bucket on one side may push the threshold into a bucket on the other side.
        loop {
            let mut reached = threshold;
            for buckets in [&mut self.positive, &mut self.negative] {
                let within = buckets
                    .iter()
                    .take_while(|bucket| bound(bucket.index - 1, self.schema) < threshold)
                    .count();
                for bucket in buckets.drain(..within) {
                    self.zero_count += bucket.count;
                    reached = reached.max(bound(bucket.index, self.schema));
                }
            }
            if reached == threshold {
                break;
            }
            threshold = reached;
        }
        self.zero_threshold = threshold;
    }

    /// The zero bucket; it lies on one side only when there are buckets on that side only.
    pub fn zero_range(&self) -> Range {
        let mut range = Range {
            lower: -self.zero_threshold,
            upper: self.zero_threshold,
            lower_inclusive: true,
            upper_inclusive: true,
            count: self.zero_count,
        };
        match (self.negative.is_empty(), self.positive.is_empty()) {
            (true, false) => range.lower = 0.0,
            (false, true) => range.upper = 0.0,
            _ => {}
        }
        range
    }

    /// All buckets with an observation, from the lowest value to the highest.
    pub fn ranges(&self) -> Vec<Range> {
        let mut ranges = Vec::with_capacity(self.positive.len() + self.negative.len() + 1);
        for bucket in self.negative.iter().rev() {
            let (near, far) = self.limits(bucket.index);
            ranges.push(Range {
                lower: -far,
                upper: -near,
                lower_inclusive: true,
                upper_inclusive: false,
                count: bucket.count,
            });
        }
        if self.zero_count != 0.0 {
            ranges.push(self.zero_range());
        }
        for bucket in &self.positive {
            let (lower, upper) = self.limits(bucket.index);
            ranges.push(Range {
                lower,
                upper,
                lower_inclusive: self.is_custom() && bucket.index == 0,
                upper_inclusive: true,
                count: bucket.count,
            });
        }
        ranges
    }

    /// Where a bucket begins and ends.
    pub fn limits(&self, index: i32) -> (f64, f64) {
        if !self.is_custom() {
            return (bound(index.saturating_sub(1), self.schema), bound(index, self.schema));
        }
        let at = |index: i32, beyond: f64| {
            usize::try_from(index)
                .ok()
                .and_then(|index| self.bounds.get(index))
                .map_or(beyond, |b| *b)
        };
        (at(index.saturating_sub(1), f64::NEG_INFINITY), at(index, f64::INFINITY))
    }

    /// Returns only what is at most (`keeps_lower`) or at least the limit; what lies across it is
    /// divided as its bucket is expected to be filled.
    #[must_use]
    pub fn trimmed(&self, limit: f64, keeps_lower: bool) -> Self {
        let mut kept = Self { positive: Vec::new(), negative: Vec::new(), ..self.clone() };
        (kept.count, kept.sum, kept.zero_count) = (0.0, 0.0, 0.0);
        let mut is_whole = true;
        let mut keep = |range: Range, spread: Spread| {
            let (share, middle) = part(&range, limit, keeps_lower, spread);
            is_whole &= share == 1.0 || range.count == 0.0;
            let count = range.count * share;
            if count != 0.0 {
                kept.count += count;
                kept.sum += count * middle;
            }
            count
        };
        for bucket in &self.negative {
            let (near, far) = self.limits(bucket.index);
            let range = Range {
                lower: -far,
                upper: -near,
                lower_inclusive: true,
                upper_inclusive: false,
                count: bucket.count,
            };
            let count = keep(range, Spread::Exponential);
            kept.negative.push(Bucket { index: bucket.index, count });
        }
        kept.zero_count = keep(self.zero_range(), Spread::Linear);
        for bucket in &self.positive {
            let (mut lower, upper) = self.limits(bucket.index);
            let spread = if self.is_custom() { Spread::Linear } else { Spread::Exponential };
            // The first custom bucket is taken to begin at zero when it ends above.
            if self.is_custom()
                && lower == f64::NEG_INFINITY
                && upper > 0.0
                && upper < f64::INFINITY
                && (keeps_lower || limit >= 0.0)
                && limit != f64::NEG_INFINITY
            {
                lower = 0.0;
            }
            let range = Range {
                lower,
                upper,
                lower_inclusive: false,
                upper_inclusive: true,
                count: bucket.count,
            };
            let count = keep(range, spread);
            kept.positive.push(Bucket { index: bucket.index, count });
        }
        if is_whole {
            return self.clone();
        }
        kept.drop_empty();
        kept
    }
}

/// How observations are expected to lie within a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spread {
    /// Evenly.
    Linear,
    /// Evenly on a logarithmic scale.
    Exponential,
}

impl Range {
    /// The share of its observations that lies below a value within it.
    pub fn share_below(&self, value: f64, spread: Spread) -> f64 {
        match spread {
            Spread::Linear => (value - self.lower) / (self.upper - self.lower),
            Spread::Exponential if self.lower < 0.0 => {
                let (low, high, at) =
                    (self.lower.abs().log2(), self.upper.abs().log2(), value.abs().log2());
                1.0 - (at - high) / (low - high)
            }
            Spread::Exponential => {
                let (low, high, at) = (self.lower.log2(), self.upper.log2(), value.log2());
                (at - low) / (high - low)
            }
        }
    }

    /// The value that stands for all of its observations.
    pub fn middle(&self, spread: Spread) -> f64 {
        match (self.lower, self.upper) {
            (f64::NEG_INFINITY, upper) => upper,
            (lower, f64::INFINITY) => lower,
            (lower, upper) if spread == Spread::Linear => f64::midpoint(lower, upper),
            (lower, upper) => {
                let middle = (lower * upper).abs().sqrt();
                if lower < 0.0 { -middle } else { middle }
            }
        }
    }
}

/// The share of a bucket that is kept, and the value that stands for it.
fn part(range: &Range, limit: f64, keeps_lower: bool, spread: Spread) -> (f64, f64) {
    let (all_kept, none_kept) = if keeps_lower {
        (range.upper <= limit, limit <= range.lower)
    } else {
        (range.lower >= limit, limit >= range.upper)
    };
    // An empty range, as a zero bucket without a width, is kept if either end may be.
    if all_kept {
        return (1.0, range.middle(spread));
    }
    if none_kept || limit.is_nan() {
        return (0.0, 0.0);
    }
    match (range.lower == f64::NEG_INFINITY, range.upper == f64::INFINITY, keeps_lower) {
        // Nothing is known about how far the observations are from the limit.
        (true, true, _) | (_, true, true) | (true, _, false) => (0.0, 0.0),
        (true, _, true) | (_, true, false) => (1.0, limit),
        _ => {
            let below = range.share_below(limit, spread);
            if keeps_lower {
                (below, Range { upper: limit, ..*range }.middle(spread))
            } else {
                (1.0 - below, Range { lower: limit, ..*range }.middle(spread))
            }
        }
    }
}

/// Where an exponential bucket ends.
pub fn bound(index: i32, schema: i32) -> f64 {
    let value = (f64::from(index) * (-f64::from(schema)).exp2()).exp2();
    if value.is_infinite() && f64::from(index) * (-f64::from(schema)).exp2() <= 1024.0 {
        return f64::MAX;
    }
    value
}

fn falls(now: &[Bucket], before: &[Bucket]) -> bool {
    let mut now = now.iter().peekable();
    before.iter().any(|old| {
        while now.next_if(|new| new.index < old.index).is_some() {}
        let count = now.next_if(|new| new.index == old.index).map_or(0.0, |new| new.count);
        count < old.count
    })
}

fn common_bounds(one: &[f64], other: &[f64]) -> Vec<f64> {
    one.iter().copied().filter(|bound| other.contains(bound)).collect()
}

/// Counts custom buckets by fewer bounds.
fn rebucket(buckets: &[Bucket], bounds: &[f64], fewer: &[f64]) -> Vec<Bucket> {
    let mut new: Vec<Bucket> = Vec::with_capacity(buckets.len());
    for bucket in buckets {
        let upper = usize::try_from(bucket.index).ok().and_then(|i| bounds.get(i)).copied();
        let place =
            upper.map_or(fewer.len(), |upper| fewer.partition_point(|bound| *bound < upper));
        let index = i32::try_from(place).unwrap_or(i32::MAX);
        match new.last_mut() {
            Some(last) if last.index == index => last.count += bucket.count,
            _ => new.push(Bucket { index, count: bucket.count }),
        }
    }
    new
}

/// A sum that keeps what rounding would lose (Kahan and Neumaier).
#[derive(Debug, Clone, Copy, Default)]
pub struct Kahan {
    sum: f64,
    rest: f64,
}

impl Kahan {
    /// Adds a number.
    pub fn add(&mut self, value: f64) {
        let sum = self.sum + value;
        if sum.is_infinite() {
            self.rest = 0.0;
        } else if self.sum.abs() >= value.abs() {
            self.rest += (self.sum - sum) + value;
        } else {
            self.rest += (value - sum) + self.sum;
        }
        self.sum = sum;
    }

    /// Returns the sum of two sums, with what rounding lost in each.
    #[must_use]
    pub fn plus(mut self, other: Self) -> Self {
        self.add(other.sum);
        if self.sum.is_finite() {
            self.rest += other.rest;
        }
        self
    }

    /// Returns what was added so far.
    pub fn value(self) -> f64 {
        self.sum + self.rest
    }
}

impl From<f64> for Kahan {
    fn from(value: f64) -> Self {
        Self { sum: value, rest: 0.0 }
    }
}

/// A sum of histograms that keeps what rounding would lose.
#[derive(Debug, Clone)]
pub struct Total {
    /// The layout, with the counts of the first one.
    layout: Histogram,
    count: Kahan,
    sum: Kahan,
    zero: Kahan,
    positive: Vec<(i32, Kahan)>,
    negative: Vec<(i32, Kahan)>,
    merged: Merged,
    /// Whether one began again, and whether one went on.
    resets: (bool, bool),
}

impl Total {
    /// Begins with a histogram.
    pub fn of(first: &Histogram) -> Self {
        let sums = |buckets: &[Bucket]| {
            buckets.iter().map(|bucket| (bucket.index, Kahan::from(bucket.count))).collect()
        };
        Self {
            count: first.count.into(),
            sum: first.sum.into(),
            zero: first.zero_count.into(),
            positive: sums(&first.positive),
            negative: sums(&first.negative),
            layout: Histogram { positive: Vec::new(), negative: Vec::new(), ..first.clone() },
            merged: Merged::default(),
            resets: (first.hint == ResetHint::Reset, first.hint == ResetHint::NotReset),
        }
    }

    /// Adds a histogram.
    pub fn add(&mut self, other: &Histogram) -> Result<(), Incompatible> {
        self.add_weighted(other, 1.0)
    }

    /// Adds a histogram whose counts are multiplied first.
    pub fn add_weighted(&mut self, other: &Histogram, weight: f64) -> Result<(), Incompatible> {
        if self.layout.is_custom() != other.is_custom() {
            return Err(Incompatible);
        }
        self.join_hint(other.hint);
        let mut reconciled = None;
        let other = if self.layout.is_custom() {
            if self.layout.bounds == other.bounds {
                other
            } else {
                let common = common_bounds(&self.layout.bounds, &other.bounds);
                self.rebucket(&common);
                self.merged.bounds_reconciled = true;
                let positive = rebucket(&other.positive, &other.bounds, &common);
                reconciled.insert(Histogram { positive, ..other.clone() })
            }
        } else if self.layout.zero_threshold == other.zero_threshold
            && self.layout.schema == other.schema
        {
            other
        } else {
            reconciled.insert(self.reconcile(other))
        };
        self.count.add(other.count * weight);
        self.sum.add(other.sum * weight);
        self.zero.add(other.zero_count * weight);
        add_buckets(&mut self.positive, &other.positive, weight);
        add_buckets(&mut self.negative, &other.negative, weight);
        Ok(())
    }

    fn join_hint(&mut self, other: ResetHint) {
        use ResetHint::{Gauge, NotReset, Reset, Unknown};
        self.resets.0 |= other == Reset;
        self.resets.1 |= other == NotReset;
        self.merged.conflicting_resets = self.resets == (true, true);
        self.layout.hint = match (self.layout.hint, other) {
            (one, two) if one == two => one,
            (Gauge, _) | (_, Gauge) => Gauge,
            _ => Unknown,
        };
    }

    /// Brings both to the same zero bucket and the coarser schema.
    fn reconcile(&mut self, other: &Histogram) -> Histogram {
        let mut own = self.finish_counts();
        let mut other = other.clone();
        while own.zero_threshold != other.zero_threshold {
            if own.zero_threshold < other.zero_threshold {
                own.widen_zero(other.zero_threshold);
            } else {
                other.widen_zero(own.zero_threshold);
            }
        }
        let schema = own.schema.min(other.schema);
        own.coarsen(schema);
        other.coarsen(schema);
        let (merged, resets) = (self.merged, self.resets);
        *self = Self { count: self.count, sum: self.sum, merged, resets, ..Self::of(&own) };
        other
    }

    fn rebucket(&mut self, bounds: &[f64]) {
        let own = self.finish_counts();
        let positive = rebucket(&own.positive, &own.bounds, bounds);
        let own = Histogram { positive, bounds: bounds.into(), ..own };
        let (merged, resets) = (self.merged, self.resets);
        *self = Self { count: self.count, sum: self.sum, merged, resets, ..Self::of(&own) };
    }

    fn finish_counts(&self) -> Histogram {
        let buckets = |sums: &[(i32, Kahan)]| {
            sums.iter().map(|(index, sum)| Bucket { index: *index, count: sum.value() }).collect()
        };
        Histogram {
            count: self.count.value(),
            sum: self.sum.value(),
            zero_count: self.zero.value(),
            positive: buckets(&self.positive),
            negative: buckets(&self.negative),
            ..self.layout.clone()
        }
    }

    /// Returns the sum and what happened on the way.
    pub fn finish(&self) -> (Histogram, Merged) {
        let mut total = self.finish_counts();
        total.drop_empty();
        (total, self.merged)
    }
}

fn add_buckets(sums: &mut Vec<(i32, Kahan)>, buckets: &[Bucket], weight: f64) {
    let is_same =
        sums.len() == buckets.len() && sums.iter().zip(buckets).all(|(a, b)| a.0 == b.index);
    if is_same {
        for ((_, sum), bucket) in sums.iter_mut().zip(buckets) {
            sum.add(bucket.count * weight);
        }
        return;
    }
    let mut joined = Vec::with_capacity(sums.len() + buckets.len());
    let (mut old, mut new) = (sums.iter().peekable(), buckets.iter().peekable());
    loop {
        match (old.peek(), new.peek()) {
            (Some((index, sum)), Some(bucket)) if *index == bucket.index => {
                let mut sum = *sum;
                sum.add(bucket.count * weight);
                joined.push((*index, sum));
                old.next();
                new.next();
            }
            (Some(entry), Some(bucket)) if entry.0 < bucket.index => {
                joined.push(**entry);
                old.next();
            }
            (Some(entry), None) => {
                joined.push(**entry);
                old.next();
            }
            (_, Some(bucket)) => {
                joined.push((bucket.index, Kahan::from(bucket.count * weight)));
                new.next();
            }
            (None, None) => break,
        }
    }
    *sums = joined;
}

impl fmt::Display for Histogram {
    /// Writes what it holds: `{count:4, sum:5, (0.5,1]:1, (1,2]:3}`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{count:{}, sum:{}", short(self.count), short(self.sum))?;
        for mut range in self.ranges() {
            if range.lower_inclusive && range.upper_inclusive && !self.is_custom() {
                (range.lower, range.upper) = (-self.zero_threshold, self.zero_threshold);
            }
            let (open, close) = (
                if range.lower_inclusive { '[' } else { '(' },
                if range.upper_inclusive { ']' } else { ')' },
            );
            let (lower, upper) = (short(range.lower), short(range.upper));
            write!(f, ", {open}{lower},{upper}{close}:{}", short(range.count))?;
        }
        f.write_str("}")
    }
}

/// Prints a number with as few digits as needed, and an exponent when it is far from one.
pub fn short(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else { return scientific };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if value != 0.0 && !(-4..6).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    value.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exponential(schema: i32, counts: &[f64]) -> Histogram {
        let positive = (0..).zip(counts).map(|(index, count)| Bucket { index, count: *count });
        Histogram {
            schema,
            count: counts.iter().sum(),
            positive: positive.collect(),
            ..Histogram::default()
        }
        .checked()
        .expect("a histogram")
    }

    fn custom(bounds: &[f64], counts: &[f64]) -> Histogram {
        Histogram { bounds: bounds.into(), schema: CUSTOM, ..exponential(0, counts) }
            .checked()
            .expect("a histogram")
    }

    #[test]
    fn a_finer_histogram_is_made_coarser_before_it_is_added() {
        let (sum, merged) =
            exponential(0, &[1.0, 2.0]).plus(&exponential(1, &[1.0, 1.0, 1.0])).expect("a sum");
        assert_eq!(sum.to_string(), "{count:6, sum:0, (0.5,1]:2, (1,2]:4}");
        assert_eq!(merged, Merged::default());
    }

    #[test]
    fn only_the_common_bounds_of_custom_buckets_are_left() {
        let (sum, merged) = custom(&[1.0, 5.0], &[1.0, 2.0, 3.0])
            .plus(&custom(&[5.0, 10.0], &[1.0, 1.0, 1.0]))
            .expect("a sum");
        assert_eq!(&*sum.bounds, [5.0]);
        assert_eq!(sum.to_string(), "{count:9, sum:0, [-Inf,5]:4, (5,+Inf]:5}");
        assert!(merged.bounds_reconciled);
    }

    #[test]
    fn exponential_and_custom_buckets_do_not_go_together() {
        let error = custom(&[1.0], &[1.0]).plus(&exponential(0, &[1.0])).expect_err("no sum");
        assert_eq!(error, Incompatible);
    }

    #[test]
    fn a_wider_zero_bucket_takes_in_the_buckets_it_reaches_into() {
        let mut wide = exponential(0, &[0.0, 0.0, 1.0]);
        (wide.zero_threshold, wide.zero_count) = (1.5, 1.0);
        let (sum, _) = exponential(0, &[1.0, 2.0, 4.0]).plus(&wide).expect("a sum");
        assert_eq!(sum.zero_threshold, 2.0);
        assert_eq!((sum.zero_count, sum.positive.len()), (4.0, 1));
    }

    #[test]
    fn a_count_that_fell_in_one_bucket_is_a_reset() {
        let before = exponential(0, &[1.0, 2.0, 1.0]);
        assert!(exponential(0, &[1.0, 1.0, 3.0]).is_reset_after(&before));
        assert!(!exponential(0, &[1.0, 2.0, 3.0]).is_reset_after(&before));
        assert!(exponential(1, &[9.0, 9.0, 9.0]).is_reset_after(&before));
    }

    #[test]
    fn what_big_numbers_cancel_is_not_lost() {
        let of_sum = |sum: f64| Histogram { sum, ..exponential(0, &[1.0]) };
        let mut total = Total::of(&of_sum(3.1));
        for sum in [1e100, -1e100, 1.3] {
            total.add(&of_sum(sum)).expect("a sum");
        }
        assert_eq!(total.finish().0.sum, 4.4);
    }

    #[test]
    fn numbers_that_are_no_histogram_are_refused() {
        let outside = Histogram { schema: 9, ..Histogram::default() }.checked();
        assert_eq!(outside, Err(Malformed::Schema(9)));
        let unbound = Histogram { schema: CUSTOM, ..exponential(0, &[0.0, 1.0]) }.checked();
        assert_eq!(unbound, Err(Malformed::NoBound { index: 1, bounds: 0 }));
    }

    #[test]
    fn numbers_far_from_one_are_printed_with_an_exponent() {
        let printed = [0.5, 1e6, 1e-7, f64::INFINITY, 123_456.0].map(short);
        assert_eq!(printed, ["0.5", "1e+06", "1e-07", "+Inf", "123456"]);
    }
}
