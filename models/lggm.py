"""LGGM: graphs of many domains, small and large, from a sentence.

Wang et al., "A Large-scale Training Paradigm for Graph Generative Models", ICLR 2025, trained one dense diffusion
model on graphs of thirteen domains. Three choices differ from the paper:

1. A graph is written as a depth-first trail by an autoregressive transformer with a pointer, one token an edge, in
   place of 500 passes over all pairs of nodes: cost grows with the edges, and the number of nodes is exact.
2. What a prompt leaves open (n and m before all) is drawn from p(. | prompt), not from one histogram of all domains:
   numbers and levels are parsed by rules, the rest is scored by a text encoder that a contrastive loss aligns with
   graph descriptors.
3. Every part of the condition is dropped at random in training, so that guidance at sampling has a true
   unconditional pass.
"""

import math
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, cast

import lightning
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.data import Batch, Data

from graftable.errors import ConfigError
from graftable.graphs.attributes import ATTRIBUTES
from graftable.graphs.condition_checks import ATTRIBUTE_RANGES
from graftable.graphs.condition_encoder import TEXT_WIDTH, ConditionEncoder, TextAlignment
from graftable.graphs.condition_table import VALUES, ConditionTable, DrawnCondition, domain_index
from graftable.graphs.conditions import Condition
from graftable.graphs.corpus import DOMAINS
from graftable.graphs.edge_lists import graph_from_edges
from graftable.graphs.prompts import write_prompt
from graftable.graphs.text_encoder import HashedTextEncoder, SentenceEncoder
from graftable.graphs.trail_batch import batch_trails, neighbour_lists
from graftable.graphs.trail_sampling import TrailRequest, sample_trails
from graftable.graphs.trail_transformer import TrailTransformer
from graftable.models.pretrained import PretrainedFolder, load_pretrained
from graftable.pipelines.records import graph_to_record

__all__ = ["LGGM"]

ALIGNED_ROWS = 128
"""Training graphs whose prompts are told apart in each step of the alignment loss."""


def next_token_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy over the tokens of all trails; labels of -100 are padding.

    Shapes:
        logits (batch, steps, choices), -inf where illegal; labels (batch, steps).
    """
    return F.cross_entropy(logits.float().flatten(0, 1), labels.flatten(), ignore_index=-100)


class LGGM(
    lightning.LightningModule,
    PretrainedFolder,
    library_name="graftable",
    license="apache-2.0",
    tags=["graph-generation"],
):
    """Generates graphs from prompts; one model for all domains.

    Args:
        width: Width of the transformer; 192 with 5 layers is about 2.4 million parameters.
        layers: Transformer blocks.
        heads: Attention heads; few wide ones, since on a CPU the softmax is what attention costs.
        window: How many tokens back attention reaches; older nodes stay in reach of the pointer.
        dropout: In the transformer's blocks; 0.1 for a corpus, up to 0.3 for a hundred graphs.
        domains: Names of the domains that a condition may name; default: those of the bundled corpus.
        text_encoder: Folder of a local sentence encoder; default: a small one that is trained with the model.
        guidance: Default of ``generate``: 0 ignores the prompt, 1 follows the model, 2 follows it more closely.
        condition_dropout: Probability with which each part of the condition is hidden in training.
        alignment_weight: Weight of the loss that aligns prompts with graph descriptors.
        learning_rate: Peak of AdamW's learning rate, after warm-up; then a cosine to 0 if the number of steps is known.
        weight_decay: AdamW's, on matrices only.
        warmup_steps: Steps of linear warm-up.
        max_tokens: Trails are cut after so many tokens in training; sampling has no limit.
        pretrained: Start from these weights: ``lggm`` (shipped) or a folder that ``save_pretrained`` wrote.

    References:
        Wang et al., "A Large-scale Training Paradigm for Graph Generative Models", 2025.
        Chen et al., "AutoGraph: Flatten Graphs as Sequences", 2025.
    """

    def __init__(
        self,
        width: int = 192,
        layers: int = 5,
        heads: int = 3,
        window: int = 512,
        dropout: float = 0.1,
        domains: list[str] | None = None,
        text_encoder: str | None = None,
        guidance: float = 1.0,
        condition_dropout: float = 0.15,
        alignment_weight: float = 0.1,
        learning_rate: float = 1e-3,
        weight_decay: float = 0.05,
        warmup_steps: int = 200,
        max_tokens: int = 768,
        pretrained: str | None = None,
    ) -> None:
        super().__init__()
        if width % heads or width // heads % 2:
            raise ConfigError(f"width {width} with {heads} heads: expected width / heads to be an even whole number.")
        self.save_hyperparameters()
        self.domains = list(DOMAINS) if domains is None else list(domains)
        self.trails = TrailTransformer(width, layers, heads, window, dropout)
        self.condition = ConditionEncoder(width, len(self.domains))
        self.text = SentenceEncoder(text_encoder, TEXT_WIDTH) if text_encoder else HashedTextEncoder(TEXT_WIDTH)
        self.alignment = TextAlignment(len(self.domains)).requires_grad_(alignment_weight > 0)
        self.table = ConditionTable()

    # Training

    def setup(self, stage: str) -> None:
        """Before a fit: take over pretrained weights, then the joint distribution of the data's conditions."""
        if stage != "fit":
            return
        if self.hparams["pretrained"] and not len(self.table):  # a model that was fitted goes on from itself
            self._start_from(self.hparams["pretrained"])
        self.fill_table(cast(Any, self.trainer).datamodule.graphs["train"])

    def fill_table(self, graphs: Sequence[Data]) -> None:
        """Make the condition table that of these graphs (each with ``attributes``).

        Raises:
            ConfigError: If a graph is of a domain that the model has no place for.
        """
        strangers = sorted({name for graph in graphs if (name := graph.get("domain"))} - set(self.domains))
        if strangers:
            raise ConfigError(
                f"there are graphs of the domain {strangers[0]!r}, which is not among the model's; "
                f"set model.init_args.domains to a list of all domains, or leave the domain out of the records."
            )
        rows = [
            [graph.num_nodes, graph.num_edges // 2, *(graph.attributes[name] for name in ATTRIBUTES)]
            for graph in graphs
        ]
        self.table.fill(self._domain_index([graph.get("domain") for graph in graphs]), torch.tensor(rows))

    def _start_from(self, pretrained: str) -> None:
        source = load_pretrained(LGGM, pretrained)
        weights = source.state_dict()
        # a domain is known by its name, whatever its place; a new one starts as the unknown domain
        rows = [0, *(source.domains.index(name) + 1 if name in source.domains else 0 for name in self.domains)]
        for name in ("condition.domain.weight", "alignment.domain.weight"):
            weights[name] = weights[name][rows]
        try:
            self.load_state_dict(weights)
        except RuntimeError as error:
            raise ConfigError(
                f"pretrained {pretrained!r}: its weights do not fit this model; expected the same width, layers "
                f"and heads as in its config.json ({str(error).splitlines()[-1].strip()})."
            ) from error

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """Next-token loss on a fresh trail of each graph, and the alignment loss on fresh prompts."""
        rng = Random(int(torch.randint(2**62, ()).item()))
        token_loss = self._token_loss(batch, rng)
        self.log("train/token_loss", token_loss, prog_bar=True, batch_size=batch.num_graphs)
        if not self.hparams["alignment_weight"]:
            return token_loss
        alignment_loss = self._alignment_loss(rng)
        self.log("train/alignment_loss", alignment_loss, batch_size=batch.num_graphs)
        weight: float = self.hparams["alignment_weight"]
        return token_loss + weight * alignment_loss

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """The same loss with every condition known, on trails that are the same in every epoch."""
        self._log_loss("val/token_loss", batch, batch_index)

    def test_step(self, batch: Batch, batch_index: int) -> None:
        """As in validation, on the test graphs."""
        self._log_loss("test/token_loss", batch, batch_index)

    def _log_loss(self, name: str, batch: Batch, batch_index: int) -> None:
        trails = batch_trails(neighbour_lists(batch), Random(batch_index), max_tokens=self.hparams["max_tokens"])
        domain, values, texts = self._described(batch, Random(batch_index))
        condition = self._encode(domain, values, torch.ones_like(values, dtype=torch.bool), self.text(texts))
        loss = next_token_loss(self.trails(_to(trails, self.device), condition), trails.labels.to(self.device))
        tokens = int((trails.labels >= 0).sum())
        self.log(name, loss, prog_bar=True, batch_size=tokens, sync_dist=True)

    def _token_loss(self, batch: Batch, rng: Random) -> Tensor:
        graphs = neighbour_lists(batch)
        count, device = len(graphs), self.device
        drop = self.hparams["condition_dropout"]
        domain, values, texts = self._described(batch, rng)
        everything = torch.rand(count, 1) >= 2 * drop / 3
        present = ((torch.rand(count, len(VALUES)) >= drop) & everything).to(device)
        domain = torch.where((torch.rand(count, 1) >= drop) & everything, domain.cpu()[:, None], -1)[:, 0].to(device)
        speaks = (torch.rand(count, 1) >= drop) & everything
        text = self.text(texts) * speaks.to(device)
        told = [edges if rng.random() >= drop else None for edges in (sum(map(len, g)) // 2 for g in graphs)]
        trails = _to(batch_trails(graphs, rng, num_edges=told, max_tokens=self.hparams["max_tokens"]), device)
        shift = torch.tensor([rng.randrange(1 << 16) for _ in range(count)], device=device)
        logits = self.trails(trails, self._encode(domain, values, present, text), shift)
        return next_token_loss(logits, trails.labels)

    def _alignment_loss(self, rng: Random) -> Tensor:
        """InfoNCE between prompts written for rows of the condition table and those rows."""
        rows = torch.tensor(rng.sample(range(len(self.table)), min(ALIGNED_ROWS, len(self.table))), device=self.device)
        domain, values = self.table.domain[rows], self.table.values[rows]
        texts = [self._prompt(d, v, rng) for d, v in zip(domain.tolist(), values.tolist(), strict=True)]
        scores = self.alignment(self.text(texts), domain, self.table.standardised(values))
        return F.cross_entropy(scores, torch.arange(len(rows), device=self.device))

    def _described(self, batch: Batch, rng: Random) -> tuple[Tensor, Tensor, list[str]]:
        """Domain indices, raw values and a prompt of each graph; half of the graphs with a text of their own use it."""
        domain = self._domain_index(batch.get("domain") or [None] * batch.num_graphs).to(self.device)
        nodes = batch.ptr.diff()
        edges = torch.bincount(batch.batch[batch.edge_index[0]], minlength=len(nodes)) // 2
        values = torch.cat([nodes[:, None], edges[:, None], batch.attributes], dim=1).float().to(self.device)
        texts = [self._prompt(d, v, rng) for d, v in zip(domain.tolist(), values.tolist(), strict=True)]
        own = batch.get("text") or [None] * len(texts)
        return domain, values, [o if o and rng.random() < 0.5 else t for o, t in zip(own, texts, strict=True)]

    def _prompt(self, domain: int, values: Sequence[float], rng: Random) -> str:
        named = dict(zip(VALUES, values, strict=True))
        nodes, edges = int(named.pop("num_nodes")), int(named.pop("num_edges"))
        named["density"] = 2 * edges / max(nodes * (nodes - 1), 1)
        name = self.domains[domain] if domain >= 0 else None
        text, _ = write_prompt(name, nodes, edges, named, self.table.terciles(), rng)
        return text

    def _encode(self, domain: Tensor, values: Tensor, present: Tensor, text: Tensor) -> Tensor:
        encoded: Tensor = self.condition(domain, self.table.standardised(values), present, text)
        return encoded

    def _domain_index(self, names: Sequence[str | None]) -> Tensor:
        index = {name: place for place, name in enumerate(self.domains)}
        return torch.tensor([index.get(name, -1) if name is not None else -1 for name in names])

    def configure_optimizers(self) -> Any:
        """AdamW; linear warm-up, then a cosine to zero over the steps that the trainer knows of."""
        matrices = [p for p in self.parameters() if p.requires_grad and p.ndim > 1]
        others = [p for p in self.parameters() if p.requires_grad and p.ndim <= 1]
        groups = [
            {"params": matrices, "weight_decay": self.hparams["weight_decay"]},
            {"params": others, "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW(groups, lr=self.hparams["learning_rate"], betas=(0.9, 0.98))
        warmup: int = self.hparams["warmup_steps"]
        total = self.trainer.estimated_stepping_batches

        def factor(step: int) -> float:
            if step < warmup:
                return (step + 1) / warmup
            if math.isinf(total) or total <= warmup:
                return 1.0
            return 0.5 * (1 + math.cos(math.pi * min((step - warmup) / (total - warmup), 1)))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    # Generation

    def generate(
        self,
        conditions: Sequence[Condition],
        *,
        seed: int = 0,
        guidance: float | None = None,
        temperature: float = 1.0,
        connected: bool = False,
        acyclic: bool = False,
        batch_size: int = 64,
        progress: Callable[[int], None] | None = None,
    ) -> list[Data]:
        """One graph for each condition.

        Args:
            conditions: What is asked for; see ``graftable.graphs.prompts.parse_prompt``.
            seed: Graph i is a function of (seed, i, its condition, the weights).
            guidance: See the constructor.
            temperature: Below 1, likelier and less varied.
            connected: Never start a second component. A number of components that is asked for is exact as well.
            acyclic: Never close a cycle.
            batch_size: Graphs that are written side by side.
            progress: Called with the number of graphs that have just been completed.

        Returns:
            Graphs with ``domain`` and with ``requested``, the drawn condition as a dictionary.
        """
        self.eval()
        guidance = self.hparams["guidance"] if guidance is None else guidance
        # in full precision also under a mixed-precision trainer, so that predict and generate draw the same graphs
        with torch.inference_mode(), torch.autocast(self.device.type, enabled=False):
            drawn, text = self.draw_conditions(conditions, seed)
            requests = [
                TrailRequest(
                    int(d.values["num_nodes"]),
                    int(d.values["num_edges"]),
                    _seed(seed, index),
                    1 if connected else _components(asked),
                    acyclic,
                )
                for index, (d, asked) in enumerate(zip(drawn, conditions, strict=True))
            ]
            condition, nothing = self._sampling_conditions(drawn, text)
            written = sample_trails(
                self.trails, requests, condition, nothing,
                guidance=guidance, temperature=temperature, batch_size=batch_size, progress=progress,
            )  # fmt: skip
        return [self._graph(d, edges) for d, edges in zip(drawn, written, strict=True)]

    def check(self, condition: Condition) -> None:
        """Refuse what this model cannot mean, before any work.

        Raises:
            PromptError: If the domain is unknown, or a number lies outside the level that is asked for with it.
        """
        if condition.domain is not None:
            domain_index(condition.domain, self.domains)
        self.table.terciles().check(condition)

    def draw_conditions(self, conditions: Sequence[Condition], seed: int) -> tuple[list[DrawnCondition], Tensor]:
        """Fill what each condition leaves open; also returns the encoded texts (conditions, TEXT_WIDTH)."""
        texts = [condition.text or "" for condition in conditions]
        spoken = sorted(set(filter(None, texts)))
        encoded = self.text(spoken) if spoken else torch.zeros(0, TEXT_WIDTH, device=self.device)
        scores = self.alignment(encoded, self.table.domain, self.table.standardised(self.table.values))
        place = {text: index for index, text in enumerate(spoken)}
        drawn, text = [], torch.zeros(len(texts), TEXT_WIDTH, device=self.device)
        for index, condition in enumerate(conditions):
            random = np.random.default_rng(_seed(seed, index) + 1)
            row = place.get(texts[index])
            drawn.append(self.table.draw(condition, self.domains, random, None if row is None else scores[row]))
            if row is not None:
                text[index] = encoded[row]
        return drawn, text

    def _sampling_conditions(self, drawn: Sequence[DrawnCondition], text: Tensor) -> tuple[Tensor, Tensor]:
        values = torch.tensor([[d.values.get(name, 0.0) for name in VALUES] for d in drawn], device=self.device)
        present = torch.tensor([[name in d.values for name in VALUES] for d in drawn], device=self.device)
        domain = torch.tensor([d.domain for d in drawn], device=self.device)
        condition = self._encode(domain, values, present, text)
        nothing = self._encode(torch.full_like(domain, -1), values, torch.zeros_like(present), torch.zeros_like(text))
        return condition, nothing

    def _graph(self, drawn: DrawnCondition, edges: list[tuple[int, int]]) -> Data:
        graph = graph_from_edges(int(drawn.values["num_nodes"]), edges)
        if drawn.domain >= 0:
            graph.domain = self.domains[drawn.domain]
        graph.requested = {"domain": graph.get("domain"), **drawn.values}
        return graph

    def predict_step(self, batch: Batch, batch_index: int) -> list[dict[str, Any]]:
        """A new graph record for the condition of each graph in the batch."""
        graphs = batch.to_data_list()
        seed = int(torch.randint(2**31, ()).item())
        drawn = self.generate([self._description(graph) for graph in graphs], seed=seed)
        return [
            graph_to_record(new) | {"graph_id": old.get("graph_id") or f"graph_{seed}_{index}", "text": old.get("text")}
            for index, (old, new) in enumerate(zip(graphs, drawn, strict=True))
        ]

    def _description(self, graph: Data) -> Condition:
        """What a graph of a batch is, as a request."""
        attributes = {}
        for name, value in zip(ATTRIBUTES, graph.attributes.flatten().tolist(), strict=True):
            low, high = ATTRIBUTE_RANGES[name]
            if name != "mean_degree":  # the number of edges says it exactly
                attributes[name] = min(max(value, low), high)
        domain = graph.get("domain")
        return Condition(
            text=graph.get("text") or None,
            domain=domain if domain in self.domains else None,
            num_nodes=int(graph.num_nodes or 0),
            num_edges=graph.num_edges // 2,
            attributes=attributes,
        )


def _components(asked: Condition) -> int | None:
    """How many components were asked for: in words, or by fewer edges than a connected graph has."""
    if "components" in asked.attributes:
        return int(asked.attributes["components"])
    if asked.num_nodes is not None and asked.num_edges is not None and asked.num_edges < asked.num_nodes - 1:
        return asked.num_nodes - asked.num_edges
    return None


def _seed(seed: int, index: int) -> int:
    """An independent stream for each graph."""
    return int(np.random.SeedSequence([seed, index]).generate_state(1, np.uint64)[0] >> 1)


def _to(trails: Any, device: torch.device) -> Any:
    return trails if device.type == "cpu" else type(trails)(*(tensor.to(device) for tensor in vars(trails).values()))
