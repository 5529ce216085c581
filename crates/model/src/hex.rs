//! Bytes as lower-case hex digits.

/// Two digits for each byte.
pub fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// The bytes of such digits; nothing if the text is something else.
pub fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    (0..text.len()).step_by(2).map(digits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_survive_their_digits() {
        let bytes: Vec<u8> = (0..=255).collect();
        assert_eq!(from_hex(&to_hex(&bytes)).unwrap(), bytes);
        assert_eq!((to_hex(&[0, 255]).as_str(), from_hex("")), ("00ff", Some(vec![])));
        for broken in ["0", "0g", "é", "00é"] {
            assert_eq!(from_hex(broken), None, "{broken}");
        }
    }
}
