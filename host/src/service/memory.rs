//! The memory that templates take. Whoever is about to load one asks for its room first, and is served in the order of
//! asking. It is asked for before a place in an org's line is taken: so nobody waits in a line for the memory of those behind.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::FutureExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The memory of one host's templates. Cheap to clone.
#[derive(Debug, Clone)]
pub struct TemplateMemory {
    kilobytes: Arc<Semaphore>,
    all: u32,
}

/// Room for one template, until it is dropped.
#[derive(Debug)]
pub struct MemoryPermit(Option<OwnedSemaphorePermit>);

/// A place among those who wait for room, which ends when it is dropped.
pub struct MemoryRequest(Pin<Box<dyn Future<Output = MemoryPermit> + Send>>);

impl TemplateMemory {
    /// Room for so many bytes.
    pub fn new(bytes: usize) -> Self {
        let all = kilobytes(bytes as u64);
        Self {
            kilobytes: Arc::new(Semaphore::new(all as usize)),
            all,
        }
    }

    /// Asks for room for a template of so many bytes: from now on, not only from when it is awaited. What is larger than
    /// everything gets everything.
    pub fn ask(&self, bytes: u64) -> MemoryRequest {
        let wanted = kilobytes(bytes).min(self.all);
        let room = self.kilobytes.clone().acquire_many_owned(wanted);
        // Nobody closes the semaphore.
        let mut room = room.map(|room| MemoryPermit(room.ok())).boxed();
        // Once polled, it stands in the queue.
        match (&mut room).now_or_never() {
            Some(room) => MemoryRequest::granted(room),
            None => MemoryRequest(room),
        }
    }
}

impl MemoryPermit {
    /// Gives back what a template of so many bytes does not need.
    pub fn shrink(&mut self, bytes: u64) {
        if let Some(room) = &mut self.0 {
            let spare = room.num_permits().saturating_sub(kilobytes(bytes) as usize);
            drop(room.split(spare));
        }
    }
}

impl MemoryRequest {
    /// Asked for, and given.
    pub fn granted(room: MemoryPermit) -> Self {
        Self(std::future::ready(room).boxed())
    }
}

impl Future for MemoryRequest {
    type Output = MemoryPermit;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<MemoryPermit> {
        self.0.poll_unpin(context)
    }
}

/// A template counts at least one.
fn kilobytes(bytes: u64) -> u32 {
    u32::try_from(bytes >> 10)
        .unwrap_or(u32::MAX)
        .saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn who_asked_first_is_served_first_whatever_the_others_want() {
        let memory = TemplateMemory::new(8 << 20);
        let first = memory.ask(6 * MIB).now_or_never().unwrap();
        let mut large = memory.ask(7 * MIB);
        // There would be room for it, and it is not its turn.
        let mut small = memory.ask(MIB);
        assert!((&mut small).now_or_never().is_none());
        assert!((&mut large).now_or_never().is_none());
        drop(first);
        let large = large.now_or_never().unwrap();
        assert!((&mut small).now_or_never().is_none());
        drop(large);
        assert!(small.now_or_never().is_some());
    }

    #[test]
    fn who_stops_waiting_takes_nothing_and_what_is_spare_is_given_back() {
        let memory = TemplateMemory::new(8 << 20);
        let mut all = memory.ask(64 * MIB).now_or_never().unwrap();
        drop(memory.ask(MIB));
        let mut next = memory.ask(7 * MIB);
        assert!((&mut next).now_or_never().is_none());
        all.shrink(MIB / 2);
        assert!(next.now_or_never().is_some());
    }
}
