//! What a token may do, scope by scope, and whether a called workflow asks for more than it is given.

use std::collections::BTreeMap;

use super::model::{Level, Permissions};

/// The scopes, in the order GitHub compares them.
const SCOPES: &[&str] = &[
    "actions",
    "artifact-metadata",
    "attestations",
    "checks",
    "code-quality",
    "contents",
    "copilot-requests",
    "deployments",
    "discussions",
    "drives",
    "issues",
    "packages",
    "pages",
    "pull-requests",
    "repository-projects",
    "statuses",
    "security-events",
    "id-token",
    "models",
    "vulnerability-alerts",
];

/// The scopes that `read-all` and `write-all` ask for. As what is allowed they cover every scope.
const SHORTHAND: &[&str] = &[
    "actions",
    "checks",
    "contents",
    "deployments",
    "discussions",
    "issues",
    "packages",
    "pages",
    "pull-requests",
    "repository-projects",
    "statuses",
    "security-events",
    "id-token",
];

/// What a token may do, scope by scope.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Grants {
    levels: BTreeMap<String, Level>,
    /// The level of the scopes that are not listed, when others ask for them.
    rest: Option<Level>,
}

/// What a token may do when no workflow says so; a setting of the repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Policy {
    /// Read the contents and the packages.
    LimitedRead,
    /// Read and write everything.
    #[default]
    Write,
}

impl Grants {
    /// Returns what `permissions` grant.
    pub fn of(permissions: &Permissions) -> Self {
        match permissions {
            Permissions::ReadAll(_) => Self::all(Level::Read),
            Permissions::WriteAll(_) => Self::all(Level::Write),
            Permissions::Scopes { scopes, .. } => {
                let levels = scopes.iter().map(|(scope, level)| (scope.value.clone(), level.value));
                Self { levels: levels.collect(), rest: None }
            }
        }
    }

    /// Returns what a policy grants to a workflow, which may get an identity only if it is one of
    /// our own.
    pub fn by(policy: Policy, is_own: bool) -> Self {
        match policy {
            Policy::Write => {
                let mut grants = Self::all(Level::Write);
                if !is_own {
                    grants.levels.insert("id-token".to_owned(), Level::None);
                }
                grants
            }
            Policy::LimitedRead => {
                let scopes = ["contents", "packages"].map(|scope| (scope.to_owned(), Level::Read));
                Self { levels: scopes.into_iter().collect(), rest: None }
            }
        }
    }

    fn all(level: Level) -> Self {
        let levels = SHORTHAND.iter().map(|scope| ((*scope).to_owned(), level));
        Self { levels: levels.collect(), rest: Some(level) }
    }

    /// The scopes with what each grants; those that grant nothing are left out.
    pub fn scopes(&self) -> impl Iterator<Item = (&str, Level)> {
        let granted = self.levels.iter().filter(|(_, level)| **level != Level::None);
        granted.map(|(scope, level)| (scope.as_str(), *level))
    }

    /// What of this is more than `allowed`: each scope with what is asked and what is allowed.
    pub fn beyond(&self, allowed: &Grants) -> Vec<(&'static str, Level, Level)> {
        let asked = |scope: &str| self.levels.get(scope).copied().unwrap_or(Level::None);
        let limit = |scope: &str| {
            let listed = allowed.levels.get(scope).copied();
            listed.or(allowed.rest).unwrap_or(Level::None)
        };
        let compared = SCOPES.iter().map(|scope| (*scope, asked(scope), limit(scope)));
        compared.filter(|(_, asked, limit)| asked > limit).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Position, Span, Spanned};

    fn scopes(list: &[(&str, Level)]) -> Grants {
        let span = Span::at(Position::new(1, 1));
        let scopes = list
            .iter()
            .map(|(scope, level)| {
                (Spanned::new((*scope).to_owned(), span), Spanned::new(*level, span))
            })
            .collect();
        Grants::of(&Permissions::Scopes { span, scopes })
    }

    #[test]
    fn a_scope_that_is_not_named_grants_nothing() {
        let asked = scopes(&[("contents", Level::Read), ("issues", Level::None)]);
        assert_eq!(asked.beyond(&scopes(&[])), [("contents", Level::Read, Level::None)]);
        assert_eq!(asked.beyond(&scopes(&[("contents", Level::Write)])), []);
    }

    #[test]
    fn all_covers_every_scope_and_a_foreign_workflow_gets_no_identity() {
        let asked = scopes(&[("attestations", Level::Write), ("id-token", Level::Write)]);
        assert_eq!(asked.beyond(&Grants::by(Policy::Write, true)), []);
        let foreign = Grants::by(Policy::Write, false);
        assert_eq!(asked.beyond(&foreign), [("id-token", Level::Write, Level::None)]);
        let limited = Grants::by(Policy::LimitedRead, true);
        assert_eq!(asked.beyond(&limited).len(), 2);
    }
}
