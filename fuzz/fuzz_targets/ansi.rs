//! Terminal output as HTML: no tag but ours, every tag closed, nothing a log says is markup.

#![no_main]

use libfuzzer_sys::fuzz_target;
use web::ansi::Ansi;

const OURS: [&str; 4] =
    ["<span class=\"", "</span>", "<a rel=\"noopener noreferrer\" href=\"http", "</a>"];

fuzz_target!(|text: &str| {
    let mut ansi = Ansi::default();
    for line in text.lines() {
        let html = ansi.line(line).into_string();
        for (start, _) in html.match_indices('<') {
            let tag = &html[start..];
            let ours = OURS.iter().find(|ours| tag.starts_with(**ours));
            let ours = ours.unwrap_or_else(|| panic!("a tag that is not ours in {html:?}"));
            if tag.starts_with("</") {
                continue;
            }
            // What stands in a tag ends with the quotes and bracket that we wrote.
            let inside = &tag[ours.len()..];
            let end = inside.find("\">").unwrap_or_else(|| panic!("an open tag in {html:?}"));
            assert!(!inside[..end].contains(['"', '<']), "{html:?}");
        }
        assert_eq!(html.matches("<span").count(), html.matches("</span>").count());
        assert_eq!(html.matches("<a ").count(), html.matches("</a>").count());
        assert!(html.chars().all(|c| !c.is_control() || c == '\t'), "{html:?}");
        for (start, _) in html.match_indices('&') {
            let is_entity = ["&lt;", "&gt;", "&amp;", "&quot;", "&#39;", "&#x27;"]
                .iter()
                .any(|entity| html[start..].starts_with(entity));
            assert!(is_entity, "{html:?}");
        }
    }
});
