//! Reading a small file whole, without trusting what its path leads to.

use std::fs::{File, Metadata};
use std::io::Read;
use std::path::Path;

/// Reads a regular file of at most `limit` bytes. The error is a reason such as "permission denied";
/// the caller names the path.
pub(super) fn read_small(path: &Path, limit: u64) -> Result<(Vec<u8>, Metadata), String> {
    // A pipe would block the reader for ever, so the kind is checked before the file is opened.
    if !std::fs::metadata(path).map_err(reason)?.is_file() {
        return Err("it is not a regular file".to_owned());
    }
    let file = File::open(path).map_err(reason)?;
    let metadata = file.metadata().map_err(reason)?;
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(reason)?;
    if bytes.len() as u64 > limit {
        return Err(format!("it is larger than {limit} bytes"));
    }
    Ok((bytes, metadata))
}

fn reason(error: std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::read_small;

    #[test]
    fn reads_up_to_the_limit_and_refuses_more() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "12345").unwrap();
        assert_eq!(read_small(&path, 5).unwrap().0, b"12345");
        assert_eq!(read_small(&path, 4).unwrap_err(), "it is larger than 4 bytes");
    }

    #[test]
    fn names_the_reason_for_a_folder_and_for_a_missing_file() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read_small(folder.path(), 5).unwrap_err(), "it is not a regular file");
        assert_eq!(read_small(&folder.path().join("no"), 5).unwrap_err(), "there is no such file");
    }
}
