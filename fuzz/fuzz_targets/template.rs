//! Templates: whatever is accepted can be filled, soon and within bounds.

#![no_main]

use libfuzzer_sys::fuzz_target;
use series::Labels;
use watch::template::{Scope, Template, Value};

fuzz_target!(|text: &str| {
    let template = match Template::parse(text, &["labels", "value"]) {
        Ok(template) => template,
        Err(error) => {
            assert!(error.at <= text.len() && !error.message.is_empty());
            return;
        }
    };
    let labels = Labels::new([("instance", "web:80"), ("job", "web")]);
    let sample = Value::sample(&labels, 1.5);
    let ask = |_: &str| Ok(vec![sample.clone(), sample.clone()]);
    let scope = Scope {
        dot: sample.clone(),
        variables: vec![("labels", Value::from(&labels)), ("value", Value::Number(1.5))],
        ask: Some(&ask),
        external_url: "http://marline/x",
        ..Scope::default()
    };
    let _ = template.fill(&scope);
});
