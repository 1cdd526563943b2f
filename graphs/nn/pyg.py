"""Move an existing PyG model over: the same weights, the same outputs, our layers.

The copy is called as before, with an edge index: its :class:`~graftable.graphs.ops.Adjacency` is built when a layer
first meets the tensor and found again by the other layers. Called with an ``Adjacency`` in place of the edge index,
which a data loader can build, it builds nothing; edge weights and features then come in slot order.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, MutableMapping
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from graftable.errors import ConfigError, DataError
from graftable.graphs.ops import Adjacency

from .degree_scalers import SCALERS
from .gat import GATConv
from .gatv2 import GATv2Conv
from .gcn import GCNConv
from .gin import GINConv, GINEConv
from .inputs import source_and_destination
from .pna import AGGREGATORS, PNAConv
from .sage import REDUCES, SAGEConv
from .self_loops import FILLS
from .transformer_conv import TransformerConv

__all__ = ["from_pyg"]


def from_pyg(module: nn.Module, *, strict: bool = True) -> nn.Module:
    """Copy a PyG model and put our layers in the place of its graph convolutions.

    Swapped are ``GCNConv``, ``SAGEConv``, ``GINConv``, ``GINEConv``, ``GATConv``, ``GATv2Conv``, ``PNAConv`` and
    ``TransformerConv`` of ``torch_geometric.nn``, wherever they stand: in a module of your own, in PyG's ``Sequential``
    or in its ready models (``GCN``, ``GIN``, ``GAT``, ``PNA``, ...). All else is copied as it is. The names in the
    state dict stay, so that checkpoints of either load into the other.

    Args:
        module: The model; it is not changed.
        strict: Refuse a model with a graph convolution that has no counterpart; off, such a layer stays as it is, and
            the model is to be called with an edge index.

    Returns:
        A copy with the same weights, device, number type, training mode and outputs.

    Raises:
        ConfigError: If a layer, or an option of one, is not covered; the message names both.

    Example:
        >>> from torch_geometric.nn import GIN
        >>> model = GIN(8, 16, num_layers=2).eval()
        >>> x, edge_index = torch.randn(3, 8), torch.tensor([[0, 1, 2], [1, 2, 0]])
        >>> ours = from_pyg(model)
        >>> torch.allclose(ours(x, edge_index), model(x, edge_index), atol=1e-5)
        True
        >>> torch.equal(ours(x, Adjacency.from_edge_index(edge_index, num_nodes=3)), ours(x, edge_index))
        True
    """
    return _swapped(copy.deepcopy(module), strict, "", {})


def _swapped(module: nn.Module, strict: bool, path: str, done: dict[nn.Module, nn.Module]) -> nn.Module:
    import torch_geometric.nn as pyg  # at call time: it takes seconds, and most users of the layers have no PyG model

    if module in done:  # one layer in two places stays one layer
        return done[module]
    done[module] = module
    for name, child in list(module._modules.items()):  # named_children would pass over a second name
        if child is None:
            continue
        replacement = _swapped(child, strict, f"{path}.{name}" if path else name, done)
        if replacement is not child:
            setattr(module, name, replacement)
    if type(module) is getattr(pyg, type(module).__name__, None) and type(module).__name__ in _LAYERS:
        done[module] = _counterpart(module, path)
    elif isinstance(module, pyg.MessagePassing) and strict:
        raise ConfigError(
            f"{_called(module, path)} has no counterpart in graftable.graphs.nn; leave it as it is with strict=False."
        )
    return done[module]


def _counterpart(original: Any, path: str) -> nn.Module:
    make, names = _LAYERS[type(original).__name__]
    for parameter in original.parameters():
        if isinstance(parameter, nn.parameter.UninitializedParameter):
            raise ConfigError(f"{_called(original, path)} has no weights yet; run one batch through the model first.")
    _must(original.flow == "source_to_target", original, path, f"flow={original.flow!r}")
    with torch.device("meta"):  # its own weights would be drawn only to be thrown away
        layer = make(original, path)
    for name in ("nn", "pre_nns", "post_nns"):  # whole networks come along with their activations
        if isinstance(network := getattr(original, name, None), nn.Module):
            setattr(layer, name, network)
    _adopt(layer, original)
    layer.register_forward_pre_hook(partial(_take_edge_index, names=names), with_kwargs=True)
    return layer


def _adopt(layer: nn.Module, original: nn.Module) -> None:
    """Give ``layer`` the very parameters of ``original``: what is tied, frozen or on a device stays so."""
    for path, module in layer.named_modules(remove_duplicate=False):
        theirs = original.get_submodule(path)
        module.training = theirs.training
        for name in [*module._parameters, *module._buffers]:
            value = getattr(theirs, name, None)
            if name in module._parameters:
                module._parameters[name] = value
            else:
                module._buffers[name] = value


def _called(layer: nn.Module, path: str) -> str:
    return f"{type(layer).__name__} at {path!r}" if path else type(layer).__name__


def _must(covered: bool, layer: nn.Module, path: str, option: str) -> None:
    if not covered:
        raise ConfigError(f"{_called(layer, path)} has {option}, which graftable.graphs.nn does not cover.")


def _gcn(old: Any, path: str) -> nn.Module:
    _must(old.aggr in ("add", "sum"), old, path, f"aggr={old.aggr!r}")
    _must(not old.improved, old, path, "improved=True")
    return GCNConv(
        old.lin.weight.shape[1],
        old.out_channels,
        add_self_loops=old.add_self_loops,
        normalize=old.normalize,
        bias=old.bias is not None,
    )


def _sage(old: Any, path: str) -> nn.Module:
    _must(isinstance(old.aggr, str) and old.aggr in REDUCES, old, path, f"aggr={old.aggr!r}")
    width = old.lin_l.weight.shape[1]
    return SAGEConv(
        (width, old.lin_r.weight.shape[1] if old.root_weight else width),
        old.out_channels,
        old.aggr,
        normalize=old.normalize,
        root_weight=old.root_weight,
        project=old.project,
        bias=old.lin_l.bias is not None,
    )


def _gin(old: Any, path: str) -> nn.Module:
    _must(old.aggr in ("add", "sum"), old, path, f"aggr={old.aggr!r}")
    return GINConv(old.nn, float(old.initial_eps), isinstance(old.eps, nn.Parameter))


def _gine(old: Any, path: str) -> nn.Module:
    _must(old.aggr in ("add", "sum"), old, path, f"aggr={old.aggr!r}")
    layer = GINEConv(old.nn, float(old.initial_eps), isinstance(old.eps, nn.Parameter))
    if old.lin is not None:
        layer.edge_dim, width = old.lin.weight.shape[1], old.lin.weight.shape[0]
        layer.lin = nn.Linear(layer.edge_dim, width, bias=old.lin.bias is not None)
    return layer


def _attention_options(old: Any, path: str) -> dict[str, Any]:
    _must(old.aggr in ("add", "sum"), old, path, f"aggr={old.aggr!r}")
    fill = old.fill_value
    _must(not isinstance(fill, str) or fill in FILLS, old, path, f"fill_value={fill!r}")
    return {
        "heads": old.heads,
        "concat": old.concat,
        "negative_slope": old.negative_slope,
        "dropout": old.dropout,
        "add_self_loops": old.add_self_loops,
        "edge_dim": old.edge_dim,
        "fill_value": fill,
        "bias": old.bias is not None,
        "residual": old.res is not None,
    }


def _gat(old: Any, path: str) -> nn.Module:
    shared = old.lin is not None
    width = old.lin.weight.shape[1] if shared else (old.lin_src.weight.shape[1], old.lin_dst.weight.shape[1])
    return GATConv(width, old.out_channels, **_attention_options(old, path))


def _gatv2(old: Any, path: str) -> nn.Module:
    width = (old.lin_l.weight.shape[1], old.lin_r.weight.shape[1])
    options = _attention_options(old, path) | {"share_weights": old.share_weights}
    layer = GATv2Conv(width, old.out_channels, **options)
    _must((old.bias is None) == (old.lin_l.bias is None), old, path, "a bias on some of its maps only")
    return layer


def _pna(old: Any, path: str) -> nn.Module:
    scaling = old.aggr_module
    kinds = [type(module) for module in getattr(scaling.aggr, "aggrs", [scaling.aggr])]
    names = [kind.__name__.removesuffix("Aggregation").lower() for kind in kinds]
    _must(set(names) <= set(AGGREGATORS), old, path, f"aggregators {names}")
    _must(set(scaling.scaler) <= set(SCALERS), old, path, f"scalers {scaling.scaler}")
    layer = PNAConv(
        old.towers * old.F_in if old.divide_input else old.F_in,
        old.out_channels,
        names,
        scaling.scaler,
        torch.ones(1, device="cpu"),  # the histogram is gone; its means are taken over with the weights
        edge_dim=old.edge_dim,
        towers=old.towers,
        divide_input=old.divide_input,
        train_norm=isinstance(scaling.avg_deg_lin, nn.Parameter),
    )
    layer.aggr_module.initial = (scaling.init_avg_deg_lin, scaling.init_avg_deg_log)
    return layer


def _transformer(old: Any, path: str) -> nn.Module:
    _must(old.aggr in ("add", "sum"), old, path, f"aggr={old.aggr!r}")
    return TransformerConv(
        (old.lin_key.weight.shape[1], old.lin_query.weight.shape[1]),
        old.out_channels,
        old.heads,
        old.concat,
        old.beta,
        old.dropout,
        edge_dim=old.edge_dim,
        bias=old.lin_key.bias is not None,
        root_weight=old.root_weight,
    )


#: How each of PyG's layers is made anew, and what its ``forward`` takes after the nodes and the edge index.
_LAYERS: Final[dict[str, tuple[Callable[[Any, str], nn.Module], tuple[str, ...]]]] = {
    "GCNConv": (_gcn, ("edge_weight",)),
    "SAGEConv": (_sage, ("size",)),
    "GINConv": (_gin, ("size",)),
    "GINEConv": (_gine, ("edge_attr", "size")),
    "GATConv": (_gat, ("edge_attr", "size", "return_attention_weights")),
    "GATv2Conv": (_gatv2, ("edge_attr", "return_attention_weights")),
    "PNAConv": (_pna, ("edge_attr",)),
    "TransformerConv": (_transformer, ("edge_attr", "return_attention_weights")),
}

# Keyed by the tensor itself and gone with it; its version counts the writes, so a changed edge index is read again.
_PATTERNS: Final[MutableMapping[Tensor, dict[tuple[int, int, int], Adjacency]]] = WeakTensorKeyDictionary()


def _take_edge_index(
    layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], names: tuple[str, ...]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Read the arguments of PyG's ``forward`` and pass those of ours."""
    given = dict(zip(("x", "edge_index", *names), args, strict=False)) | kwargs
    x, pattern = given.pop("x"), given.pop("edge_index", None)
    pattern = given.pop("adjacency", None) if pattern is None else pattern
    if given.pop("return_attention_weights", None) is not None:
        raise ConfigError(f"{type(layer).__name__} of graftable.graphs.nn does not return attention weights.")
    size = given.pop("size", None)
    key = next((name for name in ("edge_weight", "edge_attr", "edge_features") if name in given), None)
    edges = None if key is None else given.pop(key)
    if given:
        raise TypeError(f"{type(layer).__name__} got unexpected arguments: {', '.join(given)}.")
    if isinstance(layer, GATConv) and layer.edge_dim is None:
        edges = None  # as in PyG, which does not look at them
    if not isinstance(pattern, Adjacency):
        pattern = _adjacency(layer, x, pattern, size)
        edges = None if edges is None else pattern.to_slots(edges)
    return ((x, pattern) if edges is None else (x, pattern, edges)), {}


def _adjacency(layer: nn.Module, x: Any, edge_index: Any, size: tuple[int, int] | None) -> Adjacency:
    if not isinstance(edge_index, Tensor) or edge_index.layout != torch.strided:
        kind = str(edge_index.layout) if isinstance(edge_index, Tensor) else type(edge_index).__name__
        raise DataError(f"{type(layer).__name__} got edges as {kind}; expected an edge index or an Adjacency.")
    source, destination = source_and_destination(x)
    num_src = source.shape[0] if size is None else size[0]
    # PyG, too, takes as many destinations as sources where nothing says otherwise
    num_dst = size[1] if size is not None else num_src if destination is None else destination.shape[0]
    if edge_index.is_inference():  # these do not count their versions
        return Adjacency.from_edge_index(edge_index, (num_dst, num_src))
    found = _PATTERNS.setdefault(edge_index, {})
    key = (edge_index._version, num_dst, num_src)
    if key not in found:
        found.clear()
        found[key] = Adjacency.from_edge_index(edge_index, (num_dst, num_src))
    return found[key]
