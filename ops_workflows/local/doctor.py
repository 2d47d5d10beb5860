"""`ops doctor`: everything that has to be there for this installation to work, looked at, and what to do if it is not.

It asks the real thing each time (a connection, a listing, the dynamic linker) and needs only the settings: the
database and the bucket may be one's own or the embedded stack's.
"""

import shutil
from typing import TYPE_CHECKING

from ops_workflows.errors import ConfigurationError, DatabaseError, OpsError
from ops_workflows.local import stack
from ops_workflows.local.doctor_database import look_at_database
from ops_workflows.local.findings import Finding, error, failed, ok, warning
from ops_workflows.local.layout import nearest_existing
from ops_workflows.postgres.account import can_reach, server_account
from ops_workflows.postgres.connection import connect, describe
from ops_workflows.postgres.programs import find_programs, missing_libraries
from ops_workflows.settings import Settings
from ops_workflows.storage.encryption import Keys, public_keys
from ops_workflows.valkey.client import connected

if TYPE_CHECKING:
    from ops_workflows.storage.store import ObjectStore

DEBIAN_PACKAGES = {
    "libcrypto.so.3": "libssl3",
    "libossp-uuid.so.16": "libossp-uuid16",
    "libgssapi_krb5.so.2": "libgssapi-krb5-2",
    "liblz4.so.1": "liblz4-1",
    "libreadline.so.8": "libreadline8",
    "libssl.so.3": "libssl3",
    "libxml2.so.2": "libxml2",
    "libz.so.1": "zlib1g",
    "libzstd.so.1": "libzstd1",
}


def doctor(settings: Settings) -> list[Finding]:
    """Look at everything; nothing that is found missing is raised."""
    return [
        *_programs(settings),
        *_scratch(settings),
        *_stack(settings),
        *look_at_database(settings),
        _dagster(settings),
        *_bucket(settings),
        _encryption(settings),
        *_cache(settings),
    ]


def _programs(settings: Settings) -> list[Finding]:
    name = "PostgreSQL programs"
    try:
        programs = find_programs(settings.pg_bin_dir)
    except ConfigurationError as reason:
        return [failed(name, reason)]
    findings = [ok(name, f"PostgreSQL {programs.major} in {programs.bin_dir}")]
    if shutil.which("ldd"):
        modules = programs.bin_dir.parent / "lib"
        for library, users in missing_libraries(programs.bin_dir).items():
            what = f"{library} is missing, which {', '.join(users)} need"
            findings.append(error("system library", what, _install(library)))
        for library, users in missing_libraries(modules, "*.so").items():
            what = f"{library} is missing, so servers that we start cannot load {', '.join(users)}"
            findings.append(warning("library of an extension", what, f"if your database uses it, {_install(library)}"))
    return findings


def _install(library: str) -> str:
    package = DEBIAN_PACKAGES.get(library)
    return f"install {package} (apt-get install {package})" if package else f"install the package that has {library}"


def _scratch(settings: Settings) -> list[Finding]:
    name = "scratch folder"
    try:
        account = server_account(settings.server_user)
    except ConfigurationError as reason:
        return [failed("server account", reason)]
    there = nearest_existing(settings.scratch)
    if not can_reach(there, account):
        whom = account.name if account else "we"
        what = f"{settings.scratch}, where restores are proved, cannot be entered by {whom}, who runs the servers"
        return [error(name, what, "set OPS_SCRATCH_DIR to a folder that can be entered, with room for the database")]
    return [ok(name, f"{settings.scratch}, {shutil.disk_usage(there).free / 1e9:.1f} GB free")]


def _stack(settings: Settings) -> list[Finding]:
    """The services of the embedded stack, if there is one in this installation's folder."""
    return [
        ok(f"embedded {service.name}", f"runs at {service.address}" if service.address else "runs")
        if service.pids
        else warning(f"embedded {service.name}", "does not run", "run `ops up`")
        for service in stack.status(settings.home.absolute().parent)
    ]


def _dagster(settings: Settings) -> Finding:
    name, url = "Dagster's storage", settings.dagster_database_url
    if url is None:
        what = "OPS_DAGSTER_DATABASE_URL is not set, so Dagster does not start; `ops` does without"
        return warning(name, what, "give Dagster a PostgreSQL database of its own, or run `ops up`")
    try:
        with connect(url.get_secret_value(), timeout=settings.connect_timeout_seconds):
            return ok(name, describe(url.get_secret_value()))
    except (DatabaseError, ConfigurationError) as reason:
        return failed(name, reason)


def _bucket(settings: Settings) -> list[Finding]:
    # Not at module level: the SDK behind it is slow to import.
    from ops_workflows.storage.store import open_store  # noqa: PLC0415

    name = "bucket" if settings.repository_folder is None else "repository folder"
    try:
        store = open_store(settings)
        store.check()
        if settings.repository_folder is not None:
            return [ok(name, f"{store} is there, and ours to write")]
        _try_to_write(store, settings)
        if not store.is_versioned():
            what = f"{store} answers; versioning is off, so what is overwritten or deleted there is gone"
            return [warning(name, what, "switch on the bucket's versioning")]
    except OpsError as reason:
        return [failed(name, reason)]
    return [ok(name, f"{store} answers, versioned")]


def _try_to_write(store: "ObjectStore", settings: Settings) -> None:
    # An upload that is begun and let go asks for the right to write, and leaves nothing, not even an old version.
    key = f"{settings.repository_prefix}/doctor"
    store.abort_upload(key, store.begin_upload(key))


def _encryption(settings: Settings) -> Finding:
    name = "encryption"
    try:
        keys = Keys.of(settings.age_recipients, settings.age_identity_file)
        own = public_keys(settings.age_identity_file) if settings.age_identity_file else []
    except ConfigurationError as reason:
        return failed(name, reason)
    if not keys.recipients:
        return ok(name, "backups are not encrypted by us: OPS_AGE_RECIPIENTS is not set")
    count = f"backups are encrypted to {len(keys.recipients)} key{'s' if len(keys.recipients) > 1 else ''}"
    if settings.age_identity_file is None:
        return ok(name, f"{count}; without OPS_AGE_IDENTITY_FILE this machine can make them and not restore them")
    if not set(own) & set(keys.recipients):
        what = f"{count}, and {settings.age_identity_file} has the secret of none of them"
        return error(name, what, "let OPS_AGE_IDENTITY_FILE name the right file, or correct OPS_AGE_RECIPIENTS")
    return ok(name, f"{count}, and this machine can read them")


def _cache(settings: Settings) -> list[Finding]:
    if settings.redis_url is None:
        return []
    name = "cache"
    try:
        with connected(settings) as client:
            client.ping()
    except OpsError as reason:
        return [failed(name, reason)]
    return [ok(name, "answers")]
