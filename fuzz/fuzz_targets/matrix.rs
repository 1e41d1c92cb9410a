//! Matrices: any value is expanded within bounds or refused.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pipeline::expression::Value;
use pipeline::matrix::{MAX_JOBS, expand, name};

fuzz_target!(|json: &[u8]| {
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(json) else { return };
    match expand(&Value::from(value)) {
        Ok(combinations) => {
            assert!(combinations.len() <= MAX_JOBS);
            for combination in combinations {
                let _ = name("job", &combination.segments);
            }
        }
        Err(why) => assert!(!why.is_empty()),
    }
});
