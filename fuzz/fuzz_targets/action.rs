//! Actions: findings and expressions point into the file, and a name leads nowhere outside.

#![no_main]

use fuzz::{Ground, PATH};
use libfuzzer_sys::fuzz_target;
use pipeline::action::Reference;
use source::workflow::action::read;

fuzz_target!(|text: &str| {
    let ground = Ground::new(text);
    let (action, findings) = read(PATH, text);
    ground.hold(&findings);
    for site in action.iter().flat_map(|action| &action.expressions) {
        ground.holds(site.template.span);
    }
    if let Some(Reference::Remote(remote)) = Reference::parse(text) {
        assert!(!remote.path.split('/').any(|part| part == ".."));
        assert_eq!(remote.repository.split('/').count(), 2);
    }
});
