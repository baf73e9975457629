/* Vectors that a compiler splits where registers are narrower, and what is computed with them.

   Numbers are float32 unless they say otherwise; `stride`s count numbers between one token and the next. Loops over
   tokens, rows or outputs are shared between threads, and no result depends on how many there are of either. */

#ifdef __AVX512F__
#include <immintrin.h>
#endif
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define LANES 16 /* numbers of float32 in the widest register */
#define INLINE static inline __attribute__((always_inline, unused))

typedef float vector __attribute__((vector_size(4 * LANES), aligned(64)));
typedef int32_t whole_vector __attribute__((vector_size(4 * LANES), aligned(64)));

INLINE int64_t rounded_up(int64_t count) { return (count + LANES - 1) / LANES * LANES; }

INLINE vector loaded(const float *from) {
    vector numbers;
    memcpy(&numbers, from, sizeof numbers);
    return numbers;
}

/* Writes the first `count` numbers, or all where there are more to come. */
INLINE void stored(float *to, vector numbers, int64_t count) {
    if (count >= LANES) memcpy(to, &numbers, sizeof numbers);
    else memcpy(to, &numbers, sizeof(float) * (size_t)count);
}

INLINE vector chosen(whole_vector where, vector yes, vector no) {
    return (vector)((where & (whole_vector)yes) | (~where & (whole_vector)no));
}

INLINE float total(vector numbers) {
    numbers += __builtin_shuffle(numbers, (whole_vector){8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7});
    numbers += __builtin_shuffle(numbers, (whole_vector){4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11});
    numbers += __builtin_shuffle(numbers, (whole_vector){2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13});
    return numbers[0] + numbers[1];
}

/* e^x to one part in ten million, for x up to 88; as if x were -87 below that: a power of two times a polynomial. */
INLINE vector exponential(vector x) {
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

/* x/2 (1 + erf(x / sqrt 2)) (Hendrycks & Gimpel 2016), erf as a quotient of polynomials, to four parts in ten million. */
INLINE vector gelu(vector x) {
    vector z = x * 0.707106781f, bound = (vector){0} + 4.0f;
    z = chosen(z > bound, bound, chosen(z < -bound, -bound, z));
    vector square = z * z;
    vector above = square * -2.72614225801306e-10f + 2.77068142495902e-08f;
    above = above * square - 2.10102402082508e-06f;
    above = above * square - 5.69250639462346e-05f;
    above = above * square - 7.34990630326855e-04f;
    above = above * square - 2.95459980854025e-03f;
    above = above * square - 1.60960333262415e-02f;
    vector below = square * -1.45660718464996e-05f - 2.13374055278905e-04f;
    below = below * square - 1.68282697438203e-03f;
    below = below * square - 7.37332916720468e-03f;
    below = below * square - 1.42647390514189e-02f;
    return 0.5f * x + 0.5f * x * (z * above / below);
}

/* x / (1 + e^-x) (Elfwing et al. 2018). */
INLINE vector silu(vector x) {
    vector bound = (vector){0} + 87.0f;
    return x / (1.0f + exponential(chosen(x < -bound, bound, -x)));
}
