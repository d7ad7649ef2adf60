"""Breakers that all workers share: what one has found out, the others know some milliseconds later.

Redis keys: `message_service:{breakers}:state`, a hash with a field for each target that is not closed, and
`message_service:{breakers}:probe:<target>`, the lease of the one request that finds out whether a target is
well again. The hash lives ten minutes after the last change, a lease five seconds after its last renewal.
Whoever changes the hash says so on the channel `message_service:{breakers}:changed`. Redis promises nobody
that a message arrives, so the hash is looked at besides, more than twice a second.
"""

import asyncio
from collections.abc import Sequence
from uuid import uuid4

import orjson
from redis.asyncio.client import PubSub
from redis.exceptions import ResponseError

from message_service.errors import RelayUnavailable
from message_service.logs import log
from message_service.providers.routing.breaker import Admission, Breaker, Ejection
from message_service.providers.routing.target import Target
from message_service.relay import PREFIX, Relay
from message_service.stopping import stop_tasks

STATE_KEY = f"{PREFIX}:{{breakers}}:state"
CHANNEL = f"{PREFIX}:{{breakers}}:changed"
_LOOK_SECONDS = 0.4
_LISTEN_AGAIN_SECONDS = 2.0
_QUIET_SECONDS = 2.0
"""After so long without a word Redis is asked on the channel's connection whether it is there."""
_STATE_MILLISECONDS = 600_000
_LEASE_MILLISECONDS = 5_000

# Moments are the server's, so that no worker's clock matters; workers are told how much of them remains.
_EXCHANGE = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for i = 3, #ARGV, 3 do
  if ARGV[i + 2] == '' then redis.call('HDEL', KEYS[1], ARGV[i])
  else
    redis.call('HSET', KEYS[1], ARGV[i], (now + tonumber(ARGV[i + 1])) .. ' ' .. ARGV[i + 2])
    redis.call('PEXPIRE', KEYS[1], ARGV[1])
  end
end
-- A user who may not use the channel shares breakers all the same.
if #ARGV > 2 then redis.pcall('PUBLISH', ARGV[2], '') end
local told, all = {}, redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  local ends, rest = string.match(all[i + 1], '^(%d+) (.*)$')
  if ends then
    told[#told + 1] = all[i]
    told[#told + 1] = tostring(tonumber(ends) - now)
    told[#told + 1] = rest
  end
end
return told
"""
_RENEW = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end return 0"
_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"


class SharedBreakers:
    """Keeps the breakers of `targets` in step with other workers'. With Redis gone each stands by itself."""

    def __init__(self, relay: Relay, targets: Sequence[Target]) -> None:
        self._relay = relay
        self._token = uuid4().hex
        self._breakers = {target.identity: target.breaker for target in targets if target.breaker is not None}
        self._told = {identity: breaker.changes for identity, breaker in self._breakers.items()}
        """How many changes of each breaker the others have been told."""
        self._leases: set[str] = set()
        self._has_news = asyncio.Event()

    async def run(self) -> None:
        """Exchange news several times a second, and at once when there is some. Ends when it is cancelled."""
        loops = [asyncio.create_task(duty) for duty in (self._exchange_for_ever(), self._listen())]
        try:
            await asyncio.gather(*loops)
        finally:
            await stop_tasks(loops)

    async def _exchange_for_ever(self) -> None:
        while True:
            self._has_news.clear()
            try:
                await self.exchange()
                await self._renew_leases()
            except (RelayUnavailable, ResponseError) as fault:
                # What Redis knew may be lost with it: tell again whatever is not closed.
                self._told |= {identity: -1 for identity, one in self._breakers.items() if one.ejection is not None}
                log.debug("breakers.not_shared", error=type(fault).__name__)
                await asyncio.sleep(_LOOK_SECONDS)
                continue
            try:
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._has_news.wait()
            except TimeoutError:
                continue

    async def _listen(self) -> None:
        while True:
            try:
                with self._relay.reaching(is_blocking=True):
                    async with self._relay.patient.pubsub() as channel:
                        await channel.subscribe(CHANNEL)
                        await self._hear_of_changes(channel)
            except RelayUnavailable as fault:
                log.debug("breakers.not_listening", error=type(fault).__name__)
            await asyncio.sleep(_LISTEN_AGAIN_SECONDS)

    async def _hear_of_changes(self, channel: PubSub) -> None:
        """Until the connection is dead, which a silent one may be without anybody noticing."""
        is_asked = False
        while True:
            message = await channel.get_message(timeout=_QUIET_SECONDS)
            if message is not None:
                is_asked = False
                if message["type"] != "pong":
                    self._has_news.set()  # the first one says that we are subscribed: much may have passed us by
            elif is_asked:
                return
            else:
                is_asked = True
                await channel.ping()

    def tell(self) -> None:
        """Something may have changed here."""
        if any(self._told.get(identity) != breaker.changes for identity, breaker in self._breakers.items()):
            self._has_news.set()

    async def exchange(self) -> None:
        """Tell what changed here and hear what changed elsewhere: one round trip. Raises `RelayUnavailable`."""
        at = asyncio.get_running_loop().time()
        changes = {identity: breaker.changes for identity, breaker in self._breakers.items()}
        news: list[str] = []
        for identity, breaker in self._breakers.items():
            if self._told.get(identity, 0) != changes[identity]:
                news += [identity, *_encode(breaker.ejection, at)]
        with self._relay.reaching():
            told: list[str] = await self._relay.quick.eval(
                _EXCHANGE, 1, STATE_KEY, str(_STATE_MILLISECONDS), CHANNEL, *news
            )
        now = asyncio.get_running_loop().time()
        ejections = {
            told[place]: _decode(int(float(told[place + 1])), told[place + 2], now) for place in range(0, len(told), 3)
        }
        for identity, breaker in self._breakers.items():
            self._told[identity] = changes[identity]
            if breaker.changes == changes[identity]:
                self._hear(breaker, ejections.get(identity))

    async def take_probe(self, target: Target) -> bool:
        """Whether this process may send the one probe. Without Redis: yes, each worker its own."""
        try:
            with self._relay.reaching():
                taken = await self._relay.quick.set(
                    _lease_key(target.identity), self._token, nx=True, px=_LEASE_MILLISECONDS
                )
            if not taken:
                return False
            self._leases.add(target.identity)
            # The lease may be free because a probe has just failed: hear of that before sending another.
            await self.exchange()
        except (RelayUnavailable, ResponseError):
            return True
        except asyncio.CancelledError:
            # Whoever is interrupted here sends no probe, and a lease that is renewed would keep others from it.
            self._leases.discard(target.identity)
            raise
        if target.admission(asyncio.get_running_loop().time()) is Admission.PROBE:
            return True
        await self.release_probe(target)
        return False

    async def release_probe(self, target: Target) -> None:
        """The probe is over; another may be sent, by anybody. What it found is told first, if it can be."""
        was_leased = target.identity in self._leases
        self._leases.discard(target.identity)
        try:
            await self.exchange()
            if was_leased:
                with self._relay.reaching():
                    await self._relay.quick.eval(_RELEASE, 1, _lease_key(target.identity), self._token)
        except (RelayUnavailable, ResponseError):
            return  # it runs out by itself

    @staticmethod
    def _hear(breaker: Breaker, told: Ejection | None) -> None:
        # The same moment comes back a little different each time: keep ours then.
        mine = breaker.ejection
        if mine is not None and told is not None and abs(mine.ends_at - told.ends_at) < 0.25:
            told = told if (mine.openings, mine.good_probes) != (told.openings, told.good_probes) else mine
        if told != mine:
            breaker.adopt(told)

    async def _renew_leases(self) -> None:
        for identity in tuple(self._leases):
            with self._relay.reaching():
                await self._relay.quick.eval(_RENEW, 1, _lease_key(identity), self._token, str(_LEASE_MILLISECONDS))


async def read_breakers(relay: Relay) -> dict[str, Ejection]:
    """Which targets workers leave alone, by identity; `ends_at` in seconds from now. Raises `RelayUnavailable`."""
    with relay.reaching():
        told: list[str] = await relay.quick.eval(_EXCHANGE, 1, STATE_KEY, str(_STATE_MILLISECONDS))
    return {told[place]: _decode(int(float(told[place + 1])), told[place + 2], 0) for place in range(0, len(told), 3)}


def _lease_key(identity: str) -> str:
    return f"{PREFIX}:{{breakers}}:probe:{identity}"


def _encode(ejection: Ejection | None, at: float) -> tuple[str, str]:
    if ejection is None:
        return "0", ""
    fields = [ejection.reason, ejection.openings, ejection.is_pause, ejection.good_probes]
    return str(int(1000 * (ejection.ends_at - at))), orjson.dumps(fields).decode()


def _decode(remaining_milliseconds: int, fields: str, at: float) -> Ejection:
    # A newer worker may tell more, behind what we know.
    reason, openings, is_pause, good_probes, *_ = orjson.loads(fields)
    return Ejection(
        ends_at=at + remaining_milliseconds / 1000,
        reason=reason,
        openings=openings,
        is_pause=is_pause,
        good_probes=good_probes,
    )
