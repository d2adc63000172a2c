//! Maildir and Maildir++: names of folders, flags in names of files, and the codes of keywords.
//!
//! A folder of Maildir++ is `.A.B` beside `cur`: level by level in modified UTF-7. A `.` within a level, which Maildir++ has no place for,
//! is written `&AC4-`. Keywords are the codes `a` to `z`, which the file `dovecot-keywords` of each folder explains, as Dovecot writes it.

use crate::imap::{from_utf7, to_utf7};
use crate::store::mailboxes::DELIMITER;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// The file with a folder's keywords.
const KEYWORDS: &str = "dovecot-keywords";
/// `P` for passed: forwarded, resent or bounced. For Dovecot it is a keyword as others are, so it is written as both.
const FORWARDED: &str = "$Forwarded";
const CODES: [(char, &str); 6] =
    [('D', "\\Draft"), ('F', "\\Flagged"), ('P', FORWARDED), ('R', "\\Answered"), ('S', "\\Seen"), ('T', "\\Deleted")];
const MOST_KEYWORDS: usize = 26;

pub(super) fn is_maildir(folder: &Path) -> bool {
    folder.join("cur").is_dir() && folder.join("new").is_dir()
}

/// A message of a folder.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    /// In seconds since 1970: when the message came in.
    pub(super) modified: i64,
    pub(super) path: PathBuf,
}

/// The messages of a folder, the oldest first.
pub(super) fn entries(folder: &Path) -> io::Result<Vec<Entry>> {
    let mut found = Vec::new();
    for part in ["cur", "new"] {
        for entry in fs::read_dir(folder.join(part))? {
            let entry = entry?;
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let path = entry.path();
            match fs::metadata(&path) {
                Ok(metadata) if metadata.is_file() => {
                    let since = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
                    found.push(Entry { modified: i64::try_from(since.as_secs()).unwrap_or(i64::MAX), path });
                }
                Ok(_) => {}
                // It cannot be read, which is found again and said when it is.
                Err(_) => found.push(Entry { modified: 0, path }),
            }
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Where a message is that was read by its owner meanwhile: in `cur`, with the same name but for the flags.
pub(super) fn moved(folder: &Path, path: &Path) -> io::Result<Option<PathBuf>> {
    let base = |name: &OsStr| name.to_string_lossy().split([':', ';']).next().unwrap_or_default().to_owned();
    let wanted = base(path.file_name().unwrap_or_default());
    for entry in fs::read_dir(folder.join("cur"))? {
        let entry = entry?;
        if base(&entry.file_name()) == wanted {
            return Ok(Some(entry.path()));
        }
    }
    Ok(None)
}

/// The mailbox of a folder of Maildir++, whose name begins with a dot.
pub(super) fn mailbox_of(folder: &str) -> Option<String> {
    let levels = folder.strip_prefix('.')?.split('.').map(level_of);
    Some(levels.collect::<Vec<_>>().join(&DELIMITER.to_string()))
}

/// A level of a name, in modified UTF-7, or as it is.
pub(super) fn level_of(text: &str) -> String {
    from_utf7(text.as_bytes()).unwrap_or_else(|| text.to_owned())
}

/// The folder of a mailbox other than INBOX.
pub(super) fn folder_of(mailbox: &str) -> String {
    let levels = mailbox.split(DELIMITER).map(|level| to_utf7(level).replace('.', "&AC4-"));
    levels.fold(String::new(), |name, level| format!("{name}.{level}"))
}

/// The keywords of a folder by their codes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Keywords(Vec<String>);

impl Keywords {
    /// Those of a folder; none without a file of them.
    pub(super) fn read(folder: &Path) -> io::Result<Self> {
        match fs::read_to_string(folder.join(KEYWORDS)) {
            Ok(text) => Ok(Self::parse(&text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    /// Lines of a number from 0 on and a keyword.
    fn parse(text: &str) -> Self {
        let mut keywords = vec![String::new(); MOST_KEYWORDS];
        for (number, keyword) in text.lines().filter_map(|line| line.split_once(' ')) {
            let at = number.parse::<usize>().ok().and_then(|number| keywords.get_mut(number));
            at.into_iter().for_each(|at| keyword.clone_into(at));
        }
        while keywords.last().is_some_and(String::is_empty) {
            keywords.pop();
        }
        Self(keywords)
    }

    pub(super) fn write(&self, folder: &Path) -> io::Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        let named = self.0.iter().enumerate().filter(|(_, keyword)| !keyword.is_empty());
        let lines: String = named.map(|(number, keyword)| format!("{number} {keyword}\n")).collect();
        let new = folder.join(format!("{KEYWORDS}.new"));
        fs::write(&new, lines)?;
        fs::rename(new, folder.join(KEYWORDS))
    }

    /// Its code, which it is given where there is one left.
    fn code(&mut self, keyword: &str) -> Option<char> {
        let known = self.0.iter().position(|known| known.eq_ignore_ascii_case(keyword));
        let at = match known {
            Some(at) => at,
            None if self.0.len() < MOST_KEYWORDS => {
                self.0.push(keyword.to_owned());
                self.0.len() - 1
            }
            None => return None,
        };
        ('a'..='z').nth(at)
    }

    /// The flags and keywords of a file by its name.
    pub(super) fn flags_of(&self, file: &str) -> Vec<String> {
        let Some((_, info)) = file.rsplit_once(":2,").or_else(|| file.rsplit_once(";2,")) else { return Vec::new() };
        let flag = |code: char| {
            let named = CODES.iter().find(|(of, _)| *of == code).map(|(_, flag)| (*flag).to_owned());
            let keyword = || self.0.get(('a'..='z').position(|of| of == code)?).filter(|k| !k.is_empty()).cloned();
            named.or_else(keyword)
        };
        let codes = info.split(',').next().unwrap_or_default();
        codes.chars().filter_map(flag).fold(Vec::new(), |mut flags, flag| {
            if !flags.contains(&flag) {
                flags.push(flag);
            }
            flags
        })
    }

    /// The codes of flags and keywords in the order of the standard, and the keywords that have none.
    pub(super) fn info_of<'a>(&mut self, flags: &[&'a str]) -> (String, Vec<&'a str>) {
        let (mut codes, mut rest) = (Vec::new(), Vec::new());
        for flag in flags {
            let named = CODES.iter().find(|(_, name)| name.eq_ignore_ascii_case(flag)).map(|(code, _)| *code);
            let keyword = if flag.starts_with('\\') { None } else { self.code(flag) };
            if named.or(keyword).is_none() {
                rest.push(*flag);
            }
            codes.extend(named.into_iter().chain(keyword));
        }
        codes.sort_unstable();
        codes.dedup();
        (codes.into_iter().collect(), rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_folders_go_both_ways() {
        for (mailbox, folder) in [
            ("Archive/2024", ".Archive.2024"),
            ("Entwürfe", ".Entw&APw-rfe"),
            ("v1.2/R&D", ".v1&AC4-2.R&-D"),
            ("INBOX/x", ".INBOX.x"),
        ] {
            assert_eq!(folder_of(mailbox), folder);
            assert_eq!(mailbox_of(folder).as_deref(), Some(mailbox));
        }
        assert_eq!(mailbox_of(".Entwürfe").as_deref(), Some("Entwürfe"));
        assert_eq!(mailbox_of("cur"), None);
    }

    #[test]
    fn flags_are_letters_of_the_name() {
        let mut keywords = Keywords::parse("0 $Label1\n2 work\nnonsense\n99 far\n");
        for (name, flags) in [
            ("1.x.host:2,FSac", vec!["\\Flagged", "\\Seen", "$Label1", "work"]),
            ("1.x.host,S=3:2,", vec![]),
            ("1.x.host:2,PRSTDbz", vec!["$Forwarded", "\\Answered", "\\Seen", "\\Deleted", "\\Draft"]),
            ("1.x.host", vec![]),
            ("1.x.host;2,S", vec!["\\Seen"]),
        ] {
            assert_eq!(keywords.flags_of(name), flags, "{name}");
        }
        let none: Vec<&str> = Vec::new();
        assert_eq!(keywords.info_of(&["\\Seen", "WORK", "\\Draft", "new"]), ("DScd".to_owned(), none));
        assert_eq!(keywords.info_of(&["$forwarded"]).0, "Pe");
        assert_eq!(Keywords::parse("0 $Forwarded\n").flags_of("x:2,Pa"), ["$Forwarded"]);
        let many: Vec<String> = (0..30).map(|n| format!("k{n}")).collect();
        let (codes, rest) = keywords.info_of(&many.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!((codes.len(), rest.len()), (21, 9));
    }

    #[test]
    fn a_message_is_found_under_its_new_flags() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("cur")).unwrap();
        let now = folder.path().join("cur/1.x.host,S=3:2,S");
        fs::write(&now, "abc").unwrap();
        let before = |name: &str| moved(folder.path(), &folder.path().join(name)).unwrap();
        assert_eq!(before("new/1.x.host,S=3"), Some(now.clone()));
        assert_eq!(before("cur/1.x.host,S=3:2,"), Some(now));
        assert_eq!(before("cur/1.x.host:2,"), None);
    }

    #[test]
    fn keywords_are_written_as_they_are_read() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Keywords::read(folder.path()).unwrap(), Keywords::default());
        let keywords = Keywords::parse("0 a\n2 c\n");
        keywords.write(folder.path()).unwrap();
        assert_eq!(Keywords::read(folder.path()).unwrap(), keywords);
    }
}
