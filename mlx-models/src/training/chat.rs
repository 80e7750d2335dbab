//! From examples to tokens, and which of these count.

use serde_json::{Map, Value, json};

use super::data::{DataOptions, Row, kind};
use crate::{ChatTemplate, Error, Result, TextTools, Tokenizer};

/// An example as a line has it. What people typed into conversations is guarded.
pub(super) enum Example {
    Chat { messages: Vec<Value>, variables: Map<String, Value> },
    Completion { prompt: String, completion: String },
    Text(String),
}

/// Checks the fields that every template asks for.
pub(super) fn check(messages: &Value) -> Result<(), String> {
    let Value::Array(messages) = messages else {
        return Err(format!("messages is {}, and must be a list of objects", kind(messages)));
    };
    if messages.is_empty() {
        return Err("messages is an empty list".to_owned());
    }
    for (index, message) in messages.iter().enumerate() {
        let Value::Object(fields) = message else {
            return Err(format!("messages[{index}] is {}, and must be an object", kind(message)));
        };
        match fields.get("role") {
            Some(Value::String(_)) => {}
            Some(other) => {
                return Err(format!("messages[{index}].role is {}, and must be a string", kind(other)));
            }
            None => return Err(format!("messages[{index}].role is missing")),
        }
        let content = fields.get("content");
        let calls = fields.get("tool_calls").is_some_and(|calls| !calls.is_null());
        match content {
            Some(Value::String(_) | Value::Array(_)) => {}
            None | Some(Value::Null) if calls => {}
            None => return Err(format!("messages[{index}].content is missing")),
            Some(other) => {
                return Err(format!("messages[{index}].content is {}, and must be a string", kind(other)));
            }
        }
    }
    Ok(())
}

/// The rows of an example: one, or one for each turn of the assistant's.
pub(super) fn tokenize(example: Example, text: &TextTools, options: &DataOptions) -> Result<Vec<Row>> {
    let tokenizer = text.tokenizer()?;
    match example {
        Example::Text(text) => {
            let mut tokens = tokenizer.encode(&text, true, true)?;
            finish(&mut tokens, options);
            let counted = vec![true; tokens.len()];
            Ok(vec![Row { tokens, counted }])
        }
        Example::Completion { prompt, completion } => match &text.chat_template {
            None => Ok(vec![plain(&prompt, &completion, tokenizer, options)?]),
            Some(template) => {
                let messages = vec![
                    json!({"role": "user", "content": tokenizer.guard(&prompt)}),
                    json!({"role": "assistant", "content": tokenizer.guard(&completion)}),
                ];
                Conversation { messages, variables: Map::new(), template, tokenizer }.rows(options)
            }
        },
        Example::Chat { messages, variables } => match &text.chat_template {
            None => Err(Error::Training {
                message: "the model has no chat template for messages; give prompt and completion, or text"
                    .to_owned(),
            }),
            Some(template) => Conversation { messages, variables, template, tokenizer }.rows(options),
        },
    }
}

/// A prompt and what follows it, for models without a chat template. Control tokens that are spelled out are text.
fn plain(prompt: &str, completion: &str, tokenizer: &Tokenizer, options: &DataOptions) -> Result<Row> {
    let mut tokens = tokenizer.encode(prompt, true, false)?;
    let start = if options.mask_prompt { tokens.len() } else { 0 };
    tokens.extend(tokenizer.encode(completion, false, false)?);
    finish(&mut tokens, options);
    let counted = (0..tokens.len()).map(|at| at >= start).collect();
    Ok(Row { tokens, counted })
}

/// A text ends with the token for it, once.
fn finish(tokens: &mut Vec<u32>, options: &DataOptions) {
    if let Some(end) = options.end.filter(|end| tokens.last() != Some(end)) {
        tokens.push(end);
    }
}

struct Conversation<'t> {
    messages: Vec<Value>,
    variables: Map<String, Value>,
    template: &'t ChatTemplate,
    tokenizer: &'t Tokenizer,
}

/// A part of a rendered conversation, and whether it counts.
struct Segment<'t> {
    text: &'t str,
    counted: bool,
}

impl Conversation<'_> {
    fn render(&self, count: usize, add_generation_prompt: bool) -> Result<String> {
        self.template.render(&&self.messages[..count], add_generation_prompt, &self.variables)
    }

    /// The turns of the assistant's.
    fn turns(&self) -> Vec<usize> {
        (0..self.messages.len()).filter(|index| self.messages[*index]["role"] == "assistant").collect()
    }

    fn rows(&self, options: &DataOptions) -> Result<Vec<Row>> {
        let whole = self.render(self.messages.len(), false)?;
        if !options.mask_prompt {
            let tokens = self.tokenizer.encode_prompt(&whole)?;
            let counted = vec![true; tokens.len()];
            return Ok(vec![Row { tokens, counted }]);
        }
        let turns = self.turns();
        if let Some(spans) = self.spans(&whole, &turns)? {
            return Ok(vec![self.row(&whole, &spans)?]);
        }
        // A template that renders a turn otherwise once others follow, such as Qwen 3's, which then leaves out reasoning:
        // each turn is learned as the model will have it before it.
        turns
            .into_iter()
            .map(|turn| {
                let whole = self.render(turn + 1, false)?;
                let prompt = self.render(turn, true)?;
                let span = [(common(&whole, &prompt), whole.len())];
                self.row(&whole, &span)
            })
            .collect()
    }

    /// Where the assistant's turns are in the whole, as bytes, if the conversation up to each is rendered as its beginning.
    fn spans(&self, whole: &str, turns: &[usize]) -> Result<Option<Vec<(usize, usize)>>> {
        let mut spans = Vec::new();
        for &turn in turns {
            let (before, after) = (self.render(turn, true)?, self.render(turn + 1, false)?);
            let is_last = turn + 1 == self.messages.len();
            if !whole.starts_with(&before) && !is_last || !whole.starts_with(&after) {
                return Ok(None);
            }
            // What opens a reply may be longer than what stands before one, such as by an empty line of thought.
            let (start, end) = (common(whole, &before), after.len());
            // A turn that the template leaves out has no place in the whole.
            if start > end || spans.last().is_some_and(|(_, last)| start < *last) {
                return Ok(None);
            }
            spans.push((start, end));
        }
        Ok(Some(spans))
    }

    /// The tokens of the whole, of which those in the spans count.
    fn row(&self, whole: &str, spans: &[(usize, usize)]) -> Result<Row> {
        let mut segments = Vec::new();
        let mut at = 0;
        for &(start, end) in spans {
            segments.push(Segment { text: &whole[at..start], counted: false });
            segments.push(Segment { text: &whole[start..end], counted: true });
            at = end;
        }
        segments.push(Segment { text: &whole[at..], counted: false });

        let tokens = self.tokenizer.encode_prompt(whole)?;
        // Tokens end where segments do, if each beginning of the text is a beginning of the tokens.
        let mut counted = Vec::with_capacity(tokens.len());
        let mut end = 0;
        for segment in &segments {
            end += segment.text.len();
            let beginning = self.tokenizer.encode_prompt(&whole[..end])?;
            if !tokens.starts_with(&beginning) || beginning.len() < counted.len() {
                return self.in_parts(&segments);
            }
            counted.resize(beginning.len(), segment.counted);
        }
        Ok(Row { tokens, counted })
    }

    /// Each segment by itself, as when a reply is made after a prompt: for vocabularies that would join them.
    fn in_parts(&self, segments: &[Segment<'_>]) -> Result<Row> {
        let (mut tokens, mut counted) = (Vec::new(), Vec::new());
        let prefix = self.tokenizer.encode_prompt("")?;
        for segment in segments {
            let mut part = self.tokenizer.encode_prompt(segment.text)?;
            if !tokens.is_empty() && part.starts_with(&prefix) {
                part.drain(..prefix.len());
            }
            tokens.extend(part);
            counted.resize(tokens.len(), segment.counted);
        }
        Ok(Row { tokens, counted })
    }
}

/// Bytes that two texts begin with in common, in whole characters.
fn common(a: &str, b: &str) -> usize {
    let pairs = a.char_indices().zip(b.chars());
    pairs.take_while(|((_, a), b)| a == b).last().map_or(0, |((at, a), _)| at + a.len_utf8())
}
