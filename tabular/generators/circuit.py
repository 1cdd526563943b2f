"""The default engine: a few trees of hidden states, each a probabilistic circuit, and a chain of boosted trees.

It learns ten thousand rows in a minute on one core, and whatever is asked of it (a range, a set of texts, gaps to fill,
the probability of a row) is computed and drawn from directly; nothing is rejected.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import logsumexp

from graftable.errors import ConfigError

from ..compiler import Compiled
from ..schema import Schema
from .boosted_chain import BoostedChain, fit_chain
from .cells import check_table, data_space
from .chained_rows import ChainedRows
from .encoding import TableEncoder
from .interface import Allowed, Arrays, Conditions, Generator, Progress, within
from .latent_tree import Evidence, LatentTree
from .latent_tree_fit import TreeSettings, fit_tree
from .text_codecs import IdentifierCodec

__all__ = ["CircuitGenerator"]

CHUNK = 4096  # rows at a time, where each row has evidence of its own
ROWS_PER_STATE = 40  # on average at least as many: a state of fewer rows would remember them
BALANCING_ROWS = 10_000  # drawn, to see how often the symbols of the chain come
MOST_BOOSTED = 64  # columns; each takes seconds to learn
ROWS_TO_BOOST = 1000  # with fewer, boosted trees predict no better
ROUNDS, LEAST = 4, 0.1  # how often rows are taken with a probability, and the share from which that is worth while
CANDIDATES = 8  # drawn for a row under a condition that is rarer


class CircuitGenerator(Generator):
    r"""A mixture of hidden Chow-Liu trees over the symbols of the columns, and a chain of boosted trees for the last.

    .. math:: P(x) = \frac1M \sum_{m=1}^M P_m(s_r(x)) \prod_i P_i(s_{c_i} \mid r, c_1, \dots, c_{i-1})
        \prod_d P(x_d \mid s_d(x_d)),

    with :math:`P_m` a tree of hidden states (see `graftable.tabular.generators.latent_tree`), :math:`P_i` boosted trees
    (see `graftable.tabular.generators.boosted_chain`), and :math:`s_d` the symbol of a cell (see
    `graftable.tabular.generators.number_codec`). The columns :math:`c` of few values come from the chain; the trees of
    hidden states have learnt them too. Where a gap is filled, it and the columns before it in the chain come from the
    hidden trees, whose conditionals look both ways; likewise wherever a number is drawn again.

    Args:
        members: How many trees are mixed; their shapes differ a little.
        states: Values of each hidden state; fewer for tables of less than ``40 * states`` rows.
        epochs: Passes over ten thousand rows; with more than twice as many rows, fewer.
        intervals: About how many intervals a numeric column is cut into.
        levels: The most symbols of a column of texts; rare texts share one.
        edge_prior: Pseudo-rows for each state that know nothing of its parent's state. More forgets single rows, less
            follows the table more closely.
        leaf_prior: Pseudo-rows for each state that follow the column as a whole.
        blend: The width, in intervals, over which counts of neighbouring intervals are blended.
        shake: How much the shapes of the trees differ, from 0.
        chain: Columns of at most so many symbols are drawn last, from boosted trees, if the table has a thousand rows;
            0 for none. Of more than 64 such columns, only the last 64 are.
        rounds: The most boosted trees for each symbol.

    Example:
        >>> frame = pd.DataFrame({"age": [20, 30, 40, 50] * 50, "work": ["no", "yes", "yes", "no"] * 50})
        >>> circuit = CircuitGenerator(members=1).fit(frame, Schema.detect(frame))
        >>> circuit.sample(3, seed=1).columns.tolist()
        ['age', 'work']
        >>> bool(np.exp(circuit.log_prob(frame[:4])).sum() > 0.9)
        True
    """

    engine: ClassVar[str] = "circuit"

    def __init__(
        self,
        members: int = 4,
        states: int = 128,
        epochs: int = 20,
        intervals: int = 128,
        levels: int = 100,
        edge_prior: float = 2.0,
        leaf_prior: float = 0.5,
        blend: float = 1.5,
        shake: float = 0.3,
        chain: int = 16,
        rounds: int = 200,
    ) -> None:
        within(members=(members, 1), states=(states, 1), epochs=(epochs, 1), rounds=(rounds, 1), chain=(chain, 0))
        within(edge_prior=(edge_prior, 0), leaf_prior=(leaf_prior, 1e-3), blend=(blend, 0), shake=(shake, 0))
        self.members, self.states, self.epochs = members, states, epochs
        self.intervals, self.levels = intervals, levels
        self.edge_prior, self.leaf_prior, self.blend, self.shake = edge_prior, leaf_prior, blend, shake
        self.chain, self.rounds = chain, rounds

    def fit(
        self,
        table: pd.DataFrame,
        schema: Schema,
        *,
        rules: Compiled | None = None,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> Self:
        """Learn a table; see `Generator.fit`. Rules are not needed to learn."""
        table = check_table(table, schema)
        encoder = TableEncoder.fit(table, schema, intervals=self.intervals, levels=self.levels)
        symbols = np.stack([codec.encode(table[name])[0] for name, codec in encoder.codecs.items()], 1)
        sizes = [codec.size for codec in encoder.codecs.values()]
        ordered = [codec.ordered for codec in encoder.codecs.values()]
        states = min(self.states, max(1, len(table) // ROWS_PER_STATE))
        settings = TreeSettings(states, self.epochs, self.edge_prior, self.leaf_prior, self.blend, self.shake)
        trees: list[LatentTree] = []
        for member in range(self.members):

            def note(share: float, member: int = member) -> None:
                if progress is not None:
                    progress((member + share) / (self.members + 1), f"tree {member + 1} of {self.members}")

            trees.append(fit_tree(symbols, sizes, ordered, settings, seed + 7919 * member, note))
        self.schema, self.encoder, self.trees = schema, encoder, trees
        self.last = self._fit_chain(table, symbols, seed, progress)
        return self

    def _fit_chain(
        self, table: pd.DataFrame, symbols: NDArray[np.int64], seed: int, progress: Progress | None
    ) -> BoostedChain:
        """Boosted trees for the columns of few symbols."""
        sizes = [codec.size for codec in self.encoder.codecs.values()]
        few = [place for place, size in enumerate(sizes) if 1 < size <= self.chain and len(table) >= ROWS_TO_BOOST]
        few = few[-MOST_BOOSTED:]
        if not few:
            return BoostedChain((), (), (), ())
        learnt = ChainedRows(self.encoder.codecs, symbols, data_space(table, self.schema))
        rng = np.random.default_rng([seed, 1])
        drawn = self._draw(min(len(table), BALANCING_ROWS), [None] * len(sizes), rng)
        rows = ChainedRows(self.encoder.codecs, drawn, self._frame(drawn, rng, None))

        def note(share: float) -> None:
            if progress is not None:
                progress((self.members + share) / (self.members + 1), "boosted trees")

        def filled(chain: BoostedChain, place: int) -> NDArray[np.float32]:
            if place:
                rows.draw(chain, place - 1, rng)
            return rows.features

        return fit_chain(
            learnt.features,
            np.array([codec.ordered == 0 for codec in self.encoder.codecs.values()]),
            {place: symbols[:, place] for place in few},
            sizes,
            filled,
            self.rounds,
            seed,
            note,
        )

    def sample(self, n: int, *, conditions: Conditions | None = None, seed: int = 0) -> pd.DataFrame:
        """Draw rows from the exact conditional distribution; see `Generator.sample`.

        Where a condition on a column of the chain is rare, its rows are the likeliest of `CANDIDATES` for each, which
        comes near to that; and so are those under bounds by row.
        """
        self.fitted_schema()
        rng = np.random.default_rng(seed)
        evidence = self._evidence(conditions)
        if n and any(evidence[column] is not None for column in self.last.columns):
            return self._under(n, evidence, conditions, rng)
        return self._drawn(n, evidence, conditions, rng)[0]

    def _drawn(
        self, n: int, evidence: Sequence[Evidence | None], conditions: Conditions | None, rng: np.random.Generator
    ) -> tuple[pd.DataFrame, NDArray[np.int64], NDArray[np.float64]]:
        """Rows from the hidden trees given some evidence, with a chain that meets the conditions.

        Returns:
            The rows, their symbols, and the log-probability that the chain gave to what it had to meet ``(n,)``.
        """
        symbols, chance = np.zeros((n, len(evidence)), np.int64), np.zeros(n)
        by_row = any(known is not None and known.weights.ndim == 2 for known in evidence)
        for start in range(0, n, CHUNK if by_row else max(n, 1)):
            stop = min(n, start + CHUNK) if by_row else n
            part = [None if known is None else _rows_of(known, slice(start, stop)) for known in evidence]
            symbols[start:stop] = self._draw(stop - start, part, rng)
        asked, names = _asked(conditions), list(self.encoder.codecs)
        later = {names[column] for column in self.last.columns}  # which need not meet the conditions yet
        frame = self._frame(symbols, rng, Conditions({name: asked[name] for name in asked if name not in later}))
        if self.last.columns and n:
            rows = ChainedRows(self.encoder.codecs, symbols, frame)
            for place, column in enumerate(self.last.columns):
                allowed = asked.get(names[column])
                found = rows.draw(self.last, place, rng, allowed=allowed)
                chance += found if allowed is not None else 0.0
        return frame, symbols, chance

    def _under(
        self, n: int, evidence: list[Evidence | None], conditions: Conditions | None, rng: np.random.Generator
    ) -> pd.DataFrame:
        """Rows under conditions on the chain: each is taken with the probability that the chain gives the conditions.

        What is too rare for that is drawn where the hidden trees see the conditions, and weighed by how far their
        probability of them is from that of the chain.
        """
        by_row = any(known is not None and known.weights.ndim == 2 for known in evidence)
        free = [None if place in self.last.columns else known for place, known in enumerate(evidence)]
        parts: list[pd.DataFrame] = []
        missing, share = n, 0.5
        for _ in range(0 if by_row else ROUNDS):
            many = int(1.1 * missing / share) + 100
            frame, _, chance = self._drawn(many, free, conditions, rng)
            taken = np.flatnonzero(rng.random(many) < np.exp(chance))
            parts.append(frame.iloc[taken[:missing]])
            missing, share = missing - len(parts[-1]), len(taken) / many
            if not missing or share < LEAST:
                break
        if missing:
            guided = [None if known is None else _repeated(known, CANDIDATES) for known in evidence]
            asked = {name: _each(one, CANDIDATES) for name, one in _asked(conditions).items()}
            frame, symbols, chance = self._drawn(CANDIDATES * missing, guided, Conditions(asked), rng)
            weight = (chance - self._chance(symbols, guided)).reshape(missing, CANDIDATES)
            best = (weight + rng.gumbel(size=weight.shape)).argmax(1)
            parts.append(frame.iloc[np.arange(missing) * CANDIDATES + best])
        rows = pd.concat(parts, ignore_index=True)
        for name, codec in self.encoder.codecs.items():
            if isinstance(codec, IdentifierCodec):
                rows[name] = codec.decode(np.zeros(n, np.int64), rng, _asked(conditions).get(name))
        return rows

    def _chance(self, symbols: NDArray[np.int64], evidence: Sequence[Evidence | None]) -> NDArray[np.float64]:
        """The log-probability that the hidden trees give to evidence on the chain, given other columns ``(rows,)``."""
        found = np.zeros(len(symbols))
        for start in range(0, len(symbols), CHUNK):
            part = slice(start, start + CHUNK)
            rest: list[Evidence | None] = [
                None if place in self.last.columns else Evidence(np.ones(codec.size), symbols[part, place])
                for place, codec in enumerate(self.encoder.codecs.values())
            ]
            both = [
                _rows_of(known, part) if known is not None and place in self.last.columns else rest[place]
                for place, known in enumerate(evidence)
            ]
            seen = [[tree.upward(known).log_evidence for tree in self.trees] for known in (both, rest)]
            found[part] = logsumexp(seen[0], axis=0) - logsumexp(seen[1], axis=0)
        return found

    def _evidence(self, conditions: Conditions | None) -> list[Evidence | None]:
        """What conditions say of each column.

        Raises:
            ConfigError: If they leave a column nothing.
        """
        asked = _asked(conditions)
        self.fitted_schema().require(tuple(asked), "the conditions")
        evidence: list[Evidence | None] = []
        for name, codec in self.encoder.codecs.items():
            if name not in asked:
                evidence.append(None)
                continue
            weights = codec.mass(asked[name])
            if not weights.any(-1).all():
                raise ConfigError(
                    f"no value of column `{name}` in the table that was learnt meets the conditions; relax them."
                )
            evidence.append(Evidence(weights))
        return evidence

    def _draw(self, rows: int, evidence: Sequence[Evidence | None], rng: np.random.Generator) -> NDArray[np.int64]:
        """Symbols ``(rows, columns)``: a tree for each row, by the probability of the evidence, then from the tree."""
        messages = [tree.upward(evidence) for tree in self.trees]
        weights = np.stack([np.broadcast_to(message.log_evidence, rows) for message in messages], 1)
        weights = np.exp(weights - weights.max(1, keepdims=True))
        below = np.cumsum(weights, 1)
        chosen = (below <= rng.random(rows)[:, None] * below[:, -1:]).sum(1)
        symbols = np.zeros((rows, len(evidence)), np.int64)
        for member, (tree, message) in enumerate(zip(self.trees, messages, strict=True)):
            mine = np.flatnonzero(chosen == member)
            part = [None if known is None else _rows_of(known, mine) for known in evidence]
            symbols[mine] = tree.draw(len(mine), message.rows(mine), part, rng)
        return symbols

    def _frame(
        self, symbols: NDArray[np.int64], rng: np.random.Generator, conditions: Conditions | None
    ) -> pd.DataFrame:
        asked = _asked(conditions)
        return pd.DataFrame(
            {
                name: codec.decode(symbols[:, place], rng, asked.get(name))
                for place, (name, codec) in enumerate(self.encoder.codecs.items())
            }
        )

    def impute(self, table: pd.DataFrame, *, seed: int = 0) -> pd.DataFrame:
        """Fill null cells with a draw given the row's other cells; a column that was null throughout stays so.

        Gaps come from the hidden trees; gaps after the last cell of the chain that is known, from the chain.
        """
        table = check_table(table, self.fitted_schema())
        rng = np.random.default_rng(seed)
        evidence, gaps = [], {}
        for name, codec in self.encoder.codecs.items():
            symbols = codec.encode(table[name])[0]
            weights = np.ones(codec.size)
            gaps[name] = np.array(table[name].isna())
            if codec.nulls:  # also what reads as null; a text that was never seen is none
                gaps[name] |= symbols == codec.size - 1
                symbols = np.where(gaps[name], -1, symbols)
                weights[-1] = float(codec.size == 1)
            evidence.append(Evidence(weights, symbols))
        drawn = np.zeros((len(table), len(evidence)), np.int64)
        for start in range(0, len(table), CHUNK):
            part = slice(start, min(len(table), start + CHUNK))
            drawn[part] = self._draw(part.stop - start, [_rows_of(known, part) for known in evidence], rng)
        filled = self._frame(drawn, rng, None)
        filled.index = table.index
        kept = data_space(table, self.schema)
        whole = pd.DataFrame({name: kept[name].where(~gaps[name], filled[name]) for name in self.schema.names})
        ChainedRows(self.encoder.codecs, drawn, whole).fill_last(self.last, gaps, rng)
        return whole

    def redraw(
        self, table: pd.DataFrame, column: str, allowed: Allowed, *, seed: int = 0
    ) -> NDArray[np.float64] | None:
        """Draw the numbers of one column again from their exact conditional distribution; see `Generator.redraw`."""
        table = check_table(table, self.fitted_schema())
        rng = np.random.default_rng(seed)
        evidence: list[Evidence | None] = []
        for name, codec in self.encoder.codecs.items():
            symbols = codec.encode(table[name])[0]
            evidence.append(Evidence(np.ones(codec.size), symbols))
        place = list(self.encoder.codecs).index(column)
        codec = self.encoder.codecs[column]
        weights = np.broadcast_to(codec.mass(allowed), (len(table), codec.size))
        possible = np.any(weights, axis=1)
        weights = np.where(possible[:, None], weights, 1.0)
        evidence[place] = Evidence(weights)
        drawn = np.zeros(len(table), np.int64)
        for start in range(0, len(table), CHUNK):
            part = slice(start, min(len(table), start + CHUNK))
            known = [None if one is None else _rows_of(one, part) for one in evidence]
            drawn[part] = self._draw(part.stop - start, known, rng)[:, place]
        values = codec.decode(drawn, rng, allowed).to_numpy(np.float64)
        return np.where(possible, values, np.nan)

    def log_prob(self, table: pd.DataFrame) -> NDArray[np.float64]:
        """The log-probability of each row on the lattice; ``-inf`` for rows with a cell that cannot be drawn.

        Names of rows, which are made up, count for nothing.
        """
        table = check_table(table, self.fitted_schema())
        encoded = [codec.encode(table[name]) for name, codec in self.encoder.codecs.items()]
        total = np.sum([within for _, within in encoded], axis=0)
        total[np.any([symbols < 0 for symbols, _ in encoded], axis=0)] = -np.inf
        symbols = np.stack([found for found, _ in encoded], 1)
        features = ChainedRows(self.encoder.codecs, symbols, data_space(table, self.schema)).features
        for link, column in enumerate(self.last.columns):
            chances = self.last.log_probabilities(link, features)
            total += np.take_along_axis(chances, np.maximum(symbols[:, [column]], 0), 1)[:, 0]
        evidence = [
            None if place in self.last.columns else Evidence(np.ones(codec.size), symbols[:, place])
            for place, codec in enumerate(self.encoder.codecs.values())
        ]
        for start in range(0, len(table), CHUNK):
            part = slice(start, start + CHUNK)
            known = [None if one is None else _rows_of(one, part) for one in evidence]
            found = [tree.upward(known).log_evidence for tree in self.trees]
            total[part] += logsumexp(found, axis=0) - np.log(len(found))
        return np.asarray(total)

    def state(self) -> tuple[Arrays, dict[str, Any]]:
        """The codecs, the tables of the hidden trees and the boosted trees."""
        arrays, extra = self.encoder.state()
        arrays |= {f"chain.{name}": array for name, array in self.last.state().items()}
        for place, tree in enumerate(self.trees):
            arrays |= {
                f"tree{place}.parents": tree.parents,
                f"tree{place}.prior": tree.prior,
                f"tree{place}.edges": tree.edges,
                f"tree{place}.leaves": np.concatenate(tree.leaves),
            }
        return arrays, {**extra, "trees": len(self.trees)}

    def restore(self, arrays: Arrays, extra: dict[str, Any]) -> None:
        """Take what `state` gave."""
        self.encoder = TableEncoder.restored(self.schema, arrays, extra)
        self.last = BoostedChain.restored(
            {name.removeprefix("chain."): array for name, array in arrays.items() if name.startswith("chain.")}
        )
        ends = np.cumsum([codec.size for codec in self.encoder.codecs.values()])[:-1]
        self.trees = [
            LatentTree(
                arrays[f"tree{place}.parents"],
                arrays[f"tree{place}.prior"],
                arrays[f"tree{place}.edges"],
                np.split(arrays[f"tree{place}.leaves"], ends),
            )
            for place in range(extra["trees"])
        ]


def _asked(conditions: Conditions | None) -> Mapping[str, Allowed]:
    return conditions.columns if conditions is not None else {}


def _repeated(known: Evidence, times: int) -> Evidence:
    """The evidence of each row, several times in a row."""
    return Evidence(np.repeat(known.weights, times, 0) if known.weights.ndim == 2 else known.weights)


def _each(allowed: Allowed, times: int) -> Allowed:
    """The bounds of each row, several times in a row."""
    low, high = (np.repeat(end, times) if np.ndim(end) else end for end in (allowed.low, allowed.high))
    return replace(allowed, low=low, high=high)


def _rows_of(known: Evidence, part: slice | NDArray[np.intp]) -> Evidence:
    """The evidence of some rows."""
    weights = known.weights[part] if known.weights.ndim == 2 else known.weights
    return Evidence(weights, None if known.symbols is None else known.symbols[part])
