//! Finds the service for a host and path; as quickly among a thousand routes as among one.

use std::{collections::HashMap, sync::Arc};

use memchr::memrchr;

use super::{Route, table::LiveService};

/// What the conditions of routes look at.
pub(super) trait Seen: Sync {
    fn method(&self) -> &[u8];
    fn header(&self, name: &str) -> Option<&[u8]>;
}

impl Seen for http::request::Parts {
    fn method(&self) -> &[u8] {
        self.method.as_str().as_bytes()
    }

    fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.get(name).map(http::HeaderValue::as_bytes)
    }
}

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
        paths.add(route, service);
    }

    /// Returns the service of the most specific route: exact host, then the longest wildcard, then
    /// any host; among those of one host, the longest path.
    pub fn find(&self, host: &str, path: &str, seen: &dyn Seen) -> Option<&Arc<LiveService>> {
        let path = path.as_bytes();
        let exact = || self.exact.get(host)?.find(path, seen);
        exact().or_else(|| self.find_below(host, path, seen)).or_else(|| self.any.find(path, seen))
    }

    fn find_below(&self, host: &str, path: &[u8], seen: &dyn Seen) -> Option<&Arc<LiveService>> {
        if self.below.is_empty() {
            return None;
        }
        let first = host.len().saturating_sub(self.longest_below).max(1);
        let mut dots = host.char_indices().filter(|&(at, letter)| at >= first && letter == '.');
        dots.find_map(|(dot, _)| self.below.get(&host[dot..])?.find(path, seen))
    }
}

/// The paths of one host.
#[derive(Debug, Default)]
struct Paths {
    places: HashMap<Box<[u8]>, Place>,
    /// Length of the longest path; see [`Ways::longest_below`].
    longest: usize,
}

/// The services at one path.
#[derive(Debug, Default)]
struct Place {
    /// Those with conditions, the most of them first.
    conditioned: Vec<(Conditions, Arc<LiveService>)>,
    any: Option<Arc<LiveService>>,
}

/// What a request must be like.
#[derive(Debug, PartialEq, Eq)]
struct Conditions {
    methods: Vec<String>,
    headers: Vec<(String, String)>,
}

impl Conditions {
    fn count(&self) -> usize {
        self.headers.len() + usize::from(!self.methods.is_empty())
    }

    fn hold(&self, seen: &dyn Seen) -> bool {
        let is_method = |method: &String| method.as_bytes() == seen.method();
        let mut headers = self.headers.iter();
        (self.methods.is_empty() || self.methods.iter().any(is_method))
            && headers.all(|(name, value)| seen.header(name) == Some(value.as_bytes()))
    }
}

impl Place {
    fn add(&mut self, route: &Route, service: &Arc<LiveService>) {
        let headers = route.headers.iter().map(|(name, value)| (name.clone(), value.clone()));
        let conditions = Conditions { methods: route.methods.clone(), headers: headers.collect() };
        if conditions.count() == 0 {
            self.any.get_or_insert_with(|| Arc::clone(service));
        } else if self.conditioned.iter().all(|(known, _)| *known != conditions) {
            self.conditioned.push((conditions, Arc::clone(service)));
            self.conditioned.sort_by_key(|(known, _)| std::cmp::Reverse(known.count()));
        }
    }

    fn find(&self, seen: &dyn Seen) -> Option<&Arc<LiveService>> {
        let found = self.conditioned.iter().find(|(conditions, _)| conditions.hold(seen));
        found.map(|(_, service)| service).or(self.any.as_ref())
    }
}

impl Paths {
    fn add(&mut self, route: &Route, service: &Arc<LiveService>) {
        self.longest = self.longest.max(route.path.len());
        self.places.entry(route.path.as_bytes().into()).or_default().add(route, service);
    }

    fn find(&self, path: &[u8], seen: &dyn Seen) -> Option<&Arc<LiveService>> {
        let at = |path: &[u8]| self.places.get(path)?.find(seen);
        let whole = if path.len() <= self.longest { at(path) } else { None };
        if whole.is_some() {
            return whole;
        }
        let mut end = path.len().min(self.longest + 1);
        while let Some(slash) = memrchr(b'/', &path[..end]) {
            // `/api/` covers what is below it; `/api` that and itself.
            let found = at(&path[..=slash]).or_else(|| at(&path[..slash]));
            if found.is_some() {
                return found;
            }
            end = slash;
        }
        None
    }
}
