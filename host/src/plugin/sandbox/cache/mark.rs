//! A mark of a file whose checksum was compared: which file it is, when it last changed, and in which boot of the machine it was
//! compared.
//!
//! The kernel sets the time of a file's last change at every write, rename and change of its mode, and no user can set it. After
//! another boot the mark is void, because a machine that lost its power can have lost a part of a file, too.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The time after a change of a file in which a further change could get the same time. File systems have times of at most
/// two seconds.
const SETTLING: Duration = Duration::from_secs(2);

/// The mark of one file.
pub struct Mark {
    text: String,
    changed: SystemTime,
}

impl Mark {
    /// The mark that a file has now. `None` when the kernel does not tell the boot.
    pub fn of(file: &File) -> Option<Self> {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let of = file.metadata().ok()?;
        let (seconds, nanoseconds) = (of.ctime(), of.ctime_nsec());
        let since = Duration::new(
            u64::try_from(seconds).ok()?,
            u32::try_from(nanoseconds).ok()?,
        );
        Some(Self {
            text: format!(
                "{} {} {} {} {seconds}.{nanoseconds:09}\n",
                boot.trim_end(),
                of.dev(),
                of.ino(),
                of.size(),
            ),
            changed: UNIX_EPOCH + since,
        })
    }

    /// Whether the file was last changed so long ago that every further change gives it another mark.
    pub fn is_settled(&self) -> bool {
        let since = SystemTime::now().duration_since(self.changed);
        since.is_ok_and(|since| since > SETTLING)
    }

    /// Whether this file holds the same mark.
    pub fn is_in(&self, file: File) -> bool {
        let mut text = String::new();
        let most = self.text.len() as u64 + 1;
        file.take(most).read_to_string(&mut text).is_ok() && text == self.text
    }

    /// The mark as it is written.
    pub fn as_bytes(&self) -> &[u8] {
        self.text.as_bytes()
    }
}
