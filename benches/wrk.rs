//! Loads a server from a process of its own, with the public tool `wrk` (Debian: `apt install wrk`).

use std::process::Command;

use tempfile::TempDir;

/// How long one run takes, in seconds.
const SECONDS: usize = 4;

/// A request for a plan of one workspace. No two templates are equal. At the end it prints the number of answers, the
/// seconds, and the 50th and 99th percentiles in seconds.
const SCRIPT: &str = r#"
local number = 0
request = function()
  number = number + 1
  local body = '{"inline": "name: X\\ndefaults: {runtime: x}\\nworkspaces: [{name: W' .. number .. '}]"}'
  return wrk.format("POST", "/v1/plans", {["content-type"] = "application/json"}, body)
end
done = function(summary, latency)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  print(string.format("RESULT %d %f %f %f %d", summary.requests, summary.duration / 1e6,
    latency:percentile(50) / 1e6, latency:percentile(99) / 1e6, failed))
end
"#;

/// The installed `wrk`, and its script.
pub struct Wrk {
    folder: TempDir,
}

impl Wrk {
    /// Says so when `wrk` is not installed.
    pub fn find() -> Option<Self> {
        if Command::new("wrk").arg("-v").output().is_err() {
            println!(
                "wrk is not installed, so no other process makes load (Debian: apt install wrk)"
            );
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("plans.lua"), SCRIPT).unwrap();
        Some(Self { folder })
    }

    /// Plans from this many connections. Returns the number of plans, the seconds, and the median and the 99th percentile
    /// in seconds.
    pub fn plans(&self, url: &str, connections: usize) -> (usize, f64, f64, f64) {
        let ran = Command::new("wrk")
            .args(["-t1", &format!("-c{connections}"), &format!("-d{SECONDS}s")])
            .arg("-s")
            .arg(self.folder.path().join("plans.lua"))
            .arg(url)
            .output()
            .unwrap();
        let said = String::from_utf8(ran.stdout).unwrap();
        let result = said.lines().find_map(|line| line.strip_prefix("RESULT "));
        let result = result.unwrap_or_else(|| panic!("wrk said: {said}"));
        let numbers: Vec<f64> = result.split(' ').map(|n| n.parse().unwrap()).collect();
        assert_eq!(numbers[4], 0.0, "requests failed: {said}");
        (numbers[0] as usize, numbers[1], numbers[2], numbers[3])
    }
}
