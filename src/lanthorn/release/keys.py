"""All the keys of one locked job, from every broker that its lock names: admitted by all before asked for any."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from lanthorn.attestation.attester.base import Attester
from lanthorn.errors import ManifestError
from lanthorn.job.lock import Lock
from lanthorn.keys import WrapKey
from lanthorn.release.client import ReleaseClient
from lanthorn.release.endpoint import BrokerEndpoint


@dataclass(frozen=True)
class Release:
    """The keys of one run, by key name, and each broker's run id."""

    read: dict[str, WrapKey] = field(default_factory=dict)
    write: dict[str, WrapKey] = field(default_factory=dict)
    run_ids: dict[str, str] = field(default_factory=dict)


def release_keys(lock: Lock, attester: Attester, urls: Mapping[str, str]) -> Release:
    """Attest to each broker of the lock with a fresh key pair, then fetch what the lock uses.

    `urls` overrides where brokers are reached; who they are is pinned in the lock. Raises what
    `lanthorn.release.client.ReleaseClient` raises.
    """
    release = Release()
    with contextlib.ExitStack() as stack:
        clients = {}
        for name in sorted(set(lock.keys.values())):
            client = stack.enter_context(ReleaseClient(_endpoint(lock, name, urls), attester))
            release.run_ids[name] = client.attest()
            clients[name] = client
        for key, broker in sorted(lock.keys.items()):
            uses = lock.access_of(key)
            if "read" in uses:
                release.read[key] = clients[broker].fetch_key(key)
            if "write" in uses:
                release.write[key] = clients[broker].fetch_run_key(key)
    return release


def _endpoint(lock: Lock, name: str, urls: Mapping[str, str]) -> BrokerEndpoint:
    broker = lock.brokers[name]
    url = urls.get(name) or broker.url
    if url is None:
        raise ManifestError(f"the lock does not say where broker {name} is", hint=f"use --broker {name}=URL")
    return BrokerEndpoint(name, url, broker.spki)
