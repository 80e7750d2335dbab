//! Ends a text at the first of several stop strings, while the text streams.
//!
//! Text arrives in pieces of any size, and a stop string may lie across pieces. So a tail that could still become a stop
//! string is held back until more text decides. Whatever the pieces, the text given out is the whole text up to the
//! earliest position at which a stop string starts.
//!
//! ```
//! use mlx_models::stop::StopStrings;
//!
//! let mut stop = StopStrings::new(vec!["</s>".into()])?;
//! assert_eq!(stop.push("Hello <").text, "Hello ");
//! assert_eq!(stop.push("/b> and </").text, "</b> and ");
//! let last = stop.push("s> never shown");
//! assert!(last.stopped && last.text.is_empty());
//! assert_eq!(stop.finish(), "");
//! # Ok::<(), mlx_models::Error>(())
//! ```

use crate::{Error, Result};

/// The most stop strings that one request may have.
pub const MAX_STOP_STRINGS: usize = 64;

/// The most bytes that one stop string may have.
pub const MAX_STOP_BYTES: usize = 1024;

/// What [`StopStrings::push`] lets out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StopOutcome {
    /// Text that is certain to come before any stop string; often empty.
    pub text: String,
    /// Whether a stop string was found, so that no more text will come out.
    pub stopped: bool,
}

/// Watches one stream of text for stop strings.
#[derive(Debug, Clone)]
pub struct StopStrings {
    stops: Vec<String>,
    /// Text not yet given out: it starts where a stop string may be starting.
    held: String,
    stopped: bool,
}

impl StopStrings {
    /// Makes a watcher for one stream. With no strings, text passes through.
    ///
    /// # Errors
    /// [`Error::Option`] for an empty string, more than [`MAX_STOP_STRINGS`] strings, or one longer than
    /// [`MAX_STOP_BYTES`].
    pub fn new(stops: Vec<String>) -> Result<Self> {
        let refuse = |message| Err(Error::Option { option: "stop", message });
        if stops.len() > MAX_STOP_STRINGS {
            return refuse(format!(
                "{} stop strings are given, but at most {MAX_STOP_STRINGS} may be",
                stops.len()
            ));
        }
        for (i, stop) in stops.iter().enumerate() {
            if stop.is_empty() {
                return refuse(format!("stop string {} is empty; leave it out or give some text", i + 1));
            }
            if stop.len() > MAX_STOP_BYTES {
                let bytes = stop.len();
                return refuse(format!(
                    "stop string {} has {bytes} bytes, but at most {MAX_STOP_BYTES} may be",
                    i + 1
                ));
            }
        }
        Ok(Self { stops, held: String::new(), stopped: false })
    }

    /// Takes the next piece of text and returns what may be shown of the text so far.
    ///
    /// At most the longest stop string's bytes less one stay held back. After a stop, pieces are ignored.
    pub fn push(&mut self, piece: &str) -> StopOutcome {
        if self.stopped {
            return StopOutcome { text: String::new(), stopped: true };
        }
        self.held.push_str(piece);
        let found = self.first_match();
        let undecided = self.first_partial();
        // A stop string that may be starting before a found one could still win, so it has to be decided first.
        self.stopped = found.is_some_and(|found| found <= undecided);
        let text = self.give_out(found.unwrap_or(undecided).min(undecided));
        if self.stopped {
            self.held.clear();
        }
        StopOutcome { text, stopped: self.stopped }
    }

    /// Ends the stream and returns the text that was held back, up to the first stop string in it.
    pub fn finish(&mut self) -> String {
        let found = self.first_match();
        self.stopped |= found.is_some();
        let text = self.give_out(found.unwrap_or(self.held.len()));
        self.held.clear();
        text
    }

    /// Whether a stop string has been found, by [`push`](Self::push) or by [`finish`](Self::finish).
    pub fn stopped(&self) -> bool {
        self.stopped
    }

    /// Bytes of text that wait for a decision.
    pub fn held_back(&self) -> usize {
        self.held.len()
    }

    /// Removes the first `end` bytes of the held text and returns them.
    fn give_out(&mut self, end: usize) -> String {
        self.held.drain(..end).collect()
    }

    /// Where the earliest whole stop string starts.
    fn first_match(&self) -> Option<usize> {
        self.stops.iter().filter_map(|stop| self.held.find(stop.as_str())).min()
    }

    /// Where the earliest stop string starts that runs beyond the end of the held text; its length when there is none.
    fn first_partial(&self) -> usize {
        let earliest_start = |stop: &String| {
            let nearest = self.held.len().saturating_sub(stop.len() - 1);
            let mut starts = (nearest..self.held.len()).filter(|&i| self.held.is_char_boundary(i));
            starts.find(|&i| stop.starts_with(&self.held[i..]))
        };
        self.stops.iter().filter_map(earliest_start).min().unwrap_or(self.held.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Xorshift64: enough randomness for a property test, and the same on every run.
    struct Xorshift(u64);

    impl Xorshift {
        fn below(&mut self, n: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 % n as u64) as usize
        }

        fn text(&mut self, max_chars: usize) -> String {
            const CHARS: [char; 5] = ['a', 'b', 'a', 'é', '🙂'];
            (0..self.below(max_chars + 1)).map(|_| CHARS[self.below(CHARS.len())]).collect()
        }
    }

    /// The definition: the whole text up to the earliest start of any stop string.
    fn reference(text: &str, stops: &[String]) -> (String, bool) {
        let cut = stops.iter().filter_map(|stop| text.find(stop.as_str())).min();
        (text[..cut.unwrap_or(text.len())].to_owned(), cut.is_some())
    }

    /// Streams `text` in random pieces, checking at each step what is held back.
    fn streamed(text: &str, stops: &[String], random: &mut Xorshift) -> (String, bool) {
        let mut watcher = StopStrings::new(stops.to_vec()).expect("valid stop strings");
        let longest = stops.iter().map(String::len).max().unwrap_or(1);
        let (mut out, mut given) = (String::new(), 0);
        let chars: Vec<char> = text.chars().collect();
        let mut rest = chars.as_slice();
        while !rest.is_empty() {
            let (piece, tail) = rest.split_at(random.below(rest.len().min(6) + 1));
            rest = tail;
            let piece: String = piece.iter().collect();
            given += piece.len();
            let outcome = watcher.push(&piece);
            out.push_str(&outcome.text);
            if outcome.stopped {
                break;
            }
            assert!(given - out.len() < longest, "{} bytes held back for {stops:?}", given - out.len());
        }
        out.push_str(&watcher.finish());
        (out, watcher.stopped())
    }

    #[test]
    fn any_chunking_gives_the_text_before_the_first_match() {
        let mut random = Xorshift(0x9e37_79b9_7f4a_7c15);
        let mut stopped = 0;
        for _ in 0..20_000 {
            let stops: Vec<String> =
                (0..random.below(4)).map(|_| random.text(4)).filter(|s| !s.is_empty()).collect();
            let text = random.text(24);
            let want = reference(&text, &stops);
            stopped += usize::from(want.1);
            assert_eq!(streamed(&text, &stops, &mut random), want, "text {text:?}, stops {stops:?}");
        }
        assert!((5_000..15_000).contains(&stopped), "{stopped} of 20000 cases stop: both kinds must occur");
    }

    #[test]
    fn overlapping_stops_are_decided_by_where_they_start() {
        let cases: [(&str, &[&str], &str); 6] = [
            ("aaab", &["aab"], "a"),
            ("xabcd", &["bc", "abcd"], "x"),
            ("xabce", &["bc", "abcd"], "xa"),
            ("xabc", &["bc", "abcd"], "xa"),
            ("ababac", &["abac"], "ab"),
            ("é🙂é", &["🙂é"], "é"),
        ];
        for (text, stops, want) in cases {
            let stops: Vec<String> = stops.iter().map(|s| (*s).to_owned()).collect();
            let mut watcher = StopStrings::new(stops).expect("valid stop strings");
            let mut out: String =
                text.chars().map(|c| watcher.push(c.encode_utf8(&mut [0; 4])).text).collect();
            out.push_str(&watcher.finish());
            assert_eq!((out.as_str(), watcher.stopped()), (want, true), "{text}");
        }
    }

    #[test]
    fn nothing_comes_out_after_a_stop() {
        let mut watcher = StopStrings::new(vec!["b".into()]).expect("valid stop strings");
        assert_eq!(watcher.push("abc"), StopOutcome { text: "a".into(), stopped: true });
        assert_eq!(watcher.push("abc"), StopOutcome { text: String::new(), stopped: true });
        assert_eq!(watcher.finish(), "");
    }

    #[test]
    fn useless_stop_strings_are_refused_by_name() {
        let refused = |stops| StopStrings::new(stops).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(refused(vec!["a".into(), String::new()]).starts_with("stop: stop string 2 is empty"));
        assert!(refused(vec!["a".repeat(1025)]).starts_with("stop: stop string 1 has 1025 bytes"));
        assert!(refused(vec!["a".into(); 65]).starts_with("stop: 65 stop strings are given"));
        assert!(StopStrings::new(vec!["a".repeat(1024); 64]).is_ok());
    }
}
