"""Command line of the attacks: `python -m faults --help`."""

import argparse
import random
import sys
from pathlib import Path

from faults import report
from faults.attack import AREAS, BAD, BROKEN, Attack

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "reliability.md"


def main(arguments: list[str] | None = None) -> int:
    """Run the attacks, and return 0 if no outcome is bad, else 1."""
    options = _parser().parse_args(arguments)
    ledger = options.output.with_suffix(".jsonl")
    if options.report:
        report.fill(DOCUMENT, report.read_ledger(ledger))
        return 0
    from faults.server import Server, set_environment

    set_environment(options.backend)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    server = Server(options.work.absolute(), ledger, options.seed, options.jobs, options.keep)
    server.prepare()
    from faults.areas import all_attacks

    attacks = choose(all_attacks(options.seed), options)
    if options.list:
        print("\n".join(attack.name for attack in attacks))
        return 0
    earlier = report.read_ledger(ledger) if options.resume else []
    if not options.resume:
        ledger.unlink(missing_ok=True)
    done = {result["name"] for result in earlier if result["seed"] == options.seed}
    attacks = [attack for attack in attacks if attack.name not in done]
    server.run(attacks, 60 * options.minutes)
    results = report.read_ledger(ledger)
    report.write_report(results, options.output, options.seed)
    print(report.table(results))
    return int(any(result["outcome"] in (*BAD, BROKEN) for result in results))


def choose(attacks: list[Attack], options: argparse.Namespace) -> list[Attack]:
    """Return the attacks that the options ask for, in random order within their areas' turns."""
    if options.replay:
        return [attack for attack in attacks if attack.name in options.replay]
    if options.only:
        attacks = [attack for attack in attacks if attack.area in options.only]
    if options.match:
        attacks = [attack for attack in attacks if options.match in attack.name]
    if options.part < 1.0:
        # Attacks at findings are always made: each was a fault once.
        attacks = [
            attack
            for attack in attacks
            if attack.finding or random.Random(attack.seed(options.seed)).random() < options.part
        ]
    return attacks


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m faults", description="Attacks on kddim.")
    add = parser.add_argument
    add("--seed", type=int, default=0, help="seed of all attacks")
    add("--minutes", type=float, default=55.0, help="time after which no attack is started")
    add("--only", action="append", choices=AREAS, help="only this area; may be repeated")
    add("--match", help="only attacks whose name contains this text")
    add("--part", type=float, default=1.0, help="share of the attacks, at random, in (0, 1]")
    add("--replay", action="append", metavar="NAME", help="only this attack; may be repeated")
    add("--resume", action="store_true", help="skip attacks that the ledger holds")
    add("--report", action="store_true", help="fill docs/reliability.md from the ledger")
    add("--list", action="store_true", help="print the names of the attacks")
    add("--jobs", type=int, default=2, help="number of attacks at once")
    add("--backend", default="torch", choices=("tensorflow", "jax", "torch"))
    add("--keep", action="store_true", help="keep the folders of the attacks")
    add("--work", type=Path, default=Path("build/faults"), help="folder for the attacks' files")
    add("--output", "-o", type=Path, default=Path("build/faults.md"), help="table to write")
    return parser


if __name__ == "__main__":
    sys.exit(main())
