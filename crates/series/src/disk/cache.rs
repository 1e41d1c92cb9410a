//! Chunks that were read lately, taken apart.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::Sample;

/// Returns a number that nothing else has in a cache: a block, or a chunk of the head.
pub(crate) fn key() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Columns of samples by block and place, up to a number of bytes.
pub(crate) struct Cache {
    most: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    columns: HashMap<(u64, u64), Held>,
    bytes: usize,
    clock: u64,
}

struct Held {
    column: Arc<[Sample]>,
    used: u64,
}

impl Cache {
    /// Returns an empty cache for so many bytes.
    pub fn new(most: usize) -> Self {
        Self { most, state: Mutex::default() }
    }

    pub fn get(&self, block: u64, place: u64) -> Option<Arc<[Sample]>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.clock += 1;
        let clock = state.clock;
        let held = state.columns.get_mut(&(block, place))?;
        held.used = clock;
        Some(Arc::clone(&held.column))
    }

    /// Keeps a column; the half that was not used for longest goes when there are too many.
    pub fn put(&self, block: u64, place: u64, samples: Vec<Sample>) -> Arc<[Sample]> {
        let column: Arc<[Sample]> = samples.into();
        let bytes = column.len() * size_of::<Sample>();
        if bytes > self.most / 4 {
            return column;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *state;
        if state.bytes + bytes > self.most {
            let mut used: Vec<u64> = state.columns.values().map(|held| held.used).collect();
            let middle = used.len() / 2;
            let oldest = *used.select_nth_unstable(middle).1;
            state.columns.retain(|_, held| held.used > oldest);
            let left = state.columns.values().map(|held| held.column.len());
            state.bytes = left.sum::<usize>() * size_of::<Sample>();
        }
        state.clock += 1;
        let held = Held { column: Arc::clone(&column), used: state.clock };
        if let Some(before) = state.columns.insert((block, place), held) {
            state.bytes -= before.column.len() * size_of::<Sample>();
        }
        state.bytes += bytes;
        column
    }

    /// Lets everything go.
    pub fn clear(&self) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = State::default();
    }
}
