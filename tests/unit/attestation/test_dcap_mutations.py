"""Random and exhaustive changes: only our errors come out, and what passes changes no claim."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import json
import random
import warnings
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lanthorn.attestation.evidence import Evidence
from lanthorn.attestation.simulator.platform import parse_state
from lanthorn.attestation.verifier import dcap
from lanthorn.attestation.verifier.certificates import load_pem_chain
from lanthorn.attestation.verifier.collateral import Collateral
from lanthorn.attestation.verifier.documents import parse_qe_identity, parse_tcb_info
from lanthorn.attestation.verifier.quote import parse_quote
from lanthorn.attestation.verifier.sgx_extension import parse_pck_extension
from lanthorn.errors import Error, FormatError, VerificationError

from .conftest import NOW, Bench
from .forge import Forge

ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


@pytest.mark.parametrize("tee", ["tdx", "sgx"])
def test_no_changed_byte_of_a_quote_passes(bench: Bench, tee: str) -> None:
    """Every byte of a quote is authenticated or must have one value (docs/unauthenticated-bytes.md)."""
    quote, collateral = bench.evidence(tee).quote, bench.collateral(tee)
    generator = random.Random(1)
    for at in range(len(quote)):
        changed = bytearray(quote)
        changed[at] ^= generator.randrange(1, 256)
        with pytest.raises(VerificationError), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dcap.verify(Evidence(tee, bytes(changed)), collateral, anchors=[bench.anchor], now=NOW)


def _pem(der: bytes) -> bytes:
    body = base64.b64encode(der)
    lines = b"\n".join(body[at : at + 64] for at in range(0, len(body), 64))
    return b"-----BEGIN CERTIFICATE-----\n" + lines + b"\n-----END CERTIFICATE-----\n"


@pytest.mark.parametrize("index", range(3))
def test_no_changed_byte_of_a_certificate_passes(bench: Bench, index: int) -> None:
    """The same beneath the base64, with each byte changed in several ways."""
    forge = Forge(bench)
    issued = [forge.issued.pck, forge.issued.ca, forge.issued.root]
    chain = [certificate.public_bytes(Encoding.DER) for certificate in issued]
    collateral, der = bench.collateral(), chain[index]
    generator = random.Random(index)
    for at in range(len(der)):
        for change in {1, 2, 0x80, generator.randrange(1, 256)}:
            chain[index] = der[:at] + bytes([der[at] ^ change]) + der[at + 1 :]
            evidence = forge.td_quote(pck_chain=b"".join(map(_pem, chain)))
            with pytest.raises(VerificationError), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the library's, about names and serial numbers
                dcap.verify(evidence, collateral, anchors=[bench.anchor], now=NOW)


@pytest.mark.parametrize("member", ["root_ca_crl", "pck_crl"])
def test_no_changed_byte_of_a_list_passes(bench: Bench, member: str) -> None:
    collateral, evidence = bench.collateral(), bench.evidence()
    der = getattr(collateral, member)
    for at in range(len(der)):
        for change in (1, 2, 0x80):
            changed = der[:at] + bytes([der[at] ^ change]) + der[at + 1 :]
            with pytest.raises(VerificationError), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                dcap.verify(
                    evidence,
                    dataclasses.replace(collateral, **{member: changed}),
                    anchors=[bench.anchor],
                    now=NOW,
                )


@pytest.mark.parametrize("seed", range(300))
def test_changed_collateral_is_refused_or_changes_nothing(bench: Bench, seed: int) -> None:
    generator = random.Random(seed)
    text = bench.collateral_text()
    genuine = bench.verify()
    for _ in range(3):
        at = generator.randrange(len(text))
        mutated = text[:at] + chr(generator.randrange(32, 127)) + text[at + 1 :]
        try:
            collateral = Collateral.from_json(mutated)
            claims = dcap.verify(bench.evidence(), collateral, anchors=[bench.anchor], now=NOW)
        except (FormatError, VerificationError):
            continue
        assert claims == genuine
        assert collateral == bench.collateral(), f"an unauthenticated byte at {at}"


@pytest.mark.parametrize("tee", ["tdx", "sgx"])
def test_what_passes_is_what_the_document_lists(bench: Bench, tee: str) -> None:
    """Signatures (r, n - s) and the zero byte after the chain: the whole list for quotes."""
    quote, collateral = bench.evidence(tee).quote, bench.collateral(tee)
    genuine = bench.verify(tee)
    parts = parse_quote(quote)
    variants = []
    for signature in (parts.signature, parts.qe_report_signature):
        s = int.from_bytes(signature[32:], "big")
        variants.append(quote.replace(signature, signature[:32] + (ORDER - s).to_bytes(32, "big")))
    for variant in variants:
        assert variant != quote
        assert dcap.verify(Evidence(tee, variant), collateral, anchors=[bench.anchor], now=NOW) == genuine


def test_the_zero_byte_after_the_chain_is_optional(bench: Bench) -> None:
    forge = Forge(bench)
    with_zero = forge.td_quote()
    without = forge.td_quote(pck_chain=forge.issued.pck_chain.removesuffix(b"\0"))
    assert parse_quote(with_zero.quote).pck_chain.endswith(b"\n\0")
    for evidence in (with_zero, without):
        assert (
            dcap.verify(evidence, bench.collateral(), anchors=[bench.anchor], now=NOW).tcb_status
            == "UpToDate"
        )


def test_truncated_quotes(bench: Bench) -> None:
    quote, collateral = bench.evidence().quote, bench.collateral()
    for size in [*range(0, len(quote), 37), len(quote) - 1]:
        with pytest.raises(VerificationError):
            dcap.verify(Evidence("tdx", quote[:size]), collateral, anchors=[bench.anchor], now=NOW)


@pytest.fixture(scope="session")
def genuine_quotes(vendor_folder: Path) -> list[bytes]:
    from lanthorn.attestation.simulator.platform import SimulatedPlatform

    platform = SimulatedPlatform(vendor_folder)
    return [
        platform.tdx_quote(bytes(64), now=NOW),
        platform.sgx_quote(bytes(64), now=NOW, mrenclave=bytes(32)),
    ]


SLOW = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)


@SLOW
@given(data=st.data())
def test_quote_parser_raises_only_our_errors(genuine_quotes: list[bytes], data: st.DataObject) -> None:
    quote = bytearray(data.draw(st.sampled_from(genuine_quotes)))
    start = data.draw(st.integers(0, len(quote)))
    piece = data.draw(st.binary(max_size=64))
    quote[start : start + data.draw(st.integers(0, 64))] = piece
    with contextlib.suppress(VerificationError):
        parse_quote(bytes(quote))


@given(st.binary(max_size=2000))
def test_quote_parser_on_noise(data: bytes) -> None:
    with pytest.raises(VerificationError):
        parse_quote(data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=20,
)


@given(value=JSON)
def test_document_parsers_on_any_json(value: object) -> None:
    for parse in (parse_tcb_info, parse_qe_identity, Collateral.from_json):
        with pytest.raises(FormatError):
            parse(json.dumps(value))


@SLOW
@given(data=st.data())
def test_document_parsers_on_almost_right_json(vendor_folder: Path, data: st.DataObject) -> None:
    members = json.loads((vendor_folder / "collateral.json").read_text())
    name = data.draw(st.sampled_from(["tcb_info", "qe_identity"]))
    document = json.loads(members[name])
    target = document
    for _ in range(data.draw(st.integers(0, 4))):
        keys = list(target) if isinstance(target, dict) else list(range(len(target)))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(target[key], dict | list) or not target[key]:
            break
        target = target[key]
    keys = list(target) if isinstance(target, dict) else list(range(len(target)))
    target[data.draw(st.sampled_from(keys))] = data.draw(JSON)
    with contextlib.suppress(FormatError):
        {"tcb_info": parse_tcb_info, "qe_identity": parse_qe_identity}[name](json.dumps(document))


@given(st.text(max_size=300))
def test_json_parsers_on_text(text: str) -> None:
    for parse in (parse_tcb_info, parse_qe_identity, Collateral.from_json):
        with pytest.raises(FormatError):
            parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"a":' * 100_000,
        '{"a":1,"a":1}',
        '{"a":NaN}',
        '{"a":' + "9" * 5000 + "}",
        "\ud800",
        "",
    ],
)
def test_json_traps(text: str) -> None:
    for parse in (parse_tcb_info, parse_qe_identity, Collateral.from_json):
        with pytest.raises(FormatError):
            parse(text)


@given(st.binary(max_size=400))
def test_sgx_extension_parser_on_noise(data: bytes) -> None:
    with pytest.raises(FormatError):
        parse_pck_extension(data)


@given(at=st.integers(0, 10_000), value=st.integers(0, 255), cut=st.booleans())
def test_sgx_extension_parser_on_changes(at: int, value: int, cut: bool) -> None:
    from lanthorn.attestation.simulator.certificates import sgx_extension

    der = bytearray(sgx_extension(tuple(range(16))))
    at %= len(der)
    if cut:
        del der[at:]
    else:
        der[at] = value
    with contextlib.suppress(FormatError):
        parse_pck_extension(bytes(der))


@given(body=st.binary(max_size=300), count=st.integers(1, 3))
def test_pem_parser_on_noise(body: bytes, count: int) -> None:
    pem = b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(body) + b"-----END CERTIFICATE-----\n"
    for data in (body, pem * count):
        with pytest.raises(FormatError):
            load_pem_chain(data, count=count)


@given(st.one_of(st.binary(max_size=200), JSON.map(lambda value: json.dumps(value).encode())))
def test_platform_state_parser(data: bytes) -> None:
    with pytest.raises(Error):
        parse_state(data)


COLLATERAL_MUTATIONS = [
    (lambda members: members.pop("pck_crl"), "missing field 'pck_crl'"),
    (lambda members: members.update(extra=""), "unknown field 'extra'"),
    (lambda members: members.update(pck_crl=None), "expected text"),
    (lambda members: members.update(pck_crl="0"), "expected hex"),
    (lambda members: members.update(pck_crl="0g"), "expected hex"),
    (lambda members: members.update(pck_crl=" 00"), "expected hex"),
    (lambda members: members.update(tcb_info_signature="00" * 63), "expected 64 bytes, got 63"),
    (lambda members: members.update(qe_identity_signature="00" * 65), "expected 64 bytes, got 65"),
    (lambda members: members.update(tcb_info_issuer_chain="é"), "expected ASCII"),
    (lambda members: members.update(tcb_info="x" * (4 * 1024 * 1024 + 1)), "at most"),
]


@pytest.mark.parametrize(("change", "words"), COLLATERAL_MUTATIONS)
def test_collateral_container(bench: Bench, change, words: str) -> None:
    members = json.loads(bench.collateral_text())
    change(members)
    with pytest.raises(FormatError, match=words):
        Collateral.from_json(json.dumps(members))


def test_collateral_round_trip(bench: Bench) -> None:
    collateral = bench.collateral()
    assert Collateral.from_json(collateral.to_json()) == collateral
