//! "Did you mean": the known word nearest to a mistyped one.

use alloc::vec::Vec;

/// Words longer than this are not compared: nothing that PureVisor knows is so long, and the
/// comparison takes time and memory by the product of the lengths.
const LONGEST: usize = 64;

/// The candidate that needs the fewest edits to become `word`, if that is few enough to be a slip of
/// the finger: up to one edit in three characters, and one in a shorter word. Of equals the first.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let length = word.chars().count();
    if length > LONGEST {
        return None;
    }
    let mut best: Option<(usize, &'a str)> = None;
    for candidate in candidates {
        let other = candidate.chars().count();
        if other > LONGEST {
            continue;
        }
        let allowed = (length.max(other) / 3).max(1);
        let distance = distance(word, candidate);
        // A word of one letter is one edit away from every other word of one letter.
        let alike = distance < length.max(other);
        if distance <= allowed && alike && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// Optimal string alignment distance: insertions, deletions, substitutions, and swaps of two
/// neighbours, each counted as one. Case counts for nothing.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().map(|c| c.to_ascii_lowercase()).collect();
    let b: Vec<char> = b.chars().map(|c| c.to_ascii_lowercase()).collect();
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = Vec::with_capacity(b.len() + 1);
        row.push(i);
        for j in 1..=b.len() {
            let substituted = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = substituted.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(before[j - 2] + 1);
            }
            row.push(least);
        }
        before = core::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_the_word_that_was_meant() {
        let words = ["memory", "name", "kernel", "cmdline", "vcpus"];
        assert_eq!(nearest("memroy", words), Some("memory"));
        assert_eq!(nearest("mem0ry", words), Some("memory"));
        assert_eq!(nearest("Kernel", words), Some("kernel"));
        assert_eq!(nearest("cmd_line", words), Some("cmdline"));
        assert_eq!(nearest("vcpu", words), Some("vcpus"));
        assert_eq!(nearest("nmae", words), Some("name"));
    }

    #[test]
    fn another_word_finds_nothing() {
        assert_eq!(nearest("colour", ["memory", "name"]), None);
        assert_eq!(nearest("x", ["y", "name"]), None);
        assert_eq!(nearest("", ["a"]), None);
        assert_eq!(nearest("name", []), None);
    }

    #[test]
    fn a_word_of_any_length_costs_little() {
        let long = "m".repeat(1 << 20);
        assert_eq!(nearest(&long, ["memory"]), None);
        assert_eq!(nearest("memory", [long.as_str()]), None);
    }
}
