"""Code that reads settings, and its test: the fake needs no file and no variable."""

from mtenant_config import ConfigError, ConfigReader, Problem
from mtenant_config.testing import MemoryConfig


def greeting(config: ConfigReader) -> str:
    """Stand for any code that is handed a configuration."""
    name = config.get_str("tenant.name")
    return f"Hello {name}!" if config.get_bool("greet", False) else name


def test_it_greets_when_told_to() -> None:
    """The values may be text, as in a variable, or typed, as in a file."""
    assert greeting(MemoryConfig({"tenant": {"name": "Acme"}, "greet": "yes"})) == "Hello Acme!"
    assert greeting(MemoryConfig({"tenant.name": "Acme"})) == "Acme"


def test_it_needs_a_name() -> None:
    """The fake raises what the real one raises."""
    problems: tuple[Problem, ...] = ()
    try:
        greeting(MemoryConfig({}))
    except ConfigError as error:
        problems = error.problems
    assert [problem.key for problem in problems] == ["tenant.name"]


test_it_greets_when_told_to()
test_it_needs_a_name()
print("2 tests passed")
