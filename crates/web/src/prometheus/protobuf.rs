//! The messages of remote write, read where they lie.
//!
//! Of the two versions only what we keep is read: labels, samples and metadata. Fields that are not
//! known are stepped over, as protocol buffers ask for. A reader by hand copies no text that is
//! known already, and needs no generator of code.

use series::Sample;

use super::Metadata;

/// Which of the two protocols.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// `prometheus.WriteRequest`: each series carries its labels as texts.
    One,
    /// `io.prometheus.write.v2.Request`: labels are numbers in a table of texts.
    Two,
}

/// Why bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the message breaks off or is no message of remote write, near byte {at}")]
pub struct NoMessage {
    /// Where reading stopped.
    pub at: usize,
}

/// A series with what is new of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Written<'b> {
    /// The bytes that its labels are made of; the same bytes are the same labels, in one message.
    pub key: &'b [u8],
    /// Its labels.
    pub labels: Vec<(&'b str, &'b str)>,
    /// Its samples.
    pub samples: Vec<Sample>,
    /// How many histograms it came with; they are not kept.
    pub histograms: usize,
    /// How many exemplars it came with; they are not kept.
    pub exemplars: usize,
    /// What is said about its metric.
    pub metadata: Option<Metadata>,
}

/// Reads a message and gives each of its series; returns metadata of metrics by name.
pub fn read<'b>(
    version: Version,
    bytes: &'b [u8],
    each: &mut dyn FnMut(Written<'b>),
) -> Result<Vec<(String, Metadata)>, NoMessage> {
    let mut reader = Wire { bytes, at: 0 };
    let result = match version {
        Version::One => version_one(&mut reader, each),
        Version::Two => version_two(&mut reader, each),
    };
    result.ok_or(NoMessage { at: reader.at })
}

fn version_one<'b>(
    reader: &mut Wire<'b>,
    each: &mut dyn FnMut(Written<'b>),
) -> Option<Vec<(String, Metadata)>> {
    let mut metadata = Vec::new();
    while let Some((field, value)) = reader.field()? {
        match (field, value) {
            (1, Field::Bytes(series)) => each(series_one(series)?),
            (3, Field::Bytes(message)) => metadata.push(metadata_one(message)?),
            _ => {}
        }
    }
    Some(metadata)
}

fn series_one(bytes: &[u8]) -> Option<Written<'_>> {
    let mut reader = Wire { bytes, at: 0 };
    let mut series = Written::empty();
    let mut labels_end = 0;
    while let Some((field, value)) = reader.field()? {
        match (field, value) {
            (1, Field::Bytes(label)) => {
                series.labels.push(label_one(label)?);
                labels_end = reader.at;
            }
            (2, Field::Bytes(message)) => series.samples.push(sample(message)?),
            (3, Field::Bytes(_)) => series.exemplars += 1,
            (4, Field::Bytes(_)) => series.histograms += 1,
            _ => {}
        }
    }
    // Writers put labels first; when one does not, the key only finds less.
    series.key = &bytes[..labels_end];
    Some(series)
}

fn label_one(bytes: &[u8]) -> Option<(&str, &str)> {
    let mut reader = Wire { bytes, at: 0 };
    let (mut name, mut label) = ("", "");
    while let Some((field, value)) = reader.field()? {
        match (field, value) {
            (1, Field::Bytes(bytes)) => name = std::str::from_utf8(bytes).ok()?,
            (2, Field::Bytes(bytes)) => label = std::str::from_utf8(bytes).ok()?,
            _ => {}
        }
    }
    Some((name, label))
}

fn sample(bytes: &[u8]) -> Option<Sample> {
    let mut reader = Wire { bytes, at: 0 };
    let mut sample = Sample { at: 0, value: 0.0 };
    while let Some((field, value)) = reader.field()? {
        match (field, value) {
            (1, Field::Eight(bits)) => sample.value = f64::from_bits(bits),
            (2, Field::Number(at)) => sample.at = at as i64,
            _ => {}
        }
    }
    Some(sample)
}

fn metadata_one(bytes: &[u8]) -> Option<(String, Metadata)> {
    let mut reader = Wire { bytes, at: 0 };
    let (mut kind, mut name, mut help, mut unit) = (0, "", "", "");
    while let Some((field, value)) = reader.field()? {
        match (field, value) {
            (1, Field::Number(number)) => kind = number,
            (2, Field::Bytes(bytes)) => name = std::str::from_utf8(bytes).ok()?,
            (4, Field::Bytes(bytes)) => help = std::str::from_utf8(bytes).ok()?,
            (5, Field::Bytes(bytes)) => unit = std::str::from_utf8(bytes).ok()?,
            _ => {}
        }
    }
    Some((name.to_owned(), metadata_of(kind, help, unit)))
}

fn metadata_of(kind: u64, help: &str, unit: &str) -> Metadata {
    const KINDS: [&str; 8] = [
        "unknown",
        "counter",
        "gauge",
        "histogram",
        "gaugehistogram",
        "summary",
        "info",
        "stateset",
    ];
    let kind = usize::try_from(kind).ok().and_then(|kind| KINDS.get(kind)).unwrap_or(&KINDS[0]);
    Metadata { kind: (*kind).to_owned(), help: help.to_owned(), unit: unit.to_owned() }
}

fn version_two<'b>(
    reader: &mut Wire<'b>,
    each: &mut dyn FnMut(Written<'b>),
) -> Option<Vec<(String, Metadata)>> {
    let (mut symbols, mut all) = (Vec::new(), Vec::new());
    while let Some((field, value)) = reader.field()? {
        match (field, value) {
            (4, Field::Bytes(text)) => symbols.push(std::str::from_utf8(text).ok()?),
            (5, Field::Bytes(series)) => all.push(series),
            _ => {}
        }
    }
    let mut metadata = Vec::new();
    for bytes in all {
        let series = series_two(bytes, &symbols)?;
        let name = series.labels.iter().find(|(name, _)| *name == series::METRIC_NAME);
        if let (Some((_, name)), Some(own)) = (name, &series.metadata) {
            metadata.push(((*name).to_owned(), own.clone()));
        }
        each(series);
    }
    Some(metadata)
}

fn series_two<'b>(bytes: &'b [u8], symbols: &[&'b str]) -> Option<Written<'b>> {
    let mut reader = Wire { bytes, at: 0 };
    let mut series = Written::empty();
    let mut numbers = Vec::new();
    while let Some((field, value)) = reader.field()? {
        match (field, value) {
            (1, Field::Bytes(packed)) => {
                let mut packed = Wire { bytes: packed, at: 0 };
                while packed.at < packed.bytes.len() {
                    numbers.push(packed.varint()?);
                }
            }
            (1, Field::Number(number)) => numbers.push(number),
            (2, Field::Bytes(message)) => series.samples.push(sample(message)?),
            (3, Field::Bytes(_)) => series.histograms += 1,
            (4, Field::Bytes(_)) => series.exemplars += 1,
            (5, Field::Bytes(message)) => series.metadata = Some(metadata_two(message, symbols)?),
            _ => {}
        }
    }
    let symbol = |number: u64| symbols.get(usize::try_from(number).ok()?).copied();
    if !numbers.len().is_multiple_of(2) {
        return None;
    }
    for pair in numbers.chunks_exact(2) {
        series.labels.push((symbol(pair[0])?, symbol(pair[1])?));
    }
    Some(series)
}

fn metadata_two(bytes: &[u8], symbols: &[&str]) -> Option<Metadata> {
    let mut reader = Wire { bytes, at: 0 };
    let (mut kind, mut help, mut unit) = (0, 0, 0);
    while let Some((field, value)) = reader.field()? {
        match (field, value) {
            (1, Field::Number(number)) => kind = number,
            (3, Field::Number(number)) => help = number,
            (4, Field::Number(number)) => unit = number,
            _ => {}
        }
    }
    let symbol = |number: u64| symbols.get(usize::try_from(number).ok()?).copied();
    let (help, unit) = (symbol(help).unwrap_or_default(), symbol(unit).unwrap_or_default());
    Some(metadata_of(kind, help, unit))
}

impl Written<'_> {
    fn empty() -> Self {
        Self {
            key: &[],
            labels: Vec::new(),
            samples: Vec::new(),
            histograms: 0,
            exemplars: 0,
            metadata: None,
        }
    }
}

/// The wire format of protocol buffers.
struct Wire<'b> {
    bytes: &'b [u8],
    at: usize,
}

enum Field<'b> {
    Number(u64),
    Eight(u64),
    Bytes(&'b [u8]),
    Four,
}

impl<'b> Wire<'b> {
    /// Reads the next field; the outer none is a broken message, the inner one its end.
    #[allow(clippy::option_option, reason = "broken, over and a field are three things")]
    fn field(&mut self) -> Option<Option<(u64, Field<'b>)>> {
        if self.at >= self.bytes.len() {
            return Some(None);
        }
        let tag = self.varint()?;
        let field = match tag & 7 {
            0 => Field::Number(self.varint()?),
            1 => Field::Eight(u64::from_le_bytes(self.take(8)?.try_into().ok()?)),
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                Field::Bytes(self.take(length)?)
            }
            5 => {
                self.take(4)?;
                Field::Four
            }
            _ => return None,
        };
        Some(Some((tag >> 3, field)))
    }

    fn take(&mut self, count: usize) -> Option<&'b [u8]> {
        let end = self.at.checked_add(count)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = *self.bytes.get(self.at)?;
            self.at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, bytes.len() as u8], bytes].concat()
    }

    fn sample_bytes(value: f64, at: u8) -> Vec<u8> {
        [&[0x09][..], &value.to_bits().to_le_bytes(), &[0x10, at]].concat()
    }

    #[test]
    fn a_series_of_version_one_is_read() {
        let label = [field(1, b"__name__"), field(2, b"up")].concat();
        let series = [field(1, &label), field(2, &sample_bytes(2.5, 7))].concat();
        let about = [vec![0x08, 1], field(2, b"up"), field(4, b"Whether it is up.")].concat();
        let message = [field(1, &series), field(3, &about)].concat();
        let mut all = Vec::new();
        let metadata = read(Version::One, &message, &mut |series| all.push(series));
        assert_eq!(all[0].labels, [("__name__", "up")]);
        assert_eq!(all[0].samples, [Sample { at: 7, value: 2.5 }]);
        let metadata = metadata.expect("a message");
        assert_eq!((metadata[0].0.as_str(), metadata[0].1.kind.as_str()), ("up", "counter"));
        assert!(read(Version::One, &message[..message.len() - 3], &mut |_| {}).is_err());
    }

    #[test]
    fn a_series_of_version_two_finds_its_texts_in_the_table() {
        let symbols = ["", "__name__", "up", "job", "web"];
        let symbols: Vec<u8> = symbols.iter().flat_map(|text| field(4, text.as_bytes())).collect();
        let series = [field(1, &[1, 2, 3, 4]), field(2, &sample_bytes(1.0, 9))].concat();
        let message = [symbols.clone(), field(5, &series)].concat();
        let mut all = Vec::new();
        read(Version::Two, &message, &mut |series| all.push(series)).expect("a message");
        assert_eq!(all[0].labels, [("__name__", "up"), ("job", "web")]);
        let beyond = [symbols, field(5, &field(1, &[1, 9]))].concat();
        assert!(read(Version::Two, &beyond, &mut |_| {}).is_err());
    }
}
