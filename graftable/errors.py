"""The errors that a user can meet. Each message says what was got, what was expected and what to do."""

__all__ = [
    "ConfigError",
    "DataError",
    "GraftableError",
    "MissingExtraError",
    "ModelFileError",
    "PromptError",
    "RuleError",
    "ShapeError",
]


class GraftableError(Exception):
    """Root of every error that graftable raises on purpose; a command prints it as one sentence and exits with 2."""


class ConfigError(GraftableError, ValueError):
    """A setting is unknown, has a bad value, or comes from an untrusted or incompatible config."""


class DataError(GraftableError, ValueError):
    """A file, record or array does not hold what was expected of it."""


class ShapeError(GraftableError, ValueError):
    """A tensor has another shape, or lies on another device, than the operator needs."""


class PromptError(GraftableError, ValueError):
    """A prompt is empty, contradicts itself, or contradicts an explicit option."""


class RuleError(GraftableError, ValueError):
    """A rule cannot be read, names what the table does not have, or contradicts the others."""


class ModelFileError(GraftableError, ValueError):
    """A checkpoint or model folder is missing, corrupt, or of another version."""


class MissingExtraError(GraftableError, ImportError):
    """An optional dependency is not installed; the message names the extra that brings it."""
