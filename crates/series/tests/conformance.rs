//! How many of the public cases of exposition formats we read as they are meant.

use scoreboard::Suite;
use series::exposition::{Format, read};

#[test]
fn openmetrics() {
    let Some(folder) = scoreboard::data("openmetrics", "watch/openmetrics") else { return };
    let mut suite = Suite::new("openmetrics");
    for path in scoreboard::files(&folder, &["json"]) {
        let folder = path.parent().expect("a folder");
        let text = std::fs::read_to_string(&path).expect("a readable case");
        let case: serde_json::Value = serde_json::from_str(&text).expect("a case");
        let (Some(file), Some(wanted)) = (case["file"].as_str(), case["shouldParse"].as_bool())
        else {
            continue;
        };
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let outcome = match std::fs::read_to_string(folder.join(file)) {
            Ok(text) => read(&text, Format::OpenMetrics).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        let outcome = match (outcome, wanted) {
            (Ok(_), true) | (Err(_), false) => Ok(()),
            (Ok(_), false) => Err("should be refused".to_owned()),
            (Err(error), true) => Err(error),
        };
        suite.case(name, outcome);
    }
    suite.must_pass(100.0);
}

#[test]
fn textparse() {
    let Some(folder) = scoreboard::data("textparse", "watch/textparse") else { return };
    let mut suite = Suite::new("textparse");
    for path in scoreboard::files(&folder, &["txt"]) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let format = match name.rsplit('.').nth(1) {
            // These are for the scraper of Prometheus, which does not judge.
            Some("om") => Format::OpenMetricsUnjudged,
            Some("prom") => Format::Text,
            _ => {
                suite.exclude(name, "neither OpenMetrics nor the text format by its name");
                continue;
            }
        };
        let text = std::fs::read_to_string(&path).expect("a readable case");
        // Some payloads are cut from longer ones and lack the end.
        let text = match format {
            Format::OpenMetricsUnjudged if !text.trim_end().ends_with("# EOF") => {
                format!("{text}# EOF\n")
            }
            _ => text,
        };
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).count();
        let outcome = match read(&text, format) {
            Ok(told) if told.samples.len() == lines => Ok(()),
            Ok(told) => Err(format!("{} samples in {lines} lines", told.samples.len())),
            Err(error) => Err(error.to_string()),
        };
        suite.case(name, outcome);
    }
    suite.must_pass(100.0);
}
