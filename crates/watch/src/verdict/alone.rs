//! The release against the service's own past, with no baseline left.

use super::log_mean_exp;

/// A test of "fails no more often than p₀" against a grid of larger rates.
#[derive(Debug, Clone)]
pub(super) struct Alone {
    /// The rate that is no cause for alarm.
    pub usual: f64,
    power: f64,
    rates: Vec<f64>,
    logs: Vec<f64>,
}

impl Alone {
    pub(super) fn new(usual: f64, dispersion: f64) -> Self {
        let usual = usual.clamp(1e-6, 0.9);
        let mut rates: Vec<f64> =
            (1..=8).map(|k| usual * f64::from(1 << k)).filter(|rate| *rate < 0.9).collect();
        rates.push(0.999);
        Self { usual, power: 1.0 / dispersion, logs: vec![0.0; rates.len()], rates }
    }

    pub(super) fn observe(&mut self, requests: u64, events: u64) {
        let (events, others) = (events as f64, requests.saturating_sub(events) as f64);
        for (log, rate) in self.logs.iter_mut().zip(&self.rates) {
            let likelihood = events * (rate / self.usual).ln()
                + others * ((1.0 - rate) / (1.0 - self.usual)).ln();
            // A floor: a release that was well for a day and then turns bad is found about as fast
            // as a fresh one. It turns "ever" into "on average once in e^8 / α requests".
            *log = (*log + self.power * likelihood).max(FLOOR);
        }
    }

    pub(super) fn log_odds(&self) -> f64 {
        log_mean_exp(&self.logs)
    }
}

/// How far a suspicion may sink, as a logarithm.
const FLOOR: f64 = -8.0;

/// Returns the rate that so many events of so many requests stay below with 99 % confidence
/// (Clopper and Pearson).
pub(super) fn upper_rate(events: u64, requests: u64) -> f64 {
    if requests == 0 || events >= requests {
        return 1.0;
    }
    let (mut low, mut high) = (events as f64 / requests as f64, 1.0);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if at_most(events, requests, middle) > 0.01 {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

/// Returns the chance of at most so many events when each request has one with this rate.
fn at_most(events: u64, requests: u64, rate: f64) -> f64 {
    // P(X ≤ e) = I₁₋ₚ(n − e, e + 1)
    incomplete_beta(1.0 - rate, (requests - events) as f64, events as f64 + 1.0)
}

/// The regularised incomplete beta function, by the continued fraction of Lentz.
#[allow(clippy::many_single_char_names, reason = "the letters of every textbook")]
fn incomplete_beta(x: f64, a: f64, b: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - incomplete_beta(1.0 - x, b, a);
    }
    let front =
        (ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (1.0 - x).ln()).exp() / a;
    let tiny = 1e-300;
    let solid = |value: f64| if value.abs() < tiny { tiny } else { value };
    let (mut c, mut d) = (1.0, 1.0 / solid(1.0 - (a + b) * x / (a + 1.0)));
    let mut fraction = d;
    for step in 1..500 {
        let m = f64::from(step);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        d = 1.0 / solid(1.0 + even * d);
        c = solid(1.0 + even / c);
        fraction *= d * c;
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        d = 1.0 / solid(1.0 + odd * d);
        c = solid(1.0 + odd / c);
        let change = d * c;
        fraction *= change;
        if (change - 1.0).abs() < 1e-12 {
            break;
        }
    }
    front * fraction
}

/// The logarithm of the gamma function, by Stirling's series after a shift to where it is exact.
fn ln_gamma(x: f64) -> f64 {
    let (mut x, mut shift) = (x, 0.0);
    while x < 10.0 {
        shift -= x.ln();
        x += 1.0;
    }
    let square = 1.0 / (x * x);
    let series =
        (1.0 / 12.0 - square * (1.0 / 360.0 - square * (1.0 / 1260.0 - square / 1680.0))) / x;
    shift + (x - 0.5) * x.ln() - x + 0.5 * std::f64::consts::TAU.ln() + series
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_upper_rate_is_that_of_clopper_and_pearson() {
        // Without an event the bound is 1 − 0.01^(1/n).
        for requests in [1, 10, 1_000, 100_000] {
            let exact = 1.0 - 0.01f64.powf(1.0 / requests as f64);
            assert!((upper_rate(0, requests) - exact).abs() < 1e-9, "{requests}");
        }
        // One-sided 99 %: qbeta(0.99, 11, 990).
        assert!((upper_rate(10, 1_000) - 0.019_96).abs() < 2e-4, "{}", upper_rate(10, 1_000));
        assert!((upper_rate(5, 5) - 1.0).abs() < 1e-12);
        assert!((upper_rate(0, 0) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn the_chance_of_at_most_is_the_sum_of_the_binomial() {
        let (n, p) = (12u64, 0.3f64);
        let mut sum = 0.0;
        let mut term = (1.0 - p).powi(12);
        for events in 0..n {
            sum += term;
            assert!((at_most(events, n, p) - sum).abs() < 1e-10, "{events}");
            term *= (n - events) as f64 / (events + 1) as f64 * p / (1.0 - p);
        }
    }
}
