//! Plans that were made before, in memory: the same template, plugin, terms and variables give the same plan again. They are
//! neither stored nor logged, because they hold the values of variables.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::limits;
use crate::model::plan::Content;
use crate::planning::planner::{PlanKey, Planned};

/// The plans that were used last, at most [`limits::PLANS_KEPT`] and [`limits::PLANS_KEPT_BYTES`].
#[derive(Default)]
pub struct PlanCache(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    /// The one that was used last is at the end. There are so few that a search takes a fraction of a plan.
    plans: VecDeque<Entry>,
    bytes: usize,
}

struct Entry {
    key: PlanKey,
    plan: Arc<Planned>,
    bytes: usize,
}

impl PlanCache {
    /// The plan with this key.
    pub fn get(&self, key: &PlanKey) -> Option<Arc<Planned>> {
        let mut kept = self.kept();
        let at = kept.plans.iter().position(|entry| entry.key == *key)?;
        let entry = kept.plans.remove(at)?;
        let plan = entry.plan.clone();
        kept.plans.push_back(entry);
        Some(plan)
    }

    /// Keeps a plan, and drops those that were not used for longest when there are too many.
    pub fn put(&self, key: PlanKey, plan: Planned) {
        let bytes = bytes(&plan);
        if bytes > limits::PLANS_KEPT_BYTES / 8 {
            return;
        }
        let mut kept = self.kept();
        if kept.plans.iter().any(|entry| entry.key == key) {
            return;
        }
        kept.bytes += bytes;
        let plan = Arc::new(plan);
        kept.plans.push_back(Entry { key, plan, bytes });
        while kept.plans.len() > limits::PLANS_KEPT || kept.bytes > limits::PLANS_KEPT_BYTES {
            let Some(oldest) = kept.plans.pop_front() else {
                break;
            };
            kept.bytes -= oldest.bytes;
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The memory of a plan: about four times its text, because a short text takes several times its length. The text that is shown
/// leaves out secrets, so all values and contents are added, which counts some twice.
fn bytes(planned: &Planned) -> usize {
    let mut text = Counter(0);
    if serde_json::to_writer(&mut text, &planned.plan).is_err() {
        return usize::MAX;
    }
    let values = planned.plan.workspaces.iter().map(|workspace| {
        let env = workspace.env.iter().map(|variable| variable.value.len());
        let files = workspace.files.iter().map(|file| match &file.content {
            Content::Inline(bytes) => bytes.len(),
            Content::Template { .. } => 0,
        });
        let channels = workspace
            .channels
            .iter()
            .flat_map(|channel| &channel.config);
        env.chain(files)
            .chain(channels.map(|entry| entry.value.len()))
            .sum::<usize>()
    });
    let log = planned.log.iter().map(String::len);
    4 * text.0 + values.chain(log).sum::<usize>()
}

/// Counts what is written.
struct Counter(usize);

impl io::Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::plan::{Org, Plan};

    fn plan(description_bytes: usize) -> Planned {
        Planned {
            plan: Plan {
                org: Org {
                    name: "Acme".to_owned(),
                    description: "x".repeat(description_bytes),
                },
                workspaces: Vec::new(),
                required_env: Vec::new(),
                recommended_env: Vec::new(),
                warnings: Vec::new(),
            },
            planned_by: None,
            log: Vec::new(),
            unset: Vec::new(),
        }
    }

    fn key(number: usize) -> PlanKey {
        PlanKey::of_digest(blake3::hash(&number.to_le_bytes()).into())
    }

    #[test]
    fn the_plans_that_were_used_last_are_kept() {
        let cache = PlanCache::default();
        for number in 0..limits::PLANS_KEPT {
            cache.put(key(number), plan(0));
        }
        assert!(cache.get(&key(0)).is_some());
        cache.put(key(limits::PLANS_KEPT), plan(0));
        assert!(cache.get(&key(0)).is_some(), "it was used after the others");
        assert!(cache.get(&key(1)).is_none());
        assert!(cache.get(&key(2)).is_some());
    }

    #[test]
    fn their_bytes_are_bounded() {
        let cache = PlanCache::default();
        let large = limits::PLANS_KEPT_BYTES / 40;
        for number in 0..40 {
            cache.put(key(number), plan(large));
        }
        let kept = (0..40).filter(|number| cache.get(&key(*number)).is_some());
        assert_eq!(kept.count(), 9, "each takes four times its text");
        assert!(cache.get(&key(39)).is_some());
        cache.put(key(40), plan(limits::PLANS_KEPT_BYTES / 8));
        assert!(cache.get(&key(40)).is_none(), "one plan alone is too large");
        assert!(cache.get(&key(39)).is_some());
    }
}
