// What a graph isomorphism layer sums: a node's own vector and its neighbours', each rectified with its edge's vector.

#include "native_rows.h"

namespace {

constexpr int64_t TABLE = 256;  // kinds of edge that the table of `distinct` has room for, at most half full

// Covers F columns with tiles none of which overlap, for a kernel that adds to what it writes.
template <int L, class Run> inline void narrow_tiles(int64_t f, int64_t F, Run run) {
  for (; f + L <= F; f += L) run(Tile<L, 1>{}, f);
  if constexpr (L > 1) narrow_tiles<L / 2>(f, F, run);
}
template <class Run> inline void apart_tiles(int64_t F, Run run) {
  int64_t f = 0;
  for (; f + 4 * LANES <= F; f += 4 * LANES) run(Tile<LANES, 4>{}, f);
  if (f + 2 * LANES <= F) run(Tile<LANES, 2>{}, f), f += 2 * LANES;
  narrow_tiles<LANES>(f, F, run);
}

struct Gin {
  const I *ptr, *col, *slot, *type;  // slot: the place of an entry's edge; type: which row of u belongs to an edge
  const T *x, *u, *epsilon;          // u: vectors of edges, absent for none; epsilon: absent for no vector of its own
  int64_t last, F;

  int64_t row_of_u(int64_t e) const {
    const int64_t s = slot ? (int64_t)slot[e] : e;
    return type ? (int64_t)type[s] : s;
  }

  template <bool EDGES, int L, int K> OWN_REGISTERS void sums(int64_t begin, int64_t end, int64_t f, T* y) const {
    const T own = epsilon ? 1 + *epsilon : T(0);
    for (int64_t i = begin; i < end; ++i) {
      Vec<L> sum[K]{};
      for (int64_t e = ptr[i]; e < ptr[i + 1]; ++e) {
        const T *p = x + (int64_t)col[e] * F + f, *q = EDGES ? u + row_of_u(e) * F + f : nullptr;
        prefetch<K * L * sizeof(T)>(x + (int64_t)col[std::min(e + AHEAD, last)] * F + f);
#pragma GCC unroll 4
        for (int k = 0; k < K; ++k) {
          Vec<L> v = load<L>(p + k * L);
          if constexpr (EDGES) v += load<L>(q + k * L), v = v < 0 ? Vec<L>{} : v;  // nan stays
          sum[k] += v;
        }
      }
#pragma GCC unroll 4
      for (int k = 0; k < K; ++k) {
        if (epsilon) sum[k] += load<L>(x + i * F + f + k * L) * own;
        store(y + i * F + f + k * L, sum[k]);
      }
    }
  }

  // Over sources: gx, and in sums of a chunk of rows the gradients to epsilon, by column, and to u, by type.
  template <bool EDGES, int L, int K>
  OWN_REGISTERS void gradients(const T* g, int64_t begin, int64_t end, int64_t f, T* gx, T* gu, T* gown) const {
    const T own = epsilon ? 1 + *epsilon : T(0);
    Vec<L> products[K]{};
    for (int64_t j = begin; j < end; ++j) {
      Vec<L> sum[K]{}, self[K];
      for (int k = 0; k < K; ++k) self[k] = load<L>(x + j * F + f + k * L);
      for (int64_t e = ptr[j]; e < ptr[j + 1]; ++e) {
        const T* p = g + (int64_t)col[e] * F + f;
        prefetch<K * L * sizeof(T)>(g + (int64_t)col[std::min(e + AHEAD, last)] * F + f);
        const int64_t at = EDGES ? row_of_u(e) * F + f : 0;
#pragma GCC unroll 4
        for (int k = 0; k < K; ++k) {
          Vec<L> v = load<L>(p + k * L);
          if constexpr (EDGES) {
            v = self[k] + load<L>(u + at + k * L) <= 0 ? Vec<L>{} : v;
            store(gu + at + k * L, type ? load<L>(gu + at + k * L) + v : v);
          }
          sum[k] += v;
        }
      }
#pragma GCC unroll 4
      for (int k = 0; k < K; ++k) {
        if (epsilon) {
          const Vec<L> v = load<L>(g + j * F + f + k * L);
          sum[k] += v * own, products[k] += v * self[k];
        }
        store(gx + j * F + f + k * L, sum[k]);
      }
    }
    if (gown)
      for (int k = 0; k < K; ++k) store(gown + f + k * L, load<L>(gown + f + k * L) + products[k]);
  }
};

template <bool EDGES> void sum_all(const Gin& gin, int64_t n, T* y, int threads) {
  for_rows(gin.ptr, n, gin.F, threads, [&](int64_t begin, int64_t end, int64_t) {
    for (int64_t i = begin; i < end; i += TOGETHER)
      apart_tiles(gin.F, [&]<int L, int K>(Tile<L, K>, int64_t f) {
        gin.template sums<EDGES, L, K>(i, std::min(i + TOGETHER, end), f, y);
      });
  });
}

template <bool EDGES>
void differentiate(const Gin& gin, const T* g, int64_t n, int64_t kinds, T* gx, T* gu, T* gepsilon, int threads) {
  const int64_t F = gin.F, chunks = (gin.ptr[n] + n + CHUNK - 1) / CHUNK, table = kinds * F;
  std::vector<T> tables(chunks * table), own(gin.epsilon ? chunks * F : 0);
  for_rows(gin.ptr, n, F, threads, [&](int64_t begin, int64_t end, int64_t c) {
    T *to = kinds ? tables.data() + c * table : gu, *gown = gin.epsilon ? own.data() + c * F : nullptr;
    for (int64_t i = begin; i < end; i += TOGETHER)
      apart_tiles(F, [&]<int L, int K>(Tile<L, K>, int64_t f) {
        gin.template gradients<EDGES, L, K>(g, i, std::min(i + TOGETHER, end), f, gx, to, gown);
      });
  });
  if (kinds) {
    std::fill_n(gu, table, T(0));
    for (int64_t c = 0; c < chunks; ++c)
      for (int64_t k = 0; k < table; ++k) gu[k] += tables[c * table + k];
  }
  if (gin.epsilon) {
    double total = 0;
    for (const T each : own) total += each;
    *gepsilon = (T)total;
  }
}

}  // namespace

extern "C" {

void gin_sum(const I* ptr, const I* col, const I* type, const T* x, const T* u, const T* epsilon, int64_t n, int64_t E,
             int64_t F, T* y, int threads) {
  const Gin gin{ptr, col, nullptr, type, x, u, epsilon, E - 1, F};
  if (u) sum_all<true>(gin, n, y, threads);
  else sum_all<false>(gin, n, y, threads);
}

// ptr, col and slot are those of the transpose; kinds is 0 where edges have no types.
void gin_sum_backward(const I* ptr, const I* col, const I* slot, const I* type, const T* g, const T* x, const T* u,
                      const T* epsilon, int64_t n, int64_t E, int64_t F, int64_t kinds, T* gx, T* gu, T* gepsilon,
                      int threads) {
  const Gin gin{ptr, col, slot, type, x, u, epsilon, E - 1, F};
  if (u) differentiate<true>(gin, g, n, kinds, gx, gu, gepsilon, threads);
  else differentiate<false>(gin, g, n, kinds, gx, gu, gepsilon, threads);
}

// Numbers rows of words by the order in which their like first appears. Returns how many there are, and which row was
// the first of each; or gives up and returns -1 at one more than `most`, which is at most half of TABLE.
int distinct(const uint32_t* rows, int64_t count, int64_t words, int64_t most, I* first, I* kind) {
  int64_t table[TABLE], found = 0;
  std::fill_n(table, TABLE, -1);
  for (int64_t r = 0; r < count; ++r) {
    const uint32_t* row = rows + r * words;
    uint64_t hash = 0;
    for (int64_t w = 0; w < words; ++w) hash += row[w] * (0x9E3779B97F4A7C15u * (2 * w + 1));
    int64_t at = hash >> 32;
    for (;; ++at) {
      at %= TABLE;
      if (table[at] < 0) {
        if (found == most) return -1;
        first[found] = (I)r, table[at] = found++;
      }
      if (!std::memcmp(row, rows + first[table[at]] * words, words * sizeof *row)) break;
    }
    kind[r] = (I)table[at];
  }
  return (int)found;
}

}  // extern "C"
