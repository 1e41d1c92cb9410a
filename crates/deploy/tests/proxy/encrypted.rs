//! TLS from outside: certificates made by openssl, asked for by curl.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use deploy::proxy::{Certificate, ClientError, Refusal, Tls};
use tempfile::TempDir;
use tokio::{net::TcpStream, process::Command};

use super::{
    app::App,
    world::{Line, World},
};

/// Returns whether curl and openssl are there; says so where they are not.
async fn has_peers(test: &str) -> bool {
    for peer in ["curl", "openssl"] {
        let mut command = Command::new(peer);
        command.arg(if peer == "curl" { "--version" } else { "version" });
        if command.stdout(Stdio::null()).status().await.is_err() {
            let is_required = std::env::var_os("MARLINE_REQUIRE_PEERS").is_some();
            assert!(!is_required, "{test} needs {peer}");
            eprintln!("skipped: {test} needs {peer}");
            return false;
        }
    }
    true
}

/// Makes a certificate for the names, which vouches for itself.
async fn certificate(dir: &Path, file: &str, hosts: &[&str]) -> Certificate {
    let (chain, key) = (dir.join(format!("{file}.pem")), dir.join(format!("{file}.key")));
    let names: Vec<_> = hosts.iter().map(|host| format!("DNS:{host}")).collect();
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    openssl.args(["-nodes", "-days", "2", "-subj", "/CN=test", "-keyout"]).arg(&key);
    openssl.arg("-out").arg(&chain);
    openssl.arg("-addext").arg(format!("subjectAltName={}", names.join(",")));
    let made = openssl.output().await.expect("openssl runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    Certificate { hosts: hosts.iter().map(|&host| host.to_owned()).collect(), chain, key }
}

struct Encrypted {
    world: World,
    app: App,
    files: TempDir,
}

impl Encrypted {
    /// Starts a proxy that speaks TLS for `shop.test` and for all below `test.example`.
    async fn start(hsts_seconds: Option<u64>) -> Self {
        let files = TempDir::new().expect("a temporary directory");
        let certificates = vec![
            certificate(files.path(), "shop", &["shop.test"]).await,
            certificate(files.path(), "below", &["*.test.example"]).await,
        ];
        let (world, app) = (World::start().await, App::start("one").await);
        let mut routes = world.table(&[(&app, 10_000)]);
        // The listener of the empty table speaks plainly, and keeps doing so for who is connected.
        routes.listeners[0].tls = Some(Tls { certificates, hsts_seconds });
        world.client.set_routes(&routes).await.expect("the table is sound");
        Self { world, app, files }
    }

    fn chain(&self, file: &str) -> PathBuf {
        self.files.path().join(format!("{file}.pem"))
    }

    /// Asks by curl, which trusts one certificate only; gives head and body, or what it complained of.
    async fn curl(&self, trusted: &str, host: &str, more: &[&str]) -> Result<String, String> {
        let address = self.world.address();
        curl(address, &self.chain(trusted), &format!("https://{host}:{}/", address.port()), more)
            .await
    }
}

async fn curl(
    address: SocketAddr,
    trusted: &Path,
    url: &str,
    more: &[&str],
) -> Result<String, String> {
    let mut curl = Command::new("curl");
    curl.args(["-sS", "-i", "--max-time", "20", "--noproxy", "*", "--cacert"]).arg(trusted);
    curl.arg("--connect-to").arg(format!("::{}:{}", address.ip(), address.port()));
    let output = curl.args(more).arg(url).output().await.expect("curl runs");
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

#[tokio::test]
async fn tls_speaks_both_versions_and_says_so_to_the_application() {
    if !has_peers("tls_speaks_both_versions_and_says_so_to_the_application").await {
        return;
    }
    let encrypted = Encrypted::start(None).await;
    for (asked, first) in [("--http1.1", "HTTP/1.1 200"), ("--http2", "HTTP/2 200")] {
        let answer = encrypted.curl("shop", "shop.test", &[asked]).await.expect("it is served");
        assert!(answer.starts_with(first), "{answer}");
        assert!(answer.ends_with("one"), "{answer}");
        assert!(!answer.contains("strict-transport-security"), "nobody asked for it: {answer}");
    }
    assert_eq!(encrypted.app.requests(), 2);
}

#[tokio::test]
async fn each_name_gets_its_own_certificate() {
    if !has_peers("each_name_gets_its_own_certificate").await {
        return;
    }
    let encrypted = Encrypted::start(None).await;
    encrypted.curl("below", "a.test.example", &[]).await.expect("the wildcard covers it");
    encrypted.curl("below", "B.TEST.example", &[]).await.expect("case does not matter");
    encrypted.curl("shop", "shop.test", &[]).await.expect("the exact name");
    for host in ["a.b.test.example", "test.example", "other.test"] {
        let refused = encrypted.curl("below", host, &[]).await.expect_err("it is not covered");
        // They were shown the first certificate, which this client does not trust.
        assert!(refused.contains("certificate"), "{host}: {refused}");
    }
}

#[tokio::test]
async fn a_renewed_certificate_comes_into_force_with_the_next_table() {
    if !has_peers("a_renewed_certificate_comes_into_force_with_the_next_table").await {
        return;
    }
    let encrypted = Encrypted::start(None).await;
    let old = encrypted.files.path().join("old.pem");
    std::fs::copy(encrypted.chain("shop"), &old).expect("it is there");
    let renewed = certificate(encrypted.files.path(), "shop", &["shop.test"]).await;
    let url = format!("https://shop.test:{}/", encrypted.world.address().port());
    let address = encrypted.world.address();
    curl(address, &old, &url, &[]).await.expect("nothing changed yet");
    let mut routes = encrypted.world.table(&[(&encrypted.app, 10_000)]);
    let tls = Tls { certificates: vec![renewed], hsts_seconds: Some(600) };
    routes.listeners[0].tls = Some(tls);
    encrypted.world.client.set_routes(&routes).await.expect("the table is sound");
    let answer = encrypted.curl("shop", "shop.test", &[]).await.expect("the new one");
    assert!(answer.contains("strict-transport-security: max-age=600"), "{answer}");
    curl(address, &old, &url, &[]).await.expect_err("the old one is gone");
}

#[tokio::test]
async fn a_renewed_certificate_comes_into_force_by_itself_and_a_broken_one_does_not() {
    let test = "a_renewed_certificate_comes_into_force_by_itself_and_a_broken_one_does_not";
    if !has_peers(test).await {
        return;
    }
    let encrypted = Encrypted::start(None).await;
    let old = encrypted.files.path().join("old.pem");
    std::fs::copy(encrypted.chain("shop"), &old).expect("it is there");
    let url = format!("https://shop.test:{}/", encrypted.world.address().port());
    certificate(encrypted.files.path(), "shop", &["shop.test"]).await;
    let end = std::time::Instant::now() + Duration::from_secs(20);
    while curl(encrypted.world.address(), &old, &url, &[]).await.is_ok() {
        assert!(std::time::Instant::now() < end, "it was never renewed");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    encrypted.curl("shop", "shop.test", &[]).await.expect("the new one");
    let good = encrypted.files.path().join("good.pem");
    std::fs::copy(encrypted.chain("shop"), &good).expect("it is there");
    std::fs::write(encrypted.chain("shop"), "not a certificate").expect("it is there");
    let mut routes = encrypted.world.table(&[(&encrypted.app, 10_000)]);
    let in_force = encrypted.world.client.routes().await.expect("the proxy runs");
    routes.listeners[0].tls.clone_from(&in_force.listeners[0].tls);
    encrypted.world.client.set_routes(&routes).await.expect("the one read before stays");
    curl(encrypted.world.address(), &good, &url, &[]).await.expect("the one read before");
}

#[tokio::test]
async fn who_speaks_plainly_to_an_encrypted_port_is_told() {
    if !has_peers("who_speaks_plainly_to_an_encrypted_port_is_told").await {
        return;
    }
    let encrypted = Encrypted::start(None).await;
    let mut line = Line::connect(encrypted.world.address()).await;
    let answer = line.get("/").await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.body, "This port is encrypted: ask for https://, not http.\n");
    assert_eq!(encrypted.app.requests(), 0);
    // Somebody who says nothing keeps nobody from being served.
    let _silent = TcpStream::connect(encrypted.world.address()).await.expect("it listens");
    encrypted.curl("shop", "shop.test", &[]).await.expect("it is served");
}

#[tokio::test]
async fn a_certificate_that_cannot_be_used_is_refused_and_the_table_before_stays() {
    let test = "a_certificate_that_cannot_be_used_is_refused_and_the_table_before_stays";
    if !has_peers(test).await {
        return;
    }
    let encrypted = Encrypted::start(None).await;
    let good = certificate(encrypted.files.path(), "good", &["good.test"]).await;
    let below = encrypted.files.path().join("below.key");
    let empty = encrypted.files.path().join("empty.pem");
    std::fs::write(&empty, "").expect("the directory is there");
    let gone = encrypted.files.path().join("gone.pem");
    let bad = [
        (Certificate { key: below, ..good.clone() }, "does not belong to the certificate"),
        (Certificate { chain: empty, ..good.clone() }, "holds no certificate"),
        (Certificate { chain: gone.clone(), ..good.clone() }, "gone.pem cannot be read"),
        (Certificate { key: gone, ..good.clone() }, "gone.pem cannot be read"),
        (Certificate { hosts: vec!["bad.test".into()], ..good }, "not valid for `bad.test`"),
    ];
    for (certificate, why) in bad {
        let mut routes = encrypted.world.table(&[(&encrypted.app, 10_000)]);
        let certificates = vec![certificate];
        routes.listeners[0].tls = Some(Tls { certificates, hsts_seconds: None });
        let refused = encrypted.world.client.set_routes(&routes).await;
        let Err(ClientError::Refused(Refusal::Certificate { reason })) = refused else {
            panic!("{refused:?}");
        };
        assert!(reason.contains(why), "{reason}");
        assert!(!reason.contains("PRIVATE"), "{reason}");
    }
    encrypted.curl("shop", "shop.test", &[]).await.expect("the table before is in force");
}

#[tokio::test]
async fn a_listener_sends_its_clients_on_to_https_without_losing_method_or_query() {
    let (world, app) = (World::start().await, App::start("one").await);
    for (port, place) in [(443, "https://shop.test/a?b=c"), (8443, "https://shop.test:8443/a?b=c")]
    {
        let mut routes = world.table(&[(&app, 10_000)]);
        routes.listeners[0].redirect = Some(port);
        world.client.set_routes(&routes).await.expect("the table is sound");
        let mut line = Line::connect(world.address()).await;
        let answer = line.ask("GET /a?b=c HTTP/1.1\r\nHost: Shop.test:80\r\n\r\n").await;
        assert_eq!(answer.status, 308);
        assert_eq!(answer.header("location"), Some(place));
        assert_eq!(answer.header("strict-transport-security"), None, "RFC 6797, 7.2");
    }
    assert_eq!(app.requests(), 0);
}

#[tokio::test]
async fn tables_that_contradict_themselves_about_tls_are_refused() {
    let (world, app) = (World::start().await, App::start("one").await);
    let tls = |certificates| Some(Tls { certificates, hsts_seconds: None });
    let (file, hosts) = (PathBuf::from("/nowhere"), vec!["*".to_owned()]);
    let odd = Certificate { hosts, chain: file.clone(), key: file };
    let bad = [
        (tls(vec![]), None, "speaks TLS and has no certificate"),
        (tls(vec![odd.clone()]), None, "`*` is not a host name"),
        (tls(vec![odd]), Some(443), "cannot send its clients on to HTTPS"),
    ];
    for (tls, redirect, why) in bad {
        let mut routes = world.table(&[(&app, 10_000)]);
        routes.listeners[0].tls = tls;
        routes.listeners[0].redirect = redirect;
        let refused = world.client.set_routes(&routes).await;
        let Err(ClientError::Refused(Refusal::Table { reason })) = refused else {
            panic!("{refused:?}");
        };
        assert!(reason.contains(why), "{reason}");
    }
}
