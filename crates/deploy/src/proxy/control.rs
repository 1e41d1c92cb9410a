//! The proxy's side of the control socket.

use std::{
    fs::{self, File},
    io,
    os::unix::net::UnixListener as BlockingListener,
    path::Path,
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    time::Instant,
};

use super::{
    Answer, Drained, Refusal, Request, SOCKET, TallyReport,
    client::short_path,
    hand_over,
    serve::{Proxy, only_for_us},
};

/// Longest request; a table of ten thousand instances has a tenth of it.
const MOST_LINE: u64 = 16 << 20;

/// How often a subscriber hears of what is not urgent.
const SOON: Duration = Duration::from_millis(100);

/// How close urgent reports follow each other.
const AT_ONCE: Duration = Duration::from_millis(2);

/// Longest wait for an instance to be drained.
const LONGEST_DRAIN_MS: u64 = 24 * 60 * 60 * 1_000;

/// Puts a control socket in place of whatever is there, and moves that of a predecessor aside.
///
/// At every moment somebody answers under the name: the new socket is renamed over the old one.
pub(super) fn bind(dir: &Path, aside: Option<String>) -> io::Result<UnixListener> {
    let handle = File::open(dir)?;
    let next = format!("{SOCKET}.next");
    let _ = fs::remove_file(dir.join(&next));
    let listener = BlockingListener::bind(short_path(&handle, &next))?;
    only_for_us(&dir.join(&next))?;
    listener.set_nonblocking(true)?;
    if let Some(aside) = aside {
        let _ = fs::remove_file(dir.join(&aside));
        fs::hard_link(dir.join(SOCKET), dir.join(aside))?;
    }
    fs::rename(dir.join(&next), dir.join(SOCKET))?;
    UnixListener::from_std(listener)
}

/// Does what is asked on the control socket, for as long as it is polled.
pub(super) async fn obey(proxy: Arc<Proxy>, socket: UnixListener) {
    loop {
        match socket.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(converse(Arc::clone(&proxy), BufReader::new(stream)));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

async fn converse(proxy: Arc<Proxy>, mut stream: BufReader<UnixStream>) {
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = (&mut stream).take(MOST_LINE).read_until(b'\n', &mut line).await;
        if !read.is_ok_and(|read| read > 0) {
            return;
        }
        if !line.ends_with(b"\n") {
            let reason = "the line does not end".to_owned();
            let _ = say(&mut stream, &Answer::Refused(Refusal::Malformed { reason })).await;
            return;
        }
        let answer = match serde_json::from_slice(&line) {
            Ok(Request::Subscribe) => return report(proxy, stream).await,
            Ok(Request::HandOver) => return hand_over::give(proxy, stream).await,
            Ok(Request::ShutDown) => {
                // Answered first: the process may be gone the moment after.
                let _ = say(&mut stream, &Answer::Done).await;
                return proxy.leave();
            }
            Ok(request) => fulfil(&proxy, request).await,
            Err(error) => Answer::Refused(Refusal::Malformed { reason: error.to_string() }),
        };
        if say(&mut stream, &answer).await.is_err() {
            return;
        }
    }
}

pub(super) async fn say(stream: &mut BufReader<UnixStream>, answer: &Answer) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    stream.write_all(&line).await
}

/// Fulfils a wish, here and at a predecessor that still has clients.
async fn fulfil(proxy: &Arc<Proxy>, request: Request) -> Answer {
    let before = proxy.predecessor();
    let result = match request {
        Request::SetRoutes(routes) => {
            let result = proxy.set_routes(routes.clone()).await;
            if let (Ok(()), Some(before)) = (&result, before) {
                proxy.heard_from_predecessor(before.set_routes(&routes).await);
            }
            result
        }
        Request::Drain { instance, deadline_ms } => {
            let patience = Duration::from_millis(deadline_ms.min(LONGEST_DRAIN_MS));
            let ours = proxy.drain(&instance, Instant::now() + patience);
            let theirs = async {
                let drained = before?.drain(&instance, patience).await;
                proxy.heard_from_predecessor(drained)
            };
            let (ours, theirs) = tokio::join!(ours, theirs);
            let theirs = theirs.map_or(0, |drained| drained.in_flight);
            return Answer::Drained(Drained { in_flight: ours.in_flight + theirs });
        }
        Request::Hold { service, hold } => {
            if let Some(before) = before {
                proxy.heard_from_predecessor(before.hold(&service, hold).await);
            }
            proxy.hold(&service, Some(hold))
        }
        Request::Release { service } => {
            if let Some(before) = before {
                proxy.heard_from_predecessor(before.release(&service).await);
            }
            proxy.hold(&service, None)
        }
        Request::GetRoutes => return Answer::Routes(proxy.table.load().routes.clone()),
        Request::Status => return Answer::Status(proxy.status().await),
        Request::Taken | Request::Subscribe | Request::HandOver | Request::ShutDown => {
            let reason = "this is not the place to say so".to_owned();
            Err(Refusal::Malformed { reason })
        }
    };
    match result {
        Ok(()) => Answer::Done,
        Err(refusal) => Answer::Refused(refusal),
    }
}

/// Sends tallies until the subscriber goes.
async fn report(proxy: Arc<Proxy>, mut stream: BufReader<UnixStream>) {
    let mut subscriber = proxy.hub.subscribe();
    let mut full = true;
    loop {
        let tallies = subscriber.take(&proxy.counters());
        if full || !tallies.is_empty() {
            let epoch = proxy.epoch.clone();
            let report = TallyReport { epoch, full, at: Timestamp::now(), tallies };
            if say(&mut stream, &Answer::Tallies(report)).await.is_err() {
                return;
            }
        }
        full = false;
        let sent = Instant::now();
        tokio::select! {
            () = subscriber.news(sent + SOON) => tokio::time::sleep_until(sent + AT_ONCE).await,
            // A subscriber has nothing more to say: whatever comes is its end.
            _ = stream.fill_buf() => return,
        }
    }
}
