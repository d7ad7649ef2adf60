"""Whether the configured providers could answer now."""

from message_service.cli.checks.finding import Finding, Subject
from message_service.metrics import Metrics
from message_service.wiring.routing import open_router


async def check_providers(subject: Subject) -> list[Finding]:
    async with open_router(subject.settings, Metrics()) as router:
        found = await router.health()
    return [
        Finding(f"provider {health.provider}", "ok", _sentence(health.detail, health.models))
        if health.is_reachable and health.models
        else Finding(
            f"provider {health.provider}",
            "fail",
            _sentence(health.detail, health.models),
            "Until then replies wait for it until their deadline, or fail.",
        )
        for health in found
    ]


def _sentence(detail: str, models: tuple[str, ...]) -> str:
    return detail or f"Ready: {', '.join(models)}."
