//! Few large blocks instead of many small ones, and coarse numbers for long times.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::block::{Block, Index, Writer};
use super::head::merge;
use crate::{Labels, Matcher, Millis, Sample, is_stale};

/// How many ranges of the smallest blocks one of each next size covers: eight hours, a day.
const SIZES: [i64; 2] = [4, 12];

/// The label that says which of the coarse numbers a series holds.
pub(crate) const ROLLUP: &str = "__rollup__";

/// How much time one coarse number stands for.
pub(crate) const COARSE: Millis = 300_000;

/// What is kept of the samples of five minutes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rollup {
    /// How many samples there were.
    Count,
    /// Their sum.
    Sum,
    /// The smallest.
    Min,
    /// The largest.
    Max,
    /// The first.
    First,
    /// The last.
    Last,
    /// How much a counter grew since the sample before, over resets.
    Increase,
}

impl Rollup {
    /// All of them.
    pub const ALL: [Rollup; 7] = [
        Rollup::Count,
        Rollup::Sum,
        Rollup::Min,
        Rollup::Max,
        Rollup::First,
        Rollup::Last,
        Rollup::Increase,
    ];

    /// Returns its name, as it is kept.
    pub fn name(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Sum => "sum",
            Self::Min => "min",
            Self::Max => "max",
            Self::First => "first",
            Self::Last => "last",
            Self::Increase => "increase",
        }
    }
}

/// A range of time whose blocks should be one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Group {
    pub range: (Millis, Millis),
    /// Positions in the list that was asked about.
    pub blocks: Vec<usize>,
}

/// Decides which blocks to make one of, by their ranges; blocks are `span` long at first and what
/// is before `floor` does not change any more.
pub(crate) fn plan(ranges: &[(Millis, Millis)], span: Millis, floor: Millis) -> Option<Group> {
    for size in SIZES {
        let width = span * size;
        let mut starts: Vec<Millis> =
            ranges.iter().map(|range| range.0.div_euclid(width) * width).collect();
        starts.sort_unstable();
        starts.dedup();
        for start in starts {
            let end = start + width;
            let inside = |range: &(Millis, Millis)| range.0 >= start && range.1 <= end;
            let blocks: Vec<usize> =
                (0..ranges.len()).filter(|index| inside(&ranges[*index])).collect();
            if end <= floor && blocks.len() > 1 {
                return Some(Group { range: (start, end), blocks });
            }
        }
    }
    None
}

/// Writes the samples of blocks anew, as one; `keep` may drop or change what each series has.
///
/// Gives nothing when nothing is left. Series by series, so that memory stays small.
pub(crate) fn rewrite(
    directory: &Path,
    name: &str,
    range: (Millis, Millis),
    sources: &[Arc<Block>],
    mut keep: impl FnMut(&Labels, Vec<Sample>) -> Vec<Sample>,
) -> io::Result<Option<Block>> {
    let mut writer = Writer::create(directory, name)?;
    let written = each_series(sources, |labels, samples| {
        let kept = keep(&labels, samples);
        if kept.is_empty() { Ok(()) } else { writer.add(labels, &kept) }
    });
    let replaces = sources.iter().map(|block| block.name.clone()).collect();
    finish(writer, written, name, range, replaces)
}

/// Writes the coarse numbers of a block.
pub(crate) fn roll_up(
    directory: &Path,
    name: &str,
    block: &Arc<Block>,
) -> io::Result<Option<Block>> {
    let mut writer = Writer::create(directory, name)?;
    let sources = [Arc::clone(block)];
    let written = each_series(&sources, |labels, samples| {
        for (rollup, samples) in coarse(&samples) {
            writer.add(labels.with(ROLLUP, rollup.name()), &samples)?;
        }
        Ok(())
    });
    finish(writer, written, name, (block.meta.from, block.meta.to), Vec::new())
}

/// Puts a block in its place; one that could not be written, or that is empty, is thrown away.
fn finish(
    writer: Writer,
    written: io::Result<()>,
    name: &str,
    range: (Millis, Millis),
    replaces: Vec<String>,
) -> io::Result<Option<Block>> {
    if written.is_err() || writer.is_empty() {
        writer.abandon();
        return written.map(|()| None);
    }
    writer.finish(name, range, replaces).map(Some)
}

/// Goes through the series of several blocks in order of their labels, each with all its samples.
fn each_series(
    sources: &[Arc<Block>],
    mut each: impl FnMut(Labels, Vec<Sample>) -> io::Result<()>,
) -> io::Result<()> {
    let indexes: Vec<Arc<Index>> = sources
        .iter()
        .map(|block| block.index().map_err(io::Error::other))
        .collect::<Result<_, _>>()?;
    let mut next: Vec<(u32, Option<Labels>)> =
        indexes.iter().map(|index| (0, index.labels(0))).collect();
    while let Some(labels) = next.iter().filter_map(|(_, labels)| labels.clone()).min() {
        let mut samples: Vec<Sample> = Vec::new();
        for (source, (ordinal, own)) in next.iter_mut().enumerate() {
            if own.as_ref() != Some(&labels) {
                continue;
            }
            let more = sources[source].samples_of(*ordinal).map_err(io::Error::other)?;
            let in_order = samples.last().zip(more.first()).is_none_or(|(a, b)| a.at < b.at);
            if in_order {
                samples.extend(more);
            } else {
                samples = merge(&samples, &more);
            }
            *ordinal += 1;
            *own = indexes[source].labels(*ordinal);
        }
        each(labels, samples)?;
    }
    for block in sources {
        block.let_go();
    }
    Ok(())
}

/// Returns the coarse numbers of a series, each at the end of its five minutes.
fn coarse(samples: &[Sample]) -> Vec<(Rollup, Vec<Sample>)> {
    let mut columns: Vec<(Rollup, Vec<Sample>)> =
        Rollup::ALL.into_iter().map(|rollup| (rollup, Vec::new())).collect();
    let alive: Vec<Sample> = samples.iter().copied().filter(|s| !is_stale(s.value)).collect();
    let mut before: Option<f64> = None;
    for group in alive.chunk_by(|a, b| end_of(a.at) == end_of(b.at)) {
        let at = end_of(group[0].at);
        let values = || group.iter().map(|sample| sample.value);
        let mut increase = 0.0;
        for value in values() {
            if let Some(before) = before {
                increase += if value < before { value } else { value - before };
            }
            before = Some(value);
        }
        for (rollup, column) in &mut columns {
            let value = match rollup {
                Rollup::Count => group.len() as f64,
                Rollup::Sum => values().sum(),
                Rollup::Min => values().fold(f64::NAN, f64::min),
                Rollup::Max => values().fold(f64::NAN, f64::max),
                Rollup::First => group[0].value,
                Rollup::Last => group[group.len() - 1].value,
                Rollup::Increase => increase,
            };
            column.push(Sample { at, value });
        }
    }
    columns.retain(|(_, column)| !column.is_empty());
    columns
}

/// The end of the five minutes that a time belongs to: they are open on the left, as windows are.
fn end_of(at: Millis) -> Millis {
    at.saturating_sub(1).div_euclid(COARSE).saturating_add(1).saturating_mul(COARSE)
}

/// Makes matchers ask for one of the coarse numbers.
pub(crate) fn matchers_of(matchers: &[Matcher], rollup: Rollup) -> Vec<Matcher> {
    let own = Matcher::equal(ROLLUP, rollup.name());
    matchers.iter().cloned().chain([own]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Millis = 3_600_000;

    fn hours(list: &[(i64, i64)]) -> Vec<(Millis, Millis)> {
        list.iter().map(|(from, to)| (from * HOUR, to * HOUR)).collect()
    }

    #[test]
    fn blocks_of_two_hours_become_one_of_eight_when_the_eight_hours_are_over() {
        let ranges = hours(&[(0, 2), (2, 4), (6, 8), (8, 10)]);
        assert_eq!(plan(&ranges, 2 * HOUR, 6 * HOUR), None);
        let group = plan(&ranges, 2 * HOUR, 10 * HOUR).expect("eight hours are over");
        assert_eq!(group, Group { range: (0, 8 * HOUR), blocks: vec![0, 1, 2] });
    }

    #[test]
    fn a_day_is_one_block_in_the_end() {
        let ranges = hours(&[(0, 8), (8, 16), (16, 24), (24, 26)]);
        let group = plan(&ranges, 2 * HOUR, 26 * HOUR).expect("a day is over");
        assert_eq!(group, Group { range: (0, 24 * HOUR), blocks: vec![0, 1, 2] });
        assert_eq!(plan(&hours(&[(0, 24), (24, 26)]), 2 * HOUR, 50 * HOUR), None);
    }

    #[test]
    fn five_minutes_keep_what_their_samples_say() {
        let values = [1.0, 4.0, 2.0, crate::STALE, 3.0];
        let samples: Vec<Sample> = values
            .iter()
            .enumerate()
            .map(|(i, value)| Sample { at: 60_000 * (i as i64 + 3), value: *value })
            .collect();
        let columns = coarse(&samples);
        let of = |wanted: Rollup| -> Vec<(Millis, f64)> {
            let (_, column) = columns.iter().find(|(own, _)| *own == wanted).expect("a column");
            column.iter().map(|sample| (sample.at, sample.value)).collect()
        };
        assert_eq!(of(Rollup::Count), [(300_000, 3.0), (600_000, 1.0)]);
        assert_eq!(of(Rollup::Sum), [(300_000, 7.0), (600_000, 3.0)]);
        assert_eq!(of(Rollup::Min), [(300_000, 1.0), (600_000, 3.0)]);
        assert_eq!(of(Rollup::Max), [(300_000, 4.0), (600_000, 3.0)]);
        // Three up, a reset to two, one up in the next five minutes.
        assert_eq!(of(Rollup::Increase), [(300_000, 5.0), (600_000, 1.0)]);
    }
}
