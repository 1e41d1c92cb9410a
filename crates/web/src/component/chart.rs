//! Small charts of requests over time, drawn as SVG.

use std::fmt::Write as _;

use explain::words;
use maud::{Markup, html};

use super::rate;
use crate::Point;

/// Returns a line of requests with failed ones below it, without axes.
pub(crate) fn sparkline(points: &[Point]) -> Markup {
    const WIDTH: f64 = 120.0;
    const HEIGHT: f64 = 28.0;
    let top = most(points);
    if top <= 0.0 {
        return html! { span.faint { "no requests" } };
    }
    html! {
        svg.spark viewBox="0 0 120 28" width="120" height="28" preserveAspectRatio="none" role="img" aria-label=(summary(points)) {
            path.area d=(area(points, top, WIDTH, HEIGHT, |point| point.requests)) {}
            path.line d=(line(points, top, WIDTH, HEIGHT, |point| point.requests)) {}
            @if points.iter().any(|point| point.errors > 0.0) {
                path.errors d=(area(points, top, WIDTH, HEIGHT, |point| point.errors)) {}
            }
        }
    }
}

/// A moment that is marked on a chart.
pub(crate) struct Marker {
    pub(crate) at: i64,
    pub(crate) class: &'static str,
    pub(crate) label: String,
}

/// Returns requests over time with a scale, and marks for what happened meanwhile.
pub(crate) fn traffic(points: &[Point], markers: &[Marker]) -> Markup {
    const WIDTH: f64 = 1000.0;
    const HEIGHT: f64 = 160.0;
    let top = most(points);
    if top <= 0.0 {
        return super::empty(
            "No requests in this time",
            "As soon as the service answers, its traffic shows here.",
        );
    }
    let from = points.first().map_or(0, |point| point.at);
    let to = points.last().map_or(1, |point| point.at).max(from + 1);
    let x = |at: i64| (at - from) as f64 / (to - from) as f64 * WIDTH;
    let clock = |at: i64| {
        jiff::Timestamp::from_millisecond(at)
            .map_or_else(|_| String::new(), |at| at.strftime("%H:%M").to_string())
    };
    html! {
        figure.chart {
            div.axis aria-hidden="true" { span { (rate(top)) } span { "0" } }
            svg.plot viewBox="0 0 1000 160" preserveAspectRatio="none" role="img" aria-label=(summary(points)) {
                path.grid d="M0 0H1000M0 80H1000M0 160H1000" {}
                path.area d=(area(points, top, WIDTH, HEIGHT, |point| point.requests)) {}
                path.line d=(line(points, top, WIDTH, HEIGHT, |point| point.requests)) {}
                @if points.iter().any(|point| point.errors > 0.0) {
                    path.errors d=(area(points, top, WIDTH, HEIGHT, |point| point.errors)) {}
                }
                @for marker in markers.iter().filter(|marker| (from..=to).contains(&marker.at)) {
                    path.marker.(marker.class) d=(format!("M{0:.1} 0V160", x(marker.at))) { title { (marker.label) } }
                }
            }
            figcaption {
                span { (clock(from)) }
                span.keys {
                    span { i.key.requests aria-hidden="true" {} "requests" }
                    span { i.key.errors aria-hidden="true" {} "failed" }
                    @if !markers.is_empty() { span { i.key.marker aria-hidden="true" {} "deployment" } }
                }
                span { (clock(to)) " UTC" }
            }
        }
    }
}

fn most(points: &[Point]) -> f64 {
    points.iter().map(|point| point.requests).fold(0.0, f64::max)
}

fn summary(points: &[Point]) -> String {
    let mean = |value: fn(&Point) -> f64| {
        points.iter().map(value).sum::<f64>() / points.len().max(1) as f64
    };
    let requests = mean(|point| point.requests);
    let errors = mean(|point| point.errors);
    let failed = words::share((errors * 1e6) as u64, (requests * 1e6) as u64);
    format!(
        "{} requests on average, {} at most, {failed} failed",
        rate(requests),
        rate(most(points))
    )
}

fn coordinates(
    points: &[Point],
    top: f64,
    width: f64,
    height: f64,
    value: fn(&Point) -> f64,
) -> impl Iterator<Item = (f64, f64)> {
    let last = points.len().saturating_sub(1).max(1) as f64;
    points.iter().enumerate().map(move |(index, point)| {
        let share = (value(point) / top).clamp(0.0, 1.0);
        (index as f64 / last * width, 1.5 + (1.0 - share) * (height - 1.5))
    })
}

fn line(points: &[Point], top: f64, width: f64, height: f64, value: fn(&Point) -> f64) -> String {
    let mut path = String::new();
    for (index, (x, y)) in coordinates(points, top, width, height, value).enumerate() {
        let _ = write!(path, "{}{x:.1} {y:.1}", if index == 0 { 'M' } else { 'L' });
    }
    path
}

fn area(points: &[Point], top: f64, width: f64, height: f64, value: fn(&Point) -> f64) -> String {
    let mut path = line(points, top, width, height, value);
    let _ = write!(path, "L{width:.1} {height:.1}L0 {height:.1}Z");
    path
}
