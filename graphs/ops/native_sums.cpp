// Weighted sums of neighbours: a weight for each edge, head or column, or one for each type of edge.

#include "native_rows.h"

namespace {

enum Weight { NONE, PER_SOURCE, PER_HEAD, PER_COLUMN };  // PER_SOURCE: one for each row of x

struct Sum {
  const I *ptr, *col, *slot, *type;  // slot: where the weight of an entry stands; type: which row of a table it is
  const T *x, *weight;
  int64_t last, ld, H, D;
  T* y;
  bool mean, streaming;

  template <Weight W, int L, int K>
  OWN_REGISTERS void rows(int64_t begin, int64_t end, int64_t f) const {
    const int64_t F = H * D;
    int64_t head[K];
    for (int k = 0; k < K; ++k) head[k] = (f + k * L) / D;
    for (int64_t i = begin; i < end; ++i) {
      const int64_t first = ptr[i], stop = ptr[i + 1];
      Vec<L> sum[K]{};
      for (int64_t e = first; e < stop; ++e) {
        const int64_t j = col[e], ahead = std::min(e + AHEAD, last);
        const T* p = x + j * ld + f;
        prefetch<K * L * sizeof(T)>(x + (int64_t)col[ahead] * ld + f);
        int64_t w = W == PER_SOURCE ? j : e;
        if constexpr (W == PER_HEAD || W == PER_COLUMN) {
          if (slot) w = slot[e];
          if (slot && W == PER_HEAD) __builtin_prefetch(weight + (int64_t)slot[ahead] * H);
          if (slot && W == PER_COLUMN && !type) prefetch<K * L * sizeof(T)>(weight + (int64_t)slot[ahead] * F + f);
          if (W == PER_COLUMN && type) w = type[w];
        }
#pragma GCC unroll 4
        for (int k = 0; k < K; ++k) {
          Vec<L> v = load<L>(p + k * L);
          if constexpr (W == PER_SOURCE) v *= weight[w];
          if constexpr (W == PER_HEAD) v *= weight[w * H + head[k]];
          if constexpr (W == PER_COLUMN) v *= load<L>(weight + w * F + f + k * L);
          sum[k] += v;
        }
      }
      const T count = mean ? (T)std::max<int64_t>(stop - first, 1) : T(1);
#pragma GCC unroll 4
      for (int k = 0; k < K; ++k) store(y + i * F + f + k * L, sum[k] / count, streaming);
    }
  }
};

template <Weight W> void sum_as(const Sum& s, int64_t n, int threads) {
  const bool heads = W == PER_HEAD;
  for_tiles(s.ptr, n, heads ? s.H : 1, heads ? s.D : s.H * s.D, threads,
               [&]<int L, int K>(Tile<L, K>, int64_t begin, int64_t end, int64_t f) {
                 s.template rows<W, L, K>(begin, end, f);
               });
}

// Sums over the edges of each type: a task owns a line of columns and goes through all edges in order.
void typed_outer(const I* row, const I* col, const I* type, const T* a, const T* b, int64_t E, int64_t R, int64_t F,
                 T* out, int threads) {
  constexpr int W = LINE / sizeof(T);
  if (E * F < WORTH_THREADS) threads = 1;
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads) if (threads > 1)
  for (int64_t f = 0; f < F; f += W) {
    const int width = std::min<int64_t>(W, F - f);
    std::vector<T> sums(R * W);
    for (int64_t e = 0; e < E; ++e) {
      const T *p = a + (int64_t)row[e] * F + f, *q = b + (int64_t)col[e] * F + f;
      T* sum = sums.data() + (int64_t)type[e] * W;
      __builtin_prefetch(b + (int64_t)col[std::min(e + 2 * AHEAD, E - 1)] * F + f);
      if (width == W)
        for (int k = 0; k < W; ++k) sum[k] += p[k] * q[k];
      else
        for (int k = 0; k < width; ++k) sum[k] += p[k] * q[k];
    }
    for (int64_t r = 0; r < R; ++r) std::copy_n(sums.data() + r * W, width, out + r * F + f);
  }
}

}  // namespace

extern "C" {

void sum(const I* ptr, const I* col, const I* slot, const I* type, const T* x, const T* weight, int64_t n,
         int64_t E, int64_t ld, int64_t H, int64_t D, int kind, int mean, T* y, int threads) {
  const Sum s{ptr, col, slot, type, x, weight, E - 1, ld, H, D, y, mean != 0, streams(y, H * D * sizeof(T), n)};
  if (kind == NONE) sum_as<NONE>(s, n, threads);
  if (kind == PER_SOURCE) sum_as<PER_SOURCE>(s, n, threads);
  if (kind == PER_HEAD) sum_as<PER_HEAD>(s, n, threads);
  if (kind == PER_COLUMN) sum_as<PER_COLUMN>(s, n, threads);
}

void typed(const I* row, const I* col, const I* type, const T* a, const T* b, int64_t E, int64_t R, int64_t F, T* out,
           int threads) {
  typed_outer(row, col, type, a, b, E, R, F, out, threads);
}

}  // extern "C"
