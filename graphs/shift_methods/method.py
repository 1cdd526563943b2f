"""What a method is: a rule by which a batch of graphs becomes a loss, and a network's answer a prediction."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn

from .parts import GraphBatch, GraphNetwork, Moment, Task, mean_over

__all__ = ["ERM", "Extras", "ShiftMethod"]

#: Numbers worth logging beside the loss.
Extras = dict[str, Tensor | float]


class ShiftMethod(nn.Module):
    """A training rule over an encoder and a head; networks that it needs besides are its own parameters.

    A subclass overrides ``loss``, and ``predict`` where a prediction is more than the head's answer. What it keeps
    between steps, other than parameters, goes through ``training_state``, so that a resumed run is exact. Its
    constructor takes ``task``, ``width`` and settings with the published defaults.

    Args:
        task: What is predicted.
        width: Width of the encoder.
    """

    #: Whether the rule compares environments; a set with a single one is then refused.
    needs_environments: ClassVar[bool] = False
    #: Whether the head is fitted again, on weighted graphs, once the encoder is trained.
    refits: ClassVar[bool] = False

    def __init__(self, task: Task, width: int) -> None:
        super().__init__()
        self.task, self.width = task, width

    def loss(self, network: GraphNetwork, graphs: GraphBatch, moment: Moment) -> tuple[Tensor, Extras]:
        """The loss of one training batch, and numbers worth logging."""
        raise NotImplementedError

    def embed(self, network: GraphNetwork, graphs: GraphBatch) -> Tensor:
        """One vector per graph, from which ``network.head`` predicts."""
        return network.embed(graphs)

    def predict(self, network: GraphNetwork, graphs: GraphBatch) -> Tensor:
        """The numbers from which a prediction is read: (graphs, outputs)."""
        out: Tensor = network.head(self.embed(network, graphs))
        return out

    def training_state(self) -> dict[str, Any]:
        """What a resumed run needs besides the weights: tensors, numbers, and lists and dictionaries of them."""
        return {}

    def load_training_state(self, state: dict[str, Any]) -> None:
        """Take over what ``training_state`` gave."""


class ERM(ShiftMethod):
    """Empirical risk minimisation: the mean loss, whatever the environment."""

    def loss(self, network: GraphNetwork, graphs: GraphBatch, moment: Moment) -> tuple[Tensor, Extras]:
        """The mean loss."""
        return mean_over(*self.task.losses(network(graphs), graphs.y)), {}
