"""Fixtures of the tests with a silent network."""

from tests.unit.conftest import edges

__all__ = ["edges"]
