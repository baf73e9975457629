/* What the parts of a layer give each other. */

#include "vectors.h"

#if defined(__AVX512F__) && defined(__AVX512VNNI__)
#define CODES 1 /* products of codes are compiled */
#endif

enum kind { FLOAT32, FLOAT16, INT8, INT4 };

/* A weight in panels: see the function of its kind in products.c for what the rest is. */
struct linear {
    int64_t kind, in, outputs, group;
    const void *panels, *scales;
    const float *sums, *shift;
};

/* `turned` numbers of a head turn, with partners `half` away. */
struct decoder_layer {
    struct linear qkv, out, inner, down;
    const float *attention_norm, *feed_forward_norm;
    int64_t heads, kv_heads, width, turned, half;
    float attention_eps, feed_forward_eps;
};

struct encoder_layer {
    struct linear qkv, out, inner, down;
    const float *attention_norm, *attention_shift, *feed_forward_norm, *feed_forward_shift;
    int64_t heads, kv_heads, width;
    float attention_eps, feed_forward_eps;
};

void attend_rows(const float *q, const float *k, const float *v, float *out, int64_t q_stride, int64_t k_stride,
                 int64_t v_stride, const int64_t *query_starts, const int64_t *query_lengths, const int64_t *key_starts,
                 const int64_t *key_lengths, int64_t rows, int64_t heads, int64_t kv_heads, int64_t width, float scale,
                 int64_t causal);
void attend_slots(const float *q, const float *k, const float *v, const float *added, float *out, int64_t q_stride,
                  int64_t row_stride, int64_t rows, int64_t keys, int64_t heads, int64_t kv_heads, int64_t width,
                  float scale);
void float32_linear(const float *hidden, const float *panels, const float *shift, float *out, int64_t tokens,
                    int64_t in, int64_t outputs, int64_t activated);
void float16_linear(const float *hidden, const uint16_t *panels, const float *shift, float *out, int64_t tokens,
                    int64_t in, int64_t outputs, int64_t activated);
void int8_linear(const float *hidden, const uint8_t *panels, const float *weight_scales, const float *code_sums,
                 const float *shift, float *out, int64_t tokens, int64_t in, int64_t outputs, int64_t activated);
void int4_linear(const float *hidden, const uint8_t *panels, const uint32_t *pairs, const float *shift, float *out,
                 int64_t tokens, int64_t in, int64_t outputs, int64_t group);
void gelu_all(float *numbers, int64_t count);
void add_norm(const float *hidden, const float *change, const float *weight, const float *shift, float *out,
              int64_t tokens, int64_t width, float eps);
void rms_norm(const float *hidden, const float *weight, float *out, int64_t tokens, int64_t width, float eps);
void gated_silu(const float *inner, float *out, int64_t tokens, int64_t width);
void rotate(const float *heads, const float *cosines, const float *sines, float *out, int64_t stride, int64_t tokens,
            int64_t count, int64_t width, int64_t dim, int64_t half);
void store(const float *k, const float *v, float *held_k, float *held_v, const int64_t *places, int64_t k_stride,
           int64_t v_stride, int64_t tokens, int64_t size);
