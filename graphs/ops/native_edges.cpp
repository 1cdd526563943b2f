// Along edges: inner products, scores of GATv2, and the softmax over the edges into a node.

#include "native_rows.h"

namespace {

template <int L> inline T total(Vec<L> v) {
  if constexpr (L == 1) return v[0];
  else return total<L / 2>(load<L / 2>(reinterpret_cast<T*>(&v)) + load<L / 2>(reinterpret_cast<T*>(&v) + L / 2));
}

// The sum over d of term(lanes, d), with ever narrower registers for the end.
template <int L, class Term> inline T sum_terms(int64_t d, int64_t D, Term term) {
  T sum = 0;
  if (d + L <= D) {
    Vec<L> lanes{};
    for (; d + L <= D; d += L) lanes += term(std::integral_constant<int, L>{}, d);
    sum = total<L>(lanes);
  }
  if constexpr (L > 1) {
    if (d < D) sum += sum_terms<L / 2>(d, D, term);
  }
  return sum;
}

void products(const I* ptr, const I* col, const T* a, const T* b, int64_t n, int64_t last, int64_t H, int64_t D, T* out,
           int threads) {
  const int64_t F = H * D;
  for_rows(ptr, n, F, threads, [&](int64_t begin, int64_t end, int64_t) {
    for (int64_t i = begin; i < end; ++i)
      for (int64_t e = ptr[i]; e < ptr[i + 1]; ++e) {
        const T *p = a + i * F, *q = b + (int64_t)col[e] * F, *next = b + (int64_t)col[std::min(e + AHEAD, last)] * F;
        for (int64_t f = 0; f < F; f += LINE / sizeof(T)) __builtin_prefetch(next + f);
        if (D == 1)
          for (int64_t h = 0; h < H; ++h) out[e * H + h] = p[h] * q[h];
        else
          for (int64_t h = 0; h < H; ++h)
            out[e * H + h] = sum_terms<LANES>(0, D, [&](auto lanes, int64_t d) {
              return load<lanes.value>(p + h * D + d) * load<lanes.value>(q + h * D + d);
            });
      }
  });
}

struct Gatv2 {
  const I *ptr, *col, *slot;
  const T *self, *other, *edge, *att;  // self belongs to the row, other to the far end
  int64_t last, H, D;
  T slope;

  void scores(int64_t n, T* out, int threads) const {
    const int64_t F = H * D;
    for_rows(ptr, n, F, threads, [&](int64_t begin, int64_t end, int64_t) {
      for (int64_t i = begin; i < end; ++i)
        for (int64_t e = ptr[i]; e < ptr[i + 1]; ++e) {
          const T *p = self + i * F, *q = other + (int64_t)col[e] * F, *r = edge ? edge + e * F : nullptr;
          const T* next = other + (int64_t)col[std::min(e + AHEAD, last)] * F;
          for (int64_t f = 0; f < F; f += LINE / sizeof(T)) __builtin_prefetch(next + f);
          for (int64_t h = 0; h < H; ++h)
            out[e * H + h] = sum_terms<LANES>(0, D, [&](auto lanes, int64_t d) {
              constexpr int L = lanes.value;
              Vec<L> sum = load<L>(p + h * D + d) + load<L>(q + h * D + d);
              if (r) sum += load<L>(r + h * D + d);
              return (sum > 0 ? sum : sum * slope) * load<L>(att + h * D + d);
            });
        }
    });
  }

  // gself, and over destinations also gedge and, for each chunk of rows, its part of the gradient to att.
  template <int L, int K>
  OWN_REGISTERS void rows(const T* g, T* gself, T* gedge, T* gatt, int64_t begin, int64_t end, int64_t f) const {
    using V = Vec<L>;
    const int64_t F = H * D;
    int64_t head[K];
    V weight[K], far[K]{};
    for (int k = 0; k < K; ++k) head[k] = (f + k * L) / D, weight[k] = load<L>(att + f + k * L);
    for (int64_t i = begin; i < end; ++i) {
      V near[K]{};
      for (int64_t e = ptr[i]; e < ptr[i + 1]; ++e) {
        const int64_t s = slot ? (int64_t)slot[e] : e, ahead = std::min(e + AHEAD, last);
        const T* q = other + (int64_t)col[e] * F + f;
        prefetch<K * L * sizeof(T)>(other + (int64_t)col[ahead] * F + f);
        if (slot) __builtin_prefetch(g + (int64_t)slot[ahead] * H);
#pragma GCC unroll 4
        for (int k = 0; k < K; ++k) {
          V sum = load<L>(self + i * F + f + k * L) + load<L>(q + k * L);
          if (edge) sum += load<L>(edge + s * F + f + k * L);
          const V at_head = V{} + g[s * H + head[k]], bent = at_head * weight[k];
          const V t = sum > 0 ? bent : bent * slope;
          near[k] += t;
          if (gatt) far[k] += at_head * (sum > 0 ? sum : sum * slope);
          if (gedge) store(gedge + s * F + f + k * L, t);
        }
      }
      for (int k = 0; k < K; ++k) store(gself + i * F + f + k * L, near[k]);
    }
    if (gatt)
      for (int k = 0; k < K; ++k) store(gatt + f + k * L, far[k]);
  }

  void gradients(const T* g, int64_t n, T* gself, T* gedge, T* gatt, int threads) const {
    const int64_t F = H * D, chunks = (ptr[n] + n + CHUNK - 1) / CHUNK;
    std::vector<T> parts(gatt ? chunks * F : 0);
    for_rows(ptr, n, F, threads, [&](int64_t begin, int64_t end, int64_t c) {
      T* part = gatt ? parts.data() + c * F : nullptr;
      head_tiles(H, D, [&]<int L, int K>(Tile<L, K>, int64_t f) {
        rows<L, K>(g, gself, gedge, part, begin, end, f);
      });
    });
    if (!gatt) return;
    std::fill_n(gatt, F, T(0));
    for (int64_t c = 0; c < chunks; ++c)
      for (int64_t f = 0; f < F; ++f) gatt[f] += parts[c * F + f];
  }
};

// exp of numbers up to 0, within two units in the last place; results below the least normal number become 0.
inline void exp_all(float* p, int64_t n) {
  constexpr int L = REGISTER / sizeof(float);
  typedef float V __attribute__((vector_size(REGISTER)));
  typedef int32_t M __attribute__((vector_size(REGISTER)));
  auto exp_at = [](float* at) {
    V x;
    std::memcpy(&x, at, sizeof x);
    const V magic = V{} + 12582912.0f;  // adding it rounds to an integer
    const V power = (x * 1.44269504f + magic) - magic, bounded = power < -126.0f ? V{} - 126.0f : power;
    const V r = (x - power * 0.693359375f) + power * 2.12194440e-4f;
    V y = r * 1.9875691500e-4f + 1.3981999507e-3f;
    y = y * r + 8.3334519073e-3f;
    y = y * r + 4.1665795894e-2f;
    y = y * r + 1.6666665459e-1f;
    y = y * r + 5.0000001201e-1f;
    y = y * r * r + r + 1.0f;
    y = x < -87.0f ? V{} : y * (V)((__builtin_convertvector(bounded, M) + 127) << 23);
    std::memcpy(at, &y, sizeof y);
  };
  int64_t i = 0;
  for (; i + L <= n; i += L) exp_at(p + i);
  float rest[L] = {};
  std::copy(p + i, p + n, rest);
  if (i < n) exp_at(rest);
  std::copy_n(rest, n - i, p + i);
}
inline void exp_all(double* p, int64_t n) {
  for (int64_t i = 0; i < n; ++i) p[i] = std::exp(p[i]);
}

void normalise(const I* ptr, const T* s, int64_t n, int64_t H, T* p, T* lse, int threads) {
  for_rows(ptr, n, H, threads, [&](int64_t begin, int64_t end, int64_t) {
    std::vector<T> top(H), sum(H);
    for (int64_t i = begin; i < end; ++i) {
      const int64_t first = ptr[i], stop = ptr[i + 1];
      std::fill(top.begin(), top.end(), -std::numeric_limits<T>::infinity());
      std::fill(sum.begin(), sum.end(), T(0));
      for (int64_t e = first; e < stop; ++e)
        for (int64_t h = 0; h < H; ++h) top[h] = s[e * H + h] > top[h] ? s[e * H + h] : top[h];
      for (int64_t h = 0; h < H; ++h) top[h] = top[h] == -std::numeric_limits<T>::infinity() ? T(0) : top[h];
      for (int64_t e = first; e < stop; ++e)
        for (int64_t h = 0; h < H; ++h) p[e * H + h] = s[e * H + h] - top[h];
      exp_all(p + first * H, (stop - first) * H);
      for (int64_t e = first; e < stop; ++e)
        for (int64_t h = 0; h < H; ++h) sum[h] += p[e * H + h];
      for (int64_t h = 0; h < H; ++h) {
        if (lse) lse[i * H + h] = sum[h] == 0 ? T(0) : top[h] + std::log(sum[h]);
        sum[h] = sum[h] == 0 ? T(0) : 1 / sum[h];
      }
      for (int64_t e = first; e < stop; ++e)
        for (int64_t h = 0; h < H; ++h) p[e * H + h] *= sum[h];
    }
  });
}

void normalise_backward(const I* ptr, const T* p, const T* g, int64_t n, int64_t H, T* out, int threads) {
  for_rows(ptr, n, H, threads, [&](int64_t begin, int64_t end, int64_t) {
    std::vector<T> sum(H);
    for (int64_t i = begin; i < end; ++i) {
      const int64_t first = ptr[i] * H, stop = ptr[i + 1] * H;
      std::fill(sum.begin(), sum.end(), T(0));
      for (int64_t e = first; e < stop; e += H)
        for (int64_t h = 0; h < H; ++h) sum[h] += p[e + h] * g[e + h];
      for (int64_t e = first; e < stop; e += H)
        for (int64_t h = 0; h < H; ++h) out[e + h] = p[e + h] * (g[e + h] - sum[h]);
    }
  });
}

}  // namespace

extern "C" {

void sddmm(const I* ptr, const I* col, const T* a, const T* b, int64_t n, int64_t E, int64_t H, int64_t D, T* out,
           int threads) {
  products(ptr, col, a, b, n, E - 1, H, D, out, threads);
}

void gatv2(const I* ptr, const I* col, const T* q, const T* k, const T* edge, const T* att, int64_t n, int64_t E,
           int64_t H, int64_t D, double slope, T* out, int threads) {
  Gatv2{ptr, col, nullptr, q, k, edge, att, E - 1, H, D, (T)slope}.scores(n, out, threads);
}

void gatv2_backward(const I* ptr, const I* col, const I* slot, const T* g, const T* self, const T* other,
                    const T* edge, const T* att, int64_t n, int64_t E, int64_t H, int64_t D, double slope, T* gself,
                    T* gedge, T* gatt, int threads) {
  const Gatv2 scoring{ptr, col, slot, self, other, edge, att, E - 1, H, D, (T)slope};
  scoring.gradients(g, n, gself, gedge, gatt, threads);
}

void softmax(const I* ptr, const T* s, int64_t n, int64_t H, T* p, T* lse, int threads) {
  normalise(ptr, s, n, H, p, lse, threads);
}

void softmax_backward(const I* ptr, const T* p, const T* g, int64_t n, int64_t H, T* out, int threads) {
  normalise_backward(ptr, p, g, n, H, out, threads);
}

}  // extern "C"
