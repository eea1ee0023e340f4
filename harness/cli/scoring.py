"""The command `score`: raw result files of anyone's tracker, by anyone's rules."""

import os
import shlex
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from trackablate.datasets.benchmark import SequenceList
from trackablate.datasets.errors import DataError, shown
from trackablate.datasets.protocols import PROTOCOLS, as_asked
from trackablate.datasets.roots import data_root
from trackablate.harness.cli.study_data import given_data
from trackablate.harness.cli.terminal import say_short, say_tables
from trackablate.harness.errors import BadInput
from trackablate.harness.progress.bars import step_bar
from trackablate.harness.scoring.dialects import known_protocol
from trackablate.harness.scoring.raw_reading import ScoreRequest
from trackablate.harness.scoring.raw_scoring import chosen_dialects, score
from trackablate.harness.scoring.result_files import ResultFiles, open_results
from trackablate.harness.scoring.scored import Scored


@dataclass(frozen=True)
class ScoreOptions:
    """What the user typed.

    Attributes:
        entries: NAME=PATH of each tracker's raw results.
        annotations: The ground truth; None for the data set's own folder.
        repetition: One of GOT-10k's repeated runs; None for all.
        compare: Two of the trackers.
        out: Folder for a page, None for none.
    """

    entries: list[str]
    protocol: str
    annotations: Path | None
    data: list[str]
    dialects: list[str]
    store: Path
    truncate: bool = False
    allow_incomplete: bool = False
    repetition: int | None = None
    attributes: bool = False
    compare: tuple[str, str] | None = None
    out: Path | None = None
    full: bool = False
    as_json: bool = False

    @property
    def command(self) -> str:
        """The command that gives the same again, without the paths of this machine."""
        names = (entry.split("=")[0] for entry in self.entries)
        words = ["python -m harness score", *(shlex.quote(f"{name}=PATH") for name in names)]
        words += [f"--protocol {as_asked(self.protocol)} --annotations PATH"]
        words += [f"--dialect {name}" for name in self.dialects]
        words += ["--truncate"] if self.truncate else []
        words += [f"--repetition {self.repetition}"] if self.repetition is not None else []
        words += ["--allow-incomplete"] if self.allow_incomplete else []
        words += ["--attributes"] if self.attributes else []
        words += [f"--compare {shlex.join(self.compare)}"] if self.compare else []
        return " ".join(words + (["--out OUT"] if self.out else []))


def scored_results(asked: ScoreOptions) -> Scored:
    """Score raw results; what is wrong with single files is in the answer.

    Raises:
        UnknownName, DataError, BadInput: Nothing can be scored.
    """
    asked = replace(asked, protocol=known_protocol(asked.protocol).name)
    chosen = chosen_dialects(asked.protocol, asked.dialects)
    root = _root(asked.protocol, asked.annotations, asked.data)
    store: Path | None = asked.store
    if not _may_write(asked.store):
        sys.stderr.write(f"{shown(asked.store)} cannot be written: nothing is kept for the next time\n")
        store = None
    # Without an index: making one reads all annotation, which the workers do side by side.
    sequences = PROTOCOLS[asked.protocol].open(root)
    if _on_server(sequences):
        raise BadInput(
            f"the annotation has the first box of each sequence alone: those of {PROTOCOLS[asked.protocol].title} are on"
            " its evaluation server; `python -m harness submit` makes the archive for it"
        )
    request = ScoreRequest(
        protocol=asked.protocol,
        annotations=root,
        results=tuple(_results(asked.entries, sequences, asked.repetition)),
        dialects=chosen,
        command=asked.command,
        truncate=asked.truncate,
        allow_incomplete=asked.allow_incomplete,
        store=store,
        with_failures=asked.out is not None or asked.as_json,
        every_dialect="all" in asked.dialects,
        own_metrics=asked.dialects in ([], ["all"]),
    )
    with step_bar(f"scoring {asked.protocol}", len(sequences), after=1.0) as bar:
        return score(request, sequences, lambda done, total: bar(len(sequences) - total + done))


def _on_server(sequences: SequenceList) -> bool:
    """Return whether only first frames are annotated. A broken annotation is named later, with all others."""
    try:
        return len(sequences[0].boxes) == 1
    except DataError:
        return False


def _may_write(folder: Path) -> bool:
    """Return whether the folder, or the first existing one above it, may be written to."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    return there.is_dir() and os.access(there, os.W_OK)


def incomplete(scored: Scored) -> str:
    """Return why an incomplete tracker has no score and what to do; empty if none is refused."""
    if not scored.incomplete or scored.protocol.allow_incomplete:
        return ""
    return (
        f"{', '.join(scored.incomplete)}: incomplete, so without a score (what is wrong is listed above); mend the files,"
        " or give --allow-incomplete to score what is whole"
    )


def say_scores(scored: Scored, asked: ScoreOptions) -> None:
    """Print tables or one JSON document, problems on standard error, and write the page if one was asked for.

    Raises:
        BadInput: The pair cannot be compared. Then, or if a tracker is refused, no page is written.
    """
    from trackablate.reports.formats.documents import as_text, results_json, score_document
    from trackablate.reports.formats.summary import without_footnotes
    from trackablate.reports.pages.write import write_report
    from trackablate.reports.results import result_of
    from trackablate.reports.tables.comparison import comparison_table, comparisons
    from trackablate.reports.tables.dialects import dialect_tables, flattering
    from trackablate.reports.tables.pivot import pivot
    from trackablate.reports.tables.sequences import attribute_table

    result, facts = result_of(scored, asked.compare), scored.protocol
    compared = comparisons(result)
    written = write_report(result, asked.out) if asked.out and not incomplete(scored) else []
    for problem in scored.problems:
        sys.stderr.write(f"{problem}\n")
    if asked.as_json:
        whole = asked.attributes or asked.compare
        sys.stdout.write(results_json(result, pivot(result)) if whole else as_text(score_document(result)))
    else:
        say_short(result, pivot(result), full=asked.full)
        tables = dialect_tables(result, facts, flattering(result, facts))
        tables += [found] if asked.attributes and (found := attribute_table(result, facts)) else []
        tables += [comparison_table(result, compared)] if compared else []
        say_tables(tables if asked.full else [without_footnotes(table) for table in tables])
    if written:
        sys.stderr.write(f"page: {written[0]}\n")


def _root(protocol: str, annotations: Path | None, data: list[str]) -> Path | None:
    """Return the place of the annotation: the user's, else the data set's own folder; None for a protocol without files."""
    known = PROTOCOLS[protocol]
    if known.data is None:
        return None
    given = given_data(data, [protocol])
    if annotations is None:
        return data_root(known.data, given)
    if given:
        raise BadInput("--data and --annotations both name the annotation: leave one of them out")
    if not annotations.exists():
        raise BadInput(f"--annotations {shown(annotations)} is not there: name the folder or archive of {known.title}")
    return annotations


def _results(entries: list[str], sequences: SequenceList, repetition: int | None) -> list[ResultFiles]:
    found: dict[str, ResultFiles] = {}
    for entry in entries:
        name, _, path = entry.partition("=")
        if not name or not path:
            raise BadInput(f"{shown(entry)!r} is not NAME=PATH; write for example MyTracker=results/lasot")
        if not name.isprintable():
            raise BadInput(f"{shown(name)!r} cannot be a tracker's name: use printable characters")
        if name in found:
            raise BadInput(f"{shown(name)!r} is named twice; give every tracker a name of its own")
        if not Path(path).expanduser().exists() and not any(p.is_file() for p in Path(path).expanduser().parents):
            raise DataError(f"{shown(path)}, named for {shown(name)}, is not there: name a folder or a zip archive")
        found[name] = open_results(name, Path(path).expanduser(), sequences.names, repetition=repetition)
    return list(found.values())
