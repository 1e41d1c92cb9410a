//! `.env` files: lines that are read say the same again in single quotes.

#![no_main]

use fuzz::{Ground, PATH};
use libfuzzer_sys::fuzz_target;
use source::compose::{Environment, read_env_file};

fuzz_target!(|text: &str| {
    let environment = Environment::new([("A", "1"), ("EMPTY", ""), ("NAME", "$A")]);
    let mut findings = Vec::new();
    let values = read_env_file(PATH, text, &environment, &mut findings);
    Ground::new(text).hold(&findings);
    for (name, value) in &values {
        assert!(!name.is_empty());
        let Some(value) = value.as_deref().filter(|value| !value.contains(['\'', '\r', '\\']))
        else {
            continue;
        };
        let mut findings = Vec::new();
        let line = format!("{name}='{value}'\n");
        let again = read_env_file(PATH, &line, &environment, &mut findings);
        assert_eq!(findings, [], "{line:?}");
        assert_eq!(again.get(name), Some(&Some(value.to_owned())), "{line:?}");
    }
});
