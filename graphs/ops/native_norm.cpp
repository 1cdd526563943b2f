// Batch norm over the rows of a matrix, and the ReLU after it, whose mask is computed again for the gradient.

#include <utility>

#include "native_rows.h"

namespace {

constexpr int64_t NEXT = 16;   // rows between the prefetch of one and its use
constexpr int64_t BLOCK = 64;  // rows whose tile stays in the first cache between two looks at it

// Calls body(tile, first row, rows, first column). The second pass goes backwards: what the first has read last it finds
// in cache.
template <class Body> void for_blocks(int64_t n, int64_t F, int threads, bool backwards, Body body) {
  const int64_t blocks = (n + BLOCK - 1) / BLOCK;
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
  for (int64_t b = 0; b < blocks; ++b) {
    const int64_t begin = (backwards ? blocks - 1 - b : b) * BLOCK;
    tiles(F, [&](auto tile, int64_t f) { body(tile, begin, std::min(BLOCK, n - begin), f); });
  }
}

struct Columns {
  const T *mean, *scale, *shift;  // y = (x - mean) scale + shift
  Columns from(int64_t f) const { return {mean + f, scale + f, shift + f}; }
};

// A tile of columns in registers, where a store to the result cannot make the compiler read them again.
template <int L, int K> struct Held {
  Vec<L> mean[K], scale[K], shift[K];
  explicit Held(const Columns& c) {
    for (int k = 0; k < K; ++k)
      mean[k] = load<L>(c.mean + k * L), scale[k] = load<L>(c.scale + k * L), shift[k] = load<L>(c.shift + k * L);
  }
};

// The mean of each column of a block, and the sum of squares about it.
template <int L, int K> OWN_REGISTERS void moments(const T* x, int64_t rows, int64_t F, T* mean, T* squares) {
  Vec<L> center[K]{}, sum[K]{};
  for (int64_t r = 0; r < rows; ++r)
#pragma GCC unroll 4
    for (int k = 0; k < K; ++k) {
      __builtin_prefetch(x + (r + NEXT) * F + k * L);
      center[k] += load<L>(x + r * F + k * L);
    }
  for (int k = 0; k < K; ++k) center[k] /= (T)rows;
  for (int64_t r = 0; r < rows; ++r)
#pragma GCC unroll 4
    for (int k = 0; k < K; ++k) {
      const Vec<L> v = load<L>(x + r * F + k * L) - center[k];
      sum[k] += v * v;
    }
  for (int k = 0; k < K; ++k) store(mean + k * L, center[k]), store(squares + k * L, sum[k]);
}

template <bool RELU, int L, int K>
OWN_REGISTERS void normalise(const T* x, int64_t rows, int64_t F, const Columns& columns, T* y) {
  const Held<L, K> c(columns);
  for (int64_t r = 0; r < rows; ++r)
#pragma GCC unroll 4
    for (int k = 0; k < K; ++k) {
      const Vec<L> v = (load<L>(x + r * F + k * L) - c.mean[k]) * c.scale[k] + c.shift[k];
      store(y + r * F + k * L, RELU && v < 0 ? Vec<L>{} : v);  // nan stays
    }
}

// The centred input, and the gradient where the ReLU lets it pass.
template <bool RELU, int L, int K>
inline std::pair<Vec<L>, Vec<L>> passed(const T* g, const T* x, int64_t F, const Held<L, K>& c, int k) {
  const Vec<L> v = load<L>(x) - c.mean[k], p = load<L>(g);
  __builtin_prefetch(x + NEXT * F);
  __builtin_prefetch(g + NEXT * F);
  if constexpr (!RELU) return {v, p};
  return {v, v * c.scale[k] + c.shift[k] <= 0 ? Vec<L>{} : p};
}

// Sums over a block of the gradient that passes, and of its products with the centred input.
template <bool RELU, int L, int K>
OWN_REGISTERS void products(const T* g, const T* x, int64_t rows, int64_t F, const Columns& columns, T* sums, T* with) {
  const Held<L, K> c(columns);
  Vec<L> sum[K]{}, product[K]{};
  for (int64_t r = 0; r < rows; ++r)
#pragma GCC unroll 4
    for (int k = 0; k < K; ++k) {
      const auto [v, p] = passed<RELU, L, K>(g + r * F + k * L, x + r * F + k * L, F, c, k);
      sum[k] += p, product[k] += p * v;
    }
  for (int k = 0; k < K; ++k) store(sums + k * L, sum[k]), store(with + k * L, product[k]);
}

// gx = g scale - (x - mean) slope - level
template <bool RELU, int L, int K>
OWN_REGISTERS void spread(const T* g, const T* x, int64_t rows, int64_t F, const Columns& columns, const T* slopes,
                          const T* levels, T* gx) {
  const Held<L, K> c(columns);
  Vec<L> slope[K], level[K];
  for (int k = 0; k < K; ++k) slope[k] = load<L>(slopes + k * L), level[k] = load<L>(levels + k * L);
  for (int64_t r = 0; r < rows; ++r)
#pragma GCC unroll 4
    for (int k = 0; k < K; ++k) {
      const auto [v, p] = passed<RELU, L, K>(g + r * F + k * L, x + r * F + k * L, F, c, k);
      store(gx + r * F + k * L, p * c.scale[k] - v * slope[k] - level[k]);
    }
}

template <bool RELU>
void forward(const T* x, int64_t n, int64_t F, const T* weight, const T* shift, double epsilon, double momentum,
             T* running_mean, T* running_variance, T* mean, T* inverse, T* y, int threads) {
  const int64_t blocks = (n + BLOCK - 1) / BLOCK;
  std::vector<T> means(blocks * F), squares(blocks * F), scale(F);
  for_blocks(n, F, threads, false, [&]<int L, int K>(Tile<L, K>, int64_t begin, int64_t rows, int64_t f) {
    const int64_t part = begin / BLOCK * F + f;
    moments<L, K>(x + begin * F + f, rows, F, means.data() + part, squares.data() + part);
  });
  std::vector<double> center(F), about(F);
  auto rows_of = [=](int64_t b) { return (double)std::min(BLOCK, n - b * BLOCK); };
  for (int64_t b = 0; b < blocks; ++b)
    for (int64_t f = 0; f < F; ++f) center[f] += rows_of(b) / n * means[b * F + f];
  for (int64_t b = 0; b < blocks; ++b)
    for (int64_t f = 0; f < F; ++f) {
      const double away = means[b * F + f] - center[f];
      about[f] += squares[b * F + f] + rows_of(b) * away * away;
    }
  for (int64_t f = 0; f < F; ++f) {
    mean[f] = center[f], inverse[f] = 1 / std::sqrt(about[f] / n + epsilon), scale[f] = inverse[f] * weight[f];
    running_mean[f] += momentum * (center[f] - running_mean[f]);
    running_variance[f] += momentum * (about[f] / (n - 1) - running_variance[f]);
  }
  const Columns columns{mean, scale.data(), shift};
  for_blocks(n, F, threads, true, [&]<int L, int K>(Tile<L, K>, int64_t begin, int64_t rows, int64_t f) {
    normalise<RELU, L, K>(x + begin * F + f, rows, F, columns.from(f), y + begin * F + f);
  });
}

template <bool RELU>
void backward(const T* g, const T* x, int64_t n, int64_t F, const T* mean, const T* inverse, const T* weight,
              const T* shift, T* gx, T* gweight, T* gshift, int threads) {
  const int64_t blocks = (n + BLOCK - 1) / BLOCK;
  std::vector<T> sums(blocks * F), with(blocks * F), scale(F), slope(F), level(F);
  for (int64_t f = 0; f < F; ++f) scale[f] = weight[f] * inverse[f];
  const Columns columns{mean, scale.data(), shift};
  for_blocks(n, F, threads, false, [&]<int L, int K>(Tile<L, K>, int64_t begin, int64_t rows, int64_t f) {
    const int64_t first = begin * F + f, part = begin / BLOCK * F + f;
    products<RELU, L, K>(g + first, x + first, rows, F, columns.from(f), sums.data() + part, with.data() + part);
  });
  std::vector<double> sum(F), product(F);
  for (int64_t b = 0; b < blocks; ++b)
    for (int64_t f = 0; f < F; ++f) sum[f] += sums[b * F + f], product[f] += with[b * F + f];
  for (int64_t f = 0; f < F; ++f) {
    gshift[f] = sum[f], gweight[f] = product[f] * inverse[f];
    slope[f] = product[f] * inverse[f] * inverse[f] / n * scale[f], level[f] = sum[f] / n * scale[f];
  }
  for_blocks(n, F, threads, true, [&]<int L, int K>(Tile<L, K>, int64_t begin, int64_t rows, int64_t f) {
    const int64_t first = begin * F + f;
    spread<RELU, L, K>(g + first, x + first, rows, F, columns.from(f), slope.data() + f, level.data() + f, gx + first);
  });
}

}  // namespace

extern "C" {

// y = (x - mean) inverse weight + shift, rectified or not; the running moments are moved towards those of the batch.
void norm(const T* x, int64_t n, int64_t F, const T* weight, const T* shift, double epsilon, double momentum,
          T* running_mean, T* running_variance, T* mean, T* inverse, T* y, int relu, int threads) {
  (relu ? forward<true> : forward<false>)(x, n, F, weight, shift, epsilon, momentum, running_mean, running_variance,
                                          mean, inverse, y, threads);
}

void norm_backward(const T* g, const T* x, int64_t n, int64_t F, const T* mean, const T* inverse, const T* weight,
                   const T* shift, T* gx, T* gweight, T* gshift, int relu, int threads) {
  (relu ? backward<true> : backward<false>)(g, x, n, F, mean, inverse, weight, shift, gx, gweight, gshift, threads);
}

}  // extern "C"
