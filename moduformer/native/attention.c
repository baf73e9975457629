/* Exact attention over float32 tokens (Vaswani et al. 2017, eq. 1). */

#include "layer.h"

#define TOGETHER 4 /* queries that share what is loaded */

/* `[keys, width]` to `[width, room]`, zeros after the last key, four by four where that fits. */
INLINE void turn(const float *from, int64_t stride, float *to, int64_t room, int64_t keys, int64_t width) {
    typedef float quad __attribute__((vector_size(16)));
    typedef int32_t order __attribute__((vector_size(16)));
    int64_t fours = keys / 4 * 4, key = 0, i;
    for (; key < fours; key += 4) {
        for (i = 0; i + 4 <= width; i += 4) {
            quad a, b, c, d;
            memcpy(&a, from + key * stride + i, 16);
            memcpy(&b, from + (key + 1) * stride + i, 16);
            memcpy(&c, from + (key + 2) * stride + i, 16);
            memcpy(&d, from + (key + 3) * stride + i, 16);
            quad ab = __builtin_shuffle(a, b, (order){0, 4, 1, 5}), ab2 = __builtin_shuffle(a, b, (order){2, 6, 3, 7});
            quad cd = __builtin_shuffle(c, d, (order){0, 4, 1, 5}), cd2 = __builtin_shuffle(c, d, (order){2, 6, 3, 7});
            a = __builtin_shuffle(ab, cd, (order){0, 1, 4, 5});
            b = __builtin_shuffle(ab, cd, (order){2, 3, 6, 7});
            c = __builtin_shuffle(ab2, cd2, (order){0, 1, 4, 5});
            d = __builtin_shuffle(ab2, cd2, (order){2, 3, 6, 7});
            memcpy(to + i * room + key, &a, 16);
            memcpy(to + (i + 1) * room + key, &b, 16);
            memcpy(to + (i + 2) * room + key, &c, 16);
            memcpy(to + (i + 3) * room + key, &d, 16);
        }
        for (; i < width; i++)
            for (int j = 0; j < 4; j++) to[i * room + key + j] = from[(key + j) * stride + i];
    }
    for (i = 0; i < width; i++)
        for (key = fours; key < room; key++) to[i * room + key] = key < keys ? from[key * stride + i] : 0.0f;
}

/* One query's attention to `keys` keys that lie `k_stride` apart. `room` holds the scores, `rounded_up(keys)` numbers, and
   after them the query, `rounded_up(width)`; `added` `[keys]` is added to the scores, or NULL. */
static void attend_one(const float *q, const float *k, const float *v, const float *added, float *out, float *room,
                       int64_t k_stride, int64_t v_stride, int64_t keys, int64_t width, float scale) {
    int64_t filled = rounded_up(keys), wide = rounded_up(width);
    float *scores = room, *query = room + filled, highest = -INFINITY;
    for (int64_t i = 0; i < wide; i++) query[i] = i < width ? q[i] * scale : 0.0f;
    for (int64_t key = 0; key < keys; key++) {
        const float *line = k + key * k_stride;
        vector products = {0};
        int64_t i = 0;
        for (; i + LANES <= width; i += LANES) products += loaded(query + i) * loaded(line + i);
        float sum = total(products);
        for (; i < width; i++) sum += query[i] * line[i];
        if (added) sum += added[key];
        scores[key] = sum;
        highest = sum > highest ? sum : highest;
    }
    for (int64_t key = keys; key < filled; key++) scores[key] = -INFINITY;
    vector sums = {0};
    for (int64_t block = 0; block < filled; block += LANES) {
        vector some = exponential(loaded(scores + block) - highest);
        for (int64_t j = keys - block; j < LANES; j++) some[j] = 0.0f;
        stored(scores + block, some, LANES);
        sums += some;
    }
    float share = 1.0f / total(sums);
    for (int64_t part = 0; part < width; part += LANES) {
        vector mixed = {0};
        int64_t count = width - part < LANES ? width - part : LANES;
        for (int64_t key = 0; key < keys; key++) {
            const float *line = v + key * v_stride + part;
            vector values = {0};
            if (count == LANES) values = loaded(line);
            else memcpy(&values, line, sizeof(float) * (size_t)count);
            mixed += scores[key] * values;
        }
        stored(out + part, mixed * share, count);
    }
}

/* `[tokens, width]` of tokens that lie `stride` apart to `[tokens, rounded_up(width)]`; what is beyond stays. */
INLINE void copied(const float *from, int64_t stride, float *to, int64_t tokens, int64_t width) {
    int64_t wide = rounded_up(width);
    for (int64_t token = 0; token < tokens; token++)
        memcpy(to + token * wide, from + token * stride, sizeof(float) * (size_t)width);
}

/* Where TOGETHER tokens begin from `first` on; the last of them again where there are no more. */
INLINE void together(const float *from, int64_t stride, int64_t first, int64_t tokens, const float **ones) {
    for (int64_t n = 0; n < TOGETHER; n++) ones[n] = from + (first + n < tokens ? first + n : tokens - 1) * stride;
}

/* The products of TOGETHER tokens with those turned to `[width, room]`, times `scale`: `[TOGETHER, room]`, the first
   `filled` of each. */
INLINE void products_of(const float *const *ones, const float *turned, float *out, int64_t room, int64_t filled,
                        int64_t width, float scale) {
    for (int64_t block = 0; block < filled; block += LANES) {
        vector sums[TOGETHER] = {0};
        for (int64_t i = 0; i < width; i++) {
            vector line = *(const vector *)(turned + i * room + block);
            for (int n = 0; n < TOGETHER; n++) sums[n] += ones[n][i] * line;
        }
        for (int n = 0; n < TOGETHER; n++) *(vector *)(out + n * room + block) = sums[n] * scale;
    }
}

/* Makes e^(score - highest) of `filled` scores, of which those from `seen` on count as minus infinity; their sum. */
INLINE float exponentials(float *scores, int64_t seen, int64_t filled) {
    for (int64_t key = seen; key < filled; key++) scores[key] = -INFINITY;
    vector highest = *(vector *)scores, sums = {0};
    for (int64_t block = LANES; block < filled; block += LANES) {
        vector some = *(vector *)(scores + block);
        highest = chosen(some > highest, some, highest);
    }
    float top = highest[0];
    for (int j = 1; j < LANES; j++) top = highest[j] > top ? highest[j] : top;
    for (int64_t block = 0; block < filled; block += LANES) {
        vector some = exponential(*(vector *)(scores + block) - top);
        *(vector *)(scores + block) = some;
        sums += some;
    }
    return total(sums);
}

/* Numbers `part` to `part + LANES` of TOGETHER sums of lines `[count, wide]`: line i counts `factors[n * one + i * next]`
   in sum n. */
INLINE void mix(const float *factors, int64_t one, int64_t next, const float *lines, int64_t wide, int64_t part,
                int64_t count, vector *sums) {
    for (int n = 0; n < TOGETHER; n++) sums[n] = (vector){0};
    for (int64_t i = 0; i < count; i++) {
        vector line = *(const vector *)(lines + i * wide + part);
        for (int n = 0; n < TOGETHER; n++) sums[n] += factors[n * one + i * next] * line;
    }
}

/* How many keys a query sees: with `causal`, query i of a row that has d more keys than queries its first i + d + 1. */
INLINE int64_t visible(int64_t query, int64_t queries, int64_t keys, int64_t causal) {
    return causal && query < queries ? query + keys - queries + 1 : keys;
}

static int64_t largest(const int64_t *numbers, int64_t count) {
    int64_t most = 0;
    for (int64_t i = 0; i < count; i++) most = numbers[i] > most ? numbers[i] : most;
    return most;
}

/* Exact attention (Vaswani et al. 2017, eq. 1) of rows that lie one after another in a flat run of tokens.

   q `[queries, heads, width]`, k and v `[keys, kv_heads, width]`, out `[queries, heads, width]` without gaps. Row r has
   `query_lengths[r]` queries from `query_starts[r]` on, and keys likewise; see `visible` for `causal`. */
void attend_rows(const float *q, const float *k, const float *v, float *out, int64_t q_stride, int64_t k_stride,
                 int64_t v_stride, const int64_t *query_starts, const int64_t *query_lengths, const int64_t *key_starts,
                 const int64_t *key_lengths, int64_t rows, int64_t heads, int64_t kv_heads, int64_t width, float scale,
                 int64_t causal) {
    int64_t longest = rounded_up(largest(key_lengths, rows)), wide = rounded_up(width);
#pragma omp parallel
    {
        float *turned = aligned_alloc(64, sizeof(float) * (size_t)(longest * (width + wide + TOGETHER)));
        float *values = turned + longest * width, *scores = values + longest * wide;
#pragma omp for schedule(dynamic, 4) collapse(2)
        for (int64_t row = 0; row < rows; row++) {
            for (int64_t head = 0; head < heads; head++) {
                int64_t queries = query_lengths[row], keys = key_lengths[row], kv_head = head / (heads / kv_heads);
                int64_t room = rounded_up(keys);
                const float *row_q = q + query_starts[row] * q_stride + head * width;
                const float *row_k = k + key_starts[row] * k_stride + kv_head * width;
                const float *row_v = v + key_starts[row] * v_stride + kv_head * width;
                if (queries == 1) {
                    float *to = out + (query_starts[row] * heads + head) * width;
                    attend_one(row_q, row_k, row_v, NULL, to, turned, k_stride, v_stride, keys, width, scale);
                    continue;
                }
                turn(row_k, k_stride, turned, room, keys, width);
                copied(row_v, v_stride, values, keys, width);
                for (int64_t first = 0; first < queries; first += TOGETHER) {
                    int64_t count = queries - first < TOGETHER ? queries - first : TOGETHER;
                    int64_t most = visible(first + count - 1, queries, keys, causal), filled = rounded_up(most);
                    const float *ones[TOGETHER];
                    together(row_q, q_stride, first, queries, ones);
                    products_of(ones, turned, scores, room, filled, width, scale);
                    float shares[TOGETHER];
                    for (int64_t n = 0; n < TOGETHER; n++) {
                        int64_t seen = n < count ? visible(first + n, queries, keys, causal) : most;
                        shares[n] = 1.0f / exponentials(scores + n * room, seen, filled);
                    }
                    for (int64_t part = 0; part < wide; part += LANES) {
                        vector mixed[TOGETHER];
                        mix(scores, room, 1, values, wide, part, most, mixed);
                        for (int64_t n = 0; n < count; n++) {
                            float *to = out + ((query_starts[row] + first + n) * heads + head) * width;
                            stored(to + part, mixed[n] * shares[n], width - part);
                        }
                    }
                }
            }
        }
        free(turned);
    }
}

/* The gradients of `attend_rows`: `dout` `[queries, heads, width]` without gaps is that of its result, and dq, dk and dv
   have the shapes of q, k and v, without gaps. With S the scores and P their softmax,

       dV = P' dO,  dP = dO V',  dS = P (dP - the sum of P dP of each query),  dQ = dS K scale,  dK = dS' Q scale. */
void attend_rows_backward(const float *q, const float *k, const float *v, const float *dout, float *dq, float *dk,
                          float *dv, int64_t q_stride, int64_t k_stride, int64_t v_stride, const int64_t *query_starts,
                          const int64_t *query_lengths, const int64_t *key_starts, const int64_t *key_lengths,
                          int64_t rows, int64_t heads, int64_t kv_heads, int64_t width, float scale, int64_t causal) {
    int64_t wide = rounded_up(width), shared = heads / kv_heads, d_stride = heads * width;
    int64_t longest = rounded_up(largest(key_lengths, rows)), asked = rounded_up(largest(query_lengths, rows));
#pragma omp parallel
    {
        int64_t sizes = longest * (2 * width + 3 * wide) + asked * (2 * wide + 2 * longest);
        float *turned_k = aligned_alloc(64, sizeof(float) * (size_t)sizes), *turned_v = turned_k + longest * width;
        float *all_k = turned_v + longest * width, *sum_k = all_k + longest * wide, *sum_v = sum_k + longest * wide;
        float *all_q = sum_v + longest * wide, *all_d = all_q + asked * wide;
        float *p = all_d + asked * wide, *ds = p + asked * longest;
#pragma omp for schedule(dynamic, 2) collapse(2)
        for (int64_t row = 0; row < rows; row++) {
            for (int64_t kv_head = 0; kv_head < kv_heads; kv_head++) {
                int64_t queries = query_lengths[row], keys = key_lengths[row], room = rounded_up(keys);
                int64_t key_offset = (key_starts[row] * kv_heads + kv_head) * width, key_stride = kv_heads * width;
                const float *row_k = k + key_starts[row] * k_stride + kv_head * width;
                const float *row_v = v + key_starts[row] * v_stride + kv_head * width;
                turn(row_k, k_stride, turned_k, room, keys, width);
                turn(row_v, v_stride, turned_v, room, keys, width);
                copied(row_k, k_stride, all_k, keys, width);
                memset(sum_k, 0, sizeof(float) * (size_t)(keys * wide));
                memset(sum_v, 0, sizeof(float) * (size_t)(keys * wide));
                for (int64_t head = kv_head * shared; head < (kv_head + 1) * shared; head++) {
                    int64_t offset = query_starts[row] * d_stride + head * width;
                    const float *row_q = q + query_starts[row] * q_stride + head * width, *row_d = dout + offset;
                    copied(row_q, q_stride, all_q, queries, width);
                    copied(row_d, d_stride, all_d, queries, width);
                    for (int64_t first = 0; first < queries; first += TOGETHER) {
                        int64_t count = queries - first < TOGETHER ? queries - first : TOGETHER;
                        int64_t most = visible(first + count - 1, queries, keys, causal), filled = rounded_up(most);
                        float *lines = p + first * room, *changes = ds + first * room;
                        const float *ones[TOGETHER];
                        together(row_q, q_stride, first, queries, ones);
                        products_of(ones, turned_k, lines, room, filled, width, scale);
                        together(row_d, d_stride, first, queries, ones);
                        products_of(ones, turned_v, changes, room, filled, width, 1.0f);
                        for (int64_t n = 0; n < TOGETHER; n++) {
                            float *line = lines + n * room, *change = changes + n * room;
                            int64_t seen = n < count ? visible(first + n, queries, keys, causal) : most;
                            float share = 1.0f / exponentials(line, seen, filled);
                            vector sums = {0};
                            for (int64_t block = 0; block < filled; block += LANES) {
                                *(vector *)(line + block) *= share;
                                sums += *(vector *)(line + block) * *(vector *)(change + block);
                            }
                            float mean = total(sums);
                            for (int64_t block = 0; block < filled; block += LANES) {
                                vector some = *(vector *)(change + block) - mean;
                                *(vector *)(change + block) = some * *(vector *)(line + block) * scale;
                            }
                            memset(line + filled, 0, sizeof(float) * (size_t)(room - filled));
                            memset(change + filled, 0, sizeof(float) * (size_t)(room - filled));
                        }
                        for (int64_t part = 0; part < wide; part += LANES) {
                            vector mixed[TOGETHER];
                            mix(changes, room, 1, all_k, wide, part, most, mixed);
                            for (int64_t n = 0; n < count; n++)
                                stored(dq + offset + (first + n) * d_stride + part, mixed[n], width - part);
                        }
                    }
                    for (int64_t key = 0; key < keys; key += TOGETHER) {
                        /* The first query that sees the first of these keys. */
                        int64_t from = causal && key > keys - queries ? key - keys + queries : 0;
                        for (int64_t part = 0; part < wide; part += LANES) {
                            vector values[TOGETHER], scores[TOGETHER];
                            int64_t count = queries - from, begin = from * room + key;
                            mix(p + begin, 1, room, all_d + from * wide, wide, part, count, values);
                            mix(ds + begin, 1, room, all_q + from * wide, wide, part, count, scores);
                            for (int64_t n = 0; n < TOGETHER && key + n < keys; n++) {
                                *(vector *)(sum_v + (key + n) * wide + part) += values[n];
                                *(vector *)(sum_k + (key + n) * wide + part) += scores[n];
                            }
                        }
                    }
                }
                for (int64_t key = 0; key < keys; key++) {
                    memcpy(dk + key_offset + key * key_stride, sum_k + key * wide, sizeof(float) * (size_t)width);
                    memcpy(dv + key_offset + key * key_stride, sum_v + key * wide, sizeof(float) * (size_t)width);
                }
            }
        }
        free(turned_k);
    }
}

/* Attention of one new token a row to the keys of a cache.

   q and out `[rows, heads, width]`, k and v `[rows, slots, kv_heads, width]` of which the first `keys` slots are looked
   at; `added` `[rows, keys]` is added to the scores, or NULL. */
void attend_slots(const float *q, const float *k, const float *v, const float *added, float *out, int64_t q_stride,
                  int64_t row_stride, int64_t rows, int64_t keys, int64_t heads, int64_t kv_heads, int64_t width,
                  float scale) {
    int64_t slot = kv_heads * width;
#pragma omp parallel
    {
        float *room = aligned_alloc(64, sizeof(float) * (size_t)(rounded_up(keys) + rounded_up(width)));
#pragma omp for schedule(static) collapse(2)
        for (int64_t row = 0; row < rows; row++) {
            for (int64_t head = 0; head < heads; head++) {
                int64_t offset = row * row_stride + head / (heads / kv_heads) * width;
                attend_one(q + row * q_stride + head * width, k + offset, v + offset, added ? added + row * keys : NULL,
                           out + (row * heads + head) * width, room, slot, slot, keys, width, scale);
            }
        }
        free(room);
    }
}
