"""Rows of BASE beside the same rows of NEW, and the terms in which they differ."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from afrad_bench.comparing.side import Key, Row, Side, fields
from afrad_bench.errors import Problem, UserError, unknown
from afrad_bench.running.plan import difference

SEEDS = "seeds"
"""Allows a side to lack seeds, or parts of them, that the other one has."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A row of both sides."""

    base: Row
    new: Row
    differing: Mapping[str, Mapping[str, tuple[str | None, str | None]]]
    """Measure ("" for all) -> term -> its value in BASE and in NEW, where they are not equal; allowed or not."""
    seeds: tuple[int, ...]
    """Those that both have with the same parts of the data."""
    lacking: tuple[int, ...]
    """Seeds of BASE that NEW lacks, or has only parts of."""

    def refused(self, metric: str, allow: Collection[str]) -> tuple[str, ...]:
        """Why a metric must not be compared: each differing term that is not allowed, with both values."""
        measure = self.base.measures.get(metric, "")
        terms = {**self.differing.get("", {}), **self.differing.get(measure, {})}
        return tuple(told(name, *values) for name, values in terms.items() if name not in allow)

    def allowed(self, allow: Collection[str]) -> tuple[str, ...]:
        """The differing terms that are let pass."""
        every = {name: values for terms in self.differing.values() for name, values in terms.items()}
        return tuple(told(name, *values) for name, values in every.items() if name in allow)

    @property
    def changed(self) -> tuple[str, ...]:
        """What is not the same on both sides, and may be: code, parameters, packages."""
        was, now = dict(self.base.about), dict(self.new.about)
        before, after = was.pop("params", ""), now.pop("params", "")
        if before != after and " and " not in before + after:
            was |= {f"params {name}": value for name, value in _fields(before).items()}
            now |= {f"params {name}": value for name, value in _fields(after).items()}
        names = dict.fromkeys((*was, *now))
        return tuple(told(name, was.get(name), now.get(name)) for name in names if was.get(name) != now.get(name))


@dataclass(frozen=True, slots=True)
class Paired:
    """All pairs, and what has no partner."""

    pairs: tuple[Pair, ...]
    missing: tuple[Key, ...]
    """Rows of BASE that NEW lacks."""
    extra: tuple[Key, ...]
    """Rows of NEW that BASE lacks."""


def pair(base: Side, new: Side, renamed: Mapping[str, str], allow: Collection[str]) -> Paired:
    """Equal labels and data sets, and of several settings or profiles the equal ones.

    `renamed`: label in BASE -> label in NEW, to compare two rows; then no others are. A label that a side lacks, or a
    term to allow that neither side has, is a `UserError`."""
    _check(base, new, renamed, allow)
    rows = [row for key, row in base.rows.items() if not renamed or key.label in renamed]
    pairs, missing, used = [], [], set()
    for row in rows:
        partner = _partner(row, new, renamed.get(row.key.label, row.key.label))
        if partner is None:
            missing.append(row.key)
            continue
        used.add(partner.key)
        pairs.append(_pair(row, partner))
    extra = () if renamed else tuple(key for key in new.rows if key not in used)
    return Paired(tuple(pairs), tuple(missing), extra)


def _partner(row: Row, new: Side, label: str) -> Row | None:
    alike = [other for other in new.rows.values() if (other.key.label, other.key.dataset) == (label, row.key.dataset)]
    exact = [other for other in alike if (other.key.setting, other.key.profile) == (row.key.setting, row.key.profile)]
    found = exact or alike
    return found[0] if len(found) == 1 else None


def _pair(base: Row, new: Row) -> Pair:
    differing = {}
    for measure in dict.fromkeys((*base.terms, *new.terms)):
        if measure in base.terms and measure in new.terms:
            was, now = base.terms[measure], new.terms[measure]
            terms = dict.fromkeys((*was, *now))
            differing[measure] = {
                term: (was.get(term), now.get(term)) for term in terms if was.get(term) != now.get(term)
            }
    alike = tuple(seed for seed in base.seeds if seed in new.seeds and _parts(base, seed) == _parts(new, seed))
    return Pair(base, new, differing, alike, tuple(seed for seed in base.seeds if seed not in alike))


def _parts(row: Row, seed: int) -> str:
    return row.parts.get(seed, "")


def _check(base: Side, new: Side, renamed: Mapping[str, str], allow: Collection[str]) -> None:
    problems: list[Problem] = []
    for side, labels in ((base, renamed.keys()), (new, renamed.values())):
        known = {key.label for key in side.rows}
        problems += [unknown("row", label, known, f"--pair, {side.name}") for label in labels if label not in known]
    terms = {term for side in (base, new) for row in side.rows.values() for of in row.terms.values() for term in of}
    known = terms | {SEEDS}
    problems += [unknown("term", term, known, "--allow") for term in allow if term not in known]
    if problems:
        raise UserError(*problems)


def told(name: str, was: str | None, now: str | None) -> str:
    """ "device was cpu, is cuda:0"; long digests by their first digits."""
    return difference({} if was is None else {name: was}, {} if now is None else {name: now})


def _fields(params: str) -> dict[str, str]:
    return fields(params) if params else {}


def renamed_from(texts: Sequence[str]) -> dict[str, str]:
    """`BASE=NEW` texts of `--pair`."""
    found = {}
    for text in texts:
        base, equals, new = text.partition("=")
        if not equals or not base or not new:
            raise UserError(Problem(f"expected LABEL_IN_BASE=LABEL_IN_NEW, but got {text!r}", "--pair"))
        found[base] = new
    return found
