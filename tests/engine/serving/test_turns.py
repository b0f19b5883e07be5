"""Which requests wait for which, and what a failed one is told."""

import asyncio
import threading
import time
from typing import Any

import pytest

from mg_tui.core.errors import RunFailed
from mg_tui.engine.serving.client_watch import ClientWatch
from mg_tui.engine.serving.image_store import ImageTurns


def test_slow_addresses_hold_up_no_image_that_was_sent_along():
    arrived = threading.Event()

    class Images:
        def add(self, url: str) -> str:
            if url.startswith("http"):
                arrived.wait(60)
            return url

    async def go() -> str:
        turns, images = ImageTurns(), Images()
        slow = [asyncio.ensure_future(turns.add(images, f"http://slow.example/{n}")) for n in range(40)]  # type: ignore[arg-type]
        await asyncio.sleep(0.1)
        try:
            async with asyncio.timeout(10):
                found = await turns.add(images, "data:image/png;base64,x")  # type: ignore[arg-type]
                await asyncio.to_thread(time.sleep, 0)  # nor do they take the loop's own threads
        finally:
            arrived.set()
        await asyncio.gather(*slow)
        return found

    assert asyncio.run(go()).startswith("data:")


@pytest.mark.parametrize("leaves", [False, True])
def test_nothing_is_fetched_for_a_request_whose_time_or_client_is_gone(leaves: bool):
    async def go() -> None:
        async def receive() -> Any:
            if not leaves:
                await asyncio.sleep(60)
            return {"type": "http.disconnect"}

        watch = ClientWatch(receive, time.monotonic() + (60 if leaves else 0.05))
        watch.require()
        await asyncio.sleep(0.1)
        with pytest.raises(TimeoutError):
            watch.require()
        watch.close()

    asyncio.run(go())


def test_why_an_engine_failed_is_for_the_log(caplog: pytest.LogCaptureFixture):
    from mg_tui.engine.serving.app import _to_bad_request

    error = RunFailed("the engine did not answer", why="exit code 7; it said: /home/somebody/secret at 0x7f00")
    bad = _to_bad_request(error)
    assert bad.status == 500 and bad.body["error"]["message"] == "The engine did not answer."
    assert "somebody" in caplog.text
