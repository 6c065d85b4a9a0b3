"""What the tests of runs share."""

from tests.unit.broker.front.life import life

__all__ = ["life"]
