r"""A report as LaTeX: tables with booktabs, for `\input` or to copy from, and a document that shows them all.

Each table stands alone: it needs no macros, only the packages of `PACKAGES`, all of which TeX Live's basic collections
have. Below a table are its footnotes and the terms under which its numbers were measured. Best in bold, second best
underlined. A table with too many columns or lines for a page is printed in several parts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from afrad_bench.report.formats.tex import escape
from afrad_bench.report.model import Entry, Heading, Line, Quote, Report, Table

PACKAGES = ("booktabs", "array", "graphicx", "amssymb")
WIDEST, LONGEST = 150, 42
"""Signs in a line of a table, and lines of print, before it is printed in parts."""
WORDY = 34
"""Texts that are longer are folded, in columns of this number of signs."""
_VERDICTS = {"reproduced": "✓", "not reproduced": "✗", "not comparable": "≠"}
RANKS = "Bold: best; underlined: second best. $\\pm$: standard deviation over seeds."
BRACKETS = (
    "In brackets: the paper's figures; $\\checkmark$ reproduced, $\\times$ not reproduced, $\\neq$ not comparable."
)


def to_latex(report: Report) -> str:
    """All tables of a report: first those in the paper's layout, then the sections in reading order, then the terms."""
    parts = [_comment(f"{report.title}; suite {report.suite}, profile {report.profile}")]
    parts.append("% \\usepackage{" + ",".join(PACKAGES) + "}\n" + _comment(f"made by: {report.command}"))
    named = [("paper", table) for table in report.paper]
    named += [(section.key, table) for section in report.sections for table in section.tables]
    counts: dict[str, int] = {}
    conditions = _conditions(report)
    for key, table in named:
        counts[key] = counts.get(key, 0) + 1
        for part, of in enumerate(pieces := list(_pieces(table)), 1):
            label = f"tab:{key}-{counts[key]}" + (f"-{part}" if len(pieces) > 1 else "")
            about = f" (part {part} of {len(pieces)})" if len(pieces) > 1 else ""
            parts.append(_float(of, escape(table.caption) + about, label, [*_reading(of), *conditions]))
    terms = [Line((Entry(term.name), Entry(term.value, level=term.level))) for term in report.terms]
    headings = (Heading("Term", numeric=False), Heading("Value", numeric=False))
    notes = [escape(caution.text) for caution in report.warnings]
    parts.append(_float(Table("Terms of the comparison", headings, tuple(terms)), "Terms of the comparison",
                        "tab:terms", notes, width="0.7\\linewidth"))  # fmt: skip
    return "\n\n".join(parts) + "\n"


def to_latex_document(report: Report, tables: str) -> str:
    """A document with the answer and all tables; `tables`: name of the file beside it that holds them."""
    alarms = [rf"\textbf{{! {escape(each.text)}}}" for each in report.warnings if each.level == "alarm"]
    lines = [
        r"\documentclass[10pt]{article}",
        r"\usepackage[a4paper,margin=2cm]{geometry}",
        rf"\usepackage{{{','.join(PACKAGES)}}}",
        r"\sloppy",
        r"\extrafloats{500}\maxdeadcycles=1000  % for many tables, one after the other",
        r"\begin{document}",
        rf"\section*{{{escape(report.title)}}}",
        " ".join(map(escape, report.answer)),
        *(f"\n{alarm}" for alarm in alarms),
        rf"\input{{{tables}}}",
        r"\end{document}",
    ]
    return "\n".join(filter(None, lines)) + "\n"


def _comment(text: str) -> str:
    return "\n".join(f"% {line}" for line in text.splitlines())


def _conditions(report: Report) -> list[str]:
    """What stands below each table: the alarms and the terms."""
    alarms = [rf"\textbf{{! {escape(each.text)}}}" for each in report.warnings if each.level == "alarm"]
    profile = f"Suite {report.suite}, profile {report.profile}"
    return [*alarms, escape(f"{profile}: {report.brief}." if report.brief else f"{profile}.")]


def _reading(table: Table) -> Iterator[str]:
    """How to read the entries of a table."""
    entries = [entry for line in table.lines for entry in line.entries]
    if any(entry.rank or entry.spread for entry in entries):
        yield RANKS
    if any(entry.quotes for entry in entries):
        yield BRACKETS


# --------------------------------------------------------------------------------------------------------------- parts


def _pieces(table: Table) -> Iterator[Table]:
    """The table in parts that fit on a page: columns that name a line are in each of them."""
    widths = [_width(table, at) for at in range(len(table.headings))]
    keys = list(range(table.keys))
    groups = [[at] for at in range(table.keys, len(widths))]
    if table.joined:
        named = groupby(range(table.keys, len(widths)), key=lambda at: table.headings[at].group)
        groups = [list(found) for _, found in named]
    blocks: list[list[int]] = [[]]
    for group in groups:
        room = WIDEST - sum(widths[at] for at in keys)
        if blocks[-1] and sum(widths[at] for at in (*blocks[-1], *group)) > room:
            blocks.append([])
        blocks[-1] += group
    for block in blocks:
        columns = [*keys, *block]
        for lines in _pages(table.lines):
            shown = tuple(Line(tuple(line.entries[at] for at in columns), line.strong) for line in lines)
            made = (table.caption, tuple(table.headings[at] for at in columns), shown, table.footnotes)
            yield Table(*made, keys=table.keys, joined=table.joined)


def _pages(lines: Sequence[Line]) -> Iterator[Sequence[Line]]:
    page: list[Line] = []
    for line in lines:
        page.append(line)
        if sum(max(_height(entry) for entry in each.entries) for each in page) >= LONGEST:
            yield page
            page = []
    if page or not lines:
        yield page


def _height(entry: Entry) -> int:
    return max(1 + len(entry.quotes), -(-len(entry.text) // WORDY))


def _width(table: Table, at: int) -> int:
    """Signs in the widest place of a column."""
    texts = [f"{line.entries[at].text} ± {line.entries[at].spread}".removesuffix(" ± ") for line in table.lines]
    if table.joined and at >= table.keys:
        return max([len(line.entries[at].text) + 1 for line in table.lines], default=0)
    return min(WORDY, max(len(text) for text in (table.headings[at].label, *texts))) + 2


# --------------------------------------------------------------------------------------------------------------- table


def _float(table: Table, caption: str, label: str, notes: Iterable[str], width: str = "") -> str:
    """One table with its caption, its footnotes and further notes."""
    columns = list(_columns(table))
    rule = "".join(_alignment(table, of, width) for of in columns)
    lines = [r"\begin{table}[htbp]", r"\centering\footnotesize", rf"\caption{{{caption}}}", rf"\label{{{label}}}"]
    lines.append(r"\smallskip")
    lines.append(r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%")
    lines += [rf"\begin{{tabular}}{{@{{}}{rule}@{{}}}}", r"\toprule", *_heads(table, columns), r"\midrule"]
    before: Line | None = None
    for line in table.lines:
        if before is not None and line.strong != before.strong:
            lines.append(r"\midrule")
        texts = [_cell(table, line, of) for of in columns]
        if table.keys > 1 and before is not None and before.entries[0].text == line.entries[0].text and table.joined:
            texts[0] = ""  # the name of a group stands at its first line
        lines.append(" & ".join(texts) + r" \\")
        before = line
    lines += [r"\bottomrule", r"\end{tabular}}"]
    used = _used(table)
    told = [rf"\textsuperscript{{{n}}}\,{escape(text)}" for n, text in enumerate(table.footnotes, 1) if n in used]
    if below := [*told, *notes]:
        body = "\\par\n".join(below)
        lines += [r"\par\medskip", r"\begin{minipage}{\linewidth}\scriptsize\raggedright", body, r"\end{minipage}"]
    return "\n".join((*lines, r"\end{table}"))


def _used(table: Table) -> set[int]:
    refs = [ref for heading in table.headings for ref in heading.refs]
    for entry in (entry for line in table.lines for entry in line.entries):
        refs += [*entry.refs, *(ref for quote in entry.quotes for ref in quote.refs)]
    return set(refs)


def _columns(table: Table) -> Iterator[tuple[int, ...]]:
    """Positions of the headings of each printed column: one, or those of a group if groups are joined."""
    yield from ((at,) for at in range(table.keys))
    rest = range(table.keys, len(table.headings))
    if table.joined:
        yield from (tuple(found) for _, found in groupby(rest, key=lambda at: table.headings[at].group))
    else:
        yield from ((at,) for at in rest)


def _alignment(table: Table, of: Sequence[int], width: str) -> str:
    if of[0] >= table.keys and table.joined:
        return "c"
    if table.headings[of[0]].numeric:
        return "r"
    wordy = max((len(line.entries[of[0]].text) for line in table.lines), default=0) > WORDY
    folded = width or f"{WORDY * 0.5:g}em"
    return rf">{{\raggedright\arraybackslash}}p{{{folded}}}" if wordy else "l"


def _heads(table: Table, columns: Sequence[tuple[int, ...]]) -> Iterator[str]:
    """Up to three lines: headings above groups, groups, headings; joined columns have their group as heading."""
    firsts = [table.headings[of[0]] for of in columns]
    yield from _spanning([heading.over for heading in firsts])
    grouped = firsts[: table.keys] if table.joined else firsts
    yield from _spanning([heading.group for heading in grouped] + [""] * (len(firsts) - len(grouped)))
    yield " & ".join(_head(table, of) for of in columns) + r" \\"


def _spanning(names: Sequence[str]) -> Iterator[str]:
    """A line of headings that span equal neighbours, and the rules below it; nothing if all are empty."""
    cells, rules, at = [], "", 1
    for name, found in groupby(names):
        span = len(list(found))
        cells += [rf"\multicolumn{{{span}}}{{c}}{{{escape(name)}}}"] if name else [""] * span
        rules += rf"\cmidrule(lr){{{at}-{at + span - 1}}}" if name else ""
        at += span
    if rules:
        yield " & ".join(cells) + r" \\"
        yield rules


def _head(table: Table, of: Sequence[int]) -> str:
    headings = [table.headings[at] for at in of]
    refs = _refs(dict.fromkeys(ref for heading in headings for ref in heading.refs))
    joined = table.joined and of[0] >= table.keys
    text = escape(headings[0].group if joined else headings[0].label)
    flags = dict.fromkeys(heading.flag for heading in headings if heading.flag)
    side = "c" if joined else "r" if headings[0].numeric else "l"
    return _stacked([text + refs, *(rf"\textbf{{! {escape(flag)}}}" for flag in flags)], side, "b")


# --------------------------------------------------------------------------------------------------------------- cells


def _cell(table: Table, line: Line, of: Sequence[int]) -> str:
    """The entry of a column, or those of a group, "99.6/97.8/94.0", with deviations and the paper's figures below."""
    entries = [line.entries[at] for at in of]
    if len(of) == 1:
        (entry,) = entries
        value = _value(entry) + (rf"\,$\pm$\,{escape(entry.spread)}" if entry.spread else "")
        lines = [value + _refs(entry.refs) + _flag(entry)]
        lines += [
            rf"{{\scriptsize ({escape(quote.label)}{_verdict(quote)}{_refs(quote.refs)})}}" for quote in entry.quotes
        ]
        return _stacked(lines, "r" if table.headings[of[0]].numeric else "l", "t")
    refs = dict.fromkeys(ref for entry in entries for ref in entry.refs)
    flags = dict.fromkeys(_flag(entry) for entry in entries)
    texts = [_value(entry) for entry in entries]
    alike = entries[0].state != "value" and len({*texts}) == 1  # "not run" once, not for each metric
    lines = [(texts[0] if alike else "/".join(texts)) + _refs(refs) + "".join(flags)]
    if any(entry.spread for entry in entries):
        lines.append(r"{\tiny$\pm$ " + "/".join(escape(entry.spread or "–") for entry in entries) + "}")
    for data in dict.fromkeys(quote.dataset for entry in entries for quote in entry.quotes):
        quotes = [next((q for q in entry.quotes if q.dataset == data), None) for entry in entries]
        figures = "/".join("--" if q is None else escape(q.text) + _verdict(q) for q in quotes)
        noted = dict.fromkeys(ref for q in quotes if q is not None for ref in q.refs)
        lines.append(rf"{{\tiny ({escape(data)}{': ' * bool(data)}{figures}{_refs(noted)})}}")
    return _stacked(lines, "c", "t")


def _value(entry: Entry) -> str:
    text = escape(entry.text)
    if entry.rank == "best" or entry.level in ("alarm", "unsure") or entry.state == "failed":
        return rf"\textbf{{{text}}}"
    return rf"\underline{{{text}}}" if entry.rank == "second" else text


def _flag(entry: Entry) -> str:
    return rf" \textbf{{! {escape(entry.flag)}}}" if entry.flag else ""


def _verdict(quote: Quote) -> str:
    return escape(_VERDICTS.get(quote.shown, ""))


def _refs(refs: Iterable[int]) -> str:
    text = ",".join(map(str, sorted(refs)))
    return rf"\textsuperscript{{{text}}}" if text else ""


def _stacked(lines: Sequence[str], side: str, place: str) -> str:
    r"""Several lines in one place of a table."""
    if len(lines) == 1:
        return lines[0]
    body = r" \\ ".join(lines)
    return rf"\begin{{tabular}}[{place}]{{@{{}}{side}@{{}}}}{body}\end{{tabular}}"
