"""A server as the one who answers: any that speaks OpenAI's chat completions, with images as data URIs.

Several requests are under way at once. One that fails for a reason that passes (busy, restarting, slow) is tried again
after a wait that doubles, or the one the server asks for. What does not pass ends the evaluation with an error that
says what the server said; answers that came are kept, and the evaluation can be resumed.
"""

import asyncio
import os
import random
import time
from collections.abc import Container, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from mg_tui.core.errors import DataError, EnvironmentProblem
from mg_tui.core.evaluation_spec import EvaluationSpec
from mg_tui.core.example import Example, Message, TextPart
from mg_tui.core.text import one_line
from mg_tui.engine.evaluation.answerer import AnswerSampling, ModelAnswer, Poll, Take
from mg_tui.engine.evaluation.data_uri import image_data_uri
from mg_tui.engine.evaluation.protocol import (
    REFUSED_ROWS,
    RETRIED,
    BadAnswer,
    chat_url,
    is_loopback,
    models_url,
    parse_answer,
    retry_after,
    server_message,
)

if TYPE_CHECKING:
    import httpx

API_KEY_ENV: Final = "MODEL_GARDEN_API_KEY"
_MAX_REFUSALS: Final = 5  # rows refused before any was answered: then it is not the rows
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 60.0  # seconds
_POLL_SECONDS: Final = 0.2


class Endpoint:
    """A server and a model of it; an `Answerer`."""

    def __init__(self, spec: EvaluationSpec, model: str):
        assert spec.endpoint is not None
        self.label = model
        self._spec = spec
        self.url = chat_url(spec.endpoint)
        self._refused: list[ModelAnswer] = []  # until the first answer shows that the server answers at all
        self._answered = False

    @property
    def identity(self) -> Mapping[str, Any]:
        """See `Answerer.identity`."""
        return {"model": self.label, "endpoint": self._spec.endpoint}

    def answer(self, examples: Sequence[Example], done: frozenset[int], take: Take, poll: Poll) -> None:
        """See `Answerer.answer`.

        Raises:
            EnvironmentProblem: the server cannot be reached, has no such model, refuses, or speaks another protocol.
        """
        todo = [example for example in examples if example.row not in done]
        self._answered = bool(done)
        asyncio.run(self._answer_all(todo, take, poll))
        if self._refused:
            raise self._refused_all()

    async def _answer_all(self, todo: Sequence[Example], take: Take, poll: Poll) -> None:
        async with self.client() as client:
            await self._require_model(client)
            waiting: asyncio.Queue[Example] = asyncio.Queue()
            for example in todo:
                waiting.put_nowait(example)
            workers = [
                asyncio.create_task(self._work(client, waiting, take))
                for _ in range(min(self._spec.concurrency, len(todo)))
            ]
            try:
                while workers:
                    poll()
                    ended, _going = await asyncio.wait(
                        workers, timeout=_POLL_SECONDS, return_when=asyncio.FIRST_COMPLETED
                    )
                    for worker in ended:
                        worker.result()
                        workers.remove(worker)
            finally:
                for worker in workers:
                    worker.cancel()
                await asyncio.gather(*workers, return_exceptions=True)

    def client(self) -> "httpx.AsyncClient":
        """A client for the server, with the key of the environment."""
        import httpx

        key = os.environ.get(API_KEY_ENV)
        limits = httpx.Limits(max_connections=self._spec.concurrency, max_keepalive_connections=self._spec.concurrency)
        return httpx.AsyncClient(
            timeout=httpx.Timeout(self._spec.timeout, connect=min(10.0, self._spec.timeout)),
            limits=limits,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            trust_env=not is_loopback(self.url),  # a proxy does not reach this machine
        )

    async def _require_model(self, client: "httpx.AsyncClient") -> None:
        """See that the server has the model, where it lists its models.

        Raises:
            EnvironmentProblem: it lists others only, or cannot be reached.
        """
        import httpx

        try:
            # Its list may fail where its answers do not, as of `transformers serve` without a cache: not tried again.
            get = partial(client.get, models_url(str(self._spec.endpoint)))
            response = await self._with_retries(get, retried=RETRIED - {500})
        except httpx.InvalidURL as error:
            raise EnvironmentProblem("the endpoint is not a URL", where=self._spec.endpoint, why=str(error)) from None
        if response.status_code in (401, 403):
            raise self._refusal(response)
        try:
            listed = [str(item["id"]) for item in response.json()["data"]]
        except (ValueError, KeyError, TypeError):
            return  # not every server lists its models
        if listed and self.label not in listed:
            raise EnvironmentProblem(
                f"the server has no model {one_line(self.label, limit=80)!r}",
                where=self._spec.endpoint,
                hint="it has " + ", ".join(one_line(name, limit=80) for name in listed[:8]),
            )

    async def _work(self, client: "httpx.AsyncClient", waiting: "asyncio.Queue[Example]", take: Take) -> None:
        while not waiting.empty():
            answer = await self._ask(client, waiting.get_nowait())
            if answer.error is None and not self._answered:
                self._answered = True
                for refused in self._refused:
                    take(refused)
                self._refused.clear()
            if answer.error is None or self._answered:
                take(answer)
                continue
            self._refused.append(answer)
            if len(self._refused) >= _MAX_REFUSALS:
                raise self._refused_all()

    def _refused_all(self) -> EnvironmentProblem:
        return EnvironmentProblem(
            f"the server refused every row so far ({len(self._refused)})",
            where=self._spec.endpoint,
            why=self._refused[-1].error,
            hint="resume when the server accepts them",
        )

    async def _ask(self, client: "httpx.AsyncClient", example: Example) -> ModelAnswer:
        try:
            body = await asyncio.to_thread(self.request_body, example)
        except DataError as error:
            return ModelAnswer(example, "", error=error.what)
        began = time.monotonic()
        for attempt in range(self._spec.retries + 1):
            began = time.monotonic()
            response = await self._with_retries(lambda: client.post(self.url, json=body))
            if response.status_code in REFUSED_ROWS:
                return ModelAnswer(example, "", error=f"the server refused it: {server_message(response)}")
            if response.status_code != 200:
                raise self._refusal(response)
            try:
                text, facts = parse_answer(response)
                break
            except BadAnswer as error:
                # A proxy that restarts answers with a page of its own for a moment.
                if attempt == min(self._spec.retries, 2):
                    raise EnvironmentProblem(
                        "the server's answer is not one of OpenAI's chat completions",
                        where=self.url,
                        why=str(error),
                        hint="give the URL of the API, such as http://localhost:8000/v1",
                    ) from None
                await asyncio.sleep(_FIRST_WAIT)
        seconds = round(time.monotonic() - began, 4)
        return ModelAnswer(example, text.strip(), timing={"seconds": seconds, **facts})

    async def _with_retries(self, send: Any, *, retried: Container[int] = RETRIED) -> "httpx.Response":
        """Send a request until it gets an answer that is worth reading: not one of the statuses `retried`.

        Raises:
            EnvironmentProblem: it got none within the number of attempts.
        """
        import httpx

        wait, why = _FIRST_WAIT, ""
        for attempt in range(self._spec.retries + 1):
            pause = None
            try:
                response: httpx.Response = await send()
                if response.status_code not in retried:
                    return response
                why = f"status {response.status_code}: {server_message(response)}"
                pause = retry_after(response)
            except (httpx.TransportError, httpx.DecodingError) as error:
                why = _network_reason(error, self._spec.timeout)
            if attempt < self._spec.retries:
                # Not all at the same moment: they would meet the same busy server again.
                await asyncio.sleep(min(pause, _LONGEST_WAIT) if pause is not None else wait * random.uniform(0.8, 1.2))
                wait = min(2 * wait, _LONGEST_WAIT)
        raise EnvironmentProblem(
            f"the server did not answer after {self._spec.retries + 1} attempts",
            where=self._spec.endpoint,
            why=why,
            hint="see that it runs, and resume: answers so far are kept",
        )

    def _refusal(self, response: "httpx.Response") -> EnvironmentProblem:
        what, hint = f"the server refused with status {response.status_code}", None
        if response.status_code in (401, 403):
            hint = f"set {API_KEY_ENV} to a key of the server"
        elif response.status_code == 404:
            what = f"the server has no model {one_line(self.label, limit=80)!r}, or no chat completions at this URL"
            hint = "give the name the server has it under, and the URL of its API, such as http://localhost:8000/v1"
        return EnvironmentProblem(what, where=self.url, why=server_message(response), hint=hint)

    def request_body(self, example: Example, **more: Any) -> dict[str, Any]:
        """The request for a row.

        Raises:
            DataError: an image cannot be read.
        """
        sampling = AnswerSampling.of(self._spec)
        body: dict[str, Any] = {
            "model": self.label,
            "messages": [_message(message) for message in example.prompt],
            "max_tokens": sampling.max_new_tokens,
            "temperature": sampling.temperature,
            **more,
        }
        if sampling.temperature > 0:
            body |= {"top_p": sampling.top_p, "seed": sampling.seed + example.row}
        return body


def _message(message: Message) -> dict[str, Any]:
    parts: list[dict[str, Any]] = [
        {"type": "text", "text": part.text}
        if isinstance(part, TextPart)
        else {"type": "image_url", "image_url": {"url": image_data_uri(part.image.path)}}
        for part in message.parts
    ]
    plain = all(part["type"] == "text" for part in parts)
    return {"role": message.role, "content": message.text if plain else parts}


def _network_reason(error: Exception, timeout: float) -> str:
    if "Timeout" in type(error).__name__:
        return f"no answer within {timeout:g} seconds"
    return one_line(str(error), limit=200) or type(error).__name__
