"""A report as GitHub-flavoured Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable

from afrad_bench.report.drawing.shapes import Figure
from afrad_bench.report.model import Entry, Quote, Report, Section, Table


def to_markdown(report: Report) -> str:
    """The whole report; folded tables and figures are in `<details>`."""
    about = [f"Suite `{_code(report.suite)}`", f"profile `{_code(report.profile)}`"]
    if report.reproduces:
        about.append(escape(report.reproduces))
    blocks = [f"# {escape(report.title)}", *([" · ".join(about)] if report.suite else [])]
    brief = [escape(report.brief)] if report.brief else []
    blocks.append(" · ".join((*brief, "[all terms](#terms-of-the-comparison)")))
    blocks += [" ".join(map(escape, report.answer))] if report.answer else []
    alarms = [f"> **⚠ {escape(w.text)}**" for w in report.warnings if w.level == "alarm"]
    blocks += ["\n>\n".join(alarms)] if alarms else []
    if report.lead is not None:
        blocks += _figure(report.lead, report.folder)
    for section in report.sections:
        blocks += _section(section, report.folder)
    shown = ((t.name, f"**⚠ {escape(t.value)}**" if t.level == "alarm" else escape(t.value)) for t in report.terms)
    lines = [_line(("Term", "Value")), "|:--|:--|", *(_line((escape(name), value)) for name, value in shown)]
    blocks += ["## Terms of the comparison", "\n".join(lines)]
    notes = [f"> {escape(w.text)}" for w in report.warnings if w.level != "alarm"]
    blocks += ["\n>\n".join(notes)] if notes else []
    blocks += ["## Measure it again", f"```\n{report.command}\n```"] if report.command else []
    return "\n\n".join(blocks) + "\n"


def escape(text: str) -> str:
    """Escape a text so that Markdown and HTML show it unchanged, on one line.

    >>> escape("a|b <i> *x* tf_b4 _y_")
    'a\\\\|b &lt;i&gt; \\\\*x\\\\* tf_b4 \\\\_y\\\\_'
    """
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = re.sub(r"([\\`*|\[\]])", r"\\\1", text)
    text = re.sub(r"(?<!\w)_|_(?!\w)", r"\\_", text)
    return " ".join(text.split())


def _code(text: str) -> str:
    return " ".join(text.replace("`", "'").split())


def _section(section: Section, folder: str) -> list[str]:
    blocks = [f"## {escape(section.title)}"]
    if section.intro:
        blocks.append(" ".join(map(escape, section.intro)))
    pictures = [block for figure in section.figures for block in _shown(figure, folder)]
    if section.figures_first:
        blocks += pictures
    for table in section.tables:
        body = table_blocks(table)
        named = len(section.tables) > 1 and table.caption != section.title
        if table.folded:
            blocks += [f"<details><summary>{escape(table.caption)}</summary>", *body, "</details>"]
        else:
            blocks += [*([f"### {escape(table.caption)}"] if named else []), *body]
    return blocks if section.figures_first else [*blocks, *pictures]


def _shown(figure: Figure, folder: str) -> list[str]:
    """A figure of a section, under its title."""
    shown, title = _figure(figure, folder), escape(figure.title)
    if figure.folded:
        return [f"<details><summary>{title}</summary>", *shown, "</details>"]
    return [f"### {title}", *shown]


def _figure(figure: Figure, folder: str) -> list[str]:
    """The picture, a file next to the report, and its caption."""
    return [f"![{escape(figure.description)}]({folder}/{figure.key}.png)", " ".join(map(escape, figure.caption))]


def table_blocks(table: Table) -> list[str]:
    """A table, and its footnotes if it has any."""
    heads = [
        escape(f"{h.group}: {h.label}" if h.group else h.label) + _refs(h.refs) + _flag(h.flag) for h in table.headings
    ]
    rule = ["--:" if heading.numeric else ":--" for heading in table.headings]
    lines = [_line(heads), _line(rule)]
    for line in table.lines:
        texts = [_entry(entry, table.compact) for entry in line.entries]
        if line.strong:
            texts[0] = f"*{texts[0]}*"
        lines.append(_line(texts))
    notes = [f"<sup>{number}</sup> {escape(text)}" for number, text in enumerate(table.footnotes, 1)]
    return ["\n".join(lines), *(["<br>\n".join(notes)] if notes else [])]


def _line(texts: Iterable[str]) -> str:
    return f"| {' | '.join(texts)} |"


def _entry(entry: Entry, compact: bool) -> str:
    text = escape(entry.text)
    if entry.spread:
        text += f" ± {entry.spread}"
    if entry.rank == "best":
        text = f"**{text}**"
    elif entry.rank == "second":
        text = f"<u>{text}</u>"
    elif entry.level in ("alarm", "unsure"):
        text = f"**{text}**"
    text += _refs(entry.refs) + _flag(entry.flag)
    return "<br>".join((text, *(_quote(quote, compact) for quote in entry.quotes)))


def _flag(text: str) -> str:
    return f" **⚠ {escape(text)}**" if text else ""


def _quote(quote: Quote, compact: bool) -> str:
    signs = {"reproduced": " ✓", "not reproduced": f" ✗ {quote.gap}"}
    words = {
        "reproduced": ", reproduced",
        "not reproduced": f", **not reproduced**: {quote.gap}",
        "not comparable": ", not comparable",
    }
    verdict = (signs if compact else words).get(quote.shown, "")
    return f"({escape(quote.label)}{verdict}{_refs(quote.refs)})"


def _refs(refs: Iterable[int]) -> str:
    text = ",".join(map(str, sorted(refs)))
    return f"<sup>{text}</sup>" if text else ""
