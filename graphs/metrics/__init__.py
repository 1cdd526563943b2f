"""How good are generated graphs? Distances from real ones, validity, novelty, obedience to requests, and yardsticks."""

from .baselines import BASELINES, chung_lu, copy_of_train, erdos_renyi
from .control import attribute_error, domain_accuracy, graph_features, level_accuracy, paraphrase_consistency
from .descriptors import STATISTICS, Descriptors, describe_graphs
from .isomorphism import GraphIndex, are_isomorphic, wl_hash
from .mmd import KERNELS, Interval, Report, evaluate_graphs, kernel_matrix, mmd
from .orbits import ORBITS, orbit_counts
from .sbm import fit_blocks
from .sparse import to_csr
from .validity import VALIDITY, VUN, is_lobster, is_planar_connected, is_sbm, is_tree, share_interval, vun

__all__ = [
    "BASELINES",
    "KERNELS",
    "ORBITS",
    "STATISTICS",
    "VALIDITY",
    "VUN",
    "Descriptors",
    "GraphIndex",
    "Interval",
    "Report",
    "are_isomorphic",
    "attribute_error",
    "chung_lu",
    "copy_of_train",
    "describe_graphs",
    "domain_accuracy",
    "erdos_renyi",
    "evaluate_graphs",
    "fit_blocks",
    "graph_features",
    "is_lobster",
    "is_planar_connected",
    "is_sbm",
    "is_tree",
    "kernel_matrix",
    "level_accuracy",
    "mmd",
    "orbit_counts",
    "paraphrase_consistency",
    "share_interval",
    "to_csr",
    "vun",
    "wl_hash",
]
