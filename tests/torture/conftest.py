"""The figures of each test are shown at the end, whichever process it ran in."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import regime


@pytest.fixture(autouse=True)
def _figures(record_property: Callable[[str, object], None]) -> Iterator[None]:
    regime.FIGURES.clear()
    yield
    for figure in regime.FIGURES:
        record_property("figure", figure)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for report in terminalreporter.getreports(""):
        for name, figure in report.user_properties:
            if name == "figure":
                terminalreporter.write_line(str(figure))
