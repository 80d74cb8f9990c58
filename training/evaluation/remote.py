"""Answers of a running server, through the official `openai` client: any server of that API will do.

Media travel as they are, as base64 inside the request. How probable the reference answers are is asked of servers that
can tell, with vLLM's extensions `prompt_logprobs` and `continue_final_message`; of others perplexity stays unknown.
"""

import asyncio
import base64
import mimetypes
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from model.errors import DataError, QuartetError
from model.prompt import MEDIA_PARTS
from training.data import MediaRef, Sample
from training.evaluation.questions import Question, Reply, questions

if TYPE_CHECKING:
    from openai import AsyncOpenAI

RETRIES = 6
"""Of a request that failed for a reason that may pass; the client waits as Retry-After says, or ever longer."""
TIMEOUT = 600.0
"""Seconds for one answer, time in the server's queue included."""


class ServerError(QuartetError):
    """The server cannot be evaluated: it is not there, does not let us in, or fails again and again."""

    code = "server_failed"


class ServerBackend:
    """Answers of a server.

    Args:
        url: with its `/v1`.
        model: its id; the server's first by default.
        key: API key.
        max_tokens: longest answer.
        concurrency: requests at a time.

    Raises:
        ServerError: no such server, or it serves no model.
    """

    def __init__(
        self, url: str, *, model: str | None = None, key: str = "none", max_tokens: int, concurrency: int = 8
    ) -> None:
        self.url, self.key, self.max_tokens, self.concurrency = url, key, max_tokens, concurrency
        self.model = model or asyncio.run(self._first_model())
        self.description = f"{self.model} (server)"
        # None until the server was asked; then what it showed the first time.
        self._tells_probabilities: bool | None = None

    def reply(self, samples: Sequence[Sample], name: str) -> list[list[Reply]]:
        """See `Backend.reply`.

        Raises:
            ServerError: the connection is lost, the key is refused, or the server stays overloaded.
        """
        asked = [questions(sample) for sample in samples]
        flat = [(sample.id, question) for sample, group in zip(samples, asked, strict=True) for question in group]
        replies = iter(asyncio.run(self._ask_all(flat, name)))
        return [[next(replies) for _ in group] for group in asked]

    def _client(self) -> "AsyncOpenAI":
        from openai import AsyncOpenAI

        return AsyncOpenAI(base_url=self.url, api_key=self.key, max_retries=RETRIES, timeout=TIMEOUT)

    async def _first_model(self) -> str:
        from openai import OpenAIError

        try:
            async with self._client() as client:
                found = (await client.models.list()).data
        except OpenAIError as error:
            raise ServerError(
                f"{self.url}: {_reason(error)}; is a server running, and does the URL end with /v1?"
            ) from None
        if not found:
            raise ServerError(f"{self.url}: the server lists no model; name one")
        return found[0].id

    async def _ask_all(self, flat: Sequence[tuple[str, Question]], name: str) -> list[Reply]:
        waiting = asyncio.Semaphore(self.concurrency)
        with tqdm(total=len(flat), desc=name, leave=False) as bar:
            async with self._client() as client:

                async def ask(identity: str, question: Question) -> Reply:
                    async with waiting:
                        reply = await self._ask(client, identity, question)
                    bar.update()
                    return reply

                tasks = [asyncio.create_task(ask(identity, question)) for identity, question in flat]
                try:
                    return await asyncio.gather(*tasks)
                finally:
                    # The first error ends the evaluation; requests that wait need not be sent any more.
                    for task in tasks:
                        task.cancel()

    async def _ask(self, client: "AsyncOpenAI", identity: str, question: Question) -> Reply:
        from openai import APIConnectionError, APIStatusError, AuthenticationError, NotFoundError, RateLimitError
        from openai import PermissionDeniedError as Denied

        messages: list[Any] = list(api_messages(question, identity))
        try:
            answer: Any = await client.chat.completions.create(
                model=self.model,
                messages=messages,
                max_tokens=self.max_tokens,
                temperature=0,
            )
            prompt_tokens = answer.usage.prompt_tokens if answer.usage else 0
            surprise, tokens = await self._surprise(client, messages, question.reference, prompt_tokens)
        except (AuthenticationError, Denied, NotFoundError, RateLimitError, APIConnectionError) as error:
            raise ServerError(f"{self.url}: sample {identity}: {_reason(error)}") from None
        except APIStatusError as error:
            return Reply(exact=False, text="", failure=f"{error.status_code}: {_reason(error)}")
        choice = answer.choices[0]
        text = choice.message.content or ""
        exact = choice.finish_reason == "stop" and text.strip() == question.reference.strip()
        return Reply(exact=exact, text=text, surprise=surprise, tokens=tokens)

    async def _surprise(
        self, client: "AsyncOpenAI", messages: Sequence[Any], reference: str, prompt_tokens: int
    ) -> tuple[float | None, int]:
        """-log p of the reference as the server sees it, and its number of tokens."""
        from openai import BadRequestError

        if self._tells_probabilities is False or not prompt_tokens:
            return None, 0
        try:
            given: Any = await client.chat.completions.create(
                model=self.model,
                messages=[*messages, {"role": "assistant", "content": reference}],
                max_tokens=1,
                temperature=0,
                extra_body={"prompt_logprobs": 0, "add_generation_prompt": False, "continue_final_message": True},
            )
        except BadRequestError:
            given = None
        entries = (given.model_extra or {}).get("prompt_logprobs") if given else None
        of_answer = entries[prompt_tokens:] if isinstance(entries, list) else []
        if self._tells_probabilities is None:
            # The question itself was answered, so it is the extensions that a server does not know.
            self._tells_probabilities = bool(of_answer)
        if not of_answer:
            return None, 0
        # Each entry holds the token that stands there and, if that is another one, the most probable.
        return -sum(float(next(iter(entry.values()))["logprob"]) for entry in of_answer), len(of_answer)


def api_messages(question: Question, identity: str) -> Iterator[dict[str, Any]]:
    """The messages of a question as the API takes them, the bytes of its media in place of their paths.

    Raises:
        DataError: a medium that is features instead of a file, or cannot be read.
    """
    media = iter(question.media)
    for message in question.messages:
        content = message["content"]
        if isinstance(content, list):
            content = [
                media_part(next(media), identity) if part["type"] in MEDIA_PARTS else dict(part) for part in content
            ]
        yield {**message, "content": content}


def media_part(reference: MediaRef, identity: str) -> dict[str, Any]:
    """A medium as a content part of the official API: `image_url` with a data URL, or `input_audio`."""
    if reference.row is not None:
        raise DataError(f"sample {identity}: {reference.path} holds features; a server takes pictures and sounds")
    try:
        data = base64.b64encode(reference.path.read_bytes()).decode()
    except OSError as error:
        raise DataError(f"sample {identity}: {reference.path} cannot be read ({error.strerror})") from None
    if reference.modality == "audio":
        kind = reference.path.suffix.lower().lstrip(".") or "wav"
        return {"type": "input_audio", "input_audio": {"data": data, "format": kind}}
    kind = mimetypes.guess_type(reference.path.name)[0] or "image/png"
    return {"type": "image_url", "image_url": {"url": f"data:{kind};base64,{data}"}}


def _reason(error: Exception) -> str:
    """The server's own message, without the client's wrapping."""
    body = getattr(error, "body", None)
    message = body.get("message") if isinstance(body, dict) else None
    return str(message or error)
