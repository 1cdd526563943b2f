// Walks over a batch that lies column by column, (columns, rows): a block of rows at a time, which stays in cache.

#include <atomic>

#include "native_rows.h"

namespace {

constexpr int64_t BLOCK = 512;

constexpr int64_t ACROSS = 64;  // rows at a time where columns of a row-major batch are read or written

template <class Body> void for_blocks(int64_t rows, int threads, Body body, int64_t block = BLOCK) {
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
  for (int64_t begin = 0; begin < rows; begin += block) body(begin, std::min(block, rows - begin));
}

// sum = weights times the columns or rows of `from` that an entry names; the first of a block.
inline void add_up(const I* ptr, const I* col, const T* weight, int64_t row, const T* from, int64_t ld, int64_t n,
                   T* sum) {
  std::fill_n(sum, n, T(0));
  for (int64_t e = ptr[row]; e < ptr[row + 1]; ++e) {
    const T *c = from + (int64_t)col[e] * ld, w = weight[e];
    for (int64_t i = 0; i < n; ++i) sum[i] += w * c[i];
  }
}

template <bool UPPER> inline void clamp_one(const T* bound, T* value, T* mark, int64_t n) {
  if (mark)
    for (int64_t i = 0; i < n; ++i) mark[i] = (UPPER ? value[i] > bound[i] : value[i] < bound[i]) ? T(1) : T(0);
  for (int64_t i = 0; i < n; ++i) value[i] = (UPPER ? value[i] > bound[i] : value[i] < bound[i]) ? bound[i] : value[i];
}

}  // namespace

extern "C" {

// columns[p] = x[:, places[p]] of any strides; returns whether, of columns with a limit, all numbers are below it.
int take_columns(const T* x, int64_t by_row, int64_t by_column, int64_t rows, const int64_t* places, int64_t count,
                 const T* limit, T* columns, int threads) {
  std::atomic<bool> within = true;
  for_blocks(rows, threads, [=, &within](int64_t begin, int64_t n) {
    int outside = 0;
    for (int64_t p = 0; p < count; ++p) {
      const T* from = x + begin * by_row + places[p] * by_column;
      T* to = columns + p * rows + begin;
      if (by_row == 0) std::fill_n(to, n, *from);
      else
        for (int64_t i = 0; i < n; ++i) to[i] = from[i * by_row];
      if (limit)
        for (int64_t i = 0; i < n; ++i) outside |= !(std::abs(to[i]) < limit[p]);  // nan is not below it
    }
    if (outside) within = false;
  }, ACROSS);
  return within;
}

// out = x, of any strides, but out[:, places[p]] = columns[p]; rows of out are next to each other.
void put_columns(const T* x, int64_t by_row, int64_t by_column, int64_t rows, int64_t width, const int64_t* places,
                 int64_t count, const T* columns, T* out, int threads) {
  for_blocks(rows, threads, [=](int64_t begin, int64_t n) {
    const T* first = x + begin * by_row;
    if (by_row == width && by_column == 1) {
      std::copy_n(first, n * width, out + begin * width);
    } else if (by_row == 0 && by_column == 0) {  // the gradient of a sum
      std::fill_n(out + begin * width, n * width, *first);
    } else {
      for (int64_t i = 0; i < n; ++i)
        for (int64_t j = 0; j < width; ++j) out[(begin + i) * width + j] = first[i * by_row + j * by_column];
    }
    for (int64_t p = 0; p < count; ++p) {
      const T* from = columns + p * rows + begin;
      T* to = out + begin * width + places[p];
      for (int64_t i = 0; i < n; ++i) to[i * width] = from[i];
    }
  }, ACROSS);
}

// One bound after the other: columns[target[b]] moves to (weights * columns + constant[b, cell]) / divisor[b] if it has
// passed it. All bounds of a call are those of the columns as they came.
void clamp_columns(const I* ptr, const I* col, const T* weight, const T* constant, int64_t kinds, const int64_t* cell,
                   const T* divisor, const int64_t* target, int64_t bounds, T* columns, int64_t rows, int upper,
                   T* moved, int threads) {
  for_blocks(rows, threads, [=](int64_t begin, int64_t n) {
    T sum[BLOCK];
    for (int64_t b = 0; b < bounds; ++b) {
      const T* c = constant + b * kinds;
      if (ptr) add_up(ptr, col, weight, b, columns + begin, rows, n, sum);
      else std::fill_n(sum, n, T(0));
      if (cell)
        for (int64_t i = 0; i < n; ++i) sum[i] += c[cell[begin + i]];
      else
        for (int64_t i = 0; i < n; ++i) sum[i] += c[0];
      if (divisor)
        for (int64_t i = 0; i < n; ++i) sum[i] /= divisor[b];
      T *value = columns + target[b] * rows + begin, *mark = moved ? moved + b * rows + begin : nullptr;
      if (upper) clamp_one<true>(sum, value, mark, n);
      else clamp_one<false>(sum, value, mark, n);
    }
  });
}

// From the gradient after to that before: an entry's goes to the bound that moved it last, and on to its columns.
void clamp_columns_backward(const int64_t* target, int64_t bounds, const T* moved, const T* divisor,
                            const int64_t* source, int64_t sources, const I* ptr, const I* col, const T* weight,
                            T* grad, int64_t rows, int threads) {
  for_blocks(rows, threads, [=](int64_t begin, int64_t n) {
    std::vector<T> given(bounds * BLOCK);
    for (int64_t b = bounds - 1; b >= 0; --b) {
      const T* mark = moved + b * rows + begin;
      T *g = grad + target[b] * rows + begin, *to = given.data() + b * BLOCK;
      const T d = divisor ? divisor[b] : T(1);
      for (int64_t i = 0; i < n; ++i) to[i] = g[i] * mark[i], g[i] -= to[i];
      if (divisor)
        for (int64_t i = 0; i < n; ++i) to[i] /= d;
    }
    T sum[BLOCK];
    for (int64_t s = 0; s < sources; ++s) {
      add_up(ptr, col, weight, s, given.data(), BLOCK, n, sum);
      T* g = grad + source[s] * rows + begin;
      for (int64_t i = 0; i < n; ++i) g[i] += sum[i];
    }
  });
}

// Of each column of (count, rows) the first row that has its least number; count where that is not above 0.
void nearest_row(const T* distance, int64_t count, int64_t rows, int64_t* nearest, int threads) {
  for_blocks(rows, threads, [=](int64_t begin, int64_t n) {
    T least[BLOCK];
    Slot at[BLOCK]{};
    std::copy_n(distance + begin, n, least);
    for (Slot k = 1; k < count; ++k) {
      const T* d = distance + k * rows + begin;
      for (int64_t i = 0; i < n; ++i) at[i] = d[i] < least[i] ? k : at[i];
      for (int64_t i = 0; i < n; ++i) least[i] = d[i] < least[i] ? d[i] : least[i];
    }
    for (int64_t i = 0; i < n; ++i) nearest[begin + i] = least[i] <= 0 ? count : at[i];
  });
}

}  // extern "C"
