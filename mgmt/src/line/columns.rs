//! Lists words in as many columns as a terminal has room for, read downwards as `ls` does.

use alloc::string::String;

/// The words in lines that end with CR LF, each at most `width` columns unless one word is longer.
pub fn columns(words: &[String], width: usize) -> String {
    let mut listed = String::new();
    let Some(widest) = words.iter().map(|word| word.chars().count()).max() else {
        return listed;
    };
    let across = ((width + 1) / (widest + 2)).max(1);
    let rows = words.len().div_ceil(across);
    for row in 0..rows {
        let mut pad = 0;
        for word in words.iter().skip(row).step_by(rows) {
            listed.extend(core::iter::repeat_n(' ', pad));
            listed.push_str(word);
            pad = widest + 2 - word.chars().count();
        }
        listed.push_str("\r\n");
    }
    listed
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::vec::Vec;

    #[test]
    fn words_fill_the_width_downwards() {
        let words: Vec<String> = (1..=5).map(|n| format!("word{n}")).collect();
        assert_eq!(columns(&words, 21), "word1  word3  word5\r\nword2  word4\r\n");
        assert_eq!(columns(&words, 4).lines().count(), 5);
        assert_eq!(columns(&[], 80), "");
    }
}
