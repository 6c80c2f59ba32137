//! Measures alternatives side by side with criterion, and prints their ratios.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion};

use crate::table::{Row, Target, median, print};

/// A comparison of alternatives (sides) that do the same work. The others are compared with the first.
///
/// Every sample of another side is followed by a sample of the first, and their ratio is taken from this pair, so that
/// other load on the machine affects both.
pub struct Sides<'a> {
    title: &'static str,
    group: BenchmarkGroup<'a, WallTime>,
    first: Option<Box<dyn FnMut(u64) -> Duration + 'a>>,
    rows: Vec<Row>,
}

impl<'a> Sides<'a> {
    /// Starts a comparison that takes `samples` samples of each side, in about the time `each`.
    pub fn new(
        criterion: &'a mut Criterion,
        title: &'static str,
        samples: usize,
        each: Duration,
    ) -> Self {
        let mut group = criterion.benchmark_group(title);
        group
            .sample_size(samples)
            .warm_up_time(each / 3)
            .measurement_time(each);
        Self {
            title,
            group,
            first: None,
            rows: Vec::new(),
        }
    }

    /// Measures one side.
    pub fn side<T>(
        self,
        name: &'static str,
        target: Target,
        mut routine: impl FnMut() -> T + 'a,
    ) -> Self {
        self.timed(name, target, move |iterations| {
            let start = Instant::now();
            for _ in 0..iterations {
                black_box(routine());
            }
            start.elapsed()
        })
    }

    /// Measures one side that says itself how long a number of runs took.
    pub fn timed(
        mut self,
        name: &'static str,
        target: Target,
        mut run: impl FnMut(u64) -> Duration + 'a,
    ) -> Self {
        let mut times = Vec::new();
        let mut ratios = Vec::new();
        self.group.bench_function(name, |bencher| {
            bencher.iter_custom(|iterations| {
                let elapsed = run(iterations);
                times.push(elapsed.as_secs_f64() / iterations as f64);
                let first = self
                    .first
                    .as_mut()
                    .map_or(elapsed, |first| first(iterations));
                ratios.push(elapsed.as_secs_f64() / first.as_secs_f64());
                elapsed
            });
        });
        self.first.get_or_insert(Box::new(run));
        // There are no samples when the filter of the command line excluded this side.
        if let (Some(seconds), Some(ratio)) = (median(times), median(ratios)) {
            self.rows.push(Row {
                name,
                seconds,
                ratio,
                target,
            });
        }
        self
    }

    /// Prints the table.
    pub fn print(self) {
        self.group.finish();
        print(self.title, &self.rows);
    }
}
