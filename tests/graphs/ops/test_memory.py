"""Peak memory where one vector an edge would fill 800 MB: what is returned and saved, and little more."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

NODES, EDGES, WIDTH, HEADS = 50_000, 1_600_000, 128, 4
NF, E, EH, MEGABYTE = 4 * NODES * WIDTH, 4 * EDGES, 4 * EDGES * HEADS, 2**20

# of each operator: the bytes allowed forward, and with its backward pass; 1.5 for each tensor returned or saved
BOUNDS = {
    "sum": (1.5 * NF, 3 * NF),
    "weighted_sum": (1.5 * NF, 3 * NF + 4 * E),
    "mean": (1.5 * NF, 3 * NF + 2 * E),
    "max": (3 * NF, 4.5 * NF),  # and which edge won
    "std": (4.5 * NF, 7.5 * NF),  # the mean, too
    "multi_aggregate": (9 * NF, 10.5 * NF),  # mean, max, min, std, and two winners
    "spmm_edge_typed": (1.5 * NF + E, 3 * NF + 2 * E),
    "sddmm": (1.5 * E, 3 * NF + 3 * E),
    "gatv2_score": (1.5 * EH, 4.5 * NF + 1.5 * EH),
    "graph_attention": (NF + 2 * NF + 3 * EH, 6 * NF + 4 * EH),
}
SLACK = 16 * MEGABYTE  # buffers of threads, pages of code


@pytest.fixture(scope="module", params=["1", "0"], ids=["compiled", "plain"])
def peaks(request):
    """Measured in a process of its own, whose allocator returns freed memory at once."""
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("peaks of memory are read from /proc, which Linux alone has")
    script = Path(__file__).parent / "ops_peaks.py"
    environment = {
        **os.environ,
        "MALLOC_MMAP_THRESHOLD_": "65536",
        "MALLOC_TRIM_THRESHOLD_": "65536",
        "GRAFTABLE_NATIVE": request.param,
    }
    sizes = map(str, (NODES, EDGES, WIDTH, HEADS))
    done = subprocess.run([sys.executable, str(script), *sizes], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-4000:]
    return {name: (int(f), int(fb)) for name, f, fb in (line.split() for line in done.stdout.splitlines())}


@pytest.mark.parametrize("name", BOUNDS)
def test_peak_memory_is_that_of_nodes_and_not_of_edges_times_features(peaks, name):
    for found, bound, what in zip(peaks[name], BOUNDS[name], ("forward", "with backward"), strict=True):
        assert found <= bound + SLACK, (
            f"{name} {what}: {found / MEGABYTE:.0f} MB, allowed {(bound + SLACK) / MEGABYTE:.0f}"
        )
        assert bound + SLACK < EDGES * WIDTH * 4 / 2  # so that one vector an edge could not hide


def test_the_bounds_name_every_operator_measured(peaks):
    assert set(peaks) == set(BOUNDS)
