from __future__ import annotations

import doctest
import pickle

import pytest

from afrad_bench import errors
from afrad_bench.errors import Problem, UserError, fail, unknown
from afrad_bench.running import plan


@pytest.mark.parametrize("module", [errors, plan])
def test_examples(module: object) -> None:
    assert doctest.testmod(module, raise_on_error=True).failed == 0  # type: ignore[arg-type]


def test_many_names_are_not_listed() -> None:
    problem = unknown("backbone", "resnet19", [f"resnet{i}" for i in range(20, 200)])
    assert "180 are known" in str(problem.hint)
    assert len(str(problem.hint)) < 200


def test_names_differ_by_case_only() -> None:
    assert "did you mean 'padim'" in unknown("method", "PaDiM", ["padim", "patchcore"]).what


def test_errors_cross_process_borders() -> None:
    error = UserError(Problem("a", "b", "c"), Problem("d"))
    again = pickle.loads(pickle.dumps(error))
    assert again.problems == error.problems
    assert str(again) == "b: a\n  c\nd"


def test_an_error_says_something() -> None:
    with pytest.raises(ValueError, match="at least one problem"):
        UserError()
    assert str(fail("what", "where", "do this\nor that")) == "where: what\n  do this\n  or that"
