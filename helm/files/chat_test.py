"""Asks a server about a picture, and ends with 0 if it answers: what `helm test` runs.

Needs the standard library only. Environment: BASE_URL, MODEL; PICTURE, empty to ask in words alone; API_KEY, where the
server wants one.
"""

import base64
import json
import os
import struct
import sys
import urllib.error
import urllib.request
import zlib


def red_square(size=64):
    """A PNG file, bytes."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)
    rows = (b"\0" + b"\xd0\x20\x20" * size) * size
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def main():
    """Ask once."""
    content = [{"type": "text", "text": "What do you see? " if os.environ.get("PICTURE") else "Say hello."}]
    if os.environ.get("PICTURE"):
        url = "data:image/png;base64," + base64.b64encode(red_square()).decode()
        content.append({"type": "image_url", "image_url": {"url": url}})
    body = {"model": os.environ["MODEL"], "messages": [{"role": "user", "content": content}], "max_tokens": 16}
    headers = {"content-type": "application/json"}
    if os.environ.get("API_KEY"):
        headers["authorization"] = "Bearer " + os.environ["API_KEY"]
    url = os.environ["BASE_URL"] + "/v1/chat/completions"
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=300) as response:
            answer = json.load(response)
    except urllib.error.HTTPError as error:
        sys.exit(f"HTTP {error.code}: {error.read(2000).decode('utf-8', 'replace')}")
    except OSError as error:
        sys.exit(f"{url}: {error}")
    usage = answer["usage"]
    print("answer:", repr(answer["choices"][0]["message"]["content"]))
    print("usage:", json.dumps(usage))
    if not usage["completion_tokens"]:
        sys.exit("the answer is empty")
    if os.environ.get("PICTURE") and not usage["prompt_tokens_details"]["image_tokens"]:
        sys.exit("the picture was not seen")


main()
