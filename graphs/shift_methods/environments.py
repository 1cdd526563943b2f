"""Methods that compare environments: IRMv1, VREx, GroupDRO and Coral; and Mixup, which needs none."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from graftable.errors import ConfigError

from .method import Extras, ShiftMethod
from .parts import GraphBatch, GraphNetwork, Moment, Task, environment_rows, mean_over

__all__ = ["IRM", "Coral", "GroupDRO", "Mixup", "VREx"]


class IRM(ShiftMethod):
    r"""Invariant risk minimisation: one head should be best in every environment at once.

    .. math:: L = R + \lambda \frac{1}{E} \sum_e \big(\partial_s R_e(s f)\big|_{s=1}\big)^2

    with :math:`R` the mean over all graphs of the batch and :math:`R_e` that over environment e.

    Args:
        task: What is predicted.
        width: Width of the encoder.
        penalty: :math:`\lambda`; the published grids run from 0.1 to 100.

    References:
        Arjovsky et al., "Invariant Risk Minimization", 2019, section 3.
    """

    needs_environments: ClassVar[bool] = True

    def __init__(self, task: Task, width: int, penalty: float = 10.0) -> None:
        super().__init__(task, width)
        self.penalty = _at_least_zero("penalty", penalty)

    def loss(self, network: GraphNetwork, graphs: GraphBatch, moment: Moment) -> tuple[Tensor, Extras]:
        """Risk plus the squared gradients at the shared scale."""
        logits = network(graphs)
        losses, known = self.task.losses(logits, graphs.y)
        scale = torch.ones((), device=logits.device, requires_grad=True)
        scaled, _ = self.task.losses(logits * scale, graphs.y)
        rows = environment_rows(graphs.environment, known)
        risks = [scaled[each].mean() for each in rows]
        # the scale acts after the encoder, so that no derivative of a graph kernel's derivative is needed
        slopes = [torch.autograd.grad(risk, scale, create_graph=True)[0] for risk in risks]
        penalty = torch.stack(slopes).square().mean() if slopes else logits.new_zeros(())
        return mean_over(losses, known) + self.penalty * penalty, {"penalty": penalty.detach()}


class VREx(ShiftMethod):
    r"""Risk extrapolation: the variance of the environments' risks is a penalty.

    .. math:: L = R + \lambda \operatorname{Var}_e(R_e)

    Args:
        task: What is predicted.
        width: Width of the encoder.
        penalty: :math:`\lambda`; the published grids run from 1 to 1000.

    References:
        Krueger et al., "Out-of-Distribution Generalization via Risk Extrapolation", 2021, equation 8.
    """

    needs_environments: ClassVar[bool] = True

    def __init__(self, task: Task, width: int, penalty: float = 10.0) -> None:
        super().__init__(task, width)
        self.penalty = _at_least_zero("penalty", penalty)

    def loss(self, network: GraphNetwork, graphs: GraphBatch, moment: Moment) -> tuple[Tensor, Extras]:
        """Risk plus the variance of risks."""
        losses, known = self.task.losses(network(graphs), graphs.y)
        rows = environment_rows(graphs.environment, known)
        risks = [losses[each].mean() for each in rows]
        penalty = torch.stack(risks).var(correction=0) if risks else losses.new_zeros(())
        return mean_over(losses, known) + self.penalty * penalty, {"penalty": penalty.detach()}


class GroupDRO(ShiftMethod):
    r"""Distributionally robust optimisation over environments: those with a high risk weigh more and more.

    .. math:: q_e \leftarrow q_e \exp(\eta R_e) / \sum_{e'} q_{e'} \exp(\eta R_{e'}), \qquad L = \sum_e q_e R_e

    over the environments that the batch holds.

    Args:
        task: What is predicted.
        width: Width of the encoder.
        step_size: :math:`\eta`; the published grids run from 0.001 to 0.1.

    References:
        Sagawa et al., "Distributionally Robust Neural Networks for Group Shifts", 2020, algorithm 1.
    """

    needs_environments: ClassVar[bool] = True

    def __init__(self, task: Task, width: int, step_size: float = 0.01) -> None:
        super().__init__(task, width)
        self.step_size = _at_least_zero("step_size", step_size)
        self.log_weights: dict[int, float] = {}  # by environment; absent is 0

    def loss(self, network: GraphNetwork, graphs: GraphBatch, moment: Moment) -> tuple[Tensor, Extras]:
        """The weighted sum of the environments' risks."""
        losses, known = self.task.losses(network(graphs), graphs.y)
        rows = environment_rows(graphs.environment, known)
        if not rows:
            return mean_over(losses, known), {}
        risks = torch.stack([losses[each].mean() for each in rows])
        names = [int(graphs.environment[each[0]]) for each in rows]
        for name, risk in zip(names, risks.tolist(), strict=True):
            self.log_weights[name] = self.log_weights.get(name, 0.0) + self.step_size * risk
        weights = torch.tensor([self.log_weights[name] for name in names], device=risks.device).softmax(0)
        return (weights * risks).sum(), {"worst_risk": risks.detach().max()}

    def training_state(self) -> dict[str, dict[int, float]]:
        """The environments' weights."""
        return {"log_weights": dict(self.log_weights)}

    def load_training_state(self, state: dict[str, dict[int, float]]) -> None:
        """Take them over."""
        self.log_weights = dict(state["log_weights"])


class Coral(ShiftMethod):
    r"""Deep correlation alignment: embeddings have the same mean and covariance in every environment.

    .. math:: L = R + \lambda \frac{1}{P} \sum_{e < e'} \frac{1}{d} \lVert \mu_e - \mu_{e'} \rVert^2
        + \frac{1}{d^2} \lVert C_e - C_{e'} \rVert_F^2

    over the P pairs of environments with at least two graphs in the batch.

    Args:
        task: What is predicted.
        width: Width of the encoder.
        penalty: :math:`\lambda`; the published grids run from 0.001 to 1.

    References:
        Sun and Saenko, "Deep CORAL", 2016, equation 1; the mean as in Gulrajani and Lopez-Paz, 2021.
    """

    needs_environments: ClassVar[bool] = True

    def __init__(self, task: Task, width: int, penalty: float = 0.1) -> None:
        super().__init__(task, width)
        self.penalty = _at_least_zero("penalty", penalty)

    def loss(self, network: GraphNetwork, graphs: GraphBatch, moment: Moment) -> tuple[Tensor, Extras]:
        """Risk plus the distances of the first two moments."""
        z = network.embed(graphs)
        losses, known = self.task.losses(network.head(z), graphs.y)
        everywhere = torch.ones_like(known)  # no label is needed to align
        groups = [z[each].float() for each in environment_rows(graphs.environment, everywhere, least=2)]
        moments = [(group.mean(0), torch.cov(group.T).view(z.shape[1], z.shape[1])) for group in groups]
        distances = [
            (moments[i][0] - moments[j][0]).square().mean() + (moments[i][1] - moments[j][1]).square().mean()
            for i in range(len(moments))
            for j in range(i)
        ]
        penalty = torch.stack(distances).mean() if distances else z.new_zeros(())
        return mean_over(losses, known) + self.penalty * penalty, {"penalty": penalty.detach()}


class Mixup(ShiftMethod):
    r"""Embeddings of two graphs are mixed, and so are their losses.

    .. math:: L = \beta \ell(f(z'), y_a) + (1 - \beta) \ell(f(z'), y_b), \qquad z' = \beta z_a + (1 - \beta) z_b

    with one :math:`\beta \sim \operatorname{Beta}(\alpha, \alpha)` per batch. Graphs are mixed as embeddings, since
    there is no sum of two graphs.

    Args:
        task: What is predicted.
        width: Width of the encoder.
        alpha: :math:`\alpha`, above 0; published values are 0.4, 1 and 2.

    References:
        Zhang et al., "mixup", 2018; on graph embeddings: Wang et al., "Mixup for Node and Graph Classification", 2021.
    """

    def __init__(self, task: Task, width: int, alpha: float = 1.0) -> None:
        super().__init__(task, width)
        if not alpha > 0:
            raise ConfigError(f"alpha of Mixup is {alpha}; expected a number above 0.")
        self.alpha = alpha

    def loss(self, network: GraphNetwork, graphs: GraphBatch, moment: Moment) -> tuple[Tensor, Extras]:
        """The mixed loss of mixed embeddings."""
        z = network.embed(graphs)
        share = float(torch.distributions.Beta(self.alpha, self.alpha).sample())
        other = torch.randperm(len(z)).to(z.device)
        logits = network.head(share * z + (1 - share) * z[other])
        own = mean_over(*self.task.losses(logits, graphs.y))
        others = mean_over(*self.task.losses(logits, graphs.y[other]))
        return share * own + (1 - share) * others, {}


def _at_least_zero(name: str, value: float) -> float:
    if not value >= 0:
        raise ConfigError(f"{name} is {value}; expected a number of at least 0.")
    return value
