"""What schemathesis changes about a case before it is sent: cheaper, and more often something the server can answer.

Most generated requests would be refused for the first of fifty fields. So of the optional ones a few stay, the model is
mostly one that is there, media mostly are some, and answers are short. What is changed follows from the case alone.
"""

import base64
import json
from copy import deepcopy
from random import Random
from typing import Any

import schemathesis

from server.bench.media import picture, sound

SHORT = {"max_tokens": 2, "max_completion_tokens": 2, "max_output_tokens": 2, "min_tokens": 2, "n": 2}
# In the place of one that is empty, which every route refuses at once.
PROMPTS = {"messages": [{"role": "user", "content": "a"}], "input": "a", "prompt": "a", "tokens": [1]}
VOCABULARY = 320
# Of the bodies; the rest is as generated.
MENDED = 0.8
KEPT = 3
URLS = ("url", "data", "file_data", "file_url", "image_url")
ROLES = ("system", "user", "assistant", "tool")
PICTURE, SOUND = (
    f"data:;base64,{base64.b64encode(medium.data).decode()}" for medium in (picture(0, (32, 32)), sound(0, 0.1))
)


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Change the JSON body of a case in place."""
    body = case.body
    if isinstance(body, dict) and case.media_type == "application/json" and "lora_name" not in body:
        dice = Random(json.dumps(body, sort_keys=True, default=str))
        if dice.random() < MENDED:
            mend(body, dice)
        shorten(case.operation.path, body)


def mend(body: dict[str, Any], dice: Random) -> None:
    """Make it likelier that a body can be answered."""
    optional = sorted(set(body) - {"model", *PROMPTS})
    for name in dice.sample(optional, max(len(optional) - KEPT, 0)):
        del body[name]
    body["model"] = "tiny"
    for name in PROMPTS:
        if name in body:
            body[name] = real(body[name] or deepcopy(PROMPTS[name]), dice)


def real(value: Any, dice: Random, under: str = "") -> Any:
    """A prompt of tokens that there are, or of messages whose media and roles are mostly real ones."""
    if isinstance(value, list):
        return [real(item, dice, under) for item in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return value % VOCABULARY
    if not isinstance(value, dict):
        return value
    made = {name: real(item, dice, name) for name, item in value.items()}
    for name in URLS:
        if isinstance(made.get(name), str) and dice.random() < MENDED:
            made[name] = SOUND if "audio" in under else PICTURE
    if isinstance(made.get("role"), str) and dice.random() < MENDED:
        made["role"] = dice.choice(ROLES)
    return made


def shorten(path: str, body: dict[str, Any]) -> None:
    """Bound what an answer may cost."""
    for name, most in SHORT.items():
        if isinstance(body.get(name), int) and body[name] > most:
            body[name] = most
    limits = ("max_output_tokens",) if path == "/v1/responses" else ("max_tokens", "max_completion_tokens")
    if all(body.get(name) is None for name in limits):
        body[limits[0]] = SHORT[limits[0]]
