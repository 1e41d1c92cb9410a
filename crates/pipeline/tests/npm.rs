//! GitHub's own clients, `@actions/artifact` and `@actions/cache` from npm, against the service.
//!
//! They are looked for in the folder that `MARLINE_NPM` names, else where `MARLINE_PLAYWRIGHT` says
//! the other npm packages are.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use pipeline::results::{Artifact, Scopes, Service, Store};

/// Returns where the npm packages are, or says that a test skips.
fn modules(test: &str) -> Option<PathBuf> {
    let named = ["MARLINE_NPM", "MARLINE_PLAYWRIGHT"].into_iter().find_map(std::env::var_os);
    let modules = named.map(PathBuf::from).filter(|modules| {
        ["artifact", "cache"].iter().all(|name| modules.join("@actions").join(name).is_dir())
    });
    let node = std::process::Command::new("node")
        .arg("--version")
        .stdout(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    match modules.filter(|_| node) {
        Some(modules) => Some(std::fs::canonicalize(modules).expect("is there")),
        None => {
            let required = std::env::var_os("MARLINE_REQUIRE_PEERS").is_some();
            assert!(!required, "{test}: node or the packages of npm are missing");
            println!("{test}: skipped, node, @actions/artifact or @actions/cache is missing");
            None
        }
    }
}

struct World {
    dir: tempfile::TempDir,
    modules: PathBuf,
    store: Store,
    told: Arc<Mutex<Vec<Artifact>>>,
}

impl World {
    fn new(modules: PathBuf) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::open(dir.path().join("store")).expect("opens");
        for name in ["work", "temp"] {
            std::fs::create_dir(dir.path().join(name)).expect("a directory");
        }
        Self { dir, modules, store, told: Arc::default() }
    }

    fn work(&self) -> PathBuf {
        self.dir.path().join("work")
    }

    async fn service(&self, run: u64, branch: &str) -> Service {
        let scopes = Scopes {
            own: format!("refs/heads/{branch}"),
            others: vec!["refs/heads/main".to_owned()],
        };
        let told = Arc::clone(&self.told);
        let told = Box::new(move |artifact: &Artifact| {
            told.lock().expect("no panic holds it").push(artifact.clone());
        });
        Service::start(self.store.clone(), run, scopes, told).await.expect("starts")
    }

    /// Runs a script with the clients at hand, as a JavaScript action would be run.
    async fn node(&self, service: &Service, script: &str) -> (bool, String) {
        let import = |name: &str, file: &str| {
            format!("file://{}", self.modules.join("@actions").join(name).join(file).display())
        };
        let script = format!(
            "const artifact = (await import('{}')).default;\nconst cache = await import('{}');\nconst fs = await import('node:fs');\nconst assert = (await import('node:assert')).default;\n{script}\nprocess.exit(0);\n",
            import("artifact", "lib/artifact.js"),
            import("cache", "lib/cache.js"),
        );
        let file = self.dir.path().join("temp/script.mjs");
        std::fs::write(&file, script).expect("is written");
        let output = tokio::process::Command::new("node")
            .arg(&file)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("GITHUB_SERVER_URL", "https://github.com")
            .env("GITHUB_WORKSPACE", self.work())
            .env("RUNNER_TEMP", self.dir.path().join("temp"))
            .env("HOME", self.dir.path())
            .envs(service.variables("job"))
            .current_dir(self.work())
            .output()
            .await
            .expect("node runs");
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    }

    async fn good(&self, service: &Service, script: &str) -> String {
        let (good, said) = self.node(service, script).await;
        assert!(good, "{said}");
        said
    }
}

fn write(path: &Path, text: &[u8]) {
    std::fs::create_dir_all(path.parent().expect("has one")).expect("a directory");
    std::fs::write(path, text).expect("is written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_artifact_client_keeps_lists_fetches_and_deletes() {
    let Some(modules) = modules("the_artifact_client_keeps_lists_fetches_and_deletes") else {
        return;
    };
    let world = World::new(modules);
    let service = world.service(7, "main").await;
    // More than one block of the client, and nothing that packs well.
    let mut seed = 1_u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 56) as u8
    })
    .take(20 * 1024 * 1024)
    .collect();
    write(&world.work().join("out/big.bin"), &noise);
    write(&world.work().join("out/deep/small.txt"), b"small");
    world
        .good(
            &service,
            "const one = await artifact.uploadArtifact('built', ['out/big.bin', 'out/deep/small.txt'], 'out', {retentionDays: 3});
             assert(one.id > 0);
             const {artifacts} = await artifact.listArtifacts();
             assert.deepEqual(artifacts.map(a => [a.name, a.id, a.size]), [['built', one.id, one.size]]);
             assert.equal(artifacts[0].digest, 'sha256:' + one.digest);
             const found = await artifact.getArtifact('built');
             const got = await artifact.downloadArtifact(found.artifact.id, {path: 'got', expectedHash: found.artifact.digest});
             assert.equal(got.digestMismatch, false);
             await assert.rejects(artifact.getArtifact('none'));",
        )
        .await;
    assert!(std::fs::read(world.work().join("got/big.bin")).expect("is there") == noise);
    let small = std::fs::read(world.work().join("got/deep/small.txt")).expect("is there");
    assert_eq!(small, b"small");
    let kept = world.store.artifact(7, "built").expect("is kept");
    assert_eq!((kept.files, kept.run), (2, 7));
    assert!(kept.expires < jiff::Timestamp::now() + jiff::SignedDuration::from_hours(4 * 24));
    assert_eq!(*world.told.lock().expect("no panic holds it"), [kept]);
    // Another run does not see it; its own run has the name once.
    let other = world.service(8, "main").await;
    let none = "assert.equal((await artifact.listArtifacts()).artifacts.length, 0);";
    world.good(&other, none).await;
    world
        .good(
            &service,
            "await assert.rejects(artifact.uploadArtifact('built', ['out/deep/small.txt'], 'out'));
             await artifact.deleteArtifact('built');
             assert.equal((await artifact.listArtifacts()).artifacts.length, 0);
             const raw = await artifact.uploadArtifact('x', ['out/deep/small.txt'], 'out', {skipArchive: true});
             await artifact.downloadArtifact(raw.id, {path: 'raw'});
             assert.equal(fs.readFileSync('raw/small.txt', 'utf8'), 'small');",
        )
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cache_client_saves_once_and_finds_by_key_and_prefix() {
    let Some(modules) = modules("the_cache_client_saves_once_and_finds_by_key_and_prefix") else {
        return;
    };
    let world = World::new(modules);
    let main = world.service(1, "main").await;
    write(&world.work().join("deps/a.txt"), b"one");
    let said = world
        .good(
            &main,
            "assert(cache.isFeatureAvailable());
             assert.equal(await cache.restoreCache(['deps'], 'k-1', ['k-']), undefined);
             assert(await cache.saveCache(['deps'], 'k-1') > 0);
             assert.equal(await cache.saveCache(['deps'], 'k-1'), -1);
             fs.rmSync('deps', {recursive: true});
             assert.equal(await cache.restoreCache(['deps'], 'k-1'), 'k-1');
             assert.equal(fs.readFileSync('deps/a.txt', 'utf8'), 'one');
             fs.writeFileSync('deps/a.txt', 'two');
             await cache.saveCache(['deps'], 'k-2');",
        )
        .await;
    assert!(said.contains("another job may be creating this cache"), "{said}");
    // A later run on a branch of its own sees the newest of the default branch.
    let branch = world.service(2, "feature").await;
    world
        .good(
            &branch,
            "fs.rmSync('deps', {recursive: true});
             assert.equal(await cache.restoreCache(['deps'], 'k-3', ['none-', 'k-'], {lookupOnly: true}), 'k-2');
             assert(!fs.existsSync('deps'));
             assert.equal(await cache.restoreCache(['deps'], 'k-3', ['none-', 'k-']), 'k-2');
             assert.equal(fs.readFileSync('deps/a.txt', 'utf8'), 'two');
             await cache.saveCache(['deps'], 'k-3');",
        )
        .await;
    // What a branch saves is not seen by the default branch.
    let main = world.service(3, "main").await;
    let none = "assert.equal(await cache.restoreCache(['deps'], 'k-3'), undefined);";
    world.good(&main, none).await;
    let keys: Vec<String> = world.store.cache_entries().into_iter().map(|one| one.key).collect();
    assert_eq!(keys, ["k-3", "k-2", "k-1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_gets_in_without_a_token_and_no_address_serves_for_another() {
    let Some(modules) = modules("nobody_gets_in_without_a_token_and_no_address_serves_for_another")
    else {
        return;
    };
    let world = World::new(modules);
    let service = world.service(7, "main").await;
    write(&world.work().join("a.txt"), b"a");
    world
        .good(
            &service,
            "const base = process.env.ACTIONS_RESULTS_URL, token = process.env.ACTIONS_RUNTIME_TOKEN;
             const call = (method, body, bearer, service = 'ArtifactService') => fetch(`${base}twirp/github.actions.results.api.v1.${service}/${method}`, {method: 'POST', body, headers: {authorization: `Bearer ${bearer}`}});
             const ids = {workflow_run_backend_id: '7', workflow_job_run_backend_id: 'job'};
             assert.equal((await call('ListArtifacts', JSON.stringify(ids), 'x')).status, 401);
             assert.equal((await call('ListArtifacts', JSON.stringify(ids), token + 'x')).status, 401);
             assert.equal((await call('ListArtifacts', JSON.stringify({...ids, workflow_run_backend_id: '8'}), token)).status, 403);
             assert.equal((await call('ListArtifacts', '{', token)).status, 400);
             assert.equal((await call('Nope', '{}', token)).status, 404);
             assert.equal((await call('CreateCacheEntry', JSON.stringify({key: 'a,b', version: 'v'}), token, 'CacheService')).status, 400);
             assert.equal((await call('CreateArtifact', 'x'.repeat(100000), token)).status, 400);
             const created = await (await call('CreateArtifact', JSON.stringify({...ids, name: 'n', version: 7}), token)).json();
             const url = created.signed_upload_url;
             assert.equal((await fetch(url)).status, 405);
             assert.equal((await fetch(url.replace('sig=', 'sig=x'), {method: 'PUT', body: 'a'})).status, 403);
             assert.equal((await fetch(url.replace('/upload/', '/artifact/'))).status, 403);
             assert.equal((await fetch(url + '&comp=blocklist', {method: 'PUT', body: '<BlockList><Latest>bm8=</Latest></BlockList>'})).status, 400);
             assert.equal((await call('FinalizeArtifact', JSON.stringify({...ids, name: 'n', size: '1'}), token)).status, 412);
             assert.equal((await fetch(url + '&comp=block&blockid=YQ==', {method: 'PUT', body: 'a'})).status, 201);
             assert.equal((await fetch(url + '&comp=blocklist', {method: 'PUT', body: '<BlockList><Latest>YQ==</Latest></BlockList>', headers: {'x-ms-blob-content-type': 'text/plain'}})).status, 201);
             assert.equal((await call('FinalizeArtifact', JSON.stringify({...ids, name: 'n', size: '2'}), token)).status, 400);
             await artifact.uploadArtifact('m', ['a.txt'], '.');
             const signed = await (await call('GetSignedArtifactURL', JSON.stringify({...ids, name: 'm'}), token)).json();
             const head = await fetch(signed.signed_url, {method: 'HEAD'});
             const length = Number(head.headers.get('content-length'));
             const part = await fetch(signed.signed_url, {headers: {range: 'bytes=0-1'}});
             assert.equal(part.status, 206);
             assert.equal(await part.text(), 'PK');
             assert.equal(part.headers.get('content-range'), `bytes 0-1/${length}`);
             assert.equal((await fetch(signed.signed_url, {headers: {range: `bytes=${length}-`}})).status, 416);",
        )
        .await;
}
