use super::*;

const PLAIN: ReplyStyle = ReplyStyle { reasoning: Reasoning::None, tools: None };
const THINKS: ReplyStyle = ReplyStyle { reasoning: Reasoning::MayBegin, tools: None };
const BEGUN: ReplyStyle = ReplyStyle { reasoning: Reasoning::Begun, tools: None };
const QWEN: ReplyStyle = ReplyStyle { reasoning: Reasoning::MayBegin, tools: Some(ToolDialect::Hermes) };
const HERMES: ReplyStyle = ReplyStyle { reasoning: Reasoning::None, tools: Some(ToolDialect::Hermes) };
const LLAMA: ReplyStyle = ReplyStyle { reasoning: Reasoning::None, tools: Some(ToolDialect::Llama) };
const DISTILLED: ReplyStyle = ReplyStyle { reasoning: Reasoning::Begun, tools: Some(ToolDialect::Llama) };

fn answer(text: &str) -> Part {
    Part::Answer(text.to_owned())
}

fn reasoning(text: &str) -> Part {
    Part::Reasoning(text.to_owned())
}

fn call(name: &str, arguments: &str) -> Part {
    Part::ToolCall(ToolCall { name: name.to_owned(), arguments: arguments.to_owned() })
}

/// Joins neighbouring texts of a kind.
fn joined(parts: impl IntoIterator<Item = Part>) -> Vec<Part> {
    let mut out: Vec<Part> = Vec::new();
    for part in parts {
        match (out.last_mut(), part) {
            (Some(Part::Answer(before)), Part::Answer(text)) => before.push_str(&text),
            (Some(Part::Reasoning(before)), Part::Reasoning(text)) => before.push_str(&text),
            (_, part) => out.push(part),
        }
    }
    out
}

fn whole(style: ReplyStyle, text: &str) -> Vec<Part> {
    let mut parser = Parser::new(style);
    let mut parts = parser.push(text);
    parts.extend(parser.finish());
    joined(parts)
}

fn by_character(style: ReplyStyle, text: &str) -> Vec<Part> {
    let mut parser = Parser::new(style);
    let mut parts: Vec<Part> = text.chars().flat_map(|c| parser.push(c.encode_utf8(&mut [0; 4]))).collect();
    parts.extend(parser.finish());
    joined(parts)
}

/// Checks what becomes of replies, given whole and character by character.
fn check(style: ReplyStyle, cases: &[(&str, &[Part])]) {
    for (text, expected) in cases {
        assert_eq!(whole(style, text), *expected, "{style:?} {text:?}");
        assert_eq!(by_character(style, text), *expected, "{style:?} {text:?} by character");
    }
}

#[test]
fn without_reasoning_and_tools_a_reply_is_an_answer_at_once() {
    for text in [
        "",
        " ",
        "<think>a</think>b",
        "<tool_call>{\"name\":\"f\"}</tool_call>",
        "{\"name\":\"f\",\"parameters\":{}}\n",
    ] {
        let mut parser = Parser::new(PLAIN);
        let expected = if text.is_empty() { vec![] } else { vec![answer(text)] };
        assert_eq!(parser.push(text), expected);
        assert_eq!((parser.held_back(), parser.finish()), (0, vec![]));
    }
}

#[test]
fn reasoning_is_told_from_the_answer_at_the_beginning_alone() {
    check(
        THINKS,
        &[
            ("", &[]),
            ("Hi\n", &[answer("Hi\n")]),
            (" \n<thin", &[answer(" \n<thin")]),
            ("  <b>", &[answer("  <b>")]),
            ("<think>\n\n</think>\n\nHi", &[answer("Hi")]),
            ("<think></think>Hi", &[answer("Hi")]),
            ("\n <think>\n a\n\nb \n\n</think>\n\n\n Hi\n", &[reasoning(" a\n\nb "), answer(" Hi\n")]),
            ("<think>a</think>b<think>c</think>", &[reasoning("a"), answer("b<think>c</think>")]),
            ("a <think>b</think>", &[answer("a <think>b</think>")]),
            ("b</think>c", &[answer("b</think>c")]),
            ("<think>\nnever ends\n", &[reasoning("never ends")]),
            ("<think>\nnever ends\n</thin", &[reasoning("never ends\n</thin")]),
            ("<think>a < b </ c </thin> <</think>d", &[reasoning("a < b </ c </thin> <"), answer("d")]),
            ("<think>ü\n\n🎉</think>é", &[reasoning("ü\n\n🎉"), answer("é")]),
            ("<think>\n", &[]),
            ("<think>a\n</think>\n\n", &[reasoning("a")]),
        ],
    );
    check(
        BEGUN,
        &[
            ("a\n</think>\n\nb", &[reasoning("a"), answer("b")]),
            ("\n<think>\na\n</think>b", &[reasoning("a"), answer("b")]),
            ("</think>\nb", &[answer("b")]),
            ("\n", &[]),
            (" a", &[reasoning(" a")]),
            ("a <think> b", &[reasoning("a <think> b")]),
            ("<thi", &[reasoning("<thi")]),
        ],
    );
}

#[test]
fn calls_in_tags_are_found_anywhere_in_the_answer() {
    const F: &str = "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"x\": 1}}\n</tool_call>";
    let f = || call("f", "{\"x\": 1}");
    check(
        HERMES,
        &[
            (F, &[f()]),
            (&format!("{F}\n{F}"), &[f(), f()]),
            (&format!("{F}{F}\n"), &[f(), f()]),
            (&format!("Let me see.\n{F}\n\nDone. \n"), &[answer("Let me see."), f(), answer("Done. \n")]),
            (&format!("<<{F}>"), &[answer("<<"), f(), answer(">")]),
            (&format!("<tool_call>\n{F}"), &[answer("<tool_call>\n"), f()]),
            (&format!("<tool_call>{{\"a\": {F}"), &[answer("<tool_call>{\"a\": "), f()]),
            (
                "<tool_call>[{\"name\":\"f\",\"arguments\":{}}, {\"name\":\"g\"}]</tool_call>",
                &[call("f", "{}"), call("g", "{}")],
            ),
            ("<tool_call>[]</tool_call>", &[]),
            // The tags in a text of the arguments are no tags.
            (
                "<tool_call>{\"name\":\"f\",\"arguments\":{\"s\":\"</tool_call><tool_call>\"}}</tool_call>",
                &[call("f", "{\"s\":\"</tool_call><tool_call>\"}")],
            ),
            // The closing tag may be missing at the end.
            ("<tool_call>{\"name\":\"f\"}", &[call("f", "{}")]),
            ("<tool_call>{\"name\":\"f\"}\n</tool", &[call("f", "{}")]),
        ],
    );
    check(
        QWEN,
        &[
            (&format!("<think>\n{F}\n</think>\n\n{F}"), &[reasoning(F), f()]),
            (&format!("<think>\na\n</think>\n\nb\n{F}"), &[reasoning("a"), answer("b"), f()]),
            (&format!("\n{F}"), &[f()]),
            ("<tool", &[answer("<tool")]),
            ("<think>a</think> ", &[reasoning("a"), answer(" ")]),
        ],
    );
}

#[test]
fn what_is_no_call_comes_back_unchanged() {
    for text in [
        "<tool_call>",
        "a\n<tool_call>\n{\"name\": \"f\", \"arguments\": {\"x\"",
        "<tool_call>f(x)</tool_call>",
        "<tool_call>\n<function=f>\n<parameter=x>\n1\n</parameter>\n</function>\n</tool_call>",
        "<tool_call>{\"name\": \"f\", \"arguments\": {}}}</tool_call>",
        "<tool_call>{\"name\": \"f\", \"arguments\": {}} or so</tool_call>",
        "<tool_call>{\"name\": \"f\", \"arguments\": {}} </tool_calls>",
        "<tool_call>{'name': 'f'}</tool_call>",
        "<tool_call>{\"name\": \"f\", \"arguments\": [1]}</tool_call>\n",
        "<tool_call>{\"name\": \"f\", \"arguments\": \"a \"b\"\n\"}</tool_call> \n",
        "</tool_call> a <tool_call >",
        "  \n a \n ",
        " \n",
    ] {
        check(HERMES, &[(text, &[answer(text)])]);
    }
    for text in [
        "Hi\n{\"name\": \"f\", \"parameters\": {}}",
        "{\"name\": \"f\"}",
        "{\"name\": \"f\", \"parameters\": {}",
        "{\"city\": \"Oslo\"} is JSON",
        "{a}; {\"name\": \"f\", \"parameters\": {}}",
        "[{\"name\": \"f\", \"parameters\": {}}]",
        "<|python_tag|>search.call(query=\"x\")",
        "<|python_tag|><|python_tag|>{\"name\": \"f\", \"parameters\": {}}",
        " <|python",
        " \n",
    ] {
        check(LLAMA, &[(text, &[answer(text)])]);
    }
}

#[test]
fn calls_that_are_the_reply_itself_are_found_at_its_beginning() {
    const F: &str = "{\"name\": \"f\", \"parameters\": {\"x\": 1}}";
    let f = || call("f", "{\"x\": 1}");
    check(
        LLAMA,
        &[
            (F, &[f()]),
            (&format!(" \n{F}\n "), &[f()]),
            (&format!("<|python_tag|>{F}"), &[f()]),
            (&format!("{F}; {F};\n{F}"), &[f(), f(), f()]),
            (&format!("{F}\n{F}"), &[f(), f()]),
            (&format!("{F} ;"), &[f()]),
            (&format!("{F}\n\nNow wait."), &[f(), answer("Now wait.")]),
            (&format!("{F};; {F}"), &[f(), answer(&format!(";; {F}"))]),
            (&format!("{F}; {{\"a\": 1}} {F}"), &[f(), answer(&format!("; {{\"a\": 1}} {F}"))]),
            (&format!("{F}; {{\"name\""), &[f(), answer("; {\"name\"")]),
            ("{\"arguments\": {}, \"name\": \"é\"}", &[call("é", "{}")]),
        ],
    );
    check(DISTILLED, &[(&format!("{F}</think>\n\n{F}"), &[reasoning(F), f()])]);
}

#[test]
fn a_call_without_end_is_given_up_at_the_limit() {
    let head = "<tool_call>{\"name\": \"f\", \"arguments\": {\"é\": \"";
    for (room, is_call) in [(0, true), (1, false)] {
        let tail = "\"}}</tool_call>";
        let fill = MAX_CALL_BYTES - head.len() - tail.len() + room;
        let text = format!("{head}{}{tail}", "x".repeat(fill));
        for pieces in [1, 7, 4096, text.len()] {
            let mut parser = Parser::new(HERMES);
            let mut parts = Vec::new();
            let mut rest = text.as_str();
            while !rest.is_empty() {
                let end = (pieces.min(rest.len())..).find(|&end| rest.is_char_boundary(end)).unwrap();
                parts.extend(parser.push(&rest[..end]));
                assert!(parser.held_back() <= MAX_CALL_BYTES);
                rest = &rest[end..];
            }
            parts.extend(parser.finish());
            let parts = joined(parts);
            match &parts[..] {
                [Part::ToolCall(call)] => assert!(is_call && call.arguments.len() > fill),
                [Part::Answer(all)] => assert!(!is_call && *all == text),
                other => panic!("{} parts", other.len()),
            }
        }
    }
}

#[test]
fn what_is_held_back_is_what_is_undecided() {
    for (style, text, held) in [
        (THINKS, "a < b ", 0),
        (THINKS, " <th", 4),
        (THINKS, "<think>a\n\n</", 4),
        (THINKS, "<think>\n\n", 0),
        (HERMES, "a \n", 2),
        (HERMES, "a \n<b", 0),
        (HERMES, "<tool_call>{\"a\"", 15),
        (HERMES, "<tool_call>{\"name\":\"f\"}</tool_call>\n", 0),
        (LLAMA, "{\"a\"", 4),
        (LLAMA, "a <|python_tag|> ", 0),
        (LLAMA, "{\"name\":\"f\",\"parameters\":{}} ; ", 2),
    ] {
        let mut parser = Parser::new(style);
        parser.push(text);
        assert_eq!(parser.held_back(), held, "{style:?} {text:?}");
    }
}

/// Xorshift64: enough randomness for a property test, and the same on every run.
struct Xorshift(u64);

impl Xorshift {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }
}

#[test]
fn any_chunking_gives_the_same_parts_and_loses_nothing() {
    const WORDS: [&str; 29] = [
        "<think>",
        "</think>",
        "<tool_call>",
        "</tool_call>",
        "<|python_tag|>",
        "{\"name\": \"f\", \"arguments\": {\"a\": 1}}",
        "{\"name\": \"g\", \"parameters\": {}}",
        "{\"name\"",
        "{",
        "}",
        "[",
        "]",
        "\"",
        "\\",
        ";",
        ",",
        "\n",
        "\n\n",
        " ",
        "<",
        "</",
        "<t",
        "<tool_call>\n{\"name\": \"h\"}\n</tool_call>",
        "<think>\n",
        "a",
        "é",
        "🎉",
        "ok. ",
        "{}",
    ];
    let mut random = Xorshift(0x9e37_79b9_7f4a_7c15);
    let (mut calls, mut thoughts, mut answers) = (0, 0, 0);
    for _ in 0..60_000 {
        let style = [PLAIN, THINKS, BEGUN, QWEN, HERMES, LLAMA, DISTILLED][random.below(7)];
        let text: String = (0..random.below(12)).map(|_| WORDS[random.below(WORDS.len())]).collect();
        let expected = whole(style, &text);
        let mut parser = Parser::new(style);
        // A parser that is used again is as a new one.
        if random.below(2) == 0 {
            parser.push(WORDS[random.below(WORDS.len())]);
            parser.finish();
        }
        let (mut parts, mut given, mut rest) = (Vec::new(), 0, text.as_str());
        while !rest.is_empty() {
            let end = random.below(8).min(rest.len());
            let end = (0..=end).rev().find(|&end| rest.is_char_boundary(end)).unwrap();
            parts.extend(parser.push(&rest[..end]));
            (given, rest) = (given + end, &rest[end..]);
            assert!(parser.held_back() <= given);
        }
        parts.extend(parser.finish());
        assert!(
            parts
                .iter()
                .all(|part| !matches!(part, Part::Answer(text) | Part::Reasoning(text) if text.is_empty()))
        );
        let parts = joined(parts);
        assert_eq!(parts, expected, "{style:?} {text:?}");

        // A list of no calls is dropped.
        if text.replace([' ', '\n'], "").contains("[]") {
            continue;
        }
        // Texts come out in their order, each a piece of the reply; only markers and white space lie between.
        let mut from = 0;
        for part in &parts {
            match part {
                Part::Answer(said) | Part::Reasoning(said) => {
                    let at = text[from..].find(said.as_str()).expect("a text that the reply holds");
                    from += at + said.len();
                    let is_answer = matches!(part, Part::Answer(_));
                    (answers, thoughts) =
                        (answers + usize::from(is_answer), thoughts + usize::from(!is_answer));
                }
                Part::ToolCall(call) => {
                    calls += 1;
                    assert!(style.tools.is_some());
                    assert!(serde_json::from_str::<serde_json::Map<_, _>>(&call.arguments).is_ok());
                }
            }
        }
        if !parts.iter().any(|part| matches!(part, Part::ToolCall(_))) {
            let bare =
                |text: &str| text.replace(['\n', ' '], "").replace("<think>", "").replace("</think>", "");
            let said: String = parts
                .iter()
                .filter_map(|part| match part {
                    Part::Answer(text) | Part::Reasoning(text) => Some(bare(text)),
                    Part::ToolCall(_) => None,
                })
                .collect();
            assert_eq!(bare(&said), bare(&text), "{style:?} {text:?}");
        }
    }
    assert!(calls > 3_000 && thoughts > 10_000 && answers > 20_000, "{calls} {thoughts} {answers}");
}
