//! Text that comes from files and from standard input.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::failure::Failure;

/// The longest text that is read; a context of a million tokens takes a tenth of it.
const MAX_BYTES: u64 = 64 << 20;

/// Reads a text file; `-` is standard input.
pub(crate) fn text_file(path: &Path) -> Result<String, Failure> {
    if path.as_os_str() == "-" {
        return stdin();
    }
    let name = path.display().to_string();
    let file = File::open(path).map_err(|error| Failure::io(&name, &error))?;
    text(&name, file)
}

/// Reads standard input to its end.
pub(crate) fn stdin() -> Result<String, Failure> {
    text("stdin", io::stdin().lock())
}

fn text(name: &str, source: impl Read) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    source.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|error| Failure::io(name, &error))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Failure::new(format!("{name}: longer than {} MiB", MAX_BYTES >> 20)));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Failure::new(format!("{name}: not UTF-8 text; the first invalid byte is at offset {at}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_text_is_refused_by_name() {
        assert_eq!(text("a.txt", "grün\n".as_bytes()).unwrap(), "grün\n");
        let cases: [(&str, Box<dyn Read>, &str); 3] = [
            (
                "latin1",
                Box::new(&b"gr\xfcn"[..]),
                "latin1: not UTF-8 text; the first invalid byte is at offset 2",
            ),
            ("half", Box::new(&b"\xc3"[..]), "half: not UTF-8 text; the first invalid byte is at offset 0"),
            ("endless", Box::new(io::repeat(b' ')), "endless: longer than 64 MiB"),
        ];
        for (name, source, expected) in cases {
            let Err(Failure::Message(line)) = text(name, source) else { panic!("{name}") };
            assert_eq!(line, expected);
        }
    }
}
