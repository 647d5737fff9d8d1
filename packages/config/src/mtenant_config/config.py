"""The configuration of a program: files, `.env`, environment, secrets and overrides in layers."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from mtenant_config.document import FileFault, walk
from mtenant_config.files import DEFAULT_SECTION, SettingsFile, environment_name, read_text
from mtenant_config.names import check_prefix, fold, misspelt, sections_of
from mtenant_config.problem import ConfigError, Problem
from mtenant_config.reader import Reader
from mtenant_config.setting import Layer, Origin, Setting
from mtenant_config.source import Source
from mtenant_config.variables import SecretsDirectory, Variables

PathLike = str | os.PathLike[str]
Settings = dict[str, Setting]


class Config(Reader):
    """Settings in layers, read by key or bound to a frozen dataclass.

    Made by `Config.load`; it never changes afterwards, so threads and tasks may share it.

    Attributes:
        env: The environment that the files' sections were chosen for, or None.
    """

    __slots__ = ("env",)

    def __init__(self, source: Source, env: str | None = None) -> None:
        super().__init__(source)
        self.env = env

    @classmethod
    def load(
        cls,
        prefix: str,
        *,
        files: Iterable[PathLike] = (),
        optional_files: Iterable[PathLike] = (),
        env: str | None = None,
        dotenv: PathLike | None = None,
        secrets_dir: PathLike | None = None,
        overrides: Mapping[str, object] | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> Config:
        """Read every layer and return the configuration.

        From low to high: `[default]` of the files, then `[<env>]` of the files, optional files,
        `.env`, the environment, secret files, overrides. Below them all are the defaults of the
        dataclass that is bound. Tables are merged key by key; a list is replaced as a whole.

        Args:
            prefix: What the program's variables begin with: with `CRM`, `CRM_DB__HOST` sets
                `db.host`.
            files: TOML, YAML or JSON files that must be there. Paths are not searched for: they
                are relative to the working directory.
            optional_files: The same for files that need not be there.
            env: Which section of the files counts beside `[default]`; by default the variable
                `ENVIRONMENT`, of the process or else of the `.env` file. `dev` is `development`,
                `prod` is `production`. Without it only `[default]` counts.
            dotenv: A file of `NAME=value` lines; one that is not there is empty.
            secrets_dir: A directory with one file for each secret, such as `/run/secrets`; one that
                is not there is empty. One newline at the end of a file is not part of the secret.
            overrides: Values by key, nested or dotted, that hide all others.
            environ: The variables. Copied: later changes have no effect.

        Raises:
            ConfigError: With every problem of every file: missing, unreadable, not what its suffix
                says, a key twice; and with every key that is a value here and a section there.
            ValueError: The prefix is no upper-case name.
        """
        check_prefix(prefix)
        _import_dynaconf()
        loading = _Loading(prefix)
        loading.read_variables(dotenv, secrets_dir, environ)
        loading.read_overrides(overrides or {})
        del environ, overrides  # error trackers record the local variables of what raises
        env = loading.choose_env(env)
        loading.read_files(_paths(files, "files"), _paths(optional_files, "optional_files"), env)
        return cls(loading.source(), env)


def _import_dynaconf() -> None:
    """Import it here, where it can be said why it failed: it parses variables of its own."""
    try:
        importlib.import_module("mtenant_config._dynaconf")
    except ImportError:
        raise
    except Exception as exc:
        reason = f"cannot be imported ({type(exc).__name__})"
    else:
        return
    own = ", ".join(sorted(name for name in os.environ if name.endswith("_FOR_DYNACONF")))
    raise ConfigError(
        [Problem("dynaconf", "unreadable", reason, suggestion=f"unset {own}" if own else None)]
    )


def _paths(paths: Iterable[PathLike], argument: str) -> list[PathLike]:
    if isinstance(paths, str | os.PathLike):
        raise TypeError(f"{argument} is a list of paths, not one path")
    return list(paths)


class _Loading:
    """One load: gathers the layers and the problems."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.problems: list[Problem] = []
        self.files: list[Settings] = []
        self.file_names: list[str] = []
        self.variables: list[Variables] = []
        self.secrets = SecretsDirectory({})
        self.overrides: Settings = {}

    def read_variables(
        self, dotenv: PathLike | None, secrets_dir: PathLike | None, environ: Mapping[str, str]
    ) -> None:
        if dotenv is not None:
            self.variables.append(self.read_dotenv(Path(dotenv)))
        self.variables.append(Variables(dict(environ)))
        if secrets_dir is not None:
            try:
                self.secrets = SecretsDirectory.read(os.fspath(secrets_dir))
            except OSError as exc:
                reason = f"cannot be listed ({exc.strerror})"
                self.problems.append(Problem(os.fspath(secrets_dir), "unreadable", reason))

    def read_dotenv(self, path: Path) -> Variables:
        from mtenant_config._dynaconf import read_dotenv  # noqa: PLC0415 - only load() needs it

        texts: dict[str, str] = {}
        lines: dict[str, int] = {}
        try:
            texts, places = read_dotenv(read_text(path))
            lines = {name[0]: line for name, line in places.items()}
        except FileNotFoundError:
            pass
        except FileFault as fault:
            origin = f"{path}:{fault.line}" if fault.line else None
            self.problems.append(Problem(str(path), "unreadable", fault.reason, origin=origin))
        return Variables(texts, Layer.DOTENV, str(path), lines)

    def choose_env(self, env: str | None) -> str | None:
        if env is None:
            # The process counts before the file; `variables` has the file first.
            for variables in reversed(self.variables):
                env = env or variables.texts.get("ENVIRONMENT")
        return environment_name(env) if env and env.strip() else None

    def read_files(
        self, required: list[PathLike], optional: list[PathLike], env: str | None
    ) -> None:
        files = [SettingsFile.read(path, env, optional=False) for path in required]
        extra = [SettingsFile.read(path, env, optional=True) for path in optional]
        for file in files + extra:
            self.problems.extend(file.problems)
        self.check_env(env, set[str]().union(*(file.section_names for file in files + extra)))
        self.file_names = [str(file.path) for file in files]
        # Of the required files every [default] lies below every [env]: what is said for
        # production must not be undone by what another file says for everybody.
        self.files = [file.sections.get(DEFAULT_SECTION, {}) for file in files]
        self.files += [file.sections.get(env, {}) for file in files if env]
        for file in extra:
            self.files.append(file.sections.get(DEFAULT_SECTION, {}))
            self.files.append(file.sections.get(env, {}) if env else {})

    def check_env(self, env: str | None, sections: set[str]) -> None:
        """Report an environment, or a section, that seems to be misspelt.

        Otherwise a program would run in production with what was meant for everybody.
        """
        meant = misspelt(env, sections) if env and env not in sections else None
        if meant:
            reason = f"no file has a section for the environment {env}"
            hint = f"did you mean {meant}? If not, add an empty section [{env}]"
            self.problems.append(Problem("ENVIRONMENT", "unknown", reason, suggestion=hint))

    def read_overrides(self, overrides: Mapping[str, object]) -> None:
        try:
            for path, value in walk(dict(overrides)):
                key = fold(".".join(path))
                if key in self.overrides:
                    self.problems.append(Problem("overrides", "conflict", f"has {key} twice"))
                self.overrides[key] = Setting(key, value, Origin(Layer.OVERRIDE, "overrides"))
        except FileFault as fault:
            self.problems.append(Problem("overrides", "unreadable", fault.reason))

    def source(self) -> Source:
        from mtenant_config import _dynaconf  # noqa: PLC0415 - only load() needs it

        layers = [*self.files, *(v.swept(self.prefix) for v in self.variables), self.overrides]
        layers = [layer for layer in layers if layer]
        self.problems.extend(_collisions(layers))
        if self.problems:
            raise ConfigError(self.problems)
        return Source(
            prefix=self.prefix,
            winners=_dynaconf.merge(layers),
            layers=tuple(layers),
            references=(
                self.secrets.swept(self.prefix),
                *(variables.references(self.prefix) for variables in self.variables),
            ),
            variables=tuple(self.variables),
            secrets=self.secrets,
            files=tuple(self.file_names),
        )


def _collisions(layers: list[Settings]) -> Iterator[Problem]:
    """Yield a problem for each key that is a value in one place and a section in another.

    A null is no value: `db: null` beside `db.host` says nothing, and is taken out.
    """
    holders: dict[str, Setting] = {}
    for layer in layers:
        for key, setting in layer.items():
            if key not in holders or not holders[key].is_set:
                holders[key] = setting
    for key, setting in holders.items():
        for section in sections_of(key):
            outer = holders.get(section)
            if outer is None:
                continue
            if outer.is_set and setting.is_set:
                yield Problem(
                    section,
                    "conflict",
                    f"is a value at {outer.origin}, and a section at {setting.origin}",
                    suggestion=f"{key} needs {section} to be a section",
                )
            for layer in layers:
                layer.pop(key if outer.is_set else section, None)
