//! The service that JavaScript actions talk to: one loopback port for a run.

use std::collections::HashMap;
use std::io::{self, SeekFrom};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Path, RawQuery, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, post};
use futures_util::StreamExt as _;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::artifact::{self, Artifact, KeepError, New};
use super::blob::{self, MAX_BLOCK_ID, MAX_BLOCKS};
use super::cache::{self, SaveError, Scopes};
use super::store::{Incoming, Staged, Store, StoreError};
use super::token::{Key, Use};
use super::twirp::{self, Call, Refused};

/// The largest message.
const MAX_MESSAGE: usize = 64 * 1024;

/// The largest list of blocks.
const MAX_BLOCK_LIST: usize = 8 * 1024 * 1024;

/// The largest body that brings bytes: a block, or a whole blob at once.
const MAX_BODY: u64 = 1024 * 1024 * 1024;

/// The largest upload.
const MAX_UPLOAD: u64 = cache::MAX_BYTES;

/// How many uploads may be under way at once.
const MAX_UPLOADS: usize = 256;

/// How long an address for an upload serves.
const UPLOAD_TIME: SignedDuration = SignedDuration::from_hours(1);

/// How long an address for a download serves.
const DOWNLOAD_TIME: SignedDuration = SignedDuration::from_mins(10);

/// Why the service could not be started.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// No port was to be had.
    #[error("listen on the loopback interface")]
    Listen(#[source] io::Error),
    /// The system gave no random bytes.
    #[error("make a key for tokens: {0}")]
    Random(getrandom::Error),
    /// The store could not be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Who hears of each artifact that is kept.
pub type Told = Box<dyn Fn(&Artifact) + Send + Sync>;

/// The artifact and cache services of one run. They end when this is dropped.
pub struct Service {
    inner: Arc<Inner>,
    port: u16,
    task: JoinHandle<()>,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").field("port", &self.port).finish_non_exhaustive()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Service {
    /// Starts the services of a run on a port of their own.
    pub async fn start(
        store: Store,
        run: u64,
        scopes: Scopes,
        told: Told,
    ) -> Result<Self, ServiceError> {
        let key = Key::new().map_err(ServiceError::Random)?;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(ServiceError::Listen)?;
        let port = listener.local_addr().map_err(ServiceError::Listen)?.port();
        let inner =
            Arc::new(Inner { store, run, scopes, key, port, told, uploads: Mutex::default() });
        let router = axum::Router::new()
            .route("/twirp/{service}/{method}", post(call))
            .route("/results/{what}/{id}", any(bytes))
            .fallback(nothing)
            .layer(DefaultBodyLimit::max(MAX_MESSAGE))
            .with_state(Arc::clone(&inner));
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!("the service of artifacts and caches ended: {error}");
            }
        });
        Ok(Self { inner, port, task })
    }

    /// Returns the address of the service.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    /// Makes a token for a job, named by letters, digits, `-` and `_`.
    pub fn token(&self, job: &str) -> String {
        self.inner.key.token(self.inner.run, job)
    }

    /// Returns what a JavaScript action of a job finds in its environment; the token is a secret.
    pub fn variables(&self, job: &str) -> Vec<(String, String)> {
        let pairs = [
            ("ACTIONS_RUNTIME_TOKEN", self.token(job)),
            ("ACTIONS_RESULTS_URL", self.url()),
            ("ACTIONS_CACHE_URL", self.url()),
            ("ACTIONS_RUNTIME_URL", self.url()),
            ("ACTIONS_CACHE_SERVICE_V2", "True".to_owned()),
        ];
        pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

struct Inner {
    store: Store,
    run: u64,
    scopes: Scopes,
    key: Key,
    port: u16,
    told: Told,
    uploads: Mutex<HashMap<u64, Upload>>,
}

/// What an upload will be.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    Artifact(New),
    Cache { key: String, version: String },
}

/// Bytes that come in.
#[derive(Debug, Clone)]
struct Upload {
    target: Target,
    incoming: Arc<Incoming>,
    /// Lengths of the blocks that are there, by their names.
    blocks: HashMap<String, u64>,
    mime: Option<String>,
    staged: Option<Staged>,
}

async fn nothing() -> Response {
    refuse(&Refused::new("bad_route", "version 1 of the cache service is not here; use version 2"))
}

fn refuse(refused: &Refused) -> Response {
    let status =
        StatusCode::from_u16(refused.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, axum::Json(json!({"code": refused.code, "msg": refused.message}))).into_response()
}

fn broken(error: &StoreError) -> Refused {
    tracing::error!("{}", error.line());
    Refused::new("internal", "the store could not be used; the log of Marline says why")
}

async fn call(
    State(inner): State<Arc<Inner>>,
    Path((service, method)): Path<(String, String)>,
    headers: HeaderMap,
    body: Result<Bytes, axum::extract::rejection::BytesRejection>,
) -> Response {
    let Ok(body) = body else {
        return refuse(&Refused::new("invalid_argument", "the message is too long"));
    };
    let token = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "));
    let Some((run, job)) = token.and_then(|token| inner.key.open(token)) else {
        return refuse(&Refused::new("unauthenticated", "the token is not one of this run"));
    };
    if run != inner.run {
        return refuse(&Refused::new("permission_denied", "the token is of another run"));
    }
    let answer = match twirp::parse_call(&service, &method, &body) {
        Ok(call) => {
            // The store waits for locks and disks.
            tokio::task::spawn_blocking(move || inner.answer(&job, call))
                .await
                .unwrap_or_else(|_| Err(Refused::new("internal", "the call could not be done")))
        }
        Err(refused) => Err(refused),
    };
    match answer {
        Ok(answer) => axum::Json(answer).into_response(),
        Err(refused) => refuse(&refused),
    }
}

fn wrong(message: impl Into<String>) -> Refused {
    Refused::new("invalid_argument", message)
}

impl Inner {
    fn url(&self, what: Use, id: u64, time: SignedDuration) -> String {
        let until = Timestamp::now().checked_add(time).unwrap_or(Timestamp::MAX);
        let query = self.key.query(what, id, until);
        format!("http://127.0.0.1:{}/results/{}/{id}?{query}", self.port, what.word())
    }

    fn uploads(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Upload>> {
        self.uploads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The run of a message must be the run of the token.
    fn same_run(&self, run: &str) -> Result<(), Refused> {
        if run == self.run.to_string() {
            return Ok(());
        }
        Err(Refused::new("permission_denied", "a job sees the artifacts of its own run only"))
    }

    fn answer(&self, job: &str, call: Call) -> Result<serde_json::Value, Refused> {
        match call {
            Call::CreateArtifact(message) => {
                self.same_run(&message.workflow_run_backend_id)?;
                artifact::check_name(&message.name).map_err(wrong)?;
                if message.version < 4 {
                    return Err(wrong("artifacts are version 4 or newer here"));
                }
                if self.store.artifact(self.run, &message.name).is_some() {
                    let exists = KeepError::Exists(message.name);
                    return Err(Refused::new("already_exists", exists.to_string()));
                }
                let now = Timestamp::now();
                let latest = artifact::in_days(artifact::RETENTION_DAYS);
                let new = New {
                    run: self.run,
                    job: job.to_owned(),
                    name: message.name,
                    mime: plain_mime(message.mime_type.as_deref())
                        .unwrap_or_else(|| artifact::ZIP.to_owned()),
                    expires: message.expires_at.map(|time| time.clamp(now, latest)),
                };
                let url = self.begin(Target::Artifact(new))?;
                Ok(json!({"ok": true, "signed_upload_url": url}))
            }
            Call::FinalizeArtifact(message) => {
                self.same_run(&message.workflow_run_backend_id)?;
                self.finalize_artifact(&message)
            }
            Call::ListArtifacts(message) => {
                self.same_run(&message.workflow_run_backend_id)?;
                let artifacts: Vec<serde_json::Value> = self
                    .store
                    .artifacts_of(self.run)
                    .iter()
                    .filter(|one| message.name_filter.as_ref().is_none_or(|name| one.name == *name))
                    .filter(|one| {
                        message.id_filter.is_none_or(|id| u64::try_from(id) == Ok(one.id))
                    })
                    .map(|one| {
                        json!({
                            "workflow_run_backend_id": one.run.to_string(),
                            "workflow_job_run_backend_id": one.job,
                            "database_id": one.id.to_string(),
                            "name": one.name,
                            "size": one.bytes.to_string(),
                            "created_at": one.created.to_string(),
                            "digest": format!("sha256:{}", one.digest),
                        })
                    })
                    .collect();
                Ok(json!({"artifacts": artifacts}))
            }
            Call::GetSignedArtifactUrl(message) => {
                let found = self.named(&message)?;
                Ok(json!({"signed_url": self.url(Use::Artifact, found.id, DOWNLOAD_TIME)}))
            }
            Call::DeleteArtifact(message) => {
                let found = self.named(&message)?;
                self.store.remove_artifact(&found).map_err(|error| broken(&error))?;
                Ok(json!({"ok": true, "artifact_id": found.id.to_string()}))
            }
            Call::CreateCacheEntry(message) => {
                cache::check_key(&message.key).map_err(wrong)?;
                check_version(&message.version)?;
                if self.store.has_cache(&self.scopes.own, &message.key, &message.version) {
                    return Err(Refused::new("already_exists", SaveError::Exists.to_string()));
                }
                let target = Target::Cache { key: message.key, version: message.version };
                let url = self.begin(target)?;
                Ok(json!({"ok": true, "signed_upload_url": url, "message": ""}))
            }
            Call::FinalizeCacheEntryUpload(message) => {
                let target = Target::Cache { key: message.key, version: message.version };
                let (target, staged, _incoming) = self.take(&target)?;
                let Target::Cache { key, version } = target else {
                    return Err(Refused::new("not_found", "no cache is being uploaded"));
                };
                if u64::try_from(message.size_bytes) != Ok(staged.bytes) {
                    return Err(wrong(format!(
                        "{} bytes came and {} were announced",
                        staged.bytes, message.size_bytes
                    )));
                }
                match self.store.save_cache(&self.scopes.own, &key, &version, &staged) {
                    Ok(entry) => {
                        Ok(json!({"ok": true, "entry_id": entry.id.to_string(), "message": ""}))
                    }
                    Err(SaveError::Store(error)) => Err(broken(&error)),
                    Err(exists @ SaveError::Exists) => {
                        Err(Refused::new("already_exists", exists.to_string()))
                    }
                    Err(large @ SaveError::TooLarge(_)) => Err(wrong(large.to_string())),
                }
            }
            Call::GetCacheEntryDownloadUrl(message) => {
                check_version(&message.version)?;
                if message.restore_keys.len() >= cache::MAX_KEYS {
                    return Err(wrong(format!("at most {} keys are looked for", cache::MAX_KEYS)));
                }
                let keys: Vec<&str> = std::iter::once(message.key.as_str())
                    .chain(message.restore_keys.iter().map(String::as_str))
                    .collect();
                for key in &keys {
                    cache::check_key(key).map_err(wrong)?;
                }
                match self.store.find_cache(&self.scopes, &keys, &message.version) {
                    None => Ok(json!({"ok": false, "signed_download_url": "", "matched_key": ""})),
                    Some(entry) => Ok(json!({
                        "ok": true,
                        "signed_download_url": self.url(Use::Cache, entry.id, DOWNLOAD_TIME),
                        "matched_key": entry.key,
                    })),
                }
            }
        }
    }

    fn named(&self, message: &twirp::NamedArtifact) -> Result<Artifact, Refused> {
        self.same_run(&message.workflow_run_backend_id)?;
        self.store.artifact(self.run, &message.name).ok_or_else(|| {
            Refused::new("not_found", format!("this run has no artifact `{}`", message.name))
        })
    }

    fn begin(&self, target: Target) -> Result<String, Refused> {
        let incoming = self.store.incoming().map_err(|error| broken(&error))?;
        let mut uploads = self.uploads();
        let is_same = |upload: &Upload| match (&upload.target, &target) {
            (Target::Artifact(one), Target::Artifact(two)) => one.name == two.name,
            (one, two) => one == two,
        };
        // A client that tries again goes on at a new place; a cache of another job is left alone.
        if matches!(target, Target::Cache { .. }) && uploads.values().any(is_same) {
            return Err(Refused::new("already_exists", SaveError::Exists.to_string()));
        }
        uploads.retain(|_, upload| !is_same(upload));
        if uploads.len() >= MAX_UPLOADS {
            return Err(Refused::new("resource_exhausted", "too many uploads are under way"));
        }
        let now = u64::try_from(Timestamp::now().as_microsecond()).unwrap_or(1);
        // There are fewer uploads than numbers tried.
        let id = (now..=now + MAX_UPLOADS as u64).find(|id| !uploads.contains_key(id));
        let id = id.unwrap_or(now);
        let upload = Upload {
            target,
            incoming: Arc::new(incoming),
            blocks: HashMap::new(),
            mime: None,
            staged: None,
        };
        uploads.insert(id, upload);
        Ok(self.url(Use::Upload, id, UPLOAD_TIME))
    }

    /// Takes an upload whose bytes are all there; what holds them goes with it.
    fn take(&self, target: &Target) -> Result<(Target, Staged, Arc<Incoming>), Refused> {
        let mut uploads = self.uploads();
        let found = uploads.iter().find(|(_, upload)| match (&upload.target, target) {
            (Target::Artifact(one), Target::Artifact(two)) => one.name == two.name,
            (one, two) => one == two,
        });
        let Some(id) = found.map(|(id, _)| *id) else {
            return Err(Refused::new("not_found", "nothing of that name is being uploaded"));
        };
        if uploads.get(&id).is_none_or(|upload| upload.staged.is_none()) {
            return Err(Refused::new("failed_precondition", "its bytes are not all there"));
        }
        let upload = uploads.remove(&id);
        let gone = || Refused::new("not_found", "nothing of that name is being uploaded");
        let upload = upload.ok_or_else(gone)?;
        let staged = upload.staged.ok_or_else(gone)?;
        let target = match (upload.target, upload.mime) {
            (Target::Artifact(new), Some(mime)) => Target::Artifact(New { mime, ..new }),
            (target, _) => target,
        };
        Ok((target, staged, upload.incoming))
    }

    fn finalize_artifact(
        &self,
        message: &twirp::FinalizeArtifact,
    ) -> Result<serde_json::Value, Refused> {
        let wanted = Target::Artifact(New {
            run: self.run,
            job: String::new(),
            name: message.name.clone(),
            mime: String::new(),
            expires: None,
        });
        let (target, staged, _incoming) = self.take(&wanted)?;
        let Target::Artifact(new) = target else {
            return Err(Refused::new("not_found", "no artifact is being uploaded"));
        };
        match &message.hash {
            Some(hash) if *hash != format!("sha256:{}", staged.digest) => {
                return Err(wrong("the bytes that came have another digest"));
            }
            None if u64::try_from(message.size) != Ok(staged.bytes) => {
                return Err(wrong(format!(
                    "{} bytes came and {} were announced",
                    staged.bytes, message.size
                )));
            }
            _ => {}
        }
        let files = match new.mime.as_str() {
            artifact::ZIP => artifact::count(&staged.path).map_err(wrong)?,
            _ => 1,
        };
        match self.store.keep_artifact(new, &staged, files, false) {
            Ok(artifact) => {
                (self.told)(&artifact);
                Ok(json!({"ok": true, "artifact_id": artifact.id.to_string()}))
            }
            Err(KeepError::Store(error)) => Err(broken(&error)),
            Err(exists @ KeepError::Exists(_)) => {
                Err(Refused::new("already_exists", exists.to_string()))
            }
            Err(many @ KeepError::TooMany) => {
                Err(Refused::new("resource_exhausted", many.to_string()))
            }
        }
    }
}

/// Returns a kind of file if it is written as one.
fn plain_mime(text: Option<&str>) -> Option<String> {
    let text = text?.trim();
    let is_plain = text.len() <= 127
        && text.contains('/')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/.+-_".contains(&byte));
    is_plain.then(|| text.to_ascii_lowercase())
}

fn check_version(version: &str) -> Result<(), Refused> {
    if version.is_empty() || version.len() > 128 {
        return Err(wrong("the version of a cache has 1 to 128 characters"));
    }
    Ok(())
}

/// Why bytes did not come or go.
struct Fault(StatusCode, &'static str, String);

impl Fault {
    fn wrong(message: impl Into<String>) -> Self {
        Self(StatusCode::BAD_REQUEST, "InvalidInput", message.into())
    }

    fn gone() -> Self {
        Self(StatusCode::NOT_FOUND, "BlobNotFound", "there is nothing here".to_owned())
    }

    fn disk(error: impl std::fmt::Display) -> Self {
        tracing::error!("bytes of an artifact or a cache could not be kept or read: {error}");
        let message = "the store could not be used; the log of Marline says why";
        Self(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", message.to_owned())
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let Self(status, code, message) = self;
        let message = message.replace('&', "&amp;").replace('<', "&lt;");
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
        );
        let headers = [("content-type", "application/xml"), ("x-ms-error-code", code)];
        (status, headers, body).into_response()
    }
}

/// What an address says behind its `?`.
fn query(text: Option<&str>) -> HashMap<String, String> {
    let pairs = text.unwrap_or_default().split('&').take(32);
    pairs
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| {
            let value = percent_encoding::percent_decode_str(value).decode_utf8_lossy();
            (name.to_owned(), value.into_owned())
        })
        .collect()
}

async fn bytes(
    State(inner): State<Arc<Inner>>,
    Path((what, id)): Path<(String, String)>,
    RawQuery(raw): RawQuery,
    request: Request,
) -> Response {
    let query = query(raw.as_deref());
    let get = |name: &str| query.get(name).map_or("", String::as_str);
    let (Some(what), Ok(id)) = (Use::from_word(&what), id.parse::<u64>()) else {
        return Fault::gone().into_response();
    };
    if !inner.key.allows(what, id, get("se"), get("sig")) {
        let message = "the address is not one of this run, or its time is over".to_owned();
        return Fault(StatusCode::FORBIDDEN, "AuthenticationFailed", message).into_response();
    }
    let done = match (what, request.method()) {
        (Use::Upload, &Method::PUT) => {
            let mime = request.headers().get("x-ms-blob-content-type").cloned();
            let mime = plain_mime(mime.as_ref().and_then(|mime| mime.to_str().ok()));
            match get("comp") {
                "block" => inner.put_block(id, get("blockid"), request.into_body()).await,
                "blocklist" => inner.put_list(id, mime, request.into_body()).await,
                "" => inner.put_whole(id, mime, request.into_body()).await,
                _ => Err(Fault::wrong("only blocks, their list and whole blobs can be put")),
            }
        }
        (Use::Artifact | Use::Cache, &Method::GET | &Method::HEAD) => {
            let head_only = request.method() == Method::HEAD;
            inner.get(what, id, request.headers(), head_only).await
        }
        _ => Err(Fault(StatusCode::METHOD_NOT_ALLOWED, "UnsupportedHttpVerb", String::new())),
    };
    done.unwrap_or_else(IntoResponse::into_response)
}

fn created() -> Response {
    (StatusCode::CREATED, [("x-ms-version", "2024-11-04"), ("etag", "\"0x1\"")]).into_response()
}

impl Inner {
    fn incoming(&self, id: u64) -> Result<Arc<Incoming>, Fault> {
        let uploads = self.uploads();
        uploads.get(&id).map(|upload| Arc::clone(&upload.incoming)).ok_or_else(Fault::gone)
    }

    async fn put_block(&self, id: u64, block: &str, body: Body) -> Result<Response, Fault> {
        if block.is_empty() || block.len() > MAX_BLOCK_ID {
            return Err(Fault::wrong("the name of a block has 1 to 128 characters"));
        }
        let incoming = self.incoming(id)?;
        let taken = {
            let uploads = self.uploads();
            let upload = uploads.get(&id).ok_or_else(Fault::gone)?;
            if upload.blocks.len() >= MAX_BLOCKS && !upload.blocks.contains_key(block) {
                return Err(Fault::wrong(format!("a blob has at most {MAX_BLOCKS} blocks")));
            }
            upload.blocks.values().sum::<u64>()
        };
        // Tries of the same block may overlap; the last to be whole stays.
        let beside = incoming.part(&super::store::random());
        let room = MAX_BODY.min(MAX_UPLOAD.saturating_sub(taken));
        let length = receive(body, &beside, room).await?;
        tokio::fs::rename(&beside, block_path(&incoming, block)).await.map_err(Fault::disk)?;
        let mut uploads = self.uploads();
        let upload = uploads.get_mut(&id).ok_or_else(Fault::gone)?;
        upload.blocks.insert(block.to_owned(), length);
        Ok(created())
    }

    async fn put_list(&self, id: u64, mime: Option<String>, body: Body) -> Result<Response, Fault> {
        let text = axum::body::to_bytes(body, MAX_BLOCK_LIST)
            .await
            .map_err(|_| Fault::wrong("the list of blocks is too long"))?;
        let list = blob::parse_block_list(&text).map_err(Fault::wrong)?;
        let incoming = self.incoming(id)?;
        {
            let uploads = self.uploads();
            let upload = uploads.get(&id).ok_or_else(Fault::gone)?;
            let mut total = 0_u64;
            for block in &list.0 {
                let Some(length) = upload.blocks.get(block) else {
                    let message = format!("there is no block `{block}`");
                    return Err(Fault(StatusCode::BAD_REQUEST, "InvalidBlockList", message));
                };
                total = total.saturating_add(*length);
            }
            if total > MAX_UPLOAD {
                return Err(Fault::wrong(format!("at most {MAX_UPLOAD} bytes are kept")));
            }
        }
        let joined = tokio::task::spawn_blocking(move || {
            let mut whole = std::fs::File::create(incoming.whole())?;
            for block in &list.0 {
                let mut part = std::fs::File::open(block_path(&incoming, block))?;
                io::copy(&mut part, &mut whole)?;
            }
            incoming.finish().map_err(io::Error::other)
        });
        let staged = joined.await.map_err(Fault::disk)?.map_err(Fault::disk)?;
        self.stage(id, mime, staged)
    }

    async fn put_whole(
        &self,
        id: u64,
        mime: Option<String>,
        body: Body,
    ) -> Result<Response, Fault> {
        let incoming = self.incoming(id)?;
        receive(body, &incoming.whole(), MAX_BODY).await?;
        let staged = tokio::task::spawn_blocking(move || incoming.finish());
        let staged =
            staged.await.map_err(Fault::disk)?.map_err(|error| Fault::disk(error.line()))?;
        self.stage(id, mime, staged)
    }

    fn stage(&self, id: u64, mime: Option<String>, staged: Staged) -> Result<Response, Fault> {
        let mut uploads = self.uploads();
        let upload = uploads.get_mut(&id).ok_or_else(Fault::gone)?;
        upload.staged = Some(staged);
        upload.mime = mime.or(upload.mime.take());
        Ok(created())
    }

    async fn get(
        &self,
        what: Use,
        id: u64,
        headers: &HeaderMap,
        head_only: bool,
    ) -> Result<Response, Fault> {
        let (digest, length, mime, name) = match what {
            Use::Cache => {
                let found = self.store.cache_entries().into_iter().find(|entry| entry.id == id);
                let entry = found.ok_or_else(Fault::gone)?;
                (entry.digest, entry.bytes, "application/octet-stream".to_owned(), None)
            }
            _ => {
                let artifacts = self.store.artifacts_of(self.run);
                let found = artifacts.into_iter().find(|artifact| artifact.id == id);
                let one = found.ok_or_else(Fault::gone)?;
                let name = if one.is_archive() && !one.name.to_lowercase().ends_with(".zip") {
                    format!("{}.zip", one.name)
                } else {
                    one.name
                };
                (one.digest, one.bytes, one.mime, Some(name))
            }
        };
        let mut file =
            tokio::fs::File::from_std(self.store.blob(&digest).map_err(|_| Fault::gone())?);
        let asked = headers.get("x-ms-range").or_else(|| headers.get(header::RANGE));
        let asked = asked.and_then(|range| range.to_str().ok());
        let (status, first, count) = match asked {
            None => (StatusCode::OK, 0, length),
            Some(range) => match blob::parse_range(range, length) {
                Some((first, last)) => (StatusCode::PARTIAL_CONTENT, first, last - first + 1),
                None => {
                    let message = format!("the blob has {length} bytes");
                    return Err(Fault(StatusCode::RANGE_NOT_SATISFIABLE, "InvalidRange", message));
                }
            },
        };
        let body = if head_only {
            Body::empty()
        } else {
            file.seek(SeekFrom::Start(first)).await.map_err(Fault::disk)?;
            Body::from_stream(futures_util::stream::try_unfold(
                file.take(count),
                |mut file| async {
                    let mut piece = Vec::with_capacity(64 * 1024);
                    let read = (&mut file).take(64 * 1024).read_to_end(&mut piece).await?;
                    Ok::<_, io::Error>((read > 0).then(|| (Bytes::from(piece), file)))
                },
            ))
        };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        let mut set = |name: &'static str, value: String| {
            if let Ok(value) = HeaderValue::from_str(&value) {
                response.headers_mut().insert(name, value);
            }
        };
        set("content-type", mime);
        set("content-length", count.to_string());
        set("accept-ranges", "bytes".to_owned());
        set("etag", format!("\"{digest}\""));
        set("x-ms-blob-type", "BlockBlob".to_owned());
        set("x-ms-version", "2024-11-04".to_owned());
        if status == StatusCode::PARTIAL_CONTENT {
            set("content-range", format!("bytes {first}-{}/{length}", first + count - 1));
        }
        if let Some(name) = name {
            let plain =
                percent_encoding::utf8_percent_encode(&name, percent_encoding::NON_ALPHANUMERIC);
            set("content-disposition", format!("attachment; filename*=UTF-8''{plain}"));
        }
        Ok(response)
    }
}

/// The file of a block: names of blocks are texts of the client and no names of files.
fn block_path(incoming: &Incoming, block: &str) -> PathBuf {
    use sha2::Digest as _;
    let digest = sha2::Sha256::digest(block.as_bytes());
    incoming.part(&format!("block-{}", crate::built_in::artifact::hex(&digest)))
}

/// Writes what comes to a file, at most so much; returns how much it was.
async fn receive(body: Body, path: &std::path::Path, room: u64) -> Result<u64, Fault> {
    let mut file = tokio::fs::File::create(path).await.map_err(Fault::disk)?;
    let mut stream = body.into_data_stream();
    let mut length = 0_u64;
    let received = loop {
        let piece = match stream.next().await {
            None => break Ok(length),
            Some(Ok(piece)) => piece,
            Some(Err(_)) => break Err(Fault::wrong("the bytes did not all come")),
        };
        length += piece.len() as u64;
        if length > room {
            let message = format!("at most {room} bytes are taken here");
            break Err(Fault(StatusCode::PAYLOAD_TOO_LARGE, "RequestBodyTooLarge", message));
        }
        if let Err(error) = file.write_all(&piece).await {
            break Err(Fault::disk(error));
        }
    };
    let flushed = file.flush().await;
    if received.is_err() {
        let _ = tokio::fs::remove_file(path).await;
    }
    flushed.map_err(Fault::disk)?;
    received
}
