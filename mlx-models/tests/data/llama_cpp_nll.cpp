// The mean negative log-likelihood that llama.cpp gives to tokens, each given those before it, in one window.
//
//     llama_cpp_nll GGUF < IDS        (IDS: token ids, separated by white space)
//
// Built against llama.h and the libraries llama, ggml, ggml-cpu and ggml-base of llama.cpp. The cache holds 32-bit
// floats, attention is not fused, and probabilities are summed in 64 bits, so what is left is how its matrix products
// round.

#include "llama.h"

#include <cmath>
#include <cstdio>
#include <iostream>
#include <iterator>
#include <vector>

int main(int count, char **arguments) {
    if (count != 2) {
        std::fprintf(stderr, "usage: llama_cpp_nll GGUF < IDS\n");
        return 2;
    }
    std::vector<llama_token> ids{std::istream_iterator<llama_token>(std::cin), {}};
    llama_log_set([](ggml_log_level, const char *, void *) {}, nullptr);
    llama_backend_init();
    llama_model *model = llama_model_load_from_file(arguments[1], llama_model_default_params());
    if (!model || ids.size() < 2) {
        std::fprintf(stderr, "no model, or fewer than two ids\n");
        return 1;
    }
    llama_context_params parameters = llama_context_default_params();
    parameters.n_ctx = parameters.n_batch = parameters.n_ubatch = ids.size();
    parameters.n_threads = parameters.n_threads_batch = 2;
    parameters.type_k = parameters.type_v = GGML_TYPE_F32;
    parameters.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
    llama_context *context = llama_init_from_model(model, parameters);
    llama_batch batch = llama_batch_init(ids.size(), 0, 1);
    for (size_t i = 0; i < ids.size(); i++) {
        batch.token[i] = ids[i];
        batch.pos[i] = i;
        batch.n_seq_id[i] = 1;
        batch.seq_id[i][0] = 0;
        batch.logits[i] = true;
    }
    batch.n_tokens = ids.size();
    if (!context || llama_decode(context, batch) != 0) {
        std::fprintf(stderr, "the tokens could not be decoded\n");
        return 1;
    }
    const int vocabulary = llama_vocab_n_tokens(llama_model_get_vocab(model));
    double total = 0;
    for (size_t i = 0; i + 1 < ids.size(); i++) {
        const float *row = llama_get_logits_ith(context, i);
        double largest = row[0], sum = 0;
        for (int v = 1; v < vocabulary; v++) largest = std::fmax(largest, row[v]);
        for (int v = 0; v < vocabulary; v++) sum += std::exp(row[v] - largest);
        total += std::log(sum) + largest - row[ids[i + 1]];
    }
    std::printf("%.9f\n", total / (ids.size() - 1));
}
