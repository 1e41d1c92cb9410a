//! What a service tells about itself: OpenMetrics and the text format of Prometheus.
//!
//! OpenMetrics is read strictly, by its specification; the older format as leniently as Prometheus
//! reads it.

use std::collections::{HashMap, HashSet};
use std::fmt;

use crate::{Labels, METRIC_NAME, Millis};

/// Which format a text is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0 by its specification: `application/openmetrics-text`.
    OpenMetrics,
    /// OpenMetrics as services really send it: its form must be right, its numbers are not judged.
    OpenMetricsUnjudged,
    /// The text format 0.0.4 of Prometheus: `text/plain`.
    Text,
}

/// What was told.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Exposition {
    /// What the metrics are.
    pub families: Vec<Family>,
    /// Their values, in the order of the text.
    pub samples: Vec<Told>,
}

/// What a metric is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Family {
    /// Its name, without the ends that its samples have.
    pub name: String,
    /// What kind of metric it is.
    pub kind: Kind,
    /// What it means, for people.
    pub help: Option<String>,
    /// The unit of its values.
    pub unit: Option<String>,
}

/// One value that was told.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// What names the series.
    pub labels: Labels,
    /// Its value.
    pub value: f64,
    /// When it was so, if that was told.
    pub at: Option<Millis>,
    /// One of the things that were counted, if one was told.
    pub exemplar: Option<Exemplar>,
}

/// One of the things that a counter or bucket counted.
#[derive(Debug, Clone, PartialEq)]
pub struct Exemplar {
    /// What names it, such as a trace.
    pub labels: Labels,
    /// Its value.
    pub value: f64,
    /// When it was, if that was told.
    pub at: Option<Millis>,
}

/// What kind of metric something is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each is its name in OpenMetrics")]
pub enum Kind {
    #[default]
    Unknown,
    Counter,
    Gauge,
    Histogram,
    GaugeHistogram,
    Summary,
    Info,
    StateSet,
}

impl Kind {
    const NAMES: [(&'static str, Kind); 8] = [
        ("unknown", Self::Unknown),
        ("counter", Self::Counter),
        ("gauge", Self::Gauge),
        ("histogram", Self::Histogram),
        ("gaugehistogram", Self::GaugeHistogram),
        ("summary", Self::Summary),
        ("info", Self::Info),
        ("stateset", Self::StateSet),
    ];

    /// How it is written.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, kind)| *kind == self).map_or("unknown", |(name, _)| name)
    }

    /// The ends that the names of its samples have.
    fn ends(self) -> &'static [&'static str] {
        match self {
            Self::Unknown | Self::Gauge | Self::StateSet => &[""],
            Self::Counter => &["_total", "_created"],
            Self::Histogram => &["_bucket", "_count", "_sum", "_created"],
            Self::GaugeHistogram => &["_bucket", "_gcount", "_gsum"],
            Self::Summary => &["", "_count", "_sum", "_created"],
            Self::Info => &["_info"],
        }
    }
}

/// Why a text could not be read, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ExpositionError {
    /// The line, counted from 1.
    pub line: usize,
    /// The character in the line, counted from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for ExpositionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.message)
    }
}

/// Reads what a service tells.
///
/// ```
/// use series::exposition::{Format, read};
/// let told = read("# TYPE up gauge\nup{job=\"web\"} 1\n# EOF\n", Format::OpenMetrics).unwrap();
/// assert_eq!(told.samples[0].labels.to_string(), "up{job=\"web\"}");
/// let error = read("up {job=web} 1\n", Format::Text).unwrap_err();
/// assert_eq!(error.to_string(), "1:9: the value of a label stands in double quotes");
/// ```
pub fn read(text: &str, format: Format) -> Result<Exposition, ExpositionError> {
    let mut reader = Reader {
        strict: format != Format::Text,
        judges: format == Format::OpenMetrics,
        ..Reader::default()
    };
    let mut ended = false;
    let body = text.strip_suffix('\n').unwrap_or(text);
    for (number, line) in body.split('\n').enumerate() {
        let place = |error: Wrong| ExpositionError {
            line: number + 1,
            column: line.get(..error.at).map_or(1, |before| before.chars().count() + 1),
            message: error.message,
        };
        if ended {
            return Err(place(wrong(0, "nothing may follow `# EOF`")));
        }
        if reader.strict && line == "# EOF" {
            ended = true;
            continue;
        }
        reader.line(line).map_err(place)?;
    }
    let lines = body.split('\n').count();
    let at_end = |message: String| ExpositionError { line: lines, column: 1, message };
    reader.end_group().map_err(|error| at_end(error.message))?;
    if reader.strict && !ended {
        return Err(at_end("the text does not end with `# EOF`: it may be cut off".to_owned()));
    }
    Ok(reader.told)
}

/// What is wrong within a line.
struct Wrong {
    at: usize,
    message: String,
}

fn wrong(at: usize, message: impl Into<String>) -> Wrong {
    Wrong { at, message: message.into() }
}

#[derive(Default)]
struct Reader {
    /// Whether every blank must be where OpenMetrics has it.
    strict: bool,
    /// Whether what is told must make sense as well.
    judges: bool,
    told: Exposition,
    /// Names that a family has or may have samples by.
    taken: HashSet<String>,
    /// Families by name, for the lenient format.
    known: HashMap<String, usize>,
    /// Whether the present family has samples.
    has_samples: bool,
    /// What was told of the present family: type, help, unit.
    metadata: [bool; 3],
    group: Option<Group>,
    groups: HashSet<Labels>,
}

/// The samples of a family with the same labels, as they come.
#[derive(Default)]
struct Group {
    labels: Option<Labels>,
    at: Option<f64>,
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: Option<f64>,
    is_first: bool,
}

impl Reader {
    fn line(&mut self, line: &str) -> Result<(), Wrong> {
        if line.trim_matches([' ', '\t', '\r']).is_empty() {
            return if self.strict { Err(wrong(0, "a line must not be empty")) } else { Ok(()) };
        }
        let start = if self.strict { line } else { line.trim_start_matches([' ', '\t']) };
        if start.starts_with('#') {
            return if self.judges { self.strict_comment(line) } else { self.comment(start) };
        }
        let line = if self.strict { line } else { line.trim_end_matches('\r') };
        let sample = Line { text: line, at: 0, strict: self.strict }.sample()?;
        if self.judges {
            self.place(&sample)?;
        } else {
            self.family_of(&sample.name);
        }
        self.told.samples.push(sample.told());
        Ok(())
    }

    fn comment(&mut self, line: &str) -> Result<(), Wrong> {
        let mut words = line[1..].trim_start_matches([' ', '\t']).splitn(3, [' ', '\t']);
        let (Some(keyword @ ("TYPE" | "HELP")), Some(name)) = (words.next(), words.next()) else {
            return Ok(());
        };
        let rest = words.next().unwrap_or_default();
        let place = self.family_of(name.trim_matches('"'));
        let family = &mut self.told.families[place];
        if keyword == "HELP" {
            family.help = Some(unescaped(rest, false));
            return Ok(());
        }
        let kind = rest.trim();
        family.kind = match kind {
            "untyped" => Kind::Unknown,
            kind => Kind::NAMES
                .iter()
                .find(|(name, _)| *name == kind)
                .map(|(_, kind)| *kind)
                .ok_or_else(|| {
                    wrong(line.len() - rest.len(), format!("`{kind}` is no type of a metric"))
                })?,
        };
        Ok(())
    }

    /// The family of a name in the lenient format, which may come in any order.
    fn family_of(&mut self, name: &str) -> usize {
        if let Some(place) = self.known.get(name) {
            return *place;
        }
        for end in ["_bucket", "_count", "_sum"] {
            let base = name.strip_suffix(end).and_then(|base| self.known.get(base));
            let has_parts = |place: &&usize| {
                matches!(self.told.families[**place].kind, Kind::Histogram | Kind::Summary)
            };
            if let Some(place) = base.filter(has_parts) {
                return *place;
            }
        }
        self.begin(name)
    }

    fn begin(&mut self, name: &str) -> usize {
        let place = self.told.families.len();
        let name = name.to_owned();
        self.known.insert(name.clone(), place);
        self.told.families.push(Family { name, kind: Kind::Unknown, help: None, unit: None });
        place
    }

    fn strict_comment(&mut self, line: &str) -> Result<(), Wrong> {
        let mut words = line.splitn(4, ' ');
        let (hash, keyword, name, rest) = (words.next(), words.next(), words.next(), words.next());
        let kind = match (hash, keyword) {
            (Some("#"), Some("TYPE")) => 0,
            (Some("#"), Some("HELP")) => 1,
            (Some("#"), Some("UNIT")) => 2,
            _ => {
                let message = "a comment is `# TYPE`, `# HELP`, `# UNIT` or `# EOF`";
                return Err(wrong(0, message));
            }
        };
        let (Some(written), Some(rest)) = (name, rest) else {
            return Err(wrong(line.len(), "a name and a text follow, one blank between them"));
        };
        let name = written.trim_matches('"');
        if written == name && !is_name(name, true) {
            return Err(wrong(7, format!("`{name}` is no name of a metric")));
        }
        let at = line.len() - rest.len();
        let is_new = self.told.families.last().is_none_or(|family| family.name != name);
        if is_new {
            self.strict_begin(name, 7)?;
        } else if self.has_samples {
            return Err(wrong(0, format!("what `{name}` is comes before its samples")));
        }
        if std::mem::replace(&mut self.metadata[kind], true) {
            return Err(wrong(0, format!("this is told of `{name}` twice")));
        }
        let Some(family) = self.told.families.last_mut() else { return Ok(()) };
        match kind {
            0 => {
                let found = Kind::NAMES.iter().find(|(name, _)| *name == rest);
                let Some((_, kind)) = found else {
                    return Err(wrong(at, format!("`{rest}` is no type of a metric")));
                };
                family.kind = *kind;
                for end in kind.ends() {
                    let sample = format!("{name}{end}");
                    if !end.is_empty() && !self.taken.insert(sample.clone()) {
                        return Err(wrong(7, format!("`{sample}` is told of already")));
                    }
                }
            }
            1 => family.help = Some(unescaped(rest, true)),
            _ => {
                let ends = rest.is_empty()
                    || name.strip_suffix(rest).is_some_and(|base| base.ends_with('_'));
                if !ends {
                    return Err(wrong(7, format!("`{name}` must end with its unit, `_{rest}`")));
                }
                family.unit = Some(rest.to_owned());
            }
        }
        if matches!(family.kind, Kind::Info | Kind::StateSet)
            && family.unit.as_ref().is_some_and(|unit| !unit.is_empty())
        {
            return Err(wrong(0, format!("a metric of type {} has no unit", family.kind.name())));
        }
        Ok(())
    }

    fn strict_begin(&mut self, name: &str, at: usize) -> Result<(), Wrong> {
        self.end_group()?;
        if !self.taken.insert(name.to_owned()) {
            return Err(wrong(at, format!("`{name}` is told of already, further above")));
        }
        self.begin(name);
        self.has_samples = false;
        self.metadata = [false; 3];
        self.groups.clear();
        Ok(())
    }

    /// Puts a sample into its family and group, where it must be right.
    fn place(&mut self, sample: &Sample) -> Result<(), Wrong> {
        let fits = |family: &Family| {
            let end = sample.name.strip_prefix(family.name.as_str())?;
            family.kind.ends().iter().find(|own| **own == end).copied()
        };
        let end = match self.told.families.last().and_then(fits) {
            Some(end) => end,
            None => {
                self.strict_begin(&sample.name, 0)?;
                ""
            }
        };
        self.has_samples = true;
        let Some(family) = self.told.families.last() else { return Ok(()) };
        let (kind, name) = (family.kind, family.name.clone());
        check(kind, end, &name, sample)?;
        let own = match kind {
            Kind::Histogram | Kind::GaugeHistogram => "le",
            Kind::Summary => "quantile",
            Kind::StateSet => name.as_str(),
            _ => "",
        };
        let labels = Labels::new(
            sample.labels.iter().filter(|(n, _)| n != own).map(|(n, v)| (n.as_str(), v.as_str())),
        );
        let is_same = self.group.as_ref().is_some_and(|g| g.labels.as_ref() == Some(&labels));
        if !is_same {
            self.end_group()?;
            if !self.groups.insert(labels.clone()) {
                return Err(wrong(0, "samples with the same labels must stand together"));
            }
            self.group = Some(Group { labels: Some(labels), is_first: true, ..Group::default() });
        }
        let at = sample.at;
        let Some(group) = &mut self.group else { return Ok(()) };
        if !group.is_first {
            match (group.at, at) {
                (Some(before), Some(now)) if now < before => {
                    return Err(wrong(0, "the times of samples must not go back"));
                }
                (Some(_), None) | (None, Some(_)) => {
                    return Err(wrong(0, "all samples of a group have a time, or none has"));
                }
                (Some(before), Some(now)) if now > before => {
                    let labels = group.labels.clone();
                    self.end_group()?;
                    self.group = Some(Group { labels, ..Group::default() });
                }
                _ => {}
            }
        }
        let Some(group) = &mut self.group else { return Ok(()) };
        group.is_first = false;
        group.at = at;
        match end {
            "_bucket" => {
                let bound = bound(sample)?;
                if let Some((before, count)) = group.buckets.last() {
                    if bound <= *before {
                        return Err(wrong(0, "the buckets must come in order, each once"));
                    }
                    if sample.value < *count {
                        return Err(wrong(0, "a bucket counts what the ones before it count too"));
                    }
                }
                group.buckets.push((bound, sample.value));
            }
            "_count" | "_gcount" => group.count = Some(sample.value),
            "_sum" | "_gsum" => group.sum = Some(sample.value),
            _ => {}
        }
        Ok(())
    }

    /// Checks what only the whole of a group shows.
    fn end_group(&mut self) -> Result<(), Wrong> {
        let (Some(group), Some(family)) = (self.group.take(), self.told.families.last()) else {
            return Ok(());
        };
        let is_gauge = family.kind == Kind::GaugeHistogram;
        if !(family.kind == Kind::Histogram || is_gauge) {
            return Ok(());
        }
        let name = &family.name;
        let of = |message: &str| Err(wrong(0, format!("histogram `{name}`: {message}")));
        let Some((last, all)) = group.buckets.last().copied() else {
            if group.count.is_none() && group.sum.is_none() {
                return Ok(());
            }
            return of("there is no bucket");
        };
        let has_negative = group.buckets.first().is_some_and(|(bound, _)| *bound < 0.0);
        match (group.count, group.sum) {
            _ if last != f64::INFINITY => of("the last bucket must be `+Inf`"),
            (Some(_), None) if is_gauge || !has_negative => of("there is a count and no sum"),
            (None, Some(_)) => of("there is a sum and no count"),
            (Some(count), _) if (count - all).abs() > 0.0 => {
                of("the count is not that of the bucket `+Inf`")
            }
            (_, Some(_)) if has_negative && !is_gauge => {
                of("with negative buckets a sum would not only rise")
            }
            (_, Some(sum)) if is_gauge && sum < 0.0 && !has_negative => {
                of("the sum is negative and no bucket is")
            }
            _ => Ok(()),
        }
    }
}

fn bound(sample: &Sample) -> Result<f64, Wrong> {
    let written = sample.label("le").unwrap_or_default();
    let bound: f64 =
        written.parse().ok().filter(|bound: &f64| !bound.is_nan()).ok_or_else(|| {
            wrong(0, format!("the label `le` must be a number, it is `{written}`"))
        })?;
    if bound.is_infinite() && written != "+Inf" {
        return Err(wrong(0, "the last bucket is written `+Inf`"));
    }
    Ok(bound)
}

/// Checks what a single sample must be by the type of its metric.
fn check(kind: Kind, end: &str, name: &str, sample: &Sample) -> Result<(), Wrong> {
    let counts = match kind {
        Kind::Counter => end == "_total",
        Kind::Histogram | Kind::Summary => matches!(end, "_bucket" | "_count" | "_sum"),
        Kind::GaugeHistogram => matches!(end, "_bucket" | "_gcount"),
        _ => false,
    };
    if counts && (sample.value.is_nan() || sample.value < 0.0) {
        return Err(wrong(0, format!("`{}` counts: it is not below zero", sample.name)));
    }
    if end == "_gsum" && sample.value.is_nan() {
        return Err(wrong(0, "a sum is a number"));
    }
    match kind {
        Kind::Histogram | Kind::GaugeHistogram if end == "_bucket" => drop(bound(sample)?),
        Kind::Summary if end.is_empty() => {
            let written = sample.label("quantile").unwrap_or_default();
            let is_share = written.parse().is_ok_and(|q: f64| (0.0..=1.0).contains(&q));
            if !is_share {
                let message = format!("the label `quantile` must be 0 to 1, it is `{written}`");
                return Err(wrong(0, message));
            }
            if sample.value < 0.0 {
                return Err(wrong(0, "a quantile of a summary is not below zero"));
            }
        }
        Kind::Info if (sample.value - 1.0).abs() > 0.0 || sample.value.is_nan() => {
            return Err(wrong(0, "the value of an info metric is 1"));
        }
        Kind::StateSet => {
            if sample.label(name).is_none() {
                return Err(wrong(0, format!("the state stands in the label `{name}`")));
            }
            let is_state = sample.value.abs() <= 0.0 || (sample.value - 1.0).abs() <= 0.0;
            if !is_state {
                return Err(wrong(0, "a state is 1 or 0"));
            }
        }
        _ => {}
    }
    if let Some((labels, ..)) = &sample.exemplar {
        let may = matches!(
            (kind, end),
            (Kind::Counter, "_total") | (Kind::Histogram | Kind::GaugeHistogram, "_bucket")
        );
        if !may {
            return Err(wrong(0, "only counters and buckets have exemplars"));
        }
        let length: usize =
            labels.iter().map(|(name, value)| name.chars().count() + value.chars().count()).sum();
        if length > 128 {
            return Err(wrong(0, "the labels of an exemplar have at most 128 characters"));
        }
    }
    Ok(())
}

type Pairs = Vec<(String, String)>;

/// A line with a value, taken apart.
struct Sample {
    name: String,
    labels: Pairs,
    value: f64,
    /// In seconds.
    at: Option<f64>,
    millis: Option<Millis>,
    exemplar: Option<(Pairs, f64, Option<f64>)>,
}

impl Sample {
    fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    fn told(self) -> Told {
        let name = (METRIC_NAME.to_owned(), self.name);
        let exemplar = self.exemplar.map(|(labels, value, at)| Exemplar {
            labels: Labels::new(labels),
            value,
            at: at.map(millis),
        });
        Told {
            labels: Labels::new(self.labels.into_iter().chain([name])),
            value: self.value,
            at: self.millis,
            exemplar,
        }
    }
}

fn millis(seconds: f64) -> Millis {
    (seconds * 1000.0).round() as Millis
}

struct Line<'a> {
    text: &'a str,
    at: usize,
    strict: bool,
}

impl<'a> Line<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn eat(&mut self, sign: char) -> bool {
        let is = self.rest().starts_with(sign);
        self.at += if is { sign.len_utf8() } else { 0 };
        is
    }

    /// Skips blanks where any number of them may be.
    fn blanks(&mut self) {
        if !self.strict {
            self.at += self.rest().len() - self.rest().trim_start_matches([' ', '\t']).len();
        }
    }

    fn sample(mut self) -> Result<Sample, Wrong> {
        self.blanks();
        let mut name = self.word(true);
        self.blanks();
        let mut labels = Vec::new();
        if self.eat('{') {
            labels = self.labels(Some(&mut name))?;
        }
        if name.is_empty() {
            return Err(wrong(self.at, "expected the name of a metric"));
        }
        self.gap()?;
        let value = self.number()?;
        let (mut at, mut millis_at, mut exemplar) = (None, None, None);
        if self.more()? && !self.rest().starts_with('#') {
            let start = self.at;
            if self.strict {
                let seconds = self.number()?;
                if !seconds.is_finite() {
                    return Err(wrong(start, "a time is a number of seconds"));
                }
                (at, millis_at) = (Some(seconds), Some(millis(seconds)));
            } else {
                let word = self.token();
                let millis = word
                    .parse()
                    .map_err(|_| wrong(start, format!("`{word}` is no time in milliseconds")))?;
                millis_at = Some(millis);
            }
            self.more()?;
        }
        if self.strict && self.eat('#') {
            exemplar = Some(self.exemplar()?);
        }
        if !self.rest().is_empty() {
            return Err(wrong(self.at, "expected the end of the line"));
        }
        Ok(Sample { name, labels, value, at, millis: millis_at, exemplar })
    }

    fn exemplar(&mut self) -> Result<(Pairs, f64, Option<f64>), Wrong> {
        self.gap()?;
        if !self.eat('{') {
            return Err(wrong(self.at, "an exemplar begins with its labels in braces"));
        }
        let labels = self.labels(None)?;
        self.gap()?;
        let value = self.number()?;
        let mut at = None;
        if self.more()? {
            let start = self.at;
            let seconds = self.number()?;
            if !seconds.is_finite() {
                return Err(wrong(start, "a time is a number of seconds"));
            }
            at = Some(seconds);
        }
        Ok((labels, value, at))
    }

    /// The blank that must be here.
    fn gap(&mut self) -> Result<(), Wrong> {
        let before = self.at;
        if self.strict {
            self.eat(' ');
        } else {
            self.blanks();
            // After a brace no blank is needed, and one may have been read already.
            if self.text[..before].ends_with(['}', ' ', '\t']) {
                return Ok(());
            }
        }
        if self.at == before {
            return Err(wrong(self.at, "expected a blank"));
        }
        Ok(())
    }

    /// Whether something follows after a blank.
    fn more(&mut self) -> Result<bool, Wrong> {
        if self.rest().is_empty() {
            return Ok(false);
        }
        self.gap()?;
        if self.strict && self.rest().is_empty() {
            return Err(wrong(self.at, "a line does not end with a blank"));
        }
        Ok(!self.rest().is_empty())
    }

    fn word(&mut self, colon: bool) -> String {
        let rest = self.rest();
        let fits = |(place, c): &(usize, char)| {
            *c == '_'
                || c.is_ascii_alphabetic()
                || (*c == ':' && colon)
                || (*place > 0 && c.is_ascii_digit())
        };
        let end = rest.char_indices().find(|c| !fits(c)).map_or(rest.len(), |(end, _)| end);
        self.at += end;
        rest[..end].to_owned()
    }

    fn token(&mut self) -> &'a str {
        let rest = self.rest();
        let end = rest.find([' ', '\t']).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    fn number(&mut self) -> Result<f64, Wrong> {
        let start = self.at;
        let word = self.token();
        let shape = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
        let number = if !self.strict && word.to_ascii_lowercase().contains("0x") {
            hexadecimal(word)
        } else {
            word.parse().ok()
        };
        number
            .filter(|_| word.chars().all(shape))
            .ok_or_else(|| wrong(start, format!("`{word}` is no number")))
    }

    /// Reads labels up to the closing brace; the quoted name of the metric may be among them.
    fn labels(&mut self, mut metric: Option<&mut String>) -> Result<Pairs, Wrong> {
        let mut labels: Pairs = Vec::new();
        self.blanks();
        if self.eat('}') {
            return Ok(labels);
        }
        loop {
            self.blanks();
            let start = self.at;
            let (name, quoted) =
                if self.eat('"') { (self.quoted()?, true) } else { (self.word(false), false) };
            self.blanks();
            if quoted && !self.rest().starts_with('=') {
                match metric.as_deref_mut().filter(|metric| metric.is_empty()) {
                    Some(metric) => *metric = name,
                    None => return Err(wrong(start, "expected the name of a label")),
                }
            } else {
                if name.is_empty() {
                    return Err(wrong(start, "expected the name of a label"));
                }
                if !self.eat('=') {
                    return Err(wrong(self.at, "expected `=`"));
                }
                self.blanks();
                if !self.eat('"') {
                    let message = "the value of a label stands in double quotes";
                    return Err(wrong(self.at, message));
                }
                let value = self.quoted()?;
                if labels.iter().any(|(own, _)| *own == name) {
                    return Err(wrong(start, format!("label `{name}` is there twice")));
                }
                labels.push((name, value));
            }
            self.blanks();
            if self.eat('}') {
                return Ok(labels);
            }
            if !self.eat(',') {
                return Err(wrong(self.at, "expected `,` or `}`"));
            }
            self.blanks();
            if !self.strict && self.eat('}') {
                return Ok(labels);
            }
        }
    }

    /// Reads up to the closing quote.
    fn quoted(&mut self) -> Result<String, Wrong> {
        let start = self.at;
        let mut escaped = false;
        for (place, c) in self.rest().char_indices() {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => {
                    let text = unescaped(&self.rest()[..place], true);
                    self.at += place + 1;
                    return Ok(text);
                }
                _ => {}
            }
        }
        Err(wrong(start, "this text has no closing quote"))
    }
}

fn hexadecimal(word: &str) -> Option<f64> {
    let (sign, digits) = match word.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, word.trim_start_matches('+')),
    };
    let digits = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X"))?;
    u64::from_str_radix(digits, 16).ok().map(|value| sign * value as f64)
}

fn is_name(name: &str, colon: bool) -> bool {
    let mut line = Line { text: name, at: 0, strict: true };
    !name.is_empty() && line.word(colon).len() == name.len()
}

/// Resolves `\\`, `\n` and, where quotes are escaped, `\"`; other backslashes stay.
fn unescaped(text: &str, quotes: bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('\\') => out.push('\\'),
            Some('n') => out.push('\n'),
            Some('"') if quotes => out.push('"'),
            Some(other) => out.extend(['\\', other]),
            None => out.push('\\'),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str, format: Format) -> String {
        read(text, format).expect_err(text).to_string()
    }

    #[test]
    fn what_is_told_is_read_with_its_meaning() {
        let text = "# TYPE took_seconds histogram\n# UNIT took_seconds seconds\n# HELP took_seconds How\\nlong.\ntook_seconds_bucket{le=\"1.0\"} 2 12.5 # {trace=\"a\"} 0.5\ntook_seconds_bucket{le=\"+Inf\"} 3 12.5\ntook_seconds_count 3 12.5\ntook_seconds_sum 4 12.5\n# EOF\n";
        let told = read(text, Format::OpenMetrics).expect("an exposition");
        assert_eq!(told.families.len(), 1);
        assert_eq!(told.families[0].kind, Kind::Histogram);
        assert_eq!(told.families[0].help.as_deref(), Some("How\nlong."));
        assert_eq!(told.samples[0].at, Some(12_500));
        let exemplar = told.samples[0].exemplar.as_ref().expect("an exemplar");
        assert_eq!(exemplar.labels.to_string(), "{trace=\"a\"}");
    }

    #[test]
    fn the_older_format_is_read_leniently() {
        let text = "# a comment\n\n# TYPE a counter\na { b = \"c\" , } 1 1000\n\ta_b\t2\n";
        let told = read(text, Format::Text).expect("an exposition");
        let labels: Vec<String> = told.samples.iter().map(|s| s.labels.to_string()).collect();
        assert_eq!(labels, ["a{b=\"c\"}", "a_b"]);
        assert_eq!(told.samples[0].at, Some(1000));
    }

    #[test]
    fn names_may_be_quoted_where_they_are_not_plain() {
        let told = read("{\"a.b\", \"c d\"=\"e\"} 1\n", Format::Text).expect("an exposition");
        assert_eq!(told.samples[0].labels.get(METRIC_NAME), "a.b");
        assert_eq!(told.samples[0].labels.get("c d"), "e");
    }

    #[test]
    fn errors_say_where() {
        for (text, wanted) in [
            ("a 1\n", "1:1: the text does not end with `# EOF`: it may be cut off"),
            (
                "# TYPE a counter\na_total -1\n# EOF\n",
                "2:1: `a_total` counts: it is not below zero",
            ),
            ("a  1\n# EOF\n", "1:3: `` is no number"),
            ("# EOF\na 1\n", "2:1: nothing may follow `# EOF`"),
        ] {
            assert_eq!(error(text, Format::OpenMetrics), wanted);
        }
        assert_eq!(error("a{b=\"c\" 1\n", Format::Text), "1:9: expected `,` or `}`");
    }
}
