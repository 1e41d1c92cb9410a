//! `marline report`: what tests said over many runs.

use std::collections::BTreeMap;

use explain::words;
use journal::RunId;
use pipeline::history::{JobResults, Proof, TestHistory, histories};
use pipeline::report::Outcome as Ended;
use serde_json::json;

use super::timeline::{clean, one_line, paint, tell};
use crate::cli::{Global, ReportArgs};
use crate::exit::{Exit, Failure, Outcome};
use crate::project::Here;
use crate::state::State;

/// How many runs are looked at.
const MOST_RUNS: usize = 200;

/// The longest message that is told.
const LONGEST: usize = 120;

/// How many of the slowest tests are told.
const SLOWEST: usize = 5;

/// Tells what tests said.
pub fn run(args: &ReportArgs, global: &Global) -> Outcome {
    if !args.tests {
        return Err(Failure::new(Exit::Usage, "say what to report on")
            .help("`marline report --tests` tells what tests said, over all runs that are kept"));
    }
    let here = Here::find(global)?;
    here.known()?;
    let runs = results(&here.state, None);
    let newest = runs.iter().map(|(run, _)| *run).max();
    let all = histories(runs.iter().cloned());
    let wanted: Vec<&TestHistory> = all
        .iter()
        .filter(|test| args.name.as_ref().is_none_or(|name| test.to_string().contains(name)))
        .collect();
    if here.json {
        tell(&format!("{}\n", as_json(&runs, &wanted)))?;
        return Ok(Exit::Done);
    }
    let Some(newest) = newest else {
        tell("  no run has reported tests yet\n")?;
        return Ok(Exit::Done);
    };
    tell(&told(&here, &runs, newest, &wanted, args.name.is_some()))?;
    Ok(Exit::Done)
}

/// Reads what runs kept, the newest first; of one job if one is named.
fn results(state: &State, job: Option<&journal::JobKey>) -> Vec<(RunId, JobResults)> {
    let entries = std::fs::read_dir(state.runs()).into_iter().flatten().flatten();
    let mut numbers: Vec<u64> =
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    numbers.sort_unstable_by(|one, other| other.cmp(one));
    let mut found = Vec::new();
    for number in numbers.into_iter().take(MOST_RUNS) {
        let run = RunId(number);
        let directory = state.tests(run);
        match job {
            Some(job) => found.extend(JobResults::read(&directory, job).ok().map(|one| (run, one))),
            None => found.extend(JobResults::all(&directory).into_iter().map(|one| (run, one))),
        }
    }
    found
}

/// Returns the tests that a job of a run proves to be flaky, with the runs that do.
pub fn flaky(state: &State, run: RunId, job: &journal::JobKey) -> Vec<(String, Proof)> {
    let Ok(of_run) = JobResults::read(&state.tests(run), job) else { return Vec::new() };
    let same = results(state, Some(job)).into_iter().filter(|(number, other)| {
        *number <= run
            && other.workflow == of_run.workflow
            && (*number == run || (other.inputs.is_some() && other.inputs == of_run.inputs))
    });
    let proven = histories(same).into_iter().filter_map(|test| {
        let proof = test.flaky()?;
        (proof.passed == run || proof.failed == run).then(|| (test.to_string(), proof))
    });
    proven.collect()
}

fn as_json(runs: &[(RunId, JobResults)], tests: &[&TestHistory]) -> serde_json::Value {
    let runs: Vec<serde_json::Value> = runs
        .iter()
        .map(|(run, results)| {
            json!({
                "run": run,
                "workflow": results.workflow,
                "job": results.job,
                "passed": results.count(Ended::Passed) + results.unnamed,
                "failed": results.count(Ended::Failed),
                "skipped": results.count(Ended::Skipped),
                "flaky": results.count(Ended::Flaky),
                "not_kept": results.dropped,
                "inputs": results.inputs,
            })
        })
        .collect();
    let tests: Vec<serde_json::Value> = tests
        .iter()
        .map(|test| {
            json!({
                "workflow": test.workflow,
                "job": test.job,
                "suite": test.suite,
                "name": test.name,
                "passed": test.count(Ended::Passed),
                "failed": test.count(Ended::Failed),
                "skipped": test.count(Ended::Skipped),
                "flaky": test.flaky(),
                "history": test.seen,
            })
        })
        .collect();
    json!({ "runs": runs, "tests": tests })
}

fn told(
    here: &Here,
    runs: &[(RunId, JobResults)],
    newest: RunId,
    tests: &[&TestHistory],
    each: bool,
) -> String {
    let mut out = String::new();
    for (run, results) in runs.iter().filter(|(run, _)| *run == newest) {
        let counts = [
            (results.count(Ended::Failed), "failed"),
            (results.count(Ended::Flaky), "passed when tried again"),
            (results.count(Ended::Passed) + results.unnamed, "passed"),
            (results.count(Ended::Skipped), "skipped"),
        ];
        let counts: Vec<String> = counts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, word)| format!("{count} {word}"))
            .collect();
        out += &format!("  run {run}, {}: {}\n", clean(&results.job.0), counts.join(", "));
        if results.dropped > 0 {
            out += &format!("    {} more were too many to be kept\n", results.dropped);
        }
    }
    let failing = tests.iter().filter(|test| {
        test.seen.first().is_some_and(|seen| seen.outcome == Ended::Failed && seen.run == newest)
    });
    let flaky = tests.iter().filter_map(|test| Some((test, test.flaky()?)));
    let mut failing: Vec<String> = failing.map(|test| line(here, test, "✗", "31")).collect();
    let mut proven: Vec<String> = Vec::new();
    for (test, proof) in flaky {
        let why = if proof.passed == proof.failed {
            format!("failed and passed when it was tried again in run {}", proof.passed)
        } else {
            let (passed, failed) = (proof.passed, proof.failed);
            format!("on the same inputs it passed in run {passed} and failed in run {failed}")
        };
        proven.push(format!("{}    {why}\n", line(here, test, "~", "33")));
    }
    if each {
        failing.clear();
        proven.clear();
        for test in tests {
            out += &line(here, test, "•", "36");
            for seen in &test.seen {
                let time = seen.milliseconds.map(|ms| format!(", {}", words::duration(ms)));
                out += &format!(
                    "    run {}: {}{}",
                    seen.run,
                    word(seen.outcome),
                    time.unwrap_or_default()
                );
                if !seen.message.is_empty() {
                    out += &format!(
                        "  {}",
                        paint(here.colour, "2", &one_line(&seen.message, LONGEST))
                    );
                }
                out.push('\n');
            }
        }
        if tests.is_empty() {
            out += "  no test has this name\n";
        }
        return out;
    }
    for (title, lines) in [("failing", failing), ("flaky, by proof", proven)] {
        if !lines.is_empty() {
            out += &format!("\n  {title}\n{}", lines.concat());
        }
    }
    let mut slow: Vec<(&&TestHistory, u64)> = tests
        .iter()
        .filter_map(|test| {
            Some((test, test.seen.first().filter(|seen| seen.run == newest)?.milliseconds?))
        })
        .filter(|(_, time)| *time >= 100)
        .collect();
    slow.sort_by_key(|(_, time)| std::cmp::Reverse(*time));
    if !slow.is_empty() {
        out += "\n  slowest\n";
        for (test, time) in slow.into_iter().take(SLOWEST) {
            out += &format!("  {:>8}  {}\n", words::duration(time), clean(&test.to_string()));
        }
    }
    out
}

fn line(here: &Here, test: &TestHistory, sign: &str, code: &str) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for seen in &test.seen {
        *counts.entry(word(seen.outcome)).or_default() += 1;
    }
    let counts: Vec<String> =
        counts.iter().map(|(word, count)| format!("{word} {count}")).collect();
    let mut told = format!(
        "  {} {} · {}  {}\n",
        paint(here.colour, code, sign),
        clean(&test.job.0),
        clean(&test.to_string()),
        paint(
            here.colour,
            "2",
            &format!(
                "{} of {}",
                counts.join(", "),
                words::count(test.seen.len() as u64, "run", "runs")
            )
        ),
    );
    let message = test.seen.first().map_or("", |seen| seen.message.as_str());
    if sign == "✗" && !message.is_empty() {
        told += &format!("    {}\n", one_line(message, LONGEST));
    }
    told
}

fn word(outcome: Ended) -> &'static str {
    match outcome {
        Ended::Passed => "passed",
        Ended::Failed => "failed",
        Ended::Skipped => "skipped",
        Ended::Flaky => "flaky",
    }
}
