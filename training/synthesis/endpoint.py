"""The generator that asks a language model behind any OpenAI-compatible endpoint, with the official client.

The client repeats what may succeed later (no connection, timeouts, 408, 409, 429, 5xx) with growing pauses, as long as
a Retry-After asks for; what it then gives up on is `UnansweredError`, and the next run asks again. What cannot succeed
at all (a wrong key, no such model, a request that is not understood) is `EndpointError` and ends the run.
"""

import os
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import openai

from model.errors import ConfigurationError, QuartetError
from model.fields import check_choice, check_range
from training.synthesis import instructions
from training.synthesis.annotations import NAME, Medium
from training.synthesis.dialog import Draft, MalformedError, parse, schema
from training.synthesis.jobs import Job, digest

STRUCTURES = ("json_schema", "json_object", "none")
# Local servers want some key, whatever it is, and the client sends none without.
_NO_KEY = "none"


class EndpointError(QuartetError):
    """The endpoint refuses every request of this run."""

    code = "endpoint_refused"


class UnansweredError(Exception):
    """No answer to one request after all retries."""


class RejectedError(Exception):
    """An answer that is no dialog: `reason` is a key of `training.synthesis.filters.REASONS`."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, kw_only=True)
class EndpointSettings:
    """Where and how to ask."""

    model: str
    base_url: str
    api_key: str | None = None
    """Never shown nor written anywhere."""
    timeout: float = 120.0
    """Of one request, seconds."""
    retries: int = 5
    """Of one request; the pauses grow from half a second to eight."""
    attempts: int = 2
    """Times that a job is asked for until an answer passes the filters."""
    temperature: float = 0.7
    max_tokens: int = 2048
    """Of one answer."""
    structure: str = "json_schema"
    """How the endpoint is told the form: `json_schema`, `json_object`, or `none` where it knows neither."""

    def __post_init__(self) -> None:
        check_choice("structure", self.structure, STRUCTURES)
        check_range("timeout", self.timeout, 1, 86_400)
        check_range("retries", self.retries, 0, 100)
        check_range("attempts", self.attempts, 1, 20)
        check_range("temperature", self.temperature, 0, 2)
        check_range("max_tokens", self.max_tokens, 16, 1_000_000)
        if not self.model:
            raise ConfigurationError("model: expected the name of a model of the endpoint")
        address = urlsplit(self.base_url)
        if address.scheme not in ("http", "https") or not address.netloc:
            raise ConfigurationError(
                f"base_url: {self.base_url[:80]!r} is no address of an API, such as http://localhost:8000/v1"
            )

    @property
    def place(self) -> str:
        """The address without user, password and query."""
        address = urlsplit(self.base_url)
        return f"{address.scheme}://{address.netloc.rpartition('@')[2]}{address.path}"


class Endpoint:
    """Makes dialogs by asking a language model."""

    def __init__(self, settings: EndpointSettings) -> None:
        self.settings = settings
        self.model: str | None = settings.model
        self.attempts = settings.attempts
        self._client = openai.AsyncOpenAI(
            base_url=settings.base_url,
            api_key=settings.api_key or os.environ.get("OPENAI_API_KEY") or _NO_KEY,
            timeout=settings.timeout,
            max_retries=settings.retries,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.close()

    def version(self, kind: str) -> str:
        """Of model, instruction and sampling."""
        settings = self.settings
        sampling = digest(settings.temperature, settings.max_tokens, settings.structure)
        return f"{settings.model}:{instructions.version(kind)}:{sampling}"

    def instruction(self, kind: str) -> str:
        """What the model is told, and must not repeat."""
        return instructions.instruction(kind)

    def usable(self, kind: str, medium: Medium, language: str) -> bool:
        """Whether there is something to write about; the language does not matter, a model translates."""
        if kind == "merge":
            return len({each.kind for each in medium.annotations}) > 1
        if kind in ("description", "reasoning"):
            return any(each.kind != NAME for each in medium.annotations)
        return bool(medium.annotations)

    async def draft(self, job: Job, attempt: int) -> Draft:
        """Ask for the dialog of a job.

        Raises:
            RejectedError: an answer that is no dialog.
            UnansweredError: no answer this time.
            EndpointError: there will not be one.
        """
        settings = self.settings
        try:
            completion = await self._client.chat.completions.create(
                model=settings.model,
                messages=instructions.messages(job),  # type: ignore[arg-type]
                temperature=settings.temperature,
                # Not `max_tokens`: newer endpoints refuse it, older ones ignore this one and go on to the timeout.
                max_completion_tokens=settings.max_tokens,
                seed=int(job.id, 16) % 2**31 + attempt,
                **self._structure(job),
            )
        except openai.APIConnectionError as error:  # timeouts too
            raise UnansweredError(type(error).__name__) from None
        except openai.APIStatusError as error:
            if error.status_code in (408, 409, 429) or error.status_code >= 500:
                raise UnansweredError(f"HTTP {error.status_code}") from None
            raise EndpointError(
                f"{settings.place} refuses the request with HTTP {error.status_code}: {_message(error)}{_advice(error)}"
            ) from None
        except (openai.APIError, ValueError) as error:  # a body that is no JSON, such as a proxy's page
            raise UnansweredError(type(error).__name__) from None
        return Draft(dialog=parse_completion(completion))

    def _structure(self, job: Job) -> dict[str, Any]:
        if self.settings.structure == "none":
            return {}
        if self.settings.structure == "json_object":
            return {"response_format": {"type": "json_object"}}
        form = {"name": "dialog", "strict": True, "schema": schema(job.names)}
        return {"response_format": {"type": "json_schema", "json_schema": form}}


def parse_completion(completion: Any) -> Any:
    """The dialog in a chat completion.

    Raises:
        RejectedError: a refusal, an unfinished text, or anything but the JSON of a dialog.
    """
    choices = getattr(completion, "choices", None)
    if not choices or getattr(choices[0], "message", None) is None:
        raise RejectedError("malformed", "no choice in the answer")
    choice = choices[0]
    if choice.finish_reason == "length":
        raise RejectedError("cut-off", "finish_reason is length")
    if getattr(choice.message, "refusal", None) or choice.finish_reason == "content_filter":
        raise RejectedError("refusal", str(choice.message.refusal or choice.finish_reason)[:200])
    try:
        return parse(choice.message.content or "")
    except MalformedError as error:
        raise RejectedError("malformed", str(error)) from None


def _message(error: openai.APIStatusError) -> str:
    body = error.body if isinstance(error.body, dict) else {}
    return " ".join(str(body.get("message") or error.message).split())[:300]


def _advice(error: openai.APIStatusError) -> str:
    if error.status_code in (401, 403):
        return "; give the key with --api-key or OPENAI_API_KEY"
    if error.status_code == 404:
        return "; check --base-url (it usually ends with /v1) and --model"
    if "response_format" in str(error.body) or "schema" in str(error.body):
        return "; try --structure json_object or none"
    return ""
