//! What bytes of a store's files hold, for whoever has them and not the store.

use super::bytes::Reader;
use super::chunk::unseal;
use super::head::{Head, restore_columns};
use super::postings::find;
use super::wal::{Damage, Record, read_records};
use crate::{Labels, Matcher, Sample};

/// What a file of the log holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Log {
    /// Whole records.
    pub records: usize,
    /// Samples in them, those of checkpoints too.
    pub samples: usize,
    /// What is no record.
    pub damage: Damage,
}

/// Reads a segment of the log or a checkpoint.
pub fn log(bytes: &[u8]) -> Log {
    let mut found = Log::default();
    let head = Head::default();
    let (damage, _) = read_records(bytes, |record| {
        found.records += 1;
        match record {
            Record::Samples(samples) => found.samples += samples.len(),
            Record::Column(bytes) => drop(restore_columns(&head, &bytes)),
            Record::Series(series) => series.iter().for_each(|(id, labels)| {
                head.restore(*id, labels);
            }),
            Record::Delete { .. } => {}
        }
    });
    found.samples += head.unordered().iter().map(|column| column.lock().count()).sum::<usize>();
    found.damage = damage;
    found
}

/// Reads one record of the log or of a checkpoint without its frame; says whether it is one.
pub fn record(bytes: &[u8]) -> bool {
    match Record::decode(bytes) {
        Some(Record::Column(bytes)) => {
            let head = Head::default();
            let whole = restore_columns(&head, &bytes);
            for column in head.unordered() {
                let mut content = column.lock();
                content.seal();
                let _ = content.between(0, i64::MAX);
            }
            whole
        }
        Some(record) => {
            let again = Record::decode(&record.encode());
            assert!(again.is_some(), "what was read can be written and read again");
            true
        }
        None => false,
    }
}

/// Reads the index of a block, whatever its checksum says; gives the series that fit.
pub fn index(bytes: &[u8], matchers: &[Matcher]) -> Option<Vec<Labels>> {
    let index = super::block::Index::of_checked(bytes.to_vec())?;
    let found = find(&index, matchers);
    Some(found.into_iter().filter_map(|ordinal| index.labels(ordinal)).collect())
}

/// Reads a chunk of a block without its checksum.
pub fn chunk(bytes: &[u8]) -> Option<Vec<Sample>> {
    unseal(bytes)
}

/// Reads an open chunk, as a checkpoint holds it.
pub fn open_chunk(bytes: &[u8]) -> Option<Vec<Sample>> {
    super::chunk::Open::read(&mut Reader::new(bytes)).map(|open| open.samples())
}
