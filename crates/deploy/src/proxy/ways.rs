//! Finds the service for a host and path; as quickly among a thousand routes as among one.

use std::{collections::HashMap, sync::Arc};

use memchr::memrchr;

use super::{Route, table::LiveService};

/// The routes of one listener.
#[derive(Debug, Default)]
pub(super) struct Ways {
    exact: HashMap<String, Paths>,
    /// By what follows the `*`, with its dot.
    below: HashMap<String, Paths>,
    /// Length of the longest key of `below`. What is longer is not looked for, so that a long name
    /// costs no more than a short one.
    longest_below: usize,
    any: Paths,
}

impl Ways {
    /// Adds a route; the first of two that are the same stays.
    pub fn add(&mut self, route: &Route, service: &Arc<LiveService>) {
        let host = route.host.as_deref().map(str::to_ascii_lowercase);
        let paths = match host {
            None => &mut self.any,
            Some(host) => match host.strip_prefix('*') {
                Some(suffix) => {
                    self.longest_below = self.longest_below.max(suffix.len());
                    self.below.entry(suffix.to_owned()).or_default()
                }
                None => self.exact.entry(host).or_default(),
            },
        };
        paths.add(&route.path, service);
    }

    /// Returns the service of the most specific route: exact host, then the longest wildcard, then
    /// any host; among those of one host, the longest path.
    pub fn find(&self, host: &str, path: &str) -> Option<&Arc<LiveService>> {
        let path = path.as_bytes();
        let exact = || self.exact.get(host)?.find(path);
        exact().or_else(|| self.find_below(host, path)).or_else(|| self.any.find(path))
    }

    fn find_below(&self, host: &str, path: &[u8]) -> Option<&Arc<LiveService>> {
        if self.below.is_empty() {
            return None;
        }
        let first = host.len().saturating_sub(self.longest_below).max(1);
        let mut dots = host.char_indices().filter(|&(at, letter)| at >= first && letter == '.');
        dots.find_map(|(dot, _)| self.below.get(&host[dot..])?.find(path))
    }
}

/// The paths of one host.
#[derive(Debug, Default)]
struct Paths {
    services: HashMap<Box<[u8]>, Arc<LiveService>>,
    /// Length of the longest path; see [`Ways::longest_below`].
    longest: usize,
}

impl Paths {
    fn add(&mut self, path: &str, service: &Arc<LiveService>) {
        self.longest = self.longest.max(path.len());
        let known = self.services.entry(path.as_bytes().into());
        known.or_insert_with(|| Arc::clone(service));
    }

    fn find(&self, path: &[u8]) -> Option<&Arc<LiveService>> {
        let whole = if path.len() <= self.longest { self.services.get(path) } else { None };
        if whole.is_some() {
            return whole;
        }
        let mut end = path.len().min(self.longest + 1);
        while let Some(slash) = memrchr(b'/', &path[..end]) {
            // `/api/` covers what is below it; `/api` that and itself.
            let found = self.services.get(&path[..=slash]);
            let found = found.or_else(|| self.services.get(&path[..slash]));
            if found.is_some() {
                return found;
            }
            end = slash;
        }
        None
    }
}
