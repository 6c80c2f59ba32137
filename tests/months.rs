//! The whole of it, as an operator has it: many callers, faults, a kill in the middle.
