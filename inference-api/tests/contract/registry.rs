//! How backends are registered, listed and chosen.

use crate::fake::FakeBackend;
use inference_api::{Backend, ErrorKind, GenerateOptions, LoadOptions, Registry};
use std::path::Path;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Barrier};
use std::thread;

fn registry(backends: Vec<FakeBackend>) -> Registry {
    let registry = Registry::new();
    for backend in backends {
        registry.register(Arc::new(backend)).unwrap();
    }
    registry
}

fn names(registry: &Registry) -> Vec<String> {
    registry.list().iter().map(|backend| backend.name().to_owned()).collect()
}

#[test]
fn an_empty_registry_explains_itself() {
    let registry = Registry::new();
    assert!(registry.list().is_empty());
    assert!(registry.get("cpu").is_none());
    let by_name = LoadOptions::default().with_backend("cpu");
    let errors = [
        registry.default_backend().unwrap_err(),
        registry.load_model("fake", &LoadOptions::default()).unwrap_err(),
        registry.load_model("fake", &by_name).unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::NoBackend);
        assert!(error.to_string().contains("call the `register` function"), "{error}");
    }
}

#[test]
fn a_second_backend_of_a_name_is_refused_and_the_first_stays() {
    let first: Arc<dyn Backend> = Arc::new(FakeBackend::new("cpu"));
    let registry = Registry::new();
    registry.register(Arc::clone(&first)).unwrap();
    let error = registry.register(Arc::new(FakeBackend::unavailable("cpu"))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyRegistered);
    assert!(error.to_string().contains("`cpu`"), "{error}");
    assert!(Arc::ptr_eq(&registry.get("cpu").unwrap(), &first));
    assert_eq!(names(&registry), ["cpu"]);
}

#[test]
fn a_backend_needs_a_name() {
    let error = Registry::new().register(Arc::new(FakeBackend::new(""))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidOption);
}

#[test]
fn the_order_is_metal_cuda_cpu_then_as_registered() {
    struct Case {
        name: &'static str,
        backends: Vec<FakeBackend>,
        list: &'static [&'static str],
        default: Option<&'static str>,
    }
    let (on, off) = (FakeBackend::new, FakeBackend::unavailable);
    let cases = [
        Case {
            name: "preference beats registration",
            backends: vec![on("zeta"), on("cpu"), on("alpha"), on("cuda"), on("metal")],
            list: &["metal", "cuda", "cpu", "zeta", "alpha"],
            default: Some("metal"),
        },
        Case {
            name: "unavailable ones are skipped",
            backends: vec![off("metal"), on("cpu"), off("cuda")],
            list: &["metal", "cuda", "cpu"],
            default: Some("cpu"),
        },
        Case {
            name: "any other when no preferred one can run",
            backends: vec![off("zeta"), on("alpha"), off("cpu")],
            list: &["cpu", "zeta", "alpha"],
            default: Some("alpha"),
        },
        Case {
            name: "none can run",
            backends: vec![off("zeta"), off("cpu")],
            list: &["cpu", "zeta"],
            default: None,
        },
    ];
    for case in cases {
        let registry = registry(case.backends);
        assert_eq!(names(&registry), case.list, "{}", case.name);
        match (registry.default_backend(), case.default) {
            (Ok(backend), Some(expected)) => assert_eq!(backend.name(), expected, "{}", case.name),
            (Err(error), None) => {
                assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", case.name);
                assert!(error.to_string().ends_with("tried cpu, zeta"), "{error}");
            }
            (chosen, expected) => panic!("{}: {chosen:?}, expected {expected:?}", case.name),
        }
    }
}

#[test]
fn load_model_takes_the_named_backend() {
    let registry =
        registry(vec![FakeBackend::new("cuda"), FakeBackend::new("cpu"), FakeBackend::unavailable("metal")]);
    let cases = [(None, Ok("cuda")), (Some("cpu"), Ok("cpu")), (Some("metal"), Err(ErrorKind::Unavailable))];
    for (backend, expected) in cases {
        let options = LoadOptions { backend: backend.map(str::to_owned), ..Default::default() };
        let loaded = registry.load_model("fake", &options).map(|model| model.info().backend);
        assert_eq!(loaded.map_err(|error| error.kind()), expected.map(str::to_owned), "{backend:?}");
    }
    let error = registry.load_model("fake", &LoadOptions::default().with_backend("rocm")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(error.to_string(), "no backend named `rocm`; registered: metal, cuda, cpu");
}

#[test]
fn load_model_hands_options_over_and_errors_back() {
    let backend = FakeBackend::new("cpu");
    let counts = Arc::clone(&backend.counts);
    let registry = registry(vec![backend]);
    let model = registry.load_model("fake", &LoadOptions::default().with_context_len(77)).unwrap();
    assert_eq!(model.info().context_len, 77);
    assert_eq!(counts.loads.load(SeqCst), 1);
    let cases = [
        ("fake", LoadOptions::default().with_context_len(0), ErrorKind::InvalidOption),
        ("real", LoadOptions::default(), ErrorKind::NotFound),
    ];
    for (name, options, kind) in cases {
        assert_eq!(registry.load_model(name, &options).unwrap_err().kind(), kind, "{name}");
    }
    assert_eq!(counts.loads.load(SeqCst), 1, "a bad option is found before the backend is asked");
}

#[test]
fn probing_needs_no_device() {
    let registry = registry(vec![FakeBackend::unavailable("metal")]);
    let backend = registry.get("metal").unwrap();
    assert_eq!(backend.probe(Path::new("models/fake")).unwrap().unwrap().model_type, "fake");
    assert_eq!(backend.probe(Path::new("models/other")).unwrap(), None);
}

#[test]
fn sixteen_threads_register_and_list() {
    const THREADS: usize = 16;
    const EACH: usize = 20;
    let registry = Registry::new();
    let start = Barrier::new(THREADS);
    let wins: usize = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (registry, start) = (&registry, &start);
                scope.spawn(move || {
                    start.wait();
                    let won = registry.register(Arc::new(FakeBackend::new("cpu"))).is_ok();
                    for n in 0..EACH {
                        let name = format!("{thread}-{n}");
                        registry.register(Arc::new(FakeBackend::new(&name))).unwrap();
                        assert_eq!(registry.get(&name).unwrap().name(), name);
                        assert_eq!(names(registry)[0], "cpu");
                        assert_eq!(registry.default_backend().unwrap().name(), "cpu");
                    }
                    usize::from(won)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(wins, 1, "one name, one winner");
    let mut all = names(&registry);
    assert_eq!(all.len(), 1 + THREADS * EACH);
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 1 + THREADS * EACH);
}

/// The only test that touches the registry of the process.
#[test]
fn the_free_functions_share_one_registry() {
    assert_eq!(inference_api::default_backend().unwrap_err().kind(), ErrorKind::NoBackend);
    inference_api::register(Arc::new(FakeBackend::new("cpu"))).unwrap();
    assert_eq!(inference_api::list().len(), 1);
    assert!(Arc::ptr_eq(&inference_api::get("cpu").unwrap(), &Registry::global().get("cpu").unwrap()));
    assert_eq!(inference_api::default_backend().unwrap().name(), "cpu");
    let model = inference_api::load_model("fake", &LoadOptions::default()).unwrap();
    let options = GenerateOptions::default().with_max_tokens(2);
    assert_eq!(model.generate("a".into(), &options).unwrap().into_text().unwrap(), "0 1 ");
}
