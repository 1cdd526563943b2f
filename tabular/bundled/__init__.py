"""Tables that ship with the package, by name, each beside rules that all of its rows obey; see ``README.md`` here."""

from __future__ import annotations

from pathlib import Path

__all__ = ["bundled_rules", "bundled_table", "bundled_tables"]


def bundled_tables() -> tuple[str, ...]:
    """Their names.

    Example:
        >>> bundled_tables()
        ('bike',)
    """
    return tuple(sorted(path.stem for path in Path(__file__).parent.glob("*.csv")))


def bundled_table(name: str) -> Path | None:
    """The file of a table; None if there is none of this name."""
    return Path(__file__).parent / f"{name}.csv" if name in bundled_tables() else None


def bundled_rules(name: str) -> Path | None:
    """The rules of a table; None if there is none of this name."""
    return Path(__file__).parent / f"{name}.rules" if name in bundled_tables() else None
