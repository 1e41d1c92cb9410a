//! Policies: what is not Rego is a finding inside the file, what is cannot get out of the fence,
//! and a policy that was not asked is never taken for one that found nothing.

#![no_main]

use std::sync::Once;
use std::time::Duration;

use fuzz::{Ground, PATH};
use guard::policy::{Fence, Input, PolicyFile, evaluate, read};
use libfuzzer_sys::fuzz_target;

/// The engine may panic; the fence is there to catch it, so that is no failure here.
static CAUGHT: Once = Once::new();

fuzz_target!(|text: &str| {
    CAUGHT.call_once(|| {
        let abort = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let is_fenced = panic.location().is_some_and(|at| at.file().contains("regorus"));
            if !is_fenced {
                abort(panic);
            }
        }));
    });
    let ground = Ground::new(text);
    let fence = Fence { time: Duration::from_millis(200), bytes: 1 << 20, items: 1_000 };
    let files = [PolicyFile { path: PATH.to_owned(), text: text.to_owned() }];
    let written = read(&files, &fence);
    ground.hold(&written.findings);
    let asked = evaluate(&files, &Input::default(), &fence);
    ground.hold(&asked.findings);
    if written.findings.iter().any(source::Finding::is_error) {
        let is_told = !asked.findings.is_empty() || !asked.not_checked.is_empty();
        assert!(is_told, "a file that is not Rego passed for one that found nothing");
    }
});
