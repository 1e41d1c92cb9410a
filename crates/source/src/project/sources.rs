//! What the source files of a program give away: its port and the path of its health.

use std::sync::LazyLock;

use regex::Regex;

use super::{Certainty, Listing, PortGuess, Suggestion};

/// How many source files are looked into.
const MAX_SOURCES: usize = 40;

/// A port that follows the variable `PORT` as its default.
static DEFAULT_OF_PORT: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"\bPORT\b["'`]?\s*[\])}]*\s*(?:\|\||\?\?|,|\bor\b|:-?)\s*["'`]?:?(\d{2,5})\b"#)
        .expect("the pattern is constant and tested")
});
/// A port somewhere after the variable `PORT` in the same statement.
static AFTER_PORT: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"["'`]PORT["'`][^;]{0,160}?\b(\d{4,5})\b"#)
        .expect("the pattern is constant and tested")
});
/// A port that something is told to listen on.
static LISTENS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r#"(?x)
        \.listen\(\s*(\d{2,5})\b
        | (?:0\.0\.0\.0|127\.0\.0\.1|localhost|\[::1?\])["']?\s*[:,]\s*(\d{2,5})\b
        | (?:ListenAndServe|Run|Start|Listen)\(\s*["']:(\d{2,5})["']
        | \bport\s*[=:]\s*["']?(\d{2,5})\b
        "#,
    )
    .expect("the pattern is constant and tested")
});
static READS_PORT: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"["'`]PORT["'`]|env\.PORT\b|ENV\[.PORT.\]|\$\{?PORT\b"#)
        .expect("the pattern is constant and tested")
});
static HEALTH: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"["'`](/(?:[\w-]+/)?(?:healthz?|livez|readyz|ready|health-?check|up|ping|status|_health))["'`]"#)
        .expect("the pattern is constant and tested")
});

/// What the source files of one directory give away.
#[derive(Debug, Default)]
pub(super) struct Sources {
    pub port: Option<PortGuess>,
    pub health: Option<Suggestion>,
    pub reads_port: bool,
    /// The first file in which each of the words asked for was seen.
    pub texts: Vec<(String, String)>,
}

impl Sources {
    /// Looks into the source files with one of the endings, those near the top first.
    pub(super) fn read(listing: &dyn Listing, directory: &str, endings: &[&str]) -> Self {
        let prefix = if directory.is_empty() { String::new() } else { format!("{directory}/") };
        let is_source = |path: &&String| {
            let lower = path.to_lowercase();
            path.starts_with(&prefix)
                && endings.iter().any(|ending| lower.ends_with(ending))
                && !["test", "spec", "example", "bench", "fixture"]
                    .iter()
                    .any(|w| lower.contains(w))
        };
        let mut paths: Vec<&String> = listing.paths().iter().filter(is_source).collect();
        paths.sort_by_key(|path| (path.matches('/').count(), !is_main(path)));
        let mut found = Self::default();
        for path in paths.into_iter().take(MAX_SOURCES) {
            let Some(text) = listing.read(path) else { continue };
            found.look_into(path, &text);
            found.texts.push((path.clone(), text));
        }
        found
    }

    fn look_into(&mut self, path: &str, text: &str) {
        let reads = READS_PORT.is_match(text);
        self.reads_port |= reads;
        if let Some(port) = port_in(text) {
            // A default beside `PORT` is better evidence than any address.
            let better = self.port.as_ref().is_none_or(|known| reads && !known.reads_variable);
            if better {
                let certainty = if reads { Certainty::Certain } else { Certainty::Likely };
                let from = path.to_owned();
                self.port = Some(PortGuess { port, from, certainty, reads_variable: reads });
            }
        }
        if self.health.is_none()
            && let Some(found) = HEALTH.captures(text)
        {
            self.health = Some(Suggestion {
                text: found[1].to_owned(),
                from: path.to_owned(),
                certainty: Certainty::Likely,
            });
        }
    }

    /// Whether one of the sources has the text; its path.
    pub(super) fn has(&self, text: &str) -> Option<&str> {
        self.texts.iter().find(|(_, source)| source.contains(text)).map(|(path, _)| path.as_str())
    }
}

fn is_main(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let stem = name.split('.').next().unwrap_or(name);
    ["main", "server", "app", "index", "Program", "wsgi", "asgi", "manage"].contains(&stem)
}

fn port_in(text: &str) -> Option<u16> {
    let port = |found: &str| found.parse::<u16>().ok().filter(|port| *port >= 80);
    for pattern in [&DEFAULT_OF_PORT, &AFTER_PORT, &LISTENS] {
        let captures = pattern.captures_iter(text);
        let mut ports =
            captures.filter_map(|c| c.iter().skip(1).flatten().find_map(|m| port(m.as_str())));
        if let Some(found) = ports.next() {
            return Some(found);
        }
    }
    None
}
