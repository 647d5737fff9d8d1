"""The command: check a configuration, explain it, or print a template of it."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any, cast

from mtenant_config.binding import bind
from mtenant_config.config import Config
from mtenant_config.environ import environment
from mtenant_config.names import fold
from mtenant_config.problem import ConfigError
from mtenant_config.reader import explanation
from mtenant_config.schema import Leaf, schema_of, written
from mtenant_config.secret import MASK
from mtenant_config.setting import show
from mtenant_config.source import Source
from mtenant_config.template import env_template, toml_template

OK, WRONG, USAGE = 0, 1, 2

_EPILOG = """\
exit status:
  0  all is well
  1  the configuration is wrong; the report is on standard error
  2  the command is wrong: no such module, class or option
"""


class _UsageError(Exception):
    """The command cannot be carried out as it was written."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    options = _parser().parse_args(arguments)
    try:
        cls = _settings_class(options.settings)
        status: int = options.run(cls, options)
    except _UsageError as exc:
        print(f"mtenant_config: {exc}", file=sys.stderr)
        return USAGE
    except ConfigError as exc:
        print(exc, file=sys.stderr)
        return WRONG
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m mtenant_config",
        description="Check, explain or describe the configuration of a program.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    check = _command(commands, "check", _check, "bind the class and report every problem")
    explain = _command(
        commands, "explain", _explain, "show each value, where it is from, what it hides"
    )
    explain.add_argument("key", nargs="?", help="only this key, such as db.host")
    template = _command(commands, "template", _template, "print a commented example to fill in")
    for command in (check, explain):
        _add_layers(command)
    template.add_argument(
        "--prefix", metavar="NAME", help="what the variables begin with, such as CRM"
    )
    template.add_argument(
        "--format", choices=("env", "toml"), default="env", help="default: %(default)s"
    )
    return parser


def _command(commands: Any, name: str, run: object, summary: str) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument(
        "settings", metavar="MODULE:CLASS", help="such as contact_service.settings:Settings"
    )
    command.set_defaults(run=run)
    return command


def _add_layers(command: argparse.ArgumentParser) -> None:
    layers = command.add_argument_group("layers, as Config.load takes them")
    layers.add_argument(
        "--prefix",
        metavar="NAME",
        help="what the variables begin with, such as CRM; "
        "without it only the environment is read, as from_env does",
    )
    layers.add_argument(
        "--file", action="append", default=[], metavar="PATH", help="may be given again"
    )
    layers.add_argument(
        "--optional-file", action="append", default=[], metavar="PATH", help="may be given again"
    )
    layers.add_argument("--env", metavar="NAME", help="default: the variable ENVIRONMENT")
    layers.add_argument("--dotenv", metavar="PATH")
    layers.add_argument("--secrets-dir", metavar="PATH")
    layers.add_argument(
        "--at", metavar="SECTION", default="", help="bind the class to this section"
    )


def _check(cls: type, options: argparse.Namespace) -> int:
    bind(cls, _source(options), fold(options.at))
    print(f"{options.settings}: all is well")
    return OK


def _explain(cls: type, options: argparse.Namespace) -> int:
    source, at = _source(options), fold(options.at)
    fields = {f"{at}.{leaf.key}" if at else leaf.key: leaf for leaf in schema_of(cls).all_leaves()}
    wanted = [fold(options.key)] if options.key else list(fields)
    for key in wanted:
        if key not in fields:
            raise _UsageError(
                f"{options.settings} has no setting {key}; it has {', '.join(fields)}"
            )
        print(_explained(source, key, fields[key]))
    return OK


def _explained(source: Source, key: str, leaf: Leaf) -> str:
    found = explanation(source, key, leaf.env, secret=leaf.secret, indirect=leaf.indirect)
    lines = [str(found)]
    if leaf.default is not None:
        default = MASK if leaf.secret else show(written(leaf.default()))
        lines = (
            [*lines, f"  hides {default}  (default)"]
            if found.origin
            else [f"{key} = {default}  (default)"]
        )
    return "\n".join(lines)


def _template(cls: type, options: argparse.Namespace) -> int:
    make = env_template if options.format == "env" else toml_template
    print(make(cls, options.prefix), end="")
    return OK


def _source(options: argparse.Namespace) -> Source:
    layers = {
        "--file": options.file,
        "--optional-file": options.optional_file,
        "--env": options.env,
        "--dotenv": options.dotenv,
        "--secrets-dir": options.secrets_dir,
    }
    if not options.prefix:
        given = [name for name, value in layers.items() if value]
        if given:
            raise _UsageError(f"{', '.join(given)} needs --prefix")
        return environment(None, os.environ)
    try:
        return Config.load(
            options.prefix,
            files=options.file,
            optional_files=options.optional_file,
            env=options.env,
            dotenv=options.dotenv,
            secrets_dir=options.secrets_dir,
        ).source
    except ValueError as exc:
        raise _UsageError(str(exc)) from None


def _settings_class(path: str) -> type:
    module_name, _, class_name = path.partition(":")
    if not module_name or not class_name:
        raise _UsageError(
            f"{path!r} is not MODULE:CLASS, such as contact_service.settings:Settings"
        )
    try:
        found: object = importlib.import_module(module_name)
    except ModuleNotFoundError as exc:
        by_whom = "" if module_name.startswith(str(exc.name)) else f", which {module_name} imports"
        raise _UsageError(f"there is no module {exc.name}{by_whom}") from None
    except Exception as exc:
        raise _UsageError(
            f"{module_name} cannot be imported: {type(exc).__name__}: {exc}"
        ) from None
    for name in class_name.split("."):
        found = getattr(found, name, None)
    if found is None:
        raise _UsageError(f"{module_name} has no {class_name}")
    try:
        schema_of(cast("type", found))
    except TypeError as exc:
        raise _UsageError(str(exc)) from None
    return cast("type", found)


if __name__ == "__main__":
    sys.exit(main())
