"""Whose the values of a control state are, and what has become of them since."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from optaxctl._core.checks import did_you_mean

COMPUTED = ("gauges", "signals", "decision")
"""What the next step computes anew, so that nobody misses it."""
LISTED = ("observed", "hyperparams")
"""What is said by name; the rest of what controllers do not own is said as one."""

Names = Mapping[str, str]


class Side(NamedTuple):
    """What a control state has, in a checkpoint or here."""

    names: list[str]
    """Of its values."""
    calls: Names
    """What made its controllers, by name."""

    def owners(self) -> set[str]:
        """Returns the names of the controllers; "" is one that stands alone."""
        paths = [n.split("/") for n in self.names if n.startswith("controller/")]
        if "" in self.calls or any(len(path) == 2 for path in paths):
            return {""}
        return {path[1] for path in paths} | set(self.calls)

    def renamed(self, found: Names) -> "Side":
        """Returns it in the names that its controllers get."""
        calls = {found.get(name, name): call for name, call in self.calls.items()}
        return Side([moved(name, found) for name in self.names], calls)

    def beyond(self, other: "Side") -> dict[str, list[str]]:
        """Returns what the other lacks, by whose it is; [] where that is all of it."""
        named = self.owners() | set(self.calls)
        groups: dict[str, list[str]] = {}
        for name in self.names:
            group, *rest = name.split("/")
            if group in COMPUTED:
                continue
            if group in LISTED or (rest[1:] and rest[0] in named):
                group = f"{group}/{rest[0]}"
            groups.setdefault(group, []).append(name)
        known = set(other.names)
        lost = {g: [n for n in names if n not in known] for g, names in groups.items()}
        return {
            group: names if len(names) < len(groups[group]) else []
            for group, names in lost.items()
            if names
        }

    def spelt(self, group: str, names: list[str]) -> list[str]:
        """Returns how people call what `beyond` has found."""
        if group == "controller" and not names:
            return [f"`{self.calls['']}`" if "" in self.calls else "the controller"]
        return [f"`{n.removeprefix('controller/')}`" for n in names or [group]]


class Changes(NamedTuple):
    """What a checkpoint and a template do not have in common, in words."""

    new: list[str]
    dropped: list[str]
    made: list[str]

    def __str__(self) -> str:
        new, dropped = map(", ".join, (self.new, self.dropped))
        parts = list(self.made)
        if dropped:
            many = len(self.dropped) > 1
            verb = "are gone and were dropped" if many else "is gone and was dropped"
            parts.insert(0, f"{dropped} {verb}")
        if new:
            many = len(self.new) > 1
            verb = "are new and start" if many else "is new and starts"
            parts.insert(0, f"{new} {verb} at {'their' if many else 'its'} beginning")
        return "; ".join(parts)

    def note(self, theirs: Side, ours: Side, where: str) -> None:
        """Notes what has become of one control state.

        Args:
          theirs: What the checkpoint has.
          ours: What the template has.
          where: The path of the control, if there are several.
        """
        at = f" of `{where}`" if where else ""
        new, dropped = ours.beyond(theirs), theirs.beyond(ours)
        for group, names in new.items():
            self.new.extend(name + at for name in ours.spelt(group, names))
        for group, names in dropped.items():
            if names or group not in new:  # else it is another one of the same name
                self.dropped.extend(name + at for name in theirs.spelt(group, names))
        for name, call in theirs.calls.items():
            now = ours.calls.get(name, call)
            if now != call:
                self.made.append(f"{_spelt(name)}{at} was {call} and is {now}")


def applying(renamed: Names, there: Side, here: Side) -> dict[str, str]:
    """Returns the renamings of controllers that are there, to such as are here.

    Raises:
      ValueError: If two of a checkpoint would become one.
    """
    theirs, ours = there.owners(), here.owners()
    # Parts may stand alone as well, as those of `stop.any_of` do.
    alone = set() if theirs & ours else {""}
    found = {
        old: new
        for old, new in renamed.items()
        if old in theirs | alone and new in ours | alone
    }
    became: dict[str, str] = {}
    for old in sorted(theirs):
        new = found.get(old, old)
        if new in became:
            raise ValueError(
                f"`renamed` turns both {_spelt(became[new])} and {_spelt(old)} of the "
                f"checkpoint into {_spelt(new)}, and one would be lost. Give each a "
                "name of its own."
            )
        became[new] = old
    return found


def moved(name: str, found: Names) -> str:
    """Returns the name that a value has once its controller is renamed."""
    head, _, rest = name.partition("/")
    if head not in ("controller", "gauges"):
        return name
    owner, _, tail = rest.partition("/")
    if owner in found:
        parts = head, found[owner], tail
    elif "" in found:
        parts = head, found[""], rest
    else:
        return name
    return "/".join(part for part in parts if part)


def check_known(renamed: Names, there: Iterable[Side]) -> None:
    """Refuses a renaming of a controller that a checkpoint does not have.

    Raises:
      ValueError: If there is one.
    """
    theirs = _owners(there)
    for old in renamed:
        if old and old not in theirs:
            raise ValueError(
                f"`renamed` names the controller {_spelt(old)}, and the checkpoint has "
                f"{_listed(theirs)}.{did_you_mean(old, theirs)}"
            )


def check_applied(
    renamed: Names, found: Iterable[Names], there: Iterable[Side], here: Iterable[Side]
) -> None:
    """Refuses a renaming that applies to no control state.

    Args:
      renamed: What was asked for.
      found: What applies, for each control state.
      there: What the checkpoint has of each.
      here: What the template has of each.

    Raises:
      ValueError: If there is one.
    """
    applied = {old for names in found for old in names}
    theirs, ours = _owners(there), _owners(here)
    for old, new in renamed.items():
        if old not in applied:
            raise ValueError(
                f"`renamed` turns {_spelt(old)} into {_spelt(new)}. The checkpoint has "
                f"{_listed(theirs)}, and the template has {_listed(ours)}."
                + (did_you_mean(new, ours) if new not in ours else "")
            )


def _owners(sides: Iterable[Side]) -> set[str]:
    return {owner for side in sides for owner in side.owners()}


def _spelt(name: str) -> str:
    return f"`{name}`" if name else "the controller"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(name or '""' for name in names)) or "none by name"
