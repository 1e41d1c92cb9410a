//! Reads rules in gitleaks' format, old and new.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use serde::Deserialize;
use source::yaml::{LineIndex, did_you_mean};
use source::{Finding, Place, Severity, Span};
use toml::Spanned;

use super::Pattern;

/// The rule of what is wrong in a rule file.
const CONFIG: &str = "secret-rules";

/// Rules for secrets, and what they let be.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RuleSet {
    /// The rules, in the order written.
    pub rules: Vec<SecretRule>,
    /// What every rule lets be, or those it names.
    pub allowlists: Vec<Allowlist>,
}

/// A rule for a kind of secret.
#[derive(Debug, Clone, PartialEq)]
pub struct SecretRule {
    /// Its id.
    pub id: String,
    /// What it finds.
    pub description: String,
    /// What a secret looks like; without one, the path alone is the finding.
    pub regex: Option<Pattern>,
    /// Which group of the pattern is the secret; 0 takes the first that is not empty.
    pub secret_group: usize,
    /// A secret with this entropy or less is none; 0 asks nothing.
    pub entropy: f64,
    /// The paths it looks at; all without one.
    pub path: Option<Pattern>,
    /// Words, in lower case, of which one must be in a file for the rule to look at it.
    pub keywords: Vec<String>,
    /// What it is about. `severity:warning` and `severity:note` make it milder.
    pub tags: Vec<String>,
    /// What it lets be.
    pub allowlists: Vec<Allowlist>,
}

impl SecretRule {
    /// Whether it goes by the name of a variable more than by the form of a secret.
    pub fn is_generic(&self) -> bool {
        self.id.starts_with("generic")
    }

    /// How bad its findings are: a guess reports, it never holds.
    pub fn severity(&self) -> Severity {
        let has = |tag: &str| self.tags.iter().any(|one| one == tag);
        if has("severity:note") {
            Severity::Note
        } else if self.is_generic() || has("severity:warning") {
            Severity::Warning
        } else {
            Severity::Error
        }
    }
}

/// What is let be.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Allowlist {
    /// Whether all of its conditions must hold; otherwise one is enough.
    pub all: bool,
    /// Commits.
    pub commits: Vec<String>,
    /// Paths.
    pub paths: Vec<Pattern>,
    /// What `regexes` look at.
    pub target: RegexTarget,
    /// Patterns.
    pub regexes: Vec<Pattern>,
    /// Words, in lower case, that no secret has in it.
    pub stopwords: Vec<String>,
    /// The rules it is for; all when empty. Only of lists for the whole file.
    pub rules: Vec<String>,
}

/// What the patterns of an allowlist look at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RegexTarget {
    /// The secret.
    #[default]
    Secret,
    /// Everything that the rule's pattern matched.
    Match,
    /// The lines of the match.
    Line,
}

impl RuleSet {
    /// The rules that Marline brings.
    pub fn built_in() -> Arc<Self> {
        static BUILT_IN: OnceLock<Arc<RuleSet>> = OnceLock::new();
        let read = || {
            let text = include_str!("built_in.toml");
            let file: File = toml::from_str(text).expect("the tests read it");
            let mut reader = Reader::new("built_in.toml", text);
            Arc::new(reader.rule_set(file))
        };
        BUILT_IN.get_or_init(read).clone()
    }

    /// Reads a `.gitleaks.toml`: what could be read, and everything that is wrong with it.
    ///
    /// `load` gives the text of another file of the repository, for `extend.path`.
    pub fn read(
        path: &str,
        text: &str,
        load: &dyn Fn(&str) -> Option<String>,
    ) -> (Option<Self>, Vec<Finding>) {
        read_at_depth(path, text, load, 0)
    }

    /// The rule of an id.
    pub fn rule(&self, id: &str) -> Option<&SecretRule> {
        self.rules.iter().find(|rule| rule.id == id)
    }

    /// Lays these rules over others: what is said here wins, words and lists add up.
    fn extend(&mut self, base: &Self, disabled: &[String]) {
        for rule in &base.rules {
            if disabled.contains(&rule.id) {
                continue;
            }
            let Some(own) = self.rules.iter_mut().find(|own| own.id == rule.id) else {
                self.rules.push(rule.clone());
                continue;
            };
            if own.description.is_empty() {
                own.description.clone_from(&rule.description);
            }
            if own.entropy == 0.0 {
                own.entropy = rule.entropy;
            }
            if own.regex.is_none() {
                own.regex.clone_from(&rule.regex);
                own.secret_group = own.secret_group.max(rule.secret_group);
            }
            if own.path.is_none() {
                own.path.clone_from(&rule.path);
            }
            own.keywords.extend(rule.keywords.iter().cloned());
            own.tags.extend(rule.tags.iter().cloned());
            own.allowlists.extend(rule.allowlists.iter().cloned());
        }
        self.allowlists.extend(base.allowlists.iter().cloned());
    }
}

fn read_at_depth(
    path: &str,
    text: &str,
    load: &dyn Fn(&str) -> Option<String>,
    depth: usize,
) -> (Option<RuleSet>, Vec<Finding>) {
    let mut reader = Reader::new(path, text);
    let file: File = match toml::from_str(text) {
        Ok(file) => file,
        Err(error) => {
            reader.error(error.span(), error.message().to_owned());
            return (None, reader.findings);
        }
    };
    reader.unknown_keys();
    let extend = file.extend.clone();
    let mut set = reader.rule_set(file);
    reader.compile(&set);
    if let Some(extend) = extend {
        reader.extend(&mut set, &extend, load, depth);
    }
    for rule in &set.rules {
        if rule.regex.is_none() && rule.path.is_none() {
            let message = format!("rule `{}` has neither `regex` nor `path`", rule.id);
            reader.error(None, message);
        }
    }
    set.rules.retain(|rule| rule.regex.is_some() || rule.path.is_some());
    (Some(set), reader.findings)
}

#[derive(Deserialize)]
struct File {
    extend: Option<Extend>,
    #[serde(default)]
    rules: Vec<RawRule>,
    allowlist: Option<RawAllowlist>,
    #[serde(default)]
    allowlists: Vec<RawAllowlist>,
}

#[derive(Deserialize, Clone)]
#[serde(rename_all = "camelCase")]
struct Extend {
    #[serde(default)]
    use_default: bool,
    path: Option<Spanned<String>>,
    url: Option<Spanned<String>>,
    #[serde(default)]
    disabled_rules: Vec<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawRule {
    id: Spanned<String>,
    #[serde(default)]
    description: String,
    regex: Option<Spanned<String>>,
    #[serde(default)]
    secret_group: usize,
    #[serde(default)]
    entropy: f64,
    path: Option<Spanned<String>>,
    #[serde(default)]
    keywords: Vec<String>,
    #[serde(default)]
    tags: Vec<String>,
    allowlist: Option<RawAllowlist>,
    #[serde(default)]
    allowlists: Vec<RawAllowlist>,
    required: Option<Spanned<toml::Value>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawAllowlist {
    condition: Option<Spanned<String>>,
    #[serde(default)]
    commits: Vec<String>,
    #[serde(default)]
    paths: Vec<Spanned<String>>,
    regex_target: Option<Spanned<String>>,
    #[serde(default)]
    regexes: Vec<Spanned<String>>,
    #[serde(default)]
    stopwords: Vec<String>,
    #[serde(default)]
    target_rules: Vec<String>,
}

const FILE_KEYS: &[&str] =
    &["title", "description", "minVersion", "extend", "rules", "allowlist", "allowlists"];
const EXTEND_KEYS: &[&str] = &["useDefault", "path", "url", "disabledRules"];
const RULE_KEYS: &[&str] = &[
    "id",
    "description",
    "regex",
    "secretGroup",
    "entropy",
    "path",
    "keywords",
    "tags",
    "allowlist",
    "allowlists",
    "required",
    "skipReport",
];
const ALLOWLIST_KEYS: &[&str] = &[
    "description",
    "condition",
    "commits",
    "paths",
    "regexTarget",
    "regexes",
    "stopwords",
    "targetRules",
];

/// One file being read.
struct Reader<'a> {
    path: &'a str,
    text: &'a str,
    lines: LineIndex,
    /// Where each pattern stands, to say what is wrong with it.
    patterns: Vec<(Pattern, Range<usize>)>,
    findings: Vec<Finding>,
}

impl<'a> Reader<'a> {
    fn new(path: &'a str, text: &'a str) -> Self {
        let lines = LineIndex::new(text);
        Self { path, text, lines, patterns: Vec::new(), findings: Vec::new() }
    }

    fn place(&self, range: Option<Range<usize>>) -> Place {
        let Some(range) = range else { return Place::file(self.path) };
        let start = self.lines.position(self.text, range.start);
        let end = self.lines.position(self.text, range.end);
        Place::at(self.path, Span::new(start, end))
    }

    fn error(&mut self, range: Option<Range<usize>>, message: String) -> &mut Finding {
        let place = self.place(range);
        self.findings.push(Finding::error(CONFIG, message, place));
        self.findings.last_mut().expect("it was pushed on the line above")
    }

    /// Says which keys are none; gitleaks passes over them, and a mistyped one loses a rule's sense.
    fn unknown_keys(&mut self) {
        let Ok(document) = self.text.parse::<toml::Table>() else { return };
        self.keys(&document, FILE_KEYS);
        if let Some(extend) = document.get("extend").and_then(toml::Value::as_table) {
            self.keys(extend, EXTEND_KEYS);
        }
        self.allowlist_keys(&document);
        let rules = document.get("rules").and_then(toml::Value::as_array);
        for rule in rules.into_iter().flatten().filter_map(toml::Value::as_table) {
            self.keys(rule, RULE_KEYS);
            self.allowlist_keys(rule);
        }
    }

    fn allowlist_keys(&mut self, table: &toml::Table) {
        let one = table.get("allowlist").and_then(toml::Value::as_table);
        let many = table.get("allowlists").and_then(toml::Value::as_array);
        let many = many.into_iter().flatten().filter_map(toml::Value::as_table);
        for list in one.into_iter().chain(many) {
            self.keys(list, ALLOWLIST_KEYS);
        }
    }

    fn keys(&mut self, table: &toml::Table, known: &[&str]) {
        for key in table.keys().filter(|key| !known.contains(&key.as_str())) {
            let mut finding = Finding::warning(
                CONFIG,
                format!("`{key}` is not a key here"),
                Place::file(self.path),
            );
            finding.help = did_you_mean(key, known.iter().copied())
                .map(|near| format!("did you mean `{near}`?"));
            self.findings.push(finding);
        }
    }

    fn pattern(&mut self, text: Spanned<String>) -> Pattern {
        let range = text.span();
        let pattern = Pattern::new(text.into_inner());
        self.patterns.push((pattern.clone(), range));
        pattern
    }

    fn rule_set(&mut self, file: File) -> RuleSet {
        let mut set = RuleSet::default();
        for raw in file.rules {
            if let Some(required) = &raw.required {
                let message = format!(
                    "rule `{}` needs other rules, which is not supported",
                    raw.id.get_ref()
                );
                self.error(Some(required.span()), message).help =
                    Some("take `required` out; the rule is left out until then".to_owned());
                continue;
            }
            if set.rule(raw.id.get_ref()).is_some() {
                let message = format!("there are two rules `{}`", raw.id.get_ref());
                self.error(Some(raw.id.span()), message);
                continue;
            }
            let lists = raw.allowlist.into_iter().chain(raw.allowlists);
            let rule = SecretRule {
                id: raw.id.into_inner(),
                description: raw.description,
                regex: raw.regex.map(|text| self.pattern(text)),
                secret_group: raw.secret_group,
                entropy: raw.entropy,
                path: raw.path.map(|text| self.pattern(text)),
                keywords: lowered(raw.keywords),
                tags: raw.tags,
                allowlists: lists.map(|list| self.allowlist(list)).collect(),
            };
            set.rules.push(rule);
        }
        let lists = file.allowlist.into_iter().chain(file.allowlists);
        set.allowlists = lists.map(|list| self.allowlist(list)).collect();
        set
    }

    fn allowlist(&mut self, raw: RawAllowlist) -> Allowlist {
        let all = match raw.condition.as_ref().map(|text| text.get_ref().to_ascii_uppercase()) {
            None => false,
            Some(text) => match text.as_str() {
                "" | "OR" | "||" => false,
                "AND" | "&&" => true,
                _ => {
                    let range = raw.condition.as_ref().map(Spanned::span);
                    self.error(range, "`condition` must be AND or OR".to_owned());
                    false
                }
            },
        };
        let target = match raw.regex_target.as_ref().map(|text| text.get_ref().as_str()) {
            None | Some("" | "secret") => RegexTarget::Secret,
            Some("match") => RegexTarget::Match,
            Some("line") => RegexTarget::Line,
            Some(_) => {
                let range = raw.regex_target.as_ref().map(Spanned::span);
                self.error(range, "`regexTarget` must be secret, match or line".to_owned());
                RegexTarget::Secret
            }
        };
        Allowlist {
            all,
            commits: lowered(raw.commits),
            paths: raw.paths.into_iter().map(|text| self.pattern(text)).collect(),
            target,
            regexes: raw.regexes.into_iter().map(|text| self.pattern(text)).collect(),
            stopwords: lowered(raw.stopwords),
            rules: raw.target_rules,
        }
    }

    /// Says which patterns cannot be used.
    fn compile(&mut self, set: &RuleSet) {
        for (pattern, range) in std::mem::take(&mut self.patterns) {
            if let Some(fault) = pattern.fault() {
                let message = format!("the pattern cannot be used: {fault}");
                self.error(Some(range), message);
            }
        }
        for rule in &set.rules {
            let groups =
                rule.regex.as_ref().and_then(Pattern::regex).map(regex::bytes::Regex::captures_len);
            if groups.is_some_and(|groups| rule.secret_group >= groups) {
                let message = format!(
                    "rule `{}` takes group {} of a pattern that has fewer",
                    rule.id, rule.secret_group
                );
                self.error(None, message);
            }
        }
    }

    fn extend(
        &mut self,
        set: &mut RuleSet,
        extend: &Extend,
        load: &dyn Fn(&str) -> Option<String>,
        depth: usize,
    ) {
        const DEEPEST: usize = 2;
        let disabled: Vec<String> =
            extend.disabled_rules.iter().map(|id| id.get_ref().clone()).collect();
        if let Some(url) = &extend.url {
            self.error(Some(url.span()), "`extend.url` is not supported".to_owned()).help =
                Some("put the file into the repository and name it in `extend.path`".to_owned());
        }
        if extend.use_default {
            let built_in = RuleSet::built_in();
            set.extend(&built_in, &disabled);
            return;
        }
        let Some(path) = &extend.path else { return };
        if depth >= DEEPEST {
            self.error(Some(path.span()), "rule files extend each other too deeply".to_owned());
            return;
        }
        let Some(text) = load(path.get_ref()) else {
            let message = format!("there is no file `{}`", path.get_ref());
            self.error(Some(path.span()), message);
            return;
        };
        let (base, findings) = read_at_depth(path.get_ref(), &text, load, depth + 1);
        self.findings.extend(findings);
        if let Some(base) = base {
            set.extend(&base, &disabled);
        }
    }
}

fn lowered(words: Vec<String>) -> Vec<String> {
    words.into_iter().map(|word| word.to_lowercase()).collect()
}
