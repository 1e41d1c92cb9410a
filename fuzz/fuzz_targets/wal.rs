//! The log of samples: whatever is in the file, what is whole is read and the rest is counted.

#![no_main]

use libfuzzer_sys::fuzz_target;
use series::disk::inspect;

fuzz_target!(|bytes: &[u8]| {
    let found = inspect::log(bytes);
    assert!(found.damage.torn + found.damage.broken <= bytes.len() as u64);
    // Past the checksum, where noise seldom gets by itself.
    inspect::record(bytes);
    if let Some(samples) = inspect::open_chunk(bytes) {
        assert!(samples.windows(2).all(|pair| pair[0].at < pair[1].at));
    }
});
