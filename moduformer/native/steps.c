/* What stands between the products of a layer. */

#include "layer.h"

/* Root-mean-square norm (Zhang & Sennrich 2019, eq. 4) of tokens `[tokens, width]`. */
void rms_norm(const float *hidden, const float *weight, float *out, int64_t tokens, int64_t width, float eps) {
#pragma omp parallel for schedule(static) if (tokens > 8)
    for (int64_t token = 0; token < tokens; token++) {
        const float *line = hidden + token * width;
        float *to = out + token * width;
        vector squares = {0};
        int64_t i = 0;
        for (; i + LANES <= width; i += LANES) squares += loaded(line + i) * loaded(line + i);
        float sum = total(squares);
        for (; i < width; i++) sum += line[i] * line[i];
        float factor = 1.0f / sqrtf(sum / (float)width + eps);
        for (i = 0; i < width; i++) to[i] = line[i] * factor * weight[i];
    }
}

/* Layer norm (Ba et al. 2016, eq. 3) of tokens `[tokens, width]` and what is added to them. */
void add_norm(const float *hidden, const float *change, const float *weight, const float *shift, float *out,
              int64_t tokens, int64_t width, float eps) {
#pragma omp parallel for schedule(static) if (tokens > 8)
    for (int64_t token = 0; token < tokens; token++) {
        const float *one = hidden + token * width, *other = change + token * width;
        float *to = out + token * width;
        vector sums = {0}, squares = {0};
        int64_t i = 0, whole = width / LANES * LANES;
        for (; i < whole; i += LANES) {
            vector some = loaded(one + i) + loaded(other + i);
            stored(to + i, some, LANES);
            sums += some;
        }
        float sum = total(sums);
        for (; i < width; i++) sum += to[i] = one[i] + other[i];
        float mean = sum / (float)width;
        for (i = 0; i < whole; i += LANES) {
            vector some = loaded(to + i) - mean;
            squares += some * some;
        }
        float square = total(squares);
        for (; i < width; i++) square += (to[i] - mean) * (to[i] - mean);
        float factor = 1.0f / sqrtf(square / (float)width + eps);
        for (i = 0; i < width; i++) to[i] = (to[i] - mean) * factor * weight[i] + shift[i];
    }
}

/* GELU of every number, in its place. */
void gelu_all(float *numbers, int64_t count) {
#pragma omp parallel for schedule(static) if (count > 65536)
    for (int64_t i = 0; i < count; i += LANES) {
        vector some = {0};
        int64_t left = count - i < LANES ? count - i : LANES;
        memcpy(&some, numbers + i, sizeof(float) * (size_t)left);
        stored(numbers + i, gelu(some), left);
    }
}

/* silu(gate) * value (Shazeer 2020, eq. 5) of tokens `[tokens, 2 width]` that hold the gate first. */
void gated_silu(const float *inner, float *out, int64_t tokens, int64_t width) {
#pragma omp parallel for schedule(static) if (tokens > 8)
    for (int64_t token = 0; token < tokens; token++) {
        const float *gate = inner + token * 2 * width, *value = gate + width;
        float *to = out + token * width;
        for (int64_t i = 0; i < width; i += LANES) {
            vector gates = {0}, values = {0};
            int64_t count = width - i < LANES ? width - i : LANES;
            memcpy(&gates, gate + i, sizeof(float) * (size_t)count);
            memcpy(&values, value + i, sizeof(float) * (size_t)count);
            stored(to + i, silu(gates) * values, count);
        }
    }
}

/* Rotary turns (Su et al. 2021, eq. 34) of the first `dim` numbers of heads `[tokens, heads, width]`: x cos + partner sin,
   where `sines` hold the sign. A number's partner is `half` away in the other half, or with `half` 1 its neighbour. */
void rotate(const float *heads, const float *cosines, const float *sines, float *out, int64_t stride, int64_t tokens,
            int64_t count, int64_t width, int64_t dim, int64_t half) {
#pragma omp parallel for schedule(static) if (tokens > 8)
    for (int64_t token = 0; token < tokens; token++) {
        const float *cosine = cosines + token * dim, *sine = sines + token * dim;
        for (int64_t head = 0; head < count; head++) {
            const float *from = heads + token * stride + head * width;
            float *to = out + (token * count + head) * width;
            for (int64_t pair = 0; pair < dim; pair += 2 * half)
                for (int64_t i = pair; i < pair + half; i++) {
                    to[i] = from[i] * cosine[i] + from[i + half] * sine[i];
                    to[i + half] = from[i + half] * cosine[i + half] + from[i] * sine[i + half];
                }
            for (int64_t i = dim; i < width; i++) to[i] = from[i];
        }
    }
}

/* Copies new keys and values, `size` numbers a token, to their places among those that are held. */
void store(const float *k, const float *v, float *held_k, float *held_v, const int64_t *places, int64_t k_stride,
           int64_t v_stride, int64_t tokens, int64_t size) {
    for (int64_t token = 0; token < tokens; token++) {
        memcpy(held_k + places[token] * size, k + token * k_stride, sizeof(float) * (size_t)size);
        memcpy(held_v + places[token] * size, v + token * v_stride, sizeof(float) * (size_t)size);
    }
}
