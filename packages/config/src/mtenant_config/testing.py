"""The fake for consumers' tests: settings from a dict, without files, variables and dynaconf."""

from __future__ import annotations

from collections.abc import Mapping

from mtenant_config.document import FileFault, walk
from mtenant_config.names import fold
from mtenant_config.reader import Reader
from mtenant_config.setting import Layer, Origin, Setting
from mtenant_config.source import Source


class MemoryConfig(Reader):
    """Reads a dict as `Config` reads its layers: same grammars, same errors, same `bind`.

    Text is parsed as a variable's would be; values that have a type are taken as a file's are. Keys
    may be nested or dotted.

    >>> config = MemoryConfig({"db": {"port": "5432"}, "debug": True})
    >>> config.get_int("db.port"), config.get_bool("debug"), config.get_str("db.host", "localhost")
    (5432, True, 'localhost')
    """

    __slots__ = ()

    def __init__(self, values: Mapping[str, object] | None = None) -> None:
        """Take the values.

        Raises:
            ValueError: A key is no name, stands there twice, or is a value and a section at once.
        """
        settings: dict[str, Setting] = {}
        try:
            for path, value in walk(dict(values or {})):
                key = fold(".".join(path))
                if key in settings:
                    raise ValueError(f"MemoryConfig has {key} twice")
                settings[key] = Setting(key, value, Origin(Layer.OVERRIDE, "MemoryConfig"))
        except FileFault as fault:
            raise ValueError(f"MemoryConfig {fault.reason}") from None
        for key in settings:
            inside = next((other for other in settings if other.startswith(f"{key}.")), None)
            if inside:
                raise ValueError(f"MemoryConfig has {key} as a value and as a section, {inside}")
        super().__init__(Source(None, winners=settings, layers=(settings,)))
