//! What must hold beyond the shape of a workflow, in the order GitHub looks at it.

use std::collections::{HashMap, HashSet, VecDeque};

use super::fault::Faults;
use super::schema::{JOB_CONDITION, MATRIX, STEP_CONDITION};
use super::shape::{Weight, parse};
use super::token::{OBJECT, Token, TokenKind, weight};
use super::{Spanned, id, message};
use crate::Span;
use crate::yaml::Findings;

/// Checks a workflow. `jobs` counts the jobs of all files.
pub(super) fn check(root: &Token, total: &mut Weight, faults: &mut Faults) {
    for (name, _, value) in root.entries() {
        match name {
            "concurrency" => concurrency(value, faults),
            "jobs" => jobs(value, total, faults),
            _ => {}
        }
    }
}

/// Checks the name of a called workflow, which GitHub's reader leaves to whoever fetches it.
pub(super) fn called(uses: &Spanned<String>, findings: &mut Findings) {
    let text = uses.value.as_str();
    let here = ["./", "$/"].iter().find_map(|prefix| text.strip_prefix(prefix));
    let path = match here {
        Some(path) if !path.contains('@') => Some(path.split('/').collect()),
        Some(_) => None,
        None => repository_path(text).filter(|path| path.len() >= 5).map(|path| path[2..].to_vec()),
    };
    let is_workflow = |path: Vec<&str>| match path.as_slice() {
        [".github", "workflows", file] => {
            matches!(file.rsplit_once('.'), Some((_, "yml" | "yaml")))
        }
        _ => false,
    };
    if !text.is_empty() && !path.is_some_and(is_workflow) {
        message::call_invalid(findings, uses);
    }
}

/// Splits `owner/repository/path@ref`; `None` if a part is missing.
pub(super) fn repository_path(text: &str) -> Option<Vec<&str>> {
    let (path, reference) = text.split_once('@')?;
    let parts: Vec<&str> = path.split(['/', '\\']).filter(|part| !part.is_empty()).collect();
    (!reference.is_empty() && !reference.contains('@') && parts.len() >= 2).then_some(parts)
}

/// A job on the way to being started: its name and the needs that nothing has met yet.
struct Waiting<'a> {
    name: &'a str,
    needs: Vec<&'a Token>,
}

fn jobs(jobs: &Token, total: &mut Weight, faults: &mut Faults) {
    let (mut ready, mut waiting) = (VecDeque::new(), Vec::new());
    for (name, id, body) in jobs.entries() {
        identifier(name, id.span, faults);
        job(body, total, faults);
        let needs = needs(body);
        if needs.is_empty() {
            ready.push_back(name);
        } else {
            waiting.push(Waiting { name, needs });
        }
    }
    if jobs.as_mapping().is_none() {
        return;
    }
    let mut later = Faults::new(faults.path());
    if ready.is_empty() {
        message::no_root_job(&mut later, jobs.span);
    }
    let mut order = Faults::new(faults.path());
    follow(jobs, ready, waiting, &mut order);
    later.append(order);
    faults.append(later);
}

/// Starts the jobs that are ready, then those that wait for them, and tells which never start.
fn follow<'a>(
    jobs: &'a Token,
    mut ready: VecDeque<&'a str>,
    mut waiting: Vec<Waiting<'a>>,
    faults: &mut Faults,
) {
    let names: Vec<&str> = jobs.entries().map(|(name, ..)| name).collect();
    let known: HashSet<String> = names.iter().map(|name| name.to_lowercase()).collect();
    // Who waits for whom, so that each need is looked at once.
    let mut waiters: HashMap<String, Vec<usize>> = HashMap::new();
    for (at, job) in waiting.iter().enumerate() {
        for need in &job.needs {
            waiters.entry(need.text().to_lowercase()).or_default().push(at);
        }
    }
    while let Some(done) = ready.pop_front() {
        let done = done.to_lowercase();
        for at in waiters.remove(&done).unwrap_or_default() {
            let job = &mut waiting[at];
            if job.needs.is_empty() {
                continue;
            }
            job.needs.retain(|need| need.text().to_lowercase() != done);
            if job.needs.is_empty() {
                ready.push_back(job.name);
            }
        }
    }
    for job in waiting {
        for need in job.needs {
            if known.contains(&need.text().to_lowercase()) {
                message::needs_cycle(faults, job.name, need);
            } else {
                message::needs_unknown(faults, job.name, need, &names);
            }
        }
    }
}

/// The jobs a job needs.
pub(super) fn needs(job: &Token) -> Vec<&Token> {
    match job.get("needs") {
        Some(needs) => match needs.as_list() {
            Some(items) => items.iter().filter(|item| item.as_text().is_some()).collect(),
            None => Some(needs).filter(|need| need.as_text().is_some()).into_iter().collect(),
        },
        None => Vec::new(),
    }
}

fn identifier(text: &str, span: Span, faults: &mut Faults) -> bool {
    if !id::is_valid(text) {
        message::id_invalid(faults, text, span);
    } else if id::is_reserved(text) {
        message::id_reserved(faults, text, span);
    } else {
        return true;
    }
    false
}

fn job(body: &Token, total: &mut Weight, faults: &mut Faults) {
    for (name, _, value) in body.entries() {
        match name {
            "if" => condition(value, JOB_CONDITION, faults),
            "runs-on" => group(value, faults),
            "snapshot" => snapshot(value, faults),
            "steps" => {
                let items = value.as_list().unwrap_or_default();
                Scope::default().steps(items, false, faults);
            }
            "strategy" => strategy(value, total, faults),
            "container" => container(value, faults),
            "services" if !value.has_expression() => {
                value.entries().for_each(|(_, _, service)| container(service, faults));
            }
            "concurrency" => concurrency(value, faults),
            _ => {}
        }
    }
}

/// Checks a condition that is written without `${{ }}`; one with them was read already.
fn condition(token: &Token, contexts: &[&'static str], faults: &mut Faults) {
    let Some(text) = token.as_text().filter(|text| !text.trim().is_empty()) else { return };
    if let Err(error) = parse(text, contexts) {
        message::condition(faults, token.span, &error, contexts);
    }
}

/// The steps of a job that were met so far.
#[derive(Default)]
struct Scope<'a> {
    /// By lower-case id, where it was first used.
    taken: HashMap<String, Span>,
    ids: Vec<&'a str>,
}

impl<'a> Scope<'a> {
    fn steps(&mut self, steps: &'a [Token], is_parallel: bool, faults: &mut Faults) {
        for step in steps {
            let own = step.get("id").and_then(Token::as_text);
            for (name, key, value) in step.entries() {
                match name {
                    "background" | "wait" | "wait-all" | "cancel" | "parallel" if is_parallel => {
                        message::inside_parallel(faults, key);
                    }
                    "id" => self.id(value, faults),
                    "wait" => {
                        let targets = value.as_list().unwrap_or(std::slice::from_ref(value));
                        for target in targets {
                            self.target(target, own, faults);
                        }
                    }
                    "wait-all" if value.kind == TokenKind::Boolean(false) => {
                        message::wait_all_false(faults, value.span);
                    }
                    "cancel" => self.target(value, own, faults),
                    "parallel" => {
                        self.steps(value.as_list().unwrap_or_default(), true, faults);
                    }
                    _ => {}
                }
            }
            if let Some(token) = step.get("if") {
                condition(token, STEP_CONDITION, faults);
            }
            if let Some(uses) = step.get("uses").filter(|_| step.get("run").is_none()) {
                used(uses, faults);
            }
        }
    }

    fn id(&mut self, token: &'a Token, faults: &mut Faults) {
        let Some(text) = token.as_text().filter(|text| !text.is_empty()) else { return };
        if !identifier(text, token.span, faults) {
            return;
        }
        match self.taken.get(&text.to_lowercase()) {
            Some(first) => message::id_taken(faults, text, token.span, *first),
            None => {
                self.taken.insert(text.to_lowercase(), token.span);
                self.ids.push(text);
            }
        }
    }

    fn target(&self, target: &Token, own: Option<&str>, faults: &mut Faults) {
        let Some(text) = target.as_text().filter(|text| !text.is_empty()) else { return };
        if id::is_reserved(text) {
            message::id_reserved(faults, text, target.span);
        } else if let Some(own) = own.filter(|own| own.eq_ignore_ascii_case(text)) {
            message::background_itself(faults, own, target);
        } else if !self.ids.contains(&text) {
            message::background_unknown(faults, target, &self.ids);
        }
    }
}

fn used(uses: &Token, faults: &mut Faults) {
    let Some(text) = uses.as_text().filter(|text| !text.is_empty()) else { return };
    let is_here = ["./", ".\\", "$/", "docker://"].iter().any(|prefix| text.starts_with(prefix));
    if !is_here && repository_path(text).is_none() {
        message::uses_invalid(faults, uses);
    }
}

fn group(runs_on: &Token, faults: &mut Faults) {
    let Some(group) = runs_on.get("group") else { return };
    let Some(text) = group.as_text() else { return };
    let names: Vec<&str> = text.split('/').collect();
    match names.as_slice() {
        [_] => {}
        [_, ""] => message::group_invalid(faults, group, false),
        ["org" | "organization" | "ent" | "enterprise", _] => {}
        _ => message::group_invalid(faults, group, true),
    }
}

fn snapshot(token: &Token, faults: &mut Faults) {
    for (name, _, value) in token.entries() {
        match name {
            "image-name" | "version" if value.is_expression() => return,
            "if" => condition(value, MATRIX, faults),
            "version" => {
                let version = value.text();
                let is_major = version.strip_suffix(".*").is_some_and(|major| {
                    major.bytes().all(|byte| byte.is_ascii_digit()) && major.parse::<i32>().is_ok()
                });
                if !is_major {
                    message::snapshot_version(faults, token.span, &version);
                    return;
                }
            }
            _ => {}
        }
    }
}

fn container(token: &Token, faults: &mut Faults) {
    if token.has_expression() {
        return;
    }
    let image = match &token.kind {
        TokenKind::Text(image) if image.is_empty() => return,
        TokenKind::Text(image) => image,
        TokenKind::Mapping(_) => token.get("image").and_then(Token::as_text).unwrap_or_default(),
        _ => return,
    };
    if image.strip_prefix("docker://").unwrap_or(image).is_empty() {
        message::image_missing(faults, token.span);
    }
}

fn concurrency(token: &Token, faults: &mut Faults) {
    const LONGEST: usize = 400;
    let group = token.as_text().or_else(|| token.get("group").and_then(Token::as_text));
    if group.is_some_and(|group| group.encode_utf16().count() > LONGEST) {
        message::group_too_long(faults, token.span);
    }
}

// The matrix.

fn strategy(strategy: &Token, total: &mut Weight, faults: &mut Faults) {
    let mut is_computed = strategy.is_expression();
    let mut product = None;
    for (key, value) in strategy.as_mapping().unwrap_or_default() {
        is_computed |= key.is_expression() || value.is_expression();
        if key.as_text() == Some("matrix") && value.as_mapping().is_some() {
            is_computed |= value.has_expression();
            product = Some(matrix(value, faults));
        }
    }
    if is_computed {
        return;
    }
    if let Some(matrix) = product {
        combinations(&matrix, total, faults);
    }
}

#[derive(Default)]
struct Matrix<'a> {
    vectors: Vec<(&'a str, &'a [Token])>,
    include: &'a [Token],
    exclude: &'a [Token],
}

fn matrix<'a>(token: &'a Token, faults: &mut Faults) -> Matrix<'a> {
    let mut matrix = Matrix::default();
    let mut has_vector = false;
    for (key, value) in token.as_mapping().unwrap_or_default() {
        let Some(name) = key.as_text() else {
            has_vector = true;
            continue;
        };
        let items = value.as_list().filter(|_| !value.has_expression());
        match (name, items) {
            ("include", Some(items)) => {
                has_vector |= !items.is_empty();
                matrix.include = items;
            }
            ("include", None) => has_vector = true,
            ("exclude", items) => matrix.exclude = items.unwrap_or_default(),
            (_, None) => has_vector = true,
            (_, Some(items)) => {
                has_vector = true;
                if items.is_empty() {
                    message::matrix_vector_empty(faults, name, value.span);
                } else {
                    matrix.vectors.push((name, items));
                }
            }
        }
    }
    if !has_vector {
        message::matrix_without_vector(faults, token.span);
    }
    matrix
}

fn combinations(matrix: &Matrix<'_>, total: &mut Weight, faults: &mut Faults) {
    let names: Vec<&str> = matrix.vectors.iter().map(|(name, _)| *name).collect();
    let is_vector = |key: &Token| {
        key.as_text().is_some_and(|key| names.iter().any(|name| name.eq_ignore_ascii_case(key)))
    };
    for item in matrix.include {
        if item.as_mapping().is_some_and(<[_]>::is_empty) {
            message::matrix_include_empty(faults, item.span);
        }
    }
    for item in matrix.exclude {
        let entries = item.as_mapping().unwrap_or_default();
        if item.as_mapping().is_some_and(<[_]>::is_empty) {
            message::matrix_exclude_empty(faults, item.span);
        }
        for (key, _) in entries.iter().filter(|(key, _)| !is_vector(key)) {
            message::matrix_exclude_unknown(faults, key, &names);
        }
    }
    // What each combination weighs: its id, its name, the contexts `matrix` and `strategy`.
    let own: usize = matrix
        .vectors
        .iter()
        .map(|(name, items)| weight(name) + items.first().map_or(0, Token::whole_weight))
        .sum();
    let each = 11 * OBJECT + weight("matrix") + weight("strategy") + own;
    let lengths = matrix.vectors.iter().map(|(_, items)| items.len());
    let product = match lengths.clone().count() {
        0 => 0,
        _ => lengths.fold(1usize, usize::saturating_mul),
    };
    if !total.add(product.saturating_add(matrix.include.len()).saturating_mul(each)) {
        message::matrix_too_large(faults);
    }
}

#[cfg(test)]
mod tests {
    use super::repository_path;

    #[test]
    fn an_action_has_an_owner_a_repository_and_a_reference() {
        for good in ["a/b@c", "a/b/d/e@c", "a\\b@c", "/a//b/@v1"] {
            assert!(repository_path(good).is_some(), "{good}");
        }
        for bad in ["a@c", "a/b", "a/b@", "a/b@c@d", "/a@c"] {
            assert!(repository_path(bad).is_none(), "{bad}");
        }
    }
}
