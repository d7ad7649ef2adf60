"""What the processes of the shared service wrote is shown with a test that fails."""

from collections.abc import Generator

import pytest

from tests.fixtures.service import Service


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed and isinstance(item, pytest.Function):
        for name, fixture in item.funcargs.items():
            if isinstance(fixture, Service):
                report.sections.append((f"processes of {name}", fixture.logs()))
    return report
