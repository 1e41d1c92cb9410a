//! `marline metrics`: questions to the series, and a store of series by itself.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use series::Store;
use series::disk::{Durability, Settings};
use web::prometheus::{OnlySeries, Prometheus, duration_text};

use super::timeline::{clean, tell};
use crate::cli::{Global, MetricsArgs, MetricsCommand, MetricsServeArgs};
use crate::client;
use crate::exit::{Exit, Failure, Outcome};
use crate::project::Here;

/// How many characters a drawn series is wide.
const WIDTH: usize = 60;

/// How many series are drawn; what is left out is said.
const DRAWN: usize = 20;

/// Asks the conductor of this repository, or serves a store of its own.
pub async fn run(args: &MetricsArgs, global: &Global) -> Outcome {
    match (&args.command, &args.query) {
        (Some(MetricsCommand::Serve(args)), _) => serve(args, global).await,
        (None, Some(query)) => ask(query, args, global).await,
        (None, None) => Err(Failure::new(Exit::Usage, "name a question in PromQL").help(
            "for example: marline metrics 'sum by (service) (rate(service_requests_total[1m]))'",
        )),
    }
}

async fn ask(query: &str, args: &MetricsArgs, global: &Global) -> Outcome {
    let here = Here::find(global)?;
    let encoded = utf8_percent_encode(query, NON_ALPHANUMERIC);
    let path = if args.now {
        format!("/api/v1/query?query={encoded}")
    } else {
        let end = Timestamp::now().as_second();
        let range = seconds(&args.range, "--range")?;
        let step = match &args.step {
            Some(step) => seconds(step, "--step")?,
            None => (range / 240).max(1),
        };
        format!("/api/v1/query_range?query={encoded}&start={}&end={end}&step={step}", end - range)
    };
    let (status, answer) = client::get(here.state.root(), &path).await?;
    let answer: Value = serde_json::from_slice(&answer).context("read the conductor's answer")?;
    if !status.is_success() {
        let why = answer["error"].as_str().unwrap_or("the conductor did not answer").to_owned();
        let exit = if answer["errorType"] == "bad_data" { Exit::Usage } else { Exit::Failed };
        return Err(Failure::new(exit, why));
    }
    if here.json {
        tell(&format!("{}\n", answer["data"]))?;
    } else {
        tell(&drawn(&answer["data"]))?;
    }
    for warning in answer["warnings"].as_array().into_iter().flatten() {
        eprintln!("  warning: {}", warning.as_str().unwrap_or_default());
    }
    Ok(Exit::Done)
}

/// Reads a duration as PromQL writes it, or seconds.
fn seconds(text: &str, option: &str) -> Result<i64, Failure> {
    let read = text.parse().ok().or_else(|| duration_text(text).map(|millis| millis / 1000));
    read.filter(|seconds: &i64| *seconds > 0).ok_or_else(|| {
        Failure::new(Exit::Usage, format!("`{option}` must be a time such as 15s, 5m or 1h30m"))
    })
}

/// Draws the data of an answer for a terminal.
fn drawn(data: &Value) -> String {
    let result = &data["result"];
    let mut out = String::new();
    match data["resultType"].as_str() {
        Some("scalar" | "string") => {
            let _ = writeln!(out, "  {}", clean(result[1].as_str().unwrap_or_default()));
        }
        Some("vector") => {
            for point in result.as_array().into_iter().flatten() {
                let value = point["value"][1].as_str().unwrap_or_default();
                let _ = writeln!(out, "  {value:>14}  {}", named(&point["metric"]));
            }
        }
        _ => {
            for series in result.as_array().into_iter().flatten().take(DRAWN) {
                draw_series(&mut out, series);
            }
        }
    }
    let count = result.as_array().map_or(0, Vec::len);
    if out.is_empty() {
        out.push_str("  nothing: no series fits, or none has a sample in this time\n");
    } else if data["resultType"] == "matrix" && count > DRAWN {
        let _ = writeln!(out, "  … and {} more series; --json prints all", count - DRAWN);
    }
    out
}

fn draw_series(out: &mut String, series: &Value) {
    let values: Vec<f64> = series["values"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|pair| pair[1].as_str()?.parse().ok())
        .collect();
    let finite = || values.iter().copied().filter(|value| value.is_finite());
    let (least, most) = finite()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), value| {
            (least.min(value), most.max(value))
        });
    let last = values.last().copied().unwrap_or(f64::NAN);
    let _ = writeln!(out, "  {}", named(&series["metric"]));
    let _ = writeln!(
        out,
        "    {}  now {}  least {}  most {}",
        bars(&values, least, most),
        short(last),
        short(least),
        short(most)
    );
}

/// Draws values as bars of eight heights.
fn bars(values: &[f64], least: f64, most: f64) -> String {
    const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let width = WIDTH.min(values.len());
    let piece = |index: usize| {
        let (from, to) = (index * values.len() / width, (index + 1) * values.len() / width);
        let piece = &values[from..to];
        piece.iter().sum::<f64>() / piece.len() as f64
    };
    let height = |value: f64| {
        if !value.is_finite() {
            return ' ';
        }
        let share = if most > least { (value - least) / (most - least) } else { 0.0 };
        HEIGHTS[((share * 7.0).round() as usize).min(7)]
    };
    (0..width).map(|index| height(piece(index))).collect()
}

/// Writes a number with four digits that count.
fn short(value: f64) -> String {
    if !value.is_finite() || value == 0.0 {
        return if value == 0.0 { "0".to_owned() } else { promql::evaluate::print(value) };
    }
    let decimals = (3 - value.abs().log10().floor() as i32).clamp(0, 9) as usize;
    let text = format!("{value:.decimals$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// Writes the labels of a series as PromQL does.
fn named(metric: &Value) -> String {
    let pairs = metric.as_object().into_iter().flatten();
    let labels = series::Labels::new(
        pairs.map(|(name, value)| (name.as_str(), value.as_str().unwrap_or_default())),
    );
    clean(&labels.to_string())
}

/// Serves a store of series with Prometheus' API until it is told to stop.
async fn serve(args: &MetricsServeArgs, global: &Global) -> Outcome {
    let Some(directory) = &global.state else {
        return Err(Failure::new(Exit::Usage, "say where the samples are kept")
            .help("marline metrics serve --state DIR"));
    };
    let retention = seconds(&args.retention, "--retention")?;
    let settings = Settings {
        retention: Duration::from_secs(retention.unsigned_abs()),
        bytes: args.retention_bytes,
        durability: if args.sync { Durability::Power } else { Durability::Process },
        ..Settings::default()
    };
    let listener = tokio::net::TcpListener::bind(&args.listen)
        .await
        .with_context(|| format!("listen on {}", args.listen))?;
    let address = listener.local_addr()?;
    let store = Arc::new(Store::open(directory, settings)?);
    if let Some(disk) = store.disk() {
        let recovery = disk.recovery();
        eprintln!(
            "  {} samples read back from the log in {} ms",
            recovery.samples,
            recovery.took.as_millis()
        );
        if recovery.torn > 0 {
            eprintln!("  {} bytes of a half-written record were cut off", recovery.torn);
        }
        if recovery.broken > 0 || !recovery.set_aside.is_empty() {
            eprintln!(
                "  damaged: {} bytes of the log, {} blocks set aside in {}",
                recovery.broken,
                recovery.set_aside.len(),
                directory.join("set-aside").display()
            );
        }
    }
    eprintln!("  listening on http://{address}; stop with Ctrl-C");
    let prometheus =
        Prometheus::new(Arc::clone(&store), Arc::new(OnlySeries), Arc::new(Timestamp::now));
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let stop = async move {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
    };
    // Connections that are kept open for nothing must not keep us: what is under way gets seconds.
    let (told, stopped) = tokio::sync::oneshot::channel();
    let serving = axum::serve(listener, prometheus.router()).with_graceful_shutdown(async move {
        stop.await;
        let _ = told.send(());
    });
    tokio::select! {
        served = serving.into_future() => served?,
        () = async {
            let _ = stopped.await;
            tokio::time::sleep(Duration::from_secs(5)).await;
        } => {}
    }
    // The last one writes the head down.
    drop(store);
    eprintln!("  stopped");
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_is_drawn_with_its_least_and_most() {
        let values: Vec<Value> = (0..8).map(|i| serde_json::json!([i, i.to_string()])).collect();
        let data = serde_json::json!({
            "resultType": "matrix",
            "result": [{"metric": {"__name__": "up", "job": "web"}, "values": values}],
        });
        assert_eq!(drawn(&data), "  up{job=\"web\"}\n    ▁▂▃▄▅▆▇█  now 7  least 0  most 7\n");
    }

    #[test]
    fn times_are_written_as_in_promql() {
        assert_eq!(seconds("1h30m", "--range").ok(), Some(5400));
        assert_eq!(seconds("90", "--range").ok(), Some(90));
        assert!(seconds("soon", "--range").is_err());
        assert!(seconds("0s", "--range").is_err());
    }

    #[test]
    fn numbers_are_short_enough_to_read() {
        assert_eq!(short(0.123_456), "0.1235");
        assert_eq!(short(12_345.678), "12346");
        assert_eq!(short(2.5), "2.5");
        assert_eq!(short(f64::NAN), "NaN");
    }
}
