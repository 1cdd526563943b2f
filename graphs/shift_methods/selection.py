"""Which epoch's weights are kept: the best on validation graphs, by rules that a user could follow."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from graftable.graphs.shift.scores import HIGHER_IS_BETTER

__all__ = ["Selection"]


@dataclass
class Selection:
    """The best epoch so far by each column of validation graphs (``id_val``, ``ood_val``).

    A higher score wins; among equal scores, as accuracy has many, the lower loss.

    Attributes:
        metric: Name of the score.
        best: By column: ``score``, ``loss``, ``epoch`` and ``state``, the network's tensors at that time.

    Example:
        >>> selection = Selection("accuracy")
        >>> [selection.offer("id_val", score, loss, 0, {}) for score, loss in ((0.5, 1.0), (0.5, 0.9), (0.4, 0.1))]
        [True, True, False]
    """

    metric: str
    best: dict[str, dict[str, Any]] = field(default_factory=dict)

    def offer(self, column: str, score: float, loss: float, epoch: int, state: dict[str, Tensor]) -> bool:
        """Keep a copy of ``state`` if it is better than what is kept; a score that is NaN never is."""
        sign = 1.0 if HIGHER_IS_BETTER[self.metric] else -1.0
        held = self.best.get(column)
        if score != score or (held and (sign * score, -loss) <= (sign * held["score"], -held["loss"])):
            return False
        copies = {name: tensor.detach().cpu().clone() for name, tensor in state.items()}
        self.best[column] = {"score": score, "loss": loss, "epoch": epoch, "state": copies}
        return True
