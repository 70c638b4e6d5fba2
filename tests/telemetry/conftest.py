"""The Job Router, settler and clock of the unit tests."""

from tests.unit.conftest import edges as edges
