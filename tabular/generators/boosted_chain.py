r"""The last columns of a row, drawn one after another from boosted trees that see the rest of it.

A tree of hidden states knows well what two columns say of each other, less well what ten say of an eleventh. A *chain*
takes the columns :math:`c_1, \dots, c_m` of few values out of its hands,

.. math:: P(x) = P_{\text{circuit}}(r) \prod_{i=1}^m P_i(c_i \mid r, c_1, \dots, c_{i-1}), \qquad
    P_i(k \mid \cdot) = \frac{\exp(f_{ik} + b_{ik})}{\sum_l \exp(f_{il} + b_{il})},

with :math:`r` the other columns and :math:`f_i` gradient boosted trees. They grow until a tenth of the rows, kept
aside, are no better predicted, and are then grown as far on all rows. The offsets :math:`b_i` make up for what drawn
rows have different from real ones: over rows that are drawn, each symbol comes as often as it was learnt. Each factor
sums to one, so the density stays exact.

References:
    Chen and Guestrin, "XGBoost: a scalable tree boosting system", 2016.
    Uria, Murray and Larochelle, "A deep and tractable density estimator", 2014: densities as chains of predictors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
import xgboost
from numpy.typing import NDArray
from scipy.special import log_softmax

from .interface import Arrays

__all__ = ["BoostedChain", "draw_symbols", "fit_chain"]

Symbols = NDArray[np.int64]
Floats = NDArray[np.float64]

RATE, DEPTH = 0.1, 5  # step and depth of a tree
RATE_OF_TWO, DEPTH_OF_TWO = 0.05, 6  # where one tree a round does for both symbols, smaller steps cost little
PATIENCE = 1.0  # steps without a better prediction before growth stops, in units of 1 / rate
ASIDE = 10  # one row in so many is kept aside
BALANCING = 30  # steps towards the offsets
MOST_ROWS = 50_000  # from which trees are grown; more would take long and teach little


@dataclass(frozen=True)
class BoostedChain:
    """Boosted trees for the last columns of a row.

    Attributes:
        columns: Their places in the row, first drawn first.
        shares: How often each symbol was learnt, one array a column of ``columns``.
        offsets: What is added to the score of each symbol, likewise.
        trees: The trees of each, in XGBoost's binary JSON; no bytes where only one symbol was learnt.
    """

    columns: tuple[int, ...]
    shares: tuple[Floats, ...]
    offsets: tuple[Floats, ...]
    trees: tuple[bytes, ...]

    @cached_property
    def _boosters(self) -> list[xgboost.Booster | None]:
        return [xgboost.Booster(model_file=bytearray(one)) if one else None for one in self.trees]

    def log_probabilities(self, place: int, features: NDArray[np.float32]) -> Floats:
        """Log-probability of each symbol of ``columns[place]`` in each row ``(rows, size)``.

        Args:
            place: Its place in the chain.
            features: The row so far ``(rows, columns of the row)``: numbers, or the symbols of columns without an
                order; NaN where there is none. What stands in this column and in later ones counts for nothing.
        """
        shares, booster = self.shares[place], self._boosters[place]
        known = np.flatnonzero(shares)
        found = np.full((len(features), len(shares)), -np.inf)
        scores = np.zeros((len(features), 1)) if booster is None else _scores(booster, self._seen(place, features))
        found[:, known] = log_softmax(scores + self.offsets[place][known], axis=1)
        return found

    def _seen(self, place: int, features: NDArray[np.float32]) -> NDArray[np.float32]:
        return _without(features, self.columns[place:])

    def state(self) -> Arrays:
        """All of it as arrays."""
        arrays: Arrays = {"columns": np.array(self.columns, np.int64)}
        for place, trees in enumerate(self.trees):
            arrays |= {
                f"{place}.shares": self.shares[place],
                f"{place}.offsets": self.offsets[place],
                f"{place}.trees": np.frombuffer(trees, np.uint8),
            }
        return arrays

    @classmethod
    def restored(cls, arrays: Arrays) -> BoostedChain:
        """Read what `state` gave."""
        columns = tuple(arrays["columns"].tolist())
        shares, offsets, trees = (
            tuple(arrays[f"{place}.{part}"] for place in range(len(columns))) for part in ("shares", "offsets", "trees")
        )
        return cls(columns, shares, offsets, tuple(one.tobytes() for one in trees))


def fit_chain(
    features: NDArray[np.float32],
    categorical: NDArray[np.bool_],
    targets: dict[int, Symbols],
    sizes: Sequence[int],
    drawn: Callable[[BoostedChain, int], NDArray[np.float32]],
    rounds: int,
    seed: int,
    progress: Callable[[float], None],
) -> BoostedChain:
    """Learn a chain.

    Args:
        features: The rows ``(rows, columns)``; see `BoostedChain.log_probabilities`.
        categorical: Which columns are symbols without an order ``(columns,)``.
        targets: The symbol of each row, by column of the chain, first drawn first.
        sizes: How many symbols each column has.
        drawn: Gives drawn rows whose chain is filled in up to a place, from the chain as far as it is known.
        rounds: The most trees for each symbol; twice as many, of half the step, where there are two.
        seed: Of the rows kept aside and of the rows that each tree sees.
        progress: Is told the share that is done.
    """
    columns = tuple(targets)
    shares = tuple(np.bincount(symbols, minlength=sizes[column]) / len(symbols) for column, symbols in targets.items())
    kinds = np.where(categorical, "c", "q")
    rows = _some_rows(targets, len(features), np.random.default_rng(seed))
    done: list[int] = []

    def grow(place: int) -> bytes:
        seen, symbols = _without(features[rows], columns[place:]), targets[columns[place]][rows]
        left = np.delete(kinds, columns[place:]).tolist()
        trees = _grown(seen, left, symbols, rounds, np.random.default_rng([seed, place])) if seen.shape[1] else b""
        done.append(place)
        progress(len(done) / len(columns))
        return trees

    # one thread a column, and one for each booster, so that sums do not depend on how many there are
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        trees = tuple(pool.map(grow, range(len(columns))))
    chain = BoostedChain(columns, shares, tuple(np.zeros(len(share)) for share in shares), trees)
    for place in range(len(columns)):
        offsets = (*chain.offsets[:place], _balanced(chain, place, drawn(chain, place)), *chain.offsets[place + 1 :])
        chain = BoostedChain(columns, shares, offsets, trees)
    return chain


def _some_rows(targets: dict[int, Symbols], rows: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """At most about `MOST_ROWS` rows in which every symbol comes."""
    if rows <= MOST_ROWS:
        return np.arange(rows)
    firsts = [np.unique(symbols, return_index=True)[1] for symbols in targets.values()]
    return np.unique(np.concatenate([rng.choice(rows, MOST_ROWS, replace=False), *firsts]))


def _grown(
    seen: NDArray[np.float32], kinds: list[str], symbols: Symbols, rounds: int, rng: np.random.Generator
) -> bytes:
    """Trees that tell the symbols of a column from the columns before it; none if there is one symbol alone."""
    known, labels = np.unique(symbols, return_inverse=True)
    if len(known) < 2:
        return b""
    two = len(known) == 2
    rate = RATE_OF_TWO if two else RATE
    settings: dict[str, Any] = {
        "eta": rate,
        "max_depth": DEPTH_OF_TWO if two else DEPTH,
        "subsample": 0.8,
        "colsample_bynode": 0.8,
        "max_cat_to_onehot": 8,
        "tree_method": "hist",
        "nthread": 1,
        "seed": int(rng.integers(1 << 31)),
    }
    if two:
        settings |= {"objective": "binary:logistic", "eval_metric": "logloss"}
    else:
        settings |= {"objective": "multi:softprob", "eval_metric": "mlogloss", "num_class": len(known)}
    order = rng.permutation(len(labels))
    aside, rest = np.split(order, [max(1, len(order) // ASIDE)])
    parts = [xgboost.DMatrix(seen[part], labels[part], feature_types=kinds, nthread=1) for part in (rest, aside)]
    trial = xgboost.train(
        settings,
        parts[0],
        round(rounds * RATE / rate),
        evals=[(parts[1], "aside")],
        early_stopping_rounds=round(PATIENCE / rate),
        verbose_eval=False,
    )
    whole = xgboost.DMatrix(seen, labels, feature_types=kinds, nthread=1)
    return bytes(xgboost.train(settings, whole, trial.best_iteration + 1).save_raw("ubj"))


def _scores(booster: xgboost.Booster, seen: NDArray[np.float32]) -> Floats:
    """Scores of the symbols that were learnt ``(rows, symbols)``."""
    booster.set_param({"nthread": torch.get_num_threads()})
    scores = np.asarray(booster.inplace_predict(seen, predict_type="margin", validate_features=False), np.float64)
    return scores if scores.ndim == 2 else np.stack([np.zeros(len(scores)), scores], 1)


def _balanced(chain: BoostedChain, place: int, features: NDArray[np.float32]) -> Floats:
    """Offsets with which the symbols of a column come as often as they were learnt, over some drawn rows."""
    shares = chain.shares[place]
    known = np.flatnonzero(shares)
    booster = chain._boosters[place]
    if booster is None:
        return np.zeros(len(shares))
    scores = _scores(booster, chain._seen(place, features))
    offsets = np.zeros(len(known))
    for _ in range(BALANCING):
        found = np.exp(log_softmax(scores + offsets, axis=1)).mean(0)
        # rare symbols are drawn too rarely to tell: a few rows of the learnt shares are taken in
        few = 20 / len(features)
        offsets += np.log((1 + few) * shares[known] / (found + few * shares[known]))
    spread = np.zeros(len(shares))
    spread[known] = offsets
    return spread


def _without(features: NDArray[np.float32], columns: Sequence[int]) -> NDArray[np.float32]:
    return np.ascontiguousarray(np.delete(features, list(columns), axis=1), np.float32)


def draw_symbols(log_probabilities: Floats, rng: np.random.Generator) -> Symbols:
    """One symbol a row ``(rows,)``.

    Example:
        >>> draw_symbols(np.log([[1.0, 1e-30], [1e-30, 1.0]]), np.random.default_rng(0)).tolist()
        [0, 1]
    """
    below = np.cumsum(np.exp(log_probabilities), 1)
    # the least uniform number may not fall on a symbol of no probability
    found = (below <= rng.random(len(below))[:, None] * below[:, -1:]).sum(1)
    return np.asarray(np.minimum(found, below.shape[1] - 1), np.int64)
