"""Policies that load, and for each way to get one wrong the word that says so."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lanthorn.appraisal import AppraisalPolicy, development_policy, policy_text
from lanthorn.attestation.simulator.platform import SimulatedPlatform
from lanthorn.attestation.verifier.roots import INTEL
from lanthorn.errors import Error, StorageError, UsageError

from .claims import IMAGE, LOCK, MRENCLAVE, MRTD, NOW, REAL, SGX


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> SimulatedPlatform:
    return SimulatedPlatform.create(tmp_path_factory.mktemp("policy") / "simulator", now=NOW)


SIMULATED = f"""
version = 1
[anchors.sim]
kind = "simulated"
root = "root.pem"
collateral = "collateral.json"
[[rule]]
name = "development"
locks = ["{LOCK.hex()}"]
tees = ["tdx"]
anchors = ["sim"]
tcb_statuses = ["UpToDate"]
insecure_allow_simulated = true
"""

MUTATIONS = [
    ("version = 1", "", "version"),
    ("version = 1", "version = 2", "version"),
    ("version = 1", 'version = "1"', "version"),
    ("version = 1", "version = true", "version"),
    ("version = 1", "version = 1\ncolour = 1", "unknown key 'colour'"),
    ('name = "real"', "", "name: missing"),
    ('name = "real"', 'name = ""', "name"),
    ('name = "real"', 'name = "a\\nb"', "name"),
    (f'locks = ["{LOCK.hex()}"]', "", "locks: missing"),
    (f'locks = ["{LOCK.hex()}"]', "locks = []", "locks: expected 1"),
    (f'locks = ["{LOCK.hex()}"]', 'locks = "x"', "locks: expected a list"),
    (f'locks = ["{LOCK.hex()}"]', "locks = [1]", "locks: expected texts"),
    (f'locks = ["{LOCK.hex()}"]', f'locks = ["{LOCK.hex()[:-1]}"]', "expected a lock digest"),
    (f'locks = ["{LOCK.hex()}"]', f'locks = ["{"AB" * 32}"]', "expected a lock digest"),
    ('tees = ["tdx"]', "", "tees: missing"),
    ('tees = ["tdx"]', "tees = []", "tees: expected 1"),
    ('tees = ["tdx"]', 'tees = ["sample"]', "tees: expected one of"),
    ('tees = ["tdx"]', 'tees = ["tdx", "sgx"]', "mrenclave"),
    ('anchors = ["intel"]', "", "anchors: missing"),
    ('anchors = ["intel"]', 'anchors = ["amd"]', "anchors: expected one of"),
    ('tcb_statuses = ["UpToDate", "SWHardeningNeeded"]', "", "tcb_statuses: missing"),
    ('"SWHardeningNeeded"]', '"Revoked"]', "tcb_statuses: expected one of"),
    ('"SWHardeningNeeded"]', '"uptodate"]', "tcb_statuses: expected one of"),
    ("minimum_tcb_evaluation_data_number = 17", "minimum_tcb_evaluation_data_number = -1", "0 or more"),
    ("minimum_tcb_evaluation_data_number = 17", "minimum_tcb_evaluation_data_number = 17.0", "whole number"),
    ("minimum_tcb_evaluation_data_number", "minimum_eval", "unknown key 'minimum_eval'"),
    ("[[rule]]", "[rule]", "array of tables"),
    (IMAGE, "", "images: a lock without a guest image"),
    ("[[rule.images]]", "[[rule.image]]", "unknown key 'image'"),
    (f'mrtd = "{MRTD.hex()}"', "", "mrtd: missing"),
    (MRTD.hex(), MRTD.hex()[2:], "96 lower-case hex"),
    (MRTD.hex(), "A0" * 48, "96 lower-case hex"),
    ("rtmr2 =", "rtmr3 =", "rtmr2: missing"),
    ("advisories =", 'mrenclave = ["' + "00" * 32 + '"]\nadvisories =', "mrenclave: only for"),
    ("advisories =", "insecure_allow_debug = 1\nadvisories =", "expected true or false"),
    ("advisories =", "insecure_allow_everything = true\nadvisories =", "unknown key"),
    ("version = 1", "version = = 1", "not toml"),
]


@pytest.mark.parametrize(("old", "new", "words"), MUTATIONS)
def test_mutations(old: str, new: str, words: str) -> None:
    assert old in REAL
    with pytest.raises(UsageError, match=words.replace("[", r"\[")):
        AppraisalPolicy.from_toml(REAL.replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (f'mrenclave = ["{MRENCLAVE.hex()}"]', "", "mrenclave: an sgx rule needs"),
        (MRENCLAVE.hex(), "00", "64 lower-case hex"),
        (f'"{LOCK.hex()}"', f'"{LOCK.hex()}", "{"22" * 32}"', "exactly one"),
        ("[[rule]]", "[[rules]]", "unknown key 'rules'"),
        ("tcb_statuses =", "statuses =", "tcb_statuses: missing"),
        ("mrenclave =", "mr_enclave =", "unknown key 'mr_enclave'"),
    ],
)
def test_sgx_mutations(old: str, new: str, words: str) -> None:
    assert old in SGX
    with pytest.raises(UsageError, match=words):
        AppraisalPolicy.from_toml(SGX.replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('kind = "simulated"', 'kind = "intel"', "kind: expected 'simulated'"),
        ('kind = "simulated"', "", "kind: missing"),
        ('root = "root.pem"', "", "root: missing"),
        ('root = "root.pem"', 'root = "collateral.json"', "trust anchor sim"),
        ('root = "root.pem"', 'root = "-----BEGIN CERTIFICATE-----"', "trust anchor sim"),
        ("collateral =", "colateral =", "unknown key 'colateral'"),
        ("[anchors.sim]", "[anchors.intel]", "expected 'intel'"),
        ("[anchors.sim]", '[anchors."a/b"]', "not a valid name"),
        ('anchors = ["sim"]', 'anchors = ["sim", "intel"]', "must not share a rule"),
    ],
)
def test_anchor_mutations(platform: SimulatedPlatform, old: str, new: str, words: str) -> None:
    assert old in SIMULATED
    with pytest.raises(UsageError, match=words):
        AppraisalPolicy.from_toml(SIMULATED.replace(old, new, 1), folder=platform.folder)


def test_missing_root_file(platform: SimulatedPlatform) -> None:
    with pytest.raises(StorageError, match=r"none\.pem"):
        AppraisalPolicy.from_toml(SIMULATED.replace("root.pem", "none.pem"), folder=platform.folder)


def test_relative_paths_need_a_folder() -> None:
    with pytest.raises(UsageError, match="absolute path"):
        AppraisalPolicy.from_toml(SIMULATED)


def test_two_rules_of_one_name() -> None:
    with pytest.raises(UsageError, match="two rules are called 'real'"):
        AppraisalPolicy.from_toml(REAL + REAL.replace("version = 1", ""))


def test_too_long() -> None:
    with pytest.raises(UsageError, match="larger than the limit"):
        AppraisalPolicy.from_toml("#" * (1024 * 1024 + 1))


def test_locks_by_path(tmp_path: Path) -> None:
    asked: list[Path] = []

    def read(path: Path) -> bytes:
        asked.append(path)
        return LOCK

    text = REAL.replace(LOCK.hex(), "job/lanthorn.lock")
    policy = AppraisalPolicy.from_toml(text, folder=tmp_path, read_lock_digest=read)
    assert asked == [tmp_path / "job/lanthorn.lock"]
    assert policy.locks == {LOCK}
    with pytest.raises(UsageError, match="32 bytes, got 31"):
        AppraisalPolicy.from_toml(text, folder=tmp_path, read_lock_digest=lambda path: LOCK[1:])


def test_resolved_text_stands_alone(platform: SimulatedPlatform) -> None:
    first = AppraisalPolicy.from_toml(SIMULATED, folder=platform.folder)
    text = policy_text(first)
    second = AppraisalPolicy.from_toml(text)
    assert second == first
    assert second.collateral_path("sim") == platform.collateral_path()
    assert "BEGIN CERTIFICATE" in text and "root.pem" not in text
    for other in (REAL, SGX):
        policy = AppraisalPolicy.from_toml(other)
        assert AppraisalPolicy.from_toml(policy_text(policy)) == policy


def test_anchors_that_no_rule_names_are_not_trusted(platform: SimulatedPlatform) -> None:
    policy = AppraisalPolicy.from_toml(SIMULATED, folder=platform.folder)
    assert [anchor.name for anchor in policy.trust_anchors] == ["sim"]
    assert AppraisalPolicy.from_toml(REAL).trust_anchors == (INTEL,)
    assert AppraisalPolicy.from_toml("version = 1").trust_anchors == ()


def test_intel_collateral(tmp_path: Path) -> None:
    text = REAL + '\n[anchors.intel]\nkind = "intel"\ncollateral = "intel.json"\n'
    policy = AppraisalPolicy.from_toml(text, folder=tmp_path)
    assert policy.collateral_path("intel") == tmp_path / "intel.json"
    with pytest.raises(UsageError, match="no collateral"):
        AppraisalPolicy.from_toml(REAL).collateral_path("intel")


def test_development_policy(platform: SimulatedPlatform) -> None:
    text = development_policy([LOCK], platform.root_path, platform.collateral_path())
    assert text.startswith("# For development") and "SIMULATED" in text
    (rule,) = AppraisalPolicy.from_toml(text).rules
    assert rule.insecure_allow_simulated and not rule.insecure_allow_debug
    assert rule.locks == (LOCK,) and rule.tcb_statuses == ("UpToDate",)


@given(st.text(max_size=300))
def test_only_our_errors_on_text(text: str) -> None:
    try:
        AppraisalPolicy.from_toml(text)
    except Error:
        return
    assert tomllib.loads(text)["version"] == 1


TOML_VALUES = st.one_of(
    st.booleans(), st.integers(-5, 300), st.text(max_size=10), st.lists(st.text(max_size=5), max_size=3)
)
RULE_KEYS = ["name", "locks", "tees", "anchors", "tcb_statuses", "images", "mrenclave", "x"]


@given(st.dictionaries(st.sampled_from(RULE_KEYS), TOML_VALUES))
def test_no_random_rule_loads(members: dict[str, object]) -> None:
    import tomli_w

    with pytest.raises(UsageError):
        AppraisalPolicy.from_toml(tomli_w.dumps({"version": 1, "rule": [members]}))
