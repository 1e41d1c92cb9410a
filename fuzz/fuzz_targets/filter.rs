//! Filter patterns: a pattern whose every character is taken as it is matches itself alone.

#![no_main]

use fuzz::texts;
use libfuzzer_sys::fuzz_target;
use pipeline::filter::Patterns;

fuzz_target!(|input: &str| {
    let [patterns, name] = texts(input);
    let patterns: Vec<&str> = patterns.lines().collect();
    if let Ok(read) = Patterns::parse(&patterns) {
        let _ = (read.includes(name.as_bytes()), read.ignores(name.as_bytes()));
    }
    let literal: String = name.chars().flat_map(|c| ['\\', c]).collect();
    let literal = Patterns::parse(&[literal]);
    // A pattern may be too long to be one.
    if let Ok(literal) = literal {
        assert!(literal.includes(name.as_bytes()));
        assert!(!literal.includes(format!("{name}x").as_bytes()));
    }
});
