//! What the proxy does for a service that asks for it under `x-marline`, seen by a client.

use std::process::Command;

use crate::carry::service;
use crate::world::{World, free_port, get};

/// A repository with one web service, published at a free port.
struct Shop {
    world: World,
    port: u16,
}

impl Shop {
    /// Makes the repository; `marline` is what stands in `x-marline` beside the path of the probe.
    fn new(marline: &str) -> Self {
        let (world, port) = (World::new(), free_port());
        let compose = format!(
            "services:\n  web:\n    build: .\n    command: python3 web.py\n    \
             ports: [\"{port}:8000\"]\n    x-marline: {{http: /up, {marline}}}\n"
        );
        let files = [("web.py", &*service("one", "False")), ("compose.yaml", &*compose)];
        let ignored = (".gitignore", "/tls/\n");
        world.commit("first", &[files[0], files[1], ignored]);
        Self { world, port }
    }

    /// Makes a certificate for `shop.test` that vouches for itself, outside of what is committed.
    fn with_certificate(self) -> Self {
        let directory = self.world.path().join("tls");
        std::fs::create_dir_all(&directory).unwrap();
        let made = Command::new("openssl")
            .current_dir(directory)
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"])
            .args(["-nodes", "-days", "2", "-subj", "/CN=shop.test", "-keyout", "shop.key"])
            .args(["-out", "shop.pem", "-addext", "subjectAltName=DNS:shop.test"])
            .output()
            .expect("openssl is installed");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        self
    }

    fn up(mut self) -> Self {
        self.world.up();
        self.world.wait_deployed();
        self
    }

    /// Asks by curl for an address of `shop.test`; gives all heads and the body.
    fn curl(&self, url: &str, more: &[&str]) -> String {
        let output = Command::new("curl")
            .args([
                "-sS",
                "-i",
                "--max-time",
                "20",
                "--noproxy",
                "*",
                "--connect-to",
                "::127.0.0.1:",
            ])
            .arg("--cacert")
            .arg(self.world.path().join("tls/shop.pem"))
            .args(more)
            .arg(url)
            .output()
            .expect("curl is installed");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{}\n{}", text(&output.stderr), self.world.story());
        text(&output.stdout)
    }
}

#[test]
fn a_service_is_served_by_https_and_who_comes_plainly_is_sent_on() {
    let plain = free_port();
    let tls = format!(
        "hosts: [shop.test], tls: {{certificate: tls/shop.pem, key: tls/shop.key, hsts: 24h, \
         redirect: {plain}}}"
    );
    let shop = Shop::new(&tls).with_certificate().up();
    let answer = shop.curl(&format!("https://shop.test:{}/", shop.port), &["--http2"]);
    assert!(answer.starts_with("HTTP/2 200"), "{answer}");
    assert!(answer.contains("strict-transport-security: max-age=86400"), "{answer}");
    assert!(answer.ends_with("one"), "{answer}");
    let sent_on = shop.curl(&format!("http://shop.test:{plain}/a?b"), &["-L", "--http1.1"]);
    assert!(sent_on.starts_with("HTTP/1.1 308"), "{sent_on}");
    assert!(sent_on.contains(&format!("location: https://shop.test:{}/a?b", shop.port)));
    assert!(sent_on.ends_with("one"), "{sent_on}");
    let address = format!("https://127.0.0.1:{}", shop.port);
    shop.world.marline(["status"]).ends(0).says(&address);
}

#[test]
fn a_certificate_that_cannot_be_used_is_told_with_its_place_before_anything_starts() {
    let tls = "hosts: [shop.test], tls: {certificate: tls/shop.pem, key: tls/shop.key}";
    let shop = Shop::new(tls);
    let said = shop.world.marline(["up"]).ends(1);
    said.says("compose.yaml:6:53").says("tls/shop.pem cannot be read");
}

#[test]
fn what_a_service_wants_of_the_proxy_is_done() {
    let mut shop = Shop::new(
        "access_log: json, trace: true, rate_limit: {average: 2, period: 1h}, hold: 5s, \
         circuit_breakers: {max_requests: 10}, outlier_detection: {}, retry_budget: {}",
    )
    .up();
    let asked = |path: &str| get(shop.port, path).expect("it is served").0;
    assert_eq!([asked("/?token=abc"), asked("/"), asked("/")], [200, 200, 429]);
    let log = shop.world.state().join("proxy/access/web.log");
    let read = || std::fs::read_to_string(&log).unwrap_or_default();
    shop.world.wait_until("the log is written", |_| read().lines().count() == 3);
    let first = read().lines().next().unwrap().to_owned();
    assert!(first.contains("\"query\":\"token=***\"") && first.contains("trace_id"), "{first}");
}

#[test]
fn maintenance_shows_the_page_of_the_commit_with_the_status_that_is_true() {
    let port = free_port();
    let compose = |maintenance: &str| {
        format!(
            "services:\n  web:\n    build: .\n    command: python3 web.py\n    \
             ports: [\"{port}:8000\"]\n    x-marline: {{http: /up, sticky: cookie, compress: true, \
             error_pages: {{5xx: pages/back.html}}, maintenance: {maintenance}, \
             strategy: blue-green}}\n    deploy: {{update_config: {{monitor: 1s}}}}\n"
        )
    };
    let mut world = World::new();
    world.commit(
        "first",
        &[("web.py", &service("one", "False")), ("compose.yaml", &compose("true"))],
    );
    world.marline(["up"]).ends(1).says("compose.yaml:6:79").says("`pages/back.html` is not a text");
    world.commit("page", &[("pages/back.html", "<p>Soon back</p>")]);
    world.up();
    world.wait_deployed();
    assert_eq!(get(port, "/"), Some((503, "<p>Soon back</p>".into())));
    world.commit("over", &[("compose.yaml", &compose("false"))]);
    world.wait_deployed();
    assert_eq!(get(port, "/"), Some((200, "one".into())));
    world.marline(["maintenance", "on", "web"]).ends(0).says("marline maintenance off web");
    assert_eq!(get(port, "/"), Some((503, "<p>Soon back</p>".into())));
    world.marline(["timeline"]).ends(0).says("web is being maintained");
    world.marline(["maintenance", "off", "web"]).ends(0);
    assert_eq!(get(port, "/"), Some((200, "one".into())));
    world.marline(["maintenance", "on", "wbe"]).ends(1).says("wbe");
}
