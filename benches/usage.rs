//! What a server needs for its load: time, processor time and memory; and a table that compares two programs.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The resources that a process used until now.
pub struct Usage {
    pid: u32,
    began: Instant,
    processor: f64,
}

/// One scenario, measured once.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    /// How many were done in a second.
    pub rate: f64,
    /// The median and the 99th percentile of their times, in seconds.
    pub median: f64,
    pub p99: f64,
    /// The processor time of the server for each, in seconds.
    pub processor: f64,
    /// The memory of the server afterwards (resident), in MiB.
    pub memory: f64,
}

/// The measurements of all programs, by scenario in their order.
#[derive(Default)]
pub struct Report {
    scenarios: Vec<&'static str>,
    measured: BTreeMap<(&'static str, String), Vec<Measured>>,
}

impl Usage {
    pub fn of(pid: u32) -> Self {
        Self {
            pid,
            began: Instant::now(),
            processor: processor_seconds(pid),
        }
    }

    /// The result of a scenario that began with this.
    pub fn measured(&self, mut times: Vec<Duration>) -> Measured {
        let elapsed = self.began.elapsed().as_secs_f64();
        times.sort();
        let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize].as_secs_f64();
        self.measured_by((times.len(), elapsed, at(0.5), at(0.99)))
    }

    /// The result of a scenario of which another program measured the number, the seconds, the median and the 99th
    /// percentile.
    pub fn measured_by(&self, (count, elapsed, median, p99): (usize, f64, f64, f64)) -> Measured {
        Measured {
            rate: count as f64 / elapsed,
            median,
            p99,
            processor: (processor_seconds(self.pid) - self.processor) / count as f64,
            memory: memory(self.pid),
        }
    }
}

impl Report {
    pub fn add(&mut self, program: &str, scenario: &'static str, measured: Measured) {
        if !self.scenarios.contains(&scenario) {
            self.scenarios.push(scenario);
        }
        let key = (scenario, program.to_owned());
        self.measured.entry(key).or_default().push(measured);
    }

    /// Prints the medians of each scenario, and the ratio of those of `now` to those of `baseline`.
    pub fn print(&self) {
        println!(
            "{:<50} {:>9} {:>9} {:>9} {:>9} {:>8}",
            "", "each s", "p50", "p99", "cpu each", "memory"
        );
        for scenario in &self.scenarios {
            let of = |program: &str| self.medians(scenario, program);
            let (now, baseline) = (of("now"), of("baseline"));
            println!("{scenario}");
            for (name, row) in [("baseline", baseline), ("now", now)] {
                let Some(row) = row else { continue };
                let ms = |seconds: f64| format!("{:.2} ms", seconds * 1e3);
                println!(
                    "  {name:<48} {:>9.0} {:>9} {:>9} {:>9} {:>4.0} MiB",
                    row.rate,
                    ms(row.median),
                    ms(row.p99),
                    ms(row.processor),
                    row.memory
                );
            }
            if let (Some(now), Some(baseline)) = (now, baseline) {
                println!(
                    "  {:<48} {:>9.2} {:>9.2} {:>9.2} {:>9.2} {:>8.2}",
                    "ratio",
                    now.rate / baseline.rate,
                    now.median / baseline.median,
                    now.p99 / baseline.p99,
                    now.processor / baseline.processor,
                    now.memory / baseline.memory
                );
            }
        }
    }

    fn medians(&self, scenario: &'static str, program: &str) -> Option<Measured> {
        let all = self.measured.get(&(scenario, program.to_owned()))?;
        let median = |of: fn(&Measured) -> f64| {
            let mut values: Vec<f64> = all.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        Some(Measured {
            rate: median(|one| one.rate),
            median: median(|one| one.median),
            p99: median(|one| one.p99),
            processor: median(|one| one.processor),
            memory: median(|one| one.memory),
        })
    }
}

/// The processor time that a process used, in seconds. The kernel counts it in hundredths.
fn processor_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // The name of the program, in parentheses, may have spaces. User and system time are the 14th and 15th fields.
    let (_, after) = stat.rsplit_once(") ").unwrap();
    let ticks = after.split(' ').skip(11).take(2);
    ticks
        .map(|field| field.parse::<f64>().unwrap())
        .sum::<f64>()
        / 100.0
}

/// The resident memory of a process, in MiB.
fn memory(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes: f64 = line
        .unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap();
    kibibytes / 1024.0
}
