//! End-to-end tests: the program, its plugin and its engines, from outside.

mod cases;
mod cli;
mod hostile;
mod plugin;
mod policy;
mod support;
mod template;
