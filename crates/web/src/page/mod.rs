//! One file per page; what all of them stand in is here.

pub(crate) mod commit;
pub(crate) mod deployment;
pub(crate) mod deployments;
pub(crate) mod error;
pub(crate) mod event;
pub(crate) mod incident;
pub(crate) mod incidents;
pub(crate) mod instance;
pub(crate) mod overview;
pub(crate) mod run;
pub(crate) mod runs;
pub(crate) mod service;
pub(crate) mod timeline;

use explain::{Explanation, Standing, Subject, WhyError};
use jiff::Timestamp;
use journal::{Actor, JournalError, View};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::asset;
use crate::component::{icon, service_state};
use crate::state::{Evidence, WebState};

/// Who looks, and how.
#[derive(Debug, Clone)]
pub(crate) struct Visitor {
    /// Who.
    pub(crate) actor: Actor,
    /// What each form must carry.
    pub(crate) form_token: String,
    /// Whether this visitor signed in and can sign out.
    pub(crate) has_session: bool,
    /// Light, dark, or as the system says.
    pub(crate) theme: Theme,
}

/// Light, dark, or as the system says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Theme {
    #[default]
    System,
    Light,
    Dark,
}

impl Theme {
    pub(crate) const ALL: [(Theme, &str, &str); 3] = [
        (Theme::System, "system", "Auto"),
        (Theme::Light, "light", "Light"),
        (Theme::Dark, "dark", "Dark"),
    ];

    pub(crate) fn of_name(name: &str) -> Self {
        Self::ALL
            .iter()
            .find(|(_, known, _)| *known == name)
            .map_or(Theme::System, |(theme, ..)| *theme)
    }

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(theme, ..)| *theme == self).map_or("system", |(_, name, _)| name)
    }
}

/// What a page is made from.
pub(crate) struct Frame<'a> {
    pub(crate) state: &'a WebState,
    pub(crate) view: &'a View,
    pub(crate) visitor: &'a Visitor,
    pub(crate) now: Timestamp,
    /// The path with its query, for coming back after a form.
    pub(crate) path: &'a str,
}

/// A page without what stands around it.
pub(crate) struct Page {
    /// Its title in the tab.
    pub(crate) title: String,
    /// Which entry of the navigation is lit.
    pub(crate) here: &'static str,
    /// Its content.
    pub(crate) body: Markup,
}

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Missing {
    /// There is no such thing.
    #[error("there is no {0}")]
    Nothing(String),
    /// The journal could not be read.
    #[error("read the journal")]
    Journal(#[from] JournalError),
}

impl Frame<'_> {
    /// Explains a subject; what is too old to be explained is none.
    pub(crate) fn why(&self, subject: &Subject) -> Result<Option<Explanation>, Missing> {
        match explain::why(subject, self.view, &Evidence { state: self.state }) {
            Ok(told) => Ok(Some(told)),
            Err(WhyError::Unknown(_) | WhyError::Forgotten(_)) => Ok(None),
            Err(WhyError::Journal(error)) => Err(error.into()),
        }
    }
}

/// Stands in a page where a log is put in as it comes.
pub(crate) const LOG_GOES_HERE: &str = "<!--log-->";

/// Returns the whole document.
pub(crate) fn document(frame: &Frame<'_>, page: &Page) -> Markup {
    let live = frame.view.newest.map_or(0, |newest| newest.0);
    html! {
        (DOCTYPE)
        html lang="en" data-theme=(frame.visitor.theme.name()) {
            (head(&page.title, &frame.state.repository))
            body data-live=(live) {
                a.skip href="#main" { "Skip to content" }
                div.frame {
                    (navigation(frame, page.here))
                    main #main tabindex="-1" { (page.body) }
                }
                p #notice.notice role="status" aria-live="polite" {}
            }
        }
    }
}

fn head(title: &str, repository: &str) -> Markup {
    html! {
        head {
            meta charset="utf-8";
            meta name="viewport" content="width=device-width, initial-scale=1";
            meta name="color-scheme" content="light dark";
            title { (title) " · " (repository) }
            link rel="icon" href=(asset::ICON.path) type="image/svg+xml";
            link rel="stylesheet" href=(asset::STYLE.path);
            script type="module" async src=(asset::SCRIPT.path) {}
        }
    }
}

fn navigation(frame: &Frame<'_>, here: &str) -> Markup {
    let open = frame.view.open_incidents().count();
    let running = frame.view.running().count();
    let pages = [
        ("overview", "/", "Overview", 0),
        ("runs", "/runs", "Runs", running),
        ("deployments", "/deployments", "Deployments", 0),
        ("incidents", "/incidents", "Incidents", open),
        ("timeline", "/timeline", "Timeline", 0),
    ];
    html! {
        header.side #side {
            a.brand href="/" { (icon::mark()) span { (frame.state.repository) } }
            nav aria-label="Pages" {
                ul {
                    @for (name, path, text, count) in pages {
                        li {
                            a href=(path) aria-current=[(name == here).then_some("page")] {
                                (icon::page(name)) span { (text) }
                                @if count > 0 { span.count.(if name == "incidents" { "is-failed" } else { "" }) { (count) } }
                            }
                        }
                    }
                }
                @if !frame.view.services.is_empty() {
                    p.label #nav-services { "Services" }
                    ul aria-labelledby="nav-services" {
                        @for (name, service) in &frame.view.services {
                            @let (standing, word) = service_state(service);
                            li {
                                a href=(Subject::Service(name.clone()).path()) aria-current=[(here == name.as_str()).then_some("page")] {
                                    span.state.(crate::component::class_of(standing)) title=(word) { (icon::of(standing)) }
                                    span { (name) } span.visually-hidden { ", " (word) }
                                }
                            }
                        }
                    }
                }
            }
            div.foot {
                (theme_switch(frame))
                @if frame.visitor.has_session {
                    form method="post" action="/logout" {
                        (crate::component::form::token(frame))
                        button.link type="submit" { "Sign out" }
                    }
                }
            }
        }
    }
}

fn theme_switch(frame: &Frame<'_>) -> Markup {
    html! {
        form.theme method="post" action="/theme" aria-label="Colours" {
            (crate::component::form::token(frame))
            input type="hidden" name="back" value=(frame.path);
            @for (theme, name, text) in Theme::ALL {
                button type="submit" name="theme" value=(name) aria-pressed=(if theme == frame.visitor.theme { "true" } else { "false" }) { (text) }
            }
        }
    }
}

/// Returns the top of a page: its name, how it stands, and one sentence that says what is going on.
pub(crate) fn top(
    kicker: Markup,
    title: &str,
    standing: Option<(Standing, &str)>,
    sentence: &Markup,
    actions: &Markup,
) -> Markup {
    html! {
        div.top #top {
            @if !kicker.0.is_empty() { p.kicker { (kicker) } }
            div.title {
                h1 { (title) }
                @if let Some((standing, word)) = standing { (crate::component::badge(standing, word)) }
                @if !actions.0.is_empty() { div.actions { (actions) } }
            }
            p.sentence { (sentence) }
        }
    }
}

/// Returns a document without navigation, for those who are not signed in and for errors.
pub(crate) fn bare(title: &str, repository: &str, theme: Theme, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" data-theme=(theme.name()) {
            (head(title, repository))
            body.bare {
                main #main {
                    p.brand { (icon::mark()) span { (repository) } }
                    (body)
                }
            }
        }
    }
}

/// Returns text with line breaks kept.
pub(crate) fn nothing() -> Markup {
    PreEscaped(String::new())
}
