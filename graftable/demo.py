"""``graftable demo``: train a small model, draw graphs from three sentences with the shipped one, write a report."""

import argparse
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
from torch_geometric.data import Data

from graftable import __version__
from graftable.demo_training import read_curve, train_small_model
from graftable.errors import DataError
from graftable.files import atomic_path, write_text
from graftable.generation import generate
from graftable.graphs.attributes import graph_attributes
from graftable.graphs.conditions import Condition, Terciles
from graftable.graphs.conversion import to_graphml
from graftable.graphs.corpus import DOMAINS, FAMILIES, corpus_metadata, corpus_path
from graftable.graphs.drawing import draw_gallery
from graftable.graphs.metrics import BASELINES, GraphIndex, describe_graphs, evaluate_graphs, vun
from graftable.graphs.prompts import parse_prompt
from graftable.models.lggm import LGGM
from graftable.models.pretrained import load_pretrained
from graftable.pipelines.readers import write_graphs
from graftable.pipelines.records import iterate_records, record_to_graph
from graftable.report import Answer, Score, render_report
from graftable.training import TrainingCLI

__all__ = ["PROMPTS", "Plan", "run", "run_demo"]

PROMPTS = (
    "a power grid of 120 buses",
    "a collaboration network of 60 authors with high clustering",
    "a random tree with 80 nodes",
)
BASELINE_NAMES = {
    "erdos_renyi": ("Erdős-Rényi", "baseline"),
    "chung_lu": ("Chung-Lu", "baseline"),
    "copy_of_train": ("copy of the training set", "copy"),
}
RESAMPLES = 1000


@dataclass(frozen=True)
class Plan:
    """What the demo does.

    Args:
        prompts: The sentences.
        model: The model that draws: a shipped name or a folder.
        config: The bundled config of the small model that is trained.
        overrides: Command-line options on top of the config.
        drawn: Graphs for each prompt.
        scored: Graphs for each domain that are measured against test graphs; at most as many as there are of these.
    """

    prompts: tuple[str, ...] = PROMPTS
    model: str = "lggm"
    config: str = "lggm_demo"
    overrides: tuple[str, ...] = ()
    drawn: int = 4
    scored: int = 50


def run(namespace: argparse.Namespace) -> int:
    """Run the demo with ``out`` and ``seed`` of the command line; returns 0."""
    run_demo(Path(namespace.out), namespace.seed)
    return 0


def run_demo(out: Path, seed: int = 0, plan: Plan | None = None) -> list[Path]:
    """Train, draw, measure, write.

    Args:
        out: The folder to write to.
        seed: Of the training and of the drawings.
        plan: What to do, if not the usual.

    Returns:
        The files written.

    Raises:
        DataError: If the folder cannot be written; this is found out before anything else is done.
        ModelFileError: If the model cannot be loaded.
    """
    # the matrices are small: a second thread gains little, and where cores are shared it waits for the first
    with threadpool_limits(1):
        return _run(out, seed, plan or Plan())


def _run(out: Path, seed: int, plan: Plan) -> list[Path]:
    console, begun = Console(highlight=False, markup=False), time.monotonic()
    _check_writable(out)
    network = load_pretrained(LGGM, plan.model)
    requests = [parse_prompt(prompt, network.domains) for prompt in plan.prompts]
    console.print("1/3  training a small model on the bundled corpus")
    training = train_small_model(out, seed, plan.config, plan.overrides)
    small = training.model
    console.print(f'2/3  drawing {plan.drawn} graphs from each prompt with "{plan.model}"')
    answers = []
    for prompt, request in zip(plan.prompts, requests, strict=True):
        drawn = generate(request, plan.drawn, seed=seed, model=network)
        for index, graph in enumerate(drawn):
            graph.graph_id = f"{request.domain or 'graph'}_{index + 1}"
            graph.text = prompt
        answers.append(Answer(prompt, request, drawn))
    console.print("3/3  measuring them, and the baselines, against real graphs")
    answers = [_judged(answer, network, plan, seed) for answer in answers]
    sketches = [generate(request, 1, seed=seed, model=small)[0] for request in requests]
    seconds = time.monotonic() - begun
    html = _report(answers, training, sketches, network, plan, seed, seconds)
    written = _write(out, answers, html)
    small.save_pretrained(out / "small_model")
    _say(console, out, written, seconds)
    return written


def _check_writable(out: Path) -> None:
    """Refuse a folder that cannot be written before minutes of work, not after."""
    if out.exists() and not out.is_dir():
        raise DataError(f"{out}: is a file, expected a folder to write to; choose another name with --out.")
    try:
        with atomic_path(out / ".probe"):
            pass
        (out / ".probe").unlink()
    except (DataError, OSError) as error:
        raise DataError(f"{out}: cannot be written; choose a folder that you may write to with --out.") from error


def _corpus(split: str, domain: str) -> list[Data]:
    """The graphs of one domain, of every size: those that the small model was trained on may be fewer."""
    records = iterate_records(corpus_path() / f"{split}.parquet")
    return [record_to_graph(record) for record in records if record["domain"] == domain]


def _judged(answer: Answer, network: LGGM, plan: Plan, seed: int) -> Answer:
    """Put real graphs beside the drawn ones, and measure the model on the domain."""
    domain = answer.request.domain
    if domain not in DOMAINS:
        return answer
    train, test = _corpus("train", domain), _corpus("test", domain)
    size = math.log(answer.drawn[0].num_nodes)
    nearest = sorted(test, key=lambda graph: abs(math.log(graph.num_nodes) - size))[: plan.drawn]
    count = min(plan.scored, len(test))
    rng = np.random.default_rng(seed)
    sets = {"the model": network.generate([Condition(domain=domain)] * count, seed=seed + 1)}
    sets |= {name: draw(train, count, rng) for name, draw in BASELINES.items()}
    return Answer(answer.prompt, answer.request, answer.drawn, nearest, _scores(sets, train, test, seed))


def _scores(sets: dict[str, list[Data]], train: list[Data], test: list[Data], seed: int) -> list[Score]:
    reference, yardstick, known = describe_graphs(test), describe_graphs(train), GraphIndex(train)
    scores = []
    for name, drawn in sets.items():
        words, kind = BASELINE_NAMES.get(name, (name, "ours"))
        report = evaluate_graphs(drawn, reference, yardstick, bootstrap=RESAMPLES, seed=seed)
        scores.append(Score(words, kind, report, vun(drawn, known)))
    return scores


def _report(
    answers: Sequence[Answer],
    training: TrainingCLI,
    sketches: Sequence[Data],
    network: LGGM,
    plan: Plan,
    seed: int,
    seconds: float,
) -> str:
    weights = sum(parameter.numel() for parameter in network.parameters())
    real = sum(counts["train"] for name, counts in corpus_metadata()["counts"].items() if name not in FAMILIES)
    return render_report(
        answers,
        title="Graphs drawn from a sentence",
        lede=f"A model with {weights / 1e6:.1f} million weights, trained on {real:,} pieces of real networks and on"
        " random families, drew these graphs from sentences, on a CPU and offline. Beside them"
        " stand graphs that it never saw, and simple generators that know only sizes or degrees.",
        terciles=Terciles.from_dict(corpus_metadata()["terciles"]),
        curve=read_curve(training),
        small=sketches,
        next_steps=_next_steps(plan),
        footer=f"graftable {__version__}, seed {seed}; training, drawing and measuring took {seconds:,.0f} s. "
        "The origins and licences of the networks are listed in graphs/corpus/README.md.",
        resamples=RESAMPLES,
    )


def _next_steps(plan: Plan) -> list[tuple[str, str]]:
    return [
        ("Draw from your own sentence:", 'graftable generate "a road network of 200 junctions" -n 8 --out roads'),
        ("Turn your graphs into records, and fine-tune the shipped model on them:",
         "graftable convert my_graphs/ records/\n"
         "graftable fit --config lggm --data.init_args.records records/ --model.init_args.pretrained lggm"),
        ("Measure one set of graphs against another:",
         "graftable evaluate-graphs roads/graphs.parquet my_graphs/"),
        ("Copy the config of the small model and change it:", f"graftable configs copy {plan.config}"),
    ]  # fmt: skip


def _write(out: Path, answers: Sequence[Answer], html: str) -> list[Path]:
    """Everything a user takes away; each file is whole or absent."""
    written, records = [], []
    for answer in answers:
        for graph in answer.drawn:
            record = graph.clone()
            record.attributes = graph_attributes(graph)
            del record["requested"]
            records.append(record)
            written.append(out / f"{record.graph_id}.graphml")
            write_text(written[-1], to_graphml(record))
    written.append(write_graphs(records, out / "graphs.parquet"))
    for index, answer in enumerate(answers):
        groups = {f'drawn from "{answer.prompt}"': list(answer.drawn)}
        if answer.real:
            groups["test graphs of the same domain, not seen in training"] = list(answer.real)
        picture = out / f"{answer.request.domain or f'prompt_{index + 1}'}.png"
        written.append(draw_gallery(groups, picture, columns=len(answer.drawn)))
    write_text(out / "report.html", html)
    return [*written, out / "report.html"]


def _say(console: Console, out: Path, written: Sequence[Path], seconds: float) -> None:
    count = sum(path.suffix == ".graphml" for path in written)
    console.print(f"\nwrote to {out}/ in {seconds:,.0f} s:", soft_wrap=True)
    for name, words in (
        ("report.html", "the report: open it in a browser, nothing is loaded from elsewhere"),
        ("*.png", "drawings beside real graphs of the same domain"),
        ("*.graphml", f"{count} graphs, for networkx, Gephi, Cytoscape or yEd"),
        ("graphs.parquet", "the same graphs as records, for graftable"),
        ("training/", "config, losses and checkpoint of the small model"),
        ("small_model/", "its weights, for graftable generate --model"),
    ):
        console.print(f"  {name:<15} {words}", soft_wrap=True)
    console.print('next: graftable generate "a power grid of 300 buses" -n 4 --out grids', soft_wrap=True)
