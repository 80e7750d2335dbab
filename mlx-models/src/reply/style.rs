//! How a model writes its replies, as its chat template and the prompt show it.

/// How a model writes a reply. The default is text that means nothing but itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReplyStyle {
    /// Whether the reply begins with reasoning.
    pub reasoning: Reasoning,
    /// How tools are called; `None` where there are none, or the dialect is not one of these.
    pub tools: Option<ToolDialect>,
}

/// Whether a reply begins with reasoning in `<think>` tags.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Reasoning {
    /// The model's template knows no such tags; they are text.
    #[default]
    None,
    /// The reply may begin with `<think>`.
    MayBegin,
    /// The prompt ends with `<think>`: the reply begins inside.
    Begun,
}

/// How a model writes the calls of tools. See the [module](crate::reply) for the grammars.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ToolDialect {
    /// JSON in `<tool_call>` tags: Hermes, Qwen 2.5, Qwen 3, SmolLM2.
    Hermes,
    /// The reply itself is JSON: Llama 3.1, 3.2 and 3.3.
    Llama,
}

impl ToolDialect {
    /// The dialect of a chat template, by what its source spells.
    pub(crate) fn of(template: &str) -> Option<Self> {
        let has = |text| template.contains(text);
        // Qwen 3 Coder and GLM put XML into the same tags.
        if has("<tool_call>") && !has("<function=") && !has("<arg_key>") {
            return Some(Self::Hermes);
        }
        // The role of results in Llama 3.1 and later; Llama 3 knows no tools.
        (has("<|start_header_id|>") && has("ipython")).then_some(Self::Llama)
    }
}

impl Reasoning {
    /// Where the reply to `prompt` begins, which a template of this source rendered.
    pub(crate) fn of(template: &str, prompt: &str) -> Self {
        if !template.contains("<think>") && !template.contains("</think>") {
            Self::None
        } else if prompt.trim_end().ends_with("<think>") {
            Self::Begun
        } else {
            Self::MayBegin
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ChatTemplate;

    #[test]
    fn the_template_shows_the_dialect() {
        for (source, dialect) in [
            ("{{ tools }}", None),
            (r#"<tool_call>\n{"name": "#, Some(ToolDialect::Hermes)),
            ("<tool_call>\n<function=f>", None),
            ("<tool_call>f<arg_key>", None),
            ("<|start_header_id|>ipython<|end_header_id|>", Some(ToolDialect::Llama)),
            ("<|start_header_id|>' + role", None),
        ] {
            assert_eq!(ToolDialect::of(source), dialect, "{source}");
        }
    }

    #[test]
    fn the_end_of_the_prompt_shows_where_the_reply_begins() {
        let knows = "{% if '</think>' in content %}";
        for (source, prompt, reasoning) in [
            (knows, "<|im_start|>assistant\n", Reasoning::MayBegin),
            (knows, "<|im_start|>assistant\n<think>\n\n</think>\n\n", Reasoning::MayBegin),
            (knows, "<think>\n<|im_start|>assistant\n", Reasoning::MayBegin),
            (knows, "<|im_start|>assistant\n<think>\n", Reasoning::Begun),
            (knows, "<think>", Reasoning::Begun),
            ("{{ content }}", "I say <think>", Reasoning::None),
        ] {
            assert_eq!(Reasoning::of(source, prompt), reasoning, "{prompt}");
        }
    }

    #[test]
    fn the_template_for_tools_is_asked_where_tools_are_given() {
        let template = ChatTemplate::new("<tool_call>{{ tools }}<think>", None, None).unwrap();
        let style = ReplyStyle { reasoning: Reasoning::Begun, tools: Some(ToolDialect::Hermes) };
        assert_eq!(template.reply_style("<think>\n", true), style);
        assert_eq!(template.reply_style("<think>\n", false), ReplyStyle { tools: None, ..style });
        assert!(template.writes_tools());
        assert!(!ChatTemplate::new("{{ messages }}", None, None).unwrap().writes_tools());
    }
}
