"""A vendor that misbehaves: documents, certificates and quotes changed and then signed with the real keys."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from lanthorn.attestation.evidence import Evidence
from lanthorn.attestation.simulator import certificates, quotes, vendor
from lanthorn.attestation.simulator.keys import VendorKeys, sign_raw
from lanthorn.attestation.simulator.platform import BOOT_RTMRS, MRTD
from lanthorn.attestation.verifier.collateral import Collateral

from .conftest import NOW, REPORT_DATA, Bench

Change = Callable[[dict[str, Any]], object]


class Forge:
    def __init__(self, bench: Bench) -> None:
        folder = bench.platform.folder
        self.bench = bench
        self.keys = VendorKeys.load(folder / "keys.json")
        self.issued = vendor.VendorCertificates.from_pem((folder / "vendor.pem").read_bytes())
        self.settings = bench.platform.state().settings

    def document(
        self,
        name: str,
        change: Change,
        *,
        tee: str = "tdx",
        key: ec.EllipticCurvePrivateKey | None = None,
        chain: bytes | None = None,
    ) -> Collateral:
        """Collateral whose `tcb_info` or `qe_identity` was changed and signed again."""
        collateral = self.bench.collateral(tee)
        document = json.loads(getattr(collateral, name))
        change(document)
        text = json.dumps(document, separators=(",", ":"))
        signature = sign_raw(key or self.keys.private("tcb_signing"), text.encode())
        replaced: dict[str, Any] = {name: text, f"{name}_signature": signature}
        if chain is not None:
            replaced[f"{name}_issuer_chain"] = chain
        return dataclasses.replace(collateral, **replaced)

    def certificate(
        self, name: str, key: str = "tcb_signing", issuer: str = "root", **options: Any
    ) -> x509.Certificate:
        """A certificate with any name and extensions, signed by the vendor's root or CA."""
        names = {"root": certificates.ROOT_NAME, "ca": certificates.CA_NAME}
        return certificates._issue(
            name,
            self.keys.private(key).public_key(),
            names[issuer],
            self.keys.private(issuer),
            NOW,
            **options,
        )

    def crl(self, issuer: str, revoked: list[x509.Certificate], *, key: str | None = None) -> bytes:
        start, end = vendor.collateral_window(self.settings, NOW)
        certificate = getattr(self.issued, issuer)
        return certificates.issue_crl(certificate, self.keys.private(key or issuer), revoked, start, end)

    def signer(self, **replaced: Any) -> quotes.Signer:
        signer = quotes.Signer(self.keys, self.issued.pck_chain, self.settings)
        return dataclasses.replace(signer, **replaced)

    def td_quote(
        self, change: Callable[[bytearray], object] = lambda body: None, **replaced: Any
    ) -> Evidence:
        """A TDX quote whose body was changed before it was signed."""
        body = bytearray(quotes.td_body(self.settings, MRTD, (*BOOT_RTMRS, bytes(48)), REPORT_DATA))
        change(body)
        return Evidence("tdx", self.signer(**replaced).quote("tdx", bytes(body)))

    def enclave_quote(self, change: Callable[[bytearray], object]) -> Evidence:
        body = bytearray(quotes.application_body(self.settings, bytes(32), bytes(32), REPORT_DATA))
        change(body)
        return Evidence("sgx", self.signer().quote("sgx", bytes(body)))
