//! What every engine must do, as tests that any engine can run.
//!
//! An engine gives a [`World`]; each case of [`CASES`] then shows one promise of
//! [`Engine`](super::Engine). A case panics with a sentence when the promise is broken.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::time::{Duration, Instant};

use journal::{InstanceId, ServiceName};
use tokio::io::AsyncReadExt as _;

use super::{Engine, ExecCommand, Instance, InstanceState, LogCursor};
use crate::deployment::Deployment;

/// How long a case waits for something that must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// An engine under test.
pub trait World: Send + Sync {
    /// The engine.
    fn engine(&self) -> &dyn Engine;
    /// A deployment that runs a shell script.
    fn deployment(&self, service: &str, release: &str, script: &str) -> Deployment;
    /// Another engine over the same place, as after a crash of the first.
    fn again(&self) -> Box<dyn Engine>;
}

/// A case at work.
pub type Shown<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// A promise of engines and how it is shown.
pub struct Case {
    /// The promise as a sentence.
    pub name: &'static str,
    /// Shows it.
    pub show: for<'a> fn(&'a dyn World) -> Shown<'a>,
}

/// All promises.
pub const CASES: &[Case] = &[
    Case { name: "scale gives exactly the count, however many run", show: |w| Box::pin(exact(w)) },
    Case { name: "releases of a service are counted apart", show: |w| Box::pin(apart(w)) },
    Case { name: "a new engine finds what runs", show: |w| Box::pin(adopted(w)) },
    Case { name: "an ended instance is told and replaced", show: |w| Box::pin(replaced(w)) },
    Case { name: "every instance has its own port and knows it", show: |w| Box::pin(ports(w)) },
    Case { name: "logs are read on from where they ended", show: |w| Box::pin(logs(w)) },
    Case { name: "a command runs beside an instance", show: |w| Box::pin(exec(w)) },
    Case { name: "one instance can be stopped alone", show: |w| Box::pin(stopped(w)) },
];

const WAITS: &str = "exec sleep 1000";

async fn running(engine: &dyn Engine, deployment: &Deployment) -> Vec<Instance> {
    let all = engine.instances(&deployment.service).await.expect("list instances");
    all.into_iter().filter(|i| i.release == deployment.release && i.is_running()).collect()
}

fn ids(instances: &[Instance]) -> BTreeSet<&InstanceId> {
    instances.iter().map(|instance| &instance.id).collect()
}

async fn scale(engine: &dyn Engine, deployment: &Deployment, count: u32) -> Vec<Instance> {
    engine.scale(deployment, count).await.expect("scale");
    let running = running(engine, deployment).await;
    assert_eq!(running.len(), count as usize, "scale to {count} of {}", deployment.service);
    running
}

/// Looks again and again until something is there.
async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < until, "{what} did not come");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn exact(world: &dyn World) {
    let (engine, web) = (world.engine(), world.deployment("web", "r1", WAITS));
    let three = scale(engine, &web, 3).await;
    let same = scale(engine, &web, 3).await;
    assert_eq!(ids(&three), ids(&same), "repeating changes nothing");
    let one = scale(engine, &web, 1).await;
    assert!(ids(&one).is_subset(&ids(&three)), "what stays is not started anew");
    scale(engine, &web, 2).await;
    scale(engine, &web, 0).await;
    scale(engine, &web, 0).await;
}

async fn apart(world: &dyn World) {
    let engine = world.engine();
    let (old, new) = (world.deployment("web", "r1", WAITS), world.deployment("web", "r2", WAITS));
    scale(engine, &old, 2).await;
    scale(engine, &new, 1).await;
    scale(engine, &old, 0).await;
    assert_eq!(running(engine, &new).await.len(), 1);
    let services = engine.services().await.expect("list services");
    assert!(services.contains(&ServiceName::from("web")));
    scale(engine, &new, 0).await;
}

async fn adopted(world: &dyn World) {
    let web = world.deployment("web", "r1", WAITS);
    let before = scale(world.engine(), &web, 2).await;
    let again = world.again();
    let after = running(again.as_ref(), &web).await;
    assert_eq!(ids(&before), ids(&after));
    let same = scale(again.as_ref(), &web, 2).await;
    assert_eq!(ids(&before), ids(&same), "what runs is not started twice");
    scale(again.as_ref(), &web, 0).await;
}

async fn replaced(world: &dyn World) {
    let (engine, web) = (world.engine(), world.deployment("web", "r1", "exit 7"));
    engine.scale(&web, 1).await.expect("scale");
    let ended = eventually("the end", async || {
        let all = engine.instances(&web.service).await.expect("list instances");
        all.into_iter().find_map(|instance| match instance.state {
            InstanceState::Ended(ended) => Some(ended),
            _ => None,
        })
    })
    .await;
    assert_eq!(ended.exit.code, Some(7));
    assert!(!ended.asked);
    let web = world.deployment("web", "r1", WAITS);
    scale(engine, &web, 1).await;
    scale(engine, &web, 0).await;
}

async fn text_of(engine: &dyn Engine, instance: &InstanceId, lines: usize) -> Vec<String> {
    eventually("the output", async || {
        let found = engine.logs(instance, LogCursor::Start).await.expect("read the log");
        let texts: Vec<_> = found.lines.into_iter().map(|line| line.text).collect();
        (texts.len() >= lines).then_some(texts)
    })
    .await
}

async fn ports(world: &dyn World) {
    let script = "echo \"$PORT $SERVICE $RELEASE $INSTANCE\"; exec sleep 1000";
    let (engine, web) = (world.engine(), world.deployment("web", "r1", script));
    let two = scale(engine, &web, 2).await;
    assert_ne!(two[0].port, two[1].port);
    for instance in &two {
        let text = text_of(engine, &instance.id, 1).await;
        assert_eq!(text, [format!("{} web r1 {}", instance.port, instance.id)]);
    }
    scale(engine, &web, 0).await;
}

async fn logs(world: &dyn World) {
    let script = "echo one; echo two >&2; read -r _ </dev/null; exec sleep 1000";
    let (engine, web) = (world.engine(), world.deployment("web", "r1", script));
    let one = scale(engine, &web, 1).await.remove(0);
    let mut text = text_of(engine, &one.id, 2).await;
    text.sort();
    assert_eq!(text, ["one", "two"]);
    let all = engine.logs(&one.id, LogCursor::Start).await.expect("read the log");
    let more = engine.logs(&one.id, LogCursor::At(all.next)).await.expect("read on");
    assert_eq!((more.lines.len(), more.next, more.skipped), (0, all.next, 0));
    let last = engine.logs(&one.id, LogCursor::Last(1)).await.expect("read the last line");
    assert_eq!(last.lines, all.lines[1..]);
    scale(engine, &web, 0).await;
    let kept = engine.logs(&one.id, LogCursor::Start).await.expect("read it after the end");
    assert_eq!(kept, all);
}

async fn exec(world: &dyn World) {
    let (engine, web) = (world.engine(), world.deployment("web", "r1", WAITS));
    let one = scale(engine, &web, 1).await.remove(0);
    let script = "read -r word; echo \"$word $SERVICE $MORE\"; echo err >&2; exit 3";
    let command = ExecCommand {
        words: ["/bin/sh", "-c", script].map(String::from).into(),
        environment: vec![("MORE".to_owned(), "more".to_owned())],
    };
    let mut session = engine.exec(&one.id, command).await.expect("run a command");
    let mut stdin = session.stdin.take().expect("it has an input");
    tokio::io::AsyncWriteExt::write_all(&mut stdin, b"hello\n").await.expect("write");
    drop(stdin);
    let (mut out, mut err) = (String::new(), String::new());
    session.stdout.read_to_string(&mut out).await.expect("read its output");
    session.stderr.read_to_string(&mut err).await.expect("read its errors");
    assert_eq!((out.as_str(), err.as_str()), ("hello web more\n", "err\n"));
    assert_eq!(session.exit.await.expect("it ends").code, Some(3));
    scale(engine, &web, 0).await;
}

async fn stopped(world: &dyn World) {
    let (engine, web) = (world.engine(), world.deployment("web", "r1", WAITS));
    let two = scale(engine, &web, 2).await;
    engine.stop(&two[0].id).await.expect("stop one");
    let left = running(engine, &web).await;
    assert_eq!(ids(&left), ids(&two[1..]));
    scale(engine, &web, 0).await;
}
