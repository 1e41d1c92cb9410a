//! A store of series by itself: Prometheus' own tools ask it, and it loses nothing.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;

/// `marline metrics serve`, killed at the end.
struct Served {
    child: Child,
    address: String,
}

impl Served {
    fn start(state: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_marline"))
            .args(["metrics", "serve", "--listen", "127.0.0.1:0", "--state"])
            .arg(state)
            .stderr(Stdio::piped())
            .spawn()
            .expect("start");
        let mut lines = BufReader::new(child.stderr.take().expect("its words")).lines();
        let address = lines
            .find_map(|line| {
                let line = line.expect("a line");
                let (_, rest) = line.split_once("http://")?;
                Some(rest.split(';').next().unwrap_or_default().to_owned())
            })
            .expect("it says where it listens");
        // Whatever it says later must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address }
    }

    fn ask(&self, path: &str) -> (u16, Value) {
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        self.exchange(request.as_bytes())
    }

    fn exchange(&self, request: &[u8]) -> (u16, Value) {
        let mut stream = TcpStream::connect(&self.address).expect("connect");
        stream.write_all(request).expect("ask");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        (status.expect("a status"), serde_json::from_str(body).unwrap_or(Value::Null))
    }

    /// Writes `up{job="web"}` by remote write, version 1, packed without gain.
    fn write(&self, value: f64, at: i64) -> u16 {
        let field =
            |number: u8, bytes: &[u8]| [&[number << 3 | 2, bytes.len() as u8], bytes].concat();
        let label = |name: &str, value: &str| {
            field(1, &[field(1, name.as_bytes()), field(2, value.as_bytes())].concat())
        };
        let mut sample = vec![0x09];
        sample.extend_from_slice(&value.to_bits().to_le_bytes());
        sample.push(0x10);
        let mut rest = at as u64;
        while rest > 127 {
            sample.push(rest as u8 | 128);
            rest >>= 7;
        }
        sample.push(rest as u8);
        let series = [label("__name__", "up"), label("job", "web"), field(2, &sample)].concat();
        let message = field(1, &series);
        let packed =
            [&[message.len() as u8, 60 << 2, message.len() as u8 - 1], &message[..]].concat();
        let head = format!(
            "POST /api/v1/write HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
             content-type: application/x-protobuf\r\ncontent-encoding: snappy\r\n\
             content-length: {}\r\n\r\n",
            packed.len()
        );
        self.exchange(&[head.as_bytes(), &packed].concat()).0
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    since.as_millis() as i64
}

#[test]
fn samples_that_were_taken_are_there_after_a_kill() {
    let directory = tempfile::tempdir().expect("a directory");
    let served = Served::start(directory.path());
    let at = now();
    assert_eq!(served.write(1.5, at - 1000), 204);
    assert_eq!(served.write(2.5, at), 204);
    drop(served);

    let served = Served::start(directory.path());
    let (status, answer) =
        served.ask(&format!("/api/v1/query?query=up[1m]&time={}", at / 1000 + 1));
    assert_eq!(status, 200);
    let values = &answer["data"]["result"][0]["values"];
    assert_eq!((&values[0][1], &values[1][1]), (&"1.5".into(), &"2.5".into()), "{answer}");
    assert_eq!(answer["data"]["result"][0]["metric"]["job"], "web");

    let (status, answer) = served.ask("/api/v1/query?query=rat(up[1m])");
    assert_eq!((status, &answer["errorType"]), (400, &"bad_data".into()));
    assert_eq!(
        answer["error"],
        "invalid parameter \"query\": 1:1: parse error: no function is called `rat`; did you mean \
         `rate`?"
    );
    let (_, answer) = served.ask("/api/v1/label/job/values");
    assert_eq!(answer["data"], serde_json::json!(["web"]));
    let (status, answer) = served.ask("/api/v1/series");
    assert_eq!((status, &answer["error"]), (400, &"no match[] parameter provided".into()));
}

fn is_there(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output();
    let found = found.is_ok_and(|output| output.status.success());
    if !found {
        println!("skipped: no {program} here; scripts/setup-peers installs it");
    }
    found
}

#[test]
fn promtool_asks_it_as_it_asks_prometheus() {
    if !is_there("promtool") {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let served = Served::start(directory.path());
    let at = now();
    assert_eq!(served.write(3.0, at - 1000), 204);
    let url = format!("http://{}", served.address);
    let seconds = (at / 1000).to_string();
    let ask = |arguments: &[&str]| {
        let output = Command::new("promtool").arg("query").args(arguments).output().expect("run");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        text
    };
    let text = ask(&["instant", "--time", &seconds, &url, "up * 2"]);
    assert!(text.starts_with("{job=\"web\"} => 6 @["), "{text}");
    let start = (at / 1000 - 60).to_string();
    let text = ask(&["range", "--start", &start, "--end", &seconds, "--step", "5s", &url, "up"]);
    assert!(text.contains("up{job=\"web\"}") && text.contains("3 @["), "{text}");
    let text = ask(&["series", "--match", "up", "--start", &start, &url]);
    assert!(text.contains("job=\"web\""), "{text}");
    let text = ask(&["labels", &url, "job"]);
    assert_eq!(text.trim(), "web");
}

#[test]
fn a_real_prometheus_writes_into_it() {
    if !is_there("prometheus") {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let served = Served::start(&directory.path().join("series"));
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let own = free.expect("a free port").to_string();
    let configuration = format!(
        "global:\n  scrape_interval: 1s\nscrape_configs:\n  - job_name: itself\n    \
         static_configs:\n      - targets: ['{own}']\nremote_write:\n  - url: http://{}/api/v1/write\n",
        served.address
    );
    let file = directory.path().join("prometheus.yml");
    std::fs::write(&file, configuration).expect("write the configuration");
    let mut prometheus = Command::new("prometheus")
        .arg(format!("--config.file={}", file.display()))
        .arg(format!("--storage.tsdb.path={}", directory.path().join("peer").display()))
        .arg(format!("--web.listen-address={own}"))
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("start Prometheus");
    let began = Instant::now();
    let wrote = loop {
        let (_, answer) = served.ask("/api/v1/query?query=up");
        let value = answer["data"]["result"][0]["value"][1].clone();
        if value == "1" {
            break true;
        }
        if began.elapsed() > Duration::from_secs(90) {
            break false;
        }
        std::thread::yield_now();
    };
    prometheus.kill().expect("stop Prometheus");
    prometheus.wait().expect("it ends");
    assert!(wrote, "nothing came in 90 s");
}
