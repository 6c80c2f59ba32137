//! Limits the memory that templates take. Memory is granted in the order of the requests. An operation gets its memory before
//! it waits in its org's queue, so that nothing at the head of a queue waits for memory that something behind it holds.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::FutureExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The memory for templates on one host. Cheap to clone.
#[derive(Debug, Clone)]
pub struct TemplateMemory {
    kilobytes: Arc<Semaphore>,
    total: u32,
}

/// Permission to use memory for one template, until it is dropped.
#[derive(Debug)]
pub struct MemoryPermit(Option<OwnedSemaphorePermit>);

/// A request that waits for memory. Dropping it withdraws it.
pub struct MemoryRequest(Pin<Box<dyn Future<Output = MemoryPermit> + Send>>);

impl TemplateMemory {
    /// A limit of this many bytes.
    pub fn new(bytes: usize) -> Self {
        let total = kilobytes(bytes as u64);
        Self {
            kilobytes: Arc::new(Semaphore::new(total as usize)),
            total,
        }
    }

    /// Requests memory for a template of this many bytes. The request is in the queue at once, before it is awaited. A template
    /// that is larger than the limit gets all of it.
    pub fn request(&self, bytes: u64) -> MemoryRequest {
        let count = kilobytes(bytes).min(self.total);
        let permit = self.kilobytes.clone().acquire_many_owned(count);
        // The semaphore is never closed.
        let mut permit = permit.map(|permit| MemoryPermit(permit.ok())).boxed();
        // The first poll puts it into the queue.
        match (&mut permit).now_or_never() {
            Some(permit) => MemoryRequest::granted(permit),
            None => MemoryRequest(permit),
        }
    }
}

impl MemoryPermit {
    /// Returns the memory that a template of this many bytes does not need.
    pub fn shrink(&mut self, bytes: u64) {
        if let Some(permit) = &mut self.0 {
            let spare = permit
                .num_permits()
                .saturating_sub(kilobytes(bytes) as usize);
            drop(permit.split(spare));
        }
    }
}

impl MemoryRequest {
    /// A request that is granted already.
    pub fn granted(permit: MemoryPermit) -> Self {
        Self(std::future::ready(permit).boxed())
    }
}

impl Future for MemoryRequest {
    type Output = MemoryPermit;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<MemoryPermit> {
        self.0.poll_unpin(context)
    }
}

/// Kilobytes that are enough for these bytes; at least one.
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
    fn requests_are_granted_in_order_whatever_their_size() {
        let memory = TemplateMemory::new(8 << 20);
        let first = memory.request(6 * MIB).now_or_never().unwrap();
        let mut large = memory.request(7 * MIB);
        // There is enough memory for it, but the large request came first.
        let mut small = memory.request(MIB);
        assert!((&mut small).now_or_never().is_none());
        assert!((&mut large).now_or_never().is_none());
        drop(first);
        let large = large.now_or_never().unwrap();
        assert!((&mut small).now_or_never().is_none());
        drop(large);
        assert!(small.now_or_never().is_some());
    }

    #[test]
    fn a_withdrawn_request_takes_nothing_and_spare_memory_is_returned() {
        let memory = TemplateMemory::new(8 << 20);
        let mut all = memory.request(64 * MIB).now_or_never().unwrap();
        drop(memory.request(MIB));
        let mut next = memory.request(7 * MIB);
        assert!((&mut next).now_or_never().is_none());
        all.shrink(MIB / 2);
        assert!(next.now_or_never().is_some());
    }
}
