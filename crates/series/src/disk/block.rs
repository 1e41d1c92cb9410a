//! A time range of samples that does not change any more.
//!
//! A block is a directory: `chunks` holds sealed chunks one after the other, each with its
//! checksum; `index` says which series there are and where their chunks lie; `meta.json` says what
//! the block is. It is written under another name and renamed when all of it is on the disk, so
//! that a block is there whole or not at all.
//!
//! Files are read at positions, never mapped: see the decision page on the store.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::bytes::{Reader, put_signed, put_varint, sync_directory};
use super::cache::Cache;
use super::chunk::{SEALED, seal, unseal};
use super::postings::{Postings, find};
use crate::{Amount, Labels, Matcher, Millis, Sample};

const INDEX_MAGIC: &[u8; 4] = b"MIX1";
const CHUNKS_MAGIC: &[u8; 4] = b"MCH1";

/// Chunks this near to each other are read at once.
const GAP: u64 = 16 << 10;
/// The most that is read at once.
const READ: u64 = 2 << 20;

/// What a block is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Meta {
    pub version: u32,
    /// The range of time that the block is for, the end not included.
    pub from: Millis,
    pub to: Millis,
    /// Times of the first and the last sample.
    pub first: Millis,
    pub last: Millis,
    pub series: usize,
    pub samples: usize,
    pub chunks_bytes: u64,
    pub index_bytes: u64,
    /// Names of the blocks that this one takes the place of.
    pub replaces: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct StoredMeta {
    meta: Meta,
    checksum: u32,
}

impl Meta {
    fn checksum(&self) -> u32 {
        crc32c::crc32c(&serde_json::to_vec(self).unwrap_or_default())
    }

    pub fn bytes(&self) -> u64 {
        self.chunks_bytes + self.index_bytes
    }
}

/// Why a block cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BlockError {
    #[error("read {path}")]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{path} is damaged: {why}")]
    Damaged { path: PathBuf, why: &'static str },
}

/// A block that can be read.
pub(crate) struct Block {
    pub name: String,
    pub meta: Meta,
    pub directory: PathBuf,
    /// Tells this block from all others in the cache.
    key: u64,
    chunks: File,
    index: Mutex<Option<Arc<Index>>>,
}

/// Where a chunk lies and what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ChunkRef {
    first: Millis,
    last: Millis,
    offset: u64,
    length: u64,
}

impl Block {
    /// Opens a block without reading much of it.
    pub fn open(directory: PathBuf) -> Result<Self, BlockError> {
        let name = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let path = directory.join("meta.json");
        let text =
            std::fs::read(&path).map_err(|source| BlockError::Io { path: path.clone(), source })?;
        let stored: StoredMeta = serde_json::from_slice(&text)
            .map_err(|_| BlockError::Damaged { path: path.clone(), why: "it is not readable" })?;
        let meta = stored.meta;
        if meta.checksum() != stored.checksum || meta.version != 1 {
            return Err(BlockError::Damaged { path, why: "its checksum is another" });
        }
        for (file, bytes) in [("chunks", meta.chunks_bytes), ("index", meta.index_bytes)] {
            let path = directory.join(file);
            let found = std::fs::metadata(&path)
                .map_err(|source| BlockError::Io { path: path.clone(), source })?;
            if found.len() != bytes {
                return Err(BlockError::Damaged { path, why: "it is not as long as it was" });
            }
        }
        let path = directory.join("chunks");
        let chunks = File::open(&path).map_err(|source| BlockError::Io { path, source })?;
        let key = super::cache::key();
        Ok(Self { name, meta, directory, key, chunks, index: Mutex::default() })
    }

    /// Returns the index, read anew if it was let go.
    pub fn index(&self) -> Result<Arc<Index>, BlockError> {
        let mut held = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = &*held {
            return Ok(Arc::clone(index));
        }
        let path = self.directory.join("index");
        let bytes =
            std::fs::read(&path).map_err(|source| BlockError::Io { path: path.clone(), source })?;
        let index = Index::read(bytes)
            .ok_or(BlockError::Damaged { path, why: "its checksum is another" })?;
        let index = Arc::new(index);
        *held = Some(Arc::clone(&index));
        Ok(index)
    }

    /// Lets the index go; it is read again when it is needed.
    pub fn let_go(&self) {
        *self.index.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// How many bytes the index takes in memory now.
    pub fn held(&self) -> usize {
        let held = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        held.as_ref().map_or(0, |index| index.held())
    }

    /// Gives each series that fits with its samples from a time to a time, both included.
    ///
    /// A chunk that is damaged is left out and counted.
    pub fn select(
        &self,
        matchers: &[Matcher],
        from: Millis,
        to: Millis,
        cache: &Cache,
        mut each: impl FnMut(Labels, Vec<Sample>) -> bool,
    ) -> Result<u64, BlockError> {
        let index = self.index()?;
        let mut damaged = 0;
        let mut wanted = Vec::new();
        for ordinal in find(&*index, matchers) {
            let chunks = index.chunks(ordinal).unwrap_or_default();
            let chunks = chunks.into_iter().filter(|own| own.last >= from && own.first <= to);
            wanted.extend(chunks.map(|chunk| (ordinal, chunk)));
        }
        let mut window = Window::default();
        let mut at = 0;
        while at < wanted.len() {
            let ordinal = wanted[at].0;
            let mut samples = Vec::new();
            while at < wanted.len() && wanted[at].0 == ordinal {
                let chunk = wanted[at].1;
                let column = match cache.get(self.key, chunk.offset) {
                    Some(column) => Some(column),
                    None => {
                        window.cover(&self.chunks, &wanted[at..]).map_err(|source| {
                            BlockError::Io { path: self.directory.join("chunks"), source }
                        })?;
                        let column = window.chunk(chunk).and_then(unseal);
                        column.map(|column| cache.put(self.key, chunk.offset, column))
                    }
                };
                match column {
                    Some(column) => {
                        let start = column.partition_point(|sample| sample.at < from);
                        let end = column.partition_point(|sample| sample.at <= to);
                        samples.extend_from_slice(&column[start..end.max(start)]);
                    }
                    None => damaged += 1,
                }
                at += 1;
            }
            if let Some(labels) = index.labels(ordinal)
                && !samples.is_empty()
                && !each(labels, samples)
            {
                break;
            }
        }
        Ok(damaged)
    }

    /// Returns about how much [`Block::select`] would give, by what the block has in the mean.
    pub fn amount(
        &self,
        matchers: &[Matcher],
        from: Millis,
        to: Millis,
    ) -> Result<Amount, BlockError> {
        let series = find(&*self.index()?, matchers).len();
        let (first, last) = (self.meta.first, self.meta.last);
        let length = last.saturating_sub(first).saturating_add(1) as f64;
        let within = to.min(last).saturating_sub(from.max(first)).saturating_add(1);
        let share = (within.max(0) as f64 / length).min(1.0);
        let mean = self.meta.samples as f64 / self.meta.series.max(1) as f64;
        Ok(Amount { series, samples: (series as f64 * mean * share) as usize })
    }

    /// Gives all samples of one series; a damaged chunk ends it with an error.
    pub fn samples_of(&self, ordinal: u32) -> Result<Vec<Sample>, BlockError> {
        let index = self.index()?;
        let path = || self.directory.join("chunks");
        let mut samples = Vec::new();
        for chunk in index.chunks(ordinal).unwrap_or_default() {
            let mut window = Window::default();
            window
                .cover(&self.chunks, &[(ordinal, chunk)])
                .map_err(|source| BlockError::Io { path: path(), source })?;
            let column = window.chunk(chunk).and_then(unseal);
            samples.extend(column.ok_or(BlockError::Damaged {
                path: path(),
                why: "the checksum of a chunk is another",
            })?);
        }
        Ok(samples)
    }

    /// Gives the labels of each series that fits and has a chunk in that time.
    pub fn labels(
        &self,
        matchers: &[Matcher],
        from: Millis,
        to: Millis,
        mut each: impl FnMut(Labels),
    ) -> Result<(), BlockError> {
        let index = self.index()?;
        for ordinal in find(&*index, matchers) {
            let chunks = index.chunks(ordinal).unwrap_or_default();
            if chunks.iter().any(|chunk| chunk.last >= from && chunk.first <= to)
                && let Some(labels) = index.labels(ordinal)
            {
                each(labels);
            }
        }
        Ok(())
    }
}

/// A piece of a file of chunks.
#[derive(Default)]
struct Window {
    offset: u64,
    bytes: Vec<u8>,
}

impl Window {
    /// Reads the next chunks, as many as lie near to each other, unless the first is there.
    fn cover(&mut self, file: &File, wanted: &[(u32, ChunkRef)]) -> io::Result<()> {
        let first = wanted[0].1;
        if self.chunk_bytes(first).is_some() {
            return Ok(());
        }
        let end_of = |chunk: ChunkRef| chunk.offset.saturating_add(chunk.length).saturating_add(4);
        let (start, mut end) = (first.offset, end_of(first));
        for (_, chunk) in &wanted[1..] {
            let chunk_end = end_of(*chunk);
            if chunk.offset < end || chunk.offset - end > GAP || chunk_end - start > READ {
                break;
            }
            end = chunk_end;
        }
        self.offset = start;
        // What an index says is not believed beyond the end of the file.
        let length = file.metadata()?.len().min(end).saturating_sub(start);
        self.bytes.resize(length as usize, 0);
        file.read_exact_at(&mut self.bytes, start)
    }

    fn chunk_bytes(&self, chunk: ChunkRef) -> Option<&[u8]> {
        let start = usize::try_from(chunk.offset.checked_sub(self.offset)?).ok()?;
        let end = start.checked_add(usize::try_from(chunk.length).ok()?)?.checked_add(4)?;
        self.bytes.get(start..end)
    }

    /// Returns the bytes of a chunk if they are what was written.
    fn chunk(&self, chunk: ChunkRef) -> Option<&[u8]> {
        let (bytes, checksum) = self.chunk_bytes(chunk)?.split_last_chunk::<4>()?;
        (crc32c::crc32c(bytes) == u32::from_le_bytes(*checksum)).then_some(bytes)
    }
}

/// Which series a block has and where their chunks lie.
///
/// It is kept as the bytes of its file; nothing is taken apart before it is asked for.
pub(crate) struct Index {
    bytes: Vec<u8>,
    symbols: Table,
    series: Table,
    names: Table,
    /// The symbols that were asked for: every series that has one shares its text.
    texts: Mutex<HashMap<u32, Arc<str>>>,
}

#[derive(Debug, Clone, Copy)]
struct Table {
    at: usize,
    count: usize,
}

impl Index {
    /// Checks the bytes of an index file.
    pub fn read(bytes: Vec<u8>) -> Option<Self> {
        let (body, checksum) = bytes.split_last_chunk::<4>()?;
        if crc32c::crc32c(body) != u32::from_le_bytes(*checksum) {
            return None;
        }
        Self::of_checked(bytes)
    }

    /// How many bytes it takes in memory, about.
    fn held(&self) -> usize {
        let texts = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
        self.bytes.len() + texts.len() * 64
    }

    /// Takes bytes as they are; whatever is wrong with them shows as a series that is not there.
    pub fn of_checked(bytes: Vec<u8>) -> Option<Self> {
        let mut reader = Reader::new(&bytes);
        if reader.take(4)? != INDEX_MAGIC {
            return None;
        }
        let mut table = |width: usize| {
            let (at, count) = (reader.u32()? as usize, reader.u32()? as usize);
            let end = at.checked_add(count.checked_mul(width)?)?;
            (end <= bytes.len()).then_some(Table { at, count })
        };
        let (symbols, series, names) = (table(4)?, table(4)?, table(12)?);
        Some(Self { bytes, symbols, series, names, texts: Mutex::default() })
    }

    fn u32_at(&self, at: usize) -> Option<u32> {
        self.bytes.get(at..)?.first_chunk::<4>().map(|bytes| u32::from_le_bytes(*bytes))
    }

    fn reader_at(&self, at: usize) -> Option<Reader<'_>> {
        Some(Reader::new(self.bytes.get(at..)?))
    }

    fn symbol(&self, number: u32) -> Option<&str> {
        if number as usize >= self.symbols.count {
            return None;
        }
        let at = self.u32_at(self.symbols.at + number as usize * 4)?;
        self.reader_at(at as usize)?.text()
    }

    fn series_reader(&self, ordinal: u32) -> Option<Reader<'_>> {
        if ordinal as usize >= self.series.count {
            return None;
        }
        self.reader_at(self.u32_at(self.series.at + ordinal as usize * 4)? as usize)
    }

    /// How many series there are.
    pub fn len(&self) -> u32 {
        self.series.count as u32
    }

    /// Returns the labels of a series.
    pub fn labels(&self, ordinal: u32) -> Option<Labels> {
        let mut reader = self.series_reader(ordinal)?;
        let count = reader.length(self.symbols.count)?;
        let mut pairs: Vec<(Arc<str>, Arc<str>)> = Vec::with_capacity(count.min(64));
        let mut texts = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = |number: u64| {
            let number = u32::try_from(number).ok()?;
            if let Some(known) = texts.get(&number) {
                return Some(Arc::clone(known));
            }
            let text: Arc<str> = self.symbol(number)?.into();
            texts.insert(number, Arc::clone(&text));
            Some(text)
        };
        for _ in 0..count {
            let (name, value) = (reader.varint()?, reader.varint()?);
            pairs.push((text(name)?, text(value)?));
        }
        drop(texts);
        Some(Labels::new(pairs))
    }

    fn chunks(&self, ordinal: u32) -> Option<Vec<ChunkRef>> {
        let mut reader = self.series_reader(ordinal)?;
        for _ in 0..reader.length(self.symbols.count)?.checked_mul(2)? {
            reader.varint()?;
        }
        let count = reader.length(self.bytes.len())?;
        let mut chunks = Vec::new();
        let (mut time, mut place) = (0i64, 0u64);
        for _ in 0..count {
            let first = time.wrapping_add(reader.signed()?);
            let last = first.wrapping_add(reader.signed()?);
            let offset = place.checked_add(reader.varint()?)?;
            let length = reader.varint()?;
            (time, place) = (last, offset.checked_add(length)?.checked_add(4)?);
            chunks.push(ChunkRef { first, last, offset, length });
        }
        Some(chunks)
    }

    /// Returns where the values of a label stand: a table of value, list and length.
    fn values(&self, name: &str) -> Option<Table> {
        let row = self.search(self.names, name)?;
        let at = self.names.at + row * 12;
        let table =
            Table { at: self.u32_at(at + 4)? as usize, count: self.u32_at(at + 8)? as usize };
        let end = table.at.checked_add(table.count.checked_mul(12)?)?;
        (end <= self.bytes.len()).then_some(table)
    }

    /// Finds a text in a table whose rows begin with a symbol and are in order.
    fn search(&self, table: Table, text: &str) -> Option<usize> {
        let (mut low, mut high) = (0, table.count);
        while low < high {
            let middle = low.midpoint(high);
            let own = self.symbol(self.u32_at(table.at + middle * 12)?)?;
            match own.cmp(text) {
                std::cmp::Ordering::Equal => return Some(middle),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }

    fn ids(&self, row: usize, into: &mut Vec<u32>) -> Option<()> {
        let mut reader = self.reader_at(self.u32_at(row + 4)? as usize)?;
        let count = self.u32_at(row + 8)? as usize;
        let mut id = 0u32;
        for _ in 0..count.min(self.series.count) {
            id = id.checked_add(u32::try_from(reader.varint()?).ok()?)?;
            into.push(id);
        }
        Some(())
    }
}

impl Postings for Index {
    fn everything(&self) -> Vec<u32> {
        (0..self.len()).collect()
    }

    fn list(&self, name: &str, value: &str) -> Vec<u32> {
        let mut ids = Vec::new();
        if let Some(values) = self.values(name)
            && let Some(row) = self.search(values, value)
        {
            let _ = self.ids(values.at + row * 12, &mut ids);
        }
        ids
    }

    fn lists(&self, name: &str, wanted: &dyn Fn(&str) -> bool) -> Vec<u32> {
        let mut ids = Vec::new();
        if let Some(values) = self.values(name) {
            for row in (0..values.count).map(|row| values.at + row * 12) {
                let value = self.u32_at(row).and_then(|number| self.symbol(number));
                if value.is_some_and(wanted) {
                    let _ = self.ids(row, &mut ids);
                }
            }
        }
        ids
    }
}

/// Writes a block: series in any order, each once.
pub(crate) struct Writer {
    blocks: PathBuf,
    temporary: PathBuf,
    out: io::BufWriter<File>,
    place: u64,
    series: Vec<(Labels, Vec<ChunkRef>)>,
    samples: usize,
}

impl Writer {
    /// Begins a block in the directory of blocks.
    pub fn create(blocks: &Path, name: &str) -> io::Result<Self> {
        let temporary = blocks.join(format!("tmp-{name}"));
        std::fs::create_dir_all(&temporary)?;
        let file = File::create(temporary.join("chunks"))?;
        let mut out = io::BufWriter::with_capacity(256 << 10, file);
        out.write_all(CHUNKS_MAGIC)?;
        let place = CHUNKS_MAGIC.len() as u64;
        Ok(Self {
            blocks: blocks.to_owned(),
            temporary,
            out,
            place,
            series: Vec::new(),
            samples: 0,
        })
    }

    /// Adds a series with its samples in order of time.
    pub fn add(&mut self, labels: Labels, samples: &[Sample]) -> io::Result<()> {
        let mut chunks = Vec::with_capacity(samples.len().div_ceil(SEALED));
        for piece in samples.chunks(SEALED) {
            let bytes = seal(piece);
            self.out.write_all(&bytes)?;
            self.out.write_all(&crc32c::crc32c(&bytes).to_le_bytes())?;
            let length = bytes.len() as u64;
            chunks.push(ChunkRef {
                first: piece[0].at,
                last: piece[piece.len() - 1].at,
                offset: self.place,
                length,
            });
            self.place += length + 4;
        }
        self.samples += samples.len();
        self.series.push((labels, chunks));
        Ok(())
    }

    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// Throws away what was written.
    pub fn abandon(self) {
        let _ = std::fs::remove_dir_all(&self.temporary);
    }

    /// Puts the block in its place and opens it.
    pub fn finish(
        mut self,
        name: &str,
        (from, to): (Millis, Millis),
        replaces: Vec<String>,
    ) -> io::Result<Block> {
        self.series.sort_by(|a, b| a.0.cmp(&b.0));
        let file = self.out.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        let index = write_index(&self.series)?;
        let refs = || self.series.iter().flat_map(|(_, chunks)| chunks);
        let meta = Meta {
            version: 1,
            from,
            to,
            first: refs().map(|chunk| chunk.first).min().unwrap_or(from),
            last: refs().map(|chunk| chunk.last).max().unwrap_or(from),
            series: self.series.len(),
            samples: self.samples,
            chunks_bytes: self.place,
            index_bytes: index.len() as u64,
            replaces,
        };
        let checksum = meta.checksum();
        let stored = serde_json::to_vec(&StoredMeta { meta, checksum })?;
        for (file, bytes) in [("index", &index), ("meta.json", &stored)] {
            let mut file = File::create(self.temporary.join(file))?;
            file.write_all(bytes)?;
            file.sync_all()?;
        }
        sync_directory(&self.temporary)?;
        let directory = self.blocks.join(name);
        std::fs::rename(&self.temporary, &directory)?;
        sync_directory(&self.blocks)?;
        Block::open(directory).map_err(io::Error::other)
    }
}

fn write_index(series: &[(Labels, Vec<ChunkRef>)]) -> io::Result<Vec<u8>> {
    let mut symbols: BTreeMap<&str, u32> = BTreeMap::new();
    for (name, value) in series.iter().flat_map(|(labels, _)| labels.iter()) {
        symbols.insert(name, 0);
        symbols.insert(value, 0);
    }
    let mut out = INDEX_MAGIC.to_vec();
    out.extend_from_slice(&[0; 24]);
    let mut symbol_places = Vec::with_capacity(symbols.len());
    for (number, (text, own)) in symbols.iter_mut().enumerate() {
        *own = number as u32;
        symbol_places.push(out.len() as u32);
        super::bytes::put_text(&mut out, text);
    }
    let mut series_places = Vec::with_capacity(series.len());
    let mut postings: BTreeMap<u32, BTreeMap<u32, Vec<u32>>> = BTreeMap::new();
    for (ordinal, (labels, chunks)) in series.iter().enumerate() {
        series_places.push(out.len() as u32);
        put_varint(&mut out, labels.iter().len() as u64);
        for (name, value) in labels.iter() {
            let (name, value) = (symbols[name], symbols[value]);
            put_varint(&mut out, u64::from(name));
            put_varint(&mut out, u64::from(value));
            postings.entry(name).or_default().entry(value).or_default().push(ordinal as u32);
        }
        put_varint(&mut out, chunks.len() as u64);
        let (mut time, mut place) = (0i64, 0u64);
        for chunk in chunks {
            put_signed(&mut out, chunk.first.wrapping_sub(time));
            put_signed(&mut out, chunk.last.wrapping_sub(chunk.first));
            put_varint(&mut out, chunk.offset - place);
            put_varint(&mut out, chunk.length);
            (time, place) = (chunk.last, chunk.offset + chunk.length + 4);
        }
    }
    let mut lists: HashMap<(u32, u32), u32> = HashMap::new();
    for (name, values) in &postings {
        for (value, ids) in values {
            lists.insert((*name, *value), out.len() as u32);
            let mut last = 0;
            for id in ids {
                put_varint(&mut out, u64::from(id - last));
                last = *id;
            }
        }
    }
    let mut names = Vec::new();
    for (name, values) in &postings {
        names.extend_from_slice(&name.to_le_bytes());
        names.extend_from_slice(&(out.len() as u32).to_le_bytes());
        names.extend_from_slice(&(values.len() as u32).to_le_bytes());
        for (value, ids) in values {
            out.extend_from_slice(&value.to_le_bytes());
            out.extend_from_slice(&lists[&(*name, *value)].to_le_bytes());
            out.extend_from_slice(&(ids.len() as u32).to_le_bytes());
        }
    }
    let mut tables = Vec::new();
    for places in [&symbol_places, &series_places] {
        tables.extend_from_slice(&(out.len() as u32).to_le_bytes());
        tables.extend_from_slice(&(places.len() as u32).to_le_bytes());
        out.extend(places.iter().flat_map(|place| place.to_le_bytes()));
    }
    tables.extend_from_slice(&(out.len() as u32).to_le_bytes());
    tables.extend_from_slice(&(postings.len() as u32).to_le_bytes());
    out.extend_from_slice(&names);
    out[4..28].copy_from_slice(&tables);
    if u32::try_from(out.len()).is_err() {
        return Err(io::Error::other("the index of a block would be over 4 GiB"));
    }
    let checksum = crc32c::crc32c(&out);
    out.extend_from_slice(&checksum.to_le_bytes());
    Ok(out)
}
