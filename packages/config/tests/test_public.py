from __future__ import annotations

import types

import mtenant_config
from mtenant_config.testing import MemoryConfig


def test_all_is_sorted_and_names_exactly_what_is_public() -> None:
    public = [
        name
        for name, value in vars(mtenant_config).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    ]
    assert sorted(public) == mtenant_config.__all__
    assert sorted(mtenant_config.__all__) == mtenant_config.__all__


def test_config_and_its_fake_are_readers_to_the_type_checker() -> None:
    # The assignments are the test; mypy reads them.
    fake: mtenant_config.ConfigReader = MemoryConfig({"port": "8080"})
    real: mtenant_config.ConfigReader = mtenant_config.Config.load("CRM", environ={})
    number: int = fake.get_int("port")
    optional: str | None = real.get_str("host", None)
    assert (number, optional) == (8080, None)
