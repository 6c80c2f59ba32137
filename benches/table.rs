//! Prints what criterion does not: how many times as long each side takes as the first of them, and whether it reaches
//! its target.

use std::time::Duration;

/// What a side should reach.
#[allow(dead_code, reason = "each benchmark has its own kind of target")]
#[derive(Clone, Copy)]
pub enum Target {
    /// None: it is there to compare with.
    Open,
    /// At most this many times as long as the first side.
    Ratio(f64),
    /// At most this long.
    Time(Duration),
}

/// One side.
pub struct Row {
    pub name: &'static str,
    /// The median.
    pub seconds: f64,
    /// The median of its ratios to the first side.
    pub ratio: f64,
    pub target: Target,
}

/// The middle one.
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
