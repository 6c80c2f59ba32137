//! Refuses a process sockets that have a name in the file system, where Landlock cannot: through such a socket whoever
//! listens there, a service manager or a Docker engine, would do for it what it may not do itself. Pairs of connected
//! sockets, which have no name, stay.

use std::collections::BTreeMap;
use std::path::Path;

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch,
};

/// Calls of the x32 interface have this bit, in a process of the same architecture.
const X32: i64 = 0x4000_0000;

/// Whether this kernel can.
pub fn can_be_refused() -> bool {
    let has_filters = Path::new("/proc/sys/kernel/seccomp/actions_avail").exists();
    has_filters && TargetArch::try_from(std::env::consts::ARCH).is_ok()
}

/// Makes every later attempt of this process and of those that it starts an error. Calls of another architecture, such as
/// those of a 32-bit program, end the process: their numbers mean something else.
///
/// # Errors
/// The kernel's.
pub fn refuse() -> Result<(), seccompiler::Error> {
    seccompiler::apply_filter(&filter()?)
}

fn filter() -> Result<BpfProgram, BackendError> {
    let family = u64::try_from(libc::AF_UNIX).unwrap_or_default();
    let is_named = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, family)?;
    let socket = vec![SeccompRule::new(vec![is_named])?];
    // Its operations make and connect sockets as well, unseen by a filter.
    let ring = Vec::new();
    let calls = [(libc::SYS_socket, socket), (libc::SYS_io_uring_setup, ring)];
    let rules: BTreeMap<_, _> = calls
        .into_iter()
        .flat_map(|(call, rules)| [(call, rules.clone()), (call | X32, rules)])
        .collect();
    let refused = SeccompAction::Errno(u32::try_from(libc::EACCES).unwrap_or_default());
    let architecture = TargetArch::try_from(std::env::consts::ARCH)?;
    SeccompFilter::new(rules, SeccompAction::Allow, refused, architecture)?.try_into()
}
