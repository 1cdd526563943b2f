// Walks over compressed rows, shared by the native kernels. native.py compiles them; a plain C interface, no torch.
//
// One thread owns a row of the result and adds in the order of its slots, so results do not depend on the number of
// threads. Columns are taken in tiles that stay in registers, and the vectors of neighbours to come are prefetched: on
// large graphs the walk waits for memory, not for arithmetic.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>
#include <vector>
#ifdef __AVX512F__
#include <immintrin.h>
#endif

namespace {

#if defined(__AVX512F__)
constexpr int REGISTER = 64;
#elif defined(__AVX__)
constexpr int REGISTER = 32;
#else
constexpr int REGISTER = 16;
#endif
using T = VALUE;   // the types of this build, given to the compiler by native.py
using I = INDEX;
constexpr int LINE = 64;                       // bytes of a cache line
constexpr int AHEAD = 8;                       // edges between the prefetch of a vector and its use
constexpr int TOGETHER = 8;                    // rows that share their neighbours' pages before the next tile of columns
constexpr int64_t CHUNK = 4096;                // edges and rows of one unit of work
constexpr int64_t WORTH_THREADS = 1 << 16;     // numbers to read before a second thread pays
constexpr int64_t WORTH_STREAMING = 8 << 20;   // bytes of a result that will not be found in cache anyway

constexpr int LANES = REGISTER / sizeof(T);
using Slot = std::conditional_t<sizeof(T) == 4, int32_t, int64_t>;  // an integer as wide as a number

template <int L> struct Pack {
  typedef T V __attribute__((vector_size(L * sizeof(T))));
  typedef Slot M __attribute__((vector_size(L * sizeof(T))));
};
template <int L> using Vec = typename Pack<L>::V;
template <int L> using Mask = typename Pack<L>::M;

template <int L> inline Vec<L> load(const T* p) {
  Vec<L> v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

// Streaming keeps a large result from evicting the features; it needs the address of a full line.
template <class V, class P> inline void store(P* p, V v, bool streaming = false) {
#ifdef __AVX512F__
  if constexpr (sizeof(V) == LINE) {
    if (streaming) return _mm512_stream_si512(reinterpret_cast<__m512i*>(p), (__m512i)v);
  }
#endif
  std::memcpy(p, &v, sizeof v);
}

template <int BYTES> inline void prefetch(const void* p) {
#pragma GCC unroll 8
  for (int b = 0; b < BYTES; b += LINE) __builtin_prefetch(static_cast<const char*>(p) + b);
}

// Inlined into the walk, the innermost loop would share registers with it, and spill.
#define OWN_REGISTERS __attribute__((noinline))

template <int L, int K> struct Tile {};

// Covers F columns with tiles of K registers of L lanes. The last may overlap its neighbour: it writes the same again.
template <class Run> inline void tiles(int64_t F, Run run) {
  constexpr int L = LANES;
  int64_t f = 0;
  for (; f + 4 * L <= F; f += 4 * L) run(Tile<L, 4>{}, f);
  if (f + 2 * L <= F) run(Tile<L, 2>{}, f), f += 2 * L;
  if (f + L <= F) run(Tile<L, 1>{}, f), f += L;
  if (f == F) return;
  if (F >= L) return run(Tile<L, 1>{}, F - L);
  if (F < 4) {
    for (; f < F; ++f) run(Tile<1, 1>{}, f);
    return;
  }
  for (; f + 4 <= F; f += 4) run(Tile<4, 1>{}, f);
  if (f < F) run(Tile<4, 1>{}, F - 4);
}

// Tiles none of whose registers holds two heads of width D.
template <class Run> inline void head_tiles(int64_t H, int64_t D, Run run) {
  if (H == 1 || D % LANES == 0) return tiles(H * D, run);
  for (int64_t h = 0; h < H; ++h) tiles(D, [&](auto tile, int64_t f) { run(tile, h * D + f); });
}

// Calls body(begin, end, chunk) for stretches of rows with about equal numbers of edges.
template <class Body> void for_rows(const I* ptr, int64_t n, int64_t width, int threads, Body body) {
  const int64_t work = ptr[n] + n, chunks = (work + CHUNK - 1) / CHUNK;
  auto boundary = [&](int64_t chunk) {
    int64_t low = 0, high = n;
    while (low < high) {
      const int64_t middle = (low + high) / 2;
      if (ptr[middle] + middle < chunk * CHUNK) low = middle + 1;
      else high = middle;
    }
    return low;
  };
  if (threads < 2 || work * width < WORTH_THREADS || chunks < 2) {
    for (int64_t c = 0; c < chunks; ++c) body(boundary(c), c + 1 < chunks ? boundary(c + 1) : n, c);
    return;
  }
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
  for (int64_t c = 0; c < chunks; ++c) body(boundary(c), c + 1 < chunks ? boundary(c + 1) : n, c);
}

// The same for kernels whose rows take their columns tile by tile.
template <class Rows>
void for_tiles(const I* ptr, int64_t n, int64_t H, int64_t D, int threads, Rows rows) {
  for_rows(ptr, n, H * D, threads, [&](int64_t begin, int64_t end, int64_t) {
    for (int64_t i = begin; i < end; i += TOGETHER)
      head_tiles(H, D, [&](auto tile, int64_t f) { rows(tile, i, std::min(i + TOGETHER, end), f); });
#ifdef __AVX512F__
    _mm_sfence();
#endif
  });
}

inline bool streams(const void* p, int64_t row_bytes, int64_t n) {
  return reinterpret_cast<uintptr_t>(p) % LINE == 0 && row_bytes % LINE == 0 && row_bytes * n >= WORTH_STREAMING;
}

}  // namespace
