//! Plans: what is read without errors is planned or refused, with unique jobs that wait for others.

#![no_main]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fuzz::{Ground, PATH};
use libfuzzer_sys::fuzz_target;
use pipeline::event::Event;
use pipeline::plan::{Planned, Wish, plan};
use source::{Finding, workflow::read};

fuzz_target!(|text: &str| {
    let (Some(workflow), findings) = read(PATH, text) else { return };
    if findings.iter().any(Finding::is_error) {
        return;
    }
    let ground = Ground::new(text);
    let workflow = Arc::new(workflow);
    for name in ["push", "workflow_dispatch"] {
        let event = Event {
            name: name.to_owned(),
            git_ref: "refs/heads/main".to_owned(),
            commit: "4b825dc642cb6eb9a060e54bf8d69288fbee4904".to_owned(),
            changed_files: Some(vec![b"src/main.rs".to_vec(), b"docs/\xff.md".to_vec()]),
            ..Event::default()
        };
        let calls = pipeline::calls::Calls::new();
        let planned = plan(&Wish {
            calls: &calls,
            workflow: &workflow,
            event: &event,
            inputs: &BTreeMap::new(),
            vars: &BTreeMap::from([("A".to_owned(), "1".to_owned())]),
            secrets: &BTreeSet::from(["A".to_owned()]),
            matrix: &BTreeMap::from([("os".to_owned(), BTreeSet::from(["a".to_owned()]))]),
        });
        match planned {
            Planned::Run(plan) => {
                ground.hold(&plan.findings);
                let mut keys = BTreeSet::new();
                for (index, job) in plan.jobs.iter().enumerate() {
                    assert!(job.needs.iter().all(|need| *need < plan.jobs.len() && *need != index));
                    for instance in job.instances.iter().flatten() {
                        assert!(
                            keys.insert(instance.key.clone()),
                            "{} is there twice",
                            instance.key
                        );
                    }
                }
            }
            Planned::NotTriggered(why) => assert!(!why.reason.is_empty()),
            Planned::Refused(findings) => {
                assert!(!findings.is_empty(), "a refusal says why");
                ground.hold(&findings);
            }
        }
    }
});
