"""The arrows of the design point one way."""

from __future__ import annotations

import pytest

from tests.unit.house.imports import edges, is_below, module_sources, reachable

MODULES = module_sources()
GRAPH = edges(MODULES)

BASE = {"errors", "storage", "canonical"}
SHARED_EVIDENCE = {"attestation.evidence", "attestation.claims"}
IN_TEE = {"attestation.attester", "job", "keys", "protected", "release"}

# What each part may import, beside itself. A new part needs a line here, and so a place in the picture of
# docs/architecture.md.
MAY_IMPORT = {
    "errors": set(),
    "home": set(),
    "canonical": {"errors"},
    "storage": {"errors"},
    "keys": BASE,
    "protected": BASE | {"keys"},
    "attestation.evidence": BASE,
    "attestation.claims": BASE | SHARED_EVIDENCE,
    "attestation.simulator": BASE | SHARED_EVIDENCE,
    "attestation.attester": BASE | SHARED_EVIDENCE | {"attestation.simulator"},
    "attestation.verifier": BASE | SHARED_EVIDENCE,
    "job": BASE | {"keys", "protected"},
    "appraisal": BASE | SHARED_EVIDENCE | {"attestation.verifier"},
    "release": BASE | SHARED_EVIDENCE | IN_TEE,
    "targets": BASE | SHARED_EVIDENCE | IN_TEE,
    "broker": BASE | SHARED_EVIDENCE | {"attestation.verifier", "appraisal", "job", "keys", "release"},
    "doctor": BASE | {"attestation.attester", "targets"},
}
# The demo plays every party; the command line reaches everything.
REACHES_ALL = {"cli", "demo"}
ENTRANCES = {"lanthorn.__main__"}


def part(module: str) -> str:
    """Return the part that a module belongs to: `job` of `lanthorn.job.lock`, `attestation.verifier` of its files."""
    names = module.split(".")[1:]
    return ".".join(names[: 2 if names[:1] == ["attestation"] else 1])


def test_every_part_has_a_place() -> None:
    parts = {part(name) for name in MODULES} - {"", "attestation", "__main__"}
    assert parts - REACHES_ALL == set(MAY_IMPORT)


@pytest.mark.parametrize("name", MAY_IMPORT)
def test_arrows_point_one_way(name: str) -> None:
    allowed = {name, "", "attestation", *MAY_IMPORT[name]}
    wrong = [
        f"{module} imports {target}"
        for module, targets in GRAPH.items()
        for target in sorted(targets)
        if part(module) == name and part(target) not in allowed
    ]
    assert wrong == []


@pytest.mark.parametrize("forbidden", ["lanthorn.attestation.attester", "lanthorn.attestation.simulator"])
def test_the_verifier_never_comes_to_what_makes_evidence(forbidden: str) -> None:
    assert [
        name for name in reachable("lanthorn.attestation.verifier", GRAPH) if is_below(name, forbidden)
    ] == []


@pytest.mark.parametrize("start", [*sorted(IN_TEE), "targets"])
@pytest.mark.parametrize(
    "forbidden", ["broker", "appraisal", "attestation.verifier", "doctor", "demo", "cli"]
)
def test_what_runs_in_the_tee_never_comes_to_the_owners_side(start: str, forbidden: str) -> None:
    found = reachable(f"lanthorn.{start}", GRAPH)
    assert len(found) > 1
    assert [name for name in found if is_below(name, f"lanthorn.{forbidden}")] == []


def test_nothing_imports_the_command_line() -> None:
    importers = {
        name
        for name, targets in GRAPH.items()
        if any(is_below(target, "lanthorn.cli") for target in targets) and not is_below(name, "lanthorn.cli")
    }
    assert importers == ENTRANCES


def test_the_walk_sees_every_kind_of_import() -> None:
    made = edges(
        {
            "lanthorn": "",
            "lanthorn.a": "from . import b\nif TYPE_CHECKING:\n    from lanthorn.c.d import thing",
            "lanthorn.b": "def f():\n    import lanthorn.c.d as d",
            "lanthorn.c": "from .d import thing",
            "lanthorn.c.d": "from ..b import other\nfrom ... import nothing",
            "lanthorn.e": "import importlib\nimportlib.import_module('lanthorn.c')",
        }
    )
    assert made["lanthorn.a"] == {"lanthorn.b", "lanthorn.c.d"}
    assert made["lanthorn.b"] == {"lanthorn.c.d"}
    assert made["lanthorn.c"] == {"lanthorn.c.d"}
    assert made["lanthorn.c.d"] == {"lanthorn.b"}
    assert made["lanthorn.e"] == {"lanthorn.c"}
    assert reachable("lanthorn.e", made) == {
        "lanthorn",
        "lanthorn.e",
        "lanthorn.c",
        "lanthorn.c.d",
        "lanthorn.b",
    }
