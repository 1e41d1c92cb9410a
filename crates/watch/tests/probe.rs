//! What probes say about real sockets on loopback.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use watch::check::Probed;
use watch::probe::{CommandOutput, PROBES, Probe, Target};

/// Answers one connection with these bytes, or never if there are none.
async fn server(answer: Option<&'static str>) -> (Target, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let target = Target::at(listener.local_addr().expect("an address"));
    let served = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut request = vec![0; 4096];
        let read = stream.read(&mut request).await.unwrap_or(0);
        match answer {
            Some(answer) => stream.write_all(answer.as_bytes()).await.expect("written"),
            None => drop(stream.read(&mut request).await),
        }
        String::from_utf8_lossy(&request[..read]).into_owned()
    });
    (target, served)
}

async fn ask(name: &str, target: &Target) -> Probed {
    Probe::named(name).expect("a probe").ask(target).await
}

#[tokio::test]
async fn an_answer_below_400_is_well_and_the_path_and_host_are_asked_for() {
    let (target, served) = server(Some("HTTP/1.1 204 No Content\r\n\r\n")).await;
    let target = Target { path: "/up?full=1".to_owned(), host: "shop.test".to_owned(), ..target };
    let probed = ask("http", &target).await;
    assert_eq!((probed.well, probed.said.as_str()), (true, "204 No Content"));
    let request = served.await.expect("served").to_ascii_lowercase();
    assert!(request.starts_with("get /up?full=1 http/1.1\r\n"), "{request}");
    assert!(request.contains("host: shop.test\r\n"), "{request}");
}

#[tokio::test]
async fn answers_that_are_not_well_say_why() {
    let table = [
        (
            "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n",
            "503 Service Unavailable",
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc",
            "200 OK, and then the answer broke off",
        ),
        ("", "the connection was closed before the answer was whole"),
    ];
    for (answer, said) in table {
        let (target, _served) = server(Some(answer)).await;
        let probed = ask("http", &target).await;
        assert_eq!((probed.well, probed.said.as_str()), (false, said));
    }
    let (target, _served) = server(Some("SSH-2.0-OpenSSH\r\n\r\n")).await;
    assert!(ask("http", &target).await.said.starts_with("the answer is not HTTP"));
}

#[tokio::test]
async fn one_that_does_not_answer_in_time_is_not_waited_for() {
    let (target, served) = server(None).await;
    let target = Target { timeout: Duration::from_millis(50), ..target };
    let probed = ask("http", &target).await;
    assert_eq!((probed.well, probed.said.as_str()), (false, "no answer within 50 ms"));
    served.abort();
}

#[tokio::test]
async fn nobody_listening_is_said_in_words() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let target = Target::at(listener.local_addr().expect("an address"));
    assert!(ask("tcp", &target).await.well);
    drop(listener);
    for name in ["tcp", "http"] {
        let probed = ask(name, &target).await;
        assert_eq!(
            (probed.well, probed.said.as_str()),
            (false, "connection refused: nothing listens there")
        );
    }
}

#[tokio::test]
async fn a_command_is_run_by_the_caller_and_its_last_line_is_told() {
    let target = |exit: Result<i32, String>| Target {
        command: vec!["pg_isready".to_owned()],
        run: Some(Arc::new(move |command| {
            let exit = exit.clone();
            Box::pin(async move {
                CommandOutput { exit, output: format!("{}\nno response\n\n", command[0]) }
            })
        })),
        ..Target::at(([127, 0, 0, 1], 1).into())
    };
    let said = ask("command", &target(Ok(2))).await;
    assert_eq!((said.well, said.said.as_str()), (false, "exit code 2: no response"));
    assert!(ask("command", &target(Ok(0))).await.well);
    let said = ask("command", &target(Err("not found".to_owned()))).await;
    assert_eq!(said.said, "not found: no response");
    let without = Target::at(([127, 0, 0, 1], 1).into());
    assert!(!ask("command", &without).await.well);
}

#[test]
fn every_probe_is_found_by_its_name() {
    for probe in PROBES {
        assert_eq!(Probe::named(probe.name).expect("a probe").asks, probe.asks);
    }
    assert!(Probe::named("telepathy").is_none());
}
