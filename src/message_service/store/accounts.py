"""Users' budgets in the store: set aside in ACCEPT, settled in FINISH, both in the transaction of the reply itself."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from datetime import datetime

from pymongo.asynchronous.client_session import AsyncClientSession

from message_service.clock import now
from message_service.ids import UserId
from message_service.messages.budget import Account, Amount, Limits, Period, Reservation, Span
from message_service.messages.reply import Spending
from message_service.store.audit import AuditAction, audit_row
from message_service.store.batch import update_all, upsert_all
from message_service.store.database import Database, Row, reaching_the_store
from message_service.store.mapping import amount_from_row
from message_service.store.transaction import run_transaction, run_until_seen


async def read_accounts(
    database: Database, users: Iterable[UserId], session: AsyncClientSession
) -> dict[UserId, Account]:
    rows = await database.accounts.find({"_id": {"$in": list(users)}}, session=session).to_list()
    return {row["_id"]: account_from_row(row, now()) for row in rows}


async def write_accounts(database: Database, accounts: Mapping[UserId, Account], session: AsyncClientSession) -> None:
    """What their periods hold; own limits stay as they are. Whoever else wrote them meanwhile makes it a conflict."""
    if accounts:
        await upsert_all(database.accounts, [(user, _spans_to_row(one)) for user, one in accounts.items()], session)


async def charge(
    database: Database,
    user_id: UserId,
    reservation: Reservation | None,
    spent: Sequence[Spending],
    session: AsyncClientSession,
    *,
    is_released: bool,
) -> None:
    """Count what was spent, and with `is_released` no longer keep aside what the reply had reserved.

    Where its periods are over nothing matches: they are nobody's concern any more.
    """
    updates = charges(user_id, reservation, spent, is_released=is_released)
    if updates:
        await update_all(database.accounts, updates, session)


def charges(
    user_id: UserId, reservation: Reservation | None, spent: Sequence[Spending], *, is_released: bool
) -> list[Row]:
    """What `charge` writes, for `update_all`; nothing where nothing was reserved."""
    if reservation is None:
        return []
    used = Amount()
    for one in spent:
        used += Amount(one.usage.input_tokens + one.usage.output_tokens, one.cost_nano_usd or 0)
    released = reservation.amount if is_released else Amount()
    updates = []
    for period, name in ((Period.DAY, reservation.day), (Period.MONTH, reservation.month)):
        change = {
            f"{period}.used.tokens": used.tokens,
            f"{period}.used.cost_nano_usd": used.cost_nano_usd,
            f"{period}.reserved.tokens": -released.tokens,
            f"{period}.reserved.cost_nano_usd": -released.cost_nano_usd,
        }
        updates.append({"q": {"_id": user_id, f"{period}.name": name}, "u": {"$inc": change}})
    return updates


class Accounts:
    """For those who look after budgets."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._accounts = database.accounts

    async def find(self, user_id: UserId) -> Account:
        with reaching_the_store():
            row = await self._accounts.find_one({"_id": user_id})
        return account_from_row(row, now()) if row is not None else Account.empty(now())

    async def set_limits(self, user_id: UserId, limits: Limits, *, by: UserId) -> Account:
        """These instead of everybody's. Told to the audit where they were others before."""
        fields = asdict(limits)

        async def body(session: AsyncClientSession) -> Row:
            before = await self._accounts.find_one({"_id": user_id}, session=session) or {}
            if before.get("limits") == fields:
                return before
            await self._tell(AuditAction.LIMITS_SET, user_id, by, session, fields)
            await upsert_all(self._accounts, [(user_id, {"limits": fields})], session)
            return {**before, "limits": fields}

        return account_from_row(await run_until_seen(self._database, body), now())

    async def clear_limits(self, user_id: UserId, *, by: UserId) -> None:
        """Everybody's again. Told to the audit where they had their own."""

        async def body(session: AsyncClientSession) -> None:
            result = await self._accounts.update_one(
                {"_id": user_id, "limits": {"$exists": True}}, {"$unset": {"limits": ""}}, session=session
            )
            if result.matched_count:
                await self._tell(AuditAction.LIMITS_CLEARED, user_id, by, session)

        await run_transaction(self._database, body)

    async def _tell(
        self,
        action: AuditAction,
        user_id: UserId,
        by: UserId,
        session: AsyncClientSession,
        limits: Mapping[str, int | None] | None = None,
    ) -> None:
        row = audit_row(action, user_id=by, subject=user_id, at=now(), limits=limits)
        await self._database.audit.insert_one(row, session=session)


def account_from_row(row: Row, moment: datetime) -> Account:
    """One whose limits were set before it was used has no periods yet."""
    fresh = Account.empty(moment)
    return Account(
        day=_span(row["day"], Period.DAY) if "day" in row else fresh.day,
        month=_span(row["month"], Period.MONTH) if "month" in row else fresh.month,
        own_limits=_limits(row["limits"]) if "limits" in row else None,
    ).at(moment)


def _limits(row: Row) -> Limits:
    return Limits(**{field.name: row[field.name] for field in fields(Limits) if field.name in row})


def _span(row: Row, period: Period) -> Span:
    return Span(period, row["name"], amount_from_row(row["used"]), amount_from_row(row["reserved"]))


def _spans_to_row(account: Account) -> Row:
    return {
        span.period.value: {"name": span.name, "used": asdict(span.used), "reserved": asdict(span.reserved)}
        for span in (account.day, account.month)
    }
