"""Weights that decorrelate: the time of a whole call, what it buys, a refit on 10,000 rows, and the cost of a training.

    python benchmarks/reweighting.py                  # everything: about five minutes
    python benchmarks/reweighting.py --only training  # one part: weights, quality, refit or training
    python benchmarks/reweighting.py --quick          # to see that all works

The peer learns softmax weights by gradients on the explicit weighted covariances of the same features, with a penalty
of their squares, as published reweighting does: 50 steps of Adam, the penalty chosen so that the effective size comes
close to ours. It is timed and judged on the same rows: two blocks of variables, one of which follows the label and the
other an attribute that agrees with it in nine rows of ten.

A training is that of `configs/l2r_gnn.yaml`, 20 epochs of a GCN on 2,000 graphs: plain training, two stages and joint
weights in turn; and one on three environments, each of which two stages leave out once. All times are processor time
of one thread, so that what else the machine does stretches none.
"""

import argparse
import contextlib
import logging
import statistics
import time
import warnings

import lightning
import numpy as np
import torch
from _common import figure, write_figures
from _measure import interleave, names_of

from graftable.graphs.reweighting import DecorrelationWeighter, LastLayerRefit, RandomFourierFeatures
from graftable.models import L2RGNN
from graftable.pipelines import ShiftDataModule
from graftable.pipelines.randomness import CounterRandomness

ROWS, VARIABLES, COSINES = 512, 64, 5
TARGET_MS = 60
PARTS = ("weights", "quality", "refit", "training")
WHEELS = {"name": "wheel_star", "size": 2000, "settings": {"mu": 0.9}}
ENVIRONMENTS = {"name": "good_motif_basis_concept", "size": 2000}


def shortcut(seed, rows, width, agreement=0.9):
    """Variables of two blocks, the label, and the attribute."""
    draw = torch.Generator().manual_seed(seed)
    label = 2.0 * torch.randint(0, 2, (rows,), generator=draw) - 1
    attribute = torch.where(torch.rand(rows, generator=draw) < agreement, label, -label)
    signal = [0.8 * label.unsqueeze(1).expand(-1, width), attribute.unsqueeze(1).expand(-1, width)]
    return torch.cat(signal, 1) + torch.randn(rows, 2 * width, generator=draw), label, attribute


def learned(z, clusters, *, steps=50, rate=0.3, penalty=1.0, seed=0):
    """The peer's weights, of mean 1."""
    values = (z - z.mean(0)) / z.std(0, correction=0)
    features = RandomFourierFeatures(z.shape[1], COSINES, seed)(values).flatten(1)
    owner = clusters.repeat_interleave(COSINES)
    across = owner.unsqueeze(0) != owner.unsqueeze(1)
    logits = torch.zeros(len(z), requires_grad=True)
    optimiser = torch.optim.Adam([logits], rate)
    for _ in range(steps):
        share = logits.softmax(0)
        centred = features - share @ features
        covariance = centred.T @ (share.unsqueeze(1) * centred)
        loss = (covariance.square() * across).sum() / 2 + penalty * len(z) * share.square().sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return len(z) * logits.softmax(0).detach()


def correlation(a, b, weights):
    share = weights.double() / weights.double().sum()
    a, b = a.double() - share @ a.double(), b.double() - share @ b.double()
    return abs(float((share @ (a * b)) / ((share @ a**2) * (share @ b**2)).sqrt()))


def effective_share(weights):
    return float(weights.sum() ** 2 / weights.square().sum() / len(weights))


def timing(quick):
    """A whole call, and the peer's 50 steps, in turn."""
    z, label, _ = shortcut(0, ROWS, VARIABLES // 2)
    four = torch.arange(VARIABLES) * 4 // VARIABLES
    balanced = DecorrelationWeighter(balance="class")
    calls = {
        "4 clusters": lambda: DecorrelationWeighter()(z, four),
        "all pairs": lambda: DecorrelationWeighter()(z),
        "4 clusters, masses of classes kept": lambda: balanced(z, four, label=label),
        "peer": lambda: learned(z, four),
    }
    times = interleave(calls, quick=quick, clock=time.process_time)
    for name in [name for name in calls if name != "peer"]:
        yield figure(
            f"weights for {ROWS} rows, {VARIABLES} variables, {COSINES} cosines, {name}",
            times[name]["ms"],
            "ms",
            peer="50 steps of Adam on softmax weights, 4 clusters",
            peer_value=round(times["peer"]["ms"], 3),
            median=round(times[name]["median"], 3),
            threads=1,
            missed=[] if times[name]["ms"] <= TARGET_MS else [f"{TARGET_MS} ms"],
        )


def quality(seeds):
    """Correlation of label and attribute under the weights, at about the same effective size."""
    clusters = torch.arange(32) // 16
    rows = []
    for seed in range(seeds):
        z, label, attribute = shortcut(seed, 256, 16)
        ours, _ = DecorrelationWeighter(0.5, seed=seed)(z, clusters)
        theirs = min(
            (learned(z, clusters, penalty=penalty, seed=seed) for penalty in np.geomspace(1e-3, 1, 13)),
            key=lambda weights: abs(effective_share(weights) - 0.5),
        )
        both = [(correlation(label, attribute, w), effective_share(w)) for w in (ours, theirs, torch.ones(256))]
        rows.append([value for pair in both for value in pair])
    means = np.mean(rows, 0)
    yield figure(
        "correlation of label and attribute, 256 rows, effective size 0.5",
        means[0],
        "|r|",
        peer="50 steps of Adam on softmax weights",
        peer_value=round(float(means[2]), 4),
        unweighted=round(float(means[4]), 4),
        sd=round(float(np.std(rows, 0)[0]), 4),
        peer_sd=round(float(np.std(rows, 0)[2]), 4),
        effective=round(float(means[1]), 3),
        peer_effective=round(float(means[3]), 3),
        seeds=seeds,
    )


def refit(rows):
    """Weights of all rows in one problem, without a rows x rows matrix, and the head."""
    z, label, _ = shortcut(0, rows, VARIABLES // 2)
    clusters = torch.arange(VARIABLES) * 4 // VARIABLES
    start = time.process_time()
    _, report = LastLayerRefit(DecorrelationWeighter(0.5)).fit(z, (label > 0).long(), clusters=clusters)
    yield figure(
        f"refit of the last layer on {rows:,} rows, {VARIABLES} variables",
        time.process_time() - start,
        "s",
        threads=1,
        effective=round(report.ess / rows, 3),
        steps=report.num_iters,
    )


def fitted(method, epochs, graphs=WHEELS, **settings):
    """Processor seconds of a fit, data and all."""
    start = time.process_time()
    lightning.seed_everything(0, verbose=False)
    data = ShiftDataModule(**graphs, batch_size=64)
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        callbacks=[CounterRandomness(0)],
    )
    with contextlib.redirect_stdout(None):
        trainer.fit(L2RGNN(method, encoder="gcn", method_settings=settings), datamodule=data)
    return time.process_time() - start


def training(quick):
    """What a training costs over plain training, as the median of pairs."""
    warnings.filterwarnings("ignore", module="lightning")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    epochs, rounds = (2, 1) if quick else (20, 3)
    modes = {
        "two stages": ("l2r", WHEELS, {}, 20),
        "two stages, three environments": ("l2r", ENVIRONMENTS, {}, 20),
        "joint weights": ("l2r_joint", WHEELS, {}, 60),
        "joint weights, none of it warm-up": ("l2r_joint", WHEELS, {"warmup": 0}, 60),
    }
    fitted("l2r", 1)  # loads what is loaded once
    plains, taken = {name: [] for name in modes}, {name: [] for name in modes}
    for _ in range(rounds):
        wheels, environments = fitted("erm", epochs), fitted("erm", epochs, ENVIRONMENTS)
        for name, (method, graphs, settings, _) in modes.items():
            plains[name].append(wheels if graphs is WHEELS else environments)
            taken[name].append(fitted(method, epochs, graphs, **settings))
    for name, (*_, limit) in modes.items():
        plain = plains[name]
        shares = [100 * (mine / theirs - 1) for mine, theirs in zip(taken[name], plain, strict=True)]
        share = statistics.median(shares)
        yield figure(
            f"overhead of {name} over plain training, {epochs} epochs on 2,000 graphs",
            share,
            "%",
            range=[round(min(shares), 1), round(max(shares), 1)],
            seconds=round(statistics.median(taken[name]), 3),
            plain_seconds=round(statistics.median(plain), 3),
            threads=1,
            missed=[] if share <= limit else [f"{limit} %"],
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=names_of(PARTS), default=list(PARTS), help="parts, joined by commas")
    parser.add_argument("--quick", action="store_true", help="small, and nothing is written")
    options = parser.parse_args()
    torch.set_num_threads(1)
    parts = {
        "weights": lambda: timing(options.quick),
        "quality": lambda: quality(2 if options.quick else 10),
        "refit": lambda: refit(2000 if options.quick else 10_000),
        "training": lambda: training(options.quick),
    }
    figures = [one for name in options.only for one in parts[name]()]
    if options.quick:
        for one in figures:
            print({key: value for key, value in one.items() if key != "versions"})
    else:
        write_figures("reweighting", figures, update=True)


if __name__ == "__main__":
    main()
