//! The limits of the functions that plugins import from the host.

use crate::limits;

/// A limit that a call exceeded. The error ends the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Exceeded {
    #[error("it read more than {} MiB from the template", limits::TEMPLATE_BYTES >> 20)]
    TemplateBytes,
    #[error("it read or listed files more than {} times", limits::TEMPLATE_CALLS)]
    TemplateCalls,
    #[error("it requested more than {} KiB of random bytes at once", limits::WASI_RANDOM_BYTES >> 10)]
    Random,
}
