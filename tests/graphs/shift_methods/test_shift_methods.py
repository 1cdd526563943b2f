"""What holds for every training rule, whatever it minimises; and each rule against an oracle of its own."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close
from torch_geometric.data import Batch, Data

from graftable.errors import ConfigError, DataError
from graftable.graphs.nn import GraphEncoder
from graftable.graphs.shift_methods import METHODS, make_method, method_class, method_settings
from graftable.graphs.shift_methods.environments import GroupDRO
from graftable.graphs.shift_methods.learned_weights import RowMemory
from graftable.graphs.shift_methods.literal import partial_dependence, variable_clusters
from graftable.graphs.shift_methods.parts import GraphBatch, GraphNetwork, Moment, Task, mean_over
from graftable.graphs.shift_methods.rationale import both_directions, supervised_contrast, top_edges, touched

WIDTH = 8
TASKS = {
    "binary": Task("binary", 2),
    "multiclass": Task("multiclass", 3),
    "multitask": Task("multitask", 3),
    "regression": Task("regression", 1),
}
NOW = Moment(epoch=2, step=5)
#: settings with which everything that a method does happens in the first epochs
QUICK = {
    "l2r_joint": {"warmup": 0, "every": 1, "memory": 16, "smoothing": 0.5},
    "l2r_literal": {"warmup": 0, "steps": 3},
    "l2r_literal_second": {"warmup": 0, "steps": 3},
    "ood_gnn": {"warmup": 0, "steps": 3},
    "stablenet": {"steps": 3},
}
KEEPS_STATE = ("group_dro", "stablenet", "ood_gnn", "l2r_literal", "l2r_joint")


def labels(task, count):
    if task.kind == "multitask":
        y = torch.arange(count * task.outputs).view(count, -1).remainder(2).float()
        y[0, 1] = y[-1, :] = float("nan")
        return y
    if task.kind == "regression":
        return torch.linspace(-1, 1, count).view(-1, 1)
    return torch.arange(count).remainder(task.outputs)


def graph_batch(task, count=8, seed=0, edges=True, environments=2, y=None):
    draw = torch.Generator().manual_seed(seed)
    y = labels(task, count) if y is None else y
    graphs = []
    for number in range(count):
        nodes = 4 + number % 3
        path = torch.stack([torch.arange(nodes - 1), torch.arange(1, nodes)])
        edge_index = torch.cat([path, path.flip(0)], dim=1) if edges else torch.zeros(2, 0, dtype=torch.long)
        x = torch.randn(nodes, 3, generator=draw)
        environment = number % environments
        graphs.append(Data(x=x, edge_index=edge_index, y=y[number : number + 1], environment=environment))
        graphs[-1].graph_number = number
    return GraphBatch.from_pyg(Batch.from_data_list(graphs))


def network(task, seed=0):
    torch.manual_seed(seed)
    return GraphNetwork(GraphEncoder("gin", 3, WIDTH, 2), task.outputs)


def made(name, task, **settings):
    torch.manual_seed(1)
    return make_method(name, task, WIDTH, QUICK.get(name, {}) | settings)


def step(method, net, graphs, moment=NOW, seed=0):
    torch.manual_seed(seed)
    loss, extras = method.loss(net, graphs, moment)
    assert all(np.isfinite(float(value)) for value in extras.values())
    return loss


@pytest.fixture(params=METHODS)
def name(request):
    return request.param


@pytest.mark.filterwarnings("ignore:the weights are uniform", "ignore:of 8 environments")
class TestEveryMethod:
    @pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
    def test_the_loss_is_finite_and_reaches_encoder_and_head(self, name, task):
        if name == "ciga" and not task.one_class:
            with pytest.raises(ConfigError, match="CIGA compares graphs of one class, but the task is"):
                made(name, task)
            return
        net, method = network(task), made(name, task)
        for seed in range(3):  # the later batches meet what the earlier ones left
            loss = step(method, net, graph_batch(task, seed=seed))
        loss.backward()
        assert torch.isfinite(loss)
        for parameter in (net.encoder.input.weight, net.head.weight):
            assert torch.isfinite(parameter.grad).all()
            assert bool(parameter.grad.any())

    @pytest.mark.parametrize(
        "given",
        [
            {"edges": False},
            {"y": torch.zeros(8, dtype=torch.long)},
            {"environments": 8},
            {"environments": 1},
            {"count": 1},
            {"y": torch.full((8,), -1)},
        ],
        ids=["no edges", "one class", "environments of one", "one environment", "one graph", "no labels"],
    )
    def test_a_poor_batch_has_a_finite_loss_and_gradient(self, name, given):
        task = TASKS["binary"]
        net, method = network(task), made(name, task)
        for _ in range(2):
            loss = step(method, net, graph_batch(task, **given))
        loss.backward()
        assert torch.isfinite(loss)
        assert all(torch.isfinite(p.grad).all() for p in net.parameters() if p.grad is not None)

    def test_a_prediction_is_the_same_twice_and_finite_without_edges(self, name):
        task = TASKS["multiclass"]
        net, method = network(task).eval(), made(name, task).eval()
        for edges in (True, False):
            graphs = graph_batch(task, edges=edges)
            first, second = (net.head(method.embed(net, graphs)) for _ in range(2))
            assert first.shape == (8, 3)
            assert torch.equal(first, second)
            assert torch.isfinite(first).all()

    def test_a_method_that_is_saved_and_loaded_goes_on_alike(self, name):
        task = TASKS["binary"]
        net, method = network(task), made(name, task)
        for seed in range(2):
            step(method, net, graph_batch(task, seed=seed))
        other = made(name, task)
        other.load_state_dict(method.state_dict())
        state = method.training_state()
        assert bool(state) == (name in (*KEEPS_STATE, "l2r_literal_second"))
        other.load_training_state(state)
        losses = [step(each, network(task), graph_batch(task, seed=3)) for each in (method, other)]
        assert torch.equal(*losses)


def test_a_name_or_setting_that_does_not_exist_is_refused_with_those_that_do():
    with pytest.raises(ConfigError, match="method is 'irn'; expected one of erm, irm"):
        method_class("irn")
    with pytest.raises(ConfigError, match="gsat has no setting 'rho'; it has prior, first_prior"):
        make_method("gsat", TASKS["binary"], WIDTH, {"rho": 0.5})
    with pytest.raises(ConfigError, match="l2r_permuted has no setting 'control'"):
        make_method("l2r_permuted", TASKS["binary"], WIDTH, {"control": "none"})
    assert method_settings("erm") == {}


@pytest.mark.parametrize(
    ("method", "settings", "said"),
    [
        ("irm", {"penalty": -1.0}, "penalty is -1.0"),
        ("mixup", {"alpha": 0.0}, "alpha of Mixup"),
        ("gsat", {"prior": 0.95}, "prior 0.95"),
        ("dir", {"ratio": 1.0}, "ratio of DIR"),
        ("l2r", {"rho": 0.0}, "rho is 0"),
        ("l2r", {"clusters": "some"}, "clusters is 'some'"),
        ("l2r_joint", {"every": 0}, "every 0"),
        ("l2r_literal", {"functions": 0}, "functions is 0"),
        ("stablenet", {"momentum": 1.0}, "momentum 1.0"),
    ],
)
def test_a_setting_out_of_range_is_refused(method, settings, said):
    with pytest.raises(ConfigError, match=said):
        make_method(method, TASKS["binary"], WIDTH, settings)


class TestTask:
    def test_unknown_labels_add_nothing(self):
        y = torch.tensor([[1.0, float("nan")], [float("nan"), float("nan")]])
        logits = torch.randn(2, 2, requires_grad=True)
        losses, known = TASKS["multitask"].losses(logits, y)
        mean_over(losses, known).backward()
        assert known.tolist() == [True, False]
        assert_close(losses[0], torch.nn.functional.softplus(-logits[0, 0]))
        assert logits.grad[0, 1] == 0
        assert not logits.grad[1].any()

    def test_a_label_that_does_not_fit_is_refused(self):
        with pytest.raises(DataError, match="a label is 2; expected a class from 0 to 1"):
            TASKS["binary"].losses(torch.zeros(1, 2), torch.tensor([2]))
        with pytest.raises(DataError, match=r"labels have shape \(2, 2\); expected \(2, 3\) for multitask"):
            TASKS["multitask"].losses(torch.zeros(2, 3), torch.zeros(4))


class TestEnvironments:
    def test_irm_penalises_the_slope_at_the_shared_scale(self):
        task, graphs = TASKS["binary"], graph_batch(TASKS["binary"])
        net = network(task).eval()
        logits = net(graphs).detach().double()

        def risk(scale, rows):
            return torch.nn.functional.cross_entropy(scale * logits[rows], graphs.y[rows])

        parts = [(graphs.environment == e).nonzero().squeeze(1) for e in (0, 1)]
        slopes = [(risk(1 + 1e-5, rows) - risk(1 - 1e-5, rows)) / 2e-5 for rows in parts]
        expected = risk(1, torch.arange(8)) + 3 * torch.stack(slopes).square().mean()
        assert step(made("irm", task, penalty=3.0), net, graphs).item() == pytest.approx(expected.item(), rel=1e-4)

    def test_vrex_adds_the_variance_of_risks(self):
        task, graphs = TASKS["regression"], graph_batch(TASKS["regression"])
        net = network(task).eval()
        losses = (net(graphs) - graphs.y).square().flatten()
        risks = [losses[graphs.environment == e].mean().item() for e in (0, 1)]
        expected = losses.mean().item() + 10 * np.var(risks)
        assert step(made("vrex", task), net, graphs).item() == pytest.approx(expected, rel=1e-5)

    def test_group_dro_turns_to_the_worst_environment(self):
        task, graphs = TASKS["binary"], graph_batch(TASKS["binary"])
        net, method = network(task).eval(), GroupDRO(task, WIDTH, step_size=100.0)
        losses, _ = task.losses(net(graphs), graphs.y)
        risks = torch.stack([losses[graphs.environment == e].mean() for e in (0, 1)])
        for _ in range(20):
            loss = step(method, net, graphs)
        assert_close(loss, risks.max(), atol=1e-4, rtol=1e-4)

    def test_coral_asks_nothing_of_environments_that_are_alike(self):
        task = TASKS["binary"]
        graphs, net = graph_batch(task, count=6), network(task).eval()
        method = made("coral", task)
        z = net.embed(graphs)
        net.embed = lambda _: torch.cat([z[:3], z[:3]])
        alike = graph_batch(task, count=6)
        alike.environment.copy_(torch.tensor([0, 0, 0, 1, 1, 1]))
        assert float(method.loss(net, alike, Moment(0, 0))[1]["penalty"]) < 1e-12
        net.embed = lambda _: torch.cat([z[:3], z[:3] + 1])
        assert float(method.loss(net, alike, Moment(0, 0))[1]["penalty"]) == pytest.approx(1.0, rel=1e-4)


class TestRationale:
    def test_both_directions_of_an_edge_score_alike(self):
        adjacency = graph_batch(TASKS["binary"]).adjacency
        values = both_directions(torch.randn(adjacency.num_edges), adjacency)
        pairs = {(int(i), int(j)): float(v) for i, j, v in zip(adjacency.row, adjacency.col, values, strict=True)}
        assert all(value == pytest.approx(pairs[j, i]) for (i, j), value in pairs.items())

    def test_a_share_of_each_graphs_edges_is_chosen_the_best_first(self):
        graphs = graph_batch(TASKS["binary"])
        scores = torch.randn(graphs.adjacency.num_edges, generator=torch.Generator().manual_seed(2))
        chosen = top_edges(scores, graphs, 0.3)
        owner = torch.bucketize(graphs.adjacency.row, graphs.segments.rowptr[1:], right=True)
        for number in range(8):
            inside = owner == number
            best = scores[inside].topk(int(np.ceil(0.3 * int(inside.sum())))).values
            assert_close(scores[inside & chosen].sort(descending=True).values, best)
        assert set(touched(chosen, graphs).tolist()) == {0.0, 1.0}

    def test_all_nodes_of_a_graph_without_edges_are_kept(self):
        graphs = graph_batch(TASKS["binary"], edges=False)
        nothing = torch.zeros(0, dtype=torch.bool)
        assert touched(nothing, graphs).all()

    def test_contrast_is_that_of_the_loop(self):
        draw = torch.Generator().manual_seed(0)
        z, classes = torch.randn(6, 4, generator=draw), torch.tensor([0, 1, 0, 0, -1, 2])
        rows = torch.nn.functional.normalize(z, dim=1).double()
        total = []
        for n in range(6):
            mates = [m for m in range(6) if m != n and classes[m] == classes[n] >= 0]
            others = torch.stack([rows[n] @ rows[m] / 0.5 for m in range(6) if m != n]).logsumexp(0)
            if mates:
                total.append(-sum(rows[n] @ rows[m] / 0.5 - others for m in mates) / len(mates))
        assert float(supervised_contrast(z, classes, 0.5)) == pytest.approx(float(sum(total) / len(total)), rel=1e-5)


class TestLearnedWeights:
    def test_partial_dependence_is_that_of_the_loop(self):
        draw = torch.Generator().manual_seed(0)
        features, weight = torch.randn(7, 4, 2, generator=draw), torch.rand(7, generator=draw)
        clusters = torch.tensor([0, 1, 0, 2])
        weighted = features * weight.view(-1, 1, 1)
        centred = weighted - weighted.mean(0)
        expected = sum(
            ((centred[:, i].T @ centred[:, j]) / 6).square().sum()
            for i in range(4)
            for j in range(i)
            if clusters[i] != clusters[j]
        )
        assert_close(partial_dependence(features, weight, clusters), expected)
        assert float(partial_dependence(features, weight, torch.zeros(4))) == 0

    def test_a_queue_is_a_moving_average_of_rows(self):
        memory = RowMemory(2, 0.5)
        rows = [torch.full((2, 1), float(value)) for value in (0, 0, 4)]
        for part in rows:
            memory.update(part, torch.ones(2))
        memory.update(torch.full((1, 1), 8.0), torch.ones(1))
        assert [queue.flatten().tolist() for queue in memory.features] == [[5.0, 2.0], [6.75, 3.0]]

    def test_clusters_part_variables_whose_correlation_varies(self):
        correlations = []
        for sign in (1.0, -1.0, 1.0, -1.0):
            matrix = torch.eye(4)
            matrix[:2, 2:] = matrix[2:, :2] = 0.9 * sign
            matrix[0, 1] = matrix[1, 0] = matrix[2, 3] = matrix[3, 2] = 0.8
            correlations.append(matrix)
        found = variable_clusters(correlations, 2)
        assert found[0] == found[1] != found[2] == found[3]

    def test_the_second_order_is_the_change_of_each_loss_along_the_gradient(self):
        task, graphs = TASKS["binary"], graph_batch(TASKS["binary"])
        net = network(task).eval()
        method = made("l2r_literal_second", task, epsilon=1e-3, network_rate=0.5, clusters=0)
        z, weight = net.embed(graphs), torch.rand(8)
        pull = method._second_order_pull(net, graphs, z, weight)
        parameters = list(net.parameters())
        dependence = partial_dependence(method._functions(net.embed(graphs)), weight)
        along = torch.autograd.grad(dependence, parameters, materialize_grads=True)
        losses, _ = task.losses(net(graphs), graphs.y)
        slopes = []
        for loss in losses:
            own = torch.autograd.grad(loss, parameters, retain_graph=True, materialize_grads=True)
            slopes.append(sum((a * b).sum() for a, b in zip(own, along, strict=True)))
        assert_close(pull, -0.5 * torch.stack(slopes), atol=2e-2 * float(pull.abs().max()), rtol=5e-2)

    def test_weights_stay_at_least_zero_and_of_mean_one_while_dependence_falls(self):
        method = made("l2r_literal", TASKS["binary"], clusters=0, rate=0.1, queues=0, steps=20)
        draw = torch.Generator().manual_seed(0)
        z = torch.randn(64, 1, generator=draw) + 0.5 * torch.randn(64, WIDTH, generator=draw)
        moved = method._moved(z, torch.ones(64), None)
        assert float(moved.min()) >= 0
        assert float(moved.mean()) == pytest.approx(1, abs=1e-5)
        features = method._functions(z)
        assert partial_dependence(features, moved) < partial_dependence(features, torch.ones(64))
