"""One study at one size in one store: what `plan`, `run` and `report` share."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablations.catalogue import STUDIES
from ablations.plan import PlannedRow, planned_rows, tasks
from ablations.study import Study
from datasets.protocols import PROTOCOLS
from datasets.roots import data_root, parse_data_options
from harness.errors import BadInput
from harness.profiles import load_profile
from harness.queue import Missing
from harness.runner import Job, logs_of, missing
from harness.runner import run as run_job
from harness.spec import Profile
from harness.store import Store

FORMATS = ("html", "latex", "markdown", "csv", "json")


@dataclass(frozen=True)
class Request:
    """What the user typed. must_exist: the store has to be there already."""

    study: str
    profile: str
    protocols: list[str]
    data: list[str]
    only: list[str]
    store: Path
    must_exist: bool = False


@dataclass(frozen=True)
class Session:
    """A request, resolved and checked."""

    request: Request
    study: Study
    profile: Profile
    rows: list[PlannedRow]
    digests: dict[str, str]
    coverage: dict[str, str]
    store: Store
    job: Job

    def run(self, device: str) -> None:
        """Do what is missing. Raises BadInput or RunFailed."""
        from harness.executors import LocalExecutor

        run_job(self.job, self.store, LocalExecutor(logs_of(self.store)), device)

    def plan(self) -> dict[str, Any]:
        """The runs, done or not, and what is known of how long the rest takes."""
        lacking = missing(self.job, self.store)
        names = {row.run.fingerprint: row.name for row in reversed(self.rows)}
        return {
            "study": self.study.name,
            "profile": self.profile.name,
            "protocols": self.coverage,
            "runs": [_planned(m, names[m.task.run.fingerprint], self.store) for m in lacking],
            "estimated_seconds": self._estimate(lacking),
            "disk_bytes": int(sum(not m.nothing for m in lacking) * self.profile.disk_gigabytes * 1e9),
            "free_bytes": self.store.free_bytes(),
        }

    def report(self, out: Path | None, *, formats: str = "", as_json: bool = False) -> None:
        """Write the report and print the table."""
        from harness.cli.terminal import say_table
        from reports.assemble import assemble
        from reports.write import write_report

        chosen = [f.strip() for f in formats.split(",") if f.strip()] or list(FORMATS)
        if unknown := sorted(set(chosen) - set(FORMATS)):
            raise BadInput(f"--format {', '.join(unknown)}: there are {', '.join(FORMATS)}")
        result = assemble(self.study, self.profile, self.rows, self.digests, self.store, self.command)
        folder = out or Path("report") / "-".join([self.study.name, self.profile.name, *self.request.protocols])
        written = write_report(result, folder, chosen)
        say_table(result, written, as_json=as_json)

    @property
    def command(self) -> str:
        """What reproduces this, without the paths of this machine."""
        words = ["python -m harness run", self.study.name]
        words += ["--profile", self.profile.name] if self.profile.name != "mini" else []
        words += [f"--protocol {name}" for name in self.request.protocols]
        words += [f"--data {entry.split('=')[0]}=PATH" for entry in self.request.data]
        words += [f"--only {name}" for name in self.request.only]
        return " ".join(words)

    def _estimate(self, lacking: list[Missing]) -> float | None:
        """Wall seconds for the rest, from finished trainings under the same recipe in this store; None without any."""
        finished = [t for m in lacking if (t := self.store.run(m.task.run).training()) is not None]
        left = sum(m.training for m in lacking)
        if not left or not finished:
            return None if left else 0.0
        workers = max(t.where.concurrent_workers for t in finished)
        return sum(t.cost.wall() for t in finished) / len(finished) * left / workers


def open_session(request: Request) -> Session:
    """Resolve names, find and check the data, open the store: everything that can be refused is refused here."""
    study, profile = STUDIES[request.study], load_profile(request.profile)
    given = parse_data_options(request.data)
    names = request.protocols or list(profile.protocols)
    opened, roots = {}, {}
    for name in names:
        protocol = PROTOCOLS[name]
        root = data_root(protocol.data, given) if protocol.data else None
        opened[name] = protocol.open(root)
        opened[name].check()
        if protocol.data and root:
            roots[protocol.data] = str(root.resolve())
    digests = {name: sequences.digest() for name, sequences in opened.items()}
    rows = planned_rows(study, profile, only=request.only)
    if request.must_exist and not (request.store / "store.json").exists():
        raise BadInput(
            f"there is no store at {request.store}: name it with --store, or `python -m harness run {study.name}` first"
        )
    if any(len(sequences) < 2 for sequences in opened.values()):
        rows = [row for row in rows if row.control == "none"]  # one sequence has no other one's template
    return Session(
        request=request,
        study=study,
        profile=profile,
        rows=rows,
        digests=digests,
        coverage={name: sequences.coverage for name, sequences in opened.items()},
        store=Store(request.store),
        job=Job(
            tasks=tasks(rows, digests, roots),
            sizes=[row.tracker_at_paper_scale for row in rows if row.tracker_at_paper_scale],
            sequences={name: list(sequences.names) for name, sequences in opened.items()},
            profile=profile,
        ),
    )


def _planned(item: Missing, name: str, store: Store) -> dict[str, Any]:
    folder = store.run(item.task.run)
    failure = folder.failure()
    return {
        "row": name,
        "run": item.task.run.name,
        "done": item.nothing,
        "training": item.training,
        "sequences_missing": item.sequences,
        "speed": item.speed,
        "failed": failure.summary if failure else None,
    }
