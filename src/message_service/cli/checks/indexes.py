"""The indexes that the queries rely on."""

from message_service.cli.checks.finding import Finding, Subject
from message_service.errors import MessageServiceError
from message_service.store.database import open_database
from message_service.store.indexes import missing_indexes


async def check_indexes(subject: Subject) -> list[Finding]:
    if subject.mongodb_url is None:
        return []  # said already by the check of MongoDB itself
    try:
        async with open_database(
            subject.mongodb_url, subject.settings.mongodb_database, role="doctor", with_indexes=False
        ) as database:
            missing = await missing_indexes(database)
    except MessageServiceError as fault:
        return [Finding("indexes", "fail", f"They cannot be read: {fault}", "Repair MongoDB first.")]
    if missing:
        names = ", ".join(f"{one.collection}.{one.index}" for one in missing)
        return [
            Finding("indexes", "warn", f"Missing: {names}.", "Start `message-service serve` once: it creates them.")
        ]
    return [Finding("indexes", "ok", "All indexes are there.")]
