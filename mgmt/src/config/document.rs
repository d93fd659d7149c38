//! From the bytes of the file to parsed TOML tables, sparing what can be read when not all can.
//!
//! A file that is sound TOML is one [`Part`]. One that is not is cut at the lines that begin a
//! top-level table (`[name]`, `[[name]]`; `[[name.sub]]` stays with its parent), and each piece is a
//! part of its own, or a problem. So a syntax error costs only the table that it stands in.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::ops::Range;

use toml::de::DeTable;
use toml_parser::Source;
use toml_parser::lexer::TokenKind;

use super::problem::{Problem, Problems};

/// Largest file that is read, in bytes.
pub const MAX_BYTES: usize = 1 << 20;

/// Most tokens of TOML in a file: bounds the parser's memory to a few MiB. A VM needs about 60.
const MAX_TOKENS: usize = 1 << 17;

/// Deepest nesting of brackets and of dotted keys. The schema needs four; the parser and its values
/// recurse, and the stack that this runs on is small.
const MAX_DEPTH: usize = 8;

/// Most syntax errors reported for one part: what follows the first few is their echo.
const MAX_SYNTAX_ERRORS: usize = 4;

/// A piece of the file that is sound TOML by itself.
pub(super) struct Part<'a> {
    pub table: DeTable<'a>,
    pub lines: Lines,
}

/// Finds the line in the file of an offset in a part.
#[derive(Clone)]
pub(super) struct Lines {
    /// Line, counted from 1, of the part's first byte.
    first: usize,
    /// Offsets of the part's newlines.
    newlines: Vec<usize>,
}

impl Lines {
    fn new(first: usize, text: &[u8]) -> Self {
        let newlines = text.iter().enumerate().filter(|(_, b)| **b == b'\n').map(|(at, _)| at).collect();
        Self { first, newlines }
    }

    /// The line, counted from 1 in the whole file, of the byte at `offset` of this part.
    pub fn at(&self, offset: usize) -> usize {
        self.first + self.newlines.partition_point(|newline| *newline < offset)
    }
}

/// Reads the file's parts and reports what is not TOML.
pub(super) fn parts<'a>(file: &'a [u8], problems: &mut Problems) -> Vec<Part<'a>> {
    if file.len() > MAX_BYTES {
        let text = format!("the file has {} bytes; allowed: at most {MAX_BYTES}", file.len());
        problems.push(1, text);
        return Vec::new();
    }
    let whole = Piece { first_line: 1, bytes: file };
    if let Ok(part) = whole.parse() {
        return Vec::from([part]);
    }
    let mut parts = Vec::new();
    for piece in pieces(file) {
        match piece.parse() {
            Ok(part) => parts.push(part),
            Err(errors) => {
                let title = piece.title();
                for error in errors {
                    problems.push(error.line, format!("not valid TOML: {}; {title} is left out", error.text));
                }
            }
        }
    }
    parts
}

/// Part of the file, not yet known to be TOML.
struct Piece<'a> {
    first_line: usize,
    bytes: &'a [u8],
}

/// Cuts the file before each line that opens a top-level table.
fn pieces(file: &[u8]) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut piece = Piece { first_line: 1, bytes: &[] };
    let (mut start, mut offset) = (0, 0);
    for (index, line) in file.split_inclusive(|b| *b == b'\n').enumerate() {
        if opens_table(line) && offset > start {
            piece.bytes = &file[start..offset];
            pieces.push(piece);
            piece = Piece { first_line: index + 1, bytes: &[] };
            start = offset;
        }
        offset += line.len();
    }
    piece.bytes = &file[start..];
    pieces.push(piece);
    pieces
}

/// Whether a line is the header of a top-level table, or was meant to be.
fn opens_table(line: &[u8]) -> bool {
    let line = line.trim_ascii_start();
    let name = line.iter().position(|b| matches!(b, b']' | b'#' | b'\n')).map_or(line, |end| &line[..end]);
    line.starts_with(b"[") && !name.contains(&b'.')
}

impl<'a> Piece<'a> {
    /// What this piece is, for a message: its header, or "what stands before the first table".
    fn title(&self) -> String {
        let line = self.bytes.split(|b| *b == b'\n').next().unwrap_or_default().trim_ascii();
        if !opens_table(line) {
            return "what stands before the first table".to_string();
        }
        let header = line.iter().rposition(|b| *b == b']').map_or(line, |end| &line[..=end]);
        let header: String = String::from_utf8_lossy(header).chars().take(40).collect();
        format!("this {}", header.escape_debug())
    }

    fn parse(&self) -> Result<Part<'a>, Vec<Problem>> {
        let lines = Lines::new(self.first_line, self.bytes);
        let text = core::str::from_utf8(self.bytes).map_err(|error| {
            let line = lines.at(error.valid_up_to());
            Vec::from([Problem { line, text: "text that is not UTF-8".to_string() }])
        })?;
        bounded(text).map_err(|(offset, text)| Vec::from([Problem { line: lines.at(offset), text }]))?;
        let (table, errors) = DeTable::parse_recoverable(text);
        if errors.is_empty() {
            return Ok(Part { table: table.into_inner(), lines });
        }
        Err(errors
            .iter()
            .take(MAX_SYNTAX_ERRORS)
            .map(|error| {
                let span: Range<usize> = error.span().unwrap_or_default();
                Problem { line: lines.at(span.start), text: error.message().to_string() }
            })
            .collect())
    }
}

/// Checks, before the parser recurses and allocates, that the text stays within [`MAX_DEPTH`] and
/// [`MAX_TOKENS`]. On failure: the offset and what is wrong there.
fn bounded(text: &str) -> Result<(), (usize, String)> {
    let mut brackets = 0usize;
    let mut dots = 0usize;
    for (count, token) in Source::new(text).lex().enumerate() {
        match token.kind() {
            TokenKind::LeftSquareBracket | TokenKind::LeftCurlyBracket => {
                brackets += 1;
                dots = 0;
            }
            TokenKind::RightSquareBracket | TokenKind::RightCurlyBracket => {
                brackets = brackets.saturating_sub(1);
            }
            TokenKind::Dot => dots += 1,
            TokenKind::Newline | TokenKind::Comma | TokenKind::Equals => dots = 0,
            TokenKind::Whitespace
            | TokenKind::Comment
            | TokenKind::LiteralString
            | TokenKind::BasicString
            | TokenKind::MlLiteralString
            | TokenKind::MlBasicString
            | TokenKind::Atom
            | TokenKind::Eof => {}
        }
        let at = token.span().start();
        if brackets > MAX_DEPTH || dots > MAX_DEPTH {
            return Err((at, format!("nested too deeply (allowed: {MAX_DEPTH} levels)")));
        }
        if count > MAX_TOKENS {
            return Err((at, format!("too much content (allowed: {MAX_TOKENS} words and signs)")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(file: &str) -> (Vec<Part<'_>>, Vec<String>) {
        let mut problems = Problems::default();
        let parts = parts(file.as_bytes(), &mut problems);
        (parts, problems.by_line().iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_sound_file_is_one_part() {
        let (parts, problems) = read("[node]\nname = \"n1\"\n[[vm]]\n[[vm]]\n");
        assert_eq!(parts.len(), 1);
        assert!(problems.is_empty());
    }

    #[test]
    fn a_syntax_error_costs_only_its_own_table() {
        let (parts, problems) = read("[node]\n[[vm]]\nname = \"a\nx=1\n[[vm]]\nname = \"b\"\n");
        assert_eq!(parts.len(), 2, "{problems:?}");
        assert!(problems[0].starts_with("purevisor.toml:3: not valid TOML"), "{problems:?}");
        assert!(problems[0].ends_with("this [[vm]] is left out"), "{problems:?}");
        assert_eq!(parts[1].lines.at(0), 5);
    }

    #[test]
    fn a_table_below_another_stays_with_it() {
        let pieces = pieces(b"bad\n[[vm]]\nx = 1\n[[vm.disk]]\ny = 1\n  [node]\n");
        let cuts: Vec<usize> = pieces.iter().map(|p| p.first_line).collect();
        assert_eq!(cuts, [1, 2, 6]);
    }

    #[test]
    fn nesting_is_refused_before_the_parser_recurses() {
        for deep in ["[".repeat(500_000), format!("x = {}", "[".repeat(500_000)), "a.".repeat(500_000)] {
            let (parts, problems) = read(&deep);
            assert!(parts.is_empty());
            assert!(problems[0].contains("nested too deeply"), "{}", problems[0]);
        }
        let inline = format!("x = {}", "{a=".repeat(100_000));
        assert!(read(&inline).1[0].contains("nested too deeply"));
    }

    #[test]
    fn a_flood_of_tokens_is_refused_before_the_parser_allocates() {
        let (_, problems) = read(&format!("x = [{}]", "1,".repeat(200_000)));
        assert!(problems[0].contains("too much content"), "{}", problems[0]);
    }

    #[test]
    fn text_that_is_not_utf8_costs_only_its_own_table() {
        let mut problems = Problems::default();
        let parts = parts(b"[node]\nname = \"n\"\n[[vm]]\nname = \"\xff\"\n[console]\n", &mut problems);
        assert_eq!(parts.len(), 2);
        let problems = problems.by_line();
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].line, 4);
    }

    #[test]
    fn a_file_that_is_too_large_is_refused() {
        let mut problems = Problems::default();
        assert!(parts(&[b'#'; MAX_BYTES + 1], &mut problems).is_empty());
        assert!(problems.by_line()[0].text.contains("1048577 bytes"));
    }
}
