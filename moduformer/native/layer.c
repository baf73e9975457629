/* One decoder layer for one new token a row, in one call: root-mean-square norms before attention to a cache and before
   a gated feed-forward layer, each added to what came in. */

#include "layer.h"

static void multiply(const struct linear *by, const float *hidden, float *out, int64_t tokens) {
    switch (by->kind) {
    case FLOAT32: float32_linear(hidden, by->panels, by->shift, out, tokens, by->in, by->outputs, 0); break;
    case FLOAT16: float16_linear(hidden, by->panels, by->shift, out, tokens, by->in, by->outputs, 0); break;
#ifdef CODES
    case INT8:
        int8_linear(hidden, by->panels, by->scales, by->sums, by->shift, out, tokens, by->in, by->outputs, 0);
        break;
    case INT4:
        int4_linear(hidden, by->panels, by->scales, by->shift, out, tokens, by->in, by->outputs, by->group);
        break;
#endif
    }
}

static void added(const float *to, const float *change, float *out, int64_t count) {
    for (int64_t i = 0; i < count; i++) out[i] = to[i] + change[i];
}

/* `hidden` and `out` `[rows, dim]`; `cosines` and `sines` as `rotate` takes them, NULL where nothing turns. The new keys
   and values go to `places` of the cache `[rows, slots, kv_heads, width]`, whose first `keys` slots are looked at;
   `seen` as `attend_slots` takes it. */
void decoder_layer(const struct layer *layer, const float *hidden, float *out, const float *cosines, const float *sines,
                   float *held_k, float *held_v, const int64_t *places, const float *seen, int64_t row_stride,
                   int64_t rows, int64_t keys, float scale) {
    int64_t dim = layer->qkv.in, width = layer->width, turning = layer->heads + layer->kv_heads;
    int64_t all = layer->qkv.outputs, inner = layer->down.in;
    int64_t room = dim + all + turning * width + layer->heads * width + 3 * inner + 64;
    float *normed = aligned_alloc(64, sizeof(float) * (size_t)rounded_up(rows * room));
    float *qkv = normed + rows * dim, *turned = qkv + rows * all, *mixed = turned + rows * turning * width;
    float *both = mixed + rows * layer->heads * width, *gated = both + rows * 2 * inner;
    rms_norm(hidden, layer->attention_norm, normed, rows, dim, layer->attention_eps);
    multiply(&layer->qkv, normed, qkv, rows);
    const float *q = qkv;
    int64_t stride = all;
    if (cosines) {
        rotate(qkv, cosines, sines, turned, all, rows, turning, width, layer->turned, layer->half);
        q = turned;
        stride = turning * width;
    }
    store(q + layer->heads * width, qkv + turning * width, held_k, held_v, places, stride, all, rows,
          layer->kv_heads * width);
    attend_slots(q, held_k, held_v, seen, mixed, stride, row_stride, rows, keys, layer->heads, layer->kv_heads, width,
                 scale);
    multiply(&layer->out, mixed, normed, rows);
    added(hidden, normed, out, rows * dim);
    rms_norm(out, layer->feed_forward_norm, normed, rows, dim, layer->feed_forward_eps);
    multiply(&layer->inner, normed, both, rows);
    gated_silu(both, gated, rows, inner);
    multiply(&layer->down, gated, normed, rows);
    added(out, normed, out, rows * dim);
    free(normed);
}
