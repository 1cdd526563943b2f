// What is done to rows whole: taking them by an index, and the stable sort of edges by their ends.

#include "native_rows.h"

namespace {

constexpr int64_t PART = 512;                  // rows of one unit of work
constexpr int64_t BEYOND_CACHE = 48 << 20;  // bytes of a result whose next reader will not find it in the last cache

// Bytes to copy a row by, known to the compiler where the row is short; 0: any number, by lines.
template <int BYTES>
void take_part(const I* index, int64_t begin, int64_t end, int64_t last, const char* x, int64_t row, char* out,
               bool streaming) {
  for (int64_t e = begin; e < end; ++e) {
    const char *from = x + (int64_t)index[e] * row, *next = x + (int64_t)index[std::min(e + 2 * AHEAD, last)] * row;
    char* to = out + e * row;
    for (int64_t b = 0; b < row; b += LINE) __builtin_prefetch(next + b);
    if constexpr (BYTES > 0) {
      std::memcpy(to, from, BYTES);
    } else {
      int64_t b = 0;
#ifdef __AVX512F__
      if (streaming)
        for (; b < row; b += LINE) _mm512_stream_si512(reinterpret_cast<__m512i*>(to + b), _mm512_loadu_si512(from + b));
#endif
      for (; b + LINE <= row; b += LINE) std::memcpy(to + b, from + b, LINE);
      for (; b < row; b += sizeof(int32_t)) std::memcpy(to + b, from + b, sizeof(int32_t));
    }
  }
#ifdef __AVX512F__
  if (streaming) _mm_sfence();
#endif
}

}  // namespace

extern "C" {

void take(const I* index, int64_t count, const char* x, int64_t row, char* out, int threads) {
  const bool streaming = count * row >= BEYOND_CACHE && streams(out, row, count);
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
  for (int64_t begin = 0; begin < count; begin += PART) {
    const int64_t end = std::min(begin + PART, count), last = count - 1;
    switch (row) {
      case 4: take_part<4>(index, begin, end, last, x, row, out, false); break;
      case 8: take_part<8>(index, begin, end, last, x, row, out, false); break;
      case 16: take_part<16>(index, begin, end, last, x, row, out, false); break;
      case 32: take_part<32>(index, begin, end, last, x, row, out, false); break;
      case 64: streaming ? take_part<0>(index, begin, end, last, x, row, out, true)
                         : take_part<64>(index, begin, end, last, x, row, out, false);
        break;
      default: take_part<0>(index, begin, end, last, x, row, out, streaming);
    }
  }
}

void sort(const I* keys, int64_t count, int64_t num_keys, I* ptr, I* order) {
  std::fill_n(ptr, num_keys + 1, I(0));
  for (int64_t e = 0; e < count; ++e) ++ptr[keys[e] + 1];
  for (int64_t k = 0; k < num_keys; ++k) ptr[k + 1] += ptr[k];
  std::vector<I> next(ptr, ptr + num_keys);
  for (int64_t e = 0; e < count; ++e) order[next[keys[e]]++] = (I)e;
}

}  // extern "C"
