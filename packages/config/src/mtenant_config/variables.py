"""Values by the name of a variable: the process environment, a `.env` file, a secrets directory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mtenant_config.names import FILE_SUFFIX, fold, key_of
from mtenant_config.setting import FileReference, Layer, Origin, Setting, Unusable, decoded


@dataclass(frozen=True, slots=True, repr=False)
class Variables:
    """A snapshot of named texts, and how their layer is called.

    `X_FILE` names a file that holds the value of `X`. It is not followed before somebody asks for
    `X`, and then it counts above the process environment; in a `.env` file, as that file does.
    """

    texts: Mapping[str, str]
    layer: Layer = Layer.ENVIRONMENT
    file: str | None = None
    lines: Mapping[str, int] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"<{len(self.texts)} variables of the {self.layer.name.lower()}>"

    def named(self, name: str, key: str, *, indirect: bool = True) -> Iterator[Setting]:
        """Yield what sets `name`, lowest first: the variable itself, then the file it refers to."""
        if name in self.texts:
            yield Setting(key, decoded(self.texts[name]), self._origin(name, self.layer))
        if indirect and name + FILE_SUFFIX in self.texts:
            yield self._reference(name, key)

    def swept(self, prefix: str) -> dict[str, Setting]:
        """Return the settings of all variables with the prefix, by key."""
        found = {}
        for name, text in self.texts.items():
            key = key_of(name, prefix)
            if key is not None:
                found[key] = Setting(key, decoded(text), self._origin(name, self.layer))
        return found

    def references(self, prefix: str) -> dict[str, Setting]:
        """Return the settings that a variable `<prefix>_X_FILE` would give, by key."""
        found = {}
        for name in self.texts:
            target = name.removesuffix(FILE_SUFFIX)
            key = key_of(target, prefix) if target != name else None
            if key is not None:
                found[key] = self._reference(target, key)
        return found

    def _reference(self, name: str, key: str) -> Setting:
        holder = name + FILE_SUFFIX
        layer = Layer.SECRET_FILE if self.layer is Layer.ENVIRONMENT else self.layer
        value: object
        if name in self.texts:
            value = Unusable(f"{name} and {holder} are both set; keep one", conflict=True)
        else:
            path = decoded(self.texts[holder])
            value = path if isinstance(path, Unusable) else FileReference(path)
        return Setting(key, value, self._origin(holder, layer))

    def _origin(self, name: str, layer: Layer) -> Origin:
        if self.file is None:
            return Origin(layer, name)
        return Origin(layer, self.file, self.lines.get(name), name)


@dataclass(frozen=True, slots=True)
class SecretsDirectory:
    """A directory with one file for each secret, as container platforms mount it.

    A file is found by the name of the variable, in any case: `CRM_DB__PASSWORD` or
    `crm_db__password`; the prefix may be left out, `db__password` or `db.password`. Names that
    begin with a dot are skipped: Kubernetes keeps its own links there. A directory that is not
    there is empty: platforms mount none where there is no secret.
    """

    files: Mapping[str, str]

    @classmethod
    def read(cls, path: str | Path) -> SecretsDirectory:
        """List the directory; the files are opened when they are needed.

        Raises:
            OSError: The directory is there and cannot be listed, or is none.
        """
        directory = Path(path)
        try:
            names = sorted(entry.name for entry in directory.iterdir())
        except FileNotFoundError:
            return cls({})
        return cls(
            {n.lower(): str(directory / n) for n in names if n[0] != "." and n.isprintable()}
        )

    def named(self, name: str, key: str) -> Iterator[Setting]:
        """Yield the file that has the name of a variable."""
        path = self.files.get(name.lower())
        if path is not None:
            yield _secret_file(key, path)

    def swept(self, prefix: str) -> dict[str, Setting]:
        """Return the settings of all files, by key."""
        head = f"{prefix}_".lower()
        found = {}
        for name, path in self.files.items():
            key = fold(name.removeprefix(head).replace("__", "."))
            # A name with the prefix is the exact one, and wins over its twin without.
            if key not in found or name.startswith(head):
                found[key] = _secret_file(key, path)
        return found


def _secret_file(key: str, path: str) -> Setting:
    return Setting(key, FileReference(path), Origin(Layer.SECRET_FILE, path))
