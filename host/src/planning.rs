//! From a template to an approved plan: a plugin proposes the plan, and the operator's policy judges it.

pub mod planner;
pub mod policy;
