"""The report of a comparison as one HTML file."""

from collections.abc import Sequence
from html import escape

from graftable.comparison_tables import Table, text_of

__all__ = ["render_comparison"]


def render_comparison(found: Sequence[Table], left_out: Sequence[str], runs: tuple[int, int]) -> str:
    """Write the report.

    Args:
        found: The tables.
        left_out: Why sets are missing.
        runs: Finished and planned.
    """
    words = [*(text_of(table) for table in found), *left_out, f"{runs[0]} of {runs[1]} runs are finished."]
    return f"<!doctype html><meta charset=utf-8><pre>{escape(chr(10).join(words))}</pre>\n"
