//! The jobs of a run as a graph: columns by what they need, curves between them.

use std::collections::HashMap;

use explain::story::standing_of;
use explain::{Standing, Subject, words};
use journal::view::{Job, Run};
use journal::{Conclusion, JobKey};
use maud::{Markup, html};

use super::{class_of, word_of};

const WIDTH: u32 = 196;
const HEIGHT: u32 = 48;
const GAP_X: u32 = 52;
const GAP_Y: u32 = 14;
const MARGIN: u32 = 4;

/// A matrix with more jobs than this is drawn as one node.
const MOST_OF_ONE_MATRIX: usize = 6;

/// A box of the graph: a job, or a matrix of many.
struct Node {
    id: String,
    needs: Vec<String>,
    title: String,
    note: String,
    standing: Standing,
    word: &'static str,
    path: String,
    column: u32,
    row: u32,
}

/// Returns the graph of a run's jobs.
pub(crate) fn graph(run: &Run) -> Markup {
    let nodes = place(nodes(run));
    let columns = nodes.iter().map(|node| node.column + 1).max().unwrap_or(0);
    let rows = nodes.iter().map(|node| node.row + 1).max().unwrap_or(0);
    let width = columns * (WIDTH + GAP_X) - GAP_X.min(columns * GAP_X) + 2 * MARGIN;
    let height = rows * (HEIGHT + GAP_Y) - GAP_Y.min(rows * GAP_Y) + 2 * MARGIN;
    let x = |node: &Node| MARGIN + node.column * (WIDTH + GAP_X);
    let y = |node: &Node| MARGIN + node.row * (HEIGHT + GAP_Y);
    html! {
        div.graph tabindex="0" role="region" aria-label="Jobs and what they need" {
            svg width=(width) height=(height) viewBox=(format!("0 0 {width} {height}")) {
                @for node in &nodes {
                    @for needed in nodes.iter().filter(|other| node.needs.contains(&other.id)) {
                        path.edge.(class_of(needed.standing)) d=(curve(x(needed) + WIDTH, y(needed) + HEIGHT / 2, x(node), y(node) + HEIGHT / 2)) {}
                    }
                }
                @for node in &nodes {
                    a href=(node.path) {
                        g.node.(class_of(node.standing)) {
                            rect x=(x(node)) y=(y(node)) width=(WIDTH) height=(HEIGHT) rx="8" {}
                            svg x=(x(node) + 12) y=(y(node) + 16) width="16" height="16" overflow="visible" { (super::icon::of(node.standing)) }
                            text.title x=(x(node) + 38) y=(y(node) + 21) { (words::shorten(&node.title, 21)) }
                            text.note x=(x(node) + 38) y=(y(node) + 37) { (node.word) @if !node.note.is_empty() { " · " (node.note) } }
                            title { (node.title) }
                        }
                    }
                }
            }
        }
    }
}

fn nodes(run: &Run) -> Vec<Node> {
    let mut of_id: HashMap<&str, Vec<(&JobKey, &Job)>> = HashMap::new();
    for (key, job) in &run.jobs {
        of_id.entry(&job.planned.id).or_default().push((key, job));
    }
    let mut nodes: Vec<Node> = Vec::new();
    for (key, job) in &run.jobs {
        let group = &of_id[job.planned.id.as_str()];
        let is_folded = group.len() > MOST_OF_ONE_MATRIX;
        if is_folded && nodes.iter().any(|node| node.id == job.planned.id) {
            continue;
        }
        nodes.push(if is_folded { folded(run, group) } else { single(run, key, job) });
    }
    nodes
}

fn single(run: &Run, key: &JobKey, job: &Job) -> Node {
    let is_waiting = job.conclusion.is_none() && job.started.is_none();
    Node {
        id: job.planned.id.clone(),
        needs: job.planned.needs.clone(),
        title: key.to_string(),
        note: job.milliseconds.map(words::duration).unwrap_or_default(),
        standing: if is_waiting { Standing::Off } else { standing_of(job.conclusion) },
        word: if is_waiting { "Waiting" } else { word_of(job.conclusion) },
        path: Subject::Job(run.id, key.clone()).path(),
        column: 0,
        row: 0,
    }
}

fn folded(run: &Run, group: &[(&JobKey, &Job)]) -> Node {
    let worst = group.iter().find(|(_, job)| job.conclusion == Some(Conclusion::Failure));
    let running = group.iter().find(|(_, job)| job.conclusion.is_none());
    let (key, job) = worst.or(running).unwrap_or(&group[0]);
    let failed =
        group.iter().filter(|(_, job)| job.conclusion == Some(Conclusion::Failure)).count();
    let ended = group.iter().filter(|(_, job)| job.conclusion.is_some()).count();
    Node {
        title: format!("{} ×{}", job.planned.id, group.len()),
        note: match failed {
            0 => format!("{ended} of {}", group.len()),
            failed => format!("{failed} of {}", group.len()),
        },
        ..single(run, key, job)
    }
}

/// Gives each node its column, one after all it needs, and a row near what it needs.
fn place(mut nodes: Vec<Node>) -> Vec<Node> {
    let needs: Vec<Vec<usize>> = nodes
        .iter()
        .map(|node| {
            (0..nodes.len()).filter(|other| node.needs.contains(&nodes[*other].id)).collect()
        })
        .collect();
    // Each round moves columns on by what they need; as many rounds as nodes are enough.
    for _ in 0..nodes.len() {
        for index in 0..nodes.len() {
            let after =
                needs[index].iter().map(|needed| nodes[*needed].column + 1).max().unwrap_or(0);
            nodes[index].column = after.min(nodes.len() as u32);
        }
    }
    let columns = nodes.iter().map(|node| node.column + 1).max().unwrap_or(0);
    for column in 0..columns {
        let mut inside: Vec<(f64, usize)> = (0..nodes.len())
            .filter(|index| nodes[*index].column == column)
            .map(|index| {
                let rows: Vec<f64> =
                    needs[index].iter().map(|needed| f64::from(nodes[*needed].row)).collect();
                let middle = if rows.is_empty() {
                    index as f64
                } else {
                    rows.iter().sum::<f64>() / rows.len() as f64
                };
                (middle, index)
            })
            .collect();
        inside.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        for (row, (_, index)) in inside.into_iter().enumerate() {
            nodes[index].row = row as u32;
        }
    }
    nodes
}

fn curve(x1: u32, y1: u32, x2: u32, y2: u32) -> String {
    let middle = u32::midpoint(x1, x2);
    format!("M{x1} {y1}C{middle} {y1} {middle} {y2} {x2} {y2}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: &str, needs: &[&str]) -> Node {
        Node {
            id: id.to_owned(),
            needs: needs.iter().map(|need| (*need).to_owned()).collect(),
            title: id.to_owned(),
            note: String::new(),
            standing: Standing::Ok,
            word: "Passed",
            path: String::new(),
            column: 0,
            row: 0,
        }
    }

    #[test]
    fn a_job_stands_after_all_it_needs() {
        let nodes = place(vec![
            node("publish", &["test", "lint"]),
            node("test", &["build"]),
            node("build", &[]),
            node("lint", &[]),
        ]);
        let column = |id: &str| nodes.iter().find(|node| node.id == id).map(|node| node.column);
        assert_eq!(
            (column("build"), column("lint"), column("test"), column("publish")),
            (Some(0), Some(0), Some(1), Some(2))
        );
    }

    #[test]
    fn jobs_that_need_each_other_still_end() {
        let nodes = place(vec![node("a", &["b"]), node("b", &["a"])]);
        assert!(nodes.iter().all(|node| node.column <= 2));
    }
}
