"""Run packs one after the other in this process, without Ray."""

from collections.abc import Sequence

from study.drive.executors.executor import Listener, Resources
from study.drive.executors.site import Site, refuse_address, this_site
from study.forecast.overhead import Overhead
from workers.contract.failure import Failure, failure_of
from workers.contract.job import Job
from workers.contract.settings import RunSettings


class Inline:
    """Trains in this process. If it dies, so does the command; running the same command again continues."""

    name = "inline"
    overhead = Overhead(start_s=0.0, pack_s=0.0, runs_side_by_side=False)

    def find_site(self, run: RunSettings, address: str | None) -> Site:
        """Return this machine; refuse any other address."""
        refuse_address(self.name, address)
        return this_site(run)

    def prepare(self, site: Site, out: str) -> None:
        """Do nothing: packs use the same folder as the command itself."""

    def run(self, jobs: Sequence[Job], resources: Resources, listener: Listener) -> None:
        """Run packs one after the other."""
        # Imported late: a plan needs no torch.
        from workers.train.attempts import run_attempts

        for job in jobs:
            pack_id = job.pack.pack_id
            try:
                ended = run_attempts(
                    job,
                    lambda p: listener.epoch(p.pack_id, p.epoch, p.committed, p.diverged),
                    lambda failure, pack_id=pack_id: listener.retried(pack_id, failure),  # type: ignore[misc]
                )
            except RuntimeError as error:  # the GPU needs a new process, but there is only this one
                ended = failure_of(error)
            if isinstance(ended, Failure):
                listener.failed(pack_id, ended)
            else:
                listener.ended(pack_id, ended.status)
