//! What names a series.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

/// The label that holds the name of the metric.
pub const METRIC_NAME: &str = "__name__";

/// Names and values that identify a series: sorted by name, each name once, no empty value.
///
/// Cheap to clone and quick to hash: the pairs are shared and their hash is computed once.
#[derive(Clone)]
pub struct Labels {
    hash: u64,
    pairs: Arc<[(Arc<str>, Arc<str>)]>,
}

impl Labels {
    /// Returns the labels of these pairs; a later pair wins over an earlier one of the same name,
    /// and an empty value is the same as no label.
    pub fn new<N, V>(pairs: impl IntoIterator<Item = (N, V)>) -> Self
    where
        N: Into<Arc<str>>,
        V: Into<Arc<str>>,
    {
        let mut all: Vec<(Arc<str>, Arc<str>)> =
            pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        // A stable sort keeps the order of equal names, so that the last of them is the later one.
        all.sort_by(|a, b| a.0.cmp(&b.0));
        let mut kept: Vec<(Arc<str>, Arc<str>)> = Vec::with_capacity(all.len());
        for pair in all {
            match kept.last_mut() {
                Some(last) if last.0 == pair.0 => *last = pair,
                _ => kept.push(pair),
            }
        }
        kept.retain(|(_, value)| !value.is_empty());
        Self::sorted(kept)
    }

    /// Returns the labels of a metric with this name and these further labels.
    pub fn metric<N, V>(name: &str, pairs: impl IntoIterator<Item = (N, V)>) -> Self
    where
        N: Into<Arc<str>>,
        V: Into<Arc<str>>,
    {
        let own = (Arc::from(METRIC_NAME), Arc::from(name));
        Self::new(pairs.into_iter().map(|(n, v)| (n.into(), v.into())).chain([own]))
    }

    /// Returns no labels at all.
    pub fn empty() -> Self {
        Self::sorted(Vec::new())
    }

    fn sorted(pairs: Vec<(Arc<str>, Arc<str>)>) -> Self {
        let mut hasher = std::hash::DefaultHasher::new();
        pairs.hash(&mut hasher);
        Self { hash: hasher.finish(), pairs: pairs.into() }
    }

    /// Returns the value of a label; a label that is not there is empty.
    pub fn get(&self, name: &str) -> &str {
        match self.pairs.binary_search_by(|(own, _)| (**own).cmp(name)) {
            Ok(index) => &self.pairs[index].1,
            Err(_) => "",
        }
    }

    /// Returns the name of the metric, or nothing when the series has none.
    pub fn metric_name(&self) -> Option<&str> {
        Some(self.get(METRIC_NAME)).filter(|name| !name.is_empty())
    }

    /// Gives name and value of each label in order of the names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(name, value)| (&**name, &**value))
    }

    /// Whether there is no label.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Returns these labels with one set anew; an empty value takes it away.
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut pairs = self.pairs.to_vec();
        match pairs.binary_search_by(|(own, _)| (**own).cmp(name)) {
            Ok(index) if value.is_empty() => drop(pairs.remove(index)),
            Ok(index) => pairs[index].1 = value.into(),
            Err(_) if value.is_empty() => {}
            Err(index) => pairs.insert(index, (name.into(), value.into())),
        }
        Self::sorted(pairs)
    }

    /// Returns only the labels whose name the question answers with yes.
    pub fn keep(&self, mut wanted: impl FnMut(&str) -> bool) -> Self {
        if self.pairs.iter().all(|(name, _)| wanted(name)) {
            return self.clone();
        }
        Self::sorted(self.pairs.iter().filter(|(name, _)| wanted(name)).cloned().collect())
    }
}

impl PartialEq for Labels {
    fn eq(&self, other: &Self) -> bool {
        // What was cloned is the same without a look at its texts.
        self.hash == other.hash
            && (Arc::ptr_eq(&self.pairs, &other.pairs) || self.pairs == other.pairs)
    }
}

impl Eq for Labels {}

impl Hash for Labels {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Labels {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.pairs.cmp(&other.pairs)
    }
}

impl fmt::Display for Labels {
    /// Writes the labels as PromQL does: `up{job="web"}`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.metric_name();
        f.write_str(name.unwrap_or_default())?;
        if name.is_some() && self.pairs.len() == 1 {
            return Ok(());
        }
        f.write_str("{")?;
        let others = self.iter().filter(|(name, _)| *name != METRIC_NAME);
        for (index, (name, value)) in others.enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{name}={value:?}")?;
        }
        f.write_str("}")
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Labels {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.pairs.len()))?;
        for (name, value) in self.iter() {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_the_same_in_any_order() {
        let one = Labels::metric("up", [("job", "web"), ("env", "prod")]);
        let other = Labels::new([("env", "prod"), ("__name__", "up"), ("job", "web")]);
        assert_eq!(one, other);
        assert_eq!(one.to_string(), r#"up{env="prod", job="web"}"#);
    }

    #[test]
    fn an_empty_value_is_no_label() {
        let labels = Labels::new([("job", "web"), ("env", "")]);
        assert_eq!(labels, Labels::new([("job", "web")]));
        assert_eq!(labels.with("job", ""), Labels::empty());
        assert_eq!(labels.get("env"), "");
    }

    #[test]
    fn the_later_of_two_values_wins() {
        assert_eq!(Labels::new([("a", "1"), ("a", "2")]).get("a"), "2");
    }
}
