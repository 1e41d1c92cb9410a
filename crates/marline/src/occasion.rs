//! What happened, as Git tells it: the events that workflows are started by.

use std::path::PathBuf;

use anyhow::Context as _;
use pipeline::event::Event;
use serde_json::{Map, Value, json};
use source::git::{Commit, CommitId, Range};

use crate::runs::{Given, Subject};

/// A push of more commits starts every workflow, whatever its path filters say.
const MOST_COMMITS: usize = 1_000;

/// How many commits the payload of a push lists.
const LISTED_COMMITS: usize = 20;

impl Subject {
    /// Returns the event as workflows see it.
    ///
    /// What Git cannot know (a pull request's number, a release's text) is what such an event
    /// usually says; [`Given::payload`] says it better.
    pub fn event(&self, given: &Given) -> anyhow::Result<Event> {
        let (name, activity) = match given.event.split_once('.') {
            Some((name, activity)) => (name, Some(activity.to_owned())),
            None => (given.event.as_str(), default_activity(&given.event).map(str::to_owned)),
        };
        let commit = self.repository.commit(&self.commit)?;
        let default_branch = self.repository.default_branch()?;
        let mut event = Event {
            name: name.to_owned(),
            git_ref: self.git_ref(),
            commit: self.commit.as_str().to_owned(),
            before: self.before.as_ref().map(|before| before.as_str().to_owned()),
            message: message(&commit),
            actor: commit.author_name.clone(),
            repository: self.name(),
            default_branch: default_branch
                .or_else(|| self.branch.clone())
                .unwrap_or_else(|| "main".to_owned()),
            activity,
            ..Event::default()
        };
        match name {
            "push" => self.push(&mut event, &commit)?,
            "pull_request" | "pull_request_target" => self.pull_request(&mut event, &commit)?,
            "create" | "delete" => branch_or_tag(&mut event),
            "release" => self.release(&mut event)?,
            "merge_group" => self.merge_group(&mut event, &commit)?,
            "workflow_run" => self.workflow_run(&mut event),
            "repository_dispatch" => {
                let payload: Map<String, Value> = given
                    .inputs
                    .iter()
                    .map(|(name, value)| (name.clone(), value.clone().into()))
                    .collect();
                event.details.insert("branch".to_owned(), event.default_branch.clone().into());
                event.details.insert("client_payload".to_owned(), payload.into());
            }
            _ => {}
        }
        Ok(event)
    }

    fn push(&self, event: &mut Event, commit: &Commit) -> anyhow::Result<()> {
        let commits = match &self.before {
            Some(before) => {
                let range = Range { after: Some(before.clone()), to: self.commit.clone() };
                let mut commits = self.repository.log(&range, LISTED_COMMITS)?;
                commits.reverse();
                commits
            }
            None => vec![commit.clone()],
        };
        event.changed_files = match &self.before {
            Some(before) if self.repository.count_between(before, &self.commit)? > MOST_COMMITS => {
                None
            }
            Some(before) => Some(self.changed(Some(before))?),
            // The first commit of all brings every file; of another one nobody knows what was
            // there before.
            None if commit.parents.is_empty() => Some(self.changed(None)?),
            None => None,
        };
        event.details = object(json!({
            "head_commit": said(commit),
            "commits": commits.iter().map(said).collect::<Vec<_>>(),
            "compare": "",
        }));
        Ok(())
    }

    fn pull_request(&self, event: &mut Event, commit: &Commit) -> anyhow::Result<()> {
        let base = event.default_branch.clone();
        let head = self.branch.clone().unwrap_or_else(|| "HEAD".to_owned());
        let tip = self.repository.published_tip(&base)?;
        let meets = match &tip {
            Some(tip) => self.repository.merge_base(tip, &self.commit)?,
            None => None,
        };
        // On the main branch itself the last commit stands for the pull request.
        let from = match meets {
            Some(meets) if meets != self.commit => Some(meets),
            _ => commit.parents.first().cloned(),
        };
        let files = self.changed(from.as_ref())?;
        let repo = json!({
            "full_name": event.repository,
            "name": event.repository.rsplit('/').next(),
            "default_branch": event.default_branch,
            "fork": false,
        });
        let user = json!({ "login": event.actor });
        let base_sha = tip.as_ref().or(from.as_ref()).map(CommitId::as_str);
        event.details = object(json!({
            "number": 1,
            "pull_request": {
                "number": 1,
                "state": "open",
                "title": commit.subject,
                "body": commit.body,
                "draft": false,
                "merged": false,
                "user": user,
                "labels": [],
                "assignees": [],
                "requested_reviewers": [],
                "changed_files": files.len(),
                "head": { "ref": head, "sha": event.commit, "repo": repo, "user": user },
                "base": { "ref": base, "sha": base_sha, "repo": repo, "user": user },
            },
        }));
        if event.name == "pull_request" {
            "refs/pull/1/merge".clone_into(&mut event.git_ref);
        } else {
            event.git_ref = format!("refs/heads/{base}");
        }
        event.base_ref = base;
        event.head_ref = head;
        event.changed_files = Some(files);
        Ok(())
    }

    fn release(&self, event: &mut Event) -> anyhow::Result<()> {
        let tag = self.repository.newest_tag(&self.commit)?;
        if let Some(tag) = &tag {
            event.git_ref = format!("refs/tags/{tag}");
        }
        event.details = object(json!({
            "release": {
                "tag_name": tag,
                "name": tag,
                "body": "",
                "draft": false,
                "prerelease": event.activity.as_deref() == Some("prereleased"),
                "target_commitish": event.default_branch,
                "author": { "login": event.actor },
            },
        }));
        Ok(())
    }

    fn merge_group(&self, event: &mut Event, commit: &Commit) -> anyhow::Result<()> {
        let base = event.default_branch.clone();
        let tip = self.repository.published_tip(&base)?;
        event.git_ref = format!("refs/heads/gh-readonly-queue/{base}/pr-1-{}", event.commit);
        event.details = object(json!({
            "merge_group": {
                "head_sha": event.commit,
                "head_ref": event.git_ref,
                "base_sha": tip.as_ref().map(CommitId::as_str),
                "base_ref": format!("refs/heads/{base}"),
                "head_commit": said(commit),
            },
        }));
        event.base_ref = base;
        Ok(())
    }

    fn workflow_run(&self, event: &mut Event) {
        event.head_ref = self.branch.clone().unwrap_or_default();
        event.details = object(json!({
            "workflow_run": {
                "id": 0,
                "head_branch": self.branch,
                "head_sha": event.commit,
                "event": "push",
                "status": "completed",
                "conclusion": "success",
                "run_attempt": 1,
            },
        }));
    }

    /// The paths that differ from a commit, with what is not committed if that counts.
    fn changed(&self, from: Option<&CommitId>) -> anyhow::Result<Vec<Vec<u8>>> {
        let changes = self
            .repository
            .changed_files(from, &self.commit)
            .context("find out which files changed")?;
        let mut paths: Vec<PathBuf> = changes.into_iter().map(|change| change.path).collect();
        if self.dirty {
            paths.extend(self.repository.uncommitted()?.into_iter().map(|change| change.path));
            paths.sort();
            paths.dedup();
        }
        let bytes =
            |path: PathBuf| std::os::unix::ffi::OsStringExt::into_vec(path.into_os_string());
        Ok(paths.into_iter().map(bytes).collect())
    }

    /// Returns `owner/name`, from the remote `origin` or from the directory.
    fn name(&self) -> String {
        let origin = self.repository.remotes().ok().and_then(|remotes| {
            let origin = remotes.iter().find(|remote| remote.name == "origin")?;
            let url = origin.shown_url();
            let path = url.trim_end_matches('/').trim_end_matches(".git");
            let mut parts = path.rsplit(['/', ':']);
            let (name, owner) = (parts.next()?, parts.next()?);
            (!name.is_empty() && !owner.is_empty()).then(|| format!("{owner}/{name}"))
        });
        origin.unwrap_or_else(|| {
            let directory = self.repository.root().file_name().map(|name| name.to_string_lossy());
            format!("local/{}", directory.unwrap_or("repository".into()))
        })
    }
}

fn branch_or_tag(event: &mut Event) {
    event.details = object(json!({
        "ref": event.ref_name(),
        "ref_type": event.ref_type(),
        "master_branch": event.default_branch,
        "pusher_type": "user",
    }));
    if event.name == "delete" {
        // What was deleted cannot be checked out.
        event.git_ref = format!("refs/heads/{}", event.default_branch);
    }
}

/// The activity that is meant when nobody says one.
fn default_activity(event: &str) -> Option<&'static str> {
    Some(match event {
        "pull_request" | "pull_request_target" => "opened",
        "release" => "published",
        "merge_group" => "checks_requested",
        "workflow_run" => "completed",
        _ => return None,
    })
}

fn message(commit: &Commit) -> String {
    if commit.body.is_empty() {
        commit.subject.clone()
    } else {
        format!("{}\n\n{}", commit.subject, commit.body)
    }
}

fn said(commit: &Commit) -> Value {
    let person = json!({ "name": commit.author_name, "email": commit.author_email });
    json!({
        "id": commit.id.as_str(),
        "message": message(commit),
        "timestamp": jiff::Timestamp::from_second(commit.committed_at).ok().map(|at| at.to_string()),
        "author": person,
        "committer": person,
        "distinct": true,
    })
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}
