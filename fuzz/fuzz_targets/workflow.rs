//! Workflows: findings and expressions point into the file, and what was read can be told.

#![no_main]

use fuzz::{Ground, PATH};
use libfuzzer_sys::fuzz_target;
use source::workflow::{Part, read};

fuzz_target!(|text: &str| {
    let ground = Ground::new(text);
    let (workflow, findings) = read(PATH, text);
    ground.hold(&findings);
    let Some(workflow) = workflow else { return };
    for site in &workflow.expressions {
        ground.holds(site.template.span);
        for part in site.template.parts().unwrap_or_default() {
            match part {
                Part::Text { span, .. } => ground.holds(span),
                Part::Expression { text, span, outer, range } => {
                    ground.holds(span);
                    ground.holds(outer);
                    assert_eq!(&site.template.text[range], text);
                    assert!(outer.start <= span.start && span.end <= outer.end);
                }
            }
        }
    }
    serde_json::to_string(&workflow).expect("a workflow can be told as JSON");
});
