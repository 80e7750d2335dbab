//! Tool calls from JSON.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::ToolCall;

#[derive(Deserialize)]
struct Written<'t> {
    #[serde(borrow)]
    name: Cow<'t, str>,
    #[serde(borrow, default, alias = "parameters")]
    arguments: Option<&'t RawValue>,
}

/// The calls of one `<tool_call>`, an object or a list of them.
pub(super) fn of_hermes(json: &str) -> Option<Vec<ToolCall>> {
    let written: Vec<Written> = if json.trim_start().starts_with('[') {
        serde_json::from_str(json).ok()?
    } else {
        vec![serde_json::from_str(json).ok()?]
    };
    written.into_iter().map(|call| call.checked(false)).collect()
}

/// The call that an object of Llama's dialect is.
pub(super) fn of_llama(json: &str) -> Option<ToolCall> {
    // With no tag round it, an object that only has a name may as well be an answer.
    serde_json::from_str::<Written>(json).ok()?.checked(true)
}

impl Written<'_> {
    fn checked(self, needs_arguments: bool) -> Option<ToolCall> {
        if self.name.is_empty() {
            return None;
        }
        let arguments = match self.arguments {
            None if needs_arguments => return None,
            None => "{}".to_owned(),
            Some(written) if written.get().starts_with('"') => serde_json::from_str(written.get()).ok()?,
            Some(written) => written.get().to_owned(),
        };
        // A raw value has not been checked in depth: numbers without bounds, nesting, halves of characters.
        serde_json::from_str::<Map<String, Value>>(&arguments).ok()?;
        Some(ToolCall { name: self.name.into_owned(), arguments })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_what_the_model_wrote() {
        for (json, name, arguments) in [
            (r#"{"name":"f","arguments":{"b":1,"a":2}}"#, "f", r#"{"b":1,"a":2}"#),
            (r#"{ "parameters" : {"b": [ 1 ]} , "name" : "f\u00e9" }"#, "fé", r#"{"b": [ 1 ]}"#),
            (
                r#"{"name":"f","arguments":{"n":123456789012345678901234567890,"x":1.10}}"#,
                "f",
                r#"{"n":123456789012345678901234567890,"x":1.10}"#,
            ),
            (
                r#"{"type":"function","id":7,"name":"f","arguments":{"s":"\ud83c\udf89 </tool_call>"}}"#,
                "f",
                r#"{"s":"\ud83c\udf89 </tool_call>"}"#,
            ),
            (r#"{"name":"f","arguments":"{\"a\": \"\\\"\"}"}"#, "f", r#"{"a": "\""}"#),
        ] {
            let call = ToolCall { name: name.to_owned(), arguments: arguments.to_owned() };
            assert_eq!(of_hermes(json), Some(vec![call.clone()]), "{json}");
            assert_eq!(
                of_hermes(&format!("[{json}, {json}]")),
                Some(vec![call.clone(), call.clone()]),
                "{json}"
            );
            assert_eq!(of_llama(json), Some(call), "{json}");
        }
    }

    #[test]
    fn arguments_may_be_left_out_inside_a_tag_alone() {
        for json in [r#"{"name":"f"}"#, r#"{"name":"f","arguments":null}"#] {
            let call = ToolCall { name: "f".to_owned(), arguments: "{}".to_owned() };
            assert_eq!(of_hermes(json), Some(vec![call]), "{json}");
            assert_eq!(of_llama(json), None, "{json}");
        }
        assert_eq!(of_hermes("[]"), Some(Vec::new()));
    }

    #[test]
    fn what_is_no_call_is_none() {
        let deep = format!(r#"{{"name":"f","arguments":{{"a":{}1{}}}}}"#, "[".repeat(200), "]".repeat(200));
        for json in [
            "",
            "{}",
            r#"{"name":"","arguments":{}}"#,
            r#"{"name":1,"arguments":{}}"#,
            r#"{"arguments":{}}"#,
            r#"{"name":"f","arguments":[1]}"#,
            r#"{"name":"f","arguments":1}"#,
            r#"{"name":"f","arguments":"a"}"#,
            r#"{"name":"f","arguments":"[1]"}"#,
            r#"{"name":"f","arguments":{},"parameters":{}}"#,
            r#"{"name":"f","arguments":{"a":1e999}}"#,
            r#"{"name":"f","arguments":{"a":"\ud800"}}"#,
            r#"{"name":"f","arguments":{"a":1,}}"#,
            r#"{"name":"f","arguments":{}} {}"#,
            r#"[{"name":"f","arguments":{}}, 1]"#,
            &deep,
        ] {
            assert_eq!(of_hermes(json), None, "{json}");
            assert_eq!(of_llama(json), None, "{json}");
        }
    }
}
