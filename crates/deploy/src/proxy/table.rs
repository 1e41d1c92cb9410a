//! The table in force, made ready for finding an instance quickly.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError, atomic::AtomicU32},
    time::{Duration, SystemTime},
};

use indexmap::IndexMap;
use journal::{InstanceId, ReleaseId, ServiceName};

use super::{
    Guards, Limits, OutlierDetection, Routes, Service, Target,
    access_log::{Log, Logs},
    breaker::{Breaker, Budget},
    count::{Counters, Hub, Owner},
    gate::Gate,
    instance::Instance,
    limiter::Limiter,
    share::{Deck, random_below},
    sticky::Sticky,
    tls,
    ways::{Seen, Ways},
};

/// How many tallies of instances that are gone are kept for those who have not read them yet.
const MOST_GONE: usize = 1_000;

/// A table in force.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub routes: Routes,
    /// How the listeners that speak TLS encrypt.
    pub tls: tls::Configs,
    /// The times of the files that `tls` was read from.
    pub tls_stamp: Vec<Option<SystemTime>>,
    ports: HashMap<SocketAddr, Port>,
    services: HashMap<ServiceName, Arc<LiveService>>,
}

#[derive(Debug)]
struct Port {
    guards: Guards,
    behind_proxy: bool,
    proxy_protocol: bool,
    redirect: Option<u16>,
    hsts_seconds: Option<u64>,
    ways: Ways,
}

impl Table {
    /// Returns the service that answers for a host (lower case, without port) and path.
    pub fn find(
        &self,
        listener: SocketAddr,
        host: &str,
        path: &str,
        seen: &dyn Seen,
    ) -> Option<&Arc<LiveService>> {
        let port = self.ports.get(&listener)?;
        port.ways.find(host, path, seen)
    }

    pub fn service(&self, name: &ServiceName) -> Option<&Arc<LiveService>> {
        self.services.get(name)
    }

    pub fn guards(&self, listener: SocketAddr) -> Guards {
        let port = self.ports.get(&listener);
        port.map_or_else(Guards::default, |port| port.guards.clone())
    }

    /// Returns the port of HTTPS that the clients of a listener are sent on to.
    pub fn redirect(&self, listener: SocketAddr) -> Option<u16> {
        self.ports.get(&listener)?.redirect
    }

    /// Returns for how many seconds browsers shall come back encrypted only.
    pub fn hsts_seconds(&self, listener: SocketAddr) -> Option<u64> {
        self.ports.get(&listener)?.hsts_seconds
    }

    pub fn expects_proxy_protocol(&self, listener: SocketAddr) -> bool {
        self.ports.get(&listener).is_some_and(|port| port.proxy_protocol)
    }

    pub fn is_behind_proxy(&self, listener: SocketAddr) -> bool {
        self.ports.get(&listener).is_some_and(|port| port.behind_proxy)
    }
}

/// A service of the table in force.
#[derive(Debug)]
pub(super) struct LiveService {
    pub name: ServiceName,
    pub limits: Limits,
    pub gate: Arc<Gate>,
    pub hub: Arc<Hub>,
    /// Counts the requests no instance could be found for.
    pub unserved: Arc<Counters>,
    pub log: Option<Arc<Log>>,
    pub trace: bool,
    pub limiter: Option<Arc<Limiter>>,
    pub breaker: Option<Arc<Breaker>>,
    pub hold: Duration,
    pub sticky: Option<Sticky>,
    /// What the table says of it.
    pub asked: Service,
    /// How many requests wait for an instance.
    pub held: Arc<AtomicU32>,
    outliers: Option<OutlierDetection>,
    budget: Arc<Budget>,
    releases: Vec<LiveRelease>,
    /// Only where more than one release gets requests.
    deck: Option<Mutex<Deck>>,
}

#[derive(Debug)]
struct LiveRelease {
    id: ReleaseId,
    instances: Vec<Arc<Instance>>,
}

impl LiveService {
    /// Returns whether it wants what only the long way over hyper does.
    pub fn goes_the_long_way(&self) -> bool {
        self.sticky.is_some() || self.asked.compress
    }

    /// Returns whether more than one release gets requests, so that every failure is news.
    pub fn is_contested(&self) -> bool {
        self.deck.is_some()
    }

    /// Chooses an instance for a request, and counts the request in.
    ///
    /// A release is dealt by weight; the less busy of two of its instances answers.
    pub fn enter(&self) -> Option<Arc<Instance>> {
        let dealt = match &self.deck {
            Some(deck) => deck.lock().unwrap_or_else(PoisonError::into_inner).deal(),
            None => 0,
        };
        // Where the whole release is being drained, another answers.
        let order = self.releases.iter().cycle().skip(dealt).take(self.releases.len());
        order.into_iter().find_map(|release| release.enter(&[]))
    }

    /// Takes a token of a client, where clients are limited; says how many seconds to wait if there
    /// is none.
    pub fn may_ask(&self, client: IpAddr) -> Result<(), u64> {
        self.limiter.as_ref().map_or(Ok(()), |limiter| limiter.take(client))
    }

    /// Returns whether a request may be tried again, and counts it against the budget.
    pub fn may_retry(&self) -> bool {
        let instances = self.releases.iter().flat_map(|release| &release.instances);
        self.budget.take(instances.map(|instance| instance.counters.requests()).sum())
    }

    /// Takes note of how an instance answered, and gives it no requests for a while if it fails
    /// again and again.
    pub fn judge(&self, instance: &Instance, is_bad: bool) {
        let Some(outliers) = &self.outliers else { return };
        if !is_bad {
            return instance.does_well();
        }
        if instance.fails_again() < outliers.consecutive_5xx.max(1) {
            return;
        }
        let release = self.releases.iter().find(|live| live.id == instance.target.release);
        let Some(all) = release.map(|release| &release.instances) else { return };
        let out = all.iter().filter(|other| other.is_ejected()).count();
        let most = (all.len() * outliers.max_ejection_percent as usize / 100).max(1);
        if !instance.is_ejected() && out < most && out + 1 < all.len() {
            instance.eject(outliers.base_ejection_ms);
        }
    }

    /// Chooses another instance of the same release, and counts the request in.
    pub fn enter_again(&self, release: &ReleaseId, tried: &[InstanceId]) -> Option<Arc<Instance>> {
        let release = self.releases.iter().find(|live| live.id == *release)?;
        release.enter(tried)
    }
}

impl LiveRelease {
    fn enter(&self, tried: &[InstanceId]) -> Option<Arc<Instance>> {
        if let ([only], []) = (self.instances.as_slice(), tried) {
            return only.enter().then(|| Arc::clone(only));
        }
        // Twice, because an instance may be closed between looking and entering.
        for _ in 0..2 {
            let mut fit: Vec<_> = self.instances.iter().collect();
            fit.retain(|one| !one.is_closed() && !tried.contains(&one.target.instance));
            if fit.iter().any(|one| !one.is_avoided()) {
                fit.retain(|one| !one.is_avoided());
            }
            let chosen = less_busy_of_two(&fit)?;
            if chosen.enter() {
                return Some(Arc::clone(chosen));
            }
        }
        None
    }
}

fn less_busy_of_two<'a>(instances: &[&'a Arc<Instance>]) -> Option<&'a Arc<Instance>> {
    match instances {
        [] => None,
        [only] => Some(only),
        _ => {
            let first = random_below(instances.len());
            let step = 1 + random_below(instances.len() - 1);
            let second = (first + step) % instances.len();
            let (first, second) = (instances[first], instances[second]);
            let busier = first.counters.in_flight() > second.counters.in_flight();
            Some(if busier { second } else { first })
        }
    }
}

/// What lives longer than a table: instances, counters, gates.
#[derive(Debug, Default)]
pub(super) struct Registry {
    instances: HashMap<InstanceId, Arc<Instance>>,
    counters: IndexMap<Owner, Arc<Counters>>,
    gates: HashMap<ServiceName, Arc<Gate>>,
    pub logs: Arc<Logs>,
}

impl Registry {
    /// Makes a table ready; nothing changes for requests until it is put in force.
    pub fn build(&mut self, routes: Routes, before: &Table, hub: &Arc<Hub>) -> Table {
        let mut services = HashMap::new();
        for (name, service) in &routes.services {
            let live = self.service(name, service, before.service(name), hub);
            services.insert(name.clone(), Arc::new(live));
        }
        let mut ports = HashMap::new();
        for listener in &routes.listeners {
            let mut ways = Ways::default();
            for route in &listener.routes {
                if let Some(service) = services.get(&route.service) {
                    ways.add(route, service);
                }
            }
            let port = Port {
                guards: listener.guards.clone(),
                behind_proxy: listener.behind_proxy,
                proxy_protocol: listener.proxy_protocol,
                redirect: listener.redirect,
                hsts_seconds: listener.tls.as_ref().and_then(|tls| tls.hsts_seconds),
                ways,
            };
            ports.insert(listener.address, port);
        }
        Table { routes, ports, services, ..Table::default() }
    }

    /// Opens what a table names, though it may have been drained before.
    pub fn reopen(&self, routes: &Routes) {
        for target in routes.services.values().flat_map(|service| &service.targets) {
            if let Some(instance) = self.instances.get(&target.instance) {
                instance.reopen();
            }
        }
    }

    /// Closes what the table in force no longer names, and forgets what is gone.
    pub fn close_unnamed(&mut self, routes: &Routes) {
        let named = routes.services.values().flat_map(|service| &service.targets);
        let named: HashSet<_> = named.map(|target| &target.instance).collect();
        self.instances.retain(|id, instance| {
            let is_named = named.contains(id);
            if !is_named {
                instance.close();
            }
            is_named || instance.counters.in_flight() > 0
        });
        self.gates.retain(|name, gate| routes.services.contains_key(name) || gate.is_closed());
        self.forget_the_oldest(routes);
    }

    pub fn instance(&self, id: &InstanceId) -> Option<Arc<Instance>> {
        self.instances.get(id).cloned()
    }

    pub fn instances(&self) -> Vec<Arc<Instance>> {
        self.instances.values().cloned().collect()
    }

    pub fn counters(&self) -> Vec<Arc<Counters>> {
        self.counters.values().cloned().collect()
    }

    pub fn gates(&self) -> impl Iterator<Item = (&ServiceName, &Arc<Gate>)> {
        self.gates.iter()
    }

    fn service(
        &mut self,
        name: &ServiceName,
        service: &Service,
        before: Option<&Arc<LiveService>>,
        hub: &Arc<Hub>,
    ) -> LiveService {
        let mut instances: BTreeMap<ReleaseId, Vec<Arc<Instance>>> = BTreeMap::new();
        for target in &service.targets {
            let instance = self.live(name, target);
            instances.entry(target.release.clone()).or_default().push(instance);
        }
        instances.retain(|release, _| service.weight(release) > 0);
        let weights: Vec<_> = instances.keys().map(|release| service.weight(release)).collect();
        let releases = instances.into_iter();
        let releases = releases.map(|(id, instances)| LiveRelease { id, instances });
        let releases: Vec<_> = releases.collect();
        let unserved = Owner { service: name.clone(), release: None, instance: None };
        let log = service.access_log.as_ref().map(|asked| {
            let same = before.and_then(|before| before.log.as_ref());
            let same = same.filter(|log| log.asked == *asked).cloned();
            let new = || Log::new(asked.clone(), name.clone(), Arc::clone(&self.logs));
            same.unwrap_or_else(|| Arc::new(new()))
        });
        let limiter = service.rate_limit.map(|asked| {
            let same = before.and_then(|before| before.limiter.as_ref());
            let same = same.filter(|limiter| limiter.asked == asked).cloned();
            same.unwrap_or_else(|| Arc::new(Limiter::new(asked)))
        });
        let breaker = service.circuit_breakers.map(|asked| {
            let same = before.and_then(|before| before.breaker.as_ref());
            let same = same.filter(|breaker| breaker.asked == asked).cloned();
            same.unwrap_or_else(|| Arc::new(Breaker::new(asked)))
        });
        let budget = before.map(|before| &before.budget);
        let budget = budget.filter(|budget| budget.asked == service.retry_budget).cloned();
        LiveService {
            log,
            trace: service.trace,
            limiter,
            breaker,
            hold: Duration::from_millis(service.hold_ms),
            held: before.map(|before| Arc::clone(&before.held)).unwrap_or_default(),
            outliers: service.outlier_detection,
            sticky: service.sticky.as_ref().map(|cookie| {
                let instances = releases.iter().flat_map(|release| &release.instances);
                Sticky::new(cookie, instances)
            }),
            // The targets are known otherwise.
            asked: Service { targets: Vec::new(), ..service.clone() },
            budget: budget.unwrap_or_else(|| Arc::new(Budget::new(service.retry_budget))),
            name: name.clone(),
            limits: service.limits.clone(),
            gate: Arc::clone(self.gates.entry(name.clone()).or_default()),
            hub: Arc::clone(hub),
            unserved: self.counter(unserved),
            deck: (weights.len() > 1).then(|| Mutex::new(carried_on(&releases, weights, before))),
            releases,
        }
    }

    fn live(&mut self, service: &ServiceName, target: &Target) -> Arc<Instance> {
        match self.instances.get(&target.instance) {
            Some(known) if known.target == *target && known.owner().service == *service => {
                Arc::clone(known)
            }
            known => {
                // The id moved to another address: the one before gets nothing more.
                if let Some(known) = known {
                    known.close();
                }
                let owner = Owner {
                    service: service.clone(),
                    release: Some(target.release.clone()),
                    instance: Some(target.instance.clone()),
                };
                let counters = self.counter(owner);
                let instance = Arc::new(Instance::new(target.clone(), counters));
                self.instances.insert(target.instance.clone(), Arc::clone(&instance));
                instance
            }
        }
    }

    fn counter(&mut self, owner: Owner) -> Arc<Counters> {
        let new = || Arc::new(Counters::new(owner.clone()));
        Arc::clone(self.counters.entry(owner.clone()).or_insert_with(new))
    }

    fn forget_the_oldest(&mut self, routes: &Routes) {
        let instances = &self.instances;
        let gone = |owner: &Owner| match &owner.instance {
            Some(instance) => !instances.contains_key(instance),
            None => !routes.services.contains_key(&owner.service),
        };
        let mut surplus = self.counters.keys().filter(|owner| gone(owner)).count();
        surplus = surplus.saturating_sub(MOST_GONE);
        self.counters.retain(|owner, _| {
            let forget = surplus > 0 && gone(owner);
            surplus -= usize::from(forget);
            !forget
        });
    }
}

/// Returns the deck of the table before, where nothing changed, so that its row is dealt to the end.
fn carried_on(
    releases: &[LiveRelease],
    weights: Vec<u16>,
    before: Option<&Arc<LiveService>>,
) -> Deck {
    let same = |before: &&Arc<LiveService>| {
        let ids = before.releases.iter().map(|release| &release.id);
        ids.eq(releases.iter().map(|release| &release.id))
    };
    let deck = before.filter(same).and_then(|before| before.deck.as_ref());
    let deck = deck.map(|deck| deck.lock().unwrap_or_else(PoisonError::into_inner).clone());
    deck.filter(|deck| deck.weights() == weights).unwrap_or_else(|| Deck::new(weights))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::Route, *};

    fn get() -> http::request::Parts {
        http::Request::new(()).into_parts().0
    }

    fn table(ways: &[(Option<&str>, &str, &str)]) -> (Table, SocketAddr) {
        let address = SocketAddr::from(([127, 0, 0, 1], 80));
        let mut routes = Routes { version: 1, ..Routes::default() };
        let mut listener = super::super::Listener::all_to(address, "unused");
        listener.routes.clear();
        for (host, path, service) in ways {
            routes.services.insert((*service).into(), Service::default());
            let host = host.map(str::to_owned);
            listener.routes.push(Route::new(host, (*path).to_owned(), (*service).into()));
        }
        routes.listeners.push(listener);
        routes.check().expect("the table is sound");
        let table = Registry::default().build(routes, &Table::default(), &Arc::default());
        (table, address)
    }

    #[test]
    fn the_most_specific_route_wins() {
        let (table, address) = table(&[
            (None, "/", "rest"),
            (None, "/api", "api"),
            (Some("*.shop.test"), "/", "tenants"),
            (Some("WWW.shop.test"), "/", "www"),
            (Some("www.shop.test"), "/api", "www-api"),
        ]);
        let found =
            |host, path| table.find(address, host, path, &get()).map(|live| live.name.to_string());
        let is = |host, path, name: &str| assert_eq!(found(host, path).as_deref(), Some(name));
        is("a.test", "/", "rest");
        is("a.test", "/api", "api");
        is("a.test", "/api/users", "api");
        is("a.test", "/apis", "rest");
        is("eu.shop.test", "/api", "tenants");
        is("shop.test", "/", "rest");
        is("www.shop.test", "/x", "www");
        is("www.shop.test", "/api/x", "www-api");
        let elsewhere = SocketAddr::from(([127, 0, 0, 1], 81));
        assert!(table.find(elsewhere, "a.test", "/", &get()).is_none());
    }

    /// Returns the service by the rule as it is documented, looking at every route.
    fn by_rule<'a>(
        ways: &[(Option<&str>, &str, &'a str)],
        host: &str,
        path: &str,
    ) -> Option<&'a str> {
        let covers = |way: &&(Option<&str>, &str, &str)| {
            let host_fits = match way.0 {
                None => true,
                Some(own) => match own.strip_prefix('*') {
                    Some(below) => host.len() > below.len() && host.ends_with(below),
                    None => host == own,
                },
            };
            let rest = path.strip_prefix(way.1);
            let fits =
                |rest: &str| rest.is_empty() || rest.starts_with('/') || way.1.ends_with('/');
            host_fits && rest.is_some_and(fits)
        };
        let specificity = |way: &&(Option<&str>, &str, &str)| match way.0 {
            None => (0, 0, way.1.len()),
            Some(own) if own.starts_with('*') => (1, own.len(), way.1.len()),
            Some(_) => (2, 0, way.1.len()),
        };
        // `max_by_key` gives the last of equals, and the first is meant.
        ways.iter().rev().filter(covers).max_by_key(specificity).map(|way| way.2)
    }

    proptest! {
        #[test]
        fn every_route_is_found_as_the_rule_says(
            ways in prop::collection::vec(
                (
                    prop::sample::select(vec![None, Some("a.b"), Some("*.a.b"), Some("*.b"), Some("c.a.b")]),
                    prop::sample::select(vec!["/", "/a", "/a/", "/a/b", "/a/b/", "//", "/ab"]),
                    prop::sample::select(vec!["one", "two", "three"]),
                ),
                0..8,
            ),
            host in prop::sample::select(vec!["", "b", ".b", "a.b", "c.a.b", "d.c.a.b", ".a.b", "x"]),
            path in "(/|a|b){0,6}|\\*",
        ) {
            let (table, address) = table(&ways);
            let found = table.find(address, host, &path, &get()).map(|live| live.name.to_string());
            prop_assert_eq!(found.as_deref(), by_rule(&ways, host, &path));
        }
    }
}
