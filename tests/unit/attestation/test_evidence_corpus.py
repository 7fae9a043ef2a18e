"""Real quotes of other people's machines against Intel's real root, with the outcome each must have."""

from __future__ import annotations

import json
import random
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dcap_qvl
import pytest

from lanthorn.attestation.evidence import Evidence
from lanthorn.attestation.verifier import dcap
from lanthorn.attestation.verifier.collateral import Collateral
from lanthorn.attestation.verifier.roots import INTEL
from lanthorn.attestation.verifier.steps import StepFailedError
from lanthorn.errors import FormatError, VerificationError

CORPUS = Path(__file__).parents[4] / "shared" / "evidence"
pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif(not CORPUS.is_dir(), reason="no ../shared/evidence on this machine"),
]

# The recorded verdicts are dcap-qvl's. It refuses these TEEs outright; we return claims that say so, and
# appraisal refuses them. The third such reason, service TDs, occurs in version 5 quotes only.
BY_DESIGN = {
    "Debug mode is enabled": lambda claims: claims.debug,
    "SEPT_VE_DISABLE is not enabled": lambda claims: not claims.tdx.sept_ve_disable,
}
REFUSALS = {"CertNotValidYet": 2, "No matching TCB level found": 7}


def entries() -> list[dict[str, Any]]:
    if not CORPUS.is_dir():
        return []
    index = json.loads((CORPUS / "index.json").read_text())
    return [entry for entry in index["entries"] if entry["kind"] in ("sgx", "tdx")]


def expectations(*versions: int) -> list[Any]:
    return list(_expectations(versions))


def _expectations(versions: tuple[int, ...]) -> Iterator[Any]:
    for entry in entries():
        for verified in entry.get("verified", []):
            if entry["version"] in versions:
                name = f"{entry['id']}-{Path(verified['collateral']).stem}"
                yield pytest.param(entry, verified, id=name)


def evidence_of(entry: dict[str, Any]) -> Evidence:
    return Evidence(entry["kind"], (CORPUS / entry["file"]).read_bytes())


def verify(entry: dict[str, Any], verified: dict[str, Any]) -> Any:
    collateral = Collateral.from_json((CORPUS / verified["collateral"]).read_text())
    return dcap.verify(
        evidence_of(entry), collateral, anchors=[INTEL], now=datetime.fromtimestamp(verified["now"], UTC)
    )


@pytest.mark.parametrize(("entry", "verified"), expectations(3, 4))
def test_expected_outcome(entry: dict[str, Any], verified: dict[str, Any]) -> None:
    result = verified["result"]
    reason = result.removeprefix("REFUSED: ")
    step = next((step for words, step in REFUSALS.items() if words in reason), None)
    if step is not None:
        with pytest.raises(StepFailedError) as caught:
            verify(entry, verified)
        assert caught.value.step == step
        return
    claims = verify(entry, verified)
    if reason in BY_DESIGN:
        assert BY_DESIGN[reason](claims)
    else:
        assert claims.tcb_status == result
        assert set(claims.advisories) == set(verified["advisories"])
    check_claims(entry, claims)


def check_claims(entry: dict[str, Any], claims: Any) -> None:
    assert not claims.simulated and claims.anchor == "intel"
    assert claims.debug == entry["debug"]
    assert claims.fmspc == entry["fmspc"]
    assert claims.report_data.hex() == entry["report_data"]
    if entry["kind"] == "sgx":
        assert claims.sgx.mrenclave.hex() == entry["mrenclave"]
        assert claims.sgx.mrsigner.hex() == entry["mrsigner"]
        assert (claims.sgx.isv_prod_id, claims.sgx.isv_svn) == (entry["prod_id"], entry["isv_svn"])
    else:
        assert claims.tdx.mrtd.hex() == entry["mrtd"]
        assert claims.tdx.rtmrs[0].hex() == entry["rtmr0"]
        assert claims.tdx.rtmrs[3].hex() == entry["rtmr3"]
        assert claims.tdx.sept_ve_disable == entry["sept_ve_disable"]


def test_the_corpus_has_every_kind_of_outcome() -> None:
    """So that none of the branches above is passed over in silence."""
    seen = {parameter.values[1]["result"].split(" Caused")[0] for parameter in expectations(3, 4)}
    assert {"UpToDate", "OutOfDate", "SWHardeningNeeded"} <= seen
    assert {f"REFUSED: {reason}" for reason in BY_DESIGN} <= seen
    assert len(expectations(3, 4)) > 70


@pytest.mark.parametrize(("entry", "verified"), expectations(5))
def test_version_5_is_refused_in_words(entry: dict[str, Any], verified: dict[str, Any]) -> None:
    with pytest.raises(StepFailedError, match="tee type 0x81 version 5") as caught:
        verify(entry, verified)
    assert caught.value.step == 6


@pytest.mark.parametrize(
    "entry", [pytest.param(each, id=each["id"]) for each in entries() if each.get("parse")]
)
def test_quotes_without_a_chain_say_so(entry: dict[str, Any]) -> None:
    with pytest.raises(StepFailedError, match="carries no certificate chain") as caught:
        dcap.anchor_of(evidence_of(entry), [INTEL])
    assert caught.value.step == 8


def test_trailing_bytes_are_refused() -> None:
    path = CORPUS / "malformed" / "oasis-core-quote_v4_tdx_ecdsa_p256_trailing.bin"
    with pytest.raises(StepFailedError, match="trailing bytes"):
        dcap.anchor_of(Evidence("tdx", path.read_bytes() + b"\0"), [INTEL])


def test_intel_root_is_the_published_one() -> None:
    der = (CORPUS / "intel_sgx_root_ca.der").read_bytes()
    assert INTEL.public_key in der


@pytest.mark.parametrize("seed", range(20))
def test_mutations_beside_the_oracle(seed: int) -> None:
    """What we let through changes no claim, and the oracle lets it through too: our differences are refusals."""
    generator = random.Random(seed)
    admitted = [
        case.values for case in expectations(3, 4) if not case.values[1]["result"].startswith("REFUSED")
    ]
    entry, verified = generator.choice(admitted)
    quote, text = (CORPUS / entry["file"]).read_bytes(), (CORPUS / verified["collateral"]).read_text()
    now = datetime.fromtimestamp(verified["now"], UTC)
    genuine = verify(entry, verified)
    for _ in range(40):
        mutated, mutated_text = quote, text
        if generator.random() < 0.6:
            at = generator.randrange(len(quote))
            mutated = quote[:at] + bytes([quote[at] ^ generator.randrange(1, 256)]) + quote[at + 1 :]
        else:
            at = generator.randrange(len(text))
            mutated_text = text[:at] + chr(generator.randrange(32, 127)) + text[at + 1 :]
        try:
            collateral = Collateral.from_json(mutated_text)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                claims = dcap.verify(Evidence(entry["kind"], mutated), collateral, anchors=[INTEL], now=now)
        except (VerificationError, FormatError):
            continue
        assert claims == genuine and mutated == quote
        oracle = dcap_qvl.QuoteCollateralV3.from_json(mutated_text)
        assert dcap_qvl.verify(mutated, oracle, verified["now"]).status == claims.tcb_status
