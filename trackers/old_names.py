"""Keeps plugins working that were written for the import names of version 0.1, such as `trackers.spec`.

The plugin's source is changed while it is read, and each old name gives a warning. No other imports are touched, so the
registry's own `datasets` package stays importable, also from a plugin.
"""

import ast
import warnings
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import Any

_ROOT = Path(__file__).resolve().parents[1]

MOVED: dict[str, dict[str, str]] = {
    "datasets": {
        "reading": (
            "annotation checking databases=opening files framenames=frame_names frames index numbers places=layouts "
            "reader tables"
        ),
        "benchmarks": "coco got10k lasot nfs otb tnl2k trackingnet uav123",
        "pairs": "aligned_cropping augment=augmentation cropping geometries sampling training=training_sets",
        "synthetic": (
            "synthetic=videos synthetic_bodies=bodies synthetic_domains=domains synthetic_plan=plan "
            "synthetic_render=render synthetic_textures=textures layout_files layouts=writing"
        ),
    },
    "trackers": {
        "encoder": "backbones timm_vits blocks embeddings sparsity pretrained",
        "adaptation": "prompts adaptation=adapt",
        "heads": (
            "conv_head=convolutional corner_head=corner mlp_head=mlp deformable_head=deformable deformable_attention"
        ),
        "training": "losses assignment denoising",
        "checkpoints": "checkpoints=official checkpoints_lorat=lorat checkpoints_ostrack=ostrack state_keys",
    },
    "harness": {
        "running": "runner queue executors worker tasks execute threads",
        "training": "train=loop pairs=loading pretrain=pretraining",
        "tracking": "evaluate=evaluation speed device_cost",
        "scoring": (
            "results_finding=finding results_io=result_files results_json=layouts "
            "metrics dialects tally=threshold_counts failures=failure_modes scoring=raw_scoring "
            "score_reading=raw_reading score_cache=raw_cache stored_scores"
        ),
        "exchange": "results_writing=writing submission server_scores frame=dataframe",
        "costing": "clock energy devices hardware cost=macs",
        "planning": (
            "estimate rates=history calibration calibrator=calibration calibrating=calibration evidence=history budget "
            "workload=work span=work ledger=forecasts peaks"
        ),
        "progress": "board=forecaster",
        "cli": "doctor progress=terminal",
    },
    "ablations": {
        "studies": "head papers=detrack lorat",
    },
    "reports": {
        "statistics": "statistics=bootstrap significance variance resolving=sample_size stability=rank_stability",
        "tables": (
            "accuracy attributes=sequences costs cost_report discrepancies=printed effects pivot printed ranking=block "
            "ranks=effects server=accuracy block notes=block score_table=dialects score_failures=failures "
            "score_sequences=sequences comparison"
        ),
        "figures": "paper_style",
        "formats": "text export latex layout=panels tex_text score_json=documents",
        "pages": "html viewer filmstrips site site_studies=site write provenance score_page=sections",
    },
}
"""Modules that moved, by package and the room where they are now: OLD, or OLD=NEW for a module with a new name."""


def moved(package: str) -> dict[str, str]:
    """Return the old names of a package's modules and their paths below its folder."""
    entries = ((room, entry.split("=")) for room, names in MOVED[package].items() for entry in names.split())
    return {names[0]: f"{room}/{names[-1]}" for room, names in entries}


def new_name(old: str) -> str | None:
    """Return the present name of one of our modules, or None if the old name was never ours."""
    package, _, rest = old.partition(".")
    if package not in MOVED:
        return None
    found = moved(package).get(rest, rest.replace(".", "/"))
    here = _ROOT / package / found
    if not rest or not (here.with_suffix(".py").exists() or here.is_dir()):
        return None
    return f"trackablate.{package}.{found.replace('/', '.')}"


class RenamingLoader(SourceFileLoader):
    """Loads a plugin's source with old import names replaced. Nothing is cached on disk."""

    def get_code(self, fullname: str) -> CodeType:
        """Return the compiled module. Raises ImportError for `import OLD` without `as`."""
        source = self.get_data(self.path)
        tree = _Renamer(self.path).visit(ast.parse(source, self.path))
        return compile(ast.fix_missing_locations(tree), self.path, "exec", dont_inherit=True)


class RenamingFinder(MetaPathFinder):
    """Finds the modules of one installed package, for `RenamingLoader` to read."""

    def __init__(self, package: str) -> None:
        self._package = package

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Return the specification of a module of the package, or None for any other module."""
        if fullname.split(".")[0] != self._package:
            return None
        found = PathFinder.find_spec(fullname, path, target)
        if found is not None and type(found.loader) is SourceFileLoader:
            found.loader = RenamingLoader(fullname, found.loader.path)
        return found


class _Renamer(ast.NodeTransformer):
    def __init__(self, file: str) -> None:
        self._file = file

    def visit_ImportFrom(self, node: ast.ImportFrom) -> Any:
        """Rename in `from trackers.spec import X`, and name by name in `from trackers import spec`."""
        module = node.module or ""
        if node.level:
            return node
        if (found := new_name(module)) is not None:
            self._warn(module, found, node.lineno)
            return ast.copy_location(ast.ImportFrom(found, node.names, 0), node)
        return [self._single(module, alias, node) for alias in node.names]

    def _single(self, module: str, alias: ast.alias, node: ast.ImportFrom) -> ast.stmt:
        found = new_name(f"{module}.{alias.name}")
        if found is None:
            return ast.copy_location(ast.ImportFrom(module, [alias], 0), node)
        self._warn(f"{module}.{alias.name}", found, node.lineno)
        parent, _, last = found.rpartition(".")
        return ast.copy_location(ast.ImportFrom(parent, [ast.alias(last, alias.asname or alias.name)], 0), node)

    def visit_Import(self, node: ast.Import) -> Any:
        """Rename in `import trackers.spec as s`. Without `as`, later uses of the dotted name could not be followed."""
        for alias in node.names:
            if (found := new_name(alias.name)) is None:
                continue
            if alias.asname is None:
                raise ImportError(f"line {node.lineno}: `import {alias.name}` is now `import {found} as ...`")
            self._warn(alias.name, found, node.lineno)
            alias.name = found
        return node

    def _warn(self, old: str, new: str, line: int) -> None:
        text = f"`{old}` is called `{new}` now: change the import"
        warnings.warn_explicit(text, FutureWarning, self._file, line)
