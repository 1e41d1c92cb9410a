//! The machine's clock is set while a release goes out.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use journal::Fact;

use crate::carry::{Users, compose, service};
use crate::world::{World, free_port, peer_is_missing};

/// How long each share of the new release lasts.
const STEP: Duration = Duration::from_secs(4);

#[test]
fn a_clock_that_is_set_ends_no_step_early_and_holds_none_back() {
    let Some(library) = fake_clock() else {
        return peer_is_missing("a_clock_that_is_set_…", "libfaketime");
    };
    let port = free_port();
    let compose = compose(port).replace("monitor: 1s", "monitor: 4s");
    let mut world = World::with(&[("web.py", &service("v0", "False")), ("compose.yaml", &compose)]);
    let offset = tempfile::NamedTempFile::new().unwrap();
    fs::write(&offset, "+0").unwrap();
    world.up_in(
        &[],
        &[
            ("LD_PRELOAD", library.as_os_str()),
            ("FAKETIME_TIMESTAMP_FILE", offset.path().as_os_str()),
            ("FAKETIME_NO_CACHE", "1".as_ref()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".as_ref()),
        ],
    );
    world.wait_deployed();
    let users = Users::ask(port, 2);

    for (version, set) in [("v1", "+3600"), ("v2", "-3600")] {
        world.commit(version, &[("web.py", &service(version, "False"))]);
        world.wait_for("a share of the traffic", |fact| {
            matches!(fact, Fact::TrafficShifted { deployment: Some(_), .. }).then_some(())
        });
        let shifted = Instant::now();
        fs::write(&offset, set).unwrap();
        world.wait_deployed();
        // Two steps; the clock may run a tenth fast to come back to the machine's.
        let took = shifted.elapsed();
        assert!(took >= STEP * 2 * 9 / 11, "set {set}: over after {took:?}\n{}", world.story());
    }
    assert_eq!(users.stop(), 0, "{}", world.story());
    world.marline(["audit", "--verify"]).ends(0);
}

/// The library that answers programs who ask for the time.
pub fn fake_clock() -> Option<PathBuf> {
    let folders = ["x86_64-linux-gnu", "aarch64-linux-gnu"];
    let path = |folder| Path::new("/usr/lib").join(folder).join("faketime/libfaketimeMT.so.1");
    folders.map(path).into_iter().find(|path| path.exists())
}
