"""LiteLLM's proxy in front of a running server, asked by the official client: media, stream, counts, errors pass.

Usage: python litellm_proxy.py <base URL> <picture as data URL> <sound as base64> [<key>]
"""

import importlib.metadata
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import openai
from refusal import refused

PATIENCE = 600.0
# It refuses to start without a key of its own, or with a short one.
MASTER_KEY = "sk-" + secrets.token_hex(24)


def main(url: str, picture: str, sound: str, key: str = "none") -> None:
    """Raise if anything is not as expected."""
    served = openai.OpenAI(base_url=url, api_key=key).models.list().data[0].id
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "config.yaml")
        parameters = {"model": f"openai/{served}", "api_base": url, "api_key": key}
        # JSON is YAML.
        models = [{"model_name": "ours", "litellm_params": parameters}]
        config.write_text(json.dumps({"model_list": models, "general_settings": {"master_key": MASTER_KEY}}))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        command = [str(Path(sys.executable).with_name("litellm")), "--config", str(config)]
        log = Path(folder, "log")
        with log.open("wb") as output:
            proxy = subprocess.Popen(
                [*command, "--host", "127.0.0.1", "--port", str(port), "--telemetry", "False"],
                stdout=output,
                stderr=subprocess.STDOUT,
                # Its table of prices comes with the package.
                env=os.environ | {"LITELLM_LOCAL_MODEL_COST_MAP": "True"},
                start_new_session=True,
            )
        try:
            client = openai.OpenAI(base_url=f"http://127.0.0.1:{port}", api_key=MASTER_KEY, max_retries=0, timeout=120)
            wait(client, proxy)
            talk(client, picture, sound, served)
        except BaseException:
            print(log.read_text(errors="replace")[-3000:], file=sys.stderr)
            raise
        finally:
            if proxy.poll() is None:
                os.killpg(proxy.pid, signal.SIGTERM)
                proxy.wait(30)


def wait(client: openai.OpenAI, proxy: "subprocess.Popen[bytes]") -> None:
    """Until the proxy answers; raises when it has ended or takes too long."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            assert [model.id for model in client.models.list().data] == ["ours"]
            return
        except (openai.APIConnectionError, openai.InternalServerError):
            if proxy.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def talk(client: openai.OpenAI, picture: str, sound: str, served: str) -> None:
    """Through the proxy."""
    content = [
        {"type": "text", "text": "Look: "},
        {"type": "image_url", "image_url": {"url": picture}},
        {"type": "input_audio", "input_audio": {"data": sound, "format": "wav"}},
    ]
    asked = {"model": "ours", "messages": [{"role": "user", "content": content}], "temperature": 0, "max_tokens": 8}
    whole = client.chat.completions.create(**asked)
    details = whole.usage.prompt_tokens_details.to_dict()
    assert details["audio_tokens"] == 4, details
    assert details["image_tokens"] == 4, details
    stream = list(client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
    assert text == whole.choices[0].message.content
    assert stream[-1].usage.completion_tokens == whole.usage.completion_tokens
    broken = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]}]
    error = refused(lambda: client.chat.completions.create(**asked | {"messages": broken}))
    assert error.status_code == 400
    assert "messages[0].content[0]" in str(error), error
    version = importlib.metadata.version("litellm")
    print(f"litellm {version}: model {served}, {whole.usage.prompt_tokens} prompt tokens through the proxy, all passed")


if __name__ == "__main__":
    main(*sys.argv[1:])
