//! `mlx bench`: what it prints. How fast it finds the model to be is nobody's promise.

use mlx_core::io::SafetensorsFile;
use serde_json::Value;

use crate::support::{Run, mlx, tiny};

fn bench(args: &[&str]) -> Run {
    mlx(&[&["bench", "--model", tiny().to_str().unwrap(), "--device", "cpu"], args].concat(), "")
}

/// The cells of a table, line by line, without the rule below the names.
fn cells(table: &str) -> Vec<Vec<&str>> {
    let mut lines: Vec<Vec<&str>> =
        table.lines().map(|line| line.trim_matches('|').split('|').map(str::trim).collect()).collect();
    let rule = lines.remove(1);
    assert!(rule.iter().all(|cell| cell.trim_matches([':', '-']).is_empty()), "{table}");
    lines
}

#[test]
fn the_table_has_a_row_for_each_test() {
    let cases: [(&[&str], &[&str]); 4] = [
        (&["-p", "70", "-n", "3", "-r", "2"], &["pp70", "tg3"]),
        (&["-p", "70", "-n", "0", "-r", "1"], &["pp70"]),
        (&["-p", "0", "-n", "3", "-r", "1"], &["tg3"]),
        (&["-p", "1", "-n", "2", "-r", "1", "--batch", "3"], &["pp1", "tg2 x 3"]),
    ];
    for (args, tests) in cases {
        let run = bench(args);
        assert_eq!(run.stderr, "", "{run:?}");
        let table = run.text();
        let lines = cells(&table);
        assert_eq!(lines[0], ["model", "size", "params", "backend", "threads", "test", "t/s"]);
        assert_eq!(lines.len(), 1 + tests.len(), "{table}");
        for (line, test) in lines[1..].iter().zip(tests) {
            assert_eq!((line[0], line[3], line[5]), ("gemma3_text float32", "CPU", *test), "{table}");
            assert!(line[1].ends_with(" MiB") && line[2].ends_with(" M"), "{table}");
            assert!(line[4].parse::<usize>().unwrap() > 0, "{table}");
            let (mean, deviation) = line[6].split_once(" ± ").unwrap();
            let [mean, deviation] = [mean, deviation].map(|number| number.parse::<f64>().unwrap());
            assert!(mean > 0.0 && deviation >= 0.0, "{table}");
        }
    }
}

#[test]
fn the_object_has_every_figure() {
    let answer = bench(&["-p", "4", "-n", "2", "-r", "3", "--batch", "2", "--json"]).json();
    let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let expected = ["model", "size_bytes", "weight_bytes", "parameters", "backend", "threads", "tests"];
    assert_eq!(names(&answer), expected);
    assert_eq!((&answer["model"], &answer["backend"]), (&"gemma3_text float32".into(), &"CPU".into()));
    assert!(answer["threads"].as_u64() > Some(0), "{answer}");

    let file = SafetensorsFile::open(tiny().join("model.safetensors")).unwrap();
    let elements = file.names().map(|name| file.info(name).unwrap().shape.iter().product::<usize>());
    let parameters: usize = elements.sum();
    assert_eq!(answer["parameters"], parameters);
    for name in ["size_bytes", "weight_bytes"] {
        assert_eq!(answer[name], parameters * size_of::<f32>(), "{name}");
    }

    let tests = answer["tests"].as_array().unwrap();
    let expected = [("pp4", 4, 1), ("tg2 x 2", 4, 2)];
    assert_eq!(tests.len(), expected.len());
    for (test, (name, tokens, batch)) in tests.iter().zip(expected) {
        assert_eq!(
            names(test),
            ["test", "tokens", "batch", "tokens_per_second", "standard_deviation", "samples"]
        );
        assert_eq!(
            (&test["test"], &test["tokens"], &test["batch"]),
            (&name.into(), &tokens.into(), &batch.into())
        );
        let samples: Vec<f64> =
            test["samples"].as_array().unwrap().iter().map(|rate| rate.as_f64().unwrap()).collect();
        assert_eq!(samples.len(), 3);
        let mean = samples.iter().sum::<f64>() / 3.0;
        assert!((test["tokens_per_second"].as_f64().unwrap() / mean - 1.0).abs() < 1e-9, "{test}");
        assert!(test["standard_deviation"].as_f64().unwrap() >= 0.0, "{test}");
    }
}
