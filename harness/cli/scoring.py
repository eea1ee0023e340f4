"""The command `score`: raw result files of anyone's tracker, by anyone's rules."""

import os
import shlex
import sys
from pathlib import Path

from trackablate.datasets.benchmark import SequenceList
from trackablate.datasets.errors import DataError, shown
from trackablate.datasets.protocols import PROTOCOLS
from trackablate.datasets.roots import data_root, parse_data_options
from trackablate.harness.cli.terminal import say_tables, step_bar
from trackablate.harness.errors import BadInput
from trackablate.harness.scoring.raw_reading import ScoreRequest
from trackablate.harness.scoring.raw_scoring import chosen_dialects, score
from trackablate.harness.scoring.result_files import ResultFiles, open_results
from trackablate.harness.scoring.scored import Scored


def scored_results(
    entries: list[str],
    protocol: str,
    annotations: Path | None,
    data: list[str],
    dialects: list[str],
    store: Path | None,
    *,
    truncate: bool,
    allow_incomplete: bool,
    repetition: int | None,
    page: bool,
    more: str,
) -> Scored:
    """Score NAME=PATH entries; what is wrong with single results is in the answer.

    With `page`, failures are counted too. `more` are options of the output, for the command that gives the same again.

    Raises:
        UnknownName, DataError, BadInput: Nothing can be scored.
    """
    chosen = chosen_dialects(protocol, dialects)
    root = _root(protocol, annotations, data)
    if store and not _may_write(store):
        sys.stderr.write(f"{shown(store)} cannot be written: nothing is kept for the next time\n")
        store = None
    # Without an index: making one reads all annotation, which the workers do side by side.
    sequences = PROTOCOLS[protocol].open(root)
    if _on_server(sequences):
        raise BadInput(
            f"the annotation has the first box of each sequence alone: those of {PROTOCOLS[protocol].title} are on its"
            " evaluation server; `python -m harness submit` makes the archive for it"
        )
    results = tuple(_results(entries, sequences, repetition))
    request = ScoreRequest(
        protocol=protocol,
        annotations=root,
        results=results,
        dialects=chosen,
        command=_command(entries, protocol, dialects, repetition, truncate=truncate, allow_incomplete=allow_incomplete)
        + more,
        truncate=truncate,
        allow_incomplete=allow_incomplete,
        store=store,
        with_failures=page,
        every_dialect="all" in dialects,
    )
    with step_bar(f"scoring {protocol}", len(sequences), after=1.0) as bar:
        return score(request, sequences, lambda done, total: bar(len(sequences) - total + done))


def _command(
    entries: list[str],
    protocol: str,
    dialects: list[str],
    repetition: int | None,
    *,
    truncate: bool,
    allow_incomplete: bool,
) -> str:
    """Return the command that gives the same again, without the paths of this machine."""
    names = (entry.split("=")[0] for entry in entries)
    words = ["python -m harness score", *(shlex.quote(f"{name}=PATH") for name in names)]
    words += [f"--protocol {protocol} --annotations PATH", *(f"--dialect {name}" for name in dialects)]
    words += ["--truncate"] if truncate else []
    words += [f"--repetition {repetition}"] if repetition is not None else []
    return " ".join(words + (["--allow-incomplete"] if allow_incomplete else []))


def shown_options(compare: tuple[str, str] | None, *, attributes: bool, page: bool) -> str:
    """Return the options of the output, as they stand in a command."""
    words = ["--attributes"] if attributes else []
    words += [f"--compare {shlex.join(compare)}"] if compare else []
    return "".join(f" {word}" for word in words + (["--out OUT"] if page else []))


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


def output_folder(out: Path) -> None:
    """Check, before hours are spent, that a folder of outputs can be made.

    Raises:
        BadInput: It cannot.
    """
    if (out.exists() and not out.is_dir()) or not _may_write(out):
        raise BadInput(f"--out {shown(out)} is no folder that can be written: name another")


def incomplete(scored: Scored) -> str:
    """Return why an incomplete tracker has no score and what to do; empty if none is refused."""
    if not scored.incomplete or scored.protocol.allow_incomplete:
        return ""
    return (
        f"{', '.join(scored.incomplete)}: incomplete, so without a score (what is wrong is listed above); mend the files,"
        " or give --allow-incomplete to score what is whole"
    )


def say_scores(
    scored: Scored, compare: tuple[str, str] | None, out: Path | None, *, attributes: bool, as_json: bool
) -> None:
    """Print tables or one JSON document, problems on standard error, and write the page if `out` is given.

    Raises:
        BadInput: The pair cannot be compared. Then, or if a tracker is refused, no page is written.
    """
    from trackablate.reports.formats.documents import as_text, results_json, score_document
    from trackablate.reports.pages.write import write_report
    from trackablate.reports.results import result_of
    from trackablate.reports.tables.comparison import comparison_table, comparisons
    from trackablate.reports.tables.dialects import dialect_tables, flattering
    from trackablate.reports.tables.pivot import pivot
    from trackablate.reports.tables.sequences import attribute_table

    result, facts = result_of(scored, compare), scored.protocol
    compared = comparisons(result)
    written = write_report(result, out) if out and not incomplete(scored) else []
    for problem in scored.problems:
        sys.stderr.write(f"{problem}\n")
    if as_json:
        whole = attributes or compare
        sys.stdout.write(results_json(result, pivot(result)) if whole else as_text(score_document(result)))
    else:
        tables = [pivot(result), *dialect_tables(result, facts, flattering(result, facts))]
        tables += [found] if attributes and (found := attribute_table(result, facts)) else []
        tables += [comparison_table(result, compared)] if compared else []
        say_tables(tables)
    if written:
        sys.stderr.write(f"page: {written[0]}\n")


def _root(protocol: str, annotations: Path | None, data: list[str]) -> Path | None:
    """Return the place of the annotation: the user's, else the data set's own folder; None for a protocol without files."""
    known = PROTOCOLS[protocol]
    if known.data is None:
        return None
    if annotations is None:
        return data_root(known.data, parse_data_options(data))
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
