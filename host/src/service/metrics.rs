//! Metrics. No label holds text from a caller: every label has few values, known in advance.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::Service;
use crate::model::event::Operation;
use crate::problem::Problem;
use crate::state::store::OperationState;

/// The metrics of one host. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    registry: Registry,
    requests: Family<[(&'static str, String); 3], Counter>,
    seconds: Family<[(&'static str, String); 2], Histogram>,
    plans: Family<[(&'static str, &'static str); 1], Histogram>,
    plan_cache: Family<[(&'static str, &'static str); 1], Counter>,
    listeners: Gauge,
}

/// The result of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlanResult {
    /// Policy approved it.
    Approved,
    /// Policy refused it.
    Refused,
    /// There was no plan.
    Nothing,
}

/// Numbers that are read when the metrics are scraped.
#[derive(Debug, Clone, Default)]
pub struct Gauges {
    /// The number of kept operations by kind and state.
    pub operations: Vec<(Operation, OperationState, u64)>,
    /// Operations that have not ended.
    pub open: usize,
    /// Workspaces that wait to be provisioned.
    pub waiting: usize,
    /// Workspaces that are being provisioned.
    pub running: usize,
    /// Plugin calls that wait.
    pub plans_waiting: usize,
    /// Plugin calls that run.
    pub plans_running: usize,
    /// Background tasks that run.
    pub tasks: usize,
    /// Events that were ever stored.
    pub events: u64,
}

/// Counts one open stream of events, until it is dropped.
#[derive(Debug)]
pub struct Listener(Gauge);

impl Service {
    /// The present values of the gauges.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn gauges(&self) -> Result<Gauges, Problem> {
        let host = &self.0;
        Ok(Gauges {
            operations: host.store.tally().await?,
            open: host.queues.length(),
            waiting: host.provisioning.waiting(),
            running: host.provisioning.taken(),
            plans_waiting: host.plugin_calls.waiting(),
            plans_running: host.plugin_calls.taken(),
            tasks: host.tasks.count_running(),
            events: host.store.newest().await?.unsigned_abs(),
        })
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("orghost");
        let requests = Family::default();
        let seconds = Family::new_with_constructor(requests_buckets as fn() -> Histogram);
        let plans = Family::new_with_constructor(plan_buckets as fn() -> Histogram);
        let plan_cache = Family::<_, Counter>::default();
        for result in ["hit", "miss"] {
            drop(plan_cache.get_or_create(&[("result", result)]));
        }
        let listeners = Gauge::default();
        registry.register("requests", "Requests that were answered", requests.clone());
        registry.register_with_unit(
            "request_duration",
            "From a request to the beginning of its answer",
            Unit::Seconds,
            seconds.clone(),
        );
        registry.register_with_unit(
            "plan_duration",
            "Plans that were made and judged",
            Unit::Seconds,
            plans.clone(),
        );
        registry.register(
            "plan_cache",
            "Plans that were in memory, and plans that a plugin had to make",
            plan_cache.clone(),
        );
        registry.register(
            "event_listeners",
            "Streams of events that are open",
            listeners.clone(),
        );
        Self(Arc::new(Inner {
            registry,
            requests,
            seconds,
            plans,
            plan_cache,
            listeners,
        }))
    }
}

fn requests_buckets() -> Histogram {
    Histogram::new([0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0])
}

fn plan_buckets() -> Histogram {
    Histogram::new([0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.05, 0.25, 1.0, 5.0])
}

impl Metrics {
    /// Counts an answered request. `route` is the pattern of its path. An unusual method counts as `other`.
    pub fn request(&self, route: &str, method: &str, status: u16, took: Duration) {
        let method = match method {
            "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS" => method,
            _ => "other",
        };
        let (route, method) = (("route", route.to_owned()), ("method", method.to_owned()));
        let labels = [
            route.clone(),
            method.clone(),
            ("status", status.to_string()),
        ];
        self.0.requests.get_or_create(&labels).inc();
        let seconds = self.0.seconds.get_or_create(&[route, method]);
        seconds.observe(took.as_secs_f64());
    }

    /// Counts a plan and its duration.
    pub fn plan(&self, result: PlanResult, took: Duration) {
        let label = match result {
            PlanResult::Approved => "approved",
            PlanResult::Refused => "refused",
            PlanResult::Nothing => "nothing",
        };
        let plans = self.0.plans.get_or_create(&[("result", label)]);
        plans.observe(took.as_secs_f64());
    }

    /// Counts a look into the cache of plans.
    pub fn plan_cache(&self, is_hit: bool) {
        let result = if is_hit { "hit" } else { "miss" };
        self.0.plan_cache.get_or_create(&[("result", result)]).inc();
    }

    /// Counts a new stream of events.
    pub fn listener(&self) -> Listener {
        self.0.listeners.inc();
        Listener(self.0.listeners.clone())
    }

    /// All metrics as OpenMetrics text.
    pub fn text(&self, gauges: &Gauges) -> String {
        let mut text = String::new();
        let now = registry_of(gauges);
        let written = encode_registry(&mut text, &self.0.registry)
            .and_then(|()| encode_registry(&mut text, &now))
            .and_then(|()| encode_eof(&mut text));
        if written.is_err() {
            // Writing to a `String` does not fail. If it did, the missing end would tell the scraper.
            let _ = text.write_char('\n');
        }
        text
    }
}

fn registry_of(gauges: &Gauges) -> Registry {
    let mut registry = Registry::with_prefix("orghost");
    let operations = Family::<[(&'static str, &'static str); 2], Gauge>::default();
    for (operation, state, count) in &gauges.operations {
        let labels = [("operation", operation.as_str()), ("state", state.as_str())];
        operations.get_or_create(&labels).set(signed(*count));
    }
    registry.register("operations", "Operations by kind and state", operations);
    let values = [
        (
            "operations_open",
            "Operations that have not ended",
            gauges.open,
        ),
        (
            "workspaces_waiting",
            "Workspaces that wait to be provisioned",
            gauges.waiting,
        ),
        (
            "workspaces_running",
            "Workspaces that are being provisioned",
            gauges.running,
        ),
        (
            "plans_waiting",
            "Plugin calls that wait",
            gauges.plans_waiting,
        ),
        (
            "plans_running",
            "Plugin calls that run",
            gauges.plans_running,
        ),
        ("tasks", "Background tasks that run", gauges.tasks),
    ];
    for (name, help, value) in values {
        let gauge = Gauge::<i64>::default();
        gauge.set(signed(value as u64));
        registry.register(name, help, gauge);
    }
    let events = Counter::<u64>::default();
    events.inc_by(gauges.events);
    registry.register("events_stored", "Events that were stored", events);
    registry
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.0.dec();
    }
}
