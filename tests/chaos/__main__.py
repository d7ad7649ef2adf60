"""`python -m tests.chaos`: faults under load, then the checker. Exit code 1 when a promise was broken."""

import argparse
import secrets
import shlex
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import uvloop

from tests.chaos.checker import check
from tests.chaos.history import read_history
from tests.chaos.report import Result, append, described, summed
from tests.chaos.run import Plan, make_history
from tests.chaos.stack import Size

_FOLDER = Path(".data/chaos")


def main() -> int:
    asked = _arguments()
    seed = asked.seed if asked.seed is not None else secrets.randbelow(10**6)
    settings = dict(setting.split("=", 1) for setting in asked.set)
    plan = Plan(
        seconds=asked.minutes * 60,
        seed=seed,
        posts_per_second=asked.rate,
        density=asked.density,
        only=tuple(name for name in asked.only.split(",") if name),
        size=Size(apis=asked.apis, workers=asked.workers, mongod_members=asked.mongod, settings=settings),
    )
    plan.kinds  # noqa: B018  # a wrong name is told before anything is started
    folder = (asked.folder or _FOLDER / f"{time.strftime('%Y%m%d-%H%M%S')}-seed-{seed}").absolute()
    uvloop.run(make_history(plan, folder, _tell))
    _tell("checking")
    history = read_history(folder / "history")
    verdict = check(history)
    result = Result.of(history, verdict, mongod_members=asked.mongod, posts_per_second=asked.rate)
    print(described(result))
    if asked.append is not None:
        print(summed(append(result, asked.append)))
    if not result.violations and not asked.keep:
        shutil.rmtree(folder)
        return 0
    again = shlex.join([*_without_seed(sys.argv[1:]), "--seed", str(seed)])
    print(f"kept: {folder}\nagain: python -m tests.chaos {again}")
    return 1 if result.violations else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=2.0, help="how long there are faults")
    parser.add_argument("--seed", type=int, help="decides the faults and what clients do; a random one otherwise")
    parser.add_argument("--rate", type=float, default=50.0, help="messages posted a second")
    parser.add_argument("--density", type=float, default=1.0, help="2: twice as many faults")
    parser.add_argument("--only", default="", help="names of the faults to make, with commas; all otherwise")
    parser.add_argument("--mongod", type=int, choices=[1, 3], default=1, help="members of the replica set")
    parser.add_argument("--apis", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the service")
    parser.add_argument("--append", type=Path, help="file of results to add this run to; prints their sum")
    parser.add_argument("--folder", type=Path, help="where to write; .data/chaos/... otherwise")
    parser.add_argument("--keep", action="store_true", help="keep the history though nothing was violated")
    return parser.parse_args()


def _without_seed(arguments: Sequence[str]) -> list[str]:
    return [
        word
        for before, word in zip(["", *arguments], arguments, strict=False)
        if "--seed" not in (before, word) and not word.startswith("--seed=")
    ]


def _tell(what: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
