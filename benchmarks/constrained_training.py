"""Rules nowhere, in training, or on samples: what each makes of CTGAN, TVAE and the flow, on adult, heloc and url.

    python benchmarks/constrained_training.py            # 54 trainings, half an hour of one core; can be resumed
    python benchmarks/constrained_training.py --summary  # the tables in Markdown, from the results
    python benchmarks/constrained_training.py --picture docs/pictures/constrained_training.png
    python benchmarks/constrained_training.py --engines tvae --tables heloc --seeds 1

Each engine learns one half of a table (4,000 rows) and is compared with the other, in four versions: U, the rows as an
engine draws them that knows no rules; P, the same weights with the rules on samples; C, trained with the rules in its
loss; and R, the rows of U that obey once `Synthesizer` has drawn others for those that do not and repaired the rest.
U and C have the same budget. Times are CPU seconds of one thread. What is in the results already is not trained again.
"""

import argparse
import json
import time

import numpy as np
import torch
from _common import GRAPH_SETS, RESULTS, figure, write_figures
from _table_quality import halves, quality

from graftable.tabular import Synthesizer, repair
from graftable.tabular.finishing import snap
from graftable.tabular.generators import engine_class
from graftable.tabular.obedient_rows import binding, broken_rules
from graftable.tabular.synthesis import boundary_shares

TABLES = GRAPH_SETS.parent / "tabular"
RULES = {"adult": "own", "heloc": "linear", "url": "linear"}
ROWS = 4_000
#: 60, 60 and at most 99 epochs of the 3,600 rows (heloc: 3,290) that are not held out; no early stop, so that all train
#: alike. A critic that sees ten rows at a time (pac 10) has 25 examples a step here and learns no pair of columns.
SETTINGS = {
    "ctgan": {"epochs": 60, "batch_size": 250, "pac": 1, "generator_lr": 1e-3, "critic_lr": 1e-3},
    "tvae": {"epochs": 60, "batch_size": 250, "patience": 0},
    "flow": {"steps": 1_300, "batch_size": 250, "width": 128, "patience": 0},
}
PACKAGES = ("graftable", "torch", "numpy", "xgboost-cpu")
VERSIONS = {"U": "none", "P": "none", "R": "none", "C": "training"}  # how each is trained
PAIRS = (("C", "U"), ("C", "P"), ("P", "U"), ("R", "P"))
#: Scores that are compared: their names, and whether more is better.
COMPARED = {
    "utility": ("utility", True),
    "c2st": ("C2ST", True),
    "shape": ("shape", True),
    "trend": ("trend", True),
    "boundary": ("boundary off", False),
}
#: Columns of the table: titles, factors and digits.
COLUMNS = {
    "violating": ("break a rule, %", 100, 2),
    "violating_untouched": ("without the last clamp, %", 100, 1),
    "violating_finished": ("finished, %", 100, 2),
    "moved": ("moved, %", 100, 1),
    "distance": ("spreads a moved row", 1, 2),
    "boundary": ("boundary off, %", 100, 1),
    "utility": ("utility", 1, 3),
    "utility_real": ("of real rows", 1, 3),
    "c2st": ("C2ST", 1, 3),
    "shape": ("shape", 1, 3),
    "trend": ("trend", 1, 3),
    "train_seconds": ("training, s", 1, 0),
}


class Judge:
    """Scores rows of one table and seed."""

    def __init__(self, table, seed):
        self.seed = seed
        self.half = halves(TABLES / f"{table}.csv.gz", rows=ROWS, seed=seed)
        self.train, _, self.schema = self.half[:3]

    def scores(self, rows, model):
        """Quality, violating rows, and how far boundary shares are from those of the rows that were learnt."""
        rows = snap(rows, self.schema)
        shares = boundary_shares(rows, model.rule_set, self.schema)
        off = [abs(share - model.boundaries[name]) for name, share in shares.items()]
        broken = broken_rules(rows, binding(model.rule_set), self.schema)
        train, holdout, schema, continuous, target = self.half
        parts = ("fidelity", "utility")
        found = quality(train, holdout, rows, schema, continuous, target, seed=self.seed, parts=parts)
        return {
            **found,
            "violating": float(broken.any(0).mean()),
            "boundary": float(np.mean(off)),
            "boundary_most": float(np.max(off)),
        }

    def moves(self, rows, model):
        """What an exact repair has to do to rows that no rule has touched: rows, spreads and categories a moved row."""
        rows = snap(rows, self.schema)
        broken = broken_rules(rows, binding(model.rule_set), self.schema)
        _, report = repair(rows, binding(model.rule_set), self.schema, coerce=True)
        moved = max(report.moved_rows, 1)
        return {
            "violating_untouched": float(broken.any(0).mean()),
            "moved": report.moved_rows / len(rows),
            "distance": sum(column.mean * column.moved for column in report.columns.values()) / moved,
            "flipped": sum(column.flipped for column in report.columns.values()) / moved,
        }


def untouched(generator, n, seed):
    """Rows as they are before the last clamp."""
    guidance, generator.guidance = generator.guidance, None
    rows = generator.sample(n, seed=seed)
    generator.guidance = guidance
    return rows


def with_rules_on_samples(model):
    """The same weights as P: rules act when rows are drawn."""
    plain = model.generator
    twin = engine_class(plain.engine)(**plain.settings() | {"constrain": "sampling"})
    twin.schema = plain.schema
    twin.restore(*plain.state())
    made = Synthesizer(plain.engine, schema=model.schema)
    made.generator, made.rule_set, made.derived = twin, model.rule_set, model.derived
    made.booleans, made.boundaries = model.booleans, model.boundaries
    return made


def version(judge, model, *, finished=False):
    """All figures of one version, and how many finished rows break a rule."""
    started = time.process_time()
    made, report = model.sample(ROWS, seed=judge.seed)
    seconds = time.process_time() - started
    rows = made if finished else model.generator.sample(ROWS, seed=judge.seed)
    left = broken_rules(made, binding(model.rule_set), judge.schema).any(0)
    scores = judge.scores(rows, model) | {"violating_finished": float(left.mean()), "finished_seconds": seconds}
    if finished:
        return scores | {"redrawn": report.redrawn_rows / ROWS, "moved": report.repaired_rows / ROWS}
    return scores | judge.moves(untouched(model.generator, ROWS, judge.seed), model)


def train(table, engine, constrain, seed):
    """One training and the versions that come of it, as one figure."""
    judge = Judge(table, seed)
    rules = str(TABLES / f"{table}.{RULES[table]}.rules.txt")
    model = Synthesizer(engine, rules=rules, schema=judge.schema, settings=SETTINGS[engine] | {"constrain": constrain})
    started = time.process_time()
    model.fit(judge.train, seed=seed)
    seconds = time.process_time() - started
    if constrain == "none":
        guarded = with_rules_on_samples(model)
        scores = {"U": version(judge, model), "P": version(judge, guarded), "R": version(judge, model, finished=True)}
    else:
        scores = {"C": version(judge, model)}
    rounded = {name: {key: round(value, 5) for key, value in found.items()} for name, found in scores.items()}
    name = f"{table}.{engine}.{constrain}.seed{seed}"
    more = {"rows": ROWS, "settings": SETTINGS[engine], "scores": rounded, "packages": PACKAGES}
    return figure(name, seconds, "s", **more)


def results():
    """All figures in the results, by name."""
    path = RESULTS / "constrained_training.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return {one["name"]: one for one in map(json.loads, lines)}


def interval(differences):
    """Mean and half the width of a 95 % t-interval."""
    from scipy.stats import t

    values = np.asarray(differences, float)
    if len(values) < 2:
        return float(values.mean()) if len(values) else np.nan, np.nan
    return float(values.mean()), float(t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))


def scored(found, engine, version, key):
    """A score by table and seed."""
    kept = {}
    for name, one in found.items():
        table, of, constrain, seed = name.split(".")
        if of == engine and constrain == VERSIONS[version]:
            value = one["value"] if key == "train_seconds" else one["scores"][version].get(key)
            if value is not None:
                kept[table, seed] = value
    return kept


def differences(found, first, second, key, engines, tables=tuple(RULES)):
    """First minus second, for each engine, table and seed that both have."""
    pairs = []
    for engine in engines:
        ours, theirs = (scored(found, engine, name, key) for name in (first, second))
        common = sorted(ours.keys() & theirs.keys())
        pairs += [ours[place] - theirs[place] for place in common if place[0] in tables]
    return pairs


def verdict(mean, half, better):
    """What an interval says."""
    if np.isnan(half):
        return "too few"
    if abs(mean) <= half:
        return "no difference seen"
    return "gains" if (mean > 0) == better else "loses"


def summary(found):
    """Lines of Markdown: the versions by table and engine, then the paired differences, all and by table."""
    yield "| table | engine | | " + " | ".join(title for title, _, _ in COLUMNS.values()) + " |"
    yield "|---|---|---|" + "---|" * len(COLUMNS)
    for table in RULES:
        for engine in SETTINGS:
            for version in VERSIONS:
                cells = []
                for key, (_, factor, digits) in COLUMNS.items():
                    kept = [one for (of, _), one in scored(found, engine, version, key).items() if of == table]
                    cells.append(f"{factor * np.mean(kept):.{digits}f}" if kept else "")
                if any(cells):
                    yield f"| {table} | {engine} | {version} | " + " | ".join(cells) + " |"
    yield ""
    yield "| difference | score | " + " | ".join((*SETTINGS, "all three")) + " |"
    yield "|---|---|" + "---|" * (len(SETTINGS) + 1)
    for first, second in PAIRS:
        for key, (name, better) in COMPARED.items():
            cells = [said(differences(found, first, second, key, engines), better) for engines in groups()]
            yield f"| {first} - {second} | {name} | " + " | ".join(cells) + " |"
    yield ""
    yield "| C - P on | score | " + " | ".join(SETTINGS) + " |"
    yield "|---|---|" + "---|" * len(SETTINGS)
    for table in RULES:
        for key, (name, better) in COMPARED.items():
            cells = [said(differences(found, "C", "P", key, (engine,), (table,)), better) for engine in SETTINGS]
            yield f"| {table} | {name} | " + " | ".join(cells) + " |"


def said(values, better):
    """Some differences in words."""
    mean, half = interval(values)
    return f"{mean:+.3f} ± {half:.3f}, {verdict(mean, half, better)}"


def groups():
    """The engines one by one, and all together."""
    return [*((engine,) for engine in SETTINGS), tuple(SETTINGS)]


def draw(found, path):
    """The differences and their intervals, a panel a score and a row a pair of versions."""
    from matplotlib.figure import Figure

    words = {"C": "rules in training", "U": "no rules", "P": "rules on samples", "R": "finished only"}
    colours = ("#3b6ea8", "#e0a030", "#4a9b8e", "black")
    canvas = Figure(figsize=(12, 3.6), layout="constrained")
    panels = canvas.subplots(1, len(COMPARED), sharey=True)
    for axes, (key, (name, better)) in zip(panels, COMPARED.items(), strict=True):
        for y, (first, second) in enumerate(PAIRS):
            for place, (engines, colour) in enumerate(zip(groups(), colours, strict=True)):
                mean, half = interval(differences(found, first, second, key, engines))
                label = "all three" if len(engines) > 1 else engines[0]
                axes.errorbar(mean, y + 0.17 * (place - 1.5), xerr=half, fmt="o", ms=4, c=colour, label=label)
        axes.axvline(0, c="black", lw=0.8)
        axes.set_title(f"{name}\n{'right' if better else 'left'} is better", fontsize=9)
        axes.tick_params(labelsize=8)
        axes.locator_params(axis="x", nbins=4)
        axes.grid(axis="x", lw=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_yticks(range(len(PAIRS)), [f"{words[a]}\nminus {words[b]}" for a, b in PAIRS])
    panels[0].set_ylim(len(PAIRS) - 0.5, -0.5)
    handles, labels = panels[0].get_legend_handles_labels()
    shown = dict(zip(labels, handles, strict=True))
    canvas.legend(shown.values(), shown, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    canvas.savefig(path, dpi=110)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tables", default=",".join(RULES))
    parser.add_argument("--engines", default=",".join(SETTINGS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--summary", action="store_true", help="print the tables of the results, and train nothing")
    parser.add_argument("--picture", metavar="FILE", help="draw the differences of the results, and train nothing")
    args = parser.parse_args()
    if args.picture:
        draw(results(), args.picture)
        return
    if args.summary:
        print("\n".join(summary(results())))
        return
    torch.set_num_threads(1)
    for seed in range(args.seeds):  # the seed outermost, so that any part of the runs is a balanced one
        for table in args.tables.split(","):
            for engine in args.engines.split(","):
                for constrain in ("none", "training"):
                    if f"{table}.{engine}.{constrain}.seed{seed}" not in results():
                        write_figures("constrained_training", [train(table, engine, constrain, seed)], update=True)


if __name__ == "__main__":
    main()
