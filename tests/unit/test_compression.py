from ops_workflows.backup.compression import Compression, choices, not_built_in
from ops_workflows.postgres.replication import ServerError
from ops_workflows.settings import Settings
from ops_workflows.storage.codec import Codec


def tried(**more: object) -> list[tuple[str, str | None, str | None]]:
    settings = Settings(**more)  # type: ignore[arg-type]
    return [(choice.codec.value, choice.method, choice.detail) for choice in choices(settings)]


def test_the_best_comes_first_and_the_last_needs_nothing_of_the_server() -> None:
    assert tried(backup_zstd_level=5, backup_zstd_workers=2) == [
        ("zstd", "zstd", "level=5,workers=2"),
        ("zstd", "zstd", "level=5"),
        ("lz4", "lz4", None),
        ("zstd", None, None),
    ]


def test_what_was_asked_for_is_what_is_tried() -> None:
    assert tried(backup_codec="zstd", backup_zstd_workers=0) == [("zstd", "zstd", "level=3")]
    assert tried(backup_codec="lz4") == [("lz4", "lz4", None)]
    assert tried(backup_codec="client-zstd") == [("zstd", None, None)]


def test_names() -> None:
    assert Compression(Codec.ZSTD, True, 3, 0).object_name("base.tar.zst") == "base.tar.zst"
    assert Compression(Codec.ZSTD, False, 3, 0).object_name("base.tar") == "base.tar.zst"
    assert Compression(Codec.ZSTD, True, 3, 0).compressor() is None


def test_only_a_missing_compression_is_a_reason_to_try_the_next() -> None:
    assert not_built_in(ServerError("compression with ZSTD is not supported by this build", "0A000"))
    assert not not_built_in(ServerError("checksum verification failure during base backup", "XX001"))
    assert not not_built_in(ServerError("syntax error", "42601"))
