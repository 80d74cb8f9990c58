"""What an operator can choose: one typed class, three sources with the same names, one way to the processes.

    sections   base and types of a section          model, engine, ...  one section a file
    server     ServerSettings, flags of vLLM        sources    flags > environment > file > defaults; who said what
    messages   what is wrong with a value           options    the options of `quartet serve` and `quartet config`
    show       the effective settings as YAML

A new concern is one more file with a `Section`, named in the bases of `ServerSettings`: its fields are then flags,
variables and keys. Code in a server process asks `current()`.
"""

from server.settings.model import DEMO_MODEL
from server.settings.server import MIDDLEWARE, PLUGINS, PREFIX, ServerSettings
from server.settings.sources import Loaded, current, load

__all__ = ["DEMO_MODEL", "MIDDLEWARE", "PLUGINS", "PREFIX", "Loaded", "ServerSettings", "current", "load"]
