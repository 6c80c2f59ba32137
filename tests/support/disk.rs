//! A small disk for one test: a tmpfs. It needs root and fails with that message without it.

use std::path::{Path, PathBuf};
use std::process::Command;

pub struct SmallDisk {
    dir: tempfile::TempDir,
}

impl SmallDisk {
    pub fn new(kibibytes: u32) -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "this test mounts a small tmpfs, which needs root"
        );
        let dir = tempfile::tempdir().unwrap();
        let disk = Self { dir };
        disk.mount(&["-t", "tmpfs", "-o", &format!("size={kibibytes}k"), "tmpfs"]);
        disk
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn make_read_only(&self) {
        self.mount(&["-o", "remount,ro"]);
    }

    /// Fills the disk completely and returns the file that does so.
    pub fn fill(&self) -> PathBuf {
        use std::io::Write as _;
        let path = self.path().join("filler");
        let mut file = std::fs::File::create(&path).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
        path
    }

    fn mount(&self, args: &[&str]) {
        let output = Command::new("mount").args(args).arg(self.path()).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{output:?}");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Unmounts lazily, because a process of a failed test may still use the disk.
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}
