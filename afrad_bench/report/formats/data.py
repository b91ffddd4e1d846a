"""A report as plain data for JSON, with a published schema (docs/report.schema.json).

It holds all of the report: answer, terms, cautions, tables with ranks, notes and the paper's figures, every fact with
its full precision, and what the figures draw, images as base64 (RFC 4648, with "-" and "_")."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from afrad_bench.report.model import Report

if TYPE_CHECKING:
    from pydantic import TypeAdapter


@dataclass(frozen=True, slots=True)
class Document:
    """A report in a file of its own."""

    report: Report
    format: Literal["afrad-bench report"] = "afrad-bench report"
    version: Literal[1] = 1
    """Raised when a name is removed or gets another meaning; new names may come without it."""


def to_data(report: Report) -> dict[str, Any]:
    """The report as numbers, texts, lists and mappings."""
    data: dict[str, Any] = _documents().dump_python(Document(report), mode="json")
    return data


def from_data(data: object) -> Report:
    """The report of such data. Raises `pydantic.ValidationError` if they do not follow the schema."""
    return _documents().validate_python(data).report


def json_schema() -> dict[str, Any]:
    """The JSON Schema of the data."""
    made = _documents().json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made, "title": "Report of afrad-bench"}


@cache
def _documents() -> TypeAdapter[Document]:
    from pydantic import TypeAdapter

    return TypeAdapter(Document)
