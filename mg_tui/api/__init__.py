"""The REST API: a front end beside the command line and the dashboard, over the same run folders.

`app` puts the application together, `access` says which scope each route needs, `garden` is what routes share. One
module per resource: `jobs` with `job_creation`, `job_actions` and `job_events`; `evaluations`, `datasets`, `models` and
`machine`. `openai_files` and `openai_jobs` are OpenAI's fine-tuning API over the same, and `pages` is what a browser
sees. The server has no state of its own but idempotency keys (`idempotency`), uploaded files and tokens.
"""
