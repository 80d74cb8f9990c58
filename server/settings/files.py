"""Where uploaded files are kept, how large they may be and how long they stay; see `server.files`."""

import os
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field, SecretStr

from model.media import MediaLimits
from server.settings.sections import Section

DAY = 24 * 3600
Seconds = Annotated[int, Field(ge=3600, le=3650 * DAY)] | None


class FileSettings(Section):
    """The Files API."""

    title: ClassVar[str] = "Files"

    files: bool = True
    """Keep media that clients upload to /v1/files, to be named by id."""
    files_dir: str | None = None
    """Folder of uploaded files; by default quartet/files in the user's data folder. One for each set of keys."""
    files_url: str | None = None
    """Bucket that several servers share, s3://bucket/prefix; by default files stay in files_dir."""
    files_endpoint: str | None = None
    """URL of an S3-compatible service; by default AWS's own."""
    files_region: Annotated[str, Field(min_length=1)] = "us-east-1"
    """Region of the bucket."""
    files_access_key: SecretStr | None = None
    """Access key of the bucket; by default AWS's own variables or the machine's role."""
    files_secret_key: SecretStr | None = None
    """Secret key of the bucket."""
    max_file_bytes: Annotated[int, Field(ge=1, le=1 << 40)] = MediaLimits.max_bytes
    """Largest uploaded file, bytes."""
    max_files: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    """Most files that a key keeps, where the key itself says nothing."""
    max_files_bytes: Annotated[int, Field(ge=1, le=1 << 50)] = 10 << 30
    """Most bytes that a key keeps, where the key itself says nothing."""
    files_expire_after: Seconds = None
    """Seconds after which a file goes whose upload says nothing; by default never."""
    files_expire_max: Seconds = None
    """Longest time that a file is kept, seconds; by default any."""
    files_sweep_seconds: Annotated[float, Field(ge=1, le=DAY)] = 600.0
    """How often expired files are removed, seconds; they cannot be used from the moment they expire."""

    @property
    def files_path(self) -> Path:
        """The folder, also of uploads on their way to a bucket."""
        if self.files_dir is not None:
            return Path(self.files_dir).expanduser()
        return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "quartet" / "files"

    @property
    def files_credentials(self) -> tuple[str, str] | None:
        """Access key and secret key, in the clear."""
        if self.files_access_key is None or self.files_secret_key is None:
            return None
        return self.files_access_key.get_secret_value(), self.files_secret_key.get_secret_value()
