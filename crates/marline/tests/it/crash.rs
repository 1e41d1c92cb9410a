//! `kill -9` of the conductor at random moments: no service stops, nothing is lost.

use std::time::{Duration, Instant};

use journal::Fact;

use crate::carry::{Users, compose, service};
use crate::world::{World, free_port, get};

/// How often the conductor is killed; `MARLINE_KILLS` asks for more.
const KILLS: u64 = 12;

#[test]
fn a_killed_conductor_loses_nothing_and_stops_nothing() {
    let kills = std::env::var("MARLINE_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(KILLS);
    let seed: u64 =
        std::env::var("MARLINE_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or_else(|| {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
            now.subsec_nanos().into()
        });
    println!("MARLINE_SEED={seed} MARLINE_KILLS={kills}");
    let mut dice = Dice(seed | 1);

    let port = free_port();
    let mut world = World::new();
    world.commit(
        "first",
        &[
            ("web.py", &service("v0", "False")),
            ("compose.yaml", &compose(port)),
            (
                ".github/workflows/ci.yml",
                "on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n      - uses: actions/checkout@v4\n      - run: python3 -m py_compile web.py\n",
            ),
        ],
    );
    world.up();
    world.wait_deployed();
    let users = Users::ask(port, 2);
    let mut version = 0;
    for kill in 0..kills {
        if kill % 3 == 0 {
            version += 1;
            world.commit("next", &[("web.py", &service(&format!("v{version}"), "False"))]);
        }
        let moment = Duration::from_millis(dice.below(1_500));
        let until = Instant::now() + moment;
        while Instant::now() < until {
            crate::world::pause();
        }
        world.kill_conductor();
        assert!(
            get(port, "/").is_some_and(|(status, _)| status == 200),
            "kill {kill}, seed {seed}"
        );
        let verified = world.journal().verify().unwrap();
        assert!(verified.is_ok(), "kill {kill}, seed {seed}: {verified:?}");
        world.up();
    }
    let wanted = format!("v{version}");
    world.wait_until("the newest commit serves", |_| {
        get(port, "/").is_some_and(|(_, body)| body == wanted)
    });
    world.wait_until("nothing is under way", |world| {
        let view = world.view();
        view.deployments.values().all(journal::view::Deployment::is_over)
            && view.running().next().is_none()
    });
    assert_eq!(users.stop(), 0, "seed {seed}\n{}", world.story());

    // What must happen once happened once.
    let events = world.journal().read(journal::EventId(0), 100_000).unwrap();
    let mut cut = std::collections::BTreeSet::new();
    for event in &events {
        if let Fact::ReleaseCut { commit, .. } = &event.fact {
            assert!(cut.insert(commit.clone()), "two releases of one commit, seed {seed}");
        }
    }
}

/// Numbers that can be had again by their seed (xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % most
    }
}
