"""What `list` and `show` say: names with one line each, and one entry in full. Documents, not text."""

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
from trackablate.trackers.spec import TrackerSpec, differences
from trackablate.trackers.variants import VARIANTS

Listing = dict[str, dict[str, str]]
MOST_CHANGES = 4
"""Fields in which a tracker may differ from another to be described by them."""


def _studies() -> dict[str, str]:
    return {name: f"{study.title}: {study.question}" for name, study in STUDIES.items()}


def _trackers() -> dict[str, str]:
    return {name: describe(spec) for name, spec in VARIANTS.items()}


def _protocols() -> dict[str, str]:
    return {name: p.description for name, p in PROTOCOLS.items()}


def _dialects() -> dict[str, str]:
    return {name: f"{d.description} ({', '.join(d.metrics)})" for name, d in DIALECTS.items()}


def _datasets() -> dict[str, str]:
    real = {
        name: f"{data.title}: needs --data {name}=PATH; {', '.join(data.parts)}" for name, data in DATA_SETS.items()
    }
    return {f"synthetic-{name}": "embedded generator" for name in DOMAINS} | real


def _profiles() -> dict[str, str]:
    return {name: load_profile(name).description for name in profile_names()}


KINDS: dict[str, Callable[[], dict[str, str]]] = {
    "studies": _studies,
    "trackers": _trackers,
    "protocols": _protocols,
    "dialects": _dialects,
    "datasets": _datasets,
    "profiles": _profiles,
}


def listing(kind: str) -> Listing:
    """{kind: {name: one line}}, of one kind or of all. Raises UnknownName for another kind."""
    if kind and kind not in KINDS:
        raise UnknownName(unknown("list", kind, list(KINDS)))
    return {name: make() for name, make in KINDS.items() if kind in ("", name)}


def describe(spec: TrackerSpec) -> str:
    """A tracker in a line: against the one whose name it continues, where that says it shortly, else by its axes."""
    of = max((n for n in VARIANTS if spec.name.startswith(f"{n}-")), key=len, default="")
    changed = differences(spec, VARIANTS[of]) if of else {}
    if changed and len(changed) <= MOST_CHANGES:
        return f"as {of}, but {', '.join(_changes(spec, changed))}"
    crop = spec.crop
    parts = [
        spec.backbone,
        f"{crop.template_size}/{crop.search_size} px",
        spec.adaptation.kind,
        f"head {spec.head.kind}",
    ]
    parts += ["candidate elimination"] if spec.sparsity else []
    parts += ["denoising"] if spec.denoising else []
    return ", ".join(parts)


def _changes(spec: TrackerSpec, changed: Mapping[str, tuple[Any, Any]]) -> list[str]:
    """What differs, without the fields that another kind of the same axis does not have."""
    gone = [f"no {axis}" for axis in dict.fromkeys(f.split(".")[0] for f in changed) if getattr(spec, axis) is None]
    return [f"{field} {_shown(ours)}" for field, (ours, _) in changed.items() if ours is not None] + gone


def _shown(value: Any) -> str:
    return "+".join(map(str, value)) if isinstance(value, tuple) else str(value)


def details(name: str) -> dict[str, Any]:
    """A study, tracker, protocol or dialect in full; a protocol together with the dialect that is called like it, as
    toolkits and their benchmarks are. Raises UnknownName where none of them has the name.
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


def _study(study: Study) -> dict[str, Any]:
    rows = {}
    for row in study.rows:
        changed = study.differences(row)
        printed = [entry for entry, _ in published(study.name, row.name)]
        rows[row.name] = {
            "differs": {f: f"{_of(study, f, theirs)} -> {_of(study, f, ours)}" for f, (ours, theirs) in changed.items()}
            or "the baseline",
            "published": [entry.model_dump(exclude={"rows"}, exclude_defaults=True) for entry in printed] or None,
        }
    return {
        "study": study.name,
        "title": study.title,
        "question": study.question,
        "source": study.source,
        "factors": dict(study.factors),
        "coupled": {c.field: c.reason for c in study.coupled},
        "rows": rows,
        "baseline": study.baseline.model_dump(mode="json"),
        "trainings of the baseline": [_training(training) for training in study.trainings],
        "seeds": study.seeds,
    }


def _training(training: Training) -> dict[str, Any]:
    """One training at paper scale, and what is evaluated on it."""
    return {
        "for": ", ".join(training.protocols),
        "data": training.data.model_dump(mode="json"),
        "recipe": training.recipe.model_dump(mode="json"),
    }


def _of(study: Study, field: str, value: Any) -> str:
    """A field's value, or of a recipe that of each of the study's trainings."""
    each = field.startswith(f"{RECIPE}.") and len(study.trainings) > 1
    return " / ".join(map(_shown, value)) if each else _shown(value)


def _dialect(dialect: Dialect) -> dict[str, Any]:
    """Every rule of it, and where the data set's name changes one."""
    rules = {field.name: getattr(dialect, field.name) for field in fields(dialect)}
    readings = {key: f"{r.how} {r.at or ''} of {r.curve}".replace("  ", " ") for key, r in dialect.readings.items()}
    treatments = {key: asdict(rules[key]) for key in ("absent", "invalid")}
    changed = {name: {key: _plain(value) for key, value in of.items()} for name, of in dialect.by_protocol.items()}
    known = {"dialect": rules.pop("name"), **rules}
    return known | {"readings": readings, **treatments, "by_protocol": changed or "the same on every data set"}


def _plain(value: Any) -> Any:
    return asdict(value) if isinstance(value, Treatments) else value


def _protocol(protocol: Any) -> dict[str, Any]:
    return {
        "protocol": protocol.name,
        "title": protocol.title,
        "description": protocol.description,
        "source": protocol.source,
        "data": protocol.data,
        "metrics": [f"{metric} ({dialect})" for metric, dialect in protocol.metrics],
        "attributes": list(protocol.attributes),
    }
