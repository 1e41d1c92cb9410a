//! How often one client may ask: a token bucket each.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, PoisonError},
};

use super::{RateLimit, instance::now_ms};

/// How many parts the clients are in, so that they seldom wait for each other.
const PARTS: usize = 16;

/// Most clients remembered in one part. When there are more, those with a full bucket go first.
const MOST_CLIENTS: usize = 16 * 1_024;

/// The token buckets of the clients of a service.
#[derive(Debug)]
pub(super) struct Limiter {
    pub asked: RateLimit,
    /// How many microseconds one request costs.
    cost: u64,
    /// How many microseconds a full bucket holds.
    depth: u64,
    /// By client: when its bucket will be full again, in microseconds of the clock of the process.
    ///
    /// That one number is the whole bucket; see the generic cell rate algorithm, ITU-T I.371.
    parts: [Mutex<HashMap<IpAddr, u64>>; PARTS],
}

impl Limiter {
    pub fn new(asked: RateLimit) -> Self {
        let cost = (asked.period_ms * 1_000 / u64::from(asked.average.max(1))).max(1);
        let depth = cost * u64::from(asked.burst.max(1));
        Self { asked, cost, depth, parts: Default::default() }
    }

    /// Takes a token of a client, or says after how many seconds there will be one.
    pub fn take(&self, client: IpAddr) -> Result<(), u64> {
        self.take_at(client, now_ms() * 1_000)
    }

    fn take_at(&self, client: IpAddr, now: u64) -> Result<(), u64> {
        let client = network(client);
        let part = match client {
            IpAddr::V4(address) => usize::from(address.octets()[3]),
            IpAddr::V6(address) => usize::from(address.octets()[7]),
        };
        let part = &self.parts[part % PARTS];
        let mut part = part.lock().unwrap_or_else(PoisonError::into_inner);
        if part.len() >= MOST_CLIENTS && !part.contains_key(&client) {
            part.retain(|_, full| *full > now);
            if part.len() >= MOST_CLIENTS {
                // So many at once are no client of ours; they cost no more memory.
                part.clear();
            }
        }
        let full = part.entry(client).or_insert(now);
        let after = (*full).max(now) + self.cost;
        if after - now > self.depth {
            return Err((after - now - self.depth).div_ceil(1_000_000).max(1));
        }
        *full = after;
        Ok(())
    }
}

/// Returns whom an address belongs to: one home or machine has a whole /64 of IPv6.
fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        IpAddr::V4(address) => IpAddr::V4(address),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_a_burst_and_fills_at_the_average() {
        let limiter = Limiter::new(RateLimit { average: 10, period_ms: 1_000, burst: 3 });
        let client = IpAddr::from([10, 0, 0, 1]);
        let took = |at_ms: u64| limiter.take_at(client, at_ms * 1_000);
        for (at, result) in [
            (0, Ok(())),
            (0, Ok(())),
            (0, Ok(())),
            (0, Err(1)),
            (99, Err(1)),
            (100, Ok(())),
            (100, Err(1)),
            (5_000, Ok(())),
            (5_000, Ok(())),
            (5_000, Ok(())),
            (5_000, Err(1)),
        ] {
            assert_eq!(took(at), result, "at {at} ms");
        }
        assert_eq!(limiter.take_at(IpAddr::from([10, 0, 0, 2]), 0), Ok(()), "another client");
    }

    #[test]
    fn who_must_wait_is_told_how_long() {
        let limiter = Limiter::new(RateLimit { average: 1, period_ms: 60_000, burst: 1 });
        let home = |last: u16| IpAddr::from([0x2001, 0xdb8, 0, 7, 0, 0, 0, last]);
        assert_eq!(limiter.take_at(home(1), 0), Ok(()));
        assert_eq!(limiter.take_at(home(2), 0), Err(60), "the same network");
        assert_eq!(limiter.take_at(home(2), 59_500_000), Err(1));
        assert_eq!(limiter.take_at(home(2), 60_000_000), Ok(()));
    }

    #[test]
    fn many_clients_take_bounded_memory() {
        let limiter = Limiter::new(RateLimit { average: 1, period_ms: 1_000, burst: 1 });
        for client in 0..2 * (PARTS * MOST_CLIENTS) as u32 {
            let _ = limiter.take_at(IpAddr::from(client.to_be_bytes()), 0);
        }
        let lens = limiter.parts.iter().map(|part| part.lock().expect("nobody panicked").len());
        assert!(lens.max() <= Some(MOST_CLIENTS));
    }
}
