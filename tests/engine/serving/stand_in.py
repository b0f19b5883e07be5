#!/usr/bin/env python
"""Stands in for `vllm` and `llama-server`: speaks the protocol, and records its command line and what it is asked.

STAND_IN_FOLDER is where it writes; STAND_IN_FAILS lets it end with last words.
"""

import json
import os
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

FOLDER = Path(os.environ["STAND_IN_FOLDER"])


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_arguments):
        pass

    def do_GET(self):
        self.send_response(200 if self.path == "/health" else 404)
        self.end_headers()

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with (FOLDER / "requests.jsonl").open("a") as file:
            file.write(json.dumps({"authorization": self.headers["Authorization"], "body": body}) + "\n")
        text = json.dumps(body["messages"][-1]["content"])
        if "refuse me" in text:
            self.send_response(400)
            self.end_headers()
            said = "the maximum context length is 9" if "maximum context length" in text else "too long for me"
            self.wfile.write(json.dumps({"error": {"message": said}}).encode())
            return
        if "end now" in text:
            sys.stderr.write("CUDA error: out of memory, they said\n")
            sys.stderr.flush()
            os._exit(7)
        self.send_response(200)
        self.end_headers()
        for piece in ("an ", "answer"):
            self._event({"choices": [{"delta": {"content": piece}, "finish_reason": None}]})
            if "slowly" in text:
                time.sleep(30)
        self._event({"choices": [{"delta": {}, "finish_reason": "stop"}]})
        self._event({"choices": [], "usage": {"prompt_tokens": 11, "completion_tokens": 2}})
        self.wfile.write(b"data: [DONE]\n\n")

    def _event(self, record):
        self.wfile.write(f"data: {json.dumps(record)}\n\n".encode())


def main():
    (FOLDER / "command.json").write_text(json.dumps(sys.argv))
    if os.environ.get("STAND_IN_FAILS"):
        sys.stderr.write("\x1b[31mValueError: Free memory on device is less than desired\x1b[0m\n")
        sys.exit(3)
    # A grandchild, as vLLM has workers.
    child = subprocess.Popen(["sleep", "600"])
    (FOLDER / "pids.json").write_text(json.dumps([os.getpid(), child.pid]))
    port = int(sys.argv[sys.argv.index("--port") + 1])
    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever).start()


if __name__ == "__main__":
    main()
