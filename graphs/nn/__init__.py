"""Layers on one ``Adjacency`` per batch: equal to PyG's from the same weights, without a message per edge and width."""

from .degree_scalers import DegreeScalers, degree_histogram
from .encoder import GraphEncoder
from .gat import GATConv
from .gatv2 import GATv2Conv
from .gcn import GCNConv
from .gin import GINConv, GINEConv
from .graph_transformer import GraphTransformerLayer
from .pna import PNAConv
from .pyg import from_pyg
from .readouts import AttentionReadout, MaxReadout, MeanReadout, SumReadout
from .sage import SAGEConv
from .self_loops import SelfLoops, with_self_loops
from .transformer_conv import TransformerConv

__all__ = [
    "AttentionReadout",
    "DegreeScalers",
    "GATConv",
    "GATv2Conv",
    "GCNConv",
    "GINConv",
    "GINEConv",
    "GraphEncoder",
    "GraphTransformerLayer",
    "MaxReadout",
    "MeanReadout",
    "PNAConv",
    "SAGEConv",
    "SelfLoops",
    "SumReadout",
    "TransformerConv",
    "degree_histogram",
    "from_pyg",
    "with_self_loops",
]
