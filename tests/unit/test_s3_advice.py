"""What is wrong before the S3 server is even asked: one sentence that names the setting, and no other."""

import pytest
from pydantic import SecretStr

from ops_workflows.errors import ConfigurationError, StorageError
from ops_workflows.settings import Settings
from ops_workflows.storage.s3 import open_store

KEYS = {"s3_access_key_id": SecretStr("x"), "s3_secret_access_key": SecretStr("x")}


def settings(**more: str) -> Settings:
    return Settings().model_copy(update=KEYS | {"s3_bucket": "bucket", "s3_endpoint_url": "http://127.0.0.1:1"} | more)


@pytest.mark.parametrize("bucket", ["bad/../x y", "x y", "ä", ""])
def test_a_bucket_that_there_cannot_be(bucket: str) -> None:
    with pytest.raises(StorageError, match=r"can be called so\. Correct OPS_S3_BUCKET, or the URL") as caught:
        open_store(settings(s3_bucket=bucket)).check()
    assert "\n" not in str(caught.value)
    assert "OPS_S3_ENDPOINT_URL" not in str(caught.value)


@pytest.mark.parametrize("region", ["bad region", "-x"])
def test_a_region_that_there_cannot_be(region: str) -> None:
    with pytest.raises(
        ConfigurationError, match=f"OPS_S3_REGION is '{region}', which can be no region's name"
    ) as caught:
        open_store(settings(s3_region=region))
    assert "OPS_S3_ENDPOINT_URL" not in str(caught.value)


def test_an_endpoint_that_there_cannot_be() -> None:
    with pytest.raises(ConfigurationError, match=r"Invalid endpoint: nonsense\. See OPS_S3_ENDPOINT_URL\.$"):
        open_store(settings(s3_endpoint_url="nonsense"))
