//! What a chat model's reply says: answer, reasoning and tool calls, told apart while the text streams.
//!
//! A [`Parser`] takes the reply in pieces of any size and gives [`Part`]s. What it gives, texts of a kind joined,
//! doesn't depend on the pieces; each byte is looked at a fixed number of times. How a model writes its replies is a
//! [`ReplyStyle`], which [`ChatTemplate::reply_style`](crate::ChatTemplate::reply_style) works out.
//!
//! ```
//! use mlx_models::reply::{Parser, Part, Reasoning, ReplyStyle, ToolDialect};
//!
//! let style = ReplyStyle { reasoning: Reasoning::MayBegin, tools: Some(ToolDialect::Hermes) };
//! let mut parser = Parser::new(style);
//! assert_eq!(parser.push("<think>\nA clock"), [Part::Reasoning("A clock".into())]);
//! assert_eq!(parser.push("\n</think>\n\nLet me see.\n<tool_"), [Part::Answer("Let me see.".into())]);
//! assert_eq!(parser.held_back(), "\n<tool_".len());
//! let [Part::ToolCall(call)] = &parser.push("call>{\"name\": \"clock\"}</tool_call>")[..] else { panic!() };
//! assert_eq!((&*call.name, &*call.arguments), ("clock", "{}"));
//! assert_eq!(parser.finish(), []);
//! ```
//!
//! # Reasoning
//!
//! ```text
//! reply     = [ws] ["<think>" newlines reasoning newlines "</think>" newlines] answer
//! ```
//!
//! Only the beginning of a reply can open it: later, `<think>` is a word that the answer speaks of. So is a `</think>`
//! that nothing opened. Where the prompt opened it, the reply begins inside, and one more `<think>` there is skipped.
//! Line feeds after `<think>` and on both sides of `</think>` belong to neither text; all of them do, as in Qwen 3's
//! template, which strips them where it writes a reply of the past, so that the next prompt begins as this reply did.
//! (llama.cpp and SGLang strip all white space there, vLLM and mlx-lm none.) Reasoning that never ends stays
//! reasoning. A tool call within it is thought about, not made.
//!
//! # Tool calls
//!
//! [`ToolDialect::Hermes`], of Hermes, Qwen 2.5 and 3; the list is SmolLM2's:
//!
//! ```text
//! answer    = { text | ws call ws }
//! call      = "<tool_call>" ws (object | "[" [object {"," object}] "]") ws "</tool_call>"
//! object    = {"name": text, "arguments": object}
//! ```
//!
//! [`ToolDialect::Llama`], of Llama 3.1 to 3.3; the calls are at the beginning of the answer, or there are none:
//!
//! ```text
//! answer    = ws ["<|python_tag|>"] ws object {ws [";"] ws object} text | text
//! object    = {"name": text, "parameters": object}
//! ```
//!
//! A request's `builtin_tools`, which Llama 3.1 calls in Python behind that tag, stay text.
//!
//! In both, `arguments` and `parameters` mean the same, and further fields are ignored. The arguments come out as the
//! model wrote them, byte for byte, or as `{}` where it left them out, which only Hermes may do. A text that is itself
//! a JSON object, as some models write, counts as that object. White space round a call is no answer. A call whose
//! closing tag is missing at the end of the reply is one if its JSON is whole, as in vLLM.
//!
//! A call of a function that the request didn't name is a call all the same, as in llama.cpp and vLLM: only the caller
//! can tell the model that there is no such function.
//!
//! What isn't a call after all (JSON that is broken, cut off, nested beyond 127 levels or longer than
//! [`MAX_CALL_BYTES`]; no name; arguments that are no object) comes out as answer, unchanged, tags included.

mod calls;
mod json;
mod style;
#[cfg(test)]
mod tests;

use self::json::Scan;
pub use self::style::{Reasoning, ReplyStyle, ToolDialect};

/// The most bytes of a tool call, tags included; it is withheld until it is whole.
pub const MAX_CALL_BYTES: usize = 1 << 20;

const THINK: &str = "<think>";
const END_THINK: &str = "</think>";
const CALL: &str = "<tool_call>";
const END_CALL: &str = "</tool_call>";
const PYTHON: &str = "<|python_tag|>";

/// A part of a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Text for the user; never empty.
    Answer(String),
    /// Text that the model wrote to itself; never empty.
    Reasoning(String),
    /// A whole call.
    ToolCall(ToolCall),
}

/// A function that the model asks to be called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolCall {
    /// The function; never empty, and not always one that was offered.
    pub name: String,
    /// A JSON object.
    pub arguments: String,
}

/// Takes one reply apart. See the [module](self).
#[derive(Debug, Clone)]
pub struct Parser {
    style: ReplyStyle,
    state: State,
    /// Text of which it is not known what it is: white space, then `matched` bytes of a marker, or a call so far.
    held: String,
    /// How many bytes at the end of `held` are the beginning of a marker.
    matched: usize,
}

#[derive(Debug, Clone)]
enum State {
    /// Before anything but white space; `inside` says what it is if no `<think>` follows.
    Opening { inside: bool },
    /// Between `<think>` and `</think>`; `begun` once there was more than line feeds.
    Reasoning { begun: bool },
    /// Behind `</think>`: line feeds.
    ReasoningEnded,
    /// Before an answer of Llama's dialect; `tagged` behind `<|python_tag|>`.
    LlamaOpening { tagged: bool },
    /// Text, and in Hermes' dialect maybe a call. `after_call`: nothing but white space since one.
    Answer { after_call: bool },
    /// A call's JSON, which begins at byte `from` of `held`.
    Json { from: usize, scan: Scan },
    /// Hermes: behind the JSON, which ends at byte `to`; white space and the closing tag.
    JsonEnded { from: usize, to: usize },
    /// Llama: behind a call.
    LlamaBetween,
}

impl Parser {
    /// Makes a parser for one reply.
    pub fn new(style: ReplyStyle) -> Self {
        let state = match style.reasoning {
            Reasoning::None => Self::answer_begins(style),
            Reasoning::MayBegin => State::Opening { inside: false },
            Reasoning::Begun => State::Opening { inside: true },
        };
        Self { style, state, held: String::new(), matched: 0 }
    }

    fn answer_begins(style: ReplyStyle) -> State {
        match style.tools {
            Some(ToolDialect::Llama) => State::LlamaOpening { tagged: false },
            Some(ToolDialect::Hermes) | None => State::Answer { after_call: false },
        }
    }

    /// Takes the next piece of the reply; returns what is certain now, which may be nothing.
    pub fn push(&mut self, piece: &str) -> Vec<Part> {
        let mut parts = Vec::new();
        self.feed(piece, &mut parts);
        parts
    }

    /// Bytes of the reply that wait for a decision, or for the rest of a call.
    pub fn held_back(&self) -> usize {
        self.held.len()
    }

    /// Whether what was taken in last is reasoning: its tag was opened and not yet closed.
    pub fn is_reasoning(&self) -> bool {
        matches!(self.state, State::Opening { inside: true } | State::Reasoning { .. })
    }

    /// Ends the reply, returns what was held back, and makes ready for another reply in the same style.
    pub fn finish(&mut self) -> Vec<Part> {
        let mut parts = Vec::new();
        if let State::Opening { inside } = self.state {
            self.replay(inside, &mut parts);
        }
        match self.state {
            // Between calls at most a `;` is held.
            State::Opening { .. } | State::ReasoningEnded | State::LlamaBetween => {}
            // Line feeds go, as they do before `</think>`.
            State::Reasoning { .. } if self.matched == 0 => {}
            State::Reasoning { .. } => self.give_reasoning(&mut parts),
            State::LlamaOpening { .. } | State::Answer { .. } | State::Json { .. } => {
                self.give_answer(&mut parts);
            }
            State::JsonEnded { from, to } => self.close_call(from, to, &mut parts),
        }
        *self = Self::new(self.style);
        parts
    }

    fn feed(&mut self, mut text: &str, parts: &mut Vec<Part>) {
        while !text.is_empty() {
            // Where nothing is taken, the state changes to one that takes something.
            text = &text[self.take(text, parts)..];
        }
    }

    /// Takes from the beginning of `text`, and returns how many bytes it took.
    fn take(&mut self, text: &str, parts: &mut Vec<Part>) -> usize {
        let Some(&byte) = text.as_bytes().first() else { return 0 };
        match &mut self.state {
            State::Opening { inside } => {
                let inside = *inside;
                if self.matched == 0 && is_white(byte) {
                    return self.hold(&text[..1]);
                }
                match self.advance(THINK, byte) {
                    Marker::Whole => self.drop_held(State::Reasoning { begun: false }),
                    Marker::More => {}
                    Marker::No => {
                        self.replay(inside, parts);
                        return 0;
                    }
                }
                1
            }
            State::Reasoning { begun } => {
                if self.matched == 0 && byte == b'\n' {
                    return if *begun { self.hold("\n") } else { 1 };
                }
                match self.advance(END_THINK, byte) {
                    Marker::Whole => self.drop_held(State::ReasoningEnded),
                    Marker::More => {}
                    Marker::No => {
                        let length =
                            if self.matched == 0 { run(text, |b| b == b'<' || b == b'\n') } else { 0 };
                        self.held.push_str(&text[..length]);
                        self.state = State::Reasoning { begun: true };
                        self.give_reasoning(parts);
                        return length;
                    }
                }
                1
            }
            State::ReasoningEnded => {
                if byte == b'\n' {
                    return 1;
                }
                self.state = Self::answer_begins(self.style);
                0
            }
            State::LlamaOpening { tagged } => {
                let tagged = *tagged;
                if self.matched == 0 && is_white(byte) {
                    return self.hold(&text[..1]);
                }
                if self.matched == 0 && byte == b'{' {
                    self.state = State::Json { from: self.held.len(), scan: Scan::default() };
                    return 0;
                }
                match if tagged { Marker::No } else { self.advance(PYTHON, byte) } {
                    Marker::Whole => {
                        self.matched = 0;
                        self.state = State::LlamaOpening { tagged: true };
                    }
                    Marker::More => {}
                    Marker::No => {
                        self.state = State::Answer { after_call: false };
                        self.give_answer(parts);
                        return 0;
                    }
                }
                1
            }
            State::Answer { .. } if self.style.tools != Some(ToolDialect::Hermes) => {
                self.held.push_str(text);
                self.give_answer(parts);
                text.len()
            }
            State::Answer { after_call } => {
                if self.matched == 0 && is_white(byte) {
                    return if *after_call { 1 } else { self.hold(&text[..1]) };
                }
                match self.advance(CALL, byte) {
                    Marker::Whole => {
                        self.matched = 0;
                        self.state = State::Json { from: self.held.len(), scan: Scan::default() };
                    }
                    Marker::More => {}
                    Marker::No => {
                        let length =
                            if self.matched == 0 { run(text, |b| b == b'<' || is_white(b)) } else { 0 };
                        self.held.push_str(&text[..length]);
                        self.state = State::Answer { after_call: false };
                        self.give_answer(parts);
                        return length;
                    }
                }
                1
            }
            State::Json { from, scan } => {
                let from = *from;
                // One byte more than fits shows that it doesn't.
                let room = MAX_CALL_BYTES.saturating_sub(self.held.len());
                let end =
                    (0..=room.min(text.len())).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
                let step = scan.take(&text[..end]);
                self.held.push_str(&text[..step.taken]);
                if step.whole {
                    let to = self.held.len();
                    match self.style.tools {
                        Some(ToolDialect::Llama) => self.close_llama_call(from, parts),
                        Some(ToolDialect::Hermes) | None => self.state = State::JsonEnded { from, to },
                    }
                } else if step.broken || end < text.len() {
                    self.state = State::Answer { after_call: false };
                    self.give_answer(parts);
                }
                step.taken
            }
            State::JsonEnded { from, to } => {
                let (from, to) = (*from, *to);
                let fits = self.held.len() < MAX_CALL_BYTES;
                if fits && self.matched == 0 && is_white(byte) {
                    return self.hold(&text[..1]);
                }
                match if fits { self.advance(END_CALL, byte) } else { Marker::No } {
                    Marker::Whole => self.close_call(from, to, parts),
                    Marker::More => {}
                    Marker::No => {
                        self.state = State::Answer { after_call: false };
                        self.give_answer(parts);
                        return 0;
                    }
                }
                1
            }
            State::LlamaBetween => {
                // White space is dropped as it comes, but behind a `;`, which may be text after all.
                match (byte, self.held.is_empty()) {
                    (b';', true) => return self.hold(";"),
                    (byte, false) if is_white(byte) => return self.hold(&text[..1]),
                    (byte, true) if is_white(byte) => return 1,
                    _ => {}
                }
                if byte == b'{' {
                    self.state = State::Json { from: self.held.len(), scan: Scan::default() };
                } else {
                    self.state = State::Answer { after_call: false };
                    self.give_answer(parts);
                }
                0
            }
        }
    }

    /// Whether `byte` goes on with `marker`, of which `matched` bytes are held; holds it if so.
    ///
    /// A marker's first character is at no other place in it, so what fails to go on can only begin anew.
    fn advance(&mut self, marker: &str, byte: u8) -> Marker {
        if marker.as_bytes().get(self.matched) != Some(&byte) {
            return Marker::No;
        }
        self.held.push(char::from(byte));
        self.matched += 1;
        if self.matched == marker.len() { Marker::Whole } else { Marker::More }
    }

    fn hold(&mut self, text: &str) -> usize {
        self.held.push_str(text);
        text.len()
    }

    fn drop_held(&mut self, state: State) {
        self.held.clear();
        self.matched = 0;
        self.state = state;
    }

    /// Leaves [`State::Opening`]: what is held is no `<think>`, and is read once more as what it is.
    fn replay(&mut self, inside: bool, parts: &mut Vec<Part>) {
        let held = std::mem::take(&mut self.held);
        let state = if inside { State::Reasoning { begun: false } } else { Self::answer_begins(self.style) };
        self.drop_held(state);
        self.feed(&held, parts);
    }

    fn give_answer(&mut self, parts: &mut Vec<Part>) {
        self.matched = 0;
        let text = std::mem::take(&mut self.held);
        match parts.last_mut() {
            _ if text.is_empty() => {}
            Some(Part::Answer(before)) => before.push_str(&text),
            _ => parts.push(Part::Answer(text)),
        }
    }

    fn give_reasoning(&mut self, parts: &mut Vec<Part>) {
        self.matched = 0;
        let text = std::mem::take(&mut self.held);
        match parts.last_mut() {
            _ if text.is_empty() => {}
            Some(Part::Reasoning(before)) => before.push_str(&text),
            _ => parts.push(Part::Reasoning(text)),
        }
    }

    /// Hermes: the JSON is whole and its tag is closed, or the reply ends.
    fn close_call(&mut self, from: usize, to: usize, parts: &mut Vec<Part>) {
        if let Some(calls) = self.held.get(from..to).and_then(calls::of_hermes) {
            parts.extend(calls.into_iter().map(Part::ToolCall));
            self.drop_held(State::Answer { after_call: true });
        } else {
            self.state = State::Answer { after_call: false };
            self.give_answer(parts);
        }
    }

    /// Llama: an object is whole.
    fn close_llama_call(&mut self, from: usize, parts: &mut Vec<Part>) {
        if let Some(call) = self.held.get(from..).and_then(calls::of_llama) {
            parts.push(Part::ToolCall(call));
            self.drop_held(State::LlamaBetween);
        } else {
            self.state = State::Answer { after_call: false };
            self.give_answer(parts);
        }
    }
}

enum Marker {
    No,
    More,
    Whole,
}

/// The white space of JSON, which is also what models put round tags.
fn is_white(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// How many bytes of `text`, the first one and on, come before one that `ends` it; at least one.
///
/// What `ends` a run is ASCII, so the run ends between characters.
fn run(text: &str, ends: impl Fn(u8) -> bool) -> usize {
    let rest = text.as_bytes().iter().skip(1).position(|&byte| ends(byte));
    rest.map_or(text.len(), |at| at + 1)
}
