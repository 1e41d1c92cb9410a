//! Samples of one series in few bytes.
//!
//! An [`Open`] chunk takes samples one by one and costs two bytes for most of them: differences of
//! times and of values, as in Facebook's Gorilla. When it is full it is sealed: times and values
//! are two columns for `pco`, which finds what they have in common.

use std::sync::Arc;

use pco::ChunkConfig;
use pco::standalone::{simple_compress, simple_decompress_into};

use super::bytes::{Reader, put_signed, put_varint};
use super::cache::{self, Cache};
use crate::{Millis, Sample};

/// How many samples an open chunk takes before it is closed.
pub(crate) const OPEN: usize = 240;

/// The most samples of one sealed chunk; what claims more is broken.
pub(crate) const SEALED: usize = 1920;

/// The level at which `pco` works: what a higher one saves is not worth its time here.
const LEVEL: usize = 4;

/// A chunk that still grows.
#[derive(Debug, Clone)]
pub(crate) struct Open {
    pub first: Millis,
    pub last: Sample,
    pub count: usize,
    delta: i64,
    leading: u32,
    significant: u32,
    bits: Bits,
}

impl Open {
    /// Starts a chunk with its first sample.
    pub fn new(sample: Sample) -> Self {
        let mut bits = Bits::default();
        bits.push(sample.value.to_bits(), 64);
        let (first, last) = (sample.at, sample);
        Self { first, last, count: 1, delta: 0, leading: 65, significant: 0, bits }
    }

    /// Adds a sample that is later than all others.
    pub fn push(&mut self, sample: Sample) {
        debug_assert!(sample.at > self.last.at, "later samples come last");
        let delta = sample.at.wrapping_sub(self.last.at);
        self.push_time(delta.wrapping_sub(self.delta));
        self.push_value(sample.value.to_bits() ^ self.last.value.to_bits());
        self.delta = delta;
        self.last = sample;
        self.count += 1;
    }

    fn push_time(&mut self, change: i64) {
        for (prefix, prefix_bits, bits) in [(0b10, 2, 14), (0b110, 3, 17), (0b1110, 4, 20)] {
            if change == 0 {
                break;
            }
            let half = 1i64 << (bits - 1);
            if (-half..half).contains(&change) {
                self.bits.push(prefix, prefix_bits);
                self.bits.push(change as u64, bits);
                return;
            }
        }
        if change == 0 {
            self.bits.push(0, 1);
        } else {
            self.bits.push(0b1111, 4);
            self.bits.push(change as u64, 64);
        }
    }

    fn push_value(&mut self, xor: u64) {
        if xor == 0 {
            self.bits.push(0, 1);
            return;
        }
        let leading = xor.leading_zeros().min(31);
        let trailing = xor.trailing_zeros();
        let fits = self.leading <= leading
            && self.leading <= 64
            && 64 - self.leading - self.significant <= trailing;
        if fits {
            self.bits.push(0b10, 2);
            self.bits.push(xor >> (64 - self.leading - self.significant), self.significant);
            return;
        }
        let significant = 64 - leading - trailing;
        (self.leading, self.significant) = (leading, significant);
        self.bits.push(0b11, 2);
        self.bits.push(u64::from(leading), 5);
        self.bits.push(u64::from(significant - 1), 6);
        self.bits.push(xor >> trailing, significant);
    }

    /// Gives the samples in order of time.
    pub fn samples(&self) -> Vec<Sample> {
        unpack(self.first, self.count, &self.bits.bytes).unwrap_or_default()
    }

    /// Returns the chunk as one that does not grow.
    pub fn close(mut self) -> Closed {
        self.bits.bytes.shrink_to_fit();
        Closed {
            first: self.first,
            last: self.last.at,
            count: self.count,
            body: Body::Packed(self.bits.bytes),
            key: cache::key(),
        }
    }

    /// Writes the chunk with all it needs to go on growing.
    pub fn write(&self, out: &mut Vec<u8>) {
        put_signed(out, self.first);
        put_signed(out, self.last.at);
        out.extend_from_slice(&self.last.value.to_bits().to_le_bytes());
        put_varint(out, self.count as u64);
        put_signed(out, self.delta);
        put_varint(out, u64::from(self.leading));
        put_varint(out, u64::from(self.significant));
        put_varint(out, u64::from(self.bits.free));
        put_varint(out, self.bits.bytes.len() as u64);
        out.extend_from_slice(&self.bits.bytes);
    }

    /// Reads what [`Open::write`] wrote.
    pub fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let first = reader.signed()?;
        let last = Sample { at: reader.signed()?, value: reader.float()? };
        let count = reader.length(OPEN)?;
        let delta = reader.signed()?;
        let leading = u32::try_from(reader.varint()?).ok().filter(|bits| *bits <= 65)?;
        let significant = u32::try_from(reader.varint()?).ok().filter(|bits| *bits <= 64)?;
        if leading <= 64 && leading + significant > 64 {
            return None;
        }
        let free = u32::try_from(reader.varint()?).ok().filter(|bits| *bits < 8)?;
        let length = reader.length(usize::MAX)?;
        let bytes = reader.take(length)?.to_vec();
        let bits = Bits { bytes, free };
        let own = Self { first, last, count, delta, leading, significant, bits };
        let samples = unpack(first, count, &own.bits.bytes)?;
        is_in_order(&samples).then_some(())?;
        (samples.last()?.at == last.at).then_some(own)
    }

    /// How many bytes the chunk takes.
    pub fn size(&self) -> usize {
        self.bits.bytes.capacity()
    }
}

/// A chunk that does not grow any more.
#[derive(Debug, Clone)]
pub(crate) struct Closed {
    pub first: Millis,
    pub last: Millis,
    pub count: usize,
    pub body: Body,
    /// Tells this chunk from all others in the cache.
    key: u64,
}

/// How a closed chunk is kept.
#[derive(Debug, Clone)]
pub(crate) enum Body {
    /// As the open chunk was.
    Packed(Vec<u8>),
    /// By `pco`.
    Sealed(Vec<u8>),
}

impl Closed {
    /// Gives the samples in order of time.
    pub fn samples(&self) -> Vec<Sample> {
        match &self.body {
            Body::Packed(bytes) => unpack(self.first, self.count, bytes).unwrap_or_default(),
            Body::Sealed(bytes) => unseal(bytes).unwrap_or_default(),
        }
    }

    /// Gives the samples in order of time, taken apart at most once while the cache has room.
    pub fn cached(&self, cache: &Cache) -> Arc<[Sample]> {
        cache.get(self.key, 0).unwrap_or_else(|| cache.put(self.key, 0, self.samples()))
    }

    /// Makes the chunk smaller, if it was not done yet.
    pub fn seal(&mut self) {
        if let Body::Packed(packed) = &self.body {
            let sealed = seal(&self.samples());
            if sealed.len() < packed.len() {
                self.body = Body::Sealed(sealed);
            }
        }
    }

    /// Whether it is worth an attempt to make the chunk smaller.
    pub fn is_packed(&self) -> bool {
        matches!(self.body, Body::Packed(_))
    }

    pub fn write(&self, out: &mut Vec<u8>) {
        let (kind, bytes) = match &self.body {
            Body::Packed(bytes) => (0, bytes),
            Body::Sealed(bytes) => (1, bytes),
        };
        out.push(kind);
        put_signed(out, self.first);
        put_signed(out, self.last);
        put_varint(out, self.count as u64);
        put_varint(out, bytes.len() as u64);
        out.extend_from_slice(bytes);
    }

    pub fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let kind = reader.byte()?;
        let (first, last) = (reader.signed()?, reader.signed()?);
        let count = reader.length(OPEN)?;
        let length = reader.length(usize::MAX)?;
        let bytes = reader.take(length)?.to_vec();
        let body = match kind {
            0 => Body::Packed(bytes),
            1 => Body::Sealed(bytes),
            _ => return None,
        };
        Some(Self { first, last, count, body, key: cache::key() })
    }

    pub fn size(&self) -> usize {
        match &self.body {
            Body::Packed(bytes) | Body::Sealed(bytes) => bytes.len(),
        }
    }
}

/// Packs samples of any number that are in order of time, as small as we can.
pub(crate) fn seal(samples: &[Sample]) -> Vec<u8> {
    let mut out = Vec::new();
    put_varint(&mut out, samples.len() as u64);
    let Some(first) = samples.first() else {
        return out;
    };
    put_signed(&mut out, first.at);
    let step = samples.get(1).map_or(0, |second| second.at.wrapping_sub(first.at));
    let config = ChunkConfig::default().with_compression_level(LEVEL).with_enable_8_bit(false);
    if samples.windows(2).all(|pair| pair[1].at.wrapping_sub(pair[0].at) == step) {
        out.push(0);
        put_signed(&mut out, step);
    } else {
        let times: Vec<i64> = samples.iter().map(|sample| sample.at).collect();
        let packed = simple_compress(&times, &config).expect("the settings are valid");
        out.push(1);
        put_varint(&mut out, packed.len() as u64);
        out.extend_from_slice(&packed);
    }
    let value = first.value.to_bits();
    if samples.iter().all(|sample| sample.value.to_bits() == value) {
        out.push(0);
        out.extend_from_slice(&value.to_le_bytes());
        return out;
    }
    let values: Vec<f64> = samples.iter().map(|sample| sample.value).collect();
    let packed = simple_compress(&values, &config).expect("the settings are valid");
    if packed.len() < values.len() * 8 {
        out.push(1);
        out.extend_from_slice(&packed);
    } else {
        out.push(2);
        out.extend(values.iter().flat_map(|value| value.to_bits().to_le_bytes()));
    }
    out
}

/// Gives the samples that [`seal`] packed; none when the bytes are anything else.
pub(crate) fn unseal(bytes: &[u8]) -> Option<Vec<Sample>> {
    let mut reader = Reader::new(bytes);
    let count = reader.length(SEALED)?;
    if count == 0 {
        return Some(Vec::new());
    }
    let first = reader.signed()?;
    let mut samples = vec![Sample { at: first, value: 0.0 }; count];
    match reader.byte()? {
        0 => {
            let step = reader.signed()?;
            if count > 1 && step <= 0 {
                return None;
            }
            let mut at = first;
            for sample in &mut samples {
                sample.at = at;
                at = at.wrapping_add(step);
            }
        }
        1 => {
            let length = reader.length(usize::MAX)?;
            let mut times = vec![0i64; count];
            unpack_column(reader.take(length)?, &mut times)?;
            samples.iter_mut().zip(times).for_each(|(sample, at)| sample.at = at);
        }
        _ => return None,
    }
    is_in_order(&samples).then_some(())?;
    match reader.byte()? {
        0 => {
            let value = reader.float()?;
            for sample in &mut samples {
                sample.value = value;
            }
        }
        1 => {
            let mut values = vec![0f64; count];
            unpack_column(reader.rest(), &mut values)?;
            samples.iter_mut().zip(values).for_each(|(sample, value)| sample.value = value);
        }
        2 => {
            for sample in &mut samples {
                sample.value = reader.float()?;
            }
        }
        _ => return None,
    }
    Some(samples)
}

fn unpack_column<T: pco::data_types::Number>(bytes: &[u8], column: &mut [T]) -> Option<()> {
    // Checksums keep broken bytes from getting here; what gets past them must still not end us.
    let progress = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        simple_decompress_into(bytes, column)
    }));
    let progress = progress.ok()?.ok()?;
    (progress.n_processed == column.len()).then_some(())
}

fn is_in_order(samples: &[Sample]) -> bool {
    samples.windows(2).all(|pair| pair[0].at < pair[1].at)
}

/// Gives the samples of an open chunk; none when there are fewer than it says.
fn unpack(first: Millis, count: usize, bytes: &[u8]) -> Option<Vec<Sample>> {
    let mut bits = BitReader { bytes, at: 0 };
    let mut samples = Vec::with_capacity(count);
    let (mut at, mut value, mut delta) = (first, bits.take(64)?, 0i64);
    let (mut leading, mut significant) = (0, 0);
    samples.push(Sample { at, value: f64::from_bits(value) });
    while samples.len() < count {
        let width = match bits.ones(4)? {
            0 => 0,
            1 => 14,
            2 => 17,
            3 => 20,
            _ => 64,
        };
        if width > 0 {
            let raw = bits.take(width)?;
            let change = ((raw << (64 - width)) as i64) >> (64 - width);
            delta = delta.wrapping_add(change);
        }
        at = at.wrapping_add(delta);
        if bits.take(1)? == 1 {
            if bits.take(1)? == 1 {
                leading = bits.take(5)? as u32;
                significant = bits.take(6)? as u32 + 1;
            }
            if significant == 0 || leading + significant > 64 {
                return None;
            }
            value ^= bits.take(significant)? << (64 - leading - significant);
        }
        samples.push(Sample { at, value: f64::from_bits(value) });
    }
    Some(samples)
}

/// Bits, the highest of each byte first.
#[derive(Debug, Clone, Default)]
struct Bits {
    bytes: Vec<u8>,
    /// How many bits of the last byte are not used yet.
    free: u32,
}

impl Bits {
    /// Appends the lowest `count` bits.
    fn push(&mut self, value: u64, count: u32) {
        let mut left = count;
        while left > 0 {
            if self.free == 0 {
                self.bytes.push(0);
                self.free = 8;
            }
            let now = left.min(self.free);
            let piece = (value >> (left - now)) & (u64::MAX >> (64 - now));
            if let Some(last) = self.bytes.last_mut() {
                *last |= (piece as u8) << (self.free - now);
            }
            self.free -= now;
            left -= now;
        }
    }
}

struct BitReader<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl BitReader<'_> {
    fn take(&mut self, count: u32) -> Option<u64> {
        if self.at + count as usize > self.bytes.len() * 8 {
            return None;
        }
        let mut value = 0u64;
        let mut left = count as usize;
        while left > 0 {
            let used = self.at % 8;
            let now = left.min(8 - used);
            let byte = u64::from(self.bytes[self.at / 8]);
            let piece = (byte >> (8 - used - now)) & ((1 << now) - 1);
            value = (value << now) | piece;
            self.at += now;
            left -= now;
        }
        Some(value)
    }

    /// Counts ones up to a zero or up to `most`.
    fn ones(&mut self, most: u32) -> Option<u32> {
        for count in 0..most {
            if self.take(1)? == 0 {
                return Some(count);
            }
        }
        Some(most)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn same(a: &[Sample], b: &[Sample]) -> bool {
        let bits = |samples: &[Sample]| -> Vec<(i64, u64)> {
            samples.iter().map(|sample| (sample.at, sample.value.to_bits())).collect()
        };
        bits(a) == bits(b)
    }

    fn samples() -> impl Strategy<Value = Vec<Sample>> {
        let step = prop_oneof![Just(15_000i64), 1i64..40_000, 1i64..i64::from(u32::MAX) * 1000];
        let value = prop_oneof![
            (0u32..1000).prop_map(f64::from),
            any::<u64>().prop_map(f64::from_bits),
            Just(crate::STALE),
            Just(1.5)
        ];
        (-1_000_000_000_000i64..2_000_000_000_000, prop::collection::vec((step, value), 1..OPEN))
            .prop_map(|(first, steps)| {
                let mut at = first;
                let pushed = steps.into_iter().map(|(step, value)| {
                    at += step;
                    Sample { at, value }
                });
                pushed.collect()
            })
    }

    proptest! {
        #[test]
        fn every_chunk_gives_back_what_was_put_in(samples in samples()) {
            let mut open = Open::new(samples[0]);
            samples[1..].iter().for_each(|sample| open.push(*sample));
            prop_assert!(same(&open.samples(), &samples));
            let mut bytes = Vec::new();
            open.write(&mut bytes);
            let read = Open::read(&mut Reader::new(&bytes)).expect("what was written");
            prop_assert!(same(&read.samples(), &samples));
            let mut closed = open.close();
            closed.seal();
            prop_assert!(same(&closed.samples(), &samples));
            prop_assert!(same(&unseal(&seal(&samples)).expect("sealed"), &samples));
        }

        #[test]
        fn noise_is_no_chunk_and_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = unseal(&bytes);
            let _ = Open::read(&mut Reader::new(&bytes));
            let _ = Closed::read(&mut Reader::new(&bytes)).map(|closed| closed.samples());
        }
    }

    #[test]
    fn a_sealed_counter_takes_less_than_a_byte_a_sample() {
        let samples: Vec<Sample> =
            (0..480).map(|i| Sample { at: i * 15_000, value: (i * 7 + i % 3) as f64 }).collect();
        let sealed = seal(&samples);
        assert!(sealed.len() < samples.len(), "{} bytes", sealed.len());
    }
}
