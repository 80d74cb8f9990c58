"""Every error Quartet raises on purpose, each with one HTTP status and one code.

    QuartetError                 500 internal_error
    |- ConfigurationError        500 invalid_configuration   a configuration or recipe that cannot work
    |- SourceError               500 unavailable_source      weights that cannot be fetched or are not what they claim
    |- CheckpointError           500 invalid_checkpoint      parts that do not fit each other
    |- DataError                 400 invalid_data            a training sample or corpus file
    |- PromptError               400 invalid_prompt          a conversation that cannot become tokens
    |- MediaError                400 invalid_media           bytes that are not the medium they claim to be
       |- MediaLimitError        400 media_too_large         a medium beyond a decode limit
       |- MediaFetchError        400 media_not_fetched       a URL that may not or cannot be fetched
       |- MediaCostError         400 media_too_expensive     a medium that takes too much time or memory to decode

A message says what was wrong, where, and what to do. It never contains the medium itself.
`ValueError` is a base so that libraries which turn value errors into HTTP 400 do so for ours.
"""

from typing import ClassVar


class QuartetError(ValueError):
    """Base of all errors raised on purpose; `status` and `code` are what an HTTP client sees."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"


class ConfigurationError(QuartetError):
    """A configuration field is unknown, impossible, or contradicts another one."""

    code = "invalid_configuration"


class SourceError(QuartetError):
    """Weights could not be fetched, or their sha256 is not the recorded one."""

    code = "unavailable_source"


class CheckpointError(QuartetError):
    """A checkpoint is incomplete or its parts do not fit each other."""

    code = "invalid_checkpoint"


class DataError(QuartetError):
    """A training sample, corpus file or cached feature is unusable; names file and line."""

    status = 400
    code = "invalid_data"


class PromptError(QuartetError):
    """A conversation cannot be turned into tokens."""

    status = 400
    code = "invalid_prompt"


class MediaError(QuartetError):
    """Bytes that are not a decodable picture or sound."""

    status = 400
    code = "invalid_media"


class MediaLimitError(MediaError):
    """A picture or sound beyond a decode limit (bytes, pixels, seconds, channels)."""

    code = "media_too_large"


class MediaCostError(MediaError):
    """A picture or sound whose decoding takes more time or memory than one medium may."""

    code = "media_too_expensive"


class MediaFetchError(MediaError):
    """A URL from which no medium is or can be fetched."""

    code = "media_not_fetched"
