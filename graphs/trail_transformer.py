r"""The network of the trail engine: a causal transformer with a windowed cache and a pointer over earlier nodes.

Differences from AutoGraph's Llama on neighbour brackets, each because a graph is not a text:

- A back-reference is not a word of a fixed vocabulary but a pointer: the score of node p is
  :math:`\langle q_t, k_p\rangle + u_t[\mathrm{common}] + u_t[\mathrm{share}] + u_t[\mathrm{degree}] +
  u_t[\mathrm{rank}]`, where k_p is the state after p's own block was read and u_t holds learned scores for what p
  looks like from the current node (neighbours in common, as a count and as a share; degree; place in the chain of
  ancestors). There is no cap on n, and closing a triangle is one look-up instead of something to be deduced.
- Every token carries exact running facts (nodes and edges left, degree, depth, mean clustering so far).
- Attention reaches ``window`` tokens back, so that the cost of a graph is linear in its edges; older nodes stay
  in reach of the pointer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .trail_batch import LinkContext, TrailBatch, link_context
from .trails import CLUSTERING_STEPS, FEATURES

__all__ = ["DecodingCache", "TrailTransformer"]

BUCKETS = 32
CODES = 512
CODE_WIDTH = 32
POINTER_WIDTH = 64
FIRST_PLACES = 64
_COLUMN = {name: index for index, name in enumerate(FEATURES)}
_COUNTS = (
    *("nodes_left", "edges_left", "degree", "depth", "components"),
    *("link_span", "link_rank", "link_common", "target_degree"),
)


def bucket(count: Tensor) -> Tensor:
    """Map counts to 0..31: -1 to 0, 0..8 to themselves plus 1, larger ones by half octaves.

    Example:
        >>> bucket(torch.tensor([-1, 0, 8, 9, 16, 10**6]))
        tensor([ 0,  1,  9,  9, 11, 31])
    """
    octave = 2 * torch.log2(count.clamp(min=8).float() / 8)
    return torch.where(count <= 8, count + 1, 9 + octave.long()).clamp(max=BUCKETS - 1)


class TokenEmbedding(nn.Module):
    """The sum of one learned vector for each fact about a token, and two codes that say which nodes it is about.

    Codes are vectors for the index of a node modulo 512, so that attention can find the block of the node that
    a link points to; in training the indices are shifted at random, so that no code means "early".
    """

    offsets: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        sizes = [5] + [BUCKETS] * (len(_COUNTS) + 1) + [CLUSTERING_STEPS + 1]
        offsets = torch.tensor([0, *sizes[:-1]]).cumsum(0)
        self.register_buffer("offsets", offsets, persistent=False)
        self.facts = nn.EmbeddingBag(sum(sizes), width, mode="sum")
        self.codes = nn.Embedding(CODES, CODE_WIDTH)
        self.own_code = nn.Linear(CODE_WIDTH, width, bias=False)
        self.target_code = nn.Linear(CODE_WIDTH, width, bias=False)
        nn.init.normal_(self.facts.weight, std=0.1)

    def forward(self, features: Tensor, shift: Tensor) -> Tensor:
        """Embed features (..., len(FEATURES)); ``shift`` (...) is added to node indices before the codes."""
        column = {name: features[..., index] for name, index in _COLUMN.items()}
        density = (4 * column["edges_left"]) // (column["nodes_left"] + 1)  # edges left a node left, in quarters
        facts = [column["kind"], *(bucket(column[name]) for name in _COUNTS)]
        facts += [bucket(density.clamp(min=-1)), column["clustering"].clamp(0, CLUSTERING_STEPS)]
        index = torch.stack(facts, dim=-1) + self.offsets
        x = self.facts(index.flatten(0, -2)).unflatten(0, index.shape[:-1])
        own = self.codes((column["node"] + shift) % CODES)
        target = self.codes((column["target"] + shift) % CODES) * (column["target"] >= 0)[..., None]
        embedded: Tensor = x + self.own_code(own) + self.target_code(target)
        return embedded


class Attention(nn.Module):
    """Causal self-attention over the last ``window`` tokens, with rotary positions."""

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor, angles: Tensor) -> Tensor:
        """All positions at once: x (batch, steps, width), angles (steps, width / heads / 2)."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        q, k = rotate(q, angles), rotate(k, angles)
        steps = x.shape[1]
        mask = None
        if steps > self.window:
            age = torch.arange(steps, device=x.device)[:, None] - torch.arange(steps, device=x.device)
            mask = (age >= 0) & (age < self.window)
        # no dropout on the weights: it would force the path that writes (steps, steps) per head, 4 times slower here
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
        mixed: Tensor = self.out(y.transpose(1, 2).flatten(2))
        return mixed

    def step(self, x: Tensor, angles: Tensor, keys: Tensor, values: Tensor, place: Tensor, mask: Tensor) -> Tensor:
        """One position: x (batch, width); writes keys and values (batch, heads, places, width / heads) at ``place``."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).unbind(1)  # each (batch, heads, width / heads)
        q, k = rotate(q, angles[:, None]), rotate(k, angles[:, None])
        row = torch.arange(len(x), device=x.device)
        keys[row, :, place] = k
        values[row, :, place] = v
        reach = mask.shape[-1]
        y = F.scaled_dot_product_attention(q[:, :, None], keys[:, :, :reach], values[:, :, :reach], attn_mask=mask)
        mixed: Tensor = self.out(y.flatten(1))
        return mixed


def rotate(x: Tensor, angles: Tensor) -> Tensor:
    """Rotary position embedding: rotate the pairs (x_i, x_{i + half}) by ``angles`` (..., half)."""
    first, second = x.chunk(2, dim=-1)
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)


class Block(nn.Module):
    """Pre-norm attention and SwiGLU."""

    def __init__(self, width: int, heads: int, window: int, dropout: float) -> None:
        super().__init__()
        hidden = 8 * width // 3 // 32 * 32
        self.norm1, self.norm2 = nn.RMSNorm(width), nn.RMSNorm(width)
        self.attention = Attention(width, heads, window)
        self.up = nn.Linear(width, 2 * hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, angles: Tensor) -> Tensor:
        """All positions at once, see ``Attention.forward``."""
        x = x + self.dropout(self.attention(self.norm1(x), angles))
        fed: Tensor = x + self.dropout(self.feed(self.norm2(x)))
        return fed

    def step(self, x: Tensor, angles: Tensor, keys: Tensor, values: Tensor, place: Tensor, mask: Tensor) -> Tensor:
        """One position through the cache, see ``Attention.step``."""
        x = x + self.attention.step(self.norm1(x), angles, keys, values, place, mask)
        return x + self.feed(self.norm2(x))

    def feed(self, x: Tensor) -> Tensor:
        """SwiGLU."""
        gate, value = self.up(x).chunk(2, dim=-1)
        hidden: Tensor = self.down(F.silu(gate) * value)
        return hidden


@dataclass
class DecodingCache:
    """What sampling keeps between steps: a ring of keys and values a layer, and the pointer key of every node.

    The ring starts short and is doubled until it holds ``window`` tokens, since most graphs end before that.
    """

    window: int
    keys: list[Tensor]  # layers x (batch, heads, places, width / heads)
    values: list[Tensor]
    position: Tensor  # (batch,) int64: tokens read so far
    node_keys: Tensor  # (batch, nodes, POINTER_WIDTH)

    def select(self, rows: Tensor) -> "DecodingCache":
        """Keep only these graphs."""
        rows = rows.to(self.position.device)
        return DecodingCache(
            window=self.window,
            keys=[keys[rows] for keys in self.keys],
            values=[values[rows] for values in self.values],
            position=self.position[rows],
            node_keys=self.node_keys[rows],
        )

    def reserve(self, tokens: int) -> None:
        """Make room for so many tokens, or for ``window`` if that is less."""
        places = self.keys[0].shape[2]
        if tokens <= places or places == self.window:
            return
        more = min(2 * places, self.window) - places
        self.keys = [F.pad(keys, (0, 0, 0, more)) for keys in self.keys]
        self.values = [F.pad(values, (0, 0, 0, more)) for values in self.values]


class TrailTransformer(nn.Module):
    """Predicts the next token of a trail.

    Args:
        width: Width of the residual stream.
        layers: Number of blocks.
        heads: Attention heads; ``width / heads`` must be even.
        window: How many tokens back attention reaches.
        dropout: On what each block adds to the stream.

    Shapes:
        - input: a ``TrailBatch`` and a condition (batch, width).
        - output: logits (batch, steps, 4 + nodes) over ROOT, CHILD, BRANCH, END and LINK p; illegal ones are -inf.
    """

    blocks: Sequence[Block]
    frequencies: Tensor

    def __init__(self, width: int, layers: int, heads: int, window: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.embedding = TokenEmbedding(width)
        self.blocks = cast(Sequence[Block], nn.ModuleList(Block(width, heads, window, dropout) for _ in range(layers)))
        self.norm = nn.RMSNorm(width)
        self.kind_head = nn.Linear(width, 4)
        self.query = nn.Linear(width, POINTER_WIDTH, bias=False)
        self.key = nn.Linear(width, POINTER_WIDTH, bias=False)
        self.look = nn.Linear(width, 4 * BUCKETS)  # u_t: a score for each bucket of each view of a candidate
        frequencies = 10_000.0 ** -torch.linspace(0, 1, width // heads // 2 + 1)[:-1]
        self.register_buffer("frequencies", frequencies, persistent=False)
        self._initialise(layers)

    def _initialise(self, layers: int) -> None:
        for name, parameter in self.named_parameters():
            if name.endswith(("out.weight", "down.weight")):  # so that the stream does not grow with depth
                nn.init.normal_(parameter, std=0.5 * (parameter.shape[1] * layers) ** -0.5)
        nn.init.zeros_(self.look.weight)

    def forward(self, batch: TrailBatch, condition: Tensor, shift: Tensor | None = None) -> Tensor:
        """Logits for every position; ``shift`` (batch,) moves the node codes."""
        steps = batch.features.shape[1]
        shift = torch.zeros_like(batch.features[:, 0, 0]) if shift is None else shift
        x = self.embedding(batch.features, shift[:, None].expand(-1, steps)) + condition[:, None]
        angles = torch.arange(steps, device=x.device)[:, None] * self.frequencies
        for block in self.blocks:
            x = block(x, angles)
        x = self.norm(x)
        own = self.key(x).gather(1, batch.node_step[..., None].expand(-1, -1, POINTER_WIDTH))
        context = link_context(batch)
        degree = batch.features[..., _COLUMN["degree"]]
        return self._logits(x, own, context, degree, batch.allowed)

    def start(self, batch: int, nodes: int) -> DecodingCache:
        """An empty cache for ``batch`` graphs of at most ``nodes`` nodes."""
        weight = self.query.weight
        shape = (batch, self.heads, min(self.window, FIRST_PLACES), weight.shape[1] // self.heads)
        return DecodingCache(
            window=self.window,
            keys=[weight.new_zeros(shape) for _ in self.blocks],
            values=[weight.new_zeros(shape) for _ in self.blocks],
            position=torch.zeros(batch, dtype=torch.int64, device=weight.device),
            node_keys=weight.new_zeros(batch, nodes, POINTER_WIDTH),
        )

    def step(
        self, cache: DecodingCache, features: Tensor, condition: Tensor, context: LinkContext, allowed: Tensor
    ) -> Tensor:
        """Read one token of each graph and return logits (batch, 4 + nodes); ``cache`` is updated in place.

        Args:
            cache: From ``start``; graphs may be at different positions.
            features: (batch, len(FEATURES)).
            condition: (batch, width).
            context: Candidates after this token, each (batch, nodes) with ``nodes`` at most the cache's.
            allowed: (batch, 4) bool.
        """
        position = cache.position
        x = self.embedding(features, torch.zeros_like(features[:, 0])) + condition
        angles = position[:, None] * self.frequencies
        place = position % self.window
        reach = min(int(position.max()) + 1, self.window)
        cache.reserve(reach)
        mask = (torch.arange(reach, device=x.device) <= position[:, None])[:, None, None]
        for block, keys, values in zip(self.blocks, cache.keys, cache.values, strict=True):
            x = block.step(x, angles, keys, values, place, mask)
        x = self.norm(x)
        row = torch.arange(len(x), device=x.device)
        cache.node_keys[row, features[:, _COLUMN["node"]]] = self.key(x)
        cache.position += 1
        nodes = context.candidate.shape[-1]
        unbatched = LinkContext(*(tensor[:, None] for tensor in vars(context).values()))
        degree = features[:, None, _COLUMN["degree"]]
        return self._logits(x[:, None], cache.node_keys[:, :nodes], unbatched, degree, allowed[:, None])[:, 0]

    def _logits(self, x: Tensor, node_keys: Tensor, context: LinkContext, degree: Tensor, allowed: Tensor) -> Tensor:
        """Scores of the four other kinds, then of each earlier node; illegal ones are -inf.

        ``degree`` (batch, steps) is the current node's.
        """
        pointer = (self.query(x) @ node_keys.transpose(1, 2)) * POINTER_WIDTH**-0.5
        share = (8 * context.common) // degree.clamp(min=1)[..., None]  # of the current node's links, in eighths
        look = self.look(x)
        for view, count in enumerate((context.common, share, context.degree, context.rank)):
            pointer = pointer + look.gather(2, bucket(count.clamp(min=-1)) + view * BUCKETS)
        pointer = pointer.masked_fill(~context.candidate, -torch.inf)
        return torch.cat([self.kind_head(x).masked_fill(~allowed, -torch.inf), pointer], dim=-1)
