pub mod fake_docker;
pub mod scenario;
pub mod world;
