"""Tokens on disk, and the commands about them."""

import json
import stat
import subprocess
import sys

import pytest
from click.testing import CliRunner

from mg_tui.cli.tokens import tokens as tokens_command
from mg_tui.config import Settings
from mg_tui.core.errors import EnvironmentProblem, UsageError
from mg_tui.gate import TokenStore


def test_a_secret_is_not_kept(store) -> None:
    secret = store.create("laptop", "run")
    assert secret.startswith("mg_") and len(secret) > 40
    assert secret not in store.file.read_text() and secret[3:] not in store.file.read_text()
    assert stat.S_IMODE(store.file.stat().st_mode) == 0o600
    found = store.find(secret)
    assert found is not None and (found.name, found.scope) == ("laptop", "run")
    assert store.find(secret[:-1]) is None


def test_another_process_revokes_and_creates(store) -> None:
    secret = store.create("laptop", "run")
    assert store.find(secret) is not None
    TokenStore(store.home).revoke("laptop")
    assert store.find(secret) is None
    other = TokenStore(store.home).create("next", "read")
    assert store.find(other) is not None


def test_tokens_made_at_once_are_all_kept(store) -> None:
    script = (
        "import sys; from pathlib import Path; from mg_tui.gate import TokenStore\n"
        "store = TokenStore(Path(sys.argv[1]))\n"
        "for n in range(5): store.create(f'{sys.argv[2]}-{n}', 'read')\n"
    )
    processes = [subprocess.Popen([sys.executable, "-c", script, str(store.home), name]) for name in ("a", "b", "c")]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    assert len(store.tokens()) == 15


@pytest.mark.parametrize("name", ["", "a b", "../x", "-x", "x" * 65, "ä", "a\n"])
def test_a_name_is_a_plain_word(store, name) -> None:
    with pytest.raises(UsageError):
        store.create(name, "read")
    assert store.tokens() == ()


def test_a_name_is_taken_once(store) -> None:
    store.create("one", "read")
    with pytest.raises(UsageError, match="already"):
        store.create("one", "admin")


def test_tokens_that_others_can_change_are_not_read(store) -> None:
    store.create("one", "read")
    store.file.chmod(0o620)
    with pytest.raises(EnvironmentProblem, match="private"):
        TokenStore(store.home).tokens()


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"tokens": [{}]}', '{"tokens": [{"name": 1, "scope": "root"}]}', "\xff"]
)
def test_a_damaged_file_is_an_error_and_not_an_empty_one(store, text) -> None:
    store.create("one", "read")
    store.file.write_text(text)
    with pytest.raises(EnvironmentProblem, match="Cannot read the tokens"):
        store.tokens()


def test_the_first_token_is_made_once_and_in_a_private_file(store) -> None:
    file = store.make_first()
    assert file is not None and stat.S_IMODE(file.stat().st_mode) == 0o600
    found = store.find(file.read_text().strip())
    assert found is not None and found.scope == "admin"
    assert store.make_first() is None
    store.revoke("first")
    assert not file.exists()


def test_the_commands(tmp_path) -> None:
    settings = Settings(home=tmp_path, cache=tmp_path / "cache")
    runner = CliRunner()
    assert "No tokens yet" in runner.invoke(tokens_command, [], obj=settings).stderr
    made = runner.invoke(tokens_command, ["create", "laptop", "--scope", "read", "--expires", "30d"], obj=settings)
    secret = made.stdout.strip()
    assert TokenStore(tmp_path).find(secret) is not None
    assert secret not in made.stderr
    (record,) = json.loads(runner.invoke(tokens_command, ["list", "--json"], obj=settings).stdout)
    assert (record["name"], record["scope"], record["expired"]) == ("laptop", "read", False)
    assert record["expires_at"] - record["created_at"] == pytest.approx(30 * 86400)
    listed = runner.invoke(tokens_command, ["list"], obj=settings).stdout
    assert "laptop" in listed and secret not in listed
    assert runner.invoke(tokens_command, ["revoke", "laptop"], obj=settings).exit_code == 0
    assert TokenStore(tmp_path).find(secret) is None
    bad = runner.invoke(tokens_command, ["create", "x", "--expires", "soon"], obj=settings)
    assert isinstance(bad.exception, UsageError) and "30d" in str(bad.exception)
    missing = runner.invoke(tokens_command, ["revoke", "lapto"], obj=settings)
    assert isinstance(missing.exception, UsageError)
