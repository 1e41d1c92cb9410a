//! Masking: no secret is left, whether the text comes whole or in pieces.

#![no_main]

use fuzz::texts;
use libfuzzer_sys::fuzz_target;
use pipeline::mask::Masker;

fuzz_target!(|input: &str| {
    let [first, second, text] = texts(input);
    // A secret that holds a star can stand in the mask itself.
    if [first, second].iter().any(|secret| secret.contains('*') || secret.len() > 200) {
        return;
    }
    let masker = Masker::new([first, second]);
    let masked = masker.mask(text);
    assert!(!masker.finds_in(&masked), "{masked:?}");
    for secret in [first, second].map(str::trim).into_iter().filter(|secret| !secret.is_empty()) {
        assert!(!masked.contains(secret), "{masked:?}");
    }
    assert_eq!(masker.mask_bytes(text.as_bytes()), masked.as_bytes());
    for size in [1, 7, 64] {
        let mut stream = masker.stream();
        let mut shown: Vec<u8> =
            text.as_bytes().chunks(size).flat_map(|c| stream.push(c)).collect();
        shown.extend(stream.finish());
        assert_eq!(shown, masked.as_bytes(), "in pieces of {size}");
    }
});
