"""Which scope each route needs. A route that is not listed here cannot be reached."""

from typing import Final

from mg_tui.gate import SIGN_IN_PATH, AccessRule
from mg_tui.gate.rules import FORM_TYPE, PAGE_FORM_TYPE

NATIVE: Final = "/api/v1"
OPENAI: Final = "/v1"
MAX_UPLOAD: Final = 512 << 20  # bytes, as OpenAI's API takes
_UPLOAD_SECONDS: Final = 600.0

_JOBS: Final = f"{NATIVE}/training/jobs"
_JOB: Final = f"{_JOBS}/{{job_id}}"
_EVALUATIONS: Final = f"{NATIVE}/evaluations"
_EVALUATION: Final = f"{_EVALUATIONS}/{{evaluation_id}}"
_MODEL_JOBS: Final = f"{NATIVE}/models/jobs"
_MODEL_JOB: Final = f"{_MODEL_JOBS}/{{job_id}}"
_SERVERS: Final = f"{NATIVE}/models/servers"
_SERVER: Final = f"{_SERVERS}/{{server_id}}"
_TUNING: Final = f"{OPENAI}/fine_tuning/jobs"
_TUNING_JOB: Final = f"{_TUNING}/{{job_id}}"

_MAX_SIGN_IN: Final = 4 << 10  # bytes of the form

# What a browser may ask for: it shows, and changes nothing but the browser's session.
PAGE_RULES: Final = (
    AccessRule("GET", "/", "read", page=True),
    AccessRule("GET", "/live", "read", page=True, follower=True),
    AccessRule("GET", "/runs/{job_id}", "read", page=True),
    AccessRule("GET", "/runs/{job_id}/live", "read", page=True, follower=True),
    AccessRule("GET", SIGN_IN_PATH, "read", page=True, is_open=True),
    *(
        AccessRule("POST", path, "read", page=True, is_open=True, content_type=PAGE_FORM_TYPE, max_body=_MAX_SIGN_IN)
        for path in (SIGN_IN_PATH, "/logout")
    ),
)
API_RULES: Final = (
    AccessRule("GET", f"{NATIVE}/openapi.json", "read"),
    AccessRule("GET", f"{NATIVE}/health", "read"),
    AccessRule("GET", _JOBS, "read"),
    AccessRule("POST", _JOBS, "run"),
    AccessRule("GET", _JOB, "read"),
    AccessRule("DELETE", _JOB, "run"),
    *(
        AccessRule("POST", f"{_JOB}/{action}", "run")
        for action in ("stop", "checkpoint", "resume", "rerun", "hold", "release", "move", "annotate")
    ),
    AccessRule("DELETE", f"{_JOB}/checkpoints/{{step}}", "run"),
    AccessRule("GET", f"{NATIVE}/training/trash", "read"),
    AccessRule("POST", f"{NATIVE}/training/trash/{{job_id}}/restore", "run"),
    AccessRule("GET", f"{NATIVE}/training/changes", "read", follower=True),
    AccessRule("GET", f"{NATIVE}/training/files", "read"),
    AccessRule("GET", f"{_JOB}/events", "read", follower=True),
    *(AccessRule("GET", f"{_JOB}/{part}", "read") for part in ("logs", "metrics", "samples", "checkpoints")),
    AccessRule("GET", _EVALUATIONS, "read"),
    AccessRule("POST", _EVALUATIONS, "run"),
    AccessRule("GET", _EVALUATION, "read"),
    AccessRule("DELETE", _EVALUATION, "run"),
    AccessRule("GET", f"{_EVALUATION}/rows", "read"),
    AccessRule("GET", f"{_EVALUATION}/logs", "read"),
    AccessRule("POST", f"{_EVALUATION}/stop", "run"),
    AccessRule("POST", f"{_EVALUATION}/resume", "run"),
    AccessRule("GET", f"{NATIVE}/datasets", "read"),
    AccessRule("GET", f"{NATIVE}/datasets/rows", "read"),
    AccessRule("POST", f"{NATIVE}/datasets/check", "run"),
    AccessRule("POST", f"{NATIVE}/datasets/tokens", "run"),
    AccessRule("GET", f"{NATIVE}/models", "read"),
    *(AccessRule("POST", f"{NATIVE}/models/{verb}", "run") for verb in ("generate", "merge", "export", "serve")),
    AccessRule("GET", _MODEL_JOBS, "read"),
    AccessRule("GET", _MODEL_JOB, "read"),
    AccessRule("DELETE", _MODEL_JOB, "run"),
    AccessRule("POST", f"{_MODEL_JOB}/stop", "run"),
    AccessRule("GET", _SERVERS, "read"),
    AccessRule("GET", _SERVER, "read"),
    AccessRule("GET", f"{_SERVER}/logs", "read"),
    AccessRule("DELETE", _SERVER, "run"),
    AccessRule("POST", f"{_SERVER}/stop", "run"),
    AccessRule("GET", f"{NATIVE}/devices", "read"),
    AccessRule("GET", f"{NATIVE}/devices/sample", "read"),
    AccessRule("POST", f"{NATIVE}/estimate", "read"),
    AccessRule("GET", f"{NATIVE}/plugins", "read"),
    AccessRule("GET", f"{NATIVE}/settings", "read"),
    AccessRule("GET", f"{OPENAI}/files", "read"),
    AccessRule(
        "POST",
        f"{OPENAI}/files",
        "run",
        content_type=FORM_TYPE,
        max_body=MAX_UPLOAD + (1 << 20),
        body_seconds=_UPLOAD_SECONDS,
    ),
    AccessRule("GET", f"{OPENAI}/files/{{file_id}}", "read"),
    AccessRule("DELETE", f"{OPENAI}/files/{{file_id}}", "run"),
    AccessRule("GET", f"{OPENAI}/files/{{file_id}}/content", "read"),
    AccessRule("GET", _TUNING, "read"),
    AccessRule("POST", _TUNING, "run"),
    AccessRule("GET", _TUNING_JOB, "read"),
    AccessRule("GET", f"{_TUNING_JOB}/events", "read"),
    AccessRule("GET", f"{_TUNING_JOB}/checkpoints", "read"),
    *(AccessRule("POST", f"{_TUNING_JOB}/{action}", "run") for action in ("cancel", "pause", "resume")),
)
RULES: Final = (*API_RULES, *PAGE_RULES)
