//! Workflows: findings and expressions point into the file, and what was read can be told.

#![no_main]

use fuzz::{Ground, PATH};
use libfuzzer_sys::fuzz_target;
use source::workflow::{Files, Options, Part, Reference, Telling, load, read};

/// Every workflow that is called is the one at hand.
struct Itself<'a>(&'a str);

impl Files for Itself<'_> {
    fn text(&self, _: &Reference) -> Result<String, String> {
        Ok(self.0.to_owned())
    }
}

fuzz_target!(|text: &str| {
    let ground = Ground::new(text);
    let (workflow, findings) = read(PATH, text);
    ground.hold(&findings);
    for strict_events in [false, true] {
        let options = Options { strict_events, ..Options::default() };
        let loaded = load(PATH, text, &Itself(text), &options);
        assert!(loaded.refusals.len() <= 10);
        if let Some(summary) = loaded.summary(Telling { places: true, events: strict_events }) {
            assert!(summary["jobs"].is_array());
        }
    }
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
