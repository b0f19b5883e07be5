"""Finds credentials in files that are about to be pushed, by file name and by content.

Forms of tokens are those their issuers document, e.g. https://docs.github.com/code-security/secret-scanning.
"""

import fnmatch
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

# Files that programs keep credentials in.
_SECRET_NAMES: Final = (
    ".env", ".env.*", "*.env", ".netrc", "_netrc", ".git-credentials", ".pypirc", ".npmrc", "id_rsa*", "id_dsa*",
    "id_ecdsa*", "id_ed25519*", "*.pem", "*.key", "*.p12", "*.pfx", "*.kdbx", "*.keystore", "credentials",
    "credentials.*", "secrets.*", "token", "token.txt", "*_token", "*_token.txt",
)  # fmt: skip

# Kind, words of which a text with one has at least one (they are found much faster), and the form.
_SECRET_TEXTS: Final = tuple(
    (kind, words.split(), re.compile(pattern))
    for kind, words, pattern in (
        ("a Hugging Face token", "hf_ api_org_", r"\b(?:hf|api_org)_[A-Za-z0-9]{30,}\b"),
        ("a Weights & Biases key", "wandb WANDB", r"(?i)\bwandb[\w .\"'-]{0,24}[=: ]{1,3}[\"']?[0-9a-f]{40}\b"),
        ("a Weights & Biases key", "wandb_v1_", r"\bwandb_v1_\w{30,}\b"),
        ("a Weights & Biases key", "api.wandb.ai", r"(?i)api\.wandb\.ai\s+login\s+\S+\s+password\s+\S+"),
        ("an AWS access key", "AKIA ASIA", r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
        ("an AWS secret key", "aws AWS", r"(?i)aws_?secret_?access_?key[\"']?\s*[=:]\s*[\"']?[A-Za-z0-9/+=]{40}"),
        ("a private key", "PRIVATE", r"-----BEGIN (?:[A-Z]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----"),
        (
            "a GitHub token",
            "ghp_ gho_ ghu_ ghs_ ghr_ github_pat_",
            r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_\w{50,})\b",
        ),
        ("an OpenAI or Anthropic key", "sk-", r"\bsk-(?:proj-|ant-|svcacct-)?[A-Za-z0-9_-]{40,}"),
        ("a Google API key", "AIza", r"\bAIza[0-9A-Za-z_-]{35}\b"),
        ("a Slack token", "xoxa xoxb xoxp xoxr xoxs", r"\bxox[abprs]-[0-9A-Za-z-]{20,}"),
        ("a password in a URL", "://", r"://[^\s/:@\"']{1,64}:[^\s/:@\"']{3,64}@[\w.-]+"),
    )
)

# Variables whose values are credentials, whatever they look like.
_SECRET_VARIABLES: Final = re.compile(r"(?:^|_)(?:TOKEN|API_KEY|SECRET|SECRET_KEY|SECRET_ACCESS_KEY|PASSWORD)$")
_SHORTEST_VALUE: Final = 12  # characters; shorter values of variables occur by chance


class SecretFinding(NamedTuple):
    """A credential in a file: its kind, and the line (0: the name of the file says so)."""

    file: str
    kind: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}: {self.kind}" + (f" in line {self.line}" if self.line else "")


def has_secret_name(name: str) -> bool:
    """Whether programs keep credentials in files of this name."""
    return any(fnmatch.fnmatchcase(Path(name).name.lower(), pattern) for pattern in _SECRET_NAMES)


def find_secrets(file: str, text: str) -> Iterator[SecretFinding]:
    """Every credential in a text, in the order of their kinds; values of this environment's secrets included."""
    for kind, words, pattern in _SECRET_TEXTS:
        if not any(word in text for word in words):
            continue
        for match in pattern.finditer(text):
            yield SecretFinding(file, kind, _line(text, match.start()))
    for name, value in os.environ.items():
        if len(value) >= _SHORTEST_VALUE and _SECRET_VARIABLES.search(name) and (at := text.find(value)) >= 0:
            yield SecretFinding(file, f"the value of {name}", _line(text, at))


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1
