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

/* Exact attention (Vaswani et al. 2017, eq. 1) of rows that lie one after another in a flat run of tokens.

   q `[queries, heads, width]`, k and v `[keys, kv_heads, width]`, out `[queries, heads, width]` without gaps. Row r has
   `query_lengths[r]` queries from `query_starts[r]` on, and keys likewise. With `causal`, query i of a row that has d
   more keys than queries sees its first i + d + 1 keys. */
void attend_rows(const float *q, const float *k, const float *v, float *out, int64_t q_stride, int64_t k_stride,
                 int64_t v_stride, const int64_t *query_starts, const int64_t *query_lengths, const int64_t *key_starts,
                 const int64_t *key_lengths, int64_t rows, int64_t heads, int64_t kv_heads, int64_t width, float scale,
                 int64_t causal) {
    int64_t longest = 0, wide = rounded_up(width);
    for (int64_t row = 0; row < rows; row++) longest = key_lengths[row] > longest ? key_lengths[row] : longest;
    longest = rounded_up(longest);
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
                for (int64_t key = 0; key < keys; key++)
                    memcpy(values + key * wide, row_v + key * v_stride, sizeof(float) * (size_t)width);
                for (int64_t first = 0; first < queries; first += TOGETHER) {
                    int64_t count = queries - first < TOGETHER ? queries - first : TOGETHER;
                    int64_t most = causal ? first + count + keys - queries : keys, filled = rounded_up(most);
                    const float *ones[TOGETHER];
                    for (int64_t n = 0; n < TOGETHER; n++)
                        ones[n] = row_q + (first + (n < count ? n : count - 1)) * q_stride;
                    for (int64_t block = 0; block < filled; block += LANES) {
                        vector sums[TOGETHER] = {0};
                        for (int64_t i = 0; i < width; i++) {
                            vector line = *(const vector *)(turned + i * room + block);
                            for (int n = 0; n < TOGETHER; n++) sums[n] += ones[n][i] * line;
                        }
                        for (int n = 0; n < TOGETHER; n++) *(vector *)(scores + n * room + block) = sums[n] * scale;
                    }
                    float shares[TOGETHER];
                    for (int64_t n = 0; n < TOGETHER; n++) {
                        float *line = scores + n * room;
                        int64_t seen = causal && n < count ? first + n + keys - queries + 1 : most;
                        for (int64_t key = seen; key < filled; key++) line[key] = -INFINITY;
                        vector highest = *(vector *)line, sums = {0};
                        for (int64_t block = LANES; block < filled; block += LANES) {
                            vector some = *(vector *)(line + block);
                            highest = chosen(some > highest, some, highest);
                        }
                        float top = highest[0];
                        for (int j = 1; j < LANES; j++) top = highest[j] > top ? highest[j] : top;
                        for (int64_t block = 0; block < filled; block += LANES) {
                            vector some = exponential(*(vector *)(line + block) - top);
                            *(vector *)(line + block) = some;
                            sums += some;
                        }
                        shares[n] = 1.0f / total(sums);
                    }
                    for (int64_t part = 0; part < wide; part += LANES) {
                        vector mixed[TOGETHER] = {0};
                        for (int64_t key = 0; key < most; key++) {
                            vector line = *(const vector *)(values + key * wide + part);
                            for (int n = 0; n < TOGETHER; n++) mixed[n] += scores[n * room + key] * line;
                        }
                        int64_t left = width - part < LANES ? width - part : LANES;
                        for (int64_t n = 0; n < count; n++) {
                            float *to = out + ((query_starts[row] + first + n) * heads + head) * width;
                            stored(to + part, mixed[n] * shares[n], left);
                        }
                    }
                }
            }
        }
        free(turned);
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
