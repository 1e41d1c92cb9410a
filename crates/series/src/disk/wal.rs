//! What was appended, written down before it is answered.
//!
//! A log is a row of segments. Each record stands alone: a mark, its length, the checksum of its
//! bytes, then the bytes, which are packed when that pays. A record that was only half written is
//! cut off when the log is read; a record that broke later is stepped over and counted.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use super::bytes::{Reader, put_signed, put_text, put_varint, sync_directory};
use crate::matcher::Op;
use crate::{Labels, Matcher, Millis, Sample};

/// Begins every record; what a broken record left is searched for the next one.
const MARK: [u8; 4] = [0xd7, b'm', b'w', 0x01];
const HEADER: usize = 12;

/// A new segment begins when the last one is this long.
const SEGMENT: u64 = 32 << 20;

/// The longest record that is believed.
const LONGEST: usize = 64 << 20;

/// Records of this many bytes are packed.
const WORTH_PACKING: usize = 1 << 10;

/// One thing in the log.
#[derive(Debug, Clone)]
pub(crate) enum Record {
    /// A series got a number.
    Series(Vec<(u32, Labels)>),
    /// Samples of numbered series.
    Samples(Vec<(u32, Sample)>),
    /// Samples from a time to a time were deleted.
    Delete { matchers: Vec<Matcher>, from: Millis, to: Millis },
    /// A series as it stands in a checkpoint, in the words of the head.
    Column(Vec<u8>),
}

impl Record {
    /// Writes the kind and the content.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Series(series) => {
                out.push(1);
                put_varint(&mut out, series.len() as u64);
                for (id, labels) in series {
                    put_varint(&mut out, u64::from(*id));
                    put_labels(&mut out, labels);
                }
            }
            Self::Samples(samples) => {
                out.push(2);
                put_varint(&mut out, samples.len() as u64);
                let (mut last_id, mut last_at) = (0, 0);
                for (id, sample) in samples {
                    put_signed(&mut out, i64::from(*id) - last_id);
                    put_signed(&mut out, sample.at.wrapping_sub(last_at));
                    (last_id, last_at) = (i64::from(*id), sample.at);
                }
                for (_, sample) in samples {
                    out.extend_from_slice(&sample.value.to_bits().to_le_bytes());
                }
            }
            Self::Delete { matchers, from, to } => {
                out.push(3);
                put_signed(&mut out, *from);
                put_signed(&mut out, *to);
                put_varint(&mut out, matchers.len() as u64);
                for matcher in matchers {
                    out.push(match matcher.op() {
                        Op::Equal => 0,
                        Op::NotEqual => 1,
                        Op::Matches => 2,
                        Op::NotMatches => 3,
                    });
                    put_text(&mut out, matcher.name());
                    put_text(&mut out, matcher.value());
                }
            }
            Self::Column(bytes) => {
                out.push(4);
                out.extend_from_slice(bytes);
            }
        }
        out
    }

    /// Reads what [`Record::encode`] wrote; nothing for anything else.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        Some(match reader.byte()? {
            1 => {
                let count = reader.length(bytes.len())?;
                let mut series = Vec::with_capacity(count.min(1 << 16));
                for _ in 0..count {
                    let id = u32::try_from(reader.varint()?).ok()?;
                    series.push((id, read_labels(&mut reader)?));
                }
                Self::Series(series)
            }
            2 => {
                let count = reader.length(bytes.len() / 8)?;
                let mut samples = Vec::with_capacity(count);
                let (mut id, mut at) = (0i64, 0i64);
                for _ in 0..count {
                    id = id.checked_add(reader.signed()?)?;
                    at = at.wrapping_add(reader.signed()?);
                    samples.push((u32::try_from(id).ok()?, Sample { at, value: 0.0 }));
                }
                for (_, sample) in &mut samples {
                    sample.value = reader.float()?;
                }
                Self::Samples(samples)
            }
            3 => {
                let (from, to) = (reader.signed()?, reader.signed()?);
                let count = reader.length(bytes.len())?;
                let mut matchers = Vec::new();
                for _ in 0..count {
                    let op = match reader.byte()? {
                        0 => Op::Equal,
                        1 => Op::NotEqual,
                        2 => Op::Matches,
                        3 => Op::NotMatches,
                        _ => return None,
                    };
                    let (name, value) = (reader.text()?, reader.text()?);
                    matchers.push(Matcher::new(name, op, value).ok()?);
                }
                Self::Delete { matchers, from, to }
            }
            4 => Self::Column(reader.rest().to_vec()),
            _ => return None,
        })
    }
}

pub(crate) fn put_labels(out: &mut Vec<u8>, labels: &Labels) {
    put_varint(out, labels.iter().len() as u64);
    for (name, value) in labels.iter() {
        put_text(out, name);
        put_text(out, value);
    }
}

pub(crate) fn read_labels(reader: &mut Reader<'_>) -> Option<Labels> {
    let count = reader.length(1 << 16)?;
    let mut pairs: Vec<(Arc<str>, Arc<str>)> = Vec::new();
    for _ in 0..count {
        pairs.push((reader.text()?.into(), reader.text()?.into()));
    }
    Some(Labels::new(pairs))
}

/// Puts header and checksum around the bytes of a record.
fn frame(record: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER + record.len());
    out.extend_from_slice(&MARK);
    out.extend_from_slice(&[0; 8]);
    let packed = (record.len() >= WORTH_PACKING)
        .then(|| snap::raw::Encoder::new().compress_vec(record).ok())
        .flatten();
    match packed {
        Some(packed) if packed.len() < record.len() => {
            out.push(1);
            out.extend_from_slice(&packed);
        }
        _ => {
            out.push(0);
            out.extend_from_slice(record);
        }
    }
    let length = (out.len() - HEADER) as u32;
    out[4..8].copy_from_slice(&length.to_le_bytes());
    let checksum = crc32c::crc32c(&out[HEADER..]);
    out[8..12].copy_from_slice(&checksum.to_le_bytes());
    out
}

/// What reading a segment came upon.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Damage {
    /// Bytes at the end that were no whole record.
    pub torn: u64,
    /// Bytes in the middle that were no record.
    pub broken: u64,
}

/// Reads the records of a segment and tells what was none; gives the length of what is whole.
pub(crate) fn read_records(bytes: &[u8], mut each: impl FnMut(Record)) -> (Damage, u64) {
    let mut damage = Damage::default();
    let (mut at, mut whole, mut bad) = (0, 0, 0u64);
    while at < bytes.len() {
        if let Some((record, length)) = read_record(&bytes[at..]) {
            each(record);
            damage.broken += std::mem::take(&mut bad);
            at += length;
            whole = at;
        } else {
            // On to the next mark: what lies between is lost, what follows is not.
            let next = bytes[at + 1..].windows(4).position(|window| window == MARK);
            let step = next.map_or(bytes.len() - at, |offset| offset + 1);
            bad += step as u64;
            at += step;
        }
    }
    damage.torn = bad;
    (damage, whole as u64)
}

fn read_record(bytes: &[u8]) -> Option<(Record, usize)> {
    let mut reader = Reader::new(bytes);
    if reader.take(4)? != MARK {
        return None;
    }
    let length = reader.u32()? as usize;
    let checksum = reader.u32()?;
    if length == 0 || length > LONGEST {
        return None;
    }
    let body = reader.take(length)?;
    if crc32c::crc32c(body) != checksum {
        return None;
    }
    let record = match body[0] {
        0 => Record::decode(&body[1..])?,
        1 => {
            let packed = &body[1..];
            if snap::raw::decompress_len(packed).ok()? > LONGEST {
                return None;
            }
            Record::decode(&snap::raw::Decoder::new().decompress_vec(packed).ok()?)?
        }
        _ => return None,
    };
    Some((record, HEADER + length))
}

/// The log that is being written.
pub(crate) struct Wal {
    directory: PathBuf,
    state: Mutex<Writing>,
    synced: Mutex<Synced>,
    done: Condvar,
}

struct Writing {
    file: Arc<File>,
    segment: u64,
    /// Bytes of whole records in this segment.
    length: u64,
    /// Bytes ever written; what is synced is counted against it.
    total: u64,
    /// Bytes since the last checkpoint.
    tail: u64,
}

#[derive(Default)]
struct Synced {
    up_to: u64,
    is_syncing: bool,
}

impl Wal {
    /// Goes on with a segment of a log; `length` bytes of it are whole.
    pub fn open(directory: &Path, segment: u64, length: u64, tail: u64) -> io::Result<Self> {
        let file = open_segment(directory, segment)?;
        file.set_len(length)?;
        let file = Arc::new(file);
        Ok(Self {
            directory: directory.to_owned(),
            state: Mutex::new(Writing { file, segment, length, total: 0, tail }),
            synced: Mutex::default(),
            done: Condvar::new(),
        })
    }

    /// Writes records as one and returns how far the log has to be synced to keep them.
    ///
    /// After a write that failed the log is as it was before.
    pub fn write(&self, records: &[Record]) -> io::Result<u64> {
        let mut bytes = Vec::new();
        for record in records {
            bytes.extend_from_slice(&frame(&record.encode()));
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.length >= SEGMENT {
            self.begin_segment(&mut state)?;
        }
        if let Err(error) = state.file.write_all_at(&bytes, state.length) {
            // Half a record is cut off when the log is read, but it must not stand in our way now.
            let _ = state.file.set_len(state.length);
            return Err(error);
        }
        let written = bytes.len() as u64;
        state.length += written;
        state.total += written;
        state.tail += written;
        Ok(state.total)
    }

    /// Begins a new segment and returns its number.
    pub fn rotate(&self) -> io::Result<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.begin_segment(&mut state)?;
        state.tail = 0;
        Ok(state.segment)
    }

    fn begin_segment(&self, state: &mut Writing) -> io::Result<()> {
        // Later syncs only know the new file.
        state.file.sync_data()?;
        let segment = state.segment + 1;
        let file = open_segment(&self.directory, segment)?;
        file.set_len(0)?;
        sync_directory(&self.directory)?;
        state.file = Arc::new(file);
        state.segment = segment;
        state.length = 0;
        Ok(())
    }

    /// Waits until everything up to a place is on the disk; who waits together syncs once.
    pub fn sync(&self, up_to: u64) -> io::Result<()> {
        let mut synced = self.synced.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if synced.up_to >= up_to {
                return Ok(());
            }
            if !synced.is_syncing {
                break;
            }
            synced = self.done.wait(synced).unwrap_or_else(PoisonError::into_inner);
        }
        synced.is_syncing = true;
        drop(synced);
        let (file, total) = {
            let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            (Arc::clone(&state.file), state.total)
        };
        let result = file.sync_data();
        let mut synced = self.synced.lock().unwrap_or_else(PoisonError::into_inner);
        synced.is_syncing = false;
        if result.is_ok() {
            synced.up_to = synced.up_to.max(total);
        }
        self.done.notify_all();
        result
    }

    /// Writes everything so far to the disk.
    pub fn sync_all(&self) -> io::Result<()> {
        let total = self.state.lock().unwrap_or_else(PoisonError::into_inner).total;
        self.sync(total)
    }

    /// How many bytes were written since the last checkpoint.
    pub fn tail(&self) -> u64 {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).tail
    }

    /// Removes the segments and checkpoints that a checkpoint at a segment makes superfluous.
    pub fn forget_before(&self, segment: u64) -> io::Result<()> {
        for (number, path) in numbered(&self.directory, "wal-")? {
            if number < segment {
                std::fs::remove_file(path)?;
            }
        }
        for (number, path) in numbered(&self.directory, "checkpoint-")? {
            if number < segment {
                std::fs::remove_file(path)?;
            }
        }
        Ok(())
    }
}

fn open_segment(directory: &Path, segment: u64) -> io::Result<File> {
    let path = directory.join(format!("wal-{segment:08}"));
    OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path)
}

/// Returns the files whose name is a prefix and a number, in order of the numbers.
pub(crate) fn numbered(directory: &Path, prefix: &str) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        let number = path.file_name().and_then(|name| name.to_str()?.strip_prefix(prefix));
        if let Some(number) = number.and_then(|number| number.parse().ok()) {
            found.push((number, path));
        }
    }
    found.sort();
    Ok(found)
}

/// Writes a checkpoint: records in a file of their own that is there whole or not at all.
pub(crate) struct CheckpointWriter {
    directory: PathBuf,
    out: io::BufWriter<File>,
    pub length: u64,
}

impl CheckpointWriter {
    pub fn create(directory: &Path) -> io::Result<Self> {
        let file = File::create(directory.join("tmp-checkpoint"))?;
        let out = io::BufWriter::with_capacity(256 << 10, file);
        Ok(Self { directory: directory.to_owned(), out, length: 0 })
    }

    pub fn write(&mut self, record: &Record) -> io::Result<()> {
        let bytes = frame(&record.encode());
        self.length += bytes.len() as u64;
        io::Write::write_all(&mut self.out, &bytes)
    }

    /// Makes it the checkpoint before a segment.
    pub fn finish(self, segment: u64) -> io::Result<()> {
        let file = self.out.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_data()?;
        let path = self.directory.join(format!("checkpoint-{segment:08}"));
        std::fs::rename(self.directory.join("tmp-checkpoint"), path)?;
        sync_directory(&self.directory)
    }
}

/// Reads a file of the log whole: none is longer than a segment, or than the head was.
pub(crate) fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(at: i64) -> Record {
        Record::Samples((0..200).map(|id| (id, Sample { at, value: f64::from(id) })).collect())
    }

    fn times(bytes: &[u8]) -> (Vec<i64>, Damage) {
        let mut times = Vec::new();
        let (damage, _) = read_records(bytes, |record| {
            if let Record::Samples(samples) = record {
                times.push(samples[0].1.at);
            }
        });
        (times, damage)
    }

    #[test]
    fn a_torn_tail_is_cut_and_told_and_a_broken_record_is_stepped_over() {
        let mut bytes = Vec::new();
        for at in 1..=3 {
            bytes.extend(frame(&samples(at).encode()));
        }
        assert_eq!(times(&bytes), (vec![1, 2, 3], Damage::default()));
        let one = bytes.len() as u64 / 3;

        let torn = &bytes[..bytes.len() - 5];
        assert_eq!(times(torn), (vec![1, 2], Damage { torn: one - 5, broken: 0 }));

        let mut flipped = bytes.clone();
        flipped[one as usize + 40] ^= 4;
        assert_eq!(times(&flipped), (vec![1, 3], Damage { torn: 0, broken: one }));
    }

    #[test]
    fn a_deletion_is_read_as_it_was_written() {
        let matchers = vec![Matcher::new("job", Op::Matches, "a|b").expect("a pattern")];
        let record = Record::Delete { matchers: matchers.clone(), from: -5, to: 99 };
        let Some(Record::Delete { matchers: read, from: -5, to: 99 }) =
            Record::decode(&record.encode())
        else {
            panic!("not what was written");
        };
        assert_eq!(read, matchers);
    }
}
