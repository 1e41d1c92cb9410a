//! Forms that ask for something: POST, then back to the page that shows the answer.

use maud::{Markup, html};

use crate::page::Frame;

/// How loud a button is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Tone {
    /// The one thing to do here.
    Main,
    /// One of several.
    Quiet,
    /// It takes something away.
    Careful,
}

impl Tone {
    fn class(self) -> &'static str {
        match self {
            Tone::Main => "main",
            Tone::Quiet => "quiet",
            Tone::Careful => "careful",
        }
    }
}

/// Returns the token that shows that a form came from this session.
pub(crate) fn token(frame: &Frame<'_>) -> Markup {
    html! { input type="hidden" name="_token" value=(frame.visitor.form_token); }
}

/// Returns a form of one button.
pub(crate) fn button(
    frame: &Frame<'_>,
    action: &str,
    fields: &[(&str, &str)],
    text: &str,
    tone: Tone,
) -> Markup {
    html! {
        form.act method="post" action=(format!("/do/{action}")) {
            (token(frame))
            @for (name, value) in fields { input type="hidden" name=(name) value=(value); }
            button.(tone.class()) type="submit" { (text) }
        }
    }
}

/// Returns a form behind a fold: a reason is asked for before the button.
pub(crate) fn with_reason(
    frame: &Frame<'_>,
    action: &str,
    fields: &[(&str, &str)],
    text: &str,
    id: &str,
) -> Markup {
    html! {
        details.reason id=(format!("d-{id}")) {
            summary { (text) }
            form method="post" action=(format!("/do/{action}")) {
                (token(frame))
                @for (name, value) in fields { input type="hidden" name=(name) value=(value); }
                label for=(id) { "Reason, kept in the journal" }
                div.row {
                    input id=(id) name="reason" required autocomplete="off" maxlength="300";
                    button.main type="submit" { (text) }
                }
            }
        }
    }
}
