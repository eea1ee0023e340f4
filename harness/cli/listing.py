"""The documents of `list` (names with one line each) and `show` (one entry in full)."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from typing import Any

from trackablate.ablations.catalogue import STUDIES, named_study
from trackablate.ablations.published import published
from trackablate.ablations.recipes import Training
from trackablate.ablations.study import RECIPE, Study
from trackablate.datasets.protocols import DATA_SETS, PROTOCOLS
from trackablate.datasets.registry import Registry, UnknownName, unknown
from trackablate.datasets.synthetic.domains import DOMAINS
from trackablate.harness.profiles import load_profile, profile_names
from trackablate.harness.scoring.dialects import Treatments
from trackablate.harness.scoring.metrics import DIALECTS, Dialect
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
    return "+".join(map(str, value)) if isinstance(value, tuple) else str(value)


def details(name: str) -> dict[str, Any]:
    """Return a study, tracker, protocol or dialect in full; a protocol with the dialect of the same name.

    Raises UnknownName if none of them has the name.
    """
    registries: tuple[tuple[Registry[Any], Callable[[Any], dict[str, Any]]], ...] = (
        (STUDIES, _study),
        (VARIANTS, lambda spec: {"tracker": spec.name, **spec.model_dump(mode="json")}),
        (PROTOCOLS, _protocol),
        (DIALECTS, _dialect),
    )
    found = [document(registry[name]) for registry, document in registries if name in registry]
    if found:
        return found[0] | ({"dialect": found[1]} if len(found) > 1 else {})
    if name.endswith(".toml"):
        return _study(named_study(name))
    known = list(dict.fromkeys(entry for registry, _ in registries for entry in registry))
    raise UnknownName(unknown("study, tracker, protocol or dialect", name, known))


OPEN = " (the paper is silent)"


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
        "chosen where the paper is silent": dict(study.silent) or None,
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
