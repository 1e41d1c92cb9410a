//! The users of the demo's shop: requests at a fixed rate, counted one by one.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use jiff::Timestamp;
use tokio::task::{JoinHandle, JoinSet};

/// How many carts the users ask for.
const CARTS: u64 = 40;

/// What became of the requests so far.
#[derive(Debug, Clone, Copy, Default)]
pub struct Count {
    /// All of them.
    pub requests: u64,
    /// Those without an answer, and those answered with a server error.
    pub failed: u64,
    /// When the first of them failed.
    pub first_failed: Option<Timestamp>,
}

/// Requests at a fixed rate, sent whether or not earlier ones were answered.
pub struct Load {
    count: Arc<Mutex<Count>>,
    sender: JoinHandle<()>,
}

impl Load {
    /// Begins to send `rate` requests a second to the shop on `port`.
    pub fn start(port: u16, rate: u32) -> Self {
        let count = Arc::new(Mutex::new(Count::default()));
        let counting = Arc::clone(&count);
        let sender = tokio::spawn(async move {
            let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
            let mut beat = tokio::time::interval(Duration::from_secs(1) / rate.max(1));
            let mut open = JoinSet::new();
            for number in 0_u64.. {
                beat.tick().await;
                while open.try_join_next().is_some() {}
                let path = if number.is_multiple_of(2) {
                    "/".to_owned()
                } else {
                    format!("/cart/{}", number / 2 % CARTS)
                };
                let uri = format!("http://127.0.0.1:{port}{path}");
                let (client, counting) = (client.clone(), Arc::clone(&counting));
                open.spawn(async move {
                    let is_good = ask(&client, &uri).await;
                    let mut count = counting.lock().unwrap_or_else(PoisonError::into_inner);
                    count.requests += 1;
                    if !is_good {
                        count.failed += 1;
                        count.first_failed.get_or_insert_with(Timestamp::now);
                    }
                });
            }
        });
        Self { count, sender }
    }

    /// Returns what became of the requests so far.
    pub fn count(&self) -> Count {
        *self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until so many requests were answered.
    pub async fn wait_for(&self, requests: u64) -> anyhow::Result<()> {
        let wait = async {
            while self.count().requests < requests {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), wait)
            .await
            .context("the shop answered no requests for 30 s")
    }

    /// Stops sending and returns what became of the requests.
    pub async fn stop(self) -> Count {
        self.sender.abort();
        let _ = self.sender.await;
        *self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a request was answered, and not by a server error.
async fn ask(client: &Client<HttpConnector, Empty<Bytes>>, uri: &str) -> bool {
    let Ok(uri) = uri.parse() else { return false };
    let exchange = async {
        let response = client.get(uri).await.ok()?;
        let status = response.status();
        response.into_body().collect().await.ok()?;
        Some(!status.is_server_error())
    };
    tokio::time::timeout(Duration::from_secs(10), exchange).await.ok().flatten().unwrap_or(false)
}

/// Serves the shop from a `shop.conf`: `title=`, `colour=`, `cache=none|NUMBER`.
///
/// With a cache it fails as the Python shop of the third commit does: carts beyond its size.
pub fn serve_shop(conf: &Path) -> anyhow::Result<()> {
    let text = fs::read_to_string(conf).with_context(|| format!("read {}", conf.display()))?;
    let settings: HashMap<&str, &str> =
        text.lines().filter_map(|line| line.split_once('=')).collect();
    let title = settings.get("title").copied().unwrap_or("A shop").to_owned();
    let cache = settings.get("cache").and_then(|size| size.parse::<usize>().ok());
    let port: u16 = std::env::var("PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(8000);
    let listener =
        TcpListener::bind(("127.0.0.1", port)).with_context(|| format!("listen on {port}"))?;
    println!("the shop listens on {port}");
    let known = Arc::new((AtomicU64::new(0), AtomicUsize::new(0)));
    for stream in listener.incoming().flatten() {
        let (title, known) = (title.clone(), Arc::clone(&known));
        std::thread::spawn(move || drop(serve(stream, &title, cache, &known)));
    }
    Ok(())
}

/// Answers requests on one connection until the client closes it.
fn serve(
    mut stream: TcpStream,
    title: &str,
    cache: Option<usize>,
    known: &(AtomicU64, AtomicUsize),
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let mut request = String::new();
        if reader.read_line(&mut request)? == 0 {
            return Ok(());
        }
        let mut header = String::from("x");
        while !header.trim().is_empty() {
            header.clear();
            reader.read_line(&mut header)?;
        }
        let path = request.split(' ').nth(1).unwrap_or("/");
        let cart = path.strip_prefix("/cart/").and_then(|cart| cart.parse::<u64>().ok());
        let (status, body) = match cart {
            Some(cart) if cache.is_some_and(|size| !remembers(known, cart, size)) => {
                eprintln!("KeyError: {cart} while answering {path}");
                ("500 Internal Server Error", "the shop is out of order\n".to_owned())
            }
            Some(cart) => ("200 OK", format!("{{\"cents\": {}}}", 120 * (1 + cart % 3))),
            None if path == "/" => ("200 OK", format!("<h1>{title}</h1>")),
            None if path == "/up" => ("200 OK", "up\n".to_owned()),
            None => ("404 Not Found", "nothing here\n".to_owned()),
        };
        write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len())?;
    }
}

/// Whether a cart is, or fits, among the first `size` that were asked for.
fn remembers((carts, count): &(AtomicU64, AtomicUsize), cart: u64, size: usize) -> bool {
    let bit = 1_u64 << (cart % 64);
    if carts.load(Ordering::Relaxed) & bit != 0 {
        return true;
    }
    let fits =
        count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < size).then_some(n + 1));
    if fits.is_ok() {
        carts.fetch_or(bit, Ordering::Relaxed);
    }
    fits.is_ok()
}
