"""Templates: jinja2, of which little is left.

Tenants write them, so they are programs of strangers. What may stand in one is a list: text, declared
variables, a few filters, `if`. There is no attribute, no call, no loop, no arithmetic: nothing to climb out by.
What makes much of little are filters behind filters: the characters that they read and write are counted, as are
those that come out. Jinja's sandbox stands behind the list, with nothing in it but the list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Annotated, Any, Final, Literal, TypeAlias

from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from pydantic_core import PydanticCustomError

from communication_service.domain.errors import RenderingFailed, TemplateInvalid, ValuesInvalid
from communication_service.domain.text import is_one_line

LONGEST_SOURCE: Final = 64 * 1024
LONGEST_OUTPUT: Final = 256 * 1024
LONGEST_SUBJECT: Final = 500
MOST_NODES: Final = 2_000
DEEPEST: Final = 20
MOST_VARIABLES: Final = 50
LONGEST_VALUE: Final = 10_000
MOST_FILTERED: Final = 2 * 1024 * 1024
"""Characters that the filters of one part may read and write."""

FILTERS: Final = {
    "capitalize": 0,
    "default": 1,
    "e": 0,
    "escape": 0,
    "length": 0,
    "lower": 0,
    "title": 0,
    "trim": 0,
    "truncate": 1,
    "upper": 0,
}
"""Each with how many arguments it may have."""

TESTS: Final = frozenset({"defined", "none"})

_NODES: Final = (
    *(nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.Const, nodes.Filter),
    *(nodes.If, nodes.CondExpr, nodes.Test, nodes.Compare, nodes.Operand),
    *(nodes.And, nodes.Or, nodes.Not),
)
_OPERATORS: Final = frozenset({"eq", "ne", "lt", "lteq", "gt", "gteq"})
# Names that mean something to jinja2 itself.
_RESERVED: Final = frozenset(
    ["self", "loop", "super", "caller", "varargs", "kwargs", "context", "environment", "namespace"]
)

Part = Literal["subject", "text", "html"]
Value: TypeAlias = str | int | float | bool | None


def _free(name: str) -> str:
    if name in _RESERVED:
        raise PydanticCustomError("variable", "is a word of the template language")
    return name


Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,62}$"), AfterValidator(_free)]


class Variable(BaseModel):
    """What a template may say that is different in each mail."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    name: Name
    default: Annotated[str, StringConstraints(max_length=1000)] | None = Field(
        default=None, description="null: each mail must say it"
    )


@dataclass(frozen=True)
class Source:
    """What a template is made of.

    Attributes:
        subject: One line.
        text: For those who read no HTML.
        html: The same as HTML, whose variables are escaped; or None.
        variables: What may differ.
    """

    subject: str
    text: str
    html: str | None
    variables: Sequence[Variable]

    @property
    def parts(self) -> Iterator[tuple[Part, str]]:
        """Yield its parts."""
        yield "subject", self.subject
        yield "text", self.text
        if self.html is not None:
            yield "html", self.html


@dataclass(frozen=True)
class Rendered:
    """What a mail says.

    Attributes:
        subject: One line of at most 500 characters.
        text: As text.
        html: As HTML, if there is any.
    """

    subject: str
    text: str
    html: str | None


def check(source: Source) -> None:
    """Refuse a template that could do more than a template may.

    Raises:
        TemplateInvalid: With the part, the line and the reason; nothing of it was run.
    """
    names = [one.name for one in source.variables]
    if len(names) > MOST_VARIABLES or len(set(names)) != len(names):
        raise TemplateInvalid(part="variables", line=1, why="too many, or one of them twice")
    if not is_one_line(source.subject):
        raise TemplateInvalid(part="subject", line=1, why="it is more than one line")
    for part, text in source.parts:
        _parse(_Environment(part), part, text, frozenset(names))


def render(source: Source, values: Mapping[str, Value]) -> Rendered:
    """Return what a mail says.

    Args:
        source: The template. It is checked again: what is stored is not trusted for being stored.
        values: By the variable's name.

    Raises:
        TemplateInvalid: The template is none.
        ValuesInvalid: A value is missing, unknown, or too long.
        RenderingFailed: What comes out is too long, or the subject is not one line.
    """
    known = _with_defaults(source.variables, values)
    made = {part: _render(part, text, known) for part, text in source.parts}
    subject = made["subject"].strip()
    if not subject or len(subject) > LONGEST_SUBJECT or not is_one_line(subject):
        raise RenderingFailed(part="subject", why="it is not one line of 1 to 500 characters")
    return Rendered(subject, made["text"], made.get("html"))


def _with_defaults(variables: Sequence[Variable], values: Mapping[str, Value]) -> dict[str, Value]:
    declared = {one.name: one.default for one in variables}
    unknown = len(values.keys() - declared.keys())
    missing = sorted(
        name for name, default in declared.items() if default is None and name not in values
    )
    if unknown:
        raise ValuesInvalid(why=f"{unknown} values have no variable of their name")
    if missing:
        raise ValuesInvalid(why=f"there is no value for {', '.join(missing)}")
    if any(isinstance(one, str) and len(one) > LONGEST_VALUE for one in values.values()):
        raise ValuesInvalid(why=f"a value is longer than {LONGEST_VALUE} characters")
    return {**declared, **values}


class _Environment(ImmutableSandboxedEnvironment):
    """What one rendering of one part may use; it counts what the filters do."""

    def __init__(self, part: Part) -> None:
        super().__init__(
            autoescape=part == "html",
            undefined=StrictUndefined,
            keep_trailing_newline=True,
            cache_size=0,
        )
        self.left = MOST_FILTERED
        self.filters = {name: self._counted(self.filters[name]) for name in FILTERS}
        self.tests = {name: self.tests[name] for name in TESTS}
        self.globals.clear()

    def _counted(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)  # and with it jinja2's mark of those that are given the environment
        def counted(*args: Any) -> Any:
            if self.left < 0:
                raise _TooMuch
            made = function(*args)
            self.left -= sum(len(one) for one in (*args, made) if isinstance(one, str))
            return made

        return counted


class _TooMuch(Exception):
    """The filters have read and written more than they may."""


def _parse(
    environment: _Environment, part: Part, text: str, names: frozenset[str]
) -> nodes.Template:
    if len(text) > LONGEST_SOURCE:
        raise TemplateInvalid(part=part, line=1, why=f"it is longer than {LONGEST_SOURCE}")
    try:
        parsed = environment.parse(text)
    except TemplateSyntaxError as exc:
        raise TemplateInvalid(part=part, line=exc.lineno, why="it cannot be read") from None
    except (TemplateError, ValueError, RecursionError, OverflowError) as exc:
        why = "it cannot be read"
        raise TemplateInvalid(part=part, line=1, why=why, internal=type(exc).__name__) from None
    _inspect(part, parsed, names)
    return parsed


def _inspect(part: Part, parsed: nodes.Template, names: frozenset[str]) -> None:
    waiting: list[tuple[nodes.Node, int]] = [(parsed, 0)]
    seen = 0
    while waiting:
        node, depth = waiting.pop()
        seen += 1
        why = _why_not(node, names)
        if depth > DEEPEST:
            why = "it is nested too deeply"
        elif seen > MOST_NODES:
            why = "it has too many parts"
        if why is not None:
            raise TemplateInvalid(part=part, line=node.lineno or 1, why=why)
        waiting += [(child, depth + 1) for child in node.iter_child_nodes()]


def _why_not(node: nodes.Node, names: frozenset[str]) -> str | None:
    if type(node) not in _NODES:
        return f"{type(node).__name__} is nothing that a template may have"
    if isinstance(node, nodes.Name) and (node.ctx != "load" or node.name not in names):
        return "a variable is not declared"
    if isinstance(node, nodes.Filter):
        return _why_no_filter(node)
    if isinstance(node, nodes.Test):
        known = node.name in TESTS and not (
            node.args or node.kwargs or node.dyn_args or node.dyn_kwargs
        )
        return None if known else "a test is not among those that a template may have"
    if isinstance(node, nodes.Operand) and node.op not in _OPERATORS:
        return "a comparison is not among those that a template may have"
    return None


def _why_no_filter(node: nodes.Filter) -> str | None:
    most = FILTERS.get(node.name)
    if most is None or node.node is None:
        return "a filter is not among those that a template may have"
    if node.kwargs or node.dyn_args or node.dyn_kwargs or len(node.args) > most:
        return "a filter has arguments that it may not have"
    if not all(isinstance(one, nodes.Const) for one in node.args):
        return "an argument of a filter is no constant"
    return None


def _render(part: Part, text: str, values: Mapping[str, Value]) -> str:
    environment = _Environment(part)
    parsed = _parse(environment, part, text, frozenset(values))
    pieces: list[str] = []
    length = 0
    try:
        for piece in environment.from_string(parsed).generate(**values):
            length += len(piece)
            if length > LONGEST_OUTPUT:
                break
            pieces.append(piece)
    except _TooMuch:
        why = "its filters have too much to do with these values"
        raise RenderingFailed(part=part, why=why) from None
    except Exception as exc:  # of whatever kind: values of one kind compared with another, ...
        why = "it cannot be made with these values"
        raise RenderingFailed(part=part, why=why, internal=type(exc).__name__) from None
    if length > LONGEST_OUTPUT:
        raise RenderingFailed(part=part, why=f"it is longer than {LONGEST_OUTPUT}")
    return "".join(pieces)
