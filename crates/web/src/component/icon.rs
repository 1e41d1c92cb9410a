//! Icons drawn with strokes in the colour of the text beside them.

use explain::Standing;
use maud::{Markup, PreEscaped, html};

fn stroke(class: &str, paths: &'static str) -> Markup {
    html! {
        svg.icon.(class) viewBox="0 0 16 16" width="16" height="16" fill="none" stroke="currentColor"
            stroke-width="1.5" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true" {
            (PreEscaped(paths))
        }
    }
}

/// Returns the icon of a state.
pub(crate) fn of(standing: Standing) -> Markup {
    match standing {
        Standing::Ok => stroke(
            "ok",
            r#"<circle cx="8" cy="8" r="6.25"/><path d="m5.400 8.200 1.800 1.800 3.500-3.800"/>"#,
        ),
        Standing::Running => stroke(
            "spin",
            r#"<circle cx="8" cy="8" r="6.250" stroke-opacity=".25"/><path d="M14.250 8A6.250 6.250 0 0 0 8 1.750"/>"#,
        ),
        Standing::Attention => stroke(
            "att",
            r#"<path d="M8 2.250 14.250 13.250H1.750Z"/><path d="M8 6.500v3.200M8 11.450v.05"/>"#,
        ),
        Standing::Failed => stroke(
            "bad",
            r#"<circle cx="8" cy="8" r="6.250"/><path d="m5.800 5.800 4.400 4.400M10.200 5.800l-4.400 4.400"/>"#,
        ),
        Standing::Off => stroke(
            "off",
            r#"<circle cx="8" cy="8" r="6.250" stroke-dasharray="2.200 2.200"/><path d="M5.500 8h5"/>"#,
        ),
    }
}

/// Returns the icon of something that was only a step on the way.
pub(crate) fn dot() -> Markup {
    stroke("dot", r#"<circle cx="8" cy="8" r="3" fill="currentColor"/>"#)
}

/// Returns the icon of a page in the navigation.
pub(crate) fn page(name: &str) -> Markup {
    match name {
        "overview" => stroke(
            "nav",
            r#"<rect x="2" y="2" width="5" height="5" rx="1.200"/><rect x="9" y="2" width="5" height="5" rx="1.200"/><rect x="2" y="9" width="5" height="5" rx="1.200"/><rect x="9" y="9" width="5" height="5" rx="1.200"/>"#,
        ),
        "runs" => stroke(
            "nav",
            r#"<circle cx="8" cy="8" r="6.250"/><path d="M6.700 5.600v4.800L10.600 8Z"/>"#,
        ),
        "deployments" => {
            stroke("nav", r#"<path d="M8 13.500v-9M4.300 8.200 8 4.500l3.700 3.700M3 1.900h10"/>"#)
        }
        "incidents" => stroke("nav", r#"<path d="M1.800 8.500h3L6.500 3.500l3 9 1.700-4h3"/>"#),
        "commits" => stroke(
            "nav",
            r#"<circle cx="8" cy="8" r="2.700"/><path d="M1.500 8h3.800M10.700 8h3.800"/>"#,
        ),
        _ => {
            stroke("nav", r#"<circle cx="8" cy="8" r="6.250"/><path d="M8 4.500V8l2.400 1.600"/>"#)
        }
    }
}

/// Returns the icon of an empty place.
pub(crate) fn blank() -> Markup {
    html! {
        svg.blank viewBox="0 0 48 32" width="48" height="32" fill="none" stroke="currentColor"
            stroke-width="1.5" stroke-linecap="round" aria-hidden="true" {
            (PreEscaped(r#"<path d="M3 22c7 0 7-12 14-12s7 12 14 12 7-12 14-12" /><path d="M3 10c7 0 7 12 14 12s7-12 14-12 7 12 14 12" stroke-opacity=".35"/>"#))
        }
    }
}

/// Returns the mark of Marline: two strands of a rope.
pub(crate) fn mark() -> Markup {
    html! {
        svg.mark viewBox="0 0 32 32" width="22" height="22" aria-hidden="true" {
            (PreEscaped(r#"<rect width="32" height="32" rx="8" class="mark-ground"/><path d="M7 22c4.500 0 4.500-12 9-12s4.500 12 9 12M7 10c4.500 0 4.500 12 9 12s4.500-12 9-12" fill="none" class="mark-rope" stroke-width="2.600" stroke-linecap="round"/>"#))
        }
    }
}
