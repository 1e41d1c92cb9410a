//! What is said when there is no page.

use maud::{Markup, html};

/// Returns an error in plain words: what, and what to do.
pub(crate) fn body(title: &str, text: &str, next: Option<(&str, &str)>) -> Markup {
    html! {
        div.error-page {
            h1 { (title) }
            p.sentence { (crate::component::why::ticks(text)) }
            @if let Some((path, text)) = next { p { a.button.main href=(path) { (text) } } }
        }
    }
}
