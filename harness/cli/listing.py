"""What `list` and `show` say: names with one line each, and one entry in full. Documents, not text."""

from collections.abc import Callable
from typing import Any

from ablations.catalogue import STUDIES
from ablations.published import published
from ablations.study import Study
from datasets.protocols import PROTOCOLS
from datasets.registry import Registry, UnknownName, unknown
from datasets.synthetic_domains import DOMAINS
from harness.metrics import DIALECTS
from harness.profiles import load_profile, profile_names
from trackers.spec import TrackerSpec, differences
from trackers.variants import VARIANTS

Listing = dict[str, dict[str, str]]


def _studies() -> dict[str, str]:
    return {name: f"{study.title}: {study.question}" for name, study in STUDIES.items()}


def _trackers() -> dict[str, str]:
    return {name: describe(spec) for name, spec in VARIANTS.items()}


def _protocols() -> dict[str, str]:
    return {name: p.description for name, p in PROTOCOLS.items()}


def _dialects() -> dict[str, str]:
    return {name: f"{d.description} ({', '.join(d.metrics)})" for name, d in DIALECTS.items()}


def _datasets() -> dict[str, str]:
    real = {p.data: f"{p.title}: needs --data {p.data}=PATH" for p in PROTOCOLS.values() if p.data}
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
    """A tracker in a line."""
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


def details(name: str) -> dict[str, Any]:
    """A study, tracker or protocol in full. Raises UnknownName where none of them has the name."""
    registries: tuple[tuple[Registry[Any], Callable[[Any], dict[str, Any]]], ...] = (
        (STUDIES, _study),
        (VARIANTS, lambda spec: {"tracker": spec.name, **spec.model_dump(mode="json")}),
        (PROTOCOLS, _protocol),
    )
    for registry, document in registries:
        if name in registry:
            return document(registry[name])
    known = [entry for registry, _ in registries for entry in registry]
    raise UnknownName(unknown("study, tracker or protocol", name, known))


def _study(study: Study) -> dict[str, Any]:
    rows = {}
    for row in study.rows:
        changed = differences(study.spec(row), study.baseline)
        printed = published(study.name, row.name)
        rows[row.name] = {
            "differs": {field: f"{theirs} -> {ours}" for field, (ours, theirs) in changed.items()} or "the baseline",
            "published": printed[0].model_dump(exclude={"study", "row"}, exclude_none=True) if printed else None,
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
    }


def _protocol(protocol: Any) -> dict[str, Any]:
    return {
        "protocol": protocol.name,
        "title": protocol.title,
        "description": protocol.description,
        "source": protocol.source,
        "data": protocol.data,
        "metrics": list(protocol.metrics),
        "attributes": list(protocol.attributes),
    }
