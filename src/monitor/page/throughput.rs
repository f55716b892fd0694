//! What went over the wire in the last minutes, as a chart and as the table that says the same.

use std::fmt::Write;

use maud::{Markup, html};

use super::super::status::{Rate, TransferStatus};
use super::words;

/// Seconds in the chart: as many as are remembered.
const SECONDS: usize = 300;

/// The height of the chart in units of its own.
const HEIGHT: f64 = 100.0;

/// The chart, which says nothing that the table does not.
pub(super) fn chart(transfer: &TransferStatus) -> Markup {
    let rates = &transfer.rates;
    let top = scale(rates.iter().map(|rate| rate.up.max(rate.down)).max().unwrap_or(0));
    let [up, down] = [|rate: &Rate| rate.up, |rate: &Rate| rate.down].map(|of| line(rates, of, top));
    let view = format!("0 0 {SECONDS} {HEIGHT}");
    html! {
        div.chart aria-hidden="true" {
            span.top { (words::rate(top)) }
            svg viewBox=(view) preserveAspectRatio="none" focusable="false" {
                line.grid x1="0" y1="50" x2=(SECONDS) y2="50" {}
                @if let Some(up) = &up {
                    path.area d=(area(up, rates.len())) {}
                    path.up d=(up) {}
                }
                @if let Some(down) = &down { path.down d=(down) {} }
            }
            span.from { "5 min ago" }
            span.to { "now" }
        }
    }
}

/// The rows of the table.
pub(super) fn directions(transfer: &TransferStatus) -> Markup {
    let rates = &transfer.rates;
    html! {
        (row("up", "Up", rates, |rate| rate.up, transfer.bytes_up))
        (row("down", "Down", rates, |rate| rate.down, transfer.bytes_down))
    }
}

/// Their head.
pub(super) fn directions_head() -> Markup {
    html! {
        thead { tr {
            th scope="col" { "Direction" }
            @for title in ["Now", "Last minute", "5 minutes", "Peak", "In all"] {
                th.number scope="col" { (title) }
            }
        } }
    }
}

fn row(class: &str, title: &str, rates: &[Rate], of: impl Fn(&Rate) -> u64, total: u64) -> Markup {
    let mean = |seconds| words::rate(mean(rates, seconds, &of));
    html! {
        tr {
            th scope="row" { span.stroke.(class) aria-hidden="true" {} (title) }
            td.number { (mean(NOW_SECONDS)) }
            td.number { (mean(60)) }
            td.number { (mean(SECONDS)) }
            td.number { (words::rate(rates.iter().map(&of).max().unwrap_or(0))) }
            td.number { (words::bytes(total)) }
        }
    }
}

/// What is called now; a second alone jumps.
pub(super) const NOW_SECONDS: usize = 3;

/// Bytes in a second, over so many of the last ones, or as many as there are.
pub(super) fn mean(rates: &[Rate], seconds: usize, of: impl Fn(&Rate) -> u64) -> u64 {
    let last = &rates[rates.len().saturating_sub(seconds)..];
    let sum: u64 = last.iter().map(of).sum();
    sum.checked_div(last.len() as u64).unwrap_or(0)
}

/// The rate at the top of the chart: a number that is easily read, not below the highest.
fn scale(highest: u64) -> u64 {
    let mut step = 64 << 10;
    while step < highest {
        step *= 2;
    }
    step
}

/// The line of one direction, the newest second at the right edge. Seconds that are like those before them need no point.
fn line(rates: &[Rate], of: impl Fn(&Rate) -> u64, top: u64) -> Option<String> {
    let y = |rate: &Rate| HEIGHT - (of(rate) as f64 / top as f64 * HEIGHT * 10.0).round() / 10.0;
    let begin = SECONDS.saturating_sub(rates.len());
    let mut path = format!("M{begin} {}", y(rates.first()?));
    for (index, rate) in rates.iter().enumerate().skip(1) {
        let is_flat = |other: Option<&Rate>| other.is_some_and(|other| y(other) == y(rate));
        if !(is_flat(rates.get(index - 1)) && is_flat(rates.get(index + 1))) {
            // To a text nothing fails.
            let _ = write!(path, "L{} {}", begin + index + 1, y(rate));
        }
    }
    Some(path)
}

/// What is below a line.
fn area(line: &str, seconds: usize) -> String {
    format!("{line}L{SECONDS} {HEIGHT}L{} {HEIGHT}Z", SECONDS.saturating_sub(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(up: &[u64]) -> Vec<Rate> {
        up.iter().map(|up| Rate { up: *up, down: 0 }).collect()
    }

    #[test]
    fn a_line_ends_now_and_leaves_out_what_is_flat() {
        let of = |rate: &Rate| rate.up;
        assert_eq!(line(&rates(&[0, 0, 0, 50, 100]), of, 100).unwrap(), "M295 100L298 100L299 50L300 0");
        assert_eq!(line(&rates(&[0; 300]), of, 100).unwrap(), "M0 100L300 100");
        assert_eq!(line(&[], of, 100), None);
    }

    #[test]
    fn means_are_of_what_there_is() {
        let of = |rate: &Rate| rate.up;
        assert_eq!(mean(&rates(&[10, 20, 60]), 2, of), 40);
        assert_eq!((mean(&rates(&[10]), 60, of), mean(&[], 60, of)), (10, 0));
        assert_eq!((scale(0), scale(65_537), scale(128 << 10)), (64 << 10, 128 << 10, 128 << 10));
    }
}
