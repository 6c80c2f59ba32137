//! The limits of the host's own functions, which end the call that exceeds one.

use crate::limits;

/// A limit of the host's own functions; ends the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Exceeded {
    #[error("it read more than {} MiB from the template", limits::TEMPLATE_BYTES >> 20)]
    TemplateBytes,
    #[error("it asked for files more than {} times", limits::TEMPLATE_CALLS)]
    TemplateCalls,
    #[error("it asked for more than {} KiB of randomness at once", limits::WASI_RANDOM_BYTES >> 10)]
    Random,
}
