"""The error that makes `fetch` try the next place."""

from rmas.errors import SourceError


class UnavailableError(SourceError):
    """A place that cannot be reached, refuses, or does not have the weights."""
