//! The files of a block of samples, past their checksums.

#![no_main]

use libfuzzer_sys::fuzz_target;
use series::disk::inspect;
use series::{Matcher, Op};

fuzz_target!(|bytes: &[u8]| {
    let matchers = [
        Matcher::equal("job", "web"),
        Matcher::new("path", Op::NotMatches, "/.*").expect("a pattern"),
    ];
    for matchers in [&matchers[..], &matchers[..1], &[]] {
        let _ = inspect::index(bytes, matchers);
    }
    if let Some(samples) = inspect::chunk(bytes) {
        assert!(samples.windows(2).all(|pair| pair[0].at < pair[1].at));
    }
});
