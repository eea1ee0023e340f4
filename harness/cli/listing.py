"""The documents of `list` (names with one line each) and `show` (one entry in full)."""

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from trackablate.ablations.catalogue import STUDIES, named_study
from trackablate.ablations.published import published
from trackablate.ablations.recipes import Training
from trackablate.ablations.study import RECIPE, Study
from trackablate.datasets.protocols import DATA_SETS, PROTOCOLS
from trackablate.datasets.registry import Registry, UnknownName, unknown
from trackablate.datasets.synthetic.domains import DOMAINS
from trackablate.datasets.toml_files import read_toml
from trackablate.harness.profiles import load_profile, profile_names
from trackablate.harness.scoring.dialects import Treatments
from trackablate.harness.scoring.metrics import DIALECTS, METRICS, Dialect
from trackablate.trackers.outside.named import OUTSIDE, fault_of
from trackablate.trackers.spec import OutsideSpec, TrackerSpec, differences
from trackablate.trackers.variants import VARIANTS

Listing = dict[str, dict[str, str]]
MOST_CHANGES = 4
"""The most differing fields by which a tracker is described."""


def _datasets() -> dict[str, str]:
    synthetic = {f"synthetic-{name}": "embedded generator" for name in DOMAINS}
    real = {name: f"{d.title}: needs --data {name}=PATH; {', '.join(d.parts)}" for name, d in DATA_SETS.items()}
    return synthetic | real


def _outside(spec: OutsideSpec) -> str:
    reason = fault_of(spec)
    return f"{spec.name}: {f'not usable here, {reason}' if reason else 'usable here'}"


KINDS: dict[str, Callable[[], dict[str, str]]] = {
    "studies": lambda: {name: f"{study.title}: {study.question}" for name, study in STUDIES.items()},
    "trackers": lambda: {name: describe(spec) for name, spec in VARIANTS.items()},
    "outside": lambda: {name: _outside(spec) for name, spec in OUTSIDE.items()},
    "protocols": lambda: {name: protocol.description for name, protocol in PROTOCOLS.items()},
    "dialects": lambda: {name: f"{d.description} ({', '.join(d.metrics)})" for name, d in DIALECTS.items()},
    "datasets": _datasets,
    "profiles": lambda: {name: load_profile(name).description for name in profile_names()},
}


def listing(kind: str) -> Listing:
    """Return {kind: {name: one line}} of one kind, or of all for "". Raises UnknownName."""
    if kind and kind not in KINDS:
        raise UnknownName(unknown("list", kind, list(KINDS)))
    return {name: make() for name, make in KINDS.items() if kind in ("", name)}


def in_short(found: Listing) -> list[str]:
    """Return the lines of `list` without a kind: one for each study, and the names alone of everything else."""
    width = max(map(len, STUDIES))
    studies = [f"  {name:<{width}}  {study.title}" for name, study in STUDIES.items()]
    others = [f"{kind} ({len(names)}): {', '.join(names)}" for kind, names in found.items() if kind != "studies"]
    return [f"studies ({len(studies)})", *studies, *others, f"`list KIND` says more of each: {', '.join(found)}"]


def describe(spec: TrackerSpec) -> str:
    """Describe a tracker in one line: by a few differences from the tracker whose name it extends, or by its axes."""
    base = max((n for n in VARIANTS if spec.name.startswith(f"{n}-")), key=len, default="")
    changed = differences(spec, VARIANTS[base]) if base else {}
    if changed and len(changed) <= MOST_CHANGES:
        return f"as {base}, but {', '.join(_changes(spec, changed))}"
    crop = spec.crop
    parts = [spec.backbone, f"{crop.template_size}/{crop.search_size} px", spec.adaptation.kind]
    parts += [f"head {spec.head.kind}"]
    parts += ["candidate elimination"] if spec.sparsity else []
    parts += ["denoising"] if spec.denoising else []
    return ", ".join(parts)


def _changes(spec: TrackerSpec, changed: Mapping[str, tuple[Any, Any]]) -> list[str]:
    """Return the differences, without fields that the tracker's kind of an axis does not have."""
    gone = [f"no {axis}" for axis in dict.fromkeys(f.split(".")[0] for f in changed) if getattr(spec, axis) is None]
    return [f"{field} {_shown(ours)}" for field, (ours, _) in changed.items() if ours is not None] + gone


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "+".join(map(_shown, value)) if isinstance(value, tuple) else str(value)


def details(name: str) -> dict[str, Any]:
    """Return a study, tracker, protocol or dialect in full; a protocol with the dialect of the same name.

    A study or a protocol may be named by its TOML file. Raises UnknownName if none of them has the name.
    """
    if name.endswith(".toml") and Path(name).is_file() and "baseline" in read_toml(Path(name))[1]:
        return _study(named_study(name))
    registries: tuple[tuple[Registry[Any], Callable[[Any], dict[str, Any]]], ...] = (
        (STUDIES, _study),
        (VARIANTS, lambda spec: {"tracker": spec.name, **spec.model_dump(mode="json")}),
        (PROTOCOLS, _protocol),
        (DIALECTS, _dialect),
    )
    found = [document(registry[name]) for registry, document in registries if name in registry]
    if found:
        return found[0] | ({"dialect": found[1]} if len(found) > 1 else {})
    known = list(dict.fromkeys(entry for registry, _ in registries for entry in registry))
    raise UnknownName(unknown("study, tracker, protocol or dialect", name, known))


COSTS = {
    "variant": ("tracker", "", 1),
    "params": ("parameters in training", "", 1),
    "trainable_params": ("parameters that are trained", "", 1),
    "adaptation_params": ("parameters of the adaptation", "", 1),
    "head_params": ("parameters of the head", "", 1),
    "inference_params": ("parameters in tracking", "", 1),
    "macs.fvcore": ("multiply-accumulates (MACs) of a frame, as fvcore counts them", "G", 1e9),
    "macs.thop_linear_conv_only": (
        "MACs of a frame, linear and convolutional layers alone, as thop counts them",
        "G",
        1e9,
    ),
    "macs_unmerged": ("MACs of a frame with the adaptation beside the layers", "G", 1e9),
    "macs_skipped": ("MACs that fvcore counts and tracking skips", "G", 1e9),
    "tokens.template": ("tokens of the template", "", 1),
    "tokens.search": ("tokens of the search region", "", 1),
    "forward": ("how the network is run", "", 1),
    "fps": ("speed at batch 1", "frames/s", 1),
    "fps_range": ("slowest and fastest round", "frames/s", 1),
    "fps_from_jpeg": ("speed from JPEG files of 1280 x 720 pixels", "frames/s", 1),
    "latency": ("time of a frame, median", "ms", 1),
    "latency95": ("time of a frame, 95th percentile", "ms", 1),
    "memory_bytes": ("memory at most", "MB", 1e6),
    "memory_kind": ("what that memory is", "", 1),
}
"""What `cost` says of each field of its document: words, unit, and what the figure is divided by."""


def cost_in_words(document: Mapping[str, Any]) -> dict[str, str]:
    """Return the document of `cost` for people, with words and units."""
    flat: dict[str, Any] = {}
    for key, value in document.items():
        flat |= {f"{key}.{part}": v for part, v in value.items()} if isinstance(value, dict) else {key: value}
    found = {}
    plain = not flat.get("adaptation_params", True)  # without an adaptation there is nothing to say of it
    for key, value in flat.items():
        if plain and key in ("adaptation_params", "macs_unmerged"):
            continue
        words, unit, scale = COSTS.get(key, (key, "", 1))
        figures = [_figure(one, scale) for one in (value if isinstance(value, list) else [value])]
        found[words] = f"{' to '.join(figures)} {unit}".strip()
    return found


def trained_in_words(document: dict[str, Any]) -> dict[str, Any]:
    """Return the document of `train` for people, who read its costs in a sentence."""
    phases = document["cost"]["phases"] if "cost" in document else {}
    walls = [f"{name} {phase['wall_seconds']:.3g} s" for name, phase in phases.items()]
    words = {"validation_iou": "validation IoU"}
    found = {words.get(key, key): value for key, value in document.items() if key not in ("cost", "fps", "next")}
    last = {"next": document["next"]} if "next" in document else {}
    return found | ({"wall time": ", ".join(walls)} if walls else {}) | last


def evaluated_in_words(document: dict[str, Any]) -> dict[str, Any]:
    """Return the document of `evaluate` for people, with symbols and units of its metrics."""

    def figure(key: str, value: Any) -> tuple[str, Any]:
        if (metric := METRICS.get(key)) is None:
            return key, dict(figure(*one) for one in value.items()) if isinstance(value, dict) else value
        return metric.symbol, f"{value:.{metric.decimals}f} {metric.unit}".strip()

    return dict(figure(*one) for one in document.items())


def _figure(value: Any, scale: float) -> str:
    if not isinstance(value, (int, float)):
        return "unknown" if value is None else str(value)
    scaled = value / scale
    return f"{scaled:,.0f}" if scaled >= 1000 or (isinstance(value, int) and scale == 1) else f"{scaled:.4g}"


OPEN, MARKED = " (the paper is silent)", " *"
CHOSEN = "chosen where the paper is silent"


def said_once(document: dict[str, Any]) -> dict[str, Any]:
    """Return the document of `details` for people: what was chosen where the paper is silent stands in one place."""
    if "study" not in document:
        return document
    rows = {name: {"differs": _marked(row["differs"])} | _printed(row) for name, row in document["rows"].items()}
    if not (chosen := document.get(CHOSEN)):
        return document | {"rows": rows}
    every = "; ".join(chosen.values())
    replaced = {
        "rows": rows,
        CHOSEN: {f"{field}{MARKED}": choice for field, choice in chosen.items()},
        "remarks": [remark.replace(every, f"what is marked{MARKED} above") for remark in document["remarks"]],
    }
    return document | replaced


def _marked(differs: str | dict[str, str]) -> str | dict[str, str]:
    if isinstance(differs, str):
        return differs
    return {field: re.sub(r"\bNone\b", "none", text).replace(OPEN, MARKED) for field, text in differs.items()}


PRINTED = {
    "params": ("M parameters", 1e6),
    "trainable": ("M trainable parameters", 1e6),
    "flops": ("GFLOPs", 1e9),
    "fps": ("frames/s", 1),
    "gpu_hours": ("GPU-hours", 1),
    "memory": ("GB of memory", 1e9),
}
"""Unit of each figure that a paper prints, and what the figure is divided by."""


def _printed(row: dict[str, Any]) -> dict[str, list[str]]:
    """Return what papers print of a row, in words."""
    lines = []
    for entry in row["published"] or ():
        scores = [
            f"{METRICS[metric].symbol} {value:g} on {name}"
            for name, of in entry.get("metrics", {}).items()
            for metric, value in of.items()
        ]
        scores += [f"{epochs:g} epochs for {name}" for name, epochs in entry.get("epochs", {}).items()]
        sizes = [f"{_figure(entry[key], scale)} {unit}" for key, (unit, scale) in PRINTED.items() if key in entry]
        note = f"; {entry['note']}" if "note" in entry else ""
        lines.append(f"{', '.join((*scores, *sizes))} ({entry['source']}){note}")
    return {"published": lines} if lines else {}


def _study(study: Study) -> dict[str, Any]:
    rows = {}
    for row in study.rows:
        changed = study.differences(row).items()
        differs = {
            field: f"{_of(study, field, theirs)} -> {_of(study, field, ours)}{OPEN * (field in study.silent)}"
            for field, (ours, theirs) in changed
        }
        printed = [
            entry.model_dump(exclude={"rows"}, exclude_defaults=True) for entry, _ in published(study.name, row.name)
        ]
        rows[row.name] = {"differs": differs or "the baseline", "published": printed or None}
    return {
        "study": study.name,
        "title": study.title,
        "question": study.question,
        "source": study.source,
        "factors": dict(study.factors),
        "coupled": {c.field: c.reason for c in study.coupled},
        "rows": rows,
        CHOSEN: dict(study.silent) or None,
        "remarks": list(study.remarks),
        "baseline": study.baseline.model_dump(mode="json"),
        "trainings of the baseline": [_training(training) for training in study.trainings],
        "seeds": study.seeds,
    }


def _training(training: Training) -> dict[str, Any]:
    """Return one training at paper scale, with the protocols that evaluate it."""
    return {
        "for": ", ".join(training.protocols),
        "data": training.data.model_dump(mode="json"),
        "recipe": training.recipe.model_dump(mode="json"),
        "candidate elimination starts and is complete at": training.elimination or "the tracker's shares",
    }


def _of(study: Study, field: str, value: Any) -> str:
    """Return a field's value; for a recipe's field, the values of all the study's trainings."""
    each = field.startswith(f"{RECIPE}.") and len(study.trainings) > 1
    return " / ".join(map(_shown, value)) if each else _shown(value)


def _dialect(dialect: Dialect) -> dict[str, Any]:
    """Return every rule, and the rules that change with the data set's name."""
    rules = {field.name: getattr(dialect, field.name) for field in fields(dialect)}
    readings = {key: f"{r.how} {r.at or ''} of {r.curve}".replace("  ", " ") for key, r in dialect.readings.items()}
    treatments = {key: asdict(rules[key]) for key in ("absent", "invalid")}
    changed = {name: {key: _plain(value) for key, value in of.items()} for name, of in dialect.by_protocol.items()}
    known = {"dialect": rules.pop("name"), **rules}
    return known | {"readings": readings, **treatments, "by_protocol": changed or "the same on every data set"}


def _plain(value: Any) -> Any:
    return asdict(value) if isinstance(value, Treatments) else value


def _protocol(protocol: Any) -> dict[str, Any]:
    return (
        {
            "protocol": protocol.name,
            "title": protocol.title,
            "description": protocol.description,
            "source": protocol.source,
            "data": protocol.data,
            "metrics": [f"{metric} ({dialect})" for metric, dialect in protocol.metrics],
            "attributes": list(protocol.attributes),
        }
        | ({"scored as": protocol.scored_as} if protocol.scored_as else {})
        | ({"sparse": "only annotated frames are scored"} if protocol.sparse else {})
    )
