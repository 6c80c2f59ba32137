//! Refuses Unix sockets to a process by a seccomp filter, for kernels whose Landlock cannot.
//!
//! Through such a socket, a service manager or a Docker engine would do for the process what it may not do itself. Pairs of
//! connected sockets, which have no name, remain allowed.

use std::collections::BTreeMap;
use std::path::Path;

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch,
};

/// The bit in the numbers of system calls of the x32 interface, which a process of the same architecture can use too.
const X32: i64 = 0x4000_0000;

/// Whether this kernel supports such a filter.
pub fn can_be_refused() -> bool {
    let has_filters = Path::new("/proc/sys/kernel/seccomp/actions_avail").exists();
    has_filters && TargetArch::try_from(std::env::consts::ARCH).is_ok()
}

/// Makes `socket` fail for Unix sockets from now on, in this process and in those that it starts. A system call of another
/// architecture, such as that of a 32-bit program, ends the process, because its numbers mean something else.
///
/// # Errors
/// The filter cannot be made for this architecture, or the kernel refuses it.
pub fn refuse() -> Result<(), seccompiler::Error> {
    seccompiler::apply_filter(&filter()?)
}

fn filter() -> Result<BpfProgram, BackendError> {
    let family = u64::try_from(libc::AF_UNIX).unwrap_or_default();
    let is_named = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, family)?;
    let socket = vec![SeccompRule::new(vec![is_named])?];
    // `io_uring` can make and connect sockets too, and a filter does not see that.
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
