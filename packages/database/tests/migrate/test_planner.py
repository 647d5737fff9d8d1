from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtenant_database.migrate import (
    ChecksumMismatch,
    Entry,
    History,
    Irreversible,
    Ledger,
    Migration,
    MigrationMissing,
    OutOfOrder,
    RepairNeeded,
    RequirementMissing,
    Step,
    Target,
    UnknownVersion,
    plan,
)
from mtenant_database.migrate.ledger import lock_key
from mtenant_database.migrate.planner import undo

HERE = "tenant acme"


def migration(
    component: str, version: int, *, requires: str = "", contract: bool = False, down: bool = True
) -> Migration:
    head = (
        f"-- migrate: {'contract' if contract else ''} {'requires ' + requires if requires else ''}"
    )
    text = f"{head if requires or contract else '--'}\nselect {version};"
    return Migration.of(component, version, f"m{version}", text, "select 0" if down else None)


def applied(ledger: Ledger, step: Step) -> Ledger:
    """What the ledger is after a step."""
    one = step.migration
    if step.direction == "down":
        return Ledger(
            entry
            for entry in ledger
            if (entry.component, entry.version) != (one.component, one.version)
        )
    position = 1 + max((entry.position for entry in ledger), default=0)
    entry = Entry(
        one.component, one.version, one.name, one.checksum, one.contract, position=position
    )
    return Ledger([*ledger, entry])


def walk(history: History, ledger: Ledger, target: Target) -> Ledger:
    for step in plan(history, ledger, target, HERE):
        ledger = applied(ledger, step)
    return ledger


def said(steps: list[Step]) -> list[tuple[str, int, str]]:
    return [(step.migration.component, step.migration.version, step.direction) for step in steps]


@st.composite
def histories(draw: st.DrawFn) -> History:
    """Components a, b, c; each file may require what has a smaller version, so there is no circle."""
    files = []
    for component in draw(st.lists(st.sampled_from("abc"), min_size=1, max_size=3, unique=True)):
        versions = draw(st.lists(st.integers(1, 9), min_size=1, max_size=5, unique=True))
        files += [(component, version) for version in sorted(versions)]
    made = []
    for component, version in files:
        before = [one for one in files if one[0] != component and one[1] < version]
        wanted = draw(st.sampled_from([None, *before]))
        made.append(
            migration(component, version, requires=f"{wanted[0]}>={wanted[1]}" if wanted else "")
        )
    return History(made)


@given(histories())
def test_a_plan_leads_to_the_target_and_nothing_is_left_after_it(history: History) -> None:
    target = Target.newest(history)
    ledger = walk(history, Ledger(), target)
    assert {(one.component, one.version) for one in ledger} == {
        (one.component, one.version) for one in history
    }
    assert plan(history, ledger, target, HERE) == []


@given(histories())
def test_whatever_a_file_requires_comes_before_it(history: History) -> None:
    at: dict[str, int] = {}
    for step in plan(history, Ledger(), Target.newest(history), HERE):
        one = step.migration
        assert one.version > at.get(one.component, 0)
        assert all(at.get(wanted.component, 0) >= wanted.version for wanted in one.requires)
        at[one.component] = one.version


@given(histories(), st.data())
def test_a_plan_that_is_cut_anywhere_is_finished_by_the_next(
    history: History, data: st.DataObject
) -> None:
    target, ledger = Target.newest(history), Ledger()
    steps = plan(history, ledger, target, HERE)
    cut = data.draw(st.integers(0, len(steps)))
    for step in steps[:cut]:
        ledger = applied(ledger, step)
    assert said(plan(history, ledger, target, HERE)) == said(steps[cut:])


@given(histories(), st.data())
def test_to_a_version_and_back_is_where_it_was(history: History, data: st.DataObject) -> None:
    one = data.draw(st.sampled_from(history))
    newest = walk(history, Ledger(), Target.newest(history))
    target = Target.version(history, one.component, one.version)
    try:
        steps = plan(history, newest, target, HERE)
    except RequirementMissing:
        return  # another component needs what would go
    below = newest
    for step in steps:
        below = applied(below, step)
    assert below.version(one.component) == one.version
    back = walk(history, below, Target.newest(history))
    assert {(e.component, e.version) for e in back} == {(e.component, e.version) for e in newest}


def test_files_of_several_components_go_by_version_then_name() -> None:
    history = History([migration("b", 1), migration("a", 2), migration("a", 1)])
    steps = plan(history, Ledger(), Target.newest(history), HERE)
    assert said(steps) == [("a", 1, "up"), ("b", 1, "up"), ("a", 2, "up")]


def test_undoing_goes_against_the_order_of_applying() -> None:
    history = History([migration("a", 1), migration("a", 2, contract=True), migration("a", 3)])
    ledger = walk(history, Ledger(), Target.newest(history))
    ledger = walk(history, ledger, Target.newest(history, contract=True))
    steps = plan(history, ledger, Target.version(history, "a", 0), HERE)
    assert said(steps) == [("a", 2, "down"), ("a", 3, "down"), ("a", 1, "down")]


def test_contract_migrations_wait_and_others_pass_them() -> None:
    history = History([migration("a", 1), migration("a", 2, contract=True), migration("a", 3)])
    ledger = walk(history, Ledger(), Target.newest(history))
    assert (ledger.version("a"), ledger.contracted("a")) == (3, 0)
    assert said(plan(history, ledger, Target.newest(history, contract=True), HERE)) == [
        ("a", 2, "up")
    ]


def test_an_older_file_is_out_of_order() -> None:
    ledger = walk(History([migration("a", 2)]), Ledger(), Target({"a": 2}))
    history = History([migration("a", 1), migration("a", 2)])
    with pytest.raises(OutOfOrder, match="a 1 m1 is new, but tenant acme is already at 2"):
        plan(history, ledger, Target.newest(history), HERE)


def test_a_changed_file_is_named() -> None:
    ledger = walk(History([migration("a", 1)]), Ledger(), Target({"a": 1}))
    changed = History([Migration.of("a", 1, "m1", "select 'other'", "select 0")])
    for target in (Target.newest(changed), Target.version(changed, "a", 0)):
        with pytest.raises(ChecksumMismatch, match="a 1 m1 was changed"):
            plan(changed, ledger, target, HERE)


def test_a_file_that_is_gone_is_named_and_one_of_a_newer_release_is_not() -> None:
    history = History([migration("a", version) for version in (1, 2, 3)])
    ledger = walk(history, Ledger(), Target.newest(history))
    older = History([migration("a", 1), migration("a", 2)])
    assert plan(older, ledger, Target.newest(older), HERE) == []
    holey = History([migration("a", 1), migration("a", 3)])
    with pytest.raises(MigrationMissing, match="a 2 m2 is in tenant acme and not among the files"):
        plan(holey, ledger, Target.newest(holey), HERE)
    with pytest.raises(MigrationMissing, match="a 3 m3"):
        plan(older, ledger, Target.version(older, "a", 1), HERE)


def test_without_a_way_down_nothing_is_undone() -> None:
    history = History([migration("a", 1, down=False), migration("a", 2)])
    ledger = walk(history, Ledger(), Target.newest(history))
    with pytest.raises(Irreversible, match="a 1 m1 cannot be undone"):
        plan(history, ledger, Target.version(history, "a", 0), HERE)


def test_what_is_required_stays() -> None:
    history = History([migration("a", 1), migration("a", 2), migration("b", 1, requires="a>=2")])
    ledger = walk(history, Ledger(), Target.newest(history))
    with pytest.raises(RequirementMissing, match=r"b 1 m1 requires a>=2.*undo b 1 first"):
        plan(history, ledger, Target.version(history, "a", 1), HERE)
    with pytest.raises(RequirementMissing):
        undo(history, ledger, [entry for entry in ledger if entry.component == "a"], HERE)


def test_a_requirement_outside_of_the_target_is_an_error() -> None:
    history = History([migration("a", 1), migration("b", 1, requires="a>=1")])
    with pytest.raises(RequirementMissing, match="register a up to there"):
        plan(history, Ledger(), Target({"b": 1}), HERE)


def test_files_that_wait_for_each_other_are_an_error() -> None:
    history = History([migration("a", 1, requires="b>=1"), migration("b", 1, requires="a>=1")])
    with pytest.raises(RequirementMissing, match="circle"):
        plan(history, Ledger(), Target.newest(history), HERE)


def test_a_file_that_stopped_half_way_wants_repair() -> None:
    history = History([migration("a", 1), migration("a", 2)])
    ledger = walk(history, Ledger(), Target.newest(history))
    stuck = Ledger([ledger[0], replace(ledger[1], state="running", done=3)])
    assert stuck.version("a") == 1
    with pytest.raises(RepairNeeded, match="after 3 statements"):
        plan(history, stuck, Target.newest(history), HERE)


def test_a_version_that_nobody_knows_is_no_target() -> None:
    history = History([migration("a", 1)])
    for component, version in (("a", 2), ("b", 0)):
        with pytest.raises(UnknownVersion):
            Target.version(history, component, version)


@given(st.text(), st.text())
def test_lock_keys_are_64_bits_and_differ(one: str, other: str) -> None:
    try:
        key = lock_key(one)
    except UnicodeEncodeError:
        return
    assert -(2**63) <= key < 2**63
    assert (one == other) == (key == lock_key(other)) if other.isascii() else True


def test_lock_keys_do_not_change_between_releases() -> None:
    # Two releases that are at work at once have to take the same lock.
    assert lock_key("tenant_acme") == 3769708639220930565
