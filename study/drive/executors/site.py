"""Describe where an executor would run packs."""

from dataclasses import dataclass

from study.plan.machine import Machine, MachineError, in_words, this_machine
from workers.contract.settings import RunSettings


@dataclass(frozen=True)
class Site:
    """Where packs would run, and what is printed about it."""

    machine: Machine
    words: str
    """Text for the first line, such as `this machine, 2 cores`."""
    is_here: bool
    """Whether it is this machine, so that rates calibrated here apply."""
    notes: tuple[str, ...] = ()
    """Printed below the first line."""
    farewell: str = ""
    """Printed after the run, unless it is empty."""


def this_site(run: RunSettings, notes: tuple[str, ...] = ()) -> Site:
    """Return this machine as a site.

    Raises:
        MachineError: see this_machine.
    """
    machine = this_machine(run)
    return Site(machine, in_words(machine), is_here=True, notes=notes)


def refuse_address(executor: str, address: str | None) -> None:
    """Refuse the address of a cluster, for an executor that runs packs on this machine alone.

    Raises:
        MachineError: the address is not this machine.
    """
    if address not in (None, "local"):
        raise MachineError(f"--address {address} and --executor {executor}: leave one of them out")
