"""Kinds of settings: how each is written in the environment, and what of that is refused."""

import re
from ipaddress import ip_address
from typing import Annotated, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, SecretStr
from pydantic_settings import NoDecode

ProviderName = Literal["lm_studio", "openai", "anthropic", "scripted"]
StrategyName = Literal["priority", "round_robin", "weighted", "latency", "cost", "affinity"]
MidstreamPolicy = Literal["auto", "restart", "keep", "continue"]

# Of a provider with several hosts each has a number from the second on.
_PROVIDER = re.compile(r"lm_studio(-[1-9][0-9]*)?|openai|anthropic|scripted")
_Number = TypeVar("_Number", int, float)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _split_commas(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _split_pairs(value: object) -> object:
    if not isinstance(value, str):
        return value
    pairs = [pair.partition("=") for pair in value.split(",") if pair.strip()]
    if any(not name.strip() or not equals for name, equals, _ in pairs):
        raise ValueError("must look like lm_studio=3,openai=1")
    return {name.strip(): number.strip() for name, _, number in pairs}


def _require_providers(numbers: dict[str, _Number]) -> dict[str, _Number]:
    for name in numbers:
        if _PROVIDER.fullmatch(name) is None:
            raise ValueError(
                f"names {name!r}; there are lm_studio, lm_studio-2 and so on, openai, anthropic and scripted"
            )
    return numbers


def _require_from(least: int, numbers: dict[str, _Number]) -> dict[str, _Number]:
    if any(not least <= number < 1e6 for number in numbers.values()):
        raise ValueError(f"must be numbers from {least}")
    return numbers


def _require_header_text(key: SecretStr) -> SecretStr:
    text = key.get_secret_value()
    if not text.isascii() or not text.isprintable():
        raise ValueError("must be printable ASCII, as it is sent in a header")
    return key


def _base_url(url: str, example: str) -> str:
    """Without its last slash. Raises `ValueError` for what requests cannot safely be sent to."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        raise ValueError(f"must look like {example}, without user or password")
    if parts.query or parts.fragment:
        raise ValueError(f"must look like {example}, with nothing after the path")
    return url.rstrip("/")


def _local_base_urls(urls: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(_base_url(url, "http://localhost:1234").removesuffix("/v1") for url in urls)


def _cloud_base_url(url: str) -> str:
    return _base_url(url, "https://api.example.com/v1")


ProviderNames = Annotated[tuple[ProviderName, ...], NoDecode, BeforeValidator(_split_commas)]
LocalBaseUrls = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split_commas), AfterValidator(_local_base_urls)]
CloudBaseUrl = Annotated[str, AfterValidator(_cloud_base_url)]
ApiKey = Annotated[SecretStr, AfterValidator(_require_header_text)]
Tiers = Annotated[dict[str, int], NoDecode, BeforeValidator(_split_pairs), AfterValidator(_require_providers)]
Weights = Annotated[
    dict[str, float],
    NoDecode,
    BeforeValidator(_split_pairs),
    AfterValidator(_require_providers),
    AfterValidator(lambda numbers: _require_from(0, numbers)),
]
Concurrency = Annotated[
    dict[str, int],
    NoDecode,
    BeforeValidator(_split_pairs),
    AfterValidator(_require_providers),
    AfterValidator(lambda numbers: _require_from(1, numbers)),
]
