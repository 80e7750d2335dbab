//! When a stream works, when it stops, and how it tells.

use crate::fake::FakeBackend;
use inference_api::{
    CancelToken, ErrorKind, FinishReason, GenerateOptions, Result, Step, TextModel, Token, TokenStream,
};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::mpsc::sync_channel;
use std::thread;

fn options(max_tokens: usize) -> GenerateOptions {
    GenerateOptions::default().with_max_tokens(max_tokens)
}

#[test]
fn a_stream_yields_its_tokens_then_its_metrics() {
    let backend = FakeBackend::new("cpu");
    let model = backend.model();
    assert_eq!(model.metrics(), None);
    let mut stream = model.generate("a b c".into(), &options(4)).unwrap();
    let mut ids = Vec::new();
    while let Some(token) = stream.next() {
        assert_eq!((stream.finish_reason(), stream.metrics()), (None, None));
        ids.push(token.unwrap().id);
    }
    assert_eq!(ids, [0, 1, 2, 3]);
    assert_eq!(stream.finish_reason(), Some(FinishReason::Length));
    let metrics = stream.metrics().unwrap();
    assert_eq!((metrics.prompt_tokens, metrics.generated_tokens), (3, 4));
    assert_eq!(model.metrics(), Some(metrics));
    assert!(stream.next().is_none());
    assert_eq!(
        backend.counts.live_sources.load(SeqCst),
        0,
        "the end frees the source though the stream lives"
    );
}

#[test]
fn nothing_is_made_before_it_is_asked_for() {
    let backend = FakeBackend::new("cpu");
    let model = backend.model();
    let mut stream = model.generate(vec![1, 2].into(), &options(100)).unwrap();
    assert_eq!(backend.counts.steps.load(SeqCst), 0);
    stream.next().unwrap().unwrap();
    assert_eq!(backend.counts.steps.load(SeqCst), 1);
}

#[test]
fn dropping_a_stream_stops_the_source_at_once() {
    let backend = FakeBackend::new("cpu");
    let model = backend.model();
    let read: Vec<Token> =
        model.generate("a".into(), &options(1000)).unwrap().take(3).collect::<Result<_>>().unwrap();
    assert_eq!(read.len(), 3);
    assert_eq!(backend.counts.steps.load(SeqCst), 3);
    assert_eq!(backend.counts.live_sources.load(SeqCst), 0);
    assert_eq!(model.metrics(), None, "a dropped stream does not count");
}

#[test]
fn dropping_a_stream_stops_an_engine_thread_within_a_token() {
    let (steps, received) = sync_channel(0);
    let engine = thread::spawn(move || {
        let mut made = 0;
        loop {
            made += 1;
            if steps.send(Ok(Step::Token(Token::new(made, "x")))).is_err() {
                return made;
            }
        }
    });
    let mut stream = TokenStream::new(move || received.recv().unwrap());
    for _ in 0..5 {
        stream.next().unwrap().unwrap();
    }
    drop(stream);
    assert_eq!(engine.join().unwrap(), 6, "five were read; the sixth found nobody");
}

#[test]
fn a_cancel_token_ends_the_stream_without_an_error() {
    let model = FakeBackend::new("cpu").model();
    let cancel = CancelToken::new();
    let mut stream = model.generate("a".into(), &options(1000).with_cancel(cancel.clone())).unwrap();
    stream.next().unwrap().unwrap();
    stream.next().unwrap().unwrap();
    thread::spawn(move || cancel.cancel()).join().unwrap();
    assert!(stream.next().is_none());
    assert_eq!(stream.finish_reason(), Some(FinishReason::Cancelled));
    assert_eq!(stream.metrics().unwrap().generated_tokens, 2);
}

#[test]
fn an_error_is_the_last_item() {
    let backend = FakeBackend { fail_at: Some(2), ..FakeBackend::new("cpu") };
    let model = backend.model();
    let mut stream = model.generate("a".into(), &options(10)).unwrap();
    assert_eq!(stream.by_ref().take(2).filter(Result::is_ok).count(), 2);
    let error = stream.next().unwrap().unwrap_err();
    assert_eq!((error.kind(), error.to_string()), (ErrorKind::OutOfMemory, "step 2 failed".to_owned()));
    assert!(stream.next().is_none());
    assert!(stream.next().is_none());
    assert_eq!((stream.finish_reason(), stream.metrics()), (None, None));
    assert_eq!(backend.counts.steps.load(SeqCst), 3, "a failed source is not asked again");
    assert_eq!(backend.counts.live_sources.load(SeqCst), 0, "a failed source is freed");
    assert_eq!(stream.into_completion().unwrap_err().to_string(), "step 2 failed");
}

#[test]
fn a_completion_holds_what_was_not_read_yet() {
    let model = FakeBackend::new("cpu").model();
    let whole = model.generate("a".into(), &options(3)).unwrap().into_completion().unwrap();
    assert_eq!(whole.text, "0 1 2 ");
    assert_eq!(whole.tokens.iter().map(|token| token.id).collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!((whole.finish_reason, whole.metrics.generated_tokens), (FinishReason::Length, 3));

    let mut stream = model.generate("a".into(), &options(3)).unwrap();
    stream.next().unwrap().unwrap();
    assert_eq!(stream.into_text().unwrap(), "1 2 ");

    let mut ended = model.generate("a".into(), &options(3)).unwrap();
    assert_eq!(ended.by_ref().take(9).count(), 3);
    let rest = ended.into_completion().unwrap();
    assert_eq!((rest.text.as_str(), rest.metrics.generated_tokens), ("", 3));
}

#[test]
fn closing_ends_streams_and_refuses_new_ones() {
    let model = FakeBackend::new("cpu").model();
    let mut stream = model.generate("a".into(), &options(10)).unwrap();
    stream.next().unwrap().unwrap();
    model.close().unwrap();
    model.close().unwrap();
    assert_eq!(stream.next().unwrap().unwrap_err().kind(), ErrorKind::Closed);
    assert!(stream.next().is_none());
    assert_eq!(model.generate("a".into(), &options(1)).unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!((model.model_type(), model.info().context_len), ("fake", 1000));
}

#[test]
fn dropping_the_model_ends_its_streams() {
    let model = FakeBackend::new("cpu").model();
    let stream = model.generate("a".into(), &options(10)).unwrap();
    drop(model);
    assert_eq!(stream.into_text().unwrap_err().kind(), ErrorKind::Closed);
}

#[test]
fn one_model_serves_many_threads() {
    let model: Arc<dyn TextModel> = FakeBackend::new("cpu").model().into();
    let threads: Vec<_> = (1..=16)
        .map(|n| {
            let stream = model.generate("a".into(), &options(n)).unwrap();
            thread::spawn(move || stream.into_completion().unwrap().tokens.len())
        })
        .collect();
    let lengths: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert_eq!(lengths, (1..=16).collect::<Vec<_>>());
}

#[test]
fn debug_output_is_short() {
    let model = FakeBackend { fail_at: Some(1), ..FakeBackend::new("cpu") }.model();
    assert_eq!(format!("{model:?}"), "TextModel(fake)");
    let mut stream = model.generate("a".into(), &options(5)).unwrap();
    assert_eq!(format!("{stream:?}"), "TokenStream(running)");
    assert_eq!(stream.by_ref().take(9).count(), 2);
    assert_eq!(format!("{stream:?}"), "TokenStream(failed: step 1 failed)");
    let mut stream = model.generate("a".into(), &options(1)).unwrap();
    assert_eq!(stream.by_ref().take(9).count(), 1);
    assert_eq!(format!("{stream:?}"), "TokenStream(length)");
}
