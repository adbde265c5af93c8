//! Byte offsets of a text as lines and columns.

/// Line and column, both from 1, of a byte offset. A column counts characters, as editors do.
pub(super) fn position(text: &str, offset: usize) -> (usize, usize) {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    let before = &text[..offset];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use super::position;

    #[test]
    fn counts_from_one_and_in_characters() {
        let text = "a = 1\n\"이름\" = 2\n";
        assert_eq!(position(text, 0), (1, 1));
        assert_eq!(position(text, 6), (2, 1));
        assert_eq!(position(text, text.find("= 2").unwrap()), (2, 6));
        assert_eq!(position(text, text.len()), (3, 1));
    }

    #[test]
    fn survives_an_offset_past_the_end_or_inside_a_character() {
        assert_eq!(position("é", 1), (1, 1));
        assert_eq!(position("é", 99), (1, 2));
        assert_eq!(position("", 3), (1, 1));
    }
}
