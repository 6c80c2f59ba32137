//! What a workspace prints: kept in two bounded files, `log` and the older
//! `log.1`. Written by the supervisor alone; readers never hold it up.

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

/// How often a follower looks for more.
const LOOK: Duration = Duration::from_millis(100);

/// Read at once.
const BLOCK: usize = 16 << 10;

/// The writing end. Past [`limits::LOG_BYTES`] the file becomes the older one
/// and a new one begins, so that the newest output is always there. What the
/// disk does not take is lost: a full disk must not stop the program.
#[derive(Debug)]
pub struct Log {
    place: WorkspaceFolder,
    file: File,
    size: u64,
}

impl Log {
    /// Opens the log of a workspace for appending.
    ///
    /// # Errors
    /// The operating system's.
    pub fn open(place: &WorkspaceFolder) -> io::Result<Self> {
        let file = append_to(place)?;
        Ok(Self {
            place: place.clone(),
            size: file.metadata()?.len(),
            file,
        })
    }

    /// Keeps some output.
    pub fn write(&mut self, output: &[u8]) {
        if self.size > 0 && self.size + output.len() as u64 > limits::LOG_BYTES {
            let _ = fs::rename(self.place.log(), self.place.old_log());
            if let Ok(file) = append_to(&self.place) {
                self.file = file;
                self.size = 0;
            }
        }
        if self.file.write_all(output).is_ok() {
            self.size += output.len() as u64;
        }
    }
}

/// Opens the log for appending, mode 0600.
///
/// # Errors
/// The operating system's.
pub fn append_to(place: &WorkspaceFolder) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).append(true).mode(0o600);
    options.open(place.log())
}

/// The last lines, oldest first, each cut at [`limits::LINE_BYTES`]. Reads
/// from the end, and no more than that many lines of that length.
///
/// # Errors
/// The operating system's.
pub fn last_lines(place: &WorkspaceFolder, lines: usize) -> Result<Vec<String>, EngineError> {
    let failed = |e: io::Error| unusable(&place.log(), &e);
    let mut text = Vec::new();
    let budget = lines.saturating_mul(limits::LINE_BYTES) as u64;
    for mut file in open_last(place, Some(lines), budget).map_err(failed)? {
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

/// The last `tail` lines or everything, and with `follow` what comes until
/// nobody writes any more.
pub fn follow(
    place: WorkspaceFolder,
    tail: Option<usize>,
    follow: bool,
) -> impl Stream<Item = Result<Bytes, EngineError>> + Send {
    let reader = Reader {
        place,
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
    place: WorkspaceFolder,
    tail: Option<usize>,
    follow: bool,
    /// What is left to read, oldest first; `None` before the first look.
    files: Option<VecDeque<File>>,
}

impl Reader {
    async fn next(&mut self) -> Result<Option<Bytes>, EngineError> {
        if self.files.is_none() && !self.place.container().exists() {
            let path = self.place.path().display().to_string();
            return Err(EngineError::NotFound(path));
        }
        loop {
            // Looked at before reading: what was written before the end is then read after it.
            let is_written = self.follow && self.place.is_supervised()?;
            let read = self.read();
            if let Some(bytes) = read.map_err(|e| unusable(&self.place.log(), &e))? {
                return Ok(Some(bytes));
            }
            if !is_written {
                return Ok(None);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn read(&mut self) -> io::Result<Option<Bytes>> {
        let files = match &mut self.files {
            Some(files) => files,
            None => self
                .files
                .insert(open_last(&self.place, self.tail, u64::MAX)?.into()),
        };
        loop {
            let is_last = files.len() == 1;
            let Some(file) = files.front_mut() else {
                match File::open(self.place.log()) {
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
            if is_last && is_current(file, &self.place)? {
                return Ok(None);
            }
            // Rotated: whoever rotates has written the last byte, but perhaps after this read.
            let length = file.read(&mut block)?;
            if length > 0 {
                block.truncate(length);
                return Ok(Some(block.into()));
            }
            files.pop_front();
        }
    }
}

/// Both files from where their last lines begin, the older one first.
fn open_last(place: &WorkspaceFolder, lines: Option<usize>, budget: u64) -> io::Result<Vec<File>> {
    let open = |path| match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    };
    let mut files = Vec::new();
    let newer = open(place.log())?;
    let older = open(place.old_log())?;
    let Some(mut newer) = newer else {
        return Ok(files);
    };
    let missing = seek_to_last(&mut newer, lines, budget)?;
    if let Some(mut older) = older
        && missing != Some(0)
        // Rotated between the two opens.
        && identity(&older)? != identity(&newer)?
    {
        seek_to_last(&mut older, missing, budget)?;
        files.push(older);
    }
    files.push(newer);
    Ok(files)
}

/// Goes to where the last `lines` lines begin, at most `budget` bytes before
/// the end; returns how many lines there are too few.
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
            // The newest newline ends the newest line, it begins none.
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

fn is_current(file: &File, place: &WorkspaceFolder) -> io::Result<bool> {
    match fs::metadata(place.log()) {
        Ok(current) => Ok((current.dev(), current.ino()) == identity(file)?),
        // Removed, or being replaced: there will be a new one or nobody who writes.
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(e) => Err(e),
    }
}

fn identity(file: &File) -> io::Result<(u64, u64)> {
    let metadata = file.metadata()?;
    Ok((metadata.dev(), metadata.ino()))
}

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

    fn place(folder: &tempfile::TempDir) -> WorkspaceFolder {
        WorkspaceFolder::at(folder.path())
    }

    #[test]
    fn the_last_lines_are_found_however_they_lie() {
        let folder = tempfile::tempdir().unwrap();
        let place = place(&folder);
        assert_eq!(last_lines(&place, 3).unwrap(), [""; 0]);
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
            fs::write(place.log(), text).unwrap();
            assert_eq!(last_lines(&place, lines).unwrap(), expected, "{text:?}");
        }
        // Lines across blocks, none of them whole in one.
        let long = ["a", "b", "c"].map(|c| c.repeat(BLOCK + 1));
        fs::write(place.log(), long.join("\n")).unwrap();
        let all = last_lines(&place, 100).unwrap();
        assert_eq!(all, long.each_ref().map(|line| cut(line)));
        assert_eq!(all[0].len(), limits::LINE_BYTES + "…".len());
        // No more is read than so many lines may have: of a longer one its end.
        assert_eq!(
            last_lines(&place, 1).unwrap(),
            ["c".repeat(limits::LINE_BYTES)]
        );
        fs::write(place.log(), b"\xff\n").unwrap();
        assert_eq!(last_lines(&place, 1).unwrap(), ["\u{fffd}"]);
    }

    #[tokio::test]
    async fn the_log_is_bounded_and_reads_on_over_the_edge() {
        let folder = tempfile::tempdir().unwrap();
        let place = place(&folder);
        let mut log = Log::open(&place).unwrap();
        let line = [&[b'x'; 1023][..], b"\n"].concat();
        let lines = usize::try_from(limits::LOG_BYTES).unwrap() / line.len();
        for _ in 0..lines {
            log.write(&line);
        }
        assert!(!place.old_log().exists());
        log.write(b"y\n");
        assert_eq!(
            fs::metadata(place.old_log()).unwrap().len(),
            limits::LOG_BYTES
        );
        assert_eq!(fs::read(place.log()).unwrap(), b"y\n");
        fs::write(place.container(), "").unwrap();
        let last = last_lines(&place, 3).unwrap();
        assert_eq!(
            last.iter().map(String::len).collect::<Vec<_>>(),
            [1023, 1023, 1]
        );
        let mut all = 0;
        let mut stream = std::pin::pin!(follow(place.clone(), None, false));
        while let Some(bytes) = stream.next().await {
            all += bytes.unwrap().len() as u64;
        }
        assert_eq!(all, limits::LOG_BYTES + 2);

        // A follower that began before the edge misses nothing behind it.
        let mut reader = Reader {
            place: place.clone(),
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
        // A supervisor that is started later goes on where the last one ended.
        drop(log);
        let mut log = Log::open(&place).unwrap();
        log.write(b"end\n");
        assert!(fs::metadata(place.log()).unwrap().len() <= limits::LOG_BYTES);
        assert_eq!(last_lines(&place, 1).unwrap(), ["end"]);
    }
}
