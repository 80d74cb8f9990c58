"""The page at `/`; see `server.page`."""

from typing import ClassVar

from server.settings.sections import Section


class PlaygroundSettings(Section):
    """The playground."""

    title: ClassVar[str] = "Playground"

    playground: bool = False
    """Serve a page at / to try the model in a browser. The page needs no key, what it asks the API does."""
