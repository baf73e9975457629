/* Products of tokens with a weight whose outputs lie in panels of LANES, so that a register holds what LANES outputs
   have for the same input.

   Each output is one sum from the first input to the last, whatever the number of tokens is, so a token's result is the
   same to the bit alone and among others. `hidden` is `[tokens, in]`, `out` `[tokens, outputs]`, and what stands for an
   output (`shift`, scales) is filled up to whole panels. */

#include "layer.h"

#define ROWS 8 /* tokens that share what is loaded of a weight */

/* CALL(8), CALL(4), CALL(2) or CALL(1) for the tokens from `token` on, which then moves on; the number is a constant. */
#define SOME_ROWS(CALL)                                                                                                \
    if (tokens - token >= 8) { CALL(8); token += 8; }                                                                  \
    else if (tokens - token >= 4) { CALL(4); token += 4; }                                                             \
    else if (tokens - token >= 2) { CALL(2); token += 2; }                                                             \
    else { CALL(1); token += 1; }

/* LANES numbers of float16 as float32. */
INLINE vector widened(const uint16_t *from) {
#ifdef __AVX512F__
    return (vector)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)from));
#else
    whole_vector bits;
    for (int j = 0; j < LANES; j++) bits[j] = from[j];
    whole_vector rest = (bits & 0x7fff) << 13;
    vector scaled = (vector)rest * 5.19229686e33f; /* 2^112, the distance between the exponents' zeros */
    vector numbers = chosen(rest >= 0xf800000, (vector)(rest | 0x7f800000), scaled);
    return (vector)((whole_vector)numbers | (bits & 0x8000) << 16);
#endif
}

/* A panel `[in, LANES]` of either float type: half says which. */
INLINE void float_rows(const float *hidden, const void *panel, int half, const float *shift, float *out, int64_t in,
                       int64_t outputs, int64_t count, int64_t activated, int64_t rows) {
    vector sums[ROWS];
    for (int64_t t = 0; t < rows; t++) sums[t] = loaded(shift);
    for (int64_t i = 0; i < in; i++) {
        vector line = half ? widened((const uint16_t *)panel + i * LANES) : loaded((const float *)panel + i * LANES);
        for (int64_t t = 0; t < rows; t++) sums[t] += hidden[t * in + i] * line;
    }
    for (int64_t t = 0; t < rows; t++) stored(out + t * outputs, activated ? gelu(sums[t]) : sums[t], count);
}

INLINE void float_linear(const float *hidden, const void *panels, int half, const float *shift, float *out,
                         int64_t tokens, int64_t in, int64_t outputs, int64_t activated) {
#pragma omp parallel for schedule(static)
    for (int64_t first = 0; first < outputs; first += LANES) {
        const void *panel = (const char *)panels + first * in * (half ? 2 : 4);
        for (int64_t token = 0; token < tokens;) {
#define CALL(N)                                                                                                        \
    float_rows(hidden + token * in, panel, half, shift + first, out + token * outputs + first, in, outputs,            \
               outputs - first, activated, N)
            SOME_ROWS(CALL)
#undef CALL
        }
    }
}

/* float32 weights, `panels` `[panels, in, LANES]`. With `activated`, GELU of the result. */
void float32_linear(const float *hidden, const float *panels, const float *shift, float *out, int64_t tokens,
                    int64_t in, int64_t outputs, int64_t activated) {
    float_linear(hidden, panels, 0, shift, out, tokens, in, outputs, activated);
}

/* float16 weights, widened on their way: products and sums are float32. */
void float16_linear(const float *hidden, const uint16_t *panels, const float *shift, float *out, int64_t tokens,
                    int64_t in, int64_t outputs, int64_t activated) {
    float_linear(hidden, panels, 1, shift, out, tokens, in, outputs, activated);
}

/* Whether products of codes are compiled for this processor. */
int64_t multiplies_codes(void) {
#ifdef CODES
    return 1;
}

/* Codes -127 to 127 of `count` numbers and their sum; a number is scale * code + middle. Numbers that are not finite
   make the scale NaN, and so everything computed with it. */
INLINE void coded(const float *numbers, int64_t count, int symmetric, int8_t *codes, float *scale, float *middle,
                  int32_t *sum) {
    float high = numbers[0], low = numbers[0], nothing = 0.0f;
#pragma omp simd reduction(max : high) reduction(min : low) reduction(+ : nothing)
    for (int64_t i = 0; i < count; i++) {
        high = numbers[i] > high ? numbers[i] : high;
        low = numbers[i] < low ? numbers[i] : low;
        nothing += numbers[i] - numbers[i];
    }
    float center = symmetric ? 0.0f : low + 0.5f * (high - low);
    float step = (high - center > center - low ? high - center : center - low) / 127.0f;
    step = step < 1.17549435e-38f ? 1.17549435e-38f : step;
    int32_t added = 0;
#pragma omp simd reduction(+ : added)
    for (int64_t i = 0; i < count; i++) {
        float code = rintf((numbers[i] - center) / step);
        code = code > 127.0f ? 127.0f : code < -127.0f ? -127.0f : code;
        int32_t whole = (int32_t)code;
        codes[i] = (int8_t)whole;
        added += whole;
    }
    *scale = step + nothing;
    *middle = center;
    *sum = added;
}

/* Four signed codes of a token, beside themselves for every output. */
INLINE __m512i repeated(const int8_t *codes) {
    int32_t four;
    memcpy(&four, codes, 4);
    return _mm512_set1_epi32(four);
}

INLINE void int8_rows(const int8_t *codes, const uint8_t *panel, __m512i *sums, int64_t in, int64_t rows) {
    for (int64_t t = 0; t < rows; t++) sums[t] = _mm512_setzero_si512();
    for (int64_t i = 0; i < in; i += 4) {
        __m512i line = _mm512_loadu_si512(panel + i * LANES);
        for (int64_t t = 0; t < rows; t++) sums[t] = _mm512_dpbusd_epi32(sums[t], line, repeated(codes + t * in + i));
    }
}

/* int8 weights, tokens coded one by one. `panels` `[panels, in / 4, LANES, 4]` are the weights' codes plus 128; a weight
   is code * weight_scale, and `code_sums` are the sums of an output's weights. With `activated`, GELU of the result. */
void int8_linear(const float *hidden, const uint8_t *panels, const float *weight_scales, const float *code_sums,
                 const float *shift, float *out, int64_t tokens, int64_t in, int64_t outputs, int64_t activated) {
    int8_t *codes = malloc((size_t)(tokens * (in + 12)));
    float *scales = (float *)(codes + tokens * in), *middles = scales + tokens;
    int32_t *counts = (int32_t *)(middles + tokens);
#pragma omp parallel
    {
#pragma omp for schedule(static)
        for (int64_t token = 0; token < tokens; token++)
            coded(hidden + token * in, in, 0, codes + token * in, scales + token, middles + token, counts + token);
#pragma omp for schedule(static)
        for (int64_t first = 0; first < outputs; first += LANES) {
            vector weight_scale = loaded(weight_scales + first), code_sum = loaded(code_sums + first);
            vector added = loaded(shift + first);
            for (int64_t token = 0, before; token < tokens;) {
                __m512i sums[ROWS];
                before = token;
#define CALL(N) int8_rows(codes + token * in, panels + first * in, sums, in, N)
                SOME_ROWS(CALL)
#undef CALL
                for (int64_t t = before; t < token; t++) {
                    __m512i exact = _mm512_sub_epi32(sums[t - before], _mm512_set1_epi32(128 * counts[t]));
                    vector result = (vector)_mm512_cvtepi32_ps(exact) * weight_scale * scales[t];
                    result += middles[t] * code_sum + added;
                    stored(out + t * outputs + first, activated ? gelu(result) : result, outputs - first);
                }
            }
        }
    }
    free(codes);
}

/* One group of inputs: codes, then scale (code_w * code) + base sum(code), times each token's own scale. */
INLINE void int4_rows(const int8_t *codes, const float *scales, const float *counts, const uint8_t *panel,
                      const uint32_t *pairs, vector *sums, int64_t in, int64_t group, int64_t rows) {
    __m512i low = _mm512_set1_epi8(15);
    int64_t groups = in / group;
    for (int64_t g = 0; g < groups; g++) {
        __m512i whole[ROWS];
        for (int64_t t = 0; t < rows; t++) whole[t] = _mm512_setzero_si512();
        for (int64_t i = g * group; i < (g + 1) * group; i += 8) {
            __m512i both = _mm512_loadu_si512(panel + i * LANES / 2);
            __m512i first = _mm512_and_si512(both, low), second = _mm512_and_si512(_mm512_srli_epi16(both, 4), low);
            for (int64_t t = 0; t < rows; t++) {
                whole[t] = _mm512_dpbusd_epi32(whole[t], first, repeated(codes + t * in + i));
                whole[t] = _mm512_dpbusd_epi32(whole[t], second, repeated(codes + t * in + i + 4));
            }
        }
        __m512i pair = _mm512_loadu_si512(pairs + g * LANES);
        vector scale = (vector)_mm512_and_si512(pair, _mm512_set1_epi32((int32_t)0xffff0000));
        vector base = (vector)_mm512_slli_epi32(pair, 16) - 8.0f * scale;
        for (int64_t t = 0; t < rows; t++) {
            vector product = (vector)_mm512_cvtepi32_ps(whole[t]) * scale + counts[t * groups + g] * base;
            sums[t] += product * scales[t * groups + g];
        }
    }
}

/* 4-bit weights, tokens coded in the same groups of inputs. `panels` `[panels, in / 8, LANES, 4]`: inputs 0 to 3 of eight
   in the low halves of the bytes, 4 to 7 in the high ones. A weight is (code - 8) * scale + offset, `pairs`
   `[panels, in / group, LANES]` bfloat16 scales in the upper and offsets in the lower half. */
void int4_linear(const float *hidden, const uint8_t *panels, const uint32_t *pairs, const float *shift, float *out,
                 int64_t tokens, int64_t in, int64_t outputs, int64_t group) {
    int64_t groups = in / group;
    float *scales = malloc((size_t)(tokens * (in + 8 * groups))), *counts = scales + tokens * groups;
    int8_t *codes = (int8_t *)(counts + tokens * groups);
#pragma omp parallel
    {
#pragma omp for schedule(static)
        for (int64_t n = 0; n < tokens * groups; n++) {
            float middle;
            int32_t sum;
            coded(hidden + n * group, group, 1, codes + n * group, scales + n, &middle, &sum);
            counts[n] = (float)sum;
        }
#pragma omp for schedule(static)
        for (int64_t first = 0; first < outputs; first += LANES) {
            for (int64_t token = 0, before; token < tokens;) {
                vector sums[ROWS];
                for (int64_t t = 0; t < ROWS; t++) sums[t] = loaded(shift + first);
                before = token;
#define CALL(N)                                                                                                        \
    int4_rows(codes + token * in, scales + token * groups, counts + token * groups, panels + first * in / 2,           \
              pairs + first * groups, sums, in, group, N)
                SOME_ROWS(CALL)
#undef CALL
                for (int64_t t = before; t < token; t++)
                    stored(out + t * outputs + first, sums[t - before], outputs - first);
            }
        }
    }
    free(scales);
}
#else
    return 0;
}
#endif
