"""All layers of one configuration, and the questions that reading and binding ask of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from mtenant_config.names import near_variable, sections_of, variable
from mtenant_config.setting import Layer, Setting
from mtenant_config.variables import SecretsDirectory, Variables

Swept = Mapping[str, Setting]


@dataclass(frozen=True, slots=True, repr=False)
class Source:
    """Settings in layers. Nothing in it changes after it is made.

    Attributes:
        prefix: What variables begin with; None where a key's own name is the variable's.
        winners: For each key the setting that counts, file references left out.
        layers: What `winners` was made of, lowest first.
        references: Settings that lie in a file of their own, lowest first. They stand apart because
            `CRM_LOG_FILE` must not hide the section `log`: it may be a path like any other.
        variables: What is asked for by a variable's name, lowest first.
        secrets: The secrets directory.
        files: The names of the files that were read, for advice.
    """

    prefix: str | None
    winners: Swept = field(default_factory=dict)
    layers: tuple[Swept, ...] = ()
    references: tuple[Swept, ...] = ()
    variables: tuple[Variables, ...] = ()
    secrets: SecretsDirectory = field(default_factory=lambda: SecretsDirectory({}))
    files: tuple[str, ...] = ()

    def effective(self) -> dict[str, Setting]:
        """Return for each key the setting that counts, references included."""
        effective = dict(self.winners)
        sections = {section for key in self.winners for section in sections_of(key)}
        for references in self.references:
            for key, setting in references.items():
                current = effective.get(key)
                hidden = current is not None and current.origin.layer > setting.origin.layer
                if key not in sections and not hidden:
                    effective[key] = setting
        return effective

    def lookup(self, key: str, env: str | None, *, indirect: bool = True) -> Setting | None:
        """Return the setting that counts for a field, or None."""
        chain = self.chain(key, env, indirect=indirect)
        return chain[-1] if chain else None

    def chain(self, key: str, env: str | None = None, *, indirect: bool = True) -> list[Setting]:
        """Return every setting of a field, the lowest first, the one that counts last.

        Args:
            key: The folded key.
            env: The field's own variable, read beside the one made of prefix and key, and below
                it, because that one says more exactly which setting it means.
            indirect: Whether `X_FILE` stands for the content of a file.
        """
        found: list[Setting] = []
        name = env if env is not None else None if self.prefix else variable(key)
        if name is not None:
            for variables in self.variables:
                found.extend(variables.named(name, key, indirect=indirect))
            found.extend(self.secrets.named(name, key))
        for settings in (*self.layers, *(self.references if indirect else ())):
            if key in settings:
                found.append(settings[key])
        # Stable: what stands later inside one layer keeps its place.
        return sorted(found, key=lambda setting: setting.origin.layer)

    def below(self, at: str) -> Iterator[Setting]:
        """Yield what somebody wrote down for a section: in files, overrides and memory.

        Environment variables are left out: others may use the prefix too.
        """
        for settings in self.layers:
            for key, setting in settings.items():
                written = setting.origin.layer not in (Layer.DOTENV, Layer.ENVIRONMENT)
                if written and (not at or key == at or key.startswith(f"{at}.")):
                    yield setting

    def variable(self, key: str, env: str | None = None) -> str:
        """Return the variable that would set a key."""
        return env or variable(key, self.prefix)

    def near_variable(self, name: str) -> str | None:
        """Return a variable that is set and was probably meant to be `name`."""
        names = {n for variables in self.variables for n in variables.texts if n.isprintable()}
        return near_variable(name, self.prefix, names)

    def own_variables(self) -> Iterator[tuple[str, Variables]]:
        """Yield the variables that begin with our prefix."""
        if self.prefix:
            for variables in self.variables:
                for name in variables.texts:
                    if name.upper().startswith(f"{self.prefix}_") and name.isprintable():
                        yield name, variables
