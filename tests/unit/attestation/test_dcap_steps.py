"""For each step of a verification: changes that it must refuse, by the step's number."""

from __future__ import annotations

import dataclasses
import hashlib
import struct
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from lanthorn.attestation.evidence import Evidence
from lanthorn.attestation.simulator import certificates, quotes, vendor
from lanthorn.attestation.simulator.keys import sign_raw
from lanthorn.attestation.simulator.platform import SimulatedPlatform
from lanthorn.attestation.verifier import dcap
from lanthorn.attestation.verifier.collateral import Collateral
from lanthorn.attestation.verifier.quote import parse_quote
from lanthorn.attestation.verifier.roots import INTEL, simulated_anchor
from lanthorn.attestation.verifier.steps import StepFailedError
from lanthorn.errors import UsageError

from .conftest import NOW, Bench
from .forge import Forge
from .oracle import oracle_verdict

Parts = tuple[Evidence, Collateral]


def refused(bench: Bench, parts: Parts, step: int, words: str, *, now: datetime = NOW) -> None:
    with pytest.raises(StepFailedError) as caught:
        dcap.verify(*parts, anchors=[bench.anchor], now=now)
    assert caught.value.step == step, caught.value
    assert words in caught.value.message


@pytest.fixture
def forge(bench: Bench) -> Forge:
    return Forge(bench)


@pytest.fixture
def other(tmp_path: Path) -> Bench:
    """Another vendor, with the same names and other keys."""
    platform = SimulatedPlatform.create(tmp_path / "other", now=NOW)
    return Bench(platform, simulated_anchor("other", platform.root_path.read_bytes()))


def test_unchanged_passes(bench: Bench, forge: Forge) -> None:
    """The forge changes nothing by itself, so what is refused below is refused for what was changed."""
    claims = dcap.verify(
        forge.td_quote(), forge.document("tcb_info", lambda info: None), anchors=[bench.anchor], now=NOW
    )
    assert claims.tcb_status == "UpToDate"


# --- step 1: trust anchor


def test_step_1_another_root(bench: Bench, other: Bench) -> None:
    for anchors in ([], [INTEL], [other.anchor], [INTEL, other.anchor]):
        with pytest.raises(StepFailedError, match="no trust anchor") as caught:
            dcap.verify(bench.evidence(), bench.collateral(), anchors=anchors, now=NOW)
        assert caught.value.step == 1


def test_step_1_collateral_of_another_vendor(bench: Bench, other: Bench) -> None:
    refused(bench, (bench.evidence(), other.collateral()), 1, "another root")


@pytest.mark.parametrize("name", ["tcb_info", "qe_identity"])
def test_step_1_document_of_another_vendor(bench: Bench, other: Bench, name: str) -> None:
    members = (name, f"{name}_signature", f"{name}_issuer_chain")
    foreign = {member: getattr(other.collateral(), member) for member in members}
    mixed = dataclasses.replace(bench.collateral(), **foreign)
    refused(bench, (bench.evidence(), mixed), 1, "another root")


def test_anchor_is_found_among_several(bench: Bench, other: Bench) -> None:
    anchors = [INTEL, other.anchor, bench.anchor]
    assert dcap.anchor_of(bench.evidence(), anchors) is bench.anchor
    assert dcap.verify(bench.evidence(), bench.collateral(), anchors=anchors, now=NOW).anchor == "sim"
    with pytest.raises(StepFailedError):
        dcap.anchor_of(bench.evidence(), [INTEL])


# --- step 2: chain and revocation


def chain_case(forge: Forge, name: str, other: Bench) -> bytes:
    issued = forge.issued
    foreign = vendor.VendorCertificates.from_pem((other.platform.folder / "vendor.pem").read_bytes())
    pem = vendor.pem
    cases = {
        "pck of another vendor": lambda: pem(foreign.pck, issued.ca, issued.root),
        "authority of another vendor": lambda: pem(foreign.pck, foreign.ca, issued.root),
        "two certificates": lambda: pem(issued.pck, issued.root),
        "four certificates": lambda: pem(issued.pck, issued.ca, issued.ca, issued.root),
        "wrong order": lambda: pem(issued.ca, issued.pck, issued.root),
        "text before": lambda: b" " + issued.pck_chain,
        "text after": lambda: issued.pck_chain + b"\n",
        "crlf": lambda: issued.pck_chain.replace(b"\n", b"\r\n"),
        "no sgx extension": lambda: pem(forge.certificate("x", "pck", "ca"), issued.ca, issued.root),
        "authority as leaf": lambda: pem(
            forge.certificate("x", "pck", "ca", path_length=0), issued.ca, issued.root
        ),
        "authority that is none": lambda: pem(
            issued.pck, forge.certificate(certificates.CA_NAME, "ca"), issued.root
        ),
        "bad sgx extension": lambda: pem(
            forge.certificate("x", "pck", "ca", sgx_extension=b"\x30\x03\x02\x01\x00"), issued.ca, issued.root
        ),
    }
    return cases[name]()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("pck of another vendor", "was not issued by"),
        ("authority of another vendor", "was not issued by"),
        ("two certificates", "expected 3 certificates"),
        ("four certificates", "expected 3 certificates"),
        ("wrong order", "may not issue certificates"),
        ("text before", "exact PEM"),
        ("text after", "exact PEM"),
        ("crlf", "expected 3 certificates"),
        ("no sgx extension", "not a pck certificate"),
        ("authority as leaf", "not a pck certificate"),
        ("authority that is none", "may not issue certificates"),
        ("bad sgx extension", "sgx extension"),
    ],
)
def test_step_2_chain(bench: Bench, forge: Forge, other: Bench, name: str, words: str) -> None:
    chain = chain_case(forge, name, other)
    refused(bench, (forge.td_quote(pck_chain=chain), bench.collateral()), 2, words)


@pytest.mark.parametrize(
    ("member", "issuer", "key", "words"),
    [
        ("root_ca_crl", "ca", "ca", "names another issuer"),
        ("root_ca_crl", "root", "ca", "is not signed by"),
        ("pck_crl", "root", "root", "names another issuer"),
        ("pck_crl", "ca", "root", "is not signed by"),
    ],
)
def test_step_2_lists(bench: Bench, forge: Forge, member: str, issuer: str, key: str, words: str) -> None:
    changed = dataclasses.replace(bench.collateral(), **{member: forge.crl(issuer, [], key=key)})
    refused(bench, (bench.evidence(), changed), 2, words)


@pytest.mark.parametrize(
    ("member", "issuer", "victim"),
    [("root_ca_crl", "root", "ca"), ("root_ca_crl", "root", "root"), ("pck_crl", "ca", "pck")],
)
def test_step_2_revoked(bench: Bench, forge: Forge, member: str, issuer: str, victim: str) -> None:
    crl = forge.crl(issuer, [getattr(forge.issued, victim)])
    changed = dataclasses.replace(bench.collateral(), **{member: crl})
    refused(bench, (bench.evidence(), changed), 2, "is revoked")


@pytest.mark.parametrize("member", ["root_ca_crl", "pck_crl"])
@pytest.mark.parametrize("change", [lambda der: der[:-1], lambda der: der + b"\0", lambda der: b""])
def test_step_2_malformed_lists(bench: Bench, member: str, change: Callable[[bytes], bytes]) -> None:
    collateral = bench.collateral()
    changed = dataclasses.replace(collateral, **{member: change(getattr(collateral, member))})
    refused(bench, (bench.evidence(), changed), 2, "is malformed")


def test_step_2_list_of_another_authority(bench: Bench, other: Bench, forge: Forge) -> None:
    twin = forge.certificate(certificates.CA_NAME, "attestation", path_length=0)
    changed = dataclasses.replace(
        bench.collateral(), pck_crl_issuer_chain=vendor.pem(twin, forge.issued.root)
    )
    refused(bench, (bench.evidence(), changed), 2, "another authority")


@pytest.mark.parametrize(
    ("shift", "words"), [(timedelta(days=31), "expired"), (timedelta(hours=-2), "not valid yet")]
)
def test_step_2_windows(bench: Bench, shift: timedelta, words: str) -> None:
    refused(bench, (bench.evidence(), bench.collateral()), 2, words, now=NOW + shift)


def test_step_2_certificates_run_out_too(bench: Bench, forge: Forge) -> None:
    late = NOW + certificates.LIFETIME + timedelta(hours=1)
    bench.platform.refresh(now=late)
    refused(bench, (bench.evidence(), bench.collateral()), 2, "expired", now=late)


# --- step 3: TCB info and QE identity


@pytest.mark.parametrize("name", ["tcb_info", "qe_identity"])
def test_step_3_signed_by_a_pck_key(bench: Bench, forge: Forge, name: str) -> None:
    """The hole in the library: there any certificate under the root may sign that all is up to date."""
    key = forge.keys.private("pck")
    chain = vendor.pem(forge.issued.pck, forge.issued.root)
    forged = forge.document(name, lambda document: None, key=key, chain=chain)
    refused(bench, (bench.evidence(), forged), 3, "signer of the")


def test_the_oracle_has_that_hole(bench: Bench, forge: Forge) -> None:
    """Kept so that the day the library mends it, the guard around it in our tests can go."""
    pck = forge.certificate("anything", "pck")
    chain = vendor.pem(pck, forge.issued.root)
    forged = forge.document("tcb_info", lambda info: None, key=forge.keys.private("pck"), chain=chain)
    verdict = oracle_verdict(bench.evidence().quote, forged.to_json(), bench.platform.root_path, NOW)
    assert verdict[0] == "UpToDate"
    refused(bench, (bench.evidence(), forged), 3, "signer of the tcb info")


@pytest.mark.parametrize(
    ("name", "issuer", "options", "words"),
    [
        ("Intel SGX TCB Signin", "root", {}, "signer of the"),
        ("", "root", {}, "signer of the"),
        (certificates.TCB_SIGNER_NAME, "root", {"sgx_extension": b"\x30\x00"}, "platform or an authority"),
        (certificates.TCB_SIGNER_NAME, "root", {"path_length": 0}, "platform or an authority"),
        (certificates.TCB_SIGNER_NAME, "ca", {}, "was not issued by"),
    ],
)
def test_step_3_signer(bench: Bench, forge: Forge, name: str, issuer: str, options: dict, words: str) -> None:
    signer = forge.certificate(name or "-", "pck", issuer, **options)
    chain = vendor.pem(signer, forge.issued.root)
    for document in ("tcb_info", "qe_identity"):
        forged = forge.document(document, lambda each: None, key=forge.keys.private("pck"), chain=chain)
        refused(bench, (bench.evidence(), forged), 3, words)


def test_step_3_signer_revoked(bench: Bench, forge: Forge) -> None:
    crl = forge.crl("root", [forge.issued.tcb_signer])
    changed = dataclasses.replace(bench.collateral(), root_ca_crl=crl)
    refused(bench, (bench.evidence(), changed), 3, "is revoked")


@pytest.mark.parametrize("name", ["tcb_info", "qe_identity"])
def test_step_3_text_is_signed_to_the_letter(bench: Bench, name: str) -> None:
    collateral = bench.collateral()
    text = getattr(collateral, name)
    for changed in (text + " ", text.replace(",", ", ", 1), text.replace("UpToDate", "Uptodate"), ""):
        refused(
            bench,
            (bench.evidence(), dataclasses.replace(collateral, **{name: changed})),
            3,
            "signature of the",
        )
    signature = bytes(64)
    swapped = dataclasses.replace(collateral, **{f"{name}_signature": signature})
    refused(bench, (bench.evidence(), swapped), 3, "signature of the")


def _set(**members: object) -> Callable[[dict], None]:
    return lambda document: document.update(members)


def _without(name: str) -> Callable[[dict], object]:
    return lambda document: document.pop(name)


PAST, FUTURE = "2026-01-01T00:00:00Z", "2027-06-01T00:00:00Z"


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("tcb_info", _set(nextUpdate=PAST), "expired"),
        ("tcb_info", _set(issueDate=FUTURE), "not valid yet"),
        ("tcb_info", _set(id="SGX"), "kind of tcb info"),
        ("tcb_info", _set(version=2), "version"),
        ("tcb_info", _set(tcbType=1), "tcbType"),
        ("tcb_info", _set(tcbLevels=[]), "no tcb levels"),
        ("tcb_info", _set(tcbLevels={}), "expected a list"),
        ("tcb_info", _set(fmspc="50ad"), "fmspc"),
        ("tcb_info", _set(fmspc="50 ad 0000 0000"), "fmspc"),
        ("tcb_info", _set(tcbEvaluationDataNumber=True), "tcbEvaluationDataNumber"),
        ("tcb_info", _set(tcbEvaluationDataNumber=-1), "tcbEvaluationDataNumber"),
        ("tcb_info", _set(nextUpdate="tomorrow"), "nextUpdate"),
        ("tcb_info", _without("tdxModule"), "tdxModule"),
        ("tcb_info", _without("pceId"), "pceId"),
        ("tcb_info", lambda info: info["tcbLevels"][0].update(tcbStatus="Fine"), "unknown tcbStatus"),
        ("tcb_info", lambda info: info["tcbLevels"][0].update(advisoryIDs="x"), "advisoryIDs"),
        ("tcb_info", lambda info: info["tcbLevels"][0]["tcb"]["sgxtcbcomponents"].pop(), "16 components"),
        ("tcb_info", lambda info: info["tcbLevels"][0]["tcb"]["tdxtcbcomponents"].pop(), "16 components"),
        ("tcb_info", lambda info: info["tcbLevels"][0]["tcb"]["sgxtcbcomponents"][0].update(svn=256), "svn"),
        ("qe_identity", _set(nextUpdate=PAST), "expired"),
        ("qe_identity", _set(issueDate=FUTURE), "not valid yet"),
        ("qe_identity", _set(id="QE"), "kind of qe identity"),
        ("qe_identity", _set(version=1), "version"),
        ("qe_identity", _set(tcbLevels=[]), "no tcb levels"),
        ("qe_identity", _set(mrsigner="00"), "mrsigner"),
        ("qe_identity", _without("attributesMask"), "attributesMask"),
    ],
)
def test_step_3_documents(bench: Bench, forge: Forge, name: str, change: Callable, words: str) -> None:
    refused(bench, (bench.evidence(), forge.document(name, change)), 3, words)


def test_step_3_collateral_of_the_other_tee(bench: Bench) -> None:
    refused(bench, (bench.evidence("sgx"), bench.collateral("tdx")), 3, "kind of tcb info")
    refused(bench, (bench.evidence("tdx"), bench.collateral("sgx")), 3, "kind of tcb info")


# --- step 4: platform family


@pytest.mark.parametrize(("member", "value"), [("fmspc", "50ad00000001"), ("pceId", "0001")])
def test_step_4_family(bench: Bench, forge: Forge, member: str, value: str) -> None:
    collateral = forge.document("tcb_info", _set(**{member: value}))
    refused(bench, (bench.evidence(), collateral), 4, f"{member.lower()} of the tcb info: expected")


# --- step 5: quoting enclave


@dataclasses.dataclass(frozen=True)
class OddQE(quotes.Signer):
    """A quoting enclave whose report was changed before the platform signed it."""

    change: Callable[[bytearray], object] = lambda report: None
    sign_with: str = "pck"

    def _certification(self, tee: str, attestation_key: bytes) -> bytes:
        usual = super()._certification(tee, attestation_key)
        report = bytearray(usual[:384])
        self.change(report)
        return bytes(report) + sign_raw(self.keys.private(self.sign_with), bytes(report)) + usual[448:]


@pytest.mark.parametrize(
    ("change", "sign_with", "words"),
    [
        (lambda report: None, "attestation", "did not sign the qe report"),
        (lambda report: report.__setitem__(320, report[320] ^ 1), "pck", "attestation key in the qe report"),
        (lambda report: report.__setitem__(383, 1), "pck", "attestation key in the qe report"),
        (lambda report: report.__setitem__(128, report[128] ^ 1), "pck", "mrsigner"),
        (lambda report: report.__setitem__(256, 9), "pck", "isvprodid"),
        (lambda report: report.__setitem__(16, 1), "pck", "miscselect"),
        (lambda report: report.__setitem__(48, 0x13), "pck", "debug mode"),
        (lambda report: report.__setitem__(48, 0x01), "pck", "attributes"),
    ],
)
def test_step_5_qe_report(bench: Bench, forge: Forge, change: Callable, sign_with: str, words: str) -> None:
    signer = OddQE(forge.keys, forge.issued.pck_chain, forge.settings, change, sign_with)
    body = bytes(parse_quote(bench.evidence().quote).body)
    refused(bench, (Evidence("tdx", signer.quote("tdx", body)), bench.collateral()), 5, words)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_set(mrsigner="00" * 32), "mrsigner of the quoting enclave: expected 00"),
        (_set(isvprodid=3), "isvprodid of the quoting enclave: expected 3, got 2"),
        (_set(miscselect="01000000"), "miscselect of the quoting enclave: expected 00000001"),
        (_set(attributes="15" + "00" * 15, attributesMask="ff" * 16), "attributes of the quoting enclave"),
    ],
)
def test_step_5_qe_identity(bench: Bench, forge: Forge, change: Callable, words: str) -> None:
    refused(bench, (bench.evidence(), forge.document("qe_identity", change)), 5, words)


def test_step_5_auth_data_is_bound(bench: Bench) -> None:
    quote = bench.evidence().quote
    changed = quote.replace(quotes.QE_AUTH_DATA, hashlib.sha256(b"x").digest())
    refused(bench, (Evidence("tdx", changed), bench.collateral()), 5, "attestation key in the qe report")


# --- step 6: the quote


def _flip(at: int) -> Callable[[bytes], bytes]:
    return lambda quote: quote[:at] + bytes([quote[at] ^ 1]) + quote[at + 1 :]


def _put(at: int, form: str, value: int) -> Callable[[bytes], bytes]:
    def change(quote: bytes) -> bytes:
        changed = bytearray(quote)
        struct.pack_into(form, changed, at, value)
        return bytes(changed)

    return change


SIGNATURE_AT = 48 + 584 + 4


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_flip(28), "did not sign the quote"),
        (_flip(48), "did not sign the quote"),
        (_flip(48 + 376), "did not sign the quote"),
        (_flip(48 + 583), "did not sign the quote"),
        (_flip(SIGNATURE_AT), "did not sign the quote"),
        (_put(0, "<H", 3), "unsupported quote"),
        (_put(0, "<H", 5), "unsupported quote"),
        (_put(2, "<H", 3), "attestation key type"),
        (_put(4, "<I", 0), "unsupported quote"),
        (_flip(12), "qe vendor id"),
        (lambda quote: quote + b"\0", "trailing bytes after signature data"),
        (lambda quote: quote[:-1], "quote ends inside"),
        (lambda quote: quote[:47], "quote ends inside header"),
        (lambda quote: b"", "quote ends inside header"),
        (_put(SIGNATURE_AT - 4, "<I", 0xFFFFFFFF), "too long"),
        (lambda quote: quote + bytes(40_000), "quote too long"),
    ],
)
def test_step_6_quote(bench: Bench, change: Callable[[bytes], bytes], words: str) -> None:
    refused(bench, (Evidence("tdx", change(bench.evidence().quote)), bench.collateral()), 6, words)


def test_step_6_attestation_key_off_the_curve(bench: Bench, forge: Forge) -> None:
    """Bound by a genuine QE report, so that nothing before step 6 minds it."""
    quote = bytearray(bench.evidence().quote)
    key_at = SIGNATURE_AT + 64
    quote[key_at : key_at + 64] = b"\1" * 64
    report_at = key_at + 64 + 6
    bound = hashlib.sha256(b"\1" * 64 + quotes.QE_AUTH_DATA).digest()
    quote[report_at + 320 : report_at + 352] = bound
    report = bytes(quote[report_at : report_at + 384])
    quote[report_at + 384 : report_at + 448] = sign_raw(forge.keys.private("pck"), report)
    refused(bench, (Evidence("tdx", bytes(quote)), bench.collateral()), 6, "not a point")


def test_step_6_claimed_tee(bench: Bench) -> None:
    for claimed in ("sgx", "snp", ""):
        refused(bench, (Evidence(claimed, bench.evidence().quote), bench.collateral()), 6, "tee of the quote")


# --- step 7: TCB level


def _raise_levels(info: dict) -> None:
    for level in info["tcbLevels"]:
        level["tcb"]["sgxtcbcomponents"][1]["svn"] = 200


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            _raise_levels,
            "no tcb level matches the platform: SGX component 2 is 197 behind: newest 200, found 3",
        ),
        (
            lambda info: info["tcbLevels"][0].update(tcbStatus="Revoked"),
            "tcb level of the platform is revoked",
        ),
        (_set(tdxModuleIdentities=[]), "knows no tdx module TDX_01"),
        (_without("tdxModuleIdentities"), "knows no tdx module TDX_01"),
        (lambda info: info["tdxModuleIdentities"][0].update(mrsigner="11" * 48), "signer of the tdx module"),
        (
            lambda info: info["tdxModuleIdentities"][0].update(attributes="01" + "00" * 7),
            "attributes of the tdx module",
        ),
        (
            lambda info: (
                info["tdxModuleIdentities"][0]["tcbLevels"][0]["tcb"].update(isvsvn=9)
                or info["tdxModuleIdentities"][0]["tcbLevels"].pop()
            ),
            "no tcb level matches the TDX module",
        ),
        (
            lambda info: info["tdxModuleIdentities"][0]["tcbLevels"][0].update(tcbStatus="Revoked"),
            "TDX module is revoked",
        ),
    ],
)
def test_step_7_tcb_info(bench: Bench, forge: Forge, change: Callable, words: str) -> None:
    refused(bench, (bench.evidence(), forge.document("tcb_info", change)), 7, words)


def test_step_7_qe_too_old(bench: Bench, forge: Forge) -> None:
    collateral = forge.document(
        "qe_identity", lambda each: [level["tcb"].update(isvsvn=7) for level in each["tcbLevels"]]
    )
    refused(bench, (bench.evidence(), collateral), 7, "no tcb level matches the quoting enclave")


@pytest.mark.parametrize("offset", [16 + 48, 16 + 96])
def test_step_7_module_report(bench: Bench, forge: Forge, offset: int) -> None:
    evidence = forge.td_quote(lambda body: body.__setitem__(offset, 1))
    refused(bench, (evidence, bench.collateral()), 7, "of the tdx module")


def test_step_7_levels_are_ordered_by_version_not_by_position(bench: Bench, forge: Forge) -> None:
    collateral = forge.document("tcb_info", lambda info: info["tcbLevels"].reverse())
    assert dcap.verify(bench.evidence(), collateral, anchors=[bench.anchor], now=NOW).tcb_status == "UpToDate"


def test_step_7_module_of_version_0_is_graded_by_the_platform(bench: Bench, forge: Forge) -> None:
    """TDX 1.0: no identity of its own, so the first two TDX components count with the others."""

    def old_module(svn: int) -> Evidence:
        return forge.td_quote(lambda body: body.__setitem__(slice(0, 2), bytes([svn, 0])))

    claims = dcap.verify(old_module(4), bench.collateral(), anchors=[bench.anchor], now=NOW)
    assert [part.part for part in claims.tcb] == ["platform", "quoting enclave"]
    refused(bench, (old_module(3), bench.collateral()), 7, "TDX component 1 is 1 behind")


# --- step 8: certification data

CERTIFICATION_AT = SIGNATURE_AT + 128
INNER_AT = CERTIFICATION_AT + 6 + 384 + 64 + 2 + 32


@pytest.mark.parametrize("at", [CERTIFICATION_AT, INNER_AT])
@pytest.mark.parametrize(
    ("kind", "words"),
    [(1, "plain PPID"), (2, "no certificate chain"), (3, "RSA 3072"), (4, "type"), (7, "type")],
)
def test_step_8_types(bench: Bench, at: int, kind: int, words: str) -> None:
    changed = _put(at, "<H", kind)(bench.evidence().quote)
    refused(bench, (Evidence("tdx", changed), bench.collateral()), 8, words)


# --- step 9: claims


@pytest.mark.parametrize("bit", [8, 26, 27, 32, 62])
def test_step_9_unknown_td_attributes(bench: Bench, forge: Forge, bit: int) -> None:
    at = 16 + 48 + 48 + 8 + bit // 8
    evidence = forge.td_quote(lambda body: body.__setitem__(at, body[at] | 1 << bit % 8))
    refused(bench, (evidence, bench.collateral()), 9, "unknown td attribute bits")


@pytest.mark.parametrize("bit", range(8))
def test_any_bit_of_the_first_byte_is_debug(bench: Bench, forge: Forge, bit: int) -> None:
    evidence = forge.td_quote(lambda body: body.__setitem__(120, 1 << bit))
    assert dcap.verify(evidence, bench.collateral(), anchors=[bench.anchor], now=NOW).debug


@pytest.mark.parametrize("at", [20, 31, 96, 127, 160, 191, 262, 303])
def test_step_9_reserved_fields_of_an_enclave(bench: Bench, forge: Forge, at: int) -> None:
    evidence = forge.enclave_quote(lambda body: body.__setitem__(at, 1))
    refused(bench, (evidence, bench.collateral("sgx")), 9, "reserved fields")


def test_time_needs_a_zone(bench: Bench) -> None:
    with pytest.raises(UsageError, match="time zone"):
        bench.verify(now=NOW.replace(tzinfo=None))
