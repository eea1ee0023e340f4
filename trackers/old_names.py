"""Plugins written for the import names of before version 0.2: `trackers.spec` is `trackablate.trackers.spec` now.

Their source is changed while it is read, and each old name becomes a warning. Nobody else's imports are touched, so that
the registry's own `datasets` stays importable, also from a plugin.
"""

import ast
import warnings
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import Any

_ROOT = Path(__file__).resolve().parents[1]

_MOVED: dict[str, dict[str, str]] = {
    "datasets": {
        "annotation": "reading/annotation",
        "checking": "reading/checking",
        "databases": "reading/databases",
        "files": "reading/files",
        "framenames": "reading/frame_names",
        "frames": "reading/frames",
        "index": "reading/index",
        "numbers": "reading/numbers",
        "places": "reading/layouts",
        "reader": "reading/reader",
        "tables": "reading/tables",
        "coco": "benchmarks/coco",
        "got10k": "benchmarks/got10k",
        "lasot": "benchmarks/lasot",
        "nfs": "benchmarks/nfs",
        "otb": "benchmarks/otb",
        "tnl2k": "benchmarks/tnl2k",
        "trackingnet": "benchmarks/trackingnet",
        "uav123": "benchmarks/uav123",
        "aligned_cropping": "pairs/aligned_cropping",
        "augment": "pairs/augmentation",
        "cropping": "pairs/cropping",
        "geometries": "pairs/geometries",
        "sampling": "pairs/sampling",
        "training": "pairs/training_sets",
        "synthetic": "synthetic/videos",
        "synthetic_bodies": "synthetic/bodies",
        "synthetic_domains": "synthetic/domains",
        "synthetic_plan": "synthetic/plan",
        "synthetic_render": "synthetic/render",
        "synthetic_textures": "synthetic/textures",
        "layout_files": "synthetic/layout_files",
        "layouts": "synthetic/writing",
    },
    "trackers": {
        "backbones": "encoder/backbones",
        "timm_vits": "encoder/timm_vits",
        "blocks": "encoder/blocks",
        "embeddings": "encoder/embeddings",
        "sparsity": "encoder/sparsity",
        "prompts": "encoder/prompts",
        "pretrained": "encoder/pretrained",
        "conv_head": "heads/convolutional",
        "corner_head": "heads/corner",
        "mlp_head": "heads/mlp",
        "deformable_head": "heads/deformable",
        "deformable_attention": "heads/deformable_attention",
        "losses": "training/losses",
        "assignment": "training/assignment",
        "denoising": "training/denoising",
        "adaptation": "adaptation/adapt",
        "checkpoints": "checkpoints/official",
        "checkpoints_lorat": "checkpoints/lorat",
        "checkpoints_ostrack": "checkpoints/ostrack",
        "state_keys": "checkpoints/state_keys",
    },
    "harness": {
        "runner": "running/runner",
        "queue": "running/queue",
        "executors": "running/executors",
        "worker": "running/worker",
        "tasks": "running/tasks",
        "execute": "running/execute",
        "board": "running/board",
        "progress": "running/progress",
        "provenance": "running/provenance",
        "threads": "running/threads",
        "train": "training/loop",
        "pairs": "training/loading",
        "pretrain": "training/pretraining",
        "evaluate": "tracking/evaluation",
        "speed": "tracking/speed",
        "metrics": "scoring/metrics",
        "dialects": "scoring/dialects",
        "tally": "scoring/threshold_counts",
        "failures": "scoring/failure_modes",
        "scoring": "scoring/raw_scoring",
        "score_reading": "scoring/raw_reading",
        "score_cache": "scoring/raw_cache",
        "stored_scores": "scoring/stored_scores",
        "results_finding": "exchange/finding",
        "results_io": "exchange/result_files",
        "results_json": "exchange/otb_json",
        "results_writing": "exchange/writing",
        "submission": "exchange/submission",
        "server_scores": "exchange/server_scores",
        "frame": "exchange/dataframe",
        "clock": "costing/clock",
        "energy": "costing/energy",
        "devices": "costing/devices",
        "hardware": "costing/hardware",
        "cost": "costing/macs",
        "device_cost": "costing/device_cost",
        "estimate": "planning/estimate",
        "rates": "planning/unit_times",
        "calibration": "planning/calibration",
        "calibrator": "planning/calibrator",
        "calibrating": "planning/calibrating",
        "evidence": "planning/history",
        "budget": "planning/budget",
        "workload": "planning/workload",
        "span": "planning/span",
        "ledger": "planning/forecast_log",
        "peaks": "planning/peaks",
        "doctor": "cli/doctor",
    },
    "ablations": {
        "head": "studies/head",
        "papers": "studies/detrack",
        "lorat": "studies/lorat",
    },
    "reports": {
        "statistics": "statistics/bootstrap",
        "significance": "statistics/significance",
        "variance": "statistics/variance",
        "resolving": "statistics/sample_size",
        "stability": "statistics/rank_stability",
        "accuracy": "tables/accuracy",
        "attributes": "tables/sequences",
        "costs": "tables/costs",
        "cost_report": "tables/cost_report",
        "discrepancies": "tables/discrepancies",
        "effects": "tables/effects",
        "pivot": "tables/pivot",
        "printed": "tables/printed",
        "ranking": "tables/block",
        "ranks": "tables/effects",
        "server": "tables/accuracy",
        "block": "tables/block",
        "notes": "tables/block",
        "score_table": "tables/dialects",
        "score_failures": "tables/failures",
        "score_sequences": "tables/sequences",
        "comparison": "tables/comparison",
        "paper_style": "figures/paper_style",
        "text": "formats/text",
        "export": "formats/export",
        "latex": "formats/latex",
        "layout": "formats/panels",
        "tex_columns": "formats/tex_columns",
        "tex_text": "formats/tex_text",
        "tex_widths": "formats/tex_widths",
        "score_json": "formats/documents",
        "html": "pages/html",
        "viewer": "pages/viewer",
        "filmstrips": "pages/filmstrips",
        "site": "pages/site",
        "site_studies": "pages/site_studies",
        "write": "pages/write",
        "provenance": "pages/provenance",
        "score_page": "pages/sections",
    },
}
"""Where modules went that are not where they were: old name, new name, below a package's folder."""


def new_name(old: str) -> str | None:
    """Return the present name of a module of ours, or None for a name that was never one of ours."""
    package, _, rest = old.partition(".")
    if package not in _MOVED:
        return None
    found = _MOVED[package].get(rest, rest.replace(".", "/"))
    here = _ROOT / package / found
    if not rest or not (here.with_suffix(".py").exists() or here.is_dir()):
        return None
    return f"trackablate.{package}.{found.replace('/', '.')}"


class RenamingLoader(SourceFileLoader):
    """Loads a plugin's source with old import names replaced. Nothing is cached on disk."""

    def get_code(self, fullname: str) -> CodeType:
        """Return the compiled module. Raises what `compile` raises, and ImportError for `import OLD` without `as`."""
        source = self.get_data(self.path)
        tree = _Renamer(self.path).visit(ast.parse(source, self.path))
        return compile(ast.fix_missing_locations(tree), self.path, "exec", dont_inherit=True)


class RenamingFinder(MetaPathFinder):
    """Finds one installed package, to be read by `RenamingLoader`."""

    def __init__(self, package: str) -> None:
        self._package = package

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Return the specification of a module of the package, None for all others."""
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
        """`from trackers.spec import X`, and `from trackers import spec` name by name."""
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
        """`import trackers.spec as s`. Without `as`, dotted names in the code could not be followed."""
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
