"""The server's settings: from LAYERPRUNE_* variables, or given by whoever builds the app."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Settings(BaseSettings):
    """Built once and given to `create_app`; nothing else reads the environment."""

    model_config = SettingsConfigDict(env_prefix="LAYERPRUNE_", frozen=True, extra="ignore")

    data: Path = Path("layerprune-data")
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    database_url: str | None = Field(default=None, description="default: SQLite in the data folder")
    max_json_bytes: int = 1 << 20
    max_result_bytes: int = 64 << 20
    max_artifact_bytes: int = Field(default=16 << 30, description="of any file, of workers too")
    max_onnx_bytes: int = Field(default=1 << 30, description="of an uploaded network")
    max_weights_bytes: int = Field(default=4 << 30, description="of uploaded weights")
    max_data_bytes: int = Field(default=16 << 30, description="of uploaded images")
    max_trainings: int = Field(default=200, description="per job")
    lease_s: Annotated[float, Field(gt=0)] = 90
    heartbeat_s: Annotated[float, Field(gt=0)] = 20
    claim_wait_s: Annotated[float, Field(ge=0)] = Field(default=25, description="longest wait of a long poll")
    job_expiry_days: Annotated[float, Field(gt=0)] = 7
    worker_offline_s: Annotated[float, Field(gt=0)] = Field(default=60, description="silent for longer means offline")

    @property
    def url(self) -> str:
        """Where the state is kept, as SQLAlchemy says it."""
        return self.database_url or f"sqlite:///{self.data.absolute() / 'layerprune.db'}"

    @property
    def lease_us(self) -> int:
        return round(self.lease_s * 1_000_000)

    @property
    def offline_us(self) -> int:
        return round(self.worker_offline_s * 1_000_000)

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        return self.host in LOOPBACK
