"""A W&B server that takes a run in and then fails: what no real one would do on request."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

HANG_SECONDS = 1000


class WandbServer(ThreadingHTTPServer):
    """Answers until it is told to fail by `failing`: 'hang' or 'error'."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.failing: str | None = None
        self.requests: list[tuple[str, bytes]] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def environment(self) -> dict[str, str]:
        """What points W&B to this server."""
        return {"WANDB_MODE": "online", "WANDB_BASE_URL": self.address, "WANDB_API_KEY": "0123456789" * 4}


class _Handler(BaseHTTPRequestHandler):
    server: WandbServer

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        self.server.requests.append((self.path, body))
        if self.server.failing == "hang":
            time.sleep(HANG_SECONDS)
        if self.server.failing is not None:
            self.send_error(500)
            return
        content = json.dumps(_reply(self.server.address, self.path, body)).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_HEAD = answer  # noqa: N815 - the names that http.server looks for

    def log_message(self, format: str, *args: Any) -> None:
        pass


def _reply(address: str, path: str, body: bytes) -> dict[str, Any]:
    if path != "/graphql":
        return {}
    request = json.loads(body)
    query, variables = request["query"], request["variables"]
    if "CreateRunFiles" in query:
        files = [{"name": name, "uploadUrl": f"{address}/upload/{name}"} for name in variables["files"]]
        return {"data": {"createRunFiles": {"runID": "x", "uploadHeaders": [], "files": files}}}
    if "UpsertBucket" in query:
        project = {"id": "p", "name": "p", "entity": {"id": "e", "name": "e"}}
        run = {"id": "x", "name": variables.get("name"), "displayName": "x", "description": None}
        run |= {"config": "{}", "sweepName": None, "project": project, "historyLineCount": 0}
        return {"data": {"upsertBucket": {"bucket": run, "inserted": True}}}
    return {"data": {}}


@contextmanager
def wandb_server() -> Iterator[WandbServer]:
    server = WandbServer()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
