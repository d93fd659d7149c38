//! A terminal's output as plain text.

/// The text without escape sequences and carriage returns.
pub fn plain(output: &str) -> String {
    let mut text = String::with_capacity(output.len());
    let mut rest = output.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            // CSI … final byte (ECMA-48, 5.4); of other sequences one character.
            '\u{1b}' => {
                if rest.next() == Some('[') {
                    while rest.next().is_some_and(|c| !('@'..='~').contains(&c)) {}
                }
            }
            '\r' => {}
            c => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_and_carriage_returns_are_left_out() {
        assert_eq!(plain("\x1b[0m\x1b[?25ha\r\nb\x1b[1;31mc\x1b7d"), "a\nbcd");
        assert_eq!(plain("cut off \x1b["), "cut off ");
    }
}
