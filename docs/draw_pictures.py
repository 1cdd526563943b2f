"""Draw the pictures of these pages: all (a minute on one core), or ``python docs/draw_pictures.py kernels``."""

import io
import json
import os
import sys
from pathlib import Path

import networkx as nx
import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from PIL import Image
from torch_geometric.data import Data
from torch_geometric.utils import to_networkx

from graftable.generation import generate
from graftable.graphs.corpus import DOMAINS, corpus_path
from graftable.graphs.drawing import draw_gallery
from graftable.graphs.layouts import layout_graph
from graftable.graphs.metrics import to_csr
from graftable.graphs.reweighting import DecorrelationWeighter, dependence_matrix
from graftable.graphs.shift import load_shift_set
from graftable.models.lggm import LGGM
from graftable.models.pretrained import load_pretrained
from graftable.pipelines.readers import read_graphs
from graftable.table_charts import SHARES, draw_marginals, draw_trends
from graftable.tabular import repair, synthesize
from graftable.tabular.quality import evaluate_table
from graftable.tabular.quality.figures import WORDS

FOLDER = Path(__file__).parent / "pictures"
SIZE = 80
PROMPTS = (
    "a power grid of 120 buses",
    "a road network of 150 junctions",
    "a collaboration network of 60 authors with high clustering",
    "an air traffic network of 50 airports",
    "a random tree with 80 nodes",
    "a dense friendship network of 90 people",
)


def draw_domains() -> None:
    """One test graph of each domain, of about SIZE nodes."""
    graphs = read_graphs(corpus_path() / "test.parquet")
    chosen = [min((g for g in graphs if g.domain == d), key=lambda g: abs(g.num_nodes - SIZE)) for d in DOMAINS]
    titles = [DOMAINS[domain].partition(";")[0] for domain in DOMAINS]
    draw_gallery(chosen, FOLDER / "domains.png", titles=titles, columns=5, cell=2.0)


def draw_prompts() -> None:
    """The first sample of each prompt, none picked."""
    network = load_pretrained(LGGM, "lggm")
    graphs = [generate(prompt, model=network, seed=0)[0] for prompt in PROMPTS]
    draw_gallery(graphs, FOLDER / "prompts.png", titles=PROMPTS, columns=3, cell=2.9)


def draw_beside_real() -> None:
    """The picture of the demo: four samples of one prompt, and the test graphs of the nearest sizes."""
    prompt, domain, nodes = PROMPTS[2], "col", 60
    real = [graph for graph in read_graphs(corpus_path() / "test.parquet") if graph.domain == domain]
    groups = {
        f'drawn from "{prompt}"': generate(prompt, 4, seed=0),
        "test graphs of the same domain, not seen in training": sorted(real, key=lambda g: abs(g.num_nodes - nodes))[
            :4
        ],
    }
    draw_gallery(groups, FOLDER / "beside_real.png", columns=4)


#: shape -> title and the width that is drawn where an operator has several
SHAPES = {"U": ("100,000 nodes, 1.6 M edges", 64), "P": ("the same by a power law", 128), "B": ("512 small graphs", 64)}
PEERS = {"PyG": "tab:blue", "DGL": "tab:orange", "torch.sparse": "tab:green", "dense padded": "tab:gray"}


def draw_kernels() -> None:
    """How many times as long the peers take: a row for each operator and direction, freed memory kept for all."""
    lines = (FOLDER.parents[1] / "benchmarks" / "results" / "kernels.jsonl").read_text().splitlines()
    times = {tuple(row["name"].split("/")): row["ms"] for row in map(json.loads, lines)}
    operators = list(dict.fromkeys(name[0] for name in times if name[0] != "construction"))
    rows = [(operator, direction) for operator in operators for direction in ("f", "fb")]
    figure = Figure(figsize=(11, 0.24 * len(rows) + 1.2), layout="constrained")
    for axes, (shape, (title, wanted)) in zip(
        figure.subplots(1, 3, sharex=True, sharey=True), SHAPES.items(), strict=True
    ):
        for y, (operator, direction) in enumerate(rows):
            widths = [int(w) for o, s, w, d, m in times if (o, s, d, m) == (operator, shape, direction, "kept")]
            if not widths:
                continue
            width = min(widths, key=lambda width: abs(width - wanted))
            ms = times[operator, shape, str(width), direction, "kept"]
            for peer, colour in PEERS.items():
                if peer in ms:
                    axes.plot(ms[peer] / ms["graftable"], y, "o", ms=4, c=colour, label=peer)
        axes.axvline(1, c="black", lw=0.8)
        axes.set(xscale="log", title=title, xlabel="time as a multiple of ours", ylim=(len(rows) - 0.5, -0.5))
        axes.grid(axis="x", which="both", lw=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_xticks([0.5, 1, 2, 5, 10, 20, 50], ["0.5", "1", "2", "5", "10", "20", "50"])
        axes.tick_params(axis="x", which="minor", labelbottom=False)
        axes.set_yticks(range(len(rows)), [_row_name(*row) for row in rows], fontsize=8)
    handles = {
        handle.get_label(): handle for axes in figure.axes for handle in axes.lines if handle.get_label() in PEERS
    }
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(FOLDER / "kernels.png", dpi=110)


def _row_name(operator: str, direction: str) -> str:
    return operator.replace("_", " ") if direction == "f" else "and backward"


def shrink(picture: Path) -> None:
    """Keep 96 colours: a third of the bytes, since the history keeps every version."""
    # small areas of bright colours lose them to the cut by frequency
    rare = picture.stem in ("shift_sets", "table_quality")
    with Image.open(picture) as image:
        plain, method = image.convert("RGB"), Image.Quantize.FASTOCTREE if rare else None
        plain.quantize(256 if rare else 96, method, dither=Image.Dither.NONE).save(picture, optimize=True)


#: a choice of two convex parts: a corner below a line, or a strip above another
RULES = """
debt <= 0.5 * income or debt >= income + 20
debt >= 0
if debt >= income + 20 then income >= 15
income <= 100
"""


def draw_repair() -> None:
    """A table of two columns before and after its repair, with the region where the rules hold."""
    rng = np.random.default_rng(3)
    table = pd.DataFrame({"income": rng.normal(50, 25, 350).round(1), "debt": rng.normal(42, 32, 350).round(1)})
    repaired, _ = repair(table, RULES)
    moved = (repaired != table).any(axis=1).to_numpy()
    x, y = np.meshgrid(np.linspace(-25, 125, 601), np.linspace(-50, 150, 601))
    holds = ((y <= 0.5 * x) | ((y >= x + 20) & (x >= 15))) & (y >= 0) & (x <= 100)
    figure = Figure(figsize=(10, 4.4), layout="constrained")
    titles = (f"before: {moved.sum()} of {len(table)} rows break a rule", "after: none does, and the others stay")
    for axes, data, title in zip(figure.subplots(1, 2, sharey=True), (table, repaired), titles, strict=True):
        axes.contourf(x, y, holds, levels=[0.5, 1.5], colors=["#dcecdc"])
        axes.plot(*data[~moved].to_numpy().T, ".", c="#3b6ea5", ms=5, label="rows that obeyed")
        axes.plot(*data[moved].to_numpy().T, ".", c="#d1495b", ms=5, label="rows that did not")
        axes.set(title=title, xlabel="income", xlim=(-25, 125), ylim=(-50, 150))
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("debt")
    figure.axes[0].legend(frameon=False, loc="lower right", fontsize=8)
    for (x0, y0), (x1, y1) in zip(table[moved].to_numpy(), repaired[moved].to_numpy(), strict=True):
        figure.axes[1].plot((x0, x1), (y0, y1), c="#d1495b", lw=0.4, alpha=0.6)
    figure.savefig(FOLDER / "repair.png", dpi=110)


def draw_synthesis() -> None:
    """Rows of two times that a rule orders: real, drawn, pushed to the bound, and drawn so that the rule holds."""
    rng = np.random.default_rng(2)
    start = rng.gamma(4, 9, 1500).round(1)
    real = pd.DataFrame({"start": start, "end": (start + rng.gamma(1.5, 4, 1500)).round(1)})
    rule = "end >= start"
    drawn, _ = synthesize(real, n=1500, engine="copula", seed=1)
    pushed, _ = repair(drawn, rule)
    made, report = synthesize(real, rules=rule, n=1500, engine="copula", seed=1)
    broken = (drawn["end"] < drawn["start"]).to_numpy()
    shares = [(frame["end"] == frame["start"]).mean() for frame in (real, pushed, made)]
    titles = (
        f"the real rows: {shares[0]:.0%} on the bound",
        f"drawn without the rule: {broken.mean():.0%} break it",
        f"those pushed to the bound: {shares[1]:.0%} on it",
        f"graftable synthesize: {shares[2]:.0%} on it, {report.violating_rows} break the rule",
    )
    figure = Figure(figsize=(13, 3.7), layout="constrained")
    frames = (real, drawn, pushed, made)
    for axes, frame, title in zip(figure.subplots(1, 4, sharey=True), frames, titles, strict=True):
        axes.fill_between((0, 110), (0, 110), 110, color="#dcecdc")
        red = broken if frame is drawn or frame is pushed else np.zeros(len(frame), bool)
        axes.plot(*frame[~red].to_numpy().T, ".", c="#3b6ea5", ms=3)
        axes.plot(*frame[red].to_numpy().T, ".", c="#d1495b", ms=3)
        axes.set(xlabel="start", xlim=(0, 110), ylim=(0, 110))
        axes.set_title(title, fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("end")
    figure.savefig(FOLDER / "synthesis.png", dpi=110)


#: family -> title and settings
SHIFTS = {
    "triangles": ("TRIANGLES: how many?\ntest: larger graphs", {"size": 600}),
    "colors": ("COLORS: how many green?\ntest: larger graphs", {"size": 44}),
    "spurious_motif": ("Spurious-Motif: which motif?\ntest: any base, and larger", {"size": 60}),
    "good_motif": ("GOOD-Motif: which motif?\ntest: another base", {"size": 60, "label_noise": 0.0}),
    "wheel_star": ("Wheel and star: a wheel?\ntest: stars as often without", {"size": 60}),
    "good_cmnist": ("GOOD-CMNIST: which digit?\ntest: another colour", {"size": 200}),
}
BASE, MOTIF, BESIDE = "#9db4c8", "#d1495b", "#e0a030"


def draw_shift_sets() -> None:
    """Two training graphs and a test graph of each generated family; what the label is about is red."""
    figure = Figure(figsize=(13, 6.4), layout="constrained")
    axes = figure.subplots(3, len(SHIFTS))
    for column, (name, (title, settings)) in enumerate(SHIFTS.items()):
        shift = load_shift_set(name, seed=3, **settings)
        first = next(graph for graph in shift.train if int(graph.y) == 1)
        other = [graph for graph in shift.train if int(graph.y) == (2 if shift.num_classes > 2 else 0)]
        second = next((graph for graph in other if graph.environment != first.environment), other[0])
        same = [graph for graph in shift.ood_test if int(graph.y) == 1 and graph.num_nodes < 70]
        tested = next((graph for graph in same if graph.get("group") != first.get("group")), same[0])
        for row, graph in enumerate((first, second, tested)):
            _paint_shifted(axes[row, column], name, graph)
        axes[0, column].set_title(title, fontsize=9)
    for row, words in enumerate(("training", "training, another class", "test, class as in the first row")):
        axes[row, 0].set_ylabel(words, fontsize=9)
    figure.savefig(FOLDER / "shift_sets.png", dpi=110)


def _paint_shifted(axes: Axes, name: str, graph: Data) -> None:
    network, count = to_networkx(graph, to_undirected=True), graph.num_nodes
    colours = [BASE] * count
    if name == "good_cmnist":
        place, colours = graph.pos.numpy()[:, ::-1] * (1, -1), (3 * graph.x.numpy()).round() / 3
    else:
        place = layout_graph(to_csr(graph), seed=1)
    if name == "colors":
        colours = [("#d1495b", "#3a9b5c", "#4a78b5", "black")[c] for c in graph.x.argmax(dim=1).tolist()]
    if name == "triangles":
        colours = [MOTIF if inside else BASE for inside in nx.triangles(network).values()]
    if "motif" in name:
        colours[-5:] = [MOTIF] * 5
    if name == "wheel_star":  # the motif that the class is about was joined first, the one beside it last
        end = count
        for colour in (BESIDE, MOTIF):
            size = next(
                k for k in (6, 9) if len(list(nx.edge_boundary(network, range(end - k, end), range(end - k)))) == 1
            )
            colours[end - size : end] = [colour] * size
            end -= size
    lines = [(place[u], place[v]) for u, v in network.edges]
    axes.add_collection(LineCollection(lines, colors="#7b8794", linewidths=0.6, zorder=1))
    axes.scatter(
        *place.T,
        c=colours,
        s=40 if name == "good_cmnist" else 22 if count < 60 else 12,
        zorder=2,
        edgecolors="#555555",
        linewidths=0.3,
    )
    axes.set(xticks=[], yticks=[])
    axes.set_aspect("equal", adjustable="datalim")  # boxes of one size, so that the titles stand in a line
    axes.margins(0.08)
    axes.spines[:].set_visible(False)


TABLES = Path(os.environ.get("GRAFTABLE_DATA", "../shared/data/graphs")).parent / "tabular"


def draw_table_quality() -> None:
    """From the report on rows that the copula drew: its scores, the columns that are least alike, and pairs."""
    rows = pd.read_csv(TABLES / "adult.csv.gz").drop(columns="split").sample(15_000, random_state=0)
    learnt, held = rows[:5000], rows[5000:]
    made, _ = synthesize(learnt, rules=TABLES / "adult.own.rules.txt", engine="copula")
    found = evaluate_table(learnt, made, holdout=held, target="income")
    figure = Figure(figsize=(11, 2.1), layout="constrained")
    axes, names = figure.subplots(), [name for name in SHARES if name in found.scores]
    for y, name in enumerate(names):
        score = found.scores[name]
        axes.plot((min(score), max(score)), (y, y), c="#e4e1da", lw=2, zorder=0)
        for value, colour, word in zip(score, ("#3b6ea8", "#4a9b8e", "#a3aebb"), score._fields, strict=True):
            label = {"synthetic": "synthetic rows", "real": "other real rows", "independent": "independent columns"}[
                word
            ]
            axes.plot(value, y, "o", c=colour, ms=7, label=label if not y else None, zorder=2 if word == "real" else 3)
    axes.set(xlim=(-0.01, 1.01), ylim=(len(names) - 0.4, -0.6))
    axes.set_yticks(range(len(names)), [WORDS[name] for name in names])
    axes.tick_params(labelsize=8)
    axes.grid(axis="x", lw=0.4)
    axes.spines[:].set_visible(False)
    figure.legend(loc="outside upper left", ncols=3, frameon=False, fontsize=8)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=130)
    parts = (stream.getvalue(), draw_marginals(found, "png", most=8), draw_trends(found, "png"))
    pictures = [Image.open(io.BytesIO(part)).convert("RGB") for part in parts]
    page = Image.new("RGB", (max(p.width for p in pictures), sum(p.height for p in pictures)), "white")
    for place, picture in enumerate(pictures):
        page.paste(picture, ((page.width - picture.width) // 2, sum(p.height for p in pictures[:place])))
    page.save(FOLDER / "table_quality.png")


def draw_reweighting() -> None:
    """Weights, and the dependence of all pairs before and after; half of the variables follow a shortcut."""
    draw = torch.Generator().manual_seed(0)
    label = 2.0 * torch.randint(0, 2, (512,), generator=draw) - 1
    shortcut = torch.where(torch.rand(512, generator=draw) < 0.9, label, -label)
    followed = torch.cat([label.expand(16, -1), shortcut.expand(16, -1)]).T
    z = followed + torch.randn(512, 32, generator=draw)
    weights, report = DecorrelationWeighter(rho=0.5)(z, clusters=torch.arange(32) // 16)
    figure = Figure(figsize=(11, 3.4), layout="constrained")
    bars, *maps = figure.subplots(1, 3)
    parts = [weights[shortcut == label].numpy(), weights[shortcut != label].numpy()]
    bars.hist(parts, bins=24, stacked=True, color=[BASE, MOTIF], label=["shortcut agrees with the label", "disagrees"])
    bars.set(xlabel="weight", ylabel="samples", title=f"512 samples weigh as much as {report.ess:.0f}")
    bars.legend(frameon=False)
    pairs = [dependence_matrix(z), dependence_matrix(z, weights)]
    for axes, matrix, when in zip(maps, pairs, ("before", "after"), strict=True):
        total = float(matrix[:16, 16:].sum())
        shown = axes.imshow(
            matrix.fill_diagonal_(float("nan")), vmin=0, vmax=float(pairs[0].nan_to_num().max()), cmap="magma"
        )
        axes.set(title=f"{when}: {total:.1f} across clusters", xticks=[8, 24], yticks=[8, 24])
        axes.set_xticklabels(["label's", "shortcut's"])
        axes.set_yticklabels(["label's", "shortcut's"], rotation=90, va="center")
    figure.colorbar(shown, ax=maps, label="dependence of two variables")
    figure.savefig(FOLDER / "reweighting.png", dpi=110)


PICTURES = {
    "domains": draw_domains,
    "prompts": draw_prompts,
    "beside_real": draw_beside_real,
    "kernels": draw_kernels,
    "repair": draw_repair,
    "reweighting": draw_reweighting,
    "shift_sets": draw_shift_sets,
    "synthesis": draw_synthesis,
    "table_quality": draw_table_quality,
}


if __name__ == "__main__":
    for name in sys.argv[1:] or PICTURES:
        PICTURES[name]()
        shrink(FOLDER / f"{name}.png")
