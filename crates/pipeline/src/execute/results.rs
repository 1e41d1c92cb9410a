//! What the actions of a job reach: the store of artifacts and caches, and the service before it.

use std::path::PathBuf;

use journal::{Fact, JobKey};

use super::Engine;
use super::job::JobRun;
use super::scope::Status;
use crate::built_in::artifact::Shelf;
use crate::built_in::cache::{self, Cached};
use crate::log::Kind;
use crate::results::cache::Packing;
use crate::results::{Scopes, Service, Store};

impl Engine {
    fn store(&self) -> Result<Store, String> {
        Store::open(&self.surroundings.artifacts).map_err(|error| error.line())
    }

    /// Returns the service of the run, which is started for the first that asks.
    async fn service(&self) -> Result<&Service, String> {
        let start = || async {
            let run = self.surroundings.run;
            let recorder = std::sync::Arc::clone(&self.recorder);
            let told = Box::new(move |artifact: &crate::results::Artifact| {
                recorder.record(Fact::ArtifactStored {
                    run,
                    name: artifact.name.clone(),
                    digest: artifact.digest.clone(),
                    files: artifact.files,
                    bytes: artifact.bytes,
                });
            });
            let scopes = Scopes::of(&self.plan.event);
            let store = self.store()?;
            Service::start(store, run.0, scopes, told)
                .await
                .map_err(|error| format!("could not {error}"))
        };
        self.service.get_or_try_init(start).await
    }
}

/// A job as tokens and records name it: letters, digits, `-` and `_`.
fn plain(job: &JobKey) -> String {
    use sha2::Digest as _;
    let plain: String = job
        .as_str()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' })
        .take(60)
        .collect();
    let digest = sha2::Sha256::digest(job.as_str().as_bytes());
    format!("{plain}-{}", &crate::built_in::artifact::hex(&digest)[..8])
}

impl JobRun {
    /// Returns the variables with which a JavaScript action of this job reaches the artifact and
    /// cache services. Steps that are scripts do not get them.
    pub(super) async fn service_variables(&self) -> Result<Vec<(String, String)>, String> {
        let service = self.engine.service().await?;
        let variables = service.variables(&plain(&self.key));
        for (_, token) in variables.iter().filter(|(name, _)| name.ends_with("_TOKEN")) {
            self.engine.masker.add(token);
        }
        Ok(variables)
    }

    /// Returns what the built-in actions for artifacts and caches work with.
    pub(super) fn results(&self) -> Result<Cached, String> {
        let surroundings = &self.engine.surroundings;
        let home = std::path::absolute(&surroundings.home).unwrap_or_default();
        let path = surroundings.env.iter().find(|(name, _)| name == "PATH");
        let path = path.map_or("", |(_, path)| path.as_str());
        let has_zstd = std::env::split_paths(path).any(|dir: PathBuf| dir.join("zstd").is_file());
        Ok(Cached {
            shelf: Shelf {
                store: self.engine.store()?,
                run: surroundings.run.0,
                job: plain(&self.key),
            },
            scopes: Scopes::of(&self.engine.plan.event),
            workspace: self.dirs.workspace.clone(),
            roots: vec![
                self.dirs.workspace.clone(),
                self.dirs.temp.clone(),
                self.dirs.tools.clone(),
                home.clone(),
            ],
            home,
            // The public client packs so; either finds what the other saved.
            packing: if has_zstd { Packing::Zstd } else { Packing::Gzip },
        })
    }

    /// Saves the caches that the job's steps asked for, the last one first; only if all went well.
    pub(super) async fn save_caches(&mut self) {
        let saves = std::mem::take(&mut self.saves);
        if self.status != Status::Success {
            return;
        }
        for save in saves.into_iter().rev() {
            let results = self.results();
            let done = tokio::task::spawn_blocking(move || cache::save(&results?, &save))
                .await
                .unwrap_or_else(|error| Err(error.to_string()));
            match done {
                Ok(note) => self.say(Kind::Output, &note),
                // A cache that is not saved costs time and nothing else.
                Err(error) => self.say(Kind::Warning, &format!("Failed to save: {error}")),
            }
        }
    }
}
