//! Where branches meet, and what they are called.

use super::{CommitId, GitError, Repository, trim_line};

impl Repository {
    /// Returns the branch that this repository calls its main one.
    ///
    /// That is what `origin` says, else `main` or `master` if there is one, else what is checked
    /// out.
    pub fn default_branch(&self) -> Result<Option<String>, GitError> {
        let mut git = self.git("find the default branch");
        git.args(["for-each-ref", "--format=%(refname) %(symref)"]);
        git.args(["refs/remotes/origin/HEAD", "refs/heads/main", "refs/heads/master"]);
        let out = String::from_utf8_lossy(&git.output()?).into_owned();
        let refs: Vec<(&str, &str)> = out.lines().filter_map(|line| line.split_once(' ')).collect();
        let published = refs.iter().find_map(|(_, to)| to.strip_prefix("refs/remotes/origin/"));
        // `main` comes before `master`, as refs are listed by their names.
        let usual = refs.iter().find_map(|(name, _)| name.strip_prefix("refs/heads/"));
        match published.or(usual) {
            Some(name) => Ok(Some(name.to_owned())),
            None => Ok(self.head()?.branch),
        }
    }

    /// Returns the tip of a branch: as `origin` has it, else as it is here.
    pub fn published_tip(&self, branch: &str) -> Result<Option<CommitId>, GitError> {
        match self.rev(&format!("refs/remotes/origin/{branch}"))? {
            Some(tip) => Ok(Some(tip)),
            None => self.branch_tip(branch),
        }
    }

    /// Returns the newest commit that both have; none if their histories never meet.
    pub fn merge_base(
        &self,
        one: &CommitId,
        other: &CommitId,
    ) -> Result<Option<CommitId>, GitError> {
        let mut git = self.git("find where two commits meet");
        git.args(["merge-base", one.as_str(), other.as_str()]);
        let Some(out) = git.output_unless(1)? else { return Ok(None) };
        Ok(Some(CommitId::read(trim_line(&out))?))
    }

    /// Returns how many commits the second has that the first has not.
    pub fn count_between(&self, from: &CommitId, to: &CommitId) -> Result<usize, GitError> {
        let mut git = self.git("count commits");
        git.args(["rev-list", "--count", to.as_str()]);
        git.arg(format!("^{from}"));
        let out = git.output()?;
        Ok(String::from_utf8_lossy(trim_line(&out)).parse().unwrap_or(usize::MAX))
    }

    /// Returns the newest tag that a commit has or comes after.
    pub fn newest_tag(&self, commit: &CommitId) -> Result<Option<String>, GitError> {
        let mut git = self.git("find the newest tag");
        git.args(["describe", "--tags", "--abbrev=0", commit.as_str()]);
        let Some(out) = git.output_unless(128)? else { return Ok(None) };
        Ok(Some(String::from_utf8_lossy(trim_line(&out)).into_owned()))
    }

    /// Returns a value of the repository's own configuration, the last if there are several.
    pub fn setting(&self, key: &str) -> Result<Option<String>, GitError> {
        let mut git = self.git("read the configuration");
        git.args(["config", "--get", key]);
        let Some(out) = git.output_unless(1)? else { return Ok(None) };
        Ok(Some(String::from_utf8_lossy(trim_line(&out)).into_owned()))
    }
}
