//! The output of a workspace, in two files of limited size: `log`, and the older `log.1`.
//!
//! Only the supervisor writes them, and readers do not hold it up.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;

use super::disk::{WorkspaceFolder, unusable};
use crate::limits;
use crate::provision::engine::error::EngineError;

/// The time between two checks for more output.
const PAUSE: Duration = Duration::from_millis(100);

/// The most bytes that are read at a time.
const BLOCK: usize = 16 << 10;

/// Writes the log. When `log` reaches [`limits::LOG_BYTES`], it becomes `log.1` and a new `log` begins, so that the newest
/// output is always kept. Output that cannot be written is lost, because a full disk must not stop the program.
#[derive(Debug)]
pub struct Log {
    folder: WorkspaceFolder,
    file: File,
    size: u64,
}

impl Log {
    /// Opens the log of a workspace for appending.
    ///
    /// # Errors
    /// The error of the operating system when it cannot be opened.
    pub fn open(folder: &WorkspaceFolder) -> io::Result<Self> {
        let file = append_to(folder)?;
        Ok(Self {
            folder: folder.clone(),
            size: file.metadata()?.len(),
            file,
        })
    }

    /// Appends some output.
    pub fn write(&mut self, output: &[u8]) {
        if self.size > 0 && self.size + output.len() as u64 > limits::LOG_BYTES {
            let _ = fs::rename(self.folder.log(), self.folder.old_log());
            if let Ok(file) = append_to(&self.folder) {
                self.file = file;
                self.size = 0;
            }
        }
        if self.file.write_all(output).is_ok() {
            self.size += output.len() as u64;
        }
    }
}

/// Opens `log` for appending, with mode 0600.
///
/// # Errors
/// The error of the operating system when it cannot be opened.
pub fn append_to(folder: &WorkspaceFolder) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).append(true).mode(0o600);
    options.open(folder.log())
}

/// The last lines, oldest first, each cut to [`limits::LINE_BYTES`]. Reads from the end, and not more than that many lines
/// of that length.
///
/// # Errors
/// [`EngineError::Folder`] when a file cannot be read.
pub fn last_lines(folder: &WorkspaceFolder, lines: usize) -> Result<Vec<String>, EngineError> {
    let failed = |e: io::Error| unusable(&folder.log(), &e);
    let mut text = Vec::new();
    let budget = lines.saturating_mul(limits::LINE_BYTES) as u64;
    for mut file in open_last(folder, Some(lines), budget).map_err(failed)? {
        file.read_to_end(&mut text).map_err(failed)?;
    }
    let text = String::from_utf8_lossy(&text);
    let mut last: VecDeque<String> = VecDeque::new();
    for line in text.lines() {
        if last.len() == lines {
            last.pop_front();
        }
        last.push_back(cut(line));
    }
    Ok(last.into())
}

/// The last `tail` lines (`None`: everything), and with `follow` also what is written until the supervisor ends.
pub fn follow(
    folder: WorkspaceFolder,
    tail: Option<usize>,
    follow: bool,
) -> impl Stream<Item = Result<Bytes, EngineError>> + Send {
    let reader = Reader {
        folder,
        tail,
        follow,
        files: None,
    };
    futures_util::stream::try_unfold(reader, async |mut reader| {
        let more = reader.next().await?;
        Ok(more.map(|bytes| (bytes, reader)))
    })
}

struct Reader {
    folder: WorkspaceFolder,
    tail: Option<usize>,
    follow: bool,
    /// The files that are left to read, oldest first; `None` before the first read.
    files: Option<VecDeque<File>>,
}

impl Reader {
    async fn next(&mut self) -> Result<Option<Bytes>, EngineError> {
        if self.files.is_none() && !self.folder.container().exists() {
            let path = self.folder.path().display().to_string();
            return Err(EngineError::NotFound(path));
        }
        loop {
            // Checked before reading, so that output that was written just before the end is still read.
            let is_written = self.follow && self.folder.is_supervised()?;
            let read = self.read();
            if let Some(bytes) = read.map_err(|e| unusable(&self.folder.log(), &e))? {
                return Ok(Some(bytes));
            }
            if !is_written {
                return Ok(None);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn read(&mut self) -> io::Result<Option<Bytes>> {
        let files = match &mut self.files {
            Some(files) => files,
            None => self
                .files
                .insert(open_last(&self.folder, self.tail, u64::MAX)?.into()),
        };
        loop {
            let is_last = files.len() == 1;
            let Some(file) = files.front_mut() else {
                match File::open(self.folder.log()) {
                    Ok(file) => files.push_back(file),
                    Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
                    Err(e) => return Err(e),
                }
                continue;
            };
            let mut block = vec![0; BLOCK];
            let length = file.read(&mut block)?;
            if length > 0 {
                block.truncate(length);
                return Ok(Some(block.into()));
            }
            if is_last && is_current(file, &self.folder)? {
                return Ok(None);
            }
            // The file was rotated, so its last byte is written by now, but perhaps only after the read above.
            let length = file.read(&mut block)?;
            if length > 0 {
                block.truncate(length);
                return Ok(Some(block.into()));
            }
            files.pop_front();
        }
    }
}

/// Opens both files at the beginning of their last lines, the older file first.
fn open_last(folder: &WorkspaceFolder, lines: Option<usize>, budget: u64) -> io::Result<Vec<File>> {
    let open = |path| match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    };
    let mut files = Vec::new();
    let newer = open(folder.log())?;
    let older = open(folder.old_log())?;
    let Some(mut newer) = newer else {
        return Ok(files);
    };
    let missing = seek_to_last(&mut newer, lines, budget)?;
    if let Some(mut older) = older
        && missing != Some(0)
        // Equal when the log was rotated between the two opens.
        && identity(&older)? != identity(&newer)?
    {
        seek_to_last(&mut older, missing, budget)?;
        files.push(older);
    }
    files.push(newer);
    Ok(files)
}

/// Moves to the beginning of the last `lines` lines, at most `budget` bytes before the end. Returns how many lines are
/// missing.
fn seek_to_last(file: &mut File, lines: Option<usize>, budget: u64) -> io::Result<Option<usize>> {
    let Some(lines) = lines else {
        file.seek(SeekFrom::Start(0))?;
        return Ok(None);
    };
    let end = file.metadata()?.len();
    let stop = end.saturating_sub(budget);
    let mut begin = end;
    let mut found = 0;
    let mut block = vec![0; BLOCK];
    while begin > stop {
        let from = begin.saturating_sub(BLOCK as u64).max(stop);
        let length = usize::try_from(begin - from).unwrap_or(BLOCK);
        let part = block.get_mut(..length).unwrap_or_default();
        file.read_exact_at(part, from)?;
        for (index, _) in part.iter().enumerate().rev().filter(|(_, b)| **b == b'\n') {
            let after = from + index as u64 + 1;
            // The final newline ends the last line, and begins no further one.
            if after == end {
                continue;
            }
            found += 1;
            if found == lines {
                file.seek(SeekFrom::Start(after))?;
                return Ok(Some(0));
            }
        }
        begin = from;
    }
    file.seek(SeekFrom::Start(begin))?;
    if begin > 0 || lines == 0 {
        file.seek(SeekFrom::Start(if lines == 0 { end } else { begin }))?;
        return Ok(Some(0));
    }
    let first = usize::from(end > 0);
    Ok(Some(lines.saturating_sub(found + first)))
}

/// Whether this file is the present `log`, and not one that was rotated.
fn is_current(file: &File, folder: &WorkspaceFolder) -> io::Result<bool> {
    match fs::metadata(folder.log()) {
        Ok(current) => Ok((current.dev(), current.ino()) == identity(file)?),
        // Removed, or being rotated. In both cases there is nothing more to read from another file now.
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(e) => Err(e),
    }
}

/// The device and inode of a file.
fn identity(file: &File) -> io::Result<(u64, u64)> {
    let metadata = file.metadata()?;
    Ok((metadata.dev(), metadata.ino()))
}

/// A line, cut to [`limits::LINE_BYTES`].
fn cut(line: &str) -> String {
    if line.len() <= limits::LINE_BYTES {
        return line.to_owned();
    }
    let end = line.floor_char_boundary(limits::LINE_BYTES);
    format!("{}…", line.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;

    use super::*;

    fn folder(temp: &tempfile::TempDir) -> WorkspaceFolder {
        WorkspaceFolder::at(temp.path())
    }

    #[test]
    fn the_last_lines_are_found_with_and_without_a_final_newline() {
        let temp = tempfile::tempdir().unwrap();
        let folder = folder(&temp);
        assert_eq!(last_lines(&folder, 3).unwrap(), [""; 0]);
        for (text, lines, expected) in [
            ("", 2, &[][..]),
            ("a", 2, &["a"]),
            ("a\n", 2, &["a"]),
            ("a\nb", 2, &["a", "b"]),
            ("a\nb\n", 1, &["b"]),
            ("a\n\n", 1, &[""]),
            ("a\nb\nc\n", 2, &["b", "c"]),
            ("a\nb\nc\n", 0, &[]),
            ("a\r\nb\n", 2, &["a", "b"]),
        ] {
            fs::write(folder.log(), text).unwrap();
            assert_eq!(last_lines(&folder, lines).unwrap(), expected, "{text:?}");
        }
        // Lines that are longer than a block.
        let long = ["a", "b", "c"].map(|c| c.repeat(BLOCK + 1));
        fs::write(folder.log(), long.join("\n")).unwrap();
        let all = last_lines(&folder, 100).unwrap();
        assert_eq!(all, long.each_ref().map(|line| cut(line)));
        assert_eq!(all[0].len(), limits::LINE_BYTES + "…".len());
        // Not more is read than so many lines can have, so only the end of a longer line is found.
        assert_eq!(
            last_lines(&folder, 1).unwrap(),
            ["c".repeat(limits::LINE_BYTES)]
        );
        fs::write(folder.log(), b"\xff\n").unwrap();
        assert_eq!(last_lines(&folder, 1).unwrap(), ["\u{fffd}"]);
    }

    #[tokio::test]
    async fn the_log_is_bounded_and_a_reader_misses_nothing_when_it_is_rotated() {
        let temp = tempfile::tempdir().unwrap();
        let folder = folder(&temp);
        let mut log = Log::open(&folder).unwrap();
        let line = [&[b'x'; 1023][..], b"\n"].concat();
        let lines = usize::try_from(limits::LOG_BYTES).unwrap() / line.len();
        for _ in 0..lines {
            log.write(&line);
        }
        assert!(!folder.old_log().exists());
        log.write(b"y\n");
        assert_eq!(
            fs::metadata(folder.old_log()).unwrap().len(),
            limits::LOG_BYTES
        );
        assert_eq!(fs::read(folder.log()).unwrap(), b"y\n");
        fs::write(folder.container(), "").unwrap();
        let last = last_lines(&folder, 3).unwrap();
        assert_eq!(
            last.iter().map(String::len).collect::<Vec<_>>(),
            [1023, 1023, 1]
        );
        let mut all = 0;
        let mut stream = std::pin::pin!(follow(folder.clone(), None, false));
        while let Some(bytes) = stream.next().await {
            all += bytes.unwrap().len() as u64;
        }
        assert_eq!(all, limits::LOG_BYTES + 2);

        // A reader that began before a rotation misses nothing after it.
        let mut reader = Reader {
            folder: folder.clone(),
            tail: Some(1),
            follow: false,
            files: None,
        };
        assert_eq!(reader.next().await.unwrap().unwrap(), "y\n");
        log.write(b"z\n");
        for _ in 0..lines {
            log.write(&line);
        }
        let mut text = Vec::new();
        while let Some(bytes) = reader.next().await.unwrap() {
            text.extend(bytes);
        }
        assert!(text.starts_with(b"z\nxxx"));
        assert_eq!(text.len(), 2 + lines * line.len());
        // A later supervisor continues the log of the earlier one.
        drop(log);
        let mut log = Log::open(&folder).unwrap();
        log.write(b"end\n");
        assert!(fs::metadata(folder.log()).unwrap().len() <= limits::LOG_BYTES);
        assert_eq!(last_lines(&folder, 1).unwrap(), ["end"]);
    }
}
