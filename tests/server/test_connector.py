"""The media connector has one way in, by the pool that decodes; vLLM's others refuse."""

import base64

import pytest
from vllm.exceptions import VLLMValidationError

from server.connector import QuartetConnector
from tests.support.tiny import picture_bytes


async def test_every_other_way_refuses() -> None:
    connector = QuartetConnector()
    url = "data:image/png;base64," + base64.b64encode(picture_bytes(0)).decode()
    for ask in (connector.fetch_image, connector.fetch_audio, connector.fetch_video):
        with pytest.raises(VLLMValidationError, match="pictures and sounds only"):
            ask(url)
    with pytest.raises(VLLMValidationError, match="pictures and sounds only"):
        await connector.fetch_video_async(url)
