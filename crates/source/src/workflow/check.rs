//! What must hold beyond the shape of a workflow.

use std::collections::{HashMap, HashSet};

use super::message;
use super::model::{Job, RunsOn, Setting, Step, StepKind, Work, Workflow};
use super::{Container, Spanned, id};
use crate::Span;
use crate::yaml::{Findings, Node};

/// Checks the jobs of a workflow; `jobs` is where their mapping stands.
pub(super) fn check(workflow: &Workflow, jobs: Span, findings: &mut Findings) {
    for job in &workflow.jobs {
        identifier(&job.id.value, job.id.span, findings);
        match &job.work {
            Work::Call(call) => called(&call.uses, findings),
            Work::Steps(steps) => {
                if let Some(runs_on) = &steps.runs_on {
                    group(runs_on, findings);
                }
                if let Some(container) = &steps.container {
                    image(container, findings);
                }
                let services = steps.services.written().map(Vec::as_slice).unwrap_or_default();
                for service in services {
                    image(&service.container, findings);
                }
                Scope::default().steps(&steps.list, findings);
            }
        }
        matrix(job, findings);
    }
    needs(&workflow.jobs, findings);
    if !workflow.jobs.iter().any(|job| job.needs.is_empty()) {
        message::no_root_job(findings, jobs);
    }
}

fn identifier(text: &str, span: Span, findings: &mut Findings) {
    if !id::is_valid(text) {
        message::id_invalid(findings, text, span);
    } else if id::is_reserved(text) {
        message::id_reserved(findings, text, span);
    }
}

/// The steps of a job that were met so far, by lower-case id.
#[derive(Default)]
struct Scope<'a> {
    seen: HashMap<String, Span>,
    ids: Vec<&'a str>,
}

impl<'a> Scope<'a> {
    fn steps(&mut self, steps: &'a [Step], findings: &mut Findings) {
        for step in steps {
            if let Some(span) = step.id_span {
                identifier(&step.id, span, findings);
                match self.seen.get(&step.id.to_lowercase()) {
                    Some(first) => message::id_taken(findings, &step.id, span, first.start),
                    None => {
                        self.seen.insert(step.id.to_lowercase(), span);
                        self.ids.push(&step.id);
                    }
                }
            }
            match &step.kind {
                StepKind::Uses { action, .. } => used(action, findings),
                StepKind::Wait(targets) => {
                    for target in targets {
                        self.target("wait", target, findings);
                    }
                }
                StepKind::Cancel(target) => self.target("cancel", target, findings),
                StepKind::Parallel(inner) => self.steps(inner, findings),
                StepKind::Run { .. } | StepKind::WaitAll(_) => {}
            }
        }
    }

    fn target(&self, word: &str, target: &Spanned<String>, findings: &mut Findings) {
        if !self.seen.contains_key(&target.value.to_lowercase()) {
            message::background_unknown(findings, word, target, &self.ids);
        }
    }
}

fn used(action: &Spanned<String>, findings: &mut Findings) {
    let text = action.value.as_str();
    let here = ["./", ".\\", "$/", "docker://"].iter().any(|prefix| text.starts_with(prefix));
    if !here && !text.is_empty() && repository_path(text).is_none_or(|path| path.len() < 2) {
        message::uses_invalid(findings, action);
    }
}

fn called(uses: &Spanned<String>, findings: &mut Findings) {
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

/// Splits `owner/repository/path@ref`; `None` if a part is missing or empty.
fn repository_path(text: &str) -> Option<Vec<&str>> {
    let (path, reference) = text.split_once('@')?;
    let parts: Vec<&str> = path.split(['/', '\\']).collect();
    let whole = !reference.is_empty() && parts.iter().all(|part| !part.is_empty());
    whole.then_some(parts)
}

fn group(runs_on: &RunsOn, findings: &mut Findings) {
    let RunsOn::Group { group: Some(group), .. } = runs_on else { return };
    if group.has_expression() {
        return;
    }
    let text = group.coerced();
    let Some((prefix, name)) = text.split_once('/') else { return };
    let known = ["org", "organization", "ent", "enterprise"]
        .iter()
        .any(|known| known.eq_ignore_ascii_case(prefix));
    if !known || name.is_empty() || name.contains('/') {
        message::group_invalid(findings, &text, group.span);
    }
}

fn image(container: &Container, findings: &mut Findings) {
    if container.image.is_none() {
        message::image_missing(findings, container.span);
    }
}

fn matrix(job: &Job, findings: &mut Findings) {
    let Some(Setting::Written(strategy)) = &job.strategy else { return };
    let vectors = strategy.value.matrix.as_ref().and_then(Node::as_mapping).unwrap_or_default();
    for (key, vector) in vectors {
        let name = key.as_str().unwrap_or_default();
        let is_vector = !matches!(name, "include" | "exclude");
        if is_vector && vector.as_sequence().is_some_and(<[Node]>::is_empty) {
            message::matrix_vector_empty(findings, name, vector);
        }
    }
}

fn needs(jobs: &[Job], findings: &mut Findings) {
    let ids: Vec<&str> = jobs.iter().map(|job| job.id.value.as_str()).collect();
    let index: HashMap<String, usize> =
        ids.iter().enumerate().map(|(at, id)| (id.to_lowercase(), at)).collect();
    let mut edges = vec![Vec::new(); jobs.len()];
    for (from, job) in jobs.iter().enumerate() {
        for need in &job.needs {
            match index.get(&need.value.to_lowercase()) {
                Some(to) => edges[from].push(*to),
                None => message::needs_unknown(findings, &job.id.value, need, &ids),
            }
        }
    }
    let circle = circles(&edges);
    for (from, job) in jobs.iter().enumerate() {
        for need in &job.needs {
            if let Some(to) = index.get(&need.value.to_lowercase())
                && circle[from].is_some()
                && circle[from] == circle[*to]
            {
                message::needs_cycle(findings, &job.id.value, need);
            }
        }
    }
}

/// Numbers the circles of a graph: two nodes of the same number can reach each other.
fn circles(edges: &[Vec<usize>]) -> Vec<Option<usize>> {
    // Kosaraju: finish order forwards, then trees backwards. With stacks of its own, because a
    // file may chain as many jobs as it likes.
    let mut order = Vec::new();
    let mut visited = vec![false; edges.len()];
    for start in 0..edges.len() {
        let mut stack = vec![(start, 0)];
        while let Some((node, next)) = stack.pop() {
            if next == 0 {
                if visited[node] {
                    continue;
                }
                visited[node] = true;
            }
            match edges[node].get(next) {
                Some(to) => {
                    stack.push((node, next + 1));
                    stack.push((*to, 0));
                }
                None => order.push(node),
            }
        }
    }
    let mut back = vec![Vec::new(); edges.len()];
    for (from, targets) in edges.iter().enumerate() {
        for to in targets {
            back[*to].push(from);
        }
    }
    let mut circle = vec![None; edges.len()];
    let mut assigned = HashSet::new();
    for (number, start) in order.iter().rev().enumerate() {
        let mut members = Vec::new();
        let mut stack = vec![*start];
        while let Some(node) = stack.pop() {
            if assigned.insert(node) {
                members.push(node);
                stack.extend(&back[node]);
            }
        }
        let on_itself = members.len() == 1 && edges[members[0]].contains(&members[0]);
        if members.len() > 1 || on_itself {
            for member in members {
                circle[member] = Some(number);
            }
        }
    }
    circle
}

#[cfg(test)]
mod tests {
    use super::circles;

    #[test]
    fn only_jobs_that_reach_each_other_are_in_a_circle() {
        // 0 ⇄ 1, 2 → 1, 3 → 3, 4 → 0
        let circle = circles(&[vec![1], vec![0], vec![1], vec![3], vec![0]]);
        assert!(circle[0].is_some() && circle[0] == circle[1]);
        assert!(circle[3].is_some() && circle[3] != circle[0]);
        assert_eq!((circle[2], circle[4]), (None, None));
    }
}
