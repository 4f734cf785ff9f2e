"""The settings of the bridge."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, SecretStr

from backends.openai_pipeline.settings import OPENAI_URL, BaseUrl
from backends.settings import BackendSettings
from fleet.settings import Address, within


class RealtimeSettings(BackendSettings):
    """One Realtime API; sessions are configured by callers."""

    backend_realtime_url: BaseUrl = Field(
        OPENAI_URL, description="base URL of the Realtime API, https://host/v1"
    )
    backend_realtime_key: SecretStr = Field(
        SecretStr(""), description="its API key; empty sends none"
    )
    backend_realtime_model: str = Field("gpt-realtime", description="the model of every session")
    backend_realtime_renew_s: Annotated[int, within("a number of seconds", 60, 86_400)] = Field(
        3000,
        description="a session older than this is renewed at a turn boundary, and the caller "
        "notices nothing; less than what the provider allows (OpenAI: 3600)",
    )
    backend_metrics: Address | None = Field(
        None, description="HTTP: Prometheus metrics at /metrics; empty serves none"
    )
    backend_max_calls: Annotated[int, within("a number of calls", 1, 1000)] = Field(
        100, description="calls of one transceiver at once, 1-1000"
    )
