"""Every name of Lightning 1.5.10 and 1.9.5 works, or an error says what to do; ``make compat`` prints the list.

The quick test leaves out hooks and what imports much; the long one goes through everything.
"""

from __future__ import annotations

import pytest
from tests.compat import report

from fulmen import Trainer
from fulmen.compat.v1.flag_tables import DEFAULTS

from .coverage import listing, proofs

pytestmark = pytest.mark.filterwarnings("ignore")  # of packages that are tried; what the tests look at is caught


def _missing(version: str, quick: bool) -> dict[str, str]:
    found = proofs.outcomes(version, quick)
    return {f"{version} {entry.key}": one.text for entry, one in found.items() if one.kind == "missing"}


@pytest.mark.parametrize("version", ["1.5", "1.9"])
def test_what_is_quick_to_try(version: str) -> None:
    assert _missing(version, quick=True) == {}


@pytest.mark.soak
@pytest.mark.parametrize("version", ["1.5", "1.9"])
def test_everything(version: str) -> None:
    assert _missing(version, quick=False) == {}


def test_the_list_is_whole() -> None:
    entries = {version: list(listing.entries(version)) for version in ("1.5", "1.9")}
    assert (len(entries["1.5"]), len(entries["1.9"])) == (936, 688)
    for version, defaults in DEFAULTS.items():
        listed = listing.facts(version)["Trainer"]["__init__"]
        assert [listing.named(one) for one in listed] == list(defaults)
        assert [one.partition("=")[2] for one in listed] == [repr(value) for value in defaults.values()]


def test_the_report_tells_apart_what_is_there() -> None:
    with proofs.spoken("1.9"):
        kinds = {
            name: proofs.outcome(listing.Entry("1.9", "Trainer", "", name))
            for name in ("gpus", "max_epochs", "tpu_cores", "nothing")
            if name != "nothing"
        }
        kinds["nothing"] = proofs.outcome(listing.Entry("1.9", "Trainer", "nothing_of_the_kind", ""))
    assert {name: one.kind for name, one in kinds.items()} == {
        "gpus": "works", "max_epochs": "works", "tpu_cores": "remedy", "nothing": "missing",
    }  # fmt: skip
    assert "devices=2" in kinds["gpus"].text
    text = report.table({listing.Entry("1.9", "Trainer", "", name): one for name, one in kinds.items()})
    assert "3 of 4 entries (75.0%): 2 works, 1 remedy, 1 missing" in text
    assert not hasattr(Trainer, "tuning"), "what is spoken for the report is forgotten"
