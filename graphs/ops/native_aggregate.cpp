// Mean, spread and extremes of neighbours in one pass, and their gradient.

#include "native_rows.h"

namespace {

// Replaces what v exceeds (SIGN = 1) or undercuts (-1). A nan replaces any number and is replaced by none.
template <int SIGN, class V, class M> inline void take(V v, V& best, M& at, M slot) {
#ifdef __AVX512F__
  constexpr int WINS = SIGN > 0 ? _CMP_NLE_UQ : _CMP_NGE_UQ;
  if constexpr (sizeof(V) == 64 && sizeof(v[0]) == 4) {
    const __mmask16 number = _mm512_cmp_ps_mask((__m512)best, (__m512)best, _CMP_ORD_Q);
    const __mmask16 wins = _mm512_mask_cmp_ps_mask(number, (__m512)v, (__m512)best, WINS);
    best = (V)_mm512_mask_mov_ps((__m512)best, wins, (__m512)v);
    at = (M)_mm512_mask_mov_epi32((__m512i)at, wins, (__m512i)slot);
    return;
  }
  if constexpr (sizeof(V) == 64 && sizeof(v[0]) == 8) {
    const __mmask8 number = _mm512_cmp_pd_mask((__m512d)best, (__m512d)best, _CMP_ORD_Q);
    const __mmask8 wins = _mm512_mask_cmp_pd_mask(number, (__m512d)v, (__m512d)best, WINS);
    best = (V)_mm512_mask_mov_pd((__m512d)best, wins, (__m512d)v);
    at = (M)_mm512_mask_mov_epi64((__m512i)at, wins, (__m512i)slot);
    return;
  }
#endif
  const M keeps = (SIGN > 0 ? (M)(v <= best) : (M)(v >= best)) | (M)(best != best);
  best = keeps ? best : v;
  at = keeps ? at : slot;
}

struct Aggregate {
  const I *ptr, *col;
  const T* x;
  int64_t last, ld, F;
  T eps;
  T *mean, *top, *low, *std;
  I *at_top, *at_low;
  bool streaming;

  template <class M> void store_slots(I* to, M at, int64_t first) const {
    constexpr int L = sizeof(M) / sizeof(at[0]);
    if constexpr (sizeof(I) == sizeof(at[0])) return store(to, at + (I)first, streaming);
    for (int l = 0; l < L; ++l) to[l] = first + at[l];
  }

  template <int SUMS, bool MAX, bool MIN, int L, int K>
  OWN_REGISTERS void rows(int64_t begin, int64_t end, int64_t f) const {
    using V = Vec<L>;
    using M = Mask<L>;
    for (int64_t i = begin; i < end; ++i) {
      const int64_t first = ptr[i], stop = ptr[i + 1], n = stop - first, out = i * F + f;
      V sum[K]{}, shifted[K]{}, squares[K]{}, origin[K]{}, most[K]{}, least[K]{};
      M most_at[K]{}, least_at[K]{};
      if (n == 0) {
#pragma GCC unroll 4
        for (int k = 0; k < K; ++k) most_at[k] = least_at[k] = M{} - (Slot)(first + 1);
      } else if (SUMS > 1 || MAX || MIN) {
        const T* p = x + (int64_t)col[first] * ld + f;
#pragma GCC unroll 4
        for (int k = 0; k < K; ++k) origin[k] = most[k] = least[k] = load<L>(p + k * L);
      }
      for (int64_t e = SUMS ? first : first + 1; e < stop; ++e) {
        const T* p = x + (int64_t)col[e] * ld + f;
        prefetch<K * L * sizeof(T)>(x + (int64_t)col[std::min(e + AHEAD, last)] * ld + f);
        const M slot = M{} + (Slot)(e - first);
#pragma GCC unroll 4
        for (int k = 0; k < K; ++k) {
          const V v = load<L>(p + k * L);
          if constexpr (SUMS > 0) sum[k] += v;
          if constexpr (SUMS > 1) {
            const V d = v - origin[k];  // about the first neighbour, lest squares cancel
            shifted[k] += d;
            squares[k] += d * d;
          }
          if constexpr (MAX) take<1>(v, most[k], most_at[k], slot);
          if constexpr (MIN) take<-1>(v, least[k], least_at[k], slot);
        }
      }
      const V count = V{} + (T)std::max<int64_t>(n, 1);
#pragma GCC unroll 4
      for (int k = 0; k < K; ++k) {
        const int64_t o = out + k * L;
        if (SUMS > 0 && mean) store(mean + o, sum[k] / count, streaming);  // absent where only the spread is wanted
        if constexpr (SUMS > 1) {
          const V m = shifted[k] / count, least_variance = V{} + eps;
          V s = squares[k] / count - m * m;
          s = s < least_variance ? least_variance : s;  // a nan stays
          for (int l = 0; l < L; ++l) s[l] = n > 1 ? std::sqrt(s[l]) : 0;
          store(std + o, s, streaming);
        }
        if constexpr (MAX) store(top + o, most[k], streaming);
        if constexpr (MIN) store(low + o, least[k], streaming);
        if (MAX && at_top) store_slots(at_top + o, most_at[k], first);  // absent where no gradient is to come
        if (MIN && at_low) store_slots(at_low + o, least_at[k], first);
      }
    }
  }
};

template <int SUMS, bool MAX, bool MIN>
void aggregate_as(const Aggregate& a, int64_t n, int threads) {
  for_tiles(a.ptr, n, 1, a.F, threads, [&]<int L, int K>(Tile<L, K>, int64_t begin, int64_t end, int64_t f) {
    a.template rows<SUMS, MAX, MIN, L, K>(begin, end, f);
  });
}

void run(const Aggregate& a, int64_t n, int threads) {
  const int sums = a.std ? 2 : a.mean ? 1 : 0, extremes = (a.top ? 1 : 0) + (a.low ? 2 : 0);
  switch (4 * sums + extremes) {
    case 1: return aggregate_as<0, true, false>(a, n, threads);
    case 2: return aggregate_as<0, false, true>(a, n, threads);
    case 3: return aggregate_as<0, true, true>(a, n, threads);
    case 4: return aggregate_as<1, false, false>(a, n, threads);
    case 5: return aggregate_as<1, true, false>(a, n, threads);
    case 6: return aggregate_as<1, false, true>(a, n, threads);
    case 7: return aggregate_as<1, true, true>(a, n, threads);
    case 8: return aggregate_as<2, false, false>(a, n, threads);
    case 9: return aggregate_as<2, true, false>(a, n, threads);
    case 10: return aggregate_as<2, false, true>(a, n, threads);
    case 11: return aggregate_as<2, true, true>(a, n, threads);
  }
}

// The gradient of a maximum goes to one slot. So g is scattered, n F additions, where looking for winners along the
// edges would read E F numbers twice. A task owns a line of columns for a range of sources, whose sums it keeps in a
// compact buffer, and it goes through destinations in order.
template <int AHEAD_ROWS>
void scatter(const I* col, const I* arg, const T* g, int64_t n, int64_t F, int64_t f, int width, int64_t low,
             int64_t size, T* sums) {
  constexpr int W = LINE / sizeof(T), FAR = 24;
  auto place = [&](I slot) { return std::min<uint64_t>((uint64_t)((int64_t)col[slot] - low), size) * W; };
  for (int64_t i = 0; i < n; ++i) {
    const int64_t at = i * F + f, far = std::min(i + FAR, n - 1) * F + f, next = std::min(i + AHEAD_ROWS, n - 1) * F + f;
    __builtin_prefetch(arg + far);
    __builtin_prefetch(g + far);
    if (AHEAD_ROWS && arg[next] >= 0)
      for (int k = 0; k < width; ++k) __builtin_prefetch(sums + place(arg[next + k]) + k, 1);
    if (arg[at] < 0) continue;
    for (int k = 0; k < width; ++k) sums[place(arg[at + k]) + k] += g[at + k];
  }
}

void scatter_all(const I* col, const I* arg_max, const T* g_max, const I* arg_min, const T* g_min, int64_t n_dst,
                 int64_t n_src, int64_t F, T* gx, bool add, int threads) {
  constexpr int W = LINE / sizeof(T), ROWS = 2;
  const int64_t columns = (F + W - 1) / W;
  if (columns == 0) return;
  if (n_dst * F < WORTH_THREADS) threads = 1;
  const int64_t ranges = (threads + columns - 1) / columns, size = (n_src + ranges - 1) / ranges;
  const bool in_cache = size * LINE <= 1 << 20;
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    std::vector<T> buffer((size + 1) * W + W);  // one more row takes what belongs to other ranges
    T* sums = reinterpret_cast<T*>((reinterpret_cast<uintptr_t>(buffer.data()) + LINE - 1) / LINE * LINE);
#pragma omp for schedule(dynamic, 1)
    for (int64_t task = 0; task < columns * ranges; ++task) {
      const int64_t f = task / ranges * W, low = task % ranges * size, high = std::min(low + size, n_src);
      const int width = std::min<int64_t>(W, F - f);
      std::fill_n(sums, (size + 1) * W, T(0));
      for (auto [arg, g] : {std::pair(arg_max, g_max), std::pair(arg_min, g_min)}) {
        if (!g) continue;
        const auto run = in_cache ? scatter<0> : scatter<ROWS>;
        run(col, arg, g, n_dst, F, f, width, low, size, sums);
      }
      for (int64_t j = low; j < high; ++j)
        for (int k = 0; k < width; ++k) {
          const T sum = sums[(j - low) * W + k];
          gx[j * F + f + k] = add ? gx[j * F + f + k] + sum : sum;
        }
    }
  }
}

// What mean and std send along an edge from i to j: constant_i + slope_i (x_j - center), two numbers a column of i.
void slopes_of(const I* ptr, const T* g_mean, const T* g_std, const T* mean, const T* std, const T* center, int64_t n,
               int64_t F, T eps, T* out, int threads) {
  const T least = std::sqrt(eps);
  std::vector<T> origin(center, center + F);
  for (T& c : origin) c = c - c == 0 ? c : T(0);  // one infinite feature must not reach other nodes
  for_rows(ptr, n, 1, threads, [&](int64_t begin, int64_t end, int64_t) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t degree = ptr[i + 1] - ptr[i];
      const T share = degree ? T(1) / degree : T(0);
      for (int64_t f = 0; f < F; ++f) {
        const int64_t at = i * F + f;
        const bool varies = degree > 1 && std[at] > least;
        const T slope = varies ? g_std[at] * share / std[at] : T(0);
        out[2 * i * F + f] = (g_mean ? g_mean[at] * share : T(0)) - (varies ? slope * (mean[at] - origin[f]) : T(0));
        out[(2 * i + 1) * F + f] = slope;
      }
    }
  });
}

struct Spread {  // over transposed rows
  const I *ptr, *col;
  const T *pairs, *x, *center;
  int64_t last, ld, F;
  T* gx;

  template <int L, int K>
  OWN_REGISTERS void rows(int64_t begin, int64_t end, int64_t f) const {
    for (int64_t j = begin; j < end; ++j) {
      Vec<L> constant[K]{}, slope[K]{};
      for (int64_t e = ptr[j]; e < ptr[j + 1]; ++e) {
        const T* p = pairs + (int64_t)col[e] * 2 * F + f;
        const T* next = pairs + (int64_t)col[std::min(e + AHEAD, last)] * 2 * F + f;
        prefetch<K * L * sizeof(T)>(next);
        prefetch<K * L * sizeof(T)>(next + F);
#pragma GCC unroll 4
        for (int k = 0; k < K; ++k) constant[k] += load<L>(p + k * L), slope[k] += load<L>(p + F + k * L);
      }
#pragma GCC unroll 4
      for (int k = 0; k < K; ++k) {
        auto shifted = load<L>(center + f + k * L);
        shifted = load<L>(x + j * ld + f + k * L) - (shifted - shifted == 0 ? shifted : Vec<L>{});
        store(gx + j * F + f + k * L, constant[k] + shifted * slope[k]);
      }
    }
  }
};

}  // namespace

extern "C" {

void aggregate(const I* ptr, const I* col, const T* x, int64_t n, int64_t E, int64_t ld, int64_t F, double eps, T* mean,
               T* top, T* low, T* std, I* at_top, I* at_low, int threads) {
  bool streaming = true;
  for (const void* p : {(void*)mean, (void*)top, (void*)low, (void*)std, (void*)at_top, (void*)at_low})
    streaming = streaming && (!p || streams(p, F * sizeof(T), n));
  run({ptr, col, x, E - 1, ld, F, (T)eps, mean, top, low, std, at_top, at_low, streaming}, n, threads);
}

void winners(const I* col, const I* arg_max, const T* g_max, const I* arg_min, const T* g_min, int64_t n_dst,
             int64_t n_src, int64_t F, T* gx, int add, int threads) {
  scatter_all(col, arg_max, g_max, arg_min, g_min, n_dst, n_src, F, gx, add != 0, threads);
}

void slopes(const I* ptr, const T* g_mean, const T* g_std, const T* mean, const T* std, const T* center, int64_t n,
            int64_t F, double eps, T* out, int threads) {
  slopes_of(ptr, g_mean, g_std, mean, std, center, n, F, (T)eps, out, threads);
}

void spread(const I* ptr, const I* col, const T* pairs, const T* x, const T* center, int64_t n, int64_t E, int64_t ld,
            int64_t F, T* gx, int threads) {
  const Spread s{ptr, col, pairs, x, center, E - 1, ld, F, gx};
  for_tiles(ptr, n, 1, F, threads, [&]<int L, int K>(Tile<L, K>, int64_t begin, int64_t end, int64_t f) {
    s.rows<L, K>(begin, end, f);
  });
}

}  // extern "C"
