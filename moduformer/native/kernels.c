/* What PyTorch's CPU has no single operation for: steps between matrix products, fused so that memory is read once.

   Plain C that a compiler makes vectors of. Every loop over tokens or rows is shared between threads, and each token's
   result is summed in an order that depends on nothing but its own row. Numbers are float32 unless they say otherwise;
   `stride`s count numbers between one token and the next. */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define LANES 16   /* numbers of float32 in the widest vector register; compilers split it where registers are narrower */
#define TOGETHER 4 /* queries that share what is loaded */

typedef float vector __attribute__((vector_size(4 * LANES), aligned(64)));
typedef int32_t whole_vector __attribute__((vector_size(4 * LANES), aligned(64)));

static inline vector chosen(whole_vector where, vector yes, vector no) {
    return (vector)((where & (whole_vector)yes) | (~where & (whole_vector)no));
}

static inline int64_t rounded_up(int64_t count) { return (count + LANES - 1) / LANES * LANES; }

/* e^x for x <= 0 to one part in ten million: a power of two times a polynomial of what is left. */
static inline vector exponential(vector x) {
    x = chosen(x < -87.0f, (vector){0} - 87.0f, x);
    vector nearest = x * 1.44269504f + 12582912.0f; /* 1.5 * 2^23 leaves no room for a fraction */
    whole_vector power = (whole_vector)nearest - 0x4b400000;
    nearest -= 12582912.0f;
    vector part = x - nearest * 0.693359375f + nearest * 2.12194440e-4f;
    vector sum = part * 1.9875691500e-4f + 1.3981999507e-3f;
    sum = sum * part + 8.3334519073e-3f;
    sum = sum * part + 4.1665795894e-2f;
    sum = sum * part + 1.6666665459e-1f;
    sum = sum * part + 5.0000001201e-1f;
    sum = sum * part * part + part + 1.0f;
    return sum * (vector)((power + 127) << 23);
}

/* `[keys, width]` to `[width, room]`, zeros after the last key, four by four where that fits. */
static inline void turn(const float *from, int64_t stride, float *to, int64_t room, int64_t keys, int64_t width) {
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
                        vector highest = *(vector *)line, total = {0};
                        for (int64_t block = LANES; block < filled; block += LANES) {
                            vector some = *(vector *)(line + block);
                            highest = chosen(some > highest, some, highest);
                        }
                        float top = highest[0], sum = 0.0f;
                        for (int j = 1; j < LANES; j++) top = highest[j] > top ? highest[j] : top;
                        for (int64_t block = 0; block < filled; block += LANES) {
                            vector some = exponential(*(vector *)(line + block) - top);
                            *(vector *)(line + block) = some;
                            total += some;
                        }
                        for (int j = 0; j < LANES; j++) sum += total[j];
                        shares[n] = 1.0f / sum;
                    }
                    for (int64_t part = 0; part < wide; part += LANES) {
                        vector mixed[TOGETHER] = {0};
                        for (int64_t key = 0; key < most; key++) {
                            vector line = *(const vector *)(values + key * wide + part);
                            for (int n = 0; n < TOGETHER; n++) mixed[n] += scores[n * room + key] * line;
                        }
                        int64_t left = width - part < LANES ? width - part : LANES;
                        for (int64_t n = 0; n < count; n++) {
                            vector result = mixed[n] * shares[n];
                            memcpy(out + ((query_starts[row] + first + n) * heads + head) * width + part, &result,
                                   sizeof(float) * (size_t)left);
                        }
                    }
                }
            }
        }
        free(turned);
    }
}

/* int8 codes of tokens `[tokens, width]`: a token is scale * code + middle. Numbers that are not finite make the scale
   NaN, and so everything computed with it. */
void token_codes(const float *hidden, int8_t *codes, float *scales, float *middles, int64_t tokens, int64_t width) {
#pragma omp parallel for schedule(static)
    for (int64_t token = 0; token < tokens; token++) {
        const float *line = hidden + token * width;
        float high = line[0], low = line[0], nothing = 0.0f;
#pragma omp simd reduction(max : high) reduction(min : low) reduction(+ : nothing)
        for (int64_t i = 0; i < width; i++) {
            high = line[i] > high ? line[i] : high;
            low = line[i] < low ? line[i] : low;
            nothing += line[i] - line[i];
        }
        float middle = low + 0.5f * (high - low);
        float scale = (high - middle > middle - low ? high - middle : middle - low) / 127.0f;
        scale = scale < 1.17549435e-38f ? 1.17549435e-38f : scale;
        
        int8_t *result = codes + token * width;
#pragma omp simd
        for (int64_t i = 0; i < width; i++) {
            float code = rintf((line[i] - middle) / scale);
            code = code > 127.0f ? 127.0f : code < -127.0f ? -127.0f : code;
            result[i] = (int8_t)(int32_t)code;
        }
        scales[token] = scale + nothing;
        middles[token] = middle;
    }
}

/* x/2 (1 + erf(x / sqrt 2)) (Hendrycks & Gimpel 2016), erf as a quotient of polynomials, to four parts in ten million. */
static inline float gelu(float x) {
    float z = x * 0.707106781f, square;
    z = z > 4.0f ? 4.0f : z < -4.0f ? -4.0f : z;
    square = z * z;
    float above = -2.72614225801306e-10f;
    above = above * square + 2.77068142495902e-08f;
    above = above * square - 2.10102402082508e-06f;
    above = above * square - 5.69250639462346e-05f;
    above = above * square - 7.34990630326855e-04f;
    above = above * square - 2.95459980854025e-03f;
    above = above * square - 1.60960333262415e-02f;
    float below = -1.45660718464996e-05f;
    below = below * square - 2.13374055278905e-04f;
    below = below * square - 1.68282697438203e-03f;
    below = below * square - 7.37332916720468e-03f;
    below = below * square - 1.42647390514189e-02f;
    return 0.5f * x + 0.5f * x * (z * above / below);
}

/* Sums of products of codes `[tokens, width]` turned into numbers in their own place:
   token_scale * sum * scale + middle * code_sum + shift, and GELU of that where it is asked for. */
void scale_product(int32_t *sums, const float *token_scales, const float *middles, const float *scales,
                   const float *code_sums, const float *shift, int64_t tokens, int64_t width, int64_t activated) {
#pragma omp parallel for schedule(static)
    for (int64_t token = 0; token < tokens; token++) {
        float *line = (float *)sums + token * width, token_scale = token_scales[token], middle = middles[token];
        const int32_t *counted = sums + token * width;
#pragma omp simd
        for (int64_t i = 0; i < width; i++)
            line[i] = (float)counted[i] * scales[i] * token_scale + (middle * code_sums[i] + shift[i]);
        if (!activated) continue;
#pragma omp simd
        for (int64_t i = 0; i < width; i++) line[i] = gelu(line[i]);
    }
}
