"""Does the shipped generator do what the prompt says? First sample, no selection, held-out templates.

    python benchmarks/lggm_text.py                      # about 15 minutes on two cores

Every prompt uses a sentence that was held out of training. "rules off" keeps the text and throws away everything that
the rule parser read: the trained text encoder must do it alone.
"""

import argparse
import sys

import numpy as np
from _common import figure, share_figure, write_figures

from graftable.graphs.attributes import graph_attributes
from graftable.graphs.conditions import Condition
from graftable.graphs.corpus import DOMAINS, REAL_DOMAINS, corpus_path
from graftable.graphs.metrics import attribute_error, domain_accuracy, level_accuracy, paraphrase_consistency
from graftable.graphs.prompt_templates import paraphrases
from graftable.graphs.prompts import held_out_prompts, parse_prompt
from graftable.models.lggm import LGGM
from graftable.models.pretrained import load_pretrained
from graftable.pipelines.readers import read_graphs

LEVEL_ATTRIBUTES = ("mean_degree", "clustering", "density", "modularity")


def levels(model: LGGM, repeats: int) -> list[dict]:
    """Level accuracy by attribute, with the rules and without."""
    terciles = model.table.terciles()
    figures = []
    for attribute in LEVEL_ATTRIBUTES:
        asked = [(text, wish.levels[attribute]) for text, wish in held_out_prompts((attribute,))] * repeats
        for rules in ("on", "off"):
            requests = [parse_prompt(text) if rules == "on" else Condition(text=text) for text, _ in asked]
            graphs = model.generate(requests, seed=0)
            achieved = [graph_attributes(graph)[attribute] for graph in graphs]
            share = level_accuracy([level for _, level in asked], achieved, terciles.cuts[attribute])
            peer, bar = ("target", 80) if rules == "on" else ("chance", 33.3)
            name = f"level/{attribute}/rules_{rules}"
            figures.append(share_figure(name, share, peer=peer, peer_value=bar, samples=len(asked)))
    return figures


def numbers(model: LGGM) -> list[dict]:
    """Exact n; and requested against achieved values on a grid of 9 targets x 20 samples."""
    figures = []
    grid = {
        "mean_degree": np.linspace(2, 10, 9),
        "clustering": np.linspace(0, 0.8, 9),
        "modularity": np.linspace(0.3, 0.7, 9),
    }
    for attribute, targets in grid.items():
        words = attribute.replace("_", " ").replace("clustering", "clustering coefficient")
        texts = [f"a graph of 50 nodes with a {words} of {target:.2f}" for target in targets for _ in range(20)]
        graphs = model.generate([parse_prompt(text) for text in texts], seed=0)
        achieved = [graph_attributes(graph)[attribute] for graph in graphs]
        errors = attribute_error(np.repeat(targets, 20), achieved)
        target = 0.9 if attribute == "mean_degree" else None
        figures.append(
            figure(
                f"number/{attribute}/spearman", errors["spearman"], "", peer="target", peer_value=target, samples=180
            )
        )
        figures.append(figure(f"number/{attribute}/mae", errors["mae"], "", samples=180))
        if attribute == "mean_degree":
            exact = np.mean([graph.num_nodes == 50 for graph in graphs])
            figures.append(figure("number/num_nodes/exact", 100 * exact, "%", samples=180))
    return figures


def domains(model: LGGM, samples: int) -> list[dict]:
    """Which domain a forest taught on real training graphs sees in the drawings, rules on and off."""
    train, test = (
        [graph for graph in read_graphs(corpus_path() / f"{split}.parquet") if graph.domain in REAL_DOMAINS]
        for split in ("train", "test")
    )
    figures = []
    for rules in ("on", "off"):
        asked = [
            (text, name)
            for name in REAL_DOMAINS
            for text in (paraphrases(domain=name, held_out=True) * samples)[:samples]
        ]
        requests = [parse_prompt(text) if rules == "on" else Condition(text=text) for text, _ in asked]
        graphs = model.generate(requests, seed=0)
        shares = domain_accuracy(
            (train, [graph.domain for graph in train]),
            (graphs, [name for _, name in asked]),
            (test, [graph.domain for graph in test]),
        )
        figures.append(
            share_figure(
                f"domain/rules_{rules}",
                shares["generated"],
                peer="real test graphs",
                peer_value=100 * shares["real"].value,
                samples=len(asked),
            )
        )
    return figures


def wordings(model: LGGM, samples: int) -> list[dict]:
    """Whether different wordings of one request give the same graphs (1: as alike as one wording is to itself)."""
    texts = paraphrases(domain="power")[:4]
    drawn = {
        text: model.generate([parse_prompt(text, tuple(DOMAINS))] * samples, seed=i) for i, text in enumerate(texts)
    }
    return [figure("wordings/power/between_over_within", paraphrase_consistency(drawn), "", samples=4 * samples)]


def run() -> int:
    """Measure all four."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="lggm")
    parser.add_argument("--repeats", type=int, default=8, help="samples for each held-out prompt")
    arguments = parser.parse_args()
    model = load_pretrained(LGGM, arguments.model)
    figures = levels(model, arguments.repeats) + numbers(model) + domains(model, 20) + wordings(model, 40)
    write_figures("lggm_text", figures)
    return 0


if __name__ == "__main__":
    sys.exit(run())
