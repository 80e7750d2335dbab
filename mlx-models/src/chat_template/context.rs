//! What a template is given to read.
//!
//! Hugging Face's `apply_chat_template` rewrites messages before a template sees them, and so does this: fields without a
//! value are left out, since many templates write `None` for them, and a message's reasoning goes by each of the names
//! that templates know.

use serde_json::{Map, Value as Json};

/// Names of a message's reasoning, the one that most templates read first.
const REASONING: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];

/// Checks a conversation and rewrites its messages.
pub(super) fn messages(messages: Json) -> Result<Vec<Json>, String> {
    let Json::Array(messages) = messages else {
        return Err(format!("the messages are {}, not a list of messages", kind(&messages)));
    };
    if messages.is_empty() {
        return Err("the conversation is empty; give at least one message".to_owned());
    }
    messages.into_iter().enumerate().map(|(index, message)| rewritten(index, message)).collect()
}

fn rewritten(index: usize, message: Json) -> Result<Json, String> {
    let Json::Object(mut message) = message else {
        return Err(format!("message {index} is {}, not a map with a role and a content", kind(&message)));
    };
    message.retain(|_, value| !value.is_null());
    let Some(reasoning) = REASONING.iter().find_map(|name| message.get(*name)).cloned() else {
        return Ok(message.into());
    };
    // A name keeps the place at which it was first put in, which shows where a template writes a whole message.
    let mut named = Map::new();
    named.insert("thinking".to_owned(), reasoning.clone());
    named.extend(message);
    named.insert("reasoning_content".to_owned(), reasoning);
    Ok(named.into())
}

/// Checks the variable `name`, which templates take for a list of maps, if it is given at all.
pub(super) fn list_of_maps(name: &str, variables: &Map<String, Json>) -> Result<(), String> {
    match variables.get(name) {
        None | Some(Json::Null) => Ok(()),
        Some(Json::Array(list)) => match list.iter().position(|item| !item.is_object()) {
            None => Ok(()),
            Some(at) => Err(format!("{name}: entry {at} is {}, not a map", kind(&list[at]))),
        },
        Some(other) => Err(format!("{name} is {}, not a list of maps", kind(other))),
    }
}

fn kind(value: &Json) -> &'static str {
    match value {
        Json::Null => "null",
        Json::Bool(_) => "a truth value",
        Json::Number(_) => "a number",
        Json::String(_) => "a text",
        Json::Array(_) => "a list",
        Json::Object(_) => "a map",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn empty_fields_go_and_reasoning_has_every_name() {
        let given = json!([
            {"role": "assistant", "content": null, "tool_calls": null, "name": ""},
            {"role": "assistant", "content": "b", "reasoning": "r"},
            {"reasoning_content": "c", "thinking": "t", "role": "assistant"},
            {"role": "assistant", "thinking": {"x": null}},
        ]);
        let expected = [
            r#"{"role":"assistant","name":""}"#,
            r#"{"thinking":"r","role":"assistant","content":"b","reasoning":"r","reasoning_content":"r"}"#,
            r#"{"thinking":"t","reasoning_content":"c","role":"assistant"}"#,
            r#"{"thinking":{"x":null},"role":"assistant","reasoning_content":{"x":null}}"#,
        ];
        let found: Vec<_> = messages(given).unwrap().iter().map(Json::to_string).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_no_conversation_is_named() {
        for (given, part) in [
            (json!([]), "the conversation is empty"),
            (json!({"role": "user"}), "the messages are a map"),
            (json!([{"role": "user"}, "hi"]), "message 1 is a text"),
            (json!([[{"role": "user"}]]), "message 0 is a list"),
        ] {
            let error = messages(given).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
        for (given, part) in
            [(json!({"tools": {}}), "tools is a map"), (json!({"tools": [{}, 1]}), "entry 1 is a number")]
        {
            let error = list_of_maps("tools", given.as_object().unwrap()).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
