//! The files that `purevisor.toml` names.
//!
//! The kernel parses the configuration and reports its errors with line numbers, when consoles are up.
//! Before that, the loader must know which files to bring into memory, also where the configuration has
//! errors, so that the virtual machines that are described well still start. So this is a scan, not a
//! parser: it understands TOML's comments, keys and strings, finds `kernel = "…"` and `initrd = "…"` in
//! any table (inline tables and dotted keys included), and any string that begins with `file:`; whatever
//! else the text holds is passed over.
use alloc::string::String;
use alloc::vec::Vec;
use core::iter::Peekable;
use core::str::Chars;

/// Keys whose string value is the path of a boot file.
pub const FILE_KEYS: [&str; 2] = ["kernel", "initrd"];
/// A string value that begins with this names a boot file, under any key.
pub const FILE_PREFIX: &str = "file:";

/// A longer text names no files: the kernel refuses it as a whole.
pub const MAX_BYTES: usize = 1 << 20;
/// More files are not brought into memory; the kernel says whose machines lack them.
pub const MAX_FILES: usize = 1000;

/// A file that the configuration names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedFile {
    /// Line in the configuration, from 1.
    pub line: usize,
    /// The path as written, without `file:`; relative to `purevisor.toml`.
    pub path: String,
}

/// The files named in `text`, each path once, in the order of appearance; the first [`MAX_FILES`] of them, and
/// none of a text of more than [`MAX_BYTES`].
pub fn named_files(text: &str) -> Vec<NamedFile> {
    let mut files: Vec<NamedFile> = Vec::new();
    if text.len() > MAX_BYTES {
        return files;
    }
    let mut scan = Scan { rest: text.chars().peekable(), line: 1 };
    // What stood before the current token: a possible key, or a key with its equals sign.
    let mut before = Before::Nothing;
    while let Some((line, token)) = scan.next() {
        before = match token {
            Token::Equals => match before {
                Before::Word(key) => Before::Assign(key),
                _ => Before::Nothing,
            },
            Token::Bare(word) => Before::Word(word),
            Token::Other => Before::Nothing,
            Token::Quoted(text) => {
                let named = match (&before, text.strip_prefix(FILE_PREFIX)) {
                    (_, Some(path)) => Some(path),
                    (Before::Assign(key), None) if names_a_file(key) => Some(text.as_str()),
                    _ => None,
                };
                if let Some(path) = named
                    && !path.is_empty()
                    && files.len() < MAX_FILES
                    && !files.iter().any(|f| f.path == path)
                {
                    files.push(NamedFile { line, path: path.into() });
                }
                Before::Word(text)
            }
        };
    }
    files
}

/// Whether `key`, possibly dotted, ends in one of [`FILE_KEYS`].
fn names_a_file(key: &str) -> bool {
    let last = key.rsplit('.').next().unwrap_or(key);
    FILE_KEYS.contains(&last)
}

enum Before {
    Nothing,
    Word(String),
    Assign(String),
}

enum Token {
    Bare(String),
    Quoted(String),
    Equals,
    /// A bracket, a brace, a comma or the end of a line.
    Other,
}

struct Scan<'a> {
    rest: Peekable<Chars<'a>>,
    line: usize,
}

impl Scan<'_> {
    fn take(&mut self) -> Option<char> {
        let c = self.rest.next();
        if c == Some('\n') {
            self.line += 1;
        }
        c
    }

    fn take_if(&mut self, wanted: char) -> bool {
        if self.rest.peek() == Some(&wanted) {
            self.take();
            return true;
        }
        false
    }

    /// The next token and the line that it starts on.
    fn next(&mut self) -> Option<(usize, Token)> {
        loop {
            let line = self.line;
            let token = match self.take()? {
                ' ' | '\t' | '\r' => continue,
                '#' => {
                    while self.rest.peek().is_some_and(|&c| c != '\n') {
                        self.take();
                    }
                    continue;
                }
                '=' => Token::Equals,
                '[' | ']' | '{' | '}' | ',' | '\n' => Token::Other,
                quote @ ('"' | '\'') => Token::Quoted(self.quoted(quote)),
                first => Token::Bare(self.bare(first)),
            };
            return Some((line, token));
        }
    }

    fn bare(&mut self, first: char) -> String {
        let mut word = String::from(first);
        while let Some(&c) = self.rest.peek() {
            if c.is_whitespace() || "=[]{},#\"'".contains(c) {
                break;
            }
            word.push(c);
            self.take();
        }
        word
    }

    /// The rest of a string after its first quote: basic or literal, of one line or of several. One that
    /// is not closed ends with its line.
    fn quoted(&mut self, quote: char) -> String {
        let mut text = String::new();
        let mut long = false;
        if self.take_if(quote) {
            if !self.take_if(quote) {
                return text;
            }
            long = true;
            self.take_if('\n');
        }
        let mut closing = 0;
        loop {
            match self.rest.peek() {
                None => return text,
                Some('\n') if !long => return text,
                Some(_) => {}
            }
            let Some(c) = self.take() else { return text };
            if c == quote {
                closing += 1;
                if !long || closing == 3 {
                    return text;
                }
                continue;
            }
            for _ in 0..closing {
                text.push(quote);
            }
            closing = 0;
            if c == '\\' && quote == '"' {
                self.escape(&mut text);
            } else {
                text.push(c);
            }
        }
    }

    /// What a backslash in a basic string stands for (TOML 1.0, "String").
    fn escape(&mut self, text: &mut String) {
        let digits = match self.take() {
            Some('n') => return text.push('\n'),
            Some('t') => return text.push('\t'),
            Some('r') => return text.push('\r'),
            Some('u') => 4,
            Some('U') => 8,
            // A quote or a backslash; anything else is an error that the kernel will report.
            Some(c) => return text.push(c),
            None => return,
        };
        let mut code = 0u32;
        for _ in 0..digits {
            let Some(digit) = self.rest.peek().and_then(|c| c.to_digit(16)) else { return };
            code = (code << 4) | digit;
            self.take();
        }
        text.extend(char::from_u32(code));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn paths(text: &str) -> Vec<String> {
        named_files(text).into_iter().map(|f| f.path).collect()
    }

    #[test]
    fn the_documented_configuration_names_its_kernel_and_initrd_with_their_lines() {
        let text = "[node]\nname = \"n1\"\n\n[[vm]]\nname = \"debian\"\nmemory = \"512M\"\n\
                    kernel = \"vmlinuz\"\ninitrd = \"sub/initrd.img\"\ncmdline = \"console=ttyS0\"\n";
        assert_eq!(
            named_files(text),
            vec![
                NamedFile { line: 7, path: "vmlinuz".into() },
                NamedFile { line: 8, path: "sub/initrd.img".into() },
            ]
        );
    }

    #[test]
    fn a_file_that_two_machines_share_is_named_once() {
        assert_eq!(paths("[[vm]]\nkernel='k'\n[[vm]]\nkernel=\"k\"\n"), ["k"]);
    }

    #[test]
    fn inline_tables_dotted_and_quoted_keys_are_understood() {
        assert_eq!(
            paths("vm = [{ name=\"a\", kernel=\"x\" }, {\"initrd\"='y'}]\nb.kernel = 'z'"),
            ["x", "y", "z"]
        );
    }

    #[test]
    fn comments_and_other_keys_name_nothing() {
        assert_eq!(
            paths("# kernel = \"a\"\nname = \"kernel\" # initrd = 'b'\nkernels = \"c\"\n[kernel]\n"),
            [""; 0]
        );
    }

    #[test]
    fn any_string_that_begins_with_file_is_a_file() {
        assert_eq!(paths("disks = [\"file:a/b.img\", \"new:4G\"]\nseed = 'file:c'"), ["a/b.img", "c"]);
    }

    #[test]
    fn escapes_literals_and_long_strings_are_read_as_toml_does() {
        assert_eq!(paths(r#"kernel = "a\\b\u00e4\"c""#), ["a\\bä\"c"]);
        assert_eq!(paths(r"kernel = 'a\b'"), [r"a\b"]);
        assert_eq!(paths("x = \"\"\"\nkernel = 'no'\n\"\"\"\nkernel = '''yes'''"), ["yes"]);
        assert_eq!(paths("kernel = \"\"\ninitrd = \"i\""), ["i"]);
    }

    #[test]
    fn a_broken_line_does_not_hide_the_lines_after_it() {
        assert_eq!(paths("[[vm]\nname = \"a\nkernel = \"k\"\nmemory = = 3\ninitrd = \"i\"\n"), ["k", "i"]);
        assert_eq!(paths("kernel = vmlinuz\ninitrd = \"i\""), ["i"]);
        assert_eq!(paths("kernel =\n\"not a value any more\""), [""; 0]);
    }

    #[test]
    fn a_flood_of_names_is_cut_off_and_a_text_that_the_kernel_refuses_names_nothing() {
        use alloc::format;
        let many: String = (0..50_000).map(|n| format!("'file:{n}' ")).collect();
        assert_eq!(named_files(&many).len(), MAX_FILES);
        let long = String::from("kernel = 'k'\n#") + &"x".repeat(MAX_BYTES);
        assert_eq!(paths(&long), [""; 0]);
    }

    #[test]
    fn random_text_is_scanned_to_its_end() {
        let pieces =
            ["kernel", "=", "\"", "'", "\\", "u", "12", "[", "}", "\n", "#", "\"\"\"", "é", "file:", " "];
        let mut seed = 1u64;
        for _ in 0..20_000 {
            let mut text = String::new();
            for _ in 0..20 {
                seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                text.push_str(pieces[(seed >> 33) as usize % pieces.len()]);
            }
            let lines = text.lines().count() + 1;
            assert!(named_files(&text).iter().all(|f| f.line <= lines && !f.path.is_empty()));
        }
    }
}
