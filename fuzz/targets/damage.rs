//! Files as strangers hand them over: any bytes, or a valid file with a few bytes changed.

/// Returns a file. A first byte of 0 means changes to `valid`, four bytes each: a position and what stands there then;
/// any other, that the rest is the file.
pub fn file(valid: &[u8], data: &[u8]) -> Vec<u8> {
    let Some((&kind, rest)) = data.split_first() else { return Vec::new() };
    if kind != 0 {
        return rest.to_vec();
    }
    let mut file = valid.to_vec();
    for change in rest.as_chunks::<4>().0 {
        let [a, b, c, byte] = *change;
        let at = u32::from_le_bytes([a, b, c, 0]) as usize % file.len();
        file[at] = byte;
    }
    file
}
