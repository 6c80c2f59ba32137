//! Prints a table that criterion does not print: the ratio of each side's time to that of the first, and whether it meets
//! its target.

use std::time::Duration;

/// The target of a side.
#[allow(dead_code, reason = "each benchmark has its own kind of target")]
#[derive(Clone, Copy)]
pub enum Target {
    /// No target.
    Open,
    /// At most this ratio to the time of the first side.
    Ratio(f64),
    /// At most this time.
    Time(Duration),
}

/// A row of the table: the result of one side.
pub struct Row {
    pub name: &'static str,
    /// The median time (seconds).
    pub seconds: f64,
    /// The median of the ratios to the first side.
    pub ratio: f64,
    pub target: Target,
}

/// The median; none without samples.
pub fn median(mut samples: Vec<f64>) -> Option<f64> {
    samples.sort_by(f64::total_cmp);
    samples.get(samples.len() / 2).copied()
}

/// Prints one table.
pub fn print(title: &str, rows: &[Row]) {
    if !rows.is_empty() {
        println!("\n{title:<44} {:>10} {:>7}", "median", "ratio");
    }
    for row in rows {
        let verdict = match row.target {
            Target::Open => String::new(),
            Target::Ratio(most) => format!("at most {most}: {}", met(row.ratio <= most)),
            Target::Time(most) => {
                let most = most.as_secs_f64();
                format!("at most {}: {}", time(most), met(row.seconds <= most))
            }
        };
        let (name, median, ratio) = (row.name, time(row.seconds), row.ratio);
        let line = format!("  {name:<42} {median:>10} {ratio:>7.2}  {verdict}");
        println!("{}", line.trim_end());
    }
    println!();
}

fn met(met: bool) -> &'static str {
    if met { "met" } else { "MISSED" }
}

fn time(seconds: f64) -> String {
    match seconds {
        s if s >= 1.0 => format!("{s:.2} s"),
        s if s >= 1e-3 => format!("{:.2} ms", s * 1e3),
        s if s >= 1e-6 => format!("{:.2} µs", s * 1e6),
        s => format!("{:.0} ns", s * 1e9),
    }
}
