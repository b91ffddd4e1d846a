"""Pairs each row of BASE with the same row of NEW, and finds the terms in which they differ."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from afrad_bench.comparing.side import Key, Row, Side, fields
from afrad_bench.errors import Problem, UserError, unknown
from afrad_bench.running.plan import difference

SEEDS = "seeds"
"""Term to allow that NEW lacks seeds of BASE, or parts of their data."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A row that both sides have."""

    base: Row
    new: Row
    differing: Mapping[str, Mapping[str, tuple[str | None, str | None]]]
    """Measure ("" for all) -> term -> its values in BASE and NEW, if they differ, whether allowed or not."""
    seeds: tuple[int, ...]
    """Seeds that both sides have, with the same parts of the data."""
    lacking: tuple[int, ...]
    """Seeds of BASE that NEW lacks, or has with other parts of the data."""

    def refused(self, metric: str, allow: Collection[str]) -> tuple[str, ...]:
        """Why a metric must not be compared: each differing term that is not allowed, with both values."""
        measure = self.base.measures.get(metric, "")
        terms = {**self.differing.get("", {}), **self.differing.get(measure, {})}
        return tuple(difference_text(name, *values) for name, values in terms.items() if name not in allow)

    def allowed(self, allow: Collection[str]) -> tuple[str, ...]:
        """The differing terms that are allowed, each with both values."""
        every = {name: values for terms in self.differing.values() for name, values in terms.items()}
        return tuple(difference_text(name, *values) for name, values in every.items() if name in allow)

    @property
    def changed(self) -> tuple[str, ...]:
        """What differs between the sides and may differ: code, parameters, packages."""
        was, now = dict(self.base.about), dict(self.new.about)
        before, after = was.pop("params", ""), now.pop("params", "")
        if before != after and " and " not in before + after:
            was |= {f"params {name}": value for name, value in _fields(before).items()}
            now |= {f"params {name}": value for name, value in _fields(after).items()}
        names = dict.fromkeys((*was, *now))
        return tuple(
            difference_text(name, was.get(name), now.get(name)) for name in names if was.get(name) != now.get(name)
        )


@dataclass(frozen=True, slots=True)
class Paired:
    """All pairs, and the rows without a partner."""

    pairs: tuple[Pair, ...]
    missing: tuple[Key, ...]
    """Rows of BASE that NEW lacks."""
    extra: tuple[Key, ...]
    """Rows of NEW that BASE lacks."""


def pair(base: Side, new: Side, renamed: Mapping[str, str], allow: Collection[str]) -> Paired:
    """Pair rows with equal label and data set; if several fit, setting and profile must be equal too.

    `renamed`: label in BASE -> label in NEW; then only these rows are compared. Raises `UserError` for a label that a
    side lacks, or an allowed term that neither side has."""
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


def difference_text(name: str, was: str | None, now: str | None) -> str:
    """Text such as "device was cpu, is cuda:0"; long digests are shortened."""
    return difference({} if was is None else {name: was}, {} if now is None else {name: now})


def _fields(params: str) -> dict[str, str]:
    return fields(params) if params else {}


def renamed_from(texts: Sequence[str]) -> dict[str, str]:
    """Parse `BASE=NEW` texts of `--pair`; a malformed text is a `UserError`."""
    found = {}
    for text in texts:
        base, equals, new = text.partition("=")
        if not equals or not base or not new:
            raise UserError(Problem(f"expected LABEL_IN_BASE=LABEL_IN_NEW, but got {text!r}", "--pair"))
        found[base] = new
    return found
