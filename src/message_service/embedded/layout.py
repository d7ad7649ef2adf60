"""Where the embedded servers keep their files, and the URLs they answer under: both follow from one folder."""

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from message_service.errors import EmbeddedServerFailed

MAX_SOCKET_PATH_BYTES = 100
"""`sun_path` holds 107 bytes and an end mark (unix(7)); the rest is left for what a server appends while it starts."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths of one data folder. Making a `Layout` touches nothing on disk."""

    data_dir: Path
    """Absolute, symbolic links resolved."""

    @classmethod
    def of(cls, data_dir: Path) -> "Layout":
        return cls(data_dir.expanduser().resolve())

    @property
    def lock(self) -> Path:
        return self.data_dir / "lock"

    @property
    def mongod_dir(self) -> Path:
        return self.data_dir / "mongod"

    @property
    def mongod_log(self) -> Path:
        return self.data_dir / "mongod.log"

    @property
    def redis_dir(self) -> Path:
        return self.data_dir / "redis"

    @property
    def redis_log(self) -> Path:
        return self.data_dir / "redis.log"

    @property
    def redis_password(self) -> Path:
        return self.data_dir / "redis.password"

    @property
    def sockets_dir(self) -> Path:
        """`run` in the data folder; where a socket cannot be there, a private folder among the temporary ones."""
        inside = self.data_dir / "run"
        if _is_fit_for_sockets(inside):
            return inside
        digest = hashlib.sha256(os.fsencode(self.data_dir)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"message-service-{os.getuid()}-{digest}"

    @property
    def mongod_socket(self) -> Path:
        return self.sockets_dir / "mongod.sock"

    @property
    def redis_socket(self) -> Path:
        return self.sockets_dir / "redis.sock"

    @property
    def mongodb_url(self) -> str:
        # The driver lower-cases the member hosts it discovers, so it must not discover: directConnection.
        return f"mongodb://{quote(str(self.mongod_socket), safe='')}/?directConnection=true"

    def redis_url(self) -> str:
        """Holds the password. Raises OSError when there is none yet, or it is not ours to read."""
        return f"unix://:{self.redis_password.read_text('ascii').strip()}@{quote(str(self.redis_socket))}?db=0"

    def prepare(self) -> None:
        """Make the folders, open to nobody else. Raises EmbeddedServerFailed where that cannot be had."""
        try:
            self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            for folder in (self.mongod_dir, self.redis_dir, self.sockets_dir):
                _make_private(folder)
        except OSError as fault:
            raise EmbeddedServerFailed(
                f"The data folder {self.data_dir} cannot be used ({fault.filename}: {fault.strerror}). "
                "Make it writable, or choose another with MESSAGE_SERVICE_DATA_DIR."
            ) from fault
        if not _is_fit_for_sockets(self.sockets_dir):
            raise EmbeddedServerFailed(
                f"{self.sockets_dir} is too long a path for a unix socket, or holds a comma. "
                "Choose a shorter MESSAGE_SERVICE_DATA_DIR or TMPDIR."
            )


def _is_fit_for_sockets(folder: Path) -> bool:
    """Short enough, and without a comma, at which mongod cuts the list of what it listens on."""
    longest = os.fsencode(folder / "mongod.sock")
    return len(longest) <= MAX_SOCKET_PATH_BYTES and b"," not in longest


def _make_private(folder: Path) -> None:
    folder.mkdir(mode=0o700, exist_ok=True)
    # Temporary folders are shared: whoever made this one first, or put a link there, could answer in our place.
    status = folder.lstat()
    if folder.is_symlink() or status.st_uid != os.getuid():
        raise EmbeddedServerFailed(
            f"{folder} belongs to someone else. Remove it, or set TMPDIR to a folder of your own."
        )
    if status.st_mode & 0o077:
        folder.chmod(0o700)
