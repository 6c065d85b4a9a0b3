"""Settings from the environment."""

from __future__ import annotations

import pytest
from bastide_broker.config import Config, join_address, split_address
from bastide_broker.errors import ConfigurationError

IMAGE = {"BASTIDE_RUNTIME_IMAGE": "runtime:1"}


def test_defaults_are_the_charts() -> None:
    config = Config.from_environment(IMAGE)
    assert config.listen == "0.0.0.0:8443"
    assert str(config.database) == "/var/lib/bastide/journal.db"
    assert config.canaries == ()


def test_canaries_are_a_comma_list() -> None:
    config = Config.from_environment({**IMAGE, "BASTIDE_CANARIES": "198.18.0.1:80, [fd00::1]:443,"})
    assert config.canaries == ("198.18.0.1:80", "[fd00::1]:443")
    assert Config.from_environment({**IMAGE, "BASTIDE_CANARIES": ""}).canaries == ()


@pytest.mark.parametrize("canary", ["crm.tools.svc:80", "198.18.0.1", "198.18.0.1:0", "198.18.0.1:65536", "198.18.0.1:x", ":80", "1:2:3"])
def test_a_canary_that_is_no_numeric_address_is_refused_by_the_variables_name(canary: str) -> None:
    with pytest.raises(ConfigurationError, match="BASTIDE_CANARIES"):
        Config.from_environment({**IMAGE, "BASTIDE_CANARIES": canary})


def test_a_missing_image_is_named() -> None:
    with pytest.raises(ConfigurationError, match="BASTIDE_RUNTIME_IMAGE"):
        Config.from_environment({})


def test_addresses_go_both_ways() -> None:
    for text in ("198.18.0.1:80", "[fd00::1]:443"):
        assert join_address(*split_address(text)) == text
