"""A broker's life: init, allow, revoke, serve, log, from the command line, with the server beside it."""

from __future__ import annotations

import json
import re
import signal
import socket
import sqlite3
import ssl
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from lanthorn.attestation.attester.simulated import SimulatedTDX
from lanthorn.errors import BrokerError, BrokerUnreachableError, KeyReleaseDeniedError
from lanthorn.release.client import ReleaseClient
from lanthorn.release.endpoint import BrokerEndpoint
from tests.unit.broker.lab import Lab, endpoint

SECRETS = ("both", "log", "model", "result")


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    made = Lab(tmp_path)
    made.set_up()
    return made


def _database(lab: Lab) -> sqlite3.Connection:
    return sqlite3.connect(lab.home.database_file)


def test_init_prints_what_lanthorn_toml_needs(tmp_path: Path) -> None:
    made = Lab(tmp_path)
    done = made.run("broker", "init", "--address", "[::1]:9443")
    assert re.fullmatch(
        r'\[brokers\.home\]\nurl = "https://\[::1\]:9443"\nspki = \["sha256:[0-9a-f]{64}"\]\n', done.stdout
    )
    assert made.home.pin() in done.stdout
    assert done.stderr == ""


def test_init_warns_when_simulation_is_allowed(tmp_path: Path) -> None:
    done = Lab(tmp_path).run("broker", "init", "--insecure-allow-simulated")
    assert "insecure_allow_simulated" in done.stderr


def test_init_never_replaces_a_broker(lab: Lab) -> None:
    before = lab.home.master_file.read_bytes()
    done = lab.run("broker", "init", code=3)
    assert "there is a broker" in done.stderr
    assert lab.home.master_file.read_bytes() == before


@pytest.mark.parametrize("address", ["localhost", "h:99999", "h:-1", ":1", "h:1:2", "https://h:1"])
def test_init_refuses_what_is_no_address(tmp_path: Path, address: str) -> None:
    assert "not an address" in Lab(tmp_path).run("broker", "init", "--address", address, code=2).stderr


def test_commands_without_a_broker_say_so(tmp_path: Path) -> None:
    for command in (["serve"], ["log"], ["revoke", "--key", "model"]):
        assert "lanthorn broker init" in Lab(tmp_path).run("broker", *command, code=3).stderr


def test_every_file_is_for_its_owner_alone(lab: Lab) -> None:
    lab.run("broker", "allow", str(lab.lock()))
    with lab.serving():
        assert stat.S_IMODE(lab.home.folder.stat().st_mode) == 0o700
        for file in lab.home.folder.iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


@pytest.mark.parametrize("name", ["master.key", "identity.pem", "token.pem", "broker.toml"])
def test_a_secret_that_others_may_read_is_refused(lab: Lab, name: str) -> None:
    (lab.home.folder / name).chmod(0o640)
    done = lab.run("broker", "serve", "--address", "127.0.0.1:0", code=3)
    assert f"{name} is open to others: expected mode 0600, got 0640" in done.stderr


def test_no_key_is_anywhere_in_clear(lab: Lab) -> None:
    lab.run("broker", "allow", str(lab.lock()))
    with lab.serving() as served, lab.client(served) as client:
        client.attest()
        released = [client.fetch_key("model"), client.fetch_run_key("result")]
    keys = [lab.keyring.load(name) for name in SECRETS] + released
    written = [file for file in lab.home.folder.iterdir() if file.name != "master.key"]
    written.append(lab.folder / "server.log")
    assert len(written) >= 5
    for file in written:
        data = file.read_bytes().lower()
        for key in keys:
            assert key.raw not in file.read_bytes(), file
            assert key.raw.hex().encode() not in data, file


def test_allow_reports_and_is_logged(lab: Lab) -> None:
    digest = lab.loaded().digest.hex()
    done = lab.run("broker", "allow", str(lab.lock()))
    assert done.stdout.splitlines()[0] == f"allowed key both for lock {digest} under policy 1"
    assert "insecure_allow_simulated" in done.stderr
    events = [(row["event"], row["key"]) for row in lab.log()]
    assert events[0] == ("initialised", "")
    assert events[1:5] == [("key-imported", name) for name in SECRETS]
    assert events[5:] == [("granted", name) for name in SECRETS]


def test_a_job_that_is_not_allowed_gets_nothing(lab: Lab) -> None:
    with (
        lab.serving() as served,
        lab.client(served) as client,
        pytest.raises(KeyReleaseDeniedError, match=r"refused the attestation: no-policy") as caught,
    ):
        client.attest()
    assert caught.value.exit_code == 41
    assert "lanthorn broker allow" in str(caught.value.hint)


def test_allow_and_revoke_take_effect_while_the_broker_serves(lab: Lab) -> None:
    with lab.serving() as served:
        lab.run("broker", "allow", str(lab.lock()))
        with lab.client(served) as client:
            client.attest()
            assert client.fetch_key("model")
            lab.run("broker", "revoke", "--key", "model")
            with pytest.raises(KeyReleaseDeniedError, match="refused the key model: key-not-granted"):
                client.fetch_key("model")
            assert client.fetch_run_key("result")
            revoked = lab.run("broker", "revoke", str(lab.lock()))
            assert "revoked key result" in revoked.stdout
            with pytest.raises(KeyReleaseDeniedError, match="key-not-granted"):
                client.fetch_run_key("result")
        with lab.client(served) as client, pytest.raises(KeyReleaseDeniedError, match="no-policy"):
            client.attest()
        lab.run("broker", "allow", str(lab.lock()))
        with lab.client(served) as client:
            client.attest()
            assert client.fetch_key("model")


def test_a_stricter_policy_replaces_the_earlier_one_at_once(lab: Lab) -> None:
    lab.run("broker", "allow", str(lab.lock()))
    with lab.serving() as served, lab.client(served) as client:
        client.attest()
        strict = lab.policy(extra="minimum_tcb_evaluation_data_number = 999999")
        lab.run("broker", "allow", str(lab.lock()), "--policy", str(strict))
        with pytest.raises(KeyReleaseDeniedError, match="evidence-refused"):
            client.fetch_key("model")
    failed = [check for check in lab.log()[-1]["detail"]["policies"][0]["checks"] if not check["ok"]]
    assert [check["name"] for check in failed] == ["tcb evaluation data number"]


def test_collateral_that_expires_counts_for_the_next_key(lab: Lab) -> None:
    lab.run("broker", "allow", str(lab.lock()))
    with lab.serving() as served, lab.client(served) as client:
        client.attest()
        assert client.fetch_key("model")
        (lab.simulator / "collateral.json").write_text("{}")
        with pytest.raises(KeyReleaseDeniedError, match="evidence-refused"):
            client.fetch_key("model")


def test_one_lock_gets_no_key_of_another(lab: Lab) -> None:
    lab.run("broker", "allow", str(lab.lock()))
    lab.run("broker", "allow", str(lab.lock("other")))
    lab.run("broker", "revoke", str(lab.lock("other")))
    lab.run("broker", "allow", str(lab.lock("third")))
    with lab.serving() as served:
        with lab.client(served, "other") as client, pytest.raises(KeyReleaseDeniedError):
            client.attest()
        with lab.client(served, "third") as client:
            client.attest()
            assert client.fetch_key("model")
            lab.run("broker", "revoke", lab.loaded("third").digest.hex())
            with pytest.raises(KeyReleaseDeniedError):
                client.fetch_key("model")


def test_a_broker_made_without_the_switch_releases_nothing_to_simulations(tmp_path: Path) -> None:
    made = Lab(tmp_path)
    made.set_up(simulated=False)
    assert "--policy is needed" in made.run("broker", "allow", str(made.lock()), code=2).stderr
    refused = made.run("broker", "allow", str(made.lock()), "--policy", str(made.policy()), code=2)
    assert "admits simulated evidence" in refused.stderr
    assert [row["event"] for row in made.log()] == ["initialised"]


def test_the_switch_counts_even_if_the_database_says_otherwise(lab: Lab) -> None:
    lab.run("broker", "allow", str(lab.lock()))
    settings = lab.home.settings_file.read_text()
    lab.home.settings_file.write_text(settings.replace("simulated = true", "simulated = false"))
    with (
        lab.serving() as served,
        lab.client(served) as client,
        pytest.raises(KeyReleaseDeniedError, match="simulated-refused"),
    ):
        client.attest()


def test_allow_refuses_what_could_never_work(lab: Lab) -> None:
    other = lab.policy(name="another")
    assert (
        "no rule names lock"
        in lab.run("broker", "allow", str(lab.lock()), "--policy", str(other), code=2).stderr
    )
    stranger = lab.folder / "stranger.key"
    stranger.write_bytes(bytes(16))
    stranger.chmod(0o600)
    arguments = ("broker", "allow", str(lab.lock()), "--key")
    assert "assigns no key nobody" in lab.run(*arguments, f"nobody={stranger}", code=2).stderr
    assert "expected NAME=FILE" in lab.run(*arguments, "model", code=2).stderr
    lab.run("broker", "allow", str(lab.lock()))
    changed = lab.run(*arguments, f"model={stranger}", code=2)
    assert "the broker's key model has key id" in changed.stderr
    stranger.write_bytes(bytes(15))
    assert "expected 16 bytes, got 15" in lab.run(*arguments, f"model={stranger}", code=10).stderr
    assert "revoked" not in {row["event"] for row in lab.log()}


def test_a_lock_of_another_broker_is_refused(lab: Lab) -> None:
    text = lab.lock().read_text().replace(lab.home.pin(), "sha256:" + "0" * 64)
    foreign = lab.folder / "foreign.lock"
    foreign.write_text(text)
    assert "assigns no key to this broker" in lab.run("broker", "allow", str(foreign), code=2).stderr


def test_a_missing_key_is_named_and_left_out(lab: Lab) -> None:
    (lab.keyring.folder / "model.key").unlink()
    done = lab.run("broker", "allow", str(lab.lock()), "--json")
    assert "key model is nowhere to be found" in done.stderr
    assert [grant["key"] for grant in json.loads(done.stdout)] == ["both", "log", "result"]
    with lab.serving() as served, lab.client(served) as client:
        client.attest()
        with pytest.raises(KeyReleaseDeniedError, match="key-not-granted"):
            client.fetch_key("model")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "expected a lock or --key NAME"),
        (["--key", "model"], "nothing is granted of key model"),
        (["ab" * 32], "nothing is granted to lock"),
    ],
)
def test_revoking_nothing_is_an_error(lab: Lab, arguments: list[str], words: str) -> None:
    assert words in lab.run("broker", "revoke", *arguments, code=2).stderr


def test_revoking_what_does_not_exist_is_an_error(lab: Lab) -> None:
    assert "neither a lock file nor" in lab.run("broker", "revoke", "nowhere.lock", code=3).stderr


def test_the_log_and_the_marks_are_append_only(lab: Lab) -> None:
    lab.run("broker", "allow", str(lab.lock()))
    with lab.serving() as served, lab.client(served) as client:
        client.attest()
        client.fetch_key("model")
    with closing(_database(lab)) as connection:
        connection.execute("PRAGMA recursive_triggers = ON")
        for statement in (
            "UPDATE log SET code = 'x' WHERE sequence = 1",
            "DELETE FROM log WHERE sequence = 1",
            "DELETE FROM log",
            "INSERT OR REPLACE INTO log SELECT * FROM log WHERE sequence = 1",
            "UPDATE simulated_releases SET key_id = 'x'",
            "DELETE FROM simulated_releases",
        ):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                connection.execute(statement)


def test_the_chain_holds_and_its_head_moves(lab: Lab) -> None:
    first = json.loads(lab.run("broker", "log", "--verify", "--json").stdout)
    lab.run("broker", "allow", str(lab.lock()))
    second = json.loads(lab.run("broker", "log", "--verify", "--json").stdout)
    assert first["rows"] == 1 and second["rows"] == 9
    assert first["head"] != second["head"]
    assert re.fullmatch(r"9 rows, head [0-9a-f]{64}\n", lab.run("broker", "log", "--verify").stdout)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        ("UPDATE log SET key = 'photo' WHERE key = 'model'", "row 4 was changed"),
        ("UPDATE log SET detail = '{}' WHERE sequence = 1", "row 1 was changed"),
        ("DELETE FROM log WHERE sequence = 3", "expected row 3, got row 4"),
        ("UPDATE log SET previous = digest WHERE sequence = 2", "row 2 does not follow"),
        ("UPDATE log SET time = '2020-01-01T00:00:00.000+00:00' WHERE sequence = 9", "row 9 was changed"),
    ],
)
def test_an_edited_log_is_found_out(lab: Lab, edit: str, words: str) -> None:
    lab.run("broker", "allow", str(lab.lock()))
    with closing(_database(lab)) as connection:
        connection.execute("DROP TRIGGER log_no_update")
        connection.execute("DROP TRIGGER log_no_delete")
        connection.execute(edit)
        connection.commit()
    assert words in lab.run("broker", "log", "--verify", code=11).stderr


def test_a_release_is_in_the_log_before_the_key_is_out(lab: Lab) -> None:
    lab.run("broker", "allow", str(lab.lock()))
    with lab.serving() as served, lab.client(served) as client:
        run_id = client.attest()
        client.fetch_key("model")
        served.process.send_signal(signal.SIGKILL)
        served.process.wait()
    rows = lab.log()
    assert [(row["event"], row["key"], row["run_id"]) for row in rows[-2:]] == [
        ("admitted", "", run_id),
        ("released", "model", run_id),
    ]
    assert rows[-1]["code"] == "key" and rows[-1]["lock"] == lab.loaded().digest.hex()
    lab.run("broker", "log", "--verify")


def test_the_log_reads_as_lines(lab: Lab) -> None:
    lab.run("broker", "allow", str(lab.lock()))
    lines = lab.run("broker", "log").stdout.splitlines()
    assert len(lines) == 9
    assert re.fullmatch(r"\S+ granted key=result lock=[0-9a-f]{64} policy=1", lines[-1])


def test_a_full_database_stops_releases_and_nothing_else(lab: Lab) -> None:
    """The log cannot be written: no key leaves, and the client is told to come back."""
    lab.run("broker", "allow", str(lab.lock()))
    with lab.serving() as served, lab.client(served) as client:
        client.attest()
        with closing(_database(lab)) as connection:
            connection.execute(
                "CREATE TRIGGER full BEFORE INSERT ON log BEGIN SELECT RAISE(ABORT, 'full'); END"
            )
            connection.commit()
        with pytest.raises(BrokerUnreachableError, match="cannot serve the key model now: busy"):
            client.fetch_key("model")
        with closing(_database(lab)) as connection:
            connection.execute("DROP TRIGGER full")
            connection.commit()
        assert client.fetch_key("model")


def test_sigterm_ends_the_server_in_good_order(lab: Lab) -> None:
    with lab.serving() as served:
        assert served.stop() == 0
    assert "Traceback" not in lab.server_log()


def test_the_server_is_ready_soon(lab: Lab) -> None:
    start = time.monotonic()
    with lab.serving():
        elapsed = time.monotonic() - start
    assert elapsed < 5, "the goal is 2 s on an idle machine"


def test_an_address_in_use_is_one_clear_line(lab: Lab) -> None:
    with lab.serving() as served:
        where = served.url.removeprefix("https://")
        done = lab.run("broker", "serve", "--address", where, code=3)
    assert done.stderr.endswith(f"lanthorn: error: cannot listen on {where}: address already in use\n")


def test_only_tls_1_3_is_spoken(lab: Lab) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with lab.serving() as served:
        host, _, port = served.url.removeprefix("https://").partition(":")
        with socket.create_connection((host, int(port))) as plain, pytest.raises(ssl.SSLError):
            context.wrap_socket(plain)


def test_another_certificate_is_refused_before_anything_is_sent(lab: Lab) -> None:
    lab.run("broker", "allow", str(lab.lock()))
    wrong = "sha256:" + "0" * 64
    with lab.serving() as served:
        client = ReleaseClient(endpoint(served, wrong), lab.attester())
        with pytest.raises(BrokerError, match=f"expected {wrong}, got {served.pin}") as caught:
            client.attest()
    assert type(caught.value) is BrokerError and caught.value.exit_code == 40
    assert lab.log()[-1]["event"] == "granted"


def test_the_next_pin_is_as_good_as_the_current_one(lab: Lab) -> None:
    lab.run("broker", "allow", str(lab.lock()))
    with lab.serving() as served:
        both = BrokerEndpoint("home", served.url, ("sha256:" + "0" * 64, served.pin))
        with ReleaseClient(both, lab.attester()) as client:
            assert client.attest()


def test_a_restart_forgets_sessions_and_the_client_is_told(lab: Lab) -> None:
    lab.run("broker", "allow", str(lab.lock()))
    attester = lab.attester()
    with lab.serving() as served:
        port = served.url.rpartition(":")[2]
        client = ReleaseClient(endpoint(served), attester)
        client.attest()
    with pytest.raises(BrokerUnreachableError) as caught:
        client.fetch_key("model")
    assert caught.value.exit_code == 75
    assert port in caught.value.message
    client.close()


@contextmanager
def _peer(talk: Callable[[socket.socket], None]) -> Iterator[BrokerEndpoint]:
    """Run a server on the loopback that answers every connection with `talk`."""
    listener = socket.create_server(("127.0.0.1", 0))

    def loop() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                talk(connection)

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield BrokerEndpoint(
            "home", f"https://127.0.0.1:{listener.getsockname()[1]}", ("sha256:" + "0" * 64,)
        )
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def test_nobody_listening_is_retryable(lab: Lab) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    nobody = BrokerEndpoint("home", f"https://127.0.0.1:{port}", ("sha256:" + "0" * 64,))
    with pytest.raises(BrokerUnreachableError, match="connection refused") as caught:
        ReleaseClient(nobody, SimulatedTDX(lab.simulator)).attest()
    assert caught.value.exit_code == 75


def test_a_name_that_does_not_resolve_is_retryable(lab: Lab) -> None:
    nowhere = BrokerEndpoint("home", "https://broker.invalid:1", ("sha256:" + "0" * 64,))
    with pytest.raises(BrokerUnreachableError, match="unreachable"):
        ReleaseClient(nowhere, SimulatedTDX(lab.simulator)).attest()


def test_a_silent_peer_times_out(lab: Lab) -> None:
    with _peer(lambda connection: connection.settimeout(1) or time.sleep(0.5)) as silent:
        client = ReleaseClient(silent, SimulatedTDX(lab.simulator), timeout=0.2)
        with pytest.raises(BrokerUnreachableError):
            client.attest()


def test_a_peer_that_hangs_up_is_retryable(lab: Lab) -> None:
    with _peer(lambda connection: None) as rude, pytest.raises(BrokerUnreachableError):
        ReleaseClient(rude, SimulatedTDX(lab.simulator)).attest()


def test_a_peer_without_tls_is_a_protocol_error(lab: Lab) -> None:
    with (
        _peer(lambda connection: connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")) as plain,
        pytest.raises(BrokerError, match="does not speak TLS") as caught,
    ):
        ReleaseClient(plain, SimulatedTDX(lab.simulator)).attest()
    assert type(caught.value) is BrokerError
