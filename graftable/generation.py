"""Graphs from a description: the one-liners ``generate`` and ``fit_graphs``, and the command ``graftable generate``."""

import argparse
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Literal

import networkx as nx
from torch_geometric.data import Data

from graftable.arguments import GRAPH_ATTRIBUTES
from graftable.errors import ConfigError, DataError, PromptError
from graftable.graphs.attributes import graph_attributes
from graftable.graphs.conditions import Condition
from graftable.graphs.connectivity import components, join_components, largest_component
from graftable.graphs.prompts import parse_prompt

if TYPE_CHECKING:
    from graftable.models.lggm import LGGM

__all__ = ["Connected", "fit_graphs", "generate", "run"]

Connected = Literal["largest", "reject", "repair"]

MAX_REDRAWS = 10
"""How often ``reject`` draws a graph again before it forbids a second component outright."""


def generate(
    prompt: str | Condition,
    n: int = 1,
    *,
    num_nodes: int | None = None,
    num_edges: int | None = None,
    domain: str | None = None,
    attributes: Mapping[str, float] | None = None,
    seed: int = 0,
    model: "str | LGGM" = "lggm",
    connected: Connected | None = None,
    guidance: float | None = None,
    temperature: float = 1.0,
    progress: Callable[[int], None] | None = None,
) -> list[Data]:
    """Draw graphs from a description.

    Args:
        prompt: What the graphs should be like, such as ``"a power grid of 300 buses"``; or a parsed request.
        n: How many graphs.
        num_nodes: Exactly so many nodes; must not contradict the prompt.
        num_edges: About so many edges.
        domain: A domain of the corpus, such as ``power``.
        attributes: Wanted values by the names of ``graftable.graphs.attributes.ATTRIBUTES``.
        seed: Graph i is a function of (seed, i) and of everything else that is given here.
        model: A shipped model's name, a folder of ``save_pretrained``, or a model.
        connected: ``largest`` keeps the largest component (with fewer nodes), ``reject`` draws again, ``repair``
            adds the fewest edges that connect the graph; None takes graphs as drawn.
        guidance: 0 ignores the prompt, 1 follows the model, 2 follows the prompt more closely; default: the model's.
        temperature: Below 1, likelier and less varied graphs.
        progress: Called with the number of graphs that have just been completed.

    Returns:
        PyG graphs with ``domain``, and ``requested``: every value that was asked for or drawn before the graph.
        Where ``connected`` acted, ``connected_by`` says how.

    Raises:
        PromptError: If the prompt is empty or contradicts itself or the options.
        ModelFileError: If the model cannot be loaded.

    Example:
        >>> graph, = generate("a power grid of 30 buses")  # doctest: +SKIP
        >>> graph.num_nodes  # doctest: +SKIP
        30
    """
    from graftable.models.lggm import LGGM
    from graftable.models.pretrained import load_pretrained

    if n < 1:
        raise ConfigError(f"n is {n}; expected at least 1 graph.")
    options = Condition(num_nodes=num_nodes, num_edges=num_edges, domain=domain, attributes=dict(attributes or {}))
    network = load_pretrained(LGGM, model) if isinstance(model, str) else model
    request = _checked_request(prompt, options, network, connected, guidance, temperature)
    settings: dict[str, Any] = {"guidance": guidance, "temperature": temperature, "progress": progress}
    graphs = network.generate([request] * n, seed=seed, **settings)
    if connected is not None:
        graphs = [
            _connect(graph, connected, network, request, Random(f"{seed}/{index}"), settings)
            for index, graph in enumerate(graphs)
        ]
    return graphs


def _checked_request(
    prompt: str | Condition,
    options: Condition,
    network: "LGGM",
    connected: str | None,
    guidance: float | None,
    temperature: float,
) -> Condition:
    """What prompt and options ask for together; everything that can be refused is refused here, before any work."""
    if not isinstance(prompt, str | Condition):
        raise PromptError(f"the prompt is of type {type(prompt).__name__}; expected words or a Condition.")
    request = prompt if isinstance(prompt, Condition) else parse_prompt(prompt, network.domains)
    request = request.merged(options)
    network.check(request)
    if connected not in (None, "largest", "reject", "repair"):
        raise ConfigError(f"connected is {connected!r}; expected largest, reject or repair.")
    if connected is not None and request.attributes.get("components", 1) > 1:
        raise PromptError(
            f"{request.attributes['components']:g} components and a connected graph were both asked for; keep one."
        )
    if guidance is not None and not 0 <= guidance <= 10:
        raise ConfigError(f"guidance is {guidance:g}; expected 0 to 10, where 1 takes the model as it is.")
    if not 0.01 <= temperature <= 100:
        raise ConfigError(f"temperature is {temperature:g}; expected 0.01 to 100, where 1 takes the model as it is.")
    return request


def _connect(
    graph: Data, how: Connected, network: "LGGM", request: Condition, rng: Random, settings: dict[str, Any]
) -> Data:
    """Return the graph as it is if it is connected; else make, or draw, a connected one and say so in it."""
    if len(components(graph)) == 1:
        return graph
    if how == "reject":
        settings = {**settings, "progress": None}
        for draw in range(MAX_REDRAWS + 1):
            last = draw == MAX_REDRAWS
            (graph,) = network.generate([request], seed=rng.getrandbits(48), connected=last, **settings)
            if len(components(graph)) == 1:
                break
    else:
        graph = largest_component(graph) if how == "largest" else join_components(graph, rng)
    graph.connected_by = how
    return graph


def fit_graphs(
    graphs: "Iterable[Data | nx.Graph[Any]]",
    *,
    pretrained: str | None = "lggm",
    steps: int = 300,
    learning_rate: float | None = None,
    undirected: bool = False,
    nodes_per_batch: int = 2048,
    edges_per_batch: int = 2560,
    seed: int = 0,
    progress: bool = True,
    **settings: Any,
) -> "LGGM":
    """Fit a generator to one's own graphs, from the shipped weights or from scratch.

    Args:
        graphs: PyG or networkx graphs; simple and undirected.
        pretrained: Weights to start from, or None for a fresh model.
        steps: Optimiser steps.
        learning_rate: Peak; default 3e-4 from pretrained weights, 1e-3 from scratch.
        undirected: Take directed, weighted or multi-graphs by dropping what makes them so.
        nodes_per_batch: Budget of nodes.
        edges_per_batch: Budget of edges.
        seed: Of splits, order and initial weights.
        progress: Show a progress bar.
        **settings: Constructor arguments of ``LGGM`` for a fresh model; with ``pretrained`` only those that do not
            change its shape, such as ``dropout``.

    Returns:
        A model for ``generate(..., model=...)``, or to be saved by ``save_pretrained(folder)``.

    Raises:
        DataError: If a graph is not simple and undirected, or there are none.
    """
    import lightning.pytorch as pl

    from graftable.graphs.corpus import DOMAINS
    from graftable.models.lggm import LGGM
    from graftable.models.pretrained import load_pretrained
    from graftable.pipelines import GraphDataModule
    from graftable.pipelines.randomness import CounterRandomness
    from graftable.training import quieten_lightning

    quieten_lightning()
    graphs = list(graphs)
    if not graphs:
        raise DataError("there are no graphs to fit to; expected at least one.")
    strange = next((graph for graph in graphs if not isinstance(graph, Data | nx.Graph)), None)
    if strange is not None:
        raise DataError(f"found a {type(strange).__name__} among the graphs; expected networkx or PyG graphs.")
    if steps < 1:
        raise ConfigError(f"steps is {steps}; expected at least 1.")
    data = GraphDataModule.from_graphs(
        graphs,
        undirected=undirected,
        nodes_per_batch=nodes_per_batch,
        edges_per_batch=edges_per_batch,
        seed=seed,
        balance=1.0,
        split_fractions=(1.0, 0.0, 0.0),
    )
    pl.seed_everything(seed, verbose=False)
    settings["learning_rate"] = learning_rate or (3e-4 if pretrained else 1e-3)
    settings.setdefault("warmup_steps", max(steps // 20, 1))
    named = sorted({graph.get("domain") for graph in data.given or [] if graph.get("domain")})
    if pretrained:
        source = load_pretrained(LGGM, pretrained)
        known = source.domains
        settings = {**source.hparams, **settings, "pretrained": pretrained}
    else:
        known = settings.get("domains") or list(DOMAINS)
    settings["domains"] = [*known, *(name for name in named if name not in known)]
    model = LGGM(**settings)
    trainer = pl.Trainer(
        max_steps=steps,
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=progress,
        gradient_clip_val=1.0,
        limit_val_batches=0,
        use_distributed_sampler=False,
        callbacks=[CounterRandomness(seed)],
    )
    trainer.fit(model, datamodule=data)
    return model.eval()


@dataclass(frozen=True)
class _Row:
    """One line of the table of what was asked for and what came out."""

    name: str
    requested: str
    achieved: str


def run(namespace: argparse.Namespace) -> int:
    """``graftable generate``: GraphML files, graph records, a picture, and a table of requested against achieved."""
    from rich.console import Console
    from rich.progress import Progress

    from graftable.models.lggm import LGGM
    from graftable.models.pretrained import load_pretrained

    folder = Path(namespace.out)
    attributes = {
        name: value for name in (*GRAPH_ATTRIBUTES, "density") if (value := getattr(namespace, name)) is not None
    }
    options = Condition(
        num_nodes=namespace.num_nodes, num_edges=namespace.num_edges, domain=namespace.domain, attributes=attributes
    )
    parse_prompt(namespace.prompt).merged(options)  # a mistake is answered before the model is loaded
    network = load_pretrained(LGGM, namespace.model)
    choices = (namespace.connected, namespace.guidance, namespace.temperature)
    request = _checked_request(namespace.prompt, options, network, *choices)
    _check_writable(folder)
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=namespace.json or not console.is_terminal) as bar:
        task = bar.add_task("drawing graphs", total=namespace.count)
        graphs = generate(
            request,
            namespace.count,
            seed=namespace.seed,
            model=network,
            connected=namespace.connected,
            guidance=namespace.guidance,
            temperature=namespace.temperature,
            progress=lambda done: bar.advance(task, done),
        )
    for index, graph in enumerate(graphs):
        graph.graph_id = f"graph_{index:04d}"
        graph.text = namespace.prompt
    achieved = [graph_attributes(graph) for graph in graphs]
    written = _write(graphs, achieved, folder)
    acted = sum("connected_by" in graph for graph in graphs)
    if namespace.json:
        print(json.dumps(_summary(graphs, achieved, request, acted, written), indent=2))
        return 0
    _print_table(graphs, achieved, request)
    if replace(request, text=None) == Condition():
        print("no domain, number or level was recognised in the prompt; only its words as a whole guided the drawing")
    if namespace.connected:
        print(f"--connected {namespace.connected} acted on {acted} of {len(graphs)} graphs")
    print("wrote " + ", ".join(str(path) for path in written))
    print(f"next: graftable evaluate-graphs {folder}/graphs.parquet REFERENCE, or open {folder}/gallery.png")
    return 0


def _check_writable(folder: Path) -> None:
    """Refuse a folder that cannot be written before minutes of work, not after."""
    from graftable.files import require_writable

    require_writable(folder / "graphs.parquet")


def _write(graphs: Sequence[Data], achieved: Sequence[Mapping[str, float]], folder: Path) -> list[Path]:
    from graftable.files import write_text
    from graftable.graphs.conversion import to_graphml
    from graftable.graphs.drawing import draw_gallery
    from graftable.pipelines.readers import write_graphs

    records = [graph.clone() for graph in graphs]
    for record, measured in zip(records, achieved, strict=True):
        record.attributes = dict(measured)
        del record["requested"]
        write_text(folder / f"{record.graph_id}.graphml", to_graphml(record))
    parquet = write_graphs(records, folder / "graphs.parquet")
    picture = folder / "gallery.png"
    draw_gallery(graphs[:16], picture)
    first, last = records[0].graph_id, records[-1].graph_id
    graphml = folder / (f"{first}.graphml" if len(records) == 1 else f"{first}.graphml to {last}.graphml")
    return [graphml, parquet, picture]


def _print_table(graphs: Sequence[Data], achieved: Sequence[Mapping[str, float]], request: Condition) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=None, box=None, pad_edge=False, header_style="bold")
    for column in ("attribute", "asked for", "achieved (mean, range)"):
        table.add_column(column, justify="left" if column == "attribute" else "right")
    for row in table_rows(graphs, achieved, request):
        table.add_row(row.name, row.requested, row.achieved)
    Console().print(table)


def table_rows(graphs: Sequence[Data], achieved: Sequence[Mapping[str, float]], request: Condition) -> list[_Row]:
    """Requested against achieved, for sizes and for every attribute; a dash where the prompt left it open."""
    sizes = [{"num_nodes": float(graph.num_nodes or 0), "num_edges": graph.num_edges / 2} for graph in graphs]
    asked: dict[str, str] = {name: f"{value:g}" for name, value in request.attributes.items()}
    asked |= {name: level for name, level in request.levels.items() if name not in asked}
    if request.num_nodes is not None:
        asked["num_nodes"] = f"{request.num_nodes:,}"
    elif request.num_nodes_range is not None:
        asked["num_nodes"] = "{:,} to {:,}".format(*request.num_nodes_range)
    if request.num_edges is not None:
        asked["num_edges"] = f"{request.num_edges:,}"
    domains = Counter(graph.get("domain", "unknown") for graph in graphs)
    rows = [_Row("domain", request.domain or "-", ", ".join(f"{name} ({count})" for name, count in domains.items()))]
    for name in ("num_nodes", "num_edges", *achieved[0]):
        values = [size.get(name, measured.get(name, 0.0)) for size, measured in zip(sizes, achieved, strict=True)]
        mean, low, high = sum(values) / len(values), min(values), max(values)
        spread = f"{mean:.4g}" if low == high else f"{mean:.4g} ({low:.4g} to {high:.4g})"
        rows.append(_Row(name, asked.get(name, "-"), spread))
    return rows


def _summary(
    graphs: Sequence[Data], achieved: Sequence[Mapping[str, float]], request: Condition, acted: int, written: list[Path]
) -> dict[str, Any]:
    return {
        "request": request.to_dict(),
        "graphs": [
            {
                "graph_id": graph.graph_id,
                "num_nodes": graph.num_nodes,
                "num_edges": graph.num_edges // 2,
                "domain": graph.get("domain"),
                "requested": graph.requested,
                "achieved": dict(measured),
            }
            for graph, measured in zip(graphs, achieved, strict=True)
        ],
        "connected_acted": acted,
        "written": [str(path) for path in written],
    }
