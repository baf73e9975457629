/* Whole layers in one call. */

#include "layer.h"

/* The product, or with `activated` GELU of it. */
static void multiply(const struct linear *by, const float *hidden, float *out, int64_t tokens, int64_t activated) {
    switch (by->kind) {
    case FLOAT32: float32_linear(hidden, by->panels, by->shift, out, tokens, by->in, by->outputs, activated); break;
    case FLOAT16: float16_linear(hidden, by->panels, by->shift, out, tokens, by->in, by->outputs, activated); break;
#ifdef CODES
    case INT8:
        int8_linear(hidden, by->panels, by->scales, by->sums, by->shift, out, tokens, by->in, by->outputs, activated);
        break;
    case INT4:
        int4_linear(hidden, by->panels, by->scales, by->shift, out, tokens, by->in, by->outputs, by->group);
        if (activated) gelu_all(out, tokens * by->outputs);
        break;
#endif
    }
}

static void added(const float *to, const float *change, float *out, int64_t count) {
    for (int64_t i = 0; i < count; i++) out[i] = to[i] + change[i];
}

/* A decoder's layer for one new token a row: root-mean-square norms before attention to a cache and before a gated
   feed-forward layer, each added to what came in.

   `hidden` and `out` `[rows, dim]`; `cosines` and `sines` as `rotate` takes them, NULL where nothing turns. The new keys
   and values go to `places` of the cache `[rows, slots, kv_heads, width]`, whose first `keys` slots are looked at;
   `seen` as `attend_slots` takes it. */
void decoder_layer(const struct decoder_layer *layer, const float *hidden, float *out, const float *cosines, const float *sines,
                   float *held_k, float *held_v, const int64_t *places, const float *seen, int64_t row_stride,
                   int64_t rows, int64_t keys, float scale) {
    int64_t dim = layer->qkv.in, width = layer->width, turning = layer->heads + layer->kv_heads;
    int64_t all = layer->qkv.outputs, inner = layer->down.in;
    int64_t room = dim + all + turning * width + layer->heads * width + 3 * inner + 64;
    float *normed = aligned_alloc(64, sizeof(float) * (size_t)rounded_up(rows * room));
    float *qkv = normed + rows * dim, *turned = qkv + rows * all, *mixed = turned + rows * turning * width;
    float *both = mixed + rows * layer->heads * width, *gated = both + rows * 2 * inner;
    rms_norm(hidden, layer->attention_norm, normed, rows, dim, layer->attention_eps);
    multiply(&layer->qkv, normed, qkv, rows, 0);
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
    multiply(&layer->out, mixed, normed, rows, 0);
    added(hidden, normed, out, rows * dim);
    rms_norm(out, layer->feed_forward_norm, normed, rows, dim, layer->feed_forward_eps);
    multiply(&layer->inner, normed, both, rows, 0);
    gated_silu(both, gated, rows, inner);
    multiply(&layer->down, gated, normed, rows, 0);
    added(out, normed, out, rows * dim);
    free(normed);
}

/* An encoder's layer: attention of each row to itself and a feed-forward layer with GELU, layer norm after each and what
   came in. `hidden` and `out` `[tokens, dim]`, rows as `attend_rows` takes them. */
void encoder_layer(const struct encoder_layer *layer, const float *hidden, float *out, const int64_t *starts,
                   const int64_t *lengths, int64_t rows, int64_t tokens, float scale) {
    int64_t dim = layer->qkv.in, all = layer->qkv.outputs, inner = layer->down.in, width = layer->width;
    int64_t mixing = layer->heads * width, room = dim + mixing + (all > inner ? all : inner);
    float *change = aligned_alloc(64, sizeof(float) * (size_t)rounded_up(tokens * room));
    float *mixed = change + tokens * dim, *wide = mixed + tokens * mixing;
    const float *k = wide + mixing, *v = k + layer->kv_heads * width;
    multiply(&layer->qkv, hidden, wide, tokens, 0);
    attend_rows(wide, k, v, mixed, all, all, all, starts, lengths, starts, lengths, rows, layer->heads, layer->kv_heads,
                width, scale, 0);
    multiply(&layer->out, mixed, change, tokens, 0);
    add_norm(hidden, change, layer->attention_norm, layer->attention_shift, out, tokens, dim, layer->attention_eps);
    multiply(&layer->inner, out, wide, tokens, 1);
    multiply(&layer->down, wide, change, tokens, 0);
    add_norm(out, change, layer->feed_forward_norm, layer->feed_forward_shift, out, tokens, dim,
             layer->feed_forward_eps);
    free(change);
}
